//! One head of one sequence: a few queries against the keys that they see.
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
//!
//! **What a query does not see.** A tile goes through the panels of which one of its queries sees a key. The others of
//! its queries score these keys -inf, so their powers are 0: they raise no maximum, and add 0 to a sum and to a result,
//! which changes no bit but the sign of a zero. So a query's bits do not depend on its neighbours in the tile. Times 0,
//! only a value that is not finite would show: where a block has one, each query takes the values that it sees alone.

use crate::gemm::{self, DEPTH, MAX_ROWS, PANEL};
use crate::heads::Heads;
use crate::scratch::{round_up, take};
use crate::simd::{Simd, math};
use std::ops::Range;

/// Keys of a block. A multiple of [`PANEL`].
const KEYS: usize = 256;

/// Rows of a sequence in one head of an operand.
pub(super) struct Rows<'a> {
    /// From the first column of the first row on.
    from: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    /// The rows from `row` on. The view is inside of `data`.
    pub(super) fn new(view: Heads, data: &'a [f32], row: usize, head: usize) -> Self {
        Self { from: view.from(data, row, head), stride: view.row_stride as usize }
    }

    #[inline(always)]
    fn from(&self, row: usize) -> &'a [f32] {
        &self.from[row * self.stride..]
    }
}

/// One head of one sequence.
pub(super) struct Head<'a> {
    pub(super) query: Rows<'a>,
    pub(super) key: Rows<'a>,
    pub(super) value: Rows<'a>,
    /// Rows of the sequence.
    pub(super) length: usize,
    /// Number of the head's columns.
    pub(super) head_dim: usize,
    /// Factor of the products.
    pub(super) scale: f32,
    /// How many keys before its own a query sees.
    pub(super) before: usize,
    /// How many keys after its own a query sees.
    pub(super) after: usize,
    /// What is added to the score of key j for query i, at `reach + j - i`, of `2 * reach + 1`, where `reach` is at
    /// least `length - 1`.
    pub(super) bias: Option<&'a [f32]>,
}

/// Where a head's results go.
pub(super) struct Target<'a> {
    /// Rows of all heads.
    pub(super) out: &'a mut [f32],
    /// Length of such a row.
    pub(super) width: usize,
    /// The head's first column.
    pub(super) column: usize,
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

/// The part of a range that is inside of another, at a place inside of that even if it is empty.
#[inline(always)]
fn common(range: &Range<usize>, within: &Range<usize>) -> Range<usize> {
    let start = range.start.clamp(within.start, within.end);
    start..range.end.clamp(start, within.end)
}

impl Head<'_> {
    /// The keys that one of these queries sees.
    #[inline(always)]
    fn seen(&self, queries: Range<usize>) -> Range<usize> {
        queries.start.saturating_sub(self.before)..self.length.min(queries.end.saturating_add(self.after))
    }

    /// The keys that each of these queries sees. There is at least one query, and they may have no such key.
    #[inline(always)]
    fn seen_by_all(&self, queries: Range<usize>) -> Range<usize> {
        self.seen(queries.end - 1..queries.end).start..self.seen(queries.start..queries.start + 1).end
    }

    /// Computes the head's columns of `rows` rows from `first` on.
    #[inline(always)]
    pub(super) fn attend<S: Simd>(
        &self,
        simd: S,
        first: usize,
        rows: usize,
        space: &mut Workspace<'_>,
        target: Target<'_>,
    ) {
        let tiles = rows.div_ceil(S::TILE_ROWS);
        let row_len = self.head_dim.next_multiple_of(DEPTH);
        let columns = self.head_dim.next_multiple_of(PANEL);
        for tile in 0..tiles {
            let (row, height) = gemm::tile_at::<S>(rows, tile);
            let to = &mut space.queries[row * row_len..(row + height) * row_len];
            gemm::pack_rows(self.query.from(first + row), self.query.stride, height, self.head_dim, to);
            // After the packing's last block, stale memory is scaled too; it is never multiplied into a score.
            to.iter_mut().for_each(|value| *value *= self.scale);
        }
        space.greatest.fill(f32::NEG_INFINITY);
        space.sums.fill(0.0);
        space.results.fill(0.0);

        let hides = self.seen_by_all(0..self.length) != (0..self.length);
        let seen = self.seen(first..first + rows);
        for start in (seen.start / KEYS * KEYS..seen.end).step_by(KEYS) {
            let block = start..self.length.min(start + KEYS);
            self.pack_block(&block, common(&seen, &block), space);
            let finite = !hides || self.values_are_finite(common(&seen, &block));
            for tile in 0..tiles {
                let (row, height) = gemm::tile_at::<S>(rows, tile);
                let own = first + row..first + row + height;
                let seen = common(&self.seen(own.clone()), &block);
                if seen.is_empty() {
                    continue;
                }
                // Whole panels, with the keys of them that nobody sees.
                let panels = (seen.start - start) / PANEL..(seen.end - start).div_ceil(PANEL);
                let keys = start + panels.start * PANEL..block.end.min(start + panels.end * PANEL);
                let tile_rows = row..row + height;
                let queries = &space.queries[row * row_len..(row + height) * row_len];
                let packed = &space.keys[panels.start * self.head_dim * PANEL..panels.end * self.head_dim * PANEL];
                self.score(simd, queries, packed, own.clone(), keys.clone(), space.scores);
                let results = &mut space.results[row * columns..(row + height) * columns];
                let greatest = &mut space.greatest[tile_rows.clone()];
                let sums = &mut space.sums[tile_rows];
                soften(simd, space.scores, keys.len(), space.powers, results, greatest, sums);
                let powers = &space.powers[..gemm::packed_rows_len(height, keys.len())];
                if !finite && common(&self.seen_by_all(own.clone()), &keys) != keys {
                    self.add_seen(simd, own, [&block, &keys], powers, space.values, results);
                    continue;
                }
                let values = space.values.chunks_exact(KEYS * PANEL);
                for (values, results) in values.zip(results.chunks_exact_mut(height * PANEL)) {
                    let values = &values[(keys.start - start) * PANEL..(keys.end - start) * PANEL];
                    gemm::multiply(simd, powers, values, results.as_chunks_mut().0, &[]);
                }
            }
        }

        for tile in 0..tiles {
            let (row, height) = gemm::tile_at::<S>(rows, tile);
            let results = space.results[row * columns..(row + height) * columns].chunks_exact(height * PANEL);
            for (panel, results) in results.enumerate() {
                let (start, end) = (panel * PANEL, self.head_dim.min((panel + 1) * PANEL));
                for (r, results) in results.chunks_exact(PANEL).enumerate() {
                    let out = &mut target.out[(row + r) * target.width + target.column..][start..end];
                    let sum = space.sums[row + r];
                    // With 0 added, zeros are of one sign.
                    out.iter_mut().zip(results).for_each(|(out, result)| *out = result / sum + 0.0);
                }
            }
        }
    }

    /// Packs the panels of a block that have one of these keys, and their values.
    #[inline(always)]
    fn pack_block(&self, block: &Range<usize>, seen: Range<usize>, space: &mut Workspace<'_>) {
        let panels = (seen.start - block.start) / PANEL..(seen.end - block.start).div_ceil(PANEL);
        let packed = space.keys.chunks_exact_mut(self.head_dim * PANEL).enumerate();
        for (panel, to) in packed.take(panels.end).skip(panels.start) {
            let first = block.start + panel * PANEL;
            let held = PANEL.min(block.end - first);
            let to = to.as_chunks_mut::<PANEL>().0;
            for key in 0..held {
                let from = &self.key.from(first + key)[..self.head_dim];
                for (to, value) in to.iter_mut().zip(from) {
                    to[key] = *value;
                }
            }
            for row in to {
                row[held..].fill(0.0);
            }
        }
        let keys = panels.start * PANEL..block.len().min(panels.end * PANEL);
        for (panel, to) in space.values.chunks_exact_mut(KEYS * PANEL).enumerate() {
            let (first, end) = (panel * PANEL, self.head_dim.min((panel + 1) * PANEL));
            for (key, to) in to.chunks_exact_mut(PANEL).enumerate().take(keys.end).skip(keys.start) {
                let from = &self.value.from(block.start + key)[first..end];
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
        }
    }

    /// Whether there is neither NaN nor an infinity in these rows of the values, and in the rest of their panels.
    #[inline(always)]
    fn values_are_finite(&self, seen: Range<usize>) -> bool {
        let rows = seen.start / PANEL * PANEL..self.length.min(seen.end.next_multiple_of(PANEL));
        let mut greatest = 0;
        for row in rows {
            // By their bits, for which the order does not matter: a loop on vectors.
            let values = &self.value.from(row)[..self.head_dim];
            greatest = values.iter().fold(greatest, |greatest, value| value.abs().to_bits().max(greatest));
        }
        greatest < f32::INFINITY.to_bits()
    }

    /// The scores of a tile of queries with panels of keys, `keys` of the sequence's, with their bias. What a query
    /// does not see gets -inf, and so do columns without a key.
    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        packed_queries: &[f32],
        packed_keys: &[f32],
        queries: Range<usize>,
        keys: Range<usize>,
        scores: &mut [f32],
    ) {
        let height = queries.len();
        let seen_by_all = self.seen_by_all(queries.clone());
        let panels = packed_keys.chunks_exact(self.head_dim * PANEL).zip(scores.chunks_exact_mut(height * PANEL));
        for ((packed_keys, scores), first) in panels.zip(keys.step_by(PANEL)) {
            scores.fill(0.0);
            let scores = scores.as_chunks_mut::<PANEL>().0;
            gemm::multiply(simd, packed_queries, packed_keys, scores, &[]);
            let panel = first..first + PANEL;
            if self.bias.is_none() && common(&seen_by_all, &panel) == panel {
                continue;
            }
            for (query, scores) in queries.clone().zip(scores) {
                let seen = common(&self.seen(query..query + 1), &panel);
                if let Some(bias) = self.bias.filter(|_| !seen.is_empty()) {
                    let bias = &bias[bias.len() / 2 + seen.start - query..][..seen.len()];
                    let scores = &mut scores[seen.start - first..seen.end - first];
                    scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
                }
                scores[..seen.start - first].fill(f32::NEG_INFINITY);
                scores[seen.end - first..].fill(f32::NEG_INFINITY);
            }
        }
    }

    /// Adds to each query's result the values that it sees, and touches no others. `powers` are those of `keys`,
    /// `values` those of the block.
    #[inline(always)]
    fn add_seen<S: Simd>(
        &self,
        simd: S,
        queries: Range<usize>,
        [block, keys]: [&Range<usize>; 2],
        powers: &[f32],
        values: &[f32],
        results: &mut [f32],
    ) {
        let height = queries.len();
        let powers = powers.as_chunks::<DEPTH>().0;
        for (r, query) in queries.enumerate() {
            let seen = common(&self.seen(query..query + 1), block);
            // A packed row of its own.
            let mut own = [0.0; KEYS];
            for (own, key) in own.iter_mut().zip(seen.clone()) {
                let at = key - keys.start;
                *own = powers[at / DEPTH * height + r][at % DEPTH];
            }
            let own = &own[..seen.len().next_multiple_of(DEPTH)];
            let values = values.chunks_exact(KEYS * PANEL);
            for (values, results) in values.zip(results.chunks_exact_mut(height * PANEL)) {
                let values = &values[(seen.start - block.start) * PANEL..(seen.end - block.start) * PANEL];
                let results = &mut results[r * PANEL..(r + 1) * PANEL];
                gemm::multiply(simd, own, values, results.as_chunks_mut().0, &[]);
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
