//! Heaps, buffers, residency, and the life of what is in use.

use crate::program::Program;
use crate::rig::{Object, Rig, SHARED, as_event, device, encoder, heap_descriptor, read, run, size, write};
use metal_sim::rules::*;
use objc2::rc::autoreleasepool;
use objc2::runtime::ProtocolObject;
use objc2_metal::*;

fn place(descriptor: &MTLHeapDescriptor, length: usize, options: MTLResourceOptions, offset: usize) {
    let heap = device().newHeapWithDescriptor(descriptor).expect("a heap");
    // SAFETY: the mistake that is to be found.
    unsafe { heap.newBufferWithLength_options_offset(length, options, offset) };
}

fn further_heap(rig: &Rig) -> (Object<dyn MTLHeap>, Object<dyn MTLBuffer>) {
    let heap = rig.device.newHeapWithDescriptor(&heap_descriptor(4096)).expect("a heap");
    // SAFETY: the heap's first buffer.
    let buffer = unsafe { heap.newBufferWithLength_options_offset(256, SHARED, 0) }.expect("a buffer");
    (heap, buffer)
}

/// Encodes into a command buffer without references, held back by an event, lets go of something, and has it run.
fn in_flight(use_it: impl FnOnce(&Rig, &ProtocolObject<dyn MTLCommandBuffer>)) {
    let rig = Rig::new();
    let event = rig.device.newSharedEvent().expect("an event");
    autoreleasepool(|_| {
        let commands = rig.queue.commandBufferWithUnretainedReferences().expect("a command buffer");
        commands.encodeWaitForEvent_value(as_event(&event), 1);
        use_it(&rig, &commands);
        commands.commit();
    });
    event.setSignaledValue(1);
}

pub const PROGRAMS: &[Program] = &[
    Program::breaks(PLACEMENT, "a_buffer_behind_its_heap", || place(&heap_descriptor(4096), 256, SHARED, 4096)),
    Program::breaks(PLACEMENT, "a_buffer_at_a_misaligned_offset", || place(&heap_descriptor(4096), 256, SHARED, 64)),
    Program::breaks(PLACEMENT, "a_private_buffer_in_a_shared_heap", || {
        place(&heap_descriptor(4096), 256, MTLResourceOptions::StorageModePrivate, 0);
    }),
    Program::breaks(PLACEMENT, "a_place_in_an_automatic_heap", || {
        let descriptor = heap_descriptor(4096);
        descriptor.setType(MTLHeapType::Automatic);
        place(&descriptor, 256, SHARED, 0);
    }),
    Program::breaks(PRIVATE_CONTENTS, "contents_of_a_private_buffer", || {
        let buffer = device().newBufferWithLength_options(256, MTLResourceOptions::StorageModePrivate);
        buffer.expect("a buffer").contents();
    }),
    Program::breaks(NOT_RESIDENT, "a_heap_in_no_set", || {
        let rig = Rig::new();
        let (_heap, buffer) = further_heap(&rig);
        run(&rig.stepped(&rig.queue, &buffer, [1, 1], None));
    }),
    Program::breaks(NOT_RESIDENT, "a_heap_whose_set_is_not_committed", || {
        let rig = Rig::new();
        let (heap, buffer) = further_heap(&rig);
        rig.set.as_ref().expect("a set").addAllocation(ProtocolObject::from_ref(&*heap));
        run(&rig.stepped(&rig.queue, &buffer, [1, 1], None));
    }),
    Program::breaks(NOT_RESIDENT, "a_heap_whose_set_the_queue_has_not", || {
        let rig = Rig::new();
        let queue = rig.device.newCommandQueue().expect("a queue");
        run(&rig.stepped(&queue, &rig.buffer(&[0]), [1, 1], None));
    }),
    Program::breaks(NOT_RESIDENT, "a_heap_leaves_the_set_before_the_work_runs", || {
        let rig = Rig::new();
        let event = rig.device.newSharedEvent().expect("an event");
        let commands = rig.commands();
        commands.encodeWaitForEvent_value(as_event(&event), 1);
        let (encoder, data) = (encoder(&commands), rig.buffer(&[0]));
        rig.step(&encoder, &data, [1, 1]);
        encoder.endEncoding();
        commands.commit();
        let set = rig.set.as_ref().expect("a set");
        set.removeAllocation(ProtocolObject::from_ref(&*rig.heap));
        set.commit();
        event.setSignaledValue(1);
        commands.waitUntilCompleted();
    }),
    Program::ends("an_encoder_uses_a_heap_that_is_in_no_set", || {
        let rig = Rig::new();
        let (heap, buffer) = further_heap(&rig);
        write(&buffer, &[3]);
        for by_heap in [true, false] {
            let commands = rig.commands();
            let encoder = encoder(&commands);
            if by_heap {
                encoder.useHeap(&heap);
            } else {
                encoder.useResource_usage(ProtocolObject::from_ref(&*buffer), MTLResourceUsage::Write);
            }
            rig.step(&encoder, &buffer, [2, 1]);
            encoder.endEncoding();
            run(&commands);
        }
        assert_eq!(read(&buffer)[0], 15);
    }),
    Program::breaks(RESIDENCY_SETS, "33_residency_sets", || {
        let rig = Rig::new();
        for _ in 0..32 {
            let set = rig.device.newResidencySetWithDescriptor_error(&MTLResidencySetDescriptor::new());
            rig.queue.addResidencySet(&set.expect("a set"));
        }
    }),
    Program::ends("a_residency_set_counts", || {
        let rig = Rig::new();
        let set = rig.set.as_ref().expect("a set");
        let (heap, _buffer) = further_heap(&rig);
        let allocation = ProtocolObject::from_ref(&*heap);
        assert!(!set.containsAllocation(allocation));
        set.addAllocation(allocation);
        set.addAllocation(allocation);
        assert!(set.containsAllocation(allocation));
        assert_eq!(set.allocationCount(), 2);
        set.requestResidency();
        set.removeAllocation(allocation);
        assert_eq!(set.allocationCount(), 1);
        set.removeAllAllocations();
        set.endResidency();
        assert_eq!(set.allocationCount(), 0);
    }),
    Program::breaks(DIED_IN_FLIGHT, "a_buffer_dies_in_flight", || {
        in_flight(|rig, commands| {
            let encoder = encoder(commands);
            rig.step(&encoder, &rig.buffer(&[0]), [1, 1]);
            encoder.endEncoding();
        });
    }),
    Program::breaks(DIED_IN_FLIGHT, "a_heap_dies_in_flight", || {
        in_flight(|rig, commands| {
            let encoder = encoder(commands);
            encoder.useHeap(&rig.device.newHeapWithDescriptor(&heap_descriptor(256)).expect("a heap"));
            encoder.endEncoding();
        });
    }),
    Program::breaks(DIED_IN_FLIGHT, "a_fence_dies_in_flight", || {
        in_flight(|rig, commands| {
            let encoder = encoder(commands);
            encoder.updateFence(&rig.device.newFence().expect("a fence"));
            encoder.endEncoding();
        });
    }),
    Program::breaks(DIED_IN_FLIGHT, "a_pipeline_dies_in_flight", || {
        in_flight(|rig, commands| {
            let encoder = encoder(commands);
            let text = "using metal::uint;\n[[max_total_threads_per_threadgroup(1)]] kernel void nothing(\n  metal::uint3 group [[threadgroup_position_in_grid]]\n) {\n}\n";
            let text = format!("#include <metal_stdlib>\n#include <simd/simd.h>\n{text}");
            encoder.setComputePipelineState(&crate::rig::pipeline(&rig.device, &text, "nothing"));
            encoder.dispatchThreadgroups_threadsPerThreadgroup(size(1), size(1));
            encoder.endEncoding();
        });
    }),
    Program::breaks(DIED_IN_FLIGHT, "an_event_dies_in_flight", || {
        in_flight(|rig, commands| {
            commands.encodeSignalEvent_value(as_event(&rig.device.newSharedEvent().expect("an event")), 1);
        });
    }),
    Program::ends("a_command_buffer_keeps_what_it_uses", || {
        let rig = Rig::new();
        let event = rig.device.newSharedEvent().expect("an event");
        let commands = autoreleasepool(|_| {
            let commands = rig.commands();
            commands.encodeWaitForEvent_value(as_event(&event), 1);
            let encoder = encoder(&commands);
            encoder.updateFence(&rig.device.newFence().expect("a fence"));
            rig.step(&encoder, &rig.buffer(&[0]), [1, 1]);
            encoder.endEncoding();
            commands.encodeSignalEvent_value(as_event(&rig.device.newSharedEvent().expect("an event")), 1);
            commands.commit();
            commands
        });
        event.setSignaledValue(1);
        commands.waitUntilCompleted();
        assert_eq!(commands.status(), MTLCommandBufferStatus::Completed);
    }),
    Program::ends("buffers_lie_where_they_are_placed", || {
        let device = device();
        let before = device.currentAllocatedSize();
        let heap = device.newHeapWithDescriptor(&heap_descriptor(64 << 10)).expect("a heap");
        assert_eq!((heap.size(), device.currentAllocatedSize() - before), (64 << 10, 64 << 10));
        let needs = device.heapBufferSizeAndAlignWithLength_options(1000, SHARED);
        assert_eq!((needs.size, needs.align), (1024, 256));
        // SAFETY: three buffers, of which the last covers the others.
        let [first, second, all] = [(1000, 0), (1000, 1024), (2048, 0)].map(|(length, offset)| unsafe {
            heap.newBufferWithLength_options_offset(length, SHARED, offset).expect("a buffer")
        });
        write(&first, &[1, 2, 3]);
        write(&second, &[4, 5, 6]);
        assert_eq!(read(&all)[..3], [1, 2, 3]);
        assert_eq!(read(&all)[256..259], [4, 5, 6]);
        assert_eq!(second.gpuAddress() - first.gpuAddress(), 1024);
        assert_eq!((second.length(), second.heapOffset(), second.storageMode()), (1000, 1024, MTLStorageMode::Shared));
        assert_eq!(first.hazardTrackingMode(), MTLHazardTrackingMode::Untracked);
        drop((first, second, all, heap));
        assert_eq!(device.currentAllocatedSize(), before);
    }),
    Program::ends("there_is_no_endless_memory", || {
        let device = device();
        assert!(device.newHeapWithDescriptor(&heap_descriptor(9 << 30)).is_none());
        assert!(device.newBufferWithLength_options(device.maxBufferLength() + 1, SHARED).is_none());
    }),
];
