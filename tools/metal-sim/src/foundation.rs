//! What of Foundation the bindings touch: strings, errors and file URLs.

use objc2::rc::{Allocated, Retained};
use objc2::runtime::{AnyObject, NSObject, NSObjectProtocol};
use objc2::{DefinedClass, define_class, msg_send};
use objc2_foundation::{NSError, NSString, NSURL};
use std::ffi::{CString, c_char, c_void};

/// `NSUTF8StringEncoding`.
const UTF8: i32 = 4;

/// An object of a class of ours, with its instance variables.
macro_rules! object {
    ($class:ident, $ivars:expr) => {{
        let this = <$class as objc2::AnyThread>::alloc().set_ivars($ivars);
        // SAFETY: `init` of NSObject takes nothing and returns the receiver.
        let this: objc2::rc::Retained<$class> = unsafe { objc2::msg_send![super(this), init] };
        this
    }};
}
pub(crate) use object;

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "NSString"]
    #[ivars = CString]
    pub struct SimString;

    unsafe impl NSObjectProtocol for SimString {}

    impl SimString {
        #[unsafe(method_id(initWithBytes:length:encoding:))]
        fn init_with_bytes(this: Allocated<Self>, bytes: *const c_void, length: usize, encoding: i32) -> Option<Retained<Self>> {
            assert_eq!(encoding, UTF8, "strings are UTF-8 here");
            // SAFETY: the caller's bytes; an empty slice may come with any address.
            let bytes = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) } };
            // A zero byte within cannot be said by `UTF8String`: the string ends there.
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            let this = this.set_ivars(CString::new(text).unwrap_or_default());
            // SAFETY: `init` of NSObject takes nothing and returns the receiver.
            unsafe { msg_send![super(this), init] }
        }

        #[unsafe(method(UTF8String))]
        fn utf8(&self) -> *const c_char {
            self.ivars().as_ptr()
        }

        #[unsafe(method(lengthOfBytesUsingEncoding:))]
        fn length_of_bytes(&self, _encoding: i32) -> usize {
            self.ivars().as_bytes().len()
        }

        #[unsafe(method(length))]
        fn length(&self) -> usize {
            self.ivars().to_string_lossy().encode_utf16().count()
        }

        #[unsafe(method(isEqual:))]
        fn is_equal(&self, other: Option<&AnyObject>) -> bool {
            other.and_then(AnyObject::downcast_ref::<NSString>).is_some_and(|other| other.to_string() == self.ivars().to_string_lossy())
        }
    }
);

/// An error's code, domain and description.
pub struct Failure {
    code: isize,
    domain: Retained<NSString>,
    description: Retained<NSString>,
}

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "NSError"]
    #[ivars = Failure]
    pub struct SimError;

    unsafe impl NSObjectProtocol for SimError {}

    impl SimError {
        #[unsafe(method(code))]
        fn code(&self) -> isize {
            self.ivars().code
        }

        #[unsafe(method_id(domain))]
        fn domain(&self) -> Retained<NSString> {
            self.ivars().domain.clone()
        }

        #[unsafe(method_id(localizedDescription))]
        fn description(&self) -> Retained<NSString> {
            self.ivars().description.clone()
        }
    }
);

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "NSURL"]
    #[ivars = Retained<NSString>]
    pub struct SimUrl;

    unsafe impl NSObjectProtocol for SimUrl {}

    impl SimUrl {
        #[unsafe(method_id(fileURLWithPath:))]
        fn file_url_with_path(path: &NSString) -> Retained<Self> {
            object!(SimUrl, NSString::from_str(&path.to_string()))
        }

        #[unsafe(method_id(path))]
        fn path(&self) -> Option<Retained<NSString>> {
            Some(self.ivars().clone())
        }
    }
);

/// An error.
pub fn error(domain: &str, code: isize, description: &str) -> Retained<NSError> {
    let failure = Failure { code, domain: NSString::from_str(domain), description: NSString::from_str(description) };
    let this = object!(SimError, failure);
    // SAFETY: the class that the bindings call NSError.
    unsafe { Retained::cast_unchecked(this) }
}

/// Where a message puts its error, if its caller wants one.
pub type ErrorOut = *mut *mut NSError;

/// Hands an error out.
///
/// # Safety
/// Null, or a place for an error.
pub unsafe fn put_error(out: ErrorOut, error: Retained<NSError>) {
    if !out.is_null() {
        // SAFETY: promised by the caller.
        unsafe { *out = Retained::autorelease_ptr(error) };
    }
}

/// Whether a file URL has a path.
pub fn has_path(url: &NSURL) -> bool {
    let url: &AnyObject = url;
    url.downcast_ref::<SimUrl>().is_some_and(|url| !url.ivars().is_empty())
}
