//! A kernel as a backend receives it, and the form in which a kernel runs on the host.

use crate::{Access, KernelFailure};
use bytemuck::Pod;
use std::borrow::Cow;
use std::ops::Range;

/// A kernel, independent of any backend.
///
/// A pipeline's key is the kernel and its data types, never a shape: shapes travel in the parameters.
#[derive(Clone, Debug)]
pub struct KernelSource {
    /// Unique name, for errors and traces.
    pub name: Cow<'static, str>,
    /// What each binding is for, in order.
    pub bindings: Cow<'static, [Access]>,
    /// Size of the parameter struct in bytes, at most [`crate::MAX_PARAMETER_BYTES`].
    pub params_bytes: u32,
    /// The kernel on the host.
    pub host: HostFn,
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
#[derive(Debug)]
pub struct HostInputs<'a> {
    pub(crate) slots: smallvec::SmallVec<[Option<&'a [u8]>; 8]>,
}

impl<'a> HostInputs<'a> {
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

impl HostOutputs<'_> {
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
