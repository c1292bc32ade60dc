//! The arena alone: what fits where.

use super::*;
use crate::tests::world::fresh_seed;
use fastrand::Rng;
use thalweg_hal::MemoryKind;
use thalweg_hal::host::HostMemory;

const UNIT: u64 = BINDING_ALIGNMENT;

fn with(units: &[u64]) -> Arena {
    let mut arena = Arena::new();
    units.iter().for_each(|units| insert(&mut arena, BLOCKS, *units));
    arena
}

fn insert(arena: &mut Arena, pool: PoolId, units: u64) {
    // What the arena keeps is never looked at.
    arena.insert(
        pool,
        Arc::new(HostMemory::new(MemoryKind::Device, UNIT, "test").expect("256 bytes")),
        units * UNIT,
        false,
    );
}

fn exactly(pool: PoolId, units: u64) -> Want {
    let bytes = units * UNIT;
    Want { pool, anywhere: false, bytes, least: bytes }
}

fn take(arena: &mut Arena, units: u64) -> Option<(u64, u64)> {
    arena.take(exactly(BLOCKS, units), Owner::Frozen).map(|place| (place.segment, place.offset / UNIT))
}

/// The whole span that starts there.
fn give_back(arena: &mut Arena, segment: u64, unit: u64) {
    let bytes = arena.segments[&segment].spans[&(unit * UNIT)].bytes;
    arena.give_back(segment, unit * UNIT, bytes, false);
}

#[test]
fn the_span_that_fits_best_is_taken_and_the_rest_stays_free() {
    let mut arena = with(&[10, 4, 6]);
    assert_eq!(take(&mut arena, 4), Some((1, 0)));
    assert_eq!(take(&mut arena, 5), Some((2, 0)));
    assert_eq!(take(&mut arena, 1), Some((2, 5)));
    assert_eq!(take(&mut arena, 11), None);
    assert_eq!(take(&mut arena, 10), Some((0, 0)));
    assert_eq!(take(&mut arena, 1), None);
    assert_eq!(arena.usage(), Usage { segments: 20 * UNIT, frozen: 20 * UNIT, ..Usage::default() });
}

#[test]
fn neighbours_are_merged_from_either_side() {
    for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]] {
        let mut arena = with(&[9]);
        let taken = [3, 3, 3].map(|units| take(&mut arena, units).unwrap().1);
        assert_eq!(arena.largest_free(), 0);
        for (count, at) in (1..).zip(order) {
            give_back(&mut arena, 0, taken[at]);
            assert_eq!(arena.usage().free, 3 * count * UNIT);
        }
        assert_eq!((arena.largest_free(), arena.whole()), (9 * UNIT, (9 * UNIT, 1)), "{order:?}");
    }
}

#[test]
fn where_memory_is_short_less_than_one_would_like_is_taken() {
    let mut arena = with(&[7]);
    let want = |least| Want { bytes: 12 * UNIT, least: least * UNIT, ..exactly(BLOCKS, 1) };
    assert!(arena.take(want(9), Owner::Frozen).is_none());
    assert_eq!(arena.take(want(3), Owner::Frozen).unwrap().bytes, 7 * UNIT);
    assert!(arena.take(want(3), Owner::Frozen).is_none());
    assert_eq!(arena.usage().free, 0);
}

#[test]
fn of_what_is_large_a_segment_is_taken_that_fits_exactly_or_none() {
    let mut arena = Arena::new();
    [8, 5].into_iter().for_each(|units| insert(&mut arena, LARGE, units));
    let mut take = |want: Want| arena.take(want, Owner::Stream(0)).map(|place| (place.segment, place.bytes / UNIT));
    assert_eq!(take(exactly(LARGE, 4)), None);
    assert_eq!(take(exactly(LARGE, 5)), Some((1, 5)));
    assert_eq!(take(exactly(LARGE, 5)), None);
    assert_eq!(take(Want { anywhere: true, ..exactly(LARGE, 5) }), Some((0, 5)), "before there is none at all");
}

/// A stream takes spans and gives pieces of them back that do not start or end where they did.
#[test]
fn any_piece_of_what_a_stream_has_can_be_given_back() {
    const UNITS: usize = 64;
    let seed = fresh_seed();
    let mut random = Rng::with_seed(seed);
    let mut arena = with(&[UNITS as u64; 2]);
    // By unit, its owner: 0 is nobody.
    let mut map = [[0; UNITS]; 2];
    for _ in 0..5000 {
        let units = random.usize(1..20);
        if random.bool() {
            let stream = random.u32(1..4);
            if let Some(place) = arena.take(exactly(BLOCKS, units as u64), Owner::Stream(stream)) {
                let at = (place.offset / UNIT) as usize;
                let row = &mut map[place.segment as usize][at..at + units];
                assert!(row.iter().all(|owner| *owner == 0), "seed {seed}: two owners");
                row.fill(stream);
            }
        } else {
            let (segment, at) = (random.usize(..2), random.usize(..UNITS));
            let owner = map[segment][at];
            let run = map[segment][at..].iter().take_while(|other| owner > 0 && **other == owner).count().min(units);
            if run > 0 {
                arena.give_back(segment as u64, at as u64 * UNIT, run as u64 * UNIT, false);
                map[segment][at..at + run].fill(0);
            }
        }
        for (segment, row) in map.iter().enumerate() {
            let runs: Vec<_> = row.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64 * UNIT)).collect();
            let spans = arena.segments[&(segment as u64)].spans.values();
            let owner = |span: &Span| if let Owner::Stream(stream) = span.owner { stream } else { 0 };
            let spans: Vec<_> = spans.map(|span| (owner(span), span.bytes)).collect();
            assert_eq!(spans, runs, "seed {seed}: neighbours of one owner are one span");
        }
        let free: Vec<u64> = map.iter().flatten().filter(|owner| **owner == 0).map(|_| UNIT).collect();
        assert_eq!(arena.usage().free, free.iter().sum::<u64>(), "seed {seed}");
    }
}

#[test]
fn the_largest_free_piece_is_what_one_allocation_can_have() {
    let mut arena = with(&[8]);
    let taken: Vec<_> = (0..8).map(|_| take(&mut arena, 1).unwrap().1).collect();
    let free = |arena: &Arena| (arena.usage().free / UNIT, arena.largest_free() / UNIT);
    assert_eq!(free(&arena), (0, 0));
    [0, 2, 4, 6].into_iter().for_each(|at| give_back(&mut arena, 0, taken[at]));
    assert_eq!(free(&arena), (4, 1));
    [1, 3, 5, 7].into_iter().for_each(|at| give_back(&mut arena, 0, taken[at]));
    assert_eq!(free(&arena), (8, 8));
}

#[test]
fn a_pool_has_its_own_segments_unless_there_is_nothing_else() {
    let mut arena = with(&[5]);
    let pool = arena.add_pool("weights");
    assert!(arena.take(exactly(pool, 2), Owner::Frozen).is_none());
    let place = arena.take(Want { anywhere: true, ..exactly(pool, 2) }, Owner::Frozen).unwrap();
    assert_eq!(place.segment, 0);
    insert(&mut arena, pool, 4);
    assert_eq!(arena.take(exactly(pool, 2), Owner::Frozen).unwrap().segment, 1);
    // The handle is gone, and the segment goes when the last span does.
    assert!(arena.drop_pool(pool).is_empty());
    assert!(arena.put_in_limbo(1, 0, false));
    let end = arena.limbo_end().unwrap();
    let last = |value| Values::from([Point { stream: 0, value }]);
    assert!(arena.leave_limbo(end, &last(7), |_| 6).is_empty());
    assert_eq!(arena.usage().limbo, 2 * UNIT);
    assert_eq!(arena.leave_limbo(end, &last(9), |_| 7).len(), 1, "the first snapshot counts");
    assert_eq!((arena.usage().segments, arena.pools().count()), (5 * UNIT, 5));
}

#[test]
fn segments_that_have_been_free_for_longest_go_first_and_no_more_than_it_takes() {
    let mut arena = with(&[4, 4, 4]);
    // In another order than they were made in.
    let taken = [4, 4, 4].map(|units| take(&mut arena, units).unwrap().0);
    assert_eq!(taken, [0, 1, 2]);
    [1, 2, 0].into_iter().for_each(|segment| give_back(&mut arena, segment, 0));
    insert(&mut arena, BLOCKS, 4);
    assert!(arena.take_whole(0).is_empty());
    assert_eq!(arena.take_whole(5 * UNIT).len(), 2);
    assert_eq!(arena.segments().map(|(id, _)| id).collect::<Vec<_>>(), [0, 3]);
    assert_eq!(arena.take_whole(u64::MAX).len(), 2);
}

#[test]
fn what_enters_limbo_after_the_end_waits_for_another_snapshot() {
    let mut arena = with(&[3]);
    let first = take(&mut arena, 1).unwrap().1;
    let second = take(&mut arena, 1).unwrap().1;
    let third = take(&mut arena, 1).unwrap().1;
    assert!(arena.put_in_limbo(0, first * UNIT, false));
    let end = arena.limbo_end().unwrap();
    // Nobody has asked since; the next need not tell the reaper again.
    assert!(arena.put_in_limbo(0, second * UNIT, false));
    assert!(!arena.put_in_limbo(0, third * UNIT, false));
    arena.leave_limbo(end, &Values::from([]), |_| 0);
    assert_eq!((arena.usage().free, arena.usage().limbo), (UNIT, 2 * UNIT));
}

// audit: C30
#[test]
fn a_segment_decays_when_it_was_free_and_untouched_for_a_period() {
    let mut arena = with(&[2, 2]);
    let (segment, at) = take(&mut arena, 1).unwrap();
    assert_eq!(arena.decay().1.len(), 0);
    give_back(&mut arena, segment, at);
    // The other was free at both looks; this one was in use at the first.
    let (bytes, memories) = arena.decay();
    assert_eq!((bytes, memories.len()), (2 * UNIT, 1));
    let (_, at) = take(&mut arena, 1).unwrap();
    give_back(&mut arena, segment, at);
    assert_eq!(arena.decay().0, 0, "taken in between");
    assert_eq!(arena.decay().0, 2 * UNIT);
    assert_eq!(arena.usage(), Usage::default());
}

/// A tiling of random requests, checked against a bitmap of its own.
// audit: C15
#[test]
fn random_spans_never_overlap_and_come_back_whole() {
    const UNITS: usize = 64;
    let seed = fresh_seed();
    let mut random = Rng::with_seed(seed);
    let mut arena = with(&[UNITS as u64; 3]);
    let mut taken: Vec<(u64, usize, usize)> = Vec::new();
    let mut map = [[false; UNITS]; 3];
    for _ in 0..5000 {
        if taken.is_empty() || random.bool() {
            let units = random.usize(1..20);
            let run = |row: &[bool; UNITS]| row.split(|used| *used).map(<[bool]>::len).max().unwrap_or(0);
            let fits = map.iter().map(run).max().unwrap_or(0) >= units;
            let got = take(&mut arena, units as u64);
            assert_eq!(got.is_some(), fits, "seed {seed}: {units} units");
            if let Some((segment, at)) = got {
                for used in &mut map[segment as usize][at as usize..at as usize + units] {
                    assert!(!std::mem::replace(used, true), "seed {seed}: two owners");
                }
                taken.push((segment, at as usize, units));
            }
        } else {
            let (segment, at, units) = taken.swap_remove(random.usize(..taken.len()));
            give_back(&mut arena, segment, at as u64);
            map[segment as usize][at..at + units].fill(false);
        }
        let used = map.iter().flatten().filter(|used| **used).count() as u64;
        assert_eq!(arena.usage().frozen, used * UNIT, "seed {seed}");
    }
    taken.into_iter().for_each(|(segment, at, _)| give_back(&mut arena, segment, at as u64));
    assert_eq!(arena.whole(), (3 * UNITS as u64 * UNIT, 3), "seed {seed}");
}

#[test]
fn a_span_is_raw_until_its_first_owner_gives_it_back_filled() {
    let mut arena = Arena::new();
    let memory = HostMemory::new(MemoryKind::Device, UNIT, "test").expect("256 bytes");
    arena.insert(BLOCKS, Arc::new(memory), 8 * UNIT, true);
    let take = |arena: &mut Arena, units| arena.take(exactly(BLOCKS, units), Owner::Frozen).expect("there is room");
    let first = take(&mut arena, 3);
    assert!(first.raw);
    give_back(&mut arena, 0, 0);
    let again = take(&mut arena, 3);
    assert!(!again.raw, "its first owner filled it");
    let behind = take(&mut arena, 2);
    assert!(behind.raw, "nobody has had that");
    // Given back as it came: the next has to fill it.
    arena.give_back(0, behind.offset, behind.bytes, true);
    give_back(&mut arena, 0, 0);
    assert!(take(&mut arena, 8).raw, "some of it is");
    assert!(arena.put_in_limbo(0, 0, true));
    arena.limbo_end();
    drop(arena.leave_limbo(u64::MAX, &Arc::from([]), |_| 0));
    assert!(take(&mut arena, 8).raw, "limbo changes nothing of that");
}

#[test]
fn what_the_host_uses_is_never_taken_for_something_else() {
    let mut arena = with(&[2]);
    insert(&mut arena, HOST, 4);
    let want = |pool, units| Want { anywhere: true, ..exactly(pool, units) };
    assert!(arena.take(want(BLOCKS, 4), Owner::Frozen).is_none());
    assert!(arena.take(want(DEFAULT, 2), Owner::Frozen).is_some(), "of another pool of the same kind");
    assert!(arena.take(want(HOST, 5), Owner::Frozen).is_none());
    assert_eq!(arena.take(want(HOST, 4), Owner::Frozen).map(|place| place.segment), Some(1));
    assert_eq!(arena.bytes_of(HOST), 4 * UNIT);
}
