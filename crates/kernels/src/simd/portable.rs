//! Plain Rust on arrays of 8, which compilers turn into whatever vectors the baseline has.

use super::{Simd, Task};

/// The token, free for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

/// Compiles the task as a function of its own, so that a tile has all registers to itself and exists once.
#[inline(never)]
fn apart<T: Task>(simd: Portable, task: T) -> T::Output {
    task.run(simd)
}

/// Defines methods that are one scalar expression for each lane.
macro_rules! lanes {
    ($($name:ident($($argument:ident),*) = $expression:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: Self::V),*) -> Self::V {
            let mut out = [0.0; Self::LANES];
            for i in 0..Self::LANES {
                $(let $argument = $argument[i];)*
                out[i] = $expression;
            }
            out
        }
    )*};
}

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    // For 16 registers of 4 lanes: 8 accumulators, 4 of the panel, the broadcasts.
    const TILE_ROWS: usize = 2;

    #[inline(always)]
    fn call<T: Task>(self, task: T) -> T::Output {
        apart(self, task)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; 8]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        let mut out = [0.0; Self::LANES];
        out.copy_from_slice(&from[..Self::LANES]);
        out
    }
    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32]) {
        to[..Self::LANES].copy_from_slice(&value);
    }

    lanes! {
        add(a, b) = a + b;
        sub(a, b) = a - b;
        mul(a, b) = a * b;
        div(a, b) = a / b;
        // Without the instruction `f32::mul_add` is a library call, a hundred times slower.
        mul_add(a, b, c) = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            a.mul_add(b, c)
        } else {
            a * b + c
        };
        max(a, b) = if a > b { a } else { b };
        min(a, b) = if a < b { a } else { b };
        abs(a) = a.abs();
        sqrt(a) = a.sqrt();
        copysign(a, sign) = a.copysign(sign);
        select_less(a, b, yes, no) = if a < b { yes } else { no };
        // Adding and taking away 2^23 leaves no room for a fraction; larger values are whole already.
        round(a) = if a.abs() < 8_388_608.0 { ((a.abs() + 8_388_608.0) - 8_388_608.0).copysign(a) } else { a };
        pow2(a) = f32::from_bits(((a as i32).wrapping_add(127) as u32) << 23);
    }
}
