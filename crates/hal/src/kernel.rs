//! A kernel as a backend receives it, and the form in which a kernel runs on the host.

mod identity;
mod numbered;
mod wgsl;

pub use numbered::StaticKernel;
pub use wgsl::{Bounds, Features, Groups, MAX_GROUPS, Wgsl, WgslModule};

use crate::{Access, KernelFailure, MAX_BINDINGS};
use bytemuck::Pod;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A kernel, independent of any backend, in one form or both: a backend takes the one that it runs, and refuses a
/// kernel that lacks it ([`Error::NoForm`](crate::Error::NoForm)).
///
/// A pipeline's key is the kernel and its data types, never a shape: shapes travel in the parameters. Two kernels are
/// equal if they are so in everything; see the implementation of `PartialEq`.
#[derive(Clone)]
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

/// A kernel's host form: computes the items of [`HostCall::items`] and nothing else.
///
/// It may run on several threads at once for one dispatch, each with its own items. One item's result must depend on
/// neither the split nor the number of items, to the last bit.
pub type HostFn = fn(&mut HostCall<'_>) -> Result<(), KernelFailure>;

/// One call of a kernel's host form.
pub struct HostCall<'a> {
    /// The items of the dispatch's first axis to compute.
    pub items: Range<u32>,
    /// The whole extent of the dispatch.
    pub extent: [u32; 3],
    /// The bytes of the parameter struct.
    pub params: &'a [u8],
    /// The bindings that are only read.
    pub inputs: HostInputs<'a>,
    /// The bindings that are written, also those that are read as well: of each, only the part that belongs to `items`.
    pub outputs: HostOutputs<'a>,
}

impl fmt::Debug for HostCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { items, extent, params, inputs, outputs } = self;
        write!(f, "HostCall({items:?} of {extent:?}, {} bytes of parameters, {inputs:?}, {outputs:?})", params.len())
    }
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

/// The bindings that a call reads, in the order of the kernel's bindings and counted by themselves: 0 is the first
/// input.
#[derive(Clone)]
pub struct HostInputs<'a>(pub(crate) SmallVec<[&'a [u8]; MAX_BINDINGS]>);

impl fmt::Debug for HostInputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostInputs({})", self.0.len())
    }
}

impl<'a> HostInputs<'a> {
    /// The bytes of each input: for a kernel that calls another.
    pub fn new(inputs: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(inputs.into_iter().collect())
    }

    /// The elements of input `index`, whole.
    ///
    /// # Errors
    /// If there is no such input, or its bytes are not whole elements.
    pub fn get<T: Pod>(&self, index: usize) -> Result<&'a [T], KernelFailure> {
        let bytes = self.0.get(index).ok_or_else(|| missing("input", index, self.0.len()))?;
        bytemuck::try_cast_slice(bytes).map_err(|_| not_elements::<T>("input", index, bytes.len()))
    }
}

/// The bindings that a call writes, in the order of the kernel's bindings and counted by themselves: 0 is the first
/// output.
pub struct HostOutputs<'a>(pub(crate) SmallVec<[&'a mut [u8]; MAX_BINDINGS]>);

impl fmt::Debug for HostOutputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostOutputs({})", self.0.len())
    }
}

impl<'a> HostOutputs<'a> {
    /// The bytes of each output: for a kernel that calls another.
    pub fn new(outputs: impl IntoIterator<Item = &'a mut [u8]>) -> Self {
        Self(outputs.into_iter().collect())
    }

    /// The part of output `index` that belongs to the call's items.
    ///
    /// # Errors
    /// If there is no such output, or its bytes are not whole elements.
    pub fn get<T: Pod>(&mut self, index: usize) -> Result<&mut [T], KernelFailure> {
        let count = self.0.len();
        let bytes = self.0.get_mut(index).ok_or_else(|| missing("output", index, count))?;
        let len = bytes.len();
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| not_elements::<T>("output", index, len))
    }
}

fn missing(what: &str, index: usize, count: usize) -> KernelFailure {
    KernelFailure::new(format!("there is no {what} {index}: the kernel has {count}, counted from 0"))
}

fn not_elements<T>(what: &str, index: usize, bytes: usize) -> KernelFailure {
    KernelFailure::new(format!("{what} {index} has {bytes} bytes, not whole elements of {}", size_of::<T>()))
}
