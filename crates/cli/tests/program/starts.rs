//! How agents start: where they listen for commands, what is told of it, and what stands in the way.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::Value;

use crate::agents::{Agent, PATIENCE, Program, cli, until};

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
    agent.wait_log("script output");
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

/// What a service manager hears.
struct Manager(UnixDatagram);

impl Manager {
    /// One for an agent that has yet to start.
    fn of(agent: &mut Agent) -> Self {
        let path = agent.socket().with_file_name("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a free path");
        socket.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        agent.environment.push(("NOTIFY_SOCKET", path.display().to_string()));
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1000];
        let len = self.0.recv(&mut buffer).expect("the agent tells something");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// What comes before a message that begins so, and that message.
    fn up_to(&self, start: &str) -> Vec<String> {
        let mut heard = vec![self.next()];
        while !heard.last().is_some_and(|last| last.starts_with(start)) {
            heard.push(self.next());
        }
        heard
    }
}

#[test]
fn a_service_manager_is_told_how_the_agent_is() {
    let other = Agent::started(Program::Ours, "other", &[]);
    let join = format!("-join={}", other.gossip);
    let handler = "-event-handler=user:who=echo ${NOTIFY_SOCKET:-nobody} >who";
    let mut agent = Agent::new(Program::Ours, "managed", &[&join, handler]);
    let manager = Manager::of(&mut agent);
    agent.start(&[]);
    assert_eq!(manager.next(), "READY=1\nSTATUS=Members: 2 alive, 0 failed, 0 left");
    assert!(agent.cli("event", &["who"]).status.success());
    // Whom the agent tells is not for those that it starts.
    until("the handler runs", || (agent.read("who") == "nobody\n").then_some(()));
    agent.signal("-HUP");
    let reload = manager.up_to("READY=1");
    let reloading: Vec<_> =
        reload.iter().filter(|it| it.starts_with("RELOADING=1\nMONOTONIC_USEC=")).collect();
    assert_eq!(reloading.len(), 1, "{reload:?}");
    assert!(other.cli("leave", &[]).status.success());
    manager.up_to("STATUS=Members: 1 alive, 0 failed, 1 left");
    agent.signal("-INT");
    manager.up_to("STOPPING=1");
    assert_eq!(agent.exit_code(), Some(0));
}

#[test]
fn an_agent_that_has_not_joined_is_not_ready() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let join = format!("-join={}", silent.local_addr().expect("it is bound"));
    let mut agent = Agent::new(Program::Ours, "waiting", &[&join, "-profile=wan"]);
    let manager = Manager::of(&mut agent);
    agent.start(&[]);
    agent.signal("-HUP");
    agent.wait_log("Reloading configuration...");
    agent.signal("-TERM");
    assert_eq!(agent.exit_code(), Some(1));
    assert_eq!(manager.next(), "STOPPING=1");
}

#[test]
fn a_watchdog_hears_of_the_agent_again_and_again() {
    let mut agent = Agent::new(Program::Ours, "watched", &[]);
    let manager = Manager::of(&mut agent);
    agent.environment.push(("WATCHDOG_USEC", "200000".into()));
    agent.start(&[]);
    assert!(manager.next().starts_with("READY=1\n"));
    (0..3).for_each(|_| drop(manager.up_to("WATCHDOG=1")));
}

/// What an agent has said last, when its start has failed with the exit code for that.
fn failure(agent: &mut Agent, flags: &[&str]) -> String {
    agent.spawn(flags);
    assert_eq!(agent.exit_code(), Some(1), "{flags:?}");
    let log = agent.log();
    let at = log.rfind("==> ").expect("a message");
    log[at + 4..].trim_end().to_owned()
}

/// The first line is that of HashiCorp's agent.
#[test]
fn a_start_that_fails_says_why_and_what_to_do() {
    const SETUP: &str = "Failed to setup the Serf agent: ";
    const START: &str = "Failed to start the Serf agent: Error creating Serf: ";
    let mut agent = Agent::new(Program::Ours, "failing", &[]);
    agent.write("none.json", "[]");
    agent.write("three.json", "3");
    agent.write("short.json", r#"["YWJj"]"#);
    agent.write("key.json", r#"["MDEyMzQ1Njc4OWFiY2RlZg=="]"#);
    agent.write("facility.json", r#"{"enable_syslog": true, "syslog_facility": "moon"}"#);
    let long = format!("-tag=a={}", "x".repeat(600));
    let keyring =
        "('{}' has to be a list of keys that `serf keygen` prints, the primary one first, as [\"KEY\"])";
    for (flags, why, what) in [
        (
            &["-iface=nope0"][..],
            "Invalid network interface: route ip+net: no such network interface",
            "(this machine has ",
        ),
        (
            &["-bind=[::"],
            "Invalid bind address: address [::: missing ']' in address",
            "(write HOST, HOST:PORT, IPV6 or [IPV6]:PORT in -bind or 'bind')",
        ),
        (
            &["-advertise=1.2.3.4:x"],
            "Invalid advertise address: lookup tcp/x: unknown port",
            "(write HOST, HOST:PORT, IPV6 or [IPV6]:PORT in -advertise or 'advertise')",
        ),
        (&["-profile=moon"], "Unknown profile: moon", "(profiles are lan, wan, local and fast)"),
        (
            &["-mdns-iface=lo"],
            "mDNS interface specified without enabling mDNS discovery",
            "(name the cluster with -discover or 'discover')",
        ),
        (
            &[&long],
            &format!("{START}Encoded length of tags exceeds limit of 512 bytes"),
            "(all nodes are told all tags: shorten them, or leave some out)",
        ),
        (
            &["-keyring-file=missing.json"],
            &format!("{SETUP}stat missing.json: no such file or directory"),
            "(make it, a list of keys that `serf keygen` prints, as [\"KEY\"])",
        ),
        (
            &["-keyring-file=none.json"],
            &format!("{SETUP}Keyring file contains no keys"),
            &keyring.replace("{}", "none.json"),
        ),
        (
            &["-keyring-file=three.json"],
            &format!(
                "{SETUP}Failed to decode keyring file: json: cannot unmarshal number into Go value of type []string"
            ),
            &keyring.replace("{}", "three.json"),
        ),
        (
            &["-keyring-file=short.json"],
            &format!("{SETUP}Failed to restore keyring: key size must be 16, 24 or 32 bytes"),
            &keyring.replace("{}", "short.json"),
        ),
        (
            &["-keyring-file=key.json", "-encrypt=MDEyMzQ1Njc4OWFiY2RlZg=="],
            &format!("{SETUP}Encryption key not allowed while using a keyring"),
            "(keys are kept in 'key.json': leave out -encrypt and 'encrypt_key', or that file)",
        ),
        (
            &["-tags-file=three.json"],
            &format!(
                "{SETUP}Failed to decode tags file: json: cannot unmarshal number into Go value of type map[string]string"
            ),
            "('three.json' has to be an object of strings, as {\"role\": \"web\"}; without the file there are no tags)",
        ),
        (
            &["-tags-file=three.json", "-tag=a=b"],
            &format!("{SETUP}Tags config not allowed while using tag files"),
            "(tags are kept in 'three.json': leave out the others (-tag, -role, 'tags', 'role'), or that file)",
        ),
        (
            &["-config-file=facility.json"],
            "Syslog setup failed: invalid syslog facility: MOON",
            "(name one of KERN, USER, ",
        ),
        (
            &["-snapshot=no/snapshot"],
            &format!(
                "{START}Failed to setup snapshot: failed to open snapshot: open no/snapshot: no such file or directory"
            ),
            "(make its directory, or name another file with -snapshot)",
        ),
        (
            &["-rpc-addr=nowhere"],
            "Error starting RPC listener: listen tcp: address nowhere: missing port in address",
            "(write HOST:PORT or unix:PATH in -rpc-addr or 'rpc_addr')",
        ),
        (
            &["-rpc-addr=192.0.2.1:1"],
            "Error starting RPC listener: listen tcp 192.0.2.1:1: bind: cannot assign requested address",
            "(no interface of this machine has that address: name another with -rpc-addr or 'rpc_addr')",
        ),
        (
            &["-rpc-addr=unix:no/rpc.sock"],
            "Error starting RPC listener: listen unix no/rpc.sock: bind: no such file or directory",
            "(make its directory, or name another path with -rpc-addr or 'rpc_addr')",
        ),
    ] {
        let told = failure(&mut agent, flags);
        let (line, remedy) = told.split_once("\n    ").unwrap_or_else(|| panic!("{told}: no remedy"));
        assert_eq!(line, why);
        assert!(remedy.starts_with(what) && remedy.ends_with(')') && remedy.lines().count() == 1, "{remedy}");
    }
}

#[test]
fn of_two_ports_that_are_taken_the_one_of_gossip_is_told() {
    let mut agent = Agent::new(Program::Ours, "failing", &[]);
    let (gossip, rpc) = (agent.gossip.clone(), agent.rpc.clone());
    let rpc_taken = TcpListener::bind(&rpc).expect("a free port");
    let message = format!(
        "Error starting RPC listener: listen tcp {rpc}: bind: address already in use\n    (another program"
    );
    assert!(failure(&mut agent, &[]).starts_with(&message));
    let words = "Failed to start the Serf agent: Error creating Serf: Failed to create memberlist: ";
    let taken = UdpSocket::bind(&gossip).expect("a free port");
    let told = failure(&mut agent, &[]);
    assert!(told.starts_with(words), "{told}");
    assert!(
        told.contains(&format!("listen udp {gossip}: bind: address already in use\n    (another program")),
        "{told}"
    );
    drop((taken, rpc_taken));
    agent.start(&[]);
}
