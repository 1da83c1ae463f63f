//! Coordinates in a cluster: from nothing but acks every node learns how far away the others are.

use std::time::Duration;

use crate::cluster::{Cluster, quick};

const MS: Duration = Duration::from_millis(1);

/// A.8
#[test]
fn two_nodes_learn_where_the_other_is_and_forget_it_with_the_other() {
    let mut c = Cluster::new(901);
    let (a, b) = (c.add("a"), c.add("b"));
    let fresh = c.node(a).coordinate().unwrap();
    assert!(fresh.distance_to(&c.node(b).coordinate().unwrap()) <= Duration::from_micros(20));
    assert_eq!(c.join(b, a), 1);
    c.until("both have measured the other", |c| {
        c.node(a).cached_coordinate(b"b").is_some() && c.node(b).cached_coordinate(b"a").is_some()
    });
    for (at, name) in [(a, b"a"), (b, b"b")] {
        let own = c.node(at).coordinate();
        assert_ne!(own, Some(fresh));
        assert_eq!(c.node(at).cached_coordinate(name), own);
    }
    c.kill(b);
    c.until("it is seen to fail", |c| c.status(a, "b") == serf_core::Status::Failed);
    assert!(c.node(a).cached_coordinate(b"b").is_some());
    assert_eq!(c.force_leave(a, "b", true), serf_core::Outcome::Ok);
    c.until("it is forgotten", |c| c.node(a).member(b"b").is_none());
    assert_eq!(c.node(a).cached_coordinate(b"b"), None);
}

#[test]
fn a_node_without_coordinates_lives_among_those_with_them() {
    let mut c = Cluster::new(902);
    let a = c.add("a");
    let mut without = quick("b", 2);
    without.disable_coordinates = true;
    let b = c.add_with(without);
    let d = c.add("d");
    assert_eq!((c.join(b, a), c.join(d, a)), (1, 1));
    c.until("the others have measured each other", |c| {
        c.node(a).cached_coordinate(b"d").is_some() && c.node(d).cached_coordinate(b"a").is_some()
    });
    c.run(Duration::from_secs(5));
    assert_eq!(c.node(a).cached_coordinate(b"b"), None);
    assert_eq!((c.node(b).coordinate(), c.node(b).cached_coordinate(b"a")), (None, None));
    for at in [a, b, d] {
        assert_eq!((c.alive(at), c.node(at).stats().rejected_coordinates), (3, 0));
    }
}

/// Nodes in a line, neighbours two milliseconds apart there and back, in clusters of 2 to 20.
#[test]
fn estimates_come_close_to_the_round_trips_of_the_network() {
    for n in [2, 5, 20] {
        let mut c = Cluster::new(903);
        c.latency = |a, b| MS * a.abs_diff(b) as u32;
        for i in 0..n {
            let mut config = quick(&i.to_string(), i as u8 + 1);
            // The farthest take 38 ms.
            config.gossip.probe_interval = 100 * MS;
            config.gossip.probe_timeout = 50 * MS;
            c.add_with(config);
        }
        for i in 1..n {
            assert_eq!(c.join(i, 0), 1);
        }
        c.run(Duration::from_secs(60));
        let (mut sum, mut pairs) = (0.0, 0);
        for a in 0..n {
            for b in a + 1..n {
                let truth = 2 * MS * (b - a) as u32;
                let theirs = c.node(a).cached_coordinate(b.to_string().as_bytes()).unwrap();
                let estimate = c.node(a).coordinate().unwrap().distance_to(&theirs);
                let error = estimate.abs_diff(truth).as_secs_f64() / truth.as_secs_f64();
                assert!(error < 0.5, "{a} to {b}: {estimate:?}, and it is {truth:?}");
                sum += error;
                pairs += 1;
            }
            assert_eq!(c.node(a).vitals().coordinate_resets, Some(0));
            assert_eq!(c.node(a).stats().rejected_coordinates, 0);
        }
        let mean = sum / f64::from(pairs);
        assert!(mean < 0.03, "{mean} in the mean of {n}");
    }
}
