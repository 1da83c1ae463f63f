//! A life of agents with event handlers, as it was recorded with HashiCorp's: what the handlers are given, run by run,
//! and what becomes of their output.

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64, Encoding};
use serde_json::Value as Json;
use serf_rpc::message::QueryRequest;
use serf_rpc::{Answer, Client};

use crate::agents::{Agent, Program, converge, until};

/// What each handler runs, with its place in the list of handlers: it keeps what it is given in a directory of its own,
/// and answers queries as the recorded one did.
const SCRIPT: &str = r#"
run=$(mktemp -d taken.XXXXXX)
echo "$1" >$run/handler
cat /proc/self/environ >$run/environment
cat >$run/stdin
case $SERF_QUERY_NAME in
    answer) echo the answer ;;
    both) echo out; echo err >&2 ;;
    fail) echo failing; code=3 ;;
    large) head -c 2000 /dev/zero | tr '\0' l ;;
    huge) head -c 16000 /dev/zero | tr '\0' h ;;
    echo) cat $run/stdin ;;
    limit) head -c 900 /dev/zero | tr '\0' L ;;
esac
mv $run run.${run#taken.}
exit $code
"#;

/// The handlers of alpha; beta has the first.
const HANDLERS: [&str; 5] = ["", "member-join,member-leave=", "user:deploy=", "user=", "query:answer="];

/// A run of a handler: the handler, `SERF_...`, and the lines of the standard input.
///
/// Which members share a run is chance, so each of them counts as one run; and their tags are in random order with Go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    handler: String,
    environment: BTreeMap<String, String>,
    stdin: String,
}

fn runs(handler: &str, environment: BTreeMap<String, String>, stdin: &[u8]) -> Vec<Run> {
    let run = |stdin: String| Run { handler: handler.to_owned(), environment: environment.clone(), stdin };
    let stdin = String::from_utf8(stdin.to_vec()).expect("text");
    if !environment["SERF_EVENT"].starts_with("member-") {
        return vec![run(stdin)];
    }
    assert!(stdin.ends_with('\n'));
    let sorted = |line: &str| {
        let (front, tags) = line.rsplit_once('\t').expect("four columns");
        // One value is `a=b,c`, which is taken for two tags with either.
        let tags: BTreeSet<&str> = tags.split(',').collect();
        format!("{front}\t{tags:?}")
    };
    stdin.lines().map(|line| run(sorted(line))).collect()
}

/// What an agent's handlers were given so far.
fn taken(agent: &Agent) -> Vec<Run> {
    let mut taken = Vec::new();
    for directory in agent.files("run.") {
        let read = |file: &str| std::fs::read(directory.join(file)).expect("it was kept");
        let handler: usize = String::from_utf8_lossy(&read("handler")).trim().parse().expect("its place");
        let environment = String::from_utf8(read("environment")).expect("text");
        let variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
        let variables = variables.filter(|(name, _)| name.starts_with("SERF_"));
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        taken.extend(runs(HANDLERS[handler], environment, &read("stdin")));
    }
    taken.sort();
    taken
}

struct Records(Vec<Json>);

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

impl Records {
    fn of(release: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/testdata/event_handlers.json");
        let entries: Vec<Json> =
            serde_json::from_slice(&std::fs::read(path).expect("test data")).expect("a list");
        let of_release = |entry: &Json| text(&entry["name"]).starts_with(&format!("{release}/"));
        Self(entries.into_iter().filter(of_release).collect())
    }

    /// The runs of an agent for that event in those phases, with the addresses of this test.
    fn runs(&self, agent: &Agent, event: &str, phases: &[&str], hosts: &[(&str, &str)]) -> Vec<Run> {
        let invocations = self.0.iter().filter(|entry| entry["kind"] == "invocation");
        let mut all = Vec::new();
        for entry in invocations {
            let environment = entry["environment"].as_object().expect("variables");
            if text(&entry["name"]).split('/').nth(1) != Some(&agent.name)
                || environment["SERF_EVENT"] != event
                || !phases.contains(&text(&entry["context"]["phase"]))
            {
                continue;
            }
            let stdin = Base64::decode_vec(text(&entry["stdin_base64"])).expect("base64");
            let mut stdin = String::from_utf8(stdin).expect("text");
            for (recorded, ours) in hosts {
                stdin = stdin.replace(&format!("\t{recorded}\t"), &format!("\t{ours}\t"));
            }
            let environment = environment.iter().map(|(name, value)| (name.clone(), text(value).to_owned()));
            let handler =
                text(&entry["context"]["handler_spec"]).strip_suffix("handler.sh").expect("a script");
            all.extend(runs(handler, environment.collect(), stdin.as_bytes()));
        }
        all.sort();
        assert!(!all.is_empty(), "{event} of {} in {phases:?}", agent.name);
        all
    }
}

fn live(release: &str) {
    let records = Records::of(release);
    let agent = |name: &str, handlers: &[&str], config: &str| {
        let handlers = handlers.iter().enumerate();
        let handlers = handlers.map(|(n, filter)| format!("-event-handler={filter}sh ./handler.sh {n}"));
        let flags: Vec<String> =
            handlers.chain(["-profile=lan".into(), "-config-file=config.json".into()]).collect();
        let agent = Agent::new(Program::Ours, name, &flags.iter().map(String::as_str).collect::<Vec<_>>());
        agent.write("handler.sh", SCRIPT);
        agent.write("config.json", config);
        agent
    };
    let mut alpha = agent(
        "alpha",
        &HANDLERS,
        r#"{"tags": {"role": "web", "data-center": "east 1", "9x": "n", "multi": "a=b,c"}}"#,
    );
    let mut beta = agent("beta", &HANDLERS[..1], r#"{"tags": {"weird": "tab\there\nnl"}}"#);
    let mut gamma = agent("gamma", &[], r#"{"tags": {"role": "db"}}"#);
    let mut delta = agent("delta", &[], "{}");
    let host = |agent: &Agent| agent.gossip.split_once(':').expect("host and port").0.to_owned();
    let hosts = [host(&alpha), host(&beta), host(&gamma), host(&delta)];
    let hosts: Vec<(&str, &str)> = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
        .into_iter()
        .zip(hosts.iter().map(|h| &**h))
        .collect();

    // Waits until there are as many as were recorded; then they are the same.
    let same = |agent: &Agent, event: &str, phases: &[&str]| {
        let recorded = records.runs(agent, event, phases, &hosts);
        let ours = || -> Vec<Run> {
            taken(agent).into_iter().filter(|run| run.environment["SERF_EVENT"] == event).collect()
        };
        until(&format!("{event} at {}, {} times", agent.name, recorded.len()), || {
            (ours().len() >= recorded.len()).then_some(())
        });
        assert_eq!(ours(), recorded, "{event} at {}", agent.name);
    };
    let ok = |agent: &Agent, command: &str, args: &[&str]| {
        let out = agent.cli(command, args);
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stdout));
    };

    alpha.start(&[]);
    // Its own join is told before it hears of anybody, as it was in the recording.
    until("alpha's join is handled", || (!taken(&alpha).is_empty()).then_some(()));
    beta.start(&[&format!("-join={}", alpha.gossip)]);
    same(&alpha, "member-join", &["agent starts alone", "join beta"]);
    same(&beta, "member-join", &["join beta"]);
    let join = format!("-join={}", beta.gossip);
    gamma.start(&[&join]);
    delta.start(&[&join]);
    converge(&[&alpha, &beta, &gamma, &delta]);
    let joined = ["agent starts alone", "join beta", "join gamma+delta together"];
    same(&alpha, "member-join", &joined);
    same(&beta, "member-join", &joined);

    for (name, payload, coalesce) in [
        ("deploy", "v1.2.3", "false"),
        ("deploy", "with newline\n", "false"),
        ("nopayload", "", "false"),
        ("odd name/é=x", "päyload\twith\ttabs", "false"),
        ("coalesced", "n0", "true"),
        ("coalesced", "n1", "true"),
        ("coalesced", "n2", "true"),
    ] {
        ok(&alpha, "event", &[&format!("-coalesce={coalesce}"), name, payload]);
    }
    same(&alpha, "user", &["user events"]);
    same(&beta, "user", &["user events"]);

    let answers = records.0.iter().filter(|entry| entry["kind"] == "query_output");
    let answers: Vec<_> = answers
        .map(|entry| {
            let scene = text(&entry["name"]).split('/').nth(2).expect("the name of the query").to_owned();
            let responses = entry["decoded"]["responses"].as_object().expect("responses").iter();
            let responses: BTreeMap<String, String> =
                responses.map(|(node, payload)| (node.clone(), text(payload).to_owned())).collect();
            (scene, text(&entry["input"]["query_payload"]).to_owned(), responses)
        })
        .collect();
    assert_eq!(answers.len(), 9, "the file is complete");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(&alpha.rpc, "").await.expect("it serves");
        let mut asked = Vec::new();
        for (name, payload, _) in &answers {
            let query = QueryRequest {
                name: name.as_str().into(),
                payload: Some(payload.clone().into_bytes()).filter(|payload| !payload.is_empty()),
                // Scripts are slow to start on a machine that has other things to do.
                timeout: 20_000_000_000,
                ..QueryRequest::default()
            };
            asked.push(client.query(query).await.expect("it is asked"));
        }
        for ((name, payload, recorded), mut asked) in answers.iter().zip(asked) {
            let mut responses = BTreeMap::new();
            while let Some(answer) = asked.next().await {
                let Answer::Response { from, payload } = answer.expect("it makes sense") else { continue };
                let payload = String::from_utf8(payload).expect("text");
                assert_eq!(responses.insert(from.to_string(), payload), None, "a second response");
            }
            assert_eq!(responses, *recorded, "{name} {payload:?}");
        }
    });
    same(&alpha, "query", &["queries"]);
    same(&beta, "query", &["queries"]);
    for line in [
        "Failed to respond to query 'query: answer': response already sent",
        "Failed to respond to query 'query: large': response exceeds limit of 1024 bytes",
        "' generated 16000 bytes of output, truncated to 8192",
    ] {
        alpha.wait_log(line);
    }

    ok(&beta, "tags", &["-set=weird=plain", "-set=role=cache"]);
    ok(&alpha, "tags", &["-delete=multi"]);
    // Theirs are told again with later batches, and which tags are current in the meantime is chance.
    let lines = |runs: Vec<Run>| -> BTreeSet<(String, String)> {
        let updates = runs.into_iter().filter(|run| run.environment["SERF_EVENT"] == "member-update");
        updates.map(|run| (run.handler, run.stdin)).collect()
    };
    for agent in [&alpha, &beta] {
        let recorded = lines(records.runs(agent, "member-update", &["update"], &hosts));
        assert_eq!(recorded.len(), 2);
        until(&format!("the updates at {}", agent.name), || (lines(taken(agent)) == recorded).then_some(()));
    }

    ok(&delta, "leave", &[]);
    assert_eq!(delta.exit_code(), Some(0));
    same(&alpha, "member-leave", &["leave delta"]);
    same(&beta, "member-leave", &["leave delta"]);
    gamma.kill();
    same(&alpha, "member-failed", &["fail gamma"]);
    same(&beta, "member-failed", &["fail gamma"]);
}

#[test]
fn handlers_live_as_with_the_older_release() {
    live("0.9.4");
}

#[test]
fn handlers_live_as_with_the_newer_release() {
    live("0.10");
}
