//! Time as the machines know it: nanoseconds since an origin that the driver chooses. No clock is read here.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point in time: nanoseconds since an origin of the driver's choice.
///
/// Arithmetic saturates, so a deadline "for ever" away is representable and never overflows.
///
/// It is a plain number on purpose. As a `NonZeroU64`, which makes an `Option` of one smaller, the least of several
/// optional ones came out as `None` in optimized programs (rustc 1.95 with LLVM 22).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin itself.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos(d)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(d)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_ends_at_both_ends() {
        let end = Instant::from_nanos(u64::MAX);
        let second = Duration::from_secs(1);
        assert_eq!((end + second, end.as_nanos()), (end, u64::MAX));
        assert_eq!((Instant::ZERO - second, Instant::from_nanos(7).as_nanos()), (Instant::ZERO, 7));
        assert_eq!((end - second + second, end.since(end - second)), (end, second));
        assert_eq!(Instant::ZERO.since(end), Duration::ZERO);
    }

    #[test]
    fn the_least_of_several_that_may_be_missing_is_found() {
        let pair = |nanos: Option<u64>| {
            core::hint::black_box(nanos.map(|n| (Instant::from_nanos(n), Instant::from_nanos(9))))
        };
        let earlier = |pair: Option<(Instant, Instant)>| pair.map(|(one, other)| one.min(other));
        for (one, other, least) in [
            (None, None, None),
            (Some(7), None, Some(7)),
            (None, Some(7), Some(7)),
            (Some(0), Some(7), Some(0)),
            (Some(8), Some(7), Some(7)),
        ] {
            let found = [earlier(pair(one)), earlier(pair(other))].into_iter().flatten().min();
            assert_eq!(found, least.map(Instant::from_nanos), "{one:?} {other:?}");
        }
    }
}
