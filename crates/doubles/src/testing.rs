//! For tests, here and in the crates above: one kernel on host memory, random data, and comparison with a reference.

use bytemuck::Pod;
use std::ops::Range;
use std::sync::Arc;
use thalweg_hal::host::{HostMemory, HostPipeline, execute};
use thalweg_hal::{Access, Binding, Command, Error, IndexRange, KernelSource, Limits, List, Memory, MemoryKind};

/// Runs a kernel with one output, its last binding, and returns that output. It starts out as NaN, or -1, in every
/// element.
///
/// The dispatch passes [`List::check`] and goes through [`execute`], as on the CPU backend: once for each of `parts`,
/// which together are all items.
///
/// # Errors
/// If the list is malformed or the kernel fails.
pub fn run<P: Pod, T: Pod>(
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    output_elements: usize,
    items: u32,
    parts: &[Range<u32>],
) -> Result<Vec<T>, Error> {
    let output = vec![0xff; output_elements * size_of::<T>()];
    dispatch(source, params, inputs, (Access::Write, &output), items, parts)
}

/// As [`run`], for a kernel that changes its last binding in place: `target` is what it holds before.
///
/// # Errors
/// As for [`run`].
pub fn run_in_place<P: Pod, T: Pod>(
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    target: &[T],
    parts: &[Range<u32>],
) -> Result<Vec<T>, Error> {
    let target = (Access::ReadWrite, bytemuck::cast_slice(target));
    let items = parts.iter().map(|part| part.end).max().unwrap_or(0);
    dispatch(source, params, inputs, target, items, parts)
}

/// Runs a kernel and returns its last binding, which starts out as given.
fn dispatch<P: Pod, T: Pod>(
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    (access, output): (Access, &[u8]),
    items: u32,
    parts: &[Range<u32>],
) -> Result<Vec<T>, Error> {
    let mut list = List::default();
    list.pipelines.push(Arc::new(HostPipeline::new(source, "test")?));
    list.params.extend_from_slice(bytemuck::bytes_of(params));
    let mut bind = |access, bytes: &[u8]| -> Result<(), Error> {
        // Longer than the binding, as a block of an allocator is.
        let memory = HostMemory::new(MemoryKind::Device, bytes.len() as u64 + 256, "test")?;
        // SAFETY: nothing else has seen the memory yet.
        unsafe { memory.slice_mut(0, bytes.len() as u64)? }.copy_from_slice(bytes);
        list.bindings.push(Binding {
            memory: list.memories.len() as u32,
            access,
            offset: 0,
            bytes: bytes.len() as u64,
        });
        list.memories.push(Arc::new(memory));
        Ok(())
    };
    for bytes in inputs {
        bind(Access::Read, bytes)?;
    }
    bind(access, output)?;
    let bindings = IndexRange { start: 0, len: list.bindings.len() as u32 };
    let params = IndexRange { start: 0, len: size_of::<P>() as u32 };
    list.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [items, 1, 1] });
    let any = u64::MAX;
    let limits = Limits { max_binding_bytes: any, max_allocations: any, memory_bytes: any, max_lists_in_flight: any };
    list.check(&limits)?;
    for part in parts {
        // SAFETY: one thread, one part after the other.
        unsafe { execute(&list, &list.commands[0], part.clone(), "test")? };
    }
    let memory: &dyn Memory = &**list.memories.last().expect("the output was bound");
    let memory = thalweg_hal::host::memory(memory, "test")?;
    // SAFETY: nothing writes any more.
    let bytes = unsafe { memory.slice(0, output.len() as u64)? };
    Ok(bytemuck::cast_slice(bytes).to_vec())
}

/// Random numbers: SplitMix64 (Steele, Lea and Flood, 2014). The same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that `seed` decides.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in the range, which is not empty.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u32
    }

    /// A value in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `len` values in -1..1.
    pub fn units(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit()).collect()
    }

    /// All of `items` in random parts, in random order; some parts are of one item.
    pub fn parts(&mut self, items: u32) -> Vec<Range<u32>> {
        let mut parts = Vec::new();
        let mut start = 0;
        while start < items {
            let most = if self.below(3) == 0 { 1 } else { items - start };
            let end = start + 1 + self.below(most);
            parts.push(start..end);
            start = end;
        }
        for i in (1..parts.len()).rev() {
            parts.swap(i, self.below(i as u32 + 1) as usize);
        }
        parts
    }
}

/// Panics unless each value is within `tolerance * max(1, |expected|)` of what is expected; NaN is within NaN, and an
/// infinity within the same.
///
/// # Panics
/// At the first value that is not, with its index.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "number of values");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let distance = (f64::from(*actual) - expected).abs();
        let same = f64::from(*actual) == *expected || (actual.is_nan() && expected.is_nan());
        assert!(
            same || distance <= tolerance * expected.abs().max(1.0),
            "value {index} is {actual}, expected {expected}: {distance:e} apart, at most {tolerance:e} of it"
        );
    }
}

/// The bits of the values: equal only for equal bits.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
