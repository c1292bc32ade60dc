//! Futures: dropped half way, polled by one thread and then another, and wakers that panic.

use crate::Case;
use crate::program::{Double, Known, Program, block_on};
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
use thalweg_doubles::faulty::{Plan, Strike};
use thalweg_runtime::{Device, Stream};

pub const CASES: [Case; 3] = [
    // audit: C18 (mock)
    Case { name: "futures_dropped_half_way", on: Double::ALL, run: futures_dropped },
    Case { name: "attached_futures_change_threads", on: Double::ALL, run: attached_futures },
    // audit: C18 (mock)
    Case { name: "wakers_that_panic", on: Double::ALL, run: wakers_that_panic },
];

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Counts nothing, wakes nobody: how many there are is what matters.
struct Quiet;

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {}
}

/// Nothing of the tests' is left on the device.
fn assert_nothing_left(device: &Device) {
    let memory = device.memory();
    assert_eq!((memory.live, memory.frozen), (0, 0), "{memory:?}");
    device.close(Duration::from_secs(10)).unwrap();
}

fn futures_dropped(program: &Program) {
    let (faulty, device) = program.faulty(Plan { signals: Strike::Always, ..Plan::default() });
    let wakers = Arc::new(Quiet);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (device, wakers, mut random) = (device.clone(), Arc::clone(&wakers), program.random(thread));
            thread::spawn(move || {
                // Of its own, and with few lists, so that none waits for a credit: there will be none.
                let stream = Stream::new(&device).unwrap();
                let mut knowns = Vec::new();
                for round in 0..250 {
                    if round % 25 == 0 {
                        knowns.push(Arc::new(Known::fill(&stream, random.u32(..)).unwrap()));
                        stream.flush().unwrap();
                    }
                    let waker = Waker::from(Arc::clone(&wakers));
                    let (event, handle) = (stream.record_event(), device.clone());
                    let known = Arc::clone(&knowns[random.usize(..knowns.len())]);
                    let mut task: Task = match random.u32(0..4) {
                        0 => Box::pin(async move { event.finished().await.unwrap() }),
                        1 => Box::pin(async move { handle.finished().await.unwrap() }),
                        2 => Box::pin(async move { known.check_async().await.unwrap() }),
                        _ => Box::pin(stream.attach(async move { event.finished().await.unwrap() })),
                    };
                    assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                    if random.bool() {
                        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                    }
                    drop(task);
                }
                knowns
            })
        })
        .collect();
    let knowns: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    // None is left on a waiting list; the reaper may have had some in hand.
    while Arc::strong_count(&wakers) > 1 {
        thread::yield_now();
    }
    faulty.release();
    knowns.iter().for_each(|known| known.check().unwrap());
    drop(knowns);
    assert_nothing_left(&device);
    program.done();
}

/// Says on which thread a task is to be polled next.
struct Tell(mpsc::Sender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(()); // the task may be done
    }
}

fn attached_futures(program: &Program) {
    let device = program.open();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (device, mut random) = (device.clone(), program.random(task));
            thread::spawn(move || {
                let stream = Stream::new(&device).unwrap();
                let mut known = Known::upload(&device, &mut random).unwrap();
                let (handle, id) = (device.clone(), stream.id());
                let body = async move {
                    for _ in 0..20 {
                        let current = Stream::current(&handle).unwrap();
                        assert_eq!(current.id(), id);
                        known.advance(random.u32(..), &current).unwrap();
                        current.finished().await.unwrap();
                        Yield::default().await;
                    }
                    known.check_async().await.unwrap();
                };
                let mut task: Task = Box::pin(stream.attach(body));
                // Each poll on a thread of its own.
                loop {
                    let (sender, woken) = mpsc::channel();
                    let device = device.clone();
                    let poll = thread::spawn(move || {
                        let waker = Waker::from(Arc::new(Tell(sender)));
                        let poll = task.as_mut().poll(&mut Context::from_waker(&waker));
                        // The thread has its own again.
                        assert_ne!(Stream::current(&device).unwrap().id(), id);
                        (task, poll)
                    });
                    let (polled, poll) = poll.join().unwrap();
                    match poll {
                        Poll::Ready(()) => return,
                        Poll::Pending => woken.recv().unwrap(),
                    }
                    task = polled;
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_nothing_left(&device);
    program.done();
}

/// Ready when it is polled again.
#[derive(Default)]
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

fn wakers_that_panic(program: &Program) {
    program.expect_panics();
    let (faulty, device) = program.faulty(Plan { signals: Strike::Always, ..Plan::default() });
    let stream = Stream::new(&device).unwrap();
    let panics = Arc::new(Panics);
    for round in 0..20 {
        let known = Known::fill(&stream, round).unwrap();
        stream.flush().unwrap();
        let event = stream.record_event();
        // Before the one that wants to know, and after it.
        let waker = Waker::from(Arc::clone(&panics));
        let (mut before, mut after) = (pin!(event.finished()), pin!(event.finished()));
        assert!(before.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let (sender, woken) = mpsc::channel();
        let mut wanted = pin!(event.finished());
        let good = Waker::from(Arc::new(Tell(sender)));
        assert!(wanted.as_mut().poll(&mut Context::from_waker(&good)).is_pending());
        assert!(after.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        faulty.release();
        woken.recv().unwrap();
        assert!(matches!(wanted.as_mut().poll(&mut Context::from_waker(&good)), Poll::Ready(Ok(()))));
        known.check().unwrap();
        block_on(known.check_async()).unwrap();
        faulty.set(Plan { signals: Strike::Always, ..Plan::default() });
    }
    faulty.release();
    drop(stream);
    assert_nothing_left(&device);
    program.done();
}
