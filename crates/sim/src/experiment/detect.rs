//! How soon a crash is noticed, and by all.

use std::time::Duration;

use serde_json::json;
use serf_core::MemberEventKind::Failed;

use super::steady::formed_as;
use super::{Experiment, PROFILE, about, jobs, mean, profile, quantile, real};
use crate::Link;
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};

pub(super) const DETECT: Experiment = Experiment {
    name: "detect",
    about: "The time from a crash to its first and to its full detection, against the size of the cluster.",
    flags: &[
        PROFILE,
        Flag { name: "sizes", default: "10,32,100,316,1000", help: "nodes" },
        Flag { name: "runs", default: "20", help: "crashes for each size" },
        Flag { name: "loss", default: "0", help: "share of packets that are lost" },
    ],
    run,
};

/// How long after a crash somebody knows; None where that took too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detection {
    pub(super) first: Option<Duration>,
    pub(super) all: Option<Duration>,
}

/// Has one of the nodes lose its power, and waits until all others know.
pub(super) fn crash(mut sim: crate::Sim) -> Detection {
    let nodes = sim.len();
    sim.run(Duration::from_secs(3));
    let victim = nodes / 2;
    sim.power_off(victim);
    let (began, name) = (sim.now(), sim.name(victim));
    let (mut told, mut first) = (0, None);
    while let Some((_, event)) = sim.advance(began + Duration::from_secs(300)) {
        if about(&event, Failed).any(|who| *who == name) {
            told += 1;
            let passed = sim.now().since(began);
            first = first.or(Some(passed));
            if told == nodes - 1 {
                return Detection { first, all: Some(passed) };
            }
        }
    }
    Detection { first, all: None }
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, runs, loss) =
        (args.list::<usize>("sizes")?, args.get::<usize>("runs")?, args.get::<f64>("loss")?);
    let profile = profile(args)?;
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    if sizes.iter().any(|n| *n < 2) || runs == 0 {
        return Err(args.wrong("sizes", "at least 2 nodes, and one run"));
    }
    let progress = Progress::new("detect", sizes.len() * runs);
    // The largest first: they take longest.
    let results = side_by_side(jobs, sizes.len() * runs, |i| {
        let i = sizes.len() * runs - 1 - i;
        let result = crash(formed_as(profile, seed + i as u64, sizes[i / runs], Link::lossy(loss)));
        progress.tick();
        result
    });
    let mut report = Report::new(
        "detect",
        &["nodes", "first, mean s", "first, 95 % s", "all, mean s", "all, 95 % s", "not by all"],
    );
    for (at, size) in sizes.iter().enumerate() {
        let from = (sizes.len() - 1 - at) * runs;
        let results = &results[from..from + runs];
        let mut first: Vec<f64> = results.iter().filter_map(|r| r.first).map(|t| t.as_secs_f64()).collect();
        let mut all: Vec<f64> = results.iter().filter_map(|r| r.all).map(|t| t.as_secs_f64()).collect();
        let (first_mean, all_mean) = (mean(first.iter().copied()), mean(all.iter().copied()));
        report.plot.point("first", *size as f64, first_mean);
        report.plot.point("all", *size as f64, all_mean);
        report.row(vec![
            json!(size),
            real(first_mean),
            real(quantile(&mut first, 0.95)),
            real(all_mean),
            real(quantile(&mut all, 0.95)),
            json!(runs - all.len()),
        ]);
    }
    report.plot.x = "nodes";
    report.plot.y = "seconds";
    report.plot.log = (true, false);
    Ok(report)
}
