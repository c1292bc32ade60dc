//! `thalweg tokenize`: texts in, what a model sees of them out.

use thalweg::{ModelError, TextTokenizer, Tokens};

use crate::args::{ProgressMode, TokenizeArgs};
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
pub fn run(args: &TokenizeArgs) -> Result<(), Error> {
    let reads = Reads { second: Some("text_pair"), ..Reads::default() };
    let own = ["cut", "ids", "type_ids", "pieces"];
    let mut opened = Opened::open(&args.model, &args.input, None, reads, &own)?;
    let output = opened.output(&args.output)?;
    let tokenizer = TextTokenizer::load(&opened.directory).map_err(|error| model::failed(&opened.directory, error))?;
    let tokenizer = match &args.prompt {
        None => tokenizer,
        Some(name) => tokenizer.with_prompt(name).map_err(|error| model::failed(&opened.directory, error))?,
    };
    let most = tokenizer.max_tokens();
    let opened = (opened, output);
    lines::run(&Tokenize(&tokenizer), Shown(&tokenizer), most, None, opened, (&args.pace, ProgressMode::Never))
}

struct Tokenize<'a>(&'a TextTokenizer);

impl Job for Tokenize<'_> {
    type Made = Vec<Result<Tokens, ModelError>>;

    const ACTION: &'static str = "tokenize";

    fn make(&self, records: &[Record]) -> Result<Self::Made, ModelError> {
        let tokenize = |record: &Record| match &record.second {
            None => self.0.tokenize(&record.text),
            Some(second) => self.0.tokenize_pair(&record.text, second),
        };
        Ok(records.iter().map(tokenize).collect())
    }
}

/// Tokens, for people too.
struct Shown<'a>(&'a TextTokenizer);

impl Lines for Shown<'_> {
    type Made = Vec<Result<Tokens, ModelError>>;

    fn line(&mut self, done: &Done<Self::Made>, record: usize, _: u64) -> Result<Line, Error> {
        let tokens = done.made[record].as_ref();
        let fail = |error: &ModelError| Error::of_lines(Tokenize::ACTION, done.lines(record), error.clone());
        let tokens = tokens.map_err(fail)?;
        let pieces: Vec<_> = tokens.ids().iter().map(|id| self.0.piece(*id)).collect();
        let members = format!(
            ",\"cut\":{},\"ids\":{},\"type_ids\":{},\"pieces\":{}",
            tokens.is_cut(),
            lines::json(&tokens.ids()),
            lines::json(&tokens.type_ids()),
            lines::json(&pieces)
        );
        Ok(Line { tokens: tokens.len(), is_cut: tokens.is_cut(), members: Some(members) })
    }
}
