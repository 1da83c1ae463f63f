//! Accusations, and suspicions that run out (checklist SP, SU).

use std::time::Duration;

use serf_gossip::suspicion::{Suspicion, shortest};
use serf_gossip::{Config, Instant, State};

use crate::rig::{Life, Rig, Said, Told, dead, rig_config, suspect};

/// Nobody is probed: the suspicions are the test's own.
fn config() -> Config {
    Config { probe_interval: Duration::from_secs(1), push_pull_interval: Duration::ZERO, ..rig_config() }
}

/// SP1
#[test]
fn an_unknown_node_cannot_be_suspected() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.hear(&suspect("n2", 1, "x"));
    assert!(!rig.knows("n2"));
    assert_eq!(rig.gossip.queued(), 0);
}

/// SP2
#[test]
fn a_suspicion_is_passed_on_and_ends_in_death() {
    let mut rig = Rig::among(2, config());
    rig.millis(5);
    rig.hear(&suspect("n2", 1, "x"));
    let m = rig.member("n2");
    assert_eq!((m.state, m.incarnation, m.since), (State::Suspect, 1, Some(rig.now)));
    assert_eq!(rig.above.told(), [], "a suspect is still a member");
    let (inc, node) = (1, "n2".to_string());
    assert_eq!(rig.queued(), [Said::Suspect { inc, node: node.clone(), from: "x".into() }]);
    // Two nodes: 4 s, nobody else could confirm it.
    rig.millis(3999);
    assert_eq!(rig.state("n2"), State::Suspect);
    rig.millis(1);
    assert_eq!((rig.state("n2"), rig.member("n2").since), (State::Dead, Some(rig.now)));
    assert_eq!(rig.above.told(), [Told::Left("n2".into(), State::Dead)]);
    assert_eq!(rig.queued(), [Said::Dead { inc, node, from: "me".into() }], "in the place of the old news");
}

/// SP3
#[test]
fn the_same_accusation_again_is_no_news() {
    let mut rig = Rig::among(2, config());
    rig.hear(&suspect("n2", 1, "x"));
    rig.quiet();
    let since = rig.member("n2").since;
    rig.hear(&suspect("n2", 1, "x"));
    assert_eq!((rig.member("n2").since, rig.gossip.queued()), (since, 0));
}

/// SP4
#[test]
fn an_accusation_of_the_past_is_no_news() {
    let mut rig = Rig::among(2, config());
    rig.hear(&Life::of(2, 5).message());
    rig.quiet();
    rig.hear(&suspect("n2", 4, "x"));
    assert_eq!((rig.state("n2"), rig.gossip.queued()), (State::Alive, 0));
}

/// SP5
#[test]
fn an_accusation_of_ourselves_is_refuted() {
    let mut rig = Rig::among(2, config());
    rig.hear(&suspect("me", 1, "x"));
    assert_eq!((rig.gossip.local().state, rig.gossip.local().incarnation), (State::Alive, 2));
    assert_eq!((rig.gossip.health(), rig.gossip.stats().refuted), (1, 1));
    assert!(matches!(&rig.queued()[..], [Said::Alive { inc: 2, node, .. }] if node == "me"));
    rig.quiet();
    rig.hear(&suspect("me", 1, "x"));
    assert_eq!((rig.gossip.health(), rig.gossip.queued()), (1, 0), "of the past");
    rig.hear(&suspect("me", 40, "x"));
    assert_eq!(rig.gossip.local().incarnation, 41, "just above the accusation");
}

/// An accusation raises the incarnation, so that older ones cannot end it; the dead are not suspected.
#[test]
fn a_suspicion_takes_the_incarnation_of_the_accusation() {
    let mut rig = Rig::among(3, config());
    rig.hear(&suspect("n2", 6, "x"));
    assert_eq!(rig.member("n2").incarnation, 6);
    rig.hear(&Life::of(2, 6).message());
    assert_eq!(rig.state("n2"), State::Suspect);
    rig.hear(&dead("n3", 1, "x"));
    rig.hear(&suspect("n3", 1, "x"));
    assert_eq!(rig.state("n3"), State::Dead);
}

/// A suspect that refutes and is suspected again has its whole time again.
#[test]
fn the_end_of_an_old_suspicion_does_not_end_a_new_one() {
    let mut rig = Rig::among(2, config());
    rig.hear(&suspect("n2", 1, "x"));
    rig.millis(3900);
    rig.hear(&Life::of(2, 2).message());
    rig.hear(&suspect("n2", 2, "x"));
    rig.millis(3999);
    assert_eq!(rig.state("n2"), State::Suspect);
    rig.millis(1);
    assert_eq!(rig.state("n2"), State::Dead);
}

/// SU6, and what is left of a suspicion when its node is gone otherwise.
#[test]
fn after_its_end_a_suspicion_does_nothing() {
    let mut rig = Rig::among(10, config());
    rig.hear(&suspect("n2", 1, "n3"));
    rig.jump(Duration::from_secs(24));
    assert_eq!(rig.state("n2"), State::Dead);
    rig.quiet();
    rig.hear(&suspect("n2", 1, "n4"));
    rig.jump(Duration::from_millis(900));
    assert_eq!((rig.state("n2"), rig.gossip.queued()), (State::Dead, 0));
}

/// SU8
#[test]
fn a_confirmation_that_comes_too_late_to_wait_ends_the_suspicion_at_once() {
    let mut rig = Rig::among(10, config());
    rig.hear(&suspect("n2", 1, "n3"));
    rig.jump(Duration::from_secs(20));
    assert_eq!(rig.state("n2"), State::Suspect);
    // One confirmation makes 11.381 s of the 24 s.
    rig.hear(&suspect("n2", 1, "n4"));
    assert_eq!(rig.due(), Some(rig.now));
    rig.millis(0);
    assert_eq!(rig.state("n2"), State::Dead);
}

/// SU3, SU4, SU5
#[test]
fn new_accusers_are_passed_on_until_there_are_enough() {
    let mut rig = Rig::among(10, config());
    rig.hear(&suspect("n2", 1, "n3"));
    rig.quiet();
    rig.hear(&suspect("n2", 1, "n3"));
    assert_eq!(rig.gossip.queued(), 0, "the first accuser");
    let from = "n4".to_string();
    rig.hear(&suspect("n2", 3, "n4"));
    assert_eq!(rig.queued(), [Said::Suspect { inc: 3, node: "n2".into(), from }], "as it came");
    assert_eq!(rig.member("n2").incarnation, 1, "not raised by a confirmation");
    rig.quiet();
    rig.hear(&suspect("n2", 1, "n4"));
    assert_eq!(rig.gossip.queued(), 0, "again");
    rig.hear(&suspect("n2", 1, "n5"));
    assert_eq!(rig.gossip.queued(), 1);
    rig.quiet();
    rig.hear(&suspect("n2", 1, "n6"));
    assert_eq!(rig.gossip.queued(), 0, "more than wanted");
}

/// SU2 and the table of spec §5.5: how long a lonely suspicion, and one with all its confirmations, lasts.
#[test]
fn suspicions_last_as_long_as_the_table_says() {
    let profiles: [fn(_, _) -> Config; 3] = [Config::lan, Config::wan, Config::local];
    // n, and for each profile: shortest and longest in seconds, confirmations wanted.
    let table = [
        (2, [(4, 4, 0), (30, 30, 0), (3, 3, 0)]),
        (3, [(4, 4, 0), (30, 30, 0), (3, 18, 1)]),
        (4, [(4, 24, 2), (30, 30, 0), (3, 18, 1)]),
        (10, [(4, 24, 2), (30, 180, 4), (3, 18, 1)]),
        (100, [(8, 48, 2), (60, 360, 4), (6, 36, 1)]),
        (1000, [(12, 72, 2), (90, 540, 4), (9, 54, 1)]),
    ];
    for (n, rows) in table {
        for ((min, max, k), profile) in rows.into_iter().zip(profiles) {
            let config = Config {
                hardening: rig_config().hardening,
                push_pull_interval: Duration::ZERO,
                gossip_interval: Duration::ZERO,
                ..profile("me".into(), crate::net::address(1))
            };
            for (confirmations, secs) in [(0, max), (k, min)] {
                let mut rig = Rig::with(config.clone());
                (2..=n).for_each(|i| rig.hear(&Life::of(i, 1).message()));
                rig.hear(&suspect("n2", 1, "first"));
                (0..confirmations).for_each(|i| rig.hear(&suspect("n2", 1, &format!("c{i}"))));
                let ends = rig.until_dead("n2", Duration::from_secs(secs));
                assert_eq!(ends, Duration::from_secs(secs), "{n} nodes, {confirmations} confirmations");
            }
        }
    }
}

impl Rig {
    /// How long until it is dead; it must be so within `most`. The others answer nothing, which changes nothing for
    /// this one.
    fn until_dead(&mut self, name: &str, most: Duration) -> Duration {
        let last = Duration::from_millis(1);
        self.jump(most - last);
        assert_eq!(self.state(name), State::Suspect, "dead too early");
        self.jump(last);
        assert_eq!(self.state(name), State::Dead, "not dead after {most:?}");
        most
    }
}

/// SU9
#[test]
fn the_shortest_suspicion_grows_with_the_logarithm() {
    for (n, millis) in [(5, 1000), (10, 1000), (50, 1698), (100, 2000), (500, 2698), (1000, 3000)] {
        let got = shortest(3, n, Duration::from_secs(1));
        assert_eq!(got, Duration::from_millis(3 * millis), "{n} nodes");
    }
}

/// SU10
#[test]
fn a_dogpile_shortens_the_wait() {
    let table = [
        (1, 0, 500),
        (2, 0, 500),
        (3, 0, 500),
        (4, 0, 1000),
        (5, 0, 1000),
        (5, 1, 750),
        // 603.76 ms, cut; the list rounds it to 604.
        (5, 2, 603),
        (5, 3, 500),
        (5, 4, 500),
    ];
    for (peers, confirmations, millis) in table {
        let config = Config {
            suspicion_mult: 5,
            suspicion_max_timeout_mult: 2,
            probe_interval: Duration::from_millis(100),
            gossip_interval: Duration::ZERO,
            ..config()
        };
        let mut rig = Rig::with(config);
        (2..peers + 2).for_each(|i| rig.hear(&Life::of(i, 1).message()));
        rig.hear(&suspect("n2", 1, "first"));
        (0..confirmations).for_each(|i| rig.hear(&suspect("n2", 1, &format!("c{i}"))));
        rig.until_dead("n2", Duration::from_millis(millis));
    }
}

/// The longest suspicion is exact even where a second has no exact binary fraction.
#[test]
fn the_longest_suspicion_is_not_cut_by_rounding() {
    for millis in 1..20_000 {
        let max = Duration::from_micros(millis * 1000 + 7);
        let s = Suspicion::new(Instant::ZERO, "a".into(), 2, Duration::from_millis(1), max);
        assert_eq!(s.deadline(), Instant::ZERO + max);
    }
}

/// A suspicion that runs out unconfirmed hints at our own trouble, and is counted.
#[test]
fn unconfirmed_ends_are_counted() {
    let mut rig = Rig::among(10, config());
    rig.hear(&suspect("n2", 1, "n3"));
    rig.hear(&suspect("n4", 1, "a"));
    ["b", "c"].iter().for_each(|from| rig.hear(&suspect("n4", 1, from)));
    rig.jump(Duration::from_secs(4));
    assert_eq!((rig.state("n4"), rig.gossip.stats().degraded_timeouts), (State::Dead, 0));
    rig.jump(Duration::from_secs(20));
    assert_eq!((rig.state("n2"), rig.gossip.stats().degraded_timeouts >= 1), (State::Dead, true));
}
