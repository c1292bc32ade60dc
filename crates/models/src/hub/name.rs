//! What a model is called on the hub.

use crate::error::{Error, Result};
use std::fmt;

/// A model's name on the hub, `organisation/name`, perhaps with `@revision`: a branch, a tag or a commit.
///
/// Its parts are such that no path or address that is made of them leads anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    organisation: String,
    name: String,
    revision: Option<String>,
}

impl Name {
    /// Reads `organisation/name` or `organisation/name@revision`.
    ///
    /// # Errors
    /// [`Error::HubName`] if it is anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &'static str| Error::HubName { given: text.to_owned(), reason };
        let (id, revision) = text.split_once('@').map_or((text, None), |(id, revision)| (id, Some(revision)));
        let (organisation, name) = id.split_once('/').ok_or_else(|| refuse("it has no `/`"))?;
        for part in [organisation, name] {
            if part.contains('/') {
                return Err(refuse("it has more than one `/`"));
            }
            // As on the hub. Of two hyphens on end a cache's folder makes the border between the two.
            if !is_part(part) || part.contains("--") || part.contains("..") || part.len() > 96 {
                return Err(refuse(
                    "each part has 1 to 96 letters, digits, `-`, `_` and `.`, neither `--` nor `..`, and begins and \
                     ends with a letter or a digit",
                ));
            }
        }
        let is_wrong = |revision: &str| revision.len() > 250 || !revision.split('/').all(is_part);
        if revision.is_some_and(is_wrong) {
            return Err(refuse("a revision has letters, digits, `-`, `_`, `.` and `+`, in parts between single `/`"));
        }
        Ok(Self { organisation: organisation.to_owned(), name: name.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// `organisation/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// The revision, if one is said.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The folder that a cache has for it.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { organisation, name, revision } = self;
        write!(f, "{organisation}/{name}")?;
        revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

/// Whether this can be one part of a path, and is no more than that: letters and digits, and between them signs that
/// mean nothing to a file system or in an address.
pub(crate) fn is_part(part: &str) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = part.as_bytes();
    is_letter(bytes.first())
        && is_letter(bytes.last())
        && bytes.len() <= 255
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["a/b", "sentence-transformers/all-MiniLM-L6-v2", "a/b@main", "a/b_1.5@refs/pr/12", "a/b@v1.0+x"] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        let name = Name::parse("BAAI/bge-m3@main").unwrap();
        assert_eq!((name.id().as_str(), name.revision()), ("BAAI/bge-m3", Some("main")));
        assert_eq!(name.folder(), "models--BAAI--bge-m3");
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        let wrong = [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "a//b",
            "../b",
            "a/..",
            "./b",
            "a/.",
            "a/.b",
            "-a/b",
            "a/b-",
            "a--x/b",
            "a/b..c",
            "a/b c",
            "a/b\n",
            "a/b\0",
            "a\\b/c",
            "a/b?x",
            "a/b#x",
            "a/b%2e",
            "ä/b",
            "https://x/y",
            "a/b@",
            "a/b@..",
            "a/b@/x",
            "a/b@x/",
            "a/b@x//y",
            "a/b@x/../y",
            "a/b@x y",
            "a/b@x@y",
            "a/b@.x",
            "a/b@x?y",
            "~/b",
        ];
        for text in wrong {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains("organisation/name"), "{error}");
        }
        assert!(Name::parse(&format!("a/{}", "b".repeat(96))).is_ok());
        assert!(Name::parse(&format!("a/{}", "b".repeat(97))).is_err());
    }
}
