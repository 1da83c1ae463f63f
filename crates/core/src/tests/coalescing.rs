//! A node that holds events back: when it wakes, what overtakes, and what an end does. What is made of the events is
//! tested in `coalesce.rs`.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{CommandId, Machine, Output, Reason};

use super::{Bench, config};
use crate::{Command, Config, Event, Outcome};

const SECOND: Duration = Duration::from_secs(1);

/// Holds member events for 3 s, or until 1 s is quiet; user events for half of that.
fn patient() -> Config {
    Config {
        coalesce_period: 3 * SECOND,
        quiescent_period: SECOND,
        user_coalesce_period: 3 * SECOND / 2,
        user_quiescent_period: SECOND / 2,
        leave_propagate_delay: Duration::ZERO,
        ..config()
    }
}

impl Bench {
    /// What was told since the last call, in words; of log lines, none.
    fn words(&mut self) -> Vec<String> {
        let word = |event| match event {
            Event::Member(event) => {
                let names: Vec<String> = event.members.iter().map(|m| format!("{}", m.name)).collect();
                Some(format!("{} {}", event.kind, names.join(" ")))
            }
            Event::User(event) => Some(format!("{event} {}", event.ltime)),
            Event::Done { id: CommandId(id), outcome: Outcome::Ok } => Some(format!("done {id}")),
            Event::Done { outcome, .. } => Some(format!("{outcome:?}")),
            _ => None,
        };
        self.events().into_iter().filter_map(word).collect()
    }

    fn fire_coalesced(&mut self, id: u64, name: &str) {
        let command =
            Command::UserEvent { id: CommandId(id), name: name.into(), payload: vec![], coalesce: true };
        self.command(command);
    }
}

#[test]
fn members_that_come_together_are_told_together() {
    let mut bench = Bench::with(patient());
    bench.wait(SECOND);
    assert_eq!(bench.words(), ["member-join me"]);
    for name in ["c", "a", "b"] {
        bench.alive(name);
        bench.wait(SECOND / 2);
    }
    assert_eq!(bench.words(), [""; 0]);
    bench.wait(SECOND / 2);
    assert_eq!(bench.words(), ["member-join a b c"]);
}

#[test]
fn it_wakes_for_what_is_held_and_for_nothing_else() {
    let mut bench = Bench::with(patient());
    // Our own join is held from the beginning.
    assert_eq!(bench.words(), [""; 0]);
    let Output::Timeout(due, reason) = bench.node.poll() else { unreachable!() };
    assert_eq!((due, reason), (Some(bench.now + SECOND), Reason::Queue));
    bench.wait(SECOND);
    assert_eq!(bench.words(), ["member-join me"]);
    assert_eq!(bench.next_due(), None);
}

#[test]
fn answers_and_log_lines_are_not_held_back() {
    let mut bench = Bench::with(patient());
    bench.wait(SECOND);
    bench.events();
    bench.alive("a");
    assert_eq!(bench.notices(), ["EventMemberJoin: a 10.0.0.2"]);
    bench.fire_coalesced(1, "deploy");
    bench.fire_coalesced(2, "deploy");
    let id = CommandId(3);
    bench.command(Command::UserEvent { id, name: "now".into(), payload: vec![], coalesce: false });
    assert_eq!(bench.words(), ["done 1", "done 2", "user-event: now 3", "done 3"]);
    bench.wait(SECOND);
    assert_eq!(bench.words(), ["user-event: deploy 2", "member-join a"]);
}

#[test]
fn what_is_held_is_told_before_a_leave_or_a_shutdown_ends() {
    let mut bench = Bench::with(patient());
    bench.fire_coalesced(1, "deploy");
    bench.command(Command::Leave { id: CommandId(2) });
    bench.wait(Duration::ZERO);
    assert_eq!(bench.words(), ["done 1", "member-leave me", "user-event: deploy 1", "done 2"]);
    bench.fire_coalesced(3, "late");
    bench.command(Command::Shutdown { id: CommandId(4) });
    assert_eq!(bench.words(), ["done 3", "user-event: late 2", "done 4"]);
    assert_eq!(bench.next_due(), None);
}

#[test]
fn an_owner_can_have_all_that_is_held_at_once() {
    let mut bench = Bench::with(patient());
    bench.node.wind_up();
    assert_eq!(bench.words(), ["member-join me"]);
    assert_eq!(bench.next_due(), None);
}

// However often they come and go, each is held once; and those forgotten do not pile up.
#[test]
fn no_more_is_held_than_there_are_members() {
    let mut bench = Bench::with(patient());
    for _ in 0..50 {
        for name in ["a", "b", "c"] {
            bench.alive(name);
            assert!(bench.node.serf.coalescer.held_members() <= bench.node.member_count());
            bench.dead(name, "x");
            assert!(bench.node.serf.coalescer.held_members() <= bench.node.member_count());
        }
    }
    bench.wait(SECOND);
    assert_eq!(bench.words(), ["member-join me", "member-failed a b c"]);
    assert_eq!(bench.node.serf.coalescer.told_members(), 4);
    for (ltime, name) in [(10, "a"), (11, "b"), (12, "c")] {
        bench.prune(name, ltime);
    }
    bench.wait(SECOND);
    assert_eq!(bench.words(), ["member-reap a b c"]);
    assert_eq!((bench.node.member_count(), bench.node.serf.coalescer.told_members()), (1, 1));
}
