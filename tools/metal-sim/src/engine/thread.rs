//! A queue's two threads: which piece of work is next, and the handlers of what has completed.

use super::work::{Item, Outcome, Running};
use super::{Inbox, QueueState};
use crate::faults;
use crate::metal::command_buffer::SimCommandBuffer;
use crate::rt::class::lock;
use crate::rules::{HANG, broken};
use fastrand::Rng;
use objc2::rc::{Retained, autoreleasepool};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many command buffers are looked at at once.
const WINDOW: usize = 4;
/// How long a queue may wait for events.
const HANG_AFTER: Duration = Duration::from_secs(60);
/// For how long an encoder is held back, now and then, so that another may overtake it.
const HOLD: Duration = Duration::from_micros(50);

type Completed = (Retained<SimCommandBuffer>, Outcome);

/// Starts a queue's threads.
pub fn start(queue: &Arc<QueueState>) {
    let (sender, receiver) = channel();
    let seed = crate::config().seed ^ queue.id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let id = queue.id;
    let engine =
        Engine { queue: queue.clone(), rng: Rng::with_seed(seed), running: VecDeque::new(), ready: vec![], sender };
    spawn(format!("metal-queue-{id}"), move || engine.serve());
    spawn(format!("metal-handlers-{id}"), move || call_handlers(&receiver, Rng::with_seed(!seed)));
}

/// Calls the handlers of what never begins, whatever else its queue does.
pub fn reject(mut work: Running) {
    work.outcome.start = now();
    work.die(faults::OUT_OF_MEMORY);
    work.outcome.end = now();
    spawn("metal-rejected".to_owned(), move || {
        let Running { commands, outcome, .. } = work;
        autoreleasepool(|_| {
            commands.complete(&outcome);
            drop(commands);
        });
    });
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) {
    /// A panic that no one catches, a test's in a handler say, would leave everybody waiting.
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let abort = Abort;
        work();
        std::mem::forget(abort);
    });
    assert!(thread.is_ok(), "no thread for a queue");
}

/// Seconds since the first call, and a little more, as a GPU's times are never zero.
fn now() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() + 1.0
}

fn call_handlers(completed: &Receiver<Completed>, mut rng: Rng) {
    for (commands, outcome) in completed {
        if rng.u8(..) < 16 {
            std::thread::sleep(Duration::from_micros(rng.u64(1..50)));
        } else if rng.bool() {
            std::thread::yield_now();
        }
        autoreleasepool(|_| {
            commands.complete(&outcome);
            drop(commands);
        });
    }
}

/// What can be done next, by place among the running command buffers.
#[derive(Clone, Copy)]
enum Step {
    Kill(usize),
    Signal(usize, usize),
    Encoder(usize, usize),
}

struct Engine {
    queue: Arc<QueueState>,
    rng: Rng,
    running: VecDeque<Running>,
    ready: Vec<Step>,
    sender: Sender<Completed>,
}

impl Engine {
    fn serve(mut self) {
        loop {
            self.take(&mut lock(&self.queue.clone().inbox));
            self.complete();
            self.find_ready();
            let Some(step) = self.choose() else { if self.wait() { continue } else { return } };
            self.take_step(step);
        }
    }

    fn take(&mut self, inbox: &mut MutexGuard<'_, Inbox>) {
        inbox.poked = false;
        for mut work in inbox.committed.drain(..) {
            work.outcome.start = now();
            if let Some((code, steps)) = &mut work.kill {
                // What is stopped for what it does has begun.
                let least = usize::from([faults::TIMEOUT, faults::PAGE_FAULT].contains(code)).min(*steps);
                *steps = self.rng.usize(least..=*steps);
            }
            self.running.push_back(work);
        }
    }

    /// Command buffers complete in the order of their commits.
    fn complete(&mut self) {
        while self.running.front().is_some_and(|it| it.left == 0) {
            let Some(mut it) = self.running.pop_front() else { return };
            if let Some((code, _)) = it.kill {
                it.die(code); // after all of its work
            }
            it.outcome.end = now();
            // The thread of the handlers ends after this one.
            let _ = self.sender.send((it.commands, it.outcome));
        }
    }

    /// Nothing can be done: waits for a commit or an event. False once the queue is gone and all is done.
    fn wait(&mut self) -> bool {
        let (queue, idle, start) = (self.queue.clone(), self.running.is_empty(), Instant::now());
        let patience = crate::config().patience.unwrap_or(HANG_AFTER);
        let mut inbox = lock(&queue.inbox);
        loop {
            if !inbox.committed.is_empty() || inbox.poked {
                return true;
            }
            if inbox.closed && idle {
                return false;
            }
            if !idle && start.elapsed() >= patience {
                broken(HANG, format_args!("queue {} {:?} waits for an event", queue.id, lock(&queue.label)));
            }
            let left = if idle { Duration::MAX } else { patience.saturating_sub(start.elapsed()) };
            inbox = queue.changed.wait_timeout(inbox, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn find_ready(&mut self) {
        self.ready.clear();
        let (mut all_before, mut busy) = (true, Vec::new());
        'all: for (at, work) in self.running.iter_mut().take(WINDOW).enumerate() {
            if matches!(work.kill, Some((_, 0))) {
                self.ready.push(Step::Kill(at));
                break;
            }
            for item in 0..work.items.len() {
                match &mut work.items[item] {
                    Item::Nothing => {}
                    Item::Wait(event, value) => {
                        if !event.reached_or_watch(*value, &self.queue) {
                            break 'all;
                        }
                        work.finish(item);
                        if work.is_killed_by_a_step() {
                            self.ready.push(Step::Kill(at));
                            break 'all;
                        }
                    }
                    Item::Signal(..) => {
                        if all_before {
                            self.ready.push(Step::Signal(at, item));
                        }
                        all_before = false;
                    }
                    Item::Encoder(encoder) => {
                        if encoder.may_begin() && !encoder.tracked.iter().any(|id| busy.contains(id)) {
                            self.ready.push(Step::Encoder(at, item));
                        }
                        busy.extend_from_slice(&encoder.tracked);
                        all_before = false;
                    }
                }
            }
        }
    }

    /// One of what can be done; the first, more often than not.
    fn choose(&mut self) -> Option<Step> {
        let step = match self.ready.len() {
            0 => return None,
            1 => self.ready[0],
            _ if self.rng.bool() => self.ready[0],
            count => self.ready[self.rng.usize(..count)],
        };
        if let Step::Encoder(at, item) = step
            && self.ready.len() == 1
            && let Item::Encoder(encoder) = &mut self.running[at].items[item]
            && !std::mem::replace(&mut encoder.held, true)
            && self.rng.u8(..) < 16
        {
            let inbox = lock(&self.queue.inbox);
            if inbox.committed.is_empty() {
                drop(self.queue.changed.wait_timeout(inbox, HOLD));
            }
        }
        Some(step)
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Kill(at) => {
                let work = &mut self.running[at];
                if let Some((code, _)) = work.kill {
                    work.die(code);
                }
            }
            Step::Signal(at, item) => {
                let work = &mut self.running[at];
                if let Item::Signal(event, value) = &work.items[item] {
                    event.raise(*value);
                }
                work.finish(item);
            }
            Step::Encoder(at, item) => self.run(at, item),
        }
    }

    /// Some dispatches of an encoder: one, or many in a row.
    fn run(&mut self, at: usize, item: usize) {
        let work = &mut self.running[at];
        let Item::Encoder(encoder) = &mut work.items[item] else { return };
        if !std::mem::replace(&mut encoder.begun, true) {
            work.check_residency_of(item, &lock(&self.queue.sets).clone());
        }
        let mut burst = if self.rng.bool() { 1 } else { self.rng.usize(1..64) };
        while burst > 0 {
            burst -= 1;
            let Item::Encoder(encoder) = &mut work.items[item] else { return };
            let more = encoder.step(&mut self.rng);
            let killed = work.is_killed_by_a_step();
            if !more {
                return work.finish(item);
            }
            if killed {
                return;
            }
        }
    }
}
