//! The agent's side: captured conversations, the gates, and bytes of any kind in pieces of any size.

use proptest::prelude::*;
use serde_json::Value as Json;
use serf_rpc::message::*;
use serf_rpc::{BadMessage, CloseReason, Connection, REQUEST_BYTES_MAX, Request, Step, Value, reply};
use serf_wire::Malformed;
use serf_wire::msgpack::{Dialect, Reader, Writer};

use crate::arbitrary::{conversation, run};
use crate::json::{ToJson, unhex};
use crate::vectors::{entries, name};

fn steps(token: &str, bytes: &[u8]) -> Vec<Step> {
    let (steps, end) = run(token, [bytes]);
    assert_eq!(end, None);
    steps
}

fn encoded(value: &impl Value) -> Vec<u8> {
    let mut out = vec![];
    value.encode(&mut Writer::new(&mut out, Dialect::RPC));
    out
}

fn header(command: &str, seq: u64) -> Vec<u8> {
    encoded(&RequestHeader { command: command.into(), seq })
}

fn handshake(seq: u64, version: i32) -> Vec<u8> {
    [header("handshake", seq), encoded(&HandshakeRequest { version })].concat()
}

fn auth(seq: u64, token: &str) -> Vec<u8> {
    [header("auth", seq), encoded(&AuthRequest { auth_key: token.into() })].concat()
}

fn answer(seq: u64, error: &str) -> Step {
    Step::Reply { bytes: reply(seq, error), warning: None }
}

fn wrong_token(seq: u64) -> Step {
    let warning = Some("Client has shown a wrong token");
    Step::Reply { bytes: reply(seq, "Invalid authentication token"), warning }
}

fn auth_required(seq: u64) -> Step {
    let warning = Some("Client sending commands before auth");
    Step::Reply { bytes: reply(seq, "Authentication required"), warning }
}

fn request(seq: u64, request: Request) -> Step {
    Step::Request { seq, request }
}

/// Conversations that Go ended and we do not, with the reason.
const GOES_ON: [(&str, &str); 1] = [(
    "members-filtered-bad-regex",
    "a bad expression is a request like any other here; the agent answers it with an error instead of hanging up",
)];

#[test]
fn captured_conversations_pass_the_gates_as_in_go() {
    let mut gates = 0;
    for entry in entries("rpc_conversations.json") {
        let name = name(&entry);
        let (_, scene) = name.rsplit_once('/').unwrap();
        let token = match scene {
            "auth-when-not-configured" => "",
            _ => entry["context"]["auth_key"].as_str().unwrap_or(""),
        };
        let bytes = unhex(entry["hex"]["client_to_server"].as_str().unwrap());
        let (steps, end) = run(token, [&bytes[..]]);
        assert_eq!(end, None, "{name}");
        assert_eq!(run(token, bytes.chunks(1)).0, steps, "{name} byte by byte");

        let mut steps = steps.into_iter();
        for asked in entry["decoded"]["requests"].as_array().unwrap() {
            let responses = entry["decoded"]["responses"].as_array().unwrap();
            let answered = responses.iter().find(|response| response["seq"] == asked["seq"]);
            match steps.next().unwrap() {
                Step::Request { seq, request } => {
                    assert_eq!(request.command().name(), asked["command"], "{name}");
                    assert_eq!(seq, asked["seq"].as_u64().unwrap(), "{name}");
                    // What a request leaves out is zero; the capture lists only what is there.
                    let (ours, Json::Object(theirs)) = (request.json(), &asked["body"]) else { continue };
                    for (field, value) in theirs.iter().filter(|(field, _)| *field != "Bogus") {
                        assert_eq!(&ours[field], value, "{name}: {field}");
                    }
                }
                Step::Reply { bytes, .. } => {
                    gates += 1;
                    let header = ResponseHeader::decode(&mut Reader::new(&bytes)).unwrap();
                    assert_eq!(header.json(), answered.unwrap()["header"], "{name}");
                }
                Step::Close(CloseReason::BadBody(_)) => {
                    assert_eq!((scene, answered), ("garbage-body", None), "{name}");
                    assert_eq!(entry["context"]["server_closed_connection"], true, "{name}");
                }
                Step::Close(reason) => panic!("{name}: {reason}"),
            }
        }

        let closed = entry["context"]["server_closed_connection"] == true;
        match steps.next() {
            Some(Step::Close(_)) => assert!(closed, "{name}"),
            None if scene == "garbage-body" => {}
            None => assert_eq!(closed, GOES_ON.iter().any(|(scenes, _)| *scenes == scene), "{name}"),
            Some(step) => panic!("{name}: {step:?}"),
        }
        assert_eq!(steps.next(), None, "{name}");
    }
    assert_eq!(gates, 94, "the file is complete");
}

#[test]
fn nothing_goes_before_the_handshake() {
    let event = [header("event", 7), encoded(&EventRequest::default())].concat();
    for bytes in [event, header("members", 7), header("nonsense", 7), auth(7, ""), header("", 7)] {
        let all = [bytes, handshake(8, 1)].concat();
        assert_eq!(
            steps("", &all),
            [answer(7, "Handshake required"), Step::Close(CloseReason::HandshakeRequired)]
        );
    }
}

#[test]
fn a_handshake_names_version_1_and_comes_once() {
    let bytes = [
        handshake(1, 0),
        handshake(2, -1),
        [header("handshake", 3), vec![0x80]].concat(),
        handshake(4, 1),
        handshake(5, 2),
        handshake(6, 1),
        header("members", 7),
    ];
    assert_eq!(
        steps("", &bytes.concat()),
        [
            answer(1, "Unsupported IPC version"),
            answer(2, "Unsupported IPC version"),
            answer(3, "Unsupported IPC version"),
            answer(4, ""),
            answer(5, "Unsupported IPC version"),
            answer(6, "Handshake already performed"),
            request(7, Request::Members),
        ]
    );
}

/// Go takes the body for the next header and answers twice (Q2).
#[test]
fn a_refused_request_is_answered_once_and_its_body_goes_unseen() {
    let body = EventRequest { name: "evil".into(), payload: Some(vec![0xc1; 40]), coalesce: true };
    let bytes = [
        handshake(1, 1),
        header("event", 2),
        encoded(&body),
        header("nonsense", 3),
        header("stats", 4),
        auth(5, "no"),
        auth(6, "to"),
        auth(7, "tok"),
        auth(8, ""),
        header("stats", 9),
    ];
    assert_eq!(
        steps("tok", &bytes.concat()),
        [
            answer(1, ""),
            auth_required(2),
            auth_required(3),
            auth_required(4),
            wrong_token(5),
            wrong_token(6),
            answer(7, ""),
            wrong_token(8),
            request(9, Request::Stats),
        ]
    );
}

/// A body is not waited for before a request is refused, as in Go.
#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let mut connection = Connection::new("tok");
    connection.receive(&handshake(1, 1));
    connection.receive(&header("event", 2));
    assert_eq!(connection.next_step(), Some(answer(1, "")));
    assert_eq!(connection.next_step(), Some(auth_required(2)));
    assert_eq!(connection.next_step(), None);
    connection.receive(b"\x81\xa4Name");
    assert_eq!(connection.next_step(), None);
    assert_eq!(connection.end(), Some(CloseReason::BadBody(Malformed::Truncated.into())));
}

#[test]
fn an_open_agent_accepts_the_empty_token_only() {
    let bytes = [handshake(1, 1), auth(2, "x"), auth(3, ""), header("leave", 4)].concat();
    assert_eq!(
        steps("", &bytes),
        [answer(1, ""), wrong_token(2), answer(3, ""), request(4, Request::Leave),]
    );
}

/// Go keeps the values of the request before (Q1), so that an empty map repeats it.
#[test]
fn a_header_without_command_is_no_repetition() {
    for nothing in [&b"\x80"[..], b"\xc0", b"\x90", b"\x81\xa7command\xa5stats"] {
        let bytes = [&handshake(1, 1)[..], &header("members", 2), nothing].concat();
        assert_eq!(
            steps("", &bytes),
            [
                answer(1, ""),
                request(2, Request::Members),
                answer(0, "Unsupported command"),
                Step::Close(CloseReason::UnknownCommand("".into())),
            ]
        );
    }
}

#[test]
fn an_unknown_command_ends_the_connection() {
    let bytes = [handshake(1, 1), header("MEMBERS", 2), header("members", 3)].concat();
    let expected = [
        answer(1, ""),
        answer(2, "Unsupported command"),
        Step::Close(CloseReason::UnknownCommand("MEMBERS".into())),
    ];
    assert_eq!(steps("", &bytes), expected);
}

#[test]
fn commands_are_counted_from_the_handshake_on() {
    let mut connection = Connection::new("tok");
    connection.receive(&[handshake(1, 1), header("members", 2), header("nonsense", 3)].concat());
    while connection.next_step().is_some() {}
    assert_eq!(connection.commands(), 3);
    let mut connection = Connection::new("");
    connection.receive(&header("members", 2));
    while connection.next_step().is_some() {}
    assert_eq!(connection.commands(), 0);
}

#[test]
fn log_lines_are_those_of_go() {
    let name = |name: &str| CloseReason::UnknownCommand(name.into()).to_string();
    assert_eq!(name("nonsense"), "Failed to evaluate request: command 'nonsense' not recognized");
    assert_eq!(name("a\n[ERR] b"), "Failed to evaluate request: command 'a\\n[ERR] b' not recognized");
    assert_eq!(name(&"x".repeat(1000)).len(), name("").len() + 64);
    assert_eq!(CloseReason::HandshakeRequired.to_string(), "Failed to evaluate request: Handshake required");
    assert_eq!(
        CloseReason::BadBody(BadMessage::TooLong(REQUEST_BYTES_MAX)).to_string(),
        "Failed to evaluate request: decode failed: message exceeds 1048576 bytes"
    );
    assert_eq!(
        CloseReason::BadHeader(Malformed::Reserved.into()).to_string(),
        "failed to decode request header: the reserved byte 0xc1"
    );
}

#[test]
fn what_is_no_record_is_refused_at_its_first_byte() {
    let hello = handshake(1, 1);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xc1", b"\xa7members", b"\xdb\xff\xff\xff\xff", b"\xff"]
    {
        let Some(Step::Close(CloseReason::BadHeader(_))) = steps("", garbage).pop() else {
            panic!("{garbage:?}")
        };
        let event = [&hello[..], &header("event", 2), garbage].concat();
        let Some(Step::Close(CloseReason::BadBody(_))) = steps("", &event).pop() else {
            panic!("{garbage:?}")
        };
    }
}

#[test]
fn fields_of_a_wrong_type_end_the_connection() {
    let hello = handshake(1, 1);
    for bad in
        [&b"\x82\xa7Command\x05\xa3Seq\x01"[..], b"\x82\xa7Command\xa5stats\xa3Seq\xff", b"\x81\x05\x05"]
    {
        let Some(Step::Close(CloseReason::BadHeader(_))) = steps("", bad).pop() else { panic!("{bad:?}") };
    }
    for bad in [&b"\x81\xa4Name\x81\xa1a\x01"[..], b"\x81\xa8Coalesce\x02", b"\x91\xc3"] {
        let event = [&hello[..], &header("event", 2), bad].concat();
        let Some(Step::Close(CloseReason::BadBody(_))) = steps("", &event).pop() else { panic!("{bad:?}") };
    }
}

#[test]
fn announced_sizes_are_waited_for_and_cost_nothing() {
    for claim in [
        &b"\x82\xa7Command\xdb\xff\xff\xff\xf0"[..],
        b"\x82\xa3zzz\xdd\xff\xff\xff\xf0\xc0",
        b"\x82\xa3zzz\xdf\xff\xff\xff\xf0\xc0\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ] {
        let (steps, end) = run("", [claim]);
        assert_eq!(steps, []);
        assert_eq!(end, Some(CloseReason::BadHeader(Malformed::Truncated.into())));
    }
}

#[test]
fn the_end_of_the_stream_is_clean_between_requests() {
    let bytes = [handshake(1, 1), header("event", 2), encoded(&EventRequest::default())].concat();
    let first = handshake(1, 1).len();
    let second = bytes.len();
    for cut in 0..=bytes.len() {
        let (_, end) = run("", [&bytes[..cut]]);
        assert_eq!(end.is_none(), [0, first, second].contains(&cut), "after {cut} bytes: {end:?}");
    }
}

/// An event request of exactly `bytes` bytes.
fn event_of(bytes: usize) -> Vec<u8> {
    let with = |payload: usize| {
        let body = EventRequest { payload: Some(vec![7; payload]), ..EventRequest::default() };
        [header("event", 2), encoded(&body)].concat()
    };
    with(bytes - (with(bytes).len() - bytes))
}

#[test]
fn a_request_is_limited_as_a_whole() {
    let hello = handshake(1, 1);
    let longest = [&hello[..], &event_of(REQUEST_BYTES_MAX), &header("stats", 3)].concat();
    assert_eq!(event_of(REQUEST_BYTES_MAX).len(), REQUEST_BYTES_MAX);
    assert_eq!(steps("", &longest).last(), Some(&request(3, Request::Stats)));

    let too_long = [&hello[..], &event_of(REQUEST_BYTES_MAX + 1), &header("stats", 3)].concat();
    let (whole, _) = run("", [&too_long[..]]);
    let Some(Step::Close(CloseReason::BadBody(BadMessage::TooLong(_)))) = whole.last() else {
        panic!("{:?}", whole.last())
    };
    assert_eq!(run("", too_long.chunks(1000)).0, whole);
    // The limit holds for what is thrown away, too.
    let (refused, _) = run("tok", [&too_long[..]]);
    let Some(Step::Close(CloseReason::BadBody(BadMessage::TooLong(_)))) = refused.last() else {
        panic!("{:?}", refused.last())
    };
}

/// Nothing that comes before the token is long, and there may be many who never show one.
#[test]
fn strangers_are_given_little_room() {
    for (token, hello) in [("", vec![]), ("tok", handshake(1, 1))] {
        let long = [&hello[..], &event_of(17 * 1024)].concat();
        let (steps, _) = run(token, [&long[..]]);
        assert!(matches!(steps.last(), Some(Step::Close(_))), "{steps:?}");
    }
    let known = [&handshake(1, 1)[..], &auth(2, "tok"), &event_of(17 * 1024)].concat();
    assert!(matches!(steps("tok", &known).last(), Some(Step::Request { .. })));
}

/// A million tiny values that come one at a time: looking through them from the start each time would not end.
#[test]
fn a_slow_drip_of_a_big_request_takes_linear_time() {
    let count = 1_000_000_u32;
    let extra = [&b"\x81\xa5extra\xdd"[..], &count.to_be_bytes(), &vec![0xc0; count as usize]].concat();
    let bytes = [handshake(1, 1), header("event", 2), extra].concat();
    let (steps, end) = run("", bytes.chunks(1));
    assert_eq!(steps, [answer(1, ""), request(2, Request::Event(EventRequest::default()))]);
    assert_eq!(end, None);
}

/// Bytes that get past the first gates often enough to be interesting: requests with something wrong in them.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let captured: Vec<Vec<u8>> = entries("rpc.json")
        .iter()
        .filter(|entry| entry["context"]["direction"] == "client->agent")
        .map(|entry| unhex(entry["hex"].as_str().unwrap()))
        .collect();
    let part = prop_oneof![
        8 => prop::sample::select(captured),
        2 => Just(auth(9, "tok")),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (prop::bool::weighted(0.9), prop::collection::vec(part, 0..6), flips).prop_map(|(greet, parts, flips)| {
        let mut bytes = if greet { handshake(1, 1) } else { vec![] };
        bytes.extend(parts.concat());
        for (index, byte) in flips {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let greeted = [&handshake(1, 1)[..], &bytes].concat();
        let asking = [&handshake(1, 1)[..], &header("members-filtered", 2), &bytes].concat();
        [bytes, greeted, asking].iter().for_each(|bytes| conversation("", bytes, &[7]));
    }

    #[test]
    fn pieces_give_the_steps_of_the_whole(
        bytes in traffic(),
        token in prop::sample::select(vec!["", "tok"]),
        sizes in prop::collection::vec(1_usize..40, 1..10),
    ) {
        conversation(token, &bytes, &[1]);
        conversation(token, &bytes, &sizes);
    }

    /// Whatever is accepted can be said in our own words and is then accepted as the same.
    #[test]
    fn requests_survive_encoding(bytes in traffic()) {
        let (steps, _) = run("", [&bytes[..]]);
        for step in steps {
            let Step::Request { seq, request } = step else { continue };
            let mut again = [handshake(1, 1), header(request.command().name(), seq)].concat();
            request.encode_body(&mut Writer::new(&mut again, Dialect::RPC));
            prop_assert_eq!(run("", [&again[..]]).0, [answer(1, ""), Step::Request { seq, request }]);
        }
    }
}
