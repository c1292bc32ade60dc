//! Values after lists that depend on each other: within a queue, across queues, and across many threads.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Builder, CELL, GATES, Line, fold, fresh, gate, increment, read, wait, write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use thalweg_cpu::CpuDevice;
use thalweg_hal::{Device, MemoryKind, TimelinePoint};

#[test]
fn commands_of_a_list_and_lists_of_a_queue_run_in_order() {
    let device = CpuDevice::with_workers(3).unwrap();
    let fold = device.create_pipeline(&fold()).unwrap();
    let cells = device.allocate(MemoryKind::Device, 4 * CELL).unwrap();
    let mut line = Line::new(&device);
    let mut random = fresh();
    let (mut x, mut last) = (7_u32, line.submit(&Builder::default().fill(&cells, 0, 8, 7).build(), &[]));
    let y = random.u32(..);
    last = line.submit(&Builder::default().fill(&cells, CELL, 8, y).build(), &[last]);
    for _ in 0..300 {
        let mut list = Builder::default();
        for _ in 0..random.usize(..6) {
            let factor = random.u32(..);
            list = list.dispatch(&fold, &factor.to_ne_bytes(), 2, &[(&cells, 0, 8), (&cells, CELL, 8)]);
            x = x.wrapping_mul(factor).wrapping_add(y);
        }
        last = line.submit(&list.copy((&cells, 0), (&cells, 2 * CELL), 8).build(), &[last]);
    }
    wait(&last);
    assert_eq!(read(&device, &cells, 2 * CELL, 2), [x, x]);
    assert_eq!(read(&device, &cells, 0, 2), [x, x]);
    assert!(line.timeline.take_reports().is_empty());
    assert_eq!(line.timeline.completed(), 302);
}

/// A cell of shared memory: its value so far, and the list that produces it.
struct Cell {
    value: u32,
    last: Option<TimelinePoint>,
}

/// Threads with a queue each fold random cells into random cells. A fold reads and overwrites, and does not commute, so
/// each list has to run after the last one of both of its cells, whichever thread that was.
fn random_graph(device: &Arc<CpuDevice>, threads: usize, lists: usize) {
    const CELLS: usize = 12;
    const WORDS: usize = 16;
    let fold = device.create_pipeline(&fold()).unwrap();
    let memory = device.allocate(MemoryKind::Device, CELLS as u64 * CELL).unwrap();
    let mut random = fresh();
    let cells: Vec<Mutex<Cell>> = (0..CELLS)
        .map(|at| {
            let value = random.u32(..);
            write(device, &memory, at as u64 * CELL, &[value; WORDS]);
            Mutex::new(Cell { value, last: None })
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..threads {
            let mut random = random.fork();
            let (cells, memory, fold) = (&cells, &memory, &fold);
            scope.spawn(move || {
                let mut line = Line::new(device);
                for _ in 0..lists {
                    let (a, b) = (random.usize(..CELLS), random.usize(..CELLS));
                    if a == b {
                        continue;
                    }
                    // Locked in order of index, and until the list is submitted: a wait names submitted work.
                    let mut low = cells[a.min(b)].lock().unwrap();
                    let mut high = cells[a.max(b)].lock().unwrap();
                    let waits: Vec<TimelinePoint> = [&low.last, &high.last].into_iter().flatten().cloned().collect();
                    let (x, y) = if a < b { (&mut low, &mut high) } else { (&mut high, &mut low) };
                    let factor = random.u32(..);
                    let bytes = WORDS as u64 * 4;
                    let bindings = [(memory, a as u64 * CELL, bytes), (memory, b as u64 * CELL, bytes)];
                    let list =
                        Builder::default().dispatch(fold, &factor.to_ne_bytes(), WORDS as u32, &bindings).build();
                    let done = line.submit(&list, &waits);
                    x.value = x.value.wrapping_mul(factor).wrapping_add(y.value);
                    (x.last, y.last) = (Some(done.clone()), Some(done));
                }
            });
        }
    });
    for (at, cell) in cells.into_iter().enumerate() {
        let cell = cell.into_inner().unwrap();
        cell.last.iter().for_each(wait);
        assert_eq!(read(device, &memory, at as u64 * CELL, WORDS), [cell.value; WORDS], "cell {at}");
    }
}

#[test]
fn stress_random_graphs_of_few_threads() {
    for workers in 1..=4 {
        random_graph(&CpuDevice::with_workers(workers).unwrap(), 3, 1_500);
    }
}

#[test]
fn stress_random_graphs_of_more_threads_than_workers() {
    random_graph(&CpuDevice::with_workers(2).unwrap(), 48, 150);
    random_graph(&CpuDevice::open().unwrap(), 40, 150);
}

#[test]
fn stress_random_graphs_of_lists_that_yield_after_every_item() {
    for workers in 1..=3 {
        random_graph(&CpuDevice::with_quantum(workers, Duration::ZERO).unwrap(), 12, 300);
    }
}

#[test]
fn stress_many_queues_wait_each_for_their_own() {
    let device = CpuDevice::with_workers(2).unwrap();
    let increment = device.create_pipeline(&increment()).unwrap();
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let cell = device.allocate(MemoryKind::Device, 4).unwrap();
                let list = Builder::default().dispatch(&increment, &[], 1, &[(&cell, 0, 4)]).build();
                let mut line = Line::new(&device);
                for round in 1..=100 {
                    let done = line.submit(&list, &[]);
                    wait(&done);
                    assert_eq!(read(&device, &cell, 0, 1), [round]);
                }
            });
        }
    });
}

#[test]
fn a_waiting_list_holds_up_only_its_own_queue() {
    let device = CpuDevice::with_workers(2).unwrap();
    let (gate, increment) = (device.create_pipeline(&gate()).unwrap(), device.create_pipeline(&increment()).unwrap());
    let cells = device.allocate(MemoryKind::Device, 3 * CELL).unwrap();
    let add = |at: u64| Builder::default().dispatch(&increment, &[], 1, &[(&cells, at * CELL, 4)]).build();
    let (mut held, mut waiting, mut free) = (Line::new(&device), Line::new(&device), Line::new(&device));
    let blocker = Builder::default().dispatch(&gate, &0_u32.to_ne_bytes(), 1, &[(&cells, 0, 4)]).build();
    let first = held.submit(&blocker, &[]);
    GATES[0].arrived(1);
    // More waiting lists than workers: none of them may occupy one.
    let mut last = None;
    for _ in 0..10 {
        last = Some(waiting.submit(&add(1), std::slice::from_ref(&first)));
    }
    for _ in 0..100 {
        let done = free.submit(&add(2), &[]);
        wait(&done);
    }
    assert_eq!(waiting.timeline.completed(), 0);
    assert_eq!(held.timeline.completed(), 0);
    GATES[0].open();
    last.iter().for_each(wait);
    assert_eq!([1, 2].map(|at| read(&device, &cells, at * CELL, 1)[0]), [10, 100]);
}

// audit: F2
#[test]
fn runnable_lists_run_at_once_on_all_workers() {
    let device = CpuDevice::with_workers(3).unwrap();
    let gate = device.create_pipeline(&gate()).unwrap();
    let cells = device.allocate(MemoryKind::Device, 3 * CELL).unwrap();
    let mut lines: Vec<Line> = (0..3).map(|_| Line::new(&device)).collect();
    let done: Vec<TimelinePoint> = (0..3)
        .map(|at| {
            let binding = (&cells, at as u64 * CELL, 4);
            lines[at].submit(&Builder::default().dispatch(&gate, &1_u32.to_ne_bytes(), 1, &[binding]).build(), &[])
        })
        .collect();
    // None passes before all three are there.
    GATES[1].arrived(3);
    GATES[1].open();
    done.iter().for_each(wait);
}
