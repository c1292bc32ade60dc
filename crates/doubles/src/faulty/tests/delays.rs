//! Calls that are held up until told otherwise, and hold up nobody else.

use super::{Counts, Double, Error, Faulty, Plan, Rig, Strike, failing, list, lost, submit};
use crate::faulty::Delays;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thalweg_hal::{Device, MemoryKind, Result, TimelinePoint};

/// The calls that can be held up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Allocate,
    Submit,
    Compile,
}

const CALLS: [Call; 3] = [Call::Allocate, Call::Submit, Call::Compile];

impl Call {
    /// Makes the call.
    fn on(self, faulty: &Faulty) -> Result<()> {
        match self {
            Self::Allocate => faulty.allocate(MemoryKind::Device, 256).map(drop),
            Self::Submit => submit(&mut *faulty.create_queue()?, &list(&[]), &[], 1),
            Self::Compile => faulty.create_pipeline(&failing()).map(drop),
        }
    }

    /// Makes the call on a thread of its own.
    fn start(self, faulty: &Arc<Faulty>) -> JoinHandle<Result<()>> {
        let faulty = faulty.clone();
        thread::spawn(move || self.on(&faulty))
    }

    /// A plan that holds the call up.
    fn delayed(self, strike: Strike) -> Plan {
        let mut delays = Delays::default();
        match self {
            Self::Allocate => delays.allocations = strike,
            Self::Submit => delays.submissions = strike,
            Self::Compile => delays.pipelines = strike,
        }
        Plan { delays, ..Plan::default() }
    }

    /// A plan under which the call fails.
    fn failing(self) -> Plan {
        match self {
            Self::Allocate => Plan { allocations: Strike::Always, ..Plan::default() },
            Self::Submit => Plan { submissions: Strike::Always, ..Plan::default() },
            Self::Compile => Plan { pipelines: Strike::Always, ..Plan::default() },
        }
    }

    /// How often it was held up.
    fn count(self, counts: &Counts) -> u64 {
        match self {
            Self::Allocate => counts.delayed_allocations,
            Self::Submit => counts.delayed_submissions,
            Self::Compile => counts.delayed_pipelines,
        }
    }
}

/// Blocks until so many calls are held up.
fn await_delayed(faulty: &Faulty, calls: u64) {
    let start = Instant::now();
    while faulty.delayed() != calls {
        assert!(start.elapsed() < Duration::from_secs(60), "{} calls are held up, not {calls}", faulty.delayed());
        thread::yield_now();
    }
}

/// What a call answered that is to return now.
fn answer<T>(call: JoinHandle<T>) -> T {
    let start = Instant::now();
    while !call.is_finished() {
        assert!(start.elapsed() < Duration::from_secs(60), "a call stays held up");
        thread::yield_now();
    }
    call.join().unwrap()
}

fn faulty(plan: Plan) -> (Arc<Double>, Arc<Faulty>) {
    let double = Double::new(false);
    (double.clone(), Faulty::new(double, plan))
}

#[test]
fn a_held_up_call_returns_with_the_release_a_loss_or_a_new_plan() {
    for call in CALLS {
        let ends: [fn(&Faulty, Call); 3] = [
            |faulty, _| faulty.release(),
            |faulty, _| faulty.lose(),
            // Which would hold up the next.
            |faulty, call| faulty.set(call.delayed(Strike::Always)),
        ];
        for (at, end) in ends.into_iter().enumerate() {
            let (double, faulty) = faulty(call.delayed(Strike::Always));
            let held = [call.start(&faulty), call.start(&faulty)];
            await_delayed(&faulty, 2);
            assert!(held.iter().all(|call| !call.is_finished()), "{call:?}");
            assert!(double.received().is_empty() && double.created() == 0, "{call:?} reached the device");
            end(&faulty, call);
            assert_eq!(faulty.delayed(), 0);
            for held in held {
                match answer(held) {
                    Ok(()) => assert_ne!(at, 1, "{call:?}"),
                    error => lost(error),
                }
            }
            let reached = double.received().len() + double.created();
            assert_eq!(reached, if at == 1 { 0 } else { 2 }, "{call:?}");
            assert_eq!(call.count(&faulty.counts()), 2);
            if at == 0 {
                // A release delays no more.
                answer(call.start(&faulty)).unwrap();
            }
            if at == 2 {
                let next = call.start(&faulty);
                await_delayed(&faulty, 1);
                faulty.release();
                answer(next).unwrap();
            }
        }
    }
}

#[test]
fn nobody_else_is_held_up() {
    for call in CALLS {
        let (double, faulty) = faulty(call.delayed(Strike::Nth(2)));
        let mut queue = faulty.create_queue().unwrap();
        let bystander = TimelinePoint { timeline: queue.timeline().clone(), value: 1 };
        call.on(&faulty).unwrap();
        let before = double.received().len();
        let held = call.start(&faulty);
        await_delayed(&faulty, 1);
        let memory = faulty.allocate(MemoryKind::Device, 256).unwrap();
        // SAFETY: nothing touches it.
        unsafe { faulty.write(&memory, 0, &[1]).unwrap() };
        faulty.create_pipeline(&failing()).unwrap();
        submit(&mut *queue, &list(&[]), &[], 1).unwrap();
        assert!(bystander.timeline.wait(1, None).unwrap());
        faulty.wait_any(&[bystander], None, None).unwrap();
        assert_eq!(double.received().len(), before + 1);
        assert_eq!((faulty.delayed(), held.is_finished()), (1, false), "{call:?}");
        faulty.release();
        answer(held).unwrap();
    }
}

#[test]
fn a_call_that_goes_on_meets_the_plan_in_force() {
    for call in CALLS {
        let (_, faulty) = faulty(call.delayed(Strike::Nth(1)));
        let held = call.start(&faulty);
        await_delayed(&faulty, 1);
        faulty.set(call.failing());
        let result = answer(held);
        assert!(matches!(result, Err(Error::Driver { .. } | Error::OutOfMemory { .. })), "{call:?}: {result:?}");
    }
}

#[test]
fn a_held_up_submission_is_complete_when_it_goes_on() {
    let mut rig =
        Rig::new(Plan { delays: Delays { submissions: Strike::Nth(2), ..Delays::default() }, ..Plan::default() });
    rig.submit(&list(&[]), &[]);
    let (double, faulty, timeline) = (rig.double.clone(), rig.faulty.clone(), rig.timeline.clone());
    let held = thread::spawn(move || rig.submit(&list(&[]), &[rig.wait(1)]).waits.len());
    await_delayed(&faulty, 1);
    assert_eq!((timeline.completed(), double.received().len()), (1, 1));
    faulty.release();
    assert_eq!(answer(held), 1);
    assert_eq!((timeline.completed(), double.received().len()), (2, 2));
}
