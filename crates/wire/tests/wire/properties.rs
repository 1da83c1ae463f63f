//! The properties of `arbitrary.rs`, for bytes that proptest thinks up: plain noise, things that look like MessagePack,
//! and captured packets with changes.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{arbitrary, json};

/// Values nested and chained as they may be, with lengths that may not be true.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(
        &["LTime", "Node", "SeqNo", "Payload", "Events", "Buf", "Algo", "Nodes", "Vsn"][..],
    );
    let token = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        (0x80_u8..=0x9f).prop_map(|head| vec![head]),
        (0xc0_u8..=0xdf, vec(any::<u8>(), 0..9)).prop_map(|(head, tail)| [&[head][..], &tail].concat()),
        name.prop_map(|name| [&[0xa0 | name.len() as u8], name.as_bytes()].concat()),
        vec(any::<u8>(), 0..32).prop_map(|text| [&[0xa0 | text.len() as u8][..], &text].concat()),
    ];
    vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

/// A captured packet or stream with a few bytes changed and perhaps its end cut off.
fn changed(file: &'static str, count: usize) -> impl Strategy<Value = Vec<u8>> {
    let captured: Vec<&[u8]> =
        json::entries(file, count).map(|entry| entry.bytes).filter(|bytes| bytes.len() < 4000).collect();
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(captured), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(bytes, changes, end, cut)| {
            let mut bytes = bytes.to_vec();
            changes.iter().for_each(|(index, byte)| *index.get_mut(&mut bytes) = *byte);
            bytes.truncate(if cut { end.index(bytes.len() + 1) } else { bytes.len() });
            bytes
        },
    )
}

fn with_options(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; 2]>(), bytes).prop_map(|(options, bytes)| [&options[..], &bytes].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_values_or_not(bytes in prop_oneof![vec(any::<u8>(), 0..300), values()]) {
        arbitrary::codec(&bytes);
    }

    #[test]
    fn any_change_to_a_message_is_survived(bytes in changed("serf_messages.json", 234)) {
        arbitrary::codec(bytes.get(1..).unwrap_or_default());
        arbitrary::codec(&bytes);
    }

    #[test]
    fn any_bytes_are_a_datagram_or_not(
        bytes in prop_oneof![vec(any::<u8>(), 0..300), values(), changed("gossip_packets.json", 725)],
        options: u8,
    ) {
        arbitrary::packet(&[&[options][..], &bytes].concat());
    }

    #[test]
    fn any_bytes_are_compressed_or_not(bytes in prop_oneof![vec(any::<u8>(), 0..300), values()]) {
        arbitrary::compressed(&bytes);
    }

    #[test]
    fn any_pieces_are_the_stream(
        bytes in with_options(prop_oneof![vec(any::<u8>(), 0..300), values(), changed("gossip_streams.json", 163)])
    ) {
        arbitrary::stream(&bytes);
    }

    #[test]
    fn every_record_is_read_as_written(bytes in vec(any::<u8>(), 0..2000)) {
        arbitrary::records(&bytes);
    }

    #[test]
    fn every_payload_comes_through(bytes in vec(any::<u8>(), 0..2000)) {
        arbitrary::sealed(&bytes);
    }
}

/// The fuzz targets start from the captured bytes, so those at least must pass; so must each with every option.
#[test]
fn captured_bytes_hold_the_properties() {
    for (index, entry) in json::entries("gossip_packets.json", 725).enumerate() {
        arbitrary::packet(&[&[index as u8][..], entry.bytes].concat());
        let fitting = u8::from(!entry.label().is_empty()) | u8::from(!entry.keys().is_empty()) << 2 | 0x18;
        arbitrary::packet(&[&[fitting][..], entry.bytes].concat());
    }
    for (index, entry) in json::entries("gossip_streams.json", 163).enumerate() {
        arbitrary::stream(&[&[index as u8, 0][..], entry.bytes].concat());
    }
    for entry in json::entries("serf_messages.json", 234) {
        arbitrary::codec(&entry.bytes[1..]);
    }
    for entry in json::entries("decode_tolerance.json", 146) {
        arbitrary::codec(entry.bytes);
    }
}
