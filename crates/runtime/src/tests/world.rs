//! Tensors whose every value is known, and the operations that make them.
//!
//! A tensor is a progression: word i is `start + i * slope`, in wrapping arithmetic. The operations below keep it one,
//! so the host knows what each tensor must hold from two numbers, and a stale or foreign word shows.

use crate::{Device, Error, Operand, Result, Storage, Stream, Work};
use std::borrow::Cow;
use thalweg_hal::{Access, HostCall, KernelFailure, KernelSource};

/// Words of every tensor.
pub(crate) const WORDS: usize = 96;
pub(crate) const BYTES: u64 = 4 * WORDS as u64;

/// out = 31 a + 17 b + salt
pub(crate) static COMBINE: KernelSource = KernelSource {
    name: Cow::Borrowed("combine"),
    bindings: Cow::Borrowed(&[Access::Read, Access::Read, Access::Write]),
    params_bytes: 4,
    host: |call| {
        let salt = call.params::<u32>()?;
        let (a, b) = (part(call, 0)?, part(call, 1)?);
        for ((out, a), b) in call.outputs.get::<u32>(2)?.iter_mut().zip(a).zip(b) {
            *out = combined(*a, *b, salt);
        }
        Ok(())
    },
};

/// x = 5 x + salt, in place
pub(crate) static ADVANCE: KernelSource = KernelSource {
    name: Cow::Borrowed("advance"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 4,
    host: |call| {
        let salt = call.params::<u32>()?;
        call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x = advanced(*x, salt));
        Ok(())
    },
};

/// Fails if the first word is even.
pub(crate) static FAIL_IF_EVEN: KernelSource = KernelSource {
    name: Cow::Borrowed("fail_if_even"),
    bindings: Cow::Borrowed(&[Access::Read, Access::Write]),
    params_bytes: 0,
    host: |call| {
        let first = call.inputs.get::<u32>(0)?[0];
        if first % 2 == 0 {
            return Err(KernelFailure::new(format!("the first word is {first}, expected an odd number")));
        }
        let from = part(call, 0)?;
        call.outputs.get::<u32>(1)?.copy_from_slice(from);
        Ok(())
    },
};

fn part<'a>(call: &HostCall<'a>, index: usize) -> Result<&'a [u32], KernelFailure> {
    Ok(&call.inputs.get::<u32>(index)?[call.items.start as usize..call.items.end as usize])
}

fn combined(a: u32, b: u32, salt: u32) -> u32 {
    a.wrapping_mul(31).wrapping_add(b.wrapping_mul(17)).wrapping_add(salt)
}

fn advanced(x: u32, salt: u32) -> u32 {
    x.wrapping_mul(5).wrapping_add(salt)
}

/// A tensor and what it must hold.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) storage: Storage,
    start: u32,
    slope: u32,
    /// Whether an operation that it depends on fails.
    pub(crate) broken: bool,
}

/// What a tensor turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every word as expected, or the failure that was expected.
    Right,
    /// Other words, or words where there should be a failure.
    Wrong,
    /// An error that was not expected.
    Failed,
}

impl Known {
    /// Written by the host.
    pub(crate) fn upload(device: &Device, start: u32, slope: u32) -> Result<Self> {
        Ok(Self { storage: Storage::from_bytes(device, &words(start, slope))?, start, slope, broken: false })
    }

    /// Written by the host, and frozen.
    pub(crate) fn freeze(device: &Device, start: u32, slope: u32) -> Result<Self> {
        Ok(Self { storage: Storage::frozen_from_bytes(device, &words(start, slope))?, start, slope, broken: false })
    }

    pub(crate) fn fill(stream: &Stream, pattern: u32) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Fill(pattern), &[Operand::write(&mut storage)])?;
        Ok(Self { storage, start: pattern, slope: 0, broken: false })
    }

    pub(crate) fn copy(&self, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[self.read(), Operand::write(&mut storage)])?;
        Ok(Self { storage, start: self.start, slope: self.slope, broken: self.broken })
    }

    pub(crate) fn combine(&self, other: &Self, salt: u32, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&COMBINE)?;
        let params = &salt.to_ne_bytes();
        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.read(), other.read(), Operand::write(&mut storage)])?;
        let start = combined(self.start, other.start, salt);
        let slope = combined(self.slope, other.slope, 0);
        Ok(Self { storage, start, slope, broken: self.broken || other.broken })
    }

    pub(crate) fn advance(&mut self, salt: u32, stream: &Stream) -> Result<()> {
        let pipeline = stream.device().pipeline(&ADVANCE)?;
        let params = &salt.to_ne_bytes();
        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[Operand::update(&mut self.storage)])?;
        (self.start, self.slope) = (advanced(self.start, salt), advanced(self.slope, 0));
        Ok(())
    }

    /// A copy that fails, in the kernel, if the first word is even.
    pub(crate) fn odd_copy(&self, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&FAIL_IF_EVEN)?;
        let work = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.read(), Operand::write(&mut storage)])?;
        let broken = self.broken || self.start.is_multiple_of(2);
        Ok(Self { storage, start: self.start, slope: self.slope, broken })
    }

    /// Reads it.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.is_right(), self.broken) {
            (Ok(true), false) | (Err(Error::Failed(_)), true) => Verdict::Right,
            (Ok(_), _) => Verdict::Wrong,
            (Err(_), _) => Verdict::Failed,
        }
    }

    /// Whether every word is right.
    pub(crate) fn is_right(&self) -> Result<bool> {
        let mut found = vec![0; BYTES as usize];
        self.storage.read(0, &mut found)?;
        Ok(found == words(self.start, self.slope))
    }

    pub(crate) fn read(&self) -> Operand<'_> {
        Operand::read(&self.storage, 0, BYTES)
    }
}

fn words(start: u32, slope: u32) -> Vec<u8> {
    (0..WORDS as u32).flat_map(|i| start.wrapping_add(i.wrapping_mul(slope)).to_ne_bytes()).collect()
}

/// Numbers for tests: SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A seed that no earlier run had, or the one in `THALWEG_SEED`.
    pub(crate) fn fresh_seed() -> u64 {
        if let Some(seed) = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok()) {
            return seed;
        }
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        clock.map_or(0, |clock| clock.as_nanos() as u64)
    }
}
