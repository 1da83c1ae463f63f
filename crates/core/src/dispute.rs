//! Two nodes with one name: those whom both claim to be ask the others whom they know, and who is in the minority ends
//! (spec `serf.md` §7). A node that learns of nobody's opinion goes on (B17).

use alloc::vec::Vec;

use serf_gossip::{Address, Instant, Name, Severity, Topic as About};
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, ConflictResponse, MessageKind};

use crate::ask::Whose;
use crate::event::Event;
use crate::member::{Status, Versions};
use crate::query::{Query, QueryKey};
use crate::serf::Serf;
use crate::state::NodeState;

/// The internal query that asks whom a name belongs to.
const QUERY: &str = "_serf_conflict";

/// What the others said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Votes {
    /// How many know somebody by the name.
    all: usize,
    /// How many know us.
    ours: usize,
}

impl Serf {
    /// Somebody else claims our name. Asks whom it belongs to, unless that is being asked.
    pub(crate) fn dispute(&mut self, now: Instant) {
        if self.votes.is_some() || self.state != NodeState::Alive {
            return;
        }
        let name = self.name().as_bytes().to_vec();
        let query = Query::new(QUERY).with_payload(name).until_timeout();
        let present = self.table.count(Status::Alive) + self.table.count(Status::Leaving);
        match self.ask(now, Whose::Dispute, &query, present) {
            Ok(()) => self.votes = Some(Votes::default()),
            Err(why) => self.notice(
                now,
                Severity::Error,
                About::Conflict,
                format_args!("failed to start name conflict resolution: {why}"),
            ),
        }
    }

    /// Somebody asks whom a name belongs to. Those whom it is about have no say.
    pub(crate) fn testify(&mut self, now: Instant, query: QueryKey, name: &[u8]) {
        if self.is_me(name) {
            return;
        }
        let mut message = Vec::new();
        let record = self.table.get(name).cloned();
        let tags = record.as_ref().map(|record| serf_wire::tags::decode(&record.meta).0).unwrap_or_default();
        let tags: Vec<(&[u8], &[u8])> = tags.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
        let member = record.as_ref().map(|record| {
            let versions = Versions::from(record.versions);
            serf::Member {
                name: record.name.as_bytes(),
                addr: record.addr.host.as_bytes().into(),
                port: record.addr.port,
                tags: List::of(&tags),
                status: record.status() as i64,
                protocol_min: versions.protocol_min,
                protocol_max: versions.protocol_max,
                protocol_cur: versions.protocol_cur,
                delegate_min: versions.delegate_min,
                delegate_max: versions.delegate_max,
                delegate_cur: versions.delegate_cur,
            }
        });
        serf::put(&mut message, MessageKind::ConflictResponse, |w| ConflictResponse { member }.write(w));
        if let Err(why) = self.respond(now, query, &message) {
            self.notice(
                now,
                Severity::Error,
                About::Serf,
                format_args!("failed to respond to name conflict query: {why}"),
            );
        }
    }

    /// Somebody says whom our name belongs to.
    pub(crate) fn vote(&mut self, now: Instant, from: &Name, payload: &[u8]) {
        // Whoever claims the name could say so again.
        if self.is_me(from.as_bytes()) {
            return;
        }
        let response = MessageKind::split(payload).and_then(|(kind, body)| match kind {
            MessageKind::ConflictResponse => ConflictResponse::read(&mut Reader::new(body)),
            other => Err(serf_wire::Malformed::UnknownSerfKind(other as u8)),
        });
        let member = match response {
            Ok(ConflictResponse { member: Some(member) }) => member,
            // Who knows nobody by the name has no opinion (B17).
            Ok(ConflictResponse { member: None }) => return,
            Err(why) => {
                let from = from.clone();
                return self.unreadable(now, format_args!("conflict response of '{from}'"), &why);
            }
        };
        let theirs = Address::new(&member.addr, member.port);
        let ours = &self.config.gossip.advertise;
        let is_ours = theirs.port == ours.port && theirs.same_host(ours);
        if let Some(votes) = &mut self.votes {
            votes.all += 1;
            votes.ours += usize::from(is_ours);
        }
    }

    /// All have had their time to speak.
    pub(crate) fn count_votes(&mut self) {
        let Some(Votes { all, ours }) = self.votes.take() else { return };
        if all == 0 || ours > all / 2 {
            return self
                .line(Severity::Info, format_args!("majority in name conflict resolution [{ours} / {all}]"));
        }
        self.line(
            Severity::Warn,
            format_args!("minority in name conflict resolution, quitting [{ours} / {all}]"),
        );
        self.emit(Event::NameLost { ours, all });
        self.lost_name = true;
    }
}
