//! What the operators answer instead of computing.

use crate::{DType, Scalar};
use thalweg_hal::ErrorClass;

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tensor could not be made or read. Shapes are listed outermost axis first.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The runtime or the device refused, or the work that makes the data failed.
    #[error(transparent)]
    Runtime(#[from] thalweg_runtime::Error),
    /// Shapes that do not go together.
    #[error("{operation}: {what} has shape {given:?}, expected {expected}")]
    Shape {
        /// The operator.
        operation: &'static str,
        /// Which operand.
        what: &'static str,
        /// Its shape.
        given: Vec<usize>,
        /// What would do.
        expected: String,
    },
    /// An element type that the operator does not take.
    #[error("{operation}: {what} is {given}, expected {expected}")]
    DType {
        /// The operator.
        operation: &'static str,
        /// Which operand.
        what: &'static str,
        /// Its type.
        given: DType,
        /// The type that would do, or the types.
        expected: &'static str,
    },
    /// A number beside elements that cannot be it.
    #[error("{operation}: the number is {scalar}, expected an integer that elements of {dtype} can be")]
    Scalar {
        /// The operator.
        operation: &'static str,
        /// The number.
        scalar: Scalar,
        /// The type of the elements.
        dtype: DType,
    },
    /// A list of tensors that is empty.
    #[error("{operation}: no tensors were given, expected at least one")]
    NoOperands {
        /// The operator.
        operation: &'static str,
    },
    /// The number of elements differs from what the shape holds.
    #[error("{operation}: {given} elements for shape {shape:?}, which holds {expected}")]
    Length {
        /// The operator.
        operation: &'static str,
        /// Elements given.
        given: usize,
        /// The shape.
        shape: Vec<usize>,
        /// Elements that it holds.
        expected: usize,
    },
    /// More axes or elements than a tensor can have.
    #[error("{operation}: shape {shape:?} is too large; a tensor has at most 6 axes and {} elements", u32::MAX)]
    TooLarge {
        /// The operator.
        operation: &'static str,
        /// The shape.
        shape: Vec<usize>,
    },
    /// An axis or range that the tensor does not have.
    #[error("{operation}: {what}, but the shape is {shape:?}")]
    Range {
        /// The operator.
        operation: &'static str,
        /// What was asked for.
        what: String,
        /// The tensor's shape.
        shape: Vec<usize>,
    },
    /// Only memory that nobody else can name may change: here a clone or a view names it too.
    #[error(
        "{operation}: the tensor shares its memory with a clone or a view, which would change too; drop the others \
         first, or use the operator that makes a new tensor"
    )]
    Shared {
        /// The operator.
        operation: &'static str,
    },
    /// Only elements that lie one after the other can be changed in place.
    #[error(
        "{operation}: the elements of this view of shape {shape:?} do not lie one after the other; make it contiguous \
         first, or use the operator that makes a new tensor"
    )]
    Strided {
        /// The operator.
        operation: &'static str,
        /// The shape of the view.
        shape: Vec<usize>,
    },
    /// A mutable tensor cannot be divided into such parts.
    #[error(
        "{rows} rows of {row_bytes} bytes cannot be divided into parts of {rows_per_part}: a part is a multiple of \
         {multiple} rows, so that it starts at a multiple of 256 bytes, and divides the rows evenly, or is all of them"
    )]
    Parts {
        /// The length of axis 0.
        rows: usize,
        /// The length of a row.
        row_bytes: usize,
        /// The rows of a part that were asked for.
        rows_per_part: usize,
        /// The fewest rows that are a multiple of 256 bytes.
        multiple: usize,
    },
    /// Rows of a mutable tensor that are not there, or are not whole parts.
    #[error("{operation}: rows {}..{} of {rows} asked for; expected {expected}", asked.start, asked.end)]
    Rows {
        /// The operator.
        operation: &'static str,
        /// What was asked for.
        asked: std::ops::Range<usize>,
        /// How many rows there are.
        rows: usize,
        /// What would do.
        expected: String,
    },
    /// A kernel of the user's own was given another number of tensors than it takes.
    #[error(
        "kernel `{kernel}` was given {} inputs and {} outputs; it takes {} and {}",
        given.0, given.1, expected.0, expected.1
    )]
    Operands {
        /// The kernel's name.
        kernel: String,
        /// Inputs and outputs given.
        given: (usize, usize),
        /// Inputs and outputs that it takes.
        expected: (usize, usize),
    },
}

impl Error {
    /// Who can do something about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Runtime(error) => error.class(),
            _ => ErrorClass::Caller,
        }
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Runtime(error) if error.is_retryable())
    }
}
