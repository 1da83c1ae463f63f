//! `serf rtt`: how far nodes are from each other.

use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "rtt",
    synopsis: "Estimates network round trip time between nodes",
    usage: "[options] NODE [NODE]",
    about: &[
        "Estimates the round trip time between two nodes from their network coordinates, without sending \
              anything to them. With one name the other node is the agent's own. Names are those that \
              `serf members` shows.",
    ],
    examples: &[("serf rtt web-1 db-1", "The distance between two nodes.")],
    later: true,
    ..Command::PLAIN
};
