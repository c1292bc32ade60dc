//! Taking note of what threads and the device do, while somebody listens.
//!
//! ```text
//!  threads ──hooks──► a ring each ──drain──► the listener
//!  device ──timestamps──► the thread that settles the list ──► its ring
//! ```
//!
//! - A [hook] costs one relaxed load while nobody listens.
//! - A thread writes to a [ring] of its own and never waits: what does not fit is dropped and counted.
//! - The rings are the [session]'s. A thread finds its own by the session's number, so that one that is late cannot
//!   write into a later session. The ring of a thread that has ended is used again once it is drained.
//! - Timestamps in the lists (`order/marks.rs`) change no hazard, no order and no failure.
//! - Nothing happens in signal handlers, nor in a forked child. A device that is lost or closed is listened to
//!   up to there.
//!
//! Who listens has a [`Listener`](crate::listener::Listener). What is made of the events is the listener's: the crate
//! `thalweg-profile` makes traces and tables.

pub(crate) mod event;
pub(crate) mod hook;
pub(crate) mod options;
pub(crate) mod ring;
pub(crate) mod session;
pub(crate) mod writers;
