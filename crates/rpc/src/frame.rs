//! Finds where MessagePack values end in bytes that arrive in pieces. It has no idea what they mean.

use serf_wire::Malformed;
use serf_wire::msgpack::Reader;

/// Received bytes that have not been taken yet, and how far the value at their front has been looked through.
///
/// Every byte is looked at once however small the pieces are, and only bytes that have arrived take memory.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// Where the value at the front begins; before it is what has been taken.
    start: usize,
    /// How far that value has been looked through.
    scanned: usize,
    /// How many values have yet to be seen before it ends.
    pending: u64,
}

/// Why received bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMessage {
    /// They are not MessagePack, or not of the types the message has.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There are more than this many of them and they still do not end.
    #[error("message exceeds {0} bytes")]
    TooLong(usize),
}

/// Room that is worth keeping while nothing is buffered.
const CAPACITY_KEPT: usize = 16 * 1024;

impl Inbox {
    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
            if self.buffer.is_empty() && self.buffer.capacity() > CAPACITY_KEPT {
                self.buffer = Vec::new();
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The bytes of the next value once all of them are here, and takes them; see [`has_value`](Self::has_value).
    pub(crate) fn next_value(&mut self, limit: usize) -> Result<Option<&[u8]>, BadMessage> {
        Ok(if self.has_value(limit)? { Some(self.take_value()) } else { None })
    }

    /// Whether all bytes of the next value are here.
    ///
    /// More than `limit` bytes are refused as soon as that many are here, whatever they would turn out to be.
    pub(crate) fn has_value(&mut self, limit: usize) -> Result<bool, BadMessage> {
        if self.scanned == self.start {
            self.pending = 1;
        }
        let end = self.buffer.len().min(self.start.saturating_add(limit));
        match self.scan(end) {
            Ok(()) => Ok(true),
            Err(Malformed::Truncated) if end < self.buffer.len() => Err(BadMessage::TooLong(limit)),
            Err(Malformed::Truncated) => Ok(false),
            Err(malformed) => Err(malformed.into()),
        }
    }

    /// Takes the bytes that have been looked through, which are the next value if there is one.
    pub(crate) fn take_value(&mut self) -> &[u8] {
        let value = self.start..self.scanned;
        self.start = self.scanned;
        &self.buffer[value]
    }

    /// The first byte of the next value.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.buffer.get(self.start).copied()
    }

    /// Whether nothing is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Moves `scanned` on, up to the end of the value at the front.
    fn scan(&mut self, end: usize) -> Result<(), Malformed> {
        while self.pending > 0 {
            let mut reader = Reader::new(&self.buffer[self.scanned..end]);
            // Containers are entered, so that a big one is not looked through again from its beginning. Everything
            // else is skipped in one step, in constant time if it is not all here.
            let inside = match reader.rest().first() {
                Some(0x90..=0x9f | 0xdc | 0xdd) => reader.array()?.unwrap_or(0) as u64,
                Some(0x80..=0x8f | 0xde | 0xdf) => 2 * reader.map()?.unwrap_or(0) as u64,
                _ => reader.skip().map(|()| 0)?,
            };
            self.scanned += reader.position();
            self.pending += inside;
            self.pending -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_there_with_its_last_byte() {
        let bytes = b"\x82\xa1a\x93\x01\x02\xc4\x02xy\xa1b\x80";
        let mut inbox = Inbox::default();
        for &byte in &bytes[..bytes.len() - 1] {
            inbox.receive(&[byte]);
            assert_eq!(inbox.next_value(100), Ok(None));
        }
        inbox.receive(&[bytes[bytes.len() - 1], 0xc0]);
        assert_eq!(inbox.next_value(100), Ok(Some(&bytes[..])));
        assert_eq!(inbox.next_value(100), Ok(Some(&b"\xc0"[..])));
        assert_eq!(inbox.next_value(100), Ok(None));
        inbox.receive(b"\x05");
        assert_eq!(inbox.next_value(100), Ok(Some(&b"\x05"[..])));
    }

    #[test]
    fn the_limit_is_on_what_is_here_and_not_on_what_is_announced() {
        let mut inbox = Inbox::default();
        inbox.receive(b"\xdb\xff\xff\xff\xff12345");
        assert_eq!(inbox.next_value(10), Ok(None));
        inbox.receive(b"6");
        assert_eq!(inbox.next_value(10), Err(BadMessage::TooLong(10)));
    }

    #[test]
    fn nesting_costs_a_counter() {
        let mut inbox = Inbox::default();
        inbox.receive(&[0x91; 100_000]);
        assert_eq!(inbox.next_value(200_000), Ok(None));
        inbox.receive(&[0xc1]);
        assert_eq!(inbox.next_value(200_000), Err(BadMessage::Malformed(Malformed::Reserved)));
    }
}
