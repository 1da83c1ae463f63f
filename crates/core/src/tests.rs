//! One node, told by hand what peers would tell it. Its inside is looked at; stories of whole clusters are in
//! `tests/core`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Address, CommandId, Delegate, Input, Instant, Listener, Machine, Output};
use serf_wire::serf::{self, Join, Leave, MessageKind, Query, UserEvent};
use serf_wire::swim::{self, Accusation, Alive, Kind};

use crate::{Command, Config, Event, MemberEventKind, Node, Outcome, Status};

mod coalescing;
mod coordinates;
mod disputes;
mod events;
mod intents;
mod keys;
mod members;
mod messages;
mod queries;
mod random;
mod relays;
mod snapshot;
mod states;

/// The node under test is called `me`.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) now: Instant,
    incarnation: u32,
    sent: usize,
    posted: Vec<(Address, Vec<u8>)>,
}

pub(crate) fn config() -> Config {
    let mut gossip = serf_gossip::Config::lan("me".into(), Address::new(&[10, 0, 0, 1], 7946));
    gossip.probe_interval = Duration::ZERO;
    gossip.push_pull_interval = Duration::ZERO;
    gossip.retransmit_mult = 1;
    gossip.compression = false;
    Config::new(gossip)
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        Self {
            node: Node::new(config, [7; 32], now).unwrap(),
            now,
            incarnation: 0,
            sent: 0,
            posted: Vec::new(),
        }
    }

    pub(crate) fn datagram(&mut self, bytes: &[u8]) {
        let from = Address::new(&[10, 9, 9, 9], 7946);
        self.node.handle(self.now, Input::Datagram { from, bytes: &mut bytes.to_vec() });
    }

    pub(crate) fn alive(&mut self, name: &str) {
        self.alive_with(name, b"\xff\x80", 7946);
    }

    pub(crate) fn alive_with(&mut self, name: &str, meta: &[u8], port: u16) {
        self.incarnation += 1;
        let alive = Alive {
            incarnation: self.incarnation,
            node: name.as_bytes(),
            addr: (&[10, 0, 0, 2][..]).into(),
            port,
            meta: Some(meta.into()),
            vsn: Some((&[1, 5, 2, 2, 5, 4][..]).into()),
        };
        let mut bytes = Vec::new();
        swim::put(&mut bytes, Kind::Alive, |w| alive.write(w));
        self.datagram(&bytes);
    }

    /// The gossip layer says it is gone, by its own word or not: Serf must not care which.
    pub(crate) fn dead(&mut self, name: &str, from: &str) {
        let dead = Accusation { incarnation: self.incarnation, node: name.as_bytes(), from: from.as_bytes() };
        let mut bytes = Vec::new();
        swim::put(&mut bytes, Kind::Dead, |w| dead.write(w));
        self.datagram(&bytes);
    }

    /// A Serf message comes. Whether it is passed on.
    pub(crate) fn message(&mut self, message: &[u8]) -> bool {
        self.broadcasts();
        let mut bytes = Vec::from([Kind::User as u8]);
        bytes.extend_from_slice(message);
        self.datagram(&bytes);
        self.broadcasts().iter().any(|sent| sent == message)
    }

    pub(crate) fn join(&mut self, node: &str, ltime: u64) -> bool {
        self.message(&join(node, ltime))
    }

    pub(crate) fn leave(&mut self, node: &str, ltime: u64) -> bool {
        self.message(&leave(node, ltime, false))
    }

    pub(crate) fn prune(&mut self, node: &str, ltime: u64) -> bool {
        self.message(&leave(node, ltime, true))
    }

    /// Takes everything that waits to be gossiped.
    pub(crate) fn broadcasts(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while self.node.serf.has_broadcasts() {
            self.node.serf.broadcasts(self.now, Listener::ANYBODY, 3, 1 << 20, &mut |m| all.push(m.to_vec()));
        }
        self.sent += all.len();
        all
    }

    /// Time passes; the node is called whenever it wants to be.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            match self.next_due() {
                Some(due) if due <= end => {
                    self.now = due.max(self.now);
                    self.node.handle(self.now, Input::Timeout);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// The next deadline; events are kept.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        let (events, due) = self.poll();
        self.node.serf.outbox.extend(events);
        due
    }

    /// What happened since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.poll().0
    }

    fn poll(&mut self) -> (Vec<Event>, Option<Instant>) {
        let mut events = Vec::new();
        loop {
            match self.node.poll() {
                Output::Event(event) => events.push(event),
                Output::Datagram(sent) => {
                    // Those who are known to check it are sent a checksum.
                    let skip = if sent.bytes[0] == Kind::HasCrc as u8 { 5 } else { 0 };
                    if let Some((8, message)) = sent.bytes[skip..].split_first() {
                        self.posted.push((sent.to, message.to_vec()));
                    }
                }
                Output::Timeout(due, _) => return (events, due),
                Output::Stream { .. } => {}
            }
        }
    }

    /// The Serf messages sent in datagrams of their own since the last call.
    pub(crate) fn posts(&mut self) -> Vec<(Address, Vec<u8>)> {
        self.next_due();
        core::mem::take(&mut self.posted)
    }

    /// What happened to members since the last call.
    pub(crate) fn member_events(&mut self) -> Vec<(MemberEventKind, String)> {
        let events = self.events();
        let members = events.into_iter().filter_map(|event| match event {
            Event::Member(event) => Some((event.kind, alloc::format!("{}", event.members[0].name))),
            _ => None,
        });
        members.collect()
    }

    pub(crate) fn notices(&mut self) -> Vec<String> {
        let events = self.events();
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Notice(notice) => Some(notice.text),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.node.handle(self.now, Input::Command(command));
    }

    pub(crate) fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        let events = self.events();
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Done { id: CommandId(id), outcome } => Some((id, outcome)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.node.member(name.as_bytes()).map_or(Status::None, |member| member.status)
    }

    pub(crate) fn status_time(&self, name: &str) -> u64 {
        self.node.serf.table.get(name.as_bytes()).unwrap().status_ltime
    }

    pub(crate) fn member_time(&self) -> u64 {
        self.node.vitals().member_time
    }
}

pub(crate) fn message(kind: MessageKind, body: impl FnOnce(&mut serf_wire::msgpack::Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    serf::put(&mut bytes, kind, body);
    bytes
}

pub(crate) fn join(node: &str, ltime: u64) -> Vec<u8> {
    message(MessageKind::Join, |w| Join { ltime, node: node.as_bytes() }.write(w))
}

pub(crate) fn leave(node: &str, ltime: u64, prune: bool) -> Vec<u8> {
    message(MessageKind::Leave, |w| Leave { ltime, node: node.as_bytes(), prune }.write(w))
}

pub(crate) fn event(ltime: u64, name: &str, payload: Option<&[u8]>) -> Vec<u8> {
    let event = UserEvent { ltime, name: name.as_bytes(), payload: payload.map(Into::into), coalesce: false };
    message(MessageKind::UserEvent, |w| event.write(w))
}

pub(crate) fn query(ltime: u64, id: u32, flags: u32) -> Vec<u8> {
    let query = Query { ltime, id, flags, name: b"load", ..Query::default() };
    message(MessageKind::Query, |w| query.write(w))
}
