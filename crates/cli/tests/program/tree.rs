//! What an agent says on its RPC port, taken apart without knowing what it means: values that can be compared with
//! recorded ones to the byte, but for the order of maps.

use std::collections::{BTreeMap, BTreeSet};

use serf_rpc::message::{RequestHeader, ResponseHeader};
use serf_rpc::{Command, Value};
use serf_wire::Malformed;
use serf_wire::msgpack::{Dialect, Reader, Writer};

/// A MessagePack value. Texts and containers are opened; anything else stays as it is on the wire, with its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tree {
    Text(String),
    Other(Vec<u8>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Tree {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = reader.rest();
        Ok(match bytes.first() {
            Some(0x80..=0x8f | 0xde | 0xdf) => {
                let count = reader.map()?.unwrap_or(0);
                let pair = |_| Ok((text(reader)?, Self::read(reader)?));
                Self::Map((0..count).map(pair).collect::<Result<_, Malformed>>()?)
            }
            Some(0x90..=0x9f | 0xdc | 0xdd) => {
                let count = reader.array()?.unwrap_or(0);
                Self::List((0..count).map(|_| Self::read(reader)).collect::<Result<_, _>>()?)
            }
            Some(0xa0..=0xbf | 0xd9..=0xdb) => Self::Text(text(reader)?),
            _ => {
                let begin = reader.position();
                reader.skip()?;
                Self::Other(bytes[..reader.position() - begin].to_vec())
            }
        })
    }

    /// The field of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    /// Whether the fields of all records ascend, as with the reference. The names in other maps are in any order.
    pub(crate) fn ascends(&self) -> bool {
        match self {
            Self::Text(_) | Self::Other(_) => true,
            Self::List(items) => items.iter().all(Self::ascends),
            Self::Map(pairs) => {
                let is_record =
                    pairs.iter().all(|(name, _)| name.starts_with(|c: char| c.is_ascii_uppercase()));
                let is_map = |name: &str| ["Keys", "Messages", "Tags"].contains(&name);
                (!is_record || pairs.is_sorted_by(|a, b| a.0 < b.0))
                    && pairs.iter().all(|(name, value)| is_map(name) || value.ascends())
            }
        }
    }
}

/// A string in the form that is customary for its length: any other is an error of whoever wrote it.
fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let (bytes, begin) = (reader.rest(), reader.position());
    let text = reader.str()?.to_vec();
    let mut customary = Vec::new();
    Writer::new(&mut customary, Dialect::RPC).str(&text);
    assert_eq!(bytes[..reader.position() - begin], customary, "the form of a string");
    Ok(String::from_utf8(text).expect("no conversation has other texts"))
}

/// A response, or a record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) error: String,
    pub(crate) is_record: bool,
    pub(crate) body: Option<Tree>,
}

/// Takes one direction of a connection apart.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    asked: BTreeMap<u64, Command>,
    opened: BTreeSet<u64>,
}

/// Errors that come without the body that the command's answer otherwise has.
const BARE: [&str; 2] = ["Handshake required", "Authentication required"];

impl Replies {
    pub(crate) fn expect(&mut self, seq: u64, command: Option<Command>) {
        self.asked.extend(command.map(|command| (seq, command)));
    }

    /// The first message in the bytes, and how many they are; None if it is not all there.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<(Message, usize)> {
        let whole = |result: Result<Tree, Malformed>| match result {
            Err(Malformed::Truncated) => None,
            other => Some(other.expect("MessagePack")),
        };
        let mut reader = Reader::new(bytes);
        let header = whole(Tree::read(&mut reader))?;
        assert!(header.ascends(), "{header:?}");
        let ResponseHeader { error, seq } =
            ResponseHeader::decode(&mut Reader::new(bytes)).expect("a header");
        let error = error.to_string();
        let command = self.asked.get(&seq).copied();
        let is_record = command.is_some_and(Command::is_followed_by_records)
            && error.is_empty()
            && self.opened.contains(&seq);
        let is_followed = command.is_some_and(Command::is_answered_with_body) && !BARE.contains(&&*error);
        let body = if is_record || is_followed { Some(whole(Tree::read(&mut reader))?) } else { None };
        if error.is_empty() {
            self.opened.insert(seq);
        }
        Some((Message { seq, error, is_record, body }, reader.position()))
    }

    pub(crate) fn take_all(&mut self, mut bytes: &[u8]) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some((message, len)) = self.take(bytes) {
            all.push(message);
            bytes = &bytes[len..];
        }
        assert!(bytes.is_empty(), "bytes are left");
        all
    }
}

/// Whether a read with a timeout has just found nothing: the time is over, or a signal came.
pub(crate) fn is_nothing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// The requests of a client: number, command, header and body.
pub(crate) fn requests(bytes: &[u8]) -> Vec<(u64, Option<Command>, Vec<u8>)> {
    let mut all = Vec::new();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (bytes, begin) = (reader.rest(), reader.position());
        let RequestHeader { command, seq } = RequestHeader::decode(&mut reader).expect("a header");
        let command = Command::from_name(command.as_bytes());
        if command.is_some_and(Command::has_body) {
            reader.skip().expect("a body");
        }
        all.push((seq, command, bytes[..reader.position() - begin].to_vec()));
    }
    all
}
