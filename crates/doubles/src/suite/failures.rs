//! Kernels that fail.

use super::rig::{Builder, Line, kernel, wait, write, zeroed};
use super::{Gpu, Test};
use std::sync::Arc;
use thalweg_hal::{Access, Error, KernelSource, MemoryKind, Reported, TimelinePoint, Timestamps};

pub const TESTS: &[(&str, Test)] = &[
    // audit: C24 (metal, vulkan)
    ("exactly_the_kernels_that_fail_are_reported", exactly_the_kernels_that_fail_are_reported),
    ("a_prepared_list_reports_each_time", a_prepared_list_reports_each_time),
    #[cfg(debug_assertions)]
    (
        "a_list_that_breaks_a_rule_does_not_get_past_a_debug_build",
        a_list_that_breaks_a_rule_does_not_get_past_a_debug_build,
    ),
    ("an_allocation_larger_than_the_device_is_refused", an_allocation_larger_than_the_device_is_refused),
];

/// Fails where a word is odd.
fn picky() -> KernelSource {
    kernel(
        "picky",
        &[Access::Read],
        0,
        "@group(0) @binding(0) var<storage, read> x: array<u32>;
         @group(0) @binding(1) var<storage, read_write> failure: array<atomic<u32>, 2>;
         @compute @workgroup_size(64)
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             if id.x < arrayLength(&x) && x[id.x] % 2u == 1u {
                 if atomicCompareExchangeWeak(&failure[0], 0u, 1u).exchanged {
                     atomicStore(&failure[1], id.x);
                 }
             }
         }",
    )
}

fn exactly_the_kernels_that_fail_are_reported(gpu: &Gpu) {
    let device = &*gpu.device;
    let pipeline = device.create_pipeline(&picky()).unwrap();
    let memory = device.allocate(MemoryKind::Device, 1 << 16).unwrap();
    let mut line = Line::new(device);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..10 {
        // Which of the operands has an odd word, and where.
        let odd: Vec<Option<u32>> = (0..40).map(|_| random.bool().then(|| random.u32(..64))).collect();
        let mut builder = Builder::default().barrier();
        for (operand, odd) in odd.iter().enumerate() {
            let words: Vec<u32> = (0..64).map(|at| u32::from(*odd == Some(at))).collect();
            let offset = 256 * operand as u64;
            write(device, &memory, offset, &words);
            builder = builder.dispatch(&pipeline, &[], [64, 1, 1], &[(&memory, offset, 256)]);
        }
        let signal = line.submit(&builder.build(), &[]);
        wait(&signal);
        let reports = line.timeline.take_reports();
        let expected = odd.iter().enumerate().filter_map(|(operand, odd)| Some((1 + 2 * operand as u32, (*odd)?)));
        let expected: Vec<_> = expected.collect();
        assert_eq!(reports.len(), expected.len());
        for (report, (command, at)) in reports.iter().zip(expected) {
            assert_eq!((report.value, report.command), (signal.value, command));
            let Reported::Failed(Error::Kernel { kernel, failure }) = &report.what else { panic!("{report:?}") };
            assert_eq!((kernel.as_str(), failure.to_string()), ("picky", format!("the word is odd ({at})")));
        }
    }
}

/// Also when it runs again before the last time is over, on several queues, by itself and in other lists.
fn a_prepared_list_reports_each_time(gpu: &Gpu) {
    let device = &*gpu.device;
    let pipeline = device.create_pipeline(&picky()).unwrap();
    let (memory, counter) = (zeroed(device, 256), zeroed(device, 256));
    let advance = device.create_pipeline(&super::rig::advance()).unwrap();
    write(device, &memory, 0, &[3]);
    let list = Builder::default()
        .barrier()
        .dispatch(&pipeline, &[], [64, 1, 1], &[(&memory, 0, 256)])
        .dispatch(&advance, &1u32.to_ne_bytes(), [64, 1, 1], &[(&counter, 0, 256)])
        .build();
    // SAFETY: it keeps the rules.
    unsafe { device.prepare(&list) }.unwrap();
    let twice = Builder::default().barrier().timestamp().run(&list).run(&list).build();
    let mut lines = [Line::new(device), Line::new(device)];
    let mut last = Vec::new();
    for round in 0..60 {
        let line = &mut lines[round % 2];
        let signal = line.submit(if round % 3 == 0 { &list } else { &twice }, &last);
        if round % 7 == 0 {
            wait(&signal);
        }
        last = vec![signal];
    }
    // Of each: the host may see the end of a list before that of the one it waited for.
    lines.iter().for_each(|line| wait(&TimelinePoint { timeline: Arc::clone(&line.timeline), value: line.value }));
    let expected = |line: usize| {
        let rounds = (1..=30).map(move |value| (value, 2 * (value as usize - 1) + line));
        rounds.flat_map(|(value, round)| if round % 3 == 0 { vec![(value, 1)] } else { vec![(value, 3), (value, 5)] })
    };
    let mut runs = 0;
    for (index, line) in lines.iter().enumerate() {
        let reports = line.timeline.take_reports();
        let failed: Vec<(u64, u32)> = reports
            .iter()
            .filter(|report| matches!(report.what, Reported::Failed(_)))
            .map(|report| (report.value, report.command))
            .collect();
        assert_eq!(failed, expected(index).collect::<Vec<_>>());
        runs += failed.len();
        if device.info().timestamps != Timestamps::None {
            assert_eq!(reports.len(), failed.len() + 20);
        }
    }
    let expected = (0..runs).fold(0u32, |x, _| super::rig::advanced(x, 1));
    assert_eq!(super::rig::words(device, &counter, 0, 64), [expected; 64]);
    // It is gone with the lists.
    drop((list, twice));
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&counter)), (1, 1));
}

/// The caller has checked every command; a debug build looks again.
#[cfg(debug_assertions)]
fn a_list_that_breaks_a_rule_does_not_get_past_a_debug_build(gpu: &Gpu) {
    let device = &*gpu.device;
    let memory = device.allocate(MemoryKind::Device, 256).unwrap();
    let mut line = Line::new(device);
    let outside = Builder::default().fill((&memory, 0, 512), 1).build();
    let said = |call: &mut dyn FnMut() -> thalweg_hal::Result<()>| {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let submit = said(&mut || line.try_submit(&outside, &[]).map(drop));
    assert!(submit.contains("a promise of `Queue::submit`") && submit.contains("OutOfBounds"), "{submit}");
    // SAFETY: the promise is broken on purpose: the assertion ends the call before anything relies on it.
    let prepare = said(&mut || unsafe { device.prepare(&outside) });
    assert!(prepare.contains("a promise of `Device::prepare`") && prepare.contains("OutOfBounds"), "{prepare}");
    line.run(&Builder::default().build());
}

fn an_allocation_larger_than_the_device_is_refused(gpu: &Gpu) {
    let device = &*gpu.device;
    for bytes in [device.info().limits.memory_bytes + (1 << 30), u64::MAX / 2, u64::MAX] {
        let refused = device.allocate(MemoryKind::Device, bytes);
        assert!(matches!(refused, Err(Error::OutOfMemory { bytes: said, .. }) if said == bytes), "{refused:?}");
    }
}
