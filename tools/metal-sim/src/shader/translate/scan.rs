//! Reading C++ by words and brackets, without knowing more of it.

use std::ops::Range;

/// The text with spaces for its comments.
pub(super) fn without_comments(text: &str) -> String {
    let mut result = text.to_owned();
    let mut at = 0;
    while let Some(start) = text[at..].find("/").map(|start| at + start) {
        let end = match text.as_bytes().get(start + 1) {
            Some(b'/') => text[start..].find('\n').map_or(text.len(), |end| start + end),
            Some(b'*') => text[start..].find("*/").map_or(text.len(), |end| start + end + 2),
            _ => start + 1,
        };
        if end > start + 1 {
            blank(&mut result, start..end);
        }
        at = end;
    }
    result
}

/// Spaces instead of what is there; lines stay.
pub(super) fn blank(text: &mut String, range: Range<usize>) {
    let spaces: String = text[range.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    // Characters of several bytes become one space: what lies behind moves, so that there is as much as before.
    let spaces = format!("{spaces}{}", " ".repeat(range.len() - spaces.len()));
    text.replace_range(range, &spaces);
}

/// The words, identifiers and keywords, with where they start.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text[at..].find(|c: char| c.is_ascii_alphanumeric() || c == '_')?;
            let end = text[start..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            at = end.map_or(text.len(), |end| start + end);
            if !text.as_bytes()[start].is_ascii_digit() {
                return Some((start, &text[start..at]));
            }
        }
    })
}

/// Words, and every other character that is not a space by itself.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let len = if word(first) { rest.find(|c| !word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (token, more) = rest.split_at(len);
        rest = more;
        Some(token)
    })
}

/// Where the bracket is that closes the one at `open`.
pub(super) fn matching(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Every function's definition, from behind the item before it to its last brace.
pub(super) fn functions(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'#' => {
                at = text[at..].find('\n').map_or(text.len(), |end| at + end);
                start = at;
            }
            b';' => start = at + 1,
            b'{' => {
                let Some(close) = matching(text, at) else { break };
                // A struct's body ends with a semicolon.
                if text[start..at].trim_end().ends_with(')') {
                    found.push(start..close + 1);
                    start = close + 1;
                }
                at = close;
            }
            _ => {}
        }
        at += 1;
    }
    found
}
