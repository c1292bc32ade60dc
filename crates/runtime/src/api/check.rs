//! Whether an operation may be recorded. Asked once, with nothing locked.

use super::device::Device;
use super::storage::Operand;
use crate::base::error::{Error, Result};
use crate::order::work::{Work, whole_words};
use thalweg_hal::Access;
use thalweg_hal::check::{self, CommandError, Operation};

/// Captured memory has no bytes for the device to use.
pub(super) fn has_bytes(operands: &[Operand<'_>]) -> Result<()> {
    match operands.iter().position(|operand| operand.storage.captured().is_some()) {
        Some(operand) => Err(Error::Captured { operand }),
        None => Ok(()),
    }
}

/// Whether an operation keeps the rules of a command ([`mod@check`]), and its operands and kernel may be used here.
/// What is recorded is not checked again.
pub(super) fn operation(device: &Device, work: &Work<'_>, operands: &[Operand<'_>]) -> Result<()> {
    owners(device, operands)?;
    let (limits, operands) = (&device.info().limits, as_checked(operands));
    let checked = match work {
        Work::Dispatch { pipeline, params, extent } => {
            if pipeline.device != device.engine.id {
                let what = "the pipeline was compiled for another device";
                return Err(Error::Malformed { operation: work.name().to_owned(), what });
            }
            check::command(&Operation::Dispatch { pipeline: &*pipeline.hal, params, extent: *extent }, operands, limits)
        }
        Work::Copy => check::command(&Operation::Copy, operands, limits),
        // In whole words, as it is recorded. Where a storage does not end with one, its block goes on.
        Work::Fill(_) => check::command(&Operation::Fill, operands.map(in_words), limits),
    };
    checked.map_err(|error| refused(device, work.name(), error))
}

/// As [`operation()`], for the copies to and from the memory of a graph.
pub(super) fn replay(device: &Device, operands: &[Operand<'_>]) -> Result<()> {
    owners(device, operands)?;
    // The other side of each copy is as long, and was checked with the graph.
    let checked = check::operands(as_checked(operands), &device.info().limits);
    checked.map_err(|error| refused(device, "replay", error))
}

/// Whether operands are of this device, and only read where they are frozen.
fn owners(device: &Device, operands: &[Operand<'_>]) -> Result<()> {
    for (index, operand) in operands.iter().enumerate() {
        if !operand.storage.device().is_same(device) {
            return Err(Error::OtherDevice { operand: index });
        }
        if operand.access != Access::Read && operand.storage.is_frozen() {
            return Err(Error::Frozen { operand: index });
        }
    }
    Ok(())
}

/// Operands as the rules see them: each in a memory of its storage's length. Two storages share no byte, and a storage
/// starts where every device can bind.
fn as_checked<'a>(operands: &'a [Operand<'_>]) -> impl ExactSizeIterator<Item = check::Operand> + Clone + 'a {
    operands.iter().map(|&Operand { storage, access, offset, bytes, .. }| {
        // The operands borrow their storages, which therefore stay where they are.
        let memory = std::ptr::from_ref(storage).addr() as u64;
        check::Operand { memory, memory_bytes: storage.bytes(), access, offset, bytes }
    })
}

/// What is filled of an operand.
fn in_words(operand: check::Operand) -> check::Operand {
    let check::Operand { memory_bytes, bytes, .. } = operand;
    check::Operand { memory_bytes: whole_words(memory_bytes), bytes: whole_words(bytes), ..operand }
}

/// The error for the caller who broke a rule.
#[cold]
fn refused(device: &Device, operation: &str, error: CommandError) -> Error {
    match error {
        CommandError::Aliased { written, other } => Error::Aliased { written, other },
        CommandError::TooLong { operand, bytes, limit } => {
            Error::BindingTooLarge { operand, bytes, limit, device: device.info().name.clone() }
        }
        source => Error::Command { operation: operation.to_owned(), source },
    }
}
