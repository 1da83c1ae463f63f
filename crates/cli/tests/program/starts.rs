//! How agents start: where they listen for commands, what is told of it, and what stands in the way.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Command;

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
