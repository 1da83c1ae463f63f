//! What must hold for any bytes whatsoever. The property tests call these functions, and so do the fuzz targets; on a
//! violation they panic.

use std::borrow::Cow;

use serf_wire::checksum::Checksum;
use serf_wire::codecs::Codecs;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::coordinate::Coordinate;
use serf_wire::encrypt::{self, Key, Version};
use serf_wire::error::Malformed;
use serf_wire::label::split_label;
use serf_wire::list::List;
use serf_wire::msgpack::{Dialect, Reader, Writer};
use serf_wire::packet::{
    Inbound, Leaf, MAX_PARTS, Outbound, Unpacker, open_packet, pack_compound, seal_packet,
};
use serf_wire::serf::{
    ConflictResponse, Event, Filter, Join, KeyRequest, KeyResponse, Leave, Member, PushPull, Query,
    QueryResponse, RelayHeader, UserEvent, UserEvents,
};
use serf_wire::stream::{StreamLimits, StreamMessage, StreamReader, StreamRules, StreamSeal, seal_stream};
use serf_wire::swim::{
    Accusation, Ack, Alive, ErrReply, IndirectPing, Kind, Nack, NodeState, Ping, PushPullHeader, Source,
    UserHeader,
};
use serf_wire::tags;

const INFLATED_MAX: usize = 1 << 20;

/// The label of the captured traffic.
const LABEL: &[u8] = b"prod-label";

const DIALECTS: [Dialect; 4] = [Dialect::GOSSIP, Dialect::GOSSIP_OLD, Dialect::RPC, Dialect::RPC_OLD];

/// Reading takes one value; what it gives can be written in any dialect and read again.
macro_rules! assert_record {
    ($record:ident, $bytes:expr) => {{
        let mut r = Reader::new($bytes);
        let read = $record::read(&mut r);
        assert!(r.position() <= $bytes.len());
        if let Ok(read) = read {
            let mut skipping = Reader::new($bytes);
            assert_eq!(skipping.skip(), Ok(()));
            assert_eq!(skipping.position(), r.position());
            assert_written!($record, read);
        }
    }};
}

/// A record can be written in any dialect and read again.
macro_rules! assert_written {
    ($record:ident, $value:expr) => {{
        let value = $value;
        for dialect in DIALECTS {
            let mut out = Vec::new();
            value.write(&mut Writer::new(&mut out, dialect));
            let mut r = Reader::new(&out);
            assert_eq!($record::read(&mut r).as_ref(), Ok(&value));
            assert!(r.is_empty());
        }
    }};
}

/// A value of every kind at these bytes: reading stops within them, and what was read is read again from what it is
/// written as.
pub(crate) fn codec(bytes: &[u8]) {
    skip(bytes);
    scalars(bytes);
    assert_record!(Ping, bytes);
    assert_record!(IndirectPing, bytes);
    assert_record!(Ack, bytes);
    assert_record!(Nack, bytes);
    assert_record!(ErrReply, bytes);
    assert_record!(Accusation, bytes);
    assert_record!(Alive, bytes);
    assert_record!(PushPullHeader, bytes);
    assert_record!(NodeState, bytes);
    assert_record!(UserHeader, bytes);
    assert_record!(Leave, bytes);
    assert_record!(Join, bytes);
    assert_record!(PushPull, bytes);
    assert_record!(UserEvent, bytes);
    assert_record!(Query, bytes);
    assert_record!(QueryResponse, bytes);
    assert_record!(ConflictResponse, bytes);
    assert_record!(KeyRequest, bytes);
    assert_record!(KeyResponse, bytes);
    assert_record!(RelayHeader, bytes);
    if let Ok(filter) = Filter::read(bytes) {
        let mut again = Vec::new();
        filter.write(&mut again);
        assert_eq!(Filter::read(&again), Ok(filter));
    }
    if let Ok(Some(coordinate)) = Coordinate::read_payload(bytes) {
        // A number may be NaN, so the bytes are compared.
        let (mut first, mut second) = (Vec::new(), Vec::new());
        coordinate.write_payload(&mut first);
        Coordinate::read_payload(&first).unwrap().unwrap().write_payload(&mut second);
        assert_eq!(first, second);
    }
    let (read, error) = tags::decode(bytes);
    if error.is_none() && bytes.first() == Some(&0xff) {
        assert_eq!(tags::decode(&tags::encode(5, &read)), (read, None));
    }
    if let Ok((label, rest)) = split_label(bytes) {
        assert!(label.len() + rest.len() <= bytes.len());
    }
    let mut out = Vec::new();
    if let Ok(length) = Compressor::default().decompress(bytes, INFLATED_MAX, &mut out) {
        assert!(length <= bytes.len() && out.len() <= INFLATED_MAX);
    }
}

/// Skipping ends where the value ends: no matter what follows, and not before.
fn skip(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    let skipped = r.skip();
    assert!(r.position() <= bytes.len());
    if skipped.is_err() {
        return;
    }
    let value = &bytes[..r.position()];
    let mut alone = Reader::new(value);
    assert_eq!(alone.skip(), Ok(()));
    assert!(alone.is_empty());
    for end in (0..value.len()).rev().take(40) {
        assert_eq!(Reader::new(&value[..end]).skip(), Err(Malformed::Truncated));
    }
}

/// What reads as one value takes the same bytes as skipping it.
fn scalars(bytes: &[u8]) {
    fn one<'a, T>(bytes: &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>) {
        let mut r = Reader::new(bytes);
        let is = read(&mut r);
        assert!(r.position() <= bytes.len());
        if is.is_ok() {
            let mut skipping = Reader::new(bytes);
            skipping.skip().unwrap();
            assert_eq!(skipping.position(), r.position());
        }
    }
    one(bytes, Reader::u8);
    one(bytes, Reader::u16);
    one(bytes, Reader::u32);
    one(bytes, Reader::u64);
    one(bytes, Reader::i64);
    one(bytes, Reader::bool);
    one(bytes, Reader::f64);
    one(bytes, Reader::str);
    one(bytes, Reader::bytes);
    one(bytes, |r| r.record(&["LTime", "Node"], |r, _| r.skip()));
}

/// A datagram, after one byte that says what is expected of it. Whatever was taken apart before does not matter.
pub(crate) fn packet(bytes: &[u8]) {
    let Some((options, bytes)) = bytes.split_first() else { return };
    let keys = keys();
    let inbound = Inbound {
        label: if options & 1 == 0 { b"" } else { LABEL },
        skip_label_check: options & 2 != 0,
        keys: if options & 4 == 0 { &[] } else { &keys },
        verify_incoming: options & 8 != 0,
        accept_v0: options & 16 != 0,
    };
    let mut opened = bytes.to_vec();
    let payload = match open_packet(&mut opened, &inbound) {
        Ok(opened) => opened.payload,
        // Behind a cipher there is little to find, so what does not open is also taken as it is.
        Err(_) => bytes,
    };
    let mut unpacker = Unpacker::default();
    let first = leaves(&mut unpacker, payload);
    assert_eq!(leaves(&mut unpacker, payload), first);
}

/// All leaves, each read as what it says it is.
fn leaves(unpacker: &mut Unpacker, payload: &[u8]) -> Vec<Result<(Kind, Vec<u8>), Malformed>> {
    let mut leaves = Vec::new();
    let dropped = unpacker.leaves(payload, INFLATED_MAX, &mut |leaf| match leaf {
        Leaf::Message(kind, body) => {
            match kind {
                Kind::Ping => assert_record!(Ping, body),
                Kind::IndirectPing => assert_record!(IndirectPing, body),
                Kind::Ack => assert_record!(Ack, body),
                Kind::Nack => assert_record!(Nack, body),
                Kind::Suspect | Kind::Dead => assert_record!(Accusation, body),
                Kind::Alive => assert_record!(Alive, body),
                Kind::User => {}
                other => panic!("{other:?} has no place in a datagram"),
            }
            leaves.push(Ok((kind, body.to_vec())));
        }
        Leaf::Malformed(why) => leaves.push(Err(why)),
    });
    assert!(dropped >= leaves.iter().filter(|leaf| leaf.is_err()).count().min(1));
    leaves
}

/// What is compressed in any way, or behind any checksum: it is read within bounds, or refused.
pub(crate) fn compressed(bytes: &[u8]) {
    let mut compressor = Compressor::default();
    let mut out = Vec::new();
    for algorithm in Algorithm::ALL {
        let mut body = Vec::new();
        let mut w = Writer::new(&mut body, Dialect::GOSSIP);
        w.map(2);
        w.key("Algo");
        w.uint(u64::from(algorithm as u8));
        w.key("Buf");
        w.bytes(bytes);
        for limit in [100, INFLATED_MAX] {
            match compressor.decompress(&body, limit, &mut out) {
                Ok(length) => assert!(length == body.len() && out.len() <= limit),
                Err(error) => {
                    assert_eq!(error == Malformed::CompressionNotBuilt(algorithm), !algorithm.is_built());
                }
            }
        }
        if algorithm.is_built() {
            body.clear();
            compressor.compress(algorithm, bytes, &mut body);
            let read = compressor.decompress(&body[1..], bytes.len(), &mut out);
            assert_eq!((read, &out[..]), (Ok(body.len() - 1), bytes));
        }
    }
    let inbound =
        Inbound { label: b"", skip_label_check: false, keys: &[], verify_incoming: true, accept_v0: false };
    for checksum in Checksum::ALL {
        let mut packet = [&[Kind::HasChecksum as u8, checksum as u8][..], bytes].concat();
        let length = packet.len();
        if let Ok(opened) = open_packet(&mut packet, &inbound) {
            assert_eq!(opened.payload.len() + checksum.overhead(), length);
        }
    }
}

/// A stream, after one byte that says what is expected of it and one that says how it is cut into pieces. The pieces
/// must give what the whole gives.
pub(crate) fn stream(bytes: &[u8]) {
    let [options, cut, bytes @ ..] = bytes else { return };
    let keys = keys();
    let rules = StreamRules {
        label: if options & 1 == 0 { b"" } else { LABEL },
        skip_label_check: options & 2 != 0,
        keys: if options & 4 == 0 { &[] } else { &keys },
        verify_incoming: options & 8 != 0,
        accept_v0: options & 16 != 0,
        expect_label_header: options & 32 != 0,
        // Within reach of short inputs, so that the limits are met too.
        limits: if options & 64 == 0 {
            StreamLimits::default()
        } else {
            StreamLimits { frame: 200, inflated: 300, nodes: 3, user_state: 20, user_message: 20 }
        },
    };
    let mut compressor = Compressor::default();
    let mut whole = StreamReader::new();
    let expected = whole.push(bytes, &rules, &mut compressor);
    if let Ok(Some(StreamMessage::PushPull(it))) = &expected {
        assert_eq!(it.nodes().filter(Result::is_ok).count(), it.node_count());
    }

    let mut reader = StreamReader::new();
    let (mut rest, mut size) = (bytes, usize::from(*cut));
    while !rest.is_empty() {
        size = (size * 5 + 3) % 41;
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        match reader.push(piece, &rules, &mut compressor) {
            Ok(None) => assert!(reader.buffered() <= bytes.len()),
            done => return assert_eq!(done, expected),
        }
    }
    assert_eq!(reader.push(&[], &rules, &mut compressor), expected);
}

/// Two of the keys of the captured traffic.
fn keys() -> [Key; 2] {
    [&b"0123456789abcdefghijklmnopqrstuv"[..], b"0123456789abcdef"]
        .map(|key| Key::new(key).expect("good sizes"))
}

/// Records of every kind with fields drawn from these bytes: written, they read the same.
pub(crate) fn records(bytes: &[u8]) {
    let d = &mut Draw { bytes };
    // Borrowed by the records below.
    let [node, from, name, text]: [Vec<u8>; 4] = core::array::from_fn(|_| d.octets());
    let (node, from, name, text) = (&node[..], &from[..], &name[..], &text[..]);
    let source = Source { addr: d.octets().into(), port: d.u16(), node: from };

    assert_written!(Ping, Ping { seq: d.u32(), node, source: source.clone(), codecs: d.codecs() });
    let (seq, target, port) = (d.u32(), d.octets().into(), d.u16());
    assert_written!(IndirectPing, IndirectPing { seq, target, port, node, nack: d.bool(), source });
    assert_written!(Ack, Ack { seq: d.u32(), payload: d.payload(), codecs: d.codecs() });
    assert_written!(Nack, Nack { seq: d.u32() });
    assert_written!(ErrReply, ErrReply { error: text });
    assert_written!(Accusation, Accusation { incarnation: d.u32(), node, from });
    let (incarnation, addr, port) = (d.u32(), d.octets().into(), d.u16());
    assert_written!(Alive, Alive { incarnation, node, addr, port, meta: d.payload(), vsn: d.payload() });
    let header =
        PushPullHeader { nodes: d.i64(), user_state_len: d.i64(), join: d.bool(), codecs: d.codecs() };
    assert_written!(PushPullHeader, header);
    let (addr, port, meta, incarnation) = (d.octets().into(), d.u16(), d.payload(), d.u32());
    let (state, vsn) = (d.i64(), d.payload());
    assert_written!(NodeState, NodeState { name, addr, port, meta, incarnation, state, vsn });
    assert_written!(UserHeader, UserHeader { len: d.i64() });

    assert_written!(Leave, Leave { ltime: d.u64(), node, prune: d.bool() });
    assert_written!(Join, Join { ltime: d.u64(), node });
    let events: Vec<Event<'_>> = d.some(|d| Event { name, payload: d.payload() });
    let events = List::of(&events);
    let ring = d.some(|d| d.bool().then(|| UserEvents { ltime: d.u64(), events }));
    let status_ltimes = d.some(|d| (node, d.u64()));
    let left_members = d.some(|_| from);
    let push_pull = PushPull {
        ltime: d.u64(),
        status_ltimes: d.list(&status_ltimes),
        left_members: d.list(&left_members),
        event_ltime: d.u64(),
        events: d.list(&ring),
        query_ltime: d.u64(),
    };
    assert_written!(PushPull, push_pull);
    let (ltime, payload, coalesce) = (d.u64(), d.payload(), d.bool());
    assert_written!(UserEvent, UserEvent { ltime, name, payload, coalesce });
    let filters: Vec<Cow<'_, [u8]>> = d.some(|d| d.octets().into());
    let query = Query {
        ltime: d.u64(),
        id: d.u32(),
        addr: d.octets().into(),
        port: d.u16(),
        source_node: node,
        filters: d.list(&filters),
        flags: d.u32(),
        relay_factor: d.u8(),
        timeout: d.i64(),
        name,
        payload: d.payload(),
    };
    assert_written!(Query, query);
    let (ltime, id, flags, payload) = (d.u64(), d.u32(), d.u32(), d.payload());
    assert_written!(QueryResponse, QueryResponse { ltime, id, from, flags, payload });
    let pairs = d.some(|_| (name, text));
    let member = Member {
        name,
        addr: d.octets().into(),
        port: d.u16(),
        tags: d.list(&pairs),
        status: d.i64(),
        protocol_min: d.u8(),
        protocol_max: d.u8(),
        protocol_cur: d.u8(),
        delegate_min: d.u8(),
        delegate_max: d.u8(),
        delegate_cur: d.u8(),
    };
    assert_written!(ConflictResponse, ConflictResponse { member: d.bool().then_some(member) });
    assert_written!(KeyRequest, KeyRequest { key: d.payload() });
    let keys = d.list(&left_members);
    assert_written!(KeyResponse, KeyResponse { result: d.bool(), message: text, keys, primary_key: name });
    let relay = RelayHeader { ip: d.octets().into(), port: d.i64(), zone: text, dest_name: name };
    assert_written!(RelayHeader, relay);
    let numbers = d.some(|d| d.i64() as f64);
    let (error, adjustment, height) = (d.i64() as f64, d.i64() as f64, d.i64() as f64);
    assert_written!(Coordinate, Coordinate { vec: d.list(&numbers), error, adjustment, height });
}

/// Any payload through all layers of a datagram and of a stream, and back.
pub(crate) fn sealed(bytes: &[u8]) {
    let d = &mut Draw { bytes };
    let keys = keys();
    let options = d.u8();
    let label: &[u8] = if options & 1 == 0 { b"" } else { LABEL };
    let key = (options & 2 != 0).then_some(&keys[usize::from(options >> 7)]);
    let version = if options & 4 == 0 { Version::V0 } else { Version::V1 };
    // What this build does not have falls back to what everybody has.
    let compress = (options & 8 != 0).then(|| Algorithm::ALL[usize::from(d.u8()) % Algorithm::ALL.len()]);
    let checksum = (options & 16 != 0).then(|| Checksum::ALL[usize::from(d.u8()) % Checksum::ALL.len()]);
    let known: &[Key] = if key.is_some() { &keys } else { &[] };
    let nonce = core::array::from_fn(|_| d.u8());
    let parts: Vec<Vec<u8>> = d.some(|d| {
        let mut part = [&[Kind::User as u8][..], &d.octets()].concat();
        part.truncate(usize::from(u16::MAX));
        part
    });
    let mut compressor = Compressor::default();
    let mut out = Vec::new();

    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).take(MAX_PARTS).collect();
    let mut compound = Vec::new();
    pack_compound(&slices, &mut compound);
    let outbound = Outbound { label, key, version, compress, checksum };
    seal_packet(&compound, &outbound, &nonce, &mut compressor, &mut out);
    if let Some(version) = key.map(|_| version) {
        let checksum = checksum.map_or(0, Checksum::overhead);
        assert!(out.len() <= compound.len() + label.len() + 2 + checksum + encrypt::overhead(version));
    }
    let inbound =
        Inbound { label, skip_label_check: false, keys: known, verify_incoming: true, accept_v0: true };
    let opened = open_packet(&mut out, &inbound).expect("what was sealed opens");
    // The last comes first.
    let mut expected = parts.iter().rev();
    Unpacker::default().leaves(opened.payload, INFLATED_MAX, &mut |leaf| {
        assert_eq!(leaf, Leaf::Message(Kind::User, &expected.next().expect("no more than went in")[1..]));
    });
    assert_eq!(expected.count(), 0);

    let text = d.octets();
    let mut plain = vec![Kind::User as u8];
    UserHeader { len: text.len() as i64 }.write(&mut Writer::new(&mut plain, Dialect::GOSSIP));
    plain.extend_from_slice(&text);
    let send_label_header = options & 32 != 0;
    let seal = StreamSeal { label, send_label_header, key, version, compress };
    seal_stream(&plain, &seal, &nonce, &mut compressor, &mut out);
    let rules = StreamRules {
        label,
        skip_label_check: false,
        keys: known,
        verify_incoming: true,
        accept_v0: true,
        expect_label_header: send_label_header,
        limits: StreamLimits::default(),
    };
    let mut reader = StreamReader::new();
    assert_eq!(reader.push(&out, &rules, &mut compressor), Ok(Some(StreamMessage::User(&text))));
}

/// Takes values from bytes; when there are no more, all values are small.
struct Draw<'d> {
    bytes: &'d [u8],
}

impl Draw<'_> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn bool(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    fn codecs(&mut self) -> Codecs {
        Codecs::from_wire(self.u8().into())
    }

    /// Up to 64 bits, with every length equally likely.
    fn u64(&mut self) -> u64 {
        let bytes = self.u8() % 9;
        (0..bytes).fold(0, |sum, _| sum << 8 | u64::from(self.u8()))
    }

    fn i64(&mut self) -> i64 {
        let magnitude = self.u64() as i64;
        if self.bool() { magnitude } else { magnitude.wrapping_neg() }
    }

    fn u32(&mut self) -> u32 {
        (self.u64() >> (self.u8() % 64)) as u32
    }

    fn u16(&mut self) -> u16 {
        self.u32() as u16
    }

    /// Mostly short, sometimes at a length where the form changes.
    fn octets(&mut self) -> Vec<u8> {
        let length = match self.u8() {
            250 => 31,
            251 => 32,
            252 => 255,
            253 => 256,
            254 => 65535,
            255 => 65536,
            length => usize::from(length % 24),
        };
        // Part of it may be beyond the end: then it is zeros, which compress.
        (0..length).map(|_| self.u8()).collect()
    }

    fn payload(&mut self) -> Option<Cow<'static, [u8]>> {
        self.bool().then(|| self.octets().into())
    }

    fn some<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.u8() % 20;
        (0..count).map(|_| one(self)).collect()
    }

    fn list<'v, T: serf_wire::list::Element<'v>>(&mut self, values: &'v [T]) -> List<'v, T> {
        if self.bool() { List::of(values) } else { List::absent() }
    }
}
