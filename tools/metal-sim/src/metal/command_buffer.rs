//! `MTLCommandBuffer` and its descriptor: what was encoded, until it is committed; then how far it has come.

use super::compute_encoder::SimComputeEncoder;
use super::event::SimEvent;
use super::life::{Life, Need};
use super::memory::AllocationId;
use super::residency::Sets;
use crate::engine::{Item, Outcome, QueueState, Running};
use crate::foundation::{error, object};
use crate::rt::class::lock;
use crate::rules::{
    AFTER_COMMIT, COMMITTED_TWICE, DEBUG_GROUP, NOT_RESIDENT, OPEN_ENCODER, TWO_ENCODERS, TWO_THREADS,
    WAIT_BEFORE_COMMIT, broken,
};
use block2::RcBlock;
use objc2::rc::{Allocated, Retained, autoreleasepool};
use objc2::runtime::{AnyObject, NSObject, NSObjectProtocol, ProtocolObject};
use objc2::{DefinedClass, Message, define_class, msg_send};
use objc2_foundation::{NSError, NSString};
use objc2_metal::{
    MTLCommandBuffer, MTLCommandBufferHandler, MTLCommandBufferStatus, MTLDispatchType, MTLEvent, MTLResidencySet,
};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "MTLCommandBufferDescriptor"]
    #[ivars = Cell<bool>]
    pub struct SimCommandBufferDescriptor;

    unsafe impl NSObjectProtocol for SimCommandBufferDescriptor {}

    impl SimCommandBufferDescriptor {
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Retained<Self> {
            let this = this.set_ivars(Cell::new(true));
            // SAFETY: `init` of NSObject takes nothing and returns the receiver.
            unsafe { msg_send![super(this), init] }
        }

        #[unsafe(method(setRetainedReferences:))]
        fn set_retained_references(&self, retained: bool) {
            self.ivars().set(retained);
        }

        #[unsafe(method(retainedReferences))]
        fn retained_references(&self) -> bool {
            self.ivars().get()
        }
    }
);

impl SimCommandBufferDescriptor {
    pub fn retains(&self) -> bool {
        self.ivars().get()
    }
}

type Handler = RcBlock<dyn Fn(NonNull<ProtocolObject<dyn MTLCommandBuffer>>)>;

/// What a command buffer relies on until it has completed: counts of its own, or the program's word.
enum Kept {
    Object(#[expect(dead_code, reason = "held")] Retained<AnyObject>),
    Need(#[expect(dead_code, reason = "held")] Need),
}

#[derive(Default)]
struct Encoding {
    items: Vec<Item>,
    handlers: Vec<Handler>,
    kept: Vec<Kept>,
    /// The last object that was kept: most are named many times in a row.
    last: usize,
    sets: Sets,
    open: bool,
    committed: bool,
    groups: usize,
}

struct Progress {
    status: MTLCommandBufferStatus,
    /// Its handlers have returned.
    finished: bool,
    error: Option<Retained<NSError>>,
    start: f64,
    end: f64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { status: MTLCommandBufferStatus::NotEnqueued, finished: false, error: None, start: 0.0, end: 0.0 }
    }
}

/// The place that a command buffer takes on its queue, from its creation to its completion or its end.
struct Place(Option<Arc<QueueState>>);

impl Place {
    fn leave(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.leave();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What a command buffer is made of.
pub struct Ivars {
    queue: Arc<QueueState>,
    place: Mutex<Place>,
    retains: bool,
    encoding: Mutex<Encoding>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

// SAFETY: blocks and objects of any kind are behind locks; a handler is called on the queue's thread, as Metal would.
unsafe impl Send for Ivars {}
// SAFETY: as above.
unsafe impl Sync for Ivars {}

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "SimCommandBuffer"]
    #[ivars = Ivars]
    pub struct SimCommandBuffer;

    unsafe impl NSObjectProtocol for SimCommandBuffer {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLCommandBuffer for SimCommandBuffer {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, _label: Option<&NSString>) {}

        #[unsafe(method(retainedReferences))]
        fn retained_references(&self) -> bool {
            self.ivars().retains
        }

        #[unsafe(method(addCompletedHandler:))]
        fn add_completed_handler(&self, block: MTLCommandBufferHandler) {
            let mut it = self.encoding("addCompletedHandler:");
            // SAFETY: the caller passes a block.
            it.handlers.push(unsafe { RcBlock::copy(block) }.expect("a block that is copied is a block"));
        }

        #[unsafe(method_id(computeCommandEncoder))]
        fn compute_command_encoder(&self) -> Option<Retained<SimComputeEncoder>> {
            Some(self.encoder(MTLDispatchType::Serial))
        }

        #[unsafe(method_id(computeCommandEncoderWithDispatchType:))]
        fn compute_command_encoder_with_dispatch_type(
            &self,
            kind: MTLDispatchType,
        ) -> Option<Retained<SimComputeEncoder>> {
            Some(self.encoder(kind))
        }

        #[unsafe(method(encodeSignalEvent:value:))]
        fn encode_signal_event(&self, event: &ProtocolObject<dyn MTLEvent>, value: u64) {
            self.event("encodeSignalEvent:value:", event, |event| Item::Signal(event, value));
        }

        #[unsafe(method(encodeWaitForEvent:value:))]
        fn encode_wait_for_event(&self, event: &ProtocolObject<dyn MTLEvent>, value: u64) {
            self.event("encodeWaitForEvent:value:", event, |event| Item::Wait(event, value));
        }

        #[unsafe(method(useResidencySet:))]
        fn use_residency_set(&self, set: &ProtocolObject<dyn MTLResidencySet>) {
            self.encoding("useResidencySet:").sets.add(set);
        }

        #[unsafe(method(pushDebugGroup:))]
        fn push_debug_group(&self, _name: &NSString) {
            self.encoding("pushDebugGroup:").groups += 1;
        }

        #[unsafe(method(popDebugGroup))]
        fn pop_debug_group(&self) {
            let mut it = self.encoding("popDebugGroup");
            let Some(groups) = it.groups.checked_sub(1) else { broken(DEBUG_GROUP, format_args!("popDebugGroup")) };
            it.groups = groups;
        }

        #[unsafe(method(commit))]
        fn commit(&self) {
            self.submit();
        }

        #[unsafe(method(waitUntilCompleted))]
        fn wait_until_completed(&self) {
            if !lock(&self.ivars().encoding).committed {
                broken(WAIT_BEFORE_COMMIT, format_args!("waitUntilCompleted"));
            }
            let it = self.ivars();
            let wait = it.changed.wait_while(lock(&it.progress), |progress| !progress.finished);
            drop(wait.unwrap_or_else(PoisonError::into_inner));
        }

        #[unsafe(method(status))]
        fn status(&self) -> MTLCommandBufferStatus {
            lock(&self.ivars().progress).status
        }

        #[unsafe(method_id(error))]
        fn error(&self) -> Option<Retained<NSError>> {
            lock(&self.ivars().progress).error.clone()
        }

        #[unsafe(method(GPUStartTime))]
        fn gpu_start_time(&self) -> f64 {
            lock(&self.ivars().progress).start
        }

        #[unsafe(method(GPUEndTime))]
        fn gpu_end_time(&self) -> f64 {
            lock(&self.ivars().progress).end
        }
    }
);

impl SimCommandBuffer {
    /// Waits for a place on the queue.
    pub fn new(queue: &Arc<QueueState>, retains: bool) -> Retained<Self> {
        queue.enter();
        object!(
            SimCommandBuffer,
            Ivars {
                queue: queue.clone(),
                place: Mutex::new(Place(Some(queue.clone()))),
                retains,
                encoding: Mutex::default(),
                progress: Mutex::default(),
                changed: Condvar::new(),
            }
        )
    }

    fn claim(&self, message: &str) -> MutexGuard<'_, Encoding> {
        match self.ivars().encoding.try_lock() {
            Ok(encoding) => encoding,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => broken(TWO_THREADS, format_args!("a command buffer, {message}")),
        }
    }

    /// The state, before the commit.
    fn encoding(&self, message: &str) -> MutexGuard<'_, Encoding> {
        let it = self.claim(message);
        if it.committed {
            broken(AFTER_COMMIT, format_args!("{message}"));
        }
        it
    }

    fn encoder(&self, kind: MTLDispatchType) -> Retained<SimComputeEncoder> {
        let mut it = self.encoding("computeCommandEncoder");
        if std::mem::replace(&mut it.open, true) {
            broken(TWO_ENCODERS, format_args!("an encoder is open"));
        }
        SimComputeEncoder::new(self.retain(), kind == MTLDispatchType::Concurrent)
    }

    fn event(
        &self,
        message: &str,
        event: &ProtocolObject<dyn MTLEvent>,
        item: impl FnOnce(Arc<super::event::EventState>) -> Item,
    ) {
        let object: &AnyObject = event.as_ref();
        let event = super::ours::<SimEvent>(object);
        let mut it = self.encoding(message);
        if it.open {
            broken(OPEN_ENCODER, format_args!("{message} with an open encoder"));
        }
        it.items.push(item(event.ivars().state.clone()));
        it.keep(self.ivars().retains, object, &event.ivars().life);
    }

    /// The encoder has named an object.
    pub fn keep(&self, object: &AnyObject, life: &Arc<Life>) {
        self.encoding("an encoder's message").keep(self.ivars().retains, object, life);
    }

    /// The encoder has ended.
    pub fn end(&self, encoder: crate::engine::Encoder) {
        let mut it = self.encoding("endEncoding");
        it.items.push(Item::Encoder(Box::new(encoder)));
        it.open = false;
    }

    fn submit(&self) {
        let mut it = self.claim("commit");
        if it.open {
            broken(OPEN_ENCODER, format_args!("commit with an open encoder"));
        }
        if std::mem::replace(&mut it.committed, true) {
            broken(COMMITTED_TWICE, format_args!("commit"));
        }
        let (items, sets) = (std::mem::take(&mut it.items), std::mem::take(&mut it.sets));
        drop(it);
        lock(&self.ivars().progress).status = MTLCommandBufferStatus::Committed;
        self.ivars().queue.commit(Running::new(self.retain(), items, sets));
    }

    /// The work has ended, on the queue's handler thread: handlers are called, then who waits is woken.
    pub fn complete(&self, outcome: &Outcome) {
        let it = self.ivars();
        let (handlers, kept) = {
            let mut encoding = lock(&it.encoding);
            (std::mem::take(&mut encoding.handlers), std::mem::take(&mut encoding.kept))
        };
        autoreleasepool(|_| {
            let error = outcome.killed.map(|code| {
                let description = crate::faults::description(code);
                error("MTLCommandBufferErrorDomain", code, &description)
            });
            let mut progress = lock(&it.progress);
            progress.status =
                if error.is_some() { MTLCommandBufferStatus::Error } else { MTLCommandBufferStatus::Completed };
            (progress.error, progress.start, progress.end) = (error, outcome.start, outcome.end);
            drop(progress);
            drop(kept);
        });
        for handler in handlers {
            autoreleasepool(|_| handler.call((NonNull::from(ProtocolObject::from_ref(self)),)));
        }
        lock(&it.place).leave();
        lock(&it.progress).finished = true;
        it.changed.notify_all();
    }
}

impl Encoding {
    fn keep(&mut self, retains: bool, object: &AnyObject, life: &Arc<Life>) {
        let address = std::ptr::from_ref(object) as usize;
        if std::mem::replace(&mut self.last, address) != address {
            self.kept.push(if retains { Kept::Object(object.retain()) } else { Kept::Need(Need::new(life)) });
        }
    }
}

/// An encoder's work is bound to an allocation that nobody made resident.
pub fn not_resident(id: AllocationId, function: &str, when: &str) -> ! {
    broken(NOT_RESIDENT, format_args!("allocation {id}, bound in an encoder of {function:?}, {when}"))
}
