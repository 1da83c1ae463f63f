//! Streams between nodes: dialled, accepted, refused, in order, ended and reset. What is lost is sent again by the
//! operating systems below, later and later, so that a bad network makes streams slow and a cut one makes them hang.

use std::collections::VecDeque;
use std::time::Duration;

use serf_gossip::{Input, Instant, StreamAction, StreamEvent, StreamId};

use crate::host::Parcel;
use crate::network::chance;
use crate::sim::{Sim, What};

/// The first wait before something lost is sent again, and that of a connection's first packet.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_DIAL: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Bytes of a stream in one packet.
const SEGMENT: usize = 1460;
/// Bytes of headers around one.
const HEADERS: usize = 52;

/// What travels on a stream.
#[derive(Debug)]
pub(crate) enum Piece {
    Dial,
    Accepted,
    Connected,
    Data(Vec<u8>),
    /// Not on the network: the operating system has taken what was written.
    Written,
    End,
    Reset(&'static str),
}

/// Both ends: the one that dialled, and the other.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) generation: u32,
    ends: [End; 2],
}

#[derive(Debug)]
struct End {
    host: u32,
    life: u32,
    id: StreamId,
    /// Whether its machine wants to hear of it.
    open: bool,
    /// Sent by it and not through yet, and how many packets each still needs.
    queue: VecDeque<(Piece, u32)>,
    /// The head of the queue was lost and waits.
    waiting: bool,
    retry: Duration,
    /// When the last thing that got through arrives: nothing overtakes it.
    last: Instant,
    /// Writes that were not reported as written.
    unreported: u32,
}

impl End {
    fn new(host: u32, life: u32, id: StreamId) -> Self {
        Self {
            host,
            life,
            id,
            open: false,
            queue: VecDeque::new(),
            waiting: false,
            retry: RETRY_DIAL,
            last: Instant::ZERO,
            unreported: 0,
        }
    }
}

impl Sim {
    /// Does what a machine wants done with a stream.
    pub(crate) fn stream_action(&mut self, at: u32, id: StreamId, action: StreamAction) {
        match action {
            StreamAction::Dial { to, .. } => {
                let host = &self.hosts[at as usize];
                let mut near = End::new(at, host.life, id);
                near.open = true;
                self.generations += 1;
                let generation = self.generations;
                let Some(&there) = self.by_addr.get(&to) else {
                    // Nobody has that address: the network says so.
                    let far = End::new(at, u32::MAX, StreamId(0));
                    let conn = self.connections.put(Connection { generation, ends: [near, far] });
                    self.hosts[at as usize].streams.insert(id, (conn, 0));
                    let when = self.now + RETRY_FIRST;
                    return self.arrive(when, conn, generation, 0, Piece::Reset("no route to host"));
                };
                let far = End::new(there, u32::MAX, StreamId(0));
                let conn = self.connections.put(Connection { generation, ends: [near, far] });
                self.hosts[at as usize].streams.insert(id, (conn, 0));
                self.push(conn, 0, Piece::Dial);
            }
            StreamAction::Write(bytes) => {
                let Some(&(conn, end)) = self.hosts[at as usize].streams.get(&id) else { return };
                if let Some(connection) = self.connections.get_mut(conn) {
                    connection.ends[end].unreported += 1;
                }
                self.push(conn, end, Piece::Data(bytes));
                self.report_written(conn, end);
            }
            StreamAction::Close => self.let_go(at, id, Piece::End),
            StreamAction::Abort => self.let_go(at, id, Piece::Reset("connection reset by peer")),
        }
    }

    fn let_go(&mut self, at: u32, id: StreamId, last: Piece) {
        let Some((conn, end)) = self.hosts[at as usize].streams.remove(&id) else { return };
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.ends[end].open = false;
            if matches!(last, Piece::Reset(_)) {
                connection.ends[end].queue.clear();
            }
        }
        self.push(conn, end, last);
        self.free_if_over(conn);
    }

    /// All streams of a node that ends. Whoever is at the other end hears of it, if there is somebody left to say it.
    pub(crate) fn drop_streams(&mut self, at: u32) {
        let silent = self.hosts[at as usize].silent;
        for (_, (conn, end)) in std::mem::take(&mut self.hosts[at as usize].streams) {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.ends[end].open = false;
                connection.ends[end].queue.clear();
            }
            if !silent {
                self.push(conn, end, Piece::Reset("connection reset by peer"));
            }
            self.free_if_over(conn);
        }
    }

    /// Streams that are open, seen from this node.
    #[must_use]
    pub fn open_streams(&self, at: usize) -> usize {
        self.hosts[at].streams.len()
    }

    fn push(&mut self, conn: u32, from: usize, piece: Piece) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let packets = match &piece {
            Piece::Data(bytes) => bytes.len().div_ceil(SEGMENT).max(1) as u32,
            _ => 1,
        };
        let end = &mut connection.ends[from];
        end.queue.push_back((piece, packets));
        if !end.waiting {
            self.pump(conn, from);
        }
    }

    /// The wait after a loss is over.
    pub(crate) fn retry(&mut self, conn: u32, generation: u32, from: usize) {
        let Some(connection) = self.connections.get_mut(conn).filter(|c| c.generation == generation) else {
            return;
        };
        connection.ends[from].waiting = false;
        self.pump(conn, from);
        self.report_written(conn, from);
        self.free_if_over(conn);
    }

    /// Sends what waits, until something is lost.
    fn pump(&mut self, conn: u32, from: usize) {
        loop {
            let Some(connection) = self.connections.get_mut(conn) else { return };
            let generation = connection.generation;
            let (here, there) =
                (connection.ends[from].host as usize, connection.ends[1 - from].host as usize);
            let end = &mut connection.ends[from];
            let Some((_, packets)) = end.queue.front_mut() else { return };
            let loss = if here == there { 0.0 } else { self.network.loss(here, there) };
            if loss > 0.0 {
                let lost = (0..*packets).filter(|_| chance(&mut self.rng, loss)).count();
                if lost > 0 {
                    *packets = lost as u32;
                    end.waiting = true;
                    let wait = end.retry;
                    end.retry = RETRY_MAX.min(end.retry * 2);
                    self.traffic.segments_lost += lost as u64;
                    let what = What::Retry { conn, generation, from: from as u8 };
                    return self.queue.plan(self.now + wait, what);
                }
            }
            let Some((piece, _)) = end.queue.pop_front() else { return };
            end.retry = RETRY_FIRST;
            let bytes = match &piece {
                Piece::Data(bytes) => bytes.len() + bytes.len().div_ceil(SEGMENT).max(1) * HEADERS,
                _ => HEADERS,
            };
            self.traffic.stream_bytes += bytes as u64;
            let out = self.interface(here, there, bytes);
            let when = out + self.network.time(here, there, &mut self.rng);
            if let Some(connection) = self.connections.get_mut(conn) {
                let last = &mut connection.ends[from].last;
                *last = when.max(*last);
                let when = *last;
                self.arrive(when, conn, generation, 1 - from, piece);
            }
        }
    }

    /// Tells a machine that what it wrote is on its way, once it is.
    fn report_written(&mut self, conn: u32, end: usize) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let generation = connection.generation;
        let near = &mut connection.ends[end];
        if near.waiting {
            return;
        }
        let host = near.host as usize;
        for _ in 0..std::mem::take(&mut near.unreported) {
            let when = self.now.max(self.hosts[host].sending_until);
            self.arrive(when, conn, generation, end, Piece::Written);
        }
    }

    fn arrive(&mut self, when: Instant, conn: u32, generation: u32, to: usize, piece: Piece) {
        let parcel = self.parcels.put(Parcel::Piece { conn, generation, to, piece });
        self.queue.plan(when, What::Parcel(parcel));
    }

    /// The node that a piece is for; None if the connection is over.
    pub(crate) fn piece_for(&self, conn: u32, generation: u32, to: usize) -> Option<u32> {
        let connection = self.connections.get(conn).filter(|c| c.generation == generation)?;
        Some(connection.ends[to].host)
    }

    /// What the operating system does with a piece before the node sees it. True if the node is to see it.
    pub(crate) fn piece_came(&mut self, conn: u32, to: usize, piece: &mut Piece) -> bool {
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        let end = &mut connection.ends[to];
        let host = &mut self.hosts[end.host as usize];
        if !matches!(piece, Piece::Dial) {
            if host.node.is_some() && host.life == end.life {
                return true;
            }
            if !host.silent && !matches!(piece, Piece::Reset(_)) {
                end.queue.clear();
                self.push(conn, to, Piece::Reset("connection reset by peer"));
            }
            self.free_if_over(conn);
            return false;
        }
        if host.node.is_none() {
            if !host.silent {
                self.push(conn, to, Piece::Reset("connection refused"));
            }
            return false;
        }
        // It is accepted even if the program is in no state to look at it.
        host.accepted += 1;
        end.id = StreamId(2 * host.accepted - 1);
        end.life = host.life;
        end.open = true;
        host.streams.insert(end.id, (conn, to));
        *piece = Piece::Accepted;
        self.push(conn, to, Piece::Connected);
        true
    }

    /// Gives a piece to its machine.
    pub(crate) fn give_piece(&mut self, conn: u32, generation: u32, to: usize, piece: Piece) {
        let Some(connection) = self.connections.get_mut(conn).filter(|c| c.generation == generation) else {
            return;
        };
        let far = connection.ends[1 - to].host as usize;
        let end = &mut connection.ends[to];
        if !end.open {
            return;
        }
        let (at, id) = (end.host, end.id);
        let over = matches!(piece, Piece::Reset(_));
        if over {
            end.open = false;
            end.queue.clear();
        }
        let event = match &piece {
            Piece::Dial => return,
            Piece::Accepted => StreamEvent::Accepted { from: self.hosts[far].addr().clone() },
            Piece::Connected => StreamEvent::Connected,
            Piece::Data(bytes) => StreamEvent::Data(bytes),
            Piece::Written => StreamEvent::Written,
            Piece::End => StreamEvent::Ended,
            Piece::Reset(why) => StreamEvent::Failed((*why).into()),
        };
        let kind = match &piece {
            Piece::Dial | Piece::Accepted => 1,
            Piece::Connected => 2,
            Piece::Data(bytes) => {
                self.digest.bytes(bytes);
                3
            }
            Piece::Written => 4,
            Piece::End => 5,
            Piece::Reset(_) => 6,
        };
        self.digest.word(kind << 56 | id.0);
        if over {
            self.hosts[at as usize].streams.remove(&id);
        }
        self.give(at, Input::Stream { id, event });
        self.free_if_over(conn);
    }

    fn free_if_over(&mut self, conn: u32) {
        let over = |c: &Connection| c.ends.iter().all(|end| !end.open && end.queue.is_empty());
        // One that was not accepted yet is not over: its far end may still open. Its near end is open, or has let go of
        // it, and then nobody misses it.
        if self.connections.get(conn).is_some_and(over) {
            self.connections.take(conn);
        }
    }
}
