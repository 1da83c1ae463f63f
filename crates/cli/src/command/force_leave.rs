//! `serf force-leave`: gives up on a failed node.

use serde::Serialize;
use serf_agent::text::quote;

use super::connect::{arguments, failed, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::Flag;
use crate::output::{Format, document_text, remark};

pub(crate) const COMMAND: Command = Command {
    name: "force-leave",
    synopsis: "Forces a member of the cluster to enter the \"left\" state",
    usage: "[options] NODE",
    about: &[
        "Declares a failed node to have left for good, so that the others stop trying to reach it. \
         Without this they go on for a day by default, and then forget the node.",
        "A node that is alive after all notices and comes back.",
    ],
    flags: &[FORMAT, Flag::switch("prune", "Also remove the node from the list of members at once.")],
    document: r#"{
  "node": "web-7",
  "prune": false
}"#,
    output: &["As text it prints nothing. A name that nobody has is no failure; on a terminal, a \
              note says so."],
    examples: &[
        ("serf force-leave web-7", "The machine is gone and will not return."),
        ("serf force-leave -prune web-7", "The same, and it shall not be listed any more."),
    ],
    run: |flags, out| {
        let [node] = <[_; 1]>::try_from(arguments(flags))
            .map_err(|_| Failure::Usage("A node name must be specified to force leave.".to_owned()))?;
        let format = format(flags)?;
        let prune = flags.is_on("prune");
        let document = Document { node: document_text(node.as_bytes()), prune };
        with_agent(flags, async |agent| {
            // Before: one that is pruned cannot be found any more. Should this fail, what follows says why.
            let members = agent.members().await;
            let known = members.map_or(true, |all| all.iter().any(|member| member.name == node));
            agent.force_leave(node.clone(), prune).await.map_err(failed("Error force leaving"))?;
            if !known {
                remark(&format!("there is no member {}.", quote(node.as_bytes())));
            }
            Ok(())
        })?;
        // As text, success has always been silent.
        if format == Format::Json {
            out.report(format, "", &document);
        }
        Ok(())
    },
    ..Command::PLAIN
};

#[derive(Serialize)]
struct Document {
    node: String,
    prune: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let document = Document { node: "web-7".into(), prune: false };
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
    }
}
