//! One head of one sequence: a few queries against all keys.
//!
//! Keys are taken in blocks of [`KEYS`], counted from the sequence's start. For each query a running maximum, a running
//! sum and a running result are kept, and rescaled when a block raises the maximum (Milakov and Gimelshein, "Online
//! normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022). So the scores in memory are those of
//! one tile of queries and one block of keys, whatever the sequence's length. A sequence of up to one block is plain
//! softmax.
//!
//! Both products run on [`crate::gemm`]'s tile: keys are packed as a panel of 32 keys per 32 columns of scores, values
//! as a panel of 32 columns of the result, and softmax leaves its numbers in the packed form that the second product
//! reads.

use crate::gemm::{self, DEPTH, MAX_ROWS, PANEL};
use crate::scratch::{round_up, take};
use crate::simd::{Simd, math};

/// Keys of a block. A multiple of [`PANEL`].
const KEYS: usize = 256;

/// One head of one sequence.
pub(super) struct Head<'a> {
    /// The sequence's rows of q, k and v.
    pub(super) sequence: &'a [f32],
    /// Width of each of the three.
    pub(super) width: usize,
    /// The head's first column.
    pub(super) column: usize,
    /// Number of the head's columns.
    pub(super) head_dim: usize,
    /// Factor of the scores.
    pub(super) scale: f32,
}

/// Working memory for one head and up to a number of rows.
pub(super) struct Workspace<'a> {
    /// Queries, scaled, in packed rows.
    queries: &'a mut [f32],
    /// A block of keys: `[KEYS / 32][head_dim][32]`.
    keys: &'a mut [f32],
    /// A block of values: `[ceil(head_dim / 32)][KEYS][32]`.
    values: &'a mut [f32],
    /// Scores of one tile: `[KEYS / 32][tile rows][32]`.
    scores: &'a mut [f32],
    /// The scores' powers in packed rows.
    powers: &'a mut [f32],
    /// The result so far, not yet divided by the sum: for each tile `[ceil(head_dim / 32)][tile rows][32]`.
    results: &'a mut [f32],
    /// The greatest score of each row so far.
    greatest: &'a mut [f32],
    /// The sum of each row's powers so far.
    sums: &'a mut [f32],
}

impl<'a> Workspace<'a> {
    fn lens(rows: usize, head_dim: usize) -> [usize; 8] {
        let columns = head_dim.next_multiple_of(PANEL);
        [
            gemm::packed_rows_len(rows, head_dim),
            KEYS * head_dim,
            KEYS * columns,
            KEYS * MAX_ROWS,
            KEYS * MAX_ROWS,
            rows * columns,
            rows,
            rows,
        ]
    }

    /// Floats that [`Workspace::new`] needs.
    pub(super) fn len(rows: usize, head_dim: usize) -> usize {
        Self::lens(rows, head_dim).into_iter().map(round_up).sum()
    }

    /// Lays the parts out in `memory`.
    pub(super) fn new(mut memory: &'a mut [f32], rows: usize, head_dim: usize) -> Self {
        let [queries, keys, values, scores, powers, results, greatest, sums] =
            Self::lens(rows, head_dim).map(|len| take(&mut memory, len));
        Self { queries, keys, values, scores, powers, results, greatest, sums }
    }
}

impl Head<'_> {
    /// The head's part of row `row` of the sequence: of q (0), k (1) or v (2).
    #[inline(always)]
    fn part(&self, row: usize, which: usize) -> &[f32] {
        &self.sequence[(row * 3 + which) * self.width + self.column..][..self.head_dim]
    }

    /// Computes the head's columns of `rows` rows from `first` on; `out` is `[rows, width]`.
    #[inline(always)]
    pub(super) fn attend<S: Simd>(
        &self,
        simd: S,
        first: usize,
        rows: usize,
        space: &mut Workspace<'_>,
        out: &mut [f32],
    ) {
        let length = self.sequence.len() / (3 * self.width);
        let tiles = rows.div_ceil(S::TILE_ROWS);
        let row_len = self.head_dim.next_multiple_of(DEPTH);
        let columns = self.head_dim.next_multiple_of(PANEL);
        for tile in 0..tiles {
            let (row, height) = gemm::tile_at::<S>(rows, tile);
            let from = &self.sequence[(first + row) * 3 * self.width + self.column..];
            let to = &mut space.queries[row * row_len..(row + height) * row_len];
            gemm::pack_rows(from, 3 * self.width, height, self.head_dim, to);
            // After the packing's last block, stale memory is scaled too; it is never multiplied into a score.
            to.iter_mut().for_each(|value| *value *= self.scale);
        }
        space.greatest.fill(f32::NEG_INFINITY);
        space.sums.fill(0.0);
        space.results.fill(0.0);

        for start in (0..length).step_by(KEYS) {
            let keys = KEYS.min(length - start);
            self.pack_block(start, keys, space);
            for tile in 0..tiles {
                let (row, height) = gemm::tile_at::<S>(rows, tile);
                let tile_rows = row..row + height;
                let queries = &space.queries[row * row_len..(row + height) * row_len];
                score(simd, queries, space.keys, self.head_dim, keys, height, space.scores);
                let results = &mut space.results[row * columns..(row + height) * columns];
                let greatest = &mut space.greatest[tile_rows.clone()];
                let sums = &mut space.sums[tile_rows];
                soften(simd, space.scores, keys, space.powers, results, greatest, sums);
                let powers = &space.powers[..gemm::packed_rows_len(height, keys)];
                let panels = space.values.chunks_exact(KEYS * PANEL);
                for (values, results) in panels.zip(results.chunks_exact_mut(height * PANEL)) {
                    gemm::multiply(simd, powers, &values[..keys * PANEL], results.as_chunks_mut().0, &[]);
                }
            }
        }

        for tile in 0..tiles {
            let (row, height) = gemm::tile_at::<S>(rows, tile);
            let results = space.results[row * columns..(row + height) * columns].chunks_exact(height * PANEL);
            for (panel, results) in results.enumerate() {
                let (start, end) = (panel * PANEL, self.head_dim.min((panel + 1) * PANEL));
                for (r, results) in results.chunks_exact(PANEL).enumerate() {
                    let out = &mut out[(row + r) * self.width + self.column..][start..end];
                    let sum = space.sums[row + r];
                    out.iter_mut().zip(results).for_each(|(out, result)| *out = result / sum);
                }
            }
        }
    }

    /// Packs a block of keys and values into panels.
    #[inline(always)]
    fn pack_block(&self, start: usize, keys: usize, space: &mut Workspace<'_>) {
        for (panel, to) in space.keys.chunks_exact_mut(self.head_dim * PANEL).take(keys.div_ceil(PANEL)).enumerate() {
            let first = panel * PANEL;
            let held = PANEL.min(keys - first);
            let to = to.as_chunks_mut::<PANEL>().0;
            for key in 0..held {
                let from = self.part(start + first + key, 1);
                for (to, value) in to.iter_mut().zip(from) {
                    to[key] = *value;
                }
            }
            for row in to {
                row[held..].fill(0.0);
            }
        }
        for (panel, to) in space.values.chunks_exact_mut(KEYS * PANEL).enumerate() {
            let (first, end) = (panel * PANEL, self.head_dim.min((panel + 1) * PANEL));
            for (key, to) in to.chunks_exact_mut(PANEL).take(keys).enumerate() {
                let from = &self.part(start + key, 2)[first..end];
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
        }
    }
}

/// The scores of a tile of queries with a block of keys. Columns without a key get -inf.
#[inline(always)]
fn score<S: Simd>(
    simd: S,
    queries: &[f32],
    keys: &[f32],
    head_dim: usize,
    count: usize,
    height: usize,
    scores: &mut [f32],
) {
    let panels = keys.chunks_exact(head_dim * PANEL).zip(scores.chunks_exact_mut(height * PANEL));
    for (panel, (keys, scores)) in panels.take(count.div_ceil(PANEL)).enumerate() {
        scores.fill(0.0);
        gemm::multiply(simd, queries, keys, scores.as_chunks_mut().0, &[]);
        let held = PANEL.min(count - panel * PANEL);
        if held < PANEL {
            for row in scores.chunks_exact_mut(PANEL) {
                row[held..].fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// One step of the running softmax for a tile: the scores' powers go to `powers` in packed rows, and what was summed so
/// far is rescaled to the new maximum. The tile's height is `greatest.len()`.
#[inline(always)]
fn soften<S: Simd>(
    simd: S,
    scores: &[f32],
    count: usize,
    powers: &mut [f32],
    results: &mut [f32],
    greatest: &mut [f32],
    sums: &mut [f32],
) {
    let height = greatest.len();
    let panels = count.div_ceil(PANEL);
    let scores = scores.as_chunks::<PANEL>().0;
    let powers = powers.as_chunks_mut::<DEPTH>().0;
    for row in 0..height {
        let mut acc = [simd.splat(f32::NEG_INFINITY); 2];
        for panel in 0..panels {
            let scores = &scores[panel * height + row];
            let mut column = 0;
            while column < PANEL {
                acc[0] = simd.max(acc[0], simd.load(&scores[column..]));
                acc[1] = simd.max(acc[1], simd.load(&scores[column + S::LANES..]));
                column += 2 * S::LANES;
            }
        }
        let before = greatest[row];
        let now = before.max(simd.greatest(simd.max(acc[0], acc[1])));
        // While every score is -inf there is nothing to subtract: -inf - -inf would be NaN, and stay.
        let base = simd.splat(if now == f32::NEG_INFINITY { 0.0 } else { now });
        let mut acc = simd.splat(0.0);
        for panel in 0..panels {
            let scores = &scores[panel * height + row];
            for half in 0..PANEL / DEPTH {
                let to = &mut powers[(PANEL / DEPTH * panel + half) * height + row];
                let mut column = 0;
                while column < DEPTH {
                    let score = simd.load(&scores[half * DEPTH + column..]);
                    let power = math::exp(simd, simd.sub(score, base));
                    acc = simd.add(acc, power);
                    simd.store(power, &mut to[column..]);
                    column += S::LANES;
                }
            }
        }
        greatest[row] = now;
        // Before the first finite score there is nothing to rescale: sums and results are 0.
        if now > before && before > f32::NEG_INFINITY {
            let mut lanes = [0.0; crate::simd::MAX_LANES];
            simd.store(math::exp(simd, simd.splat(before - now)), &mut lanes);
            let rescale = lanes[0];
            sums[row] *= rescale;
            for results in results.chunks_exact_mut(height * PANEL) {
                for value in &mut results[row * PANEL..][..PANEL] {
                    *value *= rescale;
                }
            }
        }
        sums[row] += simd.sum(acc);
    }
}
