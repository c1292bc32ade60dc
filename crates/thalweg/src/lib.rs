//! Thalweg runs small models for many threads on one device. No call needs a lock around it, and no tensor belongs to a
//! thread.
//!
//! # Quick start
//!
//! Embed sentences with a BERT-family encoder (`scripts/fetch-model` brings one):
//!
//! ```no_run
//! # fn main() -> thalweg::Result<()> {
//! let device = thalweg::open("cpu")?;
//! let model = thalweg::EmbeddingModel::load(&device, "models/all-MiniLM-L6-v2")?;
//! let embeddings = model.embed(&["The river joins the sea.", "Streams become one."])?;
//! assert_eq!(embeddings.row(0)?.len(), model.width());
//! # Ok(())
//! # }
//! ```
//!
//! Compute with tensors, from as many threads as you like:
//!
//! ```
//! use thalweg::Tensor;
//!
//! # fn main() -> thalweg::Result<()> {
//! let device = thalweg::open("cpu")?;
//! let a = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
//! std::thread::scope(|scope| {
//!     // The same tensor in two threads, each on a stream of its own.
//!     let sum = scope.spawn(|| a.add(&a)?.to_vec::<f32>());
//!     let product = scope.spawn(|| a.matmul(&a)?.to_vec::<f32>());
//!     assert_eq!(sum.join().expect("no panic")?, [2.0, 4.0, 6.0, 8.0]);
//!     assert_eq!(product.join().expect("no panic")?, [7.0, 10.0, 15.0, 22.0]);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # What is what
//!
//! - A [`Device`] is a handle: clone it freely. [`open`] makes one, [`devices`] says which there are.
//! - A [`Tensor`] is a value. Operations read their operands and make a new tensor; they record their work and return
//!   at once. [`Tensor::to_vec`] waits for the result; [`Tensor::to_vec_async`] is for async tasks;
//!   [`Tensor::download`] returns at once, for any number of threads and tasks to wait.
//! - A [`MutableTensor`] is a place: rows that any thread reads and changes, for caches that grow.
//! - A [`Graph`] is operations that are recorded once and run often, for many short ones.
//! - A [`Stream`] is an order of operations. Each thread has one without asking. What one stream writes and another
//!   reads is ordered by the library; an [`Event`] orders or times what data alone does not.
//! - An [`EmbeddingModel`] is a handle too. [`EmbeddingModel::embed`] waits for its [`Embeddings`], one matrix with an
//!   error a row where a text is at fault; [`EmbeddingModel::submit`] gives a [`Pending`], for deadlines and tasks.
//! - A [`Profiler`] says where the time goes: a trace for Perfetto with a track for each thread and each stream, and a
//!   table of kernels. [`range()`] names what a thread is at.
//! - Every call that can fail returns an [`enum@Error`] that says what was given and what was expected; its
//!   [class](Error::class) says who can do something about it. A failure on
//!   the device reaches those who read data that depends on it, and nobody else.
//!
//! # Environment
//!
//! | variable | values | effect |
//! |---|---|---|
//! | `THALWEG_VALIDATE` | `0` (default), `1` | devices check every submission for missing waits and barriers |
//! | `THALWEG_VULKAN_VALIDATION` | `0` (default), `1` | Khronos' validation layers watch every call to Vulkan |
//! | `THALWEG_CACHE_DIR` | a directory; empty for none | where compiled pipelines are kept; default: the user's cache |

mod device;
mod error;

// The layers below, whole: signatures here name types of theirs that programs seldom need.
pub use thalweg_hal as hal;
pub use thalweg_models as models;
pub use thalweg_profile as profile;
pub use thalweg_runtime as runtime;
pub use thalweg_tensor as tensor;

pub use device::{DeviceReport, devices, open, open_with};
pub use error::{Error, Result};
pub use thalweg_hal::{
    DeviceInfo, DeviceKind, Error as DeviceError, ErrorClass, HostCall, HostFn, KernelFailure, Limits,
};
pub use thalweg_models::hub;
pub use thalweg_models::{
    Classes, Classifier, EmbeddingModel, Embeddings, Error as ModelError, LoadOptions, ModelInfo, ModelTask, Ranked,
    Reranker, Scores, SettingInfo, Similarity, SparseEmbeddings, SparseEncoder, SparseVector, TextTokenizer,
    TokenVectors, Tokens, WeightsInfo,
};
pub use thalweg_profile::{Detail, Dropped, KernelTable, KernelTime, Profile, ProfileOptions, Profiler};
pub use thalweg_runtime::{
    Attached, Awaited, CacheStats, Config, Counters, Device, Event, Finished, MemoryStats, Pending, Pool, Range, Step,
    Stream, range,
};
pub use thalweg_runtime::{BlockSnapshot, BlockState, MemorySnapshot, SegmentSnapshot, SpanSnapshot, SpanState};
pub use thalweg_runtime::{Error as RuntimeError, Failure, OutOfMemory, PoolMemory, StreamMemory};
pub use thalweg_tensor::{
    Activation, AttentionOptions, Binary, Comparison, DType, Element, Error as TensorError, Graph, Kernel,
    MutableTensor, PackedMatrix, Pooling, Reduction, Scalar, Tensor, Unary, f16,
};
