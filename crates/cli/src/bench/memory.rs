//! `--memory`: what the device's memory was used for at the end, as one JSON document in a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use thalweg::Device;

use crate::error::Error;
use crate::streams::{FileId, Named};

/// The file, open.
pub struct MemoryFile {
    path: PathBuf,
    file: File,
}

impl MemoryFile {
    /// Opens the file. What it holds stays until [`MemoryFile::write`].
    ///
    /// # Errors
    ///
    /// `Io` when it cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|source| Error::file("write", path, source))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The flag that names it, and which file it is.
    pub fn named(&self) -> Named {
        (format!("--memory {}", self.path.display()), FileId::of(&self.file))
    }

    /// Replaces what it holds. Pipes and devices have nothing to replace.
    ///
    /// # Errors
    ///
    /// `Io` when writing fails.
    pub fn write(mut self, device: &Device) -> Result<(), Error> {
        let text = device.memory_snapshot().to_json() + "\n";
        let empty = |file: &File| if file.metadata()?.is_file() { file.set_len(0) } else { Ok(()) };
        let outcome = empty(&self.file).and_then(|()| self.file.write_all(text.as_bytes()));
        outcome.map_err(|source| Error::file("write", &self.path, source))
    }
}
