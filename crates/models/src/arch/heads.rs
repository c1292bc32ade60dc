//! What checkpoints have after the encoder: a head that scores whole texts, or one that scores every word of the
//! vocabulary at each token. Its layers are data of a family; here is what they do.

use super::layers::{Dense, Norm, Normal};
use crate::error::Result;
use crate::tokenizer::Tokens;
use crate::weights::Scope;
use std::ops::Range;
use thalweg_tensor::{Activation, DType, Pooling, Result as TensorResult, Tensor};

/// A dense layer of a head, before its last.
pub(crate) struct Hidden {
    pub(super) name: &'static str,
    pub(super) bias: bool,
    pub(super) activation: Activation,
    /// What follows the activation, and its name.
    pub(super) norm: Option<(&'static str, Normal)>,
}

/// A head that scores texts.
pub(crate) struct SequenceHead {
    /// Which of a text's vectors it looks at.
    pub(super) pooling: Pooling,
    pub(super) hidden: Option<Hidden>,
    /// The name of the last layer, which has an output for each label.
    pub(super) output: &'static str,
    pub(super) output_bias: bool,
    /// A token at the end of a text that is passed over, as if it only padded.
    pub(super) padding: Option<u32>,
}

/// A head that scores words.
pub(crate) struct WordHead {
    pub(super) hidden: Hidden,
    /// The width of what the hidden layer gives, and of the words' vectors.
    pub(super) width: usize,
    /// The name of the words' vectors.
    pub(super) decoder: &'static str,
    /// The encoder's table that has them, where they are not stored twice.
    pub(super) table: Option<&'static str>,
    /// The names that the words' biases may have, of which the first counts; none has no biases.
    pub(super) biases: &'static [&'static str],
}

/// The layers of a [`Hidden`].
struct HiddenLayer {
    dense: Dense,
    activation: Activation,
    norm: Option<Norm>,
}

impl Hidden {
    fn load(&self, weights: &Scope<'_>, outputs: usize, inputs: usize) -> Result<HiddenLayer> {
        let dense = weights.dense(self.name, outputs, inputs, self.bias)?;
        let norm = self.norm.map(|(name, normal)| weights.norm(name, outputs, normal)).transpose()?;
        Ok(HiddenLayer { dense, activation: self.activation, norm })
    }
}

impl HiddenLayer {
    fn apply(&self, input: &Tensor) -> TensorResult<Tensor> {
        let output = self.dense.apply(input, self.activation)?;
        self.norm.as_ref().map_or(Ok(output.clone()), |norm| norm.apply(&output))
    }
}

/// The weights of a [`SequenceHead`], in f32: there is one vector for each text.
pub(crate) struct SequenceLayers {
    pooling: Pooling,
    hidden: Option<HiddenLayer>,
    output: Dense,
    padding: Option<u32>,
}

impl SequenceHead {
    /// Reads the weights, after vectors of `width` elements.
    pub(crate) fn load(&self, weights: &Scope<'_>, width: usize, labels: usize) -> Result<SequenceLayers> {
        let weights = &weights.computing_in(DType::F32);
        let hidden = self.hidden.as_ref().map(|hidden| hidden.load(weights, width, width)).transpose()?;
        let output = weights.dense(self.output, labels, width, self.output_bias)?;
        Ok(SequenceLayers { pooling: self.pooling, hidden, output, padding: self.padding })
    }
}

impl SequenceLayers {
    /// How many labels it scores.
    pub(crate) fn labels(&self) -> usize {
        self.output.outputs()
    }

    /// The tokens that are looked at. Where those at the end are passed over, no other token sees them.
    pub(crate) fn without_padding(&self, mut tokens: Tokens) -> Tokens {
        if let Some(padding) = self.padding {
            let last = tokens.ids().iter().rposition(|id| *id != padding);
            // A text of nothing else has its first token looked at.
            tokens.truncate(last.unwrap_or(0) + 1);
        }
        tokens
    }

    /// The scores of each text, `[texts, labels]`, f32.
    pub(crate) fn apply(&self, vectors: &Tensor, offsets: &Tensor) -> TensorResult<Tensor> {
        let mut vectors = vectors.pool(offsets, self.pooling)?.to_dtype(DType::F32)?;
        if let Some(hidden) = &self.hidden {
            vectors = hidden.apply(&vectors)?;
        }
        self.output.apply(&vectors, Activation::None)
    }
}

/// The weights of a [`WordHead`].
pub(crate) struct WordLayers {
    hidden: HiddenLayer,
    /// Vectors and biases of the words, in parts of so many words that the scores of a pass have room.
    parts: Vec<Dense>,
}

impl WordHead {
    /// Reads the weights, after vectors of `width` elements, for `words` words, at most `most` at a time.
    pub(crate) fn load(&self, weights: &Scope<'_>, width: usize, words: usize, most: usize) -> Result<WordLayers> {
        let hidden = self.hidden.load(weights, self.width, width)?;
        let vectors = |name: &str| format!("{name}.weight");
        let table = self.table.filter(|_| !weights.has(&vectors(self.decoder)));
        let vectors = vectors(table.unwrap_or(self.decoder));
        // The last is the one that is missing, if none is there.
        let biases = self.biases.iter().find(|name| weights.has(name)).or(self.biases.last());
        let part = |rows: Range<usize>| {
            let (mut weight, mut bias) = (Vec::new(), Vec::new());
            weights.read_rows(&vectors, &[words, self.width], rows.clone(), &mut weight)?;
            if let Some(name) = biases {
                weights.read_rows(name, &[words], rows.clone(), &mut bias)?;
            }
            weights.packed(&weight, bias, rows.len(), self.width)
        };
        let parts = (0..words).step_by(most).map(|begin| part(begin..words.min(begin + most)));
        Ok(WordLayers { hidden, parts: parts.collect::<Result<_>>()? })
    }
}

impl WordLayers {
    /// For each text what `pool` makes of its tokens' scores `[tokens, words of a part]`, all parts side by side:
    /// `[texts, words]`.
    pub(crate) fn apply(&self, vectors: Tensor, pool: impl Fn(Tensor) -> TensorResult<Tensor>) -> TensorResult<Tensor> {
        let hidden = self.hidden.apply(&vectors)?;
        drop(vectors);
        let part = |part: &Dense| pool(part.apply(&hidden, Activation::None)?);
        let pooled = self.parts.iter().map(part).collect::<TensorResult<Vec<_>>>()?;
        Ok(pooled[0].clone())
    }
}
