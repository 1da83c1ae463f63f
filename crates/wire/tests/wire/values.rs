//! MessagePack value by value: which form each dialect writes, and what is read.

use std::borrow::Cow;

use serf_wire::error::Malformed;
use serf_wire::msgpack::{Dialect, Reader, Writer};

use crate::json::hex;

fn written(dialect: Dialect, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out, dialect));
    out
}

#[test]
fn unsigned_integers_take_the_shortest_form() {
    for (value, digits) in [
        (0, "00"),
        (127, "7f"),
        (128, "cc80"),
        (255, "ccff"),
        (256, "cd0100"),
        (65535, "cdffff"),
        (65536, "ce00010000"),
        (u64::from(u32::MAX), "ceffffffff"),
        (1 << 32, "cf0000000100000000"),
        (u64::MAX, "cfffffffffffffffff"),
    ] {
        for dialect in [Dialect::GOSSIP, Dialect::GOSSIP_OLD, Dialect::RPC, Dialect::RPC_OLD] {
            assert_eq!(written(dialect, |w| w.uint(value)), hex(digits));
        }
        assert_eq!(Reader::new(hex(digits)).u64(), Ok(value));
    }
}

#[test]
fn signed_integers_follow_the_dialect() {
    for (value, new, old) in [
        (0, "00", "00"),
        (127, "7f", "7f"),
        (128, "d10080", "cc80"),
        (256, "d10100", "cd0100"),
        (32767, "d17fff", "cd7fff"),
        (32768, "d200008000", "cd8000"),
        (65536, "d200010000", "ce00010000"),
        (i64::from(i32::MAX), "d27fffffff", "ce7fffffff"),
        (1 << 31, "d30000000080000000", "ce80000000"),
        (1 << 32, "d30000000100000000", "cf0000000100000000"),
        (i64::MAX, "d37fffffffffffffff", "cf7fffffffffffffff"),
        (-1, "ff", "ff"),
        (-32, "e0", "e0"),
        (-33, "d0df", "d0df"),
        (-128, "d080", "d080"),
        (-129, "d1ff7f", "d1ff7f"),
        (-32768, "d18000", "d18000"),
        (-32769, "d2ffff7fff", "d2ffff7fff"),
        (i64::MIN, "d38000000000000000", "d38000000000000000"),
    ] {
        for (dialects, digits) in
            [([Dialect::GOSSIP, Dialect::RPC], new), ([Dialect::GOSSIP_OLD, Dialect::RPC_OLD], old)]
        {
            for dialect in dialects {
                assert_eq!(written(dialect, |w| w.int(value)), hex(digits), "{value}");
            }
            assert_eq!(Reader::new(hex(digits)).i64(), Ok(value));
        }
    }
}

#[test]
fn strings_follow_the_dialect() {
    for (length, raw, text, binary) in [
        (0, "a0", "a0", "c400"),
        (31, "bf", "bf", "c41f"),
        (32, "da0020", "d920", "c420"),
        (255, "da00ff", "d9ff", "c4ff"),
        (256, "da0100", "da0100", "c50100"),
        (65535, "daffff", "daffff", "c5ffff"),
        (65536, "db00010000", "db00010000", "c600010000"),
    ] {
        let value = vec![b'x'; length];
        let form = |head: &str| [hex(head), &value].concat();
        for dialect in [Dialect::GOSSIP, Dialect::GOSSIP_OLD] {
            assert_eq!(written(dialect, |w| w.str(&value)), form(raw));
            assert_eq!(written(dialect, |w| w.bytes(&value)), form(raw));
        }
        for dialect in [Dialect::RPC, Dialect::RPC_OLD] {
            assert_eq!(written(dialect, |w| w.str(&value)), form(text));
            assert_eq!(written(dialect, |w| w.bytes_or_nil(Some(&value))), form(binary));
        }
        for head in [raw, text, binary] {
            assert_eq!(Reader::new(&form(head)).str(), Ok(&value[..]));
            assert_eq!(Reader::new(&form(head)).bytes(), Ok(Some(Cow::Borrowed(&value[..]))));
        }
    }
}

#[test]
fn headers_take_the_shortest_form() {
    for (count, array, map) in [
        (0, "90", "80"),
        (15, "9f", "8f"),
        (16, "dc0010", "de0010"),
        (65535, "dcffff", "deffff"),
        (65536, "dd00010000", "df00010000"),
    ] {
        assert_eq!(written(Dialect::GOSSIP, |w| w.array(count)), hex(array));
        assert_eq!(written(Dialect::GOSSIP, |w| w.map(count)), hex(map));
        assert_eq!(Reader::new(hex(array)).array(), Ok(Some(count)));
        assert_eq!(Reader::new(hex(map)).map(), Ok(Some(count)));
    }
}

#[test]
fn nil_is_the_zero_of_everything() {
    let nil = || Reader::new(&[0xc0]);
    assert_eq!(nil().u8(), Ok(0));
    assert_eq!(nil().i64(), Ok(0));
    assert_eq!(nil().bool(), Ok(false));
    assert_eq!(nil().f64(), Ok(0.0));
    assert_eq!(nil().str(), Ok(&[][..]));
    assert_eq!(nil().bytes(), Ok(None));
    assert_eq!(nil().array(), Ok(None));
    assert_eq!(nil().map(), Ok(None));
    assert_eq!(nil().record(&["A"], |_, _| panic!("no fields")), Ok(()));
}

#[test]
fn numbers_are_read_in_every_form() {
    assert_eq!(Reader::new(hex("ca3fc00000")).f64(), Ok(1.5));
    assert_eq!(Reader::new(hex("cb3ff8000000000000")).f64(), Ok(1.5));
    assert_eq!(Reader::new(hex("cd0100")).f64(), Ok(256.0));
    assert_eq!(Reader::new(hex("fe")).f64(), Ok(-2.0));
    assert_eq!(Reader::new(hex("c2")).f64(), Err(Malformed::WrongType(0xc2)));
    for (digits, value) in [("00", Ok(false)), ("01", Ok(true)), ("c2", Ok(false)), ("c3", Ok(true))] {
        assert_eq!(Reader::new(hex(digits)).bool(), value);
    }
    for refused in ["02", "cc01", "a131", "ff"] {
        assert_eq!(Reader::new(hex(refused)).bool(), Err(Malformed::WrongType(hex(refused)[0])));
    }
    assert_eq!(Reader::new(hex("cd00ff")).u8(), Ok(255));
    assert_eq!(Reader::new(hex("cd0100")).u8(), Err(Malformed::OutOfRange(256)));
    assert_eq!(Reader::new(hex("d300000000000000ff")).u8(), Ok(255));
    assert_eq!(Reader::new(hex("d3ffffffffffffffff")).u64(), Err(Malformed::NegativeForUnsigned(-1)));
    assert_eq!(Reader::new(hex("cfffffffffffffffff")).i64(), Ok(-1), "as in Go");
}

#[test]
fn byte_strings_can_be_arrays_of_numbers() {
    let read = |digits| Reader::new(hex(digits)).bytes();
    assert_eq!(read("930102ccff"), Ok(Some(Cow::Owned(vec![1, 2, 255]))));
    assert_eq!(read("90"), Ok(Some(Cow::Borrowed(&[][..]))));
    assert_eq!(read("91cd0100"), Err(Malformed::OutOfRange(256)));
    assert_eq!(read("91ff"), Err(Malformed::NegativeForUnsigned(-1)));
    assert_eq!(read("91a131"), Err(Malformed::WrongType(0xa1)));
    assert_eq!(read("ddffffffff01"), Err(Malformed::Truncated), "and nothing was reserved");
    assert_eq!(read("81"), Err(Malformed::WrongType(0x81)));
}

#[test]
fn the_reserved_byte_is_refused_everywhere() {
    let reserved = || Reader::new(&[0xc1]);
    assert_eq!(reserved().u8(), Err(Malformed::Reserved));
    assert_eq!(reserved().bool(), Err(Malformed::Reserved));
    assert_eq!(reserved().f64(), Err(Malformed::Reserved));
    assert_eq!(reserved().str(), Err(Malformed::Reserved));
    assert_eq!(reserved().bytes(), Err(Malformed::Reserved));
    assert_eq!(reserved().array(), Err(Malformed::Reserved));
    assert_eq!(reserved().skip(), Err(Malformed::Reserved));
    assert_eq!(Reader::new(&[0x91, 0xc1]).skip(), Err(Malformed::Reserved));
}

#[test]
fn every_kind_of_value_is_skipped() {
    for value in [
        "00",
        "7f",
        "e0",
        "c0",
        "c2",
        "c3",
        "cc01",
        "cd0001",
        "ce00000001",
        "cf0000000000000001",
        "d001",
        "d10001",
        "d200000001",
        "d30000000000000001",
        "ca00000000",
        "cb0000000000000000",
        "a161",
        "d90161",
        "da000161",
        "db0000000161",
        "c40161",
        "c5000161",
        "c60000000161",
        "d40061",
        "d5006161",
        "d60061616161",
        "d7006161616161616161",
        "d80061616161616161616161616161616161",
        "c7010061",
        "c800010061",
        "c9000000010061",
        "92a16101",
        "dc0001c0",
        "dd00000001c0",
        "81a16101",
        "de0001a161c0",
        "df00000001a161c0",
        "8192809390c0a0c2",
    ] {
        let bytes = [hex(value), &[0xaa]].concat();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.skip(), Ok(()), "{value}");
        assert_eq!(r.rest(), [0xaa], "{value}");
        for end in 0..hex(value).len() {
            assert_eq!(Reader::new(&bytes[..end]).skip(), Err(Malformed::Truncated), "{value}");
        }
    }
}

#[test]
fn depth_costs_nothing() {
    let deep = vec![0x91; 1_000_000];
    assert_eq!(Reader::new(&deep).skip(), Err(Malformed::Truncated));
    let mut complete = deep;
    complete.push(0xc0);
    let mut r = Reader::new(&complete);
    assert_eq!(r.skip(), Ok(()));
    assert!(r.is_empty());
    let wide = [&[0xdf, 0xff, 0xff, 0xff, 0xff][..], &[0xdd, 0xff, 0xff, 0xff, 0xff].repeat(1000)].concat();
    assert_eq!(Reader::new(&wide).skip(), Err(Malformed::Truncated));
}

#[test]
fn records_name_their_fields_in_any_order() {
    let fields = |digits: &str| {
        let mut seen = Vec::new();
        let mut r = Reader::new(hex(digits));
        let read = r.record(&["A", "B"], |r, field| {
            seen.push((field, r.u8()?));
            Ok(())
        });
        read.map(|()| (seen, r.rest().len()))
    };
    assert_eq!(fields("82a14101a14202"), Ok((vec![(0, 1), (1, 2)], 0)));
    assert_eq!(fields("83a14202a14303a14101 ff"), Ok((vec![(1, 2), (0, 1)], 1)));
    assert_eq!(fields("82a14101a14102"), Ok((vec![(0, 1), (0, 2)], 0)));
    assert_eq!(fields("9101"), Ok((vec![(0, 1)], 0)));
    assert_eq!(fields("93010291c0 ff"), Ok((vec![(0, 1), (1, 2)], 1)));
    assert_eq!(fields("81c14101"), Err(Malformed::BadKey(0xc1)));
    assert_eq!(fields("81c001"), Err(Malformed::BadKey(0xc0)));
    assert_eq!(fields("93010201"), Ok((vec![(0, 1), (1, 2)], 0)));
    assert_eq!(fields("930102"), Err(Malformed::Truncated));
    assert_eq!(fields("a141"), Err(Malformed::WrongType(0xa1)));
}
