//! What a snapshot file costs: recording 100,000 lines, and reading them again. Prints one line a measurement:
//!
//! ```text
//! cargo bench --bench snapshot
//! ```

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant as Clock};

use serf_bench::{allocations, held};
use serf_core::snapshot::{Replay, Snapshot, Write};
use serf_core::{Command, Config, Event, Node};
use serf_gossip::{Address, Input, Instant, Machine, Output};
use serf_wire::serf::{FLAG_NO_BROADCAST, MessageKind, Query};
use serf_wire::swim::Kind;

#[global_allocator]
static ALLOCATOR: serf_bench::Counting = serf_bench::Counting;

const LINES: u64 = 100_000;
const RUNS: usize = 5;

fn main() {
    println!("{LINES} lines, best of {RUNS} runs, one thread");
    heard("queries heard, not recorded", None);
    heard("queries heard, each recorded in a file", Some(&Replay::new(false).finish()));
    replay("replay of clocks", |i| format!("query-clock: {i}\n"));
    replay("replay of 50,000 members that came and went", |i| match i % 2 {
        0 => format!("alive: node-{i:06}.example 10.0.{}.{}:7946\n", i >> 8 & 255, i & 255),
        _ => format!("not-alive: node-{:06}.example\n", i - 1),
    });
    replay("replay of 100,000 members", |i| format!("alive: node-{i:06}.example 10.0.0.1:7946\n"));
}

fn report(what: &str, best: Duration, more: &str) {
    println!("{what:<44} {:>10.0} lines a second  ({more})", LINES as f64 / best.as_secs_f64());
}

/// A node hears of so many queries, at a thousand a second; the file is flushed in the end.
fn heard(what: &str, snapshot: Option<&Snapshot>) {
    let (mut best, mut fewest, mut writes) = (Duration::MAX, u64::MAX, 0);
    for _ in 0..RUNS {
        let gossip = serf_gossip::Config::lan("me".into(), Address::new(&[10, 0, 0, 1], 7946));
        let config = Config { snapshot: snapshot.cloned(), ..Config::new(gossip) };
        let mut node = Node::new(config, [7; 32], Instant::ZERO).expect("a good configuration");
        let mut messages: Vec<Vec<u8>> = (1..=LINES).map(query).collect();
        let path = std::env::temp_dir().join(format!("serf-bench-{}", std::process::id()));
        let mut file = File::create(&path).expect("a file for the measurement");
        let from = Address::new(&[10, 0, 0, 2], 7946);
        let calls = allocations();
        writes = 0;
        let begin = Clock::now();
        for (i, bytes) in messages.iter_mut().enumerate() {
            let now = Instant::from_nanos(i as u64 * 1_000_000);
            node.handle(now, Input::Datagram { from: from.clone(), bytes });
            writes += drain(&mut node, now, &mut file);
        }
        file.sync_all().expect("the file is flushed");
        best = best.min(begin.elapsed());
        fewest = fewest.min(allocations() - calls);
        assert_eq!(node.stats().queries, LINES);
        let _ = std::fs::remove_file(path);
    }
    report(what, best, &format!("{writes} writes, {:.2} allocations each", fewest as f64 / LINES as f64));
}

fn query(ltime: u64) -> Vec<u8> {
    let query = Query { ltime, id: 1, flags: FLAG_NO_BROADCAST, name: b"load", ..Query::default() };
    let mut bytes = vec![Kind::User as u8];
    serf_wire::serf::put(&mut bytes, MessageKind::Query, |w| query.write(w));
    bytes
}

fn drain(node: &mut Node, now: Instant, file: &mut File) -> usize {
    let mut writes = 0;
    loop {
        match node.poll() {
            Output::Event(Event::Snapshot(write)) => {
                match write {
                    Write::Append { lines, .. } => file.write_all(&lines),
                    Write::Replace { content } => file.write_all(&content),
                }
                .expect("the file can be written");
                writes += 1;
                node.handle(now, Input::Command(Command::SnapshotWritten { done: true }));
            }
            Output::Timeout(..) => return writes,
            _ => {}
        }
    }
}

fn replay(what: &str, line: impl Fn(u64) -> String) {
    let file: Vec<u8> = (0..LINES).flat_map(|i| line(i).into_bytes()).collect();
    let (mut best, mut most) = (Duration::MAX, 0);
    for _ in 0..RUNS {
        let before = held();
        let begin = Clock::now();
        let mut replay = Replay::new(false);
        file.chunks(64 << 10).for_each(|piece| replay.feed(piece));
        let snapshot = replay.finish();
        best = best.min(begin.elapsed());
        most = most.max(held() - before);
        assert_eq!(snapshot.skipped_lines, 0);
        black_box(snapshot);
    }
    report(what, best, &format!("{:.1} MB, {:.1} MB held", file.len() as f64 / 1e6, most as f64 / 1e6));
}
