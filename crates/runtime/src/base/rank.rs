//! The order in which locks are taken, and the check that it is kept.
//!
//! Each lock of the runtime is made with its rank. A thread takes a lock only while every lock that it holds has a
//! lower rank, or the same and a lower id: hazards, and what streams have of one kind. So no two threads can wait for
//! each other. In builds with debug assertions a thread that does otherwise panics and names both locks; in others a
//! rank is nothing. (Models have none: loom looks for what would go wrong itself.)
//!
//! A lock that is only tried for cannot keep anybody waiting, so its rank is not looked at. It counts once it is held.
//! What a thread waits for otherwise has no rank: the device, a thread's end, a table's place that another is filling.
//! Three locks of statics are the standard library's, and leaves: the devices and drivers that the exit knows
//! (`engine/exit.rs`), and the sessions that run (`trace/writers.rs`).

/// What a lock is for. Those that come first are taken first; `ARCHITECTURE.md` has the same table, with what each
/// guards and how long it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The instances of a graph.
    Instances,
    /// The turn to take memory from the device.
    Growth,
    /// The uses of some bytes, by the hazard's id.
    Hazard,
    /// The turn to submit a stream's lists.
    Submitter,
    /// A stream's free blocks, by the stream.
    Heap,
    /// A stream's open list.
    Recorder,
    /// A stream's lists that have not settled.
    InFlight,
    /// Blocks that were freed and not fetched, by the stream.
    Returns,
    /// Segments and their spans.
    Arena,
    /// Which thread has which stream.
    Assignment,
    /// The operations of a capture.
    Capture,
    /// A value that is not there yet.
    Pending,
    /// Tasks that wait for a stream.
    Waiters,
    /// A cache's values.
    CacheMap,
    /// How one build of a cache's value ended.
    CacheFlight,
    /// Whether the reaper has been rung for.
    Doorbell,
    /// Who waits for the reaper's end.
    ReaperEnd,
    /// A device's session.
    TraceSession,
    /// A session's rings.
    TraceRings,
    /// A session's names.
    TraceNames,
    /// Inside a lock that is waited for with a deadline.
    Exchange,
}

/// A lock's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    rank: Rank,
    id: u64,
}

impl Place {
    /// Of locks of one rank that is taken more than once, the id says which comes first.
    pub(crate) fn new(rank: Rank, id: u64) -> Self {
        Self { rank, id }
    }
}

#[cfg(all(debug_assertions, not(loom)))]
mod held {
    use super::Place;
    use std::cell::RefCell;
    use std::marker::PhantomData;

    thread_local! {
        static HELD: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
    }

    /// A lock that this thread holds, until this is dropped. It stays on its thread.
    #[derive(Debug)]
    pub(crate) struct Held(Place, PhantomData<*const ()>);

    impl Held {
        /// Called before a condition variable lets the lock go, and takes it again.
        ///
        /// # Panics
        /// If the thread holds a lock that comes after this one, which is then taken out of order.
        #[track_caller]
        pub(crate) fn check_again(&self) {
            let wrong = HELD.try_with(|held| held.borrow().iter().copied().find(|held| *held > self.0));
            if let Some(held) = wrong.ok().flatten() {
                panic!("{:?} is waited for while {held:?} is held; ranks say in which order locks are taken", self.0);
            }
        }
    }

    impl Place {
        /// Called before the lock is waited for.
        ///
        /// # Panics
        /// If the thread holds a lock that comes after this one.
        #[track_caller]
        pub(crate) fn check(self) {
            // A thread without its locals is ending, and is not looked at.
            let wrong = HELD.try_with(|held| held.borrow().iter().copied().find(|held| *held >= self));
            if let Some(held) = wrong.ok().flatten() {
                panic!("{self:?} is taken while {held:?} is held; ranks say in which order locks are taken");
            }
        }

        /// Called when the lock has been taken.
        pub(crate) fn enter(self) -> Held {
            let _ = HELD.try_with(|held| held.borrow_mut().push(self));
            Held(self, PhantomData)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = HELD.try_with(|held| {
                let mut held = held.borrow_mut();
                if let Some(at) = held.iter().rposition(|held| *held == self.0) {
                    held.swap_remove(at);
                }
            });
        }
    }
}

#[cfg(not(all(debug_assertions, not(loom))))]
mod held {
    use super::Place;

    /// Nothing is noticed in this build.
    #[derive(Debug)]
    pub(crate) struct Held(std::marker::PhantomData<*const ()>);

    impl Held {
        #[inline]
        pub(crate) fn check_again(&self) {}
    }

    impl Place {
        #[inline]
        pub(crate) fn check(self) {}

        #[inline]
        pub(crate) fn enter(self) -> Held {
            Held(std::marker::PhantomData)
        }
    }
}

pub(crate) use held::Held;

#[cfg(all(test, debug_assertions, not(loom)))]
mod tests {
    use super::Rank;
    use crate::base::sync::{Condvar, Mutex, RwLock};
    use crate::base::timed_mutex::TimedMutex;
    use crate::base::wait_policy::WaitPolicy;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// What it panics with.
    fn panics(call: impl FnOnce()) -> Option<String> {
        let panic = catch_unwind(AssertUnwindSafe(call)).err()?;
        Some(panic.downcast_ref::<String>().expect("a formatted text").clone())
    }

    // audit: C11
    #[test]
    fn a_lock_that_is_taken_out_of_order_is_noticed() {
        let (recorder, arena) = (Mutex::new(Rank::Recorder, ()), Mutex::new(Rank::Arena, ()));
        assert_eq!(panics(|| drop((recorder.lock(), arena.lock()))), None);
        let text = panics(|| drop((arena.lock(), recorder.lock()))).unwrap();
        assert!(text.contains("Recorder") && text.contains("Arena"), "{text}");
        // Nothing is left of it: what was held has been let go.
        assert_eq!(panics(|| drop((recorder.lock(), arena.lock()))), None);

        let map = RwLock::new(Rank::CacheMap, ());
        assert!(panics(|| drop((map.read(), arena.lock()))).is_some());
        assert!(panics(|| drop((map.write(), arena.lock()))).is_some());
        let turn = TimedMutex::new(Rank::Growth, ());
        let take = || turn.take(WaitPolicy::Forever).unwrap();
        assert!(panics(|| drop((arena.lock(), take()))).is_some());
        assert_eq!(panics(|| drop((take(), arena.lock()))), None);
    }

    #[test]
    fn locks_of_one_rank_are_taken_by_rising_id_and_a_lock_that_is_tried_counts_once_it_is_held() {
        let [first, second] = [1, 2].map(|id| Mutex::with_id(Rank::Hazard, id, ()));
        assert_eq!(panics(|| drop((first.lock(), second.lock()))), None);
        assert!(panics(|| drop((second.lock(), first.lock()))).is_some());
        let submitter = Mutex::new(Rank::Submitter, ());
        assert_eq!(panics(|| drop((submitter.lock(), first.try_lock().unwrap()))), None);
        assert!(panics(|| drop((first.try_lock().unwrap(), second.try_lock().unwrap(), second.lock()))).is_some());
        let (bell, waits) = (Mutex::new(Rank::Doorbell, ()), Condvar::default());
        let soon = Some(std::time::Duration::ZERO);
        assert_eq!(panics(|| drop(waits.wait(bell.lock(), soon))), None);
        assert!(panics(|| drop((first.lock(), bell.lock(), waits.wait(second.lock(), soon)))).is_some());
        let again = Mutex::new(Rank::Arena, ());
        assert!(panics(|| drop((again.lock(), again.lock()))).is_some(), "rather than wait for itself");
    }

    /// The table of locks has the ranks, in their order.
    #[test]
    fn the_table_of_locks_has_every_rank_in_its_order() {
        let text = include_str!("../../../../ARCHITECTURE.md");
        let rows = text.lines().skip_while(|line| !line.starts_with("| rank |")).skip(2);
        let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
        let named: Vec<_> = rows.iter().map(|row| row.split('`').nth(1).unwrap_or_default()).collect();
        let ranks = (Rank::Instances as u8..=Rank::Exchange as u8).len();
        assert_eq!(named.len(), ranks, "{named:?}");
        let source = include_str!("rank.rs");
        let variants = source.lines().skip_while(|line| !line.starts_with("pub(crate) enum Rank")).skip(1);
        let variants = variants.take_while(|line| *line != "}").filter(|line| !line.trim().starts_with("//"));
        let variants: Vec<_> = variants.map(|line| line.trim().trim_end_matches(',')).collect();
        assert_eq!(named, variants);
    }
}
