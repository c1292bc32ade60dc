//! The same operations on memory that changes: the first operand is replaced by the result.
//!
//! The elements that change lie one after the other, anywhere in their binding; the rest of it keeps its values. An
//! operation takes a block of the old values aside and then does what its ordinary form does.

use super::binary::{BLOCK, Binary, Function, Number};
use super::unary::Unary;
use super::view::{MAX_RANK, Operand, Shape, View, elements};
use crate::gpu::{Gpu, texts, word};
use crate::kernel::{Kernel, Outcome, expect_len, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use std::marker::PhantomData;
use thalweg_hal::{Access, Groups, HostCall, KernelFailure};

params! {
    /// Parameters of the binary kernels in place.
    pub struct BinaryInPlaceParams {
        /// A [`Binary`], as `u32`.
        pub operation: u32,
        /// The first element of the target that changes.
        pub first: u32,
        /// The shape of what changes.
        pub shape: Shape,
        /// Where the second operand's elements lie.
        pub b: View,
    }

    /// Parameters of [`UNARY_IN_PLACE`].
    pub struct UnaryInPlaceParams {
        /// A [`Unary`], as `u32`.
        pub operation: u32,
        /// The first element of the target that changes.
        pub first: u32,
        /// How many do.
        pub elements: u32,
    }
}

/// A workgroup for 256 elements that change.
fn binary_groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    let elements = (2..2 + MAX_RANK).fold(1u32, |product, index| product.saturating_mul(word(params, index)));
    changing_groups(extent, elements)
}

fn unary_groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    changing_groups(extent, word(params, 2))
}

/// At least one workgroup, which checks the parameters.
fn changing_groups(extent: [u32; 3], elements: u32) -> [u32; 3] {
    Groups::folded(std::cmp::max(std::cmp::min(extent[0], elements).div_ceil(256), 1))
}

const BINARY_FAILURES: &[&str] = &[
    "the operation is unknown",
    "what is to change reaches outside of the target",
    "the second operand reaches outside of its binding",
    "integer division by 0",
];

struct BinaryInPlace<T>(PhantomData<T>);

impl<T: Number> Kernel for BinaryInPlace<T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::ReadWrite];
    type Params = BinaryInPlaceParams;
    const GPU: Gpu = Gpu::clamped(T::IN_PLACE, binary_groups, BINARY_FAILURES);

    #[inline(always)]
    fn run<S: Simd>(_: S, params: BinaryInPlaceParams, call: &mut HostCall<'_>) -> Outcome {
        let operation = Binary::try_from(params.operation)?;
        let b = Operand::new("the second operand", params.b, params.shape, call.inputs.get::<T>(0)?)?;
        let (mut start, target) = changing::<T>(call, params.first, elements(params.shape))?;
        let (mut a_buffer, mut b_buffer) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        for target in target.chunks_mut(BLOCK) {
            let a = &mut a_buffer[..target.len()];
            a.copy_from_slice(target);
            let b = b.block(start, &mut b_buffer[..target.len()]);
            operation.apply(a, b, target, start)?;
            start += target.len();
        }
        Ok(())
    }
}

kernels! {
    /// `target[first..] = target[first..] op b[view]`, in `shape`, all of one type.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | b |
    /// | 1 | read and write | the target; what changes is contiguous |
    ///
    /// Parameters: [`BinaryInPlaceParams`]. Extent `[elements, 1, 1]`: an item is an element of the target's binding,
    /// whether it changes or not.
    BINARY_IN_PLACE = "binary_in_place", numbers(BinaryInPlace);

    /// `target[first..first + elements] = op(target[first..first + elements])`, f32.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read and write | the target |
    ///
    /// Parameters: [`UnaryInPlaceParams`]. Extent `[elements, 1, 1]`: an item is an element of the target's binding,
    /// whether it changes or not.
    UNARY_IN_PLACE = "unary_in_place", floats(UnaryInPlace);
}

struct UnaryInPlace;

impl Kernel for UnaryInPlace {
    const BINDINGS: &'static [Access] = &[Access::ReadWrite];
    type Params = UnaryInPlaceParams;
    const GPU: Gpu = Gpu::clamped(
        texts![
            "../wgsl/failure.wgsl",
            "../wgsl/bits.wgsl",
            "../wgsl/math.wgsl",
            "../wgsl/circle.wgsl",
            "unary_apply.wgsl",
            "unary_in_place.wgsl"
        ],
        unary_groups,
        &["the operation is unknown", "what is to change reaches outside of the target"],
    );

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: UnaryInPlaceParams, call: &mut HostCall<'_>) -> Outcome {
        let operation = Unary::try_from(params.operation)?;
        let (_, target) = changing::<f32>(call, params.first, params.elements.into())?;
        let mut buffer = [0.0; BLOCK];
        for target in target.chunks_mut(BLOCK) {
            let from = &mut buffer[..target.len()];
            from.copy_from_slice(target);
            operation.map(simd, from, target);
        }
        Ok(())
    }
}

/// The elements of the call's part of its output that change, and how many of those that do come before them.
fn changing<'c, T: Pod>(call: &'c mut HostCall<'_>, first: u32, elements: u128) -> Outcome<(usize, &'c mut [T])> {
    let extent = call.extent[0];
    let end = u128::from(first).saturating_add(elements);
    if end > u128::from(extent) {
        let message = format!("elements {first} to {end} are to change, the target has {extent}");
        return Err(KernelFailure::new(message));
    }
    let (items, first, end) = (call.items.start as usize..call.items.end as usize, first as usize, end as usize);
    let target = call.outputs.get::<T>(0)?;
    expect_len("the part of the target", target.len(), &[items.len()])?;
    let inside = |at: usize| at.clamp(items.start, items.end);
    let (from, to) = (inside(first), inside(end));
    Ok((from.saturating_sub(first), &mut target[from - items.start..to - items.start]))
}
