//! A kernel's form for GPUs, what it may use, and what keeps its indices inside its bindings.

use std::borrow::Cow;

/// A module in the WebGPU Shading Language; naga turns it into what a driver takes.
///
/// # What the module declares
///
/// - Binding `i` of the kernel is `@group(0) @binding(i) var<storage, read>` where it is read, and
///   `var<storage, read_write>` where it is written. Its length is that of the operand (`arrayLength`).
/// - The parameter struct is a `var<immediate>` of exactly
///   [`KernelSource::params_bytes`](super::KernelSource::params_bytes) bytes.
/// - A kernel that can fail declares one more binding, behind all others: `@group(0) @binding(n) var<storage,
///   read_write> failure: array<atomic<u32>, 2>`. Both words are 0 at the start. The first invocation that fails stores
///   1 plus an index into [`failures`](Self::failures) in the first, by an exchange that succeeds only for 0, and a
///   number of its own, such as its item's, in the second.
///
/// Nothing else may be bound. The workgroup's size is the entry point's.
#[derive(Clone, Debug)]
pub struct WgslModule {
    /// The text.
    pub source: Cow<'static, str>,
    /// The name of the entry point, a compute shader.
    pub entry: Cow<'static, str>,
    /// Values of the module's `override` constants, by name: tile sizes and the like.
    pub overrides: Cow<'static, [(&'static str, f64)]>,
    /// How many workgroups a dispatch has.
    pub groups: Groups,
    /// What the module may use of what not every device has. All else is an error when it is compiled.
    pub features: Features,
    /// What the failures mean.
    pub failures: Cow<'static, [&'static str]>,
}

/// A kernel's form for GPUs: a module, and what keeps its indices inside its bindings.
///
/// Anybody can declare a form with indices that the compiler clamps:
///
/// ```
/// use thalweg_hal::{Wgsl, WgslModule};
///
/// fn declare(module: WgslModule) -> Wgsl {
///     Wgsl::clamped(module)
/// }
/// ```
///
/// A form with unchecked indices takes a promise:
///
/// ```compile_fail,E0133
/// use thalweg_hal::{Wgsl, WgslModule};
///
/// fn declare(module: WgslModule) -> Wgsl {
///     Wgsl::unchecked(module)
/// }
/// ```
///
/// and the module under a promise is not to be exchanged for another:
///
/// ```compile_fail,E0616
/// use thalweg_hal::{Wgsl, WgslModule};
///
/// fn exchange(form: &mut Wgsl, module: WgslModule) {
///     form.module = module;
/// }
/// ```
// audit: FA
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wgsl {
    module: WgslModule,
    bounds: Bounds,
}

/// What keeps an index inside its binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// The compiler clamps every index to its binding. An index that is wrong reads or writes another element of the
    /// same operand, never another operand. Loops end, and workgroup memory starts as zeros.
    Clamped,
    /// The module answers for its indices ([`Wgsl::unchecked`]).
    Unchecked,
}

/// What not every device has. A module gets what it declares of it, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// 16-bit floats.
    pub f16: bool,
    /// Operations over the invocations of a subgroup.
    pub subgroups: bool,
    /// Matrix units: cooperative matrices. Nothing clamps what they load and store, so a module that declares them is
    /// refused unless it is [`unchecked`](Wgsl::unchecked).
    pub matrices: bool,
}

/// How many workgroups a dispatch has.
#[derive(Clone, Copy, Debug)]
pub enum Groups {
    /// As many as cover the extent, an invocation for each item, in each of the three axes.
    Invocations,
    /// What a function of the extent and the parameter struct's bytes says. It is trusted not to panic.
    By(fn(extent: [u32; 3], params: &[u8]) -> [u32; 3]),
}

/// The most workgroups along an axis that every device takes.
pub const MAX_GROUPS: u32 = 65_535;

impl Wgsl {
    /// A form with indices that the compiler clamps: for any module, also one that is wrong.
    pub const fn clamped(module: WgslModule) -> Self {
        Self { module, bounds: Bounds::Clamped }
    }

    /// A form with unchecked indices. For kernels with inner loops that the clamping would slow down, and for those on
    /// matrix units, which nothing clamps.
    ///
    /// # Safety
    /// Whatever the parameters' bytes are, the operands' lengths and contents, the extent, and the number of
    /// workgroups:
    /// - Each access to a binding is inside of it. Before the module uses an index it compares its parameters, and what
    ///   it read, with the bindings' lengths, by arithmetic that does not wrap around.
    /// - Each access to a variable of its own, of the workgroup or of an invocation, is inside of it.
    /// - So is each row of a cooperative matrix that it loads or stores, with its stride.
    /// - What it reads of the workgroup's memory, it has written.
    /// - Its loops end.
    pub const unsafe fn unchecked(module: WgslModule) -> Self {
        Self { module, bounds: Bounds::Unchecked }
    }

    /// The module.
    pub const fn module(&self) -> &WgslModule {
        &self.module
    }

    /// What keeps its indices inside its bindings.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }
}

impl Features {
    /// None: what every device has.
    pub const NONE: Self = Self { f16: false, subgroups: false, matrices: false };
    /// 16-bit floats.
    pub const F16: Self = Self { f16: true, ..Self::NONE };
}

impl Groups {
    /// The workgroups of a dispatch, for an entry point with this workgroup size.
    pub fn of(&self, extent: [u32; 3], params: &[u8], size: [u32; 3]) -> [u32; 3] {
        match self {
            Self::Invocations => std::array::from_fn(|axis| extent[axis].div_ceil(size[axis].max(1))),
            Self::By(groups) => groups(extent, params),
        }
    }

    /// `groups` workgroups along one axis, folded into two where one axis has no room: the kernel numbers them
    /// `workgroup_id.x + workgroup_id.y * num_workgroups.x` and skips what is past the end.
    pub fn folded(groups: u32) -> [u32; 3] {
        let rows = groups.div_ceil(MAX_GROUPS).max(1);
        [groups.div_ceil(rows), rows, 1]
    }
}
