//! The results, one JSON object a line, to a file or standard output.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::embed::earlier::{self, Earlier};
use crate::error::{Error, Lines};
use crate::streams::{self, FileId, Named, Sink, Standard};

/// Where the results go.
pub struct Output {
    sink: Sink,
    /// Names of members that are carried through, as JSON strings.
    keep: Vec<String>,
    /// Whether it is a file that was opened here, and so is emptied.
    is_ours: bool,
    /// The file, if it was made here and no work on it has begun.
    made: Option<PathBuf>,
}

impl Output {
    /// Opens the file at `path`, or standard output for `-`. What a file holds stays until [`Output::begin`]; one that
    /// was not there is gone again if it never comes to that.
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be opened for writing, or another process writes it; `Stream` when standard output is
    /// closed or read-only; `Usage` when results are to be appended to what is no file.
    pub fn open(path: &Path, append: bool, keep: &Arc<[String]>) -> Result<Self, Error> {
        let keep = keep.iter().map(|name| serde_json::Value::from(name.as_str()).to_string()).collect();
        let no_file = |what| {
            Error::Usage(format!("--append needs a file to go on with, and {what} is none; name it with --output"))
        };
        if Standard::Output.is_at(path) {
            if append {
                return Err(no_file(Standard::Output.name().to_owned()));
            }
            return Ok(Self { sink: Sink::standard_output()?, keep, is_ours: false, made: None });
        }
        let fail = |source| Error::file("write", path, source);
        let is_new = fs::metadata(path).is_err();
        let file = OpenOptions::new().read(append).write(true).create(true).truncate(false).open(path).map_err(fail)?;
        // Under its own name: `path` may be a link to where nothing was.
        let made = is_new.then(|| fs::canonicalize(path).ok()).flatten();
        let is_file = file.metadata().map_err(fail)?.is_file();
        if append && !is_file {
            return Err(no_file(path.display().to_string()));
        }
        if is_file && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(fail(io::Error::other("another process is writing it")));
        }
        Ok(Self { sink: Sink::new(file, path.display().to_string()), keep, is_ours: true, made })
    }

    /// The flag that names it, and which file it is.
    pub fn named(&self) -> Named {
        (streams::flag("--output", self.name()), FileId::of(self.sink.file()))
    }

    /// As people know it.
    pub fn name(&self) -> &str {
        self.sink.name()
    }

    /// Whether a later run can go on with it.
    pub fn is_file(&self) -> bool {
        self.is_ours && FileId::of(self.sink.file()).is_some()
    }

    /// Whether the results go to a terminal.
    pub fn is_terminal(&self) -> bool {
        self.sink.is_terminal()
    }

    /// The results that the file has.
    ///
    /// # Errors
    ///
    /// `Append` when it has something else; `Io` when it cannot be read.
    pub fn earlier(&self) -> Result<Earlier, Error> {
        earlier::read(self.sink.file(), self.name())
    }

    /// Checks that the last of `earlier` is `result`, but for the last digits of its values: then the rest of the input
    /// goes on where they end.
    ///
    /// # Errors
    ///
    /// `Append` when it is not.
    pub fn confirm(&self, earlier: &Earlier, result: &ResultLine<'_>, lines: Lines, input: &str) -> Result<(), Error> {
        if earlier.ends_with(&result.head(&self.keep), result.values) {
            return Ok(());
        }
        let reason = format!(
            "its last result, with index {}, is not that of {lines} of {input}; the input, the model or --keep is \
             another",
            result.index
        );
        Err(Error::Append { output: self.name().to_owned(), reason })
    }

    /// Empties the file, but for its first `bytes` bytes, which are `lines` results. Standard output, pipes and devices
    /// are left as they are.
    ///
    /// # Errors
    ///
    /// `Write` when the system refuses.
    pub fn begin(&mut self, bytes: u64, lines: u64) -> Result<(), Error> {
        self.made = None;
        if self.is_ours { self.sink.begin_at(bytes, lines) } else { Ok(()) }
    }

    /// Writes a result; it may stay in the buffer until [`Output::flush`].
    ///
    /// # Errors
    ///
    /// `Write` when writing fails.
    pub fn write(&mut self, result: &ResultLine<'_>) -> Result<(), Error> {
        let mut line = result.head(&self.keep).into_bytes();
        result.tail(&mut line);
        self.sink.line(&line)
    }

    /// Hands everything written so far to the system.
    ///
    /// # Errors
    ///
    /// `Write` when writing fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.sink.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // It was not there before, and there is nothing in it.
            let _ = fs::remove_file(path);
        }
    }
}

/// One line.
pub struct ResultLine<'a> {
    /// The number of the text, counted from 0.
    pub index: u64,
    /// How many tokens it was computed from.
    pub tokens: usize,
    /// A value for each name that is carried through.
    pub kept: &'a [Option<Box<RawValue>>],
    /// The embedding.
    pub values: &'a [f32],
}

impl ResultLine<'_> {
    /// Everything before the values. Members that are carried through have the names `keep`, as JSON strings.
    fn head(&self, keep: &[String]) -> String {
        let mut head = format!("{}{}", earlier::beginning(self.index), self.tokens);
        for (name, value) in keep.iter().zip(self.kept) {
            if let Some(value) = value {
                head.push(',');
                head.push_str(name);
                head.push(':');
                head.push_str(value.get());
            }
        }
        head.push_str(",\"embedding\":");
        head
    }

    /// The values, and what ends the line. Of each value the shortest decimal text is written that reads back as the
    /// same `f32`.
    fn tail(&self, line: &mut Vec<u8>) {
        serde_json::to_writer(&mut *line, self.values).expect("memory takes every byte, and each value is a number");
        line.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: u64, kept: &[Option<Box<RawValue>>], values: &[f32], keep: &[String]) -> String {
        let result = ResultLine { index, tokens: 3, kept, values };
        let mut line = result.head(keep).into_bytes();
        result.tail(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn members_are_between_the_tokens_and_the_values() {
        let raw = |text: &str| Some(RawValue::from_string(text.to_owned()).unwrap());
        let kept = [raw("1.50"), None, raw("{\"a\" :1}")];
        let keep = ["\"id\"", "\"x\"", "\"o\\\"\""].map(str::to_owned);
        let expected = r#"{"index":7,"tokens":3,"id":1.50,"o\"":{"a" :1},"embedding":[0.5,-1.0]}"#;
        assert_eq!(line(7, &kept, &[0.5, -1.0], &keep), expected);
        assert_eq!(line(0, &[], &[], &[]), r#"{"index":0,"tokens":3,"embedding":[]}"#);
    }

    #[test]
    fn every_f32_reads_back_as_itself() {
        // A walk over all exponents and signs, with changing mantissas.
        let values: Vec<f32> =
            (0..1u32 << 16).map(|high| f32::from_bits(high << 16 | high.wrapping_mul(40503) & 0xffff)).collect();
        let finite: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
        let back: serde_json::Value = serde_json::from_str(&line(0, &[], &finite, &[])).unwrap();
        let numbers = back["embedding"].as_array().unwrap();
        assert_eq!(numbers.len(), finite.len());
        for (number, value) in numbers.iter().zip(&finite) {
            let read: f32 = number.to_string().parse().unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{number} was {value:e}");
        }
    }
}
