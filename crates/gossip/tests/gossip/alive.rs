//! Claims that a node is alive (checklist AL).

use std::time::Duration;

use serf_gossip::{Address, Config, State};

use crate::net::address;
use crate::rig::{Above, Life, Rig, Said, Told, VERSIONS, dead, push_pull, rig_config, suspect};

fn alive(i: usize, inc: u32) -> Said {
    let (node, addr) = (format!("n{i}"), address(i));
    Said::Alive { inc, node, addr, meta: vec![], versions: VERSIONS.to_vec() }
}

/// AL1
#[test]
fn an_unknown_node_is_recorded_announced_and_passed_on() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.hear(&Life::of(2, 7).meta(b"m").message());
    let m = rig.member("n2");
    assert_eq!((m.state, m.incarnation, m.since), (State::Alive, 7, Some(rig.now)));
    assert_eq!((&m.addr, &*m.meta, m.versions), (&address(2), &b"m"[..], VERSIONS));
    assert_eq!(rig.above.told(), [Told::Joined("n2".into())]);
    let queued = rig.queued();
    assert!(matches!(&queued[..], [Said::Alive { inc: 7, node, .. }] if node == "n2"), "{queued:?}");
}

/// AL2
#[test]
fn a_suspect_is_not_revived_by_the_incarnation_it_is_suspected_in() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&suspect("n2", 1, "x"));
    rig.quiet();
    rig.hear(&Life::of(2, 1).message());
    assert_eq!((rig.state("n2"), rig.gossip.queued()), (State::Suspect, 0));
}

/// AL3
#[test]
fn a_suspect_is_revived_by_a_higher_incarnation_without_joining_anew() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&suspect("n2", 1, "x"));
    rig.quiet();
    rig.millis(10);
    rig.hear(&Life::of(2, 2).message());
    let m = rig.member("n2");
    assert_eq!((m.state, m.incarnation, m.since), (State::Alive, 2, Some(rig.now)));
    assert_eq!(rig.above.told(), []);
    assert_eq!(rig.queued(), [alive(2, 2)]);
}

/// AL4
#[test]
fn a_higher_incarnation_of_a_living_node_is_passed_on_and_leaves_its_time_alone() {
    let mut rig = Rig::among(2, rig_config());
    let since = rig.member("n2").since;
    rig.millis(10);
    rig.hear(&Life::of(2, 2).message());
    assert_eq!(rig.member("n2").since, since);
    assert_eq!((rig.member("n2").incarnation, rig.above.told()), (2, vec![]));
    assert_eq!(rig.queued(), [alive(2, 2)]);
}

/// AL5
#[test]
fn new_meta_data_is_kept_and_told() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&Life::of(2, 2).meta(b"new").message());
    assert_eq!(&*rig.member("n2").meta, b"new");
    assert_eq!(rig.above.told(), [Told::Updated("n2".into(), b"new".to_vec())]);
}

/// AL6
#[test]
fn a_wrong_claim_about_ourselves_is_refuted_and_changes_nothing() {
    let config = Config { meta: b"mine".to_vec(), ..rig_config() };
    let mut rig = Rig::among(2, config);
    let wrong = Life::named("me", address(1), 5);
    for (claim, inc) in [
        (wrong.clone().meta(b"theirs"), 6),
        // The same incarnation with other versions is as wrong,
        (Life { incarnation: 6, ..wrong.clone() }.meta(b"mine").versions(&[1, 5, 3, 0, 0, 0]), 7),
        // and so is a future of ours, however true it looks.
        (Life { incarnation: 20, ..wrong.clone() }.meta(b"mine"), 21),
    ] {
        rig.quiet();
        let health = rig.gossip.health();
        rig.hear(&claim.message());
        let me = rig.gossip.local();
        assert_eq!((me.state, me.incarnation, &*me.meta), (State::Alive, inc, &b"mine"[..]));
        assert_eq!((rig.gossip.health(), rig.above.told()), (health + 1, vec![]));
        let queued = rig.queued();
        assert!(matches!(&queued[..], [Said::Alive { inc: i, meta, .. }] if *i == inc && meta == b"mine"));
    }
    // What is true, or old, needs no answer.
    rig.quiet();
    for claim in [Life { incarnation: 21, ..wrong.clone() }.meta(b"mine"), wrong.clone().meta(b"old")] {
        rig.hear(&claim.message());
        assert_eq!((rig.gossip.local().incarnation, rig.gossip.queued()), (21, 0));
    }
}

/// AL7
#[test]
fn another_address_for_a_living_node_is_a_conflict_and_changes_nothing() {
    let mut rig = Rig::among(2, rig_config());
    for other in [address(77), Address::new(&[10, 0, 0, 2], 1), Address::new(&mapped(2), 7946)] {
        rig.hear(&Life::of(2, 9).at(other.clone()).meta(b"m").message());
        let m = rig.member("n2");
        assert_eq!((m.state, m.incarnation, &m.addr, rig.gossip.queued()), (State::Alive, 1, &address(2), 0));
        assert_eq!(rig.above.told(), [Told::Conflict("n2".into(), address(2), other, b"m".to_vec())]);
    }
    assert_eq!(rig.gossip.stats().conflicts, 3);
}

fn mapped(i: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, i]
}

/// AL7, about ourselves: a conflict, not a refutation.
#[test]
fn another_address_for_ourselves_is_a_conflict() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&Life::named("me", address(66), 9).message());
    assert_eq!((rig.gossip.local().incarnation, rig.gossip.queued()), (1, 0));
    assert!(matches!(&rig.above.told()[..], [Told::Conflict(..)]));
}

/// AL8
#[test]
fn a_dead_name_is_taken_over_after_the_reclaim_time_only() {
    let config =
        Config { dead_node_reclaim: Duration::from_secs(10), probe_interval: Duration::ZERO, ..rig_config() };
    let mut rig = Rig::among(3, config);
    rig.hear(&dead("n2", 1, "n3"));
    rig.quiet();
    rig.millis(10_000);
    let claim = Life::of(2, 1).at(address(22)).meta(b"heir").message();
    rig.hear(&claim);
    assert_eq!(rig.state("n2"), State::Dead, "not longer than the reclaim time");
    rig.above.told();
    rig.millis(1);
    rig.hear(&claim);
    let m = rig.member("n2");
    assert_eq!((m.state, &m.addr, &*m.meta), (State::Alive, &address(22), &b"heir"[..]));
    assert_eq!(rig.above.told(), [Told::Joined("n2".into())]);
}

/// AL8, with the default of never.
#[test]
fn a_dead_name_is_never_taken_over_by_default() {
    let config = Config { probe_interval: Duration::ZERO, ..rig_config() };
    let mut rig = Rig::among(3, config);
    rig.hear(&dead("n2", 1, "n3"));
    rig.pass(Duration::from_secs(3600));
    rig.above.told();
    rig.hear(&Life::of(2, 9).at(address(22)).message());
    assert_eq!(rig.state("n2"), State::Dead);
    assert!(matches!(&rig.above.told()[..], [Told::Conflict(..)]));
}

/// AL9, H11: at once, but by newer claims only.
#[test]
fn the_name_of_one_that_left_is_taken_over_at_once_by_a_newer_claim() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&dead("n2", 1, "n2"));
    assert_eq!(rig.state("n2"), State::Left);
    rig.quiet();
    rig.hear(&Life::of(2, 1).at(address(22)).message());
    assert_eq!((rig.state("n2"), rig.above.told()), (State::Left, vec![]), "a claim of the past");
    rig.hear(&Life::of(2, 2).at(address(22)).message());
    assert_eq!((rig.state("n2"), &rig.member("n2").addr), (State::Alive, &address(22)));
    assert_eq!(rig.above.told(), [Told::Joined("n2".into())]);
}

/// AL10
#[test]
fn impossible_versions_make_no_member() {
    let mut rig = Rig::new();
    for versions in [&[0; 6], &[1, 0, 1, 0, 0, 0], &[0, 5, 2, 0, 0, 0], &[5, 1, 2, 0, 0, 0]] {
        rig.hear(&Life::of(2, 1).versions(versions).message());
        assert!(!rig.knows("n2"), "{versions:?}");
    }
    assert_eq!(rig.gossip.stats().refused_claims, 4);
}

/// Every release tells six, and the check before a merge needs them of everybody.
#[test]
fn incomplete_versions_make_no_member_and_are_not_passed_on() {
    let mut rig = Rig::new();
    rig.quiet();
    for n in 0..6 {
        rig.hear(&Life::of(2, 1).versions(&VERSIONS[..n]).message());
        assert!(!rig.knows("n2"), "{n} versions");
    }
    rig.hear(&Life::of(2, 1).versions(&[1, 5, 2, 0, 0, 0, 9, 9]).message());
    assert_eq!(rig.queued(), [alive(2, 1)], "of more than six, six are passed on");
}

#[test]
fn a_claim_of_incarnation_0_is_no_news() {
    let mut rig = Rig::new();
    rig.hear(&Life::of(2, 0).message());
    assert!(!rig.knows("n2"));
}

#[test]
fn a_port_of_0_stands_for_our_own() {
    let mut rig = Rig::with(Config { bind_port: 1234, ..rig_config() });
    rig.hear(&Life::of(2, 1).at(Address::new(&[10, 0, 0, 2], 0)).message());
    assert_eq!(rig.member("n2").addr.port, 1234);
    rig.request(&push_pull(false, &[Life::of(3, 1).at(Address::new(&[10, 0, 0, 3], 0))], b""));
    assert_eq!(rig.member("n3").addr.port, 1234);
    assert!(matches!(rig.queued().as_slice(), [.., Said::Alive { addr, .. }] if addr.port != 0));
    // With protocol version 1 everybody has the same port.
    let mut rig = Rig::with(Config { bind_port: 1234, protocol_version: 1, ..rig_config() });
    rig.hear(&Life::of(2, 1).message());
    assert_eq!(rig.member("n2").addr.port, 1234);
}

#[test]
fn a_name_may_be_any_bytes_and_stays_as_it_is() {
    let mut rig = Rig::new();
    rig.quiet();
    let name = b"\xff\x00\xfe".to_vec();
    rig.hear(&Life { name: name.clone(), ..Life::of(2, 1) }.message());
    assert!(rig.gossip.members().get(&name).is_some());
    rig.sent.clear();
    rig.raw.clear();
    rig.queued();
    let sent = &rig.raw.last().unwrap().bytes;
    assert!(sent.windows(3).any(|w| w == name), "passed on verbatim");
}

/// Every claim is shown to the policy, our own included, before anything else is looked at.
#[test]
fn the_policy_sees_every_claim_and_its_no_is_final() {
    let above = Above::default();
    let mut rig = Rig::begin(rig_config(), above.clone());
    assert_eq!(above.layer().asked_alive, 1, "our own at the start");
    rig.hear(&Life::of(2, 1).message());
    rig.hear(&Life::of(2, 1).message());
    assert_eq!(above.layer().asked_alive, 3, "old ones too");
    above.layer().refuse_alive = Some("no".into());
    rig.hear(&Life::of(3, 1).message());
    rig.hear(&Life::of(2, 2).message());
    assert!(!rig.knows("n3"));
    assert_eq!(rig.member("n2").incarnation, 1);
}

/// A policy that refuses even ourselves leaves us unlisted, and silent about ourselves.
#[test]
fn one_who_refused_itself_does_not_insist_on_being_alive() {
    let above = Above::default();
    above.layer().refuse_alive = Some("nobody".into());
    let mut rig = Rig::begin(rig_config(), above.clone());
    assert_eq!((rig.gossip.members().present(), above.told()), (0, vec![]));
    above.layer().refuse_alive = None;
    rig.hear(&Life::named("me", address(1), 5).message());
    rig.hear(&suspect("me", 5, "x"));
    rig.hear(&dead("me", 5, "x"));
    assert_eq!((rig.gossip.queued(), rig.gossip.health()), (0, 0));
}
