//! Network coordinates: a place for each node in a space of a few dimensions, so that the distance of two places
//! estimates the round trip between two nodes that may never have talked to each other (spec `serf.md` §9).
//!
//! [`Coordinate`] is such a place, [`Vivaldi`] finds the own one from measured round trips. A [`crate::Node`] does that
//! by itself with every ping it sends; a program can do it with measurements of its own:
//!
//! ```
//! use core::time::Duration;
//! use serf_core::coordinate::{Latencies, Tuning, Vivaldi};
//! use serf_gossip::Rng;
//!
//! let mut here: Vivaldi = Vivaldi::new(Tuning::default(), Rng::from_seed([1; 32]));
//! let mut there: Vivaldi = Vivaldi::new(Tuning::default(), Rng::from_seed([2; 32]));
//! let (mut to_there, mut to_here) = (Latencies::<3>::default(), Latencies::<3>::default());
//! let rtt = Duration::from_millis(30);
//! for _ in 0..100 {
//!     here.update(&mut to_there, there.coordinate(), rtt).unwrap();
//!     there.update(&mut to_here, here.coordinate(), rtt).unwrap();
//! }
//! let estimate = here.coordinate().distance_to(there.coordinate());
//! assert!(estimate.abs_diff(rtt) < Duration::from_millis(1));
//! ```
//!
//! The arithmetic is that of plain double precision in one fixed order, so that the same measurements give the same
//! bits everywhere, and the reference's bits too.

use core::time::Duration;

use serf_gossip::Rng;
use serf_wire::Malformed;
use serf_wire::coordinate as wire;

pub use crate::vivaldi::{Latencies, RTT_MAX, Tuning, Vivaldi};

/// The dimensions of the coordinates that Serf exchanges.
pub const DIMENSIONS: usize = 8;

/// The farthest, in seconds, that anything in a coordinate from a peer may be from zero: a thousand times the longest
/// round trip that counts, and far beyond what a healthy node ever has. One bad coordinate moves us by a quarter of its
/// distance. At 45,000 s from the origin gravity begins to throw farther than it pulls; with this bound nobody gets us
/// there.
pub const REACH_MAX: f64 = 10_000.0;

/// In seconds: what is not longer has no direction.
pub(crate) const TINY: f64 = 1.0e-6;

/// A network coordinate. All its parts are finite numbers, or it is not [valid](Coordinate::check).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinate<const D: usize = DIMENSIONS> {
    /// Where the node is, in seconds along each axis.
    pub vec: [f64; D],
    /// How far off that may be: 0 for certain, 1.5 for a newcomer. Without unit.
    pub error: f64,
    /// What the latest measurements say is to be added to distances, in seconds; may be negative.
    pub adjustment: f64,
    /// The part of every distance that is the node's own, its way to the rest of the network, in seconds.
    pub height: f64,
}

impl<const D: usize> Coordinate<D> {
    /// The place of a node that has measured nothing: the origin, and as uncertain as can be.
    #[must_use]
    pub fn new(tuning: &Tuning) -> Self {
        Self { vec: [0.0; D], error: tuning.error_max, adjustment: 0.0, height: tuning.height_min }
    }

    /// The estimated round trip between nodes at two places, cut to whole nanoseconds. It is the same both ways. Zero
    /// where it would be negative or no number, and the longest time there is where it would be longer.
    ///
    /// ```
    /// use serf_core::coordinate::Coordinate;
    /// let a = Coordinate { vec: [0.003, 0.004], error: 1.0, adjustment: 0.0, height: 0.001 };
    /// let b = Coordinate { vec: [0.0, 0.0], error: 1.0, adjustment: -0.002, height: 0.001 };
    /// assert_eq!(a.distance_to(&b).as_micros(), 5000);
    /// ```
    #[must_use]
    pub fn distance_to(&self, other: &Self) -> Duration {
        let raw = self.raw_distance_to(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        let seconds = if adjusted > 0.0 { adjusted } else { raw };
        // The conversion saturates.
        Duration::from_nanos((seconds * 1.0e9) as u64)
    }

    /// The distance without adjustments, in seconds.
    pub(crate) fn raw_distance_to(&self, other: &Self) -> f64 {
        magnitude(&difference(&self.vec, &other.vec)) + self.height + other.height
    }

    /// The place where a force of so many seconds takes a node away from another, or, if it is negative, towards it;
    /// with a height of at least [`Tuning::height_min`]. Where both are at one place the direction is drawn.
    #[must_use]
    pub fn apply_force(&self, tuning: &Tuning, force: f64, other: &Self, rng: &mut Rng) -> Self {
        let (direction, length) = direction(&self.vec, &other.vec, rng);
        let mut moved = *self;
        for (at, along) in moved.vec.iter_mut().zip(direction) {
            *at += along * force;
        }
        if length > TINY {
            let height = (self.height + other.height) * force / length + self.height;
            // Not `f64::max`, which would hide a height that is no number.
            moved.height = if height < tuning.height_min { tuning.height_min } else { height };
        }
        moved
    }

    /// Whether this can be somebody's place.
    ///
    /// # Errors
    /// [`BadCoordinate::NotFinite`]; [`BadCoordinate::Negative`], which the reference takes (B40), but no node has.
    pub fn check(&self) -> Result<(), BadCoordinate> {
        if !self.parts().all(f64::is_finite) {
            return Err(BadCoordinate::NotFinite);
        }
        if self.error < 0.0 || self.height < 0.0 {
            return Err(BadCoordinate::Negative);
        }
        Ok(())
    }

    /// What a peer has sent, if it can be its place.
    ///
    /// # Errors
    /// All of [`BadCoordinate`], but [`BadCoordinate::RoundTrip`].
    pub(crate) fn from_peer(payload: &[u8]) -> Result<Option<Self>, BadCoordinate> {
        let Some(it) = wire::Coordinate::read_payload(payload)? else { return Ok(None) };
        if it.vec.len() != D {
            return Err(BadCoordinate::Dimensions { theirs: it.vec.len(), ours: D });
        }
        let mut vec = [0.0; D];
        vec.iter_mut().zip(it.vec.iter()).for_each(|(to, from)| *to = from);
        let it = Self { vec, error: it.error, adjustment: it.adjustment, height: it.height };
        it.check()?;
        if it.parts().any(|part| part.abs() > REACH_MAX) {
            return Err(BadCoordinate::Absurd);
        }
        Ok(Some(it))
    }

    /// As bytes are made of it.
    pub(crate) fn as_wire(&self) -> wire::Coordinate<'_> {
        let Self { vec, error, adjustment, height } = self;
        wire::Coordinate {
            vec: serf_wire::list::List::of(vec),
            error: *error,
            adjustment: *adjustment,
            height: *height,
        }
    }

    fn parts(&self) -> impl Iterator<Item = f64> {
        self.vec.into_iter().chain([self.error, self.adjustment, self.height])
    }
}

impl<const D: usize> Default for Coordinate<D> {
    fn default() -> Self {
        Self::new(&Tuning::default())
    }
}

/// Why a measurement teaches nothing. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCoordinate {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is of another space.
    #[error("it has {theirs} dimensions, not {ours}")]
    Dimensions {
        /// Its dimensions.
        theirs: usize,
        /// Those it should have.
        ours: usize,
    },
    /// Something in it is infinite or not a number.
    #[error("not all of it are finite numbers")]
    NotFinite,
    /// Error or height are below zero.
    #[error("its error or its height is negative")]
    Negative,
    /// Something in it is beyond [`REACH_MAX`].
    #[error("it is more than {REACH_MAX} s from anything there is")]
    Absurd,
    /// The round trip is longer than [`RTT_MAX`].
    #[error("a round trip of {0:?} is not in the range up to {RTT_MAX:?}")]
    RoundTrip(Duration),
}

fn difference<const D: usize>(a: &[f64; D], b: &[f64; D]) -> [f64; D] {
    core::array::from_fn(|i| a[i] - b[i])
}

fn magnitude<const D: usize>(v: &[f64; D]) -> f64 {
    libm::sqrt(v.iter().map(|x| x * x).sum())
}

fn scaled<const D: usize>(v: &[f64; D], by: f64) -> [f64; D] {
    v.map(|x| x * by)
}

/// The way from `b` to `a`: its direction, of length 1, and its length. For one place, any direction and 0.
fn direction<const D: usize>(a: &[f64; D], b: &[f64; D], rng: &mut Rng) -> ([f64; D], f64) {
    let v = difference(a, b);
    let length = magnitude(&v);
    if length > TINY {
        return (scaled(&v, 1.0 / length), length);
    }
    let v = core::array::from_fn(|_| rng.unit() - 0.5);
    let length = magnitude(&v);
    if length > TINY {
        return (scaled(&v, 1.0 / length), 0.0);
    }
    (core::array::from_fn(|i| if i == 0 { 1.0 } else { 0.0 }), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> Rng {
        Rng::from_seed([4; 32])
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn vectors_are_as_long_as_they_should_be() {
        assert_eq!(magnitude(&[1.0, -2.0, 3.0]), 3.741_657_386_773_941_3);
        assert_eq!(difference(&[1.0, -3.0], &[2.0, 4.0]), [-1.0, -7.0]);
        let (v, length) = direction(&[1.0, 2.0, 3.0], &[0.5, 0.6, 0.7], &mut rng());
        let want = [0.182_574_185_835_055_36, 0.511_207_720_338_155, 0.839_841_254_841_254_6];
        assert!(v.iter().zip(want).all(|(a, b)| close(*a, b)), "{v:?}");
        assert!(close(length, 2.738_612_787_525_830_6));
    }

    #[test]
    fn from_one_place_any_direction_leads_away() {
        let mut rng = rng();
        for _ in 0..100 {
            let (v, length) = direction(&[0.5; 3], &[0.5; 3], &mut rng);
            assert!(close(magnitude(&v), 1.0));
            assert_eq!(length, 0.0);
        }
    }

    #[test]
    fn what_a_peer_says_is_read_back_as_it_was() {
        let it = Coordinate::<8> { vec: [0.5; 8], error: 0.25, adjustment: -0.125, height: 0.75 };
        let mut payload = alloc::vec![];
        it.as_wire().write_payload(&mut payload);
        assert_eq!(payload.len(), 130);
        assert_eq!(Coordinate::from_peer(&payload), Ok(Some(it)));
        assert_eq!(Coordinate::<8>::from_peer(b""), Ok(None));
        let theirs = Coordinate::<16>::default();
        payload.clear();
        theirs.as_wire().write_payload(&mut payload);
        let why = Coordinate::<8>::from_peer(&payload);
        assert_eq!(why, Err(BadCoordinate::Dimensions { theirs: 16, ours: 8 }));
    }
}
