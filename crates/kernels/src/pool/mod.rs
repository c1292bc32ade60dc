//! A sequence of rows to one row, and rows to unit length.

pub mod reference;

use crate::gpu::{Gpu, one_each, texts, word};
use crate::kernel::{Kernel, Outcome, expect_extent, expect_len, expect_positive, kernels};
use crate::packed::check_offsets;
use crate::params::params;
use crate::simd::{Simd, rows};
use thalweg_hal::{Access, Groups, HostCall, KernelFailure};

/// How the rows of a sequence become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Pooling {
    /// Their mean.
    Mean = 0,
    /// The first of them: the `[CLS]` token's.
    Cls = 1,
    /// The greatest of each column; NaN if there is one.
    Max = 2,
    /// The last of them.
    LastToken = 3,
    /// Their mean, where the first row of the sequence weighs 1, the second 2, and so on.
    WeightedMean = 4,
    /// Their sum, divided by the square root of how many they are.
    MeanSqrtLength = 5,
    /// Their sum.
    Sum = 6,
}

impl Pooling {
    /// Every way.
    pub const ALL: [Self; 7] =
        [Self::Mean, Self::Cls, Self::Max, Self::LastToken, Self::WeightedMean, Self::MeanSqrtLength, Self::Sum];
}

impl TryFrom<u32> for Pooling {
    type Error = KernelFailure;

    fn try_from(value: u32) -> Result<Self, KernelFailure> {
        let known = Self::ALL.into_iter().find(|pooling| *pooling as u32 == value);
        known.ok_or_else(|| KernelFailure::new(format!("pooling {value} is unknown, expected 0 to 6")))
    }
}

params! {
    /// Parameters of [`POOL`].
    pub struct PoolParams {
        /// A [`Pooling`], as `u32`.
        pub pooling: u32,
        /// Number of sequences, at least 1.
        pub sequences: u32,
        /// Rows of all sequences.
        pub rows: u32,
        /// Length of a row, at least 1.
        pub width: u32,
        /// How many rows at the beginning of each sequence are left out. They count for the weights of the others.
        pub skip: u32,
    }
}

params! {
    /// Parameters of [`NORMALIZE`].
    pub struct NormalizeParams {
        /// Length of a row, at least 1.
        pub width: u32,
    }
}

kernels! {
    /// `out[s] = pooling of x[offsets[s] + skip..offsets[s + 1]]`, f32. Sums run in the order of the rows.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[rows, width]`, f32: the sequences one after the other |
    /// | 1 | read | offsets `[sequences + 1]`, u32: rising from 0 to `rows`, no sequence of `skip` rows or fewer |
    /// | 2 | write | out `[sequences, width]`, f32 |
    ///
    /// Parameters: [`PoolParams`]. Extent `[sequences, 1, 1]`: an item is a sequence. Each call checks all offsets.
    POOL = "pool", floats(Pool);

    /// `out[r] = x[r] / max(|x[r]|, 1e-12)` with the Euclidean length, f32: unit length, or 0 for a row of zeros.
    ///
    /// | binding | access | contents |
    /// |---|---|---|
    /// | 0 | read | x `[n, width]` |
    /// | 1 | write | out `[n, width]` |
    ///
    /// Parameters: [`NormalizeParams`]. Extent `[n, 1, 1]`: an item is a row.
    NORMALIZE = "normalize", floats(Normalize);
}

/// A workgroup for 64 columns of a sequence.
fn pool_groups(extent: [u32; 3], params: &[u8]) -> [u32; 3] {
    let width = word(params, 3);
    Groups::folded(extent[0].saturating_mul(width.div_ceil(64).max(1)))
}

struct Pool;

impl Kernel for Pool {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Read, Access::Write];
    const FIXED: &'static [usize] = &[1];
    type Params = PoolParams;
    // SAFETY: the module goes on only if the lengths are rows * width, sequences + 1 and sequences * width, only in
    // sequences and columns that there are, and only if its own two offsets rise by more than what is skipped and are
    // at most the number of rows; the rows that it uses lie between them.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts!["../wgsl/failure.wgsl", "../wgsl/bits.wgsl", "pool.wgsl"],
            pool_groups,
            &[
                "the width is 0, must be at least 1",
                "the pooling is unknown, expected 0 to 6",
                "the lengths of the operands contradict the parameters",
                "the offsets do not rise from 0 to the number of rows",
                "a sequence has no row but those that are skipped",
            ],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(_: S, params: PoolParams, call: &mut HostCall<'_>) -> Outcome {
        let pooling = Pooling::try_from(params.pooling)?;
        let width = expect_positive("width", params.width)?;
        expect_extent("sequences", call, params.sequences.into())?;
        let (x, offsets) = (call.inputs.get::<f32>(0)?, call.inputs.get::<u32>(1)?);
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[params.rows as usize, width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        check_offsets(offsets, params.sequences, params.rows as usize)?;
        if let Some(at) = offsets.windows(2).position(|ends| ends[1] - ends[0] <= params.skip) {
            let (rows, skip) = (offsets[at + 1] - offsets[at], params.skip);
            return Err(KernelFailure::new(format!("sequence {at} has {rows} rows, and the first {skip} are skipped")));
        }

        let sequences = offsets[call.items.start as usize..].windows(2);
        for (sequence, out) in sequences.zip(out.chunks_exact_mut(width)) {
            let start = (sequence[0] + params.skip) as usize;
            let rows = &x[start * width..sequence[1] as usize * width];
            let count = (rows.len() / width) as f32;
            let (first, others) = rows.split_at(width);
            out.copy_from_slice(first);
            let add = |out: &mut [f32]| {
                for row in others.chunks_exact(width) {
                    out.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
            };
            match pooling {
                Pooling::Cls => {}
                Pooling::LastToken => out.copy_from_slice(&rows[rows.len() - width..]),
                Pooling::Mean => {
                    add(out);
                    out.iter_mut().for_each(|sum| *sum /= count);
                }
                Pooling::Sum => add(out),
                Pooling::MeanSqrtLength => {
                    add(out);
                    let root = count.sqrt();
                    out.iter_mut().for_each(|sum| *sum /= root);
                }
                Pooling::WeightedMean => {
                    let lightest = params.skip as f32 + 1.0;
                    out.iter_mut().for_each(|x| *x *= lightest);
                    let mut weight = lightest;
                    for row in others.chunks_exact(width) {
                        weight += 1.0;
                        out.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
                    }
                    let weights = count * (lightest + weight) / 2.0;
                    out.iter_mut().for_each(|sum| *sum /= weights);
                }
                Pooling::Max => {
                    for row in others.chunks_exact(width) {
                        for (greatest, x) in out.iter_mut().zip(row) {
                            // Keeps a NaN once it is there.
                            *greatest = if *x > *greatest || x.is_nan() { *x } else { *greatest };
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

struct Normalize;

impl Kernel for Normalize {
    const BINDINGS: &'static [Access] = &[Access::Read, Access::Write];
    type Params = NormalizeParams;
    // SAFETY: the module goes on only if the width is not 0 and divides both lengths, which are the same, and only
    // in rows that there are; it uses elements 0 to width - 1 of its row. Its variables of the workgroup have an
    // element for each index that an invocation's number gives, written before it is read.
    const GPU: Gpu = unsafe {
        Gpu::checked(
            texts![
                "../wgsl/failure.wgsl",
                "../wgsl/by_rows.wgsl",
                "../wgsl/bits.wgsl",
                "../wgsl/rows.wgsl",
                "normalize.wgsl"
            ],
            one_each,
            &["the width is 0, must be at least 1", "the lengths of the operands contradict the parameters"],
        )
    };

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: NormalizeParams, call: &mut HostCall<'_>) -> Outcome {
        let width = expect_positive("width", params.width)?;
        let x = call.inputs.get::<f32>(0)?;
        let out = call.outputs.get::<f32>(0)?;
        expect_len("x", x.len(), &[call.extent[0] as usize, width])?;
        expect_len("out", out.len(), &[call.items.len(), width])?;
        let x = &x[call.items.start as usize * width..];
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let length = rows::squares(simd, x, 0.0).sqrt();
            // Not `f32::max`, which would hide a NaN.
            let length = if length < 1e-12 { 1e-12 } else { length };
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x / length);
        }
        Ok(())
    }
}
