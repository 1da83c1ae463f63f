//! `serf reachability`: do all nodes answer?

use super::Command;
use crate::flags::Flag;

pub(crate) const COMMAND: Command = Command {
    name: "reachability",
    synopsis: "Test network reachability",
    about: &["Sends a query that every live member should acknowledge, and tells which ones did not."],
    flags: &[Flag::switch("verbose", "Show each acknowledgement and how long they took.")],
    examples: &[("serf reachability -verbose", "Shows who answers.")],
    later: true,
    ..Command::PLAIN
};
