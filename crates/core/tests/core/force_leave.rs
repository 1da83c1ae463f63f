//! Force-leave, with prune and without: spec `serf.md` §4.10, §4.11, appendix A.8.

use std::time::Duration;

use serf_core::MemberEventKind::{Failed, Join, Leave, Reap};
use serf_core::{Command, Failure, Outcome, Status};
use serf_gossip::Name;

use crate::cluster::{Cluster, quick};

const SECOND: Duration = Duration::from_secs(1);

fn with_a_failed_one(seed: u64) -> Cluster {
    let mut c = Cluster::joined(seed, 3);
    c.kill(2);
    c.until("it failed", |c| (0..2).all(|i| c.status(i, "c") == Status::Failed));
    c
}

// "Force-leave of a failed node: status Left, events join, failed, leave; propagates to third nodes."
#[test]
fn a_failed_one_is_declared_to_have_left_everywhere() {
    let mut c = with_a_failed_one(1);
    assert_eq!(c.force_leave(0, "c", false), Outcome::Ok);
    assert_eq!(c.status(0, "c"), Status::Left);
    c.until("b agrees", |c| c.status(1, "c") == Status::Left);
    for i in 0..2 {
        assert_eq!(c.history(i, "c"), [Join, Failed, Leave]);
        assert!(c.lines(i).contains(&"EventMemberLeave (forced): c 10.0.0.3"));
        // It counts as declared, not as left by itself.
        assert_eq!(c.node(i).stats().left, 0);
    }
}

// "With prune the node disappears everywhere."
#[test]
fn a_failed_one_is_pruned_everywhere() {
    let mut c = with_a_failed_one(2);
    assert_eq!(c.force_leave(0, "c", true), Outcome::Ok);
    c.until("b forgets it", |c| c.node(1).member_count() == 2);
    for i in 0..2 {
        assert_eq!(c.history(i, "c"), [Join, Failed, Leave, Reap]);
    }
}

// "... also when it is already left."
#[test]
fn one_that_left_is_pruned_everywhere() {
    let mut c = Cluster::joined(3, 3);
    c.leave(2);
    c.kill(2);
    c.until("it has left", |c| (0..2).all(|i| c.status(i, "c") == Status::Left));
    assert_eq!(c.force_leave(0, "c", true), Outcome::Ok);
    c.until("both forget it", |c| (0..2).all(|i| c.node(i).member_count() == 2));
    assert_eq!(c.history(1, "c"), [Join, Leave, Reap]);
}

// "... also when it is leaving." And nothing waits for it meanwhile (B22).
#[test]
fn one_that_is_leaving_is_pruned_everywhere_when_it_has_left() {
    let mut c = Cluster::joined(4, 3);
    let leaving = c.order(2, |id| Command::Leave { id });
    c.until("both hear it", |c| (0..2).all(|i| c.status(i, "c") != Status::Alive));
    let began = c.now;
    assert_eq!(c.force_leave(0, "c", true), Outcome::Ok);
    assert!(c.now.since(began) < SECOND);
    c.wait(2, leaving);
    c.kill(2);
    c.until("both forget it", |c| (0..2).all(|i| c.node(i).member_count() == 2));
    c.run(20 * SECOND);
    assert_eq!((c.node(0).member_count(), c.node(1).member_count()), (2, 2));
}

// "Force-leave of an unknown name on a lone node succeeds."
#[test]
fn an_unknown_name_is_no_error() {
    let mut c = Cluster::new(5);
    let a = c.add("a");
    assert_eq!(c.force_leave(a, "doesnotexist", false), Outcome::Ok);
    assert_eq!(c.force_leave(a, "doesnotexist", true), Outcome::Ok);
    assert_eq!(c.node(a).member_count(), 1);
}

#[test]
fn a_live_one_refutes() {
    let mut c = Cluster::joined(6, 3);
    assert_eq!(c.force_leave(0, "c", false), Outcome::Ok);
    c.until("it is leaving, and is not", |c| {
        (0..3).all(|i| c.status(i, "c") == Status::Alive) && c.node(2).stats().refuted > 0
    });
    c.run(20 * SECOND);
    assert!((0..3).all(|i| c.history(i, "c") == [Join]));
}

// B19: the reference forgets it, and then does not see it for as long as it lives.
#[test]
fn a_live_one_refutes_being_pruned() {
    let mut c = Cluster::joined(7, 3);
    assert_eq!(c.force_leave(0, "c", true), Outcome::Ok);
    c.run(20 * SECOND);
    for i in 0..3 {
        assert_eq!((c.alive(i), c.history(i, "c")), (3, vec![Join]));
    }
}

#[test]
fn we_refute_our_own_forced_leave() {
    let mut c = Cluster::joined(8, 2);
    assert_eq!(c.force_leave(0, "a", false), Outcome::Ok);
    c.run(20 * SECOND);
    assert!((0..2).all(|i| c.status(i, "a") == Status::Alive));
}

#[test]
fn what_cannot_be_told_in_time_is_an_error_and_holds_here() {
    let mut c = Cluster::new(9);
    let mut config = quick("a", 1);
    config.gossip.gossip_interval = Duration::ZERO;
    config.gossip.probe_interval = Duration::ZERO;
    let (a, b) = (c.add_with(config), c.add("b"));
    c.join(b, a);
    c.cut(a, b);
    let began = c.now;
    let outcome = c.force_leave(a, "ghost", false);
    assert_eq!(outcome, Outcome::Failed(Failure::ForceLeaveTimeout));
    assert_eq!(c.now.since(began), 5 * SECOND);
    // And one whose name fits in no datagram need not be waited for.
    let name = Name::from("x".repeat(5000).as_str());
    let began = c.now;
    let outcome = c.command(a, |id| Command::ForceLeave { id, name, prune: false });
    assert_eq!(outcome, Outcome::Failed(Failure::NameTooLong(5000)));
    assert_eq!(c.now, began);
}

// The intent was passed on often enough while the one meant could not hear it; full states tell its time, not its kind.
#[test]
fn one_that_missed_its_forced_leave_is_not_leaving_for_ever() {
    let mut c = Cluster::new(12);
    for (i, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let mut config = quick(name, i as u8 + 1);
        // Nobody is declared dead meanwhile.
        config.gossip.suspicion_mult = 1000;
        c.add_with(config);
    }
    (1..4).for_each(|i| assert_eq!(c.join(i, 0), 1));
    c.until("all know each other", |c| {
        (0..4).all(|i| c.alive(i) == 4 && c.node(i).vitals().intent_queue == 0)
    });
    (0..3).for_each(|i| c.cut(i, 3));
    let force = c.order(0, |id| Command::ForceLeave { id, name: "d".into(), prune: false });
    c.wait(0, force);
    c.until("all others have heard, and told", |c| {
        (0..3).all(|i| c.status(i, "d") == Status::Leaving && c.node(i).vitals().intent_queue == 0)
    });
    (0..3).for_each(|i| c.mend(i, 3));
    c.until("all take it for alive", |c| (0..4).all(|i| c.status(i, "d") == Status::Alive));
}
