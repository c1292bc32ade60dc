use super::*;
use crate::base::error::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, Weak};
use std::time::Duration;

/// Longer than anything here takes; what would hang fails instead.
const LONG: Duration = Duration::from_secs(60);

/// A cache of numbers that weigh a byte each.
fn numbers(entries: usize) -> Cache<u32, Arc<u32>> {
    Cache::new(entries, u64::MAX, |_, _| 1)
}

/// Until so many calls have begun to wait.
fn await_waits<K: Hash + Eq, V, E>(cache: &Cache<K, V, E>, waits: u64) {
    while cache.stats().waits < waits {
        std::thread::yield_now();
    }
}

fn refusal() -> Error {
    Error::NoTime("refused")
}

/// Builds a key in a thread of its own that goes on when it is told to, and calls `meanwhile` while it is at it.
fn while_building<T: Send>(
    cache: &Cache<u32, Arc<u32>>,
    key: u32,
    ends: impl FnOnce() -> Result<Arc<u32>> + Send,
    meanwhile: impl FnOnce(&dyn Fn()) -> T,
) -> (std::thread::Result<Result<Arc<u32>>>, T) {
    let (begun, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    std::thread::scope(|scope| {
        // Dropped from here when the test fails, which ends the builder.
        let go_on = go_on;
        let builder = scope.spawn(move || {
            cache.get(&key, move || {
                begun.send(()).expect("the test listens");
                may_go_on.recv_timeout(LONG).expect("the test lets it go on");
                ends()
            })
        });
        has_begun.recv_timeout(LONG).expect("it is built");
        let result = meanwhile(&|| go_on.send(()).expect("it is being built"));
        // For those that have not been let go.
        let _ = go_on.send(());
        (builder.join(), result)
    })
}

// audit: C21
#[test]
fn stress_random_keys_stay_within_bounds_and_have_their_own_values() {
    const THREADS: usize = 8;
    const CALLS: usize = 10_000;
    const KEYS: usize = 300;
    const ENTRIES: usize = 64;
    const BYTES: u64 = 2000;
    let seed = fastrand::u64(..);
    let value_of = move |key: usize| fastrand::Rng::with_seed(seed ^ key as u64).u64(..);
    let weight = |key: &usize, _: &Arc<u64>| (*key % 97) as u64;
    let cache: Cache<usize, Arc<u64>> = Cache::new(ENTRIES, BYTES, weight);
    let building: Vec<AtomicBool> = (0..KEYS).map(|_| AtomicBool::new(false)).collect();
    let built: Mutex<Vec<Weak<u64>>> = Mutex::default();
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let (cache, building, built, begun) = (&cache, &building, &built, &begun);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(thread));
                while begun.fetch_add(1, Ordering::Relaxed) < CALLS {
                    // Some are asked for more often than others.
                    let key = random.usize(0..KEYS).min(random.usize(0..KEYS));
                    let value = cache.get(&key, || {
                        assert!(!building[key].swap(true, Ordering::SeqCst), "built twice at once, seed {seed}");
                        std::thread::yield_now();
                        let value = Arc::new(value_of(key));
                        built.lock().unwrap().push(Arc::downgrade(&value));
                        building[key].store(false, Ordering::SeqCst);
                        Ok(value)
                    });
                    assert_eq!(*value.unwrap(), value_of(key), "key {key}, seed {seed}");
                    let stats = cache.stats();
                    assert!(stats.entries <= ENTRIES as u64 && stats.bytes <= BYTES, "{stats:?}, seed {seed}");
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!(stats.hits + stats.misses + stats.waits, CALLS as u64, "{stats:?}, seed {seed}");
    assert_eq!(stats.misses - stats.evictions, stats.entries, "{stats:?}, seed {seed}");
    assert!(stats.evictions > 0 && stats.hits > 0, "{stats:?}, seed {seed}");
    let built = built.into_inner().unwrap();
    assert_eq!(built.len() as u64, stats.misses, "seed {seed}");
    let alive = built.iter().filter(|value| value.strong_count() > 0).count() as u64;
    assert_eq!(alive, stats.entries, "what was evicted is gone, seed {seed}");
    cache.clear();
    assert!(built.iter().all(|value| value.strong_count() == 0));
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
}

// audit: F7, C12
#[test]
fn a_build_that_hangs_holds_up_its_own_key_alone() {
    let cache = numbers(2);
    cache.get(&7, || Ok(Arc::new(70))).unwrap();
    let (built, ()) = while_building(
        &cache,
        1,
        || Ok(Arc::new(10)),
        |_| {
            // Another key that is there, new ones, failures, and evictions.
            assert_eq!(*cache.get(&7, || unreachable!()).unwrap(), 70);
            assert_eq!(*cache.get(&8, || Ok(Arc::new(80))).unwrap(), 80);
            assert!(cache.get(&9, || Err(refusal())).is_err());
            assert_eq!(*cache.get(&9, || Ok(Arc::new(90))).unwrap(), 90);
            assert_eq!(cache.stats().evictions, 1);
        },
    );
    assert_eq!(*built.unwrap().unwrap(), 10);
}

#[test]
fn who_does_not_wait_leaves_and_the_build_goes_on() {
    let cache = numbers(2);
    let (built, ()) = while_building(
        &cache,
        1,
        || Ok(Arc::new(10)),
        |_| {
            assert!(matches!(cache.get_or_busy(&1, || unreachable!()), Err(Error::Busy)));
            for timeout in [Duration::ZERO, Duration::from_millis(1)] {
                let outcome = cache.entry(&1, WaitPolicy::of(Some(timeout)), || unreachable!());
                assert!(matches!(outcome, Err(Error::Timeout)));
            }
            assert!(cache.nobody_waits());
        },
    );
    let built = built.unwrap().unwrap();
    assert!(Arc::ptr_eq(&cache.get_or_busy(&1, || unreachable!()).unwrap(), &built));
    let found = cache.entry(&1, WaitPolicy::of(Some(Duration::ZERO)), || unreachable!());
    assert!(Arc::ptr_eq(&found.unwrap().value, &built));
}

// audit: FB
#[test]
fn a_failure_is_told_to_who_waited_for_it_and_not_kept() {
    const WAITERS: u64 = 4;
    let cache = numbers(2);
    let (built, ()) = while_building(
        &cache,
        1,
        || Err(refusal()),
        |go_on| {
            std::thread::scope(|scope| {
                let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| cache.get(&1, || unreachable!()))).collect();
                await_waits(&cache, WAITERS);
                go_on();
                for waiter in waiters {
                    assert!(matches!(waiter.join().unwrap(), Err(Error::NoTime("refused"))));
                }
            });
        },
    );
    assert!(matches!(built.unwrap(), Err(Error::NoTime("refused"))));
    assert_eq!(*cache.get(&1, || Ok(Arc::new(10))).unwrap(), 10);
    let CacheStats { misses, waits, failures, entries, .. } = cache.stats();
    assert_eq!((misses, waits, failures, entries), (2, WAITERS, 1, 1));
}

// audit: C8
#[test]
fn when_the_builder_panics_one_of_those_who_wait_takes_over() {
    const WAITERS: u64 = 4;
    let cache = numbers(2);
    let builds = AtomicUsize::new(0);
    let build = &|| {
        builds.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(10))
    };
    let (built, ()) = while_building(
        &cache,
        1,
        || panic!("as the test wants it"),
        |go_on| {
            std::thread::scope(|scope| {
                let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| cache.get(&1, build))).collect();
                await_waits(&cache, WAITERS);
                go_on();
                for waiter in waiters {
                    assert_eq!(*waiter.join().unwrap().unwrap(), 10);
                }
            });
        },
    );
    assert!(built.is_err(), "the panic is the builder's");
    assert_eq!(builds.load(Ordering::Relaxed), 1);
    let CacheStats { misses, failures, entries, .. } = cache.stats();
    assert_eq!((misses, failures, entries), (2, 1, 1));
}

// audit: C2
#[test]
fn a_builder_that_asks_for_its_own_key_is_told_so() {
    let cache = numbers(2);
    let value = cache.get(&1, || {
        assert!(matches!(cache.get(&1, || unreachable!()), Err(Error::Recursive)));
        assert!(matches!(cache.get_or_busy(&1, || unreachable!()), Err(Error::Recursive)));
        // Of another it may be made.
        Ok(Arc::new(1 + *cache.get(&2, || Ok(Arc::new(2)))?))
    });
    assert_eq!(*value.unwrap(), 3);
}

/// Each of three threads builds one key of the next one's. The thread that would close the circle gets an error, and
/// the others get values.
// audit: C2
#[test]
fn builders_that_wait_for_each_other_in_a_circle_are_told_so() {
    let cache = numbers(8);
    let all_build = std::sync::Barrier::new(3);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for key in 0..3 {
            let (cache, all_build, refused) = (&cache, &all_build, &refused);
            scope.spawn(move || {
                let value = cache.get(&key, || {
                    all_build.wait();
                    match cache.get(&((key + 1) % 3), || unreachable!()) {
                        Ok(next) => Ok(Arc::new(*next + 1)),
                        Err(Error::Recursive) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            Ok(Arc::new(0))
                        }
                        Err(error) => Err(error),
                    }
                });
                assert!(*value.unwrap() < 3);
            });
        }
    });
    assert_eq!(refused.into_inner(), 1);
    let mut values = [0, 1, 2].map(|key| *cache.get(&key, || unreachable!()).unwrap());
    values.sort_unstable();
    assert_eq!(values, [0, 1, 2]);
}

// audit: C21
#[test]
fn what_was_not_used_for_the_longest_time_goes_first() {
    let cache = numbers(3);
    let ask = |key: u32| {
        let before = cache.stats().misses;
        assert_eq!(*cache.get(&key, || Ok(Arc::new(key))).unwrap(), key);
        cache.stats().misses == before
    };
    assert_eq!([1, 2, 3].map(ask), [false; 3]);
    assert!(ask(1), "it is there");
    // 2 was made before 3, and neither was used since.
    assert!(!ask(4));
    assert_eq!([1, 3, 4].map(ask), [true; 3]);
    assert!(!ask(2));
    // All of 1, 3, 4 were used after 4 was made: the one that was made first went.
    assert_eq!([3, 4, 2].map(ask), [true; 3]);
    assert_eq!(cache.stats().evictions, 2);
}

// audit: C21
#[test]
fn a_value_too_heavy_to_keep_is_handed_out_and_costs_nobody_a_place() {
    let cache: Cache<u64, Arc<u64>> = Cache::new(10, 100, |key, _| *key);
    let ask = |key: u64| *cache.get(&key, || Ok(Arc::new(key))).unwrap();
    assert_eq!([40, 60, 101, 200].map(ask), [40, 60, 101, 200]);
    let CacheStats { entries, bytes, evictions, .. } = cache.stats();
    assert_eq!((entries, bytes, evictions), (2, 100, 2));
    assert_eq!(ask(100), 100);
    let CacheStats { entries, bytes, evictions, .. } = cache.stats();
    assert_eq!((entries, bytes, evictions), (1, 100, 4));
}

/// A key with a hash that says nothing.
#[derive(Clone, PartialEq, Eq)]
struct Colliding(u32);

impl Hash for Colliding {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u8(0);
    }
}

// audit: F6
#[test]
fn keys_are_compared_whole() {
    let cache: Cache<Colliding, u32> = Cache::new(100, u64::MAX, |_, _| 1);
    for round in 0..2 {
        for key in 0..50 {
            let got = cache.get(&Colliding(key), || if round == 0 { Ok(key) } else { Err(refusal()) });
            assert_eq!(got.unwrap(), key);
        }
    }
}

/// Nothing of the user's runs under the map's lock: each of these asks the cache for something.
// audit: C2
#[test]
fn building_weighing_and_dropping_may_use_the_cache() {
    struct Asks(Weak<Cache<u32, Arc<Asks>>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.upgrade().map(|cache| cache.stats());
        }
    }
    let cache = Arc::new_cyclic(|_| {
        Cache::<u32, Arc<Asks>>::new(1, 10, |_, value| {
            value.0.upgrade().map_or(1, |cache| 1 + cache.stats().entries.min(1))
        })
    });
    let make = || Ok(Arc::new(Asks(Arc::downgrade(&cache))));
    for key in 0..3 {
        cache.get(&key, make).unwrap();
        // Again from inside.
        cache.get(&(key + 10), || cache.get(&(key + 20), make)).unwrap();
    }
    assert_eq!(cache.stats().entries, 1);
    cache.clear();
    let panicked = catch_unwind(AssertUnwindSafe(|| cache.get(&1, || panic!("as the test wants it")).is_ok()));
    assert!(panicked.is_err());
    assert_eq!(cache.stats().entries, 0);
}
