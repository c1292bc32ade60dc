//! `MTLCompileOptions`, `MTLLibrary` and `MTLFunction`.

use crate::foundation::object;
use crate::shader::{Function, Library};
use objc2::rc::{Allocated, Retained};
use objc2::runtime::{NSObject, NSObjectProtocol};
use objc2::{DefinedClass, define_class, msg_send};
use objc2_foundation::NSString;
use objc2_metal::{MTLFunction, MTLLanguageVersion, MTLLibrary, MTLMathMode};
use std::cell::Cell;
use std::sync::Arc;

/// What a library is to be compiled with. Fast math is Metal's default.
pub struct Wanted {
    math: Cell<MTLMathMode>,
    version: Cell<MTLLanguageVersion>,
}

define_class!(
    // SAFETY: NSObject asks nothing of its subclasses; nothing here implements Drop.
    #[unsafe(super(NSObject))]
    #[name = "MTLCompileOptions"]
    #[ivars = Wanted]
    pub struct SimCompileOptions;

    unsafe impl NSObjectProtocol for SimCompileOptions {}

    impl SimCompileOptions {
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Retained<Self> {
            let wanted = Wanted { math: Cell::new(MTLMathMode::Fast), version: Cell::new(MTLLanguageVersion::Version3_1) };
            let this = this.set_ivars(wanted);
            // SAFETY: `init` of NSObject takes nothing and returns the receiver.
            unsafe { msg_send![super(this), init] }
        }

        #[unsafe(method(setMathMode:))]
        fn set_math_mode(&self, mode: MTLMathMode) {
            self.ivars().math.set(mode);
        }

        #[unsafe(method(mathMode))]
        fn math_mode(&self) -> MTLMathMode {
            self.ivars().math.get()
        }

        #[unsafe(method(setFastMathEnabled:))]
        fn set_fast_math_enabled(&self, enabled: bool) {
            self.ivars().math.set(if enabled { MTLMathMode::Fast } else { MTLMathMode::Safe });
        }

        #[unsafe(method(fastMathEnabled))]
        fn fast_math_enabled(&self) -> bool {
            self.ivars().math.get() == MTLMathMode::Fast
        }

        #[unsafe(method(setLanguageVersion:))]
        fn set_language_version(&self, version: MTLLanguageVersion) {
            self.ivars().version.set(version);
        }

        #[unsafe(method(languageVersion))]
        fn language_version(&self) -> MTLLanguageVersion {
            self.ivars().version.get()
        }
    }
);

impl SimCompileOptions {
    /// Whether the compiler may change results.
    pub fn fast_math(&self) -> bool {
        self.ivars().math.get() != MTLMathMode::Safe
    }
}

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "SimLibrary"]
    #[ivars = Library]
    pub struct SimLibrary;

    unsafe impl NSObjectProtocol for SimLibrary {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLLibrary for SimLibrary {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, _label: Option<&NSString>) {}

        #[unsafe(method_id(newFunctionWithName:))]
        fn new_function_with_name(&self, name: &NSString) -> Option<Retained<SimFunction>> {
            self.ivars().function(&name.to_string()).map(|function| object!(SimFunction, function))
        }
    }
);

impl SimLibrary {
    pub fn new(library: Library) -> Retained<Self> {
        object!(SimLibrary, library)
    }
}

define_class!(
    // SAFETY: as above.
    #[unsafe(super(NSObject))]
    #[name = "SimFunction"]
    #[ivars = Arc<Function>]
    pub struct SimFunction;

    unsafe impl NSObjectProtocol for SimFunction {}

    // SAFETY: each method has the protocol's types, which debug builds compare with the bindings'.
    unsafe impl MTLFunction for SimFunction {
        #[unsafe(method(setLabel:))]
        fn set_label(&self, _label: Option<&NSString>) {}

        #[unsafe(method_id(name))]
        fn name(&self) -> Retained<NSString> {
            NSString::from_str(&self.ivars().name)
        }
    }
);
