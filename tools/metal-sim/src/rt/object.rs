//! Objects: their header, their counts, their end.
//!
//! A dead object keeps its header and its class for a while, so that a message, retain or release after the last
//! release names the class.

use super::class::{Class, Imp, class_addMethod};
use super::message::{Sel, name_of, objc_msg_lookup, sel};
use super::quarantine::bury;
use crate::rules::{DEALLOC, USE_AFTER_RELEASE, broken};
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// An object or a class.
#[repr(C)]
pub struct Object {
    isa: AtomicPtr<Class>,
}

pub type Id = *mut Object;

/// What precedes an object in memory.
#[repr(C, align(16))]
struct Header {
    count: AtomicUsize,
    state: AtomicU32,
    /// Bytes with this header.
    bytes: u32,
}

const LIVE: u32 = 0x4c49_5645;
const DEAD: u32 = 0x4445_4144;

/// # Safety
/// An object of `class_createInstance`, alive or in quarantine.
unsafe fn header(object: Id) -> &'static Header {
    // SAFETY: promised by the caller.
    unsafe { &*object.cast::<Header>().sub(1) }
}

/// # Safety
/// An object or a class.
pub unsafe fn class_of(object: *const Object) -> &'static Class {
    // SAFETY: promised by the caller; classes live for ever.
    unsafe { &*(*object).isa.load(Ordering::Relaxed) }
}

/// # Safety
/// As for [`header`].
pub unsafe fn assert_alive(object: Id, doing: impl FnOnce() -> &'static CStr) {
    // SAFETY: promised by the caller.
    let (state, class) = unsafe { (header(object).state.load(Ordering::Acquire), class_of(object)) };
    if state != LIVE {
        let (doing, class) = (doing().to_string_lossy(), class.name.to_string_lossy());
        broken(USE_AFTER_RELEASE, format_args!("{doing} of a dead {class}"));
    }
}

#[unsafe(no_mangle)]
extern "C" fn class_createInstance(class: &'static Class, extra: usize) -> Id {
    let bytes = (size_of::<Header>() + class.size.load(Ordering::Relaxed) + extra).next_multiple_of(16);
    // SAFETY: the size is a multiple of the alignment; the memory is written before it is read.
    unsafe {
        let memory = libc::aligned_alloc(16, bytes);
        assert!(!memory.is_null(), "no memory for an object");
        std::ptr::write_bytes(memory.cast::<u8>(), 0, bytes);
        let header = memory.cast::<Header>();
        header.write(Header { count: AtomicUsize::new(1), state: AtomicU32::new(LIVE), bytes: bytes as u32 });
        let object = header.add(1).cast::<Object>();
        object.write(Object { isa: AtomicPtr::new((&raw const *class).cast_mut()) });
        class.live.fetch_add(1, Ordering::Relaxed);
        object
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn object_getClass(object: *const Object) -> *const Class {
    // SAFETY: an object, a class, or null.
    if object.is_null() { std::ptr::null() } else { unsafe { class_of(object) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn objc_retain(object: Id) -> Id {
    if !object.is_null() {
        // SAFETY: an object.
        unsafe {
            assert_alive(object, || c"retain");
            header(object).count.fetch_add(1, Ordering::Relaxed);
        }
    }
    object
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn objc_release(object: Id) {
    if object.is_null() {
        return;
    }
    // SAFETY: an object; the thread that takes the last count deallocates it.
    unsafe {
        assert_alive(object, || c"release");
        if header(object).count.fetch_sub(1, Ordering::AcqRel) == 1 {
            static DEALLOC_SEL: OnceLock<usize> = OnceLock::new();
            let dealloc = *DEALLOC_SEL.get_or_init(|| sel(c"dealloc") as usize) as Sel;
            let imp: unsafe extern "C-unwind" fn(Id, Sel) =
                std::mem::transmute::<Imp, _>(objc_msg_lookup(object, dealloc));
            imp(object, dealloc);
            if header(object).state.load(Ordering::Relaxed) != DEAD {
                broken(DEALLOC, format_args!("{}", class_of(object).name.to_string_lossy()));
            }
            bury(object.cast::<Header>().sub(1).cast(), header(object).bytes as usize);
        }
    }
}

/// An object that lives as long as the process is no leak.
///
/// # Safety
/// An object.
pub unsafe fn uncount(object: Id) {
    // SAFETY: promised by the caller.
    unsafe { class_of(object) }.live.fetch_sub(1, Ordering::Relaxed);
}

// The methods of `NSObject`.

unsafe extern "C-unwind" fn alloc(class: &'static Class, _: Sel) -> Id {
    class_createInstance(class, 0)
}

unsafe extern "C-unwind" fn alloc_with_zone(class: &'static Class, _: Sel, _: *mut c_void) -> Id {
    class_createInstance(class, 0)
}

unsafe extern "C-unwind" fn new(class: &'static Class, _: Sel) -> Id {
    let (object, init) = (class_createInstance(class, 0), sel(c"init"));
    // SAFETY: `init` takes nothing and returns an object.
    unsafe {
        let imp = objc_msg_lookup(object, init);
        let imp: unsafe extern "C-unwind" fn(Id, Sel) -> Id = std::mem::transmute::<Imp, _>(imp);
        imp(object, init)
    }
}

unsafe extern "C-unwind" fn itself(this: Id, _: Sel) -> Id {
    this
}

unsafe extern "C-unwind" fn retain(this: Id, _: Sel) -> Id {
    // SAFETY: a receiver is an object.
    unsafe { objc_retain(this) }
}

unsafe extern "C-unwind" fn release(this: Id, _: Sel) {
    // SAFETY: a receiver is an object.
    unsafe { objc_release(this) }
}

unsafe extern "C-unwind" fn dealloc(this: Id, _: Sel) {
    // SAFETY: a receiver is an object; the end of the chain of `dealloc`s.
    unsafe {
        class_of(this).live.fetch_sub(1, Ordering::Relaxed);
        header(this).state.store(DEAD, Ordering::Release);
    }
}

unsafe extern "C-unwind" fn class(this: Id, _: Sel) -> *const Class {
    // SAFETY: a receiver is an object.
    unsafe { class_of(this) }
}

unsafe extern "C-unwind" fn is_equal(this: Id, _: Sel, other: Id) -> bool {
    this == other
}

unsafe extern "C-unwind" fn hash(this: Id, _: Sel) -> usize {
    this as usize
}

unsafe extern "C-unwind" fn retain_count(this: Id, _: Sel) -> usize {
    // SAFETY: a receiver is an object.
    unsafe { header(this) }.count.load(Ordering::Relaxed)
}

unsafe extern "C-unwind" fn is_kind_of(this: Id, _: Sel, class: *const Class) -> bool {
    // SAFETY: a receiver is an object.
    unsafe { class_of(this) }.chain().any(|it| std::ptr::eq(it, class))
}

unsafe extern "C-unwind" fn responds(this: Id, _: Sel, sel: Sel) -> bool {
    // SAFETY: a receiver is an object.
    unsafe { class_of(this) }.find(sel).is_some()
}

/// Gives `NSObject` and its metaclass their methods.
pub fn add_root_methods(meta: &'static Class, root: &'static Class) {
    macro_rules! method {
        ($class:expr, $name:literal, $types:literal, $f:expr, ($($a:ty),*) -> $r:ty) => {{
            let f: unsafe extern "C-unwind" fn($($a),*) -> $r = $f;
            // SAFETY: the types say what the function is; the classes are being built.
            unsafe {
                let imp = std::mem::transmute::<unsafe extern "C-unwind" fn($($a),*) -> $r, Imp>(f);
                class_addMethod($class, sel($name), imp, $types.as_ptr());
            }
        }};
    }
    method!(meta, c"alloc", c"@@:", alloc, (&'static Class, Sel) -> Id);
    method!(meta, c"allocWithZone:", c"@@:^v", alloc_with_zone, (&'static Class, Sel, *mut c_void) -> Id);
    method!(meta, c"new", c"@@:", new, (&'static Class, Sel) -> Id);
    method!(root, c"init", c"@@:", itself, (Id, Sel) -> Id);
    method!(root, c"self", c"@@:", itself, (Id, Sel) -> Id);
    method!(root, c"retain", c"@@:", retain, (Id, Sel) -> Id);
    method!(root, c"release", c"v@:", release, (Id, Sel) -> ());
    method!(root, c"dealloc", c"v@:", dealloc, (Id, Sel) -> ());
    method!(root, c"class", c"#@:", class, (Id, Sel) -> *const Class);
    method!(root, c"isEqual:", c"C@:@", is_equal, (Id, Sel, Id) -> bool);
    method!(root, c"hash", c"Q@:", hash, (Id, Sel) -> usize);
    method!(root, c"retainCount", c"Q@:", retain_count, (Id, Sel) -> usize);
    method!(root, c"isKindOfClass:", c"C@:#", is_kind_of, (Id, Sel, *const Class) -> bool);
    method!(root, c"respondsToSelector:", c"C@::", responds, (Id, Sel, Sel) -> bool);
    debug_assert_eq!(name_of(sel(c"init")), c"init");
}
