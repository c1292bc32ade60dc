//! Tensors of known values, and kernels that keep them so.
//!
//! A tensor is a progression: word i is `start + i * slope`, in wrapping arithmetic. The kernels keep it one, so the
//! host knows what each tensor must hold from two numbers, and a stale or foreign word shows.

use std::borrow::Cow;
use thalweg_hal::{Access, Features, Groups, HostCall, KernelFailure, KernelSource, Wgsl, WgslModule};

/// Words of every tensor.
pub const WORDS: usize = 96;
/// Their bytes.
pub const BYTES: u64 = 4 * WORDS as u64;

/// out = 31 a + 17 b + salt
pub static COMBINE: KernelSource = KernelSource {
    name: Cow::Borrowed("combine"),
    bindings: Cow::Borrowed(&[Access::Read, Access::Read, Access::Write]),
    params_bytes: 4,
    wgsl: wgsl(include_str!("progression/combine.wgsl"), &[]),
    host: Some(|call| {
        let salt = call.params::<u32>()?;
        let (a, b) = (part(call, 0)?, part(call, 1)?);
        for ((out, a), b) in call.outputs.get::<u32>(0)?.iter_mut().zip(a).zip(b) {
            *out = combined(*a, *b, salt);
        }
        Ok(())
    }),
};

/// x = 5 x + salt, in place
pub static ADVANCE: KernelSource = KernelSource {
    name: Cow::Borrowed("advance"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 4,
    wgsl: wgsl(include_str!("progression/advance.wgsl"), &[]),
    host: Some(|call| {
        let salt = call.params::<u32>()?;
        call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x = advanced(*x, salt));
        Ok(())
    }),
};

/// Fails if the first word is even.
pub static FAIL_IF_EVEN: KernelSource = KernelSource {
    name: Cow::Borrowed("fail_if_even"),
    bindings: Cow::Borrowed(&[Access::Read, Access::Write]),
    params_bytes: 0,
    wgsl: wgsl(include_str!("progression/fail_if_even.wgsl"), &["the first word is even"]),
    host: Some(|call| {
        let first = call.inputs.get::<u32>(0)?[0];
        if first % 2 == 0 {
            return Err(KernelFailure::new(format!("the first word is {first}, expected an odd number")));
        }
        let from = part(call, 0)?;
        call.outputs.get::<u32>(0)?.copy_from_slice(from);
        Ok(())
    }),
};

const fn wgsl(source: &'static str, failures: &'static [&'static str]) -> Option<Wgsl> {
    Some(Wgsl::clamped(WgslModule {
        source: Cow::Borrowed(source),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features: Features::NONE,
        failures: Cow::Borrowed(failures),
    }))
}

fn part<'a>(call: &HostCall<'a>, index: usize) -> Result<&'a [u32], KernelFailure> {
    Ok(&call.inputs.get::<u32>(index)?[call.items.start as usize..call.items.end as usize])
}

/// What [`COMBINE`] makes of one word of each.
pub fn combined(a: u32, b: u32, salt: u32) -> u32 {
    a.wrapping_mul(31).wrapping_add(b.wrapping_mul(17)).wrapping_add(salt)
}

/// What [`ADVANCE`] makes of a word.
pub fn advanced(x: u32, salt: u32) -> u32 {
    x.wrapping_mul(5).wrapping_add(salt)
}

/// What a progression holds.
pub fn words(start: u32, slope: u32) -> Vec<u8> {
    (0..WORDS as u32).flat_map(|i| start.wrapping_add(i.wrapping_mul(slope)).to_ne_bytes()).collect()
}
