//! `serf reachability`: do all nodes answer?

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Serialize;
use serf_rpc::message::{Member, QueryRequest};
use serf_rpc::{Answer, Client, Error, Text};

use super::connect::{failed, interruptible, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::Flag;
use crate::output::{Format, Output, document_text};

pub(crate) const COMMAND: Command = Command {
    name: "reachability",
    synopsis: "Test network reachability",
    about: &["Sends a query that every live member should acknowledge, and tells which ones did not."],
    flags: &[Flag::switch("verbose", "Show each acknowledgement and how long they took."), FORMAT],
    document: r#"{
  "reachable": false,
  "members": 3,
  "live": 2,
  "acks": [
    "n1"
  ],
  "missing": [
    "n2"
  ],
  "strangers": [],
  "duplicates": [],
  "query_seconds": 3.2,
  "last_ack_seconds": 0.19
}"#,
    output: &["Missing are live members that did not acknowledge; strangers did, and are no live members; \
         duplicates did more than once, so that two nodes seem to have one name. The document has all of \
         that with or without -verbose, and is also printed when the test fails."],
    failure: "A live member did not acknowledge, or something is odd about those that did; or the agent was \
              not reached.",
    examples: &[
        ("serf reachability -verbose", "Shows who answers."),
        ("serf reachability -format=json | jq -r '.missing[]'", "For scripts: who does not."),
    ],
    run: |flags, out| {
        let verbose = flags.is_on("verbose");
        let format = format(flags)?;
        let interrupted = Failure::Message("Test interrupted".to_owned());
        with_agent(flags, async |agent| interruptible(test(&agent, verbose, format, out), interrupted).await)
    },
    ..Command::PLAIN
};

/// The query that every node acknowledges and shows to nobody.
const PING: &str = "_serf_ping";

/// What operators know to do about it.
const TIPS: &str = "
Troubleshooting tips:
* Ensure that the bind addr:port is accessible by all other nodes
* If an advertise address is set, ensure it routes to the bind address
* Check that no nodes are behind a NAT
* If nodes are behind firewalls or iptables, check that Serf traffic is permitted (UDP and TCP)
* Verify networking equipment is functional";

async fn test(agent: &Client, verbose: bool, format: Format, out: &mut Output) -> Result<(), Failure> {
    let members = agent.members().await.map_err(failed("Error getting members"))?;
    let is_text = format == Format::Text;
    let live = members.iter().filter(|member| member.status == "alive");
    let live: BTreeSet<&Text> = live.map(|Member { name, .. }| name).collect();
    if is_text {
        out.line(format!("Total members: {}, live members: {}", members.len(), live.len()));
    }

    let start = Instant::now();
    let query = QueryRequest { name: PING.into(), request_ack: true, ..QueryRequest::default() };
    let mut answers = agent.query(query).await.map_err(failed("Error sending query"))?;
    if is_text {
        out.line("Starting reachability test...");
    }

    let shown = out.shown();
    let (mut acks, mut twice, mut last) = (BTreeSet::new(), BTreeSet::new(), Duration::ZERO);
    while let Some(answer) = answers.next().await {
        let from = match answer {
            Ok(Answer::Ack { from }) => from,
            Ok(Answer::Response { .. }) | Err(Error::BadResponse(_)) => continue,
            // What is missing now says nothing about the nodes.
            Err(error) => return Err(failed("Test interrupted")(error)),
        };
        last = start.elapsed();
        let name = shown.text(from.as_bytes());
        if is_text && verbose {
            out.line([b"\tAck from '", &*name, b"'"].concat());
        }
        if acks.contains(&from) {
            if is_text {
                out.line([b"Duplicate response from '", &*name, b"'"].concat());
            }
            twice.insert(from.clone());
        }
        acks.insert(from);
    }
    let outcome = Outcome {
        members: members.len(),
        missing: live.iter().copied().filter(|name| !acks.contains(*name)).collect(),
        strangers: acks.iter().filter(|name| !live.contains(name)).collect(),
        live: live.len(),
        acks: &acks,
        twice: &twice,
        took: [start.elapsed(), last],
    };
    match format {
        Format::Text => outcome.tell(verbose, out),
        Format::Json => out.report(format, "", &outcome.document()),
    }
    if outcome.is_good() { Ok(()) } else { Err(Failure::Exit(1)) }
}

/// What has come of the test.
struct Outcome<'a> {
    members: usize,
    live: usize,
    acks: &'a BTreeSet<Text>,
    /// Live, and not heard of.
    missing: Vec<&'a Text>,
    /// Heard of, and not live.
    strangers: Vec<&'a Text>,
    /// Heard of more than once.
    twice: &'a BTreeSet<Text>,
    /// The whole query, and until the last ack.
    took: [Duration; 2],
}

impl Outcome<'_> {
    fn is_good(&self) -> bool {
        self.missing.is_empty() && self.strangers.is_empty() && self.twice.is_empty()
    }

    fn tell(&self, verbose: bool, out: &mut Output) {
        if verbose {
            let [total, last] = self.took.map(|time| time.as_secs_f64());
            out.line(format!("Query time: {total:.2} sec, time to last response: {last:.2} sec"));
        }
        if !self.twice.is_empty() {
            out.line(
                "Duplicate responses means there is a misconfiguration. Verify that node names are unique.",
            );
        }
        let (complaint, names, meaning) = if !self.missing.is_empty() {
            (
                "Received less acks than live nodes! Missing acks from:",
                &self.missing,
                "This could mean Serf gossip packets are being lost due to a misconfiguration or network issue.",
            )
        } else if !self.strangers.is_empty() {
            (
                "Received more acks than live nodes! Acks from non-live nodes:",
                &self.strangers,
                "This could mean Serf is detecting false-failures due to a misconfiguration or network issue.",
            )
        } else {
            out.line("Successfully contacted all live nodes");
            return;
        };
        out.line(complaint);
        for name in names {
            out.line([b"\t", &*out.shown().text(name.as_bytes())].concat());
        }
        out.line(meaning);
        out.line(TIPS);
    }

    fn document(&self) -> Document {
        fn texts<'a>(names: impl IntoIterator<Item = &'a Text>) -> Vec<String> {
            names.into_iter().map(|name| document_text(name.as_bytes())).collect()
        }
        let [query, last_ack] = self.took.map(|time| time.as_secs_f64());
        Document {
            reachable: self.is_good(),
            members: self.members,
            live: self.live,
            acks: texts(self.acks),
            missing: texts(self.missing.iter().copied()),
            strangers: texts(self.strangers.iter().copied()),
            duplicates: texts(self.twice),
            query_seconds: query,
            last_ack_seconds: last_ack,
        }
    }
}

#[derive(Serialize)]
struct Document {
    reachable: bool,
    members: usize,
    live: usize,
    acks: Vec<String>,
    missing: Vec<String>,
    strangers: Vec<String>,
    duplicates: Vec<String>,
    query_seconds: f64,
    last_ack_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let (acks, missing) = (BTreeSet::from([Text::from("n1")]), Text::from("n2"));
        let outcome = Outcome {
            members: 3,
            live: 2,
            acks: &acks,
            missing: vec![&missing],
            strangers: vec![],
            twice: &BTreeSet::new(),
            took: [Duration::from_millis(3200), Duration::from_millis(190)],
        };
        assert_eq!(serf_agent::json::to_string_pretty(&outcome.document()), COMMAND.document);
    }
}
