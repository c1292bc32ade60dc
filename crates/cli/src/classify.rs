//! `thalweg classify`: texts, or pairs of texts, in; the labels of each and their scores out.

use serde::Serialize;
use thalweg::{Classes, Classifier, ModelError};

use crate::args::ClassifyArgs;
use crate::error::Error;
use crate::flow::{Done, Job};
use crate::input::{Reads, Record};
use crate::lines::{self, Line, Lines, Opened};
use crate::model;

/// Runs the command.
///
/// # Errors
///
/// Whatever ended the work before the end of the input; every earlier result is written.
pub fn run(args: &ClassifyArgs) -> Result<(), Error> {
    let reads = Reads { second: Some("text_pair"), ..Reads::default() };
    let mut opened = Opened::open(&args.model, &args.input, Some(&args.trace), reads, &["classes"])?;
    let output = opened.output(&args.output)?;
    let load = |device: &_, path: &_, options| Classifier::load_with(device, path, options);
    let (device, model) = model::load(&args.device, &opened.directory, args.dtype, load)?;
    let lines = Ranked { top: args.top.map_or(usize::MAX, |top| top as usize) };
    let opened = (opened, output);
    lines::run(&Classify(&model), lines, model.max_tokens(), Some(&device), opened, (&args.pace, args.progress))
}

struct Classify<'a>(&'a Classifier);

/// The classes of a batch: of texts alone, and of pairs.
struct Made {
    texts: Option<Classes>,
    pairs: Option<Classes>,
    /// For each record, whether it is a pair, and its row among those.
    rows: Vec<(bool, usize)>,
}

impl Job for Classify<'_> {
    type Made = Made;

    const ACTION: &'static str = "classify";

    fn make(&self, records: &[Record]) -> Result<Made, ModelError> {
        let (mut texts, mut pairs, mut rows) = (Vec::new(), Vec::new(), Vec::with_capacity(records.len()));
        for Record { text, second, .. } in records {
            match second {
                None => {
                    rows.push((false, texts.len()));
                    texts.push(text.as_str());
                }
                Some(second) => {
                    rows.push((true, pairs.len()));
                    pairs.push((text.as_str(), second.as_str()));
                }
            }
        }
        let texts = (!texts.is_empty()).then(|| self.0.classify(&texts)).transpose()?;
        let pairs = (!pairs.is_empty()).then(|| self.0.classify_pairs(&pairs)).transpose()?;
        Ok(Made { texts, pairs, rows })
    }
}

/// A label of a text.
#[derive(Serialize)]
struct Class<'a> {
    label: &'a str,
    score: f32,
}

/// The best labels of each text, the best first.
struct Ranked {
    top: usize,
}

impl Lines for Ranked {
    type Made = Made;

    fn line(&mut self, done: &Done<Made>, record: usize, _: u64) -> Result<Line, Error> {
        let Made { texts, pairs, rows } = &done.made;
        let (is_pair, row) = rows[record];
        let classes = if is_pair { pairs } else { texts };
        let Some(classes) = classes else { return Err(Error::Thread("classifying")) };
        let ranked = classes.ranked(row);
        let ranked = ranked.map_err(|error| Error::of_lines(Classify::ACTION, done.lines(record), error))?;
        let ranked: Vec<_> = ranked.into_iter().take(self.top).map(|(label, score)| Class { label, score }).collect();
        let members = format!(",\"classes\":{}", lines::json(&ranked));
        Ok(Line { tokens: classes.tokens(row), is_cut: classes.cut(row), members: Some(members) })
    }
}
