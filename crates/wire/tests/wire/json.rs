//! The test data as values of this crate. What is built here lives as long as the test program, which lets the
//! borrowed records of the crate be used like owned ones.

use std::borrow::Cow;

use serde_json::Value;
use serf_wire::coordinate::Coordinate;
use serf_wire::encrypt::Key;
use serf_wire::list::List;
use serf_wire::msgpack::{Dialect, Writer};
use serf_wire::serf::{
    ConflictResponse, Event, Filter, Join, KeyRequest, KeyResponse, Leave, Member, MessageKind, PushPull,
    Query, QueryResponse, RelayHeader, UserEvent, UserEvents,
};
use serf_wire::swim::{
    Accusation, Ack, Alive, ErrReply, IndirectPing, Kind, Nack, NodeState, Ping, PushPullHeader, Source,
};

/// One entry of a file.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) decoded: &'static Value,
    pub(crate) context: &'static Value,
    pub(crate) exact: bool,
}

impl Entry {
    /// The dialects in which the entry has to come out the same.
    pub(crate) fn dialects(&self) -> &'static [Dialect] {
        match self.context["msgpack"].as_str() {
            Some("go-msgpack 0.5.5") => &[Dialect::GOSSIP_OLD],
            Some("go-msgpack 2.1.5") => &[Dialect::GOSSIP],
            Some("both") | None => &[Dialect::GOSSIP_OLD, Dialect::GOSSIP],
            Some(other) => panic!("{}: unknown dialect {other}", self.name),
        }
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        let keys = self.context["keys_base64"].as_array().map_or(&[][..], Vec::as_slice);
        keys.iter().map(|key| Key::new(&base64(key.as_str().unwrap())).unwrap()).collect()
    }

    pub(crate) fn label(&self) -> &'static [u8] {
        self.context["label"].as_str().unwrap_or_default().as_bytes()
    }
}

/// All entries of a file, of which there must be so many.
pub(crate) fn entries(file: &str, count: usize) -> impl Iterator<Item = Entry> {
    let path = format!("{}/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
    let list: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(list.len(), count, "entries of {file}");
    let list: &'static [Value] = list.leak();
    list.iter().map(|entry| Entry {
        name: entry["name"].as_str().unwrap(),
        bytes: hex(entry["hex"].as_str().unwrap()),
        decoded: &entry["decoded"],
        context: &entry["context"],
        exact: entry["reencode"] == "exact",
    })
}

pub(crate) fn hex(digits: &str) -> &'static [u8] {
    let digits: Vec<u8> =
        digits.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of hex digits");
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().leak()
}

pub(crate) fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let digit = |c: &u8| DIGITS.iter().position(|d| d == c).unwrap() as u32;
        let bits = group.iter().fold(0, |bits, c| bits << 6 | digit(c)) << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}

/// A string field; absent is empty.
pub(crate) fn text(value: &Value) -> &'static [u8] {
    match value {
        Value::Null => &[],
        Value::String(text) => Vec::from(text.as_str()).leak(),
        other => hex(other["hex"].as_str().unwrap()),
    }
}

/// A byte string, in hex or as a list of numbers.
pub(crate) fn octets(value: &Value) -> Option<Cow<'static, [u8]>> {
    match value {
        Value::Null => None,
        Value::String(digits) => Some(Cow::Borrowed(hex(digits))),
        Value::Array(numbers) => Some(numbers.iter().map(|number| number.as_u64().unwrap() as u8).collect()),
        other => panic!("not a byte string: {other}"),
    }
}

/// An address, for which absent and empty are the same.
fn addr(value: &Value) -> Cow<'static, [u8]> {
    octets(value).unwrap_or_default()
}

/// An unsigned number of any width; absent is 0.
fn number<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> T {
    if value.is_null() { T::try_from(0).unwrap() } else { T::try_from(value.as_u64().unwrap()).unwrap() }
}

fn signed(value: &Value) -> i64 {
    if value.is_null() { 0 } else { value.as_i64().unwrap() }
}

fn boolean(value: &Value) -> bool {
    if value.is_null() { false } else { value.as_bool().unwrap() }
}

fn list<T>(value: &Value, element: impl Fn(&Value) -> T) -> List<'static, T>
where
    T: serf_wire::list::Element<'static>,
{
    let Some(values) = value.as_array() else { return List::absent() };
    List::of(values.iter().map(element).collect::<Vec<_>>().leak())
}

fn map<T>(value: &Value, element: impl Fn(&'static [u8], &Value) -> T) -> List<'static, T>
where
    T: serf_wire::list::Element<'static>,
{
    let Some(pairs) = value.as_object() else { return List::absent() };
    let name = |name: &str| -> &'static [u8] { Vec::from(name).leak() };
    List::of(pairs.iter().map(|(key, value)| element(name(key), value)).collect::<Vec<_>>().leak())
}

// gossip messages

fn source(body: &Value) -> Source<'static> {
    Source {
        addr: addr(&body["SourceAddr"]),
        port: number(&body["SourcePort"]),
        node: text(&body["SourceNode"]),
    }
}

pub(crate) fn ping(body: &Value) -> Ping<'static> {
    Ping { seq: number(&body["SeqNo"]), node: text(&body["Node"]), source: source(body), ..Ping::default() }
}

pub(crate) fn indirect_ping(body: &Value) -> IndirectPing<'static> {
    IndirectPing {
        seq: number(&body["SeqNo"]),
        target: addr(&body["Target"]),
        port: number(&body["Port"]),
        node: text(&body["Node"]),
        nack: boolean(&body["Nack"]),
        source: source(body),
    }
}

pub(crate) fn ack(body: &Value) -> Ack<'static> {
    Ack { seq: number(&body["SeqNo"]), payload: octets(&body["Payload"]), ..Ack::default() }
}

pub(crate) fn nack(body: &Value) -> Nack {
    Nack { seq: number(&body["SeqNo"]) }
}

pub(crate) fn err_reply(body: &Value) -> ErrReply<'static> {
    ErrReply { error: text(&body["Error"]) }
}

pub(crate) fn accusation(body: &Value) -> Accusation<'static> {
    Accusation {
        incarnation: number(&body["Incarnation"]),
        node: text(&body["Node"]),
        from: text(&body["From"]),
    }
}

pub(crate) fn alive(body: &Value) -> Alive<'static> {
    Alive {
        incarnation: number(&body["Incarnation"]),
        node: text(&body["Node"]),
        addr: addr(&body["Addr"]),
        port: number(&body["Port"]),
        meta: octets(&body["Meta"]),
        vsn: octets(&body["Vsn"]),
    }
}

pub(crate) fn node_state(body: &Value) -> NodeState<'static> {
    NodeState {
        name: text(&body["Name"]),
        addr: addr(&body["Addr"]),
        port: number(&body["Port"]),
        meta: octets(&body["Meta"]),
        incarnation: number(&body["Incarnation"]),
        state: signed(&body["State"]),
        vsn: octets(&body["Vsn"]),
    }
}

pub(crate) fn push_pull_header(header: &Value) -> PushPullHeader {
    PushPullHeader {
        nodes: signed(&header["Nodes"]),
        user_state_len: signed(&header["UserStateLen"]),
        join: boolean(&header["Join"]),
        ..PushPullHeader::default()
    }
}

/// A coordinate, up to the last bit of a number: the parser of the test data is not exact.
pub(crate) fn assert_coordinate(is: &Coordinate<'_>, expected: &Value, name: &str) {
    let close = |is: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!(
            (is.to_bits() as i64).abs_diff(expected.to_bits() as i64) <= 1,
            "{name}: {is} for {expected}"
        );
    };
    close(is.error, &expected["Error"]);
    close(is.adjustment, &expected["Adjustment"]);
    close(is.height, &expected["Height"]);
    let vec = expected["Vec"].as_array().unwrap();
    assert_eq!(is.vec.len(), vec.len(), "{name}");
    is.vec.iter().zip(vec).for_each(|(is, expected)| close(is, expected));
}

/// A leaf message of a datagram: its kind and its body as it must be encoded.
pub(crate) fn leaf(node: &Value, dialect: Dialect) -> (Kind, Vec<u8>) {
    let mut body = Vec::new();
    let w = &mut Writer::new(&mut body, dialect);
    let fields = &node["body"];
    let kind = match node["type"].as_str().unwrap() {
        "ping" => {
            ping(fields).write(w);
            Kind::Ping
        }
        "indirect_ping" => {
            indirect_ping(fields).write(w);
            Kind::IndirectPing
        }
        "ack" => {
            ack(fields).write(w);
            Kind::Ack
        }
        "nack" => {
            nack(fields).write(w);
            Kind::Nack
        }
        "suspect" => {
            accusation(fields).write(w);
            Kind::Suspect
        }
        "dead" => {
            accusation(fields).write(w);
            Kind::Dead
        }
        "alive" => {
            alive(fields).write(w);
            Kind::Alive
        }
        "user" => {
            body = match node.get("opaque_hex") {
                Some(opaque) => text_hex(opaque),
                None => message(&node["serf"], dialect),
            };
            Kind::User
        }
        other => panic!("unknown leaf {other}"),
    };
    if let Some(trailing) = node.get("trailing_hex") {
        body.extend_from_slice(&text_hex(trailing));
    }
    (kind, body)
}

pub(crate) fn text_hex(value: &Value) -> Vec<u8> {
    hex(value.as_str().unwrap()).to_vec()
}

// Serf messages

pub(crate) fn leave(body: &Value) -> Leave<'static> {
    Leave { ltime: number(&body["LTime"]), node: text(&body["Node"]), prune: boolean(&body["Prune"]) }
}

pub(crate) fn join(body: &Value) -> Join<'static> {
    Join { ltime: number(&body["LTime"]), node: text(&body["Node"]) }
}

pub(crate) fn user_event(body: &Value) -> UserEvent<'static> {
    UserEvent {
        ltime: number(&body["LTime"]),
        name: text(&body["Name"]),
        payload: octets(&body["Payload"]),
        coalesce: boolean(&body["CC"]),
    }
}

pub(crate) fn query(body: &Value) -> Query<'static> {
    // A filter is shown decoded together with its bytes, or as its bytes alone.
    let filter = |filter: &Value| octets(filter.get("hex").unwrap_or(filter)).unwrap();
    Query {
        ltime: number(&body["LTime"]),
        id: number(&body["ID"]),
        addr: addr(&body["Addr"]),
        port: number(&body["Port"]),
        source_node: text(&body["SourceNode"]),
        filters: list(&body["Filters"], filter),
        flags: number(&body["Flags"]),
        relay_factor: number(&body["RelayFactor"]),
        timeout: signed(&body["Timeout"]),
        name: text(&body["Name"]),
        payload: octets(&body["Payload"]),
    }
}

pub(crate) fn filter(node: &Value) -> Filter<'static> {
    match node["filter"].as_str().unwrap() {
        "node" => node_filter(&node["nodes"]),
        "tag" => Filter::Tag { tag: text(&node["Tag"]), expr: text(&node["Expr"]) },
        other => panic!("unknown filter {other}"),
    }
}

pub(crate) fn node_filter(nodes: &Value) -> Filter<'static> {
    Filter::Nodes(list(nodes, text))
}

pub(crate) fn query_response(body: &Value) -> QueryResponse<'static> {
    QueryResponse {
        ltime: number(&body["LTime"]),
        id: number(&body["ID"]),
        from: text(&body["From"]),
        flags: number(&body["Flags"]),
        payload: octets(&body["Payload"]),
    }
}

pub(crate) fn conflict_response(body: &Value) -> ConflictResponse<'static> {
    if body.is_null() {
        return ConflictResponse { member: None };
    }
    let member = Member {
        name: text(&body["Name"]),
        addr: addr(&body["Addr"]),
        port: number(&body["Port"]),
        tags: map(&body["Tags"], |name, value| (name, text(value))),
        status: signed(&body["Status"]),
        protocol_min: number(&body["ProtocolMin"]),
        protocol_max: number(&body["ProtocolMax"]),
        protocol_cur: number(&body["ProtocolCur"]),
        delegate_min: number(&body["DelegateMin"]),
        delegate_max: number(&body["DelegateMax"]),
        delegate_cur: number(&body["DelegateCur"]),
    };
    ConflictResponse { member: Some(member) }
}

pub(crate) fn key_request(body: &Value) -> KeyRequest<'static> {
    KeyRequest { key: octets(&body["Key"]) }
}

pub(crate) fn key_response(body: &Value) -> KeyResponse<'static> {
    KeyResponse {
        result: boolean(&body["Result"]),
        message: text(&body["Message"]),
        keys: list(&body["Keys"], text),
        primary_key: text(&body["PrimaryKey"]),
    }
}

pub(crate) fn relay_header(header: &Value) -> RelayHeader<'static> {
    let dest = &header["DestAddr"];
    RelayHeader {
        ip: addr(&dest["IP"]),
        port: signed(&dest["Port"]),
        zone: text(&dest["Zone"]),
        dest_name: text(&header["DestName"]),
    }
}

pub(crate) fn push_pull(body: &Value) -> PushPull<'static> {
    let event = |event: &Value| Event { name: text(&event["Name"]), payload: octets(&event["Payload"]) };
    let slot = |slot: &Value| {
        let events = || UserEvents { ltime: number(&slot["LTime"]), events: list(&slot["Events"], event) };
        (!slot.is_null()).then(events)
    };
    // A ring is shown with all its slots, or as its length and the slots that are not empty.
    let ring = &body["Events"];
    let events = match ring.get("buffer_len") {
        None => list(ring, slot),
        Some(length) => {
            let mut slots = vec![None; number(length)];
            for full in ring["non_nil"].as_array().unwrap() {
                slots[number::<usize>(&full["index"])] = slot(full);
            }
            List::of(slots.leak())
        }
    };
    PushPull {
        ltime: number(&body["LTime"]),
        status_ltimes: map(&body["StatusLTimes"], |name, ltime| (name, number(ltime))),
        left_members: list(&body["LeftMembers"], text),
        event_ltime: number(&body["EventLTime"]),
        events,
        query_ltime: number(&body["QueryLTime"]),
    }
}

/// A Serf message or filter as it must be encoded.
pub(crate) fn message(node: &Value, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    if node.get("filter").is_some() {
        filter(node).write(&mut out);
        return out;
    }
    let w = &mut Writer::new(&mut out, dialect);
    let body = &node["body"];
    let kind = match node["serf_type"].as_str().unwrap() {
        "leave" => {
            leave(body).write(w);
            MessageKind::Leave
        }
        "join" => {
            join(body).write(w);
            MessageKind::Join
        }
        "push_pull" => {
            push_pull(body).write(w);
            MessageKind::PushPull
        }
        "user_event" => {
            user_event(body).write(w);
            MessageKind::UserEvent
        }
        "query" => {
            query(body).write(w);
            MessageKind::Query
        }
        "query_response" => {
            query_response(body).write(w);
            MessageKind::QueryResponse
        }
        "conflict_response" => {
            conflict_response(body).write(w);
            MessageKind::ConflictResponse
        }
        "key_request" => {
            key_request(body).write(w);
            MessageKind::KeyRequest
        }
        "key_response" => {
            key_response(body).write(w);
            MessageKind::KeyResponse
        }
        "relay" => {
            relay_header(&node["header"]).write(w);
            out.extend_from_slice(&message(&node["inner"], dialect));
            MessageKind::Relay
        }
        other => panic!("unknown message {other}"),
    };
    out.insert(0, kind as u8);
    out
}
