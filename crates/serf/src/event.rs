//! What subscribers of a [`crate::Serf`] are told.

use serf_core::{MemberEvent, UserEvent};

use crate::query::QueryEvent;

/// Something that happened in the cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Members came, went or changed.
    Member(MemberEvent),
    /// Somebody fired a user event. Each is told once.
    User(UserEvent),
    /// Somebody asks us something. Each query is told once, to every subscriber; one of them may answer.
    Query(QueryEvent),
    /// Another node has our name, say the others: the node has shut down, see
    /// [`crate::Config::enable_name_conflict_resolution`]. Nothing comes after this.
    NameLost {
        /// How many know us by the name.
        ours: usize,
        /// How many know anybody by it.
        all: usize,
    },
}
