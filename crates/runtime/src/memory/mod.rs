//! Memory: budget -> segments -> spans -> blocks.
//!
//! | level | is | reached |
//! |---|---|---|
//! | [`Budget`](budget::Budget) | the bounds on what all streams and models take from the device | by atomics |
//! | [`Arena`](arena::Arena) | *segments*, driver allocations, in *spans* | under one lock, if a stream has none |
//! | [`Heap`](heap::Heap) | what one stream has, divided into *blocks* | under a lock of the stream's |
//!
//! A hit in a stream's own free lists touches nothing shared. A free, from any thread, is one push on the owner's list.
//!
//! A freed block keeps its uses (I5). Its own stream may take it again at once: the next operation on it is ordered
//! after them like any other. A split copies them, and a merge unites them; so does a mutable storage with those of its
//! parts. What is free and settled can go back to the arena, in any pieces, and from there to any stream.
//!
//! One rule keeps memory from being hoarded: before more is taken from the device, what is free and settled is
//! gathered, wherever it is. Another keeps it from falling to pieces: what is small, and what is large for the limit,
//! lies apart from the rest (`class.rs`), and what is large is a driver allocation of its own. So whatever came and
//! went before, a call that fits the limit by itself fits it again; where most of the limit is in blocks that are not
//! large, with a quarter of it to spare, since those are taken as they come.
//!
//! The way to a block is in `allocate.rs`; a miss runs with no lock held, see `slow_path.rs`. Frozen storage has no
//! uses, and its spans rest in limbo when they are dropped: see `arena.rs`. What nobody uses for a while goes back to
//! the device: see `gather.rs`.
//!
//! What it asks of the streams is a trait, [`Lists`](lists::Lists). The caller of the slow path says how to look for
//! what it wants: `allocate.rs` for blocks, the layer above for spans of pools. `shortage.rs` is for transfers, which
//! take staging and give it back.
//!
//! Lock order: heaps (by stream) -> returns -> arena. A stream's recorder comes behind its heap, which a miss holds
//! while zeros are appended. The turn to grow comes before all of them, and a thread that has it never waits for the
//! device.

mod allocate;
pub(crate) mod arena;
pub(crate) mod budget;
pub(crate) mod class;
pub(crate) mod device_memory;
mod gather;
pub(crate) mod hazard;
pub(crate) mod heap;
pub(crate) mod lists;
mod ranges;
pub(crate) mod shortage;
mod slow_path;
pub(crate) mod snapshot;
pub(crate) mod stats;

pub(crate) use slow_path::Request;
