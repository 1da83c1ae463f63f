//! `serf query`: asks nodes something.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serf_agent::config::tags;
use serf_agent::json;
use serf_rpc::message::{MembersFilteredRequest, QueryRequest};
use serf_rpc::{Answer, Answers, Client, Error, Text};

use super::connect::{arguments, failed, interruptible, with_agent};
use super::{Command, FORMAT, Failure, note_of_name, payload};
use crate::flags::{Flag, Flags};
use crate::output::{Format, Output, document_text, error_line, remark};

pub(crate) const COMMAND: Command = Command {
    name: "query",
    synopsis: "Send a query to the Serf cluster",
    usage: "[options] NAME [PAYLOAD]",
    about: &[
        "Sends a query to the nodes of the cluster and prints what they answer until the time is up. Nodes \
              answer with what their event handlers print.",
    ],
    flags: &[
        FORMAT,
        Flag::list("node", "NODE", "Ask only the node of that name."),
        Flag::list("tag", "KEY=REGEXP", "Ask only nodes whose tag of that name matches."),
        Flag::duration(
            "timeout",
            "DURATION",
            "How long to wait. By default it depends on the size of the cluster.",
        ),
        Flag::switch("no-ack", "Do not ask nodes to acknowledge that they got the query."),
        Flag::integer("relay-factor", "N", "Have answers also sent by way of N other nodes, 255 at most."),
        Flag::switch(
            "early",
            "End as soon as every live member that is asked has answered. Without this the whole time is \
             waited for.",
        ),
        payload::FLAG,
    ],
    document: r#"{
  "Acks": [
    "n1",
    "n2"
  ],
  "Responses": {
    "n1": "0.42\n"
  }
}"#,
    output: &[
        "Text is printed as answers come; one line break at the end of an answer is left out. The document \
         is printed when the time is up. Acknowledgements are in the order in which they came, and `null` \
         if there are none.",
        "That nobody has answered is no failure.",
    ],
    failure: "The query was refused, interrupted, or the agent was not reached.",
    examples: &[
        ("serf query load", "Every node's answer to one question."),
        ("serf query -tag role=web -timeout=2s uptime", "Asks only some, and not for long."),
        ("serf query -early -node=db-1 load", "Asks one, and ends with its answer."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let query = request(flags)?;
    note_of_name("query", &query.name);
    let early = flags.is_on("early");
    let format = Format::named(&flags.text("format"))
        .map_err(|_| Failure::Message(format!("Invalid format: {}", flags.text("format"))))?;
    with_agent(flags, async |agent| {
        let talk = async {
            let (name, acks) = (query.name.clone(), query.request_ack);
            let awaited = if early { Some(Awaited::of(&agent, &query).await?) } else { None };
            let answers = agent.query(query).await.map_err(failed("Error sending query"))?;
            let mut answers = Until { answers, awaited };
            match format {
                Format::Text => print(&name, acks, &mut answers, out).await,
                Format::Json => out.line(json::to_string_pretty(&collect(&mut answers).await)),
            }
            Ok(())
        };
        // Whoever interrupts wants to hear no more, not even totals.
        interruptible(talk, Failure::Exit(1)).await
    })
}

fn request(flags: &Flags) -> Result<QueryRequest, Failure> {
    let tags =
        tags::parse_all(flags.list("tag")).map_err(|error| Failure::Message(format!("Error: {error}")))?;
    let mut arguments = arguments(flags).into_iter();
    let usage = |text: &str| Failure::Usage(text.to_owned());
    let name = arguments.next().ok_or_else(|| usage("A query name must be specified."))?;
    let payload = arguments.next();
    if arguments.next().is_some() {
        return Err(usage("Too many command line arguments. Only a name and payload must be specified."));
    }
    let relay_factor = u8::try_from(flags.integer("relay-factor"))
        .map_err(|_| Failure::Message("Relay factor must be between 0 and 255".to_owned()))?;
    let payload = payload::payload(flags, payload)?;
    let nodes: Vec<Text> = flags.list("node").into_iter().map(Text::from).collect();
    Ok(QueryRequest {
        filter_nodes: Some(nodes).filter(|nodes| !nodes.is_empty()),
        filter_tags: Some(
            tags.into_iter().map(|(key, value)| (Text::from(key), Text::from(value))).collect(),
        ),
        request_ack: !flags.is_on("no-ack"),
        relay_factor,
        timeout: flags.duration("timeout").as_nanos(),
        name,
        payload,
    })
}

/// Shows every answer as it comes, and how many there were.
async fn print(name: &Text, acks_wanted: bool, answers: &mut Until, out: &mut Output) {
    let shown = out.shown();
    let quoted = |before: &str, name: &Text, after: &[u8]| {
        [before.as_bytes(), b" '", &*shown.text(name.as_bytes()), b"'", after].concat()
    };
    out.line(quoted("Query", name, b" dispatched"));
    let (mut acks, mut responses) = (0_u64, 0_u64);
    while !out.is_over()
        && let Some(answer) = answers.next().await
    {
        match answer {
            Answer::Ack { from } => {
                acks += 1;
                out.line(quoted("Ack from", &from, b""));
            }
            Answer::Response { from, payload } => {
                responses += 1;
                // The line break that most commands end their output with.
                let payload = payload.strip_suffix(b"\n").unwrap_or(&payload);
                out.line(quoted("Response from", &from, &[b": ", &*shown.block(payload)].concat()));
            }
        }
    }
    if acks_wanted {
        out.line(format!("Total Acks: {acks}"));
    }
    out.line(format!("Total Responses: {responses}"));
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    /// None at all is null.
    acks: Option<Vec<String>>,
    responses: BTreeMap<String, String>,
}

async fn collect(answers: &mut Until) -> Document {
    let mut document = Document::default();
    while let Some(answer) = answers.next().await {
        match answer {
            Answer::Ack { from } => {
                document.acks.get_or_insert_default().push(document_text(from.as_bytes()));
            }
            Answer::Response { from, payload } => {
                document.responses.insert(document_text(from.as_bytes()), document_text(&payload));
            }
        }
    }
    document
}

/// Who is yet to answer.
struct Awaited {
    acks: BTreeSet<Text>,
    responses: BTreeSet<Text>,
}

impl Awaited {
    /// The live members that a query is for, as far as the agent knows.
    async fn of(agent: &Client, query: &QueryRequest) -> Result<Self, Failure> {
        // Agents wrap these in `^` and `$`; a query's may match anywhere.
        let anywhere = |(tag, expression): &(Text, Text)| {
            (tag.clone(), Text::from([b"(?s).*(?:", expression.as_bytes(), b").*"].concat()))
        };
        let tags = query.filter_tags.as_ref().map(|tags| tags.iter().map(anywhere).collect());
        let filter = MembersFilteredRequest { tags, status: "alive".into(), name: Text::default() };
        let members = agent.members_filtered(filter).await.map_err(failed("Error retrieving members"))?;
        let names = query.filter_nodes.as_ref();
        let asked = members.into_iter().map(|member| member.name);
        let asked: BTreeSet<Text> =
            asked.filter(|name| names.is_none_or(|names| names.contains(name))).collect();
        let acks = if query.request_ack { asked.clone() } else { BTreeSet::new() };
        Ok(Self { acks, responses: asked })
    }

    fn hear(&mut self, answer: &Answer) {
        match answer {
            Answer::Ack { from } => self.acks.remove(from),
            Answer::Response { from, .. } => self.responses.remove(from),
        };
    }

    fn is_nobody(&self) -> bool {
        self.acks.is_empty() && self.responses.is_empty()
    }
}

/// The answers to a query, until its time is up or, if somebody is awaited, until nobody is any more.
struct Until {
    answers: Answers,
    awaited: Option<Awaited>,
}

impl Until {
    /// The next answer. When the agent goes away the query is over, as it has always been, and what has come counts.
    async fn next(&mut self) -> Option<Answer> {
        if self.awaited.as_ref().is_some_and(Awaited::is_nobody) {
            return None;
        }
        loop {
            match self.answers.next().await {
                Some(Ok(answer)) => {
                    self.awaited.iter_mut().for_each(|awaited| awaited.hear(&answer));
                    return Some(answer);
                }
                None if self.answers.lost() > 0 => {
                    let lost = self.answers.lost();
                    error_line(&format!("Note: {lost} answers came faster than they were taken."));
                    return None;
                }
                None => return None,
                Some(Err(Error::Closed)) => {
                    remark("the agent has gone away, and there may be more answers than these.");
                    return None;
                }
                Some(Err(error)) => error_line(&format!("Note: an answer makes no sense: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let acks = Some(vec!["n1".to_owned(), "n2".to_owned()]);
        let document = Document { acks, responses: [("n1".to_owned(), "0.42\n".to_owned())].into() };
        assert_eq!(json::to_string_pretty(&document), COMMAND.document);
    }
}
