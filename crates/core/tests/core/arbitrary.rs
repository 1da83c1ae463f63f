//! What must hold whatever a peer sends to a node that has questions and keys. The property tests call this, and so does
//! the fuzz target; on a violation it panics.

use std::collections::BTreeMap;
use std::time::Duration;

use serf_core::{Command, Config, Event, Node, NodeState, Outcome, Query, QueryKey};
use serf_gossip::{Address, CommandId, Input, Instant, Machine, Output};
use serf_wire::encrypt::Key;
use serf_wire::swim::{self, Alive, Kind};

/// Datagrams that one second may make us send besides gossip: acks, answers to strangers, relays both ways, and what the
/// owner answers. Generous, since several quotas add up.
const SENT_MAX: usize = 8192;

struct Target {
    node: Node,
    now: Instant,
    sent: usize,
    /// Queries of ours, and how often each ended.
    ends: BTreeMap<CommandId, usize>,
    last: Option<QueryKey>,
}

impl Target {
    fn new() -> Self {
        let mut gossip = serf_gossip::Config::lan("me".into(), Address::new(&[10, 0, 0, 1], 7946));
        gossip.keys = vec![Key::new(&[1; 16]).expect("a good length")];
        gossip.verify_incoming = false;
        let mut config = Config::new(gossip);
        config.keep_keys = true;
        config.tags = [("role".to_owned(), "web".to_owned())].into();
        let now = Instant::from_nanos(1);
        let node = Node::new(config, [7; 32], now).expect("a good configuration");
        let mut target = Self { node, now, sent: 0, ends: BTreeMap::new(), last: None };
        for n in 2..5_u8 {
            let (name, host) = ([b'n', n], [10, 0, 0, n]);
            let alive = Alive {
                incarnation: 1,
                node: &name,
                addr: host[..].into(),
                port: 7946,
                meta: Some((&b"\xff\x80"[..]).into()),
                vsn: Some((&[1, 5, 2, 2, 5, 5][..]).into()),
            };
            let mut bytes = Vec::new();
            swim::put(&mut bytes, Kind::Alive, |w| alive.write(w));
            target.datagram(bytes);
        }
        for (id, query) in
            [Query::new("load"), Query::new("load").with_acks().with_relays(2)].into_iter().enumerate()
        {
            target.give(Input::Command(Command::Query { id: CommandId(100 + id as u64), query }));
        }
        target
    }

    fn datagram(&mut self, mut bytes: Vec<u8>) {
        let from = Address::new(&[10, 0, 0, 2], 7946);
        self.give(Input::Datagram { from, bytes: &mut bytes });
    }

    fn give(&mut self, input: Input<'_, Command>) {
        self.node.handle(self.now, input);
        let mut kept = Vec::new();
        while let Some(due) = self.poll(&mut kept) {
            if due > self.now {
                break;
            }
            self.node.handle(self.now, Input::Timeout);
        }
        for key in kept {
            self.node.handle(self.now, Input::Command(Command::KeysKept { key, result: Ok(()) }));
            self.poll(&mut Vec::new());
        }
    }

    /// Takes all there is; the next deadline.
    fn poll(&mut self, kept: &mut Vec<QueryKey>) -> Option<Instant> {
        loop {
            match self.node.poll() {
                Output::Datagram(_) => self.sent += 1,
                Output::Stream { .. } => {}
                Output::Timeout(due, _) => return due,
                Output::Event(Event::Done { id, outcome: Outcome::Asked { .. } }) => {
                    self.ends.insert(id, 0);
                }
                Output::Event(Event::QueryEnded { id, .. }) => {
                    *self.ends.get_mut(&id).expect("it began") += 1
                }
                Output::Event(Event::Answer { id, .. }) => assert_eq!(self.ends[&id], 0, "after its end"),
                Output::Event(Event::Query(query)) => self.last = Some(query.key),
                Output::Event(Event::KeysChanged { key, keys }) => {
                    assert!(!keys.is_empty());
                    kept.push(key);
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// A conversation: each part begins with a byte that says what it is, and one for its length.
pub(crate) fn talk(mut bytes: &[u8]) {
    let mut target = Target::new();
    let mut clock = 0;
    while let [what, len, rest @ ..] = bytes {
        let (part, after) = rest.split_at(rest.len().min(usize::from(*len)));
        bytes = after;
        match what % 4 {
            0 | 1 => target.datagram([&[Kind::User as u8], part].concat()),
            2 => {
                target.sent = 0;
                target.now += Duration::from_millis(100 * u64::from(*len));
                target.give(Input::Timeout);
            }
            _ => {
                if let Some(key) = target.last {
                    let respond = Command::Respond { id: CommandId(1), key, payload: part.to_vec() };
                    target.give(Input::Command(respond));
                }
            }
        }
        let vitals = target.node.vitals();
        assert!(vitals.query_time >= clock, "a clock went back");
        clock = vitals.query_time;
        assert!(target.sent <= SENT_MAX, "{} datagrams", target.sent);
        assert!(vitals.encrypted && vitals.members <= 4);
    }
    // Two of them would be a loop: our own end comes only of a vote.
    if target.node.state() != NodeState::Shutdown {
        target.now += Duration::from_secs(3600);
        target.give(Input::Timeout);
    }
    assert!(target.ends.len() == 2 && target.ends.values().all(|ends| *ends == 1), "{:?}", target.ends);
}
