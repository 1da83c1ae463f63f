//! Spec `serf.md` appendix A.3, and what this node does better (appendix B).

use core::time::Duration;

use super::Bench;
use crate::intent_buffer::Kind;
use crate::{MemberEventKind, Status};

fn buffered(bench: &Bench, name: &str) -> Option<(Kind, u64)> {
    bench.node.serf.intents.get(name.as_bytes()).map(|intent| (intent.kind, intent.ltime))
}

/// A member `foo` whose latest intent was at 12, and a clock not beyond 13.
fn foo_at_12() -> Bench {
    let mut bench = Bench::new();
    bench.alive("foo");
    assert!(bench.join("foo", 12));
    bench.member_events();
    bench
}

// "First push of a join: peer records status time 1 and its clock is beyond it; a leave advances the clock."
#[test]
fn a_join_sets_the_status_time_and_a_leave_moves_the_clock_on() {
    let mut bench = Bench::new();
    bench.alive("foo");
    assert!(bench.join("foo", 1));
    assert_eq!((bench.status_time("foo"), bench.member_time()), (1, 2));
    assert!(bench.leave("foo", 2));
    assert_eq!(bench.member_time(), 3);
}

// "Buffered join intent at 5: on node join status time 5, alive."
#[test]
fn a_join_heard_before_the_member_gives_it_its_status_time() {
    let mut bench = Bench::new();
    assert!(bench.join("foo", 5));
    bench.alive("foo");
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Alive, 5));
}

// "Join 5 then leave 6 buffered: status time 6, leaving."
#[test]
fn a_leave_heard_before_the_member_makes_it_leaving_and_still_a_join_event() {
    let mut bench = Bench::new();
    assert!(bench.join("foo", 5));
    assert!(bench.leave("foo", 6));
    bench.member_events();
    bench.alive("foo");
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Leaving, 6));
    assert_eq!(bench.member_events(), [(MemberEventKind::Join, "foo".into())]);
}

// "Early leave intent: first delivery rebroadcasts, duplicate does not, buffered as leave with its time; same for
// early join intent."
#[test]
fn an_early_intent_is_passed_on_once_and_buffered() {
    let mut bench = Bench::new();
    assert!(bench.leave("foo", 10));
    assert!(!bench.leave("foo", 10));
    assert_eq!(buffered(&bench, "foo"), Some((Kind::Leave, 10)));
    assert!(bench.join("bar", 20));
    assert!(!bench.join("bar", 20));
    assert_eq!(buffered(&bench, "bar"), Some((Kind::Join, 20)));
    assert_eq!(bench.member_time(), 21);
}

// "Leave with time 10 for a member at 12: not rebroadcast, nothing buffered."
#[test]
fn an_old_leave_is_ignored() {
    let mut bench = foo_at_12();
    assert!(!bench.leave("foo", 10));
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Alive, 12));
    assert_eq!(buffered(&bench, "foo"), None);
}

// "Leave 14 vs 12: rebroadcast, leaving, clock 15, nothing buffered."
#[test]
fn a_newer_leave_makes_a_member_leaving_without_an_event() {
    let mut bench = foo_at_12();
    assert!(bench.leave("foo", 14));
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Leaving, 14));
    assert_eq!(bench.member_time(), 15);
    assert_eq!(buffered(&bench, "foo"), None);
    assert_eq!(bench.member_events(), []);
}

// "Join 10 vs 12: ignored."
#[test]
fn an_old_join_is_ignored() {
    let mut bench = foo_at_12();
    assert!(!bench.join("foo", 10));
    assert!(!bench.join("foo", 12));
    assert_eq!(bench.status_time("foo"), 12);
}

// "Join 14 vs 12: rebroadcast, status time 14, clock 15."
#[test]
fn a_newer_join_moves_the_status_time() {
    let mut bench = foo_at_12();
    assert!(bench.join("foo", 14));
    assert_eq!((bench.status_time("foo"), bench.member_time()), (14, 15));
    assert_eq!(buffered(&bench, "foo"), None);
}

// "Join 14 on a leaving member: becomes alive, status time 14, clock 15."
#[test]
fn a_newer_join_ends_leaving_without_an_event() {
    let mut bench = foo_at_12();
    assert!(bench.leave("foo", 13));
    assert!(bench.join("foo", 14));
    assert_eq!((bench.status("foo"), bench.status_time("foo")), (Status::Alive, 14));
    assert_eq!(bench.member_time(), 15);
    assert_eq!(bench.member_events(), []);
}

#[test]
fn a_join_does_not_bring_back_who_failed_or_left() {
    let mut bench = foo_at_12();
    bench.dead("foo", "me");
    assert!(bench.join("foo", 14));
    assert_eq!(bench.status("foo"), Status::Failed);
    assert!(bench.leave("foo", 15));
    assert!(bench.join("foo", 16));
    assert_eq!(bench.status("foo"), Status::Left);
}

#[test]
fn a_leave_moves_the_status_time_of_one_that_left_already_so_it_is_passed_on_once() {
    let mut bench = foo_at_12();
    bench.leave("foo", 13);
    bench.dead("foo", "foo");
    assert_eq!(bench.status("foo"), Status::Left);
    assert!(bench.leave("foo", 14));
    assert!(!bench.leave("foo", 14));
    assert_eq!(bench.status_time("foo"), 14);
}

#[test]
fn a_leave_about_ourselves_is_refuted_with_a_later_join() {
    let mut bench = Bench::new();
    assert!(!bench.leave("me", 500));
    // The refutation went out with the broadcasts that `leave` took: it has been processed here as well.
    assert_eq!((bench.status("me"), bench.status_time("me")), (Status::Alive, 501));
    assert_eq!((bench.member_time(), bench.node.stats().refuted), (502, 1));
    assert_eq!(bench.sent, 1);
}

#[test]
fn the_refutation_is_a_join_intent_in_our_name() {
    let mut bench = Bench::new();
    bench.datagram(&[&[8][..], &super::leave("me", 500, false)].concat());
    assert_eq!(bench.broadcasts(), [super::join("me", 501)]);
}

#[test]
fn a_leave_of_the_time_of_our_own_join_is_refuted_too_and_an_older_one_is_not() {
    let mut bench = Bench::new();
    bench.join("me", 20);
    bench.leave("me", 19);
    assert_eq!(bench.node.stats().refuted, 0);
    bench.leave("me", 20);
    assert_eq!((bench.node.stats().refuted, bench.status_time("me")), (1, 21));
    bench.leave("me", 20);
    assert_eq!(bench.node.stats().refuted, 1);
}

// What others know of us and we do not is a leave that we missed: they would show us as leaving for ever.
#[test]
fn a_later_time_of_ours_in_a_full_state_is_answered_once() {
    let mut bench = Bench::new();
    bench.merge_times(&[("me", 20)]);
    assert_eq!((bench.node.stats().refuted, bench.status_time("me")), (1, 21));
    bench.merge_times(&[("me", 20)]);
    bench.merge_times(&[("me", 21)]);
    assert_eq!((bench.node.stats().refuted, bench.status_time("me")), (1, 21));
}

// B4.
#[test]
fn intents_without_room_are_counted_and_not_passed_on() {
    let mut bench = Bench::new();
    let mut n = 0;
    while bench.node.stats().shed_intents == 0 {
        n += 1;
        assert!(n < 10_000);
        let name = alloc::format!("{n:01300}");
        let passed_on = bench.join(&name, 1);
        assert_eq!(passed_on, bench.node.stats().shed_intents == 0);
    }
    // Members and what is about them are not hurt.
    bench.alive("foo");
    assert!(bench.leave("foo", 3));
}

// B7.
#[test]
fn a_leave_whose_time_was_taken_for_that_of_a_join_is_believed_once() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.alive("bar");
    bench.merge_times(&[("foo", 9), ("later", 9)]);
    assert_eq!(bench.status_time("foo"), 9);
    assert!(bench.leave("foo", 9));
    assert_eq!(bench.status("foo"), Status::Leaving);
    assert!(!bench.leave("foo", 9));
    // So it is before the member is known.
    assert!(bench.leave("later", 9));
    bench.alive("later");
    assert_eq!(bench.status("later"), Status::Leaving);
    // But a join that was really heard is not doubted.
    assert!(bench.join("bar", 10));
    bench.merge_times(&[("bar", 10)]);
    assert!(!bench.leave("bar", 10));
    assert_eq!(bench.status("bar"), Status::Alive);
}

// B7, where the member fails before the leave itself arrives.
#[test]
fn a_late_leave_makes_left_of_failed() {
    let mut bench = Bench::new();
    bench.alive("foo");
    bench.merge_times(&[("foo", 9)]);
    bench.dead("foo", "foo");
    assert_eq!(bench.status("foo"), Status::Failed);
    assert!(bench.leave("foo", 9));
    assert_eq!(bench.status("foo"), Status::Left);
}

#[test]
fn buffered_intents_are_forgotten_after_their_time() {
    let mut bench = Bench::new();
    bench.join("foo", 5);
    bench.wait(Duration::from_secs(200));
    bench.join("bar", 6);
    bench.wait(Duration::from_secs(101));
    assert_eq!(buffered(&bench, "foo"), None);
    assert_eq!(buffered(&bench, "bar"), Some((Kind::Join, 6)));
    bench.wait(Duration::from_secs(300));
    assert_eq!(buffered(&bench, "bar"), None);
}

#[test]
fn many_claims_that_we_leave_are_answered_by_one_join() {
    let mut bench = Bench::new();
    bench.broadcasts();
    for ltime in 10..1000 {
        let mut claim = alloc::vec![serf_wire::swim::Kind::User as u8];
        claim.extend_from_slice(&super::leave("me", ltime, false));
        bench.datagram(&claim);
    }
    assert_eq!(bench.node.stats().refuted, 990);
    assert_eq!(bench.broadcasts(), [super::join("me", bench.member_time() - 1)]);
}
