//! Whole Serf clusters in one thread: the machines of `serf-core`, full ones, on a virtual network in virtual time.
//! What happens depends on a seed and on the calls made, to the byte: see [`Sim`].
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

pub mod args;
pub mod experiment;
pub mod explore;
pub mod forecast;
pub mod report;
pub mod work;
