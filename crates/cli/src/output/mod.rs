//! Where results go: a file or standard output, and the beginning that all lines have.

mod line;

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::streams::{self, FileId, Named, Sink, Standard};

pub use self::line::{Cut, Kept, beginning, head};

/// Where the results go.
pub struct Output {
    sink: Sink,
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
    pub fn open(path: &Path, append: bool) -> Result<Self, Error> {
        let no_file = |what| {
            Error::Usage(format!("--append needs a file to go on with, and {what} is none; name it with --output"))
        };
        if Standard::Output.is_at(path) {
            if append {
                return Err(no_file(Standard::Output.name().to_owned()));
            }
            return Ok(Self { sink: Sink::standard_output()?, is_ours: false, made: None });
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
        Ok(Self { sink: Sink::new(file, path.display().to_string()), is_ours: true, made })
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

    /// Empties the file, but for its first `bytes` bytes, with `results` results. Standard output, pipes and devices
    /// are left as they are.
    ///
    /// # Errors
    ///
    /// `Write` when the system refuses.
    pub fn begin(&mut self, bytes: u64, results: u64) -> Result<(), Error> {
        self.made = None;
        if self.is_ours { self.sink.begin_at(bytes, results) } else { Ok(()) }
    }

    /// The file itself, to write results to once work has begun.
    pub fn sink(&mut self) -> &mut Sink {
        &mut self.sink
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
