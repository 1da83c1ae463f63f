//! The `serf` program: an agent, and the commands that talk to one.
#![forbid(unsafe_code)]

mod command;
mod completion;
mod dispatch;
mod flags;
mod manual;
mod output;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    dispatch::run(&args)
}
