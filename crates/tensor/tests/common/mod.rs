//! The devices that every case runs on, random cases, and the conformance suite's arrays and disguises.

#![allow(dead_code, unused_imports, clippy::unwrap_used)] // each test program uses its part; a failed step is a failed test

/// Arrays on the host.
pub use thalweg_conformance::array;
/// Numbers from a seed.
pub use thalweg_doubles::testing::Random;

use array::Array;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, FileFailurePersistence, TestRunner};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::validate::Validated;
use thalweg_runtime::{Config, Device};
use thalweg_tensor::{Element, Tensor};

/// A device to test on, and what has to hold once a case is over.
pub struct Bench {
    pub device: Device,
    validated: Option<Arc<Validated>>,
}

impl Bench {
    pub fn finish(&self) {
        if let Some(validated) = &self.validated {
            let report = validated.report();
            assert_eq!(report.violations, 0, "{:#?}", report.first);
        }
    }
}

/// The processor. All tests of a program share it, from several threads, so that memory is used again and again.
pub fn cpu() -> Device {
    static CPU: OnceLock<Device> = OnceLock::new();
    CPU.get_or_init(|| Device::new(thalweg_cpu::CpuDevice::open().unwrap(), Config::default()).unwrap()).clone()
}

/// The mock behind the validator: it runs commands in any order that the barriers allow, and what a kernel is about to
/// write holds NaN. The seed also decides how many operations make a list.
pub fn mock(seed: u64) -> Bench {
    validated(MockConfig { seed, ..MockConfig::default() }, Config::default())
}

/// As a GPU with memory that the host does not see, where new memory holds NaN; nothing is read that was never written.
fn discrete(seed: u64, config: Config) -> Bench {
    validated(MockConfig::discrete(seed), config)
}

fn validated(mock: MockConfig, config: Config) -> Bench {
    let config = config.list_commands(1 + (mock.seed % 9) as usize);
    let validated = Validated::with_first_writes(MockDevice::new(mock));
    Bench { device: Device::new(validated.clone(), config).unwrap(), validated: Some(validated) }
}

/// Every device.
pub fn benches(seed: u64) -> [Bench; 3] {
    [Bench { device: cpu(), validated: None }, mock(seed), discrete(seed, Config::default())]
}

/// Every device, with a pool of this many streams, and nobody else on it.
pub fn pools(seed: u64, streams: usize) -> [Bench; 3] {
    let config = Config::default().pool_streams(streams);
    let cpu = Device::new(thalweg_cpu::CpuDevice::open().unwrap(), config).unwrap();
    let mock = validated(MockConfig { seed, ..MockConfig::default() }, config);
    [Bench { device: cpu, validated: None }, mock, discrete(seed, config)]
}

/// Runs a test on every device, with random cases. A case that fails is made smaller, printed, and kept beside `file`.
pub fn check<S: Strategy>(file: &'static str, cases: u32, strategy: S, test: impl Fn(&Device, &S::Value))
where
    S::Value: Debug,
{
    let persistence = Box::new(FileFailurePersistence::WithSource("regressions"));
    let config = Cases {
        cases,
        source_file: Some(file),
        failure_persistence: Some(persistence),
        max_shrink_iters: 400,
        ..Cases::default()
    };
    let result = TestRunner::new(config).run(&(any::<u64>(), strategy), |(seed, case)| {
        for bench in benches(seed) {
            test(&bench.device, &case);
            bench.finish();
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Shapes of 0 to 6 axes, some of length 0 and many of length 1, of at most `most` elements.
pub fn shapes(most: usize) -> impl Strategy<Value = Vec<usize>> {
    let axis = prop_oneof![1 => Just(0), 6 => Just(1), 20 => 2..=6usize, 3 => 7..=300usize];
    proptest::collection::vec(axis, 0..=6).prop_map(move |mut shape| {
        let mut elements = 1;
        for axis in &mut shape {
            if elements * (*axis).max(1) > most {
                *axis = 1;
            }
            elements *= (*axis).max(1);
        }
        shape
    })
}

/// A tensor of these values that is, perhaps, a view, frozen, or written on another stream.
pub fn disguised<T: Element>(device: &Device, array: &Array<T>, seed: u64) -> Tensor {
    thalweg_conformance::disguise::disguised(device, array, seed).unwrap()
}

/// Runs a future on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
