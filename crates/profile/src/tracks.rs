//! Slices on tracks: two of one track nest, or do not overlap.

/// Something that took from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice<T> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) what: T,
}

/// Outer slices first: by rising start, the longer first.
fn sort<T>(slices: &mut [Slice<T>]) {
    slices.sort_by_key(|slice| (slice.start, u64::MAX - slice.end));
}

/// Puts slices on as many tracks as it takes: each on the first where it nests. Gives them by rising start, with their
/// tracks.
pub(crate) fn spread<T>(mut slices: Vec<Slice<T>>) -> Vec<(usize, Slice<T>)> {
    sort(&mut slices);
    // By track, the ends of what is open.
    let mut tracks: Vec<Vec<u64>> = Vec::new();
    let place = |slice: Slice<T>| {
        let fits = |open: &mut Vec<u64>| {
            while open.last().is_some_and(|end| *end <= slice.start) {
                open.pop();
            }
            open.last().is_none_or(|end| slice.end <= *end)
        };
        let track = tracks.iter_mut().position(fits).unwrap_or_else(|| {
            tracks.push(Vec::new());
            tracks.len() - 1
        });
        tracks[track].push(slice.end);
        (track, slice)
    };
    slices.into_iter().map(place).collect()
}

/// Makes the slices of one track nest: what ends after the one that it began in is divided there. Gives them by rising
/// start.
pub(crate) fn nest<T: Copy>(mut slices: Vec<Slice<T>>) -> Vec<Slice<T>> {
    sort(&mut slices);
    let mut nested = Vec::with_capacity(slices.len());
    let mut open: Vec<u64> = Vec::new();
    // What is left of divided slices. Few, and short-lived.
    let mut rest: Vec<Slice<T>> = Vec::new();
    let mut slices = slices.into_iter().peekable();
    loop {
        let due = (0..rest.len()).min_by_key(|at| (rest[*at].start, u64::MAX - rest[*at].end));
        let before =
            |rest: &Slice<T>, next: &Slice<T>| (rest.start, u64::MAX - rest.end) <= (next.start, u64::MAX - next.end);
        let mut slice = match (due, slices.peek()) {
            (Some(at), Some(next)) if before(&rest[at], next) => rest.swap_remove(at),
            (Some(at), None) => rest.swap_remove(at),
            _ => match slices.next() {
                Some(next) => next,
                None => return nested,
            },
        };
        while open.last().is_some_and(|end| *end <= slice.start) {
            open.pop();
        }
        if let Some(end) = open.last().copied().filter(|end| *end < slice.end) {
            rest.push(Slice { start: end, ..slice });
            slice.end = end;
        }
        open.push(slice.end);
        nested.push(slice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(random: &mut fastrand::Rng) -> Vec<Slice<usize>> {
        let count = random.usize(1..40);
        let slice = |what| {
            let start = random.u64(..100);
            Slice { start, end: start + random.u64(..30), what }
        };
        (0..count).map(slice).collect()
    }

    #[track_caller]
    fn assert_nested(slices: &[Slice<usize>], seed: u64) {
        assert!(slices.is_sorted_by_key(|slice| slice.start), "seed {seed}: {slices:?}");
        for (at, a) in slices.iter().enumerate() {
            for b in &slices[at + 1..] {
                assert!(b.start >= a.end || b.end <= a.end, "{a:?} and {b:?} overlap, seed {seed}");
            }
        }
    }

    #[test]
    fn slices_of_a_track_nest_and_none_is_lost() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let slices = random(&mut rng);
            let spread = spread(slices.clone());
            let tracks = 1 + spread.iter().map(|(track, _)| *track).max().unwrap();
            for track in 0..tracks {
                let on: Vec<_> = spread.iter().filter(|(at, _)| *at == track).map(|(_, slice)| *slice).collect();
                assert_nested(&on, seed);
            }
            let mut back: Vec<_> = spread.into_iter().map(|(_, slice)| slice).collect();
            back.sort_by_key(|slice| slice.what);
            assert_eq!(back, slices, "seed {seed}");
        }
    }

    #[test]
    fn divided_slices_nest_and_take_the_same_time() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let slices = random(&mut rng);
            let nested = nest(slices.clone());
            assert_nested(&nested, seed);
            for slice in &slices {
                let mut parts: Vec<_> = nested.iter().filter(|part| part.what == slice.what).collect();
                parts.sort_by_key(|part| part.start);
                assert_eq!((parts[0].start, parts[parts.len() - 1].end), (slice.start, slice.end), "seed {seed}");
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "seed {seed}: {parts:?}");
            }
        }
    }
}
