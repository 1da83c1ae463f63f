//! Brotli streams, through the `brotli` crate with the memory of `alloc`.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderStateStruct};
use brotli::enc::{BrotliAlloc, BrotliEncoderParams};
use brotli::{Allocator, BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper, SliceWrapperMut};

use super::Algorithm;
use crate::error::Malformed;

/// Of 0 to 11. Above this it takes several times as long and gains little on messages like ours.
const QUALITY: i32 = 4;
/// The logarithms of the windows that a stream can tell, without the extension for large ones.
const WINDOW_MIN: u32 = 10;
const WINDOW_MAX: u32 = 24;
/// How much output is made room for at once.
const CHUNK_MIN: usize = 4 << 10;
const CHUNK_MAX: usize = 1 << 20;

/// Fills `out`, which is empty. Returns what it is compressed with: LZW if this cannot be.
pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Algorithm {
    let mut encoder = BrotliEncoderStateStruct::new(Heap);
    encoder.params = BrotliEncoderParams {
        quality: QUALITY,
        lgwin: window(plain.len()) as i32,
        size_hint: plain.len(),
        ..BrotliEncoderParams::default()
    };
    let (mut left, mut read, mut written) = (plain.len(), 0, 0);
    while !encoder.is_finished() {
        out.resize(out.len() + written.clamp(CHUNK_MIN, CHUNK_MAX), 0);
        let mut room = out.len() - written;
        let done = encoder.compress_stream(
            BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
            &mut left,
            plain,
            &mut read,
            &mut room,
            out,
            &mut written,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !done {
            out.clear();
            return Algorithm::Lzw;
        }
        out.truncate(written);
    }
    Algorithm::Brotli
}

/// Decompresses into `out`, which is empty. The decoder takes memory for the window that the stream tells as soon as it
/// claims to need it, so a window larger than what may come out is refused.
pub(super) fn inflate(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    const BAD: Malformed = Malformed::BadCompression(Algorithm::Brotli);
    if told_window(*packed.first().ok_or(BAD)?).ok_or(BAD)? > window(limit) {
        return Err(Malformed::InflatedTooLarge(limit));
    }
    let mut decoder = BrotliState::new_strict(Heap, Heap, Heap);
    let (mut left, mut read, mut done, mut total) = (packed.len(), 0, 0, 0);
    loop {
        if done > limit {
            return Err(Malformed::InflatedTooLarge(limit));
        }
        // One byte more than allowed, so that the end can still be told from more data.
        let size = done.saturating_add(done.clamp(CHUNK_MIN, CHUNK_MAX)).min(limit.saturating_add(1));
        out.resize(size, 0);
        let mut room = size - done;
        let step = BrotliDecompressStream(
            &mut left,
            &mut read,
            packed,
            &mut room,
            &mut done,
            out,
            &mut total,
            &mut decoder,
        );
        match step {
            BrotliResult::ResultSuccess => break,
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => return Err(BAD),
        }
    }
    if done > limit {
        return Err(Malformed::InflatedTooLarge(limit));
    }
    out.truncate(done);
    if left == 0 { Ok(()) } else { Err(BAD) }
}

/// The logarithm of the smallest window for so many bytes.
fn window(length: usize) -> u32 {
    length.max(1).next_power_of_two().ilog2().clamp(WINDOW_MIN, WINDOW_MAX)
}

/// The logarithm of the window that a stream tells in its first bits (RFC 7932 §9.1). None for one that is no stream.
fn told_window(first: u8) -> Option<u32> {
    let (short, long) = (u32::from(first >> 1 & 7), u32::from(first >> 4 & 7));
    Some(match (first & 1, short, long) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        (_, 0, 1) => return None,
        (_, 0, _) => 8 + long,
        _ => 17 + short,
    })
}

/// Memory for the library, which brings none without `std`.
#[derive(Clone, Copy)]
struct Heap;

struct Memory<T>(Vec<T>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Index<usize> for Memory<T> {
    type Output = T;
    fn index(&self, at: usize) -> &T {
        &self.0[at]
    }
}

impl<T> IndexMut<usize> for Memory<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.0[at]
    }
}

impl<T> SliceWrapper<T> for Memory<T> {
    fn slice(&self) -> &[T] {
        &self.0
    }
}

impl<T> SliceWrapperMut<T> for Memory<T> {
    fn slice_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Clone + Default> Allocator<T> for Heap {
    type AllocatedMemory = Memory<T>;

    fn alloc_cell(&mut self, count: usize) -> Memory<T> {
        Memory(vec![T::default(); count])
    }

    fn free_cell(&mut self, _: Memory<T>) {}
}

impl BrotliAlloc for Heap {}
