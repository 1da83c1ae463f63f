//! A cluster in which nothing happens: what it costs to be one, and what it costs to simulate it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use serf_core::MemberEventKind::Failed;
use serf_core::{Config, ConfigError, Event};
use serf_gossip::push_pull_scale;

use super::{Experiment, PROFILE, Profile, about, listen, profile, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::{Link, Network, Sim, Traffic};

pub(super) const STEADY: Experiment = Experiment {
    name: "steady",
    about: "A cluster at rest: what a node sends, who is wrongly told as failed, and how fast it is simulated.",
    flags: &[
        PROFILE,
        Flag { name: "sizes", default: "100,1000", help: "nodes" },
        Flag { name: "for", default: "60s", help: "simulated time" },
        Flag { name: "loss", default: "0", help: "share of packets that are lost" },
    ],
    run,
};

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (time, loss, seed) = (args.time("for")?, args.get::<f64>("loss")?, args.get::<u64>("seed")?);
    let profile = profile(args)?;
    let mut report = Report::new(
        "steady",
        &[
            "nodes",
            "datagrams/s/node",
            "bytes/s/node",
            "told as failed",
            "simulated s/CPU s",
            "datagrams/CPU s",
            "MiB/node",
            "bytes/record",
            "digest",
            "full states, bytes/s/node",
        ],
    );
    // What one size gives back, the next takes: the smaller ones are to go first.
    let mut sizes = args.list::<usize>("sizes")?;
    sizes.sort_unstable();
    let before = resident();
    for size in sizes {
        let mut sim = formed_as(profile, seed, size, Link::lossy(loss));
        let began = Stopwatch::start();
        let told = rest(&mut sim, time, &mut || {}).told_failed;
        let took = began.seconds();
        let traffic = sim.traffic();
        let (seconds, nodes) = (time.as_secs_f64(), size as f64);
        let memory = resident().zip(before).map(|(now, before)| now.saturating_sub(before) as f64);
        let share = |among: f64| memory.map_or(Value::Null, |bytes| real(bytes / among));
        report.row(vec![
            json!(size),
            real(traffic.datagrams as f64 / seconds / nodes),
            real((traffic.datagram_bytes + traffic.stream_bytes) as f64 / seconds / nodes),
            json!(told),
            real(seconds / took),
            real(traffic.datagrams as f64 / took),
            share(nodes * f64::from(1 << 20)),
            share(nodes * nodes),
            json!(format!("{:016x}", sim.digest())),
            each_second(&Sim::profiled(0, profile), size, exchange(&mut sim)),
        ]);
        report.plot.point("simulated seconds a CPU second", nodes, seconds / took);
    }
    report.plot.x = "nodes";
    report.plot.y = "simulated seconds a CPU second";
    report.plot.log = (true, true);
    Ok(report)
}

/// A cluster in which all have known each other for long.
pub(super) fn formed(seed: u64, nodes: usize, link: Link) -> Sim {
    formed_as(serf_gossip::Config::lan, seed, nodes, link)
}

/// The same with another profile.
pub(super) fn formed_as(profile: Profile, seed: u64, nodes: usize, link: Link) -> Sim {
    formed_like(&Sim::profiled(0, profile), seed, nodes, link, &mut || {}).expect("settings that work")
}

/// The same with any settings: each node has these, but for its name and address. `each` is called after every node.
///
/// # Errors
/// Settings that cannot work.
pub fn formed_like(
    node: &Config,
    seed: u64,
    nodes: usize,
    link: Link,
    each: &mut dyn FnMut(),
) -> Result<Sim, ConfigError> {
    let mut sim = Sim::new(seed);
    sim.network = Network::flat(link);
    for i in 0..nodes {
        sim.add(Sim::like(i, node))?;
    }
    sim.acquaint_each(each);
    Ok(sim)
}

/// What went on while nothing happened, at all nodes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rest {
    /// How long that was.
    pub time: Duration,
    /// What was sent meanwhile.
    pub traffic: Traffic,
    /// Exchanges of full states among that.
    pub exchanges: u64,
    /// Probes that nobody answered in time, neither directly nor through others: each begins a suspicion.
    pub failed_probes: u64,
    /// How often some node told that another had failed.
    pub told_failed: usize,
    /// How many different ones were told to have.
    pub accused: usize,
}

/// Lets time pass. `each` is called after every simulated second.
pub fn rest(sim: &mut Sim, time: Duration, each: &mut dyn FnMut()) -> Rest {
    let count = |sim: &Sim| {
        let stats = (0..sim.len()).filter_map(|at| sim.node(at)).map(|node| *node.gossip().stats());
        stats.fold((0, 0), |sum, stats| (sum.0 + stats.push_pulls_asked, sum.1 + stats.failed_probes))
    };
    let (before, counts) = (sim.traffic(), count(sim));
    let (mut told_failed, mut accused) = (0, BTreeSet::new());
    let heard = |_, event: &Event, _| {
        told_failed += about(event, Failed).count();
        accused.extend(about(event, Failed).cloned());
        false
    };
    listen(sim, time, heard, each);
    let now = count(sim);
    Rest {
        time,
        traffic: sim.traffic().since(&before),
        exchanges: now.0 - counts.0,
        failed_probes: now.1 - counts.1,
        told_failed,
        accused: accused.len(),
    }
}

/// The bytes that one exchange of full states between two members takes, headers included. To be measured while nothing
/// else goes on; afterwards some news is on its way for a few seconds.
pub fn exchange(sim: &mut Sim) -> u64 {
    let before = sim.traffic().stream_bytes;
    let (wanted, until) = (sim.join(0, 1), sim.now() + Duration::from_secs(60));
    let done = |event: &Event| matches!(event, Event::Done { id, .. } if *id == wanted);
    while let Some((_, event)) = sim.advance(until) {
        if done(&event) {
            break;
        }
    }
    sim.traffic().stream_bytes - before
}

/// The time between two exchanges of full states that a node begins, in a cluster of so many.
#[must_use]
pub fn exchange_interval(node: &Config, nodes: usize) -> Duration {
    node.gossip.push_pull_interval.saturating_mul(push_pull_scale(nodes))
}

/// What exchanges of so many bytes are for each node and second; nothing if there are none.
fn each_second(node: &Config, nodes: usize, bytes: u64) -> Value {
    let seconds = exchange_interval(node, nodes).as_secs_f64();
    real(if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 })
}

/// How long this thread has worked; where the system does not tell, how much time has passed.
struct Stopwatch(Instant, Option<u64>);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), Self::worked())
    }

    fn worked() -> Option<u64> {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        stat.split_whitespace().next()?.parse().ok()
    }

    fn seconds(&self) -> f64 {
        match self.1.zip(Self::worked()) {
            Some((then, now)) => (now - then) as f64 / 1e9,
            None => self.0.elapsed().as_secs_f64(),
        }
    }
}

/// Bytes of memory in use, where the system tells.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}
