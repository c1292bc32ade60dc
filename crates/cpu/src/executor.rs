//! The worker pool: runs what is runnable, and lends idle workers to those that run something large.

use crate::queue::Lane;
use crate::split::{self, Offer, Seat, Split};
use crate::sync::lock;
use crate::timeline::Bell;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_hal::{Command, Error, List, Reported, Result, Step, host};

/// Stack of a worker. Kernels keep their tiles there.
const STACK_BYTES: usize = 4 << 20;
/// How long an idle worker looks out for work before it sleeps, while lists are running: longer than the small
/// commands between two large ones, so that it is there for the second.
const SPIN: Duration = Duration::from_micros(100);
/// Looks between two yields of the processor, and between two looks at the clock.
const LOOKS: u32 = 32;

/// A pool of workers, as devices and queues hold it. Dropping the last handle ends the workers, once everything that
/// was submitted has run.
pub struct Pool {
    shared: Arc<Shared>,
    workers: usize,
}

impl Pool {
    /// The pool of the process: started on first use, ended with its last handle.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread.
    pub fn of_process() -> Result<Arc<Self>> {
        static POOL: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
        let mut slot = lock(&POOL);
        if let Some(pool) = slot.upgrade() {
            return Ok(pool);
        }
        // Honours the affinity mask and the cgroup's quota.
        let pool = Self::start(thread::available_parallelism().map_or(1, NonZeroUsize::get))?;
        *slot = Arc::downgrade(&pool);
        Ok(pool)
    }

    /// A pool of its own, with at least one worker.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread.
    pub fn start(workers: usize) -> Result<Arc<Self>> {
        Self::start_with(workers, |index, body| {
            let builder = thread::Builder::new().name(format!("thalweg-cpu-{index}")).stack_size(STACK_BYTES);
            builder.spawn(body).map(drop)
        })
    }

    fn start_with(
        workers: usize,
        mut spawn: impl FnMut(usize, Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> Result<Arc<Self>> {
        let workers = workers.max(1);
        let pool = Arc::new(Self { shared: Arc::new(Shared::new()), workers });
        for index in 0..workers {
            let shared = pool.shared.clone();
            // A refusal drops the pool, which ends the workers that did start.
            spawn(index, Box::new(move || shared.work()))
                .map_err(|source| Error::Thread { device: crate::NAME.to_owned(), source: Arc::new(source) })?;
        }
        Ok(pool)
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// What the pool's timelines ring.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.shared.bell
    }

    /// Hands over a lane that has become runnable.
    pub fn schedule(&self, lane: &Arc<Lane>) {
        self.shared.push(std::iter::once(lane.clone()), 0);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.run).closing = true;
        self.shared.news.fetch_add(1, Ordering::Relaxed);
        self.shared.wake.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// What workers and handles share. The workers keep it alive.
struct Shared {
    run: Mutex<Run>,
    /// Where sleeping workers wait, with `run`.
    wake: Condvar,
    /// Rises with every change that could concern an idle worker. Written under `run` (by `Drop` right after), read by
    /// spinning workers. A hint: what counts is found under the lock, so Relaxed.
    news: AtomicU64,
    /// Number of runnable lanes. Written under `run`, read by owners and helpers. A hint, so Relaxed.
    runnable: AtomicUsize,
    /// Number of workers that spin or sleep. As above.
    idle: AtomicUsize,
    bell: Arc<Bell>,
    /// What timestamps count from.
    epoch: Instant,
}

/// The run queue, and who is there to serve it.
#[derive(Default)]
struct Run {
    /// Lanes with a runnable head, in the order in which they became so.
    lanes: VecDeque<Arc<Lane>>,
    /// Dispatches that helpers may join: at most one for each worker.
    offers: Vec<Offer>,
    /// Lists being run.
    running: usize,
    /// Workers that look out for news without the lock, and look here before they sleep.
    spinning: usize,
    /// Workers that sleep until they are woken.
    sleeping: usize,
    /// Set once, when the last handle is dropped.
    closing: bool,
}

/// What a worker does next.
enum Work {
    Run(Arc<Lane>),
    Help(Offer),
    Leave,
}

impl Shared {
    fn new() -> Self {
        Self {
            run: Mutex::default(),
            wake: Condvar::new(),
            news: AtomicU64::new(0),
            runnable: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            bell: Arc::new(Bell::new()),
            epoch: Instant::now(),
        }
    }

    /// The body of a worker.
    fn work(&self) {
        let seat = Arc::new(Seat::new());
        loop {
            match self.next() {
                Work::Run(lane) => self.run_head(&lane, &seat),
                Work::Help(offer) => self.help(offer),
                Work::Leave => return,
            }
        }
    }

    /// Finds something to do: a list, else an offer, else spins for a while and sleeps.
    fn next(&self) -> Work {
        let mut run = lock(&self.run);
        let mut patient = true;
        loop {
            if let Some(lane) = run.lanes.pop_front() {
                run.running += 1;
                self.publish(&run);
                return Work::Run(lane);
            }
            if run.closing {
                return Work::Leave;
            }
            if let Some(offer) = run.offers.iter().find(|offer| offer.split.is_open()) {
                offer.seat.join();
                return Work::Help(offer.clone());
            }
            if patient && run.running > 0 {
                run.spinning += 1;
                self.publish(&run);
                let seen = self.news.load(Ordering::Relaxed);
                drop(run);
                patient = self.spin(seen);
                run = lock(&self.run);
                run.spinning -= 1;
            } else {
                run.sleeping += 1;
                self.publish(&run);
                run = self.wake.wait(run).unwrap_or_else(PoisonError::into_inner);
                run.sleeping -= 1;
                patient = true;
            }
            self.publish(&run);
        }
    }

    /// Looks out for news. `false` if there were none in time.
    fn spin(&self, seen: u64) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if self.news.load(Ordering::Relaxed) != seen {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= SPIN {
                return false;
            }
            // Whoever has something to do comes first.
            thread::yield_now();
        }
    }

    /// Copies the hints out of the run queue.
    fn publish(&self, run: &Run) {
        self.runnable.store(run.lanes.len(), Ordering::Relaxed);
        self.idle.store(run.spinning + run.sleeping, Ordering::Relaxed);
    }

    /// Appends runnable lanes and wakes as many sleepers as it takes. `coming` workers look for a list right after.
    fn push(&self, lanes: impl Iterator<Item = Arc<Lane>>, coming: usize) {
        let mut run = lock(&self.run);
        let before = run.lanes.len();
        run.lanes.extend(lanes);
        let new = run.lanes.len() - before;
        if new == 0 {
            return;
        }
        self.news.fetch_add(1, Ordering::Relaxed);
        self.publish(&run);
        // Those who spin look here before they sleep.
        let unserved = run.lanes.len().saturating_sub(run.spinning + coming);
        let wake = unserved.min(new).min(run.sleeping);
        drop(run);
        self.rouse(wake);
    }

    fn rouse(&self, sleepers: usize) {
        for _ in 0..sleepers {
            self.wake.notify_one();
        }
    }

    /// Runs the list at the head of a runnable lane, and settles it.
    fn run_head(&self, lane: &Arc<Lane>, seat: &Arc<Seat>) {
        let Some(task) = lane.take() else {
            debug_assert!(false, "an empty lane in the run queue");
            lock(&self.run).running -= 1;
            return;
        };
        let outcome = self.run_list(&task.list, seat);
        // Before the value can be seen: who sees it may have the list, and what it held, to itself again.
        drop(task.list);
        let settled = lane.timeline.settle(task.value, outcome);
        let mut ready: SmallVec<[Arc<Lane>; 4]> = SmallVec::new();
        ready.extend(settled.lanes.iter().filter(|lane| lane.resume()).cloned());
        if lane.finish() {
            ready.push(lane.clone());
        }
        lock(&self.run).running -= 1;
        self.push(ready.into_iter(), 1);
        // After the device has its next lists: waking a thread is a system call.
        lane.timeline.announce(&settled);
    }

    /// Runs every command, also behind one that fails; says which did, and what time it was at the timestamps.
    fn run_list(&self, list: &Arc<List>, seat: &Arc<Seat>) -> Vec<(u32, Reported)> {
        let mut reports = Vec::new();
        for Step { list, at, index } in List::steps(list) {
            let command = &list.commands[at];
            if *command == Command::Timestamp {
                // Everything before it has finished, its own barrier or not: commands run one after the other.
                reports.push((index, Reported::Time(self.epoch.elapsed())));
                continue;
            }
            // Relaxed hints: a wrong guess costs a microsecond.
            let idle = self.idle.load(Ordering::Relaxed);
            let alone = self.runnable.load(Ordering::Relaxed) == 0;
            let result = if idle > 0 && alone && split::worthwhile(list, command) {
                self.run_shared(Split::new(list, at, idle + 1), seat)
            } else {
                let items = 0..host::items(command);
                // SAFETY: the list keeps the rules (Q3, Q5). Conflicting accesses of other lists and of the host are
                // ordered by its waits and by what the host has seen (Q1, R1, R2, W1, W2), since this scheduler runs a
                // list after its waits, and a queue's lists in order; those of this list by running its commands in
                // order. Nobody else runs this command.
                unsafe { host::execute(list, command, items, crate::NAME) }
            };
            reports.extend(result.err().map(|error| (index, Reported::Failed(error))));
        }
        reports
    }

    /// Runs a command together with the idle workers.
    fn run_shared(&self, split: Split, seat: &Arc<Seat>) -> Result<()> {
        let split = Arc::new(split);
        self.offer(&split, seat);
        // SAFETY: as in `run_list`; this thread goes on to the next command only when all helpers have left.
        while unsafe { split.run_chunk() } {}
        lock(&self.run).offers.retain(|offer| !Arc::ptr_eq(&offer.split, &split));
        seat.wait();
        split.result()
    }

    fn offer(&self, split: &Arc<Split>, seat: &Arc<Seat>) {
        let mut run = lock(&self.run);
        run.offers.push(Offer { split: split.clone(), seat: seat.clone() });
        self.news.fetch_add(1, Ordering::Relaxed);
        let wake = split.helpers_wanted().saturating_sub(run.spinning).min(run.sleeping);
        drop(run);
        self.rouse(wake);
    }

    /// Runs chunks of another worker's command until there are none, or there is a list to run.
    fn help(&self, Offer { split, seat }: Offer) {
        // SAFETY: this worker joined the offer, so the owner waits for it before it goes on to the next command; it
        // joined under the lock under which the owner made the offer, so what the owner did before is visible here.
        while unsafe { split.run_chunk() } && self.runnable.load(Ordering::Relaxed) == 0 {}
        drop(split);
        seat.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_thread_is_an_error_and_ends_the_others() {
        let mut started = Vec::new();
        let error = Pool::start_with(4, |index, body| {
            if index == 2 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            started.push(thread::spawn(body));
            Ok(())
        });
        assert!(matches!(error, Err(Error::Thread { .. })));
        assert_eq!(started.len(), 2);
        // Ends only if both have left.
        started.into_iter().for_each(|worker| worker.join().unwrap());
    }

    #[test]
    fn the_process_has_one_pool_while_it_is_in_use() {
        let first = Pool::of_process().unwrap();
        let second = Pool::of_process().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let shared = Arc::downgrade(&first.shared);
        drop((first, second));
        // The workers hold it until they leave.
        let start = Instant::now();
        while shared.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "the workers stay");
            thread::yield_now();
        }
        assert!(Pool::of_process().is_ok());
    }
}
