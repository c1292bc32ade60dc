//! A kernel as a backend receives it, and the form in which a kernel runs on the host.

mod identity;

use crate::{Access, KernelFailure};
use bytemuck::Pod;
use std::borrow::Cow;
use std::ops::Range;

/// A kernel, independent of any backend, in one form or both: a backend takes the one that it runs, and refuses a kernel
/// that lacks it ([`Error::NoForm`](crate::Error::NoForm)).
///
/// A pipeline's key is the kernel and its data types, never a shape: shapes travel in the parameters. Two kernels are equal
/// if they are so in everything; see the implementation of `PartialEq`.
#[derive(Clone, Debug)]
pub struct KernelSource {
    /// Unique name, for errors and traces.
    pub name: Cow<'static, str>,
    /// What each binding is for, in order.
    pub bindings: Cow<'static, [Access]>,
    /// Size of the parameter struct in bytes, at most [`crate::MAX_PARAMETER_BYTES`].
    pub params_bytes: u32,
    /// The kernel for GPUs.
    pub wgsl: Option<Wgsl>,
    /// The kernel on the host.
    pub host: Option<HostFn>,
}

/// A kernel's form for GPUs, in the WebGPU Shading Language; naga turns it into what a driver takes.
///
/// # What the module declares
///
/// - Binding `i` of the kernel is `@group(0) @binding(i) var<storage, read>` where it is read, and
///   `var<storage, read_write>` where it is written. Its length is that of the operand (`arrayLength`).
/// - The parameter struct is a `var<immediate>` of exactly [`KernelSource::params_bytes`] bytes.
/// - A kernel that can fail declares one more binding, behind all others:
///   `@group(0) @binding(n) var<storage, read_write> failure: array<atomic<u32>, 2>`. Both words are 0 at the start. The
///   first invocation that fails stores 1 plus an index into [`failures`](Self::failures) in the first, by an exchange
///   that succeeds only for 0, and a number of its own, such as its item's, in the second.
///
/// Nothing else may be bound. The workgroup's size is the entry point's.
#[derive(Clone, Debug)]
pub struct Wgsl {
    /// The module.
    pub source: Cow<'static, str>,
    /// The name of the entry point, a compute shader.
    pub entry: Cow<'static, str>,
    /// Values of the module's `override` constants, by name: tile sizes and the like.
    pub overrides: Cow<'static, [(&'static str, f64)]>,
    /// How many workgroups a dispatch has.
    pub groups: Groups,
    /// What keeps an index inside its binding.
    pub bounds: Bounds,
    /// What the failures mean.
    pub failures: Cow<'static, [&'static str]>,
}

/// How many workgroups a dispatch has.
#[derive(Clone, Copy, Debug)]
pub enum Groups {
    /// As many as cover the extent, an invocation for each item, in each of the three axes.
    Invocations,
    /// What a function of the extent and the parameter struct's bytes says. It is trusted not to panic.
    By(fn(extent: [u32; 3], params: &[u8]) -> [u32; 3]),
}

/// What keeps an index inside its binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Every index is clamped to its binding. An index that is wrong reads or writes another element of the same operand,
    /// never another operand.
    Clamped,
    /// The kernel answers for its indices: before it uses one, it compares its parameters, and what it read, with the
    /// bindings' lengths. For kernels whose inner loops the clamping would slow down.
    Checked,
}

/// The most workgroups along an axis that every device takes.
pub const MAX_GROUPS: u32 = 65_535;

impl Groups {
    /// The workgroups of a dispatch, for an entry point with this workgroup size.
    pub fn of(&self, extent: [u32; 3], params: &[u8], size: [u32; 3]) -> [u32; 3] {
        match self {
            Self::Invocations => std::array::from_fn(|axis| extent[axis].div_ceil(size[axis].max(1))),
            Self::By(groups) => groups(extent, params),
        }
    }

    /// `groups` workgroups along one axis, folded into two where one axis has no room: the kernel numbers them
    /// `workgroup_id.x + workgroup_id.y * num_workgroups.x` and skips what is past the end.
    pub fn folded(groups: u32) -> [u32; 3] {
        let rows = groups.div_ceil(MAX_GROUPS).max(1);
        [groups.div_ceil(rows), rows, 1]
    }
}

/// A kernel's host form: computes the items of [`HostCall::items`] and nothing else.
///
/// It may run on several threads at once for one dispatch, each with its own items. One item's result must depend on
/// neither the split nor the number of items, to the last bit.
pub type HostFn = fn(&mut HostCall<'_>) -> Result<(), KernelFailure>;

/// One call of a kernel's host form.
#[derive(Debug)]
pub struct HostCall<'a> {
    /// The items of the dispatch's first axis to compute.
    pub items: Range<u32>,
    /// The whole extent of the dispatch.
    pub extent: [u32; 3],
    /// The bytes of the parameter struct.
    pub params: &'a [u8],
    /// The bindings that are read.
    pub inputs: HostInputs<'a>,
    /// The bindings that are written: of each, only the part that belongs to `items`.
    pub outputs: HostOutputs<'a>,
}

impl HostCall<'_> {
    /// The parameter struct.
    ///
    /// # Errors
    /// If the dispatch carries another number of bytes.
    pub fn params<P: Pod>(&self) -> Result<P, KernelFailure> {
        bytemuck::try_pod_read_unaligned(self.params).map_err(|_| {
            KernelFailure::new(format!("{} parameter bytes, expected {}", self.params.len(), size_of::<P>()))
        })
    }
}

/// The read bindings of a call. Indices count *all* bindings of the kernel.
#[derive(Clone, Debug)]
pub struct HostInputs<'a> {
    pub(crate) slots: smallvec::SmallVec<[Option<&'a [u8]>; 8]>,
}

impl<'a> HostInputs<'a> {
    /// The bytes of each binding, `None` where it is written: for a kernel that calls another.
    pub fn new(slots: impl IntoIterator<Item = Option<&'a [u8]>>) -> Self {
        Self { slots: slots.into_iter().collect() }
    }

    /// The elements of binding `index`, whole.
    ///
    /// # Errors
    /// If the binding is not read, or its bytes are not whole elements.
    pub fn get<T: Pod>(&self, index: usize) -> Result<&'a [T], KernelFailure> {
        let bytes = self.slots.get(index).copied().flatten().ok_or_else(|| not_bound(index, "read"))?;
        bytemuck::try_cast_slice(bytes).map_err(|_| not_elements::<T>(index, bytes.len()))
    }
}

/// The written bindings of a call. Indices count *all* bindings of the kernel.
#[derive(Debug)]
pub struct HostOutputs<'a> {
    pub(crate) slots: smallvec::SmallVec<[Option<&'a mut [u8]>; 8]>,
}

impl<'a> HostOutputs<'a> {
    /// The bytes of each binding, `None` where it is read: for a kernel that calls another.
    pub fn new(slots: impl IntoIterator<Item = Option<&'a mut [u8]>>) -> Self {
        Self { slots: slots.into_iter().collect() }
    }

    /// The part of binding `index` that belongs to the call's items.
    ///
    /// # Errors
    /// If the binding is not written, or its bytes are not whole elements.
    pub fn get<T: Pod>(&mut self, index: usize) -> Result<&mut [T], KernelFailure> {
        let bytes =
            self.slots.get_mut(index).and_then(Option::as_deref_mut).ok_or_else(|| not_bound(index, "written"))?;
        let len = bytes.len();
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| not_elements::<T>(index, len))
    }
}

fn not_bound(index: usize, how: &str) -> KernelFailure {
    KernelFailure::new(format!("binding {index} is not {how} by this kernel"))
}

fn not_elements<T>(index: usize, bytes: usize) -> KernelFailure {
    KernelFailure::new(format!("binding {index} has {bytes} bytes, not whole elements of {}", size_of::<T>()))
}
