//! Transports with certificates: whole clusters over them, and whom they refuse.

pub(crate) mod certificates;
mod credentials;
mod tls;

use std::sync::Arc;

use serf::runtime::{self, Runtime};
use serf::transport::Transport;
use serf::{Answer, Config, Event, Events, Query, QueryEnd, Serf, Status, Tags};

use crate::cluster::{addr, becomes, config};
use crate::{LIMIT, within};

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
    // Half a megabyte that fits no datagram and does not compress: it is in the first states exchanged.
    let mut noise = 1_u32;
    let mut byte = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    };
    let mut large: Vec<Vec<u8>> = (0..64).map(|_| (0..8192).map(|_| byte()).collect()).collect();
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
