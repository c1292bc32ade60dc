//! Data between the host and a device with memory that the host does not see, and that is not zero when it is new.

use super::listener;
use super::world::{Known, fresh_seed};
use crate::listener::{Detail, Kind};
use crate::{Config, Device, Error, Graph, Operand, Pending, Pool, Result, Storage, Stream, Work};
use fastrand::Rng;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::validate::Validated;
use thalweg_hal::{HostAccess, Violation};

/// A device as a discrete GPU, behind a validator that knows what was ever written.
fn discrete(seed: u64, config: Config) -> (Device, Arc<Validated>) {
    println!("device seed {seed}");
    let validated = Validated::with_first_writes(MockDevice::new(MockConfig::discrete(seed)));
    (Device::new(validated.clone(), config).unwrap(), validated)
}

/// The same behind faults.
fn faulty(config: Config, plan: Plan) -> (Device, Arc<Faulty>) {
    let faulty = Faulty::new(MockDevice::new(MockConfig::discrete(fresh_seed())), plan);
    (Device::new(faulty.clone(), config).unwrap(), faulty)
}

fn bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn copy(stream: &Stream, from: &Storage) -> Result<Storage> {
    let mut to = stream.allocate(from.bytes())?;
    stream.record(&Work::Copy, &[Operand::read(from, 0, from.bytes()), Operand::write(&mut to)])?;
    Ok(to)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// audit: C29
#[test]
fn any_data_comes_back_as_it_went_through_a_device_that_the_host_does_not_see() {
    let seed = fresh_seed();
    let mut random = Rng::with_seed(seed);
    for access in [HostAccess::None, HostAccess::Uncached, HostAccess::Cached] {
        let config = MockConfig { host_access: access, ..MockConfig::discrete(random.u64(..)) };
        let validated = Validated::with_first_writes(MockDevice::new(config));
        let limit = Config::default().staging_limit(512 << 10).memory_limit(64 << 20);
        let device = Device::new(validated.clone(), limit).unwrap();
        let streams = [(); 3].map(|()| Stream::new(&device).unwrap());
        for round in 0..60 {
            // More than staging has room for, now and then.
            let length = if round % 20 == 19 { random.usize(1..3 << 20) } else { random.usize(1..40_000) };
            let data = bytes(&mut random, length);
            let [writes, copies, reads] = [(); 3].map(|()| &streams[random.usize(..3)]);
            let storage = match random.bool() {
                true => writes.scope(|| Storage::from_bytes(&device, &data)).unwrap(),
                false => writes.scope(|| Storage::frozen_from_bytes(&device, &data)).unwrap(),
            };
            let copied = copy(copies, &storage).unwrap();
            drop(storage);
            let offset = random.usize(..length);
            let part = random.usize(..=length - offset);
            let mut found = vec![0; part];
            reads.scope(|| copied.read(offset as u64, &mut found)).unwrap();
            assert!(found == data[offset..offset + part], "{access:?}, seed {seed}, round {round}");
            if part < 200_000 {
                let downloaded = reads.scope(|| copied.download(offset as u64, part)).unwrap();
                drop(copied);
                assert!(*downloaded.wait().unwrap() == data[offset..offset + part], "{access:?}, seed {seed}");
            }
        }
        assert_eq!(validated.report().violations, 0, "{:?}", validated.report());
        assert_eq!(device.engine.memory.live_bytes(), 0);
        assert!(device.memory().staging <= 512 << 10);
    }
}

// audit: C29
#[test]
fn a_download_is_in_the_list_of_the_write_that_it_reads() {
    let (device, validated) = discrete(fresh_seed(), Config::default());
    let [writer, reader] = [(); 2].map(|()| Stream::new(&device).unwrap());
    let mut written = writer.allocate(4096).unwrap();
    writer.record(&Work::Fill(7), &[Operand::write(&mut written)]).unwrap();
    let pending = reader.scope(|| written.download(0, 4096)).unwrap();
    assert_eq!(pending.wait().unwrap()[..4], 7u32.to_ne_bytes());
    assert_eq!(device.counters().lists, 1, "zeros, fill and copy in one");
    assert_eq!(device.counters().foreign_flushes, 0);
    // Once that is submitted, it is on the reader's own.
    assert_eq!(reader.scope(|| written.download(0, 4096)).unwrap().wait().unwrap()[4..8], 7u32.to_ne_bytes());
    assert_eq!((device.counters().lists, reader.state().submitted()), (2, 1));
    assert_eq!(validated.report().violations, 0);
}

// audit: C13
#[test]
fn a_download_keeps_what_it_read_and_not_the_storage() {
    let (device, validated) = discrete(fresh_seed(), Config::default());
    let stream = Stream::new(&device).unwrap();
    let mut storage = stream.scope(|| Storage::from_bytes(&device, &[1; 1000])).unwrap();
    let before = stream.scope(|| storage.download(0, 1000)).unwrap();
    stream.record(&Work::Fill(0x0202_0202), &[Operand::update(&mut storage)]).unwrap_err();
    stream.record(&Work::Fill(0x0202_0202), &[Operand::write(&mut storage)]).unwrap();
    let after = stream.scope(|| storage.download(0, 1000)).unwrap();
    drop(storage);
    let both = Pending::all([after, before]).map(|both| both.iter().map(|bytes| bytes[999]).collect::<Vec<_>>());
    assert_eq!(*both.wait().unwrap(), [2, 1]);
    assert_eq!(validated.report().violations, 0);
    assert_eq!(device.engine.memory.live_bytes(), 0, "staging is given back when the bytes are fetched");
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// audit: C29
#[test]
fn two_threads_and_a_task_wait_for_one_download_whatever_others_do() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let (device, faulty) = faulty(Config::default(), plan);
    let stream = Stream::new(&device).unwrap();
    let storage = stream.scope(|| Storage::from_bytes(&device, &[9; 5000])).unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let pending = stream.scope(|| storage.download(0, 5000)).unwrap().map(move |bytes| {
        counted.fetch_add(1, Ordering::SeqCst);
        bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>()
    });
    assert!(!pending.is_done());
    // One gives up, one is past its deadline: neither stops the others.
    let mut given_up = Box::pin(pending.clone().into_future());
    assert!(poll(given_up.as_mut()).is_pending());
    drop(given_up);
    let soon = Instant::now() + Duration::from_millis(1);
    assert!(matches!(pending.wait_until(soon), Err(Error::Timeout)));
    let mut task = pin!(pending.clone().into_future());
    let woken = Arc::new(Count::default());
    assert!(task.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            let pending = pending.clone();
            scope.spawn(move || pending.wait().map(|sum| *sum))
        });
        faulty.release();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), 45_000);
        }
    });
    // The reaper wakes the task, in a while.
    while woken.0.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert!(matches!(poll(task), Poll::Ready(Ok(sum)) if *sum == 45_000));
    assert!(pending.is_done());
    assert_eq!(made.load(Ordering::SeqCst), 1, "made once, for all");
}

// audit: C2
#[test]
fn whoever_waits_while_another_makes_the_value_waits_for_that_alone() {
    let (device, _) = discrete(fresh_seed(), Config::default());
    let stream = Stream::new(&device).unwrap();
    let storage = stream.scope(|| Storage::from_bytes(&device, &[3; 100])).unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let (entered, is_entered) = mpsc::channel();
    let pending = stream.scope(|| storage.download(0, 100)).unwrap().map(move |bytes| {
        entered.send(()).unwrap();
        gone.recv().unwrap();
        bytes.len()
    });
    let woken = Arc::new(Count::default());
    let mut task = pin!(pending.clone().into_future());
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| pending.wait().map(|length| *length));
        is_entered.recv().unwrap();
        // The device is done, so it says; a deadline still holds.
        assert!(matches!(pending.wait_until(Instant::now()), Err(Error::Timeout)));
        assert!(task.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
        let other = scope.spawn(|| pending.wait().map(|length| *length));
        go.send(()).unwrap();
        assert_eq!((maker.join().unwrap().unwrap(), other.join().unwrap().unwrap()), (100, 100));
    });
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(task), Poll::Ready(Ok(length)) if *length == 100));
}

// audit: C2
#[test]
fn a_closure_that_panics_or_waits_for_itself_is_an_error_and_hangs_nobody() {
    let (device, _) = discrete(fresh_seed(), Config::default());
    let stream = Stream::new(&device).unwrap();
    let storage = stream.scope(|| Storage::from_bytes(&device, &[3; 100])).unwrap();
    let download = || stream.scope(|| storage.download(0, 100)).unwrap();
    let pending = download().map(|_| -> u32 { panic!("on purpose") });
    let other = pending.clone();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pending.wait())).is_err());
    assert!(matches!(other.wait(), Err(Error::Abandoned)));

    let slot = Arc::new(std::sync::OnceLock::<Pending<Result<u32>>>::new());
    let own = Arc::clone(&slot);
    let pending = download().map(move |_| own.get().unwrap().wait().map(|_| 1));
    slot.set(pending.clone()).unwrap();
    assert!(matches!(*pending.wait().unwrap(), Err(Error::Recursive)));
}

// audit: C29
#[test]
fn a_failure_comes_down_with_the_data_and_with_nothing_else() {
    let (device, _) = discrete(fresh_seed(), Config::default());
    let stream = Stream::new(&device).unwrap();
    let mut fine = stream.allocate(1000).unwrap();
    stream.record(&Work::Fill(1), &[Operand::write(&mut fine)]).unwrap();
    stream.synchronize().unwrap();
    let broken = Known::fill(&stream, 2).unwrap().odd_copy(&stream).unwrap();
    let down = stream.scope(|| broken.storage.download(0, 8)).unwrap();
    assert!(matches!(down.wait(), Err(Error::Failed(failure)) if failure.operation == "fail_if_even"));
    assert!(matches!(down.clone().map(|_| ()).wait(), Err(Error::Failed(_))));
    assert!(stream.scope(|| fine.download(0, 4)).unwrap().wait().is_ok());
}

// audit: C29
#[test]
fn an_upload_of_which_one_piece_failed_has_failed_whichever_it_was() {
    for refused in 1..=4 {
        let plan = Plan { submissions: Strike::Nth(refused), ..Plan::default() };
        // Each piece is a list of its own.
        let config = Config::default().list_commands(1).staging_limit(16 << 20);
        let (device, faulty) = faulty(config, plan);
        let stream = Stream::new(&device).unwrap();
        let data = vec![5; 4 << 20];
        // The frozen one first: its zeros come with its last piece, so it has four lists, and is told at once.
        let frozen = stream.scope(|| Storage::frozen_from_bytes(&device, &data));
        assert!(matches!(frozen, Err(Error::Failed(_))), "{refused}");
        faulty.set(Plan { submissions: Strike::Nth(refused), ..Plan::default() });
        let storage = stream.scope(|| Storage::from_bytes(&device, &data)).unwrap();
        assert!(matches!(stream.scope(|| storage.read(0, &mut [0; 4])), Err(Error::Failed(_))), "{refused}");
    }
}

// audit: C25
#[test]
fn a_model_of_nine_tenths_of_the_limit_loads() {
    const LIMIT: u64 = 24 << 20;
    let (device, validated) = discrete(fresh_seed(), Config::default().memory_limit(LIMIT));
    let pool = Pool::new(&device, "model").unwrap();
    let seed = fresh_seed();
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let (mut weights, mut left) = (Vec::new(), LIMIT / 10 * 9);
    while left > 0 {
        let length = random.u64(1..2 << 20).min(left);
        left -= length;
        let data = bytes(&mut random, length as usize);
        weights.push((Storage::frozen_in(&pool, &data).unwrap_or_else(|error| panic!("{left} left: {error}")), data));
    }
    // And is of use: data goes in and out beside it, for several at a time.
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let weights = &weights;
            scope.spawn(move || {
                for (weight, data) in weights.iter().skip(thread).step_by(3) {
                    let mut found = vec![0; data.len()];
                    weight.read(0, &mut found).unwrap();
                    assert!(found == *data);
                }
            });
        }
    });
    assert!(device.memory().reserved <= LIMIT);
    assert_eq!(validated.report().violations, 0, "{:?}", validated.report());
}

// audit: C13
#[test]
fn new_memory_is_zeros_to_everybody_and_nothing_reads_what_nobody_wrote() {
    let (device, validated) = discrete(fresh_seed(), Config::default());
    let [first, second] = [(); 2].map(|()| Stream::new(&device).unwrap());
    let mut found = vec![1; 5000];
    first.allocate(5000).unwrap().read(0, &mut found).unwrap();
    assert!(found.iter().all(|byte| *byte == 0));
    // Made on one stream, first used on another.
    let made = first.allocate(3000).unwrap();
    let copied = copy(&second, &made).unwrap();
    copied.read(0, &mut found[..3000]).unwrap();
    assert!(found[..3000].iter().all(|byte| *byte == 0));
    // A span is filled once, whichever of its blocks is used.
    let commands = || first.state().recorder.lock().len();
    let before = commands();
    let more: Vec<_> = (0..20).map(|_| first.allocate(5000).unwrap()).collect();
    assert_eq!(commands(), before);
    drop(more);
    // A graph's memory, too.
    let graph = Graph::capture(&device, &[512], |inputs| {
        let stream = Stream::current(&device)?;
        let untouched = stream.allocate(512)?;
        let [a, b] = [copy(&stream, &inputs[0])?, copy(&stream, &untouched)?];
        Ok::<_, Error>(vec![a, b])
    });
    let graph = graph.unwrap();
    let input = Storage::from_bytes(&device, &[8; 512]).unwrap();
    for _ in 0..3 {
        let outputs = graph.replay(&[Operand::read(&input, 0, 512)]).unwrap();
        outputs[0].read(0, &mut found[..512]).unwrap();
        assert_eq!(found[..512], [8; 512]);
        outputs[1].read(0, &mut found[..512]).unwrap();
    }
    assert_eq!(validated.report().violations, 0, "{:?}", validated.report());
}

// audit: C13, C28
#[test]
fn falsify_zeros_of_new_memory() {
    let (device, validated) = discrete(fresh_seed(), Config::default());
    device.engine.sabotage.skip_zeros();
    let stream = Stream::new(&device).unwrap();
    let storage = stream.allocate(5000).unwrap();
    assert!(stream.scope(|| storage.read(0, &mut [0; 8])).is_err());
    let first = validated.report().first.first().cloned();
    assert!(matches!(first, Some(Violation::Unwritten { .. })), "{first:?}");
}

// audit: C13
#[test]
fn a_span_that_another_stream_takes_was_filled_by_the_first() {
    // Little memory, so that spans go from stream to stream; each list is judged.
    let (device, validated) = discrete(fresh_seed(), Config::default().memory_limit(2 << 20));
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (device, barrier) = (&device, &barrier);
            scope.spawn(move || {
                let stream = Stream::new(device).unwrap();
                let mut random = Rng::with_seed(fresh_seed() ^ thread);
                barrier.wait();
                for _ in 0..200 {
                    let length = random.u64(1..200_000);
                    let storage = match stream.allocate(length) {
                        Err(Error::OutOfMemory(_)) => continue,
                        storage => storage.unwrap(),
                    };
                    let mut word = [1; 4];
                    // Read as it came: zeros, or what somebody wrote; never what nobody did.
                    match stream.scope(|| storage.read((length / 2) & !255, &mut word[..1])) {
                        Ok(()) | Err(Error::OutOfMemory(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(validated.report().violations, 0, "{:?}", validated.report());
}

// audit: C25
#[test]
fn fills_and_copies_of_one_to_three_bytes_are_right_outside_a_graph_and_inside() {
    for access in [HostAccess::None, HostAccess::Cached] {
        let config = MockConfig { host_access: access, ..MockConfig::discrete(fresh_seed()) };
        let device = Device::new(MockDevice::new(config), Config::default()).unwrap();
        for length in 1..=5usize {
            let run = |inputs: &[Storage]| {
                let stream = Stream::current(&device)?;
                let mut filled = stream.allocate(length as u64)?;
                stream.record(&Work::Fill(0x0403_0201), &[Operand::write(&mut filled)])?;
                Ok::<_, Error>(vec![copy(&stream, &filled)?, copy(&stream, &inputs[0])?])
            };
            let data: Vec<u8> = (10..10 + length as u8).collect();
            let input = Storage::from_bytes(&device, &data).unwrap();
            let graph = Graph::capture(&device, &[length as u64], |inputs| run(&inputs)).unwrap();
            let replayed = graph.replay(&[Operand::read(&input, 0, length as u64)]).unwrap();
            for outputs in [replayed, run(&[input]).unwrap()] {
                assert!(outputs.iter().all(|output| output.bytes() == length as u64));
                let mut found = vec![0; length];
                outputs[0].read(0, &mut found).unwrap();
                assert_eq!(found, [1, 2, 3, 4, 1][..length]);
                outputs[1].read(0, &mut found).unwrap();
                assert_eq!(found, data);
            }
        }
    }
}

// audit: C22
#[test]
fn after_the_close_what_was_downloaded_is_there_and_the_rest_where_the_host_sees_it() {
    for access in [HostAccess::None, HostAccess::Cached] {
        let config = MockConfig { host_access: access, ..MockConfig::discrete(fresh_seed()) };
        let device = Device::new(MockDevice::new(config), Config::default()).unwrap();
        let storage = Storage::from_bytes(&device, &[6; 300]).unwrap();
        let downloaded = storage.download(0, 300).unwrap();
        device.close(Duration::from_secs(10)).unwrap();
        assert_eq!(*downloaded.wait().unwrap(), [6; 300]);
        let read = storage.read(0, &mut [0; 300]);
        match access {
            HostAccess::None => assert!(matches!(read, Err(Error::Closed)), "{read:?}"),
            _ => read.unwrap(),
        }
        assert!(matches!(storage.download(0, 300), Err(Error::Closed)));
    }
}

/// Sets a flag, and can be told apart.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// audit: C12
#[test]
fn an_async_read_keeps_no_thread_also_where_staging_is_short() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let (device, faulty) = faulty(Config::default().staging_limit(512 << 10), plan);
    let stream = Stream::new(&device).unwrap();
    let mut storage = stream.allocate(2 << 20).unwrap();
    stream.record(&Work::Fill(0x0101_0101), &[Operand::write(&mut storage)]).unwrap();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut read = pin!(stream.attach(storage.read_async(0, 2 << 20)));
    // Returns at once, though the device does nothing and all of staging is not enough.
    assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    faulty.release();
    let found = loop {
        match read.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(found) => break found.unwrap(),
            // Polled again only when it was woken.
            Poll::Pending => {
                while !flag.0.swap(false, Ordering::SeqCst) {
                    std::thread::yield_now();
                }
            }
        }
    };
    assert!(found.len() == 2 << 20 && found.iter().all(|byte| *byte == 1));
}

// audit: C29
#[test]
fn a_listener_is_told_of_uploads_downloads_and_zeros() {
    let (device, _) = discrete(fresh_seed(), Config::default());
    let (_listener, mut reader) = listener::open(&device, listener::options(Detail::Full));
    let stream = Stream::new(&device).unwrap();
    let storage = stream.scope(|| Storage::from_bytes(&device, &[1; 3000])).unwrap();
    copy(&stream, &storage).unwrap().read(0, &mut [0; 4]).unwrap();
    stream.scope(|| Storage::frozen_from_bytes(&device, &[1; 2 << 20])).unwrap();
    let told = listener::drain(&mut reader);
    let count = |kind, name: &str| told.iter().filter(|(known, event)| (event.kind, &**known) == (kind, name)).count();
    // Frozen memory is filled to its end by what is copied into it.
    let kernels = ["upload", "copy", "download", "fill"].map(|name| count(Kind::Kernel, name));
    assert_eq!(kernels, [3, 1, 1, 1], "{told:?}");
    let operations = ["upload", "copy", "download", "zeros"].map(|name| count(Kind::Operation, name));
    assert!(operations.iter().all(|count| *count > 0), "{told:?}");
}

// audit: C24
#[test]
fn who_reads_a_part_of_an_upload_fails_with_any_piece_of_it() {
    let plan = Plan { submissions: Strike::Nth(1), ..Plan::default() };
    let (device, _) = faulty(Config::default().list_commands(5).staging_limit(16 << 20), plan);
    let stream = Stream::new(&device).unwrap();
    let storage = stream.scope(|| Storage::from_bytes(&device, &vec![5; 4 << 20])).unwrap();
    assert!(
        stream.state().submitted() > 0 && stream.state().len() > 1,
        "pieces in more lists than one, of which one is open"
    );
    let copied = copy(&stream, &storage).unwrap();
    let first = stream.scope(|| storage.download(0, 4)).unwrap();
    assert_eq!(first.clone().wait().err().map(|error| matches!(error, Error::Failed(_))), Some(true));
    assert!(matches!(stream.scope(|| copied.read(0, &mut [0; 4])), Err(Error::Failed(_))));
}

// audit: C29
#[test]
fn whoever_waits_for_what_is_made_of_others_waits_no_longer_than_it_would() {
    let (go, gone) = mpsc::channel::<()>();
    let (entered, is_entered) = mpsc::channel();
    let slow = Pending::ready(1).map(move |one| {
        entered.send(()).unwrap();
        gone.recv().unwrap();
        *one + 1
    });
    let made = Pending::all([slow.clone().map(|two| *two + 1), slow.clone()]);
    let woken = Arc::new(Count::default());
    let mut task = pin!(made.clone().into_future());
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| slow.wait().map(|two| *two));
        is_entered.recv().unwrap();
        // Neither waits longer than its policy allows, nor keeps the task's thread.
        let (answer, answered) = mpsc::channel();
        let late = made.clone();
        scope.spawn(move || answer.send(late.wait_until(Instant::now())).unwrap());
        let late = answered.recv_timeout(Duration::from_secs(20));
        if late.is_ok() {
            assert!(task.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
        }
        go.send(()).unwrap();
        assert_eq!(maker.join().unwrap().unwrap(), 2);
        assert!(matches!(late, Ok(Err(Error::Timeout))), "{late:?}");
    });
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(task), Poll::Ready(Ok(values)) if [*values[0], *values[1]] == [3, 2]));
}

// audit: C13
#[test]
fn frozen_memory_whose_upload_was_given_up_is_filled_by_its_next_owner() {
    let (device, validated) = discrete(fresh_seed(), Config::default().staging_limit(512 << 10));
    let stream = Stream::new(&device).unwrap();
    let pool = Pool::new(&device, "pool").unwrap();
    // Staging is what some downloads hold.
    let storage = stream.scope(|| Storage::from_bytes(&device, &[1; 100_000])).unwrap();
    let held = || stream.scope(|| storage.download(0, 100_000));
    let downloads: Vec<_> = std::iter::from_fn(|| held().ok()).collect();
    assert!(!downloads.is_empty());
    let frozen = stream.scope(|| Storage::frozen_in(&pool, &[1; 300_000]));
    assert!(matches!(frozen, Err(Error::OutOfMemory(_))), "{frozen:?}");
    drop(downloads);
    device.engine.memory.gather(&*device.engine);
    // Less than was asked for before: a part of the same span.
    let graph = Graph::capture_in(&pool, &[512], |inputs| {
        let stream = Stream::current(&device)?;
        let untouched = stream.allocate(100_000)?;
        Ok::<_, Error>(vec![copy(&stream, &inputs[0])?, copy(&stream, &untouched)?])
    });
    let input = stream.scope(|| Storage::from_bytes(&device, &[8; 512])).unwrap();
    let outputs = stream.scope(|| graph.unwrap().replay(&[Operand::read(&input, 0, 512)])).unwrap();
    stream.scope(|| outputs[1].read(0, &mut [0; 512])).unwrap();
    assert_eq!(validated.report().violations, 0, "{:?}", validated.report());
}

#[test]
fn transfers_of_many_threads_at_once_are_not_out_of_memory() {
    let (device, _) = discrete(fresh_seed(), Config::default().staging_limit(512 << 10));
    let run = || {
        let stream = Stream::new(&device)?;
        for _ in 0..10 {
            let storage = stream.scope(|| Storage::from_bytes(&device, &vec![5; 1 << 20]))?;
            let mut found = vec![0; (1 << 20) - 1];
            stream.scope(|| storage.read(1, &mut found))?;
        }
        Ok::<_, Error>(())
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}
