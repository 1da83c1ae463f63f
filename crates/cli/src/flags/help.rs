//! Help and usage, rendered from the tables.

use super::{Flag, Kind};
use crate::command::Command;

/// Lines are wrapped to fit a small terminal.
const WIDTH: usize = 80;
/// Where explanations of flags begin.
const EXPLANATION_COLUMN: usize = 28;

/// What `serf` says when it is not told what to do, or asked for help.
pub(crate) fn usage(commands: &[&Command]) -> String {
    let mut out =
        String::from("Usage: serf [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n");
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0);
    for command in commands {
        out += &format!("    {:width$}    {}\n", command.name, command.synopsis);
    }
    out += "\nMore about a command: serf COMMAND -h\n";
    out
}

/// Everything about one command.
pub(crate) fn help(command: &Command) -> String {
    let mut out = format!("Usage: serf {} {}", command.name, command.usage).trim_end().to_owned() + "\n";
    for paragraph in command.about {
        out += "\n";
        out += &wrapped(paragraph, 2);
    }
    if command.flags().next().is_some() {
        out += "\nOptions:\n\n";
        for flag in command.flags() {
            out += &explained(flag);
        }
    }
    if !command.output.is_empty() {
        out += "\nOutput:\n";
        for paragraph in command.output {
            out += "\n";
            out += &wrapped(paragraph, 2);
        }
    }
    out += &format!("\nExit codes:\n\n  0  Success.\n  1  {}\n", wrapped(command.failure, 5).trim());
    if !command.examples.is_empty() {
        out += "\nExamples:\n";
        for (line, meaning) in command.examples {
            out += &format!("\n  $ {line}\n{}", wrapped(meaning, 6));
        }
    }
    out
}

/// One flag: its form, and beside it what it does.
fn explained(flag: Flag) -> String {
    let form = format!("  {}", form(flag));
    let text = wrapped(&explanation(flag), EXPLANATION_COLUMN);
    if form.len() + 1 < EXPLANATION_COLUMN {
        format!("{form:EXPLANATION_COLUMN$}{}", text.trim_start())
    } else {
        format!("{form}\n{text}")
    }
}

/// A flag as it is given.
pub(crate) fn form(flag: Flag) -> String {
    match flag.kind {
        // Given, it would say what holds anyhow.
        Kind::Switch if flag.default == "true" => format!("-{}=false", flag.name),
        Kind::Switch => format!("-{}", flag.name),
        // The values of these contain an equals sign themselves.
        _ if flag.value.contains('=') => format!("-{} {}", flag.name, flag.value),
        _ => format!("-{}={}", flag.name, flag.value),
    }
}

/// What a flag does, in sentences.
pub(crate) fn explanation(flag: Flag) -> String {
    let mut text = flag.help.to_owned();
    if flag.kind == Kind::List {
        text += " Repeatable.";
    }
    // The other defaults mean that nothing is set; and of a switch its form tells.
    if flag.kind != Kind::Switch && !["", "0", "-1", "0s"].contains(&flag.default) {
        text += &format!(" Default: {}.", flag.default);
    }
    if let Some(variable) = flag.env {
        text += &format!(" Environment: {variable}.");
    }
    text
}

/// The words of a text in lines, each begun with that many blanks.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out += &" ".repeat(indent);
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += width;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::COMMANDS;

    #[test]
    fn every_command_explains_all_its_flags() {
        for command in COMMANDS {
            let text = help(command);
            assert!(text.starts_with(&format!("Usage: serf {}", command.name)));
            for flag in command.flags() {
                let found = text.lines().any(|line| {
                    let rest = line.strip_prefix("  -").and_then(|rest| rest.strip_prefix(flag.name));
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ' ']))
                });
                assert!(found, "-{} of {}", flag.name, command.name);
            }
            assert!(
                text.lines().all(|line| line.chars().count() <= WIDTH),
                "width of the help of {}",
                command.name
            );
        }
    }

    #[test]
    fn tables_are_in_order() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        for command in COMMANDS {
            let mut names: Vec<_> = command.flags().map(|flag| flag.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), command.flags().count(), "flags of {} are unique", command.name);
            // Getters rely on it: a default reads like a value of the flag.
            let defaults = command
                .flags()
                .filter(|flag| flag.kind != Kind::List)
                .map(|flag| format!("-{}={}", flag.name, flag.default).into())
                .collect::<Vec<_>>();
            assert!(super::super::parse(command.flags(), &defaults).is_ok(), "defaults of {}", command.name);
        }
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let text = wrapped(&"four ".repeat(40), 4);
        assert!(text.lines().all(|line| line.starts_with("    four") && line.len() <= WIDTH));
        assert_eq!(text.split_whitespace().count(), 40);
    }
}
