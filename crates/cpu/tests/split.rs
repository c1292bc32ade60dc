//! Dispatches that several workers run together.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Builder, LONG, Line, fold, fresh, kernel, read, rows, wait, write};
use std::collections::HashSet;
use std::sync::Mutex;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use thalweg_cpu::CpuDevice;
use thalweg_hal::{Access, Device, KernelFailure, KernelSource, MemoryKind, Report, Reported};

fn bits_with(workers: usize, x: &[u32], width: usize, rounds: usize) -> Vec<Vec<u32>> {
    let device = CpuDevice::with_workers(workers).unwrap();
    let pipeline = device.create_pipeline(&rows()).unwrap();
    let rows = x.len() / width;
    let (bytes, out_bytes) = ((x.len() * 4) as u64, (rows * 4) as u64);
    let (input, output) =
        (device.allocate(MemoryKind::Device, bytes).unwrap(), device.allocate(MemoryKind::Device, out_bytes).unwrap());
    write(&device, &input, 0, x);
    let params = (width as u32).to_ne_bytes();
    let bindings = [(&input, 0, bytes), (&output, 0, out_bytes)];
    let list = Builder::default().dispatch(&pipeline, &params, rows as u32, &bindings).build();
    let mut line = Line::new(&device);
    (0..rounds)
        .map(|_| {
            let done = line.submit(&Builder::default().fill(&output, 0, out_bytes, !0).build(), &[]);
            let done = line.submit(&list, &[done]);
            wait(&done);
            read(&device, &output, 0, rows)
        })
        .collect()
}

// audit: C27
#[test]
fn shared_dispatches_have_the_bits_of_whole_ones() {
    let mut random = fresh();
    for (rows, width) in [(2, 40_000), (24, 1_536), (25, 3_000), (511, 129), (20_000, 7)] {
        let x: Vec<u32> =
            (0..rows * width).map(|_| ((random.u64(..) >> 40) as f32 / (1 << 24) as f32 - 0.5).to_bits()).collect();
        let whole = bits_with(1, &x, width, 1);
        for workers in [2, 3, 7] {
            for bits in bits_with(workers, &x, width, 40) {
                assert_eq!(bits, whole[0], "{rows} rows of {width}, {workers} workers");
            }
        }
    }
}

/// Threads that ran items of [`together`].
static SEEN: Mutex<Option<HashSet<ThreadId>>> = Mutex::new(None);

/// Notes the thread, and gives another a while to come.
fn together() -> KernelSource {
    kernel("together", &[Access::ReadWrite], 0, |_| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            let mut seen = SEEN.lock().unwrap();
            let seen = seen.get_or_insert_default();
            seen.insert(thread::current().id());
            if seen.len() >= 2 {
                break;
            }
            thread::yield_now();
        }
        Ok(())
    })
}

// audit: F11
#[test]
fn an_idle_worker_helps() {
    let device = CpuDevice::with_workers(2).unwrap();
    let pipeline = device.create_pipeline(&together()).unwrap();
    let memory = device.allocate(MemoryKind::Device, 1 << 20).unwrap();
    let list = Builder::default().dispatch(&pipeline, &[], 64, &[(&memory, 0, 1 << 20)]).build();
    let start = Instant::now();
    // A worker that is still starting, or that another program has pushed aside, is not idle: so not always the first.
    while SEEN.lock().unwrap().as_ref().is_none_or(|seen| seen.len() < 2) {
        assert!(start.elapsed() < LONG, "nobody helped");
        SEEN.lock().unwrap().take();
        let mut line = Line::new(&device);
        let done = line.submit(&list, &[]);
        wait(&done);
    }
}

/// Fails from the item in the parameter on.
fn fail_from() -> KernelSource {
    kernel("fail from", &[Access::ReadWrite], 4, |call| {
        let first = call.params::<u32>()?;
        if call.items.end > first {
            let at = first.max(call.items.start);
            if at % 2 == 0 {
                panic!("item {at}");
            }
            return Err(KernelFailure::new(format!("item {at}")));
        }
        Ok(())
    })
}

#[test]
fn stress_the_first_failing_item_is_the_one_reported() {
    let device = CpuDevice::with_workers(4).unwrap();
    let (fail, fold) = (device.create_pipeline(&fail_from()).unwrap(), device.create_pipeline(&fold()).unwrap());
    let memory = device.allocate(MemoryKind::Device, 1 << 20).unwrap();
    let cells = device.allocate(MemoryKind::Device, 512).unwrap();
    let mut line = Line::new(&device);
    let mut random = fresh();
    for _ in 0..300 {
        let first = random.usize(..4_096) as u32;
        let list = Builder::default().dispatch(&fail, &first.to_ne_bytes(), 4_096, &[(&memory, 0, 1 << 20)]);
        let after = 3_u32.to_ne_bytes();
        let list = list.dispatch(&fold, &after, 1, &[(&cells, 0, 4), (&cells, 256, 4)]).build();
        let done = line.submit(&list, &[]);
        wait(&done);
        let failures = line.timeline.take_reports();
        let [Report { what: Reported::Failed(error), .. }] = &*failures else { panic!("{failures:?}") };
        assert!(error.to_string().ends_with(&format!("item {first}")), "{error}, expected item {first}");
    }
}

#[test]
fn stress_shared_and_whole_lists_side_by_side() {
    let device = CpuDevice::with_workers(3).unwrap();
    let fold = device.create_pipeline(&fold()).unwrap();
    let mut random = fresh();
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut random = random.fork();
            let (device, fold) = (&device, &fold);
            scope.spawn(move || {
                const WORDS: usize = 1 << 15;
                const BYTES: u64 = WORDS as u64 * 4;
                let memory = device.allocate(MemoryKind::Device, 2 * BYTES).unwrap();
                let (x, y): (Vec<u32>, Vec<u32>) = (0..WORDS).map(|_| (random.u32(..), random.u32(..))).unzip();
                write(device, &memory, 0, &x);
                write(device, &memory, BYTES, &y);
                let mut expected = x;
                let mut line = Line::new(device);
                for _ in 0..60 {
                    let mut list = Builder::default();
                    for _ in 0..=random.usize(..4) {
                        let factor = random.u32(..);
                        let items = 1 << random.usize(..16);
                        let bindings = [(&memory, 0, BYTES), (&memory, BYTES, BYTES)];
                        list = if items == WORDS as u32 {
                            list.dispatch(fold, &factor.to_ne_bytes(), items, &bindings)
                        } else {
                            // One item only: never shared.
                            list.dispatch(fold, &factor.to_ne_bytes(), 1, &[(&memory, 0, 4), (&memory, BYTES, 4)])
                        };
                        let reach = if items == WORDS as u32 { WORDS } else { 1 };
                        for (x, y) in expected[..reach].iter_mut().zip(&y) {
                            *x = x.wrapping_mul(factor).wrapping_add(*y);
                        }
                    }
                    let done = line.submit(&list.build(), &[]);
                    // Some rounds leave several lists in flight.
                    if random.usize(..3) == 0 {
                        wait(&done);
                    }
                }
                let done = line.submit(&Builder::default().build(), &[]);
                wait(&done);
                assert_eq!(read(device, &memory, 0, WORDS), expected);
            });
        }
    });
}
