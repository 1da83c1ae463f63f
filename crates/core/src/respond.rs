//! Answering queries: which may still be answered, and by which ways an answer goes (spec `serf.md` §6.4, §6.7).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Address, Host, Instant, Name, Peer, Severity, Topic as About};
use serf_wire::serf::{self, MessageKind, QueryResponse};

use crate::query::QueryKey;
use crate::serf::Serf;

/// Most queries that may be answered at one time: a hundred a second for longer than the default time-out of large
/// clusters. The oldest makes room, so that a flood costs those that came before it, and not memory.
const HELD_MAX: usize = 4096;

/// Why a query was not answered. The texts are the reference's (spec `rpc.md` §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// The response with all around it is longer than [`crate::Config::query_response_size_limit`]: than this.
    /// Nothing was sent; a shorter one may be.
    #[error("response exceeds limit of {0} bytes")]
    TooLong(usize),
    /// We have answered it: each node may do so once.
    #[error("response already sent")]
    AlreadySent,
    /// Its time is over, or so many queries came after it that it is forgotten. Nothing was sent.
    #[error("response is past the deadline")]
    PastDeadline,
}

/// Who asked which query, and how it wants answers.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) ltime: u64,
    pub(crate) id: u32,
    pub(crate) addr: Address,
    /// Empty if it did not say.
    pub(crate) name: Name,
    pub(crate) relay_factor: u8,
}

#[derive(Debug)]
struct Query {
    asker: Asker,
    deadline: Instant,
    answered: bool,
}

/// Queries that came and may be answered, by the order of their coming.
#[derive(Debug, Default)]
pub(crate) struct Held {
    queries: BTreeMap<QueryKey, Query>,
    last: u64,
}

impl Held {
    /// Remembers a query.
    pub(crate) fn hold(&mut self, now: Instant, asker: Asker, timeout: Duration) -> QueryKey {
        while let Some(first) = self.queries.first_entry()
            && first.get().deadline < now
        {
            first.remove();
        }
        if self.queries.len() >= HELD_MAX {
            self.queries.pop_first();
        }
        self.last += 1;
        let key = QueryKey(self.last);
        self.queries.insert(key, Query { asker, deadline: now + timeout, answered: false });
        key
    }
}

impl Serf {
    /// Answers a query.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        key: QueryKey,
        payload: &[u8],
    ) -> Result<(), RespondError> {
        let (me, limit) = (self.name().clone(), self.config.query_response_size_limit);
        let query = self.held.queries.get_mut(&key).ok_or(RespondError::PastDeadline)?;
        let asker = query.asker.clone();
        let answer = asker.answer(&me, 0, (!payload.is_empty()).then_some(payload));
        if encode(&answer).len() > limit {
            return Err(RespondError::TooLong(limit));
        }
        if query.answered {
            return Err(RespondError::AlreadySent);
        }
        if now > query.deadline {
            return Err(RespondError::PastDeadline);
        }
        query.answered = true;
        self.send_answer(now, &asker, &answer);
        Ok(())
    }

    /// Sends an ack or a response: to the address in the query, and through others if that was asked for. To
    /// ourselves it needs no network.
    pub(crate) fn send_answer(&mut self, now: Instant, asker: &Asker, answer: &QueryResponse<'_>) {
        if self.is_our_address(&asker.addr, asker.name.as_bytes()) {
            return self.answer_came(now, answer);
        }
        if !self.may_send(now, &asker.addr, asker.name.as_bytes(), false) {
            return;
        }
        let message = encode(answer);
        self.relay_to_others(now, asker, &message);
        self.post(asker.addr.clone(), &asker.name, message);
    }

    /// Who asked a query that is held; empty if that is not known.
    pub(crate) fn asker_of(&self, key: QueryKey) -> Name {
        self.held.queries.get(&key).map_or_else(|| "".into(), |query| query.asker.name.clone())
    }

    /// Has a message sent in a datagram of its own.
    pub(crate) fn post(&mut self, addr: Address, name: &Name, message: Vec<u8>) {
        let name = (!name.as_bytes().is_empty()).then(|| name.clone());
        self.posts.push((Peer { addr, name }, message));
    }

    pub(crate) fn is_our_address(&self, addr: &Address, name: &[u8]) -> bool {
        let ours = &self.config.gossip.advertise;
        self.is_me(name) && addr.port == ours.port && addr.same_host(ours)
    }

    /// Whether something that a peer wants sent may be sent there. A query, or a message to be relayed, names its
    /// destination itself: to the members that we know by that name and host at any rate, to others so many a second,
    /// or none where only members are served.
    pub(crate) fn may_send(&mut self, now: Instant, addr: &Address, name: &[u8], members_only: bool) -> bool {
        let member = self.table.get(name).is_some_and(|member| member.addr.same_host(addr));
        let odd = !member && matches!(addr.host, Host::Other(_));
        if addr.port == 0 || odd || (members_only && !member) {
            self.stats.refused_answers += 1;
            let name = Name::from(name);
            self.notice(
                now,
                Severity::Debug,
                About::Serf,
                format_args!("nothing is sent to '{name}' at {addr}, which is no member"),
            );
            return false;
        }
        if !member && !self.strangers.take(now) {
            self.stats.shed_answers += 1;
            return false;
        }
        true
    }
}

pub(crate) fn encode(answer: &QueryResponse<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    serf::put(&mut message, MessageKind::QueryResponse, |w| answer.write(w));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(id: u32) -> Asker {
        let addr = Address::new(&[10, 0, 0, 1], 1);
        Asker { ltime: 1, id, addr, name: "a".into(), relay_factor: 0 }
    }

    #[test]
    fn queries_are_held_until_their_deadline_or_until_a_flood_has_passed_over_them() {
        let mut held = Held::default();
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let short = held.hold(at(0), asker(1), Duration::from_secs(1));
        let long = held.hold(at(0), asker(2), Duration::MAX);
        held.hold(at(1), asker(3), Duration::ZERO);
        assert!(held.queries.contains_key(&short), "at its deadline it may be answered");
        held.hold(at(2), asker(4), Duration::ZERO);
        assert!(!held.queries.contains_key(&short) && held.queries.contains_key(&long));
        for id in 0..2 * HELD_MAX as u32 {
            held.hold(at(3), asker(id), Duration::MAX);
        }
        assert!(!held.queries.contains_key(&long));
        assert_eq!(held.queries.len(), HELD_MAX);
    }
}
