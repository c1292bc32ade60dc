//! How an input is written: by what the flags say, its name, and its first line that is not blank.

use std::path::Path;

use crate::args::Format;
use crate::input::record::{self, Reads};

/// How an input is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each line is a text.
    Text,
    /// Each line is a JSON object.
    JsonLines,
}

/// What is known of an input before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The flags or the name settle it.
    Only(Shape),
    /// `.json`: JSON lines, unless it is one document over several lines.
    Json,
    /// `.txt`: text, and a word where it looks like something else.
    Plain,
    /// Another name or none.
    Unknown,
}

impl Expected {
    /// What `format` and the name in `path` say; `keep` asks for JSON lines, which the first line then has to show.
    pub fn of(format: Format, path: &Path, keep: bool) -> Self {
        match format {
            Format::Text => return Self::Only(Shape::Text),
            Format::Jsonl => return Self::Only(Shape::JsonLines),
            Format::Auto => {}
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("jsonl" | "ndjson") => Self::Only(Shape::JsonLines),
            Some("json") => Self::Json,
            Some("txt") if !keep => Self::Plain,
            _ => Self::Unknown,
        }
    }
}

/// A shape, and what to say about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// How to read on.
    pub shape: Shape,
    /// For people, where the choice might surprise.
    pub note: Option<String>,
}

/// Decides for the input `name` by `first`, its first line that is not blank, and `second`, the one after it, which is
/// asked for only where the first is a bracket alone.
///
/// # Errors
///
/// What was found in a `.json` that is no JSON lines, and what to do.
pub fn decide(
    expected: Expected,
    name: &str,
    reads: Reads,
    first: Option<&str>,
    second: impl FnOnce() -> Option<String>,
) -> Result<Decision, String> {
    let settled = |shape| Ok(Decision { shape, note: None });
    let first = first.map(str::trim_ascii);
    match (expected, first) {
        (Expected::Only(shape), _) => settled(shape),
        (Expected::Json, Some(first)) if first.starts_with('[') => {
            let rest = first[1..].trim_ascii_start().to_owned();
            let rest = if rest.is_empty() { second().unwrap_or_default() } else { rest };
            let (of, filter) = match rest.trim_ascii_start().starts_with('"') {
                true => (" of strings", ".[] | {text: .}"),
                false => ("", ".[]"),
            };
            Err(format!(
                "it is one JSON array{of}, expected a JSON object a line; `jq -c '{filter}' FILE` makes that of it"
            ))
        }
        (Expected::Json, Some(first)) if first.starts_with('{') && is_unfinished(first) => {
            Err("its first object goes over several lines, expected an object a line; `jq -c . FILE` makes that of it"
                .to_owned())
        }
        (Expected::Json, _) => settled(Shape::JsonLines),
        (Expected::Plain | Expected::Unknown, None) => settled(Shape::Text),
        (Expected::Plain | Expected::Unknown, Some(first)) => {
            let (shape, note) = match (record::parse(first, 1, reads, &[]), expected) {
                (Ok(record), Expected::Plain) => (
                    Shape::Text,
                    format!(
                        "is read as text, as its name says, though its first line is a JSON object with {}; --format \
                         jsonl reads it as JSON lines",
                        record.has()
                    ),
                ),
                (Ok(record), _) => (
                    Shape::JsonLines,
                    format!(
                        "is read as JSON lines, because its first line is a JSON object with {}; --format text reads \
                         it as text",
                        record.has()
                    ),
                ),
                (Err(reason), _) if looks_like_json(first) => (
                    Shape::Text,
                    format!(
                        "is read as text, though its first line looks like JSON: as JSON lines it is wrong ({reason}); \
                         --format text or jsonl settles it"
                    ),
                ),
                (Err(_), _) => return settled(Shape::Text),
            };
            Ok(Decision { shape, note: Some(format!("note: {name} {note}")) })
        }
    }
}

/// Whether `line` begins a JSON object, whatever it has.
pub fn begins_object(line: &str) -> bool {
    line.trim_ascii_start().starts_with('{') && looks_like_json(line.trim_ascii())
}

/// An object or an array, or how one begins that goes over several lines.
fn looks_like_json(line: &str) -> bool {
    if !line.starts_with(['{', '[']) {
        return false;
    }
    let inner = line[1..].trim_ascii_start();
    let begins = match line.as_bytes()[0] {
        b'{' => inner.starts_with('"'),
        _ => inner.starts_with('{'),
    };
    inner.is_empty() || begins || is_json(line)
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()
}

fn is_unfinished(line: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name(name: &str) -> Expected {
        Expected::of(Format::Auto, Path::new(name), false)
    }

    /// The shape, and whether there is a note with these words.
    #[track_caller]
    fn assert_decides(name: &str, first: &str, shape: Shape, words: &str) {
        let decision = decide(by_name(name), name, Reads::default(), Some(first), || None).unwrap();
        assert_eq!(decision.shape, shape, "{first}");
        match decision.note {
            Some(note) => assert!(!words.is_empty() && note.contains(words), "{first}: {note}"),
            None => assert_eq!(words, "", "{first}"),
        }
    }

    #[test]
    fn names_settle_what_they_can() {
        for name in ["a.jsonl", "A.JSONL", "b/c.ndjson"] {
            assert_eq!(by_name(name), Expected::Only(Shape::JsonLines));
        }
        assert_eq!(["a.json", "a.txt", "a", "-", "a.csv"].map(by_name), {
            use Expected::{Json, Plain, Unknown};
            [Json, Plain, Unknown, Unknown, Unknown]
        });
        assert_eq!(Expected::of(Format::Text, Path::new("a.jsonl"), false), Expected::Only(Shape::Text));
        assert_eq!(Expected::of(Format::Jsonl, Path::new("a.txt"), false), Expected::Only(Shape::JsonLines));
        assert_eq!(Expected::of(Format::Auto, Path::new("a.txt"), true), Expected::Unknown);
    }

    #[test]
    fn the_first_line_settles_the_rest() {
        use Shape::{JsonLines, Text};
        assert_decides("-", "{\"text\":\"a\"}", JsonLines, "is read as JSON lines");
        assert_decides("-", "  {\"id\": 7, \"text\":\"a\"} ", JsonLines, "is read as JSON lines");
        assert_decides("a.txt", "{\"text\":\"a\"}", Text, "--format jsonl");
        assert_decides("-", "{\"body\":\"a\"}", Text, "no member \"text\"");
        assert_decides("-", "{\"text\":7}", Text, "\"text\" is a number");
        assert_decides("-", "{\"text\":\"a", Text, "looks like JSON");
        assert_decides("-", "[{\"text\":\"a\"},", Text, "looks like JSON");
        assert_decides("-", "[\"a\"]", Text, "looks like JSON");
        for json in ["{", "[", "{}", "[1]"] {
            assert_decides("-", json, Text, "looks like JSON");
        }
        for text in ["a river", "[sic] a river", "{braces} of a river", "\"quoted\"", "7", "[1] A citation."] {
            assert_decides("-", text, Text, "");
            assert_decides("a.txt", text, Text, "");
        }
        assert_eq!(
            decide(Expected::Unknown, "-", Reads::default(), None, || None),
            Ok(Decision { shape: Text, note: None })
        );
    }

    #[test]
    fn a_document_of_several_lines_is_refused_with_what_to_do() {
        let refuse = |first: &str, second: &str| {
            decide(Expected::Json, "a.json", Reads::default(), Some(first), || Some(second.to_owned())).unwrap_err()
        };
        assert!(refuse("[{\"text\":\"a\"}]", "").contains("`jq -c '.[]' FILE`"));
        assert!(refuse("[", "  {\"text\":").contains("`jq -c '.[]' FILE`"));
        assert!(refuse("[ \"a\",", "").contains("`jq -c '.[] | {text: .}' FILE`"));
        assert!(refuse("[", "  \"a\",").contains("`jq -c '.[] | {text: .}' FILE`"));
        assert!(refuse("{", "").contains("`jq -c . FILE`"));
        assert_decides("a.json", "{\"text\":\"a\"}", Shape::JsonLines, "");
    }
}
