//! What only the simulator can bring about: a device that stops lists, memory that is not there, other systems. Each
//! case is a process of its own, this program again, since the simulator's settings are a process's.

use libtest_mimic::{Failed, Trial};
use metal_sim::faults;
use objc2::rc::autoreleasepool;
use objc2_metal::MTLCaptureManager;
use std::process::Command;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_doubles::suite::{self, Builder, Gpu, LONG, Line, advance, kernel, wait, words, zeroed};
use thalweg_hal::{
    Access, Device, DeviceKind, Error, KernelSource, List, Listener, Memory, MemoryKind, Reported, Result,
    TimelinePoint,
};
use thalweg_metal::{MetalDevice, Options, adapters, testing};

/// Names the case to the process that is to run it.
const CASE: &str = "THALWEG_METAL_CASE";

struct Case {
    name: &'static str,
    /// What the simulator is told.
    environment: &'static [(&'static str, &'static str)],
    run: fn(),
}

const fn case(name: &'static str, run: fn()) -> Case {
    Case { name, environment: &[], run }
}

const CASES: &[Case] = &[
    case("a_list_that_the_device_stops_fails_alone", a_list_that_the_device_stops_fails_alone),
    case(
        "a_list_that_is_refused_ends_no_wait_for_those_before_it",
        a_list_that_is_refused_ends_no_wait_for_those_before_it,
    ),
    case("a_device_that_takes_nothing_any_more_is_lost", a_device_that_takes_nothing_any_more_is_lost),
    case("memory_that_is_not_there_is_an_error", memory_that_is_not_there_is_an_error),
    case("busy_queues_take_few_heaps", busy_queues_take_few_heaps),
    case("a_text_that_metal_refuses_is_an_error", a_text_that_metal_refuses_is_an_error),
    // audit: C31
    case("command_queues_are_shared_and_given_back", command_queues_are_shared_and_given_back),
    case("nothing_is_left_behind", nothing_is_left_behind),
    case("a_copy_may_end_where_its_memory_does", a_copy_may_end_where_its_memory_does),
    case("workgroup_memory_counts_as_metal_takes_it", workgroup_memory_counts_as_metal_takes_it),
    case("a_queue_that_is_gone_leaves_its_place", a_queue_that_is_gone_leaves_its_place),
    case("a_stopped_list_lets_no_later_one_overtake", a_stopped_list_lets_no_later_one_overtake),
    case("the_first_lists_are_captured", the_first_lists_are_captured),
    Case {
        name: "before_macos_15_encoders_name_what_they_use",
        environment: &[("METAL_SIM_MACOS", "14")],
        run: before_macos_15_encoders_name_what_they_use,
    },
    Case {
        name: "a_device_with_memory_of_its_own_is_refused",
        environment: &[("METAL_SIM_UNIFIED", "0")],
        run: a_device_with_memory_of_its_own_is_refused,
    },
];

/// Runs the case, if this process is to run one.
pub fn is_case() -> bool {
    let Ok(name) = std::env::var(CASE) else { return false };
    let case = CASES.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("unknown case {name}"));
    (case.run)();
    true
}

pub fn trials() -> impl Iterator<Item = Trial> {
    CASES.iter().map(|case| {
        Trial::test(case.name, || {
            let mut child = Command::new(std::env::current_exe()?);
            child.env(CASE, case.name).env("METAL_SIM_POOLS", "1").envs(case.environment.iter().copied());
            let ended = child.output()?;
            if ended.status.success() {
                return Ok(());
            }
            Err(Failed::from(format!("{}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr))))
        })
    })
}

fn device() -> Arc<dyn Device> {
    testing::device().unwrap()
}

fn filled(memory: &Arc<dyn Memory>, pattern: u32) -> Builder {
    Builder::default().barrier().fill((memory, 0, 256), pattern)
}

/// Which commands failed, and the text of the last one's error.
fn failed(line: &Line) -> (Vec<(u64, u32)>, String) {
    let mut text = String::new();
    let reports = line.timeline.take_reports();
    let commands = reports.iter().map(|report| {
        let Reported::Failed(error) = &report.what else { panic!("{report:?}") };
        text = error.to_string();
        (report.value, report.command)
    });
    (commands.collect(), text)
}

/// Its commands fail, those of others do not; what waits for it, on the host or on the device, goes on.
fn a_list_that_the_device_stops_fails_alone() {
    let device = device();
    let (memory, other) = (zeroed(&*device, 256), zeroed(&*device, 256));
    let (mut line, mut dependent) = (Line::new(&*device), Line::new(&*device));
    line.run(&filled(&memory, 1).build());
    for (round, code) in [faults::TIMEOUT, faults::PAGE_FAULT, faults::OUT_OF_MEMORY].into_iter().enumerate() {
        faults::kill_command_buffers(code, 1);
        let stopped = line.submit(&filled(&memory, 2).fill((&memory, 0, 256), 3).build(), &[]);
        let after = dependent.submit(&filled(&other, 4 + round as u32).build(), slice::from_ref(&stopped));
        // Nothing that comes later raises what it waits for.
        [&stopped, &after].into_iter().for_each(wait);
        line.run(&filled(&memory, 7).build());
        let (commands, text) = failed(&line);
        assert_eq!(commands, [(stopped.value, 1), (stopped.value, 3)]);
        assert!(text.contains("running a list") && text.contains(&format!("(code {code})")), "{text}");
        assert_eq!(failed(&dependent).0, []);
        assert_eq!(words(&*device, &other, 0, 64), [4 + round as u32; 64]);
        assert_eq!(words(&*device, &memory, 0, 64), [7; 64]);
    }
}

/// The handler of a list that never began comes while those before it run. Nobody goes on for that who waits for them.
fn a_list_that_is_refused_ends_no_wait_for_those_before_it() {
    let device = device();
    let (gate, memory) = (Gate::new(&*device), zeroed(&*device, 256));
    let [mut line, mut dependent, mut other] = [(); 3].map(|()| Line::new(&*device));
    let before = line.submit(&gate.list, &[]);
    let in_flight = || metal_sim::live().iter().find(|(class, _)| class == "SimCommandBuffer").map_or(0, |it| it.1);
    faults::reject_command_buffers(1);
    let refused = line.submit(&filled(&memory, 1).build(), &[]);
    while in_flight() > 1 {
        std::thread::yield_now(); // until its handler has returned
    }
    let waits = dependent.submit(&filled(&memory, 2).build(), slice::from_ref(&before));
    (0..20).for_each(|_| other.run(&filled(&memory, 3).build()));
    assert_eq!((line.timeline.completed(), dependent.timeline.completed()), (0, 0));
    gate.open(&*device);
    [&before, &refused, &waits].into_iter().for_each(wait);
    assert_eq!(failed(&line).0, [(refused.value, 1)]);
    assert_eq!(words(&*device, &memory, 0, 64), [2; 64]);
}

fn a_device_that_takes_nothing_any_more_is_lost() {
    let device = device();
    let memory = zeroed(&*device, 256);
    let lost = |result: Result<()>| matches!(result, Err(Error::DeviceLost { .. }));
    let idle = Line::new(&*device);
    let bell = device.create_doorbell().unwrap();
    std::thread::scope(|scope| {
        // Two threads wait for what would never come.
        let waits = [
            scope.spawn(|| idle.timeline.wait(1, None).map(drop)),
            scope.spawn(|| device.wait_any(&[], Some(&Listener::new(&bell)), None)),
        ];
        faults::ignore_submissions();
        let mut line = Line::new(&*device);
        let list = filled(&memory, 1).build();
        let signal = line.submit(&list, &[]);
        // It ends, one way or the other: its value may be seen.
        let _ = signal.timeline.wait(signal.value, Some(LONG));
        let point = TimelinePoint { timeline: Arc::clone(&idle.timeline), value: 1 };
        for wait in waits {
            assert!(lost(wait.join().unwrap()));
        }
        assert!(lost(line.try_submit(&list, &[])));
        assert!(lost(device.wait_any(&[point], None, Some(Duration::from_millis(1)))));
        assert!(lost(device.create_queue().map(drop)) && lost(device.create_doorbell().map(drop)));
        assert!(lost(device.allocate(MemoryKind::Device, 256).map(drop)));
        assert!(lost(device.create_pipeline(&advance()).map(drop)));
        // What failed says so, once the handler has come to it.
        while line.timeline.completed() < 1 {
            std::thread::yield_now();
        }
        assert_eq!(failed(&line).0, [(1, 1)]);
    });
}

fn memory_that_is_not_there_is_an_error() {
    let device = device();
    let memory = zeroed(&*device, 256);
    faults::fail_allocations(1);
    let refused = device.allocate(MemoryKind::Device, 1 << 20).unwrap_err();
    assert!(matches!(refused, Error::OutOfMemory { bytes: 0x10_0000, .. }), "{refused}");
    assert!(device.allocate(MemoryKind::Device, 1 << 20).is_ok());
    // More room for what a list brings along, which is more than there is: the list is refused, and the queue is as
    // it was.
    let mut line = Line::new(&*device);
    let many =
        |count: u32| (0..count).fold(Builder::default().barrier(), |list, at| list.fill((&memory, 0, 256), at)).build();
    let (few, long) = (many(10), many(20_000));
    let before = line.submit(&few, &[]);
    faults::fail_allocations(1);
    assert!(matches!(line.try_submit(&long, &[]), Err(Error::OutOfMemory { .. })));
    let after = line.submit(&long, &[]);
    [&before, &after].into_iter().for_each(wait);
    assert_eq!(words(&*device, &memory, 0, 64), [19_999; 64]);
}

/// 32 queues and 100 prepared lists: what the system was asked for is what the device says, and little.
fn busy_queues_take_few_heaps() {
    let heaps = || metal_sim::live().iter().find(|(class, _)| class == "SimHeap").map_or(0, |it| it.1 as u64);
    let device = device();
    let overhead = Arc::clone(device.overhead());
    assert_eq!((heaps(), overhead.allocations()), (1, 1));
    let memories: Vec<_> = (0..32).map(|_| zeroed(&*device, 256)).collect();
    let fill = |memory: &Arc<dyn Memory>, at| Builder::default().barrier().fill((memory, 0, 256), at).build();
    let prepared: Vec<_> = (0..100).map(|at| fill(&memories[at % 32], at as u32)).collect();
    for list in &prepared {
        // SAFETY: the list keeps the rules.
        unsafe { device.prepare(list).unwrap() };
    }
    let mut lines: Vec<_> = (0..32).map(|_| Line::new(&*device)).collect();
    for round in 0..20 {
        let mut last = Vec::new();
        for (at, line) in lines.iter_mut().enumerate() {
            for list in 0..8 {
                let (memory, number) = (&memories[at], 8 * round + list);
                let inner = &prepared[(at + 32 * list as usize) % 96];
                line.submit(&Builder::default().barrier().run(inner).build(), &[]);
                last.push(line.submit(&fill(memory, number), &[]));
            }
        }
        last.iter().for_each(wait);
    }
    for memory in &memories {
        assert_eq!(words(&*device, memory, 0, 64), [159; 64]);
    }
    assert!(overhead.allocations() <= 4, "{overhead:?}");
    assert_eq!(heaps(), 32 + overhead.allocations());
}

fn a_text_that_metal_refuses_is_an_error() {
    let device = device();
    faults::fail_compilations(1);
    let error = device.create_pipeline(&advance()).unwrap_err();
    assert!(matches!(&error, Error::Compile { kernel, .. } if kernel == "advance"), "{error}");
    assert!(device.create_pipeline(&advance()).is_ok());
}

/// All that may share a command queue have as many lists in flight as each was promised, none of which ends, and none
/// of them has to wait for room.
fn command_queues_are_shared_and_given_back() {
    let device = device();
    let memory = device.allocate(MemoryKind::Device, 256).unwrap();
    let gate = Gate::new(&*device);
    let mut holder = Line::new(&*device);
    let held = holder.submit(&gate.list, &[]);
    let mut lines: Vec<Line> = (1..32 * 64).map(|_| Line::new(&*device)).collect();
    let refused = device.create_queue().unwrap_err().to_string();
    assert!(refused.contains("all 2048 queues are in use"), "{refused}");
    // With the holder's there are 32 command queues; those that share the second one's.
    let sharers = (0..64).map(|at| 32 * at);
    let list = filled(&memory, 1).build();
    for line in sharers.clone() {
        for _ in 0..64 {
            lines[line].submit(&list, slice::from_ref(&held));
        }
    }
    assert_eq!(holder.timeline.completed(), 0, "somebody has waited for the gate");
    gate.open(&*device);
    sharers.for_each(|line| wait(&TimelinePoint { timeline: Arc::clone(&lines[line].timeline), value: 64 }));
    drop((lines, holder));
    // The last handlers may be about to return.
    let end = Instant::now() + LONG;
    while device.create_queue().is_err() {
        assert!(Instant::now() < end, "no queue was given back");
        std::thread::yield_now();
    }
}

/// A list that runs until the host says otherwise.
struct Gate {
    list: Arc<List>,
    flag: Arc<dyn Memory>,
}

impl Gate {
    fn new(device: &dyn Device) -> Self {
        let text = "@group(0) @binding(0) var<storage, read_write> flag: array<atomic<u32>>;
            @compute @workgroup_size(1) fn main() { loop { if atomicLoad(&flag[0]) != 0u { break; } } }";
        let pipeline = device.create_pipeline(&kernel("gate", &[Access::ReadWrite], 0, text)).unwrap();
        let flag = zeroed(device, 256);
        let list = Builder::default().barrier().dispatch(&pipeline, &[], [1, 1, 1], &[(&flag, 0, 256)]).build();
        Self { list, flag }
    }

    fn open(&self, device: &dyn Device) {
        // SAFETY: no other than the gate's kernel uses the word. It reads it by itself, again and again, and does not
        // mind when it changes: so W1 is broken, and nothing comes of it.
        unsafe { device.write(&self.flag, 0, &1u32.to_ne_bytes()).unwrap() };
    }
}

/// Every object of Metal's that was made is gone again, once everything of ours is.
fn nothing_is_left_behind() {
    let work = || {
        let device = device();
        let pipeline = device.create_pipeline(&advance()).unwrap();
        let broken: KernelSource = kernel("broken", &[], 0, "fn main() { wrong }");
        assert!(device.create_pipeline(&broken).is_err());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let memory = zeroed(&*device, 4096);
                    let mut line = Line::new(&*device);
                    for salt in 0..20u32 {
                        let list = Builder::default().barrier().dispatch(
                            &pipeline,
                            &salt.to_ne_bytes(),
                            [64, 1, 1],
                            &[(&memory, 0, 4096)],
                        );
                        line.submit(&list.build(), &[]);
                    }
                    // Dropped with lists in flight.
                });
            }
        });
    };
    // What the process has for good is there after the first time.
    work();
    let settled = || {
        // A handler returns a moment after the host has seen its value.
        let end = Instant::now() + LONG;
        let mut last = metal_sim::live();
        while last.iter().any(|(class, _)| class == "SimCommandBuffer") && Instant::now() < end {
            std::thread::yield_now();
            last = metal_sim::live();
        }
        last
    };
    let before = settled();
    (0..3).for_each(|_| work());
    assert_eq!(settled(), before);
    let kept = ["SimBuffer", "SimHeap", "SimCommandBuffer", "SimSharedEvent", "SimFence", "block"];
    assert!(before.iter().all(|(class, _)| !kept.contains(&class.as_str())), "{before:?}");
    assert_eq!(metal_sim::autoreleased_without_pool(), 0);
}

fn is_capturing() -> bool {
    // SAFETY: the one that the process has.
    autoreleasepool(|_| unsafe { MTLCaptureManager::sharedCaptureManager() }.isCapturing())
}

fn the_first_lists_are_captured() {
    let path = std::env::temp_dir().join("thalweg.gputrace");
    let mut options = Options::default();
    (options.capture, options.signposts) = (Some(path), true);
    let adapter = &adapters()[0];
    let device = MetalDevice::open_with(adapter, &options).unwrap();
    assert!(is_capturing());
    let (memory, mut line) = (device.allocate(MemoryKind::Device, 256).unwrap(), Line::new(&*device));
    for _ in 0..70 {
        line.run(&filled(&memory, 1).build());
    }
    assert!(!is_capturing());
    // One that ends before as many lists ends its capture.
    drop(MetalDevice::open_with(adapter, &options).unwrap());
    assert!(!is_capturing());
}

fn before_macos_15_encoders_name_what_they_use() {
    let gpu = Gpu { device: device(), open: device };
    let details = &gpu.device.info().details;
    assert!(details.contains(&("residency set", "no".to_owned())), "{details:?}");
    for (_, test) in suite::tests() {
        test(&gpu);
    }
}

fn a_device_with_memory_of_its_own_is_refused() {
    let adapter = &adapters()[0];
    assert_eq!(adapter.kind(), DeviceKind::Gpu);
    let error = MetalDevice::open_with(adapter, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("opening the device") && error.contains("memory of its own"), "{error}");
}

/// Metal's validation counts the bytes from the offset on, and an argument has at least those of its type.
fn a_copy_may_end_where_its_memory_does() {
    let device = device();
    let [from, to] = [260, 4].map(|bytes| device.allocate(MemoryKind::Device, bytes).unwrap());
    let mut line = Line::new(&*device);
    line.run(&Builder::default().barrier().fill((&from, 256, 4), 7).copy((&from, 256, 4), (&to, 0, 4)).build());
    assert_eq!(words(&*device, &to, 0, 1), [7]);
}

/// 32,768 bytes as they are declared, and 16 more once each variable is rounded up.
fn workgroup_memory_counts_as_metal_takes_it() {
    let device = device();
    let text = "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
        var<workgroup> a: array<u32, 8191>;
        var<workgroup> b: u32;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) i: u32) {
            a[i] = i;
            if i == 0u { b = 3u; }
            workgroupBarrier();
            x[i] = a[63u - i] + b;
        }";
    let wide = |text: String| device.create_pipeline(&kernel("wide", &[Access::ReadWrite], 0, text));
    let refused = wide(text.to_owned()).unwrap_err().to_string();
    assert!(
        refused.contains("32784 bytes of workgroup memory") && refused.contains("the device has 32768"),
        "{refused}"
    );
    let pipeline = wide(text.replace("8191", "8188")).unwrap();
    let (memory, mut line) = (zeroed(&*device, 256), Line::new(&*device));
    line.run(&Builder::default().barrier().dispatch(&pipeline, &[], [64, 1, 1], &[(&memory, 0, 256)]).build());
    assert_eq!(words(&*device, &memory, 0, 1), [66]);
}

/// Also if somebody keeps its timeline, to wait for what it wrote.
fn a_queue_that_is_gone_leaves_its_place() {
    let device = device();
    let timelines = (0..32 * 64 + 1).map(|_| device.create_queue().map(|queue| Arc::clone(queue.timeline())));
    let timelines: Result<Vec<_>> = timelines.collect();
    assert!(timelines.is_ok(), "{}", timelines.unwrap_err());
}

/// The third is ordered after the first, whatever became of the second, which has nothing to do with either; or it has
/// failed.
fn a_stopped_list_lets_no_later_one_overtake() {
    let device = device();
    let pipeline = device.create_pipeline(&advance()).unwrap();
    let [memory, other, to] = [(); 3].map(|()| zeroed(&*device, 256));
    let mut line = Line::new(&*device);
    let first = (0..400).fold(Builder::default().barrier(), |list, _| {
        list.dispatch(&pipeline, &1u32.to_ne_bytes(), [64, 1, 1], &[(&memory, 0, 256)])
    });
    let (first, copy) = (first.build(), Builder::default().barrier().copy((&memory, 0, 256), (&to, 0, 256)).build());
    let mut expected = 0;
    for round in 0..100 {
        line.submit(&first, &[]);
        // The one was running, so everything before it had ended; the other may never have begun.
        faults::kill_command_buffers(if round % 2 == 0 { faults::TIMEOUT } else { faults::OUT_OF_MEMORY }, 1);
        let stopped = line.submit(&filled(&other, 2).build(), &[]);
        line.run(&copy);
        expected = (0..400).fold(expected, |x, _| suite::advanced(x, 1));
        let (failed, text) = failed(&line);
        if failed == [(stopped.value, 1)] {
            assert_eq!(words(&*device, &to, 0, 64), [expected; 64], "round {round}");
        } else {
            assert_eq!(failed, [(stopped.value, 1), (stopped.value + 1, 1)], "round {round}");
            assert!(round % 2 == 1 && text.contains("may have overtaken"), "round {round}: {text}");
        }
    }
}
