//! What came of rounds of stress, in numbers.

use crate::Error;
use crate::order::results::UPLOAD;

/// What came of the rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) operations: u64,
    /// Tensors and events that came from another thread.
    pub(super) received: u64,
    /// Tasks that ran to their end, and how often one was polled by another thread than before.
    pub(super) tasks: u64,
    pub(super) hops: u64,
    /// Calls that were refused because they would have had to wait.
    pub(super) busy: u64,
    /// Calls for which there was no memory, and kernels that the device did not compile.
    pub(super) full: u64,
    pub(super) uncompiled: u64,
    /// Runs of graphs, and graphs captured.
    pub(super) replays: u64,
    pub(super) captures: u64,
    pub(super) checked: u64,
    /// Of those, how many did not come to the host, because the list with the copy was refused.
    pub(super) undelivered: u64,
    /// How many had to have failed.
    pub(super) broken: u64,
    /// Other words, words where there should have been a failure, a failure where there should have been words, or the
    /// failure of something that it does not depend on.
    pub(super) wrong: u64,
    /// Errors that were not to be expected.
    pub(super) errors: u64,
    pub(super) first_error: Option<Error>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.received += other.received;
        self.tasks += other.tasks;
        self.hops += other.hops;
        self.busy += other.busy;
        self.full += other.full;
        self.uncompiled += other.uncompiled;
        self.replays += other.replays;
        self.captures += other.captures;
        self.checked += other.checked;
        self.undelivered += other.undelivered;
        self.broken += other.broken;
        self.wrong += other.wrong;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }

    /// Counts what a call was answered; whether it was nothing to be expected.
    pub(super) fn answered(&mut self, error: Error) {
        match error {
            Error::Busy => self.busy += 1,
            Error::OutOfMemory(_) => self.full += 1,
            // Frozen memory that the host does not see says at once that its list was refused.
            Error::Failed(failure) if failure.operation == UPLOAD => self.undelivered += 1,
            Error::Device(thalweg_hal::Error::Driver { call: "create_pipeline", .. }) => self.uncompiled += 1,
            error => self.fail(error),
        }
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }
}
