//! What the host has seen, and what it may touch.

use super::rig::{Rig, list, read, submit, write};
use crate::{Device, Error, Result, Violation};
use std::sync::mpsc;
use std::time::Duration;

#[track_caller]
fn refused(result: Result<()>) -> (&'static str, u64, u64) {
    match result {
        Err(Error::Invalid(Violation::HostAccess { access, start, end, .. })) => (access, start, end),
        other => panic!("expected a refused host access, got {other:?}"),
    }
}

#[test]
fn the_host_reads_after_writes_and_writes_after_everything() {
    let mut rig = Rig::new(1);
    let (written, only_read) = (rig.memory(), rig.memory());
    rig.submit(0, &[], &[write(&written, 256..512), read(&only_read, 0..256)]);

    assert_eq!(refused(rig.host_read(&written, 0..1024)), ("reads", 256, 512));
    rig.host_read(&written, 0..256).unwrap();
    rig.host_read(&only_read, 0..256).unwrap();
    assert_eq!(refused(rig.host_write(&only_read, 0..16)), ("writes", 0, 16));
    let accesses = rig.double.host_accesses();
    assert_eq!(rig.device.report().violations, 2);

    rig.reach(0, 1);
    rig.host_read(&written, 0..1024).unwrap();
    rig.host_write(&only_read, 0..256).unwrap();
    assert_eq!(rig.double.host_accesses(), accesses + 2);
    assert_eq!(rig.device.report().violations, 2);
}

#[test]
fn what_the_host_has_seen_needs_no_wait() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(0, &[], &[write(&m, 256..512)]);
    rig.reach(0, 1);
    rig.submit(1, &[], &[read(&m, 0..256)]);
    rig.unordered(1, &[], &[read(&m, 256..512)]);
    rig.reach(0, 2);
    rig.submit(1, &[], &[read(&m, 256..512)]);
}

#[test]
fn what_the_host_has_seen_covers_what_came_before_it() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[(0, 1)], &[]);
    // Timeline 0 itself is not looked at: timeline 1 says that its value was reached.
    rig.reach(1, 1);
    rig.submit(2, &[], &[write(&m, 0..256)]);
    rig.unordered(1, &[], &[read(&m, 0..256)]);
}

#[test]
fn what_the_host_saw_later_does_not_order_earlier_lists() {
    let mut rig = Rig::new(3);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.submit(1, &[], &[write(&m, 256..512)]);
    rig.reach(0, 1);
    // Queue 1's list was submitted before, and is not covered by what the host saw.
    rig.unordered(2, &[], &[read(&m, 0..512)]);
    rig.submit(2, &[(1, 1)], &[read(&m, 0..512)]);
}

#[test]
fn a_wait_for_what_is_complete_does_not_stand_for_what_is_not() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    rig.submit(0, &[], &[write(&m, 0..256)]);
    rig.reach(0, 1);
    rig.submit(0, &[], &[write(&m, 256..512)]);
    rig.unordered(1, &[(0, 1)], &[read(&m, 0..512)]);
    rig.submit(1, &[(0, 1)], &[read(&m, 0..256)]);
}

#[test]
fn commands_and_other_host_accesses_keep_off_a_host_access_in_progress() {
    let mut rig = Rig::new(1);
    let m = rig.memory();
    // The read is carried out for as long as the model has its ticket: stand in for it at that level.
    let begin = |access, kind| {
        let mut model = rig.device.shared.model();
        model.begin_host_access(access, kind, m.id(), 0..256).unwrap()
    };
    let ticket = begin("reads", super::super::Kind::Read);
    rig.host_read(&m, 0..256).unwrap();
    assert_eq!(refused(rig.host_write(&m, 128..512)), ("writes", 128, 256));
    rig.submit(0, &[], &[read(&m, 0..256)]);
    let (_, bytes, other) = rig.unordered(0, &[], &[write(&m, 0..512)]);
    assert_eq!((bytes, other.as_str()), (0..256, "the host, which reads them at this moment"));
    rig.device.shared.model().end_host_access(ticket);
    rig.reach(0, 1);
    rig.submit(0, &[], &[write(&m, 0..512)]);
}

#[test]
fn a_list_completed_before_it_is_confirmed_is_complete() {
    let mut rig = Rig::new(2);
    let m = rig.memory();
    let (device, double, timeline, memory) =
        (rig.device.clone(), rig.double.clone(), rig.timelines[0].clone(), m.clone());
    let mut other = rig.queues.pop().unwrap();
    rig.double.at_next_submit(move || {
        let mut bytes = [0; 16];
        // SAFETY: refused by the validator.
        refused(unsafe { device.read(&memory, 0, &mut bytes) });
        double.reach(&timeline, 1);
        // SAFETY: the only list is complete.
        unsafe { device.read(&memory, 0, &mut bytes) }.unwrap();
        submit(&mut *other, &list(&[write(&memory, 0..256)]), &[], 1).unwrap();
        true
    });
    rig.submit(0, &[], &[write(&m, 0..256)]);
    // The later write stands, though the earlier list was confirmed after it.
    rig.unordered(0, &[], &[read(&m, 0..256)]);
    rig.submit(0, &[(1, 1)], &[read(&m, 0..256)]);
}

#[test]
fn two_threads_submit_at_once() {
    // Each thread is held inside the device until the other is there too: neither waits for a lock of the model.
    const PATIENCE: Duration = Duration::from_secs(30);
    let mut rig = Rig::new(2);
    let memories = [rig.memory(), rig.memory()];
    for round in 1..=50 {
        let (first_inside, see_first) = mpsc::channel();
        let (second_inside, see_second) = mpsc::channel();
        let double = rig.double.clone();
        rig.double.at_next_submit(move || {
            double.at_next_submit(move || second_inside.send(()).is_ok());
            first_inside.send(()).is_ok() && see_second.recv_timeout(PATIENCE).is_ok()
        });
        let lists = [0, 1].map(|at: usize| list(&[super::B, write(&memories[at], 0..256)]));
        std::thread::scope(|scope| {
            let [a, b] = rig.queues.get_disjoint_mut([0, 1]).unwrap();
            let lists = &lists;
            scope.spawn(move || submit(&mut **a, &lists[0], &[], round).unwrap());
            scope.spawn(move || {
                see_first.recv_timeout(PATIENCE).unwrap();
                submit(&mut **b, &lists[1], &[], round).unwrap();
            });
        });
    }
    let report = rig.device.report();
    assert_eq!((report.submissions, report.commands, report.violations), (100, 200, 0), "{:?}", report.first);
}
