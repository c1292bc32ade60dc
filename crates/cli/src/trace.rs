//! `--trace`: a trace of what the command did, for Perfetto.
//!
//! The file is there whole or not at all: it is written beside its place, under another name, and moved there when it
//! is complete. Whether that can be done is tried before any work. A pipe or a device has no place to move to and is
//! written directly.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use thalweg::{Detail, Device, Profile, ProfileOptions, Profiler};

use crate::args::{TraceArgs, TraceDetail};
use crate::error::Error;
use crate::streams::{FileId, Named};

/// A trace that is wanted.
#[derive(Debug)]
pub struct Wanted {
    path: PathBuf,
    detail: Detail,
    /// What to write under until it is complete; `None` for what is no regular file.
    partial: Option<PathBuf>,
}

impl Wanted {
    /// What the flags ask for, if they do. Tries whether the file can be written, and leaves what is there as it is.
    ///
    /// # Errors
    ///
    /// `Io` when it cannot be.
    pub fn of(args: &TraceArgs, default: Detail) -> Result<Option<Self>, Error> {
        let Some(path) = &args.trace else { return Ok(None) };
        let detail = match args.trace_detail {
            None => default,
            Some(TraceDetail::Coarse) => Detail::Coarse,
            Some(TraceDetail::Full) => Detail::Full,
        };
        let fail = |source| Error::file("write", path, source);
        let partial = match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(fail(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => None,
            Ok(_) => {
                OpenOptions::new().write(true).open(path).map_err(fail)?;
                Some(beside(path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(beside(path)),
            Err(error) => return Err(fail(error)),
        };
        if let Some(partial) = &partial {
            create(partial).and_then(|_| fs::remove_file(partial)).map_err(fail)?;
        }
        Ok(Some(Self { path: path.clone(), detail, partial }))
    }

    /// The flag that names it, and which file it would replace.
    pub fn named(&self) -> Named {
        (format!("--trace {}", self.path.display()), FileId::at(&self.path))
    }

    /// Starts to profile.
    ///
    /// # Errors
    ///
    /// `Profile` with the library's answer.
    pub fn start(self, device: &Device) -> Result<Running, Error> {
        let options = ProfileOptions::new().detail(self.detail);
        let profiler = Profiler::start(device, options).map_err(|source| Error::Profile(Box::new(source)))?;
        Ok(Running { wanted: self, device: device.clone(), profiler })
    }
}

/// A command that is being profiled.
#[derive(Debug)]
pub struct Running {
    wanted: Wanted,
    device: Device,
    profiler: Profiler,
}

impl Running {
    /// Stops, and writes the trace.
    ///
    /// # Errors
    ///
    /// `Io` when it cannot be written; then what was there is still there.
    pub fn finish(self) -> Result<Profile, Error> {
        // What the work itself came to has been said by others.
        let _ = self.device.synchronize();
        let profile = self.profiler.stop();
        let Wanted { path, partial, .. } = &self.wanted;
        let written = match partial {
            None => OpenOptions::new().write(true).open(path).and_then(|file| profile.write_chrome_trace(file)),
            Some(partial) => create(partial)
                .and_then(|file| profile.write_chrome_trace(file))
                .and_then(|()| fs::rename(partial, path))
                .inspect_err(|_| drop(fs::remove_file(partial))),
        };
        written.map_err(|source| Error::file("write", path, source))?;
        let dropped = profile.dropped().total();
        if dropped > 0 {
            crate::say(&format!("note: {dropped} events did not fit into the trace"));
        }
        Ok(profile)
    }
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Ends a trace, if there is one, whatever the work came to, and says what both came to.
///
/// # Errors
///
/// That of the work, or else that of the trace.
pub fn finish(trace: Option<Running>, outcome: Result<(), Error>) -> Result<(), Error> {
    let traced = trace.map(Running::finish).transpose().map(drop);
    match (outcome, traced) {
        (Err(error), Err(untraced)) => {
            crate::say(&untraced.describe());
            Err(error)
        }
        (outcome, traced) => outcome.and(traced),
    }
}
