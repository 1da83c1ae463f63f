//! Datagrams as Go sends them, through the whole pipeline in both directions.

use std::collections::BTreeMap;

use serde_json::Value;
use serf_wire::checksum::Checksum;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::coordinate::Coordinate;
use serf_wire::encrypt::{Key, Version};
use serf_wire::error::Malformed;
use serf_wire::msgpack::{Dialect, Reader};
use serf_wire::packet::{
    Inbound, Leaf, MAX_PARTS, Outbound, Unpacker, open_packet, pack_compound, seal_packet,
};
use serf_wire::swim::{Accusation, Ack, Alive, IndirectPing, Kind, Nack, Ping};

use crate::{json, serf_messages, tags};

const INFLATED_MAX: usize = 40 << 20;

/// A datagram of the test data, layer by layer.
struct Layers {
    label: &'static [u8],
    encryption: Option<(Key, Version, [u8; 12])>,
    checksum: bool,
    compressed: bool,
    payload: &'static Value,
}

impl Layers {
    fn of(decoded: &'static Value) -> Self {
        let mut layers =
            Self { label: &[], encryption: None, checksum: false, compressed: false, payload: decoded };
        loop {
            let layer = layers.payload;
            match layer["type"].as_str().unwrap() {
                "labelled" => layers.label = json::text(&layer["label"]),
                "encrypted" => {
                    let key = Key::new(&json::base64(layer["key_base64"].as_str().unwrap())).unwrap();
                    layers.encryption = Some((key, version(layer), nonce(layer)));
                }
                "has_crc" => layers.checksum = true,
                "compress" => layers.compressed = true,
                _ => return layers,
            }
            layers.payload = &layer["inner"];
        }
    }
}

pub(crate) fn version(layer: &Value) -> Version {
    match layer["version"].as_u64() {
        Some(0) => Version::V0,
        Some(1) => Version::V1,
        other => panic!("encryption version {other:?}"),
    }
}

pub(crate) fn nonce(layer: &Value) -> [u8; 12] {
    json::text_hex(&layer["nonce"]).try_into().unwrap()
}

/// A message or compound as it must be encoded, without the layers around it.
fn payload(node: &Value, dialect: Dialect) -> Vec<u8> {
    if node["type"] != "compound" {
        let (kind, mut body) = json::leaf(node, dialect);
        body.insert(0, kind as u8);
        return body;
    }
    let parts: Vec<Vec<u8>> =
        node["parts"].as_array().unwrap().iter().map(|part| payload(part, dialect)).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let mut out = Vec::new();
    if parts.len() <= MAX_PARTS {
        pack_compound(&parts, &mut out);
    } else {
        // Go sends more parts than we do; the form is the same.
        out.extend_from_slice(&[Kind::Compound as u8, parts.len() as u8]);
        parts.iter().for_each(|part| out.extend_from_slice(&(part.len() as u16).to_be_bytes()));
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
    if let Some(trailing) = node.get("trailing_hex") {
        out.extend_from_slice(&json::text_hex(trailing));
    }
    out
}

/// The leaves of a message or compound, in order, and how many more there should have been.
fn flatten<'v>(node: &'v Value, leaves: &mut Vec<&'v Value>) -> usize {
    if node["type"] != "compound" {
        leaves.push(node);
        return 0;
    }
    let truncated = node["truncated"].as_u64().unwrap_or(0) as usize;
    node["parts"].as_array().unwrap().iter().map(|part| flatten(part, leaves)).sum::<usize>() + truncated
}

fn check_leaf(name: &str, kind: Kind, body: &[u8], expected: &Value) {
    let r = &mut Reader::new(body);
    let fields = &expected["body"];
    match (kind, expected["type"].as_str().unwrap()) {
        (Kind::Ping, "ping") => assert_eq!(Ping::read(r).unwrap(), json::ping(fields), "{name}"),
        (Kind::IndirectPing, "indirect_ping") => {
            assert_eq!(IndirectPing::read(r).unwrap(), json::indirect_ping(fields), "{name}");
        }
        (Kind::Ack, "ack") => {
            let ack = Ack::read(r).unwrap();
            assert_eq!(ack, json::ack(fields), "{name}");
            if let Some(coordinate) = expected.get("coordinate") {
                let payload = ack.payload.as_deref().unwrap();
                let is = Coordinate::read_payload(payload).unwrap().unwrap();
                json::assert_coordinate(&is, coordinate, name);
                let mut again = Vec::new();
                is.write_payload(&mut again);
                assert_eq!(again, payload, "{name}");
            }
        }
        (Kind::Nack, "nack") => assert_eq!(Nack::read(r).unwrap(), json::nack(fields), "{name}"),
        (Kind::Suspect, "suspect") | (Kind::Dead, "dead") => {
            assert_eq!(Accusation::read(r).unwrap(), json::accusation(fields), "{name}");
        }
        (Kind::Alive, "alive") => {
            let alive = Alive::read(r).unwrap();
            assert_eq!(alive, json::alive(fields), "{name}");
            let meta = alive.meta.as_deref().unwrap_or_default();
            if !expected["meta_tags"].is_null() {
                tags::check(name, meta, &expected["meta_tags"]);
            }
        }
        (Kind::User, "user") => match expected.get("opaque_hex") {
            Some(opaque) => return assert_eq!(body, json::text_hex(opaque), "{name}"),
            None => return serf_messages::check(name, body, &expected["serf"]),
        },
        (kind, expected) => panic!("{name}: {kind:?} instead of {expected}"),
    }
    assert_eq!(r.rest(), expected.get("trailing_hex").map(json::text_hex).unwrap_or_default(), "{name}");
}

#[test]
fn every_datagram_decodes() {
    let mut unpacker = Unpacker::default();
    let mut refused = 0;
    for entry in json::entries("gossip_packets.json", 725) {
        let layers = Layers::of(entry.decoded);
        let mut expected = Vec::new();
        let lost = flatten(layers.payload, &mut expected);

        let keys = entry.keys();
        let inbound = Inbound {
            label: entry.label(),
            skip_label_check: false,
            keys: &keys,
            verify_incoming: true,
            accept_v0: true,
        };
        let mut bytes = entry.bytes.to_vec();
        let opened = open_packet(&mut bytes, &inbound);
        if entry.context["rejected"] == true {
            assert!(matches!(opened, Err(Malformed::Checksum { .. })), "{}", entry.name);
            refused += 1;
            continue;
        }
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        assert_eq!(opened.encrypted, layers.encryption.is_some(), "{}", entry.name);

        // The last comes first.
        let mut expected = expected.into_iter().rev();
        let dropped = unpacker.leaves(opened.payload, INFLATED_MAX, &mut |leaf| match leaf {
            Leaf::Message(kind, body) => {
                check_leaf(entry.name, kind, body, expected.next().expect(entry.name));
            }
            Leaf::Malformed(why) => assert_eq!(why, Malformed::CompoundTruncated(lost), "{}", entry.name),
        });
        assert_eq!(dropped, lost, "{}", entry.name);
        assert_eq!(expected.count(), 0, "{}: leaves missing", entry.name);
    }
    assert_eq!(refused, 1);
}

#[test]
fn every_datagram_encodes() {
    let mut compressor = Compressor::default();
    let mut seen = BTreeMap::new();
    for entry in json::entries("gossip_packets.json", 725) {
        let layers = Layers::of(entry.decoded);
        for &dialect in entry.dialects() {
            let plain = payload(layers.payload, dialect);
            if !entry.exact {
                // The one datagram that is cut off: what is there of it is the beginning of the whole.
                assert_eq!(entry.name, "lib/compound/truncated-last");
                *seen.entry("cut off").or_insert(0) += 1;
                continue;
            }
            // A captured datagram is compressed only if that pays, and some were made by hand where it does not.
            let pays = {
                let mut out = Vec::new();
                compressor.compress(Algorithm::Lzw, &plain, &mut out);
                out.len() < plain.len()
            };
            if layers.compressed && !pays {
                let mut out = Vec::new();
                compressor.compress(Algorithm::Lzw, &plain, &mut out);
                assert!(entry.bytes.ends_with(&out), "{}", entry.name);
                *seen.entry("compressed without gain").or_insert(0) += 1;
                continue;
            }
            let (key, version, nonce) = match &layers.encryption {
                Some((key, version, nonce)) => (Some(key), *version, *nonce),
                None => (None, Version::V1, [0; 12]),
            };
            let outbound = Outbound {
                label: layers.label,
                key,
                version,
                compress: layers.compressed.then_some(Algorithm::Lzw),
                checksum: layers.checksum.then_some(Checksum::Crc32),
            };
            let mut sealed = vec![0xaa; 3];
            seal_packet(&plain, &outbound, &nonce, &mut compressor, &mut sealed);
            if entry.context["rejected"] == true {
                // The one with a wrong checksum.
                assert_ne!(sealed, entry.bytes, "{}", entry.name);
                sealed[1..5].copy_from_slice(&json::text_hex(&entry.decoded["crc32"]));
                *seen.entry("wrong checksum").or_insert(0) += 1;
            }
            assert_eq!(sealed, entry.bytes, "{}", entry.name);
            *seen.entry("the same").or_insert(0) += 1;
        }
    }
    // 725 datagrams, 70 of which are the same in both dialects.
    let expected = [("compressed without gain", 4), ("cut off", 2), ("the same", 787), ("wrong checksum", 2)];
    assert_eq!(seen, BTreeMap::from(expected));
}
