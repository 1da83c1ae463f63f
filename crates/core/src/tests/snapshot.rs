//! What a node records, and how it goes on from that (spec `serf.md` §10, A.7). The file is a vector of bytes here.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Address, CommandId};

use super::{Bench, config, event, leave, query};
use crate::snapshot::{Replay, Snapshot, Write};
use crate::{Command, Config, Event, NodeState, Outcome};

const FLUSH: Duration = Duration::from_millis(500);

pub(crate) fn replayed(file: &[u8], rejoin: bool) -> Snapshot {
    let mut replay = Replay::new(rejoin);
    replay.feed(file);
    replay.finish()
}

fn on(file: &[u8], rejoin: bool) -> Config {
    Config { snapshot: Some(replayed(file, rejoin)), ..config() }
}

fn apply(file: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Append { lines, .. } => file.extend_from_slice(lines),
        Write::Replace { content } => *file = content.to_vec(),
    }
}

impl Bench {
    /// The writes that are asked for now; other events stay.
    fn writes(&mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        let events = self.events();
        for event in events {
            match event {
                Event::Snapshot(write) => writes.push(write),
                event => self.node.serf.outbox.push_back(event),
            }
        }
        writes
    }

    /// Does all writes that come until nothing waits to be written.
    fn record(&mut self, file: &mut Vec<u8>) {
        loop {
            let writes = self.writes();
            for write in &writes {
                apply(file, write);
                self.command(Command::SnapshotWritten { done: true });
            }
            if writes.is_empty() && self.node.serf.recorder.as_ref().is_none_or(|r| r.due().is_none()) {
                return;
            }
            self.wait(FLUSH);
        }
    }
}

fn text(file: &[u8]) -> String {
    String::from_utf8_lossy(file).into_owned()
}

// A.7, the first line, as far as a node of its own can play it.
#[test]
fn what_happens_is_recorded_and_told_in_order_and_a_restart_goes_on_from_there() {
    let mut file = Vec::new();
    let mut bench = Bench::with(on(&file, false));
    bench.message(&event(42, "e", None));
    bench.message(&query(50, 7, 0));
    bench.alive_with("foo", b"\xff\x80", 5000);
    bench.leave("stranger", 100);
    bench.dead("foo", "me");
    bench.alive_with("foo", b"\xff\x80", 5000);
    let told: Vec<_> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Member(e) => Some(format!("{} {}", e.kind, e.members[0].name)),
            Event::User(e) => Some(format!("{e} {}", e.ltime)),
            Event::Snapshot(write) => {
                apply(&mut file, &write);
                None
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        ["member-join me", "user-event: e 42", "member-join foo", "member-failed foo", "member-join foo"]
    );
    bench.command(Command::SnapshotWritten { done: true });
    bench.record(&mut file);
    assert_eq!(
        text(&file),
        "alive: me 10.0.0.1:7946\nevent-clock: 42\nquery-clock: 50\nalive: foo 10.0.0.2:5000\n\
         not-alive: foo\nclock: 100\nalive: foo 10.0.0.2:5000\nalive: foo 10.0.0.2:5000\n"
    );
    for _ in 0..2 {
        let mut again = Bench::with(on(&file, false));
        let vitals = again.node.vitals();
        assert_eq!((vitals.member_time, vitals.event_time, vitals.query_time), (101, 43, 51));
        assert_eq!(replayed(&file, false).known[0], ("foo".into(), Address::new(&[10, 0, 0, 2], 5000)));
        // What was told before the restart is neither told again nor passed on; what is new is.
        assert!(!again.message(&event(42, "e", None)) && !again.message(&query(50, 8, 0)));
        assert!(again.message(&event(43, "e", None)) && again.message(&query(51, 9, 0)));
        let users = again.events().into_iter().filter(|e| matches!(e, Event::User(_))).count();
        assert_eq!(users, 1);
    }
}

#[test]
fn a_fresh_file_changes_nothing_but_that_time_0_is_over() {
    let bench = Bench::with(on(b"", false));
    let vitals = bench.node.vitals();
    assert_eq!((vitals.member_time, vitals.event_time, vitals.query_time), (1, 1, 1));
    assert!(bench.node.config().snapshot.is_none());
    let mut bench = Bench::with(on(b"", false));
    assert!(!bench.message(&event(0, "e", None)) && bench.message(&event(1, "e", None)));
    let mut bench =
        Bench::with(on(b"clock: 18446744073709551615\nevent-clock: 18446744073709551615\n", false));
    // B34.
    assert_eq!((bench.node.vitals().member_time, bench.node.vitals().event_time), (1, 1));
    bench.record(&mut Vec::new());
}

#[test]
fn a_node_without_a_file_asks_for_no_writes() {
    let mut bench = Bench::new();
    bench.alive("a");
    bench.message(&event(7, "e", None));
    bench.command(Command::Leave { id: CommandId(1) });
    bench.command(Command::SnapshotWritten { done: true });
    bench.wait(Duration::from_secs(60));
    bench.command(Command::Shutdown { id: CommandId(2) });
    assert_eq!(bench.writes(), []);
    assert_eq!(bench.node.stats().snapshot_lines, 0);
}

// B32: and a node at rest is not woken for its file.
#[test]
fn what_happens_once_is_written_at_once_and_then_nothing_is_due() {
    let mut bench = Bench::with(on(b"", false));
    assert_eq!(bench.writes().len(), 1);
    bench.command(Command::SnapshotWritten { done: true });
    assert_eq!((bench.writes(), bench.next_due()), (vec![], None));
    // A clock that moves without any event is recorded too.
    bench.wait(FLUSH);
    assert!(!bench.join("me", 0));
    assert_eq!(bench.writes(), []);
    bench.join("stranger", 7);
    assert_eq!(bench.writes(), [Write::Append { lines: (&b"clock: 7\n"[..]).into(), sync: false }]);
}

#[test]
fn commands_do_not_wait_for_the_disk() {
    let mut bench = Bench::with(on(b"", false));
    let ltimes = 10_000;
    for id in 1..=ltimes {
        let (name, payload) = ("e".into(), Vec::new());
        bench.command(Command::UserEvent { id: CommandId(id), name, payload, coalesce: false });
    }
    assert_eq!(bench.outcomes().len(), ltimes as usize);
    bench.command(Command::SnapshotWritten { done: true });
    let mut file = Vec::new();
    bench.record(&mut file);
    assert_eq!(replayed(&file, false).event_clock, ltimes);
}

#[test]
fn a_leave_is_on_the_disk_before_it_is_done() {
    let mut bench = Bench::with(Config { leave_propagate_delay: Duration::ZERO, ..on(b"", false) });
    let mut file = Vec::new();
    bench.record(&mut file);
    bench.command(Command::Leave { id: CommandId(1) });
    let [Write::Append { lines, sync: true }] = &bench.writes()[..] else { panic!("a write") };
    assert_eq!(text(lines), "leave\nclock: 1\n");
    bench.wait(Duration::from_secs(1));
    assert_eq!((bench.node.state(), bench.outcomes()), (NodeState::Leaving, vec![]));
    bench.command(Command::SnapshotWritten { done: true });
    assert_eq!(bench.node.state(), NodeState::Left);
    assert_eq!(bench.outcomes(), [(1, Outcome::Ok)]);
    // The same leave a second time is none.
    bench.command(Command::Leave { id: CommandId(2) });
    assert_eq!(bench.outcomes(), [(2, Outcome::Ok)]);
}

#[test]
fn a_disk_that_does_not_answer_does_not_keep_a_node_for_ever() {
    let mut bench = Bench::with(Config { leave_propagate_delay: Duration::ZERO, ..on(b"", false) });
    bench.command(Command::Leave { id: CommandId(1) });
    bench.wait(Duration::from_secs(4));
    assert_eq!(bench.node.state(), NodeState::Leaving);
    bench.wait(Duration::from_secs(2));
    assert_eq!(bench.node.state(), NodeState::Left);
    let warning = "timeout while recording the leave in the snapshot";
    assert!(bench.notices().iter().any(|line| line == warning));
}

#[test]
fn after_a_leave_only_the_clock_is_recorded() {
    let mut file = Vec::new();
    let mut bench = Bench::with(on(&file, false));
    bench.alive("a");
    bench.message(&event(42, "e", None));
    bench.record(&mut file);
    bench.command(Command::Leave { id: CommandId(1) });
    bench.alive("b");
    bench.message(&event(43, "e", None));
    bench.message(&leave("stranger", 70, false));
    bench.record(&mut file);
    bench.wait(Duration::from_secs(20));
    bench.command(Command::Shutdown { id: CommandId(2) });
    bench.record(&mut file);
    assert!(text(&file).ends_with("event-clock: 42\nleave\nclock: 1\nclock: 70\n"), "{}", text(&file));
    let again = Bench::with(on(&file, false)).node.vitals();
    assert_eq!((again.member_time, again.event_time, again.query_time), (71, 1, 1));
    let mut again = Bench::with(on(&file, true));
    assert_eq!((again.node.vitals().member_time, again.node.vitals().event_time), (71, 43));
    let lines = again.notices();
    assert!(lines.iter().any(|line| line == "Ignoring previous leave in snapshot"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("Attempting re-join to previously known node: a: ")));
}

#[test]
fn a_shutdown_writes_what_waits_and_asks_for_the_disk() {
    for by_command in [true, false] {
        let mut file = Vec::new();
        let mut bench = Bench::with(on(&file, false));
        bench.message(&event(1, "e", None));
        if by_command {
            bench.command(Command::Shutdown { id: CommandId(1) });
        } else {
            bench.node.wind_up();
        }
        let writes = bench.writes();
        writes.iter().for_each(|write| apply(&mut file, write));
        assert!(matches!(writes.last(), Some(Write::Append { sync: true, .. })), "{writes:?}");
        // The first write was not answered, and is said again.
        let alive = "alive: me 10.0.0.1:7946\n";
        assert_eq!(text(&file), format!("{alive}{alive}event-clock: 1\n"));
        bench.command(Command::SnapshotWritten { done: false });
        bench.node.wind_up();
        assert_eq!(bench.writes(), []);
    }
}

// B35
#[test]
fn a_name_that_would_break_the_file_is_a_member_but_not_in_the_file() {
    let mut file = Vec::new();
    let mut bench = Bench::with(on(&file, false));
    bench.alive("a\nleave\nalive: b");
    bench.alive("c");
    bench.dead("a\nleave\nalive: b", "me");
    let told = bench.notices();
    let line = "the snapshot cannot hold the name or address of 'a\\nleave\\nalive: b', and does without";
    assert!(told.iter().any(|l| l == line), "{told:?}");
    let mut bench = Bench::with(on(&file, false));
    bench.alive("a\nleave\nalive: b");
    bench.alive("c");
    bench.dead("a\nleave\nalive: b", "me");
    bench.record(&mut file);
    assert_eq!(text(&file), "alive: me 10.0.0.1:7946\nalive: c 10.0.0.2:7946\n");
    assert_eq!((bench.node.member_count(), bench.node.stats().snapshot_refused), (3, 1));
}

#[test]
fn who_failed_last_stays_in_the_file_until_somebody_is_there() {
    let mut file = Vec::new();
    let mut bench = Bench::with(on(&file, false));
    let known = |file: &[u8]| -> Vec<String> {
        replayed(file, false).known.iter().map(|(name, _)| format!("{name}")).collect()
    };
    for name in ["a", "b", "gone"] {
        bench.alive(name);
    }
    bench.leave("gone", 5);
    for name in ["gone", "a"] {
        bench.wait(FLUSH);
        bench.dead(name, name);
    }
    bench.record(&mut file);
    assert_eq!(known(&file), ["b", "me"]);
    bench.dead("b", "me");
    bench.record(&mut file);
    assert_eq!(known(&file), ["a", "b", "me"], "but nobody who has left");
    assert!(text(&file).contains("not-alive: b\nalive: b 10.0.0.2:7946\nalive: a 10.0.0.2:7946\n"));
    // Forgotten by the node itself they may still be called.
    bench.wait(Duration::from_secs(25 * 3600));
    bench.record(&mut file);
    assert_eq!((bench.node.member_count(), known(&file)), (1, vec!["a".into(), "b".into(), "me".into()]));
    bench.alive("c");
    bench.record(&mut file);
    assert_eq!(known(&file), ["c", "me"]);
}

#[test]
fn of_very_many_that_failed_the_last_few_are_kept() {
    let mut file = Vec::new();
    let mut bench = Bench::with(on(&file, false));
    for i in 0..200 {
        bench.alive(&format!("n{i}"));
    }
    for i in 0..200 {
        bench.wait(Duration::from_millis(1));
        bench.dead(&format!("n{i}"), "me");
    }
    bench.record(&mut file);
    let known = replayed(&file, false).known;
    assert_eq!(known.len(), 129);
    assert!(known.iter().all(|(name, _)| name.as_bytes() >= b"n1" || name.as_bytes() == b"me"));
}

#[test]
fn a_restarted_node_calls_those_it_knew_but_not_itself() {
    let file = b"alive: me 10.0.0.1:7946\nalive: me-before 10.0.0.1:7946\nclock: 5\n";
    let mut alone = Bench::with(on(file, false));
    assert!(!alone.notices().iter().any(|line| line.contains("re-join")));
    assert_eq!(alone.next_due(), None);
}
