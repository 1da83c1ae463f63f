//! What to expect of a cluster before there is one: how soon a crash is known, how soon an event is everywhere, and what a
//! node sends at rest. Each run is one simulated cluster, in which the experiments of those names are done one after
//! another.

use std::time::Duration;

use serf_core::{Config, ConfigError};

use crate::digest::Digest;
use crate::experiment::{News, Rest, Spread, crash, exchange, exchange_interval, formed_like, rest, spread};
use crate::report::Plot;
use crate::work::side_by_side;
use crate::{Link, Sim};

/// How many nodes a forecast may be about, from and to.
pub const NODES: (usize, usize) = (2, 20_000);
/// How often the callback of [`Plan::perform`] is called in each run.
pub const TICKS: usize = FORMING + RESTING + SPREADING + FAILING;

// About what share of the work each part is, in a cluster of thousands.
const FORMING: usize = 40;
const RESTING: usize = 20;
const SPREADING: usize = 10;
const FAILING: usize = 30;

/// The time in which the news of the first exchange of states has settled.
const SETTLING: Duration = Duration::from_secs(10);
/// A crash is waited for at least so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A cluster to be tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The settings of each node, but for its name and address. What is told late, to be told together
    /// ([`Config::coalesce_period`]), is told at once: the figures are about what nodes know.
    pub node: Config,
    /// How many nodes, within [`NODES`].
    pub nodes: usize,
    /// The network between them.
    pub link: Link,
    /// How long the cluster is watched at rest.
    pub rest: Duration,
    /// The seed of the first run; the others count on from it.
    pub seed: u64,
    /// How many clusters.
    pub runs: usize,
    /// How many of them side by side. The result does not depend on it.
    pub jobs: usize,
}

/// What one of the simulated clusters showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Who knew of a crash when.
    pub crash: Spread,
    /// Who heard an event when.
    pub event: Spread,
    /// What was sent at rest, and who was wrongly accused.
    pub rest: Rest,
    /// Bytes of one exchange of full states, both directions together.
    pub exchange: u64,
    /// A number over all that was delivered, to whom, and when.
    pub digest: u64,
}

/// One of the two things that a run spreads.
pub type Which = fn(&Run) -> &Spread;

/// What all of them showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Each, in the order of their seeds.
    pub runs: Vec<Run>,
    /// The time between two exchanges of full states that one node begins; zero if it never does.
    pub exchange_interval: Duration,
}

impl Plan {
    /// About how many bytes of memory one run takes: what each node keeps of itself and of every other.
    #[must_use]
    pub fn memory(nodes: usize) -> u64 {
        let nodes = nodes as u64;
        nodes * (nodes * 105 + (40 << 10))
    }

    /// Does it. `tick` is called [`TICKS`] times for each run, from several threads.
    ///
    /// # Errors
    /// Settings with which no node starts.
    ///
    /// # Panics
    /// With less than two nodes.
    pub fn perform(&self, tick: &(dyn Fn() + Sync)) -> Result<Forecast, ConfigError> {
        let mut node = self.node.clone();
        (node.coalesce_period, node.user_coalesce_period) = (Duration::ZERO, Duration::ZERO);
        Sim::new(self.seed).add(Sim::like(0, &node))?;
        let runs = side_by_side(self.jobs, self.runs, |i| self.run(&node, self.seed + i as u64, tick));
        let exchange_interval = exchange_interval(&node, self.nodes);
        Ok(Forecast { runs: runs.into_iter().collect::<Result<_, _>>()?, exchange_interval })
    }

    fn run(&self, node: &Config, seed: u64, tick: &(dyn Fn() + Sync)) -> Result<Run, ConfigError> {
        let mut part = Part::begin(tick, FORMING, self.nodes);
        let mut sim = formed_like(node, seed, self.nodes, self.link.clone(), &mut || part.step())?;
        part.end();
        let mut part = Part::begin(tick, RESTING, self.rest.as_secs_f64().ceil() as usize);
        // Nothing is lost on the way: what is sent again would be counted twice.
        sim.network.change(|link| link.loss = 0.0);
        let exchange = exchange(&mut sim);
        sim.network.change(|link| link.loss = self.link.loss);
        sim.run(SETTLING);
        let rest = rest(&mut sim, self.rest, &mut || part.step());
        part.end();
        let mut part = Part::begin(tick, SPREADING, 10);
        let event = spread(&mut sim, News::Event, &mut || part.step());
        part.end();
        let mut part = Part::begin(tick, FAILING, self.shortest_suspicion().as_secs_f64() as usize + 10);
        let crash = crash(&mut sim, self.patience(), &mut || part.step());
        part.end();
        Ok(Run { crash, event, rest, exchange, digest: sim.digest() })
    }

    fn shortest_suspicion(&self) -> Duration {
        let gossip = &self.node.gossip;
        let scale = libm::log10(self.nodes as f64).max(1.0) * f64::from(gossip.suspicion_mult);
        Duration::try_from_secs_f64(gossip.probe_interval.as_secs_f64() * scale).unwrap_or(Duration::MAX)
    }

    /// Twice as long as the longest suspicion lasts.
    fn patience(&self) -> Duration {
        let longest = self.shortest_suspicion().saturating_mul(self.node.gossip.suspicion_max_timeout_mult);
        longest.saturating_mul(2).clamp(PATIENCE, Duration::from_secs(24 * 3600))
    }
}

/// A part of a run, that is so many ticks and about so many steps long.
struct Part<'a> {
    tick: &'a (dyn Fn() + Sync),
    ticks: usize,
    steps: usize,
    ticked: usize,
    stepped: usize,
}

impl<'a> Part<'a> {
    fn begin(tick: &'a (dyn Fn() + Sync), ticks: usize, steps: usize) -> Self {
        Self { tick, ticks, steps: steps.max(1), ticked: 0, stepped: 0 }
    }

    fn step(&mut self) {
        self.stepped += 1;
        self.to((self.ticks * self.stepped / self.steps).min(self.ticks));
    }

    fn end(mut self) {
        self.to(self.ticks);
    }

    fn to(&mut self, ticks: usize) {
        while self.ticked < ticks {
            self.ticked += 1;
            (self.tick)();
        }
    }
}

impl Run {
    fn nodes(&self) -> f64 {
        (self.crash.wanted + 1) as f64
    }

    /// Datagrams that a node sends in a second at rest.
    #[must_use]
    pub fn datagrams(&self) -> f64 {
        self.rest.traffic.datagrams as f64 / self.rest.time.as_secs_f64() / self.nodes()
    }

    /// Bytes that a node sends in a second at rest, headers included, but for exchanges of full states: probes, their
    /// answers, and gossip.
    #[must_use]
    pub fn probing(&self) -> f64 {
        // Exchanges come in waves, so that a short time may hold any number of them: they are counted apart.
        let bytes = self.rest.traffic.bytes().saturating_sub(self.rest.exchanges * self.exchange);
        bytes as f64 / self.rest.time.as_secs_f64() / self.nodes()
    }
}

impl Forecast {
    /// Bytes that a node sends in a second in exchanges of full states, headers included.
    #[must_use]
    pub fn exchanging(&self) -> f64 {
        let seconds = self.exchange_interval.as_secs_f64();
        if seconds > 0.0 { self.mean(|run| run.exchange as f64) / seconds } else { 0.0 }
    }

    /// The mean over all runs.
    #[must_use]
    pub fn mean(&self, of: impl Fn(&Run) -> f64) -> f64 {
        self.runs.iter().map(of).sum::<f64>() / self.runs.len() as f64
    }

    /// A number over those of the runs.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        self.runs.iter().for_each(|run| digest.word(run.digest));
        digest.value()
    }

    /// The share of the nodes that know, against time.
    #[must_use]
    pub fn plot(&self) -> Plot {
        let mut plot = Plot { x: "seconds", y: "% of the nodes", log: (true, false), lines: Vec::new() };
        let spreads: [(&str, Which); 2] =
            [("heard an event", |run| &run.event), ("know of a crash", |run| &run.crash)];
        for (line, spread) in spreads {
            for percent in 0..=100 {
                let share = f64::from(percent) / 100.0;
                let times: Option<Vec<f64>> =
                    self.runs.iter().map(|run| Some(spread(run).until(share)?.as_secs_f64())).collect();
                let Some(times) = times else { break };
                plot.point(line, times.iter().sum::<f64>() / times.len() as f64, percent.into());
            }
        }
        plot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn plan(nodes: usize, loss: f64) -> Plan {
        Plan {
            node: Sim::lan(0),
            nodes,
            link: Link::lossy(loss),
            rest: Duration::from_secs(20),
            seed: 3,
            runs: 2,
            jobs: 2,
        }
    }

    #[test]
    fn a_forecast_is_complete_and_the_same_each_time() {
        let ticks = AtomicUsize::new(0);
        let told = plan(40, 0.0)
            .perform(&|| {
                ticks.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        assert_eq!(ticks.into_inner(), 2 * TICKS);
        for run in &told.runs {
            let (event, crash) = (run.event.until(1.0).unwrap(), run.crash.until(1.0).unwrap());
            assert!(event < run.crash.until(0.0).unwrap() && crash < Duration::from_secs(60), "{run:?}");
            assert_eq!((run.rest.told_failed, run.rest.failed_probes), (0, 0));
            assert!((1.0..4.0).contains(&run.datagrams()) && run.exchange > 40 * 20, "{run:?}");
        }
        assert_ne!(told.runs[0].digest, told.runs[1].digest);
        assert_eq!(Plan { jobs: 1, ..plan(40, 0.0) }.perform(&|| {}).unwrap(), told);
        assert_eq!(told.plot().lines.len(), 2);
    }

    #[test]
    fn loss_is_felt() {
        let (without, with) =
            (plan(30, 0.0).perform(&|| {}).unwrap(), plan(30, 0.3).perform(&|| {}).unwrap());
        assert!(with.runs.iter().all(|run| run.rest.failed_probes > 0));
        assert!(with.mean(Run::datagrams) > without.mean(Run::datagrams));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let mut plan = plan(10, 0.0);
        plan.node.tags.insert("a".into(), "b".repeat(600).as_str().into());
        assert!(plan.perform(&|| {}).is_err());
    }
}
