//! `serf rtt`: how far nodes are from each other.

use serde::Serialize;
use serf_agent::text::quote;
use serf_rpc::message::Coordinate;
use serf_rpc::{Client, Text};

use super::connect::{arguments, failed, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::Flags;
use crate::output::{Output, document_text};

pub(crate) const COMMAND: Command = Command {
    name: "rtt",
    synopsis: "Estimates network round trip time between nodes",
    usage: "[options] NODE [NODE]",
    about: &[
        "Estimates the round trip time between two nodes from their network coordinates, without sending \
              anything to them. With one name the other node is the agent's own. Names are those that \
              `serf members` shows.",
    ],
    flags: &[FORMAT],
    misuse: Some(MISUSE),
    document: r#"{
  "node": "web-1",
  "other": "db-1",
  "rtt_ms": 0.428
}"#,
    output: &["The time is in milliseconds."],
    failure: "There is no such node, it has no coordinate, or the agent was not reached.",
    examples: &[("serf rtt web-1 db-1", "The distance between two nodes.")],
    run,
    ..Command::PLAIN
};

/// What the reference prints after a wrong call, to the letter, as recorded. Of this command alone the conformance suite
/// compares all of it; `-h` has our own words.
const MISUSE: &str = r#"Usage: serf rtt [options] node1 [node2]

  Estimates the round trip time between two nodes using Serf's network
  coordinate model of the cluster.

  At least one node name is required. If the second node name isn't given, it
  is set to the agent's node name. Note that these are node names as known to
  Serf as "serf members" would show, not IP addresses.

Options:

  -rpc-addr=127.0.0.1:7373  RPC address of the Serf agent.

  -rpc-auth=""              RPC auth token of the Serf agent.
"#;

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let mut names = arguments(flags).into_iter();
    let (Some(one), other, None) = (names.next(), names.next(), names.next()) else {
        return Err(Failure::Usage("One or two node names must be specified".to_owned()));
    };
    let format = format(flags)?;
    let (other, rtt) = with_agent(flags, async |agent| {
        let other = match other {
            Some(name) => name,
            None => own_name(&agent).await?,
        };
        let ours = coordinate(&agent, &one).await?;
        let theirs = coordinate(&agent, &other).await?;
        let rtt = ours.distance_to(&theirs).ok_or_else(|| {
            let (one, other) = (quote(one.as_bytes()), quote(other.as_bytes()));
            Failure::Message(format!("The coordinates of {one} and {other} make no distance"))
        })?;
        Ok((other, rtt))
    })?;
    let shown = out.shown();
    let rtt_ms = rtt.as_secs_f64() * 1000.0;
    let document =
        Document { node: document_text(one.as_bytes()), other: document_text(other.as_bytes()), rtt_ms };
    let (one, other) = (shown.text(one.as_bytes()), shown.text(other.as_bytes()));
    let rtt = format!(" rtt: {rtt_ms:.3} ms");
    out.report(format, [b"Estimated ", &*one, b" <-> ", &*other, rtt.as_bytes()].concat(), &document);
    Ok(())
}

#[derive(Serialize)]
struct Document {
    node: String,
    other: String,
    rtt_ms: f64,
}

async fn own_name(agent: &Client) -> Result<Text, Failure> {
    let stats = agent.stats().await.map_err(failed("Error querying agent"))?;
    Ok(stats.get("agent").and_then(|section| section.get("name")).cloned().unwrap_or_default())
}

async fn coordinate(agent: &Client, node: &Text) -> Result<Coordinate, Failure> {
    let found = agent.coordinate(node.clone()).await.map_err(failed("Error getting coordinates"))?;
    found.ok_or_else(|| {
        Failure::Message(format!("Could not find a coordinate for node {}", quote(node.as_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let document = Document { node: "web-1".into(), other: "db-1".into(), rtt_ms: 0.428 };
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
    }
}
