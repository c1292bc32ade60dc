//! One JSON line: its text, and the members that are carried through to its result.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A text of the input, with what is carried through beside it.
#[derive(Debug)]
pub struct Record {
    /// What is embedded.
    pub text: String,
    /// A value for each name of `--keep`, as it is written in the input; `None` where the line has no such member.
    pub kept: Vec<Option<Box<RawValue>>>,
    /// The line of the input, counted from 1.
    pub line: u64,
}

impl Record {
    /// Bytes of memory that it takes.
    pub fn weight(&self) -> usize {
        self.text.len() + self.kept.iter().flatten().map(|value| value.get().len()).sum::<usize>()
    }
}

/// Text and kept values of the JSON object in `line`, number `number` of the input, or what is wrong with it. Where a
/// member is there several times, the last counts.
pub fn parse(line: &str, number: u64, keep: &[String]) -> Result<Record, String> {
    let mut parser = serde_json::Deserializer::from_str(line);
    if !line.trim_ascii_start().starts_with('{') {
        let value = serde_json::from_str(line).map_err(|error| not_json(&error))?;
        return Err(format!("{} where a JSON object with a string \"text\" is expected", kind_of(&value)));
    }
    let members = Members { keep }.deserialize(&mut parser).and_then(|members| parser.end().map(|()| members));
    let (text, kept) = members.map_err(|error| not_json(&error))?;
    let text = text.ok_or_else(|| "the JSON object has no member \"text\"".to_owned())?;
    if !text.get().starts_with('"') {
        let value = serde_json::from_str(text.get()).map_err(|error| not_json(&error))?;
        return Err(format!("\"text\" is {}, expected a string", kind_of(&value)));
    }
    let text = serde_json::from_str(text.get()).map_err(|error| not_json(&error))?;
    Ok(Record { text, kept, line: number })
}

/// The error without the line, which the parser counts for itself, and has seen only one of.
fn not_json(error: &serde_json::Error) -> String {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or(&what);
    format!("not JSON: {what} at column {}", error.column())
}

/// The raw member "text", and those of `keep`.
struct Members<'k> {
    keep: &'k [String],
}

type Found<'de> = (Option<&'de RawValue>, Vec<Option<Box<RawValue>>>);

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
        let (mut text, mut kept) = (None, vec![None; self.keep.len()]);
        while let Some(name) = map.next_key::<String>()? {
            let place = self.keep.iter().position(|keep| *keep == name);
            if name != "text" && place.is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &RawValue = map.next_value()?;
            if let Some(place) = place {
                kept[place] = Some(value.to_owned());
            }
            if name == "text" {
                text = Some(value);
            }
        }
        Ok((text, kept))
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
        let record = parse(line, 3, &keep).unwrap();
        let kept: Vec<_> = record.kept.iter().map(|value| value.as_ref().map(|value| value.get())).collect();
        assert_eq!(kept, [Some("{ \"b\" :null }"), None, Some("12345678901234567890.10e-0"), Some("\"\\u0061\"")]);
        assert_eq!((record.text.as_str(), record.line), ("a", 3));
        assert_eq!(record.weight(), 1 + 13 + 26 + 8);
    }

    #[test]
    fn depth_is_no_limit_to_what_is_ignored_or_kept() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let line = format!("{{\"deep\":{deep},\"text\":\"a\"}}");
        assert!(parse(&line, 1, &[]).unwrap().kept.is_empty());
        assert_eq!(parse(&line, 1, &["deep".to_owned()]).unwrap().kept[0].as_ref().unwrap().get(), deep);
    }
}
