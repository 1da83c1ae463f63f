//! Questions between nodes, and their answers.

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::{Duration, Instant};

use serf::{
    Answer, Answers, Config, Error, Event, Events, Failure, Query, QueryEnd, QueryEvent, RespondError, Serf,
};

use crate::cluster::{addr, becomes, config, start};
use crate::events::pair;
use crate::{LIMIT, on_both, within};

/// The next query.
async fn next(events: &mut Events) -> QueryEvent {
    loop {
        if let Event::Query(query) = within(events.recv()).await.unwrap() {
            return query;
        }
    }
}

/// All answers to the end: acks, and responses by name.
async fn all(answers: &mut Answers) -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
    let (mut acks, mut responses) = (vec![], BTreeMap::new());
    while let Some(answer) = within(answers.next()).await {
        match answer {
            Answer::Ack { from } => acks.push(from.to_string()),
            Answer::Response { from, payload } => {
                assert!(responses.insert(from.to_string(), payload).is_none(), "twice from {from}");
            }
            _ => {}
        }
    }
    acks.sort();
    (acks, responses)
}

/// Answers every query with its payload and the name given.
fn answer_all(mut events: Events, name: &'static str) {
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Query(query) = event {
                let _ = query.respond([&query.payload[..], name.as_bytes()].concat()).await;
            }
        }
    });
}

#[test]
fn everybody_answers_and_the_last_answer_is_the_end() {
    on_both(async || {
        let (a, b) = pair().await;
        for (node, name) in [(&a, "a"), (&b, "b")] {
            answer_all(node.subscribe().await.unwrap(), name);
        }
        for asker in [&a, &b] {
            let query = Query::new("any").with_payload([0, 0xff, b'\n']).with_acks().with_timeout(2 * LIMIT);
            let mut answers = within(asker.query(query)).await.unwrap();
            assert_eq!(answers.present(), 2);
            assert!(answers.deadline() > Instant::now() + LIMIT);
            let (acks, responses) = all(&mut answers).await;
            assert_eq!(acks, ["a", "b"]);
            let want =
                [("a", b"\x00\xff\na"), ("b", b"\x00\xff\nb")].map(|(n, p)| (n.to_owned(), p.to_vec()));
            assert_eq!(responses, BTreeMap::from(want));
            assert_eq!(answers.end(), Some(QueryEnd::Complete));
            assert_eq!(within(answers.next()).await, None);
        }
    });
}

#[test]
fn a_query_that_nobody_answers_ends_with_its_time() {
    on_both(async || {
        let (a, b) = pair().await;
        let mut at_b = b.subscribe().await.unwrap();
        let timeout = Duration::from_millis(20);
        let mut answers = a.query(Query::new("q").with_timeout(timeout)).await.unwrap();
        assert_eq!(all(&mut answers).await, (vec![], BTreeMap::new()));
        assert_eq!(answers.end(), Some(QueryEnd::TimedOut));
        assert!(answers.deadline() <= Instant::now() + timeout);
        let query = next(&mut at_b).await;
        assert_eq!((query.to_string(), query.source.clone()), ("query: q".into(), "a".into()));
        // Whoever is as late as this may be told so, or not be heard.
        within(async {
            while Instant::now() <= query.deadline {
                tokio::task::yield_now().await
            }
        })
        .await;
        let late = within(query.respond(b"late")).await.unwrap_err();
        assert_eq!(late, Error::Failed(Failure::Respond(RespondError::PastDeadline)));
    });
}

#[test]
fn conditions_choose_who_is_asked() {
    on_both(async || {
        let tags = [("role".into(), "web".into())].into();
        let a = start("a", "127.0.0.1:0").await;
        let b = Serf::start(Config { tags, ..config("b", "127.0.0.2:0") }).await.unwrap();
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(serf::Status::Alive)).await;
        for (node, name) in [(&a, "a"), (&b, "b")] {
            answer_all(node.subscribe().await.unwrap(), name);
        }
        let q = || Query::new("q").with_timeout(2 * LIMIT).with_acks();
        for (query, want) in [
            (q().to_tag("role", "^w"), vec!["b"]),
            (q().to_tag("role", "^$"), vec!["a"]),
            (q().to_nodes(["a", "b"]).to_tag("role", ""), vec!["a", "b"]),
            (q().to_nodes(["a"]).to_tag("role", "web"), vec![]),
        ] {
            let (acks, responses) = all(&mut within(a.query(query)).await.unwrap()).await;
            assert_eq!(
                (acks, responses.into_keys().collect::<Vec<_>>()),
                (
                    want.clone().into_iter().map(String::from).collect(),
                    want.into_iter().map(String::from).collect()
                )
            );
        }
    });
}

#[test]
fn one_of_many_subscribers_answers() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let mut subscribers = [a.subscribe().await.unwrap(), a.subscribe().await.unwrap()];
        let mut answers = a.query(Query::new("q").with_timeout(2 * LIMIT)).await.unwrap();
        let first = next(&mut subscribers[0]).await;
        let second = next(&mut subscribers[1]).await;
        within(second.respond(b"2")).await.unwrap();
        let error = within(first.respond(b"1")).await.unwrap_err();
        assert_eq!(error, Error::Failed(Failure::Respond(RespondError::AlreadySent)));
        assert_eq!(all(&mut answers).await.1["a"], b"2");
    });
}

#[test]
fn limits_are_errors_that_name_them() {
    on_both(async || {
        let a = Serf::start(Config {
            query_size_limit: 200,
            query_response_size_limit: 300,
            ..config("a", "127.0.0.1:0")
        })
        .await
        .unwrap();
        let mut events = a.subscribe().await.unwrap();
        let error = a.query(Query::new("q").with_payload([0; 200])).await.unwrap_err();
        assert_eq!(error.to_string(), "query exceeds limit of 200 bytes");
        let _answers = a.query(Query::new("q").with_timeout(2 * LIMIT)).await.unwrap();
        let query = next(&mut events).await;
        assert_eq!(
            query.respond([0; 300]).await.unwrap_err().to_string(),
            "response exceeds limit of 300 bytes"
        );
        query.respond([0; 200]).await.unwrap();
        let old = Serf::start(Config { protocol_version: 3, ..config("old", "127.0.0.2:0") }).await.unwrap();
        assert_eq!(old.query(Query::new("q")).await.unwrap_err().to_string(), "Feature not supported");
    });
}

#[test]
fn neither_questions_nor_answers_keep_a_node_going() {
    on_both(async || {
        let (a, mut events) = Serf::start_with_events(config("a", "127.0.0.1:0")).await.unwrap();
        let mut answers = a.query(Query::new("q").with_timeout(2 * LIMIT)).await.unwrap();
        let query = next(&mut events).await;
        drop(a);
        assert_eq!(within(answers.next()).await, None);
        assert_eq!(answers.end(), None);
        assert_eq!(within(events.recv()).await.map(|_| ()), None);
        assert_eq!(within(query.respond(b"x")).await, Err(Error::Closed(serf::driver::Closed)));
    });
}

#[test]
fn answers_that_nobody_waits_for_end_their_query() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let mut events = a.subscribe().await.unwrap();
        drop(a.query(Query::new("q").with_timeout(2 * LIMIT)).await.unwrap());
        within(next(&mut events).await.respond(b"x")).await.unwrap();
        assert_eq!(a.stats().await.unwrap().serf.late_answers, 1);
    });
}

#[test]
fn a_query_ends_when_whoever_asked_does_not_wait_for_its_beginning() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let mut events = a.subscribe().await.unwrap();
        let mut asking = Box::pin(a.query(Query::new("q").with_timeout(2 * LIMIT)));
        drop(std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await);
        drop(asking);
        within(next(&mut events).await.respond(b"x")).await.unwrap();
        assert_eq!(a.stats().await.unwrap().serf.late_answers, 1);
    });
}
