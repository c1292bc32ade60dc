//! Kernels on 16-bit floats: the f32 form between two conversions.

use crate::kernel::{Kernel, Outcome};
use crate::simd::Simd;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::marker::PhantomData;
use thalweg_hal::{Access, HostCall, HostInputs, HostOutputs, Wgsl};

/// A kernel that has a form with f16 for f32. Whatever it writes is f16.
pub(crate) trait HalfKernel: Kernel {
    /// Unique name.
    const NAME: &'static str;
    /// The read bindings that are not floats.
    const INTEGERS: &'static [usize] = &[];
    /// The form for GPUs.
    const WGSL: Wgsl;
}

/// The form with f16 for f32 of a kernel. On the host every float is widened, the kernel computes in f32, and what it
/// writes is rounded once.
pub(crate) struct Half<K>(PhantomData<K>);

impl<K: HalfKernel> Kernel for Half<K> {
    const NAME: &'static str = <K as HalfKernel>::NAME;
    const BINDINGS: &'static [Access] = K::BINDINGS;
    type Params = K::Params;
    const WGSL: Wgsl = <K as HalfKernel>::WGSL;

    #[inline(always)]
    fn run<S: Simd>(simd: S, params: K::Params, call: &mut HostCall<'_>) -> Outcome {
        let mut read: Vec<Option<Vec<f32>>> = Vec::new();
        let mut written: Vec<Option<Vec<f32>>> = Vec::new();
        for (at, access) in K::BINDINGS.iter().enumerate() {
            let (mut input, mut output) = (None, None);
            if access.writes() {
                output = Some(call.outputs.get::<f16>(at)?.to_f32_vec());
            } else if !K::INTEGERS.contains(&at) {
                input = Some(call.inputs.get::<f16>(at)?.to_f32_vec());
            }
            read.push(input);
            written.push(output);
        }
        let integers = call.inputs.clone();
        let inputs = read.iter().enumerate().map(|(at, floats)| match floats {
            Some(floats) => Some(bytemuck::cast_slice(floats)),
            None => integers.get::<u8>(at).ok(),
        });
        let outputs = written.iter_mut().map(|floats| floats.as_mut().map(|floats| bytemuck::cast_slice_mut(floats)));
        let mut wide = HostCall {
            items: call.items.clone(),
            extent: call.extent,
            params: call.params,
            inputs: HostInputs::new(inputs),
            outputs: HostOutputs::new(outputs),
        };
        K::run(simd, params, &mut wide)?;
        drop(wide);
        for (at, floats) in written.iter().enumerate() {
            let Some(floats) = floats else { continue };
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
