//! What drivers compiled, kept on disk, so that a process starts with what an earlier one compiled.
//!
//! A file for each device and driver, in `THALWEG_CACHE_DIR`, or `thalweg` in the user's cache directory. It is data
//! from outside: drivers have crashed on caches of another version, so a file is handed to the driver only if its
//! header says that it was written for exactly this device and driver, and its checksum is right. Anything else is a
//! miss, and is replaced, whole. A file that cannot be written is no error: the next process compiles again.
//!
//! ```text
//! bytes 0..8    "thalwegc"                             16..20  the length of the identity
//!       8..12   format, 2                              20..    the identity, then the driver's own data
//!       12..16  CRC-32 of everything behind it
//! ```

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

/// The variable that says where the files are. Empty: nowhere.
const DIRECTORY: &str = "THALWEG_CACHE_DIR";
const MAGIC: &[u8; 8] = b"thalwegc";
const FORMAT: u32 = 2;
/// What comes before the identity.
const HEADER: usize = 20;
/// The most data of a file, in bytes: ten times what all our kernels take. What is longer is neither written nor read.
pub const MAX_BYTES: u64 = 32 << 20;

/// A file with what one driver compiled for one device.
#[derive(Debug)]
pub struct CacheFile {
    path: PathBuf,
    identity: Vec<u8>,
}

impl CacheFile {
    /// The file of a backend for what `identity` names: the device, the driver, and their versions, without which the
    /// data is of no use. `None` if nothing is to be kept.
    pub fn of(backend: &str, identity: &[u8]) -> Option<Self> {
        Some(Self::in_directory(directory(env::var_os(DIRECTORY).as_deref())?, backend, identity))
    }

    /// The same in a directory that is named.
    pub fn in_directory(directory: PathBuf, backend: &str, identity: &[u8]) -> Self {
        let path = directory.join(format!("{backend}-{:08x}.bin", crc32fast::hash(identity)));
        Self { path, identity: identity.to_vec() }
    }

    /// The data in the file, if it is whole and was written for the same.
    pub fn read(&self) -> Option<Vec<u8>> {
        // Not what never ends, such as a pipe.
        fs::metadata(&self.path)
            .ok()
            .filter(|file| file.is_file() && file.len() <= MAX_BYTES + HEADER as u64 + self.identity.len() as u64)?;
        let mut file = fs::read(&self.path).ok()?;
        let header = file.first_chunk::<HEADER>()?;
        let number = |at: usize| header[at..].first_chunk().copied().map(u32::from_le_bytes);
        let right = header[..8] == *MAGIC
            && number(8)? == FORMAT
            && number(12)? == crc32fast::hash(&file[16..])
            && number(16)? as usize == self.identity.len()
            && file[HEADER..].starts_with(&self.identity);
        right.then(|| file.split_off(HEADER + self.identity.len()))
    }

    /// Replaces the file whole: another process reads the old one or the new one.
    ///
    /// # Errors
    /// What the system says, or that it is too much data; the file is then as it was.
    pub fn write(&self, data: &[u8]) -> io::Result<()> {
        if data.len() as u64 > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let directory = self.path.parent().ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(directory)?;
        let length = u32::try_from(self.identity.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_le_bytes();
        let mut sum = crc32fast::Hasher::new();
        [&length[..], &self.identity, data].into_iter().for_each(|part| sum.update(part));
        let temporary = self.path.with_extension(format!("{}-{}", std::process::id(), crate::unique_id()));
        let result = (|| {
            let mut file = fs::File::create(&temporary)?;
            let (format, sum) = (FORMAT.to_le_bytes(), sum.finalize().to_le_bytes());
            for part in [&MAGIC[..], &format, &sum, &length, &self.identity, data] {
                file.write_all(part)?;
            }
            drop(file);
            fs::rename(&temporary, &self.path)
        })();
        if result.is_err() {
            // It may not be there at all.
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

/// Where the files are: what the variable says, or the user's cache directory.
fn directory(variable: Option<&OsStr>) -> Option<PathBuf> {
    if let Some(directory) = variable {
        return (!directory.is_empty()).then(|| directory.into());
    }
    let of = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = if cfg!(windows) {
        of("LOCALAPPDATA")?
    } else if cfg!(target_os = "macos") {
        of("HOME")?.join("Library/Caches")
    } else {
        of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")))?
    };
    Some(caches.join("thalweg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // audit: F6
    #[test]
    fn what_was_written_is_read_and_anything_else_is_a_miss() {
        let directory = tempfile::tempdir().unwrap();
        let of = |identity: &[u8]| CacheFile::in_directory(directory.path().join("new"), "driver", identity);
        let file = of(&[7; 32]);
        assert_eq!(file.read(), None);
        file.write(b"pipelines").unwrap();
        assert_eq!(file.read().as_deref(), Some(&b"pipelines"[..]));
        assert_eq!(fs::read_dir(file.path.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
        // Of another driver, though it were in the same place; the data is not a part of the identity, nor the other
        // way round.
        for other in [&[8; 32][..], &[7; 31], &[7; 33], &[], &[[7; 32].as_slice(), b"pipelines"].concat()] {
            assert_eq!(CacheFile { path: file.path.clone(), identity: other.to_vec() }.read(), None, "{other:?}");
        }
        let mut random = crate::validate::tests::rig::fresh();
        let whole = fs::read(&file.path).unwrap();
        for at in 0..whole.len() {
            let mut corrupt = whole.clone();
            corrupt[at] ^= 1 << random.u32(..8);
            fs::write(&file.path, &corrupt).unwrap();
            assert_eq!(file.read(), None, "byte {at} changed");
            fs::write(&file.path, &whole[..at]).unwrap();
            assert_eq!(file.read(), None, "cut to {at} bytes");
        }
        let most = vec![7; MAX_BYTES as usize];
        file.write(&most).unwrap();
        assert!(file.read().is_some_and(|data| data == most));
        assert!(file.write(&vec![7; MAX_BYTES as usize + 1]).is_err() && file.read().is_some());
        file.write(b"").unwrap();
        assert_eq!(file.read().as_deref(), Some(&b""[..]), "what was wrong is replaced");
    }

    #[test]
    fn whoever_reads_while_it_is_replaced_finds_one_of_the_two() {
        let directory = tempfile::tempdir().unwrap();
        let file = CacheFile::in_directory(directory.path().to_owned(), "driver", b"one");
        let texts = [vec![1; 100_000], vec![2; 50_000]];
        file.write(&texts[0]).unwrap();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| (0..200).for_each(|at| file.write(&texts[at % 2]).unwrap()));
            while !writing.is_finished() {
                let found = file.read().expect("a part of a file was seen");
                assert!(texts.contains(&found), "{} bytes that nobody wrote", found.len());
            }
        });
    }

    #[test]
    fn the_variable_says_where_or_that_nowhere() {
        assert_eq!(directory(Some("".as_ref())), None);
        assert_eq!(directory(Some("/somewhere".as_ref())), Some("/somewhere".into()));
    }
}
