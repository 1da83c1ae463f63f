//! The keys we know: the first encrypts, all of them decrypt (spec `gossip.md` §11).

use alloc::vec::Vec;

use serf_wire::encrypt::Key;

/// An ordered list of distinct keys. Empty means no encryption.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Vec<Key>);

/// Why a keyring was left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Only a key of the ring can become primary.
    #[error("requested key is not in the keyring")]
    NotInRing,
    /// The primary key cannot be removed.
    #[error("removing the primary key is not allowed")]
    IsPrimary,
}

impl Keyring {
    /// The first key becomes primary; repeated ones are dropped.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let mut ring = Self::default();
        keys.into_iter().for_each(|key| ring.install(key));
        ring
    }

    /// All keys, the primary first.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// The key that encrypts.
    #[must_use]
    pub fn primary(&self) -> Option<&Key> {
        self.0.first()
    }

    /// Whether there is no key: then nothing is encrypted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a key at the end; no change if it is there.
    pub fn install(&mut self, key: Key) {
        if !self.0.contains(&key) {
            self.0.push(key);
        }
    }

    /// Makes a key of the ring the primary one; the others keep their order.
    ///
    /// # Errors
    /// [`KeyringError::NotInRing`]; the ring is unchanged.
    pub fn make_primary(&mut self, key: &Key) -> Result<(), KeyringError> {
        let at = self.0.iter().position(|k| k == key).ok_or(KeyringError::NotInRing)?;
        self.0[..=at].rotate_right(1);
        Ok(())
    }

    /// Removes a key; one that is not there is no matter.
    ///
    /// # Errors
    /// [`KeyringError::IsPrimary`]; the ring is unchanged.
    pub fn remove(&mut self, key: &Key) -> Result<(), KeyringError> {
        if self.primary() == Some(key) {
            return Err(KeyringError::IsPrimary);
        }
        self.0.retain(|k| k != key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(b: u8, len: usize) -> Key {
        Key::new(&alloc::vec![b; len]).unwrap()
    }

    /// KR1
    #[test]
    fn an_empty_ring_has_no_keys() {
        let ring = Keyring::default();
        assert!(ring.is_empty() && ring.primary().is_none());
    }

    /// KR2, KR3, CF5, CF6
    #[test]
    fn keys_are_distinct_and_the_first_is_primary() {
        let ring = Keyring::new([key(1, 16), key(2, 24), key(1, 16), key(3, 32)]);
        assert_eq!(ring.keys(), [key(1, 16), key(2, 24), key(3, 32)]);
        assert_eq!(ring.primary(), Some(&key(1, 16)));
    }

    /// KR4, KR5, KR6
    #[test]
    fn adding_keeps_the_primary_and_using_moves_it() {
        let mut ring = Keyring::new([key(1, 16)]);
        ring.install(key(2, 16));
        ring.install(key(3, 16));
        assert_eq!(ring.primary(), Some(&key(1, 16)));
        assert_eq!(ring.make_primary(&key(9, 16)), Err(KeyringError::NotInRing));
        ring.make_primary(&key(3, 16)).unwrap();
        assert_eq!(ring.keys(), [key(3, 16), key(1, 16), key(2, 16)]);
    }

    /// KR7
    #[test]
    fn the_primary_stays_and_absent_keys_are_no_matter() {
        let mut ring = Keyring::new([key(1, 16), key(2, 16)]);
        assert_eq!(ring.remove(&key(1, 16)), Err(KeyringError::IsPrimary));
        ring.remove(&key(7, 16)).unwrap();
        ring.remove(&key(2, 16)).unwrap();
        assert_eq!(ring.keys(), [key(1, 16)]);
    }

    /// CF4
    #[test]
    fn other_lengths_are_refused() {
        for len in [0, 3, 15, 17, 31, 33, 38] {
            assert!(Key::new(&alloc::vec![0; len]).is_err(), "{len}");
        }
    }
}
