//! What the configuration says, from its check to its effect.

use crate::agents::{Agent, Program, converge, until};

#[test]
fn a_configuration_is_checked_without_an_agent() {
    let mut agent = Agent::new(Program::Ours, "checked", &[]);
    agent.write("good.json", r#"{"gossip": {"probe_interval": "300ms"}, "rpc_auth": "s3cret"}"#);
    agent.write("bad.json", "{\n \"gosip\": {},\n \"protocol\": 1}");
    // Its addresses are taken, which is no business of a check.
    let taken = std::net::TcpListener::bind(&agent.rpc).expect("a free port");
    agent.spawn(&["-check-config", "-config-file=good.json"]);
    assert_eq!(agent.exit_code(), Some(0));
    let log = agent.log();
    assert!(log.starts_with("Configuration is valid!\n"), "{log}");
    assert!(log.contains("\n    gossip.probe_interval = \"300ms\"  (good.json:1:31)\n"), "{log}");
    assert!(log.contains("\n    profile = \"local\"  (command line)\n") && !log.contains("s3cret"), "{log}");
    agent.spawn(&["-check-config", "-config-file=good.json", "-config-file=bad.json"]);
    assert_eq!(agent.exit_code(), Some(1));
    assert_eq!(
        agent.log(),
        "bad.json:2:2: 'gosip' is not a known key; did you mean 'gossip'?\n\
         bad.json:3:14: 'protocol': Protocol version '1' too low. Must be in range: [2, 5]\n\
         Configuration is not valid: 2 problems\n"
    );
    drop(taken);
}

#[test]
fn a_reload_says_what_takes_a_restart() {
    let mut agent = Agent::new(Program::Ours, "reloaded", &["-config-file=a.json"]);
    agent.write("a.json", r#"{"tags": {"a": "1"}, "retry_join": [], "rpc_auth": ""}"#);
    agent.start(&[]);
    agent.write("a.json", r#"{"tags": {"a": "2"}, "snapshot_path": "s", "gossip": {"gossip_nodes": 4}}"#);
    agent.signal("-HUP");
    agent.wait_log(
        "==> Changed, but in effect only after a restart of the agent: gossip.gossip_nodes, snapshot_path\n",
    );
    agent.write("a.json", r#"{"tags": {"a": "3"}}"#);
    agent.signal("-HUP");
    until("the second reload", || {
        let log = agent.log();
        (log.matches("agent: setting tags to those of the configuration").count() == 2).then_some(())
    });
    assert_eq!(agent.log().matches("in effect only after").count(), 1);
}

#[test]
fn keys_of_gossip_reach_the_cluster() {
    let labelled = |name: &str, flags: &[&str]| {
        let flags = [&["-config-file=a.json", "-profile=fast"], flags].concat();
        let mut agent = Agent::new(Program::Ours, name, &flags);
        agent.write("a.json", r#"{"gossip": {"label": "blue", "udp_buffer_size": 1200}}"#);
        agent.start(&[]);
        agent
    };
    let a = labelled("a", &[]);
    let mut b = labelled("b", &[&format!("-join={}", a.gossip)]);
    converge(&[&a, &b]);
    let stranger = Agent::started(Program::Ours, "stranger", &[]);
    assert_eq!(stranger.cli("join", &[&a.gossip]).status.code(), Some(1));
    assert_eq!(a.members().len(), 2);
    b.kill();
    a.wait_status("b", "failed");
}

/// In a second line, since scripts may know the first.
#[test]
fn what_ends_a_start_is_told_with_its_place() {
    for (text, lines) in [
        (
            r#"{"gossip": {"probe_interval": "200ms"}}"#,
            "==> Invalid gossip settings: 'gossip.probe_timeout' must be shorter than 'gossip.probe_interval', but 500ms \
             is not shorter than 200ms; 'probe_timeout' is the profile's: set both\n    \
             (a.json:1:31: 'gossip.probe_interval')\n",
        ),
        (r#"{"bind": "1", "log_format": "x", "encrypt_key": "foo"}"#, "    (a.json:1:29: 'log_format')\n"),
        (
            r#"{"encrypt_key": "foo"}"#,
            "==> Invalid encryption key: illegal base64 data at input byte 0\n    (a.json:1:17: 'encrypt_key')\n",
        ),
        (r#"{"profile": "lan", "log_level": "loud"}"#, "    (a.json:1:33: 'log_level')\n"),
        (r#"{"keyring_file": "none"}"#, "    (a.json:1:18: 'keyring_file')\n"),
    ] {
        let mut agent =
            Agent::new(Program::Ours, "torn", &["-config-file=a.json", "-profile=lan", "-log-level="]);
        agent.write("a.json", text);
        agent.spawn(&[]);
        assert_eq!(agent.exit_code(), Some(1));
        let log = agent.log();
        assert!(log.contains(lines), "{log}");
    }
}
