//! What the forms for GPUs share.
//!
//! A module is put together from files: `scalar` is an alias for the stored type, so that one text serves f32 and f16.
//! Whatever is stored, sums are f32. Subgroups are not used: their size is 4 on one device and 128 on another.

use std::borrow::Cow;
use thalweg_hal::{Features, Groups, Wgsl, WgslModule};

/// The text of a module, and what it uses.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) source: &'static str,
    pub(crate) features: Features,
}

/// A module's text for elements of 4 bytes, and for f16, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Texts {
    pub(crate) word: Text,
    pub(crate) half: Option<Text>,
}

/// [`Texts`] from their files: `["a.wgsl", ..]` for f32 and f16, `[u32: "a.wgsl", ..]` for that type alone; `f32, f16`
/// is f32 in a module that also uses f16; `[bits: ..]` is u32, and f16, for kernels that only move elements.
macro_rules! texts {
    [bits: $($file:literal),+ $(,)?] => {
        crate::gpu::Texts {
            word: crate::gpu::texts!(@plain "u32", $($file),+),
            half: Some(crate::gpu::texts!(@f16 "f16", $($file),+)),
        }
    };
    [$($file:literal),+ $(,)?] => {
        crate::gpu::Texts {
            word: crate::gpu::texts!(@plain "f32", $($file),+),
            half: Some(crate::gpu::texts!(@f16 "f16", $($file),+)),
        }
    };
    [f16: $($file:literal),+ $(,)?] => {
        crate::gpu::Texts { word: crate::gpu::texts!(@f16 "f16", $($file),+), half: None }
    };
    [$scalar:ident, f16: $($file:literal),+ $(,)?] => {
        crate::gpu::Texts { word: crate::gpu::texts!(@f16 stringify!($scalar), $($file),+), half: None }
    };
    [$scalar:ident: $($file:literal),+ $(,)?] => {
        crate::gpu::Texts { word: crate::gpu::texts!(@plain stringify!($scalar), $($file),+), half: None }
    };
    (@plain $scalar:expr, $($file:literal),+) => {
        crate::gpu::Text {
            source: concat!("alias scalar = ", $scalar, ";\n", $(include_str!($file)),+),
            features: thalweg_hal::Features::NONE,
        }
    };
    (@f16 $scalar:expr, $($file:literal),+) => {
        crate::gpu::Text {
            source: concat!("enable f16;\nalias scalar = ", $scalar, ";\n", $(include_str!($file)),+),
            features: thalweg_hal::Features::F16,
        }
    };
}
pub(crate) use texts;

/// How many workgroups a dispatch of this extent and these parameter bytes has.
pub(crate) type Count = fn([u32; 3], &[u8]) -> [u32; 3];

/// A kernel's forms for GPUs.
#[derive(Clone, Copy)]
pub(crate) struct Gpu {
    texts: Texts,
    overrides: &'static [(&'static str, f64)],
    groups: Count,
    failures: &'static [&'static str],
    /// Whether the module checks its indices itself: [`Gpu::checked`] promises it.
    checked: bool,
}

impl Gpu {
    /// Forms that check their indices themselves. `failures` are what the module's `fail` may say, by their numbers.
    ///
    /// # Safety
    /// - As for [`Wgsl::unchecked`], of each of the texts.
    pub(crate) const unsafe fn checked(texts: Texts, groups: Count, failures: &'static [&'static str]) -> Self {
        Self { texts, overrides: &[], groups, failures, checked: true }
    }

    /// Forms with indices that the compiler clamps.
    pub(crate) const fn clamped(texts: Texts, groups: Count, failures: &'static [&'static str]) -> Self {
        Self { texts, overrides: &[], groups, failures, checked: false }
    }

    /// The same, with values for the module's `override` constants.
    ///
    /// # Safety
    /// - As for [`Wgsl::unchecked`], with these values.
    pub(crate) const unsafe fn with(self, overrides: &'static [(&'static str, f64)]) -> Self {
        Self { overrides, ..self }
    }

    /// The form for elements of 4 bytes, or for f16.
    pub(crate) const fn wgsl(self, f16: bool) -> Wgsl {
        let text = match (f16, self.texts.half) {
            (true, Some(half)) => half,
            _ => self.texts.word,
        };
        let module = WgslModule {
            source: Cow::Borrowed(text.source),
            entry: Cow::Borrowed("main"),
            overrides: Cow::Borrowed(self.overrides),
            groups: Groups::By(self.groups),
            features: text.features,
            failures: Cow::Borrowed(self.failures),
        };
        if self.checked {
            // SAFETY: only `checked` sets the flag, and its caller promises what is needed here.
            unsafe { Wgsl::unchecked(module) }
        } else {
            Wgsl::clamped(module)
        }
    }
}

/// A workgroup for each item.
pub(crate) fn one_each(extent: [u32; 3], _: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0])
}

/// A workgroup for 256 items.
pub(crate) fn by_256(extent: [u32; 3], _: &[u8]) -> [u32; 3] {
    Groups::folded(extent[0].div_ceil(256))
}

/// Word `index` of a parameter struct; 0 past its end.
pub(crate) fn word(params: &[u8], index: usize) -> u32 {
    let bytes = params.get(4 * index..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}
