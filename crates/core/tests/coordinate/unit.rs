//! The checklist of small facts (spec `serf.md` A.9, first half). Two of its lines cannot be broken here, since the
//! dimensions are part of the type: a space of none, and a distance between places of two spaces.

use std::time::Duration;

use serf_core::coordinate::{BadCoordinate, Coordinate, Latencies, REACH_MAX, RTT_MAX, Tuning, Vivaldi};
use serf_gossip::Rng;

const MS: Duration = Duration::from_millis(1);

fn rng() -> Rng {
    Rng::from_seed([3; 32])
}

/// The place where these seconds are, on no hill.
fn at<const D: usize>(vec: [f64; D]) -> Coordinate<D> {
    Coordinate { vec, ..Coordinate::new(&flat()) }
}

fn flat() -> Tuning {
    Tuning { height_min: 0.0, ..Tuning::default() }
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[track_caller]
fn assert_close<const D: usize>(a: &Coordinate<D>, vec: [f64; D], height: f64) {
    assert!(a.vec.iter().zip(vec).all(|(a, b)| is_close(*a, b)), "{a:?} is not at {vec:?}");
    assert!(is_close(a.height, height), "{a:?} is not {height} high");
}

#[test]
fn who_has_measured_nothing_is_at_the_origin() {
    let me: Vivaldi = Vivaldi::new(Tuning::default(), rng());
    let origin = Coordinate { vec: [0.0; 8], error: 1.5, adjustment: 0.0, height: 10.0e-6 };
    assert_eq!(*me.coordinate(), origin);
    assert_eq!(me.resets(), 0);
    assert_eq!(origin.distance_to(&origin), Duration::from_micros(20));
}

#[test]
fn a_peer_that_is_farther_than_thought_pushes_away() {
    let mut me: Vivaldi<3> = Vivaldi::new(flat(), rng());
    let above = at([0.0, 0.0, 0.001]);
    let rtt = me.coordinate().distance_to(&above) * 2;
    me.update(&mut Latencies::<3>::default(), &above, rtt).unwrap();
    assert!(me.coordinate().vec[2] < 0.0);
    // It goes where it is put.
    me.set_coordinate(at([0.0, 0.0, 99.0])).unwrap();
    assert_eq!(me.coordinate().vec[2], 99.0);
    assert_eq!(me.coordinate().distance_to(&at([0.0; 3])), Duration::from_secs(99));
}

#[test]
fn what_cannot_be_changes_nothing_not_even_the_latencies() {
    let mut me: Vivaldi = Vivaldi::new(Tuning::default(), rng());
    me.set_coordinate(at([0.001; 8])).unwrap();
    let good = at([0.002; 8]);
    let mut latencies = Latencies::<3>::default();
    me.update(&mut latencies, &good, MS).unwrap();
    let (place, heard) = (*me.coordinate(), latencies);
    let bad = [
        (Coordinate { error: -0.1, ..good }, MS, BadCoordinate::Negative),
        (Coordinate { height: -1e-9, ..good }, MS, BadCoordinate::Negative),
        (
            good,
            RTT_MAX + Duration::from_nanos(1),
            BadCoordinate::RoundTrip(RTT_MAX + Duration::from_nanos(1)),
        ),
        (good, Duration::MAX, BadCoordinate::RoundTrip(Duration::MAX)),
    ];
    for (there, rtt, why) in bad {
        assert_eq!(me.update(&mut latencies, &there, rtt), Err(why));
    }
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for part in 0..11 {
            let mut there = good;
            *match part {
                8 => &mut there.error,
                9 => &mut there.adjustment,
                10 => &mut there.height,
                i => &mut there.vec[i],
            } = poison;
            assert_eq!(there.check(), Err(BadCoordinate::NotFinite));
            assert_eq!(me.update(&mut latencies, &there, MS), Err(BadCoordinate::NotFinite));
            assert_eq!(me.set_coordinate(there), Err(BadCoordinate::NotFinite));
        }
    }
    assert_eq!((*me.coordinate(), latencies), (place, heard));
    assert!(me.update(&mut latencies, &good, RTT_MAX).is_ok());
    assert!(me.update(&mut latencies, &good, Duration::ZERO).is_ok());
}

#[test]
fn a_force_pushes_away_or_pulls() {
    let rng = &mut rng();
    let (origin, above) = (at([0.0; 3]), at([0.0, 0.0, 2.9]));
    assert_close(&origin.apply_force(&flat(), 5.3, &above, rng), [0.0, 0.0, -5.3], 0.0);
    let below = at([3.4, 0.0, -5.3]);
    let from = at([0.0, 0.0, -5.3]);
    assert_close(&from.apply_force(&flat(), 2.0, &below, rng), [-2.0, 0.0, -5.3], 0.0);
    // From where there is no direction, it is as far in any.
    let away = origin.apply_force(&flat(), 1.0, &origin, rng);
    assert_eq!(origin.distance_to(&away).as_secs_f64().round(), 1.0);
}

#[test]
fn heights_move_with_the_force_but_not_below_the_least() {
    let (tuning, rng) = (Tuning::default(), &mut rng());
    let (origin, above) = (Coordinate::new(&tuning), at([0.0, 0.0, 2.9]));
    let up = origin.apply_force(&tuning, 5.3, &above, rng);
    assert_close(&up, [0.0, 0.0, -5.3], 10.0e-6 + 5.3 * 10.0e-6 / 2.9);
    let down = origin.apply_force(&tuning, -5.3, &above, rng);
    assert_close(&down, [0.0, 0.0, 5.3], 10.0e-6);
}

#[test]
fn distances_have_heights_and_adjustments() {
    let (a, b) = (at([-0.5, 1.3, 2.4]), at([1.2, -2.3, 3.4]));
    let base = 4.104_875_150_354_758;
    let seconds = |a: &Coordinate<3>, b: &Coordinate<3>| a.distance_to(b).as_secs_f64();
    assert_eq!(seconds(&a, &a), 0.0);
    assert!(is_close(seconds(&a, &b), base) && is_close(seconds(&b, &a), base));
    // What would make it negative does not count.
    assert!(is_close(seconds(&Coordinate { adjustment: -1e6, ..a }, &b), base));
    let (adjusted, too) = (Coordinate { adjustment: 0.1, ..a }, Coordinate { adjustment: 0.2, ..b });
    assert!(is_close(seconds(&adjusted, &too), base + 0.3));
    let (high, higher) = (Coordinate { height: 0.7, ..a }, Coordinate { height: 0.1, ..b });
    assert!(is_close(seconds(&high, &higher), base + 0.8));
}

#[test]
fn a_distance_is_always_a_time() {
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
        let (a, b) = (at([poison; 3]), Coordinate { height: poison, ..at([0.0; 3]) });
        let _ = (a.distance_to(&b), b.distance_to(&b));
    }
    assert_eq!(at([f64::NAN; 3]).distance_to(&at([0.0; 3])), Duration::ZERO);
    assert_eq!(at([1e300; 3]).distance_to(&at([0.0; 3])), Duration::from_nanos(u64::MAX));
}

/// The reason for [`REACH_MAX`]: liars within it drag us around, but never so far that gravity throws us out of space,
/// and when they have gone we find back.
#[test]
fn no_liar_throws_us_out_of_space() {
    let mut draws = rng();
    for story in 0..20 {
        let mut me: Vivaldi = Vivaldi::new(Tuning::default(), Rng::from_seed(draws.seed()));
        for _ in 0..300 {
            let mut part = || match draws.below(4) {
                0 => REACH_MAX,
                1 => -REACH_MAX,
                2 => 0.0,
                _ => (2.0 * draws.unit() - 1.0) * REACH_MAX,
            };
            let lie: Coordinate = if story % 2 == 0 {
                let vec = core::array::from_fn(|_| part());
                Coordinate { vec, error: part().abs(), adjustment: part(), height: part().abs() }
            } else {
                // Always a step further in one direction, behind a high mountain.
                let mut vec = me.coordinate().vec;
                vec[0] = (vec[0] + 1.0).min(REACH_MAX);
                Coordinate { vec, error: 0.0, adjustment: 0.0, height: REACH_MAX }
            };
            let rtt = draws.duration(RTT_MAX);
            me.update(&mut Latencies::<3>::default(), &lie, rtt).unwrap();
            assert_eq!(me.resets(), 0);
            assert!(me.coordinate().vec.iter().all(|x| x.abs() < 45_000.0), "{:?}", me.coordinate());
        }
        let mut latencies = Latencies::<3>::default();
        let honest = Coordinate { error: 0.1, ..Coordinate::default() };
        for _ in 0..2000 {
            me.update(&mut latencies, &honest, 20 * MS).unwrap();
        }
        let estimate = me.coordinate().distance_to(&honest);
        assert!(estimate.abs_diff(20 * MS) < 2 * MS, "{estimate:?}");
    }
}
