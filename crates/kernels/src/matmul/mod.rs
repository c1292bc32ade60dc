//! Batched matrix products of strided f32 operands, which may repeat theirs along leading axes. For weights that are
//! used again and again, see [`crate::linear`].

pub mod reference;

use crate::gemm::{self, DEPTH, MAX_ROWS, PANEL};
use crate::gpu::{Gpu, texts, word};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, kernels};
use crate::params::params;
use crate::scratch::Scratch;
use crate::simd::Simd;
use thalweg_hal::{Access, Groups, HostCall, KernelFailure};

/// The most leading axes.
pub const LEADING: usize = 4;

params! {
    /// Parameters of [`MATMUL`].
    pub struct Params {
        /// The lengths of the leading axes, of which the products are the elements.
        pub batch: [u32; LEADING],
        /// Rows of a and of the output.
        pub m: u32,
        /// Columns of a, rows of b. May be 0: the products are then 0.
        pub k: u32,
        /// Columns of b and of the output, at least 1.
        pub n: u32,
        /// Where a's elements lie.
        pub a: Matrix,
        /// Where b's elements lie.
        pub b: Matrix,
    }
}

params! {
    /// Where the elements of a batch of matrices lie in a binding: element `[i0, .., i3, r, c]` is at `offset` plus the
    /// sum of `batch_strides[axis] * i[axis]`, of `row_stride * r` and of `column_stride * c`, in elements. Strides may
    /// be 0.
    pub struct Matrix {
        /// The first element.
        pub offset: u32,
        /// From one entry of a leading axis to the next.
        pub batch_strides: [u32; LEADING],
        /// From one row to the next.
        pub row_stride: u32,
        /// From one column to the next.
        pub column_stride: u32,
    }
}

impl Matrix {
    /// Fails if an element of a batch of this shape is outside of a binding of `len` elements.
    fn check(&self, what: &str, batch: [u32; LEADING], [rows, columns]: [u32; 2], len: usize) -> Outcome {
        let axes = batch.iter().chain([&rows, &columns]);
        if axes.clone().any(|axis| *axis == 0) {
            return Ok(());
        }
        let strides = self.batch_strides.iter().chain([&self.row_stride, &self.column_stride]);
        let reach: u128 = axes.zip(strides).map(|(n, s)| u128::from(n - 1) * u128::from(*s)).sum();
        let last = u128::from(self.offset) + reach;
        if last >= len as u128 {
            let message =
                format!("{what} {batch:?} of [{rows}, {columns}] reaches element {last}, the binding has {len}");
            return Err(KernelFailure::new(message));
        }
        Ok(())
    }

    /// The first element of matrix number `index` of a batch.
    fn first(&self, batch: [u32; LEADING], index: usize) -> usize {
        let (mut at, mut rest) = (self.offset as usize, index);
        for (length, stride) in batch.into_iter().zip(self.batch_strides).rev() {
            at += rest % length as usize * stride as usize;
            rest /= length as usize;
        }
        at
    }

    /// The elements of a matrix, whose first is at `first`, from a row and a column on.
    fn from<'a>(&self, data: &'a [f32], first: usize, row: usize, column: usize) -> &'a [f32] {
        &data[first + row * self.row_stride as usize + column * self.column_stride as usize..]
    }
}

kernels! {
    /// `out[batch.., m, n] = a[batch.., m, k] * b[batch.., k, n]`, all f32; the output is contiguous.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | a, as [`Params::a`] says |
    /// | 1 | read | b, as [`Params::b`] says |
    /// | 2 | write | out `[batch.., m, n]` |
    ///
    /// Extent `[products * m, 1, 1]`: an item is a row of the output.
    MATMUL = "matmul", floats(Matmul);
}

/// Rows packed at once.
const ROWS: usize = 256;
/// Products of one element summed at once; the sum so far waits in the output.
const PRODUCTS: usize = 512;

/// A workgroup for 32 rows and 32 columns of a product.
fn groups(_: [u32; 3], params: &[u8]) -> [u32; 3] {
    let [m, n] = [LEADING, LEADING + 2].map(|index| word(params, index));
    let products = (0..LEADING).fold(1u32, |products, axis| products.saturating_mul(word(params, axis)));
    Groups::folded(products.saturating_mul(m.div_ceil(32)).saturating_mul(n.div_ceil(32)))
}

struct Matmul;

impl Kernel for Matmul {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    type Params = Params;
    // SAFETY: the module goes on only if the output's length is the number of products * m * n, and if the last element
    // of either batch, by its offset and strides, is inside of its binding; it uses elements of matrices, rows and
    // columns that there are. Its stages have 16 * 33 and 16 * 32 elements, and indices below 16, 32 and 32; each is
    // written before it is read.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "matmul.wgsl"],
            groups,
            &[
                "the output's length contradicts the parameters, or m or n is 0",
                "a reaches outside of its binding",
                "b reaches outside of its binding",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, p: Params, call: &mut HostCall<'_>) -> Outcome {
        // Saturation cannot make two numbers equal that a u32 holds.
        let products = p.batch.iter().fold(1u128, |product, axis| product.saturating_mul(u128::from(*axis)));
        expect_extent("rows of the output", call, products.saturating_mul(u128::from(p.m)))?;
        let (a, b) = (call.inputs.get::<f32>(0)?, call.inputs.get::<f32>(1)?);
        let out = call.outputs.get::<f32>(0)?;
        p.a.check("a", p.batch, [p.m, p.k], a.len())?;
        p.b.check("b", p.batch, [p.k, p.n], b.len())?;
        let (m, n) = (p.m as usize, p.n as usize);
        let (mut row, end) = (call.items.start as usize, call.items.end as usize);
        expect_len("out", out.len(), &[end - row, n])?;

        out.fill(0.0);
        let mut rest = out;
        while row < end && n > 0 {
            let (index, first) = (row / m, row % m);
            let rows = (m - first).min(end - row).min(ROWS);
            let (out, left) = rest.split_at_mut(rows * n);
            product(simd, &p, [a, b], index, first, out);
            rest = left;
            row += rows;
        }
        Ok(())
    }
}

/// Adds the products of some rows of one matrix of the batch to `out`.
#[inline(always)]
fn product<S: Simd>(simd: S, p: &Params, [a, b]: [&[f32]; 2], index: usize, first: usize, out: &mut [f32]) {
    let (k, n) = (p.k as usize, p.n as usize);
    let (first_of_a, first_of_b) = (p.a.first(p.batch, index), p.b.first(p.batch, index));
    let rows = out.len() / n;
    let depth = PRODUCTS.min(k);
    let mut scratch = Scratch::new(gemm::packed_rows_len(rows, depth) + depth * PANEL);
    let (panel, packed) = scratch.as_mut().split_at_mut(depth * PANEL);
    for start in (0..k).step_by(PRODUCTS) {
        let depth = PRODUCTS.min(k - start);
        let row_len = depth.next_multiple_of(DEPTH);
        for tile in 0..rows.div_ceil(S::TILE_ROWS) {
            let (row, height) = gemm::tile_at::<S>(rows, tile);
            let from = p.a.from(a, first_of_a, first + row, start);
            pack_strided(from, &p.a, height, depth, &mut packed[row * row_len..(row + height) * row_len]);
        }
        for column in (0..n).step_by(PANEL) {
            let columns = PANEL.min(n - column);
            for (k, to) in panel.chunks_exact_mut(PANEL).take(depth).enumerate() {
                let from = p.b.from(b, first_of_b, start + k, column);
                copy_strided(from, p.b.column_stride as usize, &mut to[..columns]);
                to[columns..].fill(0.0);
            }
            for tile in 0..rows.div_ceil(S::TILE_ROWS) {
                let (row, height) = gemm::tile_at::<S>(rows, tile);
                let out = &mut out[row * n..(row + height) * n];
                let mut sums = [[0.0; PANEL]; MAX_ROWS];
                let sums = &mut sums[..height];
                for (sums, out) in sums.iter_mut().zip(out.chunks_exact(n)) {
                    sums[..columns].copy_from_slice(&out[column..][..columns]);
                }
                let x = &packed[row * row_len..(row + height) * row_len];
                gemm::multiply(simd, x, &panel[..depth * PANEL], sums, &[]);
                for (sums, out) in sums.iter().zip(out.chunks_exact_mut(n)) {
                    out[column..][..columns].copy_from_slice(&sums[..columns]);
                }
            }
        }
    }
}

/// [`gemm::pack_rows`] for rows with values that need not lie together.
#[inline(always)]
fn pack_strided(from: &[f32], matrix: &Matrix, rows: usize, k: usize, to: &mut [f32]) {
    let (row_stride, column_stride) = (matrix.row_stride as usize, matrix.column_stride as usize);
    if column_stride == 1 {
        return gemm::pack_rows(from, row_stride, rows, k, to);
    }
    for (block, to) in to.chunks_exact_mut(rows * DEPTH).enumerate() {
        let start = block * DEPTH;
        let len = DEPTH.min(k - start);
        for (row, to) in to.chunks_exact_mut(DEPTH).enumerate() {
            copy_strided(&from[row * row_stride + start * column_stride..], column_stride, &mut to[..len]);
        }
    }
}

#[inline(always)]
fn copy_strided(from: &[f32], stride: usize, to: &mut [f32]) {
    match stride {
        1 => to.copy_from_slice(&from[..to.len()]),
        stride => to.iter_mut().enumerate().for_each(|(i, to)| *to = from[i * stride]),
    }
}
