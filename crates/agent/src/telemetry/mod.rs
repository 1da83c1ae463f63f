//! Metrics: the numbers of the agent and of its node, kept for a minute to be shown on SIGUSR1, and sent to those who
//! collect them (statsd, statsite).
//!
//! The node counts; after each of its turns it shows its numbers ([`serf::Meter`]), and what has changed since is what
//! happened. So nothing is woken to measure. Of what happened several times in one turn the mean is known, not the
//! spread.

mod feed;
mod history;
mod series;
mod statsd;
mod statsite;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serf::{Meter, Name, Stats, Vitals};
use tokio::sync::Notify;

use self::feed::Batch;
pub(crate) use self::feed::Feeding;
use self::history::History;
pub(crate) use self::series::runtime;
use crate::config::Config;

/// What a name of a metric begins with.
const PREFIX: &str = "serf-agent";
/// Names that others choose, of events, queries and scripts, get metrics of their own up to so many (B5): the collectors
/// keep a file for each.
const NAMES_MAX: usize = 256;
/// Of such a name, in bytes.
const NAME_MAX: usize = 128;
/// Between two looks at the lengths of queues.
const QUEUES_INTERVAL: Duration = Duration::from_secs(30);

/// What becomes of the values of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The latest counts.
    Gauge,
    /// They are added up.
    Counter,
    /// How they are spread: times in milliseconds, sizes in bytes.
    Sample,
}

/// A name, without the prefix.
type Key = (Kind, Cow<'static, str>);

/// All metrics of the process. Clones are the same.
#[derive(Clone)]
pub(crate) struct Telemetry(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to send again.
    waiting: Notify,
}

struct State {
    history: History,
    /// What is to be sent, if anybody wants it.
    batch: Option<Batch>,
    /// Gauges bear the name of the machine where others collect them.
    host: Option<String>,
    /// As of the last reading.
    seen: Stats,
    /// The intervals in which gauges were told, the first and the last.
    gauged: Option<(u64, u64)>,
    /// None before the first.
    queues_seen: Option<SystemTime>,
    /// Those of others' choice.
    names: BTreeSet<String>,
    /// Of what the node's own numbers do not tell: how many values there have been since the start, and their sum.
    totals: BTreeMap<Cow<'static, str>, (u64, f64)>,
}

/// Begins to record, and to send what is recorded if the configuration names somebody who collects it.
pub(crate) fn begin(config: &Config) -> (Telemetry, Option<Feeding>) {
    let is_collected = config.statsd_addr.is_some() || config.statsite_addr.is_some();
    let host = is_collected.then(|| gethostname::gethostname().to_string_lossy().into_owned());
    let telemetry = Telemetry::new(host.as_deref());
    let feeding = is_collected.then(|| Feeding::begin(&telemetry, config));
    (telemetry, feeding)
}

impl Telemetry {
    /// With the machine's name, if somebody collects. Then whatever is recorded has to be taken: see [`Feeding`].
    pub(crate) fn new(host: Option<&str>) -> Self {
        let state = State {
            history: History::default(),
            batch: host.map(|_| Batch::default()),
            host: host.map(clean),
            seen: Stats::default(),
            gauged: None,
            queues_seen: None,
            names: BTreeSet::new(),
            totals: BTreeMap::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), waiting: Notify::new() }))
    }

    /// To be shown the node's numbers.
    pub(crate) fn meter(&self) -> Meter {
        let this = self.clone();
        Meter::new(move |reading| {
            this.record(|state, now| {
                state.read(now, reading.stats);
                state.read_names(now, "serf.events.", reading.events);
                state.read_names(now, "serf.queries.", reading.queries);
            });
        })
    }

    /// Something happened so many times.
    pub(crate) fn count(&self, name: &'static str, n: u64) {
        if n > 0 {
            self.record(|state, now| state.put_total(now, Kind::Counter, name.into(), n, n as f64));
        }
    }

    /// A script was run for an event.
    pub(crate) fn invoked(&self, script: &str, took: Duration) {
        let millis = took.as_secs_f64() * 1e3;
        self.record(|state, now| state.put_named(now, Kind::Sample, "agent.invoke.", script, 1, millis));
    }

    /// What happened up to this minute, interval by interval, without the one that is not over.
    pub(crate) fn dump(&self) -> String {
        self.dump_at(SystemTime::now())
    }

    /// What has been counted and timed since the start, besides the node's own numbers: the names of metrics, how many
    /// values each had, and their sum. There are only so many names, whatever others choose.
    pub(crate) fn totals(&self) -> Vec<(Cow<'static, str>, u64, f64)> {
        self.state().totals.iter().map(|(name, (n, sum))| (name.clone(), *n, *sum)).collect()
    }

    fn dump_at(&self, now: SystemTime) -> String {
        let state = self.state();
        let host = state.host.as_deref();
        let was_there = state.gauged.is_some_and(|(first, _)| first < history::number(now));
        if state.history.has_past(now) || !was_there {
            return state.history.dump(now, host);
        }
        // Nothing has happened for a minute: what is now, was then.
        let mut history = History::default();
        for (name, value) in gauges(&state.seen.vitals).chain(runtime()) {
            history.put(now - history::INTERVAL, (Kind::Gauge, name.into()), 1, value);
        }
        history.dump(now, host)
    }

    fn record(&self, record: impl FnOnce(&mut State, SystemTime)) {
        let mut state = self.state();
        let had_news = state.has_news();
        record(&mut state, SystemTime::now());
        if state.has_news() && !had_news {
            self.0.waiting.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves at worst a value unrecorded.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_news(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| !batch.is_empty())
    }

    /// What has changed since the last reading has just happened.
    fn read(&mut self, now: SystemTime, stats: &Stats) {
        let seen = mem::replace(&mut self.seen, *stats);
        // Once in each interval all of them are told, and what changes at once.
        let interval = history::number(now);
        // The clock of the system may have been set back: that stops nothing.
        let first = self.gauged.map_or(interval, |(first, _)| first.min(interval));
        let all = self.gauged.replace((first, interval)) != Some((first, interval));
        for ((name, value), (_, before)) in gauges(&stats.vitals).zip(gauges(&seen.vitals)) {
            if all || value != before {
                self.put(now, Kind::Gauge, name.into(), 1, value);
            }
        }
        if all {
            for (name, value) in runtime() {
                self.put(now, Kind::Gauge, name.into(), 1, value);
            }
        }
        for series in series::SERIES {
            let (n, total) = series.since(&seen, stats);
            if n > 0 {
                self.put(now, series.kind, series.name.into(), n, total);
            }
        }
        let recently = |at| now.duration_since(at).is_ok_and(|since| since < QUEUES_INTERVAL);
        if !self.queues_seen.is_some_and(recently) {
            self.queues_seen = Some(now);
            for (name, length) in series::QUEUES {
                self.put(now, Kind::Sample, (*name).into(), 1, length(&stats.vitals) as f64);
            }
        }
    }

    fn read_names(&mut self, now: SystemTime, prefix: &str, names: &[(Name, u64)]) {
        for (name, n) in names {
            self.put_named(now, Kind::Counter, prefix, &name.to_string(), *n, *n as f64);
        }
    }

    fn put_named(&mut self, now: SystemTime, kind: Kind, prefix: &str, name: &str, n: u64, total: f64) {
        let name = format!("{prefix}{}", clean(name));
        if !self.names.contains(&name) {
            if self.names.len() >= NAMES_MAX {
                return;
            }
            self.names.insert(name.clone());
        }
        self.put_total(now, kind, name.into(), n, total);
    }

    fn put_total(&mut self, now: SystemTime, kind: Kind, name: Cow<'static, str>, n: u64, total: f64) {
        let (count, sum) = self.totals.entry(name.clone()).or_default();
        *count += n;
        *sum += total;
        self.put(now, kind, name, n, total);
    }

    /// So much is not sent. That is not sent either, or there would be no end to it.
    fn note_shed(&mut self, now: SystemTime, n: u64) {
        if n > 0 {
            self.history.put(now, (Kind::Counter, "agent.metrics.shed".into()), n, n as f64);
        }
    }

    /// `n` values, `total` in all.
    fn put(&mut self, now: SystemTime, kind: Kind, name: Cow<'static, str>, n: u64, total: f64) {
        if let Some(batch) = &mut self.batch {
            let shed = batch.put((kind, name.clone()), n, total);
            self.note_shed(now, shed);
        }
        self.history.put(now, (kind, name), n, total);
    }
}

fn gauges(vitals: &Vitals) -> impl Iterator<Item = (&'static str, f64)> {
    series::GAUGES.iter().map(|(name, value)| (*name, value(vitals) as f64))
}

/// A name of others' choice without what means something to collectors, or would not print.
fn clean(name: &str) -> String {
    let harmless =
        |c: char| !(c.is_control() || c.is_whitespace() || matches!(c, ':' | '|' | '@' | '\u{fffd}'));
    name[..name.floor_char_boundary(NAME_MAX)].chars().map(|c| if harmless(c) { c } else { '_' }).collect()
}

/// The whole name. Gauges of different machines would overwrite each other where they are collected.
fn full_name(f: &mut impl fmt::Write, (kind, name): &Key, host: Option<&str>) -> fmt::Result {
    match host {
        Some(host) if *kind == Kind::Gauge => write!(f, "{PREFIX}.{host}.{name}"),
        _ => write!(f, "{PREFIX}.{name}"),
    }
}
