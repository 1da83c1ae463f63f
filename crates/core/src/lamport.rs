//! Logical time: a counter that is never behind what it has seen.

/// The latest time believed of a peer or a file. Close to the end of time clocks would stand still, and whoever sends
/// one message of that time would make everybody deaf to all that follow (B2). Below it a clock still has four billion
/// steps to go, so that peers can be followed wherever else somebody led them.
pub(crate) const LTIME_MAX: u64 = u64::MAX - (1 << 32);

/// A Lamport clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LamportClock(u64);

impl LamportClock {
    /// The time: that of the next message to be sent.
    #[must_use]
    pub fn time(self) -> u64 {
        self.0
    }

    /// Moves on by one, and tells the new time.
    pub fn increment(&mut self) -> u64 {
        // Saturates (B2): a peer that claims the end of time must not throw us back to its beginning.
        self.0 = self.0.saturating_add(1);
        self.0
    }

    /// Takes note of a time that somebody used: ours is later from now on.
    pub fn witness(&mut self, used: u64) {
        if used >= self.0 {
            self.0 = used.saturating_add(1);
        }
    }

    /// Takes note of a clock that shows this: ours shows no less from now on.
    pub(crate) fn witness_unused(&mut self, shown: u64) {
        self.0 = self.0.max(shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_always_later_than_what_it_witnessed() {
        let mut clock = LamportClock::default();
        assert_eq!(clock.time(), 0);
        assert_eq!(clock.increment(), 1);
        assert_eq!(clock.time(), 1);
        for (used, time) in [(41, 42), (41, 42), (30, 42), (42, 43)] {
            clock.witness(used);
            assert_eq!(clock.time(), time);
        }
    }

    #[test]
    fn the_end_of_time_is_not_its_beginning() {
        let mut clock = LamportClock::default();
        clock.witness(u64::MAX);
        assert_eq!(clock.time(), u64::MAX);
        clock.witness(u64::MAX);
        assert_eq!(clock.increment(), u64::MAX);
    }
}
