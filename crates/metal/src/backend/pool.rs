//! Autorelease pools: what Metal's methods hand out goes when the call of ours is over.

use objc2::ffi::{objc_autoreleasePoolPop, objc_autoreleasePoolPush};
use std::ffi::c_void;

/// Calls a function with a pool of its own around it.
///
/// As `objc2::rc::autoreleasepool`, which keeps a thread local in debug builds: that is gone when the process ends,
/// while lists are still submitted and waited for.
pub fn pooled<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: popped by the guard, on this thread, after every pool that the body pushes.
    let _pool = AutoreleasePool(unsafe { objc_autoreleasePoolPush() });
    body()
}

struct AutoreleasePool(*mut c_void);

impl Drop for AutoreleasePool {
    fn drop(&mut self) {
        // SAFETY: pushed by this thread, the innermost that is left; an `AutoreleasePool` does not leave `pooled`.
        unsafe { objc_autoreleasePoolPop(self.0) };
    }
}
