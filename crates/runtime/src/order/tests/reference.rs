//! What a program must do: its operations one after the other, in the order in which they were recorded.

use super::device::{CELL, Key, Seen, filled, written};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// Cells of a memory.
pub(super) type Place = (u64, Range<u64>);

/// Whose failure it may be.
pub(super) type Roots = BTreeSet<String>;

/// What an operation does.
#[derive(Debug)]
pub(super) enum What {
    Dispatch {
        operation: u32,
        reads: Vec<Place>,
        writes: Vec<(usize, Place)>,
    },
    Copy {
        from: Place,
        to: Place,
    },
    Fill {
        pattern: u32,
        to: Place,
    },
    /// The number of the graph's first dispatch and of its second; whether a fill of its memory comes first.
    Replay {
        operations: [u32; 2],
        fill: bool,
        inputs: Vec<Place>,
        outputs: Vec<Place>,
    },
}

/// The operation, and the command that does it.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) at: Key,
    pub(super) what: What,
}

/// What a cell must hold, or why nobody knows.
pub(super) type Content = Result<u64, Roots>;

/// The truth about a program.
#[derive(Debug)]
pub(super) struct Reference<'a> {
    /// Commands that fail by themselves.
    failing: &'a HashSet<Key>,
    /// Lists that the device refuses.
    refused: &'a HashSet<(u32, u64)>,
    seen: &'a Seen,
    cells: HashMap<(u64, u64), Content>,
    /// Every command that fails, with those that it may be told.
    pub(super) failed: HashMap<Key, Roots>,
}

impl<'a> Reference<'a> {
    pub(super) fn new(failing: &'a HashSet<Key>, refused: &'a HashSet<(u32, u64)>, seen: &'a Seen) -> Self {
        Self { failing, refused, seen, cells: HashMap::new(), failed: HashMap::new() }
    }

    /// What a place must hold by now.
    pub(super) fn content(&self, (memory, cells): &Place) -> Vec<Content> {
        let content = |cell| self.cells.get(&(*memory, cell)).cloned().unwrap_or_else(|| Err(Roots::new()));
        cells.clone().map(content).collect()
    }

    fn set(&mut self, (memory, cells): &Place, content: impl IntoIterator<Item = Content>) {
        cells.clone().zip(content).for_each(|(cell, content)| drop(self.cells.insert((*memory, cell), content)));
    }

    /// Carries an operation out, and compares what the device read for it.
    ///
    /// # Errors
    /// That it read something else.
    pub(super) fn apply(&mut self, Recorded { at, what }: &Recorded) -> Result<(), String> {
        match what {
            What::Dispatch { operation, reads, writes } => {
                let read: Vec<_> = reads.iter().flat_map(|place| self.content(place)).collect();
                self.compare(*at, at.2 as usize, &read)?;
                let result = self.command(*at, &read);
                for (binding, place) in writes {
                    let content = (0..).map(|cell| {
                        let read = result.clone()?;
                        Ok(written(*operation, *binding, cell, &read))
                    });
                    self.set(place, content);
                }
            }
            What::Copy { from, to } => {
                let read = self.content(from);
                self.compare(*at, at.2 as usize, &read)?;
                self.copy(*at, read, to);
            }
            What::Fill { pattern, to } => {
                let result = self.command(*at, &[]);
                self.set(to, std::iter::repeat_with(|| result.clone().map(|_| filled(*pattern))));
            }
            What::Replay { operations, fill, inputs, outputs } => {
                let (stream, value, run) = *at;
                let command = |index: u32| (stream, value, index);
                let copies_in = run - inputs.len() as u32 - u32::from(!inputs.is_empty());
                if *fill {
                    let _ = self.command(command(copies_in - 2), &[]);
                }
                let mut read = Vec::new();
                for (index, input) in (copies_in..).zip(inputs) {
                    let content = self.content(input);
                    let result = self.command(command(index), &content);
                    read.extend(content.into_iter().map(|content| result.clone().and(content)));
                }
                self.compare(*at, 0, &read)?;
                let result = self.command(*at, &read).map(|read| [written(operations[0], inputs.len(), 0, &read)]);
                if let Ok(scratch) = &result {
                    self.compare(*at, 2, &scratch.map(Ok))?;
                }
                for (output, place) in outputs.iter().enumerate() {
                    let cells = (0..place.1.clone().count())
                        .map(|cell| Ok(written(operations[1], 1 + output, cell, &result.clone()?)));
                    self.copy(command(run + 2 + output as u32), cells.collect(), place);
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, at: Key, read: Vec<Content>, to: &Place) {
        let result = self.command(at, &read);
        self.set(to, read.into_iter().map(|content| result.clone().and(content)));
    }

    /// Enters how a command ends: with what it has read, or as what it has read, or with a failure of its own.
    fn command(&mut self, at @ (stream, value, _): Key, read: &[Content]) -> Result<Vec<u64>, Roots> {
        let inherited: Roots = read.iter().filter_map(|content| content.as_ref().err()).flatten().cloned().collect();
        let result = match read.iter().cloned().collect::<Result<Vec<_>, _>>() {
            Err(_) => Err(inherited),
            Ok(_) if self.refused.contains(&(stream, value)) => Err(Roots::from([refusal((stream, value))])),
            Ok(_) if self.failing.contains(&at) => Err(Roots::from([format!("{at:?}")])),
            Ok(read) => Ok(read),
        };
        if let Err(roots) = &result {
            self.failed.insert(at, roots.clone());
        }
        result
    }

    /// What a command of a list, or of the list that it runs, has read of what is known.
    fn compare(&self, at @ (stream, value, _): Key, index: usize, expected: &[Content]) -> Result<(), String> {
        if self.refused.contains(&(stream, value)) {
            return Ok(());
        }
        let read = self.seen.reads.get(&(at, index)).ok_or_else(|| format!("order: {at:?} never ran"))?;
        let same = read.len() == expected.len()
            && read.iter().zip(expected).all(|(read, expected)| expected.as_ref().map_or(true, |value| value == read));
        if same { Ok(()) } else { Err(format!("order: {at:?} ({index}) read {read:?}, expected {expected:?}")) }
    }
}

/// Why the commands of a list failed that the device did not take.
pub(super) fn refusal(list: (u32, u64)) -> String {
    format!("refused {list:?}")
}

/// So many bytes of a memory.
pub(super) fn place(memory: u64, offset: u64, bytes: u64) -> Place {
    (memory, offset / CELL..(offset + bytes).div_ceil(CELL))
}
