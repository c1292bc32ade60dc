//! Models: what is read from a directory and run on a device.
//!
//! An [`EmbeddingModel`] is a sentence encoder in the sentence-transformers layout. The parts, in
//! the order in which a load meets them:
//!
//! | module | reads | decides |
//! |---|---|---|
//! | [`hub`] | the top folder of a model in the hub's cache | which directory is meant |
//! | `layout` | `modules.json`, `config_sentence_transformers.json` | which modules, in which folders |
//! | `arch` | `config.json` | the encoder's family, shape and operations, on sequences without padding (`packed`) |
//! | `config` | | what of it the others need, and how long texts may be |
//! | `sentence` | `sentence_bert_config.json` | arguments for the other files |
//! | `pooling` | the Pooling module's `config.json` | how token vectors become one |
//! | `tokenizer` | `tokenizer.json` or `vocab.txt`, `tokenizer_config.json`, lists of added tokens | texts to ids |
//! | `weights` | `model.safetensors`, or several and their list | nothing: every shape must be as `arch` says |
//!
//! A call goes another way: [`EmbeddingModel::submit`] makes a `run` of it, which cuts it into passes, records two, and
//! is taken on by whoever waits; all other calls stand on that. What comes of it are [`Embeddings`].
//!
//! # Settings
//!
//! They are read as the reference reads them, sentence-transformers 6 on transformers 5, so that a directory embeds
//! here as it does there:
//!
//! - Where files contradict each other, the reference's rule decides. For a tokenizer of the class `BertTokenizer`, or
//!   of no class, `tokenizer_config.json` wins over `tokenizer.json`, of which the vocabulary alone is taken; for
//!   `PreTrainedTokenizerFast` it is the other way round.
//! - A setting that could change an embedding and is not supported is an error that names it. Each file has a table of
//!   the settings that are read, and of those that change nothing, with the reason.
//! - Where versions 5 and 6 of sentence-transformers differ, this is 6: texts are not trimmed, and `do_lower_case` of
//!   `sentence_bert_config.json` lower-cases after special tokens are found in a text, not before.
//! - A model whose limit is too low for its special tokens (`max_seq_length` 1) cuts nothing, as the reference. A text
//!   that is longer than the encoder has positions is then an error.
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

mod arch;
mod config;
mod error;
mod files;
mod graphs;
pub mod hub;
mod inspect;
mod json;
mod layout;
mod model;
mod options;
mod packed;
mod run;
mod sentence;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod tokenizer;
mod weights;

pub use error::{Error, Result};
pub use inspect::{ModelInfo, ModelTask, SettingInfo, TextTokenizer, WeightsInfo};
pub use model::TOKENS_PER_PASS;
pub use options::LoadOptions;
pub use task::{
    Classes, Classifier, EmbeddingModel, Embeddings, Ranked, Reranker, Scores, Similarity, SparseEmbeddings,
    SparseEncoder, SparseVector, TokenVectors,
};
pub use tokenizer::Tokens;
