//! `serf monitor`: the agent's log as it happens.

use serf_agent::text::quote;
use serf_rpc::message::{EventRecord, Member};

use super::connect::{failed, with_agent};
use super::{Command, Failure};
use crate::flags::{Flag, Flags};
use crate::output::Output;

pub(crate) const COMMAND: Command = Command {
    name: "monitor",
    synopsis: "Stream logs from a Serf agent",
    about: &[
        "Prints the latest lines of the agent's log and then goes on with new ones, until interrupted. The \
              level may be lower than the one at which the agent itself prints. Events are shown as well.",
    ],
    flags: &[Flag::text("log-level", "LEVEL", "The lowest level to show: trace, debug, info, warn or err.")
        .or("info")],
    examples: &[("serf monitor -log-level=debug", "Watches the agent closely.")],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let level = flags.text("log-level");
    with_agent(flags, async |agent| {
        let mut events = agent.stream("*").await.map_err(failed("Error starting stream"))?;
        let mut lines = agent.monitor(level).await.map_err(failed("Error starting monitor"))?;
        let mut lost = 0;
        loop {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => {
                    return interrupted.map_err(|e| Failure::Message(format!("Error waiting for signals: {e}")));
                }
                line = lines.next() => match line {
                    Some(Ok(line)) => out.line(&*out.shown().text(line.log.as_bytes())),
                    Some(Err(error)) => out.line(format!("Error reading a log line: {error}")),
                    None => break,
                },
                event = events.next() => match event {
                    Some(Ok(event)) => out.line(describe(&event)),
                    Some(Err(error)) => out.line(format!("Error reading an event: {error}")),
                    None => break,
                },
            }
            let now = lines.lost() + events.lost();
            if now > lost {
                out.line(format!("({} lines and events came faster than they were printed)", now - lost));
                lost = now;
            }
        }
        Err(Failure::Message(
            "\nRemote side ended the monitor! The agent has ended, or has lost the connection.".to_owned(),
        ))
    })
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
    use serf_rpc::message::UserEventRecord;

    use super::*;

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
