//! Reading a snapshot file: bytes in, in pieces of any size; out comes what is known at its end, and what was skipped.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use serf_gossip::{Address, Name};

use super::record::{Clock, Fault, LINE_MAX, Record};

/// Most bytes of members that a file may make us hold: names, and for each [`MEMBER_BYTES`]. Half a million members
/// have room, which is more than a cluster has.
const KNOWN_BYTES_MAX: usize = 64 << 20;
/// What a member costs beside its name, roughly.
const MEMBER_BYTES: usize = 128;
/// Skipped lines that are told of; the others are counted.
const SKIPPED_MAX: usize = 16;
/// So many bytes of a skipped line are told.
const EXCERPT_MAX: usize = 80;

/// What a snapshot file says, read to its end. A node that gets it as [`crate::Config::snapshot`] goes on from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Who was a member last, sorted by name; probably ourselves too.
    pub known: Vec<(Name, Address)>,
    /// The latest time of the member clock that was used, 0 if none was.
    pub member_clock: u64,
    /// The latest time of a user event.
    pub event_clock: u64,
    /// The latest time of a query.
    pub query_clock: u64,
    /// Whether what is before a leave counts: here, and when the node that goes on from here leaves.
    pub rejoin_after_leave: bool,
    /// Leaves that did not count because of that.
    pub ignored_leaves: u64,
    /// Bytes of whole lines.
    pub whole: u64,
    /// Bytes behind them: of a line that was not written to its end, and does not count. They must be cut off, or they
    /// would garble what is appended (B31).
    pub torn: u64,
    /// What cannot be read, the first few lines.
    pub skipped: Vec<Skipped>,
    /// How many lines that are, all in all.
    pub skipped_lines: u64,
}

/// A line that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which, from 1.
    pub line: u64,
    /// Why.
    pub why: Fault,
    excerpt: Vec<u8>,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.why)?;
        for c in String::from_utf8_lossy(&self.excerpt).chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        if self.excerpt.len() == EXCERPT_MAX { f.write_str("…") } else { Ok(()) }
    }
}

/// Reads a file piece by piece.
///
/// ```
/// let mut replay = serf_core::snapshot::Replay::new(false);
/// replay.feed(b"alive: web-1 10.0.0.1:7946\nclo");
/// replay.feed(b"ck: 7\nevent-clo");
/// let snapshot = replay.finish();
/// assert_eq!((snapshot.known.len(), snapshot.member_clock, snapshot.torn), (1, 7, 9));
/// ```
#[derive(Debug)]
pub struct Replay {
    known: BTreeMap<Name, Address>,
    known_bytes: usize,
    /// The beginning of a line whose end is yet to come.
    line: Vec<u8>,
    /// How long it is; if that is too long, no more of it is kept.
    line_len: u64,
    lines: u64,
    so_far: Snapshot,
}

impl Replay {
    /// At the beginning of a file. Unless `rejoin_after_leave`, a leave takes back everything before it.
    #[must_use]
    pub fn new(rejoin_after_leave: bool) -> Self {
        Self {
            known: BTreeMap::new(),
            known_bytes: 0,
            line: Vec::new(),
            line_len: 0,
            lines: 0,
            so_far: Snapshot { rejoin_after_leave, ..Snapshot::default() },
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (rest, more) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() {
                self.line_len += rest.len() as u64;
                self.take(rest);
            } else {
                self.keep(rest);
                let line = core::mem::take(&mut self.line);
                self.take(&line);
            }
            self.so_far.whole += self.line_len + 1;
            self.line_len = 0;
            bytes = more;
        }
        self.keep(bytes);
    }

    /// At the end of the file.
    #[must_use]
    pub fn finish(self) -> Snapshot {
        Snapshot { known: self.known.into_iter().collect(), torn: self.line_len, ..self.so_far }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.line_len += bytes.len() as u64;
        let room = (LINE_MAX + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Takes a line, or its beginning if it is too long.
    fn take(&mut self, line: &[u8]) {
        self.lines += 1;
        let done = if line.len() > LINE_MAX { Err(Fault::TooLong) } else { Record::read(line) }
            .and_then(|r| self.apply(r));
        let Err(why) = done else { return };
        self.so_far.skipped_lines += 1;
        if self.so_far.skipped.len() < SKIPPED_MAX {
            let excerpt = line[..line.len().min(EXCERPT_MAX)].to_vec();
            self.so_far.skipped.push(Skipped { line: self.lines, why, excerpt });
        }
    }

    fn apply(&mut self, record: Record<'_>) -> Result<(), Fault> {
        match record {
            Record::Alive { name, addr } => {
                if let Some(known) = self.known.get_mut(name) {
                    *known = addr;
                    return Ok(());
                }
                let bytes = self.known_bytes + name.len() + MEMBER_BYTES;
                if bytes > KNOWN_BYTES_MAX {
                    return Err(Fault::TooMany);
                }
                self.known_bytes = bytes;
                self.known.insert(name.into(), addr);
            }
            Record::NotAlive(name) => {
                if self.known.remove(name).is_some() {
                    self.known_bytes -= name.len() + MEMBER_BYTES;
                }
            }
            Record::Clock(Clock::Member, time) => self.so_far.member_clock = time,
            Record::Clock(Clock::Event, time) => self.so_far.event_clock = time,
            Record::Clock(Clock::Query, time) => self.so_far.query_clock = time,
            Record::Leave if self.so_far.rejoin_after_leave => self.so_far.ignored_leaves += 1,
            Record::Leave => {
                self.known.clear();
                self.known_bytes = 0;
                let Snapshot { member_clock, event_clock, query_clock, .. } = &mut self.so_far;
                (*member_clock, *event_clock, *query_clock) = (0, 0, 0);
            }
            Record::Nothing => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned as _;
    use alloc::string::ToString as _;

    fn replay(bytes: &[u8]) -> Snapshot {
        let mut replay = Replay::new(false);
        replay.feed(bytes);
        replay.finish()
    }

    fn names(snapshot: &Snapshot) -> Vec<String> {
        snapshot.known.iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn skipped_lines_are_told_with_their_number_and_shortened() {
        let long = "x".repeat(100_000);
        let got = replay(
            [
                &b"clock: 1\nwhat\x1b\xff\n\0\0clock: 5\nalive: "[..],
                long.as_bytes(),
                b"\nclock: abc\nclock: 2\n",
            ]
            .concat()
            .as_slice(),
        );
        assert_eq!((got.member_clock, got.skipped_lines, got.torn), (2, 4, 0));
        let told: Vec<_> = got.skipped.iter().map(|s| (s.line, s.to_string())).collect();
        let shown = |line, text: &str| (line, text.to_owned());
        assert_eq!(
            told,
            [
                shown(2, "Unrecognized snapshot line: what\\u{1b}\u{fffd}"),
                shown(3, "Damaged snapshot line: \\u{0}\\u{0}clock: 5"),
                shown(4, &alloc::format!("Snapshot line is too long: alive: {}…", &long[..73])),
                shown(5, "Failed to convert clock time: clock: abc"),
            ]
        );
        let many = replay("?\n".repeat(1000).as_bytes());
        assert_eq!((many.skipped.len(), many.skipped_lines), (SKIPPED_MAX, 1000));
    }

    // B31, and what a power failure leaves in some file systems.
    #[test]
    fn torn_and_lost_writes_cost_what_they_hit_and_nothing_else() {
        let got = replay(b"alive: a 1.2.3.4:5\nclock: 7\nevent-clock: 99");
        assert_eq!((names(&got), got.member_clock, got.event_clock), (Vec::from(["a".to_owned()]), 7, 0));
        assert_eq!((got.whole, got.torn, got.skipped_lines), (28, 15, 0));
        let mut holed = b"alive: a 1.2.3.4:5\nalive: b 1.2".to_vec();
        holed.extend([0; 9000]);
        holed.extend(b"clock: 3\nclock: 4\n");
        let got = replay(&holed);
        assert_eq!((names(&got), got.member_clock, got.skipped_lines), (Vec::from(["a".to_owned()]), 4, 1));
        assert_eq!((got.whole, got.torn), (holed.len() as u64, 0));
    }

    #[test]
    fn pieces_of_any_size_read_the_same() {
        let mut file = b"alive: a 1.2.3.4:5\n\nalive: b 1.2.3.4:6\nnot-alive: a\nleave\nclock: 9\n".to_vec();
        file.extend([b'y'; LINE_MAX + 5]);
        file.extend(b"\nalive: a b 1.2.3.4:5\nevent-clock: 4\nhalf");
        let whole = replay(&file);
        assert_eq!((names(&whole), whole.member_clock, whole.torn), (Vec::from(["a b".to_owned()]), 9, 4));
        for size in [1, 2, 3, 7, 64, 4096] {
            let mut pieces = Replay::new(false);
            file.chunks(size).for_each(|piece| pieces.feed(piece));
            assert_eq!(pieces.finish(), whole, "{size}");
        }
    }

    #[test]
    fn a_line_of_many_megabytes_takes_no_memory() {
        let mut replay = Replay::new(false);
        let piece = [b'x'; 1 << 16];
        for _ in 0..(1 << 10) {
            replay.feed(&piece);
            assert!(replay.line.capacity() < 4 * LINE_MAX);
        }
        replay.feed(b"\nclock: 5\n");
        let got = replay.finish();
        assert_eq!((got.member_clock, got.skipped_lines, got.whole), (5, 1, (1 << 26) + 10));
    }

    #[test]
    fn members_without_end_are_refused_at_some_point() {
        let mut replay = Replay::new(false);
        let name = "n".repeat(16 << 10);
        let fit = KNOWN_BYTES_MAX / (name.len() + 5 + MEMBER_BYTES);
        for i in 0..fit + 3 {
            replay.feed(alloc::format!("alive: {name}{i:05} 1.2.3.4:5\n").as_bytes());
        }
        // Those that are known may change, and who goes makes room.
        replay.feed(alloc::format!("alive: {name}00000 1.2.3.4:6\nnot-alive: {name}00001\n").as_bytes());
        replay.feed(alloc::format!("alive: {name}99999 1.2.3.4:7\n").as_bytes());
        let got = replay.finish();
        assert_eq!((got.known.len(), got.skipped_lines), (fit, 3));
        assert_eq!(got.skipped[0].why, Fault::TooMany);
        assert_eq!((got.known[0].1.port, got.known[fit - 1].1.port), (6, 7));
    }
}
