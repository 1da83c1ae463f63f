//! `serf members -watch`: the list, whenever it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Local;
use serf_rpc::message::{EventRecord, Member, MembersFilteredRequest};
use serf_rpc::{Client, Error, Records};

use super::Failure;
use super::connect::failed;
use super::members::{Form, TASK, as_document, list, look};
use crate::output::{Format, Output, error_line, harmless};

/// Whatever happens to members.
const EVENTS: &str = "member-join,member-leave,member-failed,member-update,member-reap";

/// Names that are told of a change; of the rest only the number.
const NAMES_MAX: usize = 5;

/// Clears the screen, and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the members, and again when that has changed, until nobody looks any more.
pub(super) async fn watch(
    agent: &Client,
    filter: &MembersFilteredRequest,
    form: Form,
    address: &str,
    out: &mut Output,
) -> Result<(), Failure> {
    // Before the first look, so that nothing happens between the two.
    let mut events = agent.stream(EVENTS).await.map_err(failed("Error starting stream"))?;
    let mut shown = None;
    let mut news = format!("Watching since {}.", now());
    loop {
        match list(agent, filter.clone()).await {
            Ok(members) if shown.as_ref() == Some(&members) => {}
            Ok(members) => {
                show(&members, &news, form, shown.is_none(), out);
                shown = Some(members);
            }
            Err(Error::Closed) => return Err(lost(form, address)),
            Err(error) => return Err(failed(TASK)(error)),
        }
        // Before it waits again: the next change may be days away.
        if out.is_over() {
            return Ok(());
        }
        let Some(event) = next(&mut events).await else { return Err(lost(form, address)) };
        news = format!("Last change at {}: {}.", now(), describe(&event));
    }
}

/// The connection has ended, which is told where it is no part of what is shown.
fn lost(form: Form, address: &str) -> Failure {
    let end = format!("The agent at {address} has ended, or the connection to it is lost.");
    match form.format {
        Format::Text => Failure::Message(end),
        Format::Json => {
            error_line(&end);
            Failure::Exit(1)
        }
    }
}

/// The time of day, for a person who watches.
fn now() -> impl std::fmt::Display {
    Local::now().format("%H:%M:%S")
}

/// The latest of the events that are here, as soon as there is one. The others are in the next list as well.
async fn next(events: &mut Records<EventRecord>) -> Option<EventRecord> {
    let mut latest = None;
    loop {
        let event = match &latest {
            None => events.next().await?,
            Some(_) => match tokio::time::timeout(Duration::ZERO, events.next()).await {
                Ok(Some(event)) => event,
                Ok(None) | Err(_) => return latest,
            },
        };
        // What makes no sense is not told, but may be a change all the same: the list knows.
        latest = Some(event.unwrap_or_else(|_: Error| EventRecord::Members(Default::default())));
    }
}

/// What has happened, and to whom.
fn describe(event: &EventRecord) -> String {
    let EventRecord::Members(event) = event else { return "something else".to_owned() };
    let names: Vec<_> =
        event.members.iter().take(NAMES_MAX).map(|member| harmless(member.name.as_bytes())).collect();
    let mut text = format!("{} {}", harmless(event.event.as_bytes()), names.join(", "));
    if event.members.len() > NAMES_MAX {
        text += &format!(" and {} more", event.members.len() - NAMES_MAX);
    }
    text
}

/// On a terminal in place of what was there; for programs behind it, as lines.
fn show(members: &[Member], news: &str, form: Form, first: bool, out: &mut Output) {
    match (form.format, form.terminal) {
        (Format::Json, _) => out.record(&as_document(members)),
        (Format::Text, Some(terminal)) => {
            let clear = if terminal.clears { CLEAR } else { "" };
            let count = counts(members, terminal.colours);
            // At the end, where a list that is longer than the screen leaves it to be seen.
            out.line(format!("{clear}{}\n\n{count}. {news}", form.table(members)));
        }
        (Format::Text, None) => {
            // Lists are apart by an empty line.
            if !first {
                out.line("");
            }
            out.result(&form.listing(members));
        }
    }
}

/// How many there are in each state.
fn counts(members: &[Member], colours: bool) -> String {
    let mut states: BTreeMap<_, usize> = BTreeMap::new();
    for member in members {
        *states.entry(harmless(member.status.as_bytes())).or_default() += 1;
    }
    let each: Vec<_> =
        states.iter().map(|(state, count)| look(state).on(&format!("{count} {state}"), colours)).collect();
    let all = match members.len() {
        0 => return "No members".to_owned(),
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    };
    format!("{all}: {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use serf_rpc::message::MemberEventRecord;

    use super::*;

    fn members(states: &[&str]) -> Vec<Member> {
        let member = |(at, &status): (usize, &&str)| Member {
            name: format!("n{at}\x1b").as_str().into(),
            status: status.into(),
            ..Member::default()
        };
        states.iter().enumerate().map(member).collect()
    }

    #[test]
    fn members_are_counted_by_state() {
        assert_eq!(counts(&[], false), "No members");
        assert_eq!(counts(&members(&["alive"]), false), "1 member: 1 alive");
        assert_eq!(
            counts(&members(&["failed", "alive", "alive"]), true),
            "3 members: \x1b[32m2 alive\x1b[0m, \x1b[31m1 failed\x1b[0m"
        );
    }

    #[test]
    fn a_change_names_some_of_those_it_is_about() {
        let event = |count: usize| {
            let members = members(&vec!["failed"; count]);
            describe(&EventRecord::Members(MemberEventRecord { event: "member-failed".into(), members }))
        };
        assert_eq!(event(2), r"member-failed n0\x1b, n1\x1b");
        assert!(event(7).ends_with(r"n4\x1b and 2 more"), "{}", event(7));
    }
}
