//! LZ4 blocks, each behind its plain length in four little-endian bytes.

use alloc::vec::Vec;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::Algorithm;
use crate::error::Malformed;

const LENGTH_BYTES: usize = 4;
/// A byte of a block stands for so many plain ones at most.
const RATIO_MAX: usize = 255;

/// Fills `out`, which is empty. Returns what it is compressed with: LZW if this cannot be.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Algorithm {
    let Ok(length) = u32::try_from(plain.len()) else { return Algorithm::Lzw };
    out.extend_from_slice(&length.to_le_bytes());
    out.resize(LENGTH_BYTES + get_maximum_output_size(plain.len()), 0);
    let Ok(used) = compress_into(plain, &mut out[LENGTH_BYTES..]) else {
        out.clear();
        return Algorithm::Lzw;
    };
    out.truncate(LENGTH_BYTES + used);
    Algorithm::Lz4
}

/// Decompresses into `out`, which is empty. The length that is told is believed only as far as the bytes behind it can
/// bear it out.
pub(super) fn inflate(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    const BAD: Malformed = Malformed::BadCompression(Algorithm::Lz4);
    let (length, block) = packed.split_first_chunk::<LENGTH_BYTES>().ok_or(BAD)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| BAD)?;
    if length > limit {
        return Err(Malformed::InflatedTooLarge(limit));
    }
    if length > block.len().saturating_mul(RATIO_MAX) {
        return Err(BAD);
    }
    out.resize(length, 0);
    match decompress_into(block, out) {
        Ok(done) if done == length => Ok(()),
        _ => Err(BAD),
    }
}
