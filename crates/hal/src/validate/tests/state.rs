//! The model's own state: bounded, and as before when a submission is refused.

use super::rig::{Rig, fresh, list, read, submit, write};
use super::{B, Step};
use crate::{Access, Error, Memory, Violation};
use std::sync::Arc;

/// Steps that touch `m` in every way and split its ranges.
fn mixed(m: &Arc<dyn Memory>) -> Vec<Step> {
    let both = Step::Touch(vec![(m.clone(), Access::Read, 0..512), (m.clone(), Access::Write, 512..1024)]);
    vec![B, read(m, 256..512), B, write(m, 0..768), B, both, B, write(m, 512..600)]
}

#[test]
fn a_refused_submission_leaves_the_model_as_it_was() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    for block in 0..4 {
        rig.submit(0, &[], &[write(&m, 256 * block..256 * block + 256), read(&m, 2048..2100)]);
    }
    rig.submit(1, &[(0, 4)], &[B, read(&m, 0..256), read(&m, 256..512)]);
    // Splits are allowed to stay; make them first, so that the pictures can be compared.
    rig.submit(1, &[], &[read(&m, 512..600), read(&m, 512..768), read(&m, 768..1024)]);
    let before = rig.device.shared.model().picture();

    rig.double.at_next_submit(|| false);
    let result = rig.try_submit(1, &[(0, 4)], &mixed(&m));
    assert!(matches!(result, Err(Error::Driver { .. })), "{result:?}");
    assert_eq!(rig.device.shared.model().picture(), before);

    // By a violation in its last command.
    let mut steps = mixed(&m);
    steps.push(write(&m, 512..600));
    rig.unordered(1, &[(0, 4)], &steps);
    assert_eq!(rig.device.shared.model().picture(), before);

    // And the refused value can be promised again.
    rig.submit(1, &[(0, 4)], &mixed(&m));
    let report = rig.device.report();
    assert_eq!((report.submissions, report.violations), (7, 1));
}

#[test]
fn a_list_that_was_refused_orders_nothing_and_conflicts_with_nothing() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[read(&m, 0..256)]);
    rig.double.at_next_submit(|| false);
    rig.try_submit(0, &[], &[B, write(&m, 0..256), write(&m, 256..512)]).unwrap_err();
    // Its write and its barrier are gone, the read that the write displaced is back.
    rig.submit(1, &[], &[read(&m, 0..512)]);
    rig.unordered(0, &[], &[write(&m, 0..256)]);
    let result = rig.try_submit(1, &[(0, 2)], &[]);
    assert!(matches!(result, Err(Error::Invalid(Violation::WaitNotSubmitted { value: 2, submitted: 1, .. }))));
}

#[test]
fn a_list_in_the_device_s_hands_cannot_be_waited_for_and_conflicts() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    let (mut other, memory) = (rig.queues.pop().unwrap(), m.clone());
    let wait = rig.wait(0, 1);
    rig.double.at_next_submit(move || {
        let invalid = |waits: &[_], steps: &[_]| match submit(&mut *other, &list(steps), waits, 1) {
            Err(Error::Invalid(violation)) => violation,
            result => panic!("expected a violation, got {result:?}"),
        };
        let mut invalid = invalid;
        assert!(matches!(invalid(&[wait], &[]), Violation::WaitNotSubmitted { value: 1, submitted: 0, .. }));
        assert!(matches!(invalid(&[], &[read(&memory, 0..256)]), Violation::Unordered { .. }));
        // Independent work passes, and the refusal of the outer list does not take it back.
        submit(&mut *other, &list(&[write(&memory, 256..512), read(&memory, 1024..1280)]), &[], 1).unwrap();
        false
    });
    rig.try_submit(0, &[], &[write(&m, 0..256), read(&m, 1024..1280)]).unwrap_err();
    rig.submit(1, &[], &[write(&m, 0..256)]);
    rig.unordered(1, &[], &[read(&m, 256..512)]);
    rig.unordered(1, &[], &[write(&m, 1024..1280)]);
    rig.submit(1, &[(2, 1)], &[read(&m, 256..512), write(&m, 1024..1280)]);
}

#[test]
fn memory_is_bounded_by_what_is_not_complete() {
    let mut rig = Rig::new(2);
    let mut random = fresh();
    let mut largest = (0, 0);
    for round in 0..4000 {
        // A new memory now and then: entries of old ones must go too.
        let m = rig.memory();
        let steps: Vec<Step> = (0..8)
            .flat_map(|_| {
                let start = 256 * random.usize(..100) as u64;
                [B, write(&m, start..start + 1 + random.usize(..2000) as u64)]
            })
            .collect();
        let queue = round % 2;
        let value = rig.submit(queue, &[], &steps);
        rig.reach(queue, value.saturating_sub(3));
        let size = rig.device.shared.model().size();
        largest = (largest.0.max(size.0), largest.1.max(size.1));
    }
    // Six lists of at most eight writes are not complete; timelines are asked after 64 submissions at the latest.
    assert!(largest.1 <= 6 + 64, "{largest:?}");
    assert!(largest.0 <= 512, "{largest:?}");
}

#[test]
fn indices_of_queues_are_used_again_when_their_work_is_complete() {
    let mut rig = Rig::new(1);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    let old = rig.renew(0);
    // Not complete: a barrier of the new queue says nothing about the old one.
    rig.unordered(0, &[], &[B, read(&m, 0..256)]);
    rig.double.reach(&old, 1);
    rig.submit(0, &[], &[read(&m, 0..256), B]);
    rig.reach(0, 1);
    for _ in 0..100 {
        rig.renew(0);
        rig.submit(0, &[], &[B, write(&m, 0..256)]);
        rig.reach(0, 1);
    }
    assert_eq!(rig.device.report().violations, 1);
    assert!(rig.device.shared.model().queues() <= 2);
}
