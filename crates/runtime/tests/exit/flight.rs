//! The process ends with work in flight, and with threads at work.

use crate::Case;
use crate::program::{Double, Known, Program, block_on, is_closed, start_transfers, work};
use std::cell::RefCell;
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock};
use std::thread;
use thalweg_runtime::{Device, Error, Event, Storage, Stream};

pub const CASES: [Case; 11] = [
    // audit: C22 (cpu, mock_discrete)
    Case { name: "work_in_flight_main_returns", on: Double::ALL, run: |program| work_in_flight(program) },
    // audit: C22 (cpu)
    Case { name: "work_in_flight_exit_called", on: Double::ALL, run: work_in_flight_exit_called },
    // audit: F4 (mock)
    Case { name: "handles_dropped_work_in_flight", on: Double::ALL, run: handles_dropped },
    // audit: C22 (cpu, mock_discrete)
    Case { name: "threads_not_joined_main_returns", on: Double::ALL, run: threads_not_joined },
    Case { name: "threads_not_joined_exit_called", on: Double::ALL, run: threads_not_joined_exit_called },
    // audit: C22 (mock_discrete)
    Case { name: "data_is_moved_main_returns", on: Double::ALL, run: data_is_moved },
    // audit: C22 (mock_discrete)
    Case { name: "data_is_moved_exit_called", on: Double::ALL, run: data_is_moved_exit_called },
    Case { name: "exit_called_while_main_waits", on: Double::ALL, run: exit_called_while_main_waits },
    // audit: F12 (cpu), C22 (cpu)
    Case { name: "statics_and_thread_locals", on: Double::ALL, run: statics_and_thread_locals },
    // audit: C22 (mock)
    Case { name: "driver_loaded_after_another_device", on: &[Double::Mock], run: driver_loaded_after_another_device },
    // audit: F12 (cpu)
    Case { name: "used_by_a_later_handler", on: Double::ALL, run: used_by_a_later_handler },
];

static KEPT: OnceLock<Device> = OnceLock::new();
static KEPT_ALIVE: Mutex<Vec<(Stream, Known)>> = Mutex::new(Vec::new());

/// Many lists on several streams, the last of each not submitted.
fn busy(program: &Program) -> (Device, Vec<(Stream, Known)>) {
    let device = program.open();
    let mut random = program.random(0);
    let mut streams = Vec::new();
    for _ in 0..4 {
        let stream = Stream::new(&device).unwrap();
        let known = Known::upload(&device, &mut random).unwrap();
        streams.push((stream, known));
    }
    // A driver that is still computing when its own handlers for the exit run crashes, and ours wait for two seconds. A
    // driver that computes on the processor is done by then with so many, on a machine that is busy with other things
    // too.
    let operations = if program.double == Double::VulkanDiscrete { 300 } else { 5_000 };
    for _ in 0..operations {
        let (stream, known) = &mut streams[random.usize(0..4)];
        known.advance(random.u32(..), stream).unwrap();
    }
    for (_, known) in &mut streams {
        let _ = known.download().unwrap(); // looked at by `late`
    }
    (device, streams)
}

fn work_in_flight(program: &Program) {
    let (device, streams) = busy(program);
    assert!(KEPT.set(device).is_ok());
    *KEPT_ALIVE.lock().unwrap() = streams;
    program.done();
}

/// The driver's handlers for the exit are then registered after those of the runtime for the first device, and run
/// before them.
fn driver_loaded_after_another_device(program: &Program) {
    let processor = Device::new(thalweg_cpu::CpuDevice::open().unwrap(), thalweg_runtime::Config::default()).unwrap();
    let (device, streams) = busy(program);
    assert!(KEPT.set(device).is_ok());
    *KEPT_ALIVE.lock().unwrap() = streams;
    drop(processor);
    program.done();
}

fn work_in_flight_exit_called(program: &Program) {
    let _busy = busy(program);
    program.done();
    std::process::exit(0);
}

fn handles_dropped(program: &Program) {
    // The handler finds no device; what is in flight is in flight all the same.
    drop(busy(program));
    program.done();
}

/// Threads that work until they are told that the device is closed.
fn start_threads(program: &Program, device: &Device) {
    let (ready, is_ready) = mpsc::channel();
    for thread in 0..8 {
        let (device, random, ready) = (device.clone(), program.random(thread), ready.clone());
        thread::spawn(move || {
            let (_known, end) = work(&device, random, |round| {
                if round == 20 {
                    ready.send(()).unwrap();
                }
                true
            });
            assert!(is_closed(&end), "{end:?}");
        });
    }
    (0..8).for_each(|_| is_ready.recv().unwrap());
}

fn threads_not_joined(program: &Program) {
    start_threads(program, &program.open());
    program.done();
}

fn threads_not_joined_exit_called(program: &Program) {
    let device = program.open();
    start_threads(program, &device);
    program.done();
    std::process::exit(0);
}

/// Threads that watch those that move data to their end. What a thread has downloaded can be read to the end of the
/// process.
fn watch_transfers(program: &Program, device: &Device) {
    for thread in start_transfers(program, device) {
        thread::spawn(move || {
            let (last, end) = thread.join().unwrap();
            assert!(matches!(end, Error::Closed), "{end:?}");
            let last = last.check();
            assert!(last.is_ok() || is_closed(&last), "{last:?}"); // the device is given two seconds
        });
    }
}

fn data_is_moved(program: &Program) {
    watch_transfers(program, &program.open());
    program.done();
}

fn data_is_moved_exit_called(program: &Program) {
    let device = program.open();
    watch_transfers(program, &device);
    program.done();
    std::process::exit(0);
}

fn exit_called_while_main_waits(program: &Program) {
    let device = program.open();
    start_threads(program, &device);
    program.done();
    thread::spawn(|| std::process::exit(0));
    // Ends with the process, or a moment before.
    while device.synchronize().is_ok() {}
    loop {
        thread::park();
    }
}

/// What the main thread keeps; its destructors run inside `exit`, before the handlers.
struct Local {
    device: Device,
    stream: Stream,
    event: Event,
    known: Known,
}

impl Drop for Local {
    fn drop(&mut self) {
        // The device is open as ever, also for a thread that may have lost its other locals.
        let stream = Stream::current(&self.device).unwrap();
        self.known.advance(1, &stream).unwrap();
        self.known.advance(2, &self.stream).unwrap();
        self.known.check().unwrap();
        self.event.synchronize(None).unwrap();
    }
}

thread_local! {
    static BEFORE: RefCell<Option<Local>> = const { RefCell::new(None) };
    static AFTER: RefCell<Option<Local>> = const { RefCell::new(None) };
    static BYTES: RefCell<Vec<Storage>> = const { RefCell::new(Vec::new()) };
}

fn statics_and_thread_locals(program: &Program) {
    // Destructors run the last registered first: one of these before the runtime's own local goes, one after.
    BEFORE.with(|_| ());
    let device = program.open();
    let mut random = program.random(1);
    let local = |random: &mut fastrand::Rng| {
        let stream = Stream::new(&device).unwrap();
        let mut known = Known::upload(&device, random).unwrap();
        known.advance(random.u32(..), &Stream::current(&device).unwrap()).unwrap();
        known.advance(random.u32(..), &stream).unwrap();
        Some(Local { device: device.clone(), event: stream.record_event(), stream, known })
    };
    BEFORE.set(local(&mut random));
    AFTER.set(local(&mut random));
    BYTES.set((0..10).map(|_| Known::upload(&device, &mut random).unwrap().storage).collect());
    for thread in 2..6 {
        // And those of threads that end now, with work in flight.
        let (device, mut random) = (device.clone(), program.random(thread));
        let ended = thread::spawn(move || {
            let stream = Stream::current(&device).unwrap();
            let mut known = Known::upload(&device, &mut random).unwrap();
            known.advance(random.u32(..), &stream).unwrap();
            AFTER.set(Some(Local { device: device.clone(), event: stream.record_event(), stream, known }));
        });
        ended.join().unwrap();
    }
    let (other, streams) = busy(program);
    *KEPT_ALIVE.lock().unwrap() = streams;
    drop(other);
    assert!(KEPT.set(device).is_ok());
    program.done();
}

extern "C" fn late() {
    let device = KEPT.get().unwrap();
    assert!(is_closed(&device.check()));
    assert!(is_closed(&device.synchronize()));
    assert!(is_closed(&Stream::current(device)) || is_closed(&Stream::current(device).unwrap().allocate(1)));
    for (stream, known) in KEPT_ALIVE.lock().unwrap().drain(..) {
        match stream.record_event().synchronize(None) {
            Ok(()) => known.check_closed(),
            unfinished => assert!(is_closed(&unfinished), "{unfinished:?}"),
        }
        assert!(is_closed(&stream.flush()));
        assert!(is_closed(&block_on(device.finished())));
    }
    println!("{}", crate::parent::MARK);
}

fn used_by_a_later_handler(program: &Program) {
    // SAFETY: the handler unwinds only if the test has failed, which ends the process.
    assert_eq!(unsafe { libc::atexit(late) }, 0);
    work_in_flight(program);
}
