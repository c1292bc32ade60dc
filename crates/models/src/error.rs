//! What can be wrong with a model directory, a text or a device, as values.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_hal::ErrorClass;
use thalweg_tensor::DType;

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be loaded or a text not be embedded.
///
/// Every message names the file or the value, what was found, and what was expected. Cloneable: what fails a pass is
/// the error of each of its texts.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path given as a model is not a directory.
    #[error(
        "{}: {found}; expected a model directory in the sentence-transformers layout, with modules.json, config.json, \
         model.safetensors and tokenizer.json", path.display()
    )]
    NotADirectory {
        /// The path that was given.
        path: PathBuf,
        /// What is there: "nothing there", "a file".
        found: &'static str,
    },
    /// A directory or a file is not what belongs there, but something else that can be told: a cache of the Hugging
    /// Face hub, weights in another format.
    #[error("{}: {found}; {advice}", path.display())]
    NotAModel {
        /// What was looked at.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What to do.
        advice: String,
    },
    /// A name that no model of the hub can have.
    #[error(
        "{given:?} is no model's name on the hub, which is organisation/name or organisation/name@revision: {reason}"
    )]
    HubName {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A model could not be fetched from the hub.
    #[cfg(feature = "pull")]
    #[error("{what}: {reason}")]
    Pull {
        /// The model, a file of it, or a variable of the environment.
        what: String,
        /// What the hub or the network said, and what to do.
        reason: String,
        /// Whether the same may succeed later.
        is_retryable: bool,
    },
    /// A file is a Git LFS pointer: a few lines that stand for the real file in a repository.
    #[error(
        "{}: it is a Git LFS pointer, not the file that it stands for; run `git lfs install` and `git lfs pull` in the \
         repository, or download the file itself", path.display()
    )]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A file of the model could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A file, or the header of one, is larger than any that this crate reads.
    #[error("{}: {what} has {bytes} bytes; the most that is read is {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// "the file" or "the header".
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A file is not JSON, or not the kind of JSON that belongs there.
    #[error("{}: not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A setting is missing, impossible, contradictory or not supported.
    #[error("{}: `{key}` is {given}; expected {expected}", path.display())]
    Setting {
        /// The file that holds the setting.
        path: PathBuf,
        /// The setting's name.
        key: String,
        /// What the file says: a JSON value, or "missing".
        given: String,
        /// What it would have to say.
        expected: String,
    },
    /// The weights file ends before, or goes on after, the bytes that its header describes.
    #[error("{}: the file has {bytes} bytes, but its header describes {expected}; it is truncated or corrupt", path.display())]
    WeightsLength {
        /// The weights file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size that it would have to have.
        expected: u64,
    },
    /// The header of the weights file is not a safetensors header.
    #[error("{}: the safetensors header is corrupt: {source}", path.display())]
    WeightsHeader {
        /// The weights file.
        path: PathBuf,
        /// Where and why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The weights lack a tensor.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    TensorMissing {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name, without a prefix.
        tensor: String,
    },
    /// The weights file has a tensor twice, under its old name and under today's.
    #[error("{}: `{tensor}` and `{other}` are two names of one tensor; remove one of them", path.display())]
    TensorTwice {
        /// The weights file.
        path: PathBuf,
        /// Today's name.
        tensor: String,
        /// The old one.
        other: String,
    },
    /// Two weights files of a model have a tensor of the same name.
    #[error("{}: tensor `{tensor}` is in {} too; remove it from one of them", path.display(), other.display())]
    TensorInTwoFiles {
        /// One file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The other file.
        other: PathBuf,
    },
    /// A tensor has another shape than config.json asks for.
    #[error("{}: tensor `{tensor}` has shape {given:?}; config.json asks for {expected:?}", path.display())]
    TensorShape {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape in the file.
        given: Vec<usize>,
        /// The shape that config.json leads to.
        expected: Vec<usize>,
    },
    /// A tensor's elements are not of a type that is supported.
    #[error("{}: tensor `{tensor}` has dtype {given}; expected F32, F16 or BF16", path.display())]
    TensorDtype {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The dtype in the file.
        given: String,
    },
    /// A tensor holds an infinity or a NaN.
    #[error("{}: element {element} of tensor `{tensor}` is {given}; weights must be finite", path.display())]
    TensorValue {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The element's index in row-major order.
        element: usize,
        /// Its value.
        given: f32,
    },
    /// A tensor holds a value that is finite, but not in the type that the model was to be loaded in.
    #[error(
        "{}: element {element} of tensor `{tensor}` is {given}, which is beyond f16's range of -65504 to 65504; load the \
         model in f32", path.display()
    )]
    TensorRange {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The element's index in row-major order.
        element: usize,
        /// Its value.
        given: f32,
    },
    /// A model was to be loaded in a type that it cannot compute in.
    #[error("a model computes in f32 or f16; {given} was asked for")]
    LoadDtype {
        /// What was asked for.
        given: DType,
    },
    /// tokenizer.json does not describe a tokenizer.
    #[error("{}: not a usable tokenizer: {source}", path.display())]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// Where and why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The tokenizer failed on a text.
    #[error("text {text}: the tokenizer of {} failed: {source}", path.display())]
    Tokenize {
        /// The text's index in the call.
        text: usize,
        /// The tokenizer's file.
        path: PathBuf,
        /// What the tokenizer said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A text is long, and the tokenizer is not known to split it anywhere in a long part, so that its first tokens
    /// cannot be told from those of the whole.
    #[error(
        "text {text} has {bytes} bytes, and in {limit} of them on end there is no place where the tokenizer of {} \
         surely splits, such as a space (U+0020) between words; shorten the text or put such spaces into it", path.display()
    )]
    TextTooLong {
        /// The text's index in the call.
        text: usize,
        /// The tokenizer's file.
        path: PathBuf,
        /// The text's length.
        bytes: usize,
        /// The most bytes without such a place.
        limit: usize,
    },
    /// A sequence has no token, or more than the model takes.
    #[error("sequence {sequence} has {tokens} tokens; expected 1 to {limit}")]
    SequenceLength {
        /// The sequence's index in the call.
        sequence: usize,
        /// Its length.
        tokens: usize,
        /// The model's [`max_tokens`](crate::EmbeddingModel::max_tokens).
        limit: usize,
    },
    /// A token or type id is not in the model's table.
    #[error("sequence {sequence}, position {position}: {what} id {given}; the model has ids 0 to {}", count.saturating_sub(1))]
    TokenId {
        /// The sequence's index in the call.
        sequence: usize,
        /// The token's index in its sequence.
        position: usize,
        /// "token" or "type".
        what: &'static str,
        /// The id.
        given: u32,
        /// How many ids there are.
        count: usize,
    },
    /// A text has more tokens than the model takes, and the model was loaded to
    /// [refuse](crate::LoadOptions::cut_long_texts) such texts.
    #[error("text {text} has more than the {limit} tokens that the model takes; shorten it, or let long texts be cut")]
    TooManyTokens {
        /// The text's index in the call.
        text: usize,
        /// The model's [`max_tokens`](crate::EmbeddingModel::max_tokens).
        limit: usize,
    },
    /// A prompt's name is not one of the model's.
    #[error("there is no prompt {given:?}; the model has {known}")]
    PromptName {
        /// The name that was given.
        given: String,
        /// Those that there are.
        known: String,
    },
    /// Texts were to be ranked by a model that gives each several scores.
    #[error("the model gives {labels} scores for each pair of texts; ranking takes one: take the rows themselves")]
    NotOneLabel {
        /// How many labels it has.
        labels: usize,
    },
    /// A sequence has no token beside those of the prompt, which the model leaves out of its pooling.
    #[error(
        "sequence {sequence} has {tokens} tokens; expected more than the {prompt} of the prompt, which are left out"
    )]
    NoTokenAfterPrompt {
        /// The sequence's index in the call.
        sequence: usize,
        /// Its length.
        tokens: usize,
        /// The prompt's.
        prompt: usize,
    },
    /// The embedding of a text has a value that is infinite or no number.
    #[error("text {text}: its embedding is not finite{}", not_finite(*dtype))]
    NotFinite {
        /// The text's index in the call.
        text: usize,
        /// What the model computes in.
        dtype: DType,
    },
    /// The runtime or the device refused, or the work that makes the embeddings failed.
    #[error(transparent)]
    Runtime(#[from] thalweg_runtime::Error),
    /// An operation on tensors was refused.
    #[error(transparent)]
    Tensor(thalweg_tensor::Error),
}

fn not_finite(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => ": the computation went beyond f16's range of -65504 to 65504; load the model in f32",
        _ => ", though all weights are: the computation went beyond the range of f32, so the weights are of no use",
    }
}

impl From<thalweg_tensor::Error> for Error {
    /// What the runtime says is told as such, whichever way it came.
    fn from(error: thalweg_tensor::Error) -> Self {
        match error {
            thalweg_tensor::Error::Runtime(error) => Self::Runtime(error),
            other => Self::Tensor(other),
        }
    }
}

impl Error {
    /// Of a model's file that is not there, what a model has.
    pub(crate) fn with_what_is_missing(self) -> Self {
        match self {
            Self::Io { path, source } if source.kind() == io::ErrorKind::NotFound => Self::NotAModel {
                path,
                found: "No such file".to_owned(),
                advice: "a model directory in the sentence-transformers layout has modules.json, config.json, \
                         model.safetensors, tokenizer.json (or vocab.txt) and its pooling's config.json; download the \
                         model again, or give another directory"
                    .to_owned(),
            },
            other => other,
        }
    }

    /// Whether a file is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Who can do something about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Runtime(error) => error.class(),
            Self::Tensor(error) => error.class(),
            #[cfg(feature = "pull")]
            Self::Pull { is_retryable: true, .. } => ErrorClass::Busy,
            _ => ErrorClass::Caller,
        }
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Runtime(error) => error.is_retryable(),
            #[cfg(feature = "pull")]
            Self::Pull { is_retryable, .. } => *is_retryable,
            _ => false,
        }
    }
}

/// A panic inside a library that was given untrusted data, caught and told as an error.
#[derive(Debug, thiserror::Error)]
#[error("it panicked: {message}")]
pub(crate) struct Panicked {
    /// The panic's message, if it had one.
    message: String,
}

impl Panicked {
    /// Runs `call`, and turns a panic into an error. The panic hook still runs, so the panic is also reported there.
    ///
    /// `call` must leave nothing broken behind that is used again after a panic.
    pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Self> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).map_err(|payload| {
            let message = payload
                .downcast_ref::<&str>()
                .map(|message| (*message).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Self { message }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors_with_their_message() {
        assert_eq!(Panicked::catch(|| 7).unwrap(), 7);
        let error = Panicked::catch(|| panic!("plain")).unwrap_err();
        assert_eq!(error.to_string(), "it panicked: plain");
        let error = Panicked::catch(|| panic!("number {}", 3)).unwrap_err();
        assert_eq!(error.to_string(), "it panicked: number 3");
        let error = Panicked::catch(|| std::panic::panic_any(3)).unwrap_err();
        assert_eq!(error.to_string(), "it panicked: no message");
    }
}
