//! Two nodes with one name: spec `serf.md` §7, appendix A.8.

use std::time::Duration;

use serf_core::{Command, Event, Failure, NodeState, Outcome, Query, QueryEnd};
use serf_gossip::Address;

use crate::cluster::{At, Cluster, quick};

const SECOND: Duration = Duration::from_secs(1);

fn lost(c: &Cluster, at: At) -> Option<(usize, usize)> {
    c.events(at).iter().find_map(|event| match event {
        Event::NameLost { ours, all } => Some((*ours, *all)),
        _ => None,
    })
}

/// Somebody else by the name of the last of `n`, who joins all.
fn with_impostor(seed: u64, n: usize) -> (Cluster, At, At) {
    let mut c = Cluster::joined(seed, n);
    let impostor = c.add_with(quick(&c.name(n - 1).to_string(), 99));
    for i in 0..n - 1 {
        let join = c.join_command(i, false);
        c.order(impostor, join);
    }
    (c, n - 1, impostor)
}

// "The impostor joining later loses (state shutdown) after the query period, the other two stay alive."
#[test]
fn who_comes_later_loses_and_ends() {
    let (mut c, first, impostor) = with_impostor(1, 3);
    c.until("one ends", |c| c.node(impostor).state() == NodeState::Shutdown);
    assert_eq!(lost(&c, impostor), Some((0, 2)));
    assert!(c.lines(impostor).contains(&"minority in name conflict resolution, quitting [0 / 2]"));
    c.run(60 * SECOND);
    for at in 0..=first {
        assert_eq!((c.node(at).state(), lost(&c, at)), (NodeState::Alive, None));
        let member = c.node(at).member(b"c").unwrap();
        assert_eq!((member.addr, member.status), (c.addr(first), serf_core::Status::Alive));
    }
}

#[test]
fn whoever_ends_so_answers_all_that_is_under_way() {
    let (mut c, _, impostor) = with_impostor(2, 3);
    let query = c.ask(impostor, Query::new("q").with_timeout(3600 * SECOND));
    let leave = c.order(impostor, |id| Command::SetTags { id, tags: [("k".into(), "v".into())].into() });
    c.until("one ends", |c| lost(c, impostor).is_some());
    assert_eq!(c.end(impostor, query), Some(QueryEnd::Closed));
    assert!(c.outcome(impostor, leave).is_some());
    let outcome = c.command(impostor, |id| Command::Query { id, query: Query::new("q") });
    assert_eq!(outcome, Outcome::Failed(Failure::Shutdown));
}

// B17: the reference ends both.
#[test]
fn two_who_are_alone_with_their_name_both_go_on() {
    let mut c = Cluster::joined(3, 1);
    let other = c.add_with(quick("a", 99));
    let join = c.join_command(0, false);
    c.order(other, join);
    c.run(60 * SECOND);
    for at in [0, other] {
        assert_eq!(c.node(at).state(), NodeState::Alive);
        assert!(c.lines(at).contains(&"majority in name conflict resolution [0 / 0]"), "{:?}", c.lines(at));
    }
}

#[test]
fn where_names_are_not_disputed_nobody_ends() {
    let mut c = Cluster::joined(4, 2);
    for host in [50, 51] {
        let mut config = quick("dup", host);
        config.enable_name_conflict_resolution = false;
        let at = c.add_with(config);
        for i in 0..2 {
            let join = c.join_command(i, false);
            c.order(at, join);
        }
    }
    c.until("they find out", |c| {
        c.lines(3).iter().any(|line| line.starts_with("Node name conflicts with another node at"))
    });
    assert!(c.lines(3).iter().any(|line| line.ends_with("(Resolution enabled: false)")));
    c.run(60 * SECOND);
    assert!((0..4).all(|at| c.node(at).state() == NodeState::Alive));
    assert!((0..4).all(|at| c.node(at).stats().queries == 0));
    let addr: Address = c.node(0).member(b"dup").unwrap().addr;
    assert_eq!(addr, c.addr(2), "the name stays with the first");
}
