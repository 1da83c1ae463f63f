//! Many leave at once: what that costs the others, and when it is over.

use std::time::Duration;

use serde_json::json;
use serf_core::Command;
use serf_core::MemberEventKind::{Failed, Leave};

use super::steady::formed;
use super::{Experiment, about, jobs, real};
use crate::Link;
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};

pub(super) const STORM: Experiment = Experiment {
    name: "storm",
    about: "A tenth of the nodes leave at once: queue lengths, packets, and the time until all others know.",
    flags: &[
        Flag { name: "sizes", default: "100,1000", help: "nodes" },
        Flag { name: "share", default: "0.1", help: "share of the nodes that leave" },
        Flag { name: "loss", default: "0", help: "share of packets that are lost" },
    ],
    run,
};

struct Storm {
    settled: Option<Duration>,
    calm: Option<Duration>,
    told_failed: u64,
    intents: usize,
    news: usize,
    datagrams: f64,
    bytes: f64,
    course: Vec<(f64, f64)>,
}

fn storm(seed: u64, nodes: usize, leaving: usize, loss: f64) -> Storm {
    let mut sim = formed(seed, nodes, Link::lossy(loss));
    sim.run(Duration::from_secs(5));
    while sim.take_event().is_some() {}
    let (began, before) = (sim.now(), sim.traffic());
    (0..leaving).for_each(|at| {
        sim.command(at, |id| Command::Leave { id });
    });
    let wanted = (leaving * (nodes - leaving)) as u64;
    let (mut left, mut told_failed, mut settled, mut calm) = (0, 0, None, None);
    let (mut intents, mut news, mut course) = (0, 0, Vec::new());
    let mut gone = false;
    while sim.now().since(began) < Duration::from_secs(900) && calm.is_none() {
        let until = sim.now() + Duration::from_millis(200);
        while let Some((at, event)) = sim.advance(until) {
            if at < leaving {
                continue;
            }
            left += about(&event, Leave).count() as u64;
            told_failed += about(&event, Failed).count() as u64;
            if left >= wanted && settled.is_none() {
                settled = Some(sim.now().since(began));
            }
        }
        // Those who left end when a driver would: after their farewell has had its time.
        if !gone && sim.now().since(began) > Duration::from_secs(10) {
            gone = true;
            (0..leaving).for_each(|at| sim.power_off(at));
        }
        let (mut longest, mut total) = (0, 0);
        for node in (leaving..nodes).filter_map(|at| sim.node(at)) {
            let queued = node.vitals().intent_queue;
            longest = longest.max(queued);
            news = news.max(node.gossip().queued());
            total += queued + node.gossip().queued();
        }
        intents = intents.max(longest);
        course.push((sim.now().since(began).as_secs_f64(), total as f64 / (nodes - leaving) as f64));
        if settled.is_some() && total == 0 {
            calm = Some(sim.now().since(began));
        }
    }
    let traffic = sim.traffic();
    let each = |n: u64| n as f64 / nodes as f64;
    Storm {
        settled,
        calm,
        told_failed,
        intents,
        news,
        datagrams: each(traffic.datagrams - before.datagrams),
        bytes: each(
            traffic.datagram_bytes + traffic.stream_bytes - before.datagram_bytes - before.stream_bytes,
        ),
        course,
    }
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (sizes, share, loss) =
        (args.list::<usize>("sizes")?, args.get::<f64>("share")?, args.get::<f64>("loss")?);
    let (seed, jobs) = (args.get::<u64>("seed")?, jobs(args)?);
    let progress = Progress::new("storm", sizes.len());
    let results = side_by_side(jobs, sizes.len(), |i| {
        let leaving = ((sizes[i] as f64 * share) as usize).clamp(1, sizes[i].max(2) - 1);
        let result = storm(seed, sizes[i], leaving, loss);
        progress.tick();
        result
    });
    let mut report = Report::new(
        "storm",
        &[
            "nodes",
            "all know, s",
            "queues empty, s",
            "told as failed",
            "longest intent queue",
            "longest queue of news",
            "datagrams/node",
            "KiB/node",
        ],
    );
    for (size, r) in sizes.iter().zip(&results) {
        let time = |t: Option<Duration>| real(t.map_or(f64::NAN, |t| t.as_secs_f64()));
        report.row(vec![
            json!(size),
            time(r.settled),
            time(r.calm),
            json!(r.told_failed),
            json!(r.intents),
            json!(r.news),
            real(r.datagrams),
            real(r.bytes / 1024.0),
        ]);
        for (x, y) in r.course.iter().filter(|(x, _)| *x <= 60.0) {
            report.plot.point(&format!("{size} nodes"), *x, *y);
        }
    }
    report.plot.x = "seconds";
    report.plot.y = "messages queued at a node, mean";
    Ok(report)
}
