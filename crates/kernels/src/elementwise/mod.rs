//! Operations on each element for itself, over strided views.

mod binary;
mod copy;
mod in_place;
pub mod reference;
mod unary;
mod view;

pub use binary::{
    BINARY_F16, BINARY_F32, BINARY_I32, BINARY_U32, Binary, BinaryParams, binary_f16_on, binary_f32_on, binary_i32_on,
    binary_u32_on,
};
pub use copy::{
    CAST_TO_F16, CAST_TO_F32, COPY, COPY_F16, CopyParams, cast_to_f16_on, cast_to_f32_on, copy_f16_on, copy_on,
};
pub use in_place::{
    BINARY_F16_IN_PLACE, BINARY_F32_IN_PLACE, BINARY_I32_IN_PLACE, BINARY_U32_IN_PLACE, BinaryInPlaceParams,
    UNARY_IN_PLACE, UNARY_IN_PLACE_F16, UnaryInPlaceParams, binary_f16_in_place_on, binary_f32_in_place_on,
    binary_i32_in_place_on, binary_u32_in_place_on, unary_in_place_f16_on, unary_in_place_on,
};
pub use unary::{UNARY, UNARY_F16, Unary, UnaryParams, unary_f16_on, unary_on};
pub use view::{MAX_RANK, Shape, View};
