//! Which faults strike, and when; and what has struck.

/// When a fault strikes. Occasions are counted from 1, from the moment the plan was set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Strike {
    /// Not at all.
    #[default]
    Never,
    /// At every occasion.
    Always,
    /// At the n-th occasion, once.
    Nth(u64),
    /// At every n-th occasion; never if n is 0.
    Every(u64),
    /// At this share of the occasions, 0 to 1, drawn from [`Plan::seed`].
    Share(f64),
}

/// The faults to inject. [`Plan::default`] injects none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What [`Strike::Share`] draws from.
    pub seed: u64,
    /// Barriers to drop that are not the first command of their list.
    pub barriers: Strike,
    /// Barriers to drop that are.
    pub start_barriers: Strike,
    /// Waits to drop, counted one by one.
    pub waits: Strike,
    /// Allocations to fail.
    pub allocations: Strike,
    /// Submissions to refuse.
    pub submissions: Strike,
    /// Pipelines not to compile.
    pub pipelines: Strike,
    /// Lists that are to fail: all their commands but barriers are reported as failed, although they run. Nothing else
    /// is reported of such a list, so that its timestamps fail too.
    pub failures: Strike,
    /// Lists to hide from the host until [`Faulty::release`](super::Faulty::release): their signals, and all that their
    /// timelines do afterwards.
    pub signals: Strike,
    /// Calls to hold up.
    pub delays: Delays,
}

/// Calls to hold up: a struck call neither reaches the inner device nor returns before
/// [`Faulty::release`](super::Faulty::release), [`Faulty::lose`](super::Faulty::lose) or
/// [`Faulty::set`](super::Faulty::set). When it goes on, it meets the other faults of the plan that is then in force.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delays {
    /// Allocations.
    pub allocations: Strike,
    /// Submissions.
    pub submissions: Strike,
    /// Pipelines.
    pub pipelines: Strike,
}

/// What has struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Barriers dropped that were not the first command of their list.
    pub barriers: u64,
    /// Barriers dropped that were.
    pub start_barriers: u64,
    /// Waits dropped.
    pub waits: u64,
    /// Allocations failed.
    pub allocations: u64,
    /// Submissions refused.
    pub submissions: u64,
    /// Pipelines not compiled.
    pub pipelines: u64,
    /// Lists with all commands reported as failed.
    pub failures: u64,
    /// Lists with withheld signals.
    pub signals: u64,
    /// Allocations held up, also those that are held no more; [`Faulty::delayed`](super::Faulty::delayed) says how many
    /// calls are.
    pub delayed_allocations: u64,
    /// Submissions held up.
    pub delayed_submissions: u64,
    /// Pipelines held up.
    pub delayed_pipelines: u64,
    /// Calls that were answered with [`Error::DeviceLost`](thalweg_hal::Error::DeviceLost).
    pub lost: u64,
}
