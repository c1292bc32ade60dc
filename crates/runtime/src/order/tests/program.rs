//! Random programs: what streams record, and when what they recorded is handed over, runs and settles.

use proptest::prelude::*;
use thalweg_hal::{Access, Timestamps};

/// How many storages there are, and graphs.
pub(super) const SLOTS: usize = 5;
pub(super) const GRAPHS: usize = 3;
/// Of so many parts each.
pub(super) const PARTS: usize = 2;

/// What a program runs on.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) streams: usize,
    /// Hardware queues: streams beyond that share them in turn.
    pub(super) queues: usize,
    pub(super) timestamps: Timestamps,
    pub(super) order: Order,
    /// Of the device's choices.
    pub(super) seed: u64,
}

/// What a device does first of what it may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Anything.
    Any,
    /// In most cases what was recorded last.
    LastFirst,
    /// In most cases what is not of this stream.
    Late(u32),
}

/// An operand: a storage, or one of its parts if it is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) slot: usize,
    pub(super) part: Option<usize>,
}

/// Streams are counted modulo their number.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Dispatch {
        stream: usize,
        operands: Vec<(Target, Access)>,
        fails: bool,
    },
    Copy {
        stream: usize,
        from: usize,
        to: usize,
        fails: bool,
    },
    /// `short`: so many bytes of the last word are not the storage's.
    Fill {
        stream: usize,
        to: Target,
        pattern: u32,
        short: u64,
        fails: bool,
    },
    Replay {
        stream: usize,
        graph: usize,
        operands: Vec<usize>,
        fails: bool,
    },
    /// One stream waits for all that another has recorded.
    Wait {
        stream: usize,
        other: usize,
    },
    /// The time is taken.
    Event(usize),
    Flush(usize),
    /// The device will not take the stream's next list.
    Refuse(usize),
    /// The storage is divided into parts, with uses of their own.
    Divide(usize),
    /// Its parts are freed and taken again as one.
    Unite(usize),
    /// It is freed and taken again.
    Retake(usize),
    /// It is given new memory, which is raw.
    Renew(usize),
    Profile {
        full: bool,
        serialized: bool,
    },
    Unprofile,
    /// The device takes so many steps.
    Run(usize),
    /// What has run settles.
    Settle,
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![3 => Just(Access::Read), 2 => Just(Access::Write), 2 => Just(Access::ReadWrite)]
}

fn target() -> impl Strategy<Value = Target> {
    (0..SLOTS, prop::option::of(0..PARTS)).prop_map(|(slot, part)| Target { slot, part })
}

/// One in twelve.
fn fails() -> impl Strategy<Value = bool> {
    prop::bool::weighted(1.0 / 12.0)
}

fn step() -> impl Strategy<Value = Step> {
    let (stream, slot) = (0..4usize, 0..SLOTS);
    let operands = prop::collection::vec((target(), access()), 1..4);
    prop_oneof![
        20 => (stream.clone(), operands, fails())
            .prop_map(|(stream, operands, fails)| Step::Dispatch { stream, operands, fails }),
        5 => (stream.clone(), slot.clone(), slot.clone(), fails())
            .prop_map(|(stream, from, to, fails)| Step::Copy { stream, from, to, fails }),
        3 => (stream.clone(), target(), any::<u32>(), 0..4u64, fails())
            .prop_map(|(stream, to, pattern, short, fails)| Step::Fill { stream, to, pattern, short, fails }),
        9 => (stream.clone(), 0..GRAPHS, prop::collection::vec(slot.clone(), 4), fails())
            .prop_map(|(stream, graph, operands, fails)| Step::Replay { stream, graph, operands, fails }),
        2 => (stream.clone(), stream.clone()).prop_map(|(stream, other)| Step::Wait { stream, other }),
        1 => stream.clone().prop_map(Step::Event),
        3 => stream.clone().prop_map(Step::Flush),
        1 => stream.clone().prop_map(Step::Refuse),
        2 => slot.clone().prop_map(Step::Divide),
        2 => slot.clone().prop_map(Step::Unite),
        4 => slot.clone().prop_map(Step::Retake),
        1 => slot.prop_map(Step::Renew),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(full, serialized)| Step::Profile { full, serialized }),
        1 => Just(Step::Unprofile),
        5 => (1..20usize).prop_map(Step::Run),
        4 => Just(Step::Settle),
    ]
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let timestamps =
        prop_oneof![1 => Just(Timestamps::None), 1 => Just(Timestamps::ByList), 2 => Just(Timestamps::ByCommand)];
    let order = prop_oneof![Just(Order::Any), Just(Order::LastFirst), (0..4u32).prop_map(Order::Late)];
    // Mostly a queue for each stream, which orders least.
    let queues = prop_oneof![3 => Just(4), 1 => 1..4usize];
    (2..=4usize, queues, timestamps, order, any::<u64>()).prop_map(|(streams, queues, timestamps, order, seed)| Setup {
        streams,
        queues,
        timestamps,
        order,
        seed,
    })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..100)
}
