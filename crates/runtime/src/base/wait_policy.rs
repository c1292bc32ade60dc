//! How long a call may be kept waiting.

use crate::base::error::Error;
use std::time::{Duration, Instant};

/// How long a call may wait for the device to give a credit, or for a submit of somebody else's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitPolicy {
    /// As long as it takes.
    Forever,
    /// Until then.
    Until(Instant),
    /// Not at all.
    Never,
}

impl WaitPolicy {
    /// Without a timeout, or with one too long for the clock, it is endless.
    pub(crate) fn of(timeout: Option<Duration>) -> Self {
        timeout.and_then(|timeout| Instant::now().checked_add(timeout)).map_or(Self::Forever, Self::Until)
    }

    /// What is left of it; `None` if it is endless.
    pub(crate) fn left(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            Self::Never => Some(Duration::ZERO),
        }
    }

    /// What a call answers when it is over.
    pub(crate) fn over(self) -> Error {
        if matches!(self, Self::Never) { Error::Busy } else { Error::Timeout }
    }
}
