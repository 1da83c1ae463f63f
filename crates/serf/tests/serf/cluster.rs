//! Nodes of one cluster, each with sockets of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf::{
    Config, Error, Event, Events, Failure, Key, MemberEventKind, NodeState, Serf, StartError, Status, Tags,
};

use serf::transport::{Plain, Transport};

use crate::{on_both, within};

/// Quick to gossip, and so slow to suspect that nobody who lives is ever taken for dead, however slow the machine.
pub(crate) fn config(name: &str, bind: &str) -> Config {
    let mut config = Config {
        bind: bind.parse().unwrap(),
        broadcast_timeout: crate::LIMIT,
        leave_propagate_delay: Duration::from_millis(50),
        // Queries end when all have answered, however long that takes.
        query_timeout_mult: 10_000,
        ..Config::local(name)
    };
    config.gossip.probe_interval = crate::LIMIT;
    config.gossip.probe_timeout = crate::LIMIT / 2;
    config.gossip.gossip_interval = Duration::from_millis(20);
    // Two sends, as in the local profile, may both go to a member that is gone.
    config.gossip.retransmit_mult = 4;
    config
}

/// Quick to notice who is gone. A slow machine may be wrong about who is not.
fn suspicious(name: &str, bind: &str) -> Config {
    let mut config = config(name, bind);
    config.gossip.probe_interval = Duration::from_millis(400);
    config.gossip.probe_timeout = Duration::from_millis(200);
    config
}

pub(crate) async fn start(name: &str, bind: &str) -> Serf {
    Serf::start(config(name, bind)).await.unwrap()
}

pub(crate) fn addr(serf: &Serf) -> String {
    serf.local_addr().to_string()
}

/// Waits until a member is what it should be. None: forgotten.
#[track_caller]
pub(crate) fn becomes(serf: &Serf, name: &str, status: Option<Status>) -> impl Future<Output = ()> {
    let (serf, name) = (serf.clone(), name.to_owned());
    within(async move {
        let mut events = serf.subscribe().await.unwrap();
        while serf.member(name.as_str()).await.unwrap().map(|m| m.status) != status {
            events.recv().await.unwrap();
        }
    })
}

/// What happened to a member, until this happened.
async fn history(events: &mut Events, name: &str, last: MemberEventKind) -> Vec<MemberEventKind> {
    let mut kinds = Vec::new();
    while kinds.last() != Some(&last) {
        if let Event::Member(event) = within(events.recv()).await.unwrap()
            && event.members.iter().any(|m| m.name == name.into())
        {
            kinds.push(event.kind);
        }
    }
    kinds
}

#[test]
fn a_join_works_in_both_directions() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let b = start("b", "127.0.0.2:0").await;
        let joined = within(b.join([addr(&a)])).await.unwrap();
        assert_eq!(joined.contacted, [a.local_addr().into()]);
        assert!(joined.failed.is_empty());
        becomes(&b, "a", Some(Status::Alive)).await;
        becomes(&a, "b", Some(Status::Alive)).await;
        // The other way, with a name before the address.
        let c = start("c", "127.0.0.3:0").await;
        within(a.join([format!("c/{}", addr(&c))])).await.unwrap();
        for node in [&a, &b, &c] {
            for name in ["a", "b", "c"] {
                becomes(node, name, Some(Status::Alive)).await;
            }
        }
        let member = b.member("c").await.unwrap().unwrap();
        assert_eq!(member.addr, *c.advertise_addr());
        assert_eq!(member.addr.host.as_bytes(), [127, 0, 0, 3]);
        assert_eq!((member.versions.delegate_cur, member.versions.protocol_max), (4, 5));
    });
}

#[test]
fn a_leave_is_seen_as_left() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let b = start("b", "127.0.0.2:0").await;
        let mut events = a.subscribe().await.unwrap();
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        within(b.leave()).await.unwrap();
        assert_eq!(b.state().await, NodeState::Left);
        becomes(&a, "b", Some(Status::Left)).await;
        within(b.leave()).await.unwrap();
        let error = within(b.join([addr(&a)])).await.unwrap_err();
        assert_eq!(error, Error::Failed(Failure::CannotJoin));
        // As often as one likes.
        for _ in 0..5 {
            within(b.shutdown()).await;
            assert_eq!(b.state().await, NodeState::Shutdown);
        }
        let kinds = history(&mut events, "b", MemberEventKind::Leave).await;
        assert_eq!(kinds, [MemberEventKind::Join, MemberEventKind::Leave]);
    });
}

#[test]
fn a_drop_is_seen_as_a_failure_and_a_restart_as_a_return() {
    on_both(async || {
        let a = Serf::start(suspicious("a", "127.0.0.1:0")).await.unwrap();
        let b = Serf::start(suspicious("b", "127.0.1.5:0")).await.unwrap();
        let (local, home) = (b.local_addr(), addr(&a));
        within(b.join([&home])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        let mut events = a.subscribe().await.unwrap();
        drop(b);
        becomes(&a, "b", Some(Status::Failed)).await;

        let b = Serf::start(suspicious("b", &local.to_string())).await.unwrap();
        within(b.join([&home])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        let kinds = history(&mut events, "b", MemberEventKind::Join).await;
        assert_eq!(kinds, [MemberEventKind::Failed, MemberEventKind::Join]);
    });
}

#[test]
fn a_failed_member_can_be_made_to_leave_and_be_forgotten() {
    on_both(async || {
        let a = Serf::start(suspicious("a", "127.0.0.1:0")).await.unwrap();
        let b = Serf::start(suspicious("b", "127.0.0.2:0")).await.unwrap();
        let c = Serf::start(suspicious("c", "127.0.0.3:0")).await.unwrap();
        for node in [&b, &c] {
            within(node.join([addr(&a)])).await.unwrap();
        }
        becomes(&b, "c", Some(Status::Alive)).await;
        within(c.shutdown()).await;
        becomes(&b, "c", Some(Status::Failed)).await;
        becomes(&a, "c", Some(Status::Failed)).await;
        within(a.force_leave("c")).await.unwrap();
        becomes(&b, "c", Some(Status::Left)).await;
        within(a.force_leave_and_prune("c")).await.unwrap();
        becomes(&a, "c", None).await;
        becomes(&b, "c", None).await;
        within(a.force_leave("nobody")).await.unwrap();
    });
}

#[test]
fn tags_reach_everybody() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let tags = Tags::from([("role".into(), "web".into())]);
        let b = Serf::start(Config { tags: tags.clone(), ..config("b", "127.0.0.2:0") }).await.unwrap();
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        assert_eq!(a.member("b").await.unwrap().unwrap().tags(), tags);

        let mut events = a.subscribe().await.unwrap();
        let tags = BTreeMap::from([("role".into(), "db".into()), ("rack".into(), "7".into())]);
        within(b.set_tags(tags.clone())).await.unwrap();
        history(&mut events, "b", MemberEventKind::Update).await;
        assert_eq!(a.member("b").await.unwrap().unwrap().tags(), tags);
        assert_eq!(b.local_member().await.unwrap().unwrap().tags(), tags);

        let long = Tags::from([("x".into(), "y".repeat(600))]);
        let error = within(b.set_tags(long)).await.unwrap_err();
        assert_eq!(error.to_string(), "Encoded length of tags exceeds limit of 512 bytes");
    });
}

pub(crate) fn key(byte: u8, len: usize) -> Key {
    Key::new(&vec![byte; len]).unwrap()
}

pub(crate) async fn encrypted(name: &str, bind: &str, key: Key) -> Serf {
    Serf::start(Config { keys: vec![key], ..config(name, bind) }).await.unwrap()
}

#[test]
fn keys_of_every_length_encrypt_and_wrong_ones_are_refused() {
    on_both(async || {
        for len in [16, 24, 32] {
            let a = encrypted("a", "127.0.0.1:0", key(1, len)).await;
            let b = encrypted("b", "127.0.0.2:0", key(1, len)).await;
            within(b.join([addr(&a)])).await.unwrap();
            becomes(&a, "b", Some(Status::Alive)).await;
            // What goes by datagrams is read too.
            within(b.set_tags(Tags::from([("x".into(), "y".into())]))).await.unwrap();
            let stats = a.stats().await.unwrap();
            assert!(stats.vitals.encrypted);
            assert_eq!((stats.gossip.bad_packets, stats.gossip.plaintext), (0, 0));

            let wrong = encrypted("wrong", "127.0.0.3:0", key(2, len)).await;
            let open = start("open", "127.0.0.4:0").await;
            for stranger in [&wrong, &open] {
                for (from, to) in [(stranger, &a), (&a, stranger)] {
                    let error = within(from.join([addr(to)])).await.unwrap_err();
                    assert!(matches!(error, Error::NotJoined(_)), "{error}");
                }
                assert_eq!(stranger.members().await.unwrap().len(), 1);
            }
            assert_eq!(a.members().await.unwrap().len(), 2);
        }
    });
}

#[test]
fn nodes_with_another_label_are_strangers() {
    on_both(async || {
        let labelled = async |name: &str, bind: &str, label: &str| {
            Serf::start(Config { label: label.into(), ..config(name, bind) }).await.unwrap()
        };
        let a = labelled("a", "127.0.0.1:0", "blue").await;
        let b = labelled("b", "127.0.0.2:0", "blue").await;
        let c = labelled("c", "127.0.0.3:0", "red").await;
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        within(c.join([addr(&a)])).await.unwrap_err();
        within(a.join([addr(&c)])).await.unwrap_err();
        assert_eq!(c.members().await.unwrap().len(), 1);
    });
}

/// An address where nobody listens.
fn nobody(host: &str) -> SocketAddr {
    std::net::TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn a_failed_join_tells_why_of_everybody() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let (x, y) = (nobody("127.0.0.5"), nobody("127.0.0.6"));
        let error = within(a.join([x.to_string()])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "1 error occurred:\n\t* failed to join {x}: dial tcp {x}: connect: connection refused\n\n"
            )
        );
        let error =
            within(a.join([x.to_string(), "b/127.0.0.1:99999".into(), y.to_string()])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "3 errors occurred:\n\
                 \t* failed to join {x}: dial tcp {x}: connect: connection refused\n\
                 \t* failed to resolve b/127.0.0.1:99999: invalid port \"99999\"\n\
                 \t* failed to join {y}: dial tcp {y}: connect: connection refused\n\n"
            )
        );
        // One that answers is enough, and nobody to contact is no failure.
        let b = start("b", "127.0.0.2:0").await;
        let joined = within(a.join([x.to_string(), addr(&b)])).await.unwrap();
        assert_eq!((joined.contacted.len(), joined.failed.len()), (1, 1));
        assert!(within(a.join([""; 0])).await.unwrap().contacted.is_empty());
    });
}

#[test]
fn a_join_is_bounded_in_time_and_can_be_given_up() {
    on_both(async || {
        // It accepts, in the kernel, and never says a word.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = (silent.local_addr().unwrap().to_string(), silent);
        let mut quick = config("quick", "127.0.0.2:0");
        quick.gossip.stream_timeout = Duration::from_millis(100);
        let quick = Serf::start(quick).await.unwrap();
        let error = within(quick.join([&silent.0])).await.unwrap_err();
        assert!(error.to_string().ends_with(": i/o timeout\n\n"), "{error}");

        let mut patient = config("patient", "127.0.0.3:0");
        patient.gossip.stream_timeout = Duration::from_secs(3600);
        let patient = Serf::start(patient).await.unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(50), patient.join([&silent.0])).await;
        assert!(given_up.is_err());
        assert_eq!(patient.members().await.unwrap().len(), 1);
        // A node that ends takes what is under way with it.
        let waiting = tokio::spawn({
            let patient = patient.clone();
            async move { patient.join([&silent.0]).await }
        });
        within(patient.shutdown()).await;
        assert!(matches!(within(waiting).await.unwrap(), Err(Error::Closed(_))));
    });
}

#[test]
fn the_member_list_is_shared_while_nothing_changes() {
    on_both(async || {
        let a = start("a", "127.0.0.1:0").await;
        let before = a.members().await.unwrap();
        assert!(Arc::ptr_eq(&before, &a.clone().members().await.unwrap()));
        let b = start("b", "127.0.0.2:0").await;
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        assert_eq!((before.len(), a.members().await.unwrap().len()), (1, 2));
    });
}

#[test]
fn a_slow_consumer_delays_nobody_and_loses_with_a_count() {
    on_both(async || {
        let (a, slow) =
            Serf::start_with_events(Config { event_queue: 1, ..config("a", "127.0.0.1:0") }).await.unwrap();
        for n in 0..5 {
            let mut quick = a.subscribe().await.unwrap();
            let tags = Tags::from([("n".into(), n.to_string())]);
            within(a.set_tags(tags)).await.unwrap();
            history(&mut quick, "a", MemberEventKind::Update).await;
        }
        assert_eq!(slow.shed(), 5);
    });
}

#[test]
fn neither_readers_nor_other_consumers_wait_for_a_slow_one() {
    on_both(async || {
        let a = Serf::start(Config { event_queue: 8, ..config("a", "127.0.0.1:0") }).await.unwrap();
        let (mut slow, mut quick) = (a.subscribe().await.unwrap(), a.subscribe().await.unwrap());
        let payload = |event| match event {
            Some(Event::User(event)) => event.payload.to_vec(),
            other => panic!("{other:?}"),
        };
        for n in 0..100 {
            within(a.user_event("n", [n], false)).await.unwrap();
            assert_eq!(within(a.members()).await.unwrap().len(), 1);
            assert_eq!(payload(quick.try_recv()), [n]);
        }
        assert_eq!((slow.shed(), quick.shed()), (92, 0));
        // What it has got is what came first, in order.
        for n in 0..8 {
            assert_eq!(payload(slow.try_recv()), [n]);
        }
        assert!(slow.try_recv().is_none());
        // From then on it hears again.
        within(a.user_event("n", [100], false)).await.unwrap();
        assert_eq!(payload(slow.try_recv()), [100]);
    });
}

#[test]
fn dropping_the_last_handle_frees_the_port_and_ends_subscriptions() {
    on_both(async || {
        let a = start("a", "127.0.1.7:0").await;
        let local = a.local_addr();
        let mut events = a.subscribe().await.unwrap();
        let clone = a.clone();
        drop(a);
        assert_eq!(clone.state().await, NodeState::Alive);
        drop(clone);
        while within(events.recv()).await.is_some() {}
        let runtime = serf::runtime::current().unwrap();
        within(async {
            while Plain.bind(local, &runtime).is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn what_cannot_start_leaves_nothing_behind() {
    on_both(async || {
        let a = start("a", "127.0.1.6:0").await;
        let local = a.local_addr();
        let error = Serf::start(config("b", &local.to_string())).await.unwrap_err();
        assert!(matches!(error, StartError::Bind(_)), "{error}");
        within(a.shutdown()).await;

        let with = |change: fn(&mut Config)| {
            let mut config = config("b", &local.to_string());
            change(&mut config);
            Serf::start(config)
        };
        let long = |c: &mut Config| drop(c.tags.insert("x".into(), "y".repeat(600)));
        for (result, text) in [
            (with(|c| c.protocol_version = 9).await, "Serf protocol version 9 is not in the range [2, 5]"),
            (with(long).await, "Encoded length of tags exceeds limit of 512 bytes"),
            (with(|c| c.label = vec![0; 300]).await, "the label is 300 bytes long; the limit is 255"),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, StartError::Config(_)));
            assert_eq!(error.to_string(), text);
        }
        Serf::start(config("b", &local.to_string())).await.unwrap();
    });
}

#[test]
fn both_families_are_spoken_on_a_wildcard() {
    on_both(async || {
        let wild = config("wild", "0.0.0.0:0");
        let wild = Serf::start(Config { advertise: Some([127, 0, 0, 1].into()), ..wild }).await.unwrap();
        let port = wild.local_addr().port();
        assert_eq!(*wild.advertise_addr(), SocketAddr::from(([127, 0, 0, 1], port)).into());
        let four = start("four", "127.0.0.2:0").await;
        within(four.join([format!("127.0.0.1:{port}")])).await.unwrap();
        becomes(&wild, "four", Some(Status::Alive)).await;
        within(four.set_tags(Tags::from([("x".into(), "y".into())]))).await.unwrap();
        // Not everywhere is there IPv6.
        let Ok(six) = Serf::start(config("six", "[::1]:0")).await else { return };
        within(wild.join([addr(&six)])).await.unwrap();
        becomes(&six, "wild", Some(Status::Alive)).await;
        within(wild.set_tags(Tags::from([("x".into(), "y".into())]))).await.unwrap();
    });
}

/// Keeps what is logged.
struct Lines(Mutex<Vec<(String, String)>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push((record.target().to_owned(), record.args().to_string()));
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

#[test]
fn log_lines_say_which_layer_they_are_from() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    on_both(async || {
        let a = encrypted("logging-a", "127.0.0.1:0", key(1, 16)).await;
        let b = encrypted("logging-b", "127.0.0.2:0", key(2, 16)).await;
        within(b.join([addr(&a)])).await.unwrap_err();
        a.state().await;
        let lines = LINES.0.lock().unwrap();
        let told =
            |target: &str, text: &str| lines.iter().any(|(t, line)| t == target && line.starts_with(text));
        assert!(told("serf", "EventMemberJoin: logging-a 127.0.0.1"));
        assert!(told("memberlist", "failed to receive: "));
    });
}
