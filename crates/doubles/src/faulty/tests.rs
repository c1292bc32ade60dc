//! Each fault strikes when told, and not otherwise.

mod delays;
mod reports;

use super::{Counts, Faulty, Plan, Strike, is_injected};
use crate::double::{Double, Received};
use crate::rig::{Step, fresh, list, read, submit, write};
use std::borrow::Cow;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use thalweg_hal::host::HostPipeline;
use thalweg_hal::validate::Validated;
use thalweg_hal::{
    Command, Device, Error, IndexRange, KernelFailure, KernelSource, List, Listener, Memory, MemoryKind, Queue, Report,
    Reported, Result, Timeline, TimelinePoint, Violation,
};

const B: Step = Step::Barrier;

/// A faulty double with one queue.
struct Rig {
    double: Arc<Double>,
    faulty: Arc<Faulty>,
    queue: Box<dyn Queue>,
    timeline: Arc<dyn Timeline>,
    value: u64,
}

impl Rig {
    fn new(plan: Plan) -> Self {
        let double = Double::new(false);
        let faulty = Faulty::new(double.clone(), plan);
        let queue = faulty.create_queue().unwrap();
        let timeline = queue.timeline().clone();
        Self { double, faulty, queue, timeline, value: 0 }
    }

    fn wait(&self, value: u64) -> TimelinePoint {
        TimelinePoint { timeline: self.timeline.clone(), value }
    }

    fn try_submit(&mut self, list: &Arc<List>, waits: &[TimelinePoint]) -> Result<()> {
        submit(&mut *self.queue, list, waits, self.value + 1)?;
        self.value += 1;
        Ok(())
    }

    /// Submits, and returns what reached the double.
    fn submit(&mut self, list: &Arc<List>, waits: &[TimelinePoint]) -> Received {
        self.try_submit(list, waits).unwrap();
        self.double.received().pop().unwrap()
    }
}

fn lost<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(&result, Err(Error::DeviceLost { device }) if device == "double"), "{result:?}");
}

/// The steps of a list in letters.
fn letters(list: &List) -> String {
    list.commands.iter().map(|command| if *command == Command::Barrier { 'B' } else { 'w' }).collect()
}

#[test]
fn without_a_plan_everything_passes_untouched() {
    let mut rig = Rig::new(Plan::default());
    let memory = rig.faulty.allocate(MemoryKind::Device, 1024).unwrap();
    let original = list(&[B, write(&memory, 0..256), B, write(&memory, 0..256)]);
    rig.submit(&original, &[]);
    let received = rig.submit(&original, &[rig.wait(1)]);
    assert!(Arc::ptr_eq(&received.list, &original));
    assert_eq!(received.waits.len(), 1);
    assert_eq!(rig.timeline.completed(), 2);
    assert!(rig.timeline.wait(2, None).unwrap());
    assert!(!rig.timeline.wait(3, Some(Duration::from_millis(1))).unwrap());
    rig.faulty.wait_any(&[rig.wait(9), rig.wait(2)], None, None).unwrap();
    rig.faulty.create_pipeline(&failing()).unwrap();
    // SAFETY: it keeps the rules.
    unsafe { rig.faulty.prepare(&original) }.unwrap();
    assert!(matches!(&rig.double.prepared()[..], [prepared] if Arc::ptr_eq(prepared, &original)));
    // SAFETY: everything is complete.
    unsafe {
        rig.faulty.write(&memory, 0, &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 4];
        rig.faulty.read(&memory, 0, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
    }
    assert_eq!(rig.double.host_accesses(), 2);
    assert_eq!(rig.faulty.counts(), Counts::default());
}

#[test]
fn barriers_are_dropped_by_count_and_kind() {
    let mut rig = Rig::new(Plan { barriers: Strike::Every(2), ..Plan::default() });
    let memory = rig.faulty.allocate(MemoryKind::Device, 1024).unwrap();
    let w = || write(&memory, 0..256);
    let steps = list(&[B, w(), B, w(), B, w(), B, w(), B, w()]);
    let received = rig.submit(&steps, &[]);
    assert_eq!(letters(&received.list), "BwBwwBww");
    assert_eq!(received.list.bindings, steps.bindings);
    assert_eq!(received.list.memories.len(), 5);

    rig.faulty.set(Plan { start_barriers: Strike::Always, ..Plan::default() });
    assert_eq!(letters(&rig.submit(&steps, &[]).list), "wBwBwBwBw");
    let without = list(&[w(), B, w()]);
    let received = rig.submit(&without, &[]);
    assert!(Arc::ptr_eq(&received.list, &without));

    rig.faulty.set(Plan { barriers: Strike::Nth(3), ..Plan::default() });
    assert_eq!(letters(&rig.submit(&steps, &[]).list), "BwBwBwwBw");
    assert_eq!(letters(&rig.submit(&steps, &[]).list), "BwBwBwBwBw");

    rig.faulty.set(Plan { barriers: Strike::Always, start_barriers: Strike::Always, ..Plan::default() });
    assert_eq!(letters(&rig.submit(&steps, &[]).list), "wwwww");
    let expected = Counts { barriers: 2 + 1 + 4, start_barriers: 1 + 1, ..Counts::default() };
    assert_eq!(rig.faulty.counts(), expected);
}

#[test]
fn waits_are_dropped() {
    let mut rig = Rig::new(Plan::default());
    for _ in 0..4 {
        rig.submit(&list(&[]), &[]);
    }
    let waits: Vec<TimelinePoint> = (1..=4).map(|value| rig.wait(value)).collect();
    let values = |received: Received| received.waits.iter().map(|wait| wait.value).collect::<Vec<_>>();
    rig.faulty.set(Plan { waits: Strike::Every(3), ..Plan::default() });
    assert_eq!(values(rig.submit(&list(&[]), &waits)), [1, 2, 4]);
    assert_eq!(values(rig.submit(&list(&[]), &waits)), [1, 3, 4]);
    rig.faulty.set(Plan { waits: Strike::Always, ..Plan::default() });
    assert_eq!(values(rig.submit(&list(&[]), &waits)), []);
    assert_eq!(rig.faulty.counts(), Counts { waits: 6, ..Counts::default() });
}

#[test]
fn shares_are_drawn_from_the_seed() {
    let seed = fresh().u64(..);
    let strikes = |seed, share| {
        let rig = Rig::new(Plan { seed, allocations: Strike::Share(share), ..Plan::default() });
        (0..4000).map(|_| rig.faulty.allocate(MemoryKind::Device, 256).is_err()).collect::<Vec<_>>()
    };
    let quarter = strikes(seed, 0.25);
    let count = quarter.iter().filter(|struck| **struck).count();
    // The mean is 1000, the standard deviation 27.
    assert!((800..1200).contains(&count), "{count}");
    assert_eq!(quarter, strikes(seed, 0.25));
    assert_ne!(quarter, strikes(seed ^ 1, 0.25));
    assert!(!strikes(seed, 0.0).contains(&true));
    assert!(!strikes(seed, 1.0).contains(&false));
}

#[test]
fn calls_fail_as_told() {
    let mut rig = Rig::new(Plan {
        allocations: Strike::Nth(2),
        submissions: Strike::Every(2),
        pipelines: Strike::Always,
        ..Plan::default()
    });
    assert!(rig.faulty.allocate(MemoryKind::Device, 256).is_ok());
    let error = rig.faulty.allocate(MemoryKind::Device, 512).unwrap_err();
    assert!(matches!(&error, Error::OutOfMemory { device, bytes: 512 } if device == "double"));
    assert!(error.is_retryable());
    assert!(rig.faulty.allocate(MemoryKind::Device, 256).is_ok());

    rig.submit(&list(&[]), &[]);
    assert!(matches!(rig.try_submit(&list(&[]), &[]), Err(error) if is_injected(&error)));
    rig.submit(&list(&[]), &[]);
    assert_eq!(rig.double.received().len(), 2);
    assert_eq!(rig.timeline.completed(), 2);

    assert_eq!(rig.faulty.refused(), [(rig.timeline.id(), 2)]);

    assert!(matches!(rig.faulty.create_pipeline(&failing()), Err(error) if is_injected(&error)));
    let expected = Counts { allocations: 1, submissions: 1, pipelines: 1, ..Counts::default() };
    assert_eq!(rig.faulty.counts(), expected);
}

/// A kernel that fails.
fn failing() -> KernelSource {
    KernelSource {
        name: Cow::Borrowed("failing"),
        bindings: Cow::Borrowed(&[]),
        params_bytes: 0,
        wgsl: None,
        host: Some(|_| Err(KernelFailure::new("as asked"))),
    }
}

fn failing_list() -> Arc<List> {
    let none = IndexRange { start: 0, len: 0 };
    let command = Command::Dispatch { pipeline: 0, bindings: none, params: none, extent: [1, 1, 1] };
    let pipelines: Vec<Arc<dyn thalweg_hal::Pipeline>> = vec![Arc::new(HostPipeline::new(&failing(), "test").unwrap())];
    Arc::new(List { commands: vec![command], pipelines, ..List::default() })
}

#[test]
fn withheld_signals_and_failures_come_with_the_release() {
    let mut rig = Rig::new(Plan::default());
    rig.submit(&list(&[]), &[]);
    rig.faulty.set(Plan { signals: Strike::Always, ..Plan::default() });
    rig.submit(&failing_list(), &[]);
    rig.submit(&list(&[]), &[rig.wait(2)]);
    assert_eq!(rig.timeline.completed(), 1);
    assert!(rig.timeline.take_reports().is_empty());
    assert!(!rig.timeline.wait(2, Some(Duration::from_millis(1))).unwrap());
    rig.faulty.wait_any(&[rig.wait(1)], None, None).unwrap();
    // Another plan does not release.
    rig.faulty.set(Plan::default());
    assert_eq!(rig.timeline.completed(), 1);
    rig.submit(&list(&[]), &[]);
    assert_eq!(rig.timeline.completed(), 1);

    rig.faulty.release();
    assert_eq!(rig.timeline.completed(), 4);
    let failures = rig.timeline.take_reports();
    assert!(
        matches!(&failures[..], [Report { value: 2, command: 0, what: Reported::Failed(Error::Kernel { .. }) }]),
        "{failures:?}"
    );
    assert!(rig.timeline.take_reports().is_empty());
    rig.submit(&list(&[]), &[]);
    assert_eq!(rig.timeline.completed(), 5);
    assert_eq!(rig.faulty.counts(), Counts { signals: 2, ..Counts::default() });
}

#[test]
fn a_withheld_signal_holds_back_its_own_timeline_from_there_on() {
    let mut rig = Rig::new(Plan { signals: Strike::Nth(2), ..Plan::default() });
    let mut other = rig.faulty.create_queue().unwrap();
    let timeline = other.timeline().clone();
    for value in 1..=3 {
        rig.submit(&list(&[]), &[]);
        submit(&mut *other, &list(&[]), &[], value).unwrap();
    }
    // The second submission of all was the other's first.
    assert_eq!((rig.timeline.completed(), timeline.completed()), (3, 0));
    assert_eq!(rig.faulty.counts(), Counts { signals: 1, ..Counts::default() });
    rig.faulty.release();
    assert_eq!(timeline.completed(), 3);
}

#[test]
fn every_refused_submission_is_remembered() {
    let mut rig = Rig::new(Plan { submissions: Strike::Nth(2), ..Plan::default() });
    rig.submit(&list(&[]), &[]);
    assert!(rig.try_submit(&list(&[]), &[]).is_err());
    rig.submit(&list(&[]), &[]);
    rig.double.at_next_submit(|| false);
    assert!(rig.try_submit(&list(&[]), &[]).is_err());
    let mut other = rig.faulty.create_queue().unwrap();
    rig.faulty.set(Plan { submissions: Strike::Always, ..Plan::default() });
    assert!(submit(&mut *other, &list(&[]), &[], 7).is_err());
    rig.faulty.lose();
    lost(rig.try_submit(&list(&[]), &[]));
    let id = rig.timeline.id();
    assert_eq!(rig.faulty.refused(), [(id, 2), (id, 3), (other.timeline().id(), 7)]);
}

/// Starts a `wait` and a `wait_any` for a value that is withheld, or that nobody signals, then calls `end`; returns
/// what they answered.
fn waits_ended_by(withheld: bool, end: impl FnOnce(&Faulty)) -> (Result<bool>, Result<()>, Rig) {
    let mut rig = Rig::new(Plan { signals: Strike::Always, ..Plan::default() });
    if withheld {
        rig.submit(&list(&[]), &[]);
    }
    let (timeline, faulty, wait) = (rig.timeline.clone(), rig.faulty.clone(), rig.wait(1));
    let (about_to, waiting) = mpsc::channel();
    let told = about_to.clone();
    let one = std::thread::spawn(move || {
        told.send(()).unwrap();
        timeline.wait(1, None)
    });
    let any = std::thread::spawn(move || {
        about_to.send(()).unwrap();
        faulty.wait_any(&[wait], None, None)
    });
    // Both are about to wait, or waiting: the answer is the same, and the double panics if a wait is never woken.
    waiting.iter().take(2).for_each(drop);
    end(&rig.faulty);
    (one.join().unwrap(), any.join().unwrap(), rig)
}

#[test]
fn a_release_wakes_who_is_waiting() {
    for _ in 0..100 {
        let (one, any, _) = waits_ended_by(true, Faulty::release);
        assert!(one.unwrap());
        any.unwrap();
    }
}

#[test]
fn a_loss_wakes_who_is_waiting() {
    for round in 0..100 {
        let (one, any, rig) = waits_ended_by(round % 2 == 0, Faulty::lose);
        lost(one);
        lost(any);
        assert_eq!(rig.faulty.counts().lost, 2);
    }
}

#[test]
fn a_lost_device_answers_everything_with_the_loss() {
    let mut rig = Rig::new(Plan::default());
    let memory: Arc<dyn Memory> = rig.faulty.allocate(MemoryKind::Device, 256).unwrap();
    rig.submit(&list(&[]), &[]);
    rig.faulty.set(Plan { signals: Strike::Always, ..Plan::default() });
    rig.submit(&list(&[]), &[]);
    rig.faulty.lose();
    rig.faulty.release();

    assert_eq!(rig.faulty.info().name, "double");
    lost(rig.faulty.allocate(MemoryKind::Device, 256));
    lost(rig.faulty.create_queue());
    lost(rig.faulty.create_doorbell());
    lost(rig.faulty.create_pipeline(&failing()));
    // SAFETY: refused.
    unsafe {
        lost(rig.faulty.prepare(&list(&[])));
        lost(rig.faulty.read(&memory, 0, &mut [0]));
        lost(rig.faulty.write(&memory, 0, &[0]));
    }
    assert_eq!(rig.double.host_accesses(), 0);
    lost(rig.try_submit(&list(&[]), &[]));
    assert_eq!(rig.double.received().len(), 2);
    lost(rig.timeline.wait(1, None));
    lost(rig.timeline.wait(2, Some(Duration::ZERO)));
    lost(rig.faulty.wait_any(&[rig.wait(2)], None, None));
    // What was seen stays seen, what was not never is.
    assert_eq!(rig.timeline.completed(), 1);
    assert_eq!(rig.faulty.counts().lost, 11);
}

#[test]
fn what_completes_after_the_loss_is_not_seen() {
    let double = Double::new(true);
    let faulty = Faulty::new(double.clone(), Plan::default());
    let mut queue = faulty.create_queue().unwrap();
    for value in 1..=2 {
        submit(&mut *queue, &list(&[]), &[], value).unwrap();
    }
    let last = TimelinePoint { timeline: queue.timeline().clone(), value: 2 };
    let inner = super::timeline::unwrap(&faulty.shared, &last).unwrap().timeline;
    double.reach(&inner, 1);
    faulty.lose();
    double.reach(&inner, 2);
    assert_eq!(last.timeline.completed(), 1);
}

#[test]
fn a_doorbell_ends_waits_whatever_is_withheld_until_the_device_is_lost() {
    let mut rig = Rig::new(Plan { signals: Strike::Always, ..Plan::default() });
    rig.submit(&list(&[]), &[]);
    let bell = rig.faulty.create_doorbell().unwrap();
    for round in 0..200 {
        let listener = Listener::new(&bell);
        assert_eq!((listener.heard, listener.is_rung()), (round, false));
        std::thread::scope(|scope| {
            scope.spawn(|| bell.ring());
            // Another's ring ends it early.
            while !listener.is_rung() {
                rig.faulty.wait_any(&[rig.wait(1)], Some(&listener), None).unwrap();
            }
        });
        rig.faulty.wait_any(&[rig.wait(1)], Some(&listener), None).unwrap();
    }
    let listener = Listener::new(&bell);
    rig.faulty.lose();
    bell.ring();
    lost(rig.faulty.wait_any(&[], Some(&listener), None));
}

#[test]
fn timelines_of_others_are_refused() {
    let mut rig = Rig::new(Plan::default());
    let other = Rig::new(Plan::default());
    let inner = rig.double.create_queue().unwrap();
    for timeline in [&other.timeline, inner.timeline()] {
        let timeline = timeline.clone();
        let foreign = TimelinePoint { timeline, value: 0 };
        let refused = |result: Result<()>| {
            assert!(matches!(result, Err(Error::ForeignObject { what: "timeline", .. })), "{result:?}");
        };
        refused(rig.try_submit(&list(&[]), std::slice::from_ref(&foreign)));
        refused(rig.faulty.wait_any(&[foreign], None, None));
    }
}

// audit: C28
#[test]
fn the_validator_below_sees_what_is_taken_out() {
    for plan in [
        Plan::default(),
        Plan { barriers: Strike::Always, ..Plan::default() },
        Plan { start_barriers: Strike::Always, ..Plan::default() },
        Plan { waits: Strike::Always, ..Plan::default() },
    ] {
        let validated = Validated::new(Double::new(true));
        let faulty = Faulty::new(validated.clone(), plan.clone());
        let memory = faulty.allocate(MemoryKind::Device, 4096).unwrap();
        let mut queues = [faulty.create_queue().unwrap(), faulty.create_queue().unwrap()];
        let first = TimelinePoint { timeline: queues[0].timeline().clone(), value: 1 };
        let mut run = |queue: usize, steps: &[Step], waits: &[TimelinePoint], value| {
            let result = submit(&mut *queues[queue], &list(steps), waits, value);
            assert!(matches!(result, Ok(()) | Err(Error::Invalid(Violation::Unordered { .. }))), "{result:?}");
            result.is_err()
        };
        assert!(!run(0, &[write(&memory, 0..256)], &[], 1));
        let across = run(1, &[read(&memory, 0..256)], &[first], 1);
        let in_list = run(1, &[read(&memory, 512..768), B, write(&memory, 512..768)], &[], 2);
        let at_start = run(0, &[B, read(&memory, 0..256)], &[], 2);

        let Counts { barriers, start_barriers, waits, .. } = faulty.counts();
        assert_eq!([in_list, at_start, across], [barriers == 1, start_barriers == 1, waits == 1], "{plan:?}");
        assert_eq!(barriers + start_barriers + waits, u64::from(plan != Plan::default()));
        assert_eq!(validated.report().violations, barriers + start_barriers + waits, "{plan:?}");
    }
}
