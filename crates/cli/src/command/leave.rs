//! `serf leave`: ends the agent with a goodbye.

use super::Command;
use super::connect::{failed, with_agent};

pub(crate) const COMMAND: Command = Command {
    name: "leave",
    synopsis: "Gracefully leaves the Serf cluster and shuts down",
    about: &["Makes the agent tell all others that it leaves, and then end. To them it is a node that has \
         left, not one that has failed."],
    examples: &[("serf leave", "Takes this machine out of the cluster.")],
    run: |flags, out| {
        with_agent(flags, async |agent| agent.leave().await.map_err(failed("Error leaving")))?;
        out.line("Graceful leave complete");
        Ok(())
    },
    ..Command::PLAIN
};
