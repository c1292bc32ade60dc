//! Models of the cache and of what streams keep of it: the shipped code, in every interleaving that loom finds.

use super::loom::{COMBINE, Silent, model};
use crate::Cache;
use crate::{Config, Device, Error, Stream};
use loom::thread;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::KernelSource;

/// What the attempts of a model did.
#[derive(Default)]
struct Builds {
    begun: AtomicUsize,
    under_way: AtomicUsize,
    values: Mutex<Vec<Weak<u32>>>,
}

struct World {
    cache: Cache<u32, Arc<u32>>,
    builds: Builds,
}

/// How an attempt ends, by how many there were before it.
type Ends = fn(usize) -> Result<(), Error>;

fn refused() -> Error {
    Error::NoTime("refused")
}

impl World {
    fn new(entries: usize) -> Arc<Self> {
        Arc::new(Self { cache: Cache::new(entries, u64::MAX, |_, _| 1), builds: Builds::default() })
    }

    /// Builds ten times the key, while others may run.
    fn build(&self, key: u32, ends: Ends) -> Result<Arc<u32>, Error> {
        let Builds { begun, under_way, values } = &self.builds;
        let before = begun.fetch_add(1, Relaxed);
        assert_eq!(under_way.fetch_add(1, Relaxed), 0, "built twice at once");
        thread::yield_now();
        under_way.fetch_sub(1, Relaxed);
        ends(before)?;
        let value = Arc::new(10 * key);
        values.lock().unwrap().push(Arc::downgrade(&value));
        Ok(value)
    }

    fn get(&self, key: u32, ends: Ends) -> Result<Arc<u32>, Error> {
        self.cache.get(&key, || self.build(key, ends))
    }

    fn alive(&self) -> usize {
        self.builds.values.lock().unwrap().iter().filter(|value| value.strong_count() > 0).count()
    }
}

fn spawn<T: 'static>(world: &Arc<World>, program: impl FnOnce(&World) -> T + 'static) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || program(&world))
}

/// A key is built once at a time. A thread that waited for an attempt that fails gets its error; a later one builds.
// audit: F7
#[test]
fn loom_single_flight_with_a_failing_builder() {
    model(|| {
        let world = World::new(2);
        let ends: Ends = |before| if before == 0 { Err(refused()) } else { Ok(()) };
        let other = spawn(&world, move |world| world.get(1, ends).map(|value| *value).ok());
        let here = world.get(1, ends).map(|value| *value).ok();
        let there = other.join().unwrap();
        let begun = world.builds.begun.load(Relaxed);
        match (here, there) {
            (None, None) => assert_eq!(begun, 1, "one built anew and failed?"),
            (None, Some(10)) | (Some(10), None) => assert_eq!(begun, 2),
            other => panic!("{other:?} of {begun} attempts, the first of which failed"),
        }
        assert_eq!(*world.get(1, ends).unwrap(), 10);
        assert_eq!(world.cache.stats().failures, 1);
    });
}

/// When the builder panics, a thread that waits builds: nobody waits for ever, and nobody else gets the panic.
// audit: C8
#[test]
fn loom_single_flight_with_a_builder_who_leaves() {
    model(|| {
        let world = World::new(2);
        let leaves: Ends = |_| std::panic::resume_unwind(Box::new("leaves"));
        let builder = spawn(&world, move |world| catch_unwind(AssertUnwindSafe(|| world.get(1, leaves).is_ok())));
        let waiter = *world.get(1, |_| Ok(())).unwrap();
        assert_eq!(waiter, 10);
        // It found the value, or it left.
        assert!(builder.join().unwrap().unwrap_or(true));
        assert_eq!((world.cache.stats().entries, world.alive()), (1, 1));
    });
}

/// A thread that may not wait gets an error and leaves; one that waits gets the value all the same.
// audit: F7
#[test]
fn loom_single_flight_past_one_who_does_not_wait() {
    super::loom::bounded(2, || {
        let world = World::new(2);
        let waits = spawn(&world, |world| *world.get(1, |_| Ok(())).unwrap());
        let leaves =
            spawn(&world, |world| world.cache.get_or_busy(&1, || world.build(1, |_| Ok(()))).map(|value| *value));
        assert_eq!(*world.get(1, |_| Ok(())).unwrap(), 10);
        assert_eq!(waits.join().unwrap(), 10);
        assert!(matches!(leaves.join().unwrap(), Ok(10) | Err(Error::Busy)));
        assert_eq!(world.builds.begun.load(Relaxed), 1);
        assert!(world.cache.nobody_waits());
    });
}

/// Two builders that ask for each other's key: one is told so, and both end.
// audit: C2
#[test]
fn loom_builders_that_wait_for_each_other() {
    model(|| {
        let world = Arc::new(Cache::<u32, u32>::new(4, 4, |_, _| 1));
        let program = |world: &Cache<u32, u32>, key: u32| {
            world.get(&key, || match world.get(&(1 - key), || Ok(10)) {
                Ok(other) => Ok(other + 1),
                Err(Error::Recursive) => Ok(100),
                Err(error) => Err(error),
            })
        };
        let other = Arc::clone(&world);
        let other = thread::spawn(move || program(&other, 1).unwrap());
        let values = [program(&world, 0).unwrap(), other.join().unwrap()];
        // One asked for the other's before that was begun, or both waited.
        assert!(values.iter().all(|value| [10, 11, 12, 100, 101].contains(value)), "{values:?}");
    });
}

/// What is found is the key's, also while it is being evicted, and what is evicted is gone.
// audit: C21
#[test]
fn loom_eviction_against_look_up() {
    model(|| {
        let world = World::new(1);
        world.get(1, |_| Ok(())).unwrap();
        let other = spawn(&world, |world| *world.get(2, |_| Ok(())).unwrap());
        assert_eq!(*world.get(1, |_| Ok(())).unwrap(), 10);
        assert_eq!(other.join().unwrap(), 20);
        assert_eq!((world.cache.stats().entries, world.alive()), (1, 1));
    });
}

/// The same of pipelines: one that is found while its kernel is being evicted is gone once nobody has it.
// audit: C21
#[test]
fn loom_eviction_of_pipelines_against_look_ups() {
    static OTHER: KernelSource = KernelSource {
        name: Cow::Borrowed("other"),
        bindings: Cow::Borrowed(&[]),
        params_bytes: 0,
        wgsl: None,
        host: Some(|_| Ok(())),
    };
    model(|| {
        let mock = MockDevice::new(MockConfig::default());
        let silent = Arc::new(Silent::like(&*mock));
        let config = Config::default().pipeline_cache(1);
        let device = Device::without_reaper(Arc::<Silent>::clone(&silent), config).unwrap();
        let streams = Arc::new([0, 1].map(|_| Stream::new(&device).unwrap()));
        let ask = |stream: usize, kernel: &'static KernelSource| {
            let (device, streams) = (device.clone(), Arc::clone(&streams));
            move || {
                let pipeline = streams[stream].scope(|| device.pipeline(kernel)).unwrap();
                assert_eq!(pipeline.source(), kernel);
            }
        };
        ask(0, &COMBINE)();
        let evicts = thread::spawn(ask(1, &OTHER));
        ask(0, &COMBINE)();
        ask(1, &COMBINE)();
        evicts.join().unwrap();
        let made = silent.made.lock().unwrap();
        assert_eq!(made.iter().filter(|pipeline| pipeline.strong_count() > 0).count(), 1);
    });
}
