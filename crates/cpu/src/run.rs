//! Running lists, a while at a time.
//!
//! A worker runs the list at the head of a lane until the list ends or has to give way. Once in a *quantum* it looks
//! whether a lane waits that has used less by the lead ([`Fair`](crate::fair::Fair)). If so, the list goes back to the
//! head of its lane, which goes back to the run queue, and any worker goes on where this one stopped: at a border
//! between commands, or between items of one. Nobody else runs items of it then, since an owner that stops withdraws
//! its offer and waits for its helpers first.
//!
//! Commands are cut where a kernel may be cut anyway, so that yielding changes no bit of what they compute.

use crate::executor::{Run, Shared};
use crate::machine;
use crate::pace::{Key, Pace};
use crate::queue::Lane;
use crate::split::{self, Offer, Seat, Split};
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, lock};
use smallvec::SmallVec;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_hal::{Command, List, Reported, Result, Step, host};

/// What takes longer may have been interrupted by other threads of the machine.
const ASK: Duration = Duration::from_micros(250);

/// How far a list has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// Steps that have been done, of [`List::steps`].
    steps: usize,
    /// Items of the next step that have been done: the first so many.
    items: u32,
    /// Which commands failed, and what time it was at the timestamps.
    reports: Vec<(u32, Reported)>,
    /// When it yielded, while it does not run.
    yielded: Option<Instant>,
    /// For how long it had yielded. Its own clock is behind by that, so that what it reports does not count the time of
    /// others; and never ahead, so that a list that starts when another has ended reports no earlier time.
    behind: Duration,
}

/// What a worker has to itself.
pub struct Worker {
    /// Its number.
    pub index: usize,
    seat: Arc<Seat>,
    pace: Pace,
    /// When it last looked at the clock.
    now: Instant,
    /// Up to when its lane has been charged.
    charged: Instant,
    /// What helpers did for its lane, which has not been charged either.
    helped: Duration,
    /// The processor time that this thread had used by `charged`, about.
    spent: Duration,
}

impl Worker {
    /// The calling thread.
    pub fn new(index: usize) -> Self {
        let now = Instant::now();
        Self {
            index,
            seat: Arc::new(Seat::new()),
            pace: Pace::new(),
            now,
            charged: now,
            helped: Duration::ZERO,
            spent: Duration::ZERO,
        }
    }

    /// Looks at the clock: how long since the last look.
    fn look(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.now, Instant::now());
        self.now - before
    }

    /// What this thread has used since `charged`: what went by, less what the system gave to other threads meanwhile.
    /// A lane is not to pay for those. What is short goes by the clock alone, since asking the system takes a while.
    fn used(&mut self) -> Duration {
        let passed = self.now - self.charged;
        let spent = if passed < ASK { None } else { machine::thread_time() };
        let used = spent.map_or(passed, |spent| passed.min(spent.saturating_sub(self.spent)));
        self.spent = spent.unwrap_or(self.spent + used);
        used
    }

    /// Looks at the clock, after so many items of a command.
    fn learn(&mut self, key: Option<Key>, items: u32) {
        let took = self.look();
        if let Some(key) = key.filter(|_| items > 0) {
            self.pace.learn(key, items, took);
        }
    }
}

impl Shared {
    /// Runs the list at the head of a runnable lane, and settles it if that was the rest of it.
    pub fn run_head(&self, lane: &Arc<Lane>, worker: &mut Worker) {
        let Some(mut task) = lane.take() else {
            debug_assert!(false, "an empty lane in the run queue");
            self.stop(lane, worker);
            self.push(std::iter::empty(), 1);
            return;
        };
        worker.look();
        worker.charged = worker.now;
        if let Some(yielded) = task.progress.yielded.take() {
            task.progress.behind += worker.now - yielded;
        }
        let ended = self.run_list(&task.list, &mut task.progress, worker);
        worker.look();
        if ended.is_break() {
            task.progress.yielded = Some(worker.now);
            lane.put_back(task);
            self.stop(lane, worker);
            self.push(std::iter::once(lane.clone()), 1);
            return;
        }
        // Before the value can be seen: who sees it may have the list, and what it held, to itself again.
        drop(task.list);
        self.stop(lane, worker);
        let settled = lane.timeline.settle(task.value, task.progress.reports);
        let mut ready: SmallVec<[Arc<Lane>; 4]> = SmallVec::new();
        ready.extend(settled.lanes.iter().filter(|lane| lane.resume()).cloned());
        if lane.finish() {
            ready.push(lane.clone());
        }
        self.push(ready.into_iter(), 1);
        // After the device has its next lists: waking a thread is a system call.
        lane.timeline.announce(&settled);
    }

    /// Runs every command from where the list stands, also behind one that fails. Breaks off when it has to yield.
    fn run_list(&self, list: &Arc<List>, progress: &mut Progress, worker: &mut Worker) -> ControlFlow<()> {
        for step in List::steps(list).skip(progress.steps) {
            if *step.command() == Command::Timestamp {
                // Everything before it has finished, its own barrier or not: commands run one after the other.
                worker.look();
                let time = worker.now - self.epoch - progress.behind;
                progress.reports.push((step.index, Reported::Time(time)));
            } else {
                self.run_command(step, progress, worker)?;
            }
            progress.steps += 1;
            progress.items = 0;
        }
        ControlFlow::Continue(())
    }

    /// Runs the rest of a command, in pieces, each no longer than what is left of the quantum.
    fn run_command(&self, step: Step<'_>, progress: &mut Progress, worker: &mut Worker) -> ControlFlow<()> {
        let command = step.command();
        let items = host::items(command);
        let key = Key::of(step.list, command);
        while progress.items < items {
            if self.has_to_yield(worker) {
                return ControlFlow::Break(());
            }
            // Relaxed hints: a wrong guess costs a microsecond.
            let idle = self.idle.load(Ordering::Relaxed);
            let alone = self.runnable.load(Ordering::Relaxed) == 0;
            let result = match key {
                Some(key) if idle > 0 && alone && split::worthwhile(step.list, command, items - progress.items) => {
                    let split = Split::new(step, key, progress.items, idle + 1);
                    self.run_shared(Arc::new(split), progress, worker)?
                }
                _ => {
                    let most = key.map_or(items, |key| worker.pace.items(key, self.left(worker)));
                    let piece = progress.items..progress.items.saturating_add(most).min(items);
                    progress.items = piece.end;
                    let len = piece.end - piece.start;
                    // SAFETY: the list keeps the rules (Q3, Q5). Conflicting accesses of other lists and of the host
                    // are ordered by its waits and by what the host has seen (Q1, R1, R2, W1, W2), since this scheduler
                    // runs a list after its waits, and a queue's lists in order; those of this list by running its
                    // commands in order. Nobody else runs items of this command, and no item runs twice.
                    let result = unsafe { host::execute(step.list, command, piece, crate::NAME) };
                    worker.learn(key, len);
                    result
                }
            };
            if let Err(error) = result {
                progress.reports.push((step.index, Reported::Failed(error)));
                progress.items = items;
            }
        }
        ControlFlow::Continue(())
    }

    /// Runs the rest of a command together with the idle workers. Breaks off when the list has to yield.
    fn run_shared(
        &self,
        split: Arc<Split>,
        progress: &mut Progress,
        worker: &mut Worker,
    ) -> ControlFlow<(), Result<()>> {
        self.offer(&split, &worker.seat);
        // SAFETY: as in `run_command`; this thread goes on only when all helpers have left.
        while unsafe { self.run_chunk(&split, worker) } {
            worker.helped += split.take_helped();
            if split.is_open() && self.has_to_yield(worker) {
                break;
            }
        }
        lock(&self.run).offers.retain(|offer| !Arc::ptr_eq(&offer.split, &split));
        worker.seat.wait();
        worker.look();
        worker.helped += split.take_helped();
        progress.items = split.done();
        if split.is_open() { ControlFlow::Break(()) } else { ControlFlow::Continue(split.result()) }
    }

    /// Runs chunks of another worker's command until there are none, or there is a list to run.
    pub fn help(&self, Offer { split, seat }: Offer, worker: &mut Worker) {
        worker.look();
        loop {
            worker.charged = worker.now;
            // SAFETY: this worker joined the offer, so the owner waits for it before it goes on; it joined under the
            // lock under which the owner made the offer, so what the owner did before is visible here.
            let found = unsafe { self.run_chunk(&split, worker) };
            split.add_helped(worker.now - worker.charged);
            if !found || self.runnable.load(Ordering::Relaxed) > 0 {
                break;
            }
        }
        drop(split);
        seat.leave();
    }

    /// Runs one chunk of a shared command. `false` if none was left.
    ///
    /// # Safety
    /// As for [`Split::run_chunk`].
    unsafe fn run_chunk(&self, split: &Split, worker: &mut Worker) -> bool {
        let most = worker.pace.items(split.key, self.left(worker));
        // SAFETY: the caller's promise.
        let items = unsafe { split.run_chunk(most) };
        worker.learn(Some(split.key), items);
        items > 0
    }

    /// What is left of the worker's quantum.
    fn left(&self, worker: &Worker) -> Duration {
        self.quantum.saturating_sub(worker.now - worker.charged)
    }

    /// Whether the worker's lane has used most of its quantum, and a lane waits that it has to give way to. A quantum
    /// that nobody asks for is followed by the next. Half a quantum is enough: what is left of it would make a small
    /// piece, and those that come before are at least as long as that.
    fn has_to_yield(&self, worker: &mut Worker) -> bool {
        let used = worker.now - worker.charged;
        !used.is_zero() && used >= self.quantum / 2 && self.charge(worker).lanes.has_rival(worker.index)
    }

    /// Charges the worker's lane with what it has used since it was last charged.
    fn charge(&self, worker: &mut Worker) -> MutexGuard<'_, Run> {
        let used = worker.used() + std::mem::take(&mut worker.helped);
        worker.charged = worker.now;
        let mut run = lock(&self.run);
        run.lanes.charge(worker.index, used);
        run
    }

    /// The worker's lane stops running.
    fn stop(&self, lane: &Lane, worker: &mut Worker) {
        let used = self.charge(worker).lanes.leave(worker.index);
        lane.set_used(used);
    }
}

#[cfg(all(test, loom))]
mod models;
