//! Classes, their methods and instance variables.
//!
//! A class is built by one thread, then registered, then never changed: `methods` is set by the registration. What the
//! system of the configured version does not have yet is left out there, so that `respondsToSelector:` and messages
//! agree.

use super::message::{Sel, name_of};
use super::static_classes::static_class;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// The code of a method; its true type is known to who sends the message.
pub type Imp = unsafe extern "C-unwind" fn();

/// A method of a class.
pub struct Method {
    sel: usize,
    pub imp: Imp,
    types: CString,
}

/// An instance variable of a class.
pub struct Ivar {
    name: CString,
    offset: isize,
}

/// A class or metaclass. The bindings see the static ones by address, so one has to be constructible in a `static`.
#[repr(C)]
pub struct Class {
    pub isa: AtomicPtr<Class>,
    superclass: AtomicPtr<Class>,
    pub name: &'static CStr,
    pub meta: bool,
    /// Bytes of an instance.
    pub size: AtomicUsize,
    building: Mutex<Vec<&'static Method>>,
    /// By selector, sorted; set when the class is registered.
    methods: OnceLock<Box<[(usize, &'static Method)]>>,
    ivars: Mutex<Vec<&'static Ivar>>,
    /// Objects that live.
    pub live: AtomicIsize,
}

/// A lock; its holder never panics half way through a change.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Class {
    pub const fn new(name: &'static CStr, meta: bool) -> Self {
        Self {
            isa: AtomicPtr::new(std::ptr::null_mut()),
            superclass: AtomicPtr::new(std::ptr::null_mut()),
            name,
            meta,
            size: AtomicUsize::new(size_of::<usize>()),
            building: Mutex::new(Vec::new()),
            methods: OnceLock::new(),
            ivars: Mutex::new(Vec::new()),
            live: AtomicIsize::new(0),
        }
    }

    /// The class and its superclasses, nearest first.
    pub fn chain(&'static self) -> impl Iterator<Item = &'static Self> {
        // SAFETY: a class lives for ever, and its superclass is set before anyone else sees it.
        std::iter::successors(Some(self), |class| unsafe { class.superclass.load(Ordering::Acquire).as_ref() })
    }

    fn own(&self, sel: usize) -> Option<&'static Method> {
        match self.methods.get() {
            Some(methods) => methods.binary_search_by_key(&sel, |(sel, _)| *sel).ok().map(|at| methods[at].1),
            None => lock(&self.building).iter().find(|method| method.sel == sel).copied(),
        }
    }

    /// The method that answers a message.
    pub fn find(&'static self, sel: Sel) -> Option<&'static Method> {
        self.chain().find_map(|class| class.own(sel as usize))
    }

    /// From here on nothing is added.
    pub fn freeze(&self) {
        let hidden = |method: &&'static Method| !crate::config().hides(name_of(method.sel as Sel));
        let kept = std::mem::take(&mut *lock(&self.building)).into_iter().filter(hidden);
        let mut methods: Box<[_]> = kept.map(|method| (method.sel, method)).collect();
        methods.sort_by_key(|(sel, _)| *sel);
        assert!(self.methods.set(methods).is_ok(), "{:?} is registered twice", self.name);
    }
}

fn registry() -> &'static RwLock<HashMap<CString, &'static Class>> {
    static CLASSES: OnceLock<RwLock<HashMap<CString, &'static Class>>> = OnceLock::new();
    CLASSES.get_or_init(Default::default)
}

/// Every registered class.
pub fn all() -> Vec<&'static Class> {
    registry().read().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
}

fn look_up(name: &CStr) -> Option<&'static Class> {
    registry().read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
}

fn make(isa: *const Class, superclass: *const Class, name: &CStr, meta: bool) -> &'static Class {
    let class = static_class(name).filter(|_| !meta);
    let class =
        class.unwrap_or_else(|| Box::leak(Box::new(Class::new(Box::leak(name.to_owned().into_boxed_c_str()), meta))));
    // SAFETY: a superclass is a class of ours, or null.
    if let Some(superclass) = unsafe { superclass.as_ref() } {
        class.size.store(superclass.size.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    class.superclass.store(superclass.cast_mut(), Ordering::Release);
    class.isa.store(isa.cast_mut(), Ordering::Release);
    class
}

/// `NSObject`, and its metaclass as its class.
pub fn root() -> &'static Class {
    static ROOT: OnceLock<&'static Class> = OnceLock::new();
    ROOT.get_or_init(|| {
        let meta = make(std::ptr::null(), std::ptr::null(), c"NSObject", true);
        let class = make(meta, std::ptr::null(), c"NSObject", false);
        meta.isa.store((&raw const *meta).cast_mut(), Ordering::Release);
        meta.superclass.store((&raw const *class).cast_mut(), Ordering::Release);
        super::object::add_root_methods(meta, class);
        register(class);
        class
    })
}

fn register(class: &'static Class) {
    class.freeze();
    // SAFETY: the class of a class is its metaclass, which lives for ever.
    unsafe { &*class.isa.load(Ordering::Acquire) }.freeze();
    registry().write().unwrap_or_else(PoisonError::into_inner).insert(class.name.to_owned(), class);
}

/// # Safety
/// `pointer` is null, or the address of a class.
unsafe fn class(pointer: *const Class) -> Option<&'static Class> {
    // SAFETY: promised by the caller; classes live for ever.
    unsafe { pointer.as_ref() }
}

fn pointer<T>(of: Option<&'static T>) -> *const T {
    of.map_or(std::ptr::null(), |it| it)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_lookUpClass(name: *const c_char) -> *const Class {
    root();
    // SAFETY: a name is a C string.
    pointer(look_up(unsafe { CStr::from_ptr(name) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_getClass(name: *const c_char) -> *const Class {
    // SAFETY: as promised by the caller.
    unsafe { objc_lookUpClass(name) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_allocateClassPair(superclass: *const Class, name: *const c_char, _: usize) -> *const Class {
    let root = root();
    // SAFETY: a name is a C string.
    let name = unsafe { CStr::from_ptr(name) };
    if look_up(name).is_some() {
        return std::ptr::null();
    }
    // SAFETY: a superclass is a class, or null.
    let superclass = unsafe { class(superclass) }.unwrap_or(root);
    let meta = make(root.isa.load(Ordering::Acquire), superclass.isa.load(Ordering::Acquire), name, true);
    make(meta, superclass, name, false)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_registerClassPair(it: *const Class) {
    // SAFETY: the class that `objc_allocateClassPair` returned.
    if let Some(class) = unsafe { class(it) } {
        register(class);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn objc_disposeClassPair(_: *const Class) {
    // Only ever called for a class that could not be constructed. Nobody uses it then.
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn class_addMethod(it: *const Class, sel: Sel, imp: Imp, types: *const c_char) -> bool {
    // SAFETY: a class that is being built.
    let Some(class) = (unsafe { class(it) }) else { return false };
    let sel = sel as usize;
    if class.own(sel).is_some() {
        return false;
    }
    assert!(class.methods.get().is_none(), "{:?} takes no more methods: it is registered", class.name);
    // SAFETY: encodings are C strings.
    let types = unsafe { CStr::from_ptr(types) }.to_owned();
    lock(&class.building).push(Box::leak(Box::new(Method { sel, imp, types })));
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_addIvar(
    it: *const Class,
    name: *const c_char,
    size: usize,
    align: u8,
    _types: *const c_char,
) -> bool {
    // SAFETY: a class that is being built.
    let Some(class) = (unsafe { class(it) }) else { return false };
    let offset = class.size.load(Ordering::Relaxed).next_multiple_of(1 << align);
    class.size.store(offset + size, Ordering::Relaxed);
    // SAFETY: a name is a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_owned();
    lock(&class.ivars).push(Box::leak(Box::new(Ivar { name, offset: offset as isize })));
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_getInstanceVariable(it: *const Class, name: *const c_char) -> *const Ivar {
    // SAFETY: a class and a C string.
    let (class, name) = unsafe { (class(it), CStr::from_ptr(name)) };
    let of = |class: &'static Class| lock(&class.ivars).iter().find(|ivar| *ivar.name == *name).copied();
    pointer(class.and_then(|class| class.chain().find_map(of)))
}

#[unsafe(no_mangle)]
extern "C" fn ivar_getOffset(ivar: &Ivar) -> isize {
    ivar.offset
}

#[unsafe(no_mangle)]
extern "C" fn class_getName(class: &Class) -> *const c_char {
    class.name.as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn class_getSuperclass(class: &Class) -> *const Class {
    class.superclass.load(Ordering::Acquire)
}

#[unsafe(no_mangle)]
extern "C" fn class_isMetaClass(class: &Class) -> bool {
    class.meta
}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_getInstanceMethod(it: *const Class, sel: Sel) -> *const Method {
    // SAFETY: a class, or null.
    pointer(unsafe { class(it) }.and_then(|class| class.find(sel)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn class_getClassMethod(it: *const Class, sel: Sel) -> *const Method {
    // SAFETY: a class, or null; its class is a class.
    let meta = unsafe { class(it).and_then(|it| class(it.isa.load(Ordering::Acquire))) };
    pointer(meta.and_then(|meta| meta.find(sel)))
}

#[unsafe(no_mangle)]
extern "C" fn method_getName(method: &Method) -> Sel {
    method.sel as Sel
}

#[unsafe(no_mangle)]
extern "C" fn method_getTypeEncoding(method: &Method) -> *const c_char {
    method.types.as_ptr()
}

// Protocols: none exist at run time, so nothing is checked against them.

#[unsafe(no_mangle)]
extern "C" fn objc_getProtocol(_: *const c_char) -> *const c_void {
    std::ptr::null()
}

#[unsafe(no_mangle)]
extern "C" fn class_addProtocol(_: *const Class, _: *const c_void) -> bool {
    true
}

#[unsafe(no_mangle)]
extern "C" fn protocol_getName(_: *const c_void) -> *const c_char {
    c"".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn protocol_copyMethodDescriptionList(
    _: *const c_void,
    _: bool,
    _: bool,
    count: *mut c_uint,
) -> *mut c_void {
    // SAFETY: a place for the count, or null.
    if let Some(count) = unsafe { count.as_mut() } {
        *count = 0;
    }
    std::ptr::null_mut()
}
