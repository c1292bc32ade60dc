use super::*;
use crate::tests::world::{ADVANCE, BYTES, COMBINE, FAIL_IF_EVEN, Known, WORDS, faulty, streams};
use crate::{Device, Operand, Stream, Work};
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Delays, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// The backend's own pipeline of a kernel that the cache has.
fn backends(device: &Device, source: &KernelSource) -> Weak<dyn thalweg_hal::Pipeline> {
    let misses = device.pipeline_cache().misses;
    let entry = device.engine.compiled(source, WaitPolicy::Forever).expect("it is there");
    assert_eq!(device.pipeline_cache().misses, misses, "it is not there");
    Arc::downgrade(&entry.value.hal)
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
fn a_pipeline_that_threads_remember_is_not_evicted_before_one_that_nobody_uses() {
    let (device, _) = faulty(Config::default().pipeline_cache(2), Plan::default());
    let [stream] = streams(&device);
    let variants: Vec<_> = (0..10).map(|i| KernelSource { name: format!("v{i}").into(), ..ADVANCE.clone() }).collect();
    stream.scope(|| {
        device.pipeline(&COMBINE).unwrap();
        let pipeline = backends(&device, &COMBINE);
        for variant in &variants {
            device.pipeline(variant).unwrap();
            // Found by what the thread remembers; the device's cache is not asked.
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
    });
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

/// Devices share the threads' tables, and nothing else.
// audit: F6, C10
#[test]
fn what_a_thread_remembers_of_one_device_is_not_another_ones() {
    let devices = [0; 2].map(|_| Device::new(MockDevice::new(MockConfig::default()), Config::default()).unwrap());
    let streams = [0, 1].map(|at| Stream::new(&devices[at]).unwrap());
    assert_eq!(streams[0].id(), streams[1].id());
    for _ in 0..3 {
        for (device, stream) in devices.iter().zip(&streams) {
            let pipeline = stream.scope(|| device.pipeline(&COMBINE).unwrap());
            assert_eq!(pipeline.device, device.engine.id);
            assert_eq!(pipeline.source(), &COMBINE);
        }
    }
    assert_eq!(devices.map(|device| (device.pipeline_cache().misses, device.pipeline_cache().hits)), [(1, 2); 2]);
}
