//! What a script printed: the end of it, and how much it was.

/// So much of the end is kept: what an answer to a query may be, and enough of a log to see what went wrong.
pub(super) const KEPT_MAX: usize = 8192;

/// Takes any number of bytes, keeps the last of them.
#[derive(Debug, Default)]
pub(super) struct Tail {
    ring: Vec<u8>,
    /// Where the next byte goes once the ring is full.
    at: usize,
    total: u64,
}

impl Tail {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        // Of a long piece only its end can last.
        bytes = &bytes[bytes.len().saturating_sub(KEPT_MAX)..];
        let room = (KEPT_MAX - self.ring.len()).min(bytes.len());
        let (fits, rest) = bytes.split_at(room);
        self.ring.extend_from_slice(fits);
        let first = rest.len().min(KEPT_MAX - self.at);
        self.ring[self.at..self.at + first].copy_from_slice(&rest[..first]);
        self.ring[..rest.len() - first].copy_from_slice(&rest[first..]);
        self.at = (self.at + rest.len()) % KEPT_MAX;
    }

    /// How many bytes came in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The bytes kept, in their order.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.ring.rotate_left(self.at);
        self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_whatever_the_pieces() {
        let all: Vec<u8> = (0..3 * KEPT_MAX + 17).map(|n| (n % 251) as u8).collect();
        for len in [0, 1, KEPT_MAX - 1, KEPT_MAX, KEPT_MAX + 1, 2 * KEPT_MAX, all.len()] {
            for piece in [1, 7, 4096, KEPT_MAX, KEPT_MAX + 1, 3 * KEPT_MAX] {
                let mut tail = Tail::default();
                all[..len].chunks(piece).for_each(|bytes| tail.push(bytes));
                assert_eq!(tail.total(), len as u64);
                assert!(tail.ring.capacity() <= 2 * KEPT_MAX);
                assert_eq!(tail.into_bytes(), all[len.saturating_sub(KEPT_MAX)..len], "{len} by {piece}");
            }
        }
    }
}
