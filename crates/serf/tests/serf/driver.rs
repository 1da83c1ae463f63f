//! The driver, with a machine that sends back what it gets. Where a port is used again it is one of a host that no
//! other test uses: it would take the port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serf::driver::{Closed, Driver, Owner, Remote, WeakRemote};
use serf::runtime;
use serf::transport::{BindError, Plain, Sockets, Transport};
use serf_gossip::{
    Address, Input, Instant, Machine, Output, Reason, StreamAction, StreamEvent, StreamId, Transmit,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use crate::{on_both, within};

/// Sends datagrams back, and on accepted streams every byte; tells what it sees.
#[derive(Default)]
struct Echo {
    outputs: Vec<Output<Seen>>,
    /// Bytes not yet written of accepted streams, and whether the peer has ended its side.
    echoing: BTreeMap<StreamId, (usize, bool)>,
    due: Option<Instant>,
    datagrams: u64,
}

#[derive(Debug)]
enum Ask {
    Act(StreamId, StreamAction),
    Send(Transmit),
    WakeIn(Duration),
    Panic,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Accepted(StreamId),
    Connected(StreamId),
    Data(StreamId, Vec<u8>),
    Written(StreamId),
    Ended(StreamId),
    Failed(StreamId, String),
    /// A deadline was reached; how many datagrams had come by then.
    Woken {
        early: bool,
        datagrams: u64,
    },
}

impl Machine for Echo {
    type Command = Ask;
    type Event = Seen;

    fn handle(&mut self, now: Instant, input: Input<'_, Ask>) {
        match input {
            Input::Timeout => {
                if let Some(due) = self.due.take() {
                    let datagrams = self.datagrams;
                    self.outputs.push(Output::Event(Seen::Woken { early: now < due, datagrams }));
                }
            }
            Input::Datagram { from, bytes } => {
                self.datagrams += 1;
                let bytes = bytes.to_vec();
                self.outputs.push(Output::Datagram(Transmit { to: from, node: None, bytes }));
            }
            Input::Stream { id, event } => self.stream(id, event),
            Input::Command(Ask::Act(id, action)) => self.outputs.push(Output::Stream { id, action }),
            Input::Command(Ask::Send(transmit)) => self.outputs.push(Output::Datagram(transmit)),
            Input::Command(Ask::WakeIn(time)) => self.due = Some(now + time),
            Input::Command(Ask::Panic) => panic!("asked for"),
        }
    }

    fn poll(&mut self) -> Output<Seen> {
        if self.outputs.is_empty() {
            let reason = if self.due.is_some() { Reason::Command } else { Reason::Idle };
            return Output::Timeout(self.due, reason);
        }
        self.outputs.remove(0)
    }
}

impl Echo {
    fn stream(&mut self, id: StreamId, event: StreamEvent<'_>) {
        let seen = match event {
            StreamEvent::Accepted { .. } => {
                self.echoing.insert(id, (0, false));
                Seen::Accepted(id)
            }
            StreamEvent::Connected => Seen::Connected(id),
            StreamEvent::Data(bytes) => {
                if let Some((unwritten, _)) = self.echoing.get_mut(&id) {
                    *unwritten += bytes.len();
                    self.outputs.push(Output::Stream { id, action: StreamAction::Write(bytes.to_vec()) });
                    return;
                }
                Seen::Data(id, bytes.to_vec())
            }
            StreamEvent::Written => {
                if let Some((unwritten, _)) = self.echoing.get_mut(&id) {
                    *unwritten = 0;
                    return self.close_if_done(id);
                }
                Seen::Written(id)
            }
            StreamEvent::Ended => {
                if let Some((_, ended)) = self.echoing.get_mut(&id) {
                    *ended = true;
                    return self.close_if_done(id);
                }
                Seen::Ended(id)
            }
            StreamEvent::Failed(why) => Seen::Failed(id, why),
        };
        self.outputs.push(Output::Event(seen));
    }

    fn close_if_done(&mut self, id: StreamId) {
        if self.echoing.get(&id) == Some(&(0, true)) {
            self.echoing.remove(&id);
            self.outputs.push(Output::Stream { id, action: StreamAction::Close });
        }
    }
}

struct Desk(mpsc::UnboundedSender<Seen>);

enum Request {
    Ask(Ask),
    /// Answers with the number of datagrams that came.
    Count(oneshot::Sender<u64>),
}

impl Owner<Echo> for Desk {
    type Request = Request;

    fn request(&mut self, machine: &mut Echo, request: Request) -> Option<Ask> {
        match request {
            Request::Ask(ask) => Some(ask),
            Request::Count(answer) => {
                let _ = answer.send(machine.datagrams);
                None
            }
        }
    }

    fn event(&mut self, _machine: &mut Echo, event: Seen) {
        let _ = self.0.send(event);
    }
}

/// A driver that runs an [`Echo`].
struct Node {
    remote: Remote<Request>,
    seen: mpsc::UnboundedReceiver<Seen>,
    addr: SocketAddr,
}

impl Node {
    fn start(bind: &str) -> Self {
        let sockets = open(bind.parse().unwrap()).unwrap();
        let addr = sockets.local;
        let (sender, seen) = mpsc::unbounded_channel();
        Self {
            remote: Driver::spawn(Echo::default(), Desk(sender), sockets, runtime::current().unwrap()),
            seen,
            addr,
        }
    }

    async fn ask(&self, ask: Ask) {
        self.remote.send(Request::Ask(ask)).await.unwrap();
    }

    async fn act(&self, id: StreamId, action: StreamAction) {
        self.ask(Ask::Act(id, action)).await;
    }

    /// The number of datagrams that came. Everything asked before has been done by then.
    async fn count(&self) -> u64 {
        let (answer, count) = oneshot::channel();
        self.remote.send(Request::Count(answer)).await.unwrap();
        count.await.unwrap()
    }

    async fn seen(&mut self) -> Seen {
        within(self.seen.recv()).await.unwrap()
    }

    /// A dialled stream and its other end.
    async fn dial(&mut self, id: StreamId) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Address::from(listener.local_addr().unwrap());
        self.act(id, StreamAction::Dial { to, node: None }).await;
        let (peer, _) = within(listener.accept()).await.unwrap();
        assert_eq!(self.seen().await, Seen::Connected(id));
        peer
    }
}

fn open(addr: SocketAddr) -> Result<Sockets, BindError> {
    Plain.bind(addr, &runtime::current().unwrap())
}

/// Waits until a port can be bound again.
async fn freed(addr: SocketAddr) {
    within(async {
        while open(addr).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

const FIRST: StreamId = StreamId(2);

#[test]
fn datagrams_go_both_ways() {
    on_both(async || {
        for (bind, peer) in
            [("127.0.0.3:0", "127.0.0.4:0"), ("0.0.0.0:0", "127.0.0.1:0"), ("0.0.0.0:0", "[::1]:0")]
        {
            let node = Node::start(bind);
            let Ok(socket) = UdpSocket::bind(peer).await else { continue };
            let host = if bind.starts_with('0') { socket.local_addr().unwrap().ip() } else { node.addr.ip() };
            let mut buffer = vec![0; 65_536];
            for len in [0, 1, 1400, 60_000] {
                let sent = vec![7; len];
                socket.send_to(&sent, (host, node.addr.port())).await.unwrap();
                let (n, _) = within(socket.recv_from(&mut buffer)).await.unwrap();
                assert_eq!(buffer[..n], sent);
            }
            // A datagram may arrive before the sender has counted it.
            node.count().await;
            let stats = node.remote.stats();
            assert_eq!((stats.datagrams_received, stats.datagrams_sent, stats.send_errors), (4, 4, 0));
        }
    });
}

#[test]
fn datagrams_that_cannot_be_sent_are_counted_and_harm_nothing() {
    on_both(async || {
        let node = Node::start("127.0.0.1:0");
        for to in
            [Address::new(b"no address", 1), Address::new(&[0x20; 16], 1), Address::new(&[127, 0, 0, 1], 0)]
        {
            node.ask(Ask::Send(Transmit { to, node: None, bytes: vec![1] })).await;
        }
        node.ask(Ask::Send(Transmit { to: node.addr.into(), node: None, bytes: vec![0; 65_536] })).await;
        within(async {
            while node.remote.stats().send_errors < 4 {
                node.count().await;
            }
        })
        .await;
    });
}

#[test]
fn an_accepted_stream_is_served_after_its_peer_has_ended_its_side() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let mut peer = TcpStream::connect(node.addr).await.unwrap();
        assert_eq!(node.seen().await, Seen::Accepted(StreamId(1)));
        let sent: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        peer.write_all(&sent).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut got = Vec::new();
        within(peer.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, sent);
        let _second = TcpStream::connect(node.addr).await.unwrap();
        assert_eq!(node.seen().await, Seen::Accepted(StreamId(3)));
    });
}

#[test]
fn a_dialled_stream_goes_both_ways_and_closes() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let mut peer = node.dial(FIRST).await;
        node.act(FIRST, StreamAction::Write(b"hello".to_vec())).await;
        assert_eq!(node.seen().await, Seen::Written(FIRST));
        let mut got = [0; 5];
        within(peer.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"hello");

        peer.write_all(b"good bye").await.unwrap();
        assert_eq!(node.seen().await, Seen::Data(FIRST, b"good bye".to_vec()));
        peer.shutdown().await.unwrap();
        assert_eq!(node.seen().await, Seen::Ended(FIRST));

        // What is written right before the close still arrives.
        node.act(FIRST, StreamAction::Write(vec![9; 300_000])).await;
        node.act(FIRST, StreamAction::Close).await;
        let mut rest = Vec::new();
        within(peer.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest.len(), 300_000);
        assert!(node.seen.try_recv().is_err(), "nothing is told of a closed stream");
    });
}

#[test]
fn the_last_words_survive_a_peer_that_still_talks() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let mut peer = node.dial(FIRST).await;
        // Never read by the machine: without care, the kernel would answer with a reset.
        peer.write_all(&[1; 100_000]).await.unwrap();
        node.act(FIRST, StreamAction::Write(b"no".to_vec())).await;
        node.act(FIRST, StreamAction::Close).await;
        peer.write_all(&[1; 100_000]).await.unwrap();
        let mut got = Vec::new();
        within(peer.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, b"no");
    });
}

#[test]
fn a_big_write_waits_for_its_reader() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let mut peer = node.dial(FIRST).await;
        const LEN: usize = 32 << 20;
        node.act(FIRST, StreamAction::Write(vec![3; LEN])).await;
        // More than all buffers of the kernel hold: it cannot be written yet, and the node is not held up by it.
        for _ in 0..1000 {
            node.count().await;
        }
        assert!(node.seen.try_recv().is_err());
        let mut got = vec![0; LEN];
        within(peer.read_exact(&mut got)).await.unwrap();
        assert!(got.iter().all(|b| *b == 3));
        assert_eq!(node.seen().await, Seen::Written(FIRST));
    });
}

#[test]
fn much_is_echoed_while_much_is_sent() {
    on_both(async || {
        let node = Node::start("127.0.0.1:0");
        let (mut reader, mut writer) = TcpStream::connect(node.addr).await.unwrap().into_split();
        const LEN: usize = 16 << 20;
        let sending = tokio::spawn(async move {
            writer.write_all(&vec![5; LEN]).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        within(reader.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got.len(), LEN);
        sending.await.unwrap();
    });
}

#[test]
fn an_aborted_stream_is_gone_at_once() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let mut peer = node.dial(FIRST).await;
        node.act(FIRST, StreamAction::Write(vec![3; 64 << 20])).await;
        node.act(FIRST, StreamAction::Abort).await;
        let mut got = Vec::new();
        let _ = within(peer.read_to_end(&mut got)).await;
        assert!(got.len() < 64 << 20);
        node.act(FIRST, StreamAction::Write(vec![1])).await;
        node.count().await;
        assert!(node.seen.try_recv().is_err());
    });
}

#[test]
fn a_dial_can_be_aborted() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        // A listener with a full queue lets further connections wait; and nobody hears of an aborted one.
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let to = Address::from(listener.local_addr().unwrap().as_socket().unwrap());
        for n in 1..=8 {
            node.act(StreamId(2 * n), StreamAction::Dial { to: to.clone(), node: None }).await;
        }
        for n in 1..=8 {
            node.act(StreamId(2 * n), StreamAction::Abort).await;
        }
        while let Ok(seen) = node.seen.try_recv() {
            assert!(matches!(seen, Seen::Connected(_)), "{seen:?}");
        }
        within(node.remote.shutdown()).await;
    });
}

#[test]
fn a_refused_dial_says_so_in_the_usual_words() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let nobody = TcpListener::bind("127.0.1.4:0").await.unwrap().local_addr().unwrap();
        node.act(FIRST, StreamAction::Dial { to: nobody.into(), node: None }).await;
        let text = format!("dial tcp {nobody}: connect: connection refused");
        assert_eq!(node.seen().await, Seen::Failed(FIRST, text));
        node.act(StreamId(4), StreamAction::Dial { to: Address::new(b"x", 1), node: None }).await;
        let text = "dial tcp 0x78:1: not an IP address".to_owned();
        assert_eq!(node.seen().await, Seen::Failed(StreamId(4), text));
    });
}

#[test]
fn a_broken_stream_is_told() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let peer = node.dial(FIRST).await;
        node.act(FIRST, StreamAction::Write(vec![1])).await;
        assert_eq!(node.seen().await, Seen::Written(FIRST));
        // Closing with bytes unread resets the connection.
        within(peer.readable()).await.unwrap();
        drop(peer);
        let Seen::Failed(FIRST, why) = node.seen().await else { panic!() };
        assert!(why.starts_with("read tcp 127.0.0.1:"), "{why}");
        assert!(why.ends_with(": read: connection reset by peer"), "{why}");
    });
}

/// A machine that was stopped, or whose host is overloaded, finds its deadlines passed and what it waited for in the
/// socket. If it were told of the deadlines first it would take the others for dead.
#[test]
fn what_came_before_an_overdue_deadline_is_told_before_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut node = Node::start("127.0.0.1:0");
        node.ask(Ask::WakeIn(Duration::from_millis(500))).await;
        node.count().await;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        const MANY: u64 = 200;
        for _ in 0..MANY {
            socket.send_to(&[0], node.addr).unwrap();
        }
        // The only thread there is stands still, and the driver with it.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(600) {
            std::hint::spin_loop();
        }
        assert_eq!(node.seen().await, Seen::Woken { early: false, datagrams: MANY });
    });
}

#[test]
fn deadlines_wake_and_nothing_else_does() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        node.count().await;
        let before = node.remote.stats().wakes;
        node.ask(Ask::WakeIn(Duration::from_millis(50))).await;
        assert_eq!(node.seen().await, Seen::Woken { early: false, datagrams: 0 });
        // One for the request, one for the deadline; the sockets may tell of their readiness late, once each.
        assert!(node.remote.stats().wakes <= before + 4);
        // A later deadline replaces an earlier one, and one that is over is due at once.
        node.ask(Ask::WakeIn(Duration::from_secs(3600))).await;
        node.ask(Ask::WakeIn(Duration::ZERO)).await;
        assert_eq!(node.seen().await, Seen::Woken { early: false, datagrams: 0 });
        node.ask(Ask::WakeIn(Duration::MAX)).await;
        node.count().await;
        assert!(node.seen.try_recv().is_err());
    });
}

#[test]
fn after_a_shutdown_the_port_is_free_at_once() {
    on_both(async || {
        let mut node = Node::start("127.0.1.1:0");
        let mut peers = Vec::new();
        for _ in 0..10 {
            peers.push(TcpStream::connect(node.addr).await.unwrap());
            node.seen().await;
        }
        node.dial(FIRST).await;
        let other = node.remote.clone();
        within(node.remote.shutdown()).await;
        open(node.addr).unwrap();
        assert!(other.is_closed());
        within(other.shutdown()).await;
        assert_eq!(other.send(Request::Ask(Ask::Panic)).await, Err(Closed));
        for mut peer in peers {
            // The end, or a reset: either way it does not hang.
            let _ = within(peer.read(&mut [0])).await;
        }
    });
}

#[test]
fn dropping_the_last_handle_frees_the_port() {
    on_both(async || {
        let node = Node::start("127.0.1.2:0");
        let _peer = TcpStream::connect(node.addr).await.unwrap();
        let clone = node.remote.clone();
        drop(node.remote);
        assert!(!clone.is_closed());
        clone.send(Request::Ask(Ask::WakeIn(Duration::ZERO))).await.unwrap();
        drop(clone);
        freed(node.addr).await;
    });
}

#[test]
fn two_hundred_idle_connections_are_no_matter() {
    on_both(async || {
        let mut node = Node::start("127.0.0.1:0");
        let mut peers = Vec::new();
        for _ in 0..200 {
            peers.push(TcpStream::connect(node.addr).await.unwrap());
            node.seen().await;
        }
        node.count().await;
        let before = node.remote.stats().wakes;
        node.count().await;
        // One for the request; the sockets may tell of their readiness late, once each.
        assert!(node.remote.stats().wakes <= before + 3, "idle connections wake nobody");
        for peer in &mut peers {
            peer.write_all(b"!").await.unwrap();
            assert_eq!(within(peer.read_u8()).await.unwrap(), b'!');
        }
    });
}

#[test]
fn a_machine_that_panics_closes_its_driver() {
    on_both(async || {
        let node = Node::start("127.0.1.3:0");
        node.ask(Ask::Panic).await;
        within(node.remote.closed()).await;
        assert_eq!(node.remote.send(Request::Ask(Ask::Panic)).await, Err(Closed));
        within(node.remote.shutdown()).await;
        freed(node.addr).await;
    });
}

/// Sends each request back as what it has seen, and takes the first for the end.
struct Brief(bool, WeakRemote<Ask>);

impl Owner<Echo> for Brief {
    type Request = Ask;

    fn request(&mut self, _machine: &mut Echo, request: Ask) -> Option<Ask> {
        // Whoever knows the way to its own driver does not keep it going, and is not kept waiting by it.
        self.1.send_soon(Ask::WakeIn(Duration::ZERO));
        Some(request)
    }

    fn event(&mut self, _machine: &mut Echo, _event: Seen) {
        self.0 = true;
    }

    fn is_over(&self) -> bool {
        self.0
    }
}

#[test]
fn a_driver_ends_when_its_owner_says_so() {
    on_both(async || {
        let sockets = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let remote = Driver::spawn_with(
            Echo::default(),
            |weak| Brief(false, weak),
            sockets,
            runtime::current().unwrap(),
        );
        let weak = remote.downgrade();
        within(remote.send(Ask::WakeIn(Duration::ZERO))).await.unwrap();
        within(remote.closed()).await;
        assert_eq!(within(remote.send(Ask::Panic)).await, Err(Closed));
        assert_eq!(within(weak.send(Ask::Panic)).await, Err(Closed));
    });
}

#[test]
fn a_weak_remote_does_not_keep_a_driver_going() {
    on_both(async || {
        let Node { remote, addr, .. } = Node::start("127.0.1.77:0");
        let weak = remote.downgrade();
        let (answer, count) = oneshot::channel();
        within(weak.send(Request::Count(answer))).await.unwrap();
        assert_eq!(within(count).await, Ok(0));
        drop(remote);
        freed(addr).await;
        assert_eq!(within(weak.send(Request::Ask(Ask::Panic))).await, Err(Closed));
    });
}

/// A request may be on its way into the queue while the driver ends. Nobody would ever take it out; and whoever asked
/// holds, with the way to the driver, what it lies in.
#[test]
fn whatever_is_asked_at_the_end_is_answered_or_dropped() {
    on_both(async || {
        for _ in 0..200 {
            let node = Node::start("127.0.0.1:0");
            let asking: Vec<_> = (0..8)
                .map(|_| {
                    let remote = node.remote.clone();
                    tokio::spawn(async move {
                        loop {
                            let (answer, count) = oneshot::channel();
                            if remote.send(Request::Count(answer)).await.is_err() || count.await.is_err() {
                                return;
                            }
                        }
                    })
                })
                .collect();
            node.count().await;
            within(node.remote.shutdown()).await;
            for asking in asking {
                within(asking).await.unwrap();
            }
        }
    });
}

#[test]
fn what_cannot_wait_for_a_place_gets_one_nevertheless() {
    on_both(async || {
        let node = Node::start("127.0.0.1:0");
        let weak = node.remote.downgrade();
        let mut counts = Vec::new();
        // Far more than there are places.
        for _ in 0..500 {
            let (answer, count) = oneshot::channel();
            weak.send_soon(Request::Count(answer));
            counts.push(count);
        }
        for count in counts {
            assert_eq!(within(count).await, Ok(0));
        }
    });
}

#[test]
fn a_flood_of_datagrams_delays_no_request() {
    on_both(async || {
        let node = Node::start("127.0.0.1:0");
        let to = node.addr;
        let flood = tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            loop {
                for _ in 0..20 {
                    let _ = socket.send_to(&[1; 1000], to).await;
                }
                tokio::task::yield_now().await;
            }
        });
        within(async {
            while node.count().await < 1000 {}
            for _ in 0..100 {
                node.count().await;
            }
        })
        .await;
        flood.abort();
    });
}

#[test]
fn a_flood_of_requests_makes_nobody_deaf() {
    on_both(async || {
        let node = Node::start("127.0.0.1:0");
        let floods: Vec<_> = (0..4)
            .map(|_| {
                let remote = node.remote.clone();
                tokio::spawn(async move {
                    loop {
                        // As soon as one is done, the next is there: the queue is never empty.
                        let requests = (0..64).map(|_| remote.send(Request::Ask(Ask::WakeIn(Duration::MAX))));
                        for request in requests {
                            if request.await.is_err() {
                                return;
                            }
                        }
                    }
                })
            })
            .collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..20 {
            socket.send_to(b"ping", node.addr).await.unwrap();
            within(socket.recv(&mut [0; 4])).await.unwrap();
        }
        floods.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
