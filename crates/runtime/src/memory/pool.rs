//! Memory that lives long together.

use super::arena::{DEFAULT, Owner, Place, PoolId, rounded};
use super::ladder::{Request, absurd, obtain};
use crate::device::Device;
use crate::error::Result;
use crate::life;
use crate::patience::Patience;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_hal::Memory;

/// Memory of a device for what lives long together: a model's weights, say. It has driver allocations of its own, within the
/// device's limits, so that what comes and goes elsewhere does not lie between; and when the last handle and everything in
/// it are gone, they go back to the device.
///
/// Cloning the handle is cheap.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: Device,
    id: PoolId,
    name: Arc<str>,
}

impl Pool {
    /// A pool without memory. The name is for reports; several may have the same.
    ///
    /// # Errors
    /// That the device is lost or closed.
    pub fn new(device: &Device, name: &str) -> Result<Self> {
        device.check()?;
        let id = device.core.memory.arena.lock().add_pool(name);
        Ok(Self { inner: Arc::new(Inner { device: device.clone(), id, name: name.into() }) })
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    pub(super) fn id(&self) -> PoolId {
        self.inner.id
    }

    /// At least `bytes` bytes of the pool, which no stream hands out. What is in them is not defined, or it is raw.
    /// They are aligned to 256 bytes, and every use of them has settled.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the device says.
    pub(crate) fn take(&self, bytes: u64, patience: Patience) -> Result<PoolSpan> {
        take(self.device(), self.id(), bytes, Owner::Graph, patience)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A forked child has none of the threads that could free the lock.
        if !life::forked() {
            let memories = self.device.core.memory.arena.lock().drop_pool(self.id);
            drop(memories); // driver calls, with no lock held
        }
    }
}

/// For frozen storage, of the device's default pool if none is named.
pub(super) fn take_frozen(device: &Device, pool: Option<PoolId>, bytes: u64, patience: Patience) -> Result<PoolSpan> {
    take(device, pool.unwrap_or(DEFAULT), bytes, Owner::Frozen, patience)
}

fn take(device: &Device, pool: PoolId, bytes: u64, owner: Owner, patience: Patience) -> Result<PoolSpan> {
    let core = &*device.core;
    core.life.check_open()?;
    let bytes = rounded(bytes).ok_or_else(|| absurd(core, bytes))?;
    let request = Request { pool, bytes, least: bytes };
    let place = obtain(core, request, patience, |want| core.memory.arena.lock().take(want, owner))?;
    let raw = AtomicBool::new(place.raw);
    Ok(PoolSpan { device: device.clone(), place, raw })
}

/// Some bytes of a pool. When it is dropped they are not used again before everything has settled that was recorded by
/// then, on any stream; whoever submits a list more than once keeps it as long.
#[derive(Debug)]
pub(crate) struct PoolSpan {
    device: Device,
    place: Place,
    /// Some of it was never written. Cleared by its owner, who fills it.
    raw: AtomicBool,
}

impl PoolSpan {
    /// Whether some of it was never written, so that its owner has to fill it, as the first use of its bytes.
    pub(crate) fn is_raw(&self) -> bool {
        // Relaxed, here and below: what fills and what uses it are ordered by its owner.
        self.raw.load(Ordering::Relaxed)
    }

    /// All of it is written, or will be by commands that are recorded.
    pub(crate) fn set_filled(&self) {
        self.raw.store(false, Ordering::Relaxed);
    }

    /// What the bytes are of.
    pub(crate) fn memory(&self) -> &Arc<dyn Memory> {
        &self.place.memory
    }

    /// Where they start in it: a multiple of 256.
    pub(crate) fn offset(&self) -> u64 {
        self.place.offset
    }

    /// How many they are, as they are rounded.
    pub(crate) fn bytes(&self) -> u64 {
        self.place.bytes
    }
}

impl Drop for PoolSpan {
    fn drop(&mut self) {
        if life::forked() {
            // Leaked, the driver's memory too.
            std::mem::forget(Arc::clone(&self.place.memory));
            return;
        }
        let core = &*self.device.core;
        let raw = *self.raw.get_mut();
        let first = core.memory.arena.lock().put_in_limbo(self.place.segment, self.place.offset, raw);
        if first {
            // The reaper empties it, for memory to go back to the device without anybody being short of it.
            core.doorbell.submitted();
        }
    }
}
