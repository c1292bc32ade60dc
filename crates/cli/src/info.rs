//! `thalweg info`: what a model's directory is.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use thalweg::{ModelInfo, SettingInfo, WeightsInfo};

use crate::args::InfoArgs;
use crate::error::Error;
use crate::model;
use crate::streams::Sink;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    directory: String,
    task: Option<String>,
    family: Option<String>,
    modules: Vec<Module>,
    width: Option<usize>,
    layers: Option<usize>,
    vocabulary: Option<usize>,
    token_types: Option<usize>,
    positions: Option<usize>,
    max_tokens: Option<usize>,
    tokenizer: Option<String>,
    pooling: Vec<&'static str>,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
    dimensions: Option<usize>,
    labels: Vec<String>,
    weights: Vec<Weights>,
    settings: Vec<Setting>,
    /// What keeps the model from being loaded.
    problem: Option<String>,
}

#[derive(Serialize)]
struct Module {
    kind: String,
    folder: String,
}

#[derive(Serialize)]
struct Weights {
    dtype: String,
    tensors: usize,
    elements: u64,
}

#[derive(Serialize)]
struct Setting {
    file: String,
    key: String,
    value: Value,
}

/// Runs the command.
///
/// # Errors
///
/// If there is no such model, or something keeps it from being loaded, after what was read; when standard output cannot
/// be written.
pub fn run(args: &InfoArgs) -> Result<(), Error> {
    let mut output = Sink::standard_output()?;
    let info = ModelInfo::read(&args.model).map_err(|error| model::failed(&args.model, error))?;
    let problem = info.problem.clone();
    let report = Report::of(info);
    if args.json {
        output.line(&crate::to_json(&report))?;
    } else {
        report.describe().iter().try_for_each(|line| output.line(line.as_bytes()))?;
    }
    output.flush()?;
    problem.map_or(Ok(()), |problem| Err(model::failed(&args.model, problem)))
}

impl Report {
    fn of(info: ModelInfo) -> Self {
        let directory = info.directory.clone();
        let inside = |path: &Path| path.strip_prefix(&directory).unwrap_or(path).display().to_string();
        let setting = |SettingInfo { file, key, value, .. }| Setting {
            file: inside(&file),
            key,
            // What Python adds to JSON is a string here.
            value: serde_json::from_str(&value).unwrap_or(Value::String(value)),
        };
        let weights = |WeightsInfo { dtype, tensors, elements, .. }| Weights { dtype, tensors, elements };
        Self {
            directory: directory.display().to_string(),
            task: info.task.map(|task| task.to_string()),
            family: info.family,
            modules: info.modules.into_iter().map(|(kind, path)| Module { kind, folder: inside(&path) }).collect(),
            width: info.width,
            layers: info.layers,
            vocabulary: info.vocabulary,
            token_types: info.types,
            positions: info.positions,
            max_tokens: info.max_tokens,
            tokenizer: info.tokenizer,
            pooling: info.pooling,
            prompts: info.prompts.into_iter().collect(),
            default_prompt: info.default_prompt,
            dimensions: info.dimensions,
            labels: info.labels,
            weights: info.weights.into_iter().map(weights).collect(),
            settings: info.settings.into_iter().map(setting).collect(),
            problem: info.problem.map(|problem| problem.to_string()),
        }
    }

    /// For people: what it is, and then a line for each setting under the name of its file.
    fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut fact = |name: &str, value: Option<String>| {
            lines.extend(value.filter(|value| !value.is_empty()).map(|value| format!("{name:<16} {value}")));
        };
        let number = |number: Option<usize>| number.map(|number| number.to_string());
        fact("directory", Some(self.directory.clone()));
        fact("task", self.task.clone());
        fact("family", self.family.clone());
        let modules = self.modules.iter().map(|module| match module.folder.as_str() {
            "" => module.kind.clone(),
            folder => format!("{} ({folder})", module.kind),
        });
        fact("modules", Some(modules.collect::<Vec<_>>().join(", ")));
        fact("layers", number(self.layers));
        fact("width", number(self.width));
        fact("vocabulary", number(self.vocabulary));
        fact("token types", number(self.token_types));
        fact("positions", number(self.positions));
        fact("max tokens", number(self.max_tokens));
        fact("tokenizer", self.tokenizer.clone());
        fact("pooling", Some(self.pooling.join(", ")));
        for (name, prompt) in &self.prompts {
            fact("prompt", Some(format!("{name}: {prompt:?}")));
        }
        fact("default prompt", self.default_prompt.as_ref().map(|prompt| format!("{prompt:?}")));
        fact("dimensions", number(self.dimensions));
        fact("labels", Some(self.labels.join(", ")));
        for Weights { dtype, tensors, elements } in &self.weights {
            fact("weights", Some(format!("{dtype}: {tensors} tensors, {elements} elements")));
        }
        let mut file = "";
        for setting in &self.settings {
            if setting.file != file {
                file = &setting.file;
                lines.push(file.to_owned());
            }
            lines.push(format!("    {} = {}", setting.key, setting.value));
        }
        lines
    }
}
