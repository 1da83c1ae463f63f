//! What users say must get through while the membership is in turmoil, and the other way round.

use std::time::Duration;

use serf_core::{Command, Event, Tags};
use serf_gossip::Address;
use serf_wire::serf::{self, Join, MessageKind};
use serf_wire::swim::{self, Accusation, Kind};

use crate::cluster::Cluster;

/// Nodes.
const N: usize = 100;
/// Between two rounds of gossip, in the profile for local networks.
const ROUND: Duration = Duration::from_millis(200);

/// A cluster in which all know each other and nobody has anything to say.
fn calm(seed: u64) -> Cluster {
    let mut c = Cluster::new(seed);
    for i in 0..N {
        let addr = Address::new(&[10, 0, 0, i as u8 + 1], 7946);
        let mut gossip = serf_gossip::Config::lan(format!("node-{i}").as_str().into(), addr);
        // Datagrams are filled before they are compressed; without, this takes half the time.
        gossip.compression = false;
        c.add_with(serf_core::Config::new(gossip));
    }
    for i in 1..N {
        assert_eq!(c.join(i, 0), 1);
    }
    rounds(&mut c, |c| (0..N).all(|at| c.node(at).vitals().members == N && c.is_quiet(at)));
    c
}

/// How many rounds of gossip it takes until something is so.
fn rounds(c: &mut Cluster, so: impl Fn(&Cluster) -> bool) -> usize {
    let is_so = |_: &usize| {
        c.run(ROUND);
        so(c)
    };
    (1..=600).find(is_so).expect("it takes more than two minutes")
}

/// Everybody changes its tags, and is suspected of having failed, which everybody refutes: two hundred changes. And
/// everybody is said to have joined anew.
fn turmoil(c: &mut Cluster) {
    for at in 0..N {
        let tags = Tags::from([("notes".into(), format!("{at:0>150}"))]);
        c.order(at, |id| Command::SetTags { id, tags });
    }
    for at in 0..N {
        let name = format!("node-{at}");
        let incarnation = c.node(at).gossip().local().incarnation;
        let mut suspect = Vec::new();
        swim::put(&mut suspect, Kind::Suspect, |w| {
            Accusation { incarnation, node: name.as_bytes(), from: b"node-0" }.write(w);
        });
        c.inject((at + 1) % N, suspect);
        let mut intent = vec![Kind::User as u8];
        serf::put(&mut intent, MessageKind::Join, |w| Join { ltime: 1000, node: name.as_bytes() }.write(w));
        c.inject((at + 2) % N, intent);
    }
}

/// Somebody fires an event of so many bytes.
fn fire(c: &mut Cluster, name: &str, bytes: usize) {
    let (event, payload) = (name.into(), vec![b'x'; bytes]);
    c.order(N / 2, |id| Command::UserEvent { id, name: event, payload, coalesce: false });
}

/// Whether everybody has heard of an event.
fn is_told(c: &Cluster, name: &str) -> bool {
    let is_it = |e: &Event| matches!(e, Event::User(e) if e.name.as_bytes() == name.as_bytes());
    (0..N).all(|at| c.events(at).iter().any(is_it))
}

/// How many rounds a change of tags needs to reach everybody.
fn rounds_of_tags(c: &mut Cluster, value: &str) -> usize {
    let (name, tags) = (c.name(N / 2), Tags::from([("notes".into(), value.into())]));
    let new = tags.clone();
    c.order(N / 2, |id| Command::SetTags { id, tags: new });
    rounds(c, |c| (0..N).all(|at| c.node(at).member(name.as_bytes()).is_some_and(|m| m.tags() == tags)))
}

#[test]
fn events_get_through_while_the_membership_is_in_turmoil() {
    let mut c = calm(951);
    let quiet = [20, 400].map(|bytes| {
        let name = format!("quiet {bytes}");
        fire(&mut c, &name, bytes);
        let quiet = rounds(&mut c, |c| is_told(c, &name));
        rounds(&mut c, |c| (0..N).all(|at| c.is_quiet(at)));
        quiet
    });
    turmoil(&mut c);
    fire(&mut c, "short", 20);
    fire(&mut c, "long", 400);
    let short = rounds(&mut c, |c| is_told(c, "short"));
    let long = short + if is_told(&c, "long") { 0 } else { rounds(&mut c, |c| is_told(c, "long")) };
    assert!((0..N).any(|at| c.node(at).vitals().gossip_queue > N / 4), "it was one");
    assert!(short <= 2 * quiet[0] && long <= 2 * quiet[1], "{short} and {long} rounds instead of {quiet:?}");
}

#[test]
fn news_of_members_get_through_a_flood_of_events() {
    let mut c = calm(953);
    let quiet = rounds_of_tags(&mut c, "quiet");
    rounds(&mut c, |c| (0..N).all(|at| c.is_quiet(at)));
    for n in 0..200 {
        let payload = vec![n; 400];
        let at = usize::from(n) % N;
        c.order(at, |id| Command::UserEvent { id, name: "flood".into(), payload, coalesce: false });
    }
    let storm = rounds_of_tags(&mut c, "storm");
    assert!((0..N).any(|at| c.node(at).vitals().event_queue > N / 4), "it was one");
    assert!(storm <= 2 * quiet, "{storm} rounds instead of {quiet}");
}
