//! `serf completion`: teaches a shell to complete our command lines.

use super::{Command, Failure};
use crate::completion::{SHELLS, bash, fish, zsh};
use crate::flags::Flags;
use crate::output::Output;

pub(crate) const COMMAND: Command = Command {
    name: "completion",
    synopsis: "Prints a script that lets a shell complete commands",
    usage: "SHELL",
    about: &[
        "Prints a script for bash, zsh or fish. With it the shell completes commands, flags, values that are \
         known, and names of members, for which the agent is asked that the environment names. No agent has \
         to run for this command.",
    ],
    connects: false,
    failure: "There is no script for that shell.",
    examples: &[
        ("source <(serf completion bash)", "In bash, now; in ~/.bashrc, always."),
        ("serf completion zsh > ~/.zfunc/_serf", "In zsh, if ~/.zfunc is in $fpath before compinit runs."),
        ("serf completion fish > ~/.config/fish/completions/serf.fish", "In fish."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let [shell] = flags.arguments() else {
        return Err(Failure::Usage(format!("One shell must be specified: {}.", SHELLS.join(", "))));
    };
    let script = match &*shell.to_string_lossy() {
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        other => {
            return Err(Failure::Message(format!(
                "There is no completion for '{other}'. There is for {}.",
                SHELLS.join(", ")
            )));
        }
    };
    out.line(script.trim_end());
    Ok(())
}
