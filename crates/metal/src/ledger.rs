//! Which lists of a queue have run, told in the order in which they were submitted.
//!
//! Completion handlers come in any order and from several threads. The value is a promise to its readers:
//! every list up to it has run, what there is to say of them can be taken, and what they held has been let go of. So a
//! handler only notes what came of its list; then one of the handlers, and no other meanwhile, takes out those at the
//! front that have an outcome, lets go of them with nothing locked, and raises the value. It looks again before it
//! stops, so that a handler which comes while it is at it can leave.

use crate::bell::Bell;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use std::collections::VecDeque;
use std::collections::vec_deque::IterMut;
use std::time::Instant;

/// The lists of a queue; `T` is what one holds while it runs, `R` what is said of one.
pub struct Ledger<T, R> {
    /// Every list up to this value has run. Raised by [`publish`](Self::publish) alone; Release, pairs with the Acquire
    /// in [`reached`](Self::reached).
    reached: AtomicU64,
    state: Mutex<State<T, R>>,
    bell: Bell,
}

struct State<T, R> {
    /// Those that have not been published, by rising value.
    entries: VecDeque<Entry<T, R>>,
    /// Somebody is publishing, and will look again.
    publishing: bool,
    /// What has been said of published ones, and not yet taken.
    said: Vec<R>,
}

struct Entry<T, R> {
    value: u64,
    held: T,
    /// Once it has run.
    outcome: Option<Vec<R>>,
    /// It was stopped, and may have let those behind it overtake those before it.
    spoils: bool,
    /// One before it does, so it has failed whatever came of it.
    spoilt: bool,
}

/// The lists behind one.
type Behind<'a, T, R> = IterMut<'a, Entry<T, R>>;

impl<T, R> Ledger<T, R> {
    pub fn new() -> Self {
        let state = State { entries: VecDeque::new(), publishing: false, said: Vec::new() };
        Self { reached: AtomicU64::new(0), state: Mutex::new(state), bell: Bell::default() }
    }

    /// Enters a list, before it is submitted: it may have run before that call returns. Values rise.
    pub fn enter(&self, value: u64, held: T) {
        let mut state = lock(&self.state);
        let spoilt = state.entries.iter().any(|entry| entry.spoils);
        state.entries.push_back(Entry { value, held, outcome: None, spoils: false, spoilt });
    }

    /// The value up to which lists have run.
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    /// A list has run. `outcome` says what there is to say of it; `failed` says that it failed, if one before it spoils
    /// it. `finish` lets go of one that is published, in order, before its value can be seen, and by one thread at a
    /// time; then `raised` is called with the value.
    pub fn has_run(
        &self,
        value: u64,
        outcome: impl FnOnce(&T) -> Vec<R>,
        failed: impl Fn(&T, u64) -> Vec<R>,
        finish: impl Fn(T),
        raised: impl Fn(u64),
    ) {
        let note = |entry: &mut Entry<T, R>, _: Behind<'_, T, R>| {
            entry.outcome = Some(if entry.spoilt { failed(&entry.held, value) } else { outcome(&entry.held) });
        };
        self.note(value, note, finish, raised);
    }

    /// The same of a list that was stopped, of which `outcome` says so. If it `spoils` them, those behind it have
    /// failed as well, of which `failed` says so, and those that come before it is published.
    pub fn was_stopped(
        &self,
        value: u64,
        spoils: bool,
        outcome: impl FnOnce(&T) -> Vec<R>,
        failed: impl Fn(&T, u64) -> Vec<R>,
        finish: impl Fn(T),
        raised: impl Fn(u64),
    ) {
        let note = |entry: &mut Entry<T, R>, behind: Behind<'_, T, R>| {
            entry.outcome = Some(outcome(&entry.held));
            entry.spoils = spoils;
            for entry in behind.filter(|_| spoils) {
                entry.spoilt = true;
                if entry.outcome.is_some() {
                    entry.outcome = Some(failed(&entry.held, entry.value));
                }
            }
        };
        self.note(value, note, finish, raised);
    }

    /// Notes what came of a list, with those behind it at hand.
    fn note(
        &self,
        value: u64,
        note: impl FnOnce(&mut Entry<T, R>, Behind<'_, T, R>),
        finish: impl Fn(T),
        raised: impl Fn(u64),
    ) {
        let mut state = lock(&self.state);
        // It is there: entered before it was submitted, and taken out once it has an outcome.
        let Ok(at) = state.entries.binary_search_by_key(&value, |entry| entry.value) else { return };
        let mut behind = state.entries.range_mut(at..);
        let Some(entry) = behind.next() else { return };
        note(entry, behind);
        if std::mem::replace(&mut state.publishing, true) {
            return;
        }
        drop(state);
        self.publish(finish, raised);
    }

    fn publish(&self, finish: impl Fn(T), raised: impl Fn(u64)) {
        loop {
            let mut state = lock(&self.state);
            let mut done = Vec::new();
            while state.entries.front().is_some_and(|entry| entry.outcome.is_some()) {
                let Some(entry) = state.entries.pop_front() else { break };
                state.said.extend(entry.outcome.into_iter().flatten());
                done.push((entry.value, entry.held));
            }
            let Some((value, _)) = done.last() else {
                state.publishing = false;
                return;
            };
            let value = *value;
            drop(state);
            done.into_iter().for_each(|(_, held)| finish(held));
            self.reached.store(value, Ordering::Release);
            self.bell.ring();
            raised(value);
        }
    }

    /// Wakes the threads that wait, to look again.
    pub fn wake(&self) {
        self.bell.ring();
    }

    /// Waits until the value is reached, or something else is over, or the time.
    pub fn wait(&self, value: u64, deadline: Option<Instant>, is_over: impl Fn() -> bool) {
        self.bell.wait_until(deadline, || self.reached() >= value || is_over());
    }

    /// Takes what has been said, by rising value.
    pub fn take(&self) -> Vec<R> {
        std::mem::take(&mut lock(&self.state).said)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex as StdMutex;
    use std::sync::atomic::AtomicU64 as StdAtomic;

    #[test]
    fn lists_that_end_in_any_order_are_told_in_theirs() {
        let mut random = fastrand::Rng::new();
        println!("seed {}", random.get_seed());
        for _ in 0..200 {
            let ledger = Ledger::new();
            let finished = StdMutex::new(Vec::new());
            let mut ends: Vec<u64> = (1..=20).collect();
            ends.iter().for_each(|value| ledger.enter(*value, 100 + value));
            random.shuffle(&mut ends);
            let mut ended = Vec::new();
            for value in ends {
                let finish = |held| {
                    assert!(ledger.reached() < held - 100, "let go of before the value can be seen");
                    finished.lock().unwrap().push(held);
                };
                ledger.has_run(value, |held| vec![*held, value], |_, _| vec![], finish, |_| ());
                ended.push(value);
                let front = (1..).find(|value| !ended.contains(value)).unwrap() - 1;
                assert_eq!(ledger.reached(), front);
                let expected: Vec<u64> = (1..=front).map(|value| 100 + value).collect();
                assert_eq!(*finished.lock().unwrap(), expected);
            }
            let expected: Vec<u64> = (1..=20).flat_map(|value| [100 + value, value]).collect();
            assert_eq!((ledger.take(), ledger.take()), (expected, Vec::new()));
        }
    }

    /// What may have overtaken something has failed, whether it ended before that is known, after, or was not even
    /// there.
    #[test]
    fn those_behind_a_stopped_list_have_failed_until_it_is_told() {
        for spoils in [true, false] {
            let ledger = Ledger::new();
            (1..=4).for_each(|value| ledger.enter(value, ()));
            let failed = |(): &(), value: u64| vec![(value, "spoilt")];
            let runs = |value: u64| ledger.has_run(value, |()| vec![(value, "right")], failed, |()| (), |_| ());
            runs(3);
            ledger.was_stopped(2, spoils, |()| vec![(2, "stopped")], failed, |()| (), |_| ());
            ledger.enter(5, ());
            assert_eq!(ledger.reached(), 0);
            runs(1);
            assert_eq!(ledger.reached(), 3);
            // By now everything before it has ended.
            ledger.enter(6, ());
            (4..=6).for_each(runs);
            let behind = if spoils { "spoilt" } else { "right" };
            let expected = [(1, "right"), (2, "stopped"), (3, behind), (4, behind), (5, behind), (6, "right")];
            assert_eq!(ledger.take(), expected);
        }
    }

    /// More handlers than processors, and somebody who waits for each value.
    #[test]
    fn whoever_waits_sees_what_was_said_and_let_go_of() {
        const LISTS: u64 = 400;
        let (ledger, gone) = (Ledger::new(), StdAtomic::new(0));
        (1..=LISTS).for_each(|value| ledger.enter(value, ()));
        std::thread::scope(|scope| {
            for handler in 0..8 {
                let (ledger, gone) = (&ledger, &gone);
                scope.spawn(move || {
                    for value in (1..=LISTS).filter(|value| value % 8 == handler) {
                        let finish = |()| {
                            gone.fetch_add(1, Ordering::SeqCst);
                        };
                        ledger.has_run(value, |()| vec![value], |(), _| vec![], finish, |_| ());
                    }
                });
            }
            for value in (1..=LISTS).step_by(7) {
                ledger.wait(value, None, || false);
                assert!(gone.load(Ordering::SeqCst) >= value);
            }
        });
        assert_eq!(ledger.take(), (1..=LISTS).collect::<Vec<_>>());
        // What else may end a wait is looked at when somebody says so; and the time ends it.
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| ledger.wait(LISTS + 1, None, || over.load(Ordering::SeqCst)));
            over.store(true, Ordering::SeqCst);
            ledger.wake();
        });
        ledger.wait(LISTS + 1, Some(Instant::now()), || false);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::thread;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering as Std};

    /// What is let go of counts itself.
    struct Held(Arc<AtomicUsize>);

    /// Handlers of two or three lists come at once, in any order, beside one who waits for the last: whatever value is
    /// seen, every list up to it has been told of and let go of, and the wait ends.
    fn told_before_seen(lists: u64) {
        let mut model = loom::model::Builder::new();
        // Without a bound it takes minutes.
        model.preemption_bound = Some(if lists > 2 { 2 } else { 3 });
        model.check(move || {
            let ledger = Arc::new(Ledger::new());
            let gone = Arc::new(AtomicUsize::new(0));
            (1..=lists).for_each(|value| ledger.enter(value, Held(Arc::clone(&gone))));
            let handlers: Vec<_> = (1..=lists)
                .map(|value| {
                    let ledger = Arc::clone(&ledger);
                    let finish = |Held(gone): Held| {
                        gone.fetch_add(1, Std::SeqCst);
                    };
                    thread::spawn(move || ledger.has_run(value, |_| vec![value], |_, _| vec![], finish, |_| ()))
                })
                .collect();
            let reached = ledger.reached();
            assert!(gone.load(Std::SeqCst) as u64 >= reached);
            let mut said = ledger.take();
            assert!(said.len() as u64 >= reached);
            ledger.wait(lists, None, || false);
            assert_eq!((ledger.reached(), gone.load(Std::SeqCst) as u64), (lists, lists));
            said.extend(ledger.take());
            assert_eq!(said, (1..=lists).collect::<Vec<_>>());
            handlers.into_iter().for_each(|handler| handler.join().unwrap());
        });
    }

    #[test]
    fn loom_two_handlers_at_once() {
        told_before_seen(2);
    }

    #[test]
    fn loom_three_handlers_at_once() {
        told_before_seen(3);
    }

    /// A thread that waits for one of several timelines wakes once the value is raised, and sees what it stands for.
    #[test]
    fn loom_whoever_waits_for_any_is_woken() {
        loom::model(|| {
            let (ledger, bell) = (Arc::new(Ledger::<(), u64>::new()), Arc::new(Bell::default()));
            ledger.enter(1, ());
            let handler = {
                let (ledger, bell) = (Arc::clone(&ledger), Arc::clone(&bell));
                thread::spawn(move || {
                    ledger.has_run(1, |()| vec![1], |(), _| vec![], |()| (), |_| bell.ring());
                })
            };
            bell.wait_until(None, || ledger.reached() >= 1);
            assert_eq!(ledger.take(), [1]);
            handler.join().unwrap();
        });
    }

    /// A wait that is interrupted ends.
    #[test]
    fn loom_a_wait_that_is_interrupted_ends() {
        loom::model(|| {
            let ledger = Arc::new(Ledger::<(), ()>::new());
            let interrupted = Arc::new(loom::sync::atomic::AtomicBool::new(false));
            let waiter = {
                let (ledger, interrupted) = (Arc::clone(&ledger), Arc::clone(&interrupted));
                thread::spawn(move || ledger.wait(1, None, || interrupted.load(Ordering::Acquire)))
            };
            interrupted.store(true, Ordering::Release);
            ledger.wake();
            waiter.join().unwrap();
        });
    }
}
