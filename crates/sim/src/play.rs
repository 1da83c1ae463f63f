//! Plays a story and looks whether any rule is broken, while it is told and after it has ended.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serf_core::snapshot::Replay;
use serf_core::{Command, Config, Event, NodeState, Outcome, Query};
use serf_gossip::{CommandId, Instant, Peer};

use crate::check::{Checker, Kind, Violation};
use crate::network::At;
use crate::scenario::{Act, FORMING, Scenario, change_network};
use crate::sim::Sim;

/// How often it is looked whether the cluster has come to rest, and how often at most. Exchanges of full states, and
/// attempts to reach the failed again, are a minute apart: rarely unlucky ones need many of them.
const REST_STEP: Duration = Duration::from_secs(30);
const REST_STEPS: usize = 40;
/// Then it must stay at rest for so long.
const PEACE: Duration = Duration::from_secs(120);
/// How long after its answer a process that left ends.
const LEFT_FOR: Duration = Duration::from_secs(10);
/// How long after a join that reached nobody the next is tried.
const REJOIN: Duration = Duration::from_secs(5);
/// How long [`Act::Slow`] lasts.
const SLOW: Duration = Duration::from_secs(20);
/// Datagrams that a node at rest sends in a second: a ping, an ack, and room for an exchange now and then.
const PEACEFUL: f64 = 4.0;

/// How a story ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Of all that was delivered.
    pub digest: u64,
    /// Simulated time.
    pub time: Duration,
    /// Everything done.
    pub steps: u64,
}

/// Something that happened, for whoever wants to read along.
#[derive(Debug)]
pub enum Told<'a> {
    /// An act.
    Act(&'a Act),
    /// What a node told.
    Event(At, &'a Event),
    /// The cluster is left alone from now on.
    Rest,
}

/// Hears what happens.
pub type Listener<'a> = &'a mut dyn FnMut(Instant, Told<'_>);

struct Player<'a> {
    sim: Sim,
    check: Checker,
    /// What is to be done besides the story: processes that end, joins that are tried again, …
    later: BTreeMap<(Instant, u64), Later>,
    numbers: u64,
    fired: u32,
    joins: BTreeMap<CommandId, At>,
    /// Those that were up, and worked, all the time.
    constant: Vec<bool>,
    restarted: Vec<bool>,
    /// Whether the network is as it was in the beginning.
    whole: bool,
    /// Until when a node is known to be stalled or slow.
    troubled: Instant,
    listener: Option<Listener<'a>>,
}

#[derive(Debug, Clone, Copy)]
enum Later {
    End(At, u32),
    Join(At, u32),
    Quick(At),
}

/// Plays a story.
///
/// # Errors
/// The first rule that is broken.
pub fn play(story: &Scenario, listener: Option<Listener<'_>>) -> Result<Played, Violation> {
    let played = catch_unwind(AssertUnwindSafe(|| Player::new(story, listener).play(story)));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Err(Violation { rule: "panic", what: text.unwrap_or_default(), nodes: Vec::new() })
    })
}

impl<'a> Player<'a> {
    fn new(story: &Scenario, listener: Option<Listener<'a>>) -> Self {
        let mut sim = Sim::new(story.seed);
        sim.network = story.network();
        for at in 0..story.nodes {
            sim.add(config(at, story)).expect("settings that work");
        }
        let check = Checker::new(&sim);
        Self {
            sim,
            check,
            later: BTreeMap::new(),
            numbers: 0,
            fired: 0,
            joins: BTreeMap::new(),
            constant: vec![true; story.nodes],
            restarted: vec![false; story.nodes],
            whole: true,
            troubled: Instant::ZERO,
            listener,
        }
    }

    fn play(mut self, story: &Scenario) -> Result<Played, Violation> {
        for at in 1..story.nodes {
            self.join(at)?;
        }
        self.run(Instant::ZERO + FORMING)?;
        for (when, act) in &story.acts {
            self.run(*when)?;
            self.act(act)?;
        }
        self.rest(story)
    }

    fn tell(&mut self, what: Told<'_>) {
        if let Some(listener) = &mut self.listener {
            listener(self.sim.now(), what);
        }
    }

    /// Lets time pass, looking at everything.
    fn run(&mut self, until: Instant) -> Result<(), Violation> {
        while let Some((&(when, number), _)) =
            self.later.first_key_value().filter(|((when, _), _)| *when <= until)
        {
            self.go(when)?;
            match self.later.remove(&(when, number)) {
                Some(Later::End(at, life)) if self.sim.life(at) == life => self.sim.kill(at),
                Some(Later::Join(at, life)) if self.sim.life(at) == life => self.join(at)?,
                Some(Later::Quick(at)) => self.sim.set_handling(at, Duration::ZERO),
                _ => {}
            }
        }
        self.go(until)
    }

    fn go(&mut self, until: Instant) -> Result<(), Violation> {
        loop {
            while let Some((at, event)) = self.sim.take_event() {
                self.event(at, &event)?;
            }
            if !self.sim.step(until) {
                return Ok(());
            }
            self.check.look(&self.sim, self.sim.touched())?;
        }
    }

    fn event(&mut self, at: At, event: &Event) -> Result<(), Violation> {
        self.tell(Told::Event(at, event));
        self.check.event(&self.sim, at, event)?;
        match event {
            Event::Done { id, outcome: Outcome::Joined { contacted, failed } }
                if self.joins.remove(id) == Some(at) && contacted.is_empty() && !failed.is_empty() =>
            {
                self.plan(REJOIN, Later::Join(at, self.sim.life(at)));
            }
            Event::Query(query) => {
                let (key, payload) = (query.key, self.sim.name(at).as_bytes().to_vec());
                self.give(at, Kind::Other, |id| Command::Respond { id, key, payload })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn plan(&mut self, after: Duration, what: Later) {
        self.numbers += 1;
        self.later.insert((self.sim.now() + after, self.numbers), what);
    }

    /// Gives a node a command, if it is there to take it.
    fn give(
        &mut self,
        at: At,
        kind: Kind,
        command: impl FnOnce(CommandId) -> Command,
    ) -> Result<Option<CommandId>, Violation> {
        if !self.sim.is_up(at) {
            return Ok(None);
        }
        let id = self.sim.command(at, command);
        self.check.asked(&self.sim, at, id, kind);
        self.check.look(&self.sim, at)?;
        Ok(Some(id))
    }

    /// One joins all others that are up.
    fn join(&mut self, at: At) -> Result<(), Violation> {
        let others = (0..self.sim.len()).filter(|other| *other != at && self.sim.is_up(*other));
        let peer = |other| Peer { addr: self.sim.addr(other), name: Some(self.sim.name(other)) };
        let peers: Vec<Peer> = others.map(peer).collect();
        if let Some(id) = self.give(at, Kind::Intent, |id| Command::Join { id, peers, ignore_old: false })? {
            self.joins.insert(id, at);
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), Violation> {
        self.tell(Told::Act(act));
        let nodes = self.sim.len();
        let now = self.sim.now();
        match act {
            Act::Cut(..) | Act::Split(_) | Act::Bad(..) | Act::Loss(_) => self.whole = false,
            Act::Heal => (self.whole, self.troubled) = (true, self.troubled.max(now)),
            Act::Stall(_, _, time) => self.troubled = self.troubled.max(now + *time),
            Act::Slow(..) => self.troubled = self.troubled.max(now + SLOW),
            Act::Kill(_) | Act::PowerOff(_) | Act::Start(_) | Act::Pace(..) => {
                self.troubled = self.troubled.max(now)
            }
            _ => {}
        }
        self.check.set_calm_since(self.whole.then_some(self.troubled));
        match act {
            Act::Kill(at) | Act::PowerOff(at) => {
                self.constant[*at] = false;
                if matches!(act, Act::Kill(_)) { self.sim.kill(*at) } else { self.sim.power_off(*at) }
            }
            // Neither does a frozen process look at its commands, nor is a second one started beside it.
            Act::Start(at) if !self.sim.is_up(*at) => {
                self.restarted[*at] = true;
                self.sim.start(*at).expect("settings that worked");
                self.check.look(&self.sim, *at)?;
                if !self.sim.remembers_others(*at) {
                    self.join(*at)?;
                }
            }
            Act::Start(_) => {}
            Act::Stall(at, how, time) => self.sim.stall_for(*at, *how, *time),
            Act::Slow(at, time) => {
                self.sim.set_handling(*at, *time);
                self.plan(SLOW, Later::Quick(*at));
            }
            Act::Pace(at, ppm) => self.sim.set_pace(*at, *ppm),
            Act::Leave(at) | Act::ForceLeave(at, ..) | Act::Tags(at) | Act::Event(at) | Act::Query(at)
                if self.sim.is_stalled(*at) || !self.sim.is_up(*at) => {}
            Act::Leave(at) => {
                self.constant[*at] = false;
                self.give(*at, Kind::Intent, |id| Command::Leave { id })?;
                self.plan(2 * Duration::from_secs(6) + LEFT_FOR, Later::End(*at, self.sim.life(*at)));
            }
            Act::ForceLeave(at, of, prune) => {
                let (name, prune) = (self.sim.name(*of), *prune);
                self.give(*at, Kind::Intent, |id| Command::ForceLeave { id, name, prune })?;
            }
            Act::Tags(at) => {
                self.fired += 1;
                let tags = [("n".to_owned(), self.fired.to_string())].into();
                self.give(*at, Kind::Other, |id| Command::SetTags { id, tags })?;
            }
            Act::Event(at) => {
                self.fired += 1;
                let payload = self.fired.to_string().into_bytes();
                self.check.will_fire(&payload);
                let name = "deploy".into();
                self.give(*at, Kind::Event, |id| Command::UserEvent { id, name, payload, coalesce: false })?;
            }
            Act::Query(at) => {
                let query = Query { ack: true, ..Query::new("who") };
                self.give(*at, Kind::Query, |id| Command::Query { id, query })?;
            }
            Act::Cut(..) | Act::Split(_) | Act::Bad(..) | Act::Loss(_) | Act::Heal => {
                change_network(act, nodes, &mut self.sim.network);
            }
        }
        Ok(())
    }

    /// Nothing more is done to it. All that can be well must become well, and stay so.
    fn rest(mut self, story: &Scenario) -> Result<Played, Violation> {
        self.tell(Told::Rest);
        let nodes = self.sim.len();
        self.check.set_calm_since(Some(self.sim.now()));
        self.sim.network.heal();
        self.sim.network.change(|link| link.loss = 0.0);
        for at in 0..nodes {
            self.sim.resume(at);
            self.check.look(&self.sim, at)?;
            self.sim.set_handling(at, Duration::ZERO);
            self.sim.set_pace(at, 0);
        }
        // Who began anew while nobody could be reached knows nobody, and nobody it (nor does a snapshot file help that
        // names nobody who still lives); who could not be reached for too long
        // is forgotten; and those whom an operator declared to have left are not looked for any more.
        let forced = story.acts.iter().any(|(_, act)| matches!(act, Act::ForceLeave(..)));
        if story.forgetful || forced || self.restarted.contains(&true) {
            for at in 0..nodes {
                if self.sim.node(at).is_some_and(|node| node.state() == NodeState::Alive) {
                    self.join(at)?;
                }
            }
        }
        let constant: Vec<At> = (0..nodes).filter(|at| self.constant[*at]).collect();
        let mut verdict = Ok(());
        for _ in 0..REST_STEPS {
            self.run(self.sim.now() + REST_STEP)?;
            verdict = self.check.rest(&self.sim, &constant);
            if verdict.is_ok() {
                break;
            }
        }
        verdict?;
        let before = self.sim.traffic().datagrams;
        let until = self.sim.now() + PEACE;
        loop {
            while let Some((at, event)) = self.sim.take_event() {
                // The gone are forgotten in their time.
                let reaped = |e: &serf_core::MemberEvent| e.kind == serf_core::MemberEventKind::Reap;
                if let Event::Member(told) = &event
                    && !reaped(told)
                {
                    let (kind, name) = (told.kind, &told.members[0].name);
                    let what = format!("{at} tells {kind} of {name} though nothing is done to anybody");
                    return Err(Violation { rule: "unrest", what, nodes: vec![at] });
                }
                self.event(at, &event)?;
            }
            if !self.sim.step(until) {
                break;
            }
            self.check.look(&self.sim, self.sim.touched())?;
        }
        self.check.rest(&self.sim, &constant)?;
        let up = (0..nodes).filter(|at| self.sim.is_up(*at)).count();
        let rate = (self.sim.traffic().datagrams - before) as f64 / PEACE.as_secs_f64() / up.max(1) as f64;
        if rate > PEACEFUL {
            let what = format!("{rate:.1} datagrams a second from each node at rest");
            return Err(Violation { rule: "growth", what, nodes: Vec::new() });
        }
        Ok(Played { digest: self.sim.digest(), time: self.sim.elapsed(), steps: self.sim.traffic().steps })
    }
}

fn config(at: At, story: &Scenario) -> Config {
    let mut config = Sim::lan(at);
    #[cfg(feature = "planted")]
    {
        config.gossip.planted = story.planted;
    }
    config.snapshot = story.files.then(|| Replay::new(false).finish());
    if story.forgetful {
        config.reconnect_timeout = Duration::from_secs(90);
        config.tombstone_timeout = Duration::from_secs(60);
        config.recent_intent_timeout = Duration::from_secs(30);
    }
    config
}
