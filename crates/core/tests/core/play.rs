//! Random play of whole clusters: nodes die, stop, move, leave and come back, commands come in every order, and the
//! network loses and cuts. Whatever happened, when it is over the cluster comes to rest, and everybody agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serf_core::MemberEventKind::{Failed, Join, Leave, Reap, Update};
use serf_core::{Answer, Command, Event, NodeState, Outcome, Query, Status};
use serf_gossip::{Address, CommandId, Name, Rng};
use serf_wire::serf::{self, MessageKind, RelayHeader};

use crate::cluster::{At, Cluster, draws};

const NODES: usize = 6;
const SECOND: Duration = Duration::from_secs(1);

struct Play {
    c: Cluster,
    draws: Rng,
    /// Commands under way, of which life of whom.
    asked: Vec<(At, CommandId)>,
    clocks: Vec<(u64, u64, u64)>,
    /// Up to where its events have been looked at, and what whoever knows nothing else believes.
    believed: Vec<(usize, BTreeMap<Name, Status>)>,
    moves: u8,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut c = Cluster::joined(seed, NODES);
        c.loss = [0, 10, 4][seed as usize % 3];
        let (clocks, believed) = (vec![(0, 0, 0); NODES], vec![Default::default(); NODES]);
        Self { c, draws: draws(seed), asked: Vec::new(), clocks, believed, moves: 0 }
    }

    fn other(&mut self, at: At) -> At {
        (at + 1 + self.draws.below(NODES - 1)) % NODES
    }

    fn ask(&mut self, at: At, command: impl FnOnce(CommandId) -> Command) {
        let id = self.c.order(at, command);
        self.asked.push((at, id));
    }

    /// A program, or what keeps it alive, does something.
    fn act(&mut self) {
        let at = self.draws.below(NODES);
        let other = self.other(at);
        let what = self.draws.below(21);
        if !self.c.is_up(at) {
            return self.begin_again(at, what.is_multiple_of(2));
        }
        if self.c.is_stopped(at) {
            return if what.is_multiple_of(3) { self.kill(at) } else { self.c.go_on(at) };
        }
        match what {
            0 => self.kill(at),
            1 | 2 => self.c.stop(at),
            3 | 4 => self.ask(at, |id| Command::Leave { id }),
            5 => {
                let join = self.c.join_command(other, self.moves.is_multiple_of(2));
                self.ask(at, join);
            }
            6 | 7 => {
                let name = self.c.name(if what == 6 { at } else { other });
                let prune = self.draws.below(4) == 0;
                self.ask(at, |id| Command::ForceLeave { id, name, prune });
            }
            8 | 9 => {
                self.moves = self.moves.wrapping_add(1);
                let tags = [("n".to_owned(), self.moves.to_string())].into();
                self.ask(at, |id| Command::SetTags { id, tags });
            }
            10 | 11 => self.c.cut(at, other),
            12 => self.c.mend(at, other),
            13 => self.ask(at, |id| Command::Shutdown { id }),
            14 if self.draws.below(4) == 0 => self.c.sleep(3600 * SECOND),
            15 | 16 => {
                let query = self.question(other);
                self.ask(at, |id| Command::Query { id, query });
            }
            17 => {
                let key = self.c.events(at).iter().rev().find_map(|event| match event {
                    Event::Query(query) => Some(query.key),
                    _ => None,
                });
                if let Some(key) = key {
                    self.ask(at, |id| Command::Respond { id, key, payload: vec![7; 100] });
                }
            }
            18 => {
                let last = self.asked.iter().rev().find(|(whose, _)| *whose == at).map(|(_, id)| *id);
                if let Some(id) = last {
                    self.c.order(at, |_| Command::CloseQuery { id });
                }
            }
            19 => {
                let bytes = self.nonsense();
                self.c.inject(at, bytes);
            }
            _ => {}
        }
    }

    /// Of the quick ones, so that it ends before the play does.
    fn question(&mut self, other: At) -> Query {
        let mut query = Query::new("q").with_relays(self.draws.below(4) as u8);
        query.ack = self.draws.below(2) == 0;
        query.timeout = Some(Duration::from_millis(self.draws.below(3000) as u64));
        match self.draws.below(4) {
            0 => query.to_nodes([self.c.name(other)]),
            1 => query.to_tag("n", "[0-4]$"),
            2 => query.until_timeout(),
            _ => query,
        }
    }

    /// What nobody in the cluster says: answers to nothing, in a query's name, wrapped or not.
    fn nonsense(&mut self) -> Vec<u8> {
        let id = self.draws.below(3) as u32;
        let (ltime, flags) = (self.draws.below(30) as u64, self.draws.below(4) as u32);
        let name = self.c.name(self.draws.below(NODES));
        let from = name.as_bytes();
        let mut bytes = vec![8];
        if self.draws.below(3) == 0 {
            let ip = [10, 0, 0, self.draws.below(9) as u8];
            let header = RelayHeader { ip: ip[..].into(), port: 7946, zone: b"", dest_name: from };
            serf::put(&mut bytes, MessageKind::Relay, |w| header.write(w));
        }
        if self.draws.below(2) == 0 {
            let answer = serf::QueryResponse { ltime, id, from, flags, payload: None };
            serf::put(&mut bytes, MessageKind::QueryResponse, |w| answer.write(w));
        } else {
            let addr = [10, 0, 0, self.draws.below(9) as u8];
            let names = [&b"q"[..], b"_serf_conflict", b"_serf_ping", b"_serf_use-key"];
            let query = serf::Query {
                ltime,
                id,
                addr: addr[..].into(),
                port: 7946,
                source_node: from,
                flags,
                relay_factor: self.draws.below(255) as u8,
                timeout: i64::MAX,
                name: names[self.draws.below(names.len())],
                payload: Some(from.into()),
                ..serf::Query::default()
            };
            serf::put(&mut bytes, MessageKind::Query, |w| query.write(w));
        }
        bytes
    }

    fn kill(&mut self, at: At) {
        self.look(at);
        self.asked.retain(|(whose, _)| *whose != at);
        self.c.kill(at);
    }

    /// A new life, perhaps in another place; it joins somebody who is there.
    fn begin_again(&mut self, at: At, elsewhere: bool) {
        self.clocks[at] = (0, 0, 0);
        self.believed[at] = (self.c.events(at).len(), BTreeMap::new());
        self.moves = self.moves.wrapping_add(1);
        let host = if elsewhere { 100 + self.moves % 100 } else { at as u8 + 1 };
        self.c.start_with(at, |config| config.gossip.advertise = Address::new(&[10, 0, 0, host], 7946));
        self.join_all(at);
    }

    fn join_all(&mut self, at: At) {
        for other in 0..NODES {
            if other != at && self.c.is_up(other) {
                let join = self.c.join_command(other, true);
                self.ask(at, join);
            }
        }
    }

    /// Things that are always so.
    fn look(&mut self, at: At) {
        if !self.c.is_up(at) {
            return;
        }
        let v = self.c.node(at).vitals();
        let (clocks, before) = ((v.member_time, v.event_time, v.query_time), self.clocks[at]);
        assert!(clocks.0 >= before.0 && clocks.1 >= before.1 && clocks.2 >= before.2, "a clock went back");
        self.clocks[at] = clocks;

        let (seen, believed) = &mut self.believed[at];
        let events = &self.c.events(at)[*seen..];
        *seen += events.len();
        for event in events {
            let Event::Member(event) = event else { continue };
            let name = event.members[0].name.clone();
            let before = believed.get(&name).copied();
            let after = match (event.kind, before) {
                (Join, None | Some(Status::Left | Status::Failed)) => Status::Alive,
                (Leave, Some(Status::Alive | Status::Failed)) => Status::Left,
                (Failed, Some(Status::Alive)) => Status::Failed,
                (Update, Some(Status::Alive)) => Status::Alive,
                (Reap, Some(Status::Left | Status::Failed)) => Status::None,
                (kind, before) => panic!("{kind} of {name}, who was {before:?}"),
            };
            if after == Status::None {
                believed.remove(&name)
            } else {
                believed.insert(name, after)
            };
        }
    }

    fn agree(&self) -> Result<(), String> {
        for at in 0..NODES {
            let node = self.c.node(at);
            if node.state() != NodeState::Alive {
                continue;
            }
            for other in 0..NODES {
                let name = self.c.name(other);
                let there = self.c.node(other).state() == NodeState::Alive;
                let member = node.member(name.as_bytes());
                let status = member.as_ref().map_or(Status::None, |member| member.status);
                if there != (status == Status::Alive) || status == Status::Leaving {
                    return Err(format!("{at} takes {other} for {status}, who is there: {there}"));
                }
                if let Some(member) = member.filter(|_| there)
                    && (member.tags() != *self.c.node(other).tags() || member.addr != self.c.addr(other))
                {
                    return Err(format!("{at} does not know what {other} tells of itself"));
                }
            }
            let v = node.vitals();
            let queued = v.intent_queue + v.event_queue + v.query_queue + node.gossip().queued();
            // Alone there is nobody to say it to.
            if queued > 0 && node.gossip().members().present() > 1 {
                return Err(format!("{at} still has something to say: {v:?}"));
            }
        }
        Ok(())
    }

    /// Nothing more happens but what must.
    fn rest(&mut self) {
        self.c.loss = 0;
        for at in 0..NODES {
            for other in 0..NODES {
                self.c.mend(at, other);
            }
        }
        for at in 0..NODES {
            self.c.go_on(at);
            if !self.c.is_up(at) {
                self.begin_again(at, false);
            } else if self.c.node(at).state() == NodeState::Alive {
                self.join_all(at);
            }
        }
        for _ in 0..240 {
            self.c.run(SECOND);
            if self.agree().is_ok() {
                break;
            }
        }
        if let Err(why) = self.agree() {
            panic!("{why}");
        }
    }

    /// Each command that was not overtaken by a death has one answer; and each query that began has one end, and one
    /// answer of a kind from each.
    fn answers(&mut self) {
        self.c.run(5 * SECOND);
        let asked = std::mem::take(&mut self.asked);
        for (at, id) in asked {
            let answers =
                self.c.events(at).iter().filter(|e| matches!(e, Event::Done { id: of, .. } if *of == id));
            assert_eq!(answers.count(), 1, "{at} {id:?}");
            let began = matches!(self.c.outcome(at, id), Some(Outcome::Asked { .. }));
            let (mut ends, mut known) = (0, BTreeSet::new());
            for event in self.c.events(at) {
                match event {
                    Event::QueryEnded { id: of, .. } if *of == id => ends += 1,
                    Event::Answer { id: of, answer } if *of == id => {
                        let (kind, from) = match answer {
                            Answer::Ack { from } => (0, from),
                            Answer::Response { from, .. } => (1, from),
                            _ => unreachable!(),
                        };
                        assert!(ends == 0 && known.insert((kind, from)), "{at} {id:?} {from}");
                    }
                    _ => {}
                }
            }
            assert_eq!(ends, usize::from(began), "{at} {id:?}");
        }
    }
}

fn play(seed: u64) {
    let mut play = Play::new(seed);
    for _ in 0..3 {
        for _ in 0..20 {
            play.act();
            let pause = Duration::from_millis(play.draws.below(1500) as u64);
            play.c.run(pause);
            (0..NODES).for_each(|at| play.look(at));
        }
        play.rest();
        (0..NODES).for_each(|at| play.look(at));
        play.answers();
        // Whoever left or was shut down starts anew.
        for at in 0..NODES {
            if play.c.node(at).state() != NodeState::Alive {
                play.kill(at);
            }
        }
    }
}

#[test]
fn whatever_happened_all_agree_when_it_is_over() {
    for seed in 0..12 {
        let played = std::panic::catch_unwind(|| play(1000 + seed));
        assert!(played.is_ok(), "play {seed}");
    }
}

#[test]
fn a_cluster_at_rest_stays_as_small_as_it_is() {
    let mut c = Cluster::joined(7, NODES);
    let wakes = |c: &mut Cluster| {
        let before: u64 = (0..NODES).map(|at| c.node(at).gossip().stats().packets_sent).sum();
        c.run(100 * SECOND);
        (0..NODES).map(|at| c.node(at).gossip().stats().packets_sent).sum::<u64>() - before
    };
    let (first, mut last) = (wakes(&mut c), 0);
    for _ in 0..20 {
        last = wakes(&mut c);
    }
    assert!(last <= first + first / 10, "{first} datagrams at first, {last} in the end");
}
