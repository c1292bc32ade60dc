//! What a dispatch is bound to, and its size.

use crate::program::Program;
use crate::rig::{Object, Rig, bytes, encoder, size};
use metal_sim::rules::*;
use objc2_metal::*;

fn encode(use_it: impl FnOnce(&Rig, &Object<dyn MTLComputeCommandEncoder>, &Object<dyn MTLBuffer>)) {
    let rig = Rig::new();
    let (commands, data) = (rig.commands(), rig.buffer(&[0; 128]));
    let encoder = encoder(&commands);
    use_it(&rig, &encoder, &data);
    encoder.endEncoding();
}

fn bind(encoder: &Object<dyn MTLComputeCommandEncoder>, data: &Object<dyn MTLBuffer>, offset: usize, index: usize) {
    // SAFETY: a kernel's argument, or the mistake that is to be found.
    unsafe { encoder.setBuffer_offset_atIndex(Some(data), offset, index) };
}

fn turn(lengths: &[usize], grid: usize, threads: usize) {
    encode(|rig, encoder, data| {
        encoder.setComputePipelineState(&rig.turn);
        bind(encoder, data, 0, 0);
        for (index, length) in lengths.iter().enumerate() {
            // SAFETY: a kernel's argument, or the mistake that is to be found.
            unsafe { encoder.setThreadgroupMemoryLength_atIndex(*length, index) };
        }
        encoder.dispatchThreadgroups_threadsPerThreadgroup(size(grid), size(threads));
    });
}

pub const PROGRAMS: &[Program] = &[
    Program::breaks(SET_BYTES, "more_than_4_kib_by_set_bytes", || {
        encode(|_, encoder, _| bytes(encoder, &[0; 1025], 1))
    }),
    Program::breaks(BINDING, "an_index_of_31", || encode(|_, encoder, data| bind(encoder, data, 0, 31))),
    Program::breaks(BINDING, "an_offset_behind_the_buffer", || encode(|_, encoder, data| bind(encoder, data, 516, 0))),
    Program::breaks(BINDING, "an_offset_without_a_buffer", || {
        // SAFETY: the mistake that is to be found.
        encode(|_, encoder, _| unsafe { encoder.setBufferOffset_atIndex(0, 0) });
    }),
    Program::breaks(NO_PIPELINE, "a_dispatch_without_a_pipeline", || {
        encode(|_, encoder, _| encoder.dispatchThreadgroups_threadsPerThreadgroup(size(1), size(1)));
    }),
    Program::breaks(UNBOUND, "an_argument_is_not_bound", || {
        encode(|rig, encoder, data| {
            encoder.setComputePipelineState(&rig.affine);
            bind(encoder, data, 0, 0);
            encoder.dispatchThreadgroups_threadsPerThreadgroup(size(1), size(1));
        });
    }),
    Program::breaks(MISALIGNED, "an_argument_is_misaligned", || {
        encode(|rig, encoder, data| {
            encoder.setComputePipelineState(&rig.affine);
            bytes(encoder, &[1, 0], 1);
            bind(encoder, data, 2, 0);
            encoder.dispatchThreadgroups_threadsPerThreadgroup(size(1), size(1));
        });
    }),
    Program::breaks(SHORT_ARGUMENT, "an_argument_is_too_short", || {
        encode(|rig, encoder, data| {
            encoder.setComputePipelineState(&rig.affine);
            bind(encoder, data, 0, 0);
            bytes(encoder, &[1], 1);
            encoder.dispatchThreadgroups_threadsPerThreadgroup(size(1), size(1));
        });
    }),
    Program::breaks(THREADGROUP_MEMORY, "no_threadgroup_memory", || turn(&[], 1, 64)),
    Program::breaks(THREADGROUP_MEMORY, "too_little_threadgroup_memory", || turn(&[128], 1, 64)),
    Program::breaks(THREADGROUP_MEMORY, "threadgroup_memory_of_no_multiple_of_16", || turn(&[264], 1, 64)),
    Program::breaks(THREADGROUP_MEMORY, "too_much_threadgroup_memory", || turn(&[(32 << 10) + 16], 1, 64)),
    Program::breaks(DISPATCH_SIZE, "too_many_threads", || turn(&[256], 1, 65)),
    Program::breaks(DISPATCH_SIZE, "an_empty_grid", || turn(&[256], 0, 64)),
    Program::breaks(DISPATCH_SIZE, "an_empty_threadgroup", || turn(&[256], 1, 0)),
];
