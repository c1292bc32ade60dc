//! One safetensors file, read one tensor at a time.
//!
//! The header is checked against the file's real length before anything else, so every later size is bounded by bytes
//! that exist. The file is never mapped: another process may change a mapped file, and Rust's memory with it. Nor is
//! it read whole.

use crate::error::{Error, Result};
use crate::files::{POINTER_BYTES, open_file, refuse_other_weights, refuse_pointer};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first bytes of the file: the header's length, as a little-endian u64.
const LENGTH_BYTES: u64 = 8;
/// The longest header that is read: about 100,000 tensors. (The format allows 100 MB.)
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// An open file.
#[derive(Debug)]
pub(super) struct WeightsFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    data_start: u64,
}

impl WeightsFile {
    /// Opens the file and checks its header.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let (mut file, bytes) = open_file(&path)?;
        let (metadata, data_start) = read_header(&mut file, bytes, &path)?;
        Ok(Self { path, file, metadata, data_start })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.tensors().into_keys().collect()
    }

    /// Of each tensor, the type that it is stored in and how many elements it has.
    pub(super) fn sizes(&self) -> Vec<(String, u64)> {
        let size = |info: &TensorInfo| {
            let elements = info.shape.iter().fold(1u64, |size, length| size.saturating_mul(*length as u64));
            (format!("{:?}", info.dtype), elements)
        };
        self.metadata.tensors().into_values().map(size).collect()
    }

    /// What the header says of a tensor.
    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Appends these elements of a tensor of the file, which has as many. `name` is for errors.
    pub(super) fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        elements: Range<usize>,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let Some(stored) = Stored::of(info.dtype) else {
            let given = format!("{:?}", info.dtype);
            return Err(Error::TensorDtype { path: self.path.clone(), tensor: name.to_owned(), given });
        };
        let start = self.data_start + (info.data_offsets.0 + elements.start * stored.bytes()) as u64;
        read_values(&self.file, start, elements.len(), stored, values)
            .map_err(|source| Error::Io { path: self.path.clone(), source: source.into() })
    }
}

/// Reads and checks the header; also says where the tensors' bytes begin.
fn read_header(file: &mut File, bytes: u64, path: &Path) -> Result<(Metadata, u64)> {
    let io_error = |source: io::Error| Error::Io { path: path.to_owned(), source: source.into() };
    let wrong_length = |expected| Error::WeightsLength { path: path.to_owned(), bytes, expected };
    let mut beginning = Vec::new();
    file.take(POINTER_BYTES).read_to_end(&mut beginning).map_err(io_error)?;
    refuse_pointer(path, &beginning)?;
    refuse_other_weights(path, &beginning)?;
    file.rewind().map_err(io_error)?;
    if bytes < LENGTH_BYTES {
        return Err(wrong_length(LENGTH_BYTES));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(io_error)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        let limit = MAX_HEADER_BYTES;
        return Err(Error::TooLarge { path: path.to_owned(), what: "the header", bytes: length, limit });
    }
    let data_start = LENGTH_BYTES + length;
    if data_start > bytes {
        return Err(wrong_length(data_start));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(io_error)?;
    // Parsing checks that the tensors lie one after the other without gaps, and that shape and dtype give the length.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|source| Error::WeightsHeader { path: path.to_owned(), source: Arc::new(source) })?;
    // Saturating: a header may claim offsets up to 2^64.
    let end = data_start.saturating_add(metadata.data_len() as u64);
    if end != bytes {
        return Err(wrong_length(end));
    }
    Ok((metadata, data_start))
}

/// How a file holds the elements of a tensor.
#[derive(Clone, Copy)]
enum Stored {
    F32,
    F16,
    Bf16,
}

impl Stored {
    fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Appends little-endian elements.
    fn extend(self, values: &mut Vec<f32>, bytes: &[u8]) {
        match self {
            Self::F32 => values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Self::F16 => values.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
            Self::Bf16 => values.extend(bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32())),
        }
    }
}

/// Appends so many values, which begin at byte `start` of the file.
fn read_values(mut file: &File, start: u64, count: usize, stored: Stored, values: &mut Vec<f32>) -> io::Result<()> {
    const CHUNK: usize = 64 * 1024;
    // Not `reserve`: that would abort the process if the memory is not there.
    values.try_reserve_exact(count).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
    file.seek(SeekFrom::Start(start))?;
    let mut chunk = [0; CHUNK];
    let mut left = count * stored.bytes();
    while left > 0 {
        let chunk = &mut chunk[..left.min(CHUNK)];
        file.read_exact(chunk)?;
        stored.extend(values, chunk);
        left -= chunk.len();
    }
    Ok(())
}
