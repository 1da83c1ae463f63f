//! Experiments: each a question, a setting that answers it, and a report.

mod bootstrap;
mod converge;
mod coordinates;
mod detect;
mod flip;
mod lifeguard;
mod partition;
mod repeat;
mod revive;
mod steady;
mod storm;

pub use converge::{News, spread};
pub use detect::crash;
pub use steady::{Rest, exchange, exchange_interval, formed_like, rest};

use std::time::Duration;

use serde_json::Value;
use serf_core::{Event, MemberEvent, MemberEventKind};
use serf_gossip::{Address, Config, Name};

use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;
use crate::{At, Sim};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// The question that it answers.
    pub about: &'static str,
    /// Its flags, besides [`COMMON`] and those of reports.
    pub flags: &'static [Flag],
    /// Does it.
    pub run: fn(&Args) -> Result<Report, ArgsError>,
}

/// Flags of all experiments.
pub const COMMON: &[Flag] = &[
    Flag { name: "seed", default: "1", help: "the seed of the first run; the others count on from it" },
    Flag { name: "jobs", default: "0", help: "runs side by side; 0 for one on each core" },
];

/// All of them.
pub const EXPERIMENTS: &[Experiment] = &[
    lifeguard::LIFEGUARD,
    detect::DETECT,
    converge::CONVERGE,
    bootstrap::BOOTSTRAP,
    flip::FLIP,
    storm::STORM,
    partition::PARTITION,
    revive::REVIVE,
    coordinates::COORDINATES,
    steady::STEADY,
    repeat::REPEAT,
];

/// The flag of experiments that can be done with other timings.
const PROFILE: Flag = Flag { name: "profile", default: "lan", help: "timings: lan, wan, local or fast" };

type Profile = fn(Name, Address) -> Config;

fn profile(args: &Args) -> Result<Profile, ArgsError> {
    match args.text(PROFILE.name) {
        "lan" => Ok(Config::lan),
        "wan" => Ok(Config::wan),
        "local" => Ok(Config::local),
        "fast" => Ok(Config::fast),
        _ => Err(args.wrong(PROFILE.name, "lan, wan, local or fast")),
    }
}

/// A number with a fraction; null if there is none.
fn real(n: f64) -> Value {
    serde_json::Number::from_f64(n).map_or(Value::Null, Value::Number)
}
fn jobs(args: &Args) -> Result<usize, ArgsError> {
    Ok(match args.get("jobs")? {
        0 => crate::work::default_jobs(),
        jobs => jobs,
    })
}

/// When each of those whom something concerns had heard it, from the beginning, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread {
    /// Of those who have heard it in time.
    pub times: Vec<Duration>,
    /// How many it concerns.
    pub wanted: usize,
}

impl Spread {
    /// Until this share had heard, from 0, which is the first, to 1; None if it did not come so far.
    #[must_use]
    pub fn until(&self, share: f64) -> Option<Duration> {
        let place = ((self.wanted as f64 * share).ceil() as usize).clamp(1, self.wanted.max(1)) - 1;
        self.times.get(place).copied()
    }
}

/// Lets time pass up to a limit, or until `heard` has had enough and returns true. It is called with what the nodes tell,
/// and with the time passed; `each` after every simulated second.
fn listen(
    sim: &mut Sim,
    limit: Duration,
    mut heard: impl FnMut(At, &Event, Duration) -> bool,
    each: &mut dyn FnMut(),
) {
    let began = sim.now();
    let mut passed = Duration::ZERO;
    while passed < limit {
        passed = limit.min(passed + Duration::from_secs(1));
        while let Some((at, event)) = sim.advance(began + passed) {
            if heard(at, &event, sim.now().since(began)) {
                return;
            }
        }
        each();
    }
}

/// The mean in seconds; null where something did not happen.
fn seconds(times: &[Duration]) -> Value {
    real(mean(times.iter().map(Duration::as_secs_f64)))
}

/// What an event tells of members, if it is of this kind.
fn about(event: &Event, wanted: MemberEventKind) -> impl Iterator<Item = &Name> {
    let members = match event {
        Event::Member(MemberEvent { kind, members }) if *kind == wanted => members.as_slice(),
        _ => &[],
    };
    members.iter().map(|member| &member.name)
}

/// The place of a node by the name that [`crate::Sim::lan`] gave it.
fn place(name: &Name) -> Option<usize> {
    std::str::from_utf8(name.as_bytes()).ok()?.strip_prefix('n')?.parse().ok()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    if count > 0.0 { sum / count } else { f64::NAN }
}

/// The value below which this share of the values lies.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => values[((n - 1) as f64 * share).round() as usize],
    }
}
