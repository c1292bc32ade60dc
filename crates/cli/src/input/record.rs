//! One JSON line: its text, and the members that are carried through to its result.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// What is read of a JSON line, beside its text and what is carried through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The member with a second text, which a line may have.
    pub second: Option<&'static str>,
    /// Whether each line has to have it.
    pub needs_second: bool,
    /// Whether a line may have "documents", several texts, in place of its "text".
    pub documents: bool,
}

/// A text of the input, with what is carried through beside it.
#[derive(Debug, Default)]
pub struct Record {
    /// What the command is about; empty where there are documents.
    pub text: String,
    /// The second text.
    pub second: Option<String>,
    /// Several texts, in place of one.
    pub documents: Option<Vec<String>>,
    /// A value for each name of `--keep`, as it is written in the input; `None` where the line has no such member.
    pub kept: Vec<Option<Box<RawValue>>>,
    /// The line of the input, counted from 1.
    pub line: u64,
}

impl Record {
    /// A line that is a text.
    pub fn of_text(text: String, line: u64) -> Self {
        Self { text, line, ..Self::default() }
    }

    /// What its JSON object has, for people.
    pub fn has(&self) -> &'static str {
        if self.documents.is_some() { "\"documents\"" } else { "a \"text\"" }
    }

    /// Bytes of memory that it takes.
    pub fn weight(&self) -> usize {
        let documents = self.documents.iter().flatten().map(|text| size_of::<String>() + text.len());
        self.text.len()
            + self.second.as_ref().map_or(0, String::len)
            + documents.sum::<usize>()
            + self.kept.iter().flatten().map(|value| value.get().len()).sum::<usize>()
    }
}

/// Texts and kept values of the JSON object in `line`, number `number` of the input, or what is wrong with it. Where a
/// member is there several times, the last counts.
pub fn parse(line: &str, number: u64, reads: Reads, keep: &[String]) -> Result<Record, String> {
    let mut parser = serde_json::Deserializer::from_str(line);
    if !line.trim_ascii_start().starts_with('{') {
        let value = serde_json::from_str(line).map_err(|error| not_json(&error))?;
        return Err(format!("{} where a JSON object with a string \"text\" is expected", kind_of(&value)));
    }
    let members = Members { reads, keep }.deserialize(&mut parser).and_then(|found| parser.end().map(|()| found));
    let Found { text, second, documents, kept } = members.map_err(|error| not_json(&error))?;
    let second = match (second, reads.second) {
        (Some(value), Some(name)) => Some(string(name, value)?),
        (None, Some(name)) if reads.needs_second => {
            return Err(format!("the JSON object has no member \"{name}\""));
        }
        _ => None,
    };
    let documents = documents.map(strings).transpose()?;
    let text = match (text, &documents) {
        (Some(_), Some(_)) => return Err("the JSON object has both \"text\" and \"documents\"".to_owned()),
        (Some(text), None) => string("text", text)?,
        (None, Some(_)) => String::new(),
        (None, None) if reads.documents => {
            return Err("the JSON object has neither a member \"text\" nor \"documents\"".to_owned());
        }
        (None, None) => return Err("the JSON object has no member \"text\"".to_owned()),
    };
    Ok(Record { text, second, documents, kept, line: number })
}

/// The string that the member is.
fn string(name: &str, value: &RawValue) -> Result<String, String> {
    if !value.get().starts_with('"') {
        let value = serde_json::from_str(value.get()).map_err(|error| not_json(&error))?;
        return Err(format!("\"{name}\" is {}, expected a string", kind_of(&value)));
    }
    serde_json::from_str(value.get()).map_err(|error| not_json(&error))
}

/// The strings of "documents".
fn strings(value: &RawValue) -> Result<Vec<String>, String> {
    serde_json::from_str(value.get()).map_err(|error| match error.is_data() {
        true => "\"documents\" is not an array of strings".to_owned(),
        false => not_json(&error),
    })
}

/// The error without the line, which the parser counts for itself, and has seen only one of.
fn not_json(error: &serde_json::Error) -> String {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or(&what);
    format!("not JSON: {what} at column {}", error.column())
}

/// The raw members that are read, and those of `keep`.
struct Members<'k> {
    reads: Reads,
    keep: &'k [String],
}

#[derive(Default)]
struct Found<'de> {
    text: Option<&'de RawValue>,
    second: Option<&'de RawValue>,
    documents: Option<&'de RawValue>,
    kept: Vec<Option<Box<RawValue>>>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found { kept: vec![None; self.keep.len()], ..Found::default() };
        while let Some(name) = map.next_key::<String>()? {
            let place = self.keep.iter().position(|keep| *keep == name);
            let member = match name.as_str() {
                "text" => Some(&mut found.text),
                "documents" if self.reads.documents => Some(&mut found.documents),
                name if self.reads.second == Some(name) => Some(&mut found.second),
                _ => None,
            };
            if member.is_none() && place.is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            if let Some(member) = member {
                *member = Some(value);
            }
            if let Some(place) = place {
                found.kept[place] = Some(value.to_owned());
            }
        }
        Ok(found)
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_members_are_as_they_are_written_and_the_last_of_a_name_counts() {
        let line =
            r#" {"id": 12345678901234567890.10e-0 ,"text":"\u0061","o":{"a": [1,  "x"]},"id2":1,"o":{ "b" :null } } "#;
        let keep = ["o", "none", "id", "text"].map(str::to_owned);
        let record = parse(line, 3, Reads::default(), &keep).unwrap();
        let kept: Vec<_> = record.kept.iter().map(|value| value.as_ref().map(|value| value.get())).collect();
        assert_eq!(kept, [Some("{ \"b\" :null }"), None, Some("12345678901234567890.10e-0"), Some("\"\\u0061\"")]);
        assert_eq!((record.text.as_str(), record.line), ("a", 3));
        assert_eq!(record.weight(), 1 + 13 + 26 + 8);
    }

    #[test]
    fn depth_is_no_limit_to_what_is_ignored_or_kept() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let line = format!("{{\"deep\":{deep},\"text\":\"a\"}}");
        assert!(parse(&line, 1, Reads::default(), &[]).unwrap().kept.is_empty());
        assert_eq!(
            parse(&line, 1, Reads::default(), &["deep".to_owned()]).unwrap().kept[0].as_ref().unwrap().get(),
            deep
        );
    }

    #[test]
    fn what_is_read_beside_the_text() {
        let reads = Reads { second: Some("query"), needs_second: false, documents: true };
        let read = |line: &str, reads| parse(line, 1, reads, &[]);
        let record = read(r#"{"query":"q","text":"t"}"#, reads).unwrap();
        assert_eq!((record.text.as_str(), record.second.as_deref(), record.documents), ("t", Some("q"), None));
        let record = read(r#"{"documents":["a","\u0062"]}"#, reads).unwrap();
        assert_eq!((record.text.as_str(), record.second.as_deref()), ("", None));
        assert_eq!(record.documents.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        // Not read, not looked at.
        let record = read(r#"{"query":7,"documents":7,"text":"t"}"#, Reads::default()).unwrap();
        assert_eq!((record.second, record.documents), (None, None));
        for (line, says) in [
            (r#"{"query":7,"text":"t"}"#, "\"query\" is a number, expected a string"),
            (r#"{"query":"q"}"#, "neither a member \"text\" nor \"documents\""),
            (r#"{"text":"t","documents":[]}"#, "both \"text\" and \"documents\""),
            (r#"{"documents":["a",7]}"#, "\"documents\" is not an array of strings"),
            (r#"{"documents":"a"}"#, "\"documents\" is not an array of strings"),
        ] {
            assert!(read(line, reads).unwrap_err().contains(says), "{line}");
        }
        let needs = Reads { needs_second: true, ..reads };
        assert_eq!(read(r#"{"text":"t"}"#, needs).unwrap_err(), "the JSON object has no member \"query\"");
    }
}
