//! Whatever comes in whatever order: nothing panics, and some things are always so.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use alloc::vec;
use proptest::collection::vec as many;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serf_gossip::{CommandId, Delegate, Name};
use serf_wire::encrypt::Key;
use serf_wire::list::List;
use serf_wire::serf::{self, KeyRequest, MessageKind, PushPull, RelayHeader};

use super::disputes::known;
use super::queries::{answer_to, encode, read_query, wire};
use super::{Bench, config, event, message, query};
use crate::MemberEventKind::{self, Failed, Join, Leave, Reap, Update};
use crate::lamport::LTIME_MAX;
use crate::{Answer, Command, Event, NodeState, Outcome, Query, QueryKey, Status};

/// Few names and times, so that things meet.
const NAMES: [&str; 4] = ["me", "foo", "bar", ""];

#[derive(Debug, Clone)]
enum Happening {
    Alive(usize),
    Dead(usize, usize),
    Join(usize, u64),
    Leave(usize, u64, bool),
    State(Vec<(usize, u64)>, Vec<usize>, u64),
    Event(u64),
    Query(u64),
    Bytes(Vec<u8>),
    StateBytes(Vec<u8>),
    Wait(u64),
    ForceLeave(usize, bool),
    OwnLeave,
    Ask(Vec<usize>, Option<usize>, bool, u64),
    Close(usize),
    Answer(usize, usize, bool, Vec<u8>),
    Vote(usize, usize, bool),
    Asked(u64, usize, Vec<u8>, u8),
    Respond(usize, usize),
    Relay(usize, Vec<u8>),
    /// Somebody claims our name.
    Claim,
}

/// Names of queries that are answered, of those that nodes answer themselves, and of none.
const QUERIES: [&str; 9] = [
    "load",
    "",
    "_serf_ping",
    "_serf_conflict",
    "_serf_install-key",
    "_serf_use-key",
    "_serf_remove-key",
    "_serf_list-keys",
    "_serf_x",
];
/// What tags are asked for.
const EXPRESSIONS: [&str; 4] = ["", "^$", "x", "("];

fn happening() -> impl Strategy<Value = Happening> {
    let name = || 0..NAMES.len();
    let time = || prop_oneof![8 => 0..12_u64, 1 => Just(u64::MAX), 1 => Just(LTIME_MAX)];
    prop_oneof![
        4 => name().prop_map(Happening::Alive),
        3 => (name(), name()).prop_map(|(name, from)| Happening::Dead(name, from)),
        3 => (name(), time()).prop_map(|(name, time)| Happening::Join(name, time)),
        4 => (name(), time(), any::<bool>()).prop_map(|(n, t, prune)| Happening::Leave(n, t, prune)),
        2 => (many((name(), time()), 0..4), many(name(), 0..3), time())
            .prop_map(|(times, left, clock)| Happening::State(times, left, clock)),
        1 => time().prop_map(Happening::Event),
        1 => time().prop_map(Happening::Query),
        1 => many(any::<u8>(), 0..40).prop_map(Happening::Bytes),
        1 => many(any::<u8>(), 0..40).prop_map(Happening::StateBytes),
        3 => (0..20_u64).prop_map(Happening::Wait),
        1 => (name(), any::<bool>()).prop_map(|(name, prune)| Happening::ForceLeave(name, prune)),
        1 => Just(Happening::OwnLeave),
        3 => (many(name(), 0..3), proptest::option::of(0..EXPRESSIONS.len()), any::<bool>(), 0..9_u64)
            .prop_map(|(nodes, tag, ack, seconds)| Happening::Ask(nodes, tag, ack, seconds)),
        1 => (0..4_usize).prop_map(Happening::Close),
        5 => (0..4_usize, name(), any::<bool>(), many(any::<u8>(), 0..9))
            .prop_map(|(which, from, ack, payload)| Happening::Answer(which, from, ack, payload)),
        2 => (0..4_usize, name(), any::<bool>()).prop_map(|(w, from, ours)| Happening::Vote(w, from, ours)),
        4 => (time(), 0..QUERIES.len(), payload(), 0..4_u8)
            .prop_map(|(time, name, payload, relays)| Happening::Asked(time, name, payload, relays)),
        3 => (0..4_usize, prop_oneof![0..9_usize, 900..1100_usize])
            .prop_map(|(which, len)| Happening::Respond(which, len)),
        1 => (name(), many(any::<u8>(), 0..20)).prop_map(|(to, inner)| Happening::Relay(to, inner)),
        1 => Just(Happening::Claim),
    ]
}

/// What queries carry: keys, and what is none.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let key = |(byte, len): (u8, usize)| {
        let key = vec![byte; len];
        message(MessageKind::KeyRequest, |w| KeyRequest { key: Some(key.as_slice().into()) }.write(w))
    };
    prop_oneof![
        2 => (0..3_u8, prop_oneof![Just(16_usize), Just(32), 0..40_usize]).prop_map(key),
        1 => many(any::<u8>(), 0..9),
        1 => (0..NAMES.len()).prop_map(|name| NAMES[name].as_bytes().to_vec()),
    ]
}

/// Queries, from both sides.
#[derive(Default)]
struct Talk {
    asked: u64,
    /// As they were gossiped.
    sent: Vec<Vec<u8>>,
    /// Those under way, and what has come of each.
    open: BTreeMap<CommandId, Vec<(Name, bool)>>,
    /// Those to be answered.
    heard: Vec<QueryKey>,
}

impl Talk {
    /// What is told of queries: only of those under way, of each what is new, and one end.
    fn listen(&mut self, bench: &mut Bench, event: &Event) {
        match event {
            Event::Done { id, outcome: Outcome::Asked { .. } } => {
                assert!(self.open.insert(*id, Vec::new()).is_none());
            }
            Event::Answer { id, answer } => {
                let news = match answer {
                    Answer::Ack { from } => (from.clone(), true),
                    Answer::Response { from, .. } => (from.clone(), false),
                };
                let known = self.open.get_mut(id).unwrap();
                assert!(!known.contains(&news), "{news:?} again");
                known.push(news);
            }
            Event::QueryEnded { id, .. } => {
                assert!(self.open.remove(id).is_some());
            }
            Event::Query(query) => {
                assert!(!query.name.as_bytes().starts_with(b"_serf_"));
                self.heard.push(query.key);
            }
            Event::KeysChanged { key, keys } => {
                assert_eq!(bench.node.gossip().keyring().keys().len(), keys.len());
                bench.command(Command::KeysKept { key: *key, result: Ok(()) });
            }
            _ => {}
        }
    }

    fn ask(&mut self, bench: &mut Bench, query: Query) {
        self.asked += 1;
        bench.broadcasts();
        bench.command(Command::Query { id: CommandId(1000 + self.asked), query });
        self.sent.extend(bench.broadcasts().into_iter().filter(|message| message[0] == 4));
    }

    /// One of the last few.
    fn recent(&self, which: usize) -> Option<Vec<u8>> {
        self.sent.iter().rev().nth(which).cloned()
    }
}

fn happen(bench: &mut Bench, talk: &mut Talk, what: &Happening) {
    match what {
        Happening::Ask(nodes, tag, ack, seconds) => {
            let mut query = Query::new("q").to_nodes(nodes.iter().map(|name| NAMES[*name]));
            query.timeout = Some(Duration::from_secs(*seconds));
            query.ack = *ack;
            query.tags = tag.iter().map(|tag| ("tag".into(), EXPRESSIONS[*tag].into())).collect();
            talk.ask(bench, query);
        }
        Happening::Close(which) => {
            let id = CommandId(1000 + talk.asked.saturating_sub(*which as u64));
            bench.command(Command::CloseQuery { id });
        }
        Happening::Answer(which, from, ack, payload) => {
            let Some(query) = talk.recent(*which) else { return };
            let answer = answer_to(&read_query(&query), NAMES[*from], u32::from(*ack), Some(payload));
            bench.datagram(&[&[8], &*answer].concat());
        }
        Happening::Vote(which, from, ours) => {
            let Some(query) = talk.recent(*which) else { return };
            let addr = if *ours { [10, 0, 0, 1] } else { [10, 6, 6, 6] };
            let payload = known((addr, 7946));
            let answer = answer_to(&read_query(&query), NAMES[*from], 0, Some(&payload));
            bench.datagram(&[&[8], &*answer].concat());
        }
        Happening::Asked(time, name, payload, relay_factor) => {
            let (name, payload) = (QUERIES[*name].as_bytes(), Some(payload.as_slice().into()));
            let flags = u32::from(*relay_factor) % 2;
            let query =
                serf::Query { name, payload, flags, relay_factor: *relay_factor, ..wire(*time % 1000) };
            passed_on_once(bench, &encode(&query));
        }
        Happening::Respond(which, len) => {
            let Some(key) = talk.heard.iter().rev().nth(*which).copied() else { return };
            bench.command(Command::Respond { id: CommandId(4), key, payload: vec![7; *len] });
        }
        Happening::Relay(to, inner) => {
            let header = RelayHeader {
                ip: (&[10, 0, 0, 2][..]).into(),
                port: 7946,
                zone: b"",
                dest_name: NAMES[*to].as_bytes(),
            };
            let mut bytes = message(MessageKind::Relay, |w| header.write(w));
            bytes.extend_from_slice(inner);
            bench.message(&bytes);
        }
        Happening::Claim => talk.sent.extend(bench.claimed()),
        Happening::Alive(name) => bench.alive(NAMES[*name]),
        Happening::Dead(name, from) => bench.dead(NAMES[*name], NAMES[*from]),
        Happening::Join(name, time) => passed_on_once(bench, &super::join(NAMES[*name], *time)),
        Happening::Leave(name, time, prune) => {
            passed_on_once(bench, &super::leave(NAMES[*name], *time, *prune));
        }
        Happening::State(times, left, clock) => {
            let times: Vec<(&[u8], u64)> = times.iter().map(|(n, t)| (NAMES[*n].as_bytes(), *t)).collect();
            let left: Vec<&[u8]> = left.iter().map(|n| NAMES[*n].as_bytes()).collect();
            let state = PushPull {
                ltime: *clock,
                status_ltimes: List::of(&times),
                left_members: List::of(&left),
                ..PushPull::default()
            };
            bench.merge(&state, true);
        }
        Happening::Event(time) => passed_on_once(bench, &event(*time, "e", None)),
        Happening::Query(time) => passed_on_once(bench, &query(*time, 1, 0)),
        Happening::Bytes(bytes) => {
            bench.message(bytes);
            bench.datagram(bytes);
        }
        Happening::StateBytes(bytes) => {
            let bytes = [&[2][..], bytes].concat();
            bench.node.serf.merge_remote_state(bench.now, &bytes, false);
        }
        Happening::Wait(seconds) => bench.wait(Duration::from_secs(*seconds)),
        Happening::ForceLeave(name, prune) => {
            let name = Name::from(NAMES[*name]);
            bench.command(Command::ForceLeave { id: CommandId(1), name, prune: *prune });
        }
        Happening::OwnLeave => bench.command(Command::Leave { id: CommandId(2) }),
    }
}

/// The same bytes are not news again and again, or they would go round for ever. A prune may be news twice: of one it
/// erased nobody knows any more that it was to be erased.
fn passed_on_once(bench: &mut Bench, bytes: &[u8]) {
    let is_prune = bytes[0] == 0 && bytes.ends_with(b"\xa5Prune\xc3");
    bench.message(bytes);
    if is_prune {
        bench.message(bytes);
    }
    assert!(!bench.message(bytes), "{bytes:02x?}");
}

/// What listeners believe of a member who know nothing but events.
fn listen(believed: &mut BTreeMap<String, Status>, kind: MemberEventKind, name: &str) {
    let before = believed.get(name).copied();
    let after = match (kind, before) {
        (Join, None | Some(Status::Left | Status::Failed)) => Some(Status::Alive),
        (Leave, Some(Status::Alive | Status::Failed)) => Some(Status::Left),
        (Failed, Some(Status::Alive)) => Some(Status::Failed),
        (Update, Some(Status::Alive)) => Some(Status::Alive),
        (Reap, Some(Status::Left | Status::Failed)) => None,
        _ => panic!("{kind} of {name:?}, who was {before:?}"),
    };
    match after {
        Some(status) => believed.insert(name.into(), status),
        None => believed.remove(name),
    };
}

fn play(happenings: &[Happening]) {
    let mut config = config();
    config.reap_interval = Duration::from_secs(1);
    config.reconnect_interval = Duration::from_secs(1);
    config.reconnect_timeout = Duration::from_secs(15);
    config.tombstone_timeout = Duration::from_secs(25);
    config.recent_intent_timeout = Duration::from_secs(10);
    config.gossip.keys = vec![Key::new(&[1; 16]).unwrap()];
    config.gossip.verify_incoming = false;
    config.gossip.verify_outgoing = false;
    config.keep_keys = happenings.len().is_multiple_of(2);
    let mut bench = Bench::with(config);
    let mut believed = BTreeMap::new();
    let mut talk = Talk::default();
    let mut clocks = (0, 0, 0);
    for what in happenings {
        happen(&mut bench, &mut talk, what);
        clocks = look(&mut bench, clocks, &mut believed, &mut talk);
        if bench.node.state() == NodeState::Shutdown {
            // Our name was lost.
            assert!(talk.open.is_empty() && bench.next_due().is_none());
            return;
        }
    }
    // When nothing more happens everything comes to rest.
    bench.command(Command::Leave { id: CommandId(3) });
    bench.wait(Duration::from_secs(3600));
    bench.broadcasts();
    for event in bench.events() {
        talk.listen(&mut bench, &event);
    }
    assert!(talk.open.is_empty() && !bench.node.serf.has_broadcasts());
    assert!(bench.node.gossip().keyring().primary().is_some());
    assert!(matches!(bench.node.state(), NodeState::Left | NodeState::Shutdown));
}

fn look(
    bench: &mut Bench,
    clocks: (u64, u64, u64),
    believed: &mut BTreeMap<String, Status>,
    talk: &mut Talk,
) -> (u64, u64, u64) {
    // Clocks never go back, and no status time is ahead of them.
    let v = bench.node.vitals();
    let now = (v.member_time, v.event_time, v.query_time);
    assert!(now.0 >= clocks.0 && now.1 >= clocks.1 && now.2 >= clocks.2);
    assert!(bench.node.serf.table.iter().all(|r| r.status_ltime <= v.member_time));

    // The counts are right, and the list is sorted.
    let members = bench.node.members();
    let count = |status| members.iter().filter(|m| m.status == status).count();
    assert_eq!((v.members, v.failed, v.left), (members.len(), count(Status::Failed), count(Status::Left)));
    assert!(members.is_sorted_by(|a, b| a.name < b.name));
    assert!(members.iter().all(|m| bench.node.member(m.name.as_bytes()).as_ref() == Some(m)));

    // We are there, and alive as long as we want to be.
    let me = bench.node.local_member().map(|me| me.status);
    assert!(me == Some(Status::Alive) || bench.node.state() != NodeState::Alive);

    // Whoever hears only events believes the same. (Leaving is no event.)
    for event in bench.events() {
        talk.listen(bench, &event);
        if let Event::Member(event) = event {
            listen(believed, event.kind, &alloc::format!("{}", event.members[0].name));
        }
    }
    for member in members.iter() {
        let status = if member.status == Status::Leaving { Status::Alive } else { member.status };
        assert_eq!(believed.get(&alloc::format!("{}", member.name)), Some(&status));
    }
    assert_eq!(believed.len(), members.len());

    // Of all who are gone it is known since when, and only of them.
    for record in bench.node.serf.table.iter() {
        let is_gone = matches!(record.status(), Status::Failed | Status::Left);
        assert_eq!(record.gone_since.is_some(), is_gone, "{record:?}");
    }
    // Only those wait to be pruned who are leaving, or left while they waited.
    for name in bench.node.serf.prunes.keys() {
        let status = bench.node.member(name.as_bytes()).map(|member| member.status);
        assert!(matches!(status, Some(Status::Leaving | Status::Left)), "{name}: {status:?}");
    }
    now
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn some_things_are_always_so(happenings in many(happening(), 1..60)) {
        play(&happenings);
    }
}

#[test]
fn a_node_may_move_to_another_thread() {
    fn movable<T: Send>(_: &T) {}
    movable(&Bench::new().node);
}
