//! The simulated world: nodes, what is on its way between them, and one clock. It does one thing after another, and
//! which comes next depends on nothing but the seed and the calls made.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use serf_core::{Command, Config, ConfigError, Event, Node, Status};
use serf_gossip::{
    Address, CommandId, Input, Instant, Machine, Name, Output, Peer, Rng, StreamAction, StreamId, Transmit,
};

use crate::digest::Digest;
use crate::host::{DATAGRAM_COST, Disk, Held, Host, OUTBOX_BYTES, Parcel, Stall};
use crate::network::{At, Network, chance};
use crate::pool::Pool;
use crate::queue::{Queue, Slab};
use crate::streams::Connection;

/// What waits longer than this to get out of a node's interface is dropped there.
const INTERFACE_QUEUE: Duration = Duration::from_secs(1);
/// Bytes of headers around a datagram.
pub(crate) const HEADERS: usize = 28;
/// How long a disk takes over a write.
const DISK: Duration = Duration::from_millis(2);
/// How often one node may be woken at one moment. More is a machine that is due for ever.
const SPINS: u32 = 100;

/// See the module's text. A node is known by its place: 0 is the first that was added.
///
/// ```
/// use std::time::Duration;
/// use serf_sim::Sim;
///
/// let mut sim = Sim::new(42);
/// for i in 0..3 {
///     sim.add(Sim::lan(i)).unwrap();
/// }
/// sim.join(1, 0);
/// sim.join(2, 0);
/// sim.run(Duration::from_secs(5));
/// assert_eq!(sim.node(2).unwrap().member_count(), 3);
/// ```
#[derive(Debug)]
pub struct Sim {
    pub(crate) now: Instant,
    seed: u64,
    pub(crate) rng: Rng,
    pub(crate) queue: Queue<What>,
    pub(crate) parcels: Slab<Parcel>,
    pub(crate) connections: Slab<Connection>,
    pub(crate) generations: u32,
    pub(crate) hosts: Vec<Host>,
    pub(crate) by_addr: HashMap<Address, u32, foldhash::fast::FixedState>,
    /// Who reaches whom, and how. May be changed at any time.
    pub network: Network,
    pool: Pool,
    happened: VecDeque<(At, Event)>,
    touched: At,
    heard_from: Option<At>,
    commands: u64,
    pub(crate) digest: Digest,
    pub(crate) traffic: Traffic,
}

/// Something planned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// A node has something to do.
    Look(u32),
    Parcel(u32),
    Retry {
        conn: u32,
        generation: u32,
        from: u8,
    },
    /// The end of a stall, by its number.
    Resume(u32, u32),
    /// A disk has done what a node, in this life, asked for.
    Written(u32, u32),
}

/// What went over the network, since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes of them, without headers.
    pub datagram_bytes: u64,
    /// Those that reached a node.
    pub delivered: u64,
    /// Those lost on the way, duplicates included.
    pub lost: u64,
    /// Those lost because they were too long for the link.
    pub oversized: u64,
    /// Those lost in a full buffer: at a node that does not take them, or behind a slow interface.
    pub shed: u64,
    /// Bytes sent over streams, with headers.
    pub stream_bytes: u64,
    /// Packets of streams that had to be sent again.
    pub segments_lost: u64,
    /// Everything done: deadlines, datagrams, pieces of streams.
    pub steps: u64,
}

impl Traffic {
    /// What came on top of an earlier count.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            datagrams: self.datagrams - before.datagrams,
            datagram_bytes: self.datagram_bytes - before.datagram_bytes,
            delivered: self.delivered - before.delivered,
            lost: self.lost - before.lost,
            oversized: self.oversized - before.oversized,
            shed: self.shed - before.shed,
            stream_bytes: self.stream_bytes - before.stream_bytes,
            segments_lost: self.segments_lost - before.segments_lost,
            steps: self.steps - before.steps,
        }
    }

    /// Bytes of datagrams and streams, headers included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.datagram_bytes + self.datagrams * HEADERS as u64 + self.stream_bytes
    }
}

impl Sim {
    /// An empty world. What happens in it depends on the seed and on the calls made, and on nothing else.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::from_nanos(1),
            seed,
            rng: draws(seed, 0, 0),
            queue: Queue::default(),
            parcels: Slab::default(),
            connections: Slab::default(),
            generations: 0,
            hosts: Vec::new(),
            by_addr: HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            network: Network::default(),
            pool: Pool::default(),
            happened: VecDeque::new(),
            touched: 0,
            heard_from: None,
            commands: 0,
            digest: Digest::default(),
            traffic: Traffic::default(),
        }
    }

    /// The usual settings of the `i`th node of a simulated cluster: the profile for local networks, an address of its
    /// own, a name like `n0042`.
    #[must_use]
    pub fn lan(i: At) -> Config {
        Self::profiled(i, serf_gossip::Config::lan)
    }

    /// The same with another profile.
    #[must_use]
    pub fn profiled(i: At, profile: fn(Name, Address) -> serf_gossip::Config) -> Config {
        let (name, addr) = identity(i);
        Config::new(profile(name, addr))
    }

    /// The same with other settings altogether: all of these but for the name and the address.
    #[must_use]
    pub fn like(i: At, node: &Config) -> Config {
        let mut config = node.clone();
        (config.gossip.name, config.gossip.advertise) = identity(i);
        config
    }

    /// Adds a node and starts it.
    ///
    /// # Errors
    /// Settings that cannot work. Nothing was added.
    pub fn add(&mut self, config: Config) -> Result<At, ConfigError> {
        let at = self.hosts.len();
        self.hosts.push(Host::new(config));
        if let Err(why) = self.start(at) {
            self.hosts.pop();
            return Err(why);
        }
        Ok(at)
    }

    /// Starts a node that is down, with nothing of what it knew but what its snapshot file says, if its settings have one
    /// ([`Config::snapshot`]). One that is up is ended first.
    ///
    /// # Errors
    /// Settings that cannot work. The node is down.
    pub fn start(&mut self, at: At) -> Result<(), ConfigError> {
        self.kill(at);
        let number = at as u32;
        let host = &mut self.hosts[at];
        host.silent = false;
        host.life += 1;
        let mut rng = draws(self.seed, at as u64 + 1, host.life.into());
        let mut seed = [0; 32];
        for bytes in seed.chunks_exact_mut(8) {
            bytes.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        let now = host.clock.local(self.now);
        if let Some(snapshot) = &mut host.config.snapshot {
            *snapshot = host.disk.read(snapshot.rejoin_after_leave);
        }
        host.node = Some(Box::new(Node::new(host.config.clone(), seed, now)?));
        self.by_addr.insert(host.addr().clone(), number);
        self.drain(number);
        Ok(())
    }

    /// Starts it again with other settings: other tags, another address.
    ///
    /// # Errors
    /// See [`Sim::start`].
    pub fn start_with(&mut self, at: At, change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = self.hosts[at].config.clone();
        change(&mut config);
        if config.gossip.advertise != *self.hosts[at].addr() {
            self.kill(at);
            self.by_addr.remove(self.hosts[at].addr());
        }
        self.hosts[at].config = config;
        self.start(at)
    }

    /// Ends a node's process without a word. Its operating system resets its streams, and refuses new ones.
    pub fn kill(&mut self, at: At) {
        self.end(at, false);
    }

    /// Ends a node with all that is around it: nobody says anything, and of its snapshot file the end may be lost.
    pub fn power_off(&mut self, at: At) {
        self.end(at, true);
        let Self { hosts, rng, now, .. } = self;
        hosts[at].disk.tear(*now, rng);
    }

    /// Takes a node's snapshot file away. It must be down.
    pub fn wipe(&mut self, at: At) {
        self.hosts[at].disk = Disk::default();
    }

    fn end(&mut self, at: At, silent: bool) {
        self.hosts[at].silent = silent;
        self.drop_streams(at as u32);
        self.hosts[at].clear();
    }

    /// A node stops working, until [`Sim::resume`].
    pub fn stall(&mut self, at: At, how: Stall) {
        let host = &mut self.hosts[at];
        if host.node.is_some() {
            host.stall = Some(how);
            host.stalls += 1;
        }
    }

    /// The same, and it goes on by itself.
    pub fn stall_for(&mut self, at: At, how: Stall, time: Duration) {
        self.stall(at, how);
        let number = self.hosts[at].stalls;
        self.queue.plan(self.now + time, What::Resume(at as u32, number));
    }

    /// A node goes on.
    pub fn resume(&mut self, at: At) {
        let Some(how) = self.hosts[at].stall.take() else { return };
        for held in std::mem::take(&mut self.hosts[at].outbox) {
            match held {
                Held::Datagram(datagram) => self.send(at as u32, datagram),
                Held::Stream(id, action) => self.stream_action(at as u32, id, action),
            }
        }
        self.hosts[at].outbox_bytes = 0;
        if how == Stall::Blocked {
            while self.is_due(at) {
                self.due(at as u32);
            }
        }
        self.look(at as u32);
    }

    fn is_due(&self, at: At) -> bool {
        let host = &self.hosts[at];
        host.node.is_some() && host.due.is_some_and(|due| host.clock.world(due) <= self.now)
    }

    /// A node looks at its deadline, which has come.
    fn due(&mut self, at: u32) {
        let host = &mut self.hosts[at as usize];
        host.woken = (self.now, if host.woken.0 == self.now { host.woken.1 + 1 } else { 1 });
        assert!(host.woken.1 < SPINS, "{} is due for ever: {:?}", host.config.gossip.name, host.node);
        self.give(at, Input::Timeout);
    }

    /// How long a node takes over each datagram and each piece of a stream; meanwhile others wait. Nothing at first.
    pub fn set_handling(&mut self, at: At, time: Duration) {
        self.hosts[at].handling = time;
    }

    /// How much faster a node's clock runs than the world's, in parts per million.
    pub fn set_pace(&mut self, at: At, ppm: i32) {
        let now = self.now;
        let host = &mut self.hosts[at];
        host.clock.set_pace(now, ppm);
        host.planned = None;
        self.plan(at as u32);
    }

    /// All nodes that are up learn of each other at once, as if they had been together for long: for experiments that
    /// begin with a cluster that has formed.
    pub fn acquaint(&mut self) {
        self.acquaint_each(|| {});
    }

    /// The same, which takes a while if there are thousands; `each` is called after every node.
    pub fn acquaint_each(&mut self, mut each: impl FnMut()) {
        let members: Vec<serf_gossip::Member> =
            self.hosts.iter().flat_map(|host| &host.node).map(|node| node.gossip().local().clone()).collect();
        for at in 0..self.hosts.len() {
            let now = self.hosts[at].clock.local(self.now);
            if let Some(node) = &mut self.hosts[at].node {
                node.assume(now, &members);
                self.drain(at as u32);
            }
            each();
        }
        self.happened.clear();
    }

    /// The time of the world.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time passed since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.since(Instant::ZERO)
    }

    /// The seed that the world was made of.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many nodes were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// A node; None while it is down.
    #[must_use]
    pub fn node(&self, at: At) -> Option<&Node> {
        self.hosts[at].node.as_deref()
    }

    /// Whether a node's process exists.
    #[must_use]
    pub fn is_up(&self, at: At) -> bool {
        self.hosts[at].node.is_some()
    }

    /// Whether its snapshot file named others when it was started last.
    #[must_use]
    pub fn remembers_others(&self, at: At) -> bool {
        let config = &self.hosts[at].config;
        let others = |snapshot: &serf_core::snapshot::Snapshot| {
            snapshot.known.iter().any(|(name, _)| *name != config.gossip.name)
        };
        config.snapshot.as_ref().is_some_and(others)
    }

    /// Whether it is up and does not work.
    #[must_use]
    pub fn is_stalled(&self, at: At) -> bool {
        self.hosts[at].stall.is_some()
    }

    /// How often it was started.
    #[must_use]
    pub fn life(&self, at: At) -> u32 {
        self.hosts[at].life
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, at: At) -> Name {
        self.hosts[at].config.gossip.name.clone()
    }

    /// A node's address.
    #[must_use]
    pub fn addr(&self, at: At) -> Address {
        self.hosts[at].addr().clone()
    }

    /// What one makes of another; [`Status::None`] if it does not know it, or is down.
    #[must_use]
    pub fn status(&self, at: At, of: At) -> Status {
        let name = self.hosts[of].config.gossip.name.as_bytes();
        self.node(at).and_then(|node| node.member(name)).map_or(Status::None, |member| member.status)
    }

    /// What went over the network so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Connections that exist, half-open ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// A number that two runs share only if the same was delivered to the same nodes at the same times.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// Gives a node a command; the answer is an event with the number returned. Nothing happens if it is down. One that
    /// is frozen takes it nevertheless: use [`Sim::is_stalled`].
    pub fn command(&mut self, at: At, command: impl FnOnce(CommandId) -> Command) -> CommandId {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.digest.word(self.now.as_nanos());
        self.give(at as u32, Input::Command(command(id)));
        id
    }

    /// Has one node join another.
    pub fn join(&mut self, at: At, to: At) -> CommandId {
        let peers = vec![Peer { addr: self.addr(to), name: Some(self.name(to)) }];
        self.command(at, |id| Command::Join { id, peers, ignore_old: false })
    }

    /// Goes on until a node tells something, or until a time is reached: then None.
    pub fn advance(&mut self, until: Instant) -> Option<(At, Event)> {
        loop {
            if let Some(happened) = self.take_event() {
                return Some(happened);
            }
            if !self.step(until) {
                return None;
            }
        }
    }

    /// What a node has told and nobody has taken yet, the oldest first.
    pub fn take_event(&mut self) -> Option<(At, Event)> {
        self.happened.pop_front()
    }

    /// Does the next thing that is planned up to a time; false, and that is the time, if there is none. For those who
    /// look at machines after every single thing: [`Sim::touched`] tells at which.
    pub fn step(&mut self, until: Instant) -> bool {
        if self.queue.next_at().is_none_or(|at| at > until) {
            self.now = self.now.max(until);
            return false;
        }
        self.next();
        true
    }

    /// The node that was given something last.
    #[must_use]
    pub fn touched(&self) -> At {
        self.touched
    }

    /// Who had sent it that, if the last step gave it a datagram: for those who want to see what goes over the network.
    #[must_use]
    pub fn heard_from(&self) -> Option<At> {
        self.heard_from
    }

    /// Lets time pass; nobody listens.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.advance(until).is_some() {}
    }

    /// Lets time pass until something is so, looking every so often; None if it is not so within the limit. Nobody
    /// listens. The answer is the time it took.
    pub fn until(
        &mut self,
        limit: Duration,
        every: Duration,
        mut so: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let began = self.now;
        while !so(self) {
            if self.now.since(began) >= limit {
                return None;
            }
            self.run(every);
        }
        Some(self.now.since(began))
    }

    fn next(&mut self) {
        let Some((at, what)) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        self.traffic.steps += 1;
        self.heard_from = None;
        match what {
            What::Look(number) => {
                let host = &mut self.hosts[number as usize];
                if host.planned == Some(at) {
                    host.planned = None;
                }
                self.look(number);
            }
            What::Parcel(parcel) => {
                if let Some(parcel) = self.parcels.take(parcel) {
                    self.arrived(parcel);
                }
            }
            What::Written(number, life) => {
                let host = &mut self.hosts[number as usize];
                if host.life == life && host.disk.pending.is_some() && !host.silent {
                    host.disk.done();
                    self.give(number, Input::Command(Command::SnapshotWritten { done: true }));
                }
            }
            What::Retry { conn, generation, from } => self.retry(conn, generation, from.into()),
            What::Resume(number, stall) => {
                if self.hosts[number as usize].stalls == stall {
                    self.resume(number as usize);
                }
            }
        }
    }

    /// Something has come to where a node is, or was.
    fn arrived(&mut self, mut parcel: Parcel) {
        let to = match &mut parcel {
            Parcel::Datagram { to, .. } => *to,
            Parcel::Piece { conn, generation, to, piece } => {
                let Some(host) = self.piece_for(*conn, *generation, *to) else { return };
                if !self.piece_came(*conn, *to, piece) {
                    return;
                }
                host
            }
        };
        let host = &mut self.hosts[to as usize];
        if host.node.is_none() {
            return;
        }
        if host.stall.is_some() || !host.inbox.is_empty() || host.busy > self.now {
            if !host.put_aside(parcel) {
                self.traffic.shed += 1;
            }
            return self.plan(to);
        }
        self.take(to, parcel);
        self.plan(to);
    }

    /// A node takes what has come.
    fn take(&mut self, at: u32, parcel: Parcel) {
        let host = &mut self.hosts[at as usize];
        if !host.handling.is_zero() {
            host.busy = self.now + host.handling;
        }
        self.digest.word(self.now.as_nanos());
        match parcel {
            Parcel::Datagram { from, mut bytes, .. } => {
                self.traffic.delivered += 1;
                self.digest.word(u64::from(from) << 32 | u64::from(at));
                self.digest.bytes(&bytes);
                self.heard_from = Some(from as usize);
                let from = self.hosts[from as usize].addr().clone();
                self.give(at, Input::Datagram { from, bytes: &mut bytes });
                if let Some(node) = &mut self.hosts[at as usize].node {
                    node.recycle(bytes);
                }
            }
            Parcel::Piece { conn, generation, to, piece } => self.give_piece(conn, generation, to, piece),
        }
    }

    /// A node looks at what has come, or, if nothing has, at its deadline: one thing at a time.
    fn look(&mut self, at: u32) {
        let host = &mut self.hosts[at as usize];
        if !host.runs() {
            return;
        }
        if host.stall.is_none()
            && host.busy <= self.now
            && let Some(parcel) = host.take_next()
        {
            self.take(at, parcel);
        } else if self.is_due(at as usize) {
            self.due(at);
        }
        self.plan(at);
    }

    /// Plans the next look at a node.
    fn plan(&mut self, at: u32) {
        let host = &mut self.hosts[at as usize];
        if !host.runs() {
            return;
        }
        let due = host.due.map(|due| host.clock.world(due).max(self.now));
        let free = (host.stall.is_none() && !host.inbox.is_empty()).then(|| host.busy.max(self.now));
        let Some(next) = due.into_iter().chain(free).min() else { return };
        if host.planned.is_none_or(|planned| next < planned) {
            host.planned = Some(next);
            self.queue.plan(next, What::Look(at));
        }
    }

    pub(crate) fn give(&mut self, at: u32, input: Input<'_, Command>) {
        let host = &mut self.hosts[at as usize];
        if let Some(node) = &mut host.node {
            node.handle(host.clock.local(self.now), input);
            self.touched = at as usize;
            self.drain(at);
        }
    }

    /// Does what a machine wants done.
    fn drain(&mut self, at: u32) {
        loop {
            let host = &mut self.hosts[at as usize];
            let held = host.stall.is_some_and(Stall::holds);
            let Some(node) = &mut host.node else { return };
            match node.poll() {
                Output::Datagram(datagram) if held => {
                    let cost = datagram.bytes.len() + DATAGRAM_COST;
                    if host.outbox_bytes + cost > OUTBOX_BYTES {
                        self.traffic.shed += 1;
                    } else {
                        host.outbox_bytes += cost;
                        host.outbox.push_back(Held::Datagram(datagram));
                    }
                }
                Output::Datagram(datagram) => self.send(at, datagram),
                Output::Stream { id, action } => self.act(at, id, action, held),
                Output::Event(Event::Snapshot(write)) => {
                    host.disk.order(self.now, write);
                    let life = host.life;
                    self.queue.plan(self.now + DISK, What::Written(at, life));
                }
                Output::Event(event) => {
                    node.share(&event, &mut self.pool);
                    self.happened.push_back((at as usize, event));
                }
                Output::Timeout(due, _) => {
                    host.due = due;
                    return self.plan(at);
                }
            }
        }
    }

    fn act(&mut self, at: u32, id: StreamId, action: StreamAction, held: bool) {
        if held {
            self.hosts[at as usize].outbox.push_back(Held::Stream(id, action));
        } else {
            self.stream_action(at, id, action);
        }
    }

    /// Sends a datagram on its way.
    fn send(&mut self, at: u32, datagram: Transmit) {
        let Transmit { to, bytes, .. } = datagram;
        self.traffic.datagrams += 1;
        self.traffic.datagram_bytes += bytes.len() as u64;
        let from = at as usize;
        let Some(&number) = self.by_addr.get(&to) else {
            self.traffic.lost += 1;
            return self.give_back(from, bytes);
        };
        let there = number as usize;
        let link = self.network.link(from, there);
        let (mtu, duplication, reordering) = (link.mtu, link.duplication, link.reordering);
        if mtu.is_some_and(|mtu| bytes.len() > mtu) {
            self.traffic.oversized += 1;
            return self.give_back(from, bytes);
        }
        let loss = if from == there { 0.0 } else { self.network.loss(from, there) };
        let out = self.interface(from, there, bytes.len() + HEADERS);
        if out.since(self.now) > INTERFACE_QUEUE {
            self.traffic.shed += 1;
            return self.give_back(from, bytes);
        }
        if chance(&mut self.rng, duplication) {
            self.dispatch(at, number, out, loss, reordering, bytes.clone());
        }
        self.dispatch(at, number, out, loss, reordering, bytes);
    }

    fn dispatch(&mut self, from: u32, to: u32, out: Instant, loss: f64, reordering: f64, bytes: Vec<u8>) {
        if chance(&mut self.rng, loss) {
            self.traffic.lost += 1;
            return self.give_back(from as usize, bytes);
        }
        let mut time = self.network.time(from as usize, to as usize, &mut self.rng);
        if chance(&mut self.rng, reordering) {
            time += time.mul_f64(4.0 * self.rng.unit());
        }
        let parcel = self.parcels.put(Parcel::Datagram { from, to, bytes });
        self.queue.plan(out + time, What::Parcel(parcel));
    }

    fn give_back(&mut self, at: At, bytes: Vec<u8>) {
        if let Some(node) = &mut self.hosts[at].node {
            node.recycle(bytes);
        }
    }

    /// When so many bytes are out of a node's interface, if they begin to wait for it now.
    pub(crate) fn interface(&mut self, from: At, to: At, bytes: usize) -> Instant {
        let Some(bandwidth) = self.network.link(from, to).bandwidth else { return self.now };
        let host = &mut self.hosts[from];
        let begins = host.sending_until.max(self.now);
        if begins.since(self.now) > INTERFACE_QUEUE {
            // Full: what is dropped takes no time. Streams wait for their turn.
            return begins + Duration::from_millis(1);
        }
        host.sending_until = begins + Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64);
        host.sending_until
    }
}

/// The name and the address of the `i`th node.
fn identity(i: At) -> (Name, Address) {
    let [_, a, b, c] = (i as u32 + 1).to_be_bytes();
    (format!("n{i:04}").as_str().into(), Address::new(&[10, a, b, c], 7946))
}

/// A generator for one purpose.
pub(crate) fn draws(seed: u64, purpose: u64, number: u64) -> Rng {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip([seed, purpose, number, 0x7365_7266_2d73_696d]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let mut rng = Rng::from_seed(bytes);
    // The first draws of neighbouring seeds resemble each other.
    (0..4).for_each(|_| {
        rng.next_u64();
    });
    rng
}
