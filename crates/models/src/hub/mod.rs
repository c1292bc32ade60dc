//! Models in the cache of the Hugging Face hub: found by name, without the network.
//!
//! ```text
//! CACHE/models--ORGANISATION--NAME/     the top folder of a model
//!     refs/main                         which commit a branch or a tag is
//!     snapshots/COMMIT/...              the files of that commit, as links to
//!     blobs/ETAG                        contents, each once
//! ```
//!
//! What comes from outside, a name or what a file of `refs` says, becomes a part of a path only after it is seen to be
//! one that cannot leave the cache.

mod cache;
mod name;
#[cfg(feature = "pull")]
pub mod pull;

pub use self::cache::Cache;
pub use self::name::Name;

use crate::error::{Error, Result};
use crate::files::{Entries, read_file_if_there};
use std::io;
use std::path::{Path, PathBuf};

/// The branch that is meant where nothing is said.
pub const MAIN: &str = "main";

/// The directory of the model that `path` names: `path` itself; the snapshot in it, if it is the top folder of a model
/// in a cache of the hub; or if nothing is there and it reads `organisation/name` or `organisation/name@revision`, the
/// snapshot of that model in the user's [`Cache`]. The network is not asked.
///
/// # Errors
/// [`Error::NotADirectory`] and [`Error::NotAModel`], which name what was looked at; [`Error::Io`].
pub fn resolve(path: &Path) -> Result<PathBuf> {
    resolve_in(path, &Cache::from_environment)
}

fn resolve_in(path: &Path, cache: &dyn Fn() -> Option<Cache>) -> Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() && is_top(path) => snapshot(path, None),
        Ok(metadata) if metadata.is_dir() => Ok(path.to_owned()),
        Ok(_) => Err(Error::NotADirectory { path: path.to_owned(), found: "a file" }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            match path.to_str().and_then(|name| Name::parse(name).ok()) {
                Some(name) => find(&name, path, cache()),
                None => Err(Error::NotADirectory { path: path.to_owned(), found: "nothing there" }),
            }
        }
        Err(source) => Err(Error::Io { path: path.to_owned(), source: source.into() }),
    }
}

/// Whether a directory is what a cache has for a model.
fn is_top(directory: &Path) -> bool {
    let has = |file: &str| directory.join(file).is_file();
    directory.join("snapshots").is_dir() && !has("modules.json") && !has("config.json")
}

/// Looks a model up that was named by `path`, where nothing is.
fn find(name: &Name, path: &Path, cache: Option<Cache>) -> Result<PathBuf> {
    let fail = |found: String| {
        let advice =
            format!("`thalweg pull {name}` fetches it from the hub; a model's directory is taken where there is one");
        Err(Error::NotAModel { path: path.to_owned(), found, advice })
    };
    let Some(cache) = cache else {
        let variables = cache::VARIABLES.join(", ");
        return fail(format!("no such directory, and no cache of the hub: none of {variables} and HOME is set"));
    };
    let top = cache.top(name);
    if top.is_dir() {
        return snapshot(&top, name.revision());
    }
    fail(format!("no such directory, and no {} (the hub's cache {})", top.display(), cache.origin()))
}

/// The snapshot of a revision in the top folder of a model: the commit that `refs` says, or else the folder of that
/// name. Where nothing is said and there is no `main`, the only one.
pub(crate) fn snapshot(top: &Path, revision: Option<&str>) -> Result<PathBuf> {
    let snapshots = top.join("snapshots");
    let fail =
        |found: String, advice: &str| Err(Error::NotAModel { path: top.to_owned(), found, advice: advice.to_owned() });
    const AGAIN: &str = "download the model again: `thalweg pull ORGANISATION/NAME`";
    let wanted = revision.unwrap_or(MAIN);
    if let Some(commit) = commit(top, wanted)? {
        let folder = snapshots.join(&commit);
        return match folder.is_dir() {
            true => Ok(folder),
            false => fail(format!("its refs/{wanted} says {commit}, which is not among its snapshots"), AGAIN),
        };
    }
    if let Some(revision) = revision.filter(|revision| snapshots.join(revision).is_dir()) {
        return Ok(snapshots.join(revision));
    }
    let mut there = Entries::of(&snapshots).folders;
    match (there.len(), revision) {
        (0, _) => fail("a model in a cache of the Hugging Face hub, without a snapshot".to_owned(), AGAIN),
        (1, None) => Ok(snapshots.join(there.remove(0))),
        (_, None) => fail(
            format!("a model in a cache of the Hugging Face hub, without refs/{MAIN}, with {}", list(&there)),
            "give one of the folders in its `snapshots`",
        ),
        (_, Some(revision)) => fail(
            format!("no revision {revision}; it has {}", list(&there)),
            "give one of these, or fetch it: `thalweg pull ORGANISATION/NAME@REVISION`",
        ),
    }
}

/// The commit that a branch or a tag is, if the cache knows.
///
/// # Errors
/// If the file has something else.
pub(crate) fn commit(top: &Path, revision: &str) -> Result<Option<String>> {
    /// A commit has 40 characters.
    const MOST: u64 = 256;
    let path = top.join("refs").join(revision);
    if path.is_dir() {
        return Ok(None); // of names that begin so
    }
    let Some(bytes) = read_file_if_there(&path, MOST)? else { return Ok(None) };
    let commit = String::from_utf8_lossy(&bytes).trim().to_owned();
    if name::is_part(&commit) {
        return Ok(Some(commit));
    }
    let found = format!("{commit:?}, where the name of a commit belongs");
    Err(Error::NotAModel { path, found, advice: "download the model again".to_owned() })
}

/// The first few of many names.
fn list(names: &[String]) -> String {
    const MOST: usize = 8;
    let first = names[..names.len().min(MOST)].join(", ");
    if names.len() > MOST { format!("{first} and {} more", names.len() - MOST) } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn with(files: &[(&str, &str)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    /// What a path leads to, with a cache in `hub` of the directory; relative to the directory.
    fn resolved(directory: &TempDir, path: &str) -> Result<String, String> {
        let hub = directory.path().join("hub");
        let cache = || Some(Cache::at(hub.clone(), "HF_HUB_CACHE"));
        let resolved = resolve_in(Path::new(path), &cache).map_err(|error| error.to_string())?;
        Ok(resolved.strip_prefix(directory.path()).unwrap().to_str().unwrap().to_owned())
    }

    fn refused(directory: &TempDir, path: &str, words: &[&str]) {
        let error = resolved(directory, path).unwrap_err();
        words.iter().for_each(|word| assert!(error.contains(word), "{path}: `{word}` is not in {error}"));
    }

    #[test]
    fn a_name_leads_to_the_snapshot_of_its_revision() {
        let directory = with(&[
            ("hub/models--a--b/refs/main", "c0ffee\n"),
            ("hub/models--a--b/refs/refs/pr/1", "beef"),
            ("hub/models--a--b/snapshots/c0ffee/modules.json", "[]"),
            ("hub/models--a--b/snapshots/beef/modules.json", "[]"),
        ]);
        let found = |path: &str| resolved(&directory, path);
        assert_eq!(found("a/b").unwrap(), "hub/models--a--b/snapshots/c0ffee");
        assert_eq!(found("a/b@main").unwrap(), "hub/models--a--b/snapshots/c0ffee");
        assert_eq!(found("a/b@refs/pr/1").unwrap(), "hub/models--a--b/snapshots/beef");
        assert_eq!(found("a/b@beef").unwrap(), "hub/models--a--b/snapshots/beef");
        let cache = directory.path().join("hub/models--a--c").display().to_string();
        refused(&directory, "a/c", &["a/c: no such directory", &cache, "HF_HUB_CACHE", "`thalweg pull a/c`"]);
        refused(&directory, "a/b@v1", &["no revision v1", "beef, c0ffee", "thalweg pull"]);
        refused(&directory, "a/b@refs", &["no revision refs;"]);
    }

    #[test]
    fn the_top_folder_leads_to_its_snapshot() {
        let both = with(&[("t/refs/main", "b"), ("t/snapshots/a/x", ""), ("t/snapshots/b/x", "")]);
        let path = |directory: &TempDir| directory.path().join("t").display().to_string();
        assert_eq!(resolved(&both, &path(&both)).unwrap(), "t/snapshots/b");
        let one = with(&[("t/snapshots/a/x", ""), ("t/blobs/y", "")]);
        assert_eq!(resolved(&one, &path(&one)).unwrap(), "t/snapshots/a");
        let two = with(&[("t/snapshots/a/x", ""), ("t/snapshots/b/x", "")]);
        refused(&two, &path(&two), &["without refs/main, with a, b", "one of the folders"]);
        let none = with(&[("t/snapshots/.x", "")]);
        refused(&none, &path(&none), &["without a snapshot", "thalweg pull"]);
        let gone = with(&[("t/refs/main", "c"), ("t/snapshots/a/x", "")]);
        refused(&gone, &path(&gone), &["refs/main says c, which is not among its snapshots"]);
        // A folder of that name in a model is no cache.
        let model = with(&[("t/modules.json", ""), ("t/snapshots/a/x", "")]);
        assert_eq!(resolved(&model, &path(&model)).unwrap(), "t");
    }

    #[test]
    fn nothing_leads_out_of_the_cache() {
        let directory = with(&[
            ("modules.json", "[]"),
            ("hub/models--a--b/refs/main", "../../../.."),
            ("hub/models--a--b/refs/tag", "/"),
            ("hub/models--a--b/refs/empty", ""),
            ("hub/models--a--b/snapshots/c/x", ""),
        ]);
        for path in ["a/b", "a/b@tag", "a/b@empty"] {
            refused(&directory, path, &["where the name of a commit belongs"]);
        }
        for path in ["a/b@..", "a/b@../..", "a/b@/", "a/b@", "a/b@x//y", "../b", "a/..", "/a", "a/b/", "a//b", "./b"] {
            refused(&directory, path, &["nothing there", "expected a model directory"]);
        }
    }

    #[test]
    fn a_directory_comes_first() {
        let directory = with(&[("hub/models--src--hub/snapshots/c/x", "")]);
        let cache = || Some(Cache::at(directory.path().join("hub"), "HF_HOME"));
        // Tests run in the folder of the package.
        assert_eq!(resolve_in(Path::new("src/hub"), &cache).unwrap(), Path::new("src/hub"));
        let error = resolve_in(Path::new("a/b"), &|| None).unwrap_err().to_string();
        assert!(error.contains("HF_HUB_CACHE, ") && error.contains("HOME"), "{error}");
    }
}
