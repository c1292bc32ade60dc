//! Compiled pipelines on disk, so that a process starts with what an earlier one compiled.
//!
//! A file for each device and driver, in `THALWEG_CACHE_DIR`, or `thalweg` in the user's cache directory. It is data from
//! outside: drivers have crashed on caches of another version, so a file is handed to the driver only if its header says
//! that it was written for exactly this device and driver, and its checksum is right. Anything else is a miss, and is
//! replaced. A cache that cannot be written is no error: the next process compiles again.
//!
//! ```text
//! bytes 0..8    "thalwegp"      12..16  CRC-32 of everything behind it      32..48  the driver's cache UUID
//!       8..12   format, 1       16..32  vendor, device, driver, API         48..    the driver's own data
//! ```

use crate::sync::lock;
use ash::vk;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs, io};

/// The variable that says where the files are. Empty: nowhere.
const DIRECTORY: &str = "THALWEG_CACHE_DIR";
const MAGIC: &[u8; 8] = b"thalwegp";
const FORMAT: u32 = 1;
const HEADER: usize = 48;
/// A file that is longer is not read: a hundred times what all our kernels take.
const MAX_BYTES: u64 = 256 << 20;

/// The cache of one device.
pub struct PipelineCache {
    raw: vk::PipelineCache,
    /// Where it is kept, if anywhere.
    path: Option<PathBuf>,
    identity: [u8; 32],
    /// The size of what was last written. Held while a file is written, so that the newest is the last.
    written: Mutex<usize>,
}

impl PipelineCache {
    /// The cache of a device, with what is on disk, if that is of use.
    pub fn open(device: &ash::Device, properties: &vk::PhysicalDeviceProperties) -> Self {
        let identity = identity(properties);
        let path = directory(env::var_os(DIRECTORY).as_deref()).map(|directory| directory.join(file_name(&identity)));
        let data = path.as_deref().and_then(|path| read(path, &identity)).unwrap_or_default();
        let info = vk::PipelineCacheCreateInfo::default().initial_data(&data);
        // SAFETY: the data is empty, or what this driver wrote for this device.
        let raw = unsafe { device.create_pipeline_cache(&info, None) };
        // Without a cache every pipeline is compiled; null is allowed where it is used.
        let raw = raw.unwrap_or_default();
        Self { raw, path, identity, written: Mutex::new(data.len()) }
    }

    pub fn raw(&self) -> vk::PipelineCache {
        self.raw
    }

    /// Writes the cache to disk if a pipeline has been added. After each compile, which takes longer: so that a process
    /// that is killed has not compiled in vain.
    pub fn save(&self, device: &ash::Device) {
        let Some(path) = &self.path else { return };
        if self.raw == vk::PipelineCache::null() {
            return;
        }
        let mut written = lock(&self.written);
        // SAFETY: the cache is the device's.
        let Ok(data) = (unsafe { device.get_pipeline_cache_data(self.raw) }) else { return };
        if data.len() != *written && write(path, &self.identity, &data).is_ok() {
            *written = data.len();
        }
    }

    /// Lets go of the driver's part, before the device goes.
    pub fn destroy(&self, device: &ash::Device) {
        // SAFETY: nothing is being compiled any more. Null is allowed.
        unsafe { device.destroy_pipeline_cache(self.raw, None) };
    }
}

/// What a file has to have been written for.
fn identity(properties: &vk::PhysicalDeviceProperties) -> [u8; 32] {
    let mut identity = [0; 32];
    let numbers = [properties.vendor_id, properties.device_id, properties.driver_version, properties.api_version];
    for (bytes, number) in identity.chunks_exact_mut(4).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    identity[16..].copy_from_slice(&properties.pipeline_cache_uuid);
    identity
}

fn file_name(identity: &[u8; 32]) -> String {
    format!("vulkan-{:08x}.bin", crc32fast::hash(identity))
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

/// The driver's data in a file, if it is whole and was written for this device and driver.
fn read(path: &Path, identity: &[u8; 32]) -> Option<Vec<u8>> {
    // Not what never ends, such as a pipe.
    fs::metadata(path).ok().filter(|file| file.is_file() && file.len() <= MAX_BYTES)?;
    let mut file = fs::read(path).ok()?;
    let header = file.first_chunk::<HEADER>()?;
    let sum = u32::from_le_bytes(*header[12..].first_chunk()?);
    let right = header[..8] == *MAGIC
        && header[8..12] == FORMAT.to_le_bytes()
        && header[16..] == *identity
        && crc32fast::hash(&file[16..]) == sum;
    right.then(|| file.split_off(HEADER))
}

/// Replaces a file whole: another process reads the old one or the new one.
fn write(path: &Path, identity: &[u8; 32], data: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(directory)?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(identity);
    sum.update(data);
    let temporary = path.with_extension(format!("{}-{}", std::process::id(), thalweg_hal::unique_id()));
    let result = (|| {
        let mut file = fs::File::create(&temporary)?;
        for part in [&MAGIC[..], &FORMAT.to_le_bytes(), &sum.finalize().to_le_bytes(), identity, data] {
            file.write_all(part)?;
        }
        drop(file);
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_is_a_miss() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join(file_name(&[7; 32]));
        assert_eq!(read(&path, &[7; 32]), None);
        write(&path, &[7; 32], b"pipelines").unwrap();
        assert_eq!(read(&path, &[7; 32]).as_deref(), Some(&b"pipelines"[..]));
        assert_eq!(read(&path, &[8; 32]), None, "of another driver");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing temporary is left");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut corrupt = whole.clone();
            corrupt[at] ^= 1 << fastrand::u32(..8);
            fs::write(&path, &corrupt).unwrap();
            assert_eq!(read(&path, &[7; 32]), None, "byte {at} changed");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&path, &[7; 32]), None, "cut to {at} bytes");
        }
    }

    #[test]
    fn the_variable_says_where_or_that_nowhere() {
        assert_eq!(directory(Some("".as_ref())), None);
        assert_eq!(directory(Some("/somewhere".as_ref())), Some("/somewhere".into()));
    }
}
