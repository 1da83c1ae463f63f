//! A cluster that is born: all nodes start at once and join one of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use serf_core::{Config, Event, Outcome};

use super::{Experiment, jobs, real, seconds};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{Link, Network, Sim};

pub(super) const BOOTSTRAP: Experiment = Experiment {
    name: "bootstrap",
    about: "N nodes start at once and join one seed: the time until all agree, and the sizes reported on the way.",
    flags: &[
        Flag { name: "sizes", default: "10,32,100,316,1000", help: "nodes" },
        Flag { name: "runs", default: "3", help: "runs for each size" },
        Flag {
            name: "retry",
            default: "30s",
            help: "time after which a join that reached nobody is tried again",
        },
        Flag { name: "push-pull", default: "30s", help: "base time between exchanges of full states" },
        Flag { name: "packet", default: "1400", help: "largest datagram that gossip fills, in bytes" },
        Flag { name: "within", default: "1s", help: "the nodes start within so much time" },
    ],
    run,
};

struct Born {
    took: Option<Duration>,
    sizes: usize,
    refused: usize,
    datagrams: u64,
    stream_bytes: u64,
}

fn birth(seed: u64, nodes: usize, retry: Duration, within: Duration, set: impl Fn(&mut Config)) -> Born {
    let mut sim = Sim::new(seed);
    sim.network = Network::flat(Link::lan());
    let began = sim.now();
    let limit = began + Duration::from_secs(1800);
    let mut sizes = BTreeSet::new();
    let mut refused = 0;
    // When each joins next, in order.
    let mut joins: BTreeSet<(serf_gossip::Instant, usize)> = BTreeSet::new();
    for at in 0..nodes {
        let mut config = Sim::lan(at);
        set(&mut config);
        sim.add(config).expect("settings that work");
        if at > 0 {
            joins.insert((began + within.mul_f64(at as f64 / nodes as f64), at));
        }
    }
    let mut complete = BTreeSet::new();
    loop {
        let until = joins.first().map_or(limit, |(when, _)| *when);
        while let Some((at, event)) = sim.advance(until) {
            match event {
                Event::Member(_) => {
                    let count = sim.node(at).map_or(0, serf_core::Node::member_count);
                    sizes.insert(count);
                    if count == nodes {
                        complete.insert(at);
                    }
                }
                Event::Done { outcome: Outcome::Joined { contacted, failed }, .. }
                    if contacted.is_empty() && !failed.is_empty() =>
                {
                    refused += 1;
                    joins.insert((sim.now() + retry, at));
                }
                _ => {}
            }
            if complete.len() == nodes || joins.first().is_some_and(|(when, _)| *when < until) {
                break;
            }
        }
        let traffic = sim.traffic();
        let over = complete.len() == nodes || sim.now() >= limit;
        if over {
            return Born {
                took: (complete.len() == nodes).then(|| sim.now().since(began)),
                sizes: sizes.len(),
                refused,
                datagrams: traffic.datagrams,
                stream_bytes: traffic.stream_bytes,
            };
        }
        while let Some((when, at)) = joins.first().copied().filter(|(when, _)| *when <= sim.now()) {
            joins.remove(&(when, at));
            sim.join(at, 0);
        }
    }
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, runs) = (args.list::<usize>("sizes")?, args.get::<usize>("runs")?);
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    let (retry, within) = (args.time("retry")?, args.time("within")?);
    if sizes.iter().any(|n| *n < 2) || runs == 0 {
        return Err(args.wrong("sizes", "at least 2 nodes, and one run"));
    }
    let (push_pull, packet) = (args.time("push-pull")?, args.get::<usize>("packet")?);
    let set = |config: &mut Config| {
        config.gossip.push_pull_interval = push_pull;
        config.gossip.packet_size = packet;
    };
    if !(128..=65_507).contains(&packet) {
        return Err(args.wrong("packet", "128 to 65507"));
    }
    let progress = Progress::new("bootstrap", sizes.len() * runs);
    let results = side_by_side(jobs, sizes.len() * runs, |i| {
        let born = birth(seed + i as u64, sizes[i / runs], retry, within, set);
        progress.tick();
        born
    });
    let mut report = Report::new(
        "bootstrap",
        &[
            "nodes",
            "all agree, s",
            "longest, s",
            "sizes reported",
            "joins refused",
            "datagrams/node",
            "stream KiB/node",
        ],
    );
    for (at, size) in sizes.iter().enumerate() {
        let results = &results[at * runs..(at + 1) * runs];
        let took: Vec<Duration> = results.iter().filter_map(|r| r.took).collect();
        let each = |f: fn(&Born) -> f64| results.iter().map(f).sum::<f64>() / runs as f64;
        let longest = took.iter().max().map_or(f64::NAN, Duration::as_secs_f64);
        report.row(vec![
            json!(size),
            seconds(&took),
            real(longest),
            real(each(|r| r.sizes as f64)),
            real(each(|r| r.refused as f64)),
            real(each(|r| r.datagrams as f64) / *size as f64),
            real(each(|r| r.stream_bytes as f64) / *size as f64 / 1024.0),
        ]);
        if took.len() < runs {
            report.notes.push(format!(
                "{} of {runs} runs with {size} nodes did not agree within 30 min",
                runs - took.len()
            ));
        }
        report.plot.point("mean", *size as f64, super::mean(took.iter().map(Duration::as_secs_f64)));
        report.plot.point("longest", *size as f64, longest);
    }
    report.plot.x = "nodes";
    report.plot.y = "seconds until all agree";
    report.plot.log = (true, true);
    Ok(report)
}
