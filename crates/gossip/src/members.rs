//! Who is there: a dense table of nodes, found by name through one map, and the order in which they are probed.
//!
//! It holds every node known, the dead and the left included until they are forgotten. It decides nothing: that is
//! `merge.rs`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::ops::{Deref, Index, IndexMut};

use hashbrown::HashTable;
use serf_wire::codecs::Codecs;

use crate::suspicion::Suspicion;
use crate::{Identity, Instant, Rng};

/// What is believed of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// It answers, or did lately.
    Alive = 0,
    /// Somebody could not reach it.
    Suspect = 1,
    /// It failed.
    Dead = 2,
    /// It said goodbye.
    Left = 3,
}

impl State {
    /// From its number on the wire.
    #[must_use]
    pub fn from_wire(state: i64) -> Option<Self> {
        Some(match state {
            0 => Self::Alive,
            1 => Self::Suspect,
            2 => Self::Dead,
            3 => Self::Left,
            _ => return None,
        })
    }

    /// Dead or left.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Dead | Self::Left)
    }
}

/// A node as we know it: what it announced, whose fields are at hand as if they were its own (`member.name`), and what
/// is believed of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it announced. Cloning it copies nothing.
    pub identity: Arc<Identity>,
    /// Its incarnation: only the node itself raises it.
    pub incarnation: u32,
    /// What is believed of it.
    pub state: State,
    /// What it has beyond the reference, as it told last. Nothing, unless we asked.
    pub codecs: Codecs,
    /// Since when. None for a record made of a claim that was not believed: as old as can be.
    pub since: Option<Instant>,
}

impl Deref for Member {
    type Target = Identity;
    fn deref(&self) -> &Identity {
        &self.identity
    }
}

/// A member's place in the table. Valid until the member is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

/// See the module's text.
#[derive(Debug)]
pub struct Members {
    slots: Vec<Option<Member>>,
    /// Beside the table, since most members are not suspected.
    pub(crate) suspicions: BTreeMap<Slot, Suspicion>,
    free: Vec<Slot>,
    order: Vec<Slot>,
    by_name: HashTable<Slot>,
    hasher: foldhash::fast::FixedState,
    cursor: usize,
    /// How many there are in each state.
    counts: [usize; State::Left as usize + 1],
}

impl Members {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            suspicions: BTreeMap::new(),
            free: Vec::new(),
            order: Vec::new(),
            by_name: HashTable::new(),
            // Names come from strangers: an unknown seed keeps them from aiming at one bucket.
            hasher: foldhash::fast::FixedState::with_seed(seed),
            cursor: 0,
            counts: Default::default(),
        }
    }

    /// All nodes known, gone ones included.
    #[must_use]
    pub fn known(&self) -> usize {
        self.order.len()
    }

    /// Those that are not gone.
    #[must_use]
    pub fn present(&self) -> usize {
        self.count(State::Alive) + self.count(State::Suspect)
    }

    /// Those in this state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    /// A node's place, by its name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Slot> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |slot| self[*slot].name.as_bytes() == name).copied()
    }

    /// A node, by its name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Member> {
        self.find(name).map(|slot| &self[slot])
    }

    /// All nodes, in the order in which they are probed.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.order.iter().map(|slot| &self[*slot])
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.slots.reserve_exact(more);
        self.order.reserve_exact(more);
        let Self { slots, by_name, hasher, .. } = self;
        by_name.reserve(more, |slot| {
            slots[slot.0 as usize].as_ref().map_or(0, |m| hasher.hash_one(m.name.as_bytes()))
        });
    }

    /// Adds a node at a random place of the order.
    pub(crate) fn insert(&mut self, member: Member, rng: &mut Rng) -> Slot {
        let hash = self.hasher.hash_one(member.name.as_bytes());
        self.counts[member.state as usize] += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot.0 as usize] = Some(member);
                slot
            }
            None => {
                self.slots.push(Some(member));
                Slot(self.slots.len() as u32 - 1)
            }
        };
        let Self { slots, by_name, hasher, .. } = self;
        by_name.insert_unique(hash, slot, |slot| {
            slots[slot.0 as usize].as_ref().map_or(0, |m| hasher.hash_one(m.name.as_bytes()))
        });
        let place = rng.below(self.order.len());
        self.order.push(slot);
        let last = self.order.len() - 1;
        self.order.swap(place, last);
        slot
    }

    /// Changes what is believed of a node; `at` is stamped if that is a change.
    pub(crate) fn set_state(&mut self, slot: Slot, state: State, at: Instant) {
        let member = &mut self[slot];
        if member.state == state {
            return;
        }
        let was = core::mem::replace(&mut member.state, state);
        member.since = Some(at);
        self.counts[was as usize] -= 1;
        self.counts[state as usize] += 1;
    }

    /// Forgets the nodes for which `forget` is true.
    pub(crate) fn forget(&mut self, mut forget: impl FnMut(&Member) -> bool) {
        let mut order = core::mem::take(&mut self.order);
        order.retain(|slot| {
            if !forget(&self[*slot]) {
                return true;
            }
            let hash = self.hasher.hash_one(self[*slot].name.as_bytes());
            if let Ok(entry) = self.by_name.find_entry(hash, |s| s == slot) {
                entry.remove();
            }
            self.suspicions.remove(slot);
            if let Some(member) = self.slots[slot.0 as usize].take() {
                self.counts[member.state as usize] -= 1;
            }
            self.free.push(*slot);
            false
        });
        self.order = order;
        self.cursor = self.cursor.min(self.order.len());
    }

    /// The node under the probe cursor, which moves on. None at the end of the list.
    pub(crate) fn next_in_order(&mut self) -> Option<Slot> {
        let slot = self.order.get(self.cursor).copied();
        self.cursor += usize::from(slot.is_some());
        slot
    }

    /// Draws a new probe order and goes to its start.
    pub(crate) fn shuffle(&mut self, rng: &mut Rng) {
        rng.shuffle(&mut self.order);
        self.cursor = 0;
    }

    /// Up to `k` distinct random nodes for which `fit` is true (spec §6.6), into `out`.
    ///
    /// In a small list every fitting node has its chance; in a large one up to three draws per node are made.
    pub(crate) fn random(
        &self,
        k: usize,
        rng: &mut Rng,
        fit: impl Fn(Slot, &Member) -> bool,
        out: &mut Vec<Slot>,
    ) {
        out.clear();
        let n = self.order.len();
        if n < k.saturating_mul(3) {
            out.extend_from_slice(&self.order);
            rng.shuffle(out);
            out.retain(|slot| fit(*slot, &self[*slot]));
            out.truncate(k);
            return;
        }
        for _ in 0..3 * n {
            if out.len() >= k {
                return;
            }
            let slot = self.order[rng.below(n)];
            if !out.contains(&slot) && fit(slot, &self[slot]) {
                out.push(slot);
            }
        }
    }
}

impl Index<Slot> for Members {
    type Output = Member;
    fn index(&self, slot: Slot) -> &Member {
        self.slots[slot.0 as usize].as_ref().expect("a slot is held only while its member is known")
    }
}

impl IndexMut<Slot> for Members {
    fn index_mut(&mut self, slot: Slot) -> &mut Member {
        self.slots[slot.0 as usize].as_mut().expect("a slot is held only while its member is known")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Name};
    use alloc::format;
    use core::time::Duration;

    fn member(i: usize, state: State) -> Member {
        let identity = Identity {
            name: format!("n{i}").as_str().into(),
            addr: Address::new(&[10, 0, 0, i as u8], 1),
            meta: Arc::from(&[][..]),
            versions: [1, 5, 2, 0, 0, 0],
        };
        Member { identity: Arc::new(identity), incarnation: 1, state, codecs: Codecs::NONE, since: None }
    }

    fn table(n: usize) -> (Members, Rng) {
        let mut rng = Rng::from_seed([5; 32]);
        let mut members = Members::new(1);
        (0..n).for_each(|i| {
            members.insert(member(i, State::Alive), &mut rng);
        });
        (members, rng)
    }

    fn names(members: &Members) -> Vec<Name> {
        members.iter().map(|m| m.name.clone()).collect()
    }

    /// LS1, LS2: what goes goes wholly, what stays keeps its order, and slots are used again.
    #[test]
    fn the_forgotten_are_gone_and_the_others_stay_in_order() {
        let (mut members, mut rng) = table(20);
        let now = Instant::from_nanos(1);
        for i in [3, 7, 11] {
            let slot = members.find(format!("n{i}").as_bytes()).unwrap();
            members.set_state(slot, if i == 7 { State::Left } else { State::Dead }, now);
        }
        assert_eq!((members.known(), members.present()), (20, 17));
        let stay: Vec<Name> = members.iter().filter(|m| !m.state.is_gone()).map(|m| m.name.clone()).collect();
        members.forget(|m| m.state.is_gone());
        assert_eq!(names(&members), stay);
        assert_eq!((members.known(), members.present()), (17, 17));
        assert!(members.find(b"n7").is_none() && members.find(b"n8").is_some());
        for i in 30..33 {
            let slot = members.insert(member(i, State::Dead), &mut rng);
            assert!((slot.0 as usize) < 20, "a used slot");
            assert_eq!(members.find(format!("n{i}").as_bytes()), Some(slot));
        }
        assert_eq!((members.known(), members.present()), (20, 17));
        members.forget(|_| true);
        assert_eq!((members.known(), members.present(), members.next_in_order()), (0, 0, None));
    }

    /// A change of state is stamped, staying is not.
    #[test]
    fn only_changes_of_state_are_stamped() {
        let (mut members, _) = table(1);
        let slot = members.find(b"n0").unwrap();
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        members.set_state(slot, State::Alive, at(1));
        assert_eq!(members[slot].since, None);
        members.set_state(slot, State::Suspect, at(2));
        members.set_state(slot, State::Suspect, at(3));
        assert_eq!((members[slot].since, members.present()), (Some(at(2)), 1));
        assert_eq!((members.count(State::Alive), members.count(State::Suspect)), (0, 1));
    }

    /// Every node has a record of every other.
    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Member>() <= 32, "{} bytes", size_of::<Member>());
    }

    /// LS3
    #[test]
    fn a_shuffle_changes_the_order_and_nothing_else() {
        let (mut members, mut rng) = table(20);
        let mut before = names(&members);
        members.shuffle(&mut rng);
        let mut after = names(&members);
        assert_ne!(before, after);
        before.sort();
        after.sort();
        assert_eq!(before, after);
    }

    /// LS4
    #[test]
    fn random_members_are_distinct_fitting_and_vary() {
        let (mut members, mut rng) = table(90);
        for i in 0..90 {
            let slot = members.find(format!("n{i}").as_bytes()).unwrap();
            let state = [State::Alive, State::Suspect, State::Dead][i % 3];
            members.set_state(slot, state, Instant::ZERO);
        }
        let mut draws = Vec::new();
        for _ in 0..3 {
            let mut out = Vec::new();
            members.random(3, &mut rng, |_, m| m.state == State::Alive && m.name != "n0".into(), &mut out);
            let mut got: Vec<Name> = out.iter().map(|slot| members[*slot].name.clone()).collect();
            assert!(out.iter().all(|slot| members[*slot].state == State::Alive));
            got.sort();
            got.dedup();
            assert_eq!(got.len(), 3);
            assert!(!got.contains(&"n0".into()));
            draws.push(got);
        }
        assert!(draws[0] != draws[1] && draws[1] != draws[2] && draws[0] != draws[2]);
    }

    /// LS5: in a small cluster everybody that fits is found, every time.
    #[test]
    fn in_a_small_list_all_that_fit_are_found() {
        let (mut members, mut rng) = table(8);
        for i in 2..8 {
            let slot = members.find(format!("n{i}").as_bytes()).unwrap();
            members.set_state(slot, State::Dead, Instant::ZERO);
        }
        for _ in 0..100 {
            let mut out = Vec::new();
            members.random(3, &mut rng, |_, m| !m.state.is_gone(), &mut out);
            assert_eq!(out.len(), 2);
        }
    }

    /// LS6
    #[test]
    fn random_places_do_not_repeat_soon() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut drawn: Vec<usize> = (0..100).map(|_| rng.below(1 << 31)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!((drawn.len(), rng.below(0), rng.below(1)), (100, 0, 0));
    }
}
