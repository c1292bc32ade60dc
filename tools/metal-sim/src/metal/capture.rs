//! `MTLCaptureManager` and its descriptor: whether a capture is on is all there is of one.

use crate::foundation::{ErrorOut, error, has_path, object, put_error};
use crate::rt::class::lock;
use objc2::rc::{Allocated, Retained};
use objc2::runtime::{AnyObject, NSObject, NSObjectProtocol};
use objc2::{DefinedClass, Message, define_class, msg_send};
use objc2_foundation::NSURL;
use objc2_metal::MTLCaptureDestination;
use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::sync::OnceLock;

/// `MTLCaptureErrorDomain`'s codes.
const ALREADY_CAPTURING: isize = 2;
const INVALID_DESCRIPTOR: isize = 3;

/// What is to be captured, and where to.
pub struct Wanted {
    object: RefCell<Option<Retained<AnyObject>>>,
    destination: Cell<MTLCaptureDestination>,
    url: RefCell<Option<Retained<NSURL>>>,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "MTLCaptureDescriptor"]
    #[ivars = Wanted]
    pub struct SimCaptureDescriptor;

    unsafe impl NSObjectProtocol for SimCaptureDescriptor {}

    impl SimCaptureDescriptor {
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Retained<Self> {
            let destination = Cell::new(MTLCaptureDestination::DeveloperTools);
            let this = this.set_ivars(Wanted { object: RefCell::default(), destination, url: RefCell::default() });
            // SAFETY: `init` of NSObject takes nothing and returns the receiver.
            unsafe { msg_send![super(this), init] }
        }

        #[unsafe(method(setCaptureObject:))]
        fn set_capture_object(&self, object: Option<&AnyObject>) {
            self.ivars().object.replace(object.map(Message::retain));
        }

        #[unsafe(method(setDestination:))]
        fn set_destination(&self, destination: MTLCaptureDestination) {
            self.ivars().destination.set(destination);
        }

        #[unsafe(method(setOutputURL:))]
        fn set_output_url(&self, url: Option<&NSURL>) {
            self.ivars().url.replace(url.map(Message::retain));
        }
    }
);

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "MTLCaptureManager"]
    #[ivars = Mutex<bool>]
    pub struct SimCaptureManager;

    unsafe impl NSObjectProtocol for SimCaptureManager {}

    impl SimCaptureManager {
        #[unsafe(method_id(sharedCaptureManager))]
        fn shared_capture_manager() -> Retained<Self> {
            static SHARED: OnceLock<Retained<SimCaptureManager>> = OnceLock::new();
            let manager = SHARED.get_or_init(|| {
                let manager = object!(SimCaptureManager, Mutex::new(false));
                // SAFETY: an object of ours.
                unsafe { crate::rt::object::uncount(Retained::as_ptr(&manager).cast_mut().cast()) };
                manager
            });
            manager.clone()
        }

        #[unsafe(method(supportsDestination:))]
        fn supports_destination(&self, destination: MTLCaptureDestination) -> bool {
            destination == MTLCaptureDestination::GPUTraceDocument
        }

        #[unsafe(method(startCaptureWithDescriptor:error:))]
        fn start_capture(&self, descriptor: &SimCaptureDescriptor, out: ErrorOut) -> bool {
            let (mut capturing, wanted) = (lock(self.ivars()), descriptor.ivars());
            let document = wanted.destination.get() == MTLCaptureDestination::GPUTraceDocument;
            let problem = if *capturing {
                Some((ALREADY_CAPTURING, "a capture is on"))
            } else if wanted.object.borrow().is_none() {
                Some((INVALID_DESCRIPTOR, "nothing to capture"))
            } else if !document || !wanted.url.borrow().as_deref().is_some_and(has_path) {
                Some((INVALID_DESCRIPTOR, "no file to write to"))
            } else {
                None
            };
            if let Some((code, text)) = problem {
                // SAFETY: the caller's place for an error.
                unsafe { put_error(out, error("MTLCaptureErrorDomain", code, text)) };
                false
            } else {
                *capturing = true;
                true
            }
        }

        #[unsafe(method(stopCapture))]
        fn stop_capture(&self) {
            *lock(self.ivars()) = false;
        }

        #[unsafe(method(isCapturing))]
        fn is_capturing(&self) -> bool {
            *lock(self.ivars())
        }
    }
);
