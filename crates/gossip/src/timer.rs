//! Deadlines as data: one ordered table, the earliest first, equal ones in the order of their setting.

use alloc::collections::BTreeMap;

use crate::Instant;

/// A set deadline, to cancel it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey(Instant, u64);

impl TimerKey {
    /// When it is due.
    #[must_use]
    pub fn due(self) -> Instant {
        self.0
    }
}

/// A table of deadlines, each with what it is for.
#[derive(Debug, Clone)]
pub struct Timers<T> {
    table: BTreeMap<TimerKey, T>,
    next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { table: BTreeMap::new(), next: 0 }
    }
}

impl<T> Timers<T> {
    /// Sets a deadline.
    pub fn set(&mut self, due: Instant, what: T) -> TimerKey {
        let key = TimerKey(due, self.next);
        self.next += 1;
        self.table.insert(key, what);
        key
    }

    /// Takes a deadline back. One that is gone already is no matter.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.table.remove(&key)
    }

    /// The earliest deadline and what it is for.
    #[must_use]
    pub fn first(&self) -> Option<(Instant, &T)> {
        self.table.first_key_value().map(|(key, what)| (key.0, what))
    }

    /// Takes the earliest deadline that is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let entry = self.table.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// How many deadlines are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}
