//! The rules as functions: random programs of a few streams, on a device that does all that the contract allows.
//!
//! ```text
//!  program ──► player: OpenList, Uses, results ──lists──► device: any order that waits and barriers leave
//!     │                         │                                   │
//!     └──► reference: one operation after the other ◄── compared ◄──┘ what each command read, who failed, when
//! ```
//!
//! The player does what the engine does around these functions, on one thread: it flushes what an operation depends on
//! before it records the operation (I1), submits, and settles. [`Broken`] says what it, or the device, leaves out.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

mod checks;
mod device;
mod player;
mod program;
mod reference;

use player::Player;
use program::{Setup, Step, setup, steps};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

/// A protection that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// No list waits for another.
    Waits,
    /// No barrier between the commands of a list.
    Barriers,
    /// None before the first (I6).
    FirstBarrier,
    /// An operation leaves no trace in the uses of its bytes.
    Stamps,
    /// A write does not see the reads before it.
    Reads,
    /// What is united has the uses of one part alone (I5).
    Unite,
    /// What is divided leaves its uses with the first part (I5).
    Split,
    /// What is freed and taken again has no uses (I5).
    Retake,
    /// A graph's memory does not remember its runs.
    Runs,
    /// What a list reads of others is forgotten (I7).
    Edges,
    /// What an operation depends on is not submitted first (I1).
    ForeignFlush,
    /// What was submitted counts as settled (I7).
    Settled,
}

fn play(setup: &Setup, program: &[Step], broken: Option<Broken>) -> Result<(), TestCaseError> {
    let mut player = Player::new(setup, broken);
    let played = program.iter().try_for_each(|step| player.play(step)).and_then(|()| player.finish());
    played.map_err(TestCaseError::fail)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(4000))]

    // audit: C4, C13, C24
    #[test]
    fn random_programs_are_ordered_and_their_failures_follow_the_data(setup in setup(), program in steps()) {
        play(&setup, &program, None)?;
    }
}

/// Plays random programs until somebody complains of what is missing, and not of what follows from that.
fn falsify(broken: Broken, complaint: &str) {
    let mut runner = TestRunner::new(ProptestConfig { max_shrink_iters: 0, ..config(20_000) });
    let found = runner.run(&(setup(), steps()), |(setup, program)| match play(&setup, &program, Some(broken)) {
        Err(TestCaseError::Fail(reason)) if !reason.message().starts_with(complaint) => Ok(()),
        played => played,
    });
    assert!(matches!(found, Err(TestError::Fail(..))), "nobody noticed that {broken:?} is missing: {found:?}");
}

// audit: C14, C28
#[test]
fn falsify_waits() {
    falsify(Broken::Waits, "order");
}

// audit: C4, C28
#[test]
fn falsify_barriers() {
    falsify(Broken::Barriers, "order");
}

// audit: C4, C28
#[test]
fn falsify_the_barrier_that_a_list_starts_with() {
    falsify(Broken::FirstBarrier, "order");
}

// audit: C4, C28
#[test]
fn falsify_stamps() {
    falsify(Broken::Stamps, "order");
}

// audit: C14, C28
#[test]
fn falsify_reads_before_a_write() {
    falsify(Broken::Reads, "order");
}

// audit: C13
#[test]
fn falsify_uses_of_what_is_united() {
    falsify(Broken::Unite, "order");
}

// audit: C13
#[test]
fn falsify_uses_of_what_is_divided() {
    falsify(Broken::Split, "order");
}

// audit: C13
#[test]
fn falsify_uses_of_what_is_taken_again() {
    falsify(Broken::Retake, "order");
}

// audit: C13
#[test]
fn falsify_runs_of_a_graph() {
    falsify(Broken::Runs, "order");
}

// audit: C24, C28
#[test]
fn falsify_edges() {
    falsify(Broken::Edges, "failure");
}

// audit: C3, C28
#[test]
fn falsify_flushes_of_other_streams() {
    falsify(Broken::ForeignFlush, "I1");
}

// audit: C28
#[test]
fn falsify_settling_before_others_look() {
    falsify(Broken::Settled, "order");
}
