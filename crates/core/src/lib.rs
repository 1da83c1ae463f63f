//! Serf as a state machine that touches nothing: tags, intents, member states and their life cycle, on top of the
//! gossip machine of `serf-gossip`.
//!
//! A [`Node`] is one owned value, run by the two calls of [`serf_gossip::Machine`]. It owns a gossip machine and is
//! its delegate, in two halves:
//!
//! | Room | What is decided there |
//! |---|---|
//! | `node` | the two calls, the deadlines, what the owner may look at |
//! | `tasks` | what commands do, step by step |
//! | `serf` | what is remembered; who listens to the gossip layer |
//! | `membership` | which status a member has |
//! | `intents`, `intent_buffer` | who is believed to join or leave |
//! | `merge` | what a full state tells, both ways |
//! | `user_event`, `query`, `ring` | what is passed on, once |
//! | `ask` | queries of ours, and who has answered |
//! | `filter` | whom a query is for |
//! | `respond`, `relay` | how answers travel |
//! | `dispute` | whose name it is |
//! | `keys` | changing the keys of the whole cluster |
//! | `queues` | what is gossiped first |
//! | `coalesce` | what is told together |
//! | `coordinate`, `vivaldi`, `places` | how far away others are |
//! | `reap` | who is forgotten |
//! | `snapshot` | what a restart finds again |
//! | `rejoin` | whom a restarted node calls |
//! | `policy`, `names`, `tags` | who and what is acceptable |
//! | `pattern` | regular expressions as users of Serf write them |
//!
//! What it does *not* do: it never decides who is alive (that is the gossip layer), resolves no names, opens no file.
//! Behaviour and numbers are those of the reference (`serf.md` of the specification); B1, B2, … in comments are the
//! reference's known weaknesses, listed with what became of them in `docs/compatibility.md`.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod ask;
mod coalesce;
mod command;
mod config;
pub mod coordinate;
mod dispute;
mod event;
mod filter;
mod intent_buffer;
mod intents;
mod keys;
mod lamport;
mod member;
mod membership;
mod merge;
pub mod names;
mod node;
mod pattern;
mod places;
mod policy;
mod query;
mod queues;
mod reap;
mod rejoin;
mod relay;
mod respond;
mod ring;
mod serf;
pub mod snapshot;
mod state;
mod stats;
mod table;
mod tags;
mod tally;
mod tasks;
#[cfg(test)]
mod tests;
mod user_event;
mod vivaldi;

pub use ask::{Answer, QueryEnd};
pub use command::{Command, Failure, Outcome};
pub use config::{Config, ConfigError, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN};
pub use coordinate::Coordinate;
pub use event::{Event, MemberEvent, MemberEventKind, UserEvent};
pub use lamport::LamportClock;
pub use member::{Member, Status, Versions};
pub use node::Node;
pub use pattern::{PATTERN_MAX, Pattern, PatternError};
pub use policy::{
    AlivePolicy, ConflictPolicy, IdentityPolicy, MergePolicy, PING_PAYLOAD_MAX, PingPolicy, Policies,
    ReapPolicy,
};
pub use query::{INTERNAL_PREFIX, Query, QueryEvent, QueryKey};
pub use respond::RespondError;
pub use state::NodeState;
pub use stats::{Stats, Vitals};
pub use tags::{META_MAX, Tags, TagsTooLong};
pub use user_event::{EventTooLong, USER_EVENT_MAX};
