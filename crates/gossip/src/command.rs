//! What the owner of a gossip machine may ask, and how it is answered. A command has a number of the owner's
//! choice; the answering [`Event::Done`] carries it.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serf_wire::encrypt::Key;

use crate::notice::Notice;
use crate::{Address, Name};

/// The number of a command, chosen by the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Somebody to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where.
    pub addr: Address,
    /// Who, where that is known.
    pub name: Option<Name>,
}

impl Peer {
    pub(crate) fn is_nameless(&self) -> bool {
        self.name.as_ref().is_none_or(|n| n.as_bytes().is_empty())
    }
}

/// A request of the owner's.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Exchange full states with these, some at a time. Answered by [`Outcome::Joined`].
    Join {
        /// For the answer.
        id: CommandId,
        /// Whom to contact.
        peers: Vec<Peer>,
    },
    /// Say goodbye. Answered by [`Outcome::Ok`] when the goodbye has been gossiped (at once if nobody is there),
    /// or by [`Failure::Timeout`]. Probes are still answered afterwards.
    Leave {
        /// For the answer.
        id: CommandId,
        /// How long to wait.
        timeout: Duration,
    },
    /// Announce new meta data. Answered by [`Outcome::Ok`] when it has been gossiped (at once if nobody is there),
    /// or by [`Failure::Timeout`]; it is in force at once.
    UpdateMeta {
        /// For the answer.
        id: CommandId,
        /// At most [`crate::META_MAX`] bytes.
        meta: Vec<u8>,
        /// How long to wait; zero for ever.
        timeout: Duration,
    },
    /// Measure the round trip to a node. Answered by [`Outcome::Pong`] or [`Failure::NoResponse`].
    Ping {
        /// For the answer.
        id: CommandId,
        /// Whom to ping.
        peer: Peer,
    },
    /// Send a user message in one datagram, not compressed with others and not repeated.
    Send {
        /// Whom to.
        to: Peer,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Send a user message over a stream. Answered by [`Outcome::Ok`] when it is written.
    SendReliable {
        /// For the answer.
        id: CommandId,
        /// Whom to.
        to: Peer,
        /// The message, at most 20 MiB.
        bytes: Vec<u8>,
    },
    /// The delegate has broadcasts that it queued outside of a call: have a look. Without this they wait until the
    /// machine has something else to do, which on a lone node is never.
    Wake,
    /// Change the keyring. Answered by [`Outcome::Ok`] or [`Failure::Key`].
    Keyring {
        /// For the answer.
        id: CommandId,
        /// How.
        change: KeyChange,
    },
}

/// A change of the keyring.
#[derive(Debug, Clone)]
pub enum KeyChange {
    /// Accept this key too; no change if it is there.
    Install(Key),
    /// Encrypt with this key, which must be there.
    Use(Key),
    /// Forget this key, which must not be the one we encrypt with.
    Remove(Key),
}

/// What a gossip machine tells its owner.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A command has ended.
    Done {
        /// Which.
        id: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// Something worth a log line.
    Notice(Notice),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// As asked.
    Ok,
    /// A join ended.
    Joined {
        /// Those contacted.
        contacted: Vec<Address>,
        /// The others, with the reason. Only if nobody was contacted did the join fail.
        failed: Vec<(Address, String)>,
    },
    /// A ping was answered.
    Pong(Duration),
    /// It was not done.
    Failed(Failure),
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The broadcast was not sent often enough in time. It stays queued.
    #[error("timeout waiting for the broadcast to be sent")]
    Timeout,
    /// The node did not answer in time.
    #[error("no response")]
    NoResponse,
    /// The meta data is too long; nothing was changed.
    #[error("the meta data is {0} bytes long; the limit is 512")]
    MetaTooLong(usize),
    /// The message is too long; nothing was sent.
    #[error("the message is {0} bytes long; the limit is 20 MiB")]
    MessageTooLong(usize),
    /// The stream broke.
    #[error("{0}")]
    Stream(String),
    /// We said goodbye already; nothing more is announced.
    #[error("this node has left")]
    Left,
    /// Our own policy is against it: the delegate, or the list of allowed networks. Nothing was changed.
    #[error("refused: {0}")]
    Refused(String),
    /// Names are required and none was given.
    #[error("a node name is required")]
    NameRequired,
    /// The keyring was left as it was.
    #[error(transparent)]
    Key(#[from] crate::keyring::KeyringError),
}
