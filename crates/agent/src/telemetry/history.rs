//! The metrics of the last minute, in intervals of ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, Local, SecondsFormat};

use super::{Key, Kind, full_name};

/// Values in here are told together.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Intervals that are shown: a minute of them.
const KEPT: u64 = 6;

/// See the module's text. Intervals in which nothing happened are not in here.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Interval>);

#[derive(Debug)]
struct Interval {
    /// How many came before it since 1970.
    number: u64,
    values: BTreeMap<Key, Summary>,
}

/// Values of one metric in one interval.
#[derive(Debug)]
struct Summary {
    count: u64,
    sum: f64,
    squares: f64,
    min: f64,
    max: f64,
    /// When the last one came.
    at: SystemTime,
}

impl History {
    /// Does an interval begin now?
    pub(super) fn is_new(&self, now: SystemTime) -> bool {
        self.0.back().is_none_or(|last| last.number != number(now))
    }

    /// Is there anything to be shown?
    pub(super) fn has_past(&self, now: SystemTime) -> bool {
        self.past(now).next().is_some()
    }

    fn past(&self, now: SystemTime) -> impl Iterator<Item = &Interval> {
        let now = number(now);
        self.0.iter().filter(move |i| i.number < now && i.number + KEPT >= now)
    }

    /// `n` values, `total` in all.
    pub(super) fn put(&mut self, now: SystemTime, key: Key, n: u64, total: f64) {
        if self.is_new(now) {
            let number = number(now);
            // The clock of the system may have been set back: then it is another minute's history.
            self.0.retain(|i| i.number < number && i.number + KEPT >= number);
            self.0.push_back(Interval { number, values: BTreeMap::new() });
        }
        let Some(interval) = self.0.back_mut() else { return };
        let value = total / n.max(1) as f64;
        if key.0 == Kind::Gauge {
            interval.values.remove(&key);
        }
        let fresh = Summary { count: 0, sum: 0.0, squares: 0.0, min: value, max: value, at: now };
        let summary = interval.values.entry(key).or_insert(fresh);
        summary.count += n;
        summary.sum += total;
        summary.squares += value * value * n as f64;
        summary.min = summary.min.min(value);
        summary.max = summary.max.max(value);
        summary.at = now;
    }

    /// A line for each metric of each interval that is over.
    pub(super) fn dump(&self, now: SystemTime, host: Option<&str>) -> String {
        let mut out = String::new();
        for interval in self.past(now) {
            let start = Stamp::of(UNIX_EPOCH + Duration::from_secs(interval.number * INTERVAL.as_secs()));
            for (key, summary) in &interval.values {
                // Writing to memory does not fail.
                let _ = line(&mut out, &start, key, host, summary);
            }
        }
        out
    }
}

fn line(out: &mut String, start: &Stamp, key: &Key, host: Option<&str>, summary: &Summary) -> fmt::Result {
    let letter = match key.0 {
        Kind::Gauge => 'G',
        Kind::Counter => 'C',
        Kind::Sample => 'S',
    };
    write!(out, "[{start}][{letter}] '")?;
    full_name(out, key, host)?;
    writeln!(out, "': {summary}", summary = Shown(key.0, summary))
}

pub(super) fn number(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / INTERVAL.as_secs())
}

impl Summary {
    fn deviation(&self) -> f64 {
        let n = self.count as f64;
        if self.count < 2 {
            return 0.0;
        }
        ((n * self.squares - self.sum * self.sum) / (n * (n - 1.0))).max(0.0).sqrt()
    }
}

struct Shown<'a>(Kind, &'a Summary);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, summary) = self;
        if *kind == Kind::Gauge {
            return write!(f, "{:.3}", summary.sum);
        }
        let Summary { count, sum, min, max, at, .. } = summary;
        write!(f, "Count: {count} ")?;
        let deviation = summary.deviation();
        // What rounding leaves of equal values is not a spread.
        if max > min && deviation > 0.0 {
            let mean = sum / *count as f64;
            write!(f, "Min: {min:.3} Mean: {mean:.3} Max: {max:.3} Stddev: {deviation:.3} ")?;
        }
        write!(f, "Sum: {sum:.3} LastUpdated: {}", Stamp::of(*at))
    }
}

/// A moment, as Go programs print it.
struct Stamp(DateTime<FixedOffset>);

impl Stamp {
    fn of(at: SystemTime) -> Self {
        Self(DateTime::<Local>::from(at).fixed_offset())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let (day, time) = text.split_once('T').unwrap_or((&text, ""));
        let time = time.split(['Z', '+', '-']).next().unwrap_or_default();
        let zone = self.0.offset().to_string().replace(':', "");
        let name = if self.0.offset().local_minus_utc() == 0 { "UTC" } else { &zone };
        write!(f, "{day} {time} {zone} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn put(history: &mut History, seconds: u64, name: &'static str, n: u64, total: f64) {
        history.put(at(seconds), (Kind::Counter, name.into()), n, total);
    }

    /// Names and sums of what is shown.
    fn shown(history: &History, seconds: u64) -> Vec<String> {
        let dump = history.dump(at(seconds), None);
        let short = |line: &str| {
            let (_, rest) = line.split_once("serf-agent.").expect("the prefix");
            rest.split(" LastUpdated").next().unwrap_or(rest).to_owned()
        };
        dump.lines().map(short).collect()
    }

    #[test]
    fn an_interval_is_shown_when_it_is_over_and_for_a_minute() {
        let mut history = History::default();
        for (seconds, n) in [(0, 1), (9, 2), (10, 4), (65, 8)] {
            put(&mut history, seconds, "a", n, n as f64);
        }
        assert_eq!(shown(&history, 9), Vec::<String>::new());
        assert_eq!(shown(&history, 10), ["a': Count: 3 Sum: 3.000"]);
        assert_eq!(shown(&history, 69).len(), 2);
        assert_eq!(shown(&history, 70), ["a': Count: 4 Sum: 4.000", "a': Count: 8 Sum: 8.000"]);
        assert_eq!(shown(&history, 1000), Vec::<String>::new());
        put(&mut history, 1000, "a", 1, 1.0);
        assert_eq!(history.0.len(), 1, "the old are forgotten");
    }

    #[test]
    fn a_clock_that_was_set_back_takes_what_is_still_to_come_with_it() {
        let mut history = History::default();
        put(&mut history, 500, "a", 1, 1.0);
        put(&mut history, 0, "b", 1, 1.0);
        put(&mut history, 0, "b", 1, 1.0);
        assert_eq!(shown(&history, 10), ["b': Count: 2 Sum: 2.000"]);
    }

    #[test]
    fn lines_are_those_of_the_reference() {
        let mut history = History::default();
        let key = |kind, name: &'static str| (kind, name.into());
        for value in [2.0, 4.0, 9.0] {
            history.put(at(0), key(Kind::Sample, "spread"), 1, value);
            history.put(at(0), key(Kind::Gauge, "gauge"), 1, value);
        }
        history.put(at(0), key(Kind::Sample, "together"), 4, 6.0);
        history.put(at(0), key(Kind::Counter, "even"), 1, 0.1);
        history.put(at(0), key(Kind::Counter, "even"), 2, 0.2);
        let dump = history.dump(at(10), Some("host"));
        let (start, updated) = (Stamp::of(at(0)), Stamp::of(at(0)));
        let expected = [
            format!("[{start}][G] 'serf-agent.host.gauge': 9.000"),
            format!("[{start}][C] 'serf-agent.even': Count: 3 Sum: 0.300 LastUpdated: {updated}"),
            format!(
                "[{start}][S] 'serf-agent.spread': Count: 3 Min: 2.000 Mean: 5.000 Max: 9.000 Stddev: 3.606 \
                 Sum: 15.000 LastUpdated: {updated}"
            ),
            format!("[{start}][S] 'serf-agent.together': Count: 4 Sum: 6.000 LastUpdated: {updated}"),
        ];
        assert_eq!(dump.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn moments_are_printed_as_go_does() {
        for (text, shown) in [
            ("2026-11-20T23:38:00Z", "2026-11-20 23:38:00 +0000 UTC"),
            ("2026-11-20T23:38:00.061245123Z", "2026-11-20 23:38:00.061245123 +0000 UTC"),
            ("2026-11-20T23:38:00-05:30", "2026-11-20 23:38:00 -0530 -0530"),
        ] {
            assert_eq!(Stamp(text.parse().expect("a moment")).to_string(), shown);
        }
    }
}
