use super::*;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Memory of the host, in lines of 256 bytes.
struct Lines(NonNull<Line>, usize);

#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line(#[allow(dead_code)] [u8; 256]); // looked at through pointers only

// SAFETY: the memory is reached through the pieces alone, and their callers order what they do with it.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    fn new(bytes: u64) -> Self {
        let lines = vec![Line([0xaa; 256]); bytes as usize / 256].into_boxed_slice();
        let count = lines.len();
        Self(NonNull::from(Box::leak(lines)).cast(), count)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: what `new` leaked.
        drop(unsafe { Box::from_raw(NonNull::slice_from_raw_parts(self.0, self.1).as_ptr()) });
    }
}

// SAFETY: the lines live as long as it does, and are aligned.
unsafe impl Segment for Lines {
    fn start(&self) -> NonNull<u8> {
        self.0.cast()
    }
}

fn pieces() -> (Arc<Pieces<Lines>>, Arc<Overhead>) {
    let overhead = Arc::new(Overhead::default());
    (Pieces::new("test", &overhead, |bytes| Ok(Lines::new(bytes))).unwrap(), overhead)
}

fn is_full<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::OutOfMemory { .. }))
}

// audit: C32
#[test]
fn what_lists_have_at_a_time_decides_and_not_how_many_there_were() {
    let (pieces, overhead) = pieces();
    let first = FIRST;
    assert_eq!((overhead.allocations(), overhead.bytes()), (1, first));
    let mut random = crate::validate::tests::rig::fresh();
    let mut held = std::collections::VecDeque::new();
    // A list of 60 kernels at most, of which 32 are in flight.
    for _ in 0..1_000_000 {
        let piece = pieces.take(random.u64(0..60 * 64)).unwrap();
        assert_eq!(piece.offset % UNIT, 0);
        held.push_back(piece);
        while held.len() > 32 || (!held.is_empty() && random.u8(..4) == 0) {
            held.pop_front();
        }
    }
    assert_eq!((overhead.allocations(), overhead.bytes()), (1, first));
    drop(held);
    assert!(pieces.take(first).is_ok(), "whole again");
}

// audit: C32
#[test]
fn there_are_four_segments_at_most_and_then_a_piece_is_refused_until_one_is_back() {
    let (pieces, overhead) = pieces();
    let mut held: Vec<_> = (0..SEGMENTS as u32).map(|at| pieces.take(FIRST * GROWTH.pow(at)).unwrap()).collect();
    assert_eq!((overhead.allocations(), overhead.bytes()), (4, FIRST * (1 + 8 + 64 + 512)));
    assert!(is_full(pieces.take(1)));
    assert!(is_full(pieces.take(u64::MAX)));
    held.swap_remove(0);
    assert_eq!(pieces.take(1).unwrap().place().1, 0);
    assert!(is_full(pieces.take(FIRST + 1)));
    // One that is longer than the next segment would be gets a segment of its length.
    let (pieces, overhead) = self::pieces();
    assert!(pieces.take(FIRST * GROWTH + 1).is_ok());
    assert_eq!((overhead.allocations(), overhead.bytes()), (2, FIRST + 2 * FIRST * GROWTH));
}

#[test]
fn what_is_kept_leaves_room_for_lists() {
    let (pieces, _) = pieces();
    let mut kept = Vec::new();
    while let Ok(piece) = pieces.keep(100_000) {
        kept.push(piece);
    }
    assert_eq!(kept.len() as u64, MOST_KEPT / (128 << 10));
    assert!(is_full(pieces.keep(1)) && pieces.take(64 << 20).is_ok());
    kept.pop();
    assert!(pieces.keep(100_000).is_ok());
}

#[test]
fn a_segment_that_the_driver_refuses_is_asked_for_again_by_the_next_and_counted_when_it_is_there() {
    let (overhead, asked) = (Arc::new(Overhead::default()), Arc::new(AtomicU64::new(0)));
    let make = {
        let asked = Arc::clone(&asked);
        move |bytes| match asked.fetch_add(1, Ordering::Relaxed) {
            1 => Err(Error::OutOfMemory { device: "driver".to_owned(), bytes }),
            _ => Ok(Lines::new(bytes)),
        }
    };
    let pieces = Pieces::new("test", &overhead, make).unwrap();
    let _first = pieces.take(FIRST).unwrap();
    assert!(is_full(pieces.take(1)));
    assert_eq!(overhead.allocations(), 1);
    assert!(pieces.take(1).is_ok());
    assert_eq!((overhead.allocations(), asked.load(Ordering::Relaxed)), (2, 3));
}

#[test]
fn each_piece_is_its_own_to_the_end_whoever_takes_it() {
    let (pieces, overhead) = pieces();
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let (pieces, refused) = (&pieces, &refused);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(u64::from(thread));
                let mut held = Vec::new();
                for round in 0..4000u32 {
                    let bytes = 8 * random.u64(1..4096);
                    let Ok(piece) = pieces.take(bytes) else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    // SAFETY: inside the piece, and nothing is ever submitted.
                    unsafe {
                        piece.clear(bytes);
                        assert_eq!([piece.read(0), piece.read(bytes - 8)], [[0; 2]; 2]);
                        piece.write(bytes - 8, &thread.to_ne_bytes());
                        piece.write(bytes - 4, &round.to_ne_bytes());
                    }
                    held.push((piece, bytes, round));
                    if held.len() > 40 {
                        let (piece, bytes, round) = held.swap_remove(random.usize(..held.len()));
                        // SAFETY: as above.
                        assert_eq!(unsafe { piece.read(bytes - 8) }, [thread, round]);
                    }
                }
            });
        }
    });
    assert_eq!(refused.into_inner(), 0);
    assert!((2..=SEGMENTS as u64).contains(&overhead.allocations()), "{overhead:?}");
}
