//! `serf version`: which program this is and what it speaks.

use serde::Serialize;

use super::{Command, FORMAT, format};

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The newest agent protocol, and the oldest that is still understood.
const PROTOCOL: (u8, u8) = (5, 2);

pub(crate) const COMMAND: Command = Command {
    name: "version",
    synopsis: "Prints the Serf version",
    about: &["Prints the version of this program, and which versions of the agent protocol it speaks. \
              `serf -v` and `serf --version` do the same."],
    connects: false,
    ignores_arguments: true,
    flags: &[FORMAT],
    document: r#"{
  "version": "0.1.0",
  "protocol": {
    "max": 5,
    "min": 2
  }
}"#,
    failure: "There is no such format.",
    examples: &[("serf version -format=json | jq -r .version", "For scripts: the version alone.")],
    run: |flags, out| {
        out.report(format(flags)?, text(), &document());
        Ok(())
    },
    ..Command::PLAIN
};

pub(crate) fn text() -> String {
    let (newest, oldest) = PROTOCOL;
    format!("{VERSION}\nAgent Protocol: {newest} (Understands back to: {oldest})")
}

#[derive(Serialize)]
struct Document {
    version: &'static str,
    protocol: Protocol,
}

#[derive(Serialize)]
struct Protocol {
    max: u8,
    min: u8,
}

fn document() -> Document {
    let (max, min) = PROTOCOL;
    Document { version: VERSION, protocol: Protocol { max, min } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let text = serf_agent::json::to_string_pretty(&document());
        assert_eq!(text.replace(VERSION, "0.1.0"), COMMAND.document);
    }
}
