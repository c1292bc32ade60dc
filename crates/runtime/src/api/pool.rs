//! Memory that lives long together.

use super::device::Device;
use crate::base::error::Result;
use crate::base::fork;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::span::PoolSpan;
use crate::memory::arena::{Owner, PoolId};
use std::sync::Arc;

/// Memory of a device for what lives long together: a model's weights, say. It has driver allocations of its own,
/// within the device's limits, so that what comes and goes elsewhere does not lie between; and when the last handle and
/// everything in it are gone, they go back to the device.
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
        let id = device.engine.memory.arena.lock().add_pool(name);
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

    /// At least `bytes` bytes of the pool, which no stream hands out, for a graph.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the device says.
    pub(crate) fn take(&self, bytes: u64, policy: WaitPolicy) -> Result<PoolSpan> {
        PoolSpan::take(&self.device().engine, self.id(), bytes, Owner::Graph, policy)
    }

    pub(super) fn id(&self) -> PoolId {
        self.inner.id
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A forked child has none of the threads that could free the lock.
        if !fork::forked() {
            let memories = self.device.engine.memory.arena.lock().drop_pool(self.id);
            drop(memories); // driver calls, with no lock held
        }
    }
}
