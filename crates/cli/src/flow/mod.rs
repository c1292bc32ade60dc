//! A stream of texts in, a stream of results out, in their order, and many threads in between.
//!
//! ```text
//!  reader thread           N threads              main thread
//!  Input ──batches──► Window ──► job(batch) ──► Window ──► Writer
//! ```
//!
//! The [`Window`] keeps results in the order of the input and bounds what is between the two ends, so memory does not
//! grow with the input. Every fault has a place in that order: what came before it is written, in whole lines, and the
//! fault ends the command. The reader may be blocked on a terminal or a pipe for ever, so nothing waits for it: it is
//! told to stop by closing the window, and ends with the process otherwise.

mod pace;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use thalweg::{DeviceInfo, ModelError};

use self::window::{Closed, Next, Window};
use crate::args::PaceArgs;
use crate::error::{Error, Lines};
use crate::input::{self, Input, Record};
use crate::interrupt;
use crate::progress::Progress;

pub use self::pace::Pace;

/// Batches in the window for each thread: one that it works on, one that waits for it, and two that let it go on while
/// the result before them is still being computed.
const BATCHES_PER_THREAD: usize = 4;
/// Bytes of text in the window, beside which only a single longer batch is let in. It bounds the memory of the texts
/// themselves: tokenising takes a few megabytes a thread, however long the texts.
const TEXT_IN_WINDOW: usize = input::MAX_LINE;
/// A batch of this many bytes of text is cut short; its texts' results do not change.
const TEXT_IN_BATCH: usize = 1 << 20;

impl Pace {
    /// What the flags say, and where they leave it open, what is fast on the device.
    pub fn of(args: &PaceArgs, device: Option<&DeviceInfo>) -> Self {
        let chosen = device.map_or_else(pace::without_device, pace::choose);
        Self {
            threads: args.threads.map_or(chosen.threads, usize::from),
            batch: args.batch.map_or(chosen.batch, usize::from),
        }
    }
}

/// What is made of texts.
pub trait Job: Sync {
    /// What comes of a batch.
    type Made: Send + 'static;

    /// What it does to a line, for people: "embed".
    const ACTION: &'static str;

    /// Makes it. What is wrong with one record alone is best kept in what is made, and told when it is written.
    ///
    /// # Errors
    ///
    /// What keeps the whole batch from its results.
    fn make(&self, records: &[Record]) -> Result<Self::Made, ModelError>;
}

/// Where results go, in the order of the input.
pub trait Writer {
    /// What comes of a batch.
    type Made: Send + 'static;

    /// Writes the results of a batch; what is written may stay in a buffer. Says what it was.
    ///
    /// # Errors
    ///
    /// The first fault of a record, or of the output. Everything before it is written.
    fn write(&mut self, done: &Done<Self::Made>) -> Result<Count, Error>;

    /// Hands what is written to the system.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    fn flush(&mut self) -> Result<(), Error>;

    /// How many results there are in all, and whether a later run can go on behind them.
    fn there(&self) -> (u64, bool);
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Texts.
    pub texts: u64,
    /// Their tokens.
    pub tokens: u64,
}

/// Texts that one call takes.
pub struct Batch {
    /// The number of the first text.
    first: u64,
    records: Vec<Record>,
    /// Bytes of memory that the texts take.
    weight: usize,
    /// Bytes of the input that they took.
    bytes: u64,
    /// Whether it is the last text of which an earlier run has written the result, to be compared.
    is_earlier: bool,
}

/// What came of a batch.
pub struct Done<M> {
    /// The number of the first record.
    pub first: u64,
    /// What was made of the records.
    pub made: M,
    /// The records. The texts themselves may be gone.
    pub records: Vec<Record>,
    /// Whether it is the last record of which an earlier run has written the result, to be compared.
    pub is_earlier: bool,
    bytes: u64,
}

impl<M> Done<M> {
    /// The place of a record in the input.
    pub fn lines(&self, record: usize) -> Lines {
        let line = self.records[record].line;
        Lines { first: line, last: line }
    }
}

type Outcome<T> = Result<T, Error>;
type Work<M> = Window<Batch, Outcome<Done<M>>>;

/// What an earlier run has done.
pub struct Skip {
    /// How many texts have results.
    pub texts: u64,
    /// The file that has them.
    pub output: String,
}

/// Does the job for the whole input, but for what `skip` says is done, and hands what comes of it to the writer.
///
/// # Errors
///
/// Whatever ended the work before the end of the input; every earlier result is written.
pub fn run<J: Job, W: Writer<Made = J::Made>>(
    job: &J,
    pace: Pace,
    input: Input,
    skip: Option<Skip>,
    writer: &mut W,
    mut progress: Progress,
) -> Result<(), Error> {
    let window = Arc::new(Window::new(pace.threads * BATCHES_PER_THREAD, TEXT_IN_WINDOW));
    let interrupted = Arc::new(AtomicBool::new(false));
    {
        let (window, interrupted) = (Arc::clone(&window), Arc::clone(&interrupted));
        // Release: pairs with the Acquire in `write_all`; the stop that follows is what the writer sees first.
        let stop = move || {
            interrupted.store(true, Ordering::Release);
            window.stop();
        };
        interrupt::on_first(stop)
            .and_then(|()| interrupt::let_long_files_fail())
            .map_err(|source| Error::System { action: "handle signals", source })?;
    }
    let batches = Batches { input, size: pace.batch, first: 0, position: 0, skip, fault: None };
    let reader = Arc::clone(&window);
    thread::Builder::new()
        .name("thalweg-input".to_owned())
        .spawn(move || feed(batches, &reader))
        .map_err(|source| Error::System { action: "start a thread", source })?;

    thread::scope(|scope| {
        // Whatever ends the writer, also a panic, ends the threads that this scope waits for.
        let stop = StopOnDrop(&window);
        let mut workers = Vec::with_capacity(pace.threads);
        for _ in 0..pace.threads {
            let worker = thread::Builder::new()
                .name(format!("thalweg-{}", J::ACTION))
                .spawn_scoped(scope, || window.work(|batch| make(job, batch)))
                .map_err(|source| Error::System { action: "start a thread", source })?;
            workers.push(worker);
        }
        let outcome = write_all(&window, &interrupted, writer, &mut progress);
        drop(stop);
        for worker in workers {
            // A panic has an empty outcome in the window, which the writer reports.
            let _ = worker.join();
        }
        outcome
    })
}

/// The texts of the input in batches; a fault comes after every text before it, and ends them.
struct Batches {
    input: Input,
    /// Texts in a batch.
    size: usize,
    /// The number of the next text.
    first: u64,
    /// Bytes of the input in the batches so far.
    position: u64,
    /// Texts that are still to be passed over.
    skip: Option<Skip>,
    fault: Option<Error>,
}

impl Iterator for Batches {
    type Item = Outcome<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(skip) = self.skip.take().filter(|skip| skip.texts > 0) {
            return Some(self.last_of_earlier(&skip));
        }
        let (mut records, mut weight) = (Vec::new(), 0);
        while self.fault.is_none() && records.len() < self.size && weight < TEXT_IN_BATCH {
            // Nobody waits for a result until the next text is written, which may be an answer to it.
            if !records.is_empty() && !self.input.has_text_at_hand() {
                break;
            }
            match self.input.next_record() {
                Ok(Some(record)) => {
                    weight += record.weight();
                    records.push(record);
                }
                Ok(None) => break,
                Err(error) => self.fault = Some(error),
            }
        }
        if records.is_empty() {
            return self.fault.take().map(Err);
        }
        Some(Ok(self.batch(records, weight, false)))
    }
}

impl Batches {
    /// Passes over the texts that have results, but for the last: that one shows whether the results are theirs.
    fn last_of_earlier(&mut self, skip: &Skip) -> Outcome<Batch> {
        loop {
            let Some(record) = self.input.next_record()? else {
                let reason =
                    format!("it has {} results, and {} only {} texts", skip.texts, self.input.name(), self.first);
                return Err(Error::Append { output: skip.output.clone(), reason });
            };
            if self.first + 1 == skip.texts {
                let weight = record.weight();
                return Ok(self.batch(vec![record], weight, true));
            }
            self.first += 1;
        }
    }

    fn batch(&mut self, records: Vec<Record>, weight: usize, is_earlier: bool) -> Batch {
        let bytes = self.input.position() - self.position;
        let batch = Batch { first: self.first, records, weight, bytes, is_earlier };
        self.first += batch.records.len() as u64;
        self.position += bytes;
        batch
    }
}

/// Moves all batches into the window, and closes it.
fn feed<M>(batches: Batches, window: &Work<M>) {
    let _close = CloseOnDrop(window);
    for batch in batches {
        // A closed window means that the command is ending for a reason of its own, which the writer reports.
        let pushed = match batch {
            Ok(batch) => {
                let weight = batch.weight;
                window.push(batch, weight)
            }
            Err(error) => window.push_outcome(Err(error)).and(Err(Closed)),
        };
        if pushed.is_err() {
            return;
        }
    }
}

fn make<J: Job>(job: &J, batch: Batch) -> Outcome<Done<J::Made>> {
    let Batch { first, records, bytes, is_earlier, .. } = batch;
    let made = job.make(&records).map_err(|error| {
        let line = |record: Option<&Record>| record.map_or(0, |record| record.line);
        Error::of_lines(J::ACTION, Lines { first: line(records.first()), last: line(records.last()) }, error)
    })?;
    Ok(Done { first, made, records, is_earlier, bytes })
}

/// Writes results until the window ends or a fault comes up.
fn write_all<W: Writer>(
    window: &Work<W::Made>,
    interrupted: &AtomicBool,
    writer: &mut W,
    progress: &mut Progress,
) -> Result<(), Error> {
    let outcome = loop {
        let next = match window.try_next() {
            Next::NotYet => {
                // Before a wait, what is there goes out: a reader at the other end of a pipe may need it to go on.
                writer.flush()?;
                window.next()
            }
            next => next,
        };
        match next {
            Next::Outcome(Some(Ok(done))) => match writer.write(&done) {
                Ok(count) => progress.advance(count, done.bytes),
                Err(error) => break Err(error),
            },
            Next::Outcome(Some(Err(error))) => break Err(error),
            Next::Outcome(None) => break Err(Error::Thread("computing")),
            Next::NotYet => unreachable!("`Window::next` waits"),
            Next::End => break Ok(()),
        }
    };
    let flushed = writer.flush();
    // Acquire: pairs with the Release in the signal's closure.
    let stopped = interrupted.load(Ordering::Acquire);
    outcome.and(flushed)?;
    if stopped {
        let (texts, can_append) = writer.there();
        return Err(Error::Interrupted { texts, can_append });
    }
    progress.finish();
    Ok(())
}

struct StopOnDrop<'a, M>(&'a Work<M>);

impl<M> Drop for StopOnDrop<'_, M> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct CloseOnDrop<'a, M>(&'a Work<M>);

impl<M> Drop for CloseOnDrop<'_, M> {
    fn drop(&mut self) {
        if thread::panicking() {
            // Without this a reader's panic would look like the end of the input.
            let _ = self.0.push_outcome(Err(Error::Thread("reading the input")));
        }
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_reader_is_no_end_of_the_input() {
        let window = Work::<()>::new(4, 100);
        let reader = thread::scope(|scope| {
            let read = || {
                let _close = CloseOnDrop(&window);
                panic!("on purpose");
            };
            scope.spawn(read).join()
        });
        assert!(reader.is_err());
        assert!(matches!(window.next(), Next::Outcome(Some(Err(Error::Thread(_))))));
        assert!(matches!(window.next(), Next::End));
    }
}
