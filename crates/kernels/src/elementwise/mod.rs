//! Operations on each element for itself, over strided views.

mod binary;
mod copy;
mod in_place;
pub mod reference;
mod unary;
mod view;

pub use binary::{
    BINARY_F32, BINARY_I32, BINARY_U32, Binary, BinaryParams, binary_f32_on, binary_i32_on, binary_u32_on,
};
pub use copy::{COPY, CopyParams, copy_on};
pub use in_place::{
    BINARY_F32_IN_PLACE, BINARY_I32_IN_PLACE, BINARY_U32_IN_PLACE, BinaryInPlaceParams, UNARY_IN_PLACE,
    UnaryInPlaceParams, binary_f32_in_place_on, binary_i32_in_place_on, binary_u32_in_place_on, unary_in_place_on,
};
pub use unary::{UNARY, Unary, UnaryParams, unary_on};
pub use view::{MAX_RANK, Shape, View};
