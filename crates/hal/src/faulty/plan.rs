//! Which faults strike, and when.

use super::timeline::Raised;
use std::sync::Weak;

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
    /// Whether to hide the signals of lists submitted from now on from the host, until
    /// [`Faulty::release`](super::Faulty::release).
    pub withhold_signals: bool,
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
    /// Lists whose signals were withheld.
    pub withheld_signals: u64,
    /// Calls that were answered with [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub lost: u64,
}

/// The kinds of occasion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Barrier,
    StartBarrier,
    Wait,
    Allocation,
    Submission,
    Pipeline,
}

/// How many there are.
const FAULTS: usize = 6;

/// The plan in force, and how far it has come.
#[derive(Debug)]
pub(super) struct Injector {
    plan: Plan,
    /// Occasions of each fault since the plan was set.
    occasions: [u64; FAULTS],
    counts: Counts,
    lost: bool,
    /// Timelines that live: what a release or a loss has to reach.
    timelines: Vec<Weak<Raised>>,
    /// How often the doorbell was rung.
    pub(super) rung: u64,
}

impl Injector {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, occasions: [0; FAULTS], counts: Counts::default(), lost: false, timelines: Vec::new(), rung: 0 }
    }

    pub(super) fn set(&mut self, plan: Plan) {
        self.plan = plan;
        self.occasions = [0; FAULTS];
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

    /// Whether any barrier may be struck.
    pub(super) fn strikes_barriers(&self) -> bool {
        self.plan.barriers != Strike::Never || self.plan.start_barriers != Strike::Never
    }

    /// Counts an occasion, and says whether the fault strikes at it.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let Counts { barriers, start_barriers, waits, allocations, submissions, pipelines, .. } = &mut self.counts;
        let (strike, count) = match fault {
            Fault::Barrier => (self.plan.barriers, barriers),
            Fault::StartBarrier => (self.plan.start_barriers, start_barriers),
            Fault::Wait => (self.plan.waits, waits),
            Fault::Allocation => (self.plan.allocations, allocations),
            Fault::Submission => (self.plan.submissions, submissions),
            Fault::Pipeline => (self.plan.pipelines, pipelines),
        };
        let occasion = &mut self.occasions[fault as usize];
        *occasion += 1;
        let strikes = match strike {
            Strike::Never => false,
            Strike::Always => true,
            Strike::Nth(n) => *occasion == n,
            Strike::Every(n) => n != 0 && occasion.is_multiple_of(n),
            Strike::Share(share) => draw(self.plan.seed, fault, *occasion) < share,
        };
        *count += u64::from(strikes);
        strikes
    }

    /// Whether the signal of a list that is submitted now is withheld; counts it.
    pub(super) fn withholds(&mut self) -> bool {
        self.counts.withheld_signals += u64::from(self.plan.withhold_signals);
        self.plan.withhold_signals
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
        self.plan.withhold_signals = false;
        if !self.lost {
            self.timelines.iter().filter_map(Weak::upgrade).for_each(|raised| raised.release());
        }
    }

    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.timelines.iter().filter_map(Weak::upgrade).for_each(|raised| raised.freeze());
    }
}

/// A number in 0..1 that depends on seed, fault and occasion alone: SplitMix64 (Steele, Lea and Flood, 2014).
fn draw(seed: u64, fault: Fault, occasion: u64) -> f64 {
    let step = (occasion * FAULTS as u64 + fault as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = seed.wrapping_add(step);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 53 bits: what an f64 holds.
    (z >> 11) as f64 / (1_u64 << 53) as f64
}
