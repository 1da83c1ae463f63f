//! A node's own clock, which need not run at the pace of the simulated world.

use serf_gossip::Instant;

/// Parts in a million.
const MILLION: i128 = 1_000_000;

/// Maps the world's time to a node's. The same line from the last change of pace on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    world: u64,
    local: u64,
    /// How much faster than the world's, in parts per million.
    ppm: i32,
}

impl Clock {
    /// Goes on at another pace from `now` on.
    pub(crate) fn set_pace(&mut self, now: Instant, ppm: i32) {
        self.local = self.local(now).as_nanos();
        self.world = now.as_nanos();
        // A clock that stands still or runs backwards is not one that a driver reads.
        self.ppm = ppm.max(-900_000);
    }

    pub(crate) fn local(&self, world: Instant) -> Instant {
        if self.ppm == 0 && self.local == self.world {
            return world;
        }
        let passed = i128::from(world.as_nanos()) - i128::from(self.world);
        let passed = (passed * (MILLION + i128::from(self.ppm))).div_euclid(MILLION);
        let local = i128::from(self.local) + passed;
        Instant::from_nanos(u64::try_from(local).unwrap_or(0))
    }

    /// The first moment at which the node's clock shows `local` or more.
    pub(crate) fn world(&self, local: Instant) -> Instant {
        if self.ppm == 0 && self.local == self.world {
            return local;
        }
        let passed = i128::from(local.as_nanos()) - i128::from(self.local);
        let pace = MILLION + i128::from(self.ppm);
        let world = i128::from(self.world) + (passed * MILLION + pace - 1).div_euclid(pace);
        Instant::from_nanos(u64::try_from(world.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_the_world_says_so() {
        for ppm in [-500_000, -333, 0, 1, 77_777, 900_000] {
            let mut clock = Clock::default();
            clock.set_pace(Instant::from_nanos(1_000), ppm);
            for local in [1_000, 1_001, 5_555, 123_456_789, 9_876_543_210_123] {
                let local = Instant::from_nanos(local);
                let world = clock.world(local);
                assert!(clock.local(world) >= local, "{ppm} {local:?} {world:?}");
                let before = Instant::from_nanos(world.as_nanos().saturating_sub(1));
                assert!(clock.local(before) < local, "{ppm} {local:?}");
            }
        }
    }
}
