//! Many threads, few streams, shared tensors, some operations that fail, every value checked: exactly those that depend on
//! a failure have failed. And the same with a protection taken out.

use super::world::{Known, Random, Verdict};
use crate::{Config, Device, Result, Stream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use thalweg_hal::faulty::{Faulty, Plan, Strike};
use thalweg_hal::mock::{MockConfig, MockDevice};
use thalweg_hal::validate::Validated;

const THREADS: usize = 16;
const STREAMS: usize = 4;

/// How many values were checked, how many were wrong, and how many calls failed.
#[derive(Debug, Default)]
struct Tally {
    operations: AtomicU64,
    checked: AtomicU64,
    /// Of those checked, how many had to have failed.
    broken: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    /// Tensors that came from another thread.
    received: AtomicU64,
}

/// Each thread chains operations over tensors of its own and tensors that others sent it. A tensor that is sent stays in
/// use where it came from: both sides read it, on whatever streams they have, and whoever lets go last frees it.
fn chains(device: &Device, seed: u64, operations: usize) -> Tally {
    let tally = Tally::default();
    // So that the first thread is not done before the last has started.
    let start = Barrier::new(THREADS);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::sync_channel(64)).unzip();
    std::thread::scope(|scope| {
        for (thread, inbox) in receivers.into_iter().enumerate() {
            let (senders, tally, start) = (&senders, &tally, &start);
            let random = Random(seed ^ (thread as u64) << 32);
            scope.spawn(move || {
                start.wait();
                chain(device, random, operations / THREADS, &inbox, senders, tally);
            });
        }
    });
    tally
}

fn chain(
    device: &Device,
    mut random: Random,
    operations: usize,
    inbox: &mpsc::Receiver<Arc<Known>>,
    others: &[mpsc::SyncSender<Arc<Known>>],
    tally: &Tally,
) {
    let stream = Stream::current(device).unwrap();
    let frozen = Known::freeze(device, random.next() as u32, 3).unwrap();
    let mut shared = vec![Arc::new(frozen)];
    let mut own = Vec::new();
    let check = |known: &Known| {
        tally.checked.fetch_add(1, Ordering::Relaxed);
        tally.broken.fetch_add(known.broken.into(), Ordering::Relaxed);
        match known.verdict() {
            Verdict::Right => {}
            Verdict::Wrong => drop(tally.wrong.fetch_add(1, Ordering::Relaxed)),
            Verdict::Failed => drop(tally.failed.fetch_add(1, Ordering::Relaxed)),
        }
    };
    for _ in 0..operations {
        let salt = random.next() as u32;
        let mut step = || -> Result<Option<Known>> {
            let a = &shared[random.below(shared.len())];
            let b = &shared[random.below(shared.len())];
            Ok(Some(match random.below(16) {
                0 => Known::upload(device, salt, 7)?,
                1 => Known::fill(&stream, salt)?,
                2 | 3 => a.copy(&stream)?,
                // Half of these fail, and with them whatever comes to depend on them.
                4 if salt.is_multiple_of(64) => a.odd_copy(&stream)?,
                4..10 => a.combine(b, salt, &stream)?,
                _ => return Ok(None),
            }))
        };
        // A refusal can only come from the validator, when a protection is out.
        match step() {
            Ok(Some(made)) => own.push(made),
            Ok(None) if own.is_empty() => own.push(Known::fill(&stream, salt).unwrap()),
            Ok(None) => {
                let at = random.below(own.len());
                own[at].advance(salt, &stream).unwrap();
            }
            Err(_) => drop(tally.failed.fetch_add(1, Ordering::Relaxed)),
        }
        tally.operations.fetch_add(1, Ordering::Relaxed);
        if random.below(4) == 0 && !own.is_empty() {
            // From here on it is shared, and nobody can write it any more.
            let known = Arc::new(own.swap_remove(random.below(own.len())));
            // A full inbox keeps nobody waiting: the tensor is then shared with fewer.
            let _ = others[random.below(others.len())].try_send(Arc::clone(&known));
            shared.push(known);
        }
        let before = shared.len();
        shared.extend(inbox.try_iter());
        tally.received.fetch_add((shared.len() - before) as u64, Ordering::Relaxed);
        if random.below(16) == 0 {
            // Few cores would otherwise run one thread after the other.
            std::thread::yield_now();
        }
        while own.len() > 8 {
            let known = own.swap_remove(random.below(own.len()));
            if random.below(4) == 0 {
                check(&known);
            }
        }
        while shared.len() > 16 {
            let known = shared.swap_remove(1 + random.below(shared.len() - 1));
            if random.below(4) == 0 {
                check(&known);
            }
        }
        if random.below(64) == 0 {
            stream.flush().unwrap();
        }
    }
    own.iter().for_each(check);
    shared.iter().for_each(|known| check(known));
}

/// A mock behind a validator behind a device that can be made to fail.
struct Doubles {
    device: Device,
    faulty: Arc<Faulty>,
    validated: Arc<Validated>,
}

fn doubles(seed: u64, plan: Plan) -> Doubles {
    let mock = MockDevice::new(MockConfig { seed, queues: 3, ..MockConfig::default() });
    let validated = Validated::new(mock);
    let faulty = Faulty::new(Arc::<Validated>::clone(&validated), plan);
    let device = Device::new(Arc::<Faulty>::clone(&faulty), config()).unwrap();
    Doubles { device, faulty, validated }
}

fn config() -> Config {
    // Short lists, so that streams flush each other all the time.
    Config::default().pool_streams(STREAMS).list_commands(24)
}

fn assert_clean(device: &Device, tally: &Tally, seed: u64) {
    let tally_text = format!("seed {seed}: {tally:?}");
    assert_eq!(tally.wrong.load(Ordering::Relaxed), 0, "{tally_text}");
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0, "{tally_text}");
    assert!(tally.received.load(Ordering::Relaxed) > tally.operations.load(Ordering::Relaxed) / 50, "{tally_text}");
    let (checked, broken) = (tally.checked.load(Ordering::Relaxed), tally.broken.load(Ordering::Relaxed));
    assert!(broken > 0 && broken < checked, "{tally_text}");
    assert!(checked > tally.operations.load(Ordering::Relaxed) / 10, "{tally_text}");
    let memory = device.memory();
    assert_eq!((memory.live, memory.frozen), (0, 0), "seed {seed}: {memory:?}");
}

#[test]
fn stress_sharing_on_the_mock() {
    for round in 0..20 {
        let seed = Random::fresh_seed().wrapping_add(round);
        println!("seed {seed}");
        let doubles = doubles(seed, Plan::default());
        let tally = chains(&doubles.device, seed, 100_000);
        let report = doubles.validated.report();
        assert_eq!(report.violations, 0, "seed {seed}: {report:?}");
        assert!(report.submissions > 0);
        assert_clean(&doubles.device, &tally, seed);
    }
}

#[test]
fn stress_sharing_on_the_cpu() {
    let seed = Random::fresh_seed();
    println!("seed {seed}");
    let device = Device::new(thalweg_cpu::CpuDevice::open().unwrap(), config()).unwrap();
    let tally = chains(&device, seed, 100_000);
    assert_clean(&device, &tally, seed);
}

#[test]
fn stress_sharing_on_the_cpu_under_the_validator() {
    let seed = Random::fresh_seed();
    println!("seed {seed}");
    let validated = Validated::new(thalweg_cpu::CpuDevice::with_workers(3).unwrap());
    let device = Device::new(Arc::<Validated>::clone(&validated), config()).unwrap();
    let tally = chains(&device, seed, 100_000);
    let report = validated.report();
    assert_eq!(report.violations, 0, "seed {seed}: {report:?}");
    assert_clean(&device, &tally, seed);
}

/// Runs the chains with a protection taken out until somebody notices. Whether one run shows it depends on how the
/// threads fall; ten in a row without it mean that nobody needs the protection, or that nothing tests it.
fn noticed_within_ten(plan: &Plan, run: impl Fn(u64, Plan) -> bool) -> bool {
    (0..10).map(|round| plan.seed.wrapping_add(round)).any(|seed| run(seed, Plan { seed, ..plan.clone() }))
}

/// Takes one protection out and asserts that the values and the validator both notice.
fn assert_noticed(plan: Plan, prepare: impl Fn(&Device), struck: impl Fn(&Faulty) -> bool) {
    println!("seed {}", plan.seed);
    // With no validator in between, what is missing reaches the values.
    let in_values = noticed_within_ten(&plan, |seed, plan| {
        let mock = MockDevice::new(MockConfig { seed, queues: 3, ..MockConfig::default() });
        let device = Device::new(Faulty::new(mock, plan), config()).unwrap();
        prepare(&device);
        chains(&device, seed, 20_000).wrong.into_inner() > 0
    });
    assert!(in_values, "seed {}: every value right without the protection", plan.seed);
    // With one, a refused list is not run, so the tensors that it would have written fail instead of being wrong.
    let by_validator = noticed_within_ten(&plan, |seed, plan| {
        let doubles = doubles(seed, plan);
        prepare(&doubles.device);
        chains(&doubles.device, seed, 20_000);
        struck(&doubles.faulty) && doubles.validated.report().violations > 0
    });
    assert!(by_validator, "seed {}: the validator was silent, or the fault never struck", plan.seed);
}

#[test]
fn falsify_barriers() {
    let plan = Plan { seed: Random::fresh_seed(), barriers: Strike::Share(0.2), ..Plan::default() };
    assert_noticed(plan, |_| {}, |faulty| faulty.counts().barriers > 0);
}

#[test]
fn falsify_list_start_barriers() {
    let plan = Plan { seed: Random::fresh_seed(), start_barriers: Strike::Share(0.5), ..Plan::default() };
    assert_noticed(plan, |_| {}, |faulty| faulty.counts().start_barriers > 0);
}

#[test]
fn falsify_waits() {
    let plan = Plan { seed: Random::fresh_seed(), waits: Strike::Always, ..Plan::default() };
    assert_noticed(plan, |_| {}, |faulty| faulty.counts().waits > 0);
}

#[test]
fn falsify_stamps_of_freed_bytes() {
    let plan = Plan { seed: Random::fresh_seed(), ..Plan::default() };
    assert_noticed(plan, |device| device.core.sabotage.forget_freed_stamps(), |_| true);
}
