//! Operations on each element for itself, over strided views.

mod binary;
mod copy;
pub mod reference;
mod unary;
mod view;

pub use binary::{
    BINARY_F32, BINARY_I32, BINARY_U32, Binary, BinaryParams, binary_f32_on, binary_i32_on, binary_u32_on,
};
pub use copy::{COPY, CopyParams, copy_on};
pub use unary::{UNARY, Unary, UnaryParams, unary_on};
pub use view::{MAX_RANK, Shape, View};
