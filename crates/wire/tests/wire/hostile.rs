//! What a peer can do wrong on purpose: each attack is refused by name, at the cost of what it sent.

use serf_wire::codecs::Codecs;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::encrypt::{self, Key, Version};
use serf_wire::error::Malformed;
use serf_wire::msgpack::{Dialect, Writer};
use serf_wire::packet::{Inbound, Leaf, MAX_NESTING, Unpacker, open_packet};
use serf_wire::stream::{
    StreamError, StreamLimits, StreamMessage, StreamReader, StreamRules, StreamSeal, seal_stream,
};
use serf_wire::swim::{Kind, Nack, PushPullHeader, UserHeader, put};

use crate::json::hex;

const NONCE: [u8; 12] = [9; 12];

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

fn nack() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, Kind::Nack, |w| Nack { seq: 1 }.write(w));
    out
}

// datagrams

fn open(bytes: &[u8], cfg: &Inbound<'_>) -> Result<(Vec<u8>, bool), Malformed> {
    open_packet(&mut bytes.to_vec(), cfg).map(|opened| (opened.payload.to_vec(), opened.encrypted))
}

const PLAIN: Inbound<'static> =
    Inbound { label: b"", skip_label_check: false, keys: &[], verify_incoming: true, accept_v0: false };

#[test]
fn labels_keep_clusters_apart() {
    let ours = Inbound { label: b"abc", ..PLAIN };
    let skipping = Inbound { skip_label_check: true, ..ours };
    let labelled = hex("f403 616263 08");
    let plain = Ok((vec![8], false));
    assert_eq!(open(labelled, &ours), plain);
    assert_eq!(open(labelled, &PLAIN), Err(Malformed::LabelMismatch));
    assert_eq!(open(&[8], &ours), Err(Malformed::LabelMismatch));
    assert_eq!(open(hex("f403 616264 08"), &ours), Err(Malformed::LabelMismatch));
    assert_eq!(open(labelled, &skipping), Err(Malformed::LabelDouble));
    assert_eq!(open(&[8], &skipping), plain);
    assert_eq!(open(hex("f4"), &ours), Err(Malformed::LabelTruncated));
    assert_eq!(open(hex("f403 6162"), &ours), Err(Malformed::LabelTruncated));
    assert_eq!(open(hex("f400 08"), &ours), Err(Malformed::LabelEmpty));
    assert_eq!(open(&[], &ours), Err(Malformed::LabelMismatch));
    assert_eq!(open(&[], &PLAIN), Ok((vec![], false)));
}

#[test]
fn encryption_is_demanded_or_not() {
    let keys = [key(1), key(2)];
    let demanding = Inbound { keys: &keys, ..PLAIN };
    let migrating = Inbound { verify_incoming: false, ..demanding };
    for (index, key) in keys.iter().enumerate() {
        let mut sealed = nack();
        encrypt::seal(key, Version::V1, &NONCE, b"", &mut sealed, 0);
        assert_eq!(open(&sealed, &demanding), Ok((nack(), true)), "key {index}");
        assert_eq!(open(&sealed, &migrating), Ok((nack(), true)), "key {index}");
        assert_eq!(open(&sealed, &PLAIN), Ok((sealed.clone(), false)), "without keys it is taken as it is");
    }
    let mut sealed = nack();
    encrypt::seal(&key(3), Version::V1, &NONCE, b"", &mut sealed, 0);
    assert_eq!(open(&sealed, &demanding), Err(Malformed::NoKeyFits));
    assert_eq!(open(&sealed, &migrating), Ok((sealed, false)));
    assert_eq!(open(&nack(), &demanding), Err(Malformed::EncryptionVersion(11)));
    assert_eq!(open(&nack(), &migrating), Ok((nack(), false)));
    assert_eq!(open(&[], &demanding), Err(Malformed::EncryptedEmpty));

    let mut old = nack();
    encrypt::seal(&keys[0], Version::V0, &NONCE, b"", &mut old, 0);
    assert_eq!(open(&old, &demanding), Err(Malformed::EncryptionVersion0));
    assert_eq!(open(&old, &Inbound { accept_v0: true, ..demanding }), Ok((nack(), true)));
}

#[test]
fn checksums_are_only_read_where_they_fit() {
    assert_eq!(open(hex("0c00000000"), &PLAIN), Ok((vec![], false)), "the checksum of nothing");
    assert_eq!(open(hex("0c000000"), &PLAIN), Ok((hex("0c000000").to_vec(), false)));
    let wrong = Err(Malformed::Checksum { announced: 1, actual: 0xd202_ef8d });
    assert_eq!(open(hex("0c0000000100"), &PLAIN), wrong);
}

#[test]
fn keys_tell_nothing() {
    assert_eq!(format!("{:?}", key(0x41)), "Key(16 bytes)");
    assert_eq!(key(1), key(1).clone());
    assert_ne!(key(1), key(2));
    assert_ne!(key(1), Key::new(&[1; 32]).unwrap());
    for length in [0, 15, 17, 31, 33] {
        let refused = Key::new(&vec![0; length]).unwrap_err();
        assert_eq!(refused.to_string(), "key size must be 16, 24 or 32 bytes");
    }
}

fn unpack(payload: &[u8], budget: usize) -> (Vec<Result<Kind, Malformed>>, usize) {
    let mut leaves = Vec::new();
    let dropped = Unpacker::default().leaves(payload, budget, &mut |leaf| {
        leaves.push(match leaf {
            Leaf::Message(kind, _) => Ok(kind),
            Leaf::Malformed(why) => Err(why),
        });
    });
    (leaves, dropped)
}

#[test]
fn bad_parts_do_not_harm_good_ones() {
    let parts = [&nack()[..], &[], &[99], &[6, 0x80], &[0x0c, 0, 0, 0, 0, 8], &nack()];
    // Packed by hand, we would not send this.
    let mut packet = vec![7, parts.len() as u8];
    parts.iter().for_each(|part| packet.extend_from_slice(&(part.len() as u16).to_be_bytes()));
    parts.iter().for_each(|part| packet.extend_from_slice(part));
    let expected = [
        Ok(Kind::Nack),
        Err(Malformed::UnexpectedKind(Kind::HasCrc)),
        Err(Malformed::UnexpectedKind(Kind::PushPull)),
        Err(Malformed::UnknownKind(99)),
        Err(Malformed::EmptyMessage),
        Ok(Kind::Nack),
    ];
    assert_eq!(unpack(&packet, 0), (expected.to_vec(), 4));
    packet.truncate(packet.len() - 1);
    let (leaves, dropped) = unpack(&packet, 0);
    assert_eq!((leaves.first(), dropped), (Some(&Err(Malformed::CompoundTruncated(1))), 5));
    assert_eq!(unpack(&[], 0), (vec![Err(Malformed::EmptyMessage)], 1));
    assert_eq!(unpack(&[7], 0), (vec![Err(Malformed::CompoundCount)], 1));
    assert_eq!(unpack(&[7, 3, 0, 1], 0), (vec![Err(Malformed::CompoundLengths)], 3));
}

/// A compound of one part.
fn boxed(part: &[u8]) -> Vec<u8> {
    [&[7, 1][..], &(part.len() as u16).to_be_bytes(), part].concat()
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::default().compress(Algorithm::Lzw, plain, &mut out);
    out
}

#[test]
fn layers_are_counted() {
    for wrap in [boxed, compressed as fn(&[u8]) -> Vec<u8>] {
        let mut message = nack();
        for layer in 1..=MAX_NESTING {
            message = wrap(&message);
            assert_eq!(unpack(&message, 1000), (vec![Ok(Kind::Nack)], 0), "{layer} layers");
        }
        message = wrap(&message);
        assert_eq!(unpack(&message, 1000), (vec![Err(Malformed::NestedTooDeep)], 1));
    }
    let mixed = compressed(&boxed(&compressed(&boxed(&nack()))));
    assert_eq!(unpack(&mixed, 1000), (vec![Ok(Kind::Nack)], 0));
}

#[test]
fn a_datagram_decompresses_to_so_much_and_no_more() {
    let mut plain = vec![Kind::User as u8];
    plain.resize(1000, 0);
    let part = compressed(&plain);
    let packet = [&[7, 3][..], &(part.len() as u16).to_be_bytes().repeat(3), &part.repeat(3)].concat();
    assert_eq!(unpack(&packet, 3000), (vec![Ok(Kind::User); 3], 0));
    let two = vec![Ok(Kind::User), Ok(Kind::User), Err(Malformed::InflatedTooLarge(999))];
    assert_eq!(unpack(&packet, 2999), (two, 1));
    assert_eq!(unpack(&compressed(&[]), 10), (vec![Err(Malformed::EmptyMessage)], 1));
}

/// A part of a few bytes may take as much work as a large one, whether it can be decompressed or not.
#[test]
fn of_a_datagram_few_parts_are_decompressed_and_none_after_one_that_cannot_be() {
    let pack = |parts: &[Vec<u8>]| {
        let lengths: Vec<u8> = parts.iter().flat_map(|part| (part.len() as u16).to_be_bytes()).collect();
        [&[7, parts.len() as u8][..], &lengths, &parts.concat()].concat()
    };
    let (told, dropped) = unpack(&pack(&vec![compressed(&nack()); 40]), 100_000);
    assert_eq!((told.iter().filter(|leaf| leaf.is_ok()).count(), dropped), (16, 24));
    assert_eq!(told[16], Err(Malformed::InflatedTooLarge(0)));

    // The last comes first: here that is one too large.
    let mut parts = vec![compressed(&nack()); 10];
    parts.push(compressed(&[0; 2000]));
    let (told, dropped) = unpack(&pack(&parts), 1000);
    assert_eq!((told.iter().filter(|leaf| leaf.is_ok()).count(), dropped), (0, 11));
    assert_eq!(told[0], Err(Malformed::InflatedTooLarge(1000)));
}

// streams

const STREAM: StreamRules<'static> = StreamRules {
    label: b"",
    skip_label_check: false,
    keys: &[],
    verify_incoming: true,
    accept_v0: false,
    expect_label_header: true,
    limits: StreamLimits {
        frame: 20 << 20,
        inflated: 40 << 20,
        nodes: 1 << 20,
        user_state: 20 << 20,
        user_message: 20 << 20,
    },
};

/// What is wrong with these bytes, and whether the peer hears of it.
fn refused(bytes: &[u8], rules: &StreamRules<'_>) -> Option<(Malformed, bool)> {
    let mut reader = StreamReader::new();
    let first = reader.push(bytes, rules, &mut Compressor::default()).map(|message| message.is_some());
    match first {
        Ok(_) => None,
        Err(error) => {
            assert_eq!(reader.push(&nack(), rules, &mut Compressor::default()), Err(error), "an error stays");
            assert_eq!(reader.buffered(), 0, "and holds nothing");
            assert_eq!(error.to_string(), error.what.to_string());
            Some((error.what, error.reply))
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    assert_eq!(StreamLimits::default(), STREAM.limits);
}

#[test]
fn outer_layers_answer_and_the_rest_is_silent() {
    let keys = [key(1)];
    let encrypted = StreamRules { keys: &keys, ..STREAM };
    let labelled = StreamRules { label: b"abc", ..STREAM };
    let ping = hex("0082a44e6f6465a56e6f646531a55365714e6f01");

    assert_eq!(refused(hex("0a"), &STREAM), Some((Malformed::EncryptionNotConfigured, true)));
    assert_eq!(refused(&ping[..1], &encrypted), Some((Malformed::EncryptionRequired, true)));
    assert_eq!(refused(ping, &StreamRules { verify_incoming: false, ..encrypted }), None);
    assert_eq!(
        refused(hex("0982a4416c676f01a3427566a178"), &STREAM),
        Some((Malformed::CompressionAlgorithm(1), true))
    );
    assert_eq!(
        refused(hex("0982a4416c676f00a3427566a3000302"), &STREAM),
        Some((Malformed::InflatedEmpty, true))
    );
    assert_eq!(refused(hex("0982a4416c676f00a3427566a2ffff"), &STREAM), Some((Malformed::BadLzw, true)));
    assert_eq!(refused(hex("0905"), &STREAM), Some((Malformed::WrongType(5), true)));

    assert_eq!(refused(hex("03"), &STREAM), Some((Malformed::UnexpectedKind(Kind::Suspect), false)));
    assert_eq!(refused(hex("63"), &STREAM), Some((Malformed::UnknownKind(99), false)));
    assert_eq!(refused(hex("0005"), &STREAM), Some((Malformed::WrongType(5), false)));
    assert_eq!(refused(hex("f40161"), &STREAM), Some((Malformed::LabelMismatch, false)));
    assert_eq!(refused(hex("f400"), &STREAM), Some((Malformed::LabelEmpty, false)));
    assert_eq!(refused(ping, &labelled), Some((Malformed::LabelMismatch, false)));
    let skipping = StreamRules { skip_label_check: true, ..labelled };
    assert_eq!(refused(hex("f403616263"), &skipping), Some((Malformed::LabelDouble, false)));
    assert_eq!(refused(ping, &skipping), None);
    let reply = StreamRules { expect_label_header: false, ..labelled };
    assert_eq!(refused(ping, &reply), None);
    assert_eq!(refused(hex("f403616263"), &reply), Some((Malformed::UnexpectedKind(Kind::HasLabel), false)));
}

/// A message in an encrypted frame under `key`, with the header and label authenticated.
fn framed(plain: &[u8], key: &Key, version: Version) -> Vec<u8> {
    let seal = StreamSeal { label: b"", send_label_header: false, key: Some(key), version, compress: None };
    let mut out = Vec::new();
    seal_stream(plain, &seal, &NONCE, &mut Compressor::default(), &mut out);
    out
}

#[test]
fn encrypted_streams_are_checked() {
    let keys = [key(1)];
    let rules = StreamRules { keys: &keys, ..STREAM };
    assert_eq!(refused(&framed(&[], &keys[0], Version::V1), &rules), Some((Malformed::DecryptedEmpty, true)));
    assert_eq!(
        refused(&framed(&[8, 0x80], &key(2), Version::V1), &rules),
        Some((Malformed::NoKeyFits, true))
    );
    let old = framed(&[8, 0x80], &keys[0], Version::V0);
    assert_eq!(refused(&old, &rules), Some((Malformed::EncryptionVersion0, true)));
    assert_eq!(refused(&old, &StreamRules { accept_v0: true, ..rules }), None);
    assert_eq!(refused(hex("0a00000000"), &rules), Some((Malformed::EncryptedEmpty, true)));
    assert_eq!(refused(hex("0a0000000302ffff"), &rules), Some((Malformed::EncryptionVersion(2), true)));
    assert_eq!(refused(hex("0a0000000301ffff"), &rules), Some((Malformed::EncryptedTooShort(3), true)));
    // 20 MiB are taken, one byte more is not, and it is said before any of it has come.
    assert_eq!(refused(hex("0a01400000"), &rules), None);
    assert_eq!(refused(hex("0a01400001"), &rules), Some((Malformed::FrameTooLarge(20_971_521), true)));
    // The frame is complete, the message in it is not.
    let cut = framed(&[0, 0x81], &keys[0], Version::V1);
    assert_eq!(refused(&cut, &rules), Some((Malformed::Truncated, false)));
    let cut = framed(&[9, 0x81], &keys[0], Version::V1);
    assert_eq!(refused(&cut, &rules), Some((Malformed::Truncated, false)));
    // Each layer once.
    let inner = framed(&framed(&nack(), &keys[0], Version::V1), &keys[0], Version::V1);
    assert_eq!(refused(&inner, &rules), Some((Malformed::UnexpectedKind(Kind::Encrypt), false)));
    let twice = compressed(&compressed(&nack()));
    assert_eq!(refused(&twice, &STREAM), Some((Malformed::UnexpectedKind(Kind::Compress), false)));
}

fn headed(kind: Kind, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![kind as u8];
    write(&mut Writer::new(&mut out, Dialect::GOSSIP));
    out
}

#[test]
fn announced_sizes_are_checked_before_they_arrive() {
    let push_pull = |nodes, user_state_len| {
        headed(Kind::PushPull, |w| {
            PushPullHeader { nodes, user_state_len, join: false, codecs: Codecs::NONE }.write(w)
        })
    };
    let user = |len| headed(Kind::User, |w| UserHeader { len }.write(w));
    let silent = |what| Some((what, false));
    assert_eq!(refused(&push_pull(1 << 20, 20 << 20), &STREAM), None);
    for nodes in [-1, (1 << 20) + 1, i64::MAX, i64::MIN] {
        assert_eq!(refused(&push_pull(nodes, 0), &STREAM), silent(Malformed::NodeCount(nodes)));
    }
    for length in [-1, (20 << 20) + 1, i64::MAX, i64::MIN] {
        assert_eq!(refused(&push_pull(0, length), &STREAM), silent(Malformed::UserStateLength(length)));
        assert_eq!(refused(&user(length), &STREAM), silent(Malformed::UserMessageLength(length)));
    }
    assert_eq!(refused(&user(20 << 20), &STREAM), None);
    let small = StreamRules { limits: StreamLimits { inflated: 1000, ..STREAM.limits }, ..STREAM };
    assert!(matches!(refused(&push_pull(500, 600), &small), Some((Malformed::FrameTooLarge(_), false))));

    // Strings, arrays and maps inside a message count against the whole of it.
    for value in ["db03000000", "c603000000", "dd03000000", "df01800000", "c90300000000"] {
        let ping = [hex("0081a158"), hex(value)].concat();
        assert!(matches!(refused(&ping, &STREAM), Some((Malformed::FrameTooLarge(_), false))), "{value}");
        let compress = [hex("0981a158"), hex(value)].concat();
        assert_eq!(refused(&compress, &STREAM), None, "the noise of 40 MiB fits");
    }
    let compress = hex("0981a158dbffffffff");
    assert_eq!(refused(compress, &STREAM), Some((Malformed::FrameTooLarge(u32::MAX), true)));
}

#[test]
fn a_message_that_stays_in_the_limits_can_be_any_length() {
    // A push/pull whose nodes are nil, the shortest there is: announced at the limit, sent in pieces.
    let rules = StreamRules { limits: StreamLimits { nodes: 1000, ..STREAM.limits }, ..STREAM };
    let mut bytes = headed(Kind::PushPull, |w| {
        PushPullHeader { nodes: 1000, user_state_len: 3, join: true, codecs: Codecs::NONE }.write(w);
        (0..1000).for_each(|_| w.nil());
    });
    bytes.extend_from_slice(b"end of it, and more that is ignored");
    let mut reader = StreamReader::new();
    let mut compressor = Compressor::default();
    let pieces: Vec<&[u8]> = bytes.chunks(97).collect();
    let (last, pieces) = pieces.split_last().unwrap();
    for piece in pieces {
        assert_eq!(reader.push(piece, &rules, &mut compressor), Ok(None));
    }
    for _ in 0..2 {
        let Ok(Some(StreamMessage::PushPull(it))) = reader.push(last, &rules, &mut compressor) else {
            panic!()
        };
        assert_eq!((it.node_count(), it.nodes().count(), it.user_state()), (1000, 1000, &b"end"[..]));
    }
}

#[test]
fn decompressed_streams_have_a_limit() {
    let mut plain = headed(Kind::User, |w| UserHeader { len: 90_000 }.write(w));
    plain.resize(plain.len() + 90_000, 0);
    let bomb = compressed(&plain);
    assert!(bomb.len() < 1000);
    let rules = |inflated| StreamRules { limits: StreamLimits { inflated, ..STREAM.limits }, ..STREAM };
    assert_eq!(refused(&bomb, &rules(plain.len())), None);
    let limit = plain.len() - 1;
    assert_eq!(refused(&bomb, &rules(limit)), Some((Malformed::InflatedTooLarge(limit), true)));
    assert_eq!(
        StreamError { what: Malformed::InflatedTooLarge(5), reply: true }.to_string(),
        "decompressed message is larger than limit (5)"
    );
}
