//! The results, one JSON object a line, to a file or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::Error;

/// Where the results go.
pub struct Output {
    writer: BufWriter<Box<dyn Write>>,
    name: String,
    /// The file behind the stream; `None` for standard output.
    file: Option<File>,
}

/// One line. The shortest decimal text that reads back as the same `f32` is written for each value.
#[derive(Serialize)]
struct Line<'a> {
    index: u64,
    tokens: usize,
    embedding: &'a [f32],
}

impl Output {
    /// Opens the file at `path`, or standard output for `-`. What a file holds stays until [`Output::begin`].
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::file("write", path, source);
        let (writer, file): (Box<dyn Write>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdout().lock()), None)
        } else {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(fail)?;
            (Box::new(file.try_clone().map_err(fail)?), Some(file))
        };
        let name = if file.is_some() { path.display().to_string() } else { "standard output".to_owned() };
        Ok(Self { writer: BufWriter::with_capacity(1 << 16, writer), name, file })
    }

    /// The file that is written; `None` for standard output.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether the results go to a terminal.
    pub fn is_terminal(&self) -> bool {
        match &self.file {
            Some(file) => file.is_terminal(),
            None => io::stdout().is_terminal(),
        }
    }

    /// Empties the file. Pipes and devices have nothing to empty.
    ///
    /// # Errors
    ///
    /// `Io` when the system refuses.
    pub fn begin(&mut self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let outcome = file.metadata().and_then(|metadata| if metadata.is_file() { file.set_len(0) } else { Ok(()) });
        self.check(outcome)
    }

    /// Writes the result of text number `index`; it may stay in the buffer until [`Output::flush`].
    ///
    /// # Errors
    ///
    /// `Io` when writing fails.
    pub fn write(&mut self, index: u64, tokens: usize, embedding: &[f32]) -> Result<(), Error> {
        let line = Line { index, tokens, embedding };
        let outcome = serde_json::to_writer(&mut self.writer, &line).map_err(io::Error::from);
        let outcome = outcome.and_then(|()| self.writer.write_all(b"\n"));
        self.check(outcome)
    }

    /// Hands everything written so far to the system.
    ///
    /// # Errors
    ///
    /// `Io` when writing fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        let outcome = self.writer.flush();
        self.check(outcome)
    }

    fn check(&self, outcome: io::Result<()>) -> Result<(), Error> {
        outcome.map_err(|source| Error::Io { action: "write", what: self.name.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f32_reads_back_as_itself() {
        // A walk over all exponents and signs, with changing mantissas.
        let values: Vec<f32> =
            (0..1u32 << 16).map(|high| f32::from_bits(high << 16 | high.wrapping_mul(40503) & 0xffff)).collect();
        let finite: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
        let text = serde_json::to_string(&Line { index: 0, tokens: 1, embedding: &finite }).unwrap();
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        let numbers = back["embedding"].as_array().unwrap();
        assert_eq!(numbers.len(), finite.len());
        for (number, value) in numbers.iter().zip(&finite) {
            let read: f32 = number.to_string().parse().unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{number} was {value:e}");
        }
    }
}
