//! One error for everything that a user calls.

use thalweg_hal::ErrorClass;

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Each variant but the first two is the error of the layer where it arose, with its own causes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`open`](crate::open) was given a selector that names no device.
    #[error("no device is called {given:?}; expected one of {}", expected.join(", "))]
    UnknownDevice {
        /// The selector.
        given: String,
        /// Every selector that names a device.
        expected: Vec<String>,
    },
    /// A variable of the environment has a value that it cannot have.
    #[error("the environment variable {name} is {given:?}; expected {expected}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        given: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// The device could not be opened, refused something, or is lost.
    #[error(transparent)]
    Device(#[from] thalweg_hal::Error),
    /// A stream, an event or the memory.
    #[error(transparent)]
    Runtime(thalweg_runtime::Error),
    /// An operation on tensors.
    #[error(transparent)]
    Tensor(thalweg_tensor::Error),
    /// Loading or running a model.
    #[error(transparent)]
    Model(thalweg_models::Error),
}

// What the device and the runtime say is told as such, whichever way it came.

impl From<thalweg_runtime::Error> for Error {
    fn from(error: thalweg_runtime::Error) -> Self {
        match error {
            thalweg_runtime::Error::Device(error) => Self::Device(error),
            other => Self::Runtime(other),
        }
    }
}

impl From<thalweg_tensor::Error> for Error {
    fn from(error: thalweg_tensor::Error) -> Self {
        match error {
            thalweg_tensor::Error::Runtime(error) => error.into(),
            other => Self::Tensor(other),
        }
    }
}

impl From<thalweg_models::Error> for Error {
    fn from(error: thalweg_models::Error) -> Self {
        match error {
            thalweg_models::Error::Runtime(error) => error.into(),
            thalweg_models::Error::Tensor(error) => error.into(),
            other => Self::Model(other),
        }
    }
}

impl Error {
    /// Who can do something about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownDevice { .. } | Self::Environment { .. } => ErrorClass::Caller,
            Self::Device(error) => error.class(),
            Self::Runtime(error) => error.class(),
            Self::Tensor(error) => error.class(),
            Self::Model(error) => error.class(),
        }
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::UnknownDevice { .. } | Self::Environment { .. } => false,
            Self::Device(error) => error.is_retryable(),
            Self::Runtime(error) => error.is_retryable(),
            Self::Tensor(error) => error.is_retryable(),
            Self::Model(error) => error.is_retryable(),
        }
    }
}
