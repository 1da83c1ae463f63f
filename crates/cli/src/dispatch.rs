//! From the arguments of the process to a command.

use std::ffi::OsString;
use std::process::ExitCode;

use serf_agent::text::{nearest, os_error};

use crate::command::connect::ERRORS_APART;
use crate::command::{COMMANDS, Command, Failure, version};
use crate::flags::{self, FlagError};
use crate::output::{Output, error_line};

/// Exit code when there is no such command.
const UNKNOWN: u8 = 127;

/// Does what the arguments ask for.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    match classify(arguments) {
        Request::Version => {
            Output::stdout().line(version::text());
            ExitCode::SUCCESS
        }
        Request::Usage => {
            error_line(&flags::usage(COMMANDS));
            ExitCode::SUCCESS
        }
        Request::Nothing => {
            error_line(&flags::usage(COMMANDS));
            ExitCode::from(UNKNOWN)
        }
        Request::Unknown(name) => {
            let hint = match nearest(&name, COMMANDS.iter().map(|command| command.name).chain(["help"])) {
                Some(meant) => format!(" Did you mean '{meant}'?"),
                None => String::new(),
            };
            error_line(&format!("There is no command '{name}'.{hint}\n\n{}", flags::usage(COMMANDS)));
            ExitCode::from(UNKNOWN)
        }
        Request::Help(command) => {
            error_line(flags::help(command).trim_end());
            ExitCode::SUCCESS
        }
        Request::Asked(topic) => {
            let text = topic.map_or_else(|| flags::usage(COMMANDS), flags::help);
            Output::stdout().line(text.trim_end());
            ExitCode::SUCCESS
        }
        Request::MisplacedFlags(command) => {
            error_line(
                "Invalid flags before the subcommand. If they are meant for it,\n\
                 put them after its name.\n",
            );
            error_line(flags::help(command).trim_end());
            ExitCode::FAILURE
        }
        Request::Run(command, arguments) => execute(command, arguments),
    }
}

/// Runs a command, and says so if what it printed did not arrive.
fn execute(command: &Command, arguments: &[OsString]) -> ExitCode {
    let mut out = Output::stdout();
    let code = attempt(command, arguments, &mut out);
    match out.into_error() {
        None => code,
        Some(error) => {
            error_line(&format!("Error writing to standard output: {}", os_error(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command and shows how it failed, if it did.
fn attempt(command: &Command, arguments: &[OsString], out: &mut Output) -> ExitCode {
    let prefix = command.prefix;
    let flags = match flags::parse(command.flags(), arguments) {
        Ok(flags) => flags,
        // It has always taken anything.
        Err(_) if command.ignores_arguments => {
            flags::parse(command.flags(), &[]).expect("no flags are fine flags")
        }
        Err(error) => {
            if error != FlagError::Help {
                error_line(&error.to_string());
            }
            if let Some(hint) = error.hint(command.flags()) {
                error_line(&hint);
            }
            out.line(format!("{prefix}{}", flags::help(command).trim_end()));
            return ExitCode::FAILURE;
        }
    };
    if command.connects
        && let Some(argument) = flags.overlooked()
    {
        error_line(&format!("Note: {argument} is not read as a flag, as it stands behind an argument."));
    }
    let complaint = match (command.run)(&flags, out) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Exit(code)) => return ExitCode::from(code),
        Err(Failure::Message(message)) => message,
        Err(Failure::Usage(message)) => {
            let help = command.misuse.map_or_else(|| flags::help(command), str::to_owned);
            format!("{message}\n\n{}", help.trim_end())
        }
        Err(Failure::Help) => flags::help(command).trim_end().to_owned(),
    };
    let complaint = format!("{prefix}{complaint}");
    if command.connects && flags.is_on(ERRORS_APART.name) {
        error_line(&complaint);
    } else {
        out.line(complaint);
    }
    ExitCode::FAILURE
}

/// What a command line asks for.
enum Request<'a> {
    Version,
    /// `-h` without a command.
    Usage,
    /// No command at all.
    Nothing,
    Unknown(String),
    /// `-h` with a command.
    Help(&'static Command),
    /// `serf help`, perhaps about a command.
    Asked(Option<&'static Command>),
    MisplacedFlags(&'static Command),
    Run(&'static Command, &'a [OsString]),
}

fn classify(arguments: &[OsString]) -> Request<'_> {
    // Everything up to the first word that is no flag belongs to `serf` itself.
    let at = arguments.iter().position(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    let (own, rest) = arguments.split_at(at.unwrap_or(arguments.len()));
    let (own, name, rest) = match (own.iter().position(|flag| flag == "--"), rest.split_first()) {
        // A lone `--` ends the search, and no command has been found.
        (Some(end), _) => (&own[..end], None, rest),
        (None, Some((name, rest))) => (own, Some(name), rest),
        (None, None) => (own, None, rest),
    };
    let command = name.map(|name| COMMANDS.iter().copied().find(|command| name == command.name));
    // After the command `-v` may be somebody's payload; alone it can only mean this.
    if own.iter().any(is_version_flag) || matches!(rest, [only] if is_version_flag(only) && command.is_some())
    {
        return Request::Version;
    }
    let wants_help =
        |arguments: &[OsString]| arguments.iter().take_while(|&argument| argument != "--").any(is_help_flag);
    match (name, command.flatten()) {
        (None, _) if wants_help(own) => Request::Usage,
        (None, _) => Request::Nothing,
        (Some(name), None) if name == "help" => match rest {
            [] => Request::Asked(None),
            [topic, ..] => match COMMANDS.iter().copied().find(|command| topic == command.name) {
                Some(command) => Request::Asked(Some(command)),
                None => Request::Unknown(topic.to_string_lossy().into_owned()),
            },
        },
        (Some(name), None) => Request::Unknown(name.to_string_lossy().into_owned()),
        (_, Some(command)) if wants_help(own) || wants_help(rest) => Request::Help(command),
        (_, Some(command)) if !own.is_empty() => Request::MisplacedFlags(command),
        (_, Some(command)) => Request::Run(command, rest),
    }
}

fn is_version_flag(argument: &OsString) -> bool {
    ["-v", "-version", "--version"].iter().any(|flag| argument == flag)
}

fn is_help_flag(argument: &OsString) -> bool {
    ["-h", "-help", "--help"].iter().any(|flag| argument == flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request in words.
    fn request(line: &str) -> String {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match classify(&arguments) {
            Request::Version => "version".into(),
            Request::Usage => "usage".into(),
            Request::Nothing => "nothing".into(),
            Request::Unknown(name) => format!("unknown {name}"),
            Request::Help(command) => format!("help {}", command.name),
            Request::Asked(topic) => format!("asked {}", topic.map_or("", |command| command.name)),
            Request::MisplacedFlags(command) => format!("misplaced {}", command.name),
            Request::Run(command, rest) => {
                let rest: Vec<_> = rest.iter().map(|argument| argument.to_string_lossy()).collect();
                format!("run {} [{}]", command.name, rest.join(" "))
            }
        }
    }

    #[test]
    fn tells_requests_apart() {
        for (line, meaning) in [
            ("", "nothing"),
            ("-bogus", "nothing"),
            ("-- members", "nothing"),
            ("-h", "usage"),
            ("--help -bogus", "usage"),
            ("nosuch", "unknown nosuch"),
            ("nosuch -h", "unknown nosuch"),
            ("-v", "version"),
            ("-version", "version"),
            ("--version members", "version"),
            ("members -v", "version"),
            ("event deploy -v", "run event [deploy -v]"),
            ("members -v -detailed", "run members [-v -detailed]"),
            ("help", "asked "),
            ("help members", "asked members"),
            ("help nosuch", "unknown nosuch"),
            ("members -h", "help members"),
            ("members -bogus --help x", "help members"),
            ("-help members", "help members"),
            ("members -- -h", "run members [-- -h]"),
            ("-bogus members", "misplaced members"),
            ("members", "run members []"),
            ("members -detailed x", "run members [-detailed x]"),
        ] {
            assert_eq!(request(line), meaning, "serf {line}");
        }
    }
}
