//! Metal's classes, one a file. Each protocol of the bindings that a compute backend uses has one class.

use objc2::runtime::AnyObject;
use objc2::{ClassType, DowncastTarget};

pub mod buffer;
pub mod capture;
pub mod command_buffer;
pub mod compute_encoder;
pub mod device;
pub mod event;
pub mod fence;
pub mod heap;
pub mod library;
pub mod life;
pub mod memory;
pub mod pipeline;
pub mod queue;
pub mod residency;

/// An object as the class of ours that it has to be.
pub fn ours<T: DowncastTarget + ClassType>(object: &AnyObject) -> &T {
    match object.downcast_ref() {
        Some(object) => object,
        None => panic!("{:?} is no {}", object, T::NAME),
    }
}
