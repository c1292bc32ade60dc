//! One thread of a round: what it does, what it sends the others, and the tasks that it helps with.

use super::super::world::{BYTES, Found, Known, KnownGraph, Origin, found};
use super::tally::Tally;
use crate::{Device, Error, Event, Operand, Result, Stream, Work};
use fastrand::Rng;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// The largest allocation.
const MOST_LARGE: u64 = 3 << 20;
/// Tensors that a thread may have waiting for it.
pub(super) const INBOX: usize = 64;

/// What threads send each other.
pub(super) enum Message {
    Tensor(Arc<Known>),
    Event(Event),
    Graph(Arc<KnownGraph>),
    /// A task that was woken.
    Task(Arc<Task>),
}

type Body = Pin<Box<dyn Future<Output = Vec<Looked>> + Send>>;

/// An async task. What wakes it sends it on to the next thread.
pub(super) struct Task {
    /// The body, and the thread that polled it last. Taken out to be polled; never contended.
    body: Mutex<Option<(Body, usize)>>,
    next: AtomicU64,
    to: Vec<SyncSender<Message>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let mut message = Message::Task(Arc::clone(&self));
        let mut gone = 0;
        for at in 0.. {
            match self.to[(turn + at) % self.to.len()].try_send(message) {
                Ok(()) => return,
                // Tensors are in the way, which are soon taken out; perhaps the next has room.
                Err(mpsc::TrySendError::Full(back)) => message = back,
                // The round is over, and with it the task; it was woken once too often.
                Err(mpsc::TrySendError::Disconnected(_)) if gone == self.to.len() => return,
                Err(mpsc::TrySendError::Disconnected(back)) => (message, gone) = (back, gone + 1),
            }
        }
    }
}

/// A tensor that was read.
pub(super) type Looked = (Arc<Origin>, Found);

/// One thread of a round.
pub(super) struct Player<'a> {
    pub(super) device: &'a Device,
    pub(super) index: usize,
    pub(super) random: Rng,
    pub(super) inbox: Receiver<Message>,
    pub(super) others: Vec<SyncSender<Message>>,
    /// Threads that still operate, and tasks of all threads that have not ended. Nobody leaves before, since a task may
    /// be sent to anybody.
    pub(super) tasks: &'a AtomicU64,
    /// Nobody else names these, so they may be changed in place.
    pub(super) own: Vec<Known>,
    pub(super) shared: Vec<Arc<Known>>,
    /// Captured by this thread or by another.
    pub(super) graphs: Vec<Arc<KnownGraph>>,
    pub(super) looked: Vec<Looked>,
    pub(super) tally: Tally,
}

impl Player<'_> {
    pub(super) fn play(&mut self, operations: usize) -> Result<()> {
        let stream = Stream::current(self.device)?;
        let frozen = loop {
            match Known::freeze(self.device, self.random.u32(..), 3) {
                Ok(frozen) => break frozen,
                Err(error @ (Error::OutOfMemory(_) | Error::Failed(_))) => self.tally.answered(error),
                Err(error) => return Err(error),
            }
        };
        self.shared.push(Arc::new(frozen));
        for _ in 0..operations {
            let salt = self.random.u32(..);
            // A refusal can only come from the validator, when a protection is out.
            let through = if self.random.u8(..16) == 0 { stream.or_busy() } else { stream.clone() };
            if let Err(error) = self.operate(salt, &through) {
                self.tally.answered(error);
            }
            self.tally.operations += 1;
            self.share(&stream)?;
            self.receive(&stream)?;
            self.let_go();
            match self.random.u32(..4096) {
                0..64 => stream.flush()?,
                64..96 => self.start_task(&stream, salt),
                96..98 => self.device.synchronize()?,
                98..100 => stream.synchronize()?,
                356..372 => {
                    if let Err(error) = self.capture() {
                        self.tally.answered(error);
                    }
                }
                // Few cores would otherwise run one thread after the other.
                100..356 => std::thread::yield_now(),
                _ => {}
            }
        }
        self.leave(&stream)?;
        let own: Vec<_> = self.own.drain(..).collect();
        own.iter().for_each(|known| self.look(known));
        let shared: Vec<_> = self.shared.drain(..).collect();
        shared.iter().for_each(|known| self.look(known));
        Ok(())
    }

    /// Helps with the tasks until nobody needs this thread any more.
    fn leave(&mut self, stream: &Stream) -> Result<()> {
        self.tasks.fetch_sub(1, Ordering::Release);
        while self.tasks.load(Ordering::Acquire) > 0 {
            self.receive(stream)?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// One operation, on tensors of its own and on tensors that others sent.
    fn operate(&mut self, salt: u32, stream: &Stream) -> Result<()> {
        let a = &self.shared[self.random.usize(..self.shared.len())];
        let b = &self.shared[self.random.usize(..self.shared.len())];
        let choice = self.random.u8(..17);
        if choice == 16 {
            return self.replay_or_crowd(salt, stream);
        }
        let made = match choice {
            0..2 => Known::upload(self.device, salt, 7)?,
            2 => Known::fill(stream, salt)?,
            3 => a.copy(stream)?,
            // Half of these fail, and with them whatever comes to depend on them.
            4 if salt.is_multiple_of(64) => a.odd_copy(stream)?,
            4..9 => a.combine(b, salt, stream)?,
            _ if self.own.is_empty() => Known::fill(stream, salt)?,
            _ => {
                let at = self.random.usize(..self.own.len());
                return self.own[at].advance(salt, stream);
            }
        };
        self.own.push(made);
        Ok(())
    }

    /// A run of a graph; or a large allocation, which there may be no memory for, and which others then have to make
    /// room for.
    fn replay_or_crowd(&mut self, salt: u32, stream: &Stream) -> Result<()> {
        if self.graphs.is_empty() || self.random.u8(..8) == 0 {
            let mut large = stream.allocate(self.random.u64(1..MOST_LARGE))?;
            return stream.record(&Work::Fill(salt), &[Operand::write(&mut large).first(4)]);
        }
        let graph = Arc::clone(&self.graphs[self.random.usize(..self.graphs.len())]);
        let a = &self.shared[self.random.usize(..self.shared.len())];
        let b = &self.shared[self.random.usize(..self.shared.len())];
        self.own.extend(stream.scope(|| graph.replay(a, b))?);
        self.tally.replays += 1;
        Ok(())
    }

    /// Captures a graph, which others may have too.
    fn capture(&mut self) -> Result<()> {
        let fails = self.random.u8(..64) == 0;
        let graph = Arc::new(KnownGraph::capture(self.device, &mut self.random, fails)?);
        self.tally.captures += 1;
        let to = self.random.usize(..self.others.len());
        let _ = self.others[to].try_send(Message::Graph(Arc::clone(&graph)));
        self.keep(graph);
        Ok(())
    }

    fn keep(&mut self, graph: Arc<KnownGraph>) {
        if self.graphs.len() == 4 {
            self.graphs.swap_remove(self.random.usize(..4));
        }
        self.graphs.push(graph);
    }

    /// Sends a tensor, from then on nobody's alone, or an event. A full inbox keeps nobody waiting.
    fn share(&mut self, stream: &Stream) -> Result<()> {
        let choice = self.random.u8(..32);
        let to = self.random.usize(..self.others.len());
        if choice < 8 && !self.own.is_empty() {
            let known = Arc::new(self.own.swap_remove(self.random.usize(..self.own.len())));
            let _ = self.others[to].try_send(Message::Tensor(Arc::clone(&known)));
            self.shared.push(known);
        } else if choice == 8 {
            let timed = self.random.bool();
            let event = if timed { stream.record_timed_event()? } else { stream.record_event() };
            let _ = self.others[to].try_send(Message::Event(event));
        }
        Ok(())
    }

    fn receive(&mut self, stream: &Stream) -> Result<()> {
        while let Ok(message) = self.inbox.try_recv() {
            self.tally.received += 1;
            match message {
                Message::Tensor(known) => self.shared.push(known),
                Message::Graph(graph) => self.keep(graph),
                Message::Task(task) => self.poll(&task),
                Message::Event(event) => match self.random.u8(..8) {
                    0 => event.synchronize(Some(Duration::from_secs(3600)))?,
                    1 => while !event.query() {},
                    _ => stream.wait(&event)?,
                },
            }
        }
        Ok(())
    }

    /// Drops what it has too much of, some of it looked at. The last to let go of a tensor frees it.
    fn let_go(&mut self) {
        while self.own.len() > 8 {
            let known = self.own.swap_remove(self.random.usize(..self.own.len()));
            if self.random.u8(..4) == 0 {
                self.look(&known);
            }
        }
        while self.shared.len() > 16 {
            let known = self.shared.swap_remove(self.random.usize(1..self.shared.len()));
            if self.random.u8(..4) == 0 {
                self.look(&known);
            }
        }
    }

    fn look(&mut self, known: &Known) {
        self.looked.push((Arc::clone(&known.origin), known.look()));
    }

    /// Starts a task that goes on wherever it is woken, on this thread's stream.
    fn start_task(&mut self, stream: &Stream, salt: u32) {
        let device = self.device.clone();
        let shared = Arc::clone(&self.shared[self.random.usize(..self.shared.len())]);
        let home = stream.clone();
        let body = stream.attach(async move { chain(&device, &home, &shared, salt).await.unwrap_or_default() });
        self.tasks.fetch_add(1, Ordering::Relaxed);
        let body = Mutex::new(Some((Box::pin(body) as Body, self.index)));
        let task = Arc::new(Task { body, next: AtomicU64::new(u64::from(salt)), to: self.others.clone() });
        self.poll(&task);
    }

    fn poll(&mut self, task: &Arc<Task>) {
        let waker = Waker::from(Arc::clone(task));
        // Held while it is polled: a task that is woken meanwhile waits here for the poll to end.
        let mut body = task.body.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken more often than it had to be.
        let Some((future, last)) = body.as_mut() else { return };
        self.tally.hops += u64::from(*last != self.index);
        *last = self.index;
        if let std::task::Poll::Ready(looked) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            *body = None;
            self.tally.tasks += 1;
            self.looked.extend(looked);
            self.tasks.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The body of a task: operations on the stream that it is attached to, whatever thread it is on, and waits between
/// them.
async fn chain(device: &Device, home: &Stream, shared: &Known, salt: u32) -> Result<Vec<Looked>> {
    let mut known = shared.copy(&Stream::current(device)?)?;
    for step in 0..3 {
        let stream = Stream::current(device)?;
        assert_eq!(stream.id(), home.id(), "a task lost its stream");
        known.advance(salt + step, &stream)?;
        match step {
            0 => stream.record_event().finished().await?,
            1 => device.finished().await?,
            _ => stream.wait_async(&home.record_event()).await?,
        }
    }
    let bytes = known.storage.read_async(0, BYTES as usize).await;
    let looked = found(bytes.map(|bytes| known.is(&bytes)));
    Ok(vec![(Arc::clone(&known.origin), looked)])
}
