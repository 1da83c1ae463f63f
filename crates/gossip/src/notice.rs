//! Things worth a log line, rate-limited where a peer can cause them at will.

use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use crate::Instant;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For whoever looks for a fault.
    Debug,
    /// Part of normal life.
    Info,
    /// Something is odd.
    Warn,
    /// Something is wrong.
    Error,
}

/// What a notice is about; each topic has its own allowance of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Topic {
    /// A datagram, or a part of one, could not be read.
    BadPacket,
    /// A stream could not be read.
    BadStream,
    /// A limit was hit, and something was shed.
    Limit,
    /// A claim about a node was refused.
    RefusedClaim,
    /// A name is claimed from two addresses.
    Conflict,
    /// Probing.
    Probe,
    /// Somebody suspects us, and we answer.
    Refute,
    /// Membership changed.
    Membership,
    /// A push/pull with a random member failed, or one of theirs with us.
    PushPull,
    /// The layer above.
    Serf,
    /// Changes of the keyring that were asked for, and refused.
    Keys,
    /// The configuration is unwise.
    Config,
}

/// Topics are few and dense, so that they index an array.
const TOPICS: usize = Topic::Config as usize + 1;

/// A line for the log.
#[derive(Debug, Clone)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub topic: Topic,
    /// The text, which ends with what there is to be said of lines of this topic that are suppressed.
    pub text: String,
}

/// Lines of one topic within [`WINDOW`] before suppression begins.
const BURST: u32 = 10;
/// See [`BURST`].
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, Default)]
struct Allowance {
    began: Instant,
    used: u32,
    suppressed: u64,
}

/// What a line has to say of those like it that are not told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Others {
    /// So many were suppressed before it.
    pub suppressed: u64,
    /// It is the last one for now: whoever sees nothing after it must not believe that nothing happens.
    pub last: bool,
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.suppressed > 0 {
            write!(f, " ({} similar lines suppressed)", self.suppressed)?;
        }
        if self.last {
            write!(f, " (similar lines are only counted for up to {WINDOW:?})")?;
        }
        Ok(())
    }
}

/// Decides which notices are told.
#[derive(Debug, Clone, Default)]
pub struct Limiter([Allowance; TOPICS]);

impl Limiter {
    /// Whether a line of the topic may be told now. If so, also what is to be said of others like it.
    pub fn admit(&mut self, now: Instant, topic: Topic) -> Option<Others> {
        let a = &mut self.0[topic as usize];
        if now.since(a.began) >= WINDOW {
            a.began = now;
            a.used = 0;
        }
        if a.used >= BURST {
            a.suppressed += 1;
            return None;
        }
        a.used += 1;
        Some(Others { suppressed: core::mem::take(&mut a.suppressed), last: a.used == BURST })
    }
}

impl Notice {
    /// A notice, with what there is to be said of those like it. Control characters, which peers may have put into names,
    /// are shown escaped: one notice is one line.
    #[must_use]
    pub fn new(severity: Severity, topic: Topic, mut text: String, others: Others) -> Self {
        if text.contains(char::is_control) {
            text = text.chars().fold(String::with_capacity(text.len() + 16), |mut out, c| {
                if c.is_control() {
                    out.extend(c.escape_default());
                } else {
                    out.push(c);
                }
                out
            });
        }
        text.push_str(&others.to_string());
        Self { severity, topic, text }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_other_topics_are_free() {
        let mut l = Limiter::default();
        let told = (0..100).filter(|_| l.admit(Instant::ZERO, Topic::BadPacket).is_some()).count();
        assert_eq!(told, BURST as usize);
        assert_eq!(l.admit(Instant::ZERO, Topic::BadStream), Some(Others::default()));
        let others = l.admit(Instant::ZERO + WINDOW, Topic::BadPacket).unwrap();
        assert_eq!(others.to_string(), " (90 similar lines suppressed)");
        assert_eq!(l.admit(Instant::ZERO + WINDOW, Topic::BadPacket), Some(Others::default()));
    }

    #[test]
    fn the_last_line_before_silence_says_so() {
        let mut l = Limiter::default();
        let told: Vec<String> = (0..100)
            .filter_map(|_| l.admit(Instant::ZERO, Topic::BadPacket))
            .map(|others| others.to_string())
            .collect();
        assert_eq!(told[..BURST as usize - 1], [""; BURST as usize - 1]);
        assert_eq!(told[BURST as usize - 1..], [" (similar lines are only counted for up to 10s)"]);
    }
}
