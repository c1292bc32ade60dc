//! Which parts of a row of units are taken: a buddy allocator, as plain data that never grows.
//!
//! The row is halved again and again, down to single units, which makes a binary tree. A *run* is what a node stands
//! for: 2^order units. Each node knows the longest free run below it. Halves that are both free are one run again at
//! once, so what was given back in any order is whole in the end.

/// A row of units.
#[derive(Debug)]
pub(super) struct Buddies {
    /// By node, from 1 at the root, with the children of `n` at `2n` and `2n + 1`: the order of the longest free run,
    /// and 1; 0 if there is none. What is below a node that is taken whole is as it was when it was free.
    longest: Box<[u8]>,
    /// The root's order.
    height: u32,
}

impl Buddies {
    /// 2^height units, all free.
    pub(super) fn new(height: u32) -> Self {
        let order = |node: usize| height - node.ilog2();
        let longest = (0..2usize << height).map(|node| if node == 0 { 0 } else { order(node) as u8 + 1 });
        Self { longest: longest.collect(), height }
    }

    /// Takes a run of 2^order units: from the shortest free run on the way that is long enough. Where it starts.
    pub(super) fn take(&mut self, order: u32) -> Option<usize> {
        let needed = order as u8 + 1;
        if order > self.height || self.longest[1] < needed {
            return None;
        }
        let mut node = 1;
        for _ in order..self.height {
            let [left, right] = self.children(node);
            let is_right = left < needed || (needed <= right && right < left);
            node = 2 * node + usize::from(is_right);
        }
        debug_assert_eq!(self.longest[node], needed, "a node of this order that has such a run is free");
        self.longest[node] = 0;
        self.tell_parents(node, order);
        Some((node << order) - (1 << self.height))
    }

    /// Gives back a run that was taken.
    pub(super) fn give_back(&mut self, start: usize, order: u32) {
        let node = ((1 << self.height) + start) >> order;
        debug_assert_eq!(self.longest[node], 0, "the run is taken");
        self.longest[node] = order as u8 + 1;
        self.tell_parents(node, order);
    }

    fn tell_parents(&mut self, mut node: usize, order: u32) {
        for order in order..self.height {
            node /= 2;
            let [left, right] = self.children(node);
            let are_free = left == right && u32::from(left) == order + 1;
            self.longest[node] = if are_free { order as u8 + 2 } else { left.max(right) };
        }
    }

    fn children(&self, node: usize) -> [u8; 2] {
        [self.longest[2 * node], self.longest[2 * node + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_apart_and_aligned_and_whole_again_in_the_end() {
        let mut random = crate::validate::tests::rig::fresh();
        for height in [0, 1, 3, 7] {
            let units = 1usize << height;
            let mut row = Buddies::new(height);
            let mut taken = Vec::<(usize, u32)>::new();
            let mut used = vec![false; units];
            for _ in 0..4000 {
                let order = random.u32(..height + 2);
                match row.take(order) {
                    Some(start) => {
                        let run = start..start + (1 << order);
                        assert!(start % (1 << order) == 0 && run.end <= units, "{run:?} of {units}");
                        assert!(used[run.clone()].iter().all(|used| !used), "{run:?} is taken");
                        used[run].fill(true);
                        taken.push((start, order));
                    }
                    // Only if no aligned run is free.
                    None => {
                        let mut runs = used.chunks_exact(1 << order);
                        assert!(runs.all(|run| run.contains(&true)), "order {order} of {used:?}");
                    }
                }
                while !taken.is_empty() && random.bool() {
                    let (start, order) = taken.swap_remove(random.usize(..taken.len()));
                    row.give_back(start, order);
                    used[start..start + (1 << order)].fill(false);
                }
            }
            taken.into_iter().for_each(|(start, order)| row.give_back(start, order));
            assert_eq!(row.take(height), Some(0), "all of it");
        }
    }

    #[test]
    fn short_runs_leave_long_ones_alone() {
        let mut row = Buddies::new(3);
        let first = row.take(0).unwrap();
        assert_eq!(row.take(2), Some(4));
        // The rest of the first half, shortest first.
        assert_eq!((row.take(0), row.take(1), row.take(0)), (Some(1), Some(2), None));
        row.give_back(first, 0);
        assert_eq!(row.take(0), Some(0));
    }
}
