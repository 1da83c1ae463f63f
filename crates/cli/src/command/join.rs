//! `serf join`: makes the agent a member of a cluster.

use super::connect::{arguments, failed, with_agent};
use super::{Command, Failure};
use crate::flags::Flag;

pub(crate) const COMMAND: Command = Command {
    name: "join",
    synopsis: "Tell Serf agent to join cluster",
    usage: "[options] ADDRESS...",
    about: &[
        "Makes the running agent contact the nodes at these addresses and join the cluster they are in. \
         One that answers is enough. Two clusters become one this way.",
        "An address is HOST, HOST:PORT or [IPV6]:PORT. Without a port the one the agent itself uses is \
         taken.",
    ],
    flags: &[Flag::switch("replay", "Deliver user events that were sent before the join, too.")],
    examples: &[
        ("serf join 10.0.0.7 10.0.0.8", "Any of the two will do."),
        ("serf join -replay [2001:db8::7]:7946", "Catches up with recent events."),
    ],
    run: |flags, out| {
        let addresses = arguments(flags);
        if addresses.is_empty() {
            return Err(Failure::Usage("At least one address to join must be specified.".to_owned()));
        }
        let count = with_agent(flags, async |agent| {
            let joined = agent.join(addresses, flags.is_on("replay")).await;
            joined.map_err(failed("Error joining the cluster"))
        })?;
        out.line(format!("Successfully joined cluster by contacting {count} nodes."));
        Ok(())
    },
    ..Command::PLAIN
};
