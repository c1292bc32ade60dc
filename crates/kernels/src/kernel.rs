//! From a kernel's implementation to the `KernelSource` that a backend receives.

use crate::Isa;
use crate::simd::{Simd, Task};
use bytemuck::Pod;
use std::borrow::Cow;
use thalweg_hal::{Access, HostCall, KernelFailure, KernelSource, MAX_PARAMETER_BYTES, Wgsl};

/// What every function that runs a kernel returns.
pub(crate) type Outcome<T = ()> = Result<T, KernelFailure>;

/// The host form of one kernel, generic over the vector instructions.
pub(crate) trait Kernel {
    /// Unique name.
    const NAME: &'static str;
    /// The bindings in order.
    const BINDINGS: &'static [Access];
    /// The parameter struct.
    type Params: Pod;
    /// The form for GPUs. Every kernel has one.
    const WGSL: Wgsl;

    /// Computes `call.items`. Implementations are `#[inline(always)]`, so that they are compiled with the instructions.
    fn run<S: Simd>(simd: S, params: Self::Params, call: &mut HostCall<'_>) -> Outcome;
}

struct Run<'c, 'a, K: Kernel> {
    params: K::Params,
    call: &'c mut HostCall<'a>,
}

impl<K: Kernel> Task for Run<'_, '_, K> {
    type Output = Outcome;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Outcome {
        K::run(simd, self.params, self.call)
    }
}

fn run_on<K: Kernel>(isa: Isa, call: &mut HostCall<'_>) -> Outcome {
    if call.items.start > call.items.end || call.items.end > call.extent[0] {
        return Err(KernelFailure::new(format!("items {:?} of an extent of {}", call.items, call.extent[0])));
    }
    let params = call.params()?;
    isa.run(Run::<K> { params, call })
}

/// The kernel, with the instructions of this process ([`crate::isa()`]).
pub(crate) const fn source<K: Kernel>() -> KernelSource {
    with_host::<K>(|call| run_on::<K>(crate::isa(), call))
}

/// The kernel with the given instructions, for tests. Runs the portable form where the machine lacks them.
pub(crate) fn source_on<K: Kernel>(isa: Isa) -> KernelSource {
    with_host::<K>(match isa {
        Isa::Avx512 => |call| run_on::<K>(Isa::Avx512, call),
        Isa::Avx2 => |call| run_on::<K>(Isa::Avx2, call),
        Isa::Neon => |call| run_on::<K>(Isa::Neon, call),
        Isa::Portable => |call| run_on::<K>(Isa::Portable, call),
    })
}

const fn with_host<K: Kernel>(host: thalweg_hal::HostFn) -> KernelSource {
    const { assert!(size_of::<K::Params>() <= MAX_PARAMETER_BYTES as usize && size_of::<K::Params>().is_multiple_of(4)) };
    KernelSource {
        name: Cow::Borrowed(K::NAME),
        bindings: Cow::Borrowed(K::BINDINGS),
        params_bytes: size_of::<K::Params>() as u32,
        wgsl: Some(K::WGSL),
        host: Some(host),
    }
}

/// Defines the public items of a kernel: its static, and the same kernel with given instructions.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $on:ident: $kernel:ty) => {
        $(#[$doc])*
        pub static $name: thalweg_hal::StaticKernel =
            thalweg_hal::StaticKernel::new(crate::kernel::source::<$kernel>());

        #[doc = concat!("[`", stringify!($name), "`] compiled for `isa`, whatever is best; for tests.")]
        pub fn $on(isa: crate::Isa) -> thalweg_hal::KernelSource {
            crate::kernel::source_on::<$kernel>(isa)
        }
    };
}
pub(crate) use kernel;

/// Fails unless a binding has exactly as many elements as the parameters say.
pub(crate) fn expect_len(what: &str, len: usize, factors: &[usize]) -> Outcome {
    let expected = factors.iter().try_fold(1usize, |product, factor| product.checked_mul(*factor));
    if expected == Some(len) {
        return Ok(());
    }
    let product = factors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" * ");
    Err(KernelFailure::new(format!("{what} has {len} elements, the parameters say {product}")))
}

/// Fails if a parameter is zero.
pub(crate) fn expect_positive(what: &str, value: u32) -> Outcome<usize> {
    if value == 0 { Err(KernelFailure::new(format!("{what} is 0, must be at least 1"))) } else { Ok(value as usize) }
}

/// Fails unless the dispatch has the expected number of items.
pub(crate) fn expect_extent(what: &str, call: &HostCall<'_>, expected: u128) -> Outcome {
    if u128::from(call.extent[0]) == expected {
        return Ok(());
    }
    Err(KernelFailure::new(format!("extent of {} items, {what} are {expected}", call.extent[0])))
}
