//! What commands can do beyond the reference's: switches for those who want them, and notes beside what scripts read.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serf_rpc::message::MembersFilteredRequest;
use serf_rpc::{Request, reply, reply_with};

use crate::agents::{Agent, Program, converge};
use crate::scripted::{DONE, agent, members, records, run, told};

/// What was said beside the result.
fn noted(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

// E29.
#[test]
fn a_payload_may_come_from_a_file_or_another_program() {
    let with_input = |address: &str, command: &str, args: &[&str]| {
        let mut child = Command::new(Program::Ours.path())
            .args([command, &format!("-rpc-addr={address}")])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // It may have ended without reading.
        let _ = child.stdin.take().expect("a pipe").write_all(b"\0\xff piped\n");
        child.wait_with_output().expect("it ends")
    };
    for command in ["event", "query"] {
        let (address, serve) = agent(|seq, request| {
            Some(match request {
                Request::Query(_) => records(seq, &[DONE]),
                _ => reply(seq, ""),
            })
        });
        assert!(with_input(&address, command, &["-payload-file=-", "x"]).status.success());
        let asked = serve.join().expect("served");
        let payload = match &asked[..] {
            [Request::Event(event)] => event.payload.as_deref(),
            [Request::Query(query)] => query.payload.as_deref(),
            other => panic!("{other:?}"),
        };
        assert_eq!(payload, Some(&b"\0\xff piped\n"[..]), "{command}");
        for (args, want) in [
            (&["-payload-file=missing/file", "x"][..], "'missing/file': no such file or directory\n(1)"),
            (&["-payload-file=/dev/zero", "x"], "'/dev/zero': it is longer than 1048576 bytes\n(1)"),
            (
                &["-payload-file=-", "x", "y"],
                "A payload is an argument or -payload-file, not both.\n\nUsage: ",
            ),
        ] {
            let told = told(&run("127.0.0.1:0", command, args));
            assert!(told.contains(want), "{told}");
        }
    }
    // As ever.
    let (address, serve) = agent(|seq, _| Some(reply(seq, "")));
    assert!(run(&address, "event", &["x", "-"]).status.success());
    let asked = serve.join().expect("served");
    assert!(
        matches!(&asked[..], [Request::Event(event)] if event.payload.as_deref() == Some(b"-")),
        "{asked:?}"
    );
}

// E24: those who are asked are those who are there and meet the conditions, as the agent sees it.
#[test]
fn a_query_may_end_with_the_last_answer() {
    let flags = ["-early", "-tag", "role=web|db", "-node=n1", "-node=n2", "load"];
    let (address, serve) = agent(|seq, request| {
        Some(match request {
            Request::MembersFiltered(_) => {
                reply_with(seq, "", &members(&[("n1", "alive"), ("n2", "alive"), ("n3", "alive")]))
            }
            // And then nothing more, for longer than anybody waits.
            _ => records(
                seq,
                &[("response", "n2", b"b"), ("ack", "n1", b""), ("response", "n1", b"a"), ("ack", "n2", b"")],
            ),
        })
    });
    assert_eq!(
        told(&run(&address, "query", &flags)),
        "Query 'load' dispatched\nResponse from 'n2': b\nAck from 'n1'\nResponse from 'n1': a\nAck from 'n2'\n\
         Total Acks: 2\nTotal Responses: 2\n(0)"
    );
    let asked = serve.join().expect("served");
    let Request::MembersFiltered(MembersFilteredRequest { tags, status, name }) = &asked[0] else {
        panic!("{asked:?}")
    };
    assert_eq!(*tags, Some([("role", "(?s).*(?:web|db).*")].into_iter().collect()));
    assert_eq!((status.to_string(), name.to_string()), ("alive".into(), String::new()));
}

#[test]
fn a_query_that_may_end_early_asks_real_agents() {
    let flags = ["-tag=role=a web server", "-event-handler=query:load=echo 7"];
    let [one, two] = ["one", "two"].map(|name| Agent::started(Program::Ours, name, &flags));
    one.join(&two);
    converge(&[&one, &two]);
    // Whoever waits for the end of its time fails with this test's patience.
    let out = one.cli("query", &["-early", "-no-ack", "-timeout=10h", "-tag=role=web", "load"]);
    let mut lines: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(Into::into).collect();
    lines.sort();
    let want =
        ["Query 'load' dispatched", "Response from 'one': 7", "Response from 'two': 7", "Total Responses: 2"];
    assert_eq!(lines, want);
    let out = one.cli("query", &["-early", "-timeout=10h", "-tag=role=db", "-format=json", "load"]);
    assert_eq!(told(&out), "{\n  \"Acks\": null,\n  \"Responses\": {}\n}\n(0)");
}

// E23, E27, E34: what people are told on a terminal, scripts are not: they compare standard error, too.
#[test]
fn scripts_get_no_notes() {
    let (address, serve) = agent(|seq, request| match request {
        Request::Query(_) => Some([records(seq, &[("ack", "n1", b"")]), b"\xc1".to_vec()].concat()),
        _ => None,
    });
    let out = run(&address, "query", &["load"]);
    assert!(told(&out).ends_with("Total Acks: 1\nTotal Responses: 0\n(0)"));
    assert_eq!(noted(&out), "");
    serve.join().expect("served");

    for name in ["known", "un\nknown"] {
        for flags in [&[name][..], &["-prune", name]] {
            let (address, serve) = agent(|seq, request| {
                Some(match request {
                    Request::Members => reply_with(seq, "", &members(&[("known", "failed")])),
                    _ => reply(seq, ""),
                })
            });
            let out = run(&address, "force-leave", flags);
            assert_eq!((told(&out).as_str(), noted(&out).as_str()), ("(0)", ""));
            let asked = serve.join().expect("served");
            assert!(matches!(&asked[..], [Request::Members, Request::ForceLeave(_)]), "{asked:?}");
        }
    }

    let (address, _serve) = agent(|seq, _| Some(reply(seq, "")));
    let out = run(&address, "event", &[""]);
    assert_eq!(told(&out), "Event '' dispatched! Coalescing enabled: true\n(0)");
    assert_eq!(noted(&out), "");
}

// E17.
#[test]
fn errors_stand_on_standard_error_where_that_is_wanted() {
    for (command, error) in [
        ("members", "Error connecting to Serf agent: dial tcp 127.0.0.1:0: "),
        ("query", "A query name must be specified.\n\nUsage: "),
        ("tags", "Usage: serf tags"),
    ] {
        for (flags, variable, apart) in [
            (&["-errors-stderr"][..], None, true),
            (&[], Some("1"), true),
            (&[], Some("yes"), true),
            (&[], Some("false"), false),
            (&[], Some(""), false),
            (&["-errors-stderr=false"], Some("1"), false),
        ] {
            let mut run = Command::new(Program::Ours.path());
            run.args([command, "-rpc-addr=127.0.0.1:0"]).args(flags);
            variable.map(|value| run.env("SERF_ERRORS_STDERR", value));
            let out = run.stdin(Stdio::null()).output().expect("the program starts");
            assert_eq!(out.status.code(), Some(1));
            let (said, other) = if apart { (&out.stderr, &out.stdout) } else { (&out.stdout, &out.stderr) };
            let said = String::from_utf8_lossy(said);
            assert!(said.starts_with(error) && other.is_empty(), "{command} {flags:?} {variable:?}: {said}");
        }
    }
}

// E26.
#[test]
fn a_monitor_shows_the_events_that_are_asked_for() {
    for (flags, want) in [(&[][..], "*"), (&["-event=user:deploy,query"], "user:deploy,query")] {
        // The agent ends when it has been asked for its log.
        let (address, serve) = agent(|seq, request| match request {
            Request::Stream(_) => Some(reply(seq, "")),
            _ => None,
        });
        run(&address, "monitor", flags);
        let asked = serve.join().expect("served");
        assert!(matches!(&asked[0], Request::Stream(stream) if stream.kind == want), "{asked:?}");
    }
    let (address, _serve) = agent(|seq, _| Some(reply(seq, "Invalid event filter")));
    let out = run(&address, "monitor", &["-event=bogus"]);
    assert_eq!(told(&out), "Error starting stream: Invalid event filter\n(1)");
}

// A cluster in this process: no agent, and the same answer each time.
#[test]
fn a_simulation_says_the_same_each_time() {
    let simulate = |args: &[&str]| {
        Command::new(Program::Ours.path()).arg("simulate").args(args).output().expect("the program starts")
    };
    let args = ["-nodes=10", "-runs=2", "-rest=5s", "-loss=20%", "-format=json"];
    let (one, another) = (simulate(&args), simulate(&args));
    assert!(one.status.success() && one.stdout == another.stdout, "{one:?} {another:?}");
    let document: serde_json::Value = serde_json::from_slice(&one.stdout).expect("a document");
    assert!(document["crash"]["all"]["mean"].as_f64() > document["event"]["all"]["mean"].as_f64());
    let refused = simulate(&["-nodes=1"]);
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "Invalid -nodes: 1. It is 2 to 20000.\n");
    assert_eq!(refused.status.code(), Some(1));
}
