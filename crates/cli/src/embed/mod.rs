//! `thalweg embed`: a stream of texts in, a stream of embeddings out, many threads in between.
//!
//! ```text
//!  reader thread           N threads                      main thread
//!  Input ──batches──► Window ──► model.embed(batch) ──► Window ──► Output
//! ```
//!
//! The [`Window`] keeps results in the order of the input and bounds what is between the two ends, so memory does not
//! grow with the input. Every fault has a place in that order: what came before it is written, in whole lines, and the
//! fault ends the command. The reader may be blocked on a terminal or a pipe for ever, so nothing waits for it: it is
//! told to stop by closing the window, and ends with the process otherwise.

mod earlier;
mod format;
mod input;
mod output;
mod pace;
mod record;
mod window;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::value::RawValue;
use thalweg::{Detail, EmbeddingModel, Embeddings};

use self::earlier::Earlier;
use self::input::Input;
use self::output::{Output, ResultLine};
use self::pace::Pace;
use self::record::Record;
use self::window::{Closed, Next, Window};
use crate::args::{EmbedArgs, Format};
use crate::error::{Error, Lines};
use crate::progress::Progress;
use crate::streams::refuse_shared;
use crate::{interrupt, model, trace};

/// Batches in the window for each thread: one that it works on, one that waits for it, and two that let it go on while
/// the result before them is still being computed.
const BATCHES_PER_THREAD: usize = 4;
/// Bytes of text in the window, beside which only a single longer batch is let in. It bounds the memory of the texts
/// themselves: tokenising takes a few megabytes a thread, however long the texts.
const TEXT_IN_WINDOW: usize = input::MAX_LINE;
/// A batch of this many bytes of text is cut short; its texts' results do not change.
const TEXT_IN_BATCH: usize = 1 << 20;

/// Texts that one call embeds.
struct Batch {
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

/// The embeddings of a batch.
struct Results {
    first: u64,
    embeddings: Embeddings,
    /// Where each text is.
    places: Vec<u64>,
    /// What is carried through beside each.
    kept: Vec<Vec<Option<Box<RawValue>>>>,
    bytes: u64,
    is_earlier: bool,
}

type Outcome<T> = Result<T, Error>;
type Work = Window<Batch, Outcome<Results>>;

/// Runs the command.
///
/// # Errors
///
/// Whatever ended the work before the end of the input; every earlier result is written.
pub fn run(args: &EmbedArgs) -> Result<(), Error> {
    // Everything that can be refused cheaply comes before the model, which takes the longest.
    let keep = names_to_keep(args)?;
    let directory = model::directory(&args.model)?;
    let mut input = Input::open(&args.input, args.format, Arc::clone(&keep))?;
    let mut output = Output::open(&args.output, args.append, &keep)?;
    let trace = trace::Wanted::of(&args.trace, Detail::Full)?;
    refuse_one_file_twice(&directory, &input, &output, trace.as_ref())?;
    input.recognise_file()?;
    let earlier = args.append.then(|| output.earlier()).transpose()?;
    let (device, model) = model::load(&args.device, &directory, args.dtype)?;
    if let Some(earlier) = &earlier {
        earlier.check_width(model.width(), output.name())?;
    }
    let trace = trace.map(|trace| trace.start(&device)).transpose()?;
    if earlier.as_ref().is_none_or(|earlier| earlier.lines == 0) {
        output.begin(0, 0)?;
    }
    let outcome = embed_all(args, &model, input, output, earlier);
    // Whatever it came to.
    let traced = trace.map(trace::Running::finish).transpose().map(drop);
    match (outcome, traced) {
        (Err(error), Err(untraced)) => {
            crate::say(&untraced.describe());
            Err(error)
        }
        (outcome, traced) => outcome.and(traced),
    }
}

/// The members that `--keep` names.
fn names_to_keep(args: &EmbedArgs) -> Result<Arc<[String]>, Error> {
    let refuse = |what: String| Err(Error::Usage(format!("--keep {}: {what}", args.keep.join(","))));
    if !args.keep.is_empty() && args.format == Format::Text {
        return refuse("text has no members; it needs JSON lines".to_owned());
    }
    for (index, name) in args.keep.iter().enumerate() {
        match name.as_str() {
            "" => return refuse("a name is empty".to_owned()),
            "index" | "tokens" | "embedding" => return refuse(format!("each result has its own member {name:?}")),
            _ if args.keep[..index].contains(name) => return refuse(format!("{name:?} is there twice")),
            _ => {}
        }
    }
    Ok(args.keep.clone().into())
}

/// The input is not to be written, and each file only as one thing.
fn refuse_one_file_twice(
    directory: &Path,
    input: &Input,
    output: &Output,
    trace: Option<&trace::Wanted>,
) -> Result<(), Error> {
    let mut written = vec![output.named()];
    written.extend(trace.map(trace::Wanted::named));
    refuse_shared(Some(input.named()), written, directory)
}

/// Embeds the input, or what of it has no result in `earlier`.
fn embed_all(
    args: &EmbedArgs,
    model: &EmbeddingModel,
    input: Input,
    output: Output,
    earlier: Option<Earlier>,
) -> Result<(), Error> {
    let progress = Progress::new(args.progress, input.length(), output.is_terminal());

    let chosen = pace::choose(model.device().info());
    let pace = Pace {
        threads: args.threads.map_or(chosen.threads, usize::from),
        batch: args.batch.map_or(chosen.batch, usize::from),
    };
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
    let mut writer = Writer {
        output,
        input: input.name().to_owned(),
        earlier,
        index: 0,
        written: 0,
        cut: 0,
        kept: vec![false; args.keep.len()],
        progress,
    };
    writer.index = writer.earlier.as_ref().map_or(0, |earlier| earlier.lines);
    let batches = Batches {
        input,
        size: pace.batch,
        first: 0,
        position: 0,
        skip: writer.index,
        output: writer.output.name().to_owned(),
        fault: None,
    };
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
                .name("thalweg-embed".to_owned())
                .spawn_scoped(scope, || window.work(|batch| embed(model, batch)))
                .map_err(|source| Error::System { action: "start a thread", source })?;
            workers.push(worker);
        }
        let outcome = writer.write_all(&window, &interrupted);
        drop(stop);
        for worker in workers {
            // A panic has an empty outcome in the window, which the writer reports.
            let _ = worker.join();
        }
        if writer.cut > 0 {
            let (cut, written, most) = (writer.cut, writer.written, model.max_tokens());
            crate::say(&format!("note: {cut} of {written} texts were longer than {most} tokens and were cut"));
        }
        if writer.written > 0 {
            for (name, _) in args.keep.iter().zip(&writer.kept).filter(|(_, kept)| !**kept) {
                crate::say(&format!("note: no line has the member {name:?} of --keep"));
            }
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
    /// How many texts are still to be passed over, because their results are there.
    skip: u64,
    /// The file that has them.
    output: String,
    fault: Option<Error>,
}

impl Iterator for Batches {
    type Item = Outcome<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.skip > 0 {
            return Some(self.last_of_earlier());
        }
        let (mut records, mut weight) = (Vec::new(), 0);
        while self.fault.is_none() && records.len() < self.size && weight < TEXT_IN_BATCH {
            // Nobody waits for a result until the next text is written, which may be an answer to it.
            if !records.is_empty() && !self.input.has_text_at_hand() {
                break;
            }
            match self.input.next_text() {
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
    fn last_of_earlier(&mut self) -> Outcome<Batch> {
        let lines = std::mem::take(&mut self.skip);
        loop {
            let Some(record) = self.input.next_text()? else {
                let reason = format!("it has {lines} results, and {} only {} texts", self.input.name(), self.first);
                return Err(Error::Append { output: self.output.clone(), reason });
            };
            if self.first + 1 == lines {
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
fn feed(batches: Batches, window: &Work) {
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

fn embed(model: &EmbeddingModel, batch: Batch) -> Outcome<Results> {
    let Batch { first, records, bytes, is_earlier, .. } = batch;
    let texts: Vec<&str> = records.iter().map(|record| record.text.as_str()).collect();
    let embeddings = model.embed(&texts).map_err(|error| {
        let line = |record: Option<&Record>| record.map_or(0, |record| record.line);
        Error::embedding(Lines { first: line(records.first()), last: line(records.last()) }, error)
    })?;
    let (places, kept) = records.into_iter().map(|record| (record.line, record.kept)).unzip();
    Ok(Results { first, embeddings, places, kept, bytes, is_earlier })
}

/// Writes results in order.
struct Writer {
    output: Output,
    /// The name of the input.
    input: String,
    /// Results of an earlier run, until they are seen to be of this input.
    earlier: Option<Earlier>,
    /// How many results the output has.
    index: u64,
    /// How many of them this run has written.
    written: u64,
    /// How many of those are of texts that were cut.
    cut: u64,
    /// For each name of `--keep`, whether some line of this run had it.
    kept: Vec<bool>,
    progress: Progress,
}

impl Writer {
    /// Writes results until the window ends or a fault comes up.
    fn write_all(&mut self, window: &Work, interrupted: &AtomicBool) -> Result<(), Error> {
        let outcome = loop {
            let next = match window.try_next() {
                Next::NotYet => {
                    // Before a wait, what is there goes out: a reader at the other end of a pipe may need it to go on.
                    self.output.flush()?;
                    window.next()
                }
                next => next,
            };
            match next {
                Next::Outcome(Some(Ok(results))) => self.write(&results)?,
                Next::Outcome(Some(Err(error))) => break Err(error),
                Next::Outcome(None) => break Err(Error::Thread("embedding")),
                Next::NotYet => unreachable!("`Window::next` waits"),
                Next::End => break Ok(()),
            }
        };
        let flushed = self.output.flush();
        // Acquire: pairs with the Release in the signal's closure.
        let stopped = interrupted.load(Ordering::Acquire);
        outcome.and(flushed)?;
        if stopped {
            return Err(Error::Interrupted { texts: self.index, can_append: self.output.is_file() });
        }
        self.progress.finish();
        Ok(())
    }

    fn write(&mut self, results: &Results) -> Result<(), Error> {
        let mut tokens = 0;
        let embeddings = &results.embeddings;
        for (row, kept) in results.kept.iter().enumerate() {
            let lines = Lines { first: results.places[row], last: results.places[row] };
            let values = embeddings.row(row).map_err(|error| Error::embedding(lines, error))?;
            let count = embeddings.tokens(row);
            if results.is_earlier {
                let line = ResultLine { index: results.first, tokens: count, kept, values };
                return self.go_on_behind(&line, lines, results);
            }
            self.output.write(&ResultLine { index: self.index, tokens: count, kept, values })?;
            tokens += count as u64;
            self.index += 1;
            self.written += 1;
            self.cut += u64::from(embeddings.cut(row));
            self.kept.iter_mut().zip(kept).for_each(|(seen, value)| *seen |= value.is_some());
        }
        self.progress.advance(embeddings.rows() as u64, tokens, results.bytes);
        Ok(())
    }

    /// Begins behind the earlier results, if the last of them is `line`.
    fn go_on_behind(&mut self, line: &ResultLine<'_>, lines: Lines, results: &Results) -> Result<(), Error> {
        if let Some(earlier) = self.earlier.take() {
            self.output.confirm(&earlier, line, lines, &self.input)?;
            self.output.begin(earlier.bytes, earlier.lines)?;
        }
        self.progress.advance(0, 0, results.bytes);
        Ok(())
    }
}

struct StopOnDrop<'a>(&'a Work);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct CloseOnDrop<'a>(&'a Work);

impl Drop for CloseOnDrop<'_> {
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
        let window = Work::new(4, 100);
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
