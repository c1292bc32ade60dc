//! Timestamps against the host's clock.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Builder, CELL, GATES, Line, fail, fresh, gate, increment, wait};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_cpu::CpuDevice;
use thalweg_hal::{Device, MemoryKind, Report, Reported, Timeline, Timestamps};

/// Value, command and time of every report. None may be a failure.
fn times(timeline: &Arc<dyn Timeline>) -> Vec<(u64, u32, Duration)> {
    let time = |Report { value, command, what }| match what {
        Reported::Time(time) => (value, command, time),
        Reported::Failed(error) => panic!("{error}"),
    };
    timeline.take_reports().into_iter().map(time).collect()
}

/// Lets the host's clock go on by so much that two readings of any clock differ.
fn let_time_pass() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2) {
        std::thread::yield_now();
    }
}

#[test]
fn a_timestamp_lies_between_what_is_before_and_after_it() {
    let device = CpuDevice::with_workers(2).unwrap();
    assert_eq!(device.info().timestamps, Timestamps::ByCommand);
    let gate = device.create_pipeline(&gate()).unwrap();
    let cell = device.allocate(MemoryKind::Device, CELL).unwrap();
    let mut line = Line::new(&device);
    let list = Builder::default().timestamp().dispatch(&gate, &0_u32.to_ne_bytes(), 1, &[(&cell, 0, 4)]).timestamp();
    let submitted = Instant::now();
    let done = line.submit(&list.build(), &[]);
    // The first was taken before the kernel began, the second will be after it has ended.
    GATES[0].arrived(1);
    let arrived = Instant::now();
    let_time_pass();
    let inside = arrived.elapsed();
    GATES[0].open();
    wait(&done);
    let around = submitted.elapsed();
    let times = times(&line.timeline);
    let [(1, 0, first), (1, 4, second)] = times[..] else { panic!("{times:?}") };
    assert!(second - first >= inside, "{times:?}: {inside:?} went by in the kernel");
    assert!(second - first <= around, "{times:?}: all of it took {around:?}");
}

#[test]
fn the_clock_is_one_for_all_queues_and_goes_at_the_hosts_pace() {
    let device = CpuDevice::with_workers(2).unwrap();
    let list = Builder::default().timestamp().build();
    // When the host knows each to have been taken: not before, not after.
    let mut taken: Vec<(Instant, Instant, Duration)> = Vec::new();
    for _ in 0..5 {
        let mut line = Line::new(&device);
        let before = Instant::now();
        let done = line.submit(&list, &[]);
        wait(&done);
        let after = Instant::now();
        let times = times(&line.timeline);
        let [(1, 0, time)] = times[..] else { panic!("{times:?}") };
        taken.push((before, after, time));
        let_time_pass();
    }
    for (earlier, (first_before, first_after, first)) in taken.iter().enumerate() {
        for (second_before, second_after, second) in &taken[earlier + 1..] {
            let passed = second.checked_sub(*first).expect("the clock went back");
            assert!(passed >= *second_before - *first_after && passed <= *second_after - *first_before, "{taken:?}");
        }
    }
}

#[test]
fn stress_times_and_failures_come_with_their_value_and_in_order() {
    let device = CpuDevice::with_workers(2).unwrap();
    let (fail, increment) = (device.create_pipeline(&fail()).unwrap(), device.create_pipeline(&increment()).unwrap());
    let mut random = fresh();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut random = random.fork();
            let (device, fail, increment) = (&device, &fail, &increment);
            scope.spawn(move || {
                let cell = device.allocate(MemoryKind::Device, 4).unwrap();
                let on = [(&cell, 0, 4)];
                let mut line = Line::new(device);
                let mut last = Duration::ZERO;
                for _ in 0..300 {
                    let mut list = Builder::default();
                    // Of each command, whether it is a timestamp, a failure or neither; each is followed by a barrier.
                    let kinds: Vec<_> = (0..random.usize(..6)).map(|_| random.usize(..3)).collect();
                    for kind in &kinds {
                        list = match kind {
                            0 => list.timestamp(),
                            1 => list.dispatch(fail, &[], 1, &on),
                            _ => list.dispatch(increment, &[], 1, &on),
                        };
                    }
                    let done = line.submit(&list.build(), &[]);
                    wait(&done);
                    let mut reports = line.timeline.take_reports().into_iter();
                    for (at, kind) in kinds.iter().enumerate().filter(|(_, kind)| **kind < 2) {
                        let report = reports.next().unwrap();
                        assert_eq!((report.value, report.command), (done.value, 2 * at as u32), "{kinds:?}");
                        match report.what {
                            Reported::Time(time) if *kind == 0 && time >= last => last = time,
                            Reported::Failed(_) if *kind == 1 => {}
                            what => panic!("{kinds:?}: {what:?} of command {at}"),
                        }
                    }
                    assert_eq!(reports.count(), 0, "{kinds:?}");
                }
            });
        }
    });
}
