//! What our agents and HashiCorp's tell and ask each other: events, queries, keys.
//!
//! All run the profile that is slowest to suspect anybody, and whatever gossip may lose is asked again: what is tested is
//! what they understand, on machines of any speed.

use std::collections::BTreeMap;

use serf_rpc::message::{EventRecord, QueryRequest};
use serf_rpc::{Answer, Client, Text};

use crate::agents::{Agent, PATIENCE, Program, converge, go_is_here, until};
use crate::mixed::KEYS;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

/// What is waited for comes at last or is broken.
async fn patiently<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Agents `n0`, `n1` and so on, each with its number and the name of its program as tags.
fn cluster(programs: &[Program]) -> Vec<Agent> {
    cluster_with(programs, &[], |_| {})
}

fn cluster_with(programs: &[Program], flags: &[&str], prepare: impl Fn(&Agent)) -> Vec<Agent> {
    let mut agents: Vec<Agent> = Vec::new();
    for (n, &program) in programs.iter().enumerate() {
        let tags = [format!("n={n}"), format!("by={program:?}")];
        let more = ["-profile=wan", "-tag", &tags[0], "-tag", &tags[1]];
        let mut agent = Agent::new(program, &format!("n{n}"), &[flags, &more].concat());
        prepare(&agent);
        agent.start(&[]);
        agents.iter().for_each(|other| agent.join(other));
        agents.push(agent);
    }
    converge(&agents.iter().collect::<Vec<_>>());
    agents
}

async fn client(agent: &Agent) -> Client {
    Client::connect(&agent.rpc, "").await.expect("the agent serves")
}

#[test]
fn events_of_any_bytes_go_both_ways() {
    if !go_is_here("events_of_any_bytes_go_both_ways") {
        return;
    }
    let agents = cluster(&[Program::Ours, Program::Go]);
    let every_byte: Vec<u8> = (0..=255).collect();
    run(async {
        let (ours, theirs) = (client(&agents[0]).await, client(&agents[1]).await);
        let mut streams = [ours.stream("user").await.unwrap(), theirs.stream("user").await.unwrap()];
        // HashiCorp's listens from a moment after its answer on: by the next answer it does.
        theirs.members().await.unwrap();
        for (sender, by) in [(&ours, "ours"), (&theirs, "theirs")] {
            for (name, payload, coalesce) in [
                (Text::from("every byte"), Some(every_byte.clone()), false),
                (b"\xff\n".as_slice().into(), Some(b"two\nlines\n".to_vec()), false),
                ("".into(), Some(vec![0; 300]), false),
                ("nothing".into(), None, false),
                ("lazy".into(), Some(by.into()), true),
            ] {
                sender.event(name.clone(), payload.clone(), coalesce).await.unwrap();
                let mut times = Vec::new();
                for stream in &mut streams {
                    let Some(Ok(EventRecord::User(event))) =
                        patiently(&format!("{name} of {by}"), stream.next()).await
                    else {
                        panic!("no user event")
                    };
                    assert_eq!((&event.name, &event.payload, event.coalesce), (&name, &payload, coalesce));
                    times.push(event.ltime);
                }
                assert_eq!(times[0], times[1], "the time of {name}");
            }
        }
    });
}

/// Answers every query with the name of the agent and what was asked.
async fn answer_all(agent: &Agent) {
    let client = client(agent).await;
    let name = agent.name.clone();
    let mut events = client.stream("query").await.expect("a stream");
    client.members().await.expect("now it listens");
    tokio::spawn(async move {
        while let Some(Ok(EventRecord::Query(query))) = events.next().await {
            let payload = [name.as_bytes(), &query.payload.unwrap_or_default()].concat();
            // One that is too late is refused, and asked for again.
            let _ = client.respond(query.id, payload).await;
        }
    });
}

/// Asks until all those have acknowledged and answered, each once, and nobody else. Each time it waits longer.
async fn ask(client: &Client, query: &QueryRequest, wanted: &[&str]) {
    let payload = query.payload.clone().unwrap_or_default();
    let all: BTreeMap<String, Vec<u8>> =
        wanted.iter().map(|name| (name.to_string(), [name.as_bytes(), &payload].concat())).collect();
    patiently(&format!("{wanted:?} answer {query:?}"), async {
        for attempt in 0.. {
            let timeout = 1_000_000_000 << attempt;
            let mut answers =
                client.query(QueryRequest { timeout, ..query.clone() }).await.expect("it is asked");
            let (mut acks, mut responses) = (Vec::new(), BTreeMap::new());
            // To the end: a second answer of the same node may come last.
            while let Some(answer) = answers.next().await {
                match answer.expect("it makes sense") {
                    Answer::Ack { from } => {
                        let from = from.to_string();
                        assert!(query.request_ack && all.contains_key(&from), "an ack of {from}");
                        assert!(!acks.contains(&from), "a second ack of {from}");
                        acks.push(from);
                    }
                    Answer::Response { from, payload } => {
                        let from = from.to_string();
                        assert_eq!(all.get(&from), Some(&payload), "from {from}");
                        assert_eq!(responses.insert(from, payload), None, "a second response");
                    }
                }
            }
            if responses == all && (acks.len() == all.len() || !query.request_ack) {
                break;
            }
        }
    })
    .await;
}

#[test]
fn queries_go_both_ways_with_filters() {
    if !go_is_here("queries_go_both_ways_with_filters") {
        return;
    }
    let agents = cluster(&[Program::Ours, Program::Go]);
    run(async {
        for agent in &agents {
            answer_all(agent).await;
        }
        for agent in &agents {
            let client = client(agent).await;
            for (nodes, tags, wanted) in [
                (&[][..], &[][..], &["n0", "n1"][..]),
                (&["n1", "n7"], &[], &["n1"]),
                (&[], &[("by", "^Ou")], &["n0"]),
                (&[], &[("n", "[[:digit:]]"), ("by", "(?i)GO$")], &["n1"]),
                (&[], &[("none", "^$")], &["n0", "n1"]),
                (&["n0"], &[("by", "Go")], &[]),
                (&[], &[("by", "(")], &[]),
            ] {
                let query = QueryRequest {
                    name: "whö?\n".into(),
                    payload: Some(vec![0, b'\n', 0xff]),
                    filter_nodes: Some(nodes.iter().map(|&name| name.into()).collect()),
                    filter_tags: Some(tags.iter().copied().collect()),
                    request_ack: true,
                    ..QueryRequest::default()
                };
                ask(&client, &query, wanted).await;
            }
            let silent = QueryRequest { name: "silent".into(), ..QueryRequest::default() };
            ask(&client, &silent, &["n0", "n1"]).await;
        }
    });
}

#[test]
fn relayed_answers_count_once_whoever_relays_them() {
    if !go_is_here("relayed_answers_count_once_whoever_relays_them") {
        return;
    }
    let agents = cluster(&[Program::Ours, Program::Go, Program::Ours, Program::Go]);
    run(async {
        for agent in &agents {
            answer_all(agent).await;
        }
        for agent in &agents[..2] {
            let client = client(agent).await;
            for relay_factor in [1, 2, 255] {
                let query = QueryRequest {
                    name: "relayed".into(),
                    payload: Some(vec![relay_factor]),
                    request_ack: true,
                    relay_factor,
                    ..QueryRequest::default()
                };
                ask(&client, &query, &["n0", "n1", "n2", "n3"]).await;
            }
        }
    });
}

/// Has everybody do something with a key; whoever did not answer is asked again, which changes nothing for the others.
fn keys(agent: &Agent, flag: &str, end: &str) {
    until(&format!("keys {flag} at {}", agent.name), || {
        let out = agent.cli("keys", &[flag]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(!text.contains("reported failure"), "keys {flag} at {}: {text}", agent.name);
        text.ends_with(end).then_some(())
    });
}

/// A JSON list, as every agent writes it.
fn ring(keys: &[&str]) -> String {
    let lines: Vec<String> = keys.iter().map(|key| format!("  \"{key}\"")).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}

#[test]
fn a_mixed_cluster_changes_its_key_and_its_keyring_files() {
    if !go_is_here("a_mixed_cluster_changes_its_key_and_its_keyring_files") {
        return;
    }
    let [old, new, _] = KEYS;
    let programs = [Program::Ours, Program::Go, Program::Ours];
    let mut agents = cluster_with(&programs, &["-keyring-file=ring.json"], |agent| {
        agent.write("ring.json", &format!("[\"{old}\"]"));
    });
    for (asked, flag, end, rings) in [
        (0, format!("-install={new}"), "Successfully installed key!\n", &[old, new][..]),
        (1, format!("-use={new}"), "Successfully changed primary key!\n", &[new, old]),
        (2, format!("-remove={old}"), "Successfully removed key!\n", &[new]),
    ] {
        keys(&agents[asked], &flag, end);
        // Whoever answers has written it.
        for agent in &agents {
            assert_eq!(agent.read("ring.json"), ring(rings), "{flag} at {}", agent.name);
        }
    }
    for agent in &agents {
        keys(agent, "-list", &format!("\n\n{new}  [3/3]\n"));
    }

    // With the old key nobody gets in, and with the file everybody does who was out.
    let mut late = Agent::new(Program::Go, "late", &[&format!("-encrypt={old}"), "-profile=wan"]);
    late.spawn(&[&format!("-join={}", agents[0].gossip)]);
    assert_eq!(late.exit_code(), Some(1));
    for n in [2, 1] {
        assert!(agents[n].cli("leave", &[]).status.success());
        assert_eq!(agents[n].exit_code(), Some(0));
        let join = format!("-join={}", agents[0].gossip);
        agents[n].start(&[&join]);
        converge(&[&agents[0], &agents[n]]);
    }
}

/// Both of them ask the others whose the name is.
#[test]
fn of_two_agents_with_one_name_the_later_one_ends() {
    if !go_is_here("of_two_agents_with_one_name_the_later_one_ends") {
        return;
    }
    for (first, second) in [(Program::Ours, Program::Go), (Program::Go, Program::Ours)] {
        let others = cluster(&[Program::Ours, Program::Go]);
        let dup = |program, tag| Agent::started(program, "dup", &["-profile=wan", "-tag", tag]);
        let first = dup(first, "came=first");
        others.iter().for_each(|other| first.join(other));
        converge(&[&others[0], &others[1], &first]);

        let mut second = dup(second, "came=second");
        // It may end before it can say that it has joined.
        second.cli("join", &[&others[0].gossip, &others[1].gossip]);
        assert_eq!(second.exit_code(), Some(0), "{}", second.log());
        second.wait_log("minority in name conflict resolution");
        for agent in others.iter().chain([&first]) {
            until(&format!("the first one is there to {}", agent.name), || {
                agent.members().contains(&("dup".into(), "alive".into(), "came=first".into())).then_some(())
            });
        }
    }
}

/// Says as much as it may in each ack.
struct Talkative;

impl serf::PingPolicy for Talkative {
    fn payload(&self, out: &mut Vec<u8>) {
        out.resize(serf::PING_PAYLOAD_MAX, 0xc1);
    }
}

#[test]
fn what_a_program_adds_to_acks_is_no_trouble_for_a_real_agent() {
    if !go_is_here("what_a_program_adds_to_acks_is_no_trouble_for_a_real_agent") {
        return;
    }
    // Its pings are what it learns coordinates from; nobody is suspected within the time of a test.
    let theirs = Agent::started(Program::Go, "theirs", &["-profile=local", "-log-level=debug"]);
    run(async {
        let mut config = serf::Config { bind: "127.0.0.1:0".parse().unwrap(), ..serf::Config::local("ours") };
        config.policies.ping = Some(std::sync::Arc::new(Talkative));
        let ours = serf::Serf::start(config).await.unwrap();
        patiently("a join", ours.join([&theirs.gossip])).await.unwrap();
        let measured = async {
            // Both ways: it has our coordinate, and we have its.
            while !theirs.cli("rtt", &["ours"]).status.success()
                || ours.cached_coordinate("theirs").await.unwrap().is_none()
            {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        patiently("round trips", measured).await;
        assert_eq!(ours.stats().await.unwrap().serf.shed_ping_payloads, 0);
    });
    let log = theirs.log();
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains("oordinate") || line.contains("ping")).collect();
    assert!(
        complaints.iter().all(|line| !line.contains("[ERR]") && !line.contains("[WARN]")),
        "{complaints:?}"
    );
}
