//! A dense layer: `out = activation(x * weight^T + bias)`.

mod activation;
mod gpu;
mod pack;
pub mod reference;

pub use activation::Activation;
pub use gpu::best;
pub use pack::{pack, packed_len};

use crate::gemm::{self, DEPTH, MAX_ROWS, PANEL};
use crate::gpu::Gpu;
use crate::kernel::{Kernel, Outcome, expect_len, expect_positive, kernels};
use crate::params::params;
use crate::scratch::Scratch;
use crate::simd::Simd;
use gpu::{FEW, MANY, SOME};
use thalweg_hal::{Access, HostCall};

params! {
    /// Parameters of [`LINEAR`].
    pub struct Params {
        /// Length of a row of x, at least 1.
        pub inputs: u32,
        /// Length of a row of the output, at least 1.
        pub outputs: u32,
        /// An [`Activation`], as `u32`.
        pub activation: u32,
    }
}

kernels! {
    /// `out[n, outputs] = activation(x[n, inputs] * weight^T + bias)`, all f32.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, inputs]` |
    /// | 1 | read | the weight as [`pack()`] writes it |
    /// | 2 | read | bias `[outputs]` |
    /// | 3 | write | out `[n, outputs]` |
    ///
    /// Extent `[n, 1, 1]`: an item is a row. Each element is the sum of its products in rising order of the input, in
    /// one accumulator, then the bias, then the activation.
    LINEAR = "linear", floats(Linear<MANY, false>);

    /// [`LINEAR`], arranged for few rows on a GPU. On the host the same.
    LINEAR_FEW = "linear_few", floats(Linear<FEW, false>);

    /// [`LINEAR_FEW`] for more rows than that, and fewer than [`LINEAR`] needs to fill a GPU. On the host the same.
    LINEAR_SOME = "linear_some", floats(Linear<SOME, false>);

    /// [`LINEAR`] for inputs and outputs that are multiples of 4, of which a GPU loads four elements at once. On the
    /// host the same.
    LINEAR_WIDE = "linear_wide", floats(Linear<MANY, true>);

    /// [`LINEAR_FEW`] for inputs and outputs that are multiples of 4. On the host the same.
    LINEAR_FEW_WIDE = "linear_few_wide", floats(Linear<FEW, true>);

    /// [`LINEAR_SOME`] for inputs and outputs that are multiples of 4. On the host the same.
    LINEAR_SOME_WIDE = "linear_some_wide", floats(Linear<SOME, true>);
}

/// The weight is streamed from memory once for as many rows as have their x in this many bytes: what fits beside a
/// panel in the second-level cache of all but the smallest cores.
const X_BYTES: usize = 512 << 10;

/// The layer in the form for so many rows on a GPU: [`FEW`], [`SOME`] or [`MANY`].
struct Linear<const ROWS: u32, const WIDE: bool>;

impl<const ROWS: u32, const WIDE: bool> Kernel for Linear<ROWS, WIDE> {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Read, Access::Write];
    type Params = Params;
    const GPU: Gpu = gpu::form(ROWS, WIDE);

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: Params, call: &mut HostCall<'_>) -> Outcome {
        let inputs = expect_positive("inputs", params.inputs)?;
        let outputs = expect_positive("outputs", params.outputs)?;
        let activation = Activation::try_from(params.activation)?;
        let (n, items) = (call.extent[0] as usize, call.items.start as usize..call.items.end as usize);
        let x = call.inputs.get::<f32>(0)?;
        let weight = call.inputs.get::<f32>(1)?;
        let bias = call.inputs.get::<f32>(2)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[n, inputs])?;
        expect_len("the packed weight", weight.len(), &[outputs.div_ceil(PANEL), inputs, PANEL])?;
        expect_len("bias", bias.len(), &[outputs])?;
        expect_len("out", out.len(), &[items.len(), outputs])?;

        let most = (X_BYTES / (4 * inputs)).max(S::TILE_ROWS);
        let x = &x[items.start * inputs..items.end * inputs];
        for (x, out) in x.chunks(most * inputs).zip(out.chunks_mut(most * outputs)) {
            rows(simd, x, inputs, weight, bias, activation, out);
        }
        Ok(())
    }
}

/// The layer for rows of an x that stays in the cache: for each panel of the weight, all rows.
#[inline(always)]
fn rows<S: Simd>(
    simd: S,
    x: &[f32],
    inputs: usize,
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) {
    let (rows, outputs) = (x.len() / inputs, bias.len());
    let tiles = rows.div_ceil(S::TILE_ROWS);
    let row_len = inputs.next_multiple_of(DEPTH);
    let mut scratch = Scratch::new(rows * row_len);
    let packed = scratch.as_mut();
    for tile in 0..tiles {
        let (first, height) = gemm::tile_at::<S>(rows, tile);
        let to = &mut packed[first * row_len..(first + height) * row_len];
        gemm::pack_rows(&x[first * inputs..], inputs, height, inputs, to);
    }
    let panel_len = inputs * PANEL;
    let mut panels = weight.chunks_exact(panel_len).peekable();
    let mut column = 0;
    while let Some(panel) = panels.next() {
        let columns = PANEL.min(outputs - column);
        let next = panels.peek().copied().unwrap_or(&[]);
        // Each tile asks for its share of the next panel, so that memory is busy all the time.
        let mut shares = next.chunks(panel_len.div_ceil(tiles).next_multiple_of(DEPTH));
        for tile in 0..tiles {
            let (first, height) = gemm::tile_at::<S>(rows, tile);
            let mut sums = [[0.0; PANEL]; MAX_ROWS];
            let sums = &mut sums[..height];
            for row in out[first * outputs..].chunks_exact(outputs).take(height) {
                // The output's lines come while the sums are made; a store that misses would wait.
                row[column..][..columns].chunks(DEPTH).for_each(|line| simd.prefetch(line.as_ptr()));
            }
            let x = &packed[first * row_len..(first + height) * row_len];
            gemm::multiply(simd, x, panel, sums, shares.next().unwrap_or(&[]));
            for (sums, out) in sums.iter().zip(out[first * outputs..].chunks_exact_mut(outputs)) {
                finish(simd, sums, &bias[column..][..columns], activation, &mut out[column..][..columns]);
            }
        }
        column += PANEL;
    }
}

/// Bias and activation for one row of a panel.
#[inline(always)]
fn finish<S: Simd>(simd: S, sums: &[f32; PANEL], bias: &[f32], activation: Activation, out: &mut [f32]) {
    for ((sums, bias), out) in sums.chunks(S::LANES).zip(bias.chunks(S::LANES)).zip(out.chunks_mut(S::LANES)) {
        if out.len() == S::LANES {
            let sum = simd.add(simd.load(sums), simd.load(bias));
            simd.store(activation.apply(simd, sum), out);
        } else {
            let sum = simd.add(simd.load(sums), simd.load_partial(bias, 0.0));
            simd.store_partial(activation.apply(simd, sum), out);
        }
    }
}
