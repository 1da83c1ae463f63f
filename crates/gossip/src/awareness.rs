//! How healthy we believe ourselves to be (Lifeguard's local health multiplier; spec `gossip.md` §5.6).

use core::time::Duration;

/// A score from 0 (healthy) to max − 1. Each point makes a probe take one interval longer.
#[derive(Debug, Clone)]
pub struct Awareness {
    max: u32,
    score: u32,
}

impl Awareness {
    /// Healthy, with scores below `max`.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { max, score: 0 }
    }

    /// Worse by `delta`, or better if it is negative. Returns whether the score changed.
    pub fn apply(&mut self, delta: i32) -> bool {
        let top = self.max.saturating_sub(1);
        let score = self.score.saturating_add_signed(delta).min(top);
        core::mem::replace(&mut self.score, score) != score
    }

    /// The score.
    #[must_use]
    pub fn score(&self) -> u32 {
        self.score
    }

    /// A time stretched by the score.
    #[must_use]
    pub fn scale(&self, time: Duration) -> Duration {
        time.saturating_mul(self.score + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AW1, AW2
    #[test]
    fn the_score_stays_in_its_range() {
        let mut a = Awareness::new(8);
        for (delta, want) in [(0, 0), (-1, 0), (-10, 0), (1, 1), (-1, 0), (10, 7), (1, 7), (-1, 6), (-6, 0)] {
            a.apply(delta);
            assert_eq!(a.score(), want, "after {delta}");
        }
    }

    /// AW3
    #[test]
    fn times_are_stretched_by_score_and_one() {
        let mut a = Awareness::new(8);
        for score in 0..8 {
            assert_eq!(a.scale(Duration::from_secs(1)), Duration::from_secs(score + 1));
            a.apply(1);
        }
    }
}
