//! What collectors are sent: lines, gathered for a moment. Nothing is woken while there is nothing to send.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::mem;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::statsd::Statsd;
use super::statsite::{self, RETRY_INTERVAL};
use super::{Key, Kind, Telemetry, full_name};
use crate::config::Config;

/// How long values are gathered before they are sent.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// Samples sent at a time; what comes beyond is shed. Ten thousand a second are spread enough.
const SAMPLES_MAX: u64 = 1000;
/// Batches that wait for statsite: what comes in the time between two attempts to reach it.
const WAITING_MAX: usize = 64;
/// What waits at the end gets this long.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Values that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Of gauges the latest values, of counters the sums.
    values: BTreeMap<Key, f64>,
    /// How often, and what.
    samples: Vec<(Key, u64, f64)>,
    sampled: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.samples.is_empty()
    }

    /// Takes `n` values, `total` in all; how many of them found no room.
    pub(super) fn put(&mut self, key: Key, n: u64, total: f64) -> u64 {
        let value = total / n.max(1) as f64;
        match key.0 {
            Kind::Gauge => drop(self.values.insert(key, value)),
            Kind::Counter => *self.values.entry(key).or_default() += total,
            Kind::Sample => {
                let admitted = n.min(SAMPLES_MAX - self.sampled);
                self.sampled += admitted;
                if admitted > 0 {
                    self.samples.push((key, admitted, value));
                }
                return n - admitted;
            }
        }
        0
    }

    /// A line for each value.
    pub(super) fn lines(&self, host: Option<&str>) -> String {
        let mut out = String::new();
        let values = self.values.iter().map(|(key, value)| (key, 1, *value));
        for (key, n, value) in values.chain(self.samples.iter().map(|(key, n, value)| (key, *n, *value))) {
            for _ in 0..n {
                // Writing to memory does not fail.
                let _ = line(&mut out, key, host, value);
            }
        }
        out
    }
}

fn line(out: &mut String, key: &Key, host: Option<&str>, value: f64) -> fmt::Result {
    let kind = match key.0 {
        Kind::Gauge => "g",
        Kind::Counter => "c",
        Kind::Sample => "ms",
    };
    full_name(out, key, host)?;
    writeln!(out, ":{value:.6}|{kind}")
}

/// Sends what the agent records, until [`Feeding::finish`].
pub(crate) struct Feeding {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Feeding {
    /// To those whom the configuration names.
    pub(super) fn begin(telemetry: &Telemetry, config: &Config) -> Self {
        let statsd = config.statsd_addr.clone().map(Statsd::new);
        let statsite = config.statsite_addr.clone().map(|address| {
            let (sender, batches) = mpsc::channel(WAITING_MAX);
            (sender, tokio::spawn(statsite::stream(address, batches, RETRY_INTERVAL)))
        });
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(feed(telemetry.clone(), statsd, statsite, ended));
        Self { end, task }
    }

    /// Sends what is left, within bounds.
    pub(crate) async fn finish(self) {
        let _ = self.end.send(());
        let _ = timeout(END_PATIENCE, self.task).await;
    }
}

async fn feed(
    telemetry: Telemetry,
    mut statsd: Option<Statsd>,
    mut statsite: Option<(mpsc::Sender<String>, JoinHandle<()>)>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut over = false;
    while !over {
        let news = async {
            telemetry.0.waiting.notified().await;
            sleep(FLUSH_INTERVAL).await;
        };
        tokio::select! {
            () = news => {}
            _ = &mut ended => over = true,
        }
        let lines = telemetry.take_lines();
        if lines.is_empty() {
            continue;
        }
        if let Some(statsd) = &mut statsd {
            statsd.send(&lines).await;
        }
        if let Some((batches, _)) = &mut statsite
            && batches.try_send(lines).is_err()
        {
            telemetry.state().note_shed(SystemTime::now(), 1);
        }
    }
    if let Some((batches, task)) = statsite {
        drop(batches);
        let _ = task.await;
    }
}

impl Telemetry {
    pub(super) fn take_lines(&self) -> String {
        let mut state = self.state();
        let batch = state.batch.as_mut().map(mem::take).unwrap_or_default();
        batch.lines(state.host.as_deref())
    }
}
