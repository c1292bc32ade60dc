//! The CPU backend: the processor that this program runs on, as a device.
//!
//! # What it does
//!
//! Every queue is a lane of lists that run in order. A list is *runnable* when it is at the head of its lane and its
//! waits are met; runnable lists go to one pool of worker threads. The pool is one per process, as large as the number
//! of processors that the process has to itself (affinity and cgroup quota included), or as was asked for, so that many
//! threads with a stream each never run more threads than processors.
//!
//! ```text
//!  submit ──► lane: list, list, list        at the head, waits met
//!  submit ──► lane: list                   ───────────────────────►  run queue ──► worker ──► timeline ──► host waits
//!  submit ──► lane: list, list                                                      │
//!               ▲                                                                    └── shares a large dispatch with
//!               └──── the lanes that waited for the value ◄──────────────────────────    workers that have no list
//! ```
//!
//! With as many runnable lists as workers, each list runs on one of them. With fewer, a worker offers its large
//! dispatches to the idle ones, which claim ranges of items. What decides is the number of runnable lists and idle
//! workers at that dispatch, so nothing has to be switched back.
//!
//! Lanes share the workers by the time that they have used (`fair`). A worker looks after a millisecond of items at
//! most, inside a command too (`pace` guesses how many items that are): if a lane waits that has a better claim, the
//! list goes back to the head of its lane, and is gone on with later, by any worker (`run`). A single item runs to its
//! end. Nothing is given up for a lane that is not there: a list that nobody waits for runs on.
//!
//! The results have the same bits however the items are divided and ordered: a kernel's item may not depend on that.
//!
//! A list's timestamps are those of a clock of its own, which stands still while the list has yielded. So no time
//! between two of them counts what others did, and the clock is behind the device's, by as much as that was, until the
//! list has ended; never ahead, so that one list's time is never before that of another that it waited for.
//!
//! # What it cannot do
//!
//! - It is stronger than the contract of the HAL: the commands of a list run in order on one worker, and the lists of a
//!   queue never overlap, so that a missing barrier does no harm here. The mock is the device to test with.
//! - Memory is the host's own, from the global allocator. The system may hand out pages on first use only, so that an
//!   allocation can succeed and its use end the process; the budget of the layer above is what bounds memory.
//! - A queue holds any number of lists. The caller bounds the work in flight.
//! - A kernel that never returns keeps its worker for ever. A kernel that overflows its stack ends the process.
//!
//! # Locks
//!
//! | lock | guards | may be held while taking |
//! |---|---|---|
//! | lane | one queue's lists | timeline |
//! | timeline | one timeline's reports, waiters, blocked lanes | nothing |
//! | run queue | runnable lanes and what they have used, offered dispatches, idle workers | nothing |
//! | bell | the number of threads in `wait_any` | nothing |
//!
//! No kernel, and no drop of a list, runs under any of them. A lane's lock is never held while another lane's is taken.
//!
//! # Shutdown
//!
//! 1. Devices and queues hold the pool; dropping the last of them marks it as closing and wakes the workers.
//! 2. A worker leaves when the pool is closing and nothing is runnable. Lists that still wait do so for lists that run
//!    (a wait names submitted work), and the worker that completes those takes what it made runnable.
//! 3. Nobody joins the workers: no drop blocks, and timelines go on working until the last list has run.

mod device;
mod executor;
mod fair;
mod machine;
mod pace;
mod queue;
mod run;
mod split;
mod sync;
mod timeline;

pub use device::CpuDevice;

/// The backend's name in errors.
pub(crate) const NAME: &str = "cpu";
