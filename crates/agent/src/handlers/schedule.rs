//! Which run is next. Runs wait in lanes, one for each script, and start in the order in which they were asked for, one at
//! a time: whoever runs is waited for. Only when patience with it ends do the others go on beside it, and what waits for
//! the same script waits on. Touches no clock and starts nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What may wait for one script, in bytes: some 5,000 user events of the usual size, or the joins of 20,000 members.
/// More than anybody will want to catch up with, and no burden for the agent.
pub(super) const LANE_MAX: usize = 4 << 20;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Schedule<J> {
    lanes: BTreeMap<Arc<str>, Lane<J>>,
    /// The one that the others wait for.
    holder: Option<Arc<str>>,
    /// Of the next run to be asked for.
    number: u64,
}

#[derive(Debug)]
struct Lane<J> {
    waiting: VecDeque<Waiting<J>>,
    bytes: usize,
    runs: bool,
    /// Not told yet.
    shed: u64,
}

#[derive(Debug)]
struct Waiting<J> {
    number: u64,
    bytes: usize,
    job: J,
}

/// What became of a run that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It waits.
    Waits,
    /// It is the first for a while that found no room, and is lost.
    ShedFirst,
    /// Another one is lost.
    Shed,
}

/// A run whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next<J> {
    pub(super) script: Arc<str>,
    pub(super) job: J,
    /// How many were lost of those that should have come after it, if now is the time to tell.
    pub(super) shed: u64,
}

impl<J> Schedule<J> {
    pub(super) fn new() -> Self {
        Self { lanes: BTreeMap::new(), holder: None, number: 0 }
    }

    /// Asks for a run that costs so many bytes while it waits.
    pub(super) fn ask(&mut self, script: &Arc<str>, bytes: usize, job: J) -> Asked {
        let lane = self.lanes.entry(script.clone()).or_insert_with(Lane::new);
        // One finds room whatever its size, or it could never run.
        if !lane.waiting.is_empty() && lane.bytes + bytes > LANE_MAX {
            lane.shed += 1;
            return if lane.shed == 1 { Asked::ShedFirst } else { Asked::Shed };
        }
        lane.waiting.push_back(Waiting { number: self.number, bytes, job });
        lane.bytes += bytes;
        self.number += 1;
        Asked::Waits
    }

    /// The next run, which is taken to begin: from now on it is waited for. None as long as another one is.
    pub(super) fn next(&mut self) -> Option<Next<J>> {
        if self.holder.is_some() {
            return None;
        }
        let first = |lane: &Lane<J>| lane.waiting.front().map(|waiting| waiting.number);
        let (script, lane) = self
            .lanes
            .iter_mut()
            .filter(|(_, lane)| !lane.runs && !lane.waiting.is_empty())
            .min_by_key(|(_, lane)| first(lane))?;
        let Waiting { bytes, job, .. } = lane.waiting.pop_front()?;
        lane.bytes -= bytes;
        lane.runs = true;
        // Told when it is over, or a lane that stays full would tell at every run.
        let shed = if lane.bytes <= LANE_MAX / 2 { std::mem::take(&mut lane.shed) } else { 0 };
        let script = script.clone();
        self.holder = Some(script.clone());
        Some(Next { script, job, shed })
    }

    /// Nobody waits any more for the one that runs. Gives its script.
    pub(super) fn lose_patience(&mut self) -> Option<Arc<str>> {
        self.holder.take()
    }

    /// A run has ended. Whether it was the one that the others waited for.
    pub(super) fn ended(&mut self, script: &Arc<str>) -> bool {
        if let Some(lane) = self.lanes.get_mut(script) {
            lane.runs = false;
            if lane.waiting.is_empty() {
                self.lanes.remove(script);
            }
        }
        self.holder.take_if(|holder| holder == script).is_some()
    }

    /// How many runs have not begun.
    pub(super) fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }
}

impl<J> Lane<J> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, runs: false, shed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts `a`, `b`..., and jobs that are numbers.
    fn asked(asks: &[(&str, u32)]) -> Schedule<u32> {
        let mut schedule = Schedule::new();
        for &(script, job) in asks {
            assert_eq!(schedule.ask(&script.into(), 1, job), Asked::Waits);
        }
        schedule
    }

    fn next(schedule: &mut Schedule<u32>) -> Option<(String, u32)> {
        schedule.next().map(|next| (next.script.to_string(), next.job))
    }

    fn run(script: &str, job: u32) -> Option<(String, u32)> {
        Some((script.to_owned(), job))
    }

    #[test]
    fn runs_come_one_by_one_in_the_order_asked_for_across_scripts() {
        let mut schedule = asked(&[("b", 1), ("a", 2), ("b", 3), ("a", 4)]);
        for (script, job) in [("b", 1), ("a", 2), ("b", 3), ("a", 4)] {
            assert_eq!(next(&mut schedule), run(script, job));
            assert_eq!(next(&mut schedule), None, "it is waited for");
            schedule.ended(&script.into());
        }
        assert_eq!((next(&mut schedule), schedule.lanes.len()), (None, 0), "nothing is kept");
    }

    #[test]
    fn others_pass_one_that_hangs_but_not_runs_of_the_same_script() {
        let mut schedule = asked(&[("hang", 1), ("hang", 2), ("a", 3), ("b", 4), ("a", 5)]);
        assert_eq!(next(&mut schedule), run("hang", 1));
        assert_eq!(schedule.lose_patience().as_deref(), Some("hang"));
        assert_eq!(next(&mut schedule), run("a", 3));
        assert_eq!(next(&mut schedule), None, "a is waited for in its turn");
        schedule.ended(&"hang".into());
        assert_eq!(next(&mut schedule), None, "the end of another does not end that");
        schedule.ended(&"a".into());
        assert_eq!(next(&mut schedule), run("hang", 2), "the oldest first");
        schedule.ended(&"hang".into());
        assert_eq!(next(&mut schedule), run("b", 4));
        schedule.ended(&"b".into());
        assert_eq!(next(&mut schedule), run("a", 5));
        assert_eq!(schedule.waiting(), 0);
    }

    #[test]
    fn without_any_patience_each_script_runs_beside_the_others_in_its_own_order() {
        let mut schedule = asked(&[("a", 1), ("b", 2), ("a", 3), ("c", 4)]);
        let mut begun = Vec::new();
        while let Some(begins) = next(&mut schedule) {
            schedule.lose_patience();
            begun.push(begins.1);
        }
        assert_eq!(begun, [1, 2, 4]);
        schedule.ended(&"a".into());
        assert_eq!(next(&mut schedule), run("a", 3));
    }

    #[test]
    fn a_full_lane_sheds_with_a_count_and_costs_no_other_script_anything() {
        let (slow, fast): (Arc<str>, Arc<str>) = ("slow".into(), "fast".into());
        let mut schedule = Schedule::new();
        assert_eq!(schedule.ask(&slow, 2 * LANE_MAX, 0), Asked::Waits, "one always finds room");
        assert_eq!(schedule.ask(&slow, 1, 0), Asked::ShedFirst);
        assert_eq!(schedule.next().map(|next| (next.job, next.shed)), Some((0, 1)));
        let quarter = LANE_MAX / 4;
        for job in 1..=4 {
            assert_eq!(schedule.ask(&slow, quarter, job), Asked::Waits);
        }
        assert_eq!(schedule.ask(&slow, quarter, 5), Asked::ShedFirst);
        assert_eq!(schedule.ask(&slow, quarter, 6), Asked::Shed);
        assert_eq!(schedule.ask(&fast, quarter, 7), Asked::Waits);
        let mut told = Vec::new();
        while schedule.waiting() > 0 {
            schedule.ended(&slow);
            schedule.ended(&fast);
            told.extend(schedule.next().map(|next| (next.job, next.shed)));
        }
        assert_eq!(told, [(1, 0), (2, 2), (3, 0), (4, 0), (7, 0)]);
    }
}
