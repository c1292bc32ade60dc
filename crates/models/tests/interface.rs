//! The ways to call a model: one value, whichever it is, and what is wrong with a text is the error of its row.

mod support;

use fastrand::Rng;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use support::{bits, cpu, loaded, one, rows, seed, set, text, written};
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::ErrorClass;
use thalweg_models::testing::{MAX_TOKENS, SmallEncoder, write_weights};
use thalweg_models::{EmbeddingModel, Embeddings, Error, LoadOptions, TOKENS_PER_PASS, Tokens};
use thalweg_runtime::{Config, Device, Error as RuntimeError};
use thalweg_tensor::{DType, Tensor};

fn mock(seed: u64) -> Arc<MockDevice> {
    MockDevice::new(MockConfig { seed, ..MockConfig::default() })
}

fn texts(random: &mut Rng, count: usize) -> Vec<String> {
    let mut text = || {
        let words = random.usize(..30);
        text(random, words)
    };
    (0..count).map(|_| text()).collect()
}

/// Set when it is woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls a future only when it was woken.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    loop {
        if flag.0.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
        } else {
            std::thread::yield_now();
        }
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Of several passes and of one, on every device there is.
#[test]
fn every_way_to_call_gives_the_same_bits() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let directory = written(&SmallEncoder::new(seed, 1, 16));
    let vulkan = thalweg_vulkan::testing::device().map(|device| -> Arc<dyn thalweg_hal::Device> { device });
    let gpus = vulkan.into_iter().chain(thalweg_metal::testing::device());
    let gpus = gpus.map(|hal| Device::new(hal, Config::default()).expect("a device"));
    let mock = Device::new(mock(seed), Config::default()).expect("a device");
    for device in [cpu(), mock].into_iter().chain(gpus) {
        let model = EmbeddingModel::load(&device, directory.path()).expect("a model");
        for count in [1, 3, 320] {
            let texts = texts(&mut random, count);
            let tokens = model.tokenize(&texts).unwrap();
            let passes = tokens.iter().map(Tokens::len).sum::<usize>().div_ceil(TOKENS_PER_PASS);
            assert_eq!(passes > 1, count == 320);
            let expected = model.embed(&texts).unwrap();
            let lengths: Vec<usize> = tokens.iter().map(Tokens::len).collect();
            assert_eq!((0..count).map(|row| expected.tokens(row)).collect::<Vec<_>>(), lengths);
            let soon = || Instant::now() + Duration::from_secs(100);
            let asked = |model: &EmbeddingModel| {
                let pending = model.submit(&tokens);
                while !pending.is_done() {
                    std::thread::yield_now();
                }
                pending.wait_until(Instant::now())
            };
            let ways: Vec<(&str, Embeddings)> = vec![
                ("embed_tokens", model.embed_tokens(&tokens).unwrap()),
                ("submit", Embeddings::clone(&*model.submit(&tokens).wait().unwrap())),
                ("submit_texts", Embeddings::clone(&*model.submit_texts(&texts).wait_until(soon()).unwrap())),
                ("is_done", Embeddings::clone(&*asked(&model).unwrap())),
                ("await", Embeddings::clone(&*block_on(model.submit(&tokens).into_future()).unwrap())),
                ("embed_async", block_on(model.embed_async(&texts)).unwrap()),
                ("a clone", model.clone().embed(&texts).unwrap()),
            ];
            for (way, given) in ways {
                let name = &device.info().name;
                assert_eq!((given.rows(), given.width()), (count, model.width()), "{way} on {name}");
                assert_eq!(bits(given.values().unwrap()), bits(expected.values().unwrap()), "{way} on {name}");
            }
        }
        let text = text(&mut random, 9);
        assert_eq!(bits(&model.embed_one(&text).unwrap()), bits(&one(&model, &text).values));
    }
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

#[test]
fn what_is_wrong_with_a_text_is_the_error_of_its_row() {
    let model = loaded(&SmallEncoder::new(seed(), 1, 16));
    let good = Tokens::from_ids([2, 7, 3]);
    let bad = [vec![], vec![5; MAX_TOKENS + 1], vec![2, 3, 90_000]].map(Tokens::from_ids);
    let tokens: Vec<Tokens> = bad.iter().flat_map(|bad| [good.clone(), bad.clone()]).collect();
    let embeddings = model.embed_tokens(&tokens).unwrap();
    let expected = bits(model.embed_tokens(&[good]).unwrap().values().unwrap());
    for row in [0, 2, 4] {
        assert_eq!(bits(embeddings.row(row).unwrap()), expected);
    }
    let messages = [1, 3, 5].map(|row| {
        let error = embeddings.row(row).unwrap_err();
        assert_eq!((error.class(), error.is_retryable()), (ErrorClass::Caller, false));
        error.to_string()
    });
    let expected = [
        format!("sequence 1 has 0 tokens; expected 1 to {MAX_TOKENS}"),
        format!("sequence 3 has {} tokens; expected 1 to {MAX_TOKENS}", MAX_TOKENS + 1),
        "sequence 5, position 2: token id 90000; the model has ids 0 to 87".to_owned(),
    ];
    assert_eq!(messages, expected);
    assert_eq!(embeddings.values().unwrap_err().to_string(), expected[0], "the first");
    // None of them can be computed.
    let embeddings = model.embed_tokens(&bad).unwrap();
    assert!(embeddings.rows() == 3 && embeddings.iter().all(|row| row.is_err()));
}

#[test]
fn a_long_text_is_cut_or_refused_alone() {
    let directory = written(&SmallEncoder::new(seed(), 1, 16));
    let texts = ["river ".repeat(MAX_TOKENS - 2), "river ".repeat(MAX_TOKENS - 1)];
    for cut in [true, false] {
        let options = LoadOptions::new().cut_long_texts(cut);
        let model = EmbeddingModel::load_with(&cpu(), directory.path(), options).unwrap();
        let embeddings = model.embed(&texts).unwrap();
        assert_eq!([0, 1].map(|row| embeddings.cut(row)), [false, true]);
        assert_eq!([0, 1].map(|row| embeddings.tokens(row)), [MAX_TOKENS; 2]);
        assert!(embeddings.row(0).is_ok());
        match embeddings.row(1) {
            Ok(values) => assert!(cut && bits(values) == bits(embeddings.row(0).unwrap())),
            Err(error) => assert!(!cut && error.to_string().contains("text 1 has more than the 64 tokens"), "{error}"),
        }
    }
}

/// Where a word's and its position's vector are both large, their sum is beyond f16.
#[test]
fn values_beyond_f16_are_an_error_that_says_so() {
    let encoder = SmallEncoder::new(seed(), 1, 16);
    let directory = written(&encoder);
    let mut tensors = encoder.tensors();
    let vocabulary: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("tokenizer.json")).unwrap()).unwrap();
    let deep = vocabulary["model"]["vocab"]["deep"].as_u64().unwrap() as usize;
    for (name, shape, values) in &mut tensors {
        match name.as_str() {
            "embeddings.word_embeddings.weight" => values[deep * shape[1] + 3] = 60_000.0,
            "embeddings.position_embeddings.weight" => {
                values.chunks_mut(shape[1]).for_each(|position| position[3] = 60_000.0);
            }
            _ => {}
        }
    }
    write_weights(&directory.path().join("model.safetensors"), &tensors).unwrap();
    let texts = ["the river", "the deep river", "many streams"];
    let full = EmbeddingModel::load(&cpu(), directory.path()).unwrap();
    assert!(full.embed(&texts).unwrap().values().is_ok());
    let options = LoadOptions::new().dtype(DType::F16);
    let half = EmbeddingModel::load_with(&cpu(), directory.path(), options).unwrap();
    let embeddings = half.embed(&texts).unwrap();
    assert!([0, 2].iter().all(|row| embeddings.row(*row).unwrap().iter().all(|value| value.is_finite())));
    let error = embeddings.row(1).unwrap_err();
    assert!(matches!(error, Error::NotFinite { text: 1, dtype: DType::F16 }));
    let message = error.to_string();
    assert!(["text 1", "f16", "65504", "f32"].iter().all(|part| message.contains(part)), "{message}");
    assert!(half.embed_one(texts[1]).is_err());
}

/// A list that the device refuses fails the texts of its pass, and no others.
#[test]
fn a_failure_on_the_device_is_that_of_its_pass() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let directory = written(&SmallEncoder::new(seed, 1, 16));
    let texts = texts(&mut random, 1200);
    let expected = rows(&loaded(&SmallEncoder::new(seed, 1, 16)).embed(&texts).unwrap());
    let mut failed = Vec::new();
    for refused in 1..5 {
        let faulty = Faulty::new(mock(seed), Plan::default());
        let device = Device::new(faulty.clone(), Config::default()).unwrap();
        let model = EmbeddingModel::load(&device, directory.path()).unwrap();
        device.synchronize().unwrap();
        faulty.set(Plan { submissions: Strike::Nth(refused), ..Plan::default() });
        let tokens = model.tokenize(&texts).unwrap();
        let embeddings = model.embed(&texts).unwrap();
        let mut pass = (0, 0);
        let mut passes = vec![Vec::new()];
        for (row, expected) in expected.iter().enumerate() {
            pass.1 += tokens[row].len();
            if pass.1 > TOKENS_PER_PASS {
                pass = (pass.0 + 1, tokens[row].len());
                passes.push(Vec::new());
            }
            passes[pass.0].push(embeddings.row(row).is_err());
            match embeddings.row(row) {
                Ok(values) => assert_eq!(bits(values), bits(&expected.values), "seed {seed}"),
                Err(error) => assert!(matches!(error, Error::Runtime(RuntimeError::Failed(_))), "{error}"),
            }
        }
        assert!(passes.len() >= 3, "the test needs several passes");
        assert!(passes.iter().all(|pass| pass.iter().all(|failed| *failed == pass[0])), "a pass fails as a whole");
        failed.push(passes.iter().filter(|pass| pass[0]).count());
    }
    assert!(failed.contains(&1) && failed.iter().all(|count| *count <= 2), "{failed:?} passes failed");
}

#[test]
fn a_deadline_ends_the_wait_alone_and_a_drop_ends_the_work() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let directory = written(&SmallEncoder::new(seed, 1, 16));
    let plan = Plan { signals: Strike::Always, ..Plan::default() };
    let faulty = Faulty::new(mock(seed), Plan::default());
    let device = Device::new(faulty.clone(), Config::default()).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let texts = texts(&mut random, 1500);
    let tokens = model.tokenize(&texts).unwrap();
    let expected = model.embed_tokens(&tokens).unwrap();
    device.synchronize().unwrap();
    let before = device.memory().live;
    // From here on the host is told of nothing.
    faulty.set(plan);
    let pending = model.submit(&tokens);
    let dropped = model.submit(&tokens);
    let mut task = Box::pin(model.embed_async(&texts));
    // More polls than it has texts: it has submitted.
    assert!((0..texts.len() + 2).all(|_| poll(task.as_mut()).is_pending()));
    assert!(matches!(pending.wait_until(Instant::now()), Err(RuntimeError::Timeout)));
    let lists = device.counters().lists;
    drop((dropped, task));
    faulty.release();
    device.synchronize().unwrap();
    assert!(device.counters().lists - lists < 20, "nobody goes on with what was dropped");
    let found = pending.wait().unwrap();
    assert_eq!(bits(found.values().unwrap()), bits(expected.values().unwrap()));
    drop((pending, found));
    device.synchronize().unwrap();
    assert_eq!(device.memory().live, before, "seed {seed}");
}

/// Memory for little more than one pass: those that do not fit wait for others, in tasks too.
#[test]
fn passes_that_do_not_fit_together_come_one_after_the_other() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let directory = written(&SmallEncoder::new(seed, 1, 32));
    let texts = texts(&mut random, 1200);
    let expected = loaded(&SmallEncoder::new(seed, 1, 32)).embed(&texts).unwrap();
    let hal = thalweg_cpu::CpuDevice::open().unwrap();
    let device = Device::new(hal, Config::default().memory_limit(14 << 20)).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let check = |given: Embeddings| assert_eq!(bits(given.values().unwrap()), bits(expected.values().unwrap()));
    check(model.embed(&texts).unwrap());
    check(block_on(model.embed_async(&texts)).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (model, texts, check) = (&model, &texts, &check);
            scope.spawn(move || match thread % 2 {
                0 => check(model.embed(texts).unwrap()),
                _ => check(block_on(model.embed_async(texts)).unwrap()),
            });
        }
    });
}

/// On a device that the host does not see, with staging for a few passes: calls that find none wait until others have
/// taken their results.
#[test]
fn calls_share_what_little_staging_there_is() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let directory = written(&SmallEncoder::new(seed, 1, 16));
    let texts = texts(&mut random, 700);
    let expected = loaded(&SmallEncoder::new(seed, 1, 16)).embed(&texts).unwrap();
    let hal = MockDevice::new(MockConfig::discrete(seed));
    let device = Device::new(hal, Config::default().staging_limit(512 << 10)).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let check = |given: &Embeddings| assert_eq!(bits(given.values().unwrap()), bits(expected.values().unwrap()));
    let tokens = model.tokenize(&texts).unwrap();
    let pending: Vec<_> = (0..24).map(|_| model.submit(&tokens)).collect();
    pending.into_iter().for_each(|pending| check(&pending.wait().unwrap()));
    let tasks: Vec<_> = (0..24).map(|_| Box::pin(model.embed_async(&texts))).collect();
    tasks.into_iter().for_each(|task| check(&block_on(task).unwrap()));
}

/// Results that are larger than staging come in parts, from several passes too.
#[test]
fn results_larger_than_staging_come_in_parts() {
    let seed = seed();
    let encoder = SmallEncoder::new(seed, 1, 64);
    let directory = written(&encoder);
    let config = Config::default().staging_limit(512 << 10);
    let device = Device::new(MockDevice::new(MockConfig::discrete(seed)), config).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let mut random = Rng::with_seed(seed);
    let mut tokens = || Tokens::from_ids([2, 5 + random.u32(..40), 3]);
    let tokens: Vec<Tokens> = (0..6000).map(|_| tokens()).collect();
    let expected = loaded(&encoder).embed_tokens(&tokens).unwrap();
    let check = |given: &Embeddings| assert_eq!(bits(given.values().unwrap()), bits(expected.values().unwrap()));
    check(&model.embed_tokens(&tokens).unwrap());
    check(&model.submit(&tokens).wait_until(Instant::now() + Duration::from_secs(100)).unwrap());
    check(&block_on(model.submit(&tokens).into_future()).unwrap());
    // In smaller parts where others keep most of it.
    let tensor = Tensor::full(&device, 1.0f32, &[16 << 10]).unwrap();
    let held: Vec<_> = (0..5).map(|_| tensor.download::<f32>().unwrap()).collect();
    check(&model.embed_tokens(&tokens).unwrap());
    check(&block_on(model.submit(&tokens).into_future()).unwrap());
    drop(held);
}

/// Tasks record passes of more commands than a list has, on one stream with room for one list: each gets through.
#[test]
fn tasks_get_through_where_a_pass_takes_many_lists() {
    let seed = seed();
    let encoder = SmallEncoder::new(seed, 12, 16);
    let directory = written(&encoder);
    let hal = thalweg_cpu::CpuDevice::open().unwrap();
    let config = Config::default().lists_in_flight(1).list_commands(8).pool_streams(1);
    let model = EmbeddingModel::load(&Device::new(hal, config).unwrap(), directory.path()).unwrap();
    let texts = texts(&mut Rng::with_seed(seed), 8);
    let expected = loaded(&encoder).embed(&texts).unwrap();
    let check = |given: &Embeddings| assert_eq!(bits(given.values().unwrap()), bits(expected.values().unwrap()));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (model, texts, check) = (&model, &texts, &check);
            scope.spawn(move || match thread % 2 {
                0 => check(&block_on(model.embed_async(texts)).unwrap()),
                _ => check(&model.submit_texts(texts).wait_until(Instant::now() + Duration::from_secs(100)).unwrap()),
            });
        }
    });
}

/// A pass that fits in no case is an error of its rows, for tasks too, which may not wait inside an allocation.
#[test]
fn a_pass_that_never_fits_ends_as_an_error_in_a_task_too() {
    let seed = seed();
    let directory = written(&SmallEncoder::new(seed, 1, 32));
    let hal = thalweg_cpu::CpuDevice::open().unwrap();
    let device = Device::new(hal, Config::default().memory_limit(4 << 20)).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let texts = texts(&mut Rng::with_seed(seed), 600);
    for embeddings in [model.embed(&texts).unwrap(), block_on(model.embed_async(&texts)).unwrap()] {
        let error = embeddings.values().unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Memory | ErrorClass::Busy), "{error}");
    }
    assert!(block_on(model.embed_async(&texts[..9])).unwrap().values().is_ok(), "what fits is embedded");
}

/// Others hold all of it when a pass is computed, and give it back.
#[test]
fn a_call_that_finds_no_staging_waits_for_those_who_have_it() {
    let seed = seed();
    let directory = written(&SmallEncoder::new(seed, 1, 16));
    let hal = MockDevice::new(MockConfig::discrete(seed));
    let device = Device::new(hal, Config::default().staging_limit(512 << 10)).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let texts = texts(&mut Rng::with_seed(seed), 100);
    let expected = model.embed(&texts).unwrap();
    let pending = model.submit_texts(&texts);
    let mut held = Vec::new();
    for length in [4096, 64] {
        let tensor = Tensor::full(&device, 1.0f32, &[length]).unwrap();
        held.extend(std::iter::from_fn(|| tensor.download::<f32>().ok()));
    }
    device.synchronize().unwrap();
    assert!(!pending.is_done(), "it has tried, and found none");
    drop(held);
    assert_eq!(bits(pending.wait().unwrap().values().unwrap()), bits(expected.values().unwrap()));
}

/// Passes are still to be recorded when the device is closed: that is nobody's text's fault.
#[test]
fn a_device_that_is_closed_between_passes_ends_the_call() {
    let seed = seed();
    let directory = written(&SmallEncoder::new(seed, 1, 16));
    let device = Device::new(mock(seed), Config::default()).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let texts = texts(&mut Rng::with_seed(seed), 1500);
    let pending = model.submit_texts(&texts);
    let one = model.submit_texts(&texts[..5]);
    device.close(Duration::from_secs(100)).unwrap();
    assert!(one.wait().unwrap().values().is_ok(), "what is there can still be read");
    assert!(matches!(pending.wait(), Err(RuntimeError::Closed)));
    assert!(matches!(pending.wait_until(Instant::now()), Err(RuntimeError::Closed)), "for everybody");
}

/// More threads than streams, tasks among them, some of which give up.
// audit: C4, C30
#[test]
fn stress_every_way_to_call_from_forty_threads() {
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let directory = written(&SmallEncoder::new(seed, 2, 32));
    let hal = thalweg_cpu::CpuDevice::open().unwrap();
    let device = Device::new(hal, Config::default().pool_streams(8)).unwrap();
    let model = EmbeddingModel::load(&device, directory.path()).unwrap();
    let texts = texts(&mut random, 60);
    let expected: Vec<Vec<u32>> = texts.iter().map(|text| bits(&one(&model, text).values)).collect();
    device.synchronize().unwrap();
    let live = device.memory().live;
    std::thread::scope(|scope| {
        for thread in 0..40 {
            let (model, texts, expected) = (&model, &texts, &expected);
            let mut random = Rng::with_seed(seed.wrapping_add(thread));
            scope.spawn(move || {
                for _ in 0..12 {
                    let picked: Vec<usize> = (0..1 + random.usize(..6)).map(|_| random.usize(..texts.len())).collect();
                    let own: Vec<&String> = picked.iter().map(|index| &texts[*index]).collect();
                    let embeddings = match random.usize(..6) {
                        0 => model.embed(&own).unwrap(),
                        1 => block_on(model.embed_async(&own)).unwrap(),
                        2 => Embeddings::clone(&*block_on(model.submit_texts(&own).into_future()).unwrap()),
                        3 => {
                            let pending = model.submit_texts(&own);
                            let other = pending.clone();
                            let thread = std::thread::spawn(move || other.wait().unwrap());
                            let found = pending.wait().unwrap();
                            assert!(Arc::ptr_eq(&found, &thread.join().unwrap()), "one value");
                            Embeddings::clone(&*found)
                        }
                        4 => {
                            let mut future = Box::pin(model.embed_async(&own));
                            let _ = poll(future.as_mut());
                            continue;
                        }
                        _ => {
                            let _ = model.submit_texts(&own).wait_until(Instant::now());
                            continue;
                        }
                    };
                    for (row, index) in picked.iter().enumerate() {
                        assert_eq!(bits(embeddings.row(row).unwrap()), expected[*index], "seed {seed}");
                    }
                }
            });
        }
    });
    device.synchronize().unwrap();
    assert_eq!(device.memory().live, live, "seed {seed}");
}

#[test]
fn errors_say_who_can_do_something() {
    let directory = written(&SmallEncoder::new(1, 1, 16));
    let missing = EmbeddingModel::load(&cpu(), directory.path().join("none")).unwrap_err();
    assert_eq!((missing.class(), missing.is_retryable()), (ErrorClass::Caller, false));
    set(&directory.path().join("config.json"), "/model_type", "gpt".into());
    assert_eq!(EmbeddingModel::load(&cpu(), directory.path()).unwrap_err().class(), ErrorClass::Caller);
    for (error, class, retry) in [
        (RuntimeError::Busy, ErrorClass::Busy, true),
        (RuntimeError::Timeout, ErrorClass::Busy, true),
        (RuntimeError::Closed, ErrorClass::Device, false),
        (RuntimeError::Device(thalweg_hal::Error::DeviceLost { device: "d".into() }), ErrorClass::Device, false),
    ] {
        let tensor = Error::from(thalweg_tensor::Error::from(error.clone()));
        assert!(matches!(tensor, Error::Runtime(_)), "told as what it is");
        for error in [tensor, Error::from(error)] {
            assert_eq!((error.class(), error.is_retryable()), (class, retry), "{error}");
        }
    }
    let hal = thalweg_cpu::CpuDevice::open().unwrap();
    let device = Device::new(hal, Config::default().memory_limit(1 << 10)).unwrap();
    let directory = written(&SmallEncoder::new(1, 1, 16));
    assert_eq!(EmbeddingModel::load(&device, directory.path()).unwrap_err().class(), ErrorClass::Memory);
}
