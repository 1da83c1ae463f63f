//! Which numbers of the node are which metric. The names are those that dashboards know.

use std::time::Duration;

use serf::{Stats, Vitals};

use super::Kind;

/// A metric whose values add up in [`Stats`].
pub(super) struct Series {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    values: Values,
}

/// How many values there have been, and their sum.
enum Values {
    Ones(fn(&Stats) -> u64),
    /// How many there were is not known: all together are one.
    Lump(fn(&Stats) -> u64),
    Sizes(fn(&Stats) -> u64, fn(&Stats) -> u64),
    Times(fn(&Stats) -> u64, fn(&Stats) -> Duration),
}

impl Series {
    /// How many values came between two readings, and their sum.
    pub(super) fn since(&self, seen: &Stats, now: &Stats) -> (u64, f64) {
        let more = |of: fn(&Stats) -> u64| of(now).saturating_sub(of(seen));
        match self.values {
            Values::Ones(n) => (more(n), more(n) as f64),
            Values::Lump(sum) => (more(sum).min(1), more(sum) as f64),
            Values::Sizes(n, sum) => (more(n), more(sum) as f64),
            Values::Times(n, sum) => (more(n), sum(now).saturating_sub(sum(seen)).as_secs_f64() * 1e3),
        }
    }
}

const fn counter(name: &'static str, n: fn(&Stats) -> u64) -> Series {
    Series { kind: Kind::Counter, name, values: Values::Ones(n) }
}

const fn bytes(kind: Kind, name: &'static str, n: fn(&Stats) -> u64, sum: fn(&Stats) -> u64) -> Series {
    Series { kind, name, values: Values::Sizes(n, sum) }
}

const fn timer(name: &'static str, n: fn(&Stats) -> u64, sum: fn(&Stats) -> Duration) -> Series {
    Series { kind: Kind::Sample, name, values: Values::Times(n, sum) }
}

pub(super) static SERIES: &[Series] = &[
    counter("serf.member.join", |s| s.serf.joins),
    counter("serf.member.flap", |s| s.serf.flaps),
    counter("serf.member.left", |s| s.serf.left),
    counter("serf.member.failed", |s| s.serf.failed),
    counter("serf.member.update", |s| s.serf.updates),
    counter("serf.events", |s| s.serf.events),
    counter("serf.queries", |s| s.serf.queries),
    counter("serf.query_acks", |s| s.serf.query_acks),
    counter("serf.query_duplicate_acks", |s| s.serf.query_duplicate_acks),
    counter("serf.query_responses", |s| s.serf.query_responses),
    counter("serf.query_duplicate_responses", |s| s.serf.query_duplicate_responses),
    bytes(Kind::Sample, "serf.msgs.received", |s| s.serf.messages_received, |s| s.serf.bytes_received),
    bytes(Kind::Sample, "serf.msgs.sent", |s| s.serf.messages_sent, |s| s.serf.bytes_sent),
    timer("serf.coordinate.adjustment-ms", |s| s.serf.coordinate_updates, |s| s.serf.coordinate_travel),
    counter("serf.coordinate.rejected", |s| s.serf.rejected_coordinates),
    counter("serf.coordinate.zero-rtt", |s| s.serf.zero_rtts),
    timer("serf.snapshot.appendLine", |s| s.serf.snapshot_appends, |s| s.serf.snapshot_append_time),
    timer("serf.snapshot.compact", |s| s.serf.snapshot_rewrites, |s| s.serf.snapshot_rewrite_time),
    bytes(Kind::Counter, "memberlist.udp.sent", |s| s.gossip.packets_sent, |s| s.gossip.udp_sent),
    bytes(Kind::Counter, "memberlist.udp.received", |s| s.gossip.packets_received, |s| s.gossip.udp_received),
    counter("memberlist.tcp.accept", |s| s.gossip.streams_accepted),
    counter("memberlist.tcp.connect", |s| s.gossip.streams_dialled),
    Series {
        kind: Kind::Counter,
        name: "memberlist.tcp.sent",
        values: Values::Lump(|s| s.gossip.stream_sent),
    },
    counter("memberlist.msg.alive", |s| s.gossip.alive),
    counter("memberlist.msg.suspect", |s| s.gossip.suspect),
    counter("memberlist.msg.dead", |s| s.gossip.dead),
    counter("memberlist.degraded.probe", |s| s.gossip.degraded_probes),
    counter("memberlist.degraded.timeout", |s| s.gossip.degraded_timeouts),
    timer("memberlist.gossip", |s| s.driver.rounds, |s| s.driver.round_time),
    timer("memberlist.probeNode", |s| s.gossip.probes, |s| s.gossip.probe_time),
    timer("memberlist.pushPullNode", |s| s.gossip.push_pulls_asked, |s| s.gossip.push_pull_time),
    bytes(
        Kind::Sample,
        "memberlist.size.remote",
        |s| s.gossip.states_received,
        |s| s.gossip.state_bytes_received,
    ),
    bytes(Kind::Gauge, "memberlist.size.local", |s| s.gossip.states_sent, |s| s.gossip.state_bytes_sent),
];

type Of<T> = (&'static str, fn(&Vitals) -> T);

/// How things are.
pub(super) static GAUGES: &[Of<u64>] = &[
    ("memberlist.health.score", |v| v.health_score.into()),
    ("memberlist.node.instances.alive", |v| v.members.saturating_sub(v.failed + v.left + v.suspected) as u64),
    ("memberlist.node.instances.suspect", |v| v.suspected as u64),
    ("memberlist.node.instances.dead", |v| v.failed as u64),
    ("memberlist.node.instances.left", |v| v.left as u64),
];

/// What waits to be gossiped, looked at now and then.
pub(super) static QUEUES: &[Of<usize>] = &[
    ("serf.queue.Intent", |v| v.intent_queue),
    ("serf.queue.Event", |v| v.event_queue),
    ("serf.queue.Query", |v| v.query_queue),
    ("memberlist.queue.broadcasts", |v| v.gossip_queue),
];

/// How the process is: its tasks, and its bytes in memory where the system tells them.
pub(crate) fn runtime() -> impl Iterator<Item = (&'static str, f64)> {
    let tasks = tokio::runtime::Handle::try_current().ok().map(|h| h.metrics().num_alive_tasks() as f64);
    let tasks = tasks.map(|n| ("runtime.num_goroutines", n));
    tasks.into_iter().chain(resident_bytes().map(|n| ("runtime.sys_bytes", n)))
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}
