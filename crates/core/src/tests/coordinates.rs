//! Coordinates that travel in acks: what is sent, what is taken, what is refused, what is forgotten.

extern crate std;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::time::Duration;
use std::sync::Mutex;

use serf_gossip::{Delegate as _, Notification};
use serf_wire::coordinate as wire;
use serf_wire::list::List;

use super::*;
use crate::coordinate::{REACH_MAX, RTT_MAX};
use crate::{Coordinate, Member, PING_PAYLOAD_MAX, PingPolicy};

const RTT: Duration = Duration::from_millis(20);

fn place(x: f64) -> Coordinate {
    Coordinate { vec: [x; 8], error: 0.5, adjustment: 0.001, height: 0.002 }
}

fn payload(place: &Coordinate) -> Vec<u8> {
    let mut bytes = Vec::new();
    place.as_wire().write_payload(&mut bytes);
    bytes
}

impl Bench {
    /// A ping of ours was answered.
    fn pong(&mut self, name: &str, rtt: Duration, payload: &[u8]) {
        let Node { gossip, serf, .. } = &mut self.node;
        let member = gossip.members().iter().find(|m| m.name.as_bytes() == name.as_bytes()).unwrap();
        serf.notify(self.now, Notification::PingCompleted { member, rtt, payload });
    }

    fn ack(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.node.serf.ack_payload(&mut bytes).then_some(bytes)
    }
}

#[test]
fn an_ack_carries_our_place_in_the_references_bytes() {
    let mut bench = Bench::new();
    // Spec, appendix C: a fresh coordinate.
    let mut want = Vec::from(*b"\x01\x84\xaaAdjustment\xcb\0\0\0\0\0\0\0\0\xa5Error\xcb\x3f\xf8\0\0\0\0\0\0");
    want.extend(b"\xa6Height\xcb\x3e\xe4\xf8\xb5\x88\xe3\x68\xf1\xa3Vec\x98");
    (0..8).for_each(|_| want.extend(b"\xcb\0\0\0\0\0\0\0\0"));
    assert_eq!(want.len(), 130);
    assert_eq!(bench.ack().as_ref(), Some(&want));
    bench.alive("a");
    bench.pong("a", RTT, &payload(&place(0.01)));
    let moved = bench.node.coordinate().unwrap();
    assert_ne!(moved, Coordinate::default());
    assert_eq!(bench.ack(), Some(payload(&moved)));
}

#[test]
fn what_was_measured_is_remembered_as_it_was_said() {
    let mut bench = Bench::new();
    bench.alive("a");
    assert_eq!(bench.node.cached_coordinate(b"a"), None);
    assert_eq!(bench.node.cached_coordinate(b"me"), Some(Coordinate::default()));
    bench.pong("a", RTT, &payload(&place(0.01)));
    bench.pong("a", Duration::ZERO, &payload(&place(0.02)));
    assert_eq!(bench.node.cached_coordinate(b"a"), Some(place(0.02)));
    assert_eq!(bench.node.cached_coordinate(b"me"), bench.node.coordinate());
    assert_eq!(bench.node.cached_coordinate(b"b"), None);
    let stats = *bench.node.stats();
    assert_eq!((stats.coordinate_updates, stats.zero_rtts, stats.rejected_coordinates), (2, 1, 0));
    assert!(stats.coordinate_travel > Duration::ZERO);
    assert_eq!(bench.node.vitals().coordinate_resets, Some(0));
    // Nobody has to look at the list of members again for that.
    let members = bench.node.members();
    bench.pong("a", RTT, &payload(&place(0.03)));
    assert!(Arc::ptr_eq(&members, &bench.node.members()));
}

#[test]
fn what_is_no_place_is_refused_and_counted_and_changes_nothing() {
    let good = place(0.01);
    let mut bad: Vec<(Vec<u8>, Duration)> = Vec::new();
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.01 * REACH_MAX, -1.01 * REACH_MAX, 1e200] {
        let mut vec = good.vec;
        vec[7] = poison;
        bad.push((payload(&Coordinate { vec, ..good }), RTT));
        bad.push((payload(&Coordinate { error: poison, ..good }), RTT));
        bad.push((payload(&Coordinate { adjustment: poison, ..good }), RTT));
        bad.push((payload(&Coordinate { height: poison, ..good }), RTT));
    }
    bad.push((payload(&Coordinate { error: -0.1, ..good }), RTT));
    bad.push((payload(&Coordinate { height: -1.0e-6, ..good }), RTT));
    for dimensions in [0, 7, 9, 16] {
        let vec = alloc::vec![0.01; dimensions];
        let strange = wire::Coordinate { vec: List::of(&vec), error: 1.0, adjustment: 0.0, height: 1.0e-5 };
        let mut bytes = Vec::new();
        strange.write_payload(&mut bytes);
        bad.push((bytes, RTT));
    }
    let mut other_version = payload(&good);
    other_version[0] = 2;
    bad.push((other_version, RTT));
    bad.push((payload(&good)[..100].to_vec(), RTT));
    bad.push((b"\x01".to_vec(), RTT));
    bad.push((b"\x01\x93\xc0\xc0\xc0".to_vec(), RTT));
    bad.push((payload(&good), RTT_MAX + Duration::from_nanos(1)));

    let mut bench = Bench::new();
    bench.alive("a");
    bench.pong("a", RTT, &payload(&place(0.02)));
    let before = (bench.node.coordinate(), bench.node.cached_coordinate(b"a"));
    bench.events();
    for (i, (bytes, rtt)) in bad.iter().enumerate() {
        bench.pong("a", *rtt, bytes);
        assert_eq!(bench.node.stats().rejected_coordinates, i as u64 + 1, "{i}");
        assert_eq!((bench.node.coordinate(), bench.node.cached_coordinate(b"a")), before, "{i}");
    }
    // Somebody who does that all the time does not fill the log.
    let lines = bench.notices();
    assert!(!lines.is_empty() && lines.len() < bad.len() / 2, "{lines:?}");
    assert_eq!(lines[0], "coordinate of 'a' refused: not all of it are finite numbers");
    // Nor have the latencies changed: this is the second of them, and of two the longer counts.
    let mut other = Bench::new();
    other.alive("a");
    other.pong("a", RTT, &payload(&place(0.02)));
    for bench in [&mut bench, &mut other] {
        bench.pong("a", RTT / 2, &payload(&good));
    }
    assert_eq!(bench.node.coordinate(), other.node.coordinate());
}

#[test]
fn what_is_farthest_but_possible_is_taken() {
    let mut bench = Bench::new();
    bench.alive("a");
    let far = Coordinate { vec: [-REACH_MAX; 8], error: 1.5, adjustment: REACH_MAX, height: REACH_MAX };
    bench.pong("a", RTT_MAX, &payload(&far));
    assert_eq!(bench.node.cached_coordinate(b"a"), Some(far));
    assert_eq!(bench.node.vitals().coordinate_resets, Some(0));
}

#[test]
fn an_ack_without_a_place_teaches_nothing() {
    let mut bench = Bench::new();
    bench.alive("a");
    bench.pong("a", RTT, b"");
    assert_eq!(bench.node.cached_coordinate(b"a"), None);
    assert_eq!(bench.node.stats(), &crate::Stats { joins: 2, ..Default::default() });
}

/// B41: a cache of its own would take it in again.
#[test]
fn who_is_forgotten_does_not_come_back_by_a_late_ack() {
    let mut bench = Bench::new();
    bench.alive("a");
    bench.pong("a", RTT, &payload(&place(0.01)));
    let latency_before = bench.node.coordinate();
    let at = bench.node.serf.table.find(b"a").unwrap();
    bench.node.serf.erase(at, true);
    assert_eq!(bench.node.cached_coordinate(b"a"), None);
    bench.pong("a", RTT, &payload(&place(0.01)));
    assert_eq!(bench.node.cached_coordinate(b"a"), None);
    assert_eq!((bench.node.coordinate(), bench.node.stats().rejected_coordinates), (latency_before, 0));
}

#[test]
fn whoever_is_gone_is_still_somewhere_until_forgotten() {
    let mut bench = Bench::new();
    bench.alive("a");
    bench.pong("a", RTT, &payload(&place(0.01)));
    bench.dead("a", "b");
    assert_eq!(bench.status("a"), Status::Failed);
    assert_eq!(bench.node.cached_coordinate(b"a"), Some(place(0.01)));
    bench.wait(Duration::from_secs(25 * 3600));
    assert_eq!(bench.status("a"), Status::None);
    bench.alive("a");
    assert_eq!(bench.node.cached_coordinate(b"a"), None);
}

#[test]
fn without_coordinates_nothing_is_sent_taken_or_known() {
    let mut bench = Bench::with(Config { disable_coordinates: true, ..config() });
    bench.alive("a");
    assert_eq!(bench.ack(), None);
    bench.pong("a", RTT, &payload(&place(0.01)));
    bench.pong("a", RTT, b"\x07nonsense");
    assert_eq!(bench.node.coordinate(), None);
    assert_eq!((bench.node.cached_coordinate(b"a"), bench.node.cached_coordinate(b"me")), (None, None));
    assert_eq!(bench.node.vitals().coordinate_resets, None);
    assert_eq!(bench.node.stats().rejected_coordinates, 0);
}

/// Says something in acks, and keeps what others say.
#[derive(Default)]
struct Gossips {
    says: Vec<u8>,
    heard: Mutex<Vec<(String, Duration, Vec<u8>)>>,
}

impl PingPolicy for Gossips {
    fn payload(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.says);
    }

    fn answered(&self, member: &Member, rtt: Duration, payload: &[u8]) {
        self.heard.lock().unwrap().push((member.name.to_string(), rtt, payload.to_vec()));
    }
}

fn with_policy(says: &[u8]) -> (Bench, Arc<Gossips>) {
    let policy = Arc::new(Gossips { says: says.to_vec(), ..Gossips::default() });
    let mut config = config();
    config.policies.ping = Some(policy.clone());
    (Bench::with(config), policy)
}

#[test]
fn what_a_program_adds_to_acks_travels_behind_the_place() {
    let (mut a, heard_by_a) = with_policy(b"load 7");
    let ack = a.ack().unwrap();
    assert_eq!(ack, [payload(&Coordinate::default()), b"load 7".to_vec()].concat());
    // Who has no such policy learns the place all the same.
    let mut b = Bench::new();
    b.alive("a");
    b.pong("a", RTT, &ack);
    assert_eq!(b.node.cached_coordinate(b"a"), Some(Coordinate::default()));
    assert_eq!(b.node.stats().rejected_coordinates, 0);

    a.alive("b");
    a.pong("b", RTT, &ack);
    a.pong("b", RTT, &b.ack().unwrap());
    a.pong("b", RTT, b"");
    // What cannot be read is still an answer.
    a.pong("b", RTT, b"\x02load 7");
    let mut poisoned = payload(&Coordinate { height: f64::NAN, ..place(0.01) });
    poisoned.extend(b"load 8");
    a.pong("b", RTT, &poisoned);
    let heard = heard_by_a.heard.lock().unwrap();
    assert!(heard.iter().all(|(name, rtt, _)| (name.as_str(), *rtt) == ("b", RTT)));
    let payloads: Vec<&[u8]> = heard.iter().map(|(_, _, payload)| &payload[..]).collect();
    assert_eq!(payloads, [&b"load 7"[..], b"", b"", b"", b"load 8"]);
    assert_eq!(a.node.stats().rejected_coordinates, 2);
}

#[test]
fn what_is_too_long_for_an_ack_stays_out_of_it_and_is_counted() {
    for (len, shed) in [(PING_PAYLOAD_MAX, 0), (PING_PAYLOAD_MAX + 1, 1)] {
        let (mut bench, _) = with_policy(&alloc::vec![7; len]);
        let sent = bench.ack().unwrap().len() - 130;
        assert_eq!((sent, bench.node.stats().shed_ping_payloads), (len * usize::from(shed == 0), shed));
    }
}

#[test]
fn a_ping_policy_without_coordinates_is_a_mistake() {
    let mut config = Config { disable_coordinates: true, ..config() };
    config.policies.ping = Some(Arc::new(Gossips::default()));
    let why = config.check().unwrap_err();
    assert_eq!(why.to_string(), "a ping policy needs coordinates: enable them, or do without the policy");
}
