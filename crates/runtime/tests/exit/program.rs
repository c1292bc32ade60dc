//! What the cases have in common: devices, data whose every word is known, and threads that work.

use crate::driver::Driver;
use crate::parent::MARK;
use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use thalweg_cpu::CpuDevice;
use thalweg_doubles::faulty::{Faulty, Plan};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::{Access, HostCall, KernelFailure, KernelSource};
use thalweg_runtime::{Config, Device, Error, Operand, Result, Storage, Stream, Work};

/// Words of every storage.
const WORDS: usize = 64;
/// Its bytes.
pub const BYTES: u64 = 4 * WORDS as u64;

/// x = 5 x + salt, in place.
pub static ADVANCE: KernelSource = KernelSource {
    name: Cow::Borrowed("advance"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 4,
    wgsl: None,
    host: Some(|call| {
        let salt = call.params::<u32>()?;
        call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x = advanced(*x, salt));
        Ok(())
    }),
};

/// out = 31 a + 17 b
static MIX: KernelSource = KernelSource {
    name: Cow::Borrowed("mix"),
    bindings: Cow::Borrowed(&[Access::Read, Access::Read, Access::Write]),
    params_bytes: 0,
    wgsl: None,
    host: Some(|call| {
        let (a, b) = (part(call, 0)?, part(call, 1)?);
        for ((out, a), b) in call.outputs.get::<u32>(0)?.iter_mut().zip(a).zip(b) {
            *out = mixed(*a, *b);
        }
        Ok(())
    }),
};

fn part<'a>(call: &HostCall<'a>, index: usize) -> Result<&'a [u32], KernelFailure> {
    Ok(&call.inputs.get::<u32>(index)?[call.items.start as usize..call.items.end as usize])
}

fn advanced(x: u32, salt: u32) -> u32 {
    x.wrapping_mul(5).wrapping_add(salt)
}

fn mixed(a: u32, b: u32) -> u32 {
    a.wrapping_mul(31).wrapping_add(b.wrapping_mul(17))
}

/// A device to run a case on.
#[derive(Clone, Copy, Debug)]
pub enum Double {
    /// The CPU backend.
    Cpu,
    /// The mock.
    Mock,
}

impl Double {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Cpu, Self::Mock];

    /// As part of a test's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Mock => "mock",
        }
    }

    /// The one of that name.
    pub fn of(name: &str) -> Self {
        *Self::ALL.iter().find(|double| double.name() == name).unwrap()
    }
}

/// The process of a case.
#[derive(Debug)]
pub struct Program {
    /// On which device.
    pub double: Double,
    /// Where its random numbers come from.
    pub seed: u64,
}

impl Program {
    /// The random numbers of one of its threads.
    pub fn random(&self, thread: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_add(thread.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn double(&self) -> Arc<dyn thalweg_hal::Device> {
        match self.double {
            Double::Cpu => CpuDevice::open().unwrap(),
            Double::Mock => MockDevice::new(MockConfig { seed: self.seed, queues: 3, ..MockConfig::default() }),
        }
    }

    /// A device, whose driver minds how it is left.
    pub fn open(&self) -> Device {
        Self::device(Driver::load(self.double()))
    }

    /// The same with faults, and where to set them.
    pub fn faulty(&self, plan: Plan) -> (Arc<Faulty>, Device) {
        let faulty = Faulty::new(self.double(), plan);
        let device = Self::device(Driver::load(Arc::clone(&faulty) as _));
        (faulty, device)
    }

    /// The same with a driver that does not mind: for devices that still hang at the exit.
    pub fn hanging(&self, plan: Plan) -> (Arc<Faulty>, Device) {
        let faulty = Faulty::new(self.double(), plan);
        let device = Self::device(Arc::clone(&faulty) as _);
        (faulty, device)
    }

    /// With fewer streams than the cases have threads.
    fn device(hal: Arc<dyn thalweg_hal::Device>) -> Device {
        Device::new(hal, Config::default().pool_streams(4)).unwrap()
    }

    /// Says that the case has come to its end.
    pub fn done(&self) {
        println!("{MARK}");
    }

    /// Keeps panics that say "on purpose" from stderr.
    pub fn expect_panics(&self) {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"on purpose") {
                report(panic);
            }
        }));
    }
}

/// A storage and what it must hold.
#[derive(Debug)]
pub struct Known {
    /// The storage.
    pub storage: Storage,
    words: Vec<u32>,
}

impl Known {
    /// Random words, written by the host.
    pub fn upload(device: &Device, random: &mut fastrand::Rng) -> Result<Self> {
        let words: Vec<u32> = (0..WORDS).map(|_| random.u32(..)).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(Self { storage: Storage::from_bytes(device, &bytes)?, words })
    }

    /// The same for ever.
    pub fn frozen(device: &Device, random: &mut fastrand::Rng) -> Result<Self> {
        let words: Vec<u32> = (0..WORDS).map(|_| random.u32(..)).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(Self { storage: Storage::frozen_from_bytes(device, &bytes)?, words })
    }

    /// One word again and again, written by the device.
    pub fn fill(stream: &Stream, pattern: u32) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Fill(pattern), &[Operand::write(&mut storage)])?;
        Ok(Self { storage, words: vec![pattern; WORDS] })
    }

    /// Changes it in place. What it must hold changes only if this is recorded.
    pub fn advance(&mut self, salt: u32, stream: &Stream) -> Result<()> {
        let pipeline = stream.device().pipeline(&ADVANCE)?;
        let work = Work::Dispatch { pipeline: &pipeline, params: &salt.to_ne_bytes(), extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[Operand::update(&mut self.storage)])?;
        self.words.iter_mut().for_each(|x| *x = advanced(*x, salt));
        Ok(())
    }

    /// A new one that depends on two others.
    pub fn mix(&self, other: &Self, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&MIX)?;
        let work = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.operand(), other.operand(), Operand::write(&mut storage)])?;
        let words = self.words.iter().zip(&other.words).map(|(a, b)| mixed(*a, *b)).collect();
        Ok(Self { storage, words })
    }

    /// To read it.
    pub fn operand(&self) -> Operand<'_> {
        Operand::read(&self.storage, 0, BYTES)
    }

    /// Reads it, and panics if it does not hold what it must.
    pub fn check(&self) -> Result<()> {
        let mut bytes = vec![0; BYTES as usize];
        self.storage.read(0, &mut bytes)?;
        self.compare(&bytes);
        Ok(())
    }

    /// The same in a task.
    pub async fn check_async(&self) -> Result<()> {
        self.compare(&self.storage.read_async(0, BYTES as usize).await?);
        Ok(())
    }

    fn compare(&self, bytes: &[u8]) {
        let read: Vec<u32> = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(read, self.words);
    }
}

/// What a thread of a busy program does: records, waits in every way there is, reads and compares, until a call answers with
/// an error or `go_on` says no. Gives what it has worked on, which must hold everything that was recorded.
pub fn work(device: &Device, mut random: fastrand::Rng, mut go_on: impl FnMut(u64) -> bool) -> (Known, Result<()>) {
    let start = (Known::upload(device, &mut random), Known::frozen(device, &mut random));
    let (Ok(mut known), Ok(weights)) = start else { panic!("the device was closed too soon: {start:?}") };
    for round in 0.. {
        if !go_on(round) {
            return (known, Ok(()));
        }
        if let Err(error) = step(device, &mut random, &mut known, &weights) {
            return (known, Err(error));
        }
    }
    unreachable!("a round takes longer than that")
}

/// One round of that.
pub fn step(device: &Device, random: &mut fastrand::Rng, known: &mut Known, weights: &Known) -> Result<()> {
    let stream = Stream::current(device)?;
    for _ in 0..random.usize(1..8) {
        known.advance(random.u32(..), &stream)?;
    }
    match random.u32(0..7) {
        0 => stream.record_event().synchronize(None),
        1 => block_on(stream.record_event().finished()),
        2 => known.check(),
        3 => block_on(known.check_async()),
        4 => known.mix(weights, &stream)?.check(),
        5 => {
            let own = Stream::new(device)?;
            own.wait(&stream.record_event())?;
            known.advance(random.u32(..), &own)
        }
        _ => stream.flush(),
    }
}

/// Whether it says that the device is closed.
pub fn is_closed<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Closed))
}

/// Polls a future until it is ready; the thread is parked in between.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
