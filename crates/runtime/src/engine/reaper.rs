//! The reaper: one thread for each device, which settles finished work that nobody waits for and submits what somebody
//! asked for without waiting. It takes no hazard, and a submitter's turn only if it is free.
//!
//! It rests while nothing is submitted. Otherwise it looks at all streams every few milliseconds, so that submitting
//! does not have to wake it each time; and at once when it is rung for, or when a list settles that a task waits for.
//! While memory is cached it looks once a period for what nobody has used since ([`crate::Config::decay`]), and sooner
//! while more is reserved than should be.

use super::Engine;
use super::stream::StreamState;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::timed_mutex::TimedMutex;
use crate::base::wait_policy::WaitPolicy;
use crate::order::point::Point;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};
use thalweg_hal::{Device, Error, Listener, Result, TimelinePoint};

/// How long finished work may keep its memory, and a submit that was put off wait for its turn, if nobody waits for
/// either.
const TICK: Duration = Duration::from_millis(2);
/// How often it looks for memory that nobody uses above the soft limit: what is back by the third look is back within a
/// second.
pub(crate) const SOON: Duration = Duration::from_millis(250);

/// Wakes the reaper. A doorbell of the device, so that it can be waited for beside the streams' timelines.
#[derive(Debug)]
pub(crate) struct Doorbell {
    bell: Arc<dyn thalweg_hal::Doorbell>,
    /// Rung since the reaper last listened, or nobody listens any more. Held while the bell is rung and while the
    /// reaper listens: otherwise a ring that came between the two would be counted as heard, and keep the next from
    /// ringing.
    rung: Mutex<bool>,
    /// The reaper looks again soon without being rung for. Written by the reaper.
    ticking: AtomicBool,
    /// What is cached needs no ring: the reaper looks for it, or nobody does. Written by the reaper.
    decaying: AtomicBool,
    /// What is above the soft limit needs no ring either: the reaper looks soon, or never. Written by the reaper.
    soon: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new(bell: Arc<dyn thalweg_hal::Doorbell>) -> Self {
        let flag = AtomicBool::new;
        Self {
            bell,
            rung: Mutex::new(Rank::Doorbell, false),
            ticking: flag(false),
            decaying: flag(true),
            soon: flag(true),
        }
    }

    /// Makes the reaper look at what was submitted before this call, sooner or later.
    pub(crate) fn submitted(&self) {
        // Ordered by the lock around what is in flight, which was taken to enter the list and is taken to look: either
        // the look sees the list, or this sees that the reaper rests.
        if !self.is_ticking() {
            self.ring();
        }
    }

    /// Makes the reaper look for memory that nobody uses, in a while.
    pub(crate) fn cached(&self) {
        // Relaxed: ordered by the heap's lock, under which the memory came to its stream and under which the reaper
        // looks for it, after it has said that it will not look again.
        if !self.decaying.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Makes the reaper look soon for memory that nobody uses: more is reserved than should be.
    pub(crate) fn pressed(&self) {
        // Relaxed: ordered by the arena's lock, under which the memory was entered and under which the reaper asks how
        // much is reserved, after it has said that it will not look soon.
        if !self.soon.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Whether the reaper has not looked yet, or looks soon.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_soon(&self) -> bool {
        self.soon.load(Ordering::Relaxed)
    }

    /// The reaper looks at everything now, and then only when it is rung for, unless it finds a reason to
    /// [`tick`](Self::tick).
    fn rest(&self) {
        self.ticking.store(false, Ordering::Relaxed);
    }

    /// The reaper looks again after a while by itself.
    fn tick(&self) {
        self.ticking.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ticking(&self) -> bool {
        self.ticking.load(Ordering::Relaxed)
    }

    /// Makes the reaper look at everything that was done before this call.
    pub(crate) fn ring(&self) {
        let mut rung = self.rung.lock();
        // If it is rung already, the reaper has yet to look.
        if !*rung {
            *rung = true;
            self.bell.ring();
        }
    }

    /// Rings no more: the reaper ends, and after it the driver may. Handles are dropped at any time, also by what runs
    /// at the exit after the driver has been torn down.
    fn mute(&self) {
        *self.rung.lock() = true;
    }

    #[cfg(all(test, loom))]
    pub(crate) fn is_rung(&self) -> bool {
        *self.rung.lock()
    }

    /// Hears every ring from now on. The caller looks at the streams afterwards.
    pub(crate) fn listen(&self) -> Listener {
        let mut rung = self.rung.lock();
        *rung = false;
        Listener::new(&self.bell)
    }
}

thread_local! {
    /// This thread is the reaper of that device. Without a destructor, so that the exit's handler may ask.
    static REAPER_OF: Cell<u64> = const { Cell::new(0) };
}

/// Starts the reaper. It holds the device only while it works, and ends when the device is gone, lost or closed.
pub(crate) fn start(engine: &Arc<Engine>) -> Result<()> {
    let (weak, hal, id) = (Arc::downgrade(engine), Arc::clone(&engine.hal), engine.id);
    // Nothing is ever sent: that the sender is dropped says that the reaper has ended.
    let (running, ended) = std::sync::mpsc::channel::<std::convert::Infallible>();
    let body = move || {
        let _running = running;
        REAPER_OF.set(id);
        // Dropped before that: the thread that waits for the end may be about to unload the driver.
        let hal = hal;
        run(&weak, &*hal);
    };
    let thread = std::thread::Builder::new().name("thalweg-reaper".into()).spawn(body);
    let refused = |source| Error::Thread { device: engine.hal.info().name.clone(), source: Arc::new(source) };
    thread.map_err(refused)?;
    let entered = engine.reaper.set(Reaper { device: engine.id, ended: TimedMutex::new(Rank::ReaperEnd, ended) });
    debug_assert!(entered.is_ok(), "a device is started once");
    Ok(())
}

/// The reaper's thread, for threads that wait for its end.
#[derive(Debug)]
pub(crate) struct Reaper {
    /// The [`Engine::id`] of its device.
    device: u64,
    /// Taken by one of the threads that wait for the end.
    ended: TimedMutex<Receiver<std::convert::Infallible>>,
}

impl Reaper {
    /// Waits until it has ended, as long as the policy allows. It has been told to end.
    pub(crate) fn join(&self, policy: WaitPolicy) {
        // A waker may close the device.
        if REAPER_OF.get() != self.device {
            // Another thread that waits here waits for the same, and has a policy of its own.
            let Ok(ended) = self.ended.take(policy) else { return };
            // Both answers are errors: that it has ended, and that the time is over.
            let _ = match policy.left() {
                None => ended.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(left) => ended.recv_timeout(left),
            };
        }
    }

    /// Whether it has ended. Does not wait.
    pub(crate) fn has_ended(&self) -> bool {
        let ended = self.ended.take(WaitPolicy::Never);
        ended.is_ok_and(|ended| ended.try_recv() == Err(TryRecvError::Disconnected))
    }
}

fn run(engine: &Weak<Engine>, hal: &dyn Device) {
    let mut watch = Watch::default();
    let mut decay = Decay::default();
    loop {
        let Some(alive) = engine.upgrade() else { return };
        let Round { wakers, over } = round(&alive, &mut watch);
        let pause = decay.look(&alive);
        let pause = if alive.doorbell.is_ticking() { Some(TICK) } else { pause };
        if over {
            alive.doorbell.mute();
        }
        drop(alive);
        for waker in wakers {
            // A waker that panics is its executor's defect; the others are woken all the same.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        if over {
            return;
        }
        if let Err(error) = hal.wait_any(&watch.points, watch.bell.as_ref(), pause) {
            engine.upgrade().into_iter().for_each(|alive| alive.lose(error.clone()));
        }
    }
}

/// What came of a look at all streams.
pub(crate) struct Round {
    /// Tasks to wake, with nothing locked.
    pub(crate) wakers: Vec<Waker>,
    /// The device is lost or closed: this was the last round.
    over: bool,
}

/// What the reaper keeps from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// What to wait for before the next.
    points: Vec<TimelinePoint>,
    /// `None` before the first.
    bell: Option<Listener>,
    /// How many lists had been submitted.
    submitted: u64,
}

/// When memory that nobody uses is looked for.
#[derive(Debug, Default)]
pub(crate) struct Decay {
    /// `None` while there is nothing to look for.
    next: Option<Instant>,
}

impl Decay {
    /// Looks if it is time, and says how long it is until the next.
    pub(crate) fn look(&mut self, engine: &Engine) -> Option<Duration> {
        let period = engine.config.decay;
        if period.is_zero() {
            return None;
        }
        // In this order: see `Doorbell::pressed`.
        engine.doorbell.soon.store(false, Ordering::Relaxed);
        let is_pressed = engine.memory.is_pressed();
        let period = if is_pressed { period.min(SOON) } else { period };
        let now = Instant::now();
        let soon = now.checked_add(period).unwrap_or(now + FOREVER);
        self.next = self.next.map(|next| next.min(soon));
        if self.next.is_some_and(|next| next <= now) {
            // Before the look: what is cached later rings.
            engine.doorbell.decaying.store(false, Ordering::Relaxed);
            // A backend that panics has broken its contract, as in `round`.
            let again = catch_unwind(AssertUnwindSafe(|| engine.memory.decay(engine))).unwrap_or_else(|_| {
                engine.lose(Error::DeviceLost { device: engine.hal.info().name.clone() });
                false
            });
            self.next = None;
            if !again {
                return None;
            }
        }
        // Whatever it was rung for, there may be something then.
        let next = *self.next.get_or_insert(soon);
        engine.doorbell.decaying.store(true, Ordering::Relaxed);
        engine.doorbell.soon.store(is_pressed, Ordering::Relaxed);
        Some(next.saturating_duration_since(now))
    }
}

/// Longer than any process, and short enough for any clock.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// One look at all streams.
pub(crate) fn round(engine: &Engine, watch: &mut Watch) -> Round {
    watch.points.clear();
    // A backend that panics has broken its contract: nobody may wait for it any more.
    if catch_unwind(AssertUnwindSafe(|| look(engine, watch))).is_err() {
        engine.lose(Error::DeviceLost { device: engine.hal.info().name.clone() });
    }
    let over = engine.life.is_lost() || engine.life.is_closed();
    let mut wakers = Vec::new();
    for stream in engine.streams() {
        // Where nothing more will happen, everybody has reached what they wait for.
        let (submitted, settled) = if over { (u64::MAX, u64::MAX) } else { (stream.submitted(), stream.settled()) };
        stream.waiters.take_reached(submitted, settled, &mut wakers);
    }
    Round { wakers, over }
}

/// Does what there is to do, and collects what to wait for.
fn look(engine: &Engine, watch: &mut Watch) {
    watch.bell = Some(engine.doorbell.listen());
    engine.doorbell.rest();
    engine.submit_deferred();
    for stream in engine.streams() {
        // Up to whatever has completed; an edge that is open settles first.
        let _ = engine.settle(Point { stream: stream.index, value: u64::MAX });
        if engine.is_deferred(stream.index) {
            // What kept it from being submitted may be over by now, and then nothing else would call us.
            engine.doorbell.tick();
        }
        if let Some(value) = stream.in_flight.next() {
            engine.doorbell.tick();
            // Only where somebody waits for us; what nobody waits for is settled at the next tick.
            if engine.is_deferred(stream.index) || !stream.waiters.is_empty() {
                watch.points.push(stream.point(value));
            }
        }
    }
    engine.memory.collect_limbo(engine);
    // Where lists are short and settle at once, the next is not far.
    let submitted = engine.streams().map(StreamState::submitted).sum();
    if submitted != std::mem::replace(&mut watch.submitted, submitted) {
        engine.doorbell.tick();
    }
}
