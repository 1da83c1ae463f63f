//! What is passed on, and what is refused: spec `serf.md` §1.3, appendix A.4.

use alloc::vec::Vec;

use super::{Bench, event, query};
use crate::Event;

fn told(bench: &mut Bench) -> Vec<(u64, Vec<u8>)> {
    let events = bench.events();
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::User(event) => Some((event.ltime, event.payload.to_vec())),
            _ => None,
        })
        .collect()
}

#[test]
fn an_event_is_told_and_passed_on_once() {
    let mut bench = Bench::new();
    let deploy = event(5, "deploy", Some(b"v1"));
    assert!(bench.message(&deploy));
    assert!(!bench.message(&deploy));
    assert_eq!(told(&mut bench), [(5, b"v1".to_vec())]);
    assert_eq!((bench.node.stats().events, bench.node.vitals().event_time), (1, 6));
}

// "Same LTime, differing payload or name: each is new, rebroadcast and delivered in order."
#[test]
fn events_of_one_time_are_told_apart_by_name_and_payload() {
    let mut bench = Bench::new();
    for (name, payload) in [("a", &b"1"[..]), ("a", b"2"), ("b", b"1")] {
        assert!(bench.message(&event(5, name, Some(payload))));
    }
    assert!(!bench.message(&event(5, "a", Some(b"2"))));
    assert_eq!(told(&mut bench), [(5, b"1".to_vec()), (5, b"2".to_vec()), (5, b"1".to_vec())]);
}

#[test]
fn an_absent_payload_is_an_empty_one() {
    let mut bench = Bench::new();
    assert!(bench.message(&event(5, "a", None)));
    assert!(!bench.message(&event(5, "a", Some(b""))));
}

// "Event with LTime 1 after the clock moved past EventBuffer + 1000: not rebroadcast."
#[test]
fn an_event_older_than_the_ring_is_dropped() {
    let mut bench = Bench::new();
    assert!(bench.message(&event(1512, "new", None)));
    assert!(!bench.message(&event(1, "old", None)));
    assert!(bench.message(&event(1100, "just in", None)));
    assert_eq!(told(&mut bench).len(), 2);
}

// "Same for queries." "Same LTime, different IDs: each new once, repeated ID not rebroadcast."
#[test]
fn a_query_is_passed_on_once() {
    let mut bench = Bench::new();
    assert!(bench.message(&query(5, 1, 0)));
    assert!(bench.message(&query(5, 2, 0)));
    assert!(!bench.message(&query(5, 1, 0)));
    assert!(bench.message(&query(1512, 1, 0)));
    assert!(!bench.message(&query(1, 3, 0)));
    assert_eq!((bench.node.stats().queries, bench.node.vitals().query_time), (3, 1513));
}

// B5: more names than there is room for are counted together only.
#[test]
fn new_events_and_queries_are_counted_by_name() {
    let mut bench = Bench::new();
    for (ltime, name) in [(5, "deploy"), (5, "deploy"), (6, "deploy"), (6, "load")] {
        bench.message(&event(ltime, name, None));
    }
    bench.message(&query(5, 1, 0));
    let named = |list: &[(&str, u64)]| list.iter().map(|(name, n)| ((*name).into(), *n)).collect::<Vec<_>>();
    assert_eq!(bench.node.take_event_names(), named(&[("deploy", 2), ("load", 1)]));
    assert_eq!(bench.node.take_query_names().len(), 1);
    assert_eq!(bench.node.take_event_names(), []);
    for n in 0..200 {
        bench.message(&event(7, &alloc::format!("{n}"), None));
    }
    assert_eq!((bench.node.take_event_names().len(), bench.node.stats().events), (64, 203));
}

#[test]
fn a_query_may_forbid_being_passed_on() {
    let mut bench = Bench::new();
    assert!(!bench.message(&query(5, 1, 2)));
    assert_eq!(bench.node.stats().queries, 1);
}

#[test]
fn what_is_passed_on_is_what_came_byte_for_byte() {
    let mut bench = Bench::new();
    // Unknown fields, new string families, other integer widths, trailing bytes.
    let strange =
        b"\x03\x84\xa5LTime\xcf\0\0\0\0\0\0\0\x05\xd9\x04Name\xc4\x01a\xa3New\x91\x01\xa2CC\xc3tail";
    assert!(bench.message(strange));
    let strange = b"\x01\x83\xa4Node\xa3foo\xa5LTime\xcd\0\x09\xa3New\xc0";
    assert!(bench.message(strange));
}

#[test]
fn what_cannot_be_read_is_counted_and_changes_nothing() {
    let mut bench = Bench::new();
    for (n, bytes) in
        [&b"\x00"[..], b"\x01\x81\xa5LTime\xff", b"\x02\x80", b"\x06\x80", b"\x0a\x80", b"\xff", b"\x03\x81"]
            .into_iter()
            .enumerate()
    {
        assert!(!bench.message(bytes));
        assert_eq!(bench.node.stats().bad_messages, n as u64 + 1, "{bytes:02x?}");
    }
    // These are well, but not for us.
    bench.message(b"\x05\x80");
    bench.datagram(&[8]);
    assert_eq!(bench.node.stats().bad_messages, 7);
    assert_eq!(bench.node.member_count(), 1);
}

#[test]
fn a_message_too_long_for_any_datagram_does_not_keep_gossip_awake() {
    let mut bench = Bench::new();
    let long = event(5, "long", Some(&[7; 2000]));
    assert!(!bench.message(&long));
    assert_eq!((bench.node.stats().shed_broadcasts, bench.node.stats().events), (1, 1));
    assert_eq!(bench.node.vitals().event_queue, 0);
}

#[test]
fn the_longest_message_that_fits_leaves_in_a_datagram() {
    let mut bench = Bench::new();
    bench.alive("peer");
    let room = bench.node.serf.queues.room;
    let header = event(5, "long", Some(&[7; 1000])).len() - 1000;
    let longest = event(5, "long", Some(&alloc::vec![7; room - header]));
    assert_eq!(longest.len(), room);
    bench.datagram(&[&[8][..], &longest].concat());
    bench.wait(core::time::Duration::from_secs(10));
    assert_eq!(bench.node.vitals().event_queue, 0);
    assert!(bench.node.stats().messages_sent > 0);
}

/// What is longer than any round of gossip has room for would be told to nobody, and stay in the queue for ever.
#[cfg(feature = "xxhash")]
#[test]
fn a_longer_checksum_leaves_less_room() {
    let mut config = super::config();
    let usual = Bench::with(config.clone()).node.serf.queues.room;
    config.gossip.checksums = alloc::vec![serf_wire::checksum::Checksum::Xxh3];
    assert_eq!(Bench::with(config).node.serf.queues.room, usual - 5);
}
