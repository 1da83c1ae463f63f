//! The machine: its parts, its two calls, and the timers that drive it. What is decided where:
//! `merge.rs` who is believed to be alive, `probe.rs` who is asked, `dissemination.rs` what is told to whom,
//! `exchange.rs` what is said on streams, `push_pull.rs` the exchange of full states.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serf_wire::codecs::Codecs;
use serf_wire::compress::Compressor;
use serf_wire::packet::{Inbound, Leaf, Unpacker, open_packet};

use crate::command::{Command, CommandId, Event, Failure, KeyChange, Outcome};
use crate::dissemination::Parts;
use crate::exchange::{Exchange, JoinTask};
use crate::hardening::{INCARNATION_CEILING, Quota, ReplayWindow, STRANGER_QUOTA};
use crate::probe::{Probe, Waiting};
use crate::{
    Address, Awareness, Claim, Config, ConfigError, Delegate, Identity, Input, Instant, Keyring, Limiter,
    META_MAX, Member, Members, Name, Notice, Output, Pool, Reason, Rng, Severity, Shares, Slot, State, Stats,
    StreamId, Teller, TimerKey, Timers, Topic, TransmitQueue,
};

/// The gossip layer of one node. See the crate's text for what it is, [`crate::machine`] for how it is run.
pub struct Gossip {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) keyring: Keyring,
    pub(crate) members: Members,
    pub(crate) me: Slot,
    /// Our own incarnation; only ever raised.
    pub(crate) incarnation: u32,
    /// Number of the last ping.
    pub(crate) seq: u32,
    /// Whether we said goodbye.
    pub(crate) left: bool,
    pub(crate) awareness: Awareness,
    pub(crate) queue: TransmitQueue,
    /// Between our news and the layer above.
    pub(crate) shares: Shares<2>,
    pub(crate) timers: Timers<Timer>,
    pub(crate) schedule: Schedule,
    pub(crate) probe: Option<Probe>,
    pub(crate) waiting: BTreeMap<u32, Waiting>,
    pub(crate) relays: usize,
    pub(crate) streams: BTreeMap<StreamId, Exchange>,
    pub(crate) next_stream: u64,
    pub(crate) joins: BTreeMap<CommandId, JoinTask>,
    /// Commands that wait for their broadcast, and until when.
    pub(crate) broadcasting: BTreeMap<CommandId, Option<TimerKey>>,
    pub(crate) outputs: VecDeque<Output<Event>>,
    pub(crate) stats: Stats,
    pub(crate) limiter: Limiter,
    pub(crate) started: Instant,
    pub(crate) nonce: NonceSource,
    pub(crate) compressor: Compressor,
    pub(crate) replay: ReplayWindow,
    /// Answers to strangers within the running second.
    pub(crate) stranger_quota: Quota,
    /// Answers to the running datagram.
    pub(crate) answers: u32,
    unpacker: Unpacker,
    // Kept for their memory only.
    pub(crate) parts: Parts,
    pub(crate) targets: Vec<Slot>,
    pub(crate) buffers: Vec<Vec<u8>>,
}

/// What a call of the machine brings with it.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) delegate: &'a mut dyn Delegate,
    /// Who tells what is being dealt with.
    pub(crate) teller: Teller,
}

impl<'a> Cx<'a> {
    /// Of what we do by ourselves.
    fn new(now: Instant, delegate: &'a mut dyn Delegate) -> Self {
        Self { now, delegate, teller: Teller::NOBODY }
    }
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    ProbeTick,
    /// The time for a direct ack is over.
    ProbeTimeout,
    ProbeDeadline,
    /// A relayed or asked-for ping.
    Waiting(u32),
    Suspicion(Slot),
    GossipTick,
    PushPull,
    Stream(StreamId),
    Command(CommandId),
}

impl Timer {
    fn reason(self) -> Reason {
        match self {
            Self::ProbeTick => Reason::Probe,
            Self::ProbeTimeout | Self::ProbeDeadline | Self::Waiting(_) => Reason::Ack,
            Self::Suspicion(_) => Reason::Suspicion,
            Self::GossipTick => Reason::Gossip,
            Self::PushPull => Reason::PushPull,
            Self::Stream(_) => Reason::Stream,
            Self::Command(_) => Reason::Command,
        }
    }
}

/// The recurring deadlines. Each is set only while it would have work to do.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    probe: Option<TimerKey>,
    gossip: Option<TimerKey>,
    push_pull: Option<TimerKey>,
    /// Ticks fall on multiples of the interval from here, so that nodes started together do not act together.
    phase: Instant,
    /// A probe tick came while a probe was under way.
    pub(crate) probe_overdue: bool,
}

/// Nonces for the cipher: eight bytes drawn once, four counted. Never the same twice under one prefix; a new prefix
/// is drawn when the count runs over (H4: random 96-bit nonces under a cluster's one key collide too soon).
#[derive(Debug)]
pub(crate) struct NonceSource {
    prefix: u64,
    count: u32,
}

impl NonceSource {
    pub(crate) fn next(&mut self, rng: &mut Rng) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.prefix.to_be_bytes());
        nonce[8..].copy_from_slice(&self.count.to_be_bytes());
        self.count = self.count.wrapping_add(1);
        if self.count == 0 {
            self.prefix = rng.next_u64();
        }
        nonce
    }
}

impl Gossip {
    /// A node that knows only itself. `seed` should be fresh randomness of the operating system, or, to repeat a
    /// run, what it was then. The delegate hears that we joined.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(
        config: Config,
        seed: [u8; 32],
        now: Instant,
        delegate: &mut dyn Delegate,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = Rng::from_seed(seed);
        let mut members = Members::new(rng.next_u64());
        let me = Identity {
            name: config.name.clone(),
            addr: config.advertise.clone(),
            meta: Arc::from(&[][..]),
            versions: config.versions(),
        };
        let me = Member {
            identity: Arc::new(me),
            incarnation: 0,
            state: State::Dead,
            codecs: Codecs::NONE,
            since: None,
        };
        // Our record exists in any case: without it a policy that refuses us would leave us without a self.
        let me = members.insert(me, &mut rng);
        let mut machine = Self {
            keyring: Keyring::new(config.keys.iter().cloned()),
            me,
            incarnation: 0,
            // Unguessable, so that strangers cannot forge acks (H9).
            seq: rng.next_u32(),
            left: false,
            awareness: Awareness::new(config.awareness_max_multiplier),
            queue: TransmitQueue::default(),
            shares: Shares::default(),
            timers: Timers::default(),
            schedule: Schedule {
                phase: now + rng.duration(config.probe_interval.max(config.gossip_interval)),
                ..Schedule::default()
            },
            probe: None,
            waiting: BTreeMap::new(),
            relays: 0,
            streams: BTreeMap::new(),
            next_stream: 2,
            joins: BTreeMap::new(),
            broadcasting: BTreeMap::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            limiter: Limiter::default(),
            started: now,
            nonce: NonceSource { prefix: rng.next_u64(), count: 0 },
            compressor: Compressor::default(),
            replay: ReplayWindow::new(config.hardening.replay_window),
            stranger_quota: Quota::new(STRANGER_QUOTA),
            answers: 0,
            unpacker: Unpacker::default(),
            parts: Parts::default(),
            targets: Vec::new(),
            buffers: Vec::new(),
            members,
            rng,
            config,
        };
        let mut cx = Cx::new(now, delegate);
        machine.warn_of_exposure(now);
        // If our own policy is against us we are not listed; a notice has said so.
        let _ = machine.announce(&mut cx, None);
        machine.settle(&mut cx);
        Ok(machine)
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_, Command>, delegate: &mut dyn Delegate) {
        let mut cx = Cx::new(now, delegate);
        match input {
            Input::Timeout => {
                while let Some(timer) = self.timers.pop(now) {
                    self.fire(&mut cx, timer);
                }
            }
            Input::Datagram { from, bytes } => self.datagram(&mut cx, &from, bytes),
            Input::Stream { id, event } => self.stream_event(&mut cx, id, event),
            Input::Command(command) => self.command(&mut cx, command),
        }
        self.settle(&mut cx);
    }

    /// The next thing to do. [`Output::Timeout`] ends the drain.
    pub fn poll(&mut self) -> Output<Event> {
        self.outputs.pop_front().unwrap_or_else(|| match self.timers.first() {
            Some((due, timer)) => Output::Timeout(Some(due), timer.reason()),
            None => Output::Timeout(None, Reason::Idle),
        })
    }

    /// To be called after the delegate queued broadcasts outside of [`Gossip::handle`].
    pub fn wake(&mut self, now: Instant, delegate: &mut dyn Delegate) {
        self.settle(&mut Cx::new(now, delegate));
    }

    /// Takes these for members, as if we had known them for long: nobody is told, and nothing is gossiped. What we know
    /// already stays as it is. For owners that know more than the network tells: a simulator that begins with a cluster
    /// that has formed.
    pub fn assume(&mut self, now: Instant, members: &[Member], delegate: &mut dyn Delegate) {
        self.members.reserve(members.len());
        for member in members {
            if self.members.known() < self.config.hardening.max_members
                && self.members.find(member.name.as_bytes()).is_none()
            {
                self.members.insert(member.clone(), &mut self.rng);
            }
        }
        self.settle(&mut Cx::new(now, delegate));
    }

    /// Holds what a node announced, and what is queued about it, in common with other machines. For owners of many; all
    /// else stays as it is.
    pub fn share(&mut self, name: &[u8], pool: &mut dyn Pool) {
        if let Some(slot) = self.members.find(name) {
            pool.identity(&mut self.members[slot].identity);
            self.queue.share(name, pool);
        }
    }

    /// Gives a sent datagram's buffer back.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        // As many as one gossip round sends; more would be memory for nothing.
        if self.buffers.len() < 8 && buffer.capacity() <= 4096 {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// All nodes known.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Our own record.
    #[must_use]
    pub fn local(&self) -> &Member {
        &self.members[self.me]
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The keys in force.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The health score: 0 is healthy.
    #[must_use]
    pub fn health(&self) -> u32 {
        self.awareness.score()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Messages waiting to be gossiped.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether we said goodbye.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left
    }

    pub(crate) fn my_name(&self) -> Name {
        self.members[self.me].name.clone()
    }

    /// Tells everybody of ourselves, with a new incarnation: at the start, and when our meta data changed. Returns why
    /// not, if the policy is against it.
    fn announce(&mut self, cx: &mut Cx<'_>, waiter: Option<CommandId>) -> Option<Cow<'static, str>> {
        self.incarnation = INCARNATION_CEILING.min(self.incarnation + 1);
        let me = &self.members[self.me];
        let (name, addr) = (me.name.clone(), me.addr.clone());
        let meta = core::mem::take(&mut self.config.meta);
        let versions = self.config.versions();
        let claim = Claim {
            name: name.as_bytes(),
            host: addr.host.as_bytes(),
            port: addr.port,
            meta: &meta,
            versions: &versions,
            state: State::Alive,
            incarnation: self.incarnation,
        };
        let refused = self.alive(cx, &claim, true, waiter);
        self.config.meta = meta;
        refused
    }

    fn command(&mut self, cx: &mut Cx<'_>, command: Command) {
        match command {
            Command::Join { id, peers } => self.join(cx, id, peers),
            Command::Leave { id, timeout } => {
                if self.left {
                    return self.done(id, Outcome::Ok);
                }
                self.left = true;
                let (name, incarnation) = (self.my_name(), self.members[self.me].incarnation);
                let wait = self.someone_else_is_there() && !self.members[self.me].state.is_gone();
                self.dead(cx, incarnation, name.as_bytes(), name.as_bytes(), wait.then_some(id));
                self.await_broadcast(cx, id, wait, timeout);
            }
            Command::UpdateMeta { id, meta, timeout } => {
                if meta.len() > META_MAX {
                    return self.done(id, Outcome::Failed(Failure::MetaTooLong(meta.len())));
                }
                if self.left {
                    return self.done(id, Outcome::Failed(Failure::Left));
                }
                let old = core::mem::replace(&mut self.config.meta, meta);
                let wait = self.someone_else_is_there();
                if let Some(why) = self.announce(cx, wait.then_some(id)) {
                    self.config.meta = old;
                    return self.done(id, Outcome::Failed(Failure::Refused(why.into())));
                }
                self.await_broadcast(cx, id, wait, timeout);
            }
            Command::Ping { id, peer } => self.ping_on_request(cx, id, peer),
            Command::Send { to, bytes } => self.send_user(&to, &bytes),
            Command::Wake => {}
            Command::SendReliable { id, to, bytes } => self.send_user_reliably(cx, id, to, &bytes),
            Command::Keyring { id, change } => {
                let result = match change {
                    KeyChange::Install(key) => {
                        let is_first = self.keyring.is_empty();
                        self.keyring.install(key);
                        if is_first {
                            self.shed_oversized();
                        }
                        Ok(())
                    }
                    KeyChange::Use(key) => self.keyring.make_primary(&key),
                    KeyChange::Remove(key) => self.keyring.remove(&key),
                };
                self.done(id, result.map_or_else(|e| Outcome::Failed(e.into()), |()| Outcome::Ok));
            }
        }
    }

    fn someone_else_is_there(&self) -> bool {
        let us = usize::from(!self.members[self.me].state.is_gone());
        self.members.present() > us
    }

    fn await_broadcast(&mut self, cx: &Cx<'_>, id: CommandId, wait: bool, timeout: Duration) {
        if !wait {
            return self.done(id, Outcome::Ok);
        }
        let timer = (!timeout.is_zero()).then(|| self.timers.set(cx.now + timeout, Timer::Command(id)));
        self.broadcasting.insert(id, timer);
    }

    pub(crate) fn done(&mut self, id: CommandId, outcome: Outcome) {
        self.outputs.push_back(Output::Event(Event::Done { id, outcome }));
    }

    fn fire(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::ProbeTick => {
                self.schedule.probe = None;
                self.probe_tick(cx);
            }
            Timer::ProbeTimeout => self.probe_timed_out(cx),
            Timer::ProbeDeadline => self.probe_ended(cx),
            Timer::Waiting(seq) => self.waiting_timed_out(cx, seq),
            Timer::Suspicion(slot) => self.suspicion_ended(cx, slot),
            Timer::GossipTick => {
                self.schedule.gossip = None;
                self.gossip_round(cx);
            }
            Timer::PushPull => {
                self.schedule.push_pull = None;
                self.periodic_push_pull(cx);
            }
            Timer::Stream(id) => self.stream_timed_out(cx, id),
            Timer::Command(id) => {
                if self.broadcasting.remove(&id).is_some() {
                    self.done(id, Outcome::Failed(Failure::Timeout));
                }
            }
        }
    }

    /// After every call: answers commands whose broadcast is through, sets the deadlines that have work to do, and takes
    /// back those that have none left.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.queue.has_finished() {
            let finished: Vec<CommandId> = self.queue.finished().collect();
            for id in finished {
                if let Some(timer) = self.broadcasting.remove(&id) {
                    if let Some(timer) = timer {
                        self.timers.cancel(timer);
                    }
                    self.done(id, Outcome::Ok);
                }
            }
        }
        let now = cx.now;
        let others = self.members.known() > 1;
        if !others {
            for idle in [self.schedule.probe.take(), self.schedule.push_pull.take()].into_iter().flatten() {
                self.timers.cancel(idle);
            }
        }
        if others && self.schedule.probe.is_none() && !self.config.probe_interval.is_zero() {
            let due = self.schedule.next_tick(now, self.config.probe_interval);
            self.schedule.probe = Some(self.timers.set(due, Timer::ProbeTick));
        }
        let news = !self.queue.is_empty() || cx.delegate.has_broadcasts();
        if !news && let Some(idle) = self.schedule.gossip.take() {
            self.timers.cancel(idle);
        }
        if news && self.schedule.gossip.is_none() && self.can_gossip(now) {
            let due = self.schedule.next_tick(now, self.config.gossip_interval);
            self.schedule.gossip = Some(self.timers.set(due, Timer::GossipTick));
        }
        if others && self.schedule.push_pull.is_none() && !self.config.push_pull_interval.is_zero() {
            let stagger = self.rng.duration(self.config.push_pull_interval);
            self.set_push_pull(now + stagger);
        }
    }

    pub(crate) fn set_push_pull(&mut self, from: Instant) {
        let interval = self.config.push_pull_interval;
        let wait = interval.saturating_mul(push_pull_scale(self.members.known()));
        self.schedule.push_pull = Some(self.timers.set(from + wait, Timer::PushPull));
    }

    fn can_gossip(&self, now: Instant) -> bool {
        if self.config.gossip_interval.is_zero() || self.config.gossip_nodes == 0 {
            return false;
        }
        self.someone_else_is_there() || self.members.iter().any(|m| self.hears_gossip(now, m))
    }

    fn datagram(&mut self, cx: &mut Cx<'_>, from: &Address, bytes: &mut [u8]) {
        self.stats.packets_received += 1;
        self.stats.udp_received += bytes.len() as u64;
        if self.config.hardening.strict_networks && !self.config.allows(from.host.ip()) {
            self.stats.bad_packets += 1;
            return self.notice(
                cx.now,
                Severity::Warn,
                Topic::BadPacket,
                format_args!("packet refused: not from an allowed network from={from}"),
            );
        }
        let nonce = self.replay.nonce_of(bytes, &self.config.label);
        let rules = Inbound {
            label: &self.config.label,
            skip_label_check: self.config.skip_inbound_label_check,
            keys: self.keyring.keys(),
            verify_incoming: self.verifies(cx.now),
            accept_v0: self.config.hardening.accept_encryption_v0,
        };
        let opened = match open_packet(bytes, &rules) {
            Ok(opened) => opened,
            Err(what) => {
                self.stats.bad_packets += 1;
                return self.notice(
                    cx.now,
                    Severity::Error,
                    Topic::BadPacket,
                    format_args!("packet refused: {what} from={from}"),
                );
            }
        };
        if opened.encrypted && self.replay.seen(nonce) {
            self.stats.replayed += 1;
            return;
        }
        if !opened.encrypted && !self.keyring.is_empty() {
            self.stats.plaintext += 1;
        }
        let authentic = opened.encrypted;
        self.answers = 0;
        cx.teller = Teller::at(from);
        let mut unpacker = core::mem::take(&mut self.unpacker);
        let most = self.config.hardening.max_inflated_packet;
        unpacker.leaves(opened.payload, most, &mut |leaf| self.leaf(cx, from, authentic, leaf));
        self.unpacker = unpacker;
    }

    /// Whether what no key opens is refused. With [`crate::Hardening::plaintext_for`] the permission to talk plainly ends.
    pub(crate) fn verifies(&self, now: Instant) -> bool {
        let over = self.config.hardening.plaintext_for.is_some_and(|d| now.since(self.started) > d);
        self.config.verify_incoming || over
    }

    fn leaf(&mut self, cx: &mut Cx<'_>, from: &Address, authentic: bool, leaf: Leaf<'_>) {
        let result = match leaf {
            Leaf::Message(kind, body) => self.message(cx, from, authentic, kind, body),
            Leaf::Malformed(what) => Err(what),
        };
        if let Err(what) = result {
            self.stats.bad_messages += 1;
            self.notice(
                cx.now,
                Severity::Error,
                Topic::BadPacket,
                format_args!("message refused: {what} from={from}"),
            );
        }
    }

    /// A log line, if the topic's allowance is not used up.
    pub(crate) fn notice(
        &mut self,
        now: Instant,
        severity: Severity,
        topic: Topic,
        text: fmt::Arguments<'_>,
    ) {
        match self.limiter.admit(now, topic) {
            Some(others) => {
                let notice = Notice::new(severity, topic, alloc::fmt::format(text), others);
                self.outputs.push_back(Output::Event(Event::Notice(notice)));
            }
            None => self.stats.notices_suppressed += 1,
        }
    }

    /// H1: plaintext is the reference's default, and ours; where it is dangerous we say so.
    fn warn_of_exposure(&mut self, now: Instant) {
        let public = self.config.advertise.host.ip().is_some_and(crate::hardening::is_public);
        if public && self.keyring.is_empty() {
            let addr = self.config.advertise.clone();
            self.notice(
                now,
                Severity::Warn,
                Topic::Config,
                format_args!(
                    "advertising the public address {addr} without encryption: anybody can read and change the \
                     membership; set an encryption key"
                ),
            );
        }
    }
}

impl Schedule {
    /// The first multiple of the interval, counted from our phase, after `now`.
    fn next_tick(&self, now: Instant, interval: Duration) -> Instant {
        let step = interval.as_nanos().max(1);
        let phase = u128::from(self.phase.as_nanos()) % step;
        let rest = (u128::from(now.as_nanos()) + step - phase) % step;
        now + Duration::from_nanos(u64::try_from(step - rest).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("me", self.local())
            .field("members", &self.members.known())
            .field("queued", &self.queue.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// How much longer than in a small cluster the time between push/pulls is: 1 up to 32 nodes, then one more for each
/// doubling (spec `gossip.md` §7.1).
#[must_use]
pub fn push_pull_scale(n: usize) -> u32 {
    if n <= 32 {
        return 1;
    }
    let doublings = libm::ceil(libm::log2(n as f64) - libm::log2(32.0));
    doublings as u32 + 1
}
