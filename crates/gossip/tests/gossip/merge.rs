//! The exchange of full states: what is believed of a peer's, and what ours looks like (checklist MG, ST5).

use std::time::Duration;

use serf_gossip::{Command, Config, Outcome, State, StreamEvent, Topic};

use crate::net::address;
use crate::rig::{Life, Reply, Rig, Said, Told, VERSIONS, dead, push_pull, rig_config, suspect};

fn config() -> Config {
    Config { push_pull_interval: Duration::ZERO, ..rig_config() }
}

/// MG1, MG2, MG3, MG4, with the state left
#[test]
fn a_peers_view_is_believed_as_far_as_it_may_be() {
    let mut rig = Rig::among(6, config());
    rig.hear(&suspect("n2", 1, "x"));
    rig.quiet();
    let told = [
        Life::of(2, 2),
        Life::of(3, 1).state(State::Suspect),
        Life::of(4, 1).state(State::Dead),
        Life::of(5, 1).state(State::Left),
        Life { state: 9, ..Life::of(6, 5) },
        Life::of(7, 4),
        // Strangers that are gone, or nearly so, are nobody.
        Life::of(8, 4).state(State::Suspect),
        Life::of(9, 4).state(State::Dead),
        Life::of(10, 4).state(State::Left),
    ];
    rig.request(&push_pull(false, &told, b""));
    let states: Vec<State> = (2..8).map(|i| rig.state(&format!("n{i}"))).collect();
    let [alive, suspect, left] = [State::Alive, State::Suspect, State::Left];
    assert_eq!(states, [alive, suspect, suspect, left, alive, alive]);
    assert_eq!(rig.member("n6").incarnation, 1);
    assert!(!rig.knows("n8") && !rig.knows("n9") && !rig.knows("n10"));
    assert_eq!(rig.above.told(), [Told::Left("n5".into(), left), Told::Joined("n7".into())]);
    let queued = rig.queued();
    let ours = |s: &Said| matches!(s, Said::Suspect { from, .. } if from == "me");
    assert_eq!(queued.iter().filter(|s| ours(s)).count(), 2, "in our own name: {queued:?}");
    assert!(queued.contains(&Said::Dead { inc: 1, node: "n5".into(), from: "n5".into() }));
}

/// MG4: what is told twice is told once.
#[test]
fn a_second_exchange_brings_nothing_new() {
    let mut rig = Rig::new();
    let told = [Life::of(2, 1), Life::of(2, 1), Life::of(3, 1)];
    rig.quiet();
    rig.request(&push_pull(true, &told, b""));
    rig.request(&push_pull(true, &told, b""));
    assert_eq!(rig.above.told(), [Told::Joined("n2".into()), Told::Joined("n3".into())]);
    let stats = rig.gossip.stats();
    assert_eq!((stats.push_pulls, stats.states_received, stats.states_sent), (2, 2, 2));
    let request = push_pull(true, &told, b"").len() as u64;
    // A header of the stream's label may be around it.
    assert!((2 * request..2 * request + 8).contains(&stats.state_bytes_received));
}

/// ST5
#[test]
fn our_view_lists_everybody_as_they_are() {
    let mut rig = Rig::among(5, Config { meta: b"mine".to_vec(), ..config() });
    rig.hear(&Life::of(2, 7).meta(b"two").message());
    rig.hear(&suspect("n3", 1, "x"));
    rig.hear(&dead("n4", 1, "x"));
    rig.hear(&dead("n5", 1, "n5"));
    rig.above.layer().state = b"above".to_vec();
    for join in [true, false] {
        let Some(Reply::State { join: echoed, mut nodes, user }) = rig.request(&push_pull(join, &[], b""))
        else {
            panic!("no state")
        };
        assert_eq!((echoed, user.as_slice()), (join, &b"above"[..]));
        nodes.sort();
        let node = |name: &str, i, inc, state, meta: &[u8]| {
            (name.to_string(), address(i), inc, state, meta.to_vec(), VERSIONS.to_vec())
        };
        let want = [
            node("me", 1, 1, 0, b"mine"),
            node("n2", 2, 7, 0, b"two"),
            node("n3", 3, 1, 1, b""),
            node("n4", 4, 1, 2, b""),
            node("n5", 5, 1, 3, b""),
        ];
        assert_eq!(nodes, want);
    }
}

/// A peer's own state is handed on after its nodes, if there is any.
#[test]
fn the_state_of_the_layer_above_comes_last() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.request(&push_pull(true, &[Life::of(2, 1)], b"theirs"));
    assert_eq!(rig.above.told(), [Told::Joined("n2".into()), Told::RemoteState(b"theirs".to_vec(), true)]);
    rig.request(&push_pull(false, &[], b""));
    assert_eq!(rig.above.told(), []);
}

/// Our reply shows what we knew before.
#[test]
fn the_reply_does_not_repeat_the_request() {
    let mut rig = Rig::new();
    let Some(Reply::State { nodes, .. }) = rig.request(&push_pull(true, &[Life::of(2, 1)], b"")) else {
        panic!()
    };
    assert_eq!(nodes.len(), 1);
}

/// MG5–MG10: whether a peer's nodes can live with ours. Versions of ours, of theirs, verdict.
#[test]
fn everybody_must_be_able_to_talk_with_everybody() {
    type Versions = [[u8; 3]];
    let cases: [(&Versions, &Versions, bool); 9] = [
        (&[[1, 5, 2]], &[[1, 5, 2]], true),
        (&[[1, 5, 2]], &[[1, 7, 2]], true),
        (&[[2, 5, 3]], &[[1, 3, 3]], true),
        // One speaks what the other does not.
        (&[[1, 3, 3]], &[[4, 6, 4]], false),
        (&[[1, 5, 5]], &[[1, 3, 2]], false),
        (&[[1, 2, 2]], &[[1, 5, 4]], false),
        // Neighbours understand each other, the ends do not.
        (&[[1, 3, 3], [2, 4, 4]], &[[3, 5, 5]], false),
        (&[[1, 3, 3], [2, 4, 3]], &[[3, 5, 3], [1, 4, 3]], true),
        (&[[1, 5, 1], [1, 5, 5]], &[[1, 5, 3]], true),
    ];
    for (a, b, fits) in cases {
        for (ours, theirs) in [(a, b), (b, a)] {
            for delegate in [false, true] {
                let put = |v: &[u8; 3]| {
                    let [min, max, now] = *v;
                    if delegate { [1, 5, 2, min, max, now] } else { [min, max, now, 0, 0, 0] }
                };
                let mut config = config();
                if delegate {
                    config.delegate_versions = ours[0];
                } else {
                    // Of ourselves only the current version can be chosen; the first of `ours` is one more node.
                    config.protocol_version = ours[0][2];
                }
                let mut rig = Rig::with(config);
                for (i, v) in ours.iter().enumerate().skip(usize::from(delegate)) {
                    rig.hear(&Life::of(i + 10, 1).versions(&put(v)).message());
                }
                let known = rig.gossip.members().known();
                let mut everybody: Vec<[u8; 6]> = rig.gossip.members().iter().map(|m| m.versions).collect();
                everybody.extend(theirs.iter().map(put));
                let verdict = compatible(&everybody);
                assert!(verdict == fits || !delegate, "the case itself: {ours:?} {theirs:?}");
                let lives: Vec<Life> =
                    theirs.iter().enumerate().map(|(i, v)| Life::of(i + 20, 1).versions(&put(v))).collect();
                rig.forget();
                rig.request(&push_pull(true, &lives, b"state"));
                assert_eq!(rig.gossip.members().known() > known, verdict, "{ours:?} {theirs:?}");
                assert_eq!(rig.notices(Topic::PushPull).is_empty(), verdict);
                assert_eq!(rig.above.told().is_empty(), !verdict, "all or nothing");
            }
        }
    }
}

/// The rule of spec §7.2 in its plainest form.
fn compatible(all: &[[u8; 6]]) -> bool {
    [0, 3].iter().all(|at| {
        let least = all.iter().map(|v| v[*at]).max().unwrap();
        let most = all.iter().map(|v| v[at + 1]).min().unwrap();
        all.iter().all(|v| (least..=most).contains(&v[at + 2]))
    })
}

/// One entry without versions spoils the exchange, alive or not.
#[test]
fn a_node_without_versions_spoils_an_exchange() {
    for state in [State::Alive, State::Dead] {
        let mut rig = Rig::new();
        let told = [Life::of(2, 1), Life::of(3, 1).versions(&[]).state(state)];
        assert!(rig.request(&push_pull(false, &told, b"")).is_some(), "our side is told all the same");
        assert!(!rig.knows("n2"));
        assert!(rig.notices(Topic::PushPull)[0].contains("n3"));
    }
}

/// The dead and the suspect do not narrow what the living may speak, but must fit into it.
#[test]
fn only_the_living_set_the_range() {
    let mut rig = Rig::new();
    rig.request(&push_pull(
        false,
        &[Life::of(2, 1), Life::of(3, 1).versions(&[2, 2, 2, 0, 0, 0]).state(State::Dead)],
        b"",
    ));
    assert!(rig.knows("n2"));
    let mut rig = Rig::new();
    rig.request(&push_pull(
        false,
        &[Life::of(2, 1), Life::of(3, 1).versions(&[1, 9, 9, 0, 0, 0]).state(State::Dead)],
        b"",
    ));
    assert!(!rig.knows("n2"));
}

/// Nor do the dead whom only we know.
#[test]
fn our_own_dead_do_not_set_the_range() {
    let mut rig = Rig::new();
    rig.hear(&Life::of(9, 1).versions(&[2, 2, 2, 0, 0, 0]).message());
    rig.hear(&dead("n9", 1, "x"));
    rig.request(&push_pull(false, &[Life::of(2, 1).versions(&[1, 5, 3, 0, 0, 0])], b""));
    assert!(rig.knows("n2"));
}

/// Only joins are shown to the merge policy; its no leaves everything as it was.
#[test]
fn the_policy_may_refuse_a_join() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.above.layer().refuse_merge = Some("we are full".into());
    let told = [Life::of(2, 1), Life::of(3, 1).state(State::Left)];
    rig.request(&push_pull(true, &told, b"state"));
    assert_eq!((rig.above.told(), rig.gossip.members().known()), (vec![], 1));
    assert!(rig.notices(Topic::PushPull)[0].contains("we are full"));
    assert_eq!(rig.above.layer().asked_merge, [2]);
    rig.request(&push_pull(false, &told, b""));
    assert!(rig.knows("n2"), "a periodic exchange is not asked about");
}

/// Whoever joins asks its own policy, whatever the reply calls itself.
#[test]
fn a_joiner_cannot_be_talked_out_of_its_policy() {
    let mut rig = Rig::new();
    rig.quiet();
    rig.above.layer().refuse_merge = Some("not those".into());
    let peers = vec![rig.peer(2)];
    let id = rig.command(|id| Command::Join { id, peers });
    let (stream, _) = rig.dialled()[0];
    rig.stream(stream, StreamEvent::Connected);
    rig.stream(stream, StreamEvent::Data(&push_pull(false, &[Life::of(2, 1)], b"s")));
    let Some(Outcome::Joined { contacted, failed }) = rig.outcome(id) else { panic!("not answered") };
    assert!(contacted.is_empty() && failed[0].1.contains("not those"), "{failed:?}");
    assert!(!rig.knows("n2"));
    // And whoever hears that it was a join tells the layer above so.
    rig.above.layer().refuse_merge = None;
    let peers = vec![rig.peer(2)];
    rig.forget();
    rig.command(|id| Command::Join { id, peers });
    let (stream, _) = rig.dialled()[0];
    rig.stream(stream, StreamEvent::Connected);
    rig.stream(stream, StreamEvent::Data(&push_pull(false, &[Life::of(2, 1)], b"s")));
    assert!(rig.above.told().contains(&Told::RemoteState(b"s".to_vec(), true)));
}

/// Nodes that start together do not all exchange their states together.
#[test]
fn the_first_exchange_comes_after_a_random_delay() {
    let firsts: std::collections::BTreeSet<_> = (0..8)
        .map(|i| {
            let mut rig = Rig::seeded(Config { probe_interval: Duration::ZERO, ..rig_config() }, i);
            rig.hear(&Life::of(2, 1).message());
            rig.quiet();
            let first = rig.due().expect("an exchange").since(rig.now);
            assert!((Duration::from_secs(30)..Duration::from_secs(60)).contains(&first), "{first:?}");
            first
        })
        .collect();
    assert_eq!(firsts.len(), 8);
}

/// The periodic exchange goes to one living member, begins after a random delay and repeats.
#[test]
fn states_are_exchanged_with_a_random_living_member_every_so_often() {
    let config = Config {
        push_pull_interval: Duration::from_secs(30),
        probe_interval: Duration::ZERO,
        ..rig_config()
    };
    let mut rig = Rig::among(5, config);
    rig.hear(&dead("n2", 1, "x"));
    rig.hear(&suspect("n3", 1, "x"));
    let mut times = Vec::new();
    let mut whom = Vec::new();
    while times.len() < 8 {
        rig.actions.clear();
        let due = rig.due().expect("there is always a next one");
        rig.pass(due.since(rig.now));
        if let [(id, to)] = &rig.dialled()[..] {
            times.push(rig.now);
            whom.push(to.clone());
            let id = *id;
            rig.stream(id, StreamEvent::Failed("no".into()));
        }
    }
    assert!(times.windows(2).all(|w| w[1].since(w[0]) == Duration::from_secs(30)), "{times:?}");
    whom.sort();
    whom.dedup();
    assert_eq!(whom, [address(4), address(5)]);
    assert!(!rig.notices(Topic::PushPull).is_empty() || rig.gossip.stats().notices_suppressed > 0);
}
