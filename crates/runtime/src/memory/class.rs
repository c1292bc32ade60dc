//! Sizes: eight to an octave, so that rounding up wastes at most an eighth. And zones, which keep apart what would be
//! in each other's way.

use thalweg_hal::{BINDING_ALIGNMENT, MemoryKind};

/// Steps per octave.
const STEPS: u64 = 8;
/// Number of sizes: up to 2^51 bytes.
pub(super) const SIZES: usize = 328;
/// The largest block of the zone of small ones.
pub(super) const MOST_SMALL: u64 = 16 << 10;
/// A block is large if it has at least this part of the limit: there are at most so many.
const LARGE_PART: u64 = 32;
/// Spans that are divided have about this many bytes,
const DIVIDED_SPAN: u64 = 256 << 10;
/// no more than this part of the limit,
const DIVIDED_PART: u64 = 256;
/// and at most so many blocks.
const MOST_BLOCKS: u64 = 64;

/// Blocks of different zones lie in different segments.
///
/// What is small lives long now and then, such as a result that somebody keeps, and would hold a large piece in two.
/// What is large for the device's limit has a segment of its own, which goes back to the device whole, so that no order
/// of allocations can leave the memory in pieces that are all too short for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Up to [`MOST_SMALL`] bytes.
    Small,
    /// What is neither.
    Common,
    /// From [`LARGE_PART`] of the limit on: neither split nor merged.
    Large,
    /// What the host reads and writes, of any size.
    Host,
}

impl Zone {
    /// How many there are.
    pub(super) const COUNT: usize = 4;

    /// Which kind of memory its blocks are in.
    pub(crate) fn kind(self) -> MemoryKind {
        match self {
            Self::Host => MemoryKind::Host,
            Self::Small | Self::Common | Self::Large => MemoryKind::Device,
        }
    }
}

/// What depends on how many bytes may be taken from the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// From how many bytes on a block is large.
    least_large: u64,
    /// How many bytes a span that is divided has at most.
    divided: u64,
}

impl Scale {
    /// For a limit.
    #[inline]
    pub(super) fn of(limit: u64) -> Self {
        Self { least_large: (limit / LARGE_PART).max(4 * MOST_SMALL), divided: DIVIDED_SPAN.min(limit / DIVIDED_PART) }
    }

    /// How many bytes a stream takes at once, unless memory is short: what it does not need now becomes blocks as they
    /// are asked for.
    pub(crate) fn span(self, class: Class) -> u64 {
        match class.zone {
            Zone::Large => class.bytes,
            Zone::Small | Zone::Common | Zone::Host => class.bytes * (self.divided / class.bytes).clamp(1, MOST_BLOCKS),
        }
    }
}

/// What is asked for: a zone, and one of the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) zone: Zone,
    /// Which of the sizes: less than [`SIZES`].
    pub(crate) size: usize,
    /// A multiple of [`BINDING_ALIGNMENT`].
    pub(crate) bytes: u64,
}

impl Class {
    /// The smallest class that holds `bytes`, or `None` beyond the largest.
    #[inline]
    pub(crate) fn of(kind: MemoryKind, bytes: u64, scale: Scale) -> Option<Self> {
        let units = bytes.div_ceil(BINDING_ALIGNMENT).max(1);
        // Units 1 to 8 are sizes of their own; from there on a size is 8 to 16 times a power of two.
        let (size, units) = if units <= STEPS {
            (units - 1, units)
        } else {
            let shift = u64::from((units - 1).ilog2() - STEPS.ilog2());
            let steps = units.div_ceil(1 << shift);
            (STEPS * shift + steps - 1, steps << shift)
        };
        let size = usize::try_from(size).ok().filter(|size| *size < SIZES)?;
        let bytes = units * BINDING_ALIGNMENT;
        let zone = match kind {
            MemoryKind::Host => Zone::Host,
            MemoryKind::Device if bytes <= MOST_SMALL => Zone::Small,
            MemoryKind::Device if bytes < scale.least_large => Zone::Common,
            MemoryKind::Device => Zone::Large,
        };
        Some(Self { zone, size, bytes })
    }
}

/// The largest size that is no larger than a block of so many bytes, a multiple of [`BINDING_ALIGNMENT`]: a
/// request for that size can have the block.
#[inline]
pub(super) fn size_within(bytes: u64) -> usize {
    let units = (bytes / BINDING_ALIGNMENT).max(1);
    let shift = u64::from(units.ilog2().saturating_sub(STEPS.ilog2()));
    let size = STEPS * shift + (units >> shift) - 1;
    usize::try_from(size).map_or(SIZES - 1, |size| size.min(SIZES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline]
    fn of(bytes: u64) -> Option<Class> {
        Class::of(MemoryKind::Device, bytes, Scale::of(LARGE_PART << 20))
    }

    fn every_size() -> impl Iterator<Item = u64> {
        (0..70_000).chain((17..47).flat_map(|bit| [-1, 0, 1].map(|d| ((1i64 << bit) + d) as u64)))
    }

    #[test]
    fn a_class_holds_its_size_wastes_an_eighth_and_has_one_size() {
        let mut sizes = std::collections::HashMap::new();
        let mut last = 0;
        for bytes in every_size() {
            let class = of(bytes).unwrap();
            assert!(class.bytes >= bytes && class.bytes.is_multiple_of(BINDING_ALIGNMENT));
            assert!(class.bytes - bytes <= BINDING_ALIGNMENT.max(bytes / 8 + 1), "{bytes} -> {}", class.bytes);
            assert_eq!(*sizes.entry(class.size).or_insert(class.bytes), class.bytes);
            assert!(class.bytes >= last, "{bytes}");
            last = class.bytes;
        }
    }

    #[test]
    fn a_block_is_found_under_the_largest_size_that_it_holds() {
        for bytes in every_size().map(|bytes| bytes.next_multiple_of(BINDING_ALIGNMENT).max(BINDING_ALIGNMENT)) {
            let class = of(bytes).unwrap();
            // Exact sizes are their own; everything else is one below what would hold it.
            let within = if class.bytes == bytes { class.size } else { class.size - 1 };
            assert_eq!(size_within(bytes), within, "{bytes}");
        }
        assert_eq!(size_within(u64::MAX / BINDING_ALIGNMENT * BINDING_ALIGNMENT), SIZES - 1);
    }

    // audit: C25
    #[test]
    fn absurd_sizes_have_no_class() {
        assert_eq!(of(u64::MAX), None);
        assert_eq!(Class::of(MemoryKind::Host, 1 << 60, Scale::of(1 << 40)), None);
    }

    #[test]
    fn zones_are_by_size_and_by_what_is_large_for_the_limit() {
        let zone = |bytes| of(bytes).unwrap().zone;
        // A size that is rounded up to what is large is large.
        let zones = [MOST_SMALL, MOST_SMALL + 1, (1 << 20) - 1, 1 << 20].map(zone);
        assert_eq!(zones, [Zone::Small, Zone::Common, Zone::Large, Zone::Large]);
        assert_eq!(Class::of(MemoryKind::Host, 1 << 30, Scale::of(1 << 40)).unwrap().zone, Zone::Host);
        assert_eq!([0, LARGE_PART << 20].map(|limit| Scale::of(limit).least_large), [64 << 10, 1 << 20]);
    }
}
