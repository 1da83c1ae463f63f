//! What members have of compression and checksums beyond the reference's: who tells it, who is believed, and what is
//! then used towards whom (`docs/codecs.md`).
//!
//! A node that is configured to use any says so in every ping and in the request of every push/pull, and whoever is told
//! says it back in the ack or the reply. Peers that know nothing of it skip the key. Only what comes back from the
//! member's own address, to a question of ours, makes us use anything; a ping can only take that away. And what finds out
//! who is alive, pings, acks and all that travels with them, is always in the form that everybody reads: a wrong belief
//! costs gossip for a while, never a suspicion.

use serf_wire::checksum::Checksum;
use serf_wire::codecs::Codecs;
use serf_wire::compress::Algorithm;

use crate::gossip::Gossip;
use crate::{Address, Slot, State};

/// Peers from this gossip protocol version on check checksums.
const CHECKSUM_SINCE: u8 = 5;

/// How datagrams to somebody are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrap {
    /// If it is worth while.
    pub(crate) algorithm: Algorithm,
    pub(crate) checksum: Option<Checksum>,
}

impl Wrap {
    /// What everybody reads. Without the member's record at hand the reference sends no checksum, and every receiver does
    /// without.
    pub(crate) const COMMON: Self = Self { algorithm: Algorithm::Lzw, checksum: None };

    /// What its checksum takes of a datagram, in bytes.
    pub(crate) fn overhead(self) -> usize {
        self.checksum.map_or(0, Checksum::overhead)
    }
}

impl Gossip {
    /// For what finds out whether a member is alive: the same whatever it says that it has.
    pub(crate) fn common_wrap(&self, slot: Slot) -> Wrap {
        let checks = self.members[slot].protocol_max() >= CHECKSUM_SINCE;
        Wrap { checksum: checks.then_some(Checksum::Crc32), ..Wrap::COMMON }
    }

    /// For gossip. Who is taken for silent or gone gets what everybody reads, so that
    /// it surely hears of that and can refute.
    pub(crate) fn wrap(&self, slot: Slot) -> Wrap {
        let common = self.common_wrap(slot);
        let member = &self.members[slot];
        let codecs = if member.state == State::Alive { member.codecs } else { Codecs::NONE };
        let checksum = common
            .checksum
            .map(|crc| self.config.checksums.iter().copied().find(|&c| codecs.check(c)).unwrap_or(crc));
        Wrap { algorithm: self.algorithm(codecs), checksum }
    }

    /// What we tell a peer that told us this: nothing, if it told nothing.
    pub(crate) fn codecs_for(&self, told: Codecs) -> Codecs {
        if told.is_empty() { Codecs::NONE } else { self.config.codecs() }
    }

    /// The best compression for a peer that has these.
    pub(crate) fn algorithm(&self, codecs: Codecs) -> Algorithm {
        self.config.algorithms.iter().copied().find(|&a| codecs.compress(a)).unwrap_or(Algorithm::Lzw)
    }

    /// The most that a checksum takes of any datagram, in bytes.
    #[must_use]
    pub fn checksum_overhead(&self) -> usize {
        let ours = self.config.checksums.iter().map(|c| c.overhead()).max();
        ours.unwrap_or_default().max(Checksum::Crc32.overhead())
    }

    /// What a member answered to a question of ours. If it came from elsewhere we know nothing.
    pub(crate) fn told(&mut self, slot: Slot, from: &Address, codecs: Codecs) {
        if self.lives_at(slot, from) {
            self.members[slot].codecs = codecs;
        }
    }

    /// What somebody says of himself without being asked. It can only make us believe less: who forges it gains that we
    /// send him what everybody reads.
    pub(crate) fn told_unasked(&mut self, name: &[u8], from: &Address, codecs: Codecs) {
        if let Some(slot) = self.members.find(name)
            && self.lives_at(slot, from)
        {
            let member = &mut self.members[slot];
            member.codecs = member.codecs.and(codecs);
        }
    }

    fn lives_at(&self, slot: Slot, from: &Address) -> bool {
        let addr = &self.members[slot].addr;
        addr.port == from.port && addr.same_host(from)
    }
}
