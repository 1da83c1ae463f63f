//! Snapshot files that the reference wrote, and files made by hand, with what it makes of them; and files of ours, which
//! it must be able to read.

use std::net::SocketAddr;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use serf_core::snapshot::{Replay, Snapshot};

use crate::any_file;

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshots")
}

fn replayed(file: &[u8], rejoin: bool) -> Snapshot {
    let mut replay = Replay::new(rejoin);
    file.chunks(7).for_each(|piece| replay.feed(piece));
    replay.finish()
}

/// The warning of the reference in our words: without what it is told by, without its error texts.
fn same_complaint(theirs: &str, ours: &str) -> bool {
    let theirs = theirs.strip_prefix("[WARN] serf: ").unwrap_or(theirs);
    let kind = |text: &str| text.split(": ").next().unwrap_or_default().to_owned();
    kind(theirs) == kind(ours)
}

#[test]
fn files_of_the_reference_say_to_us_what_they_say_to_it() {
    let text = std::fs::read_to_string(testdata().join("expected.json")).expect("test data");
    let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(entries.len(), 41);
    for entry in &entries {
        let name = entry["name"].as_str().unwrap();
        let file = std::fs::read(testdata().join(entry["file"].as_str().unwrap())).expect(name);
        assert_eq!(file.len() as u64, entry["bytes"]);
        for expected in entry["decoded"].as_array().unwrap() {
            let got = replayed(&file, expected["rejoin_after_leave"].as_bool().unwrap());
            for (clock, time) in [
                ("clock", got.member_clock),
                ("event_clock", got.event_clock),
                ("query_clock", got.query_clock),
            ] {
                assert_eq!(time, expected[clock].as_u64().unwrap(), "{name}: {clock}");
            }
            let nodes = expected["alive_nodes"].as_array().unwrap().iter();
            let nodes = nodes.map(|node| (node["name"].as_str().unwrap(), node["addr"].as_str().unwrap()));
            // The reference takes anything for an address, and finds out when it joins. We tell at once.
            let (good, bad): (Vec<_>, Vec<_>) =
                nodes.partition(|(_, addr)| addr.parse::<SocketAddr>().is_ok());
            let known: Vec<(String, String)> =
                got.known.iter().map(|(name, addr)| (name.to_string(), addr.to_string())).collect();
            let good: Vec<_> = good.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect();
            assert_eq!(known, good, "{name}");

            let warnings = expected["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap());
            let (ignored, skipped): (Vec<_>, Vec<_>) =
                warnings.partition(|w| *w == "[INFO] serf: Ignoring previous leave in snapshot");
            assert_eq!(got.ignored_leaves, ignored.len() as u64, "{name}");
            let told: Vec<String> = got.skipped.iter().map(ToString::to_string).collect();
            assert_eq!(told.len(), skipped.len() + bad.len(), "{name}: {told:?}");
            for theirs in skipped {
                assert!(told.iter().any(|ours| same_complaint(theirs, ours)), "{name}: {theirs}: {told:?}");
            }
            assert_eq!(got.whole + got.torn, file.len() as u64);
        }
    }
}

/// Lines, most of them good, and what may stand between them.
fn files() -> impl Strategy<Value = Vec<u8>> {
    let name = || prop::sample::select(&["a", "b b", "", "me", "\u{fffd}", "x\r"][..]);
    let line = prop_oneof![
        4 => (name(), 0..3_u8, any::<u16>()).prop_map(|(n, h, p)| format!("alive: {n} 10.0.0.{h}:{p}\n")),
        1 => (name(), any::<u16>()).prop_map(|(n, p)| format!("alive: {n} [fd00::1]:{p}\n")),
        3 => name().prop_map(|n| format!("not-alive: {n}\n")),
        3 => (prop::sample::select(&["", "event-", "query-"][..]), any::<u64>())
            .prop_map(|(clock, time)| format!("{clock}clock: {time}\n")),
        1 => Just("leave\n".to_owned()),
        1 => Just("# \n".to_owned()),
    ];
    let noise = prop_oneof![vec(any::<u8>(), 0..40), (0..9000_usize).prop_map(|n| vec![0; n])];
    vec(prop_oneof![5 => line.prop_map(String::into_bytes), 1 => noise], 0..40)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_survived(
        options in any::<u8>(),
        file in prop_oneof![files(), vec(any::<u8>(), 0..300)],
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let end = cut.map_or(file.len(), |cut| cut.index(file.len() + 1));
        any_file::snapshot(&[&[options][..], &file[..end]].concat());
    }
}
