//! How soon a crash is noticed, and by all.

use std::time::Duration;

use serde_json::json;
use serf_core::MemberEventKind::Failed;
use serf_core::{Event, Status};

use super::steady::formed_as;
use super::{Experiment, PROFILE, Spread, about, jobs, listen, mean, profile, quantile, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{At, Link, Sim};

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

/// A crash that is not known to all by then is given up.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

/// Has one of the nodes lose its power, and waits until all others know it to have failed, or until a limit. `each` is
/// called after every simulated second.
pub fn crash(sim: &mut Sim, limit: Duration, each: &mut dyn FnMut()) -> Spread {
    let nodes = sim.len();
    sim.run(Duration::from_secs(3));
    // One whom nobody takes for failed already.
    let sound = |of: &At| (0..nodes).all(|at| sim.status(at, *of) == Status::Alive);
    let victim = (0..nodes).map(|i| (nodes / 2 + i) % nodes).find(sound).unwrap_or(nodes / 2);
    sim.power_off(victim);
    let name = sim.name(victim);
    let mut spread = Spread { times: Vec::new(), wanted: nodes - 1 };
    let heard = |_, event: &Event, passed| {
        if about(event, Failed).any(|who| *who == name) {
            spread.times.push(passed);
        }
        spread.times.len() == nodes - 1
    };
    listen(sim, limit, heard, each);
    spread
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
        let mut sim = formed_as(profile, seed + i as u64, sizes[i / runs], Link::lossy(loss));
        let result = crash(&mut sim, LIMIT, &mut || {});
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
        let until = |share| -> Vec<f64> {
            results.iter().filter_map(|r| r.until(share)).map(|t| t.as_secs_f64()).collect()
        };
        let (mut first, mut all) = (until(0.0), until(1.0));
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
