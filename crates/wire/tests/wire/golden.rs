//! The examples of the specification: gossip.md appendix C and serf.md appendix C, value by value.

use std::borrow::Cow;

use serf_wire::checksum::Checksum;
use serf_wire::codecs::Codecs;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::coordinate::Coordinate;
use serf_wire::encrypt::{self, Key, Version};
use serf_wire::list::List;
use serf_wire::msgpack::{Dialect, Reader, Writer};
use serf_wire::packet::{Inbound, Outbound, open_packet, pack_compound, seal_packet};
use serf_wire::serf::{self, FLAG_ACK, Filter, MessageKind};
use serf_wire::stream::{StreamLimits, StreamMessage, StreamReader, StreamRules, StreamSeal, seal_stream};
use serf_wire::swim::{
    Accusation, Ack, Alive, ErrReply, IndirectPing, Kind, Nack, NodeState, Ping, PushPullHeader, Source,
    UserHeader, put,
};
use serf_wire::tags;

use crate::json::hex;

const VSN: [u8; 6] = [1, 5, 2, 2, 5, 4];
const NODE1: [u8; 4] = [10, 0, 0, 1];
const NODE2: [u8; 4] = [10, 0, 0, 2];

fn body(dialect: Dialect, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out, dialect));
    out
}

fn gossip(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    body(Dialect::GOSSIP, write)
}

fn message(kind: Kind, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, kind, write);
    out
}

/// Checks both ways: the record gives the bytes, the bytes give the record.
macro_rules! assert_both {
    ($record:expr, $type:ty, $digits:expr) => {
        let (record, bytes) = ($record, hex($digits));
        assert_eq!(gossip(|w| record.write(w)), bytes);
        assert_eq!(<$type>::read(&mut Reader::new(bytes)), Ok(record));
    };
}

fn full_ping() -> Ping<'static> {
    let source = Source { addr: Cow::Borrowed(&NODE1), port: 7946, node: b"node2" };
    Ping { seq: 1, node: b"node1", source, codecs: Codecs::NONE }
}

fn bare_ping() -> Ping<'static> {
    Ping { seq: 1, node: b"node1", ..Ping::default() }
}

fn suspect() -> Accusation<'static> {
    Accusation { incarnation: 1, node: b"node1", from: b"node2" }
}

const FULL_PING: &str = "85a44e6f6465a56e6f646531a55365714e6f01aa536f7572636541646472a40a000001aa536f75726365\
    4e6f6465a56e6f646532aa536f75726365506f7274cd1f0a";
const SUSPECT: &str = "83a446726f6da56e6f646532ab496e6361726e6174696f6e01a44e6f6465a56e6f646531";

// gossip.md C.1

#[test]
fn pings() {
    assert_both!(full_ping(), Ping<'_>, FULL_PING);
    assert_eq!(message(Kind::Ping, |w| full_ping().write(w)), hex(&format!("00{FULL_PING}")));
    assert_both!(bare_ping(), Ping<'_>, "82a44e6f6465a56e6f646531a55365714e6f01");
    let indirect = IndirectPing {
        seq: 7,
        target: Cow::Borrowed(&NODE2),
        port: 7946,
        node: b"node3",
        nack: true,
        source: Source { addr: Cow::Borrowed(&NODE1), port: 7946, node: b"node1" },
    };
    assert_both!(
        indirect.clone(),
        IndirectPing<'_>,
        "88a44e61636bc3a44e6f6465a56e6f646533a4506f7274cd1f0aa55365714e6f07aa536f7572636541646472a40a000001\
         aa536f757263654e6f6465a56e6f646531aa536f75726365506f7274cd1f0aa6546172676574a40a000002"
    );
    assert_both!(
        IndirectPing { nack: false, source: Source::default(), ..indirect },
        IndirectPing<'_>,
        "85a44e61636bc2a44e6f6465a56e6f646533a4506f7274cd1f0aa55365714e6f07a6546172676574a40a000002"
    );
}

#[test]
fn answers() {
    let ack = |payload: Option<&'static [u8]>| Ack {
        seq: 7,
        payload: payload.map(Cow::Borrowed),
        codecs: Codecs::NONE,
    };
    assert_eq!(message(Kind::Ack, |w| ack(None).write(w)), hex("0282a75061796c6f6164c0a55365714e6f07"));
    assert_both!(ack(Some(&[])), Ack<'_>, "82a75061796c6f6164a0a55365714e6f07");
    assert_both!(ack(Some(b"abc")), Ack<'_>, "82a75061796c6f6164a3616263a55365714e6f07");
    assert_both!(Nack { seq: 7 }, Nack, "81a55365714e6f07");
    assert_both!(ErrReply { error: b"boom" }, ErrReply<'_>, "81a54572726f72a4626f6f6d");
}

#[test]
fn states() {
    assert_both!(suspect(), Accusation<'_>, SUSPECT);
    let alive = Alive {
        incarnation: 2,
        node: b"node1",
        addr: Cow::Borrowed(&NODE1),
        port: 7946,
        meta: Some(Cow::Borrowed(b"meta")),
        vsn: Some(Cow::Borrowed(&VSN)),
    };
    assert_both!(
        alive.clone(),
        Alive<'_>,
        "86a441646472a40a000001ab496e6361726e6174696f6e02a44d657461a46d657461a44e6f6465a56e6f646531a4506f7274cd1f0a\
         a356736ea6010502020504"
    );
    let mapped = hex("00000000000000000000ffff0a000001");
    assert_both!(
        Alive { addr: Cow::Borrowed(mapped), meta: None, vsn: None, ..alive.clone() },
        Alive<'_>,
        "86a441646472b000000000000000000000ffff0a000001ab496e6361726e6174696f6e02a44d657461c0a44e6f6465a56e6f646531\
         a4506f7274cd1f0aa356736ec0"
    );
    let long = gossip(|w| Alive { meta: Some(Cow::Borrowed(&[7; 32])), ..alive }.write(w));
    assert!(long.windows(8).any(|bytes| bytes == hex("a44d657461da0020")), "raw16 from 32 bytes on");
}

#[test]
fn push_pull_parts() {
    let header =
        |nodes, user_state_len, join| PushPullHeader { nodes, user_state_len, join, codecs: Codecs::NONE };
    let join3 = "83a44a6f696ec3a54e6f64657303ac5573657253746174654c656e00";
    assert_both!(header(3, 0, true), PushPullHeader, join3);
    for (dialect, digits) in [
        (Dialect::GOSSIP, "83a44a6f696ec2a54e6f646573d100c8ac5573657253746174654c656ed200011170"),
        (Dialect::GOSSIP_OLD, "83a44a6f696ec2a54e6f646573ccc8ac5573657253746174654c656ece00011170"),
    ] {
        assert_eq!(body(dialect, |w| header(200, 70000, false).write(w)), hex(digits));
        assert_eq!(PushPullHeader::read(&mut Reader::new(hex(digits))), Ok(header(200, 70000, false)));
    }
    for (dialect, digits) in [
        (Dialect::GOSSIP, "83a44a6f696ec2a54e6f646573d2000080e8ac5573657253746174654c656ed201400000"),
        (Dialect::GOSSIP_OLD, "83a44a6f696ec2a54e6f646573cd80e8ac5573657253746174654c656ece01400000"),
    ] {
        assert_eq!(body(dialect, |w| header(33000, 20_971_520, false).write(w)), hex(digits));
        assert_eq!(PushPullHeader::read(&mut Reader::new(hex(digits))), Ok(header(33000, 20_971_520, false)));
    }
    for (dialect, digits) in [
        (Dialect::GOSSIP, "81aa557365724d73674c656ed10080"),
        (Dialect::GOSSIP_OLD, "81aa557365724d73674c656ecc80"),
    ] {
        assert_eq!(body(dialect, |w| UserHeader { len: 128 }.write(w)), hex(digits));
    }
    assert_both!(
        node(b"node1", &NODE1, 1, 0, None, &VSN),
        NodeState<'_>,
        "87a441646472a40a000001ab496e6361726e6174696f6e01a44d657461c0a44e616d65a56e6f646531a4506f7274cd1f0a\
         a5537461746500a356736ea6010502020504"
    );
    assert_both!(
        node(b"node1", &NODE1, 4_000_000_000, 3, Some(b"m"), &VSN),
        NodeState<'_>,
        "87a441646472a40a000001ab496e6361726e6174696f6eceee6b2800a44d657461a16da44e616d65a56e6f646531a4506f7274cd1f0a\
         a5537461746503a356736ea6010502020504"
    );
}

fn node<'a>(
    name: &'a [u8],
    addr: &'a [u8],
    incarnation: u32,
    state: i64,
    meta: Option<&'a [u8]>,
    vsn: &'a [u8],
) -> NodeState<'a> {
    let (addr, meta, vsn) = (addr.into(), meta.map(Cow::Borrowed), Some(vsn.into()));
    NodeState { name, addr, port: 7946, meta, incarnation, state, vsn }
}

// gossip.md C.2

#[test]
fn packets() {
    let parts =
        [message(Kind::Ping, |w| full_ping().write(w)), message(Kind::Suspect, |w| suspect().write(w))];
    let mut compound = Vec::new();
    pack_compound(&[&parts[0], &parts[1]], &mut compound);
    assert_eq!(compound, hex(&format!("07020043002500{FULL_PING}03{SUSPECT}")));

    let answer = message(Kind::Ack, |w| Ack { seq: 42, ..Ack::default() }.write(w));
    assert_eq!(answer, hex("0282a75061796c6f6164c0a55365714e6f2a"));
    let alive = Alive {
        incarnation: 1,
        node: b"go1",
        addr: Cow::Borrowed(&[127, 0, 0, 1]),
        port: 40683,
        meta: None,
        vsn: Some(Cow::Borrowed(&[1, 5, 2, 0, 0, 0])),
    };
    let alive = message(Kind::Alive, |w| alive.write(w));
    let mut compound = Vec::new();
    pack_compound(&[&answer, &alive], &mut compound);
    assert_eq!(
        compound,
        hex(
            "07020012003b0282a75061796c6f6164c0a55365714e6f2a0486a441646472a47f000001ab496e6361726e6174696f6e01\
             a44d657461c0a44e6f6465a3676f31a4506f7274cd9eeba356736ea6010502000000"
        )
    );

    let plain = Outbound {
        label: &[],
        key: None,
        version: Version::V1,
        compress: None,
        checksum: Some(Checksum::Crc32),
    };
    let mut packet = Vec::new();
    seal_packet(&parts[1], &plain, &[0; 12], &mut Compressor::default(), &mut packet);
    assert_eq!(packet, hex(&format!("0c024f06d603{SUSPECT}")));
}

const NONCE: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

fn key() -> Key {
    Key::new(&core::array::from_fn::<u8, 16, _>(|index| index as u8)).unwrap()
}

#[test]
fn encrypted_packets() {
    let ack = message(Kind::Ack, |w| Ack { seq: 7, ..Ack::default() }.write(w));
    let keys = [key()];
    for (version, label, digits) in [
        (
            Version::V1,
            &b""[..],
            "01000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc21d4dd6760c72ec8d7657deddc0567fc6d",
        ),
        (
            Version::V1,
            b"lbl",
            "f4036c626c01000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc21e675e4597781159686f3caac894543db",
        ),
        (
            Version::V0,
            b"",
            "00000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc2114e85de3f3f8e82fff231a4aac62cdd6494ad370\
             7e123856585425f38f74",
        ),
        (
            Version::V0,
            b"lbl",
            "f4036c626c00000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc2114e85de3f3f8e82fff231a4aac62ff\
             7eca7363dfa353dbd87f24a9d130c2",
        ),
    ] {
        let outbound = Outbound { label, key: Some(&keys[0]), version, compress: None, checksum: None };
        let mut packet = Vec::new();
        seal_packet(&ack, &outbound, &NONCE, &mut Compressor::default(), &mut packet);
        assert_eq!(packet, hex(digits));

        let inbound =
            Inbound { label, skip_label_check: false, keys: &keys, verify_incoming: true, accept_v0: true };
        let opened = open_packet(&mut packet, &inbound).unwrap();
        assert_eq!((opened.payload, opened.encrypted), (&ack[..], true));
    }
}

#[test]
fn envelope_lengths() {
    for (version, plain, sealed) in [
        (Version::V0, 0, 45),
        (Version::V0, 15, 45),
        (Version::V0, 16, 61),
        (Version::V0, 31, 61),
        (Version::V0, 32, 77),
        (Version::V1, 0, 29),
        (Version::V1, 32, 61),
    ] {
        let mut bytes = vec![7; 3 + plain];
        encrypt::seal(&key(), version, &NONCE, b"aad", &mut bytes, 3);
        assert_eq!(bytes.len(), 3 + sealed);
        assert!(sealed <= plain + encrypt::overhead(version));
        let opened = encrypt::open([&key()], version == Version::V0, b"aad", &mut bytes[3..]).unwrap();
        assert_eq!(opened, &vec![7; plain][..]);
        assert_eq!(bytes[..3], [7; 3], "what is before stays");
    }
}

// gossip.md C.3

#[test]
fn streams() {
    let ping = message(Kind::Ping, |w| bare_ping().write(w));
    let keys = [key()];
    for (label, key, compress, digits) in [
        (&b""[..], None, false, "0082a44e6f6465a56e6f646531a55365714e6f01"),
        (b"", None, true, "0982a4416c676f00a3427566b700010822e5e40d9932a5dc182c13a3d49432710a060808"),
        (
            b"",
            Some(&keys[0]),
            false,
            "0a0000003101000102030405060708090a0b93ee0380097f92f125bd05ef0706236dc26875e7df334df212c4269d95cebe661a\
             2ef10a",
        ),
        (
            b"lbl",
            Some(&keys[0]),
            false,
            "f4036c626c0a0000003101000102030405060708090a0b93ee0380097f92f125bd05ef0706236dc26875e78546a4ebf1844b9f\
             34fc87a2c69dd272",
        ),
    ] {
        let compress = compress.then_some(Algorithm::Lzw);
        let seal = StreamSeal { label, send_label_header: true, key, version: Version::V1, compress };
        let mut stream = Vec::new();
        seal_stream(&ping, &seal, &NONCE, &mut Compressor::default(), &mut stream);
        assert_eq!(stream, hex(digits));
        let rules = StreamRules {
            label,
            skip_label_check: false,
            keys: if key.is_some() { &keys } else { &[] },
            verify_incoming: true,
            accept_v0: false,
            expect_label_header: true,
            limits: StreamLimits::default(),
        };
        let mut reader = StreamReader::new();
        let read = reader.push(&stream, &rules, &mut Compressor::default());
        assert_eq!(read, Ok(Some(StreamMessage::Ping(bare_ping()))));
    }
}

#[test]
fn stream_messages() {
    let plain_rules = StreamRules {
        label: b"",
        skip_label_check: false,
        keys: &[],
        verify_incoming: true,
        accept_v0: true,
        expect_label_header: true,
        limits: StreamLimits::default(),
    };
    let vsn = [1, 5, 2, 2, 5, 5];
    let nodes = [node(b"node1", &NODE1, 1, 0, None, &vsn), node(b"node2", &NODE2, 200, 3, Some(b"m"), &vsn)];
    let mut push_pull = message(Kind::PushPull, |w| {
        PushPullHeader { nodes: 2, user_state_len: 5, join: true, codecs: Codecs::NONE }.write(w);
        nodes.iter().for_each(|node| node.write(w));
    });
    push_pull.extend_from_slice(b"STATE");
    assert_eq!(
        push_pull,
        hex(
            "0683a44a6f696ec3a54e6f64657302ac5573657253746174654c656e0587a441646472a40a000001ab496e6361726e6174696f6e01\
             a44d657461c0a44e616d65a56e6f646531a4506f7274cd1f0aa5537461746500a356736ea601050202050587a441646472\
             a40a000002ab496e6361726e6174696f6eccc8a44d657461a16da44e616d65a56e6f646532a4506f7274cd1f0aa55374617465\
             03a356736ea60105020205055354415445"
        )
    );
    let mut reader = StreamReader::new();
    let Ok(Some(StreamMessage::PushPull(it))) =
        reader.push(&push_pull, &plain_rules, &mut Compressor::default())
    else {
        panic!("not a push/pull");
    };
    assert!(it.join);
    assert!(it.nodes().eq(nodes.into_iter().map(Ok)));
    assert_eq!(it.user_state(), b"STATE");

    let mut user = message(Kind::User, |w| UserHeader { len: 5 }.write(w));
    user.extend_from_slice(b"hello");
    assert_eq!(user, hex("0881aa557365724d73674c656e0568656c6c6f"));
    let mut reader = StreamReader::new();
    let read = reader.push(&user, &plain_rules, &mut Compressor::default());
    assert_eq!(read, Ok(Some(StreamMessage::User(b"hello"))));
}

// gossip.md C.4

#[test]
fn compressed_messages() {
    for (plain, digits) in [
        (Vec::new(), "0982a4416c676f00a3427566a3000302"),
        (vec![0x61], "0982a4416c676f00a3427566a400c30404"),
        (vec![0x61; 10], "0982a4416c676f00a3427566a700c3081c483020"),
        (
            b"node1node2".repeat(10),
            "0982a4416c676f00a3427566da002900ddbc215326864082320e16549870e042870d091a84a87022c28a0c31527468b14cc487173932\
             0c08",
        ),
    ] {
        let mut message = Vec::new();
        let mut compressor = Compressor::default();
        compressor.compress(Algorithm::Lzw, &plain, &mut message);
        assert_eq!(message, hex(digits));
        let mut out = Vec::new();
        assert_eq!(compressor.decompress(&message[1..], 1000, &mut out), Ok(message.len() - 1));
        assert_eq!(out, plain);
    }
}

#[test]
fn long_compressed_messages_have_the_known_length() {
    let mut x = 1_u32;
    let noise = core::iter::repeat_with(|| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    });
    // Only the lengths: in the third the table fills, and Go begins anew one code earlier.
    for (plain, length) in [
        ((0..=255).collect::<Vec<u8>>().repeat(20), 1929),
        (vec![0; 100_000], 530),
        (noise.take(10_000).collect(), 13_525),
    ] {
        let mut message = Vec::new();
        let mut compressor = Compressor::default();
        compressor.compress(Algorithm::Lzw, &plain, &mut message);
        assert_eq!(message.len() - 15, length);
        let mut out = Vec::new();
        compressor.decompress(&message[1..], plain.len(), &mut out).unwrap();
        assert_eq!(out, plain);
    }
}

// serf.md appendix C

/// Checks both ways: the record gives the message, the message gives the record.
macro_rules! assert_message {
    ($kind:ident, $record:expr, $type:ty, $dialect:expr, $digits:expr) => {
        let (record, bytes) = ($record, hex($digits));
        assert_eq!(body($dialect, |w| record.write(w)), bytes[1..]);
        let (kind, body) = MessageKind::split(bytes).unwrap();
        assert_eq!(kind, MessageKind::$kind);
        assert_eq!(<$type>::read(&mut Reader::new(body)), Ok(record));
    };
}

#[test]
fn tags_and_versions() {
    let pairs = [(&b"dc"[..], &b"x11"[..]), (b"role", b"web")];
    let given = pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let meta = hex("ff 82 a26463 a3783131 a4726f6c65 a3776562");
    assert_eq!(tags::encode(5, &given), meta);
    assert_eq!(tags::decode(meta), (given.clone(), None));
    assert_eq!(tags::encode(2, &given), b"web");
}

#[test]
fn intents_and_events() {
    use serf::{Join, Leave, UserEvent};
    let join = Join { ltime: 1, node: b"n11" };
    assert_message!(Join, join, Join<'_>, Dialect::GOSSIP, "01 82 a54c54696d65 01 a44e6f6465 a36e3131");
    let leave = Leave { ltime: 3, node: b"n13", prune: false };
    let kept = "00 83 a54c54696d65 03 a44e6f6465 a36e3133 a55072756e65 c2";
    assert_message!(Leave, leave, Leave<'_>, Dialect::GOSSIP, kept);
    let pruned = "00 83 a54c54696d65 03 a44e6f6465 a36e3133 a55072756e65 c3";
    assert_message!(Leave, Leave { prune: true, ..leave }, Leave<'_>, Dialect::GOSSIP, pruned);

    let event = UserEvent { ltime: 1, name: b"deploy", payload: Some(b"payload-1".into()), coalesce: true };
    let digits =
        "03 84 a24343 c3 a54c54696d65 01 a44e616d65 a66465706c6f79 a75061796c6f6164 a97061796c6f61642d31";
    assert_message!(UserEvent, event, UserEvent<'_>, Dialect::GOSSIP, digits);
    let event = UserEvent { ltime: 2, name: b"nopay", payload: None, coalesce: false };
    let digits = "03 84 a24343 c2 a54c54696d65 02 a44e616d65 a56e6f706179 a75061796c6f6164 c0";
    assert_message!(UserEvent, event, UserEvent<'_>, Dialect::GOSSIP, digits);
}

#[test]
fn queries() {
    use serf::Query;
    let (mut nodes, mut tag) = (Vec::new(), Vec::new());
    let names = [&b"n11"[..], b"n13"];
    Filter::Nodes(List::of(&names)).write(&mut nodes);
    Filter::Tag { tag: b"role", expr: b"^w" }.write(&mut tag);
    let filters = [Cow::Owned(nodes), Cow::Owned(tag)];
    let query = Query {
        ltime: 1,
        id: 0x72ba_6287,
        addr: Cow::Borrowed(&[0x7f, 0, 0x4d, 0x0c]),
        port: 7946,
        source_node: b"n12",
        filters: List::of(&filters),
        flags: FLAG_ACK,
        relay_factor: 1,
        timeout: 3_200_000_000,
        name: b"load",
        payload: Some(b"hi".into()),
    };
    let head = "04 8b a441646472 a47f004d0c a746696c74657273 92 aa0092a36e3131a36e3133 b30182a445787072a25e77a3546167a4726f6c65
        a5466c616773 01 a24944 ce72ba6287 a54c54696d65 01 a44e616d65 a46c6f6164 a75061796c6f6164 a26869 a4506f7274 cd1f0a
        ab52656c6179466163746f72 01 aa536f757263654e6f6465 a36e3132 a754696d656f7574";
    let old = format!("{head} cebebc2000");
    assert_message!(Query, query.clone(), Query<'_>, Dialect::GOSSIP_OLD, &old);
    assert_eq!(hex(&old).len(), 144);
    let new = format!("{head} d300000000bebc2000");
    assert_message!(Query, query.clone(), Query<'_>, Dialect::GOSSIP, &new);
    let short = Query { timeout: 300_000_000, ..query.clone() };
    assert!(body(Dialect::GOSSIP_OLD, |w| short.write(w)).ends_with(hex("ce11e1a300")));
    assert!(gossip(|w| short.write(w)).ends_with(hex("d211e1a300")));
    let bare = gossip(|w| Query { filters: List::absent(), payload: None, ..query }.write(w));
    assert!(bare.windows(9).any(|bytes| bytes == hex("a746696c74657273c0")));
    assert!(bare.windows(9).any(|bytes| bytes == hex("a75061796c6f6164c0")));
}

const ACK: &str =
    "05 85 a5466c616773 01 a446726f6d a36e3133 a24944 ce72ba6287 a54c54696d65 01 a75061796c6f6164 c0";

#[test]
fn responses_and_relays() {
    use serf::{QueryResponse, RelayHeader};
    let ack = QueryResponse { ltime: 1, id: 0x72ba_6287, from: b"n13", flags: FLAG_ACK, payload: None };
    assert_message!(QueryResponse, ack.clone(), QueryResponse<'_>, Dialect::GOSSIP, ACK);
    let response = QueryResponse { from: b"n11", flags: 0, payload: Some(b"resp-n11\n".into()), ..ack };
    let digits = "05 85 a5466c616773 00 a446726f6d a36e3131 a24944 ce72ba6287 a54c54696d65 01
        a75061796c6f6164 a9726573702d6e31310a";
    assert_message!(QueryResponse, response, QueryResponse<'_>, Dialect::GOSSIP, digits);

    let header =
        RelayHeader { ip: Cow::Borrowed(&[0x7f, 0, 0x4d, 0x0c]), port: 7946, zone: b"", dest_name: b"n12" };
    let relay = |port: &str| {
        format!(
            "09 82 a84465737441646472 83 a24950 a47f004d0c a4506f7274 {port} a45a6f6e65 a0 a8446573744e616d65 a36e3132"
        )
    };
    assert_message!(Relay, header.clone(), RelayHeader<'_>, Dialect::GOSSIP_OLD, &relay("cd1f0a"));
    assert_message!(Relay, header.clone(), RelayHeader<'_>, Dialect::GOSSIP, &relay("d11f0a"));
    let whole = hex(&format!("{} {ACK}", relay("cd1f0a")));
    assert_eq!(whole.len(), 89);
    let mut r = Reader::new(&whole[1..]);
    assert_eq!(RelayHeader::read(&mut r), Ok(header.clone()));
    assert_eq!(r.rest(), hex(ACK));
    let far = gossip(|w| RelayHeader { port: 40_000, ..header }.write(w));
    assert!(far.windows(10).any(|bytes| bytes == hex("a4506f7274d200009c40")));
}

#[test]
fn keys_and_conflicts() {
    use serf::{ConflictResponse, KeyRequest, KeyResponse, Member};
    let request = |key: &'static [u8]| KeyRequest { key: Some(key.into()) };
    assert_message!(KeyRequest, request(b""), KeyRequest<'_>, Dialect::GOSSIP, "07 81 a34b6579 a0");
    let digits = format!("07 81 a34b6579 da0020 {}", "61".repeat(32));
    assert_message!(KeyRequest, request(&[0x61; 32]), KeyRequest<'_>, Dialect::GOSSIP, &digits);
    let digits = format!("07 81 a34b6579 b0 {}", "61".repeat(16));
    assert_message!(KeyRequest, request(&[0x61; 16]), KeyRequest<'_>, Dialect::GOSSIP, &digits);

    let message = b"Keyring is empty (encryption not enabled)";
    let response = KeyResponse { result: false, message, keys: List::absent(), primary_key: b"" };
    let text: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = format!(
        "08 84 a44b657973 c0 a74d657373616765 da0029 {text} aa5072696d6172794b6579 a0 a6526573756c74 c2"
    );
    assert_eq!(hex(&digits).len(), 80);
    assert_message!(KeyResponse, response, KeyResponse<'_>, Dialect::GOSSIP, &digits);

    let member = Member {
        name: b"n11",
        addr: Cow::Borrowed(&[0x7f, 0, 0x4e, 0x0b]),
        port: 7946,
        tags: List::of(&[]),
        status: 1,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 5,
    };
    let digits = "06 8b a441646472 a47f004e0b ab44656c6567617465437572 05 ab44656c65676174654d6178 05
        ab44656c65676174654d696e 02 a44e616d65 a36e3131 a4506f7274 cd1f0a ab50726f746f636f6c437572 02
        ab50726f746f636f6c4d6178 05 ab50726f746f636f6c4d696e 01 a6537461747573 01 a454616773 80";
    assert_eq!(hex(digits).len(), 121);
    let known = ConflictResponse { member: Some(member) };
    assert_message!(ConflictResponse, known, ConflictResponse<'_>, Dialect::GOSSIP, digits);
    let unknown = ConflictResponse { member: None };
    assert_message!(ConflictResponse, unknown, ConflictResponse<'_>, Dialect::GOSSIP, "06 c0");
}

#[test]
fn ping_payload() {
    let digits = format!(
        "01 84 aa41646a7573746d656e74 cb0000000000000000 a54572726f72 cb3ff8000000000000
         a6486569676874 cb3ee4f8b588e368f1 a3566563 98 {}",
        "cb0000000000000000".repeat(8)
    );
    let payload = hex(&digits);
    assert_eq!(payload.len(), 130);
    let fresh = Coordinate { vec: List::of(&[0.0; 8]), error: 1.5, adjustment: 0.0, height: 10.0e-6 };
    assert_eq!(Coordinate::read_payload(payload), Ok(Some(fresh)));
    let mut out = Vec::new();
    fresh.write_payload(&mut out);
    assert_eq!(out, payload);
    assert_eq!(Coordinate::read_payload(&[]), Ok(None));
    assert!(Coordinate::read_payload(&[2, 0x80]).is_err());
}

#[test]
fn push_pull_state() {
    use serf::{Event, PushPull, UserEvents};
    let (first, second) =
        ([Event { name: b"deploy", payload: Some(b"v1".into()) }], [Event { name: b"other", payload: None }]);
    let mut ring = vec![None; 512];
    ring[1] = Some(UserEvents { ltime: 1, events: List::of(&first) });
    ring[2] = Some(UserEvents { ltime: 2, events: List::of(&second) });
    let state = PushPull {
        ltime: 1,
        status_ltimes: List::of(&[(b"n11", 0)]),
        left_members: List::of(&[]),
        event_ltime: 3,
        events: List::of(&ring),
        query_ltime: 1,
    };
    let digits = format!(
        "02 86 aa4576656e744c54696d65 03 a64576656e7473 dc0200 c0
         82 a64576656e7473 91 82 a44e616d65 a66465706c6f79 a75061796c6f6164 a27631 a54c54696d65 01
         82 a64576656e7473 91 82 a44e616d65 a56f74686572 a75061796c6f6164 c0 a54c54696d65 02 {}
         a54c54696d65 01 ab4c6566744d656d62657273 90 aa51756572794c54696d65 01 ac5374617475734c54696d6573 81 a36e3131 00",
        "c0".repeat(509)
    );
    assert_message!(PushPull, state, PushPull<'_>, Dialect::GOSSIP, &digits);
    let empty = vec![None; 512];
    let quiet = gossip(|w| PushPull { events: List::of(&empty), ..state }.write(w));
    assert_eq!(1 + quiet.len(), 587);
}
