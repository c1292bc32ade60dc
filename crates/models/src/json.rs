//! Small JSON files with checked settings: every complaint names the file, the key, what it says and what it should.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most that is read of a settings file. The largest real ones have a few kilobytes.
const MAX_SETTINGS_BYTES: u64 = 1 << 20;

/// The JSON object in a file.
#[derive(Debug)]
pub(crate) struct JsonFile {
    path: PathBuf,
    object: Map<String, Value>,
}

impl JsonFile {
    /// Reads a file that must exist and hold an object.
    pub(crate) fn read(path: PathBuf) -> Result<Self> {
        let object = read_json(&path)?;
        Ok(Self { path, object })
    }

    /// Reads a file that may be absent.
    pub(crate) fn read_if_there(path: PathBuf) -> Result<Option<Self>> {
        match Self::read(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// The names of the settings.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// An error about one setting of this file.
    pub(crate) fn wrong(&self, key: &str, given: impl ToString, expected: impl ToString) -> Error {
        Error::Setting {
            path: self.path.clone(),
            key: key.to_owned(),
            given: given.to_string(),
            expected: expected.to_string(),
        }
    }

    /// A whole number from 1 to 2^31 - 1, so that it fits every index type; `None` if absent or null.
    pub(crate) fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        const EXPECTED: &str = "a whole number from 1 to 2147483647";
        self.convert(key, EXPECTED, |value| {
            let size = i32::try_from(value.as_u64()?).ok()?;
            usize::try_from(size).ok().filter(|&size| size > 0)
        })
    }

    /// As [`optional_size`](Self::optional_size), but it must be there.
    pub(crate) fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key, "missing", "a whole number from 1 to 2147483647"))
    }

    /// A number; `None` if absent or null.
    pub(crate) fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        self.convert(key, "a number", Value::as_f64)
    }

    /// A string; `None` if absent or null.
    pub(crate) fn optional_string(&self, key: &str) -> Result<Option<&str>> {
        self.convert(key, "a string", Value::as_str)
    }

    /// `true` or `false`; `None` if absent or null.
    pub(crate) fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        self.convert(key, "true or false", Value::as_bool)
    }

    fn convert<'a, T>(&'a self, key: &str, expected: &str, to: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => to(value).map(Some).ok_or_else(|| self.wrong(key, value, expected)),
        }
    }
}

/// Reads and parses a settings file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_file(path, MAX_SETTINGS_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source: Arc::new(source) })
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io_error = |source: io::Error| Error::Io { path: path.to_owned(), source: source.into() };
    let (file, _) = open_file(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io_error)?;
    let read = bytes.len() as u64;
    if read > limit {
        return Err(Error::TooLarge { path: path.to_owned(), what: "the file", bytes: read, limit });
    }
    Ok(bytes)
}

/// Opens a regular file; also its length. Anything else, such as a pipe that would block, is an error.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let io_error = |source: io::Error| Error::Io { path: path.to_owned(), source: source.into() };
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if !metadata.is_file() {
        return Err(io_error(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    Ok((File::open(path).map_err(io_error)?, metadata.len()))
}
