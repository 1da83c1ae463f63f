//! The checklist of the command line (spec `cli.md`, part D), where no other test holds a line of it: what each command
//! prints and how it ends, at an agent of ours.

use std::process::Command;

use base64ct::{Base64, Encoding};

use crate::agents::{Agent, Program, cli, converge, until};
use crate::mixed::KEYS;

/// A command, its arguments, how it ends, and what it says among other things. What begins with `-` it does not say.
type Line<'a> = (&'a str, &'a [&'a str], i32, &'a [&'a str]);

fn hold(agent: &Agent, lines: &[Line<'_>]) {
    for (command, args, code, words) in lines {
        let out = agent.cli(command, args);
        let text = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(*code), "{command} {args:?}: {text}");
        for word in *words {
            match word.strip_prefix('-') {
                Some(word) => assert!(!text.contains(word), "{command} {args:?} says {word:?}: {text}"),
                None => assert!(text.contains(word), "{command} {args:?} does not say {word:?}: {text}"),
            }
        }
    }
}

#[test]
fn mistakes_are_told_with_the_word_that_is_missing() {
    let agent = Agent::started(Program::Ours, "strict", &[]);
    let [install, use_it] = ["-install", "-use"].map(|flag| format!("{flag}={}", KEYS[0]));
    hold(
        &agent,
        &[
            ("event", &[], 1, &["event name", "Usage: serf event"]),
            ("event", &["a", "b", "c"], 1, &["Too many"]),
            ("force-leave", &[], 1, &["node name"]),
            ("force-leave", &["a", "b"], 1, &["node name"]),
            ("join", &[], 1, &["one address"]),
            ("keys", &[], 1, &["Usage: serf keys"]),
            ("keys", &[&install], 1, &["not enabled", "Error installing key: 1/1 nodes reported failure"]),
            ("keys", &["-list"], 1, &["not enabled"]),
            ("keys", &[&install, &use_it], 1, &["Only one of", "-Usage"]),
            ("keys", &["-list", &use_it], 1, &["Only one of"]),
            ("query", &[], 1, &["query name"]),
            ("query", &["a", "b", "c"], 1, &["Too many"]),
            ("query", &["-relay-factor=9999", "a"], 1, &["Relay factor must be"]),
            ("query", &["-relay-factor=-1", "a"], 1, &["Relay factor must be"]),
            ("rtt", &[], 1, &["One or two node names", "Usage: serf rtt"]),
            ("rtt", &["nobody"], 1, &["Could not find a coordinate for node \"nobody\""]),
            ("tags", &[], 1, &["Usage: serf tags"]),
            ("tags", &["-set", "a"], 1, &["Invalid tag: 'a'"]),
            ("members", &["-format=boo"], 1, &["Invalid output format \"boo\""]),
            ("members", &["-tag", "=x"], 1, &["Invalid tag: '=x'"]),
            ("monitor", &["-log-level=bogus"], 1, &["Unknown log level: BOGUS"]),
            ("force-leave", &["nobody"], 0, &["-nobody"]),
        ],
    );
}

#[test]
fn members_are_chosen_by_name_state_and_tags() {
    let agent = Agent::started(Program::Ours, "me", &["-tag=role=test", "-tag=tag1=foo", "-tag=tag2=bar"]);
    hold(
        &agent,
        &[
            ("members", &[], 0, &["me"]),
            ("members", &["-status=alive"], 0, &["me"]),
            ("members", &["-status=(failed|left)"], 0, &["-me"]),
            ("members", &["-name=m."], 0, &["me"]),
            ("members", &["-name=m"], 0, &["-me"]),
            ("members", &["-role=test"], 0, &["Deprecation warning", "me"]),
            ("members", &["-role=primary"], 0, &["-me "]),
            ("members", &["-tag=tag1=foo"], 0, &["me"]),
            ("members", &["-tag=tag1=fo"], 0, &["-me"]),
            ("members", &["-tag=tag1=foo", "-tag=tag2=bar"], 0, &["me"]),
            ("members", &["-tag=tag1=foo", "-tag=tag2=nomatch"], 0, &["-me"]),
            ("query", &["-timeout=1ms", "-tag=tag1=f", "load"], 0, &["Ack from 'me'"]),
            ("query", &["-timeout=1ms", "-tag=tag1=nomatch", "load"], 0, &["-Ack from", "Total Acks: 0"]),
            ("query", &["-timeout=1ms", "-node=me", "load"], 0, &["Ack from 'me'"]),
            ("query", &["-timeout=1ms", "-node=other", "load"], 0, &["-Ack from"]),
            // One call takes a tag away and gives two.
            (
                "tags",
                &["-set=tag2=new", "-set=tag3=more", "-delete=tag1"],
                0,
                &["Successfully updated agent tags"],
            ),
            ("members", &[], 0, &["-tag1", "tag2=new", "tag3=more"]),
            ("info", &[], 0, &["runtime:", "\tname = me", "\ttag3 = more"]),
        ],
    );
    let out = Command::new(Program::Ours.path()).arg("keygen").output().expect("the program starts");
    assert_eq!(Base64::decode_vec(String::from_utf8_lossy(&out.stdout).trim()).expect("base64").len(), 32);
}

#[test]
fn failed_members_are_forced_out_and_pruned() {
    for (flags, want) in [
        (&["lost"][..], &[("lost", "left"), ("survivor", "alive")][..]),
        (&["-prune", "lost"], &[("survivor", "alive")]),
    ] {
        // Of two agents one is sure soon that the other has failed.
        let agent = Agent::started(Program::Ours, "survivor", &[]);
        let mut lost = Agent::started(Program::Ours, "lost", &[]);
        // A name before the address is the node's.
        hold(&agent, &[("join", &[&format!("lost/{}", lost.gossip)], 0, &["by contacting 1 nodes"])]);
        converge(&[&agent, &lost]);
        lost.kill();
        agent.wait_status("lost", "failed");
        hold(&agent, &[("force-leave", flags, 0, &["-lost"])]);
        let seen = || agent.members().into_iter().map(|member| (member.0, member.1)).collect::<Vec<_>>();
        let want: Vec<_> = want.iter().map(|(name, status)| (name.to_string(), status.to_string())).collect();
        until(&format!("it is {want:?}"), || (seen() == want).then_some(()));
    }
}

#[test]
fn an_agent_joins_at_its_start_as_its_flags_say() {
    let first = Agent::started(Program::Ours, "first", &["-advertise=127.0.0.9:1"]);
    // Who advertises another address is listed with it.
    hold(&first, &[("members", &[], 0, &["first  127.0.0.9:1  alive"])]);
    let mut first = first;
    first.kill();

    // It is not there yet.
    let target = Agent::new(Program::Ours, "target", &[]);
    let join = format!("-retry-join={}", target.gossip);
    let patient = Agent::started(Program::Ours, "patient", &[&join, "-retry-interval=1s"]);
    patient.wait_log("retrying in 1s");
    let mut target = target;
    target.start(&[]);
    converge(&[&patient, &target]);
    patient.wait_log("Join completed. Synced with 1 initial agents");

    let nobody = Agent::new(Program::Ours, "nobody", &[]);
    for (flags, last) in [
        (vec![format!("-join={}", nobody.gossip)], "connection refused"),
        // One more than that, as ever (E12).
        (
            vec![
                format!("-retry-join={}", nobody.gossip),
                "-retry-interval=1s".into(),
                "-retry-max=1".into(),
            ],
            "[ERR] agent: maximum retry join attempts made, exiting",
        ),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut agent = Agent::new(Program::Ours, "hopeless", &flags);
        agent.spawn(&[]);
        assert_eq!(agent.exit_code(), Some(1), "{}", agent.log());
        assert!(agent.log().contains(last), "{}", agent.log());
        assert!(agent.log().matches("Join failed").count() <= 1, "{}", agent.log());
    }
    let replayed =
        Agent::started(Program::Ours, "replayed", &[&format!("-join={}", target.gossip), "-replay"]);
    assert!(
        replayed.log().contains("==> Joining cluster...(replay: true)\n    Join completed. Synced with 1")
    );
    converge(&[&replayed, &patient, &target]);
    // In whichever order they came (E21).
    let out = target.cli("members", &[]);
    let text = String::from_utf8_lossy(&out.stdout);
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["patient", "replayed", "target"]);
}

#[test]
fn a_leave_ends_command_and_agent_well() {
    let mut agent = Agent::started(Program::Ours, "leaver", &[]);
    hold(&agent, &[("leave", &[], 0, &["Graceful leave complete"])]);
    assert_eq!(agent.exit_code(), Some(0));
    let out = cli(Program::Ours, "members", &agent.rpc, &[]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let want =
        format!("Error connecting to Serf agent: dial tcp {}: connect: connection refused\n", agent.rpc);
    assert_eq!((out.status.code(), text), (Some(1), want));
}
