//! Claims that a node is gone (checklist DE).

use serf_gossip::State;

use crate::rig::{Life, Rig, Said, Told, dead, rig_config};

/// DE1
#[test]
fn an_unknown_node_cannot_die() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.hear(&dead("n2", 1, "x"));
    assert!(!rig.knows("n2"));
    assert_eq!(rig.gossip.queued(), 0);
}

/// DE2, DE3
#[test]
fn who_says_so_itself_has_left_and_of_whom_others_say_it_is_dead() {
    for (from, state) in [("n2", State::Left), ("n3", State::Dead)] {
        let mut rig = Rig::among(3, rig_config());
        rig.millis(5);
        rig.hear(&dead("n2", 1, from));
        assert_eq!((rig.state("n2"), rig.member("n2").since), (state, Some(rig.now)));
        assert_eq!(rig.above.told(), [Told::Left("n2".into(), state)]);
        assert_eq!(rig.queued(), [Said::Dead { inc: 1, node: "n2".into(), from: from.into() }]);
        assert_eq!(rig.gossip.members().present(), 2);
    }
}

/// DE4
#[test]
fn one_dies_once() {
    let mut rig = Rig::among(3, rig_config());
    rig.hear(&dead("n2", 1, "n3"));
    rig.quiet();
    rig.hear(&dead("n2", 9, "n3"));
    rig.hear(&dead("n2", 9, "n2"));
    assert_eq!((rig.state("n2"), rig.member("n2").incarnation), (State::Dead, 1), "nor does it leave then");
    assert_eq!((rig.above.told(), rig.gossip.queued()), (vec![], 0));
}

/// DE5
#[test]
fn a_death_of_the_past_is_no_news() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&Life::of(2, 10).message());
    rig.quiet();
    rig.hear(&dead("n2", 9, "n3"));
    assert_eq!((rig.state("n2"), rig.gossip.queued()), (State::Alive, 0));
}

/// DE6
#[test]
fn an_old_claim_of_life_does_not_revive_and_a_new_one_does() {
    let mut rig = Rig::among(2, rig_config());
    rig.hear(&dead("n2", 1, "x"));
    rig.above.told();
    rig.hear(&Life::of(2, 1).message());
    assert_eq!(rig.state("n2"), State::Dead);
    rig.hear(&Life::of(2, 2).message());
    assert_eq!(rig.state("n2"), State::Alive);
    assert_eq!(rig.above.told(), [Told::Joined("n2".into())]);
}

/// DE7
#[test]
fn our_own_death_is_refuted() {
    for from in ["x", "me"] {
        let mut rig = Rig::among(2, rig_config());
        rig.hear(&dead("me", 1, from));
        assert_eq!((rig.gossip.local().state, rig.gossip.local().incarnation), (State::Alive, 2));
        assert_eq!((rig.gossip.health(), rig.above.told()), (1, vec![]));
        assert!(matches!(&rig.queued()[..], [Said::Alive { inc: 2, node, .. }] if node == "me"));
    }
}
