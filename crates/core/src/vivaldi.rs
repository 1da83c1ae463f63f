//! How a node finds its own place: as if a spring hung between it and everybody it measures, as long as the round trip
//! (spec `serf.md` §9.5).

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::Rng;

use crate::coordinate::{BadCoordinate, Coordinate, DIMENSIONS, TINY};

/// The longest round trip that counts. Whoever takes longer is not far away but unwell.
pub const RTT_MAX: Duration = Duration::from_secs(10);

/// The knobs. The defaults are those of every Serf; nodes with others do not understand each other's distances.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// The error of a newcomer, and the largest there is.
    pub error_max: f64,
    /// How much one measurement weighs for the error, 0 to 1.
    pub error_gain: f64,
    /// How much of what a measurement is off one step makes good, 0 to 1.
    pub force_gain: f64,
    /// How many of the latest measurements the adjustment is the mean of; 0 for no adjustment.
    pub adjustment_window: usize,
    /// The least height, in seconds.
    pub height_min: f64,
    /// How far from the origin gravity gets as strong as that distance, in seconds: the larger, the weaker.
    pub gravity_rho: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            error_max: 1.5,
            error_gain: 0.25,
            force_gain: 0.25,
            adjustment_window: 20,
            height_min: 10.0e-6,
            gravity_rho: 150.0,
        }
    }
}

/// The latest round trips to one peer, `N` at most, of which the middle one is believed: so a single slow answer moves
/// nobody. Drop it to forget the peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latencies<const N: usize = 3> {
    /// In seconds, the latest last.
    samples: [f64; N],
    count: usize,
}

impl<const N: usize> Default for Latencies<N> {
    fn default() -> Self {
        const { assert!(N > 0, "of no samples none is the middle one") }
        Self { samples: [0.0; N], count: 0 }
    }
}

impl<const N: usize> Latencies<N> {
    /// Takes a round trip in, and tells the middle one in seconds; of two, the longer.
    pub fn push(&mut self, rtt: Duration) -> f64 {
        if self.count == N {
            self.samples.rotate_left(1);
        } else {
            self.count += 1;
        }
        self.samples[self.count - 1] = rtt.as_secs_f64();
        let mut sorted = self.samples;
        let sorted = &mut sorted[..self.count];
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[self.count / 2]
    }
}

/// A node's own place, as it is found from measurements.
#[derive(Debug, Clone)]
pub struct Vivaldi<const D: usize = DIMENSIONS> {
    tuning: Tuning,
    place: Coordinate<D>,
    origin: Coordinate<D>,
    /// By how much the latest measurements were off, in seconds, with the place as it was then.
    off: Vec<f64>,
    next: usize,
    resets: u64,
    /// For directions from where there is none.
    rng: Rng,
}

impl<const D: usize> Vivaldi<D> {
    /// At the origin. A space without dimensions does not compile.
    #[must_use]
    pub fn new(tuning: Tuning, rng: Rng) -> Self {
        const { assert!(D > 0, "a space without dimensions has no places") }
        let place = Coordinate::new(&tuning);
        let off = vec![0.0; tuning.adjustment_window];
        Self { tuning, place, origin: place, off, next: 0, resets: 0, rng }
    }

    /// Where we are.
    #[must_use]
    pub fn coordinate(&self) -> &Coordinate<D> {
        &self.place
    }

    /// Says where we are.
    ///
    /// # Errors
    /// Those of [`Coordinate::check`]; we stay where we were.
    pub fn set_coordinate(&mut self, place: Coordinate<D>) -> Result<(), BadCoordinate> {
        place.check()?;
        self.place = place;
        Ok(())
    }

    /// How often our place was lost, so that we began again at the origin.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// A round trip to a peer that is `there` took so long. Our place after that.
    ///
    /// # Errors
    /// Those of [`Coordinate::check`], or [`BadCoordinate::RoundTrip`]. Nothing is changed, nor are `latencies`.
    pub fn update<const N: usize>(
        &mut self,
        latencies: &mut Latencies<N>,
        there: &Coordinate<D>,
        rtt: Duration,
    ) -> Result<&Coordinate<D>, BadCoordinate> {
        there.check()?;
        if rtt > RTT_MAX {
            return Err(BadCoordinate::RoundTrip(rtt));
        }
        let rtt = latencies.push(rtt);
        self.pull(there, rtt);
        self.adjust(there, rtt);
        self.fall();
        if self.place.check().is_err() {
            self.resets += 1;
            self.place = self.origin;
            // What made it so is forgotten too, or it would do so again for the length of the window (B40).
            self.off.fill(0.0);
        }
        Ok(&self.place)
    }

    /// The spring pulls or pushes.
    fn pull(&mut self, there: &Coordinate<D>, rtt: f64) {
        let Tuning { error_max, error_gain, force_gain, .. } = self.tuning;
        let distance = self.place.distance_to(there).as_secs_f64();
        let rtt = rtt.max(TINY);
        let wrong = (distance - rtt).abs() / rtt;
        // Who is less certain moves more.
        let weight = self.place.error / (self.place.error + there.error).max(TINY);
        let error = error_gain * weight * wrong + self.place.error * (1.0 - error_gain * weight);
        self.place.error = if error > error_max { error_max } else { error };
        let force = force_gain * weight * (rtt - distance);
        self.place = self.place.apply_force(&self.tuning, force, there, &mut self.rng);
    }

    /// Notes by how much the measurement is still off.
    fn adjust(&mut self, there: &Coordinate<D>, rtt: f64) {
        let window = self.off.len();
        let Some(off) = self.off.get_mut(self.next) else { return };
        *off = rtt - self.place.raw_distance_to(there);
        self.next = (self.next + 1) % window;
        self.place.adjustment = self.off.iter().sum::<f64>() / (2.0 * window as f64);
    }

    /// Gravity, without which all would drift away together.
    fn fall(&mut self) {
        let pull = self.origin.distance_to(&self.place).as_secs_f64() / self.tuning.gravity_rho;
        self.place = self.place.apply_force(&self.tuning, -(pull * pull), &self.origin, &mut self.rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn vivaldi() -> Vivaldi {
        Vivaldi::new(Tuning::default(), Rng::from_seed([5; 32]))
    }

    #[test]
    fn the_middle_one_of_the_latest_three_is_believed() {
        let inputs = [201, 200, 207, 1900, 203, 199, 211];
        let outputs = [0.201, 0.201, 0.201, 0.207, 0.207, 0.203, 0.203];
        let mut one = Latencies::<3>::default();
        for (input, output) in inputs.into_iter().zip(outputs) {
            assert_eq!(one.push(input * MS), output);
        }
        // Of another node, or of the same when it was forgotten, nothing is known.
        assert_eq!(Latencies::<3>::default().push(300 * MS), 0.3);
    }

    /// However it came to pass. (Of an adjustment that is none nothing is left after one measurement.)
    #[test]
    fn a_place_that_is_no_place_is_left_for_the_origin_once() {
        for poison in [f64::NAN, f64::INFINITY] {
            for part in 0..3 {
                let mut me = vivaldi();
                let place = &mut me.place;
                *[&mut place.vec[3], &mut place.error, &mut place.height][part] = poison;
                let mut latencies = Latencies::<3>::default();
                let there = Coordinate { vec: [0.1; 8], ..Coordinate::default() };
                assert_eq!(me.update(&mut latencies, &there, MS), Ok(&Coordinate::default()));
                assert_eq!(me.resets(), 1);
                // B40: nothing of it is left behind.
                for _ in 0..30 {
                    assert!(me.update(&mut latencies, &there, MS).unwrap().check().is_ok());
                }
                assert_eq!(me.resets(), 1);
            }
        }
    }
}
