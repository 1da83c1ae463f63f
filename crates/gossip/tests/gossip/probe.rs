//! Failure detection: who is asked, in what order, and what is made of the answers (checklist PR, PK1–PK5).

use std::time::Duration;

use serf_gossip::{
    Address, Command, Config, Event, Failure, Name, Outcome, Peer, State, StreamAction, StreamEvent, Topic,
};

use crate::net::address;
use crate::rig::{
    Life, Reply, Rig, Said, Told, ack, compound, indirect_ping, nack, ping, push_pull, read_stream,
    rig_config, stranger, suspect,
};

const TICK: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config { push_pull_interval: Duration::ZERO, ..rig_config() }
}

impl Rig {
    /// Goes to the next ping of a probe: its number and whom it is for.
    pub(crate) fn next_probe(&mut self) -> (u32, String) {
        self.sent.clear();
        for _ in 0..10_000 {
            let ping = self.sent.iter().find_map(|(_, said)| match &said[0] {
                Said::Ping { seq, node, .. } => Some((*seq, node.clone())),
                _ => None,
            });
            if let Some(ping) = ping {
                return ping;
            }
            let due = self.due().expect("probing goes on");
            self.pass(due.since(self.now));
        }
        panic!("no probe");
    }

    fn asked(&self, want: impl Fn(&Said) -> bool) -> Vec<(Address, Said)> {
        let all = self.sent.iter().flat_map(|(to, said)| said.iter().map(move |s| (to.clone(), s.clone())));
        all.filter(|(_, s)| want(s)).collect()
    }

    fn relays(&self) -> Vec<(Address, Said)> {
        self.asked(|s| matches!(s, Said::IndirectPing { .. }))
    }
}

/// PR1, PR5, PR14, PR15, PR18
#[test]
fn a_direct_answer_keeps_a_member_and_tells_the_round_trip() {
    let mut rig = Rig::among(2, config());
    rig.hear(&suspect("me", 1, "x"));
    rig.quiet();
    assert_eq!(rig.gossip.health(), 1);
    let (seq, node) = rig.next_probe();
    assert_eq!(node, "n2");
    let Said::Ping { ref source, .. } = rig.sent.last().unwrap().1[0] else { panic!() };
    let Address { host, port } = address(1);
    assert_eq!(source.as_ref(), Some(&(host.as_bytes().to_vec(), port, "me".into())));
    rig.millis(30);
    rig.hear_from(&address(2), &ack(seq, Some(b"where")));
    assert_eq!((rig.state("n2"), rig.gossip.health()), (State::Alive, 0));
    let pong = Told::Pong("n2".into(), Duration::from_millis(30), b"where".to_vec());
    assert_eq!(rig.above.told(), std::slice::from_ref(&pong));
    let stats = rig.gossip.stats();
    assert_eq!((stats.probes, stats.probe_time), (1, Duration::from_millis(30)));
    // Answered once, it is answered.
    rig.hear_from(&address(2), &ack(seq, Some(b"where")));
    rig.hear_from(&address(2), &ack(seq.wrapping_add(5), None));
    assert_eq!((rig.above.told(), rig.gossip.health()), (vec![], 0));
    rig.millis(5000);
    assert_eq!(rig.notices(Topic::Limit), Vec::<String>::new());
}

/// Serf's coordinates live on these, whatever the intervals are.
#[test]
fn an_answer_in_time_tells_the_round_trip_even_where_others_are_never_asked() {
    let config = Config { probe_timeout: Duration::from_secs(3), ..config() };
    let mut rig = Rig::among(2, config);
    let (seq, _) = rig.next_probe();
    rig.millis(700);
    rig.hear(&ack(seq, None));
    assert_eq!(rig.above.told(), [Told::Pong("n2".into(), Duration::from_millis(700), vec![])]);
}

/// After a stop the driver reads what waits before it looks at deadlines: then an ack of long ago is read as if it had
/// just come, and its round trip is no measure of anything.
#[test]
fn an_answer_read_after_its_time_keeps_the_member_but_tells_no_round_trip() {
    let mut rig = Rig::among(2, config());
    let (seq, _) = rig.next_probe();
    rig.now += Duration::from_secs(40);
    rig.hear(&ack(seq, None));
    assert_eq!((rig.above.told(), rig.state("n2")), (vec![], State::Alive));
    rig.millis(100);
    assert_eq!(rig.state("n2"), State::Alive);
}

/// PR2
#[test]
fn a_silent_member_is_asked_for_through_others_and_then_suspected() {
    let mut rig = Rig::among(6, config());
    let (seq, node) = rig.next_probe();
    let target = rig.member(&node).addr.clone();
    rig.millis(499);
    assert_eq!(rig.relays(), []);
    rig.millis(1);
    let relays = rig.relays();
    assert_eq!(relays.len(), 3);
    for (to, said) in &relays {
        assert!(*to != target && *to != address(1));
        let want = Said::IndirectPing {
            seq,
            node: node.clone(),
            target: target.host.as_bytes().to_vec(),
            port: target.port,
            nack: true,
        };
        assert_eq!(said, &want);
    }
    rig.millis(499);
    assert_eq!(rig.state(&node), State::Alive);
    rig.millis(1);
    assert_eq!((rig.state(&node), rig.member(&node).incarnation), (State::Suspect, 1));
    let from_me = |s: &Said| matches!(s, Said::Suspect { from, .. } if from == "me");
    assert!(rig.queued().iter().any(from_me));
    let stats = rig.gossip.stats();
    assert_eq!((stats.failed_probes, stats.probes, stats.probe_time), (1, 1, Duration::from_secs(1)));
}

/// Whoever may be dead itself is no witness.
#[test]
fn only_living_members_are_asked_to_relay() {
    let mut rig = Rig::among(6, config());
    let (_, node) = rig.next_probe();
    let others: Vec<String> = (2..7).map(|i| format!("n{i}")).filter(|n| *n != node).collect();
    rig.hear(&suspect(&others[0], 1, "x"));
    rig.hear(&crate::rig::dead(&others[1], 1, "x"));
    rig.forget();
    rig.millis(500);
    let mut asked: Vec<Address> = rig.relays().into_iter().map(|(to, _)| to).collect();
    asked.sort();
    let want: Vec<Address> = others[2..].iter().map(|n| rig.member(n).addr.clone()).take(3).collect();
    assert_eq!(asked, want);
}

/// PR3
#[test]
fn a_suspect_is_told_so_with_the_ping() {
    let mut rig = Rig::among(2, config());
    rig.hear(&suspect("n2", 1, "x"));
    rig.quiet();
    rig.next_probe();
    let (to, said) = rig.sent.last().unwrap();
    assert_eq!(to, &address(2));
    assert!(matches!(&said[0], Said::Ping { node, .. } if node == "n2"));
    assert_eq!(said[1..], [Said::Suspect { inc: 1, node: "n2".into(), from: "me".into() }]);
    let datagram = rig.raw.last().unwrap().bytes.clone();
    assert_eq!(datagram[0], 12, "with a checksum, its record being at hand");
    // On the other side.
    let mut config = config();
    (config.name, config.advertise) = ("n2".into(), address(2));
    let mut other = Rig::with(config);
    other.quiet();
    other.hear_from(&address(1), &datagram);
    let (_, answer) = other.sent.last().unwrap();
    assert!(matches!(&answer[0], Said::Ack { .. }));
    assert_eq!(other.gossip.queued(), 1);
    assert!(matches!(&other.queued()[..], [Said::Alive { inc: 2, node, .. }] if node == "n2"));
}

/// PR4, PR6
#[test]
fn our_health_suffers_by_the_nacks_that_are_missing() {
    for (nacks, worse) in [(3, 0), (2, 1), (1, 2), (0, 3)] {
        let mut rig = Rig::among(6, config());
        let (seq, _) = rig.next_probe();
        rig.millis(500);
        let relays = rig.relays();
        for (relay, _) in &relays[..nacks] {
            rig.hear_from(relay, &nack(seq));
            rig.hear_from(relay, &nack(seq));
        }
        rig.millis(500);
        assert_eq!(rig.gossip.health(), worse, "{nacks} nacks");
    }
}

/// PR4: each point of bad health makes a probe last one interval longer.
#[test]
fn bad_health_makes_probes_patient() {
    let mut rig = Rig::among(3, config());
    rig.hear(&suspect("me", 1, "x"));
    assert_eq!(rig.gossip.health(), 1);
    rig.quiet();
    let (_, node) = rig.next_probe();
    rig.millis(500);
    assert_eq!(rig.relays().len(), 1, "the direct time is not stretched");
    rig.millis(1499);
    assert_eq!(rig.state(&node), State::Alive);
    rig.millis(1);
    assert_eq!(rig.state(&node), State::Suspect);
    assert!(rig.gossip.stats().degraded_probes >= 1);
}

/// PR7
#[test]
fn without_relays_that_send_nacks_a_failure_costs_one_point() {
    let mut rig = Rig::with(config());
    for i in 2..6 {
        rig.hear(&Life::of(i, 1).versions(&[1, 3, 2, 0, 0, 0]).message());
    }
    rig.quiet();
    rig.next_probe();
    rig.millis(500);
    assert!(matches!(rig.relays()[0].1, Said::IndirectPing { nack: false, .. }));
    rig.millis(500);
    assert_eq!(rig.gossip.health(), 1);
}

/// PR16: a nack ends nothing.
#[test]
fn an_answer_after_a_nack_counts() {
    let mut rig = Rig::among(6, config());
    let (seq, node) = rig.next_probe();
    rig.millis(500);
    let relay = rig.relays()[0].0.clone();
    rig.hear_from(&relay, &nack(seq));
    rig.hear_from(&relay, &ack(seq, None));
    rig.millis(600);
    assert_eq!((rig.state(&node), rig.gossip.health()), (State::Alive, 0));
    assert_eq!(rig.above.told(), [], "no round trip is told of a relayed answer");
}

/// The accusation comes before the next probe, which therefore tells the suspect so, even when we are behind.
#[test]
fn a_late_probe_does_not_overtake_the_suspicion_of_the_one_before() {
    let mut followed = 0;
    for warm_up in 0..10 {
        let mut rig = Rig::among(2, config());
        for _ in 0..warm_up {
            let (seq, _) = rig.next_probe();
            rig.hear(&ack(seq, None));
        }
        rig.forget();
        // A tick is served late, so that the next one finds its probe still under way.
        while !rig.sent.iter().any(|(_, said)| matches!(said[0], Said::Ping { .. })) {
            rig.jump(TICK * 13 / 10);
        }
        rig.forget();
        rig.pass(TICK);
        for (_, said) in rig.sent.iter().filter(|(_, said)| matches!(said[0], Said::Ping { .. })) {
            followed += 1;
            assert!(matches!(said[1..], [Said::Suspect { .. }]), "{said:?}");
        }
    }
    assert!(followed > 0);
}

/// PR8
#[test]
fn a_member_that_answers_on_a_stream_is_alive() {
    let mut rig = Rig::among(2, config());
    rig.hear(&suspect("me", 1, "x"));
    rig.quiet();
    let (seq, _) = rig.next_probe();
    rig.forget();
    rig.millis(500);
    let [(id, to)] = &rig.dialled()[..] else { panic!("no stream") };
    let (id, to) = (*id, to.clone());
    assert_eq!(to, address(2));
    rig.stream(id, StreamEvent::Connected);
    let asked = rig.written(id).unwrap();
    let Reply::Ping(said) = read_stream(&asked, b"", &[], true) else { panic!("no ping") };
    let source = (address(1).host.as_bytes().to_vec(), 7946, "me".to_string());
    assert_eq!(said, Said::Ping { seq, node: "n2".into(), source: Some(source) }, "the same ping");
    rig.stream(id, StreamEvent::Written);
    rig.stream(id, StreamEvent::Data(&ack(seq, None)));
    assert!(rig.is_over(id));
    // Stretched by our bad health: 2 s in all, then healthier.
    rig.millis(1500);
    assert_eq!((rig.state("n2"), rig.gossip.health()), (State::Alive, 0));
    assert!(rig.notices(Topic::Probe)[0].contains("UDP probes failed"));
    assert_eq!(rig.above.told(), []);
}

/// ST2, ST3, ST4: none of these is an answer, and none is worse than silence.
#[test]
fn other_answers_on_a_stream_are_none() {
    let reply = |seq: u32, kind: usize| match kind {
        0 => ack(seq + 1, None),
        1 => push_pull(false, &[], b""),
        2 => vec![99],
        _ => vec![],
    };
    for kind in 0..5 {
        let mut rig = Rig::among(2, config());
        let (seq, _) = rig.next_probe();
        rig.forget();
        rig.millis(500);
        let (id, _) = rig.dialled()[0];
        if kind == 4 {
            rig.stream(id, StreamEvent::Failed("refused".into()));
        } else {
            rig.stream(id, StreamEvent::Connected);
            rig.stream(id, StreamEvent::Data(&reply(seq, kind)));
            rig.stream(id, StreamEvent::Ended);
            assert!(rig.is_over(id));
        }
        assert_eq!(rig.state("n2"), State::Alive, "until the deadline");
        rig.millis(500);
        assert_eq!(rig.state("n2"), State::Suspect, "{kind}");
        assert_eq!(rig.gossip.stats().slow_streams, 0);
    }
}

/// ST4: whoever does not even accept costs no more than the probe's time.
#[test]
fn a_stream_that_hangs_ends_with_its_probe() {
    let mut rig = Rig::among(2, config());
    rig.next_probe();
    rig.forget();
    rig.millis(500);
    let (id, _) = rig.dialled()[0];
    rig.millis(500);
    assert!(rig.is_over(id));
    assert_eq!(rig.actions.last(), Some(&(id, StreamAction::Abort)));
    assert_eq!(rig.state("n2"), State::Suspect);
}

/// PR9, PR10
#[test]
fn the_stream_ping_can_be_switched_off_and_old_peers_are_spared_it() {
    let off = Config { disable_stream_pings: true, ..config() };
    let exempt = Config { stream_ping_exempt: vec!["n2".into()], ..config() };
    for (config, versions) in
        [(off, [1, 5, 2, 0, 0, 0]), (exempt, [1, 5, 2, 0, 0, 0]), (config(), [1, 2, 2, 0, 0, 0])]
    {
        let mut rig = Rig::with(config);
        rig.hear(&Life::of(2, 1).versions(&versions).message());
        rig.quiet();
        rig.next_probe();
        rig.millis(1000);
        assert_eq!(rig.dialled(), []);
        assert_eq!(rig.state("n2"), State::Suspect);
    }
}

/// PR11
#[test]
fn a_ping_on_request_tells_the_round_trip_or_that_there_was_none() {
    let mut rig = Rig::among(2, config());
    let peer = rig.peer(2);
    let id = rig.command(|id| Command::Ping { id, peer });
    let Said::Ping { seq, .. } = rig.sent[0].1[0] else { panic!() };
    rig.millis(7);
    rig.hear(&ack(seq, None));
    assert_eq!(rig.outcome(id), Some(Outcome::Pong(Duration::from_millis(7))));
    assert_eq!(rig.above.told(), [], "no delegate hears of it");
    let peer = Peer { addr: address(2), name: Some("wrong".into()) };
    let id = rig.command(|id| Command::Ping { id, peer });
    rig.millis(499);
    assert_eq!(rig.outcome(id), None);
    rig.millis(1);
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::NoResponse)));
    assert_eq!(rig.gossip.health(), 0);
}

/// PR12, PR1 (ours do not begin with 1: H9)
#[test]
fn numbers_of_pings_follow_each_other_from_an_unknown_beginning() {
    let mut rig = Rig::among(2, config());
    let (first, _) = rig.next_probe();
    rig.hear(&ack(first, None));
    let (second, _) = rig.next_probe();
    assert_eq!(second, first.wrapping_add(1));
    assert!(first > 1000);
}

/// PR13
#[test]
fn what_nobody_answered_is_forgotten() {
    let mut rig = Rig::with(Config { probe_interval: Duration::ZERO, ..config() });
    let (asker, target) = (stranger(), address(5));
    for seq in 0..50 {
        rig.hear(&indirect_ping(seq, (&target, "n5"), Some((&asker, "asker")), seq % 2 == 0));
    }
    assert!(rig.due().is_some());
    rig.forget();
    rig.millis(500);
    assert_eq!(rig.sent.len(), 25, "a nack for each that was wanted");
    assert_eq!(rig.due(), None, "nothing is waited for any more");
}

/// PK1, PK2, PK3
#[test]
fn pings_are_answered_each_if_they_are_for_us() {
    let mut rig = Rig::new();
    rig.quiet();
    let pings: Vec<_> = (1..4).map(|seq| ping(seq, if seq == 2 { "" } else { "me" }, None)).collect();
    rig.hear(&compound(&pings));
    let said: Vec<_> = rig.sent.iter().map(|(to, said)| (to.clone(), said.clone())).collect();
    let want: Vec<_> = (1..4).rev().map(|seq| (stranger(), vec![Said::Ack { seq, payload: None }])).collect();
    assert_eq!(said, want);
    rig.forget();
    rig.hear(&ping(9, "you", None));
    assert!(rig.sent.is_empty());
    assert!(rig.notices(Topic::BadPacket)[0].contains("unexpected node 'you'"));
}

/// The answer carries what the layer above wants it to, and goes to whom the ping names, known or not.
#[test]
fn an_answer_goes_to_the_source_named_and_carries_the_payload() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.above.layer().payload = Some(b"here".to_vec());
    let named = Address::new(&[10, 7, 7, 7], 99);
    rig.hear(&ping(1, "me", Some((&named, "x"))));
    let payload = Some(b"here".to_vec());
    assert_eq!(rig.sent, [(named, vec![Said::Ack { seq: 1, payload }])]);
    rig.forget();
    rig.hear(&ping(2, "me", Some((&Address::new(&[1, 2, 3], 99), "x"))));
    assert!(rig.sent.is_empty(), "nobody lives at three bytes");
    // Half an address is none: the answer goes back.
    rig.hear(&ping(3, "me", Some((&Address::new(&[10, 7, 7, 7], 0), "x"))));
    rig.hear(&ping(4, "me", Some((&Address::new(&[], 99), "x"))));
    assert!(rig.sent.len() == 2 && rig.sent.iter().all(|(to, _)| *to == stranger()));
}

/// PK4
#[test]
fn an_indirect_ping_is_passed_on_and_its_answer_too() {
    let mut rig = Rig::new();
    rig.quiet();
    let (asker, target) = (Address::new(&[10, 0, 0, 8], 800), Address::new(&[10, 0, 0, 9], 900));
    rig.hear_from(&asker, &indirect_ping(77, (&target, "them"), None, true));
    let (to, said) = rig.sent[0].clone();
    assert_eq!(to, target);
    let [Said::Ping { seq, ref node, source: Some((_, _, ref source)) }] = said[..] else {
        panic!("{said:?}")
    };
    assert_eq!((node.as_str(), source.as_str()), ("them", "me"));
    assert_ne!(seq, 77, "a number of our own");
    rig.forget();
    rig.hear_from(&target, &ack(seq, Some(b"not passed on")));
    assert_eq!(rig.sent, [(asker.clone(), vec![Said::Ack { seq: 77, payload: None }])]);
    rig.forget();
    rig.millis(1000);
    assert!(rig.sent.is_empty(), "no nack after an ack");
    // Port 0 is our own.
    rig.hear_from(&asker, &indirect_ping(78, (&Address::new(&[10, 0, 0, 9], 0), "them"), None, false));
    assert_eq!(rig.sent[0].0.port, 7946);
    rig.forget();
    rig.millis(1000);
    assert!(rig.sent.is_empty(), "no nack was wanted");
}

/// PK5
#[test]
fn an_answer_takes_news_along_after_itself() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.hear(&Life::of(2, 1).message());
    rig.hear_from(&address(9), &ping(42, "", None));
    let said = &rig.sent.last().unwrap().1;
    assert!(matches!(said[..], [Said::Ack { seq: 42, .. }, Said::Alive { .. }]), "{said:?}");
}

/// Nodes join one by one, so the order in which they are probed must not be the order of their coming, and every one
/// has its turn in each round.
#[test]
fn everybody_is_probed_once_in_each_round() {
    let mut rig = Rig::among(12, config());
    let mut rounds = Vec::new();
    // The first round may have begun while they came.
    for _ in 0..11 {
        let (seq, _) = rig.next_probe();
        rig.hear(&ack(seq, None));
    }
    for _ in 0..2 {
        let mut round = Vec::new();
        for _ in 0..11 {
            let (seq, node) = rig.next_probe();
            rig.hear(&ack(seq, None));
            round.push(node);
        }
        rounds.push(round);
    }
    assert_ne!(rounds[0], rounds[1], "another order each time");
    for round in &mut rounds {
        round.sort();
        round.dedup();
        assert_eq!(round.len(), 11);
    }
}

/// The ping of a member that goes away while it is probed hurts nobody.
#[test]
fn a_probe_outlives_what_happens_to_its_target() {
    let mut rig = Rig::among(3, config());
    let (seq, node) = rig.next_probe();
    rig.hear(&crate::rig::dead(&node, 1, &node));
    rig.millis(1000);
    assert_eq!(rig.state(&node), State::Left, "not suspected");
    rig.hear(&ack(seq, None));
    // It is forgotten in time, and the slot is given to another.
    let mut config = config();
    config.gossip_to_the_dead = Duration::ZERO;
    let mut rig = Rig::among(2, config);
    for i in 2..40 {
        rig.next_probe();
        rig.hear(&crate::rig::dead(&format!("n{i}"), 1, "x"));
        rig.millis(400);
        rig.hear(&Life::of(i + 1, 1).message());
        rig.millis(900);
    }
    assert!(rig.gossip.members().known() < 5);
}

/// A sender of unknown name is answered, a node without one is not sent to, where names are required.
#[test]
fn names_can_be_required() {
    let mut rig = Rig::with(Config { require_node_names: true, ..config() });
    let nameless = || Peer { addr: address(2), name: None };
    let id = rig.command(|id| Command::Ping { id, peer: nameless() });
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::NameRequired)));
    let id = rig.command(|id| Command::SendReliable { id, to: nameless(), bytes: b"x".to_vec() });
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::NameRequired)));
    rig.command(|_| Command::Send { to: nameless(), bytes: b"x".to_vec() });
    let id = rig.command(|id| Command::Join { id, peers: vec![nameless(); 100_000] });
    let Some(Outcome::Joined { contacted, failed }) = rig.outcome(id) else { panic!() };
    assert_eq!((contacted.len(), failed.len()), (0, 100_000));
    assert!(rig.sent.is_empty() && rig.actions.is_empty());
    rig.hear(&ping(3, "me", Some((&stranger(), "somebody"))));
    assert_eq!(rig.raw.last().unwrap().node, Some(Name::from("somebody")));
    rig.forget();
    rig.hear(&ping(3, "me", None));
    assert!(rig.sent.is_empty());
    assert!(rig.events.iter().all(|e| !matches!(e, Event::Done { .. })));
}
