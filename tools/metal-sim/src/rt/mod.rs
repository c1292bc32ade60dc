//! A small Objective-C runtime: classes, selectors, messages, reference counts, autorelease pools and blocks, behind
//! the symbols that `objc2` and `block2` link.
//!
//! Classes are made as `define_class!` makes them, method by method, and are complete once registered: from then on a
//! message is looked up without a lock. There are no protocols at run time, no categories, no weak references and no
//! exceptions.

pub mod block;
pub mod class;
pub mod message;
pub mod object;
pub mod pool;
mod quarantine;
mod static_classes;
