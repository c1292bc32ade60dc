//! `thalweg rerank`: a query and texts in; how well each goes with the query out.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use serde::Serialize;
use thalweg::{ModelError, Reranker, Scores};

use crate::args::RerankArgs;
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
pub fn run(args: &RerankArgs) -> Result<(), Error> {
    // With a query for all of them, those of the lines are other members.
    let second = args.query.is_none().then_some("query");
    let reads = Reads { second, needs_second: args.query.is_none(), documents: true };
    if args.query.is_some() && args.top.is_some() && !args.input.keep.is_empty() {
        let what =
            "--keep: the best texts of --query and --top have their numbers in the input, and nothing carried through";
        return Err(Error::Usage(what.to_owned()));
    }
    let own = ["score", "scores", "ranking", "text"];
    let mut opened = Opened::open(&args.model, &args.input, Some(&args.trace), reads, &own)?;
    let output = opened.output(&args.output)?;
    let load = |device: &_, path: &_, options| Reranker::load_with(device, path, options);
    let (device, model) = model::load(&args.device, &opened.directory, args.dtype, load)?;
    let job = Rerank { model: &model, query: args.query.as_deref() };
    let lines = Ranking {
        input: opened.input.name().to_owned(),
        has_query: args.query.is_some(),
        top: args.top.map(|top| top as usize),
        best: BinaryHeap::new(),
    };
    lines::run(&job, lines, model.max_tokens(), Some(&device), (opened, output), (&args.pace, args.progress))
}

struct Rerank<'a> {
    model: &'a Reranker,
    /// For all texts, if it is not in their lines.
    query: Option<&'a str>,
}

/// The scores of a batch.
struct Made {
    scores: Scores,
    /// The row of each record's first text, and behind the last one the number of rows.
    rows: Vec<usize>,
}

impl Job for Rerank<'_> {
    type Made = Made;

    const ACTION: &'static str = "rerank";

    fn make(&self, records: &[Record]) -> Result<Made, ModelError> {
        let (mut pairs, mut rows) = (Vec::new(), vec![0]);
        for Record { text, second, documents, .. } in records {
            // One of them is there: the reader has refused lines without.
            let query = self.query.or(second.as_deref()).unwrap_or_default();
            match documents {
                None => pairs.push((query, text.as_str())),
                Some(documents) => pairs.extend(documents.iter().map(|document| (query, document.as_str()))),
            }
            rows.push(pairs.len());
        }
        Ok(Made { scores: self.model.score(&pairs)?, rows })
    }
}

/// A document of a line.
#[derive(Serialize)]
struct Document {
    /// Its place in the line.
    document: usize,
    score: f32,
}

/// A text of the input.
#[derive(Serialize, Clone, Debug)]
struct Text {
    index: u64,
    tokens: usize,
    score: f32,
    text: String,
}

impl Ord for Text {
    /// The worst is the greatest, so that it is what a heap gives up first; of equal ones, the later.
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Text {}

/// Scores in the order of the input; or the best, the best first.
struct Ranking {
    /// The name of the input.
    input: String,
    /// Whether one query is that of all texts.
    has_query: bool,
    /// How many of the best are wanted, if not all in their order.
    top: Option<usize>,
    /// The best texts so far, at most `top`.
    best: BinaryHeap<Text>,
}

impl Lines for Ranking {
    type Made = Made;

    fn line(&mut self, done: &Done<Made>, record: usize, index: u64) -> Result<Line, Error> {
        let Made { scores, rows } = &done.made;
        let rows = rows[record]..rows[record + 1];
        let score = |row| scores.score(row).map_err(|error| Error::of_lines(Rerank::ACTION, done.lines(record), error));
        let tokens = rows.clone().map(|row| scores.tokens(row)).sum();
        let is_cut = rows.clone().any(|row| scores.cut(row));
        let Record { text, documents, line, .. } = &done.records[record];
        let members = match (documents, self.top) {
            (None, None) => Some(format!(",\"score\":{}", lines::json(&score(rows.start)?))),
            (Some(_), None) => {
                let scores = rows.map(score).collect::<Result<Vec<_>, _>>()?;
                Some(format!(",\"scores\":{}", lines::json(&scores)))
            }
            (Some(_), Some(top)) => {
                let rank = |(document, row)| Ok(Document { document, score: score(row)? });
                let mut ranking = rows.enumerate().map(rank).collect::<Result<Vec<_>, Error>>()?;
                ranking.sort_by(|a, b| b.score.total_cmp(&a.score));
                ranking.truncate(top);
                Some(format!(",\"ranking\":{}", lines::json(&ranking)))
            }
            (None, Some(top)) if self.has_query => {
                self.best.push(Text { index, tokens, score: score(rows.start)?, text: text.clone() });
                if self.best.len() > top {
                    self.best.pop();
                }
                None
            }
            (None, Some(_)) => {
                let reason = "--top ranks all texts for one --query, or the \"documents\" of a line; this one has a query \
                              and a \"text\" of its own";
                return Err(Error::Line { input: self.input.clone(), line: *line, reason: reason.to_owned() });
            }
        };
        Ok(Line { tokens, is_cut, members })
    }

    fn end(&mut self) -> Vec<String> {
        let best = std::mem::take(&mut self.best).into_sorted_vec();
        best.iter().map(lines::json).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_gives_up_the_worst_and_of_equal_ones_the_later() {
        let text = |index, score| Text { index, tokens: 1, score, text: String::new() };
        let mut best: BinaryHeap<_> = [text(0, 0.5), text(1, 0.9), text(2, 0.5), text(3, -1.0)].into_iter().collect();
        assert_eq!(best.pop().map(|text| text.index), Some(3));
        assert_eq!(best.pop().map(|text| text.index), Some(2));
        let indices: Vec<_> = best.into_sorted_vec().iter().map(|text| text.index).collect();
        assert_eq!(indices, [1, 0]);
    }
}
