//! `serf keys`: the encryption keys of the cluster.

use super::Command;
use crate::flags::Flag;

pub(crate) const COMMAND: Command = Command {
    name: "keys",
    synopsis: "Manipulate the internal encryption keyring used by Serf",
    usage: "[options]",
    about: &[
        "Shows or changes the keys of all agents of a cluster. Agents decrypt with any of their keys and \
         encrypt with one, the primary key. So a cluster gets a new key in three steps: install it, use \
         it, remove the old one. All of them may be repeated without harm.",
        "The exit code is 0 only if every node has answered and none has reported a problem.",
    ],
    flags: &[
        Flag::text("install", "KEY", "Add this key to all keyrings, for decryption."),
        Flag::text("use", "KEY", "Make this key the primary one. All nodes must have it by now."),
        Flag::text("remove", "KEY", "Drop this key, which must not be the primary one."),
        Flag::switch("list", "Show all keys, and how many nodes have them."),
    ],
    examples: &[
        ("serf keys -list", "Shows each key with the number of nodes that hold it."),
        ("serf keys -install=$(serf keygen)", "The first step to a new key."),
    ],
    later: true,
    ..Command::PLAIN
};
