//! Where the cache of the hub is.

use super::Name;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variables that say where the cache is: the first that is set and not empty.
const CACHES: [&str; 2] = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];
/// Those that say where the hub's own tools have everything, and what is below them.
const HOMES: [(&str, &str); 2] = [("HF_HOME", ""), ("XDG_CACHE_HOME", "huggingface")];
/// All of them.
pub(super) const VARIABLES: [&str; 4] = [CACHES[0], CACHES[1], HOMES[0].0, HOMES[1].0];

/// The variables of the environment, and the user's home directory.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
}

impl Environment<'_> {
    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from((self.variable)(name).filter(|value| !value.is_empty())?);
        // The hub's own tools take `~` for the home directory.
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    }

    fn home(&self) -> Option<&PathBuf> {
        self.home.as_ref().filter(|home| !home.as_os_str().is_empty())
    }

    /// Where the hub's own tools have everything, and what says so.
    fn hub_home(&self) -> Option<(PathBuf, &'static str)> {
        let said = HOMES.iter().find_map(|(name, below)| Some((self.path(name)?.join(below), *name)));
        said.or_else(|| Some((self.home()?.join(".cache/huggingface"), "in the home directory")))
    }

    fn cache(&self) -> Option<Cache> {
        let said = CACHES.iter().find_map(|name| Some(Cache { folder: self.path(name)?, origin: name }));
        said.or_else(|| self.hub_home().map(|(home, origin)| Cache { folder: home.join("hub"), origin }))
    }
}

/// The file with the user's token, which need not be there.
#[cfg(feature = "pull")]
pub(super) fn token_file() -> Option<PathBuf> {
    let variable = &|name: &str| std::env::var_os(name);
    let environment = Environment { variable, home: std::env::home_dir() };
    environment.path("HF_TOKEN_PATH").or_else(|| Some(environment.hub_home()?.0.join("token")))
}

/// A cache of the hub: a folder that the hub's own tools share.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    origin: &'static str,
}

impl Cache {
    /// The user's: what `HF_HUB_CACHE` says, or else `hub` in `HF_HOME`, or else `huggingface/hub` in `XDG_CACHE_HOME`,
    /// or else `.cache/huggingface/hub` in the home directory, as the hub's own tools have it. `None` without a home.
    pub fn from_environment() -> Option<Self> {
        Environment { variable: &|name| std::env::var_os(name), home: std::env::home_dir() }.cache()
    }

    #[cfg(test)]
    pub(super) fn at(folder: PathBuf, origin: &'static str) -> Self {
        Self { folder, origin }
    }

    /// The folder, which need not be there.
    pub fn folder(&self) -> &Path {
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
        let cache = Environment { variable: &get, home: home.map(PathBuf::from) }.cache()?;
        Some((cache.folder().to_str().unwrap().to_owned(), cache.origin()))
    }

    #[test]
    fn the_first_variable_that_is_set_says_where() {
        let all =
            [("HF_HUB_CACHE", "/1"), ("HUGGINGFACE_HUB_CACHE", "/2"), ("HF_HOME", "/3"), ("XDG_CACHE_HOME", "/4")];
        let expected = ["/1", "/2", "/3/hub", "/4/huggingface/hub", "/me/.cache/huggingface/hub"];
        for (unset, expected) in expected.into_iter().enumerate() {
            let (found, origin) = folder(&all[unset..], Some("/me")).unwrap();
            assert_eq!(found, expected);
            let named = all.get(unset).map_or("in the home directory".to_owned(), |(name, _)| format!("by {name}"));
            assert_eq!(origin, named);
        }
        let empty = [("HF_HUB_CACHE", ""), ("HF_HOME", "~/hf")];
        assert_eq!(folder(&empty, Some("/me")).unwrap().0, "/me/hf/hub");
        assert_eq!((folder(&[], None), folder(&[], Some(""))), (None, None));
    }
}
