//! Pages for `man`, in its macros.

use crate::command::version::VERSION;
use crate::command::{COMMANDS, Command};
use crate::flags::{Kind, explanation};

/// The page of one command, `serf-NAME(1)`.
pub(crate) fn page(command: &Command) -> String {
    let mut page = Page::new(&format!("serf-{}", command.name), command.synopsis);
    page.section("SYNOPSIS");
    page.line(&format!("{} {}", bold(&format!("serf {}", command.name)), italic(command.usage)));
    page.section("DESCRIPTION");
    for paragraph in command.about {
        page.paragraph(paragraph);
    }
    if command.flags().next().is_some() {
        page.section("OPTIONS");
    }
    for flag in command.flags() {
        let name = bold(&format!("-{}", flag.name));
        page.tagged(&match flag.kind {
            Kind::Switch if flag.default == "true" => format!("{name}={}", literal("false")),
            Kind::Switch => name,
            _ if flag.value.contains('=') => format!("{name} {}", italic(flag.value)),
            _ => format!("{name}={}", italic(flag.value)),
        });
        page.prose(&explanation(flag));
    }
    if !command.output.is_empty() || !command.document.is_empty() {
        page.section("OUTPUT");
    }
    for paragraph in command.output {
        page.paragraph(paragraph);
    }
    if !command.document.is_empty() {
        page.paragraph("With `-format=json`, by example:");
        page.example(command.document);
    }
    page.section("EXIT STATUS");
    page.tagged("0");
    page.prose("Success.");
    page.tagged("1");
    page.prose(command.failure);
    let variables: Vec<_> = command.flags().filter_map(|flag| flag.env.map(|env| (env, flag))).collect();
    if !variables.is_empty() {
        page.section("ENVIRONMENT");
    }
    for (variable, flag) in variables {
        page.tagged(&bold(variable));
        page.prose(&format!("Counts in place of `-{}`, where that is not given.", flag.name));
    }
    if !command.examples.is_empty() {
        page.section("EXAMPLES");
    }
    for (line, meaning) in command.examples {
        page.tagged(&bold(line));
        page.prose(meaning);
    }
    page.section("SEE ALSO");
    page.line(&format!("{}(1)", bold("serf")));
    page.text
}

/// The page about the program as a whole, `serf(1)`.
pub(crate) fn overview() -> String {
    let mut page = Page::new("serf", "cluster membership, failure detection, events and queries");
    page.section("SYNOPSIS");
    page.line(&format!("{} {}", bold("serf"), italic("COMMAND [options] [arguments]")));
    page.section("DESCRIPTION");
    page.paragraph(
        "An agent runs on each machine, `serf agent`, and is a member of a cluster of agents. The other commands \
         talk to the agent of this machine, or of another one. Each has a page of its own.",
    );
    page.section("COMMANDS");
    for command in COMMANDS {
        page.tagged(&format!("{}(1)", bold(&format!("serf-{}", command.name))));
        page.prose(&format!("{}.", command.synopsis.trim_end_matches('.')));
    }
    page.section("EXIT STATUS");
    page.tagged("0");
    page.prose("Success.");
    page.tagged("1");
    page.prose("Failure, told in a line on standard output.");
    page.tagged("127");
    page.prose("There is no such command.");
    page.section("SEE ALSO");
    let names = COMMANDS.iter().map(|command| format!("{}(1)", bold(&format!("serf-{}", command.name))));
    page.line(&names.collect::<Vec<_>>().join(",\n"));
    page.text
}

/// When the pages were last read through.
const DATE: &str = "2026-11-21";

/// Lines of sentences are about as long as this.
const WIDTH: usize = 78;

struct Page {
    text: String,
}

impl Page {
    fn new(name: &str, synopsis: &str) -> Self {
        let title = name.to_uppercase().replace('-', "\\-");
        let mut page =
            Self { text: format!(".TH \"{title}\" \"1\" \"{DATE}\" \"serf {VERSION}\" \"Serf\"\n") };
        page.section("NAME");
        page.line(&format!("{} \\- {}", literal(name), prose(synopsis)));
        page
    }

    /// A line of text, in which markup is markup.
    fn line(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        self.line(&format!(".SH \"{name}\""));
    }

    fn paragraph(&mut self, text: &str) {
        // Right behind a heading it begins by itself.
        if !self.text.lines().last().is_some_and(|line| line.starts_with(".SH")) {
            self.line(".PP");
        }
        self.prose(text);
    }

    /// A tag, to which the next text belongs.
    fn tagged(&mut self, tag: &str) {
        self.line(&format!(".TP\n{tag}"));
    }

    fn prose(&mut self, text: &str) {
        let mut line = String::new();
        for word in prose(text).split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
                self.line(&std::mem::take(&mut line));
            }
            let starts_a_request = line.is_empty() && word.starts_with(['.', '\'']);
            line += if starts_a_request {
                "\\&"
            } else if line.is_empty() {
                ""
            } else {
                " "
            };
            line += word;
        }
        self.line(&line);
    }

    /// Lines as they are.
    fn example(&mut self, lines: &str) {
        self.line(".PP\n.RS 4\n.nf");
        for line in lines.lines() {
            self.line(&literal(line));
        }
        self.line(".fi\n.RE");
    }
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", literal(text))
}

fn italic(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\\fI{}\\fR", literal(text)) }
}

/// Text that is to be typed, or was printed: each character is to stay what it is.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, character) in text.chars().enumerate() {
        match character {
            '\\' => out += "\\e",
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '`' => out += "\\(ga",
            '^' => out += "\\(ha",
            '~' => out += "\\(ti",
            '.' if at == 0 => out += "\\&.",
            _ => out.push(character),
        }
    }
    out
}

/// Sentences, in which what is typed stands between backticks.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, piece) in text.split('`').enumerate() {
        if at % 2 == 1 {
            out += &bold(piece);
        } else {
            out += &piece.replace('\\', "\\e").replace(" -", " \\-").replace('\'', "\\(cq");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_what_it_is() {
        assert_eq!(literal(r".a-b '\x'"), r"\&.a\-b \(aq\ex\(aq");
        assert_eq!(prose("Use `-x=\\`, or -y; it's fine"), r"Use \fB\-x=\e\fR, or \-y; it\(cqs fine");
    }

    #[test]
    fn every_page_is_whole() {
        for command in COMMANDS {
            let text = page(command);
            for flag in command.flags() {
                assert!(text.contains(&format!("\n\\fB\\-{}\\fR", literal(flag.name))), "{}", flag.name);
            }
            // Nothing begins a request by accident.
            for line in text.lines().filter(|line| line.starts_with(['.', '\''])) {
                let name = line.split(' ').next().unwrap_or_default();
                assert!([".TH", ".SH", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi"].contains(&name), "{line}");
            }
            assert!(overview().contains(&format!("serf\\-{}", literal(command.name))));
        }
    }
}
