//! Rows of a table by their numbers.

pub mod reference;

use crate::gpu::{Gpu, one_each, texts};
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::params::params;
use crate::simd::Simd;
use thalweg_hal::{Access, HostCall, KernelFailure};

params! {
    /// Parameters of [`EMBEDDING`].
    pub struct Params {
        /// Rows of the table.
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
    /// `out[i] = table[ids[i]]`, f32. An id outside of the table fails the kernel.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | table `[rows, width]`, f32 |
    /// | 1 | read | ids `[n]`, u32 |
    /// | 2 | write | out `[n, width]`, f32 |
    ///
    /// Extent `[n, 1, 1]`: an item is a row of the output.
    EMBEDDING = "embedding", floats(Embedding);

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
    EMBED_SUM = "embed_sum", floats(EmbedSum);
}

/// A table and the ids to look up in it.
struct Lookup<'a> {
    what: &'static str,
    table: &'a [f32],
    ids: &'a [u32],
    rows: usize,
    width: usize,
}

impl<'a> Lookup<'a> {
    /// Fails if the lengths contradict the parameters.
    fn new(
        what: &'static str,
        call: &HostCall<'a>,
        table: usize,
        ids: usize,
        rows: u32,
        width: usize,
    ) -> Outcome<Self> {
        let (table, ids) = (call.inputs.get::<f32>(table)?, call.inputs.get::<u32>(ids)?);
        let rows = rows as usize;
        expect_len(&format!("the table of {what}s"), table.len(), &[rows, width])?;
        expect_len(&format!("the {what} ids"), ids.len(), &[call.extent[0] as usize])?;
        Ok(Self { what, table, ids, rows, width })
    }

    /// The row of the table for one item.
    fn row(&self, item: usize) -> Outcome<&'a [f32]> {
        let id = self.ids[item] as usize;
        if id >= self.rows {
            let Self { what, rows, .. } = self;
            let message = format!("{what} id {id} at position {item} is outside of a table of {rows} rows");
            return Err(KernelFailure::new(message));
        }
        Ok(&self.table[id * self.width..][..self.width])
    }
}

struct Embedding;

impl Kernel for Embedding {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const FIXED: &'static [usize] = &[1];
    type Params = Params;
    // SAFETY: the module goes on only if the lengths are rows * width, n and n * width, only in rows of the output
    // that there are, and only if its own id is less than the table's rows; it uses elements 0 to width - 1 of both
    // rows.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "embedding.wgsl"],
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
        let lookup = Lookup::new("row", call, 0, 1, params.rows, width)?;
        let items = call.items.clone();
        let out = call.outputs.get::<f32>(0)?;
        expect_len("out", out.len(), &[items.len(), width])?;
        for (item, out) in items.zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(lookup.row(item as usize)?);
        }
        Ok(())
    }
}

struct EmbedSum;

impl Kernel for EmbedSum {
    const BINDINGS: &'static [Access] =
        &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    const FIXED: &'static [usize] = &[3, 4, 5];
    type Params = SumParams;
    // SAFETY: the module goes on only if each table's length is its rows * width, if there are as many ids of each
    // kind as rows of the output, only in rows that there are, and only if each of its own three ids is less than
    // its table's rows; it uses elements 0 to width - 1 of the four rows.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "embed_sum.wgsl"],
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
        let words = Lookup::new("word", call, 0, 3, params.words, width)?;
        let positions = Lookup::new("position", call, 1, 4, params.positions, width)?;
        let types = Lookup::new("type", call, 2, 5, params.types, width)?;
        let items = call.items.clone();
        let out = call.outputs.get::<f32>(0)?;
        expect_len("out", out.len(), &[items.len(), width])?;
        for (item, out) in items.zip(out.chunks_exact_mut(width)) {
            let item = item as usize;
            let (word, position, r#type) = (words.row(item)?, positions.row(item)?, types.row(item)?);
            for (((out, word), position), r#type) in out.iter_mut().zip(word).zip(position).zip(r#type) {
                *out = word + r#type + position;
            }
        }
        Ok(())
    }
}
