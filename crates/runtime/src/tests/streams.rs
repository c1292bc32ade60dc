//! What streams and events promise beyond the order of operations, one test each.

use super::world::{ADVANCE, BYTES, Known, faulty, fresh_seed, streams};
use crate::{Config, Device, Error, MutableStorage, Operand, Result, Storage, Stream, Work};
use pollster::block_on;
use std::sync::Arc;
use std::time::Duration;
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::Timestamps;

fn device(config: Config) -> Device {
    Device::new(MockDevice::new(MockConfig { seed: fresh_seed(), ..MockConfig::default() }), config).unwrap()
}

/// Waits until the device has run what the stream has submitted. Settles nothing.
pub(super) fn await_completion(stream: &Stream) {
    let state = stream.state();
    while state.timeline.completed() < state.submitted() {
        std::thread::yield_now();
    }
}

#[test]
fn lists_that_have_run_are_not_waited_for_however_few_may_be_in_flight() {
    for limit in [1, 2, 4, 8] {
        let device = device(Config::default().lists_in_flight(limit));
        let [stream] = streams(&device);
        for seed in 0..64 {
            drop(Known::fill(&stream, seed).unwrap());
            stream.flush().unwrap();
            await_completion(&stream);
        }
        assert_eq!(device.counters().credit_waits, 0, "at most {limit} in flight");
    }
}

// audit: F11
#[test]
fn a_thread_moves_off_a_stream_that_it_shares_when_another_is_free_and_its_own_idle() {
    let device = device(Config::default().pool_streams(2));
    let id = || Stream::current(&device).unwrap().id();
    let main = id();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let spawn = || {
            let (tell, (wait_tell, wait)) = (tell.clone(), std::sync::mpsc::channel::<()>());
            let device = &device;
            let handle = scope.spawn(move || {
                tell.send(Stream::current(device).unwrap().id()).unwrap();
                let _ = wait.recv();
            });
            (wait_tell, handle)
        };
        let (free, first) = spawn();
        let other = told.recv().unwrap();
        assert_ne!(other, main);
        let (_held, _second) = spawn();
        // Two threads on the first stream of the pool, one on the other.
        assert_eq!(told.recv().unwrap(), main);
        let known = Known::fill(&Stream::current(&device).unwrap(), 1).unwrap();
        drop(free);
        first.join().unwrap();
        assert_eq!(id(), main, "work is recorded there");
        assert!(known.is_right().unwrap());
        assert_eq!(id(), other, "idle, and the other stream is free");
        assert_eq!(device.counters().moves, 1);
        let more = known.copy(&Stream::current(&device).unwrap()).unwrap();
        assert!(more.is_right().unwrap());
        assert_eq!(id(), other, "nobody shares it");
    });
}

// audit: C6
#[test]
fn a_call_that_would_wait_for_a_credit_is_busy_and_has_done_nothing() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let (device, faulty) = faulty(Config::default().lists_in_flight(1).list_commands(4), plan);
    let stream = Stream::new(&device).unwrap();
    let refusing = stream.or_busy();
    let known = Known::fill(&stream, 1).unwrap();
    stream.flush().unwrap();
    // The list may grow as long as it need not be submitted.
    let mut made = vec![known];
    let busy = loop {
        match made[made.len() - 1].copy(&refusing) {
            Ok(copy) => made.push(copy),
            Err(error) => break error,
        }
        assert!(made.len() < 5000);
    };
    assert!(matches!(busy, Error::Busy) && busy.is_retryable(), "{busy}");
    assert!(matches!(refusing.flush(), Err(Error::Busy)));
    let before = stream.state().len();
    assert!(refusing.scope(|| Known::fill(&Stream::current(&device).unwrap(), 1)).is_err());
    assert_eq!(stream.state().len(), before);
    let live = device.memory().live;
    // Waiting has its deadline, although the list cannot even be submitted.
    let event = stream.record_event();
    assert!(matches!(event.synchronize(Some(Duration::from_millis(20))), Err(Error::Timeout)));
    faulty.release();
    assert!(made.iter().all(|known| known.is_right().unwrap()));
    assert!(made[0].copy(&refusing).unwrap().is_right().unwrap());
    assert_eq!(device.memory().live, live);
    assert!(device.counters().credit_waits > 0);
}

// audit: C6
#[test]
fn allocating_does_not_wait_where_it_was_asked_not_to() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let (device, faulty) = faulty(Config::default().memory_limit(1 << 20), plan);
    let stream = Stream::new(&device).unwrap();
    let mut big = stream.allocate(900 << 10).unwrap();
    stream.record(&Work::Fill(1), &[Operand::write(&mut big)]).unwrap();
    drop(big);
    // Of another size class, so that what is in use has to be given back first.
    assert!(matches!(stream.or_busy().allocate(300 << 10), Err(Error::Busy)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| stream.allocate(300 << 10).map(drop));
        faulty.release();
        waiting.join().unwrap().unwrap();
    });
}

// audit: C6
#[test]
fn trying_again_ends_where_memory_is_short() {
    let device = device(Config::default().memory_limit(1 << 20));
    let stream = Stream::new(&device).unwrap();
    let refusing = stream.or_busy();
    let mut big = stream.allocate(900 << 10).unwrap();
    stream.record(&Work::Fill(1), &[Operand::write(&mut big)]).unwrap();
    drop(big);
    // Nobody else submits what is in the way.
    let got = loop {
        match refusing.allocate(300 << 10) {
            Err(Error::Busy) => std::thread::yield_now(),
            got => break got.unwrap(),
        }
    };
    // And with everything idle, waiting is no use.
    stream.synchronize().unwrap();
    assert!(matches!(refusing.allocate(900 << 10), Err(Error::OutOfMemory(_))));
    assert!(matches!(
        refusing.scope(|| Storage::frozen_from_bytes(&device, &[0; 900 << 10]).map(drop)),
        Err(Error::OutOfMemory(_))
    ));
    drop(got);
}

#[test]
fn timed_events_alone_are_handed_over_too() {
    let device = device(Config::default());
    let stream = Stream::new(&device).unwrap();
    let events: Vec<_> = (0..1000).map(|_| stream.record_timed_event().unwrap()).collect();
    assert!(device.counters().lists > 2 && stream.state().len() <= 256);
    assert!(events.windows(2).all(|pair| pair[1].elapsed_since(&pair[0]).is_ok()));
}

#[test]
fn the_time_between_events_is_the_devices() {
    for device in
        [device(Config::default()), Device::new(thalweg_cpu::CpuDevice::open().unwrap(), Config::default()).unwrap()]
    {
        let [stream, other] = streams(&device);
        let start = stream.record_timed_event().unwrap();
        let mut known = Known::fill(&stream, 1).unwrap();
        for salt in 0..100 {
            known.advance(salt, &stream).unwrap();
        }
        let end = stream.record_timed_event().unwrap();
        let elapsed = end.elapsed_since(&start).unwrap();
        assert!(elapsed > Duration::ZERO && start.elapsed_since(&end).unwrap() == Duration::ZERO);
        // Ordered after the end by a wait, so later by the clock too.
        other.wait(&end).unwrap();
        let later = other.record_timed_event().unwrap();
        assert!(later.elapsed_since(&start).unwrap() >= elapsed);
        assert!(matches!(end.elapsed_since(&stream.record_event()), Err(Error::NoTime(_))));
        assert!(known.is_right().unwrap());
    }
}

#[test]
fn a_timed_event_is_the_end_of_its_list_where_the_time_is_taken_by_list() {
    let seed = fresh_seed();
    println!("seed {seed}");
    let mock = MockDevice::new(MockConfig { seed, timestamps: Timestamps::ByList, ..MockConfig::default() });
    let device = Device::new(mock, Config::default()).unwrap();
    let [stream, other] = streams(&device);
    let start = stream.record_timed_event().unwrap();
    let mut known = Known::fill(&stream, 1).unwrap();
    for salt in 0..5 {
        known.advance(salt, &stream).unwrap();
    }
    let lists = device.counters().lists;
    let end = stream.record_timed_event().unwrap();
    assert_eq!((device.counters().lists, stream.state().len()), (lists + 1, 1), "it ends the list");
    // The clock counts steps: between the two are at least the six operations.
    assert!(end.elapsed_since(&start).unwrap() >= Duration::from_nanos(6));
    other.wait(&end).unwrap();
    let later = other.record_timed_event().unwrap();
    assert!(later.elapsed_since(&end).unwrap() > Duration::ZERO);
    assert!(known.is_right().unwrap());
    // What cannot be handed over without waiting ends its list later, and has its time then.
    let busy = stream.or_busy();
    let _more = Known::fill(&stream, 2).unwrap();
    let events: Vec<_> = (0..100).map(|_| busy.record_timed_event().unwrap()).collect();
    assert!(events.windows(2).all(|pair| pair[1].elapsed_since(&pair[0]).is_ok()));
    assert!(events[99].elapsed_since(&later).unwrap() > Duration::ZERO);
}

#[test]
fn a_device_without_a_clock_makes_no_timed_events() {
    let device = super::world::mock(MockConfig { timestamps: Timestamps::None, ..MockConfig::default() });
    assert!(matches!(Stream::new(&device).unwrap().record_timed_event(), Err(Error::NoTime(_))));
}

#[test]
fn the_time_of_a_list_that_was_refused_is_a_failure() {
    for timestamps in [Timestamps::ByList, Timestamps::ByCommand] {
        let mock = MockDevice::new(MockConfig { timestamps, ..MockConfig::default() });
        let faulty = Faulty::new(mock, Plan { submissions: Strike::Nth(1), ..Plan::default() });
        let device = Device::new(faulty, Config::default()).unwrap();
        let stream = Stream::new(&device).unwrap();
        let lost = stream.record_timed_event().unwrap();
        let event = stream.record_timed_event().unwrap();
        stream.flush().unwrap();
        assert!(matches!(event.elapsed_since(&lost), Err(Error::Failed(failure)) if failure.operation == "timestamp"));
    }
}

#[test]
fn every_wait_has_an_async_form() {
    let device = device(Config::default());
    let [stream, other] = streams(&device);
    block_on(stream.attach(async {
        assert_eq!(Stream::current(&device).unwrap().id(), stream.id());
        let known = Known::fill(&Stream::current(&device).unwrap(), 7).unwrap();
        let event = stream.record_event();
        other.wait_async(&event).await.unwrap();
        let copy = known.copy(&other).unwrap();
        assert!(copy.is(&copy.storage.read_async(0, BYTES as usize).await.unwrap()));
        assert!(event.query() && !copy.is(&[]));
        let more = copy.copy(&stream).unwrap();
        stream.finished().await.unwrap();
        device.finished().await.unwrap();
        assert!(stream.query() && other.query() && more.is_right().unwrap());
        let even = Known::upload(&device, 2, 0).unwrap().odd_copy(&stream).unwrap();
        assert!(matches!(even.storage.read_async(0, 4).await, Err(Error::Failed(_))));
        assert!(matches!(even.storage.read_async(BYTES, 1).await, Err(Error::Malformed { .. })));
    }));
    assert_ne!(Stream::current(&device).unwrap().id(), stream.id());
}

#[test]
fn a_foreign_flush_is_counted_once_for_each_list() {
    let device = device(Config::default());
    let [stream, other] = streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    for _ in 0..5 {
        known.copy(&other).unwrap();
    }
    assert_eq!(device.counters().foreign_flushes, 1);
    assert_eq!(device.counters().lists, 1);
}

#[test]
fn what_failed_is_forgotten_with_the_data() {
    let device = device(Config::default());
    let stream = Stream::new(&device).unwrap();
    let even = Known::upload(&device, 2, 0).unwrap();
    let broken = even.odd_copy(&stream).unwrap();
    assert!(broken.is_right().is_err());
    let hazard = broken.storage.hazard().unwrap().uses.lock().writes[0].clone();
    let outcome = Arc::downgrade(&hazard.outcome);
    assert!(hazard.result().is_err());
    drop((hazard, broken));
    // The next owner of the bytes forgets how they were written before.
    let all: Vec<_> = (0..1000).map(|pattern| Known::fill(&stream, pattern).unwrap()).collect();
    assert!(all.iter().all(|known| known.is_right().unwrap()));
    assert!(outcome.upgrade().is_none());
}

// audit: C14
#[test]
fn parts_of_a_mutable_storage_fail_and_recover_by_themselves() {
    let device = device(Config::default());
    let [stream, other] = streams(&device);
    let part = 512;
    let mut whole = stream.allocate(4 * part).unwrap();
    stream.record(&Work::Fill(1), &[Operand::write(&mut whole)]).unwrap();
    assert!(matches!(MutableStorage::new(stream.allocate(1000).unwrap(), 100), Err(Error::Parts { .. })));
    let frozen = Storage::frozen_from_bytes(&device, &[0; 512]).unwrap();
    assert!(matches!(MutableStorage::new(frozen, 512), Err(Error::Frozen { .. })));
    let cache = MutableStorage::new(whole, part).unwrap();
    assert!(matches!(cache.read(3..5), Err(Error::NoSuchPart { parts: 4, .. })));
    assert!(matches!(cache.write(2..2), Err(Error::NoSuchPart { .. })));
    let look = |at: usize| -> Result<u32> {
        let mut copy = other.allocate(part)?;
        other.record(&Work::Copy, &[cache.read(at..at + 1)?, Operand::write(&mut copy)])?;
        let mut word = [0; 4];
        copy.read(part - 4, &mut word)?;
        Ok(u32::from_ne_bytes(word))
    };
    // One part fails, written by a kernel that does; the others are as they were.
    let mut even = stream.allocate(part).unwrap();
    stream.record(&Work::Fill(2), &[Operand::write(&mut even)]).unwrap();
    let pipeline = device.pipeline(&super::world::FAIL_IF_EVEN).unwrap();
    let fail = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [part as u32 / 4, 1, 1] };
    stream.record(&fail, &[Operand::read(&even, 0, part), cache.write(1..2).unwrap()]).unwrap();
    assert!(matches!(look(1), Err(Error::Failed(_))));
    assert_eq!((look(0).unwrap(), look(2).unwrap()), (1, 1));
    // Changing it in place leaves it failed; writing it does not.
    let pipeline = device.pipeline(&ADVANCE).unwrap();
    let advance = Work::Dispatch { pipeline: &pipeline, params: &9u32.to_ne_bytes(), extent: [part as u32 / 4, 1, 1] };
    stream.record(&advance, &[cache.update(1..2).unwrap()]).unwrap();
    assert!(matches!(look(1), Err(Error::Failed(_))));
    other.record(&Work::Fill(7), &[cache.write(1..2).unwrap()]).unwrap();
    stream.record(&advance, &[cache.update(1..2).unwrap()]).unwrap();
    assert_eq!(look(1).unwrap(), 5 * 7 + 9);
    let aliased = stream.record(&Work::Copy, &[cache.read(0..2).unwrap(), cache.write(1..3).unwrap()]);
    assert!(matches!(aliased, Err(Error::Aliased { written: 1, other: 0 })));
    // A part is one place, also for operations that touch different bytes of it.
    let wide = |range| cache.read(range).unwrap().first(part);
    let aliased = stream.record(&Work::Copy, &[wide(0..2), cache.write(1..2).unwrap()]);
    assert!(matches!(aliased, Err(Error::Aliased { written: 1, other: 0 })));
}
