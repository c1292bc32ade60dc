//! Latencies in bounded memory: a histogram with buckets of equal relative width.
//!
//! The scheme is that of HdrHistogram (Gil Tene): every power of two is cut into 64 equal buckets, so a value is known
//! to within 1/64 of itself, and its bucket's middle to within 0.8 %. All of `u64` fits in 3,776 buckets.

use std::time::Duration;

/// log2 of the buckets in a power of two.
const BITS: u32 = 6;
const BUCKETS: usize = ((64 - BITS as usize) << BITS) + (1 << BITS);

/// Counts of durations, by nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Nothing counted yet; 30 KiB.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The smallest duration that at least `share` (0 to 1) of all are not longer than, to within 0.8 %; `None` when
    /// nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(middle(index)));
            }
        }
        None
    }
}

/// The bucket of `value`: below 64 the value itself, above it the exponent and the next six bits.
fn bucket(value: u64) -> usize {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    ((shift as usize) << BITS) + (value >> shift) as usize
}

/// The middle of a bucket.
fn middle(index: usize) -> u64 {
    let shift = (index >> BITS).saturating_sub(1);
    let lowest = ((index - (shift << BITS)) as u64) << shift;
    lowest + (1u64 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_their_middles_are_near() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for shift in 0..63 {
            for value in [1u64 << shift, (1 << shift) + (1 << shift) / 3, (1 << (shift + 1)) - 1] {
                let (here, next) = (bucket(value), bucket(value + 1));
                assert!(next == here || next == here + 1, "{value}: bucket {here}, then {next}");
                let error = middle(here).abs_diff(value) as f64 / value as f64;
                assert!(error <= 1.0 / 128.0, "{value} reads back as {}", middle(here));
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut parts = [Histogram::new(), Histogram::new()];
        assert_eq!(parts[0].quantile(0.5), None);
        // 1 to 1000 microseconds, in an order that is not sorted, over two histograms.
        for step in 0..1000u64 {
            parts[(step % 2) as usize].record(Duration::from_micros(step * 617 % 1000 + 1));
        }
        let [mut all, other] = parts;
        all.merge(&other);
        for (share, exact) in [(0.0, 1.0), (0.001, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = all.quantile(share).unwrap().as_secs_f64() * 1e6;
            assert!((found / exact - 1.0).abs() <= 1.0 / 128.0, "quantile {share}: {found} us, not {exact}");
        }
    }
}
