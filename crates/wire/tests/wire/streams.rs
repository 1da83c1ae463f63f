//! Streams as Go sends them, in one piece and byte by byte.

use serde_json::Value;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::encrypt::{Key, Version};
use serf_wire::msgpack::{Dialect, Writer};
use serf_wire::stream::{StreamLimits, StreamMessage, StreamReader, StreamRules, StreamSeal, seal_stream};
use serf_wire::swim::{Kind, NodeState, UserHeader};

use crate::json::Entry;
use crate::packets::{nonce, version};
use crate::{json, serf_messages, tags};

/// One direction of a connection, layer by layer.
struct Layers {
    label_header: bool,
    encryption: Option<(Key, Version, [u8; 12])>,
    compressed: bool,
    message: &'static Value,
}

impl Layers {
    fn of(decoded: &'static Value) -> Self {
        let mut layers = Self { label_header: false, encryption: None, compressed: false, message: decoded };
        loop {
            let layer = layers.message;
            match layer["type"].as_str().unwrap() {
                "labelled" => layers.label_header = true,
                "encrypted_stream" => {
                    let key = Key::new(&json::base64(layer["key_base64"].as_str().unwrap())).unwrap();
                    layers.encryption = Some((key, version(layer), nonce(layer)));
                }
                "compress" => layers.compressed = true,
                _ => return layers,
            }
            layers.message = &layer["inner"];
        }
    }
}

/// The message as it must be encoded, without the layers around it.
fn message(node: &Value, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    let w = &mut Writer::new(&mut out, dialect);
    let kind = match node["type"].as_str().unwrap() {
        "ping" => {
            json::ping(&node["body"]).write(w);
            Kind::Ping
        }
        "ack" => {
            json::ack(&node["body"]).write(w);
            Kind::Ack
        }
        "err" => {
            json::err_reply(&node["body"]).write(w);
            Kind::Err
        }
        "user_stream" => {
            UserHeader { len: node["header"]["UserMsgLen"].as_i64().unwrap() }.write(w);
            out.extend_from_slice(&json::text_hex(&node["payload_hex"]));
            Kind::User
        }
        "push_pull" => {
            json::push_pull_header(&node["header"]).write(w);
            node["nodes"].as_array().unwrap().iter().for_each(|node| json::node_state(node).write(w));
            out.extend_from_slice(&user_state(&node["user_state"], dialect));
            Kind::PushPull
        }
        other => panic!("unknown message {other}"),
    };
    out.insert(0, kind as u8);
    out
}

fn user_state(node: &Value, dialect: Dialect) -> Vec<u8> {
    match node.get("opaque_hex") {
        _ if node.is_null() => Vec::new(),
        Some(opaque) => json::text_hex(opaque),
        None => json::message(node, dialect),
    }
}

fn check(name: &str, is: &StreamMessage<'_>, expected: &Value) {
    match (is, expected["type"].as_str().unwrap()) {
        (StreamMessage::Ping(ping), "ping") => assert_eq!(*ping, json::ping(&expected["body"]), "{name}"),
        (StreamMessage::Ack(ack), "ack") => assert_eq!(*ack, json::ack(&expected["body"]), "{name}"),
        (StreamMessage::Err(err), "err") => assert_eq!(*err, json::err_reply(&expected["body"]), "{name}"),
        (StreamMessage::User(message), "user_stream") => {
            assert_eq!(*message, json::text_hex(&expected["payload_hex"]), "{name}");
        }
        (StreamMessage::PushPull(it), "push_pull") => {
            let header = json::push_pull_header(&expected["header"]);
            assert_eq!(it.join, header.join, "{name}");
            assert_eq!(it.node_count() as i64, header.nodes, "{name}");
            let nodes: Vec<NodeState<'_>> = it.nodes().map(Result::unwrap).collect();
            let expected_nodes = expected["nodes"].as_array().unwrap();
            for (node, expected) in nodes.iter().zip(expected_nodes) {
                assert_eq!(*node, json::node_state(expected), "{name}");
                if !expected["meta_tags"].is_null() {
                    tags::check(name, node.meta.as_deref().unwrap_or_default(), &expected["meta_tags"]);
                }
            }
            assert_eq!(it.user_state().len() as i64, header.user_state_len, "{name}");
            let state = &expected["user_state"];
            if state.get("serf_type").is_some() {
                serf_messages::check(name, it.user_state(), state);
            } else {
                assert_eq!(it.user_state(), user_state(state, Dialect::GOSSIP), "{name}");
            }
        }
        (is, expected) => panic!("{name}: {is:?} instead of {expected}"),
    }
}

fn rules<'k>(entry: &Entry, keys: &'k [Key]) -> StreamRules<'k> {
    StreamRules {
        label: entry.label(),
        skip_label_check: false,
        keys,
        verify_incoming: true,
        accept_v0: true,
        // A reply has no label header.
        expect_label_header: entry.context["direction"] != "server->client",
        limits: StreamLimits::default(),
    }
}

#[test]
fn every_stream_decodes() {
    let mut compressor = Compressor::default();
    for entry in json::entries("gossip_streams.json", 163) {
        let keys = entry.keys();
        let rules = rules(&entry, &keys);
        let expected = Layers::of(entry.decoded).message;

        let mut reader = StreamReader::new();
        let message = reader.push(entry.bytes, &rules, &mut compressor).unwrap().expect(entry.name);
        check(entry.name, &message, expected);

        let mut reader = StreamReader::new();
        let (last, bytes) = entry.bytes.split_last().unwrap();
        for (sent, byte) in bytes.iter().enumerate() {
            let early = reader.push(&[*byte], &rules, &mut compressor).unwrap();
            assert_eq!(early, None, "{}: complete too early", entry.name);
            assert_eq!(reader.buffered(), sent + 1);
        }
        let message = reader.push(&[*last], &rules, &mut compressor).unwrap().expect(entry.name);
        check(entry.name, &message, expected);
    }
}

#[test]
fn every_stream_encodes() {
    let mut compressor = Compressor::default();
    for entry in json::entries("gossip_streams.json", 163) {
        assert!(entry.exact, "{}", entry.name);
        let layers = Layers::of(entry.decoded);
        let (key, version, nonce) = match &layers.encryption {
            Some((key, version, nonce)) => (Some(key), *version, *nonce),
            None => (None, Version::V1, [0; 12]),
        };
        let seal = StreamSeal {
            label: entry.label(),
            send_label_header: layers.label_header,
            key,
            version,
            compress: layers.compressed.then_some(Algorithm::Lzw),
        };
        for &dialect in entry.dialects() {
            let plain = message(layers.message, dialect);
            let mut sealed = vec![0xaa; 3];
            seal_stream(&plain, &seal, &nonce, &mut compressor, &mut sealed);
            assert_eq!(sealed, entry.bytes, "{}", entry.name);
        }
    }
}
