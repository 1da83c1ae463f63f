//! Answers byte for byte as the reference gives them, hostile messages, and members that find each other (by questions
//! to one another: not every machine's network carries multicast).

use std::collections::BTreeSet;

use serf::{Config as Settings, Event, Events};

use super::message::{Data, Malformed, Name, Question, kind};
use super::*;

/// Answers of the agent 0.9.4 named `web.1` on the host `vm`, at 127.0.0.1:7999: question, type, whether the answer may
/// come to the asker alone, and what came.
const CAPTURED: &[(&str, u16, bool, &str)] = &[
    (
        "_serf_prod._tcp.local",
        kind::PTR,
        false,
        "0000840000000004000000000a5f736572665f70726f64045f746370056c6f63616c00000c00010000007800080377656201\
         31c00cc02d0021000100000078000a000a00011f3f02766d00c047000100010000007800047f000001c02d00100001000000\
         7800141353657266202770726f642720636c7573746572",
    ),
    (
        "_serf_prod._tcp.local",
        kind::ANY,
        true,
        "0007840000000004000000000a5f736572665f70726f64045f746370056c6f63616c00000c00010000007800080377656201\
         31c00cc02d0021000100000078000a000a00011f3f02766d00c047000100010000007800047f000001c02d00100001000000\
         7800141353657266202770726f642720636c7573746572",
    ),
    (
        "_services._dns-sd._udp.local",
        kind::PTR,
        false,
        "000084000000000100000000095f7365727669636573075f646e732d7364045f756470056c6f63616c00000c000100000078\
         00120a5f736572665f70726f64045f746370c023",
    ),
    (
        "web.1._serf_prod._tcp.local",
        kind::ANY,
        false,
        "0000840000000003000000000377656201310a5f736572665f70726f64045f746370056c6f63616c00002100010000007800\
         0a000a00011f3f02766d00c039000100010000007800047f000001c00c001000010000007800141353657266202770726f64\
         2720636c7573746572",
    ),
    (
        "web.1._serf_prod._tcp.local",
        kind::SRV,
        false,
        "0000840000000002000000000377656201310a5f736572665f70726f64045f746370056c6f63616c00002100010000007800\
         0a000a00011f3f02766d00c039000100010000007800047f000001",
    ),
    (
        "web.1._serf_prod._tcp.local",
        kind::TXT,
        false,
        "0000840000000001000000000377656201310a5f736572665f70726f64045f746370056c6f63616c00001000010000007800\
         141353657266202770726f642720636c7573746572",
    ),
    ("vm", kind::A, false, "00008400000000010000000002766d00000100010000007800047f000001"),
    ("vm", kind::AAAA, false, ""),
    ("_serf_x._tcp.local", kind::PTR, false, ""),
];

fn unhex(text: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).expect("a number");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn name(dotted: &str) -> Name {
    Name::new(dotted).expect("a name")
}

fn query(dotted: &str, kind: u16, unicast: bool) -> Message {
    let question = Question { name: name(dotted), kind, unicast };
    Message { id: 7, questions: vec![question], ..Message::default() }
}

fn web() -> Service {
    let address = "127.0.0.1:7999".parse().expect("an address");
    Service::new("prod", "web.1", "vm", address).expect("a name")
}

/// Another member of that cluster.
fn db() -> Service {
    let address = "[2001:db8::7]:7946".parse().expect("an address");
    Service::new("prod", "db", "vm", address).expect("a name")
}

fn read(bytes: &[u8]) -> Message {
    Message::read(bytes).expect("whole").expect("plain")
}

#[test]
fn our_answers_are_those_of_the_reference() {
    for (dotted, kind, unicast, answer) in CAPTURED {
        let ours = web().answer(&query(dotted, *kind, *unicast)).map(|m| m.to_bytes()).unwrap_or_default();
        assert_eq!(ours, unhex(answer), "{dotted} {kind}");
    }
}

#[test]
fn questions_may_be_written_in_any_case_and_asked_together() {
    let mut message = query("_SERF_Prod._TCP.local", kind::PTR, false);
    let alone = web().answer(&message).expect("an answer").records.len();
    message.questions.extend(vec![message.questions[0].clone(); 50]);
    message.questions.extend(query("web.1._serf_prod._tcp.local", kind::ANY, false).questions);
    assert_eq!(web().answer(&message).expect("an answer").records.len(), alone, "nothing is said twice");
    message.is_response = true;
    assert_eq!(web().answer(&message), None, "it is no question");
}

#[test]
fn an_answer_tells_where_a_member_is() {
    let captured = read(&unhex(CAPTURED[0].3));
    let (found, open) = db().found(&captured);
    assert_eq!((found, open), (vec!["127.0.0.1:7999".parse().expect("an address")], vec![]));
    assert_eq!(web().found(&captured), (vec![], vec![]), "it is us");
    let from_db = db().answer(&web().question()).expect("an answer");
    assert_eq!(
        web().found(&read(&from_db.to_bytes())).0,
        ["[2001:db8::7]:7946".parse().expect("an address")]
    );
    let stage = Service::new("stage", "x", "vm", "127.0.0.1:1".parse().expect("an address")).expect("a name");
    assert_eq!(stage.found(&captured), (vec![], vec![]), "another cluster");
}

#[test]
fn who_is_named_without_an_address_is_asked_for() {
    let mut captured = read(&unhex(CAPTURED[0].3));
    captured.records.truncate(1);
    let (found, open) = db().found(&captured);
    assert_eq!((found.len(), open.len()), (0, 1));
    let answer = web().answer(&open[0]).expect("an answer");
    assert_eq!(db().found(&answer).0.len(), 1);
}

#[test]
fn members_in_one_answer_are_bounded() {
    let mut crowd = Message { is_response: true, ..Message::default() };
    for n in 0..500 {
        let instance = name(&format!("n{n}._serf_prod._tcp.local"));
        let target = name(&format!("h{n}"));
        let srv = Data::Srv { port: 1000 + n, target: target.clone() };
        crowd.records.push(message::Record { name: instance, data: srv });
        let ip = std::net::Ipv4Addr::from(n as u32).into();
        crowd.records.push(message::Record { name: target, data: Data::Address(ip) });
    }
    assert_eq!(web().found(&crowd).0.len(), 32);
    assert_eq!(Message::read(&crowd.to_bytes()), Err(Malformed::Entries));
}

#[test]
fn what_is_not_whole_is_refused_and_nothing_hangs() {
    for (_, _, _, hex) in CAPTURED.iter().filter(|(_, _, _, hex)| !hex.is_empty()) {
        let bytes = unhex(hex);
        for len in 0..bytes.len() {
            assert!(Message::read(&bytes[..len]).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 12, 63, 64, 0x7f, 0x80, 0xc0, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                if let Ok(Some(message)) = Message::read(&bytes) {
                    // Whatever it says now can be dealt with.
                    let _ = (web().answer(&message), db().found(&message), message.to_bytes());
                }
            }
        }
    }
}

#[test]
fn names_lead_only_backwards_and_not_for_ever() {
    let mut bytes = query("a", kind::A, false).to_bytes();
    let question = bytes.split_off(12);
    let with = |name: &[u8]| Message::read(&[&bytes[..], name, &question[question.len() - 4..]].concat());
    assert_eq!(with(&[0xc0, 12]), Err(Malformed::Name), "to itself");
    assert_eq!(with(&[1, b'a', 0xc0, 12]), Err(Malformed::Name), "round and round");
    assert_eq!(with(&[0xc0, 200]), Err(Malformed::Name), "forwards");
    assert_eq!(with(&[0x40, b'a', 0]), Err(Malformed::Truncated));
    let long = [&[63; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat();
    assert_eq!(with(&long), Err(Malformed::Name), "more than a name can have");
    // A chain: each name leads to the one before it.
    let mut chain = Message {
        questions: vec![query("a", kind::A, false).questions[0].clone(); 30],
        ..Message::default()
    }
    .to_bytes();
    let mut at = 12 + 7;
    while at < chain.len() {
        let before = if at == 19 { 12 } else { at - 6 };
        chain[at..at + 2].copy_from_slice(&(0xc000 | before as u16).to_be_bytes());
        at += 6;
    }
    assert_eq!(Message::read(&chain), Err(Malformed::Name));
}

#[test]
fn odd_names_of_nodes_and_hosts_are_made_to_fit() {
    let address = "127.0.0.1:1".parse().expect("an address");
    for odd in ["", "...", &"x".repeat(1000), &"é.".repeat(300), "a..b", "\n"] {
        let service = Service::new("prod", odd, odd, address).expect("a name");
        let answer = service.answer(&service.question()).expect("an answer").to_bytes();
        assert_eq!(web().found(&read(&answer)).0, [address], "{odd:?}");
    }
    assert!(Service::new(&"x".repeat(57), "n", "h", address).is_some());
    for wrong in [&"x".repeat(58), "a..b", &"x.".repeat(200)] {
        assert!(Service::new(wrong, "n", "h", address).is_none(), "{wrong:?}");
    }
}

#[test]
fn answers_are_rationed() {
    let mut ration = Ration::default();
    let now = Instant::now();
    let given = (0..1000).filter(|_| ration.take(now)).count();
    assert_eq!(given as u32, ANSWERS_MAX);
    assert!(ration.take(now + Duration::from_secs(1)));
}

async fn node(name: &str) -> (Serf, Events) {
    let bind = "127.0.0.1:0".parse().expect("an address");
    Serf::start_with_events(Settings { bind, ..Settings::local(name) }).await.expect("it starts")
}

fn service(serf: &Serf) -> Arc<Service> {
    let name = serf.name().to_string();
    Arc::new(Service::new("prod", &name, "vm", serf.local_addr()).expect("a name"))
}

/// Asks again and again: who was late, or too busy to hear it, is asked again.
fn search(serf: &Serf) -> Search {
    let moment = Duration::from_millis(1);
    let pace = Pace { poll: moment, quiet: moment, ..PACE };
    Search { serf: serf.clone(), service: service(serf), pace, replay: false }
}

async fn local_socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("a port")
}

/// Asks these, in place of the network.
fn ways(asked: Vec<SocketAddr>) -> impl Fn() -> io::Result<Ways> {
    move || {
        let one = |to: &SocketAddr| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            socket.set_nonblocking(true)?;
            Ok((UdpSocket::from_std(socket)?, *to))
        };
        asked.iter().map(one).collect::<io::Result<_>>().map(Ways)
    }
}

/// Waits until so many have joined, the node itself among them.
async fn joined(events: &mut Events, n: usize) {
    let mut names = BTreeSet::new();
    while names.len() < n {
        if let Event::Member(event) = events.recv().await.expect("it lives") {
            names.extend(event.members.iter().map(|m| m.name.clone()));
        }
    }
}

#[tokio::test]
async fn who_asks_finds_the_others_and_joins_them() {
    let ((a, _), (b, _), (c, mut events)) = (node("a").await, node("b").await, node("c").await);
    let mut asked = Vec::new();
    for other in [&a, &b] {
        let socket = local_socket().await;
        asked.push(socket.local_addr().expect("bound"));
        tokio::spawn(respond(socket, service(other)));
    }
    tokio::spawn(search(&c).go_on(ways(asked)));
    joined(&mut events, 3).await;
}

#[tokio::test]
async fn garbage_ends_neither_answering_nor_asking() {
    let ((a, _), (b, mut events)) = (node("a").await, node("b").await);
    let socket = local_socket().await;
    let asked = socket.local_addr().expect("bound");
    tokio::spawn(respond(socket, service(&a)));
    let hostile = local_socket().await;
    for n in 0..300_u32 {
        let garbage: Vec<u8> = (0..n).map(|i| (i * 7 + n) as u8).collect();
        let _ = hostile.send_to(&garbage, asked).await;
    }
    // One whose answers are nonsense is asked, too.
    let liar = hostile.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok((_, from)) = hostile.recv_from(&mut buffer).await {
            for len in 0..50 {
                let _ = hostile.send_to(&[0x84; 50][..len], from).await;
            }
        }
    });
    tokio::spawn(search(&b).go_on(ways(vec![liar, asked])));
    joined(&mut events, 2).await;
}

#[tokio::test]
async fn members_are_not_joined_again() {
    let ((a, _), (b, _)) = (node("a").await, node("b").await);
    b.join([a.local_addr().to_string()]).await.expect("joined");
    let before = b.stats().await.expect("it lives").gossip.streams_dialled;
    search(&b).join(vec![a.local_addr()]).await;
    assert_eq!(b.stats().await.expect("it lives").gossip.streams_dialled, before);
}

#[tokio::test]
async fn a_node_that_has_left_looks_for_nobody() {
    let (a, _) = node("a").await;
    a.leave().await.expect("it left");
    search(&a).go_on(|| panic!("it asks")).await;
}
