//! How well network coordinates tell round-trip times, where the true ones are known.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serf_gossip::Rng;

use super::{Experiment, jobs, quantile, real};
use crate::args::{Args, ArgsError, Flag};
use crate::network::Distance;
use crate::report::Report;
use crate::sim::draws;
use crate::work::{Progress, side_by_side};
use crate::{At, Latency, Link, Network, Sim};

pub(super) const COORDINATES: Experiment = Experiment {
    name: "coordinates",
    about: "The error of estimated round-trip times, on planes, in zones, and where no map fits.",
    flags: &[
        Flag { name: "sizes", default: "100", help: "nodes" },
        Flag { name: "for", default: "30m", help: "simulated time" },
        Flag { name: "jitter", default: "200us", help: "most that each way takes longer than it must" },
    ],
    run,
};

const WORLDS: [&str; 5] = ["grid, 5 ms apart", "plane, 100 ms wide", "three zones", "heights", "heavy tail"];

/// Of more pairs than that, so many are drawn: the error is a share of them all, and they take memory.
const PAIRS: usize = 500_000;

/// One way between two nodes.
fn distance(seed: u64, world: usize, nodes: usize, rng: &mut Rng) -> Distance {
    let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
    let side = (nodes as f64).sqrt().ceil();
    let places: Vec<(f64, f64)> = (0..nodes)
        .map(|at| match world {
            0 => ((at as f64 % side) * 5.0, (at as f64 / side).floor() * 5.0),
            _ => (rng.unit() * 100.0, rng.unit() * 100.0),
        })
        .collect();
    // Access networks: a time of each node's own, whoever it talks to.
    let heights: Vec<f64> = (0..nodes).map(|_| 1.0 + 20.0 * rng.unit()).collect();
    // Drawn anew from the pair's number each time: a table of all pairs of 10,000 would be 800 MB.
    let heavy = move |a: At, b: At| {
        let pair = a.min(b) * nodes + a.max(b);
        let latency = Latency::LogNormal { median: ms(20.0), sigma: 0.8 };
        latency.draw(&mut draws(seed, 0x7061_6972, pair as u64)).as_secs_f64() * 1e3
    };
    let plane = move |a: At, b: At| {
        let (dx, dy) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
        (dx * dx + dy * dy).sqrt()
    };
    // Between zones, one way, in milliseconds; within one it is a quarter.
    const ZONES: [[f64; 3]; 3] = [[0.25, 10.0, 40.0], [10.0, 0.25, 35.0], [40.0, 35.0, 0.25]];
    Arc::new(move |a, b| {
        ms(match world {
            0 => 0.5 + plane(a, b),
            1 => 1.0 + plane(a, b),
            2 => ZONES[a % 3][b % 3],
            3 => plane(a, b) / 5.0 + heights[a] + heights[b],
            _ => heavy(a, b),
        })
    })
}

/// At each time: the median and the 95th percentile of the error, as a share of the true time; and the median error.
fn measure(seed: u64, world: usize, nodes: usize, time: Duration, jitter: Duration) -> Vec<[f64; 4]> {
    let mut rng = draws(seed, 0x6d61_7073, world as u64);
    let way = distance(seed, world, nodes, &mut rng);
    let all = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
    let pairs: Vec<(At, At)> = if nodes * (nodes - 1) / 2 <= PAIRS {
        all.collect()
    } else {
        let mut pair = || (rng.below(nodes), rng.below(nodes));
        std::iter::repeat_with(&mut pair).filter(|(a, b)| a != b).take(PAIRS).collect()
    };
    let mut sim = Sim::new(seed);
    sim.network = Network::flat(Link { latency: Latency::Fixed(Duration::ZERO), jitter, ..Link::lan() });
    sim.network.set_distance(way.clone());
    for at in 0..nodes {
        sim.add(Sim::lan(at)).expect("settings that work");
    }
    sim.acquaint();
    let mut course = Vec::new();
    let began = sim.now();
    let mut next = Duration::from_secs(30);
    while next <= time {
        let until = began + next;
        while sim.advance(until).is_some() {}
        let coordinates: Vec<_> =
            (0..nodes).map(|at| sim.node(at).and_then(serf_core::Node::coordinate)).collect();
        let (mut errors, mut absolute) = (Vec::new(), Vec::new());
        for &(a, b) in &pairs {
            let (Some(one), Some(other)) = (&coordinates[a], &coordinates[b]) else { continue };
            let truth = (way(a, b) + way(b, a) + jitter).as_secs_f64();
            let error = (one.distance_to(other).as_secs_f64() - truth).abs();
            errors.push(error / truth);
            absolute.push(error * 1e3);
        }
        course.push([
            next.as_secs_f64(),
            quantile(&mut errors, 0.5),
            quantile(&mut errors, 0.95),
            quantile(&mut absolute, 0.5),
        ]);
        next = next.mul_f64(2.0).max(next + Duration::from_secs(30));
    }
    course
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, time, jitter) = (args.list::<usize>("sizes")?, args.time("for")?, args.time("jitter")?);
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    if sizes.iter().any(|n| *n < 2) || time < Duration::from_secs(30) {
        return Err(args.wrong("sizes", "at least 2 nodes, for 30 s or more"));
    }
    let cases: Vec<(usize, usize)> =
        sizes.iter().flat_map(|&size| (0..WORLDS.len()).map(move |world| (size, world))).collect();
    let progress = Progress::new("coordinates", cases.len());
    let results = side_by_side(jobs, cases.len(), |i| {
        let course = measure(seed, cases[i].1, cases[i].0, time, jitter);
        progress.tick();
        course
    });
    let mut report = Report::new(
        "coordinates",
        &["nodes", "world", "after, s", "error, median %", "error, 95 % of pairs, %", "error, median ms"],
    );
    for ((nodes, world), course) in cases.iter().zip(&results) {
        let world = WORLDS[*world];
        for &[after, median, most, absolute] in course {
            report.row(vec![
                json!(nodes),
                json!(world),
                real(after),
                real(100.0 * median),
                real(100.0 * most),
                real(absolute),
            ]);
            let line = if sizes.len() == 1 { world.to_owned() } else { format!("{nodes} nodes, {world}") };
            report.plot.point(&line, after, 100.0 * median);
        }
    }
    report.plot.x = "seconds";
    report.plot.y = "median error in percent of the true round trip";
    report.plot.log = (true, true);
    Ok(report)
}
