//! One record of the snapshot file as a line of text, both ways (spec `serf.md` §10.2).

use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use core::net::SocketAddr;

use serf_gossip::{Address, Name};

/// The longest line that is read or written, its end not counted. The gossip layer believes no name of more than
/// 16 KiB.
pub(super) const LINE_MAX: usize = 32 << 10;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Alive {
        name: &'a [u8],
        addr: Address,
    },
    NotAlive(&'a [u8]),
    Clock(Clock, u64),
    Leave,
    /// A comment, or the coordinate that old releases wrote.
    Nothing,
}

/// Which of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Member,
    Event,
    Query,
}

impl Clock {
    fn prefix(self) -> &'static str {
        match self {
            Self::Member => "clock: ",
            Self::Event => "event-clock: ",
            Self::Query => "query-clock: ",
        }
    }
}

/// Why a line was skipped. The texts are those that operators know, as far as there are such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is no record.
    #[error("Unrecognized snapshot line")]
    Unrecognized,
    /// There is no address, or it is not one of IP.
    #[error("Failed to parse address")]
    Address,
    /// The member clock is no number.
    #[error("Failed to convert clock time")]
    MemberClock,
    /// The event clock is no number.
    #[error("Failed to convert event clock time")]
    EventClock,
    /// The query clock is no number.
    #[error("Failed to convert query clock time")]
    QueryClock,
    /// It has bytes of zero, which is what a crash leaves where a write was lost. What is left of the line beside them
    /// may be a part of a record that looks like another one.
    #[error("Damaged snapshot line")]
    Damaged,
    /// It is longer than any record.
    #[error("Snapshot line is too long")]
    TooLong,
    /// There are too many members in the file already.
    #[error("Too many members in snapshot")]
    TooMany,
}

impl<'a> Record<'a> {
    /// Reads a line, given without its end.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Fault> {
        if line.contains(&0) {
            return Err(Fault::Damaged);
        }
        if let Some(rest) = line.strip_prefix(b"alive: ") {
            // Names may have spaces, addresses have none.
            let space = rest.iter().rposition(|b| *b == b' ').ok_or(Fault::Address)?;
            let addr = core::str::from_utf8(&rest[space + 1..]).ok().and_then(|text| text.parse().ok());
            let addr: SocketAddr = addr.ok_or(Fault::Address)?;
            return Ok(Self::Alive { name: &rest[..space], addr: addr.into() });
        }
        if let Some(name) = line.strip_prefix(b"not-alive: ") {
            return Ok(Self::NotAlive(name));
        }
        for (clock, fault) in [
            (Clock::Member, Fault::MemberClock),
            (Clock::Event, Fault::EventClock),
            (Clock::Query, Fault::QueryClock),
        ] {
            if let Some(digits) = line.strip_prefix(clock.prefix().as_bytes()) {
                return number(digits).map(|time| Self::Clock(clock, time)).ok_or(fault);
            }
        }
        if line == b"leave" {
            Ok(Self::Leave)
        } else if line.starts_with(b"#") || line.starts_with(b"coordinate: ") {
            Ok(Self::Nothing)
        } else {
            Err(Fault::Unrecognized)
        }
    }

    /// Appends the line, with its end.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Alive { name, addr } => {
                out.extend_from_slice(b"alive: ");
                out.extend_from_slice(name);
                put(out, format_args!(" {addr}"));
            }
            Self::NotAlive(name) => {
                out.extend_from_slice(b"not-alive: ");
                out.extend_from_slice(name);
            }
            Self::Clock(clock, time) => put(out, format_args!("{}{time}", clock.prefix())),
            Self::Leave => out.extend_from_slice(b"leave"),
            Self::Nothing => {}
        }
        out.push(b'\n');
    }
}

/// Decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    digits.first().filter(|b| b.is_ascii_digit())?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl fmt::Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // A vector takes everything.
    let _ = Bytes(out).write_fmt(text);
}

/// Whether there is a line for this name: one that breaks it, or that would be taken for damage, has none (B35).
pub(super) fn can_hold(name: &Name) -> bool {
    let name = name.as_bytes();
    name.len() <= LINE_MAX - 128 && !name.iter().any(|b| matches!(b, b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(record: &Record<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        record.write(&mut out);
        out
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap().into();
        for (record, line) in [
            (Record::Alive { name: b"a", addr: addr("1.2.3.4:7946") }, &b"alive: a 1.2.3.4:7946\n"[..]),
            (Record::Alive { name: b" a b ", addr: addr("[fd00::1]:0") }, b"alive:  a b  [fd00::1]:0\n"),
            (Record::Alive { name: b"", addr: addr("1.2.3.4:5") }, b"alive:  1.2.3.4:5\n"),
            (Record::Alive { name: b"\xff\r", addr: addr("1.2.3.4:5") }, b"alive: \xff\r 1.2.3.4:5\n"),
            (Record::NotAlive(b"alive: a 1.2.3.4:5"), b"not-alive: alive: a 1.2.3.4:5\n"),
            (Record::NotAlive(b""), b"not-alive: \n"),
            (Record::Clock(Clock::Member, 0), b"clock: 0\n"),
            (Record::Clock(Clock::Event, 7), b"event-clock: 7\n"),
            (Record::Clock(Clock::Query, u64::MAX), b"query-clock: 18446744073709551615\n"),
            (Record::Leave, b"leave\n"),
        ] {
            assert_eq!(written(&record), line);
            assert_eq!(Record::read(line.strip_suffix(b"\n").unwrap()), Ok(record));
        }
    }

    #[test]
    fn what_is_no_record_is_told_why() {
        for (line, fault) in [
            (&b""[..], Fault::Unrecognized),
            (b"leave ", Fault::Unrecognized),
            (b"alive:a 1.2.3.4:5", Fault::Unrecognized),
            (b"alive: a", Fault::Address),
            (b"alive: a 1.2.3.4", Fault::Address),
            (b"alive: a 1.2.3.4:5\r", Fault::Address),
            (b"alive: a example.com:5", Fault::Address),
            (b"clock: +5", Fault::MemberClock),
            (b"clock: ", Fault::MemberClock),
            (b"event-clock: 18446744073709551616", Fault::EventClock),
            (b"query-clock: 1.5", Fault::QueryClock),
            (b"\0\0clock: 5", Fault::Damaged),
            (b"clock: 5\0", Fault::Damaged),
        ] {
            assert_eq!(Record::read(line), Err(fault), "{}", line.escape_ascii());
        }
        for line in [&b"# anything"[..], b"#", b"coordinate: {}"] {
            assert_eq!(Record::read(line), Ok(Record::Nothing));
        }
    }

    #[test]
    fn names_that_break_lines_have_none() {
        for (name, fits) in [("", true), ("a b", true), ("a\r", true), ("a\nleave", false), ("a\0", false)] {
            assert_eq!(can_hold(&name.into()), fits);
        }
        assert!(can_hold(&Name::from(&[b'a'; 16 << 10][..])));
        assert!(!can_hold(&Name::from(&[b'a'; LINE_MAX][..])));
    }
}
