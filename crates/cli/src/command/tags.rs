//! `serf tags`: changes what the agent tells about its node.

use std::collections::BTreeMap;

use serde::Serialize;
use serf_agent::config::tags;
use serf_rpc::Text;

use super::connect::{failed, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::{Flag, Flags};
use crate::output::Output;

pub(crate) const COMMAND: Command = Command {
    name: "tags",
    synopsis: "Modify tags of a running Serf agent",
    usage: "[options] ...",
    about: &[
        "Sets and removes tags of the agent's node. All members see the change. A tag that is both set and \
              deleted is set.",
    ],
    flags: &[
        Flag::list("set", "KEY=VALUE", "Set a tag."),
        Flag::list("delete", "KEY", "Remove a tag."),
        FORMAT,
    ],
    document: r#"{
  "set": {
    "role": "web"
  },
  "deleted": [
    "spare"
  ]
}"#,
    output: &["That there was no such tag to remove is no failure."],
    failure: "The tags are too long together, or the agent was not reached.",
    examples: &[(
        "serf tags -set role=web -delete spare",
        "Puts a spare node to work: sets one tag, and removes another.",
    )],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let (set, delete) = (flags.list("set"), flags.list("delete"));
    if set.is_empty() && delete.is_empty() {
        return Err(Failure::Help);
    }
    let set = tags::parse_all(set).map_err(|error| Failure::Message(format!("Error: {error}")))?;
    let format = format(flags)?;
    let document = Document { set: set.into_iter().collect(), deleted: delete };
    let text = |(key, value): (&String, &String)| (Text::from(&**key), Text::from(&**value));
    let set = document.set.iter().map(text).collect();
    // What is both set and deleted is set.
    let delete = document.deleted.iter().map(|key| Text::from(&**key)).collect();
    with_agent(flags, async |agent| agent.tags(set, delete).await.map_err(failed("Error setting tags")))?;
    out.report(format, "Successfully updated agent tags", &document);
    Ok(())
}

#[derive(Serialize)]
struct Document {
    set: BTreeMap<String, String>,
    deleted: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let set = [("role".to_owned(), "web".to_owned())].into();
        let document = Document { set, deleted: vec!["spare".into()] };
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
    }
}
