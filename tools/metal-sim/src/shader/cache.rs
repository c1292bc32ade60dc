//! Shared objects in a folder, by what they were made from: `METAL_SIM_CACHE`, or a folder of the user's own below the
//! system's for temporary files.
//!
//! A file is written under another name and then renamed, so it is there whole or not at all, whatever other process
//! writes the same. Behind the shared object it has its sum; a file that does not match is made again. Old files go
//! when there are many.

use std::collections::hash_map::DefaultHasher;
use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{Error, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// 128 bits of everything that a shared object is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

impl Key {
    pub(super) fn of(parts: &[&str]) -> Self {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, parts).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        Self(half(0) << 64 | half(1))
    }
}

/// The file of a key, made by `make` at the path that it is given if there is none that is whole.
///
/// # Errors
/// What `make` says, or why the folder cannot be used.
pub(super) fn find_or_make(key: Key, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let folder = folder()?;
    let path = folder.join(format!("{:032x}.so", key.0));
    if is_whole(&path) {
        return Ok(path);
    }
    // A name of this process's and this call's own.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let own = format!("{:032x}.{}.{}", key.0, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let own = Own(folder.join(own));
    make(&own.0)?;
    let finish = || {
        let bytes = std::fs::read(&own.0)?;
        File::options().append(true).open(&own.0)?.write_all(&sum(&bytes).to_le_bytes())?;
        std::fs::rename(&own.0, &path)
    };
    finish().map_err(|error| said(&path, &error))?;
    drop_old(&folder);
    Ok(path)
}

/// The most files that are kept whatever their age.
const MOST_FILES: usize = 2000;
/// What is as old as this may go when there are more: nobody is just about to load it.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes room where there are many files. A missing one is compiled again.
fn drop_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let files: Vec<_> = entries.flatten().collect();
    if files.len() <= MOST_FILES {
        return;
    }
    for file in files {
        let age = file.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > OLD) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// A file that goes unless it was renamed.
struct Own(PathBuf);

impl Drop for Own {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn is_whole(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    bytes.split_last_chunk().is_some_and(|(object, end)| sum(object) == u64::from_le_bytes(*end))
}

fn folder() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("METAL_SIM_CACHE") {
        let folder = PathBuf::from(folder);
        return std::fs::create_dir_all(&folder).map(|()| folder.clone()).map_err(|error| said(&folder, &error));
    }
    // SAFETY: it cannot fail.
    let user = unsafe { libc::geteuid() };
    let folder = std::env::temp_dir().join(format!("metal-sim-{user}"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    let found = made.and_then(|()| std::fs::symlink_metadata(&folder)).map_err(|error| said(&folder, &error))?;
    // Code is loaded from here: nobody else may have put it.
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(format!(
            "{} is not a folder that only its user writes; METAL_SIM_CACHE can name another",
            folder.display()
        ));
    }
    Ok(folder)
}

fn said(path: &Path, error: &Error) -> String {
    format!("{}: {error}", path.display())
}
