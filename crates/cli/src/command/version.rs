//! `serf version`: which program this is and what it speaks.

use super::Command;

/// The newest agent protocol, and the oldest that is still understood.
const PROTOCOL: (u8, u8) = (5, 2);

pub(crate) const COMMAND: Command = Command {
    name: "version",
    synopsis: "Prints the Serf version",
    usage: "",
    about: &["Prints the version of this program, and which versions of the agent protocol it speaks. \
              `serf -v` and `serf --version` do the same."],
    connects: false,
    ignores_arguments: true,
    run: |_, out| {
        out.line(text());
        Ok(())
    },
    ..Command::PLAIN
};

pub(crate) fn text() -> String {
    let (newest, oldest) = PROTOCOL;
    let version = env!("CARGO_PKG_VERSION");
    format!("{version}\nAgent Protocol: {newest} (Understands back to: {oldest})")
}
