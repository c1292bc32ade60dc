//! Reading the device's memory over the bus.
//!
//! Such memory is mapped without a cache, so an ordinary load is a transaction of its own, of the load's size.
//! Streaming loads bring 64 bytes at a time, several at once.

use std::ptr::NonNull;

/// Copies bytes of uncached memory to the host's own.
///
/// # Safety
/// - Both ranges are valid for so many bytes, and do not overlap.
/// - Nobody writes either meanwhile.
pub unsafe fn copy_from_device(from: NonNull<u8>, into: NonNull<u8>, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.1") {
        // SAFETY: by the caller's promise; the instructions are there.
        return unsafe { streaming(from, into, bytes) };
    }
    // SAFETY: by the caller's promise.
    unsafe { from.copy_to_nonoverlapping(into, bytes) };
}

/// # Safety
/// - As for [`copy_from_device`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.1")]
unsafe fn streaming(from: NonNull<u8>, into: NonNull<u8>, bytes: usize) {
    use std::arch::x86_64::{__m128i, _mm_mfence, _mm_storeu_si128, _mm_stream_load_si128};
    const LOAD: usize = size_of::<__m128i>();
    let head = from.align_offset(LOAD).min(bytes);
    let whole = (bytes - head) / LOAD * LOAD;
    // SAFETY: `head`, `whole` and the rest together are the range; the loads in the middle are aligned.
    unsafe {
        from.copy_to_nonoverlapping(into, head);
        // Loads of this kind are not ordered with what this thread saw before.
        _mm_mfence();
        for at in (head..head + whole).step_by(LOAD) {
            let value = _mm_stream_load_si128(from.add(at).cast::<__m128i>().as_ptr());
            _mm_storeu_si128(into.add(at).cast::<__m128i>().as_ptr(), value);
        }
        let tail = head + whole;
        from.add(tail).copy_to_nonoverlapping(into.add(tail), bytes - tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_is_copied_and_nothing_beside_it() {
        let from: Vec<u8> = (0..400).map(|_| fastrand::u8(..)).collect();
        for _ in 0..1000 {
            let (start, at) = (fastrand::usize(..200), fastrand::usize(..64));
            let bytes = fastrand::usize(..200);
            let mut into = vec![7; 300];
            let target = NonNull::from(&mut into[at..at + bytes]).cast();
            // SAFETY: both slices have so many bytes.
            unsafe { copy_from_device(NonNull::from(&from[start..start + bytes]).cast(), target, bytes) };
            assert_eq!(into[at..at + bytes], from[start..start + bytes]);
            assert!(into[..at].iter().chain(&into[at + bytes..]).all(|byte| *byte == 7));
        }
    }
}
