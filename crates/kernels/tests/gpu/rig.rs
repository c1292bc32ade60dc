//! One kernel on a device, between bytes that it must not touch.

use bytemuck::Pod;
use std::collections::HashMap;
use std::sync::Arc;
use thalweg_doubles::testing::{run, run_in_place};
use thalweg_hal::{
    Access, Binding, Command, Device, Error, IndexRange, KernelSource, List, Memory, MemoryKind, Pipeline, Queue,
    Reported, Submission,
};

/// Bytes before and behind each binding.
const FENCE: usize = 256;
/// What they hold: as f32 and as f16 it is NaN, so that a sum over the end shows.
const FENCE_BYTE: u8 = 0xff;

/// A device and what it has compiled.
pub(super) struct Rig {
    device: Arc<dyn Device>,
    queue: Box<dyn Queue>,
    value: u64,
    pipelines: HashMap<String, Arc<dyn Pipeline>>,
}

/// The last binding of a kernel.
pub(super) enum Last<'a, T> {
    /// Written; this many elements.
    Out(usize),
    /// Changed.
    Changing(&'a [T]),
}

impl Rig {
    /// One for each GPU that there is: Metal's, and Vulkan's.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let vulkan = thalweg_vulkan::testing::device().map(|device| -> Arc<dyn Device> { device });
        thalweg_metal::testing::device().into_iter().chain(vulkan).map(|device| {
            let queue = device.create_queue().unwrap();
            Self { device, queue, value: 0, pipelines: HashMap::new() }
        })
    }

    /// What the kernel leaves in its last binding.
    pub(super) fn run<P: Pod, T: Pod>(
        &mut self,
        source: &KernelSource,
        params: &P,
        inputs: &[&[u8]],
        last: &Last<'_, T>,
        items: u32,
    ) -> Result<Vec<T>, Error> {
        let name = source.name.clone().into_owned();
        if !self.pipelines.contains_key(&name) {
            self.pipelines.insert(name.clone(), self.device.create_pipeline(source)?);
        }
        let mut list = List::default();
        list.pipelines.push(Arc::clone(&self.pipelines[&name]));
        list.params.extend_from_slice(bytemuck::bytes_of(params));
        for bytes in inputs {
            self.bind(&mut list, Access::Read, bytes);
        }
        let out = match last {
            Last::Out(elements) => vec![0xff; elements * size_of::<T>()],
            Last::Changing(target) => bytemuck::cast_slice(target).to_vec(),
        };
        let access = if matches!(last, Last::Out(_)) { Access::Write } else { Access::ReadWrite };
        self.bind(&mut list, access, &out);
        let operands = list.bindings.clone();
        let bindings = IndexRange { start: 0, len: operands.len() as u32 };
        let params = IndexRange { start: 0, len: size_of::<P>() as u32 };
        // Behind each memory is one that the host sees.
        let pairs = (0..list.memories.len() as u32).step_by(2);
        pairs.clone().for_each(|memory| copy(&mut list, memory + 1, memory));
        list.commands.push(Command::Barrier);
        list.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [items, 1, 1] });
        list.commands.push(Command::Barrier);
        pairs.for_each(|memory| copy(&mut list, memory, memory + 1));
        list.check(&self.device.info().limits)?;

        let list = Arc::new(list);
        self.value += 1;
        // SAFETY: the memories are the list's own, and barriers stand between its copies and its dispatch; nothing to
        // wait for.
        unsafe { self.queue.submit(Submission { list: &list, waits: &[], value: self.value })? };
        assert!(self.queue.timeline().wait(self.value, None)?);
        for report in self.queue.timeline().take_reports() {
            if let Reported::Failed(error) = report.what {
                return Err(error);
            }
        }
        let mut result = Vec::new();
        for (binding, pair) in operands.iter().zip(list.memories.chunks_exact(2)) {
            let mut bytes = vec![0; pair[1].bytes() as usize];
            // SAFETY: the list has run, and nothing writes any more.
            unsafe { self.device.read(&pair[1], 0, &mut bytes)? };
            let end = FENCE + binding.bytes as usize;
            let fence = bytes[..FENCE].iter().chain(&bytes[end..]);
            assert!(fence.copied().all(|byte| byte == FENCE_BYTE), "{name} wrote outside of a binding");
            result = bytes[FENCE..end].to_vec();
        }
        Ok(result.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
    }

    fn bind(&self, list: &mut List, access: Access, bytes: &[u8]) {
        let fenced = [&[FENCE_BYTE; FENCE], bytes, &[FENCE_BYTE; FENCE]].concat();
        let allocate = |kind| -> Arc<dyn Memory> { self.device.allocate(kind, fenced.len() as u64).unwrap() };
        let pair = [MemoryKind::Device, MemoryKind::Host].map(allocate);
        // SAFETY: nothing else has seen the memory.
        unsafe { self.device.write(&pair[1], 0, &fenced).unwrap() };
        let (at, offset, bytes) = (list.memories.len() as u32, FENCE as u64, bytes.len() as u64);
        list.bindings.push(Binding { memory: at, access, offset, bytes });
        list.memories.extend(pair);
    }

    /// What the kernel leaves on the device and on the host, where other tests hold it to the f64 reference. Both fail,
    /// or neither.
    #[track_caller]
    pub(super) fn both<P: Pod, T: Pod>(
        &mut self,
        source: &KernelSource,
        params: &P,
        inputs: &[&[u8]],
        last: &Last<'_, T>,
        items: u32,
    ) -> Option<[Vec<T>; 2]> {
        let device = self.run(source, params, inputs, last, items);
        let host = match last {
            Last::Out(elements) => run(source, params, inputs, *elements, items, std::slice::from_ref(&(0..items))),
            Last::Changing(target) => run_in_place(source, params, inputs, target, std::slice::from_ref(&(0..items))),
        };
        match (device, host) {
            (Ok(device), Ok(host)) => Some([device, host]),
            (Err(Error::Kernel { .. }), Err(Error::Kernel { .. })) => None,
            (device, host) => panic!(
                "{}: the device says {:?}, the host {:?}",
                source.name,
                device.map(|values| values.len()),
                host.map(|values| values.len())
            ),
        }
    }
}

/// Has all of one memory copied to another.
fn copy(list: &mut List, from: u32, to: u32) {
    let (start, bytes) = (list.bindings.len() as u32, list.memories[from as usize].bytes());
    let binding = |memory, access| Binding { memory, access, offset: 0, bytes };
    list.bindings.extend([binding(from, Access::Read), binding(to, Access::Write)]);
    list.commands.push(Command::Copy { bindings: IndexRange { start, len: 2 } });
}
