//! Parameter structs, and where their fields lie.

use bytemuck::Pod;

/// A struct that kernels take as parameters. Its fields lie where WGSL puts those of the module's struct; a test of
/// every kernel compares them.
pub(crate) trait Parameters: Pod + Laid {}

impl<P: Pod + Laid> Parameters for P {}

/// What parameters are made of.
pub(crate) trait Laid {
    /// Appends where each field lies, of structs in it too, if this lies at `base`.
    fn lay(base: usize, offsets: &mut Vec<usize>);
}

macro_rules! scalars {
    ($($type:ty),+) => {
        $(
            impl Laid for $type {
                fn lay(base: usize, offsets: &mut Vec<usize>) {
                    offsets.push(base);
                }
            }

            impl<const LENGTH: usize> Laid for [$type; LENGTH] {
                fn lay(base: usize, offsets: &mut Vec<usize>) {
                    offsets.push(base);
                }
            }
        )+
    };
}
scalars!(u32, i32, f32);

/// Where each field of a parameter struct lies, of structs in it too.
pub(crate) fn offsets<P: Laid>() -> Vec<usize> {
    let mut offsets = Vec::new();
    P::lay(0, &mut offsets);
    offsets
}

/// Declares parameter structs, or parts of them.
macro_rules! params {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)+ })+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
            #[repr(C)]
            pub struct $name {
                $($(#[$doc])* pub $field: $type,)+
            }

            impl crate::params::Laid for $name {
                fn lay(base: usize, offsets: &mut Vec<usize>) {
                    $(<$type as crate::params::Laid>::lay(base + std::mem::offset_of!($name, $field), offsets);)+
                }
            }
        )+
    };
}
pub(crate) use params;
