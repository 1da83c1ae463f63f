//! Anti-entropy: the exchange of full states (spec `gossip.md` §7). `exchange.rs` moves the bytes; here is what is in
//! them, and what is believed of it.

use alloc::string::String;
use alloc::vec::Vec;

use serf_wire::codecs::Codecs;
use serf_wire::stream::PushPull;
use serf_wire::swim::{Kind, NodeState, PushPullHeader};
use serf_wire::{Malformed, msgpack, swim};

use crate::exchange::Purpose;
use crate::gossip::{Cx, Gossip};
use crate::{Claim, Name, Notification, Peer, State};

/// Why a peer's state was not merged. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MergeError {
    #[error("Node '{0}' protocol version ({1}) is incompatible: [{2}, {3}]")]
    Protocol(Name, u8, u8, u8),
    #[error("Node '{0}' delegate protocol version ({1}) is incompatible: [{2}, {3}]")]
    Delegate(Name, u8, u8, u8),
    #[error("merge refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A range that narrows.
#[derive(Clone, Copy)]
struct Range(u8, u8);

impl Range {
    const ALL: Self = Self(0, u8::MAX);

    fn narrow(&mut self, min: u8, max: u8) {
        self.0 = self.0.max(min);
        self.1 = self.1.min(max);
    }

    fn holds(self, v: u8) -> bool {
        self.0 <= v && v <= self.1
    }
}

impl Gossip {
    /// With a random member, every so often.
    pub(crate) fn periodic_push_pull(&mut self, cx: &mut Cx<'_>) {
        let mut targets = core::mem::take(&mut self.targets);
        let me = self.me;
        self.members.random(1, &mut self.rng, |slot, m| slot != me && m.state == State::Alive, &mut targets);
        if let Some(slot) = targets.first() {
            let member = &self.members[*slot];
            let peer = Peer { addr: member.addr.clone(), name: Some(member.name.clone()) };
            let with = member.name.clone();
            self.dial(cx, peer, Purpose::Sync { began: cx.now, with });
        }
        self.targets = targets;
        if self.members.known() > 1 {
            self.set_push_pull(cx.now);
        }
    }

    /// The plain bytes of our side: every node we hold, then the state of the layer above. `codecs` is what we tell of
    /// ourselves.
    pub(crate) fn local_state(&mut self, cx: &mut Cx<'_>, join: bool, codecs: Codecs) -> Vec<u8> {
        let mut user = Vec::new();
        cx.delegate.local_state(join, &mut user);
        let mut out = Vec::with_capacity(32 + self.members.known() * 128 + user.len());
        let header = PushPullHeader {
            nodes: self.members.known() as i64,
            user_state_len: user.len() as i64,
            join,
            codecs,
        };
        swim::put(&mut out, Kind::PushPull, |w| header.write(w));
        for m in self.members.iter() {
            let node = NodeState {
                name: m.name.as_bytes(),
                addr: m.addr.host.as_bytes().into(),
                port: m.addr.port,
                meta: Some((&*m.meta).into()),
                incarnation: m.incarnation,
                state: m.state as i64,
                vsn: Some(m.versions.as_slice().into()),
            };
            node.write(&mut msgpack::Writer::new(&mut out, msgpack::Dialect::GOSSIP));
        }
        out.extend_from_slice(&user);
        self.stats.states_sent += 1;
        self.stats.state_bytes_sent += out.len() as u64;
        out
    }

    /// Believes what a peer told, as far as the rules allow (§7.3).
    /// `join` tells whether somebody is joining: the one who asks knows that better than the one who answers.
    pub(crate) fn merge_state(
        &mut self,
        cx: &mut Cx<'_>,
        remote: &PushPull<'_>,
        join: bool,
    ) -> Result<(), MergeError> {
        self.check_versions(remote)?;
        if join && cx.delegate.filters_merges() {
            let nodes: Vec<NodeState<'_>> = remote.nodes().collect::<Result<_, _>>()?;
            let claims: Vec<Claim<'_>> = nodes.iter().filter_map(|n| self.claim(n)).collect();
            cx.delegate.accept_merge(&claims).map_err(|refusal| MergeError::Refused(refusal.0))?;
        }
        let me = self.my_name();
        for node in remote.nodes() {
            let node = node?;
            let Some(claim) = self.claim(&node) else { continue };
            match claim.state {
                State::Alive => {
                    self.alive(cx, &claim, false, None);
                }
                _ if self.is_absurd(cx, claim.incarnation, &[]) => {}
                // The dead too: that gives them the chance to refute.
                State::Suspect | State::Dead => {
                    self.suspect(cx, claim.incarnation, claim.name, me.as_bytes())
                }
                State::Left => self.dead(cx, claim.incarnation, claim.name, claim.name, None),
            }
        }
        if !remote.user_state().is_empty() {
            let what = Notification::RemoteState { bytes: remote.user_state(), join };
            cx.delegate.notify(cx.now, what);
        }
        self.stats.push_pulls += 1;
        Ok(())
    }

    fn claim<'n>(&self, node: &'n NodeState<'_>) -> Option<Claim<'n>> {
        Some(Claim {
            name: node.name,
            host: &node.addr,
            port: self.port_or_ours(node.port),
            meta: node.meta.as_deref().unwrap_or_default(),
            versions: node.vsn.as_deref().unwrap_or_default(),
            state: State::from_wire(node.state)?,
            incarnation: node.incarnation,
        })
    }

    /// Whether everybody can talk with everybody (§7.2): each one's current version must lie in the range that all
    /// living nodes share.
    fn check_versions(&self, remote: &PushPull<'_>) -> Result<(), MergeError> {
        let (mut protocol, mut delegate) = (Range::ALL, Range::ALL);
        for node in remote.nodes() {
            let node = node?;
            let vsn = node.vsn.as_deref().unwrap_or_default();
            if let (0, [pmin, pmax, _, dmin, dmax, ..]) = (node.state, vsn) {
                protocol.narrow(*pmin, *pmax);
                delegate.narrow(*dmin, *dmax);
            }
        }
        for m in self.members.iter().filter(|m| m.state == State::Alive) {
            let [pmin, pmax, _, dmin, dmax, _] = m.versions;
            protocol.narrow(pmin, pmax);
            delegate.narrow(dmin, dmax);
        }
        let check = |name: &[u8], p: u8, d: u8| {
            if !protocol.holds(p) {
                return Err(MergeError::Protocol(name.into(), p, protocol.0, protocol.1));
            }
            if !delegate.holds(d) {
                return Err(MergeError::Delegate(name.into(), d, delegate.0, delegate.1));
            }
            Ok(())
        };
        for node in remote.nodes() {
            let node = node?;
            match node.vsn.as_deref() {
                Some([_, _, p, _, _, d, ..]) => check(node.name, *p, *d)?,
                _ => check(node.name, 0, 0)?,
            }
        }
        self.members.iter().try_for_each(|m| check(m.name.as_bytes(), m.versions[2], m.versions[5]))
    }
}
