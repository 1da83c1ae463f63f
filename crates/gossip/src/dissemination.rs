//! What is told to whom (spec `gossip.md` §6): gossip rounds, broadcasts that ride on direct messages, and the making
//! of datagrams.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serf_wire::checksum::Checksum;
use serf_wire::compress::Algorithm;
use serf_wire::encrypt::{self, Version};
use serf_wire::packet::{MAX_PARTS, Outbound, pack_compound, seal_packet};
use serf_wire::swim::Kind;

use crate::codecs::Wrap;
use crate::gossip::{Cx, Gossip};
use crate::{
    Address, CommandId, Instant, Listener, Member, Name, Output, Peer, Slot, State, Teller, Transmit,
    retransmit_limit,
};

/// Bytes a part costs in a compound besides its own.
const PART_OVERHEAD: usize = 2;
/// Bytes of a compound besides its parts.
const COMPOUND_OVERHEAD: usize = 2;
/// Datagrams shorter than this are not worth the attempt to compress them: a lone ping or ack never gets shorter, and
/// trying was most of what an idle node did.
const COMPRESS_MIN: usize = 256;
/// Largest datagram there is, in bytes (UDP over IPv4).
const DATAGRAM_MAX: usize = 65_507;

/// The messages of one datagram while it is put together. Kept for its memory.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    packed: Vec<u8>,
    /// For the payload of an ack.
    pub(crate) payload: Vec<u8>,
    spare: Vec<u8>,
}

impl Parts {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a message, given in pieces.
    pub(crate) fn push(&mut self, pieces: &[&[u8]]) {
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece));
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    /// A message of its exact length, for the queue.
    pub(crate) fn shared(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Arc<[u8]> {
        let mut out = self.message();
        write(&mut out);
        let message = out.as_slice().into();
        self.give_back(out);
        message
    }

    /// An empty buffer for a message.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.spare)
    }

    /// Takes it back.
    pub(crate) fn give_back(&mut self, mut message: Vec<u8>) {
        message.clear();
        self.spare = message;
    }
}

impl Gossip {
    /// Sends a message to an address, with as many broadcasts as fit if `piggyback` is set.
    pub(crate) fn send_direct(
        &mut self,
        cx: &mut Cx<'_>,
        to: &Address,
        node: Option<&Name>,
        message: &[u8],
        piggyback: bool,
    ) {
        self.parts.clear();
        self.parts.push(&[message]);
        if piggyback {
            let sealed = !self.keyring.is_empty() && self.config.verify_outgoing;
            // The reference forgets the message's own length in the compound, and the checksum below (H24).
            let taken = message.len() + PART_OVERHEAD + COMPOUND_OVERHEAD + self.envelope(sealed);
            let member = node.and_then(|name| self.members.find(name.as_bytes()));
            let member = member.filter(|slot| self.members[*slot].addr == *to);
            let to = Listener { aside: true, counts: true, ..self.listener(to, member) };
            self.add_broadcasts(cx, to, self.config.packet_size.saturating_sub(taken));
        }
        self.send_parts(to, node, Wrap::COMMON);
    }

    /// Queues news of a node, in the place of older ones. What no gossip datagram holds is not queued, where it would
    /// stay for ever and keep the rounds going: it travels with full states alone.
    pub(crate) fn broadcast(
        &mut self,
        message: Arc<[u8]>,
        subject: Name,
        teller: Teller,
        waiter: Option<CommandId>,
    ) {
        if message.len() > self.broadcast_max() {
            self.stats.oversized += 1;
            self.queue.withdraw(&subject, waiter);
        } else {
            self.queue.push(message, Some(subject), teller, waiter);
        }
    }

    /// The longest message that fits in every gossip datagram.
    fn broadcast_max(&self) -> usize {
        let taken = COMPOUND_OVERHEAD + self.envelope(!self.keyring.is_empty()) + self.checksum_overhead();
        self.config.packet_size.saturating_sub(taken + PART_OVERHEAD)
    }

    /// The first key makes datagrams shorter inside. What was queued before and fits no more would wait for ever.
    pub(crate) fn shed_oversized(&mut self) {
        self.stats.oversized += self.queue.shed_longer(self.broadcast_max()) as u64;
    }

    /// One gossip round: what is queued goes to a few random members (§6.4).
    pub(crate) fn gossip_round(&mut self, cx: &mut Cx<'_>) {
        let mut targets = core::mem::take(&mut self.targets);
        let (me, now) = (self.me, cx.now);
        let keep = self.config.gossip_to_the_dead;
        let fit = |slot: Slot, m: &Member| slot != me && hears_gossip(now, m, keep);
        self.members.random(self.config.gossip_nodes, &mut self.rng, fit, &mut targets);
        for target in &targets {
            if self.queue.is_empty() && !cx.delegate.has_broadcasts() {
                break;
            }
            let wrap = self.wrap(*target);
            let taken = COMPOUND_OVERHEAD + self.envelope(!self.keyring.is_empty()) + wrap.overhead();
            let member = &self.members[*target];
            let (addr, name) = (member.addr.clone(), member.name.clone());
            let to = self.listener(&addr, Some(*target));
            self.parts.clear();
            self.add_broadcasts(cx, to, self.config.packet_size.saturating_sub(taken));
            if self.parts.len() == 0 {
                // It may have told us all that we know, and the next one has not heard it.
                continue;
            }
            self.send_parts(&addr, Some(&name), wrap);
        }
        self.targets = targets;
    }

    /// Whether a member, other than ourselves, is gossiped to: all that may hear us, the lately dead included, so that
    /// they can refute.
    pub(crate) fn hears_gossip(&self, now: Instant, m: &Member) -> bool {
        m.name != self.members[self.me].name && hears_gossip(now, m, self.config.gossip_to_the_dead)
    }

    /// Whom a datagram is for that goes to this address, where this member lives.
    fn listener(&self, addr: &Address, member: Option<Slot>) -> Listener {
        let lives = |slot: Slot| !self.members[slot].state.is_gone();
        let there = [Some(self.me), member.filter(|slot| *slot != self.me)];
        let there = there.into_iter().flatten().filter(|slot| lives(*slot)).count();
        let others = self.members.present() - there;
        let counts = others == 0 || member.is_none_or(lives);
        Listener { who: Teller::at(addr), others, counts, aside: false }
    }

    /// Bytes that label and encryption add.
    fn envelope(&self, sealed: bool) -> usize {
        let label = if self.config.label.is_empty() { 0 } else { 2 + self.config.label.len() };
        label + if sealed { encrypt::overhead(self.encryption_version()) } else { 0 }
    }

    pub(crate) fn encryption_version(&self) -> Version {
        if self.config.protocol_version == 1 { Version::V0 } else { Version::V1 }
    }

    /// Our own broadcasts and those of the layer above (§6.7).
    fn add_broadcasts(&mut self, cx: &mut Cx<'_>, to: Listener, limit: usize) {
        let times = retransmit_limit(self.config.retransmit_mult, self.members.known());
        #[cfg(feature = "planted")]
        let times = match self.config.planted {
            Some(crate::Planted::RetransmittedForEver) => u32::MAX,
            _ => times,
        };
        let Self { parts, queue, .. } = self;
        let overhead = PART_OVERHEAD + 1;
        let waiting = [queue.backlog(PART_OVERHEAD), cx.delegate.backlog(overhead)];
        self.shares.divide(limit, waiting, |who, room| {
            if who == 0 {
                return queue.take(to, PART_OVERHEAD, room, times, |m| parts.push(&[m]));
            }
            let mut used = 0;
            if room > overhead {
                cx.delegate.broadcasts(cx.now, to, overhead, room, &mut |m| {
                    used += overhead + m.len();
                    parts.push(&[&[Kind::User as u8], m]);
                });
            }
            used
        });
    }

    /// Makes datagrams of the parts: one, unless there are more parts than old peers can count.
    pub(crate) fn send_parts(&mut self, to: &Address, node: Option<&Name>, wrap: Wrap) {
        let parts = core::mem::take(&mut self.parts);
        let mut packed = parts.packed;
        let all = Parts { packed: Vec::new(), ..parts };
        let mut first = 0;
        while first < all.len() {
            let end = all.len().min(first + MAX_PARTS);
            if end - first == 1 {
                self.transmit(to, node, all.get(first), wrap);
            } else {
                let slices: Vec<&[u8]> = (first..end).map(|i| all.get(i)).collect();
                packed.clear();
                pack_compound(&slices, &mut packed);
                self.transmit(to, node, &packed, wrap);
            }
            first = end;
        }
        self.parts = Parts { packed, ..all };
    }

    fn transmit(&mut self, to: &Address, node: Option<&Name>, payload: &[u8], wrap: Wrap) {
        if self.config.require_node_names && node.is_none_or(|n| n.as_bytes().is_empty()) {
            self.stats.bad_messages += 1;
            return;
        }
        let mut bytes = self.buffers.pop().unwrap_or_default();
        let nonce = self.nonce.next(&mut self.rng);
        let rules = Outbound {
            label: &self.config.label,
            key: if self.config.verify_outgoing { self.keyring.primary() } else { None },
            version: self.encryption_version(),
            compress: (self.config.compression && payload.len() >= COMPRESS_MIN).then_some(wrap.algorithm),
            checksum: wrap.checksum,
        };
        seal_packet(payload, &rules, &nonce, &mut self.compressor, &mut bytes);
        if bytes.len() > DATAGRAM_MAX {
            self.stats.oversized += 1;
            return;
        }
        self.stats.packets_sent += 1;
        self.stats.udp_sent += bytes.len() as u64;
        let special = rules.compress.is_some_and(|c| c != Algorithm::Lzw)
            || rules.checksum.is_some_and(|c| c != Checksum::Crc32);
        self.stats.special_sent += u64::from(special);
        self.outputs.push_back(Output::Datagram(Transmit { to: to.clone(), node: node.cloned(), bytes }));
    }

    /// Sends a user message in one datagram.
    pub(crate) fn send_user(&mut self, to: &Peer, message: &[u8]) {
        let record = to.name.as_ref().and_then(|n| self.members.find(n.as_bytes()));
        let record = record.filter(|slot| self.members[*slot].addr == to.addr);
        // An answer that cannot be read is missed by nobody but who waits for it.
        let wrap = record.map_or(Wrap::COMMON, |slot| self.common_wrap(slot));
        self.parts.clear();
        self.parts.push(&[&[Kind::User as u8], message]);
        self.send_parts(&to.addr, to.name.as_ref(), wrap);
    }
}

fn hears_gossip(now: Instant, m: &Member, keep: Duration) -> bool {
    match m.state {
        State::Alive | State::Suspect => true,
        State::Dead => m.since.is_some_and(|since| now.since(since) <= keep),
        State::Left => false,
    }
}
