//! The Serf layer proper: what it remembers, and how it listens to the gossip layer. It is the gossip machine's
//! [`Delegate`]: it answers what it is asked, writes what it wants told into its outbox and what it wants gossiped into
//! its queues, and calls nobody. Deadlines and commands are [`crate::Node`]'s.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use serf_gossip::{
    Address, Backlog, Claim, Delegate, Instant, Limiter, Listener, Name, Notice, Notification, Others, Peer,
    Quota, Refusal, Rng, STRANGER_QUOTA, Severity, Teller, Topic as About, retransmit_limit,
};
use serf_wire::Malformed;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{Join, Leave, MessageKind, Query, QueryResponse, UserEvent};

use crate::ask::Asked;
use crate::coalesce::Coalescer;
use crate::config::Config;
use crate::coordinate::{Tuning, Vivaldi};
use crate::dispute::Votes;
use crate::event::Event;
use crate::intent_buffer::IntentBuffer;
use crate::keys::KeyQuery;
use crate::lamport::{LTIME_MAX, LamportClock};
use crate::queues::{Queues, TooLong, Topic};
use crate::respond::Held;
use crate::ring::Ring;
use crate::snapshot::{Recorder, Snapshot};
use crate::state::NodeState;
use crate::stats::Stats;
use crate::table::Table;
use crate::tally::Tally;
use crate::user_event::Remembered;

/// Acks sent in one second. Far more than there are queries, and few enough that one datagram with ten thousand queries
/// packed into it does not make us send as many.
const ACK_QUOTA: u32 = 2048;
/// Answers of ours that others are asked to relay in one second: those to four queries with the highest factor. They are
/// the largest lever that a single query has.
const RELAY_QUOTA: u32 = 1024;
/// Expressions of queries looked at in one second. With these two a flood of the worst costs half of a processor, and
/// what passes over it is not for us.
const PATTERN_QUOTA: u32 = 512;
/// The same of those that are large.
const LARGE_PATTERN_QUOTA: u32 = 32;
/// Queries and answers travel in datagrams, so nothing longer than one is either.
const DATAGRAM_MAX: usize = 64 << 10;

/// See the module's text.
pub(crate) struct Serf {
    pub(crate) config: Config,
    pub(crate) state: NodeState,
    pub(crate) table: Table,
    pub(crate) intents: IntentBuffer,
    pub(crate) member_clock: LamportClock,
    pub(crate) event_clock: LamportClock,
    pub(crate) query_clock: LamportClock,
    pub(crate) events: Ring<Remembered>,
    /// The numbers of the queries.
    pub(crate) queries: Ring<u32>,
    /// Those that may be answered.
    pub(crate) held: Held,
    /// Queries of ours.
    pub(crate) asked: Asked,
    /// What is to be sent in datagrams of its own, and to whom.
    pub(crate) posts: Vec<(Peer, Vec<u8>)>,
    /// What queries want of the keyring, to be done when the gossip layer is at hand.
    pub(crate) key_queries: Vec<KeyQuery>,
    /// While it is asked to whom our name belongs.
    pub(crate) votes: Option<Votes>,
    /// It belongs to another: we are to end.
    pub(crate) lost_name: bool,
    pub(crate) acks: Quota,
    pub(crate) relays: Quota,
    pub(crate) strangers: Quota,
    pub(crate) patterns: Quota,
    pub(crate) large_patterns: Quota,
    pub(crate) rng: Rng,
    pub(crate) queues: Queues,
    /// A join is under way that keeps older events from us.
    pub(crate) ignoring_old: bool,
    /// Members to be forgotten: once this time is reached (it never is: None), as soon as they have left.
    pub(crate) prunes: BTreeMap<Name, Option<Instant>>,
    /// See [`Serf::reap_at`]; never too late, sometimes too early.
    pub(crate) reap_at: Option<Instant>,
    /// Where we are. None if coordinates are disabled.
    pub(crate) vivaldi: Option<Vivaldi>,
    /// Keeps the snapshot file, if there is one.
    pub(crate) recorder: Option<Recorder>,
    pub(crate) stats: Stats,
    pub(crate) event_names: Tally,
    pub(crate) query_names: Tally,
    /// What is held back; it comes into the outbox later.
    pub(crate) coalescer: Coalescer,
    pub(crate) outbox: VecDeque<Event>,
    limiter: Limiter,
}

impl Serf {
    /// An empty one, whose clocks go on from a snapshot.
    pub(crate) fn new(config: Config, mut rng: Rng, snapshot: Option<Snapshot>) -> Self {
        let mut clock = LamportClock::default();
        clock.increment();
        let enabled = !config.disable_coordinates;
        let vivaldi = enabled.then(|| Vivaldi::new(Tuning::default(), Rng::from_seed(rng.seed())));
        let mut serf = Self {
            state: NodeState::Alive,
            table: Table::new(rng.next_u64()),
            intents: IntentBuffer::default(),
            member_clock: clock,
            event_clock: clock,
            query_clock: clock,
            events: Ring::new(config.event_buffer),
            queries: Ring::new(config.query_buffer),
            held: Held::default(),
            asked: Asked::default(),
            posts: Vec::new(),
            key_queries: Vec::new(),
            votes: None,
            lost_name: false,
            acks: Quota::new(ACK_QUOTA),
            relays: Quota::new(RELAY_QUOTA),
            strangers: Quota::new(STRANGER_QUOTA),
            patterns: Quota::new(PATTERN_QUOTA),
            large_patterns: Quota::new(LARGE_PATTERN_QUOTA),
            rng,
            queues: Queues::default(),
            ignoring_old: false,
            prunes: BTreeMap::new(),
            reap_at: None,
            vivaldi,
            recorder: None,
            stats: Stats::default(),
            event_names: Tally::default(),
            query_names: Tally::default(),
            coalescer: Coalescer::new(&config),
            outbox: VecDeque::new(),
            limiter: Limiter::default(),
            config,
        };
        if let Some(snapshot) = snapshot {
            serf.go_on_from(snapshot);
        }
        serf
    }

    /// Our own name.
    pub(crate) fn name(&self) -> &Name {
        &self.config.gossip.name
    }

    pub(crate) fn is_me(&self, name: &[u8]) -> bool {
        self.name().as_bytes() == name
    }

    /// Takes a message of ours: those that are news go on to others byte for byte as they came, so that fields of
    /// later versions survive (spec §1.3).
    fn message(&mut self, now: Instant, from: &Address, bytes: &[u8]) -> Result<(), Malformed> {
        let (kind, body) = MessageKind::split(bytes)?;
        if bytes.len() > DATAGRAM_MAX
            && matches!(kind, MessageKind::Query | MessageKind::QueryResponse | MessageKind::Relay)
        {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let r = &mut Reader::new(body);
        let (topic, is_news) = match kind {
            MessageKind::Leave => {
                let leave = Leave::read(r)?;
                believable(leave.ltime)?;
                (Topic::Intent, self.leave_intent(now, &leave, false))
            }
            MessageKind::Join => {
                let join = Join::read(r)?;
                believable(join.ltime)?;
                (Topic::Intent, self.join_intent(now, &join, false))
            }
            MessageKind::UserEvent => {
                let event = UserEvent::read(r)?;
                believable(event.ltime)?;
                (Topic::Event, self.user_event(now, &event))
            }
            MessageKind::Query => {
                let query = Query::read(r)?;
                believable(query.ltime)?;
                (Topic::Query, self.query(now, &query))
            }
            MessageKind::QueryResponse => {
                self.answer_came(now, &QueryResponse::read(r)?);
                return Ok(());
            }
            MessageKind::Relay => return self.relay(now, body),
            // The others do not travel by themselves.
            other => return Err(Malformed::UnknownSerfKind(other as u8)),
        };
        if is_news {
            let pushed = self.queues.pass_on(topic, bytes, Teller::at(from));
            self.note_pushed(now, topic, bytes, pushed);
        }
        Ok(())
    }

    /// Counts what did not find its way into a queue, or was shed from it.
    pub(crate) fn note_pushed(
        &mut self,
        now: Instant,
        topic: Topic,
        bytes: &[u8],
        pushed: Result<usize, TooLong>,
    ) {
        match pushed {
            Ok(0) => {}
            Ok(shed) => self.shed(now, topic, shed),
            Err(_) => {
                self.stats.shed_broadcasts += 1;
                let (len, kind) = (bytes.len(), topic.as_str());
                self.notice(
                    now,
                    Severity::Warn,
                    About::Limit,
                    format_args!("{kind} of {len} bytes fits in no datagram and is not passed on"),
                );
            }
        }
    }

    pub(crate) fn shed(&mut self, now: Instant, topic: Topic, shed: usize) {
        self.stats.shed_broadcasts += shed as u64;
        let kind = topic.as_str();
        self.notice(
            now,
            Severity::Warn,
            About::Limit,
            format_args!("{kind} queue is too long, dropped {shed} of its messages"),
        );
    }

    /// What a peer sent cannot be read.
    pub(crate) fn unreadable(&mut self, now: Instant, what: fmt::Arguments<'_>, why: &Malformed) {
        self.stats.bad_messages += 1;
        self.notice(now, Severity::Warn, About::BadPacket, format_args!("{what} refused: {why}"));
    }

    /// A log line, if there were not too many alike. `about` only chooses whose allowance it takes: each of ours is
    /// told as one of this layer's.
    pub(crate) fn notice(
        &mut self,
        now: Instant,
        severity: Severity,
        about: About,
        text: fmt::Arguments<'_>,
    ) {
        if let Some(others) = self.limiter.admit(now, about) {
            let notice = Notice::new(severity, About::Serf, alloc::fmt::format(text), others);
            self.outbox.push_back(Event::Notice(notice));
        }
    }

    /// A log line that operators count on: one of these comes with each event or command, and none is suppressed.
    pub(crate) fn line(&mut self, severity: Severity, text: fmt::Arguments<'_>) {
        let notice = Notice::new(severity, About::Serf, alloc::fmt::format(text), Others::default());
        self.outbox.push_back(Event::Notice(notice));
    }
}

/// Refuses times that no clock gets to by itself.
pub(crate) fn believable(ltime: u64) -> Result<(), Malformed> {
    if ltime > LTIME_MAX { Err(Malformed::OutOfRange(ltime)) } else { Ok(()) }
}

impl Delegate for Serf {
    fn notify(&mut self, now: Instant, what: Notification<'_>) {
        match what {
            Notification::Joined(member) => self.joined(now, member),
            Notification::Left(member) => self.gone(now, member),
            Notification::Updated(member) => self.updated(now, member),
            Notification::Conflict { existing, other, .. } => self.conflict(now, existing, other),
            Notification::Message { bytes: [], .. } => {}
            Notification::Message { bytes, from } => {
                self.stats.messages_received += 1;
                self.stats.bytes_received += bytes.len() as u64;
                if let Err(why) = self.message(now, from, bytes) {
                    self.unreadable(now, format_args!("message from {from}"), &why);
                }
            }
            Notification::RemoteState { bytes, join } => self.merge_remote_state(now, bytes, join),
            Notification::PingCompleted { member, rtt, payload } => self.measured(now, member, rtt, payload),
            _ => {}
        }
    }

    fn broadcasts(
        &mut self,
        _: Instant,
        to: Listener,
        overhead: usize,
        limit: usize,
        put: &mut dyn FnMut(&[u8]),
    ) {
        let transmissions = retransmit_limit(self.config.gossip.retransmit_mult, self.table.len());
        let stats = &mut self.stats;
        self.queues.take(to, overhead, limit, transmissions, &mut |message| {
            stats.messages_sent += 1;
            stats.bytes_sent += message.len() as u64;
            put(message);
        });
    }

    fn has_broadcasts(&self) -> bool {
        !self.queues.is_empty()
    }

    fn backlog(&self, overhead: usize) -> Backlog {
        self.queues.backlog(overhead)
    }

    fn local_state(&mut self, _join: bool, out: &mut Vec<u8>) {
        self.write_local_state(out);
    }

    fn accept_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
        self.judge_alive(claim)
    }

    fn accept_merge(&mut self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        self.judge_merge(claims)
    }

    fn filters_merges(&self) -> bool {
        let policies = &self.config.policies;
        policies.identity.is_some() || policies.merge.is_some()
    }

    /// A peer of another kind than ours can never join. Without our state it does not believe that it has.
    fn explains_refusals(&self) -> bool {
        self.config.policies.identity.is_some()
    }

    fn ack_payload(&mut self, out: &mut Vec<u8>) -> bool {
        self.write_ack(out)
    }
}
