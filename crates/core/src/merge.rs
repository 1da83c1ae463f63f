//! What Serf adds to the exchange of full states between two nodes (spec `serf.md` §1.6, §4.8).
//!
//! It tells of each member the time of its latest intent, but only for those that left which kind that was. Nothing
//! learnt here is gossiped on.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use serf_gossip::Instant;
use serf_wire::Malformed;
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, Event, Join, Leave, MessageKind, PushPull, UserEvent, UserEvents};

use crate::member::Status;
use crate::serf::{Serf, believable};
use crate::state::NodeState;

/// So many Lamport times of a peer's ring are sorted at once: eight times as many as a ring usually has. What claims
/// to have more comes in pieces of this size, since a state of empty moments would swell in memory.
const SORTED_MAX: usize = 4096;

impl Serf {
    /// Appends our side of the exchange.
    pub(crate) fn write_local_state(&self, out: &mut Vec<u8>) {
        let status_ltimes: Vec<(&[u8], u64)> =
            self.table.iter().map(|record| (record.name.as_bytes(), record.status_ltime)).collect();
        let left_members: Vec<&[u8]> =
            self.table.with(Status::Left).map(|record| record.name.as_bytes()).collect();
        let remembered: Vec<(usize, u64, Vec<Event<'_>>)> = self
            .events
            .slots()
            .map(|(at, slot)| (at, slot.ltime, slot.items.iter().map(|e| e.to_wire()).collect()))
            .collect();
        // The whole ring, empty slots included: that is how it has always been sent.
        let mut events = vec![None; self.events.size()];
        for (at, ltime, items) in &remembered {
            events[*at] = Some(UserEvents { ltime: *ltime, events: List::of(items) });
        }
        let state = PushPull {
            ltime: self.member_clock.time(),
            status_ltimes: List::of(&status_ltimes),
            left_members: List::of(&left_members),
            event_ltime: self.event_clock.time(),
            events: List::of(&events),
            query_ltime: self.query_clock.time(),
        };
        serf::put(out, MessageKind::PushPull, |w| state.write(w));
    }

    /// Takes the peer's side. The gossip layer has merged the list of nodes before.
    pub(crate) fn merge_remote_state(&mut self, now: Instant, bytes: &[u8], join: bool) {
        let state = MessageKind::split(bytes).and_then(|(kind, body)| match kind {
            MessageKind::PushPull => PushPull::read(&mut Reader::new(body)),
            other => Err(Malformed::UnknownSerfKind(other as u8)),
        });
        match state {
            Ok(state) => self.merge(now, &state, join),
            Err(why) => self.unreadable(now, format_args!("remote state"), &why),
        }
    }

    fn merge(&mut self, now: Instant, state: &PushPull<'_>, join: bool) {
        // What is beyond belief in it is left out, since the rest may be sound: a peer that was led to the end of time
        // still knows who has left.
        let clocks = [state.ltime, state.event_ltime, state.query_ltime];
        let statuses = state.status_ltimes.iter().map(|(_, ltime)| ltime);
        let moments = state.events.iter().flatten().map(|moment| moment.ltime);
        let worst = clocks.into_iter().chain(statuses).chain(moments).max().unwrap_or_default();
        if let Err(why) = believable(worst) {
            self.unreadable(now, format_args!("part of a remote state"), &why);
        }
        let is_sound = |ltime: u64| believable(ltime).is_ok();

        // The peer's clocks show times that nobody has used yet.
        let ours = [&mut self.member_clock, &mut self.event_clock, &mut self.query_clock];
        for (clock, shown) in ours.into_iter().zip(clocks) {
            if is_sound(shown) {
                clock.witness_unused(shown);
            }
        }

        let left: BTreeSet<&[u8]> = state.left_members.iter().collect();
        let mut untimed = left.clone();
        for (node, ltime) in state.status_ltimes {
            if left.contains(node) {
                untimed.remove(node);
                if is_sound(ltime) {
                    self.merge_left(now, node, ltime);
                }
            }
        }
        for node in untimed {
            self.merge_left(now, node, 0);
        }
        for (node, ltime) in state.status_ltimes {
            if !left.contains(node) && is_sound(ltime) {
                self.merge_time(now, node, ltime);
            }
        }

        if join && self.ignoring_old && is_sound(state.event_ltime) {
            self.events.raise_min_time(state.event_ltime);
        }
        // A ring is told slot by slot, which is not the order of time once it has gone round.
        let mut moments = state.events.iter().flatten().filter(|moment| is_sound(moment.ltime));
        loop {
            let mut some: Vec<UserEvents<'_>> = moments.by_ref().take(SORTED_MAX).collect();
            if some.is_empty() {
                break;
            }
            some.sort_by_key(|moment| moment.ltime);
            for moment in some {
                self.replay(now, &moment);
            }
        }
    }

    fn replay(&mut self, now: Instant, moment: &UserEvents<'_>) {
        for Event { name, payload } in moment.events.iter() {
            let event = UserEvent { ltime: moment.ltime, name, payload, coalesce: false };
            self.user_event(now, &event);
        }
    }

    /// The peer tells the time of the latest intent about somebody who has not left.
    ///
    /// One about ourselves that we do not know is a leave that we did not hear, since what we say ourselves we do know;
    /// or a join of an earlier life. To whoever heard the former we are leaving, until we say that we are not.
    fn merge_time(&mut self, now: Instant, node: &[u8], ltime: u64) {
        let missed = self.is_me(node)
            && self.state == NodeState::Alive
            && self.table.get(node).is_some_and(|record| ltime > record.status_ltime);
        if missed {
            self.member_clock.witness(ltime);
            self.refute_leave(now);
        } else {
            self.join_intent(now, &Join { ltime, node }, true);
        }
    }

    /// The peer says that somebody has left. The time told is that of the latest intent it has heard of: of the leave,
    /// or of a later join, if it has heard that the member is back and not yet seen it. The reference adds one, since a
    /// leave is later than the join that it ends (B8). But the time of a leave is told wherever its intent was heard; and
    /// a leave that is guessed too late hides that the member is back.
    fn merge_left(&mut self, now: Instant, node: &[u8], ltime: u64) {
        let mut leave = Leave { ltime, node, prune: false };
        let Some(at) = self.table.find(node).filter(|_| !self.is_me(node)) else {
            if self.is_me(node) && self.state == NodeState::Alive {
                // A leave is later than the join that it ends. Of ourselves we do not believe it, but whoever does is to
                // hear of a join that is later still. If we did leave we agree, and guess nothing (B6).
                leave.ltime = ltime.saturating_add(1);
            }
            self.leave_intent(now, &leave, true);
            return;
        };
        self.member_clock.witness(ltime);
        let record = &mut self.table[at];
        match record.status() {
            // We agree. Two who both guessed would push each other's time, and everybody's clock, further with each
            // exchange, for as long as the tombstone stands (B6).
            Status::Left => record.status_ltime = record.status_ltime.max(ltime),
            // Nobody is here to be wronged, and the peer knows more than we do of how it went. No guess here either:
            // from mouth to mouth it would become later than the join of one who is back.
            Status::Failed if ltime >= record.status_ltime => {
                record.status_ltime = ltime;
                record.hearsay = false;
                self.declare_left(now, at);
            }
            // It is there, as far as the gossip layer knows, which has heard the peer on that before. So the peer must
            // know of a later intent than we do. If we guessed, and it is back, it would be shown as leaving for ever:
            // it does not hear of it, and so does not refute. If we wait, and it is gone, we hear so again.
            Status::Alive | Status::Leaving if ltime > record.status_ltime => {
                self.leave_intent(now, &leave, true);
            }
            Status::None | Status::Alive | Status::Leaving | Status::Failed => {}
        }
    }
}
