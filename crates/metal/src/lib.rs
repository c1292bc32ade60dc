//! The Metal backend: the GPUs of Apple's machines, which share the host's memory.
//!
//! It is tested on a simulator of Metal that runs on Linux (`tools/metal-sim`), and has not been run on Apple's
//! hardware.
//!
//! # What it does
//!
//! A queue of the HAL's has a `MTLCommandQueue` of its own as long as there are few, and shares one after that. A list
//! becomes a command buffer with one compute encoder. Its dispatches run at once but for the list's barriers; copies
//! and fills are kernels in it. Memory is untracked, so nothing but what we say orders anything: `memoryBarrier` inside
//! a list, a fence between the lists of a queue, shared events between queues.
//!
//! ```text
//!  submit ──► room: parameters, words ──► command buffer ──► device ──► shared event (other lists' waits)
//!             for failures                  (commit)            │
//!                  ▲                                            ▼
//!                  └──────────────────────────────── completion handler: status, words, reports,
//!                                                    then the value that the host sees
//! ```
//!
//! The host's value of a timeline is a counter of ours, which the completion handler raises when it has read what
//! failed. It is never read from the shared event: that one rises before the status of the command buffer is known, and
//! not at all if the device stopped it.
//!
//! # What it cannot do
//!
//! - Take times inside a list: Apple's GPUs count where encoders begin and end, so times are by list.
//! - Wait on the device for long: such a wait counts towards the time after which the system stops the command buffer.
//!   The runtime waits on the host first (`DeviceInfo::waits_are_dear`).
//! - Use a GPU with memory of its own: it is refused.
//!
//! # Locks
//!
//! | lock | guards | may be held while taking |
//! |---|---|---|
//! | timeline | lists in flight, reports; the waits for its value | nothing |
//! | bell | the waits for several timelines | nothing |
//! | timelines | those that are told of a lost device | nothing |
//! | residency set | Metal's set, which takes one call at a time | nothing |
//! | command queues | how many seats of each are taken | nothing |
//! | room | which pieces of its segments are taken | nothing |
//! | growth of the room | the call that makes a segment | room, residency set |
//! | capture | how many lists it still takes | nothing |
//!
//! No drop of a list, and no wait for the device, happens under any of them.
//!
//! # Environment
//!
//! `THALWEG_METAL_CAPTURE=FILE.gputrace` records the first lists for Xcode (`Options::capture`);
//! `THALWEG_METAL_SIGNPOSTS=1` gives command buffers and dispatches names there (`Options::signposts`).
//!
//! # Where it is
//!
//! On Apple's systems, and in programs built for the simulator (`--cfg metal_sim`); elsewhere this crate has nothing in
//! it.

#[cfg(any(target_vendor = "apple", metal_sim))]
mod backend;
// The protocols between threads, which have models: pure, so these are tested anywhere.
#[cfg(any(target_vendor = "apple", metal_sim, test))]
mod bell;
#[cfg(any(target_vendor = "apple", metal_sim, test))]
mod ledger;
#[cfg(any(target_vendor = "apple", metal_sim, test))]
mod sync;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(any(target_vendor = "apple", metal_sim))]
pub use backend::{Adapter, MetalDevice, Options, adapters};
