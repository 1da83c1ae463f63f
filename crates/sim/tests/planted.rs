//! The seed farm finds what is there to be found: mistakes planted in the machines, each within 200 seeds.
//! `cargo test -p serf-sim --features planted --test planted`
#![cfg(feature = "planted")]

use serf_gossip::Planted;
use serf_sim::{Scenario, Violation, play};

fn find(planted: Option<Planted>, seeds: u64) -> Option<(u64, Violation)> {
    (1..=seeds).find_map(|seed| {
        let mut story = Scenario::draw(seed, 9);
        story.planted = planted;
        play(&story, None).err().map(|violation| (seed, violation))
    })
}

#[test]
fn incarnations_compared_the_wrong_way_round_are_found() {
    let (seed, violation) = find(Some(Planted::IncarnationsTurnedRound), 200).expect("found");
    println!("seed {seed}: {violation}");
}

#[test]
fn refutations_that_are_not_told_are_found() {
    let (seed, violation) = find(Some(Planted::RefutationsDropped), 200).expect("found");
    println!("seed {seed}: {violation}");
}

#[test]
fn messages_without_a_limit_are_found() {
    let (seed, violation) = find(Some(Planted::RetransmittedForEver), 200).expect("found");
    println!("seed {seed}: {violation}");
}
