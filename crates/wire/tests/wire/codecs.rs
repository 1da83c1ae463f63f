//! Compression and checksums beyond the reference's: both ways, against streams that other libraries made, and against
//! everything that a stranger may send. What this build does not have is refused by name.

use proptest::collection::vec;
use proptest::prelude::*;
use serf_wire::checksum::Checksum;
use serf_wire::codecs::{CodecError, Codecs};
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::encrypt::Version;
use serf_wire::error::Malformed;
use serf_wire::msgpack::{Dialect, Reader, Writer};
use serf_wire::packet::{Inbound, Outbound, open_packet, seal_packet};
use serf_wire::swim::{Ack, Ping, PushPullHeader};

use crate::json::hex;

fn built() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|a| a.is_built())
}

fn checks() -> impl Iterator<Item = Checksum> {
    Checksum::ALL.into_iter().filter(|c| c.is_built())
}

/// What a node says again and again.
fn text() -> Vec<u8> {
    b"the gossip of node1 and node2, ".repeat(8)
}

/// Numbers that look random, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut x = 1_u32;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// A state of many nodes: much alike, nothing the same.
fn state(nodes: usize) -> Vec<u8> {
    let node = |i: usize| {
        format!("ip-10-0-{}-{}.eu-central-1 role=web build={:08x} ", i >> 8, i & 255, i * 0x9e37_79b1)
    };
    (0..nodes).map(node).collect::<String>().into_bytes()
}

/// The body of a compress message.
fn envelope(algorithm: u8, packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out, Dialect::GOSSIP);
    w.map(2);
    w.key("Algo");
    w.uint(u64::from(algorithm));
    w.key("Buf");
    w.bytes(packed);
    out
}

fn compressed(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::default().compress(algorithm, plain, &mut out);
    assert_eq!(out.remove(0), 9);
    out
}

/// What is in the envelope.
fn packed(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let (body, mut packed) = (compressed(algorithm, plain), Vec::new());
    let read = Reader::new(&body).record(&["Algo", "Buf"], |r, field| {
        match field {
            0 => assert_eq!(r.u8()?, algorithm as u8),
            _ => packed = r.bytes()?.unwrap_or_default().into_owned(),
        }
        Ok(())
    });
    read.unwrap();
    packed
}

fn inflate(algorithm: Algorithm, packed: &[u8], limit: usize) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    let body = envelope(algorithm as u8, packed);
    let read = Compressor::default().decompress(&body, limit, &mut out);
    // Whatever is claimed, what is held is within reason: an algorithm may decide about a block at a time.
    assert!(
        out.capacity() <= limit.max(4096) * 2 + (256 << 10),
        "{algorithm}: {} bytes held",
        out.capacity()
    );
    read.map(|length| {
        assert_eq!(length, body.len());
        out
    })
}

fn bad(algorithm: Algorithm) -> Malformed {
    if algorithm == Algorithm::Lzw { Malformed::BadLzw } else { Malformed::BadCompression(algorithm) }
}

#[test]
fn every_algorithm_gives_back_what_it_took() {
    let plains = [
        vec![],
        vec![7],
        b"short".to_vec(),
        text(),
        vec![0; 300_000],
        noise(200_000),
        state(2_000),
        noise(70_000),
    ];
    // One for all of them, so that what is kept does not matter.
    let mut compressor = Compressor::default();
    for algorithm in built() {
        for plain in &plains {
            let (mut message, mut again) = (Vec::new(), Vec::new());
            compressor.compress(algorithm, plain, &mut message);
            assert_eq!(message[..1], [9], "{algorithm}");
            // Exactly what it holds is enough of a limit.
            let read = compressor.decompress(&message[1..], plain.len(), &mut again);
            assert_eq!(read, Ok(message.len() - 1), "{algorithm}, {} bytes", plain.len());
            assert!(again == *plain, "{algorithm}, {} bytes", plain.len());
            // And one byte less is not.
            if let Some(less) = plain.len().checked_sub(1) {
                let read = compressor.decompress(&message[1..], less, &mut again);
                assert_eq!(read, Err(Malformed::InflatedTooLarge(less)), "{algorithm}");
            }
        }
    }
}

/// Made by the libraries that most others use: liblz4 1.9.4, libzstd 1.5.4 at level 19, libbrotli 1.0.9 at quality 11;
/// the Snappy stream by hand from the format's description.
#[test]
fn what_other_libraries_made_is_read() {
    let made = [
        (
            Algorithm::Lz4,
            "f8000000f10874686520676f73736970206f66206e6f64653120616e640a003f322c201f00c1506465322c20",
        ),
        (
            Algorithm::Snappy,
            "f8017874686520676f73736970206f66206e6f64653120616e64206e6f6465322c20fe1f00fe1f00fe1f00621f00",
        ),
        (
            Algorithm::Zstd,
            "28b52ffd20f81d0100d074686520676f73736970206f66206e6f64653120616e64322c20020056a1686c5b9a",
        ),
        (Algorithm::Brotli, "e21e00bf40cd2dd55ba7606c6ea05a7837ac89362b055cd07f92adeefbd0a214e9cc0a27c308"),
    ];
    for (algorithm, digits) in made {
        let expected =
            if algorithm.is_built() { Ok(text()) } else { Err(Malformed::CompressionNotBuilt(algorithm)) };
        assert_eq!(inflate(algorithm, hex(digits), 1 << 20), expected, "{algorithm}");
    }
}

/// Every stream that is cut off anywhere, or goes on behind its end, is refused; the reference's ends by its own mark.
#[test]
fn streams_that_end_too_early_or_too_late_are_refused() {
    for algorithm in built().filter(|&a| a != Algorithm::Lzw) {
        for plain in [text(), state(40), vec![0; 5000], noise(300)] {
            let whole = packed(algorithm, &plain);
            for end in 0..whole.len() {
                assert_eq!(
                    inflate(algorithm, &whole[..end], 1 << 20),
                    Err(bad(algorithm)),
                    "{algorithm} to {end}"
                );
            }
            let more = [&whole[..], &[0, 0, 0]].concat();
            assert_eq!(inflate(algorithm, &more, 1 << 20), Err(bad(algorithm)), "{algorithm} and more");
        }
    }
}

/// What is claimed of sizes is refused before memory is taken for it.
#[test]
fn claims_are_not_believed() {
    let limit = 40 << 20;
    let huge = Malformed::InflatedTooLarge(limit);
    let cases: &[(Algorithm, &str, Malformed)] = &[
        // the plain length in front
        (Algorithm::Lz4, "", bad(Algorithm::Lz4)),
        (Algorithm::Lz4, "000000", bad(Algorithm::Lz4)),
        (Algorithm::Lz4, "ffffffff1041", huge),
        (Algorithm::Lz4, "0000000241", bad(Algorithm::Lz4)),
        (Algorithm::Lz4, "030000001041", bad(Algorithm::Lz4)),
        (Algorithm::Lz4, "000000001041", bad(Algorithm::Lz4)),
        // an offset before the beginning
        (Algorithm::Lz4, "2000000014410900", bad(Algorithm::Lz4)),
        (Algorithm::Snappy, "", bad(Algorithm::Snappy)),
        (Algorithm::Snappy, "ffffffff0f0041", huge),
        (Algorithm::Snappy, "ffffffffff0041", bad(Algorithm::Snappy)),
        (Algorithm::Snappy, "808080100041", bad(Algorithm::Snappy)),
        (Algorithm::Snappy, "030041", bad(Algorithm::Snappy)),
        (Algorithm::Snappy, "0100410041", bad(Algorithm::Snappy)),
        (Algorithm::Zstd, "", bad(Algorithm::Zstd)),
        (Algorithm::Zstd, "28b52ffd", bad(Algorithm::Zstd)),
        // a skippable frame, and another format
        (Algorithm::Zstd, "502a4d180100000041", bad(Algorithm::Zstd)),
        (Algorithm::Zstd, "27b52ffd0000", bad(Algorithm::Zstd)),
        // a window of gigabytes, a content of gigabytes, a dictionary
        (Algorithm::Zstd, "28b52ffd00ff010000", bad(Algorithm::Zstd)),
        (Algorithm::Zstd, "28b52ffd8038ffffffff010000", huge),
        (Algorithm::Zstd, "28b52ffd0138070100000100", bad(Algorithm::Zstd)),
        // a block of a reserved type, and one longer than its window
        (Algorithm::Zstd, "28b52ffd0038070000", bad(Algorithm::Zstd)),
        (Algorithm::Zstd, "28b52ffd0000fbff0f41", bad(Algorithm::Zstd)),
        (Algorithm::Brotli, "", bad(Algorithm::Brotli)),
        // the mark of large windows
        (Algorithm::Brotli, "11", bad(Algorithm::Brotli)),
        (Algorithm::Brotli, "ffffffffffffffff", bad(Algorithm::Brotli)),
    ];
    for (algorithm, digits, expected) in cases {
        let expected =
            if algorithm.is_built() { *expected } else { Malformed::CompressionNotBuilt(*algorithm) };
        assert_eq!(inflate(*algorithm, hex(digits), limit), Err(expected), "{algorithm} {digits}");
    }
    // A window for 16 MiB where 1 MiB may come out.
    if Algorithm::Brotli.is_built() {
        let told = inflate(Algorithm::Brotli, hex("0f"), 1 << 20);
        assert_eq!(told, Err(Malformed::InflatedTooLarge(1 << 20)));
    }
}

/// A few bytes that stand for very many stop at the limit.
#[test]
fn bombs_stop_at_the_limit() {
    for algorithm in built() {
        let bomb = packed(algorithm, &vec![0; 8 << 20]);
        assert!(bomb.len() < 500_000, "{algorithm}: {}", bomb.len());
        for limit in [0, 1, 1000, 1 << 20] {
            assert_eq!(
                inflate(algorithm, &bomb, limit),
                Err(Malformed::InflatedTooLarge(limit)),
                "{algorithm}"
            );
        }
    }
    if Algorithm::Zstd.is_built() {
        // A frame of blocks that repeat one byte 128 Ki times, four bytes each, without an end.
        let blocks = [hex("28b52ffd0038"), &hex("02001041").repeat(5000)].concat();
        for limit in [1000, 1 << 20] {
            assert_eq!(inflate(Algorithm::Zstd, &blocks, limit), Err(Malformed::InflatedTooLarge(limit)));
        }
    }
}

#[test]
fn what_is_unknown_or_not_built_is_refused_by_name() {
    let mut out = Vec::new();
    let mut decompress =
        |algorithm: u8| Compressor::default().decompress(&envelope(algorithm, b""), 10, &mut out);
    for unknown in (1..=255).filter(|&n| Algorithm::ALL.iter().all(|&a| a as u8 != n)) {
        assert_eq!(decompress(unknown), Err(Malformed::CompressionAlgorithm(unknown)));
    }
    for algorithm in Algorithm::ALL.into_iter().filter(|a| !a.is_built()) {
        assert_eq!(decompress(algorithm as u8), Err(Malformed::CompressionNotBuilt(algorithm)));
        // Asked to use it, we use what everybody has.
        assert_eq!(compressed(algorithm, &text()), compressed(Algorithm::Lzw, &text()));
    }
    assert_eq!(
        Malformed::CompressionNotBuilt(Algorithm::Lz4).to_string(),
        "cannot decompress unknown algorithm 76: it is lz4, which a build with the feature 'lz4' has"
    );
    assert_eq!(
        Malformed::ChecksumNotBuilt(Checksum::Xxh3).to_string(),
        "unknown checksum algorithm 3: it is xxh3, which a build with the feature 'xxhash' has"
    );
    assert_eq!(Malformed::BadCompression(Algorithm::Zstd).to_string(), "invalid zstd data");
}

const PLAIN: Outbound<'_> =
    Outbound { label: b"", key: None, version: Version::V1, compress: None, checksum: None };
const OPEN: Inbound<'_> =
    Inbound { label: b"", skip_label_check: false, keys: &[], verify_incoming: true, accept_v0: false };

fn checked(checksum: Checksum, payload: &[u8]) -> Vec<u8> {
    let (rules, mut out) = (Outbound { checksum: Some(checksum), ..PLAIN }, Vec::new());
    seal_packet(payload, &rules, &[0; 12], &mut Compressor::default(), &mut out);
    out
}

/// The digests of XXH32, XXH64 and XXH3 are those of libxxhash 0.8.1.
#[test]
fn checksums_have_the_known_headers() {
    let text = text();
    let known: &[(Checksum, &[u8], &str)] = &[
        (Checksum::Crc32, b"", "0c00000000"),
        (Checksum::Crc32, b"123456789", "0ccbf43926"),
        (Checksum::Xxh32, b"", "f00102cc5d05"),
        (Checksum::Xxh32, b"abc", "f00132d153ff"),
        (Checksum::Xxh32, &text, "f001c0d335ef"),
        (Checksum::Xxh64, b"", "f002ef46db3751d8e999"),
        (Checksum::Xxh64, b"abc", "f00244bc2cf5ad770999"),
        (Checksum::Xxh64, &text, "f002e7a9a4e6d8d18425"),
        (Checksum::Xxh3, b"", "f0032d06800538d394c2"),
        (Checksum::Xxh3, b"abc", "f00378af5f94892f3950"),
        (Checksum::Xxh3, &text, "f003bd7d2066fb2963d7"),
        (Checksum::Murmur3, b"", "f00400000000"),
        (Checksum::Murmur3, b"hello", "f004248bfa47"),
        (Checksum::Murmur3, b"The quick brown fox jumps over the lazy dog", "f0042e4ff723"),
        (Checksum::Murmur3, &text, "f00465285815"),
    ];
    for &(checksum, payload, header) in known {
        let expected = [hex(header), payload].concat();
        let mut packet = expected.clone();
        if !checksum.is_built() {
            assert_eq!(open_packet(&mut packet, &OPEN), Err(Malformed::ChecksumNotBuilt(checksum)));
            // Asked to use it, we use what everybody has.
            assert_eq!(checked(checksum, payload), checked(Checksum::Crc32, payload));
            continue;
        }
        assert_eq!(checked(checksum, payload), expected, "{checksum}");
        assert_eq!(open_packet(&mut packet, &OPEN).map(|it| it.payload), Ok(payload), "{checksum}");
    }
}

#[test]
fn wrong_checksums_are_refused() {
    for checksum in checks() {
        let whole = checked(checksum, b"\x08payload");
        let header = checksum.overhead();
        assert_eq!(whole.len(), header + 8);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            let read = open_packet(&mut changed, &OPEN);
            match (at, checksum) {
                // No header of ours any more.
                (0, _) => assert_eq!(read.map(|it| it.payload.len()), Ok(whole.len())),
                (1, Checksum::Xxh32 | Checksum::Xxh64 | Checksum::Xxh3 | Checksum::Murmur3) => {
                    assert_eq!(read, Err(Malformed::ChecksumAlgorithm(0x20 | checksum as u8)));
                }
                _ => assert!(matches!(read, Err(Malformed::Checksum { .. })), "{checksum} at {at}: {read:?}"),
            }
        }
        if checksum != Checksum::Crc32 {
            for end in 2..header {
                assert_eq!(open_packet(&mut whole[..end].to_vec(), &OPEN), Err(Malformed::Truncated));
            }
        }
    }
    // The reference's has no number in this header; a lone type byte is a message without a place.
    assert_eq!(open_packet(&mut hex("f000cbf43926").to_vec(), &OPEN), Err(Malformed::ChecksumAlgorithm(0)));
    assert!(open_packet(&mut hex("f0").to_vec(), &OPEN).is_ok());
}

/// What a node has is one number in front of the other keys, and absent if it is nothing: then these messages are what
/// the reference sends.
#[test]
fn what_a_node_has_is_told_in_one_key() {
    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out, Dialect::GOSSIP));
        out
    }
    let all = Codecs::of(&Algorithm::ALL, &Checksum::ALL);
    assert_eq!(all.to_wire(), 0xff);
    let some = Codecs::of(&[Algorithm::Lz4, Algorithm::Lzw], &[Checksum::Xxh3]);
    assert_eq!((some.to_wire(), format!("{some:?}")), (0x41, r#"{"lz4", "xxh3"}"#.into()));
    let ping = |codecs| written(|w| Ping { seq: 1, node: b"n", codecs, ..Ping::default() }.write(w));
    assert_eq!(ping(Codecs::NONE), hex("82a44e6f6465a16ea55365714e6f01"));
    assert_eq!(ping(some), hex("83a6436f6465637341a44e6f6465a16ea55365714e6f01"));
    let ack = |codecs| written(|w| Ack { seq: 7, codecs, ..Ack::default() }.write(w));
    assert_eq!(ack(Codecs::NONE), hex("82a75061796c6f6164c0a55365714e6f07"));
    assert_eq!(ack(all), hex("83a6436f64656373ccffa75061796c6f6164c0a55365714e6f07"));
    let header =
        |codecs| written(|w| PushPullHeader { nodes: 3, codecs, ..PushPullHeader::default() }.write(w));
    assert_eq!(header(Codecs::NONE), hex("83a44a6f696ec2a54e6f64657303ac5573657253746174654c656e00"));
    let read = PushPullHeader::read(&mut Reader::new(&header(some))).unwrap();
    assert_eq!((read.nodes, read.codecs), (3, some));
    // What newer releases may add is not known here, and no offence.
    assert_eq!(Ping::read(&mut Reader::new(hex("81a6436f64656373cd0441"))).unwrap().codecs, some);
}

#[test]
fn names_stand_for_what_they_name() {
    for algorithm in Algorithm::ALL {
        let named: Result<Algorithm, _> = algorithm.to_string().parse();
        assert_eq!((named.clone().is_ok(), named.unwrap_or(algorithm)), (algorithm.is_built(), algorithm));
        assert_eq!(algorithm.feature().is_none(), algorithm == Algorithm::Lzw);
        let alone = Codecs::of(&[algorithm], &[]);
        assert!(alone.compress(algorithm) && alone.compress(Algorithm::Lzw) && alone.check(Checksum::Crc32));
        assert_eq!(alone.is_empty(), algorithm == Algorithm::Lzw);
    }
    for checksum in Checksum::ALL {
        let named: Result<Checksum, _> = checksum.to_string().parse();
        assert_eq!((named.clone().is_ok(), named.unwrap_or(checksum)), (checksum.is_built(), checksum));
        assert_eq!(checksum.feature().is_none(), checksum == Checksum::Crc32);
        let (alone, all) = (Codecs::of(&[], &[checksum]), Codecs::of(&Algorithm::ALL, &[]));
        assert_eq!(alone.and(all).check(checksum), checksum == Checksum::Crc32);
    }
    let why = |why: CodecError| why.to_string();
    let unknown = "LZ4".parse::<Algorithm>().map_err(why);
    assert_eq!(
        unknown,
        Err("unknown compression \"LZ4\": expected one of lzw, lz4, snappy, zstd, brotli".into())
    );
    let unknown = "".parse::<Checksum>().map_err(why);
    assert_eq!(
        unknown,
        Err("unknown checksum \"\": expected one of crc32, xxh32, xxh64, xxh3, murmur3".into())
    );
    let unavailable = CodecError::Unavailable { what: "checksum", name: "xxh3", feature: "xxhash" };
    assert_eq!(why(unavailable), "unavailable checksum \"xxh3\": this build lacks the feature 'xxhash'");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_come_through(plain in vec(prop_oneof![any::<u8>(), Just(0), 97_u8..100], 0..5000)) {
        for algorithm in built() {
            prop_assert_eq!(inflate(algorithm, &packed(algorithm, &plain), plain.len()), Ok(plain.clone()));
        }
        for checksum in checks() {
            let mut packet = checked(checksum, &plain);
            prop_assert_eq!(open_packet(&mut packet, &OPEN).map(|it| it.payload), Ok(&plain[..]));
        }
    }

    #[test]
    fn any_bytes_are_a_stream_or_not(bytes in vec(any::<u8>(), 0..300), limit in 0_usize..10_000) {
        for algorithm in built() {
            if let Ok(plain) = inflate(algorithm, &bytes, limit) {
                prop_assert!(plain.len() <= limit);
            }
        }
    }

    /// Bytes changed in the middle of what was good: that is where decoders go astray.
    #[test]
    fn any_change_to_a_stream_is_survived(
        nodes in 0_usize..60,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for algorithm in built() {
            let mut packed = packed(algorithm, &state(nodes));
            changes.iter().for_each(|(index, byte)| *index.get_mut(&mut packed) = *byte);
            if let Ok(plain) = inflate(algorithm, &packed, 1 << 20) {
                prop_assert!(plain.len() <= 1 << 20);
            }
        }
    }
}
