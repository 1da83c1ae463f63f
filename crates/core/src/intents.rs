//! Join and leave intents: who says of whom that it joined or will leave, and when by the cluster's member clock (spec
//! `serf.md` §4.6, §4.7). Each function tells whether the intent is news that others should hear.
//!
//! Intents know members by name only, so that an impostor's intents count for the one whose name it took (B9):
//! nothing on the wire could tell them apart.

use alloc::vec::Vec;

use serf_gossip::{Instant, Severity, Topic as About};
use serf_wire::serf::{self, Join, Leave, MessageKind};

use crate::event::MemberEventKind;
use crate::intent_buffer::{Intent, Kept, Kind, supersedes};
use crate::member::Status;
use crate::queues::Topic;
use crate::serf::Serf;
use crate::state::NodeState;

impl Serf {
    /// Somebody will leave, or is declared to have left. `hearsay` marks what was concluded from a full state exchange.
    pub(crate) fn leave_intent(&mut self, now: Instant, leave: &Leave<'_>, hearsay: bool) -> bool {
        let Leave { ltime, node, prune } = *leave;
        self.member_clock.witness(ltime);
        let Some(at) = self.table.find(node) else {
            return self.remember(node, Intent { kind: Kind::Leave, ltime, hearsay, at: now });
        };
        let is_me = self.is_me(node);
        let record = &mut self.table[at];
        if is_me && self.state == NodeState::Alive {
            // A leave of the very time of our join too: who heard the leave first takes the join for old, and would
            // show us as leaving for ever.
            if ltime >= record.status_ltime {
                self.refute_leave(now);
            }
            return false;
        }
        if !supersedes(ltime, Kind::Leave, hearsay, record.status_ltime, record.hearsay) {
            return false;
        }
        // Whatever becomes of the status: otherwise two nodes could tell each other of the same leave for ever.
        record.status_ltime = ltime;
        record.hearsay = hearsay;
        match record.status() {
            Status::None => return false,
            Status::Alive => self.table.set_status(at, Status::Leaving),
            Status::Failed => self.declare_left(now, at),
            Status::Leaving | Status::Left => {}
        }
        // Never ourselves: a node without a self is of no use to anybody (B28).
        if prune && !is_me {
            self.prune(now, at);
        }
        true
    }

    /// One who failed is declared to have left.
    pub(crate) fn declare_left(&mut self, now: Instant, at: usize) {
        // The tombstone stands from now on, not from when the member failed (B10): that may be so long ago that it would
        // be gone at once, and the news of the leave with it.
        self.bury(now, at, Status::Left);
        self.tell(MemberEventKind::Leave, at, true);
    }

    /// Somebody joined. `hearsay` marks what was concluded from a full state exchange.
    pub(crate) fn join_intent(&mut self, now: Instant, join: &Join<'_>, hearsay: bool) -> bool {
        let Join { ltime, node } = *join;
        self.member_clock.witness(ltime);
        let Some(at) = self.table.find(node) else {
            return self.remember(node, Intent { kind: Kind::Join, ltime, hearsay, at: now });
        };
        let record = &mut self.table[at];
        // A leave known from hearsay may really have been this join. If it was a leave, the member will be gone soon, and
        // then we hear of it again.
        let was_misheard =
            ltime == record.status_ltime && record.hearsay && record.status() == Status::Leaving;
        if !was_misheard && !supersedes(ltime, Kind::Join, hearsay, record.status_ltime, record.hearsay) {
            return false;
        }
        record.status_ltime = ltime;
        record.hearsay = hearsay;
        // It may have joined again before the gossip layer noticed that it had left.
        if record.status() == Status::Leaving {
            let name = record.name.clone();
            self.prunes.remove(&name);
            self.table.set_status(at, Status::Alive);
        }
        true
    }

    pub(crate) fn refute_leave(&mut self, now: Instant) {
        self.stats.refuted += 1;
        let time = self.announce_join(now);
        self.notice(
            now,
            Severity::Debug,
            About::Refute,
            format_args!("refuting an older leave intent at time {time}"),
        );
    }

    /// Tells everybody that we are here, at a time later than all we know of. Returns that time.
    pub(crate) fn announce_join(&mut self, now: Instant) -> u64 {
        let ltime = self.member_clock.time();
        self.member_clock.witness(ltime);
        let me = self.name().clone();
        let join = Join { ltime, node: me.as_bytes() };
        self.join_intent(now, &join, false);
        let mut message = Vec::new();
        serf::put(&mut message, MessageKind::Join, |w| join.write(w));
        let pushed = self.queues.push_own_join(&message, me);
        self.note_pushed(now, Topic::Own, &message, pushed);
        ltime
    }

    /// Declares, for now here only, that somebody leaves. Returns the message for the others.
    pub(crate) fn declare_leave(&mut self, now: Instant, node: &[u8], prune: bool) -> Vec<u8> {
        let leave = Leave { ltime: self.member_clock.time(), node, prune };
        self.member_clock.increment();
        self.leave_intent(now, &leave, false);
        let mut message = Vec::new();
        serf::put(&mut message, MessageKind::Leave, |w| leave.write(w));
        message
    }

    fn remember(&mut self, node: &[u8], intent: Intent) -> bool {
        match self.intents.upsert(node, intent) {
            Kept::News => {
                self.expect_reap(intent.at, self.config.recent_intent_timeout);
                true
            }
            Kept::Stale => false,
            Kept::NoRoom => {
                self.stats.shed_intents += 1;
                self.notice(
                    intent.at,
                    Severity::Warn,
                    About::Limit,
                    format_args!("too many intents about unknown members, dropped one"),
                );
                false
            }
        }
    }
}
