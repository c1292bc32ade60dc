//! Reports of lists that are to have failed, that lack barriers, or that have withheld values.

use super::{Counts, Plan, Rig, Strike, failing_list, is_injected, list, read, write};
use crate::rig::{Step, fresh, one_in};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Device, MemoryKind, Report, Reported, Timeline};

const B: Step = Step::Barrier;
const T: Step = Step::Timestamp;

/// Value, command, and the time in nanoseconds or 'F' for an injected failure.
fn taken(timeline: &Arc<dyn Timeline>) -> Vec<(u64, u32, Result<u128, char>)> {
    let what = |report: Reported| match report {
        Reported::Time(time) => Ok(time.as_nanos()),
        Reported::Failed(error) if is_injected(&error) => Err('F'),
        Reported::Failed(_) => Err('f'),
    };
    timeline.take_reports().into_iter().map(|Report { value, command, what: it }| (value, command, what(it))).collect()
}

#[test]
fn every_command_of_a_struck_list_has_failed_and_run() {
    let mut rig = Rig::new(Plan { failures: Strike::Every(2), ..Plan::default() });
    let memory = rig.faulty.allocate(MemoryKind::Device, 1024).unwrap();
    let steps = list(&[B, T, write(&memory, 0..256), B, read(&memory, 0..256), T]);
    for _ in 0..3 {
        // It reaches the device as it is.
        assert!(Arc::ptr_eq(&rig.submit(&steps, &[]).list, &steps));
    }
    // A kernel that does fail, in a list that is struck: one report.
    rig.submit(&failing_list(), &[]);
    rig.submit(&failing_list(), &[]);
    let failed = [1, 2, 4, 5].map(|command| (2, command, Err('F')));
    // The double's clock counts timestamps; those of the struck list ran, and are not reported.
    let expected = [
        &[(1, 1, Ok(1)), (1, 5, Ok(2))],
        &failed[..],
        &[(3, 1, Ok(5)), (3, 5, Ok(6)), (4, 0, Err('F')), (5, 0, Err('f'))],
    ];
    assert_eq!(taken(&rig.timeline), expected.concat());
    assert_eq!(taken(&rig.timeline), []);
    assert_eq!(rig.faulty.counts(), Counts { failures: 2, ..Counts::default() });
}

#[test]
fn reports_name_the_commands_of_the_list_that_was_submitted() {
    let mut rig = Rig::new(Plan { barriers: Strike::Always, start_barriers: Strike::Always, ..Plan::default() });
    let memory = rig.faulty.allocate(MemoryKind::Device, 1024).unwrap();
    let steps = list(&[B, B, T, B, write(&memory, 0..256), B, B, T, B]);
    assert_eq!(rig.submit(&steps, &[]).list.commands.len(), 3);
    rig.faulty.set(Plan { failures: Strike::Nth(2), ..Plan { barriers: Strike::Nth(2), ..Plan::default() } });
    rig.submit(&steps, &[]);
    rig.submit(&steps, &[]);
    rig.submit(&steps, &[]);
    let times = |value, first: u128| [(value, 2, Ok(first)), (value, 7, Ok(first + 1))];
    let failed = [2, 4, 7].map(|command| (3, command, Err('F')));
    assert_eq!(taken(&rig.timeline), [&times(1, 1), &times(2, 3), &failed[..], &times(4, 7)].concat());
}

#[test]
fn a_refused_list_reports_nothing_and_leaves_its_value_free() {
    let mut rig = Rig::new(Plan { failures: Strike::Nth(1), ..Plan::default() });
    rig.double.at_next_submit(|| false);
    assert!(rig.try_submit(&list(&[T]), &[]).is_err());
    // The same value again, and no strike.
    rig.submit(&list(&[T]), &[]);
    assert_eq!(taken(&rig.timeline), [(1, 0, Ok(1))]);
}

#[test]
fn injected_failures_wait_for_their_value() {
    let mut rig = Rig::new(Plan { failures: Strike::Always, signals: Strike::Nth(2), ..Plan::default() });
    (0..3).for_each(|_| drop(rig.submit(&list(&[T]), &[])));
    assert_eq!(taken(&rig.timeline), [(1, 0, Err('F'))]);
    assert!(!rig.timeline.wait(2, Some(Duration::ZERO)).unwrap());
    rig.faulty.release();
    assert_eq!(taken(&rig.timeline), [(2, 0, Err('F')), (3, 0, Err('F'))]);
}

#[test]
fn random_lists_report_what_they_would_have_reported() {
    let mut random = fresh();
    for _ in 0..200 {
        let plan = Plan {
            seed: random.u64(..),
            barriers: Strike::Share(0.5),
            start_barriers: Strike::Share(0.5),
            failures: Strike::Share(0.3),
            signals: Strike::Share(0.1),
            submissions: Strike::Share(0.2),
            ..Plan::default()
        };
        let mut rig = Rig::new(plan);
        // Commands of each value, and whether they are to have failed.
        let (mut expected, mut found) = (BTreeMap::new(), Vec::new());
        for _ in 0..20 {
            let steps: Vec<Step> = (0..random.usize(..8)).map(|_| if one_in(&mut random, 2) { T } else { B }).collect();
            let failures = rig.faulty.counts().failures;
            if rig.try_submit(&list(&steps), &[]).is_ok() {
                let fails = rig.faulty.counts().failures > failures;
                let stamps = (0..).zip(&steps).filter(|(_, step)| matches!(step, Step::Timestamp));
                expected.extend(stamps.map(|(at, _)| ((rig.value, at), fails)));
            }
            if one_in(&mut random, 4) {
                let visible = rig.timeline.completed();
                found.extend(taken(&rig.timeline));
                let due = expected.range(..(visible + 1, 0)).count();
                assert_eq!(found.len(), due, "what can be seen is reported, and nothing else");
            }
            if one_in(&mut random, 10) {
                rig.faulty.release();
            }
        }
        rig.faulty.release();
        found.extend(taken(&rig.timeline));
        let found: Vec<_> = found.into_iter().map(|(value, command, what)| ((value, command), what.is_err())).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}
