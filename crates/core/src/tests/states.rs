//! The full state, both ways: spec `serf.md` appendix A.2, §4.8, and the weaknesses of appendix B about it.

use alloc::vec::Vec;

use serf_gossip::Delegate;
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{Event, MessageKind, PushPull, UserEvents};

use super::{Bench, event, join, leave, message, query};
use crate::intent_buffer::Kind;
use crate::lamport::LTIME_MAX;
use crate::{MemberEventKind, Status};

impl Bench {
    pub(crate) fn merge(&mut self, state: &PushPull<'_>, join: bool) {
        let bytes = message(MessageKind::PushPull, |w| state.write(w));
        self.node.serf.merge_remote_state(self.now, &bytes, join);
    }

    pub(crate) fn merge_times(&mut self, times: &[(&str, u64)]) {
        let times: Vec<(&[u8], u64)> = times.iter().map(|(name, time)| (name.as_bytes(), *time)).collect();
        self.merge(&PushPull { status_ltimes: List::of(&times), ..PushPull::default() }, false);
    }

    fn merge_left(&mut self, name: &str, time: u64) {
        let times = [(name.as_bytes(), time)];
        let left = [name.as_bytes()];
        let state = PushPull {
            status_ltimes: List::of(&times),
            left_members: List::of(&left),
            ..PushPull::default()
        };
        self.merge(&state, false);
    }

    fn merge_event(&mut self, ltime: u64, name: &str, clock: u64, join: bool) {
        let events = [Event { name: name.as_bytes(), payload: None }];
        let slots = [None, Some(UserEvents { ltime, events: List::of(&events) })];
        self.merge(&PushPull { event_ltime: clock, events: List::of(&slots), ..PushPull::default() }, join);
    }

    fn local_state(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.node.serf.local_state(false, &mut out);
        out
    }

    fn user_events(&mut self) -> Vec<(u64, alloc::string::String)> {
        let events = self.events();
        events
            .into_iter()
            .filter_map(|event| match event {
                crate::Event::User(event) => Some((event.ltime, alloc::format!("{}", event.name))),
                _ => None,
            })
            .collect()
    }
}

// "Local state after event + query + peer's leave and reap: type byte 2, times equal the clocks, one status entry, no
// left members, as many events as the ring has slots."
#[test]
fn the_local_state_tells_clocks_members_and_the_whole_ring() {
    let mut bench = Bench::new();
    bench.alive("peer");
    bench.leave("peer", 3);
    bench.dead("peer", "peer");
    bench.message(&event(7, "deploy", Some(b"v1")));
    bench.message(&query(9, 1, 0));
    bench.wait(core::time::Duration::from_secs(25 * 3600));

    let bytes = bench.local_state();
    let (kind, body) = MessageKind::split(&bytes).unwrap();
    let state = PushPull::read(&mut Reader::new(body)).unwrap();
    assert_eq!(kind as u8, 2);
    let vitals = bench.node.vitals();
    assert_eq!(
        (state.ltime, state.event_ltime, state.query_ltime),
        (vitals.member_time, vitals.event_time, vitals.query_time)
    );
    assert_eq!((state.event_ltime, state.query_ltime), (8, 10));
    assert_eq!(state.status_ltimes.iter().collect::<Vec<_>>(), [(&b"me"[..], 0)]);
    assert!(state.left_members.is_empty() && !state.left_members.is_absent());
    assert_eq!(state.events.len(), 512);
    assert_eq!(state.events.iter().position(|slot| slot.is_some()), Some(7));
}

#[test]
fn the_local_state_of_a_fresh_node_is_the_golden_one() {
    let mut gossip =
        serf_gossip::Config::lan("n11".into(), serf_gossip::Address::new(&[127, 0, 78, 11], 7946));
    gossip.probe_interval = core::time::Duration::ZERO;
    let mut bench = Bench::with(crate::Config::new(gossip));
    let mut want = Vec::from(*b"\x02\x86\xaaEventLTime\x01\xa6Events\xdc\x02\x00");
    want.extend_from_slice(&[0xc0; 512]);
    want.extend_from_slice(
        b"\xa5LTime\x01\xabLeftMembers\x90\xaaQueryLTime\x01\xacStatusLTimes\x81\xa3n11\x00",
    );
    assert_eq!(want.len(), 587);
    assert_eq!(bench.local_state(), want);
}

#[test]
fn events_in_a_state_are_passed_on_with_their_payloads_as_they_came() {
    let mut bench = Bench::new();
    bench.message(&event(1, "none", None));
    bench.message(&event(1, "empty", Some(b"")));
    bench.message(&event(2, "some", Some(b"v1")));
    let bytes = bench.local_state();
    let state = PushPull::read(&mut Reader::new(&bytes[1..])).unwrap();
    let slots: Vec<_> = state.events.iter().collect();
    let at_1: Vec<_> = slots[1].unwrap().events.iter().map(|e| (e.name, e.payload)).collect();
    assert_eq!(at_1, [(&b"none"[..], None), (b"empty", Some((&b""[..]).into()))]);
    let at_2: Vec<_> = slots[2].unwrap().events.iter().map(|e| (e.name, e.payload)).collect();
    assert_eq!(at_2, [(&b"some"[..], Some((&b"v1"[..]).into()))]);

    // What another node learns from it, it tells the same way.
    let mut other = Bench::new();
    other.node.serf.merge_remote_state(other.now, &bytes, false);
    let told = other.local_state();
    let retold = PushPull::read(&mut Reader::new(&told[1..])).unwrap();
    assert_eq!(retold.events, state.events);
}

// "Merging {LTime 42, StatusLTimes test=20 foo=15, LeftMembers foo, EventLTime 50, event at 45, QueryLTime 100}: clocks
// become 42 / 50 / 100, join intent for test at 20, leave intent for foo at 16, event stored in slot 45."
#[test]
fn merging_a_state_takes_over_clocks_intents_and_events() {
    let mut bench = Bench::new();
    let times = [(&b"test"[..], 20), (b"foo", 15)];
    let left = [&b"foo"[..]];
    let events = [Event { name: b"test", payload: None }];
    let slots = [None, Some(UserEvents { ltime: 45, events: List::of(&events) })];
    let state = PushPull {
        ltime: 42,
        status_ltimes: List::of(&times),
        left_members: List::of(&left),
        event_ltime: 50,
        events: List::of(&slots),
        query_ltime: 100,
    };
    bench.merge(&state, false);
    let vitals = bench.node.vitals();
    assert_eq!((vitals.member_time, vitals.event_time, vitals.query_time), (42, 50, 100));
    let intent = |name: &[u8]| bench.node.serf.intents.get(name).map(|i| (i.kind, i.ltime));
    assert_eq!(intent(b"test"), Some((Kind::Join, 20)));
    // The reference guesses one later (B8), and would not believe a join of that time.
    assert_eq!(intent(b"foo"), Some((Kind::Leave, 15)));
    let slots: Vec<_> = bench.node.serf.events.slots().map(|(at, slot)| (at, slot.ltime)).collect();
    assert_eq!(slots, [(45, 45)]);
    assert_eq!(bench.user_events(), [(45, "test".into())]);
    // Nothing learnt here is gossiped on.
    assert_eq!(bench.broadcasts(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_member_listed_as_left_without_a_time_left_before_all_times() {
    let mut bench = Bench::new();
    bench.merge(&PushPull { left_members: List::of(&[b"foo"]), ..PushPull::default() }, false);
    assert_eq!(bench.node.serf.intents.get(b"foo").map(|i| (i.kind, i.ltime)), Some((Kind::Leave, 0)));
}

#[test]
fn a_state_of_something_else_changes_nothing() {
    let mut bench = Bench::new();
    for bytes in [&b""[..], b"\x01\x80", b"\x0b", b"\x02", b"\x02\x86\xa5LTime", b"\xffgarbage"] {
        bench.node.serf.merge_remote_state(bench.now, bytes, true);
    }
    assert_eq!(bench.node.stats().bad_messages, 6);
    let vitals = bench.node.vitals();
    assert_eq!((vitals.member_time, vitals.event_time, vitals.query_time), (1, 1, 1));
}

#[test]
fn one_whom_a_peer_lists_as_left_is_leaving_until_it_is_gone() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.merge_left("foo", 5);
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Leaving, 5));
    bench.dead("foo", "foo");
    assert_eq!(bench.status("foo"), Status::Left);
}

// A peer that heard that one joined again, and not yet that it is there, lists it as left at the time of that join. To
// guess a later leave from that would show it as leaving for ever: it does not hear of it, and so does not refute.
#[test]
fn one_who_joined_again_is_not_leaving_because_a_peer_is_late() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.join("foo", 5);
    for told in [4, 5] {
        bench.merge_left("foo", told);
        assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Alive, 5), "{told}");
    }
    assert_eq!(bench.member_time(), 6);
    // Nor if we know of that join from hearsay, which may really have been the leave: then it will be gone soon.
    bench.merge_times(&[("foo", 7)]);
    bench.merge_left("foo", 7);
    assert_eq!(bench.status("foo"), Status::Alive);
    bench.dead("foo", "foo");
    bench.merge_left("foo", 7);
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Left, 7));
}

// From mouth to mouth a time must not grow beyond that of the join of one who is back.
#[test]
fn the_time_of_a_leave_told_by_a_peer_is_not_made_later() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.join("foo", 5);
    bench.dead("foo", "me");
    bench.merge_left("foo", 4);
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Failed, 5));
    bench.merge_left("foo", 5);
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Left, 5));
}

// It may even be the first from whom we hear of that join.
#[test]
fn a_leave_told_by_a_peer_is_taken_back_by_a_join_of_its_time() {
    for heard_from_a_peer in [false, true] {
        let mut bench = Bench::new();
        bench.alive("foo");
        bench.merge_left("foo", 5);
        assert_eq!(bench.status("foo"), Status::Leaving);
        if heard_from_a_peer {
            bench.merge_times(&[("foo", 5)]);
        } else {
            assert!(bench.join("foo", 5) && !bench.join("foo", 5));
        }
        assert_eq!(bench.status("foo"), Status::Alive);
        bench.merge_left("foo", 5);
        assert_eq!(bench.status("foo"), Status::Alive);
    }
    // A leave that was heard itself is not.
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.leave("foo", 5);
    bench.merge_times(&[("foo", 5)]);
    assert_eq!(bench.status("foo"), Status::Leaving);
}

// The same if we have heard of the join, and not yet of the one who joined.
#[test]
fn one_who_is_not_here_yet_is_not_leaving_because_a_peer_is_late() {
    let mut bench = Bench::new();
    bench.join("foo", 5);
    bench.merge_left("foo", 5);
    bench.merge_left("bar", 5);
    bench.join("bar", 6);
    for name in ["foo", "bar"] {
        bench.alive(name);
        assert_eq!(bench.status(name), Status::Alive, "{name}");
    }
}

// The rejoin may have the very next time after the leave.
#[test]
fn a_join_right_after_a_leave_told_by_a_peer_is_believed() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.merge_left("foo", 5);
    assert_eq!(bench.status("foo"), Status::Leaving);
    assert!(bench.join("foo", 6));
    assert_eq!(bench.status("foo"), Status::Alive);
}

#[test]
fn one_who_failed_here_and_left_there_has_left() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.dead("foo", "me");
    bench.member_events();
    bench.merge_left("foo", 5);
    assert_eq!(bench.status("foo"), Status::Left);
    assert_eq!(bench.member_events(), [(MemberEventKind::Leave, "foo".into())]);
}

#[test]
fn a_peer_that_lists_us_as_left_hears_that_we_are_here() {
    let mut bench = Bench::new();
    bench.merge_left("me", 70);
    assert_eq!((bench.status("me"), bench.status_time("me")), (Status::Alive, 71 + 1));
    assert_eq!(bench.broadcasts(), [join("me", 72)]);
}

// B6.
#[test]
fn two_who_agree_that_a_member_left_do_not_push_each_others_time() {
    let mut one = Bench::new();
    let mut two = Bench::new();
    for bench in [&mut one, &mut two] {
        bench.alive("gone");
        bench.leave("gone", 3);
        bench.dead("gone", "gone");
    }
    two.leave("gone", 7);
    for _ in 0..10 {
        let (a, b) = (one.local_state(), two.local_state());
        one.node.serf.merge_remote_state(one.now, &b, false);
        two.node.serf.merge_remote_state(two.now, &a, false);
    }
    assert_eq!((one.status_time("gone"), two.status_time("gone")), (7, 7));
    assert_eq!((one.member_time(), two.member_time()), (8, 8));
}

#[test]
fn a_join_that_ignores_the_old_keeps_older_events_out() {
    let mut bench = Bench::new();
    bench.node.serf.ignoring_old = true;
    bench.merge_event(4, "old", 9, true);
    assert_eq!(bench.user_events(), []);
    bench.node.serf.ignoring_old = false;
    // And so it stays.
    bench.merge_event(8, "old", 9, false);
    bench.message(&event(8, "old", None));
    bench.message(&event(9, "new", None));
    assert_eq!(bench.user_events(), [(9, "new".into())]);
}

#[test]
fn only_a_joining_exchange_ignores_the_old() {
    let mut bench = Bench::new();
    bench.node.serf.ignoring_old = true;
    bench.merge_event(4, "old", 9, false);
    assert_eq!(bench.user_events(), [(4, "old".into())]);
}

// B2.
#[test]
fn a_time_at_the_end_of_time_is_refused_and_nothing_changes() {
    for end in [u64::MAX, u64::MAX - 1, LTIME_MAX + 1] {
        let mut bench = Bench::new();
        bench.alive("foo");
        let before = bench.node.vitals();
        bench.node.serf.ignoring_old = true;
        for join in [false, true] {
            let clocks = PushPull { ltime: end, event_ltime: end, query_ltime: end, ..PushPull::default() };
            bench.merge(&clocks, join);
            bench.merge_event(end, "last", 9, join);
        }
        bench.merge_left("foo", end);
        for message in [event(end, "last", None), query(end, 1, 0), leave("me", end, false), join("foo", end)]
        {
            assert!(!bench.message(&message));
        }
        assert!(!bench.leave("foo", end));
        let (status, time) = (bench.status("foo"), bench.status_time("foo"));
        assert_eq!((status, time, bench.user_events()), (Status::Alive, 0, Vec::new()));
        // What the states tell beside that is heard.
        let after = bench.node.vitals();
        assert_eq!((after.member_time, after.query_time), (before.member_time, before.query_time));
        assert!(after.event_time < 100);
        assert_eq!(bench.node.stats().bad_messages, 10);
        // Life goes on.
        assert!(bench.message(&event(100, "next", None)) && bench.leave("foo", 9));
    }
}

// B2: peers that were led so far are followed, and there is room to go on.
#[test]
fn a_time_short_of_the_end_of_time_is_followed() {
    let mut bench = Bench::new();
    bench.message(&event(LTIME_MAX, "far", None));
    assert!(bench.message(&event(LTIME_MAX, "again", None)));
    assert_eq!(bench.node.vitals().event_time, LTIME_MAX + 1);
}
