//! A device that counts what it compiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thalweg_hal::{
    Device, DeviceInfo, Doorbell, KernelSource, List, Listener, Memory, MemoryKind, Overhead, Pipeline, Queue, Result,
    TimelinePoint,
};

/// A device with a count of the pipelines that it was asked for.
#[derive(Debug)]
pub struct Counting {
    inner: Arc<dyn Device>,
    pipelines: AtomicU64,
}

impl Counting {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn Device>) -> Arc<Self> {
        Arc::new(Self { inner, pipelines: AtomicU64::new(0) })
    }

    /// How many pipelines have been compiled.
    pub fn pipelines(&self) -> u64 {
        // Relaxed: a count, of what the same thread asked for.
        self.pipelines.load(Ordering::Relaxed)
    }
}

impl Device for Counting {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }

    fn overhead(&self) -> &Arc<Overhead> {
        self.inner.overhead()
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        self.inner.create_queue()
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        self.inner.create_doorbell()
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        self.pipelines.fetch_add(1, Ordering::Relaxed);
        self.inner.create_pipeline(source)
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.inner.prepare(list) }
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        self.inner.allocate(kind, bytes)
    }

    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.inner.read(memory, offset, into) }
    }

    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.inner.write(memory, offset, from) }
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        self.inner.wait_any(points, bell, timeout)
    }
}
