//! What the owner of a node may ask, and how it is answered. A command has a number of the owner's choice; the
//! answering [`crate::Event::Done`] carries it.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Address, CommandId, Name, Peer};

use crate::query::{Query, QueryKey};
use crate::respond::RespondError;
use crate::tags::{Tags, TagsTooLong};
use crate::user_event::EventTooLong;

/// A request of the owner's.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Join the cluster of these peers. Answered by [`Outcome::Joined`]. Joins are done one after
    /// another, and only so many may wait.
    Join {
        /// For the answer.
        id: CommandId,
        /// Whom to contact: all of them.
        peers: Vec<Peer>,
        /// Whether user events older than the join are kept from us.
        ignore_old: bool,
    },
    /// Leave the cluster and say so. Answered by [`Outcome::Ok`], at the latest after two
    /// [`crate::Config::broadcast_timeout`]s and a [`crate::Config::leave_propagate_delay`]. Peers are still answered
    /// afterwards, until the node is dropped. A second leave waits for the first (E14).
    Leave {
        /// For the answer.
        id: CommandId,
    },
    /// Declare that a failed member has left. Answered by [`Outcome::Ok`] when that has been gossiped, or by
    /// [`Failure::ForceLeaveTimeout`]. A live member refutes it; a member nobody knows is no error.
    ForceLeave {
        /// For the answer.
        id: CommandId,
        /// Who.
        name: Name,
        /// Whether to forget the member at once, here and everywhere.
        prune: bool,
    },
    /// Replace our tags, all of them. Answered by [`Outcome::Ok`] when that has been gossiped, or by
    /// [`Failure::TagsTimeout`]; they are in force at once.
    SetTags {
        /// For the answer.
        id: CommandId,
        /// The new tags.
        tags: Tags,
    },
    /// The keys of an [`crate::Event::KeysChanged`] are kept, or not. Whoever had them changed is told; there is no other
    /// answer.
    KeysKept {
        /// That of the event.
        key: QueryKey,
        /// If not: why, for people.
        result: Result<(), String>,
    },
    /// Fire a user event. Answered by [`Outcome::Ok`] at once, when it is queued for gossip and told to our own owner
    /// like anybody's, or by [`Failure::EventTooLong`].
    ///
    /// One that is within [`crate::Config::user_event_size_limit`] but too long for a datagram of gossip is told all
    /// the same, with a log line: it reaches others by full state exchanges, which takes longer (B14).
    UserEvent {
        /// For the answer.
        id: CommandId,
        /// Its name. Any bytes, even none.
        name: Name,
        /// What it carries.
        payload: Vec<u8>,
        /// Whether only the last of several such events matters.
        coalesce: bool,
    },
    /// Ask a question. Answered at once, by [`Outcome::Asked`] or a [`Failure`]; what comes of it is told by
    /// [`crate::Event::Answer`]s and, in the end, by [`crate::Event::QueryEnded`].
    Query {
        /// For the answer, and for those to the question: different from those of other questions under way.
        id: CommandId,
        /// What is asked, and whom.
        query: Query,
    },
    /// Take no more answers to a question. If it is under way it ends at once, with [`crate::QueryEnd::Closed`].
    CloseQuery {
        /// Which.
        id: CommandId,
    },
    /// Answer a query. Answered by [`Outcome::Ok`] at once, when the response is on its way, or by
    /// [`Failure::Respond`].
    Respond {
        /// For the answer.
        id: CommandId,
        /// Which query.
        key: QueryKey,
        /// The response.
        payload: Vec<u8>,
    },
    /// The snapshot file was written as [`crate::Event::Snapshot`] asked, or was not. Is an answer, and has none.
    SnapshotWritten {
        /// Whether all of it was done.
        done: bool,
    },
    /// Stop. Answered by [`Outcome::Ok`] at once, and every command under way by [`Failure::Shutdown`]; the node takes
    /// nothing more in and its streams are to be dropped. Peers that were not told by a leave see a failure.
    Shutdown {
        /// For the answer.
        id: CommandId,
    },
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
        /// The others, with the reason. Only if nobody was contacted (and somebody was to be) did the join fail.
        failed: Vec<(Address, String)>,
    },
    /// A question is on its way.
    Asked {
        /// Its time, by the cluster's query clock.
        ltime: u64,
        /// How long from now answers are taken.
        timeout: Duration,
        /// How many members are present, we among them, and would answer if all were asked.
        present: usize,
    },
    /// It was not done.
    Failed(Failure),
}

/// Why a command was not done. The texts are the reference's where operators see them (spec `rpc.md` §5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A node that leaves, or has left, does not join. Nobody was contacted.
    #[error("Serf can't Join after Leave or Shutdown")]
    CannotJoin,
    /// As many joins as may be wait already. Nobody was contacted.
    #[error("too many joins are waiting")]
    TooManyJoins,
    /// A node that was shut down does not leave. Nothing was changed.
    #[error("Leave called after Shutdown")]
    CannotLeave,
    /// The node was shut down before the command had ended.
    #[error("the node was shut down")]
    Shutdown,
    /// The forced leave was not sent often enough in time. It holds here, and stays queued.
    #[error("timed out broadcasting node removal")]
    ForceLeaveTimeout,
    /// The name is too long for a datagram of gossip. The forced leave holds here, and nowhere else.
    #[error("a node name of {0} bytes is too long to be gossiped")]
    NameTooLong(usize),
    /// The tags are too long; nothing was changed.
    #[error(transparent)]
    TagsTooLong(#[from] TagsTooLong),
    /// The user event is too long; nobody was told.
    #[error(transparent)]
    EventTooLong(#[from] EventTooLong),
    /// The protocol version spoken has no queries. Nobody was asked.
    #[error("Feature not supported")]
    NotSupported,
    /// The query with all around it is longer than this: than [`crate::Config::query_size_limit`], or than what fits in
    /// a datagram of gossip. Nobody was asked.
    #[error("query exceeds limit of {0} bytes")]
    QueryTooLong(usize),
    /// As many queries as may be are under way. Nobody was asked.
    #[error("too many queries are under way")]
    TooManyQueries,
    /// The response was not sent.
    #[error(transparent)]
    Respond(#[from] RespondError),
    /// The new tags were not sent often enough in time. They are in force, and stay queued.
    #[error("timeout waiting for update broadcast")]
    TagsTimeout,
    /// Another failure of the gossip layer.
    #[error(transparent)]
    Gossip(serf_gossip::Failure),
}
