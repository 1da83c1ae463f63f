//! The false-positive experiment of the Lifeguard paper: some nodes stop handling messages again and again. How many
//! healthy ones are declared dead for it, with which of the extensions?

use std::time::Duration;

use serde_json::json;
use serf_core::MemberEventKind::Failed;

use super::detect::{LIMIT, crash};
use super::{Experiment, PROFILE, Profile, about, jobs, mean, place, profile, real};
use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::work::{Progress, side_by_side};
use crate::{Link, Network, Sim, Stall};

pub(super) const LIFEGUARD: Experiment = Experiment {
    name: "lifeguard",
    about: "False positives while some nodes stall, with the Lifeguard extensions one by one.",
    flags: &[
        PROFILE,
        Flag { name: "nodes", default: "128", help: "nodes" },
        Flag { name: "stalled", default: "1,16,32", help: "how many stall, all at the same times" },
        Flag {
            name: "stalls",
            default: "128ms,512ms,2048ms,8192ms,16384ms,32768ms",
            help: "lengths of a stall",
        },
        Flag {
            name: "gaps",
            default: "1ms,4ms,16ms,64ms,256ms,1024ms,4096ms,16384ms",
            help: "times between two stalls",
        },
        Flag { name: "full", default: "false", help: "the paper's nine numbers of stalling nodes" },
        Flag {
            name: "for",
            default: "120s",
            help: "simulated time in which stalls begin, after 15 s of rest",
        },
        Flag { name: "runs", default: "1", help: "runs for each point of the grid" },
        Flag {
            name: "how",
            default: "blocked",
            help: "blocked: runs until it sends, looks at deadlines before it reads; deaf: deadlines run while messages wait; frozen: nothing runs",
        },
        Flag {
            name: "handling",
            default: "2us",
            help: "time that a stalling node takes over each message afterwards",
        },
        Flag { name: "suspicion-mult", default: "5", help: "as in the paper; today's default is 4" },
    ],
    run,
};

/// Name, most of the health score, longest suspicion, buddy.
const VARIANTS: [(&str, u32, u32, bool); 5] = [
    ("SWIM", 1, 1, false),
    ("LHA-Probe", 8, 1, false),
    ("LHA-Suspicion", 1, 6, false),
    ("Buddy", 1, 1, true),
    ("Lifeguard", 8, 6, true),
];

/// Sums of the paper: false positives, those at healthy members, messages in percent of SWIM's.
const PUBLISHED: [(u64, u64, f64); 5] = [
    (339_002, 1_326, 100.0),
    (229_574, 436, 98.5),
    (10_174, 89, 111.3),
    (318_935, 591, 100.1),
    (5_193, 25, 110.6),
];

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: u64,
    healthy: u64,
    messages: u64,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    variant: usize,
    stalled: usize,
    stall: Duration,
    gap: Duration,
    seed: u64,
}

struct Setting {
    profile: Profile,
    nodes: usize,
    time: Duration,
    how: Stall,
    handling: Duration,
    suspicion_mult: u32,
}

impl Setting {
    fn cluster(&self, variant: usize, seed: u64) -> Sim {
        let (_, awareness, suspicion, buddy) = VARIANTS[variant];
        let mut sim = Sim::new(seed);
        sim.network = Network::flat(Link::lan());
        for at in 0..self.nodes {
            let mut config = Sim::profiled(at, self.profile);
            config.gossip.awareness_max_multiplier = awareness;
            config.gossip.suspicion_max_timeout_mult = suspicion;
            config.gossip.suspicion_mult = self.suspicion_mult;
            config.gossip.buddy = buddy;
            // A third of the work, and no part of the question.
            config.gossip.compression = false;
            sim.add(config).expect("settings that work");
        }
        sim.acquaint();
        sim
    }

    fn play(&self, point: Point) -> Count {
        let mut sim = self.cluster(point.variant, point.seed);
        let mut count = Count::default();
        sim.run(Duration::from_secs(15));
        while sim.take_event().is_some() {}
        let (began, before) = (sim.now(), sim.traffic().datagrams);
        (0..point.stalled).for_each(|at| sim.set_handling(at, self.handling));
        let mut listen = |sim: &mut Sim, time: Duration| {
            let until = sim.now() + time;
            while let Some((at, event)) = sim.advance(until) {
                let wronged = about(&event, Failed).filter_map(place).filter(|who| *who >= point.stalled);
                let wronged = wronged.count() as u64;
                count.all += wronged;
                count.healthy += if at >= point.stalled { wronged } else { 0 };
            }
        };
        while sim.now().since(began) < self.time {
            (0..point.stalled).for_each(|at| sim.stall(at, self.how));
            listen(&mut sim, point.stall);
            (0..point.stalled).for_each(|at| sim.resume(at));
            listen(&mut sim, point.gap);
        }
        count.messages = sim.traffic().datagrams - before;
        count
    }
}

fn run(args: &Args) -> Result<Report, ArgsError> {
    let (mut stalled, stalls, gaps) =
        (args.list::<usize>("stalled")?, args.times("stalls")?, args.times("gaps")?);
    if args.is("full")? {
        stalled = vec![1, 4, 8, 12, 16, 20, 24, 28, 32];
    }
    let how = match args.text("how") {
        "deaf" => Stall::Deaf,
        "blocked" => Stall::Blocked,
        "frozen" => Stall::Frozen,
        _ => return Err(args.wrong("how", "deaf, blocked or frozen")),
    };
    let setting = Setting {
        nodes: args.get("nodes")?,
        time: args.time("for")?,
        how,
        handling: args.time("handling")?,
        profile: profile(args)?,
        suspicion_mult: args.get("suspicion-mult")?,
    };
    if stalled.iter().any(|c| *c >= setting.nodes) || stalls.iter().any(Duration::is_zero) {
        return Err(args.wrong("stalled", "fewer than there are nodes, and stalls that last"));
    }
    let (seed, runs, jobs) = (args.get::<u64>("seed")?, args.get::<u64>("runs")?, jobs(args)?);
    let mut points = Vec::new();
    for variant in 0..VARIANTS.len() {
        for &stalled in &stalled {
            for &stall in &stalls {
                for &gap in &gaps {
                    points.extend((0..runs).map(|run| Point {
                        variant,
                        stalled,
                        stall,
                        gap,
                        seed: seed + run,
                    }));
                }
            }
        }
    }
    let progress = Progress::new("lifeguard", points.len());
    let counts = side_by_side(jobs, points.len(), |i| {
        let count = setting.play(points[i]);
        progress.tick();
        count
    });
    let mut report = Report::new(
        "lifeguard",
        &[
            "variant",
            "false positives",
            "%",
            "published %",
            "at healthy members",
            "%",
            "published %",
            "messages %",
            "published %",
            "crash: first, s",
            "crash: all, s",
        ],
    );
    let sum = |variant: usize, stalled: Option<usize>| {
        let mine = points
            .iter()
            .zip(&counts)
            .filter(|(p, _)| p.variant == variant && stalled.is_none_or(|stalled| p.stalled == stalled));
        mine.fold(Count::default(), |sum, (_, count)| Count {
            all: sum.all + count.all,
            healthy: sum.healthy + count.healthy,
            messages: sum.messages + count.messages,
        })
    };
    let base = sum(0, None);
    let percent = |n: u64, of: u64| real(100.0 * n as f64 / of as f64);
    for (variant, (name, ..)) in VARIANTS.iter().enumerate() {
        let (mine, published) = (sum(variant, None), PUBLISHED[variant]);
        // A true failure in a cluster that is well, beside what it costs to be careful.
        let crashes = side_by_side(jobs, 20, |i| {
            crash(&mut setting.cluster(variant, seed + i as u64), LIMIT, &mut || {})
        });
        let seconds =
            |share| real(mean(crashes.iter().filter_map(|c| c.until(share)).map(|t| t.as_secs_f64())));
        report.row(vec![
            json!(name),
            json!(mine.all),
            percent(mine.all, base.all),
            percent(published.0, PUBLISHED[0].0),
            json!(mine.healthy),
            percent(mine.healthy, base.healthy),
            percent(published.1, PUBLISHED[0].1),
            percent(mine.messages, base.messages),
            real(published.2),
            seconds(0.0),
            seconds(1.0),
        ]);
        for &stalled in &stalled {
            report.plot.point(name, stalled as f64, sum(variant, Some(stalled)).all as f64);
        }
    }
    report.notes.push(format!("{} runs in all", points.len()));
    report.plot.x = "stalling nodes";
    report.plot.y = "false positives";
    report.plot.log = (false, true);
    Ok(report)
}
