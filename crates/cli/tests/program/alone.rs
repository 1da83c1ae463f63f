//! Our program without company.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use crate::agents::{Agent, Program, cli, converge};

#[test]
fn two_of_ours_form_a_cluster_and_part() {
    let a = Agent::started(Program::Ours, "a", &[]);
    let mut b = Agent::started(Program::Ours, "b", &[&format!("-join={}", a.gossip)]);
    converge(&[&a, &b]);
    b.signal("-INT");
    assert_eq!(b.exit_code(), Some(0));
    a.wait_status("b", "left");
    let out = a.cli("force-leave", &["-prune", "b"]);
    assert!(out.status.success());
    assert_eq!(a.members().len(), 1);
}

#[test]
fn the_token_is_asked_for() {
    let dir = std::env::temp_dir().join(format!("serf-token-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("auth.json");
    std::fs::write(&path, r#"{"rpc_auth": "secret"}"#).unwrap();
    let mut agent = Agent::new(Program::Ours, "guarded", &[&format!("-config-file={}", path.display())]);
    agent.spawn(&[]);
    agent.wait_log("agent: Serf agent starting");
    for (args, want) in [
        (vec![], "Error retrieving members: Authentication required\n"),
        (vec!["-rpc-auth=wrong"], "Error connecting to Serf agent: Invalid authentication token\n"),
    ] {
        let out = agent.cli("members", &args);
        assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stdout).as_ref()), (Some(1), want));
    }
    assert!(agent.cli("members", &["-rpc-auth=secret"]).status.success());
    let kept = dir.join("token");
    std::fs::write(&kept, "secret\n").unwrap();
    assert!(agent.cli("members", &[&format!("-rpc-auth-file={}", kept.display())]).status.success());
    let mut command = Command::new(Program::Ours.path());
    command.args(["members", &format!("-rpc-addr={}", agent.rpc)]);
    for (token, code) in [("", Some(0)), ("wrong", Some(1))] {
        command.env("SERF_RPC_AUTH_FILE", &kept).env("SERF_RPC_AUTH", token);
        assert_eq!(command.output().unwrap().status.code(), code, "a token that is said beats the file");
    }
    agent.wait_log("[WARN] agent.ipc: Client sending commands before auth from=127.");
    agent.wait_log("[WARN] agent.ipc: Client has shown a wrong token from=127.");
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn a_signal_is_heard_while_the_first_join_waits() {
    // Connections are accepted by the system, and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let join = format!("-join={}", silent.local_addr().unwrap());
    for (signal, name, code) in [("-INT", "interrupt", 0), ("-TERM", "terminated", 1)] {
        let mut agent = Agent::new(Program::Ours, "hasty", &[&join, "-profile=wan"]);
        agent.spawn(&[]);
        agent.wait_log("==> Joining cluster...(replay: false)\n");
        agent.signal("-HUP");
        agent.wait_log("==> Reloading configuration...\n");
        agent.signal(signal);
        assert_eq!(agent.exit_code(), Some(code), "{}", agent.log());
        let log = agent.log();
        assert!(log.contains(&format!("==> Caught signal: {name}\n")), "{log}");
        assert!(log.contains("agent: shutdown complete"), "{log}");
        assert!(!log.contains("error occurred"), "{log}");
    }
}

#[test]
fn a_leave_is_heard_while_the_first_join_waits() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let join = format!("-join={}", silent.local_addr().unwrap());
    let mut agent = Agent::new(Program::Ours, "hasty", &[&join, "-profile=wan"]);
    agent.start(&[]);
    assert_eq!(agent.cli("leave", &[]).stdout, b"Graceful leave complete\n");
    assert_eq!(agent.exit_code(), Some(0), "{}", agent.log());
}

#[test]
fn text_that_is_not_utf8_is_refused_rather_than_changed() {
    for (command, flag) in [("agent", "-node="), ("members", "-name=")] {
        let value = OsString::from_vec([flag.as_bytes(), b"\xff"].concat());
        let out = Command::new(Program::Ours.path()).arg(command).arg(value).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{command}");
        let name = flag.trim_matches(['-', '=']);
        let message = format!("invalid value \"\\xff\" for flag -{name}: not UTF-8\n");
        assert_eq!(String::from_utf8_lossy(&out.stderr), message);
    }
}

#[test]
fn whatever_is_no_agent_is_told_from_one() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let closing = std::thread::spawn(move || drop(other.accept()));
    let out = cli(Program::Ours, "members", &address, &[]);
    closing.join().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        text,
        format!(
            "Error connecting to Serf agent: client closed (does an agent listen for commands at {address}?)\n"
        )
    );
}
