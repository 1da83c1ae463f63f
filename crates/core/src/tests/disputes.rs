//! Whose name it is, one node's side: spec `serf.md` §7.

extern crate std;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::Mutex;

use serf_gossip::Address;
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, ConflictResponse, Member, MessageKind};
use serf_wire::swim::{self, Alive, Kind};

use super::queries::{SECOND, answer_to, encode, read_answer, read_query, wire};
use super::{Bench, config, message};
use crate::{Config, ConflictPolicy, Event, NodeState, Status};

const US: ([u8; 4], u16) = ([10, 0, 0, 1], 7946);
const OTHER: ([u8; 4], u16) = ([10, 6, 6, 6], 7946);

/// The name's owner, as others know him.
pub(super) fn known((addr, port): ([u8; 4], u16)) -> Vec<u8> {
    let member = Member { name: b"me", addr: addr[..].into(), port, status: 1, ..Member::default() };
    message(MessageKind::ConflictResponse, |w| ConflictResponse { member: Some(member) }.write(w))
}

fn unknown() -> Vec<u8> {
    message(MessageKind::ConflictResponse, |w| ConflictResponse { member: None }.write(w))
}

impl Bench {
    fn of_members(n: usize) -> Self {
        let mut bench = Self::new();
        for i in 0..n {
            bench.alive(&format!("n{i}"));
        }
        bench.broadcasts();
        bench.events();
        bench
    }

    /// Somebody claims a name.
    fn claim(&mut self, name: &str) {
        let alive = Alive {
            incarnation: 9,
            node: name.as_bytes(),
            addr: OTHER.0[..].into(),
            port: OTHER.1,
            meta: Some((&b"\xff\x80"[..]).into()),
            vsn: Some((&[1, 5, 2, 2, 5, 4][..]).into()),
        };
        let mut bytes = Vec::new();
        swim::put(&mut bytes, Kind::Alive, |w| alive.write(w));
        self.datagram(&bytes);
    }

    /// Somebody claims our name; whom we ask about it, if we do.
    pub(super) fn claimed(&mut self) -> Option<Vec<u8>> {
        self.claim("me");
        let mut sent = self.broadcasts();
        sent.retain(|message| message[0] == MessageKind::Query as u8);
        assert!(sent.len() <= 1);
        sent.pop()
    }

    /// What became of a dispute in which these answers were given.
    fn resolve(&mut self, answers: &[(&str, Vec<u8>)]) -> Option<(usize, usize)> {
        let query = self.claimed().unwrap();
        let query = read_query(&query);
        assert_eq!((query.name, query.payload.as_deref()), (&b"_serf_conflict"[..], Some(&b"me"[..])));
        assert!(query.filters.is_absent() && query.flags == 0 && query.relay_factor == 0);
        for (from, answer) in answers {
            self.datagram(&[&[8], &*answer_to(&query, from, 0, Some(answer))].concat());
        }
        self.wait(Duration::from_secs(10));
        self.events().into_iter().find_map(|event| match event {
            Event::NameLost { ours, all } => Some((ours, all)),
            _ => None,
        })
    }
}

#[test]
fn who_has_the_majority_stays() {
    let mapped = {
        let addr = [&[0; 10][..], &[0xff, 0xff], &US.0].concat();
        let member = Member { name: b"me", addr: addr.into(), port: US.1, ..Member::default() };
        message(MessageKind::ConflictResponse, |w| ConflictResponse { member: Some(member) }.write(w))
    };
    let other_port = known((US.0, 7947));
    for (answers, lost) in [
        (vec![], None),
        (vec![("n0", known(US))], None),
        (vec![("n0", known(OTHER))], Some((0, 1))),
        (vec![("n0", known(US)), ("n1", known(US)), ("n2", known(OTHER))], None),
        (vec![("n0", known(US)), ("n1", known(OTHER))], Some((1, 2))),
        // One node, one vote.
        (vec![("n0", known(US)), ("n1", known(OTHER)), ("n0", known(US)), ("n0", known(US))], Some((1, 2))),
        (vec![("n0", mapped)], None),
        (vec![("n0", other_port)], Some((0, 1))),
        // No votes: of who knows nobody (B17), of who is meant, of strangers, and what is none.
        (vec![("n0", unknown()), ("n1", unknown()), ("n2", known(US))], None),
        (vec![("me", known(OTHER)), ("stranger", known(OTHER))], None),
        (
            vec![("n0", vec![]), ("n1", vec![6]), ("n2", b"\x06\xc1".to_vec()), ("n3", b"\x08\x80".to_vec())],
            None,
        ),
    ] {
        let mut bench = Bench::of_members(4);
        assert_eq!(bench.resolve(&answers), lost, "{answers:02x?}");
        let state = if lost.is_some() { NodeState::Shutdown } else { NodeState::Alive };
        assert_eq!(bench.node.state(), state);
        if lost.is_some() {
            assert_eq!(bench.next_due(), None, "nothing more is to be done");
        }
    }
}

#[test]
fn one_dispute_at_a_time_is_enough() {
    let mut bench = Bench::of_members(2);
    assert!(bench.claimed().is_some());
    for _ in 0..100 {
        assert_eq!(bench.claimed(), None);
    }
    bench.wait(SECOND * 4);
    assert!(bench.claimed().is_some(), "it is asked again if the claims go on");
}

#[test]
fn without_queries_or_against_our_will_nothing_is_asked() {
    for change in [(|config| config.protocol_version = 3) as fn(&mut Config), |config| {
        config.enable_name_conflict_resolution = false
    }] {
        let mut config = config();
        change(&mut config);
        let mut bench = Bench::with(config);
        bench.broadcasts();
        assert_eq!(bench.claimed(), None);
        bench.wait(SECOND * 10);
        assert_eq!(bench.node.state(), NodeState::Alive);
        let lines: Vec<String> = bench.notices();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("Node name conflicts with another node at 10.6.6.6:7946."))
        );
    }
}

// "`_serf_conflict` for own name neither passes through nor responds."
#[test]
fn who_is_asked_tells_whom_it_knows() {
    let mut bench = Bench::of_three();
    let mut ask = |name: &str| {
        let ltime = bench.node.vitals().query_time;
        let payload = Some(name.as_bytes().into());
        bench.message(&encode(&serf::Query { name: b"_serf_conflict", payload, ..wire(ltime) }));
        assert_eq!(bench.asked(), []);
        bench.posts().first().map(|(_, answer)| read_answer(answer).payload.unwrap().into_owned())
    };
    assert_eq!(ask("me"), None);
    assert_eq!(ask("nobody"), Some(b"\x06\xc0".to_vec()));
    assert_eq!(ask(""), Some(b"\x06\xc0".to_vec()));
    let answer = ask("foo").unwrap();
    let (kind, body) = MessageKind::split(&answer).unwrap();
    assert_eq!(kind, MessageKind::ConflictResponse);
    let tags = [(&b"role"[..], &b"web"[..])];
    let foo = Member {
        name: b"foo",
        addr: [10, 0, 0, 2][..].into(),
        port: 7946,
        tags: List::of(&tags),
        status: 1,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    };
    assert_eq!(ConflictResponse::read(&mut Reader::new(body)).unwrap().member, Some(foo));
}

/// Notes what it is told, and decides for itself.
struct Opinion(bool, Mutex<Vec<(String, Status, bool)>>);
impl ConflictPolicy for Opinion {
    fn dispute(&self, member: &crate::Member, claimant: &Address, default: bool) -> bool {
        assert_eq!(claimant, &Address::new(&OTHER.0, OTHER.1));
        self.1.lock().unwrap().push((format!("{}", member.name), member.status, default));
        self.0
    }
}

#[test]
fn a_policy_is_told_of_conflicts_and_decides_about_our_own_name() {
    for (default, ours) in [(true, false), (false, true)] {
        let opinion = Arc::new(Opinion(ours, Mutex::default()));
        let mut config = Config { enable_name_conflict_resolution: default, ..config() };
        config.policies.conflict = Some(opinion.clone());
        let mut bench = Bench::with(config);
        bench.alive("foo");
        assert_eq!(bench.claimed().is_some(), ours);
        bench.claim("foo");
        assert_eq!(bench.broadcasts(), [[0; 0]; 0], "that is up to foo");
        let told = opinion.1.lock().unwrap().clone();
        assert_eq!(told, [("me", default), ("foo", default)].map(|(n, d)| (n.into(), Status::Alive, d)));
        assert_eq!(bench.node.stats().conflicts, 2);
    }
}
