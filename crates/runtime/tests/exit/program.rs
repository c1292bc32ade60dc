//! What the cases have in common: devices, data of known words, and threads that work.

use crate::driver::Driver;
use crate::parent::MARK;
pub use pollster::block_on;

use std::borrow::Cow;
use std::sync::{Arc, Once, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_cpu::CpuDevice;
use thalweg_doubles::faulty::{Faulty, Plan};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::{Access, Features, Groups, HostAccess, HostCall, KernelFailure, KernelSource, Wgsl, WgslModule};
use thalweg_runtime::{Config, Device, Error, Operand, Pending, Result, Storage, Stream, Work};

/// Words of every storage.
const WORDS: usize = 64;
/// Its bytes.
pub const BYTES: u64 = 4 * WORDS as u64;

/// x = 5 x + salt, in place.
pub static ADVANCE: KernelSource = KernelSource {
    name: Cow::Borrowed("advance"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 4,
    wgsl: wgsl(
        "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
         var<immediate> salt: u32;
         @compute @workgroup_size(64)
         fn main(@builtin(global_invocation_id) id: vec3<u32>) { x[id.x] = 5u * x[id.x] + salt; }",
    ),
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
    wgsl: wgsl(
        "@group(0) @binding(0) var<storage, read> a: array<u32>;
         @group(0) @binding(1) var<storage, read> b: array<u32>;
         @group(0) @binding(2) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(64)
         fn main(@builtin(global_invocation_id) id: vec3<u32>) { out[id.x] = 31u * a[id.x] + 17u * b[id.x]; }",
    ),
    host: Some(|call| {
        let (a, b) = (part(call, 0)?, part(call, 1)?);
        for ((out, a), b) in call.outputs.get::<u32>(0)?.iter_mut().zip(a).zip(b) {
            *out = mixed(*a, *b);
        }
        Ok(())
    }),
};

/// The form for GPUs, with an invocation for each word.
const fn wgsl(source: &'static str) -> Option<Wgsl> {
    Some(Wgsl::clamped(WgslModule {
        source: Cow::Borrowed(source),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features: Features::NONE,
        failures: Cow::Borrowed(&[]),
    }))
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Double {
    /// The CPU backend.
    Cpu,
    /// The mock.
    Mock,
    /// The mock as a discrete GPU.
    MockDiscrete,
    /// The best Vulkan device as a discrete GPU, where there is one.
    VulkanDiscrete,
    /// The system's Metal device, or the simulator's, where there is one.
    Metal,
}

impl Double {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Cpu, Self::Mock, Self::MockDiscrete, Self::VulkanDiscrete, Self::Metal];
    /// Those that run kernels on the host.
    pub const HOST: &[Self] = &[Self::Cpu, Self::Mock, Self::MockDiscrete];

    /// As part of a test's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Mock => "mock",
            Self::MockDiscrete => "mock_discrete",
            Self::VulkanDiscrete => "vulkan_discrete",
            Self::Metal => "metal",
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
            Double::MockDiscrete => MockDevice::new(MockConfig::discrete(self.seed)),
            Double::VulkanDiscrete => {
                static WARM: Once = Once::new();
                WARM.call_once(Self::warm_up);
                thalweg_vulkan::testing::discrete().unwrap()
            }
            Double::Metal => thalweg_metal::testing::device().unwrap(),
        }
    }

    /// Runs each kernel once, on a device that is then closed. A driver that computes on the processor compiles a
    /// kernel when it first runs, on a thread of its own, and what its compiler registers for the exit then runs before
    /// what the runtime has registered (its `exit` says so): here it has been registered before.
    fn warm_up() {
        let device = Self::device(thalweg_vulkan::testing::discrete().unwrap());
        let stream = Stream::new(&device).unwrap();
        let mut known = Known::fill(&stream, 1).unwrap();
        known.advance(2, &stream).unwrap();
        known.mix(&known, &stream).unwrap().check().unwrap();
        device.close(Duration::from_secs(60)).unwrap();
    }

    /// A device. Its driver minds how it is left.
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
    /// What was on its way to the host when it was last [downloaded](Self::download), and what that must be.
    downloaded: Option<(Pending<Vec<u8>>, Vec<u32>)>,
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

impl Known {
    fn new(storage: Storage, words: Vec<u32>) -> Self {
        Self { storage, words, downloaded: None }
    }

    /// Random words, written by the host.
    pub fn upload(device: &Device, random: &mut fastrand::Rng) -> Result<Self> {
        let words: Vec<u32> = (0..WORDS).map(|_| random.u32(..)).collect();
        Ok(Self::new(Storage::from_bytes(device, &bytes_of(&words))?, words))
    }

    /// The same for ever.
    pub fn frozen(device: &Device, random: &mut fastrand::Rng) -> Result<Self> {
        let words: Vec<u32> = (0..WORDS).map(|_| random.u32(..)).collect();
        Ok(Self::new(Storage::frozen_from_bytes(device, &bytes_of(&words))?, words))
    }

    /// One word again and again, written by the device.
    pub fn fill(stream: &Stream, pattern: u32) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Fill(pattern), &[Operand::write(&mut storage)])?;
        Ok(Self::new(storage, vec![pattern; WORDS]))
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
        Ok(Self::new(storage, words))
    }

    /// To read it.
    pub fn operand(&self) -> Operand<'_> {
        Operand::read(&self.storage, 0, BYTES)
    }

    /// Reads it, and panics if it does not hold what it must.
    pub fn check(&self) -> Result<()> {
        let mut bytes = vec![0; BYTES as usize];
        self.storage.read(0, &mut bytes)?;
        assert_eq!(bytes, bytes_of(&self.words));
        Ok(())
    }

    /// The same in a task.
    pub async fn check_async(&self) -> Result<()> {
        assert_eq!(self.storage.read_async(0, BYTES as usize).await?, bytes_of(&self.words));
        Ok(())
    }

    /// Has it copied to the host as it is now.
    pub fn download(&mut self) -> Result<Pending<Vec<u8>>> {
        let pending = self.storage.download(0, BYTES as usize)?;
        self.downloaded = Some((pending.clone(), self.words.clone()));
        Ok(pending)
    }

    /// Waits for what was downloaded last, and panics if it is not what it must be.
    pub fn check_downloaded(&self) -> Result<()> {
        let (pending, words) = self.downloaded.as_ref().expect("it was downloaded");
        assert_eq!(*pending.wait()?, bytes_of(words));
        Ok(())
    }

    /// Everything of it that can be read once the device is closed, and has come to its end.
    pub fn check_closed(&self) {
        self.check_downloaded().unwrap();
        let now = self.check();
        match self.storage.device().info().host_access {
            HostAccess::None => assert!(is_closed(&now), "{now:?}"),
            HostAccess::Uncached | HostAccess::Cached => now.unwrap(),
        }
    }
}

/// What a thread of a busy program does: records, waits in every way there is, reads and compares, until a call answers
/// with an error or `go_on` says no. Gives what it has worked on, which must hold everything that was recorded.
pub fn work(device: &Device, mut random: fastrand::Rng, mut go_on: impl FnMut(u64) -> bool) -> (Known, Result<()>) {
    let start = (Known::upload(device, &mut random), Known::frozen(device, &mut random));
    let (Ok(mut known), Ok(weights)) = start else { panic!("the device was closed too soon: {start:?}") };
    let _ = known.download().unwrap(); // looked at later
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
    match random.u32(0..9) {
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
        6 => known.download().map(drop),
        7 => {
            let _ = block_on(known.download()?)?;
            known.check_downloaded()
        }
        _ => stream.flush(),
    }
}

/// Threads that do nothing but move data, now and then in several pieces, until a call answers with an error. Each
/// gives what it had downloaded last, and what that must be. Returns once they are at it.
pub fn start_transfers(program: &Program, device: &Device) -> Vec<JoinHandle<(Transfer, Error)>> {
    let (ready, is_ready) = mpsc::channel();
    let start = |thread| {
        let (device, mut random, ready) = (device.clone(), program.random(thread), ready.clone());
        std::thread::spawn(move || {
            let mut last = Transfer::start(&device, &mut random).unwrap();
            for round in 0.. {
                if round == 3 {
                    ready.send(()).unwrap();
                }
                match Transfer::start(&device, &mut random) {
                    Ok(next) => last = next,
                    Err(error) => return (last, error),
                }
            }
            unreachable!("a round takes longer than that")
        })
    };
    let threads: Vec<_> = (100..104).map(start).collect();
    threads.iter().for_each(|_| is_ready.recv().unwrap());
    threads
}

/// Data that went to the device, and is on its way back.
#[derive(Debug)]
pub struct Transfer {
    data: Vec<u8>,
    back: Pending<Vec<u8>>,
}

impl Transfer {
    fn start(device: &Device, random: &mut fastrand::Rng) -> Result<Self> {
        let length = if random.u32(0..8) == 0 { random.usize(1..3 << 20) } else { random.usize(1..50_000) };
        let mut data = vec![0; length];
        random.fill(&mut data);
        let storage = match random.bool() {
            true => Storage::from_bytes(device, &data)?,
            false => Storage::frozen_from_bytes(device, &data)?,
        };
        if random.u32(0..4) == 0 {
            let mut read = vec![0; length];
            storage.read(0, &mut read)?;
            assert!(read == data);
        }
        Ok(Self { back: storage.download(0, length)?, data })
    }

    /// Waits for it, and panics if it is not what it was.
    pub fn check(&self) -> Result<()> {
        assert!(*self.back.wait()? == self.data);
        Ok(())
    }
}

/// Whether it says that the device is closed.
pub fn is_closed<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Closed))
}
