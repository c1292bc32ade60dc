//! What is not there yet, and how to get it.

use super::event::{Event, Finished};
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

/// A value that the device is at work on. Any number of threads and tasks wait for it: the handle is cloned, and each
/// gets the same value. Dropping a handle stops nobody else, and not the device.
///
/// The value is made once, on the host, by the first who finds the device's work done: the bytes are fetched then, and
/// what [`map`](Self::map) was given is called. Others wait for that, as long as their policy allows.
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

/// How a value is made.
type Make<T> = Box<dyn FnOnce() -> Result<T> + Send>;

struct Shared<T> {
    /// What has to have run. In the order in which it is waited for.
    after: Vec<Event>,
    /// Held for the exchange of the stage alone.
    stage: Mutex<Stage<T>>,
    made: Condvar,
}

/// How far the value is.
enum Stage<T> {
    /// With the values that it is made of.
    Unmade(Arc<[Arc<dyn Part>]>, Make<T>),
    /// By this thread, with nothing locked, with the tasks that wait for it.
    Making(ThreadId, Vec<Waker>),
    Made(Result<Arc<T>>),
}

/// A value that another is made of: made before, so that making the other waits for nobody.
trait Part: Send + Sync {
    /// Has the value made; its events have happened. If another thread is making it, waits for that thread.
    ///
    /// # Errors
    /// That the time is over, or that the caller is making it itself.
    fn settle(&self, policy: WaitPolicy) -> Result<()>;

    /// The same for a task.
    fn poll_settled(&self, context: &mut Context<'_>) -> Poll<Result<()>>;
}

impl<T> Clone for Pending<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Send + Sync + 'static> Pending<T> {
    /// What `make` gives once the events have happened.
    pub(crate) fn new(after: Vec<Event>, make: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self::made_of(Vec::new(), after, make)
    }

    /// What `make` gives once the events have happened and the parts are made.
    fn made_of(
        parts: Vec<Arc<dyn Part>>,
        after: Vec<Event>,
        make: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Self {
        let stage = Mutex::new(Rank::Pending, Stage::Unmade(parts.into(), Box::new(make)));
        Self { shared: Arc::new(Shared { after, stage, made: Condvar::default() }) }
    }

    /// A value that is there.
    pub fn ready(value: T) -> Self {
        let stage = Mutex::new(Rank::Pending, Stage::Made(Ok(Arc::new(value))));
        Self { shared: Arc::new(Shared { after: Vec::new(), stage, made: Condvar::default() }) }
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// That the work failed ([`Error::Failed`]), the device is lost or closed; [`Error::Abandoned`] if a closure given
    /// to [`map`](Self::map) panicked, [`Error::Recursive`] if it waits for itself.
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
    /// and asking again and again ends.
    pub fn is_done(&self) -> bool {
        // A forked child is answered at once, and locks nothing.
        fork::forked()
            || matches!(*self.shared.stage.lock(), Stage::Made(_))
            || self.shared.after.iter().all(Event::query)
    }

    /// What `call` makes of the value. It is called once, by the first who waits for the result, or never, if nobody
    /// does.
    pub fn map<U: Send + Sync + 'static>(self, call: impl FnOnce(Arc<T>) -> U + Send + 'static) -> Pending<U> {
        let (part, after) = (Arc::clone(&self.shared), self.shared.after.clone());
        Pending::made_of(vec![part], after, move || self.wait().map(call))
    }

    /// The values of several, in their order, when all are there; the first error, if one failed.
    pub fn all(pending: impl IntoIterator<Item = Self>) -> Pending<Vec<Arc<T>>> {
        let pending: Vec<Self> = pending.into_iter().collect();
        let after = pending.iter().flat_map(|pending| pending.shared.after.iter().cloned()).collect();
        let parts = pending.iter().map(|pending| Arc::clone(&pending.shared) as Arc<dyn Part>).collect();
        Pending::made_of(parts, after, move || pending.iter().map(Self::wait).collect())
    }

    fn value(&self, policy: WaitPolicy) -> Result<Arc<T>> {
        fork::check_fork()?; // before any lock
        let shared = &self.shared;
        if let Some(value) = shared.value() {
            return value;
        }
        shared.after.iter().try_for_each(|event| event.wait(policy))?;
        shared.settle(policy)?;
        shared.value().expect("it is made, and stays so")
    }
}

impl<T: Send + Sync> Part for Shared<T> {
    fn settle(&self, policy: WaitPolicy) -> Result<()> {
        self.parts().iter().try_for_each(|part| part.settle(policy))?;
        self.make();
        let mut stage = self.stage.lock();
        while let Stage::Making(thread, _) = &*stage {
            if *thread == this_thread() {
                return Err(Error::Recursive);
            }
            let left = policy.left();
            if left == Some(Duration::ZERO) {
                return Err(policy.over());
            }
            stage = self.made.wait(stage, left);
        }
        Ok(())
    }

    fn poll_settled(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        for part in &*self.parts() {
            match part.poll_settled(context) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        self.make();
        // Cloned with nothing locked: it is the user's code.
        let waker = context.waker().clone();
        match &mut *self.stage.lock() {
            Stage::Making(thread, _) if *thread == this_thread() => Poll::Ready(Err(Error::Recursive)),
            Stage::Making(_, wakers) => {
                wakers.push(waker);
                Poll::Pending
            }
            Stage::Unmade(..) | Stage::Made(_) => Poll::Ready(Ok(())),
        }
    }
}

impl<T> Shared<T> {
    /// What it is, once it is made.
    fn value(&self) -> Option<Result<Arc<T>>> {
        if let Stage::Made(value) = &*self.stage.lock() { Some(value.clone()) } else { None }
    }

    /// What it is to be made of; nothing, once somebody has begun to.
    fn parts(&self) -> Arc<[Arc<dyn Part>]> {
        if let Stage::Unmade(parts, _) = &*self.stage.lock() { Arc::clone(parts) } else { Arc::default() }
    }

    /// Makes the value, unless somebody has begun to. With nothing locked.
    fn make(&self) {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Unmade(..)) {
            return;
        }
        let Stage::Unmade(_parts, make) = std::mem::replace(&mut *stage, Stage::Making(this_thread(), Vec::new()))
        else {
            return;
        };
        drop(stage);
        // A closure that panics leaves an error behind for the others.
        let mut making = Making { shared: self, value: Err(Error::Abandoned) };
        making.value = make().map(Arc::new);
    }
}

/// The right, and the duty, to enter a value. Dropped, it does.
struct Making<'a, T> {
    shared: &'a Shared<T>,
    value: Result<Arc<T>>,
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        let value = std::mem::replace(&mut self.value, Err(Error::Abandoned));
        let before = std::mem::replace(&mut *self.shared.stage.lock(), Stage::Made(value));
        self.shared.made.notify_all();
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
        Awaited { pending: self, next: 0, event: None }
    }
}

/// A [`Pending`] that a task waits for. Keeps no thread waiting for the device, on any executor; the reaper wakes the
/// task.
#[must_use = "a future does nothing unless it is polled"]
pub struct Awaited<T> {
    pending: Pending<T>,
    /// The event that is waited for next, and its future.
    next: usize,
    event: Option<Finished>,
}

impl<T: Send + Sync + 'static> Future for Awaited<T> {
    type Output = Result<Arc<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = fork::check_fork() {
            return Poll::Ready(Err(error)); // before any lock
        }
        let this = &mut *self;
        let shared = Arc::clone(&this.pending.shared);
        while let Some(event) = shared.after.get(this.next) {
            let finished = this.event.get_or_insert_with(|| event.finished());
            match Pin::new(finished).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            (this.event, this.next) = (None, this.next + 1);
        }
        match shared.poll_settled(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(shared.value().expect("it is made, and stays so")),
        }
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending(after {} events)", self.shared.after.len())
    }
}

impl<T> std::fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Awaited({:?})", self.pending)
    }
}
