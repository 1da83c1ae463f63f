//! `serf monitor`: the agent's log as it happens.

use serde::Serialize;
use serf_agent::events::Payload;
use serf_agent::members::MemberDocument;
use serf_agent::text::quote;
use serf_rpc::message::{EventRecord, LogRecord, Member};
use serf_rpc::{Error, Records};

use super::connect::{failed, interruptible, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::{Flag, Flags};
use crate::output::{Format, Output, document_text, error_line};

pub(crate) const COMMAND: Command = Command {
    name: "monitor",
    synopsis: "Stream logs from a Serf agent",
    about: &[
        "Prints the latest lines of the agent's log and then goes on with new ones, until interrupted. The \
              level may be lower than the one at which the agent itself prints. Events are shown as well.",
    ],
    flags: &[
        Flag::text("log-level", "LEVEL", "The lowest level to show: trace, debug, info, warn or err.")
            .or("info"),
        Flag::text(
            "event",
            "FILTER",
            "The events to show, with commas between: member-join, member-leave, member-failed, \
             member-update, member-reap, user, user:NAME, query, query:NAME, or * for all.",
        )
        .or("*"),
        FORMAT,
    ],
    document: r#"{"log":"2026/11/20 23:34:26 [INFO] serf: EventMemberJoin: n2 10.0.0.2","level":"info"}
{"event":"member-join","members":[{"name":"n2","addr":"10.0.0.2:7946","port":7946,"tags":{"role":"db"},"status":"alive","protocol":{"max":5,"min":2,"version":5}}]}
{"event":"user","name":"deploy","ltime":7,"coalesce":true,"payload":"v1.2","payload_base64":"djEuMg=="}
{"event":"query","name":"load","ltime":3,"id":1,"payload":"","payload_base64":""}
{"lost":12}"#,
    output: &[
        "Each line is a document of its own: a line of the log with its level; an event, as the HTTP API tells \
         it; or how many of these came faster than they were taken. A payload that is not UTF-8 is `null`, \
         and whole in base64. If the agent ends, the last line is on standard error.",
    ],
    failure: "The agent has ended, or was not reached. Interrupted, it ends with 0.",
    examples: &[
        ("serf monitor -log-level=debug", "Watches the agent closely."),
        ("serf monitor -format=json | jq -r 'select(.event == \"user\").name'", "The names of user events."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let (level, events) = (flags.text("log-level"), flags.text("event"));
    let format = format(flags)?;
    with_agent(flags, async |agent| {
        let stream = async {
            let events = agent.stream(events).await.map_err(failed("Error starting stream"))?;
            let lines = agent.monitor(level).await.map_err(failed("Error starting monitor"))?;
            match format {
                Format::Text => follow(events, lines, &mut AsText(out)).await,
                Format::Json => follow(events, lines, &mut AsJson(out)).await,
            }
            if out.is_over() {
                return Ok(());
            }
            let end = "Remote side ended the monitor! The agent has ended, or has lost the connection.";
            match format {
                Format::Text => Err(Failure::Message(format!("\n{end}"))),
                Format::Json => {
                    error_line(end);
                    Err(Failure::Exit(1))
                }
            }
        };
        interruptible(stream, Failure::Exit(0)).await
    })
}

/// How what happens is told.
trait Teller {
    fn line(&mut self, line: Result<LogRecord, Error>);
    fn event(&mut self, event: Result<EventRecord, Error>);
    fn lost(&mut self, count: u64);
    /// Is nobody listening any more?
    fn is_over(&self) -> bool;
}

/// Tells what happens until the agent goes away, or whoever reads it.
async fn follow(mut events: Records<EventRecord>, mut lines: Records<LogRecord>, teller: &mut impl Teller) {
    let mut lost = 0;
    while !teller.is_over() {
        // Both end when the connection does, each once what it still has is taken.
        tokio::select! {
            Some(line) = lines.next() => teller.line(line),
            Some(event) = events.next() => teller.event(event),
            else => return,
        }
        let now = lines.lost() + events.lost();
        if now > lost {
            teller.lost(now - lost);
            lost = now;
        }
    }
}

struct AsText<'a>(&'a mut Output);

impl Teller for AsText<'_> {
    fn line(&mut self, line: Result<LogRecord, Error>) {
        match line {
            Ok(line) => self.0.line(&*self.0.shown().text(line.log.as_bytes())),
            Err(error) => self.0.line(format!("Error reading a log line: {error}")),
        }
    }

    fn event(&mut self, event: Result<EventRecord, Error>) {
        match event {
            Ok(event) => self.0.line(describe(&event)),
            Err(error) => self.0.line(format!("Error reading an event: {error}")),
        }
    }

    fn lost(&mut self, count: u64) {
        self.0.line(format!("({count} lines and events came faster than they were printed)"));
    }

    fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

struct AsJson<'a>(&'a mut Output);

impl Teller for AsJson<'_> {
    fn line(&mut self, line: Result<LogRecord, Error>) {
        match line {
            Ok(line) => self.0.record(&Document::of_line(&line)),
            Err(error) => error_line(&format!("Error reading a log line: {error}")),
        }
    }

    fn event(&mut self, event: Result<EventRecord, Error>) {
        match event {
            Ok(event) => self.0.record(&Document::of_event(&event)),
            Err(error) => error_line(&format!("Error reading an event: {error}")),
        }
    }

    fn lost(&mut self, count: u64) {
        self.0.record(&Document::Lost { lost: count });
    }

    fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Document {
    Line {
        log: String,
        level: Option<String>,
    },
    Members {
        event: String,
        members: Vec<MemberDocument>,
    },
    User {
        event: String,
        name: String,
        ltime: u64,
        coalesce: bool,
        #[serde(flatten)]
        payload: Payload,
    },
    Query {
        event: String,
        name: String,
        ltime: u64,
        id: u64,
        #[serde(flatten)]
        payload: Payload,
    },
    Lost {
        lost: u64,
    },
}

impl Document {
    fn of_line(line: &LogRecord) -> Self {
        let log = document_text(line.log.as_bytes());
        // `DATE TIME [LEVEL] TEXT`
        let level = log.split(' ').nth(2).and_then(|word| word.strip_prefix('[')?.strip_suffix(']'));
        Self::Line { level: level.map(str::to_lowercase), log }
    }

    fn of_event(event: &EventRecord) -> Self {
        let text = |text: &serf_rpc::Text| document_text(text.as_bytes());
        match event {
            EventRecord::Members(e) => Self::Members {
                event: text(&e.event),
                members: e.members.iter().map(MemberDocument::of).collect(),
            },
            EventRecord::User(e) => Self::User {
                event: text(&e.event),
                name: text(&e.name),
                ltime: e.ltime,
                coalesce: e.coalesce,
                payload: Payload::of(e.payload.as_deref().unwrap_or_default()),
            },
            EventRecord::Query(e) => Self::Query {
                event: text(&e.event),
                name: text(&e.name),
                ltime: e.ltime,
                id: e.id,
                payload: Payload::of(e.payload.as_deref().unwrap_or_default()),
            },
        }
    }
}

/// A heading, and a line for each part of the event.
fn describe(event: &EventRecord) -> String {
    let fields: Vec<(&str, String)> = match event {
        EventRecord::Members(e) => vec![
            ("Event", quote(e.event.as_bytes())),
            ("Members", e.members.iter().map(member).collect::<Vec<_>>().join(", ")),
        ],
        EventRecord::User(e) => vec![
            ("Coalesce", e.coalesce.to_string()),
            ("Event", quote(e.event.as_bytes())),
            ("LTime", e.ltime.to_string()),
            ("Name", quote(e.name.as_bytes())),
            ("Payload", payload(e.payload.as_deref())),
        ],
        EventRecord::Query(e) => vec![
            ("Event", quote(e.event.as_bytes())),
            ("ID", e.id.to_string()),
            ("LTime", e.ltime.to_string()),
            ("Name", quote(e.name.as_bytes())),
            ("Payload", payload(e.payload.as_deref())),
        ],
    };
    // Whatever others have chosen is in quotes, with escapes: safe for a terminal as it is.
    let lines: String = fields.iter().map(|(key, value)| format!("\n\t{key}: {value}")).collect();
    format!("Event Info:{lines}")
}

fn member(m: &Member) -> String {
    let addr = m.ip().map_or_else(|| "?".to_owned(), |ip| std::net::SocketAddr::new(ip, m.port).to_string());
    format!("{} at {addr} {}", quote(m.name.as_bytes()), m.status)
}

/// As Go shows bytes, which scripts look for.
fn payload(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "<nil>".to_owned(),
        Some(bytes) => {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
            format!("[]byte{{{}}}", hex.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serf_agent::json::to_string_line;
    use serf_rpc::message::{MemberEventRecord, QueryEventRecord, UserEventRecord};

    use super::*;

    #[test]
    fn documents_are_as_described() {
        let tags = [("role", "db")].into_iter().collect();
        let n2 = Member {
            name: "n2".into(),
            addr: Some(vec![10, 0, 0, 2]),
            port: 7946,
            status: "alive".into(),
            tags,
            delegate_max: 5,
            delegate_min: 2,
            delegate_cur: 5,
            ..Member::default()
        };
        let user = UserEventRecord {
            event: "user".into(),
            ltime: 7,
            name: "deploy".into(),
            payload: Some(b"v1.2".to_vec()),
            coalesce: true,
        };
        let query =
            QueryEventRecord { event: "query".into(), id: 1, ltime: 3, name: "load".into(), payload: None };
        let line = LogRecord { log: "2026/11/20 23:34:26 [INFO] serf: EventMemberJoin: n2 10.0.0.2".into() };
        let documents = [
            Document::of_line(&line),
            Document::of_event(&EventRecord::Members(MemberEventRecord {
                event: "member-join".into(),
                members: vec![n2],
            })),
            Document::of_event(&EventRecord::User(user)),
            Document::of_event(&EventRecord::Query(query)),
            Document::Lost { lost: 12 },
        ];
        let lines: Vec<_> = documents.iter().map(to_string_line).collect();
        assert_eq!(lines.join("\n"), COMMAND.document);
        assert_eq!(
            to_string_line(&Document::of_line(&LogRecord { log: "odd".into() })),
            r#"{"log":"odd","level":null}"#
        );
        assert_eq!(to_string_line(&Payload::of(b"\xff")), r#"{"payload":null,"payload_base64":"/w=="}"#);
    }

    #[test]
    fn an_event_has_a_line_for_each_part() {
        let event = EventRecord::User(UserEventRecord {
            event: "user".into(),
            ltime: 7,
            name: "de\nploy".into(),
            payload: Some(b"v1".to_vec()),
            coalesce: true,
        });
        assert_eq!(
            describe(&event),
            "Event Info:\n\tCoalesce: true\n\tEvent: \"user\"\n\tLTime: 7\n\tName: \"de\\nploy\"\n\tPayload: \
             []byte{0x76, 0x31}"
        );
    }
}
