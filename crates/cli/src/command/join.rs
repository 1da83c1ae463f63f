//! `serf join`: makes the agent a member of a cluster.

use serde::Serialize;

use super::connect::{arguments, failed, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::Flag;
use crate::output::document_text;

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
    flags: &[FORMAT, Flag::switch("replay", "Deliver user events that were sent before the join, too.")],
    document: r#"{
  "addresses": [
    "10.0.0.7",
    "10.0.0.8"
  ],
  "joined": 1
}"#,
    output: &[
        "What is counted are the addresses that answered. That some did not is no failure; the agent's log \
         says which.",
    ],
    failure: "No address answered, or the agent was not reached.",
    examples: &[
        ("serf join 10.0.0.7 10.0.0.8", "Joins the cluster that either of the two is in."),
        ("serf join -replay [2001:db8::7]:7946", "The same, and catches up with recent events."),
    ],
    run: |flags, out| {
        let addresses = arguments(flags);
        if addresses.is_empty() {
            return Err(Failure::Usage("At least one address to join must be specified.".to_owned()));
        }
        let format = format(flags)?;
        let asked = addresses.iter().map(|address| document_text(address.as_bytes())).collect();
        let joined = with_agent(flags, async |agent| {
            let joined = agent.join(addresses, flags.is_on("replay")).await;
            joined.map_err(failed("Error joining the cluster"))
        })?;
        let text = format!("Successfully joined cluster by contacting {joined} nodes.");
        out.report(format, text, &Document { addresses: asked, joined });
        Ok(())
    },
    ..Command::PLAIN
};

#[derive(Serialize)]
struct Document {
    addresses: Vec<String>,
    joined: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let document = Document { addresses: vec!["10.0.0.7".into(), "10.0.0.8".into()], joined: 1 };
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
    }
}
