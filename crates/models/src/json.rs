//! Settings files: small JSON files, each with a table of the keys that are understood.
//!
//! A key that is read is checked where it is used, and a complaint names the file, the key, what it says and what it
//! should. A key that is not read never goes by unseen: the file's [`Keys`] say which ones change no embedding, and
//! whether any other is refused.
//!
//! What Python's `json` takes is taken: `NaN` and `Infinity`, and of two values for one key the last.

mod record;
mod value;

use crate::files::read_file;
use crate::{Error, Result};
pub(crate) use record::{Read, recorded};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub(crate) use value::Json;
use value::{Entries, without_python_numbers};

/// The most that is read of a settings file. Real ones have a few kilobytes, or a few megabytes where they list
/// thousands of added tokens.
///
/// A file's memory is bounded by its size: values of keys that are not read are skipped, and the others take at most
/// about 50 times their bytes (objects of one short key take the most).
pub(crate) const MAX_SETTINGS_BYTES: u64 = 16 << 20;

/// The keys of a settings file.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Those that are read.
    pub(crate) read: &'static [&'static str],
    /// The end of the names of others that are read.
    pub(crate) read_ending: Option<&'static str>,
    /// Those that change no embedding, each group with the reason.
    pub(crate) harmless: &'static [(&'static [&'static str], &'static str)],
    /// All others.
    pub(crate) others: Others,
}

/// What becomes of a key that is in no list.
#[derive(Debug)]
pub(crate) enum Others {
    /// It is an error that names the key.
    Refused,
    /// It changes no embedding; the reason stands where the file's keys are listed.
    Harmless,
}

impl Keys {
    fn reads(&self, key: &str) -> bool {
        self.read.contains(&key) || self.read_ending.is_some_and(|ending| key.ends_with(ending))
    }

    /// Whether the key is one of those that are neither read nor known to be harmless.
    fn refuses(&self, key: &str) -> bool {
        let harmless = || self.harmless.iter().any(|(keys, _)| keys.contains(&key));
        matches!(self.others, Others::Refused) && !self.reads(key) && !harmless()
    }
}

/// The JSON object in a settings file, or an object within it.
#[derive(Debug)]
pub(crate) struct JsonFile {
    path: PathBuf,
    /// Before the name of a key, in messages: where the object is within the file.
    place: String,
    keys: &'static Keys,
    /// What is read of it.
    object: Entries,
}

impl JsonFile {
    /// Reads a file that must exist and hold an object with keys that are understood.
    pub(crate) fn read(path: PathBuf, keys: &'static Keys) -> Result<Self> {
        let bytes = read_file(&path, MAX_SETTINGS_BYTES)?;
        Self::parse(path, &bytes, keys)
    }

    /// Reads a file that may be absent.
    pub(crate) fn read_if_there(path: PathBuf, keys: &'static Keys) -> Result<Option<Self>> {
        match Self::read(path, keys) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn parse(path: PathBuf, bytes: &[u8], keys: &'static Keys) -> Result<Self> {
        let Object { object, refused } = parse(&path, bytes, KeysSeed(keys))?;
        record::note(&path, object.iter().map(|(key, value)| (key.clone(), value)));
        let file = Self { path, place: String::new(), keys, object };
        file.refuse(refused)
    }

    /// The object under a key of this one; `None` if absent or null.
    pub(crate) fn object(&self, key: &'static str, keys: &'static Keys) -> Result<Option<Self>> {
        let setting = self.get(key);
        let Some(object) = setting.convert("an object", Json::as_object)? else { return Ok(None) };
        let refused = object.iter().find(|(key, _)| keys.refuses(key)).map(|(key, _)| key.clone());
        let place = format!("{}{key}.", self.place);
        let mut read = Entries::default();
        for (key, value) in object.iter().filter(|(key, _)| keys.reads(key)) {
            read.insert(key.clone(), value.clone());
        }
        let object = read;
        Self { path: self.path.clone(), place, keys, object }.refuse(refused).map(Some)
    }

    fn refuse(self, refused: Option<String>) -> Result<Self> {
        match refused {
            None => Ok(self),
            Some(key) => {
                let expected = format!("no such setting, or one of {}", self.keys.read.join(", "));
                Err(self.wrong(&key, "not understood", expected))
            }
        }
    }

    /// Whether the file has the setting, be it as null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some()
    }

    /// One setting, which may be absent. The key is one of those that the file's [`Keys`] say are read.
    pub(crate) fn get<'a>(&'a self, key: &'a str) -> Setting<'a> {
        debug_assert!(self.keys.reads(key), "{key} is not among the keys that are read");
        let value = self.object.get(key);
        Setting { file: self, key, value }
    }

    /// The settings that are there, of those that are read.
    pub(crate) fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        self.object.iter().map(|(key, value)| Setting { file: self, key, value: Some(value) })
    }

    /// An error about one setting of this file.
    pub(crate) fn wrong(&self, key: &str, given: impl ToString, expected: impl ToString) -> Error {
        Error::Setting {
            path: self.path.clone(),
            key: format!("{}{key}", self.place),
            given: given.to_string(),
            expected: expected.to_string(),
        }
    }
}

/// One setting of a file: a key, and perhaps its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    file: &'a JsonFile,
    key: &'a str,
    value: Option<&'a Json>,
}

impl<'a> Setting<'a> {
    /// The last of these places that has the setting, also with null; the first, if none has.
    pub(crate) fn last(places: impl IntoIterator<Item = Self>) -> Option<Self> {
        places.into_iter().reduce(|before, after| if after.is_there() { after } else { before })
    }

    /// The setting's name.
    pub(crate) fn key(&self) -> &'a str {
        self.key
    }

    /// Its value; `None` if absent or null.
    pub(crate) fn value(&self) -> Option<&'a Json> {
        self.value.filter(|value| !value.is_null())
    }

    /// Whether the file has it, be it as null.
    pub(crate) fn is_there(&self) -> bool {
        self.value.is_some()
    }

    /// Whether Python takes the value for true.
    pub(crate) fn is_truthy(&self) -> bool {
        self.value.is_some_and(Json::is_truthy)
    }

    /// An error about it.
    pub(crate) fn wrong(&self, expected: impl ToString) -> Error {
        let given = self.value.map_or_else(|| "missing".to_owned(), shown);
        self.file.wrong(self.key, given, expected)
    }

    /// An error about a part of it.
    pub(crate) fn wrong_at(&self, part: &str, expected: impl ToString) -> Error {
        let given = self.value.and_then(|value| value.get(part)).map_or_else(|| "missing".to_owned(), shown);
        self.file.wrong(&format!("{}.{part}", self.key), given, expected)
    }

    /// A whole number from 1 to 2^31 - 1, so that it fits every index type; `None` if absent or null.
    pub(crate) fn size(&self) -> Result<Option<usize>> {
        self.convert("a whole number from 1 to 2147483647", |value| {
            let size = i32::try_from(value.as_u64()?).ok()?;
            usize::try_from(size).ok().filter(|&size| size > 0)
        })
    }

    /// As [`size`](Self::size), but it must be there.
    pub(crate) fn required_size(&self) -> Result<usize> {
        self.size()?.ok_or_else(|| self.wrong("a whole number from 1 to 2147483647"))
    }

    /// A number, which may be infinite or NaN; `None` if absent or null.
    pub(crate) fn number(&self) -> Result<Option<f64>> {
        self.convert("a number", Json::as_f64)
    }

    /// A string; `None` if absent or null.
    pub(crate) fn string(&self) -> Result<Option<&'a str>> {
        self.convert("a string", Json::as_str)
    }

    /// `true` or `false`; `None` if absent or null.
    pub(crate) fn flag(&self) -> Result<Option<bool>> {
        self.convert("true or false", Json::as_bool)
    }

    /// What `to` makes of the value; `None` if absent or null.
    pub(crate) fn convert<T>(&self, expected: &str, to: impl Fn(&'a Json) -> Option<T>) -> Result<Option<T>> {
        self.value().map(|value| to(value).ok_or_else(|| self.wrong(expected))).transpose()
    }

    /// An error unless the value is null, absent, or one of these.
    pub(crate) fn only(&self, values: &[Json], expected: &str) -> Result<()> {
        match self.value() {
            Some(value) if !values.contains(value) => Err(self.wrong(expected)),
            _ => Ok(()),
        }
    }
}

/// The value in a message: short, and as the file has it.
fn shown(value: &Json) -> String {
    const MOST: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        None => text,
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

/// Reads a file that holds an array.
pub(crate) fn read_array(path: &Path) -> Result<Vec<Json>> {
    let values: Vec<Json> = parse(path, &read_file(path, MAX_SETTINGS_BYTES)?, PhantomData)?;
    record::note(path, values.iter().enumerate().map(|(index, value)| (index.to_string(), value)));
    Ok(values)
}

/// Parses what Python's `json` would.
fn parse<T>(path: &Path, bytes: &[u8], seed: impl for<'de> DeserializeSeed<'de, Value = T> + Copy) -> Result<T> {
    let strict = parse_strictly(bytes, seed);
    let result = match (strict, without_python_numbers(bytes)) {
        (Err(_), Some(bytes)) => parse_strictly(&bytes, seed),
        (strict, _) => strict,
    };
    result.map_err(|source| Error::Json { path: path.to_owned(), source: Arc::new(source) })
}

fn parse_strictly<T>(bytes: &[u8], seed: impl for<'de> DeserializeSeed<'de, Value = T>) -> serde_json::Result<T> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut parser)?;
    parser.end().map(|()| value)
}

/// Parses an object, and keeps what is read of it.
#[derive(Clone, Copy)]
struct KeysSeed(&'static Keys);

struct Object {
    object: Entries,
    /// The first key that is refused.
    refused: Option<String>,
}

impl<'de> DeserializeSeed<'de> for KeysSeed {
    type Value = Object;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for KeysSeed {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object, A::Error> {
        let (mut object, mut refused) = (Entries::default(), None);
        while let Some(key) = entries.next_key::<String>()? {
            if self.0.reads(&key) {
                object.insert(key, entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
                if refused.is_none() && self.0.refuses(&key) {
                    refused = Some(key);
                }
            }
        }
        Ok(Object { object, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static KEYS: Keys =
        Keys { read: &["a", "b"], read_ending: None, harmless: &[(&["c"], "no reason")], others: Others::Refused };

    fn file(text: &str) -> Result<JsonFile> {
        JsonFile::parse(PathBuf::from("file.json"), text.as_bytes(), &KEYS)
    }

    #[test]
    fn of_two_values_the_last() {
        assert_eq!(file(r#"{"a": 1, "a": 2}"#).unwrap().get("a").size().unwrap(), Some(2));
    }

    #[test]
    fn numbers_that_json_does_not_have() {
        let text = r#"{"a": -Infinity, "b": NaN, "c": "Infinity \" NaN"}"#;
        let read = file(text).unwrap();
        assert_eq!(read.get("a").number().unwrap(), Some(f64::NEG_INFINITY));
        assert!(read.get("b").number().unwrap().unwrap().is_nan());
        let error = read.get("a").size().unwrap_err().to_string();
        assert!(error.contains("`a` is -inf; expected a whole number"), "{error}");
        // Strings are left alone.
        let read = file(r#"{"a": "NaN \" NaN", "b": NaN}"#).unwrap();
        assert_eq!(read.get("a").string().unwrap(), Some("NaN \" NaN"));
        assert!(file(r#"{"a": Nan}"#).is_err());
    }

    #[test]
    fn keys_that_are_not_understood() {
        assert!(file(r#"{"c": 1}"#).is_ok());
        let error = file(r#"{"c": 1, "d": [1]}"#).unwrap_err().to_string();
        assert_eq!(error, "file.json: `d` is not understood; expected no such setting, or one of a, b");
        let error = file(r#"{"a": {"e": 1}}"#).unwrap().object("a", &KEYS).unwrap_err().to_string();
        assert!(error.starts_with("file.json: `a.e` is not understood"), "{error}");
    }

    #[test]
    fn a_long_value_is_not_shown_whole() {
        let error = file(&format!(r#"{{"a": "{}"}}"#, "ä".repeat(1000))).unwrap().get("a").size().unwrap_err();
        assert!(error.to_string().len() < 600, "{error}");
    }
}
