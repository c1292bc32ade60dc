//! What is not there yet, and how to get it.

use super::current;
use super::device::Device;
use super::event::{Event, Finished};
use super::stream::Stream;
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::base::rank::Rank;
use crate::base::sync::{Condvar, Mutex, ThreadId, this_thread};
use crate::base::wait_policy::WaitPolicy;
use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How soon a thread makes a step again that found a busy device with nothing to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A value that the device is at work on. Any number of threads and tasks wait for it: the handle is cloned, and each
/// gets the same value. Dropping a handle stops nobody else, and not what the device has already.
///
/// The value is made once, on the host, by the first who finds the device's work done: the bytes are fetched then, and
/// what [`map`](Self::map) was given is called. Others wait for that, as long as their policy allows. What is made
/// [in steps](Self::in_steps) goes on only while somebody waits, polls or asks: dropping the last handle ends it.
///
/// ```
/// # use thalweg_runtime::{Device, Result, Storage};
/// # fn example(storage: &Storage) -> Result<()> {
/// let length = storage.download(0, 16)?.map(|bytes| bytes.len());
/// let another = length.clone();
/// let thread = std::thread::spawn(move || another.wait().map(|length| *length));
/// assert_eq!(*length.wait()?, 16);
/// # Ok(())
/// # }
/// ```
#[must_use = "the value is only made for those who wait for it"]
pub struct Pending<T> {
    shared: Arc<Shared<T>>,
}

/// What a step of [`Pending::in_steps`] came to.
#[must_use = "a step that nobody is told of was for nothing"]
pub struct Step<T>(Came<T>);

enum Came<T> {
    ToValue(T),
    /// To more steps, once these are there.
    ToMore(Vec<Before>),
}

impl<T> Step<T> {
    /// The last one: this is the value.
    pub fn done(value: T) -> Self {
        Self(Came::ToValue(value))
    }

    /// Another is to follow, once `pending` has its value or its error, which [`Pending::wait`] then gives at once.
    pub fn after<U: Send + Sync + 'static>(pending: &Pending<U>) -> Self {
        Self(Came::ToMore(vec![pending.before()]))
    }
}

impl<T> std::fmt::Debug for Step<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Came::ToValue(_) => f.write_str("Step(done)"),
            Came::ToMore(before) => write!(f, "Step(after {} others)", before.len()),
        }
    }
}

/// The steps that make a value.
struct Work<T> {
    step: Box<dyn FnMut() -> Result<Step<T>> + Send>,
    /// Where the steps record, if there can be more than one.
    device: Option<Device>,
}

struct Shared<T> {
    /// Held for the exchange of the stage alone.
    stage: Mutex<Stage<T>>,
    /// The stage is no longer [`Stage::Making`].
    moved: Condvar,
}

/// How far the value is.
enum Stage<T> {
    /// The next step has to wait for these.
    Unmade(Queue, Work<T>),
    /// By this thread, with nothing locked, with the tasks that wait for it.
    Making(ThreadId, Vec<Waker>),
    Made(Result<Arc<T>>),
}

/// What a step comes after, in the order in which it is waited for.
struct Queue {
    /// Which step of its value this is: says whether a look is still about the same one.
    step: u64,
    before: Arc<[Before]>,
    /// How many of them somebody has found to be there.
    there: usize,
}

/// What has to be there first.
#[derive(Clone)]
enum Before {
    Event(Event),
    /// Another value: made before, so that making this one waits for nobody.
    Value(Arc<dyn Part>),
}

/// A value of any type, to those that come after it.
trait Part: Send + Sync {
    /// Has the value made. If another thread is making it, waits for that thread.
    ///
    /// # Errors
    /// That the time is over, the device is lost or closed, or the caller is making it itself.
    fn settle(&self, policy: WaitPolicy) -> Result<()>;

    /// The same for a task.
    fn poll_settled(&self, turn: &mut Turn, context: &mut Context<'_>) -> Poll<Result<()>>;

    /// Whether [`settle`](Self::settle) would wait for nobody.
    fn is_done(&self) -> bool;
}

/// What a task keeps from poll to poll.
#[derive(Default)]
struct Turn {
    /// Of the event that it waits for now.
    finished: Option<Finished>,
    /// Whether this poll has made a step that was not the last. It makes no other: a poll is short.
    stepped: bool,
}

/// What there is to do for a value.
enum Next {
    Nothing,
    /// To wait for this, which has this place in this step.
    Wait(Before, (u64, usize)),
    /// To make the next step.
    Step,
    /// To wait for the thread that is making one.
    Watch,
}

impl<T> Clone for Pending<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Send + Sync + 'static> Pending<T> {
    /// What `make` gives once the events have happened.
    pub(crate) fn new(after: Vec<Event>, make: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self::once(after.into_iter().map(Before::Event).collect(), make)
    }

    /// What `make` gives after all of these.
    fn once(before: Vec<Before>, make: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        let mut make = Some(make);
        let step = move || {
            let make = make.take().expect("a step that gives the value is the last");
            make().map(Step::done)
        };
        Self::unmade(before, Work { step: Box::new(step), device: None })
    }

    fn unmade(before: Vec<Before>, work: Work<T>) -> Self {
        Self::at(Stage::Unmade(Queue { step: 0, before: before.into(), there: 0 }, work))
    }

    fn at(stage: Stage<T>) -> Self {
        Self { shared: Arc::new(Shared { stage: Mutex::new(Rank::Pending, stage), moved: Condvar::default() }) }
    }

    /// A value that is there.
    pub fn ready(value: T) -> Self {
        Self::at(Stage::Made(Ok(Arc::new(value))))
    }

    /// A value that is not to be had.
    pub fn failed(error: Error) -> Self {
        Self::at(Stage::Made(Err(error)))
    }

    /// A value that takes several turns of `device`. `step` is called for the first time, and again after what its
    /// last [`Step`] asked for: by one at a time of the threads and tasks that wait for the value, and by nobody if
    /// none does.
    ///
    /// It records on the current stream of the caller. Where that may not wait (a task, a deadline), it answers
    /// [`Error::Busy`], and the step is to return it, with everything as it was: it is called again when the device has
    /// gone on. Any other error is the value's.
    pub fn in_steps(device: &Device, step: impl FnMut() -> Result<Step<T>> + Send + 'static) -> Self {
        Self::steps(Some(device), step)
    }

    /// The same; without a device no step can find it busy.
    pub(crate) fn steps(device: Option<&Device>, step: impl FnMut() -> Result<Step<T>> + Send + 'static) -> Self {
        Self::unmade(Vec::new(), Work { step: Box::new(step), device: device.cloned() })
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// That the work failed ([`Error::Failed`]), the device is lost or closed; [`Error::Abandoned`] if a closure given
    /// to [`map`](Self::map) panicked, [`Error::Recursive`] if it is waited for in its own closure. (Values whose
    /// closures wait for each other on two threads wait for ever.) [`Error::NotCapturable`] on a thread that is
    /// capturing a graph, if it is to be made in steps: others still get it.
    pub fn wait(&self) -> Result<Arc<T>> {
        self.value(WaitPolicy::Forever)
    }

    /// Waits for the value until a moment.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it is not there by then, which changes nothing: it can be waited for again. Otherwise as
    /// for [`wait`](Self::wait).
    pub fn wait_until(&self, deadline: Instant) -> Result<Arc<T>> {
        self.value(WaitPolicy::Until(deadline))
    }

    /// Whether [`wait`](Self::wait) would give the value, or an error, without waiting for the device. Never blocks,
    /// and asking again and again ends: of a value that is made in steps, it makes the next.
    pub fn is_done(&self) -> bool {
        // A forked child is answered at once, and locks nothing.
        fork::forked() || self.shared.is_done()
    }

    /// What `call` makes of the value. It is called once, by the first who waits for the result, or never, if nobody
    /// does. Waiting for what is made of others goes down to them call by call: chains of more than a thousand are too
    /// long for a thread's stack.
    pub fn map<U: Send + Sync + 'static>(self, call: impl FnOnce(Arc<T>) -> U + Send + 'static) -> Pending<U> {
        Pending::once(vec![self.before()], move || self.wait().map(call))
    }

    /// The values of several, in their order, when all are there; the first error, if one failed.
    pub fn all(pending: impl IntoIterator<Item = Self>) -> Pending<Vec<Arc<T>>> {
        let pending: Vec<Self> = pending.into_iter().collect();
        let before = pending.iter().map(Self::before).collect();
        Pending::once(before, move || pending.iter().map(Self::wait).collect())
    }

    /// It, as something that another value comes after.
    fn before(&self) -> Before {
        Before::Value(Arc::clone(&self.shared) as Arc<dyn Part>)
    }

    fn value(&self, policy: WaitPolicy) -> Result<Arc<T>> {
        fork::check_fork()?; // before any lock
        if let Some(value) = self.shared.value() {
            return value;
        }
        self.shared.settle(policy)?;
        self.shared.value().expect("it is made, and stays so")
    }
}

impl<T: Send + Sync> Part for Shared<T> {
    fn settle(&self, policy: WaitPolicy) -> Result<()> {
        loop {
            match self.next()? {
                Next::Nothing => return Ok(()),
                Next::Wait(before, place) => {
                    before.settle(policy)?;
                    self.found(place);
                }
                Next::Step => {
                    if let Went::Nowhere = self.step(policy)? {
                        // Busy, and nothing that could be waited for: another thread is in the way.
                        if policy.left() == Some(Duration::ZERO) {
                            return Err(policy.over());
                        }
                        drop(self.moved.wait(self.stage.lock(), Some(LOOK_AGAIN)));
                    }
                }
                Next::Watch => {
                    let mut stage = self.stage.lock();
                    while matches!(*stage, Stage::Making(..)) {
                        let left = policy.left();
                        if left == Some(Duration::ZERO) {
                            return Err(policy.over());
                        }
                        stage = self.moved.wait(stage, left);
                    }
                }
            }
        }
    }

    fn poll_settled(&self, turn: &mut Turn, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match self.next()? {
                Next::Nothing => return Poll::Ready(Ok(())),
                Next::Wait(before, place) => {
                    match before.poll_settled(turn, context) {
                        Poll::Ready(Ok(())) => {}
                        other => return other,
                    }
                    self.found(place);
                }
                Next::Step if turn.stepped => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::Step => turn.stepped = !matches!(self.step(WaitPolicy::Never)?, Went::Through),
                Next::Watch => {
                    // Cloned with nothing locked: it is the user's code.
                    let waker = context.waker().clone();
                    if let Stage::Making(_, wakers) = &mut *self.stage.lock() {
                        if !wakers.iter().any(|left| left.will_wake(&waker)) {
                            wakers.push(waker);
                        }
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let (before, steps) = match &*self.stage.lock() {
            Stage::Made(_) => return true,
            Stage::Making(..) => return false,
            Stage::Unmade(queue, work) => (Arc::clone(&queue.before), work.device.clone()),
        };
        if !before.iter().all(Before::is_done) {
            return false;
        }
        drop(before);
        let Some(device) = steps else { return true };
        // A thread that captures a graph makes no step, and asking does the capture no harm.
        if Stream::current(&device).is_ok_and(|stream| stream.capture().is_some()) {
            return false;
        }
        // What comes before is made, which waits for nobody, and then the step.
        let mut turn = Turn::default();
        self.poll_settled(&mut turn, &mut Context::from_waker(Waker::noop())).is_ready()
    }
}

impl Before {
    fn settle(&self, policy: WaitPolicy) -> Result<()> {
        match self {
            Self::Event(event) => event.wait(policy),
            Self::Value(part) => part.settle(policy),
        }
    }

    fn poll_settled(&self, turn: &mut Turn, context: &mut Context<'_>) -> Poll<Result<()>> {
        let event = match self {
            Self::Event(event) => event,
            Self::Value(part) => return part.poll_settled(turn, context),
        };
        // Somebody else may have found what was waited for last.
        if turn.finished.as_ref().is_some_and(|finished| !finished.is_of(event)) {
            turn.finished = None;
        }
        let finished = turn.finished.get_or_insert_with(|| event.finished());
        let polled = Pin::new(finished).poll(context);
        if polled.is_ready() {
            turn.finished = None;
        }
        polled
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Event(event) => event.query(),
            Self::Value(part) => part.is_done(),
        }
    }
}

impl<T> Shared<T> {
    /// What it is, once it is made.
    fn value(&self) -> Option<Result<Arc<T>>> {
        if let Stage::Made(value) = &*self.stage.lock() { Some(value.clone()) } else { None }
    }

    /// What there is to do for it.
    ///
    /// # Errors
    /// That this thread is doing it already.
    fn next(&self) -> Result<Next> {
        Ok(match &*self.stage.lock() {
            Stage::Made(_) => Next::Nothing,
            Stage::Making(thread, _) if *thread == this_thread() => return Err(Error::Recursive),
            Stage::Making(..) => Next::Watch,
            Stage::Unmade(queue, _) => match queue.before.get(queue.there) {
                Some(before) => Next::Wait(before.clone(), (queue.step, queue.there)),
                None => Next::Step,
            },
        })
    }

    /// What was waited for at a place of a step is there.
    fn found(&self, (step, place): (u64, usize)) {
        if let Stage::Unmade(queue, _) = &mut *self.stage.lock()
            && (queue.step, queue.there) == (step, place)
        {
            queue.there += 1;
        }
    }

    /// Makes the next step, unless somebody else has begun to. With nothing locked.
    fn step(&self, policy: WaitPolicy) -> Result<Went> {
        let device = if let Stage::Unmade(_, work) = &*self.stage.lock() { work.device.clone() } else { None };
        if let Some(device) = device {
            // What a step does is no part of a graph.
            current::check_capturable(&device, "making a value in steps")?;
        }
        let mut stage = self.stage.lock();
        match &*stage {
            Stage::Unmade(queue, _) if queue.there == queue.before.len() => {}
            _ => return Ok(Went::Through),
        }
        let Stage::Unmade(queue, mut work) = std::mem::replace(&mut *stage, Stage::Making(this_thread(), Vec::new()))
        else {
            unreachable!("just looked at, under the lock");
        };
        drop(stage);
        let step = queue.step + 1;
        let mut making = Making { shared: self, next: Some(Stage::Made(Err(Error::Abandoned))) };
        // What a step came after is the step's alone.
        drop(queue);
        let (next, went) = match work.run(policy) {
            Ok(Step(Came::ToValue(value))) => (Stage::Made(Ok(Arc::new(value))), Went::Through),
            Ok(Step(Came::ToMore(before))) => {
                let queue = Queue { step, before: before.into(), there: 0 };
                (Stage::Unmade(queue, work), Went::On)
            }
            Err(Error::Busy) if work.device.is_some() => {
                let before = work.busy_with();
                let went = if before.is_empty() { Went::Nowhere } else { Went::On };
                (Stage::Unmade(Queue { step, before: before.into(), there: 0 }, work), went)
            }
            Err(error) => (Stage::Made(Err(error)), Went::Through),
        };
        making.next = Some(next);
        Ok(went)
    }
}

/// How far a step has led.
enum Went {
    /// To the value; or somebody else is at it.
    Through,
    /// To more to wait for.
    On,
    /// The device or a thread is busy, and there is nothing that could be waited for.
    Nowhere,
}

impl<T> Work<T> {
    /// Makes a step, which waits no longer than the policy allows.
    fn run(&mut self, policy: WaitPolicy) -> Result<Step<T>> {
        match (&self.device, policy) {
            (Some(device), WaitPolicy::Until(_) | WaitPolicy::Never) => {
                let stream = Stream::current(device)?.or_busy();
                stream.scope(&mut self.step)
            }
            _ => (self.step)(),
        }
    }

    /// What the device is to get done before a step is made again that found it busy: the next list of this thread's
    /// stream, which gives back its place in the queue and its memory; if it has none, what others have recorded.
    fn busy_with(&self) -> Vec<Before> {
        let events = self.device.as_ref().map_or_else(Vec::new, Device::unfinished);
        events.into_iter().map(Before::Event).collect()
    }
}

/// The right, and the duty, to enter how far a value is. Dropped, it does.
struct Making<'a, T> {
    shared: &'a Shared<T>,
    /// Where it goes from here; a closure that panics leaves an error behind for the others.
    next: Option<Stage<T>>,
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        let next = self.next.take().expect("taken here alone");
        let before = std::mem::replace(&mut *self.shared.stage.lock(), next);
        self.shared.moved.notify_all();
        if let Stage::Making(_, wakers) = before {
            // One that panics keeps none of the others asleep.
            wakers.into_iter().for_each(|waker| drop(catch_unwind(AssertUnwindSafe(|| waker.wake()))));
        }
    }
}

impl<T: Send + Sync + 'static> IntoFuture for Pending<T> {
    type Output = Result<Arc<T>>;
    type IntoFuture = Awaited<T>;

    fn into_future(self) -> Awaited<T> {
        Awaited { pending: self, turn: Turn::default() }
    }
}

/// A [`Pending`] that a task waits for. Keeps no thread waiting for the device, on any executor; the reaper wakes the
/// task.
#[must_use = "a future does nothing unless it is polled"]
pub struct Awaited<T> {
    pending: Pending<T>,
    turn: Turn,
}

impl<T: Send + Sync + 'static> Future for Awaited<T> {
    type Output = Result<Arc<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = fork::check_fork() {
            return Poll::Ready(Err(error)); // before any lock
        }
        let this = &mut *self;
        this.turn.stepped = false;
        let shared = &this.pending.shared;
        match shared.poll_settled(&mut this.turn, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(shared.value().expect("it is made, and stays so")),
        }
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({} others know it)", Arc::strong_count(&self.shared) - 1)
    }
}

impl<T> std::fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Awaited({:?})", self.pending)
    }
}
