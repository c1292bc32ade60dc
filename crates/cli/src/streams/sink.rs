//! Whole results to a file, lines or rows of bytes, also where the disk is full.

use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write as _};

use rustix::event::PollFlags;

use super::{Standard, wait};
use crate::error::Error;

/// Results wait until there are so many bytes, or somebody asks for them.
const BUFFER: usize = 1 << 16;

/// How results follow each other in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Each ends with a newline, and has no other.
    Line,
    /// Each has so many bytes.
    Bytes(usize),
}

impl Unit {
    /// How many results there are in these bytes, which begin with one, and how many bytes of another are behind them.
    fn count(self, bytes: &[u8]) -> (u64, usize) {
        match self {
            Self::Line => {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                (lines as u64, bytes.iter().rev().take_while(|byte| **byte != b'\n').count())
            }
            Self::Bytes(length) => ((bytes.len() / length) as u64, bytes.len() % length),
        }
    }
}

/// A file that is written result by result.
///
/// What is handed to the system ends with a whole result each time. Where the system takes only a part of it and then
/// refuses (a full disk, a limit on a file's size), a regular file is cut back to its last whole result.
pub struct Sink {
    file: File,
    name: String,
    unit: Unit,
    buffer: Vec<u8>,
    /// Whole results that the system has taken, and those that were there before.
    taken: u64,
}

impl Sink {
    /// Writes lines to `file`, which people know as `name`.
    pub fn new(file: File, name: String) -> Self {
        Self { file, name, unit: Unit::Line, buffer: Vec::new(), taken: 0 }
    }

    /// Writes results of that form from now on.
    pub fn set_unit(&mut self, unit: Unit) {
        self.unit = unit;
    }

    /// How many whole results the system has taken, with those that were there before.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Writes to standard output.
    ///
    /// # Errors
    ///
    /// Those of [`Standard::open`].
    pub fn standard_output() -> Result<Self, Error> {
        Ok(Self::new(Standard::Output.open()?, Standard::Output.name().to_owned()))
    }

    /// What is written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// As people know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Begins behind `bytes` bytes, which are `results` whole results; what follows in a regular file is cut off. Pipes
    /// and devices have nothing to cut.
    ///
    /// # Errors
    ///
    /// `Write` when the system refuses.
    pub fn begin_at(&mut self, bytes: u64, results: u64) -> Result<(), Error> {
        self.taken = results;
        let begin = |mut file: &File| {
            if file.metadata()?.is_file() {
                file.set_len(bytes)?;
                file.seek(SeekFrom::Start(bytes))?;
            }
            Ok(())
        };
        begin(&self.file).map_err(|source| self.fail(false, source))
    }

    /// Adds `line` and its end; it may stay in the buffer until [`Sink::flush`].
    ///
    /// # Errors
    ///
    /// `Write` when the system refuses it. Then nothing more may be written.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.flush_if_full()
    }

    /// Adds a result of a length that is fixed; it may stay in the buffer until [`Sink::flush`].
    ///
    /// # Errors
    ///
    /// As [`Sink::line`].
    pub fn bytes(&mut self, result: impl Iterator<Item = u8>) -> Result<(), Error> {
        self.buffer.extend(result);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Hands everything written so far to the system.
    ///
    /// # Errors
    ///
    /// As [`Sink::line`].
    pub fn flush(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut taken = 0;
        while taken < buffer.len() {
            match self.file.write(&buffer[taken..]) {
                Ok(0) => return Err(self.stop(&buffer[..taken], io::ErrorKind::WriteZero.into())),
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.file, PollFlags::OUT).map_err(|source| self.stop(&buffer[..taken], source))?;
                }
                Err(error) => return Err(self.stop(&buffer[..taken], error)),
            }
        }
        self.taken += self.unit.count(&buffer).0;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// The system took these bytes of a buffer and then no more: makes them whole results again, where that can be
    /// done.
    fn stop(&mut self, taken: &[u8], source: io::Error) -> Error {
        let (whole, part) = self.unit.count(taken);
        self.taken += whole;
        let is_cut_off = part > 0 && self.take_back(part as u64).is_err();
        self.fail(is_cut_off, source)
    }

    /// Takes the last bytes back, which are ours.
    fn take_back(&self, bytes: u64) -> io::Result<()> {
        let mut file = &self.file;
        let metadata = file.metadata()?;
        let end = file.stream_position()?;
        // Behind us there may be what others have written, or what was there before.
        if !metadata.is_file() || metadata.len() != end {
            return Err(io::ErrorKind::NotSeekable.into());
        }
        file.set_len(end - bytes)?;
        file.seek(SeekFrom::Start(end - bytes)).map(drop)
    }

    fn fail(&self, is_cut_off: bool, source: io::Error) -> Error {
        let unit = if self.unit == Unit::Line { "lines" } else { "rows" };
        Error::Write { what: self.name.clone(), whole: self.taken, unit, is_cut_off, source }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    /// A stream that several processes share may have been set not to wait by any of them.
    #[test]
    fn a_reader_that_is_slow_gets_every_byte() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            theirs.read_to_string(&mut text).map(|_| text)
        });
        let mut sink = Sink::new(File::from(OwnedFd::from(ours)), "x".to_owned());
        let line = "x".repeat(1000);
        for _ in 0..2000 {
            sink.line(line.as_bytes()).unwrap();
        }
        sink.flush().unwrap();
        drop(sink);
        assert!(reader.join().unwrap().unwrap() == (line + "\n").repeat(2000));
    }

    #[test]
    fn rows_of_bytes_are_counted_and_kept_whole() {
        let file = tempfile::tempfile().unwrap();
        let mut sink = Sink::new(file.try_clone().unwrap(), "x".to_owned());
        sink.set_unit(Unit::Bytes(4));
        sink.begin_at(10, 3).unwrap();
        sink.bytes([b'\n', 1, 2, 3].into_iter()).unwrap();
        sink.bytes([4, 5, 6, 7].into_iter()).unwrap();
        sink.flush().unwrap();
        assert_eq!((sink.taken(), file.metadata().unwrap().len()), (5, 18));
        (&file).write_all(&[0; 6]).unwrap();
        let error = sink.stop(&[0; 6], io::ErrorKind::StorageFull.into()).to_string();
        assert_eq!((error.as_str(), file.metadata().unwrap().len()), ("cannot write x after 6 whole rows", 22));
    }

    #[test]
    fn only_what_is_ours_is_taken_back() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"whole\npart").unwrap();
        let mut sink = Sink::new(file.try_clone().unwrap(), "x".to_owned());
        let full = || io::ErrorKind::StorageFull.into();
        let error = sink.stop(b"whole\npart", full()).to_string();
        assert_eq!((error.as_str(), file.metadata().unwrap().len()), ("cannot write x after 1 whole lines", 6));
        // Somebody else has written behind it.
        file.write_all(b"part of theirs").unwrap();
        file.seek(SeekFrom::Start(10)).unwrap();
        let error = sink.stop(b"part", full()).to_string();
        assert_eq!(error, "cannot write x after 1 whole lines and a part of the next");
        assert_eq!(file.metadata().unwrap().len(), 20);
    }
}
