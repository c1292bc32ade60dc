//! One file after the other: fetched, gone on with, checked, and linked to its place.

use super::client::{Answer, Client, failed};
use super::listing::Remote;
use crate::error::{Error, Result};
use crate::hub::name::is_part;
use ring::digest;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Bytes that are read and written at a time.
const BUFFER: usize = 1 << 16;
/// How often on end nothing comes before it is an error.
const TRIES: u32 = 3;
/// How long to wait after nothing came.
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches files of a commit.
pub(super) struct Transfer<'a> {
    client: &'a Client,
    blobs: PathBuf,
    directory: &'a Path,
    commit: &'a str,
    buffer: Vec<u8>,
}

/// A file on its way: what is known of it.
struct Known {
    size: Option<u64>,
    etag: Option<String>,
}

/// What became of one try.
enum Tried {
    Done,
    /// More is known now, so that what is there can be gone on with.
    Learned,
    /// It ended early, for a reason that may be over at the next try.
    Broken {
        error: Error,
        bytes: u64,
    },
}

impl<'a> Transfer<'a> {
    pub(super) fn new(client: &'a Client, top: &Path, directory: &'a Path, commit: &'a str) -> Self {
        Self { client, blobs: top.join("blobs"), directory, commit, buffer: vec![0; BUFFER] }
    }

    /// Whether a file is there; where its content is, it is linked to its place.
    pub(super) fn is_there(&self, file: &Remote) -> Result<bool> {
        let is_right = |path: &Path| {
            fs::metadata(path).is_ok_and(|found| found.is_file() && file.size.is_none_or(|size| size == found.len()))
        };
        if is_right(&self.directory.join(&file.path)) {
            return Ok(true);
        }
        match &file.etag {
            Some(etag) if is_right(&self.blobs.join(etag)) => self.link(&file.path, etag).map(|()| true),
            _ => Ok(false),
        }
    }

    /// How many bytes an earlier pull has left of a file.
    pub(super) fn bytes_there(&self, file: &Remote) -> u64 {
        let length = |etag: &String| fs::metadata(self.part(etag)).map_or(0, |part| part.len());
        file.etag.as_ref().map_or(0, length).min(file.size.unwrap_or(u64::MAX))
    }

    /// Fetches a file, and tells `at` how much of it is there.
    pub(super) fn fetch(&mut self, file: &Remote, at: &mut dyn FnMut(u64)) -> Result<()> {
        let mut known = Known { size: file.size, etag: file.etag.clone() };
        let (mut tries, mut most) = (0, 0);
        loop {
            match self.attempt(&file.path, &mut known, at)? {
                Tried::Done => return Ok(()),
                Tried::Learned => {}
                // As long as it goes on, it is tried.
                Tried::Broken { bytes, .. } if bytes > most => (most, tries) = (bytes, 0),
                Tried::Broken { error, .. } => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn attempt(&mut self, path: &str, known: &mut Known, at: &mut dyn FnMut(u64)) -> Result<Tried> {
        let part = known.etag.as_deref().map(|etag| self.open_part(etag)).transpose()?;
        let start = match &part {
            Some(part) => part.metadata().map_err(|source| self.io(known, source))?.len(),
            None => 0,
        };
        if known.size.is_some_and(|size| start > size) {
            return self.discard(known).map(|()| Tried::Learned);
        }
        let Some(mut part) = part else { return self.learn(path, known) };
        // A file that is all there, and one that is empty, need no answer.
        let mut checksum = Checksum::new(known.etag.as_deref().unwrap_or_default(), known.size);
        let mut bytes = 0;
        if known.size != Some(start) {
            let answer = match self.client.get(self.commit, path, start) {
                Err(error) if error.is_retryable() => return Ok(Tried::Broken { error, bytes: start }),
                answer => answer?,
            };
            let status = answer.response.status().as_u16();
            if status == 416 {
                return self
                    .discard(known)
                    .map(|()| Tried::Broken { error: self.odd(path, "has no such part"), bytes: 0 });
            }
            match self.client.check(status, Some(path)) {
                Err(error) if error.is_retryable() => return Ok(Tried::Broken { error, bytes: start }),
                checked => checked?,
            }
            self.check_commit(path, &answer)?;
            let (from, size) = range(&answer, start).ok_or_else(|| self.odd(path, "answers with another part"))?;
            let size = agree(known.size, size).map_err(|(said, other)| {
                self.odd(path, &format!("sends {other} bytes, and its list of files says {said}"))
            })?;
            known.size = size;
            checksum = Checksum::new(known.etag.as_deref().unwrap_or_default(), known.size);
            let go_on = |part: &mut File| {
                part.set_len(from)?;
                part.seek(SeekFrom::Start(0))
            };
            go_on(&mut part).map_err(|source| self.io(known, source))?;
            bytes = self.hash(&mut part, &mut checksum).map_err(|source| self.io(known, source))?;
            let mut body = answer.response.into_body().into_reader();
            loop {
                at(bytes);
                let read = match body.read(&mut self.buffer) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        let error = self.odd_for_now(path, &format!("broke off after {bytes} bytes: {error}"));
                        return Ok(Tried::Broken { error, bytes });
                    }
                };
                bytes += read as u64;
                if size.is_some_and(|size| bytes > size) {
                    self.discard(known)?;
                    return Err(self.odd(path, "sends more bytes than it says"));
                }
                checksum.update(&self.buffer[..read]);
                part.write_all(&self.buffer[..read]).map_err(|source| self.io(known, source))?;
            }
            if let Some(size) = size.filter(|size| bytes < *size) {
                let error = self.odd_for_now(path, &format!("broke off after {bytes} of {size} bytes"));
                return Ok(Tried::Broken { error, bytes });
            }
        } else {
            bytes += self.hash(&mut part, &mut checksum).map_err(|source| self.io(known, source))?;
        }
        at(bytes);
        let etag = known.etag.clone().unwrap_or_default();
        if !checksum.finish() {
            self.discard(known)?;
            return Err(self.odd(path, &format!("sends a content whose checksum is not {etag}; it was thrown away")));
        }
        let blob = self.blobs.join(&etag);
        fs::rename(self.part(&etag), &blob).map_err(|source| self.io(known, source))?;
        self.link(path, &etag).map(|()| Tried::Done)
    }

    /// Asks what a file's content is called, where the list does not say so.
    fn learn(&self, path: &str, known: &mut Known) -> Result<Tried> {
        let answer = match self.client.get(self.commit, path, 0) {
            Err(error) if error.is_retryable() => return Ok(Tried::Broken { error, bytes: 0 }),
            answer => answer?,
        };
        match self.client.check(answer.response.status().as_u16(), Some(path)) {
            Err(error) if error.is_retryable() => return Ok(Tried::Broken { error, bytes: 0 }),
            checked => checked?,
        }
        self.check_commit(path, &answer)?;
        let etag = answer.etag.ok_or_else(|| self.odd(path, "does not say what its content is called (ETag)"))?;
        if !is_part(&etag) {
            return Err(self.odd(path, &format!("calls its content {etag:?}, which cannot be a file's name")));
        }
        known.size = agree(known.size, answer.size).map_err(|(said, other)| {
            self.odd(path, &format!("has {other} bytes, and its list of files says {said}"))
        })?;
        known.etag = Some(etag);
        Ok(Tried::Learned)
    }

    /// Opens what there is of a content, for this process alone.
    fn open_part(&self, etag: &str) -> Result<File> {
        let path = self.part(etag);
        let fail = |source: io::Error| Error::Io { path: path.clone(), source: source.into() };
        let part = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        match part.try_lock() {
            Err(TryLockError::WouldBlock) => Err(fail(io::Error::other("another process is fetching it"))),
            _ => Ok(part),
        }
    }

    fn part(&self, etag: &str) -> PathBuf {
        self.blobs.join(format!("{etag}.incomplete"))
    }

    /// Throws what there is of a content away.
    fn discard(&self, known: &Known) -> Result<()> {
        let part = self.part(known.etag.as_deref().unwrap_or_default());
        fs::remove_file(part).map_err(|source| self.io(known, source))
    }

    /// Takes what is there into the checksum; its length.
    fn hash(&mut self, part: &mut File, checksum: &mut Checksum) -> io::Result<u64> {
        let mut bytes = 0;
        loop {
            match part.read(&mut self.buffer)? {
                0 => return Ok(bytes),
                read => {
                    checksum.update(&self.buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
    }

    /// Links a content to its place, as the hub's own tools do.
    fn link(&self, path: &str, etag: &str) -> Result<()> {
        let link = self.directory.join(path);
        let up = "../".repeat(path.split('/').count() + 1);
        let write = || {
            link.parent().map_or(Ok(()), fs::create_dir_all)?;
            match fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(format!("{up}blobs/{etag}"), &link)
        };
        write().map_err(|source| Error::Io { path: link.clone(), source: source.into() })
    }

    fn check_commit(&self, path: &str, answer: &Answer) -> Result<()> {
        match answer.commit.as_deref() {
            Some(commit) if commit != self.commit => {
                Err(self.odd(path, &format!("sends it of {commit}, and {} was asked for", self.commit)))
            }
            _ => Ok(()),
        }
    }

    fn odd(&self, path: &str, what: &str) -> Error {
        failed(format!("{}, {path}", self.client.id), format!("the hub {what}"), false)
    }

    fn odd_for_now(&self, path: &str, what: &str) -> Error {
        let reason = format!("the hub {what}; the same command goes on with it");
        failed(format!("{}, {path}", self.client.id), reason, true)
    }

    fn io(&self, known: &Known, source: io::Error) -> Error {
        Error::Io { path: self.part(known.etag.as_deref().unwrap_or_default()), source: source.into() }
    }
}

/// Where the bytes of an answer begin, and how many the whole file has, as far as it says. `None`, if they are not
/// those that were asked for.
fn range(answer: &Answer, start: u64) -> Option<(u64, Option<u64>)> {
    let headers = answer.response.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let length = || text("content-length").and_then(|length| length.trim().parse::<u64>().ok());
    if answer.response.status().as_u16() != 206 {
        return Some((0, answer.size.or_else(length)));
    }
    let (range, size) = text("content-range")?.trim().strip_prefix("bytes ")?.split_once('/')?;
    let from: u64 = range.split_once('-')?.0.trim().parse().ok()?;
    (from == start).then(|| (from, answer.size.or_else(|| size.trim().parse().ok())))
}

/// The one of two sizes that is known; both, if they differ.
fn agree(said: Option<u64>, other: Option<u64>) -> Result<Option<u64>, (u64, u64)> {
    match (said, other) {
        (Some(said), Some(other)) if said != other => Err((said, other)),
        (said, other) => Ok(said.or(other)),
    }
}

/// The checksum that a content is called by: SHA-256 of what is large, or git's SHA-1. Other names say nothing.
struct Checksum {
    context: Option<digest::Context>,
    etag: String,
}

impl Checksum {
    fn new(etag: &str, size: Option<u64>) -> Self {
        let is_hexadecimal = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let context = match (etag.len(), size) {
            (64, _) if is_hexadecimal => Some(digest::Context::new(&digest::SHA256)),
            // Git puts the size before the content.
            (40, Some(size)) if is_hexadecimal => {
                let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Some(context)
            }
            _ => None,
        };
        Self { context, etag: etag.to_ascii_lowercase() }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(context) = &mut self.context {
            context.update(bytes);
        }
    }

    /// Whether the sum is what was said.
    fn finish(self) -> bool {
        let Self { context, etag } = self;
        context.is_none_or(|context| {
            let digest = context.finish();
            digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>() == etag
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_git_and_of_large_files() {
        let check = |etag: &str, size| {
            let mut checksum = Checksum::new(etag, size);
            checksum.update(b"hel");
            checksum.update(b"lo\n");
            checksum.finish()
        };
        // `printf 'hello\n' | git hash-object --stdin` and `| sha256sum`.
        let (sha1, sha256) = (
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        );
        assert!(check(sha1, Some(6)) && check(sha256, None) && check("W-other", None));
        assert!(!check(&sha1.replace('c', "d"), Some(6)) && !check(&sha256.replace('5', "6"), None));
    }
}
