//! What comes after what, as data: no lock, no device, no thread.
//!
//! ```text
//!  Uses of each operand ──► OpenList::append: waits, barrier, command, new uses ──seal──► SealedList
//!                                                                                            │ settles
//!                                   Outcome: failures and times by command ◄── results ◄─────┘
//! ```
//!
//! | file | is |
//! |---|---|
//! | `point.rs` | a place on a stream's timeline, and the use of some bytes by a command there |
//! | `uses.rs` | the last uses of some bytes, and what a new one has to come after (I2, I5) |
//! | `work.rs` | an operation and its operands, on their way into a list |
//! | `open_list.rs` | what a stream has recorded and not handed over (I6) |
//! | `marks.rs` | the profiler's timestamps in it |
//! | `results.rs`, `outcome.rs` | how the commands of a settled list ended, and which of them inherit a failure (I7) |
//! | `plan.rs` | a graph's barriers, and which of its buffers share bytes |
//!
//! Everything here is a function of its arguments, so the rules are tested without a device; see `tests.rs`.

pub(crate) mod marks;
pub(crate) mod open_list;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod point;
pub(crate) mod results;
pub(crate) mod uses;
pub(crate) mod work;
