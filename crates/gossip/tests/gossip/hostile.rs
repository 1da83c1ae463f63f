//! Anything at all is fed to a machine: it neither panics nor forgets itself, keeps its tables small, ends every stream,
//! and still answers.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serf_gossip::{Command, Config, Event, State, StreamAction, StreamEvent, StreamId};
use serf_wire::encrypt::Key;

use crate::net::address;
use crate::rig::{
    Life, Rig, Said, ack, compound, dead, indirect_ping, nack, ping, push_pull, rig_config, seal,
    seal_request, stranger, suspect, user,
};

/// What the world does next.
#[derive(Debug, Clone)]
enum Deed {
    Datagram(Vec<u8>),
    Accept(u64),
    Data(u64, Vec<u8>),
    Written(u64),
    Connected(u64),
    Ended(u64),
    Failed(u64),
    Pass(u64),
    Jump(u64),
    Command(u8),
}

/// Messages as they should be, about the members and the machine itself, with numbers of all sizes.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just("me".to_string()), (2..6_u8).prop_map(|i| format!("n{i}")), ".{0,8}"];
    let number = prop_oneof![0..4_u32, (u32::MAX - 3)..=u32::MAX, any::<u32>()];
    (0..12_u8, name.clone(), name, number, vec(any::<u8>(), 0..40), any::<bool>()).prop_map(
        |(kind, node, from, number, bytes, flag)| {
            let i = usize::from(bytes.first().copied().unwrap_or(3) % 8);
            let life = || Life::named(&node, address(if flag { i } else { 1 }), number).meta(&bytes);
            match kind {
                0 => ping(number, &node, flag.then_some((&stranger(), &from))),
                1 => indirect_ping(number, (&address(i), &node), flag.then_some((&address(9), &from)), flag),
                2 => ack(number, flag.then_some(&bytes)),
                3 => nack(number),
                4 => suspect(&node, number, &from),
                5 => dead(&node, number, &from),
                6 => life().message(),
                7 => user(&bytes),
                8 => compound(&[suspect(&node, number, &from), life().message(), ping(number, "", None)]),
                9 => seal(&dead(&node, number, &from), b"", None, true, flag),
                10 => push_pull(flag, &[life(), life().state(State::Dead), Life::of(i, number)], &bytes),
                _ => seal_request(&push_pull(flag, &[life().state(State::Left)], &bytes), b"", None, true),
            }
        },
    )
}

/// The same with a few bytes changed, or cut, or anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let mutated =
        (valid(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<prop::sample::Index>())
            .prop_map(|(mut bytes, changes, cut)| {
                for (at, to) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = to;
                }
                if cut.index(8) == 0 {
                    bytes.truncate(cut.index(bytes.len()));
                }
                bytes
            });
    prop_oneof![3 => valid(), 3 => mutated, 1 => vec(any::<u8>(), 0..60), 1 => (0..15_u8, vec(any::<u8>(), 0..60))
        .prop_map(|(kind, rest)| [vec![kind], rest].concat())]
}

fn deed() -> impl Strategy<Value = Deed> {
    // Ours are even, theirs odd; both are met, and others too.
    let id = || 0..12_u64;
    prop_oneof![
        6 => bytes().prop_map(Deed::Datagram),
        2 => id().prop_map(Deed::Accept),
        3 => (id(), bytes()).prop_map(|(id, bytes)| Deed::Data(id, bytes)),
        1 => id().prop_map(Deed::Written),
        1 => id().prop_map(Deed::Connected),
        1 => id().prop_map(Deed::Ended),
        1 => id().prop_map(Deed::Failed),
        2 => (0..3000_u64).prop_map(Deed::Pass),
        1 => (0..100_000_u64).prop_map(Deed::Jump),
        1 => any::<u8>().prop_map(Deed::Command),
    ]
}

fn command(rig: &mut Rig, which: u8) -> bool {
    let i = usize::from(which / 8);
    let (peer, bytes) = (rig.peer(i), vec![which; i]);
    match which % 8 {
        0 | 1 => rig.command(|id| Command::Join { id, peers: vec![peer; i] }),
        2 => rig.command(|id| Command::UpdateMeta { id, meta: bytes, timeout: Duration::from_secs(1) }),
        3 | 4 => rig.command(|id| Command::Ping { id, peer }),
        5 => rig.command(|id| Command::SendReliable { id, to: peer, bytes }),
        _ => {
            rig.command(|_| Command::Send { to: peer, bytes });
            return false;
        }
    };
    true
}

fn story(deeds: Vec<Deed>, config: Config) {
    let key = config.keys.first().cloned();
    let mut rig = Rig::among_sealed(5, config, key.as_ref());
    let mut asked = 0;
    let mut accepted = BTreeSet::new();
    for deed in deeds {
        match deed {
            Deed::Datagram(bytes) => {
                rig.hear(&bytes);
                if key.is_some() {
                    rig.hear(&seal(&bytes, b"", key.as_ref(), false, false));
                }
            }
            Deed::Accept(id) => {
                accepted.insert(StreamId(id));
                rig.stream(StreamId(id), StreamEvent::Accepted { from: stranger() });
            }
            Deed::Data(id, bytes) => rig.stream(StreamId(id), StreamEvent::Data(&bytes)),
            Deed::Written(id) => rig.stream(StreamId(id), StreamEvent::Written),
            Deed::Connected(id) => rig.stream(StreamId(id), StreamEvent::Connected),
            Deed::Ended(id) => rig.stream(StreamId(id), StreamEvent::Ended),
            Deed::Failed(id) => rig.stream(StreamId(id), StreamEvent::Failed("broken".into())),
            Deed::Pass(ms) => rig.millis(ms),
            Deed::Jump(ms) => rig.jump(Duration::from_millis(ms)),
            Deed::Command(which) => asked += usize::from(command(&mut rig, which)),
        }
        let me = rig.gossip.local();
        assert_eq!((me.state, me.name.as_bytes()), (State::Alive, &b"me"[..]));
        assert!(rig.gossip.queued() <= rig.gossip.members().known(), "one message for each member");
    }
    // After all deadlines: nothing is open, and everything is answered.
    rig.pass(Duration::from_secs(120));
    let answered = rig.events.iter().filter(|e| matches!(e, Event::Done { .. })).count();
    assert_eq!(answered, asked, "each command once");
    let ended: Vec<StreamId> = rig
        .actions
        .iter()
        .filter(|(_, action)| matches!(action, StreamAction::Close | StreamAction::Abort))
        .map(|(id, _)| *id)
        .collect();
    assert!(ended.len() <= ended.iter().collect::<BTreeSet<_>>().len() + accepted.len() * 20);
    rig.forget();
    for id in 0..12 {
        // What was open is gone: none of these is known any more.
        rig.stream(StreamId(id), StreamEvent::Data(b"\x00\x80"));
        assert_eq!(rig.written(StreamId(id)), None);
    }
    rig.forget();
    let asks = seal(&ping(77, "me", None), b"", key.as_ref(), false, false);
    rig.hear(&asks);
    assert!(matches!(&rig.sent[0].1[0], Said::Ack { seq: 77, .. }));
}

impl Rig {
    fn among_sealed(n: usize, config: Config, key: Option<&Key>) -> Self {
        let mut rig = Self::with(config);
        (2..=n).for_each(|i| rig.hear(&seal(&Life::of(i, 1).message(), b"", key, false, false)));
        assert_eq!(rig.gossip.members().known(), n);
        rig.forget();
        rig
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_comes_harms_a_plain_node(deeds in vec(deed(), 1..60)) {
        story(deeds, Config { stream_timeout: Duration::from_secs(2), ..rig_config() });
    }

    #[test]
    fn nothing_that_comes_harms_an_encrypted_node(deeds in vec(deed(), 1..25)) {
        let key = Key::new(&[5; 16]).unwrap();
        let base = rig_config();
        story(deeds, Config { stream_timeout: Duration::from_secs(2), keys: vec![key], compression: true, ..base });
    }

    #[test]
    fn arbitrary_datagrams_change_nothing(packets in vec(vec(any::<u8>(), 0..200), 1..50)) {
        let mut rig = Rig::among(3, rig_config());
        packets.iter().for_each(|p| rig.hear(p));
        prop_assert!(rig.gossip.members().known() <= 3 + packets.len());
        prop_assert_eq!(rig.gossip.local().state, State::Alive);
    }
}

/// Names of every length, at the edge of what a datagram holds and beyond, all the way through a life.
#[test]
fn members_of_any_size_are_probed_and_die_without_harm() {
    for len in [1, 500, 1300, 1400, 5000, 16_384, 16_385, 33_000, 65_536, 300_000] {
        let mut rig = Rig::with(Config { disable_stream_pings: true, ..rig_config() });
        let life = Life { name: vec![b'n'; len], ..Life::of(2, 1) };
        rig.request(&push_pull(true, &[life.clone(), Life::of(3, 1)], b""));
        rig.hear(&suspect("n3", 1, &"f".repeat(len)));
        rig.pass(Duration::from_secs(60));
        assert!(rig.raw.iter().all(|t| t.bytes.len() <= 65_507));
        assert!(rig.gossip.members().present() == 1, "{len}");
    }
}
