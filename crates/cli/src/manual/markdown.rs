//! The reference in Markdown, `docs/commands.md`.

use crate::command::{COMMANDS, Command};
use crate::flags::{explanation, form};

const HEAD: &str = "\
# Commands

What every command takes, prints and ends with. This page is made from the program's own tables:
`serf manual -markup=markdown`. `serf COMMAND -h` says the same in short, and `serf manual COMMAND | man -l -` as a page.

Common to all:

- **Flags** are given as `-name=value` or `-name value`, with one dash or two; switches as `-name` or `-name=false`. Lists
  are given by repeating the flag. Flags end at the first other argument, or at `--`.
- **Results and errors** go to standard output, as scripts are used to; what is wrong with flags, and notes, to standard
  error. With `-errors-stderr`, or `SERF_ERRORS_STDERR=1`, errors go there, too. The exit code is 0 for success, 1
  for failure, 127 if there is no such command.
- **`-format=json`** prints the result as a document. Where there is no result, because the agent was not reached or
  refused, the error is the same line of text as without the flag: look at the exit code first. Commands that go on
  (`monitor`, `members -watch`) print one document a line, and say on standard error why they end. What is no UTF-8 in a name
  or a text is U+FFFD in a document. Members may be added to documents in later versions.
- **On a terminal**, `members` and `keys -list` print tables with a heading and colours, and what other nodes have chosen
  is shown without control characters. Colours are left out if `NO_COLOR` is set to anything, and if `TERM` is `dumb` or
  missing. In a pipe or a file there is never a heading or a colour.
- **A reader that goes away** (`serf monitor | head -1`) ends what would go on; a full disk is an error.
- Connecting takes 10 seconds at most. Then an answer is waited for as long as the agent takes; Ctrl-C ends that.
";

/// All commands, one after another.
pub(crate) fn reference() -> String {
    let mut out = HEAD.to_owned();
    out += "\n| command | |\n|---|---|\n";
    for command in COMMANDS {
        out += &format!("| [`{0}`](#{0}) | {1} |\n", command.name, cell(command.synopsis));
    }
    for command in COMMANDS {
        out += &section(command);
    }
    out
}

fn section(command: &Command) -> String {
    let mut out = format!("\n## {}\n\n", command.name);
    out += format!("    serf {} {}", command.name, command.usage).trim_end();
    out.push('\n');
    for paragraph in command.about {
        out += &format!("\n{paragraph}\n");
    }
    if command.flags().next().is_some() {
        out += "\n| flag | |\n|---|---|\n";
    }
    for flag in command.flags() {
        out += &format!("| `{}` | {} |\n", form(flag), cell(&explanation(flag)));
    }
    for paragraph in command.output {
        out += &format!("\n{paragraph}\n");
    }
    if !command.document.is_empty() {
        out += &format!("\n```json\n{}\n```\n", command.document);
    }
    out += &format!("\nExit code 1: {}\n", command.failure);
    if !command.examples.is_empty() {
        out += "\n```sh\n";
        for (line, meaning) in command.examples {
            out += &format!("# {meaning}\n{line}\n");
        }
        out += "```\n";
    }
    out
}

/// Text in a table, where a bar would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
        let page = std::fs::read_to_string(path).expect("docs/commands.md");
        assert!(
            page == reference(),
            "docs/commands.md is stale: cargo run -- manual -markup=markdown > docs/commands.md"
        );
    }
}
