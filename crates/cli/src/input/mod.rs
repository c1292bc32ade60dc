//! The texts of a command, from a file or standard input: one a line, or one JSON object a line.

mod format;
mod record;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;

use self::format::{Expected, Shape};
use crate::args::Format;
use crate::error::Error;
use crate::streams::{self, FileId, Named, Patient, Standard};

pub use self::record::{Reads, Record};

/// The longest line, in bytes, without its end. Far past what any model reads of a text, and small enough to hold a
/// few.
pub const MAX_LINE: usize = 16 << 20;
/// Bytes of blank lines that are held back until another line shows how the input is written. Past these it is text.
const MAX_BLANK: u64 = 1 << 16;

/// A stream of texts.
pub struct Input {
    reader: BufReader<Box<dyn Read + Send>>,
    name: String,
    /// How it is written, as far as that is known.
    shape: Result<Shape, Expected>,
    /// What is read of each JSON object.
    reads: Reads,
    /// Members of each that are carried through.
    keep: Arc<[String]>,
    /// Lines that were read to see how it is written, and what ended them.
    ahead: VecDeque<Result<Line, Error>>,
    /// How many lines have been read.
    lines: u64,
    /// How many bytes have been read.
    read: u64,
    /// Of these, the bytes of lines that were handed out.
    position: u64,
    /// In JSON lines: blank lines may still come before the first object.
    is_new: bool,
    /// The file behind the stream.
    file: Option<File>,
    /// Whether reading never waits for somebody to write.
    is_regular: bool,
}

/// A line of the input, without its end.
struct Line {
    text: String,
    /// Counted from 1.
    number: u64,
    /// Bytes of the input up to its end.
    end: u64,
}

impl Input {
    /// Opens the file at `path`, or standard input for `-`. Of JSON objects, what `reads` says is read beside the text,
    /// and the members `keep` are carried through.
    ///
    /// # Errors
    ///
    /// `Io` when the file cannot be opened, or is a directory; `Stream` when standard input is closed.
    pub fn open(path: &Path, format: Format, reads: Reads, keep: Arc<[String]>) -> Result<Self, Error> {
        let fail = |source| Error::file("open", path, source);
        let (file, name) = if Standard::Input.is_at(path) {
            (Standard::Input.open()?, Standard::Input.name().to_owned())
        } else {
            let file = File::open(path).map_err(fail)?;
            if file.metadata().map_err(fail)?.is_dir() {
                return Err(fail(io::ErrorKind::IsADirectory.into()));
            }
            (file, path.display().to_string())
        };
        let reader = Box::new(Patient(file.try_clone().map_err(fail)?));
        let expected = Expected::of(format, path, !keep.is_empty());
        let is_regular = file.metadata().map_err(fail)?.is_file();
        Ok(Self { file: Some(file), is_regular, reads, ..Self::new(reader, name, expected, keep) })
    }

    fn new(reader: Box<dyn Read + Send>, name: String, expected: Expected, keep: Arc<[String]>) -> Self {
        let reader = BufReader::with_capacity(1 << 16, reader);
        let shape = if let Expected::Only(shape) = expected { Ok(shape) } else { Err(expected) };
        let ahead = VecDeque::new();
        Self {
            reader,
            name,
            shape,
            reads: Reads::default(),
            keep,
            ahead,
            lines: 0,
            read: 0,
            position: 0,
            is_new: true,
            file: None,
            is_regular: false,
        }
    }

    /// As people know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The flag that names it, and which file it is.
    pub fn named(&self) -> Named {
        (streams::flag("--input", &self.name), self.file.as_ref().and_then(FileId::of))
    }

    /// How many bytes there are to read, where that is known.
    pub fn length(&self) -> Option<u64> {
        let mut file = self.file.as_ref().filter(|_| self.is_regular)?;
        let at = file.stream_position().ok()?;
        Some(file.metadata().ok()?.len().saturating_sub(at))
    }

    /// How many bytes the texts so far took.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether a text is there without a wait for somebody to write it. A last line without an end may be missed.
    pub fn has_text_at_hand(&self) -> bool {
        if self.is_regular || !self.ahead.is_empty() {
            return true;
        }
        let buffer = self.reader.buffer();
        let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else { return false };
        // Behind a blank line of JSON lines the end is looked for.
        self.shape != Ok(Shape::JsonLines) || !buffer[..end].trim_ascii().is_empty()
    }

    /// Sees how a file is written, where it can be read without a wait; other inputs show it with their first text.
    ///
    /// # Errors
    ///
    /// `Format`, and `Usage` where members are to be kept or read of what is text.
    pub fn recognise_file(&mut self) -> Result<(), Error> {
        if self.is_regular || self.shape.is_ok() { self.checked_shape().map(drop) } else { Ok(()) }
    }

    /// How it is written, if all that has to be read of it can be.
    fn checked_shape(&mut self) -> Result<Shape, Error> {
        match (self.shape()?, self.reads.second) {
            (Shape::Text, Some(name)) if self.reads.needs_second => {
                let input = &self.name;
                Err(Error::Usage(format!("{input} is text, in which no line has a \"{name}\"; name one with --{name}")))
            }
            (shape, _) => Ok(shape),
        }
    }

    /// How it is written, by its first line that is not blank, if nothing else has said so. Tells people what they
    /// might not expect.
    fn shape(&mut self) -> Result<Shape, Error> {
        let expected = match self.shape {
            Ok(shape) => return Ok(shape),
            Err(expected) => expected,
        };
        let first = self.look_ahead();
        let decision = if expected == Expected::Unknown && !self.keep.is_empty() {
            if first.as_ref().is_some_and(|first| !format::begins_object(first)) {
                let name = &self.name;
                return Err(Error::Usage(format!(
                    "--keep needs JSON lines, and the first line of {name} is no JSON object"
                )));
            }
            Ok(format::Decision { shape: Shape::JsonLines, note: None })
        } else {
            format::decide(expected, &self.name.clone(), self.reads, first.as_deref(), || self.look_ahead())
        };
        let decision = decision.map_err(|reason| Error::Format { input: self.name.clone(), reason })?;
        self.shape = Ok(decision.shape);
        if let Some(note) = decision.note {
            crate::say(&note);
        }
        Ok(decision.shape)
    }

    /// The next line that is not blank, which is handed out later with those before it.
    fn look_ahead(&mut self) -> Option<String> {
        while self.read - self.position < MAX_BLANK {
            let line = self.read_line().transpose()?;
            let text = line.as_ref().ok().map(|line| line.text.clone());
            self.ahead.push_back(line);
            match text {
                Some(text) if is_blank(&text) => {}
                text => return text,
            }
        }
        None
    }

    /// The next text, with what is read beside it; `None` at the end.
    ///
    /// # Errors
    ///
    /// `Io` when reading fails; `Line`, with the line's number, when the line is too long, not UTF-8, or not a JSON
    /// object with a string "text"; those of [`Input::recognise_file`]. The stream must not be read further then.
    pub fn next_record(&mut self) -> Result<Option<Record>, Error> {
        let shape = self.checked_shape()?;
        let Some(mut line) = self.next_line()? else { return Ok(None) };
        if shape == Shape::Text {
            return Ok(Some(Record::of_text(line.text, line.number)));
        }
        while is_blank(&line.text) {
            if !self.is_new {
                return self.only_blank_lines_follow(line.number).map(|()| None);
            }
            match self.next_line()? {
                Some(next) => line = next,
                None => return Ok(None),
            }
        }
        self.is_new = false;
        let parsed = record::parse(&line.text, line.number, self.reads, &self.keep);
        parsed.map(Some).map_err(|reason| self.fault(line.number, reason))
    }

    /// In JSON lines, empty lines may only begin and end the input: elsewhere one is more likely a lost record.
    fn only_blank_lines_follow(&mut self, first: u64) -> Result<(), Error> {
        while let Some(line) = self.next_line()? {
            if !is_blank(&line.text) {
                return Err(self.fault(first, "an empty line, expected a JSON object".to_owned()));
            }
        }
        Ok(())
    }

    /// The next line, of those that were read ahead or the stream.
    fn next_line(&mut self) -> Result<Option<Line>, Error> {
        let line = match self.ahead.pop_front() {
            Some(line) => Some(line?),
            None => self.read_line()?,
        };
        if let Some(line) = &line {
            self.position = line.end;
        }
        Ok(line)
    }

    /// Reads a line without its end: `\n` or `\r\n`. A byte order mark before the first is skipped.
    fn read_line(&mut self) -> Result<Option<Line>, Error> {
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
        self.lines += 1;
        self.read += read as u64;
        let number = self.lines;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.len() > MAX_LINE {
            return Err(self.fault(number, format!("the line is longer than {} MiB", MAX_LINE >> 20)));
        }
        if number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(Line { text, number, end: self.read })),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let byte = error.as_bytes()[at];
                Err(self.fault(number, format!("not UTF-8: byte 0x{byte:02x} at offset {at} of the line")))
            }
        }
    }

    fn fault(&self, line: u64, reason: String) -> Error {
        Error::Line { input: self.name.clone(), line, reason }
    }
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| byte.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8], expected: Expected, keep: &[&str]) -> Input {
        let reader = Box::new(io::Cursor::new(bytes.to_vec()));
        Input::new(reader, "in".to_owned(), expected, keep.iter().map(|name| (*name).to_owned()).collect())
    }

    /// All texts, and the error that ended them, if one did.
    fn read(bytes: &[u8], jsonl: bool) -> (Vec<String>, Option<String>) {
        let shape = if jsonl { Shape::JsonLines } else { Shape::Text };
        read_all(input(bytes, Expected::Only(shape), &[]))
    }

    fn read_all(mut input: Input) -> (Vec<String>, Option<String>) {
        let mut texts = Vec::new();
        loop {
            match input.next_record() {
                Ok(Some(record)) => texts.push(record.text),
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
    fn the_first_line_that_is_not_blank_says_how_the_rest_is_read() {
        let unknown = |bytes: &[u8]| read_all(input(bytes, Expected::Unknown, &[]));
        assert_eq!(
            unknown(b"\n \r\n{\"text\":\"a\"}\n{\"text\":\"b\"}\n"),
            (vec!["a".to_owned(), "b".to_owned()], None)
        );
        assert_eq!(unknown(b"\xef\xbb\xbf{\"text\":\"a\"}").0, ["a"]);
        assert_eq!(unknown(b"\n \n{\"body\":\"a\"}\n").0, ["", " ", "{\"body\":\"a\"}"]);
        assert_eq!(unknown(b"\na\n{\"text\":\"b\"}\n").0, ["", "a", "{\"text\":\"b\"}"]);
        assert_eq!(unknown(b""), (vec![], None));
        assert_eq!(unknown(b"\n\n").0, ["", ""]);
        // What is wrong comes in its place, also when it was read ahead.
        let (texts, error) = unknown(b"\n\n\xff\n");
        assert_eq!(
            (texts.len(), error.unwrap().as_str()),
            (2, "in, line 3: not UTF-8: byte 0xff at offset 0 of the line")
        );
        let (texts, error) = unknown(b"\n{\"text\":\"a\"}\n\n{\"text\":\"b\"}\n");
        assert_eq!((texts.len(), error.unwrap().as_str()), (1, "in, line 3: an empty line, expected a JSON object"));
        // Only so many are held back.
        let blank = "\n".repeat(MAX_BLANK as usize);
        assert_eq!(unknown(format!("{blank}{{\"text\":\"a\"}}").as_bytes()).0.len(), MAX_BLANK as usize + 1);
        assert_eq!(unknown(format!("{}{{\"text\":\"a\"}}", &blank[1..]).as_bytes()).0.len(), 1);
    }

    #[test]
    fn members_are_kept_of_json_objects_alone() {
        let kept = |bytes: &[u8]| read_all(input(bytes, Expected::Unknown, &["id"]));
        assert_eq!(kept(b"\n{\"text\":\"a\"}\n").0, ["a"]);
        assert_eq!(kept(b""), (vec![], None));
        assert!(kept(b"{\"id\":\"a\"}\n").1.unwrap().contains("no member \"text\""));
        assert!(kept(b"a river\n").1.unwrap().starts_with("--keep needs JSON lines"));
    }

    #[test]
    fn what_is_at_hand_are_whole_lines() {
        let mut input = input(b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n \n{\"te", Expected::Unknown, &[]);
        assert!(!input.has_text_at_hand(), "nothing is read yet");
        input.next_record().unwrap().unwrap();
        assert!(input.has_text_at_hand());
        input.next_record().unwrap().unwrap();
        assert!(!input.has_text_at_hand(), "behind a blank line it may have to wait");
    }

    #[test]
    fn position_counts_the_bytes_of_whole_lines() {
        let mut input = input(b"ab\r\ncd", Expected::Unknown, &[]);
        let mut positions = vec![];
        while input.next_record().unwrap().is_some() {
            positions.push(input.position());
        }
        assert_eq!(positions, [4, 6]);
    }
}
