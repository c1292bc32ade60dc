//! What programs call: handles on what the layers below do.
//!
//! | file | is |
//! |---|---|
//! | `device.rs` | a device, for everybody |
//! | `stream.rs`, `current.rs` | an order of operations, and which of them a thread is in |
//! | `check.rs` | whether an operation may be recorded |
//! | `storage.rs`, `mutable.rs`, `pool.rs` | bytes, and parts of them as operands |
//! | `transfer.rs` | data between the host and a device |
//! | `event.rs`, `pending.rs` | what there is to wait for |
//! | `graph/` | operations that are recorded once and run often |
//! | `listener.rs` | what happens, as events |

mod check;
mod current;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod graph;
pub mod listener;
pub(crate) mod mutable;
pub(crate) mod pending;
pub(crate) mod pool;
pub(crate) mod storage;
pub(crate) mod stream;
pub(crate) mod transfer;
