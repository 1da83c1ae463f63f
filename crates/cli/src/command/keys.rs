//! `serf keys`: the encryption keys of the cluster.

use std::collections::BTreeMap;

use serde::Serialize;
use serf_rpc::message::KeyResponse;
use serf_rpc::{Error, Pairs, Text};

use super::connect::with_agent;
use super::{Command, FORMAT, Failure, format};
use crate::flags::{Flag, Flags};
use crate::output::{Format, Output, Shown, columns, document_text, error_line, harmless};
use crate::table::{Cell, Look, Table};

pub(crate) const COMMAND: Command = Command {
    name: "keys",
    synopsis: "Manipulate the internal encryption keyring used by Serf",
    usage: "[options]...",
    about: &[
        "Shows or changes the keys of all agents of a cluster. Agents decrypt with any of their keys and \
         encrypt with one, the primary key. So a cluster gets a new key in three steps: install it, use \
         it, remove the old one. Each step may be repeated without harm.",
        "The exit code is 0 only if every node has answered and none has reported a problem.",
    ],
    flags: &[
        Flag::text("install", "KEY", "Add this key to all keyrings, for decryption."),
        Flag::text("use", "KEY", "Make this key the primary one. All nodes must have it by now."),
        Flag::text("remove", "KEY", "Drop this key, which must not be the primary one."),
        Flag::switch("list", "Show all keys, and how many nodes have them."),
        FORMAT,
    ],
    document: r#"{
  "action": "list",
  "error": null,
  "keys": {
    "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=": 2
  },
  "messages": {},
  "nodes": 2,
  "responses": 2,
  "errors": 0
}"#,
    output: &[
        "The action is install, use, remove or list. Keys are there for list only, each with the number of \
         nodes that have it. Messages are what nodes had to say, by name. The document is also printed when \
         nodes report failure; then it says so in `error`, and the exit code is 1.",
    ],
    failure: "Not every node has answered and agreed, or the agent was not reached.",
    examples: &[
        ("serf keys -list", "Shows each key with the number of nodes that hold it."),
        ("serf keys -install=$(serf keygen)", "The first step to a new key."),
    ],
    run,
    ..Command::PLAIN
};

/// What can be done, and the words for it: while it is done, when it is done, and when it has failed.
#[derive(Clone, Copy)]
enum Task {
    Install,
    Use,
    Remove,
    List,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Use => "use",
            Self::Remove => "remove",
            Self::List => "list",
        }
    }

    fn words(self) -> [&'static str; 3] {
        match self {
            Self::Install => {
                ["Installing key on all members...", "Successfully installed key!", "Error installing key"]
            }
            Self::Use => [
                "Changing primary key on all members...",
                "Successfully changed primary key!",
                "Error changing primary key",
            ],
            Self::Remove => {
                ["Removing key on all members...", "Successfully removed key!", "Error removing key"]
            }
            Self::List => [
                "Asking all members for installed keys...",
                "Keys gathered, listing cluster keys...",
                "Failed to gather member keys",
            ],
        }
    }
}

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    // An empty key is none: so it is in scripts with a variable that is not set.
    let key = |name: &str, task| Some((task, flags.text(name))).filter(|(_, key)| !key.is_empty());
    let wanted = [
        key("install", Task::Install),
        key("use", Task::Use),
        key("remove", Task::Remove),
        flags.is_on("list").then(|| (Task::List, String::new())),
    ];
    let mut wanted = wanted.into_iter().flatten();
    let (task, key) = wanted.next().ok_or(Failure::Help)?;
    if wanted.next().is_some() {
        let message = "Only one of -install, -use, -remove, or -list allowed";
        return Err(Failure::Message(message.to_owned()));
    }
    let format = format(flags)?;
    let [doing, done, failed] = task.words();
    with_agent(flags, async |agent| {
        if format == Format::Text {
            out.line(format!("==> {doing}"));
        }
        let result = match task {
            Task::Install => agent.install_key(key).await,
            Task::Use => agent.use_key(key).await,
            Task::Remove => agent.remove_key(key).await,
            Task::List => agent.list_keys().await,
        };
        if format == Format::Json {
            return tell(task, result, out);
        }
        let shown = out.shown();
        match result {
            Ok(report) => {
                out.line(format!("==> {done}"));
                if let Task::List = task {
                    out.line("");
                    match out.terminal() {
                        Some(terminal) => out.line(table(&report).render(terminal.colours)),
                        None => out.line(columns(&counts(&report))),
                    }
                }
                for (node, message) in messages(&report, shown) {
                    error_line(&format!("Note: {}: {}", Text::from(node), Text::from(message)));
                }
                Ok(())
            }
            Err(error) => {
                if let Error::Keys { report, .. } = &error {
                    let rows: Vec<_> = messages(report, shown)
                        .into_iter()
                        .map(|(node, message)| [b"failed:", &*node, &*message].join(&b'|'))
                        .collect();
                    if !rows.is_empty() {
                        out.line(columns(&rows));
                    }
                }
                out.line("");
                Err(Failure::Message(format!("{failed}: {error}")))
            }
        }
    })
}

/// The outcome as a document, if there is one.
fn tell(task: Task, result: Result<KeyResponse, Error>, out: &mut Output) -> Result<(), Failure> {
    match result {
        Ok(report) => {
            out.report(Format::Json, "", &Document::of(task, &report, None));
            Ok(())
        }
        Err(Error::Keys { error, report }) => {
            out.report(Format::Json, "", &Document::of(task, &report, Some(&error)));
            Err(Failure::Exit(1))
        }
        Err(error) => {
            let [_, _, failed] = task.words();
            Err(Failure::Message(format!("{failed}: {error}")))
        }
    }
}

#[derive(Serialize)]
struct Document {
    action: &'static str,
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<BTreeMap<String, i64>>,
    messages: BTreeMap<String, String>,
    nodes: i64,
    responses: i64,
    errors: i64,
}

impl Document {
    fn of(task: Task, report: &KeyResponse, error: Option<&Text>) -> Self {
        let text = |text: &Text| document_text(text.as_bytes());
        let counts = |keys: &Pairs<i64>| keys.iter().map(|(key, count)| (text(key), *count)).collect();
        let messages = report.messages.iter().flatten();
        Self {
            action: task.name(),
            error: error.map(text),
            keys: matches!(task, Task::List).then(|| report.keys.as_ref().map(counts).unwrap_or_default()),
            messages: messages.map(|(node, message)| (text(node), text(message))).collect(),
            nodes: report.num_nodes,
            responses: report.num_resp,
            errors: report.num_err,
        }
    }
}

/// A row for each key.
fn counts(report: &KeyResponse) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = report.keys.iter().flatten().collect();
    keys.sort();
    let row = |(key, count): &(Text, i64)| {
        [key.as_bytes(), format!("|[{count}/{}]", report.num_nodes).as_bytes()].concat()
    };
    keys.into_iter().map(row).collect()
}

/// The same for people.
fn table(report: &KeyResponse) -> Table {
    let mut table = Table::new(&["KEY", "NODES"]);
    let mut keys: Vec<_> = report.keys.iter().flatten().collect();
    keys.sort();
    for (key, count) in keys {
        // A key that some do not have is one to be installed again, or removed.
        let look = if *count == report.num_nodes { Look::Green } else { Look::Yellow };
        let nodes = Cell::new(format!("{count} of {}", report.num_nodes), look);
        table.push(vec![harmless(key.as_bytes()).into(), nodes]);
    }
    table
}

/// What nodes had to say, in order of their names.
fn messages(report: &KeyResponse, shown: Shown) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut messages: Vec<_> = report.messages.iter().flatten().collect();
    messages.sort();
    let text = |bytes: &Text| shown.text(bytes.as_bytes()).into_owned();
    messages.into_iter().map(|(node, message)| (text(node), text(message))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_as_described() {
        let keys = [("HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=", 2)].into_iter().collect();
        let report = KeyResponse { keys: Some(keys), num_nodes: 2, num_resp: 2, ..KeyResponse::default() };
        let document = Document::of(Task::List, &report, None);
        assert_eq!(serf_agent::json::to_string_pretty(&document), COMMAND.document);
        // Changes know no keys.
        let text = serf_agent::json::to_string_line(&Document::of(Task::Use, &report, Some(&"x".into())));
        assert!(text.starts_with(r#"{"action":"use","error":"x","messages":{}"#), "{text}");
    }
}
