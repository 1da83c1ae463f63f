//! A cluster in which nothing happens: what it costs to be one, and what it costs to simulate it.

use std::time::Instant;

use serde_json::json;

use serf_core::MemberEventKind::Failed;

use super::{Experiment, PROFILE, Profile, about, profile, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::{Link, Network, Sim};

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
        ],
    );
    // What one size gives back, the next takes: the smaller ones are to go first.
    let mut sizes = args.list::<usize>("sizes")?;
    sizes.sort_unstable();
    let before = resident();
    for size in sizes {
        let mut sim = formed_as(profile, seed, size, Link::lossy(loss));
        let (began, until) = (Stopwatch::start(), sim.now() + time);
        let mut told = 0;
        while let Some((_, event)) = sim.advance(until) {
            told += about(&event, Failed).count();
        }
        let took = began.seconds();
        let traffic = sim.traffic();
        let (seconds, nodes) = (time.as_secs_f64(), size as f64);
        let memory = resident().zip(before).map(|(now, before)| now.saturating_sub(before) as f64);
        let share = |among: f64| memory.map_or(serde_json::Value::Null, |bytes| real(bytes / among));
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
    let mut sim = Sim::new(seed);
    sim.network = Network::flat(link);
    for i in 0..nodes {
        sim.add(Sim::profiled(i, profile)).expect("settings that work");
    }
    sim.acquaint();
    sim
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
