//! Failures, misuse, host waits, and the end of everything with work in flight.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Builder, CELL, GATES, LONG, Line, fail, fresh, gate, increment, panic, read, wait, wait_any, write};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use thalweg_cpu::CpuDevice;
use thalweg_hal::{
    Device, Doorbell, Error, Listener, Memory, MemoryKind, Report, Reported, Result, Timeline, TimelinePoint,
};

const SHORT: Option<Duration> = Some(Duration::from_millis(20));

// audit: C24
#[test]
fn a_failed_command_keeps_nothing_else_from_running() {
    let device = CpuDevice::with_workers(2).unwrap();
    let increment = device.create_pipeline(&increment()).unwrap();
    let cell = device.allocate(MemoryKind::Device, CELL).unwrap();
    let on = [(&cell, 0, 4)];
    for (bad, text) in
        [(fail(), "kernel `fail` failed: at item 0"), (panic(), "kernel `panic` failed: panicked: on purpose")]
    {
        let bad = device.create_pipeline(&bad).unwrap();
        let mut line = Line::new(&device);
        let before = read(&device, &cell, 0, 1)[0];
        let list = Builder::default().dispatch(&increment, &[], 1, &on).dispatch(&bad, &[], 1, &on);
        let list = list.dispatch(&increment, &[], 1, &on).build();
        line.submit(&list, &[]);
        line.submit(&Builder::default().dispatch(&increment, &[], 1, &on).build(), &[]);
        let last = line.submit(&list, &[]);
        wait(&last);
        // Two by the first list, around the failure, one by the second, two by the third.
        assert_eq!(read(&device, &cell, 0, 1), [before + 5]);
        let failures = line.timeline.take_reports();
        assert_eq!(
            failures.iter().map(|failure| (failure.value, failure.command)).collect::<Vec<_>>(),
            [(1, 2), (3, 2)]
        );
        for failure in &failures {
            assert!(matches!(&failure.what, Reported::Failed(error) if error.to_string() == text), "{failure:?}");
        }
        assert!(line.timeline.take_reports().is_empty(), "returned twice");
    }
}

// audit: C18
#[test]
fn stress_a_failure_is_there_before_its_value() {
    let device = CpuDevice::with_workers(2).unwrap();
    let fail = device.create_pipeline(&fail()).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cell = device.allocate(MemoryKind::Device, 4).unwrap();
                let list = Builder::default().dispatch(&fail, &[], 1, &[(&cell, 0, 4)]).build();
                let mut line = Line::new(&device);
                for round in 1..=500_u64 {
                    line.submit(&list, &[]);
                    // Half the rounds look by themselves: the moment at which the value can be seen.
                    while round % 2 == 0 && line.timeline.completed() < round {
                        thread::yield_now();
                    }
                    assert!(line.timeline.wait(round, Some(LONG)).unwrap());
                    let failures = line.timeline.take_reports();
                    assert_eq!(failures.iter().map(|failure| failure.value).collect::<Vec<_>>(), [round]);
                }
            });
        }
    });
}

/// The caller has checked every command; a debug build looks again.
#[cfg(debug_assertions)]
#[test]
fn a_list_that_breaks_a_rule_does_not_get_past_a_debug_build() {
    let device = CpuDevice::with_workers(1).unwrap();
    let increment = device.create_pipeline(&increment()).unwrap();
    let cell = device.allocate(MemoryKind::Device, CELL).unwrap();
    let mut line = Line::new(&device);
    let list = Builder::default().dispatch(&increment, &[], 1, &[(&cell, 0, CELL + 4)]).build();
    let said = |call: &mut dyn FnMut() -> Result<()>| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let submit = said(&mut || line.try_submit(&list, &[]).map(drop));
    assert!(submit.contains("a promise of `Queue::submit`") && submit.contains("OutOfBounds"), "{submit}");
    // SAFETY: the promise is broken on purpose: the assertion ends the call before anything relies on it.
    let prepare = said(&mut || unsafe { device.prepare(&list) });
    assert!(prepare.contains("a promise of `Device::prepare`") && prepare.contains("OutOfBounds"), "{prepare}");
    let list = Builder::default().dispatch(&increment, &[], 1, &[(&cell, 0, 4)]).build();
    wait(&line.submit(&list, &[]));
}

/// What another backend would hand in.
#[derive(Debug)]
struct Foreign;

impl Memory for Foreign {
    fn id(&self) -> u64 {
        0
    }
    fn bytes(&self) -> u64 {
        CELL
    }
    fn kind(&self) -> MemoryKind {
        MemoryKind::Device
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Timeline for Foreign {
    fn interrupt(&self) {}
    fn id(&self) -> u64 {
        0
    }
    fn completed(&self) -> u64 {
        0
    }
    fn wait(&self, _value: u64, _timeout: Option<Duration>) -> Result<bool> {
        Ok(false)
    }
    fn take_reports(&self) -> Vec<Report> {
        Vec::new()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Doorbell for Foreign {
    fn ring(&self) {}
    fn rings(&self) -> u64 {
        0
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn objects_of_others_are_refused() {
    let device = CpuDevice::with_workers(1).unwrap();
    let pipeline = device.create_pipeline(&increment()).unwrap();
    let memory = device.allocate(MemoryKind::Device, CELL).unwrap();
    let foreign = Arc::new(Foreign);
    let foreign_memory: Arc<dyn Memory> = foreign.clone();
    let foreign_timeline: Arc<dyn Timeline> = foreign.clone();
    // What another pool does would never be heard of here.
    let elsewhere = CpuDevice::with_workers(1).unwrap();
    let (its_queue, its_bell) = (elsewhere.create_queue().unwrap(), elsewhere.create_doorbell().unwrap());
    let what = |result: Result<()>| match result {
        Err(Error::ForeignObject { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let mut line = Line::new(&device);
    let list = |memory| Builder::default().dispatch(&pipeline, &[], 1, &[(memory, 0, 4)]).build();
    let good = list(&memory);
    for timeline in [&foreign_timeline, its_queue.timeline()] {
        let wait = [TimelinePoint { timeline: timeline.clone(), value: 0 }];
        assert_eq!(what(line.try_submit(&good, &wait)), "timeline");
        assert_eq!(what(device.wait_any(&wait, None, SHORT)), "timeline");
    }
    for doorbell in [foreign as Arc<dyn Doorbell>, its_bell] {
        assert_eq!(what(device.wait_any(&[], Some(&Listener::new(&doorbell)), SHORT)), "doorbell");
    }
    // SAFETY: nothing is in flight.
    assert_eq!(what(unsafe { device.read(&foreign_memory, 0, &mut [0]) }), "memory");
    // SAFETY: as above.
    assert_eq!(what(unsafe { device.write(&foreign_memory, 0, &[0]) }), "memory");
    // SAFETY: as above.
    assert!(matches!(unsafe { device.read(&memory, CELL, &mut [0]) }, Err(Error::Invalid(_))));
    // The commands that name it fail, and no others.
    let mixed = Builder::default().fill(&memory, 0, 4, 6).fill(&foreign_memory, 0, 4, 7);
    let mixed =
        mixed.dispatch(&pipeline, &[], 1, &[(&foreign_memory, 0, 4)]).dispatch(&pipeline, &[], 1, &[(&memory, 0, 4)]);
    wait(&line.submit(&mixed.build(), &[]));
    let failed = line.timeline.take_reports().into_iter().map(|report| match report.what {
        Reported::Failed(error) => (report.command, what(Err(error))),
        other => panic!("{other:?}"),
    });
    assert_eq!(failed.collect::<Vec<_>>(), [(2, "memory"), (4, "memory")]);
    assert_eq!(read(&device, &memory, 0, 1), [7]);
}

#[test]
fn more_than_the_machine_has_is_out_of_memory() {
    let device = CpuDevice::with_workers(1).unwrap();
    for bytes in [device.info().limits.memory_bytes + 1, u64::MAX] {
        assert!(
            matches!(device.allocate(MemoryKind::Device, bytes), Err(Error::OutOfMemory { bytes: said, .. }) if said == bytes)
        );
    }
    assert_eq!(device.allocate(MemoryKind::Device, 0).unwrap().bytes(), 0);
}

#[test]
fn waits_end_with_their_timeout_and_not_before_their_value() {
    let device = CpuDevice::with_workers(1).unwrap();
    let gate = device.create_pipeline(&gate()).unwrap();
    let cell = device.allocate(MemoryKind::Device, CELL).unwrap();
    let mut line = Line::new(&device);
    let list = Builder::default().dispatch(&gate, &0_u32.to_ne_bytes(), 1, &[(&cell, 0, 4)]).build();
    let done = line.submit(&list, &[]);
    assert!(!done.timeline.wait(1, Some(Duration::ZERO)).unwrap());
    assert!(!done.timeline.wait(1, SHORT).unwrap());
    assert!(done.timeline.wait(0, Some(Duration::ZERO)).unwrap());
    device.wait_any(std::slice::from_ref(&done), None, SHORT).unwrap();
    device.wait_any(&[], None, None).unwrap();
    device.wait_any(&[], None, SHORT).unwrap();
    assert_eq!(done.timeline.completed(), 0);
    thread::scope(|scope| {
        scope.spawn(|| assert!(done.timeline.wait(1, None).unwrap()));
        scope.spawn(|| assert!(done.timeline.wait(1, Some(Duration::MAX)).unwrap()));
        GATES[0].open();
    });
}

#[test]
fn stress_waiters_of_many_timelines_lose_no_wake_up() {
    let device = CpuDevice::with_workers(2).unwrap();
    let empty = Builder::default().build();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut line = Line::new(&device);
                for _ in 0..300 {
                    let done = line.submit(&empty, &[]);
                    thread::scope(|scope| {
                        scope.spawn(|| wait(&done));
                        wait_any(&device, std::slice::from_ref(&done), None);
                    });
                }
            });
        }
    });
}

/// Two threads ring each other's doorbells. Each dawdles before it waits, so that the other's ring comes at every
/// moment of it: before, while it looks, when it is about to sleep, and after.
#[test]
fn stress_doorbells_lose_no_wake_up() {
    const ROUNDS: u64 = 5_000;
    let device = CpuDevice::with_workers(1).unwrap();
    let bells = [device.create_doorbell().unwrap(), device.create_doorbell().unwrap()];
    let mut random = fresh();
    thread::scope(|scope| {
        for me in 0..2 {
            let (bells, device) = (&bells, &device);
            let mut random = random.fork();
            scope.spawn(move || {
                for heard in 0..ROUNDS {
                    let next = Listener { doorbell: bells[me].clone(), heard };
                    if me == 1 {
                        wait_any(device, &[], Some(&next));
                    }
                    bells[1 - me].ring();
                    (0..random.usize(..3_000)).for_each(|_| std::hint::spin_loop());
                    if me == 0 {
                        wait_any(device, &[], Some(&next));
                    }
                }
            });
        }
    });
    assert_eq!(bells.map(|bell| bell.rings()), [ROUNDS; 2]);
}

#[test]
fn wait_any_hears_doorbells_and_lists() {
    let device = CpuDevice::with_workers(2).unwrap();
    let doorbell = device.create_doorbell().unwrap();
    let mut line = Line::new(&device);
    let empty = Builder::default().build();
    for value in 1..=200 {
        let bell = Listener::new(&doorbell);
        let done = line.submit(&empty, &[]);
        wait_any(&device, std::slice::from_ref(&done), Some(&bell));
        assert_eq!((doorbell.rings(), done.timeline.completed()), (value - 1, value));
        // A list that is past its value does not end the wait for the next one.
        let next = TimelinePoint { timeline: line.timeline.clone(), value: value + 1 };
        thread::scope(|scope| {
            scope.spawn(|| doorbell.ring());
            wait_any(&device, &[next], Some(&bell));
        });
        assert_eq!(doorbell.rings(), value);
    }
}

// audit: C18
#[test]
fn a_completed_value_leaves_the_list_to_its_owner() {
    let device = CpuDevice::with_workers(3).unwrap();
    let increment = device.create_pipeline(&increment()).unwrap();
    let memory = device.allocate(MemoryKind::Device, 1 << 20).unwrap();
    let mut line = Line::new(&device);
    // Large enough to be shared, and too small for it.
    for (bytes, rounds) in [(1 << 20, 300), (1 << 12, 3_000)] {
        write(&device, &memory, 0, &[0; 1 << 18]);
        for _ in 0..rounds {
            let mut list = Builder::default().dispatch(&increment, &[], 1 << 10, &[(&memory, 0, bytes)]).build();
            let done = line.submit(&list, &[]);
            while line.timeline.completed() < done.value {
                std::hint::spin_loop();
            }
            assert!(Arc::get_mut(&mut list).is_some(), "the device still holds the list");
        }
        assert_eq!(read(&device, &memory, 0, bytes as usize / 4), vec![rounds; bytes as usize / 4]);
    }
}

// audit: F4
#[test]
fn work_in_flight_outlives_every_handle() {
    for workers in 1..=3 {
        let device = CpuDevice::with_workers(workers).unwrap();
        let (gate, increment) =
            (device.create_pipeline(&gate()).unwrap(), device.create_pipeline(&increment()).unwrap());
        let cells = device.allocate(MemoryKind::Device, 2 * CELL).unwrap();
        let add = Builder::default().dispatch(&increment, &[], 1, &[(&cells, CELL, 4)]).build();
        let index = 1 + workers;
        let held = Builder::default().dispatch(&gate, &(index as u32).to_ne_bytes(), 1, &[(&cells, 0, 4)]).build();
        let mut last = Line::new(&device).submit(&held, &[]);
        GATES[index].arrived(1);
        for _ in 0..50 {
            // Each on a queue that is gone at once.
            last = Line::new(&device).submit(&add, &[last]);
        }
        drop((add, held, gate, increment));
        // Returns although a list cannot end yet.
        drop(device);
        assert!(!last.timeline.wait(1, SHORT).unwrap());
        GATES[index].open();
        wait(&last);
        let device = CpuDevice::with_workers(1).unwrap();
        assert_eq!(read(&device, &cells, CELL, 1), [50]);
    }
}

// audit: C20
#[test]
fn a_list_may_hold_the_last_of_everything() {
    let device = CpuDevice::with_workers(2).unwrap();
    for _ in 0..200 {
        let pipeline = device.create_pipeline(&increment()).unwrap();
        let memory = device.allocate(MemoryKind::Device, CELL).unwrap();
        let mut line = Line::new(&device);
        line.submit(&Builder::default().dispatch(&pipeline, &[], 1, &[(&memory, 0, 4)]).build(), &[]);
    }
    let done = Line::new(&device).submit(&Builder::default().build(), &[]);
    wait(&done);
}

/// Sets its flag when the test body has ended, so that a helper thread ends also after a failed assertion.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// audit: C8
#[test]
fn stress_devices_come_and_go_while_others_work() {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = EndOnDrop(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(CpuDevice::open().unwrap());
            }
        });
        for _ in 0..100 {
            let device = CpuDevice::open().unwrap();
            let increment = device.create_pipeline(&increment()).unwrap();
            let cell = device.allocate(MemoryKind::Device, CELL).unwrap();
            let add = Builder::default().dispatch(&increment, &[], 1, &[(&cell, 0, 4)]).build();
            let mut line = Line::new(&device);
            let last = (0..20).map(|_| line.submit(&add, &[])).last().unwrap();
            drop((line, device));
            wait(&last);
            assert_eq!(read(&CpuDevice::open().unwrap(), &cell, 0, 1), [20]);
        }
    });
}
