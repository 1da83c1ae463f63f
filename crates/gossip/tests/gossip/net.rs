//! A few machines joined by hand in memory: datagrams and streams are carried here, and time goes from one deadline to
//! the next. Same seed, same story.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serf_gossip::{
    Address, Command, CommandId, Config, Delegate, Input, Instant, Machine, Membership, MembershipEvent,
    Name, Outcome, Output, Peer, Rng, State, StreamAction, StreamEvent, StreamId, Transmit,
};

/// One-way time of every datagram and every piece of a stream.
const LATENCY: Duration = Duration::from_millis(1);

pub(crate) struct Node {
    pub(crate) machine: Membership,
    pub(crate) addr: Address,
    pub(crate) events: Vec<MembershipEvent>,
    /// Datagrams towards it are lost.
    pub(crate) deaf: bool,
    /// Nothing reaches it, and it does nothing.
    pub(crate) down: bool,
    due: Option<Instant>,
    next_accepted: u64,
    /// How often it was woken by a deadline.
    pub(crate) wakes: usize,
}

enum Parcel {
    Datagram { to: Address, from: Address, bytes: Vec<u8> },
    Stream { node: usize, id: StreamId, what: Piece },
}

enum Piece {
    Accepted(Address),
    Connected,
    Data(Vec<u8>),
    Written,
    Ended,
    Failed(String),
}

pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    parcels: BTreeMap<(Instant, u64), Parcel>,
    sent: u64,
    /// The other end of each open stream.
    ends: BTreeMap<(usize, StreamId), (usize, StreamId)>,
    next_command: u64,
    /// Datagrams sent to addresses where no node of ours lives.
    pub(crate) strays: VecDeque<(Address, Vec<u8>)>,
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Nodes of another make: what these cannot read is spoilt on its way, and counted.
    pub(crate) others: BTreeSet<usize>,
    pub(crate) spoilt: usize,
    /// Datagrams and pieces of streams, sent to nodes of our make, that another could not have read.
    pub(crate) special: usize,
    /// Datagrams carried.
    pub(crate) carried: u64,
    /// This part of all datagrams is lost.
    pub(crate) loss: f64,
    pub(crate) lost: usize,
    chance: Rng,
    /// Of everything delivered: when, to whom, what.
    digest: DefaultHasher,
    seed: u8,
    by_addr: BTreeMap<Option<std::net::SocketAddr>, usize>,
    deadlines: BTreeSet<(Instant, usize)>,
}

pub(crate) fn address(i: usize) -> Address {
    Address::new(&[10, 0, (i >> 8) as u8, i as u8], 7946)
}

pub(crate) fn name(i: usize) -> Name {
    format!("n{i}").as_str().into()
}

pub(crate) fn config(i: usize) -> Config {
    Config { compression: false, ..Config::lan(name(i), address(i)) }
}

/// Where a plain datagram, or the beginning of a plain stream, says what the reference does not know: the number of its
/// compression, or the type of its checksum.
pub(crate) fn special(bytes: &[u8]) -> Option<usize> {
    if bytes.first() == Some(&0xf0) {
        return Some(0);
    }
    let crc = if bytes.first() == Some(&0x0c) { 5 } else { 0 };
    let envelope = b"\x09\x82\xa4Algo";
    let algorithm = crc + envelope.len();
    let is_one = bytes.get(crc..)?.starts_with(envelope) && *bytes.get(algorithm)? != 0;
    is_one.then_some(algorithm)
}

pub(crate) fn secs(s: f64) -> Duration {
    Duration::from_secs_f64(s)
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            now: Instant::from_nanos(1_000_000_000),
            parcels: BTreeMap::new(),
            sent: 0,
            ends: BTreeMap::new(),
            next_command: 1,
            strays: VecDeque::new(),
            cut: BTreeSet::new(),
            others: BTreeSet::new(),
            spoilt: 0,
            special: 0,
            carried: 0,
            loss: 0.0,
            lost: 0,
            chance: Rng::from_seed([99; 32]),
            digest: DefaultHasher::new(),
            seed: 0,
            by_addr: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// `n` nodes of the LAN profile, not joined.
    pub(crate) fn of(n: usize) -> Self {
        let mut net = Self::new();
        (0..n).for_each(|i| {
            net.add(config(i));
        });
        net
    }

    /// The same, in another world.
    pub(crate) fn of_world(n: usize, seed: u8) -> Self {
        let mut net = Self { seed, ..Self::new() };
        (0..n).for_each(|i| {
            net.add(config(i));
        });
        net
    }

    /// `n` nodes of the LAN profile that know each other.
    pub(crate) fn joined(n: usize) -> Self {
        let mut net = Self::of(n);
        for i in 1..n {
            net.join(i, 0).expect("the first node answers");
        }
        net.until(secs(30.0), "everybody knows everybody", |net| {
            net.nodes.iter().all(|node| node.machine.gossip().members().present() == n)
        });
        // Until the news is old.
        net.until(secs(30.0), "queues are empty", |net| {
            net.nodes.iter().all(|n| n.machine.gossip().queued() == 0)
        });
        net
    }

    pub(crate) fn add(&mut self, config: Config) -> usize {
        self.add_with(config, Box::new(()))
    }

    pub(crate) fn add_with(&mut self, config: Config, delegate: Box<dyn Delegate + Send>) -> usize {
        let i = self.nodes.len();
        let mut seed = [self.seed; 32];
        seed[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
        let addr = config.advertise.clone();
        self.by_addr.insert(addr.socket_addr(), i);
        let machine = Membership::new(config, seed, self.now, delegate).expect("a good configuration");
        self.nodes.push(Node {
            machine,
            addr,
            events: Vec::new(),
            deaf: false,
            down: false,
            due: None,
            next_accepted: 1,
            wakes: 0,
        });
        self.drain(i);
        i
    }

    /// A new process in the place of an old one.
    pub(crate) fn restart(&mut self, node: usize, config: Config) {
        let seed = [200 + node as u8; 32];
        self.nodes[node].machine =
            Membership::new(config, seed, self.now, Box::new(())).expect("a good configuration");
        self.ends.retain(|end, _| end.0 != node);
        self.parcels.retain(|_, parcel| !matches!(parcel, Parcel::Stream { node: n, .. } if *n == node));
        self.drain(node);
    }

    pub(crate) fn command(&mut self, node: usize, make: impl FnOnce(CommandId) -> Command) -> CommandId {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.feed(node, Input::Command(make(id)));
        id
    }

    pub(crate) fn start_join(&mut self, node: usize, to: usize) -> CommandId {
        let peer = Peer { addr: self.nodes[to].addr.clone(), name: None };
        self.command(node, |id| Command::Join { id, peers: vec![peer] })
    }

    /// Joins and waits; the number of nodes contacted, or why not.
    pub(crate) fn join(&mut self, node: usize, to: usize) -> Result<usize, String> {
        let id = self.start_join(node, to);
        match self.outcome(node, id) {
            Outcome::Joined { contacted, failed } if contacted.is_empty() => Err(failed[0].1.clone()),
            Outcome::Joined { contacted, .. } => Ok(contacted.len()),
            other => panic!("no answer to a join: {other:?}"),
        }
    }

    /// Runs until a command is answered.
    pub(crate) fn outcome(&mut self, node: usize, id: CommandId) -> Outcome {
        let find = |net: &Self| {
            net.nodes[node].events.iter().find_map(|e| match e {
                MembershipEvent::Done { id: done, outcome } if *done == id => Some(outcome.clone()),
                _ => None,
            })
        };
        self.until(secs(120.0), "the command is answered", |net| find(net).is_some());
        find(self).expect("it was there")
    }

    /// Hands one input over and does what comes of it.
    pub(crate) fn feed(&mut self, node: usize, input: Input<'_, Command>) {
        self.nodes[node].machine.handle(self.now, input);
        self.drain(node);
    }

    /// A datagram from nowhere.
    pub(crate) fn inject(&mut self, node: usize, from: &Address, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.feed(node, Input::Datagram { from: from.clone(), bytes: &mut bytes });
    }

    fn drain(&mut self, node: usize) {
        loop {
            match self.nodes[node].machine.poll() {
                Output::Timeout(due, _) => {
                    if let Some(old) = std::mem::replace(&mut self.nodes[node].due, due) {
                        self.deadlines.remove(&(old, node));
                    }
                    self.deadlines.extend(due.map(|due| (due, node)));
                    return;
                }
                Output::Event(event) => self.nodes[node].events.push(event),
                Output::Datagram(Transmit { to, bytes, .. }) => {
                    let from = self.nodes[node].addr.clone();
                    self.carried += 1;
                    self.post(Parcel::Datagram { to, from, bytes });
                }
                Output::Stream { id, action } => self.act(node, id, action),
            }
        }
    }

    fn post(&mut self, parcel: Parcel) {
        self.sent += 1;
        self.parcels.insert((self.now + LATENCY, self.sent), parcel);
    }

    fn tell(&mut self, node: usize, id: StreamId, what: Piece) {
        self.post(Parcel::Stream { node, id, what });
    }

    fn act(&mut self, node: usize, id: StreamId, action: StreamAction) {
        match action {
            StreamAction::Dial { to, .. } => {
                let there = self.lives_at(&to).filter(|i| !self.nodes[*i].down);
                match there.filter(|there| !self.cut.contains(&(node, *there))) {
                    None => self.tell(
                        node,
                        id,
                        Piece::Failed(format!("dial tcp {to}: connect: connection refused")),
                    ),
                    Some(there) => {
                        let theirs = StreamId(self.nodes[there].next_accepted);
                        self.nodes[there].next_accepted += 2;
                        self.ends.insert((node, id), (there, theirs));
                        self.ends.insert((there, theirs), (node, id));
                        let from = self.nodes[node].addr.clone();
                        self.tell(there, theirs, Piece::Accepted(from));
                        self.tell(node, id, Piece::Connected);
                    }
                }
            }
            StreamAction::Write(bytes) => {
                if let Some((there, theirs)) = self.ends.get(&(node, id)).copied() {
                    for piece in bytes.chunks(1000) {
                        self.tell(there, theirs, Piece::Data(piece.to_vec()));
                    }
                }
                self.tell(node, id, Piece::Written);
            }
            StreamAction::Close | StreamAction::Abort => {
                if let Some((there, theirs)) = self.ends.remove(&(node, id)) {
                    self.tell(there, theirs, Piece::Ended);
                }
            }
        }
    }

    /// Goes to the next thing that happens, if that is before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let parcel = self.parcels.first_key_value().map(|(key, _)| key.0);
        let due = self.deadlines.iter().find(|(_, node)| !self.nodes[*node].down).copied();
        let (due, sleeper) = due.unzip();
        let Some(next) = parcel.into_iter().chain(due).min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if parcel == Some(next) {
            if let Some((_, parcel)) = self.parcels.pop_first() {
                self.deliver(parcel);
            }
            return true;
        }
        if let Some(i) = sleeper {
            self.nodes[i].wakes += 1;
            self.feed(i, Input::Timeout);
        }
        true
    }

    /// A node of another make refuses what it does not know; ours would read it.
    fn for_make(&mut self, node: Option<usize>, bytes: &mut [u8]) {
        let Some(mark) = special(bytes) else { return };
        if node.is_some_and(|node| self.others.contains(&node)) {
            self.spoilt += 1;
            // A number that stands for nothing.
            bytes[mark] = 0xee;
        } else {
            self.special += 1;
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Datagram { to, from, mut bytes } => {
                self.for_make(self.lives_at(&to), &mut bytes);
                let there = self.lives_at(&to).filter(|i| !self.nodes[*i].down);
                let here = self.lives_at(&from);
                let lost = self.loss > 0.0 && self.chance.unit() < self.loss;
                self.lost += usize::from(lost);
                (self.now, there, lost, &bytes).hash(&mut self.digest);
                match there {
                    None => self.strays.push_back((to, bytes)),
                    Some(i) if self.nodes[i].deaf || lost => {}
                    Some(i) if here.is_some_and(|h| self.cut.contains(&(h, i))) => {}
                    Some(i) => self.inject(i, &from, &bytes),
                }
            }
            Parcel::Stream { node, id, mut what } => {
                if self.nodes[node].down {
                    return;
                }
                if let Piece::Data(bytes) = &mut what {
                    self.for_make(Some(node), bytes);
                }
                if let Piece::Data(bytes) = &what {
                    (self.now, node, id, bytes).hash(&mut self.digest);
                }
                let event = match &what {
                    Piece::Accepted(from) => StreamEvent::Accepted { from: from.clone() },
                    Piece::Connected => StreamEvent::Connected,
                    Piece::Data(bytes) => StreamEvent::Data(bytes),
                    Piece::Written => StreamEvent::Written,
                    Piece::Ended => StreamEvent::Ended,
                    Piece::Failed(why) => StreamEvent::Failed(why.clone()),
                };
                self.feed(node, Input::Stream { id, event });
            }
        }
    }

    fn lives_at(&self, addr: &Address) -> Option<usize> {
        self.by_addr.get(&addr.socket_addr()).copied()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until something holds; fails the test if it does not within `most`. Returns how long it took.
    pub(crate) fn until(&mut self, most: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let (begin, end) = (self.now, self.now + most);
        while !holds(self) {
            assert!(self.step(end), "not within {most:?}: {what}");
        }
        self.now.since(begin)
    }

    pub(crate) fn state(&self, at: usize, of: usize) -> Option<State> {
        self.nodes[at].machine.gossip().members().get(name(of).as_bytes()).map(|m| m.state)
    }

    pub(crate) fn joined_events(&self, at: usize, of: usize) -> usize {
        let joined = |e: &&MembershipEvent| matches!(e, MembershipEvent::Joined(m) if m.name == name(of));
        self.nodes[at].events.iter().filter(joined).count()
    }
}
