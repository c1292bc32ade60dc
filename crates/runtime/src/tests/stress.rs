//! Many threads, few streams, shared tensors, operations and submissions that fail, every value checked: exactly what
//! depends on a failure has failed, with that failure. And the same with a protection taken out.
//!
//! Operations run in rounds. What a round read is judged when it is over, because only then is it known which
//! submissions the device refused. The threads of a round share nothing of the test's but channels.

mod player;
mod tally;

use super::listener::{Beside, options};
use super::world::{Found, Known, ListId, fresh_seed};
use crate::listener::Detail;
use crate::order::point::Point;
use crate::{Config, Device, Error, Stream};
use fastrand::Rng;
use player::{INBOX, Player};
use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};
use tally::Tally;
use thalweg_doubles::faulty::{Delays, Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::validate::Validated;
use thalweg_hal::{DeviceKind, Timestamps};

/// Operations of all threads in one round.
const ROUND: usize = 20_000;
/// What may be taken of the device in the mix: less than the threads would cache.
const LIMIT: u64 = 12 << 20;
/// What runs.
#[derive(Clone, Copy)]
struct Mix {
    threads: usize,
    seed: u64,
}

/// One round of operations, judged. `refused` names the lists that the device did not take.
fn round(device: &Device, Mix { threads, seed }: Mix, refused: impl FnOnce() -> HashSet<ListId>) -> Tally {
    // So that the first thread is not done before the last has started.
    let start = Barrier::new(threads);
    let tasks = AtomicU64::new(threads as u64);
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::sync_channel(INBOX)).unzip();
    let players = inboxes.into_iter().enumerate().map(|(index, inbox)| Player {
        device,
        index,
        random: Rng::with_seed(seed ^ (index as u64) << 32),
        inbox,
        others: senders.clone(),
        tasks: &tasks,
        own: Vec::new(),
        shared: Vec::new(),
        graphs: Vec::new(),
        looked: Vec::new(),
        tally: Tally::default(),
    });
    let played: Vec<_> = std::thread::scope(|scope| {
        let start = &start;
        let handles = players.map(|mut player| {
            scope.spawn(move || {
                start.wait();
                if let Err(error) = player.play(ROUND / threads) {
                    player.tally.fail(error);
                }
                // What was sent and never received is let go of here, with the others still at work.
                (player.looked, player.tally)
            })
        });
        let handles: Vec<_> = handles.collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let refused = refused();
    let mut tally = Tally::default();
    for (looked, of_player) in &played {
        tally.add(of_player);
        for (origin, found) in looked {
            let failures = origin.failures(&refused);
            tally.checked += 1;
            tally.broken += u64::from(!failures.is_empty());
            match found {
                Found::Right if failures.is_empty() => {}
                Found::Failed(list) if failures.contains(list) => {}
                Found::Undelivered(list) if refused.contains(list) => tally.undelivered += 1,
                Found::Error => tally.errors += 1,
                _ => tally.wrong += 1,
            }
        }
    }
    tally
}

/// The lists that a device refused so far.
fn refused(device: &Device, faulty: &Faulty) -> HashSet<ListId> {
    let streams: std::collections::HashMap<_, _> =
        device.engine.streams().map(|stream| (stream.timeline.id(), stream.index)).collect();
    let list = |(timeline, value)| Some((*streams.get(&timeline)?, value));
    faulty.refused().into_iter().filter_map(list).collect()
}

/// A device that can be made to fail, in front of another.
struct Doubles {
    device: Device,
    faulty: Arc<Faulty>,
}

impl Doubles {
    fn new(inner: Arc<dyn thalweg_hal::Device>, plan: Plan, config: Config) -> Self {
        let faulty = Faulty::new(inner, plan);
        Self { device: Device::new(Arc::<Faulty>::clone(&faulty), config).unwrap(), faulty }
    }

    fn round(&self, mix: Mix) -> Tally {
        round(&self.device, mix, || refused(&self.device, &self.faulty))
    }
}

fn mock(seed: u64) -> Arc<MockDevice> {
    MockDevice::new(MockConfig { seed, queues: 3, ..MockConfig::default() })
}

/// Short lists, so that streams flush each other all the time.
fn config(streams: usize) -> Config {
    Config::default().pool_streams(streams).list_commands(24)
}

fn assert_clean(device: &Device, tally: &Tally, seed: u64) {
    let text = format!("seed {seed}: {tally:?}");
    assert_eq!((tally.wrong, tally.errors), (0, 0), "{text}");
    assert!(tally.received > tally.operations / 50 && tally.tasks > 0, "{text}");
    assert!(tally.broken > 0 && tally.broken < tally.checked, "{text}");
    assert!(tally.checked > tally.operations / 10, "{text}");
    let memory = device.memory();
    assert_eq!((memory.live, memory.frozen), (0, 0), "seed {seed}: {memory:?}");
    assert!(tally.replays > 0 && tally.captures > 0, "{text}");
}

/// Everything that was taken from the device goes back, to the byte.
fn assert_balanced(device: &Device, seed: u64) {
    device.synchronize().unwrap();
    let start = Instant::now();
    // The thread that settled a list last may be about to drop what it held.
    let is_all_back = || device.memory().reserved == device.memory().overhead;
    while !is_all_back() && start.elapsed() < Duration::from_secs(30) {
        device.trim();
        std::thread::yield_now();
    }
    assert!(is_all_back(), "seed {seed}: {:?}", device.memory());
}

/// Fewer and more threads than streams.
const THREADS: [usize; 4] = [2, 8, 40, 128];

/// Some numbers of threads on 32 streams, one submission in a hundred refused. For half a minute; with
/// `THALWEG_STRESS_OPERATIONS`, as many operations for each number of threads.
fn mix(threads: &[usize], open: impl Fn(u64) -> Arc<dyn thalweg_hal::Device>) {
    let operations = std::env::var("THALWEG_STRESS_OPERATIONS").ok();
    let operations: Option<u64> = operations.map(|operations| operations.parse().unwrap());
    let share = Duration::from_secs(30) / 4;
    for &threads in threads {
        let seed = fresh_seed();
        println!("{threads} threads, seed {seed}");
        let mut random = Rng::with_seed(seed);
        let plan = || Plan { submissions: Strike::Share(0.01), pipelines: Strike::Share(0.1), ..Plan::default() };
        // Fewer kernels are kept than there are, so that they are compiled again and again.
        let config = config(32).memory_limit(LIMIT).pipeline_cache(2);
        let (mut rounds, mut reclaimed) = (0, 0);
        let start = Instant::now();
        let mut all = Tally::default();
        while operations.map_or(start.elapsed() < share, |operations| all.operations < operations) {
            // A device each round, so that what it remembers of refusals is the round's.
            let seed = random.u64(..);
            let doubles = Doubles::new(open(seed), Plan { seed, ..plan() }, config);
            // To every other round somebody listens, in one detail or the other.
            rounds += 1;
            let detail = if rounds % 4 == 0 { Detail::Full } else { Detail::Coarse };
            let listening = (rounds % 2 == 0).then(|| Beside::start(&doubles.device, options(detail)));
            let tally = doubles.round(Mix { threads, seed });
            assert_ne!(listening.map(Beside::stop), Some(0));
            assert_clean(&doubles.device, &tally, seed);
            reclaimed += doubles.device.memory().reclaimed;
            assert_balanced(&doubles.device, seed);
            assert!(doubles.faulty.counts().submissions > 0);
            all.add(&tally);
            doubles.device.close(Duration::from_secs(60)).unwrap();
        }
        let Tally { operations, checked, broken, tasks, hops, busy, full, uncompiled, replays, captures, .. } = all;
        println!(
            "  {operations} operations, {checked} tensors checked, {broken} of them failed as they had to, {tasks} tasks with \
             {hops} hops, {busy} calls busy, {full} without memory, {uncompiled} without their kernel, {replays} runs of {captures} graphs, {reclaimed} spans \
             taken back; \
             0 wrong; {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
}

// audit: C1, C4, C7
#[test]
fn stress_mix_on_the_cpu() {
    mix(&THREADS, |_| thalweg_cpu::CpuDevice::open().unwrap());
}

// audit: F1, C1, C4, C8, C13, C15
#[test]
fn stress_mix_on_the_mock() {
    mix(&THREADS, |seed| mock(seed));
}

/// As on a laptop's discrete GPU: the host does not see the memory, new memory is undefined, all streams share one
/// queue.
// audit: C4, C13
#[test]
fn stress_mix_on_a_discrete_mock() {
    mix(&[8, 40], |seed| MockDevice::new(MockConfig::discrete(seed)));
}

/// The same on a driver.
// audit: C13
#[test]
fn stress_mix_on_a_discrete_device() {
    let Some(device) = thalweg_vulkan::testing::discrete() else { return };
    mix(&[8], |_| Arc::<thalweg_vulkan::VulkanDevice>::clone(&device));
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

/// Command queues that overlap, and completion handlers on threads of Metal's.
#[test]
fn stress_mix_on_metal() {
    let Some(device) = thalweg_metal::testing::device() else { return };
    mix(&[8, 40], |_| Arc::clone(&device));
}

#[test]
fn stress_sharing_on_metal_under_the_validator() {
    let Some(device) = thalweg_metal::testing::device() else { return };
    sharing(|_| Arc::clone(&device), 1);
}

/// One driver queue for all streams, or one for each, as the machine has it. 8 threads where the processor is the
/// device.
// audit: F1, C1, C4, C13, C24
#[test]
fn stress_mix_on_vulkan() {
    let Some(device) = thalweg_vulkan::testing::device() else { return };
    let threads: &[usize] = match thalweg_hal::Device::info(&*device).kind {
        DeviceKind::SoftwareGpu => &[8],
        _ => &[2, 8, 40, 128],
    };
    mix(threads, |_| Arc::<thalweg_vulkan::VulkanDevice>::clone(&device));
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

// audit: C29
#[test]
fn stress_sharing_on_vulkan_under_the_validator() {
    let Some(device) = thalweg_vulkan::testing::device() else { return };
    sharing(|_| Arc::<thalweg_vulkan::VulkanDevice>::clone(&device), 1);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

/// As on a laptop's discrete GPU: the host does not see the memory, and all streams share one queue.
#[test]
fn stress_sharing_on_a_discrete_device_under_the_validator() {
    let Some(device) = thalweg_vulkan::testing::discrete() else { return };
    sharing(|_| Arc::<thalweg_vulkan::VulkanDevice>::clone(&device), 1);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

/// 16 threads on 4 streams, under the validator.
fn sharing(inner: impl Fn(u64) -> Arc<dyn thalweg_hal::Device>, rounds: usize) {
    for _ in 0..rounds {
        let seed = fresh_seed();
        println!("seed {seed}");
        let validated = Validated::new(inner(seed));
        let doubles = Doubles::new(Arc::<Validated>::clone(&validated), Plan::default(), config(4));
        let mut tally = Tally::default();
        for round in 0..5 {
            tally.add(&doubles.round(Mix { threads: 16, seed: seed.wrapping_add(round) }));
        }
        let report = validated.report();
        assert_eq!(report.violations, 0, "seed {seed}: {report:?}");
        assert!(report.submissions > 0);
        assert_clean(&doubles.device, &tally, seed);
    }
}

// audit: C29
#[test]
fn stress_sharing_on_the_mock_under_the_validator() {
    sharing(|seed| mock(seed), 10);
}

/// Where the host waits for what lists would wait for, and the time is taken by list.
#[test]
fn stress_sharing_where_waits_are_dear_under_the_validator() {
    let config = MockConfig { waits_are_dear: true, timestamps: Timestamps::ByList, ..MockConfig::default() };
    sharing(|seed| MockDevice::new(MockConfig { seed, ..config }), 10);
}

// audit: C29
#[test]
fn stress_sharing_on_the_cpu_under_the_validator() {
    sharing(|_| thalweg_cpu::CpuDevice::with_workers(3).unwrap(), 2);
}

/// Runs rounds with a protection taken out until somebody notices. Whether one round shows it depends on how the
/// threads fall; ten without it mean that nobody needs the protection, or that nothing tests it.
fn noticed_within_ten(plan: &Plan, run: impl Fn(Mix, Plan) -> bool) -> bool {
    (0..10).map(|round| plan.seed.wrapping_add(round)).any(|seed| {
        let mix = Mix { threads: 16, seed };
        run(mix, Plan { seed, ..plan.clone() })
    })
}

/// Takes one protection out and asserts that the values and the validator both notice.
fn assert_noticed(plan: Plan, prepare: impl Fn(&Device), struck: impl Fn(&Faulty) -> bool) {
    println!("seed {}", plan.seed);
    // With no validator in between, what is missing reaches the values.
    let in_values = noticed_within_ten(&plan, |mix, plan| {
        let doubles = Doubles::new(mock(mix.seed), plan, config(4));
        prepare(&doubles.device);
        doubles.round(mix).wrong > 0
    });
    assert!(in_values, "seed {}: every value right without the protection", plan.seed);
    // With one, a refused list is not run, so the tensors that it would have written fail instead of being wrong.
    let by_validator = noticed_within_ten(&plan, |mix, plan| {
        let validated = Validated::new(mock(mix.seed));
        let doubles = Doubles::new(Arc::<Validated>::clone(&validated), plan, config(4));
        prepare(&doubles.device);
        doubles.round(mix);
        struck(&doubles.faulty) && validated.report().violations > 0
    });
    assert!(by_validator, "seed {}: the validator was silent, or the fault never struck", plan.seed);
}

fn seeded() -> Plan {
    Plan { seed: fresh_seed(), ..Plan::default() }
}

// audit: C4, C28
#[test]
fn falsify_barriers() {
    let plan = Plan { barriers: Strike::Share(0.2), ..seeded() };
    assert_noticed(plan, |_| {}, |faulty| faulty.counts().barriers > 0);
}

// audit: C4, C28
#[test]
fn falsify_list_start_barriers() {
    let plan = Plan { start_barriers: Strike::Share(0.5), ..seeded() };
    assert_noticed(plan, |_| {}, |faulty| faulty.counts().start_barriers > 0);
}

// audit: C14, C28
#[test]
fn falsify_waits() {
    let plan = Plan { waits: Strike::Always, ..seeded() };
    assert_noticed(plan, |_| {}, |faulty| faulty.counts().waits > 0);
}

/// On a device with queues that overlap. With one queue lists run in order, whatever they wait for.
// audit: C14
#[test]
fn falsify_waits_on_vulkan() {
    let Some(device) = thalweg_vulkan::testing::device() else { return };
    if thalweg_hal::Device::info(&*device).parallelism < 2 {
        eprintln!("SKIPPED: {} has one queue", thalweg_hal::Device::info(&*device).name);
        return;
    }
    let plan = Plan { waits: Strike::Always, ..seeded() };
    println!("seed {}", plan.seed);
    let noticed = noticed_within_ten(&plan, |mix, plan| {
        let doubles = Doubles::new(Arc::<thalweg_vulkan::VulkanDevice>::clone(&device), plan, config(32));
        doubles.round(Mix { threads: 40, ..mix }).wrong > 0
    });
    assert!(noticed, "seed {}: every value right without the waits", plan.seed);
}

// A GPU need not take the liberties that the simulator takes.
#[cfg(metal_sim)]
#[test]
fn falsify_waits_on_metal() {
    falsify_on_metal(Plan { waits: Strike::Always, ..seeded() });
}

#[cfg(metal_sim)]
#[test]
fn falsify_barriers_on_metal() {
    falsify_on_metal(Plan { barriers: Strike::Share(0.5), ..seeded() });
}

#[cfg(metal_sim)]
fn falsify_on_metal(plan: Plan) {
    let Some(device) = thalweg_metal::testing::device() else { return };
    println!("seed {}", plan.seed);
    let noticed = noticed_within_ten(&plan, |mix, plan| {
        let doubles = Doubles::new(Arc::clone(&device), plan, config(32));
        doubles.round(Mix { threads: 40, ..mix }).wrong > 0
    });
    assert!(noticed, "seed {}: every value right without the protection", plan.seed);
}

// audit: C10, C13, C28
#[test]
fn falsify_stamps_of_freed_bytes() {
    assert_noticed(seeded(), |device| device.engine.sabotage.forget_freed_uses(), |_| true);
}

/// Asserts that somebody notices when a protection above the HAL's seam is taken out, and that nobody does otherwise.
fn assert_noticed_alone(
    plan: Plan,
    device: impl Fn(u64) -> Arc<dyn thalweg_hal::Device>,
    sabotage: impl Fn(&Device),
    notices: impl Fn(&Doubles, &Tally) -> bool,
) {
    println!("seed {}", plan.seed);
    let noticed = |sabotage: &dyn Fn(&Device)| {
        noticed_within_ten(&plan, |mix, plan| {
            let doubles = Doubles::new(device(mix.seed), plan, config(4));
            sabotage(&doubles.device);
            let tally = doubles.round(mix);
            notices(&doubles, &tally)
        })
    };
    assert!(noticed(&sabotage), "seed {}: nobody needs the protection", plan.seed);
    assert!(!noticed(&|_| {}), "seed {}: noticed with the protection in place", plan.seed);
}

/// Without it a list waits for what nobody has submitted: on a real device for ever, here it is refused.
// audit: C17, C28
#[test]
fn falsify_the_flush_before_a_wait() {
    let sabotage = |device: &Device| device.engine.sabotage.skip_foreign_flushes();
    let notices = |doubles: &Doubles, _: &Tally| !doubles.faulty.refused().is_empty();
    assert_noticed_alone(seeded(), |seed| Validated::new(mock(seed)), sabotage, notices);
}

/// The same, where the thread that submits asks for it.
// audit: C3
#[test]
#[cfg(debug_assertions)]
fn a_wait_for_what_is_not_submitted_is_noticed_by_whoever_submits_it() {
    let device = super::world::mock(MockConfig::default());
    let [stream] = super::world::streams(&device);
    let known = Known::fill(&stream, 1).unwrap();
    let wait = || device.engine.device_waits(&[Point { stream: stream.id(), value: 1 }].into_iter().collect());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait)).unwrap_err();
    assert!(panic.downcast_ref::<String>().is_some_and(|text| text.starts_with("I1")), "another panic");
    // It is right once the list is submitted, and no wait any more once it has settled.
    assert!(known.is_right().unwrap());
    assert!(wait().is_empty());
}

/// Without them a queue gets more lists than it takes: on some devices it then hangs, here it refuses.
// audit: C28, C31
#[test]
fn falsify_credits() {
    let sabotage = |device: &Device| device.engine.sabotage.unlimited_credit();
    let notices = |doubles: &Doubles, _: &Tally| !doubles.faulty.refused().is_empty();
    let device = |seed| -> Arc<dyn thalweg_hal::Device> {
        MockDevice::new(MockConfig { seed, lists_in_flight: 2, ..MockConfig::default() })
    };
    assert_noticed_alone(seeded(), device, sabotage, notices);
}

/// Without them what was computed from failed data looks right to its readers.
// audit: C24, C28
#[test]
fn falsify_the_edges_that_carry_errors() {
    let plan = Plan { submissions: Strike::Share(0.01), ..seeded() };
    let sabotage = |device: &Device| device.engine.sabotage.drop_edges();
    assert_noticed_alone(plan, |seed| mock(seed), sabotage, |_, tally| tally.wrong > 0);
}

/// Without a signal nobody learns that a list has run; with it everybody does.
// audit: C17, C28
#[test]
fn falsify_signals() {
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let doubles = Doubles::new(mock(fresh_seed()), plan, config(4));
    let stream = Stream::new(&doubles.device).unwrap();
    let known = Known::fill(&stream, 1).unwrap();
    let event = stream.record_event();
    assert!(matches!(event.synchronize(Some(Duration::from_millis(50))), Err(Error::Timeout)));
    assert!(!event.query());
    doubles.faulty.release();
    assert!(known.is_right().unwrap() && event.query());
}

/// A slow call of the device keeps no thread waiting that does not need its result.
// audit: F2, C6, C12
#[test]
fn a_slow_submit_holds_up_its_own_stream_alone() {
    pause_between_seal_and_commit(mock(fresh_seed()));
}

/// The same where all streams share one queue of the driver's, on the software driver: a submitted wait for the list
/// that is held would stop the queue for good.
// audit: F2, C12
#[test]
fn a_slow_submit_holds_up_its_own_stream_alone_on_vulkan() {
    if let Some(device) = thalweg_vulkan::testing::device() {
        pause_between_seal_and_commit(device);
    }
}

fn pause_between_seal_and_commit(device: Arc<dyn thalweg_hal::Device>) {
    let delays = Delays { submissions: Strike::Nth(1), ..Delays::default() };
    let doubles = Doubles::new(device, Plan { delays, ..Plan::default() }, config(4));
    let [slow, other, dependent] = std::array::from_fn(|_| Stream::new(&doubles.device).unwrap());
    let held = Known::fill(&slow, 1).unwrap();
    let event = slow.record_event();
    std::thread::scope(|scope| {
        let flushing = scope.spawn(|| slow.flush().unwrap());
        while doubles.faulty.delayed() == 0 {
            std::thread::yield_now();
        }
        // The list is sealed, and the device does not have it.
        assert!(Known::fill(&other, 2).unwrap().is_right().unwrap());
        // Recording goes on while a list is being submitted; waiting for it has its deadline.
        let more = Known::fill(&slow, 3).unwrap();
        assert!(!event.query() && !slow.query());
        assert!(matches!(event.synchronize(Some(Duration::from_millis(50))), Err(Error::Timeout)));
        let refusing = other.or_busy();
        assert!(matches!(refusing.wait(&event), Err(Error::Busy)));
        assert!(matches!(held.copy(&refusing), Err(Error::Busy)));
        // A reader of what the list writes waits before submitting, and holds up nobody else.
        let reading = scope.spawn(|| held.copy(&dependent).unwrap().is_right().unwrap());
        for round in 0..20 {
            assert!(Known::fill(&other, round).unwrap().is_right().unwrap());
        }
        assert!(!reading.is_finished());
        doubles.faulty.release();
        flushing.join().unwrap();
        assert!(reading.join().unwrap());
        assert!(held.copy(&other).unwrap().is_right().unwrap() && more.is_right().unwrap());
    });
}
