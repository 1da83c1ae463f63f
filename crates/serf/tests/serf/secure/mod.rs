//! Transports with certificates: whole clusters over them, and whom they refuse.

pub(crate) mod certificates;
mod credentials;
mod faulty;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "tls")]
mod tls;

use std::future::Future;
use std::sync::Arc;

use serf::runtime::{self, Runtime};
use serf::transport::Transport;
use serf::{Answer, Config, Error, Event, Events, Query, QueryEnd, Serf, Status, Tags};

use self::faulty::{Budget, Faulty};
use crate::cluster::{addr, becomes, config};
use crate::{LIMIT, until, within};

/// Everything a node can run on.
fn runtimes() -> Vec<Arc<dyn Runtime>> {
    vec![
        runtime::current().unwrap(),
        #[cfg(feature = "smol")]
        Arc::new(runtime::Smol),
        #[cfg(feature = "threads")]
        Arc::new(runtime::Threads),
    ]
}

pub(crate) async fn start(
    name: &str,
    bind: &str,
    transport: Arc<dyn Transport>,
    runtime: &Arc<dyn Runtime>,
) -> (Serf, Events) {
    let config = Config {
        transport,
        runtime: Some(runtime.clone()),
        user_event_size_limit: 9216,
        ..config(name, bind)
    };
    within(Serf::start_with_events(config)).await.unwrap()
}

/// Bytes that do not compress.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// The payloads of the next user events.
async fn user_events(events: &mut Events, count: usize) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        if let Event::User(event) = within(events.recv()).await.unwrap() {
            payloads.push(event.payload.to_vec());
        }
    }
    payloads.sort();
    payloads
}

/// Three nodes do all that a cluster does; names are bound.
async fn a_cluster_lives(transport: impl Fn(&str) -> Arc<dyn Transport>, runtime: Arc<dyn Runtime>) {
    let (a, mut at_a) = start("a", "127.0.2.1:0", transport("a"), &runtime).await;
    // Half a megabyte that fits no datagram: it is in the first states exchanged.
    let mut large: Vec<Vec<u8>> = (0..64).map(|seed| noise(seed, 8192)).collect();
    for payload in &large {
        within(a.user_event("large", payload.clone(), false)).await.unwrap();
    }
    large.sort();
    assert_eq!(user_events(&mut at_a, large.len()).await, large);

    let (b, mut at_b) = start("b", "127.0.2.2:0", transport("b"), &runtime).await;
    within(b.join_and_replay([format!("a/{}", addr(&a))])).await.unwrap();
    assert_eq!(user_events(&mut at_b, large.len()).await, large);

    // Whoever it is that lives there.
    let (c, mut at_c) = start("c", "127.0.2.3:0", transport("c"), &runtime).await;
    within(c.join([addr(&b)])).await.unwrap();
    for node in [&a, &b, &c] {
        for name in ["a", "b", "c"] {
            becomes(node, name, Some(Status::Alive)).await;
        }
    }

    within(c.user_event("small", b"hello", false)).await.unwrap();
    for events in [&mut at_a, &mut at_b, &mut at_c] {
        assert_eq!(user_events(events, 1).await, [b"hello"]);
    }

    let query = Query::new("who").with_acks().with_timeout(2 * LIMIT);
    let mut answers = within(a.query(query)).await.unwrap();
    for events in [&mut at_a, &mut at_b, &mut at_c] {
        loop {
            if let Event::Query(query) = within(events.recv()).await.unwrap() {
                break within(query.respond(*b"me")).await.unwrap();
            }
        }
    }
    let (mut acks, mut responses) = (0, 0);
    while let Some(answer) = within(answers.next()).await {
        match answer {
            Answer::Ack { .. } => acks += 1,
            Answer::Response { .. } => responses += 1,
            _ => {}
        }
    }
    assert_eq!((answers.end(), acks, responses), (Some(QueryEnd::Complete), 3, 3));

    within(b.set_tags(Tags::from([("role".to_owned(), "web".to_owned())]))).await.unwrap();
    for events in [&mut at_a, &mut at_c] {
        loop {
            if let Event::Member(event) = within(events.recv()).await.unwrap()
                && event.members.iter().any(|m| m.name == "b".into() && !m.tags().is_empty())
            {
                break;
            }
        }
    }

    within(c.leave()).await.unwrap();
    becomes(&a, "c", Some(Status::Left)).await;
    becomes(&b, "c", Some(Status::Left)).await;
    let local = c.local_addr();
    within(c.shutdown()).await;
    // Whatever was bound is free.
    drop(transport("c").bind(local, &runtime).unwrap());
    within(a.shutdown()).await;
    within(b.shutdown()).await;
}

/// The sockets of one of two nodes break while their states are exchanged, and are well again later.
async fn a_failure_half_way_is_named_and_survived(transport: impl Fn(&str) -> Arc<dyn Transport>) {
    let budget = Budget::new(100_000);
    let faulty: Arc<dyn Runtime> = Arc::new(Faulty(runtime::current().unwrap(), budget.clone()));
    let (a, _at_a) = start("a", "127.0.2.1:0", transport("a"), &faulty).await;
    for n in 0..64 {
        within(a.user_event("large", noise(n, 8192), false)).await.unwrap();
    }
    let (b, mut at_b) = start("b", "127.0.2.2:0", transport("b"), &runtime::current().unwrap()).await;
    let address = addr(&a);
    let joined = tokio::spawn({
        let (b, address) = (b.clone(), address.clone());
        async move { b.join_and_replay([address]).await }
    });
    until(|| budget.is_spent()).await;
    // What carries streams over sockets that forget may have overcome it.
    let joined = {
        let lift = async {
            // Long enough for anything that is sent meanwhile to be lost; nothing depends on how long.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            budget.lift();
        };
        tokio::join!(within(joined), lift).0.unwrap()
    };
    if let Err(error) = joined {
        let why = reason(Err(error));
        assert!(why.contains(&address), "{why}");
        within(async { while b.join_and_replay([&address]).await.is_err() {} }).await;
    }
    assert_eq!(user_events(&mut at_b, 64).await.len(), 64);
    becomes(&a, "b", Some(Status::Alive)).await;
}

/// Why nobody was joined.
#[track_caller]
fn reason(result: Result<serf::Joined, Error>) -> String {
    let Err(Error::NotJoined(failures)) = result else { panic!("{result:?}") };
    let [failure] = &failures.0[..] else { panic!("{failures}") };
    failure.to_string()
}

/// Another node joins, and leaves.
async fn goes_on(a: &Serf, transport: Arc<dyn Transport>) {
    let (friend, _) = start("friend", "127.0.2.9:0", transport, &runtime::current().unwrap()).await;
    within(friend.join([format!("{}/{}", a.name(), addr(a))])).await.unwrap();
    becomes(a, "friend", Some(Status::Alive)).await;
    within(friend.leave()).await.unwrap();
    within(friend.shutdown()).await;
}

/// Does work in a thread, from now on.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> {
    let done = tokio::task::spawn_blocking(work);
    async { done.await.unwrap() }
}
