//! Clusters of our agents and HashiCorp's.

use crate::agents::{Agent, Program, converge, go_is_here, until};

pub(crate) const KEYS: [&str; 3] = [
    "MDEyMzQ1Njc4OWFiY2RlZg==",
    "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u",
    "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=",
];

/// Join, tags, leave, failure, return and forced leave, the other one being HashiCorp's.
fn life_together(flags: &[&str]) {
    let ours = Agent::started(Program::Ours, "ours", &[flags, &["-tag", "role=web"]].concat());
    let mut theirs = Agent::started(Program::Go, "theirs", &[flags, &["-tag", "role=db"]].concat());
    theirs.join(&ours);
    converge(&[&ours, &theirs]);
    for agent in [&ours, &theirs] {
        let seen: Vec<_> = agent.members().into_iter().map(|(name, _, tags)| (name, tags)).collect();
        let want = [("ours", "role=web"), ("theirs", "role=db")].map(|(n, t)| (n.to_string(), t.to_string()));
        assert_eq!(seen, want, "tags at {}", agent.name);
    }

    theirs.kill();
    ours.wait_status("theirs", "failed");
    theirs.start(&[&format!("-join={}", ours.gossip)]);
    converge(&[&ours, &theirs]);

    let left = theirs.cli("leave", &[]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "Graceful leave complete\n");
    assert_eq!(theirs.exit_code(), Some(0));
    ours.wait_status("theirs", "left");

    theirs.start(&[&format!("-join={}", ours.gossip)]);
    converge(&[&ours, &theirs]);
    theirs.kill();
    ours.wait_status("theirs", "failed");
    assert!(ours.cli("force-leave", &["theirs"]).status.success());
    ours.wait_status("theirs", "left");
}

#[test]
fn a_real_agent_and_ours_are_one_cluster() {
    if go_is_here("a_real_agent_and_ours_are_one_cluster") {
        life_together(&[]);
    }
}

#[test]
fn they_are_one_cluster_under_every_key_size() {
    if go_is_here("they_are_one_cluster_under_every_key_size") {
        for key in KEYS {
            life_together(&[&format!("-encrypt={key}")]);
        }
    }
}

#[test]
fn our_leave_death_and_return_are_seen_by_a_real_agent() {
    if !go_is_here("our_leave_death_and_return_are_seen_by_a_real_agent") {
        return;
    }
    let theirs = Agent::started(Program::Go, "theirs", &[]);
    let mut ours = Agent::started(Program::Ours, "ours", &[]);
    ours.join(&theirs);
    converge(&[&ours, &theirs]);
    ours.kill();
    theirs.wait_status("ours", "failed");
    ours.start(&[&format!("-join={}", theirs.gossip), "-tag", "back=1"]);
    converge(&[&ours, &theirs]);
    until("new tags at the real agent", || {
        theirs.members().contains(&("ours".into(), "alive".into(), "back=1".into())).then_some(())
    });
    ours.signal("-INT");
    assert_eq!(ours.exit_code(), Some(0));
    theirs.wait_status("ours", "left");
}

#[test]
fn five_agents_in_a_chain_find_each_other() {
    if !go_is_here("five_agents_in_a_chain_find_each_other") {
        return;
    }
    use Program::{Go, Ours};
    let agents: Vec<Agent> = [Ours, Go, Ours, Go, Ours]
        .into_iter()
        .enumerate()
        .map(|(i, program)| Agent::started(program, &format!("n{i}"), &["-tag", &format!("n={i}")]))
        .collect();
    for pair in agents.windows(2) {
        pair[1].join(&pair[0]);
    }
    converge(&agents.iter().collect::<Vec<_>>());
    until("one view", || {
        let views: Vec<_> = agents.iter().map(Agent::members).collect();
        views.iter().all(|view| *view == views[0]).then_some(())
    });
}

#[test]
fn a_wrong_key_is_refused_with_a_clear_line() {
    if !go_is_here("a_wrong_key_is_refused_with_a_clear_line") {
        return;
    }
    let ours = Agent::started(Program::Ours, "ours", &[&format!("-encrypt={}", KEYS[0])]);
    for key in [Some(KEYS[1]), None] {
        let flag = key.map(|key| format!("-encrypt={key}"));
        let flags: Vec<&str> = flag.iter().map(String::as_str).collect();
        let theirs = Agent::started(Program::Go, "theirs", &flags);
        let out = theirs.cli("join", &[&ours.gossip]);
        assert!(!out.status.success(), "a join with {key:?} worked");
        let line = match key {
            Some(_) => "no installed keys could decrypt the message",
            None => "encryption is configured but remote state is not encrypted",
        };
        ours.wait_log(line);
        assert_eq!(ours.members().len(), 1);
    }
}

#[test]
fn events_go_both_ways_and_are_shown_as_they_come() {
    if !go_is_here("events_go_both_ways_and_are_shown_as_they_come") {
        return;
    }
    let ours = Agent::started(Program::Ours, "ours", &[]);
    let theirs = Agent::started(Program::Go, "theirs", &[]);
    ours.join(&theirs);
    converge(&[&ours, &theirs]);
    let monitor = ours.monitor();
    monitor.wait_for("[INFO] agent: Serf agent starting");
    for (from, name) in [(&theirs, "from-theirs"), (&ours, "from-ours")] {
        let out = from.cli("event", &["-coalesce=false", name, "x y"]);
        let want = format!("Event '{name}' dispatched! Coalescing enabled: false\n");
        assert_eq!(String::from_utf8_lossy(&out.stdout), want);
        monitor.wait_for(&format!("Name: \"{name}\"\n\tPayload: []byte{{0x78, 0x20, 0x79}}"));
        theirs.wait_log(&format!("Received event: user-event: {name}"));
    }
    let out = ours.cli("tags", &["-set", "role=web"]);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "Successfully updated agent tags\n");
    until("new tags at the real agent", || {
        theirs.members().contains(&("ours".into(), "alive".into(), "role=web".into())).then_some(())
    });
    monitor.wait_for("Event: \"member-update\"");
}
