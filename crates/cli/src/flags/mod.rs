//! Flags as data: one table per command, from which it is parsed and explained.

mod help;
mod parse;

pub(crate) use help::{explanation, form, help, usage};
pub(crate) use parse::{FlagError, Flags, parse};

/// What kind of value a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `-name` or `-name=BOOL`; never takes the next argument.
    Switch,
    Text,
    Integer,
    /// `1m30s`
    Duration,
    /// Text; every occurrence counts.
    List,
}

/// A row of a command's table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What its value is called in the help.
    pub(crate) value: &'static str,
    /// What it is without the flag; as text, in the form in which it would be given.
    pub(crate) default: &'static str,
    /// A variable that replaces the default when it is not empty.
    pub(crate) env: Option<&'static str>,
    pub(crate) help: &'static str,
}

impl Flag {
    pub(crate) const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Switch, value: "", default: "false", env: None, help }
    }

    pub(crate) const fn text(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Text, value, default: "", env: None, help }
    }

    pub(crate) const fn integer(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Integer, value, default: "0", env: None, help }
    }

    pub(crate) const fn duration(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Duration, value, default: "0s", env: None, help }
    }

    pub(crate) const fn list(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::List, value, default: "", env: None, help }
    }

    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    pub(crate) const fn env(self, variable: &'static str) -> Self {
        Self { env: Some(variable), ..self }
    }
}
