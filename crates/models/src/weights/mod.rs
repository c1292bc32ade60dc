//! The weights of a checkpoint: one safetensors file, or several and a list of them.
//!
//! | file | what it is |
//! |---|---|
//! | `file` | one safetensors file |
//! | `index` | the list of several |
//! | `scope` | the tensors under a prefix, converted and frozen on a device |
//!
//! Tensors are read one at a time: besides what the device holds, host memory has at most one.

mod file;
mod index;
mod scope;

use crate::error::{Error, Result};
use crate::files::no_weights;
use file::WeightsFile;
use half::f16;
pub(crate) use index::INDEX;
use index::Index;
pub(crate) use scope::Scope;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thalweg_tensor::DType;

/// The file that has all weights, unless there is a list of several.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// The ends of names in old checkpoints, which come from TensorFlow, and the names of today.
const OLD_NAMES: [(&str, &str); 2] = [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// An open checkpoint.
#[derive(Debug)]
pub(crate) struct Weights {
    files: Vec<WeightsFile>,
    /// The file of each tensor, by its index. Tensors that nobody asks for, such as those of a layer past the last, may
    /// be there, as in the `transformers` library.
    tensors: HashMap<String, usize>,
    /// Where there are several files.
    index: Option<Index>,
    /// What the values are for: all of them have to be finite in it.
    dtype: DType,
}

impl Weights {
    /// Opens `model.safetensors` in the transformer's folder, or without it all files that the folder's
    /// `model.safetensors.index.json` names, and checks their headers. `dtype` is what will be made of the values.
    pub(crate) fn open(folder: &Path, dtype: DType) -> Result<Self> {
        let single = folder.join(WEIGHTS);
        let (files, index) = match WeightsFile::open(single) {
            Ok(file) => (vec![file], None),
            Err(error) if is_absent(&error) => {
                let index = Index::read(folder)?.ok_or_else(|| no_weights(folder, error))?;
                (index.files.iter().cloned().map(WeightsFile::open).collect::<Result<_>>()?, Some(index))
            }
            Err(error) => return Err(error),
        };
        let mut tensors = HashMap::new();
        for (at, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(before) = tensors.insert(name.clone(), at) {
                    let (path, other) = (file.path().to_owned(), files[before].path().to_owned());
                    return Err(Error::TensorInTwoFiles { path, tensor: name, other });
                }
            }
        }
        Ok(Self { files, tensors, index, dtype })
    }

    /// What the values are for.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The prefix that names have: the first of these with which any tensor's name begins, or none.
    pub(crate) fn prefix(&self, of: &[&str]) -> String {
        let begins = |prefix: &&&str| self.tensors.keys().any(|name| name.starts_with(**prefix));
        of.iter().find(begins).map(|prefix| (*prefix).to_owned()).unwrap_or_default()
    }

    /// Whether there is a tensor that is called `name` today.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.stored_name(name).is_some()
    }

    /// The shape of the tensor that is called `name` today.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        let name = self.stored_name(name)?;
        let at = *self.tensors.get(&name)?;
        Some(&self.files[at].info(&name)?.shape)
    }

    /// The name in the files of the tensor that is called `name` today: today's, or its old one.
    fn stored_name(&self, name: &str) -> Option<String> {
        [Some(name.to_owned()), old_name(name)].into_iter().flatten().find(|name| self.tensors.contains_key(name))
    }

    /// Where a tensor that is in no file should be.
    fn place_of(&self, name: &str) -> PathBuf {
        let listed = self.index.as_ref().map(|index| index.file_of(name).unwrap_or(&index.path));
        listed.unwrap_or_else(|| self.files[0].path()).to_owned()
    }

    /// Appends elements of a tensor of exactly this shape, in row-major order, those of some `rows` (its first
    /// dimension) alone: f32, or f16 or bf16, each of which is a value of f32 too.
    pub(crate) fn read_rows(
        &self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let missing = || Error::TensorMissing { path: self.place_of(name), tensor: name.to_owned() };
        let tensor = self.stored_name(name).ok_or_else(missing)?;
        let file = &self.files[*self.tensors.get(&tensor).ok_or_else(missing)?];
        let path = || file.path().to_owned();
        if let Some(other) = old_name(&tensor).filter(|other| self.tensors.contains_key(other)) {
            return Err(Error::TensorTwice { path: path(), tensor, other });
        }
        let info = file.info(&tensor).ok_or_else(missing)?;
        if info.shape != shape {
            let (given, expected) = (info.shape.clone(), shape.to_owned());
            return Err(Error::TensorShape { path: path(), tensor, given, expected });
        }
        // Within what the header says that the file has.
        let row: usize = shape[1..].iter().product();
        let before = values.len();
        file.read(&tensor, info, rows.start * row..rows.end * row, values)?;
        let values = &values[before..];
        let element = |at: usize| rows.start * row + at;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::TensorValue { path: path(), tensor, element: element(at), given: values[at] });
        }
        let beyond = |value: &f32| self.dtype == DType::F16 && f16::from_f32(*value).is_infinite();
        match values.iter().position(beyond) {
            None => Ok(()),
            Some(at) => Err(Error::TensorRange { path: path(), tensor, element: element(at), given: values[at] }),
        }
    }

    /// As [`read_rows`](Self::read_rows), of all rows.
    pub(crate) fn read_into(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        self.read_rows(name, shape, 0..shape[0], values)
    }
}

fn old_name(name: &str) -> Option<String> {
    OLD_NAMES.iter().find_map(|(today, old)| Some(format!("{}{old}", name.strip_suffix(today)?)))
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
