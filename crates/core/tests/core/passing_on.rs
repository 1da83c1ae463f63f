//! Events and queries of others go through the whole cluster, each once (spec `serf.md` §1.3, §5, §6.3), and reach
//! late comers as full states tell them.

use std::time::Duration;

use serf_core::Event;
use serf_wire::serf::{self, MessageKind, Query, UserEvent};

use crate::cluster::{At, Cluster, draws};

const SECOND: Duration = Duration::from_secs(1);

fn event(ltime: u64, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8];
    let event = UserEvent { ltime, name: name.as_bytes(), payload: Some(payload.into()), coalesce: true };
    serf::put(&mut bytes, MessageKind::UserEvent, |w| event.write(w));
    bytes
}

fn told(c: &Cluster, at: At) -> Vec<(u64, String)> {
    let user = |event: &Event| match event {
        Event::User(event) => Some((event.ltime, event.name.to_string())),
        _ => None,
    };
    c.events(at).iter().filter_map(user).collect()
}

#[test]
fn an_event_is_told_once_by_every_node() {
    let mut c = Cluster::joined(1, 9);
    let mut draws = draws(1);
    for n in 1..=20 {
        c.inject(draws.below(9), event(n, &format!("event-{n}"), b"payload"));
        c.inject(draws.below(9), event(n, &format!("event-{n}"), b"payload"));
    }
    // Gossip misses somebody now and then; full states make up for that.
    c.run(100 * SECOND);
    for i in 0..9 {
        let mut got = told(&c, i);
        got.sort();
        assert_eq!(got, (1..=20).map(|n| (n, format!("event-{n}"))).collect::<Vec<_>>(), "node {i}");
        assert_eq!(c.node(i).vitals().event_queue, 0);
    }
    let flag = |event: &Event| matches!(event, Event::User(event) if event.coalesce);
    assert!(c.events(3).iter().any(flag), "gossip brings the flag along");
}

#[test]
fn a_query_goes_through_every_node_once() {
    let mut c = Cluster::joined(2, 7);
    let query = Query { ltime: 5, id: 77, name: b"load", ..Query::default() };
    let mut bytes = vec![8];
    serf::put(&mut bytes, MessageKind::Query, |w| query.write(w));
    c.inject(3, bytes);
    c.run(5 * SECOND);
    // Gossip misses somebody now and then, and full states tell nothing of queries.
    let heard: Vec<u64> = (0..7).map(|i| c.node(i).stats().queries).collect();
    assert!(heard.iter().all(|times| *times <= 1) && heard.iter().sum::<u64>() >= 6, "{heard:?}");
    for (i, times) in heard.iter().enumerate() {
        let vitals = c.node(i).vitals();
        assert_eq!((vitals.query_time, vitals.query_queue), (1 + 5 * times, 0));
    }
}

#[test]
fn one_that_joins_late_hears_what_happened_and_tells_it_on() {
    let mut c = Cluster::joined(3, 2);
    c.inject(0, event(3, "first", b"1"));
    c.inject(0, event(4, "second", b""));
    c.run(5 * SECOND);
    let late = c.add("late");
    c.join(late, 0);
    assert_eq!(told(&c, late), [(3, "first".into()), (4, "second".into())]);
    let later = c.add("later");
    c.join(later, late);
    assert_eq!(told(&c, later), [(3, "first".into()), (4, "second".into())]);
    c.run(5 * SECOND);
    assert_eq!(told(&c, later).len(), 2);
}

// "ignoreOld join delivers no old events."
#[test]
fn one_that_joins_late_may_ignore_what_happened() {
    let mut c = Cluster::joined(4, 2);
    c.inject(0, event(3, "old", b"1"));
    c.run(5 * SECOND);
    let late = c.add("late");
    let join = c.join_command(0, true);
    c.command(late, join);
    c.run(60 * SECOND);
    assert_eq!(told(&c, late), []);
    c.inject(1, event(4, "new", b"1"));
    c.run(5 * SECOND);
    assert_eq!(told(&c, late), [(4, "new".into())]);
}

// Local work goes before remote work.
#[test]
fn a_flood_does_not_hold_up_a_leave() {
    let mut c = Cluster::joined(5, 3);
    for n in 0..3000 {
        let name = format!("{n:0400}");
        let mut bytes = vec![8];
        let join = serf::Join { ltime: 1, node: name.as_bytes() };
        serf::put(&mut bytes, MessageKind::Join, |w| join.write(w));
        c.inject(0, bytes);
    }
    let began = c.now;
    c.leave(0);
    assert!(c.now.since(began) < 2 * SECOND, "{:?}", c.now.since(began));
    assert!(c.node(0).vitals().intent_queue > 1000);
}

#[test]
fn long_queues_are_warned_of_and_cut() {
    let mut c = Cluster::joined(6, 2);
    // Nobody is there to take them.
    c.cut(0, 1);
    c.until("it is alone", |c| c.node(0).vitals().failed == 1);
    c.kill(1);
    for n in 0..5000 {
        c.inject(0, event(n, "flood", &[7; 1000]));
    }
    assert!(c.node(0).vitals().event_queue > 4096);
    c.run(31 * SECOND);
    assert!(c.node(0).vitals().event_queue <= 4096);
    assert!(c.lines(0).iter().any(|line| line.starts_with("Event queue depth: ")));
    assert!(c.node(0).stats().shed_broadcasts > 0);
}
