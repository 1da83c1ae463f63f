//! Datagrams: their layers, what fits into them, and to whom they go (checklist LB10, KR8, KR14, PK, CL1, CL2, CL16).

use std::time::Duration;

use serf_gossip::{Address, Command, Config, KeyChange, State, StreamEvent, Topic};
use serf_wire::encrypt::Key;

use crate::net::address;
use crate::rig::{
    Life, Rig, Said, Told, compound, dead, ping, push_pull, rig_config, seal, stranger, suspect, user,
};

fn config() -> Config {
    Config { push_pull_interval: Duration::ZERO, probe_interval: Duration::ZERO, ..rig_config() }
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

fn answers(rig: &mut Rig, packet: &[u8]) -> bool {
    rig.forget();
    rig.hear(packet);
    !rig.sent.is_empty()
}

/// LB10
#[test]
fn only_packets_with_our_label_are_read() {
    let ping = ping(1, "me", None);
    for k in [None, Some(key(1))] {
        let keys: Vec<Key> = k.iter().cloned().collect();
        let mut with = Rig::with(Config { label: b"blue".to_vec(), keys: keys.clone(), ..config() });
        let mut without = Rig::with(Config { keys, ..config() });
        let packet = |label: &[u8]| seal(&ping, label, k.as_ref(), false, false);
        assert!(answers(&mut with, &packet(b"blue")));
        assert_eq!(with.raw[0].bytes[..6], [0xf4, 4, b'b', b'l', b'u', b'e']);
        for label in [&b""[..], b"green", b"blu", b"blue2"] {
            assert!(!answers(&mut with, &packet(label)), "{label:?}");
        }
        assert!(answers(&mut without, &packet(b"")));
        assert!(!answers(&mut without, &packet(b"blue")));
        assert_eq!((with.gossip.stats().bad_packets, without.gossip.stats().bad_packets), (4, 1));
    }
    // An outer layer has taken it off: then another one is wrong, but ours still authenticates.
    let config =
        Config { label: b"blue".to_vec(), skip_inbound_label_check: true, keys: vec![key(1)], ..config() };
    let mut rig = Rig::with(config);
    let whole = seal(&ping, b"blue", Some(&key(1)), false, false);
    assert!(!answers(&mut rig, &whole));
    assert!(answers(&mut rig, &whole[6..]));
    assert!(!answers(&mut rig, &seal(&ping, b"", Some(&key(1)), false, false)));
}

/// KR8
#[test]
fn any_key_of_the_ring_opens_a_packet_until_it_is_removed() {
    let mut rig = Rig::with(Config { keys: vec![key(1), key(2)], ..config() });
    let packet = |k| seal(&ping(1, "", None), b"", Some(&key(k)), false, false);
    assert!(answers(&mut rig, &packet(1)) && answers(&mut rig, &packet(2)) && !answers(&mut rig, &packet(3)));
    rig.command(|id| Command::Keyring { id, change: KeyChange::Use(key(2)) });
    rig.command(|id| Command::Keyring { id, change: KeyChange::Remove(key(1)) });
    assert!(!answers(&mut rig, &packet(1)) && answers(&mut rig, &packet(2)));
    assert!(!answers(&mut rig, &ping(1, "", None)), "nor plainly");
}

/// The steps between no encryption and encryption (KR14 has the whole story).
#[test]
fn plain_packets_are_read_while_they_may_be() {
    let plain = ping(1, "", None);
    let sealed = seal(&plain, b"", Some(&key(1)), false, false);
    for (verify_incoming, verify_outgoing) in [(false, false), (false, true), (true, true)] {
        let keys = vec![key(1)];
        let mut rig = Rig::with(Config { keys, verify_incoming, verify_outgoing, ..config() });
        rig.quiet_sealed(verify_incoming.then(|| key(1)));
        assert_eq!(answers(&mut rig, &plain), !verify_incoming);
        assert!(answers(&mut rig, &sealed));
        assert_eq!(rig.raw[0].bytes[0] == 1, verify_outgoing, "1 is the version of the seal, 2 an ack");
        assert_eq!(rig.gossip.stats().plaintext > 0, !verify_incoming);
    }
}

impl Rig {
    fn quiet_sealed(&mut self, key: Option<Key>) {
        while self.gossip.queued() > 0 {
            self.hear(&seal(&ping(1, "", None), b"", key.as_ref(), false, false));
        }
        self.forget();
    }
}

/// PK9, PK10, PK11, PK14, PK15: what is wrong is dropped, as little as possible of it, and said.
#[test]
fn broken_packets_are_dropped_and_said() {
    let mut rig = Rig::new();
    rig.quiet();
    let mut bad_sum = seal(&ping(1, "", None), b"", None, false, true);
    *bad_sum.last_mut().unwrap() ^= 1;
    for (packet, what) in [
        (bad_sum, "checksum"),
        (vec![], "empty message"),
        (compound(&[vec![]]), "empty message"),
        (vec![7, 0x80], "truncated"),
        (vec![7], "compound"),
        (vec![250], "unknown message type 250"),
        (vec![6, 0x80], "wrong place"),
        (vec![4, 0x81], "ends inside"),
    ] {
        assert!(!answers(&mut rig, &packet));
        let notices = rig.notices(Topic::BadPacket);
        assert!(notices.len() == 1 && notices[0].contains(what), "{packet:?}: {notices:?}");
        assert!(notices[0].contains("from=10.9.9.9:4000"));
    }
    let stats = rig.gossip.stats();
    assert_eq!((stats.bad_packets, stats.bad_messages), (1, 7));
    // The parts before the broken one count.
    let mut packet = compound(&[ping(1, "", None), ping(2, "", None), ping(3, "", None)]);
    packet.pop();
    rig.forget();
    rig.hear(&packet);
    assert_eq!(rig.sent.len(), 2);
}

/// A flood of garbage is counted whole and told of a little.
#[test]
fn a_flood_of_garbage_is_told_of_a_little() {
    let mut rig = Rig::new();
    rig.quiet();
    (0..1000).for_each(|_| rig.hear(b"\xff"));
    assert_eq!((rig.events.len(), rig.gossip.stats().bad_messages), (10, 1000));
    assert_eq!(rig.gossip.stats().notices_suppressed, 990);
}

/// Every wrapping of a ping is understood (§1.2).
#[test]
fn layers_may_be_wrapped_around_each_other() {
    let plain = ping(1, "me", None);
    let zip = |m: &[u8]| seal(m, b"", None, true, false);
    let long: Vec<Vec<u8>> = (0..20).map(|i| ping(i, "me", None)).collect();
    let mut rig = Rig::new();
    for (packet, count) in [
        (seal(&plain, b"", None, false, true), 1),
        (zip(&compound(&long)), 20),
        (compound(&[compound(&[compound(std::slice::from_ref(&plain))])]), 1),
        (compound(&[zip(&compound(&long)), plain.clone()]), 21),
        (seal(&compound(&long), b"", None, true, true), 20),
    ] {
        rig.forget();
        rig.hear(&packet);
        assert_eq!(rig.sent.len(), count);
    }
}

/// CL1
#[test]
fn news_are_gossiped_until_told_often_enough_and_then_there_is_silence() {
    let mut rig = Rig::among(3, Config { gossip_nodes: 1, ..config() });
    rig.hear(&Life::of(9, 3).meta(b"m").message());
    let began = rig.now;
    rig.pass(Duration::from_secs(5));
    let told: Vec<_> = rig.sent.iter().map(|(to, said)| (to, said.len())).collect();
    assert_eq!(told.len(), 4, "retransmit_mult times one digit");
    assert!(told.iter().all(|(to, n)| **to != address(1) && *n == 1));
    assert_eq!(rig.wakes, 4, "one round each, and none in vain");
    assert!(rig.due().is_none() && rig.now.since(began) == Duration::from_secs(5));
    assert_eq!(rig.raw[0].bytes[0], 12, "with a checksum for those who know it");
}

/// CL2, and who else hears gossip.
#[test]
fn the_lately_dead_hear_gossip_and_the_long_dead_and_the_left_do_not() {
    let config = || Config { gossip_to_the_dead: Duration::from_secs(30), gossip_nodes: 9, ..config() };
    let told = |prepare: &dyn Fn(&mut Rig)| {
        let mut rig = Rig::among(3, config());
        prepare(&mut rig);
        rig.quiet();
        rig.hear(&Life::of(3, 50).message());
        rig.hear(&Life::of(3, 51).message());
        rig.millis(200);
        let mut to: Vec<u8> = rig.sent.iter().map(|(to, _)| to.host.as_bytes()[3]).collect();
        to.sort();
        to
    };
    assert_eq!(told(&|_| {}), [2, 3]);
    assert_eq!(told(&|rig| rig.hear(&suspect("n2", 1, "x"))), [2, 3]);
    assert_eq!(told(&|rig| rig.hear(&dead("n2", 1, "x"))), [2, 3]);
    assert_eq!(told(&|rig| rig.hear(&dead("n2", 1, "n2"))), [3], "one that left wants no news");
    let long_dead = |rig: &mut Rig| {
        rig.hear(&dead("n2", 1, "x"));
        rig.pass(Duration::from_secs(31));
    };
    assert_eq!(told(&long_dead), [3]);
}

/// To whom news went in the end, and that nothing of them waits.
fn told_to(rig: &mut Rig) -> Vec<u8> {
    rig.sent.clear();
    rig.pass(Duration::from_secs(5));
    assert_eq!(rig.gossip.queued(), 0);
    let mut to: Vec<u8> = rig.sent.iter().map(|(to, _)| to.host.as_bytes()[3]).collect();
    to.sort();
    to
}

#[test]
fn news_is_not_sent_back_to_whom_it_came_from() {
    let config = || Config { gossip_nodes: 9, ..config() };
    for seed in 0..20 {
        let among = |n| Rig::among(n, Config { retransmit_mult: 2 + seed % 2, ..config() });
        let times = 2 + seed as usize % 2;
        let mut rig = among(4);
        rig.hear_from(&address(2), &Life::of(2, 2).message());
        let to = told_to(&mut rig);
        assert!(to.len() == times && [3, 4].iter().all(|other| to.contains(other)), "{to:?}");
        // From somebody of whom it is not known who it is.
        rig.hear(&Life::of(2, 3).message());
        assert_eq!(told_to(&mut rig).len(), times);
        // What we say ourselves.
        rig.hear_from(&address(2), &suspect("me", 9, "n2"));
        assert_eq!(told_to(&mut rig).len(), times);
        // Nobody else is there: it need not be told, and does not wait.
        let mut rig = among(2);
        rig.hear_from(&address(2), &Life::of(2, 2).message());
        assert!(told_to(&mut rig).is_empty());
        // Nobody else who lives.
        let mut rig = among(3);
        rig.hear(&dead("n3", 1, "x"));
        rig.quiet();
        rig.hear_from(&address(2), &Life::of(2, 2).message());
        assert!(!told_to(&mut rig).contains(&2));
    }
}

/// The sender of a datagram is easily forged: who is accused must hear of it to refute it, even if he seems to have told us.
#[test]
fn an_accusation_is_told_to_the_accused_whoever_told_it() {
    let config = Config { gossip_nodes: 9, gossip_to_the_dead: Duration::from_secs(30), ..config() };
    for accusation in [suspect("n2", 1, "n3"), dead("n2", 1, "n3")] {
        let mut rig = Rig::among(4, Config { probe_interval: Duration::from_secs(3600), ..config.clone() });
        rig.hear_from(&address(2), &accusation);
        rig.sent.clear();
        rig.pass(Duration::from_secs(5));
        assert!(rig.sent.iter().any(|(to, _)| to.host.as_bytes()[3] == 2));
    }
}

#[test]
fn what_a_peer_told_on_a_stream_that_we_dialled_is_not_sent_back() {
    let mut rig = Rig::among(3, Config { gossip_nodes: 9, ..config() });
    let peers = vec![rig.peer(2)];
    rig.command(|id| Command::Join { id, peers });
    let (stream, _) = rig.dialled()[0];
    rig.stream(stream, StreamEvent::Connected);
    rig.stream(stream, StreamEvent::Data(&push_pull(true, &[Life::of(4, 1)], b"")));
    assert!(rig.knows("n4"));
    let to = told_to(&mut rig);
    assert!(to.len() == 4 && !to.contains(&2), "{to:?}");
}

#[test]
fn what_only_the_dead_were_told_does_not_count() {
    let mut rig = Rig::among(3, Config { gossip_nodes: 9, ..config() });
    rig.hear(&dead("n3", 1, "x"));
    rig.quiet();
    rig.hear(&Life::of(2, 2).message());
    let to = told_to(&mut rig);
    let to_2 = to.iter().filter(|to| **to == 2).count();
    assert!(to_2 == 4 && to.len() >= 7, "{to:?}");
    // With nobody else it does, or it would never end.
    rig.hear(&dead("n2", 2, "n2"));
    assert_eq!(told_to(&mut rig), [3, 3, 3, 3]);
}

/// With only the gone around there is nobody to tell, and no reason to wake.
#[test]
fn nobody_is_woken_for_news_that_nobody_hears() {
    let mut rig = Rig::among(2, config());
    rig.hear(&dead("n2", 1, "n2"));
    assert!(rig.gossip.queued() > 0);
    assert_eq!(rig.due(), None);
    rig.hear(&Life::of(3, 1).message());
    assert!(rig.due().is_some());
}

/// Nodes that come and go while nobody is there to hear of it leave nothing behind.
#[test]
fn news_of_the_forgotten_are_forgotten() {
    let mut rig = Rig::with(Config { probe_interval: Duration::from_secs(1), ..config() });
    rig.quiet();
    for i in 2..200 {
        rig.hear(&Life::of(i, 1).message());
        rig.hear(&dead(&format!("n{i}"), 1, &format!("n{i}")));
        rig.millis(1000);
        assert!(rig.gossip.queued() <= rig.gossip.members().known());
    }
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.gossip.members().known(), rig.gossip.queued(), rig.due()), (1, 0, None));
}

/// News that a direct message took along need no round of their own.
#[test]
fn a_round_without_news_is_called_off() {
    let mut rig = Rig::among(2, config());
    rig.hear(&Life::of(3, 1).message());
    assert!(rig.due().is_some());
    rig.quiet();
    assert_eq!(rig.due(), None);
    // The others all gone and forgotten, nothing is to be probed or exchanged.
    let config = Config { gossip_to_the_dead: Duration::ZERO, ..Config::lan("me".into(), address(1)) };
    let mut rig = Rig::with(config);
    rig.hear(&Life::of(2, 1).message());
    rig.hear(&dead("n2", 1, "n2"));
    rig.pass(Duration::from_secs(10));
    assert_eq!((rig.gossip.members().known(), rig.due()), (1, None));
}

/// A member that no gossip datagram can hold is known from full states alone; its news do not keep us awake for ever.
#[test]
fn news_too_large_for_gossip_are_not_queued() {
    let mut rig = Rig::among(2, config());
    let mut large = Life::of(3, 1).meta(&[b'm'; 3000]);
    rig.request(&push_pull(false, &[large.clone()], b""));
    assert!(rig.knows("n3"));
    assert_eq!((rig.gossip.queued(), rig.due()), (0, None));
    let named = Life { name: vec![b'x'; 5000], ..Life::of(4, 1) };
    rig.request(&push_pull(false, std::slice::from_ref(&named), b""));
    assert_eq!(rig.gossip.members().known(), 4);
    // Older, smaller news of it are not told instead.
    large.meta = vec![];
    large.incarnation = 2;
    rig.hear(&large.message());
    assert_eq!(rig.gossip.queued(), 1);
    large.meta = vec![b'm'; 3000];
    large.incarnation = 3;
    rig.request(&push_pull(false, &[large], b""));
    assert_eq!((rig.gossip.queued(), rig.gossip.stats().oversized >= 3), (0, true));
}

/// The first key makes datagrams shorter inside.
#[test]
fn news_that_fit_no_more_when_there_is_a_key_are_not_queued_any_more() {
    let mut rig = Rig::among(2, config());
    let overhead = Life::of(3, 1).meta(&[b'm'; 500]).message().len() - 500;
    for (id, len) in [(3, 1380 - overhead), (4, 1000)] {
        rig.request(&push_pull(false, &[Life::of(id, 1).meta(&vec![b'm'; len])], b""));
    }
    assert_eq!(rig.gossip.queued(), 2);
    let before = rig.gossip.stats().oversized;
    for byte in [1, 2] {
        rig.command(|id| Command::Keyring { id, change: KeyChange::Install(key(byte)) });
        assert_eq!((rig.gossip.queued(), rig.gossip.stats().oversized - before), (1, 1));
    }
}

/// Some are too large for any datagram that has to name them; they would be probed, and suspected.
#[test]
fn members_too_large_for_any_datagram_are_refused() {
    let config = Config { probe_interval: Duration::from_secs(1), ..config() };
    let mut rig = Rig::with(config);
    for len in [16 << 10, (16 << 10) + 1, 70_000, 1 << 20] {
        for life in [
            Life { name: vec![b'n'; len], ..Life::of(2, 1) },
            Life::of(3, 1).meta(&vec![b'm'; len]),
            Life::of(4, 1).at(Address::new(&vec![9; len], 1)),
        ] {
            rig.request(&push_pull(true, &[life], b""));
        }
    }
    assert_eq!(rig.gossip.members().known(), 4, "the smallest of each, and we");
    let long = "f".repeat(1 << 17);
    rig.hear(&suspect("n3", 1, &long));
    assert_eq!(rig.state("n3"), State::Alive);
    rig.pass(Duration::from_secs(60));
    assert!(rig.raw.iter().all(|t| t.bytes.len() <= 65_507));
}

/// §1.9: what fits, with everything that is put around it.
#[test]
fn no_gossip_datagram_is_larger_than_the_packet_size() {
    for (keys, label, checksums) in
        [(0, 0, true), (1, 0, true), (1, 20, true), (0, 200, false), (1, 0, false)]
    {
        let keys: Vec<Key> = (0..keys).map(key).collect();
        let label = vec![b'l'; label];
        let mut rig = Rig::with(Config { keys: keys.clone(), label: label.clone(), ..config() });
        let versions = [1, if checksums { 5 } else { 4 }, 2, 0, 0, 0];
        let hear = |rig: &mut Rig, m: &[u8]| rig.hear(&seal(m, &label, keys.first(), false, false));
        hear(&mut rig, &Life::of(2, 1).versions(&versions).message());
        for i in 3..200 {
            hear(&mut rig, &Life::of(i, 1).meta(&vec![0; i]).versions(&versions).message());
            rig.above.layer().broadcasts.push_back(vec![i as u8; i % 50]);
        }
        rig.forget();
        rig.pass(Duration::from_secs(3));
        hear(&mut rig, &ping(1, "", None));
        let sizes: Vec<usize> = rig.raw.iter().map(|t| t.bytes.len()).collect();
        let most = *sizes.iter().max().unwrap();
        assert!(most <= 1400, "{most}");
        // Full, as far as whole messages allow.
        assert!(most >= 1360, "{most}");
    }
}

/// CL16: more than one compound can hold.
#[test]
fn any_number_of_broadcasts_of_the_layer_above_goes_out() {
    let config = Config { packet_size: 9000, ..config() };
    let mut rig = Rig::among(2, config.clone());
    for i in 0..1000_u16 {
        rig.above.layer().broadcasts.push_back(i.to_be_bytes().to_vec());
    }
    rig.gossip.wake(rig.now, &mut rig.above.clone());
    let mut other = Rig::with(Config { name: "n2".into(), advertise: address(2), ..config });
    other.quiet();
    rig.feed(serf_gossip::Input::Timeout);
    rig.millis(1000);
    for t in std::mem::take(&mut rig.raw) {
        let parts = t.bytes[6];
        assert!(t.bytes.len() <= 9000 && parts <= 127, "old peers cannot count further: {parts}");
        other.hear(&t.bytes);
    }
    let mut got: Vec<Vec<u8>> = other
        .above
        .told()
        .into_iter()
        .filter_map(|t| if let Told::Message(m) = t { Some(m) } else { None })
        .collect();
    got.sort();
    let want: Vec<Vec<u8>> = (0..1000_u16).map(|i| i.to_be_bytes().to_vec()).collect();
    assert_eq!(got, want);
    assert_eq!(rig.due(), None, "nothing left to tell");
}

/// Our own news come before those of the layer above (§6.7), behind a direct message (§6.5).
#[test]
fn membership_comes_before_the_layer_above() {
    let mut rig = Rig::among(2, config());
    rig.above.layer().broadcasts.push_back(b"event".to_vec());
    rig.hear(&Life::of(3, 1).message());
    rig.hear_from(&address(9), &ping(1, "", None));
    let said = &rig.sent.last().unwrap().1;
    assert!(matches!(said[..], [Said::Ack { .. }, Said::Alive { .. }, Said::User(_)]), "{said:?}");
}

/// Senders put what is newest in front.
#[test]
fn user_messages_are_handed_on_the_last_first_even_empty() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.hear(&compound(&[user(b"a"), user(b""), user(b"c")]));
    let want = [b"c".to_vec(), vec![], b"a".to_vec()].map(Told::Message);
    assert_eq!(rig.above.told(), want);
}

/// Compression is used where it makes a datagram smaller, and only there.
#[test]
fn packets_are_compressed_where_that_helps() {
    let mut rig = Rig::among(2, Config { compression: true, ..config() });
    let send = |bytes: Vec<u8>| {
        let to = serf_gossip::Peer { addr: stranger(), name: None };
        move |_| Command::Send { to, bytes }
    };
    rig.command(send(vec![b'a'; 500]));
    rig.command(send(b"short".to_vec()));
    assert!(rig.raw[0].bytes[0] == 9 && rig.raw[0].bytes.len() < 100);
    assert_eq!(rig.raw[1].bytes, b"\x08short");
    assert_eq!(rig.sent[0].1, [Said::User(vec![b'a'; 500])]);
}
