//! Leaving: spec `serf.md` §12.5, appendix A.8.

use std::time::Duration;

use serf_core::MemberEventKind::{Join, Leave, Reap};
use serf_core::{Command, NodeState, Outcome, Status};

use crate::cluster::{Cluster, quick};

const SECOND: Duration = Duration::from_secs(1);

// "Leave: join, leave; status Left."
#[test]
fn one_that_leaves_has_left_everywhere() {
    let mut c = Cluster::joined(1, 3);
    c.leave(2);
    for i in [0, 1, 2] {
        assert_eq!(c.status(i, "c"), Status::Left);
        assert_eq!(c.history(i, "c"), [Join, Leave]);
    }
    assert_eq!(c.node(2).state(), NodeState::Left);
}

// "States: alive, left, shutdown."
#[test]
fn a_life_goes_from_alive_over_left_to_shutdown() {
    let mut c = Cluster::new(2);
    let a = c.add("a");
    assert_eq!(c.node(a).state(), NodeState::Alive);
    c.leave(a);
    assert_eq!(c.node(a).state(), NodeState::Left);
    assert_eq!(c.command(a, |id| Command::Leave { id }), Outcome::Ok);
    assert_eq!(c.command(a, |id| Command::Shutdown { id }), Outcome::Ok);
    assert_eq!(c.node(a).state(), NodeState::Shutdown);
    assert!(!c.lines(a).contains(&"Shutdown without a Leave"));
    assert_eq!(c.next(), None);
}

#[test]
fn a_shutdown_without_a_leave_is_noted() {
    let mut c = Cluster::new(3);
    let a = c.add("a");
    assert_eq!(c.command(a, |id| Command::Shutdown { id }), Outcome::Ok);
    assert!(c.lines(a).contains(&"Shutdown without a Leave"));
}

#[test]
fn a_lone_node_leaves_after_the_pause() {
    let mut c = Cluster::new(4);
    let a = c.add("a");
    let began = c.now;
    c.leave(a);
    assert_eq!(c.now.since(began), SECOND);
    assert_eq!(c.history(a, "a"), [Join, Leave]);
    assert_eq!(c.next(), Some(began + c.node(a).config().tombstone_timeout + Duration::from_nanos(1)));
}

// E14.
#[test]
fn a_second_leave_waits_for_the_first() {
    let mut c = Cluster::joined(5, 2);
    let first = c.order(0, |id| Command::Leave { id });
    c.run(Duration::from_millis(500));
    let second = c.order(0, |id| Command::Leave { id });
    assert_eq!((c.outcome(0, first), c.outcome(0, second)), (None, None));
    assert_eq!((c.wait(0, first), c.wait(0, second)), (Outcome::Ok, Outcome::Ok));
}

#[test]
fn a_leave_that_nobody_hears_ends_all_the_same() {
    let mut c = Cluster::new(6);
    let mut config = quick("a", 1);
    // Nothing is gossiped: the broadcasts never end.
    config.gossip.gossip_interval = Duration::ZERO;
    config.gossip.probe_interval = Duration::ZERO;
    let (a, b) = (c.add_with(config), c.add("b"));
    assert_eq!(c.join(b, a), 1);
    c.cut(a, b);
    let began = c.now;
    c.leave(a);
    assert_eq!(c.now.since(began), 11 * SECOND);
    assert!(c.lines(a).contains(&"timeout while waiting for graceful leave"));
}

#[test]
fn one_that_has_left_still_answers() {
    let mut c = Cluster::joined(7, 2);
    c.leave(0);
    let late = c.add("late");
    assert_eq!(c.join(late, 0), 1);
    assert_eq!(c.status(late, "a"), Status::None);
    c.until("it learns of the rest", |c| c.status(late, "b") == Status::Alive);
}

// "Leave then reap: both sides end with one member."
#[test]
fn one_that_left_is_forgotten_by_the_others_and_by_itself() {
    let mut c = Cluster::new(8);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        let mut config = quick(name, i as u8 + 1);
        config.tombstone_timeout = Duration::from_micros(1);
        config.reconnect_timeout = Duration::from_micros(1);
        c.add_with(config);
    }
    c.join(1, 0);
    c.until("both know both", |c| c.alive(0) == 2 && c.alive(1) == 2);
    c.leave(1);
    c.until("it is forgotten", |c| (0..2).all(|i| c.node(i).member_count() == 1));
    assert!((0..2).all(|i| c.status(i, "a") == Status::Alive && c.history(i, "b") == [Join, Leave, Reap]));
}

// "Leave, rejoin with another role: peer shows the new role."
#[test]
fn one_that_comes_back_with_another_role_shows_it() {
    let mut c = Cluster::joined(9, 2);
    c.leave(1);
    c.kill(1);
    c.until("it has left", |c| c.status(0, "b") == Status::Left);
    c.start_with(1, |config| {
        config.tags.insert("role".into(), "bar".into());
    });
    c.join(1, 0);
    c.until("it is back", |c| c.status(0, "b") == Status::Alive);
    assert_eq!(c.node(0).member(b"b").unwrap().tags()["role"], "bar");
    assert_eq!(c.history(0, "b"), [Join, Leave, Join]);
}

// "Leave/join/leave cycles restore Alive."
#[test]
fn leaving_and_joining_again_works_any_number_of_times() {
    let mut c = Cluster::joined(10, 3);
    for _ in 0..4 {
        c.leave(2);
        c.kill(2);
        c.until("it has left", |c| (0..2).all(|i| c.status(i, "c") == Status::Left));
        c.start(2);
        c.join(2, 0);
        c.until("it is back", |c| (0..3).all(|i| c.alive(i) == 3));
    }
    c.run(10 * SECOND);
    assert!((0..3).all(|i| c.alive(i) == 3));
}

// "Two different leaves of one node, with two observers missing the rejoin in between: intent queues drain to 0, all
// mark it Left (no endless rebroadcast); the listener sees join, leave, join, leave."
#[test]
fn two_leaves_of_one_node_do_not_go_round_for_ever() {
    let mut c = Cluster::joined(11, 4);
    c.leave(3);
    c.kill(3);
    c.until("it has left", |c| (0..3).all(|i| c.status(i, "d") == Status::Left));
    // It comes back, and only a notices.
    for (i, j) in [(0, 1), (0, 2), (3, 1), (3, 2)] {
        c.cut(i, j);
    }
    c.start(3);
    c.join(3, 0);
    c.until("a sees it", |c| c.status(0, "d") == Status::Alive);
    c.leave(3);
    c.kill(3);
    c.until("a sees it leave", |c| c.status(0, "d") == Status::Left);
    for (i, j) in [(0, 1), (0, 2), (3, 1), (3, 2)] {
        c.mend(i, j);
    }
    for i in [1, 2] {
        c.join(i, 0);
    }
    c.run(20 * SECOND);
    for i in 0..3 {
        assert_eq!(c.status(i, "d"), Status::Left);
        assert_eq!(c.node(i).vitals().intent_queue, 0);
    }
    assert_eq!(c.history(0, "d"), [Join, Leave, Join, Leave]);
}

#[test]
fn one_that_cannot_hear_a_leave_learns_of_it_from_others() {
    let mut c = Cluster::joined(12, 3);
    c.cut(1, 2);
    let leave = c.order(1, |id| Command::Leave { id });
    c.until("a hears of it", |c| c.status(0, "b") != Status::Alive);
    c.join(2, 0);
    c.wait(1, leave);
    c.kill(1);
    c.until("c knows", |c| c.status(2, "b") == Status::Left);
}

// B6: others tell it of its own tombstone.
#[test]
fn one_that_left_and_stays_up_does_not_drive_the_clocks() {
    let mut c = Cluster::joined(13, 3);
    c.leave(2);
    c.run(300 * SECOND);
    let times = |c: &Cluster| [0, 1, 2].map(|i| c.node(i).vitals().member_time);
    let before = times(&c);
    c.run(600 * SECOND);
    assert_eq!(times(&c), before);
}
