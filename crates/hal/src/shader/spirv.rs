//! SPIR-V, for Vulkan.

use super::{Shader, binding, compile_error};
use crate::{Bounds, Result};
use naga::ShaderStage;
use naga::back::spv;

impl Shader<'_> {
    /// SPIR-V 1.3 for Vulkan: the bindings in descriptor set 0, the parameters as push constants.
    ///
    /// # Errors
    /// [`Error::Compile`](crate::Error::Compile) for what SPIR-V cannot say.
    pub fn spirv(&self) -> Result<Vec<u32>> {
        let clamped = self.bounds == Bounds::Clamped;
        let options = spv::Options {
            lang_version: (1, 3),
            flags: spv::WriterFlags::empty(),
            fake_missing_bindings: false,
            binding_map: self
                .slots()
                .map(|slot| {
                    (binding(slot), spv::BindingInfo { descriptor_set: 0, binding: slot, binding_array_size: None })
                })
                .collect(),
            bounds_check_policies: self.policies(),
            // A module that answers for its indices also writes workgroup memory before it reads it.
            zero_initialize_workgroup_memory: match self.bounds {
                Bounds::Clamped => spv::ZeroInitializeWorkgroupMemoryMode::Polyfill,
                Bounds::Unchecked => spv::ZeroInitializeWorkgroupMemoryMode::None,
            },
            force_loop_bounding: clamped,
            use_storage_input_output_16: false,
            ..spv::Options::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.wgsl.entry.clone().into_owned(),
        };
        spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|error| compile_error(self.source, error.to_string()))
    }
}
