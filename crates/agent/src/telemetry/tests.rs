//! From numbers to lines, and to those who collect them.

use std::time::UNIX_EPOCH;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

use super::*;
use crate::config::{self, Sources};

const NOON: SystemTime = UNIX_EPOCH;

fn collected() -> Telemetry {
    Telemetry::new(Some("my host"))
}

/// What is to be sent after these readings: lines without the prefix.
fn lines(telemetry: &Telemetry, readings: &[Stats]) -> Vec<String> {
    for stats in readings {
        telemetry.state().read(NOON, stats);
    }
    let lines = telemetry.take_lines();
    lines.lines().map(|line| line.strip_prefix("serf-agent.").expect("the prefix").to_owned()).collect()
}

#[test]
fn what_has_changed_is_what_happened() {
    let telemetry = collected();
    let first = lines(&telemetry, &[Stats::default()]);
    assert!(first.contains(&"my_host.memberlist.health.score:0.000000|g".to_owned()), "{first:?}");
    assert!(first.contains(&"serf.queue.Event:0.000000|ms".to_owned()), "{first:?}");
    assert_eq!(lines(&telemetry, &[Stats::default()]), Vec::<String>::new(), "nothing has");
    let mut stats = Stats::default();
    stats.serf.joins = 2;
    stats.serf.messages_received = 1;
    stats.serf.bytes_received = 40;
    stats.gossip.packets_sent = 3;
    stats.gossip.udp_sent = 300;
    stats.gossip.stream_sent = 70;
    stats.gossip.probes = 1;
    stats.gossip.probe_time = Duration::from_micros(1500);
    stats.gossip.states_sent = 2;
    stats.gossip.state_bytes_sent = 500;
    stats.vitals.health_score = 1;
    let between = stats;
    stats.serf.messages_received += 2;
    stats.serf.bytes_received += 50;
    stats.gossip.packets_sent += 1;
    stats.gossip.udp_sent += 12;
    let expected = [
        "my_host.memberlist.health.score:1.000000|g",
        "my_host.memberlist.size.local:250.000000|g",
        "memberlist.tcp.sent:70.000000|c",
        "memberlist.udp.sent:312.000000|c",
        "serf.member.join:2.000000|c",
        "serf.msgs.received:40.000000|ms",
        "memberlist.probeNode:1.500000|ms",
        "serf.msgs.received:25.000000|ms",
        "serf.msgs.received:25.000000|ms",
    ];
    assert_eq!(lines(&telemetry, &[between, stats]), expected);
}

#[test]
fn a_clock_that_is_set_back_stops_no_metric() {
    let telemetry = collected();
    let hour = Duration::from_secs(3600);
    telemetry.state().read(NOON + hour, &Stats::default());
    telemetry.take_lines();
    let later = lines(&telemetry, &[Stats::default()]);
    assert!(later.contains(&"serf.queue.Event:0.000000|ms".to_owned()), "{later:?}");
    let dump = telemetry.dump_at(NOON + hour / 2);
    assert!(dump.contains("memberlist.health.score': 0.000\n"), "{dump}");
}

#[test]
fn runs_of_scripts_are_timed() {
    let telemetry = collected();
    telemetry.invoked("/x/y.sh --a=1", Duration::from_micros(2500));
    assert_eq!(lines(&telemetry, &[]), ["agent.invoke./x/y.sh_--a=1:2.500000|ms"]);
}

#[test]
fn names_of_others_cannot_break_lines_and_are_only_so_many() {
    let telemetry = collected();
    let names = ["deploy", "a b:c|d@e\nf", "\u{1b}[31m", "é/x.y-z"].map(|name| (name.into(), 1));
    telemetry.state().read_names(NOON, "serf.events.", &names);
    let named = |name: &str| format!("serf.events.{name}:1.000000|c");
    let expected = ["_[31m", "a_b_c_d_e_f", "deploy", "é/x.y-z"].map(named);
    assert_eq!(lines(&telemetry, &[]), expected);
    let many: Vec<(Name, u64)> = (0..1000).map(|n| (n.to_string().as_str().into(), 1)).collect();
    telemetry.state().read_names(NOON, "serf.events.", &many);
    assert_eq!(lines(&telemetry, &[]).len(), NAMES_MAX - names.len());
    telemetry.state().read_names(NOON, "serf.events.", &names);
    assert_eq!(lines(&telemetry, &[]), expected, "who has a metric keeps it");
    assert_eq!(clean(&"é".repeat(200)), "é".repeat(NAME_MAX / 2));
}

#[test]
fn a_flood_of_samples_is_shed_with_a_count_and_its_sums_are_kept() {
    let telemetry = collected();
    let mut stats = Stats::default();
    lines(&telemetry, &[stats]);
    stats.serf.messages_received = 1_000_000;
    stats.serf.bytes_received = 5_000_000;
    assert_eq!(lines(&telemetry, &[stats]), vec!["serf.msgs.received:5.000000|ms"; 1000]);
    let dump = telemetry.dump_at(NOON + history::INTERVAL);
    assert!(dump.contains("'serf-agent.agent.metrics.shed': Count: 999000 Sum"), "{dump}");
    assert!(dump.contains("'serf-agent.serf.msgs.received': Count: 1000000 Sum: 5000000.000"), "{dump}");
}

#[test]
fn nothing_is_gathered_for_nobody() {
    let telemetry = Telemetry::new(None);
    let mut stats = Stats::default();
    stats.serf.joins = 2;
    assert_eq!(lines(&telemetry, &[stats]), Vec::<String>::new());
    let dump = telemetry.dump_at(NOON + history::INTERVAL);
    assert!(dump.contains("[C] 'serf-agent.serf.member.join': Count: 2 Sum: 2.000 LastUpdated: "), "{dump}");
    assert!(dump.contains("[G] 'serf-agent.memberlist.health.score': 0.000\n"), "no host: {dump}");
}

#[test]
fn who_has_nothing_to_do_still_shows_how_it_is() {
    let telemetry = Telemetry::new(None);
    let minute = Duration::from_secs(60);
    assert_eq!(telemetry.dump_at(NOON), "", "it is not there yet");
    let mut stats = Stats::default();
    stats.vitals.members = 1;
    telemetry.state().read(NOON, &stats);
    assert_eq!(telemetry.dump_at(NOON), "", "the interval is not over");
    let dump = telemetry.dump_at(NOON + minute * 60);
    assert!(dump.contains("[G] 'serf-agent.memberlist.node.instances.alive': 1.000\n"), "{dump}");
    assert!(!dump.contains("[C]"), "{dump}");
}

/// The configuration of an agent whose metrics go there.
fn config(statsd: &UdpSocket, statsite: &TcpListener) -> Config {
    let mut sources = Sources::default();
    sources.flags.statsd_addr = Some(statsd.local_addr().expect("bound").to_string());
    sources.flags.statsite_addr = Some(statsite.local_addr().expect("bound").to_string());
    config::load(&sources, &mut |_| {}).expect("fine")
}

#[tokio::test]
async fn collectors_get_lines_while_the_agent_lives_and_what_is_left_at_its_end() {
    let statsd = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let statsite = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (telemetry, feeding) = begin(&config(&statsd, &statsite));
    let feeding = feeding.expect("somebody collects");
    let line = "serf-agent.agent.ipc.accept:3.000000|c\n";
    telemetry.count("agent.ipc.accept", 3);
    let mut datagram = vec![0; 2000];
    let n = statsd.recv(&mut datagram).await.expect("a datagram");
    assert_eq!(&datagram[..n], line.as_bytes());
    let (mut stream, _) = statsite.accept().await.expect("a connection");
    let mut first = vec![0; line.len()];
    stream.read_exact(&mut first).await.expect("a line");
    assert_eq!(first, line.as_bytes());

    let last = "serf-agent.agent.ipc.command:1.000000|c\n";
    telemetry.count("agent.ipc.command", 1);
    feeding.finish().await;
    let n = statsd.recv(&mut datagram).await.expect("a datagram");
    assert_eq!(&datagram[..n], last.as_bytes());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("text, then its end");
    assert_eq!(rest, last);
}

#[tokio::test]
async fn a_connection_that_broke_is_made_again() {
    let statsite = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = statsite.local_addr().expect("bound").to_string();
    let (sender, batches) = mpsc::channel(64);
    let task = tokio::spawn(statsite::stream(address, batches, Duration::from_millis(1)));
    for round in 0..3 {
        // How many are lost before the break is noticed is the system's affair.
        let talk = async {
            for n in 0.. {
                sender.send(format!("{round} {n}\n")).await.expect("it goes on");
            }
        };
        let listen = async {
            let (stream, _) = statsite.accept().await.expect("a connection");
            let mut lines = BufReader::new(stream).lines();
            let line = lines.next_line().await.expect("readable").expect("a line");
            line.parse::<String>().expect("text")
        };
        let line = tokio::select! {
            line = listen => line,
            () = talk => unreachable!("it talks for ever"),
        };
        assert!(line.contains(' '), "a whole line: {line}");
    }
    // Nobody listens any more: what is left is not waited for.
    drop(statsite);
    drop(sender);
    task.await.expect("it ends");
}

#[tokio::test]
async fn a_statsd_that_is_not_there_delays_nobody() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut statsd = statsd::Statsd::new(gone.local_addr().expect("bound").to_string());
    drop(gone);
    for _ in 0..100 {
        statsd.send("serf-agent.a:1.000000|c\n").await;
    }
    let mut nobody = statsd::Statsd::new("no port".to_owned());
    nobody.send("serf-agent.a:1.000000|c\n").await;
}
