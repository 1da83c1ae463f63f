//! What commands do: each is a task that ends with the answer of the gossip layer, or with a broadcast of ours that
//! has been sent often enough, or has not been in time.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use serf_gossip::{self as gossip, CommandId, Instant, Name, Peer, Severity, TimerKey, Topic as About};

use crate::command::{Failure, Outcome};
use crate::keys::KeyOrder;
use crate::member::Status;
use crate::node::{Node, Timer};
use crate::query::QueryKey;
use crate::queues::{TooLong, Topic};
use crate::state::NodeState;
use crate::tags::{self, Tags};

/// Most joins that wait for the one under way. A program that asks again before the last answer, of addresses that do
/// not answer, would otherwise have us try them for hours after it has given up.
const JOINS_MAX: usize = 64;

/// A join to be done.
#[derive(Debug)]
pub(crate) struct JoinRequest {
    pub(crate) id: CommandId,
    pub(crate) peers: Vec<Peer>,
    pub(crate) ignore_old: bool,
}

/// Something under way, and whose command it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    Join {
        owner: CommandId,
    },
    /// Nobody waits for it.
    Reconnect,
    Rejoin,
    /// Our leave, as Serf's intent.
    LeaveIntent,
    /// Our leave, as the gossip layer's goodbye.
    Goodbye,
    ForceLeave {
        owner: CommandId,
    },
    SetTags {
        owner: CommandId,
    },
    /// Somebody in the cluster waits for it.
    KeyQuery {
        query: QueryKey,
        order: KeyOrder,
    },
}

impl Task {
    fn owner(self) -> Option<CommandId> {
        match self {
            Self::Join { owner } | Self::ForceLeave { owner } | Self::SetTags { owner } => Some(owner),
            Self::Reconnect | Self::Rejoin | Self::LeaveIntent | Self::Goodbye | Self::KeyQuery { .. } => {
                None
            }
        }
    }
}

/// All that is under way, by numbers of our own: the owner's may be anything.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    running: BTreeMap<CommandId, (Task, Option<TimerKey>)>,
    last: u64,
}

impl Tasks {
    pub(crate) fn begin(&mut self, task: Task) -> CommandId {
        self.last += 1;
        let id = CommandId(self.last);
        self.running.insert(id, (task, None));
        id
    }

    fn end(&mut self, id: CommandId) -> Option<(Task, Option<TimerKey>)> {
        self.running.remove(&id)
    }

    fn is_joining(&self) -> bool {
        self.running.values().any(|(task, _)| matches!(task, Task::Join { .. }))
    }
}

// What the owner asks.
impl Node {
    pub(crate) fn join(&mut self, now: Instant, request: JoinRequest) {
        if self.tasks.is_joining() {
            if self.joins.len() >= JOINS_MAX {
                return self.fail(request.id, Failure::TooManyJoins);
            }
            self.joins.push_back(request);
        } else {
            self.begin_join(now, request);
        }
    }

    fn begin_join(&mut self, now: Instant, request: JoinRequest) {
        let JoinRequest { id: owner, peers, ignore_old } = request;
        if self.state() != NodeState::Alive {
            return self.fail(owner, Failure::CannotJoin);
        }
        self.serf.ignoring_old = ignore_old;
        let id = self.tasks.begin(Task::Join { owner });
        self.order(now, gossip::Command::Join { id, peers });
    }

    /// Our leave (spec `serf.md` §12.5): first Serf's intent, so that nobody takes us for failed; then the gossip
    /// layer's goodbye; then a pause in which we still answer.
    pub(crate) fn leave(&mut self, now: Instant, id: CommandId) {
        match self.state() {
            NodeState::Left => self.done(id, Outcome::Ok),
            NodeState::Shutdown => self.fail(id, Failure::CannotLeave),
            NodeState::Leaving => self.leavers.push(id),
            NodeState::Alive => {
                self.leavers.push(id);
                self.serf.state = NodeState::Leaving;
                self.rejoin = None;
                self.serf.record_leave();
                let me = self.name().clone();
                let message = self.serf.declare_leave(now, me.as_bytes(), false);
                let told =
                    self.serf.has_company() && self.broadcast(now, &message, Task::LeaveIntent).is_ok();
                if !told {
                    self.say_goodbye(now);
                }
            }
        }
    }

    fn say_goodbye(&mut self, now: Instant) {
        let id = self.tasks.begin(Task::Goodbye);
        let timeout = self.serf.config.broadcast_timeout;
        self.order(now, gossip::Command::Leave { id, timeout });
    }

    /// The news of our leave has had its time. Who hears that we have left may switch the machine off, so the record of
    /// it must have reached the disk before; but a disk that does not answer does not keep us for ever.
    pub(crate) fn left(&mut self, now: Instant) {
        if self.serf.is_recording_leave() {
            self.timers.set(now + self.serf.config.broadcast_timeout, Timer::Recorded);
            self.is_told = true;
        } else {
            self.end_leave();
        }
    }

    /// The snapshot file was written, or not.
    pub(crate) fn recorded(&mut self, now: Instant, done: bool) {
        self.serf.recorded(now, done);
        if self.is_told && !self.serf.is_recording_leave() {
            self.end_leave();
        }
    }

    /// The end of our leave.
    pub(crate) fn end_leave(&mut self) {
        if self.state() != NodeState::Leaving {
            return;
        }
        if self.serf.is_recording_leave() {
            self.serf.line(Severity::Warn, format_args!("timeout while recording the leave in the snapshot"));
        }
        self.serf.state = NodeState::Left;
        // Whoever waits for the leave may stop listening when it is done.
        self.serf.flush();
        for id in core::mem::take(&mut self.leavers) {
            self.done(id, Outcome::Ok);
        }
    }

    pub(crate) fn force_leave(&mut self, now: Instant, owner: CommandId, name: &Name, prune: bool) {
        let message = self.serf.declare_leave(now, name.as_bytes(), prune);
        if !self.serf.has_company() {
            return self.done(owner, Outcome::Ok);
        }
        if let Err(TooLong) = self.broadcast(now, &message, Task::ForceLeave { owner }) {
            self.fail(owner, Failure::NameTooLong(name.as_bytes().len()));
        }
    }

    pub(crate) fn set_tags(&mut self, now: Instant, owner: CommandId, tags: Tags) {
        let meta = match tags::encode(self.serf.config.protocol_version, &tags) {
            Ok(meta) => meta,
            Err(too_long) => return self.fail(owner, too_long.into()),
        };
        let id = self.tasks.begin(Task::SetTags { owner });
        let timeout = self.serf.config.broadcast_timeout;
        self.order(now, gossip::Command::UpdateMeta { id, meta: meta.clone(), timeout });
        // Refused, by our own policy or since we have left, they are not in force.
        if *self.gossip.local().meta == *meta {
            self.serf.config.tags = tags;
        }
    }

    pub(crate) fn shutdown(&mut self, id: CommandId) {
        if self.state() < NodeState::Left {
            self.serf.line(Severity::Warn, format_args!("Shutdown without a Leave"));
        }
        self.stop();
        self.done(id, Outcome::Ok);
    }

    /// Takes nothing more in, and answers everything that is under way.
    pub(crate) fn stop(&mut self) {
        self.serf.state = NodeState::Shutdown;
        self.rejoin = None;
        self.serf.wind_up();
        self.serf.close_queries();
        let running = core::mem::take(&mut self.tasks.running);
        let joins = core::mem::take(&mut self.joins);
        let leavers = core::mem::take(&mut self.leavers);
        let waiting = running.into_values().filter_map(|(task, _)| task.owner());
        for owner in waiting.chain(joins.into_iter().map(|join| join.id)).chain(leavers) {
            self.fail(owner, Failure::Shutdown);
        }
    }
}

// What nobody asks.
impl Node {
    /// Tries to reach one of the failed members, with a chance that grows with their share: so each of them is tried
    /// about once per interval by the whole cluster (spec `serf.md` §4.12).
    pub(crate) fn reconnect(&mut self, now: Instant) {
        let table = &self.serf.table;
        let failed = table.count(Status::Failed);
        let present = (table.len() - failed - table.count(Status::Left)).max(1);
        if self.serf.rng.unit() > failed as f64 / present as f64 {
            return;
        }
        let Some(record) = table.with(Status::Failed).nth(self.serf.rng.below(failed)) else { return };
        let (name, addr) = (record.name.clone(), record.addr.clone());
        self.serf.stats.reconnects += 1;
        self.serf.line(Severity::Info, format_args!("attempting reconnect to {name} {addr}"));
        let id = self.tasks.begin(Task::Reconnect);
        let name = (!name.as_bytes().is_empty()).then_some(name);
        self.order(now, gossip::Command::Join { id, peers: vec![Peer { addr, name }] });
    }
}

// How tasks go on.
impl Node {
    /// Queues an intent and begins a task that waits for it.
    fn broadcast(&mut self, now: Instant, message: &[u8], task: Task) -> Result<(), TooLong> {
        let id = self.tasks.begin(task);
        match self.serf.queues.push(Topic::Own, message, Some(id)) {
            Ok(shed) => {
                if shed > 0 {
                    self.serf.shed(now, Topic::Own, shed);
                }
                let timer = self.timers.set(now + self.serf.config.broadcast_timeout, Timer::Broadcast(id));
                self.tasks.running.insert(id, (task, Some(timer)));
                Ok(())
            }
            Err(TooLong) => {
                self.tasks.end(id);
                Err(TooLong)
            }
        }
    }

    /// The broadcast has been sent as often as it should be.
    pub(crate) fn broadcast_finished(&mut self, now: Instant, id: CommandId) {
        let Some((task, timer)) = self.tasks.end(id) else { return };
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        match task {
            Task::LeaveIntent => self.say_goodbye(now),
            task => {
                if let Some(owner) = task.owner() {
                    self.done(owner, Outcome::Ok);
                }
            }
        }
    }

    pub(crate) fn broadcast_timed_out(&mut self, now: Instant, id: CommandId) {
        match self.tasks.end(id) {
            Some((Task::LeaveIntent, _)) => {
                self.serf.line(Severity::Warn, format_args!("timeout while waiting for graceful leave"));
                self.say_goodbye(now);
            }
            Some((Task::ForceLeave { owner }, _)) => self.fail(owner, Failure::ForceLeaveTimeout),
            _ => {}
        }
    }

    /// The gossip layer has done what it was ordered to do.
    pub(crate) fn ordered_done(&mut self, now: Instant, id: CommandId, outcome: gossip::Outcome) {
        let Some((task, _)) = self.tasks.end(id) else { return };
        match task {
            Task::Join { owner } => self.joined(now, owner, outcome),
            Task::Goodbye => {
                if let gossip::Outcome::Failed(why) = outcome {
                    self.serf.notice(
                        now,
                        Severity::Warn,
                        About::Membership,
                        format_args!("timeout waiting for leave broadcast: {why}"),
                    );
                }
                self.timers.set(now + self.serf.config.leave_propagate_delay, Timer::Left);
            }
            Task::SetTags { owner } => match outcome {
                gossip::Outcome::Failed(gossip::Failure::Timeout) => self.fail(owner, Failure::TagsTimeout),
                outcome => self.answer(owner, outcome),
            },
            Task::KeyQuery { query, order } => self.keyring_changed(
                now,
                query,
                order,
                match outcome {
                    gossip::Outcome::Failed(gossip::Failure::Key(why)) => Err(why),
                    _ => Ok(()),
                },
            ),
            Task::Rejoin => self.rejoined(now, &outcome),
            Task::Reconnect | Task::LeaveIntent | Task::ForceLeave { .. } => {}
        }
    }

    fn joined(&mut self, now: Instant, owner: CommandId, outcome: gossip::Outcome) {
        self.serf.ignoring_old = false;
        if let gossip::Outcome::Joined { contacted, .. } = &outcome
            && !contacted.is_empty()
            // Who has begun to leave meanwhile must not take it back.
            && self.state() == NodeState::Alive
        {
            self.serf.announce_join(now);
        }
        self.answer(owner, outcome);
        while !self.tasks.is_joining()
            && let Some(next) = self.joins.pop_front()
        {
            self.begin_join(now, next);
        }
    }

    fn answer(&mut self, owner: CommandId, outcome: gossip::Outcome) {
        let outcome = match outcome {
            gossip::Outcome::Joined { contacted, failed } => Outcome::Joined { contacted, failed },
            gossip::Outcome::Failed(why) => Outcome::Failed(Failure::Gossip(why)),
            _ => Outcome::Ok,
        };
        self.done(owner, outcome);
    }
}
