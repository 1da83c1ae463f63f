//! Decentralized cluster membership, failure detection and events, to embed in a program. Speaks the protocol of
//! HashiCorp's Serf, so that both can be in one cluster.
//!
//! A node in ten lines, and what it hears of the others. With these dependencies
//!
//! ```toml
//! serf = { path = "../serf-rs/crates/serf" } # where you have the repository
//! tokio = { version = "1", features = ["rt", "macros"] }
//! ```
//!
//! start it with `cargo run -- one`, and again with `cargo run -- two` and the address that the first one prints:
//!
//! ```no_run
//! use serf::{Config, Serf};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut args = std::env::args().skip(1);
//!     let name = args.next().ok_or("a name is missing")?;
//!     let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::local(name.as_str()) };
//!     let (serf, mut events) = Serf::start_with_events(config).await?;
//!     println!("{} at {}", serf.name(), serf.local_addr());
//!     serf.join(args).await?;
//!     while let Some(event) = events.recv().await {
//!         println!("{event}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! | to | see |
//! |---|---|
//! | choose timings, keys, a snapshot file | [`Config`]: begin with [`Config::lan`], `wan`, `local` or `fast`; with the feature `config` also with a file or the environment |
//! | know who is there, with their tags | [`Serf::members`], [`Serf::set_tags`] |
//! | hear what happens | [`Serf::subscribe`], [`Event`] |
//! | tell everybody something; ask, and answer | [`Serf::user_event`]; [`Serf::query`], [`QueryEvent::respond`] |
//! | say goodbye, or have it said for others | [`Serf::leave`], [`Serf::force_leave`] |
//! | encrypt, and change keys | [`Config::keys`], [`Serf::keys`] |
//! | know how far away others are | [`Serf::rtt`], [`coordinate`] |
//! | decide who may be a member, and more | [`Policies`] |
//! | do without Serf | [`Membership`]: gossip alone, with a [`Delegate`] of the program's own |
//! | have names or addresses of other types | [`Serf`] with parameters: [`Identity`], [`NodeAddress`] |
//! | run without tokio, talk over other networks, look up other names | [`runtime`], [`transport`], [`Resolver`] |
//!
//! | feature | what it brings |
//! |---|---|
//! | `tokio` | nodes on the tokio runtime that they are started in; the only one that is on by default |
//! | `smol`, `threads` | nodes on smol, and on plain threads (`runtime`) |
//! | `tls`, `quic` | streams in TLS; all of gossip in QUIC (`transport`) |
//! | `config` | settings from a file and from the environment (`Settings`) |
//! | `lz4`, `snappy`, `zstd`, `brotli`, `xxhash`, `murmur3` | better compression and checksums between nodes that have them |
//!
//! More examples, and a table for those who know the Go library, are in `docs/embedding.md`.
//!
//! Who is alive, and what is said to whom, is decided in the machines of `serf-gossip` and `serf-core`, which touch
//! nothing; [`driver`] moves bytes and time for them. Log lines go to the `log` crate, with the target `memberlist` for
//! gossip and `serf` for what is above it.
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
#[cfg(feature = "config")]
mod settings;
mod snapshot;
mod streams;
#[cfg(test)]
mod testing;
pub mod transport;

pub use config::{Config, DEFAULT_PORT, MembershipConfig};
pub use driver::{Closed, DriverStats};
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
#[cfg(feature = "config")]
pub use settings::{Settings, SettingsError};
pub use snapshot::SnapshotError;

// What the machines' words mean, so that a program needs to name this crate only.
pub use serf_core::coordinate;
pub use serf_core::names::{NAME_MAX, NameError};
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
pub use serf_wire::checksum::Checksum;
pub use serf_wire::codecs::CodecError;
pub use serf_wire::compress::Algorithm;
pub use serf_wire::encrypt::{Key, KeySize};

/// The words of the layer below Serf: its settings, and what a [`Membership`] and its [`Delegate`] need beside what this
/// crate names itself.
pub mod gossip {
    pub use serf_gossip::{
        Backlog, CommandId, Config, ConfigError, Failure, Identity, Instant, LABEL_MAX, Listener, Member,
        PROTOCOL_MAX, PROTOCOL_MIN, State, Stats, Teller, TransmitQueue, retransmit_limit,
    };
}

/// What stands in the pages is compiled and run.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[cfg(all(feature = "config", feature = "smol"))]
    #[doc = include_str!("../../../docs/embedding.md")]
    mod embedding {}
    #[cfg(feature = "quic")]
    #[doc = include_str!("../../../docs/transports.md")]
    mod transports {}
}
