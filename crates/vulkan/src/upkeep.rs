//! Work that any thread may find is due, and one at a time does, for all of them. Nobody waits for it: while somebody
//! works, others only say that there is more, and the one who works looks again.

#[cfg(loom)]
use loom::sync::{Mutex, atomic::AtomicU64};
use std::sync::atomic::Ordering;
#[cfg(not(loom))]
use std::sync::{Mutex, atomic::AtomicU64};
use std::sync::{PoisonError, TryLockError};

/// What is worked on.
#[derive(Debug)]
pub struct Upkeep<T> {
    /// How often there was more to do.
    asked: AtomicU64,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    /// What `asked` was when somebody last worked.
    done: u64,
    inner: T,
}

impl<T> Upkeep<T> {
    pub fn new(inner: T) -> Self {
        Self { asked: AtomicU64::new(0), state: Mutex::new(State { done: 0, inner }) }
    }

    /// There is more to do: does it, unless somebody is at work, who then does it before leaving.
    pub fn ask(&self, mut work: impl FnMut(&mut T)) {
        // AcqRel, here and below: of two threads that get here, the later one sees everything that the earlier did
        // before. If that is one who has just left, the lock is seen free; if not, this is seen by the one who leaves.
        let mut asked = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        loop {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if state.done < asked {
                state.done = asked;
                work(&mut state.inner);
            }
            drop(state);
            let now = self.asked.fetch_add(0, Ordering::AcqRel);
            if now == asked {
                return;
            }
            asked = now;
        }
    }

    /// What is worked on, of an upkeep that nobody else has any more.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.state.get_mut().unwrap_or_else(PoisonError::into_inner).inner
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Threads have one thing each to do. When all have left, all of it has been done.
    fn nothing_is_left(threads: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let upkeep = Arc::new(Upkeep::new(0));
            let made = Arc::new(AtomicU64::new(0));
            let work = |upkeep: &Upkeep<u64>, made: &AtomicU64| {
                made.fetch_add(1, Ordering::Relaxed);
                upkeep.ask(|seen| *seen = made.load(Ordering::Relaxed));
            };
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let (upkeep, made) = (Arc::clone(&upkeep), Arc::clone(&made));
                    thread::spawn(move || work(&upkeep, &made))
                })
                .collect();
            work(&upkeep, &made);
            others.into_iter().for_each(|other| other.join().unwrap());
            let state = upkeep.state.lock().unwrap();
            assert_eq!((state.inner, state.done), (threads as u64, threads as u64));
        });
    }

    #[test]
    fn loom_two_threads_leave_nothing_undone() {
        nothing_is_left(2);
    }

    // audit: C12
    #[test]
    fn loom_three_threads_leave_nothing_undone() {
        nothing_is_left(3);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    // audit: C12
    #[test]
    fn nobody_waits_for_the_one_who_works_and_it_looks_again() {
        let upkeep = Upkeep::new(0);
        let (working, is_working) = channel();
        let (go_on, may_go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let upkeep = &upkeep;
            scope.spawn(move || {
                upkeep.ask(|times| {
                    *times += 1;
                    working.send(()).unwrap();
                    may_go_on.recv().unwrap();
                });
            });
            is_working.recv().unwrap();
            // Returns though the other is at work.
            (0..3).for_each(|_| upkeep.ask(|_| panic!("two at work")));
            go_on.send(()).unwrap();
            is_working.recv().unwrap();
            go_on.send(()).unwrap();
        });
        let mut upkeep = upkeep;
        assert_eq!(*upkeep.get_mut(), 2, "once for all three");
    }
}
