//! What a handler is given: its environment, and an event on standard input, as text of old or as JSON.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde::Serialize;
use serde_json::{Map, Value};
use serf::{Event, Member, Name};
use serf_wire::tags::{self, Tags};

use crate::events::{EventBody, Payload};

/// An event as handlers see it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Occasion<'a> {
    Members { kind: &'static str, members: &'a [Member] },
    User { name: &'a Name, ltime: u64, coalesce: bool, payload: &'a [u8] },
    Query { name: &'a Name, ltime: u64, source: &'a Name, payload: &'a [u8] },
}

impl<'a> Occasion<'a> {
    /// None for what handlers do not see.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        Some(match event {
            Event::Member(e) => Self::Members { kind: e.kind.as_str(), members: &e.members },
            Event::User(e) => {
                Self::User { name: &e.name, ltime: e.ltime, coalesce: e.coalesce, payload: &e.payload }
            }
            Event::Query(e) => {
                Self::Query { name: &e.name, ltime: e.ltime, source: &e.source, payload: &e.payload }
            }
            _ => return None,
        })
    }

    /// The type, as filters write it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Members { kind, .. } => kind,
            Self::User { .. } => "user",
            Self::Query { .. } => "query",
        }
    }

    /// The name; none for what happens to members.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Members { .. } => String::new(),
            Self::User { name, .. } | Self::Query { name, .. } => name.to_string(),
        }
    }

    /// What it costs while it waits, in bytes.
    pub(super) fn size(&self) -> usize {
        let own = match self {
            Self::Members { members, .. } => {
                members.iter().map(|m| size_of::<Member>() + m.name.as_bytes().len() + m.meta.len()).sum()
            }
            Self::User { name, payload, .. } | Self::Query { name, payload, .. } => {
                name.as_bytes().len() + payload.len()
            }
        };
        size_of::<Event>() + own
    }

    /// It as text, for standard input: a line for each member, or the payload with a line break at its end.
    pub(super) fn text(&self) -> Vec<u8> {
        match *self {
            Self::Members { members, .. } => members.iter().flat_map(member_line).collect(),
            Self::User { payload, .. } | Self::Query { payload, .. } => {
                let is_line = payload.is_empty() || payload.ends_with(b"\n");
                [payload, if is_line { b"" } else { b"\n" }].concat()
            }
        }
    }

    /// It as one line of JSON.
    pub(super) fn json(&self, own: &Own) -> Vec<u8> {
        let body = match *self {
            Self::Members { members, .. } => {
                EventBody::Members { members: members.iter().map(MemberRecord::of).collect() }
            }
            Self::User { name, ltime, coalesce, payload } => {
                EventBody::User { name: name.to_string(), ltime, coalesce, payload: Payload::of(payload) }
            }
            Self::Query { name, ltime, source, payload } => EventBody::Query {
                name: name.to_string(),
                ltime,
                source: source.to_string(),
                payload: Payload::of(payload),
            },
        };
        let own = Node { name: lossy(&own.name), tags: object(&own.tags) };
        let record = Record { event: self.kind(), own, body };
        let mut line = serde_json::to_vec(&record).expect("maps with text for keys are written into memory");
        line.push(b'\n');
        line
    }
}

/// The node that runs a handler.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    pub(super) name: Vec<u8>,
    pub(super) tags: Tags,
}

impl Own {
    /// The environment beside what the agent has itself. Of the same name the last counts.
    pub(super) fn environment(&self, occasion: &Occasion<'_>, json: bool) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut set = |name: &str, value: &[u8]| variables.push((name.into(), value.to_vec()));
        set("SERF_EVENT", occasion.kind().as_bytes());
        set("SERF_SELF_NAME", &self.name);
        set("SERF_SELF_ROLE", role(&self.tags));
        match occasion {
            Occasion::Members { .. } => {}
            Occasion::User { name, ltime, .. } => {
                set("SERF_USER_EVENT", name.as_bytes());
                set("SERF_USER_LTIME", ltime.to_string().as_bytes());
            }
            Occasion::Query { name, ltime, .. } => {
                set("SERF_QUERY_NAME", name.as_bytes());
                set("SERF_QUERY_LTIME", ltime.to_string().as_bytes());
            }
        }
        if json {
            set("SERF_EVENT_JSON", b"1");
        }
        for (name, value) in &self.tags {
            variables.push(([b"SERF_TAG_", &*variable(name)].concat(), value.clone()));
        }
        let text = OsString::from_vec;
        variables.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }
}

/// `NAME⇥IP⇥ROLE⇥TAGS`. Tabs and line breaks inside are written as `\t` and `\n`; nothing else is escaped.
fn member_line(member: &Member) -> Vec<u8> {
    let tags = tags::decode(&member.meta).0;
    let mut line = escaped(member.name.as_bytes());
    line.extend(format!("\t{}\t", member.addr.host).bytes());
    line.extend(escaped(role(&tags)));
    line.push(b'\t');
    for (n, (name, value)) in tags.iter().enumerate() {
        if n > 0 {
            line.push(b',');
        }
        line.extend(escaped(&[name, &b"="[..], value].concat()));
    }
    line.push(b'\n');
    line
}

fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'\t' => out.extend_from_slice(br"\t"),
            b'\n' => out.extend_from_slice(br"\n"),
            byte => out.push(byte),
        }
    }
    out
}

fn role(tags: &Tags) -> &[u8] {
    tags.get(&b"role"[..]).map_or(&[], Vec::as_slice)
}

/// The name of a tag in upper case, with `_` for all but A to Z, digits and `_`.
fn variable(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            // One for one: a letter without a single capital is not one of ours either.
            let mut upper = character.to_uppercase();
            out.push(match (upper.next(), upper.next()) {
                (Some(letter @ ('A'..='Z' | '0'..='9' | '_')), None) => letter as u8,
                _ => b'_',
            });
        }
        out.extend(chunk.invalid().iter().map(|_| b'_'));
    }
    out
}

#[derive(Serialize)]
struct Record<'a> {
    event: &'a str,
    #[serde(rename = "self")]
    own: Node,
    #[serde(flatten)]
    body: EventBody<MemberRecord>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    tags: Map<String, Value>,
}

#[derive(Serialize)]
struct MemberRecord {
    name: String,
    addr: String,
    port: u16,
    status: &'static str,
    tags: Map<String, Value>,
}

impl MemberRecord {
    fn of(member: &Member) -> Self {
        Self {
            name: member.name.to_string(),
            addr: member.addr.host.to_string(),
            port: member.addr.port,
            status: member.status.as_str(),
            tags: object(&tags::decode(&member.meta).0),
        }
    }
}

fn object(tags: &Tags) -> Map<String, Value> {
    tags.iter().map(|(name, value)| (lossy(name), lossy(value).into())).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use base64ct::{Base64, Encoding};
    use serf::{Address, Status, Versions};

    use super::*;

    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }

    fn member(name: &str, ip: &str, tags: &Tags) -> Member {
        let host = match ip.parse().expect("an IP address") {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Member {
            name: name.into(),
            addr: Address::new(&host, 7946),
            meta: Arc::from(tags::encode(5, tags)),
            status: Status::Alive,
            versions: Versions::default(),
        }
    }

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    /// The tags in a recorded line, whose values may hold commas.
    fn recorded_tags(line: &str) -> Tags {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for piece in line.split(',').filter(|piece| !piece.is_empty()) {
            match (piece.split_once('='), pairs.last_mut()) {
                (Some((name, value)), _) => pairs.push((name.into(), value.into())),
                (None, Some((_, value))) => *value = format!("{value},{piece}"),
                (None, None) => panic!("tags begin with a name: {line}"),
            }
        }
        let plain = |text: &str| text.replace(r"\t", "\t").replace(r"\n", "\n").into_bytes();
        pairs.iter().map(|(name, value)| (plain(name), plain(value))).collect()
    }

    /// Go writes tags in random order.
    fn sorted(stdin: &[u8]) -> String {
        let line = |line: &str| {
            let (front, tags) = line.rsplit_once('\t').expect("four columns");
            format!("{front}\t{:?}", recorded_tags(tags))
        };
        let stdin = std::str::from_utf8(stdin).expect("text");
        assert!(stdin.ends_with('\n'));
        stdin.lines().map(|l| line(l) + "\n").collect()
    }

    #[test]
    fn handlers_are_given_what_the_recorded_ones_were_given() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/event_handlers.json");
        let entries: Vec<Value> =
            serde_json::from_slice(&std::fs::read(path).expect("test data")).expect("a list");
        let invocations = entries.iter().filter(|entry| entry["kind"] == "invocation");
        let mut seen = BTreeMap::new();
        for entry in invocations {
            let name = text(&entry["name"]);
            let theirs: BTreeMap<&str, &str> = entry["environment"]
                .as_object()
                .expect("variables")
                .iter()
                .map(|(name, value)| (name.as_str(), text(value)))
                .collect();
            let stdin = Base64::decode_vec(text(&entry["stdin_base64"])).expect("base64");
            let event = theirs["SERF_EVENT"];
            let members: Vec<Member> = entry["decoded"]["members"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|m| member(text(&m["name"]), text(&m["addr"]), &recorded_tags(text(&m["tags"]))))
                .collect();
            // What was sent is not recorded, but a payload that already ends with a line stays as it is.
            let payload = stdin.as_slice();
            let named = |variable: &str| Name::from(theirs.get(variable).copied().unwrap_or_default());
            let (user, query) = (named("SERF_USER_EVENT"), named("SERF_QUERY_NAME"));
            let ltime = |variable: &str| theirs[variable].parse().expect("a time");
            let source = Name::from("");
            let occasion = match event {
                "user" => {
                    let ltime = ltime("SERF_USER_LTIME");
                    Occasion::User { name: &user, ltime, coalesce: false, payload }
                }
                "query" => {
                    let ltime = ltime("SERF_QUERY_LTIME");
                    Occasion::Query { name: &query, ltime, source: &source, payload }
                }
                kind => {
                    let kinds = crate::events::EventFilter::KINDS;
                    let kind = kinds.into_iter().find(|k| *k == kind).expect("a known kind");
                    Occasion::Members { kind, members: &members }
                }
            };
            // Only the names as variables have them are recorded, which come out as they go in.
            let own = Own {
                name: theirs["SERF_SELF_NAME"].into(),
                tags: theirs
                    .iter()
                    .filter_map(|(name, value)| Some((name.strip_prefix("SERF_TAG_")?, value)))
                    .map(|(name, value)| match name {
                        "ROLE" => (b"role".to_vec(), value.as_bytes().to_vec()),
                        name => (name.into(), value.as_bytes().to_vec()),
                    })
                    .collect(),
            };
            let ours = own.environment(&occasion, false);
            let ours: BTreeMap<&str, &str> = ours
                .iter()
                .map(|(name, value)| (name.to_str().expect("text"), value.to_str().expect("text")))
                .collect();
            assert_eq!(ours, theirs, "{name}");
            if members.is_empty() {
                assert_eq!(occasion.text(), stdin, "{name}");
            } else {
                assert_eq!(sorted(&occasion.text()), sorted(&stdin), "{name}");
            }
            *seen.entry(event.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
    }

    #[test]
    fn a_payload_becomes_a_line_and_an_empty_one_nothing() {
        let name = Name::from("x");
        for (payload, stdin) in [
            (&b""[..], &b""[..]),
            (b"v1", b"v1\n"),
            (b"v1\n", b"v1\n"),
            (b"\n", b"\n"),
            (b"a\nb\t\\", b"a\nb\t\\\n"),
            (b"\0\xff", b"\0\xff\n"),
        ] {
            let user = Occasion::User { name: &name, ltime: 1, coalesce: false, payload };
            assert_eq!(user.text(), stdin);
            assert_eq!(Occasion::Query { name: &name, ltime: 1, source: &name, payload }.text(), stdin);
        }
    }

    #[test]
    fn a_member_is_a_line_of_four_columns_whatever_it_is_called() {
        let all = [
            member("n\t1\n", "127.0.0.1", &tags(&[("role", "a\tb"), ("k\n", r"v\"), ("e", "a=b,c")])),
            member("n2", "::1", &Tags::new()),
            member("n3", "::ffff:10.0.0.1", &tags(&[("role", "")])),
        ];
        let text = Occasion::Members { kind: "member-join", members: &all }.text();
        let want = concat!(
            r"n\t1\n",
            "\t127.0.0.1\t",
            r"a\tb",
            "\t",
            r"e=a=b,c,k\n=v\,role=a\tb",
            "\n",
            "n2\t::1\t\t\n",
            "n3\t10.0.0.1\t\trole=\n",
        );
        assert_eq!(String::from_utf8(text).expect("text"), want);
    }

    #[test]
    fn tag_names_become_variables() {
        for (name, want) in [
            (&b"role"[..], "ROLE"),
            (b"My-Tag.x", "MY_TAG_X"),
            (b"9x_", "9X_"),
            ("uml\u{e4}ut".as_bytes(), "UML_UT"),
            // One underscore for a letter with two capitals, and a capital that is plain for one that is not.
            ("\u{df}\u{131}".as_bytes(), "_I"),
            (b"\xff\xfea", "__A"),
            (b"", ""),
            (b"a=b c", "A_B_C"),
        ] {
            assert_eq!(String::from_utf8(variable(name)).expect("ASCII"), want);
        }
    }

    #[test]
    fn json_holds_what_text_cannot() {
        let own = Own { name: b"me".to_vec(), tags: tags(&[("a-b", "1"), ("a.b", "2")]) };
        let (deploy, load, asker) = (Name::from("deploy"), Name::from("load"), Name::from("n2"));
        let line = |occasion: Occasion<'_>| String::from_utf8(occasion.json(&own)).expect("JSON is text");
        let head = |event: &str| {
            format!(r#"{{"event":"{event}","self":{{"name":"me","tags":{{"a-b":"1","a.b":"2"}}}},"#)
        };
        let members = [member("n\t1", "127.0.0.1", &tags(&[("k", "v,w=x\n")]))];
        assert_eq!(
            line(Occasion::Members { kind: "member-join", members: &members }),
            head("member-join")
                + r#""members":[{"name":"n\t1","addr":"127.0.0.1","port":7946,"status":"alive","tags":{"k":"v,w=x\n"}}]}"#
                + "\n"
        );
        assert_eq!(
            line(Occasion::User { name: &deploy, ltime: 3, coalesce: true, payload: b"v1" }),
            head("user")
                + r#""name":"deploy","ltime":3,"coalesce":true,"payload":"v1","payload_base64":"djE="}"#
                + "\n"
        );
        assert_eq!(
            line(Occasion::Query { name: &load, ltime: 4, source: &asker, payload: b"\xff" }),
            head("query")
                + r#""name":"load","ltime":4,"source":"n2","payload":null,"payload_base64":"/w=="}"#
                + "\n"
        );
        let variables = own.environment(&Occasion::Members { kind: "member-join", members: &[] }, true);
        assert!(variables.contains(&("SERF_EVENT_JSON".into(), "1".into())));
    }
}
