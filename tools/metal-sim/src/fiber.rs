//! A threadgroup on one thread of the host: its threads are fibers that take turns.
//!
//! A fiber runs until it waits: at a barrier, at an operation of its simdgroup, or at its end. Then the next of its
//! simdgroup goes on. At the simdgroup's last thread:
//!
//! | its threads are | then |
//! |---|---|
//! | all at one operation of the simdgroup | they go on, with what each has brought |
//! | some at such an operation | rule broken: divergent simdgroup operation |
//! | at a barrier or at their end | the next simdgroup goes on; after the last of the group, see below |
//! | all of the group at one barrier | a new round |
//! | all of the group at their end | the group is done |
//! | the group's at several of these | rule broken: divergent barrier |
//!
//! Operations on a simdgroup's matrices do not wait: its first thread does them. Each thread keeps a running sum of the
//! places and arguments that it passed, and the sums are compared where the simdgroup waits next.
//!
//! A fiber is never unwound: everything that a text calls is `extern "C"`, where a panic ends the process.

mod stacks;
mod switch;

use crate::rules;
use crate::shader::{At, Call};
use stacks::Stacks;
use std::cell::{Cell, RefCell};
use std::fmt::Arguments;

pub(crate) use stacks::STACK_BYTES;

/// Threads of a simdgroup, as on every Apple GPU.
const LANES: usize = 32;
/// The most bytes that a thread brings to an operation.
const BROUGHT: usize = 32;

/// What a text calls, `sim::host` in the shim.
#[repr(C)]
pub(crate) struct Host {
    barrier: unsafe extern "C" fn(place: u32),
    meet: unsafe extern "C" fn(place: u32, value: *const u8, bytes: u32, result: *mut Meeting),
    matrix: unsafe extern "C" fn(place: u32, argument: u64) -> bool,
}

/// The one that there is.
pub(crate) static HOST: Host = Host { barrier, meet, matrix };

/// What an operation of a simdgroup is told, `sim::meeting` in the shim.
#[repr(C)]
struct Meeting {
    values: *const u8,
    lane: u32,
    lanes: u32,
}

/// Where a fiber waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Barrier(u32),
    Meeting(u32),
    End,
}

struct Fiber {
    /// Its stack's top, while it waits.
    stack: *mut u8,
    wait: Wait,
    at: At,
    /// The sum of the matrix operations that it passed.
    matrices: u64,
}

/// What the threads of a simdgroup have brought to an operation. Two sides: while one thread still reads the one,
/// another may already bring something to the next operation.
#[repr(C, align(32))]
struct Brought([[u8; LANES * BROUGHT]; 2]);

/// A simdgroup that has its turn.
#[derive(Clone, Copy)]
struct Turn {
    simdgroup: usize,
    first: usize,
    last: usize,
    /// Of `Brought`.
    side: usize,
    /// How many of its threads wait at the operation, and where that is.
    met: usize,
    place: u32,
    /// The bytes that each brings to it.
    bytes: u32,
}

/// A threadgroup that runs.
struct Group {
    fibers: Vec<Fiber>,
    brought: Vec<Brought>,
    /// Threads of the group; there may be more fibers.
    threads: usize,
    current: usize,
    turn: Turn,
    /// How many threads wait at the barrier, and which it is.
    arrived: usize,
    barrier: u32,
    ended: usize,
    /// Whether any thread has passed a matrix operation.
    matrices: bool,
    /// Where the host's stack is.
    home: *mut u8,
    code: unsafe extern "C" fn(*const Call, *const At),
    call: *const Call,
    name: *const str,
    /// Threads take their turns from the last to the first.
    backwards: bool,
}

thread_local! {
    /// The group that runs on this thread.
    static RUNNING: Cell<*mut Group> = const { Cell::new(std::ptr::null_mut()) };
    /// Kept from group to group.
    static KEPT: RefCell<(Stacks, Vec<Fiber>, Vec<Brought>)> = const { RefCell::new((Stacks::new(), Vec::new(), Vec::new())) };
}

/// Runs the threads of a group, each with its own position from `at`'s.
///
/// # Safety
/// - `code` may be called with this call and any position in it, on a stack of [`STACK_BYTES`], as long as the threads
///   take turns as Metal's do.
pub(crate) unsafe fn run(
    code: unsafe extern "C" fn(*const Call, *const At),
    call: &Call,
    at: At,
    name: &str,
    backwards: bool,
) {
    let threads = call.size.iter().map(|axis| *axis as usize).product();
    KEPT.with_borrow_mut(|(stacks, fibers, brought)| {
        stacks.reserve(threads);
        let mut group = Group {
            fibers: std::mem::take(fibers),
            brought: std::mem::take(brought),
            threads,
            current: 0,
            turn: Turn { simdgroup: 0, first: 0, last: 0, side: 0, met: 0, place: 0, bytes: 0 },
            arrived: 0,
            barrier: 0,
            ended: 0,
            matrices: false,
            home: std::ptr::null_mut(),
            code,
            call,
            name,
            backwards,
        };
        group.begin(stacks, at, call.size);
        let first = group.fibers[group.current].stack;
        RUNNING.set(&raw mut group);
        // SAFETY: the first fiber's stack was prepared for it, and the last one to end comes back here.
        unsafe { switch::switch(&raw mut group.home, first) };
        RUNNING.set(std::ptr::null_mut());
        (*fibers, *brought) = (group.fibers, group.brought);
    });
}

/// Fails if a fiber of this thread has ever used more stack than it has.
pub(crate) fn check_stacks(name: &str) {
    KEPT.with_borrow(|(stacks, ..)| {
        if !stacks.are_whole() {
            broken(rules::STACK, format_args!("{name}: a thread needs more than {STACK_BYTES} bytes"));
        }
    });
}

impl Group {
    /// Puts every thread to its start.
    fn begin(&mut self, stacks: &Stacks, at: At, size: [u32; 3]) {
        let mut in_group = [0; 3];
        self.fibers.clear();
        self.fibers.extend((0..self.threads).map(|index| {
            let at = At { in_group, index: index as u32, ..at };
            in_group[0] += 1;
            for axis in 0..2 {
                if in_group[axis] == size[axis] {
                    in_group[axis] = 0;
                    in_group[axis + 1] += 1;
                }
            }
            // SAFETY: there are stacks for as many threads, and nothing runs on this one.
            let stack = unsafe { switch::prepare(stacks.top(index), start) };
            Fiber { stack, wait: Wait::End, at, matrices: 0 }
        }));
        let simdgroups = self.threads.div_ceil(LANES);
        if self.brought.len() < simdgroups {
            self.brought.resize_with(simdgroups, || Brought([[0; LANES * BROUGHT]; 2]));
        }
        self.current = self.give_turn(self.first_simdgroup());
    }

    /// Gives a simdgroup its turn. The thread that begins.
    fn give_turn(&mut self, simdgroup: usize) -> usize {
        let (low, high) = (simdgroup * LANES, (simdgroup * LANES + LANES).min(self.threads) - 1);
        let (first, last) = if self.backwards { (high, low) } else { (low, high) };
        // Every operation before this turn is over, so its sides begin anew.
        self.turn = Turn { simdgroup, first, last, side: 0, met: 0, place: 0, bytes: 0 };
        first
    }

    /// The simdgroup that comes after the one that has its turn.
    fn next_simdgroup(&self) -> Option<usize> {
        let simdgroup = self.turn.simdgroup;
        if self.backwards {
            return simdgroup.checked_sub(1);
        }
        (simdgroup + 1 < self.threads.div_ceil(LANES)).then_some(simdgroup + 1)
    }

    /// Where the running fiber's stack is to be kept, and the stack that goes on.
    fn next(&mut self) -> (*mut *mut u8, *mut u8) {
        let from = self.current;
        let to = if from == self.turn.last {
            self.turn_ends()
        } else {
            Some(if self.backwards { from - 1 } else { from + 1 })
        };
        let stack = match to {
            Some(to) => {
                self.current = to;
                self.fibers[to].stack
            }
            None => self.home,
        };
        (&raw mut self.fibers[from].stack, stack)
    }

    /// Every thread of the simdgroup waits. The one that goes on; none if all of the group have ended.
    fn turn_ends(&mut self) -> Option<usize> {
        let lanes = self.turn.first.abs_diff(self.turn.last) + 1;
        if self.turn.met != 0 && self.turn.met != lanes {
            self.diverged(rules::DIVERGENT_SIMDGROUP, self.lanes());
        }
        if self.matrices {
            self.compare_matrices();
        }
        if self.turn.met != 0 {
            (self.turn.met, self.turn.side) = (0, 1 - self.turn.side);
            return Some(self.turn.first);
        }
        if let Some(next) = self.next_simdgroup() {
            return Some(self.give_turn(next));
        }
        if self.ended == self.threads {
            return None;
        }
        if self.arrived != self.threads {
            self.diverged(rules::DIVERGENT_BARRIER, 0..self.threads);
        }
        self.arrived = 0;
        Some(self.give_turn(self.first_simdgroup()))
    }

    fn first_simdgroup(&self) -> usize {
        if self.backwards { (self.threads - 1) / LANES } else { 0 }
    }

    /// The threads of the simdgroup that has its turn.
    fn lanes(&self) -> std::ops::Range<usize> {
        let Turn { first, last, .. } = self.turn;
        first.min(last)..first.max(last) + 1
    }

    fn compare_matrices(&mut self) {
        let lanes = self.lanes();
        let sum = self.fibers[lanes.start].matrices;
        if self.fibers[lanes.clone()].iter().any(|fiber| fiber.matrices != sum) {
            let what = "threads of a simdgroup have passed different operations on matrices, or with other arguments";
            broken(rules::DIVERGENT_SIMDGROUP, format_args!("{}: {what}", self.name()));
        }
        if sum != 0 && lanes.len() < LANES {
            let what = "a matrix in a simdgroup with fewer threads than 32";
            broken(rules::DIVERGENT_SIMDGROUP, format_args!("{}: {what}", self.name()));
        }
    }

    fn name(&self) -> String {
        // SAFETY: the name is borrowed by `run`, which has not returned.
        let name = unsafe { &*self.name };
        format!("{name}, threadgroup {:?}", self.fibers[0].at.group)
    }

    /// Says where each of these threads is.
    fn diverged(&self, rule: &'static str, threads: std::ops::Range<usize>) -> ! {
        let mut places: Vec<(Wait, usize, usize)> = Vec::new();
        for thread in threads {
            let wait = self.fibers[thread].wait;
            match places.iter_mut().find(|place| place.0 == wait) {
                Some(place) => place.1 += 1,
                None => places.push((wait, 1, thread)),
            }
        }
        let places = places.into_iter().map(|(wait, count, thread)| {
            let place = match wait {
                Wait::Barrier(place) => format!("at the barrier of {}", Place(place)),
                Wait::Meeting(place) => format!("at the operation of {}", Place(place)),
                Wait::End => "at the end".to_owned(),
            };
            format!("{count} {place} (such as thread {thread})")
        });
        let places = places.collect::<Vec<_>>().join(", ");
        broken(rule, format_args!("{}: threads are at different places: {places}", self.name()))
    }
}

/// A line and a column as the shim packs them.
struct Place(u32);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.0 & 0xf_ffff)
    }
}

/// As [`rules::broken`], which needs more stack than a fiber has: on a thread of that name.
fn broken(rule: &'static str, what: Arguments<'_>) -> ! {
    let (what, name) = (what.to_string(), std::thread::current().name().unwrap_or("without a name").to_owned());
    let said = std::thread::Builder::new().name(name).spawn(move || rules::broken(rule, format_args!("{what}")));
    let _ = said.map(std::thread::JoinHandle::join);
    std::process::abort()
}

/// The running group.
///
/// # Safety
/// - A fiber runs.
/// - The result is not used across a switch.
unsafe fn running<'a>() -> &'a mut Group {
    let group = RUNNING.get();
    debug_assert!(!group.is_null(), "a kernel that waits runs in fibers");
    // SAFETY: while a fiber runs it is set, and `run` does not touch the group before the last fiber's end. Fibers of
    // this thread only.
    unsafe { &mut *group }
}

/// Lets the next fiber go on, until this one's turn.
///
/// # Safety
/// - A fiber runs, and has said where it waits.
unsafe fn wait() {
    // SAFETY: a fiber runs; the group is not used across the switch.
    let (save, to) = unsafe { running() }.next();
    // SAFETY: `to` is the stack of a fiber that waits or was prepared, or the host's when all have ended.
    unsafe { switch::switch(save, to) };
}

/// Where a fiber begins.
extern "C" fn start() -> ! {
    // SAFETY: a fiber runs; the group is not used across the call.
    let group = unsafe { running() };
    let (code, call, at) = (group.code, group.call, group.fibers[group.current].at);
    // SAFETY: by the promise of `run`'s caller.
    unsafe { code(call, &raw const at) };
    // SAFETY: a fiber runs.
    let group = unsafe { running() };
    group.fibers[group.current].wait = Wait::End;
    group.ended += 1;
    // SAFETY: a fiber runs, and its end is said. Nobody lets it go on.
    unsafe { wait() };
    unreachable!("a fiber goes on after its end")
}

/// `threadgroup_barrier`
unsafe extern "C" fn barrier(place: u32) {
    // SAFETY: only a kernel calls this, in a fiber; the group is not used across the switch.
    let group = unsafe { running() };
    group.fibers[group.current].wait = Wait::Barrier(place);
    if group.arrived == 0 {
        group.barrier = place;
    } else if group.barrier != place {
        broken(
            rules::DIVERGENT_BARRIER,
            format_args!(
                "{}: threads are at the barriers of {} and {}",
                group.name(),
                Place(group.barrier),
                Place(place)
            ),
        );
    }
    group.arrived += 1;
    // SAFETY: a fiber runs, and has said where it waits.
    unsafe { wait() };
}

/// An operation of a simdgroup: each of its threads brings something, and gets what all have brought.
///
/// `value` has as many bytes as it says, `result` is valid for a write.
unsafe extern "C" fn meet(place: u32, value: *const u8, bytes: u32, result: *mut Meeting) {
    // SAFETY: only a kernel calls this, in a fiber; the group is not used across the switch.
    let group = unsafe { running() };
    let (lanes, thread) = (group.lanes(), group.current);
    group.fibers[thread].wait = Wait::Meeting(place);
    let (turn, lane) = (group.turn, thread - lanes.start);
    if turn.met == 0 {
        (group.turn.place, group.turn.bytes) = (place, bytes);
    } else if (turn.place, turn.bytes) != (place, bytes) {
        group.diverged(rules::DIVERGENT_SIMDGROUP, turn.first.min(thread)..turn.first.max(thread) + 1);
    }
    group.turn.met += 1;
    let values = &mut group.brought[turn.simdgroup].0[turn.side];
    let own = &mut values[lane * bytes as usize..][..bytes as usize];
    // SAFETY: the caller's value has as many bytes.
    unsafe { own.as_mut_ptr().copy_from_nonoverlapping(value, bytes as usize) };
    let told = Meeting { values: values.as_ptr(), lane: lane as u32, lanes: lanes.len() as u32 };
    // SAFETY: a fiber runs, and has said where it waits.
    unsafe { wait() };
    // SAFETY: the caller's. What it points to is not written before every thread of the simdgroup has come to the next
    // operation.
    unsafe { result.write(told) };
}

/// An operation on matrices of a simdgroup: whether this thread does it.
unsafe extern "C" fn matrix(place: u32, argument: u64) -> bool {
    // SAFETY: only a kernel calls this, in a fiber; the group is not used across a switch.
    let group = unsafe { running() };
    let thread = group.current;
    let sum = &mut group.fibers[thread].matrices;
    *sum = (*sum ^ argument ^ u64::from(place) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) | 1;
    group.matrices = true;
    thread.is_multiple_of(LANES)
}
