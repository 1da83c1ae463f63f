//! The numbers of the node and the agent as Prometheus collects them: text exposition 0.0.4, everything since the start.
//!
//! Names of others' choice, of events, queries and scripts, are labels of a bounded number of series; see `telemetry`.

use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serf::{Stats, Vitals};

use super::Api;
use super::reply::{Failure, Reply, whole};
use crate::telemetry;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(api: &Api) -> Result<Reply, Failure> {
    let stats = api.service.serf.stats().await?;
    let runtime: Vec<_> = telemetry::runtime().collect();
    Ok(whole(CONTENT_TYPE, exposition(&stats, &runtime, &api.service.telemetry.totals(), api.started)))
}

/// What has been counted in [`Stats`].
struct Counter {
    /// Where it is in there: so a test finds those that are missing here.
    #[cfg(test)]
    field: &'static str,
    name: &'static str,
    help: &'static str,
    value: fn(&Stats) -> u64,
}

/// What has taken time in [`Stats`].
struct Timer {
    #[cfg(test)]
    fields: [&'static str; 2],
    name: &'static str,
    help: &'static str,
    count: fn(&Stats) -> u64,
    sum: fn(&Stats) -> Duration,
}

macro_rules! counters {
    ($($part:ident.$field:ident $name:literal $help:literal)*) => {
        &[$(Counter {
            #[cfg(test)]
            field: concat!(stringify!($part), ".", stringify!($field)),
            name: concat!("serf_", $name, "_total"),
            help: $help,
            value: |stats| stats.$part.$field,
        }),*]
    };
}

macro_rules! timers {
    ($($part:ident.$count:ident $sum:ident $name:literal $help:literal)*) => {
        &[$(Timer {
            #[cfg(test)]
            fields: [
                concat!(stringify!($part), ".", stringify!($count)),
                concat!(stringify!($part), ".", stringify!($sum)),
            ],
            name: concat!("serf_", $name, "_seconds"),
            help: $help,
            count: |stats| stats.$part.$count,
            sum: |stats| stats.$part.$sum,
        }),*]
    };
}

static COUNTERS: &[Counter] = counters! {
    serf.joins "member_joins" "Members that joined, or came back."
    serf.flaps "member_flaps" "Members that came back a moment after they had failed."
    serf.left "member_leaves" "Members that left and had said so."
    serf.failed "member_failures" "Members that failed."
    serf.updates "member_updates" "Members that changed their tags, address or versions."
    serf.events "user_events" "New user events."
    serf.queries "queries" "New queries."
    serf.bad_filters "query_bad_filters" "Queries whose conditions could not be read, or were too many to look at."
    serf.query_acks "query_acks" "Acks to queries of this node."
    serf.query_duplicate_acks "query_duplicate_acks" "Acks to queries of this node that had come already, or were not asked for."
    serf.query_responses "query_responses" "Responses to queries of this node."
    serf.query_duplicate_responses "query_duplicate_responses" "Responses to queries of this node that had come already."
    serf.late_answers "query_late_answers" "Acks and responses to no query of this node that is under way."
    serf.relayed "query_answers_relayed" "Answers of others passed on."
    serf.relays_asked "query_relays_asked" "Answers of this node that others were asked to pass on."
    serf.shed_relays "query_relays_shed" "The same not asked for, because there were too many or the answer is too long."
    serf.refused_answers "query_answers_refused" "Answers not taken, sent or passed on because of who they come from or go to."
    serf.shed_answers "query_answers_shed" "Answers not sent or passed on because there were too many."
    serf.messages_received "messages_received" "Messages of the Serf layer received."
    serf.bytes_received "message_bytes_received" "Bytes of messages of the Serf layer received."
    serf.messages_sent "messages_sent" "Messages of the Serf layer handed to gossip, each time that one is."
    serf.bytes_sent "message_bytes_sent" "Bytes of messages of the Serf layer handed to gossip."
    serf.bad_messages "bad_messages" "Messages of the Serf layer that could not be read."
    serf.bad_tags "bad_tags" "Members whose tags could not be read to their end."
    serf.refuted "leaves_refuted" "Leaves told of this node that it denied."
    serf.conflicts "name_conflicts" "Names claimed from two addresses, as often as that was noticed."
    serf.refused_claims "claims_refused" "Claims refused by the merge policy or for their name."
    serf.shed_intents "intents_shed" "Joins and leaves of unknown members that found no room."
    serf.shed_events "events_shed" "User events and queries that found no room."
    serf.shed_broadcasts "broadcasts_shed" "Broadcasts dropped because a queue was too long, or no datagram would hold them."
    serf.shed_ping_payloads "ping_payloads_shed" "Acks that went without what the program had to add, because it was too long."
    serf.reconnects "reconnects" "Attempts to reach a failed member again."
    serf.zero_rtts "coordinate_zero_rtts" "Measured round trips that took no time at all."
    serf.rejected_coordinates "coordinates_rejected" "Coordinates of others, or round trips to them, that were refused."
    serf.snapshot_lines "snapshot_lines" "Lines recorded in the snapshot file."
    serf.snapshot_failures "snapshot_failures" "Writes to the snapshot file that failed."
    serf.snapshot_refused "snapshot_refused" "Members that the snapshot file cannot hold, as often as they joined."
    gossip.udp_sent "gossip_udp_sent_bytes" "Bytes of datagrams sent."
    gossip.udp_received "gossip_udp_received_bytes" "Bytes of datagrams received."
    gossip.packets_sent "gossip_packets_sent" "Datagrams sent."
    gossip.special_sent "gossip_special_sent" "Datagrams and full states sent with compression or a checksum beyond the reference's."
    gossip.packets_received "gossip_packets_received" "Datagrams received."
    gossip.streams_accepted "gossip_streams_accepted" "Connections accepted."
    gossip.streams_dialled "gossip_streams_dialled" "Connections made for push/pulls."
    gossip.stream_sent "gossip_stream_sent_bytes" "Bytes written to connections."
    gossip.alive "gossip_alive" "Claims of being alive that were believed."
    gossip.suspect "gossip_suspect" "Suspicions that were believed."
    gossip.dead "gossip_dead" "Deaths and goodbyes that were believed."
    gossip.degraded_probes "gossip_degraded_probes" "Probes begun later because the node doubts itself."
    gossip.degraded_timeouts "gossip_degraded_timeouts" "Suspicions that ended with fewer confirmations than wanted."
    gossip.failed_probes "gossip_failed_probes" "Probes that found no answer."
    gossip.refuted "gossip_accusations_refuted" "Accusations against this node that it denied."
    gossip.bad_packets "gossip_bad_packets" "Datagrams refused whole: garbage, wrong key, wrong label, bad checksum."
    gossip.bad_messages "gossip_bad_messages" "Messages within datagrams refused."
    gossip.bad_streams "gossip_bad_streams" "Connections refused or broken off for what was said on them."
    gossip.shed_streams "gossip_streams_shed" "Connections refused because too many were open, or held too much."
    gossip.slow_streams "gossip_slow_streams" "Connections that took too long."
    gossip.refused_claims "gossip_claims_refused" "Claims refused by a policy, a limit or the allow list."
    gossip.conflicts "gossip_conflicts" "Claims for a known name from another address."
    gossip.replayed "gossip_replayed_packets" "Datagrams refused because their nonce had been seen."
    gossip.shed_answers "gossip_answers_shed" "Pings and relays for strangers not answered because there were too many."
    gossip.plaintext "gossip_plaintext_packets" "Datagrams accepted in plaintext although there are keys."
    gossip.push_pulls "gossip_push_pulls" "Push/pulls completed, whoever began them."
    gossip.states_sent "gossip_states_sent" "Full states sent."
    gossip.state_bytes_sent "gossip_state_sent_bytes" "Bytes of full states sent, before compression and encryption."
    gossip.states_received "gossip_states_received" "Full states received."
    gossip.state_bytes_received "gossip_state_received_bytes" "Bytes of full states received."
    gossip.oversized "gossip_oversized" "Messages not sent, or news not queued, because no datagram would hold them."
    gossip.notices_suppressed "gossip_log_lines_suppressed" "Log lines not written because there were too many of their kind."
    driver.wakes "wakes" "Times the node woke up."
    driver.datagrams_sent "datagrams_sent" "Datagrams handed to the kernel."
    driver.send_errors "datagram_send_errors" "Datagrams that the kernel refused."
    driver.datagrams_shed "datagrams_shed" "Datagrams thrown away because too many waited for the kernel."
    driver.datagrams_received "datagrams_received" "Datagrams taken from the kernel."
    driver.receive_errors "datagram_receive_errors" "Times the gossip socket could not be read."
    driver.accept_errors "accept_errors" "Gossip connections that could not be accepted."
};

static TIMERS: &[Timer] = timers! {
    serf.coordinate_updates coordinate_travel "coordinate_adjustment" "How far measured round trips moved this node's coordinate."
    serf.snapshot_appends snapshot_append_time "snapshot_append" "Writing to the snapshot file."
    serf.snapshot_rewrites snapshot_rewrite_time "snapshot_rewrite" "Rewriting the snapshot file."
    gossip.probes probe_time "gossip_probe" "Probes, however they ended."
    gossip.push_pulls_asked push_pull_time "gossip_push_pull" "Push/pulls begun by this node, however they ended."
    driver.rounds round_time "gossip_round" "Rounds of gossip."
};

/// What the agent counts itself: its name among the metrics that others collect, and here.
static TOLD: &[(&str, &str, &str)] = &[
    ("agent.ipc.accept", "serf_rpc_connections_total", "RPC clients accepted."),
    ("agent.ipc.command", "serf_rpc_commands_total", "Commands of RPC clients."),
    ("agent.http.accept", "serf_http_connections_total", "HTTP connections accepted."),
    ("agent.http.request", "serf_http_requests_total", "HTTP requests answered."),
    (
        "agent.http.denied",
        "serf_http_denied_total",
        "HTTP requests of clients that may not do what they asked.",
    ),
    (
        "agent.http.bad",
        "serf_http_bad_total",
        "HTTP connections ended for what was sent on them, or how slowly.",
    ),
    (
        "agent.http.refused",
        "serf_http_refused_total",
        "HTTP connections refused or ended because there were too many.",
    ),
    ("agent.http.lost", "serf_http_lost_events_total", "Events lost to slow readers of HTTP streams."),
];

/// What begins so has a name of others' choice behind it, which becomes this label. `true`: it is timed, in ms.
static NAMED: &[(&str, &str, &str, &str, bool)] = &[
    (
        "serf.events.",
        "serf_user_events_by_name_total",
        "name",
        "New user events by name, of the first 256 names.",
        false,
    ),
    (
        "serf.queries.",
        "serf_queries_by_name_total",
        "name",
        "New queries by name, of the first 256 names.",
        false,
    ),
    (
        "agent.invoke.",
        "serf_handler_seconds",
        "script",
        "Runs of event handlers, of the first 256 commands.",
        true,
    ),
];

fn exposition(
    stats: &Stats,
    runtime: &[(&str, f64)],
    totals: &[(impl AsRef<str>, u64, f64)],
    started: SystemTime,
) -> String {
    let mut page = Page(String::new());
    about_itself(&mut page, runtime, started);
    vitals(&mut page, &stats.vitals);
    for counter in COUNTERS {
        page.family(counter.name, "counter", counter.help);
        page.sample(counter.name, &[], (counter.value)(stats));
    }
    for timer in TIMERS {
        page.family(timer.name, "summary", timer.help);
        page.summary(timer.name, &[], (timer.count)(stats), (timer.sum)(stats).as_secs_f64());
    }
    let count_of = |name: &str| totals.iter().find(|(it, ..)| it.as_ref() == name).map_or(0, |(_, n, _)| *n);
    for (name, here, help) in TOLD {
        page.family(here, "counter", help);
        page.sample(here, &[], count_of(name));
    }
    for (prefix, here, label, help, is_timed) in NAMED {
        let series =
            totals.iter().filter_map(|(name, n, sum)| Some((name.as_ref().strip_prefix(prefix)?, n, sum)));
        page.family(here, if *is_timed { "summary" } else { "counter" }, help);
        for (name, n, millis) in series {
            let labels = [(*label, name)];
            if *is_timed {
                page.summary(here, &labels, *n, millis / 1e3);
            } else {
                page.sample(here, &labels, *n);
            }
        }
    }
    page.0
}

fn about_itself(page: &mut Page, runtime: &[(&str, f64)], started: SystemTime) {
    page.family("serf_build_info", "gauge", "Always 1; the release of the agent is a label.");
    page.sample("serf_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.family("serf_start_time_seconds", "gauge", "When the agent started, in seconds since 1970.");
    let since_1970 = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.sample("serf_start_time_seconds", &[], since_1970.as_secs_f64());
    for (name, value) in runtime {
        let (name, help) = match *name {
            "runtime.num_goroutines" => ("serf_tasks", "Tasks of the agent."),
            "runtime.sys_bytes" => ("serf_resident_memory_bytes", "Memory in use."),
            _ => continue,
        };
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
}

fn vitals(page: &mut Page, v: &Vitals) {
    let alive = v.members.saturating_sub(v.failed + v.left + v.suspected);
    for (name, help, label, values) in [
        (
            "serf_members",
            "Members known, by state; those that are leaving count as alive.",
            "status",
            &[("alive", alive), ("suspect", v.suspected), ("failed", v.failed), ("left", v.left)][..],
        ),
        (
            "serf_queue_length",
            "Messages that wait to be gossiped.",
            "queue",
            &[
                ("member", v.gossip_queue),
                ("intent", v.intent_queue),
                ("event", v.event_queue),
                ("query", v.query_queue),
            ],
        ),
    ] {
        page.family(name, "gauge", help);
        values.iter().for_each(|(value, n)| page.sample(name, &[(label, *value)], n));
    }
    page.family("serf_lamport_time", "gauge", "The clocks of the cluster as this node knows them.");
    for (clock, time) in [("member", v.member_time), ("event", v.event_time), ("query", v.query_time)] {
        page.sample("serf_lamport_time", &[("clock", clock)], time);
    }
    page.family("serf_health_score", "gauge", "The node's doubt in itself; 0 is healthy.");
    page.sample("serf_health_score", &[], v.health_score);
    page.family("serf_encrypted", "gauge", "1 if gossip is encrypted.");
    page.sample("serf_encrypted", &[], u8::from(v.encrypted));
    if let Some(resets) = v.coordinate_resets {
        page.family(
            "serf_coordinate_resets_total",
            "counter",
            "Times this node's coordinate was lost and began anew.",
        );
        page.sample("serf_coordinate_resets_total", &[], resets);
    }
}

/// Lines of an exposition. Writing to memory does not fail.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = writeln!(self.0, "{name}{} {value}", Labels(labels));
    }

    fn summary(&mut self, name: &str, labels: &[(&str, &str)], count: u64, sum: f64) {
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }
}

struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}=\"", if n == 0 { '{' } else { ',' })?;
            for character in value.chars() {
                match character {
                    '\\' | '"' => write!(f, "\\{character}")?,
                    '\n' => f.write_str("\\n")?,
                    character => f.write_char(character)?,
                }
            }
            f.write_char('"')?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::telemetry::Telemetry;

    fn page(stats: &Stats, totals: &[(&str, u64, f64)]) -> String {
        exposition(stats, &[("runtime.sys_bytes", 4096.0)], totals, UNIX_EPOCH + Duration::from_millis(1500))
    }

    /// Name, labels and value of each sample, after checking what the format asks for.
    fn samples(page: &str) -> Vec<(String, String, f64)> {
        let is_name = |name: &str| {
            name.starts_with("serf_")
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let (mut families, mut samples) = (BTreeMap::new(), Vec::new());
        let mut helped = String::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a text");
                assert!(is_name(name) && help.ends_with('.'), "{line}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, helped, "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let summary = ["_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
                let family = summary.filter(|_| families[&helped] == "summary").unwrap_or(name);
                assert_eq!(family, helped, "{line}");
                let sample = (name.to_owned(), labels.trim_end_matches('}').to_owned());
                assert!(!samples.iter().any(|(n, l, _)| (n, l) == (&sample.0, &sample.1)), "twice: {line}");
                samples.push((sample.0, sample.1, value.parse().expect("a number")));
            }
        }
        samples
    }

    fn value(samples: &[(String, String, f64)], name: &str, labels: &str) -> f64 {
        let it = samples.iter().find(|(n, l, _)| (n.as_str(), l.as_str()) == (name, labels));
        it.unwrap_or_else(|| panic!("no {name}{{{labels}}}")).2
    }

    #[test]
    fn every_number_of_a_node_is_there() {
        let stats = Stats::default();
        let mut fields = Vec::new();
        for (part, text) in [
            ("serf", format!("{:?}", stats.serf)),
            ("gossip", format!("{:?}", stats.gossip)),
            ("driver", format!("{:?}", stats.driver)),
        ] {
            let (_, inner) = text.split_once('{').expect("fields");
            let names = inner.split(',').filter_map(|field| field.split_once(':'));
            fields.extend(names.map(|(name, _)| format!("{part}.{}", name.trim())));
        }
        let timed = TIMERS.iter().flat_map(|timer| timer.fields);
        let mut told: Vec<_> = COUNTERS.iter().map(|counter| counter.field).chain(timed).collect();
        fields.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, fields);
    }

    #[test]
    fn numbers_are_what_they_are_since_the_start() {
        let mut stats = Stats::default();
        stats.vitals.members = 7;
        stats.vitals.failed = 2;
        stats.vitals.suspected = 1;
        stats.vitals.query_time = 9;
        stats.vitals.coordinate_resets = Some(3);
        stats.serf.joins = 5;
        stats.gossip.udp_sent = 1 << 60;
        stats.gossip.probes = 4;
        stats.gossip.probe_time = Duration::from_millis(1250);
        let all = samples(&page(&stats, &[("agent.ipc.accept", 6, 6.0)]));
        for (name, labels, expected) in [
            ("serf_build_info", "version=\"0.1.0\"", 1.0),
            ("serf_start_time_seconds", "", 1.5),
            ("serf_resident_memory_bytes", "", 4096.0),
            ("serf_members", "status=\"alive\"", 4.0),
            ("serf_members", "status=\"failed\"", 2.0),
            ("serf_lamport_time", "clock=\"query\"", 9.0),
            ("serf_coordinate_resets_total", "", 3.0),
            ("serf_member_joins_total", "", 5.0),
            ("serf_gossip_udp_sent_bytes_total", "", (1u64 << 60) as f64),
            ("serf_gossip_probe_seconds_sum", "", 1.25),
            ("serf_gossip_probe_seconds_count", "", 4.0),
            ("serf_rpc_connections_total", "", 6.0),
            ("serf_http_denied_total", "", 0.0),
        ] {
            assert_eq!(value(&all, name, labels), expected, "{name}");
        }
    }

    #[test]
    fn names_of_others_cannot_break_lines_and_are_only_so_many() {
        let telemetry = Telemetry::new(None);
        telemetry.invoked("/x \"y\"\\z", Duration::from_millis(250));
        telemetry.invoked("/x \"y\"\\z", Duration::from_millis(250));
        for n in 0..1000 {
            telemetry.invoked(&format!("{n}\nserf_forged 1"), Duration::ZERO);
        }
        let totals = telemetry.totals();
        let page = exposition(&Stats::default(), &[], &totals, UNIX_EPOCH);
        let all = samples(&page);
        assert_eq!(all.iter().filter(|(name, ..)| name == "serf_handler_seconds_count").count(), 256);
        let labels = r#"script="/x_\"y\"\\z""#;
        assert_eq!(value(&all, "serf_handler_seconds_sum", labels), 0.5);
        assert_eq!(value(&all, "serf_handler_seconds_count", labels), 2.0);
        assert!(!page.contains("\nserf_forged"));
        assert_eq!(Labels(&[("a", "\n"), ("b", "é")]).to_string(), r#"{a="\n",b="é"}"#);
    }
}
