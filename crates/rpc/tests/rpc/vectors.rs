//! Every captured message says what the capture says it does, and is written again as it was.

use std::time::Duration;

use serde_json::Value as Json;
use serf_rpc::message::*;
use serf_rpc::{Command, Value};
use serf_wire::msgpack::{Dialect, Reader, Writer};

use crate::json::{ToJson, hex, unhex};

/// The entries of a file in `testdata`.
pub(crate) fn entries(file: &str) -> Vec<Json> {
    let path = format!("{}/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn name(entry: &Json) -> &str {
    entry["name"].as_str().unwrap()
}

/// Two JSON values that are the same when written and read. Numbers with a fraction are not always read back
/// exactly, and the captured ones have been read.
fn assert_same(ours: &Json, captured: &Json, name: &str) {
    let ours: Json = serde_json::from_str(&ours.to_string()).unwrap();
    assert_eq!(&ours, captured, "{name}");
}

#[test]
fn captured_messages_are_read_and_written_exactly() {
    let mut exact = 0;
    for entry in entries("rpc.json") {
        let name = name(&entry);
        let dialect = if name.starts_with("0.9.4/") { Dialect::RPC_OLD } else { Dialect::RPC };
        let bytes = unhex(entry["hex"].as_str().unwrap());
        let (header, body) = bytes.split_at(entry["context"]["header_bytes"].as_u64().unwrap() as usize);
        let command = Command::from_name(entry["context"]["command"].as_str().unwrap().as_bytes()).unwrap();
        let is_request = entry["context"]["direction"] == "client->agent";

        let header_again = match is_request {
            true => again::<RequestHeader>(header, dialect),
            false => again::<ResponseHeader>(header, dialect),
        };
        assert_same(&header_again.0, &entry["decoded"]["header"], name);
        let body_again = match (body.is_empty(), is_request) {
            (true, _) => (Json::Null, vec![]),
            (_, true) => request_body(command, body, dialect),
            (_, false) => response_body(command, body, dialect),
        };
        assert_same(&body_again.0, &entry["decoded"]["body"], name);

        // Whether there is a body is a property of the command, except that streams begin without.
        let expected = match is_request {
            true => command.has_body(),
            false => {
                command.is_answered_with_body()
                    || (command.is_followed_by_records() && entry["decoded"]["body"] != Json::Null)
            }
        };
        assert_eq!(!body.is_empty(), expected, "{name}");

        if entry["reencode"] == "exact" {
            exact += 1;
            assert_eq!(hex(&header_again.1) + &hex(&body_again.1), entry["hex"].as_str().unwrap(), "{name}");
        }
    }
    assert_eq!(exact, 168, "the file is complete");
}

/// Reads all of `bytes` as one message; what it says, and how it is written.
fn again<V: Value + ToJson>(bytes: &[u8], dialect: Dialect) -> (Json, Vec<u8>) {
    let mut reader = Reader::new(bytes);
    let value = V::decode(&mut reader).unwrap();
    assert!(reader.is_empty(), "bytes are left");
    let mut out = vec![];
    value.encode(&mut Writer::new(&mut out, dialect));
    (value.json(), out)
}

fn request_body(command: Command, bytes: &[u8], dialect: Dialect) -> (Json, Vec<u8>) {
    match command {
        Command::Handshake => again::<HandshakeRequest>(bytes, dialect),
        Command::Auth => again::<AuthRequest>(bytes, dialect),
        Command::Event => again::<EventRequest>(bytes, dialect),
        Command::ForceLeave => again::<ForceLeaveRequest>(bytes, dialect),
        Command::Join => again::<JoinRequest>(bytes, dialect),
        Command::MembersFiltered => again::<MembersFilteredRequest>(bytes, dialect),
        Command::Tags => again::<TagsRequest>(bytes, dialect),
        Command::Stream => again::<StreamRequest>(bytes, dialect),
        Command::Monitor => again::<MonitorRequest>(bytes, dialect),
        Command::Stop => again::<StopRequest>(bytes, dialect),
        Command::Query => again::<QueryRequest>(bytes, dialect),
        Command::Respond => again::<RespondRequest>(bytes, dialect),
        Command::InstallKey | Command::UseKey | Command::RemoveKey => again::<KeyRequest>(bytes, dialect),
        Command::GetCoordinate => again::<GetCoordinateRequest>(bytes, dialect),
        Command::Members | Command::Leave | Command::ListKeys | Command::Stats => panic!("has no body"),
    }
}

fn response_body(command: Command, bytes: &[u8], dialect: Dialect) -> (Json, Vec<u8>) {
    match command {
        Command::Join => again::<JoinResponse>(bytes, dialect),
        Command::Members | Command::MembersFiltered => again::<MembersResponse>(bytes, dialect),
        Command::Stream => again::<EventRecord>(bytes, dialect),
        Command::Monitor => again::<LogRecord>(bytes, dialect),
        Command::Query => again::<QueryRecord>(bytes, dialect),
        Command::InstallKey | Command::UseKey | Command::RemoveKey | Command::ListKeys => {
            again::<KeyResponse>(bytes, dialect)
        }
        Command::Stats => again::<StatsResponse>(bytes, dialect),
        Command::GetCoordinate => again::<GetCoordinateResponse>(bytes, dialect),
        other => panic!("{} is not answered with a body", other.name()),
    }
}

/// The numbers are given as bits: JSON is not always read back exactly.
#[test]
fn distances_are_those_of_the_reference_to_the_nanosecond() {
    let number = |bits: &Json| f64::from_bits(u64::from_str_radix(bits.as_str().unwrap(), 16).unwrap());
    let coordinate = |bits: &Json| Coordinate {
        vec: Some(bits["Vec"].as_array().unwrap().iter().map(number).collect()),
        error: number(&bits["Error"]),
        adjustment: number(&bits["Adjustment"]),
        height: number(&bits["Height"]),
    };
    let cases = entries("distances.json");
    assert_eq!(cases.len(), 30);
    for case in cases {
        let distance = coordinate(&case["a"]).distance_to(&coordinate(&case["b"]));
        assert_eq!(distance, case["distance_ns"].as_u64().map(Duration::from_nanos));
    }
}

#[test]
fn what_makes_no_distance_is_none() {
    let at = |vec: &[f64], height, adjustment| Coordinate {
        vec: Some(vec.to_vec()),
        height,
        adjustment,
        ..Coordinate::default()
    };
    let origin = at(&[0.0; 8], 0.001, 0.0);
    let millis = |ms| Some(Duration::from_millis(ms));
    assert_eq!(origin.distance_to(&at(&[0.0; 8], 0.001, 0.003)), millis(5));
    assert_eq!(origin.distance_to(&at(&[0.0; 8], 0.001, -0.003)), millis(2), "never below zero");
    for odd in [
        at(&[0.0; 3], 0.0, 0.0),
        at(&[f64::NAN; 8], 0.0, 0.0),
        at(&[f64::INFINITY; 8], 0.0, 0.0),
        at(&[0.0; 8], f64::NAN, 0.0),
        at(&[0.0; 8], -1.0, 0.0),
        at(&[1e300; 8], 0.0, 0.0),
        Coordinate::default(),
    ] {
        assert_eq!(origin.distance_to(&odd), None, "{odd:?}");
    }
    assert_eq!(Coordinate::default().distance_to(&Coordinate::default()), millis(0), "without dimensions");
}
