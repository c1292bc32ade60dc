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

/// A [`Text`] from its files. The type is that of `scalar`; `f32, f16` is f32 in a module that also uses f16.
macro_rules! text {
    (f16: $($file:literal),+) => { crate::gpu::text!(@f16 "f16", $($file),+) };
    (f32, f16: $($file:literal),+) => { crate::gpu::text!(@f16 "f32", $($file),+) };
    ($scalar:ident: $($file:literal),+) => {
        crate::gpu::Text {
            source: concat!("alias scalar = ", stringify!($scalar), ";\n", $(include_str!($file)),+),
            features: thalweg_hal::Features::NONE,
        }
    };
    (@f16 $scalar:literal, $($file:literal),+) => {
        crate::gpu::Text {
            source: concat!("enable f16;\nalias scalar = ", $scalar, ";\n", $(include_str!($file)),+),
            features: thalweg_hal::Features::F16,
        }
    };
}
pub(crate) use text;

/// How many workgroups a dispatch of this extent and these parameter bytes has.
pub(crate) type Count = fn([u32; 3], &[u8]) -> [u32; 3];

/// A form that checks its indices itself.
///
/// # Safety
/// - As for [`Wgsl::unchecked`].
pub(crate) const unsafe fn checked(text: Text, groups: Count, failures: &'static [&'static str]) -> Wgsl {
    // SAFETY: by the caller's promise.
    unsafe { checked_with(text, &[], groups, failures) }
}

/// [`checked`], with values for the module's `override` constants.
///
/// # Safety
/// - As for [`Wgsl::unchecked`].
pub(crate) const unsafe fn checked_with(
    text: Text,
    overrides: &'static [(&'static str, f64)],
    groups: Count,
    failures: &'static [&'static str],
) -> Wgsl {
    // SAFETY: by the caller's promise.
    unsafe { Wgsl::unchecked(module(text, overrides, groups, failures)) }
}

/// A form with indices that the compiler clamps.
pub(crate) const fn clamped(text: Text, groups: Count, failures: &'static [&'static str]) -> Wgsl {
    Wgsl::clamped(module(text, &[], groups, failures))
}

const fn module(
    text: Text,
    overrides: &'static [(&'static str, f64)],
    groups: Count,
    failures: &'static [&'static str],
) -> WgslModule {
    WgslModule {
        source: Cow::Borrowed(text.source),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(overrides),
        groups: Groups::By(groups),
        features: text.features,
        failures: Cow::Borrowed(failures),
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
