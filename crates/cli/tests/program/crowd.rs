//! Many RPC clients at once, most of them of no use: what the others get is counted, and so is what it costs the agent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serf_rpc::message::{
    AuthRequest, EventRequest, MonitorRequest, RequestHeader, StopRequest, StreamRequest,
};
use serf_rpc::{Command, Value};
use serf_wire::msgpack::{Dialect, Writer};

use crate::agents::{Agent, Program, until};
use crate::service::{HANDSHAKE, client, is_served, rest, shaken};
use crate::tree::{Message, Replies, Tree, is_nothing};

/// The agent's memory stays below that, whatever its clients do in these tests.
const MEMORY_MAX: u64 = 20 << 10; // KiB
/// What the program itself takes of it. One that is not optimized takes more, and is none of theirs.
const PROGRAM: u64 = 5 << 10;
const CLIENTS_MAX: usize = 512;

fn request(command: Command, seq: u64, body: Option<&dyn Fn(&mut Writer<'_>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, Dialect::RPC);
    RequestHeader { command: command.name().into(), seq }.encode(&mut writer);
    if let Some(body) = body {
        body(&mut writer);
    }
    bytes
}

fn stream(seq: u64, kind: &str) -> Vec<u8> {
    let body = StreamRequest { kind: kind.into() };
    request(Command::Stream, seq, Some(&|writer| body.encode(writer)))
}

fn event(seq: u64, name: &str, payload: &[u8]) -> Vec<u8> {
    let body = EventRequest { name: name.into(), payload: Some(payload.to_vec()), coalesce: false };
    request(Command::Event, seq, Some(&|writer| body.encode(writer)))
}

/// Reads messages until there are so many, and no more than what belongs to them.
struct Reader {
    stream: TcpStream,
    replies: Replies,
    bytes: Vec<u8>,
}

fn is_modest(agent: &Agent, when: &str) {
    let Some((own, peak)) = agent.memory() else { return };
    assert!(own < MEMORY_MAX - PROGRAM, "{when}: {own} KiB beside the program");
    assert!(cfg!(debug_assertions) || peak < MEMORY_MAX, "{when}: {peak} KiB at most");
}

/// How many of a client's events or lines the log says are lost.
fn dropped(log: &str, what: &str, from: &str) -> usize {
    let start = format!("[WARN] agent.ipc: Dropping {what} to ipc.client: {from} (");
    let lines = log.lines().filter_map(|line| line.split_once(&start));
    let count = |rest: &str| rest.split(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a count");
    lines.map(|(_, rest)| count(rest)).sum()
}

impl Reader {
    /// How many messages have come in a moment.
    fn arrived(&mut self) -> usize {
        self.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
            Err(e) => assert!(is_nothing(&e), "{e}"),
        }
        let mut count = 0;
        while let Some((_, len)) = self.replies.take(&self.bytes) {
            self.bytes.drain(..len);
            count += 1;
        }
        count
    }

    fn of(stream: &TcpStream) -> Self {
        let stream = stream.try_clone().expect("a second handle");
        Self { stream, replies: Replies::default(), bytes: Vec::new() }
    }

    fn next(&mut self) -> Message {
        let mut chunk = [0; 64 * 1024];
        loop {
            if let Some((message, len)) = self.replies.take(&self.bytes) {
                self.bytes.drain(..len);
                return message;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("the agent has closed the connection"),
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(e) => assert_eq!(e.kind(), ErrorKind::Interrupted, "something comes"),
            }
        }
    }
}

/// A client with so many streams of such events.
fn opened(agent: &Agent, kind: &str, count: u64) -> Reader {
    let mut reader = Reader { stream: shaken(agent), replies: Replies::default(), bytes: Vec::new() };
    for seq in 2..2 + count {
        reader.replies.expect(seq, Some(Command::Stream));
        reader.stream.write_all(&stream(seq, kind)).expect("written");
        assert_eq!(reader.next().error, "");
    }
    reader
}

/// Fires so many events, one after another.
fn fire(agent: &Agent, name: &str, count: usize, size: usize) {
    let mut connection = shaken(agent);
    let mut reader = Reader::of(&connection);
    let requests = thread::spawn({
        let (name, payload) = (name.to_owned(), vec![b'x'; size]);
        move || {
            (0..count as u64)
                .for_each(|seq| connection.write_all(&event(seq, &name, &payload)).expect("written"))
        }
    });
    for seq in 0..count as u64 {
        let message = reader.next();
        assert_eq!((message.seq, &*message.error), (seq, ""));
    }
    requests.join().expect("all are written");
}

/// Bytes that are no protocol, a megabyte of each kind, and whether they come after a handshake.
fn garbage() -> Vec<(&'static str, bool, Vec<u8>)> {
    const SIZE: usize = 1 << 20;
    // Any bytes will do, and the same ones each time are better.
    let mut state = 1_u32;
    let random = (0..SIZE).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let random: Vec<u8> = random.collect();
    let after = |head: &[u8], fill: u8| [head, &vec![fill; SIZE]].concat();
    let event = b"\x82\xa7Command\xa5event\xa3Seq\x02";
    let shapes: [(&str, Vec<u8>); 8] = [
        ("random bytes", random),
        ("a web browser", b"GET / HTTP/1.1\r\n".repeat(SIZE / 16)),
        ("a string of 4 GiB for a command", after(b"\x82\xa7Command\xdb\xff\xff\xff\xff", b'x')),
        ("a map of 4 Gi fields", after(b"\xdf\xff\xff\xff\xff", 0xc0)),
        ("an array of 4 Gi fields", after(b"\xdd\xff\xff\xff\xff", 0xc0)),
        ("arrays in arrays", after(b"", 0x91)),
        ("maps in maps in a body", after(&[&event[..], b"\x81\xa4Name"].concat(), 0x81)),
        ("a payload of 4 GiB", after(&[&event[..], b"\x81\xa7Payload\xc6\xff\xff\xff\xff"].concat(), 7)),
    ];
    shapes.into_iter().flat_map(|(name, bytes)| [(name, false, bytes.clone()), (name, true, bytes)]).collect()
}

#[test]
fn a_crowd_of_bad_clients_costs_others_nothing_and_the_agent_little() {
    const TICKS: usize = 300;
    const ASKED: u64 = 1000;
    // Streams of the client that does not read: the more, the sooner it has no room.
    const LAZY: usize = 8;
    let agent = Agent::started(Program::Ours, "popular", &["-log-level=warn"]);
    let files = agent.open_files();
    let still = |what: &str| {
        // For whoever wants to know: `cargo test -p serf-cli crowd -- --nocapture`.
        eprintln!(
            "{what}: {:?} KiB without the program and at most with it, {:?} files",
            agent.memory(),
            agent.open_files()
        );
        is_modest(&agent, what);
    };
    still("at rest");

    // To be sent away in half a minute, whatever they have said by then.
    let mut silent: Vec<TcpStream> = (0..20).map(|_| client(&agent)).collect();
    for (n, stream) in silent.iter_mut().enumerate() {
        stream.write_all(&HANDSHAKE[..n]).expect("written");
    }
    let idle: Vec<TcpStream> = (0..200).map(|_| shaken(&agent)).collect();
    let mut readers: Vec<Reader> = (0..49).map(|_| opened(&agent, "user:tick", 1)).collect();
    let mut lazy = opened(&agent, "user", LAZY as u64);
    let monitor = {
        let mut stream = shaken(&agent);
        let body = MonitorRequest { log_level: "trace".into() };
        stream
            .write_all(&request(Command::Monitor, 2, Some(&|writer| body.encode(writer))))
            .expect("written");
        stream
    };
    still("with a crowd");

    let from = lazy.stream.local_addr().expect("it is bound");
    let lost = || dropped(&agent.log(), "event", &from.to_string());
    let monitored = monitor.local_addr().expect("it is bound");
    let lines_lost = || dropped(&agent.log(), "logs", &monitored.to_string());
    let mut noise = 0;
    let told = thread::scope(|scope| {
        // What one client gets meanwhile: every answer, and the right one.
        let served = scope.spawn(|| {
            let mut stream = shaken(&agent);
            let mut reader = Reader::of(&stream);
            for seq in 0..ASKED {
                let (command, is_list) = [(Command::Members, true), (Command::Stop, false)][seq as usize % 2];
                reader.replies.expect(seq, Some(command));
                let body = StopRequest { stop: 7 };
                let body: Option<&dyn Fn(&mut Writer<'_>)> =
                    if is_list { None } else { Some(&|writer| body.encode(writer)) };
                stream.write_all(&request(command, seq, body)).expect("written");
                let message = reader.next();
                assert_eq!((message.seq, &*message.error, message.body.is_some()), (seq, "", is_list));
            }
        });
        let ticks = scope.spawn(|| fire(&agent, "tick", TICKS, 100));
        for (name, is_shaken, bytes) in garbage() {
            let mut stream = if is_shaken { shaken(&agent) } else { client(&agent) };
            // It may close before all is written, and it waits for more of what is not at its end.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let answer = rest(stream);
            assert!(answer.len() <= 31, "{name}: {}", answer.escape_ascii());
        }
        // More than its socket and its queues have room for, if buffers are what they usually are.
        fire(&agent, "noise", 3000, 400);
        noise += 3000;
        until("those who do not read lose something, and the log tells", || {
            fire(&agent, "noise", 10, 400);
            noise += 10;
            (lost() > 0 && lines_lost() > 0).then_some(())
        });
        served.join().expect("all its requests are answered");
        ticks.join().expect("all events are fired");
        lost()
    });
    still("after the noise");
    for (n, reader) in readers.iter_mut().enumerate() {
        for tick in 0..TICKS {
            let message = reader.next();
            let name = message.body.as_ref().and_then(|body| body.get("Name")).map(Tree::text);
            assert_eq!(name, Some("tick"), "event {tick} of reader {n}");
        }
    }
    // Nothing more came to them: the next is the last.
    fire(&agent, "tick", 1, 1);
    readers.iter_mut().for_each(|reader| drop(reader.next()));

    // Whatever was not told as lost has come, and all that came was told once.
    let mut got = 0;
    until(&format!("{told} of {noise} are lost, the others come"), || {
        got += lazy.arrived();
        (got + lost() == LAZY * (noise + TICKS + 1)).then_some(())
    });
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains("Dropping")).count();
    assert!((1..=40).contains(&lines), "{lines} lines about losses");

    for (n, stream) in silent.into_iter().enumerate() {
        assert_eq!(rest(stream), b"", "client {n} has not shaken hands");
    }
    drop((idle, readers, lazy, monitor));
    still("with one client");

    // More than there are places: those who come too late are closed, those who are in stay.
    let mut crowd: Vec<TcpStream> = (0..CLIENTS_MAX + 88).map(|_| client(&agent)).collect();
    let mut places = 0;
    for stream in &mut crowd {
        // It may be closed already.
        let _ = stream.write_all(HANDSHAKE);
        let mut first = [0];
        places += usize::from(matches!(stream.read(&mut first), Ok(1)));
    }
    // A place that has been left is free as soon as the agent has seen that, and some are left here and there.
    assert!((CLIENTS_MAX - 10..=CLIENTS_MAX).contains(&places), "{places} places");
    agent.wait_log(&format!("{CLIENTS_MAX} clients are connected"));
    still("with as many as there may be");
    drop(crowd);
    if let Some(files) = files {
        until("all connections are closed", || (agent.open_files()? <= files).then_some(()));
    }
    is_served(&agent);
    still("at last");
}

#[test]
fn ten_thousand_requests_in_one_go_are_answered_to_whoever_reads_late() {
    const ASKED: usize = 10_000;
    let agent = Agent::started(Program::Ours, "asked", &["-log-level=warn"]);
    let mut stream = shaken(&agent);
    let mut reader = Reader::of(&stream);
    (0..ASKED as u64).for_each(|seq| reader.replies.expect(seq, Some(Command::Stats)));
    thread::scope(|scope| {
        let requests: Vec<u8> =
            (0..ASKED as u64).flat_map(|seq| request(Command::Stats, seq, None)).collect();
        scope.spawn(move || stream.write_all(&requests).expect("all are read at last"));
        // Others do not wait for it.
        is_served(&agent);
        for seq in 0..ASKED as u64 {
            let message = reader.next();
            assert_eq!((message.seq, &*message.error, message.body.is_some()), (seq, "", true));
        }
    });
    is_modest(&agent, "answers that wait");
}

#[test]
fn streams_end_somewhere_for_one_client_and_for_all() {
    let agent = Agent::started(Program::Ours, "streaming", &["-log-level=warn"]);
    let refusal = |client: &mut Reader, seq: u64| {
        client.replies.expect(seq, Some(Command::Stream));
        client.stream.write_all(&stream(seq, "user")).expect("written");
        client.next().error
    };
    let mut clients: Vec<Reader> = (0..16).map(|_| opened(&agent, "user", 64)).collect();
    assert_eq!(refusal(&mut clients[0], 99), "too many streams: the limit is 64");
    let mut late = opened(&agent, "user", 0);
    assert_eq!(refusal(&mut late, 2), "too many streams: the limit for all clients is 1024");
    // Each gets each event on each.
    fire(&agent, "e", 1, 10);
    for client in &mut clients {
        (0..64).for_each(|_| assert!(client.next().is_record));
    }
    drop(clients);
    until("there is room again", || refusal(&mut late, 2).is_empty().then_some(()));
    fire(&agent, "e", 1, 10);
    assert!(late.next().is_record);
}

/// With a token, and without: whoever has not got in after half a minute is in the way.
#[test]
fn strangers_are_sent_away_and_the_others_stay() {
    let mut agent = Agent::new(Program::Ours, "locked", &["-config-file=auth.json"]);
    agent.write("auth.json", r#"{"rpc_auth": "token"}"#);
    agent.spawn(&[]);
    agent.wait_log("==> Serf agent running!");
    let auth = |token: &str| {
        let body = AuthRequest { auth_key: token.into() };
        request(Command::Auth, 2, Some(&|writer| body.encode(writer)))
    };
    let unshaken = b"\x82\xa7Command\xa9handshake\xa3Seq\x01\x81\xa7Version\x02";
    let strangers =
        [b"".to_vec(), unshaken.repeat(2), HANDSHAKE.to_vec(), [HANDSHAKE, &auth("guess")].concat()];
    let strangers: Vec<TcpStream> = strangers
        .iter()
        .map(|bytes| {
            let mut stream = client(&agent);
            stream.write_all(bytes).expect("written");
            stream
        })
        .collect();
    let mut known = shaken(&agent);
    known.write_all(&auth("token")).expect("written");
    let mut reader = Reader::of(&known);
    assert_eq!(reader.next().error, "");
    for (n, stream) in strangers.into_iter().enumerate() {
        let said = rest(stream);
        assert!(said.len() < 200, "stranger {n}: {}", said.escape_ascii());
    }
    reader.replies.expect(3, Some(Command::Members));
    known.write_all(&request(Command::Members, 3, None)).expect("written");
    assert!(reader.next().body.is_some());
}

/// A client whose machine has vanished says nothing any more, and no more than a silent one: the system has to ask.
#[test]
#[cfg(target_os = "linux")]
fn silent_clients_are_asked_whether_they_are_there() {
    let agent = Agent::started(Program::Ours, "asking", &[]);
    let stream = shaken(&agent);
    let hex = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else { panic!("{address}") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let (here, there) = (stream.local_addr().expect("bound"), stream.peer_addr().expect("connected"));
    let ends = format!(" {} {} 01 ", hex(there), hex(here));
    until("a timer of the second kind runs", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the system's table of sockets");
        let socket = sockets.lines().find(|line| line.contains(&ends)).expect("the agent's end");
        // After both ends: the state, the queues, and the timer, of which that is the kind.
        socket.split_whitespace().nth(5)?.starts_with("02:").then_some(())
    });
}
