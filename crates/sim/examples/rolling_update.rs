//! A program that embeds Serf tests itself: does its rule of updating one node at a time hold while the network fails?
//!
//! The rule: the first node in line restarts when it hears the event `update`, and tells `updated` when it is back; the
//! next one goes on when it hears that.
//!
//! `cargo run -p serf-sim --example rolling_update`

use std::collections::BTreeSet;
use std::time::Duration;

use serf_core::{Command, Event};
use serf_sim::{At, Link, Network, Sim};

const NODES: usize = 8;
const RESTART: Duration = Duration::from_secs(3);

fn main() {
    for seed in 1..=20 {
        let (updated, most_down) = update(seed);
        println!("seed {seed}: {updated} of {NODES} nodes updated, at most {most_down} down at once");
        assert!(most_down <= 1, "seed {seed} breaks the rule");
        assert_eq!(updated, NODES, "seed {seed}: somebody was left out");
    }
}

/// How many were updated, and how many were down at once at most.
fn update(seed: u64) -> (usize, usize) {
    let mut sim = Sim::new(seed);
    sim.network = Network::flat(Link { loss: 0.2, duplication: 0.1, ..Link::lan() });
    for at in 0..NODES {
        sim.add(Sim::lan(at)).expect("settings that work");
    }
    sim.acquaint();

    let (mut updated, mut most_down) = (BTreeSet::new(), 0);
    let mut back: Option<(serf_gossip::Instant, At)> = None;
    let fire = |sim: &mut Sim, at: At, name: &str, payload: Vec<u8>| {
        let name = name.into();
        sim.command(at, |id| Command::UserEvent { id, name, payload, coalesce: false });
    };
    fire(&mut sim, NODES - 1, "update", Vec::new());
    let end = sim.now() + Duration::from_secs(600);
    while sim.now() < end && updated.len() < NODES {
        let until = back.map_or(end, |(when, _)| when);
        // What the program does: it hears an event, and acts.
        if let Some((at, event)) = sim.advance(until) {
            let turn = match &event {
                Event::User(event) if event.name == "update".into() => at == 0,
                Event::User(event) if event.name == "updated".into() => {
                    event.payload[..] == [(at as u8).wrapping_sub(1)][..]
                }
                _ => false,
            };
            if turn && !updated.contains(&at) && back.is_none() {
                sim.kill(at);
                back = Some((sim.now() + RESTART, at));
            }
        } else if let Some((_, at)) = back.take() {
            sim.start(at).expect("settings that worked");
            sim.join(at, (at + 1) % NODES);
            updated.insert(at);
            fire(&mut sim, at, "updated", vec![at as u8]);
        }
        most_down = most_down.max((0..NODES).filter(|at| !sim.is_up(*at)).count());
    }
    (updated.len(), most_down)
}
