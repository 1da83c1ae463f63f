//! What stands around one machine: its clock, its sockets' buffers, and whether it is running at all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serf_core::snapshot::{Replay, Snapshot, Write};
use serf_core::{Config, Node};
use serf_gossip::{Address, Instant, Rng, StreamAction, StreamId, Transmit};

use crate::clock::Clock;
use crate::streams::Piece;

/// Bytes of datagrams that wait for a node which does not take them; what comes on top is lost, as in a socket's buffer.
/// As much as our driver asks for.
pub const INBOX_BYTES: usize = 2 << 20;
/// Bytes of datagrams that a deaf or blocked node has ready to send when it goes on.
pub const OUTBOX_BYTES: usize = 2 << 20;
/// How long a system keeps to itself what was written and not synced.
const WRITE_OUT: Duration = Duration::from_secs(30);
/// What one datagram costs in such a buffer besides its bytes.
pub(crate) const DATAGRAM_COST: usize = 256;

/// In which way a node does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// The whole process stands still, as if the machine had no time for it. Afterwards it takes what has come, then
    /// looks at its deadlines, as our driver does.
    Frozen,
    /// Its deadlines run, but it neither hears nor is heard: what comes and what it sends waits until the stall is
    /// over. A process whose senders and receivers stand still while its timers do not.
    Deaf,
    /// It runs on until it wants to send, and stands still there: that, and what comes, waits until the stall is over.
    /// Then what it wanted to send goes out, and deadlines are looked at before anything is read. A process whose threads
    /// block where they send or receive: by the time that it reads an answer, it has given up waiting for it.
    Blocked,
}

impl Stall {
    /// Whether what a node wants to send waits for the end of the stall.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Deaf | Self::Blocked)
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Host {
    /// None while it is down.
    pub(crate) node: Option<Box<Node>>,
    pub(crate) config: Config,
    /// How often it was started.
    pub(crate) life: u32,
    /// Whether, while it is down, there is not even an operating system to say so.
    pub(crate) silent: bool,
    pub(crate) clock: Clock,
    /// Its deadline, by its own clock.
    pub(crate) due: Option<Instant>,
    /// The earliest time at which it will be looked at.
    pub(crate) planned: Option<Instant>,
    /// How often it was woken at one moment.
    pub(crate) woken: (Instant, u32),
    pub(crate) stall: Option<Stall>,
    /// Counts stalls, so that the end of one does not end the next.
    pub(crate) stalls: u32,
    /// The time that it takes over each thing that comes.
    pub(crate) handling: Duration,
    /// Until when it is busy with the last one.
    pub(crate) busy: Instant,
    pub(crate) inbox: VecDeque<Parcel>,
    pub(crate) inbox_bytes: usize,
    pub(crate) outbox: VecDeque<Held>,
    pub(crate) outbox_bytes: usize,
    /// When what it has sent so far is out of its interface.
    pub(crate) sending_until: Instant,
    /// Its streams, and which end of which connection each is.
    pub(crate) streams: BTreeMap<StreamId, (u32, usize)>,
    pub(crate) accepted: u64,
    /// Its snapshot file, if its settings have one. It outlives the process.
    pub(crate) disk: Disk,
}

/// A file, and how much of it would survive the loss of power.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) content: Vec<u8>,
    pub(crate) synced: usize,
    /// When the system last wrote out all that there was, of itself.
    written_out: Instant,
    /// What is asked for, until it is answered.
    pub(crate) pending: Option<Write>,
}

impl Disk {
    /// Takes an order; it is done when the disk has had its time.
    pub(crate) fn order(&mut self, now: Instant, write: Write) {
        self.write_out(now);
        if let Write::Append { lines, .. } = &write {
            // The system has it at once, whatever becomes of the process.
            self.content.extend_from_slice(lines);
        }
        self.pending = Some(write);
    }

    pub(crate) fn done(&mut self) {
        match self.pending.take() {
            Some(Write::Replace { content }) => {
                self.content = content.to_vec();
                self.synced = self.content.len();
            }
            Some(Write::Append { sync: true, .. }) => self.synced = self.content.len(),
            Some(Write::Append { .. }) | None => {}
        }
    }

    fn write_out(&mut self, now: Instant) {
        if now.since(self.written_out) >= WRITE_OUT {
            self.synced = self.content.len();
            self.written_out = now;
        }
    }

    /// The power is lost: of what was not synced, some is there, up to anywhere.
    pub(crate) fn tear(&mut self, now: Instant, rng: &mut Rng) {
        self.write_out(now);
        let loose = self.content.len().saturating_sub(self.synced);
        self.content.truncate(self.synced + rng.below(loose + 1));
    }

    /// What the file says; what was not written to its end is cut off.
    pub(crate) fn read(&mut self, rejoin_after_leave: bool) -> Snapshot {
        let mut replay = Replay::new(rejoin_after_leave);
        replay.feed(&self.content);
        let snapshot = replay.finish();
        self.content.truncate(usize::try_from(snapshot.whole).unwrap_or(usize::MAX));
        self.synced = self.synced.min(self.content.len());
        self.pending = None;
        snapshot
    }
}

/// Something on its way to a node.
#[derive(Debug)]
pub(crate) enum Parcel {
    Datagram { from: u32, to: u32, bytes: Vec<u8> },
    Piece { conn: u32, generation: u32, to: usize, piece: Piece },
}

/// Something that a deaf or blocked node wants done.
#[derive(Debug)]
pub(crate) enum Held {
    Datagram(Transmit),
    Stream(StreamId, StreamAction),
}

impl Host {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            node: None,
            config,
            life: 0,
            silent: false,
            clock: Clock::default(),
            due: None,
            planned: None,
            woken: (Instant::ZERO, 0),
            stall: None,
            stalls: 0,
            handling: Duration::ZERO,
            busy: Instant::ZERO,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            sending_until: Instant::ZERO,
            streams: BTreeMap::new(),
            accepted: 0,
            disk: Disk::default(),
        }
    }

    /// What it had in its hands is gone.
    pub(crate) fn clear(&mut self) {
        self.node = None;
        self.due = None;
        self.stall = None;
        self.inbox.clear();
        self.inbox_bytes = 0;
        self.outbox.clear();
        self.outbox_bytes = 0;
    }

    /// Whether it looks at its deadlines: nobody does in a process that stands still.
    pub(crate) fn runs(&self) -> bool {
        self.node.is_some()
            && match self.stall {
                None | Some(Stall::Deaf) => true,
                Some(Stall::Frozen) => false,
                Some(Stall::Blocked) => self.outbox.is_empty(),
            }
    }

    pub(crate) fn addr(&self) -> &Address {
        &self.config.gossip.advertise
    }

    /// Puts something aside for later; false if there is no room for it.
    pub(crate) fn put_aside(&mut self, parcel: Parcel) -> bool {
        if let Parcel::Datagram { bytes, .. } = &parcel {
            let cost = bytes.len() + DATAGRAM_COST;
            if self.inbox_bytes + cost > INBOX_BYTES {
                return false;
            }
            self.inbox_bytes += cost;
        }
        self.inbox.push_back(parcel);
        true
    }

    pub(crate) fn take_next(&mut self) -> Option<Parcel> {
        let parcel = self.inbox.pop_front()?;
        if let Parcel::Datagram { bytes, .. } = &parcel {
            self.inbox_bytes -= bytes.len() + DATAGRAM_COST;
        }
        Some(parcel)
    }
}
