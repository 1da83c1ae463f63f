//! The log on its way to the system's log daemon: one datagram a line, in the form of RFC 3164. Nobody waits for the
//! daemon: what it does not take at once is lost, and counted. A daemon that was restarted is found again.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use chrono::{Datelike, NaiveDateTime, Timelike};
use thiserror::Error;

use crate::logging::Level;
use crate::text::printable;

/// Where log daemons listen: Linux, then the BSDs.
const SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Daemons cut or drop what is longer.
const DATAGRAM_MAX: usize = 8 << 10;
/// The program's name there.
const TAG: &str = "serf";
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// In the order of their codes, which ends at `FTP` and goes on at sixteen.
const FACILITIES: [&str; 12] =
    ["KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP"];
const LOCAL_FACILITIES: [&str; 8] =
    ["LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7"];

/// Why there will be no lines for the log daemon.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyslogError {
    /// `syslog_facility` names none.
    #[error("Syslog setup failed: invalid syslog facility: {0}")]
    Facility(String),
    /// No daemon listens at any of the places.
    #[error("Syslog setup failed: Unix syslog delivery error")]
    NoDaemon,
}

/// The way to the log daemon.
#[derive(Debug)]
pub struct Syslog {
    facility: u8,
    paths: Vec<PathBuf>,
    /// None while no daemon is there.
    socket: Option<UnixDatagram>,
    lost: u64,
}

impl Syslog {
    /// Finds the daemon of this machine.
    pub fn connect(facility: &str) -> Result<Self, SyslogError> {
        Self::connect_to(facility, SOCKETS.map(PathBuf::from).to_vec())
    }

    /// Finds a daemon at one of the paths, the first that answers.
    pub fn connect_to(facility: &str, paths: Vec<PathBuf>) -> Result<Self, SyslogError> {
        let facility = code(facility)?;
        let socket = Some(dial(&paths).ok_or(SyslogError::NoDaemon)?);
        Ok(Self { facility, paths, socket, lost: 0 })
    }

    /// Hands a line over, or counts it as lost. The daemon is told how many it has missed.
    pub(crate) fn send(&mut self, level: Level, at: NaiveDateTime, text: &str) {
        if self.lost > 0 {
            let missing = format!("agent: {} lines are missing here: the log daemon took none", self.lost);
            if !self.deliver(&self.datagram(Level::Warn, at, &missing)) {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if !self.deliver(&self.datagram(level, at, text)) {
            self.lost += 1;
        }
    }

    fn datagram(&self, level: Level, at: NaiveDateTime, text: &str) -> String {
        let (priority, month, day) =
            (self.facility << 3 | severity(level), MONTHS[at.month0() as usize], at.day());
        let (hour, minute, second, pid) = (at.hour(), at.minute(), at.second(), std::process::id());
        let text = printable(text);
        let mut line =
            format!("<{priority}>{month} {day:2} {hour:02}:{minute:02}:{second:02} {TAG}[{pid}]: {text}");
        line.truncate(line.floor_char_boundary(DATAGRAM_MAX));
        line
    }

    fn deliver(&mut self, line: &str) -> bool {
        let send = |socket: &UnixDatagram| socket.send(line.as_bytes()).map(drop);
        match self.socket.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), send) {
            Ok(()) => return true,
            // It is there, and slow.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => {}
        }
        // It has gone. Another may have taken its place.
        self.socket = dial(&self.paths);
        self.socket.as_ref().is_some_and(|socket| send(socket).is_ok())
    }
}

fn dial(paths: &[PathBuf]) -> Option<UnixDatagram> {
    paths.iter().find_map(|path| {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(path).ok()?;
        Some(socket)
    })
}

/// What a facility may be called.
pub(crate) fn facilities() -> impl Iterator<Item = &'static str> {
    FACILITIES.into_iter().chain(LOCAL_FACILITIES)
}

/// The code of a facility.
pub(crate) fn code(facility: &str) -> Result<u8, SyslogError> {
    let name = facility.to_uppercase();
    let place =
        |names: &[&str], first: u8| (first..).zip(names).find(|(_, n)| **n == name).map(|(code, _)| code);
    place(&FACILITIES, 0).or_else(|| place(&LOCAL_FACILITIES, 16)).ok_or(SyslogError::Facility(name))
}

/// What operators know as information is a notice there.
fn severity(level: Level) -> u8 {
    match level {
        Level::Err => 3,
        Level::Warn => 4,
        Level::Info => 5,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::files::testing::Directory;
    use crate::logging::Log;

    fn daemon(path: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(path).expect("a free path");
        socket.set_nonblocking(true).expect("possible");
        socket
    }

    /// What has come, without time and process number.
    fn received(daemon: &UnixDatagram) -> Vec<String> {
        let mut buffer = vec![0; DATAGRAM_MAX + 1];
        let mut lines = Vec::new();
        while let Ok(n) = daemon.recv(&mut buffer) {
            let line = String::from_utf8(buffer[..n].to_vec()).expect("text");
            let (priority, rest) = line.split_once('>').expect("a priority");
            assert_eq!(rest.as_bytes()[15], b' ', "{line}");
            let text = rest[16..].strip_prefix(&format!("{TAG}[{}]: ", std::process::id())).expect("a tag");
            lines.push(format!("{priority}>{text}"));
        }
        lines
    }

    #[test]
    fn the_daemon_gets_the_lines_of_the_console() {
        let directory = Directory::new();
        let path = directory.path().join("log");
        let daemon = daemon(&path);
        let log = Log::new(Box::new(io::sink()));
        let paths = vec![directory.path().join("none"), path];
        log.tell_syslog(Syslog::connect_to("local0", paths).expect("a daemon"));
        let tell = |level, text: &str| {
            let args = format_args!("{text}");
            log::Log::log(&log, &log::Record::builder().level(level).target("agent").args(args).build());
        };
        tell(log::Level::Error, "failed\n");
        tell(log::Level::Warn, "[odd] sign");
        tell(log::Level::Info, "two\nlines");
        tell(log::Level::Debug, "hidden");
        let lines = ["<131>agent: failed", "<132>agent: [odd] sign", "<133>agent: two\\nlines"];
        assert_eq!(received(&daemon), lines);
        log.set_level(Level::Trace);
        tell(log::Level::Trace, "shown");
        assert_eq!(received(&daemon), ["<135>agent: shown"]);
    }

    #[test]
    fn a_daemon_that_comes_back_is_found_and_told_what_it_missed() {
        let directory = Directory::new();
        let path = directory.path().join("log");
        let first = daemon(&path);
        let mut syslog = Syslog::connect_to("daemon", vec![path.clone()]).expect("a daemon");
        let at = NaiveDateTime::default();
        drop(first);
        std::fs::remove_file(&path).expect("its socket");
        syslog.send(Level::Info, at, "one");
        syslog.send(Level::Info, at, "two");
        let second = daemon(&path);
        syslog.send(Level::Info, at, "three");
        let told = ["<28>agent: 2 lines are missing here: the log daemon took none", "<29>three"];
        assert_eq!(received(&second), told);
        // Restarted between two lines: nothing is lost.
        drop(second);
        std::fs::remove_file(&path).expect("its socket");
        let third = daemon(&path);
        syslog.send(Level::Info, at, "four");
        assert_eq!(received(&third), ["<29>four"]);
    }

    #[test]
    fn a_daemon_that_does_not_read_delays_nobody() {
        let directory = Directory::new();
        let path = directory.path().join("log");
        let daemon = daemon(&path);
        let mut syslog = Syslog::connect_to("USER", vec![path]).expect("a daemon");
        let at = NaiveDateTime::default();
        // However much the system buffers, it is less than this.
        let long = "x".repeat(DATAGRAM_MAX);
        let sent = 1 << 12;
        (0..sent).for_each(|_| syslog.send(Level::Info, at, &long));
        let taken = received(&daemon).len() as u64;
        assert!(taken > 0 && syslog.lost == sent - taken, "{taken} taken, {} lost", syslog.lost);
        syslog.send(Level::Info, at, "last");
        assert_eq!(received(&daemon).last().map(String::as_str), Some("<13>last"));
        assert_eq!(syslog.lost, 0);
    }

    #[test]
    fn lines_have_the_old_form() {
        let directory = Directory::new();
        let path = directory.path().join("log");
        let _daemon = daemon(&path);
        let syslog = Syslog::connect_to("kern", vec![path]).expect("a daemon");
        let day = |day| chrono::NaiveDate::from_ymd_opt(2026, 2, day).and_then(|d| d.and_hms_opt(3, 4, 5));
        let pid = std::process::id();
        for (at, shown) in [(day(1), "Feb  1 03:04:05"), (day(11), "Feb 11 03:04:05")] {
            let line = syslog.datagram(Level::Err, at.expect("a day"), "agent: text");
            assert_eq!(line, format!("<3>{shown} serf[{pid}]: agent: text"));
        }
        let long = syslog.datagram(Level::Err, NaiveDateTime::default(), &"é".repeat(DATAGRAM_MAX));
        assert!((DATAGRAM_MAX - 1..=DATAGRAM_MAX).contains(&long.len()));
    }

    #[test]
    fn wrong_facilities_and_missing_daemons_are_told() {
        assert_eq!(code("Ftp"), Ok(11));
        assert_eq!(code("LOCAL7"), Ok(23));
        let error = Syslog::connect_to("local9", Vec::new()).expect_err("no such facility").to_string();
        assert_eq!(error, "Syslog setup failed: invalid syslog facility: LOCAL9");
        let error = Syslog::connect_to("mail", Vec::new()).expect_err("no daemon").to_string();
        assert_eq!(error, "Syslog setup failed: Unix syslog delivery error");
    }
}
