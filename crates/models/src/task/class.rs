//! Classes of PyTorch, by the paths that Python has them under.

use crate::error::Result;
use crate::json::Setting;

/// The name of the class of `torch.nn` that a setting names; `None` if it names another.
pub(crate) fn class_of(setting: Setting<'_>) -> Result<Option<&str>> {
    let path = setting.string()?.and_then(|path| path.strip_prefix("torch.nn."));
    // `torch.nn.Tanh` is `torch.nn.modules.activation.Tanh`.
    Ok(path.map(|path| match path.strip_prefix("modules.").and_then(|path| path.split_once('.')) {
        Some((_, class)) => class,
        None => path,
    }))
}
