//! Serf messages as Go writes them.

use serde_json::Value;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{
    ConflictResponse, Filter, Join, KeyRequest, KeyResponse, Leave, MessageKind, PushPull, Query,
    QueryResponse, RelayHeader, UserEvent,
};

use crate::json;

#[test]
fn every_message_decodes_and_encodes() {
    for entry in json::entries("serf_messages.json", 234) {
        check(entry.name, entry.bytes, entry.decoded);
        assert!(entry.exact, "{}", entry.name);
        for &dialect in entry.dialects() {
            assert_eq!(json::message(entry.decoded, dialect), entry.bytes, "{}", entry.name);
        }
    }
}

/// Decodes a message or filter, with the messages inside it, and compares.
pub(crate) fn check(name: &str, bytes: &[u8], expected: &Value) {
    if expected.get("filter").is_some() {
        return assert_eq!(Filter::read(bytes).unwrap(), json::filter(expected), "{name}");
    }
    let (kind, body) = MessageKind::split(bytes).unwrap();
    let r = &mut Reader::new(body);
    let fields = &expected["body"];
    let inner = expected.get("payload_decoded");
    let serf_type = expected["serf_type"].as_str().unwrap();
    match (kind, serf_type) {
        (MessageKind::Leave, "leave") => assert_eq!(Leave::read(r).unwrap(), json::leave(fields), "{name}"),
        (MessageKind::Join, "join") => assert_eq!(Join::read(r).unwrap(), json::join(fields), "{name}"),
        (MessageKind::PushPull, "push_pull") => {
            assert_eq!(PushPull::read(r).unwrap(), json::push_pull(fields), "{name}");
        }
        (MessageKind::UserEvent, "user_event") => {
            assert_eq!(UserEvent::read(r).unwrap(), json::user_event(fields), "{name}");
        }
        (MessageKind::Query, "query") => {
            let query = Query::read(r).unwrap();
            assert_eq!(query, json::query(fields), "{name}");
            for (filter, expected) in
                query.filters.iter().zip(fields["Filters"].as_array().unwrap_or(&Vec::new()))
            {
                check(name, &filter, expected);
            }
            let payload = query.payload.as_deref().unwrap_or_default();
            match inner {
                // Who is asked for when names conflict, as it is.
                Some(inner) if inner.get("node_name").is_some() => {
                    assert_eq!(payload, json::text(&inner["node_name"]), "{name}");
                }
                Some(inner) => check(name, payload, inner),
                None => {}
            }
        }
        (MessageKind::QueryResponse, "query_response") => {
            let response = QueryResponse::read(r).unwrap();
            assert_eq!(response, json::query_response(fields), "{name}");
            inner.inspect(|inner| check(name, response.payload.as_deref().unwrap(), inner));
        }
        (MessageKind::ConflictResponse, "conflict_response") => {
            assert_eq!(ConflictResponse::read(r).unwrap(), json::conflict_response(fields), "{name}");
        }
        (MessageKind::KeyRequest, "key_request") => {
            assert_eq!(KeyRequest::read(r).unwrap(), json::key_request(fields), "{name}");
        }
        (MessageKind::KeyResponse, "key_response") => {
            assert_eq!(KeyResponse::read(r).unwrap(), json::key_response(fields), "{name}");
        }
        (MessageKind::Relay, "relay") => {
            assert_eq!(RelayHeader::read(r).unwrap(), json::relay_header(&expected["header"]), "{name}");
            return check(name, r.rest(), &expected["inner"]);
        }
        (kind, expected) => panic!("{name}: {kind:?} instead of {expected}"),
    }
    assert!(r.is_empty(), "{name}: bytes left over");
}
