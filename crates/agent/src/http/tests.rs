//! The document and the routes say the same; streams, read by hand.

use std::collections::BTreeSet;
use std::task::{Context, Waker};

use serde_json::Value;
use serf::Serf;

use super::crowd::Busy;
use super::reply::Feed;
use super::routes::ROUTES;
use super::stream::{AnswerFeed, EventFeed, Held};
use super::*;
use crate::events::EventFilter;
use crate::telemetry::Telemetry;

fn document() -> Value {
    serde_json::from_str(include_str!("openapi.json")).expect("JSON")
}

#[test]
fn the_document_tells_of_every_route_and_parameter_and_of_no_other() {
    let document = document();
    let mut told = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            told.insert(format!("{method} {path}"));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            told.extend(
                parameters.map(|it| format!("{method} {path}?{}", it["name"].as_str().expect("a name"))),
            );
        }
    }
    let mut served = BTreeSet::new();
    for route in ROUTES {
        let method = if route.does.takes_orders() { "post" } else { "get" };
        served.insert(format!("{method} {}", route.path));
        let parameters = route.params.into_iter().flatten();
        served.extend(parameters.map(|it| format!("{method} {}?{}", route.path, it.name)));
        let operation = &document["paths"][route.path][method];
        assert_eq!(operation["security"].is_array(), route.does.is_open(), "{}", route.path);
        for status in ["405", "414", "431"] {
            assert!(operation["responses"][status].is_object(), "{}: {status}", route.path);
        }
        for status in ["401", "403"] {
            assert_ne!(
                operation["responses"][status].is_object(),
                route.does.is_open(),
                "{}: {status}",
                route.path
            );
        }
        let takes_params = route.params.is_some();
        assert_eq!(operation["responses"]["400"].is_object(), takes_params, "{}", route.path);
        assert_eq!(operation["responses"]["413"].is_object(), route.does.takes_orders(), "{}", route.path);
    }
    assert_eq!(told, served);
}

#[test]
fn the_document_refers_only_to_what_it_holds_and_uses_all_of_it() {
    fn references<'a>(value: &'a Value, all: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                all.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, all));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, all)),
            _ => {}
        }
    }
    let document = document();
    let mut referred = BTreeSet::new();
    references(&document, &mut referred);
    for reference in &referred {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let text = document["paths"].to_string();
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().expect("components").keys() {
            let reference = format!("#/components/{kind}/{name}");
            // What is sent as an event can only be told of in words.
            assert!(referred.contains(reference.as_str()) || text.contains(name.as_str()), "{reference}");
        }
    }
}

/// A node that keeps so many events for a subscriber.
async fn node(event_queue: usize) -> Serf {
    let bind = "127.0.0.1:0".parse().expect("an address");
    let config = serf::Config { bind, event_queue, ..serf::Config::local("me") };
    Serf::start(config).await.expect("it starts")
}

fn held() -> (Held, Crowd) {
    let crowd = Crowd::new(1);
    let busy: Busy = crowd.admit().expect("a seat").seat.busy();
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
    (Held { _place: place, _busy: busy }, crowd)
}

/// All pieces that there are now.
fn take(feed: &mut dyn Feed) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    while let std::task::Poll::Ready(Some(piece)) = feed.poll_next(&mut cx) {
        all.extend_from_slice(&piece);
    }
    String::from_utf8(all).expect("text")
}

#[tokio::test]
async fn who_reads_slowly_loses_with_a_count() {
    let serf = node(2).await;
    let telemetry = Telemetry::new(None);
    let events = serf.subscribe().await.expect("alive");
    let filters = EventFilter::parse_list("user:a").expect("valid");
    let mut feed = EventFeed::new(events, filters, telemetry.clone(), held().0);
    assert_eq!(take(&mut feed), "retry: 2000\n\n");
    for (name, payload) in [("b", "x"), ("a", "1\n"), ("a", "2"), ("a", "3")] {
        serf.user_event(name, payload, false).await.expect("fired");
    }
    serf.stats().await.expect("now it has been told");
    assert_eq!(
        take(&mut feed),
        "id: 1\nevent: lost\ndata: {\"lost\":2}\n\nid: 2\nevent: user\ndata: {\"event\":\"user\",\"name\":\"a\",\
         \"ltime\":2,\"coalesce\":false,\"payload\":\"1\\n\",\"payload_base64\":\"MQo=\"}\n\n"
    );
    assert_eq!(telemetry.totals(), [("agent.http.lost".into(), 2, 2.0)]);
    serf.shutdown().await;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(feed.poll_next(&mut cx), std::task::Poll::Ready(None)), "it ends with the node");
}

#[tokio::test]
async fn a_stream_keeps_its_seat_until_it_ends() {
    let serf = node(2).await;
    let (held, crowd) = held();
    let events = serf.subscribe().await.expect("alive");
    let feed = EventFeed::new(events, vec![EventFilter::Any], Telemetry::new(None), held);
    assert!(crowd.admit().is_none());
    drop(feed);
    assert!(crowd.admit().is_some());
}

#[tokio::test]
async fn answers_come_one_by_one_and_then_the_end() {
    let serf = node(16).await;
    let answers = serf.query(serf::Query::new("x").with_acks()).await.expect("asked");
    let mut feed = AnswerFeed::new(answers, held().0);
    let mut all = String::new();
    while !all.contains("event: ack") {
        serf.stats().await.expect("alive");
        all += &take(&mut feed);
    }
    serf.shutdown().await;
    while !all.contains("event: done") {
        tokio::task::yield_now().await;
        all += &take(&mut feed);
    }
    assert_eq!(
        all,
        "retry: 2000\n\nid: 1\nevent: ack\ndata: {\"from\":\"me\"}\n\nid: 2\nevent: done\ndata: {\"end\":\"shutdown\",\
         \"acks\":1,\"responses\":0}\n\n"
    );
}

#[test]
fn two_addresses_are_in_each_others_way() {
    for (one, other, expected) in [
        ("127.0.0.1:7373", "127.0.0.1:7373", true),
        ("127.0.0.1:7373", "127.0.0.1:7374", false),
        ("127.0.0.1:7373", "127.0.0.2:7373", false),
        ("127.0.0.1:7373", "0.0.0.0:7373", true),
        ("[::]:7373", "127.0.0.1:7373", true),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        let addresses = [one, other].map(|it| it.parse().expect("an address"));
        assert_eq!(overlap(addresses[0], addresses[1]), expected, "{one} {other}");
    }
}
