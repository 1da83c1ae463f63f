//! How often each name comes, for whoever wants to know: names are others' choice, so there is room for some only (B5).

use alloc::vec::Vec;

use serf_gossip::Name;

/// Names counted apart before [`Tally::take`]: more than a cluster has kinds of events, few enough to look through.
const NAMES_MAX: usize = 64;
/// Longer names are not counted apart, in bytes.
const NAME_MAX: usize = 128;

/// Names, and how often each has come. What finds no room is not in here.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<(Name, u64)>);

impl Tally {
    pub(crate) fn count(&mut self, name: &[u8]) {
        if let Some((_, n)) = self.0.iter_mut().find(|(known, _)| known.as_bytes() == name) {
            *n += 1;
        } else if self.0.len() < NAMES_MAX && name.len() <= NAME_MAX {
            self.0.push((name.into(), 1));
        }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&mut self) -> Vec<(Name, u64)> {
        core::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_as_far_as_there_is_room() {
        let mut tally = Tally::default();
        tally.count(b"deploy");
        tally.count(&[b'x'; NAME_MAX + 1]);
        for n in 0..200_u8 {
            tally.count(&[n]);
        }
        tally.count(b"deploy");
        let taken = tally.take();
        assert_eq!(taken.len(), NAMES_MAX);
        assert_eq!(taken[..2], [("deploy".into(), 2), (Name::from(&[0][..]), 1)]);
        assert_eq!(tally.take(), []);
    }
}
