//! Serf's own messages: what travels inside gossip user messages, as the user state of a push/pull, and as payload of
//! internal queries. Clocks, queues and answers are the business of the layer above.
//!
//! Formats: serf.md §1. As in [`swim`](crate::swim), `read` and `write` deal with the body behind the type byte,
//! names are byte strings, and everything is borrowed.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::error::Malformed;
use crate::list::{Element, List};
use crate::msgpack::{Dialect, Reader, Writer};

/// The type byte of a Serf message, serf.md §1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// [`Leave`], by gossip.
    Leave = 0,
    /// [`Join`], by gossip.
    Join = 1,
    /// [`PushPull`], only as the user state of a push/pull.
    PushPull = 2,
    /// [`UserEvent`], by gossip.
    UserEvent = 3,
    /// [`Query`], by gossip.
    Query = 4,
    /// [`QueryResponse`], by a datagram of its own or inside a relay.
    QueryResponse = 5,
    /// [`ConflictResponse`], only as the payload of a query response.
    ConflictResponse = 6,
    /// [`KeyRequest`], only as the payload of a query.
    KeyRequest = 7,
    /// [`KeyResponse`], only as the payload of a query response.
    KeyResponse = 8,
    /// [`RelayHeader`] and a whole other message, by a datagram of its own.
    Relay = 9,
}

impl MessageKind {
    /// The kind that `byte` stands for, if any.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Leave,
            1 => Self::Join,
            2 => Self::PushPull,
            3 => Self::UserEvent,
            4 => Self::Query,
            5 => Self::QueryResponse,
            6 => Self::ConflictResponse,
            7 => Self::KeyRequest,
            8 => Self::KeyResponse,
            9 => Self::Relay,
            _ => return None,
        })
    }

    /// Splits a message into its kind and its body.
    ///
    /// # Errors
    /// [`Malformed::EmptyMessage`], [`Malformed::UnknownSerfKind`].
    pub fn split(message: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (&kind, body) = message.split_first().ok_or(Malformed::EmptyMessage)?;
        Ok((Self::from_byte(kind).ok_or(Malformed::UnknownSerfKind(kind))?, body))
    }
}

/// Appends a whole message in the current gossip dialect: the type byte of `kind` and what `body` writes.
pub fn put(out: &mut Vec<u8>, kind: MessageKind, body: impl FnOnce(&mut Writer<'_>)) {
    out.push(kind as u8);
    body(&mut Writer::new(out, Dialect::GOSSIP));
}

/// Bit in the flags of queries and responses: the sender wants an ack, or this is one.
pub const FLAG_ACK: u32 = 1;

/// Bit in the flags of queries: do not pass it on.
pub const FLAG_NO_BROADCAST: u32 = 2;

/// The intent to leave, one's own or, to be rid of a failed node, in its name (type 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leave<'a> {
    /// Member clock.
    pub ltime: u64,
    /// Who leaves.
    pub node: &'a [u8],
    /// Forget the member completely. Old peers do not send this.
    pub prune: bool,
}

impl<'a> Leave<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the message is dropped. The same holds for all messages here.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["LTime", "Node", "Prune"], |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                1 => it.node = r.str()?,
                _ => it.prune = r.bool()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(3);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Node");
        w.str(self.node);
        w.key("Prune");
        w.bool(self.prune);
    }
}

/// The intent to join (type 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Join<'a> {
    /// Member clock.
    pub ltime: u64,
    /// Who joins.
    pub node: &'a [u8],
}

impl<'a> Join<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["LTime", "Node"], |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                _ => it.node = r.str()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(2);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Node");
        w.str(self.node);
    }
}

/// What a node tells of its state in a push/pull (type 2).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PushPull<'a> {
    /// Member clock.
    pub ltime: u64,
    /// Every known member and the time of its last intent.
    pub status_ltimes: List<'a, (&'a [u8], u64)>,
    /// The members that have left.
    pub left_members: List<'a, &'a [u8]>,
    /// Event clock.
    pub event_ltime: u64,
    /// The recent events: the sender's ring with its empty slots. The positions mean nothing to the receiver.
    pub events: List<'a, Option<UserEvents<'a>>>,
    /// Query clock.
    pub query_ltime: u64,
}

impl<'a> PushPull<'a> {
    const FIELDS: [&'static str; 6] =
        ["LTime", "StatusLTimes", "LeftMembers", "EventLTime", "Events", "QueryLTime"];

    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&Self::FIELDS, |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                1 => it.status_ltimes = List::read_map(r)?,
                2 => it.left_members = List::read(r)?,
                3 => it.event_ltime = r.u64()?,
                4 => it.events = List::read(r)?,
                _ => it.query_ltime = r.u64()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(6);
        w.key("EventLTime");
        w.uint(self.event_ltime);
        w.key("Events");
        self.events.write(w);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("LeftMembers");
        self.left_members.write(w);
        w.key("QueryLTime");
        w.uint(self.query_ltime);
        w.key("StatusLTimes");
        self.status_ltimes.write_map(w);
    }
}

/// The events of one moment, in a push/pull.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UserEvents<'a> {
    /// Event clock.
    pub ltime: u64,
    /// What happened then.
    pub events: List<'a, Event<'a>>,
}

/// One event in a push/pull. Whether it may be coalesced is not told here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its payload.
    pub payload: Option<Cow<'a, [u8]>>,
}

impl<'a> Element<'a> for Option<UserEvents<'a>> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        if r.is_nil() {
            return r.skip().map(|()| None);
        }
        let mut it = UserEvents::default();
        r.record(&["LTime", "Events"], |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                _ => it.events = List::read(r)?,
            }
            Ok(())
        })?;
        Ok(Some(it))
    }

    fn write(&self, w: &mut Writer<'_>) {
        let Some(it) = self else { return w.nil() };
        w.map(2);
        w.key("Events");
        it.events.write(w);
        w.key("LTime");
        w.uint(it.ltime);
    }
}

impl<'a> Element<'a> for Event<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Name", "Payload"], |r, field| {
            match field {
                0 => it.name = r.str()?,
                _ => it.payload = r.bytes()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.map(2);
        w.key("Name");
        w.str(self.name);
        w.key("Payload");
        w.bytes_or_nil(self.payload.as_deref());
    }
}

/// A user event (type 3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserEvent<'a> {
    /// Event clock.
    pub ltime: u64,
    /// Its name.
    pub name: &'a [u8],
    /// Its payload.
    pub payload: Option<Cow<'a, [u8]>>,
    /// Whether a later event of the same name may stand for it; `CC` on the wire.
    pub coalesce: bool,
}

impl<'a> UserEvent<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["LTime", "Name", "Payload", "CC"], |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                1 => it.name = r.str()?,
                2 => it.payload = r.bytes()?,
                _ => it.coalesce = r.bool()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(4);
        w.key("CC");
        w.bool(self.coalesce);
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Name");
        w.str(self.name);
        w.key("Payload");
        w.bytes_or_nil(self.payload.as_deref());
    }
}

/// A query (type 4).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query<'a> {
    /// Query clock.
    pub ltime: u64,
    /// Random, below 2³¹; together with the time it tells which query a response belongs to.
    pub id: u32,
    /// IP address for responses, 4 or 16 bytes.
    pub addr: Cow<'a, [u8]>,
    /// Port for responses.
    pub port: u16,
    /// Who asks. Peers before 0.9 do not say.
    pub source_node: &'a [u8],
    /// Who is asked: all nodes that every [`Filter`] lets through. Encoded one by one; an undecodable one lets
    /// nobody through. Absent means everybody. Never send an empty filter, Go cannot cope with it.
    pub filters: List<'a, Cow<'a, [u8]>>,
    /// [`FLAG_ACK`], [`FLAG_NO_BROADCAST`]; other bits are passed on.
    pub flags: u32,
    /// How many relays each response is to be duplicated through.
    pub relay_factor: u8,
    /// How long after its arrival responses are wanted, in nanoseconds. Signed on the wire.
    pub timeout: i64,
    /// What is asked.
    pub name: &'a [u8],
    /// And with which arguments.
    pub payload: Option<Cow<'a, [u8]>>,
}

impl<'a> Query<'a> {
    const FIELDS: [&'static str; 11] = [
        "LTime",
        "ID",
        "Addr",
        "Port",
        "SourceNode",
        "Filters",
        "Flags",
        "RelayFactor",
        "Timeout",
        "Name",
        "Payload",
    ];

    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&Self::FIELDS, |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                1 => it.id = r.u32()?,
                2 => it.addr = r.bytes()?.unwrap_or_default(),
                3 => it.port = r.u16()?,
                4 => it.source_node = r.str()?,
                5 => it.filters = List::read(r)?,
                6 => it.flags = r.u32()?,
                7 => it.relay_factor = r.u8()?,
                8 => it.timeout = r.i64()?,
                9 => it.name = r.str()?,
                _ => it.payload = r.bytes()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(11);
        w.key("Addr");
        w.addr(&self.addr);
        w.key("Filters");
        self.filters.write(w);
        w.key("Flags");
        w.uint(u64::from(self.flags));
        w.key("ID");
        w.uint(u64::from(self.id));
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Name");
        w.str(self.name);
        w.key("Payload");
        w.bytes_or_nil(self.payload.as_deref());
        w.key("Port");
        w.uint(u64::from(self.port));
        w.key("RelayFactor");
        w.uint(u64::from(self.relay_factor));
        w.key("SourceNode");
        w.str(self.source_node);
        w.key("Timeout");
        w.int(self.timeout);
    }
}

/// A condition on the nodes that a query is for, serf.md §1.4.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Filter<'a> {
    /// The node must be one of these.
    Nodes(List<'a, &'a [u8]>),
    /// The node's tag of this name (empty if it has none) must match this regular expression somewhere.
    Tag {
        /// Name of the tag.
        tag: &'a [u8],
        /// Regular expression in Go's syntax.
        expr: &'a [u8],
    },
}

impl<'a> Filter<'a> {
    const NODES: u8 = 0;
    const TAG: u8 = 1;

    /// Reads a whole filter, type byte included.
    ///
    /// # Errors
    /// [`Malformed::EmptyMessage`], [`Malformed::UnknownFilter`], those of the [`Reader`]. The filter then lets
    /// nobody through.
    pub fn read(filter: &'a [u8]) -> Result<Self, Malformed> {
        let (&kind, body) = filter.split_first().ok_or(Malformed::EmptyMessage)?;
        let mut r = Reader::new(body);
        match kind {
            Self::NODES => List::read(&mut r).map(Self::Nodes),
            Self::TAG => {
                let (mut tag, mut expr) = (&[][..], &[][..]);
                r.record(&["Tag", "Expr"], |r, field| {
                    match field {
                        0 => tag = r.str()?,
                        _ => expr = r.str()?,
                    }
                    Ok(())
                })?;
                Ok(Self::Tag { tag, expr })
            }
            kind => Err(Malformed::UnknownFilter(kind)),
        }
    }

    /// Appends the whole filter, type byte included.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nodes(nodes) => {
                out.push(Self::NODES);
                nodes.write(&mut Writer::new(out, Dialect::GOSSIP));
            }
            Self::Tag { tag, expr } => {
                out.push(Self::TAG);
                let mut w = Writer::new(out, Dialect::GOSSIP);
                w.map(2);
                w.key("Expr");
                w.str(expr);
                w.key("Tag");
                w.str(tag);
            }
        }
    }
}

/// An answer to a query, or its ack (type 5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryResponse<'a> {
    /// Time of the query.
    pub ltime: u64,
    /// Number of the query.
    pub id: u32,
    /// Who answers.
    pub from: &'a [u8],
    /// [`FLAG_ACK`] for an ack.
    pub flags: u32,
    /// The answer; acks have none.
    pub payload: Option<Cow<'a, [u8]>>,
}

impl<'a> QueryResponse<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["LTime", "ID", "From", "Flags", "Payload"], |r, field| {
            match field {
                0 => it.ltime = r.u64()?,
                1 => it.id = r.u32()?,
                2 => it.from = r.str()?,
                3 => it.flags = r.u32()?,
                _ => it.payload = r.bytes()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(5);
        w.key("Flags");
        w.uint(u64::from(self.flags));
        w.key("From");
        w.str(self.from);
        w.key("ID");
        w.uint(u64::from(self.id));
        w.key("LTime");
        w.uint(self.ltime);
        w.key("Payload");
        w.bytes_or_nil(self.payload.as_deref());
    }
}

/// The answer to "whom do you know under this name?" (type 6).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConflictResponse<'a> {
    /// The member of that name; `None` (nil on the wire) if there is none.
    pub member: Option<Member<'a>>,
}

/// A member as another node knows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its IP address, 4 or 16 bytes.
    pub addr: Cow<'a, [u8]>,
    /// Its gossip port.
    pub port: u16,
    /// Its tags.
    pub tags: List<'a, (&'a [u8], &'a [u8])>,
    /// Its status, serf.md §4.1. Signed on the wire.
    pub status: i64,
    /// Lowest gossip protocol version it speaks.
    pub protocol_min: u8,
    /// Highest gossip protocol version it speaks.
    pub protocol_max: u8,
    /// Gossip protocol version it sends.
    pub protocol_cur: u8,
    /// Lowest Serf protocol version it speaks.
    pub delegate_min: u8,
    /// Highest Serf protocol version it speaks.
    pub delegate_max: u8,
    /// Serf protocol version it sends.
    pub delegate_cur: u8,
}

impl<'a> ConflictResponse<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        if r.is_nil() {
            return r.skip().map(|()| Self { member: None });
        }
        Member::read(r).map(|member| Self { member: Some(member) })
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        match &self.member {
            Some(member) => member.write(w),
            None => w.nil(),
        }
    }
}

impl<'a> Member<'a> {
    const FIELDS: [&'static str; 11] = [
        "Name",
        "Addr",
        "Port",
        "Tags",
        "Status",
        "ProtocolMin",
        "ProtocolMax",
        "ProtocolCur",
        "DelegateMin",
        "DelegateMax",
        "DelegateCur",
    ];

    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&Self::FIELDS, |r, field| {
            match field {
                0 => it.name = r.str()?,
                1 => it.addr = r.bytes()?.unwrap_or_default(),
                2 => it.port = r.u16()?,
                3 => it.tags = List::read_map(r)?,
                4 => it.status = r.i64()?,
                5 => it.protocol_min = r.u8()?,
                6 => it.protocol_max = r.u8()?,
                7 => it.protocol_cur = r.u8()?,
                8 => it.delegate_min = r.u8()?,
                9 => it.delegate_max = r.u8()?,
                _ => it.delegate_cur = r.u8()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.map(11);
        w.key("Addr");
        w.addr(&self.addr);
        w.key("DelegateCur");
        w.uint(u64::from(self.delegate_cur));
        w.key("DelegateMax");
        w.uint(u64::from(self.delegate_max));
        w.key("DelegateMin");
        w.uint(u64::from(self.delegate_min));
        w.key("Name");
        w.str(self.name);
        w.key("Port");
        w.uint(u64::from(self.port));
        w.key("ProtocolCur");
        w.uint(u64::from(self.protocol_cur));
        w.key("ProtocolMax");
        w.uint(u64::from(self.protocol_max));
        w.key("ProtocolMin");
        w.uint(u64::from(self.protocol_min));
        w.key("Status");
        w.int(self.status);
        w.key("Tags");
        self.tags.write_map(w);
    }
}

/// A change to or a look at the keyring (type 7); which, says the name of the query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRequest<'a> {
    /// The key itself, not in base64. To list keys it is present but empty.
    pub key: Option<Cow<'a, [u8]>>,
}

impl<'a> KeyRequest<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Key"], |r, _| {
            it.key = r.bytes()?;
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(1);
        w.key("Key");
        w.bytes_or_nil(self.key.as_deref());
    }
}

/// What came of a key request (type 8).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KeyResponse<'a> {
    /// Whether it succeeded.
    pub result: bool,
    /// What went wrong, or what there is to know besides; for humans.
    pub message: &'a [u8],
    /// When listing: all keys, in base64.
    pub keys: List<'a, &'a [u8]>,
    /// When listing: the primary one, in base64. Peers before 0.9.4 do not say.
    pub primary_key: &'a [u8],
}

impl<'a> KeyResponse<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Result", "Message", "Keys", "PrimaryKey"], |r, field| {
            match field {
                0 => it.result = r.bool()?,
                1 => it.message = r.str()?,
                2 => it.keys = List::read(r)?,
                _ => it.primary_key = r.str()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(4);
        w.key("Keys");
        self.keys.write(w);
        w.key("Message");
        w.str(self.message);
        w.key("PrimaryKey");
        w.str(self.primary_key);
        w.key("Result");
        w.bool(self.result);
    }
}

/// Where a relayed message is to go (type 9). The message itself follows, with its own type byte and to the end:
/// after [`read`](Self::read) it is the [`rest`](Reader::rest).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayHeader<'a> {
    /// IP address, 4 or 16 bytes.
    pub ip: Cow<'a, [u8]>,
    /// Port. Signed and unlimited on the wire; a value that is no port leads nowhere.
    pub port: i64,
    /// IPv6 zone, always empty.
    pub zone: &'a [u8],
    /// Name of the node there. Peers before 0.9 do not say.
    pub dest_name: &'a [u8],
}

impl<'a> RelayHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// See [`Leave::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["DestAddr", "DestName"], |r, field| match field {
            0 => r.record(&["IP", "Port", "Zone"], |r, field| {
                match field {
                    0 => it.ip = r.bytes()?.unwrap_or_default(),
                    1 => it.port = r.i64()?,
                    _ => it.zone = r.str()?,
                }
                Ok(())
            }),
            _ => {
                it.dest_name = r.str()?;
                Ok(())
            }
        })?;
        Ok(it)
    }

    /// Writes the header.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(2);
        w.key("DestAddr");
        w.map(3);
        w.key("IP");
        w.addr(&self.ip);
        w.key("Port");
        w.int(self.port);
        w.key("Zone");
        w.str(self.zone);
        w.key("DestName");
        w.str(self.dest_name);
    }
}
