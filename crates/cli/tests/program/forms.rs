//! The forms in which commands tell things: documents, and what becomes of them when nobody takes them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use serf_rpc::message::{
    Coordinate, EventRecord, GetCoordinateResponse, JoinResponse, KeyResponse, LogRecord, MemberEventRecord,
    StatsResponse, UserEventRecord,
};
use serf_rpc::{Connection, Pairs, Request, Step, Text, record, reply, reply_with};

use crate::agents::{Agent, Program, until};
use crate::scripted::{agent, members, run, spawn, told};

/// What was printed, which must be one document.
fn document(out: &Output) -> Value {
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// An agent that does whatever it is asked to do.
fn obliging(seq: u64, request: &Request) -> Option<Vec<u8>> {
    Some(match request {
        Request::Join(_) => reply_with(seq, "", &JoinResponse { num: 1 }),
        Request::Stats => {
            let name: Pairs<Text> = [("name", "me")].into_iter().collect();
            reply_with(seq, "", &[("agent", name)].into_iter().collect::<StatsResponse>())
        }
        Request::GetCoordinate(_) => {
            let coord = Coordinate { vec: Some(vec![0.0; 8]), height: 0.000_25, ..Coordinate::default() };
            reply_with(seq, "", &GetCoordinateResponse { coord, ok: true })
        }
        Request::ListKeys => {
            let keys = [("b", 1), ("a", 2)].into_iter().collect();
            let report =
                KeyResponse { keys: Some(keys), num_nodes: 2, num_resp: 2, ..KeyResponse::default() };
            reply_with(seq, "", &report)
        }
        Request::InstallKey(_) => {
            let messages = [("n2", "no keyring")].into_iter().collect();
            let report = KeyResponse {
                messages: Some(messages),
                num_err: 1,
                num_nodes: 2,
                num_resp: 2,
                ..KeyResponse::default()
            };
            reply_with(seq, "1/2 nodes reported failure", &report)
        }
        Request::MembersFiltered(_) | Request::Members => reply_with(seq, "", &members(&[("a", "alive")])),
        _ => reply(seq, ""),
    })
}

#[test]
fn every_command_can_answer_with_a_document() {
    for (command, args, want, code) in [
        ("event", &["deploy", "v1"][..], r#"{"event":"deploy","coalesce":true}"#, 0),
        ("force-leave", &["-prune", "a"], r#"{"node":"a","prune":true}"#, 0),
        ("join", &["h1", "h2"], r#"{"addresses":["h1","h2"],"joined":1}"#, 0),
        (
            "keys",
            &["-list"],
            r#"{"action":"list","error":null,"keys":{"a":2,"b":1},"messages":{},"nodes":2,"responses":2,"errors":0}"#,
            0,
        ),
        (
            "keys",
            &["-install=x"],
            r#"{"action":"install","error":"1/2 nodes reported failure","messages":{"n2":"no keyring"},"nodes":2,
                "responses":2,"errors":1}"#,
            1,
        ),
        ("leave", &[], r#"{"left":true}"#, 0),
        ("rtt", &["n1"], r#"{"node":"n1","other":"me","rtt_ms":0.5}"#, 0),
        ("tags", &["-set", "a=b", "-delete=c"], r#"{"set":{"a":"b"},"deleted":["c"]}"#, 0),
        ("info", &[], r#"{"agent":{"name":"me"}}"#, 0),
    ] {
        let (address, _serve) = agent(obliging);
        let out = run(&address, command, &[&["-format=json"], args].concat());
        assert_eq!(document(&out), serde_json::from_str::<Value>(want).expect("a document"), "{command}");
        assert_eq!((out.status.code(), &*out.stderr), (Some(code), &b""[..]), "{command}");
        // Anything else is refused, before anybody is asked to do anything.
        if command != "info" {
            let out = run("127.0.0.1:0", command, &[&["-format=xml"], args].concat());
            assert_eq!(told(&out), "Encoding error: Invalid output format \"xml\"\n(1)", "{command}");
        }
    }
    for command in ["version", "keygen"] {
        let out =
            Command::new(Program::Ours.path()).args([command, "-format=json"]).output().expect("it runs");
        assert!(document(&out).is_object() && out.status.success());
        // They have always taken anything.
        let out =
            Command::new(Program::Ours.path()).args([command, "-bogus", "x"]).output().expect("it runs");
        assert!(out.status.success() && out.stderr.is_empty());
    }
}

#[test]
fn a_failed_test_of_reachability_is_a_document_too() {
    let (address, _serve) = agent(|seq, request| {
        Some(match request {
            Request::Members => {
                reply_with(seq, "", &members(&[("a", "alive"), ("b", "alive"), ("c", "failed")]))
            }
            _ => {
                let answers = [("ack", "a"), ("ack", "c"), ("ack", "c"), ("done", "")];
                let answers = answers.map(|(kind, from)| {
                    record(
                        seq,
                        &serf_rpc::message::QueryRecord {
                            kind: kind.into(),
                            from: from.into(),
                            payload: None,
                        },
                    )
                });
                [&[reply(seq, "")], &answers[..]].concat().concat()
            }
        })
    });
    let out = run(&address, "reachability", &["-format=json"]);
    let document = document(&out);
    assert_eq!(out.status.code(), Some(1));
    for (key, want) in [
        ("reachable", "false"),
        ("members", "3"),
        ("live", "2"),
        ("acks", r#"["a","c"]"#),
        ("missing", r#"["b"]"#),
        ("strangers", r#"["c"]"#),
        ("duplicates", r#"["c"]"#),
    ] {
        assert_eq!(document[key].to_string(), want, "{key}");
    }
    assert!(document["query_seconds"].is_f64() && document["last_ack_seconds"].is_f64());
}

#[test]
fn without_a_result_there_is_a_line_of_text_and_an_exit_code() {
    for (command, args) in [
        ("event", &["x"][..]),
        ("force-leave", &["x"]),
        ("join", &["x"]),
        ("leave", &[]),
        ("members", &[]),
        ("monitor", &[]),
        ("query", &["x"]),
        ("reachability", &[]),
        ("rtt", &["x"]),
        ("tags", &["-set=a=b"]),
    ] {
        let (address, _serve) = agent(|seq, request| {
            Some(match request.command().is_answered_with_body() {
                true => reply_with(seq, "No such luck", &members(&[])),
                false => reply(seq, "No such luck"),
            })
        });
        let out = run(&address, command, &[&["-format=json"], args].concat());
        let told = told(&out);
        assert!(told.ends_with(": No such luck\n(1)"), "{command}: {told}");
        assert_eq!(told.lines().count(), 2, "{command}: {told}");
    }
}

/// An agent whose events and log lines are these, and which then goes away or goes on.
fn talkative(ends: bool) -> impl FnMut(u64, &Request) -> Option<Vec<u8>> + Send + 'static {
    let mut stream = 0;
    move |seq, request| {
        Some(match request {
            Request::Stream(_) => {
                stream = seq;
                reply(seq, "")
            }
            _ => {
                let event = EventRecord::User(UserEventRecord {
                    event: "user".into(),
                    name: "deploy".into(),
                    ltime: 3,
                    ..UserEventRecord::default()
                });
                let line = LogRecord { log: "2026/01/02 03:04:05 [WARN] agent: \x1b".into() };
                let mut bytes = [reply(seq, ""), record(stream, &event), record(seq, &line)].concat();
                if ends {
                    // No message begins like this.
                    bytes.push(0xc1);
                }
                bytes
            }
        })
    }
}

#[test]
fn a_monitor_tells_a_document_a_line() {
    let (address, _serve) = agent(talkative(true));
    let out = run(&address, "monitor", &["-format=json"]);
    let text = String::from_utf8_lossy(&out.stdout);
    // Lines and events come by two ways, so that either may be first.
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            r#"{"event":"user","name":"deploy","ltime":3,"coalesce":false,"payload":"","payload_base64":""}"#,
            r#"{"log":"2026/01/02 03:04:05 [WARN] agent: \u001b","level":"warn"}"#,
        ]
    );
    let end = "Remote side ended the monitor! The agent has ended, or has lost the connection.\n";
    assert_eq!((out.status.code(), &*String::from_utf8_lossy(&out.stderr)), (Some(1), end));
}

#[test]
fn what_would_go_on_for_ever_ends_when_its_reader_does() {
    let mut lone = Agent::new(Program::Ours, "chatty", &[]);
    lone.start(&[]);
    let mut child = spawn(&lone.rpc, "monitor", &[]);
    let mut line = String::new();
    // The pipe closes with the reader.
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(!line.is_empty());
    let status = until("it notices", || {
        assert!(lone.cli("event", &["tick"]).status.success());
        child.try_wait().expect("a child can be waited for")
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_disk_that_is_full_is_told_of() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { return };
    let (address, _serve) = agent(obliging);
    for (command, args) in [("members", vec![format!("-rpc-addr={address}")]), ("keygen", vec![])] {
        let out = Command::new(Program::Ours.path())
            .arg(command)
            .args(args)
            .stdout(File::try_clone(&full).expect("a file can be shared"))
            .stderr(Stdio::piped())
            .output()
            .expect("the program starts");
        let told = "Error writing to standard output: no space left on device\n";
        assert_eq!((out.status.code(), &*String::from_utf8_lossy(&out.stderr)), (Some(1), told));
    }
}

#[test]
fn flags_that_are_nearly_right_are_recognised() {
    let out = run("127.0.0.1:0", "members", &["-formt=json"]);
    let told = "flag provided but not defined: -formt\nDid you mean -format?\n";
    assert_eq!((out.status.code(), &*String::from_utf8_lossy(&out.stderr)), (Some(1), told));
}

#[test]
fn a_watch_ends_with_the_first_list_that_cannot_be_written() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else { return };
    let (address, _serve) = agent(obliging);
    let mut child = Command::new(Program::Ours.path())
        .args(["members", "-watch", &format!("-rpc-addr={address}")])
        .stdout(full)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    // Nothing ever changes.
    let status = until("it notices", || child.try_wait().expect("a child can be waited for"));
    assert_eq!(status.code(), Some(1));
}

/// An agent with one member, which fails; the agent itself goes away soon after.
fn watched() -> impl FnMut(u64, &Request) -> Option<Vec<u8>> + Send + 'static {
    let (mut stream, mut asked) = (0, 0);
    move |seq, request| {
        Some(match request {
            Request::Stream(wanted) => {
                let kinds = "member-join,member-leave,member-failed,member-update,member-reap";
                assert_eq!(wanted.kind, kinds);
                stream = seq;
                reply(seq, "")
            }
            Request::MembersFiltered(filter) => {
                assert_eq!(filter.status, "alive|failed");
                asked += 1;
                let event = EventRecord::Members(MemberEventRecord {
                    event: "member-failed".into(),
                    members: members(&[("a", "failed")]).members,
                });
                match asked {
                    1 => [reply_with(seq, "", &members(&[("a", "alive")])), record(stream, &event)].concat(),
                    // Something happens that is not to be seen here.
                    2 => [reply_with(seq, "", &members(&[("a", "alive")])), record(stream, &event)].concat(),
                    _ => [reply_with(seq, "", &members(&[("a", "failed")])), vec![0xc1]].concat(),
                }
            }
            _ => unreachable!("{request:?}"),
        })
    }
}

#[test]
fn a_watched_list_is_shown_when_it_has_changed_and_ends_with_its_agent() {
    let (address, _serve) = agent(watched());
    let end = format!("The agent at {address} has ended, or the connection to it is lost.\n");
    let out = run(&address, "members", &["-watch", "-status=alive|failed"]);
    assert_eq!(told(&out), format!("a  :0  alive\n\na  :0  failed\n{end}(1)"));

    let (address, _serve) = agent(watched());
    let end = format!("The agent at {address} has ended, or the connection to it is lost.\n");
    let out = run(&address, "members", &["-watch", "-status=alive|failed", "-format=json"]);
    let states: Vec<_> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("a document")["members"][0]["status"].to_string()
        })
        .collect();
    assert_eq!(states, ["\"alive\"", "\"failed\""]);
    assert_eq!((out.status.code(), &*String::from_utf8_lossy(&out.stderr)), (Some(1), &*end));
}

#[test]
fn an_interrupt_ends_a_watch_and_a_monitor_well() {
    let lone = Agent::started(Program::Ours, "seen", &[]);
    for (command, args) in [("members", &["-watch"][..]), ("monitor", &[])] {
        let mut child = spawn(&lone.rpc, command, args);
        let mut line = String::new();
        let mut shown = BufReader::new(child.stdout.take().expect("a pipe"));
        shown.read_line(&mut line).expect("a line");
        assert!(!line.is_empty());
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill is there").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{command}");
    }
}

/// Answers the first request with these bytes, and goes away.
fn rude(bytes: impl FnOnce(u64) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let (mut connection, mut chunk) = (Connection::new(""), [0; 4096]);
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            connection.receive(&chunk[..count]);
            while let Some(step) = connection.next_step() {
                match step {
                    Step::Reply { bytes, .. } => stream.write_all(&bytes).expect("it listens"),
                    Step::Request { seq, .. } => {
                        let _ = stream.write_all(&bytes(seq));
                        return;
                    }
                    Step::Close(_) => return,
                }
            }
        }
    });
    address
}

/// What may stand behind the header of an answer.
const NONSENSE: [&[u8]; 5] = [
    b"\xc1",
    // Four billion items, and as many bytes.
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x81\xa7Members",
    b"\x93",
];

#[test]
fn an_agent_that_talks_nonsense_ends_every_command_with_a_line() {
    for (command, args, is_through) in [
        // Their answer has no body: they are through before the nonsense begins.
        ("event", &["x"][..], true),
        ("leave", &[], true),
        ("query", &["x"], true),
        ("tags", &["-set=a=b"], true),
        // It asks whether there is such a member.
        ("force-leave", &["x"], false),
        ("info", &[], false),
        ("join", &["x"], false),
        ("keys", &["-list"], false),
        ("members", &[], false),
        ("members", &["-watch"], false),
        ("monitor", &[], false),
        ("reachability", &[], false),
        ("rtt", &["x"], false),
    ] {
        let check = |address: &str, what: &str, succeeds: bool| {
            let out = run(address, command, args);
            let (text, notes) = (told(&out), String::from_utf8_lossy(&out.stderr));
            assert_eq!(out.status.success(), succeeds, "{command} {args:?} after {what}: {text}{notes}");
            assert!(!notes.contains("panicked"), "{command} after {what}: {notes}");
            let words = ["client closed", "Remote side ended", "has ended, or the connection to it is lost"];
            assert!(
                succeeds || words.iter().any(|words| text.contains(words)),
                "{command} after {what}: {text}"
            );
        };
        check(&rude(|_| Vec::new()), "nothing", false);
        for bytes in NONSENSE {
            let address = rude(move |seq| [&reply(seq, "")[..], bytes].concat());
            check(&address, &format!("{bytes:x?}"), is_through);
        }
    }
}
