//! Fetching a model from the hub into the user's cache.
//!
//! A pull asks the hub for the list of files of a revision, takes of them what a model is loaded from, and fetches what
//! is not there yet: settings first, weights last. A file is fetched under the name of its content with `.incomplete`
//! behind it, where the next pull goes on with it, the hub's own tools too; it gets its name when it has the size and
//! the checksum that the hub says. When all of them are there, the revision is entered in `refs`. So whatever ends a
//! pull, what was there before stays in use, and what is there is whole.
//!
//! The list, and the addresses, come through the crate `hf-hub`. Its downloads are not used. They make paths of what
//! headers say, so that an answer can lead out of the cache; they append a whole file to a part where a server does not
//! know ranges, and begin it anew behind what is there where the first try fails; they compare neither sizes nor
//! checksums; and they wait for ever for a connection that says nothing.

mod client;
mod files;
mod listing;
mod transfer;

use self::client::Client;
use self::listing::Listing;
use self::transfer::Transfer;
use super::{Cache, MAIN, Name, snapshot};
use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The hub, and where its files go.
#[derive(Clone, Debug)]
pub struct Hub {
    cache: Cache,
    endpoint: String,
    token: Option<String>,
    offline: bool,
}

/// What a pull came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The model's directory, to be loaded.
    pub directory: PathBuf,
    /// How many files were fetched, in whole or in part.
    pub fetched: usize,
    /// Why the hub could not be asked, if it could not; what is there is whole then.
    pub not_asked: Option<String>,
}

/// What a pull has to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The commit that the revision is.
    pub commit: String,
    /// How many files a model is loaded from.
    pub files: usize,
    /// How many of them are there.
    pub there: usize,
    /// Their bytes, if the hub says them all.
    pub bytes: Option<u64>,
    /// How many of these bytes are there.
    pub bytes_there: u64,
}

/// Who is told how a pull goes on.
pub trait Watch {
    /// What is to be done, before it is.
    fn begin(&mut self, plan: &Plan);
    /// How many bytes of the model are there. A server that knows no ranges makes it fewer.
    fn at(&mut self, bytes: u64);
}

impl Hub {
    /// As the environment has it: the user's [`Cache`]; the address in `HF_ENDPOINT`, or else the hub's own; the token
    /// in `HF_TOKEN`, or else in the file that `HF_TOKEN_PATH` names, or else in `token` in `HF_HOME`.
    /// With `HF_HUB_OFFLINE=1` the network is not asked.
    ///
    /// # Errors
    /// [`Error::Pull`] if a variable makes no sense, or there is no place for a cache.
    pub fn from_environment() -> Result<Self> {
        client::from_environment()
    }

    /// Fetches what a model is loaded from, and is not there yet. No network is asked for a commit that is whole; what
    /// is whole is also good if the hub cannot be reached.
    ///
    /// Takes memory for the list of files, and a small buffer.
    ///
    /// # Errors
    /// [`Error::Pull`], with what the hub or the network said; [`Error::Io`], of the file that could not be written.
    /// What was fetched stays, and the next pull goes on with it.
    pub fn pull(&self, name: &Name, watch: &mut dyn Watch) -> Result<Pulled> {
        let top = self.cache.top(name);
        let revision = name.revision().unwrap_or(MAIN);
        let there = snapshot(&top, Some(revision)).ok().filter(|folder| files::is_whole(folder));
        let as_it_is = |directory: PathBuf, not_asked| Ok(Pulled { directory, fetched: 0, not_asked });
        if self.offline {
            const OFFLINE: &str = "HF_HUB_OFFLINE is set";
            let missing = || client::failed(name, format!("it is not there, and {OFFLINE}"), false);
            return as_it_is(there.ok_or_else(missing)?, Some(OFFLINE.to_owned()));
        }
        if let Some(there) = there.clone().filter(|_| is_commit(revision)) {
            return as_it_is(there, None);
        }
        let client = Client::new(self, name)?;
        let listing = match (client.list(), there) {
            (Err(error), Some(there)) if error.is_retryable() => return as_it_is(there, Some(error.to_string())),
            (listing, _) => listing?,
        };
        let directory = top.join("snapshots").join(&listing.commit);
        let fetched = Pull { client: &client, top: &top, directory: &directory, listing: &listing, watch }.run()?;
        if revision != listing.commit {
            files::write_ref(&top, revision, &listing.commit)?;
        }
        Ok(Pulled { directory, fetched, not_asked: None })
    }
}

/// Whether a revision can only be a commit.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A pull whose list is there.
struct Pull<'a> {
    client: &'a Client,
    top: &'a Path,
    directory: &'a Path,
    listing: &'a Listing,
    watch: &'a mut dyn Watch,
}

impl Pull<'_> {
    /// Fetches all files; how many.
    fn run(self) -> Result<usize> {
        let io_error = |source: std::io::Error| Error::Io { path: self.top.to_owned(), source: source.into() };
        for folder in [&self.top.join("blobs"), self.directory] {
            fs::create_dir_all(folder).map_err(io_error)?;
        }
        let mut fetched = 0;
        // Which folders a model has, one of its files says.
        let mut transfer = Transfer::new(self.client, self.top, self.directory, &self.listing.commit);
        if let Some(modules) = self.listing.get("modules.json")
            && !transfer.is_there(modules)?
        {
            transfer.fetch(modules, &mut |_| ())?;
            fetched += 1;
        }
        let folders = files::folders(self.directory)?;
        let wanted = self.listing.wanted(&folders).map_err(|reason| client::failed(&self.client.id, reason, false))?;
        let mut missing = Vec::new();
        let mut plan = Plan {
            commit: self.listing.commit.clone(),
            files: wanted.len(),
            there: 0,
            bytes: wanted.iter().map(|file| file.size).sum(),
            bytes_there: 0,
        };
        for &file in &wanted {
            if transfer.is_there(file)? {
                plan.there += 1;
                plan.bytes_there += file.size.unwrap_or(0);
            } else {
                plan.bytes_there += transfer.bytes_there(file);
                missing.push(file);
            }
        }
        self.watch.begin(&plan);
        let mut done: u64 = plan.bytes_there - missing.iter().map(|file| transfer.bytes_there(file)).sum::<u64>();
        for file in missing {
            let before = done;
            transfer.fetch(file, &mut |bytes| {
                done = before + bytes;
                self.watch.at(done);
            })?;
            fetched += 1;
        }
        Ok(fetched)
    }
}
