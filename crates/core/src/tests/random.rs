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
use serf_wire::list::List;
use serf_wire::serf::PushPull;

use super::{Bench, config, event, query};
use crate::MemberEventKind::{self, Failed, Join, Leave, Reap, Update};
use crate::{Command, NodeState, Status};

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
}

fn happening() -> impl Strategy<Value = Happening> {
    let name = || 0..NAMES.len();
    let time = || prop_oneof![8 => 0..12_u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)];
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
    ]
}

fn happen(bench: &mut Bench, what: &Happening) {
    match what {
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
    let mut bench = Bench::with(config);
    let mut believed = BTreeMap::new();
    let mut clocks = (0, 0, 0);
    for what in happenings {
        happen(&mut bench, what);
        clocks = look(&mut bench, clocks, &mut believed);
    }
    // When nothing more happens everything comes to rest.
    bench.command(Command::Leave { id: CommandId(3) });
    bench.wait(Duration::from_secs(3600));
    bench.broadcasts();
    bench.events();
    assert!(!bench.node.serf.has_broadcasts());
    assert_eq!(bench.node.state(), NodeState::Left);
}

fn look(
    bench: &mut Bench,
    clocks: (u64, u64, u64),
    believed: &mut BTreeMap<String, Status>,
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
    for (kind, name) in bench.member_events() {
        listen(believed, kind, &name);
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
