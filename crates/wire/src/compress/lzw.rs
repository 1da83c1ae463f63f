//! LZW as in GIF files, through the `weezl` crate. Where Go and it differ (the moment at which a full table is given up)
//! both are valid and each reads the other.

use alloc::vec::Vec;
use core::fmt;

use weezl::{BitOrder, LzwStatus, decode::Decoder, encode::Encoder};

use crate::error::Malformed;

const LITERAL_BITS: u8 = 8;
/// How much output is made room for at first; after that, room doubles, up to [`CHUNK_MAX`] at a time.
const CHUNK_MIN: usize = 4 << 10;
const CHUNK_MAX: usize = 1 << 20;

/// A compressor and a decompressor, both made on first use. They allocate nothing afterwards.
#[derive(Default)]
pub(super) struct Lzw {
    encoder: Option<Encoder>,
    decoder: Option<Decoder>,
}

impl fmt::Debug for Lzw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lzw").finish_non_exhaustive()
    }
}

impl Lzw {
    /// Appends the codes for `plain`.
    pub(super) fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let encoder = self.encoder.get_or_insert_with(|| Encoder::new(BitOrder::Lsb, LITERAL_BITS));
        encoder.reset();
        let done = encoder.into_vec(out).encode_all(plain);
        done.status.expect("every byte is a literal");
    }

    /// Decompresses into `out`, which is empty.
    pub(super) fn inflate(
        &mut self,
        mut codes: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
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
