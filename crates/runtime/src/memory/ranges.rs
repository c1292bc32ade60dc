//! A set of bytes, as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges, which do not touch: end by start.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn of(range: Range<u64>) -> Self {
        let mut ranges = Self::default();
        ranges.add(range);
        ranges
    }

    /// Takes a range out. Says whether any of it was in the set.
    pub(super) fn take(&mut self, range: Range<u64>) -> bool {
        let mut found = false;
        if range.is_empty() {
            return found;
        }
        // The last range that starts before the end, as long as it reaches into what is to go.
        while let Some((start, end)) = self.0.range(..range.end).next_back().map(|(start, end)| (*start, *end)) {
            if end <= range.start {
                break;
            }
            found = true;
            self.0.remove(&start);
            if end > range.end {
                self.0.insert(range.end, end);
            }
            if start < range.start {
                self.0.insert(start, range.start);
            }
        }
        found
    }

    /// Puts a range in.
    pub(super) fn add(&mut self, Range { mut start, mut end }: Range<u64>) {
        if start >= end {
            return;
        }
        // What it overlaps or touches becomes one with it.
        while let Some((other_start, other_end)) = self.0.range(..=end).next_back().map(|(start, end)| (*start, *end)) {
            if other_end < start {
                break;
            }
            self.0.remove(&other_start);
            (start, end) = (start.min(other_start), end.max(other_end));
        }
        self.0.insert(start, end);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_the_set_that_a_table_of_bytes_says() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let (mut ranges, mut table) = (Ranges::default(), [false; 64]);
            for _ in 0..40 {
                let start = random.usize(..64);
                let end = random.usize(start..=64);
                let range = start as u64..end as u64;
                if random.bool() {
                    ranges.add(range);
                    table[start..end].fill(true);
                } else {
                    assert_eq!(ranges.take(range), table[start..end].contains(&true));
                    table[start..end].fill(false);
                }
                let mut told = [false; 64];
                ranges.0.iter().for_each(|(start, end)| told[*start as usize..*end as usize].fill(true));
                assert_eq!(told, table);
                let gaps = ranges.0.iter().zip(ranges.0.keys().skip(1)).all(|((_, end), next)| end < next);
                assert!(gaps, "{ranges:?}");
            }
        }
    }
}
