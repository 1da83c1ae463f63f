//! The agent's log: lines on the console, the latest ones kept for whoever wants to look, live ones for those
//! who watch.
//!
//! The rest of the program logs through the [`log`] crate; a record's target is the subsystem that the line
//! names: `agent`, `agent.ipc`, `serf`, `memberlist`.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::mem;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{Datelike, Local, NaiveDateTime, Timelike, Utc};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::log_format::{LogFormat, json_line};
use crate::syslog::Syslog;

/// So many lines of all levels are remembered.
const REMEMBERED_MAX: usize = 512;
/// So many lines may wait for a slow watcher before it loses some.
const WAITING_MAX: usize = 512;
/// So many lines are held back during the start. Only endless attempts to join at trace level get there.
const HELD_MAX: usize = 16 * 1024;
/// Stands before every line of text on the console.
const INDENT: &str = "    ";

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Single messages.
    Trace,
    /// What helps to find errors.
    Debug,
    /// What an operator likes to know.
    Info,
    /// What an operator should look into.
    Warn,
    /// What has failed.
    Err,
}

/// A level that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Invalid log level: {0}. Valid log levels are: [TRACE DEBUG INFO WARN ERR]")]
pub struct ParseLevelError(
    /// What was asked for, in upper case.
    pub String,
);

impl Level {
    const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Err];

    fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Err => "ERR",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        let text = text.to_uppercase();
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or(ParseLevelError(text))
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Trace => Self::Trace,
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Err,
        }
    }
}

/// A line of the log, without indentation and final line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level, which is also part of the text.
    pub level: Level,
    /// `2026/11/20 23:18:11 [INFO] serf: text`. The text itself may have line breaks.
    pub text: Arc<str>,
}

/// The log. Clones are the same log.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    console_level: AtomicU8,
    /// Does the console get JSON?
    json: AtomicBool,
    state: Mutex<State>,
}

struct State {
    console: Box<dyn Write + Send>,
    /// What the console has yet to get, until it is released.
    held: Option<VecDeque<String>>,
    remembered: VecDeque<Line>,
    watchers: Vec<Watcher>,
    syslog: Option<Syslog>,
}

struct Watcher {
    level: Level,
    lines: mpsc::Sender<Line>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// A log that prints lines from `Info` up to the given console, but holds them back until it is
    /// [released](Self::release).
    #[must_use]
    pub fn new(console: Box<dyn Write + Send>) -> Self {
        let state = State {
            console,
            held: Some(VecDeque::new()),
            remembered: VecDeque::with_capacity(REMEMBERED_MAX),
            watchers: Vec::new(),
            syslog: None,
        };
        Self(Arc::new(Shared {
            console_level: AtomicU8::new(Level::Info as u8),
            json: AtomicBool::new(false),
            state: Mutex::new(state),
        }))
    }

    /// Makes this the log of the program. There can be only one, ever.
    pub fn install(&self) -> Result<(), log::SetLoggerError> {
        log::set_boxed_logger(Box::new(self.clone()))?;
        // Watchers may want more than the console shows.
        log::set_max_level(log::LevelFilter::Trace);
        Ok(())
    }

    /// Changes the lowest level that the console shows.
    pub fn set_level(&self, level: Level) {
        self.0.console_level.store(level as u8, Ordering::Relaxed);
    }

    /// Changes the form in which the console gets lines. Watchers and the log daemon get text in any case.
    pub fn set_format(&self, format: LogFormat) {
        self.0.json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    /// From now on the system's log daemon gets what the console gets, without waiting for the release.
    pub fn tell_syslog(&self, syslog: Syslog) {
        self.state().syslog = Some(syslog);
    }

    /// Prints what was held back, and everything from now on at once.
    ///
    /// To be called at the end of the start, successful or not: the held lines tell why it failed.
    pub fn release(&self) {
        let mut state = self.state();
        for shown in mem::take(&mut state.held).into_iter().flatten() {
            state.print(&shown);
        }
    }

    /// Watches the log from that level up. First come the remembered lines, then each new one.
    #[must_use]
    pub fn watch(&self, level: Level) -> Watch {
        let (sender, lines) = mpsc::channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let mut state = self.state();
        state.watchers.retain(|watcher| !watcher.lines.is_closed());
        state.watchers.push(Watcher { level, lines: sender, lost: Arc::clone(&lost) });
        let backlog = state.remembered.iter().filter(|line| line.level >= level).cloned().collect();
        Watch { backlog, lines, lost }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst an incomplete line.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, level: Level, subsystem: &str, message: fmt::Arguments<'_>) {
        let at = Utc::now();
        let now = at.with_timezone(&Local).naive_local();
        let text = format!("{} [{level}] {subsystem}: {message}", Stamp(now));
        let line = Line { level, text: text.trim_end_matches('\n').into() };
        let to_console = level as u8 >= self.0.console_level.load(Ordering::Relaxed);
        let shown = to_console.then(|| match self.0.json.load(Ordering::Relaxed) {
            true => json_line(at, level, subsystem, message.to_string().trim_end_matches('\n')),
            false => format!("{INDENT}{}\n", line.text),
        });
        let mut state = self.state();
        if let Some(syslog) = state.syslog.as_mut().filter(|_| to_console) {
            syslog.send(level, now, line.text.split_once("] ").map_or("", |(_, text)| text));
        }
        state.add(line, shown);
    }
}

impl State {
    /// A line for everybody, and what the console gets of it, if anything.
    fn add(&mut self, line: Line, shown: Option<String>) {
        match (&mut self.held, shown) {
            (_, None) => {}
            (Some(held), Some(shown)) => {
                if held.len() == HELD_MAX {
                    held.pop_front();
                }
                held.push_back(shown);
            }
            (None, Some(shown)) => self.print(&shown),
        }
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.watchers.retain(|watcher| watcher.tell(&line));
        self.remembered.push_back(line);
    }

    fn print(&mut self, shown: &str) {
        // Nobody is left to be told if this fails.
        let _ = self.console.write_all(shown.as_bytes());
        let _ = self.console.flush();
    }
}

impl Watcher {
    /// Is it still interested?
    fn tell(&self, line: &Line) -> bool {
        if line.level < self.level {
            return true;
        }
        match self.lines.try_send(line.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Libraries below us chatter about every socket; only their warnings matter.
        is_ours(metadata.target()) || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(record.level().into(), subsystem(record.target()), *record.args());
        }
    }

    fn flush(&self) {}
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// The crate of a target: all of it for our own targets, which are not paths.
fn root(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

fn is_ours(target: &str) -> bool {
    let root = root(target);
    root.starts_with("serf") || root == "memberlist" || root == "agent" || root.starts_with("agent.")
}

/// The subsystem of a target. A record without a target of its own has the path of its module.
fn subsystem(target: &str) -> &str {
    match root(target) {
        "serf_agent" => "agent",
        "serf_core" => "serf",
        "serf_gossip" => "memberlist",
        other => other,
    }
}

/// A moment as log lines show it.
struct Stamp(NaiveDateTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(f, "{:04}/{:02}/{:02} ", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
    }
}

/// Somebody watching the log. Dropping it ends that.
pub struct Watch {
    backlog: VecDeque<Line>,
    lines: mpsc::Receiver<Line>,
    lost: Arc<AtomicU64>,
}

impl Watch {
    /// The next line; waits for one if need be. None once the log is gone.
    pub async fn next(&mut self) -> Option<Line> {
        match self.backlog.pop_front() {
            Some(line) => Some(line),
            None => self.lines.recv().await,
        }
    }

    /// How many lines have been lost since this was last asked, because too many waited already.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("backlog", &self.backlog.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use log::Log as _;

    use super::*;

    /// A console that can be looked at.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn log_to_screen() -> (Log, Screen) {
        let screen = Screen::default();
        (Log::new(Box::new(screen.clone())), screen)
    }

    /// The texts of lines without the time.
    fn without_time(text: &str) -> Vec<&str> {
        text.lines().map(|line| line.split_once(" [").map_or(line, |(_, rest)| rest)).collect()
    }

    async fn waiting(watch: &mut Watch) -> Vec<String> {
        let mut texts = Vec::new();
        while !watch.backlog.is_empty() || !watch.lines.is_empty() {
            let line = watch.next().await.expect("one is waiting");
            texts.push(line.text.split_once("agent: ").expect("a subsystem").1.to_owned());
        }
        texts
    }

    #[test]
    fn lines_have_the_customary_form() {
        let at = chrono::NaiveDate::from_ymd_opt(2026, 1, 2).and_then(|day| day.and_hms_opt(3, 4, 5));
        assert_eq!(Stamp(at.expect("a moment")).to_string(), "2026/01/02 03:04:05");
        let (log, screen) = log_to_screen();
        log.release();
        log.write(Level::Err, "agent.ipc", format_args!("two\nlines\n"));
        let text = screen.text();
        assert_eq!(&text[23..], " [ERR] agent.ipc: two\nlines\n");
        assert!(text.starts_with("    2"));
    }

    #[tokio::test]
    async fn the_console_gets_json_if_asked_for_and_watchers_get_text() {
        let (log, screen) = log_to_screen();
        log.set_format(LogFormat::Json);
        log.write(Level::Warn, "agent.ipc", format_args!("held\nback\n"));
        log.release();
        log.write(Level::Info, "serf", format_args!("at once"));
        log.write(Level::Debug, "serf", format_args!("hidden"));
        let lines = screen.text().lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>();
        let lines: Vec<serde_json::Value> = lines.expect("objects");
        let fields = |n: usize| ["level", "target", "message"].map(|name| lines[n][name].clone());
        assert_eq!(fields(0), ["warn", "agent.ipc", "held\nback"]);
        assert_eq!(fields(1), ["info", "serf", "at once"]);
        assert_eq!(lines.len(), 2);
        let line = log.watch(Level::Info).next().await.expect("one is waiting");
        assert!(line.text.ends_with(" [WARN] agent.ipc: held\nback"), "{line:?}");
    }

    #[test]
    fn the_console_waits_for_its_release() {
        let (log, screen) = log_to_screen();
        log.write(Level::Info, "agent", format_args!("one"));
        log.write(Level::Debug, "agent", format_args!("hidden"));
        log.set_level(Level::Debug);
        log.write(Level::Debug, "agent", format_args!("two"));
        assert_eq!(screen.text(), "");
        log.release();
        log.write(Level::Trace, "agent", format_args!("hidden"));
        log.write(Level::Warn, "agent", format_args!("three"));
        let text = screen.text();
        assert_eq!(without_time(&text), ["INFO] agent: one", "DEBUG] agent: two", "WARN] agent: three"]);
    }

    #[tokio::test]
    async fn watchers_see_the_past_then_the_present() {
        let (log, _) = log_to_screen();
        for i in 0..REMEMBERED_MAX + 10 {
            log.write(Level::Trace, "agent", format_args!("{i}"));
        }
        log.write(Level::Info, "agent", format_args!("old"));
        let mut all = log.watch(Level::Trace);
        let mut some = log.watch(Level::Info);
        log.write(Level::Debug, "agent", format_args!("new"));
        log.write(Level::Err, "agent", format_args!("newest"));
        let seen = waiting(&mut all).await;
        assert_eq!((seen.len(), seen[0].as_str()), (REMEMBERED_MAX + 2, "11"));
        assert_eq!(seen[REMEMBERED_MAX - 1..], ["old", "new", "newest"]);
        assert_eq!(waiting(&mut some).await, ["old", "newest"]);
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_the_newest_and_is_told() {
        let (log, _) = log_to_screen();
        let mut slow = log.watch(Level::Info);
        for i in 0..WAITING_MAX + 7 {
            log.write(Level::Info, "agent", format_args!("{i}"));
        }
        assert_eq!((slow.take_lost(), slow.take_lost()), (7, 0));
        assert_eq!(waiting(&mut slow).await.last().map(String::as_str), Some("511"));
        drop(slow);
        log.write(Level::Info, "agent", format_args!("x"));
        assert!(log.state().watchers.is_empty());
    }

    #[test]
    fn records_are_filed_under_their_subsystem() {
        let (log, screen) = log_to_screen();
        log.set_level(Level::Trace);
        log.release();
        for (level, target) in [
            (log::Level::Info, "agent"),
            (log::Level::Info, "agent.ipc"),
            (log::Level::Trace, "serf_gossip::probe"),
            (log::Level::Debug, "serf_agent::config"),
            (log::Level::Info, "serf::driver"),
            (log::Level::Info, "mio::poll"),
            (log::Level::Warn, "mio::poll"),
        ] {
            let args = format_args!("text");
            log.log(&log::Record::builder().level(level).target(target).args(args).build());
        }
        let text = screen.text();
        let expected = [
            "INFO] agent: text",
            "INFO] agent.ipc: text",
            "TRACE] memberlist: text",
            "DEBUG] agent: text",
            "INFO] serf: text",
            "WARN] mio: text",
        ];
        assert_eq!(without_time(&text), expected);
    }

    #[test]
    fn levels_in_any_case() {
        for level in Level::ALL {
            assert_eq!(level.to_string().to_lowercase().parse(), Ok(level));
        }
        assert_eq!(
            "chatty".parse::<Level>().expect_err("no level").to_string(),
            "Invalid log level: CHATTY. Valid log levels are: [TRACE DEBUG INFO WARN ERR]"
        );
    }
}
