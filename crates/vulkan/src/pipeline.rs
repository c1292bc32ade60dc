//! Pipelines: a kernel's WGSL, compiled.

use crate::NAME;
use crate::context::Context;
use ash::vk;
use smallvec::SmallVec;
use std::any::Any;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Instant;
use thalweg_hal::shader::{Shader, compile};
use thalweg_hal::{Error, KernelSource, Pipeline, Result, own};

/// A compiled kernel.
pub struct VulkanPipeline {
    source: KernelSource,
    context: Arc<Context>,
    pub raw: vk::Pipeline,
    pub layout: vk::PipelineLayout,
    descriptors: vk::DescriptorSetLayout,
    size: [u32; 3],
    least: Vec<u64>,
    fails: bool,
    /// What the driver was given of it, in bytes of SPIR-V.
    code_bytes: u64,
}

impl VulkanPipeline {
    /// Compiles a kernel.
    ///
    /// # Errors
    /// [`Error::Compile`] if the kernel is wrong or asks for more than the device has; or what the driver says.
    pub fn new(context: &Arc<Context>, source: &KernelSource) -> Result<Self> {
        context.check()?;
        thalweg_hal::check::kernel(source)?;
        // The driver's compiler is as deep as ours, and needs the stack as well.
        compile(source, NAME, |shader| Self::of_shader(context, source, shader))
    }

    fn of_shader(context: &Arc<Context>, source: &KernelSource, shader: &Shader<'_>) -> Result<Self> {
        check(context, source, shader)?;
        let code = shader.spirv()?;
        let device = &context.device;
        // Null handles from here on are destroyed by `drop` without harm.
        let mut pipeline = Self {
            source: source.clone(),
            context: Arc::clone(context),
            raw: vk::Pipeline::null(),
            layout: vk::PipelineLayout::null(),
            descriptors: vk::DescriptorSetLayout::null(),
            size: shader.workgroup_size(),
            least: shader.least_bytes().to_vec(),
            fails: shader.fails(),
            code_bytes: 4 * code.len() as u64,
        };
        let bindings: SmallVec<[_; 9]> = (0..source.bindings.len() as u32 + u32::from(pipeline.fails))
            .map(|binding| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let flags = vk::DescriptorSetLayoutCreateFlags::PUSH_DESCRIPTOR_KHR;
        let info = vk::DescriptorSetLayoutCreateInfo::default().flags(flags).bindings(&bindings);
        // SAFETY: no more bindings than push descriptors, by `check::kernel` and `Adapter::examine`.
        pipeline.descriptors = unsafe { device.create_descriptor_set_layout(&info, None) }
            .map_err(|e| context.error("vkCreateDescriptorSetLayout", e))?;
        let sets = [pipeline.descriptors];
        let params =
            [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(source.params_bytes)];
        let params = if source.params_bytes == 0 { &[][..] } else { &params[..] };
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(params);
        // SAFETY: the set layout is the device's; the range is within the limit, by `check::kernel` and
        // `Adapter::examine`.
        pipeline.layout = unsafe { device.create_pipeline_layout(&info, None) }
            .map_err(|e| context.error("vkCreatePipelineLayout", e))?;
        let info = vk::ShaderModuleCreateInfo::default().code(&code);
        // SAFETY: valid SPIR-V, as far as naga's validator goes, with capabilities that `check` compared.
        let module = unsafe { device.create_shader_module(&info, None) }
            .map_err(|e| context.error("vkCreateShaderModule", e))?;
        let (cache, began) = (context.pipelines.current(), Instant::now());
        let raw = pipeline.compile(module, cache.as_ref().map_or(vk::PipelineCache::null(), |cache| cache.raw));
        // SAFETY: a module is not needed once its pipeline is made.
        unsafe { device.destroy_shader_module(module, None) };
        pipeline.raw = raw?;
        drop(cache);
        context.pipelines.compiled(began.elapsed());
        Ok(pipeline)
    }

    fn compile(&self, module: vk::ShaderModule, cache: vk::PipelineCache) -> Result<vk::Pipeline> {
        let entry =
            self.source.wgsl.as_ref().map_or_else(Default::default, |wgsl| wgsl.module().entry.as_bytes().to_vec());
        let entry =
            CString::new(entry).map_err(|_| self.refused("the entry point's name has a zero byte".to_owned()))?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&entry);
        let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(self.layout);
        let context = &self.context;
        // SAFETY: the caller holds the cache; the module has the entry point, by `shader::compile`, and binds what the
        // layout has.
        let made = unsafe { context.device.create_compute_pipelines(cache, &[info], None) };
        made.map_err(|(_, error)| context.error("vkCreateComputePipelines", error))?
            .first()
            .copied()
            .ok_or_else(|| self.refused("the driver made no pipeline".to_owned()))
    }

    fn refused(&self, message: String) -> Error {
        Error::Compile { kernel: self.name().to_owned(), message: message.into() }
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

    /// Whether the kernel has words for a failure, behind its bindings.
    pub fn fails(&self) -> bool {
        self.fails
    }

    /// The workgroups of a dispatch.
    pub fn groups(&self, extent: [u32; 3], params: &[u8]) -> [u32; 3] {
        self.source.wgsl.as_ref().map_or([0; 3], |wgsl| wgsl.module().groups.of(extent, params, self.size))
    }
}

/// Compares what a kernel asks for with what the device has.
fn check(context: &Context, source: &KernelSource, shader: &Shader<'_>) -> Result<()> {
    let refused =
        |message: String| Err(Error::Compile { kernel: source.name.clone().into_owned(), message: message.into() });
    let limits = &context.limits;
    let size = shader.workgroup_size();
    let most = limits.max_compute_work_group_invocations;
    if (0..3).any(|axis| size[axis] > limits.max_compute_work_group_size[axis])
        || size.iter().map(|n| u64::from(*n)).product::<u64>() > u64::from(most)
    {
        let sizes = limits.max_compute_work_group_size;
        return refused(format!(
            "a workgroup of {size:?} invocations; the device has at most {sizes:?}, and {most} in all"
        ));
    }
    shader.check_support(&context.support)?;
    if !source.params_bytes.is_multiple_of(4) {
        return refused(format!("{} parameter bytes; they have to be whole 32-bit words", source.params_bytes));
    }
    Ok(())
}

impl Pipeline for VulkanPipeline {
    fn source(&self) -> &KernelSource {
        &self.source
    }

    fn check(&self, extent: [u32; 3], params: &[u8], operand_bytes: &[u64]) -> Result<(), &'static str> {
        let groups = self.groups(extent, params);
        if groups.iter().zip(self.context.limits.max_compute_work_group_count).any(|(groups, most)| *groups > most) {
            return Err("the extent needs more workgroups than the device has");
        }
        if operand_bytes.iter().zip(&self.least).any(|(bytes, least)| bytes < least) {
            return Err("an operand is shorter than the type that the kernel declares for it");
        }
        Ok(())
    }

    /// The driver's code is taken to be as long as its SPIR-V: Vulkan does not say how long it is.
    fn bytes(&self) -> u64 {
        self.source.bytes() + self.code_bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for VulkanPipeline {
    fn drop(&mut self) {
        let device = &self.context.device;
        // SAFETY: lists hold the pipelines that they use until they have run. Null is allowed.
        unsafe {
            device.destroy_pipeline(self.raw, None);
            device.destroy_pipeline_layout(self.layout, None);
            device.destroy_descriptor_set_layout(self.descriptors, None);
        }
    }
}

impl std::fmt::Debug for VulkanPipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VulkanPipeline").field("kernel", &self.source.name).finish_non_exhaustive()
    }
}
