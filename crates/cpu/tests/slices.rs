//! Lists that yield: inside a command, to those that have used less, without a change of any bit.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Builder, CELL, GATES, Line, fold, fresh, gate, increment, kernel, read, rows, wait, write};
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use thalweg_cpu::CpuDevice;
use thalweg_hal::{Access, Device, KernelFailure, KernelSource, Memory, MemoryKind, Report, Reported, TimelinePoint};

/// How long a list runs before it yields: after every item; and for as long as in a program.
const QUANTA: [Duration; 2] = [Duration::ZERO, Duration::from_millis(1)];
const ITEMS: u32 = 64;

/// Works for a while at each item, and stops at two. Parameters: an item and the index of its gate, and the same again.
fn gates() -> KernelSource {
    kernel("gates", &[Access::ReadWrite], 16, |call| {
        let items = call.items.clone();
        let [item, gate, other_item, other_gate] = call.params::<[u32; 4]>()?;
        for at in items {
            // A third of a millisecond: an item less than the turn with which a new lane starts, and all of them more.
            black_box((0..300_000_u64).fold(black_box(1), |x, y| (x ^ y).wrapping_mul(0x2c1b_3c6d)));
            if at == item {
                GATES[gate as usize].pass();
            }
            if at == other_item {
                GATES[other_gate as usize].pass();
            }
        }
        call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x += 1);
        Ok(())
    })
}

/// Lets the host's clock go on past any quantum.
fn let_time_pass() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(5) {
        thread::yield_now();
    }
}

/// One worker, and a list that it is in the middle of: inside a command, at a gate.
struct Stopped {
    device: Arc<CpuDevice>,
    line: Line,
    done: TimelinePoint,
    cells: Arc<dyn Memory>,
    begun: Instant,
    /// The second gate, at the command's last item.
    last: usize,
}

impl Stopped {
    fn new(quantum: Duration, first: usize, last: usize) -> Self {
        let device = CpuDevice::with_quantum(1, quantum).unwrap();
        let pipeline = device.create_pipeline(&gates()).unwrap();
        let cells = device.allocate(MemoryKind::Device, 2 * CELL).unwrap();
        let mut line = Line::new(&device);
        let params: Vec<u8> =
            [2, first as u32, ITEMS - 1, last as u32].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let bytes = u64::from(ITEMS) * 4;
        let list =
            Builder::default().timestamp().dispatch(&pipeline, &params, ITEMS, &[(&cells, 0, bytes)]).timestamp();
        let begun = Instant::now();
        let done = line.submit(&list.build(), &[]);
        GATES[first].arrived(1);
        let_time_pass();
        Self { device, line, done, cells, begun, last }
    }

    /// Lets the list go on to its end, and checks what it did.
    fn finish(self) -> (Duration, Duration) {
        GATES[self.last].open();
        wait(&self.done);
        let around = self.begun.elapsed();
        assert_eq!(read(&self.device, &self.cells, 0, ITEMS as usize), [1; ITEMS as usize]);
        let times: Vec<Duration> = self
            .line
            .timeline
            .take_reports()
            .into_iter()
            .map(|report| match report.what {
                Reported::Time(time) => time,
                Reported::Failed(error) => panic!("{error}"),
            })
            .collect();
        let [first, last] = times[..] else { panic!("{times:?}") };
        (last - first, around)
    }
}

// audit: F11
#[test]
fn a_list_yields_inside_a_command_to_one_that_has_used_less() {
    for (round, quantum) in QUANTA.into_iter().enumerate() {
        let (first, last) = (2 * round, 2 * round + 1);
        let stopped = Stopped::new(quantum, first, last);
        let increment = stopped.device.create_pipeline(&increment()).unwrap();
        let mut other = Line::new(&stopped.device);
        let list = Builder::default().dispatch(&increment, &[], 1, &[(&stopped.cells, CELL, 4)]).build();
        let done = other.submit(&list, &[]);
        GATES[first].open();
        // The one worker is at the last item, and has run the other list before.
        GATES[last].arrived(1);
        assert!(done.is_reached(), "{quantum:?}: the list ran to its last item while another waited");
        assert!(!stopped.done.is_reached());
        stopped.finish();
    }
}

#[test]
fn a_lists_times_do_not_count_what_ran_while_it_had_yielded() {
    let stopped = Stopped::new(Duration::ZERO, 4, 5);
    let gate = stopped.device.create_pipeline(&gate()).unwrap();
    let mut other = Line::new(&stopped.device);
    let list = Builder::default().dispatch(&gate, &6_u32.to_ne_bytes(), 1, &[(&stopped.cells, CELL, 4)]).build();
    let done = other.submit(&list, &[]);
    GATES[4].open();
    GATES[6].arrived(1);
    let arrived = Instant::now();
    let_time_pass();
    let others = arrived.elapsed();
    GATES[6].open();
    wait(&done);
    GATES[5].arrived(1);
    let (own, around) = stopped.finish();
    assert!(own <= around - others, "{own:?} of {around:?}, in which another list had {others:?}");
}

#[test]
fn a_list_that_has_yielded_runs_to_its_end_without_its_device() {
    let stopped = Stopped::new(Duration::ZERO, 7, 8);
    let increment = stopped.device.create_pipeline(&increment()).unwrap();
    let mut other = Line::new(&stopped.device);
    let list = Builder::default().dispatch(&increment, &[], 1, &[(&stopped.cells, CELL, 4)]).build();
    let done = other.submit(&list, &[]);
    let Stopped { device, line, done: own, .. } = stopped;
    // The queues and the device are the pool's handles.
    drop((device, line, other, increment));
    GATES[7].open();
    GATES[8].arrived(1);
    assert!(done.is_reached());
    GATES[8].open();
    wait(&own);
}

/// Each thread runs lists of several dispatches over data of its own; the outputs of all.
fn outputs(device: &CpuDevice, seed: u64, threads: usize) -> Vec<Vec<u32>> {
    let pipeline = device.create_pipeline(&rows()).unwrap();
    let thread = |thread: usize| {
        let mut random = fastrand::Rng::with_seed(seed ^ thread as u64);
        let mut line = Line::new(device);
        let mut outputs = Vec::new();
        for _ in 0..12 {
            let shapes: Vec<(u32, u32)> = (0..4).map(|_| (random.u32(1..600), random.u32(1..200))).collect();
            let mut list = Builder::default();
            let mut buffers = Vec::new();
            for (rows, width) in shapes {
                let (bytes, out_bytes) = (u64::from(rows * width) * 4, u64::from(rows) * 4);
                let input = device.allocate(MemoryKind::Device, bytes).unwrap();
                let output = device.allocate(MemoryKind::Device, out_bytes).unwrap();
                let x: Vec<u32> = (0..rows * width).map(|_| (random.f32() - 0.5).to_bits()).collect();
                write(device, &input, 0, &x);
                let bindings = [(&input, 0, bytes), (&output, 0, out_bytes)];
                list = list.dispatch(&pipeline, &width.to_ne_bytes(), rows, &bindings);
                buffers.push((output, rows));
            }
            let done = line.submit(&list.build(), &[]);
            // Some lists are alone for a while, and shared; some are not.
            if random.bool() {
                wait(&done);
            }
            outputs.push((done, buffers));
        }
        outputs
            .into_iter()
            .flat_map(|(done, buffers)| {
                wait(&done);
                buffers.into_iter().flat_map(|(output, rows)| read(device, &output, 0, rows as usize))
            })
            .collect()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|at| scope.spawn(move || thread(at))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

// audit: C27
#[test]
fn stress_lists_that_yield_have_the_bits_of_whole_ones() {
    let seed = fresh().u64(..);
    for threads in [2, 9] {
        let whole = outputs(&CpuDevice::with_quantum(1, Duration::MAX).unwrap(), seed, threads);
        for workers in [1, 2, 3] {
            for quantum in [Duration::ZERO, Duration::from_micros(20), Duration::from_millis(1)] {
                let yielding = outputs(&CpuDevice::with_quantum(workers, quantum).unwrap(), seed, threads);
                assert!(yielding == whole, "{threads} threads, {workers} workers, {quantum:?}");
            }
        }
    }
}

/// Fails from the item in the parameter on.
fn fail_from() -> KernelSource {
    kernel("fail from", &[Access::ReadWrite], 4, |call| {
        let first = call.params::<u32>()?;
        if call.items.end > first {
            return Err(KernelFailure::new(format!("item {}", first.max(call.items.start))));
        }
        Ok(())
    })
}

#[test]
fn stress_a_command_that_fails_behind_a_yield_fails_once_and_at_its_first_item() {
    let device = CpuDevice::with_quantum(2, Duration::ZERO).unwrap();
    let (fail, fold) = (device.create_pipeline(&fail_from()).unwrap(), device.create_pipeline(&fold()).unwrap());
    let mut random = fresh();
    thread::scope(|scope| {
        for _ in 0..6 {
            let mut random = random.fork();
            let (device, fail, fold) = (&device, &fail, &fold);
            scope.spawn(move || {
                let memory = device.allocate(MemoryKind::Device, 1 << 17).unwrap();
                let cells = device.allocate(MemoryKind::Device, 2 * CELL).unwrap();
                write(device, &cells, 0, &[1]);
                write(device, &cells, CELL, &[5]);
                let mut line = Line::new(device);
                let mut value = 1_u32;
                for _ in 0..60 {
                    let first = random.u32(..512);
                    let list = Builder::default().dispatch(fail, &first.to_ne_bytes(), 512, &[(&memory, 0, 1 << 17)]);
                    let after = [(&cells, 0, 4), (&cells, CELL, 4)];
                    let done = line.submit(&list.dispatch(fold, &3_u32.to_ne_bytes(), 1, &after).build(), &[]);
                    value = value.wrapping_mul(3).wrapping_add(5);
                    wait(&done);
                    let failures = line.timeline.take_reports();
                    let [Report { command: 0, what: Reported::Failed(error), .. }] = &*failures else {
                        panic!("{failures:?}")
                    };
                    assert!(error.to_string().ends_with(&format!("item {first}")), "{error}, expected item {first}");
                }
                assert_eq!(read(device, &cells, 0, 1), [value]);
            });
        }
    });
}
