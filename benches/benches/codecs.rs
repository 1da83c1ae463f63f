//! What compression and checksums cost and save, each that is in the build:
//!
//! ```text
//! cargo bench -p serf-bench --bench codecs --features lz4,snappy,zstd,brotli,xxhash,murmur3
//! ```
//!
//! Each figure is the best of several runs, which is what the code costs without the noise of the machine it runs on.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serf_wire::checksum::Checksum;
use serf_wire::compress::{Algorithm, Compressor};
use serf_wire::encrypt::Version;
use serf_wire::msgpack::{Dialect, Writer};
use serf_wire::packet::{Inbound, Outbound, open_packet, pack_compound, seal_packet};
use serf_wire::swim::{self, Alive, Kind, NodeState, PushPullHeader};

const RUNS: usize = 5;
/// How long each run takes at least.
const RUN: Duration = Duration::from_millis(200);

fn main() {
    let (state, packet) = (state(), packet());
    for (what, plain) in [("a state", &state), ("a datagram", &packet)] {
        println!("{what} of {} bytes", plain.len());
        for algorithm in Algorithm::ALL.into_iter().filter(|a| a.is_built()) {
            let mut compressor = Compressor::default();
            let mut packed = Vec::new();
            let compress = best(|| {
                packed.clear();
                compressor.compress(algorithm, black_box(plain), &mut packed);
            });
            let mut again = Vec::new();
            let decompress = best(|| {
                let read = compressor.decompress(black_box(&packed[1..]), plain.len(), &mut again);
                black_box(read).expect("what was compressed is read");
            });
            let (size, share) = (packed.len(), 100.0 * packed.len() as f64 / plain.len() as f64);
            println!("  {algorithm:<8}{size:>7} bytes{share:>6.1} %{compress:>9.1} us{decompress:>9.1} us");
        }
    }
    println!("a checksum of {} bytes, made and checked", packet.len());
    for checksum in Checksum::ALL.into_iter().filter(|c| c.is_built()) {
        let with = |checksum| {
            let rules = Outbound { label: b"", key: None, version: Version::V1, compress: None, checksum };
            let open = Inbound {
                label: b"",
                skip_label_check: false,
                keys: &[],
                verify_incoming: true,
                accept_v0: false,
            };
            let (mut compressor, mut out) = (Compressor::default(), Vec::new());
            best(|| {
                seal_packet(black_box(&packet), &rules, &[0; 12], &mut compressor, &mut out);
                black_box(open_packet(&mut out, &open)).expect("what was sealed opens");
            })
        };
        let cost = (with(Some(checksum)) - with(None)).max(0.0);
        println!("  {checksum:<8}{:>7} bytes{cost:>9.2} us", checksum.overhead());
    }
}

/// Microseconds a call.
fn best(mut f: impl FnMut()) -> f64 {
    f();
    let run = |_| {
        let (begin, mut calls) = (Instant::now(), 0_u32);
        while begin.elapsed() < RUN {
            (0..10).for_each(|_| f());
            calls += 10;
        }
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    };
    (0..RUNS).map(run).fold(f64::INFINITY, f64::min)
}

fn meta(i: usize) -> Vec<u8> {
    // The tags of a node as Serf announces them: some alike everywhere, some not.
    let mut out = vec![0xff];
    let mut w = Writer::new(&mut out, Dialect::GOSSIP);
    w.map(4);
    let tags = [
        ("role", ["web", "db", "cache"][i % 3].to_owned()),
        ("dc", "eu-central-1".to_owned()),
        ("version", format!("2.{}.0", i % 2)),
        ("build", format!("{:016x}", (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
    ];
    for (key, value) in tags {
        w.key(key);
        w.str(value.as_bytes());
    }
    out
}

/// 64 KB of a push/pull.
fn state() -> Vec<u8> {
    let mut nodes = Vec::new();
    let mut count = 0;
    while nodes.len() < 65_000 {
        let (name, meta) =
            (format!("ip-10-0-{}-{}.eu-central-1.example", count >> 8, count & 255), meta(count));
        let addr = [10, 0, (count >> 8) as u8, count as u8];
        let node = NodeState {
            name: name.as_bytes(),
            addr: addr.as_slice().into(),
            port: 7946,
            meta: Some(meta.as_slice().into()),
            incarnation: 1 + (count * count % 17) as u32,
            state: 0,
            vsn: Some([1, 5, 2, 2, 5, 5].as_slice().into()),
        };
        node.write(&mut Writer::new(&mut nodes, Dialect::GOSSIP));
        count += 1;
    }
    let header = PushPullHeader { nodes: count as i64, ..PushPullHeader::default() };
    let mut out = Vec::new();
    swim::put(&mut out, Kind::PushPull, |w| header.write(w));
    out.extend_from_slice(&nodes);
    out
}

/// A full datagram of news.
fn packet() -> Vec<u8> {
    let mut parts = Vec::new();
    let mut size = 2;
    for i in 0.. {
        let (name, meta) = (format!("ip-10-0-3-{}.eu-central-1.example", i * 7 % 256), meta(i * 5));
        let addr = [10, 0, 3, (i * 7) as u8];
        let alive = Alive {
            incarnation: i as u32 + 2,
            node: name.as_bytes(),
            addr: addr.as_slice().into(),
            port: 7946,
            meta: Some(meta.as_slice().into()),
            vsn: Some([1, 5, 2, 2, 5, 5].as_slice().into()),
        };
        let mut part = Vec::new();
        swim::put(&mut part, Kind::Alive, |w| alive.write(w));
        size += 2 + part.len();
        if size > 1400 {
            break;
        }
        parts.push(part);
    }
    let mut out = Vec::new();
    pack_compound(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut out);
    out
}
