//! What every line of results begins with: its number, its tokens, and what is carried through from the input.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::args::Format;
use crate::error::Error;

/// How the result of text number `index` begins.
pub fn beginning(index: u64) -> String {
    format!("{{\"index\":{index},\"tokens\":")
}

/// Everything of a line before its result: number, tokens, and the members `kept` under the names `keep`, which are
/// JSON strings.
pub fn head(index: u64, tokens: usize, keep: &[String], kept: &[Option<Box<RawValue>>]) -> String {
    let mut head = format!("{}{tokens}", beginning(index));
    for (name, value) in keep.iter().zip(kept) {
        if let Some(value) = value {
            head.push(',');
            head.push_str(name);
            head.push(':');
            head.push_str(value.get());
        }
    }
    head
}

/// Members of each JSON line that are carried through to its result.
pub struct Kept {
    names: Arc<[String]>,
    /// As JSON strings.
    written: Vec<String>,
    /// For each, whether some line had it.
    seen: Vec<bool>,
    /// Whether there was a line.
    any: bool,
}

impl Kept {
    /// Those that `--keep` names; beside what all have, results have members of `own` names.
    ///
    /// # Errors
    ///
    /// `Usage` where they cannot be carried through.
    pub fn of(names: &[String], format: Format, own: &[&str]) -> Result<Self, Error> {
        let refuse = |what: String| Err(Error::Usage(format!("--keep {}: {what}", names.join(","))));
        if !names.is_empty() && format == Format::Text {
            return refuse("text has no members; it needs JSON lines".to_owned());
        }
        for (index, name) in names.iter().enumerate() {
            match name.as_str() {
                "" => return refuse("a name is empty".to_owned()),
                name if ["index", "tokens"].contains(&name) || own.contains(&name) => {
                    return refuse(format!("each result has its own member {name:?}"));
                }
                _ if names[..index].contains(name) => return refuse(format!("{name:?} is there twice")),
                _ => {}
            }
        }
        let written = names.iter().map(|name| serde_json::Value::from(name.as_str()).to_string()).collect();
        Ok(Self { names: names.into(), written, seen: vec![false; names.len()], any: false })
    }

    /// The names, for [`Input::open`](crate::input::Input::open).
    pub fn names(&self) -> Arc<[String]> {
        Arc::clone(&self.names)
    }

    /// The names as a line has them.
    pub fn written(&self) -> &[String] {
        &self.written
    }

    /// Notes what a line had.
    pub fn see(&mut self, kept: &[Option<Box<RawValue>>]) {
        self.any = true;
        self.seen.iter_mut().zip(kept).for_each(|(seen, value)| *seen |= value.is_some());
    }

    /// Tells people of members that no line had.
    pub fn say_what_is_missing(&self) {
        for (name, _) in self.names.iter().zip(&self.seen).filter(|(_, seen)| self.any && !**seen) {
            crate::say(&format!("note: no line has the member {name:?} of --keep"));
        }
    }
}

/// How many texts were longer than a model takes.
#[derive(Default)]
pub struct Cut {
    texts: u64,
    cut: u64,
}

impl Cut {
    /// Counts a text.
    pub fn see(&mut self, is_cut: bool) {
        self.texts += 1;
        self.cut += u64::from(is_cut);
    }

    /// Tells people, if there were any.
    pub fn say(&self, most: usize) {
        let Self { texts, cut } = self;
        if *cut > 0 {
            crate::say(&format!("note: {cut} of {texts} texts were longer than {most} tokens and were cut"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_behind_the_tokens() {
        let raw = |text: &str| Some(RawValue::from_string(text.to_owned()).unwrap());
        let kept = [raw("1.50"), None, raw("{\"a\" :1}")];
        let keep = ["\"id\"", "\"x\"", "\"o\\\"\""].map(str::to_owned);
        let expected = r#"{"index":7,"tokens":3,"id":1.50,"o\"":{"a" :1}"#;
        assert_eq!(head(7, 3, &keep, &kept), expected);
        assert_eq!(head(0, 3, &[], &[]), r#"{"index":0,"tokens":3"#);
    }
}
