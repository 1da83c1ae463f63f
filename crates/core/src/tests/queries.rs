//! Queries, asked and answered: spec `serf.md` §1.4, §6, appendix A.4.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Address, CommandId};
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self, FLAG_ACK, Filter, MessageKind, QueryResponse};

use super::{Bench, config, message};
use crate::{Answer, Command, Config, Event, Failure, Outcome, Query, QueryEnd, QueryEvent, RespondError};

pub(super) const SECOND: Duration = Duration::from_secs(1);
const QUERY: CommandId = CommandId(100);

/// What came of a query of ours.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Ack(String),
    Response(String, Vec<u8>),
    End(QueryEnd),
}

fn ack(from: &str) -> Heard {
    Heard::Ack(from.into())
}

pub(super) fn response(from: &str, payload: &[u8]) -> Heard {
    Heard::Response(from.into(), payload.into())
}

impl Bench {
    /// One with members `foo` and `bar`, nothing of whom is still to be told.
    pub(super) fn of_three() -> Self {
        Self::of_three_with(config())
    }

    pub(super) fn of_three_with(config: Config) -> Self {
        let mut bench = Self::with(config);
        bench.alive_with("foo", b"\xff\x81\xa4role\xa3web", 7946);
        bench.alive("bar");
        bench.broadcasts();
        bench.posts();
        bench.events();
        bench
    }

    /// Asks; the query as it was gossiped.
    pub(super) fn ask(&mut self, query: Query) -> Vec<u8> {
        self.command(Command::Query { id: QUERY, query });
        let mut sent = self.broadcasts();
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    fn refused(&mut self, query: Query) -> Failure {
        self.command(Command::Query { id: QUERY, query });
        assert_eq!(self.broadcasts(), Vec::<Vec<u8>>::new());
        match self.outcomes().remove(0) {
            (100, Outcome::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn heard(&mut self) -> Vec<Heard> {
        let heard = |event| match event {
            Event::Answer { id, answer } => {
                assert_eq!(id, QUERY);
                Some(match answer {
                    Answer::Ack { from } => Heard::Ack(from.to_string()),
                    Answer::Response { from, payload } => Heard::Response(from.to_string(), payload),
                })
            }
            Event::QueryEnded { id: QUERY, why } => Some(Heard::End(why)),
            _ => None,
        };
        self.events().into_iter().filter_map(heard).collect()
    }

    pub(super) fn asked(&mut self) -> Vec<QueryEvent> {
        let query = |event| match event {
            Event::Query(query) => Some(query),
            _ => None,
        };
        self.events().into_iter().filter_map(query).collect()
    }

    /// Somebody answers.
    pub(super) fn answer(&mut self, query: &[u8], from: &str, flags: u32, payload: Option<&[u8]>) {
        let query = read_query(query);
        let answer = answer_to(&query, from, flags, payload);
        self.datagram(&[&[8], &*answer].concat());
    }

    pub(super) fn respond(&mut self, query: &QueryEvent, payload: &[u8]) -> Result<(), RespondError> {
        self.command(Command::Respond { id: CommandId(7), key: query.key, payload: payload.into() });
        match self.outcomes().remove(0).1 {
            Outcome::Ok => Ok(()),
            Outcome::Failed(Failure::Respond(why)) => Err(why),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn read_query(bytes: &[u8]) -> serf::Query<'_> {
    let (kind, body) = MessageKind::split(bytes).unwrap();
    assert_eq!(kind, MessageKind::Query);
    serf::Query::read(&mut Reader::new(body)).unwrap()
}

pub(super) fn read_answer(bytes: &[u8]) -> QueryResponse<'_> {
    let (kind, body) = MessageKind::split(bytes).unwrap();
    assert_eq!(kind, MessageKind::QueryResponse);
    QueryResponse::read(&mut Reader::new(body)).unwrap()
}

pub(super) fn answer_to(query: &serf::Query<'_>, from: &str, flags: u32, payload: Option<&[u8]>) -> Vec<u8> {
    let (ltime, id) = (query.ltime, query.id);
    let answer =
        QueryResponse { ltime, id, from: from.as_bytes(), flags, payload: payload.map(Cow::Borrowed) };
    message(MessageKind::QueryResponse, |w| answer.write(w))
}

/// Where the member `foo` is.
pub(super) fn foo() -> Address {
    Address::new(&[10, 0, 0, 2], 7946)
}

/// A query of `foo`'s.
pub(super) fn wire(ltime: u64) -> serf::Query<'static> {
    serf::Query {
        ltime,
        id: 70 + ltime as u32,
        addr: (&[10, 0, 0, 2][..]).into(),
        port: 7946,
        source_node: b"foo",
        timeout: 1_000_000_000,
        name: b"load",
        ..serf::Query::default()
    }
}

pub(super) fn encode(query: &serf::Query<'_>) -> Vec<u8> {
    message(MessageKind::Query, |w| query.write(w))
}

fn tag(tag: &str, expr: &str) -> Vec<u8> {
    let mut bytes = vec![];
    Filter::Tag { tag: tag.as_bytes(), expr: expr.as_bytes() }.write(&mut bytes);
    bytes
}

fn nodes(names: &[&str]) -> Vec<u8> {
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let mut bytes = vec![];
    Filter::Nodes(List::of(&names)).write(&mut bytes);
    bytes
}

/// Whether a query with these conditions is told to the owner.
fn is_for_us(bench: &mut Bench, filters: &[Vec<u8>]) -> bool {
    let ltime = bench.node.vitals().query_time;
    let filters: Vec<Cow<'_, [u8]>> = filters.iter().map(|filter| filter.as_slice().into()).collect();
    let bytes = encode(&serf::Query { filters: List::of(&filters), ..wire(ltime) });
    let may_pass = bytes.len() <= bench.node.serf.queues.room;
    assert_eq!(bench.message(&bytes), may_pass, "others are to hear of it in any case");
    !bench.asked().is_empty()
}

#[test]
fn a_query_of_ours_is_gossiped_with_all_that_was_asked_for() {
    let mut bench = Bench::of_three();
    let query = Query::new("load")
        .with_payload(*b"hi")
        .to_nodes(["n11", "n13"])
        .to_tag("role", "^w")
        .to_tag("dc", "")
        .with_acks()
        .with_relays(1)
        .with_timeout(SECOND * 3);
    let sent = bench.ask(query);
    let query = read_query(&sent);
    let filters: Vec<Cow<'_, [u8]>> =
        [nodes(&["n11", "n13"]), tag("dc", ""), tag("role", "^w")].map(Cow::Owned).into();
    let want = serf::Query {
        ltime: 1,
        id: query.id,
        addr: (&[10, 0, 0, 1][..]).into(),
        port: 7946,
        source_node: b"me",
        filters: List::of(&filters),
        flags: FLAG_ACK,
        relay_factor: 1,
        timeout: 3_000_000_000,
        name: b"load",
        payload: Some((&b"hi"[..]).into()),
    };
    assert_eq!(query, want);
    assert!(query.id < 1 << 31);

    let bare = bench.ask(Query::new(""));
    let bare = read_query(&bare);
    assert!(bare.filters.is_absent() && bare.payload.is_none() && bare.flags == 0 && bare.ltime == 2);
}

// "Default timeout for one node = GossipInterval × QueryTimeoutMult."
#[test]
fn the_default_time_out_grows_with_the_number_of_members() {
    let table: serde_json::Value =
        serde_json::from_str(include_str!("../../testdata/query_timeouts.json")).unwrap();
    for row in table["rows"].as_array().unwrap() {
        let [interval, mult, n, timeout] = core::array::from_fn(|i| row[i].as_u64().unwrap());
        let mut config = config();
        config.gossip.gossip_interval = Duration::from_nanos(interval);
        config.query_timeout_mult = mult as u32;
        let node = Bench::with(config).node;
        assert_eq!(node.serf.default_query_timeout(n as usize), Duration::from_nanos(timeout), "{row}");
    }
    let mut bench = Bench::new();
    bench.ask(Query::new("q").with_timeout(Duration::ZERO));
    let asked = Outcome::Asked { ltime: 1, timeout: Duration::from_millis(3200), present: 1 };
    assert_eq!(bench.outcomes(), [(100, asked)]);
}

#[test]
fn a_query_that_may_not_be_asked_is_refused() {
    let mut bench = Bench::new();
    let why = bench.refused(Query::new("q").with_payload([0; 1024]));
    assert_eq!(
        (why.to_string().as_str(), &why),
        ("query exceeds limit of 1024 bytes", &Failure::QueryTooLong(1024))
    );
    // A datagram has a limit too, and nobody would hear of it.
    let mut bench = Bench::with(Config { query_size_limit: 9000, ..config() });
    let room = bench.node.serf.queues.room;
    bench.ask(Query::new("q").with_payload([0; 1200]));
    bench.events();
    assert_eq!(bench.refused(Query::new("q").with_payload([0; 1400])), Failure::QueryTooLong(room));
    let mut bench = Bench::with(Config { protocol_version: 3, ..config() });
    assert_eq!(bench.refused(Query::new("q")), Failure::NotSupported);
}

#[test]
fn answers_are_told_as_they_come_and_the_last_one_ends_the_query() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q").with_acks());
    assert_eq!(bench.heard(), [ack("me")]);
    bench.answer(&query, "foo", FLAG_ACK, None);
    bench.answer(&query, "foo", 0, Some(b"1"));
    assert_eq!(bench.heard(), [ack("foo"), response("foo", b"1")]);
    bench.answer(&query, "bar", 0, None);
    bench.answer(&query, "me", 0, Some(b"2"));
    assert_eq!(bench.heard(), [response("bar", b""), response("me", b"2")]);
    bench.answer(&query, "bar", FLAG_ACK, None);
    assert_eq!(bench.heard(), [ack("bar"), Heard::End(QueryEnd::Complete)]);
    bench.wait(SECOND * 60);
    bench.answer(&query, "bar", FLAG_ACK, None);
    assert_eq!(bench.heard(), []);
    assert_eq!(bench.node.stats().late_answers, 1);
}

// "Duplicate responses and duplicate acks from one node: exactly one of each delivered."
#[test]
fn one_ack_and_one_response_of_each_are_told() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q").with_acks());
    bench.heard();
    for _ in 0..3 {
        bench.answer(&query, "foo", 0, Some(b"1"));
        bench.answer(&query, "foo", FLAG_ACK, None);
    }
    assert_eq!(bench.heard(), [response("foo", b"1"), ack("foo")]);
    let stats = *bench.node.stats();
    assert_eq!((stats.query_acks, stats.query_duplicate_acks), (2, 2), "the first is our own");
    assert_eq!((stats.query_responses, stats.query_duplicate_responses), (1, 2));
}

#[test]
fn acks_that_nobody_asked_for_are_not_told() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q"));
    bench.answer(&query, "foo", FLAG_ACK, None);
    assert_eq!(bench.heard(), []);
    assert_eq!(bench.node.stats().query_duplicate_acks, 1);
}

#[test]
fn a_query_that_not_all_answer_ends_with_its_time() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q").with_timeout(SECOND));
    bench.answer(&query, "foo", 0, None);
    bench.wait(SECOND - Duration::from_nanos(1));
    assert_eq!(bench.heard(), [response("foo", b"")]);
    bench.wait(Duration::from_nanos(1));
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::TimedOut)]);
}

#[test]
fn only_those_who_are_asked_are_waited_for() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q").to_tag("role", "w.b").to_nodes(["foo", "me"]));
    // Whoever else answers has its reasons.
    bench.answer(&query, "bar", 0, None);
    bench.answer(&query, "foo", 0, None);
    let end = Heard::End(QueryEnd::Complete);
    assert_eq!(bench.heard(), [response("bar", b""), response("foo", b""), end]);
    bench.ask(Query::new("q").to_nodes(["nobody"]));
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::Complete)]);
}

#[test]
fn those_who_go_are_not_waited_for_any_more() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q").to_nodes(["foo", "bar"]));
    bench.answer(&query, "foo", 0, None);
    bench.heard();
    bench.dead("bar", "foo");
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::Complete)]);
    // One who has answered before it goes is not counted twice.
    bench.alive("bar");
    let query = bench.ask(Query::new("q").to_nodes(["foo", "bar"]));
    bench.answer(&query, "bar", 0, None);
    bench.dead("bar", "foo");
    bench.answer(&query, "bar", 0, None);
    assert_eq!(bench.heard(), [response("bar", b"")]);
}

#[test]
fn who_wants_to_hears_until_the_time_is_over() {
    let mut bench = Bench::new();
    bench.events();
    let query = bench.ask(Query::new("q").until_timeout());
    bench.answer(&query, "me", 0, None);
    bench.alive("late");
    bench.answer(&query, "late", 0, None);
    assert_eq!(bench.heard(), [response("me", b""), response("late", b"")]);
    bench.wait(SECOND * 4);
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::TimedOut)]);
}

// Its meaning may be clear to others.
#[test]
fn an_expression_that_means_nothing_to_us_is_sent_and_its_time_waited_for() {
    let mut bench = Bench::new();
    bench.events();
    let sent = bench.ask(Query::new("q").to_tag("role", "("));
    assert_eq!(read_query(&sent).filters.len(), 1);
    assert_eq!(bench.heard(), []);
    bench.wait(SECOND * 4);
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::TimedOut)]);
}

#[test]
fn a_query_ends_when_its_owner_closes_it_or_shuts_down() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q"));
    bench.command(Command::CloseQuery { id: QUERY });
    bench.command(Command::CloseQuery { id: QUERY });
    bench.answer(&query, "foo", 0, None);
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::Closed)]);
    bench.ask(Query::new("q"));
    bench.command(Command::Shutdown { id: CommandId(1) });
    assert_eq!(bench.heard(), [Heard::End(QueryEnd::Closed)]);
    assert_eq!(bench.refused(Query::new("q")), Failure::Shutdown);
}

// B12
#[test]
fn queries_asked_at_once_are_told_apart() {
    let mut bench = Bench::of_three();
    let first = bench.ask(Query::new("q"));
    bench.command(Command::Query { id: CommandId(101), query: Query::new("q") });
    let second = bench.broadcasts().remove(0);
    assert_ne!(read_query(&first).ltime, read_query(&second).ltime);
    bench.answer(&first, "foo", 0, Some(b"1"));
    bench.answer(&second, "foo", 0, Some(b"2"));
    let answers: Vec<(u64, Vec<u8>)> = bench
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Answer { id, answer: Answer::Response { payload, .. } } => Some((id.0, payload)),
            _ => None,
        })
        .collect();
    assert_eq!(answers, [(100, b"1".to_vec()), (101, b"2".to_vec())]);
}

#[test]
fn answers_of_strangers_and_to_nothing_are_refused() {
    let mut bench = Bench::of_three();
    let query = bench.ask(Query::new("q"));
    bench.answer(&query, "stranger", 0, None);
    assert_eq!(bench.node.stats().refused_answers, 1);
    let other = serf::Query { id: read_query(&query).id ^ 1, ..read_query(&query) };
    bench.answer(&encode(&other), "foo", 0, None);
    let other = serf::Query { ltime: read_query(&query).ltime + 1, ..read_query(&query) };
    bench.answer(&encode(&other), "foo", 0, None);
    assert_eq!(bench.node.stats().late_answers, 2);
    assert_eq!(bench.heard(), []);
}

#[test]
fn queries_under_way_are_bounded() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench| {
        bench.command(Command::Query { id: QUERY, query: Query::new("q") });
        let told = bench.events();
        told.iter().any(|event| matches!(event, Event::Done { outcome: Outcome::Asked { .. }, .. }))
    };
    let begun = (0..100_000).take_while(|_| ask(&mut bench)).count();
    assert!((10_000..70_000).contains(&begun), "{begun}");
    // None is forgotten, and room comes back.
    bench.wait(SECOND * 4);
    assert_eq!(bench.heard().len(), begun);
    assert!(ask(&mut bench));
}

// "Same LTime, different IDs: each new once …; delivered in order."
#[test]
fn a_query_for_us_is_told_with_all_that_it_brings() {
    let mut bench = Bench::of_three();
    let query = serf::Query { payload: Some((&b"hi"[..]).into()), ..wire(5) };
    for id in [1, 2, 1] {
        bench.datagram(&[&[8], &*encode(&serf::Query { id, ..query.clone() })].concat());
    }
    let told = bench.asked();
    assert_eq!(told.len(), 2);
    let QueryEvent { ltime, name, payload, source, timeout, .. } = &told[0];
    assert_eq!(
        (*ltime, name.as_bytes(), &payload[..], source.as_bytes()),
        (5, &b"load"[..], &b"hi"[..], &b"foo"[..])
    );
    assert_eq!(*timeout, SECOND);
    assert_eq!(bench.posts(), [], "no ack was asked for");
}

// "Name in list and both tag expressions match → true; own name missing → false; missing tag with non-empty expression →
// false; non-matching tag → false."
#[test]
fn a_query_is_for_those_who_meet_all_its_conditions() {
    let tags = [("role".into(), "webserver".into()), ("dc".into(), "east-aws".into())].into();
    let mut bench = Bench::of_three_with(Config { tags, ..config() });
    let me = || nodes(&["foo", "me"]);
    for (filters, want) in [
        (vec![], true),
        (vec![me(), tag("role", "^web"), tag("dc", "aws$")], true),
        (vec![nodes(&["foo", "bar"]), tag("role", "^web")], false),
        (vec![nodes(&[])], false),
        (vec![me(), tag("other", "cool")], false),
        (vec![me(), tag("other", "^$")], true),
        (vec![me(), tag("role", "db")], false),
        (vec![me(), tag("role", "")], true),
    ] {
        assert_eq!(is_for_us(&mut bench, &filters), want, "{filters:?}");
    }
    assert_eq!(bench.node.stats().bad_filters, 0);
}

// B1
#[test]
fn conditions_that_mean_nothing_are_met_by_nobody() {
    let mut bench = Bench::of_three();
    let many = vec![tag("role", ""); 1000];
    let bad: [&[Vec<u8>]; 8] = [
        &[vec![]],
        &[vec![7, 0x90]],
        &[vec![0]],
        &[vec![0, 0xc1]],
        &[vec![1, 0x81]],
        &[tag("role", "(")],
        &[tag("role", &"a{1000}".repeat(100))],
        &many,
    ];
    for (n, filters) in bad.into_iter().enumerate() {
        assert!(!is_for_us(&mut bench, filters), "{n}");
        assert_eq!(bench.node.stats().bad_filters, n as u64 + 1);
    }
    assert!(is_for_us(&mut bench, &[]));
    bench.wait(SECOND * 10);
    let filters = [tag("role", "(").into()];
    bench.message(&encode(&serf::Query { filters: List::of(&filters), ..wire(50) }));
    let lines = bench.notices();
    let words = "failed to compile filter regex ((): error parsing regexp: ";
    assert!(lines.iter().any(|line| line.starts_with(words)), "{lines:?}");
}

#[test]
fn expressions_at_a_flooding_rate_are_not_looked_at() {
    let mut bench = Bench::of_three();
    let matched = (0..1000).filter(|_| is_for_us(&mut bench, &[tag("role", "^$")])).count();
    assert!((100..1000).contains(&matched), "{matched}");
    bench.wait(SECOND);
    assert!(is_for_us(&mut bench, &[tag("role", "^$")]));
}

#[test]
fn large_expressions_are_looked_at_seldom() {
    let tags = [("role".into(), "ε".repeat(200))].into();
    let mut bench = Bench::of_three_with(Config { tags, ..config() });
    let large = tag("role", r"^\pL{1,5}");
    let matched = (0..100).filter(|_| is_for_us(&mut bench, core::slice::from_ref(&large))).count();
    assert!((10..50).contains(&matched), "{matched}");
    assert!(is_for_us(&mut bench, &[tag("role", "ε$")]), "others are still looked at");
}

#[test]
fn acks_and_responses_go_to_the_address_in_the_query() {
    let mut bench = Bench::of_three();
    bench.message(&encode(&serf::Query { flags: FLAG_ACK, ..wire(5) }));
    let posts = bench.posts();
    let want = QueryResponse { ltime: 5, id: 75, from: b"me", flags: FLAG_ACK, payload: None };
    assert_eq!(posts.iter().map(|(to, m)| (to.clone(), read_answer(m))).collect::<Vec<_>>(), [(foo(), want)]);
    let query = bench.asked().remove(0);
    assert_eq!(bench.respond(&query, b"\xff"), Ok(()));
    let posts = bench.posts();
    let want =
        QueryResponse { ltime: 5, id: 75, from: b"me", flags: 0, payload: Some((&b"\xff"[..]).into()) };
    assert_eq!(posts.iter().map(|(to, m)| (to.clone(), read_answer(m))).collect::<Vec<_>>(), [(foo(), want)]);
}

#[test]
fn a_query_is_answered_once_and_in_time() {
    let mut bench = Bench::of_three();
    let mut ask = |ltime| {
        bench.message(&encode(&wire(ltime)));
        bench.asked().remove(0)
    };
    let queries: Vec<QueryEvent> = (5..9).map(&mut ask).collect();
    let room = 1024 - (answer_to(&wire(5), "me", 0, Some(&[0; 100])).len() - 100);
    let too_long = bench.respond(&queries[0], &vec![0; room + 1]);
    assert_eq!(too_long, Err(RespondError::TooLong(1024)));
    assert_eq!(bench.respond(&queries[0], &vec![0; room]), Ok(()));
    assert_eq!(bench.respond(&queries[0], b"x"), Err(RespondError::AlreadySent));
    assert_eq!(bench.posts().len(), 1);
    bench.wait(SECOND);
    assert_eq!(bench.respond(&queries[1], b"x"), Ok(()));
    bench.wait(Duration::from_nanos(1));
    assert_eq!(bench.respond(&queries[2], b"x"), Err(RespondError::PastDeadline));
    assert_eq!(bench.respond(&queries[0], b"x"), Err(RespondError::AlreadySent));
    // When they are forgotten it is their time that was over.
    bench.message(&encode(&wire(20)));
    assert_eq!(bench.respond(&queries[0], b"x"), Err(RespondError::PastDeadline));
    let texts = [RespondError::TooLong(7), RespondError::AlreadySent, RespondError::PastDeadline];
    assert_eq!(
        texts.map(|why| why.to_string()),
        ["response exceeds limit of 7 bytes", "response already sent", "response is past the deadline"]
    );
}

#[test]
fn a_query_whose_time_is_over_when_it_comes_is_told_and_acknowledged() {
    let mut bench = Bench::of_three();
    for (ltime, timeout) in [(5, 0), (6, -1), (7, i64::MIN)] {
        bench.message(&encode(&serf::Query { timeout, flags: FLAG_ACK, ..wire(ltime) }));
        assert_eq!(bench.posts().len(), 1);
        let query = bench.asked().remove(0);
        bench.wait(Duration::from_nanos(1));
        assert_eq!(bench.respond(&query, b"x"), Err(RespondError::PastDeadline));
    }
    bench.message(&encode(&serf::Query { timeout: i64::MAX, ..wire(8) }));
    let query = bench.asked().remove(0);
    bench.wait(SECOND);
    assert_eq!(bench.respond(&query, b"x"), Ok(()));
}

#[test]
fn our_own_answer_needs_no_network() {
    let mut bench = Bench::new();
    bench.events();
    bench.ask(Query::new("q").with_acks().with_relays(3));
    let query = bench.asked().remove(0);
    assert_eq!(bench.respond(&query, b"x"), Ok(()));
    assert_eq!(bench.posts(), []);
    assert_eq!((bench.node.stats().query_acks, bench.node.stats().query_responses), (1, 1));
}

// A.6, first half: what is told, and what is not.
#[test]
fn internal_queries_are_told_to_nobody() {
    let mut bench = Bench::of_three();
    for (n, name) in [&b"_serf_ping"[..], b"_serf_nonsense", b"_serf_"].into_iter().enumerate() {
        assert!(bench.message(&encode(&serf::Query { name, flags: FLAG_ACK, ..wire(5 + n as u64) })));
        assert_eq!(bench.posts().len(), 1, "the ack is the answer");
        assert_eq!(bench.asked(), []);
    }
    bench.message(&encode(&serf::Query { name: b"_serf", ..wire(9) }));
    assert_eq!(bench.asked().len(), 1);
    bench.ask(Query::new("_serf_ping").with_acks().to_nodes(["me"]));
    assert_eq!(bench.heard(), [ack("me")]);
}
