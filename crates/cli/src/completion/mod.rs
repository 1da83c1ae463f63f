//! Scripts that teach shells to complete our command lines. They come from the tables.

mod bash;
mod fish;
mod zsh;

pub(crate) use bash::bash;
pub(crate) use fish::fish;
pub(crate) use zsh::zsh;

use crate::command::Command;
use crate::flags::{Flag, Kind};

/// Shells that can be taught.
pub(crate) const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// What is known about a value or an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// One of these.
    Words(&'static [&'static str]),
    /// The name of a member, which the agent is asked for.
    Nodes,
    /// The name of a command.
    Commands,
    /// A file or directory.
    Paths,
    /// Whatever the user likes.
    Free,
}

impl Values {
    /// What may follow a flag, by what its value is called. None if it takes no value.
    fn of_flag(flag: Flag) -> Option<Self> {
        if flag.kind == Kind::Switch {
            return None;
        }
        Some(match (flag.name, flag.value) {
            ("log-format" | "format", "FORMAT") => Self::Words(&["text", "json"]),
            ("markup", _) => Self::Words(&["roff", "markdown"]),
            ("status", _) => Self::Words(&["alive", "leaving", "left", "failed"]),
            (_, "LEVEL") => Self::Words(&["trace", "debug", "info", "warn", "err"]),
            (_, "PROFILE") => Self::Words(&["lan", "wan", "local", "fast"]),
            (_, "NODE") => Self::Nodes,
            (_, "PATH" | "DIR") => Self::Paths,
            _ => Self::Free,
        })
    }

    /// What a command's arguments are, by what they are called.
    fn of_arguments(command: &Command) -> Self {
        let words = || command.usage.split(|c: char| !c.is_ascii_uppercase());
        for (name, values) in
            [("NODE", Self::Nodes), ("COMMAND", Self::Commands), ("SHELL", Self::Words(SHELLS))]
        {
            if words().any(|word| word == name) {
                return values;
            }
        }
        Self::Free
    }
}

/// The first sentence of what a flag does.
fn brief(flag: Flag) -> &'static str {
    let end = flag.help.find(". ").or_else(|| flag.help.rfind('.'));
    end.map_or(flag.help, |end| &flag.help[..end])
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command as Process, Stdio};

    use super::*;
    use crate::command::COMMANDS;

    #[test]
    fn words_that_are_offered_are_those_that_are_explained() {
        let mut seen = 0;
        for flag in COMMANDS.iter().flat_map(|command| command.flags()) {
            if let Some(Values::Words(words)) = Values::of_flag(flag) {
                seen += 1;
                for word in words {
                    assert!(flag.help.contains(word), "-{}: {word}", flag.name);
                }
            }
        }
        assert!(seen > 10);
    }

    /// Whether the shell understands a script, if it is here at all.
    fn is_understood(shell: &str, flags: &[&str], script: &str) -> bool {
        let child = Process::new(shell)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("{shell} is not here: its script is not looked at");
            return true;
        };
        child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it reads");
        let out = child.wait_with_output().expect("it ends");
        out.status.success() && out.stderr.is_empty()
    }

    #[test]
    fn scripts_are_understood() {
        assert!(is_understood("bash", &["-n"], &bash()));
        assert!(is_understood("zsh", &["-n"], &zsh()));
        assert!(is_understood("fish", &["--no-execute"], &fish()));
    }

    /// What bash offers at the end of a line, with an agent that knows these members.
    fn offered(words: &[&str], members: &str) -> Option<Vec<String>> {
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "{}\nserf() {{ printf '{members}'; }}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_serf\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            bash(),
            quoted.join(" "),
            words.len() - 1
        );
        let out = Process::new("bash").args(["--norc", "-c", &script]).output().ok()?;
        Some(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
    }

    #[test]
    fn bash_offers_what_fits() {
        let members = "one  127.0.0.1:7946  alive\\ntwo words  x\\n$(rm)`x`  x\\no\\033[1m  x\\n";
        for (words, wanted) in [
            (&["serf", "mem"][..], &["members"][..]),
            (&["serf", "help", "vers"], &["version"]),
            (&["serf", "members", "-de"], &["-detailed"]),
            (&["serf", "members", "--de"], &["--detailed"]),
            (&["serf", "members", "-form"], &["-format="]),
            (&["serf", "members", "-format", "=", "j"], &["json"]),
            (&["serf", "members", "-format", "="], &["text", "json"]),
            (&["serf", "members", "--format", "t"], &["text"]),
            (&["serf", "members", "-detailed", "-sta"], &["-status="]),
            (&["serf", "agent", "-profile", "l"], &["lan", "local"]),
            (&["serf", "completion", ""], &["bash", "zsh", "fish"]),
            (&["serf", "force-leave", "o"], &["one"]),
            (&["serf", "rtt", "one", "t"], &["two\\ words"]),
            (&["serf", "query", "-node", "=", "$"], &["\\$\\(rm\\)\\`x\\`"]),
            (&["serf", "event", "-rpc-auth", ""], &[""]),
        ] {
            let Some(offered) = offered(words, members) else { return };
            assert_eq!(offered, wanted, "{words:?}");
        }
    }
}
