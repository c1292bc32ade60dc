//! How many items of a command a worker may begin, so that it looks up again in time.
//!
//! What an item takes is not known before some have run, and depends on the kernel and its parameters (the length of a
//! row, say), so each worker remembers that of the dispatches it ran last. It is a guess and decides how work is cut,
//! never what it computes.

use std::time::Duration;
use thalweg_hal::{Command, List};

/// How many dispatches a worker remembers: more than a model has shapes of them.
const ENTRIES: usize = 128;
/// Items to begin with where nothing is known; and cuts are at multiples, since kernels work on several rows at once.
const GRAIN: u32 = 8;
/// A piece has at most so many times the items of the largest before it: the first items may be the cheapest.
const GROWTH: u32 = 4;

/// What items take, by command.
pub struct Pace {
    /// Each at the place that its key names.
    entries: Box<[Entry; ENTRIES]>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    key: u64,
    /// Picoseconds for an item.
    each: u64,
    /// The items of the largest piece that has run.
    most: u32,
}

/// Which commands take as long for an item: those with one pipeline and the same parameters. Two that share a key by
/// chance are taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The key of a command of a list. `None` for what cannot be cut.
    pub fn of(list: &List, command: &Command) -> Option<Self> {
        let Command::Dispatch { pipeline, params, extent, .. } = command else { return None };
        if extent[0] < 2 {
            return None;
        }
        // Where the kernel lies: lists hold pipelines, so that another's place is taken only when this one is gone.
        let place = std::sync::Arc::as_ptr(&list.pipelines[*pipeline as usize]).cast::<()>().addr() as u64;
        let words = list.params[params.range()].chunks(8).map(|bytes| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_ne_bytes(word)
        });
        let shape = u64::from(extent[1]) << 32 | u64::from(extent[2]);
        // The multiplier of FxHash (Firefox).
        let mix = |key: u64, word: u64| (key.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        Some(Self(words.chain([shape]).fold(mix(0, place), mix) | 1))
    }

    fn slot(self) -> usize {
        (self.0 >> (u64::BITS - ENTRIES.ilog2())) as usize
    }
}

impl Pace {
    /// Nothing is known.
    pub fn new() -> Self {
        Self { entries: Box::new([Entry::default(); ENTRIES]) }
    }

    /// How many items take about so long; at least one.
    pub fn items(&self, key: Key, time: Duration) -> u32 {
        let entry = self.entries[key.slot()];
        if entry.key != key.0 {
            return GRAIN;
        }
        let items = u32::try_from(picoseconds(time) / entry.each.max(1)).unwrap_or(u32::MAX);
        let items = items.min(entry.most.saturating_mul(GROWTH));
        if items < GRAIN { items.max(1) } else { items - items % GRAIN }
    }

    /// So many items have taken so long. A rise counts at once, a fall by half.
    pub fn learn(&mut self, key: Key, items: u32, time: Duration) {
        let each = picoseconds(time) / u64::from(items.max(1));
        let entry = &mut self.entries[key.slot()];
        if entry.key != key.0 {
            *entry = Entry { key: key.0, each, most: 0 };
        }
        entry.each = each.max(each / 2 + entry.each / 2);
        entry.most = entry.most.max(items);
    }
}

fn picoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().saturating_mul(1_000)).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const KEY: Key = Key(0x1234_5678_9abc_def1);

    /// Pieces of a command of so many items, of which each takes what it says, cut for a millisecond.
    fn pieces(pace: &mut Pace, items: u32, cost: impl Fn(u32) -> Duration) -> Vec<(u32, Duration)> {
        let mut pieces = Vec::new();
        let mut next = 0;
        while next < items {
            let piece = pace.items(KEY, MS).min(items - next);
            let time = (next..next + piece).map(&cost).sum();
            pace.learn(KEY, piece, time);
            pieces.push((piece, time));
            next += piece;
        }
        pieces
    }

    #[test]
    fn pieces_grow_to_a_millisecond_and_are_known_the_next_time() {
        let mut pace = Pace::new();
        let cost = |_| Duration::from_micros(7);
        let first = pieces(&mut pace, 10_000, cost);
        assert_eq!(first[0].0, GRAIN);
        assert_eq!(first[1].0, GRAIN * GROWTH);
        assert_eq!(first[2].0, GRAIN * GROWTH * GROWTH);
        assert!(first[3..first.len() - 1].iter().all(|(items, _)| *items == 136), "{first:?}");
        // A short one runs whole from now on.
        assert_eq!(pieces(&mut pace, 24, cost).len(), 1);
    }

    #[test]
    fn items_longer_than_that_run_one_by_one() {
        let mut pace = Pace::new();
        let pieces = pieces(&mut pace, 40, |_| 3 * MS);
        assert!(pieces[1..].iter().all(|(items, _)| *items == 1), "{pieces:?}");
    }

    #[test]
    fn items_that_rise_are_cut_finer_and_finer() {
        let mut pace = Pace::new();
        for round in 0..3 {
            let pieces = pieces(&mut pace, 4_096, |item| Duration::from_nanos(100) * item);
            let longest = pieces.iter().map(|(_, time)| *time).max().unwrap();
            assert!(longest < 4 * MS, "round {round}: {longest:?} in {pieces:?}");
        }
    }

    #[test]
    fn a_key_tells_kernels_and_parameters_apart_and_not_numbers_of_items() {
        use std::borrow::Cow;
        use thalweg_hal::host::HostPipeline;
        use thalweg_hal::{IndexRange, KernelSource, Pipeline};
        let kernel = || KernelSource {
            name: "kernel".into(),
            bindings: Cow::Borrowed(&[]),
            params_bytes: 12,
            wgsl: None,
            host: Some(|_| Ok(())),
        };
        let pipeline =
            || -> std::sync::Arc<dyn Pipeline> { std::sync::Arc::new(HostPipeline::new(&kernel(), "cpu").unwrap()) };
        let list = List {
            pipelines: vec![pipeline(), pipeline()],
            params: [[1_u32, 2, 3, 0], [1, 2, 4, 0]]
                .as_flattened()
                .iter()
                .flat_map(|word| word.to_ne_bytes())
                .collect(),
            ..List::default()
        };
        let key = |pipeline, start, extent| {
            let (bindings, params) = (IndexRange { start: 0, len: 0 }, IndexRange { start, len: 12 });
            Key::of(&list, &Command::Dispatch { pipeline, bindings, params, extent })
        };
        let one = key(0, 0, [24, 1, 1]);
        assert!(one.is_some());
        assert_eq!(one, key(0, 0, [5_000, 1, 1]));
        assert!([key(1, 0, [24, 1, 1]), key(0, 16, [24, 1, 1]), key(0, 0, [24, 2, 1])].iter().all(|key| *key != one));
        assert_eq!(key(0, 0, [1, 9, 9]), None);
        assert_eq!(Key::of(&list, &Command::Barrier), None);
    }
}
