//! How news spreads: a join, a leave, a user event, beside the logistic model of gossip.

use std::time::Duration;

use serde_json::{Value, json};
use serf_core::MemberEventKind::{Join, Leave};
use serf_core::{Command, Event};

use super::steady::formed;
use super::{Experiment, Spread, about, jobs, listen, mean, real};
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

/// What spreads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A user event with a payload of 32 bytes, fired by the first node.
    Event,
    /// The first node leaves.
    Leave,
    /// One more node, with the usual settings, joins the first.
    Join,
}

const ALL: [News; 3] = [News::Event, News::Leave, News::Join];

impl News {
    fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Leave => "leave",
            Self::Join => "join",
        }
    }
}

/// Makes news, and waits until all others have heard it, ten minutes at most. `each` is called after every simulated
/// second.
///
/// # Panics
/// If there are no nodes.
pub fn spread(sim: &mut Sim, news: News, each: &mut dyn FnMut()) -> Spread {
    let nodes = sim.len();
    sim.run(Duration::from_secs(2));
    let (subject, wanted) = match news {
        News::Join => (sim.add(Sim::lan(nodes)).expect("settings that work"), nodes),
        _ => (0, nodes - 1),
    };
    let name = sim.name(subject);
    while sim.take_event().is_some() {}
    match news {
        News::Event => sim.command(0, |id| Command::UserEvent {
            id,
            name: "deploy".into(),
            payload: vec![0; 32],
            coalesce: false,
        }),
        News::Leave => sim.command(0, |id| Command::Leave { id }),
        News::Join => sim.join(subject, 0),
    };
    let mut spread = Spread { times: Vec::new(), wanted };
    let heard = |at, event: &Event, passed| {
        let heard = match news {
            News::Event => matches!(event, Event::User(_)),
            News::Leave => about(event, Leave).any(|who| *who == name),
            News::Join => about(event, Join).any(|who| *who == name),
        };
        if heard && at != subject {
            spread.times.push(passed);
        }
        spread.times.len() == wanted
    };
    listen(sim, LIMIT, heard, each);
    spread
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
            for kind in ALL {
                cases.extend((0..runs).map(|run| (size, loss, kind, run)));
            }
        }
    }
    let progress = Progress::new("converge", cases.len());
    let results = side_by_side(jobs, cases.len(), |i| {
        let (size, loss, kind, run) = cases[i];
        let times = spread(&mut formed(seed + run as u64, size, Link::lossy(loss)), kind, &mut || {});
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
        for kind in ALL {
            for &loss in &losses {
                let of = |i: usize| (cases[i].0, cases[i].1, cases[i].2) == (size, loss, kind);
                let mine: Vec<&Spread> = (0..cases.len()).filter(|i| of(*i)).map(|i| &results[i]).collect();
                let wanted = if kind == News::Join { size } else { size - 1 };
                // Until this share had heard; None if a run never came so far.
                let until = |share: f64| {
                    let times: Option<Vec<f64>> =
                        mine.iter().map(|s| s.until(share).map(|t| t.as_secs_f64())).collect();
                    times.map_or(Value::Null, |times| real(mean(times.into_iter())))
                };
                // What comes after a pause of seconds did not come by gossip.
                let late = |spread: &&Spread| {
                    let gossip = Duration::from_secs(10);
                    (wanted - spread.times.iter().filter(|t| **t <= gossip).count()) as f64 / wanted as f64
                };
                let rounds = |share| model(size, loss, config.gossip_nodes as f64, share) * round;
                report.row(vec![
                    json!(kind.name()),
                    json!(size),
                    json!(loss),
                    until(0.5),
                    until(0.99),
                    until(1.0),
                    real(mean(mine.iter().map(late))),
                    real(rounds(0.5)),
                    real(rounds(0.99)),
                ]);
                if kind == News::Event && Some(&size) == sizes.last() {
                    let line = format!("measured, loss {loss}");
                    for percent in 1..=100 {
                        let share = percent as f64 / 100.0;
                        let times = mine.iter().filter_map(|s| s.until(share)).map(|t| t.as_secs_f64());
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
