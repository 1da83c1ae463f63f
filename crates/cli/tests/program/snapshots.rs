//! Agents that are killed and go on from their snapshot file, also from one that HashiCorp's wrote.

use crate::agents::{Agent, Program, converge, go_is_here, until};

/// Fires events, which push what Go's agent holds back into the file, until the file has these lines.
fn settle(agent: &Agent, lines: &[String]) {
    until(&format!("the snapshot of {} has {lines:?}", agent.name), || {
        assert!(agent.cli("event", &["push"]).status.success());
        let file = agent.read("snap");
        lines.iter().all(|line| file.lines().any(|l| l == line)).then_some(())
    });
}

/// A number of `serf info`.
fn info(agent: &Agent, key: &str) -> u64 {
    let out = agent.cli("info", &[]).stdout;
    let text = String::from_utf8_lossy(&out).into_owned();
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix(&format!("{key} = ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("{key}: {text}")).parse().expect("a number")
}

/// One agent after another at one place, each going on from what the one before has left.
fn relay_race(programs: &[Program], other: Program) {
    let other = Agent::started(other, "other", &[]);
    let mut node = Agent::started(programs[0], "node", &["-snapshot=snap"]);
    node.join(&other);
    converge(&[&node, &other]);
    let mut clock = 0;
    for (i, program) in programs.iter().enumerate() {
        if i > 0 {
            node.program = *program;
            node.start(&[]);
            node.wait_log(&format!("Attempting re-join to previously known node: other: {}", other.gossip));
            converge(&[&node, &other]);
            let now = info(&node, "event_time");
            assert!(now >= clock, "{program:?}: {now} after {clock}");
        }
        assert!(node.cli("event", &["one"]).status.success());
        clock = info(&node, "event_time");
        // Clocks show the next time.
        let event_clock = format!("event-clock: {}", clock - 1);
        settle(&node, &[format!("alive: other {}", other.gossip), event_clock]);
        node.kill();
    }
}

#[test]
fn a_killed_agent_finds_its_cluster_again_by_itself() {
    relay_race(&[Program::Ours; 3], Program::Ours);
}

#[test]
fn a_snapshot_is_handed_to_a_real_agent_and_back() {
    if go_is_here("a_snapshot_is_handed_to_a_real_agent_and_back") {
        relay_race(&[Program::Ours, Program::Go, Program::Ours], Program::Go);
    }
}

#[test]
fn a_file_that_something_has_happened_to_costs_only_that() {
    let mut agent = Agent::new(Program::Ours, "a", &["-snapshot=snap"]);
    agent.write(
        "snap",
        "clock: 41\n\u{0}\u{0}alive: x\nwhat: ever\nevent-clock: 7\nquery-clock: 9\nclock: 99",
    );
    agent.start(&[]);
    assert_eq!(
        [info(&agent, "member_time"), info(&agent, "event_time"), info(&agent, "query_time")],
        [42, 8, 10]
    );
    for line in [
        "[WARN] serf: Damaged snapshot line: \\u{0}\\u{0}alive: x (snap:2)",
        "[WARN] serf: Unrecognized snapshot line: what: ever (snap:3)",
        "[WARN] serf: the last line of snapshot snap has no end and does not count (9 bytes)",
    ] {
        agent.wait_log(line);
    }
    agent.signal("-TERM");
    assert_eq!(agent.exit_code(), Some(1));
    let lines = agent.read("snap");
    assert!(lines.contains(&format!("\nquery-clock: 9\nalive: a {}\n", agent.gossip)), "{lines}");
}

// A system that limits the size of files sends a signal, too, which ends whoever has not asked for it.
#[test]
fn a_file_that_may_not_grow_is_written_anew() {
    let mut agent = Agent::new(Program::Ours, "a", &["-snapshot=snap"]);
    // Blocks of 512 bytes or, in some shells, of 1024.
    agent.before = "ulimit -f 64 && ";
    agent.write("snap", &"event-clock: 12345\n".repeat(5000));
    agent.start(&[]);
    agent.wait_log("[ERR] serf: failed to write snapshot");
    let alive = format!("alive: a {}\n", agent.gossip);
    until("the file is short", || {
        let file = agent.read("snap");
        (file.starts_with(&alive) && file.len() < 200 && file.contains("event-clock: 12345\n")).then_some(())
    });
    agent.signal("-TERM");
    assert_eq!(agent.exit_code(), Some(1));
}

#[test]
fn a_snapshot_that_cannot_be_opened_ends_the_agent_with_a_remedy() {
    let mut agent = Agent::new(Program::Ours, "a", &["-snapshot=missing/snap"]);
    agent.spawn(&[]);
    assert_eq!(agent.exit_code(), Some(1));
    let want = "==> Failed to start the Serf agent: Error creating Serf: Failed to setup snapshot: failed to open \
                snapshot: open missing/snap: no such file or directory\n    (make its directory, or name another file \
                with -snapshot)\n";
    assert!(agent.log().ends_with(want), "{}", agent.log());
}
