//! Graphs: what is captured, what is refused, and that replays keep every order and every failure.

use super::streams::await_completion;
use super::world::{BYTES, Found, Known, KnownGraph, faulty, fresh_seed, mock};
use crate::{Config, Device, Error, Graph, MutableStorage, Operand, Result, Storage, Stream, Work};
use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thalweg_doubles::faulty::{Delays, Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::Access;
use thalweg_hal::check::CommandError;
use thalweg_hal::validate::Validated;

/// Random graphs with random inputs, from several threads on fewer streams, every output compared.
fn replays(device: &Device, seed: u64, rounds: usize) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut wrong = 0;
    for _ in 0..rounds {
        let graph = KnownGraph::capture(device, &mut random, true).unwrap();
        let shared =
            Arc::new([Known::upload(device, random.u32(..), 3).unwrap(), Known::upload(device, 6, 5).unwrap()]);
        let seeds: Vec<_> = (0..6).map(|_| random.u64(..)).collect();
        wrong += std::thread::scope(|scope| {
            let threads = seeds.iter().map(|seed| {
                let (graph, shared) = (&graph, &shared);
                scope.spawn(move || wrong_values(device, graph, &shared[..], *seed))
            });
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
    }
    wrong
}

/// Runs of one graph after each other, some of them on the outputs of earlier ones; how many values are not what they
/// must be.
fn wrong_values(device: &Device, graph: &KnownGraph, shared: &[Known], seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut made: Vec<Known> = Vec::new();
    for _ in 0..30 {
        let any = |random: &mut Rng| match random.usize(..shared.len() + made.len()) {
            at if at < shared.len() => &shared[at],
            at => &made[at - shared.len()],
        };
        let new = graph.replay(any(&mut random), any(&mut random)).unwrap();
        made.extend(new);
        if random.u8(..4) == 0 {
            Stream::current(device).unwrap().flush().unwrap();
        }
    }
    let none = Default::default();
    let is_wrong = |known: &&Known| match known.look() {
        Found::Right => !known.origin.failures(&none).is_empty(),
        Found::Failed(list) => !known.origin.failures(&none).contains(&list),
        Found::Wrong | Found::Undelivered(_) | Found::Error => true,
    };
    made.iter().filter(is_wrong).count()
}

#[test]
fn a_graph_whose_runs_are_over_makes_no_further_instance() {
    let device = mock(MockConfig::default());
    assert!(device.info().parallelism > 1, "there may be several instances");
    let graph = KnownGraph::capture(&device, &mut Rng::with_seed(fresh_seed()), true).unwrap();
    let known = [3, 6].map(|slope| Known::upload(&device, 1, slope).unwrap());
    let stream = Stream::current(&device).unwrap();
    let memory = graph.graph.memory();
    for _ in 0..20 {
        drop(graph.replay(&known[0], &known[1]).unwrap());
        stream.flush().unwrap();
        // Run, and not settled.
        await_completion(&stream);
    }
    assert_eq!(graph.graph.memory(), memory);
}

// audit: C4, C13
#[test]
fn stress_replays_from_threads_that_share_streams() {
    let seed = fresh_seed();
    println!("seed {seed}");
    let validated = Validated::new(MockDevice::new(MockConfig { seed, queues: 3, ..MockConfig::default() }));
    let config = Config::default().pool_streams(4).list_commands(24);
    let device = Device::new(Arc::<Validated>::clone(&validated), config).unwrap();
    assert_eq!(replays(&device, seed, 25), 0);
    assert_eq!(validated.report().violations, 0, "{:?}", validated.report());
    drop(device);
    let cpu = thalweg_cpu::CpuDevice::open().unwrap();
    assert_eq!(replays(&Device::new(cpu, config).unwrap(), seed, 40), 0);
}

// audit: C4, C13
#[test]
fn stress_replays_on_vulkan() {
    let Some(device) = thalweg_vulkan::testing::device() else { return };
    let seed = fresh_seed();
    println!("seed {seed}");
    assert_eq!(replays(&Device::new(device, Config::default().pool_streams(4)).unwrap(), seed, 15), 0);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

#[test]
fn stress_replays_on_metal() {
    let Some(device) = thalweg_metal::testing::device() else { return };
    let seed = fresh_seed();
    println!("seed {seed}");
    assert_eq!(replays(&Device::new(device, Config::default().pool_streams(4)).unwrap(), seed, 15), 0);
}

#[test]
fn stress_replays_on_a_discrete_device() {
    let Some(device) = thalweg_vulkan::testing::discrete() else { return };
    let seed = fresh_seed();
    println!("seed {seed}");
    assert_eq!(replays(&Device::new(device, Config::default().pool_streams(4)).unwrap(), seed, 5), 0);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

/// A protection taken out shows in the values, and to the validator.
fn assert_noticed(plan: impl Fn(u64) -> Plan, prepare: impl Fn(&Device)) {
    let config = Config::default().pool_streams(4);
    let open = |inner: Arc<dyn thalweg_hal::Device>, seed| {
        let device = Device::new(Faulty::new(inner, plan(seed)), config).unwrap();
        prepare(&device);
        device
    };
    let seeds: Vec<u64> = (0..10).map(|_| fresh_seed()).collect();
    let mock = |seed| MockDevice::new(MockConfig { seed, queues: 3, ..MockConfig::default() });
    assert!(seeds.iter().any(|&seed| replays(&open(mock(seed), seed), seed, 5) > 0), "seeds {seeds:?}: in the values");
    let seen = |&seed: &u64| {
        let validated = Validated::new(mock(seed));
        replays(&open(Arc::<Validated>::clone(&validated), seed), seed, 5);
        validated.report().violations > 0
    };
    assert!(seeds.iter().any(seen), "seeds {seeds:?}: by the validator");
}

// audit: C28
#[test]
fn falsify_barriers_inside_graphs() {
    assert_noticed(|seed| Plan { seed, barriers: Strike::Share(0.3), ..Plan::default() }, |_| {});
}

// audit: C13, C28
#[test]
fn falsify_the_order_of_runs_in_one_memory() {
    assert_noticed(|seed| Plan { seed, ..Plan::default() }, |device| device.engine.sabotage.forget_runs());
}

/// Other threads submit, allocate and compile while a closure is captured, and it neither runs nor allocates anything.
#[test]
fn a_capture_disturbs_nobody_and_nothing_of_it_runs() {
    let device = mock(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    let before = (device.memory(), device.counters().lists);
    let input = Known::upload(&device, 5, 7).unwrap();
    let live = device.memory().live;
    let graph = Graph::capture(&device, &[BYTES], |inputs| {
        let stream = Stream::current(&device)?;
        let mut made = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[Operand::read(&inputs[0], 0, BYTES), Operand::write(&mut made)])?;
        for _ in 0..1000 {
            stream.record(&Work::Fill(1), &[Operand::write(&mut stream.allocate(1 << 20)?)])?;
        }
        assert_eq!((device.counters().lists, device.memory().live), (before.1, live), "something ran or was allocated");
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let stream = Stream::current(&device)?;
                let known = Known::upload(&device, 1, 2)?.combine(&Known::fill(&stream, 3)?, 4, &stream)?;
                device.synchronize()?;
                known.is_right()
            });
            assert!(other.join().unwrap()?, "another thread is disturbed");
            Ok::<_, Error>(())
        })?;
        Ok::<_, Error>(vec![made])
    })
    .unwrap();
    assert_eq!(graph.inputs().collect::<Vec<_>>(), [BYTES]);
    // A thousand buffers of a megabyte that need not be there at once are not.
    assert!(graph.memory() <= 16 << 20, "{}", graph.memory());
    let copies = graph.replay(&[input.read()]).unwrap();
    let mut bytes = vec![0; BYTES as usize];
    copies[0].read(0, &mut bytes).unwrap();
    assert!(input.is(&bytes));
}

// audit: C2
#[test]
fn what_cannot_be_captured_is_named() {
    let device = mock(MockConfig::default());
    let outside = Known::fill(&Stream::current(&device).unwrap(), 1).unwrap();
    let graph = Graph::capture(&device, &[4], Ok::<_, Error>).unwrap();
    type Call<'a> = &'a dyn Fn(&Stream, &Storage) -> Result<()>;
    let calls: &[(&str, Call<'_>)] = &[
        ("reading back", &|_, storage| storage.read(0, &mut [0; 4])),
        ("waiting for a stream", &|stream, _| stream.synchronize()),
        ("waiting for a device", &|_, _| device.synchronize()),
        ("a flush", &|stream, _| stream.flush()),
        ("an event", &|stream, _| stream.record_timed_event().map(drop)),
        ("an event", &|stream, _| {
            stream.record_event();
            Ok(())
        }),
        ("an event", &|stream, _| {
            while !stream.query() {}
            Ok(())
        }),
        ("a wait for an event", &|stream, _| stream.wait(&outside_event(&device))),
        ("mutable memory", &|stream, _| MutableStorage::new(stream.allocate(256)?, 256).map(drop)),
        ("a replay", &|_, storage| graph.replay(&[Operand::read(storage, 0, 4)]).map(drop)),
        ("the capture of another graph", &|_, _| {
            Graph::capture(&device, &[], |_| Ok::<_, Error>(Vec::<Storage>::new())).map(drop)
        }),
    ];
    for (named, call) in calls {
        for swallowed in [false, true] {
            let captured = Graph::capture(&device, &[4], |inputs| {
                let stream = Stream::current(&device)?;
                let result = call(&stream, &inputs[0]);
                if !swallowed {
                    result?;
                }
                Ok::<_, Error>(inputs)
            });
            let Err(Error::NotCapturable { operation }) = captured else { panic!("{named}: {captured:?}") };
            assert_eq!(operation, *named);
        }
    }
    // The thread's own stream is as it was.
    let stream = Stream::current(&device).unwrap();
    let known = outside.combine(&outside, 3, &stream).unwrap();
    stream.synchronize().unwrap();
    assert!(known.is_right().unwrap());
}

/// What is captured is checked when it is: nobody looks at it again.
#[test]
fn an_operation_that_breaks_a_rule_is_not_captured() {
    let device = mock(MockConfig::default());
    let refused = |words: u64, aliased: bool| {
        let mut refused = None;
        let graph = Graph::capture(&device, &[BYTES], |inputs| {
            let stream = Stream::current(&device)?;
            let mut made = stream.allocate(BYTES)?;
            let from = Operand::read(&inputs[0], 0, 4 * words);
            let to = Operand::write(&mut made);
            let from = if aliased { Operand { access: Access::Read, ..to } } else { from };
            refused = stream.record(&Work::Copy, &[from, to]).err();
            Ok::<_, Error>(vec![made])
        });
        assert_eq!(graph.unwrap().commands(), 0);
        refused.unwrap()
    };
    let short = refused(1, false);
    let lengths = CommandError::Lengths { from: 4, to: BYTES };
    assert!(matches!(&short, Error::Command { source, .. } if *source == lengths), "{short}");
    let aliased = refused(1, true);
    assert!(matches!(aliased, Error::Aliased { written: 1, other: 0 }), "{aliased}");
}

/// An event of another stream than the one that is captured.
fn outside_event(device: &Device) -> crate::Event {
    std::thread::scope(|scope| scope.spawn(|| Stream::current(device).unwrap().record_event()).join().unwrap())
}

#[test]
fn memory_does_not_cross_the_border_of_a_capture() {
    let device = mock(MockConfig::default());
    let stream = Stream::current(&device).unwrap();
    let outside = Known::fill(&stream, 1).unwrap();
    let capture = |call: &dyn Fn(&Stream) -> Result<Vec<Storage>>| {
        Graph::capture(&device, &[BYTES], |_| call(&Stream::current(&device)?))
    };
    let read = capture(&|stream| {
        let mut made = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[outside.read(), Operand::write(&mut made)])?;
        Ok(vec![made])
    });
    assert!(matches!(read, Err(Error::NotAnInput { operand: 0 })), "{read:?}");
    let output = capture(&|_| Ok(vec![Known::fill(&outside_stream(&device), 1)?.storage]));
    assert!(matches!(output, Err(Error::NotAnOutput { output: 0 })), "{output:?}");

    let leaked = std::cell::RefCell::new(None);
    let graph = capture(&|stream| {
        *leaked.borrow_mut() = Some((stream.clone(), stream.allocate(BYTES)?));
        Ok(Vec::new())
    })
    .unwrap();
    let (captured, storage) = leaked.into_inner().unwrap();
    let mut made = stream.allocate(BYTES).unwrap();
    let operands = [Operand::read(&storage, 0, BYTES), Operand::write(&mut made)];
    assert!(matches!(stream.record(&Work::Copy, &operands), Err(Error::Captured { operand: 0 })));
    assert!(storage.read(0, &mut [0; 4]).is_err());
    assert!(matches!(captured.allocate(4), Err(Error::CaptureEnded)));
    assert!(matches!(captured.record(&Work::Copy, &operands), Err(Error::NotAnInput { operand: 1 })));

    let wrong =
        [graph.replay(&[]), graph.replay(&[outside.read(), outside.read()]), graph.replay(&[outside.read().first(4)])];
    for result in wrong {
        assert!(matches!(result, Err(Error::GraphInput { .. })), "{result:?}");
    }
    let past = graph.replay(&[Operand::read(&outside.storage, 256, BYTES)]).unwrap_err();
    let bounds = CommandError::OutOfBounds { operand: 0, offset: 256, bytes: BYTES, memory_bytes: BYTES };
    assert!(matches!(&past, Error::Command { source, .. } if *source == bounds), "{past}");
    let elsewhere = Known::fill(&Stream::current(&mock(MockConfig::default())).unwrap(), 1).unwrap();
    assert!(matches!(graph.replay(&[elsewhere.read()]), Err(Error::OtherDevice { operand: 0 })));
    assert!(graph.replay(&[outside.read()]).unwrap().is_empty());

    // A frozen output is copied, whatever its length; that of another device is refused.
    let frozen = Storage::frozen_from_bytes(&device, &[1, 2, 3, 4, 5, 6]).unwrap();
    let (graph, foreign) = {
        let cpu = Device::new(thalweg_cpu::CpuDevice::open().unwrap(), Config::default()).unwrap();
        let foreign = Storage::frozen_from_bytes(&cpu, &[7; 8]).unwrap();
        (Graph::capture(&device, &[], |_| Ok::<_, Error>(vec![&frozen])).unwrap(), foreign)
    };
    let mut bytes = [0; 6];
    graph.replay(&[]).unwrap()[0].read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
    let refused = Graph::capture(&device, &[], |_| Ok::<_, Error>(vec![&foreign]));
    assert!(matches!(refused, Err(Error::OtherDevice { operand: 0 })), "{refused:?}");
    let absurd = Graph::capture(&device, &[u64::MAX], |_| Ok::<_, Error>(Vec::<Storage>::new()));
    assert!(matches!(absurd, Err(Error::Malformed { .. })), "{absurd:?}");
}

/// An input is read, also one that its owner could change.
#[test]
fn an_input_that_may_be_written_is_read() {
    let device = mock(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    let mut random = Rng::with_seed(fresh_seed());
    let graph = KnownGraph::capture(&device, &mut random, false).unwrap();
    let (mut a, b) = (Known::upload(&device, 3, 4).unwrap(), Known::upload(&device, 5, 6).unwrap());
    let expected = graph.replay(&a, &b).unwrap();
    let inputs = [Operand::update(&mut a.storage), b.read()];
    let outputs = graph.graph.replay(&inputs).unwrap();
    let mut bytes = vec![0; BYTES as usize];
    for (output, expected) in outputs.iter().zip(&expected) {
        output.read(0, &mut bytes).unwrap();
        assert!(expected.is(&bytes));
    }
    assert!(a.is_right().unwrap() && b.is_right().unwrap());
}

/// Another stream than the one that is captured.
fn outside_stream(device: &Device) -> Stream {
    std::thread::scope(|scope| scope.spawn(|| Stream::new(device).unwrap()).join().unwrap())
}

// audit: C2
#[test]
fn a_closure_that_panics_leaves_the_stream_as_it_was() {
    let device = mock(MockConfig::default());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Graph::capture(&device, &[4], |_| -> Result<Vec<Storage>> { std::panic::resume_unwind(Box::new("on purpose")) })
    }));
    assert!(panicked.is_err());
    let known = Known::fill(&Stream::current(&device).unwrap(), 9).unwrap();
    assert!(known.is_right().unwrap());
}

/// A failure is of one run: of all its outputs, and of no other run's, though they share a memory.
// audit: C24
#[test]
fn a_failing_run_fails_its_own_outputs_alone() {
    let (device, _) = faulty(Config::default(), Plan::default());
    let stream = Stream::current(&device).unwrap();
    let graph = Graph::capture(&device, &[BYTES], |inputs| {
        let known = Known::of(inputs.into_iter().next(), 0);
        let stream = Stream::current(&device)?;
        let copy = known.odd_copy_captured(&stream)?;
        let other = known.copy_captured(&stream)?;
        Ok::<_, Error>(vec![copy, other])
    })
    .unwrap();
    for (start, fails) in [(1, false), (2, true), (3, false), (4, true), (7, false)] {
        let input = Known::upload(&device, start, 2).unwrap();
        let outputs = graph.replay(&[input.read()]).unwrap();
        let mut bytes = vec![0; BYTES as usize];
        for output in &outputs {
            match output.read(0, &mut bytes) {
                Ok(()) => assert!(!fails && input.is(&bytes), "{start}"),
                Err(Error::Failed(failure)) => {
                    assert!(fails, "{start}: {failure}");
                    assert!(failure.to_string().contains("the first word is"), "{failure}");
                    assert_eq!(failure.operation, "replay");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    stream.synchronize().unwrap();
}

/// While a run is outstanding the next gets a memory of its own; at the limit they take turns; when there is no room
/// too.
#[test]
fn instances_are_as_many_as_runs_overlap_and_no_more() {
    let (device, faulty) = faulty(Config::default(), Plan::default());
    // Larger than what the device is asked for at a time.
    const LARGE: u64 = 3 << 20;
    let graph = Graph::capture(&device, &[BYTES], |inputs| {
        let stream = Stream::current(&device)?;
        let (mut large, mut made) = (stream.allocate(LARGE)?, stream.allocate(BYTES)?);
        stream.record(&Work::Copy, &[Operand::read(&inputs[0], 0, BYTES), Operand::write(&mut large).first(BYTES)])?;
        stream.record(&Work::Copy, &[Operand::read(&large, 0, BYTES), Operand::write(&mut made)])?;
        Ok::<_, Error>(vec![made])
    })
    .unwrap();
    let input = Known::upload(&device, 3, 4).unwrap();
    let run = || graph.replay(&[input.read()]).unwrap().remove(0);
    let is_right = |output: &Storage| {
        let mut bytes = vec![0; BYTES as usize];
        output.read(0, &mut bytes).unwrap();
        input.is(&bytes)
    };
    let one = graph.memory();
    assert!((0..10).all(|_| is_right(&run())));
    assert_eq!(graph.memory(), one, "one run after the other needs one memory");
    faulty.set(Plan { allocations: Strike::Always, ..Plan::default() });
    let crowded: Vec<_> = (0..4).map(|_| run()).collect();
    assert_eq!(graph.memory(), one, "there was no room");
    // The host sees nothing complete, so all stay in use.
    faulty.set(Plan { signals: Strike::Always, ..Plan::default() });
    let outputs: Vec<_> = (0..40).map(|_| run()).collect();
    assert_eq!(graph.memory(), one * u64::from(device.info().parallelism));
    assert!(graph.replay_if_idle(&[input.read()]).unwrap().is_none());
    faulty.release();
    assert!(crowded.iter().chain(&outputs).all(is_right));
    assert!(graph.replay_if_idle(&[input.read()]).unwrap().is_some());
}

/// Frozen memory that a graph reads is the graph's too: dropped by its owner, it is not used again.
// audit: C20
#[test]
fn a_graph_keeps_the_frozen_memory_that_it_reads() {
    let device = mock(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    // Keeps what else is frozen from going back to the device whole.
    let _beside = Known::freeze(&device, 1, 1).unwrap();
    let frozen = Known::freeze(&device, 11, 13).unwrap();
    let graph = Graph::capture(&device, &[], |_| {
        let stream = Stream::current(&device)?;
        let mut made = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[frozen.read(), Operand::write(&mut made)])?;
        Ok::<_, Error>(vec![made])
    })
    .unwrap();
    let expected = Known::upload(&device, 11, 13).unwrap();
    drop(frozen);
    for round in 0..20 {
        // Everything has run that was recorded by then, so what nobody keeps is used again.
        device.synchronize().unwrap();
        device.trim();
        // Of the same size, so that they would have its place.
        let others: Vec<_> = (0..4).map(|at| Known::freeze(&device, round, at).unwrap()).collect();
        let copy = graph.replay(&[]).unwrap().remove(0);
        let mut bytes = vec![0; BYTES as usize];
        copy.read(0, &mut bytes).unwrap();
        assert!(expected.is(&bytes), "round {round}");
        assert!(others.iter().all(|known| known.is_right().unwrap()));
    }
}

/// The last handle goes while runs are in flight: they run to their end, and then the memory is given back.
// audit: C20
#[test]
fn a_graph_may_be_dropped_while_it_runs() {
    let device = mock(MockConfig { seed: fresh_seed(), ..MockConfig::default() });
    let mut random = Rng::with_seed(fresh_seed());
    let input = Known::upload(&device, 3, 4).unwrap();
    let outputs = {
        let graph = KnownGraph::capture(&device, &mut random, false).unwrap();
        (0..5).flat_map(|_| graph.replay(&input, &input).unwrap()).collect::<Vec<_>>()
    };
    assert!(outputs.iter().all(|known| known.look() == Found::Right));
    drop((outputs, input));
    device.synchronize().unwrap();
    device.trim();
    assert_eq!(device.memory().reserved, 0, "{:?}", device.memory());
}

/// A slow compile inside a capture keeps nobody else from recording, capturing or replaying.
// audit: F7
#[test]
fn a_slow_compile_in_a_capture_holds_nobody_up() {
    let (device, faulty) = faulty(Config::default(), Plan::default());
    let input = Known::upload(&device, 1, 2).unwrap();
    let mut random = Rng::with_seed(fresh_seed());
    let ready = KnownGraph::capture(&device, &mut random, false).unwrap();
    // Whatever it was made of is compiled; the next kernel is held up.
    faulty.set(Plan { delays: Delays { pipelines: Strike::Always, ..Delays::default() }, ..Plan::default() });
    let captured = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let graph = Graph::capture(&device, &[BYTES], |inputs| {
                let known = Known::of(inputs.into_iter().next(), 0);
                Ok::<_, Error>(vec![known.odd_copy_captured(&Stream::current(&device)?)?])
            });
            captured.store(true, Ordering::Release);
            graph.map(drop)
        });
        while faulty.delayed() == 0 {
            std::thread::yield_now();
        }
        let outputs = ready.replay(&input, &input).unwrap();
        assert!(outputs.iter().all(|known| known.look() == Found::Right));
        assert!(!captured.load(Ordering::Acquire));
        faulty.release();
        slow.join().unwrap().unwrap();
    });
    device.close(Duration::from_secs(60)).unwrap();
}
