//! Autorelease pools: a stack a thread.
//!
//! Apple's runtime elides most autoreleases of return values; here each is done, so a missing pool is noticed.

use super::object::{Id, assert_alive, class_of, objc_release, objc_retain};
use crate::rules::{POOL, WITHOUT_POOL, broken};
use std::cell::RefCell;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

struct Pools {
    objects: Vec<usize>,
    /// Of each pool: its number, and how many objects there were before it.
    marks: Vec<(usize, usize)>,
}

thread_local! {
    /// Never dropped, so that what runs at the exit may use it after the thread's other locals have gone.
    static POOLS: ManuallyDrop<RefCell<Pools>> =
        const { ManuallyDrop::new(RefCell::new(Pools { objects: Vec::new(), marks: Vec::new() })) };
}

/// This thread's.
fn pools<T>(look: impl FnOnce(&mut Pools) -> T) -> T {
    POOLS.with(|pools| look(&mut pools.borrow_mut()))
}

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// Objects that were autoreleased on a thread without a pool: they live for ever.
pub fn autoreleased_without_pool() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_autoreleasePoolPush() -> *mut c_void {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    pools(|pools| pools.marks.push((number, pools.objects.len())));
    number as *mut c_void
}

#[unsafe(no_mangle)]
extern "C-unwind" fn objc_autoreleasePoolPop(pool: *mut c_void) {
    let number = pool as usize;
    let place = pools(|pools| pools.marks.iter().rposition(|(it, _)| *it == number));
    let Some(place) = place else {
        broken(POOL, format_args!("a pool is popped twice, or on another thread"));
    };
    // The pools above it go too. A release may autorelease more.
    let start = pools(|pools| pools.marks[place].1);
    loop {
        let object = pools(|pools| if pools.objects.len() > start { pools.objects.pop() } else { None });
        match object {
            // SAFETY: the pool owns a count of it.
            Some(object) => unsafe { objc_release(object as Id) },
            None => break,
        }
    }
    pools(|pools| pools.marks.truncate(place));
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_autorelease(object: Id) -> Id {
    if object.is_null() {
        return object;
    }
    // SAFETY: an object.
    unsafe { assert_alive(object, || c"autorelease") };
    let kept = pools(|pools| {
        let any = !pools.marks.is_empty();
        if any {
            pools.objects.push(object as usize);
        }
        any
    });
    if !kept {
        LEAKED.fetch_add(1, Ordering::Relaxed);
        if crate::config().judges_pools {
            // SAFETY: an object.
            let class = unsafe { class_of(object) };
            broken(WITHOUT_POOL, format_args!("{} lives for ever", class.name.to_string_lossy()));
        }
    }
    object
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_autoreleaseReturnValue(object: Id) -> Id {
    // SAFETY: as promised by the caller.
    unsafe { objc_autorelease(object) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_retainAutoreleasedReturnValue(object: Id) -> Id {
    // SAFETY: as promised by the caller.
    unsafe { objc_retain(object) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_retainAutoreleaseReturnValue(object: Id) -> Id {
    // SAFETY: as promised by the caller.
    unsafe { objc_autorelease(objc_retain(object)) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn objc_retainAutorelease(object: Id) -> Id {
    // SAFETY: as promised by the caller.
    unsafe { objc_autorelease(objc_retain(object)) }
}
