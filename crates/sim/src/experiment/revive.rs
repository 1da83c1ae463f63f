//! Some die while a machine is suspended: does it bring the dead back to life when it goes on, with what it remembers?

use std::time::Duration;

use serde_json::json;
use serf_core::MemberEventKind::{Failed, Join};
use serf_core::Status;

use super::steady::formed;
use super::{Experiment, about, jobs, place, real, seconds};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{Link, Stall};

pub(super) const REVIVE: Experiment = Experiment {
    name: "revive",
    about: "Members die while a machine is suspended: does what it remembers make others take the dead for alive again?",
    flags: &[
        Flag { name: "sizes", default: "10,100", help: "nodes" },
        Flag { name: "dead", default: "1", help: "how many lose their power as it is suspended" },
        Flag { name: "for", default: "10s,30s,2m,5m", help: "times for which it is suspended" },
        Flag { name: "runs", default: "5", help: "runs for each" },
    ],
    run,
};

/// How long after it went on it is watched at most.
const LIMIT: Duration = Duration::from_secs(900);
/// All the dead must be known dead for so long before it is over: an exchange of full states may come late.
const PEACE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, Default)]
struct Revived {
    /// How often one who knew of a death was told that the dead is back.
    told: u64,
    /// The most nodes that took one of the dead for alive after they knew better.
    most: usize,
    /// From then on until all know all of the dead for good.
    known: Option<Duration>,
}

/// The first node neither works nor hears, those after it die, the rest look on.
fn watch(seed: u64, nodes: usize, dead: usize, time: Duration) -> Revived {
    let mut sim = formed(seed, nodes, Link::lan());
    sim.run(Duration::from_secs(5));
    sim.stall(0, Stall::Frozen);
    sim.network.set_part(0, 1);
    (1..=dead).for_each(|at| sim.power_off(at));
    // Who has told whose death.
    let mut knows = vec![vec![false; dead + 1]; nodes];
    let mut revived = Revived::default();
    let (mut listen, mut awake) = (sim.now() + time, None);
    loop {
        while let Some((at, event)) = sim.advance(listen) {
            for who in about(&event, Failed).filter_map(place).filter(|who| (1..=dead).contains(who)) {
                knows[at][who] = true;
            }
            for who in about(&event, Join).filter_map(place).filter(|who| (1..=dead).contains(who)) {
                revived.told += u64::from(knows[at][who]);
            }
        }
        let now = sim.now();
        match awake {
            None => {
                sim.network.heal();
                sim.resume(0);
                awake = Some(now);
            }
            Some(awake) => {
                let wrong = |who: usize| {
                    let others = (dead + 1..nodes).filter(|at| knows[*at][who]);
                    others.filter(|at| sim.status(*at, who) == Status::Alive).count()
                };
                revived.most = revived.most.max((1..=dead).map(wrong).max().unwrap_or(0));
                let lives = |at: usize| (1..=dead).any(|who| sim.status(at, who) == Status::Alive);
                let passed = now.since(awake);
                if (dead + 1..nodes).chain([0]).any(lives) {
                    revived.known = None;
                } else {
                    let since = *revived.known.get_or_insert(passed);
                    if passed - since >= PEACE {
                        return revived;
                    }
                }
                if passed >= LIMIT {
                    revived.known = None;
                    return revived;
                }
            }
        }
        listen = now + Duration::from_millis(500);
    }
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, dead, runs) =
        (args.list::<usize>("sizes")?, args.get::<usize>("dead")?, args.get::<usize>("runs")?);
    let (times, seed, jobs) = (args.times("for")?, args.get::<u64>("seed")?, jobs(args)?);
    if sizes.iter().any(|n| *n < dead + 2) || dead == 0 || runs == 0 {
        return Err(args.wrong("sizes", "two nodes more than die, somebody who dies, and one run"));
    }
    let mut cases = Vec::new();
    for &size in &sizes {
        for &time in &times {
            cases.extend((0..runs).map(|run| (size, time, seed + run as u64)));
        }
    }
    let progress = Progress::new("revive", cases.len());
    let results = side_by_side(jobs, cases.len(), |i| {
        let (size, time, seed) = cases[i];
        let revived = watch(seed, size, dead, time);
        progress.tick();
        revived
    });
    let mut report = Report::new(
        "revive",
        &[
            "nodes",
            "suspended, s",
            "runs",
            "with a revival",
            "told as back",
            "most who were wrong",
            "known dead for good, s",
            "longest, s",
        ],
    );
    for (cases, results) in cases.chunks(runs).zip(results.chunks(runs)) {
        let (size, time, _) = cases[0];
        let known: Vec<Duration> = results.iter().filter_map(|r| r.known).collect();
        let longest = known.iter().max().map_or(f64::NAN, Duration::as_secs_f64);
        report.row(vec![
            json!(size),
            real(time.as_secs_f64()),
            json!(runs),
            json!(results.iter().filter(|r| r.told > 0).count()),
            json!(results.iter().map(|r| r.told).sum::<u64>()),
            json!(results.iter().map(|r| r.most).max()),
            seconds(&known),
            real(longest),
        ]);
        if known.len() < runs {
            report.notes.push(format!(
                "{} of {runs} runs with {size} nodes: not within 15 minutes",
                runs - known.len()
            ));
        }
        let told = results.iter().map(|r| r.told).sum::<u64>() as f64 / runs as f64;
        report.plot.point(&format!("{size} nodes"), time.as_secs_f64(), told);
    }
    report.plot.x = "seconds for which a machine was suspended";
    report.plot.y = "dead members told as back, times a run";
    Ok(report)
}
