//! Raw Snappy streams, which begin with their plain length.

use alloc::vec::Vec;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::Algorithm;
use crate::error::Malformed;

/// Bytes of a stream stand for so many plain ones at most: a copy of 64 takes three, a short one of 11 takes two.
const RATIO_MAX: usize = 64;

/// Fills `out`, which is empty. Returns what it is compressed with: LZW if this cannot be.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Algorithm {
    out.resize(max_compress_len(plain.len()), 0);
    let Ok(used) = Encoder::new().compress(plain, out) else {
        out.clear();
        return Algorithm::Lzw;
    };
    out.truncate(used);
    Algorithm::Snappy
}

/// Decompresses into `out`, which is empty. The length that is told is believed only as far as the bytes behind it can
/// bear it out.
pub(super) fn inflate(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    const BAD: Malformed = Malformed::BadCompression(Algorithm::Snappy);
    // An empty stream lacks even its length.
    if packed.is_empty() {
        return Err(BAD);
    }
    let length = decompress_len(packed).map_err(|_| BAD)?;
    if length > limit {
        return Err(Malformed::InflatedTooLarge(limit));
    }
    if length > packed.len().saturating_mul(RATIO_MAX) {
        return Err(BAD);
    }
    out.resize(length, 0);
    match Decoder::new().decompress(packed, out) {
        Ok(done) if done == length => Ok(()),
        _ => Err(BAD),
    }
}
