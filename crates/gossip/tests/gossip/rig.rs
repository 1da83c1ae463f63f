//! One machine by itself, with a world that the test plays: datagrams go in by hand, what comes out is taken apart and
//! kept, and time goes from one deadline to the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf_gossip::{
    Address, Claim, Command, CommandId, Config, Delegate, Event, Gossip, Input, Instant, Listener, Member,
    Name, Notification, Outcome, Output, Peer, Refusal, State, StreamAction, StreamEvent, StreamId, Topic,
    Transmit,
};
use serf_wire::checksum::Checksum;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::encrypt::{Key, Version};
use serf_wire::msgpack::{Dialect, Reader, Writer};
use serf_wire::packet::{Inbound, Leaf, Outbound, Unpacker, open_packet, seal_packet};
use serf_wire::stream::{StreamMessage, StreamReader, StreamRules, StreamSeal, seal_stream};
use serf_wire::swim::{
    self, Accusation, Ack, Alive, IndirectPing, Kind, Nack, NodeState, Ping, PushPullHeader, Source,
};

use crate::net::address;

pub(crate) const VERSIONS: [u8; 6] = [1, 5, 2, 0, 0, 0];

/// A message as it was said, with nothing borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    Ping { seq: u32, node: String, source: Option<(Vec<u8>, u16, String)> },
    IndirectPing { seq: u32, node: String, target: Vec<u8>, port: u16, nack: bool },
    Ack { seq: u32, payload: Option<Vec<u8>> },
    Nack { seq: u32 },
    Suspect { inc: u32, node: String, from: String },
    Dead { inc: u32, node: String, from: String },
    Alive { inc: u32, node: String, addr: Address, meta: Vec<u8>, versions: Vec<u8> },
    User(Vec<u8>),
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn read(kind: Kind, body: &[u8]) -> Said {
    let r = &mut Reader::new(body);
    match kind {
        Kind::Ping => {
            let p = Ping::read(r).unwrap();
            let source = (p.source != Source::default())
                .then(|| (p.source.addr.to_vec(), p.source.port, text(p.source.node)));
            Said::Ping { seq: p.seq, node: text(p.node), source }
        }
        Kind::IndirectPing => {
            let p = IndirectPing::read(r).unwrap();
            Said::IndirectPing {
                seq: p.seq,
                node: text(p.node),
                target: p.target.to_vec(),
                port: p.port,
                nack: p.nack,
            }
        }
        Kind::Ack => {
            let a = Ack::read(r).unwrap();
            Said::Ack { seq: a.seq, payload: a.payload.map(|p| p.to_vec()) }
        }
        Kind::Nack => Said::Nack { seq: Nack::read(r).unwrap().seq },
        Kind::Suspect | Kind::Dead => {
            let a = Accusation::read(r).unwrap();
            let (inc, node, from) = (a.incarnation, text(a.node), text(a.from));
            if kind == Kind::Dead {
                Said::Dead { inc, node, from }
            } else {
                Said::Suspect { inc, node, from }
            }
        }
        Kind::Alive => {
            let a = Alive::read(r).unwrap();
            Said::Alive {
                inc: a.incarnation,
                node: text(a.node),
                addr: Address::new(&a.addr, a.port),
                meta: a.meta.unwrap_or_default().to_vec(),
                versions: a.vsn.unwrap_or_default().to_vec(),
            }
        }
        Kind::User => Said::User(body.to_vec()),
        other => panic!("no leaf: {other:?}"),
    }
}

/// A whole message, type byte first.
pub(crate) fn message(kind: Kind, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    swim::put(&mut out, kind, write);
    out
}

pub(crate) fn ping(seq: u32, node: &str, source: Option<(&Address, &str)>) -> Vec<u8> {
    let source = source.map_or_else(Source::default, |(a, node)| Source {
        addr: a.host.as_bytes().into(),
        port: a.port,
        node: node.as_bytes(),
    });
    message(Kind::Ping, |w| Ping { seq, node: node.as_bytes(), source, ..Ping::default() }.write(w))
}

pub(crate) fn indirect_ping(
    seq: u32,
    target: (&Address, &str),
    source: Option<(&Address, &str)>,
    nack: bool,
) -> Vec<u8> {
    let source = source.map_or_else(Source::default, |(a, node)| Source {
        addr: a.host.as_bytes().into(),
        port: a.port,
        node: node.as_bytes(),
    });
    let it = IndirectPing {
        seq,
        target: target.0.host.as_bytes().into(),
        port: target.0.port,
        node: target.1.as_bytes(),
        nack,
        source,
    };
    message(Kind::IndirectPing, |w| it.write(w))
}

pub(crate) fn ack(seq: u32, payload: Option<&[u8]>) -> Vec<u8> {
    message(Kind::Ack, |w| Ack { seq, payload: payload.map(Into::into), ..Ack::default() }.write(w))
}

pub(crate) fn nack(seq: u32) -> Vec<u8> {
    message(Kind::Nack, |w| Nack { seq }.write(w))
}

pub(crate) fn suspect(node: &str, incarnation: u32, from: &str) -> Vec<u8> {
    let it = Accusation { incarnation, node: node.as_bytes(), from: from.as_bytes() };
    message(Kind::Suspect, |w| it.write(w))
}

pub(crate) fn dead(node: &str, incarnation: u32, from: &str) -> Vec<u8> {
    let it = Accusation { incarnation, node: node.as_bytes(), from: from.as_bytes() };
    message(Kind::Dead, |w| it.write(w))
}

pub(crate) fn user(bytes: &[u8]) -> Vec<u8> {
    [&[Kind::User as u8], bytes].concat()
}

/// All that can be said in an alive message. The default address is [`address`] of the number.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) name: Vec<u8>,
    pub(crate) addr: Address,
    pub(crate) incarnation: u32,
    pub(crate) meta: Vec<u8>,
    pub(crate) versions: Vec<u8>,
    pub(crate) state: i64,
}

impl Life {
    /// Node `n{i}`, as [`crate::net::name`] calls it.
    pub(crate) fn of(i: usize, incarnation: u32) -> Self {
        Self::named(&format!("n{i}"), address(i), incarnation)
    }

    pub(crate) fn named(name: &str, addr: Address, incarnation: u32) -> Self {
        let versions = VERSIONS.to_vec();
        Self { name: name.as_bytes().to_vec(), addr, incarnation, meta: Vec::new(), versions, state: 0 }
    }

    pub(crate) fn meta(mut self, meta: &[u8]) -> Self {
        self.meta = meta.to_vec();
        self
    }

    pub(crate) fn versions(mut self, versions: &[u8]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    pub(crate) fn at(mut self, addr: Address) -> Self {
        self.addr = addr;
        self
    }

    pub(crate) fn state(mut self, state: State) -> Self {
        self.state = state as i64;
        self
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        let it = Alive {
            incarnation: self.incarnation,
            node: &self.name,
            addr: self.addr.host.as_bytes().into(),
            port: self.addr.port,
            meta: Some(self.meta.as_slice().into()),
            vsn: Some(self.versions.as_slice().into()),
        };
        message(Kind::Alive, |w| it.write(w))
    }

    pub(crate) fn record(&self) -> NodeState<'_> {
        NodeState {
            name: &self.name,
            addr: self.addr.host.as_bytes().into(),
            port: self.addr.port,
            meta: Some(self.meta.as_slice().into()),
            incarnation: self.incarnation,
            state: self.state,
            vsn: Some(self.versions.as_slice().into()),
        }
    }
}

/// The plain bytes of a push/pull.
pub(crate) fn push_pull(join: bool, nodes: &[Life], user_state: &[u8]) -> Vec<u8> {
    let header = PushPullHeader {
        nodes: nodes.len() as i64,
        user_state_len: user_state.len() as i64,
        join,
        ..PushPullHeader::default()
    };
    let mut out = message(Kind::PushPull, |w| header.write(w));
    for node in nodes {
        node.record().write(&mut Writer::new(&mut out, Dialect::GOSSIP));
    }
    out.extend_from_slice(user_state);
    out
}

/// What a delegate was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Joined(String),
    Left(String, State),
    Updated(String, Vec<u8>),
    Conflict(String, Address, Address, Vec<u8>),
    Message(Vec<u8>),
    RemoteState(Vec<u8>, bool),
    Pong(String, Duration, Vec<u8>),
}

/// What a delegate has heard and will say.
#[derive(Default)]
pub(crate) struct Layer {
    pub(crate) told: Vec<Told>,
    pub(crate) broadcasts: VecDeque<Vec<u8>>,
    pub(crate) state: Vec<u8>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) refuse_alive: Option<String>,
    pub(crate) refuse_merge: Option<String>,
    pub(crate) asked_alive: usize,
    pub(crate) asked_merge: Vec<usize>,
}

/// A delegate that records and obeys; copies share one [`Layer`].
#[derive(Clone, Default)]
pub(crate) struct Above(Arc<Mutex<Layer>>);

impl Above {
    pub(crate) fn layer(&self) -> std::sync::MutexGuard<'_, Layer> {
        self.0.lock().unwrap()
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.layer().told)
    }
}

fn text_of(m: &Member) -> String {
    m.name.to_string()
}

impl Delegate for Above {
    fn notify(&mut self, _: Instant, what: Notification<'_>) {
        let told = match what {
            Notification::Joined(m) => Told::Joined(text_of(m)),
            Notification::Left(m) => Told::Left(text_of(m), m.state),
            Notification::Updated(m) => Told::Updated(text_of(m), m.meta.to_vec()),
            Notification::Conflict { existing, other, meta } => {
                Told::Conflict(text_of(existing), existing.addr.clone(), other.clone(), meta.to_vec())
            }
            Notification::Message { bytes, .. } => Told::Message(bytes.to_vec()),
            Notification::RemoteState { bytes, join } => Told::RemoteState(bytes.to_vec(), join),
            Notification::PingCompleted { member, rtt, payload } => {
                Told::Pong(text_of(member), rtt, payload.to_vec())
            }
            _ => return,
        };
        self.layer().told.push(told);
    }

    fn broadcasts(
        &mut self,
        _: Instant,
        _: Listener,
        overhead: usize,
        mut limit: usize,
        put: &mut dyn FnMut(&[u8]),
    ) {
        let mut layer = self.layer();
        while let Some(m) = layer.broadcasts.pop_front_if(|m| m.len() + overhead <= limit) {
            limit -= m.len() + overhead;
            put(&m);
        }
    }

    fn has_broadcasts(&self) -> bool {
        !self.layer().broadcasts.is_empty()
    }

    fn local_state(&mut self, _: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.layer().state);
    }

    fn accept_alive(&mut self, _: &Claim<'_>) -> Result<(), Refusal> {
        let mut layer = self.layer();
        layer.asked_alive += 1;
        layer.refuse_alive.clone().map_or(Ok(()), |why| Err(Refusal(why)))
    }

    fn accept_merge(&mut self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        let mut layer = self.layer();
        layer.asked_merge.push(claims.len());
        layer.refuse_merge.clone().map_or(Ok(()), |why| Err(Refusal(why)))
    }

    fn filters_merges(&self) -> bool {
        true
    }

    fn ack_payload(&mut self, out: &mut Vec<u8>) -> bool {
        let layer = self.layer();
        out.extend_from_slice(layer.payload.as_deref().unwrap_or_default());
        layer.payload.is_some()
    }
}

pub(crate) struct Rig {
    pub(crate) gossip: Gossip,
    pub(crate) above: Above,
    pub(crate) now: Instant,
    /// Datagrams sent, taken apart.
    pub(crate) sent: Vec<(Address, Vec<Said>)>,
    /// The same, whole.
    pub(crate) raw: Vec<Transmit>,
    pub(crate) events: Vec<Event>,
    pub(crate) actions: Vec<(StreamId, StreamAction)>,
    due: Option<Instant>,
    /// How often it was woken.
    pub(crate) wakes: usize,
    next_accepted: u64,
    next_command: u64,
    asked: u32,
}

/// The machine under test is `me` at [`address`] 1; others are `n2` and up.
pub(crate) fn rig_config() -> Config {
    let mut config = Config { compression: false, ..Config::lan("me".into(), address(1)) };
    // So that a ping from anybody shows what is queued.
    config.hardening.piggyback_to_strangers = true;
    config
}

/// Somebody who is no member.
pub(crate) fn stranger() -> Address {
    Address::new(&[10, 9, 9, 9], 4000)
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(rig_config())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::begin(config, Above::default())
    }

    pub(crate) fn seeded(config: Config, seed: u8) -> Self {
        Self::in_world(config, Above::default(), seed)
    }

    pub(crate) fn begin(config: Config, above: Above) -> Self {
        Self::in_world(config, above, 7)
    }

    fn in_world(config: Config, mut above: Above, seed: u8) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let gossip = Gossip::new(config, [seed; 32], now, &mut above).unwrap();
        let mut rig = Self {
            gossip,
            above,
            now,
            sent: Vec::new(),
            raw: Vec::new(),
            events: Vec::new(),
            actions: Vec::new(),
            due: None,
            wakes: 0,
            next_accepted: 1,
            next_command: 1,
            asked: 0,
        };
        rig.drain();
        rig
    }

    /// With `n - 1` others, alive at incarnation 1, the news of which is old.
    pub(crate) fn among(n: usize, config: Config) -> Self {
        let mut rig = Self::with(config);
        (2..=n).for_each(|i| rig.hear(&Life::of(i, 1).message()));
        rig.quiet();
        rig
    }

    pub(crate) fn feed(&mut self, input: Input<'_, Command>) {
        self.gossip.handle(self.now, input, &mut self.above);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.gossip.poll() {
                Output::Timeout(due, _) => {
                    self.due = due;
                    return;
                }
                Output::Event(event) => self.events.push(event),
                Output::Datagram(transmit) => {
                    let said = self.open(&transmit.bytes);
                    self.sent.push((transmit.to.clone(), said));
                    self.raw.push(transmit);
                }
                Output::Stream { id, action } => self.actions.push((id, action)),
            }
        }
    }

    /// Takes a datagram apart, as a peer with the same keys and label would.
    pub(crate) fn open(&self, bytes: &[u8]) -> Vec<Said> {
        let config = self.gossip.config();
        open(bytes, &config.label, self.gossip.keyring().keys())
    }

    pub(crate) fn hear_from(&mut self, from: &Address, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.feed(Input::Datagram { from: from.clone(), bytes: &mut bytes });
    }

    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.hear_from(&stranger(), bytes);
    }

    /// What is queued, as the answer to a ping shows it. Costs each message one transmission.
    pub(crate) fn queued(&mut self) -> Vec<Said> {
        self.sent.clear();
        self.ask();
        let (_, mut said) = self.sent.pop().expect("an answer to a ping");
        assert!(matches!(said[0], Said::Ack { seq: 4711, .. }), "{said:?}");
        said.remove(0);
        said
    }

    /// A ping of somebody who has told nothing and was told nothing.
    fn ask(&mut self) {
        self.asked += 1;
        let [.., a, b] = self.asked.to_be_bytes();
        self.hear_from(&Address::new(&[10, 8, a, b], 4000), &ping(4711, "", None));
    }

    /// Until everything queued has been told often enough; forgets what came out.
    pub(crate) fn quiet(&mut self) {
        for _ in 0..10_000 {
            if self.gossip.queued() == 0 {
                break;
            }
            self.ask();
        }
        assert_eq!(self.gossip.queued(), 0, "the queue never gets empty");
        self.forget();
    }

    /// Forgets what came out so far.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.raw.clear();
        self.events.clear();
        self.actions.clear();
        self.above.told();
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wakes += 1;
            self.feed(Input::Timeout);
        }
        self.now = end;
    }

    /// Lets time pass with nobody awake in between: what became due meanwhile is late.
    pub(crate) fn jump(&mut self, time: Duration) {
        self.now += time;
        self.feed(Input::Timeout);
    }

    pub(crate) fn millis(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn member(&self, name: &str) -> &Member {
        self.gossip.members().get(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not known"))
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.gossip.members().get(name.as_bytes()).is_some()
    }

    pub(crate) fn state(&self, name: &str) -> State {
        self.member(name).state
    }

    pub(crate) fn command(&mut self, make: impl FnOnce(CommandId) -> Command) -> CommandId {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.feed(Input::Command(make(id)));
        id
    }

    /// The answer to a command, which must be the only one.
    pub(crate) fn outcome(&self, id: CommandId) -> Option<Outcome> {
        let mut all = self.events.iter().filter_map(|e| match e {
            Event::Done { id: done, outcome } if *done == id => Some(outcome.clone()),
            _ => None,
        });
        let first = all.next();
        assert_eq!(all.next(), None, "answered twice");
        first
    }

    pub(crate) fn notices(&self, topic: Topic) -> Vec<String> {
        let text = |e: &Event| match e {
            Event::Notice(n) if n.topic == topic => Some(n.text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    pub(crate) fn peer(&self, i: usize) -> Peer {
        Peer { addr: address(i), name: Some(Name::from(format!("n{i}").as_str())) }
    }

    // Streams.

    pub(crate) fn accept(&mut self) -> StreamId {
        self.accept_from(stranger())
    }

    pub(crate) fn accept_from(&mut self, from: Address) -> StreamId {
        let id = StreamId(self.next_accepted);
        self.next_accepted += 2;
        self.feed(Input::Stream { id, event: StreamEvent::Accepted { from } });
        id
    }

    pub(crate) fn stream(&mut self, id: StreamId, event: StreamEvent<'_>) {
        self.feed(Input::Stream { id, event });
    }

    /// Sends a plain request and returns the decoded reply, if one came. Then the stream must be over.
    pub(crate) fn request(&mut self, plain: &[u8]) -> Option<Reply> {
        let id = self.accept();
        self.stream(id, StreamEvent::Data(plain));
        let written = self.written(id);
        if written.is_some() {
            self.stream(id, StreamEvent::Written);
        }
        assert!(self.is_over(id), "not closed after the request");
        written.map(|bytes| self.reply(&bytes))
    }

    /// The bytes written to a stream so far.
    pub(crate) fn written(&self, id: StreamId) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        let mut any = false;
        for (i, action) in &self.actions {
            if let (true, StreamAction::Write(bytes)) = (*i == id, action) {
                all.extend_from_slice(bytes);
                any = true;
            }
        }
        any.then_some(all)
    }

    pub(crate) fn is_over(&self, id: StreamId) -> bool {
        let ends = |(i, action): &&(StreamId, StreamAction)| {
            *i == id && matches!(action, StreamAction::Close | StreamAction::Abort)
        };
        let ends = self.actions.iter().filter(ends).count();
        assert!(ends <= 1, "closed twice");
        ends == 1
    }

    /// The last stream dialled, and to where.
    pub(crate) fn dialled(&self) -> Vec<(StreamId, Address)> {
        let dial = |(id, action): &(StreamId, StreamAction)| match action {
            StreamAction::Dial { to, .. } => Some((*id, to.clone())),
            _ => None,
        };
        self.actions.iter().filter_map(dial).collect()
    }

    pub(crate) fn reply(&self, bytes: &[u8]) -> Reply {
        let config = self.gossip.config();
        read_stream(bytes, &config.label, self.gossip.keyring().keys(), false)
    }
}

/// Name, address, incarnation, state, meta data and versions of a node in a push/pull.
pub(crate) type Record = (String, Address, u32, i64, Vec<u8>, Vec<u8>);

/// A message of a stream, with nothing borrowed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Ping(Said),
    Ack { seq: u32, payload: Option<Vec<u8>> },
    Error(String),
    User(Vec<u8>),
    State { join: bool, nodes: Vec<Record>, user: Vec<u8> },
}

pub(crate) fn read_stream(bytes: &[u8], label: &[u8], keys: &[Key], request: bool) -> Reply {
    let rules = StreamRules {
        label,
        skip_label_check: false,
        keys,
        verify_incoming: !keys.is_empty(),
        accept_v0: true,
        expect_label_header: request,
        limits: Default::default(),
    };
    let mut reader = StreamReader::new();
    let mut compressor = Compressor::default();
    match reader.push(bytes, &rules, &mut compressor).unwrap().expect("a whole message") {
        StreamMessage::Ping(p) => Reply::Ping(read(Kind::Ping, &message(Kind::Ping, |w| p.write(w))[1..])),
        StreamMessage::Ack(a) => Reply::Ack { seq: a.seq, payload: a.payload.map(|p| p.to_vec()) },
        StreamMessage::Err(e) => Reply::Error(text(e.error)),
        StreamMessage::User(bytes) => Reply::User(bytes.to_vec()),
        StreamMessage::PushPull(p) => Reply::State {
            join: p.join,
            nodes: p
                .nodes()
                .map(|n| {
                    let n = n.unwrap();
                    let addr = Address::new(&n.addr, n.port);
                    let meta = n.meta.unwrap_or_default().to_vec();
                    (text(n.name), addr, n.incarnation, n.state, meta, n.vsn.unwrap_or_default().to_vec())
                })
                .collect(),
            user: p.user_state().to_vec(),
        },
    }
}

pub(crate) fn open(bytes: &[u8], label: &[u8], keys: &[Key]) -> Vec<Said> {
    let mut bytes = bytes.to_vec();
    let rules = Inbound { label, skip_label_check: false, keys, verify_incoming: false, accept_v0: true };
    let opened = open_packet(&mut bytes, &rules).unwrap();
    let mut said = Vec::new();
    Unpacker::default().leaves(opened.payload, 1 << 24, &mut |leaf| match leaf {
        Leaf::Message(kind, body) => said.push(read(kind, body)),
        Leaf::Malformed(what) => panic!("we sent something unreadable: {what}"),
    });
    // They are unpacked from the end.
    said.reverse();
    said
}

/// Puts the layers of a datagram around a message.
pub(crate) fn seal(
    payload: &[u8],
    label: &[u8],
    key: Option<&Key>,
    compress: bool,
    checksum: bool,
) -> Vec<u8> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let rules = Outbound {
        label,
        key,
        version: Version::V1,
        compress: compress.then_some(Algorithm::Lzw),
        checksum: checksum.then_some(Checksum::Crc32),
    };
    let mut out = Vec::new();
    seal_packet(payload, &rules, &nonce, &mut Compressor::default(), &mut out);
    out
}

/// Puts the layers of a stream around a message.
pub(crate) fn seal_request(payload: &[u8], label: &[u8], key: Option<&Key>, compress: bool) -> Vec<u8> {
    let rules = StreamSeal {
        label,
        send_label_header: true,
        key,
        version: Version::V1,
        compress: compress.then_some(Algorithm::Lzw),
    };
    let mut out = Vec::new();
    seal_stream(payload, &rules, &[9; 12], &mut Compressor::default(), &mut out);
    out
}

pub(crate) fn compound(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![Kind::Compound as u8, u8::try_from(parts.len()).unwrap()];
    parts.iter().for_each(|p| out.extend_from_slice(&(p.len() as u16).to_be_bytes()));
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}
