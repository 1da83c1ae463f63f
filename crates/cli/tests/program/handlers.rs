//! Event handlers: what runs when, with what, and what becomes of it when it misbehaves.

use crate::agents::{Agent, Program, converge, until};

/// An agent that has not started, with a configuration file of its own.
fn configured(name: &str, config: &str, flags: &[&str]) -> Agent {
    let agent = Agent::new(Program::Ours, name, &[&["-config-file=config.json"], flags].concat());
    agent.write("config.json", config);
    agent
}

fn started(name: &str, config: &str, flags: &[&str]) -> Agent {
    let mut agent = configured(name, config, flags);
    agent.start(&[]);
    agent
}

fn fire(agent: &Agent, name: &str, payload: &str) {
    let out = agent.cli("event", &["-coalesce=false", name, payload]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
}

fn wait_for(agent: &Agent, file: &str, content: &str) {
    until(&format!("{file} is {content:?}"), || (agent.read(file) == content).then_some(()));
}

/// Waits for a file that is not empty.
fn wait_for_file(agent: &Agent, file: &str) {
    until(&format!("{file} is there"), || (!agent.read(file).is_empty()).then_some(()));
}

/// A script that says that it has begun, and goes on until it is let, or its test is over.
const HANGS: &str =
    "echo yes >begun; while [ ! -e gate ] && [ -e begun ]; do sleep 0.05; done; echo hang >>runs";

#[test]
fn handlers_of_files_and_flags_run_in_order_with_environment_and_input() {
    let agent = started(
        "ordered",
        r#"{"event_handlers": ["user:deploy=echo 1 $SERF_USER_EVENT $SERF_USER_LTIME $SERF_TAG_A_B \"$(cat)\" >>runs"],
            "tags": {"a.b": "x"}}"#,
        &["-event-handler=user,query=echo 2 $SERF_EVENT >>runs", "-event-handler=user:other=echo no >>runs"],
    );
    fire(&agent, "deploy", "v1");
    wait_for(&agent, "runs", "1 deploy 1 x v1\n2 user\n");
    let info = String::from_utf8(agent.cli("info", &[]).stdout).expect("text");
    assert!(info.contains("\tuser: = echo 2 $SERF_EVENT >>runs\n\tuser:deploy = echo 1"), "{info}");
}

#[test]
fn a_reload_replaces_the_handlers_and_a_wrong_one_changes_nothing() {
    let agent = started("reloaded", r#"{"event_handlers": ["user=echo old >>runs"]}"#, &[]);
    fire(&agent, "e", "");
    wait_for(&agent, "runs", "old\n");
    agent.write("config.json", r#"{"event_handlers": ["user=echo new >>runs"]}"#);
    agent.signal("-HUP");
    let info = || String::from_utf8_lossy(&agent.cli("info", &[]).stdout).into_owned();
    until("info shows the new handler", || info().contains("user: = echo new").then_some(()));
    fire(&agent, "e", "");
    wait_for(&agent, "runs", "old\nnew\n");

    agent.write("config.json", r#"{"event_handlers": ["user=echo newest >>runs", "usr=x"]}"#);
    agent.signal("-HUP");
    agent.wait_log(
        "==> Invalid event script: Event 'usr' invoking 'x'\n    \
         ('event_handlers[1]' in 'config.json': did you mean 'user'?)\n==> Failed to reload configs\n",
    );
    fire(&agent, "e", "");
    wait_for(&agent, "runs", "old\nnew\nnew\n");
}

#[test]
fn a_wrong_handler_ends_the_start_and_names_its_place() {
    let mut agent = configured("wrong", "{}", &["-event-handler=A=1 ./x"]);
    agent.spawn(&[]);
    assert_eq!(agent.exit_code(), Some(1));
    let log = agent.log();
    let want = "==> Invalid event script: Event 'A' invoking '1 ./x'\n    (-event-handler=A=1 ./x: events are '*' and ";
    assert!(log.starts_with(want) && log.contains("as in '*=COMMAND'"), "{log}");
}

#[test]
fn one_that_hangs_is_waited_for_as_long_as_configured() {
    let handlers = format!(r#""event_handlers": ["user:hang={HANGS}", "user:next=echo next >>runs"]"#);
    let [strict, patient, hasty] = ["1h", "1s", "0s"].map(|wait| {
        started("waiting", &format!(r#"{{"event_handler_patience": "{wait}", {handlers}}}"#), &[])
    });
    for agent in [&strict, &patient, &hasty] {
        fire(agent, "hang", "");
        wait_for_file(agent, "begun");
        fire(agent, "next", "");
        fire(agent, "hang", "");
    }
    wait_for(&hasty, "runs", "next\n");
    wait_for(&patient, "runs", "next\n");
    patient.wait_log("sleep 0.05; done; echo hang >>runs' still runs: others no longer wait for it");
    // Meanwhile all three are members like any other.
    assert!(strict.cli("members", &[]).status.success());
    assert_eq!(strict.read("runs"), "");
    for (agent, runs) in
        [(&strict, "hang\nnext\nhang\n"), (&patient, "next\nhang\nhang\n"), (&hasty, "next\nhang\nhang\n")]
    {
        agent.write("gate", "");
        wait_for(agent, "runs", runs);
    }
    strict.wait_log("slow, execution exceeding 1s");
}

#[test]
fn one_that_takes_too_long_is_ended_if_so_configured() {
    let agent = started(
        "bounded",
        r#"{"event_handler_timeout": "1s",
            "event_handlers": ["user:hang=sleep 1000 & sleep 1000", "user:next=echo next >>runs"]}"#,
        &[],
    );
    fire(&agent, "hang", "");
    // On a slow machine this may be ended as well.
    until("the next has run", || {
        fire(&agent, "next", "");
        agent.read("runs").contains("next\n").then_some(())
    });
    agent.wait_log("[ERR] agent: Script 'sleep 1000 & sleep 1000' takes too long and is ended");
    agent.wait_log("[ERR] agent: Error invoking script 'sleep 1000 & sleep 1000': signal: terminated");
}

#[test]
fn events_come_as_json_where_that_is_asked_for() {
    let agent = started(
        "structured",
        r#"{"event_handler_json": true, "tags": {"a.b": "x", "a-b": "y"},
            "event_handlers": ["user=[ \"$SERF_EVENT_JSON\" = 1 ] && cat >user.new && mv user.new user",
                               "member-join=cat >join.new && mv join.new join"]}"#,
        &[],
    );
    fire(&agent, "deploy", "v\t1");
    for file in ["user", "join"] {
        wait_for_file(&agent, file);
    }
    let json = |file: &str| -> serde_json::Value {
        let line = agent.read(file);
        assert_eq!(line.lines().count(), 1);
        serde_json::from_str(&line).expect("it is JSON")
    };
    let own = serde_json::json!({"name": "structured", "tags": {"a-b": "y", "a.b": "x"}});
    assert_eq!(
        json("user"),
        serde_json::json!({"event": "user", "self": own, "name": "deploy", "ltime": 1, "coalesce": false,
            "payload": "v\t1", "payload_base64": "dgkx"})
    );
    let (host, port) = agent.gossip.split_once(':').expect("host and port");
    assert_eq!(
        json("join"),
        serde_json::json!({"event": "member-join", "self": own, "members": [{"name": "structured", "addr": host,
            "port": port.parse::<u16>().expect("a port"), "status": "alive", "tags": own["tags"]}]})
    );
}

#[test]
fn what_a_handler_prints_answers_a_query() {
    let asker = Agent::started(Program::Ours, "asker", &[]);
    let answers = started(
        "answers",
        r#"{"event_handlers": ["query:load=printf 'to '; cat", "query:load=echo second", "query:fails=echo lost; exit 1",
            "query:silent=cat >/dev/null", "query:big=head -c 5000 /dev/zero"]}"#,
        &[&format!("-join={}", asker.gossip)],
    );
    converge(&[&asker, &answers]);
    let ask = |name: &str| {
        let out = asker.cli("query", &["-format=json", "-no-ack", "-timeout=2s", name, "the question"]);
        let doc: serde_json::Value = serde_json::from_slice(&out.stdout).expect("it is JSON");
        doc["Responses"].clone()
    };
    // As long as the machine is too slow for an answer in time.
    let answered = serde_json::json!({"answers": "to the question\n"});
    until("there is an answer", || (ask("load") == answered).then_some(()));
    answers.wait_log("[WARN] agent: Failed to respond to query 'query: load': response already sent");
    for name in ["fails", "silent", "big"] {
        assert_eq!(ask(name), serde_json::json!({}), "{name}");
    }
    answers.wait_log(
        "[WARN] agent: Failed to respond to query 'query: big': response exceeds limit of 1024 bytes",
    );
    answers.wait_log("[ERR] agent: Error invoking script 'echo lost; exit 1': exit status 1");
}

#[test]
fn the_end_of_the_agent_leaves_scripts_alone_and_the_last_one_has_its_input() {
    let mut agent = started(
        "mortal",
        &format!(
            r#"{{"event_handler_patience": "0s", "event_handlers": ["user={HANGS}", "member-leave=cat >left"]}}"#
        ),
        &[],
    );
    fire(&agent, "e", "");
    wait_for_file(&agent, "begun");
    agent.signal("-INT");
    assert_eq!(agent.exit_code(), Some(0), "it does not wait for scripts");
    let (host, _) = agent.gossip.split_once(':').expect("host and port");
    wait_for(&agent, "left", &format!("mortal\t{host}\t\t\n"));
    assert_eq!(agent.read("runs"), "");
    agent.write("gate", "");
    wait_for(&agent, "runs", "hang\n");
}

#[test]
fn output_without_measure_costs_the_agent_nothing() {
    let agent = started(
        "drowned",
        r#"{"event_handlers": ["user=head -c 30000000 /dev/zero | tr '\\0' x; printf '\\033[31mEND'"]}"#,
        &[],
    );
    fire(&agent, "e", "");
    agent.wait_log("generated 30000008 bytes of output, truncated to 8192");
    assert!(agent.log().contains("xxxxx\\x1b[31mEND\n"), "the end is logged, and harmless for a terminal");
}

/// Its output is held by what it has started, so its run goes on; its shell is gone.
#[test]
#[cfg(target_os = "linux")]
fn a_shell_that_has_ended_is_no_zombie_though_its_output_is_held() {
    let agent = started(
        "reaping",
        r#"{"event_handlers": ["user:fork=while [ ! -e gate ] && [ -e runs ]; do sleep 0.05; done & echo $$ >shell"]}"#,
        &[],
    );
    agent.write("runs", "");
    fire(&agent, "fork", "");
    let shell = until("the shell has told its number", || agent.read("shell").trim().parse::<u32>().ok());
    until("nothing is left of it", || {
        (!std::path::Path::new(&format!("/proc/{shell}")).exists()).then_some(())
    });
    agent.write("gate", "");
}
