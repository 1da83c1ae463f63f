//! Experiments: each a question, a setting that answers it, and a report.

mod steady;

use serde_json::Value;

use crate::args::{Args, ArgsError, Flag};
use crate::report::Report;

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
pub const EXPERIMENTS: &[Experiment] = &[steady::STEADY];

/// A number with a fraction; null if there is none.
fn real(n: f64) -> Value {
    serde_json::Number::from_f64(n).map_or(Value::Null, Value::Number)
}
