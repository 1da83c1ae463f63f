//! A story for a cluster: its nodes, its network, and what is done to them when. Drawn from a seed, so that the seed and
//! the numbers of the acts that are kept are all it takes to tell it again.

use std::fmt;
use std::time::Duration;

use serf_gossip::{Instant, Rng};

use crate::host::Stall;
use crate::network::{At, Fault, Latency, Link, Network};
use crate::sim::draws;

/// How long after the beginning acts begin: by then the cluster has formed.
pub(crate) const FORMING: Duration = Duration::from_secs(20);

/// Something that is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A process ends without a word.
    Kill(At),
    /// A machine loses its power.
    PowerOff(At),
    /// One that is down starts again. Without a file that tells it whom to call it joins the others.
    Start(At),
    /// One stops working for a while.
    Stall(At, Stall, Duration),
    /// One takes this long over each thing that comes, for 20 seconds.
    Slow(At, Duration),
    /// A clock runs faster or slower, in parts per million.
    Pace(At, i32),
    /// One leaves, and its process ends ten seconds later.
    Leave(At),
    /// One declares that another has left; the flag has it forgotten.
    ForceLeave(At, At, bool),
    /// One changes its tags.
    Tags(At),
    /// One fires a user event.
    Event(At),
    /// One asks everybody.
    Query(At),
    /// One direction is cut.
    Cut(At, At),
    /// The cluster is cut in two, by the bits of a number.
    Split(u32),
    /// A node's connection goes bad: share lost of what it sends, and of what is sent to it.
    Bad(At, f64, f64),
    /// The whole network loses this share.
    Loss(f64),
    /// All of that is mended.
    Heal,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(a) => write!(f, "kill {a}"),
            Self::PowerOff(a) => write!(f, "power off {a}"),
            Self::Start(a) => write!(f, "start {a}"),
            Self::Stall(a, how, time) => write!(f, "stall {a} for {time:.1?}, {how:?}"),
            Self::Slow(a, time) => write!(f, "slow {a}: {time:.1?} for each message"),
            Self::Pace(a, ppm) => write!(f, "clock of {a}: {ppm:+} ppm"),
            Self::Leave(a) => write!(f, "leave {a}"),
            Self::ForceLeave(a, b, prune) => {
                write!(f, "{a} force-leaves {b}{}", if *prune { " and prunes it" } else { "" })
            }
            Self::Tags(a) => write!(f, "{a} changes its tags"),
            Self::Event(a) => write!(f, "{a} fires an event"),
            Self::Query(a) => write!(f, "{a} asks"),
            Self::Cut(a, b) => write!(f, "cut {a} -> {b}"),
            Self::Split(bits) => write!(f, "split {bits:b}"),
            Self::Bad(a, o, i) => write!(f, "bad connection of {a}: loses {o:.1} out, {i:.1} in"),
            Self::Loss(loss) => write!(f, "the network loses {loss:.2}"),
            Self::Heal => f.write_str("heal"),
        }
    }
}

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it was drawn from.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// The network between them.
    pub link: Link,
    /// Whether failed and left members are forgotten within a minute or two instead of a day.
    pub forgetful: bool,
    /// Whether nodes keep a snapshot file, and go on from it when they start again.
    pub files: bool,
    /// What is done, and when.
    pub acts: Vec<(Instant, Act)>,
    /// A mistake that all nodes make.
    #[cfg(feature = "planted")]
    pub planted: Option<serf_gossip::Planted>,
}

impl Scenario {
    /// The story of a seed, with at most so many nodes.
    #[must_use]
    pub fn draw(seed: u64, most: usize) -> Self {
        let mut rng = draws(seed, 0x7363_656e, 0);
        let nodes = 3 + rng.below(most.max(3) - 2);
        let link = link(&mut rng);
        let forgetful = rng.below(4) == 0;
        let mut at = Instant::ZERO + FORMING;
        let count = 5 + rng.below(40);
        let mut acts = Vec::with_capacity(count);
        // Some stories are of one kind of trouble, most of many.
        let theme = (rng.below(3) == 0).then(|| rng.below(5));
        for _ in 0..count {
            at += Duration::from_millis(rng.below(6000) as u64);
            acts.push((at, act(&mut rng, nodes, theme)));
        }
        Self {
            seed,
            nodes,
            link,
            forgetful,
            files: rng.below(2) == 0,
            acts,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// The same with these acts only, by their numbers.
    #[must_use]
    pub fn keeping(&self, kept: &[usize]) -> Self {
        let acts = kept.iter().filter_map(|i| self.acts.get(*i).cloned()).collect();
        Self { acts, ..self.clone() }
    }

    /// When the last thing is done.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.acts.last().map_or(Instant::ZERO + FORMING, |(at, _)| *at)
    }

    /// The network at the beginning.
    #[must_use]
    pub fn network(&self) -> Network {
        Network::flat(self.link.clone())
    }
}

fn link(rng: &mut Rng) -> Link {
    let ms = Duration::from_millis;
    let latency = match rng.below(4) {
        0 => Latency::Fixed(Duration::from_micros(200)),
        1 => Latency::Uniform(ms(1), ms(30)),
        2 => Latency::Normal { mean: ms(20), deviation: ms(8) },
        _ => Latency::LogNormal { median: ms(15), sigma: 0.8 },
    };
    Link {
        latency,
        jitter: [Duration::ZERO, ms(2)][rng.below(2)],
        loss: [0.0, 0.0, 0.01, 0.05][rng.below(4)],
        duplication: [0.0, 0.0, 0.05][rng.below(3)],
        reordering: [0.0, 0.0, 0.1][rng.below(3)],
        bandwidth: None,
        mtu: None,
    }
}

fn act(rng: &mut Rng, nodes: usize, theme: Option<usize>) -> Act {
    let at = rng.below(nodes);
    let other = (at + 1 + rng.below(nodes - 1)) % nodes;
    let kind = match theme {
        // Coming and going; a bad network; slow processes; operators; everything at rest but events.
        Some(0) => [0, 0, 1, 2, 2, 2, 6, 8][rng.below(8)],
        Some(1) => [11, 11, 12, 12, 13, 14, 15, 15, 9][rng.below(9)],
        Some(2) => [3, 3, 3, 4, 5, 9, 10][rng.below(7)],
        Some(3) => [6, 7, 7, 8, 2, 0, 9][rng.below(7)],
        Some(_) => [8, 9, 9, 10][rng.below(4)],
        None => rng.below(18),
    };
    match kind {
        0 => Act::Kill(at),
        1 => Act::PowerOff(at),
        2 => Act::Start(at),
        3 => {
            let how = [Stall::Frozen, Stall::Deaf][rng.below(2)];
            Act::Stall(at, how, Duration::from_millis(100 << rng.below(10)))
        }
        4 => Act::Slow(at, Duration::from_millis(1 << rng.below(9))),
        5 => Act::Pace(at, [-100_000, -500, 500, 100_000][rng.below(4)]),
        6 => Act::Leave(at),
        7 => Act::ForceLeave(at, other, rng.below(3) == 0),
        8 => Act::Tags(at),
        10 => Act::Query(at),
        11 => Act::Cut(at, other),
        12 => Act::Split(rng.next_u32()),
        13 => Act::Bad(at, [0.0, 0.8, 1.0][rng.below(3)], [0.0, 0.8, 1.0][rng.below(3)]),
        14 => Act::Loss([0.0, 0.1, 0.3][rng.below(3)]),
        15 => Act::Heal,
        _ => Act::Event(at),
    }
}

/// Does to a network what an act asks for.
pub(crate) fn change_network(act: &Act, nodes: usize, network: &mut Network) {
    match *act {
        Act::Cut(a, b) => network.cut(a, b),
        Act::Split(bits) => (0..nodes).for_each(|at| network.set_part(at, bits >> (at % 32) & 1)),
        Act::Bad(at, loss_out, loss_in) => network.set_fault(at, Fault { loss_out, loss_in }),
        Act::Loss(loss) => network.change(|link| link.loss = loss),
        Act::Heal => {
            network.heal();
            network.change(|link| link.loss = 0.0);
        }
        _ => {}
    }
}
