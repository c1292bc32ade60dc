//! The traits that a backend implements, and what it says about itself.

use crate::{Error, KernelSource, List, Result};
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Every binding starts at a multiple of this many bytes.
pub const BINDING_ALIGNMENT: u64 = 256;
/// The largest parameter struct, in bytes.
pub const MAX_PARAMETER_BYTES: u32 = 128;
/// The most bindings of one command.
pub const MAX_BINDINGS: usize = 8;

/// A number that no other call in this process returns. Identity is such a number, never an address.
pub fn unique_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only the uniqueness of the numbers matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One device: a GPU, the CPU, or a double of either.
pub trait Device: Send + Sync + fmt::Debug {
    /// What the device is and what it can do.
    fn info(&self) -> &DeviceInfo;

    /// A new queue. Devices with fewer hardware queues share them; see [`Queue`] for what that means.
    ///
    /// # Errors
    /// If the device is lost.
    fn create_queue(&self) -> Result<Box<dyn Queue>>;

    /// A new timeline at value 0.
    ///
    /// # Errors
    /// If the device is lost.
    fn create_timeline(&self) -> Result<Arc<dyn Timeline>>;

    /// Compiles a kernel. May take seconds on a GPU: call it with no lock held.
    ///
    /// # Errors
    /// If the device is lost or does not accept the kernel.
    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>>;

    /// Says that a sealed list will be run often, unchanged, by itself or by others
    /// ([`Command::Run`](crate::Command::Run)). A device may encode it once; what it makes of it stays with the list
    /// ([`List::prepared`]). The list can be submitted to any queue of the device either way, also while an earlier
    /// submission of it runs.
    ///
    /// # Errors
    /// If the list names objects of another device; what the driver says.
    ///
    /// # Safety
    /// - The list passes [`List::check_inner`] with the device's limits.
    unsafe fn prepare(&self, _list: &Arc<List>) -> Result<()> {
        Ok(())
    }

    /// Allocates zeroed memory. A driver call: slow, and counted against [`Limits::max_allocations`].
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room.
    fn allocate(&self, bytes: u64) -> Result<Arc<dyn Memory>>;

    /// Copies bytes of a memory to the host.
    ///
    /// # Errors
    /// If the range is not inside the memory, or the device is lost.
    ///
    /// # Safety
    /// - Every submitted command that writes the range has completed, and the host has seen it complete.
    /// - Nothing writes the range during the call.
    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Copies bytes of the host to a memory; visible to every list submitted afterwards.
    ///
    /// # Errors
    /// If the range is not inside the memory, or the device is lost.
    ///
    /// # Safety
    /// - Every submitted command that touches the range has completed, and the host has seen it complete.
    /// - Nothing touches the range during the call.
    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()>;

    /// Says that nobody will read the range before it is written again. Devices may ignore it; the mock destroys the
    /// bytes.
    ///
    /// # Safety
    /// - As for [`write`](Self::write).
    unsafe fn discard(&self, memory: &Arc<dyn Memory>, offset: u64, bytes: u64);

    /// Blocks until one of the values is reached, the timeout is over, or the device is lost. May return early, with
    /// nothing reached.
    ///
    /// # Errors
    /// If the device is lost.
    fn wait_any(&self, watch: &[Wait], timeout: Option<Duration>) -> Result<()>;
}

/// A place that lists are submitted to, owned by one stream.
///
/// Several queues may share one hardware queue. A list with a wait that is not met then holds up the lists behind it,
/// which is why a wait must name submitted work: otherwise the list that would signal could be stuck behind the one
/// that waits.
///
/// Whoever submits answers for the order of what is submitted:
///
/// ```
/// # use thalweg_hal::{Queue, Result, Submission};
/// fn submit(queue: &mut dyn Queue, submission: Submission<'_>) -> Result<()> {
///     // SAFETY: passed on to whoever recorded it.
///     unsafe { queue.submit(submission) }
/// }
/// ```
///
/// Safe code cannot:
///
/// ```compile_fail,E0133
/// # use thalweg_hal::{Queue, Result, Submission};
/// fn submit(queue: &mut dyn Queue, submission: Submission<'_>) -> Result<()> {
///     queue.submit(submission)
/// }
/// ```
pub trait Queue: Send + fmt::Debug {
    /// Hands over a list. Returns once the device has it, not when it has run.
    ///
    /// The timeline reaches `signal.value` when the list has run. A command that fails leaves its outputs undefined and
    /// keeps no other command from running: lists are shared by strangers. What failed, and what time it was, is
    /// published ([`Timeline::take_reports`]) before the value can be seen. Values of one timeline are reached in order, and not
    /// before every earlier list of the same queue has run.
    ///
    /// # Errors
    /// If the device does not take the list. It then runs none of it, and signals nothing. A list that names a memory
    /// or a pipeline of another device is not taken, or the command that does fails.
    ///
    /// # Safety
    /// - Any two accesses to the same byte, one of them a write, are ordered by a barrier, by waits, or by the host
    ///   having seen the first complete before submitting the second. In the last case the second list starts with a
    ///   barrier too: what was seen on the host need not be visible to the device.
    /// - Every wait names a value whose signal has been submitted before this call.
    /// - The list passes [`List::check`] with the device's limits: its commands keep [the rules](crate::check). Whoever
    ///   records has checked each; no device does so again, but for an assertion in debug builds.
    /// - No other submission that signals the same timeline is under way in another thread.
    /// - A list that was [prepared](Device::prepare) has not been changed since.
    unsafe fn submit(&mut self, submission: Submission<'_>) -> Result<()>;
}

/// What a device says of one command of a list that has run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The value that its list signals.
    pub value: u64,
    /// Its index in the list.
    pub command: u32,
    /// What there is to say.
    pub what: Reported,
}

/// What can be said of a command. Of one that did its work and is no timestamp, nothing is.
#[derive(Clone, Debug)]
pub enum Reported {
    /// It failed, for this reason; its outputs are undefined.
    Failed(Error),
    /// The time of a [`Command::Timestamp`](crate::Command::Timestamp), since an epoch of the device's own. The epoch is
    /// the same for all its queues, and the clock never goes back; how it relates to the host's is not said.
    Time(Duration),
}

/// A list on its way to a queue.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// What to run. The device keeps the `Arc` until the list has run.
    pub list: &'a Arc<List>,
    /// Values that must be reached before any command of the list starts.
    pub waits: &'a [Wait],
    /// The value that is reached when the list has run.
    pub signal: &'a Wait,
}

/// A value on a timeline: what a wait waits for, and what a signal signals.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The timeline.
    pub timeline: Arc<dyn Timeline>,
    /// The value.
    pub value: u64,
}

/// A counter that only rises, raised by lists as they complete.
pub trait Timeline: Send + Sync + fmt::Debug {
    /// Unique in the process.
    fn id(&self) -> u64;

    /// The value reached so far. Acquire: what the completed lists wrote can be read afterwards.
    fn completed(&self) -> u64;

    /// Blocks until the value is reached (`true`), or the timeout is over or the timeline interrupted (`false`).
    ///
    /// # Errors
    /// If the device is lost.
    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool>;

    /// Ends every [`wait`](Self::wait) for this timeline, under way or to come: it answers `false` though the time is not
    /// over. The timeline itself goes on. For whoever closes a device.
    fn interrupt(&self);

    /// Raises the timeline from the host. Only for timelines that no queue signals, such as a doorbell; on others a
    /// backend ignores it, since a list could otherwise start early.
    fn signal(&self, value: u64);

    /// Takes what there is to say of the commands of completed lists, by rising value; those of one list in no
    /// particular order. Each report is returned once. They are kept until they are taken.
    fn take_reports(&self) -> Vec<Report>;

    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// A contiguous piece of device memory, zeroed when it was allocated. Freed when the last `Arc` is dropped; lists hold
/// one while they run.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Unique in the process, never reused.
    fn id(&self) -> u64;

    /// Size in bytes.
    fn bytes(&self) -> u64;

    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// A compiled kernel.
pub trait Pipeline: Send + Sync + fmt::Debug {
    /// The kernel's declaration.
    fn source(&self) -> &KernelSource;

    /// Whether the device can run a dispatch of this extent, with these parameters, on operands of so many bytes: whether
    /// it has as many workgroups, and whether the operands are as long as the kernel's types. Asked before anything is
    /// recorded, since a refused list is everybody's who recorded into it.
    ///
    /// # Errors
    /// What it lacks.
    fn check(&self, _extent: [u32; 3], _params: &[u8], _operand_bytes: &[u64]) -> Result<(), &'static str> {
        Ok(())
    }

    /// How much memory it takes, in bytes, of the host and the driver together, as far as the backend can say. What a cache
    /// of pipelines counts. The default is an estimate from the kernel ([`KernelSource::bytes`]).
    fn bytes(&self) -> u64 {
        self.source().bytes()
    }

    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// What a device says about itself.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The name to show, with the backend: "cpu (Intel Xeon, 2 threads, avx512)".
    pub name: String,
    /// What sort of device it is.
    pub kind: DeviceKind,
    /// Lists that run at once at most.
    pub parallelism: u32,
    /// Whether a [`Command::Timestamp`](crate::Command::Timestamp) is answered with a time. Where not, lists may hold
    /// them all the same; nothing is reported.
    pub timestamps: bool,
    /// What it can do.
    pub limits: Limits,
    /// Further facts for people, as name and value.
    pub details: Vec<(&'static str, String)>,
}

/// The sorts of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor that this program runs on.
    Cpu,
    /// A graphics processor with memory of its own.
    Gpu,
    /// A graphics processor that shares the host's memory.
    IntegratedGpu,
    /// A driver that computes on the processor what a GPU would compute: for tests.
    SoftwareGpu,
    /// A double for tests.
    Mock,
}

/// What a device can do at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest binding, in bytes.
    pub max_binding_bytes: u64,
    /// The most memories that may exist at once.
    pub max_allocations: u64,
    /// How much memory the device has, in bytes.
    pub memory_bytes: u64,
    /// How many lists of one queue may be submitted and not have completed; at least 1. A device need not refuse the one
    /// that is too many: some hang. (Metal has 64 uncommitted command buffers a queue.)
    pub max_lists_in_flight: u64,
}
