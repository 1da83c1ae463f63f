//! What the reference computed, computed again: every bit must be the same.

use std::time::Duration;

use serde_json::Value;
use serf_core::coordinate::{BadCoordinate, Coordinate, Latencies, Tuning, Vivaldi};
use serf_gossip::Rng;

fn entries() -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../testdata/coordinates.json")).unwrap();
    all.as_array().unwrap().clone()
}

fn bits(text: &Value) -> f64 {
    f64::from_bits(u64::from_str_radix(text.as_str().unwrap(), 16).unwrap())
}

/// None if it has other dimensions.
fn place<const D: usize>(value: &Value) -> Option<Coordinate<D>> {
    let value = &value["bits"];
    let vec: Vec<f64> = value["Vec"].as_array().unwrap().iter().map(bits).collect();
    Some(Coordinate {
        vec: vec.try_into().ok()?,
        error: bits(&value["Error"]),
        adjustment: bits(&value["Adjustment"]),
        height: bits(&value["Height"]),
    })
}

fn same<const D: usize>(ours: &Coordinate<D>, theirs: &Coordinate<D>) -> bool {
    let all = |it: &Coordinate<D>| {
        it.vec.iter().chain([&it.error, &it.adjustment, &it.height]).map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    all(ours) == all(theirs)
}

fn tuning(config: &Value) -> Tuning {
    let number = |key: &str| config[key].as_f64().unwrap();
    Tuning {
        error_max: number("VivaldiErrorMax"),
        error_gain: number("VivaldiCE"),
        force_gain: number("VivaldiCC"),
        adjustment_window: number("AdjustmentWindowSize") as usize,
        height_min: number("HeightMin"),
        gravity_rho: number("GravityRho"),
    }
}

fn length<const D: usize>(it: &Coordinate<D>) -> f64 {
    it.vec.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn replay<const D: usize, const N: usize>(entry: &Value) {
    let name = entry["name"].as_str().unwrap();
    let mut me: Vivaldi<D> = Vivaldi::new(tuning(&entry["config"]), Rng::from_seed([1; 32]));
    me.set_coordinate(place(&entry["start"]).unwrap()).unwrap();
    let mut latencies = std::collections::BTreeMap::<&str, Latencies<N>>::new();
    for (i, step) in entry["steps"].as_array().unwrap().iter().enumerate() {
        let Some(there) = place::<D>(&step["other"]) else {
            // Told apart before it becomes a `Coordinate`.
            assert_eq!(step["error"], "dimensions aren't compatible");
            continue;
        };
        let before = *me.coordinate();
        if let Some(ns) = step["distance_before_ns"].as_u64() {
            assert_eq!(before.distance_to(&there), Duration::from_nanos(ns), "{name} {i}");
        }
        let Ok(rtt) = u64::try_from(step["rtt_ns"].as_i64().unwrap()) else { continue };
        let heard = latencies.entry(step["node"].as_str().unwrap()).or_default();
        let result = me.update(heard, &there, Duration::from_nanos(rtt)).copied();
        if let Some(error) = step["error"].as_str() {
            let why = result.unwrap_err();
            match why {
                BadCoordinate::NotFinite => assert_eq!(error, "coordinate is invalid"),
                BadCoordinate::RoundTrip(_) => assert!(error.starts_with("round trip time not in valid")),
                why => panic!("{name} {i}: {why}"),
            }
            assert!(same(me.coordinate(), &place(&step["unchanged"]).unwrap()), "{name} {i}");
            continue;
        }
        let (ours, theirs) = (result.unwrap(), place::<D>(&step["result"]).unwrap());
        if let Some(resets) = step["resets"].as_u64() {
            if resets == 2 {
                // B40: the second reset is the same fault once more, which is not forgotten there.
                assert_eq!((name, me.resets()), ("sequence/reset-on-overflow", 1));
                assert!(ours != Coordinate::default() && ours.check().is_ok());
                continue;
            }
            assert_eq!(me.resets(), resets, "{name} {i}");
        }
        if entry["random_direction"] == true {
            assert_eq!((ours.error, ours.height), (theirs.error, theirs.height), "{name} {i}");
            assert!((ours.adjustment - theirs.adjustment).abs() < 1e-9, "{name} {i}");
            assert!((length(&ours) - length(&theirs)).abs() < 1e-9, "{name} {i}");
            continue;
        }
        assert!(same(&ours, &theirs), "{name} {i}: {ours:?} is not {theirs:?}");
        if let Some(ns) = step["distance_after_ns"].as_u64() {
            assert_eq!(ours.distance_to(&there), Duration::from_nanos(ns), "{name} {i}");
        }
    }
}

#[test]
fn every_sequence_of_updates_leads_where_it_leads_the_reference() {
    let mut count = 0;
    for entry in entries().iter().filter(|entry| entry["name"].as_str().unwrap().starts_with("sequence/")) {
        let config = &entry["config"];
        match (config["Dimensionality"].as_u64(), config["LatencyFilterSize"].as_u64()) {
            (Some(8), Some(3)) => replay::<8, 3>(entry),
            (Some(8), Some(5)) => replay::<8, 5>(entry),
            (Some(2), Some(3)) => replay::<2, 3>(entry),
            other => panic!("{other:?}"),
        }
        count += 1;
    }
    assert_eq!(count, 11);
}

#[test]
fn the_defaults_are_the_references() {
    let all = entries();
    let entry = all.iter().find(|entry| entry["name"] == "default-config").unwrap();
    assert_eq!(tuning(&entry["config"]), Tuning::default());
    assert!(same(&Coordinate::<8>::default(), &place(&entry["new_coordinate"]).unwrap()));
}

#[test]
fn distances_are_the_references() {
    let all = entries();
    let cases = all.iter().find(|entry| entry["name"] == "distance_to").unwrap()["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let (a, b) = (place::<8>(&case["a"]).unwrap(), place(&case["b"]).unwrap());
        let want = Duration::from_nanos(case["distance_ns"].as_u64().unwrap());
        assert_eq!((a.distance_to(&b), b.distance_to(&a)), (want, want));
    }
}

#[test]
fn forces_move_as_at_the_reference() {
    let all = entries();
    let cases = all.iter().find(|entry| entry["name"] == "apply_force").unwrap()["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    let rng = &mut Rng::from_seed([2; 32]);
    for case in cases {
        let (at, other) = (place::<8>(&case["coord"]).unwrap(), place(&case["other"]).unwrap());
        let moved = at.apply_force(&Tuning::default(), bits(&case["force_bits"]), &other, rng);
        assert!(same(&moved, &place(&case["result"]).unwrap()));
    }
}
