//! A cluster in memory: nodes, the messages on their way between them, and one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serf_core::snapshot::{Replay, Write};
use serf_core::{Command, Config, Event, MemberEventKind, Node, Outcome, Status};
use serf_gossip::{
    Address, CommandId, Input, Instant, Machine, Name, Output, Peer, Rng, StreamAction, StreamEvent, StreamId,
};

/// A node's place in the cluster.
pub(crate) type At = usize;

/// See the module's text.
pub(crate) struct Cluster {
    pub(crate) now: Instant,
    hosts: Vec<Host>,
    /// What is on its way, in the order in which it arrives.
    travelling: BTreeMap<(Instant, u64), (At, Parcel)>,
    sent: u64,
    commands: u64,
    /// Pairs that cannot hear each other.
    cut: BTreeSet<(At, At)>,
    /// Of so many datagrams one is lost; none if it is 0.
    pub(crate) loss: usize,
    luck: Rng,
    seed: u64,
    /// How long anything takes from one node to another.
    pub(crate) latency: fn(At, At) -> Duration,
}

struct Host {
    /// None while it is down.
    node: Option<Node>,
    config: Config,
    /// The snapshot file, of those whose config has a snapshot. It outlives them.
    file: Vec<u8>,
    starts: u64,
    events: Vec<Event>,
    due: Option<Instant>,
    /// How often it was woken at one moment.
    woken: (Instant, usize),
    /// What came while it was stopped. None while it runs.
    held: Option<Vec<Parcel>>,
    /// The other end of each stream.
    streams: BTreeMap<StreamId, (At, StreamId)>,
    accepted: u64,
}

impl Host {
    fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.held.is_none())
    }
}

enum Parcel {
    Datagram { from: Address, bytes: Vec<u8> },
    Stream { id: StreamId, what: Piece },
}

enum Piece {
    Accepted(Address),
    Connected,
    Data(Vec<u8>),
    Written,
    Ended,
    Failed(&'static str),
}

/// Quick, as in the reference's own tests (spec `serf.md` appendix A).
pub(crate) fn quick(name: &str, host: u8) -> Config {
    let mut gossip = serf_gossip::Config::lan(name.into(), Address::new(&[10, 0, 0, host], 7946));
    gossip.gossip_interval = Duration::from_millis(5);
    gossip.probe_interval = Duration::from_millis(50);
    gossip.probe_timeout = Duration::from_millis(25);
    gossip.stream_timeout = Duration::from_millis(100);
    gossip.suspicion_mult = 1;
    let mut config = Config::new(gossip);
    config.reap_interval = Duration::from_secs(1);
    config.reconnect_interval = Duration::from_millis(100);
    config
}

impl Cluster {
    /// `STORY_SEED=n` in the environment plays each story in another way.
    pub(crate) fn new(story: u64) -> Self {
        let other = std::env::var("STORY_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
        let seed = story + 1000 * other.unwrap_or(0);
        Self {
            now: Instant::from_nanos(1),
            hosts: Vec::new(),
            travelling: BTreeMap::new(),
            sent: 0,
            commands: 0,
            cut: BTreeSet::new(),
            loss: 0,
            luck: draws(seed),
            seed,
            latency: |_, _| Duration::from_millis(1),
        }
    }

    /// A cluster of nodes `a`, `b`, … that all know each other.
    pub(crate) fn joined(seed: u64, n: usize) -> Self {
        let mut cluster = Self::new(seed);
        for i in 0..n {
            cluster.add(&String::from(char::from(b'a' + i as u8)));
        }
        for i in 1..n {
            assert_eq!(cluster.join(i, 0), 1);
        }
        cluster.until("all know each other", |c| (0..n).all(|i| c.alive(i) == n));
        cluster
    }

    pub(crate) fn add(&mut self, name: &str) -> At {
        self.add_with(quick(name, self.hosts.len() as u8 + 1))
    }

    pub(crate) fn add_with(&mut self, config: Config) -> At {
        self.hosts.push(Host {
            node: None,
            config,
            file: Vec::new(),
            starts: 0,
            events: Vec::new(),
            due: None,
            woken: (Instant::ZERO, 0),
            held: None,
            streams: BTreeMap::new(),
            accepted: 0,
        });
        let at = self.hosts.len() - 1;
        self.start(at);
        at
    }

    /// Starts a node that is down, with nothing of what it knew but what is in its snapshot file, if it has one.
    pub(crate) fn start(&mut self, at: At) {
        let host = &mut self.hosts[at];
        host.starts += 1;
        if let Some(snapshot) = &mut host.config.snapshot {
            let mut replay = Replay::new(snapshot.rejoin_after_leave);
            replay.feed(&host.file);
            *snapshot = replay.finish();
        }
        let mut rng = [0; 32];
        rng[..8].copy_from_slice(&self.seed.to_le_bytes());
        rng[8..16].copy_from_slice(&(at as u64).to_le_bytes());
        rng[16..24].copy_from_slice(&host.starts.to_le_bytes());
        host.node = Some(Node::new(host.config.clone(), rng, self.now).expect("a config that works"));
        self.drain(at);
    }

    /// Starts it again with other settings.
    pub(crate) fn start_with(&mut self, at: At, change: impl FnOnce(&mut Config)) {
        change(&mut self.hosts[at].config);
        self.start(at);
    }

    /// The snapshot file.
    pub(crate) fn file(&mut self, at: At) -> &mut Vec<u8> {
        &mut self.hosts[at].file
    }

    /// Ends a node without a word.
    pub(crate) fn kill(&mut self, at: At) {
        let host = &mut self.hosts[at];
        host.node = None;
        host.due = None;
        host.held = None;
        for (_, (peer, id)) in std::mem::take(&mut host.streams) {
            self.send(at, peer, Parcel::Stream { id, what: Piece::Failed("connection reset") });
        }
    }

    /// A node stands still: neither deadlines nor what comes reach it.
    pub(crate) fn stop(&mut self, at: At) {
        self.hosts[at].held.get_or_insert_default();
    }

    /// It goes on, and finds all its deadlines passed: as a driver does, it takes what came first.
    pub(crate) fn go_on(&mut self, at: At) {
        for parcel in self.hosts[at].held.take().unwrap_or_default() {
            self.deliver(at, parcel);
        }
    }

    pub(crate) fn is_up(&self, at: At) -> bool {
        self.hosts[at].node.is_some()
    }

    pub(crate) fn is_stopped(&self, at: At) -> bool {
        self.hosts[at].held.is_some()
    }

    /// Two nodes cannot hear each other any more.
    pub(crate) fn cut(&mut self, a: At, b: At) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
    }

    /// They can again.
    pub(crate) fn mend(&mut self, a: At, b: At) {
        self.cut.remove(&(a, b));
        self.cut.remove(&(b, a));
    }

    pub(crate) fn node(&self, at: At) -> &Node {
        self.hosts[at].node.as_ref().expect("the node is up")
    }

    pub(crate) fn addr(&self, at: At) -> Address {
        self.hosts[at].config.gossip.advertise.clone()
    }

    pub(crate) fn name(&self, at: At) -> Name {
        self.hosts[at].config.gossip.name.clone()
    }

    /// What one makes of another.
    pub(crate) fn status(&self, at: At, name: &str) -> Status {
        self.node(at).member(name.as_bytes()).map_or(Status::None, |member| member.status)
    }

    pub(crate) fn alive(&mut self, at: At) -> usize {
        let node = self.hosts[at].node.as_mut().expect("the node is up");
        node.members().iter().filter(|member| member.status == Status::Alive).count()
    }

    /// Whether one has nothing to gossip.
    pub(crate) fn is_quiet(&self, at: At) -> bool {
        let vitals = self.node(at).vitals();
        vitals.intent_queue + vitals.event_queue + vitals.query_queue + vitals.gossip_queue == 0
    }

    /// What one has seen happen to another, since the beginning.
    pub(crate) fn history(&self, at: At, name: &str) -> Vec<MemberEventKind> {
        let about = |event: &Event| match event {
            Event::Member(event) if event.members[0].name.as_bytes() == name.as_bytes() => Some(event.kind),
            _ => None,
        };
        self.hosts[at].events.iter().filter_map(about).collect()
    }

    /// All it has told, since the beginning.
    pub(crate) fn events(&self, at: At) -> &[Event] {
        &self.hosts[at].events
    }

    /// The log, since the beginning.
    pub(crate) fn lines(&self, at: At) -> Vec<&str> {
        self.hosts[at]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Notice(notice) => Some(notice.text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Gives a command and does not wait.
    pub(crate) fn order(&mut self, at: At, command: impl FnOnce(CommandId) -> Command) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.give(at, Input::Command(command(id)));
        id
    }

    /// How a command ended, if it has.
    pub(crate) fn outcome(&self, at: At, id: CommandId) -> Option<&Outcome> {
        self.hosts[at].events.iter().find_map(|event| match event {
            Event::Done { id: done, outcome } if *done == id => Some(outcome),
            _ => None,
        })
    }

    /// Waits for the end of a command.
    pub(crate) fn wait(&mut self, at: At, id: CommandId) -> Outcome {
        self.until("the command ends", |c| c.outcome(at, id).is_some());
        self.outcome(at, id).expect("it has ended").clone()
    }

    pub(crate) fn command(&mut self, at: At, command: impl FnOnce(CommandId) -> Command) -> Outcome {
        let id = self.order(at, command);
        self.wait(at, id)
    }

    pub(crate) fn join_command(
        &self,
        peer: At,
        ignore_old: bool,
    ) -> impl FnOnce(CommandId) -> Command + use<> {
        let peer = Peer { addr: self.addr(peer), name: Some(self.name(peer)) };
        move |id| Command::Join { id, peers: vec![peer], ignore_old }
    }

    /// Joins one to another; tells how many were contacted.
    pub(crate) fn join(&mut self, at: At, peer: At) -> usize {
        let join = self.join_command(peer, false);
        match self.command(at, join) {
            Outcome::Joined { contacted, .. } => contacted.len(),
            outcome => panic!("{outcome:?}"),
        }
    }

    pub(crate) fn leave(&mut self, at: At) {
        assert_eq!(self.command(at, |id| Command::Leave { id }), Outcome::Ok);
    }

    pub(crate) fn force_leave(&mut self, at: At, name: &str, prune: bool) -> Outcome {
        let name = Name::from(name);
        self.command(at, |id| Command::ForceLeave { id, name, prune })
    }

    /// A datagram from nowhere.
    pub(crate) fn inject(&mut self, at: At, mut bytes: Vec<u8>) {
        let from = Address::new(&[10, 9, 9, 9], 9999);
        self.give(at, Input::Datagram { from, bytes: &mut bytes });
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next().is_some_and(|due| due <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Time passes in which nobody is awake: all deadlines are missed at once.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets time pass until something is so.
    pub(crate) fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let end = self.now + Duration::from_secs(120);
        while !so(self) {
            match self.next() {
                Some(due) if due <= end => self.step(),
                _ => panic!("STORY_SEED={}: not within two minutes: {what}", self.seed / 1000),
            }
        }
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let arrival = self.travelling.first_key_value().map(|((due, _), _)| *due);
        self.hosts.iter().filter_map(Host::due).chain(arrival).min()
    }

    fn step(&mut self) {
        let Some(due) = self.next() else { return };
        self.now = self.now.max(due);
        match self.travelling.first_entry() {
            Some(entry) if entry.key().0 <= self.now => {
                let (to, parcel) = entry.remove();
                self.deliver(to, parcel);
            }
            _ => {
                for at in 0..self.hosts.len() {
                    if self.hosts[at].due().is_some_and(|due| due <= self.now) {
                        self.wake(at);
                    }
                }
            }
        }
    }

    /// A deadline is reached. One that is reached again and again at one moment would be a busy loop.
    fn wake(&mut self, at: At) {
        let host = &mut self.hosts[at];
        host.woken = (self.now, if host.woken.0 == self.now { host.woken.1 + 1 } else { 1 });
        assert!(host.woken.1 < 10, "STORY_SEED={}: {at} is due for ever: {:?}", self.seed / 1000, host.node);
        self.give(at, Input::Timeout);
    }

    fn deliver(&mut self, to: At, parcel: Parcel) {
        if let Some(held) = &mut self.hosts[to].held {
            return held.push(parcel);
        }
        match parcel {
            Parcel::Datagram { from, mut bytes } => {
                self.give(to, Input::Datagram { from, bytes: &mut bytes });
            }
            Parcel::Stream { id, what } => {
                if !self.hosts[to].streams.contains_key(&id) && !matches!(what, Piece::Failed(_)) {
                    return;
                }
                let event = match &what {
                    Piece::Accepted(from) => StreamEvent::Accepted { from: from.clone() },
                    Piece::Connected => StreamEvent::Connected,
                    Piece::Data(bytes) => StreamEvent::Data(bytes),
                    Piece::Written => StreamEvent::Written,
                    Piece::Ended => StreamEvent::Ended,
                    Piece::Failed(why) => {
                        self.hosts[to].streams.remove(&id);
                        StreamEvent::Failed((*why).into())
                    }
                };
                self.give(to, Input::Stream { id, event });
            }
        }
    }

    fn give(&mut self, at: At, input: Input<'_, Command>) {
        let now = self.now;
        if let Some(node) = &mut self.hosts[at].node {
            node.handle(now, input);
            self.drain(at);
        }
    }

    fn drain(&mut self, at: At) {
        let mut written = 0;
        loop {
            let Some(node) = &mut self.hosts[at].node else { return };
            match node.poll() {
                Output::Datagram(datagram) => {
                    let from = self.addr(at);
                    let lost = self.loss > 0 && self.luck.below(self.loss) == 0;
                    if let Some(to) = self.find(&datagram.to)
                        && !self.cut.contains(&(at, to))
                        && !lost
                    {
                        self.send(at, to, Parcel::Datagram { from, bytes: datagram.bytes });
                    }
                }
                Output::Stream { id, action } => self.act(at, id, action),
                Output::Event(Event::Snapshot(write)) => {
                    written += 1;
                    match write {
                        Write::Append { lines, .. } => self.hosts[at].file.extend_from_slice(&lines),
                        Write::Replace { content } => self.hosts[at].file = content.to_vec(),
                    }
                }
                Output::Event(event) => self.hosts[at].events.push(event),
                Output::Timeout(due, _) => {
                    self.hosts[at].due = due;
                    break;
                }
            }
        }
        for _ in 0..written {
            self.give(at, Input::Command(Command::SnapshotWritten { done: true }));
        }
    }

    fn act(&mut self, at: At, id: StreamId, action: StreamAction) {
        match action {
            StreamAction::Dial { to, .. } => {
                let from = self.addr(at);
                match self.find(&to) {
                    Some(to) if !self.cut.contains(&(at, to)) && self.hosts[to].node.is_some() => {
                        let host = &mut self.hosts[to];
                        host.accepted += 1;
                        let theirs = StreamId(2 * host.accepted - 1);
                        host.streams.insert(theirs, (at, id));
                        self.hosts[at].streams.insert(id, (to, theirs));
                        self.send(at, to, Parcel::Stream { id: theirs, what: Piece::Accepted(from) });
                        self.send(at, at, Parcel::Stream { id, what: Piece::Connected });
                    }
                    // What is cut off is silent; what is down says so.
                    Some(to) if self.cut.contains(&(at, to)) => {}
                    _ => self.send(at, at, Parcel::Stream { id, what: Piece::Failed("connection refused") }),
                }
            }
            StreamAction::Write(bytes) => {
                if let Some(&(to, theirs)) = self.hosts[at].streams.get(&id) {
                    self.send(at, to, Parcel::Stream { id: theirs, what: Piece::Data(bytes) });
                    self.send(at, at, Parcel::Stream { id, what: Piece::Written });
                }
            }
            StreamAction::Close | StreamAction::Abort => {
                if let Some((to, theirs)) = self.hosts[at].streams.remove(&id) {
                    self.send(at, to, Parcel::Stream { id: theirs, what: Piece::Ended });
                }
            }
        }
    }

    fn find(&self, addr: &Address) -> Option<At> {
        self.hosts.iter().rposition(|host| host.config.gossip.advertise == *addr)
    }

    fn send(&mut self, from: At, to: At, parcel: Parcel) {
        self.sent += 1;
        self.travelling.insert((self.now + (self.latency)(from, to), self.sent), (to, parcel));
    }
}

/// Draws for a story.
pub(crate) fn draws(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::from_seed(bytes)
}
