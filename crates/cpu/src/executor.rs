//! The worker pool: gives workers what is runnable, and lends idle ones to those that run something large.

use crate::fair::Fair;
use crate::machine;
use crate::queue::Lane;
use crate::run::Worker;
use crate::split::{Offer, Seat, Split};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, lock};
use crate::timeline::Bell;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use thalweg_hal::{Error, Result};

/// Stack of a worker. Kernels keep their tiles there.
const STACK_BYTES: usize = 4 << 20;
/// How long an idle worker looks out for work before it sleeps, while lists are running: longer than the small
/// commands between two large ones, so that it is there for the second.
const SPIN: Duration = Duration::from_micros(100);
/// How long a list runs while another lane has a claim to the worker. Shorter would cost throughput: a layer's weights
/// are streamed through the cache once for each piece of it.
pub const QUANTUM: Duration = Duration::from_millis(1);
/// By how many quanta a lane has to have used less to be given way to: see [`Fair`]. With one, batches of eight callers
/// took up to a sixth longer than with lists that run to their end.
const LEAD: u32 = 10;
/// Looks between two yields of the processor, and between two looks at the clock.
const LOOKS: u32 = 32;

/// A pool of workers, as devices and queues hold it. Dropping the last handle ends the workers, once everything that
/// was submitted has run.
pub struct WorkerPool {
    shared: Arc<Shared>,
    workers: usize,
}

/// How a pool is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of workers, at least 1.
    pub workers: usize,
    /// How long a list runs while another lane has a claim to the worker.
    pub quantum: Duration,
    /// Whether idle workers look out for work for a while before they sleep.
    pub spins: bool,
}

impl Options {
    /// So many workers, else as many as the process has processors to itself: by its affinity mask and by the quota of
    /// its cgroups, a part of a processor not counted, but one at least.
    pub fn new(workers: Option<usize>) -> Self {
        let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = workers.unwrap_or_else(available).max(1);
        Self { workers, quantum: QUANTUM, spins: may_spin(workers, machine::cpu_quota()) }
    }
}

/// Whether workers may look out for work, with a quota of so many processors, if there is one. With less than a
/// processor each they take the time from those who have work; and one alone has nobody to look out for.
fn may_spin(workers: usize, quota: Option<f64>) -> bool {
    workers > 1 && quota.is_none_or(|processors| processors >= workers as f64)
}

impl WorkerPool {
    /// The pool of the process: started on first use, ended with its last handle. With so many workers, if it says how
    /// many; a pool that is in use already has as many as it has.
    ///
    /// # Errors
    /// [`Error::Setting`] if the pool in use has another number of workers; [`Error::Thread`] if the system refuses a
    /// thread.
    pub fn of_process(workers: Option<usize>) -> Result<Arc<Self>> {
        static POOL: std::sync::Mutex<Weak<WorkerPool>> = std::sync::Mutex::new(Weak::new());
        let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = slot.upgrade() {
            return match workers {
                Some(workers) if workers != pool.workers => Err(Error::Setting {
                    variable: "the number of CPU threads",
                    given: workers.to_string(),
                    expected: format!(
                        "{}, as many as the process has while a device uses them; ask for as many everywhere, or \
                         before another device is opened",
                        pool.workers
                    )
                    .into(),
                }),
                _ => Ok(pool),
            };
        }
        let pool = Self::start(Options::new(workers))?;
        *slot = Arc::downgrade(&pool);
        Ok(pool)
    }

    /// A pool of its own.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread.
    pub fn start(options: Options) -> Result<Arc<Self>> {
        Self::start_with(options, |index, body| {
            let builder = thread::Builder::new().name(format!("thalweg-cpu-{index}")).stack_size(STACK_BYTES);
            builder.spawn(body).map(drop)
        })
    }

    fn start_with(
        options: Options,
        mut spawn: impl FnMut(usize, Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> Result<Arc<Self>> {
        let workers = options.workers;
        let pool = Arc::new(Self { shared: Arc::new(Shared::new(options)), workers });
        for index in 0..workers {
            let shared = pool.shared.clone();
            // A refusal drops the pool, which ends the workers that did start.
            spawn(index, Box::new(move || shared.work(index)))
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

    /// The virtual time of a new lane.
    pub fn newcomer(&self) -> Duration {
        lock(&self.shared.run).lanes.newcomer()
    }

    /// Hands over a lane that has become runnable.
    pub fn schedule(&self, lane: &Arc<Lane>) {
        self.shared.push(std::iter::once(lane.clone()), 0);
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        lock(&self.shared.run).closing = true;
        self.shared.news.fetch_add(1, Ordering::Relaxed);
        self.shared.wake.notify_all();
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// What workers and handles share. The workers keep it alive.
pub struct Shared {
    /// The run queue.
    pub run: Mutex<Run>,
    /// Where sleeping workers wait, with `run`.
    wake: Condvar,
    /// Rises with every change that could concern an idle worker. Written under `run` (by `Drop` right after), read by
    /// spinning workers. A hint: what counts is found under the lock, so Relaxed.
    news: AtomicU64,
    /// Number of runnable lanes. Written under `run`, read by owners and helpers. A hint, so Relaxed.
    pub runnable: AtomicUsize,
    /// Number of workers that spin or sleep. As above.
    pub idle: AtomicUsize,
    /// What its timelines ring.
    pub bell: Arc<Bell>,
    /// What timestamps count from.
    pub epoch: Instant,
    /// How long a list runs before it yields.
    pub quantum: Duration,
    /// Whether idle workers look out for work for a while before they sleep.
    spins: bool,
}

/// The run queue, and who is there to serve it.
pub struct Run {
    /// Lanes with a runnable head.
    pub lanes: Fair<Arc<Lane>>,
    /// Dispatches that helpers may join: at most one for each worker.
    pub offers: Vec<Offer>,
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
    pub fn new(options: Options) -> Self {
        let Options { workers, quantum, spins } = options;
        let lanes = Fair::new(workers, quantum.saturating_mul(LEAD));
        let run = Run { lanes, offers: Vec::new(), running: 0, spinning: 0, sleeping: 0, closing: false };
        Self {
            run: Mutex::new(run),
            wake: Condvar::new(),
            news: AtomicU64::new(0),
            runnable: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            bell: Arc::new(Bell::new()),
            epoch: Instant::now(),
            quantum,
            spins,
        }
    }

    /// The body of a worker.
    fn work(&self, index: usize) {
        let mut worker = Worker::new(index);
        loop {
            match self.next(index) {
                Work::Run(lane) => self.run_head(&lane, &mut worker),
                Work::Help(offer) => self.help(offer, &mut worker),
                Work::Leave => return,
            }
        }
    }

    /// Finds something to do: a list, else an offer, else spins for a while and sleeps.
    fn next(&self, worker: usize) -> Work {
        let mut run = lock(&self.run);
        let mut patient = true;
        loop {
            if let Some(lane) = run.lanes.pick(worker) {
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
            if self.spins && patient && run.running > 0 {
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
            // A thread with something to do comes first.
            thread::yield_now();
        }
    }

    /// Copies the hints out of the run queue.
    fn publish(&self, run: &Run) {
        self.runnable.store(run.lanes.len(), Ordering::Relaxed);
        self.idle.store(run.spinning + run.sleeping, Ordering::Relaxed);
    }

    /// Takes in runnable lanes and wakes as many sleepers as it takes. `coming` workers have just stopped running a
    /// list, and look for the next right after.
    pub fn push(&self, lanes: impl Iterator<Item = Arc<Lane>>, coming: usize) {
        let mut run = lock(&self.run);
        run.running -= coming;
        let before = run.lanes.len();
        lanes.for_each(|lane| run.lanes.enter(lane.used(), lane));
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

    /// Lets idle workers join.
    pub fn offer(&self, split: &Arc<Split>, seat: &Arc<Seat>) {
        let mut run = lock(&self.run);
        run.offers.push(Offer { split: split.clone(), seat: seat.clone() });
        self.news.fetch_add(1, Ordering::Relaxed);
        let wake = split.helpers_wanted().saturating_sub(run.spinning).min(run.sleeping);
        drop(run);
        self.rouse(wake);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_refused_thread_is_an_error_and_ends_the_others() {
        let mut started = Vec::new();
        let error = WorkerPool::start_with(Options::new(Some(4)), |index, body| {
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
    fn workers_spin_where_each_has_a_processor() {
        assert!(may_spin(2, None) && may_spin(2, Some(2.0)) && may_spin(2, Some(7.5)));
        // Half a processor, as in a container, is one worker.
        assert!(!may_spin(1, Some(0.5)) && !may_spin(1, None));
        assert!(!may_spin(2, Some(1.5)) && !may_spin(4, Some(2.0)));
    }

    #[test]
    fn the_pool_in_use_has_as_many_workers_as_it_has() {
        let pool = WorkerPool::of_process(None).unwrap();
        assert!(Arc::ptr_eq(&pool, &WorkerPool::of_process(Some(pool.workers)).unwrap()));
        let error = WorkerPool::of_process(Some(pool.workers + 1)).unwrap_err().to_string();
        let given = format!("the number of CPU threads is \"{}\"; expected {}, ", pool.workers + 1, pool.workers);
        assert!(error.starts_with(&given), "{error}");
    }

    // audit: C8
    #[test]
    fn the_process_has_one_pool_while_it_is_in_use() {
        let first = WorkerPool::of_process(None).unwrap();
        let second = WorkerPool::of_process(None).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let shared = Arc::downgrade(&first.shared);
        drop((first, second));
        // The workers hold it until they leave, and the other tests while they use it.
        let start = Instant::now();
        while shared.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "the workers stay");
            thread::yield_now();
        }
        assert!(WorkerPool::of_process(None).is_ok());
    }
}
