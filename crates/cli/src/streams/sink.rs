//! Whole lines to a file, also where the disk is full.

use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write as _};

use rustix::event::PollFlags;

use super::{Standard, wait};
use crate::error::Error;

/// Lines wait until there are so many bytes, or somebody asks for them.
const BUFFER: usize = 1 << 16;

/// A file that is written line by line.
///
/// What is handed to the system ends with a whole line each time. Where the system takes only a part of it and then
/// refuses (a full disk, a limit on a file's size), a regular file is cut back to its last whole line.
pub struct Sink {
    file: File,
    name: String,
    buffer: Vec<u8>,
    /// Whole lines that the system has taken, and those that were there before.
    lines: u64,
}

impl Sink {
    /// Writes to `file`, which people know as `name`.
    pub fn new(file: File, name: String) -> Self {
        Self { file, name, buffer: Vec::new(), lines: 0 }
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

    /// Begins behind `bytes` bytes, which are `lines` whole lines; what follows in a regular file is cut off. Pipes and
    /// devices have nothing to cut.
    ///
    /// # Errors
    ///
    /// `Write` when the system refuses.
    pub fn begin_at(&mut self, bytes: u64, lines: u64) -> Result<(), Error> {
        self.lines = lines;
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
        self.lines += count_lines(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    /// The system took these bytes of a buffer and then no more: makes them whole lines again, where that can be done.
    fn stop(&mut self, taken: &[u8], source: io::Error) -> Error {
        self.lines += count_lines(taken);
        let part = taken.iter().rev().take_while(|byte| **byte != b'\n').count();
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
        Error::Write { what: self.name.clone(), lines: self.lines, is_cut_off, source }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
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
