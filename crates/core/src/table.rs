//! Who is there, as Serf sees it: a dense table of records, found by name through one map. It decides nothing; it
//! only keeps count of how many members have which status.
//!
//! There is one list for all: the failed and the left are those whose status says so.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::ops::Deref;

use hashbrown::HashTable;
use serf_gossip::{Identity, Instant};

use crate::member::{Member, Status};
use crate::places::Sighting;

/// What is remembered of a member.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// What it announced, held in common with the gossip layer.
    pub(crate) identity: Arc<Identity>,
    status: Status,
    /// Time of the latest intent about it: what is not later is no news.
    pub(crate) status_ltime: u64,
    /// That time was told by a full state exchange, which does not say whether it is that of a join or of a leave.
    pub(crate) hearsay: bool,
    /// When it failed or left.
    pub(crate) gone_since: Option<Instant>,
    /// Where it is. In a box, since of most members of a large cluster that is long unknown.
    pub(crate) sighting: Option<Box<Sighting>>,
}

impl Record {
    pub(crate) fn new(member: &serf_gossip::Member, status: Status) -> Self {
        Self {
            identity: member.identity.clone(),
            status,
            status_ltime: 0,
            hearsay: false,
            gone_since: None,
            sighting: None,
        }
    }

    /// The same with another status. For records that are in no table yet.
    pub(crate) fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    pub(crate) fn to_member(&self) -> Member {
        Member {
            name: self.name.clone(),
            addr: self.addr.clone(),
            meta: self.meta.clone(),
            status: self.status,
            versions: self.versions.into(),
        }
    }
}

impl Deref for Record {
    type Target = Identity;
    fn deref(&self) -> &Identity {
        &self.identity
    }
}

/// See the module's text. A record's index is good until the next removal.
#[derive(Debug)]
pub(crate) struct Table {
    records: Vec<Record>,
    by_name: HashTable<u32>,
    hasher: foldhash::fast::FixedState,
    counts: [usize; 5],
    /// Whether anything that a [`Member`] shows has changed since [`Table::take_changed`].
    changed: bool,
}

impl Table {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            records: Vec::new(),
            by_name: HashTable::new(),
            // Names come from strangers: an unknown seed keeps them from aiming at one bucket.
            hasher: foldhash::fast::FixedState::with_seed(seed),
            counts: [0; 5],
            changed: true,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn count(&self, status: Status) -> usize {
        self.counts[status as usize]
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let same = |at: &u32| self.records[*at as usize].name.as_bytes() == name;
        self.by_name.find(self.hasher.hash_one(name), same).map(|at| *at as usize)
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Record> {
        self.find(name).map(|at| &self.records[at])
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.records.iter()
    }

    /// Those with this status.
    pub(crate) fn with(&self, status: Status) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |r| r.status == status)
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.records.reserve_exact(more);
        let Self { records, by_name, hasher, .. } = self;
        by_name.reserve(more, |at| hasher.hash_one(records[*at as usize].name.as_bytes()));
    }

    /// Adds a record; there must be none of its name.
    pub(crate) fn insert(&mut self, record: Record) -> usize {
        let at = self.records.len();
        self.counts[record.status as usize] += 1;
        self.changed = true;
        let Self { records, by_name, hasher, .. } = self;
        by_name.insert_unique(hasher.hash_one(record.name.as_bytes()), at as u32, |at| {
            hasher.hash_one(records[*at as usize].name.as_bytes())
        });
        self.records.push(record);
        at
    }

    pub(crate) fn set_status(&mut self, at: usize, status: Status) {
        let old = core::mem::replace(&mut self.records[at].status, status);
        self.counts[old as usize] -= 1;
        self.counts[status as usize] += 1;
        self.changed = true;
    }

    /// Takes over what the gossip layer knows anew.
    pub(crate) fn refresh(&mut self, at: usize, member: &serf_gossip::Member) {
        self.records[at].identity = member.identity.clone();
        self.changed = true;
    }

    /// Removes a record; the last one takes its index.
    pub(crate) fn remove(&mut self, at: usize) -> Record {
        self.unlink(at);
        let last = self.records.len() - 1;
        if at != last {
            *self.link(last) = at as u32;
        }
        let record = self.records.swap_remove(at);
        self.counts[record.status as usize] -= 1;
        self.changed = true;
        record
    }

    /// Whether there was a change since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    fn link(&mut self, at: usize) -> &mut u32 {
        let hash = self.hasher.hash_one(self.records[at].name.as_bytes());
        self.by_name.find_mut(hash, |other| *other as usize == at).expect("every record is found by its name")
    }

    fn unlink(&mut self, at: usize) {
        let hash = self.hasher.hash_one(self.records[at].name.as_bytes());
        if let Ok(entry) = self.by_name.find_entry(hash, |other| *other as usize == at) {
            entry.remove();
        }
    }
}

impl core::ops::Index<usize> for Table {
    type Output = Record;
    fn index(&self, at: usize) -> &Record {
        &self.records[at]
    }
}

impl core::ops::IndexMut<usize> for Table {
    fn index_mut(&mut self, at: usize) -> &mut Record {
        &mut self.records[at]
    }
}
