//! `serf tags`: changes what the agent tells about its node.

use serf_agent::config::tags;
use serf_rpc::Text;

use super::connect::{failed, with_agent};
use super::{Command, Failure};
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
    flags: &[Flag::list("set", "KEY=VALUE", "Set a tag."), Flag::list("delete", "KEY", "Remove a tag.")],
    examples: &[("serf tags -set role=web -delete spare", "Puts a spare node to work.")],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let (set, delete) = (flags.list("set"), flags.list("delete"));
    if set.is_empty() && delete.is_empty() {
        return Err(Failure::Help);
    }
    let set = tags::parse_all(set).map_err(|error| Failure::Message(format!("Error: {error}")))?;
    let set = set.into_iter().map(|(key, value)| (Text::from(key), Text::from(value))).collect();
    let delete = delete.into_iter().map(Text::from).collect();
    with_agent(flags, async |agent| agent.tags(set, delete).await.map_err(failed("Error setting tags")))?;
    out.line("Successfully updated agent tags");
    Ok(())
}
