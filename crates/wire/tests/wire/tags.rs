//! Node metadata as Go writes and reads it.

use serde_json::Value;
use serf_wire::tags::{Tags, decode, encode, encode_pairs};

use crate::json;

/// Decodes metadata and compares.
pub(crate) fn check(name: &str, meta: &[u8], expected: &Value) {
    let (tags, error) = decode(meta);
    if expected.get("$undecodable").is_some() {
        return assert!(error.is_some(), "{name}");
    }
    assert_eq!(error, None, "{name}");
    assert_eq!(tags, of(expected), "{name}");
}

/// A JSON object of strings as tags.
pub(crate) fn of(object: &Value) -> Tags {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone().into_bytes(), json::text(value).to_vec())).collect()
}

#[test]
fn all_metadata_decodes_and_encodes() {
    let (mut ordered, mut absent) = (0, 0);
    for entry in json::entries("tags.json", 74) {
        check(entry.name, entry.bytes, entry.decoded);
        // From the agents only the metadata is known, not what it was made of; the last version byte is the protocol.
        let protocol = match entry.context.get("serf_protocol") {
            Some(protocol) => protocol.as_u64().unwrap() as u8,
            None => entry.context["Vsn"][5].as_u64().unwrap() as u8,
        };
        if entry.bytes == [0xff, 0xc0] {
            // The current Go library, given no map at all. We have no such state.
            absent += 1;
            continue;
        }
        let given = entry.context.get("input_tags").map_or_else(|| of(entry.decoded), of);
        let sorted = encode(protocol, &given);
        if sorted != entry.bytes {
            // Go shuffles the pairs. In the order of the wire they must give the same bytes.
            let pairs = entry
                .decoded
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.as_bytes(), json::text(value)));
            assert_eq!(encode_pairs(protocol, pairs), entry.bytes, "{}", entry.name);
            assert_eq!(decode(&sorted), (given, None), "{}", entry.name);
            ordered += 1;
        }
    }
    assert_eq!((ordered, absent), (10, 1));
}
