//! Connections that are neither good nor gone, as in the evaluation of Rapid: are the nodes behind them removed for
//! good, and do healthy ones suffer?

use std::time::Duration;

use serde_json::json;
use serf_core::MemberEventKind::{Failed, Join};
use serf_core::Status;

use super::steady::formed;
use super::{Experiment, about, jobs, place, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{Fault, Link};

pub(super) const FLIP: Experiment = Experiment {
    name: "flip",
    about: "One node in a hundred with one-way or heavy loss: is it removed for good, does anyone healthy flap?",
    flags: &[
        Flag { name: "sizes", default: "1000", help: "nodes" },
        Flag { name: "share", default: "0.01", help: "share of the nodes with a bad connection" },
        Flag { name: "for", default: "300s", help: "simulated time with the fault" },
        Flag {
            name: "period",
            default: "20s",
            help: "time that a flipping connection is bad, and then good",
        },
    ],
    run,
};

/// What is wrong: its name, the loss out and in, whether it comes and goes.
const FAULTS: [(&str, f64, f64, bool); 5] = [
    ("hears nothing", 0.0, 1.0, false),
    ("is not heard", 1.0, 0.0, false),
    ("80 % lost out", 0.8, 0.0, false),
    ("80 % lost both ways", 0.8, 0.8, false),
    ("hears nothing, on and off", 0.0, 1.0, true),
];

#[derive(Default)]
struct Seen {
    bad_failed: u64,
    bad_back: u64,
    good_failed: u64,
    good_flapping: usize,
    alive_views: f64,
    /// Bad ones taken for alive by healthy ones, as a share, every five seconds.
    course: Vec<(f64, f64)>,
}

fn watch(
    seed: u64,
    nodes: usize,
    bad: usize,
    fault: Fault,
    period: Option<Duration>,
    time: Duration,
) -> Seen {
    let mut sim = formed(seed, nodes, Link::lan());
    sim.run(Duration::from_secs(10));
    while sim.take_event().is_some() {}
    let began = sim.now();
    let mut seen = Seen::default();
    let mut flapped = std::collections::BTreeSet::new();
    let mut on = false;
    let step = Duration::from_secs(5);
    let mut next_flip = began;
    while sim.now() < began + time {
        if sim.now() >= next_flip && (!on || period.is_some()) {
            on = !on;
            next_flip = sim.now() + period.unwrap_or(time);
            (0..bad).for_each(|at| sim.network.set_fault(at, if on { fault } else { Fault::default() }));
        }
        let until = sim.now() + step.min(period.unwrap_or(step));
        while let Some((at, event)) = sim.advance(until) {
            // What the bad ones believe is their trouble.
            if at < bad {
                continue;
            }
            for who in about(&event, Failed).filter_map(place) {
                if who < bad {
                    seen.bad_failed += 1;
                } else {
                    seen.good_failed += 1;
                    flapped.insert(who);
                }
            }
            seen.bad_back += about(&event, Join).filter_map(place).filter(|who| *who < bad).count() as u64;
        }
        let views = (bad..nodes).flat_map(|at| (0..bad).map(move |who| (at, who)));
        let alive = views.filter(|(at, who)| sim.status(*at, *who) == Status::Alive).count();
        seen.alive_views = alive as f64 / (bad * (nodes - bad)) as f64;
        seen.course.push((sim.now().since(began).as_secs_f64(), 100.0 * seen.alive_views));
    }
    seen.good_flapping = flapped.len();
    seen
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, share) = (args.list::<usize>("sizes")?, args.get::<f64>("share")?);
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    let (time, period) = (args.time("for")?, args.time("period")?);
    let bad = |nodes: usize| ((nodes as f64 * share).round() as usize).max(1);
    if sizes.iter().any(|&nodes| bad(nodes) >= nodes) || period.is_zero() {
        return Err(args.wrong("share", "a share that leaves healthy nodes"));
    }
    let cases: Vec<(usize, usize)> =
        sizes.iter().flat_map(|&size| (0..FAULTS.len()).map(move |fault| (size, fault))).collect();
    let progress = Progress::new("flip", cases.len());
    let results = side_by_side(jobs, cases.len(), |i| {
        let (nodes, fault) = cases[i];
        let (_, loss_out, loss_in, flips) = FAULTS[fault];
        let bad_link = Fault { loss_out, loss_in };
        let seen = watch(seed + fault as u64, nodes, bad(nodes), bad_link, flips.then_some(period), time);
        progress.tick();
        seen
    });
    let mut report = Report::new(
        "flip",
        &[
            "nodes",
            "fault",
            "bad nodes",
            "removals/view",
            "returns/view",
            "views with it alive in the end, %",
            "healthy ones declared dead, times",
            "healthy ones that flapped",
        ],
    );
    for (&(nodes, fault), seen) in cases.iter().zip(&results) {
        let (name, bad) = (FAULTS[fault].0, bad(nodes));
        let views = (bad * (nodes - bad)) as f64;
        report.row(vec![
            json!(nodes),
            json!(name),
            json!(bad),
            real(seen.bad_failed as f64 / views),
            real(seen.bad_back as f64 / views),
            real(100.0 * seen.alive_views),
            json!(seen.good_failed),
            json!(seen.good_flapping),
        ]);
        let line = if sizes.len() == 1 { name.to_owned() } else { format!("{nodes} nodes, {name}") };
        for (x, y) in &seen.course {
            report.plot.point(&line, *x, *y);
        }
    }
    report.plot.x = "seconds with the fault";
    report.plot.y = "percent of the views in which a bad node is alive";
    Ok(report)
}
