//! Models: what is read from a directory and run on a device.
//!
//! An [`EmbeddingModel`] is a sentence encoder of the BERT family in the sentence-transformers layout. The parts, in
//! the order in which a load meets them:
//!
//! | module | reads | decides |
//! |---|---|---|
//! | `layout` | `modules.json` | which modules, in which folders |
//! | `config` | `config.json` | the encoder's shape |
//! | | `sentence_bert_config.json`, `tokenizer_config.json` | the most tokens of a text |
//! | `pooling` | the Pooling module's `config.json` | how token vectors become one |
//! | `tokenizer` | `tokenizer.json` | texts to ids |
//! | `weights` | `model.safetensors` | nothing: every shape must be as `config` says |
//! | `encoder` | | the operations, over sequences packed without padding (`packed`) |
//!
//! A call goes another way: [`EmbeddingModel::submit`] makes a `run` of it, which cuts it into passes, records two, and
//! is taken on by whoever waits; all other calls stand on that. What comes of it are [`Embeddings`].
//!
//! # Types
//!
//! A file's tensors are f32, f16 or bf16. The device computes in f32, or in f16 where [`LoadOptions`] says so; weights
//! are converted once, when they are loaded, and every value has to be finite in the type that it becomes.
//!
//! # Untrusted files
//!
//! A model directory may come from anywhere. Every setting is checked where it is read, every size against the bytes
//! that the weights file really has before anything is allocated for it, every token id against the encoder's tables
//! before the device sees it. What is wrong is an [`enum@Error`] that names the file, never a panic.

mod config;
mod embeddings;
mod encoder;
mod error;
mod graphs;
mod json;
mod layout;
mod model;
mod options;
mod packed;
mod pooling;
mod run;
#[cfg(feature = "testing")]
pub mod testing;
mod tokenizer;
mod weights;

pub use embeddings::Embeddings;
pub use error::{Error, Result};
pub use model::{EmbeddingModel, TOKENS_PER_PASS};
pub use options::LoadOptions;
pub use tokenizer::Tokens;
