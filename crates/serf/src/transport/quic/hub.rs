//! All connections of one socket: a machine that is turned by one task, and asked by whoever holds a part of it.
//!
//! Datagrams and streams only put things in and take things out, and wake the task; it alone receives, sends and looks
//! at the time. Whatever is to be woken, or dropped, is so after the lock is given back.

mod traffic;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, Event,
    Incoming, StreamEvent, StreamId, VarInt,
};
use rustls::AlertDescription;
use rustls::pki_types::CertificateDer;
use serf_gossip::Name;

use super::Counts;
use crate::driver::Ration;
use crate::net::{Datagrams, would_wait};
use crate::transport::plain::UdpPort;
use crate::transport::{Credentials, Distrust};

/// Connections that stand. One more ends the one that was used least lately and carries no stream.
const CONNECTIONS_MAX: usize = 1024;
/// Connections to us that are being made; further ones are refused.
const ARRIVING_MAX: usize = 256;
/// Of those, from one host.
const ARRIVING_PER_HOST_MAX: usize = 64;
/// With so many being made, whoever knocks has to show first that it can be reached at its address.
const ARRIVING_TRUSTED: usize = 32;
/// Connections that we are making; datagrams for further peers are lost.
const DIALLING_MAX: usize = 256;
/// Time for a connection to come about: as long as a whole stream may take in the LAN profile.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// After a connection has failed, datagrams wait so long for the next attempt; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Datagrams for one peer that wait for the connection; further ones are lost.
const WAITING_MAX: usize = 32;
/// Bytes received that wait for the node: as much as a UDP socket is asked to hold.
const INBOX_MAX: usize = 2 << 20;
/// What a datagram costs there besides its bytes, so that empty ones are not free.
const ENTRY_BYTES: usize = 64;
/// Streams that wait to be accepted; further ones are refused.
const BACKLOG: usize = 128;
/// Packets that wait for the kernel, beyond the one that it refused: answers to strangers only.
const UNSENT_MAX: usize = 64;
/// Packets received in one turn.
const PACKETS_PER_TURN: usize = 64;
/// Larger packets are of no use.
const PACKET_MAX: usize = 2048;
/// Pause after the socket refused to receive.
const DEAF: Duration = Duration::from_millis(100);

/// A connection's number: of ours, never used twice.
pub(super) type Id = u64;

pub(super) struct Hub {
    /// None: all is over.
    udp: Option<UdpPort>,
    endpoint: Endpoint,
    client: ClientConfig,
    credentials: Credentials,
    counts: Arc<Counts>,
    next: Id,
    connections: BTreeMap<Id, Box<Link>>,
    handles: HashMap<ConnectionHandle, Id>,
    peers: HashMap<SocketAddr, Peer>,
    /// Connections to us that are being made.
    arriving: BTreeSet<(IpAddr, Id)>,
    /// Those by us.
    dialling: usize,
    /// Those that stand.
    standing: usize,
    timers: BTreeSet<(Instant, Id)>,
    /// Connections with something to do.
    stirred: VecDeque<Id>,
    unsent: VecDeque<(SocketAddr, Vec<u8>)>,
    inbox: VecDeque<(SocketAddr, Bytes)>,
    inbox_bytes: usize,
    /// Bytes of datagrams that have not come whole; bounded like those.
    parts_bytes: usize,
    reader: Option<Waker>,
    accepted: VecDeque<(Id, StreamId)>,
    acceptor: Option<Waker>,
    /// The task that turns this.
    engine: Option<Waker>,
    deaf_until: Option<Instant>,
    scratch: Box<[u8]>,
    packet: Vec<u8>,
    born: Instant,
    ration: Ration,
    /// To be woken.
    wakes: Vec<Waker>,
    /// To be dropped.
    scrap: Vec<Waker>,
}

/// What we know of an address.
#[derive(Default)]
struct Peer {
    /// What stands.
    open: Option<Id>,
    /// What is being made by us.
    dialling: Option<Id>,
    /// Datagrams for then, and for whom.
    waiting: VecDeque<(Option<Name>, Bytes)>,
    /// No attempt before, and the last pause.
    pause: Option<(Instant, Duration)>,
    /// Why the last one failed.
    why: Option<Lost>,
}

/// One connection.
struct Link {
    id: Id,
    quic: Connection,
    handle: ConnectionHandle,
    peer: SocketAddr,
    is_ours: bool,
    phase: Phase,
    /// Time is up then for what is being made.
    deadline: Option<Instant>,
    timer: Option<Instant>,
    is_stirred: bool,
    /// Something came that the node was told of.
    is_heard: bool,
    /// The endpoint has forgotten it.
    is_drained: bool,
    used: Instant,
    /// What the peer has shown.
    chain: Vec<CertificateDer<'static>>,
    /// The name that was looked for in it last, and found.
    admitted: Option<Name>,
    /// Streams, and those who want one.
    users: usize,
    streams: BTreeMap<StreamId, Ends>,
    openers: Vec<Waker>,
    /// Datagrams that come as streams.
    parts: BTreeMap<StreamId, Vec<u8>>,
}

enum Phase {
    Making,
    Standing,
    Over(Lost),
}

/// Why a connection is no more.
#[derive(Debug, Clone)]
pub(super) enum Lost {
    Distrust(Distrust),
    Broken(io::ErrorKind, String),
}

impl Lost {
    pub(super) fn error(&self) -> io::Error {
        match self {
            Self::Distrust(why) => why.clone().into(),
            Self::Broken(kind, why) => io::Error::new(*kind, why.clone()),
        }
    }
}

/// Who waits for what on a stream.
#[derive(Default)]
struct Ends {
    is_blocked_in: bool,
    is_blocked_out: bool,
    /// The peer has said its last.
    is_over: bool,
    /// The peer has said anything.
    is_heard: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What the task does next.
pub(super) enum Turn {
    /// There may be more to do.
    More,
    /// Waits, at most until then.
    Wait(Option<Instant>),
    Over,
}

/// Nothing goes any more.
pub(super) fn over() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the transport has ended")
}

impl Hub {
    pub(super) fn new(
        udp: UdpPort,
        endpoint: Endpoint,
        client: ClientConfig,
        credentials: Credentials,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            udp: Some(udp),
            endpoint,
            client,
            credentials,
            counts,
            next: 0,
            connections: BTreeMap::new(),
            handles: HashMap::new(),
            peers: HashMap::new(),
            arriving: BTreeSet::new(),
            dialling: 0,
            standing: 0,
            timers: BTreeSet::new(),
            stirred: VecDeque::new(),
            unsent: VecDeque::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            parts_bytes: 0,
            reader: None,
            accepted: VecDeque::new(),
            acceptor: None,
            engine: None,
            deaf_until: None,
            scratch: vec![0; PACKET_MAX].into(),
            packet: Vec::new(),
            born: Instant::now(),
            ration: Ration::default(),
            wakes: Vec::new(),
            scrap: Vec::new(),
        }
    }

    /// What is to be woken and dropped when the lock is given back.
    pub(super) fn errands(&mut self) -> (Vec<Waker>, Vec<Waker>) {
        (std::mem::take(&mut self.wakes), std::mem::take(&mut self.scrap))
    }

    /// Does what can be done now.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.udp.is_none() {
            return Turn::Over;
        }
        register(&mut self.engine, cx, &mut self.scrap);
        let now = Instant::now();
        let is_more = self.receive(now);
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.visit(id, |hub, link| {
                link.timer = None;
                if link.deadline.is_some_and(|deadline| deadline <= now) {
                    let why = Lost::Broken(io::ErrorKind::TimedOut, "i/o timeout".to_owned());
                    hub.lose(now, link, why);
                    link.quic.close(now, VarInt::from_u32(0), Bytes::new());
                }
                link.quic.handle_timeout(now);
                hub.stir(link);
            });
        }
        self.flush();
        while self.unsent.is_empty()
            && let Some(id) = self.stirred.pop_front()
        {
            self.visit(id, |hub, link| {
                link.is_stirred = false;
                hub.drive(now, link);
            });
        }
        let Some(udp) = &mut self.udp else { return Turn::Over };
        let writable = !self.unsent.is_empty() && udp.poll_writable(cx).is_ready();
        let readable = self.deaf_until.is_none() && udp.poll_readable(cx).is_ready();
        if is_more || writable || readable {
            return Turn::More;
        }
        let due = self.timers.first().map(|&(at, _)| at);
        Turn::Wait(due.into_iter().chain(self.deaf_until).min())
    }

    /// Takes in packets. Whether there may be more.
    fn receive(&mut self, now: Instant) -> bool {
        if self.deaf_until.is_some_and(|until| now < until) {
            return false;
        }
        self.deaf_until = None;
        for _ in 0..PACKETS_PER_TURN {
            let Some(udp) = &mut self.udp else { return false };
            match udp.try_receive(&mut self.scratch) {
                Ok((len, from)) => {
                    if let Some(from) = from.socket_addr() {
                        let bytes = BytesMut::from(&self.scratch[..len]);
                        self.packet(now, from, bytes);
                    }
                }
                Err(error) if would_wait(&error) => return false,
                Err(error) if crate::driver::is_about_a_sent_one(&error) => {}
                Err(error) => {
                    self.tell(&format_args!(
                        "Error reading QUIC packet: {}",
                        crate::fault::call("recvfrom", &error)
                    ));
                    self.deaf_until = Some(now + DEAF);
                    return false;
                }
            }
        }
        true
    }

    fn packet(&mut self, now: Instant, from: SocketAddr, bytes: BytesMut) {
        let mut answer = Vec::new();
        match self.endpoint.handle(now, from, None, None, bytes, &mut answer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(&id) = self.handles.get(&handle) {
                    self.visit(id, |hub, link| {
                        link.quic.handle_event(event);
                        hub.stir(link);
                    });
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.knocked(now, incoming),
            Some(DatagramEvent::Response(transmit)) => {
                self.send(transmit.destination, &answer[..transmit.size])
            }
            None => {}
        }
    }

    /// Somebody wants a connection.
    fn knocked(&mut self, now: Instant, incoming: Incoming) {
        let peer = incoming.remote_address();
        let host = peer.ip();
        let same = self.arriving.range((host, 0)..=(host, Id::MAX)).count();
        let mut answer = Vec::new();
        let transmit = if self.arriving.len() >= ARRIVING_MAX || same >= ARRIVING_PER_HOST_MAX {
            self.counts.refused.fetch_add(1, Relaxed);
            self.tell(&format_args!("Too many QUIC connections are being made from={peer}"));
            Some(self.endpoint.refuse(incoming, &mut answer))
        } else if self.arriving.len() >= ARRIVING_TRUSTED && !incoming.remote_address_validated() {
            match self.endpoint.retry(incoming, &mut answer) {
                Ok(transmit) => Some(transmit),
                Err(error) => {
                    self.endpoint.ignore(error.into_incoming());
                    None
                }
            }
        } else {
            match self.endpoint.accept(incoming, now, &mut answer, None) {
                Ok((handle, quic)) => {
                    let id = self.insert(now, handle, quic, peer, false);
                    self.arriving.insert((host, id));
                    None
                }
                Err(error) => {
                    self.tell(&format_args!("QUIC connection from {peer} failed: {}", error.cause));
                    error.response
                }
            }
        };
        if let Some(transmit) = transmit {
            self.send(transmit.destination, &answer[..transmit.size]);
        }
    }

    /// Sends a packet, which the kernel may lose as the network may.
    fn send(&mut self, to: SocketAddr, packet: &[u8]) {
        let Some(udp) = &mut self.udp else { return };
        let must_wait =
            !self.unsent.is_empty() || udp.send_to(to, packet).is_err_and(|error| would_wait(&error));
        if must_wait && self.unsent.len() <= UNSENT_MAX {
            self.unsent.push_back((to, packet.to_vec()));
        }
    }

    fn flush(&mut self) {
        let Some(udp) = &mut self.udp else { return };
        while let Some((to, packet)) = self.unsent.front() {
            if udp.send_to(*to, packet).is_err_and(|error| would_wait(&error)) {
                return;
            }
            self.unsent.pop_front();
        }
    }

    /// Looks after one connection, which is not in the table meanwhile.
    fn visit<T>(&mut self, id: Id, work: impl FnOnce(&mut Self, &mut Link) -> T) -> Option<T> {
        let mut link = self.connections.remove(&id)?;
        let result = work(self, &mut link);
        if link.is_drained && link.users == 0 {
            self.unset_timer(&mut link);
            self.scrap.append(&mut link.openers);
        } else {
            self.connections.insert(id, link);
        }
        Some(result)
    }

    fn stir(&mut self, link: &mut Link) {
        if !link.is_stirred {
            link.is_stirred = true;
            self.stirred.push_back(link.id);
        }
        self.wakes.extend(self.engine.take());
    }

    /// Sends what a connection has to say, and hears what it has to tell.
    fn drive(&mut self, now: Instant, link: &mut Link) {
        loop {
            let mut packet = std::mem::take(&mut self.packet);
            while self.unsent.is_empty() {
                packet.clear();
                let Some(transmit) = link.quic.poll_transmit(now, 1, &mut packet) else { break };
                self.send(transmit.destination, &packet[..transmit.size]);
            }
            self.packet = packet;
            let mut is_news = false;
            while let Some(event) = link.quic.poll_endpoint_events() {
                is_news = true;
                if event.is_drained() && !link.is_drained {
                    link.is_drained = true;
                    self.handles.remove(&link.handle);
                }
                if let Some(event) = self.endpoint.handle_event(link.handle, event) {
                    link.quic.handle_event(event);
                }
            }
            while let Some(event) = link.quic.poll() {
                is_news = true;
                self.event(now, link, event);
            }
            if !is_news {
                break;
            }
        }
        if !self.unsent.is_empty() {
            // It goes on when the kernel takes more.
            self.stir(link);
        }
        self.unset_timer(link);
        link.timer = link.quic.poll_timeout().into_iter().chain(link.deadline).min();
        if let Some(at) = link.timer {
            self.timers.insert((at, link.id));
        }
    }

    fn unset_timer(&mut self, link: &mut Link) {
        if let Some(at) = link.timer.take() {
            self.timers.remove(&(at, link.id));
        }
    }

    fn event(&mut self, now: Instant, link: &mut Link, event: Event) {
        if matches!(link.phase, Phase::Over(_)) {
            // It was given up in this very turn; everybody has been told, and its accounts are closed.
            return;
        }
        match event {
            Event::Connected => self.stand(now, link),
            Event::ConnectionLost { reason } => self.lose(now, link, lost(reason)),
            Event::DatagramReceived => {
                while let Some(bytes) = link.quic.datagrams().recv() {
                    self.deliver(now, link, bytes);
                }
            }
            Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => self.offered(now, link),
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                while let Some(id) = link.quic.streams().accept(Dir::Uni) {
                    link.parts.insert(id, Vec::new());
                    self.assemble(now, link, id);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => match link.streams.get_mut(&id) {
                Some(ends) => {
                    link.is_heard = true;
                    ends.is_heard = true;
                    ends.is_blocked_in = false;
                    self.wakes.extend(ends.reader.take());
                }
                None => self.assemble(now, link, id),
            },
            Event::Stream(StreamEvent::Writable { id } | StreamEvent::Stopped { id, .. }) => {
                if let Some(ends) = link.streams.get_mut(&id) {
                    ends.is_blocked_out = false;
                    self.wakes.extend(ends.writer.take());
                }
            }
            Event::Stream(StreamEvent::Available { dir: Dir::Bi }) => self.wakes.append(&mut link.openers),
            Event::Stream(StreamEvent::Available { .. } | StreamEvent::Finished { .. })
            | Event::HandshakeDataReady
            | Event::DatagramsUnblocked => {}
        }
    }

    fn insert(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        quic: Connection,
        peer: SocketAddr,
        is_ours: bool,
    ) -> Id {
        let id = self.next;
        self.next += 1;
        let mut link = Box::new(Link {
            id,
            quic,
            handle,
            peer,
            is_ours,
            phase: Phase::Making,
            deadline: Some(now + HANDSHAKE_MAX),
            timer: None,
            is_stirred: false,
            is_heard: false,
            is_drained: false,
            used: now,
            chain: Vec::new(),
            admitted: None,
            users: 0,
            streams: BTreeMap::new(),
            openers: Vec::new(),
            parts: BTreeMap::new(),
        });
        self.stir(&mut link);
        self.handles.insert(handle, id);
        self.connections.insert(id, link);
        id
    }

    fn connect(&mut self, now: Instant, to: SocketAddr) -> io::Result<Id> {
        if self.udp.is_none() {
            return Err(over());
        }
        if self.dialling >= DIALLING_MAX {
            return Err(io::Error::other("too many QUIC connections are being made"));
        }
        let name = to.ip().to_string();
        let (handle, quic) = self
            .endpoint
            .connect(now, self.client.clone(), to, &name)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let id = self.insert(now, handle, quic, to, true);
        self.dialling += 1;
        self.peers.entry(to).or_default().dialling = Some(id);
        Ok(id)
    }

    /// Both ends trust each other.
    fn stand(&mut self, now: Instant, link: &mut Link) {
        self.made(link);
        link.phase = Phase::Standing;
        link.used = now;
        let identity = link.quic.crypto_session().peer_identity();
        link.chain = identity
            .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(Vec::new, |chain| *chain);
        let count = if link.is_ours { &self.counts.dialled } else { &self.counts.accepted };
        count.fetch_add(1, Relaxed);
        if self.standing >= CONNECTIONS_MAX {
            self.evict(now);
        }
        self.standing += 1;
        self.wakes.append(&mut link.openers);
        // The newest is the one that the peer knows of, whatever became of others.
        let peer = self.peers.entry(link.peer).or_default();
        peer.open = Some(link.id);
        for (node, bytes) in std::mem::take(&mut peer.waiting) {
            let sent = self.admit(now, link, node.as_ref()).and_then(|()| self.put(now, link, bytes));
            if sent.is_err() {
                self.counts.datagrams_lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// It is not being made any more.
    fn made(&mut self, link: &mut Link) {
        link.deadline = None;
        if !link.is_ours {
            self.arriving.remove(&(link.peer.ip(), link.id));
            return;
        }
        self.dialling -= 1;
        if let Some(peer) = self.peers.get_mut(&link.peer)
            && peer.dialling == Some(link.id)
        {
            peer.dialling = None;
        }
    }

    /// Ends the connection that was used least lately.
    fn evict(&mut self, now: Instant) {
        let standing = self.connections.values().filter(|link| matches!(link.phase, Phase::Standing));
        let idle = standing.filter(|link| link.users == 0).min_by_key(|link| link.used).map(|link| link.id);
        if let Some(id) = idle {
            self.visit(id, |hub, link| {
                hub.lose(now, link, Lost::Broken(io::ErrorKind::TimedOut, "idle".to_owned()));
                link.quic.close(now, VarInt::from_u32(0), Bytes::new());
                hub.stir(link);
            });
        }
    }

    fn lose(&mut self, now: Instant, link: &mut Link, why: Lost) {
        let was_standing = match &link.phase {
            Phase::Over(_) => return,
            Phase::Standing => true,
            Phase::Making => false,
        };
        if was_standing {
            self.standing -= 1;
        } else {
            self.made(link);
        }
        if let Lost::Distrust(_) = why {
            self.counts.refusals.fetch_add(1, Relaxed);
            let way = if link.is_ours { "to" } else { "from" };
            self.tell(&format_args!("QUIC connection {way} {} failed: {}", link.peer, why.error()));
        }
        for ends in link.streams.values_mut() {
            self.wakes.extend(ends.reader.take().into_iter().chain(ends.writer.take()));
        }
        self.wakes.append(&mut link.openers);
        self.parts_bytes -= std::mem::take(&mut link.parts).values().map(Vec::len).sum::<usize>();
        // Who has just been idle, or is a new one at the old place, can be called again at once.
        let is_idle = was_standing
            && matches!(why, Lost::Broken(io::ErrorKind::TimedOut | io::ErrorKind::ConnectionReset, _));
        if let Some(peer) = self.peers.get_mut(&link.peer) {
            if peer.open == Some(link.id) {
                peer.open = None;
            }
            if link.is_heard {
                peer.pause = None;
            }
            if !is_idle && (was_standing || link.is_ours) {
                let pause = peer.pause.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
                peer.pause = Some((now + pause, pause));
                peer.why = Some(why.clone());
            }
            self.tidy(now, link.peer);
        }
        link.phase = Phase::Over(why);
    }

    /// Throws away what is known of a peer if that is of no use any more.
    fn tidy(&mut self, now: Instant, addr: SocketAddr) {
        let Some(peer) = self.peers.get_mut(&addr) else { return };
        if peer.open.is_some() || peer.dialling.is_some() {
            return;
        }
        let lost = std::mem::take(&mut peer.waiting).len();
        self.counts.datagrams_lost.fetch_add(lost as u64, Relaxed);
        if peer.pause.is_none_or(|(until, pause)| until + pause <= now) {
            self.peers.remove(&addr);
        } else if self.peers.len() > 2 * CONNECTIONS_MAX {
            let is_old = |peer: &Peer| {
                peer.open.is_none()
                    && peer.dialling.is_none()
                    && peer.pause.is_none_or(|(until, _)| until <= now)
            };
            self.peers.retain(|_, peer| !is_old(peer));
        }
    }

    /// Whether the peer may be who is expected. If not, a connection on which nobody was admitted yet is used for nobody
    /// else either: another may live there by now, which the next one shows.
    fn admit(&mut self, now: Instant, link: &mut Link, node: Option<&Name>) -> io::Result<()> {
        let Some(node) = node else { return Ok(()) };
        if link.admitted.as_ref() == Some(node) {
            return Ok(());
        }
        match self.credentials.admit(&link.chain, node) {
            Ok(()) => {
                link.admitted = Some(node.clone());
                Ok(())
            }
            Err(why) => {
                self.counts.refusals.fetch_add(1, Relaxed);
                self.tell(&format_args!("Nothing is said to {} over QUIC: {why}", link.peer));
                // Who was admitted as somebody stays: others may claim any name at that address. A new tenant comes by
                // a connection of his own.
                if link.admitted.is_none()
                    && let Some(peer) = self.peers.get_mut(&link.peer)
                    && peer.open == Some(link.id)
                {
                    peer.open = None;
                    let pause = peer.pause.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
                    peer.pause = Some((now + pause, pause));
                    peer.why = Some(Lost::Distrust(why.clone()));
                }
                Err(why.into())
            }
        }
    }

    /// Says goodbye to all, and frees the port.
    pub(super) fn shut(&mut self) {
        let now = Instant::now();
        let ids: Vec<Id> = self.connections.keys().copied().collect();
        for id in ids {
            self.visit(id, |hub, link| {
                if !matches!(link.phase, Phase::Over(_)) {
                    hub.drive(now, link);
                    link.quic.close(now, VarInt::from_u32(0), Bytes::new());
                    hub.drive(now, link);
                    hub.lose(now, link, Lost::Broken(io::ErrorKind::NotConnected, over().to_string()));
                }
            });
        }
        self.udp = None;
        self.wakes.extend(self.engine.take());
        self.wakes.extend(self.reader.take());
        self.wakes.extend(self.acceptor.take());
    }

    /// One line in a while, on what others did.
    fn tell(&mut self, what: &dyn std::fmt::Display) {
        let now = serf_gossip::Instant::ZERO + self.born.elapsed();
        if let Some(more) = self.ration.admit(now) {
            log::warn!(target: "memberlist", "{what}{more}");
        }
    }
}

/// Why, in the words of certificates where it is about those.
fn lost(reason: ConnectionError) -> Lost {
    let alert = |code: u64| u8::try_from(code.checked_sub(0x100)?).ok().map(AlertDescription::from);
    let distrust = match &reason {
        ConnectionError::TransportError(error) => {
            alert(error.code.into()).map(|alert| ours(alert, &error.reason))
        }
        ConnectionError::ConnectionClosed(close) => {
            alert(close.error_code.into()).map(|alert| rustls::Error::AlertReceived(alert).into())
        }
        _ => None,
    };
    if let Some(why) = distrust {
        return Lost::Distrust(why);
    }
    let kind = match &reason {
        ConnectionError::TimedOut => io::ErrorKind::TimedOut,
        ConnectionError::Reset => io::ErrorKind::ConnectionReset,
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => {
            io::ErrorKind::ConnectionAborted
        }
        _ => io::ErrorKind::Other,
    };
    let why = match &reason {
        ConnectionError::TimedOut => "i/o timeout".to_owned(),
        ConnectionError::ApplicationClosed(_) => "the peer has shut down".to_owned(),
        // It may have words of the peer in it.
        reason => reason.to_string().escape_debug().to_string(),
    };
    Lost::Broken(kind, why)
}

/// What we found wrong; QUIC has only kept what we told the peer.
fn ours(alert: AlertDescription, why: &str) -> Distrust {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => Distrust::UnknownAuthority,
        AlertDescription::CertificateExpired if why.contains("not valid yet") => Distrust::NotYetValid,
        AlertDescription::CertificateExpired => Distrust::Expired,
        AlertDescription::UnsupportedCertificate => Distrust::Purpose,
        AlertDescription::CertificateRequired => Distrust::NoCertificate,
        AlertDescription::NoApplicationProtocol => Distrust::Incompatible,
        _ => Distrust::Other(why.to_owned()),
    }
}

/// Remembers whom to wake.
fn register(slot: &mut Option<Waker>, cx: &Context<'_>, scrap: &mut Vec<Waker>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        slot => scrap.extend(slot.replace(cx.waker().clone())),
    }
}
