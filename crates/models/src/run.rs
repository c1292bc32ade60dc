//! A call on its way: its sequences in passes, two of which the device has at a time.

use crate::error::{Error, Result};
use crate::packed::passes;
use crate::task::Task;
use crate::task::table::{Items, Row, Table};
use crate::tokenizer::Tokens;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_runtime::{Error as RuntimeError, Event, Pending, Result as RuntimeResult, Step, Stream};
use thalweg_tensor::{Error as TensorError, Tensor};

/// How many passes are recorded at once: while the device is at one, the next is packed, uploaded and waits for it.
const PASSES_AT_ONCE: usize = 2;
/// The most values that a pass gives (32 MiB): on their way to the host they are there twice.
pub(crate) const VALUES_PER_PASS: usize = 8 << 20;
/// How long a pass waits for room that others have, after everything has run that its stream had before: others may
/// take what is theirs, and give back staging or memory.
const LINGER: Duration = Duration::from_secs(2);

/// What is to be done of a call, and what is.
pub(crate) struct Run<T: Task> {
    task: T,
    /// A row for each text of the call, and the values of the passes that are over.
    table: Table<T::Items>,
    /// How many values all passes give.
    values: usize,
    /// Those that can be computed, in order, with their rows.
    sequences: Vec<(usize, Tokens)>,
    /// The passes that are not yet recorded, as ranges of `sequences`.
    waiting: VecDeque<Range<usize>>,
    /// The passes that the device has.
    recorded: VecDeque<Pass>,
    /// There has been no room for what is next; others may have it, and give it back.
    short: Option<Short>,
}

/// That there is no room.
struct Short {
    /// What the stream had before the first try, which gives back what it has. What failed tries leave is not in it.
    before: Event,
    /// Since when all of that has run.
    since: Option<Instant>,
}

/// A pass that the device has.
struct Pass {
    sequences: Range<usize>,
    /// `[rows, width]`.
    output: Tensor,
    /// The rows that are here.
    values: Vec<f32>,
    /// The next rows on their way to the host, once somebody waits for them.
    part: Option<Pending<Vec<f32>>>,
    /// How many rows come at a time: all, where staging has room for so many.
    rows: usize,
}

/// Where staging has no room even for so many bytes, a pass waits.
const LEAST_STAGED: usize = 16 << 10;

impl Pass {
    /// Has the next rows copied to the host, unless they are on their way.
    ///
    /// # Errors
    /// That staging has room for not even one.
    fn fetch(&mut self) -> Result<()> {
        let width = self.output.shape()[1];
        let row_bytes = width * size_of::<f32>();
        let here = self.values.len() / width;
        let left = self.output.shape()[0] - here;
        let most = (self.output.device().staged_at_once() as usize / row_bytes).max(1);
        while self.part.is_none() && left > 0 {
            let rows = self.rows.min(left).min(most);
            match self.output.narrow(0, here, rows)?.into_pending() {
                Ok(part) => {
                    self.part = Some(part);
                    self.rows = 2 * rows;
                }
                Err(TensorError::Runtime(RuntimeError::OutOfMemory(_) | RuntimeError::Busy))
                    if rows > 1 && rows * row_bytes > LEAST_STAGED =>
                {
                    self.rows = rows.div_ceil(2);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What to wait for; nothing, if all rows are here.
    ///
    /// # Errors
    /// As for [`fetch`](Self::fetch); that the pass failed.
    fn next(&mut self) -> Result<Option<&Pending<Vec<f32>>>> {
        while let Some(part) = self.part.take_if(|part| part.is_done()) {
            let values = part.wait()?;
            // The handle goes first, so that the values are nobody else's.
            drop(part);
            if self.values.is_empty() {
                self.values = Arc::unwrap_or_clone(values);
            } else {
                self.values.extend_from_slice(&values);
            }
            self.fetch()?;
        }
        self.fetch()?;
        Ok(self.part.as_ref())
    }
}

impl<T: Task> Run<T> {
    /// A call with these texts' tokens, or what was wrong with them. Records its first passes, as far as the device
    /// takes them. `awaited` says that the caller waits for it at once.
    pub(crate) fn submit(task: &T, texts: Vec<Result<Tokens>>, awaited: bool) -> Pending<T::Output> {
        // First of all: in a forked child a lock may be held for ever.
        if let Err(error) = task.model().device.check() {
            return Pending::failed(error);
        }
        let mut run = Self::new(task, texts.len());
        texts.into_iter().for_each(|text| run.push(text));
        run.cut();
        for _ in 0..PASSES_AT_ONCE {
            match run.record() {
                Ok(()) => {}
                // Whoever waits for it goes on.
                Err(RuntimeError::Busy) => break,
                Err(error) => return Pending::failed(error),
            }
            if awaited {
                run.fetch();
            }
            run.flush();
        }
        run.pending()
    }

    /// A call of so many texts, which are to be [pushed](Self::push).
    pub(crate) fn new(task: &T, texts: usize) -> Self {
        Self {
            task: task.clone(),
            table: Table::new(task.width(), texts),
            values: 0,
            sequences: Vec::with_capacity(texts),
            waiting: VecDeque::new(),
            recorded: VecDeque::new(),
            short: None,
        }
    }

    /// Adds a text's tokens, or what was wrong with it.
    pub(crate) fn push(&mut self, text: Result<Tokens>) {
        let row = self.table.rows.len();
        let (tokens, cut) = text.as_ref().map_or((0, false), |tokens| (tokens.len(), tokens.is_cut()));
        let error = match text.and_then(|tokens| self.task.take(row, tokens)) {
            Ok(tokens) => {
                self.sequences.push((row, tokens));
                None
            }
            Err(error) => Some(error),
        };
        self.table.rows.push(Row { tokens, cut, error });
    }

    /// Cuts what was pushed into passes.
    fn cut(&mut self) {
        let width = self.task.width();
        let costs = self.sequences.iter().map(|(_, tokens)| [tokens.len(), self.task.rows(tokens.len()) * width]);
        self.values = costs.clone().map(|[_, values]| values).sum();
        self.waiting = passes(costs, [self.task.tokens_per_pass(), VALUES_PER_PASS]).collect();
    }

    /// What comes of the call, all of which is done by those who wait for it: nothing is recorded yet.
    pub(crate) fn start(mut self) -> Pending<T::Output> {
        self.cut();
        self.pending()
    }

    fn pending(mut self) -> Pending<T::Output> {
        let device = self.task.model().device.clone();
        Pending::in_steps(&device, move || self.step())
    }

    /// Takes the values of the pass that is over, and records another.
    ///
    /// # Errors
    /// That the device is busy, and then nothing is lost; that it takes no work any more.
    fn step(&mut self) -> RuntimeResult<Step<T::Output>> {
        if let Some(mut first) = self.recorded.pop_front() {
            let before = self.before()?;
            match first.next() {
                Ok(Some(part)) if self.is_enough(self.recorded.len() + 1) => {
                    let step = Step::after(part);
                    self.recorded.push_front(first);
                    return Ok(step);
                }
                Ok(Some(_)) => self.recorded.push_front(first),
                Err(error) if self.passes(&error, before) => {
                    self.recorded.push_front(first);
                    return Err(RuntimeError::Busy);
                }
                Err(error) => self.fails(&first.sequences, error)?,
                Ok(None) => self.take(first),
            }
        }
        let busy = match self.record() {
            // The next pass gives back what this one lacks.
            Err(RuntimeError::Busy) if !self.recorded.is_empty() => true,
            recorded => {
                recorded?;
                false
            }
        };
        self.fetch();
        self.flush();
        if !busy && !self.is_enough(self.recorded.len()) {
            // One at a time: a task lets others run in between.
            return Ok(Step::after(&Pending::ready(())));
        }
        Ok(match self.recorded.front() {
            Some(Pass { part: Some(part), .. }) => Step::after(part),
            Some(_) => return Err(RuntimeError::Busy),
            None => Step::done(self.finish()),
        })
    }

    /// Whether so many recorded passes are as many as the device is to have, or all there are.
    fn is_enough(&self, recorded: usize) -> bool {
        self.waiting.is_empty() || recorded >= PASSES_AT_ONCE
    }

    /// Has the values of what is recorded copied to the host. Not before somebody waits for them: on their way they
    /// hold staging, which others need.
    fn fetch(&mut self) {
        for pass in &mut self.recorded {
            // What is wrong is found again when its turn comes. No later pass takes the room that this one lacks.
            if pass.fetch().is_err() {
                break;
            }
        }
    }

    /// The device is to begin now, not when somebody waits.
    fn flush(&self) {
        // Where it is busy it will; and what else may be wrong, those who wait are told.
        let _ = Stream::current(&self.task.model().device).and_then(|stream| stream.flush());
    }

    /// Records the next pass, if there is one. One that cannot be computed fails alone, and the one after it is next.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    fn record(&mut self) -> RuntimeResult<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        // Nothing is begun while nothing can be handed over: it might not get through.
        Stream::current(&self.task.model().device)?.flush()?;
        while let Some(range) = self.waiting.front().cloned() {
            let before = self.before()?;
            let recorded = {
                let sequences: Vec<&Tokens> = self.sequences[range.clone()].iter().map(|(_, tokens)| tokens).collect();
                self.task.model().record(&self.task, &sequences)
            };
            match recorded {
                Ok(output) => {
                    self.waiting.pop_front();
                    self.short = None;
                    let rows = output.shape()[0];
                    self.recorded.push_back(Pass { sequences: range, output, values: Vec::new(), part: None, rows });
                    return Ok(());
                }
                Err(error) if self.passes(&error, before) => return Err(RuntimeError::Busy),
                Err(error) => {
                    self.fails(&range, error)?;
                    self.waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    /// What the stream has so far.
    fn before(&self) -> RuntimeResult<Event> {
        Ok(Stream::current(&self.task.model().device)?.record_event())
    }

    /// Whether the same may succeed when the device, or others, have gone on.
    fn passes(&mut self, error: &Error, before: Event) -> bool {
        match error {
            Error::Runtime(RuntimeError::Busy) => {}
            Error::Runtime(RuntimeError::OutOfMemory(report)) if report.retry_can_help => {}
            _ => return false,
        }
        let short = self.short.get_or_insert(Short { before, since: None });
        !short.before.query() || short.since.get_or_insert_with(Instant::now).elapsed() < LINGER
    }

    /// A pass of these sequences has failed.
    ///
    /// # Errors
    /// That the device takes no work any more.
    fn fails(&mut self, sequences: &Range<usize>, error: Error) -> RuntimeResult<()> {
        self.task.model().device.check()?;
        for (row, _) in &self.sequences[sequences.clone()] {
            self.table.rows[*row].error = Some(error.clone());
        }
        Ok(())
    }

    /// Takes the values of a pass, all of which are here.
    fn take(&mut self, pass: Pass) {
        self.short = None;
        self.table.items.reserve(self.values);
        let width = self.task.width();
        let mut values = &pass.values[..];
        for (text, tokens) in &self.sequences[pass.sequences] {
            let own;
            (own, values) = values.split_at(self.task.rows(tokens.len()) * width);
            if own.iter().all(|value| value.is_finite()) {
                self.task.keep(own, &mut self.table.items);
            } else {
                let dtype = self.task.model().dtype();
                self.table.rows[*text].error = Some(Error::NotFinite { text: *text, dtype });
            }
            // Passes come in the order of the texts: what lies before is there, or failed.
            self.table.end(*text);
        }
        debug_assert!(values.is_empty());
    }

    fn finish(&mut self) -> T::Output {
        let mut table = std::mem::replace(&mut self.table, Table::new(0, 0));
        table.end_all();
        self.task.output(table)
    }
}
