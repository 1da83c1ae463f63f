//! Queries that arrive: each is passed on once, so that the chain of gossip does not break here (spec `serf.md` §6.3).

use serf_gossip::Instant;
use serf_wire::serf::{FLAG_NO_BROADCAST, Query};

use crate::ring::Verdict;
use crate::serf::Serf;

/// What remembering a query costs.
const BYTES: usize = size_of::<u32>();

impl Serf {
    /// A query came. True if it is news that others should hear.
    pub(crate) fn query(&mut self, now: Instant, query: &Query<'_>) -> bool {
        let &Query { ltime, id, flags, .. } = query;
        self.query_clock.witness(ltime);
        let clock = self.query_clock.time();
        let verdict = self.queries.admit(clock, ltime, BYTES, |known| *known == id, || id);
        if verdict == Verdict::New {
            self.stats.queries += 1;
        }
        self.note_verdict(now, "query", ltime, clock, verdict) && flags & FLAG_NO_BROADCAST == 0
    }
}
