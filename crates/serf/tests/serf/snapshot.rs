//! Nodes that keep a snapshot file, and are started again. Each test has addresses of its own, so that nobody takes a port
//! that is free for the moment between.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serf::{Config, Event, Serf, StartError, Status};

use crate::cluster::{addr, becomes, config, start};
use crate::{on_both, within};

/// A file's place, in a directory of its own that is removed afterwards.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("serf-snapshot-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory.join("snap"))
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.read().lines().map(str::to_owned).collect()
    }

    fn has(&self, line: &str) -> bool {
        self.lines().iter().any(|l| l == line)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.0.parent().unwrap()));
    }
}

fn recording(name: &str, bind: &str, place: &Place) -> Config {
    Config { snapshot_path: Some(place.0.clone()), ..config(name, bind) }
}

#[test]
fn a_restarted_node_finds_its_cluster_and_is_told_nothing_twice() {
    on_both(async || {
        let place = Place::new();
        let a = Serf::start(recording("a", "127.0.71.1:0", &place)).await.unwrap();
        let b = start("b", "127.0.71.2:0").await;
        within(a.join([addr(&b)])).await.unwrap();
        for node in [&a, &b] {
            becomes(node, "a", Some(Status::Alive)).await;
            becomes(node, "b", Some(Status::Alive)).await;
        }
        a.user_event("old", b"1", false).await.unwrap();
        let stats = within(async {
            // The event is news for b too before a goes.
            while b.stats().await.unwrap().vitals.event_time < 2 {
                tokio::task::yield_now().await;
            }
            a.stats().await.unwrap()
        })
        .await;
        assert!(stats.serf.snapshot_lines >= 3);
        let bind = addr(&a);
        within(a.shutdown()).await;
        // Nothing has to be waited for: the end of the node has seen to it.
        for line in [format!("alive: a {bind}"), format!("alive: b {}", addr(&b)), "event-clock: 1".into()] {
            assert!(place.has(&line), "{line}: {}", place.read());
        }
        let (a, mut events) = Serf::start_with_events(recording("a", &bind, &place)).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        assert!(a.stats().await.unwrap().vitals.event_time >= 2);
        b.user_event("new", b"2", false).await.unwrap();
        let first = loop {
            if let Some(Event::User(event)) = within(events.recv()).await {
                break event.name;
            }
        };
        assert_eq!(first, "new".into());
    });
}

#[test]
fn a_leave_is_in_the_file_when_it_is_done_and_counts_unless_told_otherwise() {
    on_both(async || {
        for rejoin in [false, true] {
            let place = Place::new();
            let settings = |bind: &str| Config {
                rejoin_after_leave: rejoin,
                leave_propagate_delay: Duration::ZERO,
                ..recording("a", bind, &place)
            };
            let a = Serf::start(settings("127.0.72.1:0")).await.unwrap();
            let b = start("b", "127.0.72.2:0").await;
            within(a.join([addr(&b)])).await.unwrap();
            becomes(&a, "b", Some(Status::Alive)).await;
            becomes(&b, "a", Some(Status::Alive)).await;
            within(a.leave()).await.unwrap();
            assert!(place.has("leave"), "{}", place.read());
            becomes(&b, "a", Some(Status::Left)).await;
            let bind = addr(&a);
            within(a.shutdown()).await;
            let a = Serf::start(settings(&bind)).await.unwrap();
            if rejoin {
                becomes(&a, "b", Some(Status::Alive)).await;
                becomes(&b, "a", Some(Status::Alive)).await;
            } else {
                // Nobody is called; that nobody will be is shown where time can be made to pass.
                assert_eq!(a.members().await.unwrap().len(), 1);
            }
        }
    });
}

#[test]
fn a_node_that_is_dropped_writes_its_file_to_the_end() {
    on_both(async || {
        let place = Place::new();
        let a = Serf::start(recording("a", "127.0.73.1:0", &place)).await.unwrap();
        for _ in 0..50 {
            a.user_event("e", b"", false).await.unwrap();
        }
        drop(a);
        within(async {
            while !place.has("event-clock: 50") {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn what_cannot_be_a_snapshot_is_told_in_the_words_of_the_reference() {
    on_both(async || {
        for (path, why) in [
            ("/nonexistent/dir/snap", "open /nonexistent/dir/snap: no such file or directory"),
            ("/", "open /: is a directory"),
        ] {
            let place = Some(Path::new(path).to_owned());
            let wrong = Config { snapshot_path: place, ..config("a", "127.0.74.1:0") };
            let error = Serf::start(wrong).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Failed to setup snapshot: failed to open snapshot: {why}")
            );
            let StartError::Snapshot(error) = error else { panic!("{error:?}") };
            assert_eq!(error.path(), Path::new(path));
        }
    });
}

#[test]
fn two_nodes_restarted_together_find_each_other() {
    on_both(async || {
        let places = [Place::new(), Place::new()];
        let a = Serf::start(recording("a", "127.0.75.1:0", &places[0])).await.unwrap();
        let b = Serf::start(recording("b", "127.0.75.2:0", &places[1])).await.unwrap();
        within(a.join([addr(&b)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        becomes(&b, "a", Some(Status::Alive)).await;
        let binds = [addr(&a), addr(&b)];
        within(a.shutdown()).await;
        within(b.shutdown()).await;
        // The first finds nobody, at first.
        let a = Serf::start(recording("a", &binds[0], &places[0])).await.unwrap();
        let b = Serf::start(recording("b", &binds[1], &places[1])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
        becomes(&b, "a", Some(Status::Alive)).await;
    });
}
