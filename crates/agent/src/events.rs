//! Which events somebody wants: the filters of event handlers and of event streams.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

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
    /// The command, for the shell.
    pub script: String,
}

/// A handler for a type of events that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "Event '{filter}' invoking '{script}'\n    (a command that contains '=' needs a filter first, as in \
     '*=COMMAND')"
)]
pub struct InvalidHandler {
    /// The filter as written.
    pub filter: String,
    /// The command.
    pub script: String,
}

impl EventHandler {
    /// Reads `[FILTER[,FILTER...]=]SCRIPT`, which makes one handler for each filter.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidHandler> {
        // Any text in front of the first equals sign is a filter, even where it was meant for the script.
        let (filters, script) = text.split_once('=').unwrap_or(("", text));
        let filters = EventFilter::parse_list(filters)
            .map_err(|error| InvalidHandler { filter: error.filter, script: script.to_owned() })?;
        Ok(filters.into_iter().map(|filter| Self { filter, script: script.to_owned() }).collect())
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
        let error = EventHandler::parse_list("FOO=bar ./x").expect_err("no such event").to_string();
        assert!(error.starts_with("Event 'FOO' invoking 'bar ./x'\n"), "{error}");
        assert!(EventHandler::parse_list("member-join,=x").is_err());
        assert!(EventHandler::parse_list("member-join:x=y").is_err());
    }
}
