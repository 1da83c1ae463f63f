//! The same story more than once: is it the same, to the byte?

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use serf_core::Command;

use super::steady::formed;
use super::{Experiment, jobs, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{Fault, Latency, Link, Sim, Stall};

pub(super) const REPEAT: Experiment = Experiment {
    name: "repeat",
    about: "A story with faults of every kind, told several times from one seed, beside its digests.",
    flags: &[
        Flag { name: "nodes", default: "100", help: "nodes, at least 20" },
        Flag { name: "runs", default: "2", help: "how often it is told" },
    ],
    run,
};

/// Slow with a heavy tail, and everything that can become of a packet.
fn bad_link() -> Link {
    Link {
        latency: Latency::LogNormal { median: Duration::from_millis(5), sigma: 0.8 },
        loss: 0.1,
        duplication: 0.05,
        reordering: 0.1,
        bandwidth: Some(1_000_000),
        mtu: Some(1400),
        ..Link::lan()
    }
}

/// One node in twenty has each kind of trouble; the cluster is cut in two for a while, and half of those that are down
/// come back.
fn tell(seed: u64, nodes: usize) -> Sim {
    let seconds = Duration::from_secs;
    let mut sim = formed(seed, nodes, bad_link());
    sim.run(seconds(2));
    for at in 0..nodes {
        match at % 20 {
            0 => sim.kill(at),
            1 => sim.power_off(at),
            2 => sim.stall_for(at, Stall::Deaf, seconds(15)),
            3 => sim.stall_for(at, Stall::Frozen, seconds(15)),
            4 => sim.set_pace(at, 50_000),
            5 => sim.set_handling(at, Duration::from_millis(3)),
            6 => sim.network.set_fault(at, Fault { loss_out: 0.8, loss_in: 0.0 }),
            7 => drop(sim.command(at, |id| Command::Leave { id })),
            8 => drop(sim.command(at, |id| Command::UserEvent {
                id,
                name: "deploy".into(),
                payload: vec![0; 32],
                coalesce: false,
            })),
            _ => {}
        }
    }
    sim.run(seconds(15));
    (0..nodes).for_each(|at| sim.network.set_part(at, u32::from(at % 2 == 0)));
    sim.run(seconds(10));
    sim.network.heal();
    for at in (0..nodes).step_by(40) {
        sim.start(at).expect("settings that have worked");
        sim.join(at, 9);
    }
    sim.run(seconds(15));
    sim
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (nodes, runs, seed) =
        (args.get::<usize>("nodes")?, args.get::<usize>("runs")?, args.get::<u64>("seed")?);
    if nodes < 20 || runs == 0 {
        return Err(args.wrong("nodes", "at least 20 nodes, and one run"));
    }
    let progress = Progress::new("repeat", runs);
    let told = side_by_side(jobs(args)?, runs, |_| {
        let sim = tell(seed, nodes);
        progress.tick();
        (sim.digest(), sim.traffic(), sim.elapsed())
    });
    let mut report = Report::new("repeat", &["run", "nodes", "simulated s", "delivered", "lost", "digest"]);
    for (i, (digest, traffic, elapsed)) in told.iter().enumerate() {
        report.row(vec![
            json!(i + 1),
            json!(nodes),
            real(elapsed.as_secs_f64()),
            json!(traffic.delivered),
            json!(traffic.lost),
            json!(format!("{digest:016x}")),
        ]);
        report.plot.point("delivered", (i + 1) as f64, traffic.delivered as f64);
    }
    let different = told.iter().map(|(digest, ..)| digest).collect::<BTreeSet<_>>().len();
    report.notes.push(if different == 1 {
        "all the same".into()
    } else {
        format!("{different} different stories")
    });
    (report.plot.x, report.plot.y) = ("run", "datagrams delivered");
    Ok(report)
}
