//! What the operators answer instead of computing.

use crate::DType;

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
}

impl Error {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Runtime(error) if error.is_retryable())
    }
}
