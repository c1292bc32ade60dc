//! A call on its way: its sequences in passes, two of which the device has at a time.

use crate::embeddings::{Embeddings, Matrix, Row};
use crate::error::{Error, Result};
use crate::model::{EmbeddingModel, TOKENS_PER_PASS};
use crate::packed::passes;
use crate::tokenizer::Tokens;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_runtime::{Error as RuntimeError, Pending, Result as RuntimeResult, Step, Stream};
use thalweg_tensor::Tensor;

/// How many passes are recorded at once: while the device is at one, the next is packed, uploaded and waits for it.
const PASSES_AT_ONCE: usize = 2;
/// How long a pass waits for room that others have, after the device has nothing more to do for this call: others may
/// take what is theirs, and give back staging or memory.
const LINGER: Duration = Duration::from_secs(10);

/// What is to be done of a call, and what is.
pub(crate) struct Run {
    model: EmbeddingModel,
    /// One for each text of the call.
    rows: Vec<Row>,
    /// Those that can be computed, in order, with their rows.
    sequences: Vec<(usize, Tokens)>,
    /// The passes that are not yet recorded, as ranges of `sequences`.
    waiting: VecDeque<Range<usize>>,
    /// The passes that the device has.
    recorded: VecDeque<Pass>,
    /// Since when there has been no room for what is next; others may have it, and give it back.
    short: Option<Instant>,
    /// The values of the passes that are over, `[rows, width]`; empty before the first.
    values: Vec<f32>,
}

/// A pass that the device has.
struct Pass {
    sequences: Range<usize>,
    /// `[sequences, width]`.
    output: Tensor,
    /// The same on its way to the host, once somebody waits for it and staging has room.
    values: Option<Pending<Vec<f32>>>,
}

impl Pass {
    /// Its values on their way to the host.
    fn fetch(&mut self) -> Result<Pending<Vec<f32>>> {
        if let Some(values) = &self.values {
            return Ok(values.clone());
        }
        let values = self.output.clone().into_pending()?;
        Ok(self.values.insert(values).clone())
    }
}

impl Run {
    /// A call with these texts' tokens, or what was wrong with them. Records its first passes, as far as the device
    /// takes them. `awaited` says that the caller waits for it at once.
    pub(crate) fn submit(model: &EmbeddingModel, texts: Vec<Result<Tokens>>, awaited: bool) -> Pending<Embeddings> {
        // First of all: in a forked child a lock may be held for ever.
        if let Err(error) = model.device().check() {
            return Pending::failed(error);
        }
        let mut run = Self::new(model, texts);
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
        let device = model.device().clone();
        Pending::in_steps(&device, move || run.step())
    }

    fn new(model: &EmbeddingModel, texts: Vec<Result<Tokens>>) -> Self {
        let mut rows = Vec::with_capacity(texts.len());
        let mut sequences = Vec::with_capacity(texts.len());
        for (row, text) in texts.into_iter().enumerate() {
            let (tokens, cut) = text.as_ref().map_or((0, false), |tokens| (tokens.len(), tokens.is_cut()));
            let checked = text.and_then(|tokens| model.check(row, &tokens).map(|()| tokens));
            let error = match checked {
                Ok(tokens) => {
                    sequences.push((row, tokens));
                    None
                }
                Err(error) => Some(error),
            };
            rows.push(Row { tokens, cut, error });
        }
        let waiting = passes(sequences.iter().map(|(_, tokens)| tokens.len()), TOKENS_PER_PASS).collect();
        Self {
            model: model.clone(),
            rows,
            sequences,
            waiting,
            recorded: VecDeque::new(),
            short: None,
            values: Vec::new(),
        }
    }

    /// Takes the values of the pass that is over, and records another.
    ///
    /// # Errors
    /// That the device is busy, and then nothing is lost; that it takes no work any more.
    fn step(&mut self) -> RuntimeResult<Step<Embeddings>> {
        if let Some(mut first) = self.recorded.pop_front() {
            let fetched = first.fetch();
            match &fetched {
                Ok(values) if !values.is_done() => {
                    let step = Step::after(values);
                    self.recorded.push_front(first);
                    self.fetch();
                    self.flush();
                    return Ok(step);
                }
                Err(error) if self.passes(error) => {
                    self.recorded.push_front(first);
                    return Err(RuntimeError::Busy);
                }
                _ => self.take(first.sequences, fetched)?,
            }
        }
        if self.recorded.len() < PASSES_AT_ONCE {
            match self.record() {
                // The next pass gives back what this one lacks.
                Err(RuntimeError::Busy) if !self.recorded.is_empty() => {}
                recorded => recorded?,
            }
        }
        self.fetch();
        self.flush();
        Ok(match self.recorded.front() {
            Some(Pass { values: Some(values), .. }) => Step::after(values),
            Some(_) => return Err(RuntimeError::Busy),
            None => Step::done(self.finish()),
        })
    }

    /// Has the values of what is recorded copied to the host. Not before somebody waits for them: on their way they
    /// hold staging, which others need.
    fn fetch(&mut self) {
        for pass in &mut self.recorded {
            // What is wrong is found again when its turn comes.
            let _ = pass.fetch();
        }
    }

    /// The device is to begin now, not when somebody waits.
    fn flush(&self) {
        // Where it is busy it will; and what else may be wrong, those who wait are told.
        let _ = Stream::current(self.model.device()).and_then(|stream| stream.flush());
    }

    /// Records the next pass, if there is one. One that cannot be computed fails alone, and the one after it is next.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    fn record(&mut self) -> RuntimeResult<()> {
        while let Some(range) = self.waiting.front().cloned() {
            let recorded = {
                let sequences: Vec<&Tokens> = self.sequences[range.clone()].iter().map(|(_, tokens)| tokens).collect();
                self.model.record(&sequences)
            };
            match recorded {
                Ok(output) => {
                    self.waiting.pop_front();
                    self.short = None;
                    self.recorded.push_back(Pass { sequences: range, output, values: None });
                    return Ok(());
                }
                Err(error) if self.passes(&error) => return Err(RuntimeError::Busy),
                Err(error) => {
                    self.fails(&range, error)?;
                    self.waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Whether the same may succeed when the device, or others, have gone on.
    fn passes(&mut self, error: &Error) -> bool {
        match error {
            Error::Runtime(RuntimeError::Busy) => true,
            Error::Runtime(RuntimeError::OutOfMemory(report)) if report.retry_can_help => {
                !self.recorded.is_empty() || self.short.get_or_insert_with(Instant::now).elapsed() < LINGER
            }
            _ => false,
        }
    }

    /// A pass of these sequences has failed.
    ///
    /// # Errors
    /// That the device takes no work any more.
    fn fails(&mut self, sequences: &Range<usize>, error: Error) -> RuntimeResult<()> {
        self.model.device().check()?;
        for (row, _) in &self.sequences[sequences.clone()] {
            self.rows[*row].error = Some(error.clone());
        }
        Ok(())
    }

    /// Takes the values of a pass that is over.
    ///
    /// # Errors
    /// That the device takes no work any more.
    fn take(&mut self, sequences: Range<usize>, fetched: Result<Pending<Vec<f32>>>) -> RuntimeResult<()> {
        // The handle goes here, so that the values are nobody else's.
        let values = match fetched.and_then(|values| Ok(values.wait()?)) {
            Ok(values) => values,
            Err(error) => return self.fails(&sequences, error),
        };
        let width = self.model.width();
        debug_assert_eq!(values.len(), sequences.len() * width);
        let failed: Vec<usize> = self.sequences[sequences.clone()]
            .iter()
            .zip(values.chunks_exact(width))
            .filter(|(_, values)| values.iter().any(|value| !value.is_finite()))
            .map(|((row, _), _)| *row)
            .collect();
        if sequences.len() == self.rows.len() {
            // The only pass has all rows, and nobody else has its values.
            self.values = Arc::unwrap_or_clone(values);
        } else {
            self.values.resize(self.rows.len() * width, f32::NAN);
            for ((row, _), values) in self.sequences[sequences].iter().zip(values.chunks_exact(width)) {
                self.values[row * width..][..width].copy_from_slice(values);
            }
        }
        for text in failed {
            self.values[text * width..][..width].fill(f32::NAN);
            self.rows[text].error = Some(Error::NotFinite { text, dtype: self.model.dtype() });
        }
        Ok(())
    }

    fn finish(&mut self) -> Embeddings {
        let width = self.model.width();
        let mut values = std::mem::take(&mut self.values);
        values.resize(self.rows.len() * width, f32::NAN);
        Embeddings::new(Matrix { width, values, rows: std::mem::take(&mut self.rows) })
    }
}
