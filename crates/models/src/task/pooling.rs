//! How the vectors of a sequence's tokens become one: the Pooling module's `config.json`.

use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others};
use std::path::Path;
use thalweg_tensor::Pooling;

/// The flags of older files, and the modes that they stand for.
const FLAGS: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// The keys of the Pooling module's `config.json`.
static KEYS: Keys = Keys {
    read: &[
        "word_embedding_dimension",
        "embedding_dimension",
        "pooling_mode",
        FLAGS[0].0,
        FLAGS[1].0,
        FLAGS[2].0,
        FLAGS[3].0,
        FLAGS[4].0,
        FLAGS[5].0,
    ],
    read_ending: None,
    harmless: &[(&["include_prompt"], "it is about the tokens of a prompt, and there is none")],
    others: Others::Refused,
};

/// Reads the pooling of a model with token vectors of `width` elements.
///
/// The mode is the one in `pooling_mode`, a name or a list of names; without it, those of the flags `pooling_mode_*`
/// that are true; without any, the mean. Several modes would ask for their results side by side; that is not supported.
pub(crate) fn read(folder: &Path, width: usize) -> Result<Pooling> {
    const EXPECTED: &str = "one of \"cls\", \"mean\" and \"max\"; no other mode is supported, nor several at once";
    let file = JsonFile::read(folder.join("config.json"), &KEYS)?;
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        let setting = file.get(key);
        if setting.size()?.is_some_and(|given| given != width) {
            return Err(setting.wrong(format!("{width}, the hidden_size of the encoder")));
        }
    }
    let setting = file.get("pooling_mode");
    let modes: Vec<&str> = if setting.is_there() {
        let modes = setting.convert(EXPECTED, |value| match value {
            Json::Array(modes) => modes.iter().map(Json::as_str).collect(),
            mode => mode.as_str().map(|mode| vec![mode]),
        })?;
        modes.ok_or_else(|| setting.wrong(EXPECTED))?
    } else {
        let mut modes = Vec::new();
        for (key, mode) in FLAGS {
            if file.get(key).flag()? == Some(true) {
                modes.push(mode);
            }
        }
        if modes.is_empty() { vec!["mean"] } else { modes }
    };
    match modes[..] {
        ["cls"] => Ok(Pooling::Cls),
        ["mean"] => Ok(Pooling::Mean),
        ["max"] => Ok(Pooling::Max),
        _ => Err(file.wrong("pooling_mode", format!("{modes:?}"), EXPECTED)),
    }
}
