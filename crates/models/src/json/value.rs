//! A JSON value as Python's `json` reads it: the keys of an object keep their order, and of two values for one key the
//! last is kept. (The order of tokens decides their ids.)

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::collections::HashMap;
use std::fmt;

/// A JSON value. It takes at most about 50 times its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.as_u64() } else { None }
    }

    /// Also of `NaN` and infinities, which the parser keeps as strings; see [`number_of_python`].
    pub(crate) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            Self::String(text) => number_of_python(text),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text).filter(|text| number_of_python(text).is_none()) } else { None }
            .map(String::as_str)
    }

    pub(crate) fn as_array(&self) -> Option<&[Json]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }

    pub(crate) fn as_object(&self) -> Option<&[(String, Json)]> {
        if let Self::Object(entries) = self { Some(entries) } else { None }
    }

    /// The value of a key of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.as_object()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether Python takes it for true.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(number) => number.as_f64() != Some(0.0),
            Self::String(text) => !text.is_empty(),
            Self::Array(values) => !values.is_empty(),
            Self::Object(entries) => !entries.is_empty(),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// As a file has it, but for spaces.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| serde_json::Value::from(text);
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => match number_of_python(text) {
                Some(number) => write!(f, "{number}"),
                None => write!(f, "{}", quoted(text)),
            },
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{}:{value}", if index == 0 { "" } else { "," }, quoted(key))?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element()? {
            values.push(value);
        }
        values.shrink_to_fit();
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = Entries::default();
        while let Some(key) = entries.next_key()? {
            object.insert(key, entries.next_value()?);
        }
        Ok(Json::Object(object.finish()))
    }
}

/// The entries of an object, found by their keys in a time that does not grow with their number.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    entries: Vec<(String, Json)>,
    /// The places of the keys; only for objects of more than a few entries.
    places: HashMap<String, usize>,
}

impl Entries {
    /// Up to so many entries are searched one by one.
    const FEW: usize = 16;

    fn place(&self, key: &str) -> Option<usize> {
        match self.places.is_empty() {
            true => self.entries.iter().position(|(name, _)| name == key),
            false => self.places.get(key).copied(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.place(key).map(|place| &self.entries[place].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, Json)> {
        self.entries.iter()
    }

    /// Adds an entry, or replaces the value of one.
    pub(crate) fn insert(&mut self, key: String, value: Json) {
        if let Some(place) = self.place(&key) {
            self.entries[place].1 = value;
            return;
        }
        if !self.places.is_empty() {
            self.places.insert(key.clone(), self.entries.len());
        }
        self.entries.push((key, value));
        if self.places.is_empty() && self.entries.len() > Self::FEW {
            let places = self.entries.iter().enumerate().map(|(place, (key, _))| (key.clone(), place));
            self.places = places.collect();
        }
    }

    fn finish(mut self) -> Vec<(String, Json)> {
        self.entries.shrink_to_fit();
        self.entries
    }
}

/// Before a number that JSON does not have, in the strings that stand for them. No file has such a string by chance.
const PYTHON_NUMBER: char = '\u{0}';

/// The text with each `NaN`, `Infinity` and `-Infinity` outside of strings as a string, which
/// [`Json::as_f64`] takes for the number; `None` if there is none.
pub(crate) fn without_python_numbers(bytes: &[u8]) -> Option<Vec<u8>> {
    const NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let mut replaced = Vec::new();
    let mut copied = 0;
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' | b'-' if !in_string => {
                if let Some(number) = NUMBERS.iter().find(|number| bytes[at..].starts_with(number.as_bytes())) {
                    replaced.extend_from_slice(&bytes[copied..at]);
                    replaced.extend_from_slice(format!("\"\\u0000{number}\"").as_bytes());
                    copied = at + number.len();
                    at = copied - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return None;
    }
    replaced.extend_from_slice(&bytes[copied..]);
    Some(replaced)
}

/// The number that a string of [`without_python_numbers`] stands for.
fn number_of_python(text: &str) -> Option<f64> {
    match text.strip_prefix(PYTHON_NUMBER)? {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
