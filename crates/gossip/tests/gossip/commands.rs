//! What the owner asks for: each command is answered exactly once (spec §4.8; checklist CL12, CL15, CF).

use std::time::Duration;

use serf_gossip::{
    Address, Command, CommandId, Config, ConfigError, Failure, Gossip, Instant, KeyChange, KeyringError,
    META_MAX, Network, Outcome, Peer, State,
};
use serf_wire::encrypt::Key;

use crate::net::address;
use crate::rig::{Above, Life, Rig, Said, Told, dead, rig_config, suspect};

fn config() -> Config {
    Config { push_pull_interval: Duration::ZERO, probe_interval: Duration::ZERO, ..rig_config() }
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; 16]).unwrap()
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn leave(id: CommandId) -> Command {
    Command::Leave { id, timeout: secs(5) }
}

fn update(meta: &[u8], timeout: Duration) -> impl FnOnce(CommandId) -> Command {
    let meta = meta.to_vec();
    move |id| Command::UpdateMeta { id, meta, timeout }
}

#[test]
fn leaving_alone_is_done_at_once() {
    let mut rig = Rig::with(config());
    let id = rig.command(leave);
    assert_eq!(rig.outcome(id), Some(Outcome::Ok));
    assert_eq!((rig.gossip.local().state, rig.gossip.has_left()), (State::Left, true));
    assert!(rig.above.told().contains(&Told::Left("me".into(), State::Left)));
}

#[test]
fn a_leave_is_done_when_it_has_been_told_often_enough() {
    let mut rig = Rig::among(3, config());
    let id = rig.command(leave);
    let again = rig.command(leave);
    assert_eq!((rig.outcome(id), rig.outcome(again)), (None, Some(Outcome::Ok)));
    rig.pass(secs(2));
    assert_eq!(rig.outcome(id), Some(Outcome::Ok));
    let goodbye = Said::Dead { inc: 1, node: "me".into(), from: "me".into() };
    let told = rig.sent.iter().filter(|(_, said)| said.contains(&goodbye)).count();
    assert_eq!(told, 4, "four times with up to nine members");
    // Afterwards: nothing about ourselves is believed or answered, but pings are.
    rig.forget();
    rig.hear(&suspect("me", 9, "x"));
    rig.hear(&dead("me", 9, "x"));
    rig.hear(&Life::named("me", address(1), 9).message());
    assert_eq!((rig.gossip.local().state, rig.gossip.queued(), rig.above.told()), (State::Left, 0, vec![]));
    assert!(rig.queued().is_empty());
    let id = rig.command(update(b"x", secs(1)));
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::Left)));
}

#[test]
fn a_leave_that_nobody_hears_times_out() {
    let mut rig = Rig::among(3, Config { gossip_interval: Duration::ZERO, ..config() });
    let id = rig.command(leave);
    rig.millis(4999);
    assert_eq!(rig.outcome(id), None);
    rig.millis(1);
    assert_eq!(rig.outcome(id), Some(Outcome::Failed(Failure::Timeout)));
    // Told late, it is not answered again.
    for i in 10..20 {
        rig.hear_from(&address(i), &crate::rig::ping(1, "", None));
    }
    assert_eq!((rig.gossip.queued(), rig.outcome(id)), (0, Some(Outcome::Failed(Failure::Timeout))));
}

/// The gone are nobody to wait for.
#[test]
fn only_those_present_are_waited_for() {
    let mut rig = Rig::among(3, config());
    rig.hear(&dead("n2", 1, "x"));
    rig.hear(&dead("n3", 1, "n3"));
    let id = rig.command(leave);
    assert_eq!(rig.outcome(id), Some(Outcome::Ok));
}

#[test]
fn new_meta_data_is_in_force_at_once_and_done_when_told() {
    let mut rig = Rig::among(3, config());
    let id = rig.command(update(b"new", Duration::ZERO));
    assert_eq!((&*rig.gossip.local().meta, rig.gossip.local().incarnation), (&b"new"[..], 2));
    assert_eq!(rig.above.told(), [Told::Updated("me".into(), b"new".to_vec())]);
    assert_eq!(rig.outcome(id), None);
    rig.pass(secs(2));
    assert_eq!(rig.outcome(id), Some(Outcome::Ok));
    let told = |s: &Said| matches!(s, Said::Alive { inc: 2, meta, .. } if meta == b"new");
    assert!(rig.sent.iter().any(|(_, said)| said.iter().any(told)));
    // Newer news of the same node end the waiting for older.
    let first = rig.command(update(b"a", Duration::ZERO));
    let second = rig.command(update(b"b", Duration::ZERO));
    assert_eq!((rig.outcome(first), rig.outcome(second)), (Some(Outcome::Ok), None));
    let long = rig.command(update(&[0; META_MAX + 1], secs(1)));
    assert_eq!(rig.outcome(long), Some(Outcome::Failed(Failure::MetaTooLong(META_MAX + 1))));
    assert_eq!(&*rig.gossip.local().meta, b"b");
}

/// A policy that refuses our own claim, or a goodbye of one who was never there: answered, not waited for.
#[test]
fn what_is_not_announced_is_not_waited_for() {
    let above = Above::default();
    let mut rig = Rig::begin(config(), above.clone());
    rig.hear(&Life::of(2, 1).message());
    above.layer().refuse_alive = Some("frozen".into());
    let id = rig.command(update(b"x", Duration::ZERO));
    let answer = rig.outcome(id);
    assert!(matches!(&answer, Some(Outcome::Failed(f)) if f.to_string().contains("frozen")), "{answer:?}");
    assert_eq!((&*rig.gossip.local().meta, &rig.gossip.config().meta[..]), (&b""[..], &b""[..]));
    let above = Above::default();
    above.layer().refuse_alive = Some("nobody".into());
    let mut rig = Rig::begin(config(), above.clone());
    above.layer().refuse_alive = None;
    rig.hear(&Life::of(2, 1).message());
    let id = rig.command(|id| Command::Leave { id, timeout: Duration::ZERO });
    assert_eq!(rig.outcome(id), Some(Outcome::Ok));
}

#[test]
fn the_keyring_can_be_changed_while_running() {
    let mut rig = Rig::with(Config { keys: vec![key(1)], ..config() });
    let mut change = |change| {
        let id = rig.command(|id| Command::Keyring { id, change });
        rig.outcome(id).unwrap()
    };
    assert_eq!(change(KeyChange::Install(key(2))), Outcome::Ok);
    assert_eq!(change(KeyChange::Install(key(2))), Outcome::Ok);
    let refused = |e| Outcome::Failed(Failure::Key(e));
    assert_eq!(change(KeyChange::Remove(key(1))), refused(KeyringError::IsPrimary));
    assert_eq!(change(KeyChange::Use(key(3))), refused(KeyringError::NotInRing));
    assert_eq!(change(KeyChange::Use(key(2))), Outcome::Ok);
    assert_eq!(change(KeyChange::Remove(key(1))), Outcome::Ok);
    assert_eq!(rig.gossip.keyring().keys(), [key(2)]);
}

/// CF1, CF2
#[test]
fn protocol_versions_one_to_five_are_spoken() {
    let made = |config: Config| Gossip::new(config, [0; 32], Instant::ZERO, &mut ()).map(|_| ());
    assert_eq!(Config::lan("a".into(), address(1)).protocol_version, 2);
    for version in 1..=5 {
        assert_eq!(made(Config { protocol_version: version, ..config() }), Ok(()));
    }
    for version in [0, 6] {
        let refused = made(Config { protocol_version: version, ..config() });
        assert_eq!(refused, Err(ConfigError::ProtocolVersion(version)));
    }
    assert_eq!(made(Config { label: vec![0; 255], ..config() }), Ok(()));
    assert_eq!(made(Config { label: vec![0; 256], ..config() }), Err(ConfigError::LabelTooLong(256)));
    assert_eq!(made(Config { meta: vec![0; 513], ..config() }), Err(ConfigError::MetaTooLong(513)));
    let name = "n".repeat(100_000);
    assert!(made(Config { name: name.as_str().into(), ..config() }).is_err(), "no datagram holds that");
    let endless = Config {
        probe_interval: Duration::MAX,
        gossip_interval: Duration::MAX,
        push_pull_interval: Duration::MAX,
        probe_timeout: Duration::MAX,
        stream_timeout: Duration::MAX,
        gossip_to_the_dead: Duration::MAX,
        gossip_nodes: usize::MAX,
        indirect_checks: usize::MAX,
        suspicion_mult: u32::MAX,
        suspicion_max_timeout_mult: u32::MAX,
        retransmit_mult: u32::MAX,
        awareness_max_multiplier: u32::MAX,
        ..config()
    };
    let mut rig = Rig::with(endless);
    rig.hear(&Life::of(2, 1).message());
    rig.hear(&suspect("n2", 1, "x"));
    rig.pass(secs(1000));
}

/// CF3, CF4, CF5 (CF6 is the order of the list)
#[test]
fn keys_turn_encryption_on() {
    assert!(Rig::with(config()).gossip.keyring().is_empty());
    let rig = Rig::with(Config { keys: vec![key(1), key(2)], ..config() });
    assert_eq!(rig.gossip.keyring().primary(), Some(&key(1)));
    assert!(Key::new(&[0; 3]).is_err() && Key::new(&[0; 38]).is_err() && Key::new(&[]).is_err());
}

/// CF8, CF10, CF12
#[test]
fn a_new_node_lists_itself_as_configured() {
    let advertise = Address::new(&[127, 0, 1, 99], 8080);
    let config = Config {
        advertise: advertise.clone(),
        bind_port: 7946,
        protocol_version: 3,
        delegate_versions: [12, 24, 18],
        meta: b"web".to_vec(),
        ..config()
    };
    let rig = Rig::with(config);
    let all: Vec<_> = rig.gossip.members().iter().collect();
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0].addr, all[0].versions), (&advertise, [1, 5, 3, 12, 24, 18]));
    assert_eq!((all[0].state, all[0].incarnation, &*all[0].meta), (State::Alive, 1, &b"web"[..]));
    assert_eq!(rig.gossip.config().protocol_version, 3);
    assert_eq!(rig.above.told(), [Told::Joined("me".into())]);
}

/// CF13, CF14
#[test]
fn the_allow_list_says_who_may_live_where() {
    let listed = |networks: Option<&[&str]>, host: &str| {
        let networks = networks.map(|n| n.iter().map(|n| n.parse::<Network>().unwrap()).collect());
        let config = Config {
            allowed_networks: networks,
            // Ourselves and the sender are not the question.
            advertise: address(1),
            ..config()
        };
        let host: std::net::IpAddr = host.parse().unwrap();
        let addr = Address::from(std::net::SocketAddr::new(host, 7946));
        let mut rig = Rig::with(config);
        // As part of a full state: there only the claimed address counts.
        rig.request(&crate::rig::push_pull(false, &[Life::of(2, 1).at(addr)], b""));
        rig.knows("n2")
    };
    let hosts = [
        "127.0.0.1",
        "127.0.0.5",
        "10.0.0.3",
        "172.16.12.13",
        "192.168.2.7",
        "fe80::38bc:4dff:fe62:b1ae",
        "::1",
    ];
    let table: [(Option<&[&str]>, [bool; 7]); 6] = [
        (None, [true; 7]),
        (Some(&[]), [true; 7]),
        (Some(&["0.0.0.0/0"]), [true, true, true, true, true, false, false]),
        (Some(&["::/0"]), [false, false, false, false, false, true, true]),
        (Some(&["127.0.0.0/8", "::1/128"]), [true, true, false, false, false, false, true]),
        (Some(&["10.0.0.0/30", " 192.168.2.7/32 "]), [false, false, true, false, true, false, false]),
    ];
    for (networks, want) in table {
        for (host, want) in hosts.iter().zip(want) {
            assert_eq!(listed(networks, host), want, "{host} with {networks:?}");
        }
    }
    for bad in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "10/8", "10.0.0.0/x"] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
}

/// A datagram of claims must come from an allowed address itself.
#[test]
fn claims_from_outside_the_allowed_networks_are_dropped() {
    let networks = Some(vec!["10.0.0.0/16".parse().unwrap()]);
    let mut rig = Rig::with(Config { allowed_networks: networks, ..config() });
    rig.hear(&Life::of(2, 1).message());
    assert!(!rig.knows("n2"), "the sender is 10.9.9.9");
    rig.hear_from(&address(7), &Life::of(2, 1).message());
    assert!(rig.knows("n2"));
    rig.hear_from(&address(7), &Life::of(3, 1).at(Address::new(&[10, 8, 0, 3], 1)).message());
    assert!(!rig.knows("n3"));
    // In its mapped form an IPv4 address is the same to the list.
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 4];
    rig.hear_from(&Address::new(&mapped, 1), &Life::of(4, 1).at(Address::new(&mapped, 1)).message());
    assert!(rig.knows("n4"));
}

/// Sending to somebody goes in one datagram of its own (CL17), with a checksum only for a known record (PK6, PK7).
#[test]
fn a_message_is_sent_alone() {
    let mut rig = Rig::among(2, config());
    rig.hear(&Life::of(3, 1).message());
    let send = |to| move |_| Command::Send { to, bytes: b"abc".to_vec() };
    let peer = rig.peer(2);
    rig.command(send(peer));
    rig.command(send(Peer { addr: address(2), name: None }));
    rig.command(send(Peer { addr: address(9), name: Some("n2".into()) }));
    let lengths: Vec<_> = rig.raw.iter().map(|t| t.bytes.len()).collect();
    assert_eq!(lengths, [9, 4, 4]);
    assert!(rig.sent.iter().all(|(_, said)| said == &[Said::User(b"abc".to_vec())]));
    // What no datagram holds is not sent, and counted.
    rig.forget();
    let to = rig.peer(2);
    rig.command(|_| Command::Send { to, bytes: vec![0; 65_600] });
    assert!(rig.raw.is_empty());
    assert_eq!(rig.gossip.stats().oversized, 1);
}
