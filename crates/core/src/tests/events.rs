//! Firing user events, and hearing of old ones: spec `serf.md` §1.5, §3, §5.1, appendix A.8.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serf_gossip::CommandId;
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, MessageKind, PushPull, UserEvents};

use super::{Bench, config, event};
use crate::{Command, Config, Event, EventTooLong, Failure, Outcome, UserEvent};

impl Bench {
    /// Fires an event; how that ended, and what else was told.
    fn fire(&mut self, name: &str, payload: &[u8]) -> (Outcome, Vec<UserEvent>) {
        self.command(Command::UserEvent {
            id: CommandId(7),
            name: name.into(),
            payload: payload.to_vec(),
            coalesce: true,
        });
        let (mut outcomes, mut told) = (vec![], vec![]);
        for event in self.events() {
            match event {
                Event::Done { id: CommandId(7), outcome } => outcomes.push(outcome),
                Event::User(event) => told.push(event),
                _ => {}
            }
        }
        assert_eq!(outcomes.len(), 1);
        (outcomes.remove(0), told)
    }

    fn told_user_events(&mut self) -> Vec<(u64, String)> {
        let user = |event| match event {
            Event::User(event) => Some((event.ltime, event.name.to_string())),
            _ => None,
        };
        self.events().into_iter().filter_map(user).collect()
    }

    fn event_time(&self) -> u64 {
        self.node.vitals().event_time
    }
}

fn too_long(why: EventTooLong) -> Outcome {
    Outcome::Failed(Failure::EventTooLong(why))
}

fn with_limit(limit: usize) -> Bench {
    let mut bench = Bench::with(Config { user_event_size_limit: limit, ..config() });
    bench.events();
    bench
}

#[test]
fn an_event_of_ours_is_told_once_and_gossiped() {
    let mut bench = Bench::new();
    let (outcome, told) = bench.fire("deploy", b"\xff\0");
    assert_eq!(outcome, Outcome::Ok);
    let event = UserEvent { ltime: 1, name: "deploy".into(), payload: (*b"\xff\0").into(), coalesce: true };
    assert_eq!(told, [event]);
    assert_eq!((bench.event_time(), bench.node.vitals().event_queue), (2, 1));

    let sent = bench.broadcasts();
    assert_eq!(sent.len(), 1);
    let (kind, body) = MessageKind::split(&sent[0]).unwrap();
    assert_eq!(kind, MessageKind::UserEvent);
    let wire = serf::UserEvent::read(&mut Reader::new(body)).unwrap();
    assert_eq!((wire.ltime, wire.name, wire.coalesce), (1, &b"deploy"[..], true));
    // Its own echo is no news.
    assert!(!bench.message(&sent[0]));
    assert_eq!(bench.told_user_events(), []);
}

#[test]
fn an_event_without_a_payload_says_so() {
    let mut bench = Bench::new();
    bench.fire("", b"");
    assert_eq!(bench.broadcasts(), [b"\x03\x84\xa2CC\xc3\xa5LTime\x01\xa4Name\xa0\xa7Payload\xc0"]);
}

// B13: only of others can two events be one.
#[test]
fn the_same_event_twice_is_two_events() {
    let mut bench = Bench::new();
    let times: Vec<u64> = (0..3).flat_map(|_| bench.fire("a", b"x").1).map(|event| event.ltime).collect();
    assert_eq!((times, bench.broadcasts().len()), (vec![1, 2, 3], 3));
}

#[test]
fn an_event_of_ours_is_later_than_all_we_heard() {
    let mut bench = Bench::new();
    bench.message(&event(41, "theirs", None));
    bench.events();
    assert_eq!(bench.fire("ours", b"").1[0].ltime, 42);
}

// "For a 6-byte name the default 512 limit leaves 476 payload bytes at LTime <= 127, …"
#[test]
fn events_fit_512_bytes_when_encoded() {
    for (ltime, room) in
        [(1, 476), (127, 476), (128, 475), (255, 475), (256, 474), (65535, 474), (65536, 472)]
    {
        let mut bench = Bench::new();
        if ltime > 1 {
            bench.message(&event(ltime - 1, "theirs", None));
            bench.events();
        }
        let (outcome, told) = bench.fire("deploy", &vec![7; room + 1]);
        assert_eq!((outcome, told), (too_long(EventTooLong::EncodedConfigured(512)), vec![]), "{ltime}");
        assert_eq!((bench.event_time(), bench.broadcasts()), (ltime, vec![]));
        assert_eq!(bench.fire("deploy", &vec![7; room]).0, Outcome::Ok);
        assert_eq!(bench.broadcasts()[0].len(), 512);
    }
}

#[test]
fn the_limit_is_looked_at_before_and_after_encoding() {
    for limit in [0, 100, 512, 9216] {
        let mut bench = with_limit(limit);
        let fired = bench.fire("four", &vec![0; (limit + 1).saturating_sub(4)]);
        assert_eq!(fired, (too_long(EventTooLong::Configured(limit)), vec![]));
        let fired = bench.fire("", &vec![0; limit]);
        assert_eq!(fired, (too_long(EventTooLong::EncodedConfigured(limit)), vec![]));
        assert_eq!((bench.event_time(), bench.node.vitals().event_queue), (1, 0));
    }
}

#[test]
fn what_is_too_long_is_told_in_the_words_that_operators_know() {
    for (why, text) in [
        (EventTooLong::Configured(512), "user event exceeds configured limit of 512 bytes before encoding"),
        (EventTooLong::Sane, "user event exceeds sane limit of 9216 bytes before encoding"),
        (
            EventTooLong::EncodedConfigured(100),
            "encoded user event exceeds configured limit of 100 bytes after encoding",
        ),
        (
            EventTooLong::EncodedReasonable,
            "encoded user event exceeds reasonable limit of 9216 bytes after encoding",
        ),
    ] {
        assert_eq!(Failure::from(why).to_string(), text);
    }
}

// B14.
#[test]
fn an_event_that_fits_no_datagram_waits_for_full_states_and_its_owner_is_told() {
    let mut bench = with_limit(9216);
    bench.command(Command::UserEvent {
        id: CommandId(1),
        name: "long".into(),
        payload: vec![7; 3000],
        coalesce: false,
    });
    let events = bench.events();
    let has = |so: &dyn Fn(&Event) -> bool| events.iter().any(so);
    assert!(has(&|event| matches!(event, Event::Done { outcome: Outcome::Ok, .. })));
    assert!(has(&|event| matches!(event, Event::User(event) if event.payload.len() == 3000)));
    assert!(has(&|event| matches!(event, Event::Notice(notice)
        if notice.text.starts_with("user event 'long' of 3034 bytes is longer than the 1390 "))));
    assert_eq!((bench.node.vitals().event_queue, bench.node.stats().shed_broadcasts), (0, 1));

    let mut state = Vec::new();
    bench.node.serf.write_local_state(&mut state);
    let mut peer = Bench::new();
    peer.node.serf.merge_remote_state(peer.now, &state, false);
    assert_eq!(peer.told_user_events(), [(1, "long".into())]);
}

#[test]
fn nothing_is_fired_after_the_end() {
    let mut bench = Bench::new();
    bench.command(Command::Shutdown { id: CommandId(1) });
    bench.events();
    assert_eq!(bench.fire("late", b""), (Outcome::Failed(Failure::Shutdown), vec![]));
}

// A ring that has gone round tells its latest times first.
#[test]
fn old_events_are_told_in_the_order_of_their_times() {
    let mut peer = Bench::new();
    for ltime in [510, 511, 512, 513, 600] {
        peer.message(&event(ltime, "e", None));
    }
    let mut state = Vec::new();
    peer.node.serf.write_local_state(&mut state);
    let mut bench = Bench::new();
    bench.node.serf.merge_remote_state(bench.now, &state, true);
    let times: Vec<u64> = bench.told_user_events().into_iter().map(|(ltime, _)| ltime).collect();
    assert_eq!(times, [510, 511, 512, 513, 600]);
}

#[test]
fn a_ring_that_is_longer_than_ours_is_heard_to_its_end() {
    let mut bench = Bench::with(Config { event_buffer: 20_000, ..config() });
    let events = [serf::Event { name: b"e", payload: None }];
    let slots: Vec<_> =
        (0..10_000).rev().map(|ltime| Some(UserEvents { ltime, events: List::of(&events) })).collect();
    bench.merge(&PushPull { event_ltime: 10_000, events: List::of(&slots), ..PushPull::default() }, false);
    assert_eq!(bench.told_user_events().len(), 10_000);
}
