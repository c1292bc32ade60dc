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
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thalweg_runtime::Pool;
use thalweg_tensor::DType;

/// The file that has all weights, unless there is a list of several.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// The ends of names in old checkpoints, which come from TensorFlow, and the names of today.
const OLD_NAMES: [(&str, &str); 2] = [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// An open checkpoint.
#[derive(Debug)]
pub(crate) struct Weights {
    files: Vec<WeightsFile>,
    /// The tensors by their names of today, without a prefix. Some that nobody asks for, such as those of a layer past
    /// the last, may be there, as in the `transformers` library.
    tensors: HashMap<String, Place>,
    /// What stands before some names, or all of them.
    prefixes: &'static [&'static str],
    /// Where there are several files.
    index: Option<Index>,
    /// What the values are for: all of them have to be finite in it.
    dtype: DType,
}

/// Tensors of one type.
pub(crate) struct Stored {
    pub(crate) dtype: String,
    pub(crate) tensors: usize,
    pub(crate) elements: u64,
}

/// Where a tensor is.
#[derive(Debug)]
struct Place {
    /// The file, by its index.
    file: usize,
    /// The name in the file.
    name: String,
    /// Whether a prefix was taken off it.
    prefixed: bool,
    /// The name of a second tensor, in the file under the other of today's name and the old one.
    other: Option<String>,
}

impl Weights {
    /// Opens `model.safetensors` in the transformer's folder, or without it all files that the folder's
    /// `model.safetensors.index.json` names, and checks their headers. `dtype` is what will be made of the values.
    ///
    /// The `prefixes` stand before the names of an encoder's tensors in checkpoints that have a task's head too. As in
    /// the `transformers` library, they are taken off wherever they are.
    pub(crate) fn open(folder: &Path, dtype: DType, prefixes: &'static [&'static str]) -> Result<Self> {
        let single = folder.join(WEIGHTS);
        let (files, index) = match WeightsFile::open(single) {
            Ok(file) => (vec![file], None),
            Err(error) if is_absent(&error) => {
                let index = Index::read(folder)?.ok_or_else(|| no_weights(folder, error))?;
                (index.files.iter().cloned().map(WeightsFile::open).collect::<Result<_>>()?, Some(index))
            }
            Err(error) => return Err(error),
        };
        let mut weights = Self { files, tensors: HashMap::new(), prefixes, index, dtype };
        for file in 0..weights.files.len() {
            weights.files[file].names().into_iter().try_for_each(|name| weights.add(file, name))?;
        }
        Ok(weights)
    }

    /// Enters a tensor of a file.
    fn add(&mut self, file: usize, name: String) -> Result<()> {
        let stripped = self.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
        let prefixed = stripped.is_some();
        let key = todays_name(stripped.unwrap_or(&name));
        let Some(before) = self.tensors.get_mut(&key) else {
            self.tensors.insert(key, Place { file, name, prefixed, other: None });
            return Ok(());
        };
        if before.name == name {
            let (path, other) = (self.files[file].path().to_owned(), self.files[before.file].path().to_owned());
            return Err(Error::TensorInTwoFiles { path, tensor: name, other });
        }
        match (before.prefixed, prefixed) {
            // The one with a prefix is meant.
            (true, false) => {}
            (false, true) => *before = Place { file, name, prefixed, other: None },
            _ => before.other = Some(name),
        }
        Ok(())
    }

    /// What its tensors are stored in: types by their names, with how many tensors and elements are of each.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        let mut types: BTreeMap<String, Stored> = BTreeMap::new();
        for (dtype, elements) in self.files.iter().flat_map(WeightsFile::sizes) {
            let new = || Stored { dtype: dtype.clone(), tensors: 0, elements: 0 };
            let stored = types.entry(dtype.clone()).or_insert_with(new);
            stored.tensors += 1;
            stored.elements += elements;
        }
        types.into_values().collect()
    }

    /// Its tensors, to be frozen in the memory of a pool.
    pub(crate) fn scope<'a>(&'a self, pool: &'a Pool) -> Scope<'a> {
        Scope::new(self, pool)
    }

    /// Where a tensor that is in no file should be.
    fn expected_in(&self, name: &str) -> PathBuf {
        let Some(index) = &self.index else { return self.files[0].path().to_owned() };
        let mut names = self.prefixes.iter().map(|prefix| format!("{prefix}{name}"));
        let listed = index.file_of(name).or_else(|| names.find_map(|name| index.file_of(&name)));
        listed.unwrap_or(&index.path).to_owned()
    }

    /// Appends elements of a tensor of exactly this shape, in row-major order, those of some `rows` (its first
    /// dimension) alone: f32, or f16 or bf16, each of which is a value of f32 too.
    fn read(&self, name: &str, shape: &[usize], rows: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        let missing = || Error::TensorMissing { path: self.expected_in(name), tensor: name.to_owned() };
        let place = self.tensors.get(name).ok_or_else(missing)?;
        let (file, tensor) = (&self.files[place.file], place.name.clone());
        let path = || file.path().to_owned();
        if let Some(other) = place.other.clone() {
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
}

fn todays_name(name: &str) -> String {
    let renamed = OLD_NAMES.iter().find_map(|(today, old)| Some(format!("{}{today}", name.strip_suffix(old)?)));
    renamed.unwrap_or_else(|| name.to_owned())
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
