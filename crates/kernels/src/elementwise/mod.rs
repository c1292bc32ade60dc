//! Operations on each element for itself, over strided views.

pub(crate) mod binary;
pub(crate) mod compare;
pub(crate) mod copy;
pub(crate) mod in_place;
pub mod reference;
pub(crate) mod select;
pub(crate) mod unary;
pub(crate) mod view;

pub use binary::{BINARY, BINARY_SCALAR, Binary, BinaryParams, ScalarParams};
pub use compare::{COMPARE, COMPARE_SCALAR, Comparison};
pub use copy::{CAST_FROM_F16, CAST_FROM_F32, CAST_FROM_I32, CAST_FROM_U32, COPY, CopyParams};
pub use in_place::{BINARY_IN_PLACE, BinaryInPlaceParams, UNARY_IN_PLACE, UnaryInPlaceParams};
pub use select::{SELECT, SelectParams};
pub use unary::{UNARY, Unary, UnaryParams};
pub use view::{MAX_RANK, Shape, View};
