//! Commands against an agent that says what no real one can be made to say on demand.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use serf_rpc::message::{
    Coordinate, GetCoordinateResponse, KeyResponse, Member, MembersResponse, QueryRecord, StatsResponse,
};
use serf_rpc::{Connection, Pairs, Request, Step, Text, record, reply, reply_with};

use crate::agents::Program;

/// Serves one client, and gives back what it has asked. `script` makes the bytes of each answer; none ends it.
pub(crate) fn agent(
    mut script: impl FnMut(u64, &Request) -> Option<Vec<u8>> + Send + 'static,
) -> (String, JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let serve = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let (mut connection, mut asked, mut chunk) = (Connection::new(""), Vec::new(), [0; 4096]);
        loop {
            let count = stream.read(&mut chunk).unwrap_or(0);
            if count == 0 {
                return asked;
            }
            connection.receive(&chunk[..count]);
            while let Some(step) = connection.next_step() {
                let bytes = match step {
                    Step::Request { seq, request } => {
                        let bytes = script(seq, &request);
                        asked.push(request);
                        bytes
                    }
                    Step::Reply { bytes, .. } => Some(bytes),
                    Step::Close(_) => None,
                };
                let Some(bytes) = bytes else { return asked };
                // A client may have heard enough.
                let _ = stream.write_all(&bytes);
            }
        }
    });
    (address, serve)
}

pub(crate) fn spawn(address: &str, command: &str, args: &[&str]) -> Child {
    Command::new(Program::Ours.path())
        .args([command, &format!("-rpc-addr={address}")])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

pub(crate) fn run(address: &str, command: &str, args: &[&str]) -> Output {
    spawn(address, command, args).wait_with_output().expect("it ends")
}

/// Standard output with the exit code at its end.
pub(crate) fn told(out: &Output) -> String {
    format!("{}({})", String::from_utf8_lossy(&out.stdout), out.status.code().expect("it ended by itself"))
}

/// A query's answers: kind, node, payload.
pub(crate) type Records<'a> = &'a [(&'a str, &'a str, &'a [u8])];

pub(crate) fn records(seq: u64, records: Records<'_>) -> Vec<u8> {
    let bytes = records.iter().map(|&(kind, from, payload)| {
        let payload = Some(payload.to_vec()).filter(|payload| !payload.is_empty());
        record(seq, &QueryRecord { kind: kind.into(), from: from.into(), payload })
    });
    bytes.fold(reply(seq, ""), |all, bytes| [all, bytes].concat())
}

pub(crate) fn members(names: &[(&str, &str)]) -> MembersResponse {
    let member = |&(name, status): &(&str, &str)| Member {
        name: name.into(),
        status: status.into(),
        ..Member::default()
    };
    MembersResponse { members: names.iter().map(member).collect() }
}

pub(crate) const DONE: (&str, &str, &[u8]) = ("done", "", b"");

#[test]
fn a_query_is_asked_as_its_flags_say() {
    let (address, serve) = agent(|seq, _| Some(records(seq, &[DONE])));
    let flags =
        ["-node=n1", "-node", "n2", "-tag", "role=web", "-timeout=1.5s", "-no-ack", "-relay-factor=3"];
    let out = run(&address, "query", &[&flags[..], &["load", "now"]].concat());
    assert_eq!(told(&out), "Query 'load' dispatched\nTotal Responses: 0\n(0)");
    let asked = serve.join().expect("served");
    let [Request::Query(query)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(query.filter_nodes, Some(vec!["n1".into(), "n2".into()]));
    assert_eq!(query.filter_tags, Some([("role", "web")].into_iter().collect()));
    assert_eq!((query.request_ack, query.relay_factor, query.timeout), (false, 3, 1_500_000_000));
    assert_eq!((&query.name, query.payload.as_deref()), (&"load".into(), Some(&b"now"[..])));

    // As it is without any flag.
    let (address, serve) = agent(|seq, _| Some(records(seq, &[DONE])));
    assert!(run(&address, "query", &["load", ""]).status.success());
    let asked = serve.join().expect("served");
    let [Request::Query(query)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((&query.filter_nodes, &query.filter_tags), (&None, &Some(Pairs::new())));
    assert_eq!((query.request_ack, query.relay_factor, query.timeout), (true, 0, 0));
    assert_eq!(query.payload, None);
}

#[test]
fn answers_are_shown_as_they_come_or_as_a_document() {
    let answers: Records<'_> = &[
        ("ack", "n1", b""),
        ("response", "n2", b"two\nlines\n\n"),
        ("ack", "", b""),
        ("response", "n1", b"<\xff\xe2\x82>"),
        ("ack", "n2", b""),
        ("response", "n3", b""),
        DONE,
    ];
    let text = b"Query 'load' dispatched\nAck from 'n1'\nResponse from 'n2': two\nlines\n\n\
        Response from 'n1': <\xff\xe2\x82>\nAck from 'n2'\nResponse from 'n3': \nTotal Acks: 2\nTotal Responses: 3\n";
    let json = "{\n  \"Acks\": [\n    \"n1\",\n    \"n2\"\n  ],\n  \"Responses\": {\n    \
        \"n1\": \"\\u003c\\ufffd\\ufffd\\ufffd\\u003e\",\n    \"n2\": \"two\\nlines\\n\\n\",\n    \"n3\": \"\"\n  }\n}\n";
    for (flags, want) in [(&["load"][..], &text[..]), (&["-format=json", "load"], json.as_bytes())] {
        let (address, serve) = agent(move |seq, _| Some(records(seq, answers)));
        let out = run(&address, "query", flags);
        assert_eq!(out.status.code(), Some(0));
        assert_eq!(out.stdout.escape_ascii().to_string(), want.escape_ascii().to_string());
        assert_eq!(String::from_utf8_lossy(&out.stderr), "");
        serve.join().expect("served");
    }
    let (address, _serve) = agent(|seq, _| Some(records(seq, &[DONE])));
    let out = run(&address, "query", &["-format=json", "load"]);
    assert_eq!(told(&out), "{\n  \"Acks\": null,\n  \"Responses\": {}\n}\n(0)");
}

#[test]
fn a_query_ends_with_its_agent_and_tells_what_has_come() {
    let (address, serve) = agent(|seq, request| match request {
        Request::Query(_) => Some([records(seq, &[("ack", "n1", b"")]), b"\xc1".to_vec()].concat()),
        _ => None,
    });
    let out = run(&address, "query", &["load"]);
    assert_eq!(told(&out), "Query 'load' dispatched\nAck from 'n1'\nTotal Acks: 1\nTotal Responses: 0\n(0)");
    serve.join().expect("served");
}

#[test]
fn mistakes_of_a_query_are_told_before_anybody_is_asked() {
    for (args, want) in [
        (&["-tag=foo", "x"][..], "Error: Invalid tag: 'foo'\n(1)"),
        (&["-relay-factor=256", "x"], "Relay factor must be between 0 and 255\n(1)"),
        (&["-relay-factor=-1", "x"], "Relay factor must be between 0 and 255\n(1)"),
        (&["-format=xml", "x"], "Invalid format: xml\n(1)"),
        (&[], "A query name must be specified.\n\nUsage: serf query"),
        (
            &["a", "b", "c"],
            "Too many command line arguments. Only a name and payload must be specified.\n\nUsage:",
        ),
    ] {
        // Nothing can be listened for at port 0.
        let out = run("127.0.0.1:0", "query", args);
        assert!(told(&out).starts_with(want), "{args:?}: {}", told(&out));
        assert_eq!(out.status.code(), Some(1));
    }
    let out = run("127.0.0.1:0", "rtt", &[]);
    assert!(
        told(&out).starts_with("One or two node names must be specified\n\nUsage: serf rtt"),
        "{}",
        told(&out)
    );
    for (args, want) in [
        (&["-list", "-use=x"][..], "Only one of -install, -use, -remove, or -list allowed\n(1)"),
        (&["-install=", "-list=false"], "Usage: serf keys"),
    ] {
        assert!(told(&run("127.0.0.1:0", "keys", args)).starts_with(want), "{args:?}");
    }
}

/// Interrupted once its first words are out: then it has been listening for signals since before.
#[test]
fn an_interrupt_ends_a_query_and_a_test_at_once() {
    for (command, args, words, end) in [
        ("query", &["load"][..], "Query 'load' dispatched\n", ""),
        ("query", &["-format=json", "load"], "", ""),
        (
            "reachability",
            &[],
            "Total members: 0, live members: 0\nStarting reachability test...\n",
            "Test interrupted\n",
        ),
    ] {
        let (asked, hears) = std::sync::mpsc::channel();
        let (address, serve) = agent(move |seq, request| {
            let bytes = match request {
                Request::Members => reply_with(seq, "", &members(&[])),
                // No answers, and no end.
                _ => reply(seq, ""),
            };
            if let Request::Query(_) = request {
                let _ = asked.send(());
            }
            Some(bytes)
        });
        let mut child = spawn(&address, command, args);
        hears.recv().expect("the query is asked");
        let mut shown = vec![0; words.len()];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut shown).expect("it is said");
        assert_eq!(String::from_utf8_lossy(&shown), words);
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill is there").success());
        assert_eq!(told(&child.wait_with_output().expect("it ends")), format!("{end}(1)"));
        serve.join().expect("served");
    }
}

fn reachability(answers: Vec<(&'static str, &'static str, &'static [u8])>) -> Output {
    let (address, serve) = agent(move |seq, request| {
        Some(match request {
            Request::Members => {
                reply_with(seq, "", &members(&[("a", "alive"), ("b", "alive"), ("c", "failed")]))
            }
            _ => records(seq, &answers),
        })
    });
    let out = run(&address, "reachability", &["-verbose"]);
    let asked = serve.join().expect("served");
    let [Request::Members, Request::Query(ping)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(
        (&ping.name, ping.request_ack, &ping.payload, ping.timeout),
        (&"_serf_ping".into(), true, &None, 0)
    );
    out
}

/// Standard output but for its first two lines and that with the times, up to the tips, and the exit code.
fn verdict(out: &Output) -> (String, Option<i32>) {
    let text = String::from_utf8_lossy(&out.stdout);
    let rest = text
        .strip_prefix("Total members: 3, live members: 2\nStarting reachability test...\n")
        .expect("it begins like this");
    let (acks, rest) = rest.split_once("Query time: ").expect("it tells times");
    let (times, rest) = rest.split_once('\n').expect("a line");
    let (total, last) = times.split_once(" sec, time to last response: ").expect("two times");
    for time in [total, last.strip_suffix(" sec").expect("seconds")] {
        let decimals = time.split_once('.').map(|(_, decimals)| decimals.len());
        assert!(time.parse::<f64>().is_ok() && decimals == Some(2), "{times}");
    }
    let rest = match rest.split_once("\n\nTroubleshooting tips:\n* ") {
        Some((rest, _)) => format!("{rest}\n"),
        None => rest.to_owned(),
    };
    (acks.to_owned() + &rest, out.status.code())
}

#[test]
fn reachability_counts_who_has_acknowledged_and_not_how_often() {
    let lost =
        "This could mean Serf gossip packets are being lost due to a misconfiguration or network issue.\n";
    let false_failures =
        "This could mean Serf is detecting false-failures due to a misconfiguration or network issue.\n";
    let twice = "Duplicate responses means there is a misconfiguration. Verify that node names are unique.\n";
    let success = "Successfully contacted all live nodes\n";
    let missing = "Received less acks than live nodes! Missing acks from:\n\tb\n";
    let ack = |name| ("ack", name, &b""[..]);
    for (answers, want, code) in [
        (vec![ack("b"), ack("a"), DONE], format!("\tAck from 'b'\n\tAck from 'a'\n{success}"), 0),
        (vec![ack("a"), DONE], format!("\tAck from 'a'\n{missing}{lost}"), 1),
        // As many as there are live members, and yet one is missing.
        (vec![ack("a"), ack("c"), DONE], format!("\tAck from 'a'\n\tAck from 'c'\n{missing}{lost}"), 1),
        (
            vec![ack("a"), ack("a"), DONE],
            format!("\tAck from 'a'\n\tAck from 'a'\nDuplicate response from 'a'\n{twice}{missing}{lost}"),
            1,
        ),
        (
            vec![ack("a"), ack("b"), ack("a"), DONE],
            format!(
                "\tAck from 'a'\n\tAck from 'b'\n\tAck from 'a'\nDuplicate response from 'a'\n{twice}{success}"
            ),
            1,
        ),
        (
            vec![ack("a"), ack("b"), ack("c"), DONE],
            format!(
                "\tAck from 'a'\n\tAck from 'b'\n\tAck from 'c'\n\
                 Received more acks than live nodes! Acks from non-live nodes:\n\tc\n{false_failures}"
            ),
            1,
        ),
    ] {
        let (text, exit) = verdict(&reachability(answers));
        assert_eq!((text, exit), (want, Some(code)));
    }
}

#[test]
fn a_test_whose_agent_goes_away_blames_no_node() {
    let (address, serve) = agent(|seq, request| match request {
        Request::Members => Some(reply_with(seq, "", &members(&[("a", "alive")]))),
        _ => Some([records(seq, &[]), b"\xc1".to_vec()].concat()),
    });
    let out = run(&address, "reachability", &[]);
    let want = "Total members: 1, live members: 1\nStarting reachability test...\nTest interrupted: client closed\n(1)";
    assert_eq!(told(&out), want);
    serve.join().expect("served");
}

fn keys(args: &[&str], error: &'static str, report: KeyResponse) -> (Output, Request) {
    let (address, serve) = agent(move |seq, _| Some(reply_with(seq, error, &report)));
    let out = run(&address, "keys", args);
    let mut asked = serve.join().expect("served");
    (out, asked.pop().expect("something was asked"))
}

#[test]
fn keys_are_listed_with_the_number_of_members_that_have_them() {
    let counts: Pairs<i64> = [("MDEyMzQ1Njc4OWFiY2RlZg==", 1), ("HvY8", 2)].into_iter().collect();
    let note = "truncated key list response, showing first 2 of 60 keys";
    let report = KeyResponse {
        keys: Some(counts),
        messages: Some([("n2", note)].into_iter().collect()),
        num_nodes: 2,
        num_resp: 2,
        ..KeyResponse::default()
    };
    let (out, asked) = keys(&["-list"], "", report);
    assert_eq!(asked, Request::ListKeys);
    assert_eq!(
        told(&out),
        "==> Asking all members for installed keys...\n==> Keys gathered, listing cluster keys...\n\n\
         HvY8                      [2/2]\nMDEyMzQ1Njc4OWFiY2RlZg==  [1/2]\n(0)"
    );
    assert_eq!(String::from_utf8_lossy(&out.stderr), format!("Note: n2: {note}\n"));
}

#[test]
fn changes_of_keys_are_told_with_who_failed_and_why() {
    let told_why = "No keyring to modify (encryption not enabled)";
    let names = [("n2", told_why), ("node-1", told_why)];
    let report = KeyResponse {
        messages: Some(names.into_iter().collect()),
        num_err: 2,
        num_nodes: 2,
        num_resp: 2,
        ..KeyResponse::default()
    };
    for (flag, doing, done, failed) in [
        (
            "-install=a2V5",
            "Installing key on all members...",
            "Successfully installed key!",
            "Error installing key",
        ),
        (
            "-use=a2V5",
            "Changing primary key on all members...",
            "Successfully changed primary key!",
            "Error changing primary key",
        ),
        ("-remove=a2V5", "Removing key on all members...", "Successfully removed key!", "Error removing key"),
    ] {
        let (out, asked) = keys(&[flag], "", KeyResponse::default());
        assert_eq!(told(&out), format!("==> {doing}\n==> {done}\n(0)"));
        let (Request::InstallKey(key) | Request::UseKey(key) | Request::RemoveKey(key)) = &asked else {
            panic!("{asked:?}")
        };
        assert_eq!(key.key, "a2V5");
        assert!(flag[1..].starts_with(asked.command().name().trim_end_matches("-key")), "{asked:?}");
        let (out, _) = keys(&[flag], "2/2 nodes reported failure", report.clone());
        assert_eq!(
            told(&out),
            format!(
                "==> {doing}\nfailed:  n2      {told_why}\nfailed:  node-1  {told_why}\n\n\
                 {failed}: 2/2 nodes reported failure\n(1)"
            )
        );
    }
    let (out, _) = keys(&["-install=!!"], "illegal base64 data at input byte 0", KeyResponse::default());
    let want = "==> Installing key on all members...\n\nError installing key: illegal base64 data at input byte 0\n(1)";
    assert_eq!(told(&out), want);
}

#[test]
fn the_round_trip_is_that_of_the_coordinates() {
    let script = |seq, request: &Request| {
        let coordinate = |node: &Text| match node.as_bytes() {
            b"odd" => Some(Coordinate { vec: Some(vec![f64::NAN; 8]), ..Coordinate::default() }),
            b"none" => None,
            _ => {
                Some(Coordinate { vec: Some(vec![0.0; 8]), height: 0.000_012_345_6, ..Coordinate::default() })
            }
        };
        Some(match request {
            Request::GetCoordinate(request) => {
                let found = coordinate(&request.node);
                let ok = found.is_some();
                reply_with(seq, "", &GetCoordinateResponse { coord: found.unwrap_or_default(), ok })
            }
            _ => {
                let name: Pairs<Text> = [("name", "me")].into_iter().collect();
                reply_with(seq, "", &[("agent", name)].into_iter().collect::<StatsResponse>())
            }
        })
    };
    for (args, want) in [
        (&["n1"][..], "Estimated n1 <-> me rtt: 0.025 ms\n(0)"),
        (&["n1", "n2"], "Estimated n1 <-> n2 rtt: 0.025 ms\n(0)"),
        (&["none"], "Could not find a coordinate for node \"none\"\n(1)"),
        (&["odd", "n1"], "The coordinates of \"odd\" and \"n1\" make no distance\n(1)"),
    ] {
        let (address, serve) = agent(script);
        assert_eq!(told(&run(&address, "rtt", args)), want);
        serve.join().expect("served");
    }
}
