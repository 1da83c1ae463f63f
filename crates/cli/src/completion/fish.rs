//! For fish.

use super::{Values, brief};
use crate::command::COMMANDS;

const HEAD: &str = r"# Completion of serf for fish: serf completion fish > ~/.config/fish/completions/serf.fish

function __serf_nodes
    serf members 2>/dev/null </dev/null | string replace -r '  .*' '' | string match -v -r '[[:cntrl:]]'
end

complete -c serf -f
";

/// The script.
pub(crate) fn fish() -> String {
    let mut out = HEAD.to_owned();
    for command in COMMANDS {
        out += &format!(
            "complete -c serf -n __fish_use_subcommand -a {} -d {}\n",
            command.name,
            quoted(command.synopsis)
        );
    }
    let commands = list(Values::Commands).unwrap_or_default();
    out += &format!("complete -c serf -n '__fish_seen_subcommand_from help' -a {commands}\n");
    for command in COMMANDS {
        let here = format!("complete -c serf -n '__fish_seen_subcommand_from {}'", command.name);
        for flag in command.flags() {
            let values = match Values::of_flag(flag) {
                None => String::new(),
                Some(Values::Paths) => " -r -F".into(),
                Some(values) => match list(values) {
                    Some(list) => format!(" -x -a {list}"),
                    None => " -x".into(),
                },
            };
            out += &format!("{here} -o {}{values} -d {}\n", flag.name, quoted(brief(flag)));
        }
        if let Some(list) = list(Values::of_arguments(command)) {
            out += &format!("{here} -a {list}\n");
        }
    }
    out
}

/// What is offered, as fish is told of it.
fn list(values: Values) -> Option<String> {
    match values {
        Values::Words(words) => Some(quoted(&words.join(" "))),
        Values::Nodes => Some("'(__serf_nodes)'".into()),
        Values::Commands => {
            let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
            Some(quoted(&names.join(" ")))
        }
        Values::Paths | Values::Free => None,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
