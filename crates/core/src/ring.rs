//! The memory of a kind of message: for each of the last so many Lamport times, what came with it. It knows what is
//! new, what is known, and what is too old to tell (spec `serf.md` §5.2, §6.3).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Most messages remembered for one Lamport time. As many can only be sent at one time by as many members, each
/// before hearing of the others.
const PER_TIME_MAX: usize = 4096;
/// Most bytes remembered in all. It must stay well below the 20 MiB at which peers refuse a full state exchange,
/// which carries all user events remembered.
const BYTES_MAX: usize = 8 << 20;

/// What came with one Lamport time.
#[derive(Debug, Clone)]
pub(crate) struct Slot<T> {
    pub(crate) ltime: u64,
    pub(crate) items: Vec<T>,
    bytes: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    size: u64,
    /// By Lamport time modulo size. An idle node has none.
    slots: BTreeMap<u64, Slot<T>>,
    bytes: usize,
    /// What is earlier is not wanted.
    min_time: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new, and is remembered.
    New,
    /// It is known.
    Known,
    /// It is earlier than we want to hear of.
    Unwanted,
    /// It is so old that nobody can tell whether it is new.
    Old,
    /// There is no room. It must not be passed on either: nobody would know it for old when it comes again.
    NoRoom,
}

impl<T> Ring<T> {
    /// A memory of `size` Lamport times, which must not be 0.
    pub(crate) fn new(size: usize) -> Self {
        Self { size: size.max(1) as u64, slots: BTreeMap::new(), bytes: 0, min_time: 0 }
    }

    /// How many Lamport times there is room for.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// Messages before this time are not wanted any more.
    pub(crate) fn raise_min_time(&mut self, ltime: u64) {
        self.min_time = self.min_time.max(ltime);
    }

    /// What is remembered, by Lamport time modulo size.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, &Slot<T>)> {
        self.slots.iter().map(|(at, slot)| (*at as usize, slot))
    }

    /// What is remembered of a time.
    pub(crate) fn at_mut(&mut self, ltime: u64) -> &mut [T] {
        match self.slots.get_mut(&(ltime % self.size)) {
            Some(slot) if slot.ltime == ltime => &mut slot.items,
            _ => &mut [],
        }
    }

    /// Looks at a message of that time, and remembers it if it is new. `clock` is the time after witnessing it;
    /// `is_same` finds it among known ones; `bytes` is what remembering it costs.
    pub(crate) fn admit(
        &mut self,
        clock: u64,
        ltime: u64,
        bytes: usize,
        is_same: impl FnMut(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Verdict {
        if ltime < self.min_time {
            return Verdict::Unwanted;
        }
        if clock > self.size && ltime < clock - self.size {
            return Verdict::Old;
        }
        let index = ltime % self.size;
        let known = self.slots.get(&index);
        let held = match known {
            Some(slot) if slot.ltime == ltime => {
                if slot.items.iter().any(is_same) {
                    return Verdict::Known;
                }
                if slot.items.len() >= PER_TIME_MAX {
                    return Verdict::NoRoom;
                }
                0
            }
            // Only possible at the end of time, where clocks stand still: there two times one ring apart would take
            // each other's place for ever.
            Some(slot) if slot.ltime > ltime => return Verdict::Old,
            Some(slot) => slot.bytes,
            None => 0,
        };
        if self.bytes - held + bytes > BYTES_MAX {
            return Verdict::NoRoom;
        }
        self.bytes = self.bytes - held + bytes;
        let slot = self.slots.entry(index).or_insert_with(|| Slot { ltime, items: Vec::new(), bytes: 0 });
        if slot.ltime != ltime {
            *slot = Slot { ltime, items: Vec::new(), bytes: 0 };
        }
        slot.items.push(make());
        slot.bytes += bytes;
        Verdict::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(ring: &mut Ring<u32>, clock: u64, ltime: u64, item: u32) -> Verdict {
        ring.admit(clock, ltime, 8, |i| *i == item, || item)
    }

    #[test]
    fn what_differs_at_one_time_is_new_and_what_does_not_is_known() {
        let mut ring = Ring::new(8);
        for (item, want) in [(1, Verdict::New), (2, Verdict::New), (1, Verdict::Known), (2, Verdict::Known)] {
            assert_eq!(admit(&mut ring, 4, 3, item), want);
        }
        assert_eq!(admit(&mut ring, 5, 4, 1), Verdict::New);
        assert_eq!(ring.slots().map(|(at, s)| (at, s.items.len())).collect::<Vec<_>>(), [(3, 2), (4, 1)]);
    }

    #[test]
    fn what_is_a_ring_older_than_the_clock_is_old() {
        let mut ring = Ring::new(8);
        assert_eq!(admit(&mut ring, 9, 0, 1), Verdict::Old);
        assert_eq!(admit(&mut ring, 9, 1, 1), Verdict::New);
        assert_eq!(admit(&mut ring, 8, 0, 1), Verdict::New);
    }

    #[test]
    fn a_later_time_takes_the_slot_of_the_one_a_ring_before() {
        let mut ring = Ring::new(8);
        admit(&mut ring, 4, 3, 1);
        assert_eq!(admit(&mut ring, 12, 11, 1), Verdict::New);
        assert_eq!(ring.slots().map(|(_, s)| s.ltime).collect::<Vec<_>>(), [11]);
        assert_eq!(ring.bytes, 8);
    }

    #[test]
    fn at_the_end_of_time_slots_do_not_change_hands_for_ever() {
        let mut ring = Ring::new(8);
        assert_eq!(admit(&mut ring, u64::MAX, u64::MAX, 1), Verdict::New);
        assert_eq!(admit(&mut ring, u64::MAX, u64::MAX - 8, 1), Verdict::Old);
        assert_eq!(admit(&mut ring, u64::MAX, u64::MAX, 1), Verdict::Known);
    }

    #[test]
    fn what_is_before_the_minimum_is_unwanted() {
        let mut ring = Ring::new(8);
        ring.raise_min_time(5);
        ring.raise_min_time(2);
        assert_eq!(admit(&mut ring, 6, 4, 1), Verdict::Unwanted);
        assert_eq!(admit(&mut ring, 6, 5, 1), Verdict::New);
    }

    #[test]
    fn one_time_and_the_whole_ring_are_bounded() {
        let mut ring = Ring::new(8);
        for item in 0..PER_TIME_MAX as u32 {
            assert_eq!(admit(&mut ring, 4, 3, item), Verdict::New);
        }
        assert_eq!(admit(&mut ring, 4, 3, u32::MAX), Verdict::NoRoom);
        let mut ring = Ring::new(8);
        assert_eq!(ring.admit(4, 3, BYTES_MAX, |_| false, || 1), Verdict::New);
        assert_eq!(ring.admit(5, 4, 1, |_| false, || 2), Verdict::NoRoom);
        // What takes its slot takes its room too.
        assert_eq!(ring.admit(12, 11, BYTES_MAX, |_| false, || 3), Verdict::New);
    }
}
