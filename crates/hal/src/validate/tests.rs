//! Each rule of the model with a passing and a failing case.

#[allow(dead_code)] // each crate that compiles it uses its part
pub(crate) mod double;
mod host;
mod random;
#[allow(dead_code)]
pub(crate) mod rig;
mod state;

use crate::{Access, Device, Error, Violation};
use rig::{Rig, Step, list, read, submit, write};

const B: Step = Step::Barrier;

#[test]
fn commands_of_a_list_need_a_barrier_between_them() {
    let mut rig = Rig::new(1);
    let m = rig.memory();
    let (command, bytes, other) = rig.unordered(0, &[], &[read(&m, 512..768), write(&m, 0..256), read(&m, 0..256)]);
    assert_eq!((command, bytes), (2, 0..256));
    assert!(other.starts_with("the write by command 1 of the list"), "{other}");
    rig.submit(0, &[], &[write(&m, 0..256), B, read(&m, 0..256)]);
}

#[test]
fn a_timestamp_orders_nothing_and_counts_as_a_command() {
    const T: Step = Step::Timestamp;
    let mut rig = Rig::new(1);
    let m = rig.memory();
    let (command, _, other) = rig.unordered(0, &[], &[T, write(&m, 0..256), T, read(&m, 0..256)]);
    assert_eq!(command, 3);
    assert!(other.starts_with("the write by command 1 of the list"), "{other}");
    rig.submit(0, &[], &[T, write(&m, 0..256), B, T, read(&m, 0..256), T]);
    assert_eq!(rig.device.report().commands, 6);
}

#[test]
fn raw_war_and_waw_conflict_and_reads_do_not() {
    for (first, second, conflict) in [
        (Access::Read, Access::Read, false),
        (Access::Read, Access::Write, true),
        (Access::Write, Access::Read, true),
        (Access::Write, Access::Write, true),
        (Access::Read, Access::ReadWrite, true),
        (Access::ReadWrite, Access::Read, true),
    ] {
        for queues in [1, 2] {
            let mut rig = Rig::new(queues);
            let m = rig.memory();
            let step = |access| Step::Touch(vec![(m.clone(), access, 0..256)]);
            let second_queue = queues - 1;
            rig.submit(0, &[], &[step(first)]);
            match conflict {
                true => drop(rig.unordered(second_queue, &[], &[step(second)])),
                false => drop(rig.submit(second_queue, &[], &[step(second)])),
            }
            match queues {
                1 => rig.submit(0, &[], &[B, step(second)]),
                _ => rig.submit(1, &[(0, 1)], &[step(second)]),
            };
            assert_eq!(rig.device.report().violations, u64::from(conflict));
        }
    }
}

#[test]
fn a_write_after_several_reads_must_come_after_each() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[read(&m, 0..256)]);
    rig.submit(1, &[], &[read(&m, 0..256)]);
    rig.unordered(2, &[(0, 1)], &[write(&m, 0..256)]);
    rig.unordered(2, &[(1, 1)], &[write(&m, 0..256)]);
    rig.submit(2, &[(0, 1), (1, 1)], &[write(&m, 0..256)]);
}

#[test]
fn a_read_that_displaces_an_earlier_read_stands_for_it() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[read(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[read(&m, 0..256)]);
    rig.unordered(2, &[(0, 1)], &[write(&m, 0..256)]);
    rig.submit(2, &[(1, 1)], &[write(&m, 0..256)]);
}

#[test]
fn lists_of_a_queue_are_unordered_but_for_a_barrier() {
    let mut rig = Rig::new(1);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.unordered(0, &[], &[read(&m, 0..256)]);
    rig.unordered(0, &[], &[read(&m, 0..256), B]);
    rig.submit(0, &[], &[B, read(&m, 0..256)]);
    // A barrier at the end of a list orders the lists after it just as well.
    rig.submit(0, &[], &[B, write(&m, 256..512), B]);
    rig.submit(0, &[], &[read(&m, 256..512)]);
}

#[test]
fn a_wait_for_the_own_queue_orders_too() {
    let mut rig = Rig::new(1);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(0, &[(0, 1)], &[read(&m, 0..256)]);
}

#[test]
fn queues_are_ordered_by_waits_only() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.unordered(1, &[], &[B, read(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[read(&m, 0..256)]);
}

#[test]
fn a_wait_for_a_higher_value_covers_lower_ones() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(0, &[], &[write(&m, 256..512)]);
    rig.unordered(1, &[(0, 1)], &[read(&m, 0..512)]);
    rig.submit(1, &[(0, 2)], &[read(&m, 0..512)]);
}

#[test]
fn waits_are_transitive_through_a_third_queue() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[write(&m, 256..512)]);
    rig.submit(2, &[(1, 1)], &[read(&m, 0..512)]);
}

#[test]
fn a_list_without_commands_passes_its_waits_on_to_its_signal_only() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[]);
    rig.unordered(1, &[], &[B, read(&m, 0..256)]);
    rig.submit(2, &[(1, 1)], &[read(&m, 0..256)]);
}

#[test]
fn waits_reach_later_lists_through_barriers_only() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[read(&m, 0..256)]);
    rig.unordered(1, &[], &[read(&m, 0..256)]);
    rig.submit(1, &[], &[B, read(&m, 0..256)]);
    rig.submit(1, &[], &[read(&m, 0..256)]);
}

#[test]
fn a_barrier_comes_after_the_waits_of_its_own_list() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[B]);
    rig.submit(1, &[], &[read(&m, 0..256)]);
}

#[test]
fn a_barrier_does_not_reach_back_across_queues() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[B, read(&m, 0..256)]);
    // The wait of queue 1 does not order what queue 0 does next.
    rig.unordered(0, &[], &[B, write(&m, 0..256)]);
    rig.submit(0, &[(1, 1)], &[write(&m, 0..256)]);
}

#[test]
fn overlaps_count_by_bytes() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 256..1000)]);
    rig.submit(1, &[], &[read(&m, 0..256), read(&m, 1024..2000), write(&m, 2048..2049)]);
    assert_eq!(rig.unordered(1, &[], &[read(&m, 0..257)]).1, 256..257);
    assert_eq!(rig.unordered(1, &[], &[read(&m, 768..5000)]).1, 768..1000);
    assert_eq!(rig.unordered(1, &[], &[read(&m, 512..513)]).1, 512..513);
    // The first of several is the one that is told.
    rig.submit(0, &[], &[write(&m, 4096..4100)]);
    assert_eq!(rig.unordered(1, &[], &[read(&m, 0..8192)]).1, 256..1000);
    let other = rig.memory();
    rig.submit(1, &[], &[write(&other, 0..8192)]);
}

#[test]
fn a_partly_overwritten_range_keeps_its_other_part() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..1024)]);
    rig.submit(1, &[(0, 1)], &[write(&m, 256..512)]);
    // After queue 0, the middle is still unordered; after queue 1, nothing is.
    assert_eq!(rig.unordered(2, &[(0, 1)], &[write(&m, 0..1024)]).1, 256..512);
    rig.submit(2, &[(1, 1)], &[write(&m, 0..1024)]);
}

// audit: C3
#[test]
fn a_wait_must_name_submitted_work() {
    let mut rig = Rig::new(2);
    let submit_waiting = |rig: &mut Rig, value| rig.try_submit(1, &[(0, value)], &[]);
    let timeline = rig.timelines[0].id();
    let refused = |result| match result {
        Err(Error::Invalid(Violation::WaitNotSubmitted { timeline: t, value, submitted })) => {
            assert_eq!(t, timeline);
            (value, submitted)
        }
        other => panic!("expected a refused wait, got {other:?}"),
    };
    submit_waiting(&mut rig, 0).unwrap();
    assert_eq!(refused(submit_waiting(&mut rig, 1)), (1, 0));
    rig.submit(0, &[], &[]);
    submit_waiting(&mut rig, 1).unwrap();
    assert_eq!(refused(submit_waiting(&mut rig, 2)), (2, 1));
    rig.reach(0, 1);
    submit_waiting(&mut rig, 1).unwrap();
    assert_eq!(refused(submit_waiting(&mut rig, 2)), (2, 1));
    assert_eq!(rig.device.report().violations, 3);
}

// audit: FB
#[test]
fn values_must_rise() {
    let mut rig = Rig::new(2);
    let refused = |rig: &mut Rig, value, highest| {
        let result = submit(&mut *rig.queues[0], &list(&[]), &[], value);
        assert!(
            matches!(result, Err(Error::Invalid(Violation::ValueNotRising { submitted, .. })) if submitted == highest),
            "{value}: {result:?}"
        );
    };
    refused(&mut rig, 0, 0);
    submit(&mut *rig.queues[0], &list(&[]), &[], 3).unwrap();
    [0, 2, 3].into_iter().for_each(|value| refused(&mut rig, value, 3));
    submit(&mut *rig.queues[0], &list(&[]), &[], 7).unwrap();
    // Those of one queue are nothing to another.
    submit(&mut *rig.queues[1], &list(&[]), &[], 1).unwrap();
    rig.reach(0, 7);
    refused(&mut rig, 7, 7);
}

#[test]
fn a_value_between_two_signals_is_reached_by_the_second() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    for (at, value) in [(0, 3), (256, 7)] {
        submit(&mut *rig.queues[0], &list(&[write(&m, at..at + 256)]), &[], value).unwrap();
    }
    rig.unordered(1, &[(0, 2)], &[read(&m, 256..512)]);
    // 7 comes after 3.
    rig.submit(1, &[(0, 4)], &[read(&m, 0..512)]);
}

#[test]
fn what_is_prepared_reaches_the_device() {
    let rig = Rig::new(1);
    let prepared = list(&[write(&rig.memory(), 0..256)]);
    // SAFETY: nothing is done with the list.
    unsafe { rig.device.prepare(&prepared) }.unwrap();
    assert!(matches!(&rig.double.prepared()[..], [list] if std::sync::Arc::ptr_eq(list, &prepared)));
}

#[test]
fn the_structure_of_a_list_is_checked() {
    let mut rig = Rig::new(1);
    let m = rig.memory();
    for (command, step) in [(0, read(&m, 0..(1 << 16) + 1)), (1, read(&m, 8..16))] {
        let steps = [vec![B; command], vec![step]].concat();
        let result = rig.try_submit(0, &[], &steps);
        let Err(Error::Invalid(Violation::Command { command: said, .. })) = result else { panic!("{result:?}") };
        assert_eq!(said, command);
    }
    // One that is to be prepared likewise, which can neither run another nor take the time.
    for step in [read(&m, 8..16), Step::Timestamp] {
        // SAFETY: nothing is done with the list.
        let result = unsafe { rig.device.prepare(&list(&[B, step])) };
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    assert!(rig.double.prepared().is_empty());
    let report = rig.device.report();
    assert_eq!((report.submissions, report.commands, report.violations, report.first.len()), (0, 0, 4, 4));
    assert!(rig.double.received().is_empty());
}

#[test]
fn the_report_counts_all_and_keeps_sixteen() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256), B]);
    for _ in 0..40 {
        rig.unordered(1, &[], &[read(&m, 0..256)]);
    }
    let report = rig.device.report();
    assert_eq!((report.submissions, report.commands, report.violations, report.first.len()), (1, 2, 40, 16));
}
