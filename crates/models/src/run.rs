//! A call on its way: its sequences in passes, two of which the device has at a time.

use crate::embeddings::{Embeddings, Matrix, Row};
use crate::error::{Error, Result};
use crate::model::{EmbeddingModel, TOKENS_PER_PASS};
use crate::packed::passes;
use crate::tokenizer::Tokens;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use thalweg_runtime::{Error as RuntimeError, Pending, Result as RuntimeResult, Step, Stream};

/// How many passes are recorded at once: while the device is at one, the next is packed, uploaded and waits for it.
const PASSES_AT_ONCE: usize = 2;

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
    /// The values of the passes that are over, `[rows, width]`; empty before the first.
    values: Vec<f32>,
}

/// A pass that the device has.
struct Pass {
    sequences: Range<usize>,
    /// `[sequences, width]`.
    values: Pending<Vec<f32>>,
}

impl Run {
    /// A call with these texts' tokens, or what was wrong with them. Records its first passes, as far as the device
    /// takes them.
    pub(crate) fn submit(model: &EmbeddingModel, texts: Vec<Result<Tokens>>) -> Pending<Embeddings> {
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
        Self { model: model.clone(), rows, sequences, waiting, recorded: VecDeque::new(), values: Vec::new() }
    }

    /// Takes the values of the pass that is over, and records another.
    ///
    /// # Errors
    /// That the device is busy, and then nothing is lost; that it takes no work any more.
    fn step(&mut self) -> RuntimeResult<Step<Embeddings>> {
        if let Some(first) = self.recorded.front() {
            if !first.values.is_done() {
                return Ok(Step::after(&first.values));
            }
            if let Some(pass) = self.recorded.pop_front() {
                self.take(pass)?;
            }
        }
        match self.record() {
            // The next pass gives back what this one lacks.
            Err(RuntimeError::Busy) if !self.recorded.is_empty() => {}
            recorded => recorded?,
        }
        Ok(match self.recorded.front() {
            Some(first) => Step::after(&first.values),
            None => Step::done(self.finish()),
        })
    }

    /// Records the next pass, if there is one. One that cannot be computed fails alone, and the one after it is next.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    fn record(&mut self) -> RuntimeResult<()> {
        while let Some(range) = self.waiting.front().cloned() {
            let recorded = {
                let sequences: Vec<&Tokens> = self.sequences[range.clone()].iter().map(|(_, tokens)| tokens).collect();
                self.model.record(&sequences).and_then(|values| Ok(values.into_pending()?))
            };
            match recorded {
                Ok(values) => {
                    self.waiting.pop_front();
                    self.recorded.push_back(Pass { sequences: range, values });
                    // The device is to begin now, not when somebody waits. Where it is busy it will; and what else may
                    // be wrong, those who wait are told.
                    let _ = Stream::current(self.model.device()).and_then(|stream| stream.flush());
                    return Ok(());
                }
                Err(error) => {
                    self.fails(&range, error, !self.recorded.is_empty())?;
                    self.waiting.pop_front();
                }
            }
        }
        Ok(())
    }

    /// A pass of these sequences has failed.
    ///
    /// # Errors
    /// If it is not the pass alone: no other can be computed either, or it can, later. `others` says whether there are
    /// passes whose end gives back memory.
    fn fails(&mut self, sequences: &Range<usize>, error: Error, others: bool) -> RuntimeResult<()> {
        match &error {
            Error::Runtime(RuntimeError::Busy) => return Err(RuntimeError::Busy),
            Error::Runtime(RuntimeError::OutOfMemory(_)) if others => return Err(RuntimeError::Busy),
            _ => self.model.device().check()?,
        }
        for (row, _) in &self.sequences[sequences.clone()] {
            self.rows[*row].error = Some(error.clone());
        }
        Ok(())
    }

    /// Takes the values of a pass that is over.
    ///
    /// # Errors
    /// That the device takes no work any more.
    fn take(&mut self, pass: Pass) -> RuntimeResult<()> {
        let values = match pass.values.wait() {
            Ok(values) => values,
            Err(error) => return self.fails(&pass.sequences, error.into(), false),
        };
        drop(pass.values);
        let width = self.model.width();
        debug_assert_eq!(values.len(), pass.sequences.len() * width);
        let failed: Vec<usize> = self.sequences[pass.sequences.clone()]
            .iter()
            .zip(values.chunks_exact(width))
            .filter(|(_, values)| values.iter().any(|value| !value.is_finite()))
            .map(|((row, _), _)| *row)
            .collect();
        if pass.sequences.len() == self.rows.len() {
            // The only pass has all rows, and nobody else has its values.
            self.values = Arc::unwrap_or_clone(values);
        } else {
            self.values.resize(self.rows.len() * width, f32::NAN);
            for ((row, _), values) in self.sequences[pass.sequences].iter().zip(values.chunks_exact(width)) {
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
