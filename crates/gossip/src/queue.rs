//! The transmit-limited broadcast queue: each message is sent a bounded number of times, the least sent first
//! (spec `gossip.md` §6.1–6.3). Used by the gossip layer, and by the layer above for its own messages.
//!
//! Nothing is sent back to whoever told it, nor, on pings and acks, twice in a row to the same one. That does not count as
//! sent, and nothing waits for ever because of it: others are there who are to hear it, or it is at its end.
//!
//! Order: fewer transmissions, then longer, then newer. A take fills a datagram with the largest message that
//! fits of each tier. One entry per subject where a subject is given; a completion number where somebody waits.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

use crate::{Backlog, CommandId, Listener, Name, Pool, Teller};

/// A message's place in the order, in one number, since finding places is most of what a queue does: how often it was
/// sent, then, turned round, its length and its age. The first message of a tier that is not longer than so many bytes is
/// found by one range lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u128);

impl Rank {
    fn new(sent: u32, len: usize, id: u64) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self(u128::from(sent) << 96 | u128::from(!len) << 64 | u128::from(!id))
    }

    /// The first that a message can have that was sent so often and is not longer than this.
    fn first(sent: u32, len: usize) -> Self {
        Self::new(sent, len, u64::MAX)
    }

    fn sent(self) -> u32 {
        (self.0 >> 96) as u32
    }

    fn len(self) -> usize {
        !(self.0 >> 64) as u32 as usize
    }

    fn sent_once_more(self) -> Self {
        Self(self.0 + (1 << 96))
    }

    /// The first place behind this one.
    fn behind(self) -> Self {
        Self(self.0 + 1)
    }
}

/// So many messages are passed over for one datagram at most. Whoever told us thousands of things and pings us is not to
/// make us look through all of them for each answer.
const PASSED_OVER_MAX: usize = 256;

/// For the messages of so many subjects room is kept when nothing is queued.
const ROOM_AT_REST: usize = 64;

#[derive(Debug, Clone)]
struct Entry {
    bytes: Arc<[u8]>,
    subject: Option<Name>,
    waiter: Option<CommandId>,
    /// Whom it came from.
    teller: Teller,
    /// Whom it was sent last, if that was [`Listener::aside`].
    aside: Teller,
}

impl Entry {
    /// Whether it came from there.
    fn is_known_to(&self, to: &Listener) -> bool {
        to.who != Teller::NOBODY && self.teller == to.who
    }

    /// Whether it is kept for others.
    fn is_passed_over(&self, to: &Listener) -> bool {
        // Whoever told it need not hear it either.
        let others = to.others.saturating_sub(usize::from(self.teller != Teller::NOBODY));
        let just_heard = to.who != Teller::NOBODY && self.aside == to.who && others > 0;
        just_heard || (self.is_known_to(to) && to.others > 0)
    }
}

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct TransmitQueue {
    entries: BTreeMap<Rank, Entry>,
    by_subject: HashMap<Name, Rank, foldhash::fast::FixedState>,
    next_id: u64,
    /// Of all messages.
    bytes: usize,
    finished: Vec<CommandId>,
    /// Filled and emptied within one take; kept for its memory.
    sent: Vec<(Rank, Entry)>,
}

/// How many times a message is sent in a cluster of `n` nodes: `mult` × ⌈log₁₀(n + 1)⌉.
#[must_use]
pub fn retransmit_limit(mult: u32, n: usize) -> u32 {
    // ⌈log₁₀(n + 1)⌉ is the number of powers of ten not above n.
    let mut scale = 0;
    let mut power = 1_usize;
    while power <= n {
        scale += 1;
        match power.checked_mul(10) {
            Some(p) => power = p,
            None => break,
        }
    }
    mult.saturating_mul(scale)
}

impl TransmitQueue {
    /// How many messages are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much is queued, each message with `overhead` bytes.
    #[must_use]
    pub fn backlog(&self, overhead: usize) -> Backlog {
        let next = self.entries.first_key_value().map_or(0, |(_, entry)| entry.bytes.len() + overhead);
        Backlog { bytes: self.bytes + self.len() * overhead, next }
    }

    /// Queues a message, which came from `teller`. One of the same subject is replaced, and counts as finished. `waiter` is
    /// told by [`TransmitQueue::finished`] when the message has been sent often enough, was replaced or was shed.
    pub fn push(
        &mut self,
        bytes: Arc<[u8]>,
        subject: Option<Name>,
        teller: Teller,
        waiter: Option<CommandId>,
    ) {
        let rank = Rank::new(0, bytes.len(), self.next_id);
        self.next_id += 1;
        if let Some(old) = subject.as_ref().and_then(|s| self.by_subject.insert(s.clone(), rank)) {
            self.drop_entry(old);
        }
        self.bytes += bytes.len();
        self.entries.insert(rank, Entry { bytes, subject, waiter, teller, aside: Teller::NOBODY });
    }

    /// Takes the message of a subject back, which counts as finished; and so does `waiter`.
    pub fn withdraw(&mut self, subject: &Name, waiter: Option<CommandId>) {
        if let Some(rank) = self.by_subject.remove(subject) {
            self.drop_entry(rank);
        }
        self.finished.extend(waiter);
    }

    /// Holds the message of a subject in common with other queues.
    pub fn share(&mut self, subject: &[u8], pool: &mut dyn Pool) {
        if let Some(entry) = self.by_subject.get(subject).and_then(|rank| self.entries.get_mut(rank)) {
            pool.bytes(&mut entry.bytes);
        }
    }

    /// Hands out messages for one datagram to `to`: each costs its length and `overhead` bytes of `limit`.
    /// `transmissions` is the number of times each may be sent. Returns how much of `limit` was used.
    ///
    /// What `to` told is passed over; if nobody else is there to be told, it is finished. Where a transmission does not
    /// count, it does so nevertheless for messages that somebody waits for: the dead keep nobody waiting.
    pub fn take(
        &mut self,
        to: Listener,
        overhead: usize,
        mut limit: usize,
        transmissions: u32,
        mut put: impl FnMut(&Arc<[u8]>),
    ) -> usize {
        let before = limit;
        let mut passed_over = 0;
        // Where the search goes on: never before a place where it was.
        let mut next = match self.entries.first_key_value() {
            Some((rank, _)) => *rank,
            None => return 0,
        };
        while let Some(free) = limit.checked_sub(overhead).filter(|free| *free > 0) {
            let tier = next.sent();
            let mut found = None;
            for (rank, entry) in self.entries.range(next.max(Rank::first(tier, free))..) {
                if rank.sent() != tier || !entry.is_passed_over(&to) {
                    found = Some((*rank, entry));
                    break;
                }
                passed_over += 1;
                if passed_over == PASSED_OVER_MAX {
                    break;
                }
            }
            let Some((rank, entry)) = found else { break };
            if rank.sent() != tier {
                next = rank;
                continue;
            }
            next = rank.behind();
            let is_told = !entry.is_known_to(&to);
            if is_told {
                limit -= overhead + entry.bytes.len();
                put(&entry.bytes);
                if !to.counts && entry.waiter.is_none() {
                    continue;
                }
            }
            let Some(mut entry) = self.entries.remove(&rank) else { break };
            if is_told && rank.sent() + 1 < transmissions {
                entry.aside = if to.aside { to.who } else { Teller::NOBODY };
                self.sent.push((rank.sent_once_more(), entry));
            } else {
                self.end(entry);
            }
        }
        while let Some((rank, entry)) = self.sent.pop() {
            if let Some(r) = entry.subject.as_ref().and_then(|s| self.by_subject.get_mut(s)) {
                *r = rank;
            }
            self.entries.insert(rank, entry);
        }
        self.rest();
        before - limit
    }

    /// Sheds messages until at most `max` are left: the most sent first, then the shortest, then the oldest.
    /// Returns how many were shed.
    pub fn prune(&mut self, max: usize) -> usize {
        let mut shed = 0;
        while self.entries.len() > max {
            let Some((_, entry)) = self.entries.pop_last() else { break };
            self.end(entry);
            shed += 1;
        }
        self.rest();
        shed
    }

    /// Sheds the messages longer than this, wherever they stand. Returns how many were shed.
    pub fn shed_longer(&mut self, max: usize) -> usize {
        let longer: Vec<Rank> = self.entries.keys().filter(|rank| rank.len() > max).copied().collect();
        for rank in &longer {
            if let Some(subject) = self.entries.get(rank).and_then(|entry| entry.subject.as_ref()) {
                self.by_subject.remove(subject);
            }
            self.drop_entry(*rank);
        }
        longer.len()
    }

    /// Those whose message is finished since the last call.
    pub fn finished(&mut self) -> impl Iterator<Item = CommandId> {
        self.finished.drain(..)
    }

    /// Whether somebody is to be told by [`TransmitQueue::finished`].
    #[must_use]
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Nothing is left: a burst of news is over, and so is the need for its room.
    fn rest(&mut self) {
        if self.entries.is_empty() {
            self.next_id = 0;
            self.by_subject.shrink_to(ROOM_AT_REST);
        }
    }

    /// A message that is queued no more, nor is another of its subject.
    fn end(&mut self, entry: Entry) {
        self.bytes -= entry.bytes.len();
        if let Some(subject) = &entry.subject {
            self.by_subject.remove(subject);
        }
        self.finished.extend(entry.waiter);
    }

    fn drop_entry(&mut self, rank: Rank) {
        if let Some(entry) = self.entries.remove(&rank) {
            self.bytes -= entry.bytes.len();
            self.finished.extend(entry.waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn text(s: &str) -> Arc<[u8]> {
        s.as_bytes().into()
    }

    fn take(q: &mut TransmitQueue, overhead: usize, limit: usize, times: u32) -> Vec<Vec<u8>> {
        let mut got = vec![];
        q.take(Listener::ANYBODY, overhead, limit, times, |m| got.push(m.to_vec()));
        got
    }

    #[test]
    fn a_subject_has_one_entry_and_replacing_it_finishes_the_old() {
        let mut q = TransmitQueue::default();
        q.push(text("a"), Some("n".into()), Teller::NOBODY, Some(CommandId(1)));
        q.push(text("b"), Some("other".into()), Teller::NOBODY, None);
        q.push(text("c"), Some("n".into()), Teller::NOBODY, None);
        assert_eq!(q.len(), 2);
        assert_eq!(q.finished().collect::<Vec<_>>(), [CommandId(1)]);
        assert_eq!(take(&mut q, 2, 100, 9), [b"c".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn fewer_transmissions_then_longer_then_newer() {
        let mut q = TransmitQueue::default();
        for m in ["old", "new", "longer"] {
            q.push(text(m), None, Teller::NOBODY, None);
        }
        assert_eq!(take(&mut q, 0, 6, 3), [b"longer".to_vec()]);
        // The one already sent comes last, although it is the longest.
        assert_eq!(take(&mut q, 0, 100, 3), [b"new".to_vec(), b"old".to_vec(), b"longer".to_vec()]);
    }

    /// BQ8
    #[test]
    fn a_take_fills_the_limit_overhead_included() {
        for (overhead, want) in [(2, 4), (3, 3)] {
            let mut q = TransmitQueue::default();
            for i in 0..4 {
                q.push(text(&alloc::format!("message-number-00{i}")), None, Teller::NOBODY, None);
            }
            assert_eq!(q.entries.values().next().map(|e| e.bytes.len()), Some(18));
            assert_eq!(take(&mut q, overhead, 80, 10).len(), want);
        }
    }

    /// BQ1–BQ3, BQ7
    #[test]
    fn news_replace_older_news_of_the_same_subject_only() {
        let mut q = TransmitQueue::default();
        q.push(text("a1"), Some("a".into()), Teller::NOBODY, None);
        q.push(text("b1"), Some("b".into()), Teller::NOBODY, None);
        q.push(text("a2"), Some("a".into()), Teller::NOBODY, None);
        assert_eq!(q.len(), 2);
        assert_eq!(take(&mut q, 0, 2, 9), [b"a2".to_vec()], "the newest first, unchanged");
        q.push(text("b2"), Some("b".into()), Teller::NOBODY, None);
        assert_eq!(take(&mut q, 0, 9, 9), [b"b2".to_vec(), b"a2".to_vec()]);
        q.push(text("a3"), Some("a".into()), Teller::NOBODY, None);
        assert_eq!(q.len(), 2, "also when it was sent before");
        q.withdraw(&"a".into(), Some(CommandId(5)));
        assert_eq!((q.len(), q.finished().collect::<Vec<_>>()), (1, vec![CommandId(5)]));
        q.withdraw(&"a".into(), None);
        assert_eq!(q.len(), 1);
    }

    /// BQ4–BQ6, BQ12
    #[test]
    fn the_order_is_transmissions_then_length_then_age() {
        let mut q = TransmitQueue::default();
        for (sent, m) in [(0, "x"), (10, "y"), (3, "z"), (4, "w"), (7, "v")] {
            q.push(text(m), None, Teller::NOBODY, None);
            let (rank, entry) = q.entries.pop_first().unwrap();
            q.entries.insert(Rank(rank.0 + ((sent + 100) << 96)), entry);
        }
        let got = take(&mut q, 0, 100, 1000);
        assert_eq!(got, [b"x", b"z", b"w", b"v", b"y"].map(|m| m.to_vec()));
        let mut q = TransmitQueue::default();
        ["aa", "b", "ccc", "dd"].iter().for_each(|m| q.push(text(m), None, Teller::NOBODY, None));
        assert_eq!(take(&mut q, 0, 100, 9), ["ccc", "dd", "aa", "b"].map(|m| m.as_bytes().to_vec()));
    }

    /// However often it is asked, a message goes out exactly as often as it may, and never twice in one datagram.
    #[test]
    fn each_message_is_sent_as_often_as_allowed() {
        let mut q = TransmitQueue::default();
        let mut rng = crate::Rng::from_seed([3; 32]);
        let all: Vec<Vec<u8>> = (0..100_u8).map(|i| vec![i; 1 + rng.below(60)]).collect();
        all.iter().for_each(|m| q.push(m.as_slice().into(), Some(Name::from(&m[..1])), Teller::NOBODY, None));
        let mut sent = [0; 100];
        while !q.is_empty() {
            let limit = 70 + rng.below(300);
            let got = take(&mut q, 2, limit, 5);
            assert!(got.iter().map(|m| m.len() + 2).sum::<usize>() <= limit);
            let mut seen: Vec<u8> = got.iter().map(|m| m[0]).collect();
            seen.iter().for_each(|i| sent[usize::from(*i)] += 1);
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), got.len());
        }
        assert_eq!(sent, [5; 100]);
        assert_eq!(q.backlog(2), Backlog::default());
        assert!(q.by_subject.is_empty());
    }

    /// Somebody, to whom a datagram goes; and somebody else.
    const T: Teller = Teller(7);
    const U: Teller = Teller(8);

    /// Who told it: O we ourselves, T and U. In the queue the longer goes first, of those sent equally often.
    #[test]
    fn what_somebody_told_is_not_sent_back() {
        let many = Listener { who: T, others: 9, ..Listener::ANYBODY };
        let alone = Listener { others: 0, ..many };
        let dead = Listener { counts: false, ..many };
        let unknown = Listener { others: 0, ..Listener::ANYBODY };
        // What waits, to whom the datagram goes, how long it is, what is in it, and what still waits, how often sent.
        type Row<'a> = (&'a [&'a str], Listener, usize, &'a [&'a str], &'a [(&'a str, u32)]);
        let table: &[Row<'_>] = &[
            (&["T1"], many, 9, &[], &[("T1", 0)]),
            (&["O1"], many, 9, &["O1"], &[("O1", 1)]),
            (&["U1"], many, 9, &["U1"], &[("U1", 1)]),
            (
                &["T1", "T22", "U1", "O1"],
                many,
                9,
                &["O1", "U1"],
                &[("T22", 0), ("T1", 0), ("O1", 1), ("U1", 1)],
            ),
            (&["T22", "O333", "U1"], many, 4, &["O333"], &[("T22", 0), ("U1", 0), ("O333", 1)]),
            (&["T22", "O333", "U1"], many, 3, &["U1"], &[("O333", 0), ("T22", 0), ("U1", 1)]),
            // Nobody else is there: it is at its end, unless it is too long to be looked at in this datagram.
            (&["T1", "U1", "T22"], alone, 9, &["U1"], &[("U1", 1)]),
            (&["T1", "T22", "T333"], alone, 9, &[], &[]),
            (&["T1", "O22", "T333"], alone, 3, &["O22"], &[("T333", 0), ("T1", 0), ("O22", 1)]),
            // What we say ourselves nobody has told us, not even somebody of whom we know nothing.
            (&["O1", "T1"], unknown, 9, &["T1", "O1"], &[("T1", 1), ("O1", 1)]),
            // The dead are told, and it does not count.
            (&["T1", "U1", "O22"], dead, 9, &["O22", "U1"], &[("O22", 0), ("U1", 0), ("T1", 0)]),
            (&["T1", "U1", "O22"], dead, 3, &["O22"], &[("O22", 0), ("U1", 0), ("T1", 0)]),
        ];
        for row @ (waiting, to, limit, wanted, left) in table {
            let mut q = TransmitQueue::default();
            for message in *waiting {
                let teller = match message.as_bytes()[0] {
                    b'T' => T,
                    b'U' => U,
                    _ => Teller::NOBODY,
                };
                q.push(text(message), Some((*message).into()), teller, None);
            }
            let mut got = vec![];
            let used = q.take(*to, 0, *limit, 9, |m| got.push(m.to_vec()));
            assert_eq!(got, wanted.iter().map(|m| m.as_bytes().to_vec()).collect::<Vec<_>>(), "{row:?}");
            assert_eq!(used, got.iter().map(Vec::len).sum::<usize>(), "{row:?}");
            let rest: Vec<_> = q.entries.iter().map(|(rank, e)| (e.bytes.to_vec(), rank.sent())).collect();
            let left: Vec<_> = left.iter().map(|(m, sent)| (m.as_bytes().to_vec(), *sent)).collect();
            assert_eq!(rest, left, "{row:?}");
            assert_eq!(q.by_subject.len(), left.len(), "{row:?}");
            assert_eq!(q.backlog(0).bytes, left.iter().map(|(m, _)| m.len()).sum::<usize>(), "{row:?}");
        }
    }

    #[test]
    fn what_rides_on_pings_and_acks_is_not_sent_twice_in_a_row_to_the_same_while_others_are_there() {
        let at = |who, aside, others| Listener { who, others, aside, counts: true };
        let (ping, round) = (true, false);
        // Who told it, who is there besides whom it goes to, to whom it goes how, and how often it is sent.
        let table = [
            (Teller::NOBODY, 1, [(T, ping), (T, ping), (T, round)], 1),
            (Teller::NOBODY, 1, [(T, ping), (U, round), (T, ping)], 3),
            // Each round goes to different ones by itself.
            (Teller::NOBODY, 1, [(T, round), (T, ping), (T, round)], 2),
            (Teller::NOBODY, 0, [(T, ping), (T, ping), (T, round)], 3),
            (U, 2, [(T, ping), (T, ping), (T, round)], 1),
            // The other is the one who told it.
            (U, 1, [(T, ping), (T, ping), (T, round)], 3),
        ];
        for (teller, others, to, times) in table {
            let mut q = TransmitQueue::default();
            q.push(text("x"), None, teller, None);
            let mut sent = 0;
            for (who, aside) in to {
                q.take(at(who, aside, others), 0, 9, 9, |_| sent += 1);
            }
            assert_eq!(sent, times, "{teller:?} {others} {to:?}");
        }
    }

    #[test]
    fn the_dead_keep_nobody_waiting() {
        let mut q = TransmitQueue::default();
        q.push(text("goodbye"), None, Teller::NOBODY, Some(CommandId(1)));
        q.push(text("news"), None, Teller::NOBODY, None);
        let dead = Listener { counts: false, ..Listener::ANYBODY };
        for finished in [vec![], vec![CommandId(1)], vec![]] {
            q.take(dead, 0, 99, 2, |_| ());
            assert_eq!(q.finished().collect::<Vec<_>>(), finished);
        }
        assert_eq!(q.len(), 1);
    }

    /// However many there are, whoever told what and in whatever way they are told: each message goes to those who did
    /// not tell it as often as it may, and in the end nothing waits.
    #[test]
    fn what_was_told_by_anybody_ends() {
        for seed in 0..60 {
            let mut q = TransmitQueue::default();
            let mut rng = crate::Rng::from_seed([seed; 32]);
            let others = 1 + rng.below(4);
            let told: Vec<u32> = (0..100).map(|_| rng.below(others + 1) as u32).collect();
            let all: Vec<Vec<u8>> = (0..100).map(|i| vec![i; 1 + rng.below(60)]).collect();
            for (m, teller) in all.iter().zip(&told) {
                q.push(m.as_slice().into(), Some(Name::from(&m[..1])), Teller(*teller), None);
            }
            let mut sent = [0; 100];
            while !q.is_empty() {
                let to = Listener {
                    who: Teller(1 + rng.below(others) as u32),
                    others: others - 1,
                    counts: rng.below(4) > 0,
                    aside: rng.below(2) > 0,
                };
                q.take(to, 2, 70 + rng.below(300), 5, |m| {
                    assert_ne!(Teller(told[usize::from(m[0])]), to.who);
                    sent[usize::from(m[0])] += usize::from(to.counts);
                });
            }
            for (sent, teller) in sent.iter().zip(&told) {
                assert_eq!(*sent, if others == 1 && *teller == 1 { 0 } else { 5 });
            }
            assert_eq!((q.backlog(2), q.by_subject.len(), q.next_id), (Backlog::default(), 0, 0));
        }
    }

    #[test]
    fn few_are_passed_over_for_one_datagram() {
        for (many, found) in [(PASSED_OVER_MAX - 1, 1), (PASSED_OVER_MAX, 0), (10_000, 0)] {
            let mut q = TransmitQueue::default();
            (0..many).for_each(|_| q.push(text("longer"), None, T, None));
            q.push(text("short"), None, U, None);
            let to = |who| Listener { who, ..Listener::ANYBODY };
            let mut got = 0;
            q.take(to(T), 0, 99, 9, |_| got += 1);
            assert_eq!((got, q.len()), (found, many + 1));
            // It is found as soon as others have heard the rest.
            q.take(to(U), 0, 1 << 20, 9, |m| assert_eq!(m.len(), 6));
            q.take(to(T), 0, 99, 9, |m| {
                assert_eq!(m.len(), 5);
                got += 1;
            });
            assert_eq!(got, 1 + found);
        }
    }

    /// BQ9
    #[test]
    fn messages_end_after_their_last_transmission() {
        let mut q = TransmitQueue::default();
        for i in 0..4 {
            q.push(text(&alloc::format!("message-number-00{i}")), None, Teller::NOBODY, None);
        }
        let limit = retransmit_limit(1, 10);
        assert_eq!(limit, 2);
        let counts: Vec<usize> = (0..4).map(|_| take(&mut q, 3, 80, limit).len()).collect();
        assert_eq!(counts, [3, 3, 2, 0]);
    }

    /// BQ10
    #[test]
    fn ids_start_anew_when_the_queue_is_empty() {
        let mut q = TransmitQueue::default();
        for _ in 0..4 {
            q.push(text("x"), None, Teller::NOBODY, None);
        }
        assert_eq!(q.next_id, 4);
        take(&mut q, 0, 3, 1);
        assert_eq!(q.next_id, 4);
        take(&mut q, 0, 3, 1);
        assert_eq!((q.next_id, q.len()), (0, 0));
    }

    /// BQ11
    #[test]
    fn prune_keeps_the_newest_and_tells_the_rest() {
        let mut q = TransmitQueue::default();
        for i in 0..4 {
            q.push(
                text("same"),
                Some(Name::from(&[b'0' + i][..])),
                Teller::NOBODY,
                Some(CommandId(u64::from(i))),
            );
        }
        assert_eq!(q.prune(2), 2);
        assert_eq!(q.finished().collect::<Vec<_>>(), [CommandId(0), CommandId(1)]);
        assert_eq!(q.len(), 2);
        q.push(text("again"), Some("0".into()), Teller::NOBODY, None);
        assert_eq!(q.len(), 3);
    }

    #[test]
    fn what_is_too_long_is_shed_from_every_tier_and_told() {
        let mut q = TransmitQueue::default();
        q.push(text("long-once-sent"), Some("a".into()), Teller::NOBODY, Some(CommandId(1)));
        take(&mut q, 0, 14, 9);
        q.push(text("long-not-sent"), Some("b".into()), Teller::NOBODY, Some(CommandId(2)));
        q.push(text("short"), Some("c".into()), Teller::NOBODY, Some(CommandId(3)));
        assert_eq!((q.shed_longer(5), q.shed_longer(5)), (2, 0));
        assert_eq!(q.finished().collect::<Vec<_>>(), [CommandId(2), CommandId(1)]);
        assert_eq!((q.len(), q.by_subject.len()), (1, 1));
    }
}
