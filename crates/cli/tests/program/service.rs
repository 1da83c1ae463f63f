//! The RPC service under clients that mean no good, or mean well and go away.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::agents::{Agent, Program, until};

pub(crate) const HANDSHAKE: &[u8] = b"\x82\xa7Command\xa9handshake\xa3Seq\x01\x81\xa7Version\x01";
pub(crate) const MEMBERS: &[u8] = b"\x82\xa7Command\xa7members\xa3Seq\x02";
const LEAVE: &[u8] = b"\x82\xa7Command\xa5leave\xa3Seq\x02";
/// The header of the answer to each.
const SHAKEN: &[u8] = b"\x82\xa5Error\xa0\xa3Seq\x01";

pub(crate) fn client(agent: &Agent) -> TcpStream {
    let stream = TcpStream::connect(&agent.rpc).expect("the agent listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    stream
}

pub(crate) fn shaken(agent: &Agent) -> TcpStream {
    let mut stream = client(agent);
    stream.write_all(HANDSHAKE).expect("written");
    let mut answer = [0; SHAKEN.len()];
    stream.read_exact(&mut answer).expect("answered");
    assert_eq!(answer, SHAKEN);
    stream
}

/// Reads until the agent closes the connection.
pub(crate) fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        // What we still sent may have been refused.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    rest
}

pub(crate) fn is_served(agent: &Agent) {
    let out = agent.cli("members", &[]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn bad_clients_cost_good_ones_nothing() {
    let agent = Agent::started(Program::Ours, "patient", &[]);
    let before = agent.open_files();
    let idle: Vec<_> = (0..200).map(|n| if n % 2 == 0 { client(&agent) } else { shaken(&agent) }).collect();
    is_served(&agent);

    // Asks for more and more and never reads: it is the agent that stops reading.
    let mut greedy = shaken(&agent);
    greedy.set_nonblocking(true).expect("it can be set");
    let requests = MEMBERS.repeat(1000);
    let mut asked = 0;
    while let Ok(n) = greedy.write(&requests) {
        asked += n;
        assert!(asked < 64 << 20, "the agent reads on though nobody takes its answers");
    }
    is_served(&agent);

    let mut slow = client(&agent);
    for byte in [HANDSHAKE, MEMBERS].concat() {
        slow.write_all(&[byte]).expect("written");
    }
    let mut answer = [0; SHAKEN.len()];
    slow.read_exact(&mut answer).expect("answered");
    assert_eq!(answer, SHAKEN);

    for garbage in [vec![0x48; 1 << 20], [HANDSHAKE, &[0xdb, 0x7f, 0xff, 0xff, 0xff]].concat()] {
        let mut stream = client(&agent);
        // It may close before all is written.
        let _ = stream.write_all(&garbage);
        rest(stream);
    }
    is_served(&agent);

    drop((idle, greedy, slow));
    if let Some(before) = before {
        until("all connections are closed", || (agent.open_files()? <= before).then_some(()));
    }
    is_served(&agent);
}

#[test]
fn an_agent_that_was_told_to_leave_ends_though_nobody_waits_for_it() {
    let mut agent = Agent::started(Program::Ours, "obedient", &[]);
    let mut stream = client(&agent);
    stream.write_all(HANDSHAKE).expect("written");
    stream.write_all(LEAVE).expect("written");
    agent.wait_log("Graceful leave triggered");
    // With the answer to the handshake unread this resets the connection: the next answer cannot be written.
    drop(stream);
    assert_eq!(agent.exit_code(), Some(0));
}

#[test]
fn a_leave_is_answered_once_for_each_who_asked() {
    let mut agent = Agent::started(Program::Ours, "wanted", &[]);
    let streams: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = shaken(&agent);
            stream.write_all(LEAVE).expect("written");
            stream
        })
        .collect();
    agent.wait_log("Graceful leave triggered");
    agent.signal("-INT");
    assert_eq!(agent.exit_code(), Some(0));
    for stream in streams {
        assert_eq!(rest(stream), b"\x82\xa5Error\xa0\xa3Seq\x02");
    }
}

#[test]
fn the_log_names_bad_clients_and_is_not_flooded_by_them() {
    let agent = Agent::started(Program::Ours, "quiet", &[]);
    let mut stream = client(&agent);
    let from = stream.local_addr().expect("it is bound");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    rest(stream);
    let line =
        format!("failed to decode request header: a value of the wrong type, first byte 0x47 from={from}");
    agent.wait_log(&line);
    for _ in 0..100 {
        let mut stream = client(&agent);
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        rest(stream);
    }
    is_served(&agent);
    let lines = agent.log().lines().filter(|line| line.contains("[ERR] agent.ipc")).count();
    assert!((2..=20).contains(&lines), "{lines} lines of a hundred bad clients");
}

#[test]
fn what_clients_name_stays_on_one_line_of_the_log() {
    let agent = Agent::started(Program::Ours, "tidy", &[]);
    assert!(agent.cli("force-leave", &["a\n    2026/01/01 00:00:00 [ERR] agent: forged"]).status.success());
    agent.cli("join", &["a/\nb:1", "c/\rd:1"]);
    agent.wait_log(r"Force leaving node: a\n    2026/01/01");
    agent.wait_log(r"joining: [a/\nb:1 c/\rd:1]");
    assert!(!agent.log().lines().any(|line| line.trim_start().starts_with("2026/01/01 00:00:00 [ERR]")));
}

#[test]
fn an_agent_whose_output_nobody_reads_goes_on() {
    let mut agent = Agent::new(Program::Ours, "unheard", &[]);
    let mut output = agent.spawn_unread();
    until("it answers", || agent.cli("info", &[]).status.success().then_some(()));
    // A line each, and more than fits into a pipe.
    for _ in 0..2000 {
        drop(shaken(&agent));
    }
    is_served(&agent);
    agent.signal("-INT");
    let mut text = String::new();
    output.read_to_string(&mut text).expect("it can be read");
    assert_eq!(agent.exit_code(), Some(0));
    assert!(text.matches("Accepted client").count() > 2000, "nothing is lost of that little");
    assert!(text.ends_with("agent: shutdown complete\n"), "{}", &text[text.len() - 200..]);
}

/// Joins are done one after another: one that goes on for hours would keep all others waiting.
#[test]
fn a_join_of_too_many_addresses_is_refused_before_anybody_is_contacted() {
    let agent = Agent::started(Program::Ours, "picky", &[]);
    let out = agent.cli("join", &["127.0.0.1:1"; 257]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        text,
        "Error joining the cluster: 257 addresses are too many for one join; the limit is 256\n"
    );
    assert!(agent.cli("join", &[&agent.gossip]).status.success());
}
