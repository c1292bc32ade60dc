use super::*;
use crate::tests::world::{ADVANCE, BYTES, COMBINE, FAIL_IF_EVEN, Known, WORDS, faulty, streams};
use crate::{Device, Operand, Stream, Work};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Delays, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// The backend's own pipeline of a kernel that the cache has.
fn backends(device: &Device, source: &KernelSource) -> Weak<dyn thalweg_hal::Pipeline> {
    let misses = device.pipeline_cache().misses;
    let pipeline = device.engine.pipeline(source, WaitPolicy::Forever).expect("it is there");
    assert_eq!(device.pipeline_cache().misses, misses, "it is not there");
    Arc::downgrade(&pipeline.hal)
}

/// As a `static`.
fn of_the_program(source: &KernelSource) -> &'static StaticKernel {
    Box::leak(Box::new(StaticKernel::new(source.clone())))
}

/// Until the device and the reaper have let go of it too.
fn await_gone(pipeline: &Weak<dyn thalweg_hal::Pipeline>) {
    let deadline = Instant::now() + LONG;
    while pipeline.strong_count() > 0 {
        assert!(Instant::now() < deadline, "somebody keeps an evicted pipeline");
        std::thread::yield_now();
    }
}

// audit: C20, C21
#[test]
fn an_evicted_pipeline_lives_until_the_device_is_done_with_it() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let (device, faulty) = faulty(Config::default().pipeline_cache(1), plan);
    let [stream] = streams(&device);
    let first = Known::fill(&stream, 3).unwrap();
    let second = first.combine(&first, 5, &stream).unwrap();
    let pipeline = backends(&device, &COMBINE);
    stream.flush().unwrap();
    // Another list, which is still open.
    let third = second.combine(&first, 6, &stream).unwrap();
    device.pipeline(&ADVANCE).unwrap();
    device.pipeline(&FAIL_IF_EVEN).unwrap();
    assert_eq!((device.pipeline_cache().evictions, device.pipeline_cache().entries), (2, 1));
    assert!(pipeline.strong_count() > 0, "lists own what they use");
    faulty.release();
    assert!(second.is_right().unwrap() && third.is_right().unwrap());
    await_gone(&pipeline);
}

/// Neither a stream that is used no more, nor its thread, nor a clone of its handle.
// audit: F5, C21
#[test]
fn nobody_who_is_idle_keeps_an_evicted_pipeline() {
    let (device, _) = faulty(Config::default().pipeline_cache(2), Plan::default());
    let [idle, busy] = streams(&device);
    let known = Known::fill(&idle, 3).unwrap();
    idle.scope(|| known.combine(&known, 5, &idle).unwrap().is_right().unwrap());
    // This thread's own stream too.
    drop(Stream::current(&device).unwrap());
    device.pipeline(&COMBINE).unwrap();
    let pipeline = backends(&device, &COMBINE);
    idle.synchronize().unwrap();
    std::thread::scope(|scope| {
        let others = || {
            busy.scope(|| [&ADVANCE, &FAIL_IF_EVEN].map(|kernel| drop(device.pipeline(kernel).unwrap())));
        };
        scope.spawn(others).join().unwrap();
    });
    await_gone(&pipeline);
}

// audit: C21
#[test]
fn a_pipeline_that_is_used_is_not_evicted_before_one_that_nobody_uses() {
    let (device, _) = faulty(Config::default().pipeline_cache(2), Plan::default());
    let variants: Vec<_> = (0..10).map(|i| KernelSource { name: format!("v{i}").into(), ..ADVANCE.clone() }).collect();
    device.pipeline(&COMBINE).unwrap();
    let pipeline = backends(&device, &COMBINE);
    for variant in &variants {
        device.pipeline(variant).unwrap();
        let misses = device.pipeline_cache().misses;
        device.pipeline(&COMBINE).unwrap();
        assert_eq!(device.pipeline_cache().misses, misses);
    }
    assert!(pipeline.strong_count() > 0);
    let stats = device.pipeline_cache();
    assert_eq!((stats.misses, stats.evictions, stats.entries), (11, 9, 2));
    // As many as the loop's, and what `backends` asked for.
    assert_eq!(stats.hits, 11);
    assert_eq!(stats.bytes, COMBINE.bytes() + variants[9].bytes());
}

/// Whatever else is compiled, and on each device its own.
// audit: F6, C10, C21
#[test]
fn a_kernel_of_the_program_is_compiled_once_for_each_device_and_stays() {
    let [first, second] = [&COMBINE, &ADVANCE].map(of_the_program);
    assert_ne!(first.number(), second.number());
    let config = || Config::default().pipeline_cache(1);
    let devices = [0; 2].map(|_| Device::new(MockDevice::new(MockConfig::default()), config()).unwrap());
    let streams = devices.each_ref().map(|device| Stream::new(device).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (device, stream) in devices.iter().zip(&streams).cycle().take(100) {
                    for kernel in [first, second] {
                        let pipeline = stream.static_pipeline(kernel).unwrap();
                        assert_eq!((pipeline.device, pipeline.source()), (device.engine.id, kernel.source()));
                    }
                }
            });
        }
    });
    for (device, stream) in devices.iter().zip(&streams) {
        let kept = [first, second].map(|kernel| Arc::downgrade(&stream.static_pipeline(kernel).unwrap().hal));
        // Of the cache, the bound of one holds.
        device.pipeline(&FAIL_IF_EVEN).unwrap();
        assert_eq!((device.pipeline_cache().entries, device.pipeline_cache().misses), (1, 3));
        assert!(kept.iter().all(|pipeline| pipeline.strong_count() == 1), "they are the device's alone");
    }
}

#[test]
fn every_number_has_a_place_of_its_own() {
    let places = Places::new();
    let numbers: Vec<usize> = (0..3000).chain([1 << 16, (1 << 16) + 1]).collect();
    let mut found: Vec<_> = numbers.iter().map(|number| std::ptr::from_ref(places.of(*number)).addr()).collect();
    assert!(numbers.iter().zip(&found).all(|(number, at)| std::ptr::from_ref(places.of(*number)).addr() == *at));
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), numbers.len());
}

/// The next who asks tries again.
#[test]
fn a_kernel_of_the_program_that_does_not_compile_is_not_kept() {
    let kernel = of_the_program(&COMBINE);
    let (device, faulty) = faulty(Config::default(), Plan { pipelines: Strike::Nth(1), ..Plan::default() });
    let [stream] = streams(&device);
    assert!(matches!(stream.static_pipeline(kernel), Err(crate::Error::Device(_))));
    faulty.set(Plan::default());
    assert_eq!(stream.static_pipeline(kernel).unwrap().source(), kernel.source());
}

/// The same name, the same bindings and parameters, another host function.
// audit: F6, C10
#[test]
fn namesakes_are_two_kernels() {
    let other = KernelSource {
        host: Some(|call| {
            let salt = call.params::<u32>()?;
            call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x ^= salt);
            Ok(())
        }),
        ..ADVANCE.clone()
    };
    let (device, _) = faulty(Config::default(), Plan::default());
    let [stream] = streams(&device);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    stream.scope(|| {
        for _ in 0..100 {
            let (start, salt) = (random.u32(..), random.u32(..));
            let (kernel, expected) = if random.bool() {
                (&ADVANCE, start.wrapping_mul(5).wrapping_add(salt))
            } else {
                (&other, start ^ salt)
            };
            // Also where the one was that is another now.
            let moved = kernel.clone();
            let mut storage = stream.allocate(BYTES).unwrap();
            stream.record(&Work::Fill(start), &[Operand::write(&mut storage)]).unwrap();
            let pipeline = device.pipeline(if random.bool() { kernel } else { &moved }).unwrap();
            let params = &salt.to_ne_bytes();
            let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
            stream.record(&work, &[Operand::update(&mut storage)]).unwrap();
            let mut found = [0; BYTES as usize];
            storage.read(0, &mut found).unwrap();
            assert_eq!(found.as_slice(), expected.to_ne_bytes().repeat(WORDS), "seed {seed}");
        }
    });
    assert_eq!(device.pipeline_cache().misses, 2, "seed {seed}");
}

#[test]
fn who_is_not_to_wait_is_told_that_another_thread_compiles() {
    let delays = Delays { pipelines: Strike::Nth(2), ..Delays::default() };
    let (device, faulty) = faulty(Config::default(), Plan { delays, ..Plan::default() });
    let [stream] = streams(&device);
    device.pipeline(&ADVANCE).unwrap();
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| drop(device.pipeline(&COMBINE).unwrap()));
        while faulty.delayed() < 1 {
            std::thread::yield_now();
        }
        // In a thread of its own, so that one that waits fails the test and does not hang it.
        let (tell, told) = std::sync::mpsc::channel();
        let (device, stream) = (&device, &stream);
        let asking = scope.spawn(move || {
            stream.or_busy().scope(|| {
                device.pipeline(&ADVANCE).unwrap();
                let _ = tell.send(device.pipeline(&COMBINE));
            });
        });
        let answer = told.recv_timeout(LONG);
        assert!(!compiling.is_finished());
        faulty.release();
        asking.join().unwrap();
        assert!(matches!(answer, Ok(Err(crate::Error::Busy))), "{answer:?}");
    });
    stream.or_busy().scope(|| device.pipeline(&COMBINE).unwrap());
}
