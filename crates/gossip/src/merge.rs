//! Who is believed: the rules for claims that a node is alive, suspect or dead (spec `gossip.md` §4).
//!
//! ```text
//!              suspect(i ≥ known)                timeout, or dead(i ≥ known)
//!    Alive ───────────────────────► Suspect ───────────────────────────────► Dead
//!      ▲  ▲        alive(i > known)    │                                       │
//!      │  └────────────────────────────┘          alive(i > known)             │
//!      └───────────────────────────────────────────────────────────────────────┘
//!    Alive/Suspect ── dead(i ≥ known, told by itself) ──► Left ── alive(i > known) ──► Alive
//! ```
//!
//! Only a node itself raises its incarnation; about ourselves we believe nobody, and refute. Incarnations are compared
//! before anything is allocated, so that claims without news cost nothing.

use alloc::borrow::Cow;
use alloc::sync::Arc;

use serf_wire::codecs::Codecs;
use serf_wire::swim::{self, Accusation, Kind};

use crate::dissemination::Parts;
use crate::gossip::{Cx, Gossip, Timer};
use crate::hardening::{CLAIM_MAX, INCARNATION_CEILING};
use crate::identity::Text;
use crate::suspicion::{Suspicion, confirmations_wanted, shortest};
use crate::{
    Address, Claim, CommandId, Identity, META_MAX, Member, Notification, Severity, Slot, State, Teller, Topic,
};

/// Longest name believed where members are checked strictly, in bytes.
const NAME_MAX: usize = 128;

impl Gossip {
    /// A claim that a node is alive (§4.3). `bootstrap` marks our own claims; `waiter` is told when the broadcast is
    /// through. Returns why the claim was refused, if it was; a claim that is merely old is not.
    pub(crate) fn alive(
        &mut self,
        cx: &mut Cx<'_>,
        claim: &Claim<'_>,
        bootstrap: bool,
        waiter: Option<CommandId>,
    ) -> Option<Cow<'static, str>> {
        let found = self.members.find(claim.name);
        let is_me = found == Some(self.me);
        // Whom its own policy refused at the start does not insist.
        if is_me && (self.left || (!bootstrap && self.members[self.me].state.is_gone())) {
            return None;
        }
        if let Some(why) = self.unbelievable(claim, is_me && !bootstrap) {
            return self.refuse(cx, claim, why.into());
        }
        // The reference lets a policy alone insist on all six. But every release tells them, the check before a merge
        // needs them of everybody, and old peers cannot cope with fewer. More than six are not passed on.
        let Some(versions) = claim.versions.first_chunk::<6>() else {
            return self.refuse(cx, claim, "it does not tell its protocol versions".into());
        };
        if let Err(refusal) = cx.delegate.accept_alive(claim) {
            return self.refuse(cx, claim, refusal.0.into());
        }
        let ip = || crate::Host::from_bytes(claim.host).ip();
        let mut takeover = false;
        let slot = match found {
            None => {
                if claim.incarnation == 0 {
                    // Nothing is newer than nothing: the reference keeps an empty record, which helps nobody.
                    return None;
                }
                if !self.config.allows(ip()) {
                    return self.refuse(cx, claim, "its address is not in an allowed network".into());
                }
                if self.members.known() >= self.config.hardening.max_members {
                    return self.refuse(cx, claim, "too many members are known".into());
                }
                let identity = Identity {
                    name: claim.name.into(),
                    addr: Address::new(claim.host, claim.port),
                    meta: claim.meta.into(),
                    versions: *versions,
                };
                let identity = Arc::new(identity);
                let member = Member {
                    identity,
                    incarnation: 0,
                    state: State::Dead,
                    codecs: Codecs::NONE,
                    since: None,
                };
                self.members.insert(member, &mut self.rng)
            }
            Some(slot) => {
                let member = &self.members[slot];
                let moved = has_moved(member, claim);
                if (moved || (is_me && bootstrap)) && !self.config.allows(ip()) {
                    return self.refuse(cx, claim, "its address is not in an allowed network".into());
                }
                if moved {
                    // A name may move house once its old owner is gone. The reference lets any claim do so for one
                    // that left; we want a newer one (H11), which an honest newcomer makes when it hears of its past.
                    let reclaim = self.config.dead_node_reclaim;
                    takeover = match member.state {
                        State::Left => claim.incarnation > member.incarnation,
                        State::Dead => {
                            !reclaim.is_zero()
                                && member.since.is_none_or(|since| cx.now.since(since) > reclaim)
                        }
                        _ => false,
                    };
                    if !takeover {
                        if member.state == State::Left && claim.incarnation <= member.incarnation {
                            return None;
                        }
                        self.conflict(cx, slot, claim);
                        return None;
                    }
                }
                slot
            }
        };
        let member = &self.members[slot];
        if !is_me && !takeover && self.is_old(claim.incarnation, member.incarnation) {
            return None;
        }
        if is_me && claim.incarnation < member.incarnation {
            return None;
        }
        let known_versions = member.versions;
        if is_me && !bootstrap {
            let same = claim.incarnation == member.incarnation
                && *member.meta == *claim.meta
                && *versions == known_versions;
            if !same {
                self.refute(claim.incarnation);
                self.stats.alive += 1;
            }
            return None;
        }
        self.end_suspicion(slot);

        let member = &mut self.members[slot];
        let was_gone = member.state.is_gone();
        member.incarnation = claim.incarnation;
        // It may be another program by now, which has to tell anew what it has.
        member.codecs = Codecs::NONE;
        let news = *member.meta != *claim.meta;
        if news || has_moved(member, claim) || member.versions != *versions {
            member.identity = Arc::new(Identity {
                name: member.name.clone(),
                addr: Address::new(claim.host, claim.port),
                meta: if news { claim.meta.into() } else { member.meta.clone() },
                versions: *versions,
            });
        }
        let name = member.name.clone();
        self.members.set_state(slot, State::Alive, cx.now);
        let message = alive_message(&mut self.parts, &Claim { versions, ..*claim });
        self.broadcast(message, name, cx.teller, waiter);
        self.stats.alive += 1;
        let member = &self.members[slot];
        if was_gone {
            cx.delegate.notify(cx.now, Notification::Joined(member));
        } else if news {
            cx.delegate.notify(cx.now, Notification::Updated(member));
        }
        None
    }

    /// Why a claim cannot be believed, whoever it is about.
    /// `about_us` if others make it about ourselves.
    fn unbelievable(&self, claim: &Claim<'_>, about_us: bool) -> Option<&'static str> {
        if let [min, max, _, ..] = claim.versions
            && (*min == 0 || *max == 0 || min > max)
        {
            return Some("its protocol versions are impossible");
        }
        let highest = if about_us { INCARNATION_CEILING - 1 } else { INCARNATION_CEILING };
        if claim.incarnation > highest {
            return Some("its incarnation is absurd");
        }
        if claim.name.len().max(claim.meta.len()).max(claim.host.len()) > CLAIM_MAX {
            return Some("it is larger than any datagram could hold");
        }
        if self.config.hardening.strict_members {
            if claim.name.is_empty() || claim.name.len() > NAME_MAX {
                return Some("its name is empty or longer than 128 bytes");
            }
            if claim.meta.len() > META_MAX {
                return Some("its meta data is longer than 512 bytes");
            }
            if !matches!(claim.host.len(), 4 | 16) {
                return Some("its address is neither 4 nor 16 bytes long");
            }
        }
        None
    }

    fn refuse(
        &mut self,
        cx: &Cx<'_>,
        claim: &Claim<'_>,
        why: Cow<'static, str>,
    ) -> Option<Cow<'static, str>> {
        self.stats.refused_claims += 1;
        let name = Text(&claim.name[..claim.name.len().min(NAME_MAX)]);
        self.notice(
            cx.now,
            Severity::Warn,
            Topic::RefusedClaim,
            format_args!("ignoring the claim that '{name}' is alive: {why}"),
        );
        Some(why)
    }

    fn conflict(&mut self, cx: &mut Cx<'_>, slot: Slot, claim: &Claim<'_>) {
        self.stats.conflicts += 1;
        let other = Address::new(claim.host, claim.port);
        let existing = &self.members[slot];
        let (name, mine, state) = (existing.name.clone(), existing.addr.clone(), existing.state);
        cx.delegate.notify(cx.now, Notification::Conflict { existing, other: &other, meta: claim.meta });
        self.notice(
            cx.now,
            Severity::Error,
            Topic::Conflict,
            format_args!(
                "Conflicting address for {name}. Mine: {mine} Theirs: {other} Old state: {}",
                state as u8
            ),
        );
    }

    /// An accusation that a node does not answer (§4.4).
    pub(crate) fn suspect(&mut self, cx: &mut Cx<'_>, incarnation: u32, name: &[u8], from: &[u8]) {
        let Some(slot) = self.members.find(name) else { return };
        if incarnation < self.members[slot].incarnation {
            return;
        }
        if let Some(suspicion) = self.members.suspicions.get_mut(&slot) {
            if suspicion.confirm(from) {
                if let Some(old) = suspicion.timer.take() {
                    self.timers.cancel(old);
                }
                let due = suspicion.deadline().max(cx.now);
                suspicion.timer = Some(self.timers.set(due, Timer::Suspicion(slot)));
                let name = self.members[slot].name.clone();
                let message = accusation(&mut self.parts, Kind::Suspect, incarnation, name.as_bytes(), from);
                let teller = self.accuser(cx, slot);
                self.broadcast(message, name, teller, None);
            }
            return;
        }
        if self.members[slot].state != State::Alive {
            return;
        }
        if slot == self.me {
            return self.refute_rumour(cx, incarnation, "suspect", from);
        }
        let n = self.members.known();
        let mult = self.config.suspicion_mult;
        let min = shortest(mult, n, self.config.probe_interval);
        let max = min.saturating_mul(self.config.suspicion_max_timeout_mult);
        let mut suspicion = Suspicion::new(cx.now, from.into(), confirmations_wanted(mult, n), min, max);
        suspicion.timer = Some(self.timers.set(suspicion.deadline(), Timer::Suspicion(slot)));
        self.members.suspicions.insert(slot, suspicion);
        let member = &mut self.members[slot];
        member.incarnation = incarnation;
        let name = member.name.clone();
        self.members.set_state(slot, State::Suspect, cx.now);
        let message = accusation(&mut self.parts, Kind::Suspect, incarnation, name.as_bytes(), from);
        let teller = self.accuser(cx, slot);
        self.broadcast(message, name, teller, None);
        self.stats.suspect += 1;
    }

    /// The time to refute is over.
    pub(crate) fn suspicion_ended(&mut self, cx: &mut Cx<'_>, slot: Slot) {
        let member = &self.members[slot];
        let Some(suspicion) = self.members.suspicions.get(&slot) else { return };
        if suspicion.is_lonely() {
            self.stats.degraded_timeouts += 1;
        }
        let (confirmations, incarnation, name) =
            (suspicion.confirmations(), member.incarnation, member.name.clone());
        self.notice(
            cx.now,
            Severity::Info,
            Topic::Membership,
            format_args!(
                "Marking {name} as failed, suspect timeout reached ({confirmations} peer confirmations)"
            ),
        );
        let me = self.my_name();
        self.dead(cx, incarnation, name.as_bytes(), me.as_bytes(), None);
    }

    /// Who told us an accusation; nobody, if that seems to be the accused. It has to hear of it, to refute it, and the
    /// sender of a datagram is easily forged.
    fn accuser(&self, cx: &Cx<'_>, slot: Slot) -> Teller {
        if cx.teller == Teller::at(&self.members[slot].addr) { Teller::NOBODY } else { cx.teller }
    }

    /// A claim that a node is gone (§4.5): failed, or, told by itself, left.
    pub(crate) fn dead(
        &mut self,
        cx: &mut Cx<'_>,
        incarnation: u32,
        name: &[u8],
        from: &[u8],
        waiter: Option<CommandId>,
    ) {
        let Some(slot) = self.members.find(name) else { return };
        let member = &self.members[slot];
        if incarnation < member.incarnation || member.state.is_gone() {
            return;
        }
        if slot == self.me && !self.left {
            return self.refute_rumour(cx, incarnation, "dead", from);
        }
        self.end_suspicion(slot);
        let member = &mut self.members[slot];
        member.incarnation = incarnation;
        let name = member.name.clone();
        let state = if name.as_bytes() == from { State::Left } else { State::Dead };
        self.members.set_state(slot, state, cx.now);
        let message = accusation(&mut self.parts, Kind::Dead, incarnation, name.as_bytes(), from);
        let teller = self.accuser(cx, slot);
        self.broadcast(message, name, teller, waiter);
        self.stats.dead += 1;
        cx.delegate.notify(cx.now, Notification::Left(&self.members[slot]));
    }

    /// Whether an accusation that came from outside cannot be believed, whoever it is about. What we find out ourselves
    /// is not asked about: a node that was driven to the highest incarnation must still be found dead.
    pub(crate) fn is_absurd(&mut self, cx: &Cx<'_>, incarnation: u32, from: &[u8]) -> bool {
        let absurd = incarnation >= INCARNATION_CEILING || from.len() > CLAIM_MAX;
        if absurd {
            self.stats.refused_claims += 1;
            let from = Text(&from[..from.len().min(NAME_MAX)]);
            self.notice(
                cx.now,
                Severity::Warn,
                Topic::RefusedClaim,
                format_args!("ignoring an accusation by '{from}': its incarnation {incarnation} is absurd"),
            );
        }
        absurd
    }

    fn refute_rumour(&mut self, cx: &mut Cx<'_>, incarnation: u32, what: &str, from: &[u8]) {
        self.refute(incarnation);
        let from = Text(&from[..from.len().min(NAME_MAX)]);
        self.notice(
            cx.now,
            Severity::Warn,
            Topic::Refute,
            format_args!("Refuting a {what} message (from: {from})"),
        );
    }

    /// Answers a wrong claim about ourselves with a higher incarnation (§4.6).
    fn refute(&mut self, accused: u32) {
        self.incarnation = INCARNATION_CEILING.min(self.incarnation.max(accused) + 1);
        self.stats.refuted += 1;
        self.awareness.apply(1);
        let incarnation = self.incarnation;
        let me = &mut self.members[self.me];
        me.incarnation = incarnation;
        let name = me.name.clone();
        let claim = Claim {
            name: me.name.as_bytes(),
            host: me.addr.host.as_bytes(),
            port: me.addr.port,
            meta: &me.meta,
            versions: &me.versions,
            state: State::Alive,
            incarnation,
        };
        let message = alive_message(&mut self.parts, &claim);
        #[cfg(feature = "planted")]
        if self.config.planted == Some(crate::Planted::RefutationsDropped) {
            return;
        }
        self.broadcast(message, name, Teller::NOBODY, None);
    }

    /// Whether a claim of this incarnation is no news to one who knows that one.
    fn is_old(&self, claimed: u32, known: u32) -> bool {
        #[cfg(feature = "planted")]
        if self.config.planted == Some(crate::Planted::IncarnationsTurnedRound) && known > 0 {
            return claimed >= known;
        }
        claimed <= known
    }

    fn end_suspicion(&mut self, slot: Slot) {
        if let Some(timer) = self.members.suspicions.remove(&slot).and_then(|s| s.timer) {
            self.timers.cancel(timer);
        }
    }
}

/// Whether the node of this name is claimed to be elsewhere than we know.
fn has_moved(member: &Member, claim: &Claim<'_>) -> bool {
    member.addr.host.as_bytes() != claim.host || member.addr.port != claim.port
}

fn alive_message(parts: &mut Parts, claim: &Claim<'_>) -> Arc<[u8]> {
    let alive = swim::Alive {
        incarnation: claim.incarnation,
        node: claim.name,
        addr: claim.host.into(),
        port: claim.port,
        meta: Some(claim.meta.into()),
        vsn: Some(claim.versions.into()),
    };
    parts.shared(|out| swim::put(out, Kind::Alive, |w| alive.write(w)))
}

pub(crate) fn accusation(
    parts: &mut Parts,
    kind: Kind,
    incarnation: u32,
    node: &[u8],
    from: &[u8],
) -> Arc<[u8]> {
    let accusation = Accusation { incarnation, node, from };
    parts.shared(|out| swim::put(out, kind, |w| accusation.write(w)))
}
