//! The logical device that everything else holds: its functions, its hardware queues, and whether it is lost.

use crate::adapter::Adapter;
use crate::cache::{DriverCache, PipelineCache};
use crate::discrete::Discrete;
use crate::options::Options;
use crate::pipeline::VulkanPipeline;
use crate::sync::lock;
use crate::timeline::Orphan;
use crate::{NAME, driver_error};
use ash::{khr, vk};
use smallvec::SmallVec;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use thalweg_hal::failures::FailureWords;
use thalweg_hal::{Error, KernelSupport, Result, unique_id};

/// More hardware queues than this are not asked for.
const MAX_QUEUES: u32 = 32;
/// What a driver may take to note that a list has run, once its value can be seen: far longer than any takes.
const NOTED: Duration = Duration::from_millis(100);

/// A logical device. Destroyed when the last object of it is gone.
pub struct Context {
    /// Names the device: objects of another are refused.
    pub id: u64,
    pub device: ash::Device,
    pub push: khr::push_descriptor::Device,
    /// The memory types that there are to pick from; see [`allocate_memory`](Self::allocate_memory).
    pub memory: vk::PhysicalDeviceMemoryProperties,
    pub limits: vk::PhysicalDeviceLimits,
    /// Where a list's kernels store why they failed.
    pub failure_words: FailureWords<VulkanPipeline>,
    /// The guise of a discrete GPU, if the device is in it.
    pub discrete: Option<Discrete>,
    /// Driver allocations that exist.
    pub allocations: AtomicU32,
    pub support: KernelSupport,
    pub waits_for_any_by_polling: bool,
    pub family: u32,
    /// What a timestamp's bits mean; `None` if the family has none.
    pub clock: Option<Clock>,
    pub queues: Vec<HardwareQueue>,
    next_queue: AtomicUsize,
    pub pipelines: PipelineCache<DriverCache>,
    /// Semaphores and lists that were dropped before the device was done with them.
    orphans: Mutex<Vec<Orphan>>,
    /// Semaphores of timelines that are gone.
    semaphores: Mutex<Vec<vk::Semaphore>>,
    lost: AtomicBool,
}

/// A queue of the driver's, which several of ours may share.
pub struct HardwareQueue {
    raw: vk::Queue,
    /// Held for one submit call. The driver does not take two at once.
    submitting: Mutex<()>,
}

/// How the device counts time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Which bits of a timestamp count.
    pub mask: u64,
    /// 1/2^32 nanoseconds between two counts.
    pub period: u64,
}

impl Context {
    /// Opens a device.
    ///
    /// # Errors
    /// What it lacks, or what the driver says.
    pub fn new(adapter: &Adapter, options: Options) -> Result<Self> {
        let unusable = |message: &str| Error::Driver {
            device: format!("{NAME} ({})", adapter.name()),
            call: "opening the device",
            message: message.to_owned(),
        };
        if let Some(missing) = adapter.missing() {
            return Err(unusable(missing));
        }
        let (family, properties) = adapter.queue_family().ok_or_else(|| unusable("it cannot compute"))?;
        let most = if options.discrete { 1 } else { MAX_QUEUES };
        let priorities = vec![1.0; properties.queue_count.min(most) as usize];
        let queue_info =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&priorities)];
        let mut extensions = vec![khr::push_descriptor::NAME.as_ptr()];
        if adapter.portability_subset {
            // A device that has it must be opened with it.
            extensions.push(khr::portability_subset::NAME.as_ptr());
        }
        let float16 = adapter.support.features.f16;
        let mut v11 = vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(float16)
            .uniform_and_storage_buffer16_bit_access(float16);
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true).shader_float16(float16);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queue_info)
            .enabled_extension_names(&extensions)
            .push_next(&mut v11)
            .push_next(&mut v12);
        let instance = &adapter.instance.raw;
        // SAFETY: the device has these queues, extensions and features; `Adapter::examine` looked.
        let device = unsafe { instance.create_device(adapter.raw, &info, None) };
        let device = device.map_err(|e| driver_error("vkCreateDevice", e))?;
        let queue = |index| HardwareQueue {
            // SAFETY: so many queues of the family were created with the device.
            raw: unsafe { device.get_device_queue(family, index) },
            submitting: Mutex::new(()),
        };
        let queues = (0..priorities.len() as u32).map(queue).collect();
        let bits = properties.timestamp_valid_bits;
        let clock = (bits > 0).then(|| Clock {
            mask: u64::MAX >> (64 - bits.min(64)),
            period: (f64::from(adapter.properties.limits.timestamp_period) * 2f64.powi(32)) as u64,
        });
        // SAFETY: `raw` is one of the instance's devices.
        let mut memory = unsafe { instance.get_physical_device_memory_properties(adapter.raw) };
        let mut limits = adapter.properties.limits;
        let discrete = options.discrete.then(|| Discrete::new(&mut memory, &mut limits));
        Ok(Self {
            id: unique_id(),
            push: khr::push_descriptor::Device::new(instance, &device),
            memory,
            failure_words: FailureWords::new(limits.min_storage_buffer_offset_alignment, VulkanPipeline::fails),
            limits,
            discrete,
            allocations: AtomicU32::new(0),
            support: adapter.support,
            waits_for_any_by_polling: adapter.driver.waits_for_any_by_polling,
            family,
            clock,
            queues,
            next_queue: AtomicUsize::new(0),
            pipelines: PipelineCache::of(&device, &adapter.properties),
            orphans: Mutex::default(),
            semaphores: Mutex::default(),
            lost: AtomicBool::new(false),
            device,
        })
    }

    /// The hardware queue for a new queue: one of its own as long as there are any, then in turn.
    pub fn assign_queue(&self) -> usize {
        // Relaxed: only the numbers matter.
        self.next_queue.fetch_add(1, Ordering::Relaxed) % self.queues.len()
    }

    /// Submits to a hardware queue.
    ///
    /// # Errors
    /// What the driver says; it has then taken nothing.
    ///
    /// # Safety
    /// - What `vkQueueSubmit` asks of the submission; the command buffers, semaphores and whatever these use live until
    ///   the device has run it.
    pub unsafe fn submit(&self, queue: usize, info: &vk::SubmitInfo<'_>) -> Result<()> {
        let queue = &self.queues[queue];
        let submitting = lock(&queue.submitting);
        // SAFETY: by the caller's promise; nobody else submits to the queue, by the lock.
        let result = unsafe { self.device.queue_submit(queue.raw, std::slice::from_ref(info), vk::Fence::null()) };
        drop(submitting);
        result.map_err(|error| self.error("vkQueueSubmit", error))
    }

    /// The types of [`memory`](Self::memory) in which something can lie that the driver allows in these types of its
    /// own.
    pub fn memory_types(&self, allowed: u32) -> u32 {
        self.discrete.as_ref().map_or(allowed, |discrete| discrete.views(allowed))
    }

    /// Allocates memory of a type of [`memory`](Self::memory).
    ///
    /// # Errors
    /// What the driver says.
    pub fn allocate_memory(&self, bytes: u64, index: u32) -> Result<vk::DeviceMemory, vk::Result> {
        let mut info = vk::MemoryAllocateInfo::default().allocation_size(bytes).memory_type_index(index);
        let most = match &self.discrete {
            // The driver may allow more.
            Some(discrete) => {
                info = info.memory_type_index(discrete.real(index));
                self.limits.max_memory_allocation_count
            }
            None => u32::MAX,
        };
        // Relaxed, here and below: only the number matters.
        self.allocations
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < most).then_some(count + 1))
            .map_err(|_| vk::Result::ERROR_TOO_MANY_OBJECTS)?;
        // SAFETY: the index is one of the driver's.
        unsafe { self.device.allocate_memory(&info, None) }.inspect_err(|_| {
            self.allocations.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Frees what [`allocate_memory`](Self::allocate_memory) gave; null is allowed.
    ///
    /// # Safety
    /// - Nothing uses the memory any more.
    pub unsafe fn free_memory(&self, memory: vk::DeviceMemory) {
        // SAFETY: by the caller's promise.
        unsafe { self.device.free_memory(memory, None) };
        self.allocations.fetch_sub(u32::from(memory != vk::DeviceMemory::null()), Ordering::Relaxed);
    }

    /// A driver's answer as an error of ours. Remembers that the device is lost.
    pub fn error(&self, call: &'static str, error: vk::Result) -> Error {
        if error == vk::Result::ERROR_DEVICE_LOST {
            // Relaxed: a flag on its own; a thread that misses it is told by the driver.
            self.lost.store(true, Ordering::Relaxed);
        }
        driver_error(call, error)
    }

    /// Whether the driver has said that the device is lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// # Errors
    /// That the device is lost.
    pub fn check(&self) -> Result<()> {
        if self.is_lost() { Err(Error::DeviceLost { device: NAME.to_owned() }) } else { Ok(()) }
    }

    /// A semaphore that has served.
    pub fn used_semaphore(&self) -> Option<vk::Semaphore> {
        lock(&self.semaphores).pop()
    }

    /// Keeps a semaphore for the next timeline or doorbell.
    pub fn keep_semaphore(&self, semaphore: vk::Semaphore) {
        lock(&self.semaphores).push(semaphore);
    }

    /// Keeps what the device may still use. It is let go by a later [`bury`](Self::bury).
    pub fn adopt(&self, orphan: Orphan) {
        lock(&self.orphans).push(orphan);
    }

    /// Lets go of orphans that the device is done with. Called where something new is made; a device of which nothing
    /// is ever made again after its work was dropped unfinished stays open.
    pub fn bury(&self) {
        let mut orphans = lock(&self.orphans);
        if orphans.is_empty() {
            return;
        }
        let (done, left) = std::mem::take(&mut *orphans).into_iter().partition(|orphan| orphan.is_done(self));
        *orphans = left;
        drop(orphans);
        // With no lock held: what the lists held is dropped here.
        let done: Vec<Orphan> = done;
        done.into_iter().for_each(Orphan::finish);
    }
}

impl Context {
    /// Whether the driver is done with everything that was submitted, or the device lost. Asked when the context is
    /// dropped: every list has run, and the driver is about to note it, if it has not. Should that take longer than it
    /// can, the answer is no: nobody waits for the device here.
    fn is_idle(&self) -> bool {
        let lost = |error| error == vk::Result::ERROR_DEVICE_LOST;
        let mut fences = SmallVec::<[vk::Fence; 4]>::new();
        let mut noted = Ok(());
        for queue in &self.queues[..self.queues.len().min(self.next_queue.load(Ordering::Relaxed))] {
            // SAFETY: a valid description.
            noted = unsafe { self.device.create_fence(&vk::FenceCreateInfo::default(), None) }.and_then(|fence| {
                fences.push(fence);
                // SAFETY: nobody else uses the queue any more. Nothing, which ends once everything before it has.
                unsafe { self.device.queue_submit(queue.raw, &[], fence) }
            });
            if noted.is_err() {
                break;
            }
        }
        if noted.is_ok() && !fences.is_empty() {
            // SAFETY: the fences are the device's, and each was submitted.
            noted = unsafe { self.device.wait_for_fences(&fences, true, NOTED.as_nanos() as u64) };
        }
        let is_idle = noted.is_ok() || noted.is_err_and(lost);
        if is_idle {
            // SAFETY: the fences are signalled, or nothing of the device runs any more.
            fences.into_iter().for_each(|fence| unsafe { self.device.destroy_fence(fence, None) });
        }
        is_idle
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Nobody compiles any more.
        self.pipelines.close();
        // Orphans hold the context, so there are none, and every list has run.
        if !self.is_idle() {
            return; // what it may still use is left alone
        }
        for semaphore in lock(&self.semaphores).drain(..) {
            // SAFETY: the device is idle, and nobody else has the semaphore.
            unsafe { self.device.destroy_semaphore(semaphore, None) };
        }
        // SAFETY: every object of the device holds this context, so all of them are destroyed, and no call is under
        // way.
        unsafe { self.device.destroy_device(None) };
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapters, best, testing};
    use std::sync::mpsc::channel;

    fn open() -> Option<Context> {
        testing::device()?; // says why there is none
        let adapters = adapters().unwrap();
        Some(Context::new(&adapters[best(&adapters).unwrap()], Options::default()).unwrap())
    }

    #[test]
    fn a_device_that_is_done_is_closed() {
        let Some(context) = open() else { return };
        let queue = context.assign_queue();
        // SAFETY: nothing.
        unsafe { context.submit(queue, &vk::SubmitInfo::default()).unwrap() };
        // Sooner or later, on a machine that is busy.
        assert!((0..600).any(|_| context.is_idle()));
    }

    /// If it should happen that a device goes of which not everything has run, it is left as it is, and nobody waits.
    // audit: C22
    #[test]
    fn a_device_that_is_not_done_is_left_alone_without_a_wait() {
        let Some(context) = open() else { return };
        let device = context.device.clone();
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        // SAFETY: the device has timeline semaphores.
        let semaphore =
            unsafe { device.create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut kind), None) };
        let semaphore = semaphore.unwrap();
        let (waits, values, stages) = ([semaphore], [1], [vk::PipelineStageFlags::ALL_COMMANDS]);
        let mut timelines = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
        let info = vk::SubmitInfo::default().wait_semaphores(&waits).wait_dst_stage_mask(&stages);
        let queue = context.assign_queue();
        // SAFETY: the semaphore lives until it has been waited for.
        unsafe { context.submit(queue, &info.push_next(&mut timelines)).unwrap() };
        let (dropped, is_dropped) = channel();
        std::thread::spawn(move || {
            drop(context);
            dropped.send(()).unwrap();
        });
        is_dropped.recv_timeout(Duration::from_secs(60)).expect("the drop waits for the device");
        // SAFETY: the value rises. Then the device has nothing left to do, and nobody else uses it; what was made of it
        // is gone but for a fence, which is not destroyed because nobody knows it any more.
        unsafe {
            device.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(1)).unwrap();
            device.device_wait_idle().unwrap();
            device.destroy_semaphore(semaphore, None);
        }
    }
}
