//! Whole Serf clusters in one thread: the machines of `serf-core`, full ones, on a virtual network in virtual time.
//! What happens depends on a seed and on the calls made, to the byte and on every platform: see [`Sim`].
//!
//! The world takes no thread, no clock and no file. What does, to make experiments with many worlds, is behind the feature
//! `experiments`, which is on unless it is turned off.
#![forbid(unsafe_code)]

mod check;
mod clock;
mod digest;
mod host;
mod network;
mod play;
mod pool;
mod queue;
mod scenario;
mod sim;
mod streams;

pub use check::{Checker, Kind, RULES, Violation};
pub use host::{INBOX_BYTES, OUTBOX_BYTES, Stall};
pub use network::{At, Distance, Fault, Latency, Link, Network};
pub use play::{Listener, Played, Told, play};
pub use scenario::{Act, Scenario};
pub use sim::{Sim, Traffic};

#[cfg(feature = "experiments")]
pub mod args;
#[cfg(feature = "experiments")]
pub mod experiment;
#[cfg(feature = "experiments")]
pub mod explore;
#[cfg(feature = "experiments")]
pub mod forecast;
#[cfg(feature = "experiments")]
pub mod report;
#[cfg(feature = "experiments")]
pub mod work;

/// What stands in the page is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/simulation.md")]
mod page {}
