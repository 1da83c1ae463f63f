//! Each experiment in small, with what it must show at any size.

use serde_json::Value;
use serf_sim::args::Args;
use serf_sim::experiment::{COMMON, EXPERIMENTS};
use serf_sim::report;

/// The rows of an experiment.
fn rows(name: &str, flags: &[&str]) -> Vec<Value> {
    let experiment = EXPERIMENTS.iter().find(|e| e.name == name).unwrap();
    let given = flags.iter().map(|flag| (*flag).to_owned());
    let args = Args::parse(&[experiment.flags, COMMON, report::FLAGS], given).unwrap();
    let report = (experiment.run)(&args).unwrap();
    assert!(report.table().lines().count() >= 3);
    report.json(&args)["rows"].as_array().unwrap().clone()
}

fn number(row: &Value, column: &str) -> f64 {
    row[column].as_f64().unwrap_or_else(|| panic!("{column}: {row}"))
}

#[test]
fn a_crash_is_detected_by_all_soon_after_the_first() {
    for row in rows("detect", &["--sizes=5,30", "--runs=4"]) {
        let (first, all) = (number(&row, "first, mean s"), number(&row, "all, mean s"));
        assert!(2.0 < first && first <= all && all < 30.0, "{row}");
        assert_eq!(row["not by all"], 0);
    }
}

#[test]
fn news_reaches_all_and_loss_makes_it_slower() {
    let rows = rows("converge", &["--sizes=25", "--losses=0,0.5", "--runs=4"]);
    assert_eq!(rows.len(), 6);
    let events: Vec<f64> =
        rows.iter().filter(|r| r["what"] == "event").map(|r| number(r, "99 %, s")).collect();
    assert!(events[0] < events[1] && events[0] < 2.0, "{events:?}");
    assert!(rows.iter().all(|row| number(row, "all, s") < 1800.0));
}

#[test]
fn a_cluster_is_born() {
    let row = &rows("bootstrap", &["--sizes=25", "--runs=2"])[0];
    assert!(number(row, "all agree, s") < 60.0 && number(row, "sizes reported") <= 25.0, "{row}");
}

#[test]
fn bad_connections_do_not_hurt_good_nodes() {
    for row in rows("flip", &["--sizes=20,50", "--share=0.02", "--for=60s"]) {
        assert_eq!(row["healthy ones declared dead, times"], 0, "{row}");
    }
}

#[test]
fn a_storm_of_leaves_settles() {
    let row = &rows("storm", &["--sizes=40"])[0];
    assert!(
        number(row, "all know, s") <= number(row, "queues empty, s")
            && number(row, "longest intent queue") <= 4.0
    );
}

#[test]
fn halves_find_together_again() {
    let row = &rows("partition", &["--sizes=8", "--for=5m", "--runs=2"])[0];
    assert!(number(row, "first contact, s") <= number(row, "one view, s"), "{row}");
}

#[test]
fn the_dead_are_known_dead_in_the_end_whatever_a_suspended_machine_remembers() {
    for row in rows("revive", &["--sizes=8", "--for=10s,3m", "--runs=2"]) {
        assert!(row["known dead for good, s"].is_number(), "{row}");
    }
}

#[test]
fn coordinates_find_a_plane_and_no_map_where_there_is_none() {
    let rows = rows("coordinates", &["--sizes=20", "--for=4m"]);
    let last = |world: &str| rows.iter().rfind(|row| row["world"] == world).unwrap();
    assert!(number(last("plane, 100 ms wide"), "error, median %") < 10.0);
    assert!(number(last("heavy tail"), "error, median %") > 20.0);
}

#[test]
fn lifeguard_spares_the_healthy() {
    // How the nodes stall, how long between, and how many times fewer false positives there must be.
    for (how, gap, times) in [("--how=blocked", "--gaps=256ms", 4.0), ("--how=deaf", "--gaps=4s", 20.0)] {
        let flags = ["--nodes=32", "--stalled=8", "--stalls=16s", gap, "--for=120s", how];
        let rows = rows("lifeguard", &flags);
        let of = |variant: &str, column: &str| {
            number(rows.iter().find(|row| row["variant"] == variant).unwrap(), column)
        };
        let all = |variant: &str| of(variant, "false positives");
        assert!(all("SWIM") > 20.0 && all("Lifeguard") * times < all("SWIM"), "{how}: {rows:#?}");
        assert!(all("LHA-Probe") < all("SWIM") && all("LHA-Suspicion") < all("SWIM"), "{how}: {rows:#?}");
        assert!(
            of("Lifeguard", "at healthy members") <= of("SWIM", "at healthy members"),
            "{how}: {rows:#?}"
        );
    }
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_another() {
    let told = |seed: &str, runs: &str| {
        let rows = rows("repeat", &["--nodes=100", seed, runs]);
        assert!(number(&rows[0], "delivered") > 1000.0 && number(&rows[0], "lost") > 100.0);
        rows.iter().map(|row| row["digest"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (one, another) = (told("--seed=1", "--runs=2"), told("--seed=2", "--runs=1"));
    assert!(one[0] == one[1] && one[0] != another[0], "{one:?} {another:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let storm = EXPERIMENTS.iter().find(|e| e.name == "detect").unwrap();
    let args = Args::parse(&[storm.flags, COMMON, report::FLAGS], ["--sizes=1".to_owned()]).unwrap();
    assert!((storm.run)(&args).unwrap_err().0.contains("--sizes \"1\""));
}
