//! The weights file: safetensors, read one tensor at a time.
//!
//! The header is checked against the file's real length before anything else, so every later size is bounded by bytes
//! that exist. The file is never mapped: another process may change a mapped file, and Rust's memory with it. Nor is
//! it read whole: at most one tensor is in host memory besides what the device holds.

use crate::error::{Error, Result};
use crate::files::{POINTER_BYTES, no_weights, open_file, refuse_other_weights, refuse_pointer};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_tensor::DType;

/// The first bytes of the file: the header's length, as a little-endian u64.
const LENGTH_BYTES: u64 = 8;
/// The longest header that is read: about 100,000 tensors. (The format allows 100 MB.)
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Before a name, in checkpoints of a whole `BertModel` with a task's head.
const PREFIX: &str = "bert.";
/// The ends of names in old checkpoints, which come from TensorFlow, and the names of today.
const OLD_NAMES: [(&str, &str); 2] = [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// An open weights file.
#[derive(Debug)]
pub(crate) struct Weights {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    data_start: u64,
    /// What the values are for: all of them have to be finite in it.
    dtype: DType,
}

impl Weights {
    /// Opens `model.safetensors` in the transformer's folder and checks its header. `dtype` is what will be made of the
    /// values.
    pub(crate) fn open(folder: &Path, dtype: DType) -> Result<Self> {
        let path = folder.join("model.safetensors");
        let (mut file, bytes) = open_file(&path).map_err(|error| match error {
            Error::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => no_weights(folder, error),
            other => other,
        })?;
        let (metadata, data_start) = read_header(&mut file, bytes, &path)?;
        Ok(Self { path, file, metadata, data_start, dtype })
    }

    /// The name in the file of the tensor that is called `name` today: with a prefix or without, under its old name or
    /// today's. As in the `transformers` library, tensors that are not asked for, such as those of a layer past the
    /// last, may be there.
    fn name(&self, name: &str) -> Option<String> {
        let old = OLD_NAMES.iter().find_map(|(today, old)| Some(format!("{}{old}", name.strip_suffix(today)?)));
        let names = [Some(name.to_owned()), old].into_iter().flatten();
        let mut candidates = names.flat_map(|name| [format!("{PREFIX}{name}"), name]);
        candidates.find(|name| self.metadata.info(name).is_some())
    }

    /// A second tensor for the one of this name in the file: under its old name, beside today's.
    fn other_name(&self, name: &str) -> Option<String> {
        let other = OLD_NAMES.iter().find_map(|(today, old)| Some(format!("{}{old}", name.strip_suffix(today)?)))?;
        self.metadata.info(&other).is_some().then_some(other)
    }

    /// Appends the elements of a tensor of exactly this shape, in row-major order: f32, or f16 or bf16, each of which
    /// is a value of f32 too.
    pub(crate) fn read_into(&mut self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        let missing = || Error::TensorMissing { path: self.path.clone(), tensor: name.to_owned() };
        let full_name = self.name(name).ok_or_else(missing)?;
        if let Some(other) = self.other_name(&full_name) {
            return Err(Error::TensorTwice { path: self.path.clone(), tensor: full_name, other });
        }
        let info = self.metadata.info(&full_name).ok_or_else(missing)?;
        let Some(stored) = Stored::of(info.dtype) else {
            return Err(Error::TensorDtype {
                path: self.path.clone(),
                tensor: full_name,
                given: format!("{:?}", info.dtype),
            });
        };
        if info.shape != shape {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: full_name,
                given: info.shape.clone(),
                expected: shape.to_owned(),
            });
        }
        let bytes = info.data_offsets.0..info.data_offsets.1;
        let before = values.len();
        let result = read_values(&mut self.file, self.data_start + bytes.start as u64, bytes.len(), stored, values);
        result.map_err(|source| Error::Io { path: self.path.clone(), source: source.into() })?;
        let values = &values[before..];
        if let Some(element) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::TensorValue {
                path: self.path.clone(),
                tensor: full_name,
                element,
                given: values[element],
            });
        }
        let beyond = |value: &f32| self.dtype == DType::F16 && f16::from_f32(*value).is_infinite();
        match values.iter().position(beyond) {
            None => Ok(()),
            Some(element) => {
                Err(Error::TensorRange { path: self.path.clone(), tensor: full_name, element, given: values[element] })
            }
        }
    }

    /// The elements of a tensor of exactly this shape; see [`read_into`](Self::read_into).
    pub(crate) fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.read_into(name, shape, &mut values)?;
        Ok(values)
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

/// Appends the values in `bytes` bytes from byte `start` of the file.
fn read_values(file: &mut File, start: u64, bytes: usize, stored: Stored, values: &mut Vec<f32>) -> io::Result<()> {
    const CHUNK: usize = 64 * 1024;
    // Not `reserve`: that would abort the process if the memory is not there.
    let count = bytes / stored.bytes();
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
