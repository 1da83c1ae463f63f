//! Whole RPC conversations with HashiCorp's agents, as they were recorded: agents of ours in the same cluster are told
//! the same bytes, and say the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use serf_rpc::Command;

use crate::agents::{Agent, PATIENCE, Program, converge};
use crate::tree::{Message, Replies, Tree, is_nothing, requests};

use Difference::{Answers, Log, MayBeLost, MayEnd, NotAgain, Reworded, Value};

/// In which way ours differs from what was recorded.
enum Difference {
    /// The value of a field, but not its type or that it is there. Fields of fields have dots between them.
    Value(&'static str),
    /// A text of releases before 0.10, and what later ones and ours say.
    Reworded(&'static str, &'static str),
    /// Events of this kind, of this member, do not come.
    NotAgain(&'static str, &'static str),
    /// Acknowledgements need not come.
    MayBeLost,
    /// The end of a query may come, though it was not recorded.
    MayEnd,
    /// Where the agent hung up, ours answers with an error that begins so, and its usual body, and goes on.
    Answers(&'static str),
    /// Lines of the log are compared without their times, if they begin in one of these ways. There may be others.
    Log(&'static [&'static str]),
}

/// Everything that may differ: in which conversations (none named: in all of them), how, and why. All conversations of
/// the file are held.
#[rustfmt::skip] // A table.
const DIFFERENCES: [(&str, Difference, &str); 22] = [
    ("", Value("Coord.Adjustment"), "measured"),
    ("", Value("Coord.Error"), "measured"),
    ("", Value("Coord.Height"), "measured"),
    ("", Value("Coord.Vec"), "measured"),
    ("", Value("runtime.arch"), "of the machine"),
    ("", Value("runtime.cpu_count"), "of the machine"),
    ("", Value("runtime.goroutines"), "of the moment"),
    ("", Value("runtime.max_procs"), "of the program"),
    ("", Value("runtime.version"), "of the program"),
    ("", Value("serf.event_queue"), "of the moment"),
    ("", Value("serf.health_score"), "of the moment"),
    ("", Value("serf.intent_queue"), "of the moment"),
    ("", Value("serf.query_queue"), "of the moment"),
    ("", Value("serf.member_time"), "every intent counts, and how many there are is chance"),
    ("", Reworded("Failed to join 127.0.0.1: dial", "failed to join 127.0.0.1:18098: dial"), "of two releases the newer (rpc.md §5.5)"),
    ("", Reworded("Removing the primary key", "removing the primary key"), "of two releases the newer (rpc.md §5.10)"),
    ("06-stream", Value("ID"), "which of two streams is shown a query first is chance"),
    ("06-stream", MayEnd, "the recorded client was gone by then"),
    ("07-monitor", Log(&["[INFO] agent", "[DEBUG] agent", "[INFO] serf: EventMember"]), "which lines people look for: cli.md §C.12"),
    ("08-stream", NotAgain("member-update", "alpha"), "an event of long ago, told again with every later batch (cli.md §C.9)"),
    ("36-members", MayBeLost, "they are datagrams, and the query has 3.2 s (rpc.md §6.3)"),
    ("members-filtered-bad-regex", Answers("Failed to compile regex: "), "no riddle for the client (rpc.md §4.2, Q3)"),
];

fn differences(scene: &str) -> impl Iterator<Item = &'static Difference> {
    let all = DIFFERENCES.iter().filter(move |(name, ..)| name.is_empty() || *name == scene);
    all.map(|(_, difference, _)| difference)
}

/// The recorded query has 1.5 s, which is over before it is answered on a slow machine.
const TIMEOUTS: [&[u8]; 2] = [b"\xa7Timeout\xce\x59\x68\x2f\x00", b"\xa7Timeout\xd2\x59\x68\x2f\x00"];
const LONGER: &[u8] = b"\xa7Timeout\xcf\x00\x00\x00\x02\x54\x0b\xe4\x00"; // 10 s

struct Conversation {
    scene: String,
    requests: Vec<(u64, Option<Command>, Vec<u8>)>,
    /// For each request its response, if there was one, and the records that came before the next response.
    replies: Vec<(Option<Message>, Vec<Message>)>,
    /// Whether the agent hung up, where that is known.
    hung_up: Option<bool>,
    is_at_once: bool,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

impl Conversation {
    fn all(release: &str) -> BTreeMap<String, Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../rpc/testdata/rpc_conversations.json");
        let entries: Vec<Json> =
            serde_json::from_slice(&std::fs::read(path).expect("test data")).expect("a list");
        let text = |value: &Json| value.as_str().expect("text").to_owned();
        let mut all = BTreeMap::new();
        for entry in entries {
            let name = text(&entry["name"]);
            let Some(scene) = name.strip_prefix(&format!("{release}/conversation/")) else { continue };
            let requests = requests(&unhex(&text(&entry["hex"]["client_to_server"])));
            let mut parser = Replies::default();
            requests.iter().for_each(|(seq, command, _)| parser.expect(*seq, *command));
            let said = parser.take_all(&unhex(&text(&entry["hex"]["server_to_client"])));
            let mut said = said.into_iter().peekable();
            let replies = requests.iter().map(|(seq, ..)| {
                let response = said.next_if(|message| message.seq == *seq && !message.is_record);
                (response, std::iter::from_fn(|| said.next_if(|message| message.is_record)).collect())
            });
            let conversation = Self {
                scene: scene.to_owned(),
                replies: replies.collect(),
                requests,
                hung_up: entry["context"]["server_closed_connection"].as_bool(),
                is_at_once: text(&entry["source"]).contains("hand-built"),
            };
            assert!(said.next().is_none(), "{name}: a reply to nothing");
            all.insert(scene.to_owned(), conversation);
        }
        all
    }
}

/// Where the agents of this test are.
#[derive(Default)]
struct Places {
    /// Recorded addresses, and those that stand for them.
    texts: Vec<(String, String)>,
    /// `Addr` and `Port` of each member.
    members: BTreeMap<String, (Tree, Tree)>,
}

impl Places {
    fn add(&mut self, recorded: &str, agent: &Agent) {
        self.texts.push((recorded.into(), agent.gossip.clone()));
        let (host, port) = agent.gossip.split_once(':').expect("host and port");
        let octets = host.split('.').map(|octet| octet.parse().expect("an octet"));
        let addr = [0xc4, 4].into_iter().chain(octets).collect();
        let [high, low] = port.parse::<u16>().expect("a port").to_be_bytes();
        let place = (Tree::Other(addr), Tree::Other(vec![0xcd, high, low]));
        self.members.insert(agent.name.clone(), place);
        // In lines of the log it stands without the port.
        let (recorded, _) = recorded.split_once(':').expect("host and port");
        self.texts.push((format!(" {recorded}"), format!(" {host}")));
    }

    fn translate(&self, recorded: &str) -> String {
        self.texts.iter().fold(recorded.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// The same in a request, where a string has its length in front.
    fn translate_bytes(&self, recorded: &[u8]) -> Vec<u8> {
        let string = |text: &str| [&[0xa0 + text.len() as u8], text.as_bytes()].concat();
        let texts = self.texts.iter().map(|(theirs, ours)| (string(theirs), string(ours)));
        texts.fold(recorded.to_vec(), |bytes, (theirs, ours)| replaced(&bytes, &theirs, &ours))
    }
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    match bytes.windows(old.len()).position(|window| window == old) {
        Some(at) => [&bytes[..at], new, &bytes[at + old.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

/// `2026/11/20 23:40:01 [INFO] ...` from the level on.
fn without_time(line: &str) -> &str {
    let (time, rest) = line.split_at_checked(20).expect("a time");
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000/00/00 00:00:00 ", "{line}");
    rest
}

fn field<'t>(message: &'t Message, name: &str) -> &'t str {
    message.body.as_ref().and_then(|body| body.get(name)).map_or("", Tree::text)
}

fn members(message: &Message) -> &[Tree] {
    match message.body.as_ref().and_then(|body| body.get("Members")) {
        Some(Tree::List(members)) => members,
        _ => &[],
    }
}

/// A message in the form in which it is compared: without what may differ, and in one order.
struct Plain<'a> {
    scene: &'a str,
    places: &'a Places,
    is_recorded: bool,
}

impl Plain<'_> {
    fn of(&self, message: &Message) -> Message {
        let mut message = message.clone();
        message.error = self.text(&message.error, "");
        message.body = message.body.map(|body| self.tree(body, ""));
        message
    }

    fn text(&self, text: &str, path: &str) -> String {
        let mut text = match path {
            "Log" => match without_time(text).split_once("Accepted client: ") {
                Some((start, _)) => format!("{start}Accepted client"),
                None => without_time(text).to_owned(),
            },
            _ => text.to_owned(),
        };
        if self.is_recorded {
            for difference in differences(self.scene) {
                if let Reworded(old, new) = difference {
                    text = text.replace(old, new);
                }
            }
            text = self.places.translate(&text);
        }
        text
    }

    fn tree(&self, tree: Tree, path: &str) -> Tree {
        let is_vague =
            differences(self.scene).any(|difference| matches!(difference, Value(field) if *field == path));
        match tree {
            Tree::Text(_) if is_vague => Tree::Text("...".into()),
            // Its first byte tells the type, and of a small number the value as well.
            Tree::Other(bytes) if is_vague => Tree::Other(vec![if bytes[0] < 0x80 { 0 } else { bytes[0] }]),
            Tree::Text(text) => Tree::Text(self.text(&text, path)),
            Tree::Other(bytes) => Tree::Other(bytes),
            Tree::List(items) => {
                let mut items: Vec<_> = items.into_iter().map(|item| self.tree(item, path)).collect();
                if path == "Members" {
                    items.sort();
                }
                Tree::List(items)
            }
            Tree::Map(pairs) => {
                let place = pairs.iter().find(|(name, _)| name == "Name");
                let place = place.and_then(|(_, name)| self.places.members.get(name.text()));
                let pairs = pairs.into_iter().map(|(name, value)| {
                    let inside = match path {
                        "" | "Members" => name.clone(),
                        _ => format!("{path}.{name}"),
                    };
                    let value = match (&*inside, place) {
                        ("Addr", Some((addr, _))) if self.is_recorded => addr.clone(),
                        ("Port", Some((_, port))) if self.is_recorded => port.clone(),
                        _ => self.tree(value, &inside),
                    };
                    (name, value)
                });
                let mut pairs: Vec<_> = pairs.collect();
                pairs.sort();
                Tree::Map(pairs)
            }
        }
    }
}

/// A conversation going on.
struct Talk<'a> {
    conversation: Conversation,
    places: &'a Places,
    stream: TcpStream,
    parser: Replies,
    bytes: Vec<u8>,
    /// In the form to be compared, as all that has come.
    responses: Vec<Message>,
    records: Vec<Message>,
    /// Records that have come and were not waited for yet.
    early: Vec<Message>,
    has_ended: bool,
}

impl<'a> Talk<'a> {
    fn new(conversation: Conversation, agent: &Agent, places: &'a Places) -> Self {
        let stream = TcpStream::connect(&agent.rpc).expect("the agent listens");
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
        let mut parser = Replies::default();
        conversation.requests.iter().for_each(|(seq, command, _)| parser.expect(*seq, *command));
        Self {
            conversation,
            places,
            stream,
            parser,
            bytes: Vec::new(),
            responses: Vec::new(),
            records: Vec::new(),
            early: Vec::new(),
            has_ended: false,
        }
    }

    fn plain(&self, message: &Message, is_recorded: bool) -> Message {
        Plain { scene: &self.conversation.scene, places: self.places, is_recorded }.of(message)
    }

    /// Takes what has come.
    fn pump(&mut self) {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.has_ended = true,
            Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
            Err(e) if is_nothing(&e) => {}
            Err(e) => panic!("{}: {e}", self.conversation.scene),
        }
        while let Some((message, len)) = self.parser.take(&self.bytes) {
            self.bytes.drain(..len);
            assert!(message.body.as_ref().is_none_or(Tree::ascends), "{message:?}");
            let message = self.plain(&message, false);
            if message.is_record {
                self.early.push(message.clone());
                self.records.push(message);
            } else {
                self.responses.push(message);
            }
        }
    }

    fn wait(&mut self, what: &str, mut is_there: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_there(self) {
            assert!(
                Instant::now() < end,
                "{}: {what} does not come; what did: {:?}",
                self.conversation.scene,
                self.early
            );
            self.pump();
        }
    }

    fn wait_for_event(&mut self, event: &str, member: &str) {
        let is_it = |record: &Message| {
            field(record, "Event") == event
                && members(record).iter().any(|m| m.get("Name").is_some_and(|name| name.text() == member))
        };
        self.wait(&format!("{event} of {member}"), |talk| talk.records.iter().any(is_it));
    }

    /// Says what was recorded, and waits for what came of it. What made the records come after the last response is
    /// done meanwhile.
    fn hold(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let mut meanwhile = Some(meanwhile);
        let mut requests: Vec<Vec<u8>> =
            self.conversation.requests.iter().map(|(.., bytes)| self.places.translate_bytes(bytes)).collect();
        if self.conversation.is_at_once {
            // The rest is empty: nothing more is to be said before the next reply.
            let all = requests.concat();
            requests.iter_mut().for_each(Vec::clear);
            requests[0] = all;
        }
        for (n, bytes) in requests.iter().enumerate() {
            let bytes = TIMEOUTS.iter().fold(bytes.clone(), |bytes, old| replaced(&bytes, old, LONGER));
            self.stream.write_all(&bytes).expect("it is sent");
            self.hear_response(n);
            if n + 1 == requests.len() {
                meanwhile.take().into_iter().for_each(|happens| happens(self));
            }
            self.hear_records(n);
        }
    }

    fn hear_response(&mut self, n: usize) {
        let Some(response) = self.conversation.replies[n].0.clone() else { return };
        let count = self.conversation.replies[..=n].iter().filter(|(response, _)| response.is_some()).count();
        self.wait(&format!("response {n}"), |talk| talk.responses.len() >= count);
        let (ours, theirs) = (&self.responses[count - 1], self.plain(&response, true));
        assert_eq!(*ours, theirs, "{}: response {n}", self.conversation.scene);
    }

    /// Those that came before the next response, in any order: they come from several tasks.
    fn hear_records(&mut self, n: usize) {
        for record in self.conversation.replies[n].1.clone() {
            let Some(due) = self.due(&record) else { continue };
            self.wait(&format!("{due:?}"), |talk| {
                let place = talk.early.iter().position(|early| *early == due);
                place.map(|place| talk.early.swap_remove(place)).is_some()
            });
        }
    }

    /// What has to come for a recorded record: itself, nothing or less.
    fn due(&self, record: &Message) -> Option<Message> {
        let mut due = self.plain(record, true);
        for difference in differences(&self.conversation.scene) {
            match difference {
                MayBeLost if field(&due, "Type") == "ack" => return None,
                Log(kept) if !kept.iter().any(|start| field(&due, "Log").starts_with(start)) => return None,
                // How often a line comes is chance, but it comes.
                Log(_) if self.records.contains(&due) => return None,
                NotAgain(event, member) if field(&due, "Event") == *event => {
                    let Some(Tree::Map(pairs)) = &mut due.body else { continue };
                    for (_, value) in pairs {
                        if let Tree::List(members) = value {
                            members.retain(|m| m.get("Name").is_none_or(|name| name.text() != *member));
                        }
                    }
                    if members(&due).is_empty() {
                        return None;
                    }
                }
                _ => {}
            }
        }
        Some(due)
    }

    /// Nothing came that was not recorded, and the connection is as it was then.
    fn end(mut self) {
        let scene = self.conversation.scene.clone();
        let answers =
            differences(&scene).find_map(|d| if let Answers(start) = d { Some(*start) } else { None });
        if let Some(start) = answers {
            let count = self.conversation.replies.iter().filter(|(response, _)| response.is_some()).count();
            self.wait("an answer instead of an end", |talk| talk.responses.len() > count);
            let answer = self.responses.pop().expect("it is there");
            assert!(answer.error.starts_with(start) && answer.body.is_some(), "{scene}: {answer:?}");
        }
        match self.conversation.hung_up {
            Some(true) if answers.is_none() => self.wait("the end", |talk| talk.has_ended),
            Some(_) => {
                // Any request will do.
                let count = self.responses.len();
                self.stream
                    .write_all(b"\x82\xa7Command\xa9handshake\xa3Seq\x63\x81\xa7Version\x02")
                    .expect("open");
                self.wait("the connection goes on", |talk| talk.responses.len() > count);
                let last = self.responses.pop().expect("it is there");
                assert_eq!((last.seq, &*last.error), (99, "Unsupported IPC version"), "{scene}");
            }
            None => {}
        }
        let count = self.conversation.replies.iter().filter(|(response, _)| response.is_some()).count();
        assert_eq!(self.responses.len(), count, "{scene}: more responses than requests");
        self.early.retain(|record| {
            !differences(&scene).any(|difference| match difference {
                MayBeLost => field(record, "Type") == "ack",
                MayEnd => field(record, "Type") == "done",
                Log(_) => record.body.as_ref().is_some_and(|body| body.get("Log").is_some()),
                _ => false,
            })
        });
        assert_eq!(self.early, [], "{scene}: records that were not recorded");
    }
}

/// The cluster of the recordings, and what happened in it, conversation by conversation.
fn replay(release: &str) {
    let mut all = Conversation::all(release);
    let mut take = |scene: &str| all.remove(scene).unwrap_or_else(|| panic!("{scene} is recorded"));

    let lan = "-profile=lan";
    let mut places = Places::default();
    let mut agent = |name: &str, recorded: &str, flags: &[&str]| {
        let agent = Agent::new(Program::Ours, name, &[&[lan], flags].concat());
        places.add(recorded, &agent);
        agent
    };
    let mut alpha = agent("alpha", "127.0.0.1:18011", &["-tag", "role=web"]);
    let join = format!("-join={}", alpha.gossip);
    let mut beta = agent("beta", "127.0.0.2:18012", &["-tag", "role=db", &join]);
    let mut keyed = agent("keyed", "127.0.0.1:18013", &["-encrypt=MDEyMzQ1Njc4OWFiY2RlZg=="]);
    let mut authy = agent("authy", "127.0.0.1:18014", &["-config-file=auth.json"]);
    let mut gamma = agent("gamma", "127.0.0.3:18015", &["-tag", "a=1", &join]);
    let mut delta = agent("delta", "127.0.0.4:18016", &[&join]);
    // Its address is one where nobody listens.
    let nobody = Agent::new(Program::Ours, "nobody", &[]);
    places.texts.insert(0, ("127.0.0.1:18098".into(), nobody.gossip.clone()));

    let places = &places;
    let hold = |conversation: Conversation, agent: &Agent| {
        let mut talk = Talk::new(conversation, agent, places);
        talk.hold(|_| {});
        talk.end();
    };
    alpha.start(&[]);
    beta.start(&[]);
    converge(&[&alpha, &beta]);
    hold(take("01-members"), &alpha);
    keyed.start(&[]);
    hold(take("02-list-keys"), &keyed);
    authy.write("auth.json", r#"{"rpc_auth": "s3cret-token"}"#);
    authy.spawn(&[]);
    authy.wait_log("==> Serf agent running!");
    hold(take("03-auth"), &authy);
    hold(take("04-auth"), &authy);
    hold(take("05-handshake"), &alpha);
    hold(take("06-stream"), &alpha);
    hold(take("07-monitor"), &beta);

    let mut stream = Talk::new(take("08-stream"), &alpha, places);
    let [tags, leave, force_leave] = ["09-tags", "10-leave", "11-force-leave"].map(&mut take);
    stream.hold(|stream| {
        gamma.start(&[]);
        stream.wait_for_event("member-join", "gamma");
        hold(tags, &gamma);
        stream.wait_for_event("member-update", "gamma");
        hold(leave, &gamma);
        assert_eq!(gamma.exit_code(), Some(0));
        stream.wait_for_event("member-leave", "gamma");
        delta.start(&[]);
        stream.wait_for_event("member-join", "delta");
        delta.kill();
        stream.wait_for_event("member-failed", "delta");
        hold(force_leave, &alpha);
    });
    stream.end();

    let members =
        ["31-members-filtered", "32-members-filtered", "33-stats", "34-get-coordinate", "35-list-keys"];
    let [leave, ping] = ["37-leave", "36-members"].map(&mut take);
    let cli = members.map(&mut take);
    // What is left are requests made by hand.
    for conversation in all.into_values() {
        let is_locked = conversation.scene == "auth-required";
        assert!(conversation.is_at_once, "{} is held", conversation.scene);
        hold(conversation, if is_locked { &authy } else { &alpha });
    }
    cli.into_iter().for_each(|conversation| hold(conversation, &alpha));
    hold(ping, &alpha);
    hold(leave, &alpha);
    assert_eq!(alpha.exit_code(), Some(0));
}

#[test]
fn conversations_with_the_older_release_go_the_same_way() {
    replay("0.9.4");
}

#[test]
fn conversations_with_the_newer_release_go_the_same_way() {
    replay("0.10");
}
