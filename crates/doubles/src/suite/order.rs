//! Queues, timelines and the lives of what they use.

use super::rig::{Builder, Line, advance, advanced, random, wait, words, write, zeroed};
use super::{Gpu, Test};
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Error, Listener, MemoryKind, Reported, TimelinePoint, Timestamps};

pub const TESTS: &[(&str, Test)] = &[
    ("lists_of_more_queues_than_the_device_has_wait_for_each_other", lists_wait_for_each_other),
    ("a_doorbell_wakes_who_waits", a_doorbell_wakes_who_waits),
    ("an_interrupt_ends_waits", an_interrupt_ends_waits),
    ("timestamps_rise", timestamps_rise),
    // audit: C25 (metal, vulkan)
    ("command_buffers_are_used_again", command_buffers_are_used_again),
    ("objects_of_another_device_are_refused", objects_of_another_device_are_refused),
    // audit: C20 (metal, vulkan)
    ("what_is_dropped_while_it_runs_runs_to_its_end", what_is_dropped_while_it_runs_runs_to_its_end),
    ("stress_many_threads_and_queues", stress_many_threads_and_queues),
];

fn lists_wait_for_each_other(gpu: &Gpu) {
    let device = &*gpu.device;
    let pipeline = device.create_pipeline(&advance()).unwrap();
    let memory = zeroed(device, 4096);
    let mut random = random();
    let mut lines: Vec<Line> = (0..device.info().parallelism as usize + 3).map(|_| Line::new(device)).collect();
    let (mut expected, mut last) = (0, Vec::<TimelinePoint>::new());
    for _ in 0..300 {
        let salt = random.u32(..);
        expected = advanced(expected, salt);
        let list = Builder::default().barrier();
        let list = list.dispatch(&pipeline, &salt.to_ne_bytes(), [1024, 1, 1], &[(&memory, 0, 4096)]);
        let line = random.usize(..lines.len());
        last = vec![lines[line].submit(&list.build(), &last)];
    }
    wait(&last[0]);
    assert!(words(device, &memory, 0, 1024).iter().all(|word| *word == expected));
}

fn a_doorbell_wakes_who_waits(gpu: &Gpu) {
    let device = &*gpu.device;
    let bell = device.create_doorbell().unwrap();
    let mut line = Line::new(device);
    line.run(&Builder::default().build());
    for round in 0..50 {
        let listener = Listener::new(&bell);
        assert_eq!((listener.heard, listener.is_rung()), (round, false));
        // Beside a list that never comes, and alone.
        let never = TimelinePoint { timeline: Arc::clone(&line.timeline), value: line.value + 1 };
        let points: &[_] = if round % 2 == 0 { &[never] } else { &[] };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                // It may answer early.
                while !listener.is_rung() {
                    device.wait_any(points, Some(&listener), None).unwrap();
                }
            });
            bell.ring();
            waiting.join().unwrap();
        });
        device.wait_any(points, Some(&listener), None).unwrap();
    }
}

fn an_interrupt_ends_waits(gpu: &Gpu) {
    let device = &*gpu.device;
    let mut line = Line::new(device);
    let timeline = Arc::clone(&line.timeline);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| timeline.wait(1, None).unwrap());
        timeline.interrupt();
        assert!(!waiting.join().unwrap());
    });
    assert!(!timeline.wait(1, None).unwrap());
    line.submit(&Builder::default().build(), &[]);
    // The timeline itself goes on.
    while timeline.completed() < 1 {
        std::thread::yield_now();
    }
    assert!(timeline.wait(1, None).unwrap());
}

fn timestamps_rise(gpu: &Gpu) {
    let device = &*gpu.device;
    let memory = device.allocate(MemoryKind::Device, 1 << 20).unwrap();
    let mut line = Line::new(device);
    let mut last = Duration::ZERO;
    for _ in 0..5 {
        let mut builder = Builder::default().barrier();
        for pattern in 0..6 {
            builder = builder.timestamp().fill((&memory, 0, 1 << 20), pattern);
        }
        line.run(&builder.timestamp().build());
        let reports = line.timeline.take_reports();
        let expected = match device.info().timestamps {
            Timestamps::None => 0,
            Timestamps::ByList => 2,
            Timestamps::ByCommand => 7,
        };
        assert_eq!(reports.len(), expected);
        for report in &reports {
            let Reported::Time(time) = report.what else { panic!("{report:?}") };
            assert!(time >= last && report.value == line.value, "{report:?} after {last:?}");
            last = time;
        }
        assert!(line.timeline.take_reports().is_empty());
    }
}

fn command_buffers_are_used_again(gpu: &Gpu) {
    let device = &*gpu.device;
    let memory = device.allocate(MemoryKind::Device, 256).unwrap();
    let mut line = Line::new(device);
    for pattern in 0..2000 {
        let signal = line.submit(&Builder::default().barrier().fill((&memory, 0, 256), pattern).build(), &[]);
        if pattern % 50 == 49 {
            wait(&signal);
            assert_eq!(words(device, &memory, 0, 64), [pattern; 64]);
        }
    }
    // A list is let go of once it has run and somebody asks.
    line.timeline.take_reports();
    assert_eq!(Arc::strong_count(&memory), 1);
}

fn objects_of_another_device_are_refused(gpu: &Gpu) {
    let device = &*gpu.device;
    let other = (gpu.open)();
    let foreign = |result| matches!(result, Err(Error::ForeignObject { .. }));
    let memory = other.allocate(MemoryKind::Device, 256).unwrap();
    // SAFETY: nothing uses the memory.
    assert!(foreign(unsafe { device.read(&memory, 0, &mut [0; 4]) }));
    // SAFETY: as above.
    assert!(foreign(unsafe { device.write(&memory, 0, &[0; 4]) }));
    let mut line = Line::new(device);
    assert!(foreign(line.try_submit(&Builder::default().fill((&memory, 0, 256), 1).build(), &[])));
    let elsewhere = TimelinePoint { timeline: Arc::clone(other.create_queue().unwrap().timeline()), value: 0 };
    assert!(foreign(line.try_submit(&Builder::default().build(), std::slice::from_ref(&elsewhere))));
    let pipeline = other.create_pipeline(&advance()).unwrap();
    let own = device.allocate(MemoryKind::Device, 256).unwrap();
    let list = Builder::default().dispatch(&pipeline, &[0; 4], [64, 1, 1], &[(&own, 0, 256)]).build();
    assert!(foreign(line.try_submit(&list, &[])));
    assert!(foreign(device.wait_any(&[elsewhere], None, None)));
    let bell = Listener::new(&other.create_doorbell().unwrap());
    assert!(foreign(device.wait_any(&[], Some(&bell), None)));
    line.run(&Builder::default().fill((&own, 0, 256), 1).build());
}

fn what_is_dropped_while_it_runs_runs_to_its_end(gpu: &Gpu) {
    let device = &*gpu.device;
    let pipeline = device.create_pipeline(&advance()).unwrap();
    for _ in 0..20 {
        let memory = device.allocate(MemoryKind::Device, 1 << 22).unwrap();
        let mut line = Line::new(device);
        let mut builder = Builder::default();
        for salt in 0..8u32 {
            let operand = (&memory, 0, 1 << 22);
            builder = builder.dispatch(&pipeline, &salt.to_ne_bytes(), [1 << 20, 1, 1], &[operand]);
        }
        line.submit(&builder.build(), &[]);
        // The queue, the timeline and the memory are all in use.
        drop((memory, line));
    }
    // A device as a whole, too. It is gone or stays open; neither may end the process.
    let other = (gpu.open)();
    let memory = other.allocate(MemoryKind::Device, 1 << 22).unwrap();
    let mut line = Line::new(&*other);
    line.submit(&Builder::default().fill((&memory, 0, 1 << 22), 1).build(), &[]);
    drop((other, memory, line));
}

/// Each thread has a queue and a memory of its own, reads, writes, and waits for its neighbour.
fn stress_many_threads_and_queues(gpu: &Gpu) {
    let device = &*gpu.device;
    let pipeline = device.create_pipeline(&advance()).unwrap();
    let threads = 12u32;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (device, pipeline) = (Arc::clone(&gpu.device), Arc::clone(&pipeline));
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(u64::from(thread));
                let mut line = Line::new(&*device);
                for _ in 0..30 {
                    let memory = device.allocate(MemoryKind::Device, 1 << 14).unwrap();
                    let start = random.u32(..);
                    write(&*device, &memory, 0, &[start; 1 << 12]);
                    let salts: Vec<u32> = (0..5).map(|_| random.u32(..)).collect();
                    let mut waits = Vec::new();
                    for salt in &salts {
                        let operand = [(&memory, 0, 1 << 14)];
                        let list = Builder::default().barrier();
                        let list = list.dispatch(&pipeline, &salt.to_ne_bytes(), [1 << 12, 1, 1], &operand).build();
                        waits = vec![line.submit(&list, &waits)];
                    }
                    wait(&waits[0]);
                    let expected = salts.iter().fold(start, |x, salt| advanced(x, *salt));
                    assert!(words(&*device, &memory, 0, 1 << 12).iter().all(|word| *word == expected));
                }
            });
        }
    });
}
