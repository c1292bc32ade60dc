//! Streams, hazards, timelines, events and memory: what makes it safe for any thread to use any tensor.
//!
//! An operation is recorded as plain data on the calling thread's [`Stream`]. Its operands' bytes remember their last
//! uses, from which the runtime derives every barrier and every wait between streams. A stream's list is submitted when
//! it is full or when somebody waits for it; each list signals one value of its stream's timeline.
//!
//! # Invariants
//!
//! Code and tests cite these numbers.
//!
//! - **I1** A wait names submitted work only. `submitted` is published after `Queue::submit` has returned, and a
//!   foreign stream is flushed up to the use in question before the wait is recorded. So the order of the submit calls
//!   is a topological order of the waits: there is no cycle, and the device never waits for the host.
//! - **I2** Stamping is atomic for an operation, not for an operand: the hazards of all its blocks are locked together,
//!   in the order of their ids, from the first look until the bytes are stamped.
//! - **I3** A stream has two locks for its way forward: the submitter, a turn that can be waited for with a deadline,
//!   orders seal, encode and commit; the recorder is held to append, or to swap the list out. Order: hazards by id,
//!   submitter, recorder.
//! - **I4** A hazard has a lock of its own. It is the block's, a part's of a [`MutableStorage`], or that of the memory
//!   in which a [`Graph`] runs.
//! - **I5** Uses belong to bytes. A freed block keeps its uses, and the next owner of its bytes starts with them.
//!   Bytes without uses (frozen, a graph's, those of whole spans) are taken again only when every list has settled that
//!   could name them.
//! - **I6** Every list starts with a barrier, which orders it after its stream's previous list. Inside a list there is
//!   a barrier where bytes are used twice in one epoch and one of the two uses writes.
//! - **I7** A value that became visible always settles, in order, as a success or a failure. Its result is entered
//!   before it can be seen to have settled. A list that the device refuses uses up its value.
//! - **I8** No user code runs under a lock of the runtime, but `Hash` and `Eq` of the keys of a [`Cache`], under that
//!   cache's: they must not use it.
//!
//! # Failure
//!
//! Lists are shared by strangers, so failure is a command's, not a list's. A failed command keeps no other from
//! running; those that read what it wrote fail with the same error when their list settles. Inside a list that follows
//! from the bindings, between lists from edges that the recorder keeps. Reading a tensor tells the failure; nothing
//! else does.
//!
//! # Waiting
//!
//! What can wait has three forms. A thread waits as long as it takes, or until a deadline ([`Event::synchronize`]). A
//! task awaits a future ([`Event::finished`] and the others), on any executor, and keeps its stream from thread to
//! thread with [`Stream::attach`]. And a handle made by [`Stream::or_busy`] never waits: its calls answer
//! [`Error::Busy`] and leave no trace. Queries and drops never block; they leave what is to be done to the reaper.
//!
//! # Memory
//!
//! A stream has free lists of its own, so an allocation that finds a block, and a free from any thread, touch nothing
//! that other streams write. Behind them is an arena of driver allocations, one budget for all (limits on bytes and on
//! their number, see [`Config`]), and an order of things to try before [`Error::OutOfMemory`]. A [`Pool`] keeps
//! together what lives long together. What nobody uses for a while goes back to the device ([`Config::decay`]).
//! [`Device::memory`] and [`Device::memory_snapshot`] say what it is used for.
//!
//! A [`Cache`] builds each value once, with nothing locked, and keeps within bounds; a value that it drops lives on
//! with its other owners. Compiled kernels are in one ([`Device::pipeline_cache`]).
//!
//! # Transfers
//!
//! Data comes from the host and goes there by commands, but where the host sees the device's memory and nothing has to
//! be waited for. [`Storage::download`] gives a [`Pending`] value, which any number of threads and tasks wait for. New
//! memory is zeros to everybody: the first list that takes it fills it. See `api/transfer.rs`.
//!
//! # Graphs
//!
//! A [`Graph`] is captured once: operations go into a private list, and nothing runs. It is then run often, each time
//! as one operation with inputs that are copied in and outputs that are copied out, with the hazards, waits and
//! failures of any operation. Threads do not wait for each other as long as there is memory for runs of their own.
//!
//! # Listening
//!
//! A [`listener`] is told what threads and the device do, as plain events; [`range()`] names what a thread is at. Any
//! number of threads may run meanwhile. While nobody listens, a hook costs a relaxed load. What is made of the events
//! is not the runtime's: the crate `thalweg-profile` makes traces and tables of them.
//!
//! # Shutdown
//!
//! Dropping never waits. Storages return their block; a thread's end and a stream's drop have the reaper submit what
//! was recorded. When the last handle is gone, the reaper ends; lists in flight own what they use and run to their end.
//!
//! [`Device::close`] ends a device for everybody and says whether everything has run. At the exit of the process, what
//! is on a device is waited for, for two seconds, and our thread leaves the driver before the driver is torn down. In a
//! forked child every call answers [`thalweg_hal::Error::ForkedChild`] before it takes a lock, and what is dropped
//! there is leaked.

mod api;
mod base;
mod engine;
mod memory;
mod order;
#[cfg(test)]
mod tests;
mod trace;

pub use api::device::{Counters, Device};
pub use api::event::{Event, Finished};
pub use api::graph::Graph;
pub use api::listener;
pub use api::mutable::MutableStorage;
pub use api::pending::{Awaited, Pending, Step};
pub use api::pool::Pool;
pub use api::storage::{Operand, Storage};
pub use api::stream::{Attached, Stream};
pub use api::transfer::yield_task;
pub use base::cache::{Cache, CacheStats};
pub use base::config::Config;
pub use base::error::{Error, Failure, OutOfMemory, PoolMemory, Result, StreamMemory};
pub use base::memory_stats::MemoryStats;
pub use memory::snapshot::{BlockSnapshot, BlockState, MemorySnapshot, SegmentSnapshot, SpanSnapshot, SpanState};
pub use order::work::{Pipeline, Work};
pub use trace::writers::{Range, range};
