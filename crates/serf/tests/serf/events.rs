//! User events, and events told together.

use std::time::Duration;

use serf::{Config, Error, Event, EventTooLong, Events, Failure, Serf, Status, UserEvent};

use crate::cluster::{addr, becomes, config, start};
use crate::{on_both, within};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The next user event.
async fn next(events: &mut Events) -> UserEvent {
    loop {
        if let Event::User(event) = within(events.recv()).await.unwrap() {
            return event;
        }
    }
}

/// All user events there are until the node is gone, by time and payload.
async fn rest(mut events: Events) -> Vec<(u64, Vec<u8>)> {
    let mut rest = Vec::new();
    while let Some(event) = within(events.recv()).await {
        if let Event::User(event) = event {
            rest.push((event.ltime, event.payload.to_vec()));
        }
    }
    rest
}

/// Two nodes that know each other.
pub(crate) async fn pair() -> (Serf, Serf) {
    let (a, b) = (start("a", "127.0.0.1:0").await, start("b", "127.0.0.2:0").await);
    within(b.join([addr(&a)])).await.unwrap();
    becomes(&a, "b", Some(Status::Alive)).await;
    (a, b)
}

#[test]
fn events_go_both_ways_in_order_and_carry_any_bytes() {
    on_both(async || {
        let (a, b) = pair().await;
        let (mut at_a, mut at_b) = (a.subscribe().await.unwrap(), b.subscribe().await.unwrap());
        for n in 0..10_u8 {
            let (from, home, abroad) =
                if n % 2 == 0 { (&a, &mut at_a, &mut at_b) } else { (&b, &mut at_b, &mut at_a) };
            let payload = vec![n, 0, 0xff, 0xc3, 0x28, b'\n'];
            from.user_event("binary", payload.clone(), n % 3 == 0).await.unwrap();
            // The flag is lost abroad if a full state is faster than gossip.
            let got = next(home).await;
            assert_eq!(got.coalesce, n % 3 == 0);
            for got in [got, next(abroad).await] {
                assert_eq!((got.name, &got.payload[..]), ("binary".into(), &payload[..]));
                assert_eq!(got.ltime, u64::from(n) + 1);
            }
        }
        // An event without a name and a payload is one too.
        b.user_event("", [], false).await.unwrap();
        let got = next(&mut at_a).await;
        assert_eq!((got.name, got.payload.len()), ("".into(), 0));
    });
}

#[test]
fn a_burst_is_told_in_order_at_home_and_completely_abroad() {
    on_both(async || {
        let (a, b) = pair().await;
        let (mut at_a, mut at_b) = (a.subscribe().await.unwrap(), b.subscribe().await.unwrap());
        for n in 0..50_u8 {
            a.user_event("burst", [n], false).await.unwrap();
        }
        let mut abroad = Vec::new();
        for n in 0..50_u8 {
            assert_eq!(next(&mut at_a).await.payload[..], [n]);
            abroad.push(next(&mut at_b).await.payload[0]);
        }
        abroad.sort_unstable();
        assert_eq!(abroad, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn an_event_that_is_too_long_is_told_to_nobody() {
    on_both(async || {
        let (a, b) = pair().await;
        let (mut at_a, mut at_b) = (a.subscribe().await.unwrap(), b.subscribe().await.unwrap());
        let error = a.user_event("long", [7; 600], false).await.unwrap_err();
        assert_eq!(error, Error::Failed(Failure::EventTooLong(EventTooLong::Configured(512))));
        assert_eq!(error.to_string(), "user event exceeds configured limit of 512 bytes before encoding");
        let error = a.user_event("long", [7; 500], false).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "encoded user event exceeds configured limit of 512 bytes after encoding"
        );
        a.user_event("short", [7; 400], false).await.unwrap();
        for events in [&mut at_a, &mut at_b] {
            let got = next(events).await;
            assert_eq!((got.ltime, got.name), (1, "short".into()));
        }
        let wrong = Config { user_event_size_limit: 10_000, ..config("c", "127.0.0.3:0") };
        let error = Serf::start(wrong).await.unwrap_err();
        assert_eq!(error.to_string(), "user event size limit exceeds limit of 9216 bytes");
    });
}

// B14: what is longer than a datagram of gossip travels with the full states of a join.
#[test]
fn a_raised_limit_lets_long_events_through() {
    on_both(async || {
        let generous = |name: &str, bind: &str| {
            Serf::start_with_events(Config { user_event_size_limit: 9216, ..config(name, bind) })
        };
        let (a, mut at_a) = generous("a", "127.0.0.1:0").await.unwrap();
        for len in [1000, 9000] {
            a.user_event("long", vec![7; len], false).await.unwrap();
            assert_eq!(next(&mut at_a).await.payload.len(), len);
        }
        let (b, mut at_b) = generous("b", "127.0.0.2:0").await.unwrap();
        within(b.join_and_replay([addr(&a)])).await.unwrap();
        // Gossip may be faster with the one it can carry.
        let mut got = [next(&mut at_b).await.payload.len(), next(&mut at_b).await.payload.len()];
        got.sort_unstable();
        assert_eq!(got, [1000, 9000]);
    });
}

#[test]
fn a_join_hides_old_events_and_a_replay_tells_them() {
    on_both(async || {
        let (a, b) = pair().await;
        for n in 1..=5_u8 {
            a.user_event("old", [n], false).await.unwrap();
        }
        // What is still being gossiped is told to whoever is new, however old.
        gossiped(&[&a, &b], 6).await;
        let c = start("c", "127.0.0.3:0").await;
        let mut at_c = c.subscribe().await.unwrap();
        within(c.join([addr(&a)])).await.unwrap();
        let d = start("d", "127.0.0.4:0").await;
        let mut at_d = d.subscribe().await.unwrap();
        within(d.join_and_replay([addr(&a)])).await.unwrap();
        for n in 1..=5 {
            let got = next(&mut at_d).await;
            assert_eq!((got.ltime, got.name, got.payload[0]), (u64::from(n), "old".into(), n));
        }
        a.user_event("new", [6], false).await.unwrap();
        for events in [&mut at_c, &mut at_d] {
            let got = next(events).await;
            assert_eq!((got.ltime, got.name), (6, "new".into()));
        }
    });
}

#[test]
fn with_short_periods_the_latest_event_comes_soon() {
    on_both(async || {
        let (a, mut events) = Serf::start_with_events(Config {
            user_coalesce_period: Duration::from_millis(50),
            user_quiescent_period: Duration::from_millis(10),
            coalesce_period: Duration::from_millis(50),
            quiescent_period: Duration::from_millis(10),
            ..config("a", "127.0.0.1:0")
        })
        .await
        .unwrap();
        for n in 1..=20_u8 {
            a.user_event("deploy", [n], true).await.unwrap();
        }
        // How many windows there were is up to the machine; the last one tells the last.
        let mut times = Vec::new();
        while times.last() != Some(&20) {
            times.push(next(&mut events).await.ltime);
        }
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
        let b = start("b", "127.0.0.2:0").await;
        within(b.join([addr(&a)])).await.unwrap();
        loop {
            if let Event::Member(event) = within(events.recv()).await.unwrap()
                && event.members.iter().any(|m| m.name == "b".into())
            {
                break;
            }
        }
    });
}

#[test]
fn what_is_held_back_is_told_together_at_the_end() {
    on_both(async || {
        let (a, mut events) = Serf::start_with_events(Config {
            coalesce_period: FOR_EVER,
            quiescent_period: FOR_EVER,
            user_coalesce_period: FOR_EVER,
            user_quiescent_period: FOR_EVER,
            ..config("a", "127.0.0.1:0")
        })
        .await
        .unwrap();
        let b = start("b", "127.0.0.2:0").await;
        let c = start("c", "127.0.0.3:0").await;
        for node in [&c, &b] {
            within(node.join([addr(&a)])).await.unwrap();
        }
        becomes_known(&a, 3).await;
        for n in 1..=9_u8 {
            a.user_event("deploy", [n], true).await.unwrap();
        }
        a.user_event("now", [], false).await.unwrap();
        assert_eq!(
            within(events.recv()).await.map(|event| matches!(event, Event::User(e) if e.ltime == 10)),
            Some(true)
        );
        within(a.shutdown()).await;
        let Some(Event::Member(joined)) = within(events.recv()).await else { unreachable!() };
        let names: Vec<String> = joined.members.iter().map(|m| m.name.to_string()).collect();
        assert_eq!((joined.kind.as_str(), names), ("member-join", vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(rest(events).await, [(9, vec![9])]);
    });
}

/// Waits until so many members are known, of which no event tells.
async fn becomes_known(serf: &Serf, members: usize) {
    within(async {
        while serf.members().await.unwrap().len() < members {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until these have heard of all events before this time, and gossip no more.
async fn gossiped(nodes: &[&Serf], time: u64) {
    within(async {
        for node in nodes {
            while {
                let vitals = node.stats().await.unwrap().vitals;
                vitals.event_time < time || vitals.event_queue > 0
            } {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
}
