//! Which events somebody wants, the filters of event handlers and of event streams; and events as JSON tells them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde::Serialize;
use thiserror::Error;

use crate::text::nearest;

/// The kinds of events that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventFilter {
    /// Every event.
    Any,
    /// Members have joined.
    MemberJoin,
    /// Members have left.
    MemberLeave,
    /// Members have failed.
    MemberFailed,
    /// Members have changed their tags or address.
    MemberUpdate,
    /// Members have been forgotten.
    MemberReap,
    /// User events, all of them or those of one name.
    User(Option<String>),
    /// Queries, all of them or those of one name.
    Query(Option<String>),
}

/// A filter for a type of events that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Invalid event filter")]
pub struct InvalidFilter {
    /// The filter as written.
    pub filter: String,
}

impl EventFilter {
    /// The types of events, as filters write them.
    pub const KINDS: [&str; 8] = [
        "*",
        "member-join",
        "member-leave",
        "member-failed",
        "member-update",
        "member-reap",
        "user",
        "query",
    ];

    /// Reads filters with commas between them. No text at all asks for every event.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidFilter> {
        if text.is_empty() { Ok(vec![Self::Any]) } else { text.split(',').map(str::parse).collect() }
    }

    /// The type of events, without a name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Any => "*",
            Self::MemberJoin => "member-join",
            Self::MemberLeave => "member-leave",
            Self::MemberFailed => "member-failed",
            Self::MemberUpdate => "member-update",
            Self::MemberReap => "member-reap",
            Self::User(_) => "user",
            Self::Query(_) => "query",
        }
    }

    /// The name of the events, or nothing for any.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User(Some(name)) | Self::Query(Some(name)) => name,
            _ => "",
        }
    }

    /// Does an event of this type (`member-join`, `user`...) and name pass? Only user events and queries have
    /// names.
    #[must_use]
    pub fn admits(&self, kind: &str, name: &str) -> bool {
        *self == Self::Any || self.kind() == kind && (self.name().is_empty() || self.name() == name)
    }
}

impl FromStr for EventFilter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Ok(match text {
            "*" => Self::Any,
            "member-join" => Self::MemberJoin,
            "member-leave" => Self::MemberLeave,
            "member-failed" => Self::MemberFailed,
            "member-update" => Self::MemberUpdate,
            "member-reap" => Self::MemberReap,
            "user" => Self::User(None),
            "query" => Self::Query(None),
            _ => match text.split_once(':') {
                Some(("user", name)) => Self::User(named(name)),
                Some(("query", name)) => Self::Query(named(name)),
                _ => return Err(InvalidFilter { filter: text.to_owned() }),
            },
        })
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        if self.name().is_empty() { Ok(()) } else { write!(f, ":{}", self.name()) }
    }
}

/// A command to run for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHandler {
    /// The events.
    pub filter: EventFilter,
    /// The command, for the shell. Handlers with the same one run one after another, whatever their filters.
    pub script: Arc<str>,
}

/// A handler for a type of events that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Event '{filter}' invoking '{script}'")]
pub struct InvalidHandler {
    /// The filter as written.
    pub filter: String,
    /// The command.
    pub script: String,
}

impl InvalidHandler {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let kinds = EventFilter::KINDS.into_iter().skip(1);
        match nearest(self.filter.split(':').next().unwrap_or_default().trim(), kinds.clone()) {
            // Near, but with blanks around it, or a name behind it.
            Some(kind) if self.filter.trim().starts_with(kind) => {
                format!(
                    "blanks are no part of a filter, and only 'user' and 'query' take a ':NAME'; write '{kind}'"
                )
            }
            Some(kind) => format!("did you mean '{kind}'?"),
            None => format!(
                "events are '*' and {}; a command that contains '=' needs a filter first, as in '*=COMMAND'",
                kinds.collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl EventHandler {
    /// Reads `[FILTER[,FILTER...]=]SCRIPT`, which makes one handler for each filter.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidHandler> {
        // Any text in front of the first equals sign is a filter, even where it was meant for the script.
        let (filters, script) = text.split_once('=').unwrap_or(("", text));
        let filters = EventFilter::parse_list(filters)
            .map_err(|error| InvalidHandler { filter: error.filter, script: script.to_owned() })?;
        let script: Arc<str> = script.into();
        Ok(filters.into_iter().map(|filter| Self { filter, script: script.clone() }).collect())
    }
}

/// What to run for events, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventHandlers {
    /// The handlers, in the order in which they run for an event.
    pub list: Vec<EventHandler>,
    /// How long handlers wait for one that runs, before they run beside it. Zero: not at all.
    pub patience: Duration,
    /// How long a handler may run before it is ended, with everything that it started. None: for ever.
    pub timeout: Option<Duration>,
    /// Whether events are told on standard input as JSON.
    pub json: bool,
}

/// What an event holds, as JSON tells it; `M` is what is told of a member.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum EventBody<M> {
    Members {
        members: Vec<M>,
    },
    User {
        name: String,
        ltime: u64,
        coalesce: bool,
        #[serde(flatten)]
        payload: Payload,
    },
    Query {
        name: String,
        ltime: u64,
        source: String,
        #[serde(flatten)]
        payload: Payload,
    },
}

/// Text cannot carry all bytes, base64 is not pleasant in a shell: so both, and null for what is no text.
#[derive(Debug, Serialize)]
pub struct Payload {
    payload: Option<String>,
    payload_base64: String,
}

impl Payload {
    /// Of these bytes.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        Self {
            payload: std::str::from_utf8(payload).ok().map(str::to_owned),
            payload_base64: Base64::encode_string(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_admit_by_type_and_name() {
        for (filter, kind, name, admits) in [
            ("*", "member-join", "", true),
            ("*", "query", "load", true),
            ("user", "user", "deploy", true),
            ("user:deploy", "user", "deploy", true),
            ("user:deploy", "user", "load", false),
            ("user:deploy", "query", "deploy", false),
            ("query", "query", "load", true),
            ("query:load", "query", "uptime", false),
            ("member-join", "member-join", "", true),
            ("member-join", "member-leave", "", false),
        ] {
            let filter: EventFilter = filter.parse().expect("valid");
            assert_eq!(filter.admits(kind, name), admits, "{filter} {kind} {name}");
        }
    }

    #[test]
    fn wrong_handlers_are_explained() {
        for (text, message, remedy) in [
            ("FOO=bar ./x", "Event 'FOO' invoking 'bar ./x'", "as in '*=COMMAND'"),
            ("member-join,=x", "Event '' invoking 'x'", "events are '*' and member-join, "),
            ("member-joined=x", "Event 'member-joined' invoking 'x'", "write 'member-join'"),
            ("user, query=x", "Event ' query' invoking 'x'", "write 'query'"),
            ("member-join:x=y=z", "Event 'member-join:x' invoking 'y=z'", "only 'user' and 'query' take"),
            ("member-jion=x", "Event 'member-jion' invoking 'x'", "did you mean 'member-join'?"),
            ("Query:load=x", "Event 'Query:load' invoking 'x'", "did you mean 'query'?"),
        ] {
            let error = EventHandler::parse_list(text).expect_err(text);
            assert_eq!(error.to_string(), message);
            assert!(error.remedy().contains(remedy), "{text}: {}", error.remedy());
        }
    }
}
