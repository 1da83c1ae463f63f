//! Nodes that are restarted with their snapshot file, and what becomes of their cluster (spec `serf.md` §10.5, A.8).

use std::collections::BTreeSet;
use std::time::Duration;

use serf_core::snapshot::{Replay, Snapshot};
use serf_core::{Command, Config, Event, Status};

use crate::cluster::{At, Cluster, quick};

/// With a snapshot file, and leaves that count or do not.
fn recording(name: &str, host: u8, rejoin: bool) -> Config {
    let snapshot = Some(Replay::new(rejoin).finish());
    Config { snapshot, ..quick(name, host) }
}

/// For so long those are called who are missing when somebody has been found, with the pause in which that happens.
const CALLED_FOR: Duration = Duration::from_secs(10 * 60 + 61);

/// So many nodes that know each other and have recorded it.
fn joined(seed: u64, n: usize) -> Cluster {
    let mut cluster = Cluster::new(seed);
    for i in 0..n {
        let name = String::from(char::from(b'a' + i as u8));
        cluster.add_with(recording(&name, i as u8 + 1, false));
    }
    for i in 1..n {
        assert_eq!(cluster.join(i, 0), 1);
    }
    cluster.until("all know each other", |c| (0..n).all(|i| c.alive(i) == n));
    cluster.run(Duration::from_secs(1));
    cluster
}

fn read(cluster: &mut Cluster, at: At) -> Snapshot {
    let mut replay = Replay::new(false);
    replay.feed(cluster.file(at));
    replay.finish()
}

fn known(cluster: &mut Cluster, at: At) -> Vec<String> {
    read(cluster, at).known.iter().map(|(name, _)| name.to_string()).collect()
}

fn user_events(cluster: &Cluster, at: At) -> usize {
    cluster.events(at).iter().filter(|event| matches!(event, Event::User(_))).count()
}

fn fire(cluster: &mut Cluster, at: At) {
    let (name, payload) = ("e".into(), Vec::new());
    cluster.command(at, |id| Command::UserEvent { id, name, payload, coalesce: false });
}

fn told(cluster: &Cluster, at: At, start: &str) -> usize {
    cluster.lines(at).iter().filter(|line| line.starts_with(start)).count()
}

#[test]
fn a_restarted_node_finds_its_cluster_and_is_told_no_old_events() {
    for seed in 0..5 {
        let mut c = joined(seed, 3);
        for _ in 0..5 {
            fire(&mut c, 1);
        }
        c.until("all have heard", |c| user_events(c, 0) == 5);
        // A failed member is no obstacle, and ours may be noticed or not.
        c.kill(2);
        c.kill(0);
        if seed % 2 == 0 {
            c.until("both are missed", |c| c.alive(1) == 1);
        }
        c.start(0);
        c.until("it is back", |c| c.status(1, "a") == Status::Alive && c.status(0, "b") == Status::Alive);
        assert_eq!(told(&c, 0, "Re-joined to previously known node: b: 10.0.0.2:7946"), 1);
        fire(&mut c, 1);
        c.until("it hears what is new", |c| user_events(c, 0) == 6);
        c.run(Duration::from_secs(5));
        assert_eq!(user_events(&c, 0), 6, "and only that");
        assert!(c.node(0).vitals().event_time >= 7);
    }
}

#[test]
fn who_left_comes_back_by_itself_only_if_it_is_to() {
    for rejoin in [false, true] {
        let mut c = Cluster::new(7);
        c.add_with(recording("a", 1, rejoin));
        c.add("b");
        c.join(0, 1);
        c.until("they know each other", |c| c.alive(0) == 2 && c.alive(1) == 2);
        c.leave(0);
        c.kill(0);
        assert!(c.file(0).windows(6).any(|w| w == b"leave\n"));
        c.start(0);
        if rejoin {
            c.until("it is back", |c| c.status(1, "a") == Status::Alive && c.alive(0) == 2);
            assert_eq!(told(&c, 0, "Ignoring previous leave in snapshot"), 1);
        } else {
            c.run(Duration::from_secs(120));
            assert_eq!((c.status(1, "a"), c.alive(0)), (Status::Left, 1));
            assert_eq!(told(&c, 0, "Attempting re-join"), 0);
        }
    }
}

#[test]
fn after_a_full_outage_a_node_still_knows_whom_to_call() {
    for seed in 0..5 {
        let mut c = joined(seed, 4);
        c.leave(3);
        for (victim, left) in [(1, 2), (2, 1)] {
            c.kill(victim);
            c.until("it is missed", |c| c.alive(0) == left);
            c.run(Duration::from_secs(1));
        }
        assert_eq!(known(&mut c, 0), ["a", "b", "c"], "all but who has left");
        c.kill(0);
        // Nobody is there at first; and those that come have forgotten everything.
        c.start(0);
        c.run(Duration::from_secs(30));
        assert_eq!(c.alive(0), 1);
        for at in [1, 2] {
            c.file(at).clear();
            c.start(at);
        }
        c.until("both are reached", |c| c.alive(0) == 3);
    }
}

// B36
#[test]
fn the_known_are_called_in_rounds_with_growing_pauses_until_one_answers() {
    let mut c = joined(3, 3);
    c.kill(0);
    c.kill(1);
    c.kill(2);
    c.start(0);
    let rounds = |c: &Cluster| told(c, 0, "Failed to re-join any previously known node, trying again in ");
    c.run(Duration::from_secs(600));
    assert!((10..25).contains(&rounds(&c)), "{}", rounds(&c));
    let attempts = told(&c, 0, "Attempting re-join to previously known node: ");
    assert!(
        (rounds(&c) * 2..=rounds(&c) * 2 + 2).contains(&attempts),
        "each of the two in each round, never itself"
    );
    c.start(2);
    c.until("they found each other", |c| c.alive(0) == 2 && c.alive(2) == 2);
    let before = rounds(&c);
    c.run(CALLED_FOR);
    let attempts = told(&c, 0, "Attempting re-join");
    c.run(Duration::from_secs(600));
    assert_eq!(
        (rounds(&c), told(&c, 0, "Attempting re-join")),
        (before, attempts),
        "in the end nobody is called"
    );
}

#[test]
fn calls_end_when_somebody_comes_or_the_node_goes_or_it_has_taken_too_long() {
    let lonely = |change: fn(&mut Config)| {
        let mut c = joined(4, 2);
        c.kill(0);
        c.kill(1);
        c.start_with(0, change);
        c.until("a round is over", |c| told(c, 0, "Failed to re-join") == 1);
        c
    };
    // Somebody comes.
    let mut c = lonely(|_| {});
    let d = c.add_with(quick("d", 9));
    c.join(d, 0);
    c.until("it is there", |c| c.alive(0) == 2);
    c.run(CALLED_FOR);
    let before = told(&c, 0, "Attempting re-join");
    c.run(Duration::from_secs(600));
    assert_eq!(told(&c, 0, "Attempting re-join"), before);
    // The node leaves, or is shut down.
    let mut c = lonely(|_| {});
    c.leave(0);
    let before = told(&c, 0, "Attempting re-join");
    c.run(Duration::from_secs(600));
    assert_eq!(told(&c, 0, "Attempting re-join"), before);
    let mut c = lonely(|_| {});
    c.command(0, |id| Command::Shutdown { id });
    assert_eq!(c.next(), None);
    // For as long as a failed member would be tried.
    let mut c = lonely(|config| config.reconnect_timeout = Duration::from_secs(100));
    c.run(Duration::from_secs(600));
    assert_eq!(c.lines(0).iter().filter(|l| **l == "Failed to re-join any previously known node").count(), 1);
    assert_eq!((c.next(), c.alive(0)), (None, 1));
}

#[test]
fn the_order_of_calls_is_a_matter_of_luck() {
    let first = |seed| {
        let mut c = Cluster::new(seed);
        let at = c.add_with(recording("a", 1, false));
        c.kill(at);
        for host in 2..=9 {
            c.file(at).extend(format!("alive: n{host} 10.0.0.{host}:7946\n").bytes());
        }
        c.start(at);
        c.run(Duration::from_secs(1));
        let calls: Vec<String> = c
            .lines(at)
            .iter()
            .filter(|l| l.starts_with("Attempting"))
            .take(8)
            .map(|l| (*l).to_owned())
            .collect();
        assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), 8, "each once a round");
        calls[0].clone()
    };
    let firsts: BTreeSet<String> = (0..20).map(first).collect();
    assert!(firsts.len() > 3, "{firsts:?}");
}

#[test]
fn a_file_follows_its_cluster_through_failures_leaves_and_returns() {
    let mut c = joined(5, 4);
    c.kill(1);
    c.until("b failed", |c| c.status(0, "b") == Status::Failed);
    c.leave(2);
    c.until("c left", |c| c.status(0, "c") == Status::Left);
    c.run(Duration::from_secs(1));
    assert_eq!(known(&mut c, 0), ["a", "d"]);
    c.start(1);
    c.until("b is back", |c| c.status(0, "b") == Status::Alive);
    c.run(Duration::from_secs(1));
    assert_eq!(known(&mut c, 0), ["a", "b", "d"]);
    let snapshot = read(&mut c, 0);
    assert_eq!(snapshot.member_clock + 1, c.node(0).vitals().member_time);
    assert_eq!((snapshot.skipped_lines, snapshot.torn), (0, 0));
}

// Each finds somebody at once; but those may be islands.
#[test]
fn nodes_that_start_together_after_an_outage_become_one_cluster() {
    for seed in 0..10 {
        let mut c = joined(seed, 8);
        (0..8).for_each(|at| c.kill(at));
        (0..8).for_each(|at| c.start(at));
        c.until("all are there", |c| (0..8).all(|at| c.alive(at) == 8));
    }
}
