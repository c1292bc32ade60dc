//! Encoders and command buffers: what may follow what.

use crate::program::Program;
use crate::rig::{Rig, as_event, encoder, on_completion, run};
use metal_sim::rules::*;
use objc2::rc::autoreleasepool;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_metal::*;

pub const PROGRAMS: &[Program] = &[
    Program::breaks(TWO_ENCODERS, "two_encoders", || {
        let commands = Rig::new().commands();
        let _first = encoder(&commands);
        encoder(&commands);
    }),
    Program::breaks(OPEN_ENCODER, "commit_with_an_open_encoder", || {
        let commands = Rig::new().commands();
        let _open = encoder(&commands);
        commands.commit();
    }),
    Program::breaks(OPEN_ENCODER, "signal_with_an_open_encoder", || {
        let rig = Rig::new();
        let (commands, event) = (rig.commands(), rig.device.newSharedEvent().expect("an event"));
        let _open = encoder(&commands);
        commands.encodeSignalEvent_value(as_event(&event), 1);
    }),
    Program::breaks(OPEN_ENCODER, "an_encoder_dies_open", || {
        autoreleasepool(|_| drop(encoder(&Rig::new().commands())));
    }),
    Program::breaks(ENDED_ENCODER, "ended_twice", || {
        let commands = Rig::new().commands();
        let encoder = encoder(&commands);
        encoder.endEncoding();
        encoder.endEncoding();
    }),
    Program::breaks(ENDED_ENCODER, "a_barrier_after_the_end", || {
        let commands = Rig::new().commands();
        let encoder = encoder(&commands);
        encoder.endEncoding();
        encoder.memoryBarrierWithScope(MTLBarrierScope::Buffers);
    }),
    Program::breaks(COMMITTED_TWICE, "committed_twice", || {
        let commands = Rig::new().commands();
        commands.commit();
        commands.commit();
    }),
    Program::breaks(AFTER_COMMIT, "a_handler_after_commit", || {
        let commands = Rig::new().commands();
        run(&commands);
        on_completion(&commands, |_| ());
    }),
    Program::breaks(AFTER_COMMIT, "an_encoder_after_commit", || {
        let commands = Rig::new().commands();
        run(&commands);
        encoder(&commands);
    }),
    Program::breaks(WAIT_BEFORE_COMMIT, "wait_before_commit", || Rig::new().commands().waitUntilCompleted()),
    Program::breaks(TWO_THREADS, "an_encoder_in_two_threads", || {
        let commands = Rig::new().commands();
        let encoder = encoder(&commands);
        let text = NSString::from_str("here");
        in_two_threads(&*encoder, |encoder| encoder.insertDebugSignpost(&text));
    }),
    Program::breaks(TWO_THREADS, "a_command_buffer_in_two_threads", || {
        let commands = Rig::new().commands();
        let text = NSString::from_str("here");
        in_two_threads(&*commands, |commands| commands.pushDebugGroup(&text));
    }),
    Program::breaks(TWO_THREADS, "a_residency_set_in_two_threads", || {
        let rig = Rig::new();
        let set = rig.set.as_deref().expect("a system with residency sets");
        in_two_threads(set, |set| {
            set.allocationCount();
        });
    }),
    Program::breaks(QUEUE_FULL, "a_queue_is_full", || {
        let rig = Rig::new();
        let held: Vec<_> = (0..65).map(|_| rig.commands()).collect();
        drop(held);
    })
    .with(&[("METAL_SIM_PATIENCE", "100")]),
    Program::breaks(DEBUG_GROUP, "a_debug_group_is_left_twice", || {
        let commands = Rig::new().commands();
        let encoder = encoder(&commands);
        encoder.pushDebugGroup(&NSString::from_str("once"));
        encoder.popDebugGroup();
        encoder.popDebugGroup();
    }),
    Program::breaks(DEBUG_GROUP, "a_debug_group_of_a_command_buffer_is_left", || Rig::new().commands().popDebugGroup()),
    Program::ends("places_on_a_queue_come_back", || {
        let rig = Rig::new();
        for turn in 0..300 {
            autoreleasepool(|_| {
                let commands = rig.commands();
                if turn % 2 == 0 {
                    run(&commands);
                }
            });
        }
    }),
];

/// Uses an object in two threads until the process ends.
fn in_two_threads<T: ?Sized>(object: &ProtocolObject<T>, message: impl Fn(&ProtocolObject<T>)) {
    struct Shared<T>(T);
    // SAFETY: none; it is the mistake that is to be found.
    unsafe impl<T> Send for Shared<T> {}
    // SAFETY: as above.
    unsafe impl<T> Sync for Shared<T> {}
    let shared = &Shared((object, message));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let (object, message) = &shared.0;
                (0..100_000_000u32).for_each(|_| message(object));
            });
        }
    });
}
