//! Where the cache of the hub is.

use super::Name;
use std::ffi::OsString;
use std::path::PathBuf;

/// The variables that say where the cache is: the first that is set and not empty. With each, what is below it.
const PLACES: [(&str, &str); 4] =
    [("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")];
/// Their names.
pub(super) const VARIABLES: [&str; 4] = [PLACES[0].0, PLACES[1].0, PLACES[2].0, PLACES[3].0];

/// A cache of the hub: a folder that the hub's own tools share.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    origin: &'static str,
}

impl Cache {
    /// The user's: what `HF_HUB_CACHE` says, or else `hub` in `HF_HOME`, or else `huggingface/hub` in `XDG_CACHE_HOME`, or
    /// else `.cache/huggingface/hub` in the home directory, as the hub's own tools have it. `None` without a home.
    pub fn from_environment() -> Option<Self> {
        Self::of(&|name| std::env::var_os(name), std::env::home_dir())
    }

    fn of(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<Self> {
        let home = home.filter(|home| !home.as_os_str().is_empty());
        for (name, below) in PLACES {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
            let path = PathBuf::from(value);
            // The hub's own tools take `~` for the home directory.
            let path = match (path.strip_prefix("~"), &home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path,
            };
            let folder = if below.is_empty() { path } else { path.join(below) };
            return Some(Self { folder, origin: name });
        }
        Some(Self { folder: home?.join(".cache/huggingface/hub"), origin: "in the home directory" })
    }

    #[cfg(test)]
    pub(super) fn at(folder: PathBuf, origin: &'static str) -> Self {
        Self { folder, origin }
    }

    /// The folder, which need not be there.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// What a model has in it: its top folder, which need not be there.
    pub fn top(&self, name: &Name) -> PathBuf {
        self.folder.join(name.folder())
    }

    /// Which variable says so, for people.
    pub(super) fn origin(&self) -> String {
        match self.origin.chars().next() {
            Some(first) if first.is_uppercase() => format!("by {}", self.origin),
            _ => self.origin.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)], home: Option<&str>) -> Option<(String, String)> {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        let cache = Cache::of(&get, home.map(PathBuf::from))?;
        Some((cache.folder().to_str().unwrap().to_owned(), cache.origin()))
    }

    #[test]
    fn the_first_variable_that_is_set_says_where() {
        let all =
            [("HF_HUB_CACHE", "/1"), ("HUGGINGFACE_HUB_CACHE", "/2"), ("HF_HOME", "/3"), ("XDG_CACHE_HOME", "/4")];
        let expected = ["/1", "/2", "/3/hub", "/4/huggingface/hub", "/home/.cache/huggingface/hub"];
        for (unset, expected) in expected.into_iter().enumerate() {
            let (found, origin) = folder(&all[unset..], Some("/home")).unwrap();
            assert_eq!(found, expected);
            let named = all.get(unset).map_or("in the home directory".to_owned(), |(name, _)| format!("by {name}"));
            assert_eq!(origin, named);
        }
        let empty = [("HF_HUB_CACHE", ""), ("HF_HOME", "~/hf")];
        assert_eq!(folder(&empty, Some("/home")).unwrap().0, "/home/hf/hub");
        assert_eq!((folder(&[], None), folder(&[], Some(""))), (None, None));
    }
}
