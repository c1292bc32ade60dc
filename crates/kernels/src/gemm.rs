//! The heart of every matrix product: a tile of rows times a panel of 32 columns, with the sums in registers.
//!
//! ```text
//!   x: rows packed in blocks of R rows          panel: 32 columns, k-major
//!      [ceil(k/16)][R][16]                         [k][32]
//!        row 0: k0..k15 │ row 1: k0..k15 │ ..        k0: c0 c1 .. c31
//!        row 0: k16..   │ ..                         k1: c0 c1 .. c31
//! ```
//!
//! For each k, two vectors of the panel are loaded, each row's value is broadcast and multiplied into two accumulators.
//! Packing lets the tile reach both operands through one pointer each, at constant distances, and keeps rows with a
//! length that is a multiple of a page from falling into the same cache set. It copies whole cache lines of x, so it
//! costs next to nothing.
//!
//! **Order of sums.** An element has one accumulator, and the products enter it in rising k, by the same instruction,
//! whatever the number of rows. So a row has the same bits alone and in any batch.

use crate::simd::{Simd, Task};

/// Columns of a panel.
pub(crate) const PANEL: usize = 32;
/// Values of a row that lie together in packed rows.
pub(crate) const DEPTH: usize = 16;
/// The most rows of a tile on any instruction set.
pub(crate) const MAX_ROWS: usize = 14;

/// The sums of a tile, or of a part of the products: one array per row.
pub(crate) type Sums = [[f32; PANEL]];

/// Floats that [`pack_rows`] writes.
pub(crate) fn packed_rows_len(rows: usize, k: usize) -> usize {
    k.div_ceil(DEPTH) * DEPTH * rows
}

/// How `rows` rows are cut into tiles of nearly equal height, at most `S::TILE_ROWS`: first row and height of tile
/// `index`. Equal heights, because a tile of one or two rows cannot keep the multipliers busy.
#[inline(always)]
pub(crate) fn tile_at<S: Simd>(rows: usize, index: usize) -> (usize, usize) {
    let tiles = rows.div_ceil(S::TILE_ROWS);
    let (height, taller) = (rows / tiles, rows % tiles);
    (index * height + index.min(taller), height + usize::from(index < taller))
}

/// Packs rows (`rows` rows of `k` values, `stride` apart) into `to`, which has [`packed_rows_len`] elements.
#[inline(always)]
pub(crate) fn pack_rows(from: &[f32], stride: usize, rows: usize, k: usize, to: &mut [f32]) {
    for (block, to) in to.chunks_exact_mut(rows * DEPTH).enumerate() {
        let start = block * DEPTH;
        let len = DEPTH.min(k - start);
        for (row, to) in to.as_chunks_mut::<DEPTH>().0.iter_mut().enumerate() {
            let from = &from[row * stride + start..][..len];
            match from.first_chunk::<DEPTH>() {
                Some(whole) => *to = *whole,
                None => to[..len].copy_from_slice(from), // what follows is never multiplied
            }
        }
    }
}

/// Adds to `sums` the products of `sums.len()` packed rows with a panel of `[k][32]`, and meanwhile asks for the
/// cache lines of `next` to be brought near.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(simd: S, x: &[f32], panel: &[f32], sums: &mut Sums, next: &[f32]) {
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match sums.len() {
                // The guard is constant: tiles too high for the registers are dropped as unreachable.
                $($rows if $rows <= S::TILE_ROWS => simd.call(Tile::<$rows> { x, panel, sums, next }),)*
                rows => unreachable!("{rows} rows in a tile of at most {}", S::TILE_ROWS),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

struct Tile<'a, const R: usize> {
    x: &'a [f32],
    panel: &'a [f32],
    sums: &'a mut Sums,
    next: &'a [f32],
}

impl<const R: usize> Task for Tile<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let panel = self.panel.as_chunks::<PANEL>().0;
        let x = self.x.as_chunks::<DEPTH>().0.as_chunks::<R>().0;
        let sums: &mut [[f32; PANEL]; R] = match self.sums.first_chunk_mut() {
            Some(sums) => sums,
            None => return,
        };
        // A share of the lines to prefetch for each block of x.
        let share = self.next.len().div_ceil(x.len().max(1)).next_multiple_of(DEPTH);
        let mut next = self.next.chunks(share.max(DEPTH));
        let mut column = 0;
        while column < PANEL {
            let mut acc = [[simd.splat(0.0); 2]; R];
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                *acc = [simd.load(&sums[column..]), simd.load(&sums[column + S::LANES..])];
            }
            for (x, panel) in x.iter().zip(panel.chunks(DEPTH)) {
                for line in next.next().unwrap_or(&[]).chunks(DEPTH) {
                    simd.prefetch(line.as_ptr());
                }
                match panel.first_chunk::<DEPTH>() {
                    Some(panel) => block(simd, x, panel, column, &mut acc),
                    None => block(simd, x, panel, column, &mut acc),
                }
            }
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                simd.store(acc[0], &mut sums[column..]);
                simd.store(acc[1], &mut sums[column + S::LANES..]);
            }
            column += 2 * S::LANES;
        }
    }
}

/// The products of up to [`DEPTH`] values of each row. Inlined twice: for a whole block, where the compiler knows the
/// number, and for the last.
#[inline(always)]
fn block<S: Simd, const R: usize>(
    simd: S,
    x: &[[f32; DEPTH]; R],
    panel: &[[f32; PANEL]],
    column: usize,
    acc: &mut [[S::V; 2]; R],
) {
    for (k, panel) in panel.iter().enumerate() {
        let columns = [simd.load(&panel[column..]), simd.load(&panel[column + S::LANES..])];
        for r in 0..R {
            let value = simd.splat(x[r][k]);
            acc[r][0] = simd.mul_add(value, columns[0], acc[r][0]);
            acc[r][1] = simd.mul_add(value, columns[1], acc[r][1]);
        }
    }
}
