//! How agents start: where they listen for commands, what is told of it, and what stands in the way.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Command;

use serde_json::Value;

use crate::agents::{Agent, Program, cli};

/// The first line of standard output, which has to be the only one.
fn line(out: &std::process::Output) -> String {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn a_socket_serves_every_command_and_is_gone_with_the_agent() {
    let mut agent = Agent::new(Program::Ours, "local", &["-tag=a=b"]).at_socket();
    agent.start(&[]);
    let (rpc, path) = (agent.rpc.clone(), agent.socket());
    assert!(agent.log().contains(&format!("                       RPC addr: '{rpc}'\n")));
    let there = path.metadata().expect("a socket");
    assert!(there.file_type().is_socket() && there.permissions().mode() & 0o777 == 0o600);
    let monitor = agent.monitor();
    monitor.wait_for("agent: Serf agent starting");
    for (command, args, want) in [
        ("members", &["-format=text"][..], "a=b"),
        ("event", &["deploy"], "Event 'deploy' dispatched!"),
        ("query", &["-timeout=200ms", "load"], "Total Acks: 1"),
        ("tags", &["-set=c=d"], "Successfully updated agent tags"),
        ("reachability", &[], "Successfully contacted all live nodes"),
    ] {
        let out = agent.cli(command, args);
        assert!(out.status.success() && String::from_utf8_lossy(&out.stdout).contains(want), "{out:?}");
    }
    monitor.wait_for("\"deploy\"");
    // Who came is told as far as it is known.
    agent.wait_log(&format!("Accepted client: unix:uid={}", owner(&path)));
    let from_environment = Command::new(Program::Ours.path())
        .arg("leave")
        .env("SERF_RPC_ADDR", &rpc)
        .output()
        .expect("the program starts");
    assert_eq!(String::from_utf8_lossy(&from_environment.stdout), "Graceful leave complete\n");
    assert_eq!(agent.exit_code(), Some(0));
    assert!(!path.exists());
}

/// Our own number, which is that of the files we make.
fn owner(path: &std::path::Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&path.metadata().expect("a file"))
}

#[test]
fn a_dead_agents_socket_is_taken_over_and_a_living_ones_is_not() {
    let mut dead = Agent::new(Program::Ours, "dead", &[]).at_socket();
    dead.start(&[]);
    let path = dead.socket();
    dead.kill();
    assert!(path.exists());
    let rpc = format!("unix:{}", path.display());
    let refused = format!("Error connecting to Serf agent: dial unix {}: connect: ", path.display());
    assert_eq!(
        line(&dead.cli("info", &[])),
        format!("{refused}connection refused (the agent that made it has ended; start it again)")
    );
    let mut living = Agent::new(Program::Ours, "living", &[]);
    living.rpc.clone_from(&rpc);
    living.start(&[]);
    let mut late = Agent::new(Program::Ours, "late", &[]);
    late.rpc.clone_from(&rpc);
    late.spawn(&[]);
    assert_eq!(late.exit_code(), Some(1));
    let told = format!(
        "==> Error starting RPC listener: listen unix {}: bind: address already in use\n    \
         (an agent listens there: end it, or name another path with -rpc-addr or 'rpc_addr')\n",
        path.display()
    );
    assert!(late.log().ends_with(&told), "{}", late.log());
    assert!(living.cli("info", &[]).status.success());
    living.signal("-TERM");
    assert_eq!(living.exit_code(), Some(1));
    let out = cli(Program::Ours, "info", &rpc, &[]);
    assert_eq!(
        line(&out),
        format!("{refused}no such file or directory (is an agent running with -rpc-addr={rpc}?)")
    );
    assert_eq!(out.status.code(), Some(1));
}

/// A script that waits until the agent answers may then read what it has printed.
#[test]
fn whoever_is_answered_finds_the_banner_printed() {
    for _ in 0..10 {
        let mut agent = Agent::started(Program::Ours, "prompt", &[]);
        let log = agent.log();
        assert!(log.contains("    Message Compression Enabled: true\n"), "{log}");
        agent.kill();
    }
}

/// Everything that an agent has printed, which has to be an object a line.
fn objects(agent: &Agent) -> Vec<Value> {
    let objects = agent.log().lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let objects = objects.unwrap_or_else(|error| panic!("{error} in {}", agent.log()));
    for object in &objects {
        assert!(object["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{object}");
        assert!(["level", "target", "message"].iter().all(|name| object[name].is_string()), "{object}");
    }
    objects
}

/// Level, target and message of an object.
fn told(object: &Value) -> (&str, &str, &str) {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    (text("level"), text("target"), text("message"))
}

#[test]
fn everything_is_json_if_that_is_asked_for() {
    let other = Agent::started(Program::Ours, "other", &[]);
    let join = format!("-join={}", other.gossip);
    let mut agent = Agent::new(Program::Ours, "collected", &["-config-file=a.json", &join, "-role=x", "end"]);
    agent.write("a.json", r#"{"log_format": "json", "event_handlers": ["query:odd=printf 'a\\n\"b\"'"]}"#);
    agent.start(&[]);
    let monitor = agent.monitor();
    monitor.wait_for(" [INFO] agent: Serf agent starting\n");
    assert!(agent.cli("query", &["-timeout=200ms", "odd"]).status.success());
    agent.write("a.json", "{");
    agent.signal("-HUP");
    agent.wait_log("Failed to reload configs");
    agent.signal("-INT");
    assert_eq!(agent.exit_code(), Some(0));
    let objects = objects(&agent);
    let position = |what: (&str, &str, &str)| {
        let found = objects.iter().position(|object| told(object) == what);
        found.unwrap_or_else(|| panic!("{what:?} is missing in {}", agent.log()))
    };
    let order = [
        ("warn", "console", "Warning: ignoring 'end' and everything after it"),
        ("warn", "console", "Deprecation warning: 'Role' has been replaced with 'Tags'"),
        ("info", "console", "Starting Serf agent..."),
        ("info", "agent", "Serf agent starting"),
        ("info", "console", "Serf agent running!"),
        ("info", "console", "Joining cluster...(replay: false)"),
        ("info", "console", "Join completed. Synced with 1 initial agents"),
        ("debug", "agent", "Event 'query' script output: a\n\"b\""),
        ("info", "console", "Caught signal: hangup"),
        ("error", "console", "Error decoding 'a.json': unexpected EOF"),
        ("error", "console", "Failed to reload configs"),
        ("info", "console", "Gracefully shutting down agent..."),
        ("info", "agent", "shutdown complete"),
    ]
    .map(position);
    assert!(order.is_sorted(), "{}", agent.log());
    let banner = &objects[order[4]];
    assert_eq!(
        (&banner["node_name"], &banner["bind_addr"]),
        (&"collected".into(), &agent.gossip.clone().into())
    );
    assert_eq!((&banner["advertise_addr"], &banner["encrypted"]), (&Value::Null, &false.into()));
}

#[test]
fn a_start_that_fails_is_told_in_the_form_that_was_asked_for() {
    for (flags, file, message) in [
        (&["-log-format=JSON", "-profile=odd"][..], "{}", "Unknown profile: odd"),
        (&["-config-file=none.json"], r#"{"log_format": "json"}"#, "Error reading 'none.json': "),
        (&["-log-format=json", "-config-file=a.json"], r#"{"rpc_addr": 1}"#, "Error decoding 'a.json': "),
        (
            &["-log-format=json", "-rpc-addr=unix:"],
            "{}",
            "Error starting RPC listener: listen unix: missing path",
        ),
    ] {
        let mut agent = Agent::new(Program::Ours, "failing", &["-config-file=a.json"]);
        agent.write("a.json", file);
        agent.spawn(flags);
        assert_eq!(agent.exit_code(), Some(1));
        let objects = objects(&agent);
        let (level, target, text) = told(objects.last().expect("something is told"));
        assert_eq!((level, target), ("error", "console"));
        assert!(text.starts_with(message), "{text}");
    }
    let mut agent = Agent::new(Program::Ours, "failing", &["-log-format=xml"]);
    agent.spawn(&[]);
    assert_eq!(agent.exit_code(), Some(1));
    assert_eq!(agent.log(), "==> Invalid log format: xml. Valid log formats are: [text json]\n");
}
