//! Queries of our own: who is asked, who has answered, and when that is all (spec `serf.md` §6.1, §6.2, §6.5, §6.6).
//!
//! Each member may acknowledge once and respond once. A query ends with its time-out, or earlier if everybody who was
//! asked and is still there has done what was asked for (B16).

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{CommandId, Instant, Name, Severity, Topic as About, retransmit_limit};
use serf_wire::list::List;
use serf_wire::serf::{self, FLAG_ACK, MessageKind, QueryResponse};

use crate::command::{Failure, Outcome};
use crate::event::Event;
use crate::filter;
use crate::query::Query;
use crate::queues::Topic;
use crate::serf::Serf;

/// The first Serf protocol that has queries.
const QUERIES_SINCE: u8 = 4;
/// Most names remembered for queries under way, each costing some 32 bytes; a query itself counts as [`QUERY_NAMES`].
/// A hundred queries at a time in a cluster of ten thousand, thousands in a small one.
const NAMES_MAX: usize = 1 << 20;
/// See [`NAMES_MAX`].
const QUERY_NAMES: usize = 16;
/// Most bytes taken in answer to one query: six times what ten thousand nodes send at most by default.
const BYTES_MAX: usize = 64 << 20;

/// What comes of a query of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer<I = Name> {
    /// Somebody has got it.
    Ack {
        /// Who.
        from: I,
    },
    /// Somebody responded.
    Response {
        /// Who.
        from: I,
        /// With what.
        payload: Vec<u8>,
    },
}

/// Why nothing more comes of a query of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryEnd {
    /// Everybody who was asked, and is still there, has answered.
    Complete,
    /// The time is over.
    TimedOut,
    /// The owner wants no more, or the node was shut down.
    Closed,
}

/// What somebody has yet to do.
const ACK: u8 = 1;
/// See [`ACK`].
const RESPONSE: u8 = 2;

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Our owner, by this command.
    Owner(CommandId),
    /// We, whose name is claimed by another.
    Dispute,
}

/// A query under way.
#[derive(Debug)]
struct Asking {
    whose: Whose,
    deadline: Instant,
    /// What is wanted of each.
    wanted: u8,
    /// Those whose answers end it, sorted by name, with what is missing of each.
    asked: Vec<(Name, u8)>,
    /// How many of those have something missing. None: they do not end it.
    open: Option<usize>,
    /// The same of others who turned out to answer: they came after the question, or have changed.
    others: BTreeMap<Name, u8>,
    /// Bytes of the responses so far.
    bytes: usize,
}

impl Asking {
    fn cost(&self) -> usize {
        QUERY_NAMES + self.asked.len() + self.others.len()
    }

    /// Takes note that somebody did something. False if it is not wanted of him, or not any more.
    fn done(&mut self, who: &Name, what: u8) -> bool {
        let (missing, counts) = match self.place(who) {
            Ok(at) => (&mut self.asked[at].1, true),
            Err(_) => (self.others.entry(who.clone()).or_insert(self.wanted), false),
        };
        let is_news = *missing & what != 0;
        *missing &= !what;
        if is_news && counts && *missing == 0 {
            self.open = self.open.map(|open| open - 1);
        }
        is_news
    }

    /// Takes note that somebody is gone, who is not waited for any more.
    fn gone(&mut self, who: &Name) {
        if let Ok(at) = self.place(who)
            && self.asked[at].1 != 0
        {
            self.asked.remove(at);
            // What it still sends is taken, once.
            self.open = self.open.map(|open| open - 1);
        }
    }

    fn place(&self, who: &Name) -> Result<usize, usize> {
        self.asked.binary_search_by(|(name, _)| name.cmp(who))
    }
}

/// All queries of ours that are under way, by time and number. No two ever have the same (B12).
#[derive(Debug, Default)]
pub(crate) struct Asked {
    queries: BTreeMap<(u64, u32), Asking>,
    deadlines: BTreeSet<(Instant, u64, u32)>,
    /// As [`NAMES_MAX`] counts.
    names: usize,
}

impl Asked {
    /// When the next one's time is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
    }

    fn remove(&mut self, key: (u64, u32)) -> Option<Asking> {
        let query = self.queries.remove(&key)?;
        self.deadlines.remove(&(query.deadline, key.0, key.1));
        self.names -= query.cost();
        Some(query)
    }
}

impl Serf {
    /// How long a query waits for answers, where so many members are present, if it does not say.
    pub(crate) fn default_query_timeout(&self, present: usize) -> Duration {
        self.config.gossip.gossip_interval * retransmit_limit(self.config.query_timeout_mult, present)
    }

    /// Asks. That it has begun is told before anything that comes of it.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        whose: Whose,
        query: &Query,
        present: usize,
    ) -> Result<(), Failure> {
        if self.config.protocol_version < QUERIES_SINCE {
            return Err(Failure::NotSupported);
        }
        let timeout =
            query.timeout.filter(|t| !t.is_zero()).unwrap_or_else(|| self.default_query_timeout(present));
        let filters: Vec<Cow<'_, [u8]>> = filter::encode(query).into_iter().map(Cow::Owned).collect();
        let source = self.name().clone();
        let addr = self.config.gossip.advertise.clone();
        let ltime = self.query_clock.time();
        let number = loop {
            let number = self.rng.next_u32() >> 1;
            // At the end of time the clock stands still.
            if !self.asked.queries.contains_key(&(ltime, number)) {
                break number;
            }
        };
        let wire = serf::Query {
            ltime,
            id: number,
            addr: addr.host.as_bytes().into(),
            port: addr.port,
            source_node: source.as_bytes(),
            filters: if filters.is_empty() { List::absent() } else { List::of(&filters) },
            flags: if query.ack { FLAG_ACK } else { 0 },
            relay_factor: query.relay_factor,
            timeout: timeout.as_nanos().try_into().unwrap_or(i64::MAX),
            name: query.name.as_bytes(),
            payload: (!query.payload.is_empty()).then(|| query.payload.as_slice().into()),
        };
        let mut message = Vec::new();
        serf::put(&mut message, MessageKind::Query, |w| wire.write(w));
        if message.len() > self.config.query_size_limit {
            return Err(Failure::QueryTooLong(self.config.query_size_limit));
        }
        // Nobody would ever hear of it (B14).
        if message.len() > self.queues.room {
            return Err(Failure::QueryTooLong(self.queues.room));
        }
        let wanted = if query.ack { RESPONSE | ACK } else { RESPONSE };
        let asked = self.whom_it_asks(query);
        let open = asked.as_ref().map(Vec::len).filter(|_| !query.until_timeout);
        let mut asked: Vec<(Name, u8)> = asked.into_iter().flatten().map(|name| (name, wanted)).collect();
        asked.sort_unstable();
        let deadline = now + timeout;
        let asking = Asking { whose, deadline, wanted, asked, open, others: BTreeMap::new(), bytes: 0 };
        if self.asked.names + asking.cost() > NAMES_MAX {
            return Err(Failure::TooManyQueries);
        }
        self.asked.names += asking.cost();
        self.asked.queries.insert((ltime, number), asking);
        self.asked.deadlines.insert((deadline, ltime, number));
        if let Whose::Owner(id) = whose {
            self.outbox.push_back(Event::Done { id, outcome: Outcome::Asked { ltime, timeout, present } });
        }
        let pushed = self.queues.push(Topic::Query, &message, None);
        self.note_pushed(now, Topic::Query, &message, pushed);
        // Last, since it may be us alone who is asked, and the answer at hand.
        self.query(now, &wire);
        self.end_if_complete((ltime, number));
        Ok(())
    }

    /// An answer came, to a query of ours perhaps.
    pub(crate) fn answer_came(&mut self, now: Instant, answer: &QueryResponse<'_>) {
        let key = (answer.ltime, answer.id);
        if !self.asked.queries.contains_key(&key) {
            self.stats.late_answers += 1;
            return;
        }
        let Some(from) = self.table.get(answer.from).map(|member| member.name.clone()) else {
            self.stats.refused_answers += 1;
            let from = Name::from(answer.from);
            return self.notice(
                now,
                Severity::Debug,
                About::Serf,
                format_args!("answer of '{from}' refused, who is no member"),
            );
        };
        let Some(asking) = self.asked.queries.get_mut(&key) else { return };
        let is_ack = answer.flags & FLAG_ACK != 0;
        let (whose, before) = (asking.whose, asking.cost());
        let is_news = asking.done(&from, if is_ack { ACK } else { RESPONSE });
        self.asked.names += asking.cost() - before;
        let count = match (is_ack, is_news) {
            (true, true) => &mut self.stats.query_acks,
            (true, false) => &mut self.stats.query_duplicate_acks,
            (false, true) => &mut self.stats.query_responses,
            (false, false) => &mut self.stats.query_duplicate_responses,
        };
        *count += 1;
        if !is_news {
            return;
        }
        let payload = answer.payload.as_deref().unwrap_or_default();
        asking.bytes += payload.len();
        if asking.bytes > BYTES_MAX {
            self.stats.shed_answers += 1;
        } else {
            match whose {
                Whose::Dispute => self.vote(now, &from, payload),
                Whose::Owner(id) => {
                    let answer = if is_ack {
                        Answer::Ack { from }
                    } else {
                        Answer::Response { from, payload: payload.to_vec() }
                    };
                    self.outbox.push_back(Event::Answer { id, answer });
                }
            }
        }
        self.end_if_complete(key);
    }

    /// A member is gone: nobody waits for its answers any more.
    pub(crate) fn answers_no_more(&mut self, who: &Name) {
        let mut complete = Vec::new();
        for (key, asking) in &mut self.asked.queries {
            let before = asking.cost();
            asking.gone(who);
            self.asked.names -= before - asking.cost();
            if asking.open == Some(0) {
                complete.push(*key);
            }
        }
        complete.into_iter().for_each(|key| self.end(key, QueryEnd::Complete));
    }

    /// Ends those whose time is over.
    pub(crate) fn end_due_queries(&mut self, now: Instant) {
        while let Some(&(deadline, ltime, number)) = self.asked.deadlines.first()
            && deadline <= now
        {
            self.end((ltime, number), QueryEnd::TimedOut);
        }
    }

    /// Ends a query that its owner wants no more of.
    pub(crate) fn close_query(&mut self, id: CommandId) {
        let found = self
            .asked
            .queries
            .iter()
            .find(|(_, asking)| asking.whose == Whose::Owner(id))
            .map(|(key, _)| *key);
        if let Some(key) = found {
            self.end(key, QueryEnd::Closed);
        }
    }

    /// Ends all queries.
    pub(crate) fn close_queries(&mut self) {
        while let Some((&key, _)) = self.asked.queries.first_key_value() {
            self.end(key, QueryEnd::Closed);
        }
    }

    fn end_if_complete(&mut self, key: (u64, u32)) {
        if self.asked.queries.get(&key).is_some_and(|asking| asking.open == Some(0)) {
            self.end(key, QueryEnd::Complete);
        }
    }

    fn end(&mut self, key: (u64, u32), why: QueryEnd) {
        match self.asked.remove(key).map(|asking| asking.whose) {
            Some(Whose::Owner(id)) => self.outbox.push_back(Event::QueryEnded { id, why }),
            Some(Whose::Dispute) if why == QueryEnd::TimedOut => self.count_votes(),
            Some(Whose::Dispute) | None => {}
        }
    }
}
