//! The commands, one per file: a row of this table and the function that runs it.

mod agent;
mod connect;
mod event;
mod force_leave;
mod info;
mod join;
mod keygen;
mod keys;
mod leave;
mod members;
mod monitor;
mod query;
mod reachability;
mod rtt;
mod tags;
mod token;
pub(crate) mod version;

use crate::flags::{Flag, Flags};
use crate::output::Output;

/// All commands, in the order of their names.
pub(crate) const COMMANDS: &[&Command] = &[
    &agent::COMMAND,
    &event::COMMAND,
    &force_leave::COMMAND,
    &info::COMMAND,
    &join::COMMAND,
    &keygen::COMMAND,
    &keys::COMMAND,
    &leave::COMMAND,
    &members::COMMAND,
    &monitor::COMMAND,
    &query::COMMAND,
    &reachability::COMMAND,
    &rtt::COMMAND,
    &tags::COMMAND,
    &version::COMMAND,
];

/// A command: all that is needed to parse, explain and run it.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What it does, in a few words.
    pub(crate) synopsis: &'static str,
    /// What stands after the name in the first line of its help.
    pub(crate) usage: &'static str,
    /// What it does, in paragraphs.
    pub(crate) about: &'static [&'static str],
    /// Its own flags.
    pub(crate) flags: &'static [Flag],
    /// Does it talk to an agent? Then it has the flags for that, too.
    pub(crate) connects: bool,
    /// Are its arguments not even looked at?
    pub(crate) ignores_arguments: bool,
    /// Stands before its messages.
    pub(crate) prefix: &'static str,
    /// Command lines, and what they do.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    pub(crate) run: fn(&Flags, &mut Output) -> Result<(), Failure>,
}

/// How a command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something went wrong.
    Message(String),
    /// It was called the wrong way; its help follows the message.
    Usage(String),
    /// It was called with nothing to do; its help says what it could.
    Help,
    /// All has been said already; only the exit code is left.
    Exit(u8),
}

impl Command {
    /// What most commands have in common.
    const PLAIN: Self = Self {
        name: "",
        synopsis: "",
        usage: "[options]",
        about: &[],
        flags: &[],
        connects: true,
        ignores_arguments: false,
        prefix: "",
        examples: &[],
        run: |_, _| Err(Failure::Help),
    };

    /// All flags it understands.
    pub(crate) fn flags(&self) -> impl Iterator<Item = Flag> {
        let common = [&connect::FLAGS[..], &token::FLAGS].into_iter().filter(|_| self.connects);
        self.flags.iter().chain(common.flatten()).copied()
    }
}
