//! What is not there yet, and how to get it.

use crate::error::{Error, Result};
use crate::event::{Event, Finished};
use crate::patience::Patience;
use crate::sync::{Condvar, Mutex, ThreadId, this_thread};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A value that the device is at work on. Any number of threads and tasks wait for it: the handle is cloned, and each
/// gets the same value. Dropping a handle stops nobody else, and not the device.
///
/// The value is made once, on the host, by the first who finds the device's work done: the bytes are fetched then, and
/// what [`map`](Self::map) was given is called. Others wait for that, as long as their patience lasts.
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
    /// Held for the exchange of the state alone.
    state: Mutex<State<T>>,
    made: Condvar,
}

enum State<T> {
    Unmade(Make<T>),
    /// By this thread, with nothing locked, with the tasks that wait for it.
    Making(ThreadId, Vec<Waker>),
    Made(Result<Arc<T>>),
}

impl<T> Clone for Pending<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Send + Sync + 'static> Pending<T> {
    /// What `make` gives once the events have happened.
    pub(crate) fn new(after: Vec<Event>, make: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        let state = Mutex::new(State::Unmade(Box::new(make)));
        Self { shared: Arc::new(Shared { after, state, made: Condvar::default() }) }
    }

    /// A value that is there.
    pub fn ready(value: T) -> Self {
        let state = Mutex::new(State::Made(Ok(Arc::new(value))));
        Self { shared: Arc::new(Shared { after: Vec::new(), state, made: Condvar::default() }) }
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// That the work failed ([`Error::Failed`]), the device is lost or closed; [`Error::Abandoned`] if a closure given
    /// to [`map`](Self::map) panicked, [`Error::Recursive`] if it waits for itself.
    pub fn wait(&self) -> Result<Arc<T>> {
        self.value(Patience::Forever)
    }

    /// Waits for the value until a moment.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it is not there by then, which changes nothing: it can be waited for again. Otherwise as
    /// for [`wait`](Self::wait).
    pub fn wait_until(&self, deadline: Instant) -> Result<Arc<T>> {
        self.value(Patience::Until(deadline))
    }

    /// Whether [`wait`](Self::wait) would give the value, or an error, without waiting for the device. Never blocks,
    /// and asking again and again ends.
    pub fn is_done(&self) -> bool {
        matches!(*self.shared.state.lock(), State::Made(_)) || self.shared.after.iter().all(Event::query)
    }

    /// What `call` makes of the value. It is called once, by the first who waits for the result, or never, if nobody
    /// does.
    pub fn map<U: Send + Sync + 'static>(self, call: impl FnOnce(Arc<T>) -> U + Send + 'static) -> Pending<U> {
        let after = self.shared.after.clone();
        Pending::new(after, move || self.wait().map(call))
    }

    /// The values of several, in their order, when all are there; the first error, if one failed.
    pub fn all(pending: impl IntoIterator<Item = Self>) -> Pending<Vec<Arc<T>>> {
        let pending: Vec<Self> = pending.into_iter().collect();
        let after = pending.iter().flat_map(|pending| pending.shared.after.iter().cloned()).collect();
        Pending::new(after, move || pending.iter().map(Self::wait).collect())
    }

    fn value(&self, patience: Patience) -> Result<Arc<T>> {
        if let State::Made(value) = &*self.shared.state.lock() {
            return value.clone();
        }
        self.shared.after.iter().try_for_each(|event| event.wait(patience))?;
        let mut state = self.shared.state.lock();
        loop {
            match &*state {
                State::Made(value) => return value.clone(),
                State::Making(thread, _) if *thread == this_thread() => return Err(Error::Recursive),
                State::Making(..) => {
                    let left = patience.left();
                    if left == Some(Duration::ZERO) {
                        return Err(patience.over());
                    }
                    state = self.shared.made.wait(state, left);
                }
                State::Unmade(_) => {
                    drop(state);
                    self.shared.make();
                    state = self.shared.state.lock();
                }
            }
        }
    }
}

impl<T> Shared<T> {
    /// Makes the value, unless somebody has begun to. With nothing locked.
    fn make(&self) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Unmade(_)) {
            return;
        }
        let State::Unmade(make) = std::mem::replace(&mut *state, State::Making(this_thread(), Vec::new())) else {
            return;
        };
        drop(state);
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
        let before = std::mem::replace(&mut *self.shared.state.lock(), State::Made(value));
        self.shared.made.notify_all();
        if let State::Making(_, wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
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
        shared.make();
        // Cloned with nothing locked: it is the user's code.
        let waker = context.waker().clone();
        match &mut *shared.state.lock() {
            State::Made(value) => Poll::Ready(value.clone()),
            State::Making(thread, _) if *thread == this_thread() => Poll::Ready(Err(Error::Recursive)),
            State::Making(_, wakers) => {
                wakers.push(waker);
                Poll::Pending
            }
            State::Unmade(_) => unreachable!("`make` leaves nothing unmade"),
        }
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("after", &self.shared.after).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Awaited<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").field("pending", &self.pending).finish_non_exhaustive()
    }
}
