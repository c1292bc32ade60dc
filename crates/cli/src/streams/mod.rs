//! Standard input and output as files, and what is one file under several names.
//!
//! The streams of std hide what is wrong with them: one that is closed is /dev/null, and one that is not open for
//! writing swallows what it is given. Results are lost so, with a good exit code. Here each is a [`File`] of its own,
//! and what cannot work is an error before any work.

mod sink;
mod start;

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};

pub use self::sink::{Sink, Unit};
use crate::error::Error;

/// A stream that the command is started with, beside standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
}

impl Standard {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
        }
    }

    /// Whether `path` names it: `-`, or one of the system's names for it. The latter are not opened: that would be
    /// another way into the file, with a place of its own in it, and not possible for each kind of stream.
    pub fn is_at(self, path: &Path) -> bool {
        let names = match self {
            Self::Input => ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"],
            Self::Output => ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"],
        };
        names.iter().any(|name| path.as_os_str() == *name)
    }

    /// The stream, past the buffers of std.
    ///
    /// # Errors
    ///
    /// `Stream` when it was closed at the start, or is not open for what the command does with it; `Io` when it is a
    /// directory, or the system has no descriptor left.
    pub fn open(self) -> Result<File, Error> {
        let (number, action, wrong, only) = match self {
            Self::Input => (0, "read", OFlags::WRONLY, "it is open for writing only"),
            Self::Output => (1, "write", OFlags::RDONLY, "it is open for reading only"),
        };
        let refuse = |reason| Error::Stream { action, what: self.name(), reason };
        if start::was_closed(number) {
            return Err(refuse("it is closed"));
        }
        let fail = |source| Error::Io { action, what: self.name().to_owned(), source };
        let (input, output) = (io::stdin(), io::stdout());
        let stream: BorrowedFd<'_> = if self == Self::Input { input.as_fd() } else { output.as_fd() };
        let flags = fcntl_getfl(stream).map_err(|error| fail(error.into()))?;
        if flags & OFlags::ACCMODE == wrong {
            return Err(refuse(only));
        }
        let file = File::from(stream.try_clone_to_owned().map_err(fail)?);
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        Ok(file)
    }
}

/// A regular file, under whatever name. Pipes, terminals and devices have none: they may be several streams at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of an open file.
    pub fn of(file: &File) -> Option<Self> {
        file.metadata().ok().and_then(Self::of_metadata)
    }

    /// Of the file at `path`, if there is one.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().and_then(Self::of_metadata)
    }

    fn of_metadata(metadata: Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// What the command reads or writes: as people know it, and which file it is.
pub type Named = (String, Option<FileId>);

/// How people name it: with its flag, or as the standard stream that it is.
pub fn flag(flag: &str, name: &str) -> String {
    let is_standard = [Standard::Input, Standard::Output].iter().any(|stream| stream.name() == name);
    if is_standard { name.to_owned() } else { format!("{flag} {name}") }
}

/// Refuses two that are one file, and one of the written that is a file of the model in `model`.
///
/// # Errors
///
/// `Usage`, with both names.
pub fn refuse_shared(read: Option<Named>, written: Vec<Named>, model: &Path) -> Result<(), Error> {
    let refuse = |one: &str, other: &str| {
        Err(Error::Usage(format!("{one} and {other} are the same file, which is left as it was; name another")))
    };
    let all: Vec<&Named> = read.iter().chain(&written).collect();
    for (index, (name, id)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..index].iter().find(|(_, other)| id.is_some() && other == id) {
            return refuse(other, name);
        }
    }
    for path in files(model, MODEL_DEPTH) {
        let of_model = FileId::at(&path);
        if let Some((name, _)) = written.iter().find(|(_, id)| id.is_some() && *id == of_model) {
            return refuse(name, &format!("the model's {}", path.display()));
        }
    }
    Ok(())
}

/// How deep a model's folders are: its modules', and one that a module might have.
const MODEL_DEPTH: usize = 3;

/// The paths in a folder and in those below it. One that cannot be read is said by whoever loads the model.
fn files(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if depth > 1 {
        let below: Vec<_> = paths.iter().filter(|path| path.is_dir()).flat_map(|path| files(path, depth - 1)).collect();
        paths.extend(below);
    }
    paths
}

/// A file that is read also where somebody has set it not to wait: several processes share one terminal or pipe, and
/// each of them sets that for all.
pub struct Patient(pub File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&self.0, PollFlags::IN)?,
                done => return done,
            }
        }
    }
}

/// Waits until there is something to read, or room to write. May return early.
fn wait(file: &File, what: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(file, what)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_stream_has_all_of_the_systems_names() {
        for name in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
            assert!(
                Standard::Input.is_at(Path::new(name)) && (name == "-" || !Standard::Output.is_at(Path::new(name)))
            );
        }
        assert!(Standard::Output.is_at(Path::new("/dev/stdout")) && !Standard::Output.is_at(Path::new("/dev/fd/10")));
    }

    #[test]
    fn a_stream_that_does_not_wait_is_waited_for() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            Patient(File::from(std::os::fd::OwnedFd::from(theirs))).read_to_string(&mut text).map(|_| text)
        });
        io::Write::write_all(&mut ours, b"late").unwrap();
        drop(ours);
        assert_eq!(reader.join().unwrap().unwrap(), "late");
    }
}
