//! What a node tells its owner.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serf_gossip::{Address, CommandId, Name, Notice};
use serf_wire::encrypt::Key;

use crate::ask::{Answer, QueryEnd};
use crate::command::Outcome;
use crate::member::Member;
use crate::query::{QueryEvent, QueryKey};
use crate::snapshot::Write;

/// Something the owner should know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Members came, went or changed.
    Member(MemberEvent),
    /// Somebody fired a user event. Each is told once.
    User(UserEvent),
    /// Somebody asks us something. Each query is told once.
    Query(QueryEvent),
    /// Something came of a query of ours.
    Answer {
        /// Of which.
        id: CommandId,
        /// What.
        answer: Answer,
    },
    /// Nothing more comes of a query of ours. Told once of each that began.
    QueryEnded {
        /// Of which.
        id: CommandId,
        /// Why.
        why: QueryEnd,
    },
    /// Somebody in the cluster had our keys changed, and [`crate::Config::keep_keys`] says that they are to be kept. To be
    /// answered with [`crate::Command::KeysKept`], in the order of these events.
    KeysChanged {
        /// For the answer.
        key: QueryKey,
        /// All keys, the primary one first.
        keys: Vec<Key>,
    },
    /// The others know somebody else by our name. The node has shut down by itself, and ends commands that are under way
    /// as a [`crate::Command::Shutdown`] does; its owner should drop it.
    NameLost {
        /// How many know us by the name.
        ours: usize,
        /// How many know anybody by it.
        all: usize,
    },
    /// A command has ended.
    Done {
        /// Which.
        id: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// The snapshot file is to be written. Comes only to nodes that have one.
    Snapshot(Write),
    /// Something worth a log line.
    Notice(Notice),
}

/// The same thing happened to one or more members: to one only, unless events were coalesced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent<I = Name, A = Address> {
    /// What happened.
    pub kind: MemberEventKind,
    /// To whom, as they were right after it.
    pub members: Vec<Member<I, A>>,
}

impl MemberEvent {
    pub(crate) fn one(kind: MemberEventKind, member: Member) -> Self {
        Self { kind, members: vec![member] }
    }
}

/// What can happen to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberEventKind {
    /// It is there, or there again.
    Join,
    /// It left, or was declared to have left.
    Leave,
    /// It does not answer any more.
    Failed,
    /// Its tags, address or versions changed.
    Update,
    /// It was gone long enough and is forgotten, or was pruned.
    Reap,
}

impl MemberEventKind {
    /// The name of the event, as handlers and RPC clients know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "member-join",
            Self::Leave => "member-leave",
            Self::Failed => "member-failed",
            Self::Update => "member-update",
            Self::Reap => "member-reap",
        }
    }
}

impl fmt::Display for MemberEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event that a program somewhere in the cluster fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    /// Its time, by the cluster's event clock.
    pub ltime: u64,
    /// Its name.
    pub name: Name,
    /// What it carries. Never told apart from absent: an absent payload is an empty one.
    pub payload: Arc<[u8]>,
    /// Whether only the last of several such events matters. Lost if we learn of the event by a full state
    /// exchange, which does not carry it (B20).
    pub coalesce: bool,
}

impl fmt::Display for UserEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user-event: {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_user_event_has_its_text() {
        let event = UserEvent { ltime: 1, name: "test".into(), payload: Arc::from(&[][..]), coalesce: false };
        assert_eq!(event.to_string(), "user-event: test");
    }
}
