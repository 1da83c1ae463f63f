//! What the nodes of a world hold in common: of each announcement and each message one, however many know it.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashSet;
use serf_gossip::Identity;

/// With fewer values it is not worth looking for those that nobody holds any more.
const SWEEP_MIN: usize = 1024;

/// See the module's text. It saves memory, and changes nothing that a node does.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    identities: Kept<Identity>,
    bytes: Kept<[u8]>,
}

impl serf_gossip::Pool for Pool {
    fn identity(&mut self, own: &mut Arc<Identity>) {
        self.identities.share(own);
    }

    fn bytes(&mut self, own: &mut Arc<[u8]>) {
        self.bytes.share(own);
    }
}

#[derive(Debug)]
struct Kept<T: ?Sized> {
    values: HashSet<Arc<T>, foldhash::fast::FixedState>,
    /// So many are kept before those go that nobody else holds.
    sweep_at: usize,
}

impl<T: ?Sized> Default for Kept<T> {
    fn default() -> Self {
        Self { values: HashSet::default(), sweep_at: SWEEP_MIN }
    }
}

impl<T: ?Sized + Eq + Hash> Kept<T> {
    fn share(&mut self, own: &mut Arc<T>) {
        if let Some(kept) = self.values.get(own) {
            *own = kept.clone();
            return;
        }
        if self.values.len() >= self.sweep_at {
            // In whatever order: nobody can tell.
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = SWEEP_MIN.max(2 * self.values.len());
        }
        self.values.insert(own.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_values_one_is_kept_and_for_no_longer_than_somebody_holds_it() {
        let mut kept = Kept::<[u8]>::default();
        let mut held: Vec<Arc<[u8]>> = (0..3).map(|_| Arc::from(&b"same"[..])).collect();
        held.iter_mut().for_each(|value| kept.share(value));
        assert!(held.iter().all(|value| Arc::ptr_eq(value, &held[0])));
        for i in 0..10 * SWEEP_MIN {
            kept.share(&mut Arc::from(&i.to_le_bytes()[..]));
        }
        assert!(kept.values.len() <= SWEEP_MIN, "{} are kept", kept.values.len());
        kept.share(&mut held[1]);
        assert!(Arc::ptr_eq(&held[0], &held[1]));
    }
}
