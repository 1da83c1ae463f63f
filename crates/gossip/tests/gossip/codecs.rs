//! Compression and checksums beyond the reference's: what is said of them, who is believed, and that nobody gets what he
//! cannot read.

use std::time::Duration;

use serf_gossip::{Address, Config, ConfigError, Gossip, Instant};
use serf_wire::checksum::Checksum;
use serf_wire::codecs::Codecs;
use serf_wire::compress::Algorithm;
use serf_wire::msgpack::Reader;
use serf_wire::swim::{Ack, Kind, Ping, Source};

use crate::net::address;
use crate::rig::{Rig, Said, message, rig_config};

/// What all builds have, and what none of the reference's has: telling it needs no feature.
fn all() -> Codecs {
    Codecs::of(&Algorithm::ALL, &Checksum::ALL)
}

/// A ping of `n{i}` that tells what it has.
fn ping_of(i: usize, codecs: Codecs) -> Vec<u8> {
    let (Address { host, port }, node) = (address(i), format!("n{i}"));
    let source = Source { addr: host.as_bytes().into(), port, node: node.as_bytes() };
    message(Kind::Ping, |w| Ping { seq: 77, node: b"me", source, codecs }.write(w))
}

fn ack_with(seq: u32, codecs: Codecs) -> Vec<u8> {
    message(Kind::Ack, |w| Ack { seq, payload: None, codecs }.write(w))
}

/// What the first message of a bare datagram tells.
fn told(bytes: &[u8]) -> Codecs {
    let part = match bytes {
        // A compound: its first part.
        [7, count, rest @ ..] => &rest[2 * usize::from(*count)..],
        _ => bytes,
    };
    let r = &mut Reader::new(&part[1..]);
    match part[0] {
        0 => Ping::read(r).unwrap().codecs,
        2 => Ack::read(r).unwrap().codecs,
        kind => panic!("message of type {kind}"),
    }
}

/// Answers the next probe, and returns what its ping told.
fn answer_probe(rig: &mut Rig, from: &Address, codecs: Codecs) -> Codecs {
    let (seq, _) = rig.next_probe();
    let asked = told(&rig.raw.last().unwrap().bytes);
    rig.hear_from(from, &ack_with(seq, codecs));
    asked
}

/// The type byte or number of the checksum and of the compression; the latter None for a bare message.
type Form = (u8, Option<u8>);

const COMMON: Form = (0x0c, Some(0));

fn form(bytes: &[u8]) -> Form {
    let (checksum, rest) = match bytes {
        [0x0c, rest @ ..] => (0x0c, &rest[4..]),
        [0xf0, number @ (1 | 4), rest @ ..] => (*number, &rest[4..]),
        [0xf0, number, rest @ ..] => (*number, &rest[8..]),
        _ => (0, bytes),
    };
    (checksum, rest.strip_prefix(b"\x09\x82\xa4Algo").map(|rest| rest[0]))
}

/// How news of the layer above go to `n2`.
fn gossip_form(rig: &mut Rig) -> Form {
    rig.forget();
    rig.above.layer().broadcasts.push_back(b"news ".repeat(200));
    for _ in 0..20 {
        rig.millis(200);
        let at = rig.sent.iter().position(|(_, said)| matches!(said[0], Said::User(_)));
        if let Some(at) = at {
            assert!(rig.raw[at].bytes.len() <= rig.gossip.config().packet_size);
            return form(&rig.raw[at].bytes);
        }
        // It went with a ping.
        if rig.above.layer().broadcasts.is_empty() {
            rig.above.layer().broadcasts.push_back(b"news ".repeat(200));
        }
    }
    panic!("no gossip");
}

#[test]
fn what_is_not_in_the_build_cannot_be_configured() {
    let new = |config: Config| Gossip::new(config, [0; 32], Instant::ZERO, &mut ()).map(|_| ());
    for algorithm in Algorithm::ALL {
        let config = Config { algorithms: vec![Algorithm::Lzw, algorithm], ..rig_config() };
        let expected =
            if algorithm.is_built() { Ok(()) } else { Err(ConfigError::AlgorithmNotBuilt(algorithm)) };
        assert_eq!(new(config), expected);
    }
    for checksum in Checksum::ALL {
        let config = Config { checksums: vec![checksum], ..rig_config() };
        let expected =
            if checksum.is_built() { Ok(()) } else { Err(ConfigError::ChecksumNotBuilt(checksum)) };
        assert_eq!(new(config), expected);
    }
    assert_eq!(
        ConfigError::AlgorithmNotBuilt(Algorithm::Zstd).to_string(),
        "compression zstd is not in this build, which lacks the feature 'zstd'"
    );
    assert_eq!(
        ConfigError::ChecksumNotBuilt(Checksum::Xxh64).to_string(),
        "checksum xxh64 is not in this build, which lacks the feature 'xxhash'"
    );
}

/// Whatever peers tell, a node that is not configured for more says and does what the reference does.
#[test]
fn who_wants_nothing_says_nothing() {
    let config = Config { compression: true, ..rig_config() };
    for config in [
        config.clone(),
        Config { algorithms: vec![Algorithm::Lzw], checksums: vec![Checksum::Crc32], ..config },
    ] {
        let mut rig = Rig::among(2, config);
        assert_eq!(rig.gossip.config().codecs(), Codecs::NONE);
        rig.hear_from(&address(2), &ping_of(2, all()));
        assert!(matches!(rig.sent[0].1[0], Said::Ack { seq: 77, .. }));
        assert_eq!(told(&rig.raw[0].bytes), Codecs::NONE);
        assert_eq!(answer_probe(&mut rig, &address(2), all()), Codecs::NONE);
        assert_eq!(gossip_form(&mut rig), COMMON);
        rig.pass(Duration::from_secs(10));
        assert_eq!(rig.gossip.stats().special_sent, 0);
    }
}

#[cfg(all(feature = "lz4", feature = "zstd", feature = "xxhash"))]
mod with_them {
    use serf_gossip::{Command, Peer, StreamEvent, Topic};
    use serf_wire::stream::{StreamMessage, StreamReader, StreamRules};
    use serf_wire::swim::PushPullHeader;

    use super::*;
    use crate::net::{Net, config as node, name, secs, special};
    use crate::rig::{Life, ping, push_pull, suspect};

    /// For a message to somebody who is no member.
    const BARE: Form = (0, Some(0));

    fn config() -> Config {
        Config {
            compression: true,
            algorithms: vec![Algorithm::Zstd, Algorithm::Lz4],
            checksums: vec![Checksum::Xxh3, Checksum::Xxh32],
            push_pull_interval: Duration::ZERO,
            ..rig_config()
        }
    }

    fn ours() -> Codecs {
        config().codecs()
    }

    #[test]
    fn pings_tell_and_acks_answer_what_they_are_told() {
        let mut rig = Rig::among(2, config());
        assert_eq!(answer_probe(&mut rig, &address(2), Codecs::NONE), ours());
        for (asking, answer) in
            [(Codecs::NONE, Codecs::NONE), (Codecs::from_wire(1), ours()), (all(), ours())]
        {
            rig.forget();
            rig.hear_from(&address(2), &ping_of(2, asking));
            assert_eq!(told(&rig.raw[0].bytes), answer);
        }
        // So do pings for others and for the owner: a ping without it would say that there is nothing.
        rig.forget();
        let peer = rig.peer(2);
        rig.command(|id| Command::Ping { id, peer });
        assert_eq!(told(&rig.raw[0].bytes), ours());
    }

    #[test]
    fn the_first_of_ours_that_the_member_has_is_used() {
        let cases: &[(&[Algorithm], &[Checksum], Form)] = &[
            (&[], &[], COMMON),
            (&[Algorithm::Lz4], &[], (0x0c, Some(b'L'))),
            (&[Algorithm::Lz4, Algorithm::Zstd], &[], (0x0c, Some(b'Z'))),
            (&[Algorithm::Brotli, Algorithm::Snappy], &[Checksum::Murmur3, Checksum::Xxh64], COMMON),
            (&[], &[Checksum::Xxh32], (1, Some(0))),
            (&[Algorithm::Lz4], &[Checksum::Xxh32, Checksum::Xxh3], (3, Some(b'L'))),
        ];
        for (algorithms, checksums, expected) in cases {
            let mut rig = Rig::among(2, config());
            answer_probe(&mut rig, &address(2), Codecs::of(algorithms, checksums));
            assert_eq!(gossip_form(&mut rig), *expected, "{algorithms:?} {checksums:?}");
            assert_eq!(rig.gossip.stats().special_sent > 0, *expected != COMMON);
        }
        // Switched off, there is no compression, whatever is preferred.
        let mut rig = Rig::among(2, Config { compression: false, ..config() });
        assert_eq!(answer_probe(&mut rig, &address(2), all()), Codecs::of(&[], &config().checksums));
        assert_eq!(gossip_form(&mut rig), (3, None));
        // Preferring what everybody has is a way to accept more than to send.
        let algorithms = vec![Algorithm::Lzw, Algorithm::Lz4];
        let mut rig = Rig::among(2, Config { algorithms, checksums: vec![], ..config() });
        assert!(answer_probe(&mut rig, &address(2), all()).compress(Algorithm::Lz4));
        assert_eq!(gossip_form(&mut rig), COMMON);
    }

    /// A member that told us everything, and how we gossip to it after something else was heard.
    #[test]
    fn only_the_member_itself_is_believed_and_less_at_once() {
        type Hear = fn(&mut Rig);
        let special = (3, Some(b'Z'));
        fn next_probe_from(rig: &mut Rig, from: &Address, codecs: Codecs) {
            answer_probe(rig, from, codecs);
        }
        let unknown: &[(&str, Hear)] = &[
            ("an ack from elsewhere", |rig| next_probe_from(rig, &address(3), all())),
            ("an ack from another port", |rig| {
                next_probe_from(rig, &Address { port: 4000, ..address(2) }, all())
            }),
            ("an ack with another number", |rig| {
                let (seq, _) = rig.next_probe();
                rig.hear_from(&address(2), &ack_with(seq ^ 1, all()));
                rig.hear_from(&address(2), &ack_with(seq, Codecs::NONE));
            }),
            ("a ping", |rig| rig.hear_from(&address(2), &ping_of(2, all()))),
        ];
        for (what, hear) in unknown {
            let mut rig = Rig::among(2, config());
            hear(&mut rig);
            assert_eq!(gossip_form(&mut rig), COMMON, "{what}");
        }
        let known: &[(&str, Hear, Form)] = &[
            ("nothing more", |_| (), special),
            ("a ping that says the same", |rig| rig.hear_from(&address(2), &ping_of(2, all())), special),
            (
                "a ping that says less",
                |rig| rig.hear_from(&address(2), &ping_of(2, Codecs::from_wire(0x11))),
                (1, Some(b'L')),
            ),
            ("a ping that says nothing", |rig| rig.hear_from(&address(2), &ping_of(2, Codecs::NONE)), COMMON),
            ("the same from elsewhere", |rig| rig.hear_from(&address(3), &ping_of(2, Codecs::NONE)), special),
            ("a ping of somebody else", |rig| rig.hear_from(&address(2), &ping(1, "me", None)), special),
            (
                "an ack that says less",
                |rig| next_probe_from(rig, &address(2), Codecs::from_wire(1)),
                (0x0c, Some(b'L')),
            ),
            ("an ack that says nothing", |rig| next_probe_from(rig, &address(2), Codecs::NONE), COMMON),
            ("the same from elsewhere", |rig| next_probe_from(rig, &address(3), Codecs::NONE), special),
            ("another life", |rig| rig.hear(&Life::of(2, 2).message()), COMMON),
            ("the same life again", |rig| rig.hear(&Life::of(2, 1).message()), special),
            ("silence", |rig| rig.hear(&suspect("n2", 1, "n3")), COMMON),
        ];
        for (what, hear, expected) in known {
            let mut rig = Rig::among(2, config());
            answer_probe(&mut rig, &address(2), all());
            hear(&mut rig);
            assert_eq!(gossip_form(&mut rig), *expected, "{what}");
        }
    }

    /// What finds out who is alive never depends on what is believed.
    #[test]
    fn probes_and_answers_are_in_the_form_that_everybody_reads() {
        let mut rig = Rig::among(3, config());
        let mut answered = 0;
        for _ in 0..40 {
            rig.above.layer().broadcasts.push_back(b"news ".repeat(100));
            rig.hear_from(&address(2), &ping_of(2, all()));
            // One of them is silent, so that the others are asked for it.
            let pings: Vec<u32> = rig.sent[answered..]
                .iter()
                .filter_map(|(to, said)| match said[0] {
                    Said::Ping { seq, .. } if *to == address(2) => Some(seq),
                    _ => None,
                })
                .collect();
            answered = rig.sent.len();
            for seq in pings {
                rig.hear_from(&address(2), &ack_with(seq, all()));
            }
            rig.millis(400);
        }
        let mut kinds = [0; 3];
        for (transmit, (_, said)) in rig.raw.iter().zip(&rig.sent) {
            let kind = match said[0] {
                Said::Ping { .. } => 0,
                Said::IndirectPing { .. } => 1,
                Said::Ack { .. } => 2,
                _ => continue,
            };
            kinds[kind] += 1;
            assert_eq!(special(&transmit.bytes), None, "{said:?}");
        }
        assert!(kinds.iter().all(|&n| n > 0), "{kinds:?}");
        assert!(rig.gossip.stats().special_sent > 0);
    }

    /// An answer that cannot be read is missed by nobody but who waits for it.
    #[test]
    fn messages_of_the_layer_above_can_always_be_read() {
        let mut rig = Rig::among(2, config());
        answer_probe(&mut rig, &address(2), all());
        let bytes = vec![b'q'; 600];
        let known = rig.peer(2);
        let nameless = Peer { addr: address(2), name: None };
        let elsewhere = Peer { addr: address(3), ..known.clone() };
        for (to, expected) in [(known, (12, Some(0))), (nameless, BARE), (elsewhere, BARE)] {
            rig.forget();
            rig.command(|_| Command::Send { to, bytes: bytes.clone() });
            assert_eq!(form(&rig.raw[0].bytes), expected);
        }
    }

    /// The algorithm of a stream, and what the state in it tells.
    fn state(bytes: &[u8], request: bool) -> (u8, Codecs) {
        let rules = StreamRules {
            label: b"",
            skip_label_check: false,
            keys: &[],
            verify_incoming: false,
            accept_v0: false,
            expect_label_header: request,
            limits: Default::default(),
        };
        let mut reader = StreamReader::new();
        match reader.push(bytes, &rules, &mut Default::default()) {
            Ok(Some(StreamMessage::PushPull(it))) => (bytes[7], it.codecs),
            other => panic!("{other:?}"),
        }
    }

    /// A state of somebody who knows `n2`, and tells what it has.
    fn state_of(codecs: Codecs) -> Vec<u8> {
        let header = PushPullHeader { nodes: 1, codecs, ..PushPullHeader::default() };
        let mut out = message(Kind::PushPull, |w| header.write(w));
        out.extend_from_slice(&push_pull(false, &[Life::of(2, 1)], b"")[1 + 28..]);
        out
    }

    #[test]
    fn a_stream_is_answered_in_what_it_tells() {
        let cases = [
            (Codecs::NONE, 0, Codecs::NONE),
            (Codecs::of(&[Algorithm::Lz4], &[]), b'L', ours()),
            (Codecs::of(&[Algorithm::Brotli], &[]), 0, ours()),
            (all(), b'Z', ours()),
        ];
        for (theirs, algorithm, tells) in cases {
            let mut rig = Rig::among(2, config());
            let id = rig.accept();
            rig.stream(id, StreamEvent::Data(&state_of(theirs)));
            assert_eq!(state(&rig.written(id).unwrap(), false), (algorithm, tells));
        }
    }

    #[test]
    fn a_stream_is_begun_in_what_the_member_told_and_a_failure_makes_us_forget() {
        let mut rig = Rig::among(2, Config { push_pull_interval: secs(30.0), ..config() });
        // A probe keeps the member alive meanwhile, without telling anything.
        fn next_stream(rig: &mut Rig) -> serf_gossip::StreamId {
            rig.forget();
            for _ in 0..200 {
                let (seq, _) = rig.next_probe();
                rig.hear_from(&address(9), &ack_with(seq, Codecs::NONE));
                if let Some((id, to)) = rig.dialled().first().cloned() {
                    assert_eq!(to, address(2));
                    rig.stream(id, StreamEvent::Connected);
                    return id;
                }
                rig.actions.clear();
            }
            panic!("no push/pull");
        }
        let id = next_stream(&mut rig);
        assert_eq!(state(&rig.written(id).unwrap(), true), (0, ours()));
        rig.stream(id, StreamEvent::Data(&state_of(Codecs::of(&[Algorithm::Lz4], &[]))));
        assert_eq!(rig.member("n2").codecs, Codecs::of(&[Algorithm::Lz4], &[]));
        let id = next_stream(&mut rig);
        assert_eq!(state(&rig.written(id).unwrap(), true), (b'L', ours()));
        let refusal = message(Kind::Err, |w| {
            serf_wire::swim::ErrReply { error: b"cannot decompress unknown algorithm 76" }.write(w)
        });
        rig.stream(id, StreamEvent::Data(&refusal));
        assert_eq!(rig.notices(Topic::PushPull).len(), 1);
        assert_eq!(rig.member("n2").codecs, Codecs::NONE);
        let id = next_stream(&mut rig);
        assert_eq!(state(&rig.written(id).unwrap(), true), (0, ours()));
    }

    /// Who joins does not know whom he meets; and what has no answer must be read the first time.
    #[test]
    fn joins_and_messages_that_must_arrive_are_in_the_form_that_everybody_reads() {
        let mut rig = Rig::among(2, config());
        answer_probe(&mut rig, &address(2), all());
        rig.forget();
        let peer = rig.peer(2);
        rig.command(|id| Command::Join { id, peers: vec![peer.clone()] });
        rig.command(|id| Command::SendReliable { id, to: peer, bytes: vec![b'r'; 900] });
        for (id, _) in rig.dialled() {
            rig.stream(id, StreamEvent::Connected);
            let bytes = rig.written(id).unwrap();
            assert_eq!((special(&bytes), bytes[0]), (None, 9));
        }
    }

    fn mixed() -> Net {
        let mut net = Net::new();
        for i in 0..2 {
            net.add(Config {
                compression: true,
                algorithms: vec![Algorithm::Lz4],
                checksums: vec![Checksum::Xxh3],
                ..node(i)
            });
        }
        net.add(Config { compression: true, ..node(2) });
        net
    }

    /// Enough news for two minutes that datagrams are worth compressing.
    fn chatter(net: &mut Net, seconds: u32) {
        for round in 0..seconds {
            for i in 0..net.nodes.len() {
                let peer = Peer { addr: address((i + 1) % 3), name: Some(name((i + 1) % 3)) };
                let bytes = format!("what {i} says in round {round}, ").repeat(20).into_bytes();
                net.command(i, |_| Command::Send { to: peer, bytes });
                let meta = format!("{i} in round {round}; ").repeat(18).into_bytes();
                if round % 10 == 0 {
                    net.command(i, |id| Command::UpdateMeta { id, meta, timeout: secs(5.0) });
                }
            }
            net.pass(secs(1.0));
        }
    }

    fn bad(net: &Net) -> u64 {
        net.nodes
            .iter()
            .map(|n| n.machine.gossip().stats())
            .map(|s| s.bad_packets + s.bad_messages + s.bad_streams)
            .sum()
    }

    #[test]
    fn a_node_of_another_make_never_gets_what_it_cannot_read() {
        let mut net = mixed();
        net.others.insert(2);
        for i in [0, 1] {
            net.join(i, 2).unwrap();
        }
        chatter(&mut net, 120);
        assert_eq!((net.spoilt, bad(&net)), (0, 0));
        assert!(net.special > 10, "{} special", net.special);
        let sent = |i: usize| net.nodes[i].machine.gossip().stats().special_sent;
        assert!(sent(0) > 0 && sent(1) > 0 && sent(2) == 0);
        let believed = |at: usize, of: usize| {
            net.nodes[at].machine.gossip().members().get(name(of).as_bytes()).unwrap().codecs
        };
        assert_eq!(believed(0, 1), believed(1, 0));
        assert_eq!((believed(0, 2), believed(1, 2), believed(2, 0)), Default::default());
    }

    /// It comes back so soon that nobody noticed, with the same incarnation and without what it had.
    #[test]
    fn who_forgets_what_he_had_is_understood_within_a_round_of_probes() {
        let mut net = mixed();
        for i in [0, 1] {
            net.join(i, 2).unwrap();
        }
        net.pass(secs(20.0));
        let believed =
            |net: &Net, at: usize| net.nodes[at].machine.gossip().members().get(b"n1").unwrap().codecs;
        assert_ne!(believed(&net, 0), Codecs::NONE);
        net.restart(1, Config { compression: true, ..node(1) });
        net.others.insert(1);
        // What is said to it before it has said anything is lost, and nothing else comes of it.
        chatter(&mut net, 1);
        net.join(1, 2).unwrap();
        net.until(secs(6.0), "nothing more is believed", |net| believed(net, 0) == Codecs::NONE);
        let (lost, refused) = (net.spoilt, bad(&net));
        assert!(lost > 0 && refused as usize >= lost, "{lost} {refused}");
        chatter(&mut net, 60);
        assert_eq!((net.spoilt, bad(&net)), (lost, refused));
        for at in 0..3 {
            for of in 0..3 {
                assert_eq!(net.state(at, of), Some(serf_gossip::State::Alive), "{at} of {of}");
            }
        }
        let failed: u64 = net.nodes.iter().map(|n| n.machine.gossip().stats().failed_probes).sum();
        assert_eq!(failed, 0);
        // And when it has them again, so it is used again.
        net.others.remove(&1);
        let config = Config { compression: true, algorithms: vec![Algorithm::Lz4], ..node(1) };
        net.restart(1, config);
        net.join(1, 2).unwrap();
        net.until(secs(60.0), "it is believed again", |net| believed(net, 0).compress(Algorithm::Lz4));
        assert!(matches!(net.join(0, 1), Ok(1)));
    }
}
