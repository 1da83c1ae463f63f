//! Failure detection (spec `gossip.md` §5.1–5.4): every interval one member is pinged; a silent one is asked for
//! through others and over a stream; one that stays silent is suspected.
//!
//! ```text
//!   tick ─► direct ping ──ack──► done, healthier
//!               │ probe_timeout
//!               ▼
//!           indirect pings + stream ping ──ack──► done, healthier
//!               │ interval × (score + 1)
//!               ▼
//!           stream answered? ──yes──► done (UDP seems blocked)
//!               │ no
//!               ▼
//!           suspect; our own health worsens by the nacks that are missing
//! ```

use alloc::vec::Vec;

use serf_wire::Malformed;
use serf_wire::msgpack::Reader;
use serf_wire::swim::{self, Ack, IndirectPing, Kind, Nack, Ping, Source};

use crate::gossip::{Cx, Gossip, Timer};
use crate::hardening::{ANSWERS_MAX, CLAIM_MAX};
use crate::identity::Text;
use crate::merge::accusation;
use crate::{
    Address, Claim, CommandId, Failure, Host, Instant, Name, Notification, Outcome, Peer, Severity, Slot,
    State, StreamId, TimerKey, Topic,
};

/// Peers from this gossip protocol version on can be pinged over a stream.
const STREAM_PING_SINCE: u8 = 3;
/// Peers from this gossip protocol version on send nacks.
const NACK_SINCE: u8 = 4;

/// The probe under way.
#[derive(Debug)]
pub(crate) struct Probe {
    seq: u32,
    target: Slot,
    incarnation: u32,
    sent: Instant,
    deadline: Instant,
    /// The end of the time for a direct answer, if it comes before the end of all time.
    direct: Option<TimerKey>,
    /// Whether only the target itself has been asked.
    is_direct: bool,
    end: TimerKey,
    expected_nacks: usize,
    /// Who sent one: each counts once.
    nacks: Vec<Address>,
    pub(crate) stream: Option<StreamId>,
    stream_answered: bool,
}

/// Pings that are not part of our own probe, by their number.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// Sent for another node.
    Relay { to: Address, node: Option<Name>, seq: u32, nack: bool, timer: TimerKey },
    /// Sent because our owner asked.
    Asked { id: CommandId, sent: Instant, timer: TimerKey },
}

impl Gossip {
    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    pub(crate) fn probe_tick(&mut self, cx: &mut Cx<'_>) {
        if self.probe.is_some() {
            self.schedule.probe_overdue = true;
        } else if let Some(target) = self.next_target(cx) {
            self.begin_probe(cx, target);
        }
    }

    /// Whom to probe next (§5.1). At the end of the list the long gone are forgotten and a new order is drawn.
    fn next_target(&mut self, cx: &Cx<'_>) -> Option<Slot> {
        let mut considered = 0;
        while considered < self.members.known() {
            match self.members.next_in_order() {
                None => {
                    self.forget_the_gone(cx.now);
                    self.members.shuffle(&mut self.rng);
                    considered += 1;
                }
                Some(slot) if slot == self.me || self.members[slot].state.is_gone() => considered += 1,
                Some(slot) => return Some(slot),
            }
        }
        None
    }

    fn forget_the_gone(&mut self, now: Instant) {
        let keep = self.config.gossip_to_the_dead;
        let me = self.members[self.me].name.clone();
        let queue = &mut self.queue;
        self.members.forget(|m| {
            let forget =
                m.state.is_gone() && m.name != me && m.since.is_none_or(|since| now.since(since) > keep);
            if forget {
                // News of a node die with it: where nobody hears them they would pile up.
                queue.withdraw(&m.name, None);
            }
            forget
        });
    }

    fn begin_probe(&mut self, cx: &mut Cx<'_>, target: Slot) {
        let interval = self.awareness.scale(self.config.probe_interval);
        if interval > self.config.probe_interval {
            self.stats.degraded_probes += 1;
        }
        let seq = self.next_seq();
        let member = &self.members[target];
        let (name, addr, state, incarnation) =
            (member.name.clone(), member.addr.clone(), member.state, member.incarnation);
        let ping = self.ping_message(seq, name.as_bytes());
        if state == State::Alive || !self.config.buddy {
            self.send_direct(cx, &addr, Some(&name), &ping, true);
        } else {
            // It can refute at once.
            let me = self.my_name();
            let (node, me) = (name.as_bytes(), me.as_bytes());
            let suspect = accusation(&mut self.parts, Kind::Suspect, incarnation, node, me);
            self.parts.clear();
            self.parts.push(&[&ping]);
            self.parts.push(&[&suspect]);
            let wrap = self.common_wrap(target);
            self.send_parts(&addr, Some(&name), wrap);
        }
        let direct_ends = cx.now + self.config.probe_timeout;
        let deadline = cx.now + interval;
        self.probe = Some(Probe {
            seq,
            target,
            incarnation,
            sent: cx.now,
            deadline,
            direct: (direct_ends < deadline).then(|| self.timers.set(direct_ends, Timer::ProbeTimeout)),
            is_direct: true,
            end: self.timers.set(deadline, Timer::ProbeDeadline),
            expected_nacks: 0,
            nacks: Vec::new(),
            stream: None,
            stream_answered: false,
        });
    }

    /// No direct ack in time: ask others, and try a stream.
    pub(crate) fn probe_timed_out(&mut self, cx: &mut Cx<'_>) {
        let Some(mut probe) = self.probe.take() else { return };
        probe.direct = None;
        probe.is_direct = false;
        let target = probe.target;
        let member = &self.members[target];
        let (name, addr, versions) = (member.name.clone(), member.addr.clone(), member.protocol_max());
        let mut relays = core::mem::take(&mut self.targets);
        let me = self.me;
        self.members.random(
            self.config.indirect_checks,
            &mut self.rng,
            |slot, m| slot != me && slot != target && m.state == State::Alive,
            &mut relays,
        );
        for relay in &relays {
            let relay = &self.members[*relay];
            let nack = relay.protocol_max() >= NACK_SINCE;
            probe.expected_nacks += usize::from(nack);
            let (relay_name, relay_addr) = (relay.name.clone(), relay.addr.clone());
            let mut request = Vec::with_capacity(128);
            let message = IndirectPing {
                seq: probe.seq,
                target: addr.host.as_bytes().into(),
                port: addr.port,
                node: name.as_bytes(),
                nack,
                source: self.source(),
            };
            swim::put(&mut request, Kind::IndirectPing, |w| message.write(w));
            self.send_direct(cx, &relay_addr, Some(&relay_name), &request, true);
        }
        self.targets = relays;
        let exempt = self.config.disable_stream_pings || self.config.stream_ping_exempt.contains(&name);
        if !exempt && versions >= STREAM_PING_SINCE {
            probe.stream = self.stream_ping(&addr, &name, probe.seq, probe.deadline);
        }
        self.probe = Some(probe);
    }

    /// The answer of the stream ping.
    pub(crate) fn stream_pinged(&mut self, id: StreamId, answered: bool) {
        if let Some(probe) = &mut self.probe
            && probe.stream == Some(id)
        {
            probe.stream = None;
            probe.stream_answered |= answered;
        }
    }

    /// The whole time for the probe is over.
    pub(crate) fn probe_ended(&mut self, cx: &mut Cx<'_>) {
        let Some(probe) = self.probe.take() else { return };
        let name = self.members[probe.target].name.clone();
        if probe.stream_answered {
            self.notice(
                cx.now,
                Severity::Warn,
                Topic::Probe,
                format_args!("Was able to connect to {name} over TCP but UDP probes failed, network may be misconfigured"),
            );
            return self.finish_probe(cx, probe, -1);
        }
        self.stats.failed_probes += 1;
        let missing = match probe.expected_nacks {
            0 => 1,
            expected => expected.saturating_sub(probe.nacks.len()),
        };
        let me = self.my_name();
        let incarnation = probe.incarnation;
        self.notice(
            cx.now,
            Severity::Info,
            Topic::Probe,
            format_args!("Suspect {name} has failed, no acks received"),
        );
        // Before the next probe begins, which may be of the same member.
        self.suspect(cx, incarnation, name.as_bytes(), me.as_bytes());
        self.finish_probe(cx, probe, missing as i32);
    }

    fn finish_probe(&mut self, cx: &mut Cx<'_>, probe: Probe, health: i32) {
        self.stats.probes += 1;
        self.stats.probe_time += cx.now.since(probe.sent);
        self.timers.cancel(probe.end);
        if let Some(direct) = probe.direct {
            self.timers.cancel(direct);
        }
        if let Some(stream) = probe.stream {
            self.abort(stream);
        }
        self.awareness.apply(health);
        if core::mem::take(&mut self.schedule.probe_overdue)
            && let Some(target) = self.next_target(cx)
        {
            self.begin_probe(cx, target);
        }
    }

    /// One message of a datagram.
    pub(crate) fn message(
        &mut self,
        cx: &mut Cx<'_>,
        from: &Address,
        authentic: bool,
        kind: Kind,
        body: &[u8],
    ) -> Result<(), Malformed> {
        let r = &mut Reader::new(body);
        match kind {
            Kind::Ping => self.on_ping(cx, from, authentic, &Ping::read(r)?),
            Kind::IndirectPing => self.on_indirect_ping(cx, from, &IndirectPing::read(r)?),
            Kind::Ack => {
                let ack = Ack::read(r)?;
                self.on_ack(cx, from, &ack);
            }
            Kind::Nack => self.on_nack(from, Nack::read(r)?.seq),
            Kind::Suspect => {
                let a = swim::Accusation::read(r)?;
                if !self.is_absurd(cx, a.incarnation, a.from) {
                    self.suspect(cx, a.incarnation, a.node, a.from);
                }
            }
            Kind::Dead => {
                let a = swim::Accusation::read(r)?;
                if !self.is_absurd(cx, a.incarnation, a.from) {
                    self.dead(cx, a.incarnation, a.node, a.from, None);
                }
            }
            Kind::Alive => {
                let a = swim::Alive::read(r)?;
                if !self.config.allows(from.host.ip()) {
                    self.stats.refused_claims += 1;
                    return Ok(());
                }
                let claim = Claim {
                    name: a.node,
                    host: &a.addr,
                    port: self.port_or_ours(a.port),
                    meta: a.meta.as_deref().unwrap_or_default(),
                    versions: a.vsn.as_deref().unwrap_or_default(),
                    state: State::Alive,
                    incarnation: a.incarnation,
                };
                self.alive(cx, &claim, false, None);
            }
            Kind::User => cx.delegate.notify(cx.now, Notification::Message { from, bytes: body }),
            _ => return Err(Malformed::UnexpectedKind(kind)),
        }
        Ok(())
    }

    /// A port of 0 stands for the one that we are bound to; so does any port for protocol version 1.
    pub(crate) fn port_or_ours(&self, port: u16) -> u16 {
        if port == 0 || self.config.protocol_version < 2 { self.config.bind_port } else { port }
    }

    fn on_ping(&mut self, cx: &mut Cx<'_>, from: &Address, authentic: bool, ping: &Ping<'_>) {
        if !ping.node.is_empty() && ping.node != self.config.name.as_bytes() {
            return self.meant_for_another(cx, ping.node, from);
        }
        self.told_unasked(ping.source.node, from, ping.codecs);
        let Some((to, known)) = self.answer_to(cx.now, from, &ping.source) else { return };
        let mut payload = core::mem::take(&mut self.parts.payload);
        payload.clear();
        let with_payload = cx.delegate.ack_payload(&mut payload);
        let mut ack = self.parts.message();
        let message = Ack {
            seq: ping.seq,
            payload: with_payload.then(|| payload.as_slice().into()),
            codecs: self.codecs_for(ping.codecs),
        };
        swim::put(&mut ack, Kind::Ack, |w| message.write(w));
        let piggyback = authentic || known || self.config.hardening.piggyback_to_strangers;
        let node = self.shared_name(ping.source.node);
        self.send_direct(cx, &to, node.as_ref(), &ack, piggyback);
        self.parts.payload = payload;
        self.parts.give_back(ack);
    }

    /// A name that came, allocated only if it is not a member's. None if it is empty, or too long for anybody's.
    fn shared_name(&self, name: &[u8]) -> Option<Name> {
        match self.members.get(name) {
            Some(member) => Some(member.name.clone()),
            None => (1..=CLAIM_MAX).contains(&name.len()).then(|| name.into()),
        }
    }

    pub(crate) fn meant_for_another(&mut self, cx: &Cx<'_>, node: &[u8], from: &Address) {
        let node = Text(&node[..node.len().min(128)]);
        self.notice(
            cx.now,
            Severity::Warn,
            Topic::BadPacket,
            format_args!("Got ping for unexpected node '{node}' from={from}"),
        );
    }

    /// Where the answer to a ping goes, and whether a known member lives there. None if it is not to be answered.
    ///
    /// Anybody can name anybody as the source (H7), so answers that go neither to a member nor back to where the ping
    /// came from are rationed.
    fn answer_to(&mut self, now: Instant, from: &Address, source: &Source<'_>) -> Option<(Address, bool)> {
        if self.answers >= ANSWERS_MAX {
            self.stats.shed_answers += 1;
            return None;
        }
        self.answers += 1;
        let member = |name: &[u8], at: &Address| {
            !name.is_empty() && self.members.get(name).is_some_and(|m| m.addr.same_host(at))
        };
        if source.addr.is_empty() || source.port == 0 {
            let known = member(source.node, from);
            return Some((from.clone(), known));
        }
        let to = Address::new(&source.addr, source.port);
        if matches!(to.host, Host::Other(_)) && !matches!(from.host, Host::Other(_)) {
            self.stats.bad_messages += 1;
            return None;
        }
        let known = member(source.node, &to);
        if !known && !to.same_host(from) {
            let allowed = !self.config.hardening.strict_ping_source && self.stranger_quota.take(now);
            if !allowed {
                self.stats.shed_answers += 1;
                return None;
            }
        }
        Some((to, known))
    }

    fn on_indirect_ping(&mut self, cx: &mut Cx<'_>, from: &Address, request: &IndirectPing<'_>) {
        let target = Address::new(
            &request.target,
            if request.port == 0 { self.config.bind_port } else { request.port },
        );
        let known = self.members.get(request.node).is_some_and(|m| m.addr.same_host(&target));
        // No name, or one that no datagram holds, is nobody's; nor does anybody live at other addresses than ours.
        let strange = matches!(target.host, Host::Other(_)) && !matches!(from.host, Host::Other(_));
        if request.node.len() > CLAIM_MAX || strange {
            self.stats.bad_messages += 1;
            return;
        }
        let Some((to, asker_known)) = self.answer_to(cx.now, from, &request.source) else { return };
        // Anybody can ask us to ping anybody (H8): strangers are rationed, and all of them are bounded.
        let strict = self.config.hardening.strict_relay_target;
        let rationed = !known && !asker_known && !self.stranger_quota.take(cx.now);
        if (strict && !known) || rationed || self.relays >= self.config.hardening.max_relays {
            self.stats.shed_answers += 1;
            return;
        }
        let seq = self.next_seq();
        let timer = self.timers.set(cx.now + self.config.probe_timeout, Timer::Waiting(seq));
        let node = self.shared_name(request.source.node);
        self.waiting.insert(seq, Waiting::Relay { to, node, seq: request.seq, nack: request.nack, timer });
        self.relays += 1;
        let ping = self.ping_message(seq, request.node);
        let node = self.shared_name(request.node);
        // No broadcasts ride on it: whoever is asked for in this way is likely deaf, and they would be lost.
        self.send_direct(cx, &target, node.as_ref(), &ping, false);
    }

    fn on_ack(&mut self, cx: &mut Cx<'_>, from: &Address, ack: &Ack<'_>) {
        let seq = ack.seq;
        if self.probe.as_ref().is_some_and(|p| p.seq == seq) {
            let Some(probe) = self.probe.take() else { return };
            self.told(probe.target, from, ack.codecs);
            let rtt = cx.now.since(probe.sent);
            if probe.is_direct && rtt <= self.config.probe_timeout {
                let member = &self.members[probe.target];
                let payload = ack.payload.as_deref().unwrap_or_default();
                cx.delegate.notify(cx.now, Notification::PingCompleted { member, rtt, payload });
            }
            return self.finish_probe(cx, probe, -1);
        }
        match self.waiting.remove(&seq) {
            None => {}
            Some(Waiting::Asked { id, sent, timer }) => {
                self.timers.cancel(timer);
                self.done(id, Outcome::Pong(cx.now.since(sent)));
            }
            Some(Waiting::Relay { to, node, seq, timer, .. }) => {
                self.timers.cancel(timer);
                self.relays -= 1;
                let mut ack = Vec::with_capacity(32);
                let message = Ack { seq, ..Ack::default() };
                swim::put(&mut ack, Kind::Ack, |w| message.write(w));
                self.send_relayed(cx, &to, node.as_ref(), &ack);
            }
        }
    }

    fn send_relayed(&mut self, cx: &mut Cx<'_>, to: &Address, node: Option<&Name>, message: &[u8]) {
        let member = node.and_then(|n| self.members.get(n.as_bytes()));
        let known = member.is_some_and(|m| m.addr.same_host(to));
        let piggyback = known || self.config.hardening.piggyback_to_strangers;
        self.send_direct(cx, to, node, message, piggyback);
    }

    fn on_nack(&mut self, from: &Address, seq: u32) {
        if let Some(probe) = self.probe.as_mut().filter(|p| p.seq == seq && !p.is_direct) {
            // One for each relay asked, so that a liar cannot vouch for our health many times (H9).
            if probe.nacks.len() < probe.expected_nacks && !probe.nacks.contains(from) {
                probe.nacks.push(from.clone());
            }
        }
    }

    pub(crate) fn waiting_timed_out(&mut self, cx: &mut Cx<'_>, seq: u32) {
        match self.waiting.remove(&seq) {
            None => {}
            Some(Waiting::Asked { id, .. }) => self.done(id, Outcome::Failed(Failure::NoResponse)),
            Some(Waiting::Relay { to, node, seq, nack, .. }) => {
                self.relays -= 1;
                if nack {
                    let mut message = Vec::with_capacity(16);
                    swim::put(&mut message, Kind::Nack, |w| Nack { seq }.write(w));
                    self.send_relayed(cx, &to, node.as_ref(), &message);
                }
            }
        }
    }

    pub(crate) fn ping_on_request(&mut self, cx: &mut Cx<'_>, id: CommandId, peer: Peer) {
        if self.config.require_node_names && peer.is_nameless() {
            return self.done(id, Outcome::Failed(Failure::NameRequired));
        }
        let seq = self.next_seq();
        let timer = self.timers.set(cx.now + self.config.probe_timeout, Timer::Waiting(seq));
        self.waiting.insert(seq, Waiting::Asked { id, sent: cx.now, timer });
        let name = peer.name.as_ref().map_or(&[][..], |n| n.as_bytes());
        let ping = self.ping_message(seq, name);
        self.send_direct(cx, &peer.addr, peer.name.as_ref(), &ping, true);
    }

    pub(crate) fn source(&self) -> Source<'_> {
        let me = &self.members[self.me];
        Source { addr: me.addr.host.as_bytes().into(), port: me.addr.port, node: me.name.as_bytes() }
    }

    fn ping_message(&self, seq: u32, node: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        let ping = Ping { seq, node, source: self.source(), codecs: self.config.codecs() };
        swim::put(&mut out, Kind::Ping, |w| ping.write(w));
        out
    }
}
