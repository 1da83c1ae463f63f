//! The two forms of what the agent prints: text for people, and JSON lines for programs that collect logs.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use thiserror::Error;

use crate::logging::Level;

/// A form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Indented lines, with status lines and a banner between them. The default.
    #[default]
    Text,
    /// One JSON object a line, whatever is told.
    Json,
}

/// A form that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Invalid log format: {0}. Valid log formats are: [text json]")]
pub struct ParseLogFormatError(
    /// What was asked for.
    pub String,
);

impl FromStr for LogFormat {
    type Err = ParseLogFormatError;

    fn from_str(text: &str) -> Result<Self, ParseLogFormatError> {
        match text.to_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ParseLogFormatError(text.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What every object begins with, and perhaps more.
#[derive(Serialize)]
struct Object<'a, M> {
    time: String,
    level: &'static str,
    target: &'a str,
    message: &'a str,
    #[serde(flatten)]
    more: M,
}

/// More of nothing.
#[derive(Serialize)]
struct Nothing {}

/// A line, with its break. The time has microseconds, and is that of Greenwich.
pub(crate) fn json_line(at: DateTime<Utc>, level: Level, target: &str, message: &str) -> String {
    json_line_with(at, level, target, message, Nothing {})
}

/// The same, with the fields of a struct or a map behind those that all have.
pub(crate) fn json_line_with(
    at: DateTime<Utc>,
    level: Level,
    target: &str,
    message: &str,
    more: impl Serialize,
) -> String {
    // The names that collectors know.
    let level = match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Err => "error",
    };
    let time = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    // Texts, numbers and switches under names that are texts cannot fail.
    let line = serde_json::to_string(&Object { time, level, target, message, more });
    line.unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_whatever_is_in_it() {
        let at = DateTime::from_timestamp(1_795_250_405, 123_456_789).expect("a moment");
        assert_eq!(
            json_line(at, Level::Err, "agent.ipc", "two\nlines of \"text\" \u{1b}[31m\u{e9}"),
            concat!(
                r#"{"time":"2026-11-21T08:40:05.123456Z","level":"error","target":"agent.ipc","#,
                r#""message":"two\nlines of \"text\" \u001b[31mé"}"#,
                "\n"
            )
        );
        let more = [("nodes", 3)].into_iter().collect::<std::collections::BTreeMap<_, _>>();
        let line = json_line_with(at, Level::Info, "console", "", more);
        assert!(line.ends_with("\"message\":\"\",\"nodes\":3}\n"), "{line}");
    }

    #[test]
    fn forms_in_any_case() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().to_uppercase().parse(), Ok(format));
        }
        assert_eq!(
            "xml".parse::<LogFormat>().expect_err("no form").to_string(),
            "Invalid log format: xml. Valid log formats are: [text json]"
        );
    }
}
