//! The formulas against tables computed by the reference (spec, appendix C.5).

use std::time::Duration;

use serde_json::Value;
use serf_gossip::suspicion::{shortest, timeout};
use serf_gossip::{push_pull_scale, retransmit_limit};

fn rows(name: &str) -> Vec<Vec<i64>> {
    let all: Value = serde_json::from_str(include_str!("../../testdata/math.json")).unwrap();
    let table = all.as_array().unwrap().iter().find(|t| t["name"] == name).unwrap();
    let row = |row: &Value| row.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
    table["rows"].as_array().unwrap().iter().map(row).collect()
}

fn nanos(n: i64) -> Duration {
    Duration::from_nanos(n as u64)
}

/// BQ13
#[test]
fn broadcasts_are_sent_as_often_as_by_the_reference() {
    let rows = rows("retransmit_limit");
    assert!(rows.len() > 100);
    for row in rows {
        assert_eq!(i64::from(retransmit_limit(row[0] as u32, row[1] as usize)), row[2], "{row:?}");
    }
    for (n, limit) in [(0, 0), (1, 3), (99, 6)] {
        assert_eq!(retransmit_limit(3, n), limit);
    }
}

/// LS7
#[test]
fn push_pulls_are_spread_as_by_the_reference() {
    let rows = rows("push_pull_scale");
    assert!(rows.len() > 50);
    for row in rows {
        assert_eq!(nanos(row[0]) * push_pull_scale(row[1] as usize), nanos(row[2]), "{row:?}");
    }
    for (n, scale) in [(0, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3)] {
        assert_eq!(push_pull_scale(n), scale);
    }
}

#[test]
fn suspicions_last_as_long_as_at_the_reference() {
    let rows = rows("suspicion_timeout");
    assert!(rows.len() > 100);
    for row in rows {
        assert_eq!(shortest(row[0] as u32, row[1] as usize, nanos(row[2])), nanos(row[3]), "{row:?}");
    }
}

#[test]
fn confirmations_shorten_suspicions_as_at_the_reference() {
    let rows = rows("remaining_suspicion_time");
    assert!(rows.len() > 50);
    for row in rows {
        let left =
            timeout(row[0] as u32, row[1] as u32, nanos(row[3]), nanos(row[4])).as_nanos() as i64 - row[2];
        assert_eq!(left, row[5], "{row:?}");
    }
}
