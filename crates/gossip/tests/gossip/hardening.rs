//! What is stricter than the reference, by default or on request (docs/security.md, H1–H24).

use std::time::Duration;

use serf_gossip::{Address, Config, Severity, State, StreamAction, Topic};
use serf_wire::encrypt::{Key, Version};

use crate::net::address;
use crate::rig::{
    Life, Rig, Said, compound, dead, indirect_ping, nack, ping, push_pull, rig_config, seal, stranger,
    suspect,
};

fn config() -> Config {
    Config { push_pull_interval: Duration::ZERO, probe_interval: Duration::ZERO, ..rig_config() }
}

fn key() -> Key {
    Key::new(&[7; 16]).unwrap()
}

fn hardened(set: impl FnOnce(&mut serf_gossip::Hardening)) -> Rig {
    let mut config = config();
    set(&mut config.hardening);
    let mut rig = Rig::with(config);
    rig.quiet();
    rig
}

/// H1
#[test]
fn a_public_address_without_encryption_is_warned_of() {
    let warned = |host: &[u8], keys: Vec<Key>| {
        let config = Config { keys, advertise: Address::new(host, 7946), ..config() };
        let rig = Rig::with(config);
        let warnings = rig.notices(Topic::Config).len();
        assert!(rig.events.iter().all(|e| match e {
            serf_gossip::Event::Notice(n) => n.severity == Severity::Warn,
            _ => true,
        }));
        warnings == 1
    };
    assert!(warned(&[8, 8, 8, 8], vec![]));
    assert!(!warned(&[8, 8, 8, 8], vec![key()]));
    assert!(!warned(&[10, 0, 0, 1], vec![]));
}

/// H3
#[test]
fn packets_heard_before_can_be_dropped() {
    let sealed = |seq| seal(&ping(seq, "", None), b"", Some(&key()), false, false);
    for (window, answers) in [(0, 4), (100, 2)] {
        let mut config = Config { keys: vec![key()], ..config() };
        config.hardening.replay_window = window;
        let mut rig = Rig::with(config);
        let (a, b) = (sealed(1), sealed(2));
        [&a, &b, &a, &b].iter().for_each(|p| rig.hear(p));
        assert_eq!((rig.sent.len(), rig.gossip.stats().replayed), (answers, 4 - answers as u64));
    }
    // Plain packets have no nonce to remember.
    let mut config = Config { keys: vec![key()], verify_incoming: false, ..config() };
    config.hardening.replay_window = 10;
    let mut rig = Rig::with(config);
    (0..3).for_each(|_| rig.hear(&ping(1, "a-name-that-is-long", None)));
    (0..3).for_each(|_| rig.hear(&ping(1, "", Some((&stranger(), "a-name-that-is-long")))));
    assert_eq!((rig.sent.len(), rig.gossip.stats().replayed), (3, 0));
    // With a label in front, too; and what no key opens is not remembered.
    let mut config = Config { keys: vec![key()], label: b"l".to_vec(), ..self::config() };
    config.hardening.replay_window = 10;
    let mut rig = Rig::with(config);
    let packet = seal(&ping(1, "", None), b"l", Some(&key()), false, false);
    let mut forged = packet.clone();
    *forged.last_mut().unwrap() ^= 1;
    [&forged, &packet, &packet].iter().for_each(|p| rig.hear(p));
    assert_eq!((rig.sent.len(), rig.gossip.stats().replayed), (1, 1));
}

/// H4
#[test]
fn nonces_do_not_repeat() {
    let mut rig = Rig::with(Config { keys: vec![key()], ..config() });
    (0..2000).for_each(|i| rig.hear(&seal(&ping(i, "", None), b"", Some(&key()), false, false)));
    let mut nonces: Vec<Vec<u8>> = rig.raw.iter().map(|t| t.bytes[1..13].to_vec()).collect();
    assert_eq!(nonces.len(), 2000);
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 2000);
}

/// H5
#[test]
fn the_old_encryption_version_is_refused_unless_allowed() {
    let mut sealed = Vec::new();
    let rules = serf_wire::packet::Outbound {
        label: b"",
        key: Some(&key()),
        version: Version::V0,
        compress: None,
        checksum: None,
    };
    serf_wire::packet::seal_packet(
        &ping(1, "", None),
        &rules,
        &[1; 12],
        &mut Default::default(),
        &mut sealed,
    );
    for allowed in [false, true] {
        let mut config = Config { keys: vec![key()], ..config() };
        config.hardening.accept_encryption_v0 = allowed;
        let mut rig = Rig::with(config);
        rig.hear(&sealed);
        assert_eq!(rig.sent.len(), usize::from(allowed));
    }
}

/// H6
#[test]
fn a_sealed_or_compressed_nothing_is_refused() {
    let mut rig = Rig::with(Config { keys: vec![key()], ..config() });
    for compress in [false, true] {
        let id = rig.accept();
        let request = crate::rig::seal_request(b"", b"", Some(&key()), compress);
        rig.stream(id, serf_gossip::StreamEvent::Data(&request));
        assert!(matches!(rig.reply(&rig.written(id).unwrap()), crate::rig::Reply::Error(_)));
        rig.stream(id, serf_gossip::StreamEvent::Written);
        assert!(rig.is_over(id));
    }
}

/// H7: answers to where a ping did not come from are rationed, unless a member lives there.
#[test]
fn answers_to_third_parties_are_rationed() {
    let victim = Address::new(&[10, 66, 6, 6], 53);
    let mut rig = hardened(|_| {});
    (0..1000).for_each(|i| rig.hear(&ping(i, "", Some((&victim, "x")))));
    assert_eq!((rig.sent.len(), rig.gossip.stats().shed_answers), (64, 936));
    rig.forget();
    (0..1000).for_each(|i| rig.hear(&ping(i, "", None)));
    assert_eq!(rig.sent.len(), 1000, "whoever asks is answered");
    rig.forget();
    rig.hear(&Life::of(2, 1).message());
    rig.quiet();
    (0..1000).for_each(|i| rig.hear(&ping(i, "", Some((&address(2), "n2")))));
    assert_eq!(rig.sent.len(), 1000, "and so is a member, wherever its packets seem to come from");
    rig.millis(1000);
    rig.forget();
    rig.hear(&ping(1, "", Some((&victim, "x"))));
    assert_eq!(rig.sent.len(), 1, "a second later there is a new ration");
    let mut rig = hardened(|h| h.strict_ping_source = true);
    rig.hear(&ping(1, "", Some((&victim, "x"))));
    assert!(rig.sent.is_empty());
}

/// H7: one datagram is answered no more often than it honestly could ask.
#[test]
fn one_datagram_has_a_bounded_number_of_answers() {
    let many = compound(&vec![ping(1, "", None); 255]);
    let mut rig = hardened(|_| {});
    rig.hear(&many);
    assert_eq!(rig.sent.len(), 255);
    rig.forget();
    rig.hear(&compound(&vec![many; 8]));
    assert_eq!((rig.sent.len(), rig.gossip.stats().shed_answers), (255, 7 * 255));
    // Ten kilobytes that unpack to a megabyte of pings.
    let bare = compound(&vec![vec![0, 0x80]; 255]);
    let bomb = seal(&compound(&vec![bare; 60]), b"", None, true, false);
    assert!(bomb.len() < 5000);
    rig.forget();
    rig.hear(&bomb);
    assert_eq!(rig.sent.len(), 255);
}

/// H8: pinging for strangers is rationed, bounded and can be switched off.
#[test]
fn relaying_is_rationed_and_bounded() {
    let target = Address::new(&[10, 66, 6, 6], 53);
    let ask = |rig: &mut Rig, n: u32, target: &Address, name: &str| {
        (0..n).for_each(|i| rig.hear(&indirect_ping(i, (target, name), None, true)));
    };
    let mut rig = hardened(|_| {});
    ask(&mut rig, 1000, &target, "x");
    assert_eq!(rig.sent.len(), 64);
    let mut rig = hardened(|h| h.max_relays = 100);
    rig.hear(&Life::of(2, 1).message());
    rig.quiet();
    ask(&mut rig, 1000, &address(2), "n2");
    assert_eq!((rig.sent.len(), rig.gossip.stats().shed_answers), (100, 900));
    rig.millis(500);
    rig.forget();
    ask(&mut rig, 1, &address(2), "n2");
    assert_eq!(rig.sent.len(), 1, "after their time there is room again");
    let mut rig = hardened(|h| h.strict_relay_target = true);
    rig.hear(&Life::of(2, 1).message());
    rig.quiet();
    ask(&mut rig, 1, &target, "n2");
    assert!(rig.sent.is_empty(), "a member's name with another's address");
    ask(&mut rig, 1, &address(2), "n2");
    assert_eq!(rig.sent.len(), 1);
    // Names that no datagram holds are nobody's.
    let mut rig = hardened(|_| {});
    ask(&mut rig, 1, &target, &"x".repeat(30_000));
    ask(&mut rig, 1, &Address::new(&[1, 2, 3], 1), "x");
    assert!(rig.sent.is_empty());
}

/// H9: nobody vouches for us more than once, nor more than were asked.
#[test]
fn nacks_count_once_for_each_relay_asked() {
    let config = Config { probe_interval: Duration::from_secs(1), ..config() };
    let mut rig = Rig::among(6, config);
    let (seq, _) = rig.next_probe();
    rig.hear(&nack(seq));
    rig.millis(500);
    (0..9).for_each(|_| rig.hear(&nack(seq)));
    rig.hear(&nack(seq.wrapping_add(1)));
    rig.millis(500);
    assert_eq!(rig.gossip.health(), 2, "one of three came, and the one before they were asked is none");
}

/// H10: nobody is silenced by an accusation that cannot be refuted.
#[test]
fn an_accusation_beyond_all_incarnations_silences_nobody() {
    let mut rig = Rig::among(3, config());
    for incarnation in [u32::MAX, u32::MAX - 1] {
        for message in [
            suspect("me", incarnation, "x"),
            dead("me", incarnation, "x"),
            Life::named("me", address(1), incarnation).message(),
            suspect("n2", incarnation, "x"),
            dead("n2", incarnation, "n2"),
        ] {
            rig.hear(&message);
            assert_eq!((rig.gossip.local().incarnation, rig.state("n2")), (1, State::Alive));
        }
        let told = [Life::of(2, incarnation).state(State::Left), Life::of(3, incarnation).state(State::Dead)];
        rig.request(&push_pull(false, &told, b""));
        assert_eq!((rig.state("n2"), rig.state("n3")), (State::Alive, State::Alive));
    }
    assert_eq!(rig.gossip.queued(), 0);
    rig.hear(&Life::of(2, u32::MAX).message());
    assert_eq!(rig.member("n2").incarnation, 1);
}

/// H10: the highest accusation that is believed can be refuted, and peers of ours believe the refutation.
#[test]
fn whoever_was_driven_to_the_highest_incarnation_lives_and_can_still_die() {
    let mut me = Rig::among(3, config());
    let mut config = Config { name: "n2".into(), advertise: address(2), ..config() };
    config.probe_interval = Duration::from_secs(1);
    let mut peer = Rig::with(config);
    peer.hear(&Life::named("me", address(1), 1).message());
    let attack = suspect("me", u32::MAX - 2, "x");
    peer.hear(&attack);
    assert_eq!(peer.state("me"), State::Suspect);
    me.hear(&attack);
    let me_inc = me.gossip.local().incarnation;
    assert_eq!(me_inc, u32::MAX - 1);
    me.queued();
    let datagram = me.raw.last().unwrap().bytes.clone();
    peer.hear(&datagram);
    assert_eq!((peer.state("me"), peer.member("me").incarnation), (State::Alive, me_inc));
    peer.hear(&suspect("me", me_inc, "x"));
    peer.hear(&dead("me", me_inc, "x"));
    assert_eq!(peer.state("me"), State::Alive, "nothing higher could refute that");
    // Further news of our own do not overflow it.
    for _ in 0..3 {
        let command =
            |id| serf_gossip::Command::UpdateMeta { id, meta: b"m".to_vec(), timeout: Duration::ZERO };
        me.command(command);
        me.hear(&Life::named("me", address(1), me_inc).meta(b"wrong").message());
    }
    assert_eq!(me.gossip.local().incarnation, me_inc);
    // A real death is found by whoever probes.
    peer.pass(Duration::from_secs(30));
    assert_eq!(peer.state("me"), State::Dead);
}

/// What a peer calls itself cannot pass for lines of our log.
#[test]
fn names_cannot_forge_log_lines() {
    let mut rig = Rig::new();
    let name = "x\n2026-01-01 [ERR] all is lost\u{1b}[2J";
    rig.hear(&Life::named(name, address(2), 1).message());
    rig.hear(&Life::named(name, address(3), 2).message());
    let notice = &rig.notices(Topic::Conflict)[0];
    assert!(notice.contains("x\\n2026") && !notice.contains(char::is_control), "{notice}");
}

/// H13
#[test]
fn the_number_of_members_is_bounded() {
    let mut rig = hardened(|h| h.max_members = 10);
    let many: Vec<Life> = (2..100).map(|i| Life::of(i, 1)).collect();
    rig.request(&push_pull(false, &many, b""));
    assert_eq!((rig.gossip.members().known(), rig.gossip.stats().refused_claims), (10, 89));
    assert_eq!(rig.notices(Topic::RefusedClaim).len(), 10);
    // Those there are go on.
    rig.hear(&Life::of(2, 2).message());
    assert_eq!(rig.member("n2").incarnation, 2);
}

/// H15
#[test]
fn a_datagram_unpacks_to_a_bounded_size() {
    let mut rig = hardened(|h| h.max_inflated_packet = 10_000);
    let of = |n: usize| seal(&[&[8], &vec![b'a'; n][..]].concat(), b"", None, true, false);
    rig.hear(&of(9_999));
    assert_eq!(rig.above.told().len(), 1);
    rig.hear(&of(10_000));
    // One after the other they share the bound.
    rig.hear(&compound(&[of(6_000), of(6_000)]));
    assert_eq!((rig.above.told().len(), rig.gossip.stats().bad_messages), (1, 2));
    // Layers upon layers are not followed for ever.
    let mut deep = ping(1, "", None);
    (0..50).for_each(|_| deep = compound(std::slice::from_ref(&deep)));
    rig.forget();
    rig.hear(&deep);
    assert!(rig.sent.is_empty());
}

/// H16
#[test]
fn odd_members_are_listed_unless_strictness_is_wanted() {
    let odd = [
        Life { name: vec![], ..Life::of(2, 1) },
        Life { name: vec![b'x'; 129], ..Life::of(3, 1) },
        Life::of(4, 1).meta(&[0; 513]),
        Life::of(5, 1).at(Address::new(&[1, 2, 3], 1)),
        Life::of(6, 1).at(Address::new(&[], 1)),
    ];
    for strict in [false, true] {
        let mut rig = hardened(|h| h.strict_members = strict);
        rig.request(&push_pull(false, &odd, b""));
        odd.iter().for_each(|life| rig.hear(&life.message()));
        assert_eq!(rig.gossip.members().known(), if strict { 1 } else { 6 });
        // They harm nobody who probes or tells of them.
        rig.pass(Duration::from_secs(5));
    }
}

/// H17
#[test]
fn the_allow_list_can_hold_for_everything() {
    for strict in [false, true] {
        let mut config = config();
        config.allowed_networks = Some(vec!["10.0.0.0/24".parse().unwrap()]);
        config.hardening.strict_networks = strict;
        let mut rig = Rig::with(config);
        rig.hear(&ping(1, "", None));
        assert_eq!(rig.sent.is_empty(), strict);
        let id = rig.accept();
        assert_eq!(rig.actions.contains(&(id, StreamAction::Abort)), strict);
        rig.forget();
        rig.hear_from(&address(9), &ping(1, "", None));
        assert_eq!(rig.sent.len(), 1);
    }
}

/// H19
#[test]
fn plaintext_can_be_allowed_for_a_while_only() {
    let mut config = Config { keys: vec![key()], verify_incoming: false, ..config() };
    config.hardening.plaintext_for = Some(Duration::from_secs(60));
    let mut rig = Rig::with(config);
    let request = ping(1, "", None);
    rig.millis(60_000);
    rig.hear(&request);
    assert_eq!((rig.sent.len(), rig.gossip.stats().plaintext), (1, 1));
    rig.millis(1);
    rig.hear(&request);
    assert_eq!(rig.sent.len(), 1);
    let id = rig.accept();
    rig.stream(id, serf_gossip::StreamEvent::Data(&request));
    assert!(matches!(rig.reply(&rig.written(id).unwrap()), crate::rig::Reply::Error(_)));
}

/// H21
#[test]
fn strangers_hear_no_news() {
    let open = |prove: &dyn Fn(&mut Rig)| {
        let mut config = config();
        config.hardening.piggyback_to_strangers = false;
        config.gossip_interval = Duration::ZERO;
        let mut rig = Rig::with(config);
        rig.hear(&Life::of(2, 1).message());
        rig.forget();
        prove(&mut rig);
        rig.sent.pop().unwrap().1.len() > 1
    };
    assert!(!open(&|rig| rig.hear(&ping(1, "", None))));
    assert!(
        !open(&|rig| rig.hear(&ping(1, "", Some((&stranger(), "n2"))))),
        "a member's name from elsewhere"
    );
    assert!(open(&|rig| rig.hear_from(&address(2), &ping(1, "", Some((&address(2), "n2"))))));
    // Whoever has the key may hear them.
    let mut config = Config { keys: vec![key()], ..config() };
    config.hardening.piggyback_to_strangers = false;
    let mut rig = Rig::with(config);
    rig.hear(&seal(&ping(1, "", None), b"", Some(&key()), false, false));
    assert!(matches!(rig.sent[0].1[..], [Said::Ack { .. }, Said::Alive { .. }]));
}
