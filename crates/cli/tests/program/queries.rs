//! Queries by RPC, asked of our agent and answered through it, by several clients at once.

use std::time::Duration;

use serf_rpc::message::{EventRecord, QueryEventRecord, QueryRequest};
use serf_rpc::{Answer, Answers, Client, Records};

use crate::agents::{Agent, PATIENCE, Program, converge};

/// As long as anybody who tests could wait.
const MINUTES: i64 = 10 * 60 * 1_000_000_000;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

/// What is waited for comes at last or is broken.
async fn patiently<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

async fn client(agent: &Agent) -> Client {
    Client::connect(&agent.rpc, "").await.expect("the agent serves")
}

fn query(name: &str) -> QueryRequest {
    QueryRequest { name: name.into(), timeout: MINUTES, ..QueryRequest::default() }
}

async fn shown(events: &mut Records<EventRecord>) -> QueryEventRecord {
    match patiently("a query is shown", events.next()).await {
        Some(Ok(EventRecord::Query(query))) => query,
        other => panic!("{other:?}"),
    }
}

async fn next(answers: &mut Answers) -> Answer {
    patiently("an answer comes", answers.next()).await.expect("it is not over").expect("it makes sense")
}

fn refusal<T: std::fmt::Debug>(result: Result<T, serf_rpc::Error>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn a_query_is_shown_to_clients_and_answered_by_the_first() {
    let agent = Agent::started(Program::Ours, "asked", &[]);
    run(async {
        let (one, two, three) = (client(&agent).await, client(&agent).await, client(&agent).await);
        let (mut all, mut loads) =
            (one.stream("").await.unwrap(), two.stream("user,query:load").await.unwrap());
        let mut other = three.query(query("other")).await.unwrap();
        let mut answers = three
            .query(QueryRequest { payload: Some(vec![0, 255]), request_ack: true, ..query("load") })
            .await
            .unwrap();
        assert_eq!(next(&mut answers).await, Answer::Ack { from: "asked".into() });

        let ones = loop {
            // Its own join may come between, whenever it is told.
            match patiently("queries are shown", all.next()).await.unwrap().unwrap() {
                EventRecord::Query(query) if query.name == "other" => assert_eq!(query.id, 1),
                EventRecord::Query(query) => break query,
                event => assert!(matches!(event, EventRecord::Members(_)), "{event:?}"),
            }
        };
        let twos = shown(&mut loads).await;
        assert_eq!((ones.id, twos.id), (2, 1), "each client has numbers of its own");
        assert_eq!((&ones.name, &ones.payload), (&"load".into(), &Some(vec![0, 255])));
        assert_eq!(ones.ltime, twos.ltime);

        assert_eq!(refusal(two.respond(2, "x").await), "No pending queries matching ID");
        assert_eq!(refusal(three.respond(1, "x").await), "No pending queries matching ID");
        let too_long = refusal(two.respond(1, [0; 1024]).await);
        assert_eq!(too_long, "failed to respond to key query: response exceeds limit of 1024 bytes");
        two.respond(1, [7; 900]).await.unwrap();
        let second = refusal(one.respond(2, "x").await);
        assert_eq!(second, "failed to respond to key query: response already sent");
        let response = next(&mut answers).await;
        assert_eq!(response, Answer::Response { from: "asked".into(), payload: vec![7; 900] });
        // The other one is another matter, and an empty answer is one.
        one.respond(1, "").await.unwrap();
        assert_eq!(next(&mut other).await, Answer::Response { from: "asked".into(), payload: vec![] });
    });
}

#[test]
fn a_query_lasts_until_its_time_is_over_and_cannot_be_answered_after_it() {
    let agent = Agent::started(Program::Ours, "late", &[]);
    run(async {
        let client = client(&agent).await;
        let mut events = client.stream("query").await.unwrap();
        // All there are have acknowledged, and answered even: no reason to end it.
        let ping = QueryRequest { request_ack: true, ..query("_serf_ping") };
        let mut endless = client.query(ping.clone()).await.unwrap();
        assert_eq!(next(&mut endless).await, Answer::Ack { from: "late".into() });

        for timeout in [1, 1_000_000, -1, i64::MIN] {
            let mut answers = client.query(QueryRequest { timeout, ..query("short") }).await.unwrap();
            let shown = shown(&mut events).await;
            assert!(patiently("it ends", answers.next()).await.is_none());
            // The agent's clock may have a moment to go where the query was shown.
            patiently("it is forgotten", async {
                loop {
                    match refusal(client.respond(shown.id, "x").await).as_str() {
                        "No pending queries matching ID" => break,
                        other => {
                            assert_eq!(other, "failed to respond to key query: response is past the deadline")
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await; // between polls
                }
            })
            .await;
        }
        let mut bare = client.query(QueryRequest { timeout: 0, ..ping }).await.unwrap();
        assert_eq!(next(&mut bare).await, Answer::Ack { from: "late".into() });
        assert!(patiently("the default time-out comes", bare.next()).await.is_none());
        let still = tokio::time::timeout(Duration::ZERO, endless.next()).await;
        assert!(still.is_err(), "it goes on: {still:?}");
        let more = tokio::time::timeout(Duration::ZERO, events.next()).await;
        assert!(more.is_err(), "nobody is shown the ping: {more:?}");
    });
}

#[test]
fn whom_a_query_is_for_is_up_to_its_filters() {
    // Slow to suspect anybody, whatever the machine.
    let flags = |role, dc| ["-profile=wan", "-tag", role, "-tag", dc];
    let agents = [
        Agent::started(Program::Ours, "a", &flags("role=web", "dc=east-1")),
        Agent::started(Program::Ours, "b", &flags("role=db", "zone=1")),
    ];
    agents[1].join(&agents[0]);
    converge(&[&agents[0], &agents[1]]);
    run(async {
        let client = client(&agents[0]).await;
        for (nodes, tags, wanted) in [
            (&["b"][..], &[][..], &["b"][..]),
            (&["a", "b", "c"], &[], &["a", "b"]),
            (&[], &[("role", "^w"), ("dc", "[0-9]$")], &["a"]),
            (&[], &[("dc", "^$")], &["b"]),
            (&["b"], &[("role", "web")], &[]),
            (&[], &[("role", "(")], &[]),
        ] {
            let query = QueryRequest {
                filter_nodes: Some(nodes.iter().map(|&name| name.into()).collect()),
                filter_tags: Some(tags.iter().copied().collect()),
                request_ack: true,
                timeout: 2_000_000_000,
                ..query("who")
            };
            // Gossip may be lost: then one asks again.
            patiently(&format!("{wanted:?} answer to {nodes:?} {tags:?}"), async {
                loop {
                    let mut answers = client.query(query.clone()).await.unwrap();
                    let mut acks = Vec::new();
                    while acks.len() < wanted.len().max(1)
                        && let Some(answer) = answers.next().await
                    {
                        let Answer::Ack { from } = answer.unwrap() else { panic!("nobody responds") };
                        assert!(wanted.contains(&&*from.to_string()), "{from} answers to {nodes:?} {tags:?}");
                        acks.push(from);
                    }
                    if acks.len() == wanted.len() {
                        break;
                    }
                }
            })
            .await;
        }
    });
}

#[test]
fn what_cannot_be_asked_is_refused_in_the_words_that_clients_know() {
    let agent = Agent::started(Program::Ours, "strict", &[]);
    run(async {
        let client = client(&agent).await;
        let ask = async |request: QueryRequest| refusal(client.query(request).await);
        assert_eq!(ask(query("_serf_x")).await, "Queries cannot contain the '_serf_' prefix");
        let long = QueryRequest { payload: Some(vec![0; 1024]), ..query("long") };
        assert_eq!(ask(long).await, "query exceeds limit of 1024 bytes");
    });
    agent.wait_log(r#"[DEBUG] agent: Requesting query send: long. Payload: "\x00\x00"#);
    agent.wait_log("[WARN] agent: failed to start user query: query exceeds limit of 1024 bytes");
    let old = Agent::started(Program::Ours, "old", &["-protocol=3"]);
    run(async {
        assert_eq!(refusal(client(&old).await.query(query("load")).await), "Feature not supported");
    });
}

/// As many as it may; more are refused, of nobody else, and its places are free again when it has gone.
#[test]
fn a_client_with_many_queries_takes_no_place_of_others() {
    let agent = Agent::started(Program::Ours, "busy", &[]);
    run(async {
        let greedy = client(&agent).await;
        let mut held = Vec::new();
        let refused = loop {
            match greedy.query(query("more")).await {
                Ok(answers) => held.push(answers),
                Err(error) => break error.to_string(),
            }
            assert!(held.len() <= 1000, "there is no end to it");
        };
        assert_eq!(refused, "too many queries: the limit is 256");
        assert_eq!(held.len(), 256);
        let other = client(&agent).await;
        let mut answers = other.query(QueryRequest { request_ack: true, ..query("one") }).await.unwrap();
        assert_eq!(next(&mut answers).await, Answer::Ack { from: "busy".into() });
        // One that ends leaves its place.
        drop((held, greedy));
        let patient = client(&agent).await;
        for _ in 0..300 {
            let mut answers = patient.query(QueryRequest { timeout: 1, ..query("brief") }).await.unwrap();
            assert!(patiently("it ends", answers.next()).await.is_none());
        }
    });
}

#[test]
fn the_commands_that_ask_work_at_an_agent_that_is_alone() {
    let agent = Agent::started(Program::Ours, "lone", &[]);
    let told = |command: &str, args: &[&str]| {
        let out = agent.cli(command, args);
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    };
    assert_eq!(
        told("query", &["-timeout=1ms", "load"]),
        "Query 'load' dispatched\nAck from 'lone'\nTotal Acks: 1\nTotal Responses: 0\n"
    );
    assert_eq!(
        told("query", &["-timeout=1ms", "-format=json", "load"]),
        "{\n  \"Acks\": [\n    \"lone\"\n  ],\n  \"Responses\": {}\n}\n"
    );
    for other in [["-node=other"], ["-tag=role=."]] {
        let text = told("query", &[&["-timeout=1ms"], &other[..], &["load"]].concat());
        assert_eq!(text, "Query 'load' dispatched\nTotal Acks: 0\nTotal Responses: 0\n");
    }
    let text = told("reachability", &["-verbose"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        ["Total members: 1, live members: 1", "Starting reachability test...", "\tAck from 'lone'"]
    );
    assert!(
        lines[3].starts_with("Query time: ") && lines[3].contains(" sec, time to last response: "),
        "{text}"
    );
    assert_eq!(lines[4..], ["Successfully contacted all live nodes"]);
    // Alone it has nobody to measure: it is where everybody begins, ten microseconds from the core of the network.
    for args in [&["lone"][..], &["lone", "lone"]] {
        assert_eq!(told("rtt", args), "Estimated lone <-> lone rtt: 0.020 ms\n");
    }
    let out = agent.cli("rtt", &["other"]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "Could not find a coordinate for node \"other\"\n");
}

#[test]
fn names_of_queries_and_events_stay_on_one_line_of_the_log() {
    let agent = Agent::started(Program::Ours, "tidy", &[]);
    let forged = "a\n    2026/01/01 00:00:00 [ERR] agent: forged";
    assert!(agent.cli("event", &["-coalesce=false", forged]).status.success());
    assert!(agent.cli("query", &["-timeout=1ms", forged]).status.success());
    for line in [
        "Requesting user event send: ",
        "Received event: user-event: ",
        "Requesting query send: ",
        "Received event: query: ",
    ] {
        agent.wait_log(&format!(r"{line}a\n    2026/01/01"));
    }
    assert!(!agent.log().lines().any(|line| line.trim_start().starts_with("2026/01/01 00:00:00 [ERR]")));
}
