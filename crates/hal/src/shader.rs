//! From a kernel's WGSL to what a driver takes. The only module that calls naga.
//!
//! A module is untrusted: it is parsed, validated, and compared with what its [`KernelSource`] says it declares. What
//! is wrong is an [`Error::Compile`] with the line and the reason.

mod interface;
#[cfg(feature = "msl")]
mod msl;
#[cfg(feature = "spirv")]
mod spirv;
mod stack;

#[cfg(feature = "msl")]
pub use msl::Msl;

use crate::{Bounds, Error, Features, KernelSource, KernelSupport, Result, WgslModule};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};

/// A kernel's module, checked. [`compile`] makes one.
pub struct Shader<'a> {
    source: &'a KernelSource,
    wgsl: &'a WgslModule,
    bounds: Bounds,
    /// With one entry point, the kernel's.
    module: Module,
    info: ModuleInfo,
    size: [u32; 3],
    /// The fewest bytes that each binding may have.
    least: Vec<u64>,
    fails: bool,
    uses: Features,
}

/// The longest module that is compiled: what its stack takes is bounded by it ([`stack`]).
const MAX_SOURCE_BYTES: usize = 128 << 10;

/// Parses and checks a kernel's WGSL, and does with it what `step` says: translates it, has a driver compile it.
/// `device` is the device's name.
///
/// All of it runs on one thread, with enough stack for the module. Compilers, naga's and a driver's, are not
/// ours, and their input is anybody's: a panic is an error.
///
/// # Errors
/// [`Error::NoForm`] if there is no WGSL; [`Error::Compile`] if it is wrong, or for a panic; [`Error::Thread`] if the
/// system refuses a thread; what the step says.
pub fn compile<T: Send>(
    source: &KernelSource,
    device: &str,
    step: impl FnOnce(&Shader<'_>) -> Result<T> + Send,
) -> Result<T> {
    let Some(wgsl) = &source.wgsl else {
        let (device, kernel) = (device.to_owned(), source.name.clone().into_owned());
        return Err(Error::NoForm { device, kernel, form: "WGSL" });
    };
    let (module, bounds) = (wgsl.module(), wgsl.bounds());
    if module.source.len() > MAX_SOURCE_BYTES {
        let bytes = module.source.len();
        return Err(compile_error(source, format!("the module has {bytes} bytes; at most {MAX_SOURCE_BYTES}")));
    }
    stack::on_a_large_stack(source, module.source.len(), || step(&Shader::parse(source, module, bounds)?))
}

impl<'a> Shader<'a> {
    fn parse(source: &'a KernelSource, wgsl: &'a WgslModule, bounds: Bounds) -> Result<Self> {
        let wrong = |message: String| compile_error(source, message);
        let features = wgsl.features;
        if features.matrices && bounds == Bounds::Clamped {
            return Err(wrong(
                "it declares matrix units, and nothing clamps their loads and stores: that takes `Wgsl::unchecked`"
                    .to_owned(),
            ));
        }
        let mut frontend = naga::front::wgsl::Frontend::new();
        let capabilities = capabilities(features);
        frontend.set_options(naga::front::wgsl::Options { parse_doc_comments: false, capabilities });
        let module = frontend
            .parse(&wgsl.source)
            .map_err(|error| wrong(error.emit_to_string_with_path(&wgsl.source, &source.name)))?;
        let info = Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|error| wrong(error.emit_to_string_with_path(&wgsl.source, &source.name)))?;
        let overrides = wgsl.overrides.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let entry = Some((ShaderStage::Compute, &*wgsl.entry));
        if !module.entry_points.iter().any(|entry| entry.stage == ShaderStage::Compute && entry.name == wgsl.entry) {
            return Err(wrong(format!("there is no compute entry point called `{}`", wgsl.entry)));
        }
        // Of several entry points this leaves the one that is asked for.
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &overrides)
            .map(|(module, info)| (module.into_owned(), info.into_owned()))
            .map_err(|error| wrong(error.to_string()))?;
        let size = module.entry_points.first().map_or([0; 3], |entry| entry.workgroup_size);
        let (least, fails) = interface::check(source, &module)?;
        let uses = uses(&module, features);
        Ok(Self { source, wgsl, bounds, module, info, size, least, fails, uses })
    }

    /// The workgroup's size.
    pub fn workgroup_size(&self) -> [u32; 3] {
        self.size
    }

    /// The workgroup memory that the entry point uses, in bytes.
    pub fn workgroup_bytes(&self) -> u32 {
        self.workgroup_variables().fold(0, u32::saturating_add)
    }

    /// The sizes in bytes of the workgroup's variables that the entry point uses, in the module's order.
    fn workgroup_variables(&self) -> impl Iterator<Item = u32> + '_ {
        let used = self.info.get_entry_point(0);
        let variables = self.module.global_variables.iter();
        let variables = variables.filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
        let variables = variables.filter(move |(handle, _)| !used[*handle].is_empty());
        variables.map(|(_, variable)| self.module.types[variable.ty].inner.size(self.module.to_ctx()))
    }

    /// The fewest bytes that each binding may have: those of its type, with one element of an array without a length. A
    /// shorter operand has to be refused: no index in a module is compared with anything but the declared length, where
    /// there is one.
    pub fn least_bytes(&self) -> &[u64] {
        &self.least
    }

    /// Whether the module declares the words for a failure, behind its bindings.
    pub fn fails(&self) -> bool {
        self.fails
    }

    /// What the module uses of what it may use.
    pub fn uses(&self) -> Features {
        self.uses
    }

    /// Compares what the module uses with what a device has.
    ///
    /// # Errors
    /// [`Error::Compile`] that says what the device lacks.
    pub fn check_support(&self, support: &KernelSupport) -> Result<()> {
        let wrong = |message: String| Err(compile_error(self.source, message));
        let (uses, has) = (self.uses, support.features);
        if uses.f16 && !has.f16 {
            return wrong("it uses 16-bit floats, which the device does not have; use f32".to_owned());
        }
        if uses.subgroups && !has.subgroups {
            return wrong("it uses subgroups, which the device does not have; use workgroup memory".to_owned());
        }
        if uses.matrices && !has.matrices {
            return wrong("it uses matrix units, which the device does not have; use a form without".to_owned());
        }
        let (bytes, most) = (self.workgroup_bytes(), support.workgroup_bytes);
        if bytes > most {
            return wrong(format!("{bytes} bytes of workgroup memory; the device has {most}"));
        }
        Ok(())
    }

    /// The numbers of everything that is bound.
    fn slots(&self) -> std::ops::Range<u32> {
        0..self.source.bindings.len() as u32 + u32::from(self.fails)
    }

    fn policies(&self) -> BoundsCheckPolicies {
        let policy = match self.bounds {
            Bounds::Clamped => BoundsCheckPolicy::Restrict,
            Bounds::Unchecked => BoundsCheckPolicy::Unchecked,
        };
        BoundsCheckPolicies { index: policy, buffer: policy, ..BoundsCheckPolicies::default() }
    }
}

impl std::fmt::Debug for Shader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shader").field("kernel", &self.source.name).finish_non_exhaustive()
    }
}

/// What a module with these features may use.
fn capabilities(features: Features) -> Capabilities {
    let mut all = Capabilities::IMMEDIATES;
    all.set(Capabilities::SHADER_FLOAT16, features.f16);
    all.set(Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER, features.subgroups);
    all.set(Capabilities::COOPERATIVE_MATRIX, features.matrices);
    all
}

/// Those of a valid module's features without which it would not be valid. Types, literals and built-in functions can
/// all name one; the validator knows them. Only of matrices it does not know all: a module that declares them uses
/// them.
fn uses(module: &Module, features: Features) -> Features {
    let needs = |feature: bool, without: Features| {
        feature && Validator::new(ValidationFlags::all(), capabilities(without)).validate(module).is_err()
    };
    Features {
        f16: needs(features.f16, Features { f16: false, ..features }),
        subgroups: needs(features.subgroups, Features { subgroups: false, ..features }),
        matrices: features.matrices,
    }
}

fn binding(slot: u32) -> naga::ResourceBinding {
    naga::ResourceBinding { group: 0, binding: slot }
}

fn compile_error(source: &KernelSource, message: impl Into<std::sync::Arc<str>>) -> Error {
    Error::Compile { kernel: source.name.clone().into_owned(), message: message.into() }
}
