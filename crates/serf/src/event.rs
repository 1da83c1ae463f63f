//! What subscribers of a [`crate::Serf`] are told.

use serf_core::{MemberEvent, UserEvent};
use serf_gossip::{Address, Name};

use crate::query::QueryEvent;

/// Something that happened in the cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<I = Name, A = Address> {
    /// Members came, went or changed.
    Member(MemberEvent<I, A>),
    /// Somebody fired a user event. Each is told once.
    User(UserEvent),
    /// Somebody asks us something. Each query is told once, to every subscriber; one of them may answer.
    Query(QueryEvent<I>),
    /// Another node has our name, say the others: the node has shut down, see
    /// [`crate::Config::enable_name_conflict_resolution`]. Nothing comes after this.
    NameLost {
        /// How many know us by the name.
        ours: usize,
        /// How many know anybody by it.
        all: usize,
    },
}
