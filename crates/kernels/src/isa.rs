//! Which vector instructions this machine has. Chosen once per process.

use crate::simd::{Portable, Simd, Task};
use std::fmt;
use std::sync::OnceLock;

/// A set of vector instructions that the host kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// x86-64 with AVX-512F: 16 lanes, 32 registers.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// AArch64: always there.
    Neon,
    /// Whatever the compiler's baseline is.
    Portable,
}

impl Isa {
    /// Every set, best first.
    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// Every set that this machine has, best first. Never empty: the last is [`Isa::Portable`].
    pub fn supported() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_supported())
    }

    /// Whether this machine has the set.
    pub fn is_supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::simd::Avx512::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::simd::Avx2::new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            Self::Portable => true,
            #[allow(unreachable_patterns, reason = "which sets exist depends on the target")]
            _ => false,
        }
    }

    /// The name to show: "avx512".
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Runs a task compiled for this set; for a set that the machine lacks, for the portable one.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                if let Some(simd) = crate::simd::Avx512::new() {
                    return simd.call(task);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                if let Some(simd) = crate::simd::Avx2::new() {
                    return simd.call(task);
                }
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => return crate::simd::Neon::new().call(task),
            _ => {}
        }
        Portable.call(task)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The set that the kernels use: the best that this machine has.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| Isa::supported().next().unwrap_or(Isa::Portable))
}
