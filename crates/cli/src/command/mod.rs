//! The commands, one per file: a row of this table and the function that runs it.

mod agent;
mod completion;
pub(crate) mod connect;
mod event;
mod force_leave;
mod info;
mod join;
mod keygen;
mod keys;
mod leave;
mod manual;
mod members;
mod monitor;
mod payload;
mod query;
mod reachability;
mod rtt;
mod simulate;
mod tags;
mod token;
pub(crate) mod version;
mod watch;

use serf_rpc::Text;

use crate::flags::{Flag, Flags};
use crate::output::{Format, Output, remark};

/// All commands, in the order of their names.
pub(crate) const COMMANDS: &[&Command] = &[
    &agent::COMMAND,
    &completion::COMMAND,
    &event::COMMAND,
    &force_leave::COMMAND,
    &info::COMMAND,
    &join::COMMAND,
    &keygen::COMMAND,
    &keys::COMMAND,
    &leave::COMMAND,
    &manual::COMMAND,
    &members::COMMAND,
    &monitor::COMMAND,
    &query::COMMAND,
    &reachability::COMMAND,
    &rtt::COMMAND,
    &simulate::COMMAND,
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
    /// Does it take whatever is said behind its name, even flags it does not know?
    pub(crate) ignores_arguments: bool,
    /// Stands before its messages.
    pub(crate) prefix: &'static str,
    /// What follows a complaint about its arguments, where that is not its help.
    pub(crate) misuse: Option<&'static str>,
    /// What `-format=json` prints, by example; empty if it knows no formats.
    pub(crate) document: &'static str,
    /// What is to be said about what it prints, in paragraphs.
    pub(crate) output: &'static [&'static str],
    /// When it ends with 1.
    pub(crate) failure: &'static str,
    /// Command lines, and what they do.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    pub(crate) run: fn(&Flags, &mut Output) -> Result<(), Failure>,
}

/// `-format` as all commands know it.
const FORMAT: Flag = Flag::text("format", "FORMAT", "How to print: text or json.").or("text");

/// The format that is asked for.
fn format(flags: &Flags) -> Result<Format, Failure> {
    Format::named(&flags.text("format"))
}

/// An empty name is possible, and nearly always a variable of a script that is not set (E34).
fn note_of_name(what: &str, name: &Text) {
    if name.is_empty() {
        remark(&format!("the name of the {what} is empty."));
    }
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
        misuse: None,
        document: "",
        output: &[],
        failure: "The agent was not reached, or refused.",
        examples: &[],
        run: |_, _| Err(Failure::Help),
    };

    /// All flags it understands.
    pub(crate) fn flags(&self) -> impl Iterator<Item = Flag> {
        let common = [&connect::FLAGS[..], &token::FLAGS].into_iter().filter(|_| self.connects);
        self.flags.iter().chain(common.flatten()).copied()
    }
}
