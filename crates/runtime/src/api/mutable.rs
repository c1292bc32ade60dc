//! Memory that may change while others can name it.

use super::storage::{Operand, Storage};
use crate::base::error::{Error, Result};
use crate::memory::hazard::Hazard;
use std::fmt;
use std::ops::Range;
use thalweg_hal::{Access, BINDING_ALIGNMENT};

/// Bytes that every owner may change, on any stream and any thread: for caches that grow in place.
///
/// All other memory is a value that nobody changes once it is shared. This one is a place: what a read sees depends on
/// when it was recorded. Every operation is still atomic, and ordered against every other that touches the same *part*:
/// the bytes are divided into parts of equal length, each with a hazard of its own, so that operations on different
/// parts do not wait for each other. Writing replaces whole parts; a failure stays with the parts that the failed
/// operation wrote, until they are written again.
///
/// The host cannot read it directly, since somebody might write it at that moment; copy parts of it to a [`Storage`].
pub struct MutableStorage {
    storage: Storage,
    /// In the order of their bytes.
    parts: Box<[Hazard]>,
    part_bytes: u64,
}

impl MutableStorage {
    /// Makes a storage mutable, in parts of `part_bytes` bytes. What is in it stays.
    ///
    /// # Errors
    /// [`Error::Frozen`] for frozen memory, [`Error::Parts`] if the length is not a multiple of `part_bytes`, or that,
    /// with more parts than one, is not a multiple of 256.
    pub fn new(mut storage: Storage, part_bytes: u64) -> Result<Self> {
        if let Some((capture, _)) = storage.captured() {
            return Err(capture.refuse("mutable memory"));
        }
        let bytes = storage.bytes();
        let fits = part_bytes > 0 && bytes > 0 && bytes.is_multiple_of(part_bytes);
        if !fits || (part_bytes != bytes && !part_bytes.is_multiple_of(BINDING_ALIGNMENT)) {
            return Err(Error::Parts { bytes, part_bytes });
        }
        let hazard = storage.hazard_mut().ok_or(Error::Frozen { operand: 0 })?;
        let uses = std::mem::take(&mut *hazard.uses.get_mut());
        // A use of the whole is a use of each part (I5).
        let parts = (0..bytes / part_bytes).map(|_| Hazard::new(uses.clone())).collect();
        Ok(Self { storage, parts, part_bytes })
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The length of a part in bytes.
    pub fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    /// The device that the bytes are on.
    pub fn device(&self) -> &crate::Device {
        self.storage.device()
    }

    /// Parts to read.
    ///
    /// # Errors
    /// [`Error::NoSuchPart`]; as for the other accesses.
    pub fn read(&self, parts: Range<usize>) -> Result<Operand<'_>> {
        self.operand(parts, Access::Read)
    }

    /// Parts to replace.
    ///
    /// # Errors
    /// [`Error::NoSuchPart`]
    pub fn write(&self, parts: Range<usize>) -> Result<Operand<'_>> {
        self.operand(parts, Access::Write)
    }

    /// Parts to change in place.
    ///
    /// # Errors
    /// [`Error::NoSuchPart`]
    pub fn update(&self, parts: Range<usize>) -> Result<Operand<'_>> {
        self.operand(parts, Access::ReadWrite)
    }

    fn operand(&self, parts: Range<usize>, access: Access) -> Result<Operand<'_>> {
        let known = self.parts.get(parts.clone()).filter(|parts| !parts.is_empty());
        let hazards = known.ok_or(Error::NoSuchPart { asked: parts.clone(), parts: self.parts.len() })?;
        let (offset, bytes) = (parts.start as u64 * self.part_bytes, parts.len() as u64 * self.part_bytes);
        Ok(Operand { storage: &self.storage, hazards, access, offset, bytes })
    }
}

impl fmt::Debug for MutableStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, device) = (self.parts(), self.device());
        write!(f, "MutableStorage({parts} parts of {} bytes on {})", self.part_bytes, device.info().name)
    }
}

impl Drop for MutableStorage {
    fn drop(&mut self) {
        // The uses stay with the bytes (I5).
        if let Some(block) = self.storage.hazard_mut() {
            for part in &mut self.parts {
                block.uses.get_mut().unite(std::mem::take(&mut *part.uses.get_mut()));
            }
        }
    }
}
