//! An agent is replaced under a running cluster, as by a package: the same arguments, the same files, another program.

use crate::agents::{Agent, Program, converge, go_is_here, until};
use crate::mixed::KEYS;

const CONFIG: &str = r#"{
  "keyring_file": "keyring",
  "snapshot_path": "snap",
  "tags_file": "tags",
  "event_handlers": [
    "user:slow=until [ -e go ]; do sleep 0.1; done; echo slow >> survived",
    "user=echo $SERF_USER_EVENT $SERF_USER_LTIME >> user",
    "query:who=echo $SERF_SELF_NAME $SERF_TAG_ROLE"
  ]
}"#;

fn placed(program: Program, name: &str) -> Agent {
    // These timings leave the newcomer half a minute before anybody is suspected for long enough.
    let agent = Agent::new(program, name, &["-config-dir=.", "-profile=wan"]);
    agent.write("agent.json", CONFIG);
    agent.write("keyring", &format!("[\"{}\"]", KEYS[0]));
    agent
}

/// What a command prints.
fn said(agent: &Agent, command: &str, args: &[&str]) -> String {
    let out = agent.cli(command, args);
    assert!(out.status.success(), "{command} {args:?}: {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// One program after another at one place. The others keep running, and watch.
fn swap(programs: &[Program], others: [Program; 2]) {
    let [mut one, mut other] = [placed(others[0], "one"), placed(others[1], "other")];
    let mut node = placed(programs[0], "node");
    for agent in [&mut one, &mut other, &mut node] {
        agent.start(&[]);
    }
    one.join(&other);
    node.join(&one);
    converge(&[&one, &other, &node]);
    said(&node, "tags", &["-set", "role=web", "-set", "zone=a"]);
    for (round, program) in programs.iter().enumerate() {
        if round > 0 {
            // A script of the one before still runs.
            said(&one, "event", &["-coalesce=false", "slow"]);
            node.wait_log("Received event: user-event: slow");
            let told = node.read("user");
            node.signal("-TERM");
            assert_eq!(node.exit_code(), Some(1));
            node.program = *program;
            node.start(&[]);
            node.wait_log("serf: Re-joined to previously known node: o");
            node.write("go", "");
            until("the script goes on to its end", || (node.read("survived") == "slow\n").then_some(()));
            node.write("survived", "");
            node.remove("go");
            converge(&[&one, &other, &node]);
            let who = said(&one, "query", &["-timeout=5s", "-node=node", "who"]);
            assert!(who.contains("Response from 'node': node web\n"), "{who}");
            // Only what is new is told.
            let new = format!("new{round}");
            said(&other, "event", &["-coalesce=false", &new]);
            until("the new event is told", || node.read("user").contains(&new).then_some(()));
            let more: Vec<String> = node.read("user")[told.len()..]
                .lines()
                .filter(|l| !l.starts_with("slow "))
                .map(Into::into)
                .collect();
            assert!(matches!(&more[..], [only] if only.starts_with(&new)), "{more:?}");
        } else {
            said(&other, "event", &["-coalesce=false", "first"]);
            until("the first event is told", || node.read("user").contains("first").then_some(()));
        }
        let mine = ("node".to_string(), "alive".to_string(), "role=web,zone=a".to_string());
        for agent in [&one, &other] {
            until("its tags are known", || agent.members().contains(&mine).then_some(()));
            for word in ["EventMemberFailed", "EventMemberLeave", "EventMemberReap"] {
                assert!(!agent.log().contains(word), "{program:?}: {} sees {word}", agent.name);
            }
        }
        assert!(node.read("keyring").contains(KEYS[0]));
    }
}

#[test]
fn a_real_agent_is_replaced_and_put_back_and_nobody_notices() {
    if go_is_here("a_real_agent_is_replaced_and_put_back_and_nobody_notices") {
        use Program::{Go, Ours};
        swap(&[Go, Ours, Go], [Go, Ours]);
    }
}
