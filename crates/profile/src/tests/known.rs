//! Tensors of which every value is known, and the operations that make them.
//!
//! A tensor is a progression, and the kernels keep it one, so the host knows what each must hold from two numbers.

use std::sync::Arc;
use thalweg_doubles::faulty::{Faulty, Plan};
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_doubles::progression::{ADVANCE, WORDS, advanced, combined, words};
pub(crate) use thalweg_doubles::progression::{BYTES, COMBINE};
use thalweg_runtime::{Config, Device, Operand, Result, Storage, Stream, Work};

/// A tensor and what it must hold.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) storage: Storage,
    start: u32,
    slope: u32,
}

impl Known {
    /// Written by the host.
    pub(crate) fn upload(device: &Device, start: u32, slope: u32) -> Result<Self> {
        Ok(Self { storage: Storage::from_bytes(device, &words(start, slope))?, start, slope })
    }

    pub(crate) fn fill(stream: &Stream, pattern: u32) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Fill(pattern), &[Operand::write(&mut storage)])?;
        Ok(Self { storage, start: pattern, slope: 0 })
    }

    pub(crate) fn copy(&self, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[self.read(), Operand::write(&mut storage)])?;
        Ok(Self { storage, ..*self })
    }

    pub(crate) fn combine(&self, other: &Self, salt: u32, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&COMBINE)?;
        let params = &salt.to_ne_bytes();
        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.read(), other.read(), Operand::write(&mut storage)])?;
        let (start, slope) = (combined(self.start, other.start, salt), combined(self.slope, other.slope, 0));
        Ok(Self { storage, start, slope })
    }

    pub(crate) fn advance(&mut self, salt: u32, stream: &Stream) -> Result<()> {
        let pipeline = stream.device().pipeline(&ADVANCE)?;
        let params = &salt.to_ne_bytes();
        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[Operand::update(&mut self.storage)])?;
        (self.start, self.slope) = (advanced(self.start, salt), advanced(self.slope, 0));
        Ok(())
    }

    /// Whether every word is right.
    pub(crate) fn is_right(&self) -> Result<bool> {
        let mut found = vec![0; BYTES as usize];
        self.storage.read(0, &mut found)?;
        Ok(self.is(&found))
    }

    /// Whether these are its words.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        bytes == words(self.start, self.slope)
    }

    fn read(&self) -> Operand<'_> {
        Operand::read(&self.storage, 0, BYTES)
    }
}

/// A device on the mock.
pub(crate) fn mock() -> Device {
    Device::new(MockDevice::new(MockConfig::default()), Config::default()).unwrap()
}

/// A device on the mock that can be made to fail.
pub(crate) fn faulty(plan: Plan) -> (Device, Arc<Faulty>) {
    let faulty = Faulty::new(MockDevice::new(MockConfig::default()), plan);
    (Device::new(Arc::<Faulty>::clone(&faulty), Config::default()).unwrap(), faulty)
}

/// Streams of one's own.
pub(crate) fn streams<const N: usize>(device: &Device) -> [Stream; N] {
    std::array::from_fn(|_| Stream::new(device).unwrap())
}

/// A seed that no earlier run had, or the one in `THALWEG_SEED`.
pub(crate) fn fresh_seed() -> u64 {
    let given = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..))
}
