//! What was allocated and freed, in which order: a text with a line for each event.
//!
//! ```text
//! # anything
//! 3 a 17 4608     thread 3 allocates 4,608 bytes, and calls them 17; its device work uses them from now on
//! 3 f 17          thread 3 frees them; any thread may free what any other allocated
//! 3 w             thread 3 waits until what it has given the device is done
//! ```
//!
//! The order of the lines is that in which the calls were made. Each thread has a stream of its own.

use crate::measure::Result;
use std::fmt::Write;
use std::path::Path;

/// What a thread did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Allocate { id: usize, bytes: u64 },
    Free { id: usize },
    Wait,
}

/// Events by thread, in the order in which they happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    pub events: Vec<(usize, Event)>,
    /// Threads are numbered from 0.
    pub threads: usize,
    /// So are allocations.
    pub allocations: usize,
}

impl Trace {
    /// Adds an event.
    pub fn push(&mut self, thread: usize, event: Event) {
        self.threads = self.threads.max(thread + 1);
        if let Event::Allocate { id, .. } = event {
            self.allocations = self.allocations.max(id + 1);
        }
        self.events.push((thread, event));
    }

    /// Reads a trace, and checks that what is freed is there, once, and that everything is freed in the end.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut trace = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() || words[0].starts_with('#') {
                continue;
            }
            let wrong = || {
                format!("{}:{number}: {line:?} is not `THREAD a ID BYTES`, `THREAD f ID` or `THREAD w`", path.display())
            };
            let numbers: Vec<u64> = words
                .iter()
                .filter(|word| word.len() > 1 || !"afw".contains(**word))
                .map(|word| word.parse())
                .collect::<Result<_, _>>()
                .map_err(|_| wrong())?;
            let event = match (words.get(1), numbers.as_slice()) {
                (Some(&"a"), [_, id, bytes]) => Event::Allocate { id: *id as usize, bytes: *bytes },
                (Some(&"f"), [_, id]) => Event::Free { id: *id as usize },
                (Some(&"w"), [_]) => Event::Wait,
                _ => return Err(wrong().into()),
            };
            trace.push(numbers[0] as usize, event);
        }
        trace.check().map_err(|what| format!("{}: {what}", path.display()))?;
        Ok(trace)
    }

    fn check(&self) -> Result<(), String> {
        let mut alive = vec![None; self.allocations];
        for (_, event) in &self.events {
            match event {
                Event::Allocate { id, .. } if alive[*id].is_some() => return Err(format!("{id} is allocated twice")),
                Event::Allocate { id, .. } => alive[*id] = Some(true),
                Event::Free { id } if alive.get(*id) == Some(&Some(true)) => alive[*id] = Some(false),
                Event::Free { id } => return Err(format!("{id} is freed and not there")),
                Event::Wait => {}
            }
        }
        if alive.contains(&Some(true)) { Err("not everything is freed in the end".to_owned()) } else { Ok(()) }
    }

    /// Writes it, with what it is of as a comment.
    pub fn write(&self, path: &Path, title: &str) -> Result<()> {
        let mut text = format!("# {title}\n");
        for (thread, event) in &self.events {
            match event {
                Event::Allocate { id, bytes } => writeln!(text, "{thread} a {id} {bytes}")?,
                Event::Free { id } => writeln!(text, "{thread} f {id}")?,
                Event::Wait => writeln!(text, "{thread} w")?,
            }
        }
        Ok(std::fs::write(path, text)?)
    }

    /// The most bytes that were allocated and not freed at any time.
    pub fn peak(&self) -> u64 {
        let mut sizes = vec![0; self.allocations];
        let (mut live, mut peak) = (0, 0);
        for (_, event) in &self.events {
            match event {
                Event::Allocate { id, bytes } => {
                    sizes[*id] = *bytes;
                    live += bytes;
                    peak = peak.max(live);
                }
                Event::Free { id } => live -= sizes[*id],
                Event::Wait => {}
            }
        }
        peak
    }
}
