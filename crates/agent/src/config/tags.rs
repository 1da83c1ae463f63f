//! Tags: `KEY=VALUE` on the command line, and the file that keeps them over restarts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use thiserror::Error;

use crate::files;
use crate::json::{self, SyntaxError, Value};
use crate::text::os_error;

/// A text that is no tag.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Invalid tag: '{0}'")]
pub struct InvalidTag(pub String);

/// Reads `KEY=VALUE`. The key ends at the first equals sign and cannot be empty; the value can.
pub fn parse(text: &str) -> Result<(String, String), InvalidTag> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(InvalidTag(text.to_owned())),
    }
}

/// Reads several tags. A key that occurs again gets its later value.
pub fn parse_all<T: AsRef<str>>(
    texts: impl IntoIterator<Item = T>,
) -> Result<BTreeMap<String, String>, InvalidTag> {
    texts.into_iter().map(|text| parse(text.as_ref())).collect()
}

/// Why the tags file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TagsFileError {
    /// It exists but cannot be read.
    #[error("Failed to read tags file: {step} {path}: {}", os_error(.source))]
    Read {
        /// The step that failed: `open` or `read`.
        step: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is not JSON.
    #[error("Failed to decode tags file: {}", unmarshal(.0))]
    Syntax(SyntaxError),
    /// It is not an object of strings.
    #[error("Failed to decode tags file: {0}")]
    Type(WrongType),
    /// It cannot be written. The tags of the running agent are not affected.
    #[error("Failed to write tags file: open {path}: {}", os_error(.source))]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A value of another type than the file calls for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("json: cannot unmarshal {found} into Go value of type {expected}")]
pub struct WrongType {
    /// What is there.
    pub found: &'static str,
    /// What should be, in the words of the original.
    pub expected: &'static str,
}

impl WrongType {
    pub(super) fn new(value: &Value, expected: &'static str) -> Self {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Self { found, expected }
    }
}

/// Files that have to be one value and nothing else end in other words than a configuration.
pub(super) fn unmarshal(error: &SyntaxError) -> String {
    match error {
        SyntaxError::Empty | SyntaxError::Truncated => "unexpected end of JSON input".to_owned(),
        other => other.to_string(),
    }
}

/// The tags in a file, or None if there is no such file yet.
pub fn load(path: &Path) -> Result<Option<BTreeMap<String, String>>, TagsFileError> {
    let text = match files::read(path) {
        Ok(text) => text,
        Err((_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err((step, source)) => {
            return Err(TagsFileError::Read { step, path: path.display().to_string(), source });
        }
    };
    let root = json::read_only(&text).map_err(TagsFileError::Syntax)?;
    let members = match root.value {
        Value::Object(members) => members,
        Value::Null => Vec::new(),
        other => return Err(TagsFileError::Type(WrongType::new(&other, "map[string]string"))),
    };
    let tag = |member: json::Member| match member.value.value {
        Value::String(value) => Ok((member.key, value)),
        Value::Null => Ok((member.key, String::new())),
        other => Err(TagsFileError::Type(WrongType::new(&other, "string"))),
    };
    members.into_iter().map(tag).collect::<Result<_, _>>().map(Some)
}

/// Writes the tags to a file, in one step.
pub fn save(path: &Path, tags: &BTreeMap<String, String>) -> Result<(), TagsFileError> {
    serf::files::replace(path, json::to_string_pretty(tags).as_bytes())
        .map_err(|source| TagsFileError::Write { path: path.display().to_string(), source })
}

/// How many bytes the tags take in the announcement of a node.
#[must_use]
pub fn encoded_len(tags: &BTreeMap<String, String>) -> usize {
    // One byte says that tags follow. Then a map of texts, each behind its length.
    let map = if tags.len() < 16 { 1 } else { 3 };
    let text = |text: &str| text.len() + if text.len() < 32 { 1 } else { 3 };
    1 + map + tags.iter().map(|(key, value)| text(key) + text(value)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::testing::Directory;

    #[test]
    fn tags_need_a_key() {
        for (text, tag) in [
            ("a=b", Some(("a", "b"))),
            ("a=", Some(("a", ""))),
            ("a=b=c", Some(("a", "b=c"))),
            ("a= ", Some(("a", " "))),
        ] {
            let tag = tag.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(parse(text).ok(), tag, "{text}");
        }
        for text in ["", "=", "=x", "x"] {
            assert_eq!(parse(text), Err(InvalidTag(text.to_owned())));
        }
        assert_eq!(InvalidTag("foo".into()).to_string(), "Invalid tag: 'foo'");
        assert_eq!(parse_all(["a=1", "a=2"]).expect("valid")["a"], "2");
    }

    #[test]
    fn a_file_keeps_tags() {
        let directory = Directory::new();
        let path = directory.path().join("tags");
        assert_eq!(load(&path).expect("fine"), None);
        let tags = parse_all(["role=web", "empty=", "x=<&>"]).expect("valid");
        save(&path, &tags).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(
            text,
            "{\n  \"empty\": \"\",\n  \"role\": \"web\",\n  \"x\": \"\\u003c\\u0026\\u003e\"\n}"
        );
        assert_eq!(load(&path).expect("fine"), Some(tags));
    }

    #[test]
    fn a_broken_file_is_refused() {
        let directory = Directory::new();
        for (text, message) in [
            ("[]", "json: cannot unmarshal array into Go value of type map[string]string"),
            ("{\"a\": 1}", "json: cannot unmarshal number into Go value of type string"),
            ("", "unexpected end of JSON input"),
            ("{\"a\"", "unexpected end of JSON input"),
            ("{} {}", "invalid character '{' after top-level value"),
        ] {
            let path = directory.write("tags", text);
            let error = load(&path).expect_err(text).to_string();
            assert_eq!(error, format!("Failed to decode tags file: {message}"));
        }
        let error = load(directory.path()).expect_err("a directory").to_string();
        assert!(error.starts_with("Failed to read tags file: "), "{error}");
        let unwritable = directory.path().join("no/tags");
        let error = save(&unwritable, &BTreeMap::new()).expect_err("no directory").to_string();
        assert!(error.starts_with("Failed to write tags file: open "), "{error}");
    }

    #[test]
    fn length_on_the_wire() {
        assert_eq!(encoded_len(&BTreeMap::new()), 2);
        let tag = |value: usize| BTreeMap::from([("k".to_owned(), "x".repeat(value))]);
        assert_eq!(encoded_len(&tag(31)), 1 + 1 + 2 + 32);
        assert_eq!(encoded_len(&tag(32)), 1 + 1 + 2 + 35);
    }
}
