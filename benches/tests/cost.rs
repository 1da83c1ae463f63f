//! What things cost, counted: allocations and bytes held, each test on its own thread by itself.

use std::time::Duration;

use serf_bench::held;
use serf_core::Status;
use serf_gossip::{Address, Config, Gossip, Input, Instant, Machine, Output, State};
use serf_wire::checksum::Checksum;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::coordinate::Coordinate;
use serf_wire::encrypt::{Key, Version};
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::packet::{Outbound, pack_compound, seal_packet};
use serf_wire::swim::{self, Accusation, Alive, Kind, Ping, Source};

#[global_allocator]
static ALLOCATOR: serf_bench::Counting = serf_bench::Counting;

fn address(i: usize) -> Address {
    Address::new(&[10, (i >> 16) as u8, (i >> 8) as u8, i as u8], 7946)
}

fn config() -> Config {
    Config {
        compression: false,
        probe_interval: Duration::ZERO,
        push_pull_interval: Duration::ZERO,
        ..Config::lan("the-node-under-test".into(), address(1))
    }
}

fn alive(i: usize, incarnation: u32) -> Vec<u8> {
    let name = format!("ip-10-0-{}-{}.eu-central-1.compute.internal", i >> 8, i & 255);
    let meta: Vec<u8> = (0..100).map(|b| b ^ i as u8).collect();
    let addr = address(i);
    let it = Alive {
        incarnation,
        node: name.as_bytes(),
        addr: addr.host.as_bytes().into(),
        port: addr.port,
        meta: Some(meta.as_slice().into()),
        vsn: Some((&[1, 5, 2, 2, 5, 5][..]).into()),
    };
    let mut out = Vec::new();
    swim::put(&mut out, Kind::Alive, |w| it.write(w));
    out
}

fn accusation(kind: Kind, i: usize, incarnation: u32) -> Vec<u8> {
    let node = format!("ip-10-0-{}-{}.eu-central-1.compute.internal", i >> 8, i & 255);
    let mut out = Vec::new();
    swim::put(&mut out, kind, |w| {
        Accusation { incarnation, node: node.as_bytes(), from: b"somebody" }.write(w)
    });
    out
}

fn seal(payload: &[u8], key: Option<&Key>, compress: bool, nonce: u8) -> Vec<u8> {
    let rules = Outbound {
        label: b"",
        key,
        version: Version::V1,
        compress: compress.then_some(Algorithm::Lzw),
        checksum: Some(Checksum::Crc32),
    };
    let mut out = Vec::new();
    seal_packet(payload, &rules, &[nonce; 12], &mut Compressor::default(), &mut out);
    out
}

struct Node {
    gossip: Gossip,
    now: Instant,
    due: Option<Instant>,
    sent: usize,
}

impl Node {
    fn new(config: Config) -> Self {
        let now = Instant::from_nanos(1 << 40);
        let gossip = Gossip::new(config, [1; 32], now, &mut ()).unwrap();
        let mut node = Self { gossip, now, due: None, sent: 0 };
        node.drain();
        node
    }

    fn drain(&mut self) {
        loop {
            match self.gossip.poll() {
                Output::Timeout(due, _) => {
                    self.due = due;
                    return;
                }
                Output::Datagram(transmit) => {
                    self.sent += 1;
                    self.gossip.recycle(transmit.bytes);
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, bytes: &mut [u8]) {
        self.gossip.handle(self.now, Input::Datagram { from: address(9), bytes }, &mut ());
        self.drain();
    }

    /// Until nothing is queued.
    fn quiet(&mut self) {
        while let Some(due) = self.due {
            self.now = self.now.max(due);
            self.gossip.handle(self.now, Input::Timeout, &mut ());
            self.drain();
            if self.gossip.queued() == 0 {
                return;
            }
        }
    }
}

fn allocations(what: impl FnOnce()) -> u64 {
    let before = serf_bench::allocations();
    what();
    serf_bench::allocations() - before
}

/// What every packet of a quiet cluster is: nothing new. It must cost no memory at all.
#[test]
fn a_datagram_without_news_allocates_nothing() {
    for key in [None, Some(Key::new(&[3; 32]).unwrap())] {
        for compress in [false, true] {
            let keys = key.iter().cloned().collect();
            let mut node = Node::new(Config { keys, ..config() });
            (2..40).for_each(|i| node.hear(&mut seal(&alive(i, 5), key.as_ref(), false, i as u8)));
            node.hear(&mut seal(&accusation(Kind::Suspect, 3, 5), key.as_ref(), false, 0));
            node.hear(&mut seal(&accusation(Kind::Dead, 4, 5), key.as_ref(), false, 0));
            node.quiet();
            let old = [
                alive(2, 5),
                alive(2, 4),
                alive(3, 5),
                alive(4, 5),
                accusation(Kind::Suspect, 2, 4),
                accusation(Kind::Suspect, 3, 5),
                accusation(Kind::Suspect, 4, 5),
                accusation(Kind::Suspect, 1000, 5),
                accusation(Kind::Dead, 2, 4),
                accusation(Kind::Dead, 4, 7),
                accusation(Kind::Dead, 1000, 7),
            ];
            let parts: Vec<&[u8]> = old.iter().map(Vec::as_slice).collect();
            let mut compound = Vec::new();
            pack_compound(&parts, &mut compound);
            for (i, payload) in old.iter().chain([&compound]).enumerate() {
                let datagram = seal(payload, key.as_ref(), compress, 100);
                let mut warm_up = datagram.clone();
                let mut again = datagram;
                node.hear(&mut warm_up);
                let cost = allocations(|| node.hear(&mut again));
                assert_eq!(cost, 0, "message {i}, compressed {compress}");
            }
            assert_eq!((node.gossip.queued(), node.gossip.stats().bad_messages), (0, 0));
            assert_eq!(node.gossip.stats().bad_packets, 0);
        }
    }
}

/// Given that sent buffers come back.
#[test]
fn a_ping_is_answered_without_allocating() {
    for key in [None, Some(Key::new(&[3; 32]).unwrap())] {
        let keys = key.iter().cloned().collect();
        let mut node = Node::new(Config { keys, ..config() });
        node.hear(&mut seal(&alive(9, 1), key.as_ref(), false, 1));
        node.quiet();
        let source = Source {
            addr: (&[10, 0, 0, 9][..]).into(),
            port: 7946,
            node: b"ip-10-0-0-9.eu-central-1.compute.internal",
        };
        let mut ping = Vec::new();
        swim::put(&mut ping, Kind::Ping, |w| Ping { seq: 7, source, ..Ping::default() }.write(w));
        let datagram = seal(&ping, key.as_ref(), false, 2);
        (0..3).for_each(|_| node.hear(&mut datagram.clone()));
        let (mut last, sent) = (datagram.clone(), node.sent);
        let cost = allocations(|| node.hear(&mut last));
        assert_eq!(node.sent, sent + 1);
        assert_eq!(cost, 0);
    }
}

/// With the coordinates of the Serf layer in every ack, ours and theirs.
#[test]
fn acks_that_carry_coordinates_cost_no_memory() {
    let mut now = Instant::from_nanos(1 << 40);
    let config = Config { probe_interval: Duration::from_secs(1), ..config() };
    let mut node = serf_core::Node::new(serf_core::Config::new(config), [1; 32], now).unwrap();
    let source = Source {
        addr: (&[10, 0, 0, 9][..]).into(),
        port: 7946,
        node: b"ip-10-0-0-9.eu-central-1.compute.internal",
    };
    let mut ping = Vec::new();
    swim::put(&mut ping, Kind::Ping, |w| Ping { seq: 7, source, ..Ping::default() }.write(w));
    let mut payload = Vec::new();
    Coordinate { vec: List::of(&[0.01; 8]), error: 0.5, adjustment: 0.0, height: 0.001 }
        .write_payload(&mut payload);
    node.handle(now, Input::Datagram { from: address(9), bytes: &mut alive(9, 1) });
    let mut ack = Vec::new();
    for round in 0..50 {
        let due = loop {
            match node.poll() {
                Output::Timeout(due, _) => break due.unwrap(),
                Output::Datagram(transmit) => {
                    if transmit.bytes[0] == Kind::Ping as u8 {
                        let seq = Ping::read(&mut Reader::new(&transmit.bytes[1..])).unwrap().seq;
                        ack.clear();
                        let payload = Some(payload.as_slice().into());
                        swim::put(&mut ack, Kind::Ack, |w| {
                            swim::Ack { seq, payload, ..swim::Ack::default() }.write(w)
                        });
                    }
                    node.recycle(transmit.bytes);
                }
                _ => {}
            }
        };
        let mut sent = 0;
        let mut cost = 0;
        for datagram in [&mut ping.clone(), &mut std::mem::take(&mut ack)] {
            if !datagram.is_empty() {
                let from = address(9);
                cost += allocations(|| {
                    node.handle(now, Input::Datagram { from, bytes: datagram });
                    while let Output::Datagram(transmit) = node.poll() {
                        sent += transmit.bytes.len();
                        node.recycle(transmit.bytes);
                    }
                });
            }
        }
        assert!(sent >= 130, "our own coordinate is in the answer");
        // The first rounds have news of ourselves to tell, and buffers to grow.
        assert!(round < 20 || cost == 0, "{cost} allocations in round {round}");
        now = now.max(due);
        node.handle(now, Input::Timeout);
    }
    assert!(node.stats().coordinate_updates > 10);
    assert!(node.cached_coordinate(b"ip-10-0-0-9.eu-central-1.compute.internal").is_some());
}

/// What one whole gossip round may cost for each datagram it sends.
const ROUND_COST: u64 = 4;

#[test]
fn a_gossip_round_costs_little() {
    let mut node = Node::new(config());
    // The one who tells is none of them, and gets nothing back.
    (10..20).for_each(|i| node.hear(&mut alive(i, 1)));
    node.quiet();
    node.hear(&mut alive(12, 2));
    let round = |node: &mut Node| {
        node.now = node.due.unwrap();
        node.gossip.handle(node.now, Input::Timeout, &mut ());
        node.drain();
    };
    round(&mut node);
    let sent = node.sent;
    let cost = allocations(|| round(&mut node));
    assert_eq!(node.sent, sent + 3);
    assert!(cost <= 3 * ROUND_COST, "{cost} allocations");
}

#[test]
fn ten_thousand_members_fit_into_a_few_megabytes() {
    let before = held();
    let mut node = Node::new(config());
    for i in 2..=10_000 {
        node.hear(&mut alive(i, 1));
    }
    assert_eq!(node.gossip.members().present(), 10_000);
    let with_news = held() - before;
    assert!(with_news < 10_000_000, "{with_news} bytes while all of it is news");
    node.quiet();
    let at_rest = held() - before;
    assert!(at_rest < 4_000_000, "{at_rest} bytes at rest");
}

/// The Serf layer's records, clocks and queues come on top.
#[test]
fn ten_thousand_serf_members_fit_into_a_few_megabytes() {
    let now = Instant::from_nanos(1 << 40);
    let before = held();
    let mut node = serf_core::Node::new(serf_core::Config::new(config()), [1; 32], now).unwrap();
    let drain = |node: &mut serf_core::Node| {
        loop {
            match node.poll() {
                Output::Timeout(due, _) => return due,
                Output::Datagram(transmit) => node.recycle(transmit.bytes),
                _ => {}
            }
        }
    };
    for i in 2..=10_000 {
        node.handle(now, Input::Datagram { from: address(9), bytes: &mut alive(i, 1) });
        drain(&mut node);
    }
    assert_eq!(node.vitals().members, 10_000);
    let mut due = drain(&mut node);
    while node.gossip().queued() > 0 {
        node.handle(due.unwrap(), Input::Timeout);
        due = drain(&mut node);
    }
    let at_rest = held() - before;
    assert!(at_rest < 4_500_000, "{at_rest} bytes");
    // The list that programs read shares names and tags with the records.
    let list = node.members();
    assert!(list.iter().all(|m| m.status == Status::Alive));
    let with_list = held() - before;
    assert!(with_list < 5_500_000, "{with_list} bytes with a list of members");
}

/// Simulated nodes hold in common what each announced, so that 10,000 nodes that each know 10,000 fit into one machine.
#[test]
fn what_a_simulated_node_keeps_of_another_is_little() {
    let of = |nodes: usize| {
        let before = held();
        let mut sim = serf_sim::Sim::new(1);
        (0..nodes).for_each(|at| {
            sim.add(serf_sim::Sim::lan(at)).unwrap();
        });
        sim.acquaint();
        sim.run(Duration::from_secs(5));
        assert_eq!(sim.node(nodes - 1).unwrap().member_count(), nodes);
        (held() - before) / nodes as i64
    };
    let (few, many) = (of(200), of(800));
    assert!(few < 50_000, "{few} bytes for each of 200 nodes");
    let record = (many - few) / 600;
    assert!(record < 100, "{record} bytes for each one more that it knows");
}

/// A member that goes and is forgotten gives back what it took.
#[test]
fn the_forgotten_cost_nothing() {
    let config =
        Config { probe_interval: Duration::from_secs(1), gossip_to_the_dead: Duration::ZERO, ..config() };
    let mut node = Node::new(config);
    let mut after = Vec::new();
    for _ in 0..6 {
        for i in 2..300 {
            node.hear(&mut alive(i, 1));
            node.hear(&mut accusation(Kind::Dead, i, 1));
        }
        while node.gossip.members().known() > 1 {
            node.now += Duration::from_secs(1);
            node.gossip.handle(node.now, Input::Timeout, &mut ());
            node.drain();
        }
        assert_eq!(
            (node.gossip.queued(), node.due),
            (1, None),
            "only the news of ourselves wait for somebody"
        );
        after.push(held());
    }
    assert!(after[5] - after[1] < 2000, "{after:?}");
    assert_eq!(node.gossip.local().state, State::Alive);
}
