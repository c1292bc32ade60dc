//! The traits that a backend implements, and what it says about itself.

use crate::{Command, Error, Features, KernelSource, List, Overhead, Result};
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

/// A backend's own object behind a handle (`as_any`).
///
/// # Errors
/// [`Error::ForeignObject`] if it is another backend's, or `is_own` says that it is another device's.
pub fn own<'a, T: Any>(
    object: &'a dyn Any,
    device: &str,
    what: &'static str,
    is_own: impl FnOnce(&T) -> bool,
) -> Result<&'a T> {
    let own = object.downcast_ref().filter(|object| is_own(object));
    own.ok_or_else(|| Error::ForeignObject { device: device.to_owned(), what })
}

/// One device: a GPU, the CPU, or a double of either.
///
/// No method of these traits has a default body: what wraps a device would compile without passing a new one on. What
/// the caller of an unsafe one promises has a number, which a `SAFETY` comment names that rests on it: P1 for
/// [`prepare`](Self::prepare), R1 and R2 for [`read`](Self::read), W1 and W2 for [`write`](Self::write), Q1 to Q5 for
/// [`Queue::submit`].
pub trait Device: Send + Sync + fmt::Debug {
    /// What the device is and what it can do.
    fn info(&self) -> &DeviceInfo;

    /// A new queue, with a timeline of its own at value 0. Devices with fewer hardware queues share them; see [`Queue`]
    /// for what that means.
    ///
    /// # Errors
    /// If the device is lost.
    fn create_queue(&self) -> Result<Box<dyn Queue>>;

    /// A new doorbell, that nobody has rung.
    ///
    /// # Errors
    /// If the device is lost.
    fn create_doorbell(&self) -> Result<Arc<dyn Doorbell>>;

    /// Compiles a kernel. May take seconds on a GPU: call it with no lock held.
    ///
    /// # Errors
    /// If the device is lost or does not accept the kernel.
    fn create_pipeline(&self, source: &KernelSource) -> Result<Arc<dyn Pipeline>>;

    /// Says that a sealed list will be run often, unchanged, by itself or by others
    /// ([`Command::Run`]). A device may encode it once; what it makes of it stays with the list
    /// ([`List::prepared`]). The list can be submitted to any queue of the device either way, also while an earlier
    /// submission of it runs.
    ///
    /// # Errors
    /// If the list names objects of another device; what the driver says.
    ///
    /// # Safety
    /// - **P1.** The list passes [`List::check_inner`] with the device's limits.
    unsafe fn prepare(&self, list: &Arc<List>) -> Result<()>;

    /// Allocates memory of a kind. A driver call: slow, and counted against [`Limits::max_allocations`]. Its content is
    /// undefined, unless [`DeviceInfo::zeroed`] says otherwise. It neither submits anything nor waits for the device.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room.
    fn allocate(&self, kind: MemoryKind, bytes: u64) -> Result<Arc<dyn Memory>>;

    /// What it has taken for itself beside that; it goes on counting. [`Limits::max_allocations`] is for both together.
    fn overhead(&self) -> &Arc<Overhead>;

    /// Copies bytes of a memory that the host sees ([`DeviceInfo::host_access`] for memory that kernels use; always for
    /// [`MemoryKind::Host`]). It does not wait for the device: whatever the host does not see is copied by a command
    /// first.
    ///
    /// # Errors
    /// If the range is not inside the memory, the host does not see it, or the device is lost.
    ///
    /// # Safety
    /// - **R1.** Every submitted command that writes the range has completed, and the host has seen it complete.
    /// - **R2.** Nothing writes the range during the call.
    unsafe fn read(&self, memory: &Arc<dyn Memory>, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Copies bytes of the host to a memory that the host sees, as for [`read`](Self::read); visible to every list
    /// submitted afterwards.
    ///
    /// # Errors
    /// If the range is not inside the memory, the host does not see it, or the device is lost.
    ///
    /// # Safety
    /// - **W1.** Every submitted command that touches the range has completed, and the host has seen it complete.
    /// - **W2.** Nothing touches the range during the call.
    unsafe fn write(&self, memory: &Arc<dyn Memory>, offset: u64, from: &[u8]) -> Result<()>;

    /// Blocks until one of the points is reached, the doorbell is rung that is listened to, the timeout is over, or the
    /// device is lost. May return early, with none of that. Returns at once if there is nothing to wait for, not even a
    /// timeout.
    ///
    /// # Errors
    /// If the device is lost.
    fn wait_any(&self, points: &[TimelinePoint], bell: Option<&Listener>, timeout: Option<Duration>) -> Result<()>;
}

/// A place that lists are submitted to, owned by one stream, with the timeline that its lists raise.
///
/// Several queues may share one hardware queue. A list with a wait that is not met then holds up the lists behind it,
/// which is why a wait must name submitted work: otherwise the list that would signal could be stuck behind the one
/// that waits.
///
/// The caller answers for the order of what it submits:
///
/// ```
/// # use thalweg_hal::{Queue, Result, Submission};
/// fn submit(queue: &mut dyn Queue, submission: Submission<'_>) -> Result<()> {
///     // SAFETY: passed on to the caller.
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
// audit: FA
pub trait Queue: Send + fmt::Debug {
    /// The queue's timeline, which its lists raise and nothing else does. It goes on when the queue is dropped, until
    /// the last list that was submitted has run.
    fn timeline(&self) -> &Arc<dyn Timeline>;

    /// Hands over a list. Returns once the device has it, not when it has run. Never waits for the device, for
    /// anything: not for the points that the list waits for, nor for room. A caller that would rather wait on the host
    /// ([`DeviceInfo::waits_are_dear`]) does so before.
    ///
    /// The queue's timeline reaches `value` when the list has run. A command that fails leaves its outputs undefined
    /// and keeps no other command from running: lists are shared by strangers. What failed, and what time it was, is
    /// published ([`Timeline::take_reports`]) before the value can be seen. Values are reached in order, each not
    /// before every earlier list of the queue has run.
    ///
    /// # Errors
    /// If the device does not take the list. It then runs none of it, and signals nothing. A list that names a memory
    /// or a pipeline of another device is not taken, or the command that does fails.
    ///
    /// # Safety
    /// - **Q1.** Any two accesses to the same byte, one of them a write, are ordered by a barrier, by waits, or by the
    ///   host having seen the first complete before submitting the second. In the last case the second list starts with
    ///   a barrier too: what was seen on the host need not be visible to the device.
    /// - **Q2.** Every wait names a value that is submitted: the `submit` of a list with this value, or a higher one,
    ///   has returned.
    /// - **Q3.** The list passes [`List::check`] with the device's limits: its commands keep [the rules](crate::check).
    ///   The caller has checked each; no device does so again, but for an assertion in debug builds.
    /// - **Q4.** The value is above that of every list that the queue has taken.
    /// - **Q5.** A list that was [prepared](Device::prepare) has not been changed since.
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
    /// The time of a [`Command::Timestamp`], since an epoch of the device's own. The epoch is the same for all its
    /// queues, and the clock never goes back from one command to another that is ordered behind it; how it relates to
    /// the host's is not said. A device that lets other lists go first in the midst of one may stop the clock of that
    /// list meanwhile: what is between two times of a list is then the list's own time, and its later times are early.
    Time(Duration),
}

/// A list on its way to a queue.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// What to run. The device keeps the `Arc` until the list has run.
    pub list: &'a Arc<List>,
    /// Points that must be reached before any command of the list starts.
    pub waits: &'a [TimelinePoint],
    /// What the queue's timeline reaches when the list has run.
    pub value: u64,
}

/// A value on a timeline.
#[derive(Clone, Debug)]
pub struct TimelinePoint {
    /// The timeline.
    pub timeline: Arc<dyn Timeline>,
    /// The value.
    pub value: u64,
}

impl TimelinePoint {
    /// Whether the timeline has reached the value. Asks the device.
    pub fn is_reached(&self) -> bool {
        self.timeline.completed() >= self.value
    }
}

/// What the host rings to end a [`Device::wait_any`]. Only rung: no list raises it or waits for it.
pub trait Doorbell: Send + Sync + fmt::Debug {
    /// Rings. Release: what was done before can be read by a thread that has heard it.
    fn ring(&self);

    /// How often it has been rung. Acquire.
    fn rings(&self) -> u64;

    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// Somebody who listens to a doorbell. Made first; then its maker looks at what the bell is rung for; then it waits. A
/// ring that comes before this is made is seen by the look, and one that comes later ends the wait: none is lost.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The doorbell.
    pub doorbell: Arc<dyn Doorbell>,
    /// How often it had been rung when this was made.
    pub heard: u64,
}

impl Listener {
    /// Listens from now on.
    pub fn new(doorbell: &Arc<dyn Doorbell>) -> Self {
        Self { doorbell: Arc::clone(doorbell), heard: doorbell.rings() }
    }

    /// Whether the doorbell has been rung since.
    pub fn is_rung(&self) -> bool {
        self.doorbell.rings() > self.heard
    }
}

/// A counter that only rises: that of one queue, raised by its lists as they complete.
pub trait Timeline: Send + Sync + fmt::Debug {
    /// Unique in the process.
    fn id(&self) -> u64;

    /// The value reached so far. Acquire: what the completed lists wrote can be read afterwards.
    ///
    /// Each timeline for itself: of two lists, one of which waited for the other, the host may see the later end first.
    fn completed(&self) -> u64;

    /// Blocks until the value is reached (`true`), or the timeout is over or the timeline interrupted (`false`).
    ///
    /// # Errors
    /// If the device is lost.
    fn wait(&self, value: u64, timeout: Option<Duration>) -> Result<bool>;

    /// Ends every [`wait`](Self::wait) for this timeline, under way or to come: it answers `false` though the time is
    /// not over. The timeline itself goes on. For closing a device.
    fn interrupt(&self);

    /// Takes what there is to say of the commands of completed lists, by rising value; those of one list in no
    /// particular order. Each report is returned once. They are kept until they are taken.
    fn take_reports(&self) -> Vec<Report>;

    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// A contiguous piece of memory. Freed when the last `Arc` is dropped; lists hold
/// one while they run.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Unique in the process, never reused.
    fn id(&self) -> u64;

    /// Size in bytes.
    fn bytes(&self) -> u64;

    /// What it is for.
    fn kind(&self) -> MemoryKind;

    /// For the backend to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// A compiled kernel.
pub trait Pipeline: Send + Sync + fmt::Debug {
    /// The kernel's declaration.
    fn source(&self) -> &KernelSource;

    /// Whether the device can run a dispatch of this extent, with these parameters, on operands of so many bytes:
    /// whether it has as many workgroups, and whether the operands are as long as the kernel's types. Asked before
    /// anything is recorded, since a refused list is everybody's who recorded into it.
    ///
    /// # Errors
    /// What it lacks.
    fn check(&self, extent: [u32; 3], params: &[u8], operand_bytes: &[u64]) -> Result<(), &'static str>;

    /// How much memory it takes, in bytes, of the host and the driver together, as far as the backend can say. What a
    /// cache of pipelines counts. [`KernelSource::bytes`] is an estimate for the host's part.
    fn bytes(&self) -> u64;

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
    /// Names the driver, of all that a process may load: devices of one driver name the same. Empty where there is
    /// none, as for the processor. A driver has been loaded, with what it registers for the exit of the process, by the
    /// time that a device of it is open.
    pub driver: String,
    /// Lists that run at once at most.
    pub parallelism: u32,
    /// Which [`Command::Timestamp`] is answered with a time. Lists may hold others all the
    /// same; nothing is reported of them.
    pub timestamps: Timestamps,
    /// How the host sees memory of [`MemoryKind::Device`].
    pub host_access: HostAccess,
    /// Whether new memory holds zeros. Elsewhere the first list that uses it fills it.
    pub zeroed: bool,
    /// Whether the waits of a submission cost so much, or endanger it, that the caller should rather have waited on the
    /// host for what it would name. On Apple's GPUs a wait between queues takes longer than a round by the host, and
    /// counts towards the time after which the system stops a list.
    pub waits_are_dear: bool,
    /// What it can do.
    pub limits: Limits,
    /// What kernels' forms for GPUs may use.
    pub support: KernelSupport,
    /// Further facts for people, as name and value.
    pub details: Vec<(&'static str, String)>,
}

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// What kernels use.
    Device,
    /// What the host reads and writes, and commands copy from and to. Kernels are not run on it.
    Host,
}

/// How the host sees the bytes of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAccess {
    /// Not at all: commands copy them from and to memory of [`MemoryKind::Host`].
    None,
    /// Over a bus, without a cache: writing is fast, reading more than a little is not.
    Uncached,
    /// As its own memory.
    Cached,
}

/// What kernels' forms for GPUs may use on a device. A kernel that uses more is refused when its pipeline is made.
/// Where kernels run in their host form, which needs nothing, there is [none](Self::NONE) of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSupport {
    /// What it has of what not every device has.
    pub features: Features,
    /// How many invocations a subgroup has; 0 where there are no subgroups. A dispatch may have smaller ones: a kernel
    /// asks (`subgroup_size`).
    pub subgroup_size: u32,
    /// How many bytes of memory a workgroup has.
    pub workgroup_bytes: u32,
}

impl KernelSupport {
    /// Nothing.
    pub const NONE: Self = Self { features: Features::NONE, subgroup_size: 0, workgroup_bytes: 0 };
}

/// Where a device takes the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// Nowhere.
    None,
    /// Where a list begins and where it ends: of a timestamp that has nothing but barriers and timestamps before it, or
    /// nothing else behind it. The first says when the device turned to the list, which may be before earlier lists
    /// have ended; the second when all of the list's commands had ended.
    ByList,
    /// At any command of a list.
    ByCommand,
}

impl Timestamps {
    /// Whether the device answers the timestamp that is this command of a list.
    pub fn takes(self, list: &List, command: usize) -> bool {
        let is_border = |commands: &[Command]| {
            commands.iter().all(|command| matches!(command, Command::Barrier | Command::Timestamp))
        };
        match self {
            Self::None => false,
            Self::ByList => is_border(&list.commands[..command]) || is_border(&list.commands[command..]),
            Self::ByCommand => true,
        }
    }
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
    /// The most driver allocations that may exist at once: memories, and the device's own ([`Device::overhead`]).
    pub max_allocations: u64,
    /// How much memory the device has, in bytes.
    pub memory_bytes: u64,
    /// How many lists of one queue may be submitted and not have completed; at least 1. A device need not refuse the
    /// one that is too many: some hang. (Metal has 64 uncommitted command buffers a queue.)
    pub max_lists_in_flight: u64,
}
