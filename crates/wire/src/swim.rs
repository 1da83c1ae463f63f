//! The messages that gossip nodes exchange: ping, ack, alive and the like, each as a borrowed record. It neither
//! wraps them into packets nor judges what they say.
//!
//! Formats: gossip.md §1.1 for the type bytes, §3.5 for the fields. `read` and `write` deal with the body only, the
//! type byte belongs to the caller ([`put`] writes both). Names are byte strings and stay as they came (§3.6).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::codecs::Codecs;
use crate::error::Malformed;
use crate::msgpack::{Dialect, Reader, Writer};

/// The type byte of a gossip message, gossip.md §1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// "Are you there?", [`Ping`].
    Ping = 0,
    /// "Ask that node for me", [`IndirectPing`].
    IndirectPing = 1,
    /// "I am", [`Ack`].
    Ack = 2,
    /// "That node may be dead", [`Accusation`].
    Suspect = 3,
    /// "That node lives", [`Alive`].
    Alive = 4,
    /// "That node is dead, or has left", [`Accusation`].
    Dead = 5,
    /// The exchange of everything known, [`PushPullHeader`] and what follows. Streams only.
    PushPull = 6,
    /// Several messages in one packet. Datagrams only.
    Compound = 7,
    /// A message of the layer above, opaque here.
    User = 8,
    /// Another message, compressed.
    Compress = 9,
    /// Another message, encrypted. Streams only; a datagram shows its encryption by other means.
    Encrypt = 10,
    /// "I asked, and got no answer", [`Nack`].
    Nack = 11,
    /// A checksum and the rest of the packet. Outermost layer of datagrams only.
    HasCrc = 12,
    /// "I could not read that", [`ErrReply`]. Streams only.
    Err = 13,
    /// A checksum that the reference does not know, and the rest of the packet. In the place of `HasCrc`, and only to
    /// peers that have said that they know it (`docs/codecs.md`).
    HasChecksum = 240,
    /// A label and the rest of the packet or stream. Outermost layer only.
    HasLabel = 244,
}

impl Kind {
    /// The kind that `byte` stands for, if any.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Ping,
            1 => Self::IndirectPing,
            2 => Self::Ack,
            3 => Self::Suspect,
            4 => Self::Alive,
            5 => Self::Dead,
            6 => Self::PushPull,
            7 => Self::Compound,
            8 => Self::User,
            9 => Self::Compress,
            10 => Self::Encrypt,
            11 => Self::Nack,
            12 => Self::HasCrc,
            13 => Self::Err,
            240 => Self::HasChecksum,
            244 => Self::HasLabel,
            _ => return None,
        })
    }
}

/// Appends a whole message in the current gossip dialect: the type byte of `kind` and what `body` writes.
pub fn put(out: &mut Vec<u8>, kind: Kind, body: impl FnOnce(&mut Writer<'_>)) {
    out.push(kind as u8);
    body(&mut Writer::new(out, Dialect::GOSSIP));
}

/// Who asks: the sender's own address and name, so that the answer needs no look-up.
///
/// Each of the three is left out on the wire when it is empty; peers before 0.2 never send them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source<'a> {
    /// IP address, 4 or 16 bytes; empty if unknown.
    pub addr: Cow<'a, [u8]>,
    /// Gossip port; 0 if unknown.
    pub port: u16,
    /// Node name; empty if unknown.
    pub node: &'a [u8],
}

impl Source<'_> {
    fn fields(&self) -> usize {
        usize::from(!self.addr.is_empty()) + usize::from(!self.node.is_empty()) + usize::from(self.port != 0)
    }

    fn write(&self, w: &mut Writer<'_>) {
        if !self.addr.is_empty() {
            w.key("SourceAddr");
            w.bytes(&self.addr);
        }
        if !self.node.is_empty() {
            w.key("SourceNode");
            w.str(self.node);
        }
        if self.port != 0 {
            w.key("SourcePort");
            w.uint(u64::from(self.port));
        }
    }
}

/// A direct probe (type 0), on datagrams and as the fallback on streams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ping<'a> {
    /// Chosen by the sender and echoed in the ack.
    pub seq: u32,
    /// Whom it is meant for. Empty means whoever gets it; any other name than one's own is not answered.
    pub node: &'a [u8],
    /// Who asks.
    pub source: Source<'a>,
    /// What the sender has beyond the reference; if it is anything, the ack is to say the same of the other side.
    /// The reference skips it, as it skips every key that it does not know.
    pub codecs: Codecs,
}

impl<'a> Ping<'a> {
    const FIELDS: [&'static str; 6] = ["SeqNo", "Node", "SourceAddr", "SourcePort", "SourceNode", CODECS];

    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the ping is dropped.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&Self::FIELDS, |r, field| {
            match field {
                0 => it.seq = r.u32()?,
                1 => it.node = r.str()?,
                2 => it.source.addr = octets(r)?,
                3 => it.source.port = r.u16()?,
                4 => it.source.node = r.str()?,
                _ => it.codecs = codecs(r)?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(2 + self.source.fields() + usize::from(!self.codecs.is_empty()));
        put_codecs(w, self.codecs);
        w.key("Node");
        w.str(self.node);
        w.key("SeqNo");
        w.uint(u64::from(self.seq));
        self.source.write(w);
    }
}

/// A request to probe a third node (type 1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndirectPing<'a> {
    /// Chosen by the requester and echoed in the ack or nack.
    pub seq: u32,
    /// IP address of the node to probe, 4 or 16 bytes.
    pub target: Cow<'a, [u8]>,
    /// Its gossip port; 0 means the port the relay itself is bound to.
    pub port: u16,
    /// Its name.
    pub node: &'a [u8],
    /// Whether the requester wants to hear of a failure.
    pub nack: bool,
    /// Who asks.
    pub source: Source<'a>,
}

impl<'a> IndirectPing<'a> {
    const FIELDS: [&'static str; 8] =
        ["SeqNo", "Target", "Port", "Node", "Nack", "SourceAddr", "SourcePort", "SourceNode"];

    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the request is dropped.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&Self::FIELDS, |r, field| {
            match field {
                0 => it.seq = r.u32()?,
                1 => it.target = octets(r)?,
                2 => it.port = r.u16()?,
                3 => it.node = r.str()?,
                4 => it.nack = r.bool()?,
                5 => it.source.addr = octets(r)?,
                6 => it.source.port = r.u16()?,
                _ => it.source.node = r.str()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(5 + self.source.fields());
        w.key("Nack");
        w.bool(self.nack);
        w.key("Node");
        w.str(self.node);
        w.key("Port");
        w.uint(u64::from(self.port));
        w.key("SeqNo");
        w.uint(u64::from(self.seq));
        self.source.write(w);
        w.key("Target");
        w.addr(&self.target);
    }
}

/// The answer to a ping (type 2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ack<'a> {
    /// Echo of the ping.
    pub seq: u32,
    /// What the layer above adds; Serf sends a coordinate. Only the ack of a direct datagram carries one.
    pub payload: Option<Cow<'a, [u8]>>,
    /// What the answering node has beyond the reference, if the ping told the same of the asking one.
    pub codecs: Codecs,
}

impl<'a> Ack<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the ack is dropped.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["SeqNo", "Payload", CODECS], |r, field| {
            match field {
                0 => it.seq = r.u32()?,
                1 => it.payload = r.bytes()?,
                _ => it.codecs = codecs(r)?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(2 + usize::from(!self.codecs.is_empty()));
        put_codecs(w, self.codecs);
        w.key("Payload");
        w.bytes_or_nil(self.payload.as_deref());
        w.key("SeqNo");
        w.uint(u64::from(self.seq));
    }
}

/// The answer to an indirect ping whose target stayed silent (type 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nack {
    /// Echo of the indirect ping.
    pub seq: u32,
}

impl Nack {
    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the nack is dropped.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["SeqNo"], |r, _| {
            it.seq = r.u32()?;
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(1);
        w.key("SeqNo");
        w.uint(u64::from(self.seq));
    }
}

/// The answer to a stream message that could not be unwrapped (type 13, gossip.md §2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrReply<'a> {
    /// What went wrong, for humans.
    pub error: &'a [u8],
}

impl<'a> ErrReply<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Error"], |r, _| {
            it.error = r.str()?;
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(1);
        w.key("Error");
        w.str(self.error);
    }
}

/// What a suspect (type 3) and a dead message (type 5) say; the type byte tells them apart.
///
/// A dead message from the node itself means that it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accusation<'a> {
    /// The life of the node that is meant.
    pub incarnation: u32,
    /// The accused.
    pub node: &'a [u8],
    /// The accuser.
    pub from: &'a [u8],
}

impl<'a> Accusation<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the accusation is dropped.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Incarnation", "Node", "From"], |r, field| {
            match field {
                0 => it.incarnation = r.u32()?,
                1 => it.node = r.str()?,
                _ => it.from = r.str()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(3);
        w.key("From");
        w.str(self.from);
        w.key("Incarnation");
        w.uint(u64::from(self.incarnation));
        w.key("Node");
        w.str(self.node);
    }
}

/// The announcement or refutation of a node (type 4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alive<'a> {
    /// The life of the node, raised to refute an accusation.
    pub incarnation: u32,
    /// Its name.
    pub node: &'a [u8],
    /// Its IP address, 4 or 16 bytes, compared and sent on as it is.
    pub addr: Cow<'a, [u8]>,
    /// Its gossip port.
    pub port: u16,
    /// What the layer above attaches to the node, up to 512 bytes; Serf puts the tags here.
    pub meta: Option<Cow<'a, [u8]>>,
    /// Six version numbers (gossip min, max, current; delegate min, max, current). Never send fewer: old peers
    /// cannot cope.
    pub vsn: Option<Cow<'a, [u8]>>,
}

impl<'a> Alive<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the announcement is dropped.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Incarnation", "Node", "Addr", "Port", "Meta", "Vsn"], |r, field| {
            match field {
                0 => it.incarnation = r.u32()?,
                1 => it.node = r.str()?,
                2 => it.addr = octets(r)?,
                3 => it.port = r.u16()?,
                4 => it.meta = r.bytes()?,
                _ => it.vsn = r.bytes()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the body.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(6);
        w.key("Addr");
        w.addr(&self.addr);
        w.key("Incarnation");
        w.uint(u64::from(self.incarnation));
        w.key("Meta");
        w.bytes_or_nil(self.meta.as_deref());
        w.key("Node");
        w.str(self.node);
        w.key("Port");
        w.uint(u64::from(self.port));
        w.key("Vsn");
        w.bytes_or_nil(self.vsn.as_deref());
    }
}

/// What stands before the nodes of a push/pull (type 6, gossip.md §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PushPullHeader {
    /// How many [`NodeState`]s follow. A claim of the sender, and signed on the wire.
    pub nodes: i64,
    /// How many bytes of user state follow those. Likewise.
    pub user_state_len: i64,
    /// Whether this is a join rather than the periodic exchange.
    pub join: bool,
    /// What the sender has beyond the reference: in the request, and in the reply to one that told it.
    pub codecs: Codecs,
}

impl PushPullHeader {
    /// Reads the header; it does not check the two numbers.
    ///
    /// # Errors
    /// Those of the [`Reader`].
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["Nodes", "UserStateLen", "Join", CODECS], |r, field| {
            match field {
                0 => it.nodes = r.i64()?,
                1 => it.user_state_len = r.i64()?,
                2 => it.join = r.bool()?,
                _ => it.codecs = codecs(r)?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the header.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(3 + usize::from(!self.codecs.is_empty()));
        put_codecs(w, self.codecs);
        w.key("Join");
        w.bool(self.join);
        w.key("Nodes");
        w.int(self.nodes);
        w.key("UserStateLen");
        w.int(self.user_state_len);
    }
}

/// One node of a push/pull.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeState<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its IP address, 4 or 16 bytes.
    pub addr: Cow<'a, [u8]>,
    /// Its gossip port; 0 means the port the receiver itself is bound to.
    pub port: u16,
    /// What the layer above attaches to it, up to 512 bytes.
    pub meta: Option<Cow<'a, [u8]>>,
    /// Its life.
    pub incarnation: u32,
    /// 0 alive, 1 suspect, 2 dead, 3 left; the reference ignores entries with another value.
    pub state: i64,
    /// Its six version numbers, see [`Alive::vsn`].
    pub vsn: Option<Cow<'a, [u8]>>,
}

impl<'a> NodeState<'a> {
    const FIELDS: [&'static str; 7] = ["Name", "Addr", "Port", "Meta", "Incarnation", "State", "Vsn"];

    /// Reads one entry.
    ///
    /// # Errors
    /// Those of the [`Reader`]; the whole push/pull is dropped.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&Self::FIELDS, |r, field| {
            match field {
                0 => it.name = r.str()?,
                1 => it.addr = octets(r)?,
                2 => it.port = r.u16()?,
                3 => it.meta = r.bytes()?,
                4 => it.incarnation = r.u32()?,
                5 => it.state = r.i64()?,
                _ => it.vsn = r.bytes()?,
            }
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes one entry.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(7);
        w.key("Addr");
        w.addr(&self.addr);
        w.key("Incarnation");
        w.uint(u64::from(self.incarnation));
        w.key("Meta");
        w.bytes_or_nil(self.meta.as_deref());
        w.key("Name");
        w.str(self.name);
        w.key("Port");
        w.uint(u64::from(self.port));
        w.key("State");
        w.int(self.state);
        w.key("Vsn");
        w.bytes_or_nil(self.vsn.as_deref());
    }
}

/// What stands before a user message on a stream (type 8, gossip.md §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserHeader {
    /// How many bytes follow. A claim of the sender, and signed on the wire.
    pub len: i64,
}

impl UserHeader {
    /// Reads the header; it does not check the length.
    ///
    /// # Errors
    /// Those of the [`Reader`].
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut it = Self::default();
        r.record(&["UserMsgLen"], |r, _| {
            it.len = r.i64()?;
            Ok(())
        })?;
        Ok(it)
    }

    /// Writes the header.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.map(1);
        w.key("UserMsgLen");
        w.int(self.len);
    }
}

/// The key of [`Codecs`], which stands before all others in the order of the reference.
const CODECS: &str = "Codecs";

fn codecs(r: &mut Reader<'_>) -> Result<Codecs, Malformed> {
    r.u64().map(Codecs::from_wire)
}

fn put_codecs(w: &mut Writer<'_>, codecs: Codecs) {
    if !codecs.is_empty() {
        w.key(CODECS);
        w.uint(codecs.to_wire());
    }
}

/// A byte string for which absent and empty mean the same.
fn octets<'a>(r: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, Malformed> {
    Ok(r.bytes()?.unwrap_or_default())
}
