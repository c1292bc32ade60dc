//! Kernels of the user's own.

use crate::layout::Layout;
use crate::ops::bindable;
use crate::{DType, Error, Result, Tensor};
use bytemuck::Pod;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use thalweg_hal::{Access, Features, Groups, HostFn, KernelSource, Wgsl, WgslModule};
use thalweg_runtime::{Device, Operand, Pipeline, Storage, Stream, Work};

/// A kernel of your own: WGSL for GPUs, a function for the processor, or both. It runs on tensors with the safety of
/// every other operation: on any stream, in the order of the data, and without a way to touch another tensor.
///
/// # The WGSL
///
/// Inputs are bound first, then outputs, then, if the kernel can fail, two words:
///
/// ```wgsl
/// @group(0) @binding(0) var<storage, read> a: array<f32>;
/// @group(0) @binding(1) var<storage, read_write> out: array<f32>;
/// @group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;
/// var<immediate> p: Params;
/// ```
///
/// An output starts as zeros. A run has an invocation for each item of its extent, rounded up to whole workgroups, so a
/// kernel compares its `global_invocation_id` with the length of what it writes. An index past the end of an operand is
/// clamped to it: it reads or writes a wrong element of that operand, never another tensor. An operand that is shorter
/// than the type declared for it is refused. A kernel that stores 1 in `failure[0]` (see [`failures`](Self::failures))
/// fails: every reader of what it wrote, or of what was computed from it, is told.
///
/// # Cost
///
/// A kernel is compiled for a device on its first run there, or by [`compile`](Self::compile). It keeps what it was
/// compiled to for the first device that it ran on, and that device's driver with it; for others it is among the
/// device's last kernels ([`Config::pipeline_cache`](thalweg_runtime::Config::pipeline_cache)). Kernels are told apart
/// by everything that they are; the name, which errors show behind `user.`, is for people. A WGSL module that is not
/// `'static` is compared text by text on each run on another device. Make a kernel once, and run it often.
///
/// ```
/// use thalweg_tensor::{DType, Kernel, Tensor};
///
/// # fn main() -> thalweg_tensor::Result<()> {
/// # let cpu = thalweg_cpu::CpuDevice::open().expect("the processor is there");
/// # let device = thalweg_runtime::Device::new(cpu, Default::default())?;
/// let scale = Kernel::new("scale", 1, 1).params::<f32>().host(|call| {
///     let factor = call.params::<f32>()?;
///     let items = call.items.start as usize..call.items.end as usize;
///     let x = &call.inputs.get::<f32>(0)?[items];
///     call.outputs.get::<f32>(0)?.iter_mut().zip(x).for_each(|(out, x)| *out = factor * x);
///     Ok(())
/// });
/// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[3])?;
/// let out = scale.run(&device, [3, 1, 1], &2.5f32, &[&x], &[(&[3], DType::F32)])?;
/// assert_eq!(out[0].to_vec::<f32>()?, [2.5, 5.0, 7.5]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Kernel {
    name: String,
    source: KernelSource,
    inputs: usize,
    /// What it was compiled to for the first device that it ran on.
    compiled: OnceLock<Pipeline>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, source, inputs, .. } = self;
        write!(f, "Kernel({name}, {inputs} inputs, {} outputs)", source.bindings.len() - inputs)
    }
}

impl Kernel {
    /// A kernel of this name that reads so many tensors and writes so many, 8 in all. It has no form yet: see
    /// [`wgsl`](Self::wgsl) and [`host`](Self::host).
    pub fn new(name: impl Into<String>, inputs: usize, outputs: usize) -> Self {
        let reads = std::iter::repeat_n(Access::Read, inputs);
        // Outputs start as zeros, and a kernel may leave some of them.
        let bindings: Vec<_> = reads.chain(std::iter::repeat_n(Access::ReadWrite, outputs)).collect();
        let name = name.into();
        // Not the name of a kernel of ours: an error shows that the kernel is the user's.
        let (full_name, bindings) = (Cow::Owned(format!("user.{name}")), Cow::Owned(bindings));
        let source = KernelSource { name: full_name, bindings, params_bytes: 0, wgsl: None, host: None };
        Self { name, source, inputs, compiled: OnceLock::new() }
    }

    /// The kernel takes a parameter struct, of at most 128 bytes and whole 32-bit words: `var<immediate>` in WGSL.
    pub fn params<P: Pod>(mut self) -> Self {
        // A type that is too large is refused when the kernel is compiled.
        self.compiled = OnceLock::new();
        self.source.params_bytes = u32::try_from(size_of::<P>()).unwrap_or(u32::MAX);
        self
    }

    /// The form for GPUs: a module and the name of its compute entry point. It may use 16-bit floats where the device
    /// has them (`enable f16;`), and nothing else that not every device has.
    pub fn wgsl(mut self, module: impl Into<Cow<'static, str>>, entry: impl Into<Cow<'static, str>>) -> Self {
        self.compiled = OnceLock::new();
        self.source.wgsl = Some(Wgsl::clamped(WgslModule {
            source: module.into(),
            entry: entry.into(),
            overrides: Cow::Borrowed(&[]),
            groups: Groups::Invocations,
            // Whatever a module does with these, it stays inside its operands.
            features: Features::F16,
            failures: Cow::Borrowed(&[]),
        }));
        self
    }

    /// What the numbers mean that the WGSL stores in `failure[0]`: 1 is the first of these. What it stores in
    /// `failure[1]` is added in brackets. Set after [`wgsl`](Self::wgsl).
    pub fn failures(mut self, failures: &'static [&'static str]) -> Self {
        self.compiled = OnceLock::new();
        self.source.wgsl = self
            .source
            .wgsl
            .map(|wgsl| Wgsl::clamped(WgslModule { failures: Cow::Borrowed(failures), ..wgsl.module().clone() }));
        self
    }

    /// The form for the processor. Its items are those of the extent's first axis: item `i` of `n` writes the `i`-th of
    /// `n` equal parts of each output, so that several threads may share a run. Inputs and outputs are counted by
    /// themselves: `inputs.get(0)` is the first input, `outputs.get(0)` the first output.
    pub fn host(mut self, host: HostFn) -> Self {
        self.compiled = OnceLock::new();
        self.source.host = Some(host);
        self
    }

    /// Compiles the kernel for a device, where it is not yet compiled. May take a second on a GPU.
    ///
    /// # Errors
    /// If the WGSL is wrong, with the line and the reason, also on the processor where the library has GPUs' backends
    /// (feature `vulkan` of the facade); if the kernel lacks the form that the device runs.
    pub fn compile(&self, device: &Device) -> Result<()> {
        self.pipeline(device).map(drop)
    }

    /// Without a look at anything that other threads write, on the first device that the kernel ran on.
    fn pipeline(&self, device: &Device) -> Result<Cow<'_, Pipeline>> {
        if let Some(known) = self.compiled.get().filter(|known| device.has(known)) {
            return Ok(Cow::Borrowed(known));
        }
        let pipeline = device.pipeline(&self.source)?;
        // The first stays; for another device the cache has it.
        let _ = self.compiled.set(pipeline.clone());
        Ok(Cow::Owned(pipeline))
    }

    /// Runs the kernel on the current stream, and returns its outputs. Views among the inputs are made contiguous.
    ///
    /// # Errors
    /// As for [`compile`](Self::compile); if the number of operands, or the size of the parameters, is not what the
    /// kernel takes; if an operand is empty or too large. A failure of the kernel itself is told to the readers of the
    /// outputs.
    pub fn run<P: Pod>(
        &self,
        device: &Device,
        extent: [u32; 3],
        params: &P,
        inputs: &[&Tensor],
        outputs: &[(&[usize], DType)],
    ) -> Result<Vec<Tensor>> {
        let stream = Stream::current(device)?;
        let mut made = Vec::new();
        for (shape, dtype) in outputs {
            let layout = Layout::contiguous("Kernel::run", shape)?;
            let mut storage = stream.allocate(layout.bytes(*dtype).next_multiple_of(4))?;
            if storage.bytes() > 0 {
                stream.record(&Work::Fill(0), &[Operand::write(&mut storage)])?;
            }
            made.push((storage, layout, *dtype));
        }
        let mut targets = Vec::new();
        for (storage, layout, dtype) in &mut made {
            targets.push((storage, layout.bytes(*dtype)));
        }
        self.record(&stream, extent, params, inputs, &mut targets)?;
        let tensor = |(storage, layout, dtype)| Tensor { storage: Arc::new(storage), layout, dtype };
        Ok(made.into_iter().map(tensor).collect())
    }

    /// Runs a kernel with one output on the current stream, which changes `target` in its own memory.
    ///
    /// # Errors
    /// As for [`run`](Self::run); [`Error::Shared`] while a clone or a view shares the target's memory,
    /// [`Error::Strided`] if the target is a view.
    pub fn run_in_place<P: Pod>(
        &self,
        extent: [u32; 3],
        params: &P,
        inputs: &[&Tensor],
        target: &mut Tensor,
    ) -> Result<()> {
        let operation = "Kernel::run_in_place";
        if !target.layout.is_contiguous() || target.layout.offset != 0 {
            return Err(Error::Strided { operation, shape: target.shape().to_vec() });
        }
        if target.storage.is_frozen() {
            return Err(thalweg_runtime::Error::Frozen { operand: inputs.len() }.into());
        }
        let stream = Stream::current(target.device())?;
        let bytes = target.layout.bytes(target.dtype);
        let storage = Arc::get_mut(&mut target.storage).ok_or(Error::Shared { operation })?;
        self.record(&stream, extent, params, inputs, &mut [(storage, bytes)])
    }

    fn record<P: Pod>(
        &self,
        stream: &Stream,
        extent: [u32; 3],
        params: &P,
        inputs: &[&Tensor],
        outputs: &mut [(&mut Storage, u64)],
    ) -> Result<()> {
        let pipeline = self.pipeline(stream.device())?;
        let given = (inputs.len(), outputs.len());
        let expected = (self.inputs, self.source.bindings.len() - self.inputs);
        if given != expected {
            return Err(Error::Operands { kernel: self.name.clone(), given, expected });
        }
        let inputs = inputs.iter().map(|input| bindable(input)).collect::<Result<Vec<_>>>()?;
        let mut operands: Vec<_> = inputs.iter().map(Tensor::exact).collect();
        operands.extend(outputs.iter_mut().map(|(storage, bytes)| Operand::update(storage).first(*bytes)));
        let work = Work::Dispatch { pipeline: &pipeline, params: bytemuck::bytes_of(params), extent };
        Ok(stream.record(&work, &operands)?)
    }
}
