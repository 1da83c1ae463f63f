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
        Flag { name: "nodes", default: "100", help: "nodes" },
        Flag { name: "for", default: "30m", help: "simulated time" },
        Flag { name: "jitter", default: "200us", help: "most that each way takes longer than it must" },
    ],
    run,
};

const WORLDS: [&str; 5] = ["grid, 5 ms apart", "plane, 100 ms wide", "three zones", "heights", "heavy tail"];

/// One way between two nodes.
fn distance(world: usize, nodes: usize, rng: &mut Rng) -> Distance {
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
    let heavy: Vec<f64> = (0..nodes * nodes)
        .map(|_| Latency::LogNormal { median: ms(20.0), sigma: 0.8 }.draw(rng).as_secs_f64() * 1e3)
        .collect();
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
            _ => heavy[a.min(b) * nodes + a.max(b)],
        })
    })
}

/// At each time: the median and the 95th percentile of the error, as a share of the true time; and the median error.
fn measure(seed: u64, world: usize, nodes: usize, time: Duration, jitter: Duration) -> Vec<[f64; 4]> {
    let mut rng = draws(seed, 0x6d61_7073, world as u64);
    let way = distance(world, nodes, &mut rng);
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
        for (a, one) in coordinates.iter().enumerate() {
            for (b, other) in coordinates.iter().enumerate().skip(a + 1) {
                let (Some(one), Some(other)) = (one, other) else { continue };
                let truth = (way(a, b) + way(b, a) + jitter).as_secs_f64();
                let error = (one.distance_to(other).as_secs_f64() - truth).abs();
                errors.push(error / truth);
                absolute.push(error * 1e3);
            }
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
    let (nodes, time, jitter) = (args.get::<usize>("nodes")?, args.time("for")?, args.time("jitter")?);
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    if nodes < 2 || time < Duration::from_secs(30) {
        return Err(args.wrong("nodes", "at least 2, for 30 s or more"));
    }
    let progress = Progress::new("coordinates", WORLDS.len());
    let results = side_by_side(jobs, WORLDS.len(), |world| {
        let course = measure(seed, world, nodes, time, jitter);
        progress.tick();
        course
    });
    let mut report = Report::new(
        "coordinates",
        &["world", "after, s", "error, median %", "error, 95 % of pairs, %", "error, median ms"],
    );
    for (world, course) in WORLDS.iter().zip(&results) {
        for &[after, median, most, absolute] in course {
            report.row(vec![
                json!(world),
                real(after),
                real(100.0 * median),
                real(100.0 * most),
                real(absolute),
            ]);
            report.plot.point(world, after, 100.0 * median);
        }
    }
    report.plot.x = "seconds";
    report.plot.y = "median error in percent of the true round trip";
    report.plot.log = (true, true);
    Ok(report)
}
