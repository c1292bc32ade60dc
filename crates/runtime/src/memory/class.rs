//! Size classes: eight to an octave, so that rounding up wastes at most an eighth.

use thalweg_hal::{BINDING_ALIGNMENT, MemoryKind};

/// Steps per octave.
const STEPS: u64 = 8;
/// Number of sizes: up to 2^51 bytes.
const SIZES: usize = 328;
/// Number of classes: each size of each kind of memory.
pub(crate) const CLASSES: usize = 2 * SIZES;
/// Spans of small classes have about this many bytes.
const SMALL_SPAN: u64 = 256 * 1024;
/// The most blocks of one span.
const MAX_BLOCKS: u64 = 64;

/// A size class: all its blocks have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// What its blocks are for.
    pub(crate) kind: MemoryKind,
    /// Index into a table of [`CLASSES`] entries.
    pub(crate) index: usize,
    /// Size of a block: a multiple of [`BINDING_ALIGNMENT`].
    pub(crate) bytes: u64,
}

impl Class {
    /// The smallest class of a kind that holds `bytes`, or `None` beyond the largest.
    pub(crate) fn of(kind: MemoryKind, bytes: u64) -> Option<Self> {
        let units = bytes.div_ceil(BINDING_ALIGNMENT).max(1);
        // Units 1 to 8 are classes of their own; from there on a class is 8 to 16 times a power of two.
        let (index, units) = if units <= STEPS {
            (units - 1, units)
        } else {
            let shift = u64::from((units - 1).ilog2() - STEPS.ilog2());
            let steps = units.div_ceil(1 << shift);
            (STEPS * shift + steps - 1, steps << shift)
        };
        let index = usize::try_from(index).ok().filter(|index| *index < SIZES)?;
        let index = match kind {
            MemoryKind::Device => index,
            MemoryKind::Host => SIZES + index,
        };
        Some(Self { kind, index, bytes: units * BINDING_ALIGNMENT })
    }

    /// How many blocks a span of this class has, unless memory is short.
    pub(crate) fn blocks_per_span(self) -> u64 {
        (SMALL_SPAN / self.bytes).clamp(1, MAX_BLOCKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_size_wastes_an_eighth_and_has_one_size() {
        let mut sizes = std::collections::HashMap::new();
        let mut last = 0;
        for bytes in (0..70_000).chain((17..47).flat_map(|bit| [-1, 0, 1].map(|d| ((1i64 << bit) + d) as u64))) {
            let class = Class::of(MemoryKind::Device, bytes).unwrap();
            assert!(class.bytes >= bytes && class.bytes.is_multiple_of(BINDING_ALIGNMENT));
            assert!(class.bytes - bytes <= BINDING_ALIGNMENT.max(bytes / 8 + 1), "{bytes} -> {}", class.bytes);
            assert_eq!(*sizes.entry(class.index).or_insert(class.bytes), class.bytes);
            assert!(class.bytes >= last, "{bytes}");
            last = class.bytes;
        }
    }

    #[test]
    fn absurd_sizes_have_no_class() {
        assert_eq!(Class::of(MemoryKind::Device, u64::MAX), None);
        assert_eq!(Class::of(MemoryKind::Host, 1 << 60), None);
    }
}
