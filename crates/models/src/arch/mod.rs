//! Encoders: a file a family, and what families share.
//!
//! | file | what it is |
//! |---|---|
//! | `bert`, `electra`, `roberta`, `distilbert`, `mpnet`, `nomic`, `gte` | families of `post_norm` |
//! | `modernbert`, `qwen` | families of `pre_norm` |
//! | `post_norm`, `pre_norm` | the encoders of layers that normalise after they add, or before |
//! | `config` | `config.json`: what all families read alike |
//! | `attention`, `rotary`, `layers` | what layers are made of: weights on a device |
//! | `heads` | what checkpoints have after the encoder |
//!
//! A family's file has its settings, and the names of its tensors. A load reads a family's settings first ([`read`]),
//! which decide the shape of every tensor, and then its weights ([`Architecture::load`]).

mod attention;
mod bert;
mod config;
mod distilbert;
mod electra;
mod gte;
mod heads;
mod layers;
mod modernbert;
mod mpnet;
mod nomic;
mod post_norm;
mod pre_norm;
mod qwen;
mod roberta;
mod rotary;

use crate::config::Lengths;
use crate::error::Result;
use crate::packed::{PackedBatch, Places};
use crate::weights::Scope;
pub(crate) use config::ConfigFile;
use config::ConfigKeys;
pub(crate) use heads::{SequenceHead, SequenceLayers, WordHead, WordLayers};
pub(crate) use layers::{Dense, Norm, NormKind, Normal};
use std::path::Path;
use thalweg_tensor::{DType, Result as TensorResult, Tensor};

/// All families.
static FAMILIES: &[&Family] = &[
    &bert::FAMILY,
    &electra::FAMILY,
    &roberta::ROBERTA,
    &roberta::XLM_ROBERTA,
    &roberta::CAMEMBERT,
    &distilbert::FAMILY,
    &mpnet::FAMILY,
    &modernbert::FAMILY,
    &nomic::FAMILY,
    &gte::FAMILY,
    &gte::NEW,
    &qwen::QWEN2,
    &qwen::QWEN3,
];

/// A family of encoders, as its checkpoints are.
pub(crate) struct Family {
    /// Its `model_type` in `config.json`.
    pub(crate) name: &'static str,
    /// What stands before the names of its tensors in checkpoints that have a task's head too.
    pub(crate) prefixes: &'static [&'static str],
    /// The settings that it has.
    keys: &'static ConfigKeys,
    /// Checks the settings.
    read: fn(&ConfigFile) -> Result<Box<dyn Architecture>>,
    /// What follows the encoder in its checkpoints.
    heads: TaskHeads,
}

/// The heads of a family's checkpoints, of those that are supported.
struct TaskHeads {
    /// That of `*ForSequenceClassification`.
    sequence: fn(&ConfigFile) -> Result<SequenceHead>,
    /// That of `*ForMaskedLM`.
    word: Option<fn(&ConfigFile) -> Result<WordHead>>,
}

impl Family {
    /// The head that scores texts.
    pub(crate) fn sequence_head(&self, config: &ConfigFile) -> Result<SequenceHead> {
        (self.heads.sequence)(config)
    }

    /// The head that scores words.
    pub(crate) fn word_head(&self, config: &ConfigFile) -> Result<WordHead> {
        let head = self.heads.word.ok_or_else(|| {
            let with: Vec<_> = FAMILIES.iter().filter(|family| family.heads.word.is_some()).collect();
            let names: Vec<_> = with.into_iter().map(|family| format!("{:?}", family.name)).collect();
            config.get("model_type").wrong(format!("one of {}, which have masked-LM heads here", names.join(", ")))
        })?;
        head(config)
    }
}

/// An encoder without its weights: what `config.json` says, checked.
pub(crate) trait Architecture {
    /// What the encoder takes and gives.
    fn limits(&self) -> &Limits;

    /// Reads the weights, converts each once to the device's form, and freezes it.
    fn load(&self, weights: &Scope<'_>) -> Result<Box<dyn Encoder>>;
}

/// The weights of an encoder, frozen on a device.
pub(crate) trait Encoder: Send + Sync {
    /// A vector for each token, `[tokens, width]`, of the weights' type. Records the work; does not wait for it.
    fn forward(&self, batch: &PackedBatch) -> TensorResult<Tensor>;

    /// What it takes and gives.
    fn limits(&self) -> &Limits;

    /// What it computes in.
    fn dtype(&self) -> DType;

    /// How many layers it has.
    fn layers(&self) -> usize;
}

/// What an encoder takes, and what it gives. Every number is at least 1; none is trusted until the weights bear it out.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The length of a token's vector.
    pub(crate) width: usize,
    /// The number of token ids.
    pub(crate) vocabulary: usize,
    /// The number of type ids; `None` if it looks at none.
    pub(crate) types: Option<usize>,
    /// How many tokens a sequence may have.
    pub(crate) lengths: Lengths,
    /// The position of each token.
    pub(crate) places: Places,
}

/// Reads `config.json` in the transformer's folder. Absent settings have the defaults of the `transformers` library's
/// configuration of the family, but for those that give the tensors their shape, which must be there.
pub(crate) fn read(folder: &Path) -> Result<(&'static Family, ConfigFile, Box<dyn Architecture>)> {
    let file = ConfigFile::read(folder, &config::FAMILY)?;
    let setting = file.get("model_type");
    let name = setting.string()?;
    let Some(family) = FAMILIES.iter().find(|family| Some(family.name) == name) else {
        let names: Vec<_> = FAMILIES.iter().map(|family| format!("{:?}", family.name)).collect();
        return Err(setting.wrong(format!("one of {}: the families of encoders that there are", names.join(", "))));
    };
    let file = ConfigFile::read(folder, family.keys)?;
    file.check()?;
    let architecture = (family.read)(&file)?;
    Ok((family, file, architecture))
}
