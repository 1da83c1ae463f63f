//! Unusual and broken encodings, and whether they are taken as the newer Go libraries take them.

use std::fmt::Debug;

use serde_json::Value;
use serf_wire::compress::Compressor;
use serf_wire::encrypt;
use serf_wire::error::Malformed;
use serf_wire::label::split_label;
use serf_wire::msgpack::Reader;
use serf_wire::packet::{Leaf, Unpacker};
use serf_wire::serf::{Filter, Join, Leave, PushPull, Query, RelayHeader, UserEvent};
use serf_wire::swim::{Ack, Alive, Kind, NodeState, Ping, PushPullHeader};
use serf_wire::tags;

use crate::json::{self, Entry};

#[test]
fn every_encoding_is_taken_or_refused_as_by_go() {
    let mut unlike_go = Vec::new();
    for entry in json::entries("decode_tolerance.json", 146) {
        // What only the newer version takes, we take.
        let go = &entry.decoded["0.10"];
        let verdict = entry.verdict(go.get("result").filter(|_| go.get("error").is_none()));
        if verdict.is_ok() != go.get("error").is_none() {
            unlike_go.push((entry.name, verdict));
        }
    }
    // A string as an array of numbers: Serf up to 0.10.1 refuses it, and nobody sends it.
    assert_eq!(unlike_go, [("join/node-array", Err(Malformed::WrongType(0x92)))]);
}

impl Entry {
    /// Decodes the bytes with the decoder that the entry names. What comes out must be the expected result, if there
    /// is one; whether something has to come out is for the caller to say.
    fn verdict(&self, expected: Option<&Value>) -> Result<(), Malformed> {
        let r = &mut Reader::new(self.bytes);
        match self.context["decoder"].as_str().unwrap() {
            "serf:join" if self.name == "join/node-invalid-utf8" => {
                // The test data cannot show these bytes.
                Join::read(r).map(|join| assert_eq!(join, Join { ltime: 5, node: &[0xff, 0xfe] }))
            }
            "serf:join" => self.compare(expected, Join::read(r), json::join),
            "serf:leave" => self.compare(expected, Leave::read(r), json::leave),
            "serf:user_event" => self.compare(expected, UserEvent::read(r), json::user_event),
            "serf:query" => self.compare(expected, Query::read(r), json::query),
            "serf:relay_header" => self.compare(expected, RelayHeader::read(r), json::relay_header),
            "serf:push_pull" => self.compare(expected, PushPull::read(r), json::push_pull),
            "serf:filter_node" => {
                let filter: &'static [u8] = [&[0][..], self.bytes].concat().leak();
                self.compare(expected, Filter::read(filter), json::node_filter)
            }
            "ml:ping" => self.compare(expected, Ping::read(r), json::ping),
            "ml:ack" => self.compare(expected, Ack::read(r), json::ack),
            "ml:alive" => self.compare(expected, Alive::read(r), json::alive),
            "ml:push_pull_header" => self.compare(expected, PushPullHeader::read(r), json::push_pull_header),
            "ml:push_node_state" => self.compare(expected, NodeState::read(r), json::node_state),
            "tags" => self.tags(),
            "compound" => self.compound(expected),
            "label" => self.split(expected),
            "decompress" => Compressor::default().decompress(self.bytes, 1000, &mut Vec::new()).map(drop),
            "decrypt" => self.decrypt(expected),
            other => panic!("unknown decoder {other}"),
        }
    }

    fn compare<T: PartialEq + Debug>(
        &self,
        expected: Option<&Value>,
        is: Result<T, Malformed>,
        from: impl Fn(&Value) -> T,
    ) -> Result<(), Malformed> {
        let is = is?;
        if let Some(expected) = expected {
            assert_eq!(is, from(expected), "{}", self.name);
        }
        Ok(())
    }

    /// Tags have a result even when there is an error.
    fn tags(&self) -> Result<(), Malformed> {
        let (is, error) = tags::decode(self.bytes);
        if self.name == "tags/invalid-utf8-role" {
            assert_eq!(is.into_values().collect::<Vec<_>>(), [self.bytes]);
        } else {
            assert_eq!(is, crate::tags::of(&self.decoded["0.10"]["result"]), "{}", self.name);
        }
        error.map_or(Ok(()), Err)
    }

    /// The parts in this test data are single letters, so what matters is where they are cut.
    fn compound(&self, expected: Option<&Value>) -> Result<(), Malformed> {
        let (mut parts, mut refused, mut truncated) = (Vec::new(), None, 0);
        let packet = [&[Kind::Compound as u8], self.bytes].concat();
        Unpacker::default().leaves(&packet, 0, &mut |leaf| match leaf {
            Leaf::Malformed(Malformed::UnknownKind(kind)) => parts.push(Some(kind)),
            Leaf::Malformed(Malformed::EmptyMessage) => parts.push(None),
            Leaf::Malformed(Malformed::CompoundTruncated(lost)) => truncated = lost,
            Leaf::Malformed(why) => refused = Some(why),
            Leaf::Message(..) => panic!("{}: there are no messages in there", self.name),
        });
        // The last comes first.
        parts.reverse();
        if let Some(expected) = expected {
            let first = |part: &Value| json::text_hex(part).first().copied();
            let expected_parts: Vec<_> = expected["parts"].as_array().unwrap().iter().map(first).collect();
            assert_eq!(parts, expected_parts, "{}", self.name);
            assert_eq!(truncated as u64, expected["truncated"].as_u64().unwrap(), "{}", self.name);
        }
        refused.map_or(Ok(()), Err)
    }

    fn split(&self, expected: Option<&Value>) -> Result<(), Malformed> {
        let (label, rest) = split_label(self.bytes)?;
        if let Some(expected) = expected {
            assert_eq!(label, json::text(&expected["label"]), "{}", self.name);
            assert_eq!(rest, json::text_hex(&expected["rest"]), "{}", self.name);
        }
        Ok(())
    }

    fn decrypt(&self, expected: Option<&Value>) -> Result<(), Malformed> {
        let mut sealed = self.bytes.to_vec();
        let aad = json::text(&self.context["authenticated_data"]);
        match encrypt::open(&self.keys(), true, aad, &mut sealed) {
            Ok(plain) => {
                if let Some(expected) = expected {
                    assert_eq!(plain, json::text_hex(expected), "{}", self.name);
                }
                Ok(())
            }
            Err(error) => {
                assert_eq!(sealed, self.bytes, "{}: changed although it failed", self.name);
                Err(error)
            }
        }
    }
}

#[test]
fn refusals_are_told_apart() {
    use Malformed::*;
    let expected = [
        ("join/key-int", BadKey(0x01)),
        ("join/node-int", WrongType(0x07)),
        ("join/ltime-int8-negative", NegativeForUnsigned(-5)),
        ("join/ltime-negfixint", NegativeForUnsigned(-1)),
        ("join/ltime-float64-5", WrongType(0xcb)),
        ("join/ltime-bool-true", WrongType(0xc3)),
        ("join/truncated", Truncated),
        ("join/map-count-too-big", Truncated),
        ("join/empty-input", Truncated),
        ("join/scalar", WrongType(0x05)),
        ("query/port-65536", OutOfRange(65536)),
        ("query/id-over-uint32", OutOfRange(1 << 32)),
        ("ping/seq-over-uint32", OutOfRange(1 << 32)),
        ("user_event/payload-int", WrongType(0x05)),
        ("compound/empty", CompoundCount),
        ("compound/count-only", CompoundLengths),
        ("compound/short-lengths", CompoundLengths),
        ("label/only-magic", LabelTruncated),
        ("label/truncated", LabelTruncated),
        ("label/zero-length", LabelEmpty),
        ("decompress/algo-1", CompressionAlgorithm(1)),
        ("decompress/garbage", WrongType(0xff)),
        ("decompress/bad-lzw", BadLzw),
        ("decompress/empty-buf", BadLzw),
        ("decompress/lzw-missing-eof", BadLzw),
        ("decrypt/wrong-key", NoKeyFits),
        ("decrypt/aad-missing", NoKeyFits),
        ("decrypt/tampered", NoKeyFits),
        ("decrypt/version-2", EncryptionVersion(2)),
        ("decrypt/empty", EncryptedEmpty),
        ("decrypt/short-v1", EncryptedTooShort(28)),
        ("decrypt/v1-presented-as-v0", BadPadding),
        ("decrypt/v0-bad-padding-too-long", BadPadding),
    ];
    let mut found = 0;
    for entry in json::entries("decode_tolerance.json", 146) {
        for (name, error) in expected {
            if entry.name == name {
                assert_eq!(entry.verdict(None), Err(error), "{name}");
                found += 1;
            }
        }
    }
    assert_eq!(found, expected.len());
}

#[test]
fn texts_are_those_that_go_sends() {
    let mut checked = 0;
    for entry in json::entries("decode_tolerance.json", 146) {
        let ours = match (entry.context["decoder"].as_str().unwrap(), entry.verdict(None)) {
            ("decrypt", Err(Malformed::BadPadding)) => continue,
            ("decrypt" | "label" | "compound", Err(error))
            | ("decompress", Err(error @ Malformed::CompressionAlgorithm(_))) => error.to_string(),
            _ => continue,
        };
        assert_eq!(entry.decoded["0.10"]["error"], *ours, "{}", entry.name);
        checked += 1;
    }
    assert_eq!(checked, 14);
}
