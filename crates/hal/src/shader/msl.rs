//! The Metal Shading Language, and what the host has to know of a text in it.

use super::{Shader, binding, compile_error};
use crate::{Access, Bounds, Result};
use naga::ShaderStage;
use naga::back::msl;

/// A kernel in the Metal Shading Language, 2.4.
///
/// Binding `i` is in buffer `i`, the parameters in the buffer behind the last binding (and behind the words for a
/// failure), and the lengths in the buffer after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msl {
    /// The text.
    pub text: String,
    /// The entry point's name in it.
    pub entry: String,
    /// The bindings that end in an array without a length: the text asks for their lengths. The buffer of lengths has a
    /// `u32` for each of these, in this order: the binding's length in bytes. The order is that of the module's
    /// declarations, and a binding that is declared twice is in it twice.
    pub lengths: Vec<u32>,
    /// The sizes in bytes of the workgroup's variables that the entry point uses. Each is a `threadgroup` argument of
    /// the entry point, in this order, and Metal has to be told each size, rounded up to a multiple of 16.
    pub workgroup_bytes: Vec<u32>,
}

impl Shader<'_> {
    /// The Metal Shading Language, 2.4.
    ///
    /// # Errors
    /// [`Error::Compile`](crate::Error::Compile) for what the language cannot say.
    pub fn msl(&self) -> Result<Msl> {
        let slot = |slot: u32| u8::try_from(slot).unwrap_or(u8::MAX); // at most MAX_BINDINGS + 2
        let resources = self.slots().map(|at| {
            let mutable = !matches!(self.source.bindings.get(at as usize), Some(Access::Read));
            (binding(at), msl::BindTarget { buffer: Some(slot(at)), mutable, ..msl::BindTarget::default() })
        });
        let next = self.slots().len() as u32;
        let resources = msl::EntryPointResources {
            resources: resources.collect(),
            immediates_buffer: Some(slot(next)),
            sizes_buffer: Some(slot(next + 1)),
        };
        let clamped = self.bounds == Bounds::Clamped;
        let options = msl::Options {
            lang_version: (2, 4),
            per_entry_point_map: [(self.wgsl.entry.clone().into_owned(), resources)].into_iter().collect(),
            fake_missing_bindings: false,
            bounds_check_policies: self.policies(),
            zero_initialize_workgroup_memory: clamped,
            force_loop_bounding: clamped,
            ..msl::Options::default()
        };
        let entry_point = Some((ShaderStage::Compute, self.wgsl.entry.clone().into_owned()));
        let pipeline = msl::PipelineOptions { entry_point, ..msl::PipelineOptions::default() };
        let wrong = |message: String| compile_error(self.source, message);
        let (text, names) = msl::write_string(&self.module, &self.info, &options, &pipeline)
            .map_err(|error| wrong(error.to_string()))?;
        let entry = names.entry_point_names.into_iter().find_map(std::result::Result::ok);
        let entry = entry.ok_or_else(|| wrong("the entry point cannot be written".to_owned()))?;
        Ok(Msl { text, entry, lengths: self.lengths(), workgroup_bytes: self.workgroup_variables().collect() })
    }

    /// The bindings that end in an array without a length, in the module's order: what naga writes a length for,
    /// whether the entry point uses them or not.
    fn lengths(&self) -> Vec<u32> {
        let types = &self.module.types;
        let globals = self.module.global_variables.iter();
        let sized = globals.filter(|(_, global)| types[global.ty].inner.needs_host_buffer_byte_size(types));
        sized.filter_map(|(_, global)| Some(global.binding?.binding)).collect()
    }
}
