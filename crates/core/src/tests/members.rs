//! Statuses, events, reaping, pruning, lists: spec `serf.md` §4, appendix A.3 and A.8 as one node sees them.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Claim, CommandId, Delegate, Name, Notification, Reason, Refusal};

use super::{Bench, config};
use crate::MemberEventKind::{Failed, Join, Leave, Reap, Update};
use crate::table::Record;
use crate::{Command, Failure, Member, MergePolicy, NodeState, Outcome, ReapPolicy, Status};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_event_is_our_own_join() {
    let mut bench = Bench::new();
    assert_eq!(bench.member_events(), [(Join, "me".into())]);
    assert_eq!(bench.node.local_member().unwrap().status, Status::Alive);
}

#[test]
fn one_without_a_leave_intent_has_failed_whatever_gossip_says() {
    for word_of in ["foo", "me"] {
        let mut bench = Bench::new();
        bench.alive("foo");
        bench.dead("foo", word_of);
        assert_eq!(bench.status("foo"), Status::Failed);
        assert_eq!(bench.member_events()[1..], [(Join, "foo".into()), (Failed, "foo".into())]);
    }
}

#[test]
fn one_with_a_leave_intent_has_left_whatever_gossip_says() {
    for word_of in ["foo", "me"] {
        let mut bench = Bench::new();
        bench.alive("foo");
        bench.leave("foo", 5);
        bench.dead("foo", word_of);
        assert_eq!(bench.status("foo"), Status::Left);
        assert_eq!(bench.member_events()[1..], [(Join, "foo".into()), (Leave, "foo".into())]);
    }
}

#[test]
fn one_that_comes_back_is_alive_again_and_may_count_as_flapping() {
    let mut bench = Bench::new();
    for (away, flaps) in [(59, 1), (61, 1), (0, 2)] {
        bench.alive("foo");
        bench.dead("foo", "me");
        bench.wait(away * SECOND);
        bench.alive("foo");
        assert_eq!((bench.status("foo"), bench.node.stats().flaps), (Status::Alive, flaps), "{away}");
    }
    assert_eq!((bench.node.vitals().failed, bench.node.vitals().left), (0, 0));
}

#[test]
fn coming_back_keeps_the_status_time() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.join("foo", 5);
    bench.dead("foo", "me");
    bench.alive("foo");
    assert_eq!(bench.status_time("foo"), 5);
}

#[test]
fn new_tags_are_an_update_and_are_seen() {
    let mut bench = Bench::new();
    bench.alive_with("foo", b"\xff\x81\xa1a\xa1b", 7946);
    bench.member_events();
    bench.alive_with("foo", b"\xff\x81\xa1a\xa1c", 7946);
    assert_eq!(bench.member_events(), [(Update, "foo".into())]);
    let foo = bench.node.member(b"foo").unwrap();
    assert_eq!(foo.tags().into_iter().collect::<Vec<_>>(), [("a".to_string(), "c".to_string())]);
    assert_eq!((foo.versions.protocol_max, foo.versions.delegate_cur), (5, 4));
}

#[test]
fn tags_that_cannot_be_read_are_noticed_and_harm_nothing() {
    let mut bench = Bench::new();
    bench.alive_with("foo", b"\xff\x82\xa1a\xa1b\xc1", 7946);
    assert_eq!(bench.node.member(b"foo").unwrap().tags()["a"], "b");
    assert_eq!(bench.node.stats().bad_tags, 1);
    assert!(bench.notices().iter().any(|text| text.starts_with("tags of 'foo' cannot be read")));
}

#[test]
fn lines_that_operators_match_on_are_verbatim() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.alive_with("foo", b"", 7946);
    bench.dead("foo", "me");
    bench.leave("foo", 5);
    bench.prune("foo", 6);
    let lines: Vec<String> = bench.notices().into_iter().filter(|text| text.starts_with("Event")).collect();
    assert_eq!(
        lines,
        [
            "EventMemberJoin: me 10.0.0.1",
            "EventMemberJoin: foo 10.0.0.2",
            "EventMemberUpdate: foo",
            "EventMemberFailed: foo 10.0.0.2",
            "EventMemberLeave (forced): foo 10.0.0.2",
            "EventMemberReap (forced): foo 10.0.0.2",
        ]
    );
}

#[test]
fn a_thousand_joins_are_a_thousand_lines() {
    let mut bench = Bench::new();
    for n in 0..1000 {
        bench.alive(&alloc::format!("node-{n}"));
    }
    assert_eq!(bench.notices().iter().filter(|text| text.starts_with("EventMemberJoin")).count(), 1001);
}

#[test]
fn a_name_from_two_addresses_is_noticed_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.member_events();
    bench.alive_with("foo", b"", 7000);
    let text = "Name conflict for 'foo' both 10.0.0.2:7946 and 10.0.0.2:7000 are claiming";
    assert!(bench.notices().iter().any(|line| line == text));
    bench.alive_with("me", b"", 7946);
    let text = "Node name conflicts with another node at 10.0.0.2:7946. Names must be unique!";
    assert!(bench.notices().iter().any(|line| line.starts_with(text)));
    assert_eq!(bench.node.stats().conflicts, 2);
    assert_eq!(bench.node.member(b"foo").unwrap().addr.port, 7946);
}

// "Reap with 6 s timeout over ages 0/5/10 s leaves 2; the loop does the same for left members."
#[test]
fn only_those_gone_for_longer_than_their_time_are_reaped() {
    for left in [false, true] {
        let mut config = config();
        config.reap_interval = SECOND;
        config.reconnect_timeout = 6 * SECOND;
        config.tombstone_timeout = 6 * SECOND;
        // Nobody is tried again: that is another story.
        config.reconnect_interval = 3600 * SECOND;
        let mut bench = Bench::with(config);
        for (n, name) in ["ten", "five", "zero"].into_iter().enumerate() {
            bench.alive(name);
            if left {
                bench.leave(name, 5 + n as u64);
            }
            bench.dead(name, "me");
            if name != "zero" {
                bench.wait(5 * SECOND);
            }
        }
        assert_eq!(bench.node.member_count(), 3);
        let events = bench.member_events();
        assert_eq!(events.last().unwrap().0, if left { Leave } else { Failed });
        assert_eq!(events.iter().filter(|e| **e == (Reap, "ten".into())).count(), 1);
        bench.wait(6 * SECOND);
        assert_eq!(bench.node.member_count(), 2);
        bench.wait(2 * SECOND);
        assert_eq!(bench.node.member_count(), 1);
        let reaped: Vec<_> = bench.member_events();
        assert_eq!(reaped, [(Reap, "five".into()), (Reap, "zero".into())]);
    }
}

#[test]
fn exactly_its_time_is_not_longer() {
    let mut config = config();
    config.reap_interval = Duration::from_millis(1);
    config.reconnect_timeout = 6 * SECOND;
    config.reconnect_interval = 3600 * SECOND;
    let mut bench = Bench::with(config);
    bench.alive("foo");
    bench.dead("foo", "me");
    bench.wait(6 * SECOND);
    assert_eq!(bench.status("foo"), Status::Failed);
    bench.wait(Duration::from_nanos(1));
    assert_eq!(bench.status("foo"), Status::None);
}

struct KeepBoss;
impl ReapPolicy for KeepBoss {
    fn keep(&self, member: &Member, default: Duration) -> Duration {
        match member.status {
            Status::Failed if member.name.as_bytes() == b"boss" => 3600 * SECOND,
            Status::Failed => SECOND,
            _ => default,
        }
    }
}

// "Per-member reconnect timeout override is consulted and leads to reap." B11: it is told who left.
#[test]
fn a_policy_decides_how_long_each_is_kept() {
    let mut config = config();
    config.reap_interval = SECOND;
    config.reconnect_interval = 36_000 * SECOND;
    config.policies.reap = Some(Arc::new(KeepBoss));
    let mut bench = Bench::with(config);
    for name in ["boss", "foo", "left"] {
        bench.alive(name);
    }
    bench.leave("left", 5);
    for name in ["boss", "foo", "left"] {
        bench.dead(name, "me");
    }
    bench.wait(60 * SECOND);
    assert_eq!(bench.status("foo"), Status::None);
    assert_eq!((bench.status("boss"), bench.status("left")), (Status::Failed, Status::Left));
    bench.wait(3600 * SECOND);
    assert_eq!(bench.status("boss"), Status::None);
}

// B10.
#[test]
fn the_tombstone_of_a_forced_leave_stands_from_the_leave_on() {
    let mut config = config();
    config.reap_interval = SECOND;
    config.tombstone_timeout = 60 * SECOND;
    config.reconnect_interval = 36_000 * SECOND;
    let mut bench = Bench::with(config);
    bench.alive("foo");
    bench.dead("foo", "me");
    bench.wait(600 * SECOND);
    bench.leave("foo", 5);
    bench.wait(50 * SECOND);
    assert_eq!(bench.status("foo"), Status::Left);
    bench.wait(20 * SECOND);
    assert_eq!(bench.status("foo"), Status::None);
}

#[test]
fn one_that_failed_or_left_is_pruned_at_once() {
    let mut bench = Bench::new();
    bench.alive("failed");
    bench.alive("left");
    bench.leave("left", 5);
    bench.dead("failed", "me");
    bench.dead("left", "left");
    bench.member_events();
    assert!(bench.prune("failed", 6) && bench.prune("left", 7));
    assert_eq!(
        bench.member_events(),
        [(Leave, "failed".into()), (Reap, "failed".into()), (Reap, "left".into())]
    );
    assert_eq!(bench.node.member_count(), 1);
}

// B22, E49.
#[test]
fn one_that_is_leaving_is_pruned_later_and_nothing_waits_for_it() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.leave("foo", 5);
    assert!(bench.prune("foo", 6));
    bench.alive("bar");
    assert_eq!((bench.status("foo"), bench.status("bar")), (Status::Leaving, Status::Alive));
    bench.dead("foo", "foo");
    assert_eq!(bench.status("foo"), Status::Left);
    bench.wait(5 * SECOND);
    assert_eq!(bench.status("foo"), Status::Left);
    bench.wait(SECOND);
    assert_eq!(bench.status("foo"), Status::None);
}

// B19.
#[test]
fn one_that_lives_is_not_pruned_from_sight() {
    let mut bench = Bench::new();
    // Refutes: stays.
    bench.alive("foo");
    assert!(bench.prune("foo", 5));
    assert!(bench.join("foo", 6));
    // Neither refutes nor leaves: stays until it does leave.
    bench.alive("mute");
    assert!(bench.prune("mute", 7));
    bench.wait(60 * SECOND);
    assert_eq!((bench.status("foo"), bench.status("mute")), (Status::Alive, Status::Leaving));
    bench.member_events();
    bench.dead("mute", "me");
    bench.dead("foo", "me");
    assert_eq!(
        bench.member_events(),
        [(Leave, "mute".into()), (Reap, "mute".into()), (Failed, "foo".into())]
    );
}

#[test]
fn one_that_comes_back_is_not_pruned_for_its_past() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.prune("foo", 5);
    bench.dead("foo", "foo");
    bench.alive("foo");
    bench.wait(60 * SECOND);
    assert_eq!(bench.status("foo"), Status::Alive);
}

#[test]
fn a_pruned_member_that_comes_back_is_a_new_one() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.dead("foo", "me");
    bench.prune("foo", 5);
    bench.member_events();
    bench.alive("foo");
    assert_eq!(bench.member_events(), [(Join, "foo".into())]);
    assert_eq!(bench.status_time("foo"), 0);
}

#[test]
fn we_do_not_prune_ourselves() {
    let mut bench = Bench::new();
    bench.command(Command::Leave { id: CommandId(1) });
    bench.wait(SECOND);
    assert_eq!(bench.status("me"), Status::Left);
    bench.prune("me", 50);
    bench.wait(60 * SECOND);
    assert_eq!(bench.node.local_member().unwrap().status, Status::Left);
}

#[test]
fn the_list_is_sorted_shared_and_made_anew_only_after_a_change() {
    let mut bench = Bench::new();
    for name in ["zeta", "alpha"] {
        bench.alive(name);
    }
    let list = bench.node.members();
    assert_eq!(list.iter().map(|m| m.name.to_string()).collect::<Vec<_>>(), ["alpha", "me", "zeta"]);
    assert!(bench.join("zeta", 9));
    assert!(Arc::ptr_eq(&list, &bench.node.members()));
    bench.dead("zeta", "me");
    let after = bench.node.members();
    assert_eq!((list[2].status, after[2].status), (Status::Alive, Status::Failed));
}

#[test]
fn members_are_found_after_others_are_forgotten() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..300).map(|n| alloc::format!("node-{n}")).collect();
    for name in &names {
        bench.alive(name);
    }
    for name in names.iter().step_by(3) {
        bench.dead(name, "me");
    }
    for (n, name) in names.iter().step_by(3).enumerate() {
        bench.prune(name, 5 + n as u64);
    }
    assert_eq!(bench.node.member_count(), 201);
    for (n, name) in names.iter().enumerate() {
        assert_eq!(bench.status(name) == Status::None, n % 3 == 0, "{name}");
    }
}

#[test]
fn a_member_costs_little() {
    // Its place in the map takes a few bytes more; name and meta data are shared with the gossip layer.
    assert!(size_of::<Record>() <= 104, "{}", size_of::<Record>());
}

#[test]
fn the_dead_make_room_for_the_living() {
    let mut config = config();
    config.gossip.hardening.max_members = 4;
    let mut bench = Bench::with(config);
    bench.alive("first");
    bench.dead("first", "me");
    bench.wait(60 * SECOND);
    bench.alive("second");
    bench.dead("second", "me");
    bench.alive("third");
    bench.member_events();
    // The gossip layer forgets the dead after a while, and then takes more.
    let mut fourth = bench.node.gossip.local().clone();
    Arc::make_mut(&mut fourth.identity).name = "fourth".into();
    bench.node.serf.notify(bench.now, Notification::Joined(&fourth));
    assert_eq!(bench.member_events(), [(Reap, "first".into()), (Join, "fourth".into())]);
}

struct Refuse;
impl MergePolicy for Refuse {
    fn accept(&self, _: &[Member]) -> Result<(), Refusal> {
        Err(Refusal("merge canceled".into()))
    }
}

// "Refusing merge delegate: zero members." B28: and no crash.
#[test]
fn a_policy_that_refuses_everybody_refuses_us() {
    let mut config = config();
    config.policies.merge = Some(Arc::new(Refuse));
    let mut bench = Bench::with(config);
    bench.alive("foo");
    assert_eq!(bench.node.member_count(), 0);
    assert_eq!(bench.node.local_member(), None);
    assert_eq!(bench.node.members().len(), 0);
    bench.command(Command::Leave { id: CommandId(1) });
    bench.wait(10 * SECOND);
    assert_eq!(bench.outcomes(), [(1, Outcome::Ok)]);
}

/// Even one that no policy of members could be asked about, for its address.
#[test]
fn whoever_has_a_name_that_there_is_not_never_enters() {
    let mut config = config();
    config.gossip.name = "1".into();
    config.policies.identity = Some(Arc::new(|claim: &Claim<'_>| match claim.name {
        name if name.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(Refusal("not a number".into())),
    }));
    let mut bench = Bench::with(config);
    bench.alive("2");
    bench.alive("web-1");
    assert_eq!((bench.status("2"), bench.status("web-1")), (Status::Alive, Status::None));
    assert_eq!(bench.node.stats().refused_claims, 1);
}

struct NoTag;
impl MergePolicy for NoTag {
    fn accept(&self, members: &[Member]) -> Result<(), Refusal> {
        match members.iter().find(|m| m.tags().contains_key("bad")) {
            Some(bad) => Err(Refusal(alloc::format!("{} is bad", bad.name))),
            None => Ok(()),
        }
    }
}

#[test]
fn a_policy_sees_who_is_claimed_to_live() {
    let mut config = config();
    config.policies.merge = Some(Arc::new(NoTag));
    let mut bench = Bench::with(config);
    bench.alive_with("foo", b"\xff\x81\xa3bad\xa1x", 7946);
    bench.alive_with("bar", b"\xff\x80", 7946);
    assert_eq!((bench.status("foo"), bench.status("bar")), (Status::None, Status::Alive));
    assert_eq!(bench.node.stats().refused_claims, 1);
    // What could not be a member is refused without asking.
    bench.alive_with("long", &[b'x'; 513], 7946);
    assert_eq!(bench.status("long"), Status::None);
}

#[test]
fn an_alive_policy_hides_members_and_cancels_no_join() {
    let mut config = config();
    config.policies.alive = Some(Arc::new(|member: &Member| {
        if member.tags().contains_key("bad") { Err(Refusal("hidden".into())) } else { Ok(()) }
    }));
    let mut bench = Bench::with(config);
    bench.alive_with("foo", b"\xff\x81\xa3bad\xa1x", 7946);
    bench.alive_with("bar", b"\xff\x80", 7946);
    assert_eq!((bench.status("foo"), bench.status("bar")), (Status::None, Status::Alive));
    assert_eq!((bench.status("me"), bench.node.stats().refused_claims), (Status::Alive, 1));
    // A list of a peer that joins is not looked at, so it is not made either.
    assert!(!bench.node.serf.filters_merges());
    // Who is known stays as it was.
    bench.alive_with("bar", b"\xff\x81\xa3bad\xa1x", 7946);
    assert!(bench.node.member(b"bar").unwrap().tags().is_empty());
}

#[test]
fn with_both_an_alive_and_a_merge_policy_both_must_agree() {
    let not = |name: &'static str| {
        move |members: &[Member]| match members.iter().any(|m| m.name == name.into()) {
            true => Err(Refusal(alloc::format!("not {name}"))),
            false => Ok(()),
        }
    };
    let (merge, alive) = (not("foo"), not("bar"));
    let mut config = config();
    config.policies.merge = Some(Arc::new(merge));
    config.policies.alive = Some(Arc::new(move |member: &Member| alive(core::slice::from_ref(member))));
    let mut bench = Bench::with(config);
    ["foo", "bar", "baz"].into_iter().for_each(|name| bench.alive(name));
    let seen = ["foo", "bar", "baz"].map(|name| bench.status(name));
    assert_eq!(seen, [Status::None, Status::None, Status::Alive]);
}

// "Name validation: member validation only when it is on." B21: without a merge policy too.
#[test]
fn names_are_looked_at_only_where_that_is_asked_for() {
    let long = "x".repeat(132);
    for (validate, seen) in [(false, Status::Alive), (true, Status::None)] {
        let mut config = config();
        config.validate_node_names = validate;
        let mut bench = Bench::with(config);
        for name in ["bad name", "new\nline", &long] {
            bench.alive(name);
            assert_eq!(bench.status(name), seen, "{name:?}");
        }
        bench.alive("good-name.1");
        assert_eq!(bench.status("good-name.1"), Status::Alive);
    }
}

#[test]
fn odd_members_are_listed() {
    let mut bench = Bench::new();
    let long = "x".repeat(5000);
    for name in ["", &long, "new\nline\ttab", "%s%n"] {
        bench.alive_with(name, &[b"\xff\x81\xa1k\xda\x0b\xb8", &[b'v'; 3000][..]].concat(), 7000);
        let member = bench.node.member(name.as_bytes()).unwrap();
        assert_eq!((member.status, member.tags()["k"].len()), (Status::Alive, 3000));
    }
    bench.alive_with("zero-port", b"", 0);
    assert_eq!(bench.node.member(b"zero-port").unwrap().addr.port, 7946);
    assert_eq!(bench.node.members().len(), 6);
}

#[test]
fn an_idle_lone_node_has_no_deadline() {
    let mut bench = Bench::new();
    assert_eq!(bench.next_due(), None);
    bench.alive("foo");
    bench.dead("foo", "me");
    bench.prune("foo", 5);
    assert!(bench.next_due().is_some());
    bench.wait(3600 * SECOND);
    assert_eq!(bench.next_due(), None);
}

#[test]
fn deadlines_say_what_they_are_for() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.broadcasts();
    bench.wait(60 * SECOND);
    bench.join("unknown", 9);
    bench.wait(60 * SECOND);
    let mut seen = Vec::new();
    for _ in 0..1000 {
        match serf_gossip::Machine::poll(&mut bench.node) {
            serf_gossip::Output::Timeout(due, reason) => {
                seen.push(reason);
                let Some(due) = due else { break };
                bench.now = due;
                serf_gossip::Machine::handle(&mut bench.node, due, serf_gossip::Input::Timeout);
                if reason == Reason::Reap {
                    break;
                }
            }
            _ => continue,
        }
    }
    assert_eq!(seen.last(), Some(&Reason::Reap));
}

#[test]
fn commands_after_shutdown_are_refused_and_those_before_are_answered() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.command(Command::ForceLeave { id: CommandId(1), name: Name::from("ghost"), prune: false });
    bench.command(Command::Leave { id: CommandId(2) });
    bench.command(Command::Shutdown { id: CommandId(3) });
    bench.command(Command::Join { id: CommandId(4), peers: Vec::new(), ignore_old: false });
    bench.command(Command::Leave { id: CommandId(5) });
    bench.command(Command::SetTags { id: CommandId(6), tags: crate::Tags::new() });
    bench.command(Command::Shutdown { id: CommandId(7) });
    assert_eq!(bench.node.state(), NodeState::Shutdown);
    let failed = |why| Outcome::Failed(why);
    assert_eq!(
        bench.outcomes(),
        [
            (1, failed(Failure::Shutdown)),
            (2, failed(Failure::Shutdown)),
            (3, Outcome::Ok),
            (4, failed(Failure::CannotJoin)),
            (5, failed(Failure::CannotLeave)),
            (6, failed(Failure::Shutdown)),
            (7, Outcome::Ok),
        ]
    );
    bench.alive("late");
    assert_eq!(bench.status("late"), Status::None);
    assert_eq!(bench.next_due(), None);
}

// "Status texts; state texts."
#[test]
fn statuses_and_states_have_their_names() {
    let statuses = [Status::None, Status::Alive, Status::Leaving, Status::Left, Status::Failed];
    assert_eq!(statuses.map(|s| s.to_string()), ["none", "alive", "leaving", "left", "failed"]);
    assert_eq!(statuses.map(|s| s as u8), [0, 1, 2, 3, 4]);
    let states = [NodeState::Alive, NodeState::Leaving, NodeState::Left, NodeState::Shutdown];
    assert_eq!(states.map(|s| s.to_string()), ["alive", "leaving", "left", "shutdown"]);
    let kinds = [Join, Leave, Failed, Update, Reap];
    assert_eq!(
        kinds.map(|k| k.to_string()),
        ["member-join", "member-leave", "member-failed", "member-update", "member-reap"]
    );
}

#[test]
fn failures_have_the_texts_that_operators_know() {
    for (failure, text) in [
        (Failure::CannotJoin, "Serf can't Join after Leave or Shutdown"),
        (Failure::CannotLeave, "Leave called after Shutdown"),
        (Failure::ForceLeaveTimeout, "timed out broadcasting node removal"),
        (Failure::TagsTooLong(crate::TagsTooLong), "Encoded length of tags exceeds limit of 512 bytes"),
        (Failure::TagsTimeout, "timeout waiting for update broadcast"),
    ] {
        assert_eq!(failure.to_string(), text);
    }
}
