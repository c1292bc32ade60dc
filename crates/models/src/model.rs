//! A model on its device, whatever its task is.

use crate::arch::Encoder;
use crate::config::{Config, TextConfig};
use crate::error::{Error, Result};
use crate::graphs::Graphs;
use crate::layout::{Kind, Layout, Module};
use crate::options::LoadOptions;
use crate::packed::PackedBatch;
use crate::sentence::{Gives, Sentence};
use crate::task::Task;
use crate::tokenizer::{Class as TokenizerClass, Tokenizer, Tokens};
use crate::weights::{Scope, Weights};
use std::fmt;
use thalweg_runtime::{CacheStats, Device, Pool};
use thalweg_tensor::{DType, Tensor};

/// The most tokens that one pass computes. A call with more is run in several passes, one after the other.
///
/// It bounds the memory of a call: the activations of a pass take about `24 * width` bytes a token (with a
/// feed-forward block of `4 * width`; 75 MB a pass at width 384), whatever the number of texts. A single text that is
/// longer is a pass of its own. Larger passes gain nothing: the matrix products are long past the size from which they
/// run at full speed.
pub const TOKENS_PER_PASS: usize = 8192;

/// The tokenizer and the encoder of a model: what all tasks begin with.
pub(crate) struct Model {
    pub(crate) device: Device,
    tokenizer: Tokenizer,
    encoder: Box<dyn Encoder>,
    /// `None` where they are not worth it, or turned off.
    graphs: Option<Graphs>,
    /// The most tokens of a text, special ones included.
    pub(crate) max_tokens: usize,
    /// Whether a text with more tokens is cut, or an error.
    cut: bool,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, width, dtype) = (self.encoder.layers(), self.width(), self.dtype());
        let (tokens, name) = (self.max_tokens, &self.device.info().name);
        write!(f, "{layers} layers of {dtype}[{width}], at most {tokens} tokens, on {name}")
    }
}

impl Model {
    /// The length of a token's vector.
    pub(crate) fn width(&self) -> usize {
        self.encoder.limits().width
    }

    /// What the device computes in.
    pub(crate) fn dtype(&self) -> DType {
        self.encoder.dtype()
    }

    /// What has been asked of the graphs.
    pub(crate) fn graph_cache(&self) -> CacheStats {
        self.graphs.as_ref().map_or_else(CacheStats::default, Graphs::stats)
    }

    /// What makes tokens of texts. Not in a forked child, where a lock of it may be held for ever.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Records one pass of at least one sequence: `[rows, width]` of the task, f32.
    pub(crate) fn record(&self, task: &impl Task, sequences: &[&Tokens]) -> Result<Tensor> {
        let batch = PackedBatch::new(&self.device, sequences, self.encoder.limits().places)?;
        let forward = |batch: &PackedBatch| task.record(self.encoder.forward(batch)?, batch);
        Ok(match &self.graphs {
            Some(graphs) => graphs.run(&batch, task.kind(), forward)?,
            None => forward(&batch)?,
        })
    }

    /// Everything that a kernel takes on trust about the ids of sequence `sequence`.
    pub(crate) fn check(&self, sequence: usize, tokens: &Tokens) -> Result<()> {
        let (limit, encoder) = (self.max_tokens, self.encoder.limits());
        if tokens.is_cut() && !self.cut {
            return Err(Error::TooManyTokens { text: sequence, limit });
        }
        if tokens.is_empty() || tokens.len() > limit {
            return Err(Error::SequenceLength { sequence, tokens: tokens.len(), limit });
        }
        for (what, ids, count) in [
            ("token", tokens.ids(), encoder.vocabulary),
            ("type", tokens.type_ids(), encoder.types.unwrap_or(usize::MAX)),
        ] {
            if let Some(position) = ids.iter().position(|&id| id as usize >= count) {
                return Err(Error::TokenId { sequence, position, what, given: ids[position], count });
            }
        }
        Ok(())
    }
}

/// What a model makes of texts before the encoder: read without the weights.
pub(crate) struct Texts {
    pub(crate) config: Config,
    pub(crate) tokenizer: Tokenizer,
    /// The class that the tokenizer is read as.
    pub(crate) class: TokenizerClass,
    /// The most tokens of a text, special ones included.
    pub(crate) max_tokens: usize,
}

impl Texts {
    pub(crate) fn read(layout: &Layout) -> Result<Self> {
        let folder = &layout.transformer()?.folder;
        let config = Config::read(folder)?;
        let text = TextConfig::read(folder, config.limits.lengths)?;
        let class = TokenizerClass::of(&text.tokenizer, &text.model)?;
        let (tokenizer, max_tokens) = Tokenizer::load(folder, &text, config.limits.vocabulary)?;
        Ok(Self { config, tokenizer, class, max_tokens })
    }
}

/// A model that is being loaded: its files are open, and its settings are read. The task reads its own parts before the
/// encoder is [loaded](Self::finish), which takes longest.
pub(crate) struct Loading {
    device: Device,
    options: LoadOptions,
    pub(crate) config: Config,
    tokenizer: Tokenizer,
    max_tokens: usize,
    weights: Weights,
    /// Where all weights lie. They hold its memory, which goes back to the device with the last of them.
    pub(crate) pool: Pool,
}

impl Loading {
    /// Opens the transformer of a model, which has to give what it is asked for.
    pub(crate) fn open(device: &Device, layout: &Layout, gives: Gives, options: LoadOptions) -> Result<Self> {
        let dtype = options.checked_dtype()?;
        let Module { kind, folder, .. } = layout.transformer()?;
        if !layout.is_bare {
            let without = if *kind == Kind::MLMTransformer { Gives::Words } else { Gives::Vectors };
            Sentence::read(folder)?.check(gives, without)?;
        }
        let Texts { config, tokenizer, max_tokens, .. } = Texts::read(layout)?;
        let weights = config.open_weights(folder, dtype)?;
        let name = layout.directory.file_name().map_or("model".into(), |name| name.to_string_lossy());
        let pool = Pool::new(device, &name)?;
        Ok(Self { device: device.clone(), options, config, tokenizer, max_tokens, weights, pool })
    }

    /// How many tokens a text has at most.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The tensors of the checkpoint, for the task's own.
    pub(crate) fn weights(&self) -> Scope<'_> {
        self.weights.scope(&self.pool)
    }

    /// Loads the encoder.
    pub(crate) fn finish(self) -> Result<Model> {
        let Self { device, options, config, tokenizer, max_tokens, weights, pool } = self;
        let encoder = config.load(&weights.scope(&pool))?;
        let graphs = Graphs::new(&device, options.graph_bytes())?;
        Ok(Model { device, tokenizer, encoder, graphs, max_tokens, cut: options.cuts_long_texts() })
    }
}
