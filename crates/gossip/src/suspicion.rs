//! The accelerating suspicion timer (Lifeguard's local health aware suspicion; spec `gossip.md` §5.5).
//!
//! A suspected node is declared dead after `max`; each independent confirmation brings the end nearer, down to
//! `min` when `k` have come.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Instant, Name, TimerKey};

/// One node's suspicion.
#[derive(Debug, Clone)]
pub struct Suspicion {
    began: Instant,
    min: Duration,
    max: Duration,
    /// Confirmations wanted.
    k: u32,
    /// Who has accused: the first accuser, then the confirmers. At most k + 1.
    accusers: Vec<Name>,
    /// The deadline set for its end.
    pub(crate) timer: Option<TimerKey>,
}

impl Suspicion {
    /// Begun by `from`, with `k` confirmations wanted.
    #[must_use]
    pub fn new(now: Instant, from: Name, k: u32, min: Duration, max: Duration) -> Self {
        Self { began: now, min, max, k, accusers: alloc::vec![from], timer: None }
    }

    /// When it ends, with the confirmations so far.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.confirmations() {
            // Exactly: whole milliseconds are for what is computed.
            0 if self.k > 0 => self.began + self.max.max(self.min),
            c => self.began + timeout(c, self.k, self.min, self.max),
        }
    }

    /// Takes a confirmation. True if it is news: then the deadline has changed, and others should hear of it.
    pub fn confirm(&mut self, from: &[u8]) -> bool {
        if self.confirmations() >= self.k || self.accusers.iter().any(|a| a.as_bytes() == from) {
            return false;
        }
        self.accusers.push(from.into());
        true
    }

    /// Confirmations so far.
    #[must_use]
    pub fn confirmations(&self) -> u32 {
        self.accusers.len() as u32 - 1
    }

    /// Whether fewer confirmed it than were wanted.
    #[must_use]
    pub fn is_lonely(&self) -> bool {
        self.k > 0 && self.confirmations() < self.k
    }
}

/// How long a suspicion with `c` of `k` confirmations lasts: max − (max − min) · ln(c+1) / ln(k+1), in whole
/// milliseconds, never below min.
#[must_use]
pub fn timeout(c: u32, k: u32, min: Duration, max: Duration) -> Duration {
    if k == 0 {
        return min;
    }
    let frac = libm::log(f64::from(c) + 1.0) / libm::log(f64::from(k) + 1.0);
    let raw = max.as_secs_f64() - frac * (max.as_secs_f64() - min.as_secs_f64());
    let millis = libm::floor(1000.0 * raw);
    if millis <= 0.0 { min } else { min.max(Duration::from_millis(millis as u64)) }
}

/// The shortest suspicion in a cluster of `n`: mult × max(1, log₁₀ n) × interval, the logarithm cut to three decimals.
#[must_use]
pub fn shortest(mult: u32, n: usize, interval: Duration) -> Duration {
    let scale = libm::log10(n.max(1) as f64).max(1.0);
    let thousandths = (scale * 1000.0) as u64;
    let nanos = (u128::from(mult) * u128::from(thousandths)).saturating_mul(interval.as_nanos()) / 1000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Confirmations wanted in a cluster of `n`: mult − 2, none if there are not that many others.
#[must_use]
pub fn confirmations_wanted(mult: u32, n: usize) -> u32 {
    let k = mult.saturating_sub(2);
    if n < k as usize + 2 { 0 } else { k }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    /// SU1, SU2
    #[test]
    fn the_end_comes_nearer_with_confirmations() {
        let (min, max) = (secs(2.0), secs(30.0));
        // Remaining time after c confirmations and so many seconds.
        for (c, elapsed, left) in
            [(0, 0, 30.0), (1, 2, 14.0), (2, 3, 4.81), (3, 4, -2.0), (4, 5, -3.0), (5, 10, -8.0)]
        {
            let got = timeout(c, 3, min, max).as_secs_f64() - f64::from(elapsed);
            assert!((got - left).abs() < 0.001, "{c} confirmations: {got}");
        }
        for (c, ms) in [(0, 2000), (1, 1250), (2, 811), (3, 500)] {
            assert_eq!(timeout(c, 3, secs(0.5), secs(2.0)), Duration::from_millis(ms));
        }
    }

    /// SU3, SU4, SU5
    #[test]
    fn each_accuser_counts_once_and_no_more_than_wanted() {
        let mut s = Suspicion::new(Instant::ZERO, "me".into(), 3, secs(0.5), secs(2.0));
        assert!(!s.confirm(b"me"));
        assert!(s.confirm(b"a"));
        assert!(!s.confirm(b"a"));
        assert!(s.is_lonely());
        assert!(s.confirm(b"b") && s.confirm(b"c"));
        assert!(!s.is_lonely());
        assert!(!s.confirm(b"d"));
        assert_eq!(s.deadline(), Instant::ZERO + secs(0.5));
    }

    /// SU7
    #[test]
    fn without_confirmers_it_is_short_and_closed() {
        let mut s = Suspicion::new(Instant::ZERO, "me".into(), 0, secs(0.5), secs(2.0));
        assert_eq!(s.deadline(), Instant::ZERO + secs(0.5));
        assert!(!s.confirm(b"a"));
        assert!(!s.is_lonely());
    }

    /// SU9
    #[test]
    fn the_shortest_grows_with_the_logarithm() {
        for (n, s) in [(5, 1.0), (10, 1.0), (50, 1.698), (100, 2.0), (500, 2.698), (1000, 3.0)] {
            assert_eq!(shortest(3, n, secs(1.0)) / 3, secs(s), "{n} nodes");
        }
    }
}
