//! Answers that take a detour: in case they are lost on the direct way, others pass them on (spec `serf.md` §6.7).

use alloc::vec::Vec;

use serf_gossip::{Address, Instant, Name, Severity, Topic as About};
use serf_wire::Malformed;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, MessageKind, QueryResponse, RelayHeader};

use crate::member::Status;
use crate::respond::Asker;
use crate::serf::Serf;

/// Members from this version of the gossip protocol on know how to relay.
const RELAYS_SINCE: u8 = 5;
/// Among so many members nobody who fits is missed by bad luck.
const SMALL: usize = 64;

impl Serf {
    /// Has others pass an answer on, as many as the query asks for. What does not fit with the wrapping goes on the
    /// direct way only, which is no failure: it has been answered (B15).
    pub(crate) fn relay_to_others(&mut self, now: Instant, asker: &Asker, answer: &[u8]) {
        let wanted = usize::from(asker.relay_factor);
        if wanted == 0 || self.table.len() <= wanted {
            return;
        }
        let header = RelayHeader {
            ip: asker.addr.host.as_bytes().into(),
            port: asker.addr.port.into(),
            zone: b"",
            dest_name: asker.name.as_bytes(),
        };
        let mut message = Vec::new();
        serf::put(&mut message, MessageKind::Relay, |w| header.write(w));
        message.extend_from_slice(answer);
        if message.len() > self.config.query_response_size_limit {
            let len = message.len();
            self.stats.shed_relays += 1;
            return self.notice(
                now,
                Severity::Warn,
                About::Limit,
                format_args!(
                    "answer of {len} bytes with its wrapping is too long to be relayed, and was sent directly"
                ),
            );
        }
        for (addr, name) in self.choose_relays(asker, wanted) {
            if !self.relays.take(now) {
                self.stats.shed_relays += 1;
                return;
            }
            self.stats.relays_asked += 1;
            self.post(addr, &name, message.clone());
        }
    }

    /// Random members to relay: neither we nor the one who asked (B3), who would send it to himself.
    fn choose_relays(&mut self, asker: &Asker, wanted: usize) -> Vec<(Address, Name)> {
        let Self { table, rng, config, .. } = self;
        let fits = |at: &usize| {
            let member = &table[*at];
            member.status() == Status::Alive
                && member.versions[1] >= RELAYS_SINCE
                && member.name != config.gossip.name
                && member.name != asker.name
        };
        let mut chosen: Vec<usize> = Vec::new();
        let n = table.len();
        if n < SMALL.max(3 * wanted) {
            chosen = (0..n).filter(fits).collect();
            rng.shuffle(&mut chosen);
            chosen.truncate(wanted);
        } else {
            for _ in 0..3 * n {
                if chosen.len() == wanted {
                    break;
                }
                let at = rng.below(n);
                if !chosen.contains(&at) && fits(&at) {
                    chosen.push(at);
                }
            }
        }
        chosen.into_iter().map(|at| (table[at].addr.clone(), table[at].name.clone())).collect()
    }

    /// Passes somebody's answer on. Only answers, lest anybody have us send anything to anyone (B3).
    pub(crate) fn relay(&mut self, now: Instant, body: &[u8]) -> Result<(), Malformed> {
        let r = &mut Reader::new(body);
        let header = RelayHeader::read(r)?;
        let message = r.rest();
        let answer = match MessageKind::split(message)? {
            (MessageKind::QueryResponse, body) => QueryResponse::read(&mut Reader::new(body))?,
            (other, _) => return Err(Malformed::UnknownSerfKind(other as u8)),
        };
        let addr = Address::new(&header.ip, u16::try_from(header.port).unwrap_or(0));
        if self.is_our_address(&addr, header.dest_name) {
            self.answer_came(now, &answer);
        } else if self.may_send(
            now,
            &addr,
            header.dest_name,
            self.config.gossip.hardening.strict_relay_target,
        ) {
            self.stats.relayed += 1;
            self.post(addr, &header.dest_name.into(), message.to_vec());
        }
        Ok(())
    }
}
