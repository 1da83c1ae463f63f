//! The simulator's program: experiments and the seed farm.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serf_sim::args::{Args, ArgsError, Flag, help};
use serf_sim::experiment::{COMMON, EXPERIMENTS, Experiment};
use serf_sim::{explore, report};

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    let Some(command) = given.next().filter(|c| !matches!(c.as_str(), "help" | "-h" | "-help" | "--help"))
    else {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    };
    let rest: Vec<String> = given.collect();
    let done = match EXPERIMENTS.iter().find(|e| e.name == command) {
        Some(experiment) => perform(experiment, rest),
        None if command == "explore" => {
            farm("explore", EXPLORE_ABOUT, explore::EXPLORE, explore::explore, rest)
        }
        None if command == "replay" => farm("replay", REPLAY_ABOUT, explore::REPLAY, explore::replay, rest),
        None => {
            Err(ArgsError(format!("there is no command {command:?}; run without arguments for the list")))
        }
    };
    match done {
        Ok(code) => code,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn perform(experiment: &Experiment, given: Vec<String>) -> Result<ExitCode, ArgsError> {
    let table = &[experiment.flags, COMMON, report::FLAGS];
    if asks_for_help(&given) {
        print!("{}", help(&format!("serf-sim {} [flags]", experiment.name), experiment.about, table));
        return Ok(ExitCode::SUCCESS);
    }
    let args = Args::parse(table, given)?;
    (experiment.run)(&args)?.publish(&args)?;
    Ok(ExitCode::SUCCESS)
}

const EXPLORE_ABOUT: &str =
    "Tells stories drawn from seeds and looks whether any rule is broken; what is found is shrunk.";
const REPLAY_ABOUT: &str = "Tells one story again, with what happened at the nodes concerned.";

/// A command that ends well if no rule was broken.
fn farm(
    name: &str,
    about: &str,
    flags: &[Flag],
    run: fn(&Args) -> Result<bool, ArgsError>,
    given: Vec<String>,
) -> Result<ExitCode, ArgsError> {
    if asks_for_help(&given) {
        print!("{}", help(&format!("serf-sim {name} [flags]"), about, &[flags]));
        return Ok(ExitCode::SUCCESS);
    }
    let clean = run(&Args::parse(&[flags], given)?)?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn asks_for_help(given: &[String]) -> bool {
    given.iter().any(|arg| matches!(arg.as_str(), "-h" | "-help" | "--help"))
}

fn overview() -> String {
    let mut out = String::from(
        "Whole Serf clusters in one thread, replayed from a seed.\n\nUsage: serf-sim <command> [flags]\n\nCommands:\n",
    );
    for (name, about) in [("explore", EXPLORE_ABOUT), ("replay", REPLAY_ABOUT)] {
        out += &format!("  {name:<12} {about}\n");
    }
    for experiment in EXPERIMENTS {
        out += &format!("  {:<12} {}\n", experiment.name, experiment.about);
    }
    out + "\n`serf-sim <command> --help` tells a command's flags.\n"
}
