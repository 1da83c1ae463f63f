//! `serf info`: the agent about itself.

use std::collections::BTreeMap;

use serf_rpc::Text;
use serf_rpc::message::StatsResponse;

use super::connect::{failed, with_agent};
use super::{Command, FORMAT, format};
use crate::output::Shown;

pub(crate) const COMMAND: Command = Command {
    name: "info",
    synopsis: "Provides debugging information for operators",
    about: &[
        "Shows what the agent knows about itself: its name and tags, counts of members, logical clocks, \
         queue lengths, event handlers, and the program it runs in.",
    ],
    flags: &[FORMAT],
    document: r#"{
  "agent": {
    "name": "n1"
  },
  "serf": {
    "failed": "0",
    "members": "3"
  }
}"#,
    output: &[
        "Sections of names with values. All values are text, numbers too. The example is cut: the sections \
         are agent, event_handlers, runtime, serf and tags.",
    ],
    examples: &[
        ("serf info", "For people."),
        ("serf info -format=json | jq -r .serf.members", "For scripts: the number of members."),
    ],
    run: |flags, out| {
        let format = format(flags)?;
        let stats =
            with_agent(flags, async |agent| agent.stats().await.map_err(failed("Error querying agent")))?;
        let shown = out.shown();
        out.result(&format.render(|| as_text(&stats, shown), as_document(&stats)));
        Ok(())
    },
    ..Command::PLAIN
};

/// Sections in order of their names, each with its values in order of theirs.
fn as_text(stats: &StatsResponse, shown: Shown) -> Vec<u8> {
    let mut out = Vec::new();
    let sections: BTreeMap<&Text, _> = stats.iter().map(|(name, section)| (name, section)).collect();
    for (name, section) in sections {
        out.extend_from_slice(&shown.text(name.as_bytes()));
        out.extend_from_slice(b":\n");
        let values: BTreeMap<&Text, &Text> = section.iter().map(|(key, value)| (key, value)).collect();
        for (key, value) in values {
            out.push(b'\t');
            out.extend_from_slice(&shown.text(key.as_bytes()));
            out.extend_from_slice(b" = ");
            out.extend_from_slice(&shown.text(value.as_bytes()));
            out.push(b'\n');
        }
    }
    out
}

fn as_document(stats: &StatsResponse) -> BTreeMap<String, BTreeMap<String, String>> {
    let section = |section: &serf_rpc::Pairs<Text>| {
        section.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    stats.iter().map(|(name, values)| (name.to_string(), section(values))).collect()
}

#[cfg(test)]
mod tests {
    use serf_rpc::Pairs;

    use super::*;

    fn stats() -> StatsResponse {
        let pairs = |pairs: &[(&str, &str)]| -> Pairs<Text> {
            pairs.iter().map(|&(key, value)| (Text::from(key), Text::from(value))).collect()
        };
        [
            (Text::from("serf"), pairs(&[("members", "3"), ("failed", "0")])),
            (Text::from("agent"), pairs(&[("name", "n\x1b1")])),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn text_is_sorted() {
        let text = as_text(&stats(), Shown::Raw);
        assert_eq!(text, b"agent:\n\tname = n\x1b1\nserf:\n\tfailed = 0\n\tmembers = 3\n");
        assert!(as_text(&stats(), Shown::Escaped).starts_with(
            br"agent:
	name = n\x1b1"
        ));
    }

    #[test]
    fn documents_hold_strings() {
        let text = serf_agent::json::to_string_pretty(&as_document(&stats()));
        assert_eq!(text.replace(r"\u001b", ""), COMMAND.document);
    }
}
