//! Selectors, and which method answers a message.

use super::class::{Class, Imp, lock};
use super::object::{Id, Object, assert_alive, class_of};
use crate::rules::{UNRECOGNIZED, broken};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, OnceLock};

/// A selector: the address of its only copy, which is a C string.
pub type Sel = *const c_char;

#[unsafe(no_mangle)]
unsafe extern "C" fn sel_registerName(name: *const c_char) -> Sel {
    // SAFETY: a name is a C string.
    sel(unsafe { CStr::from_ptr(name) })
}

/// The selector of a name.
pub fn sel(name: &CStr) -> Sel {
    static SELECTORS: OnceLock<Mutex<HashMap<CString, usize>>> = OnceLock::new();
    let mut all = lock(SELECTORS.get_or_init(Default::default));
    if let Some(sel) = all.get(name) {
        return *sel as Sel;
    }
    let sel = name.to_owned().into_raw() as usize;
    all.insert(name.to_owned(), sel);
    sel as Sel
}

/// A selector's name.
pub fn name_of(sel: Sel) -> &'static CStr {
    // SAFETY: a selector is the address of a C string that is never freed.
    unsafe { CStr::from_ptr(sel) }
}

#[unsafe(no_mangle)]
extern "C" fn sel_getName(sel: Sel) -> *const c_char {
    sel
}

#[unsafe(no_mangle)]
extern "C" fn sel_isEqual(a: Sel, b: Sel) -> bool {
    a == b
}

#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn objc_msg_lookup(receiver: Id, sel: Sel) -> Imp {
    // SAFETY: receivers are objects or classes; the bindings answer for nil themselves.
    let class = unsafe { class_of(receiver) };
    if !class.meta {
        // SAFETY: an object that is no class has a header.
        unsafe { assert_alive(receiver, || name_of(sel)) };
    }
    match class.find(sel) {
        Some(method) => method.imp,
        None => unrecognized(class, sel),
    }
}

/// The receiver, and the class below the one that has the wanted method.
#[repr(C)]
struct Super {
    receiver: *mut Object,
    class: *const Class,
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_msg_lookup_super(of: &Super, sel: Sel) -> Imp {
    // SAFETY: the bindings pass a class of ours.
    let class: &'static Class = unsafe { &*of.class };
    match class.find(sel) {
        Some(method) => method.imp,
        None => unrecognized(class, sel),
    }
}

#[cold]
fn unrecognized(class: &Class, sel: Sel) -> ! {
    let sign = if class.meta { '+' } else { '-' };
    broken(UNRECOGNIZED, format_args!("{sign}[{} {}]", class.name.to_string_lossy(), name_of(sel).to_string_lossy()))
}
