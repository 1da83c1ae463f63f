//! The cluster: a simulated world, what its nodes have told, and what went over its network.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use serf_core::{Answer, Command, Event, MemberEventKind, NodeState, Outcome, Query, QueryEnd, Status};
use serf_gossip::{Address, CommandId, Config, Name, Peer, State};
use serf_sim::{At, Link, Network, Sim};

use crate::request::Refusal;
use crate::told::{Told, What};

/// The most nodes of a cluster. Each knows all of them: a thousand take some 150 MB.
pub const NODES_MAX: usize = 1000;
/// So many events wait to be taken; of more the oldest are shed, and counted.
const EVENTS_MAX: usize = 10_000;
/// So many deliveries are kept for whoever draws them: the newest.
const PACKETS_MAX: usize = 2_000;
/// How many live nodes one that starts again calls.
const CALLED: usize = 3;

/// The timings of a node.
pub(crate) type Profile = fn(Name, Address) -> Config;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Cluster {
    sim: Sim,
    numbers: BTreeMap<Name, At>,
    /// Who leaves, in which of its lives.
    leaving: BTreeMap<CommandId, (At, u32)>,
    told: VecDeque<Told>,
    shed: u64,
    packets: VecDeque<(At, At)>,
}

/// What one node makes of another.
#[derive(Debug, Serialize)]
pub(crate) struct Member {
    node: At,
    name: String,
    addr: String,
    status: &'static str,
}

/// A node, and how those that are up see it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Seen {
    /// `down`, `alive`, `leaving` or `left`.
    state: &'static str,
    /// How many it takes for alive, itself included.
    knows: u32,
    // How many others take it for that.
    alive: u32,
    suspect: u32,
    leaving: u32,
    failed: u32,
    left: u32,
}

/// Figures since the beginning.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    time: f64,
    nodes: usize,
    up: usize,
    datagrams: u64,
    delivered: u64,
    lost: u64,
    bytes: u64,
    steps: u64,
    events_shed: u64,
}

/// So many milliseconds, which are few enough and not negative.
pub(crate) fn millis(ms: f64) -> Duration {
    Duration::from_nanos((ms * 1e6) as u64)
}

impl Cluster {
    pub(crate) fn new(
        seed: u64,
        nodes: usize,
        profile: Profile,
        formed: bool,
        link: Link,
    ) -> Result<Self, Refusal> {
        let mut sim = Sim::new(seed);
        sim.network = Network::flat(link);
        for at in 0..nodes {
            sim.add(Sim::profiled(at, profile))?;
        }
        if formed {
            sim.acquaint();
        } else {
            (1..nodes).for_each(|at| {
                sim.join(at, 0);
            });
        }
        let numbers = (0..nodes).map(|at| (sim.name(at), at)).collect();
        let (leaving, told, packets) = Default::default();
        Ok(Self { sim, numbers, leaving, told, shed: 0, packets })
    }

    pub(crate) fn len(&self) -> usize {
        self.sim.len()
    }

    /// Lets time pass.
    pub(crate) fn step(&mut self, time: Duration) {
        let until = self.sim.now() + time;
        loop {
            self.hear();
            if !self.sim.step(until) {
                return;
            }
            if let Some(from) = self.sim.heard_from() {
                if self.packets.len() == PACKETS_MAX {
                    self.packets.pop_front();
                }
                self.packets.push_back((from, self.sim.touched()));
            }
        }
    }

    /// The link between any two.
    pub(crate) fn link(&self) -> &Link {
        self.sim.network.link(0, 0)
    }

    pub(crate) fn set_link(&mut self, link: &Link) {
        self.sim.network.change(|own| own.clone_from(link));
    }

    pub(crate) fn cut(&mut self, from: At, to: At, one_way: bool) {
        self.sim.network.cut(from, to);
        if !one_way {
            self.sim.network.cut(to, from);
        }
    }

    pub(crate) fn partition(&mut self, parts: &[u32]) {
        for (at, part) in parts.iter().enumerate() {
            self.sim.network.set_part(at, *part);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.sim.network.heal();
    }

    pub(crate) fn crash(&mut self, at: At) {
        self.sim.kill(at);
        self.leaving.retain(|_, (who, _)| *who != at);
    }

    /// A new process, which calls some of those that are up.
    pub(crate) fn restart(&mut self, at: At) -> Result<(), Refusal> {
        self.crash(at);
        self.sim.start(at)?;
        let nodes = self.len();
        let others = (1..nodes).map(|i| (at + i) % nodes).filter(|other| self.is_member(*other));
        let peers: Vec<Peer> = others.take(CALLED).map(|other| self.peer(other)).collect();
        if peers.is_empty() {
            return Ok(());
        }
        self.command(at, |id| Command::Join { id, peers, ignore_old: false }).map(drop)
    }

    pub(crate) fn join(&mut self, at: At, to: At) -> Result<(), Refusal> {
        let peers = vec![self.peer(to)];
        self.command(at, |id| Command::Join { id, peers, ignore_old: false }).map(drop)
    }

    /// It leaves; its process ends when it has.
    pub(crate) fn leave(&mut self, at: At) -> Result<(), Refusal> {
        let life = self.sim.life(at);
        let id = self.command(at, |id| Command::Leave { id })?;
        self.leaving.insert(id, (at, life));
        // One that is alone has left by now.
        if self.sim.node(at).is_some_and(|node| node.state() == NodeState::Left) {
            self.has_left(at);
        }
        Ok(())
    }

    pub(crate) fn event(&mut self, at: At, name: &str, payload: String) -> Result<(), Refusal> {
        let (name, payload) = (Name::from(name), payload.into_bytes());
        self.command(at, |id| Command::UserEvent { id, name, payload, coalesce: false }).map(drop)
    }

    /// The number of the query.
    pub(crate) fn query(&mut self, at: At, name: &str, payload: String) -> Result<u64, Refusal> {
        let query = Query::new(name).with_payload(payload);
        self.command(at, |id| Command::Query { id, query }).map(|id| id.0)
    }

    pub(crate) fn members(&self, of: At) -> Result<Vec<Member>, Refusal> {
        let node = self.sim.node(of).ok_or(Refusal::Down(of))?;
        let known = self.numbers.iter().filter_map(|(name, at)| Some((at, node.member(name.as_bytes())?)));
        let member = |(at, member): (&At, serf_core::Member)| Member {
            node: *at,
            name: member.name.to_string(),
            addr: member.addr.to_string(),
            status: member.status.as_str(),
        };
        let mut members: Vec<Member> = known.map(member).collect();
        members.sort_by_key(|member| member.node);
        Ok(members)
    }

    pub(crate) fn nodes(&self) -> Vec<Seen> {
        let state = |at| self.sim.node(at).map_or("down", |node| node.state().as_str());
        let mut nodes: Vec<Seen> =
            (0..self.len()).map(|at| Seen { state: state(at), ..Seen::default() }).collect();
        for at in 0..self.len() {
            let Some(node) = self.sim.node(at) else { continue };
            for of in 0..self.len() {
                let status = self.sim.status(at, of);
                nodes[at].knows += u32::from(status == Status::Alive);
                if of == at {
                    continue;
                }
                let seen = &mut nodes[of];
                let suspected = || {
                    let member = node.gossip().members().get(self.sim.name(of).as_bytes());
                    member.is_some_and(|member| member.state == State::Suspect)
                };
                *match status {
                    Status::None => continue,
                    Status::Alive if suspected() => &mut seen.suspect,
                    Status::Alive => &mut seen.alive,
                    Status::Leaving => &mut seen.leaving,
                    Status::Left => &mut seen.left,
                    Status::Failed => &mut seen.failed,
                } += 1;
            }
        }
        nodes
    }

    /// What was told since the last call, the oldest first.
    pub(crate) fn take_events(&mut self) -> VecDeque<Told> {
        self.hear();
        std::mem::take(&mut self.told)
    }

    /// Who got a datagram from whom since the last call.
    pub(crate) fn take_packets(&mut self) -> VecDeque<(At, At)> {
        std::mem::take(&mut self.packets)
    }

    pub(crate) fn digest(&self) -> u64 {
        self.sim.digest()
    }

    pub(crate) fn stats(&self) -> Stats {
        let traffic = self.sim.traffic();
        Stats {
            time: self.time(),
            nodes: self.len(),
            up: (0..self.len()).filter(|at| self.sim.is_up(*at)).count(),
            datagrams: traffic.datagrams,
            delivered: traffic.delivered,
            lost: traffic.lost,
            bytes: traffic.bytes(),
            steps: traffic.steps,
            events_shed: self.shed,
        }
    }

    /// Simulated milliseconds since the beginning.
    fn time(&self) -> f64 {
        self.sim.elapsed().as_secs_f64() * 1e3
    }

    fn is_member(&self, at: At) -> bool {
        self.sim.node(at).is_some_and(|node| node.state() == NodeState::Alive)
    }

    fn peer(&self, at: At) -> Peer {
        Peer { addr: self.sim.addr(at), name: Some(self.sim.name(at)) }
    }

    /// Gives a node a command, and looks whether it refuses at once.
    fn command(&mut self, at: At, command: impl FnOnce(CommandId) -> Command) -> Result<CommandId, Refusal> {
        if !self.sim.is_up(at) {
            return Err(Refusal::Down(at));
        }
        self.hear();
        let given = self.sim.command(at, command);
        let mut refused = None;
        while let Some((at, event)) = self.sim.take_event() {
            match event {
                Event::Done { id, outcome: Outcome::Failed(why) } if id == given => refused = Some(why),
                event => self.heard(at, event),
            }
        }
        refused.map_or(Ok(given), |why| Err(why.into()))
    }

    fn hear(&mut self) {
        while let Some((at, event)) = self.sim.take_event() {
            self.heard(at, event);
        }
    }

    fn heard(&mut self, at: At, event: Event) {
        let what = match event {
            Event::Member(event) => {
                let members = event.members.iter().filter_map(|member| self.number(&member.name)).collect();
                match event.kind {
                    MemberEventKind::Join => What::MemberJoin { members },
                    MemberEventKind::Leave => What::MemberLeave { members },
                    MemberEventKind::Failed => What::MemberFailed { members },
                    MemberEventKind::Update => What::MemberUpdate { members },
                    MemberEventKind::Reap => What::MemberReap { members },
                }
            }
            Event::User(event) => {
                What::User { name: event.name.to_string(), ltime: event.ltime, payload: text(&event.payload) }
            }
            Event::Query(query) => {
                // Everybody who is asked answers, with its name.
                let (key, payload) = (query.key, self.sim.name(at).as_bytes().to_vec());
                self.sim.command(at, |id| Command::Respond { id, key, payload });
                What::Query {
                    name: query.name.to_string(),
                    ltime: query.ltime,
                    source: self.number(&query.source),
                    payload: text(&query.payload),
                }
            }
            Event::Answer { id, answer: Answer::Response { from, payload } } => {
                What::Answer { query: id.0, from: self.number(&from), payload: text(&payload) }
            }
            Event::QueryEnded { id, why } => {
                let why = match why {
                    QueryEnd::Complete => "complete",
                    QueryEnd::TimedOut => "timed out",
                    _ => "closed",
                };
                What::QueryEnded { query: id.0, why }
            }
            Event::Done { id, outcome } => match (outcome, self.leaving.remove(&id)) {
                (Outcome::Joined { contacted, failed }, _) => What::Joined {
                    contacted: contacted.len(),
                    failed: failed.into_iter().map(|(_, why)| why).collect(),
                },
                (Outcome::Ok, Some((at, life))) if self.sim.life(at) == life => return self.has_left(at),
                (Outcome::Failed(why), _) => What::Refused { why: why.to_string() },
                _ => return,
            },
            _ => return,
        };
        self.tell(at, what);
    }

    fn tell(&mut self, node: At, what: What) {
        if self.told.len() == EVENTS_MAX {
            self.told.pop_front();
            self.shed += 1;
        }
        self.told.push_back(Told { time: self.time(), node, what });
    }

    fn has_left(&mut self, at: At) {
        self.tell(at, What::Left);
        self.crash(at);
    }

    fn number(&self, name: &Name) -> Option<At> {
        self.numbers.get(name).copied()
    }
}

/// What is not text is replaced.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
