//! How news spreads: a join, a leave, a user event, beside the logistic model of gossip.

use std::time::Duration;

use serde_json::{Value, json};
use serf_core::MemberEventKind::{Join, Leave};
use serf_core::{Command, Event};

use super::steady::formed;
use super::{Experiment, about, jobs, mean, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{Link, Sim};

pub(super) const CONVERGE: Experiment = Experiment {
    name: "converge",
    about: "The time for a join, a leave and an event to reach all, against size and loss, beside the logistic model.",
    flags: &[
        Flag { name: "sizes", default: "10,100,1000", help: "nodes" },
        Flag { name: "losses", default: "0,0.1,0.3", help: "shares of packets that are lost" },
        Flag { name: "runs", default: "5", help: "runs for each" },
    ],
    run,
};

/// By gossip news are everywhere in seconds; what it misses waits for an exchange of full states, minutes apart.
const LIMIT: Duration = Duration::from_secs(600);
const KINDS: [&str; 3] = ["event", "leave", "join"];

/// When each of the others had heard it, from the beginning, in order.
fn spread(kind: &str, seed: u64, nodes: usize, loss: f64) -> Vec<Duration> {
    let mut sim = formed(seed, nodes, Link::lossy(loss));
    sim.run(Duration::from_secs(2));
    let subject = if kind == "join" { sim.add(Sim::lan(nodes)).expect("settings that work") } else { 0 };
    let (began, name) = (sim.now(), sim.name(subject));
    while sim.take_event().is_some() {}
    match kind {
        "event" => sim.command(0, |id| Command::UserEvent {
            id,
            name: "deploy".into(),
            payload: vec![0; 32],
            coalesce: false,
        }),
        "leave" => sim.command(0, |id| Command::Leave { id }),
        _ => sim.join(subject, 0),
    };
    let mut times = Vec::new();
    let wanted = if kind == "join" { nodes } else { nodes - 1 };
    while let Some((at, event)) = sim.advance(began + LIMIT) {
        let heard = match kind {
            "event" => matches!(event, Event::User(_)),
            "leave" => about(&event, Leave).any(|who| *who == name),
            _ => about(&event, Join).any(|who| *who == name),
        };
        if heard && at != subject {
            times.push(sim.now().since(began));
            if times.len() == wanted {
                break;
            }
        }
    }
    times
}

/// Rounds until this share has heard, by the logistic model.
fn model(nodes: usize, loss: f64, fan_out: f64, share: f64) -> f64 {
    let n = nodes as f64;
    let contact = fan_out / n * (1.0 - loss) * 0.5;
    libm::log((n + 1.0) / (1.0 / share - 1.0)) / (contact * n)
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, losses) = (args.list::<usize>("sizes")?, args.list::<f64>("losses")?);
    let (runs, seed, jobs) = (args.get::<usize>("runs")?, args.get::<u64>("seed")?, jobs(args)?);
    if sizes.iter().any(|n| *n < 2) || runs == 0 {
        return Err(args.wrong("sizes", "at least 2 nodes, and one run"));
    }
    let mut cases = Vec::new();
    for &size in sizes.iter().rev() {
        for &loss in &losses {
            for kind in KINDS {
                cases.extend((0..runs).map(|run| (size, loss, kind, run)));
            }
        }
    }
    let progress = Progress::new("converge", cases.len());
    let results = side_by_side(jobs, cases.len(), |i| {
        let (size, loss, kind, run) = cases[i];
        let times = spread(kind, seed + run as u64, size, loss);
        progress.tick();
        times
    });
    let mut report = Report::new(
        "converge",
        &[
            "what",
            "nodes",
            "loss",
            "half, s",
            "99 %, s",
            "all, s",
            "missed by gossip",
            "model: half, s",
            "model: 99 %, s",
        ],
    );
    let config = Sim::lan(0).gossip;
    let round = config.gossip_interval.as_secs_f64();
    for &size in &sizes {
        for kind in KINDS {
            for &loss in &losses {
                let of = |i: usize| (cases[i].0, cases[i].1, cases[i].2) == (size, loss, kind);
                let mine: Vec<&Vec<Duration>> =
                    (0..cases.len()).filter(|i| of(*i)).map(|i| &results[i]).collect();
                let wanted = if kind == "join" { size } else { size - 1 };
                // Until this share had heard; None if a run never came so far.
                let until = |share: f64| {
                    let place = ((wanted as f64 * share).ceil() as usize).clamp(1, wanted) - 1;
                    let times: Option<Vec<f64>> =
                        mine.iter().map(|t| t.get(place).map(Duration::as_secs_f64)).collect();
                    times.map_or(Value::Null, |times| real(mean(times.into_iter())))
                };
                // What comes after a pause of seconds did not come by gossip.
                let late = |times: &&Vec<Duration>| {
                    let gossip = Duration::from_secs(10);
                    (wanted - times.iter().filter(|t| **t <= gossip).count()) as f64 / wanted as f64
                };
                let rounds = |share| model(size, loss, config.gossip_nodes as f64, share) * round;
                report.row(vec![
                    json!(kind),
                    json!(size),
                    json!(loss),
                    until(0.5),
                    until(0.99),
                    until(1.0),
                    real(mean(mine.iter().map(late))),
                    real(rounds(0.5)),
                    real(rounds(0.99)),
                ]);
                if kind == "event" && Some(&size) == sizes.last() {
                    let line = format!("measured, loss {loss}");
                    for percent in 1..=100 {
                        let place = (wanted * percent).div_ceil(100).max(1) - 1;
                        let times = mine.iter().filter_map(|t| t.get(place)).map(Duration::as_secs_f64);
                        report.plot.point(&line, mean(times).min(10.0), percent as f64);
                    }
                    let line = format!("model, loss {loss}");
                    for percent in 1..100 {
                        report.plot.point(&line, rounds(percent as f64 / 100.0), percent as f64);
                    }
                }
            }
        }
    }
    report.plot.x = "seconds after an event was fired";
    report.plot.y = "percent of the nodes";
    Ok(report)
}
