//! loom models of the two hand-overs that yielding adds: of a list, back to its lane and on to any worker; and of a
//! shared command, the owner of which stops while helpers are at it.

use crate::executor::{Options, Shared};
use crate::pace::Key;
use crate::queue::{Lane, Task};
use crate::split::{Offer, Seat, Split};
use crate::sync::lock;
use crate::timeline::Counter;
use loom::cell::UnsafeCell;
use loom::thread;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::{Command, IndexRange, KernelSource, List, host};

const WORKERS: usize = 2;
/// Preemptions of a thread in the larger models; what needs more is not looked for.
const PREEMPTIONS: usize = 3;

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(body);
}

fn shared() -> Arc<Shared> {
    let quantum = Duration::from_millis(1);
    Arc::new(Shared::new(Options { workers: WORKERS, quantum, spins: false }))
}

/// One lane, and what has run of its lists.
struct World {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    /// Value and step. The worker that runs the lane writes to it; loom says if two do at once.
    log: UnsafeCell<Vec<(u64, usize)>>,
}

impl World {
    fn submit(&self, value: u64) {
        if self.lane.push(Task::new(&Arc::new(List::default()), SmallVec::new(), value)) {
            self.shared.push(std::iter::once(self.lane.clone()), 0);
        }
    }

    /// A worker runs a step of a list of two, between which the list yields. `false` if nothing was runnable.
    fn step(&self, worker: usize) -> bool {
        let mut run = lock(&self.shared.run);
        let Some(lane) = run.lanes.pick(worker) else { return false };
        drop(run);
        let mut task = lane.take().expect("a runnable lane has a list");
        let step = task.progress.steps;
        task.progress.steps += 1;
        // SAFETY: loom looks whether somebody else is at it.
        self.log.with_mut(|log| unsafe { (*log).push((task.value, step)) });
        let stop = || {
            let mut run = lock(&self.shared.run);
            run.lanes.charge(worker, Duration::from_millis(1));
            lane.set_used(run.lanes.leave(worker));
        };
        if step == 0 {
            lane.put_back(task);
            stop();
            self.shared.push(std::iter::once(lane.clone()), 0);
        } else {
            stop();
            let settled = lane.timeline.settle(task.value, Vec::new());
            assert!(settled.lanes.is_empty());
            self.shared.push(lane.finish().then(|| lane.clone()).into_iter(), 0);
        }
        true
    }
}

/// Lists that yield run step by step, in their order, each step once, whichever worker goes on with them and whenever
/// they are submitted; and none is forgotten.
// audit: F11
#[test]
fn loom_a_list_that_yields_is_gone_on_with() {
    model(|| {
        let shared = shared();
        let timeline = Counter::new(&shared.bell);
        let lane = Lane::new(&timeline, Duration::ZERO);
        let world = Arc::new(World { shared, lane, log: UnsafeCell::new(Vec::new()) });
        world.submit(1);
        let workers = [0, 1].map(|worker| {
            let world = world.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    world.step(worker);
                }
            })
        });
        world.submit(2);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        while world.step(0) {}
        // SAFETY: all threads have been joined.
        let log = world.log.with(|log| unsafe { (*log).clone() });
        assert_eq!(log, [(1, 0), (1, 1), (2, 0), (2, 1)]);
        assert_eq!(timeline.completed(), 2);
    });
}

/// A list of one dispatch over so many items of nothing.
fn dispatch(items: u32) -> Arc<List> {
    let source = KernelSource {
        name: "nothing".into(),
        bindings: Cow::Borrowed(&[]),
        params_bytes: 0,
        wgsl: None,
        host: Some(|_| Ok(())),
    };
    let none = IndexRange { start: 0, len: 0 };
    let command = Command::Dispatch { pipeline: 0, bindings: none, params: none, extent: [items, 1, 1] };
    let pipeline = host::HostPipeline::new(&source, crate::NAME).unwrap();
    Arc::new(List { commands: vec![command], pipelines: vec![Arc::new(pipeline)], ..List::default() })
}

/// An owner that stops in the middle of a shared command finds that what was claimed has been done, and nothing else;
/// what helpers wrote is visible to it.
// audit: F11
#[test]
fn loom_an_owner_that_stops_has_the_rest_to_itself() {
    const ITEMS: u32 = 4;
    model(|| {
        let shared = shared();
        let cells: Arc<[UnsafeCell<u32>; ITEMS as usize]> = Arc::new([(); ITEMS as usize].map(|()| UnsafeCell::new(0)));
        let list = dispatch(ITEMS);
        let step = List::steps(&list).next().unwrap();
        let split = Arc::new(Split::new(step, Key::of(&list, &list.commands[0]).unwrap(), 0, WORKERS));
        // SAFETY: loom looks whether somebody else is at it.
        let add = |cell: &UnsafeCell<u32>| cell.with_mut(|cell| unsafe { *cell += 1 });
        let helpers = [(); 2].map(|()| {
            let (shared, cells) = (shared.clone(), cells.clone());
            thread::spawn(move || {
                let run = lock(&shared.run);
                let Some(Offer { split, seat }) = run.offers.iter().find(|offer| offer.split.is_open()).cloned() else {
                    return;
                };
                seat.join();
                drop(run);
                split.claim(1).into_iter().flatten().for_each(|item| add(&cells[item as usize]));
                drop(split);
                seat.leave();
            })
        });
        let seat = Arc::new(Seat::new());
        shared.offer(&split, &seat);
        split.claim(1).into_iter().flatten().for_each(|item| add(&cells[item as usize]));
        lock(&shared.run).offers.clear();
        seat.wait();
        let done = split.done() as usize;
        cells[done..].iter().for_each(add);
        // SAFETY: the owner is the only one left.
        assert!(cells.iter().all(|cell| cell.with(|cell| unsafe { *cell }) == 1), "{done} were claimed");
        helpers.into_iter().for_each(|helper| helper.join().unwrap());
    });
}
