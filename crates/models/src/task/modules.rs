//! What becomes of a text's vector after the pooling: the modules that follow it, each with a folder of its own.
//!
//! They compute in f32, whatever the encoder does: there is one vector for each text.

use super::class::class_of;
use crate::arch::{Dense, Norm, NormKind, Normal};
use crate::error::Result;
use crate::json::{JsonFile, Keys, Others, Setting};
use crate::layout::{Kind, Module};
use crate::weights::Weights;
use std::path::Path;
use thalweg_runtime::Pool;
use thalweg_tensor::{Activation, DType, Result as TensorResult, Tensor};

/// A module, ready to be applied to vectors.
pub(crate) enum Step {
    /// `activation(x * weight^T + bias)`, and perhaps `x` again.
    Dense { layer: Dense, activation: Activation, residual: Residual },
    /// To unit length.
    Normalize,
    /// To a mean of 0 and a standard deviation of 1, with a weight and a bias.
    LayerNorm(Norm),
}

/// What is added to what a dense layer gives.
pub(crate) enum Residual {
    None,
    /// What it was given.
    Input,
    /// A linear function of that, where the widths differ.
    Layer(Dense),
}

impl Step {
    /// Reads the modules after the pooling, which gives vectors of `width` elements; also gives the width in the end.
    /// `None` if there are others.
    pub(crate) fn read_all(modules: &[Module], mut width: usize, pool: &Pool) -> Result<Option<(Vec<Self>, usize)>> {
        let mut steps = Vec::new();
        for Module { kind, folder, .. } in modules {
            match kind {
                Kind::Dense => {
                    let (step, outputs) = dense(folder, width, pool)?;
                    width = outputs;
                    steps.push(step);
                }
                Kind::Normalize => {
                    check_normalize(folder)?;
                    steps.push(Self::Normalize);
                }
                Kind::LayerNorm => steps.push(layer_norm(folder, width, pool)?),
                // It is for training.
                Kind::Dropout => {}
                _ => return Ok(None),
            }
        }
        Ok(Some((steps, width)))
    }

    /// Records the step: `[n, width before]` to `[n, width after]`, f32.
    pub(crate) fn apply(&self, input: &Tensor) -> TensorResult<Tensor> {
        match self {
            Self::Dense { layer, activation, residual } => {
                let output = layer.apply(input, *activation)?;
                match residual {
                    Residual::None => Ok(output),
                    Residual::Input => output.add(input),
                    Residual::Layer(layer) => output.add(&layer.apply(input, Activation::None)?),
                }
            }
            Self::Normalize => input.normalize(),
            Self::LayerNorm(norm) => norm.apply(input),
        }
    }
}

/// The keys of the Dense module's `config.json`.
static DENSE_KEYS: Keys = Keys {
    read: &[
        "in_features",
        "out_features",
        "bias",
        "activation_function",
        "use_residual",
        "module_input_name",
        "module_output_name",
    ],
    read_ending: None,
    harmless: &[],
    // Sentence-transformers takes these and leaves all others.
    others: Others::Harmless,
};

/// A dense layer after vectors of `width` elements, and the width of its own.
fn dense(folder: &Path, width: usize, pool: &Pool) -> Result<(Step, usize)> {
    let file = JsonFile::read(folder.join("config.json"), &DENSE_KEYS)?;
    check_names(&file)?;
    let inputs = file.get("in_features");
    if inputs.required_size()? != width {
        return Err(inputs.wrong(format!("{width}, the width of the vectors that the module before gives")));
    }
    let outputs = file.get("out_features").required_size()?;
    let bias = file.get("bias").flag()?.unwrap_or(true);
    let activation = activation(file.get("activation_function"))?;
    let weights = Weights::open(folder, DType::F32, &[])?;
    let weights = weights.scope(pool);
    let layer = weights.dense("linear", outputs, width, bias)?;
    let residual = match file.get("use_residual").flag()?.unwrap_or(false) {
        false => Residual::None,
        true if outputs == width => Residual::Input,
        true => Residual::Layer(weights.dense("residual", outputs, width, false)?),
    };
    Ok((Step::Dense { layer, activation, residual }, outputs))
}

/// `activation_function`: the path of a class of PyTorch, which is made without arguments.
fn activation(setting: Setting<'_>) -> Result<Activation> {
    const EXPECTED: &str = "one of torch.nn's Identity, Tanh, Sigmoid, ReLU, GELU and SiLU, such as \
                            \"torch.nn.modules.activation.Tanh\"";
    if !setting.is_there() {
        return Ok(Activation::Tanh);
    }
    match class_of(setting)? {
        Some("Identity") => Ok(Activation::None),
        Some("Tanh") => Ok(Activation::Tanh),
        Some("Sigmoid") => Ok(Activation::Sigmoid),
        Some("ReLU") => Ok(Activation::Relu),
        Some("GELU") => Ok(Activation::Gelu),
        Some("SiLU") => Ok(Activation::Silu),
        _ => Err(setting.wrong(EXPECTED)),
    }
}

/// The keys of the Normalize module's `config.json`.
static NORMALIZE_KEYS: Keys = Keys {
    read: &["module_input_name", "module_output_name"],
    read_ending: None,
    harmless: &[],
    // Sentence-transformers takes these two and leaves all others.
    others: Others::Harmless,
};

/// Reads the Normalize module's `config.json`, if there is one.
fn check_normalize(folder: &Path) -> Result<()> {
    JsonFile::read_if_there(folder.join("config.json"), &NORMALIZE_KEYS)?.map_or(Ok(()), |file| check_names(&file))
}

/// A module changes the text's vector, and nothing else.
fn check_names(file: &JsonFile) -> Result<()> {
    NORMALIZE_KEYS
        .read
        .iter()
        .try_for_each(|key| file.get(key).only(&["sentence_embedding".into()], "\"sentence_embedding\""))
}

/// The keys of the LayerNorm module's `config.json`.
static LAYER_NORM_KEYS: Keys = Keys { read: &["dimension"], read_ending: None, harmless: &[], others: Others::Refused };

fn layer_norm(folder: &Path, width: usize, pool: &Pool) -> Result<Step> {
    let file = JsonFile::read(folder.join("config.json"), &LAYER_NORM_KEYS)?;
    let dimension = file.get("dimension");
    if dimension.required_size()? != width {
        return Err(dimension.wrong(format!("{width}, the width of the vectors that the module before gives")));
    }
    let weights = Weights::open(folder, DType::F32, &[])?;
    let normal = Normal { kind: NormKind::Layer { bias: true }, epsilon: 1e-5 };
    Ok(Step::LayerNorm(weights.scope(pool).norm("norm", width, normal)?))
}
