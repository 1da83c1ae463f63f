//! Forgetting: those gone for long, old intents, and those who are pruned (spec `serf.md` §4.9, §4.10).

use core::time::Duration;

use alloc::vec::Vec;

use serf_gossip::{Instant, Name};

use crate::member::Status;
use crate::serf::Serf;
use crate::table::Record;

/// Gone for longer, not as long.
const LONGER: Duration = Duration::from_nanos(1);

impl Serf {
    /// Something was learnt that is to be forgotten after this time.
    pub(crate) fn expect_reap(&mut self, now: Instant, kept: Duration) {
        let due = now + self.config.reap_interval.max(self.least_kept(kept) + LONGER);
        self.reap_at = Some(self.reap_at.map_or(due, |at| at.min(due)));
    }

    /// When to look at who is gone long enough. None while nobody is gone and nothing is remembered of strangers.
    pub(crate) fn reap_at(&self) -> Option<Instant> {
        let gone = self.table.count(Status::Failed) + self.table.count(Status::Left);
        self.reap_at.filter(|_| gone > 0 || !self.intents.is_empty())
    }

    /// Forgets what has been gone, or remembered, for too long.
    pub(crate) fn reap(&mut self, now: Instant) {
        let mut gone: Vec<(Instant, Name)> = self
            .gone_records()
            .filter(|(record, since)| now.since(*since) > self.kept(record))
            .map(|(record, since)| (since, record.name.clone()))
            .collect();
        // Those gone first are told first.
        gone.sort_unstable();
        for (_, name) in gone {
            if let Some(at) = self.table.find(name.as_bytes()) {
                self.erase(at, false);
            }
        }
        self.intents.purge(now, self.config.recent_intent_timeout);
        let next_member = self
            .gone_records()
            .map(|(record, since)| since + self.least_kept(self.kept_by_default(record)) + LONGER)
            .min();
        let next_intent =
            self.intents.oldest().map(|heard| heard + self.config.recent_intent_timeout + LONGER);
        let next = [next_member, next_intent].into_iter().flatten().min();
        self.reap_at = next.map(|due| due.max(now + self.config.reap_interval));
    }

    /// Forgets a member at once if it has left. One that is leaving is given the time to do so (waited for by a
    /// deadline, not by holding everything up: B22, E49).
    pub(crate) fn prune(&mut self, now: Instant, at: usize) {
        match self.table[at].status() {
            Status::Left => self.erase(at, true),
            Status::Leaving => {
                let due = now + self.config.broadcast_timeout + self.config.leave_propagate_delay;
                self.prunes.insert(self.table[at].name.clone(), Some(due));
            }
            Status::None | Status::Alive | Status::Failed => {}
        }
    }

    /// When the next one to be pruned has had its time.
    pub(crate) fn prune_at(&self) -> Option<Instant> {
        self.prunes.values().flatten().min().copied()
    }

    /// Forgets those to be pruned whose time to leave is over. Who is still there, against its will perhaps, is not
    /// forgotten while the gossip layer sees it (B19: it would be invisible for as long as it lives): it is
    /// forgotten the moment it leaves, or not at all if it refutes.
    pub(crate) fn prune_due(&mut self, now: Instant) {
        let due: Vec<Name> = self
            .prunes
            .iter()
            .filter(|(_, due)| due.is_some_and(|due| due <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            match self.table.find(name.as_bytes()) {
                Some(at) if self.table[at].status() == Status::Left => self.erase(at, true),
                _ => {
                    self.prunes.insert(name, None);
                }
            }
        }
    }

    fn gone_records(&self) -> impl Iterator<Item = (&Record, Instant)> {
        self.table.iter().filter_map(|record| record.gone_since.map(|since| (record, since)))
    }

    /// How long this one is kept.
    fn kept(&self, record: &Record) -> Duration {
        let default = self.kept_by_default(record);
        match &self.config.policies.reap {
            Some(policy) => policy.keep(&record.to_member(), default),
            None => default,
        }
    }

    fn kept_by_default(&self, record: &Record) -> Duration {
        match record.status() {
            Status::Left => self.config.tombstone_timeout,
            _ => self.config.reconnect_timeout,
        }
    }

    /// A policy may say anything, and something else each time it is asked.
    fn least_kept(&self, default: Duration) -> Duration {
        if self.config.policies.reap.is_some() { Duration::ZERO } else { default }
    }
}
