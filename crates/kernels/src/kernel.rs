//! From a kernel's declaration to the `KernelSource`s that a backend receives.
//!
//! A kernel is declared once: a [`Kernel`], which says what it binds and computes, and a line of [`kernels!`], which
//! names it and lists the types of elements that it takes. Everything else is made of these.

use crate::Isa;
use crate::gpu::Gpu;
use crate::params::Parameters;
use crate::simd::{Simd, Task};
use std::borrow::Cow;
use std::fmt;
use thalweg_hal::{Access, HostCall, HostFn, KernelFailure, KernelSource, MAX_PARAMETER_BYTES, StaticKernel};

/// What every function that runs a kernel returns.
pub(crate) type Outcome<T = ()> = Result<T, KernelFailure>;

/// The type of a kernel's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point. Sums are f32, and each result is rounded once.
    F16,
    /// Unsigned 32-bit integer; in kernels that only move elements, any element of 4 bytes.
    U32,
    /// Signed 32-bit integer.
    I32,
}

/// What one kernel binds, and how it computes: the host form, generic over the vector instructions, and the form for
/// GPUs.
pub(crate) trait Kernel {
    /// The bindings in order.
    const BINDINGS: &'static [Access];
    /// The inputs that have the same type in every form, such as ids. Those are counted by themselves: 0 is the first.
    const FIXED: &'static [usize] = &[];
    /// Whether it has one output, of the same type in every form, such as ids.
    const FIXED_OUTPUT: bool = false;
    /// The parameter struct.
    type Params: Parameters;
    /// The forms for GPUs.
    const GPU: Gpu;

    /// Computes `call.items`. Implementations are `#[inline(always)]`, so that they are compiled with the instructions.
    fn run<S: Simd>(simd: S, params: Self::Params, call: &mut HostCall<'_>) -> Outcome;
}

/// One kernel, for each type of element that it takes.
pub struct Kernels {
    pub(crate) forms: &'static [Form],
    /// What [`Kernels::parameter_offsets`] says.
    pub(crate) offsets: fn() -> Vec<usize>,
}

/// A kernel for one type of element.
pub(crate) struct Form {
    pub(crate) scalar: Scalar,
    pub(crate) kernel: StaticKernel,
    pub(crate) on: fn(Isa) -> KernelSource,
}

impl Kernels {
    /// The kernel for elements of a type; `None` if it does not take them.
    pub fn get(&self, scalar: Scalar) -> Option<&'static StaticKernel> {
        self.form(scalar).map(|form| &form.kernel)
    }

    /// The same, with the given vector instructions, whatever is best; the portable form where the machine lacks them.
    /// For tests.
    pub fn on(&self, scalar: Scalar, isa: Isa) -> Option<KernelSource> {
        self.form(scalar).map(|form| (form.on)(isa))
    }

    fn form(&self, scalar: Scalar) -> Option<&'static Form> {
        self.forms.iter().find(|form| form.scalar == scalar)
    }

    /// The types that it takes, each with its kernel.
    pub fn forms(&self) -> impl ExactSizeIterator<Item = (Scalar, &'static StaticKernel)> {
        self.forms.iter().map(|form| (form.scalar, &form.kernel))
    }

    /// Where each field of the parameters lies, of structs in it too, in bytes.
    pub fn parameter_offsets(&self) -> Vec<usize> {
        (self.offsets)()
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.forms.iter().map(|form| &form.kernel.name)).finish()
    }
}

/// Declares the kernels of a file, and lists them in `ALL`. A line has a kernel's name in the program, its name for
/// errors and traces, and what computes it: `floats(K)` takes f32, and f16 by way of f32; `numbers(K)` is `K<f32>`, f16
/// by way of that, `K<u32>` and `K<i32>`; `bits(K)`, which only moves elements, is `K<u32>` for any of 4 bytes, and
/// `K<u16>` for f16; and `each(F16: A, U32: B)` names them.
macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $kind:ident($($kernel:tt)+);)+) => {
        $(
            $(#[$doc])*
            pub static $name: crate::Kernels = crate::kernel::kernels!(@$kind $text, $($kernel)+);
        )+

        /// Every kernel that is declared here.
        pub(crate) static ALL: &[&crate::Kernels] = &[$(&$name),+];
    };
    (@floats $text:literal, $kernel:ty) => {
        crate::kernel::kernels!(@each $text, F32: $kernel, F16: crate::float16::Half<$kernel>)
    };
    (@numbers $text:literal, $kernel:ident) => {
        crate::kernel::kernels!(
            @each $text, F32: $kernel<f32>, F16: crate::float16::Half<$kernel<f32>>, U32: $kernel<u32>, I32: $kernel<i32>
        )
    };
    (@bits $text:literal, $kernel:ident) => {
        crate::kernel::kernels!(@each $text, U32: $kernel<u32>, F16: $kernel<u16>)
    };
    (@each $text:literal, $scalar:ident: $kernel:ty $(, $others:ident: $other:ty)*) => {
        {
            static FORMS: [crate::kernel::Form; [stringify!($scalar) $(, stringify!($others))*].len()] = [
                crate::kernel::kernels!(@form $text, $scalar: $kernel),
                $(crate::kernel::kernels!(@form $text, $others: $other)),*
            ];
            crate::Kernels { forms: &FORMS, offsets: crate::params::offsets::<<$kernel as crate::kernel::Kernel>::Params> }
        }
    };
    (@form $text:literal, $scalar:ident: $kernel:ty) => {
        crate::kernel::Form {
            scalar: crate::Scalar::$scalar,
            kernel: thalweg_hal::StaticKernel::new(crate::kernel::source::<$kernel>(
                concat!($text, crate::kernel::kernels!(@suffix $scalar)),
                crate::Scalar::$scalar,
            )),
            on: |isa| {
                crate::kernel::source_on::<$kernel>(
                    concat!($text, crate::kernel::kernels!(@suffix $scalar)),
                    crate::Scalar::$scalar,
                    isa,
                )
            },
        }
    };
    (@suffix F32) => { "" };
    (@suffix F16) => { "_f16" };
    (@suffix U32) => { "_u32" };
    (@suffix I32) => { "_i32" };
}
pub(crate) use kernels;

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
pub(crate) const fn source<K: Kernel>(name: &'static str, scalar: Scalar) -> KernelSource {
    with_host::<K>(name, scalar, |call| run_on::<K>(crate::isa(), call))
}

/// The kernel with the given instructions. Runs the portable form where the machine lacks them.
pub(crate) fn source_on<K: Kernel>(name: &'static str, scalar: Scalar, isa: Isa) -> KernelSource {
    let host: HostFn = match isa {
        Isa::Avx512 => |call| run_on::<K>(Isa::Avx512, call),
        Isa::Avx2 => |call| run_on::<K>(Isa::Avx2, call),
        Isa::Neon => |call| run_on::<K>(Isa::Neon, call),
        Isa::Portable => |call| run_on::<K>(Isa::Portable, call),
    };
    with_host::<K>(name, scalar, host)
}

const fn with_host<K: Kernel>(name: &'static str, scalar: Scalar, host: HostFn) -> KernelSource {
    const { assert!(size_of::<K::Params>() <= MAX_PARAMETER_BYTES as usize && size_of::<K::Params>().is_multiple_of(4)) };
    KernelSource {
        name: Cow::Borrowed(name),
        bindings: Cow::Borrowed(K::BINDINGS),
        params_bytes: size_of::<K::Params>() as u32,
        wgsl: Some(K::GPU.wgsl(matches!(scalar, Scalar::F16))),
        host: Some(host),
    }
}

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
