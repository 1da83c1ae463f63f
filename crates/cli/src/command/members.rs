//! `serf members`: who is in the cluster.

use serde::Serialize;
use serf_agent::config::tags;
use serf_agent::members::{MemberDocument, address};
use serf_rpc::message::{Member, MembersFilteredRequest};
use serf_rpc::{Client, Error, Text};

use super::connect::{failed, interruptible, with_agent};
use super::watch::watch;
use super::{Command, FORMAT, Failure, format};
use crate::flags::{Flag, Flags};
use crate::output::{Format, Output, Terminal, columns, harmless};
use crate::table::{Cell, Look, Table};

pub(crate) const COMMAND: Command = Command {
    name: "members",
    synopsis: "Lists the members of a Serf cluster",
    about: &[
        "Lists the members the agent knows, with their addresses, states and tags.",
        "The filters are regular expressions that have to match the whole of a text. With several of them, \
         members must match all.",
    ],
    flags: &[
        Flag::switch("detailed", "Show protocol versions, too. JSON has them anyway."),
        FORMAT,
        Flag::text("name", "REGEXP", "Only members whose names match."),
        Flag::text("status", "REGEXP", "Only members whose states match: alive, leaving, left or failed."),
        Flag::list("tag", "KEY=REGEXP", "Only members whose tag of that name matches."),
        Flag::switch("watch", "Go on showing the list whenever it changes, until interrupted."),
        Flag::text("role", "REGEXP", "The same as -tag role=REGEXP, which should be used instead."),
    ],
    document: r#"{
  "members": [
    {
      "name": "n1",
      "addr": "127.0.0.1:17901",
      "port": 17901,
      "tags": {
        "dc": "east",
        "role": "web"
      },
      "status": "alive",
      "protocol": {
        "max": 5,
        "min": 2,
        "version": 5
      }
    }
  ]
}"#,
    output: &[
        "A line for each member, in order of their names. On a terminal there is a heading, and states have \
         colours unless NO_COLOR is set; programs that read it get neither. Nobody at all is `null` in the \
         document.",
        "With -watch the list is shown again whenever it has changed: on a terminal in place of the last one, \
         otherwise after an empty line, and as JSON one document a line. That a member is leaving is no \
         event, and seen with the next change only.",
    ],
    examples: &[
        ("serf members -status=alive -tag role=web", "The web servers that are up."),
        ("serf members -watch", "Watches them come and go."),
        ("serf members -format=json | jq -r '.members[].name'", "For scripts: the names."),
    ],
    run,
    ..Command::PLAIN
};

fn run(flags: &Flags, out: &mut Output) -> Result<(), Failure> {
    let mut wanted = flags.list("tag");
    let role = flags.text("role");
    if !role.is_empty() {
        out.line("Deprecation warning: 'Role' has been replaced with 'Tags'");
        wanted.push(format!("role={role}"));
    }
    let tags = tags::parse_all(wanted).map_err(|error| Failure::Message(format!("Error: {error}")))?;
    let filter = MembersFilteredRequest {
        tags: Some(tags.into_iter().map(|(key, value)| (Text::from(key), Text::from(value))).collect()),
        status: flags.text("status").into(),
        name: flags.text("name").into(),
    };
    let form = Form { format: format(flags)?, detailed: flags.is_on("detailed"), terminal: out.terminal() };
    with_agent(flags, async |agent| {
        if flags.is_on("watch") {
            let address = flags.text("rpc-addr");
            return interruptible(watch(&agent, &filter, form, &address, out), Failure::Exit(0)).await;
        }
        let members = list(&agent, filter).await.map_err(failed(TASK))?;
        match (form.format, form.terminal) {
            (Format::Text, Some(_)) => out.line(form.table(&members)),
            _ => out.result(&form.listing(&members)),
        }
        Ok(())
    })
}

/// What has failed if anything does.
pub(super) const TASK: &str = "Error retrieving members";

/// Whom the agent knows, in order of their names.
pub(super) async fn list(agent: &Client, filter: MembersFilteredRequest) -> Result<Vec<Member>, Error> {
    let mut members = agent.members_filtered(filter).await?;
    // Agents written in Go answer in any order.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(members)
}

/// How members are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) format: Format,
    detailed: bool,
    pub(super) terminal: Option<Terminal>,
}

impl Form {
    /// For programs.
    pub(super) fn listing(self, members: &[Member]) -> Vec<u8> {
        self.format.render(|| as_text(members, self.detailed), as_document(members))
    }

    /// For people.
    pub(super) fn table(self, members: &[Member]) -> String {
        if members.is_empty() {
            return "No member matches.".to_owned();
        }
        let mut table = Table::new(match self.detailed {
            false => &["NAME", "ADDRESS", "STATUS", "TAGS"],
            true => &["NAME", "ADDRESS", "STATUS", "PROTOCOL", "RANGE", "TAGS"],
        });
        for member in members {
            let status = harmless(member.status.as_bytes());
            let look = look(&status);
            let mut row = vec![
                harmless(member.name.as_bytes()).into(),
                address(member).into(),
                Cell::new(status, look),
            ];
            if self.detailed {
                let Member { delegate_cur, delegate_min, delegate_max, .. } = member;
                row.push(delegate_cur.to_string().into());
                row.push(format!("[{delegate_min}, {delegate_max}]").into());
            }
            row.push(harmless(&tags_of(member)).into());
            table.push(row);
        }
        table.render(self.terminal.is_some_and(|terminal| terminal.colours))
    }
}

/// States that want attention stand out.
pub(super) fn look(status: &str) -> Look {
    match status {
        "alive" => Look::Green,
        "leaving" => Look::Yellow,
        "left" => Look::Dim,
        "failed" => Look::Red,
        _ => Look::Plain,
    }
}

fn as_text(members: &[Member], detailed: bool) -> Vec<u8> {
    let rows: Vec<_> = members.iter().map(|member| row(member, detailed)).collect();
    columns(&rows)
}

/// `KEY=VALUE`, in order, with commas between.
fn tags_of(member: &Member) -> Vec<u8> {
    let tags = member.tags.iter();
    let mut tags: Vec<_> =
        tags.map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat()).collect();
    tags.sort_unstable();
    tags.join(&b","[..])
}

fn row(member: &Member, detailed: bool) -> Vec<u8> {
    let (address, tags) = (address(member), tags_of(member));
    let mut row = [member.name.as_bytes(), address.as_bytes(), member.status.as_bytes(), &tags].join(&b'|');
    if detailed {
        let Member { delegate_cur, delegate_min, delegate_max, .. } = member;
        let versions = format!(
            "|Protocol Version: {delegate_cur}|Available Protocol Range: [{delegate_min}, {delegate_max}]"
        );
        row.extend_from_slice(versions.as_bytes());
    }
    row
}

#[derive(Serialize)]
pub(super) struct Document {
    /// Nobody at all is null.
    members: Option<Vec<MemberDocument>>,
}

pub(super) fn as_document(members: &[Member]) -> Document {
    Document {
        members: Some(members.iter().map(MemberDocument::of).collect())
            .filter(|list: &Vec<_>| !list.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use serf_agent::json::to_string_pretty;

    use super::*;

    fn member(name: &str, port: u16, tags: &[(&str, &str)]) -> Member {
        Member {
            name: name.into(),
            addr: Some(vec![127, 0, 0, 1]),
            port,
            tags: tags.iter().map(|&(key, value)| (Text::from(key), Text::from(value))).collect(),
            status: "alive".into(),
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 5,
            ..Member::default()
        }
    }

    fn text(members: &[Member], detailed: bool) -> String {
        String::from_utf8(as_text(members, detailed)).expect("text")
    }

    #[test]
    fn rows_are_aligned() {
        let members = [
            member("n1", 17901, &[("role", "web"), ("dc", "east")]),
            member("n2", 17903, &[]),
            member("node-three", 17905, &[("a", "b")]),
        ];
        assert_eq!(
            text(&members, false),
            "n1          127.0.0.1:17901  alive  dc=east,role=web\n\
             n2          127.0.0.1:17903  alive  \n\
             node-three  127.0.0.1:17905  alive  a=b"
        );
        assert_eq!(
            text(&members[..1], true),
            "n1  127.0.0.1:17901  alive  dc=east,role=web  Protocol Version: 5  Available Protocol Range: \
             [2, 5]"
        );
        assert_eq!(text(&[], false), "");
    }

    #[test]
    fn people_see_a_table() {
        let form = |detailed| {
            let terminal = Some(Terminal { colours: false, clears: false });
            Form { format: Format::Text, detailed, terminal }
        };
        let odd = [member("n\x1b[2J|x", 1, &[("t", "\u{9b}1m")]), member("b", 2, &[])];
        assert_eq!(
            form(false).table(&odd),
            "NAME        ADDRESS      STATUS  TAGS\n\
             n\\x1b[2J|x  127.0.0.1:1  alive   t=\\u009b1m\n\
             b           127.0.0.1:2  alive"
        );
        assert_eq!(
            form(true).table(&odd[1..]),
            "NAME  ADDRESS      STATUS  PROTOCOL  RANGE   TAGS\nb     127.0.0.1:2  alive   5         [2, 5]"
        );
        assert_eq!(form(true).table(&[]), "No member matches.");
    }

    #[test]
    fn documents_have_the_customary_layout() {
        let members = [member("n1", 17901, &[("role", "web"), ("dc", "east")])];
        let expected = COMMAND.document;
        assert_eq!(to_string_pretty(&as_document(&members)), expected);
        assert_eq!(to_string_pretty(&as_document(&[])), "{\n  \"members\": null\n}");
    }
}
