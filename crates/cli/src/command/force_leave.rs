//! `serf force-leave`: gives up on a failed node.

use super::connect::{arguments, failed, with_agent};
use super::{Command, Failure};
use crate::flags::Flag;

pub(crate) const COMMAND: Command = Command {
    name: "force-leave",
    synopsis: "Forces a member of the cluster to enter the \"left\" state",
    usage: "[options] NODE",
    about: &[
        "Declares a failed node to have left for good, so that the others stop trying to reach it. \
         Without this they go on for a day by default, and then forget the node.",
        "A node that is alive after all notices and comes back.",
    ],
    flags: &[Flag::switch("prune", "Also remove the node from the list of members at once.")],
    examples: &[
        ("serf force-leave web-7", "The machine is gone and will not return."),
        ("serf force-leave -prune web-7", "The same, and it shall not be listed any more."),
    ],
    run: |flags, _| {
        let [node] = <[_; 1]>::try_from(arguments(flags))
            .map_err(|_| Failure::Usage("A node name must be specified to force leave.".to_owned()))?;
        // Success has always been silent.
        with_agent(flags, async |agent| {
            agent.force_leave(node, flags.is_on("prune")).await.map_err(failed("Error force leaving"))
        })
    },
    ..Command::PLAIN
};
