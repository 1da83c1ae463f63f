//! `serf reachability`: do all nodes answer?

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serf_rpc::message::{Member, QueryRequest};
use serf_rpc::{Answer, Client, Error, Text};

use super::connect::{failed, interruptible, with_agent};
use super::{Command, Failure};
use crate::flags::Flag;
use crate::output::Output;

pub(crate) const COMMAND: Command = Command {
    name: "reachability",
    synopsis: "Test network reachability",
    about: &["Sends a query that every live member should acknowledge, and tells which ones did not."],
    flags: &[Flag::switch("verbose", "Show each acknowledgement and how long they took.")],
    examples: &[("serf reachability -verbose", "Shows who answers.")],
    run: |flags, out| {
        let verbose = flags.is_on("verbose");
        let interrupted = Failure::Message("Test interrupted".to_owned());
        with_agent(flags, async |agent| interruptible(test(&agent, verbose, out), interrupted).await)
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

async fn test(agent: &Client, verbose: bool, out: &mut Output) -> Result<(), Failure> {
    let members = agent.members().await.map_err(failed("Error getting members"))?;
    let live: BTreeSet<&Text> =
        members.iter().filter(|member| member.status == "alive").map(|Member { name, .. }| name).collect();
    out.line(format!("Total members: {}, live members: {}", members.len(), live.len()));

    let start = Instant::now();
    let query = QueryRequest { name: PING.into(), request_ack: true, ..QueryRequest::default() };
    let mut answers = agent.query(query).await.map_err(failed("Error sending query"))?;
    out.line("Starting reachability test...");

    let shown = out.shown();
    let (mut acks, mut last, mut twice) = (BTreeSet::new(), Duration::ZERO, false);
    while let Some(answer) = answers.next().await {
        let from = match answer {
            Ok(Answer::Ack { from }) => from,
            Ok(Answer::Response { .. }) | Err(Error::BadResponse(_)) => continue,
            // What is missing now says nothing about the nodes.
            Err(error) => return Err(failed("Test interrupted")(error)),
        };
        last = start.elapsed();
        let name = shown.text(from.as_bytes());
        if verbose {
            out.line([b"\tAck from '", &*name, b"'"].concat());
        }
        if acks.contains(&from) {
            twice = true;
            out.line([b"Duplicate response from '", &*name, b"'"].concat());
        }
        acks.insert(from);
    }
    if verbose {
        let (total, last) = (start.elapsed().as_secs_f64(), last.as_secs_f64());
        out.line(format!("Query time: {total:.2} sec, time to last response: {last:.2} sec"));
    }
    if twice {
        out.line("Duplicate responses means there is a misconfiguration. Verify that node names are unique.");
    }

    let missing: Vec<_> = live.iter().copied().filter(|name| !acks.contains(*name)).collect();
    let strangers: Vec<_> = acks.iter().filter(|name| !live.contains(name)).collect();
    let (complaint, names, meaning) = if !missing.is_empty() {
        (
            "Received less acks than live nodes! Missing acks from:",
            missing,
            "This could mean Serf gossip packets are being lost due to a misconfiguration or network issue.",
        )
    } else if !strangers.is_empty() {
        (
            "Received more acks than live nodes! Acks from non-live nodes:",
            strangers,
            "This could mean Serf is detecting false-failures due to a misconfiguration or network issue.",
        )
    } else {
        out.line("Successfully contacted all live nodes");
        return if twice { Err(Failure::Exit(1)) } else { Ok(()) };
    };
    out.line(complaint);
    for name in names {
        out.line([b"\t", &*shown.text(name.as_bytes())].concat());
    }
    out.line(meaning);
    out.line(TIPS);
    Err(Failure::Exit(1))
}
