//! `serf leave`: ends the agent with a goodbye.

use serde::Serialize;

use super::connect::{failed, with_agent};
use super::{Command, FORMAT, format};

pub(crate) const COMMAND: Command = Command {
    name: "leave",
    synopsis: "Gracefully leaves the Serf cluster and shuts down",
    about: &["Makes the agent tell all others that it leaves, and then end. To them it is a node that has \
         left, not one that has failed."],
    flags: &[FORMAT],
    document: r#"{
  "left": true
}"#,
    output: &["It returns when the others have been told; the agent ends right after."],
    examples: &[("serf leave", "Takes this machine out of the cluster.")],
    run: |flags, out| {
        let format = format(flags)?;
        with_agent(flags, async |agent| agent.leave().await.map_err(failed("Error leaving")))?;
        out.report(format, "Graceful leave complete", &Document { left: true });
        Ok(())
    },
    ..Command::PLAIN
};

#[derive(Serialize)]
struct Document {
    left: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        assert_eq!(serf_agent::json::to_string_pretty(&Document { left: true }), COMMAND.document);
    }
}
