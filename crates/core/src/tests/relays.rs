//! Answers that take a detour, from both sides: spec `serf.md` §6.7, appendix A.1, A.4.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use serf_gossip::Address;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, FLAG_ACK, MessageKind, QueryResponse, RelayHeader};

use super::queries::{SECOND, answer_to, encode, foo, read_answer, read_query, response, wire};
use super::{Bench, config, message};
use crate::{Config, Query};

/// Who is asked to relay, where to, and what.
fn wrapped(posts: &[(Address, Vec<u8>)]) -> Vec<(u16, RelayHeader<'_>, QueryResponse<'_>)> {
    let mut all = vec![];
    for (to, bytes) in posts {
        if let (MessageKind::Relay, body) = MessageKind::split(bytes).unwrap() {
            let r = &mut Reader::new(body);
            let header = RelayHeader::read(r).unwrap();
            all.push((to.port, header, read_answer(r.rest())));
        }
    }
    all
}

fn relay(host: &[u8], port: i64, name: &str, inner: &[u8]) -> Vec<u8> {
    let header = RelayHeader { ip: host.into(), port, zone: b"", dest_name: name.as_bytes() };
    let mut bytes = vec![8];
    bytes.extend(message(MessageKind::Relay, |w| header.write(w)));
    bytes.extend_from_slice(inner);
    bytes
}

impl Bench {
    /// Members with the ports 1, 2, …; of three one left, one failed, one is there.
    fn crowd(n: u16) -> Self {
        let mut bench = Self::new();
        bench.alive("foo");
        for port in 1..=n {
            bench.alive_with(&format!("n{port}"), b"\xff\x80", port);
            match port % 3 {
                1 => bench.dead(&format!("n{port}"), "foo"),
                2 => {
                    bench.leave(&format!("n{port}"), 7);
                    bench.dead(&format!("n{port}"), "foo");
                }
                _ => {}
            }
        }
        bench.broadcasts();
        bench.posts();
        bench.events();
        bench
    }

    /// Somebody asks; whose help we ask for the ack.
    fn helpers(&mut self, query: &serf::Query<'_>) -> BTreeSet<u16> {
        self.message(&encode(&serf::Query { flags: FLAG_ACK, ..query.clone() }));
        let posts = self.posts();
        assert_eq!(posts.iter().filter(|(to, _)| *to == foo()).count(), 1, "directly once");
        let mut helpers = BTreeSet::new();
        for (port, header, answer) in wrapped(&posts) {
            assert_eq!((&*header.ip, header.port), (foo().host.as_bytes(), 7946));
            assert_eq!((header.zone, header.dest_name), (&b""[..], &b"foo"[..]));
            assert_eq!((answer.from, answer.flags, answer.ltime), (&b"me"[..], FLAG_ACK, query.ltime));
            assert!(helpers.insert(port), "each is asked once");
        }
        helpers
    }
}

// "Random member selection of 3 from 90 (one third alive): three draws differ, each has exactly 3 members, never the
// excluded name, only alive ones." Whoever asks is excluded too (B3).
#[test]
fn relays_are_random_members_that_are_there() {
    let mut bench = Bench::crowd(90);
    let draws: Vec<BTreeSet<u16>> =
        (5..8).map(|ltime| bench.helpers(&serf::Query { relay_factor: 3, ..wire(ltime) })).collect();
    assert!(draws[0] != draws[1] && draws[1] != draws[2] && draws[0] != draws[2], "{draws:?}");
    for draw in &draws {
        assert_eq!(draw.len(), 3);
        assert!(draw.iter().all(|port| port % 3 == 0 && *port != 7946), "{draw:?}");
    }
    assert_eq!(bench.node.stats().relays_asked, 9);
    // In a small crowd everybody is found.
    let mut bench = Bench::crowd(6);
    for ltime in 5..50 {
        let factor = 1 + (ltime % 2) as u8;
        assert_eq!(
            bench.helpers(&serf::Query { relay_factor: factor, ..wire(ltime) }).len(),
            usize::from(factor)
        );
    }
}

#[test]
fn where_there_are_fewer_members_than_relays_wanted_there_is_none() {
    let mut bench = Bench::crowd(6);
    assert_eq!(bench.helpers(&serf::Query { relay_factor: 8, ..wire(5) }), [].into());
    assert_eq!(bench.helpers(&serf::Query { relay_factor: 7, ..wire(6) }), [3, 6].into());
}

#[test]
fn members_that_do_not_know_how_are_not_asked_to_relay() {
    let mut bench = Bench::crowd(3);
    for record in 0..bench.node.serf.table.len() {
        Arc::make_mut(&mut bench.node.serf.table[record].identity).versions[1] = 4;
    }
    assert_eq!(bench.helpers(&serf::Query { relay_factor: 2, ..wire(5) }), [].into());
}

// B15
#[test]
fn a_response_too_long_with_its_wrapping_is_sent_directly_and_counts_as_sent() {
    let mut bench = Bench::crowd(6);
    for (ltime, len, relays) in [(5, 800, 1), (6, 980, 0)] {
        bench.message(&encode(&serf::Query { relay_factor: 1, ..wire(ltime) }));
        let query = bench.asked().remove(0);
        assert_eq!(bench.respond(&query, &vec![0; len]), Ok(()));
        let posts = bench.posts();
        assert_eq!((posts.len(), wrapped(&posts).len()), (1 + relays, relays));
    }
    assert_eq!(bench.node.stats().shed_relays, 1);
}

#[test]
fn the_lever_of_one_query_is_bounded() {
    let mut bench = Bench::crowd(600);
    let mut sent = 0;
    for ltime in 5..105 {
        bench.message(&encode(&serf::Query { relay_factor: 255, flags: FLAG_ACK, ..wire(ltime) }));
        sent += bench.posts().len();
    }
    assert!(sent < 1200, "{sent} datagrams");
    assert!(bench.node.stats().shed_relays > 0);
    bench.wait(SECOND);
    assert!(bench.helpers(&serf::Query { relay_factor: 255, ..wire(200) }).len() > 100);
}

#[test]
fn an_answer_to_be_relayed_is_passed_on_as_it_came() {
    let mut bench = Bench::of_three();
    // With a field of later versions.
    let answer = b"\x05\x83\xa5LTime\x01\xa4From\xa1x\xa3New\xc3";
    bench.datagram(&relay(&[10, 0, 0, 2], 7946, "foo", answer));
    assert_eq!(bench.posts(), [(foo(), answer.to_vec())]);
    assert_eq!(bench.node.stats().relayed, 1);
}

#[test]
fn an_answer_relayed_to_us_is_taken() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q"));
    let answer = answer_to(&read_query(&query), "foo", 0, Some(b"x"));
    for _ in 0..2 {
        bench.datagram(&relay(&[10, 0, 0, 1], 7946, "me", &answer));
    }
    assert_eq!(bench.posts(), []);
    assert_eq!(bench.heard(), [response("foo", b"x")]);
}

// B3
#[test]
fn nothing_but_answers_is_relayed_and_only_where_somebody_may_be() {
    let answer = answer_to(&wire(5), "foo", 0, None);
    let mut bench = Bench::of_three();
    let host = [10, 0, 0, 2];
    for (n, inner) in [&b""[..], b"\x05", b"\x05\xc1", b"\x03\x80", b"\x04\x80", b"\x09\x80", b"\xff"]
        .into_iter()
        .enumerate()
    {
        bench.datagram(&relay(&host, 7946, "foo", inner));
        assert_eq!(bench.node.stats().bad_messages, n as u64 + 1, "{inner:02x?}");
    }
    for (host, port) in
        [(&host[..], 0), (&host, -1), (&host, 65_536), (&host, i64::MAX), (b"", 7946), (b"12345", 7946)]
    {
        bench.datagram(&relay(host, port, "nobody", &answer));
    }
    assert_eq!((bench.posts(), bench.node.stats().refused_answers), (vec![], 6));
}

#[test]
fn strangers_are_relayed_to_seldom_or_not_at_all() {
    let answer = answer_to(&wire(5), "foo", 0, None);
    let flood = |bench: &mut Bench| {
        for n in 0..255 {
            bench.datagram(&relay(&[10, 7, 7, n], 7946, "foo", &answer));
        }
        bench.posts().len()
    };
    let mut bench = Bench::of_three();
    assert_eq!((flood(&mut bench), bench.node.stats().shed_answers), (64, 255 - 64));
    bench.wait(SECOND);
    bench.posts();
    assert_eq!(flood(&mut bench), 64);

    let mut config = config();
    config.gossip.hardening.strict_relay_target = true;
    let mut bench = Bench::of_three_with(Config { ..config });
    assert_eq!((flood(&mut bench), bench.node.stats().refused_answers), (0, 255));
    bench.datagram(&relay(&[10, 0, 0, 2], 7946, "foo", &answer));
    assert_eq!(bench.posts().len(), 1);
}

#[test]
fn strangers_are_answered_seldom() {
    let mut bench = Bench::of_three();
    for ltime in 5..505 {
        let query = serf::Query { source_node: b"stranger", flags: FLAG_ACK, ..wire(ltime) };
        bench.message(&encode(&query));
    }
    assert_eq!(bench.posts().len(), 64);
    bench.message(&encode(&serf::Query { flags: FLAG_ACK, ..wire(505) }));
    assert_eq!(bench.posts().len(), 1, "members are answered all the same");
}
