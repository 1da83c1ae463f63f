//! `serf manual`: the commands described at length.

use std::path::Path;

use serf_agent::text::{nearest, os_error};

use super::{COMMANDS, Command, Failure};
use crate::flags::{Flag, Flags};
use crate::manual::{overview, page, reference};
use crate::output::Output;

pub(crate) const COMMAND: Command = Command {
    name: "manual",
    synopsis: "Prints manual pages",
    usage: "[options] [COMMAND]",
    about: &[
        "Prints the manual page of a command, or of the program as a whole, in the language of `man`. No agent \
              has to run for this command.",
    ],
    flags: &[
        Flag::text(
            "dir",
            "DIR",
            "Write all pages into this directory, which must exist: serf.1, serf-agent.1 and so on.",
        ),
        Flag::text("markup", "MARKUP", "roff for `man`, or markdown for a page about all commands.")
            .or("roff"),
    ],
    connects: false,
    failure: "There is no such command, or a page could not be written.",
    examples: &[
        ("serf manual members | man -l -", "Reads about a command."),
        ("serf manual -dir=/usr/local/share/man/man1", "Installs all pages."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let topic = flags.arguments().first().map(|name| name.to_string_lossy());
    let dir = flags.text("dir");
    let text = match (&*flags.text("markup"), topic) {
        ("markdown", None) if dir.is_empty() => reference(),
        ("markdown", _) => {
            let message =
                "In Markdown there is one page about all commands; leave out -dir and the command's name.";
            return Err(Failure::Message(message.to_owned()));
        }
        ("roff", None) if dir.is_empty() => overview(),
        ("roff", None) => return install(Path::new(&dir), out),
        ("roff", Some(_)) if !dir.is_empty() => {
            return Err(Failure::Message(
                "With -dir all pages are written; leave out the command's name.".to_owned(),
            ));
        }
        ("roff", Some(name)) => page(named(&name)?),
        (other, _) => {
            return Err(Failure::Message(format!("Invalid markup: {other}. It is roff or markdown.")));
        }
    };
    out.line(text.trim_end());
    Ok(())
}

fn named(name: &str) -> Result<&'static Command, Failure> {
    COMMANDS.iter().copied().find(|command| command.name == name).ok_or_else(|| {
        let hint = match nearest(name, COMMANDS.iter().map(|command| command.name)) {
            Some(meant) => format!(" Did you mean '{meant}'?"),
            None => String::new(),
        };
        Failure::Message(format!("There is no command '{name}'.{hint}"))
    })
}

fn install(dir: &Path, out: &mut Output) -> Result<(), Failure> {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| {
            Failure::Message(format!("Error writing {}: {}", path.display(), os_error(&error)))
        })
    };
    write("serf.1", overview())?;
    for command in COMMANDS {
        write(&format!("serf-{}.1", command.name), page(command))?;
    }
    out.line(format!("{} pages written to {}", COMMANDS.len() + 1, dir.display()));
    Ok(())
}
