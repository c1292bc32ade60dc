//! One kernel on the simulator, between bytes that it must not touch.

use bytemuck::Pod;
use metal_sim::shader::{Function, Launch, Library, Options, Span};
use std::collections::HashMap;
use std::sync::Arc;
use thalweg_doubles::testing::{run, run_in_place};
use thalweg_hal::shader::{Msl, compile};
use thalweg_hal::{Error, KernelSource};

/// Bytes before and behind each binding.
const FENCE: usize = 256;
/// What they hold: as f32 and as f16 it is NaN, so that a sum over the end shows.
const FENCE_BYTE: u8 = 0xff;

/// What is compiled.
#[derive(Default)]
pub(super) struct Rig {
    compiled: HashMap<String, Arc<Compiled>>,
}

struct Compiled {
    function: Arc<Function>,
    msl: Msl,
    size: [u32; 3],
}

/// The last binding of a kernel.
pub(super) enum Last<'a, T> {
    /// Written; this many elements.
    Out(usize),
    /// Changed.
    Changing(&'a [T]),
}

/// Bytes in words of 16, for the alignment, and behind them a fence's.
fn words(bytes: &[u8]) -> Vec<u128> {
    let words = bytes.chunks(16).map(|chunk| {
        let mut word = [FENCE_BYTE; 16];
        word[..chunk.len()].copy_from_slice(chunk);
        u128::from_ne_bytes(word)
    });
    words.collect()
}

impl Rig {
    /// The one simulator, where the rig on devices has one for each.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::default())
    }

    fn compiled(&mut self, source: &KernelSource) -> Arc<Compiled> {
        let make = || {
            let (msl, size) = compile(source, "test", |shader| Ok((shader.msl()?, shader.workgroup_size()))).unwrap();
            let library = Library::compile(&msl.text, &Options::default()).unwrap();
            Arc::new(Compiled { function: library.function(&msl.entry).unwrap(), msl, size })
        };
        Arc::clone(self.compiled.entry(source.name.clone().into_owned()).or_insert_with(make))
    }

    /// What the kernel leaves in its last binding; none if it fails.
    pub(super) fn run<P: Pod, T: Pod>(
        &mut self,
        source: &KernelSource,
        params: &P,
        inputs: &[&[u8]],
        last: &Last<'_, T>,
        items: u32,
    ) -> Option<Vec<T>> {
        let Compiled { function, msl, size } = &*self.compiled(source);
        let out = match last {
            Last::Out(elements) => vec![0xff; elements * size_of::<T>()],
            Last::Changing(target) => bytemuck::cast_slice(target).to_vec(),
        };
        let fence = [FENCE_BYTE; FENCE];
        let mut operands: Vec<(Vec<u128>, usize)> = Vec::new();
        for bytes in inputs.iter().copied().chain([&*out]) {
            operands.push((words(&[&fence, bytes, &fence].concat()), bytes.len()));
        }
        let params = bytemuck::bytes_of(params);
        let mut groups = source.wgsl.as_ref().unwrap().module().groups.of([items, 1, 1], params, *size);
        if groups.contains(&0) {
            groups = [0; 3];
        }
        let mut params = words(params);
        let mut lengths: Vec<u32> = msl.lengths.iter().map(|binding| operands[*binding as usize].1 as u32).collect();
        let mut failure = [0u32; 2];
        let mut spans: Vec<Option<Span>> = operands
            .iter_mut()
            .map(|(words, bytes)| {
                let start: *mut u8 = words.as_mut_ptr().cast();
                Some(Span { start: start.wrapping_add(FENCE), bytes: *bytes })
            })
            .collect();
        let span = |start: *mut u8, bytes| Some(Span { start, bytes });
        spans.push(span(failure.as_mut_ptr().cast(), 8));
        spans.push(span(params.as_mut_ptr().cast(), size_of_val(&*params)));
        spans.push(span(lengths.as_mut_ptr().cast(), size_of_val(&*lengths)));
        let threadgroup: Vec<usize> =
            msl.workgroup_bytes.iter().map(|bytes| bytes.next_multiple_of(16) as usize).collect();
        let launch = Launch { buffers: &spans, threadgroup: &threadgroup, grid: groups, size: *size };
        // SAFETY: the spans are this function's, and the project's kernels check their indices.
        unsafe { function.run(&launch) };
        let mut result = Vec::new();
        for (words, len) in &operands {
            let bytes: &[u8] = bytemuck::cast_slice(words);
            let end = FENCE + len;
            let outside = bytes[..FENCE].iter().chain(&bytes[end..]);
            assert!(outside.copied().all(|byte| byte == FENCE_BYTE), "{} wrote outside of a binding", source.name);
            result = bytes[FENCE..end].to_vec();
        }
        let result = result.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
        (failure[0] == 0).then_some(result)
    }

    /// What the kernel leaves on the simulator and on the host, where other tests hold it to the f64 reference. Both
    /// fail, or neither.
    #[track_caller]
    pub(super) fn both<P: Pod, T: Pod>(
        &mut self,
        source: &KernelSource,
        params: &P,
        inputs: &[&[u8]],
        last: &Last<'_, T>,
        items: u32,
    ) -> Option<[Vec<T>; 2]> {
        let simulated = self.run(source, params, inputs, last, items);
        let host = match last {
            Last::Out(elements) => run(source, params, inputs, *elements, items, std::slice::from_ref(&(0..items))),
            Last::Changing(target) => run_in_place(source, params, inputs, target, std::slice::from_ref(&(0..items))),
        };
        match (simulated, host) {
            (Some(simulated), Ok(host)) => Some([simulated, host]),
            (None, Err(Error::Kernel { .. })) => None,
            (simulated, host) => panic!(
                "{}: the simulator has {:?}, the host {:?}",
                source.name,
                simulated.map(|values| values.len()),
                host.map(|values| values.len())
            ),
        }
    }
}
