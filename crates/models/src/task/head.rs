//! What `config.json` says of a checkpoint's head: what the model was made for, its labels, and what becomes of their
//! scores.

use super::class::class_of;
use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use crate::sentence::Sentence;
use std::path::Path;

/// The keys that are read.
const READ: &[&str] = &[
    "architectures",
    "is_causal",
    "num_labels",
    "id2label",
    "problem_type",
    "sentence_transformers",
    "sbert_ce_default_activation_function",
];

/// What others mean, those say who read them.
static KEYS: Keys = Keys { read: READ, read_ending: None, harmless: &[], others: Others::Harmless };

/// `sentence_transformers`: what it writes into the file.
static OWN_KEYS: Keys = Keys { read: &["activation_fn"], read_ending: None, harmless: &[], others: Others::Harmless };

/// `config.json`, and what sentence-transformers' arguments say, which wins.
#[derive(Debug)]
pub(crate) struct Head {
    file: JsonFile,
    over: Option<JsonFile>,
}

impl Head {
    /// Reads both in the transformer's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = JsonFile::read(folder.join("config.json"), &KEYS)?;
        Ok(Self { file, over: Sentence::read(folder)?.config(&KEYS)? })
    }

    fn get<'a>(&'a self, key: &'a str) -> Setting<'a> {
        let over = self.over.as_ref().map(|over| over.get(key)).filter(Setting::is_there);
        over.unwrap_or_else(|| self.file.get(key))
    }

    /// The classes that the model was saved as.
    fn architectures(&self) -> Result<Vec<&str>> {
        let list = |value| Json::as_array(value)?.iter().map(Json::as_str).collect();
        Ok(self.get("architectures").convert("a list of names", list)?.unwrap_or_default())
    }

    /// Whether the model was made to continue texts.
    pub(crate) fn continues_texts(&self) -> Result<bool> {
        let is_causal = self.get("is_causal").flag()?.unwrap_or(true);
        Ok(is_causal && self.architectures()?.first().is_some_and(|name| name.ends_with("ForCausalLM")))
    }

    /// Whether the model was saved with a head of this kind, the end of a class's name.
    pub(crate) fn was_saved_as(&self, kind: &str) -> Result<bool> {
        Ok(self.architectures()?.iter().any(|name| name.ends_with(kind)))
    }

    /// Refuses a checkpoint that was saved with no head of this kind, the end of a class's name.
    pub(crate) fn expect(&self, kind: &str, what: &str) -> Result<()> {
        let names = self.architectures()?;
        if names.is_empty() || names.iter().any(|name| name.ends_with(kind)) {
            return Ok(());
        }
        Err(self.get("architectures").wrong(format!("a class that ends with {kind}: {what}")))
    }

    /// How many labels there are.
    pub(crate) fn labels(&self) -> Result<usize> {
        let (count, names) = (self.get("num_labels"), self.get("id2label"));
        match names.convert("an object of names by their numbers", Json::as_object)? {
            None => Ok(count.size()?.unwrap_or(2)),
            Some([]) => Err(names.wrong("at least one label")),
            Some(map) if count.size()?.is_none_or(|count| count == map.len()) => Ok(map.len()),
            Some(map) => Err(count.wrong(format!("{}, the number of labels in `id2label`", map.len()))),
        }
    }

    /// The names of so many labels.
    pub(crate) fn label_names(&self, labels: usize) -> Result<Vec<String>> {
        let setting = self.get("id2label");
        let Some(map) = setting.convert("an object", Json::as_object)? else {
            return Ok((0..labels).map(|label| format!("LABEL_{label}")).collect());
        };
        let mut names = vec![None; labels];
        for (number, name) in map {
            let at = number.parse().ok().and_then(|number: usize| names.get_mut(number)).filter(|at| at.is_none());
            let at = at.ok_or_else(|| setting.wrong(format!("the numbers from 0 to {}, each once", labels - 1)))?;
            let name = match name {
                Json::String(name) => name.clone(),
                other => other.to_string(),
            };
            *at = Some(name);
        }
        Ok(names.into_iter().flatten().collect())
    }

    /// What becomes of the scores of so many labels when texts are classified, by the rules of the transformers
    /// library's pipeline.
    pub(crate) fn classification(&self, labels: usize) -> Result<Function> {
        let setting = self.get("problem_type");
        match setting.string()? {
            Some("regression") => Ok(Function::None),
            Some("multi_label_classification") => Ok(Function::Sigmoid),
            Some("single_label_classification") if labels == 1 => {
                Err(setting.wrong("\"regression\" or \"multi_label_classification\", since there is one label alone"))
            }
            None if labels == 1 => Ok(Function::Sigmoid),
            None | Some("single_label_classification") => Ok(Function::Softmax),
            Some(_) => Err(setting
                .wrong("\"regression\", \"single_label_classification\", \"multi_label_classification\" or null")),
        }
    }

    /// What becomes of the scores of so many labels in a cross-encoder: what `saved`, its own setting, says; without
    /// it, what older releases wrote into this file; without any, the logistic function of a single label.
    pub(crate) fn activation(&self, saved: Option<Setting<'_>>, labels: usize) -> Result<Function> {
        let own = self.file.object("sentence_transformers", &OWN_KEYS)?;
        let settings = saved.into_iter().chain(own.as_ref().map(|own| own.get("activation_fn")));
        let mut settings = settings.chain([self.get("sbert_ce_default_activation_function")]);
        match settings.find(|setting| setting.value().is_some()) {
            Some(setting) => Function::of(setting),
            None if labels == 1 => Ok(Function::Sigmoid),
            None => Ok(Function::None),
        }
    }
}

/// What becomes of the scores of a text's labels. On the host, in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    None,
    /// Of each alone: from 0 to 1.
    Sigmoid,
    /// Of all together: from 0 to 1, and their sum is 1.
    Softmax,
    Tanh,
    Relu,
}

impl Function {
    /// The one that a setting names: the path of a class of PyTorch.
    fn of(setting: Setting<'_>) -> Result<Self> {
        match class_of(setting)? {
            Some("Identity") => Ok(Self::None),
            Some("Sigmoid") => Ok(Self::Sigmoid),
            Some("Tanh") => Ok(Self::Tanh),
            Some("ReLU") => Ok(Self::Relu),
            _ => Err(setting.wrong(
                "one of torch.nn's Identity, Sigmoid, Tanh and ReLU, such as \"torch.nn.modules.linear.Identity\"",
            )),
        }
    }

    /// Appends what becomes of these scores.
    pub(crate) fn extend(self, values: &mut Vec<f32>, scores: &[f32]) {
        let wide = || scores.iter().map(|score| f64::from(*score));
        let sigmoid = |score: f64| 1.0 / (1.0 + (-score).exp());
        match self {
            Self::None => values.extend_from_slice(scores),
            Self::Sigmoid => values.extend(wide().map(|score| sigmoid(score) as f32)),
            Self::Tanh => values.extend(wide().map(|score| score.tanh() as f32)),
            Self::Relu => values.extend(scores.iter().map(|score| score.max(0.0))),
            Self::Softmax => {
                let greatest = wide().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = wide().map(|score| (score - greatest).exp()).sum();
                values.extend(wide().map(|score| ((score - greatest).exp() / sum) as f32));
            }
        }
    }
}
