//! Pipelines: a kernel's WGSL in Metal's language, compiled.
//!
//! The runtime keeps pipelines by their source, and the system what its compiler made, by the text, from one run of a
//! program to the next.

use super::context::Context;
use super::pool::pooled;
use super::{NAME, Object, refused};
use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2::sel;
use objc2_foundation::{NSError, NSString};
use objc2_metal::{MTLCompileOptions, MTLComputePipelineState, MTLDevice, MTLLanguageVersion, MTLLibrary, MTLMathMode};
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use thalweg_hal::shader::{Shader, compile};
use thalweg_hal::{Error, KernelSource, Pipeline, Result, own};

/// A compiled kernel.
pub struct MetalPipeline {
    source: KernelSource,
    context: Arc<Context>,
    state: Object<dyn MTLComputePipelineState>,
    size: [u32; 3],
    least: Vec<u64>,
    fails: bool,
    /// The bindings that the text asks the lengths of.
    lengths: Vec<u32>,
    /// The length of each of the workgroup's variables, as Metal takes them.
    workgroup_bytes: Vec<usize>,
    text_bytes: u64,
}

/// Why a text does not become a pipeline.
pub enum Failed {
    /// The text is wrong, by Metal's compiler.
    Text(String),
    /// Metal refused a call.
    Call(Error),
}

/// Compiles an entry point of a text.
///
/// # Errors
/// What Metal's compiler says.
pub fn state(
    device: &ProtocolObject<dyn MTLDevice>,
    text: &str,
    entry: &str,
) -> Result<Object<dyn MTLComputePipelineState>, Failed> {
    let said = |error: &NSError| Failed::Text(error.localizedDescription().to_string());
    pooled(|| {
        let options = MTLCompileOptions::new();
        options.setLanguageVersion(MTLLanguageVersion::Version2_4);
        // Kernels look for NaN, and results are compared with those of other devices: what a text says is what is
        // computed.
        if options.respondsToSelector(sel!(setMathMode:)) {
            options.setMathMode(MTLMathMode::Safe);
        } else {
            #[expect(deprecated, reason = "before macOS 15 there is nothing else")]
            options.setFastMathEnabled(false);
        }
        let library = device
            .newLibraryWithSource_options_error(&NSString::from_str(text), Some(&options))
            .map_err(|error| said(&error))?;
        let function = library
            .newFunctionWithName(&NSString::from_str(entry))
            .ok_or_else(|| Failed::Text(format!("the text has no entry point `{entry}`")))?;
        device
            .newComputePipelineStateWithFunction_error(&function)
            .map_err(|error| Failed::Call(refused("newComputePipelineStateWithFunction:error:", &error)))
    })
}

impl MetalPipeline {
    /// Compiles a kernel.
    ///
    /// # Errors
    /// [`Error::Compile`] if the kernel is wrong or asks for more than the device has; or what Metal says.
    pub fn new(context: &Arc<Context>, source: &KernelSource) -> Result<Self> {
        context.check()?;
        thalweg_hal::check::kernel(source)?;
        compile(source, NAME, |shader| Self::of_shader(context, source, shader))
    }

    fn of_shader(context: &Arc<Context>, source: &KernelSource, shader: &Shader<'_>) -> Result<Self> {
        let refused =
            |message: String| Error::Compile { kernel: source.name.clone().into_owned(), message: message.into() };
        shader.check_support(&context.support)?;
        if !source.params_bytes.is_multiple_of(4) {
            let message = format!("{} parameter bytes; they have to be whole 32-bit words", source.params_bytes);
            return Err(refused(message));
        }
        let size = shader.workgroup_size();
        let most = context.device.maxThreadsPerThreadgroup();
        let most = [most.width, most.height, most.depth];
        let all = size.iter().map(|n| *n as usize).product::<usize>();
        // The first is also the most in all.
        if (0..3).any(|axis| size[axis] as usize > most[axis]) || all > most[0] {
            return Err(refused(format!("a workgroup of {size:?} invocations; the device has at most {most:?}")));
        }
        let msl = shader.msl()?;
        // As Metal takes them, which is more than the text declares.
        let workgroup_bytes: Vec<_> = msl.workgroup_bytes.iter().map(|bytes| bytes.next_multiple_of(16)).collect();
        let (taken, most) = (workgroup_bytes.iter().sum::<u32>(), context.support.workgroup_bytes);
        if taken > most {
            let message =
                format!("{taken} bytes of workgroup memory, each variable's rounded up to 16; the device has {most}");
            return Err(refused(message));
        }
        let state = state(&context.device, &msl.text, &msl.entry).map_err(|failed| match failed {
            Failed::Text(message) => refused(message),
            Failed::Call(error) => error,
        })?;
        // What the device has depends on how many registers the compiled kernel takes.
        let most = state.maxTotalThreadsPerThreadgroup();
        if all > most {
            return Err(refused(format!("a workgroup of {all} invocations; the device has {most} for this kernel")));
        }
        Ok(Self {
            source: source.clone(),
            context: Arc::clone(context),
            state,
            size,
            least: shader.least_bytes().to_vec(),
            fails: shader.fails(),
            lengths: msl.lengths,
            workgroup_bytes: workgroup_bytes.into_iter().map(|bytes| bytes as usize).collect(),
            text_bytes: msl.text.len() as u64,
        })
    }

    /// The pipeline behind a handle.
    ///
    /// # Errors
    /// [`Error::ForeignObject`] if it is of another backend or device.
    pub fn of<'a>(pipeline: &'a dyn Pipeline, context: &Context) -> Result<&'a Self> {
        own(pipeline.as_any(), NAME, "pipeline", |it: &Self| it.context.id == context.id)
    }

    pub fn name(&self) -> &str {
        &self.source.name
    }

    pub fn state(&self) -> &ProtocolObject<dyn MTLComputePipelineState> {
        &self.state
    }

    /// Whether the kernel has words for a failure, behind its bindings.
    pub fn fails(&self) -> bool {
        self.fails
    }

    /// The bindings that the kernel asks the lengths of, in the order in which it does.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// How long each of the workgroup's variables is.
    pub fn workgroup_bytes(&self) -> &[usize] {
        &self.workgroup_bytes
    }

    /// The invocations of a workgroup.
    pub fn size(&self) -> [u32; 3] {
        self.size
    }

    /// The workgroups of a dispatch.
    pub fn groups(&self, extent: [u32; 3], params: &[u8]) -> [u32; 3] {
        self.source.wgsl.as_ref().map_or([0; 3], |wgsl| wgsl.module().groups.of(extent, params, self.size))
    }
}

impl Pipeline for MetalPipeline {
    fn source(&self) -> &KernelSource {
        &self.source
    }

    fn check(&self, extent: [u32; 3], params: &[u8], operand_bytes: &[u64]) -> Result<(), &'static str> {
        // The system names no other limit.
        let groups = self.groups(extent, params);
        if groups.iter().zip(self.size).any(|(groups, size)| groups.checked_mul(size).is_none()) {
            return Err("the extent needs more invocations than the device can count");
        }
        if operand_bytes.iter().zip(&self.least).any(|(bytes, least)| bytes < least) {
            return Err("an operand is shorter than the type that the kernel declares for it");
        }
        Ok(())
    }

    /// Metal's code is taken to be as long as its text: Metal does not say how long it is.
    fn bytes(&self) -> u64 {
        self.source.bytes() + self.text_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for MetalPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetalPipeline").field("kernel", &self.source.name).finish_non_exhaustive()
    }
}
