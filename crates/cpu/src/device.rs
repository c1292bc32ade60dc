//! The device: what the processor says about itself, and the way to everything else.

use crate::executor::{Options, WorkerPool};
use crate::machine;
use crate::queue::CpuQueue;
use crate::timeline::CpuDoorbell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::host::{HostMemory, HostPipeline, memory};
use thalweg_hal::{
    Device, DeviceInfo, DeviceKind, Doorbell, Error, HostAccess, KernelSource, KernelSupport, Limits, List, Listener,
    Memory, MemoryKind, Overhead, Pipeline, Queue, Result, TimelinePoint, Timestamps,
};

/// A sensible bound on the number of memories: Linux gives a process 65,530 mappings by default, and a large memory
/// is one. Not enforced here; the system refuses by itself.
const MAX_ALLOCATIONS: u64 = 1 << 15;

/// The processor as a device.
pub struct CpuDevice {
    info: DeviceInfo,
    /// Nothing: what it takes is ordinary memory of the process.
    overhead: Arc<Overhead>,
    pool: Arc<WorkerPool>,
}

impl fmt::Debug for CpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuDevice({})", self.info.name)
    }
}

impl CpuDevice {
    /// Opens the processor. All devices opened so share one pool of workers, as many as the process has processors to
    /// itself, or as many as were asked for by [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread; [`Error::ForkedChild`].
    pub fn open() -> Result<Arc<Self>> {
        Self::open_with(None)
    }

    /// Like [`open`](Self::open), and says how many workers the process's pool is to have, at least one. More than
    /// there are processors contend for them.
    ///
    /// # Errors
    /// As for [`open`](Self::open); [`Error::Setting`] if the pool is in use, with another number of workers. It is as
    /// long as there is a device or a queue that was opened before.
    pub fn open_with(workers: Option<usize>) -> Result<Arc<Self>> {
        if thalweg_hal::process::forked() {
            return Err(Error::ForkedChild); // the pool's threads are the parent's, and its lock may be too
        }
        WorkerPool::of_process(workers.map(|workers| workers.max(1))).map(Self::on)
    }

    /// Opens the processor with a pool of its own, of `workers` threads, at least one. For tests and measurements: two
    /// pools contend for the processors, and timelines of one pool cannot be waited for in the other.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread.
    pub fn with_workers(workers: usize) -> Result<Arc<Self>> {
        WorkerPool::start(Options::new(Some(workers))).map(Self::on)
    }

    /// Like [`with_workers`](Self::with_workers), where a list runs for `quantum` before it yields to one that waits,
    /// instead of for a millisecond. With none at all it yields after every item, with [`Duration::MAX`] never.
    ///
    /// # Errors
    /// [`Error::Thread`] if the system refuses a thread.
    pub fn with_quantum(workers: usize, quantum: Duration) -> Result<Arc<Self>> {
        WorkerPool::start(Options { quantum, ..Options::new(Some(workers)) }).map(Self::on)
    }

    fn on(pool: Arc<WorkerPool>) -> Arc<Self> {
        Arc::new(Self { info: describe(pool.workers()), overhead: Arc::default(), pool })
    }
}

fn describe(workers: usize) -> DeviceInfo {
    let memory_bytes = machine::memory_bytes();
    let threads = if workers == 1 { "1 thread".to_owned() } else { format!("{workers} threads") };
    let limits = Limits {
        max_binding_bytes: memory_bytes,
        max_allocations: MAX_ALLOCATIONS,
        memory_bytes,
        max_lists_in_flight: u64::MAX,
    };
    DeviceInfo {
        name: format!("{} ({}, {threads})", crate::NAME, machine::processor()),
        kind: DeviceKind::Cpu,
        driver: String::new(),
        parallelism: u32::try_from(workers).unwrap_or(u32::MAX),
        timestamps: Timestamps::ByCommand,
        waits_are_dear: false,
        host_access: HostAccess::Cached,
        zeroed: true,
        limits,
        support: KernelSupport::NONE,
        details: vec![
            ("worker threads", workers.to_string()),
            ("SIMD", machine::simd()),
            ("memory", format!("{:.1} GiB", memory_bytes as f64 / f64::from(1 << 30))),
            ("longest binding", format!("{} bytes", limits.max_binding_bytes)),
            ("allocations", format!("at most {}", limits.max_allocations)),
        ],
    }
}

impl Device for CpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn overhead(&self) -> &Arc<Overhead> {
        &self.overhead
    }

    fn create_queue(&self) -> Result<Box<dyn Queue>> {
        Ok(Box::new(CpuQueue::new(&self.pool, self.info.limits)))
    }

    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>> {
        Ok(Arc::new(CpuDoorbell::new(self.pool.bell())))
    }

    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>> {
        Ok(Arc::new(HostPipeline::new(source, crate::NAME)?))
    }

    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()> {
        debug_assert_eq!(list.check_inner(&self.info.limits), Ok(()), "a promise of `Device::prepare`");
        Ok(())
    }

    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>> {
        // The system would promise more than there is.
        if bytes > self.info.limits.memory_bytes {
            return Err(Error::OutOfMemory { device: crate::NAME.to_owned(), bytes });
        }
        Ok(Arc::new(HostMemory::new(kind, bytes, crate::NAME)?))
    }

    unsafe fn read(&self, source: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()> {
        // SAFETY: nothing writes the range during the call (R1, R2).
        into.copy_from_slice(unsafe { memory(&**source, crate::NAME)?.slice(offset, into.len() as u64)? });
        Ok(())
    }

    unsafe fn write(&self, target: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()> {
        // SAFETY: nothing touches the range during the call (W1, W2).
        unsafe { memory(&**target, crate::NAME)?.slice_mut(offset, from.len() as u64)? }.copy_from_slice(from);
        Ok(())
    }

    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()> {
        self.pool.bell().wait_any(points, bell, timeout)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_past_the_limit_is_refused_even_if_the_system_would_grant_it() {
        let pool = WorkerPool::start(Options::new(Some(1))).unwrap();
        let mut info = describe(1);
        info.limits.memory_bytes = 1 << 20;
        let device = CpuDevice { overhead: Arc::default(), info, pool };
        assert!(device.allocate(MemoryKind::Device, 1 << 20).is_ok());
        let bytes = (1 << 20) + 1;
        assert!(
            matches!(device.allocate(MemoryKind::Device, bytes), Err(Error::OutOfMemory { bytes: said, .. }) if said == bytes)
        );
    }

    #[test]
    fn the_device_describes_itself() {
        let info = describe(3);
        assert!(info.name.starts_with("cpu (") && info.name.ends_with(", 3 threads)"), "{}", info.name);
        assert_eq!((info.kind, info.parallelism), (DeviceKind::Cpu, 3));
        assert!(info.details.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
    }
}
