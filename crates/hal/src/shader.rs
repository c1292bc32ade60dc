//! From a kernel's WGSL to what a driver takes. The only module that calls naga.
//!
//! A module is untrusted: it is parsed, validated, and compared with what its [`KernelSource`] says it declares. What is
//! wrong is an [`Error::Compile`] with the line and the reason.

use crate::{Bounds, Error, KernelSource, MAX_BINDINGS, Result, Wgsl};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess, TypeInner};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A kernel's module, checked.
pub struct Shader<'a> {
    source: &'a KernelSource,
    wgsl: &'a Wgsl,
    module: Module,
    info: ModuleInfo,
    size: [u32; 3],
    /// The fewest bytes that each binding may have.
    least: Vec<u64>,
    fails: bool,
    f16: bool,
}

/// The longest module that is compiled. Some of naga's recursions are as deep as an expression is long.
const MAX_SOURCE_BYTES: usize = 128 << 10;
/// Enough stack for the deepest expression of a module of that length. Only what is used becomes memory.
const STACK_BYTES: usize = 512 << 20;

impl<'a> Shader<'a> {
    /// Parses and checks a kernel's WGSL. `device` is the device's name.
    ///
    /// # Errors
    /// [`Error::NoForm`] if there is none; [`Error::Compile`].
    pub fn parse(source: &'a KernelSource, device: &str) -> Result<Self> {
        let Some(wgsl) = &source.wgsl else {
            let (device, kernel) = (device.to_owned(), source.name.clone().into_owned());
            return Err(Error::NoForm { device, kernel, form: "WGSL" });
        };
        if wgsl.source.len() > MAX_SOURCE_BYTES {
            let bytes = wgsl.source.len();
            return Err(compile_error(source, format!("the module has {bytes} bytes; at most {MAX_SOURCE_BYTES}")));
        }
        guarded(source, || Self::parse_unguarded(source, wgsl))
    }

    fn parse_unguarded(source: &'a KernelSource, wgsl: &'a Wgsl) -> Result<Self> {
        let mut frontend = naga::front::wgsl::Frontend::new();
        let options = naga::front::wgsl::Options { parse_doc_comments: false, capabilities: capabilities() };
        frontend.set_options(options);
        let module = frontend
            .parse(&wgsl.source)
            .map_err(|error| compile_error(source, error.emit_to_string_with_path(&wgsl.source, &source.name)))?;
        let info = Validator::new(ValidationFlags::all(), capabilities())
            .validate(&module)
            .map_err(|error| compile_error(source, error.emit_to_string_with_path(&wgsl.source, &source.name)))?;
        let overrides = wgsl.overrides.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let entry = Some((ShaderStage::Compute, &*wgsl.entry));
        let wrong = |message: String| compile_error(source, message);
        if !module.entry_points.iter().any(|entry| entry.stage == ShaderStage::Compute && entry.name == wgsl.entry) {
            return Err(wrong(format!("there is no compute entry point called `{}`", wgsl.entry)));
        }
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &overrides)
            .map(|(module, info)| (module.into_owned(), info.into_owned()))
            .map_err(|error| wrong(error.to_string()))?;
        let entry = module.entry_points.iter().find(|entry| entry.name == wgsl.entry);
        let size = entry.map_or([0; 3], |entry| entry.workgroup_size);
        let (least, fails) = check_interface(source, &module)?;
        // Types, literals and conversions can all name it; the validator knows them.
        let without = capabilities() - Capabilities::SHADER_FLOAT16;
        let f16 = Validator::new(ValidationFlags::all(), without).validate(&module).is_err();
        Ok(Self { source, wgsl, module, info, size, least, fails, f16 })
    }

    /// The workgroup's size.
    pub fn workgroup_size(&self) -> [u32; 3] {
        self.size
    }

    /// The workgroup memory that the module declares, in bytes.
    pub fn workgroup_bytes(&self) -> u32 {
        let variables = self.module.global_variables.iter();
        let variables = variables.filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
        let size =
            |(_, variable): (_, &naga::GlobalVariable)| self.module.types[variable.ty].inner.size(self.module.to_ctx());
        variables.map(size).fold(0, u32::saturating_add)
    }

    /// The fewest bytes that each binding may have: those of its type, with one element of an array without a length. A shorter
    /// operand has to be refused: no index in a module is compared with anything but the declared length, where there is one.
    pub fn least_bytes(&self) -> &[u64] {
        &self.least
    }

    /// Whether the module declares the words for a failure, behind its bindings.
    pub fn fails(&self) -> bool {
        self.fails
    }

    /// Whether the module uses 16-bit floats.
    pub fn uses_f16(&self) -> bool {
        self.f16
    }

    /// SPIR-V 1.3 for Vulkan: the bindings in descriptor set 0, the parameters as push constants.
    ///
    /// # Errors
    /// [`Error::Compile`] for what SPIR-V cannot say.
    #[cfg(feature = "spirv")]
    pub fn spirv(&self) -> Result<Vec<u32>> {
        use naga::back::spv;
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
            // Kernels write workgroup memory before they read it; those that do not are the user's.
            zero_initialize_workgroup_memory: match self.wgsl.bounds {
                Bounds::Clamped => spv::ZeroInitializeWorkgroupMemoryMode::Polyfill,
                Bounds::Checked => spv::ZeroInitializeWorkgroupMemoryMode::None,
            },
            force_loop_bounding: self.wgsl.bounds == Bounds::Clamped,
            use_storage_input_output_16: false,
            ..spv::Options::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: self.wgsl.entry.clone().into_owned(),
        };
        guarded(self.source, || {
            spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
                .map_err(|error| compile_error(self.source, error.to_string()))
        })
    }

    /// The Metal Shading Language, 2.4: binding `i` in buffer `i`, the parameters in the buffer behind the last binding (and
    /// behind the words for a failure). The buffer after that holds the lengths in bytes of the bindings that end in an array
    /// without a length, in the order in which the module declares them. Also the entry point's name in it.
    ///
    /// # Errors
    /// [`Error::Compile`] for what the language cannot say.
    #[cfg(feature = "msl")]
    pub fn msl(&self) -> Result<(String, String)> {
        use naga::back::msl;
        let slot = |slot: u32| u8::try_from(slot).unwrap_or(u8::MAX); // at most MAX_BINDINGS + 2
        let resources = self.slots().map(|at| {
            let mutable = !matches!(self.source.bindings.get(at as usize), Some(crate::Access::Read));
            (binding(at), msl::BindTarget { buffer: Some(slot(at)), mutable, ..msl::BindTarget::default() })
        });
        let next = self.slots().len() as u32;
        let resources = msl::EntryPointResources {
            resources: resources.collect(),
            immediates_buffer: Some(slot(next)),
            sizes_buffer: Some(slot(next + 1)),
        };
        let options = msl::Options {
            lang_version: (2, 4),
            per_entry_point_map: [(self.wgsl.entry.clone().into_owned(), resources)].into_iter().collect(),
            fake_missing_bindings: false,
            bounds_check_policies: self.policies(),
            zero_initialize_workgroup_memory: self.wgsl.bounds == Bounds::Clamped,
            force_loop_bounding: self.wgsl.bounds == Bounds::Clamped,
            ..msl::Options::default()
        };
        let entry_point = Some((ShaderStage::Compute, self.wgsl.entry.clone().into_owned()));
        let pipeline = msl::PipelineOptions { entry_point, ..msl::PipelineOptions::default() };
        let wrong = |message: String| compile_error(self.source, message);
        guarded(self.source, || {
            let (text, names) = msl::write_string(&self.module, &self.info, &options, &pipeline)
                .map_err(|error| wrong(error.to_string()))?;
            let name = names.entry_point_names.into_iter().find_map(std::result::Result::ok);
            Ok((text, name.ok_or_else(|| wrong("the entry point cannot be written".to_owned()))?))
        })
    }

    /// The numbers of everything that is bound.
    fn slots(&self) -> std::ops::Range<u32> {
        0..self.source.bindings.len() as u32 + u32::from(self.fails)
    }

    fn policies(&self) -> BoundsCheckPolicies {
        let policy = match self.wgsl.bounds {
            Bounds::Clamped => BoundsCheckPolicy::Restrict,
            Bounds::Checked => BoundsCheckPolicy::Unchecked,
        };
        BoundsCheckPolicies { index: policy, buffer: policy, ..BoundsCheckPolicies::default() }
    }
}

impl std::fmt::Debug for Shader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shader").field("kernel", &self.source.name).finish_non_exhaustive()
    }
}

/// What a kernel may use.
fn capabilities() -> Capabilities {
    Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16
}

fn binding(slot: u32) -> naga::ResourceBinding {
    naga::ResourceBinding { group: 0, binding: slot }
}

/// Compares what the module binds with what the kernel declares. Gives the fewest bytes of each binding, and whether there are
/// words for a failure.
fn check_interface(source: &KernelSource, module: &Module) -> Result<(Vec<u64>, bool)> {
    let wrong = |message: String| Err(compile_error(source, message));
    if source.bindings.len() > MAX_BINDINGS {
        return wrong(format!("{} bindings; there can be {MAX_BINDINGS}", source.bindings.len()));
    }
    let (mut least, mut params, mut fails) = (vec![None; source.bindings.len()], None, false);
    for (_, global) in module.global_variables.iter() {
        let name = global.name.as_deref().unwrap_or("(without a name)");
        let inner = &module.types[global.ty].inner;
        match (global.space, global.binding) {
            (AddressSpace::WorkGroup | AddressSpace::Private, None) => {}
            (AddressSpace::Immediate, None) if params.is_some() => {
                return wrong(format!("`{name}` is a second var<immediate>; there can be one"));
            }
            (AddressSpace::Immediate, None) => params = inner.try_size(module.to_ctx()),
            (AddressSpace::Storage { access }, Some(naga::ResourceBinding { group: 0, binding })) => {
                let stores = access.contains(StorageAccess::STORE);
                match source.bindings.get(binding as usize) {
                    Some(expected) if expected.writes() == stores => {
                        let Some(bytes) = inner.try_size(module.to_ctx()) else {
                            return wrong(format!("the type of `{name}` is too large"));
                        };
                        // Two variables may have one binding.
                        let known: &mut Option<u64> = &mut least[binding as usize];
                        *known = Some(known.unwrap_or(0).max(bytes.into()));
                    }
                    Some(expected) => {
                        let form = if expected.writes() { "storage, read_write" } else { "storage, read" };
                        return wrong(format!(
                            "`{name}` is binding {binding}, which the kernel declares as {expected:?}: it has to be var<{form}>"
                        ));
                    }
                    None if binding as usize == source.bindings.len() && stores && is_failure(module, inner) => {
                        fails = true
                    }
                    None => {
                        let count = source.bindings.len();
                        return wrong(format!(
                            "`{name}` is binding {binding}; the kernel declares {count} bindings, and behind them there can only be `failure: array<atomic<u32>, 2>`"
                        ));
                    }
                }
            }
            (space, _) => {
                return wrong(format!(
                    "`{name}` is in {space:?}; bindings are in @group(0) as var<storage, ..>, parameters a var<immediate>"
                ));
            }
        }
    }
    if let Some(missing) = least.iter().position(Option::is_none) {
        return wrong(format!("the kernel declares binding {missing}, the module does not"));
    }
    let params = params.unwrap_or(0);
    if params != source.params_bytes {
        return wrong(format!(
            "the module's var<immediate> has {params} bytes, the kernel declares {}",
            source.params_bytes
        ));
    }
    Ok((least.into_iter().flatten().collect(), fails))
}

/// `array<atomic<u32>, 2>`
fn is_failure(module: &Module, inner: &TypeInner) -> bool {
    let TypeInner::Array { base, size: naga::ArraySize::Constant(words), .. } = inner else { return false };
    words.get() == 2 && matches!(module.types[*base].inner, TypeInner::Atomic(naga::Scalar::U32))
}

fn compile_error(source: &KernelSource, message: impl Into<std::sync::Arc<str>>) -> Error {
    Error::Compile { kernel: source.name.clone().into_owned(), message: message.into() }
}

/// Runs a step of a compiler, naga's or a driver's, on a thread with enough stack for any module that [`Shader::parse`] takes.
/// Compilers are not ours, and their input is anybody's: a panic is an error.
///
/// # Errors
/// What the step says; [`Error::Compile`] for a panic; [`Error::Thread`] if the system refuses a thread.
pub fn guarded<T: Send>(source: &KernelSource, step: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let defect = || compile_error(source, "the compiler panicked: this is a defect of it, or of Thalweg");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("thalweg-compile".into()).stack_size(STACK_BYTES);
        // The panic is caught inside, so that dropping its payload cannot panic again outside.
        let run = || catch_unwind(AssertUnwindSafe(step)).map_err(std::mem::forget);
        match thread.spawn_scoped(scope, run) {
            Ok(running) => {
                running.join().map_err(std::mem::forget).and_then(|result| result).unwrap_or_else(|()| Err(defect()))
            }
            Err(error) => {
                let device = "the shader compiler".to_owned();
                Err(Error::Thread { device, source: std::sync::Arc::new(error) })
            }
        }
    })
}
