//! What became of a case.

/// Nothing, or what is wrong.
pub type Outcome<T = ()> = Result<T, Failure>;

/// What is wrong, in words.
#[derive(Clone, Debug)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<thalweg_tensor::Error> for Failure {
    fn from(error: thalweg_tensor::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<thalweg_runtime::Error> for Failure {
    fn from(error: thalweg_runtime::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<thalweg_hal::Error> for Failure {
    fn from(error: thalweg_hal::Error) -> Self {
        Self(error.to_string())
    }
}

/// Returns a [`Failure`] with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Failure(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;
