//! Queries for the keyring, one node's side: spec `serf.md` §8.2, appendix A.6, C.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serf_wire::encrypt::Key;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, KeyRequest, KeyResponse, MessageKind};

use super::queries::{SECOND, encode, read_answer, wire};
use super::{Bench, config, message};
use crate::{Command, Config, Event, QueryKey};

const REFUSALS: [&str; 5] = [
    "No keyring to modify (encryption not enabled)",
    "Keyring is empty (encryption not enabled)",
    "key size must be 16, 24 or 32 bytes",
    "requested key is not in the keyring",
    "removing the primary key is not allowed",
];

/// What a node said.
#[derive(Debug, PartialEq)]
struct Said {
    result: bool,
    message: String,
    keys: usize,
    primary: String,
}

fn done() -> Said {
    Said { result: true, message: String::new(), keys: 0, primary: String::new() }
}

fn refused(message: &str) -> Said {
    Said { result: false, message: message.into(), ..done() }
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

fn request(key: &[u8]) -> Vec<u8> {
    message(MessageKind::KeyRequest, |w| KeyRequest { key: Some(key.into()) }.write(w))
}

impl Bench {
    /// A node with these keys, that hears everything unsealed.
    fn with_keys(keys: Vec<Key>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        config.gossip.keys = keys;
        config.gossip.verify_incoming = false;
        config.gossip.verify_outgoing = false;
        change(&mut config);
        Self::of_three_with(config)
    }

    /// Somebody asks; what we say to that, if anything.
    fn key_query(&mut self, name: &str, payload: &[u8]) -> Option<Said> {
        let ltime = self.node.vitals().query_time;
        let query = serf::Query { name: name.as_bytes(), payload: Some(payload.into()), ..wire(ltime) };
        self.message(&encode(&query));
        self.said()
    }

    fn said(&mut self) -> Option<Said> {
        let posts = self.posts();
        assert!(posts.len() < 2);
        let answer = read_answer(&posts.first()?.1);
        let payload = answer.payload.unwrap();
        let (kind, body) = MessageKind::split(&payload).unwrap();
        assert_eq!(kind, MessageKind::KeyResponse);
        let said = KeyResponse::read(&mut Reader::new(body)).unwrap();
        let text = |bytes| String::from_utf8(Vec::from(bytes)).unwrap();
        Some(Said {
            result: said.result,
            message: text(said.message),
            keys: said.keys.len(),
            primary: text(said.primary_key),
        })
    }

    fn keyring(&self) -> &[Key] {
        self.node.gossip().keyring().keys()
    }

    /// What its owner is to keep.
    fn keeps(&mut self) -> Vec<(QueryKey, Vec<Key>)> {
        let changed = |event| match event {
            Event::KeysChanged { key, keys } => Some((key, keys)),
            _ => None,
        };
        self.events().into_iter().filter_map(changed).collect()
    }
}

#[test]
fn a_node_without_keys_gets_none() {
    let mut bench = Bench::with_keys(vec![], |_| {});
    for name in ["_serf_install-key", "_serf_use-key", "_serf_remove-key"] {
        assert_eq!(bench.key_query(name, &request(&[1; 32])), Some(refused(REFUSALS[0])));
    }
    assert_eq!(bench.key_query("_serf_list-keys", &request(b"")), Some(refused(REFUSALS[1])));
    assert!(bench.keyring().is_empty());
}

#[test]
fn keys_are_installed_used_and_removed() {
    let mut bench = Bench::with_keys(vec![key(1)], |_| {});
    for (name, bytes, want, ring) in [
        ("_serf_install-key", &[2; 32][..], done(), vec![key(1), key(2)]),
        ("_serf_install-key", &[2; 32], done(), vec![key(1), key(2)]),
        ("_serf_use-key", &[3; 32], refused(REFUSALS[3]), vec![key(1), key(2)]),
        ("_serf_use-key", &[2; 32], done(), vec![key(2), key(1)]),
        ("_serf_remove-key", &[2; 32], refused(REFUSALS[4]), vec![key(2), key(1)]),
        ("_serf_remove-key", &[3; 32], done(), vec![key(2), key(1)]),
        ("_serf_remove-key", &[1; 32], done(), vec![key(2)]),
        // Of other lengths there are none.
        ("_serf_install-key", &[2; 31], refused(REFUSALS[2]), vec![key(2)]),
        ("_serf_install-key", &[], refused(REFUSALS[2]), vec![key(2)]),
        ("_serf_use-key", &[2; 31], refused(REFUSALS[3]), vec![key(2)]),
        ("_serf_remove-key", &[2; 31], done(), vec![key(2)]),
    ] {
        assert_eq!(bench.key_query(name, &request(bytes)), Some(want), "{name} {bytes:?}");
        assert_eq!(bench.keyring(), ring, "{name} {bytes:?}");
    }
}

// However many keys are asked for, and however the log is rationed for that.
#[test]
fn a_refusal_is_logged_with_what_was_wanted_and_by_whom() {
    let mut bench = Bench::with_keys(vec![key(1)], |_| {});
    for _ in 0..20 {
        bench.key_query("_serf_list-keys", &request(b""));
    }
    bench.notices();
    bench.key_query("_serf_use-key", &request(&[2; 32]));
    bench.key_query("_serf_install-key", &request(&[2; 31]));
    bench.key_query("_serf_remove-key", &request(&[1; 32]));
    bench.key_query("_serf_remove-key", b"");
    let expected = [
        ("change primary key", REFUSALS[3]),
        ("install key", REFUSALS[2]),
        ("remove key", REFUSALS[4]),
        ("remove key", "the request cannot be read"),
    ]
    .map(|(what, why)| alloc::format!("Failed to {what}: {why} (asked by 'foo')"));
    assert_eq!(bench.notices(), expected);
}

// B1: these end a node of the reference.
#[test]
fn a_request_that_cannot_be_read_is_refused_without_a_word() {
    let mut bench = Bench::with_keys(vec![key(1)], |_| {});
    for name in ["_serf_install-key", "_serf_use-key", "_serf_remove-key"] {
        for payload in [&b""[..], b"\x07", b"\x07\xc1", b"\x07\x81\xa3Key"] {
            assert_eq!(bench.key_query(name, payload), Some(refused("")), "{payload:02x?}");
        }
        // The type byte is looked at by nobody.
        let odd = [&[0xff], &request(&[7; 5])[1..]].concat();
        assert_ne!(bench.key_query(name, &odd), Some(refused("")));
    }
    // Whoever asks for all keys need not say more.
    for payload in [&b""[..], b"\x07", b"\x07\xc1"] {
        assert!(bench.key_query("_serf_list-keys", payload).unwrap().result);
    }
    assert_eq!(bench.keyring(), [key(1)]);
}

// "List truncation at 1024: 0 keys → 0; 1 → 1; 50, 38, 40 keys → 18 with a truncation message; 18 → 18 without." That is
// without the primary key; with it there is room for one less.
#[test]
fn keys_are_listed_as_far_as_they_fit() {
    for (n, listed) in [(1, 1), (19, 19), (20, 17), (38, 17), (40, 17), (50, 17)] {
        let mut bench = Bench::with_keys((0..n).map(key).collect(), |_| {});
        let said = bench.key_query("_serf_list-keys", &request(b"")).unwrap();
        let message = if listed == n {
            String::new()
        } else {
            alloc::format!("truncated key list response, showing first {listed} of {n} keys")
        };
        let primary = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_string();
        assert_eq!(said, Said { result: true, message, keys: usize::from(listed), primary });
    }
    // "The divisor 25 is safe: even with a 10× larger limit some number of 44-character keys fits."
    let mut bench = Bench::with_keys((0..255).chain(0..=255).map(key).collect(), |config| {
        config.query_response_size_limit = 10_240;
    });
    let said = bench.key_query("_serf_list-keys", &request(b"")).unwrap();
    assert!((200..256).contains(&said.keys), "{}", said.keys);
    // Where nothing fits there is no answer.
    let mut bench = Bench::with_keys(vec![key(1)], |config| config.query_response_size_limit = 80);
    assert_eq!(bench.key_query("_serf_list-keys", &request(b"")), None);
}

#[test]
fn who_keeps_keys_has_kept_them_before_saying_yes() {
    let mut bench = Bench::with_keys(vec![key(1)], |config| config.keep_keys = true);
    assert_eq!(bench.key_query("_serf_install-key", &request(&[2; 32])), None);
    assert_eq!(bench.key_query("_serf_use-key", &request(&[2; 32])), None);
    let changes = bench.keeps();
    let keys: Vec<Vec<Key>> = changes.iter().map(|(_, keys)| keys.clone()).collect();
    assert_eq!(keys, [[key(1), key(2)], [key(2), key(1)]]);
    bench.command(Command::KeysKept { key: changes[0].0, result: Ok(()) });
    assert_eq!(bench.said(), Some(done()));
    let why = "Failed to write keyring file: open /x: permission denied";
    bench.command(Command::KeysKept { key: changes[1].0, result: Err(why.into()) });
    assert_eq!(bench.said(), Some(refused(why)));
    assert_eq!(bench.keyring(), [key(2), key(1)], "the change stays");
    // What was refused, or changes nothing to be kept, is told at once.
    assert_eq!(bench.key_query("_serf_use-key", &request(&[3; 32])), Some(refused(REFUSALS[3])));
    assert_eq!(bench.keeps(), []);
}

#[test]
fn what_an_owner_says_too_late_or_at_length_does_no_harm() {
    let mut bench = Bench::with_keys(vec![key(1)], |config| config.keep_keys = true);
    bench.key_query("_serf_install-key", &request(&[2; 32]));
    let change = bench.keeps().remove(0).0;
    for _ in 0..2 {
        bench.command(Command::KeysKept { key: change, result: Err("é".repeat(9999)) });
    }
    assert_eq!(bench.said().unwrap().message, "é".repeat(128));
    bench.key_query("_serf_install-key", &request(&[3; 32]));
    let change = bench.keeps().remove(0).0;
    bench.wait(SECOND * 2);
    bench.command(Command::KeysKept { key: change, result: Ok(()) });
    assert_eq!(bench.said(), None);
}
