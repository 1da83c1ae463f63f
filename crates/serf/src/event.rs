//! What subscribers of a [`crate::Serf`] are told.

use std::fmt::{self, Write};

use serf_core::{MemberEvent, UserEvent};
use serf_gossip::{Address, Name};

use crate::query::QueryEvent;

/// Something that happened in the cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<I = Name, A = Address> {
    /// Members came, went or changed.
    Member(MemberEvent<I, A>),
    /// Somebody fired a user event. Each is told once.
    User(UserEvent),
    /// Somebody asks us something. Each query is told once, to every subscriber; one of them may answer.
    Query(QueryEvent<I>),
    /// Another node has our name, say the others: the node has shut down, see
    /// [`crate::Config::enable_name_conflict_resolution`]. Nothing comes after this.
    NameLost {
        /// How many know us by the name.
        ours: usize,
        /// How many know anybody by it.
        all: usize,
    },
}

/// For people, in a line: `member-join: web-1`, `user-event: deploy`, `query: load`. What peers have put into names and
/// is no printable character is escaped.
impl<I: fmt::Display, A> fmt::Display for Event<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line(f);
        match self {
            Self::Member(event) => {
                write!(line, "{}", event.kind)?;
                let mut before = ": ";
                for member in &event.members {
                    write!(line, "{before}{}", member.name)?;
                    before = ", ";
                }
                Ok(())
            }
            Self::User(event) => write!(line, "{event}"),
            Self::Query(query) => write!(line, "query: {}", query.name),
            Self::NameLost { ours, all } => write!(line, "name lost: {ours} of {all} know us by it"),
        }
    }
}

/// Lets no control characters through.
struct Line<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let (plain, control) = match part.chars().next_back().filter(|c| c.is_control()) {
                Some(control) => (&part[..part.len() - control.len_utf8()], Some(control)),
                None => (part, None),
            };
            self.0.write_str(plain)?;
            if let Some(control) = control {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serf_core::{Member, MemberEventKind, Status, Versions};
    use serf_gossip::{Address, Name};

    use super::*;

    fn joined(names: &[&str]) -> Event {
        let member = |name: &&str| Member {
            name: Name::from(*name),
            addr: Address::new(&[127, 0, 0, 1], 7946),
            meta: Arc::from(&[][..]),
            status: Status::Alive,
            versions: Versions::default(),
        };
        Event::Member(MemberEvent {
            kind: MemberEventKind::Join,
            members: names.iter().map(member).collect(),
        })
    }

    #[test]
    fn each_event_is_one_line_whatever_is_in_the_names() {
        assert_eq!(joined(&["web-1"]).to_string(), "member-join: web-1");
        assert_eq!(joined(&["a", "ü"]).to_string(), "member-join: a, ü");
        assert_eq!(joined(&["\x1b[2Ja\nb"]).to_string(), "member-join: \\u{1b}[2Ja\\nb");
        let event =
            UserEvent { ltime: 1, name: "de\tploy".into(), payload: Arc::from(&[][..]), coalesce: false };
        assert_eq!(Event::<Name>::User(event).to_string(), "user-event: de\\tploy");
        let lost: Event = Event::NameLost { ours: 1, all: 3 };
        assert_eq!(lost.to_string(), "name lost: 1 of 3 know us by it");
    }
}
