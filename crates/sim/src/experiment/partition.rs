//! A cluster cut in two for long, and healed.

use std::time::Duration;

use serde_json::json;

use super::steady::formed;
use super::{Experiment, jobs, real, seconds};
use crate::Link;
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};

pub(super) const PARTITION: Experiment = Experiment {
    name: "partition",
    about: "A cluster is split for an hour and healed: the time until there is one view again.",
    flags: &[
        Flag { name: "sizes", default: "10,100,1000", help: "nodes" },
        Flag { name: "for", default: "1h", help: "how long it is split" },
        Flag { name: "share", default: "0.5", help: "share of the nodes on the smaller side" },
        Flag { name: "runs", default: "3", help: "runs for each size" },
    ],
    run,
};

struct Healed {
    first: Option<Duration>,
    all: Option<Duration>,
    datagrams: f64,
    course: Vec<(f64, f64)>,
}

fn split(seed: u64, nodes: usize, time: Duration, share: f64) -> Healed {
    let mut sim = formed(seed, nodes, Link::lan());
    sim.run(Duration::from_secs(5));
    let small = ((nodes as f64 * share) as usize).clamp(1, nodes - 1);
    (0..small).for_each(|at| sim.network.set_part(at, 1));
    sim.run(time);
    sim.network.heal();
    let (began, before) = (sim.now(), sim.traffic().datagrams);
    let (mut first, mut course) = (None, Vec::new());
    // Members that a node does not take for alive, or has forgotten, as a share of those that it could not see.
    let missing = |sim: &crate::Sim| {
        let vitals = (0..nodes).filter_map(|at| sim.node(at)).map(serf_core::Node::vitals);
        let known: usize = vitals.map(|seen| seen.members - seen.failed - seen.left).sum();
        (nodes * nodes - known) as f64 / (2 * small * (nodes - small)) as f64
    };
    let all = sim.until(Duration::from_secs(3600), Duration::from_millis(500), |sim| {
        let (share, passed) = (missing(sim), sim.now().since(began));
        if share < 1.0 && first.is_none() {
            first = Some(passed);
        }
        course.push((passed.as_secs_f64(), 100.0 * (1.0 - share)));
        share == 0.0
    });
    Healed { first, all, datagrams: (sim.traffic().datagrams - before) as f64 / nodes as f64, course }
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, runs) = (args.list::<usize>("sizes")?, args.get::<usize>("runs")?);
    let (time, share) = (args.time("for")?, args.get::<f64>("share")?);
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    if sizes.iter().any(|n| *n < 2) || runs == 0 {
        return Err(args.wrong("sizes", "at least 2 nodes, and one run"));
    }
    let progress = Progress::new("partition", sizes.len() * runs);
    let results = side_by_side(jobs, sizes.len() * runs, |i| {
        let i = sizes.len() * runs - 1 - i;
        let healed = split(seed + i as u64, sizes[i / runs], time, share);
        progress.tick();
        healed
    });
    let mut report = Report::new(
        "partition",
        &["nodes", "first contact, s", "one view, s", "longest, s", "datagrams/node"],
    );
    for (at, size) in sizes.iter().enumerate() {
        let from = (sizes.len() - 1 - at) * runs;
        let results = &results[from..from + runs];
        let first: Vec<Duration> = results.iter().filter_map(|r| r.first).collect();
        let all: Vec<Duration> = results.iter().filter_map(|r| r.all).collect();
        let longest = all.iter().max().map_or(f64::NAN, Duration::as_secs_f64);
        let datagrams = results.iter().map(|r| r.datagrams).sum::<f64>() / runs as f64;
        report.row(vec![json!(size), seconds(&first), seconds(&all), real(longest), real(datagrams)]);
        if all.len() < runs {
            report.notes.push(format!(
                "{} of {runs} runs with {size} nodes: not one view within an hour",
                runs - all.len()
            ));
        }
        for (x, y) in &results[0].course {
            report.plot.point(&format!("{size} nodes"), *x, *y);
        }
    }
    report.plot.x = "seconds after the healing";
    report.plot.y = "percent of the lost members found again";
    Ok(report)
}
