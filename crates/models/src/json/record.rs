//! Which settings were read: noted while somebody wants to know.

use super::Json;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// A setting that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) path: PathBuf,
    pub(crate) key: String,
    pub(crate) value: Json,
}

thread_local! {
    /// What was read on this thread, while it is recorded.
    static READ: RefCell<Option<Vec<Read>>> = const { RefCell::new(None) };
}

/// What `read` gives, and the settings that it reads on this thread: each once, in the order of the files. Not to be
/// nested: the inner one would take what belongs to the outer one.
pub(crate) fn recorded<T>(read: impl FnOnce() -> T) -> (T, Vec<Read>) {
    READ.set(Some(Vec::new()));
    let result = read();
    (result, READ.take().unwrap_or_default())
}

/// Notes settings of a file, if somebody wants to know.
pub(super) fn note<'a>(path: &Path, settings: impl Iterator<Item = (String, &'a Json)>) {
    READ.with_borrow_mut(|read| {
        let Some(read) = read else { return };
        for (key, value) in settings {
            if !read.iter().any(|before| before.path == path && before.key == key) {
                read.push(Read { path: path.to_owned(), key, value: value.clone() });
            }
        }
    });
}
