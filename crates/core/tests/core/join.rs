//! Joining: spec `serf.md` §4.13, appendix A.8.

use std::time::Duration;

use serf_core::{Command, Failure, MemberEventKind::Join, NodeState, Outcome, Status};
use serf_gossip::{Address, Peer};

use crate::cluster::{Cluster, quick};

// "Join: join event." "NumNodes counts." "First push of a join: peer records status time."
#[test]
fn two_who_join_see_each_other() {
    let mut c = Cluster::new(1);
    let (a, b) = (c.add("a"), c.add("b"));
    assert_eq!(c.join(a, b), 1);
    c.until("both list both", |c| c.alive(a) == 2 && c.alive(b) == 2);
    assert_eq!((c.history(a, "b"), c.history(b, "a")), (vec![Join], vec![Join]));
    assert_eq!((c.node(a).member_count(), c.node(b).member_count()), (2, 2));
    assert_eq!(c.lines(a)[..2], ["EventMemberJoin: a 10.0.0.1", "EventMemberJoin: b 10.0.0.2"]);
    // The intent came too: its time was a's clock then.
    c.until("the intent arrives", |c| c.node(b).vitals().member_time == 2);
}

#[test]
fn eight_who_join_one_all_know_each_other() {
    let mut c = Cluster::joined(2, 8);
    for i in 0..8 {
        assert_eq!((c.alive(i), c.node(i).vitals().left), (8, 0));
    }
}

#[test]
fn a_join_of_nobody_reaches_nobody_and_announces_nothing() {
    let mut c = Cluster::new(3);
    let a = c.add("a");
    let nobody = Outcome::Joined { contacted: vec![], failed: vec![] };
    assert_eq!(c.command(a, |id| Command::Join { id, peers: vec![], ignore_old: false }), nobody);
    let lost = Peer { addr: Address::new(&[10, 9, 9, 9], 1), name: None };
    match c.command(a, |id| Command::Join { id, peers: vec![lost], ignore_old: false }) {
        Outcome::Joined { contacted, failed } => {
            assert!(contacted.is_empty());
            assert_eq!(failed, [(Address::new(&[10, 9, 9, 9], 1), "connection refused".into())]);
        }
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!((c.node(a).vitals().intent_queue, c.node(a).vitals().member_time), (0, 1));
}

#[test]
fn joins_are_done_one_after_another() {
    let mut c = Cluster::new(4);
    let (a, b, d) = (c.add("a"), c.add("b"), c.add("d"));
    c.cut(a, b);
    let (to_b, to_d) = (c.join_command(b, true), c.join_command(d, false));
    let first = c.order(a, to_b);
    let second = c.order(a, to_d);
    c.run(Duration::from_millis(50));
    assert_eq!((c.outcome(a, first), c.outcome(a, second)), (None, None));
    assert_eq!(c.node(a).member_count(), 1);
    assert!(matches!(c.wait(a, second), Outcome::Joined { contacted, .. } if contacted.len() == 1));
    assert!(matches!(c.outcome(a, first), Some(Outcome::Joined { contacted, .. }) if contacted.is_empty()));
}

// "can't Join after Leave or Shutdown."
#[test]
fn one_that_leaves_or_has_left_does_not_join() {
    let mut c = Cluster::joined(5, 2);
    let leaving = c.order(0, |id| Command::Leave { id });
    assert_eq!(c.node(0).state(), NodeState::Leaving);
    let join = c.join_command(1, false);
    assert_eq!(c.command(0, join), Outcome::Failed(Failure::CannotJoin));
    assert_eq!(c.wait(0, leaving), Outcome::Ok);
    let join = c.join_command(1, false);
    assert_eq!(c.command(0, join), Outcome::Failed(Failure::CannotJoin));
}

// Joins wait in line: one that begins only after a leave has begun is refused too.
#[test]
fn a_waiting_join_is_refused_when_a_leave_comes_first() {
    let mut c = Cluster::new(6);
    let (a, b) = (c.add("a"), c.add("b"));
    c.cut(a, b);
    let (one, two) = (c.join_command(b, false), c.join_command(b, false));
    c.order(a, one);
    let second = c.order(a, two);
    c.leave(a);
    assert_eq!(c.wait(a, second), Outcome::Failed(Failure::CannotJoin));
    assert_eq!(c.status(a, "a"), Status::Left);
}

// "Accepts protocol versions 2, 4, 5; refuses 6. Default config speaks 4."
#[test]
fn protocol_versions_2_to_5_talk_to_each_other() {
    let mut c = Cluster::new(7);
    assert_eq!(quick("x", 1).protocol_version, 4);
    for (i, version) in [2, 3, 4, 5].into_iter().enumerate() {
        let mut config = quick(&format!("v{version}"), i as u8 + 1);
        config.protocol_version = version;
        config.tags.insert("role".into(), format!("r{version}"));
        c.add_with(config);
        if i > 0 {
            c.join(i, 0);
        }
    }
    c.until("all know each other", |c| (0..4).all(|i| c.alive(i) == 4));
    for i in 0..4 {
        for version in [2, 3, 4, 5] {
            let member = c.node(i).member(format!("v{version}").as_bytes()).unwrap();
            // "Roles visible to peers."
            assert_eq!(member.tags()["role"], format!("r{version}"));
            assert_eq!(member.versions.delegate_cur, version);
            assert_eq!((member.versions.protocol_max, member.versions.protocol_cur), (5, 2));
        }
    }
}

#[test]
fn a_join_without_names_may_be_forbidden() {
    let mut c = Cluster::new(8);
    let mut config = quick("a", 1);
    config.gossip.require_node_names = true;
    let a = c.add_with(config);
    let b = c.add("b");
    let nameless = Peer { addr: c.addr(b), name: None };
    match c.command(a, |id| Command::Join { id, peers: vec![nameless], ignore_old: false }) {
        Outcome::Joined { contacted, failed } => assert_eq!((contacted.len(), failed.len()), (0, 1)),
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(c.join(a, b), 1);
}

// "Refusing merge delegate on both sides: join fails with the delegate's text, zero members on both."
#[test]
fn a_refusing_policy_makes_the_join_fail_with_its_text() {
    struct Refuse;
    impl serf_core::MergePolicy for Refuse {
        fn accept(&self, _: &[serf_core::Member]) -> Result<(), serf_gossip::Refusal> {
            Err(serf_gossip::Refusal("merge canceled".into()))
        }
    }
    let mut c = Cluster::new(9);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        let mut config = quick(name, i as u8 + 1);
        config.policies.merge = Some(std::sync::Arc::new(Refuse));
        c.add_with(config);
    }
    let join = c.join_command(1, false);
    match c.command(0, join) {
        Outcome::Joined { contacted, failed } => {
            assert!(contacted.is_empty());
            assert!(failed[0].1.contains("merge canceled"), "{failed:?}");
        }
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!((c.node(0).member_count(), c.node(1).member_count()), (0, 0));
}

#[test]
fn a_stranger_who_joins_is_told_so_and_nothing_else() {
    struct Short;
    impl serf_core::IdentityPolicy for Short {
        fn accept(&self, claim: &serf_gossip::Claim<'_>) -> Result<(), serf_gossip::Refusal> {
            match claim.name.len() {
                1 => Ok(()),
                n => Err(serf_gossip::Refusal(format!("{n} letters are too many"))),
            }
        }
    }
    let mut c = Cluster::new(9);
    let mut config = quick("a", 1);
    config.policies.identity = Some(std::sync::Arc::new(Short));
    let a = c.add_with(config);
    let (stranger, b) = (c.add("stranger"), c.add("b"));
    let join = c.join_command(a, false);
    match c.command(stranger, join) {
        Outcome::Joined { contacted, failed } => {
            assert!(contacted.is_empty());
            assert_eq!(failed[0].1, "remote error: merge refused: 8 letters are too many");
        }
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!((c.node(a).member_count(), c.node(stranger).member_count()), (1, 1));
    assert_eq!(c.join(b, a), 1);
    c.until("both list both", |c| c.alive(a) == 2 && c.alive(b) == 2);
    // Nor is a cluster joined that a stranger is in.
    let join = c.join_command(stranger, false);
    match c.command(a, join) {
        Outcome::Joined { failed, .. } => {
            assert_eq!(failed[0].1, "merge refused: 8 letters are too many");
        }
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(c.node(a).member_count(), 2);
}

// "Stats of a fresh instance: members 1, failed 0, left 0, health 0, times 1/1/1, queues 0/0/0, encrypted false."
#[test]
fn a_fresh_node_has_its_vitals() {
    let mut c = Cluster::new(10);
    let a = c.add("a");
    let v = c.node(a).vitals();
    assert_eq!((v.members, v.failed, v.left, v.health_score), (1, 0, 0, 0));
    assert_eq!((v.member_time, v.event_time, v.query_time), (1, 1, 1));
    assert_eq!((v.intent_queue, v.event_queue, v.query_queue, v.encrypted), (0, 0, 0, false));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        let mut c = Cluster::joined(11, 5);
        c.kill(4);
        c.until("it failed", |c| (0..4).all(|i| c.status(i, "e") == Status::Failed));
        (c.now, (0..4).map(|i| format!("{:?}", c.events(i))).collect::<Vec<_>>())
    };
    assert_eq!(story(), story());
}

#[test]
fn only_so_many_joins_wait_and_each_is_answered() {
    let mut c = Cluster::new(99);
    let (a, b) = (c.add("a"), c.add("b"));
    c.cut(a, b);
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let join = c.join_command(b, false);
            c.order(a, join)
        })
        .collect();
    let refused = |c: &Cluster| {
        let outcomes = asked.iter().filter_map(|id| c.outcome(a, *id));
        outcomes.filter(|o| **o == Outcome::Failed(Failure::TooManyJoins)).count()
    };
    assert_eq!(refused(&c), 100 - 65);
    c.until("all are answered", |c| asked.iter().all(|id| c.outcome(a, *id).is_some()));
    assert_eq!(refused(&c), 100 - 65);
}
