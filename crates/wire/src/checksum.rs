//! The checksum in front of a datagram: the reference's, and another header for others. When to use which is decided
//! elsewhere.
//!
//! ```text
//! 0c | u32be CRC-32 | payload                       gossip.md §1.5
//! f0 | u8 algorithm | digest, big-endian | payload  docs/codecs.md; never sent to a peer that has not asked for it
//! ```

#[cfg(feature = "murmur3")]
mod murmur3;

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::codecs::CodecError;
use crate::error::Malformed;
use crate::swim::Kind;

/// How a datagram is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Checksum {
    /// CRC-32 (IEEE), the reference's.
    Crc32 = 0,
    /// XXH32 with seed 0. Feature `xxhash`.
    Xxh32 = 1,
    /// XXH64 with seed 0. Feature `xxhash`.
    Xxh64 = 2,
    /// XXH3, 64 bits, with seed 0. Feature `xxhash`.
    Xxh3 = 3,
    /// MurmurHash3, x86, 32 bits, with seed 0. Feature `murmur3`.
    Murmur3 = 4,
}

impl Checksum {
    /// All of them, whether or not they are in this build.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Xxh32, Self::Xxh64, Self::Xxh3, Self::Murmur3];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Xxh32 => "xxh32",
            Self::Xxh64 => "xxh64",
            Self::Xxh3 => "xxh3",
            Self::Murmur3 => "murmur3",
        }
    }

    /// The feature of this crate that it comes with; none for the reference's, which is always there.
    #[must_use]
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Crc32 => None,
            Self::Xxh32 | Self::Xxh64 | Self::Xxh3 => Some("xxhash"),
            Self::Murmur3 => Some("murmur3"),
        }
    }

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Crc32 => true,
            Self::Xxh32 | Self::Xxh64 | Self::Xxh3 => cfg!(feature = "xxhash"),
            Self::Murmur3 => cfg!(feature = "murmur3"),
        }
    }

    /// How many bytes its header has.
    #[must_use]
    pub const fn overhead(self) -> usize {
        match self {
            Self::Crc32 => 1 + 4,
            Self::Xxh32 | Self::Murmur3 => 2 + 4,
            Self::Xxh64 | Self::Xxh3 => 2 + 8,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        // The reference's has a header of its own.
        Self::ALL.into_iter().skip(1).find(|&c| c as u8 == byte)
    }

    /// The digest, if this build can make it.
    fn digest(self, payload: &[u8]) -> Option<u64> {
        match self {
            Self::Crc32 => Some(u64::from(crc32fast::hash(payload))),
            #[cfg(feature = "xxhash")]
            Self::Xxh32 => Some(u64::from(xxhash_rust::xxh32::xxh32(payload, 0))),
            #[cfg(feature = "xxhash")]
            Self::Xxh64 => Some(xxhash_rust::xxh64::xxh64(payload, 0)),
            #[cfg(feature = "xxhash")]
            Self::Xxh3 => Some(xxhash_rust::xxh3::xxh3_64(payload)),
            #[cfg(feature = "murmur3")]
            Self::Murmur3 => Some(u64::from(murmur3::hash(payload))),
            #[allow(unreachable_patterns, reason = "with all features there are none left")]
            _ => None,
        }
    }

    /// Makes room for the header; what is checked is appended next.
    pub(crate) fn begin(self, out: &mut Vec<u8>) {
        out.resize(out.len() + self.or_common().overhead(), 0);
    }

    /// Writes the header that [`begin`](Self::begin) made room for; the payload begins at `payload`.
    pub(crate) fn finish(self, out: &mut [u8], payload: usize) {
        let it = self.or_common();
        let (before, payload) = out.split_at_mut(payload);
        let digest = it.digest(payload).unwrap_or_default().to_be_bytes();
        let start = before.len() - it.overhead();
        let header = &mut before[start..];
        let length = match it {
            Self::Crc32 => {
                header[0] = Kind::HasCrc as u8;
                header.len() - 1
            }
            _ => {
                header[0] = Kind::HasChecksum as u8;
                header[1] = it as u8;
                header.len() - 2
            }
        };
        let at = header.len() - length;
        header[at..].copy_from_slice(&digest[digest.len() - length..]);
    }

    /// What this build cannot make is the reference's, which everybody reads.
    fn or_common(self) -> Self {
        if self.is_built() { self } else { Self::Crc32 }
    }
}

/// By its name, if this build has it.
impl FromStr for Checksum {
    type Err = CodecError;

    fn from_str(name: &str) -> Result<Self, CodecError> {
        let what = "checksum";
        let it = Self::ALL.into_iter().find(|it| it.name() == name);
        let it = it.ok_or_else(|| CodecError::Unknown {
            what,
            name: name.into(),
            known: Self::ALL.map(Self::name).join(", "),
        })?;
        match it.feature() {
            Some(feature) if !it.is_built() => {
                Err(CodecError::Unavailable { what, name: it.name(), feature })
            }
            _ => Ok(it),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Takes the header off, if there is one, and checks what follows.
///
/// # Errors
/// [`Malformed::Checksum`] if it does not match; [`Malformed::ChecksumAlgorithm`] and [`Malformed::ChecksumNotBuilt`]
/// for one that cannot be made; [`Malformed::Truncated`] inside the header of one that can.
pub(crate) fn strip(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let (checksum, header) = match *bytes {
        // Fewer bytes than this are not looked at, as in the reference; they are no message either.
        [head, _, _, _, _, ..] if head == Kind::HasCrc as u8 => (Checksum::Crc32, 1),
        [head, algorithm, ..] if head == Kind::HasChecksum as u8 => {
            (Checksum::from_byte(algorithm).ok_or(Malformed::ChecksumAlgorithm(algorithm))?, 2)
        }
        _ => return Ok(bytes),
    };
    if !checksum.is_built() {
        return Err(Malformed::ChecksumNotBuilt(checksum));
    }
    let (digest, payload) = bytes.split_at_checked(checksum.overhead()).ok_or(Malformed::Truncated)?;
    let announced = digest[header..].iter().fold(0, |n, &b| n << 8 | u64::from(b));
    match checksum.digest(payload) {
        Some(actual) if actual == announced => Ok(payload),
        Some(actual) => Err(Malformed::Checksum { announced, actual }),
        None => Err(Malformed::ChecksumNotBuilt(checksum)),
    }
}
