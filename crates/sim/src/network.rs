//! The network: how long what is sent takes, and what becomes of it. Zones of nodes with a link for each pair of them,
//! and on top of that what is wrong with single nodes and with single directions between two of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serf_gossip::Rng;

/// A node's place in the cluster: 0 for the first that was added.
pub type At = usize;

/// How a time is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Anything between the two, all of it equally likely.
    Uniform(Duration, Duration),
    /// Around a mean; never less than nothing.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
    /// A heavy tail: half of the draws are above the median, few of them far above.
    LogNormal {
        /// The median.
        median: Duration,
        /// Standard deviation of the logarithm: 0.5 is moderate, 1 is wild.
        sigma: f64,
    },
}

impl Latency {
    /// One draw.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Fixed(time) => time,
            Self::Uniform(least, most) => least + rng.duration(most.saturating_sub(least)),
            Self::Normal { mean, deviation } => {
                let seconds = mean.as_secs_f64() + deviation.as_secs_f64() * normal(rng);
                Duration::from_secs_f64(seconds.max(0.0))
            }
            Self::LogNormal { median, sigma } => {
                // Not the platform's exponential: the same seed is to tell the same story everywhere.
                median.mul_f64(libm::exp(sigma * normal(rng)).min(1e3))
            }
        }
    }
}

/// Box and Muller, one of the two.
fn normal(rng: &mut Rng) -> f64 {
    let (a, b) = (1.0 - rng.unit(), rng.unit());
    libm::sqrt(-2.0 * libm::log(a)) * libm::cos(std::f64::consts::TAU * b)
}

/// What becomes of what is sent from one zone to another. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The time that everything takes.
    pub latency: Latency,
    /// Added to it, drawn anew each time. Streams keep their order nevertheless.
    pub jitter: Duration,
    /// Share of packets that are lost. Of streams too: there they are sent again, which takes time.
    pub loss: f64,
    /// Share of datagrams that come twice.
    pub duplication: f64,
    /// Share of datagrams held up for some times the latency, so that later ones overtake them.
    pub reordering: f64,
    /// Bytes a second that a node may send over such links, all of them together. None for no limit.
    pub bandwidth: Option<u64>,
    /// Longer datagrams are lost, in bytes of payload. None for no limit.
    pub mtu: Option<usize>,
}

impl Link {
    /// Half a millisecond and a little, nothing lost.
    #[must_use]
    pub fn lan() -> Self {
        Self {
            latency: Latency::Fixed(Duration::from_micros(300)),
            jitter: Duration::from_micros(200),
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            bandwidth: None,
            mtu: None,
        }
    }

    /// The same with so much loss.
    #[must_use]
    pub fn lossy(loss: f64) -> Self {
        Self { loss, ..Self::lan() }
    }

    /// The time for one packet, without what bandwidth adds.
    pub(crate) fn time(&self, rng: &mut Rng) -> Duration {
        let time = self.latency.draw(rng);
        if self.jitter.is_zero() { time } else { time + rng.duration(self.jitter) }
    }
}

/// What is wrong with one node's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fault {
    /// Share of the packets sent by it that are lost.
    pub loss_out: f64,
    /// Share of the packets sent to it that are lost.
    pub loss_in: f64,
}

/// A time that depends on who talks to whom, besides the link's: places on a map, say. From 0 it must be symmetric for
/// round trips to mean anything.
pub type Distance = Arc<dyn Fn(At, At) -> Duration + Send + Sync>;

/// Who reaches whom, and how.
pub struct Network {
    zones: usize,
    /// From each zone to each.
    links: Vec<Link>,
    /// Of each node: its zone, its partition, what is wrong with it.
    nodes: Vec<Place>,
    /// Directions in which nothing comes through.
    cuts: BTreeSet<(At, At)>,
    distance: Option<Distance>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    zone: usize,
    part: u32,
    fault: Fault,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("links", &self.links)
            .field("cuts", &self.cuts)
            .finish_non_exhaustive()
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::flat(Link::lan())
    }
}

impl Network {
    /// One zone.
    #[must_use]
    pub fn flat(link: Link) -> Self {
        Self { zones: 1, links: vec![link], nodes: Vec::new(), cuts: BTreeSet::new(), distance: None }
    }

    /// Zones, each with one link within itself and one to every other; `link(from, to)` tells which.
    #[must_use]
    pub fn zoned(zones: usize, mut link: impl FnMut(usize, usize) -> Link) -> Self {
        let zones = zones.max(1);
        let links = (0..zones * zones).map(|i| link(i / zones, i % zones)).collect();
        Self { zones, links, ..Self::flat(Link::lan()) }
    }

    /// Adds to each way a time that depends on both ends.
    pub fn set_distance(&mut self, distance: Distance) {
        self.distance = Some(distance);
    }

    /// Changes every link.
    pub fn change(&mut self, change: impl FnMut(&mut Link)) {
        self.links.iter_mut().for_each(change);
    }

    /// Puts a node into a zone.
    ///
    /// # Panics
    /// If there is no such zone.
    pub fn set_zone(&mut self, at: At, zone: usize) {
        assert!(zone < self.zones, "zone {zone} of {}", self.zones);
        self.place(at).zone = zone;
    }

    /// What is wrong with a node's connection.
    pub fn set_fault(&mut self, at: At, fault: Fault) {
        self.place(at).fault = fault;
    }

    /// Nodes of different parts do not reach each other. All are in part 0 at first.
    pub fn set_part(&mut self, at: At, part: u32) {
        self.place(at).part = part;
    }

    /// Nothing comes through from one to the other any more; the other way is not touched.
    pub fn cut(&mut self, from: At, to: At) {
        self.cuts.insert((from, to));
    }

    /// It does again.
    pub fn mend(&mut self, from: At, to: At) {
        self.cuts.remove(&(from, to));
    }

    /// No parts, no cuts, nothing wrong with any node. Links stay as they are.
    pub fn heal(&mut self) {
        self.cuts.clear();
        for place in &mut self.nodes {
            *place = Place { zone: place.zone, ..Place::default() };
        }
    }

    fn place(&mut self, at: At) -> &mut Place {
        if self.nodes.len() <= at {
            self.nodes.resize(at + 1, Place::default());
        }
        &mut self.nodes[at]
    }

    fn of(&self, at: At) -> Place {
        self.nodes.get(at).copied().unwrap_or_default()
    }

    /// The link from one node to another.
    #[must_use]
    pub fn link(&self, from: At, to: At) -> &Link {
        &self.links[self.of(from).zone * self.zones + self.of(to).zone]
    }

    /// Share of the packets from one node to another that are lost.
    #[must_use]
    pub fn loss(&self, from: At, to: At) -> f64 {
        let (a, b) = (self.of(from), self.of(to));
        if a.part != b.part || (!self.cuts.is_empty() && self.cuts.contains(&(from, to))) {
            return 1.0;
        }
        1.0 - (1.0 - self.link(from, to).loss) * (1.0 - a.fault.loss_out) * (1.0 - b.fault.loss_in)
    }

    /// The time for a packet from one node to another.
    pub(crate) fn time(&self, from: At, to: At, rng: &mut Rng) -> Duration {
        let time = self.link(from, to).time(rng);
        match &self.distance {
            Some(distance) => time + distance(from, to),
            None => time,
        }
    }
}

/// Whether chance has it, with this probability.
pub(crate) fn chance(rng: &mut Rng, probability: f64) -> bool {
    probability > 0.0 && (probability >= 1.0 || rng.unit() < probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_as_their_names_say() {
        let mut rng = Rng::from_seed([3; 32]);
        let ms = Duration::from_millis;
        let mean = |latency: Latency, rng: &mut Rng| {
            (0..20_000).map(|_| latency.draw(rng).as_secs_f64()).sum::<f64>() / 20_000.0
        };
        assert_eq!(Latency::Fixed(ms(7)).draw(&mut rng), ms(7));
        let uniform = mean(Latency::Uniform(ms(10), ms(30)), &mut rng);
        assert!((0.0198..0.0202).contains(&uniform), "{uniform}");
        let normal = mean(Latency::Normal { mean: ms(50), deviation: ms(5) }, &mut rng);
        assert!((0.0495..0.0505).contains(&normal), "{normal}");
        // The mean of a log-normal is the median times e^(sigma²/2).
        let heavy = mean(Latency::LogNormal { median: ms(40), sigma: 0.5 }, &mut rng);
        assert!((0.0440..0.0466).contains(&heavy), "{heavy}");
    }

    #[test]
    fn faults_add_up_and_one_way_cuts_are_one_way() {
        let mut network = Network::flat(Link::lossy(0.5));
        network.set_fault(1, Fault { loss_out: 0.5, loss_in: 0.0 });
        assert_eq!((network.loss(0, 2), network.loss(1, 2), network.loss(2, 1)), (0.5, 0.75, 0.5));
        network.cut(0, 2);
        assert_eq!((network.loss(0, 2), network.loss(2, 0)), (1.0, 0.5));
        network.set_part(3, 1);
        assert_eq!((network.loss(3, 0), network.loss(0, 3)), (1.0, 1.0));
        network.heal();
        assert_eq!((network.loss(0, 2), network.loss(1, 2), network.loss(3, 0)), (0.5, 0.5, 0.5));
    }

    #[test]
    fn zones_have_their_links() {
        let mut network = Network::zoned(2, |a, b| Link {
            latency: Latency::Fixed(Duration::from_millis(if a == b { 1 } else { 40 })),
            jitter: Duration::ZERO,
            ..Link::lan()
        });
        network.set_zone(1, 1);
        let mut rng = Rng::from_seed([0; 32]);
        assert_eq!(network.time(0, 1, &mut rng), Duration::from_millis(40));
        assert_eq!(network.time(1, 1, &mut rng), Duration::from_millis(1));
    }
}
