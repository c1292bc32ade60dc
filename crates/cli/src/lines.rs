//! What the commands with an input, a model and results have in common, and lines as results.

use std::path::{Path, PathBuf};

use thalweg::{Detail, Device};

use crate::args::{InputArgs, OutputArgs, PaceArgs, ProgressMode, TraceArgs};
use crate::error::Error;
use crate::flow::{self, Count, Done, Job, Pace, Writer};
use crate::input::{Input, Reads};
use crate::output::{Cut, Kept, Output, head};
use crate::progress::Progress;
use crate::streams::{Named, refuse_shared};
use crate::{model, trace};

/// What is opened before a model, which takes the longest: everything that can be refused cheaply.
pub struct Opened {
    /// What `--model` names; once it is [checked](Opened::check), the directory of the model.
    pub directory: PathBuf,
    /// The texts.
    pub input: Input,
    /// What is carried through.
    pub kept: Kept,
    /// A trace, if one is wanted.
    pub trace: Option<trace::Wanted>,
}

impl Opened {
    /// Opens what the flags name. Of each JSON line, `reads` is read; results have members of `own` names, beside those
    /// that every line has.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn open(
        model: &Path,
        args: &InputArgs,
        trace: Option<&TraceArgs>,
        reads: Reads,
        own: &[&str],
    ) -> Result<Self, Error> {
        let kept = Kept::of(&args.keep, args.format, own)?;
        let input = Input::open(&args.input, args.format, reads, kept.names())?;
        let trace = trace.map(|trace| trace::Wanted::of(trace, Detail::Full)).transpose()?.flatten();
        Ok(Self { directory: model.to_owned(), input, kept, trace })
    }

    /// Looks for the model, and refuses an output that is the input, a file of the model or the trace; then sees how
    /// the input is written.
    ///
    /// # Errors
    ///
    /// `Model`, if there is none; `Usage`, with both names; those of [`Input::recognise_file`].
    pub fn check(&mut self, output: Named) -> Result<(), Error> {
        self.directory = model::directory(&self.directory)?;
        let mut written = vec![output];
        written.extend(self.trace.as_ref().map(trace::Wanted::named));
        refuse_shared(Some(self.input.named()), written, &self.directory)?;
        self.input.recognise_file()
    }

    /// Opens an output for lines, and checks it.
    ///
    /// # Errors
    ///
    /// Those of [`Output::open`] and [`Opened::check`]; `Usage` where its name says that it is no file of lines.
    pub fn output(&mut self, args: &OutputArgs) -> Result<Output, Error> {
        let path = &args.output;
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        if let Some("npy" | "parquet") = ending.as_deref() {
            let path = path.display();
            return Err(Error::Usage(format!(
                "--output {path}: the results are JSON lines; only embed writes such files"
            )));
        }
        let output = Output::open(path, false)?;
        self.check(output.named())?;
        Ok(output)
    }
}

/// A result, without what all lines have.
pub struct Line {
    /// How many tokens were looked at.
    pub tokens: usize,
    /// Whether a text was cut to them.
    pub is_cut: bool,
    /// The members of the result, each with a comma before it; `None`, if it has no line now.
    pub members: Option<String>,
}

/// Makes lines of what a job made.
pub trait Lines {
    /// What comes of a batch.
    type Made: Send + 'static;

    /// The line of a record, whose result has the number `index`.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    fn line(&mut self, done: &Done<Self::Made>, record: usize, index: u64) -> Result<Line, Error>;

    /// Lines that come at the end, where the whole input was read.
    fn end(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Does the job for the whole input and writes the lines of its results. A text has up to `most` tokens.
///
/// # Errors
///
/// Whatever ended the work before the end of the input; every earlier result is written.
pub fn run<J: Job>(
    job: &J,
    lines: impl Lines<Made = J::Made>,
    most: usize,
    device: Option<&Device>,
    (opened, mut output): (Opened, Output),
    (pace, progress): (&PaceArgs, ProgressMode),
) -> Result<(), Error> {
    let Opened { input, kept, trace, .. } = opened;
    let trace = trace.zip(device).map(|(trace, device)| trace.start(device)).transpose()?;
    output.begin(0, 0)?;
    let progress = Progress::new(progress, input.length(), output.is_terminal());
    let pace = Pace::of(pace, device.map(Device::info));
    let mut writer = LineWriter { output, lines, kept, cut: Cut::default(), index: 0 };
    let mut outcome = flow::run(job, pace, input, None, &mut writer, progress);
    if outcome.is_ok() {
        outcome = writer.end();
    }
    writer.cut.say(most);
    writer.kept.say_what_is_missing();
    trace::finish(trace, outcome)
}

struct LineWriter<L> {
    output: Output,
    lines: L,
    kept: Kept,
    cut: Cut,
    index: u64,
}

impl<L: Lines> LineWriter<L> {
    fn end(&mut self) -> Result<(), Error> {
        for line in self.lines.end() {
            self.output.sink().line(line.as_bytes())?;
        }
        self.output.flush()
    }
}

impl<L: Lines> Writer for LineWriter<L> {
    type Made = L::Made;

    fn write(&mut self, done: &Done<L::Made>) -> Result<Count, Error> {
        let mut count = Count::default();
        for (record, read) in done.records.iter().enumerate() {
            let Line { tokens, is_cut, members } = self.lines.line(done, record, self.index)?;
            if let Some(members) = members {
                let line = head(self.index, tokens, self.kept.written(), &read.kept) + &members + "}";
                self.output.sink().line(line.as_bytes())?;
            }
            count.texts += 1;
            count.tokens += tokens as u64;
            self.index += 1;
            self.cut.see(is_cut);
            self.kept.see(&read.kept);
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.output.flush()
    }

    fn there(&self) -> (u64, bool) {
        (self.index, false)
    }
}

/// A value as it is written.
pub fn json(value: &impl serde::Serialize) -> String {
    String::from_utf8(crate::to_json(value)).expect("JSON is UTF-8")
}
