//! `serf query`: asks nodes something.

use super::Command;
use super::info::FORMAT;
use crate::flags::Flag;

pub(crate) const COMMAND: Command = Command {
    name: "query",
    synopsis: "Send a query to the Serf cluster",
    usage: "[options] NAME [PAYLOAD]",
    about: &[
        "Sends a query to the nodes of the cluster and prints what they answer until the time is up. Nodes \
              answer with what their event handlers print.",
    ],
    flags: &[
        FORMAT,
        Flag::list("node", "NAME", "Ask only the node of that name."),
        Flag::list("tag", "KEY=REGEXP", "Ask only nodes whose tag of that name matches."),
        Flag::duration(
            "timeout",
            "DURATION",
            "How long to wait. By default it depends on the size of the cluster.",
        ),
        Flag::switch("no-ack", "Do not ask nodes to acknowledge that they got the query."),
        Flag::integer("relay-factor", "N", "Have answers also sent by way of N other nodes, 255 at most."),
    ],
    examples: &[
        ("serf query load", "Every node's answer to one question."),
        ("serf query -tag role=web -timeout=2s uptime", "Asks only some, and not for long."),
    ],
    later: true,
    ..Command::PLAIN
};
