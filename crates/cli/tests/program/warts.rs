//! Where the reference hurts its operators and we do not: the list `En` in `docs/compatibility.md`.

use crate::agents::{Agent, Program, until};

fn text(agent: &Agent, command: &str, args: &[&str]) -> (Option<i32>, String) {
    let out = agent.cli(command, args);
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Has the agent read its configuration again, and waits until it has.
fn reload(agent: &Agent, config: &str) {
    agent.write("config.json", config);
    agent.signal("-HUP");
    until("the new handler is shown", || text(agent, "info", &[]).1.contains("user:reloaded").then_some(()));
}

// E1: the reference empties the file, and the tags with it.
#[test]
fn tags_of_a_file_outlive_a_reload() {
    let mut agent = Agent::new(Program::Ours, "kept", &["-config-file=config.json", "-tags-file=tags"]);
    agent.write("config.json", "{}");
    agent.start(&[]);
    assert_eq!(text(&agent, "tags", &["-set", "role=web"]).0, Some(0));
    let file = agent.read("tags");
    reload(&agent, r#"{"event_handlers": ["user:reloaded=true"]}"#);
    assert_eq!(agent.members(), [("kept".into(), "alive".into(), "role=web".into())]);
    assert_eq!((agent.read("tags"), file.contains("web")), (file, true));
}

// E2: the reference says nothing.
#[test]
fn tags_that_a_reload_takes_back_are_told() {
    let mut agent = Agent::new(Program::Ours, "plain", &["-config-file=config.json", "-tag=a=1"]);
    agent.write("config.json", "{}");
    agent.start(&[]);
    reload(&agent, r#"{"event_handlers": ["user:reloaded=true"]}"#);
    assert_eq!(text(&agent, "tags", &["-set", "b=2"]).0, Some(0));
    assert!(!agent.log().contains("tags are set"), "nothing was taken back by the first reload");
    agent.signal("-HUP");
    agent.wait_log("[INFO] agent: setting tags to those of the configuration");
    until("the tag is gone", || (agent.members()[0].2 == "a=1").then_some(()));
}

// E3: the reference writes them first, and then does not start any more.
#[test]
fn tags_that_are_too_long_change_neither_the_node_nor_its_file() {
    let mut agent = Agent::started(Program::Ours, "long", &["-tags-file=tags"]);
    assert_eq!(text(&agent, "tags", &["-set", "a=1"]).0, Some(0));
    let refused = "Error setting tags: Encoded length of tags exceeds limit of 512 bytes\n".to_owned();
    assert_eq!(text(&agent, "tags", &["-set", &format!("b={}", "x".repeat(600))]), (Some(1), refused));
    agent.kill();
    agent.start(&[]);
    assert_eq!(agent.members()[0].2, "a=1");
}

// E8, E9: the reference shows nothing of what it has logged, and has told the cluster of itself by then.
#[test]
fn a_start_without_a_port_for_commands_is_explained_and_nobody_hears_of_it() {
    let first = Agent::started(Program::Ours, "first", &[]);
    let mut second = Agent::new(Program::Ours, "second", &[&format!("-join={}", first.gossip)]);
    second.spawn(&[&format!("-rpc-addr={}", first.rpc)]);
    assert_eq!(second.exit_code(), Some(1));
    let log = second.log();
    let error =
        format!("==> Error starting RPC listener: listen tcp {}: bind: address already in use\n", first.rpc);
    assert!(log.contains("[INFO] agent: Serf agent starting\n") && log.contains(&error), "{log}");
    assert!(!log.contains("EventMemberJoin"), "{log}");
    assert_eq!(first.members().len(), 1);
}

// E15: the reference closes the connection.
#[test]
fn an_expression_that_is_none_is_explained() {
    let agent = Agent::started(Program::Ours, "patterned", &[]);
    for flag in ["-name=(", "-status=(", "-tag=role=("] {
        let (code, said) = text(&agent, "members", &[flag]);
        let words = "Error retrieving members: Failed to compile regex: error parsing regexp: ";
        assert!(code == Some(1) && said.starts_with(words), "{flag}: {said}");
    }
}

// E44: the reference drops what follows without a word.
#[test]
fn what_an_agent_does_not_read_is_told() {
    let mut agent = Agent::new(Program::Ours, "verbose", &[]);
    agent.spawn(&["verbosely", "-node=other"]);
    agent.wait_log("==> Serf agent running!");
    let log = agent.log();
    assert!(log.starts_with("==> Warning: ignoring 'verbosely' and everything after it\n"), "{log}");
    assert!(log.contains("Node name: 'verbose'\n"), "{log}");
}
