//! Results of an earlier run, which `--append` goes on with.
//!
//! A run that ended early leaves whole lines and at most a part of the next. The whole ones are looked at, all of them:
//! a file that is anything else is left alone.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};

use serde::Deserialize;

use crate::error::Error;
use crate::input::MAX_LINE;
use crate::output::beginning;

/// No result is longer, in bytes: what is carried through comes from one line of the input, and values are fewer.
const MAX_RESULT: u64 = 2 * MAX_LINE as u64;
/// How far values may be from those of the same text, over their length: devices and types differ by less, texts by
/// more.
const NEAR: f32 = 0.05;

/// What an output holds.
#[derive(Debug)]
pub struct Earlier {
    /// How many results.
    pub rows: u64,
    /// Where the next one begins.
    pub bytes: u64,
    last: Last,
}

/// The last result.
#[derive(Debug)]
enum Last {
    /// As it is written.
    Line(Vec<u8>),
    /// Of a matrix; zeros, where it has no row.
    Row(Vec<f32>),
}

/// What is read of a result.
#[derive(Deserialize)]
struct LastLine {
    embedding: Vec<f32>,
}

/// Looks at every line of `file`, which people know as `name`.
///
/// # Errors
///
/// `Append` when a line is not the result that has its place there; `Io` when the file cannot be read.
pub fn read(file: &File, name: &str) -> Result<Earlier, Error> {
    let fail = |source| Error::Io { action: "read", what: name.to_owned(), source };
    let mut start = file;
    start.rewind().map_err(fail)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut rows, mut bytes, mut last, mut line) = (0, 0, Vec::new(), Vec::new());
    loop {
        line.clear();
        let length = (&mut reader).take(MAX_RESULT).read_until(b'\n', &mut line).map_err(fail)?;
        if length == 0 {
            break;
        }
        let beginning = beginning(rows);
        let common = beginning.len().min(line.len());
        let is_whole = line.ends_with(b"\n");
        if line[..common] != beginning.as_bytes()[..common]
            || (is_whole && !line.ends_with(b"]}\n"))
            || (!is_whole && length as u64 == MAX_RESULT)
        {
            let reason = format!("its line {} is no result that begins with {beginning}", rows + 1);
            return Err(Error::Append { output: name.to_owned(), reason });
        }
        if !is_whole {
            break;
        }
        rows += 1;
        bytes += length as u64;
        std::mem::swap(&mut last, &mut line);
    }
    Ok(Earlier { rows, bytes, last: Last::Line(last) })
}

impl Earlier {
    /// Of a matrix with `rows` rows, of which `last` is the last; zeros, where there is none. The next begins at byte
    /// `bytes`.
    pub fn of_matrix(rows: u64, bytes: u64, last: Vec<f32>) -> Self {
        Self { rows, bytes, last: Last::Row(last) }
    }

    /// Of an empty file.
    pub fn of_nothing() -> Self {
        Self { rows: 0, bytes: 0, last: Last::Line(Vec::new()) }
    }

    /// Checks that the results have `width` values, as those of the model.
    ///
    /// # Errors
    ///
    /// `Append` when the last of them has not.
    pub fn check_width(&self, width: usize, name: &str) -> Result<(), Error> {
        let refuse = |reason| Err(Error::Append { output: name.to_owned(), reason });
        if self.rows == 0 && matches!(self.last, Last::Line(_)) {
            return Ok(());
        }
        match self.values() {
            Ok(values) if values.len() == width => Ok(()),
            Ok(values) => refuse(format!("its results have {} values, those of the model {width}", values.len())),
            Err(error) => refuse(format!("its line {} is no result: {error}", self.rows)),
        }
    }

    /// Whether the last result has these values, or nearly, and as a line begins with `head`.
    pub fn ends_with(&self, head: &str, values: &[f32]) -> bool {
        let Ok(own) = self.values() else { return false };
        let begins_so = match &self.last {
            Last::Line(line) => line.starts_with(head.as_bytes()),
            Last::Row(_) => true,
        };
        let length = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
        let distance = length(&mut own.iter().zip(values).map(|(own, other)| own - other));
        begins_so && own.len() == values.len() && distance <= NEAR * length(&mut values.iter().copied())
    }

    fn values(&self) -> serde_json::Result<Vec<f32>> {
        match &self.last {
            Last::Line(line) => serde_json::from_slice(line).map(|result: LastLine| result.embedding),
            Last::Row(values) => Ok(values.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn earlier(content: &str) -> Result<Earlier, Error> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        read(&file, "out")
    }

    const LINES: &str =
        "{\"index\":0,\"tokens\":2,\"embedding\":[0.5,1.0]}\n{\"index\":1,\"tokens\":3,\"embedding\":[1e0,2]}\n";

    #[test]
    fn a_part_of_the_next_line_is_no_result_and_no_fault() {
        let whole = LINES.find('\n').unwrap() + 1;
        for cut in 0..=LINES.len() {
            let earlier = earlier(&LINES[..cut]).unwrap();
            let lines = LINES[..cut].matches('\n').count() as u64;
            let bytes = [0, whole, LINES.len()][lines as usize] as u64;
            assert_eq!((earlier.rows, earlier.bytes), (lines, bytes), "cut at {cut}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let first = "{\"index\":0,\"tokens\":2,\"embedding\":[0.5,1.0]}\n";
        for wrong in
            ["precious", "precious\n", "\n", " ", "{\"index\":1", "{\"index\":0,\"tokens\":2}\n", "{\"index\":0}\n"]
        {
            let error = earlier(wrong).unwrap_err().to_string();
            assert!(error.starts_with("cannot go on with out: its line 1 is no result that begins with {\"index\":0,"));
        }
        for wrong in [first, "x", "{\"index\":2,\"tokens\":2,\"embedding\":[]}\n"] {
            let error = earlier(&format!("{first}{wrong}")).unwrap_err().to_string();
            assert!(error.contains("its line 2 is no result that begins with {\"index\":1,"), "{error}");
        }
    }

    #[test]
    fn the_last_result_has_to_be_that_of_its_text() {
        let earlier = earlier(LINES).unwrap();
        assert!(earlier.check_width(2, "out").is_ok() && earlier.check_width(3, "out").is_err());
        let head = "{\"index\":1,\"tokens\":3,\"embedding\":";
        assert!(earlier.ends_with(head, &[1.0, 2.0]) && earlier.ends_with(head, &[1.001, 1.999]));
        assert!(!earlier.ends_with(head, &[2.0, 1.0]) && !earlier.ends_with(head, &[1.0, 2.0, 0.0]));
        assert!(!earlier.ends_with("{\"index\":1,\"tokens\":4,\"embedding\":", &[1.0, 2.0]));
    }
}
