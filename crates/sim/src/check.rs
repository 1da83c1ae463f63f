//! What must never happen in a cluster, looked for after every single thing that happens; and what must be so in the
//! end, when nothing has been done to it for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serf_core::{Event, MemberEventKind, NodeState, Status};
use serf_gossip::{CommandId, Instant, Name, State};

use crate::network::At;
use crate::sim::Sim;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule was broken: what a shrunk story has to break too.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
    /// Whose traces tell more.
    pub nodes: Vec<At>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (nodes {:?})", self.rule, self.what, self.nodes)
    }
}

fn broken<T>(rule: &'static str, nodes: &[At], what: String) -> Result<T, Violation> {
    Err(Violation { rule, what, nodes: nodes.to_vec() })
}

/// The names of all rules, with what they mean, for the documentation and its test.
pub const RULES: &[(&str, &str)] = &[
    ("incarnation-back", "what a node knows of a member's incarnation never goes back"),
    ("incarnation-invented", "nobody knows a higher incarnation of a member than it has given itself"),
    ("resurrection", "a member that is gone comes back only with a new incarnation"),
    (
        "buried-alive",
        "a node that answered an accusation while nothing was wrong is not declared dead by most others for it",
    ),
    ("stranger", "nobody knows a member that never was"),
    ("self", "a node that has not left takes itself for alive"),
    ("clock-back", "Lamport clocks never go back"),
    ("clock-jump", "Lamport clocks do not run ahead of all that was ever sent"),
    ("event-twice", "a user event is told once"),
    ("event-invented", "a user event that is told was fired, and has one time everywhere"),
    ("member-events", "what is told of a member fits what was told of it before"),
    ("command-twice", "a command is answered once"),
    ("answer-twice", "a query is acknowledged and answered once by each node, and by nobody else"),
    ("queue-bound", "queues stay within their bounds"),
    ("panic", "a machine does not panic, and is not due for ever at one moment"),
    ("disagreement", "in the end all live nodes know each other as alive, with their tags, and nobody else"),
    ("left-or-failed", "in the end a member that is gone is left everywhere, or nowhere"),
    ("event-lost", "in the end an event that a live node knows was told to all that were up all the time"),
    ("command-lost", "in the end every command to a node that stayed up has been answered"),
    ("unrest", "in the end nothing happens any more: no member events, queues empty, streams closed"),
    ("growth", "in the end a node sends no more than its probes and exchanges"),
];

/// See the module's text.
#[derive(Debug, Default)]
pub struct Checker {
    names: BTreeMap<Name, At>,
    views: Vec<View>,
    /// The highest incarnation that each node has ever given itself.
    incarnations: Vec<u32>,
    /// User events by their payloads: when they were fired, and with what time they were told.
    events: BTreeMap<Vec<u8>, Option<u64>>,
    /// How many events, queries, and joins and leaves have begun anywhere: no clock runs ahead of them.
    begun: [u64; 3],
    /// Intents with which nodes that are down now defended themselves.
    refuted_before: u64,
    commands: BTreeMap<CommandId, Asked>,
    /// When each node last answered an accusation, how many it had answered by then, and who declared it dead since.
    answered: Vec<(Instant, u64, BTreeSet<At>)>,
    calm_since: Option<Instant>,
}

/// A command under way.
#[derive(Debug)]
struct Asked {
    at: At,
    life: u32,
    done: bool,
    acks: BTreeSet<Name>,
    answers: BTreeSet<Name>,
}

/// What one node has shown in its running life.
#[derive(Debug, Clone, Default)]
struct View {
    life: u32,
    clocks: [u64; 3],
    refuted: u64,
    members: Vec<Option<(u32, State)>>,
    told: BTreeMap<Name, Status>,
    events: BTreeSet<Vec<u8>>,
}

/// What a checker must know of commands before they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user event.
    Event,
    /// A query.
    Query,
    /// A join, a leave, a forced leave.
    Intent,
    /// Anything else.
    Other,
}

impl Checker {
    /// For the nodes that are there.
    #[must_use]
    pub fn new(sim: &Sim) -> Self {
        let count = sim.len();
        Self {
            names: (0..count).map(|at| (sim.name(at), at)).collect(),
            views: vec![View { members: vec![None; count], ..View::default() }; count],
            incarnations: vec![0; count],
            answered: vec![Default::default(); count],
            ..Self::default()
        }
    }

    /// Since when nothing has been wrong with any node or the network: from then on, or not at all.
    pub fn set_calm_since(&mut self, when: Option<Instant>) {
        self.calm_since = when;
    }

    /// A user event with this payload, different from all others, is about to be fired.
    pub fn will_fire(&mut self, payload: &[u8]) {
        self.events.insert(payload.to_vec(), None);
    }

    /// A command was given to a node.
    pub fn asked(&mut self, sim: &Sim, at: At, id: CommandId, kind: Kind) {
        match kind {
            Kind::Event => self.begun[0] += 1,
            Kind::Query => self.begun[1] += 1,
            Kind::Intent => self.begun[2] += 1,
            Kind::Other => {}
        }
        let (acks, answers) = Default::default();
        self.commands.insert(id, Asked { at, life: sim.life(at), done: false, acks, answers });
    }

    /// Looks at a node after something was given to it.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn look(&mut self, sim: &Sim, at: At) -> Result<(), Violation> {
        let Some(node) = sim.node(at) else { return Ok(()) };
        let count = self.views.len();
        if self.views[at].life != sim.life(at) {
            self.refuted_before += self.views[at].refuted;
            self.views[at] = View { life: sim.life(at), members: vec![None; count], ..View::default() };
        }
        let gossip = node.gossip();
        self.incarnations[at] = self.incarnations[at].max(gossip.local().incarnation);
        let answered = &mut self.answered[at];
        if gossip.stats().refuted != answered.1 {
            // Who knows nobody tells nobody.
            let calm = if gossip.members().present() > 1 { sim.now() } else { Instant::ZERO };
            *answered = (calm, gossip.stats().refuted, BTreeSet::new());
        }
        let mut seen = vec![false; count];
        let mut known = 0;
        for member in gossip.members().iter() {
            let Some(&who) = self.names.get(&member.name) else {
                return broken("stranger", &[at], format!("{at} knows {}", member.name));
            };
            known += 1;
            seen[who] = true;
            let (now, then) = ((member.incarnation, member.state), self.views[at].members[who]);
            if member.incarnation > self.incarnations[who] {
                return broken(
                    "incarnation-invented",
                    &[at, who],
                    format!(
                        "{at} knows incarnation {} of {who}, which is at {}",
                        now.0, self.incarnations[who]
                    ),
                );
            }
            if let Some((incarnation, state)) = then {
                if now.0 < incarnation {
                    return broken(
                        "incarnation-back",
                        &[at, who],
                        format!("{at} knew incarnation {incarnation} of {who}, now {}", now.0),
                    );
                }
                if state.is_gone() && !member.state.is_gone() && now.0 <= incarnation && who != at {
                    return broken(
                        "resurrection",
                        &[at, who],
                        format!(
                            "to {at}, {who} was {state:?} and is {:?}, incarnation {incarnation}",
                            member.state
                        ),
                    );
                }
            }
            self.views[at].members[who] = Some(now);
        }
        for (seen, member) in seen.iter().zip(&mut self.views[at].members) {
            if !seen {
                *member = None;
            }
        }
        let vitals = node.vitals();
        if node.state() == NodeState::Alive
            && (gossip.local().state.is_gone() || sim.status(at, at) != Status::Alive)
        {
            let state = gossip.local().state;
            return broken("self", &[at], format!("{at} takes itself for {state:?}, {}", sim.status(at, at)));
        }
        // One slot a member in each layer's table of news about members.
        if gossip.queued() > known {
            return broken(
                "queue-bound",
                &[at],
                format!("{at} queues {} for {known} members", gossip.queued()),
            );
        }
        let view = &mut self.views[at];
        view.refuted = node.stats().refuted;
        let clocks = [vitals.event_time, vitals.query_time, vitals.member_time];
        let before = std::mem::replace(&mut view.clocks, clocks);
        let refuted = self.refuted_before + self.views.iter().map(|view| view.refuted).sum::<u64>();
        for (i, what) in ["event", "query", "member"].into_iter().enumerate() {
            if clocks[i] < before[i] {
                return broken(
                    "clock-back",
                    &[at],
                    format!("the {what} clock of {at}: {} < {}", clocks[i], before[i]),
                );
            }
            // Of a leave heard from a full state the refuter guesses the time, one too late.
            let most = 1 + self.begun[i] + if i == 2 { 2 * refuted } else { 0 };
            if clocks[i] > most {
                let what =
                    format!("the {what} clock of {at} is at {}, and {most} is all there can be", clocks[i]);
                return broken("clock-jump", &[at], what);
            }
        }
        Ok(())
    }

    /// Looks at what a node tells.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn event(&mut self, sim: &Sim, at: At, event: &Event) -> Result<(), Violation> {
        let view = &mut self.views[at];
        if view.life != sim.life(at) {
            self.look(sim, at)?;
        }
        let view = &mut self.views[at];
        match event {
            Event::Member(event) => {
                for member in &event.members {
                    let before = view.told.get(&member.name).copied();
                    use MemberEventKind::{Failed, Join, Leave, Reap, Update};
                    let after = match (event.kind, before) {
                        (Join, None | Some(Status::Left | Status::Failed)) => Status::Alive,
                        (Leave, Some(Status::Alive | Status::Failed)) => Status::Left,
                        (Failed, Some(Status::Alive)) => Status::Failed,
                        (Update, Some(Status::Alive)) => Status::Alive,
                        (Reap, Some(Status::Left | Status::Failed)) => Status::None,
                        (kind, before) => {
                            let what = format!("{at} tells {kind} of {}, who was {before:?}", member.name);
                            return broken("member-events", &[at], what);
                        }
                    };
                    if let (Failed, Some(who)) = (event.kind, self.names.get(&member.name)) {
                        buried(&mut self.answered[*who], self.calm_since, sim, at, *who)?;
                    }
                    if after == Status::None {
                        view.told.remove(&member.name);
                    } else {
                        view.told.insert(member.name.clone(), after);
                    }
                }
            }
            Event::User(event) => {
                let payload = event.payload.to_vec();
                match self.events.get_mut(&payload) {
                    Some(time) if time.is_none_or(|time| time == event.ltime) => *time = Some(event.ltime),
                    other => {
                        let what = format!("{at} tells {event:?}, known as {other:?}");
                        return broken("event-invented", &[at], what);
                    }
                }
                if !view.events.insert(payload) {
                    return broken("event-twice", &[at], format!("{at} tells {event:?}"));
                }
            }
            Event::Done { id, .. } => match self.commands.get_mut(id) {
                Some(asked) if !asked.done && asked.at == at => asked.done = true,
                other => return broken("command-twice", &[at], format!("{at} answers {id:?}: {other:?}")),
            },
            Event::Answer { id, answer } => {
                let (from, ack) = match answer {
                    serf_core::Answer::Ack { from } => (from, true),
                    serf_core::Answer::Response { from, .. } => (from, false),
                    _ => return Ok(()),
                };
                let Some(asked) = self.commands.get_mut(id) else {
                    return broken("answer-twice", &[at], format!("{at} has an answer to {id:?}"));
                };
                let set = if ack { &mut asked.acks } else { &mut asked.answers };
                if !self.names.contains_key(from) || !set.insert(from.clone()) {
                    return broken("answer-twice", &[at], format!("{at} is told twice of {from}'s answer"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What must be so when nothing has been done for a while. `constant` are those that were up all the time.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn rest(&self, sim: &Sim, constant: &[At]) -> Result<(), Violation> {
        let count = self.views.len();
        let live = |at: At| sim.node(at).is_some_and(|node| node.state() == NodeState::Alive);
        for at in (0..count).filter(|at| live(*at)) {
            let Some(node) = sim.node(at) else { continue };
            for other in 0..count {
                let status = sim.status(at, other);
                if live(other) != (status == Status::Alive) || status == Status::Leaving {
                    let there = if live(other) { "there" } else { "not there" };
                    return broken(
                        "disagreement",
                        &[at, other],
                        format!("{at} takes {other} for {status}, who is {there}"),
                    );
                }
                let (member, there) = (node.member(sim.name(other).as_bytes()), sim.node(other));
                if let (Some(member), Some(there), true) = (member, there, live(other))
                    && (member.tags() != *there.tags() || member.addr != sim.addr(other))
                {
                    let what = format!("{at} does not know what {other} tells of itself");
                    return broken("disagreement", &[at, other], what);
                }
            }
            if let Some(member) = node.gossip().members().iter().find(|m| m.state == State::Suspect) {
                return broken("unrest", &[at], format!("{at} suspects {}", member.name));
            }
            let vitals = node.vitals();
            let queued =
                vitals.intent_queue + vitals.event_queue + vitals.query_queue + node.gossip().queued();
            if queued > 0 && node.gossip().members().present() > 1 {
                return broken("unrest", &[at], format!("{at} has {queued} messages queued"));
            }
        }
        for gone in (0..count).filter(|at| !live(*at)) {
            let with = |status| (0..count).filter(|at| live(*at)).find(|at| sim.status(*at, gone) == status);
            if let (Some(a), Some(b)) = (with(Status::Left), with(Status::Failed)) {
                let what = format!("to {a}, {gone} has left; to {b}, it has failed");
                return broken("left-or-failed", &[a, b, gone], what);
            }
        }
        let told = |at: At, payload: &Vec<u8>| self.views[at].events.contains(payload);
        for payload in self.events.keys() {
            let Some(knows) = (0..count).find(|at| live(*at) && told(*at, payload)) else { continue };
            if let Some(lacks) = constant.iter().find(|at| live(**at) && !told(**at, payload)) {
                let what =
                    format!("{knows} knows event {}, {lacks} does not", String::from_utf8_lossy(payload));
                return broken("event-lost", &[knows, *lacks], what);
            }
        }
        for (id, asked) in &self.commands {
            if !asked.done && sim.is_up(asked.at) && sim.life(asked.at) == asked.life {
                return broken("command-lost", &[asked.at], format!("{} has not answered {id:?}", asked.at));
            }
        }
        Ok(())
    }
}

/// How long after an answer to an accusation all should have heard it, by gossip or by asking again.
const HEARD: Duration = Duration::from_secs(3);

/// `at` declares `who` dead.
fn buried(
    answered: &mut (Instant, u64, BTreeSet<At>),
    calm_since: Option<Instant>,
    sim: &Sim,
    at: At,
    who: At,
) -> Result<(), Violation> {
    let calm = calm_since.is_some_and(|calm| calm <= answered.0);
    if !calm || answered.1 == 0 || !sim.is_up(who) || sim.now().since(answered.0) < HEARD {
        return Ok(());
    }
    // For a later accusation it is not, which it may not have heard.
    let incarnation = |of: At| {
        let name = sim.name(who);
        sim.node(of).and_then(|node| node.gossip().members().get(name.as_bytes())).map(|m| m.incarnation)
    };
    if incarnation(at) >= incarnation(who) {
        return Ok(());
    }
    answered.2.insert(at);
    let others = (0..sim.len()).filter(|other| *other != who && sim.is_up(*other)).count();
    // One or two may have missed the answer by chance.
    if answered.2.len() > 2 && answered.2.len() * 2 > others {
        let what = format!("{:?} declare {who} dead, which had answered at {:?}", answered.2, answered.0);
        return broken("buried-alive", &[at, who], what);
    }
    Ok(())
}
