//! The machine: a gossip machine with the Serf layer on top of it, its two calls, and its deadlines. Where things are
//! decided: `membership.rs` what status a member has, `intents.rs` who is believed to join or leave, `merge.rs` what
//! full states tell, `tasks.rs` what commands do, `reap.rs` who is forgotten.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serf_gossip::{
    CommandId, Gossip, Input, Instant, Machine, Name, Output, Pool, Reason, Rng, State, TimerKey, Timers,
};
use serf_wire::encrypt;

use crate::ask::Whose;
use crate::command::{Command, Failure, Outcome};
use crate::config::{Config, ConfigError, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN};
use crate::coordinate::{Coordinate, Vivaldi};
use crate::event::Event;
use crate::member::{Member, Status};
use crate::queues::Topic;
use crate::rejoin::Rejoin;
use crate::serf::Serf;
use crate::state::NodeState;
use crate::stats::{Stats, Vitals};
use crate::table::Record;
use crate::tags::{self, Tags};
use crate::tasks::{JoinRequest, Tasks};

/// The version of the gossip protocol that every version of Serf's protocol speaks.
const GOSSIP_VERSION: u8 = 2;

/// A node of a Serf cluster. See [`serf_gossip::machine`] for how it is run.
pub struct Node {
    pub(crate) gossip: Gossip,
    pub(crate) serf: Serf,
    pub(crate) timers: Timers<Timer>,
    schedule: Schedule,
    pub(crate) tasks: Tasks,
    /// Joins that wait for the one under way.
    pub(crate) joins: VecDeque<JoinRequest>,
    /// Those who wait for our leave to end.
    pub(crate) leavers: Vec<CommandId>,
    /// The news of our leave has had its time to spread.
    pub(crate) is_told: bool,
    /// Members of the snapshot that are tried.
    pub(crate) rejoin: Option<Rejoin>,
    /// The time of the last call.
    now: Instant,
    /// As of the last question.
    members: Arc<[Member]>,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    Reap,
    Prune,
    Reconnect,
    QueueCheck,
    /// Events have been held back for long enough.
    Coalesce,
    /// The time of a query of ours is over.
    Query,
    /// The broadcast that this task waits for has not been sent often enough in time.
    Broadcast(CommandId),
    /// The news of our leave has had its time to spread.
    Left,
    /// The leave has had its time to reach the disk.
    Recorded,
    /// Something is to be written to the snapshot file.
    Record,
    /// Those of the snapshot are tried again.
    Rejoin,
}

impl Timer {
    fn reason(self) -> Reason {
        match self {
            Self::Reap | Self::Prune => Reason::Reap,
            Self::Reconnect | Self::Rejoin => Reason::Reconnect,
            Self::QueueCheck | Self::Coalesce => Reason::Queue,
            Self::Broadcast(_) | Self::Left | Self::Recorded | Self::Query => Reason::Command,
            Self::Record => Reason::Record,
        }
    }
}

/// The recurring deadlines. Each is set only while it would have work to do.
#[derive(Debug, Default)]
struct Schedule {
    reap: Option<TimerKey>,
    prune: Option<TimerKey>,
    reconnect: Option<TimerKey>,
    queue_check: Option<TimerKey>,
    coalesce: Option<TimerKey>,
    query: Option<TimerKey>,
    record: Option<TimerKey>,
}

impl Node {
    /// A node that knows only itself; the first event tells that it joined. `seed` should be fresh randomness of the
    /// operating system, or, to repeat a run, what it was then.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(mut config: Config, seed: [u8; 32], now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = Rng::from_seed(seed);
        let gossip_seed = rng.seed();
        config.gossip.meta = tags::encode(config.protocol_version, &config.tags)?;
        config.gossip.protocol_version = GOSSIP_VERSION;
        config.gossip.delegate_versions =
            [PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX, config.protocol_version];
        // Of the keys there is one copy, in the gossip layer's ring.
        let keys = core::mem::take(&mut config.gossip.keys);
        let gossip = serf_gossip::Config { keys, ..config.gossip.clone() };
        let snapshot = config.snapshot.take();
        let known = snapshot.as_ref().map(|snapshot| snapshot.known.clone()).unwrap_or_default();
        let mut serf = Serf::new(config, rng, snapshot);
        let gossip = Gossip::new(gossip, gossip_seed, now, &mut serf)?;
        let mut node = Self {
            gossip,
            serf,
            timers: Timers::default(),
            schedule: Schedule::default(),
            tasks: Tasks::default(),
            joins: VecDeque::new(),
            leavers: Vec::new(),
            is_told: false,
            rejoin: None,
            now,
            members: Arc::from(&[][..]),
        };
        node.measure_room();
        node.expect_flush(now);
        node.begin_rejoin(now, known);
        node.record(now);
        Ok(node)
    }

    /// Takes these for live members, as if we had known them for long: nobody is told, the owner neither, and nothing is
    /// gossiped. Those we know already stay as they are. For owners that know more than the network tells: a simulator
    /// that begins with a cluster that has formed.
    pub fn assume(&mut self, now: Instant, members: &[serf_gossip::Member]) {
        self.now = now;
        self.gossip.assume(now, members, &mut self.serf);
        self.serf.table.reserve(members.len());
        for member in members {
            if self.serf.table.find(member.name.as_bytes()).is_none() {
                self.serf.table.insert(Record::new(member, Status::Alive));
            }
        }
        self.settle(now);
    }

    /// Holds what this event has brought in common with other nodes: what members announced, what is queued about them,
    /// what a user event carried. For owners of many nodes; all else stays as it is.
    pub fn share(&mut self, event: &Event, pool: &mut dyn Pool) {
        match event {
            Event::Member(event) => {
                for member in &event.members {
                    let name = member.name.as_bytes();
                    self.gossip.share(name, pool);
                    if let Some(at) = self.serf.table.find(name) {
                        pool.identity(&mut self.serf.table[at].identity);
                    }
                }
            }
            Event::User(event) => self.serf.share_event(event, pool),
            _ => {}
        }
    }

    /// All members known, whatever their status, sorted by name. The list is shared, and made anew only after
    /// something in it changed.
    pub fn members(&mut self) -> Arc<[Member]> {
        if self.serf.table.take_changed() {
            let mut members: Vec<Member> = self.serf.table.iter().map(|record| record.to_member()).collect();
            members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            self.members = members.into();
        }
        self.members.clone()
    }

    /// A member, by its name.
    #[must_use]
    pub fn member(&self, name: &[u8]) -> Option<Member> {
        self.serf.table.get(name).map(|record| record.to_member())
    }

    /// Ourselves. None if our own merge policy refused us (B28), or if we left so long ago that we were forgotten.
    #[must_use]
    pub fn local_member(&self) -> Option<Member> {
        self.member(self.name().as_bytes())
    }

    /// How long a query waits for answers if it does not say: longer, the more members there are.
    #[must_use]
    pub fn default_query_timeout(&self) -> Duration {
        self.serf.default_query_timeout(self.gossip.members().present())
    }

    /// Our own network coordinate. None: they are disabled.
    #[must_use]
    pub fn coordinate(&self) -> Option<Coordinate> {
        self.serf.vivaldi.as_ref().map(|vivaldi| *vivaldi.coordinate())
    }

    /// The network coordinate of a member as it said last, or our own. None while we have not measured the way to it;
    /// of who is forgotten; and if coordinates are disabled.
    #[must_use]
    pub fn cached_coordinate(&self, name: &[u8]) -> Option<Coordinate> {
        self.serf.place_of(name)
    }

    /// How many members are known, whatever their status.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.serf.table.len()
    }

    /// Our own name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.serf.name()
    }

    /// Our own tags.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.serf.config.tags
    }

    /// Where we are in our life.
    #[must_use]
    pub fn state(&self) -> NodeState {
        self.serf.state
    }

    /// The settings in force; of the gossip layer's, those that it began with, without its keys.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.serf.config
    }

    /// The gossip layer below.
    #[must_use]
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.serf.stats
    }

    /// How often user events of each name have come since this was last asked, for the first names of not many more
    /// than fifty.
    pub fn take_event_names(&mut self) -> Vec<(Name, u64)> {
        self.serf.event_names.take()
    }

    /// The same for queries.
    pub fn take_query_names(&mut self) -> Vec<(Name, u64)> {
        self.serf.query_names.take()
    }

    /// How we are.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let Serf { table, queues, member_clock, event_clock, query_clock, vivaldi, .. } = &self.serf;
        Vitals {
            members: table.len(),
            failed: table.count(Status::Failed),
            left: table.count(Status::Left),
            suspected: self.gossip.members().count(State::Suspect),
            health_score: self.gossip.health(),
            member_time: member_clock.time(),
            event_time: event_clock.time(),
            query_time: query_clock.time(),
            intent_queue: queues.len(Topic::Own) + queues.len(Topic::Intent),
            event_queue: queues.len(Topic::Event),
            query_queue: queues.len(Topic::Query),
            gossip_queue: self.gossip.queued(),
            encrypted: !self.gossip.keyring().is_empty(),
            coordinate_resets: vivaldi.as_ref().map(Vivaldi::resets),
        }
    }

    /// Tells, with the next calls of [`Machine::poll`], the events that are held back to be told together, and asks for
    /// the last write to the snapshot file. For owners that end a node without [`Command::Shutdown`]; nothing is
    /// recorded afterwards.
    pub fn wind_up(&mut self) {
        self.serf.wind_up();
        self.expect_flush(self.now);
    }

    /// How long a message may be to fit in a datagram of gossip, with all that may have to go around it. It stays so: who
    /// begins with keys is never without, and who begins without never gets any.
    fn measure_room(&mut self) {
        let config = self.gossip.config();
        let label = if config.label.is_empty() { 0 } else { 2 + config.label.len() };
        let sealed =
            if self.gossip.keyring().is_empty() { 0 } else { encrypt::overhead(encrypt::Version::V1) };
        let checksum = self.gossip.checksum_overhead();
        self.serf.queues.room = config.packet_size.saturating_sub(label + sealed + checksum + FRAME_BYTES);
    }

    pub(crate) fn done(&mut self, id: CommandId, outcome: Outcome) {
        self.serf.outbox.push_back(Event::Done { id, outcome });
    }

    pub(crate) fn fail(&mut self, id: CommandId, why: Failure) {
        self.done(id, Outcome::Failed(why));
    }

    /// Hands a command to the gossip layer.
    pub(crate) fn order(&mut self, now: Instant, command: serf_gossip::Command) {
        self.gossip.handle(now, Input::Command(command), &mut self.serf);
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Join { id, peers, ignore_old } => self.join(now, JoinRequest { id, peers, ignore_old }),
            Command::Leave { id } => self.leave(now, id),
            Command::Shutdown { id } => self.shutdown(id),
            Command::CloseQuery { id } => self.serf.close_query(id),
            Command::ForceLeave { id, .. }
            | Command::SetTags { id, .. }
            | Command::UserEvent { id, .. }
            | Command::Query { id, .. }
            | Command::Respond { id, .. }
                if self.state() == NodeState::Shutdown =>
            {
                self.fail(id, Failure::Shutdown);
            }
            Command::ForceLeave { id, name, prune } => self.force_leave(now, id, &name, prune),
            Command::SetTags { id, tags } => self.set_tags(now, id, tags),
            Command::UserEvent { id, name, payload, coalesce } => {
                match self.serf.fire_event(now, &name, &payload, coalesce) {
                    Ok(()) => self.done(id, Outcome::Ok),
                    Err(too_long) => self.fail(id, too_long.into()),
                }
            }
            Command::Query { id, query } => {
                let present = self.gossip.members().present();
                if let Err(why) = self.serf.ask(now, Whose::Owner(id), &query, present) {
                    self.fail(id, why);
                }
            }
            Command::Respond { id, key, payload } => match self.serf.respond(now, key, &payload) {
                Ok(()) => self.done(id, Outcome::Ok),
                Err(why) => self.fail(id, why.into()),
            },
            Command::KeysKept { key, result: Ok(()) } => self.serf.tell_of_key(now, key, Ok(())),
            Command::KeysKept { key, result: Err(why) } => self.serf.refuse_key(now, key, "keep keys", &why),
            Command::SnapshotWritten { done } => self.recorded(now, done),
        }
    }

    fn fire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Reap => {
                self.schedule.reap = None;
                self.serf.reap(now);
            }
            Timer::Prune => {
                self.schedule.prune = None;
                self.serf.prune_due(now);
            }
            Timer::Reconnect => {
                self.schedule.reconnect = None;
                self.reconnect(now);
            }
            Timer::QueueCheck => {
                self.schedule.queue_check = None;
                self.serf.check_queues(now);
            }
            Timer::Coalesce => {
                self.schedule.coalesce = None;
                self.serf.flush_due(now);
            }
            Timer::Query => {
                self.schedule.query = None;
                self.serf.end_due_queries(now);
            }
            Timer::Broadcast(id) => self.broadcast_timed_out(now, id),
            Timer::Left => self.left(now),
            Timer::Recorded => self.end_leave(),
            Timer::Record => self.schedule.record = None,
            Timer::Rejoin => self.rejoin(now),
        }
    }

    /// After everything that may have changed something: ends the tasks whose broadcast is through, sends what is to be
    /// sent directly, sets the deadlines that have work to do, and lets the gossip layer look whether there is something
    /// to gossip.
    fn settle(&mut self, now: Instant) {
        if self.serf.lost_name {
            return self.stop();
        }
        for asked in core::mem::take(&mut self.serf.key_queries) {
            self.obey(now, &asked);
        }
        for (to, bytes) in core::mem::take(&mut self.serf.posts) {
            self.order(now, serf_gossip::Command::Send { to, bytes });
        }
        for id in self.serf.queues.finished() {
            self.broadcast_finished(now, id);
        }
        let Self { timers, schedule, serf, .. } = self;
        let config = &serf.config;
        let waiting = !serf.queues.is_empty();
        keep(
            timers,
            &mut schedule.queue_check,
            waiting,
            now + config.queue_check_interval,
            Timer::QueueCheck,
        );
        let failed = serf.table.count(Status::Failed) > 0 && serf.state == NodeState::Alive;
        keep(timers, &mut schedule.reconnect, failed, now + config.reconnect_interval, Timer::Reconnect);
        move_to(timers, &mut schedule.reap, serf.reap_at(), Timer::Reap);
        move_to(timers, &mut schedule.prune, serf.prune_at(), Timer::Prune);
        move_to(timers, &mut schedule.query, serf.asked.due(), Timer::Query);
        self.expect_flush(now);
        self.record(now);
        self.gossip.wake(now, &mut self.serf);
    }

    /// Asks for a write to the snapshot file if one is due, and sets the deadline of the next.
    fn record(&mut self, now: Instant) {
        let due = self.serf.record(now);
        move_to(&mut self.timers, &mut self.schedule.record, due, Timer::Record);
    }

    /// Sets the deadline of events that are held back.
    fn expect_flush(&mut self, now: Instant) {
        let coalescer = &mut self.serf.coalescer;
        coalescer.settle(now);
        move_to(&mut self.timers, &mut self.schedule.coalesce, coalescer.due(), Timer::Coalesce);
    }
}

/// What goes around a message in a datagram of gossip, besides label, seal and checksum: compound (2, and 2 for each part),
/// and the type byte of a user message (1).
const FRAME_BYTES: usize = 5;

/// Has a deadline while there is work: set when the work comes, taken back when it is gone.
fn keep(timers: &mut Timers<Timer>, key: &mut Option<TimerKey>, work: bool, due: Instant, what: Timer) {
    match (work, *key) {
        (true, None) => *key = Some(timers.set(due, what)),
        (false, Some(_)) => move_to(timers, key, None, what),
        _ => {}
    }
}

/// Has a deadline at this time, or none.
fn move_to(timers: &mut Timers<Timer>, key: &mut Option<TimerKey>, due: Option<Instant>, what: Timer) {
    if key.map(TimerKey::due) == due {
        return;
    }
    if let Some(old) = key.take() {
        timers.cancel(old);
    }
    *key = due.map(|due| timers.set(due, what));
}

impl Machine for Node {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Instant, input: Input<'_, Command>) {
        self.now = now;
        let input = match input {
            Input::Command(command) => {
                self.command(now, command);
                None
            }
            _ if self.state() == NodeState::Shutdown => None,
            Input::Timeout => {
                self.gossip.handle(now, Input::Timeout, &mut self.serf);
                while let Some(timer) = self.timers.pop(now) {
                    self.fire(now, timer);
                }
                None
            }
            Input::Datagram { from, bytes } => Some(Input::Datagram { from, bytes }),
            Input::Stream { id, event } => Some(Input::Stream { id, event }),
        };
        if let Some(input) = input {
            self.gossip.handle(now, input, &mut self.serf);
        }
        if self.state() != NodeState::Shutdown {
            self.settle(now);
        }
    }

    fn poll(&mut self) -> Output<Event> {
        loop {
            if let Some(event) = self.serf.outbox.pop_front() {
                return Output::Event(event);
            }
            if self.state() == NodeState::Shutdown {
                return Output::Timeout(None, Reason::Idle);
            }
            match self.gossip.poll() {
                Output::Event(serf_gossip::Event::Done { id, outcome }) => {
                    self.ordered_done(self.now, id, outcome);
                    self.settle(self.now);
                }
                Output::Event(serf_gossip::Event::Notice(notice)) => {
                    return Output::Event(Event::Notice(notice));
                }
                Output::Event(_) => {}
                Output::Datagram(transmit) => return Output::Datagram(transmit),
                Output::Stream { id, action } => return Output::Stream { id, action },
                Output::Timeout(due, reason) => return self.earliest(due, reason),
            }
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.gossip.recycle(buffer);
    }
}

impl Node {
    /// The earlier one of the gossip layer's deadline and our own.
    fn earliest(&self, gossip: Option<Instant>, reason: Reason) -> Output<Event> {
        match self.timers.first() {
            Some((due, timer)) if gossip.is_none_or(|gossip| due < gossip) => {
                Output::Timeout(Some(due), timer.reason())
            }
            _ => Output::Timeout(gossip, reason),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", self.name())
            .field("state", &self.state())
            .field("vitals", &self.vitals())
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}
