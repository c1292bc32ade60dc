//! The order of a dispatch's groups. Metal promises none, so it follows from the process's seed and the dispatch's
//! number.

use std::sync::atomic::{AtomicU64, Ordering};

/// Every group once: from one by equal steps, around the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    groups: u64,
    at: u64,
    step: u64,
    left: u64,
    /// Whether a group's threads take their turns from the last to the first.
    pub(super) backwards: bool,
}

impl Order {
    /// The order of this process's next dispatch.
    pub(super) fn next_of(groups: u64, seed: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::new(groups, seed, NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn new(groups: u64, seed: u64, dispatch: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ dispatch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let backwards = random.bool();
        if groups == 0 {
            return Self { groups, at: 0, step: 0, left: 0, backwards };
        }
        let at = random.u64(0..groups);
        // Neighbours one after the other use the caches best: every other time, from either end.
        let mut step = match random.u8(0..4) {
            0 => 1,
            1 => groups - 1,
            _ => random.u64(1..=groups),
        };
        while common(step, groups) != 1 {
            step = step % groups + 1;
        }
        Self { groups, at, step, left: groups, backwards }
    }
}

impl Iterator for Order {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        self.at = (u128::from(at) + u128::from(self.step)).rem_euclid(u128::from(self.groups)) as u64;
        Some(at)
    }
}

/// The greatest common divisor.
fn common(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_group_comes_once() {
        for groups in (0..70).chain([1000, 1024, 65_536]) {
            for dispatch in 0..8 {
                let order: Vec<u64> = Order::new(groups, 7, dispatch).collect();
                assert_eq!(order.len() as u64, groups);
                assert_eq!(order.into_iter().collect::<BTreeSet<_>>(), (0..groups).collect());
            }
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        let order = |seed, dispatch| Order::new(1000, seed, dispatch).collect::<Vec<_>>();
        assert_eq!(order(1, 2), order(1, 2));
        assert_ne!(order(1, 2), order(2, 2));
        assert_ne!(order(1, 2), order(1, 3));
        let backwards: BTreeSet<bool> = (0..20).map(|dispatch| Order::new(4, 3, dispatch).backwards).collect();
        assert_eq!(backwards.len(), 2);
    }
}
