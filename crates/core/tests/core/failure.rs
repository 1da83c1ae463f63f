//! Failing and coming back: spec `serf.md` §4.9, §4.12, appendix A.8.

use std::time::Duration;

use serf_core::MemberEventKind::{Failed, Join, Reap, Update};
use serf_core::Status;
use serf_gossip::Address;

use crate::cluster::{Cluster, quick};

const SECOND: Duration = Duration::from_secs(1);

// "Failure: events join, failed, reap (with tiny timeouts)."
#[test]
fn one_that_dies_fails_and_is_reaped() {
    let mut c = Cluster::new(1);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        let mut config = quick(name, i as u8 + 1);
        config.reconnect_timeout = Duration::from_micros(1);
        c.add_with(config);
    }
    c.join(1, 0);
    c.until("both know both", |c| c.alive(0) == 2);
    c.kill(1);
    c.until("it is forgotten", |c| c.node(0).member_count() == 1);
    assert_eq!(c.history(0, "b"), [Join, Failed, Reap]);
    assert!(c.lines(0).contains(&"EventMemberFailed: b 10.0.0.2"));
    assert!(c.lines(0).contains(&"EventMemberReap: b"));
}

// "Failed node returning is reconnected automatically: join, failed, join."
#[test]
fn one_that_failed_is_found_again_when_it_is_back() {
    let mut c = Cluster::joined(2, 2);
    c.kill(1);
    c.until("it failed", |c| c.status(0, "b") == Status::Failed);
    c.run(SECOND);
    c.start(1);
    c.until("it is back", |c| c.status(0, "b") == Status::Alive && c.alive(1) == 2);
    assert_eq!(c.history(0, "b"), [Join, Failed, Join]);
    assert!(c.lines(0).contains(&"attempting reconnect to b 10.0.0.2:7946"));
    assert!(c.node(0).stats().reconnects > 0);
}

// "(also with same IP, other port)": it comes to us, since we cannot know its new port.
#[test]
fn one_that_failed_may_come_back_on_another_port() {
    let mut c = Cluster::new(3);
    let mut config = quick("a", 1);
    config.gossip.dead_node_reclaim = Duration::from_millis(1);
    let a = c.add_with(config);
    let b = c.add("b");
    c.join(b, a);
    c.until("both know both", |c| c.alive(a) == 2);
    c.kill(b);
    c.until("it failed", |c| c.status(a, "b") == Status::Failed);
    c.run(SECOND);
    c.start_with(b, |config| config.gossip.advertise = Address::new(&[10, 0, 0, 2], 7947));
    c.join(b, a);
    c.until("it is back", |c| c.status(a, "b") == Status::Alive);
    assert_eq!(c.history(a, "b"), [Join, Failed, Join]);
    assert_eq!(c.node(a).member(b"b").unwrap().addr.port, 7947);
}

#[test]
fn each_failed_one_is_tried_about_once_an_interval_by_the_whole_cluster() {
    let mut c = Cluster::joined(4, 10);
    c.kill(8);
    c.kill(9);
    c.until("they failed", |c| (0..8).all(|i| c.node(i).vitals().failed == 2));
    let tries = |c: &Cluster| (0..8).map(|i| c.node(i).stats().reconnects).sum::<u64>();
    let before = tries(&c);
    c.run(20 * SECOND);
    let tried = tries(&c) - before;
    // 200 intervals, 2 failed ones.
    assert!((300..500).contains(&tried), "{tried}");
}

#[test]
fn one_that_has_left_does_not_look_for_the_failed() {
    let mut c = Cluster::joined(5, 3);
    c.kill(2);
    c.until("it failed", |c| c.status(0, "c") == Status::Failed);
    c.leave(0);
    let tried = c.node(0).stats().reconnects;
    c.run(10 * SECOND);
    assert_eq!(c.node(0).stats().reconnects, tried);
}

// "Restart with changed tags and lower Serf version before failure detection: events join, update; peer sees new tag
// and new DelegateCur."
#[test]
fn one_that_restarts_quickly_is_only_updated() {
    let mut c = Cluster::joined(6, 2);
    c.kill(1);
    c.start_with(1, |config| {
        config.protocol_version = 3;
        config.tags.insert("foo".into(), "bar".into());
    });
    c.join(1, 0);
    c.until("the new tag is seen", |c| {
        c.node(0).member(b"b").is_some_and(|b| b.tags().get("foo").is_some_and(|v| v == "bar"))
    });
    assert_eq!(c.history(0, "b"), [Join, Update]);
    assert_eq!(c.node(0).member(b"b").unwrap().versions.delegate_cur, 3);
}

#[test]
fn two_halves_that_were_cut_apart_find_together_again() {
    let mut c = Cluster::joined(7, 6);
    for i in 0..3 {
        for j in 3..6 {
            c.cut(i, j);
        }
    }
    c.until("each half is alone", |c| (0..6).all(|i| c.node(i).vitals().failed == 3));
    for i in 0..3 {
        for j in 3..6 {
            c.mend(i, j);
        }
    }
    c.until("all are back", |c| (0..6).all(|i| c.alive(i) == 6));
}

#[test]
fn a_cluster_at_peace_queues_nothing() {
    let mut c = Cluster::joined(8, 5);
    c.run(30 * SECOND);
    for i in 0..5 {
        let v = c.node(i).vitals();
        assert_eq!((v.intent_queue, v.event_queue, v.query_queue), (0, 0, 0));
        // Clocks stand still too.
        assert_eq!(v.member_time, c.node(0).vitals().member_time);
    }
    let time = c.node(0).vitals().member_time;
    c.run(300 * SECOND);
    assert_eq!(c.node(0).vitals().member_time, time);
}

// B6, among more than two and over many exchanges.
#[test]
fn a_tombstone_does_not_drive_the_clocks() {
    let mut c = Cluster::joined(9, 4);
    c.leave(3);
    c.kill(3);
    c.run(300 * SECOND);
    let time = c.node(0).vitals().member_time;
    c.run(600 * SECOND);
    for i in 0..3 {
        assert_eq!((c.status(i, "d"), c.node(i).vitals().member_time), (Status::Left, time));
    }
}
