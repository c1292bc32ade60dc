//! The list of a model's files that the hub gives, and which of them a model is loaded from.

use super::super::name::is_part;
use serde::Deserialize;

/// A revision's files.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    files: Vec<Remote>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    /// Within the model's directory; each part is a plain name.
    pub(super) path: String,
    /// Its bytes, if the hub says so.
    pub(super) size: Option<u64>,
    /// What its content is called, if the hub says so: a checksum.
    pub(super) etag: Option<String>,
}

/// What is read of the hub's answer.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

/// What a repository has elsewhere.
#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads the hub's answer; what is wrong with it otherwise. Files whose names are not plain are none of a model's,
    /// and left out.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let answer: Answer =
            serde_json::from_slice(bytes).map_err(|error| format!("its list of files makes no sense: {error}"))?;
        if !is_part(&answer.sha) {
            return Err(format!("its list of files is of {:?}, which is no commit", answer.sha));
        }
        let files = answer.siblings.into_iter().filter(|file| file.rfilename.split('/').all(is_part));
        let files = files.map(|Sibling { rfilename, size, blob, lfs }| {
            let (etag, elsewhere) = lfs.map_or((blob, None), |lfs| (lfs.sha256, lfs.size));
            Remote { path: rfilename, size: elsewhere.or(size), etag: etag.filter(|etag| is_part(etag)) }
        });
        Ok(Self { commit: answer.sha, files: files.collect() })
    }

    /// The file at `path`.
    pub(super) fn get(&self, path: &str) -> Option<&Remote> {
        self.files.iter().find(|file| file.path == path)
    }

    /// What a model with modules in these folders is loaded from, weights last: settings, vocabularies and weights as
    /// safetensors. Other weights are left out, above all pickles, which run code when they are read.
    ///
    /// Refuses a model that would be without weights.
    pub(super) fn wanted(&self, folders: &[String]) -> Result<Vec<&Remote>, String> {
        let (mut wanted, mut weights) = (Vec::new(), Vec::new());
        for folder in folders {
            let files: Vec<(&str, &Remote)> =
                self.files.iter().filter_map(|file| Some((name_in(folder, &file.path)?, file))).collect();
            let has = |test: &dyn Fn(&str) -> bool| files.iter().any(|(name, _)| test(name));
            let is_whole = |name: &str| name == "model.safetensors";
            let is_shard =
                |name: &str| name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors");
            let is_weights: &dyn Fn(&str) -> bool = if has(&is_whole) { &is_whole } else { &is_shard };
            if !has(is_weights) && has(&|name| name.starts_with("pytorch_model") && name.ends_with(".bin")) {
                let place = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                return Err(format!(
                    "it has weights as PyTorch pickles them alone ({place}pytorch_model.bin), which would run code when \
                     read and are not fetched; take a model or a revision with model.safetensors (`refs/pr/N` may be one)"
                ));
            }
            for (name, file) in files {
                if is_weights(name) {
                    weights.push(file);
                } else if name.ends_with(".json") || name.ends_with(".txt") {
                    wanted.push(file);
                }
            }
        }
        if weights.is_empty() {
            return Err("it has no model.safetensors, so that there is nothing to load".to_owned());
        }
        wanted.append(&mut weights);
        Ok(wanted)
    }
}

/// The name of a file that lies in `folder` itself.
fn name_in<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let name = if folder.is_empty() { path } else { path.strip_prefix(folder)?.strip_prefix('/')? };
    (!name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[&str]) -> Listing {
        let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({ "rfilename": file })).collect();
        Listing::parse(serde_json::json!({ "sha": "c0ffee", "siblings": siblings }).to_string().as_bytes()).unwrap()
    }

    fn wanted(files: &[&str], folders: &[&str]) -> Result<Vec<String>, String> {
        let folders: Vec<_> = folders.iter().map(|folder| (*folder).to_owned()).collect();
        Ok(listing(files).wanted(&folders)?.iter().map(|file| file.path.clone()).collect())
    }

    #[test]
    fn a_model_is_loaded_from_settings_vocabularies_and_weights() {
        let files = [
            ".gitattributes",
            "README.md",
            "model.safetensors",
            "config.json",
            "vocab.txt",
            "pytorch_model.bin",
            "tf_model.h5",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "onnx/model.onnx",
            "onnx/config.json",
            "model-fp16.safetensors",
            "train_script.py",
            "../config.json",
            "/x.json",
            "1_Pooling/../../x.json",
            "a//b.json",
            "1_Pooling/x/y.json",
            "1_Pooling_x/y.json",
            "model-00001-of-00002.safetensors",
        ];
        let expected = [
            "config.json",
            "vocab.txt",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "model.safetensors",
            "2_Dense/model.safetensors",
        ];
        assert_eq!(wanted(&files, &["", "1_Pooling", "2_Dense"]).unwrap(), expected);
        let shards =
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"];
        let expected = [shards[2], shards[0], shards[1]];
        assert_eq!(wanted(&shards, &[""]).unwrap(), expected);
    }

    #[test]
    fn pickles_are_refused() {
        let error = wanted(&["config.json", "pytorch_model.bin"], &[""]).unwrap_err();
        assert!(error.contains("(pytorch_model.bin)") && error.contains("run code"), "{error}");
        let files = ["model.safetensors", "2_Dense/config.json", "2_Dense/pytorch_model.bin"];
        assert!(wanted(&files, &["", "2_Dense"]).unwrap_err().contains("2_Dense/pytorch_model.bin"));
        assert!(wanted(&["config.json"], &[""]).unwrap_err().contains("no model.safetensors"));
    }

    #[test]
    fn an_answer_says_sizes_and_checksums() {
        let text = r#"{"sha": "ab12", "gated": false, "siblings": [
            {"rfilename": "config.json", "size": 612, "blobId": "aa"},
            {"rfilename": "model.safetensors", "size": 9, "blobId": "bb", "lfs": {"sha256": "cc", "size": 90, "pointerSize": 1}},
            {"rfilename": "vocab.txt", "blobId": "../../x"}, {"rfilename": "x.txt"}]}"#;
        let listing = Listing::parse(text.as_bytes()).unwrap();
        let known = |path: &str| listing.get(path).map(|file| (file.size, file.etag.as_deref())).unwrap();
        assert_eq!(known("config.json"), (Some(612), Some("aa")));
        assert_eq!(known("model.safetensors"), (Some(90), Some("cc")));
        assert_eq!((known("vocab.txt"), known("x.txt")), ((None, None), (None, None)));
        for (text, says) in
            [("<html>", "makes no sense"), ("{}", "makes no sense"), (r#"{"sha":"../x","siblings":[]}"#, "no commit")]
        {
            assert!(Listing::parse(text.as_bytes()).unwrap_err().contains(says));
        }
    }
}
