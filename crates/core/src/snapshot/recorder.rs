//! What is written to the snapshot file, and when. It is told what happens, and asks for one write at a time; what comes
//! up while that is under way, or while the disk is in trouble, waits here or is covered by a rewrite of the whole file.
//! So no record is lost (B24), and nothing that happens ever waits for a disk.
//!
//! A write is asked for at once if there was none for a while, otherwise half a second after the one before (B32: what
//! is recorded does not wait for the next record to push it out). A deadline is set only while something waits.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Address, Instant, Name};

use super::record::{self, Clock, Record};
use super::replay::Snapshot;
use crate::stats::Stats;

/// Time between two writes.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// Time between two attempts to get over an error, and to rewrite a file that has grown too long.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// A file is rewritten when it is longer than this, and than [`BYTES_PER_MEMBER`] for each member in it, and than twice
/// what the last rewrite made of it.
const REWRITE_MIN: u64 = 128 << 10;
/// See [`REWRITE_MIN`].
const BYTES_PER_MEMBER: u64 = 256;
/// Most bytes of lines that wait. Beyond, they are dropped and the whole file is rewritten as soon as the disk answers.
const WAITING_MAX: usize = 1 << 20;
/// Of members that failed, so many stay in the file when there is nobody else: see [`Recorder::keep`].
pub(crate) const KEPT_MAX: usize = 128;

/// What is to be done to the snapshot file. Answered with [`crate::Command::SnapshotWritten`]; until then there is no
/// other, except that the end of the node does not wait for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Append these lines, all of them or, as far as that can be had, none.
    Append {
        /// Whole lines. May be none, if only `sync` is wanted.
        lines: Arc<[u8]>,
        /// Whether they, and all before them, must have reached the disk before this is answered.
        sync: bool,
    },
    /// Put this in the place of all that is there, in one step that a crash either lets happen or not, and see to it that
    /// it has reached the disk.
    Replace {
        /// Whole lines.
        content: Arc<[u8]>,
    },
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Recorder {
    me: Name,
    rejoin_after_leave: bool,
    /// Who is a member by the file, ourselves included, were it written to its end.
    known: BTreeMap<Name, Address>,
    /// Those of them, but for ourselves, who are there.
    live: BTreeSet<Name>,
    /// Those of them who failed, and are kept because nobody else is there.
    kept: BTreeSet<Name>,
    /// The clocks by the file, were it written to its end.
    member_clock: u64,
    event_clock: u64,
    query_clock: u64,
    /// The latest time of the member clock that was used.
    member_time: u64,
    /// We have left: the clock as it was recorded then.
    left: Option<u64>,
    closed: bool,
    /// What is to be appended.
    lines: Vec<u8>,
    /// Lines were dropped: only a rewrite helps.
    overflowed: bool,
    /// What is appended must have reached the disk before anybody is told that it is done.
    sync: bool,
    under_way: Option<Job>,
    last_write: Option<Instant>,
    trouble: Option<Trouble>,
    /// When a file that is too long may be rewritten: not before this.
    rewrite_after: Instant,
    /// Length of the file.
    size: u64,
    /// What the last rewrite made of it.
    rewritten: u64,
    rewrite_min: u64,
}

/// A write that is not answered yet.
#[derive(Debug)]
struct Job {
    kind: Kind,
    began: Instant,
    /// What has to wait again if it fails.
    lines: Arc<[u8]>,
    overflowed: bool,
    /// What it writes.
    len: u64,
    sync: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Append,
    Replace,
}

/// A write has failed. What to try next, and when.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    next: Kind,
    at: Instant,
    /// The last attempt to rewrite the file because of it.
    attempted: Option<Instant>,
}

impl Recorder {
    pub(crate) fn new(me: Name, snapshot: Snapshot) -> Self {
        Self {
            me,
            rejoin_after_leave: snapshot.rejoin_after_leave,
            known: snapshot.known.into_iter().collect(),
            live: BTreeSet::new(),
            kept: BTreeSet::new(),
            member_clock: snapshot.member_clock,
            event_clock: snapshot.event_clock,
            query_clock: snapshot.query_clock,
            member_time: 0,
            left: None,
            closed: false,
            lines: Vec::new(),
            overflowed: false,
            sync: false,
            under_way: None,
            last_write: None,
            trouble: None,
            rewrite_after: Instant::ZERO,
            size: snapshot.whole,
            rewritten: 0,
            rewrite_min: REWRITE_MIN,
        }
    }

    fn is_recording(&self) -> bool {
        self.left.is_none() && !self.closed
    }

    /// A member is there. False if the file cannot hold it.
    pub(crate) fn joined(&mut self, stats: &mut Stats, name: &Name, addr: &Address) -> bool {
        if !self.is_recording() {
            return true;
        }
        if !record::can_hold(name) || addr.socket_addr().is_none() {
            stats.snapshot_refused += 1;
            return false;
        }
        if *name != self.me {
            // There is somebody to call: those that failed need not be kept any longer.
            for kept in core::mem::take(&mut self.kept) {
                if kept != *name {
                    self.forget(stats, &kept);
                }
            }
            self.live.insert(name.clone());
        }
        self.remember(stats, name, addr);
        true
    }

    /// A member left or failed. True if nobody else is there now, but was.
    pub(crate) fn gone(&mut self, stats: &mut Stats, name: &Name) -> bool {
        if !self.is_recording() || !record::can_hold(name) {
            return false;
        }
        self.forget(stats, name);
        self.kept.remove(name);
        self.live.remove(name) && self.live.is_empty()
    }

    /// Nobody else is there, and these failed: they go into the file again, for otherwise it would tell nobody whom to
    /// call after a restart. As soon as somebody is there they are taken out again.
    pub(crate) fn keep(&mut self, stats: &mut Stats, name: &Name, addr: &Address) {
        if record::can_hold(name) && addr.socket_addr().is_some() {
            self.remember(stats, name, addr);
            self.kept.insert(name.clone());
        }
    }

    /// A new user event of this time.
    pub(crate) fn event(&mut self, stats: &mut Stats, ltime: u64) {
        if self.is_recording() && ltime > self.event_clock {
            self.event_clock = ltime;
            self.write(stats, &Record::Clock(Clock::Event, ltime));
        }
    }

    /// A new query of this time.
    pub(crate) fn query(&mut self, stats: &mut Stats, ltime: u64) {
        if self.is_recording() && ltime > self.query_clock {
            self.query_clock = ltime;
            self.write(stats, &Record::Clock(Clock::Query, ltime));
        }
    }

    /// What the member clock shows, which nobody has used yet (B34: it may show 0).
    pub(crate) fn member_clock(&mut self, shown: u64) {
        self.member_time = shown.saturating_sub(1);
    }

    /// We leave. Nothing is recorded any more but the clock, which moves with it.
    pub(crate) fn leave(&mut self, stats: &mut Stats) {
        if !self.is_recording() {
            return;
        }
        self.record_clock(stats);
        self.left = Some(self.member_clock);
        if !self.rejoin_after_leave {
            self.known = BTreeMap::new();
        }
        self.live = BTreeSet::new();
        self.kept = BTreeSet::new();
        self.write(stats, &Record::Leave);
        self.sync = true;
    }

    /// Whether the leave has yet to reach the disk.
    pub(crate) fn is_leaving(&self) -> bool {
        self.left.is_some() && (self.sync || self.under_way.as_ref().is_some_and(|job| job.sync))
    }

    /// The last write. It does not wait for one under way, but says again what that may fail to say.
    pub(crate) fn close(&mut self, stats: &mut Stats) -> Option<Write> {
        if self.closed {
            return None;
        }
        self.record_clock(stats);
        self.closed = true;
        if let Some(job) = self.under_way.take() {
            self.restore(&job);
        }
        let replace = self.overflowed || self.trouble.is_some_and(|trouble| trouble.next == Kind::Replace);
        let write = if replace { self.replace(Instant::ZERO) } else { self.append(Instant::ZERO, true) };
        self.under_way = None;
        Some(write)
    }

    /// The next write, if one is due.
    pub(crate) fn turn(&mut self, now: Instant, stats: &mut Stats) -> Option<Write> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.record_clock(stats);
        let kind = match self.trouble {
            Some(trouble) => trouble.next,
            None if self.overflowed => Kind::Replace,
            None if self.is_too_long() && self.rewrite_after <= now && !self.sync => {
                self.rewrite_after = now + RETRY_INTERVAL;
                Kind::Replace
            }
            None => Kind::Append,
        };
        if let Some(trouble) = &mut self.trouble
            && kind == Kind::Replace
        {
            trouble.attempted = Some(now);
        }
        let sync = core::mem::take(&mut self.sync);
        self.last_write = Some(now);
        Some(match kind {
            Kind::Append => self.append(now, sync),
            Kind::Replace => self.replace(now),
        })
    }

    /// When [`Recorder::turn`] has something to do. None while nothing waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.under_way.is_some() || self.closed {
            return None;
        }
        if self.sync {
            return Some(Instant::ZERO);
        }
        if let Some(trouble) = self.trouble {
            return Some(trouble.at);
        }
        let next = self.last_write.map_or(Instant::ZERO, |last| last + FLUSH_INTERVAL);
        let waiting = !self.lines.is_empty() || self.overflowed || self.member_time > self.member_clock;
        let flush = waiting.then_some(next);
        let rewrite = self.is_too_long().then_some(self.rewrite_after);
        [flush, rewrite].into_iter().flatten().min()
    }

    /// The write under way has been done, or has not.
    pub(crate) fn answered(&mut self, now: Instant, done: bool, stats: &mut Stats) {
        let Some(job) = self.under_way.take() else { return };
        if done {
            self.trouble = None;
            let took = now.since(job.began);
            match job.kind {
                Kind::Append => {
                    stats.snapshot_appends += 1;
                    stats.snapshot_append_time += took;
                    self.size += job.len;
                }
                Kind::Replace => {
                    stats.snapshot_rewrites += 1;
                    stats.snapshot_rewrite_time += took;
                    (self.size, self.rewritten) = (job.len, job.len);
                    self.rewrite_after = now;
                }
            }
            return;
        }
        stats.snapshot_failures += 1;
        self.restore(&job);
        // A rewrite needs no room in the file and gets over what a broken write has left; where the directory does not
        // allow it, appending may work again. Each is tried in turn, and then there is a pause.
        let attempted = self.trouble.and_then(|trouble| trouble.attempted);
        let pause = attempted.map_or(now, |last| now.max(last + RETRY_INTERVAL));
        self.trouble = match (job.kind, self.trouble) {
            (Kind::Append, _) => Some(Trouble { next: Kind::Replace, at: pause, attempted }),
            (Kind::Replace, Some(_)) if !self.overflowed && !self.lines.is_empty() => {
                Some(Trouble { next: Kind::Append, at: now, attempted })
            }
            (Kind::Replace, Some(_)) => Some(Trouble { next: Kind::Replace, at: pause, attempted }),
            (Kind::Replace, None) if self.overflowed => {
                Some(Trouble { next: Kind::Replace, at: now + RETRY_INTERVAL, attempted: Some(now) })
            }
            // It was only too long.
            (Kind::Replace, None) => None,
        };
    }

    /// What a write was about waits again, before what came since.
    fn restore(&mut self, job: &Job) {
        let came_since = core::mem::take(&mut self.lines);
        self.overflowed |= job.overflowed;
        self.put(&job.lines);
        self.put(&came_since);
    }

    fn is_too_long(&self) -> bool {
        let limit = self.rewrite_min.max(self.known.len() as u64 * BYTES_PER_MEMBER).max(2 * self.rewritten);
        self.size > limit
    }

    fn append(&mut self, now: Instant, sync: bool) -> Write {
        let lines: Arc<[u8]> = core::mem::take(&mut self.lines).into();
        let len = lines.len() as u64;
        self.under_way =
            Some(Job { kind: Kind::Append, began: now, lines: lines.clone(), overflowed: false, len, sync });
        Write::Append { lines, sync }
    }

    fn replace(&mut self, now: Instant) -> Write {
        let lines = core::mem::take(&mut self.lines).into();
        let overflowed = core::mem::take(&mut self.overflowed);
        let content: Arc<[u8]> = self.content().into();
        let len = content.len() as u64;
        self.under_way = Some(Job { kind: Kind::Replace, began: now, lines, overflowed, len, sync: true });
        Write::Replace { content }
    }

    /// The whole file, as short as it can be.
    fn content(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |record: Record<'_>| record.write(&mut out);
        for (name, addr) in &self.known {
            put(Record::Alive { name: name.as_bytes(), addr: addr.clone() });
        }
        if self.left.is_none() || self.rejoin_after_leave {
            put(Record::Clock(Clock::Member, self.member_clock));
            put(Record::Clock(Clock::Event, self.event_clock));
            put(Record::Clock(Clock::Query, self.query_clock));
        }
        if let Some(then) = self.left {
            put(Record::Leave);
            if self.member_clock > then {
                put(Record::Clock(Clock::Member, self.member_clock));
            }
        }
        out
    }

    fn remember(&mut self, stats: &mut Stats, name: &Name, addr: &Address) {
        self.known.insert(name.clone(), addr.clone());
        self.write(stats, &Record::Alive { name: name.as_bytes(), addr: addr.clone() });
        self.record_clock(stats);
    }

    fn forget(&mut self, stats: &mut Stats, name: &Name) {
        self.known.remove(name);
        self.write(stats, &Record::NotAlive(name.as_bytes()));
        self.record_clock(stats);
    }

    fn record_clock(&mut self, stats: &mut Stats) {
        if self.member_time > self.member_clock {
            self.member_clock = self.member_time;
            self.write(stats, &Record::Clock(Clock::Member, self.member_time));
        }
    }

    fn write(&mut self, stats: &mut Stats, record: &Record<'_>) {
        stats.snapshot_lines += 1;
        if !self.overflowed {
            record.write(&mut self.lines);
            self.check_room();
        }
    }

    fn put(&mut self, lines: &[u8]) {
        if !self.overflowed {
            self.lines.extend_from_slice(lines);
            self.check_room();
        }
    }

    fn check_room(&mut self) {
        if self.lines.len() > WAITING_MAX {
            self.overflowed = true;
            self.lines = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Replay;
    use alloc::format;
    use alloc::string::String;

    use serf_gossip::Rng;

    /// A recorder and its file, on a disk that does what the test says.
    struct Rig {
        recorder: Recorder,
        stats: Stats,
        now: Instant,
        file: Vec<u8>,
        asked: Option<Write>,
    }

    fn addr(port: u16) -> Address {
        Address::new(&[127, 0, 0, 1], port)
    }

    fn replayed(file: &[u8], rejoin: bool) -> Snapshot {
        let mut replay = Replay::new(rejoin);
        replay.feed(file);
        replay.finish()
    }

    impl Rig {
        fn new(file: &str, rejoin: bool) -> Self {
            let recorder = Recorder::new("me".into(), replayed(file.as_bytes(), rejoin));
            let now = Instant::from_nanos(1 << 40);
            Self { recorder, stats: Stats::default(), now, file: file.as_bytes().to_vec(), asked: None }
        }

        fn joined(&mut self, name: &str, port: u16) {
            self.recorder.joined(&mut self.stats, &name.into(), &addr(port));
        }

        fn gone(&mut self, name: &str) -> bool {
            self.recorder.gone(&mut self.stats, &name.into())
        }

        /// Takes the next write, if one is due.
        fn turn(&mut self) -> Option<Write> {
            self.asked = self.recorder.turn(self.now, &mut self.stats);
            self.asked.clone()
        }

        fn answer(&mut self, done: bool) {
            match self.asked.take() {
                Some(Write::Append { lines, .. }) if done => self.file.extend_from_slice(&lines),
                Some(Write::Replace { content }) if done => self.file = content.to_vec(),
                _ => {}
            }
            self.recorder.answered(self.now, done, &mut self.stats);
        }

        /// All writes are done, until none is due.
        fn write(&mut self) {
            while self.turn().is_some() {
                self.answer(true);
            }
        }

        /// Time passes; the disk works.
        fn rest(&mut self) {
            while let Some(due) = self.recorder.due() {
                self.now = self.now.max(due);
                self.write();
            }
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.file).into_owned()
        }

        /// What the file says, as a new one that is as short as it can be.
        fn short(&self) -> Vec<u8> {
            let rejoin = self.recorder.rejoin_after_leave;
            Recorder::new("me".into(), replayed(&self.file, rejoin)).content()
        }
    }

    fn is_append(write: Option<Write>) -> bool {
        matches!(write, Some(Write::Append { .. }))
    }

    fn is_replace(write: Option<Write>) -> bool {
        matches!(write, Some(Write::Replace { .. }))
    }

    // B32
    #[test]
    fn the_first_record_is_written_at_once_and_more_half_a_second_later() {
        let mut rig = Rig::new("", false);
        assert_eq!(rig.recorder.due(), None);
        rig.joined("me", 1);
        rig.write();
        assert_eq!((rig.text(), rig.recorder.due()), ("alive: me 127.0.0.1:1\n".into(), None));
        rig.recorder.event(&mut rig.stats, 1);
        let due = rig.now + FLUSH_INTERVAL;
        assert_eq!((rig.turn(), rig.recorder.due()), (None, Some(due)));
        rig.recorder.query(&mut rig.stats, 3);
        rig.now = due;
        let lines = Arc::from(&b"event-clock: 1\nquery-clock: 3\n"[..]);
        assert_eq!(rig.turn(), Some(Write::Append { lines, sync: false }));
        // Until that is answered, what comes waits.
        rig.recorder.event(&mut rig.stats, 2);
        assert_eq!(rig.recorder.due(), None);
        rig.answer(true);
        assert_eq!(rig.recorder.due(), Some(due + FLUSH_INTERVAL));
        rig.rest();
        assert!(rig.text().ends_with("query-clock: 3\nevent-clock: 2\n"));
    }

    #[test]
    fn times_are_recorded_only_if_they_are_later() {
        let mut rig = Rig::new("clock: 5\nevent-clock: 5\nquery-clock: 5\n", false);
        for time in [5, 3, 0] {
            rig.recorder.event(&mut rig.stats, time);
            rig.recorder.query(&mut rig.stats, time);
            // B34
            rig.recorder.member_clock(time);
        }
        assert_eq!((rig.recorder.due(), rig.stats.snapshot_lines), (None, 0));
        rig.recorder.member_clock(7);
        rig.rest();
        assert!(rig.text().ends_with("query-clock: 5\nclock: 6\n"));
    }

    // A.7
    #[test]
    fn a_file_that_grew_too_long_is_rewritten() {
        let mut rig = Rig::new("", false);
        rig.recorder.rewrite_min = 1024;
        rig.joined("me", 1);
        for time in 0..1024 {
            rig.recorder.event(&mut rig.stats, time);
            rig.recorder.query(&mut rig.stats, time);
            rig.now += FLUSH_INTERVAL;
            rig.write();
            // Twice the limit, and the append that went beyond.
            assert!(rig.file.len() < 1200, "{}", rig.file.len());
        }
        assert!(rig.stats.snapshot_rewrites > 20);
        let got = replayed(&rig.file, false);
        assert_eq!((got.event_clock, got.query_clock, got.known.len()), (1023, 1023, 1));
        assert_eq!((got.skipped_lines, got.torn), (0, 0));
    }

    #[test]
    fn a_file_that_stays_long_is_not_rewritten_again_and_again() {
        let long = "n".repeat(2000);
        let mut rig = Rig::new("", false);
        rig.recorder.rewrite_min = 1024;
        for i in 0..50 {
            rig.joined(&format!("{long}{i}"), 1);
            rig.rest();
        }
        assert!((2..10).contains(&rig.stats.snapshot_rewrites), "{}", rig.stats.snapshot_rewrites);
        assert_eq!(replayed(&rig.file, false).known.len(), 50);
    }

    #[test]
    fn a_rewrite_that_fails_because_of_the_directory_leaves_appending_as_it_was() {
        let mut rig = Rig::new("", false);
        rig.recorder.rewrite_min = 100;
        for time in 1..10 {
            rig.recorder.event(&mut rig.stats, time);
        }
        assert!(is_append(rig.turn()));
        rig.answer(true);
        rig.recorder.event(&mut rig.stats, 10);
        let due = rig.now;
        assert!(is_replace(rig.turn()));
        rig.answer(false);
        assert_eq!(rig.recorder.due(), Some(due + FLUSH_INTERVAL));
        rig.now += FLUSH_INTERVAL;
        assert!(is_append(rig.turn()));
        rig.answer(true);
        // Later it is tried again.
        assert_eq!(rig.recorder.due(), Some(due + RETRY_INTERVAL));
        rig.rest();
        assert_eq!(
            (rig.text(), rig.stats.snapshot_failures),
            ("clock: 0\nevent-clock: 10\nquery-clock: 0\n".into(), 1)
        );
    }

    #[test]
    fn what_was_not_written_is_tried_in_both_ways_and_then_after_a_pause() {
        let mut rig = Rig::new("", false);
        rig.joined("a", 1);
        let began = rig.now;
        for (kind, at) in [
            (Kind::Append, began),
            (Kind::Replace, began),
            (Kind::Append, began),
            (Kind::Replace, began + RETRY_INTERVAL),
            (Kind::Append, began + RETRY_INTERVAL),
            (Kind::Replace, began + RETRY_INTERVAL * 2),
        ] {
            assert!(rig.recorder.due().unwrap() <= at);
            rig.now = rig.now.max(rig.recorder.due().unwrap());
            assert_eq!(rig.now, at);
            assert_eq!(is_append(rig.turn()), kind == Kind::Append);
            // Nothing that happens meanwhile is forgotten.
            rig.joined("b", 2);
            rig.answer(false);
        }
        rig.rest();
        assert_eq!(replayed(&rig.file, false).known.len(), 2);
        assert_eq!((rig.stats.snapshot_failures, rig.recorder.due()), (6, None));
    }

    // B24, and A.7: a slow disk holds nothing up.
    #[test]
    fn a_disk_that_does_not_answer_costs_a_bounded_amount_of_memory_and_no_record() {
        let mut rig = Rig::new("", false);
        rig.joined("me", 1);
        assert!(is_append(rig.turn()));
        for time in 1..200_000 {
            rig.recorder.event(&mut rig.stats, time);
            assert!(rig.recorder.lines.len() <= WAITING_MAX);
        }
        rig.gone("nobody");
        rig.joined("late", 2);
        rig.answer(true);
        rig.now = rig.recorder.due().unwrap();
        assert!(is_replace(rig.turn()));
        // If that fails nothing is forgotten either.
        rig.answer(false);
        rig.recorder.event(&mut rig.stats, 200_000);
        rig.rest();
        let got = replayed(&rig.file, false);
        assert_eq!((got.event_clock, got.known.len()), (200_000, 2));
    }

    #[test]
    fn a_leave_takes_back_what_was_recorded_unless_told_otherwise() {
        for rejoin in [false, true] {
            let mut rig = Rig::new("", rejoin);
            rig.joined("me", 1);
            rig.joined("a", 2);
            rig.recorder.event(&mut rig.stats, 42);
            rig.recorder.query(&mut rig.stats, 50);
            rig.recorder.member_clock(101);
            rig.rest();
            rig.recorder.leave(&mut rig.stats);
            assert!(rig.recorder.is_leaving());
            let lines = Arc::from(&b"leave\n"[..]);
            assert_eq!(rig.turn(), Some(Write::Append { lines, sync: true }));
            assert!(rig.recorder.is_leaving());
            rig.answer(true);
            assert!(!rig.recorder.is_leaving());
            // Nothing more is recorded.
            rig.recorder.leave(&mut rig.stats);
            rig.joined("b", 3);
            rig.gone("a");
            rig.recorder.event(&mut rig.stats, 43);
            assert_eq!(rig.recorder.due(), None);
            let got = replayed(&rig.file, rejoin);
            let clocks = (got.member_clock, got.event_clock, got.query_clock);
            if rejoin {
                assert_eq!((clocks, got.known.len(), got.ignored_leaves), ((100, 42, 50), 2, 1));
            } else {
                assert_eq!((clocks, got.known.len(), got.ignored_leaves), ((0, 0, 0), 0, 0));
            }
            // A rewrite says the same.
            assert_eq!(replayed(&rig.recorder.content(), rejoin).known, got.known);
            assert_eq!(replayed(&rig.recorder.content(), rejoin).member_clock, got.member_clock);
            // But the clock moves with the leave, and that counts.
            rig.recorder.member_clock(103);
            rig.rest();
            assert!(rig.text().ends_with("leave\nclock: 102\n"));
            assert_eq!(replayed(&rig.recorder.content(), rejoin).member_clock, 102);
        }
    }

    #[test]
    fn a_leave_that_cannot_be_written_is_not_waited_for_but_tried() {
        let mut rig = Rig::new("", false);
        rig.joined("a", 1);
        rig.turn();
        rig.answer(false);
        rig.turn();
        rig.answer(false);
        rig.turn();
        rig.answer(false);
        assert!(rig.turn().is_none());
        rig.recorder.leave(&mut rig.stats);
        assert!(rig.recorder.is_leaving());
        assert!(is_replace(rig.turn()));
        rig.answer(false);
        assert!(!rig.recorder.is_leaving());
        rig.rest();
        assert_eq!(replayed(&rig.file, false).known.len(), 0);
        assert!(rig.text().contains("leave\n"));
    }

    #[test]
    fn the_end_writes_what_waits_and_waits_for_nothing() {
        let mut rig = Rig::new("", false);
        rig.joined("a", 1);
        assert!(is_append(rig.turn()));
        rig.recorder.event(&mut rig.stats, 7);
        rig.recorder.member_clock(3);
        let lines = Arc::from(&b"alive: a 127.0.0.1:1\nevent-clock: 7\nclock: 2\n"[..]);
        assert_eq!(rig.recorder.close(&mut rig.stats), Some(Write::Append { lines, sync: true }));
        assert_eq!(rig.recorder.close(&mut rig.stats), None);
        rig.joined("b", 1);
        rig.recorder.answered(rig.now, false, &mut rig.stats);
        assert_eq!((rig.recorder.due(), rig.turn()), (None, None));
    }

    // B35
    #[test]
    fn what_a_line_cannot_hold_is_refused_and_counted() {
        let mut rig = Rig::new("", false);
        for name in ["a\nleave", "a\0b", "\n"] {
            assert!(!rig.recorder.joined(&mut rig.stats, &name.into(), &addr(1)));
            assert!(!rig.gone(name));
        }
        let nowhere = Address::new(b"?", 1);
        assert!(!rig.recorder.joined(&mut rig.stats, &"b".into(), &nowhere));
        rig.recorder.keep(&mut rig.stats, &"b".into(), &nowhere);
        assert_eq!((rig.recorder.due(), rig.stats.snapshot_refused), (None, 4));
    }

    #[test]
    fn the_failed_come_back_into_the_file_when_nobody_else_is_there() {
        let mut rig = Rig::new("alive: old 127.0.0.1:9\n", false);
        rig.joined("me", 1);
        rig.joined("a", 2);
        rig.joined("b", 3);
        assert!(!rig.gone("a"));
        assert!(rig.gone("b"), "nobody is there who was not merely in the file");
        for (name, port) in [("a", 2), ("b", 3)] {
            rig.recorder.keep(&mut rig.stats, &name.into(), &addr(port));
        }
        assert!(!rig.gone("b"), "declared to have left: not called any more");
        rig.rest();
        assert!(rig.text().ends_with(
            "not-alive: a\nnot-alive: b\nalive: a 127.0.0.1:2\nalive: b 127.0.0.1:3\nnot-alive: b\n"
        ));
        rig.joined("c", 4);
        rig.rest();
        assert!(rig.text().ends_with("not-alive: a\nalive: c 127.0.0.1:4\n"));
        assert!(rig.gone("c"));
        rig.recorder.keep(&mut rig.stats, &"a".into(), &addr(2));
        rig.joined("a", 5);
        rig.rest();
        assert!(rig.text().ends_with("not-alive: c\nalive: a 127.0.0.1:2\nalive: a 127.0.0.1:5\n"));
        assert!(rig.gone("a"));
    }

    /// Anything happens, and every third write fails: in the end the file says what the recorder knows.
    #[test]
    fn whatever_fails_the_file_says_it_all_in_the_end() {
        let mut seed = [0; 32];
        for story in 0..200 {
            seed[0] = story;
            let mut rng = Rng::from_seed(seed);
            let mut rig = Rig::new("alive: old 127.0.0.1:9\nclock: 3\n", story % 2 == 0);
            rig.recorder.rewrite_min = 400;
            for _ in 0..300 {
                let name = format!("n{}", rng.below(6));
                match rng.below(9) {
                    0..3 => rig.joined(&name, rng.below(5) as u16),
                    3 => {
                        if rig.gone(&name) {
                            rig.recorder.keep(&mut rig.stats, &name.as_str().into(), &addr(1));
                        }
                    }
                    4 => rig.recorder.event(&mut rig.stats, rng.below(1000) as u64),
                    5 => rig.recorder.member_clock(rng.below(1000) as u64),
                    6 => rig.now += Duration::from_millis(rng.below(2000) as u64),
                    _ if rig.asked.is_some() => rig.answer(rng.below(3) > 0),
                    _ => {
                        rig.turn();
                    }
                }
            }
            if rig.asked.is_some() {
                rig.answer(true);
            }
            if story % 3 == 0 {
                rig.recorder.leave(&mut rig.stats);
            }
            rig.rest();
            let rejoin = rig.recorder.rejoin_after_leave;
            let told = Recorder::new("me".into(), replayed(&rig.recorder.content(), rejoin)).content();
            assert_eq!(rig.short(), told, "story {story}");
        }
    }
}
