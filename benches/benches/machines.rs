//! How fast the gossip machine is, and how much it holds. Prints one line a measurement:
//!
//! ```text
//! cargo bench
//! ```
//!
//! Each figure is the best of several runs, which is what the code costs without the noise of the machine it runs on.

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use serf_bench::{allocations, held};
use serf_core::coordinate::{Coordinate, Latencies, Tuning, Vivaldi};
use serf_core::{Event, Node, Query};
use serf_gossip::{
    Address, Command, CommandId, Config, Gossip, Input, Instant, Machine, Output, Peer, Rng, StreamAction,
    StreamEvent, StreamId, Transmit,
};
use serf_sim::Sim;
use serf_wire::checksum::Checksum;
use serf_wire::compress::Compressor;
use serf_wire::encrypt::{Key, Version};
use serf_wire::msgpack::Reader;
use serf_wire::packet::{Outbound, pack_compound, seal_packet};
use serf_wire::serf::{FLAG_ACK, MessageKind, QueryResponse, UserEvent};
use serf_wire::swim::{self, Alive, Kind};

#[global_allocator]
static ALLOCATOR: serf_bench::Counting = serf_bench::Counting;

const MEMBERS: usize = 10_000;
const RUNS: usize = 5;

fn main() {
    println!("members: {MEMBERS}, tags: 100 bytes each, best of {RUNS} runs, one thread");
    packets("datagrams without news", None, false);
    packets("datagrams without news, AES-128", Some(16), false);
    packets("datagrams without news, AES-256", Some(32), false);
    packets("datagrams with news", None, true);
    packets("datagrams with news, AES-256", Some(32), true);
    push_pull();
    at_rest();
    coordinates();
    user_events();
    query_fan_in();
    simulation(1000, Duration::from_secs(30), RUNS);
    // Ten gigabytes of nodes that know each other: twice, since the first touches it all, and where there is room.
    match available() {
        Some(bytes) if bytes < 12 << 30 => {
            println!("{:<36} left out: takes 12 GiB, {} GiB are free", "10000 nodes simulated", bytes >> 30);
        }
        _ => simulation(10_000, Duration::from_secs(10), 2),
    }
}

/// A cluster at rest, whole nodes in one thread.
fn simulation(nodes: usize, time: Duration, runs: usize) {
    let before = held();
    let mut sim = Sim::new(1);
    for at in 0..nodes {
        sim.add(Sim::lan(at)).expect("a good configuration");
    }
    sim.acquaint();
    let (mut best, mut datagrams) = (Duration::MAX, 0);
    for _ in 0..runs {
        let (began, sent) = (Clock::now(), sim.traffic().datagrams);
        sim.run(time);
        if began.elapsed() < best {
            (best, datagrams) = (began.elapsed(), sim.traffic().datagrams - sent);
        }
    }
    println!(
        "{:<36} {:>10.1} seconds a second  ({:.0} datagrams a second, {} bytes held per node)",
        format!("{nodes} nodes simulated"),
        time.as_secs_f64() / best.as_secs_f64(),
        datagrams as f64 / best.as_secs_f64(),
        (held() - before) / nodes as i64,
    );
}

/// Bytes of memory that nobody uses, where the system tells.
fn available() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

fn now(i: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 + i)
}

fn address(i: usize) -> Address {
    Address::new(&[10, (i >> 16) as u8, (i >> 8) as u8, i as u8], 7946)
}

fn machine(i: usize, key: Option<usize>) -> Gossip {
    let mut config = Config::lan(format!("node-{i:05}.example").as_str().into(), address(i));
    config.delegate_versions = [2, 5, 5];
    config.compression = false;
    config.keys = key.map(self::key).into_iter().collect();
    Gossip::new(config, [7; 32], now(0), &mut ()).expect("a good configuration")
}

fn key(len: usize) -> Key {
    Key::new(&vec![42; len]).expect("a good length")
}

fn alive(i: usize, incarnation: u32) -> Vec<u8> {
    let name = format!("node-{i:05}.example");
    let addr = address(i);
    let meta = [b'm'; 100];
    let message = Alive {
        incarnation,
        node: name.as_bytes(),
        addr: addr.host.as_bytes().into(),
        port: addr.port,
        meta: Some(meta.as_slice().into()),
        vsn: Some([1, 5, 2, 2, 5, 5].as_slice().into()),
    };
    let mut out = Vec::new();
    swim::put(&mut out, Kind::Alive, |w| message.write(w));
    out
}

fn drain(m: &mut Gossip) -> Vec<(StreamId, StreamAction)> {
    let mut actions = Vec::new();
    loop {
        match m.poll() {
            Output::Timeout(..) => return actions,
            Output::Stream { id, action } => actions.push((id, action)),
            Output::Datagram(transmit) => m.recycle(transmit.bytes),
            Output::Event(_) => {}
        }
    }
}

/// A machine that has heard of everybody.
fn full(key: Option<usize>) -> Gossip {
    let mut m = machine(0, key);
    for i in 1..MEMBERS {
        let mut packet = sealed(&alive(i, 1), key, i as u32);
        m.handle(now(1), Input::Datagram { from: address(i), bytes: &mut packet }, &mut ());
        drain(&mut m);
    }
    m
}

fn sealed(payload: &[u8], len: Option<usize>, n: u32) -> Vec<u8> {
    let key = len.map(key);
    let rules = Outbound {
        label: &[],
        key: key.as_ref(),
        version: Version::V1,
        compress: None,
        checksum: key.is_none().then_some(Checksum::Crc32),
    };
    let mut nonce = [9; 12];
    nonce[..4].copy_from_slice(&n.to_be_bytes());
    let mut out = Vec::new();
    seal_packet(payload, &rules, &nonce, &mut Compressor::default(), &mut out);
    out
}

/// Gossip datagrams of six claims each, as a cluster with news sends them.
fn packets(what: &str, key: Option<usize>, news: bool) {
    const PARTS: usize = 6;
    const COUNT: usize = 20_000;
    let mut best = Duration::MAX;
    let mut fewest = u64::MAX;
    let mut bytes = 0;
    for _ in 0..RUNS {
        let mut m = full(key);
        let mut incarnation = 1;
        let mut next = 1;
        let mut datagrams: Vec<Vec<u8>> = (0..COUNT)
            .map(|n| {
                let parts: Vec<Vec<u8>> = (0..PARTS)
                    .map(|_| {
                        next += 1;
                        if next >= MEMBERS {
                            next = 1;
                            incarnation += u32::from(news);
                        }
                        alive(next, if news { incarnation + 1 } else { 1 })
                    })
                    .collect();
                let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let mut packet = Vec::new();
                pack_compound(&slices, &mut packet);
                sealed(&packet, key, n as u32)
            })
            .collect();
        bytes = datagrams.iter().map(Vec::len).sum::<usize>() / COUNT;
        let from = address(1);
        let calls = allocations();
        let begin = Clock::now();
        for (i, datagram) in datagrams.iter_mut().enumerate() {
            m.handle(now(2 + i as u64), Input::Datagram { from: from.clone(), bytes: datagram }, &mut ());
            drain(&mut m);
        }
        best = best.min(begin.elapsed());
        fewest = fewest.min(allocations() - calls);
        black_box(&m);
    }
    let rate = COUNT as f64 / best.as_secs_f64();
    println!(
        "{what:<36} {rate:>10.0} a second  ({PARTS} claims, {bytes} bytes, {:.2} allocations each)",
        fewest as f64 / COUNT as f64
    );
}

/// Two machines exchange full states: the newcomer takes over ten thousand members.
fn push_pull() {
    let before = held();
    let mut old = full(None);
    let held = held() - before;
    let (mut encode, mut merge, mut size) = (Duration::MAX, Duration::MAX, 0);
    for run in 0..RUNS {
        let mut new = machine(MEMBERS + 1, None);
        let peer = Peer { addr: address(0), name: None };
        let join = Command::Join { id: CommandId(run as u64), peers: vec![peer] };
        new.handle(now(10), Input::Command(join), &mut ());
        let (dialled, _) = drain(&mut new).remove(0);
        new.handle(now(10), Input::Stream { id: dialled, event: StreamEvent::Connected }, &mut ());
        let request = written(drain(&mut new));
        let accepted = StreamId(2 * run as u64 + 1);
        let from = address(MEMBERS + 1);
        old.handle(now(10), Input::Stream { id: accepted, event: StreamEvent::Accepted { from } }, &mut ());
        let begin = Clock::now();
        old.handle(now(10), Input::Stream { id: accepted, event: StreamEvent::Data(&request) }, &mut ());
        let reply = written(drain(&mut old));
        encode = encode.min(begin.elapsed());
        size = reply.len();
        let begin = Clock::now();
        for piece in reply.chunks(65_536) {
            new.handle(now(11), Input::Stream { id: dialled, event: StreamEvent::Data(piece) }, &mut ());
        }
        drain(&mut new);
        merge = merge.min(begin.elapsed());
        assert!(new.members().known() >= MEMBERS, "{} members", new.members().known());
    }
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    println!("{:<36} {:>10.2} ms  ({} KiB)", "push/pull: answer a newcomer", ms(encode), size >> 10);
    println!("{:<36} {:>10.2} ms", "push/pull: take over everything", ms(merge));
    println!(
        "{:<36} {:>10} bytes  ({:.2} MB in all)",
        "held per member, all of it news",
        held / MEMBERS as i64,
        held as f64 / 1e6
    );
}

/// What a whole node holds when all that it heard has been passed on.
fn at_rest() {
    let before = held();
    let mut gossip = Config::lan("me".into(), address(0));
    gossip.compression = false;
    gossip.probe_interval = Duration::ZERO;
    gossip.push_pull_interval = Duration::ZERO;
    let mut node = Node::new(serf_core::Config::new(gossip), [7; 32], now(0)).expect("a good configuration");
    for i in 1..MEMBERS {
        node.handle(now(1), Input::Datagram { from: address(i), bytes: &mut alive(i, 1) });
        events(&mut node, &mut Vec::new());
    }
    while node.gossip().queued() > 0 {
        match node.poll() {
            Output::Timeout(due, _) => node.handle(due.expect("gossip goes on"), Input::Timeout),
            Output::Datagram(transmit) => node.recycle(transmit.bytes),
            Output::Event(_) | Output::Stream { .. } => {}
        }
    }
    let held = held() - before;
    println!(
        "{:<36} {:>10} bytes  ({:.2} MB in all)",
        "held per member, Serf's too, at rest",
        held / MEMBERS as i64,
        held as f64 / 1e6
    );
}

/// Round trips to a thousand peers, each of which moves our network coordinate.
fn coordinates() {
    const COUNT: usize = 1_000_000;
    const PEERS: usize = 1000;
    let mut draws = Rng::from_seed([8; 32]);
    let mut coordinate = || {
        let vec = std::array::from_fn(|_| draws.unit() / 10.0);
        Coordinate { vec, error: draws.unit(), adjustment: 0.0, height: draws.unit() / 1000.0 }
    };
    let peers: Vec<Coordinate> = (0..PEERS).map(|_| coordinate()).collect();
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let mut me: Vivaldi = Vivaldi::new(Tuning::default(), Rng::from_seed([9; 32]));
        let mut latencies = vec![Latencies::<3>::default(); PEERS];
        let begin = Clock::now();
        for i in 0..COUNT {
            let rtt = Duration::from_micros(1000 + (i % 50_000) as u64);
            me.update(&mut latencies[i % PEERS], &peers[i % PEERS], rtt).expect("a good measurement");
        }
        best = best.min(begin.elapsed());
        black_box(&me);
    }
    println!("{:<36} {:>10.0} a second", "coordinate updates", COUNT as f64 / best.as_secs_f64());
}

fn written(actions: Vec<(StreamId, StreamAction)>) -> Vec<u8> {
    actions
        .into_iter()
        .find_map(|(_, action)| match action {
            StreamAction::Write(bytes) => Some(bytes),
            _ => None,
        })
        .expect("something is written")
}

/// User events of 100 bytes as gossip brings them: each for the first time, then each once more.
fn user_events() {
    const COUNT: u64 = 20_000;
    let (mut news, mut known) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let mut gossip = Config::lan("me".into(), address(0));
        gossip.compression = false;
        let mut node =
            Node::new(serf_core::Config::new(gossip), [7; 32], now(0)).expect("a good configuration");
        node.handle(now(1), Input::Datagram { from: address(1), bytes: &mut alive(1, 1) });
        let messages: Vec<Vec<u8>> = (0..COUNT)
            .map(|n| {
                let (name, payload) = (format!("deploy-{n}"), [b'p'; 100]);
                let event = UserEvent {
                    ltime: 1 + n / 50,
                    name: name.as_bytes(),
                    payload: Some(payload.as_slice().into()),
                    coalesce: false,
                };
                let mut bytes = vec![Kind::User as u8];
                serf_wire::serf::put(&mut bytes, MessageKind::UserEvent, |w| event.write(w));
                bytes
            })
            .collect();
        let mut told = Vec::new();
        for best in [&mut news, &mut known] {
            let mut messages = messages.clone();
            let begin = Clock::now();
            for bytes in &mut messages {
                node.handle(now(2), Input::Datagram { from: address(1), bytes });
                events(&mut node, &mut told);
            }
            *best = (*best).min(begin.elapsed());
        }
        assert_eq!(told.iter().filter(|event| matches!(event, Event::User(_))).count() as u64, COUNT);
    }
    for (what, best) in [("user events, new", news), ("user events, known already", known)] {
        println!("{what:<36} {:>10.0} a second", COUNT as f64 / best.as_secs_f64());
    }
}

/// The answers to a question to a thousand members, who all acknowledge and respond.
fn query_fan_in() {
    const ASKED: usize = 1000;
    let name = |i: usize| format!("node-{i:05}.example");
    let (mut best, mut fewest) = (Duration::MAX, u64::MAX);
    for _ in 0..RUNS {
        let mut gossip = Config::lan(name(0).as_str().into(), address(0));
        gossip.compression = false;
        let config = serf_core::Config::new(gossip);
        let mut node = Node::new(config, [7; 32], now(0)).expect("a good configuration");
        for i in 1..=ASKED {
            node.handle(now(1), Input::Datagram { from: address(i), bytes: &mut alive(i, 1) });
            events(&mut node, &mut Vec::new());
        }
        let query =
            Query::new("load").to_tag("role", "^.*$").with_acks().with_timeout(Duration::from_secs(60));
        node.handle(now(2), Input::Command(serf_core::Command::Query { id: CommandId(1), query }));
        let (ltime, id) = asked(&mut node);
        let mut answers: Vec<(usize, Vec<u8>)> = (1..=ASKED)
            .flat_map(|i| [(i, FLAG_ACK, None), (i, 0, Some([b'r'; 200].as_slice().into()))])
            .map(|(i, flags, payload)| {
                let from = name(i);
                let answer = QueryResponse { ltime, id, from: from.as_bytes(), flags, payload };
                let mut bytes = vec![Kind::User as u8];
                serf_wire::serf::put(&mut bytes, MessageKind::QueryResponse, |w| answer.write(w));
                (i, bytes)
            })
            .collect();
        let mut told = Vec::with_capacity(2 * ASKED);
        let calls = allocations();
        let begin = Clock::now();
        for (i, bytes) in &mut answers {
            node.handle(now(3_000_000_000), Input::Datagram { from: address(*i), bytes });
            events(&mut node, &mut told);
        }
        best = best.min(begin.elapsed());
        fewest = fewest.min(allocations() - calls);
        assert_eq!(told.iter().filter(|event| matches!(event, Event::Answer { .. })).count(), 2 * ASKED);
    }
    println!(
        "{:<36} {:>10.2} ms  ({} acks and responses, {:.2} allocations each)",
        "query to 1000 members: take answers",
        best.as_secs_f64() * 1000.0,
        2 * ASKED,
        fewest as f64 / (2 * ASKED) as f64
    );
}

/// Takes all there is.
fn events(node: &mut Node, told: &mut Vec<Event>) {
    loop {
        match node.poll() {
            Output::Event(event) => told.push(event),
            Output::Datagram(transmit) => node.recycle(transmit.bytes),
            Output::Timeout(..) => return,
            Output::Stream { .. } => {}
        }
    }
}

/// Time and number of the query that the node is gossiping: what it is known by nobody but peers know.
fn asked(node: &mut Node) -> (u64, u32) {
    loop {
        match node.poll() {
            Output::Timeout(due, _) => node.handle(due.expect("gossip goes on"), Input::Timeout),
            Output::Datagram(Transmit { bytes, .. }) => {
                const BEGINNING: [u8; 2] = [Kind::User as u8, MessageKind::Query as u8];
                if let Some(at) = bytes.windows(2).position(|two| two == BEGINNING)
                    && let Ok(query) = serf_wire::serf::Query::read(&mut Reader::new(&bytes[at + 2..]))
                {
                    return (query.ltime, query.id);
                }
            }
            Output::Event(_) | Output::Stream { .. } => {}
        }
    }
}
