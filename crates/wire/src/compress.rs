//! The compression envelope around a message, and the algorithms that can be in it: the reference's, and others as
//! features. When to compress, and with what, is decided elsewhere.
//!
//! Format: gossip.md §1.6 for the envelope and LZW, `docs/codecs.md` for the others. Each file below knows one algorithm:
//! how to compress, and how to decompress into a bounded buffer.

#[cfg(feature = "brotli")]
mod brotli;
#[cfg(feature = "lz4")]
mod lz4;
mod lzw;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use self::lzw::Lzw;
use crate::codecs::CodecError;
use crate::error::Malformed;
use crate::msgpack::{Dialect, Reader, Writer};
use crate::swim::Kind;

/// How a message is compressed, as the envelope tells it.
///
/// The numbers of those that the reference does not have are letters, far from the next ones that it may assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// LZW as in GIF files, the reference's.
    Lzw = 0,
    /// An LZ4 block behind its plain length in four little-endian bytes. Feature `lz4`.
    Lz4 = b'L',
    /// A raw Snappy stream. Feature `snappy`, the only one that needs `std`.
    Snappy = b'S',
    /// One Zstandard frame. Feature `zstd`.
    Zstd = b'Z',
    /// A Brotli stream, without large windows. Feature `brotli`.
    Brotli = b'B',
}

impl Algorithm {
    /// All of them, whether or not they are in this build.
    pub const ALL: [Self; 5] = [Self::Lzw, Self::Lz4, Self::Snappy, Self::Zstd, Self::Brotli];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lzw => "lzw",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
            Self::Brotli => "brotli",
        }
    }

    /// The feature of this crate that it comes with; none for the reference's, which is always there.
    #[must_use]
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Lzw => None,
            _ => Some(self.name()),
        }
    }

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Lzw => true,
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Zstd => cfg!(feature = "zstd"),
            Self::Brotli => cfg!(feature = "brotli"),
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&a| a as u8 == byte)
    }
}

/// By its name, if this build has it.
impl FromStr for Algorithm {
    type Err = CodecError;

    fn from_str(name: &str) -> Result<Self, CodecError> {
        let what = "compression";
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

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Compresses and decompresses, with tables that are kept and used again where that is worth while.
///
/// What one message leaves behind, good or bad, does not affect the next.
#[derive(Debug, Default)]
pub struct Compressor {
    lzw: Lzw,
    packed: Vec<u8>,
}

impl Compressor {
    /// Appends the compress message for `plain`, type byte included. It may well be longer than `plain`.
    ///
    /// What this build does not have is done with LZW, which everybody reads.
    ///
    /// # Panics
    /// If the result exceeds 4 GiB.
    pub fn compress(&mut self, algorithm: Algorithm, plain: &[u8], out: &mut Vec<u8>) {
        self.packed.clear();
        let done = match algorithm {
            Algorithm::Lzw => Algorithm::Lzw,
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => lz4::compress(plain, &mut self.packed),
            #[cfg(feature = "snappy")]
            Algorithm::Snappy => snappy::compress(plain, &mut self.packed),
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => zstd::compress(plain, &mut self.packed),
            #[cfg(feature = "brotli")]
            Algorithm::Brotli => brotli::compress(plain, &mut self.packed),
            #[allow(unreachable_patterns, reason = "with all features there are none left")]
            _ => Algorithm::Lzw,
        };
        if done == Algorithm::Lzw {
            self.lzw.compress(plain, &mut self.packed);
        }
        out.push(Kind::Compress as u8);
        let mut w = Writer::new(out, Dialect::GOSSIP);
        w.map(2);
        w.key("Algo");
        w.uint(u64::from(done as u8));
        w.key("Buf");
        w.bytes(&self.packed);
    }

    /// Decompresses the body of a compress message (what follows the type byte) into `out`, which is cleared first,
    /// and returns how many bytes the body has. Whatever follows it is not looked at.
    ///
    /// `out` grows with the data and never holds much more than `limit`, the greatest acceptable size in bytes.
    ///
    /// # Errors
    /// Those of the [`Reader`]; [`Malformed::CompressionAlgorithm`] and [`Malformed::CompressionNotBuilt`];
    /// [`Malformed::BadLzw`], also when the end code is missing, and [`Malformed::BadCompression`] for the other
    /// algorithms; [`Malformed::InflatedTooLarge`]. What `out` holds then is of no use.
    pub fn decompress(&mut self, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
        out.clear();
        let mut r = Reader::new(body);
        let (mut algorithm, mut packed) = (Algorithm::Lzw as u8, None);
        r.record(&["Algo", "Buf"], |r, field| {
            match field {
                0 => algorithm = r.u8()?,
                _ => packed = r.bytes()?,
            }
            Ok(())
        })?;
        let algorithm = Algorithm::from_byte(algorithm).ok_or(Malformed::CompressionAlgorithm(algorithm))?;
        let packed = packed.unwrap_or_default();
        match algorithm {
            Algorithm::Lzw => self.lzw.inflate(&packed, limit, out)?,
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => lz4::inflate(&packed, limit, out)?,
            #[cfg(feature = "snappy")]
            Algorithm::Snappy => snappy::inflate(&packed, limit, out)?,
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => zstd::inflate(&packed, limit, out)?,
            #[cfg(feature = "brotli")]
            Algorithm::Brotli => brotli::inflate(&packed, limit, out)?,
            #[allow(unreachable_patterns, reason = "with all features there are none left")]
            _ => return Err(Malformed::CompressionNotBuilt(algorithm)),
        }
        Ok(r.position())
    }
}
