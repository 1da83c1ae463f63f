//! What a layer above gossip can hook into. The machine hands the delegate to every call that may need it;
//! a delegate answers what it is asked and records what it wants done, and never calls back in.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Address, Backlog, Instant, Listener, Member, State};

/// The layer above. Every method has a default that does nothing, so a program that wants bare membership
/// implements none.
pub trait Delegate {
    /// Something happened that the layer above may care about. Calls come in the order in which things happened.
    fn notify(&mut self, now: Instant, what: Notification<'_>) {
        let _ = (now, what);
    }

    /// Adds messages of the layer above to a datagram for `to`, as far as they fit: each costs its length plus `overhead`
    /// bytes of `limit`. A [`crate::TransmitQueue`] keeps what `to` told from it.
    fn broadcasts(
        &mut self,
        now: Instant,
        to: Listener,
        overhead: usize,
        limit: usize,
        put: &mut dyn FnMut(&[u8]),
    ) {
        let _ = (now, to, overhead, limit, put);
    }

    /// Whether messages wait to be gossiped: as long as this is so, gossip rounds go on.
    fn has_broadcasts(&self) -> bool {
        false
    }

    /// How much waits to be gossiped, each message with `overhead` bytes: from that follows how much of a datagram
    /// [`Delegate::broadcasts`] gets where other news wait too. Unless this says better, it is taken for a lot.
    fn backlog(&self, overhead: usize) -> Backlog {
        let _ = overhead;
        Backlog { bytes: if self.has_broadcasts() { usize::MAX } else { 0 }, next: 0 }
    }

    /// Appends the layer's own state to a push/pull. `join` tells whether somebody is joining.
    fn local_state(&mut self, join: bool, out: &mut Vec<u8>) {
        let _ = (join, out);
    }

    /// Whether a claim that a node is alive may be believed. Asked for every such claim, our own included,
    /// with all six versions: claims that lack some are refused before. An error leaves everything as it is.
    fn accept_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
        let _ = claim;
        Ok(())
    }

    /// Whether all that a peer told in a joining push/pull may be merged. An error cancels the merge.
    fn accept_merge(&mut self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        let _ = claims;
        Ok(())
    }

    /// Whether [`Delegate::accept_merge`] wants to be asked at all: if not, the list is not built.
    fn filters_merges(&self) -> bool {
        false
    }

    /// Whether a peer that joins, and is refused by [`Delegate::accept_merge`], is told why in place of our state. By
    /// default it gets the state all the same, as from the reference: then each side refuses for itself only.
    fn explains_refusals(&self) -> bool {
        false
    }

    /// Appends what is to travel in the ack of a direct ping. False for no payload.
    fn ack_payload(&mut self, out: &mut Vec<u8>) -> bool {
        let _ = out;
        false
    }
}

/// The delegate of a machine that stands alone.
impl Delegate for () {}

/// What a peer says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The node's name.
    pub name: &'a [u8],
    /// Its host bytes.
    pub host: &'a [u8],
    /// Its port.
    pub port: u16,
    /// Its meta data.
    pub meta: &'a [u8],
    /// Its protocol versions: gossip min, max, current, delegate min, max, current. As many as came.
    pub versions: &'a [u8],
    /// Its claimed state.
    pub state: State,
    /// Its incarnation.
    pub incarnation: u32,
}

/// Why a policy refused a claim, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What a delegate is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notification<'a> {
    /// A node became alive that was unknown, dead or left. The first is ourselves, at the start.
    Joined(&'a Member),
    /// A node was declared dead, or left.
    Left(&'a Member),
    /// An alive node changed its meta data.
    Updated(&'a Member),
    /// A claim for a known name came with another address, and was refused.
    Conflict {
        /// The node that we know.
        existing: &'a Member,
        /// The address claimed for its name.
        other: &'a Address,
        /// The meta data claimed with it.
        meta: &'a [u8],
    },
    /// A user message came.
    Message {
        /// The socket address it came from.
        from: &'a Address,
        /// The message.
        bytes: &'a [u8],
    },
    /// A peer's own state came with a push/pull, whose node list has been merged already.
    RemoteState {
        /// The state.
        bytes: &'a [u8],
        /// Whether somebody is joining.
        join: bool,
    },
    /// A direct ping of a probe was answered in time.
    PingCompleted {
        /// The node.
        member: &'a Member,
        /// Round-trip time.
        rtt: Duration,
        /// What travelled in the ack.
        payload: &'a [u8],
    },
}
