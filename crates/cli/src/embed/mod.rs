//! `thalweg embed`: texts in, embeddings out.

mod earlier;
mod npy;
#[cfg(feature = "parquet")]
mod parquet;
mod rows;

use thalweg::{EmbeddingModel, Embeddings, ModelError};

use self::earlier::Earlier;
use self::rows::{Row, Rows};
use crate::args::EmbedArgs;
use crate::error::Error;
use crate::flow::{self, Count, Done, Job, Pace, Skip, Writer};
use crate::input::{Reads, Record};
use crate::lines::Opened;
use crate::output::{Cut, Kept};
use crate::progress::Progress;
use crate::{model, trace};

/// Runs the command.
///
/// # Errors
///
/// Whatever ended the work before the end of the input; every earlier result is written.
pub fn run(args: &EmbedArgs) -> Result<(), Error> {
    let mut opened = Opened::open(&args.model, &args.input, Some(&args.trace), Reads::default(), &["embedding"])?;
    let mut rows = Rows::open(&args.output.output, args.append, opened.kept.written())?;
    opened.check(rows.named())?;
    let earlier = args.append.then(|| rows.earlier()).transpose()?;
    let load = |device: &_, path: &_, options| EmbeddingModel::load_with(device, path, options);
    let (device, model) = model::load(&args.device, &opened.directory, args.dtype, load)?;
    let model = match &args.prompt {
        None => model,
        Some(name) => model.with_prompt(name).map_err(|error| model::failed(&opened.directory, error))?,
    };
    if model.pooling_is_assumed() {
        crate::say("note: no file of the model says how vectors of tokens become one; what is usual is done");
    }
    rows.set_width(model.width());
    if let Some(earlier) = &earlier {
        earlier.check_width(model.width(), rows.name())?;
    }
    let Opened { input, kept, trace, .. } = opened;
    let trace = trace.map(|trace| trace.start(&device)).transpose()?;
    if earlier.as_ref().is_none_or(|earlier| earlier.rows == 0) {
        rows.begin(0, 0)?;
    }
    let progress = Progress::new(args.progress, input.length(), rows.is_terminal());
    let pace = Pace::of(&args.pace, Some(device.info()));
    let texts = earlier.as_ref().map_or(0, |earlier| earlier.rows);
    let skip = Skip { texts, output: rows.name().to_owned() };
    let mut writer =
        Embedded { rows, input: input.name().to_owned(), earlier, index: texts, cut: Cut::default(), kept };
    let outcome = flow::run(&Embed(&model), pace, input, Some(skip), &mut writer, progress);
    writer.cut.say(model.max_tokens());
    writer.kept.say_what_is_missing();
    let closed = writer.rows.close();
    let outcome = outcome.and(closed);
    trace::finish(trace, outcome)
}

struct Embed<'a>(&'a EmbeddingModel);

impl Job for Embed<'_> {
    type Made = Embeddings;

    const ACTION: &'static str = "embed";

    fn make(&self, records: &[Record]) -> Result<Embeddings, ModelError> {
        let texts: Vec<&str> = records.iter().map(|record| record.text.as_str()).collect();
        self.0.embed(&texts)
    }
}

/// Writes embeddings in order.
struct Embedded {
    rows: Rows,
    /// The name of the input.
    input: String,
    /// Results of an earlier run, until they are seen to be of this input.
    earlier: Option<Earlier>,
    /// How many results the output has.
    index: u64,
    cut: Cut,
    kept: Kept,
}

impl Writer for Embedded {
    type Made = Embeddings;

    fn write(&mut self, done: &Done<Embeddings>) -> Result<Count, Error> {
        let mut count = Count::default();
        let embeddings = &done.made;
        for (record, Record { kept, .. }) in done.records.iter().enumerate() {
            let values = embeddings.row(record);
            let values = values.map_err(|error| Error::of_lines(Embed::ACTION, done.lines(record), error))?;
            let row = Row { index: self.index, tokens: embeddings.tokens(record), kept, values };
            if done.is_earlier {
                self.go_on_behind(&Row { index: done.first, ..row }, done)?;
                break;
            }
            self.rows.write(&row)?;
            count.texts += 1;
            count.tokens += row.tokens as u64;
            self.index += 1;
            self.cut.see(embeddings.cut(record));
            self.kept.see(kept);
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.rows.flush()
    }

    fn there(&self) -> (u64, bool) {
        (self.index, self.rows.can_append())
    }
}

impl Embedded {
    /// Begins behind the earlier results, if the last of them is `row`.
    fn go_on_behind(&mut self, row: &Row<'_>, done: &Done<Embeddings>) -> Result<(), Error> {
        let Some(earlier) = self.earlier.take() else { return Ok(()) };
        self.rows.confirm(&earlier, row, done.lines(0), &self.input)?;
        self.rows.begin(earlier.bytes, earlier.rows)
    }
}
