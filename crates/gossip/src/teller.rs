//! Who told us something, and whom we tell: news is not sent back to whom it came from.

use crate::{Address, Host};

/// Who told something: a digest of the address it came from, kept beside each message that waits to be gossiped. Two
/// addresses with the same digest are taken for one, which costs one of them a transmission now and then; full states make
/// up for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Teller(pub(crate) u32);

impl Teller {
    /// We ourselves; or somebody of whom we do not know where they listen.
    pub const NOBODY: Self = Self(0);

    /// Whoever is there. Both forms of an IPv4 address are one.
    #[must_use]
    pub fn at(addr: &Address) -> Self {
        let mapped = match &addr.host {
            Host::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, v4 @ ..]) => &v4[..],
            host => host.as_bytes(),
        };
        // FNV-1a: the same on every platform, and quicker than anything better for so few bytes.
        let hash =
            mapped.iter().chain(&addr.port.to_be_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(((hash >> 32) as u32 ^ hash as u32).max(1))
    }
}

/// Whom a datagram is for, as far as that matters to what is put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Who it is: what it told us it is not told.
    pub who: Teller,
    /// How many others are there who live. Without any, nobody has to hear what it told us.
    pub others: usize,
    /// Whether what it is told counts as sent. Not for one who is believed to be dead while others live: it is told so
    /// that it can refute, and most likely hears nothing.
    pub counts: bool,
    /// Whether it is told beside a round of gossip, on a ping or an ack. A round goes to different members by itself.
    pub aside: bool,
}

impl Listener {
    /// One of many, who told nothing.
    pub const ANYBODY: Self = Self { who: Teller::NOBODY, others: 1, counts: true, aside: false };
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn an_address_is_told_from_others_and_known_in_both_forms() {
        let mut seen = BTreeSet::new();
        for host in 0..=255 {
            for port in 7946..7950 {
                let four = Address::new(&[10, 0, 0, host], port);
                let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, host];
                assert_eq!(Teller::at(&four), Teller::at(&Address::new(&mapped, port)));
                assert_ne!(Teller::at(&four), Teller::NOBODY);
                assert!(seen.insert(Teller::at(&four).0), "{four}");
            }
        }
        assert_ne!(Teller::at(&Address::new(&[], 0)), Teller::NOBODY);
        assert_ne!(Teller::at(&Address::new(&[1; 16], 1)), Teller::at(&Address::new(&[1; 16], 2)));
    }
}
