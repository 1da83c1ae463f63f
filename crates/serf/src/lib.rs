//! Decentralized cluster membership, failure detection and events, to embed in a program. Speaks the protocol of
//! HashiCorp's Serf, so that both can be in one cluster.
//!
//! There are two things to start: [`Serf`], a node whose members have tags; and [`Membership`], the bare gossip
//! below it. Both are handles to a task of the tokio runtime that they were started in, whichever its flavour.
//!
//! ```
//! use serf::{Config, Serf};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") };
//! let serf = Serf::start(config).await?;
//! for member in serf.members().await?.iter() {
//!     println!("{} {} {}", member.name, member.addr, member.status);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! What is decided here: how sockets are bound ([`transport`]), whom a name means ([`Resolver`]), and how a machine
//! is run ([`driver`]). Who is alive, and what is said to whom, is decided in the machines of `serf-gossip` and
//! `serf-core`, which touch nothing.
//!
//! Names and addresses can be of types of the program's own: see [`Identity`] and [`NodeAddress`].
//!
//! Log lines go to the `log` crate, with the target `memberlist` for gossip and `serf` for what is above it.
#![forbid(unsafe_code)]

mod config;
pub mod driver;
mod error;
mod event;
mod fault;
pub mod files;
mod handle;
mod identity;
mod join;
mod keyring;
mod keys;
mod membership;
mod meter;
pub mod net;
mod query;
mod resolve;
pub mod runtime;
mod serf;
mod snapshot;
mod streams;
#[cfg(test)]
mod testing;
pub mod transport;

pub use config::{Config, DEFAULT_PORT, MembershipConfig};
pub use error::{Error, MembershipError, StartError};
pub use event::Event;
pub use handle::{EVENT_QUEUE, Events};
pub use identity::{Identity, InvalidAddress, InvalidIdentity, NodeAddress};
pub use join::{JoinFailure, JoinFailures, Joined};
pub use keyring::write_keyring;
pub use keys::{KeyError, KeyManager, KeyReport};
pub use membership::Membership;
pub use meter::{Meter, Reading};
pub use query::{Answers, QueryEvent};
pub use resolve::{AddressError, JoinAddress, ResolveError, Resolver, SocketResolver, SystemResolver};
pub use serf::{Serf, Stats};
pub use snapshot::SnapshotError;

// What the machines' words mean, so that a program needs to name this crate only.
pub use serf_core::coordinate;
pub use serf_core::names::NAME_MAX;
pub use serf_core::{
    AlivePolicy, Answer, ConfigError, ConflictPolicy, Coordinate, EventTooLong, Failure, INTERNAL_PREFIX,
    IdentityPolicy, LamportClock, META_MAX, Member, MemberEvent, MemberEventKind, MergePolicy, NodeState,
    PING_PAYLOAD_MAX, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, Pattern, PatternError, PingPolicy,
    Policies, Query, QueryEnd, ReapPolicy, RespondError, Status, Tags, TagsTooLong, USER_EVENT_MAX,
    UserEvent, Versions, Vitals,
};
pub use serf_gossip::{
    Address, Claim, Delegate, Hardening, Host, KeyringError, MembershipEvent, Name, Network, Notification,
    Peer, Refusal,
};
pub use serf_wire::encrypt::{Key, KeySize};

/// The words of the layer below Serf: its settings, and what a [`Membership`] and its [`Delegate`] need beside what this
/// crate names itself.
pub mod gossip {
    pub use serf_gossip::{
        Backlog, CommandId, Config, ConfigError, Failure, Identity, Instant, LABEL_MAX, Listener, Member,
        PROTOCOL_MAX, PROTOCOL_MIN, State, Stats, Teller, TransmitQueue, retransmit_limit,
    };
}
