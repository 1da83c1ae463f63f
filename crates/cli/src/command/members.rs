//! `serf members`: who is in the cluster.

use serde::Serialize;
use serf_agent::config::tags;
use serf_agent::members::{MemberDocument, address};
use serf_rpc::Text;
use serf_rpc::message::{Member, MembersFilteredRequest};

use super::connect::{failed, with_agent};
use super::{Command, FORMAT, Failure, format};
use crate::flags::{Flag, Flags};
use crate::output::{Output, Shown, columns};

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
    output: &["One line for each member, in order of their names. Nobody at all is `null` in the document."],
    examples: &[
        ("serf members -status=alive -tag role=web", "The web servers that are up."),
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
    let mut members = with_agent(flags, async |agent| {
        agent.members_filtered(filter).await.map_err(failed("Error retrieving members"))
    })?;
    // Agents written in Go answer in any order.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    let format = format(flags)?;
    let shown = out.shown();
    out.result(&format.render(|| as_text(&members, flags.is_on("detailed"), shown), as_document(&members)));
    Ok(())
}

fn as_text(members: &[Member], detailed: bool, shown: Shown) -> Vec<u8> {
    let rows: Vec<_> = members.iter().map(|member| row(member, detailed, shown)).collect();
    columns(&rows)
}

fn row(member: &Member, detailed: bool, shown: Shown) -> Vec<u8> {
    let mut tags: Vec<_> =
        member.tags.iter().map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat()).collect();
    tags.sort_unstable();
    let fields =
        [member.name.as_bytes(), address(member).as_bytes(), member.status.as_bytes(), &tags.join(&b","[..])]
            .map(|field| shown.text(field).into_owned());
    let mut row = fields.join(&b'|');
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
struct Document {
    /// Nobody at all is null.
    members: Option<Vec<MemberDocument>>,
}

fn as_document(members: &[Member]) -> Document {
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
        String::from_utf8(as_text(members, detailed, Shown::Raw)).expect("text")
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
    fn terminals_are_safe_from_names() {
        let row = as_text(&[member("n\x1b[2J", 1, &[("t", "\u{9b}1m")])], false, Shown::Escaped);
        assert_eq!(row, br"n\x1b[2J  127.0.0.1:1  alive  t=\u009b1m");
    }

    #[test]
    fn documents_have_the_customary_layout() {
        let members = [member("n1", 17901, &[("role", "web"), ("dc", "east")])];
        let expected = COMMAND.document;
        assert_eq!(to_string_pretty(&as_document(&members)), expected);
        assert_eq!(to_string_pretty(&as_document(&[])), "{\n  \"members\": null\n}");
    }
}
