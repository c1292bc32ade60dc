//! In which order things happen: what Metal orders always, and what it does not order only by chance.

use crate::program::Program;
use crate::rig::{Object, Rig, as_event, encoder, on_completion, read, run, write};
use metal_sim::rules::*;
use objc2::rc::autoreleasepool;
use objc2::runtime::ProtocolObject;
use objc2_metal::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

/// Three steps that do not commute: (((1 * 2 + 1) * 3 + 2) * 5 + 3).
const STEPS: [[u32; 2]; 3] = [[2, 1], [3, 2], [5, 3]];
const IN_ORDER: u32 = 58;
const TURNS: usize = 200;

fn wrong_results(turns: usize, turn: impl Fn() -> u32) -> usize {
    (0..turns).filter(|_| autoreleasepool(|_| turn()) != IN_ORDER).count()
}

/// Three steps in one encoder.
fn in_one_encoder(rig: &Rig, data: &Object<dyn MTLBuffer>, kind: MTLDispatchType, barriers: bool) -> u32 {
    write(data, &[1]);
    let commands = rig.commands();
    let encoder = commands.computeCommandEncoderWithDispatchType(kind).expect("an encoder");
    for step in STEPS {
        rig.step(&encoder, data, step);
        if barriers {
            encoder.memoryBarrierWithScope(MTLBarrierScope::Buffers);
        }
    }
    encoder.endEncoding();
    run(&commands);
    read(data)[0]
}

/// Three steps in a command buffer each, on one queue.
fn in_three(rig: &Rig, data: &Object<dyn MTLBuffer>, fence: Option<&ProtocolObject<dyn MTLFence>>) -> u32 {
    write(data, &[1]);
    let all = STEPS.map(|step| rig.stepped(&rig.queue, data, step, fence));
    all.iter().for_each(|commands| commands.commit());
    all.iter().for_each(|commands| commands.waitUntilCompleted());
    read(data)[0]
}

/// Three steps on three queues, with events between them or without.
fn on_three_queues(
    rig: &Rig,
    queues: &[Object<dyn MTLCommandQueue>; 3],
    data: &Object<dyn MTLBuffer>,
    event: &Object<dyn MTLSharedEvent>,
    base: u64,
) -> u32 {
    write(data, &[1]);
    let mut all = Vec::new();
    // Committed back to front, so that nothing but the events makes the order.
    for at in (0..3u64).rev() {
        let commands = queues[at as usize].commandBuffer().expect("a command buffer");
        commands.encodeWaitForEvent_value(as_event(event), base + at);
        let encoder = encoder(&commands);
        rig.step(&encoder, data, STEPS[at as usize]);
        encoder.endEncoding();
        commands.encodeSignalEvent_value(as_event(event), base + at + 1);
        commands.commit();
        all.push(commands);
    }
    all.iter().for_each(|commands| commands.waitUntilCompleted());
    read(data)[0]
}

pub const PROGRAMS: &[Program] = &[
    Program::ends("barriers_order_a_concurrent_encoder", || {
        let rig = Rig::new();
        let data = rig.buffer(&[0]);
        let concurrent = MTLDispatchType::Concurrent;
        assert_eq!(wrong_results(TURNS, || in_one_encoder(&rig, &data, concurrent, true)), 0);
        assert_ne!(wrong_results(TURNS, || in_one_encoder(&rig, &data, concurrent, false)), 0);
    }),
    Program::ends("a_serial_encoder_needs_no_barriers", || {
        let rig = Rig::new();
        let data = rig.buffer(&[0]);
        assert_eq!(wrong_results(TURNS, || in_one_encoder(&rig, &data, MTLDispatchType::Serial, false)), 0);
    }),
    Program::ends("fences_order_the_encoders_of_a_queue", || {
        let rig = Rig::new();
        let (data, fence) = (rig.buffer(&[0]), rig.device.newFence().expect("a fence"));
        assert_eq!(wrong_results(TURNS, || in_three(&rig, &data, Some(&fence))), 0);
        assert_ne!(wrong_results(TURNS, || in_three(&rig, &data, None)), 0);
    }),
    Program::ends("tracked_buffers_need_no_fences", || {
        let rig = Rig::new();
        let data = rig.device.newBufferWithLength_options(4, MTLResourceOptions::StorageModeShared).expect("a buffer");
        let set = rig.set.as_ref().expect("a set");
        set.addAllocation(ProtocolObject::from_ref(&*data));
        set.commit();
        assert_eq!(data.hazardTrackingMode(), MTLHazardTrackingMode::Tracked);
        assert_eq!(wrong_results(TURNS, || in_three(&rig, &data, None)), 0);
    }),
    Program::ends("events_order_queues", || {
        let rig = Rig::new();
        let queues = [rig.further_queue(), rig.further_queue(), rig.further_queue()];
        let data = rig.buffer(&[0]);
        let event = rig.device.newSharedEvent().expect("an event");
        let turn = std::cell::Cell::new(0);
        let wrong = wrong_results(TURNS, || {
            turn.set(turn.get() + 10);
            event.setSignaledValue(turn.get());
            on_three_queues(&rig, &queues, &data, &event, turn.get())
        });
        assert_eq!(wrong, 0);
    }),
    Program::ends("eight_threads_and_queues_chained_by_events", || chained(8, 100)),
    Program::ends("a_wait_holds_back_what_comes_after_it", || {
        let rig = Rig::new();
        let (data, event) = (rig.buffer(&[1]), rig.device.newSharedEvent().expect("an event"));
        let waits = rig.commands();
        waits.encodeWaitForEvent_value(as_event(&event), 1);
        waits.commit();
        let steps = rig.stepped(&rig.queue, &data, [2, 0], None);
        steps.commit();
        assert!(!event.waitUntilSignaledValue_timeoutMS(1, 20));
        assert_eq!((read(&data)[0], steps.status()), (1, MTLCommandBufferStatus::Committed));
        event.setSignaledValue(1);
        steps.waitUntilCompleted();
        assert_eq!(read(&data)[0], 2);
    }),
    Program::ends("a_signal_comes_after_what_was_committed_before", || {
        let rig = Rig::new();
        let (data, event) = (rig.buffer(&[0]), rig.device.newSharedEvent().expect("an event"));
        for turn in 1..=TURNS as u64 {
            autoreleasepool(|_| {
                rig.stepped(&rig.queue, &data, [1, 1], None).commit();
                let signals = rig.commands();
                signals.encodeSignalEvent_value(as_event(&event), turn);
                signals.commit();
                assert!(event.waitUntilSignaledValue_timeoutMS(turn, 60_000));
                assert_eq!(u64::from(read(&data)[0]), turn);
            });
        }
    }),
    Program::ends("handlers_are_called_in_order_and_before_waiters_wake", || {
        let rig = Rig::new();
        let called = Arc::new(AtomicU64::new(0));
        for turn in 0..TURNS as u64 {
            autoreleasepool(|_| {
                let commands = rig.commands();
                let seen = called.clone();
                on_completion(&commands, move |commands| {
                    assert_eq!(commands.status(), MTLCommandBufferStatus::Completed);
                    assert_eq!(seen.swap(turn + 1, Ordering::Relaxed), turn);
                });
                commands.commit();
                if turn % 8 == 7 {
                    commands.waitUntilCompleted();
                    assert_eq!(called.load(Ordering::Relaxed), turn + 1);
                    let (start, end) = times(&commands);
                    assert!(0.0 < start && start <= end);
                }
            });
        }
    }),
    Program::breaks(FENCE_ORDER, "a_fence_is_awaited_after_its_update", || {
        let rig = Rig::new();
        let (commands, fence) = (rig.commands(), rig.device.newFence().expect("a fence"));
        let encoder = encoder(&commands);
        encoder.updateFence(&fence);
        encoder.waitForFence(&fence);
    }),
    Program::breaks(FENCE_QUEUES, "a_fence_of_two_queues", || {
        let rig = Rig::new();
        let (data, fence) = (rig.buffer(&[0]), rig.device.newFence().expect("a fence"));
        run(&rig.stepped(&rig.queue, &data, [1, 1], Some(&fence)));
        run(&rig.stepped(&rig.further_queue(), &data, [1, 1], Some(&fence)));
    }),
    Program::breaks(HANG, "an_event_is_never_signalled", || {
        let rig = Rig::new();
        let (commands, event) = (rig.commands(), rig.device.newSharedEvent().expect("an event"));
        commands.encodeWaitForEvent_value(as_event(&event), 1);
        run(&commands);
    })
    .with(&[("METAL_SIM_PATIENCE", "100")]),
    Program::ends("a_process_ends_with_work_in_flight", || {
        let rig = Rig::new();
        let (data, event) = (rig.buffer(&[0]), rig.device.newSharedEvent().expect("an event"));
        let held = rig.commands();
        held.encodeWaitForEvent_value(as_event(&event), 1);
        held.commit();
        let further = rig.further_queue();
        for _ in 0..50 {
            rig.stepped(&further, &data, [1, 1], None).commit();
        }
    }),
];

fn times(commands: &ProtocolObject<dyn MTLCommandBuffer>) -> (f64, f64) {
    // SAFETY: both take nothing and return seconds.
    unsafe { (objc2::msg_send![commands, GPUStartTime], objc2::msg_send![commands, GPUEndTime]) }
}

/// Each thread has a queue and an event; each command buffer waits for the one before it, which another thread has
/// committed.
fn chained(threads: usize, rounds: u64) {
    struct Shared(Rig, Object<dyn MTLBuffer>, Object<dyn MTLSharedEvent>);
    // SAFETY: a device, a queue and an event may be used from any thread; the buffer and the heap are only named.
    unsafe impl Sync for Shared {}
    let rig = Rig::new();
    let (data, event) = (rig.buffer(&[1]), rig.device.newSharedEvent().expect("an event"));
    let (shared, start) = (&Shared(rig, data, event), &Barrier::new(threads));
    std::thread::scope(|scope| {
        for thread in 0..threads as u64 {
            scope.spawn(move || {
                let Shared(rig, data, event) = &{ shared };
                let queue = rig.further_queue();
                start.wait();
                for round in 0..rounds {
                    autoreleasepool(|_| {
                        let at = round * threads as u64 + thread;
                        let commands = queue.commandBuffer().expect("a command buffer");
                        commands.encodeWaitForEvent_value(as_event(event), at);
                        let encoder = encoder(&commands);
                        rig.step(&encoder, data, [3, at as u32]);
                        encoder.endEncoding();
                        commands.encodeSignalEvent_value(as_event(event), at + 1);
                        commands.commit();
                    });
                }
            });
        }
    });
    let all = threads as u64 * rounds;
    assert!(shared.2.waitUntilSignaledValue_timeoutMS(all, 60_000));
    let expected = (0..all as u32).fold(1u32, |value, at| value.wrapping_mul(3).wrapping_add(at));
    assert_eq!(read(&shared.1)[0], expected);
}
