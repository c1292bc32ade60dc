//! What a kernel may be asked to do, by number.

/// Declares an enum that parameters hold as `u32`, counted from 0: with the list of all, and the way back from a
/// number, which fails a kernel for one that is unknown.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every one, in the order of their numbers.
            pub const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant),+];
        }

        impl TryFrom<u32> for $name {
            type Error = thalweg_hal::KernelFailure;

            fn try_from(value: u32) -> Result<Self, thalweg_hal::KernelFailure> {
                Self::ALL.get(value as usize).copied().ok_or_else(|| {
                    let last = Self::ALL.len() - 1;
                    let message = format!(concat!($what, " {} is unknown, expected 0 to {}"), value, last);
                    thalweg_hal::KernelFailure::new(message)
                })
            }
        }
    };
}
pub(crate) use numbered;
