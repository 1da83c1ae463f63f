//! The snapshot file: what a node writes down to know, after a restart, whom to call and what it has seen (spec
//! `serf.md` §10). Here are the words and who writes them when; the file itself is the owner's, who reads it with
//! [`Replay`] before the node is made, and does to it what [`crate::Event::Snapshot`] asks.
//!
//! | Room | What is decided there |
//! |---|---|
//! | `record` | what a line says |
//! | `replay` | what a file says, whatever has happened to it |
//! | `recorder` | what is written, and when |
//! | `hooks` | where it hears of what happens |

mod hooks;
mod record;
mod recorder;
mod replay;

pub use record::Fault;
pub(crate) use recorder::Recorder;
pub use recorder::Write;
pub use replay::{Replay, Skipped, Snapshot};
