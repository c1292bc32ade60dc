//! The ladder alone: memory on a device that counts, and lists that do what a test says.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

use super::*;
use crate::base::config::Config;
use crate::memory::arena::{DEFAULT, Owner, Place};
use crate::memory::class::Class;
use crate::memory::heap::{Block, Purpose, StreamHeap};
use crate::order::point::Use;
use crate::order::uses::Writes;
use crate::trace::hook::Hook;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::{Access, Memory};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const STREAMS: usize = 2;
/// So many MiB may be taken, of which large blocks leave a part to others: 7 blocks of one MiB fit.
const LIMIT: u64 = 8 * MIB;
const FIT: u64 = 7;
/// Far more than any call of these tests needs.
const MOST_CALLS: usize = 1000;

/// What the memory asked of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    SettleAll,
    Last,
    Flush(u32),
    Wait(Vec<Point>),
    CheckWaits,
    Pressed,
}

/// Lists that run and settle as a test says.
struct Scripted {
    /// By stream: up to which value its lists have been recorded, have run, and have settled.
    recorded: RefCell<[u64; STREAMS]>,
    completed: RefCell<[u64; STREAMS]>,
    settled: RefCell<[u64; STREAMS]>,
    calls: RefCell<Vec<Call>>,
    /// What a wait comes to. If to nothing else, all that is waited for has run.
    on_wait: RefCell<Box<dyn FnMut() -> Result<()>>>,
    on_check: RefCell<Box<dyn FnMut() -> Result<()>>>,
    /// Stream 1 records a list whenever somebody asks how far it is.
    goes_on: Cell<bool>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            recorded: RefCell::default(),
            completed: RefCell::default(),
            settled: RefCell::default(),
            calls: RefCell::default(),
            on_wait: RefCell::new(Box::new(|| Ok(()))),
            on_check: RefCell::new(Box::new(|| Ok(()))),
            goes_on: Cell::new(false),
        }
    }
}

impl Scripted {
    fn enter(&self, call: Call) {
        let mut calls = self.calls.borrow_mut();
        assert!(calls.len() < MOST_CALLS, "it asks for ever: {:?}", &calls[MOST_CALLS - 8..]);
        calls.push(call);
    }

    fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.borrow_mut())
    }

    /// A stream has recorded a list that has not run.
    fn record(&self, stream: u32) -> Point {
        let value = &mut self.recorded.borrow_mut()[stream as usize];
        *value += 1;
        Point { stream, value: *value }
    }

    fn complete(&self, at: Point) {
        self.completed.borrow_mut()[at.stream as usize] = at.value;
    }
}

impl Lists for Scripted {
    fn settled(&self, stream: u32) -> u64 {
        self.settled.borrow()[stream as usize]
    }

    fn settle_all(&self) {
        self.enter(Call::SettleAll);
        *self.settled.borrow_mut() = *self.completed.borrow();
    }

    fn last(&self) -> Vec<Point> {
        self.enter(Call::Last);
        if self.goes_on.get() {
            self.record(1);
        }
        (0..).zip(*self.recorded.borrow()).map(|(stream, value)| Point { stream, value }).collect()
    }

    fn flush(&self, stream: u32) {
        self.enter(Call::Flush(stream));
    }

    fn wait_for_any(&self, lists: &[Point], policy: WaitPolicy) -> Result<()> {
        self.enter(Call::Wait(lists.to_vec()));
        if policy.left() == Some(Duration::ZERO) {
            return Err(policy.over());
        }
        self.on_wait.borrow_mut()()?;
        lists.iter().for_each(|at| self.complete(*at));
        Ok(())
    }

    fn check_waits(&self) -> Result<()> {
        self.enter(Call::CheckWaits);
        self.on_check.borrow_mut()()
    }

    fn pressed(&self) {
        self.enter(Call::Pressed);
    }
}

struct World {
    hal: Arc<MockDevice>,
    memory: DeviceMemory,
    lists: Scripted,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default(), MockConfig::default())
    }

    fn with(config: Config, mock: MockConfig) -> Self {
        let hal = MockDevice::new(mock);
        let device: Arc<dyn thalweg_hal::Device> = Arc::<MockDevice>::clone(&hal);
        let memory = DeviceMemory::new(&config.memory_limit(LIMIT), &device, &Arc::new(Hook::new()), STREAMS);
        (0..STREAMS as u32).for_each(|stream| memory.open_heap(stream));
        Self { hal, memory, lists: Scripted::default() }
    }

    /// A block for a stream, as the engine comes by it.
    fn allocate_with(&self, stream: u32, kind: MemoryKind, bytes: u64, policy: WaitPolicy) -> Result<Box<Block>> {
        let class = Class::of(kind, bytes, self.memory.scale).unwrap();
        self.memory.miss(&self.lists, stream, class, Purpose::Commands, policy, |_| Writes::new())
    }

    fn allocate(&self, stream: u32, bytes: u64) -> Result<Box<Block>> {
        self.allocate_with(stream, MemoryKind::Device, bytes, WaitPolicy::Forever)
    }

    /// As many blocks of one MiB as fit.
    #[expect(clippy::vec_box, reason = "what is handed out is boxed")]
    fn fill(&self, stream: u32) -> Vec<Box<Block>> {
        let blocks = (0..FIT).map(|_| self.allocate(stream, MIB).unwrap()).collect();
        self.lists.take_calls();
        blocks
    }

    /// A span of frozen memory.
    fn freeze(&self, bytes: u64) -> Result<Place> {
        let request = Request { pool: DEFAULT, bytes, least: bytes };
        let look = |want| self.memory.arena.lock().take(want, Owner::Frozen);
        self.memory.obtain(&self.lists, request, WaitPolicy::Forever, look)
    }

    fn free(&self, stream: u32, block: Box<Block>) {
        self.memory.heap(stream).give_back(block);
    }

    /// Frees a block that a list uses.
    fn free_used(&self, stream: u32, mut block: Box<Block>, at: Point) {
        block.hazard.uses.get_mut().stamp(Access::Write, Use { at, command: 1 }, &Arc::default());
        self.free(stream, block);
    }
}

fn report(result: Result<Box<Block>>) -> OutOfMemory {
    match result {
        Err(Error::OutOfMemory(report)) => *report,
        other => panic!("expected that there is no memory: {other:?}"),
    }
}

fn at(stream: u32, value: u64) -> Point {
    Point { stream, value }
}

#[test]
fn ones_own_block_is_found_before_anybody_is_asked() {
    let world = World::new();
    let block = world.allocate(0, MIB).unwrap();
    let segment = block.segment;
    world.lists.take_calls();
    // A command of the same stream comes after whatever uses it.
    world.free_used(0, block, world.lists.record(0));
    assert_eq!(world.allocate(0, MIB).unwrap().segment, segment);
    assert_eq!(world.lists.take_calls(), []);
}

// audit: C30
#[test]
fn what_another_stream_has_free_is_gathered_before_more_is_taken() {
    let world = World::new();
    let block = world.allocate(1, MIB).unwrap();
    let segment = block.segment;
    let list = world.lists.record(1);
    world.free_used(1, block, list);
    world.lists.complete(list);
    world.lists.take_calls();
    assert_eq!(world.allocate(0, MIB).unwrap().segment, segment);
    assert_eq!(world.lists.take_calls(), [Call::SettleAll]);
    assert_eq!(world.hal.allocated(), (MIB, 1));
    assert_eq!(world.memory.stats().reclaimed, 1);
}

#[test]
fn nothing_is_waited_for_while_there_is_room_to_grow() {
    let world = World::new();
    let block = world.allocate(1, MIB).unwrap();
    world.free_used(1, block, world.lists.record(1));
    // Each is taken from the device: the other stream's is in use.
    let held: Vec<_> = (1..FIT).map(|_| world.allocate(0, MIB).unwrap()).collect();
    assert_eq!(world.hal.allocated(), (FIT * MIB, FIT));
    assert!(!world.lists.take_calls().iter().any(|call| matches!(call, Call::Last | Call::Wait(_))));
    drop(held);
}

// audit: C13
#[test]
fn limbo_is_gathered_once_what_was_recorded_by_then_has_settled() {
    let world = World::new();
    let drop_span = |place: Place| world.memory.arena.lock().put_in_limbo(place.segment, place.offset, place.raw);
    let place = world.freeze(MIB).unwrap();
    let (first, list) = (place.segment, world.lists.record(1));
    drop_span(place);
    let second = world.freeze(MIB).unwrap();
    assert_ne!(second.segment, first, "it may be in use");
    // What is recorded later cannot use it.
    world.lists.record(1);
    world.lists.complete(list);
    world.lists.take_calls();
    assert_eq!(world.freeze(MIB).unwrap().segment, first);
    assert!(!world.lists.take_calls().iter().any(|call| matches!(call, Call::Wait(_))));
    assert_eq!(world.hal.allocated(), (2 * MIB, 2));
}

// audit: C25, C32
#[test]
fn growth_keeps_within_the_limits_and_the_report_says_what_is_there() {
    let world = World::new();
    let held = world.fill(0);
    let report = report(world.allocate(1, MIB));
    assert_eq!(world.hal.allocated(), (FIT * MIB, FIT));
    assert_eq!((report.requested, report.stats.limit, report.stats.reserved), (MIB, LIMIT, FIT * MIB));
    assert_eq!((report.stats.free, report.stats.largest_free, report.stats.frozen, report.stats.limbo), (0, 0, 0, 0));
    assert_eq!((report.stats.allocations, report.refusals, report.gave_back, report.waited), (FIT, 0, 0, false));
    assert_eq!(report.streams, [StreamMemory { stream: 0, live: FIT * MIB, cached: 0 }]);
    assert!(report.device.is_none() && report.retry_can_help, "somebody may drop them");
    drop(held);

    let world = World::with(Config::default().max_allocations(2), MockConfig::default());
    let held = [0, 1].map(|stream| world.allocate(stream, MIB).unwrap());
    let report = self::report(world.allocate(0, MIB));
    assert_eq!((world.hal.allocated(), report.stats.allocations, report.stats.max_allocations), ((2 * MIB, 2), 2, 2));
    drop(held);
}

// audit: C25
#[test]
fn a_segment_that_the_device_refuses_is_made_shorter() {
    let mock = MockConfig { memory_bytes: 200 * KIB, ..MockConfig::default() };
    let world = World::with(Config::default(), mock);
    // A segment would be longer than the device has memory.
    const { assert!(LIMIT / LIMIT_PARTS > 200 * KIB) };
    let held = world.allocate(0, 112 * KIB).unwrap();
    assert_eq!(world.hal.allocated(), (112 * KIB, 1));
    let report = report(world.allocate(0, 112 * KIB));
    assert!(matches!(report.device, Some(thalweg_hal::Error::OutOfMemory { .. })) && report.refusals > 0, "{report}");
    assert_eq!((report.stats.reserved, report.waited), (112 * KIB, false));
    drop(held);
}

// audit: C30
#[test]
fn segments_that_are_wholly_free_go_back_if_that_makes_room() {
    let world = World::with(Config::default().memory_soft_limit(LIMIT), MockConfig::default());
    world.fill(0).into_iter().for_each(|block| world.free(0, block));
    // A large block is not made of others. As much as it takes to stay within the soft limit would not do: something
    // is kept for what is not large.
    let block = world.allocate(1, 5 * MIB).unwrap();
    assert_eq!((block.bytes, world.hal.allocated()), (5 * MIB, (5 * MIB, 1)));
    assert!(!world.lists.take_calls().iter().any(|call| matches!(call, Call::Wait(_))));
}

#[test]
fn what_went_back_in_vain_is_reported() {
    let world = World::new();
    let mut held = world.fill(0);
    held.drain(1..2).for_each(|block| world.free(0, block));
    let report = report(world.allocate(1, 3 * MIB));
    assert_eq!((report.gave_back, report.stats.reserved, world.hal.allocated()), (MIB, 6 * MIB, (6 * MIB, 6)));
    assert!(report.retry_can_help);
    drop(held);
}

// audit: C30
#[test]
fn above_the_soft_limit_as_much_goes_back_as_is_taken() {
    let world = World::with(Config::default().memory_soft_limit(4 * MIB), MockConfig::default());
    let blocks: Vec<_> = (0..4).map(|_| world.allocate(0, MIB).unwrap()).collect();
    assert!(!world.lists.take_calls().contains(&Call::Pressed));
    blocks.into_iter().for_each(|block| world.free(0, block));
    let held = world.allocate(1, 2 * MIB).unwrap();
    assert_eq!(world.hal.allocated(), (4 * MIB, 3));
    assert!(!world.lists.take_calls().contains(&Call::Pressed));
    let more = world.allocate(1, 3 * MIB).unwrap();
    assert_eq!(world.hal.allocated(), (5 * MIB, 2));
    assert!(world.lists.take_calls().contains(&Call::Pressed), "more is reserved than should be");
    drop((held, more));
}

#[test]
fn what_is_recorded_is_waited_for_and_gathered() {
    let world = World::new();
    let list = world.lists.record(1);
    let settled = world.lists.record(0);
    world.lists.complete(settled);
    world.fill(1).into_iter().for_each(|block| world.free_used(1, block, list));
    world.allocate(0, MIB).unwrap();
    let waits = [Call::SettleAll, Call::Last, Call::SettleAll, Call::SettleAll, Call::Wait(vec![list])];
    assert_eq!(world.lists.take_calls(), [&waits[..], &[Call::SettleAll, Call::SettleAll]].concat());
    assert_eq!((world.memory.stats().waits, world.hal.allocated()), (1, (FIT * MIB, FIT)));
}

#[test]
fn what_others_record_later_is_not_waited_for() {
    let world = World::new();
    let held = world.fill(1);
    world.lists.record(1);
    world.lists.goes_on.set(true);
    let report = report(world.allocate(0, MIB));
    assert!(report.waited, "{report}");
    let waits: Vec<_> = world.lists.take_calls().into_iter().filter(|call| matches!(call, Call::Wait(_))).collect();
    // All of it is live, so another round would be of no use.
    assert_eq!(waits, [Call::Wait(vec![at(1, 2)])]);
    drop(held);
}

// audit: F10
#[test]
fn who_is_always_too_late_gives_up_after_so_many_rounds() {
    let world = World::new();
    world.lists.record(1);
    // In use by a list of later, whenever one looks.
    world.fill(1).into_iter().for_each(|block| world.free_used(1, block, at(1, u64::MAX)));
    world.lists.goes_on.set(true);
    let mut left = 3 * MOST_WAITS;
    *world.lists.on_wait.borrow_mut() = Box::new(move || {
        left -= 1;
        if left == 0 { Err(Error::Timeout) } else { Ok(()) }
    });
    let report = report(world.allocate(0, MIB));
    assert!(report.waited && report.retry_can_help, "{report}");
    assert_eq!(report.streams, [StreamMemory { stream: 1, live: 0, cached: FIT * MIB }]);
    let waits = world.lists.take_calls().into_iter().filter(|call| matches!(call, Call::Wait(_))).count();
    assert_eq!(waits, MOST_WAITS as usize);
}

// audit: C25
#[test]
fn a_retry_can_help_only_beside_what_stays() {
    let world = World::new();
    let frozen = world.freeze(4 * MIB).unwrap();
    let no_room = report(world.allocate(0, 4 * MIB));
    assert!(!no_room.retry_can_help && no_room.stats.frozen == 4 * MIB, "{no_room}");
    let held = world.allocate(1, 3 * MIB).unwrap();
    let no_room = report(world.allocate(0, 3 * MIB));
    assert!(no_room.retry_can_help, "{no_room}");
    assert!(!report(world.allocate(0, 9 * MIB)).retry_can_help);
    drop((held, frozen));
}

#[test]
fn staging_has_a_limit_of_its_own_and_is_waited_for_once() {
    let world = World::with(Config::default().staging_limit(MIB), MockConfig::default());
    let allocate = |stream| world.allocate_with(stream, MemoryKind::Host, MIB, WaitPolicy::Forever);
    // Another stream's, and in use whenever one looks.
    let block = allocate(1).unwrap();
    world.lists.record(1);
    world.free_used(1, block, at(1, u64::MAX));
    world.lists.goes_on.set(true);
    let report = report(allocate(0));
    assert!(report.retry_can_help && report.stats.reserved == MIB, "{report}");
    let waits = world.lists.take_calls().into_iter().filter(|call| matches!(call, Call::Wait(_))).count();
    assert_eq!(waits, 1);
}

#[test]
fn other_pools_are_looked_into_when_all_else_has_failed() {
    let world = World::new();
    // The first part of a segment, which is longer.
    let small = world.freeze(256).unwrap();
    let held = world.fill(0);
    let rest = [(); 3].map(|()| world.allocate(0, 240 * KIB).unwrap());
    world.lists.record(1);
    world.lists.take_calls();
    let found = world.allocate(1, 200 * KIB).unwrap();
    assert_eq!(found.segment, small.segment);
    assert_eq!(world.memory.stats().waits, 1, "not before what was recorded has settled");
    drop((held, rest));
}

// audit: F10
#[test]
fn a_closed_device_ends_the_wait() {
    let world = World::new();
    world.lists.record(1);
    let held = world.fill(1);
    *world.lists.on_wait.borrow_mut() = Box::new(|| Err(Error::Closed));
    assert!(matches!(world.allocate(0, MIB), Err(Error::Closed)));
    drop(held);
}

/// Memory that somebody still has when its segment is given back.
fn leaving() -> (World, Arc<dyn Memory>) {
    let world = World::new();
    let blocks = world.fill(0);
    let memory = Arc::clone(&blocks[0].memory);
    blocks.into_iter().for_each(|block| world.free(0, block));
    (world, memory)
}

#[test]
fn memory_on_its_way_back_to_the_device_is_waited_for() {
    let (world, memory) = leaving();
    let mut held = vec![memory];
    let mut looks = 0;
    *world.lists.on_check.borrow_mut() = Box::new(move || {
        looks += 1;
        if looks == 3 {
            held.clear();
        }
        Ok(())
    });
    let block = world.allocate(1, FIT * MIB).unwrap();
    assert_eq!((block.bytes, world.hal.allocated()), (FIT * MIB, (FIT * MIB, 1)));
    assert_eq!(world.lists.take_calls().into_iter().filter(|call| *call == Call::CheckWaits).count(), 3);
}

// audit: F10
#[test]
fn a_closed_device_ends_the_wait_for_memory_on_its_way_back() {
    let (world, _memory) = leaving();
    *world.lists.on_check.borrow_mut() = Box::new(|| Err(Error::Closed));
    assert!(matches!(world.allocate(1, FIT * MIB), Err(Error::Closed)));
}

// audit: F10
#[test]
fn who_may_not_wait_is_told_so() {
    let (world, _memory) = leaving();
    let never = || world.allocate_with(1, MemoryKind::Device, FIT * MIB, WaitPolicy::Never);
    assert!(matches!(never(), Err(Error::Busy)), "memory is on its way back");
    let past = WaitPolicy::Until(Instant::now());
    assert!(matches!(world.allocate_with(1, MemoryKind::Device, FIT * MIB, past), Err(Error::Timeout)));
    world.lists.record(1);
    assert!(matches!(never(), Err(Error::Busy)), "a list is under way");
    let turn = world.memory.growth.take(WaitPolicy::Forever).unwrap();
    world.lists.take_calls();
    assert!(matches!(never(), Err(Error::Busy)), "somebody grows");
    assert!(!world.lists.take_calls().iter().any(|call| matches!(call, Call::Wait(_))));
    drop(turn);
}

// audit: C30
#[test]
fn what_nobody_has_used_for_a_while_goes_back() {
    let world = World::new();
    let block = world.allocate(1, MIB).unwrap();
    let list = world.lists.record(1);
    world.free_used(1, block, list);
    assert!(world.memory.decay(&world.lists), "the stream has just allocated");
    world.lists.take_calls();
    assert!(world.memory.decay(&world.lists), "its list is under way");
    assert!(world.lists.take_calls().contains(&Call::Flush(1)), "what was recorded and forgotten keeps its memory");
    world.lists.complete(list);
    assert!(world.memory.decay(&world.lists), "it has come into the arena");
    assert_eq!(world.hal.allocated(), (MIB, 1));
    world.memory.decay(&world.lists);
    assert!(!world.memory.decay(&world.lists));
    assert_eq!((world.hal.allocated(), world.memory.stats().decayed), ((0, 0), MIB));
}

/// What streams keep goes back too, also what they have not fetched: the driver may be gone after that.
#[test]
fn a_device_that_goes_has_nothing_left_of_the_driver() {
    let mut world = World::new();
    let blocks = [0, 1].map(|stream| world.allocate(stream, MIB / 2).unwrap());
    (0..).zip(blocks).for_each(|(stream, block)| world.free(stream, block));
    let StreamHeap { heap, returns } = world.memory.heap(0);
    heap.lock().fetch(returns);
    assert!(world.memory.budget.taken() > 0);
    world.memory.clear();
    assert_eq!((world.memory.budget.taken(), world.memory.budget.allocations()), (0, 0));
}
