//! Forks. A child has the parent's memory, and of its threads the one that forked: any lock may be held for ever.
//!
//! Here a thread of the parent may hold any of the runtime's locks when it forks: some compute, some take the locks
//! that are held for a moment only, again and again. Where a lock can be made to be held for certain, it is.

use crate::Case;
use crate::parent::{self, MARK};
use crate::program::{BYTES, Double, Known, Program, block_on, work};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;
use thalweg_cpu::CpuDevice;
use thalweg_doubles::faulty::{Delays, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_runtime::listener::{Detail, Dropped, Listener, Options, Reader};
use thalweg_runtime::{
    Attached, Config, Device, Error, Event, Finished, Graph, MutableStorage, Operand, Pipeline, Pool, Result, Storage,
    Stream, Work, range,
};

pub const CASES: [Case; 5] = [
    // audit: C23 (cpu, mock_discrete)
    Case { name: "forked_from_busy_threads", on: Double::ALL, run: forked_from_busy_threads },
    // audit: C23 (cpu, mock_discrete)
    Case { name: "forked_while_locks_are_held", on: Double::ALL, run: forked_while_locks_are_held },
    // audit: C23 (cpu)
    Case { name: "forked_before_any_device", on: &[Double::Cpu], run: forked_before_any_device },
    // audit: C23 (cpu)
    Case { name: "commands_from_busy_threads", on: Double::ALL, run: commands_from_busy_threads },
    Case { name: "a_program_by_itself", on: Double::ALL, run: a_program_by_itself },
];

/// Calls `body` in a child, which then calls `exit`. Gives the child's id.
fn fork(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: what the child calls is what is under test: of the system's own locks it needs the allocator's alone,
    // which the C library makes usable in a child.
    match unsafe { libc::fork() } {
        0 => {
            let ended = catch_unwind(AssertUnwindSafe(body));
            // SAFETY: no other thread of this process is there to exit too. The system's own `exit`, with all handlers
            // and thread locals: that of the standard library first takes a lock that any thread holds while it starts
            // or ends.
            unsafe { libc::exit(i32::from(ended.is_err())) }
        }
        child => {
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            child
        }
    }
}

/// Waits for a child, which must end with code 0.
fn join(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the status is ours to be written.
    let ended = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(ended, child);
    let status = ExitStatus::from_raw(status);
    assert!(status.success(), "the forked child: {status}");
}

#[track_caller]
fn refused<T>(result: Result<T>) {
    let error = result.err();
    assert!(matches!(error, Some(Error::Device(thalweg_hal::Error::ForkedChild))), "{error:?}");
}

/// One of everything that a program can hold.
struct Made {
    device: Device,
    stream: Stream,
    event: Event,
    timed: [Event; 2],
    pipeline: Pipeline,
    known: Known,
    frozen: Storage,
    mutable: MutableStorage,
    graph: Graph,
    pool: Pool,
    /// Polled once, with its waker on the list.
    waiting: Pin<Box<Finished>>,
    attached: Attached<Finished>,
}

impl Made {
    fn new(program: &Program, device: &Device, pending: &Event) -> Self {
        let mut random = program.random(99);
        let stream = Stream::new(device).unwrap();
        let mut known = Known::upload(device, &mut random).unwrap();
        known.advance(1, &stream).unwrap();
        let timed = [stream.record_timed_event().unwrap(), stream.record_timed_event().unwrap()];
        let event = stream.record_event();
        let mut waiting = Box::pin(pending.finished());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        Self {
            device: device.clone(),
            event: event.clone(),
            timed,
            pipeline: device.pipeline(&crate::program::ADVANCE).unwrap(),
            known,
            frozen: Storage::frozen_from_bytes(device, &[1; 100]).unwrap(),
            mutable: MutableStorage::new(stream.allocate(BYTES).unwrap(), BYTES).unwrap(),
            graph: Graph::capture(device, &[BYTES], Ok::<_, Error>).unwrap(),
            pool: Pool::new(device, "forked").unwrap(),
            waiting,
            attached: stream.attach(event.finished()),
            stream,
        }
    }

    /// Calls everything, and drops everything.
    fn use_up(self) {
        let Self { device, stream, event, timed, pipeline, mut known, frozen, mutable, graph, pool, waiting, attached } =
            self;
        refused(device.check());
        refused(device.synchronize());
        refused(block_on(device.finished()));
        refused(device.pipeline(pipeline.source()));
        refused(device.close(Duration::from_secs(10)));
        device.trim();
        assert_eq!(device.memory(), Default::default());
        assert!(device.counters().lists < u64::MAX);
        assert!(!device.info().name.is_empty());
        refused(Device::new(MockDevice::new(MockConfig::default()), Config::default()));
        refused(CpuDevice::open().map_err(Error::from));

        refused(Stream::new(&device));
        refused(Stream::current(&device));
        refused(stream.allocate(BYTES));
        refused(stream.or_busy().allocate(BYTES));
        refused(stream.record_event().synchronize(None));
        refused(stream.record_timed_event());
        refused(stream.wait(&event));
        refused(block_on(stream.wait_async(&event)));
        assert!(stream.query());
        refused(stream.flush());
        refused(stream.synchronize());
        refused(block_on(stream.finished()));
        stream.scope(|| refused(Stream::current(&device)));
        refused(known.advance(1, &stream));
        refused(Known::fill(&stream, 1));

        assert!(event.query());
        refused(event.synchronize(None));
        refused(event.synchronize(Some(Duration::from_secs(10))));
        refused(block_on(event.finished()));
        refused(timed[1].elapsed_since(&timed[0]));

        refused(graph.replay(&[Operand::read(&frozen, 0, 100)]));
        refused(graph.replay_if_idle(&[Operand::read(&frozen, 0, 100)]));
        refused(Graph::capture(&device, &[], |_| Ok::<_, Error>(Vec::<Storage>::new())));
        refused(Graph::capture_in(&pool, &[], |_| Ok::<_, Error>(Vec::<Storage>::new())));
        refused(Storage::frozen_in(&pool, &[1]));
        refused(Pool::new(&device, "child"));
        refused(Listener::new(&device, Options::default()));
        assert_eq!((graph.memory(), device.memory_snapshot().segments.len()), (0, 0));
        assert_eq!(device.pipeline_cache(), Default::default());

        refused(Storage::from_bytes(&device, &[1]));
        refused(Storage::frozen_from_bytes(&device, &[1]));
        refused(known.check());
        refused(block_on(known.check_async()));
        refused(frozen.read(0, &mut [0]));
        refused(block_on(frozen.read_async(0, 1)));
        let operand = mutable.write(0..1).unwrap();
        refused(stream.record(&Work::Fill(1), &[operand]));
        refused(block_on(waiting));
        refused(block_on(attached));
    }
}

/// In a child nothing is there, and no lock is taken to see that.
fn hears_nothing(reader: &mut Reader) {
    let (mut events, mut names, mut threads) = (0, Vec::new(), Vec::new());
    reader.drain(|_, _| events += 1);
    reader.names(&mut names);
    reader.threads(&mut threads);
    assert_eq!((events, names.len(), threads.len()), (0, 0, 0));
    assert_eq!((reader.dropped(), reader.memory()), (Dropped::default(), None));
}

fn forked_from_busy_threads(program: &Program) {
    let device = program.open();
    // A device with lists that never seem to end, for futures to wait for.
    let (faulty, slow) = program.faulty(Plan { signals: Strike::Always, ..Plan::default() });
    let shared = Stream::new(&slow).unwrap();
    let fill = Known::fill(&shared, 1).unwrap();
    shared.flush().unwrap();
    let pending = shared.record_event();
    // So many that a thread that takes a waker back holds the lock for a while.
    let wait = |_| {
        let mut waiting = Box::pin(pending.finished());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        waiting
    };
    let crowd: Vec<_> = (0..10_000).map(wait).collect();
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for thread in 0..4 {
        let (device, random, over) = (device.clone(), program.random(thread), Arc::clone(&over));
        threads.push(thread::spawn(move || {
            let (known, end) = work(&device, random, |_| !over.load(SeqCst));
            end.unwrap();
            known.check().unwrap();
        }));
    }
    // The locks that are held for a moment: of returned blocks and recorders, and of the tasks that wait.
    let brief: [fn(&Device, &Event); 4] = [
        |device, _| assert!(device.memory().limit > 0),
        |_, pending| {
            let mut waiting = Box::pin(pending.finished());
            assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        },
        |_, pending| assert!(!pending.query()),
        |device, _| drop(Stream::new(device)),
    ];
    for call in brief {
        let (device, pending, over) = (device.clone(), pending.clone(), Arc::clone(&over));
        threads.push(thread::spawn(move || {
            while !over.load(SeqCst) {
                call(&device, &pending);
            }
        }));
    }
    // The child leaves the parent's listener alone, and ends one that it holds.
    let listen = |device: &Device| {
        let mut options = Options::default();
        options.detail = Detail::Full;
        let (mut listener, reader) = Listener::new(device, options).unwrap();
        listener.open();
        (listener, reader)
    };
    let (listener, mut reader) = listen(&device);
    for _ in 0..40 {
        let made = Made::new(program, &device, &pending);
        let (own, random) = (program.open(), &mut program.random(50));
        let sole = (Known::upload(&own, random).unwrap(), Known::frozen(&own, random).unwrap(), own);
        let heard = program.open();
        let mut sole_listener = listen(&heard);
        let named = range("forked");
        // What the child drops: what it has made, the last handles of a device, and what the thread itself keeps.
        let child = || {
            drop((made.use_up(), sole, named, range("in the child")));
            refused(Listener::new(&heard, Options::default()));
            hears_nothing(&mut sole_listener.1);
            sole_listener.0.close();
            drop(sole_listener);
        };
        join(fork(child));
    }
    over.store(true, SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(listener);
    let mut events = 0;
    reader.drain(|_, _| events += 1);
    assert!(events > 0);
    faulty.release();
    fill.check().unwrap();
    drop(crowd);
    program.done();
}

fn forked_while_locks_are_held(program: &Program) {
    let plan = Plan { delays: Delays { submissions: Strike::Always, ..Delays::default() }, ..Plan::default() };
    let (faulty, device) = program.faulty(plan);
    let (from, to) = (Stream::new(&device).unwrap(), Stream::new(&device).unwrap());
    let known = Arc::new(Known::fill(&from, 3).unwrap());
    let event = from.record_event();
    let copier = {
        let (known, to) = (Arc::clone(&known), to.clone());
        thread::spawn(move || {
            let mut copy = to.allocate(BYTES).unwrap();
            to.record(&Work::Copy, &[known.operand(), Operand::write(&mut copy)]).unwrap();
        })
    };
    // It has the hazards of both and the turn to submit, for as long as the submission is held up.
    while faulty.delayed() == 0 {
        thread::yield_now();
    }
    let held = (known.clone(), from.clone(), to.clone(), event.clone(), device.clone());
    join(fork(move || {
        let (known, from, to, event, device) = held;
        refused(known.check());
        refused(block_on(known.check_async()));
        refused(to.allocate(BYTES));
        refused(from.flush());
        refused(from.synchronize());
        refused(to.wait(&event));
        refused(block_on(to.wait_async(&event)));
        assert!(event.query() && from.query());
        refused(event.synchronize(None));
        refused(device.synchronize());
        refused(block_on(device.finished()));
        refused(device.close(Duration::from_secs(10)));
        device.trim();
        drop((known, from, to, event, device));
    }));
    faulty.release();
    copier.join().unwrap();
    known.check().unwrap();
    program.done();
}

fn forked_before_any_device(program: &Program) {
    let alone = |program: &Program| {
        let device = program.open();
        work(&device, program.random(0), |round| round < 50).0.check().unwrap();
        device.close(Duration::from_secs(10)).unwrap();
    };
    // No child of a process that uses a device, so a process like any other; and its child is not.
    join(fork(|| {
        alone(program);
        join(fork(|| refused(CpuDevice::open().map_err(Error::from))));
    }));
    alone(program);
    program.done();
}

fn a_program_by_itself(program: &Program) {
    let (known, end) = work(&program.open(), program.random(0), |round| round < 50);
    end.unwrap();
    known.check().unwrap();
    program.done();
}

fn commands_from_busy_threads(program: &Program) {
    let device = program.open();
    let over = Arc::new(AtomicBool::new(false));
    let start = |thread| {
        let (device, random, over) = (device.clone(), program.random(thread), Arc::clone(&over));
        thread::spawn(move || {
            let (known, end) = work(&device, random, |_| !over.load(SeqCst));
            end.unwrap();
            known.check().unwrap();
        })
    };
    let threads: Vec<_> = (0..8).map(start).collect();
    for round in 0..10 {
        let mut command = parent::command("a_program_by_itself", program.double, program.seed + round);
        if round % 2 == 0 {
            // SAFETY: does nothing, in a child that is about to become another program. Makes it a fork: otherwise the
            // library may have a cheaper way.
            unsafe { command.pre_exec(|| Ok(())) };
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.lines().last() == Some(MARK), "{}: {text}", output.status);
    }
    over.store(true, SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    program.done();
}
