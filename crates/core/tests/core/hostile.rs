//! Whatever a peer says: the properties of `arbitrary.rs`, for noise and for messages that are nearly right.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serf_wire::serf::{self, MessageKind, RelayHeader};

use crate::arbitrary;

const NAMES: [&[u8]; 5] = [b"me", b"n\x02", b"n\x03", b"n\x09", b""];
const KEY: &[u8] = b"\x07\x81\xa3Key\xb0\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01";

/// A message of the kinds that answer, ask, and are passed on.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop::sample::select(&NAMES[..]);
    let query_name = prop::sample::select(
        &["load", "_serf_ping", "_serf_conflict", "_serf_use-key", "_serf_install-key", "_serf_list-keys"][..],
    );
    // Of our two questions the times are 1 and 2; their numbers nobody knows.
    let query =
        (0..4_u64, 0..3_u32, name(), query_name, vec(vec(any::<u8>(), 0..9), 0..3), 0..4_u32, any::<u8>())
            .prop_map(|(ltime, id, source_node, name, filters, flags, relay_factor)| {
                let filters: Vec<_> = filters.into_iter().map(std::borrow::Cow::Owned).collect();
                let query = serf::Query {
                    ltime,
                    id,
                    addr: (&[10, 0, 0, 2][..]).into(),
                    port: 7946,
                    source_node,
                    filters: serf_wire::list::List::of(&filters),
                    flags,
                    relay_factor,
                    timeout: 1 << 30,
                    name: name.as_bytes(),
                    payload: Some(KEY.into()),
                };
                let mut bytes = Vec::new();
                serf::put(&mut bytes, MessageKind::Query, |w| query.write(w));
                bytes
            });
    let answer = || {
        (0..4_u64, 0..3_u32, name(), 0..4_u32).prop_map(|(ltime, id, from, flags)| {
            let answer = serf::QueryResponse { ltime, id, from, flags, payload: None };
            let mut bytes = Vec::new();
            serf::put(&mut bytes, MessageKind::QueryResponse, |w| answer.write(w));
            bytes
        })
    };
    let relay = (name(), any::<i64>(), answer()).prop_map(|(dest_name, port, answer)| {
        let header = RelayHeader { ip: (&[10, 0, 0, 2][..]).into(), port, zone: b"", dest_name };
        let mut bytes = Vec::new();
        serf::put(&mut bytes, MessageKind::Relay, |w| header.write(w));
        [bytes, answer].concat()
    });
    prop_oneof![query, answer(), relay, vec(any::<u8>(), 0..40)]
}

/// Messages, some with a byte changed, between pauses and answers of ours.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let change = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let message = (messages(), change).prop_map(|(mut bytes, change)| {
        if let Some((at, byte)) = change.filter(|_| !bytes.is_empty()) {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(255);
        [&[0, bytes.len() as u8][..], &bytes].concat()
    });
    let part = prop_oneof![
        6 => message,
        1 => any::<u8>().prop_map(|pause| vec![2, pause]),
        1 => vec(any::<u8>(), 0..99).prop_map(|bytes| [&[3, bytes.len() as u8][..], &bytes].concat()),
    ];
    vec(part, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_conversation_is_survived(bytes in prop_oneof![conversation(), vec(any::<u8>(), 0..300)]) {
        arbitrary::talk(&bytes);
    }
}
