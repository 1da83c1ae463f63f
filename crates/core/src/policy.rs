//! Decisions that a program may take in the node's place. They must give the same answer for the same question,
//! or a run cannot be repeated.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serf_gossip::{Address, Claim, META_MAX, Refusal, State};

use crate::member::{Member, Status};
use crate::names;
use crate::serf::Serf;
use crate::table::Record;

/// The most bytes that a [`PingPolicy`] may add to an ack. With a coordinate and the rest of an ack they leave more than
/// half of a datagram to gossip.
pub const PING_PAYLOAD_MAX: usize = 512;

/// Decides who may be a member. Can be a closure: `|members: &[Member]| ...`.
pub trait MergePolicy: Send + Sync {
    /// Whether these may be members. Asked with one member for every claim that somebody is alive, our own first
    /// one included, and with a peer's whole list when one of us joins the other. An error leaves everything as it is;
    /// its text goes to whoever wanted to join.
    ///
    /// # Errors
    /// Why not.
    fn accept(&self, members: &[Member]) -> Result<(), Refusal>;
}

impl<F: Fn(&[Member]) -> Result<(), Refusal> + Send + Sync> MergePolicy for F {
    fn accept(&self, members: &[Member]) -> Result<(), Refusal> {
        self(members)
    }
}

/// Decides which names and addresses a node of the cluster can have. Can be a closure: `|claim: &Claim<'_>| ...`.
pub trait IdentityPolicy: Send + Sync {
    /// Whether there can be a node of this name at this address. Asked before the other policies and wherever
    /// [`MergePolicy`] is, with what is on the wire; one that cannot be refuses all that is claimed along with it.
    ///
    /// # Errors
    /// Why not. The text should name the node.
    fn accept(&self, claim: &Claim<'_>) -> Result<(), Refusal>;
}

impl<F: Fn(&Claim<'_>) -> Result<(), Refusal> + Send + Sync> IdentityPolicy for F {
    fn accept(&self, claim: &Claim<'_>) -> Result<(), Refusal> {
        self(claim)
    }
}

/// Decides whether somebody is to be seen. Can be a closure:
///
/// ```
/// use serf_core::{Member, Policies};
/// use serf_gossip::Refusal;
/// use std::sync::Arc;
///
/// let ours = |member: &Member| match member.addr.host.ip() {
///     Some(ip) if ip.is_ipv6() => Ok(()),
///     _ => Err(Refusal("only IPv6 here".into())),
/// };
/// let policies = Policies { alive: Some(Arc::new(ours)), ..Policies::default() };
/// ```
pub trait AlivePolicy: Send + Sync {
    /// Whether this one may be a member. Asked for every claim that somebody is alive, again and again for the same, our
    /// own first one included; a join goes on without those who are refused. An error leaves everything as it is: who was
    /// not known stays unknown, who was stays as it was.
    ///
    /// # Errors
    /// Why not.
    fn accept(&self, member: &Member) -> Result<(), Refusal>;
}

impl<F: Fn(&Member) -> Result<(), Refusal> + Send + Sync> AlivePolicy for F {
    fn accept(&self, member: &Member) -> Result<(), Refusal> {
        self(member)
    }
}

/// Decides how long a member that is gone is kept. Can be a closure: `|member: &Member, default: Duration| ...`.
pub trait ReapPolicy: Send + Sync {
    /// How long to keep this one. Asked at each look at the failed and at the left, whose `default`s differ; the
    /// member's status tells which (B11: the reference does not tell).
    fn keep(&self, member: &Member, default: Duration) -> Duration;
}

impl<F: Fn(&Member, Duration) -> Duration + Send + Sync> ReapPolicy for F {
    fn keep(&self, member: &Member, default: Duration) -> Duration {
        self(member, default)
    }
}

/// Decides what becomes of a name that is claimed from two addresses. Can be a closure:
///
/// ```
/// use serf_core::{Member, Policies};
/// use serf_gossip::Address;
/// use std::sync::Arc;
///
/// let tell = |member: &Member, claimant: &Address, default: bool| {
///     eprintln!("{} is at {}, and {claimant} says so too", member.name, member.addr);
///     default
/// };
/// let policies = Policies { conflict: Some(Arc::new(tell)), ..Policies::default() };
/// ```
pub trait ConflictPolicy: Send + Sync {
    /// Somebody at another address claims the name of a member, who stays where it is; told as often as that is noticed.
    ///
    /// If the member is ourselves, the answer is whether the cluster is to be asked whose name it is, which ends this
    /// node if the others know somebody else by it; `default` is what
    /// [`crate::Config::enable_name_conflict_resolution`] says. Of other members the answer means nothing: they settle it
    /// themselves.
    fn dispute(&self, member: &Member, claimant: &Address, default: bool) -> bool;
}

impl<F: Fn(&Member, &Address, bool) -> bool + Send + Sync> ConflictPolicy for F {
    fn dispute(&self, member: &Member, claimant: &Address, default: bool) -> bool {
        self(member, claimant, default)
    }
}

/// Adds something of the program's to the acks of pings, and hears what others add to theirs.
///
/// It travels behind the coordinate that is there anyway, where peers that know nothing of it do not look: so it costs no
/// packet, estimates of round trips go on, and other implementations can be in the cluster. About one member is pinged in
/// each [`serf_gossip::Config::probe_interval`]; answers that come through others or over a stream carry nothing.
///
/// ```
/// use core::time::Duration;
/// use serf_core::{Member, PingPolicy, Policies};
/// use std::sync::Arc;
///
/// /// How busy everybody is, in percent.
/// struct Load;
/// impl PingPolicy for Load {
///     fn payload(&self, out: &mut Vec<u8>) {
///         out.push(42);
///     }
///     fn answered(&self, member: &Member, _: Duration, payload: &[u8]) {
///         if let [load] = payload {
///             println!("{}: {load} %", member.name);
///         }
///     }
/// }
/// let policies = Policies { ping: Some(Arc::new(Load)), ..Policies::default() };
/// ```
pub trait PingPolicy: Send + Sync {
    /// Appends what this node says to whoever pinged it: at most [`PING_PAYLOAD_MAX`] bytes; of more, none is sent, which
    /// is counted ([`crate::Stats::shed_ping_payloads`]). Nothing, unless this is implemented.
    fn payload(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// A member answered our ping directly, after this time, and said this: nothing, if it has nothing to say or if it
    /// cannot be read. Anybody in the cluster may have said anything.
    fn answered(&self, member: &Member, rtt: Duration, payload: &[u8]) {
        let _ = (member, rtt, payload);
    }
}

/// The decisions a program has claimed.
///
/// ```
/// use serf_core::{Member, MergePolicy, Policies};
/// use serf_gossip::Refusal;
/// use std::sync::Arc;
///
/// /// Nobody without an owner.
/// struct Owned;
/// impl MergePolicy for Owned {
///     fn accept(&self, members: &[Member]) -> Result<(), Refusal> {
///         match members.iter().find(|member| !member.tags().contains_key("owner")) {
///             Some(member) => Err(Refusal(format!("{} has no owner", member.name))),
///             None => Ok(()),
///         }
///     }
/// }
///
/// let policies = Policies {
///     merge: Some(Arc::new(Owned)),
///     // Members on spare machines are not waited for.
///     reap: Some(Arc::new(|member: &Member, default| {
///         if member.tags().contains_key("spare") { default / 24 } else { default }
///     })),
///     ..Policies::default()
/// };
/// ```
#[derive(Clone, Default)]
pub struct Policies {
    /// Which names and addresses there are. None: all.
    pub identity: Option<Arc<dyn IdentityPolicy>>,
    /// Who may be a member. None: everybody.
    pub merge: Option<Arc<dyn MergePolicy>>,
    /// Whom we see. None: everybody. With a merge policy, both must agree.
    pub alive: Option<Arc<dyn AlivePolicy>>,
    /// How long the gone are kept. None: as configured.
    pub reap: Option<Arc<dyn ReapPolicy>>,
    /// What becomes of names claimed twice. None: as configured.
    pub conflict: Option<Arc<dyn ConflictPolicy>>,
    /// What travels in acks besides. None: nothing. Needs coordinates, behind which it travels.
    pub ping: Option<Arc<dyn PingPolicy>>,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("identity", &self.identity.is_some())
            .field("merge", &self.merge.is_some())
            .field("alive", &self.alive.is_some())
            .field("reap", &self.reap.is_some())
            .field("conflict", &self.conflict.is_some())
            .field("ping", &self.ping.is_some())
            .finish()
    }
}

impl Serf {
    /// Whether somebody may be believed to be alive (spec `serf.md` §12.6).
    pub(crate) fn judge_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
        let verdict = self.opinion(core::slice::from_ref(claim)).and_then(|()| self.opinion_alive(claim));
        self.count_verdict(verdict)
    }

    /// Whether what a peer knows may be merged (spec `serf.md` §12.6).
    pub(crate) fn judge_merge(&mut self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        let verdict = self.opinion(claims);
        self.count_verdict(verdict)
    }

    fn count_verdict(&mut self, verdict: Result<(), Refusal>) -> Result<(), Refusal> {
        if verdict.is_err() {
            self.stats.refused_claims += 1;
        }
        verdict
    }

    /// Whether to ask whose name it is that somebody at another address claims too (spec `serf.md` §7).
    pub(crate) fn disputes(&self, member: &serf_gossip::Member, claimant: &Address) -> bool {
        let default = self.config.enable_name_conflict_resolution;
        let Some(policy) = &self.config.policies.conflict else { return default };
        let status = self.table.get(member.name.as_bytes()).map_or(Status::None, |record| record.status());
        policy.dispute(&Record::new(member, status).to_member(), claimant, default)
    }

    fn opinion_alive(&self, claim: &Claim<'_>) -> Result<(), Refusal> {
        let Some(policy) = &self.config.policies.alive else { return Ok(()) };
        policy.accept(&claimed(claim)?)
    }

    fn opinion(&self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        if self.config.validate_node_names {
            for claim in claims {
                names::validate(claim.name).map_err(|why| Refusal(why.to_string()))?;
            }
        }
        if let Some(policy) = &self.config.policies.identity {
            claims.iter().try_for_each(|claim| policy.accept(claim))?;
        }
        let Some(policy) = &self.config.policies.merge else { return Ok(()) };
        let members: Vec<Member> = claims.iter().map(claimed).collect::<Result<_, _>>()?;
        policy.accept(&members)
    }
}

/// A claim as a member, if it could be one.
fn claimed(claim: &Claim<'_>) -> Result<Member, Refusal> {
    if !matches!(claim.host.len(), 4 | 16) {
        let len = claim.host.len();
        return Err(Refusal(alloc::format!("IP byte length is invalid: {len} bytes is not either 4 or 16")));
    }
    if claim.meta.len() > META_MAX {
        let len = claim.meta.len();
        return Err(Refusal(alloc::format!(
            "Encoded length of tags exceeds limit of {META_MAX} bytes: {len} bytes"
        )));
    }
    Ok(Member {
        name: claim.name.into(),
        addr: Address::new(claim.host, claim.port),
        meta: claim.meta.into(),
        status: if claim.state == State::Left { Status::Left } else { Status::None },
        versions: claim.versions.first_chunk::<6>().copied().unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_member_has_an_address_of_4_or_16_bytes_and_tags_that_fit() {
        let claim = Claim {
            name: b"foo",
            host: &[127, 0, 0, 1],
            port: 7946,
            meta: b"",
            versions: &[1, 5, 2, 2, 5, 4],
            state: State::Alive,
            incarnation: 1,
        };
        let member = claimed(&claim).unwrap();
        assert_eq!((member.status, member.versions.delegate_cur), (Status::None, 4));
        assert_eq!(claimed(&Claim { state: State::Left, ..claim }).unwrap().status, Status::Left);
        for (len, fits) in [(0, false), (2, false), (4, true), (16, true), (17, false)] {
            assert_eq!(claimed(&Claim { host: &[1; 17][..len], ..claim }).is_ok(), fits, "{len}");
        }
        for (len, fits) in [(512, true), (513, false)] {
            assert_eq!(claimed(&Claim { meta: &[1; 513][..len], ..claim }).is_ok(), fits, "{len}");
        }
    }
}
