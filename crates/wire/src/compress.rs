//! The compression envelope around a message: LZW as in GIF files. When to compress is decided elsewhere.
//!
//! Format: gossip.md §1.6. The stream of codes comes from and goes to the `weezl` crate. Where Go and it differ (the
//! moment at which a full table is given up) both are valid and each reads the other.

use alloc::vec::Vec;
use core::fmt;

use weezl::{BitOrder, LzwStatus, decode::Decoder, encode::Encoder};

use crate::error::Malformed;
use crate::msgpack::{Dialect, Reader, Writer};
use crate::swim::Kind;

const LITERAL_BITS: u8 = 8;
const ALGORITHM_LZW: u8 = 0;
/// How much output is made room for at first; after that, room doubles, up to [`CHUNK_MAX`] at a time.
const CHUNK_MIN: usize = 4 << 10;
const CHUNK_MAX: usize = 1 << 20;

/// A compressor and a decompressor with their tables, to be kept and used again.
///
/// Both are made on first use and allocate nothing afterwards. What one message leaves behind, good or bad, does not
/// affect the next.
#[derive(Default)]
pub struct Lzw {
    encoder: Option<Encoder>,
    decoder: Option<Decoder>,
    codes: Vec<u8>,
}

impl fmt::Debug for Lzw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lzw").finish_non_exhaustive()
    }
}

impl Lzw {
    /// Appends the compress message for `plain`, type byte included. It may well be longer than `plain`.
    ///
    /// # Panics
    /// If the result exceeds 4 GiB.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let encoder = self.encoder.get_or_insert_with(|| Encoder::new(BitOrder::Lsb, LITERAL_BITS));
        encoder.reset();
        self.codes.clear();
        let done = encoder.into_vec(&mut self.codes).encode_all(plain);
        done.status.expect("every byte is a literal");
        out.push(Kind::Compress as u8);
        let mut w = Writer::new(out, Dialect::GOSSIP);
        w.map(2);
        w.key("Algo");
        w.uint(u64::from(ALGORITHM_LZW));
        w.key("Buf");
        w.bytes(&self.codes);
    }

    /// Decompresses the body of a compress message (what follows the type byte) into `out`, which is cleared first,
    /// and returns how many bytes the body has. Whatever follows it is not looked at.
    ///
    /// `out` grows with the data and never holds much more than `limit`, the greatest acceptable size in bytes.
    ///
    /// # Errors
    /// Those of the [`Reader`]; [`Malformed::CompressionAlgorithm`]; [`Malformed::BadLzw`], also when the end code
    /// is missing; [`Malformed::InflatedTooLarge`]. What `out` holds then is of no use.
    pub fn decompress(&mut self, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
        out.clear();
        let mut r = Reader::new(body);
        let (mut algorithm, mut codes) = (ALGORITHM_LZW, None);
        r.record(&["Algo", "Buf"], |r, field| {
            match field {
                0 => algorithm = r.u8()?,
                _ => codes = r.bytes()?,
            }
            Ok(())
        })?;
        if algorithm != ALGORITHM_LZW {
            return Err(Malformed::CompressionAlgorithm(algorithm));
        }
        self.inflate(&codes.unwrap_or_default(), limit, out)?;
        Ok(r.position())
    }

    fn inflate(&mut self, mut codes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let decoder = self.decoder.get_or_insert_with(|| Decoder::new(BitOrder::Lsb, LITERAL_BITS));
        decoder.reset();
        let mut done = 0;
        loop {
            if done > limit {
                return Err(Malformed::InflatedTooLarge(limit));
            }
            // One byte more than allowed, so that the end code can still be told from more data.
            let room = done.saturating_add(done.clamp(CHUNK_MIN, CHUNK_MAX)).min(limit.saturating_add(1));
            out.resize(room, 0);
            let step = decoder.decode_bytes(codes, &mut out[done..]);
            codes = &codes[step.consumed_in..];
            done += step.consumed_out;
            match step.status {
                Ok(LzwStatus::Ok) => {}
                Ok(LzwStatus::Done) => break,
                Ok(LzwStatus::NoProgress) | Err(_) => return Err(Malformed::BadLzw),
            }
        }
        if done > limit {
            return Err(Malformed::InflatedTooLarge(limit));
        }
        out.truncate(done);
        Ok(())
    }
}
