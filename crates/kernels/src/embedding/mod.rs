//! Rows of a table by their numbers.

pub mod reference;

use crate::gpu::{Gpu, one_each, texts};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::params::params;
use crate::simd::Simd;
use bytemuck::Pod;
use half::f16;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, KernelFailure};

params! {
    /// Parameters of [`EMBEDDING`].
    pub struct Params {
        /// Rows of the whole table.
        pub total: u32,
        /// The first of them that is in the binding.
        pub first: u32,
        /// How many are.
        pub rows: u32,
        /// Length of a row, at least 1.
        pub width: u32,
    }
}

params! {
    /// Parameters of [`EMBED_SUM`].
    pub struct SumParams {
        /// Rows of the table of words.
        pub words: u32,
        /// Rows of the table of positions.
        pub positions: u32,
        /// Rows of the table of types.
        pub types: u32,
        /// Length of a row of each table, at least 1.
        pub width: u32,
    }
}

kernels! {
    /// `out[i] = table[ids[i]]`, f32, of a part of a table; 0 for the ids of other parts, so that the sum over all parts
    /// is the look-up. An id outside of the whole table fails the kernel.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | rows `first..first + rows` of the table `[total, width]`, f32 |
    /// | 1 | read | ids `[n]`, u32 |
    /// | 2 | write | out `[n, width]`, f32 |
    ///
    /// Extent `[n, 1, 1]`: an item is a row of the output.
    EMBEDDING = "embedding", each(F32: Embedding<f32>, F16: Embedding<f16>);

    /// `out[i] = (words[ids[i]] + types[type_ids[i]]) + positions[position_ids[i]]`, f32: what a BERT encoder starts
    /// from, summed in its order. An id outside of its table fails the kernel.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | words `[words, width]`, f32 |
    /// | 1 | read | positions `[positions, width]`, f32 |
    /// | 2 | read | types `[types, width]`, f32 |
    /// | 3 | read | word ids `[n]`, u32 |
    /// | 4 | read | position ids `[n]`, u32 |
    /// | 5 | read | type ids `[n]`, u32 |
    /// | 6 | write | out `[n, width]`, f32 |
    ///
    /// Parameters: [`SumParams`]. Extent `[n, 1, 1]`: an item is a row of the output.
    EMBED_SUM = "embed_sum", each(F32: EmbedSum<f32>, F16: EmbedSum<f16>);
}

/// A table, or a part of one, and the ids to look up in it.
struct Lookup<'a, T> {
    what: &'static str,
    table: &'a [T],
    ids: &'a [u32],
    total: usize,
    first: usize,
    width: usize,
}

impl<'a, T: Stored> Lookup<'a, T> {
    /// Of a whole table. Fails if the lengths contradict the parameters.
    fn new(
        what: &'static str,
        call: &HostCall<'a>,
        [table, ids]: [usize; 2],
        rows: u32,
        width: usize,
    ) -> Outcome<Self> {
        let (table, ids) = (call.inputs.get::<T>(table)?, call.inputs.get::<u32>(ids)?);
        let total = rows as usize;
        expect_len(&format!("the table of {what}s"), table.len(), &[total, width])?;
        expect_len(&format!("the {what} ids"), ids.len(), &[call.extent[0] as usize])?;
        Ok(Self { what, table, ids, total, first: 0, width })
    }

    /// The row of the table for one item; nothing, if another part has it.
    fn row(&self, item: usize) -> Outcome<Option<&'a [T]>> {
        let id = self.ids[item] as usize;
        if id >= self.total {
            let Self { what, total, .. } = self;
            let message = format!("{what} id {id} at position {item} is outside of a table of {total} rows");
            return Err(KernelFailure::new(message));
        }
        let row = id.checked_sub(self.first).map(|row| row * self.width);
        Ok(row.and_then(|start| self.table.get(start..start + self.width)))
    }
}

/// An element as it is stored. A look-up widens the rows that it takes, not the table.
trait Stored: Pod {
    fn wide(self) -> f32;
    fn rounded(value: f32) -> Self;
}

impl Stored for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
    #[inline(always)]
    fn rounded(value: f32) -> Self {
        value
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
}

struct Embedding<T>(PhantomData<T>);

impl<T: Stored> Kernel for Embedding<T> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    type Params = Params;
    // SAFETY: the module goes on only if the lengths are rows * width, n and n * width, and only in rows of the output
    // that there are; it uses elements 0 to width - 1 of that row, and of the table's row only if it is less than rows.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "../wgsl/by_rows.wgsl", "embedding.wgsl"],
            one_each,
            &[
                "the width is 0, must be at least 1",
                "the lengths of the operands contradict the parameters",
                "an id is outside of the table",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(_: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let (total, first) = (params.total as usize, params.first as usize);
        let lookup = Lookup::<T> { total, first, ..Lookup::new("row", call, [0, 1], params.rows, width)? };
        let items = call.items.clone();
        let out = call.outputs.get::<T>(0)?;
        expect_len("out", out.len(), &[items.len(), width])?;
        for (item, out) in items.zip(out.chunks_exact_mut(width)) {
            match lookup.row(item as usize)? {
                Some(row) => out.copy_from_slice(row),
                None => out.fill(T::zeroed()),
            }
        }
        Ok(())
    }
}

struct EmbedSum<T>(PhantomData<T>);

impl<T: Stored> Kernel for EmbedSum<T> {
    const BINDINGS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    type Params = SumParams;
    // SAFETY: the module goes on only if each table's length is its rows * width, if there are as many ids of each
    // kind as rows of the output, only in rows that there are, and only if each of its own three ids is less than
    // its table's rows; it uses elements 0 to width - 1 of the four rows.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "../wgsl/by_rows.wgsl", "embed_sum.wgsl"],
            one_each,
            &[
                "the width is 0, must be at least 1",
                "the lengths of the operands contradict the parameters",
                "a word id is outside of the table",
                "a position id is outside of the table",
                "a type id is outside of the table",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(_: S, params: SumParams, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let words = Lookup::<T>::new("word", call, [0, 3], params.words, width)?;
        let positions = Lookup::<T>::new("position", call, [1, 4], params.positions, width)?;
        let types = Lookup::<T>::new("type", call, [2, 5], params.types, width)?;
        let items = call.items.clone();
        let out = call.outputs.get::<T>(0)?;
        expect_len("out", out.len(), &[items.len(), width])?;
        for (item, out) in items.zip(out.chunks_exact_mut(width)) {
            let item = item as usize;
            let (Some(word), Some(position), Some(r#type)) = (words.row(item)?, positions.row(item)?, types.row(item)?)
            else {
                unreachable!("the tables are whole");
            };
            for (((out, word), position), r#type) in out.iter_mut().zip(word).zip(position).zip(r#type) {
                *out = T::rounded(word.wide() + r#type.wide() + position.wide());
            }
        }
        Ok(())
    }
}
