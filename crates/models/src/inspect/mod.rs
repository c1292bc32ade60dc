//! What a model is, without its weights and without a device: for people, and for who only wants tokens.

mod tokens;

pub use self::tokens::TextTokenizer;

use crate::error::{Error, Result};
use crate::hub;
use crate::json::{Read, recorded};
use crate::layout::{Kind, Layout, Module};
use crate::model::Texts;
use crate::task::{CROSS_ENCODER, Defaults, Head, PoolingConfig, SENTENCE_TRANSFORMER, SPARSE_ENCODER};
use crate::weights::Stored;
use std::fmt;
use std::path::{Path, PathBuf};
use thalweg_tensor::DType;

/// What a model's directory is: read of its settings and of the headers of its weights.
///
/// ```no_run
/// let info = thalweg_models::ModelInfo::read("models/all-MiniLM-L6-v2")?;
/// println!("{:?}, at most {:?} tokens", info.family, info.max_tokens);
/// # Ok::<(), thalweg_models::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The directory, which is not the path that was given if that was a name in the hub's cache.
    pub directory: PathBuf,
    /// What loads it, if that can be told.
    pub task: Option<ModelTask>,
    /// Its encoder's family: `model_type`.
    pub family: Option<String>,
    /// Its modules by their kind, with their folders.
    pub modules: Vec<(String, PathBuf)>,
    /// The length of a token's vector.
    pub width: Option<usize>,
    /// How many layers the encoder has, if one of the settings says so.
    pub layers: Option<usize>,
    /// The number of token ids.
    pub vocabulary: Option<usize>,
    /// The number of token types, if the encoder looks at them.
    pub types: Option<usize>,
    /// The most tokens that the encoder can take.
    pub positions: Option<usize>,
    /// The most tokens of a text, special ones included; longer texts are cut.
    pub max_tokens: Option<usize>,
    /// The class of the tokenizer, as it is read here.
    pub tokenizer: Option<String>,
    /// How vectors of tokens become one; several lie side by side.
    pub pooling: Vec<&'static str>,
    /// Prompts by their names.
    pub prompts: Vec<(String, String)>,
    /// What goes before texts where nothing else is said.
    pub default_prompt: Option<String>,
    /// How many elements of an embedding are kept, if not all.
    pub dimensions: Option<usize>,
    /// The labels of a model that scores texts.
    pub labels: Vec<String>,
    /// What the tensors of the encoder's weights are stored in.
    pub weights: Vec<WeightsInfo>,
    /// Every setting that was read, with the file that it came from.
    pub settings: Vec<SettingInfo>,
    /// What keeps the model from being loaded. What comes after it was not read.
    pub problem: Option<Error>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelTask {
    /// An [`EmbeddingModel`](crate::EmbeddingModel) loads it.
    Embedding,
    /// A [`Reranker`](crate::Reranker) or a [`Classifier`](crate::Classifier) loads it.
    Scores,
    /// A [`SparseEncoder`](crate::SparseEncoder) loads it.
    Sparse,
}

impl fmt::Display for ModelTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedding => "embedding",
            Self::Scores => "scores of texts or pairs",
            Self::Sparse => "sparse embedding",
        })
    }
}

/// Tensors of one type.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WeightsInfo {
    /// The type, as safetensors names it: "F32".
    pub dtype: String,
    /// How many tensors.
    pub tensors: usize,
    /// How many elements they have together.
    pub elements: u64,
}

/// A setting that was read.
#[derive(Clone)]
#[non_exhaustive]
pub struct SettingInfo {
    /// Where it is.
    pub file: PathBuf,
    /// Its name; of a file that holds an array, the index.
    pub key: String,
    /// Its value: JSON, and of numbers what Python adds to it.
    pub value: String,
}

impl fmt::Debug for ModelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, settings, problem, .. } = self;
        let problem = if problem.is_some() { ", with a problem" } else { "" };
        write!(f, "ModelInfo({task:?}, {} settings{problem})", settings.len())
    }
}

impl fmt::Debug for SettingInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingInfo({:.80}: {:.80})", self.key, self.value)
    }
}

impl ModelInfo {
    /// Reads what a load reads but for the weights themselves. What is wrong with the model is the
    /// [problem](Self::problem) of what is given.
    ///
    /// # Errors
    /// If there is no directory.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let directory = hub::resolve(path.as_ref())?;
        let mut info = Self {
            directory: directory.clone(),
            task: None,
            family: None,
            modules: Vec::new(),
            width: None,
            layers: None,
            vocabulary: None,
            types: None,
            positions: None,
            max_tokens: None,
            tokenizer: None,
            pooling: Vec::new(),
            prompts: Vec::new(),
            default_prompt: None,
            dimensions: None,
            labels: Vec::new(),
            weights: Vec::new(),
            settings: Vec::new(),
            problem: None,
        };
        let (outcome, settings) = recorded(|| info.fill());
        let setting = |Read { path, key, value }| SettingInfo { file: path, key, value: value.to_string() };
        info.settings = settings.into_iter().map(setting).collect();
        let is_number_of_layers =
            |setting: &&SettingInfo| ["num_hidden_layers", "n_layers", "n_layer"].contains(&setting.key.as_str());
        let layers = info.settings.iter().find(is_number_of_layers);
        info.layers = layers.and_then(|setting| setting.value.parse().ok());
        info.problem = outcome.err().map(Error::with_what_is_missing);
        Ok(info)
    }

    /// Reads file after file, until something is wrong.
    fn fill(&mut self) -> Result<()> {
        let layout = Layout::read(&self.directory)?;
        let kind = |module: &Module| (format!("{:?}", module.kind), module.folder.clone());
        self.modules = layout.modules.iter().map(kind).collect();
        let transformer = layout.transformer()?;
        let head = Head::read(&transformer.folder)?;
        let task = task(&layout, &head)?;
        self.task = Some(task);
        let family = match task {
            ModelTask::Embedding => SENTENCE_TRANSFORMER,
            ModelTask::Scores => CROSS_ENCODER,
            ModelTask::Sparse => SPARSE_ENCODER,
        };
        let defaults = Defaults::read(&layout, family)?;
        self.prompts = defaults.prompts.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let prompt = defaults.prompts.default.text();
        self.default_prompt = (!prompt.is_empty()).then(|| prompt.to_owned());
        self.dimensions = defaults.dimensions;
        let Texts { config, class, max_tokens, .. } = Texts::read(&layout)?;
        self.family = Some(config.family().to_owned());
        self.width = Some(config.limits.width);
        self.vocabulary = Some(config.limits.vocabulary);
        self.types = config.limits.types;
        self.positions = Some(config.limits.lengths.most);
        self.max_tokens = Some(max_tokens);
        self.tokenizer = Some(format!("{class:?}"));
        if task == ModelTask::Scores {
            self.labels = head.label_names(head.labels()?)?;
        }
        if task == ModelTask::Embedding {
            let pooling = match layout.modules.iter().find(|module| module.kind == Kind::Pooling) {
                Some(module) => PoolingConfig::read(&module.folder, config.limits.width)?,
                None => PoolingConfig::of_checkpoint(&transformer.folder)?,
            };
            self.pooling = pooling.names();
        }
        let weights = config.open_weights(&transformer.folder, DType::F32)?;
        let stored = |Stored { dtype, tensors, elements }| WeightsInfo { dtype, tensors, elements };
        self.weights = weights.stored().into_iter().map(stored).collect();
        Ok(())
    }
}

/// What loads a model: what sentence-transformers calls it, its modules, or the class that it was saved as.
fn task(layout: &Layout, head: &Head) -> Result<ModelTask> {
    if layout.is_bare {
        let scores = head.was_saved_as("ForSequenceClassification")?;
        return Ok(if scores { ModelTask::Scores } else { ModelTask::Embedding });
    }
    let is_sparse = layout.modules.iter().any(|module| module.kind == Kind::SpladePooling);
    Ok(match Defaults::family(layout)?.as_deref() {
        Some(CROSS_ENCODER) => ModelTask::Scores,
        Some(SPARSE_ENCODER) => ModelTask::Sparse,
        None if is_sparse => ModelTask::Sparse,
        _ => ModelTask::Embedding,
    })
}
