//! What every transport promises on every runtime: one list of cases, run for each pair.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use serf::net::{Connection, Datagrams};
use serf::runtime::{Runtime, Tokio};
use serf::transport::{Memory, Plain, Sockets, Transport};
use serf::{Answer, Config, Event, Events, Query, Serf, Status, Tags};

use crate::LIMIT;

/// One pair.
struct World {
    runtime: Arc<dyn Runtime>,
    transport: Arc<dyn Transport>,
}

type Case = Pin<Box<dyn Future<Output = ()>>>;

/// Runs every case for every transport that is built in, on one runtime.
macro_rules! on {
    ($runtime:ident) => {
        pub(super) mod $runtime {
            use super::super::*;
            transport!($runtime, plain, Arc::new(Plain));
            transport!($runtime, memory, Arc::new(Memory::new()));
            #[cfg(feature = "tls")]
            transport!($runtime, tls, Arc::new(serf::transport::Tls::new(&credentials())));
            #[cfg(feature = "quic")]
            transport!($runtime, quic, Arc::new(serf::transport::Quic::new(&credentials())));
        }
    };
}

/// One certificate for all nodes.
#[cfg(any(feature = "quic", feature = "tls"))]
fn credentials() -> serf::transport::Credentials {
    crate::secure::certificates::Authority::new().node("any").bind_names(false)
}

macro_rules! transport {
    ($runtime:ident, $transport:ident, $make:expr) => {
        mod $transport {
            use super::*;
            cases!($runtime, $make; datagrams_arrive_with_their_sender, datagrams_to_nobody_harm_nobody,
                much_goes_both_ways_at_once, one_side_may_end_before_the_other, what_nobody_reads_is_bounded,
                a_silent_peer_delays_nobody, many_connections_are_kept_apart, a_peer_that_is_gone_is_noticed,
                a_dial_to_nobody_fails, what_is_dropped_frees_its_address, addresses_may_be_of_ipv6,
                nodes_form_a_cluster, a_node_that_is_gone_is_found_failed);
        }
    };
}

macro_rules! cases {
    ($runtime:ident, $make:expr; $($case:ident),*) => {
        $(#[test]
        fn $case() {
            runners::$runtime($make, |world| Box::pin(super::super::super::$case(world)));
        })*
    };
}

mod on {
    on!(tokio_single);
    on!(tokio_multi);
    #[cfg(feature = "smol")]
    on!(smol);
    #[cfg(feature = "threads")]
    on!(threads);
}

/// How to run a case on each runtime.
mod runners {
    use super::*;

    pub(super) fn tokio_single(transport: Arc<dyn Transport>, case: fn(World) -> Case) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let runtime = Arc::new(Tokio::new(tokio.handle().clone()));
        tokio.block_on(case(World { runtime, transport }));
    }

    pub(super) fn tokio_multi(transport: Arc<dyn Transport>, case: fn(World) -> Case) {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let runtime = Arc::new(Tokio::new(tokio.handle().clone()));
        // From outside of it: handles need no runtime around them.
        serf::runtime::block_on(case(World { runtime, transport }));
    }

    #[cfg(feature = "smol")]
    pub(super) fn smol(transport: Arc<dyn Transport>, case: fn(World) -> Case) {
        smol::block_on(case(World { runtime: Arc::new(serf::runtime::Smol), transport }));
    }

    #[cfg(feature = "threads")]
    pub(super) fn threads(transport: Arc<dyn Transport>, case: fn(World) -> Case) {
        serf::runtime::block_on(case(World { runtime: Arc::new(serf::runtime::Threads), transport }));
    }
}

impl World {
    /// The future's result, or a failure if it takes too long.
    async fn within<F: Future>(&self, future: F) -> F::Output {
        self.for_at_most(LIMIT, future).await.expect("took too long")
    }

    async fn for_at_most<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut alarm = self.runtime.alarm(Instant::now() + time);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    fn bind(&self, addr: &str) -> Sockets {
        self.transport.bind(addr.parse().unwrap(), &self.runtime).unwrap()
    }

    fn pair(&self) -> (Sockets, Sockets) {
        (self.bind("127.0.0.1:0"), self.bind("127.0.0.1:0"))
    }

    /// Both ends of a new connection. Some transports tell of one only when something was said.
    async fn connect(&self, from: &Sockets, to: &mut Sockets) -> (Box<dyn Connection>, Box<dyn Connection>) {
        let mut dial = from.dialer.dial(to.local.into(), None);
        let (mut near, mut far) = (None, None);
        let mut said = false;
        self.within(poll_fn(|cx| {
            if near.is_none()
                && let Poll::Ready(dialled) = dial.as_mut().poll(cx)
            {
                near = Some(dialled.unwrap());
            }
            if let Some(near) = &mut near
                && !said
                && write_some(&mut **near, b"!", cx).is_ready()
            {
                said = true;
            }
            if let Some(near) = &mut near {
                let _ = near.poll_flush(cx);
            }
            if far.is_none()
                && let Poll::Ready(accepted) = to.listener.poll_accept(cx)
            {
                far = Some(accepted.unwrap().0);
            }
            let Some(far) = &mut far else { return Poll::Pending };
            loop {
                ready!(far.poll_readable(cx)).unwrap();
                match far.try_read(&mut [0]) {
                    Ok(len) => break assert_eq!(len, 1),
                    Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
                }
            }
            Poll::Ready(())
        }))
        .await;
        (near.unwrap(), far.unwrap())
    }

    /// Sends until it arrives: any transport may lose a datagram.
    async fn deliver(&self, from: &mut Sockets, to: &mut Sockets, bytes: &[u8]) {
        let address = to.local.into();
        let mut buffer = vec![0; 65_536];
        for _ in 0..600 {
            self.within(send(&mut *from.datagrams, &address, bytes)).await;
            // Whoever sends is polled as well: it may have to agree upon something first.
            let arrived = self.for_at_most(Duration::from_millis(100), async {
                loop {
                    let (len, sender) = receive_either(from, to, &mut buffer).await;
                    if buffer[..len] == *bytes {
                        return sender;
                    }
                }
            });
            if let Some(sender) = arrived.await {
                return assert_eq!(sender, from.local);
            }
        }
        panic!("{} bytes never arrived", bytes.len());
    }
}

/// What comes to `to`; `from` is read as well, and ought to get nothing.
async fn receive_either(from: &mut Sockets, to: &mut Sockets, buffer: &mut [u8]) -> (usize, SocketAddr) {
    poll_fn(|cx| {
        while let Poll::Ready(ready) = from.datagrams.poll_readable(cx) {
            ready.unwrap();
            match from.datagrams.try_receive(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Nobody was there for what was sent before.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                other => panic!("{other:?}"),
            }
        }
        loop {
            ready!(to.datagrams.poll_readable(cx)).unwrap();
            match to.datagrams.try_receive(buffer) {
                Ok((len, sender)) => return Poll::Ready((len, sender.socket_addr().unwrap())),
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
    })
    .await
}

async fn send(datagrams: &mut dyn Datagrams, to: &serf::Address, bytes: &[u8]) {
    poll_fn(|cx| {
        loop {
            match datagrams.try_send(to, None, bytes) {
                Ok(()) => return Poll::Ready(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Lost.
                Err(_) => return Poll::Ready(()),
            }
            ready!(datagrams.poll_writable(cx)).unwrap();
        }
    })
    .await;
}

fn write_some(
    connection: &mut dyn Connection,
    bytes: &[u8],
    cx: &mut std::task::Context<'_>,
) -> Poll<io::Result<usize>> {
    loop {
        match connection.try_write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(connection.poll_writable(cx))?,
            result => return Poll::Ready(result),
        }
    }
}

async fn write(connection: &mut dyn Connection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = poll_fn(|cx| write_some(connection, bytes, cx)).await?;
        bytes = &bytes[len..];
    }
    poll_fn(|cx| connection.poll_flush(cx)).await
}

async fn finish(connection: &mut dyn Connection) -> io::Result<()> {
    poll_fn(|cx| connection.poll_finish(cx)).await
}

async fn read_to_end(connection: &mut dyn Connection) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        poll_fn(|cx| connection.poll_readable(cx)).await?;
        match connection.try_read(&mut buffer) {
            Ok(0) => return Ok(all),
            Ok(len) => all.extend_from_slice(&buffer[..len]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes all of it and ends, while it reads to the end.
async fn write_and_read(mut connection: Box<dyn Connection>, bytes: Vec<u8>) -> Vec<u8> {
    let (mut at, mut finished, mut got, mut ended) = (0, false, Vec::new(), false);
    let mut buffer = vec![0; 16 << 10];
    poll_fn(|cx| {
        while at < bytes.len() {
            match write_some(&mut *connection, &bytes[at..], cx) {
                Poll::Ready(len) => at += len.unwrap(),
                Poll::Pending => break,
            }
        }
        if at == bytes.len()
            && !finished
            && connection.poll_flush(cx).is_ready()
            && connection.poll_finish(cx).is_ready()
        {
            finished = true;
        }
        while !ended && let Poll::Ready(ready) = connection.poll_readable(cx) {
            ready.unwrap();
            match connection.try_read(&mut buffer) {
                Ok(0) => ended = true,
                Ok(len) => got.extend_from_slice(&buffer[..len]),
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        if finished && ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    got
}

/// Bytes that show when some are missing or in another order.
fn bytes(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn datagrams_arrive_with_their_sender(world: World) {
    let (mut a, mut b) = world.pair();
    for len in [1, 2, 500, 1000, 1400] {
        world.deliver(&mut a, &mut b, &bytes(1, len)).await;
        world.deliver(&mut b, &mut a, &bytes(2, len)).await;
    }
}

async fn datagrams_to_nobody_harm_nobody(world: World) {
    let (mut a, mut b) = world.pair();
    let nobody = world.bind("127.0.0.1:0").local.into();
    for n in 0..100 {
        let _ = a.datagrams.try_send(&nobody, None, &bytes(n, 100));
    }
    // The system may tell with the next one that nobody was there.
    world.deliver(&mut a, &mut b, b"somebody").await;
    // No address at all: an error, or as good as lost.
    let _ = a.datagrams.try_send(&serf::Address::new(b"not an IP", 1), None, b"x");
    world.deliver(&mut a, &mut b, b"somebody again").await;
}

async fn much_goes_both_ways_at_once(world: World) {
    let (a, mut b) = world.pair();
    let (near, far) = world.connect(&a, &mut b).await;
    let (there, back) = (bytes(3, 3_000_000), bytes(4, 2_000_000));
    let mut ends =
        [Box::pin(write_and_read(near, there.clone())), Box::pin(write_and_read(far, back.clone()))];
    let mut results = [None, None];
    world
        .within(poll_fn(|cx| {
            for (end, result) in ends.iter_mut().zip(&mut results) {
                if result.is_none()
                    && let Poll::Ready(got) = end.as_mut().poll(cx)
                {
                    *result = Some(got);
                }
            }
            if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
        }))
        .await;
    assert!(results == [Some(back), Some(there)]);
}

async fn one_side_may_end_before_the_other(world: World) {
    let (a, mut b) = world.pair();
    let (mut near, mut far) = world.connect(&a, &mut b).await;
    world.within(write(&mut *near, b"a question")).await.unwrap();
    world.within(finish(&mut *near)).await.unwrap();
    assert_eq!(world.within(read_to_end(&mut *far)).await.unwrap(), b"a question");
    world.within(write(&mut *far, b"an answer")).await.unwrap();
    world.within(finish(&mut *far)).await.unwrap();
    assert_eq!(world.within(read_to_end(&mut *near)).await.unwrap(), b"an answer");
}

async fn what_nobody_reads_is_bounded(world: World) {
    let (a, mut b) = world.pair();
    let (mut near, mut far) = world.connect(&a, &mut b).await;
    let chunk = bytes(5, 64 << 10);
    let mut sent = 0;
    // Full is who does not take more in a second.
    while let Some(result) =
        world.for_at_most(Duration::from_secs(1), poll_fn(|cx| write_some(&mut *near, &chunk, cx))).await
    {
        sent += result.unwrap();
        assert!(sent < 64 << 20, "there is no bound");
    }
    let mut got = 0;
    let mut buffer = vec![0; 64 << 10];
    while got < sent {
        world
            .within(poll_fn(|cx| {
                let _ = near.poll_flush(cx);
                ready!(far.poll_readable(cx)).unwrap();
                match far.try_read(&mut buffer) {
                    Ok(len) => got += len,
                    Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
                }
                Poll::Ready(())
            }))
            .await;
    }
    assert_eq!(got, sent);
}

async fn a_silent_peer_delays_nobody(world: World) {
    let (a, mut b) = world.pair();
    let c = world.bind("127.0.0.1:0");
    let _silent = world.connect(&a, &mut b).await;
    let (mut near, mut far) = world.connect(&c, &mut b).await;
    world.within(write(&mut *near, b"hello")).await.unwrap();
    world.within(finish(&mut *near)).await.unwrap();
    assert_eq!(world.within(read_to_end(&mut *far)).await.unwrap(), b"hello");
}

async fn many_connections_are_kept_apart(world: World) {
    let (a, mut b) = world.pair();
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(world.connect(&a, &mut b).await);
    }
    for (n, (near, _)) in all.iter_mut().enumerate() {
        world.within(write(&mut **near, &bytes(n as u32, 5000))).await.unwrap();
        world.within(finish(&mut **near)).await.unwrap();
    }
    for (n, (_, far)) in all.iter_mut().enumerate().rev() {
        assert!(world.within(read_to_end(&mut **far)).await.unwrap() == bytes(n as u32, 5000), "{n}");
    }
}

async fn a_peer_that_is_gone_is_noticed(world: World) {
    let (a, mut b) = world.pair();
    let (mut near, far) = world.connect(&a, &mut b).await;
    drop(far);
    // Its end, or that it broke: what matters is that nobody waits for ever.
    let _ = world.within(read_to_end(&mut *near)).await;
    world.within(async { while write(&mut *near, &[0; 1000]).await.is_ok() {} }).await;
}

async fn a_dial_to_nobody_fails(world: World) {
    let a = world.bind("127.0.0.1:0");
    let nobody = world.bind("127.0.0.1:0").local;
    assert!(world.within(a.dialer.dial(nobody.into(), None)).await.is_err());
    assert!(world.within(a.dialer.dial(serf::Address::new(b"not an IP", 1), None)).await.is_err());
}

async fn what_is_dropped_frees_its_address(world: World) {
    let (a, mut b) = world.pair();
    let kept = world.connect(&a, &mut b).await;
    let local = b.local;
    assert!(world.transport.bind(local, &world.runtime).is_err(), "taken");
    drop((kept, b));
    world
        .within(poll_fn(|cx| match world.transport.bind(local, &world.runtime) {
            Ok(sockets) => {
                assert_eq!(sockets.local, local);
                Poll::Ready(())
            }
            Err(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }))
        .await;
}

async fn addresses_may_be_of_ipv6(world: World) {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("no IPv6 on this machine: not tried");
    }
    let (mut a, mut b) = (world.bind("[::1]:0"), world.bind("[::1]:0"));
    world.deliver(&mut a, &mut b, b"datagram").await;
    let (mut near, mut far) = world.connect(&a, &mut b).await;
    world.within(write(&mut *near, b"stream")).await.unwrap();
    world.within(finish(&mut *near)).await.unwrap();
    assert_eq!(world.within(read_to_end(&mut *far)).await.unwrap(), b"stream");
}

impl World {
    fn config(&self, name: &str) -> Config {
        Config {
            transport: self.transport.clone(),
            runtime: Some(self.runtime.clone()),
            ..crate::cluster::config(name, "127.0.0.1:0")
        }
    }

    async fn start(&self, config: Config) -> (Serf, Events) {
        self.within(Serf::start_with_events(config)).await.unwrap()
    }

    /// Waits until a member is seen like this.
    async fn until(&self, serf: &Serf, name: &str, is: impl Fn(&serf::Member) -> bool) {
        self.within(async {
            loop {
                if serf.member(name).await.unwrap().is_some_and(|member| is(&member)) {
                    return;
                }
                self.runtime.alarm(Instant::now() + Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn nodes_form_a_cluster(world: World) {
    let (a, mut events) = world.start(world.config("a")).await;
    // More than one read of a stream, and more than one window of most: all of it goes to whoever joins.
    for n in 0..400_u32 {
        world.within(a.user_event("fill", bytes(n, 440), false)).await.unwrap();
    }
    let (b, _) = world.start(world.config("b")).await;
    let (c, mut replayed) = world.start(world.config("c")).await;
    let seed = a.local_addr().to_string();
    world.within(b.join([&seed])).await.unwrap();
    world.within(c.join_and_replay([&seed])).await.unwrap();
    world
        .within(async {
            let mut fills = 0;
            while fills < 400 {
                fills += usize::from(matches!(replayed.recv().await, Some(Event::User(_))));
            }
        })
        .await;
    for node in [&a, &b, &c] {
        for name in ["a", "b", "c"] {
            world.until(node, name, |member| member.status == Status::Alive).await;
        }
    }

    world.within(b.set_tags(Tags::from([("role".into(), "db".into())]))).await.unwrap();
    world.until(&c, "b", |member| member.tags().get("role").is_some_and(|role| role == "db")).await;

    world.within(c.user_event("deploy", b"v2", false)).await.unwrap();
    world
        .within(async {
            while !matches!(events.recv().await.unwrap(), Event::User(event) if event.name == "deploy".into())
            {
            }
        })
        .await;

    let mut answers = world.within(b.query(Query::new("anybody").with_acks())).await.unwrap();
    let mut acks = Vec::new();
    while acks.len() < 3 {
        match world.within(answers.next()).await {
            Some(Answer::Ack { from }) => acks.push(from.to_string()),
            Some(_) => {}
            None => break,
        }
    }
    acks.sort();
    assert_eq!(acks, ["a", "b", "c"]);

    world.within(b.leave()).await.unwrap();
    world.until(&a, "b", |member| member.status == Status::Left).await;
    for node in [a, b, c] {
        world.within(node.shutdown()).await;
        assert!(node.members().await.is_err());
    }
}

async fn a_node_that_is_gone_is_found_failed(world: World) {
    let impatient = |name: &str| {
        let mut config = world.config(name);
        config.gossip.probe_interval = Duration::from_millis(200);
        config.gossip.probe_timeout = Duration::from_millis(100);
        config.gossip.suspicion_mult = 1;
        config.gossip.suspicion_max_timeout_mult = 1;
        config
    };
    let (a, _) = world.start(impatient("a")).await;
    let (b, _) = world.start(world.config("b")).await;
    world.within(b.join([a.local_addr().to_string()])).await.unwrap();
    world.until(&a, "b", |member| member.status == Status::Alive).await;
    drop(b);
    world.until(&a, "b", |member| member.status == Status::Failed).await;
    world.within(a.shutdown()).await;
}
