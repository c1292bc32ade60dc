//! What goes wrong on purpose.

use crate::program::Program;
use crate::rig::{Rig, SHARED, as_event, device, heap_descriptor, on_completion, read, run, safe_options};
use metal_sim::faults;
use objc2::rc::autoreleasepool;
use objc2_foundation::NSString;
use objc2_metal::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU32, Ordering};

pub const PROGRAMS: &[Program] = &[
    Program::ends("a_command_buffer_is_killed", || {
        let rig = Rig::new();
        let (data, fence) = (rig.buffer(&[0]), rig.device.newFence().expect("a fence"));
        let event = rig.device.newSharedEvent().expect("an event");
        let seen = Arc::new(AtomicIsize::new(0));
        faults::kill_command_buffers(faults::TIMEOUT, 1);
        let killed = rig.stepped(&rig.queue, &data, [0, 7], Some(&fence));
        killed.encodeSignalEvent_value(as_event(&event), 1);
        let code = seen.clone();
        on_completion(&killed, move |commands| {
            code.store(commands.error().expect("an error").code(), Ordering::Relaxed);
        });
        let next = rig.stepped(&rig.queue, &data, [0, 9], Some(&fence));
        killed.commit();
        run(&next);
        let error = killed.error().expect("an error");
        assert_eq!(
            (killed.status(), next.status()),
            (MTLCommandBufferStatus::Error, MTLCommandBufferStatus::Completed)
        );
        assert_eq!((error.code(), seen.load(Ordering::Relaxed)), (faults::TIMEOUT, faults::TIMEOUT));
        assert_eq!(error.domain().to_string(), "MTLCommandBufferErrorDomain");
        assert!(error.localizedDescription().to_string().contains("Timeout"), "{error}");
        assert_eq!((event.signaledValue(), read(&data)[0]), (0, 9));
        assert!(next.error().is_none());
    }),
    Program::ends("a_killed_command_buffer_does_some_of_its_work", || {
        let rig = Rig::new();
        let data = rig.buffer(&[0]);
        let counts = Arc::new([const { AtomicU32::new(0) }; 5]);
        for _ in 0..200 {
            autoreleasepool(|_| {
                crate::rig::write(&data, &[0]);
                let commands = rig.commands();
                let encoder = commands.computeCommandEncoder().expect("an encoder");
                (0..4).for_each(|_| rig.step(&encoder, &data, [1, 1]));
                encoder.endEncoding();
                faults::kill_command_buffers(faults::PAGE_FAULT, 1);
                run(&commands);
                assert_eq!(commands.status(), MTLCommandBufferStatus::Error);
                counts[read(&data)[0] as usize].fetch_add(1, Ordering::Relaxed);
            });
        }
        assert!(counts.iter().filter(|count| count.load(Ordering::Relaxed) > 0).count() > 2, "{counts:?}");
    }),
    Program::ends("a_wait_is_not_what_a_dead_command_buffer_leaves_behind", || {
        let rig = Rig::new();
        let event = rig.device.newSharedEvent().expect("an event");
        for _ in 0..20 {
            autoreleasepool(|_| {
                faults::kill_command_buffers(faults::TIMEOUT, 1);
                let killed = rig.commands();
                killed.encodeSignalEvent_value(as_event(&event), 1);
                killed.encodeWaitForEvent_value(as_event(&event), 1);
                killed.commit();
                run(&rig.commands());
                assert_eq!(killed.status(), MTLCommandBufferStatus::Error);
                assert_eq!(event.signaledValue(), 0);
            });
        }
    }),
    Program::ends("submissions_are_ignored", || {
        let rig = Rig::new();
        let data = rig.buffer(&[0]);
        faults::ignore_submissions();
        for _ in 0..10 {
            let commands = rig.stepped(&rig.queue, &data, [1, 1], None);
            run(&commands);
            assert_eq!(commands.error().expect("an error").code(), faults::SUBMISSIONS_IGNORED);
        }
        faults::clear();
        let commands = rig.stepped(&rig.queue, &data, [0, 3], None);
        run(&commands);
        assert_eq!((commands.status(), read(&data)[0]), (MTLCommandBufferStatus::Completed, 3));
    }),
    Program::ends("there_is_no_memory_for_a_while", || {
        let device = device();
        faults::fail_allocations(2);
        assert!(device.newHeapWithDescriptor(&heap_descriptor(4096)).is_none());
        assert!(device.newBufferWithLength_options(256, SHARED).is_none());
        assert!(device.newHeapWithDescriptor(&heap_descriptor(4096)).is_some());
    }),
    Program::ends("a_text_does_not_compile", || {
        let rig = Rig::new();
        let compile = |text: &str| {
            let library =
                rig.device.newLibraryWithSource_options_error(&NSString::from_str(text), Some(&safe_options()));
            library.map(drop).map_err(|error| (error.code(), error.to_string()))
        };
        let text = "kernel void broken(\n  device uint& x [[buffer(0)]]\n) {\nx = nothing_of_this_name;\n}\n";
        let (code, said) = compile(&format!("#include <metal_stdlib>\n{text}")).expect_err("an error");
        assert!(code == 3 && said.contains("nothing_of_this_name"), "{said}");
        faults::fail_compilations(1);
        assert!(compile("").is_err());
    }),
];
