//! Compress messages as Go writes them, and ours read by another decoder.

use proptest::prelude::*;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::error::Malformed;
use serf_wire::msgpack::Reader;

use crate::json;

/// Decodes GIF-flavoured LZW the simple way: what gossip.md §1.6 says, word for word. This is how Go reads.
fn inflate(codes: &[u8]) -> Option<Vec<u8>> {
    const CLEAR: usize = 256;
    const END: usize = 257;
    let (mut bits, mut filled, mut codes) = (0_u32, 0, codes.iter());
    let mut table: Vec<Vec<u8>> = Vec::new();
    let (mut width, mut last) = (9, None::<Vec<u8>>);
    let mut out = Vec::new();
    loop {
        while filled < width {
            bits |= u32::from(*codes.next()?) << filled;
            filled += 8;
        }
        let code = (bits & ((1 << width) - 1)) as usize;
        (bits, filled) = (bits >> width, filled - width);
        let word = match (code, &last) {
            (CLEAR, _) => {
                (width, last) = (9, None);
                table.clear();
                continue;
            }
            (END, _) => return Some(out),
            (0..CLEAR, _) => vec![code as u8],
            (code, _) if code - 258 < table.len() => table[code - 258].clone(),
            (code, Some(last)) if code - 258 == table.len() => [&last[..], &last[..1]].concat(),
            _ => return None,
        };
        out.extend_from_slice(&word);
        if let Some(last) = last.filter(|_| table.len() + 258 < 4096) {
            table.push([&last[..], &word[..1]].concat());
        }
        // The next code may be the one after the newest, which is not in the table yet.
        if table.len() + 258 >= 1 << width && width < 12 {
            width += 1;
        }
        last = Some(word);
    }
}

/// The code stream of a compress message.
fn codes(message: &[u8]) -> Vec<u8> {
    let (mut r, mut codes) = (Reader::new(&message[1..]), Vec::new());
    r.record(&["Algo", "Buf"], |r, field| {
        match field {
            0 => assert_eq!(r.u8()?, 0),
            _ => codes = r.bytes()?.unwrap().into_owned(),
        }
        Ok(())
    })
    .unwrap();
    assert!(r.is_empty());
    codes
}

#[test]
fn every_message_decompresses_and_compresses() {
    let mut lzw = Compressor::default();
    let (mut plain, mut differ) = (Vec::new(), Vec::new());
    for entry in json::entries("lzw.json", 8) {
        let expected = json::text_hex(&entry.decoded["plain_hex"]);
        let read = lzw.decompress(&entry.bytes[1..], expected.len(), &mut plain);
        assert_eq!(read, Ok(entry.bytes.len() - 1), "{}", entry.name);
        assert_eq!(plain, expected, "{}", entry.name);
        assert_eq!(inflate(&codes(entry.bytes)).unwrap(), expected, "{}", entry.name);

        let mut again = Vec::new();
        lzw.compress(Algorithm::Lzw, &expected, &mut again);
        assert_eq!(inflate(&codes(&again)).unwrap(), expected, "{}", entry.name);
        if again != entry.bytes {
            differ.push(entry.name);
        }
    }
    // Inputs that fill the table: Go begins anew one code earlier. Either stream is valid.
    assert_eq!(differ, ["lib/lzw/random-6000", "lib/lzw/lowentropy-20000"]);
}

#[test]
fn output_stops_at_the_limit() {
    let mut lzw = Compressor::default();
    let (mut message, mut out) = (Vec::new(), Vec::new());
    let plain = vec![7; 1_000_000];
    lzw.compress(Algorithm::Lzw, &plain, &mut message);
    assert!(message.len() < 3000, "a bomb has to be small");

    assert_eq!(lzw.decompress(&message[1..], plain.len(), &mut out), Ok(message.len() - 1));
    assert_eq!(out, plain);
    for limit in [0, 1, 4095, 4096, 4097, 999_999] {
        let mut out = Vec::new();
        assert_eq!(lzw.decompress(&message[1..], limit, &mut out), Err(Malformed::InflatedTooLarge(limit)));
        assert!(out.capacity() <= 2 * limit + 64, "{} bytes for a limit of {limit}", out.capacity());
    }
    let mut empty = Vec::new();
    lzw.compress(Algorithm::Lzw, &[], &mut empty);
    assert_eq!(empty, json::hex("0982a4416c676f00a3427566a3000302"));
    assert_eq!(lzw.decompress(&empty[1..], 0, &mut out), Ok(empty.len() - 1));
    assert!(out.is_empty());
}

#[test]
fn the_end_code_is_needed_and_ends() {
    let mut lzw = Compressor::default();
    let mut out = Vec::new();
    let mut try_codes = |codes: &[u8]| {
        let mut body = vec![0x81, 0xa3, b'B', b'u', b'f', 0xa0 | codes.len() as u8];
        body.extend_from_slice(codes);
        lzw.decompress(&body, 100, &mut out).map(|_| out.clone())
    };
    let complete = json::hex("00c30404");
    assert_eq!(try_codes(complete), Ok(vec![b'a']));
    for end in 0..complete.len() {
        assert_eq!(try_codes(&complete[..end]), Err(Malformed::BadLzw), "{end} bytes");
    }
    assert_eq!(
        try_codes(&[complete, &[0xff; 20]].concat()),
        Ok(vec![b'a']),
        "what follows the end code is ignored"
    );
    // No clear code at the beginning: "a", end.
    assert_eq!(try_codes(&[0x61, 0x02, 0x02]), Ok(vec![b'a']));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Few different bytes make long words, many fill the table.
    #[test]
    fn compressed_bytes_are_read_by_all(plain in plain()) {
        let mut lzw = Compressor::default();
        let (mut message, mut out) = (Vec::new(), Vec::new());
        lzw.compress(Algorithm::Lzw, &plain, &mut message);
        prop_assert_eq!(inflate(&codes(&message)), Some(plain.clone()));
        prop_assert_eq!(lzw.decompress(&message[1..], plain.len(), &mut out), Ok(message.len() - 1));
        prop_assert_eq!(out, plain);
    }

    /// Both decoders agree on arbitrary codes, and a coder that has seen anything is as good as new.
    #[test]
    fn arbitrary_codes_are_read_alike(inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4)) {
        let mut lzw = Compressor::default();
        let mut out = Vec::new();
        for codes in inputs {
            let mut body = vec![0x81, 0xa3, b'B', b'u', b'f', 0xc4, codes.len() as u8];
            body.extend_from_slice(&codes);
            let read = lzw.decompress(&body, 1 << 20, &mut out);
            prop_assert_eq!(read.is_ok().then(|| out.clone()), inflate(&codes));
        }
    }
}

fn plain() -> impl Strategy<Value = Vec<u8>> {
    (1_u8..=255, 0_usize..12_000).prop_flat_map(|(most, length)| prop::collection::vec(0..=most, length))
}
