//! The seed farm: many stories, and for each that breaks a rule the shortest one found that still does.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serf_core::Event;

use crate::args::{Args, ArgsError, Flag};
use crate::check::Violation;
use crate::play::{Played, Told, play};
use crate::scenario::Scenario;
use crate::work::{Progress, default_jobs, side_by_side};

/// The flags of the farm.
pub const EXPLORE: &[Flag] = &[
    Flag { name: "start", default: "1", help: "the first seed" },
    Flag { name: "seeds", default: "1000", help: "how many seeds" },
    Flag { name: "nodes", default: "9", help: "the most nodes in one story, 3 to 32" },
    Flag { name: "jobs", default: "0", help: "stories side by side; 0 for one on each core" },
    Flag {
        name: "budget",
        default: "0",
        help: "begin no story after so much time, such as 60s; 0 for no limit",
    },
    Flag {
        name: "fresh",
        default: "0",
        help: "so many more seeds, of the clock; findings there are told but are no failure",
    },
];

/// The flags of the retelling of one story.
pub const REPLAY: &[Flag] = &[
    Flag { name: "seed", default: "1", help: "the seed" },
    Flag { name: "nodes", default: "9", help: "as it was explored with" },
    Flag {
        name: "keep",
        default: "",
        help: "the numbers of the acts that are kept, with commas; none given: all",
    },
    Flag {
        name: "trace",
        default: "false",
        help: "tell what happens at every node, not only at those concerned",
    },
    Flag { name: "shrink", default: "false", help: "look for a shorter story that breaks the same rule" },
];

/// How long fresh seeds take at most, where there is a budget.
const FRESH_BUDGET: Duration = Duration::from_secs(10);

/// A story that breaks a rule.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its seed.
    pub seed: u64,
    /// The acts that are needed, by their numbers.
    pub kept: Vec<usize>,
    /// What is broken.
    pub violation: Violation,
}

/// Leaves out acts as long as the same rule is broken, with at most so many attempts.
#[must_use]
pub fn shrink(story: &Scenario, violation: Violation, attempts: usize) -> Finding {
    let mut kept: Vec<usize> = (0..story.acts.len()).collect();
    let mut violation = violation;
    let mut left = attempts;
    let mut chunk = kept.len().div_ceil(2);
    while chunk > 0 && left > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < kept.len() && left > 0 {
            left -= 1;
            let without: Vec<usize> =
                kept[..from].iter().chain(&kept[kept.len().min(from + chunk)..]).copied().collect();
            match play(&story.keeping(&without), None) {
                Err(found) if found.rule == violation.rule => {
                    (kept, violation, shorter) = (without, found, true);
                }
                _ => from += chunk,
            }
        }
        if !shorter || chunk > 1 {
            chunk /= 2;
        }
    }
    Finding { seed: story.seed, kept, violation }
}

/// What is to be done to see it again.
#[must_use]
pub fn command(finding: &Finding, nodes: usize) -> String {
    let kept: Vec<String> = finding.kept.iter().map(usize::to_string).collect();
    let keep = if kept.is_empty() { "none".to_owned() } else { kept.join(",") };
    format!("cargo run --release -p serf-sim -- replay --seed {} --nodes {nodes} --keep {keep}", finding.seed)
}

/// Tells a story with what happens at the nodes concerned, and how it ended.
///
/// # Errors
/// In the result: the rule that is broken.
pub fn retell(story: &Scenario, nodes: Option<&[usize]>) -> (String, Result<Played, Violation>) {
    let mut out = String::new();
    let _ = writeln!(out, "seed {}, {} nodes, {:?}", story.seed, story.nodes, story.link);
    let result = play(
        story,
        Some(&mut |now, told| {
            let now = now.as_nanos() as f64 / 1e9;
            let _ = match told {
                Told::Act(act) => writeln!(out, "{now:10.3}s -- {act}"),
                Told::Rest => writeln!(out, "{now:10.3}s -- everything is mended and left alone"),
                Told::Event(at, event) if nodes.is_none_or(|nodes| nodes.contains(&at)) => {
                    writeln!(out, "{now:10.3}s {at:3} {}", text(event))
                }
                Told::Event(..) => Ok(()),
            };
        }),
    );
    (out, result)
}

fn text(event: &Event) -> String {
    match event {
        Event::Member(event) => {
            let names: Vec<String> = event.members.iter().map(|m| m.name.to_string()).collect();
            format!("{} {}", event.kind, names.join(" "))
        }
        Event::User(event) => {
            format!("event {} at {}", String::from_utf8_lossy(&event.payload), event.ltime)
        }
        Event::Notice(notice) => format!("[{:?}] {}", notice.severity, notice.text),
        Event::Done { id, outcome } => format!("command {}: {outcome:?}", id.0),
        Event::Query(query) => format!("{query} at {} from {}", query.ltime, query.source),
        other => format!("{other:?}"),
    }
}

/// What is found among seeds, in their order; stories that were not told for lack of time are None.
fn farm(
    seeds: &[u64],
    nodes: usize,
    jobs: usize,
    until: Option<Instant>,
) -> Vec<Option<Result<Played, Violation>>> {
    let progress = Progress::new("stories", seeds.len());
    side_by_side(jobs, seeds.len(), |i| {
        if until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        let result = play(&Scenario::draw(seeds[i], nodes), None);
        progress.tick();
        Some(result)
    })
}

/// The command `explore`; whether no rule was broken.
///
/// # Errors
/// Flags that make no sense.
pub fn explore(args: &Args) -> Result<bool, ArgsError> {
    quiet_panics();
    let (start, count, nodes) =
        (args.get::<u64>("start")?, args.get::<u64>("seeds")?, args.get::<usize>("nodes")?);
    if !(3..=32).contains(&nodes) {
        return Err(args.wrong("nodes", "3 to 32"));
    }
    let jobs = match args.get("jobs")? {
        0 => default_jobs(),
        jobs => jobs,
    };
    let budget = args.time("budget")?;
    let until = (!budget.is_zero()).then(|| Instant::now() + budget);
    let began = Instant::now();
    let seeds: Vec<u64> = (start..start + count).collect();
    let clean = sum_up("seeds", &seeds, nodes, began, farm(&seeds, nodes, jobs, until));
    let fresh = args.get::<u64>("fresh")?;
    if fresh > 0 {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let first = clock.map_or(0, |time| time.as_nanos() as u64) % 1_000_000_000;
        let seeds: Vec<u64> = (first..first + fresh).collect();
        println!("fresh seeds: {first} to {}", first + fresh - 1);
        let until = (!budget.is_zero()).then(|| Instant::now() + FRESH_BUDGET);
        sum_up("fresh seeds", &seeds, nodes, Instant::now(), farm(&seeds, nodes, jobs, until));
    }
    Ok(clean)
}

fn sum_up(
    what: &str,
    seeds: &[u64],
    nodes: usize,
    began: Instant,
    results: Vec<Option<Result<Played, Violation>>>,
) -> bool {
    let took = began.elapsed().as_secs_f64();
    let (mut told, mut time, mut steps, mut findings) = (0, Duration::ZERO, 0, Vec::new());
    for (seed, result) in seeds.iter().zip(results) {
        match result {
            None => {}
            Some(Ok(played)) => {
                told += 1;
                time += played.time;
                steps += played.steps;
            }
            Some(Err(violation)) => {
                told += 1;
                findings.push((*seed, violation));
            }
        }
    }
    println!(
        "{told} of {} {what}: {} broke a rule; {:.0} simulated hours, {steps} steps in {took:.1} s",
        seeds.len(),
        findings.len(),
        time.as_secs_f64() / 3600.0,
    );
    // All are listed; the first of each rule is told at length.
    let mut rules = Vec::new();
    for (seed, violation) in &findings {
        println!("seed {seed}: {violation}");
        if rules.contains(&violation.rule) || rules.len() >= 3 {
            continue;
        }
        rules.push(violation.rule);
        let story = Scenario::draw(*seed, nodes);
        let finding = shrink(&story, violation.clone(), 60);
        let shorter = story.keeping(&finding.kept);
        let (trace, _) = retell(&shorter, Some(&finding.violation.nodes));
        println!("the shortest story found, of {} acts:\n{}", finding.kept.len(), tail(&trace, 120));
        println!("{}\nto see it again: {}\n", finding.violation, command(&finding, nodes));
    }
    findings.is_empty()
}

/// The end of a long text.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let (head, rest) = all.split_at(all.len().min(1));
    let left_out = rest.len().saturating_sub(lines);
    let gap = if left_out > 0 { format!("\n… {left_out} lines …") } else { String::new() };
    format!("{}{gap}\n{}", head.join("\n"), rest[left_out..].join("\n"))
}

/// The command `replay`; whether no rule was broken.
///
/// # Errors
/// Flags that make no sense.
pub fn replay(args: &Args) -> Result<bool, ArgsError> {
    quiet_panics();
    let nodes = args.get::<usize>("nodes")?;
    let mut story = Scenario::draw(args.get("seed")?, nodes);
    match args.text("keep") {
        "" => {}
        "none" => story = story.keeping(&[]),
        _ => story = story.keeping(&args.list::<usize>("keep")?),
    }
    let result = play(&story, None);
    if let (Err(violation), true) = (&result, args.is("shrink")?) {
        let finding = shrink(&story, violation.clone(), 400);
        println!("{}: {} of {} acts are enough", finding.violation, finding.kept.len(), story.acts.len());
        println!("{}", command(&finding, nodes));
        return Ok(false);
    }
    let concerned = result.as_ref().err().map(|v| v.nodes.clone()).filter(|nodes| !nodes.is_empty());
    let concerned = if args.is("trace")? { None } else { Some(concerned.unwrap_or_default()) };
    let (trace, result) = retell(&story, concerned.as_deref());
    println!("{trace}");
    match result {
        Ok(played) => {
            println!("no rule broken; digest {:016x}, {:.0?} simulated", played.digest, played.time);
            Ok(true)
        }
        Err(violation) => {
            println!("{violation}");
            Ok(false)
        }
    }
}

/// A panic of a machine is a finding, told with the others.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}
