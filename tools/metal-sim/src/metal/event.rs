//! `MTLSharedEvent`: a number that rises, awaited by hosts and queues.

use super::life::Alive;
use crate::engine::QueueState;
use crate::foundation::object;
use crate::rt::class::lock;
use objc2::rc::Retained;
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{DefinedClass, define_class};
use objc2_foundation::NSString;
use objc2_metal::{MTLEvent, MTLSharedEvent};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct Inner {
    value: u64,
    /// Queues to wake once the event is at a value.
    watchers: Vec<(u64, Arc<QueueState>)>,
}

/// The event itself, which the queues know.
#[derive(Default)]
pub struct EventState {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl EventState {
    /// Never lowers the event: who signals late is not to undo what was signalled in between.
    pub fn raise(&self, value: u64) {
        let mut inner = lock(&self.inner);
        inner.value = inner.value.max(value);
        let now = inner.value;
        let ready: Vec<_> = inner.watchers.extract_if(.., |(wanted, _)| *wanted <= now).collect();
        drop(inner);
        self.changed.notify_all();
        ready.into_iter().for_each(|(_, queue)| queue.poke());
    }

    /// Whether the event is at a value; if not, the queue is poked once it is.
    pub fn reached_or_watch(&self, value: u64, queue: &Arc<QueueState>) -> bool {
        let mut inner = lock(&self.inner);
        if inner.value >= value {
            return true;
        }
        if !inner.watchers.iter().any(|(wanted, watcher)| *wanted == value && Arc::ptr_eq(watcher, queue)) {
            inner.watchers.push((value, queue.clone()));
        }
        false
    }

    pub fn value(&self) -> u64 {
        lock(&self.inner).value
    }

    fn wait(&self, value: u64, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(lock(&self.inner), timeout, |inner| inner.value < value);
        waited.unwrap_or_else(PoisonError::into_inner).0.value >= value
    }
}

/// What an event is made of.
pub struct Ivars {
    pub state: Arc<EventState>,
    pub life: Alive,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "SimSharedEvent"]
    #[ivars = Ivars]
    pub struct SimEvent;

    unsafe impl NSObjectProtocol for SimEvent {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLEvent for SimEvent {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, label: Option<&NSString>) {
            self.ivars().life.set_label(label);
        }
    }

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLSharedEvent for SimEvent {
        #[unsafe(method(signaledValue))]
        fn signaled_value(&self) -> u64 {
            self.ivars().state.value()
        }

        #[unsafe(method(setSignaledValue:))]
        fn set_signaled_value(&self, value: u64) {
            self.ivars().state.raise(value);
        }

        #[unsafe(method(waitUntilSignaledValue:timeoutMS:))]
        fn wait_until_signaled_value(&self, value: u64, milliseconds: u64) -> bool {
            self.ivars().state.wait(value, Duration::from_millis(milliseconds))
        }
    }
);

impl SimEvent {
    pub fn new() -> Retained<Self> {
        object!(SimEvent, Ivars { state: Arc::default(), life: Alive::new("MTLSharedEvent") })
    }
}
