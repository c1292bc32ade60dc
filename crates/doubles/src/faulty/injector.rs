//! The plan in force, and how far it has come.

use super::plan::{Counts, Delays, Plan, Strike};
use super::timeline::Raised;
use std::sync::Weak;

/// The kinds of occasion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Barrier,
    StartBarrier,
    Wait,
    Allocation,
    Submission,
    Pipeline,
    Failure,
    Signal,
    DelayedAllocation,
    DelayedSubmission,
    DelayedPipeline,
}

/// How many there are.
const FAULTS: usize = Fault::DelayedPipeline as usize + 1;

/// The occasions of one fault. What is drawn at the n-th depends on the plan's seed, the fault and n alone, whatever
/// other faults meet in between.
#[derive(Debug)]
struct Course {
    occasion: u64,
    random: fastrand::Rng,
}

/// All of them, at the start of a plan.
fn courses(plan: &Plan) -> [Course; FAULTS] {
    let mut seeds = fastrand::Rng::with_seed(plan.seed);
    std::array::from_fn(|_| Course { occasion: 0, random: seeds.fork() })
}

/// The state of a [`Faulty`](super::Faulty), all of it under one lock.
#[derive(Debug)]
pub(super) struct Injector {
    plan: Plan,
    /// How far each fault has come since the plan was set.
    courses: [Course; FAULTS],
    counts: Counts,
    /// Timeline and value of every submission that was refused.
    refused: Vec<(u64, u64)>,
    lost: bool,
    /// Calls that are held up.
    delayed: u64,
    /// How often all that were held up were let go.
    let_go: u64,
    /// Timelines that live: what a release or a loss has to reach.
    timelines: Vec<Weak<Raised>>,
}

impl Injector {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            courses: courses(&plan),
            plan,
            counts: Counts::default(),
            refused: Vec::new(),
            lost: false,
            delayed: 0,
            let_go: 0,
            timelines: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, plan: Plan) {
        self.courses = courses(&plan);
        self.plan = plan;
        self.let_go();
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// Counts a call that finds the device lost.
    pub(super) fn answered_lost(&mut self) {
        self.counts.lost += 1;
    }

    /// Notes that the list with this value was not taken.
    pub(super) fn refuse(&mut self, timeline: u64, value: u64) {
        self.refused.push((timeline, value));
    }

    pub(super) fn refused(&self) -> &[(u64, u64)] {
        &self.refused
    }

    /// Enters a call that is held up; returns what [`Injector::holds`] tells it by.
    pub(super) fn hold(&mut self) -> u64 {
        self.delayed += 1;
        self.let_go
    }

    /// Whether a call is still held up.
    pub(super) fn holds(&self, ticket: u64) -> bool {
        self.let_go == ticket
    }

    pub(super) fn delayed(&self) -> u64 {
        self.delayed
    }

    /// Lets all calls go on that are held up. They wake when they are told so.
    fn let_go(&mut self) {
        self.let_go += 1;
        self.delayed = 0;
    }

    /// Whether any barrier may be struck.
    pub(super) fn strikes_barriers(&self) -> bool {
        self.plan.barriers != Strike::Never || self.plan.start_barriers != Strike::Never
    }

    /// Counts an occasion, and says whether the fault strikes at it.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let (plan, counts) = (&self.plan, &mut self.counts);
        let (strike, count) = match fault {
            Fault::Barrier => (plan.barriers, &mut counts.barriers),
            Fault::StartBarrier => (plan.start_barriers, &mut counts.start_barriers),
            Fault::Wait => (plan.waits, &mut counts.waits),
            Fault::Allocation => (plan.allocations, &mut counts.allocations),
            Fault::Submission => (plan.submissions, &mut counts.submissions),
            Fault::Pipeline => (plan.pipelines, &mut counts.pipelines),
            Fault::Failure => (plan.failures, &mut counts.failures),
            Fault::Signal => (plan.signals, &mut counts.signals),
            Fault::DelayedAllocation => (plan.delays.allocations, &mut counts.delayed_allocations),
            Fault::DelayedSubmission => (plan.delays.submissions, &mut counts.delayed_submissions),
            Fault::DelayedPipeline => (plan.delays.pipelines, &mut counts.delayed_pipelines),
        };
        let Course { occasion, random } = &mut self.courses[fault as usize];
        *occasion += 1;
        let strikes = match strike {
            Strike::Never => false,
            Strike::Always => true,
            Strike::Nth(n) => *occasion == n,
            Strike::Every(n) => n != 0 && occasion.is_multiple_of(n),
            Strike::Share(share) => random.f64() < share,
        };
        *count += u64::from(strikes);
        strikes
    }

    /// Enters a timeline.
    pub(super) fn add_timeline(&mut self, raised: Weak<Raised>) {
        // Amortised: the walk over the dead is paid for by the growth.
        if self.timelines.len() == self.timelines.capacity() {
            self.timelines.retain(|raised| raised.strong_count() != 0);
        }
        self.timelines.push(raised);
    }

    pub(super) fn release(&mut self) {
        (self.plan.signals, self.plan.delays) = (Strike::Never, Delays::default());
        self.let_go();
        if !self.lost {
            self.timelines.iter().filter_map(Weak::upgrade).for_each(|raised| raised.release());
        }
    }

    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.let_go();
        self.timelines.iter().filter_map(Weak::upgrade).for_each(|raised| raised.freeze());
    }
}
