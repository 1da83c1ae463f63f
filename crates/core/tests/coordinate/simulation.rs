//! Networks whose round trips are known (spec `serf.md` A.9, second half). The limits are the reference's, which hold
//! for one stream of random numbers there and for most here: of several streams the median must be within them.

use std::time::Duration;

use serf_core::coordinate::{Coordinate, Latencies, Tuning, Vivaldi};
use serf_gossip::Rng;

const MS: f64 = 1.0e-3;
/// How many streams of random numbers the median is taken of.
const STREAMS: u64 = 9;

/// Nodes, and the round trips between them in seconds.
struct Network<const D: usize> {
    nodes: Vec<Vivaldi<D>>,
    truth: Vec<Vec<f64>>,
    latencies: Vec<Vec<Latencies>>,
    draws: Rng,
}

impl<const D: usize> Network<D> {
    fn new(stream: u64, n: usize, mut truth: impl FnMut(usize, usize) -> f64) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&stream.to_le_bytes());
        let mut draws = Rng::from_seed(seed);
        let mut rows = vec![vec![0.0; n]; n];
        for (i, j) in pairs(n) {
            rows[i][j] = truth(i, j);
            rows[j][i] = rows[i][j];
        }
        Self {
            nodes: (0..n).map(|_| Vivaldi::new(Tuning::default(), Rng::from_seed(draws.seed()))).collect(),
            truth: rows,
            latencies: vec![vec![Latencies::default(); n]; n],
            draws,
        }
    }

    fn run(&mut self, cycles: usize) {
        let n = self.nodes.len();
        for _ in 0..cycles {
            for i in 0..n {
                let j = self.draws.below(n);
                if j == i {
                    continue;
                }
                let there = *self.nodes[j].coordinate();
                // Cut to nanoseconds, as time is measured.
                let rtt = Duration::from_nanos((self.truth[i][j] * 1e9) as u64);
                self.nodes[i].update(&mut self.latencies[i][j], &there, rtt).unwrap();
            }
        }
        assert!(self.nodes.iter().all(|node| node.resets() == 0));
    }

    /// Mean and largest relative error of all estimates.
    fn errors(&self) -> (f64, f64) {
        let (mut sum, mut max, mut count) = (0.0, 0.0_f64, 0);
        for (i, j) in pairs(self.nodes.len()) {
            let estimate = self.nodes[i].coordinate().distance_to(self.nodes[j].coordinate());
            let error = (estimate.as_secs_f64() - self.truth[i][j]).abs() / self.truth[i][j];
            sum += error;
            max = max.max(error);
            count += 1;
        }
        (sum / f64::from(count), max)
    }
}

/// Each pair once, the smaller first.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a network with several streams; the medians of the errors must be within the limits.
fn converges<const D: usize>(
    n: usize,
    limits: (f64, f64),
    truth: impl Fn(usize, usize, &mut Rng) -> f64,
) -> Vec<Network<D>> {
    let runs: Vec<Network<D>> = (0..STREAMS)
        .map(|stream| {
            let mut draws = Rng::from_seed([stream as u8; 32]);
            let mut network = Network::new(stream, n, |i, j| truth(i, j, &mut draws));
            network.run(1000);
            network
        })
        .collect();
    let (mean, max) = runs.iter().map(Network::errors).unzip();
    let (mean, max) = (median(mean), median(max));
    assert!(mean <= limits.0 && max <= limits.1, "errors of {mean} in the mean and {max} at most");
    runs
}

#[test]
fn nodes_in_a_line_find_their_places() {
    converges::<8>(10, (0.0031, 0.0130), |i, j, _| (j - i) as f64 * 10.0 * MS);
}

#[test]
fn nodes_in_a_grid_find_their_places() {
    let at = |i: usize| ((i % 5) as f64, (i / 5) as f64);
    converges::<8>(25, (0.0016, 0.0230), |i, j, _| {
        let ((x1, y1), (x2, y2)) = (at(i), at(j));
        (x1 - x2).hypot(y1 - y2) * 10.0 * MS
    });
}

#[test]
fn two_groups_far_apart_are_told_apart() {
    converges::<8>(25, (0.000_060, 0.000_48), |i, j, _| if (i <= 12) == (j <= 12) { MS } else { 11.0 * MS });
}

#[test]
fn a_node_with_a_long_way_to_everybody_is_high() {
    let at = |i: usize| {
        let angle = std::f64::consts::TAU * i as f64 / 25.0;
        (100.0 * MS * angle.cos(), 100.0 * MS * angle.sin())
    };
    // The limits of the mean hold for one stream of six (spec A.9), its median being 0.00323.
    let runs = converges::<2>(25, (0.0036, 0.064), |i, j, _| {
        let ((x1, y1), (x2, y2)) = (at(i), at(j));
        if i == 0 { 200.0 * MS } else { (x1 - x2).hypot(y1 - y2) }
    });
    let height = |network: &Network<2>, i: usize| network.nodes[i].coordinate().height;
    let highest = median(runs.iter().map(|network| height(network, 0)).collect());
    let others = |network: &Network<2>| (1..25).map(|i| height(network, i)).fold(0.0, f64::max);
    let others = median(runs.iter().map(others).collect());
    assert!(highest >= 97.0 * MS && others <= 3.0 * MS, "{highest} and {others}");
}

#[test]
fn gravity_holds_a_cluster_at_the_origin() {
    let (dist, corners) = (500.0 * MS, [[0.0, 0.0], [0.0, 0.5], [0.5, 0.5], [0.5, 0.5]]);
    let centre = |network: &Network<2>| {
        let axis = |axis: usize| {
            let all = network.nodes.iter().map(|node| node.coordinate().vec[axis]);
            (all.clone().fold(f64::MAX, f64::min) + all.fold(f64::MIN, f64::max)) / 2.0
        };
        axis(0).hypot(axis(1))
    };
    let ratios = (0..STREAMS).map(|stream| {
        let diagonal = |i, j| if (i, j) == (0, 2) { dist * std::f64::consts::SQRT_2 } else { dist };
        let mut network = Network::<2>::new(stream, 4, diagonal);
        for (node, vec) in network.nodes.iter_mut().zip(corners) {
            node.set_coordinate(Coordinate { vec, ..Coordinate::default() }).unwrap();
        }
        network.run(1000);
        let before = centre(&network);
        network.run(10_000);
        centre(&network) / before
    });
    let ratio = median(ratios.collect());
    assert!(ratio <= 0.8, "{ratio}");
}

#[test]
fn round_trips_without_any_order_are_estimated_roughly() {
    converges::<8>(25, (0.075, 0.33), |_, _, draws| {
        // A sum of twelve draws is close to a normal distribution.
        let normal = (0..12).map(|_| draws.unit()).sum::<f64>() - 6.0;
        (100.0 + 10.0 * normal) * MS
    });
}
