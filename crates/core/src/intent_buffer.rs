//! Intents about members that we do not know: they are often faster than the news of the member itself.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::time::Duration;

use serf_gossip::Instant;

/// Most bytes held for intents, each costing its name and [`ENTRY_BYTES`]: forty thousand of ordinary names, several
/// times the largest clusters there are. Without a bound (B4) whoever invents names fills the memory.
const BYTES_MAX: usize = 4 << 20;
/// What an intent costs beside its name, roughly.
const ENTRY_BYTES: usize = 72;

/// What a member means to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Join,
    Leave,
}

/// An announced join or leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) kind: Kind,
    pub(crate) ltime: u64,
    /// Told by a full state exchange: it may really be an intent of the other kind.
    pub(crate) hearsay: bool,
    /// When we heard of it.
    pub(crate) at: Instant,
}

/// What became of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is news, and is remembered.
    News,
    /// Something as new is remembered already.
    Stale,
    /// There is no room. It must not be passed on either: nobody would know it for old when it comes again.
    NoRoom,
}

/// The latest intent of each name, whatever its kind.
#[derive(Debug, Default)]
pub(crate) struct IntentBuffer {
    by_name: BTreeMap<Arc<[u8]>, Intent>,
    bytes: usize,
}

impl IntentBuffer {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Intent> {
        self.by_name.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Remembers an intent if it is later than what is remembered of that name. A leave of the same time as a join
    /// known from hearsay counts as later: see [`supersedes`].
    pub(crate) fn upsert(&mut self, name: &[u8], intent: Intent) -> Kept {
        if let Some(known) = self.by_name.get_mut(name) {
            if !supersedes(intent.ltime, intent.kind, intent.hearsay, known.ltime, known.hearsay) {
                return Kept::Stale;
            }
            *known = intent;
            return Kept::News;
        }
        let bytes = self.bytes + name.len() + ENTRY_BYTES;
        if bytes > BYTES_MAX {
            return Kept::NoRoom;
        }
        self.bytes = bytes;
        self.by_name.insert(name.into(), intent);
        Kept::News
    }

    /// Forgets what is older than `age`.
    pub(crate) fn purge(&mut self, now: Instant, age: Duration) {
        let bytes = &mut self.bytes;
        self.by_name.retain(|name, intent| {
            let keep = now.since(intent.at) <= age;
            if !keep {
                *bytes -= name.len() + ENTRY_BYTES;
            }
            keep
        });
    }

    /// When the oldest was heard of.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.by_name.values().map(|intent| intent.at).min()
    }
}

/// Whether an intent is news to one who knows of an earlier one.
///
/// It must be later; with one exception (B7). A full state exchange tells the time of a member's latest intent but
/// not its kind, and we must take it for a join. If the leave that it really was comes after it, its time is the
/// same; not believing it would show the member as failed. The exception holds once, since the leave itself is no hearsay.
pub(crate) fn supersedes(ltime: u64, kind: Kind, hearsay: bool, known: u64, known_hearsay: bool) -> bool {
    ltime > known || (ltime == known && kind == Kind::Leave && known_hearsay && !hearsay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn intent(kind: Kind, ltime: u64) -> Intent {
        Intent { kind, ltime, hearsay: false, at: Instant::ZERO }
    }

    #[test]
    fn an_empty_buffer_finds_nothing() {
        let buffer = IntentBuffer::default();
        assert!(buffer.get(b"foo").is_none() && buffer.oldest().is_none());
    }

    #[test]
    fn the_later_intent_replaces_whatever_its_kind_and_the_earlier_is_refused() {
        let mut buffer = IntentBuffer::default();
        assert_eq!(buffer.upsert(b"foo", intent(Kind::Join, 1)), Kept::News);
        assert_eq!(buffer.upsert(b"bar", intent(Kind::Leave, 2)), Kept::News);
        assert_eq!(buffer.upsert(b"baz", intent(Kind::Join, 3)), Kept::News);
        assert_eq!(buffer.upsert(b"bar", intent(Kind::Join, 4)), Kept::News);
        assert_eq!(buffer.upsert(b"bar", intent(Kind::Join, 0)), Kept::Stale);
        assert_eq!(buffer.upsert(b"bar", intent(Kind::Leave, 4)), Kept::Stale);
        assert_eq!(buffer.get(b"foo"), Some(&intent(Kind::Join, 1)));
        assert_eq!(buffer.get(b"bar"), Some(&intent(Kind::Join, 4)));
        assert_eq!(buffer.get(b"nope"), None);
    }

    #[test]
    fn a_leave_at_the_time_of_a_join_known_from_hearsay_is_news_once() {
        let mut buffer = IntentBuffer::default();
        buffer.upsert(b"foo", Intent { hearsay: true, ..intent(Kind::Join, 7) });
        assert_eq!(buffer.upsert(b"foo", intent(Kind::Join, 7)), Kept::Stale);
        assert_eq!(buffer.upsert(b"foo", intent(Kind::Leave, 7)), Kept::News);
        assert_eq!(buffer.upsert(b"foo", intent(Kind::Leave, 7)), Kept::Stale);
    }

    #[test]
    fn only_what_is_older_than_the_age_is_purged() {
        let mut buffer = IntentBuffer::default();
        let second = |s| Instant::ZERO + Duration::from_secs(s);
        for (name, at) in [("old", 0), ("edge", 3), ("new", 9)] {
            buffer.upsert(name.as_bytes(), Intent { at: second(at), ..intent(Kind::Join, 1) });
        }
        buffer.purge(second(10), Duration::from_secs(7));
        assert!(buffer.get(b"old").is_none());
        assert!(buffer.get(b"edge").is_some() && buffer.get(b"new").is_some());
        assert_eq!(buffer.oldest(), Some(second(3)));
    }

    #[test]
    fn invented_names_fill_the_buffer_and_nothing_else() {
        let mut buffer = IntentBuffer::default();
        let mut kept = 0;
        while buffer.upsert(format!("invented-{kept:08}").as_bytes(), intent(Kind::Leave, 1)) == Kept::News {
            kept += 1;
        }
        assert!(kept > 40_000 && buffer.bytes <= BYTES_MAX, "{kept}");
        // What is known can still change, and room comes back.
        assert_eq!(buffer.upsert(b"invented-00000000", intent(Kind::Join, 2)), Kept::News);
        buffer.purge(Instant::ZERO + Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(buffer.bytes, 0);
        assert_eq!(buffer.upsert(b"new", intent(Kind::Join, 1)), Kept::News);
    }
}
