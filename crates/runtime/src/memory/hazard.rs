//! The uses of some bytes, under a lock of their own (I4).

use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::order::uses::Uses;
use thalweg_hal::unique_id;

/// A block's uses, a part's of a mutable storage, or those of the memory in which a graph runs. All hazards of an
/// operation are locked at once, in the order of their ids (I2).
#[derive(Debug)]
pub(crate) struct Hazard {
    /// The order in which hazards are locked. Unique, and the bytes' for good.
    pub(crate) id: u64,
    /// Stay with the bytes when the block is freed and taken again (I5).
    pub(crate) uses: Mutex<Uses>,
}

impl Hazard {
    pub(crate) fn new(uses: Uses) -> Self {
        let id = unique_id();
        Self { id, uses: Mutex::with_id(Rank::Hazard, id, uses) }
    }
}
