//! The mock must be weak where the contract is, and no weaker.

use super::*;
use crate::rig::fresh;
use std::borrow::Cow;
use std::collections::BTreeSet;
use thalweg_hal::{Access, Binding, Command, HostCall, IndexRange, KernelFailure, List, Report, Reported};

const BYTES: u64 = 256;

/// out[i] = 2 * out[i] + in[i], so that the order of two of them shows.
static TWICE_PLUS: KernelSource = KernelSource {
    name: Cow::Borrowed("twice_plus"),
    bindings: Cow::Borrowed(&[Access::Read, Access::ReadWrite]),
    params_bytes: 0,
    wgsl: None,
    host: Some(twice_plus),
};

fn twice_plus(call: &mut HostCall<'_>) -> Result<(), KernelFailure> {
    let from = call.inputs.get::<u32>(0)?[0];
    call.outputs.get::<u32>(0)?.iter_mut().for_each(|to| *to = to.wrapping_mul(2).wrapping_add(from));
    Ok(())
}

static FAILS: KernelSource = KernelSource {
    name: Cow::Borrowed("fails"),
    bindings: Cow::Borrowed(&[Access::Write]),
    params_bytes: 0,
    wgsl: None,
    host: Some(|_| panic!("on purpose")),
};

/// In place of an operation.
const TIMESTAMP: Option<u32> = Some(u32::MAX);

/// A device with two inputs holding 1 and 2, and an accumulator.
struct Bench {
    device: Arc<MockDevice>,
    memories: Vec<Arc<dyn Memory>>,
}

impl Bench {
    fn new(seed: u64, queues: usize) -> Self {
        Self::on(MockDevice::new(MockConfig { seed, queues, ..MockConfig::default() }))
    }

    fn on(device: Arc<MockDevice>) -> Self {
        let memories: Vec<_> = (0..3).map(|_| device.allocate(MemoryKind::Device, BYTES).unwrap()).collect();
        for (memory, value) in memories.iter().zip([1u32, 2, 0]) {
            // SAFETY: nothing is submitted.
            unsafe { device.write(memory, 0, &value.to_ne_bytes()).unwrap() };
        }
        Self { device, memories }
    }

    /// A list of operations, each named by its input; `None` is a barrier, and there is [`TIMESTAMP`].
    fn list(&self, operations: &[Option<u32>]) -> Arc<List> {
        let mut list = List { memories: self.memories.clone(), ..List::default() };
        list.pipelines.push(self.device.create_pipeline(&TWICE_PLUS).unwrap());
        for operation in operations {
            let Some(input) = *operation else {
                list.commands.push(Command::Barrier);
                continue;
            };
            if *operation == TIMESTAMP {
                list.commands.push(Command::Timestamp);
                continue;
            }
            let bindings = IndexRange { start: list.bindings.len() as u32, len: 2 };
            list.bindings.push(Binding { memory: input, access: Access::Read, offset: 0, bytes: 4 });
            list.bindings.push(Binding { memory: 2, access: Access::ReadWrite, offset: 0, bytes: 4 });
            let params = IndexRange { start: 0, len: 0 };
            list.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [1; 3] });
        }
        Arc::new(list)
    }

    fn result(&self) -> u32 {
        let mut bytes = [0; 4];
        // SAFETY: only called when everything submitted has completed.
        unsafe { self.device.read(&self.memories[2], 0, &mut bytes).unwrap() };
        u32::from_ne_bytes(bytes)
    }
}

/// Submits, and says what is reached when the list has run.
fn submit(queue: &mut Box<dyn Queue>, list: &Arc<List>, waits: &[TimelinePoint], value: u64) -> Result<TimelinePoint> {
    // SAFETY: the mock runs everything under one lock.
    unsafe { queue.submit(Submission { list, waits, value })? };
    Ok(TimelinePoint { timeline: Arc::clone(queue.timeline()), value })
}

fn wait(point: &TimelinePoint) {
    assert!(point.timeline.wait(point.value, None).unwrap());
}

/// The results over many seeds of the operations, given as lists, on one queue.
fn outcomes(lists: &[&[Option<u32>]]) -> BTreeSet<u32> {
    let run = |seed| {
        let bench = Bench::new(seed, 1);
        let mut queue = bench.device.create_queue().unwrap();
        for (value, operations) in (1..).zip(lists) {
            submit(&mut queue, &bench.list(operations), &[], value).unwrap();
        }
        assert!(queue.timeline().wait(lists.len() as u64, None).unwrap());
        bench.result()
    };
    (0..64).map(run).collect()
}

/// The caller has checked every command; a debug build looks again.
#[cfg(debug_assertions)]
#[test]
#[should_panic = "a promise of `Queue::submit`"]
fn a_list_that_breaks_a_rule_does_not_get_past_a_debug_build() {
    let bench = Bench::new(0, 1);
    let mut list = List { memories: bench.memories.clone(), ..List::default() };
    list.bindings.push(Binding { memory: 0, access: Access::Write, offset: 0, bytes: BYTES + 4 });
    list.commands.push(Command::Fill { bindings: IndexRange { start: 0, len: 1 }, pattern: 0 });
    let mut queue = bench.device.create_queue().unwrap();
    // SAFETY: the promise is broken on purpose: the assertion ends the call before anything relies on it.
    let _ = unsafe { queue.submit(Submission { list: &Arc::new(list), waits: &[], value: 1 }) };
}

#[test]
fn commands_between_barriers_run_in_any_order() {
    // 0 -> 1 -> 4, or 0 -> 2 -> 5.
    assert_eq!(outcomes(&[&[Some(0), Some(1)]]), [4, 5].into());
}

#[test]
fn a_barrier_orders_them() {
    assert_eq!(outcomes(&[&[Some(0), None, Some(1)]]), [4].into());
}

#[test]
fn lists_of_one_queue_overlap_unless_the_second_starts_with_a_barrier() {
    assert_eq!(outcomes(&[&[Some(0)], &[Some(1)]]), [4, 5].into());
    assert_eq!(outcomes(&[&[Some(0)], &[None, Some(1)]]), [4].into());
}

#[test]
fn queues_overlap_unless_one_waits() {
    let run = |seed, waits: bool| {
        let bench = Bench::new(seed, 2);
        let mut queues = [bench.device.create_queue().unwrap(), bench.device.create_queue().unwrap()];
        let first = [submit(&mut queues[0], &bench.list(&[Some(0)]), &[], 1).unwrap()];
        let waits: &[_] = if waits { &first } else { &[] };
        wait(&submit(&mut queues[1], &bench.list(&[Some(1)]), waits, 1).unwrap());
        wait(&first[0]);
        bench.result()
    };
    assert_eq!((0..64).map(|seed| run(seed, false)).collect::<BTreeSet<_>>(), [4, 5].into());
    assert_eq!((0..64).map(|seed| run(seed, true)).collect::<BTreeSet<_>>(), [4].into());
}

#[cfg(debug_assertions)]
#[test]
#[should_panic = "a promise of `Device::prepare`"]
fn a_list_that_cannot_be_run_by_another_is_not_prepared_in_a_debug_build() {
    let bench = Bench::new(1, 1);
    // SAFETY: it keeps the rules.
    unsafe { bench.device.prepare(&bench.list(&[Some(0), None, Some(1)])) }.unwrap();
    // SAFETY: as above, in `a_list_that_breaks_a_rule_does_not_get_past_a_debug_build`.
    let _ = unsafe { bench.device.prepare(&bench.list(&[Some(0), TIMESTAMP])) };
}

#[test]
fn a_panicking_kernel_fails_its_command_and_no_other() {
    let bench = Bench::new(3, 1);
    let mut queue = bench.device.create_queue().unwrap();
    let mut failing = List { memories: bench.memories.clone(), ..List::default() };
    failing.pipelines.push(bench.device.create_pipeline(&FAILS).unwrap());
    failing.bindings.push(Binding { memory: 0, access: Access::Write, offset: 0, bytes: 4 });
    let (bindings, params) = (IndexRange { start: 0, len: 1 }, IndexRange { start: 0, len: 0 });
    failing.commands.push(Command::Dispatch { pipeline: 0, bindings, params, extent: [1; 3] });
    failing.commands.push(Command::Barrier);
    failing.bindings.push(Binding { memory: 0, access: Access::Write, offset: 0, bytes: 4 });
    let bindings = IndexRange { start: 1, len: 1 };
    failing.commands.push(Command::Fill { bindings, pattern: 8 });
    for (value, list) in [(1, Arc::new(failing)), (2, bench.list(&[None, Some(0)]))] {
        submit(&mut queue, &list, &[], value).unwrap();
    }
    assert!(queue.timeline().wait(2, None).unwrap());
    let failures = queue.timeline().take_reports();
    assert!(
        matches!(&failures[..], [Report { value: 1, command: 0, what: Reported::Failed(Error::Kernel { kernel, failure }) }]
        if kernel == "fails" && failure.message.contains("on purpose"))
    );
    assert_eq!(bench.result(), 8, "what the command after it wrote");
}

#[test]
fn nothing_completes_until_somebody_asks_and_asking_ends() {
    let bench = Bench::new(9, 1);
    let mut queue = bench.device.create_queue().unwrap();
    let list = bench.list(&[Some(0), None, Some(1), None, Some(1)]);
    let done = submit(&mut queue, &list, &[], 1).unwrap();
    assert_eq!(peek(&*done.timeline), 0);
    while !done.is_reached() {}
    assert_eq!(bench.result(), 10);
}

#[test]
fn memory_is_bounded_in_bytes_and_count_and_given_back() {
    let device = MockDevice::new(MockConfig { memory_bytes: 1000, max_allocations: 2, ..MockConfig::default() });
    let first = device.allocate(MemoryKind::Device, 600).unwrap();
    assert!(matches!(device.allocate(MemoryKind::Device, 401), Err(Error::OutOfMemory { bytes: 401, .. })));
    let _second = device.allocate(MemoryKind::Device, 100).unwrap();
    assert!(device.allocate(MemoryKind::Device, 1).is_err(), "a third allocation");
    drop(first);
    device.allocate(MemoryKind::Device, 900).unwrap();
}

#[test]
fn memory_that_the_host_does_not_see_says_so() {
    let device = MockDevice::new(MockConfig::discrete(0));
    let [memory, host] = [MemoryKind::Device, MemoryKind::Host].map(|kind| device.allocate(kind, BYTES).unwrap());
    // SAFETY: nothing is submitted, here and below.
    let read = unsafe { device.read(&memory, 0, &mut [0; 4]) };
    // SAFETY: as above.
    let written = unsafe { device.write(&memory, 0, &[0; 4]) };
    for (result, said) in [(read, "reads"), (written, "writes")] {
        let error = result.unwrap_err();
        let Error::Invalid(Violation::NotVisible { access, memory: id }) = error else { panic!("{error:?}") };
        assert_eq!((access, id), (said, memory.id()));
    }
    let mut bytes = [0; 4];
    // SAFETY: as above.
    unsafe { device.read(&host, 0, &mut bytes).unwrap() };
    assert_eq!(bytes, [POISON; 4]);
    // SAFETY: as above.
    unsafe { device.write(&host, 0, &[1, 2, 3, 4]).unwrap() };
    // SAFETY: as above.
    unsafe { device.read(&host, 0, &mut bytes).unwrap() };
    assert_eq!(bytes, [1, 2, 3, 4]);
}

#[test]
fn a_list_of_nothing_but_a_barrier_is_signalled() {
    let bench = Bench::new(5, 1);
    let mut queue = bench.device.create_queue().unwrap();
    let done = submit(&mut queue, &bench.list(&[None]), &[], 1).unwrap();
    bench.device.wait_any(&[done], None, None).unwrap();
}

// audit: C20
#[test]
fn a_list_may_be_the_last_owner_of_its_memory() {
    // With some seeds the list has run before the others let go.
    for seed in 0..32 {
        let bench = Bench::new(seed, 1);
        let mut queue = bench.device.create_queue().unwrap();
        let list = bench.list(&[Some(0)]);
        let done = submit(&mut queue, &list, &[], 1).unwrap();
        drop((list, bench));
        wait(&done);
    }
}

/// Value, command and nanoseconds of the timestamps that a timeline reports.
fn times(timeline: &Arc<dyn Timeline>) -> Vec<(u64, u32, u128)> {
    let time = |Report { value, command, what }| match what {
        Reported::Time(time) => (value, command, time.as_nanos()),
        Reported::Failed(error) => panic!("{error}"),
    };
    let mut times: Vec<_> = timeline.take_reports().into_iter().map(time).collect();
    times.sort_unstable();
    times
}

#[test]
fn barriers_and_nothing_else_bound_a_timestamp() {
    let mut first = BTreeSet::new();
    for seed in 0..64 {
        let bench = Bench::new(seed, 1);
        let mut queue = bench.device.create_queue().unwrap();
        let lists: [&[_]; 2] = [&[TIMESTAMP, Some(0), None, TIMESTAMP, None, Some(1)], &[None, TIMESTAMP]];
        for (value, operations) in (1..).zip(lists) {
            submit(&mut queue, &bench.list(operations), &[], value).unwrap();
        }
        let timeline = Arc::clone(queue.timeline());
        assert!(timeline.wait(2, None).unwrap());
        let times = times(&timeline);
        // The clock counts steps: 1 and 2 are the first timestamp and the first operation, whichever it is, 4 is the
        // second operation. The first list may be signalled before the last timestamp.
        assert!(matches!(times[..], [(1, 0, 1 | 2), (1, 3, 3), (2, 1, 5 | 6)]), "seed {seed}: {times:?}");
        first.insert(times[0].2);
        assert!(timeline.take_reports().is_empty(), "returned twice");
    }
    assert_eq!(first, [1, 2].into());
}

#[test]
fn a_device_takes_the_time_where_it_says() {
    let seed = fresh().u64(..);
    let reported = |timestamps, operations: &[_]| {
        let bench = Bench::on(MockDevice::new(MockConfig { seed, timestamps, ..MockConfig::default() }));
        let mut queue = bench.device.create_queue().unwrap();
        wait(&submit(&mut queue, &bench.list(operations), &[], 1).unwrap());
        times(queue.timeline()).into_iter().map(|(_, command, _)| command).collect::<Vec<_>>()
    };
    let (t, work, b) = (TIMESTAMP, Some(0), None);
    let operations = [b, t, b, t, work, t, b, t, work, b, t, b, t];
    assert_eq!(reported(Timestamps::None, &operations), []);
    assert_eq!(reported(Timestamps::ByList, &operations), [1, 3, 10, 12]);
    assert_eq!(reported(Timestamps::ByCommand, &operations), [1, 3, 5, 7, 10, 12]);
    assert_eq!(reported(Timestamps::ByList, &[b, t, b]), [1]);
}

#[test]
fn all_queues_have_one_clock() {
    for seed in 0..64 {
        let bench = Bench::new(seed, 2);
        let mut queues = [bench.device.create_queue().unwrap(), bench.device.create_queue().unwrap()];
        let mut waits = Vec::new();
        let mut last = 0;
        for round in 0..6 {
            let (queue, list) = (&mut queues[round % 2], bench.list(&[Some(0), TIMESTAMP]));
            let done = submit(queue, &list, &waits, 1 + round as u64 / 2).unwrap();
            wait(&done);
            let times = times(&done.timeline);
            assert!(matches!(times[..], [(value, 1, time)] if value == done.value && time > last), "{times:?}");
            last = times[0].2;
            waits = vec![done];
        }
    }
}

#[test]
fn a_queue_takes_so_many_lists_and_no_more() {
    const LIMIT: u64 = 3;
    let seed = fresh().u64(..);
    let config = MockConfig { seed, queues: 1, lists_in_flight: LIMIT, ..MockConfig::default() };
    let device = MockDevice::new(config);
    assert_eq!(device.info().limits.max_lists_in_flight, LIMIT);
    // They share a hardware queue, and each has the whole limit.
    let mut queues = [device.create_queue().unwrap(), device.create_queue().unwrap()];
    let timelines = [0, 1].map(|at: usize| Arc::clone(queues[at].timeline()));
    let list = Arc::new(List::default());
    let (mut submitted, mut refused) = ([0; 2], [0; 2]);
    for round in 0..1000 {
        let at = round % 2;
        let in_flight = submitted[at] - peek(&*timelines[at]);
        let result = submit(&mut queues[at], &list, &[], submitted[at] + 1);
        if in_flight < LIMIT {
            result.unwrap();
            submitted[at] += 1;
        } else {
            let expected = Violation::TooManyInFlight { limit: LIMIT };
            assert!(matches!(result, Err(Error::Invalid(violation)) if violation == expected));
            refused[at] += 1;
            timelines[at].completed(); // takes a step
        }
    }
    assert!(refused.iter().all(|refused| *refused > 10), "{refused:?}");
    for (timeline, submitted) in timelines.iter().zip(submitted) {
        assert!(timeline.wait(submitted, None).unwrap());
    }
}

#[test]
fn a_doorbell_ends_the_wait_of_whoever_listened_before() {
    let device = MockDevice::new(MockConfig::default());
    let [bell, other] = [device.create_doorbell().unwrap(), device.create_doorbell().unwrap()];
    for round in 0..200 {
        let listener = Listener::new(&bell);
        assert_eq!((listener.heard, listener.is_rung()), (round, false));
        other.ring();
        std::thread::scope(|scope| {
            scope.spawn(|| bell.ring());
            // Not before: a wait that is over too early would be made again and again.
            device.wait_any(&[], Some(&listener), None).unwrap();
            assert!(listener.is_rung());
        });
        // What was rung before it waits ends the wait as well.
        device.wait_any(&[], Some(&listener), None).unwrap();
    }
}
