//! The end of the process with work in flight, each case in a process of its own.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Builder, CELL, GATES, Line, gate, increment};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use thalweg_cpu::CpuDevice;
use thalweg_hal::{Device, MemoryKind, Timeline};

const CASE: &str = "THALWEG_EXIT_CASE";

/// Printed by a child that came to its end as planned.
const MARK: &str = "work is in flight";

static KEPT: OnceLock<(Arc<CpuDevice>, Arc<dyn Timeline>)> = OnceLock::new();

std::thread_local! {
    static LOCAL: OnceLock<Arc<CpuDevice>> = const { OnceLock::new() };
}

/// What the child does; does nothing in the parent's run.
#[test]
fn exit_child() {
    let Ok(case) = std::env::var(CASE) else { return };
    let device = CpuDevice::open().unwrap();
    let (gate, increment) = (device.create_pipeline(&gate()).unwrap(), device.create_pipeline(&increment()).unwrap());
    let cells = device.allocate(MemoryKind::Device, 2 * CELL).unwrap();
    let (mut held, mut busy) = (Line::new(&device), Line::new(&device));
    // One list that never ends, one that waits for it, and many that run.
    let never = Builder::default().dispatch(&gate, &0_u32.to_ne_bytes(), 1, &[(&cells, 0, 4)]).build();
    let never = held.submit(&never, &[]);
    GATES[0].arrived(1);
    Line::new(&device).submit(&Builder::default().build(), &[never]);
    let add = Builder::default().dispatch(&increment, &[], 1, &[(&cells, CELL, 4)]).build();
    for _ in 0..20_000 {
        busy.submit(&add, &[]);
    }
    println!("{MARK}");
    match &*case {
        "drop" => drop((device, held, busy)),
        "static" => drop(KEPT.set((device, busy.timeline.clone()))),
        "thread-local" => LOCAL.with(|local| drop(local.set(device))),
        "waiter" => {
            std::thread::spawn(move || held.timeline.wait(1, None));
        }
        "exit" => std::process::exit(0),
        _ => panic!("unknown case {case}"),
    }
}

// audit: F4, C22
#[test]
fn exit_with_work_in_flight_is_clean() {
    for case in ["drop", "static", "thread-local", "waiter", "exit"] {
        for _ in 0..5 {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "exit_child", "--nocapture"])
                .env(CASE, case)
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
            assert!(child.status.success(), "{case}: {}\n{output}", child.status);
            assert!(output.contains(MARK) && !output.contains("panicked"), "{case}: {output}");
        }
    }
}
