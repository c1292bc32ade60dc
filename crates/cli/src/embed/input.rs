//! The texts to embed, from a file or standard input: one a line, or one JSON object a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::Value;

use crate::args::Format;
use crate::error::Error;

/// The longest line, in bytes, without its end. Far past what any model reads of a text, and small enough to hold a
/// few.
pub const MAX_LINE: usize = 16 << 20;

/// A stream of texts.
pub struct Input {
    reader: Box<dyn BufRead + Send>,
    name: String,
    jsonl: bool,
    /// Of the line that was read last, counted from 1.
    line: u64,
    /// Bytes read so far.
    position: u64,
    /// The file behind the stream, to compare with the output's.
    file: Option<File>,
}

impl Input {
    /// Opens the file at `path`, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be opened, or is a directory.
    pub fn open(path: &Path, format: Format) -> Result<Self, Error> {
        let jsonl = match format {
            Format::Jsonl => true,
            Format::Text => false,
            Format::Auto => path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl")),
        };
        let fail = |source| Error::file("open", path, source);
        let (reader, file): (Box<dyn BufRead + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(BufReader::new(io::stdin())), None)
        } else {
            let file = File::open(path).map_err(fail)?;
            if file.metadata().map_err(fail)?.is_dir() {
                return Err(fail(io::ErrorKind::IsADirectory.into()));
            }
            (Box::new(BufReader::with_capacity(1 << 16, file.try_clone().map_err(fail)?)), Some(file))
        };
        let name = if file.is_some() { path.display().to_string() } else { "standard input".to_owned() };
        Ok(Self { reader, name, jsonl, line: 0, position: 0, file })
    }

    /// The file that is read; `None` for standard input.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// How many bytes there are to read, where that is known.
    pub fn length(&self) -> Option<u64> {
        let metadata = self.file.as_ref()?.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// How many bytes have been read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next text; `None` at the end.
    ///
    /// # Errors
    ///
    /// `Io` when reading fails; `Line`, with the line's number, when the line is too long, not UTF-8, or not a JSON
    /// object with a string "text". The stream must not be read further then.
    pub fn next_text(&mut self) -> Result<Option<String>, Error> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        if !self.jsonl {
            return Ok(Some(line));
        }
        if is_blank(&line) {
            return self.only_blank_lines_follow().map(|()| None);
        }
        text_of(&line).map(Some).map_err(|reason| self.fault(reason))
    }

    /// In JSON lines, empty lines may only end the input: elsewhere one is more likely a lost record.
    fn only_blank_lines_follow(&mut self) -> Result<(), Error> {
        let first = self.line;
        while let Some(line) = self.next_line()? {
            if !is_blank(&line) {
                self.line = first;
                return Err(self.fault("an empty line, expected a JSON object".to_owned()));
            }
        }
        Ok(())
    }

    /// The next line, without its end: `\n` or `\r\n`. A byte order mark before the first is skipped.
    fn next_line(&mut self) -> Result<Option<String>, Error> {
        let mut bytes = Vec::new();
        // Two more than the limit: a line of exactly the limit may still be followed by `\r\n`.
        let limit = MAX_LINE as u64 + 2;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut bytes).map_err(|source| Error::Io {
            action: "read",
            what: self.name.clone(),
            source,
        })?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.position += read as u64;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.len() > MAX_LINE {
            return Err(self.fault(format!("the line is longer than {} MiB", MAX_LINE >> 20)));
        }
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        String::from_utf8(bytes).map(Some).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[at];
            self.fault(format!("not UTF-8: byte 0x{byte:02x} at offset {at} of the line"))
        })
    }

    fn fault(&self, reason: String) -> Error {
        Error::Line { input: self.name.clone(), line: self.line, reason }
    }
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| byte.is_ascii_whitespace())
}

/// The member "text" of the JSON object in `line`, or what is wrong with it.
fn text_of(line: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| {
        // The parser counts lines of its own, and has seen only one.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what);
        format!("not JSON: {what} at column {}", error.column())
    })?;
    let Value::Object(mut members) = value else {
        return Err(format!("{} where a JSON object with a string \"text\" is expected", kind_of(&value)));
    };
    match members.remove("text") {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("\"text\" is {}, expected a string", kind_of(&other))),
        None => Err("the JSON object has no member \"text\"".to_owned()),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8], jsonl: bool) -> Input {
        let reader = Box::new(io::Cursor::new(bytes.to_vec()));
        Input { reader, name: "in".to_owned(), jsonl, line: 0, position: 0, file: None }
    }

    /// All texts, and the error that ended them, if one did.
    fn read(bytes: &[u8], jsonl: bool) -> (Vec<String>, Option<String>) {
        let mut input = input(bytes, jsonl);
        let mut texts = Vec::new();
        loop {
            match input.next_text() {
                Ok(Some(text)) => texts.push(text),
                Ok(None) => return (texts, None),
                Err(error) => return (texts, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn lines_end_in_any_usual_way() {
        assert_eq!(read(b"", false), (vec![], None));
        assert_eq!(read(b"a", false).0, ["a"]);
        assert_eq!(read(b"a\n", false).0, ["a"]);
        assert_eq!(read(b"a\r\n\r\nb\n\nc\r", false).0, ["a", "", "b", "", "c\r"]);
        assert_eq!(read(b"\n", false).0, [""]);
        assert_eq!(read(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", false).0, ["a", "\u{feff}b"]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named() {
        let (texts, error) = read(b"fine\nalso fine\nab\xffcd\nmore\n", false);
        assert_eq!(texts, ["fine", "also fine"]);
        assert_eq!(error.unwrap(), "in, line 3: not UTF-8: byte 0xff at offset 2 of the line");
        // A character cut off by the end of the input.
        assert_eq!(read(b"a\xe2\x82", false).1.unwrap(), "in, line 1: not UTF-8: byte 0xe2 at offset 1 of the line");
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for end in [&b""[..], b"\n", b"\r\n"] {
            let mut bytes = vec![b'x'; MAX_LINE];
            bytes.extend_from_slice(end);
            let (texts, error) = read(&bytes, false);
            assert_eq!((texts.len(), texts[0].len(), error), (1, MAX_LINE, None));
            bytes.insert(0, b'x');
            let (texts, error) = read(&bytes, false);
            assert!(texts.is_empty());
            assert_eq!(error.unwrap(), "in, line 1: the line is longer than 16 MiB");
        }
    }

    #[test]
    fn json_lines_give_their_text() {
        let (texts, error) = read(b"{\"text\":\"a\\nb\"}\r\n{\"id\":7,\"text\":\"\",\"more\":[{}]}\n\n \n", true);
        assert_eq!((texts, error), (vec!["a\nb".to_owned(), String::new()], None));
        assert_eq!(read(b"", true), (vec![], None));
    }

    #[test]
    fn json_lines_that_are_wrong_are_named() {
        let cases: [(&str, &str); 10] = [
            ("{\"txt\":\"a\"}", "the JSON object has no member \"text\""),
            ("{\"text\":7}", "\"text\" is a number, expected a string"),
            ("{\"text\":null}", "\"text\" is null, expected a string"),
            ("{\"text\":[\"a\"]}", "\"text\" is an array, expected a string"),
            ("[\"a\"]", "an array where a JSON object with a string \"text\" is expected"),
            ("\"a\"", "a string where a JSON object with a string \"text\" is expected"),
            ("{\"text\":\"a\"", "not JSON: EOF while parsing an object at column 1"),
            ("{\"text\":\"\\ud800\"}", "not JSON: "),
            ("{\"text\":\"a\"} {}", "not JSON: "),
            ("", "an empty line, expected a JSON object"),
        ];
        for (line, reason) in cases {
            let (texts, error) = read(format!("{{\"text\":\"ok\"}}\n{line}\n{{\"text\":\"c\"}}\n").as_bytes(), true);
            let error = error.unwrap();
            assert!(texts.len() == 1 && error.starts_with(&format!("in, line 2: {reason}")), "{line}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(deep.as_bytes(), true).1.unwrap().starts_with("in, line 1: not JSON: recursion limit exceeded"));
    }

    #[test]
    fn position_counts_the_bytes_of_whole_lines() {
        let mut input = input(b"ab\r\ncd", false);
        let mut positions = vec![];
        while input.next_text().unwrap().is_some() {
            positions.push(input.position());
        }
        assert_eq!(positions, [4, 6]);
    }
}
