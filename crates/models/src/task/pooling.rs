//! How the vectors of a text's tokens become one: the Pooling module's `config.json`.

use super::head::Head;
use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others};
use std::path::Path;
use thalweg_tensor::{Pooling, Result as TensorResult, Tensor};

/// The modes by their names, in the order in which older files have their results side by side.
const MODES: [(&str, Pooling); 6] = [
    ("cls", Pooling::Cls),
    ("max", Pooling::Max),
    ("mean", Pooling::Mean),
    ("mean_sqrt_len_tokens", Pooling::MeanSqrtLength),
    ("weightedmean", Pooling::WeightedMean),
    ("lasttoken", Pooling::LastToken),
];

/// The flags of older files, one for each of the modes.
const FLAGS: [&str; 6] = [
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
    "pooling_mode_lasttoken",
];

/// The keys of the Pooling module's `config.json`.
static KEYS: Keys = Keys {
    read: &[
        "word_embedding_dimension",
        "embedding_dimension",
        "include_prompt",
        "pooling_mode",
        FLAGS[0],
        FLAGS[1],
        FLAGS[2],
        FLAGS[3],
        FLAGS[4],
        FLAGS[5],
    ],
    read_ending: None,
    harmless: &[],
    others: Others::Refused,
};

/// What the file says.
#[derive(Debug)]
pub(crate) struct PoolingConfig {
    /// At least one; their results lie side by side.
    pub(crate) modes: Vec<Pooling>,
    /// Whether a prompt's tokens are pooled with those of the text.
    pub(crate) include_prompt: bool,
}

impl PoolingConfig {
    /// Of a checkpoint of which no file says how it pools: the mean; the last token's vector, if it was made to
    /// continue texts.
    pub(crate) fn of_checkpoint(folder: &Path) -> Result<Self> {
        let last = Head::read(folder)?.continues_texts()?;
        Ok(Self { modes: vec![if last { Pooling::LastToken } else { Pooling::Mean }], include_prompt: true })
    }

    /// Reads the pooling of a model with token vectors of `width` elements.
    ///
    /// The modes are those in `pooling_mode`, a name or a list of names; without it, those of the flags
    /// `pooling_mode_*` that are true; without any, the mean.
    pub(crate) fn read(folder: &Path, width: usize) -> Result<Self> {
        const EXPECTED: &str = "one of \"cls\", \"max\", \"mean\", \"mean_sqrt_len_tokens\", \"weightedmean\" and \
                                \"lasttoken\", or a list of them";
        let file = JsonFile::read(folder.join("config.json"), &KEYS)?;
        for key in ["word_embedding_dimension", "embedding_dimension"] {
            let setting = file.get(key);
            if setting.size()?.is_some_and(|given| given != width) {
                return Err(setting.wrong(format!("{width}, the width of the encoder's vectors")));
            }
        }
        let mode = |value: &Json| {
            let name = value.as_str()?;
            MODES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
        };
        let setting = file.get("pooling_mode");
        let modes = if setting.is_there() {
            let modes = setting.convert(EXPECTED, |value| match value {
                Json::Array(modes) => {
                    modes.iter().map(mode).collect::<Option<Vec<_>>>().filter(|modes| !modes.is_empty())
                }
                one => mode(one).map(|mode| vec![mode]),
            })?;
            modes.ok_or_else(|| setting.wrong(EXPECTED))?
        } else {
            let mut modes = Vec::new();
            for (flag, (_, mode)) in FLAGS.into_iter().zip(MODES) {
                if file.get(flag).flag()? == Some(true) {
                    modes.push(mode);
                }
            }
            if modes.is_empty() { vec![Pooling::Mean] } else { modes }
        };
        Ok(Self { modes, include_prompt: file.get("include_prompt").flag()?.unwrap_or(true) })
    }

    /// The modes by their names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let name = |mode: &Pooling| MODES.iter().find(|(_, known)| known == mode).map(|(name, _)| *name);
        self.modes.iter().filter_map(name).collect()
    }

    /// The vectors of each text but for its first `skip` to one: `[tokens, width]` to `[texts, modes * width]`.
    pub(crate) fn apply(&self, vectors: &Tensor, offsets: &Tensor, skip: u32) -> TensorResult<Tensor> {
        let pool = |mode: &Pooling| vectors.pool_after(skip, offsets, *mode);
        match &self.modes[..] {
            [mode] => pool(mode),
            modes => {
                let parts = modes.iter().map(pool).collect::<TensorResult<Vec<_>>>()?;
                Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1)
            }
        }
    }
}
