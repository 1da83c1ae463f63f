//! `serf event`: tells something to all nodes.

use serde::Serialize;

use super::connect::{arguments, failed, with_agent};
use super::{Command, FORMAT, Failure, format, note_of_name, payload};
use crate::flags::{Flag, Flags};
use crate::output::{Output, document_text};

pub(crate) const COMMAND: Command = Command {
    name: "event",
    synopsis: "Send a custom event through the Serf cluster",
    usage: "[options] NAME [PAYLOAD]",
    about: &[
        "Sends a user event to every node of the cluster. Event handlers of the agents see its name and \
         get the payload on their standard input. Name and payload together are limited to 512 bytes \
         unless the agents are configured otherwise.",
    ],
    flags: &[
        Flag::switch(
            "coalesce",
            "Have each event delivered. Otherwise agents may treat several of one name that arrive shortly \
             after one another as one, and deliver only the latest.",
        )
        .or("true"),
        payload::FLAG,
        FORMAT,
    ],
    document: r#"{
  "event": "deploy",
  "coalesce": true
}"#,
    output: &[
        "The event is on its way when the command returns. Who has got it is not known; ask with `serf query` \
         where that matters.",
    ],
    failure: "Name and payload are too long together, or the agent was not reached.",
    examples: &[
        ("serf event deploy 1f3870be", "Tells all nodes to deploy a revision."),
        ("serf event -coalesce=false tick", "Every single one of these is to be delivered."),
        ("date | serf event -payload-file=- now", "The payload is what a program prints."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let mut arguments = arguments(flags).into_iter();
    let usage = |text: &str| Failure::Usage(text.to_owned());
    let name = arguments.next().ok_or_else(|| usage("An event name must be specified."))?;
    let payload = arguments.next();
    if arguments.next().is_some() {
        return Err(usage("Too many command line arguments. Only a name and payload must be specified."));
    }
    let payload = payload::payload(flags, payload)?;
    let format = format(flags)?;
    note_of_name("event", &name);
    let coalesce = flags.is_on("coalesce");
    let shown = name.clone();
    with_agent(flags, async |agent| {
        agent.event(name, payload, coalesce).await.map_err(failed("Error sending event"))
    })?;
    let mut line = b"Event '".to_vec();
    line.extend_from_slice(&out.shown().text(shown.as_bytes()));
    line.extend_from_slice(format!("' dispatched! Coalescing enabled: {coalesce}").as_bytes());
    let document = Document { event: document_text(shown.as_bytes()), coalesce };
    out.report(format, line, &document);
    Ok(())
}

#[derive(Serialize)]
struct Document {
    event: String,
    coalesce: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let document = Document { event: "deploy".into(), coalesce: true };
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
    }
}
