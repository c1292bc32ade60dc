//! Vector clocks, indexed by queue.

/// One command: the queue it was submitted to, and its number there, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) queue: usize,
    pub(super) number: u64,
}

/// A set of commands that has, with a command, all earlier commands of the same queue: the last number of each queue.
///
/// Everything that orders commands here orders such sets. A barrier and a signal cover their queue up to a point, and
/// what else they cover came from signals.
#[derive(Debug, Default)]
pub(super) struct Clock(Vec<u64>);

impl Clone for Clock {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }

    // Barriers copy a clock over another of the same length; the derived form would allocate.
    fn clone_from(&mut self, source: &Self) {
        self.0.clone_from(&source.0);
    }
}

impl Clock {
    /// The last command of a queue that is in the set; 0 if none is.
    pub(super) fn of(&self, queue: usize) -> u64 {
        self.0.get(queue).copied().unwrap_or(0)
    }

    /// Puts the commands of a queue up to `number` into the set.
    pub(super) fn advance(&mut self, queue: usize, number: u64) {
        if self.0.len() <= queue {
            self.0.resize(queue + 1, 0);
        }
        self.0[queue] = self.0[queue].max(number);
    }

    /// Unites the sets.
    pub(super) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// Whether the command is in the set.
    pub(super) fn covers(&self, epoch: Epoch) -> bool {
        epoch.number <= self.of(epoch.queue)
    }
}
