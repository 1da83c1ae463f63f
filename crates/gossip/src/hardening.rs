//! Small defences that the reference lacks: a memory for nonces, an allowance for strangers, and what counts as public.

use alloc::collections::VecDeque;
use core::hash::BuildHasher;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashTable;

use crate::Instant;

/// The highest incarnation there is. A node that had to refute it would wrap to 0 and be silenced for ever, so
/// accusations that high are not believed of anybody, and nothing beyond it at all (H10).
pub(crate) const INCARNATION_CEILING: u32 = u32::MAX - 1;

/// Longest name, meta data or host believed, in bytes. The reference has no bound; but a ping and an accusation, which
/// name their node, must fit into a datagram together, and what a million strangers make us hold must be bearable.
pub(crate) const CLAIM_MAX: usize = 16 << 10;

/// Pings and relay requests answered in one datagram: as many as a compound message can hold. Nesting and compression
/// would pack a hundred thousand into one, a lever for whoever forges its source.
pub(crate) const ANSWERS_MAX: u32 = 255;

/// Answers to strangers in one second.
pub const STRANGER_QUOTA: u32 = 64;

/// A number of things a second.
#[derive(Debug, Clone)]
pub struct Quota {
    began: Instant,
    left: u32,
    max: u32,
}

impl Quota {
    /// So many in each second.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { began: Instant::ZERO, left: max, max }
    }

    /// Whether one more may be done now, which counts as done.
    pub fn take(&mut self, now: Instant) -> bool {
        if now.since(self.began) >= Duration::from_secs(1) {
            self.began = now;
            self.left = self.max;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

/// The nonces of the last so many packets that a key opened (H3). Empty, and free, unless switched on.
#[derive(Debug)]
pub(crate) struct ReplayWindow {
    size: usize,
    order: VecDeque<[u8; 12]>,
    known: HashTable<[u8; 12]>,
    hasher: foldhash::fast::FixedState,
}

impl ReplayWindow {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            order: VecDeque::new(),
            known: HashTable::new(),
            hasher: foldhash::fast::FixedState::default(),
        }
    }

    /// The nonce of a sealed packet: after the label and the version byte.
    pub(crate) fn nonce_of(&self, packet: &[u8], label: &[u8]) -> Option<[u8; 12]> {
        if self.size == 0 {
            return None;
        }
        let header = if packet.first() == Some(&0xf4) { 2 + label.len() } else { 0 };
        packet.get(header + 1..header + 13)?.try_into().ok()
    }

    /// Whether the nonce was here before; remembers it otherwise.
    pub(crate) fn seen(&mut self, nonce: Option<[u8; 12]>) -> bool {
        let Some(nonce) = nonce else { return false };
        let Self { size, order, known, hasher } = self;
        let hash = hasher.hash_one(nonce);
        if known.find(hash, |n| *n == nonce).is_some() {
            return true;
        }
        if order.len() >= *size
            && let Some(old) = order.pop_front()
            && let Ok(entry) = known.find_entry(hasher.hash_one(old), |n| *n == old)
        {
            entry.remove();
        }
        order.push_back(nonce);
        known.insert_unique(hash, nonce, |n| hasher.hash_one(n));
        false
    }
}

/// Whether an address can be reached from anywhere: not in the special ranges of RFC 6890.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation()
                || ip.is_multicast()
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240)
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || (first == 0x2001 && ip.segments()[1] == 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_full_again_after_a_second() {
        let mut quota = Quota::new(3);
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let taken = |quota: &mut Quota, ms| (0..9).filter(|_| quota.take(at(ms))).count();
        assert_eq!([0, 999, 1000, 1001].map(|ms| taken(&mut quota, ms)), [3, 0, 3, 0]);
    }

    #[test]
    fn a_nonce_is_seen_once_within_the_window() {
        let mut w = ReplayWindow::new(2);
        let n = |b: u8| Some([b; 12]);
        assert!(!w.seen(n(1)));
        assert!(w.seen(n(1)));
        assert!(!w.seen(n(2)));
        assert!(!w.seen(n(3)));
        assert!(!w.seen(n(1)), "forgotten by now");
        assert!(!w.seen(None));
    }

    #[test]
    fn public_and_special_addresses() {
        for ip in
            ["10.1.2.3", "127.0.0.1", "100.64.0.1", "192.168.0.1", "198.19.0.1", "::1", "fd00::1", "fe80::1"]
        {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "100.128.0.1", "2a00::1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
