//! Queries that arrive: each is passed on once, acknowledged if that is wanted, and told to our owner if it is for us
//! (spec `serf.md` §6.3). And what a query is, on the way out and on the way in.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serf_gossip::{Address, Instant, Name, Severity, Topic as About};
use serf_wire::serf::{self, FLAG_ACK, FLAG_NO_BROADCAST, QueryResponse};

use crate::event::Event;
use crate::keys::{KeyOrder, KeyQuery};
use crate::respond::Asker;
use crate::ring::Verdict;
use crate::serf::Serf;

/// What remembering a query costs.
const BYTES: usize = size_of::<u32>();

/// Queries whose names begin so are answered here, and told to nobody (spec `serf.md` §6.8).
pub const INTERNAL_PREFIX: &str = "_serf_";

/// A question to members of the cluster.
///
/// ```
/// use serf_core::Query;
/// let query = Query::new("load").with_payload(*b"1m").to_tag("role", "^web").with_acks();
/// assert_eq!(query.tags["role"], "^web");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its name. Any bytes, even none; those that begin with [`INTERNAL_PREFIX`] are answered by nodes themselves.
    pub name: Name,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Who is asked, by name. Empty: everybody.
    pub nodes: Vec<Name>,
    /// Who is asked, by tag: each value is a regular expression that must match somewhere in the tag, which is empty
    /// where it is missing. Whoever cannot read an expression does not answer.
    pub tags: BTreeMap<String, String>,
    /// Whether everybody who is asked should say so, whether there is a response or not.
    pub ack: bool,
    /// Through how many others each answer should come as well, in case it is lost on the direct way.
    pub relay_factor: u8,
    /// How long answers are taken. None, or zero, for what suits the size of the cluster.
    pub timeout: Option<Duration>,
    /// Whether to wait for the time-out even when everybody known to be asked has answered.
    pub until_timeout: bool,
}

impl Query {
    /// To everybody, without a payload or acks, with the time-out that suits the cluster.
    #[must_use]
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            payload: Vec::new(),
            nodes: Vec::new(),
            tags: BTreeMap::new(),
            ack: false,
            relay_factor: 0,
            timeout: None,
            until_timeout: false,
        }
    }

    /// With this payload.
    #[must_use]
    pub fn with_payload(self, payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), ..self }
    }

    /// To these nodes only, besides those named before.
    #[must_use]
    pub fn to_nodes<N: Into<Name>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.nodes.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Only to nodes with such a tag, see [`Query::tags`].
    #[must_use]
    pub fn to_tag(mut self, tag: impl Into<String>, expression: impl Into<String>) -> Self {
        self.tags.insert(tag.into(), expression.into());
        self
    }

    /// With acks, see [`Query::ack`].
    #[must_use]
    pub fn with_acks(self) -> Self {
        Self { ack: true, ..self }
    }

    /// See [`Query::relay_factor`].
    #[must_use]
    pub fn with_relays(self, relay_factor: u8) -> Self {
        Self { relay_factor, ..self }
    }

    /// See [`Query::timeout`].
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// See [`Query::until_timeout`].
    #[must_use]
    pub fn until_timeout(self) -> Self {
        Self { until_timeout: true, ..self }
    }
}

/// Names a query that came, to answer it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryKey(pub(crate) u64);

/// A query that somebody in the cluster asked, and that is for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryEvent {
    /// To answer it by, with [`crate::Command::Respond`].
    pub key: QueryKey,
    /// Its time, by the cluster's query clock.
    pub ltime: u64,
    /// Its name.
    pub name: Name,
    /// What it carries. Never told apart from absent: an absent payload is an empty one.
    pub payload: Arc<[u8]>,
    /// Who asked. Empty if it is too old to say so.
    pub source: Name,
    /// How long after this event an answer is taken.
    pub timeout: Duration,
}

impl fmt::Display for QueryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query: {}", self.name)
    }
}

impl Serf {
    /// A query came. True if it is news that others should hear.
    pub(crate) fn query(&mut self, now: Instant, query: &serf::Query<'_>) -> bool {
        let &serf::Query { ltime, id, flags, .. } = query;
        self.query_clock.witness(ltime);
        let clock = self.query_clock.time();
        let verdict = self.queries.admit(clock, ltime, BYTES, |known| *known == id, || id);
        if verdict == Verdict::New {
            self.stats.queries += 1;
            self.query_names.count(query.name);
            self.record_query(ltime);
        }
        if !self.note_verdict(now, "query", ltime, clock, verdict) {
            return false;
        }
        if self.is_asked(now, query.filters) {
            self.asked(now, query);
        }
        flags & FLAG_NO_BROADCAST == 0
    }

    /// A query came that is for us.
    fn asked(&mut self, now: Instant, query: &serf::Query<'_>) {
        let asker = Asker {
            ltime: query.ltime,
            id: query.id,
            addr: Address::new(&query.addr, query.port),
            name: query.source_node.into(),
            relay_factor: query.relay_factor,
        };
        if query.flags & FLAG_ACK != 0 {
            self.acknowledge(now, &asker);
        }
        let timeout = Duration::from_nanos(query.timeout.try_into().unwrap_or(0));
        let payload = query.payload.as_deref().unwrap_or_default();
        let Some(name) = query.name.strip_prefix(INTERNAL_PREFIX.as_bytes()) else {
            let source = asker.name.clone();
            let key = self.held.hold(now, asker, timeout);
            let (ltime, name) = (query.ltime, query.name.into());
            let event = QueryEvent { key, ltime, name, payload: payload.into(), source, timeout };
            return self.emit(Event::Query(event));
        };
        if let Some(order) = KeyOrder::from_name(name) {
            let query = self.held.hold(now, asker, timeout);
            self.key_queries.push(KeyQuery { query, order, payload: payload.to_vec() });
        } else if name == b"conflict" {
            let query = self.held.hold(now, asker, timeout);
            self.testify(now, query, payload);
        } else if name != b"ping" {
            // Of a ping the ack was the answer.
            let name = String::from_utf8_lossy(name);
            self.notice(now, Severity::Warn, About::Serf, format_args!("unhandled internal query '{name}'"));
        }
    }

    fn acknowledge(&mut self, now: Instant, asker: &Asker) {
        if !self.acks.take(now) {
            self.stats.shed_answers += 1;
            return;
        }
        let me = self.name().clone();
        self.send_answer(now, asker, &asker.answer(&me, FLAG_ACK, None));
    }
}

impl Asker {
    /// An answer for it.
    pub(crate) fn answer<'a>(
        &self,
        me: &'a Name,
        flags: u32,
        payload: Option<&'a [u8]>,
    ) -> QueryResponse<'a> {
        QueryResponse {
            ltime: self.ltime,
            id: self.id,
            from: me.as_bytes(),
            flags,
            payload: payload.map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_query_has_its_text() {
        let event = QueryEvent {
            key: QueryKey(1),
            ltime: 1,
            name: "update".into(),
            payload: Arc::from(&[][..]),
            source: "a".into(),
            timeout: Duration::ZERO,
        };
        assert_eq!(event.to_string(), "query: update");
    }
}
