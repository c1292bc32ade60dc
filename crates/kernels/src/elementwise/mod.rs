//! Operations on each element for itself, over strided views.

pub(crate) mod binary;
pub(crate) mod copy;
pub(crate) mod in_place;
pub mod reference;
pub(crate) mod unary;
mod view;

pub use binary::{BINARY, Binary, BinaryParams};
pub use copy::{CAST_FROM_F16, CAST_FROM_F32, COPY, CopyParams};
pub use in_place::{BINARY_IN_PLACE, BinaryInPlaceParams, UNARY_IN_PLACE, UnaryInPlaceParams};
pub use unary::{UNARY, Unary, UnaryParams};
pub use view::{MAX_RANK, Shape, View};
