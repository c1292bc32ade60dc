//! Classes that the bindings name as symbols of the linker: the symbol is the class itself, and
//! `objc_allocateClassPair` fills it.

use super::class::Class;
use std::ffi::CStr;

macro_rules! static_classes {
    ($($symbol:literal $name:literal $id:ident;)*) => {
        $(#[unsafe(export_name = $symbol)] static $id: Class = Class::new($name, false);)*

        /// The static class of a name.
        pub fn static_class(name: &CStr) -> Option<&'static Class> {
            [$(&$id),*].into_iter().find(|class| class.name == name)
        }
    };
}

static_classes! {
    "_OBJC_CLASS_NSObject" c"NSObject" NS_OBJECT;
    "_OBJC_CLASS_NSString" c"NSString" NS_STRING;
    "_OBJC_CLASS_NSError" c"NSError" NS_ERROR;
    "_OBJC_CLASS_NSURL" c"NSURL" NS_URL;
    "_OBJC_CLASS_MTLCompileOptions" c"MTLCompileOptions" MTL_COMPILE_OPTIONS;
    "_OBJC_CLASS_MTLHeapDescriptor" c"MTLHeapDescriptor" MTL_HEAP_DESCRIPTOR;
    "_OBJC_CLASS_MTLResidencySetDescriptor" c"MTLResidencySetDescriptor" MTL_RESIDENCY_SET_DESCRIPTOR;
    "_OBJC_CLASS_MTLCommandBufferDescriptor" c"MTLCommandBufferDescriptor" MTL_COMMAND_BUFFER_DESCRIPTOR;
    "_OBJC_CLASS_MTLCaptureManager" c"MTLCaptureManager" MTL_CAPTURE_MANAGER;
    "_OBJC_CLASS_MTLCaptureDescriptor" c"MTLCaptureDescriptor" MTL_CAPTURE_DESCRIPTOR;
}
