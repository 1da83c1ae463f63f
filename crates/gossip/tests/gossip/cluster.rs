//! Joining, leaving, failing and coming back (checklist CL).

use serf_gossip::{Address, Command, Config, KeyChange, MembershipEvent, Outcome, Peer, State};
use serf_wire::encrypt::Key;

use crate::net::{Net, address, config, name, secs};
use crate::rig::{Above, Told};

#[test]
fn two_nodes_join_and_know_each_other() {
    let mut net = Net::of(2);
    assert_eq!(net.join(1, 0), Ok(1));
    for i in 0..2 {
        assert_eq!(net.nodes[i].machine.gossip().members().present(), 2);
        assert_eq!(net.joined_events(i, 0) + net.joined_events(i, 1), 2);
    }
}

#[test]
fn twenty_nodes_converge() {
    Net::joined(20);
}

#[test]
fn a_leaver_is_left_everywhere_and_its_leave_ends() {
    let mut net = Net::joined(5);
    let id = net.command(3, |id| Command::Leave { id, timeout: secs(5.0) });
    assert_eq!(net.outcome(3, id), Outcome::Ok);
    net.until(secs(10.0), "left everywhere", |net| (0..5).all(|i| net.state(i, 3) == Some(State::Left)));
}

#[test]
fn a_node_that_stops_is_dead_to_all_and_alive_again_when_it_returns() {
    let mut net = Net::joined(5);
    net.nodes[2].down = true;
    let others = [0, 1, 3, 4];
    net.until(secs(60.0), "dead everywhere", |net| {
        others.iter().all(|i| net.state(*i, 2) == Some(State::Dead))
    });
    net.nodes[2].down = false;
    net.until(secs(60.0), "alive everywhere", |net| {
        others.iter().all(|i| net.state(*i, 2) == Some(State::Alive))
    });
    assert_eq!(net.joined_events(0, 2), 2);
}

#[test]
fn a_resting_cluster_wakes_little_and_a_lone_node_never() {
    let mut net = Net::joined(3);
    net.pass(secs(30.0));
    net.nodes.iter_mut().for_each(|n| n.wakes = 0);
    net.pass(secs(60.0));
    for node in &net.nodes {
        // One probe a second, and a push/pull now and then.
        assert!(node.wakes <= 64, "{} wakes in a minute", node.wakes);
    }
    let mut lone = Net::of(1);
    lone.pass(secs(3600.0));
    assert_eq!(lone.nodes[0].wakes, 0);
}

fn knows(net: &Net, at: usize, n: usize) -> bool {
    net.nodes[at].machine.gossip().members().present() == n
}

fn outcome_of_keys(net: &mut Net, node: usize, change: KeyChange) {
    let id = net.command(node, |id| Command::Keyring { id, change });
    assert_eq!(net.outcome(node, id), Outcome::Ok);
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

/// CL4, CL14
#[test]
fn a_join_shows_each_the_other_with_its_meta_data() {
    let mut net = Net::new();
    for i in 0..2 {
        net.add(Config { meta: format!("meta{i}").into_bytes(), ..config(i) });
    }
    assert_eq!(net.join(1, 0), Ok(1));
    for at in 0..2 {
        let members = net.nodes[at].machine.gossip().members();
        assert_eq!((members.present(), members.known()), (2, 2));
        for of in 0..2 {
            assert_eq!(&*members.get(name(of).as_bytes()).unwrap().meta, format!("meta{of}").as_bytes());
        }
    }
}

/// CL3: what neither gossip nor probes could carry.
#[test]
fn the_periodic_exchange_tells_everybody_of_everybody() {
    let mut net = Net::new();
    for i in 0..4 {
        net.add(Config { gossip_interval: secs(0.0), probe_interval: secs(0.0), ..config(i) });
    }
    (1..4).for_each(|i| assert_eq!(net.join(i, 0), Ok(1)));
    assert!(knows(&net, 0, 4) && knows(&net, 1, 2));
    net.until(secs(180.0), "all know all", |net| (0..4).all(|i| knows(net, i, 4)));
}

/// CL5
#[test]
fn nodes_join_over_ipv6() {
    let mut net = Net::new();
    for i in 0..2 {
        let mut host = [0; 16];
        (host[0], host[15]) = (0xfd, i as u8);
        net.add(Config { advertise: Address::new(&host, 7946), ..config(i) });
    }
    assert_eq!(net.join(1, 0), Ok(1));
    assert!(knows(&net, 0, 2) && knows(&net, 1, 2));
    net.pass(secs(30.0));
    assert!(knows(&net, 0, 2) && knows(&net, 1, 2));
}

/// CL6, CL7: who lives outside what the others allow sees them and is not seen.
#[test]
fn one_outside_the_allowed_networks_is_not_listed() {
    let mut net = Net::new();
    let networks = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    for (i, host) in [[10, 1, 0, 1], [10, 2, 0, 1], [172, 16, 0, 1]].iter().enumerate() {
        let allowed_networks = if i < 2 { networks.clone() } else { None };
        net.add(Config { advertise: Address::new(host, 7946), allowed_networks, ..config(i) });
    }
    assert_eq!(net.join(1, 0), Ok(1));
    assert_eq!(net.join(2, 0), Ok(1));
    net.pass(secs(20.0));
    assert!(knows(&net, 0, 2) && knows(&net, 1, 2));
    assert_eq!((net.state(0, 2), net.state(1, 2)), (None, None));
    assert_eq!((net.state(2, 0).is_some(), net.state(2, 1).is_some()), (true, true));
}

/// CL8
#[test]
fn one_who_excludes_itself_is_listed_by_nobody() {
    let mut net = Net::new();
    let networks = Some(vec!["10.0.0.0/31".parse().unwrap()]);
    for i in 0..3 {
        net.add(Config { allowed_networks: networks.clone(), ..config(i) });
    }
    assert_eq!(net.join(1, 0), Ok(1));
    assert_eq!(net.join(2, 0), Ok(1));
    net.pass(secs(20.0));
    assert!((0..3).all(|at| knows(&net, at, 2)));
    assert!((0..2).all(|at| net.state(at, 2).is_none()));
}

/// CL9
#[test]
fn either_side_can_refuse_a_merge() {
    for (refusing, fails) in [([true, true], true), ([true, false], false), ([false, true], true)] {
        let mut net = Net::new();
        let above = [Above::default(), Above::default()];
        for (i, above) in above.iter().enumerate() {
            above.layer().refuse_merge = refusing[i].then(|| "custom merge canceled".to_string());
            net.add_with(config(i), Box::new(above.clone()));
        }
        let joined = net.join(1, 0);
        assert_eq!(joined.is_err(), fails);
        assert!(joined.err().is_none_or(|why| why.contains("custom merge canceled")));
        for (i, above) in above.iter().enumerate() {
            assert_eq!(knows(&net, i, 1), refusing[i], "each can refuse for itself only");
            assert_eq!(above.layer().asked_merge.len(), 1);
        }
    }
}

/// CL10
#[test]
fn a_refused_claim_is_no_refused_join() {
    let mut net = Net::new();
    let above = [Above::default(), Above::default()];
    for (i, above) in above.iter().enumerate() {
        net.add_with(config(i), Box::new(above.clone()));
        above.layer().refuse_alive = Some("custom alive canceled".into());
    }
    assert_eq!(net.join(1, 0), Ok(1));
    for (i, above) in above.iter().enumerate() {
        assert!(knows(&net, i, 1) && above.layer().asked_alive > 1);
    }
}

/// CL11
#[test]
fn protocol_versions_live_together() {
    for (a, b) in [(2, 1), (2, 3), (3, 2), (3, 1), (2, 5)] {
        let mut net = Net::new();
        net.add(Config { protocol_version: a, ..config(0) });
        net.add(Config { protocol_version: b, ..config(1) });
        assert_eq!(net.join(1, 0), Ok(1), "{a} and {b}");
        net.pass(secs(10.0));
        assert!(knows(&net, 0, 2) && knows(&net, 1, 2));
    }
}

/// CL12: a leaver stays able to answer.
#[test]
fn a_leaver_and_its_peer_are_alone_and_no_failure_is_seen() {
    let mut net = Net::joined(2);
    let id = net.command(1, |id| Command::Leave { id, timeout: secs(5.0) });
    assert_eq!(net.outcome(1, id), Outcome::Ok);
    assert!(knows(&net, 0, 1) && knows(&net, 1, 1));
    assert_eq!((net.state(0, 1), net.state(1, 1)), (Some(State::Left), Some(State::Left)));
    net.pass(secs(30.0));
    assert_eq!(net.nodes[0].machine.gossip().stats().failed_probes, 0);
    net.pass(secs(60.0));
    assert_eq!(net.state(0, 1), None, "forgotten in time");
}

/// CL13
#[test]
fn one_that_just_stops_is_found_dead() {
    let mut net = Net::joined(2);
    net.nodes[1].down = true;
    let took = net.until(secs(20.0), "found dead", |net| net.state(0, 1) == Some(State::Dead));
    assert!(took >= secs(5.0), "not before a probe and four seconds of suspicion: {took:?}");
}

/// CL15
#[test]
fn new_meta_data_reach_everybody() {
    let mut net = Net::joined(3);
    for i in 0..3 {
        let meta = vec![i as u8; 3];
        let id = net.command(i, |id| Command::UpdateMeta { id, meta, timeout: secs(5.0) });
        assert_eq!(net.outcome(i, id), Outcome::Ok);
    }
    net.until(secs(5.0), "everywhere", |net| {
        (0..9).all(|k| {
            let (at, of) = (k / 3, k % 3);
            *net.nodes[at].machine.gossip().members().get(name(of).as_bytes()).unwrap().meta == [of as u8; 3]
        })
    });
}

/// CL16
#[test]
fn broadcasts_and_states_of_the_layer_above_arrive() {
    let mut net = Net::new();
    let above = [Above::default(), Above::default()];
    for (i, above) in above.iter().enumerate() {
        above.layer().state = format!("state{i}").into_bytes();
        net.add_with(config(i), Box::new(above.clone()));
    }
    for i in 0..256_u16 {
        above[0].layer().broadcasts.push_back(i.to_be_bytes().to_vec());
    }
    assert_eq!(net.join(1, 0), Ok(1));
    for (i, other) in [(0, "state1"), (1, "state0")] {
        let told = above[i].told();
        assert!(told.contains(&Told::RemoteState(other.into(), true)), "{told:?}");
    }
    net.pass(secs(5.0));
    let got = above[1].told().iter().filter(|t| matches!(t, Told::Message(m) if m.len() == 2)).count();
    assert_eq!(got, 256);
}

/// CL17, CL18
#[test]
fn messages_arrive_by_datagram_and_by_stream_both_ways() {
    let mut net = Net::joined(2);
    for (from, to) in [(0, 1), (1, 0)] {
        let peer = || Peer { addr: address(to), name: Some(name(to)) };
        net.command(from, |_| Command::Send { to: peer(), bytes: b"quick".to_vec() });
        let id = net.command(from, |id| Command::SendReliable { id, to: peer(), bytes: vec![7; 100_000] });
        assert_eq!(net.outcome(from, id), Outcome::Ok);
        net.pass(secs(1.0));
        let got: Vec<usize> = net.nodes[to]
            .events
            .iter()
            .filter_map(
                |e| if let MembershipEvent::Message { bytes, .. } = e { Some(bytes.len()) } else { None },
            )
            .collect();
        assert_eq!(got, [5, 100_000]);
        let id = net.command(from, |id| Command::Ping { id, peer: peer() });
        assert_eq!(net.outcome(from, id), Outcome::Pong(secs(0.002)));
    }
}

/// CL20
#[test]
fn two_of_one_name_are_a_conflict_to_those_who_hear_of_both() {
    let mut net = Net::of(1);
    net.add(config(1));
    net.add(Config { name: name(1), advertise: address(2), ..config(2) });
    assert_eq!((net.join(1, 0), net.join(2, 0)), (Ok(1), Ok(1)));
    let conflict = |e: &&MembershipEvent| {
        matches!(e, MembershipEvent::Conflict { existing, other }
            if existing.addr == address(1) && *other == address(2) && existing.name == name(1))
    };
    assert!(net.nodes[0].events.iter().find(conflict).is_some());
    assert!(net.nodes[0].machine.gossip().members().present() == 2);
}

/// CL21, KR13
#[test]
fn encrypted_nodes_converge_and_others_stay_outside() {
    let mut net = Net::new();
    for i in 0..17 {
        let keys = vec![key(if i == 16 { 2 } else { 1 })];
        net.add(Config { keys, compression: i % 2 == 0, ..config(i) });
    }
    (1..16).for_each(|i| assert_eq!(net.join(i, 0), Ok(1)));
    net.until(secs(10.0), "all know all", |net| (0..16).all(|i| knows(net, i, 16)));
    let why = net.join(16, 0).unwrap_err();
    assert!(why.contains("no installed keys could decrypt"), "{why}");
    // KR: rotation while running.
    (0..16).for_each(|i| outcome_of_keys(&mut net, i, KeyChange::Install(key(2))));
    (0..16).for_each(|i| outcome_of_keys(&mut net, i, KeyChange::Use(key(2))));
    (0..16).for_each(|i| outcome_of_keys(&mut net, i, KeyChange::Remove(key(1))));
    assert_eq!(net.join(16, 0), Ok(1));
    net.until(secs(10.0), "all know all", |net| (0..17).all(|i| knows(net, i, 17)));
}

/// KR14: two nodes, never both changed at once. A changed setting means a restart, after which the node joins again.
#[test]
fn encryption_can_be_introduced_without_a_gap() {
    // Key, verify incoming, verify outgoing.
    let steps = [(false, true, true), (true, false, false), (true, false, true), (true, true, true)];
    let with = |i: usize, (keyed, verify_incoming, verify_outgoing): (bool, bool, bool)| {
        let keys = if keyed { vec![key(1)] } else { vec![] };
        Config { keys, verify_incoming, verify_outgoing, ..config(i) }
    };
    for pair in steps.windows(2) {
        for (a, b) in [(pair[0], pair[1]), (pair[1], pair[0]), (pair[1], pair[1])] {
            let mut net = Net::new();
            net.add(with(0, a));
            net.add(with(1, b));
            assert_eq!(net.join(1, 0), Ok(1), "{a:?} {b:?}");
            net.pass(secs(30.0));
            assert!(knows(&net, 0, 2) && knows(&net, 1, 2), "{a:?} {b:?}");
            assert_eq!(net.nodes[0].machine.gossip().stats().failed_probes, 0);
        }
    }
    // A step left out is a gap.
    let mut net = Net::new();
    net.add(with(0, steps[0]));
    net.add(with(1, steps[3]));
    assert!(net.join(1, 0).is_err());
}

/// LB10
#[test]
fn labels_keep_clusters_apart() {
    for keys in [vec![], vec![key(1)]] {
        let mut net = Net::new();
        for (i, label) in [&b"blue"[..], b"blue", b"", b"green"].iter().enumerate() {
            net.add(Config { label: label.to_vec(), keys: keys.clone(), ..config(i) });
        }
        assert_eq!(net.join(1, 0), Ok(1));
        assert!(net.join(2, 0).is_err() && net.join(3, 0).is_err());
        assert!(net.join(0, 2).is_err() && net.join(0, 3).is_err());
        net.pass(secs(10.0));
        assert!(knows(&net, 0, 2) && knows(&net, 1, 2) && knows(&net, 2, 1) && knows(&net, 3, 1));
    }
}

/// CL22: a node that comes back before it was missed, with other tags and its counter at the beginning.
#[test]
fn a_restart_with_other_meta_data_is_noticed() {
    let mut net = Net::joined(3);
    let restarted = Config { meta: b"new".to_vec(), ..config(2) };
    net.restart(2, restarted);
    assert_eq!(net.join(2, 0), Ok(1));
    net.until(secs(10.0), "seen everywhere", |net| {
        (0..3).all(|i| {
            &*net.nodes[i].machine.gossip().members().get(name(2).as_bytes()).unwrap().meta == b"new"
        })
    });
    assert_eq!(net.nodes[2].machine.gossip().local().incarnation, 2);
}

/// A node whose datagrams do not arrive, though its streams do, is kept (PR8 with a whole cluster).
#[test]
fn one_that_only_streams_reach_is_kept() {
    let mut net = Net::joined(4);
    net.nodes[3].deaf = true;
    net.pass(secs(120.0));
    assert!((0..3).all(|i| net.state(i, 3) == Some(State::Alive)));
    let text =
        |e: &MembershipEvent| matches!(e, MembershipEvent::Notice(n) if n.text.contains("UDP probes failed"));
    assert!(net.nodes[..3].iter().any(|n| n.events.iter().any(text)));
}

/// Halves of a cluster that lost each other find dead, and after the cut find back by themselves while they still
/// gossip to the dead.
#[test]
fn a_short_cut_heals() {
    let mut net = Net::joined(6);
    for (a, b) in (0..3).flat_map(|a| (3..6).map(move |b| (a, b))) {
        net.cut.extend([(a, b), (b, a)]);
    }
    net.until(secs(40.0), "the others are gone", |net| (0..6).all(|i| knows(net, i, 3)));
    net.cut.clear();
    net.until(secs(60.0), "all are back", |net| (0..6).all(|i| knows(net, i, 6)));
}

/// The size of a real cluster: everybody knows everybody, and who stops is missed by all.
#[test]
fn a_hundred_and_twenty_eight_agree() {
    const N: usize = 128;
    let mut net = Net::of(N);
    let joins: Vec<_> = (1..N).map(|i| (i, net.start_join(i, 0))).collect();
    net.until(secs(15.0), "all know all", |net| (0..N).all(|i| knows(net, i, N)));
    for (i, id) in joins {
        assert!(matches!(net.outcome(i, id), Outcome::Joined { contacted, .. } if contacted.len() == 1));
    }
    assert!(net.nodes.iter().all(|n| !n.events.iter().any(|e| matches!(e, MembershipEvent::Left(_)))));
    let dead = [1, 17, 64, 99, 127];
    dead.iter().for_each(|i| net.nodes[*i].down = true);
    let living: Vec<usize> = (0..N).filter(|i| !dead.contains(i)).collect();
    net.until(secs(60.0), "the dead are missed", |net| living.iter().all(|i| knows(net, *i, N - dead.len())));
    for i in living {
        assert!(dead.iter().all(|d| net.state(i, *d) == Some(State::Dead)));
    }
}

/// Lifeguard's promise: a lossy network is no reason to declare anybody dead.
#[test]
fn lost_datagrams_kill_nobody() {
    let mut net = Net::joined(16);
    net.loss = 0.1;
    net.pass(secs(300.0));
    assert!(net.lost > 500);
    for node in &net.nodes {
        assert!(!node.events.iter().any(|e| matches!(e, MembershipEvent::Left(_))));
    }
}

/// Same seeds, same story; other seeds, another.
#[test]
fn a_story_can_be_told_again() {
    let story = |seed| {
        let mut net = Net::of_world(12, seed);
        net.loss = 0.05;
        (1..12).for_each(|i| {
            net.start_join(i, 0);
        });
        net.pass(secs(20.0));
        net.nodes[5].down = true;
        net.pass(secs(40.0));
        (net.digest(), net.carried)
    };
    assert_eq!(story(0), story(0));
    assert_ne!(story(0), story(1));
}
