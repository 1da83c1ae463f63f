//! Membership by gossip, as a state machine that touches nothing: SWIM with the Lifeguard extensions, wire-compatible
//! with the pools of HashiCorp's Serf.
//!
//! A [`Gossip`] is one owned value. It opens no socket, reads no clock, spawns nothing and draws its randomness from a
//! seed; see [`machine`] for the two calls that run it. [`Membership`] is the machine that stands alone; the Serf
//! layer (crate `serf-core`) owns a `Gossip` and is its [`Delegate`].
//!
//! What it does *not* do: it decides nothing about events, queries or tags, and it knows no names but its own and
//! those it was told.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod awareness;
mod codecs;
mod command;
mod config;
mod delegate;
mod dissemination;
mod exchange;
mod gossip;
mod hardening;
mod identity;
mod keyring;
pub mod machine;
mod members;
mod membership;
mod merge;
mod notice;
mod pool;
mod probe;
mod push_pull;
mod queue;
mod rng;
mod shares;
mod stats;
pub mod suspicion;
mod teller;
mod time;
mod timer;

pub use awareness::Awareness;
pub use command::{Command, CommandId, Event, Failure, KeyChange, Outcome, Peer};
#[cfg(feature = "planted")]
pub use config::Planted;
pub use config::{
    Config, ConfigError, Hardening, LABEL_MAX, META_MAX, Network, NetworkError, PROTOCOL_MAX, PROTOCOL_MIN,
};
pub use delegate::{Claim, Delegate, Notification, Refusal};
pub use gossip::{Gossip, push_pull_scale};
pub use hardening::{Quota, STRANGER_QUOTA};
pub use identity::{Address, Host, Identity, Name};
pub use keyring::{Keyring, KeyringError};
pub use machine::{Input, Machine, Output, Reason, StreamAction, StreamEvent, StreamId, Transmit};
pub use members::{Member, Members, Slot, State};
pub use membership::{Membership, MembershipEvent};
pub use notice::{Limiter, Notice, Others, Severity, Topic};
pub use pool::Pool;
pub use queue::{TransmitQueue, retransmit_limit};
pub use rng::Rng;
pub use shares::{Backlog, Shares};
pub use stats::Stats;
pub use teller::{Listener, Teller};
pub use time::Instant;
pub use timer::{TimerKey, Timers};
