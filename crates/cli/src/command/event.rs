//! `serf event`: tells something to all nodes.

use super::connect::{arguments, failed, with_agent};
use super::{Command, Failure};
use crate::flags::{Flag, Flags};
use crate::output::Output;

pub(crate) const COMMAND: Command = Command {
    name: "event",
    synopsis: "Send a custom event through the Serf cluster",
    usage: "[options] NAME [PAYLOAD]",
    about: &[
        "Sends a user event to every node of the cluster. Event handlers of the agents see its name and \
         get the payload on their standard input. Name and payload together are limited to 512 bytes \
         unless the agents are configured otherwise.",
    ],
    flags: &[Flag::switch(
        "coalesce",
        "May agents treat several events of the same name that arrive shortly after one another as one, and \
         deliver only the latest?",
    )
    .or("true")],
    examples: &[
        ("serf event deploy 1f3870be", "Tells all nodes to deploy a revision."),
        ("serf event -coalesce=false tick", "Every single one of these counts."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let mut arguments = arguments(flags).into_iter();
    let usage = |text: &str| Failure::Usage(text.to_owned());
    let name = arguments.next().ok_or_else(|| usage("An event name must be specified."))?;
    // No payload and an empty one are the same to everybody.
    let payload = arguments.next().filter(|payload| !payload.is_empty()).map(|payload| payload.into_bytes());
    if arguments.next().is_some() {
        return Err(usage("Too many command line arguments. Only a name and payload must be specified."));
    }
    let coalesce = flags.is_on("coalesce");
    let shown = name.clone();
    with_agent(flags, async |agent| {
        agent.event(name, payload, coalesce).await.map_err(failed("Error sending event"))
    })?;
    let mut line = b"Event '".to_vec();
    line.extend_from_slice(&out.shown().text(shown.as_bytes()));
    line.extend_from_slice(format!("' dispatched! Coalescing enabled: {coalesce}").as_bytes());
    out.line(line);
    Ok(())
}
