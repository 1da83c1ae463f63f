//! Which compression and which checksums a node has beyond the reference's, as it tells its peers: a set in one byte.
//! Whom to tell, and whom to believe, is decided elsewhere (`docs/codecs.md`).

use alloc::string::String;
use core::fmt;

use crate::checksum::Checksum;
use crate::compress::Algorithm;

/// A set of codecs beyond the reference's. On the wire it is the number `Codecs` of a ping, of the ack to it, and of a
/// push/pull header, where the empty set is left out; what a newer release may put into it is not looked at.
///
/// ```
/// use serf_wire::checksum::Checksum;
/// use serf_wire::codecs::Codecs;
/// use serf_wire::compress::Algorithm;
///
/// let told = Codecs::of(&[Algorithm::Zstd, Algorithm::Lz4], &[Checksum::Xxh3]);
/// assert!(told.compress(Algorithm::Lz4) && told.check(Checksum::Xxh3));
/// assert!(!told.compress(Algorithm::Brotli));
/// // What every peer has needs no telling.
/// assert!(Codecs::NONE.compress(Algorithm::Lzw) && Codecs::NONE.check(Checksum::Crc32));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Codecs(u8);

impl Codecs {
    /// Nothing but what the reference has.
    pub const NONE: Self = Self(0);

    /// The set of these.
    #[must_use]
    pub fn of(algorithms: &[Algorithm], checksums: &[Checksum]) -> Self {
        let algorithms = algorithms.iter().map(|&a| algorithm_bit(a));
        Self(algorithms.chain(checksums.iter().map(|&c| checksum_bit(c))).fold(0, |all, bit| all | bit))
    }

    /// From the number on the wire. Bits that stand for nothing yet are dropped.
    #[must_use]
    pub const fn from_wire(told: u64) -> Self {
        Self(told as u8)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u64 {
        self.0 as u64
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it can be used towards a node that has these: always, if the reference has it.
    #[must_use]
    pub fn compress(self, algorithm: Algorithm) -> bool {
        let bit = algorithm_bit(algorithm);
        self.0 & bit == bit
    }

    /// The same of a checksum.
    #[must_use]
    pub fn check(self, checksum: Checksum) -> bool {
        let bit = checksum_bit(checksum);
        self.0 & bit == bit
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The name of a codec that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Nothing has this name.
    #[error("unknown {what} {name:?}: expected one of {known}")]
    Unknown {
        /// Whether it should be a compression or a checksum.
        what: &'static str,
        /// The name.
        name: String,
        /// All names that there are.
        known: String,
    },
    /// It is not in this build.
    #[error("unavailable {what} {name:?}: this build lacks the feature '{feature}'")]
    Unavailable {
        /// Whether it is a compression or a checksum.
        what: &'static str,
        /// The name.
        name: &'static str,
        /// The feature to build with.
        feature: &'static str,
    },
}

fn algorithm_bit(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Lzw => 0,
        Algorithm::Lz4 => 1 << 0,
        Algorithm::Snappy => 1 << 1,
        Algorithm::Zstd => 1 << 2,
        Algorithm::Brotli => 1 << 3,
    }
}

fn checksum_bit(checksum: Checksum) -> u8 {
    match checksum {
        Checksum::Crc32 => 0,
        Checksum::Xxh32 => 1 << 4,
        Checksum::Xxh64 => 1 << 5,
        Checksum::Xxh3 => 1 << 6,
        Checksum::Murmur3 => 1 << 7,
    }
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms = Algorithm::ALL.into_iter().filter(|&a| a != Algorithm::Lzw && self.compress(a));
        let checksums = Checksum::ALL.into_iter().filter(|&c| c != Checksum::Crc32 && self.check(c));
        f.debug_set().entries(algorithms.map(Algorithm::name)).entries(checksums.map(Checksum::name)).finish()
    }
}
