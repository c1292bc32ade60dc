//! What can go wrong, and the exit code that says so.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a command ended before its work was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The flags cannot all be followed.
    #[error("{0}")]
    Usage(String),
    /// A file, or a standard stream, that could not be opened, read or written.
    #[error("cannot {action} {what}")]
    Io {
        /// "open", "read" or "write".
        action: &'static str,
        /// The file, as given, or the name of the stream.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A standard stream that cannot serve.
    #[error("cannot {action} {what}: {reason}")]
    Stream {
        /// "read" or "write".
        action: &'static str,
        /// The name of the stream.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Results that the system did not take.
    #[error(
        "cannot write {what} after {whole} whole {unit}{}",
        if *is_cut_off { " and a part of the next" } else { "" }
    )]
    Write {
        /// The file, as given, or the name of the stream.
        what: String,
        /// How many whole results are there.
        whole: u64,
        /// What they are: "lines", "rows".
        unit: &'static str,
        /// Whether a part of another is behind them.
        is_cut_off: bool,
        /// The system's answer.
        source: io::Error,
    },
    /// An output that cannot be gone on with.
    #[error("cannot go on with {output}: {reason}")]
    Append {
        /// The file, as given.
        output: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// An input that is written in another way than its name says.
    #[error("cannot read {input}: {reason}")]
    Format {
        /// The file, as given, or "standard input".
        input: String,
        /// What was found, what was expected, and how to come from one to the other.
        reason: String,
    },
    /// A line of the input that is not what the format asks for.
    #[error("{input}, line {line}: {reason}")]
    Line {
        /// The file, as given, or "standard input".
        input: String,
        /// Counted from 1.
        line: u64,
        /// What was found and what was expected.
        reason: String,
    },
    /// The device could not be opened.
    #[error("cannot open device `{selector}`")]
    Device {
        /// As given with `--device`.
        selector: String,
        /// The facade's answer.
        source: Box<thalweg::Error>,
    },
    /// The model could not be loaded.
    #[error("cannot load the model in {directory}")]
    Model {
        /// As given with `--model`.
        directory: String,
        /// The facade's answer.
        source: Box<thalweg::Error>,
    },
    /// A model could not be fetched.
    #[cfg(feature = "pull")]
    #[error("cannot fetch {name}")]
    Pull {
        /// As given.
        name: String,
        /// The facade's answer.
        source: Box<thalweg::Error>,
    },
    /// The model refused or failed a call.
    #[error("cannot {action} {lines} of the input")]
    Lines {
        /// What was to be done: "embed", "rerank".
        action: &'static str,
        /// Where the texts are.
        lines: Lines,
        /// The facade's answer.
        source: Box<thalweg::Error>,
    },
    /// The measurement could not be made as asked.
    #[error("cannot measure: {0}")]
    Bench(String),
    /// The device could not be profiled.
    #[error("cannot profile the device")]
    Profile(#[source] Box<thalweg::RuntimeError>),
    /// The operating system refused something that is no file.
    #[error("cannot {action}")]
    System {
        /// What was refused.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A thread of the command panicked; its own message is on standard error.
    #[error("a thread of this command failed while {0}")]
    Thread(&'static str),
    /// The user asked to stop.
    #[error(
        "interrupted after {texts} texts; their results are written{}",
        if *can_append { ", and the same with --append goes on" } else { "" }
    )]
    Interrupted {
        /// How many results are written.
        texts: u64,
        /// Whether they are in a file that a later run can go on with.
        can_append: bool,
    },
}

/// Lines of the input, counted from 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "line {first}"),
            Self { first, last } => write!(f, "lines {first} to {last}"),
        }
    }
}

impl Error {
    /// A failed `action` on the file at `path`.
    pub fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, what: path.display().to_string(), source }
    }

    /// What the model says of `lines`.
    pub fn of_lines(action: &'static str, lines: Lines, error: thalweg::ModelError) -> Self {
        Self::Lines { action, lines, source: Box::new(error.into()) }
    }

    /// Whether the reader of the results went away.
    pub fn is_broken_pipe(&self) -> bool {
        let (Self::Write { source, .. } | Self::Io { action: "write", source, .. }) = self else { return false };
        source.kind() == io::ErrorKind::BrokenPipe
    }

    /// 2 for wrong usage, as the argument parser has it, and 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            // A word that names no device, as one that the argument parser does not know.
            Self::Device { source, .. } if matches!(**source, thalweg::Error::UnknownDevice { .. }) => 2,
            _ => 1,
        }
    }

    /// The line for people: this error and the causes below it.
    pub fn describe(&self) -> String {
        format!("thalweg: {}", Self::chain(self))
    }

    /// An error and every cause below it that the texts above do not already contain.
    pub fn chain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_the_file_and_the_cause() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = Error::file("open", Path::new("a/b.txt"), source);
        assert_eq!(error.describe(), "thalweg: cannot open a/b.txt: no such file");
        assert_eq!(error.exit_code(), 1);
        assert_eq!(Error::Usage("x".to_owned()).exit_code(), 2);
    }

    #[test]
    fn only_a_failed_write_is_a_broken_pipe() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let write = |source| Error::Write { what: "x".to_owned(), whole: 0, unit: "lines", is_cut_off: true, source };
        assert!(write(broken()).is_broken_pipe() && !write(io::ErrorKind::StorageFull.into()).is_broken_pipe());
        assert!(Error::file("write", Path::new("x"), broken()).is_broken_pipe());
        assert!(!Error::file("read", Path::new("x"), broken()).is_broken_pipe());
    }
}
