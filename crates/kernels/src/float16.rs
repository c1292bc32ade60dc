//! Kernels on 16-bit floats: the f32 form between two conversions.

use crate::gpu::Gpu;
use crate::kernel::{Kernel, Outcome};
use crate::simd::Simd;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, HostInputs, HostOutputs};

/// The form with f16 for f32 of a kernel. On the host every float is widened, the kernel computes in f32, and what it
/// writes is rounded once. What is the same in every form is left as it is.
pub(crate) struct Half<K>(PhantomData<K>);

impl<K: Kernel> Kernel for Half<K> {
    const BINDINGS: &'static [Access] = K::BINDINGS;
    const FIXED: &'static [usize] = K::FIXED;
    const FIXED_OUTPUT: bool = K::FIXED_OUTPUT;
    type Params = K::Params;
    const GPU: Gpu = K::GPU;

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: K::Params, call: &mut HostCall<'_>) -> Outcome {
        let written = K::BINDINGS.iter().filter(|access| access.writes()).count();
        let floats = (0..K::BINDINGS.len() - written).filter(|at| !K::FIXED.contains(at));
        // What is bound more than once, as the parts of one product are, is widened once.
        let mut read: Vec<(&[f16], Vec<f32>)> = Vec::new();
        for at in floats {
            let narrow = call.inputs.get::<f16>(at)?;
            if !read.iter().any(|(known, _)| std::ptr::eq(*known, narrow)) {
                read.push((narrow, narrow.to_f32_vec()));
            }
        }
        let mut wide_outputs: Vec<Vec<f32>> = Vec::new();
        for at in (0..written).filter(|_| !K::FIXED_OUTPUT) {
            wide_outputs.push(call.outputs.get::<f16>(at)?.to_f32_vec());
        }
        let mut inputs: Vec<&[u8]> = Vec::new();
        for at in 0..K::BINDINGS.len() - written {
            let bytes = call.inputs.get::<u8>(at)?;
            let known = read.iter().find(|(known, _)| std::ptr::eq(bytemuck::cast_slice::<_, u8>(known), bytes));
            inputs.push(match known {
                Some((_, wide)) if !K::FIXED.contains(&at) => bytemuck::cast_slice(wide),
                _ => bytes,
            });
        }
        let outputs = if K::FIXED_OUTPUT {
            HostOutputs::new([call.outputs.get::<u8>(0)?])
        } else {
            HostOutputs::new(wide_outputs.iter_mut().map(|floats| bytemuck::cast_slice_mut(floats)))
        };
        let mut wide = HostCall {
            items: call.items.clone(),
            extent: call.extent,
            params: call.params,
            inputs: HostInputs::new(inputs),
            outputs,
        };
        K::run(simd, params, &mut wide)?;
        drop(wide);
        for (at, floats) in wide_outputs.iter().enumerate() {
            for (to, value) in call.outputs.get::<f16>(at)?.iter_mut().zip(floats) {
                // What a kernel in place leaves alone keeps its bits, also those of a NaN.
                if to.to_f32().to_bits() != value.to_bits() {
                    *to = f16::from_f32(*value);
                }
            }
        }
        Ok(())
    }
}
