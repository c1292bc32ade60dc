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

mod input;
mod output;
mod window;

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use thalweg::{Detail, Embedding, EmbeddingModel};

use self::input::Input;
use self::output::Output;
use self::window::{Closed, Next, Window};
use crate::args::EmbedArgs;
use crate::error::{Error, Lines};
use crate::progress::Progress;
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
    texts: Vec<String>,
    /// Bytes of memory that the texts take.
    weight: usize,
    /// Bytes of the input that they took.
    bytes: u64,
}

/// The embeddings of a batch.
struct Results {
    embeddings: Vec<Embedding>,
    bytes: u64,
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
    let input = Input::open(&args.input, args.format)?;
    let mut output = Output::open(&args.output)?;
    if let (Some(source), Some(target)) = (input.file(), output.file())
        && is_same_file(source, target)
    {
        return Err(Error::Usage(format!("--input and --output are the same file, {}", args.output.display())));
    }
    let trace = trace::Wanted::of(&args.trace, Detail::Full)?;
    if let Some(trace) = &trace
        && [input.file(), output.file()].into_iter().flatten().any(|file| trace.is(file))
    {
        let path = args.trace.trace.as_deref().unwrap_or(&args.output);
        return Err(Error::Usage(format!("--trace is the input's or the output's file, {}", path.display())));
    }
    let (device, model) = model::load(&args.device, &args.model, args.dtype)?;
    let trace = trace.map(|trace| trace.start(&device)).transpose()?;
    output.begin()?;
    let outcome = embed_all(args, &model, input, output);
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

/// Embeds the input.
fn embed_all(args: &EmbedArgs, model: &EmbeddingModel, input: Input, output: Output) -> Result<(), Error> {
    let progress = Progress::new(args.progress, input.length(), output.is_terminal());

    let threads = usize::from(args.threads);
    let window = Arc::new(Window::new(threads * BATCHES_PER_THREAD, TEXT_IN_WINDOW));
    let interrupted = Arc::new(AtomicBool::new(false));
    {
        let (window, interrupted) = (Arc::clone(&window), Arc::clone(&interrupted));
        // Release: pairs with the Acquire in `write_all`; the stop that follows is what the writer sees first.
        let stop = move || {
            interrupted.store(true, Ordering::Release);
            window.stop();
        };
        interrupt::on_first(stop).map_err(|source| Error::System { action: "handle Ctrl-C", source })?;
    }
    let batches = Batches { input, size: usize::from(args.batch), first: 0, position: 0, fault: None };
    let reader = Arc::clone(&window);
    thread::Builder::new()
        .name("thalweg-input".to_owned())
        .spawn(move || feed(batches, &reader))
        .map_err(|source| Error::System { action: "start a thread", source })?;

    thread::scope(|scope| {
        // Whatever ends the writer, also a panic, ends the threads that this scope waits for.
        let stop = StopOnDrop(&window);
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let worker = thread::Builder::new()
                .name("thalweg-embed".to_owned())
                .spawn_scoped(scope, || window.work(|batch| embed(model, &batch)))
                .map_err(|source| Error::System { action: "start a thread", source })?;
            workers.push(worker);
        }
        let outcome = write_all(&window, &interrupted, output, progress);
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
    fault: Option<Error>,
}

impl Iterator for Batches {
    type Item = Outcome<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut texts, mut weight) = (Vec::new(), 0);
        while self.fault.is_none() && texts.len() < self.size && weight < TEXT_IN_BATCH {
            match self.input.next_text() {
                Ok(Some(text)) => {
                    weight += text.len();
                    texts.push(text);
                }
                Ok(None) => break,
                Err(error) => self.fault = Some(error),
            }
        }
        if texts.is_empty() {
            return self.fault.take().map(Err);
        }
        let bytes = self.input.position() - self.position;
        let batch = Batch { first: self.first, texts, weight, bytes };
        self.first += batch.texts.len() as u64;
        self.position += bytes;
        Some(Ok(batch))
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

fn embed(model: &EmbeddingModel, batch: &Batch) -> Outcome<Results> {
    let lines = || Lines { first: batch.first + 1, last: batch.first + batch.texts.len() as u64 };
    let texts: Vec<&str> = batch.texts.iter().map(String::as_str).collect();
    let embeddings = model.embed(&texts).map_err(|error| Error::Embed { lines: lines(), source: Box::new(error) })?;
    model::check(&embeddings, texts.len()).map_err(|reason| Error::Result { lines: lines(), reason })?;
    Ok(Results { embeddings, bytes: batch.bytes })
}

/// Writes results in order until the window ends or a fault comes up.
fn write_all(window: &Work, interrupted: &AtomicBool, mut output: Output, mut progress: Progress) -> Result<(), Error> {
    let mut index = 0;
    let outcome = loop {
        let next = match window.try_next() {
            Next::NotYet => {
                // Before a wait, what is there goes out: a reader at the other end of a pipe may need it to go on.
                output.flush()?;
                window.next()
            }
            next => next,
        };
        let results = match next {
            Next::Outcome(Some(Ok(results))) => results,
            Next::Outcome(Some(Err(error))) => break Err(error),
            Next::Outcome(None) => break Err(Error::Thread("embedding")),
            Next::NotYet => unreachable!("`Window::next` waits"),
            Next::End => break Ok(()),
        };
        let mut tokens = 0;
        for embedding in &results.embeddings {
            output.write(index, embedding.tokens, &embedding.values)?;
            tokens += embedding.tokens as u64;
            index += 1;
        }
        progress.advance(results.embeddings.len() as u64, tokens, results.bytes);
    };
    let flushed = output.flush();
    // Acquire: pairs with the Release in the signal's closure.
    let stopped = interrupted.load(Ordering::Acquire);
    outcome.and(flushed)?;
    if stopped {
        return Err(Error::Interrupted { texts: index });
    }
    progress.finish();
    Ok(())
}

fn is_same_file(a: &File, b: &File) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.is_file() && b.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
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
