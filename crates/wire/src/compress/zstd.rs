//! Zstandard frames, one a message, through the `ruzstd` crate.

use alloc::vec::Vec;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress as encode};

use super::Algorithm;
use crate::error::Malformed;

/// The window that our own encoder tells, however short the message is.
const WINDOW_MIN: usize = 128 << 10;
/// No frame needs to look further back; what the format asks every decoder to bear.
const WINDOW_MAX: usize = 8 << 20;

/// Fills `out`, which is empty. Returns what it is compressed with.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Algorithm {
    encode(plain, &mut *out, CompressionLevel::Fastest);
    Algorithm::Zstd
}

/// Decompresses into `out`, which is empty. What the frame tells of its size is only used to refuse it: memory is taken
/// block by block, and for the window as it fills.
pub(super) fn inflate(mut packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    const BAD: Malformed = Malformed::BadCompression(Algorithm::Zstd);
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(limit.clamp(WINDOW_MIN, WINDOW_MAX) as u64);
    decoder.reset(&mut packed).map_err(|_| BAD)?;
    if decoder.content_size() > limit as u64 {
        return Err(Malformed::InflatedTooLarge(limit));
    }
    loop {
        let whole =
            decoder.decode_blocks(&mut packed, BlockDecodingStrategy::UptoBlocks(1)).map_err(|_| BAD)?;
        // As long as there is more to come, what is in the window stays with the decoder.
        if out.len().saturating_add(decoder.can_collect()) > limit {
            return Err(Malformed::InflatedTooLarge(limit));
        }
        decoder.collect_to_writer(&mut *out).map_err(|_| BAD)?;
        if whole {
            break;
        }
    }
    if packed.is_empty() { Ok(()) } else { Err(BAD) }
}
