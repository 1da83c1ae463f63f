//! Changing tags: spec `serf.md` §2.3, appendix A.8.

use std::time::Duration;

use serf_core::MemberEventKind::{Join, Update};
use serf_core::{Command, Failure, Outcome, Tags, TagsTooLong};
use serf_wire::encrypt::Key;

use crate::cluster::{Cluster, quick};

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

// "SetTags on both nodes becomes visible on both, with join and update events. LocalMember follows SetTags."
#[test]
fn new_tags_are_seen_by_all() {
    let mut c = Cluster::joined(1, 2);
    for (i, port) in [(0, "8000"), (1, "8001")] {
        let outcome = c.command(i, |id| Command::SetTags { id, tags: tags(&[("port", port)]) });
        assert_eq!(outcome, Outcome::Ok);
        assert_eq!(c.node(i).local_member().unwrap().tags(), tags(&[("port", port)]));
        assert_eq!(*c.node(i).tags(), tags(&[("port", port)]));
    }
    c.until("each sees the other's", |c| {
        c.node(0).member(b"b").unwrap().tags() == tags(&[("port", "8001")])
            && c.node(1).member(b"a").unwrap().tags() == tags(&[("port", "8000")])
    });
    for i in 0..2 {
        assert_eq!((c.history(i, "a"), c.history(i, "b")), (vec![Join, Update], vec![Join, Update]));
    }
    assert!(c.lines(0).contains(&"EventMemberUpdate: b"));
}

#[test]
fn the_same_tags_again_are_no_update() {
    let mut c = Cluster::joined(2, 2);
    for _ in 0..2 {
        let outcome = c.command(0, |id| Command::SetTags { id, tags: tags(&[("x", "1"), ("y", "2")]) });
        assert_eq!(outcome, Outcome::Ok);
        c.run(Duration::from_secs(5));
    }
    assert_eq!(c.history(1, "a"), [Join, Update]);
}

#[test]
fn tags_that_are_too_long_change_nothing() {
    let mut c = Cluster::joined(3, 2);
    let long = tags(&[("k", &"v".repeat(512))]);
    let outcome = c.command(0, |id| Command::SetTags { id, tags: long });
    assert_eq!(outcome, Outcome::Failed(Failure::TagsTooLong(TagsTooLong)));
    assert_eq!((c.node(0).tags(), c.history(0, "a")), (&Tags::new(), vec![Join]));
}

#[test]
fn tags_that_cannot_be_told_in_time_are_in_force_all_the_same() {
    let mut c = Cluster::new(4);
    let mut config = quick("a", 1);
    config.gossip.gossip_interval = Duration::ZERO;
    config.gossip.probe_interval = Duration::ZERO;
    let (a, b) = (c.add_with(config), c.add("b"));
    c.join(b, a);
    c.cut(a, b);
    let outcome = c.command(a, |id| Command::SetTags { id, tags: tags(&[("x", "1")]) });
    assert_eq!(outcome, Outcome::Failed(Failure::TagsTimeout));
    assert_eq!(c.node(a).local_member().unwrap().tags(), tags(&[("x", "1")]));
}

#[test]
fn an_encrypted_cluster_is_a_cluster() {
    let mut c = Cluster::new(6);
    for (i, name) in ["a", "b", "c"].into_iter().enumerate() {
        let mut config = quick(name, i as u8 + 1);
        config.gossip.keys = vec![Key::new(&[9; 32]).unwrap()];
        c.add_with(config);
        if i > 0 {
            assert_eq!(c.join(i, 0), 1);
        }
    }
    c.until("all know each other", |c| (0..3).all(|i| c.alive(i) == 3));
    c.leave(2);
    c.until("it has left", |c| (0..2).all(|i| c.node(i).vitals().left == 1));
}

#[test]
fn tags_that_are_refused_change_nothing() {
    let mut c = Cluster::joined(7, 2);
    c.leave(0);
    let outcome = c.command(0, |id| Command::SetTags { id, tags: tags(&[("x", "1")]) });
    assert_eq!(outcome, Outcome::Failed(Failure::Gossip(serf_gossip::Failure::Left)));
    assert_eq!((c.node(0).tags(), c.node(0).local_member().unwrap().tags()), (&Tags::new(), Tags::new()));
}
