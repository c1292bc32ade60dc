//! How the vectors of a sequence's tokens become one: the Pooling module's `config.json`.

use crate::error::Result;
use crate::json::JsonFile;
use std::path::Path;
use thalweg_tensor::Pooling;

/// Reads the pooling of a model with token vectors of `width` elements.
///
/// The mode is the name in `pooling_mode`, or the one flag `pooling_mode_*` that is true. Several flags at once would
/// ask for their results side by side; that is not supported.
pub(crate) fn read(folder: &Path, width: usize) -> Result<Pooling> {
    let file = JsonFile::read(folder.join("config.json"))?;
    for key in ["word_embedding_dimension", "embedding_dimension"] {
        if let Some(given) = file.optional_size(key)?
            && given != width
        {
            return Err(file.wrong(key, given, format!("{width}, the hidden_size of the encoder")));
        }
    }
    if let Some(mode) = file.optional_string("pooling_mode")? {
        return match mode {
            "cls" => Ok(Pooling::Cls),
            "mean" => Ok(Pooling::Mean),
            "max" => Ok(Pooling::Max),
            _ => Err(file.wrong("pooling_mode", format!("{mode:?}"), "\"cls\", \"mean\" or \"max\"")),
        };
    }
    const EXPECTED: &str =
        "exactly one of pooling_mode_cls_token, pooling_mode_mean_tokens and pooling_mode_max_tokens";
    let mut chosen = Vec::new();
    for key in file.keys().filter(|key| key.starts_with("pooling_mode_")) {
        if file.optional_flag(key)? == Some(true) {
            chosen.push(key);
        }
    }
    match chosen[..] {
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_max_tokens"] => Ok(Pooling::Max),
        [] => Err(file.wrong("pooling_mode", "missing, and no flag is true", EXPECTED)),
        [key] => Err(file.wrong(key, true, EXPECTED)),
        _ => Err(file.wrong("pooling_mode", chosen.join(" and "), EXPECTED)),
    }
}
