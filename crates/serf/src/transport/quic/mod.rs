//! QUIC: datagrams and streams in one connection for each peer, all of it secret, both ends with a certificate.
//!
//! One UDP socket is all there is: it listens and calls, so a peer is seen under the address that it tells others. A
//! connection comes about when something is to be sent, serves both directions, and ends when it is idle. Datagrams are
//! those of QUIC, unreliable as ever; streams are its streams. The protocol is `quinn-proto`, a machine like our own,
//! which [`hub`] drives on whatever runtime the node has.

mod hub;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Endpoint, EndpointConfig, HashedConnectionIdGenerator, ServerConfig, StreamId,
    TransportConfig, VarInt,
};
use serf_gossip::{Address, Name};

use self::hub::{Hub, Id, Turn};
use super::plain;
use super::{BindError, Credentials, Distrust, Sockets, Transport};
use crate::net::{Boxed, Connection, Datagrams, Dialer, Listener, read, socket_addr, would_wait};
use crate::runtime::{Alarm, Runtime};

/// What both ends must name, so that a certificate's other uses are not mistaken for this one.
const PROTOCOL: &[u8] = b"serf-quic/1";
/// What both ends of a stream say first, so that each knows that the other is there, as a TCP connection does.
const GREETING: u8 = 1;
/// The largest datagram there is.
const DATAGRAM_MAX: usize = 64 << 10;
/// How long a connection is kept that nothing passes through; also how long it may take to notice a peer that is gone
/// without a word. In milliseconds.
const IDLE_MAX: u32 = 30_000;
/// Streams that a peer may have open towards us, on one connection. Whoever wants more waits.
const STREAMS_MAX: u32 = 64;
/// Datagrams under way as streams, on one connection.
const DATAGRAM_STREAMS_MAX: u32 = 32;
/// Bytes that a peer may send on one stream before they are read; then it waits.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same on all streams of one connection, and as much is kept of what we send.
const WINDOW: u32 = 1 << 20;
/// Bytes of datagrams that wait in one connection, each way.
const DATAGRAMS_WINDOW: usize = 128 << 10;

/// Everything in QUIC, both ends with a certificate.
///
/// ```no_run
/// use serf::{Config, transport::{Credentials, Quic}};
/// use std::sync::Arc;
///
/// let credentials = Credentials::from_files("web-1.pem", "web-1.key", "ca.pem")?.bind_names(true);
/// let config = Config { transport: Arc::new(Quic::new(&credentials)), ..Config::lan("web-1") };
/// # Ok::<(), serf::transport::CredentialsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Quic {
    credentials: Credentials,
    counts: Arc<Counts>,
}

/// What a [`Quic`] has done, and what it could not do. The numbers only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuicStats {
    /// Connections that we made.
    pub dialled: u64,
    /// Connections that others made.
    pub accepted: u64,
    /// Connections, either way, whose ends did not come to trust each other; and times that a peer was not who was
    /// expected.
    pub refusals: u64,
    /// Connections of others that were refused because too many were being made.
    pub refused: u64,
    /// Streams of others that were refused because too many waited.
    pub streams_refused: u64,
    /// Datagrams, either way, for which there was no room or no connection. Those lost on the way are not among them.
    pub datagrams_lost: u64,
    /// Datagrams that were too large for a packet, and were sent as a stream.
    pub datagrams_as_streams: u64,
}

/// [`QuicStats`], being counted.
#[derive(Debug, Default)]
struct Counts {
    dialled: AtomicU64,
    accepted: AtomicU64,
    refusals: AtomicU64,
    refused: AtomicU64,
    streams_refused: AtomicU64,
    datagrams_lost: AtomicU64,
    datagrams_as_streams: AtomicU64,
}

impl Quic {
    /// With this node's certificate.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        Self { credentials: credentials.clone(), counts: Arc::default() }
    }

    /// What was done so far; clones count together.
    #[must_use]
    pub fn stats(&self) -> QuicStats {
        let of = |count: &AtomicU64| count.load(Relaxed);
        let counts = &self.counts;
        QuicStats {
            dialled: of(&counts.dialled),
            accepted: of(&counts.accepted),
            refusals: of(&counts.refusals),
            refused: of(&counts.refused),
            streams_refused: of(&counts.streams_refused),
            datagrams_lost: of(&counts.datagrams_lost),
            datagrams_as_streams: of(&counts.datagrams_as_streams),
        }
    }

    fn endpoint(&self, local: SocketAddr, transport: &Arc<TransportConfig>) -> Result<Endpoint, BoxError> {
        let crypto = QuicServerConfig::try_from(self.credentials.server(PROTOCOL)?)?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(transport.clone());
        // A peer is who it is at its address: one that moves is told by gossip.
        server.migration(false);
        // After a restart we still know the connections of our former life when we see their packets, and can tell the
        // peers, who know us by this key, that they are no more. Addresses keep nodes apart that have one key.
        let mut key = [0; 8];
        let seed =
            ring::hmac::sign(&self.credentials.derive("connection numbers"), local.to_string().as_bytes());
        key.copy_from_slice(&seed.as_ref()[..8]);
        let key = u64::from_be_bytes(key);
        let reset = self.credentials.derive(&format!("resets of {local}"));
        let mut config = EndpointConfig::new(Arc::new(reset));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        Ok(Endpoint::new(Arc::new(config), Some(Arc::new(server)), true, None))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Transport for Quic {
    /// Binds a UDP socket, and nothing else. A wildcard address listens on IPv4 and IPv6 where the system can.
    fn bind(&self, addr: SocketAddr, runtime: &Arc<dyn Runtime>) -> Result<Sockets, BindError> {
        let bad = |source: BoxError| BindError::Transport { addr, source };
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_MAX).into()))
            .max_concurrent_bidi_streams(STREAMS_MAX.into())
            .max_concurrent_uni_streams(DATAGRAM_STREAMS_MAX.into())
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(WINDOW.into())
            .send_window(WINDOW.into())
            .datagram_receive_buffer_size(Some(DATAGRAMS_WINDOW))
            .datagram_send_buffer_size(DATAGRAMS_WINDOW);
        let transport = Arc::new(transport);
        let crypto = self.credentials.client(PROTOCOL).map_err(|error| bad(error.into()))?;
        let crypto = QuicClientConfig::try_from(crypto).map_err(|error| bad(error.into()))?;
        let mut client = ClientConfig::new(Arc::new(crypto));
        client.transport_config(transport.clone());

        let (udp, local) = plain::bind_udp(addr, runtime)?;
        let endpoint = self.endpoint(local, &transport).map_err(bad)?;
        let hub = Hub::new(udp, endpoint, client, self.credentials.clone(), self.counts.clone());
        let shared = Arc::new(Shared(Mutex::new(hub)));
        let engine = Engine { hub: Last(shared.clone()), alarm: runtime.alarm(Instant::now()), due: None };
        runtime.spawn(Box::pin(engine.run()));
        let hold = Hold { hub: Arc::new(Last(shared)), local };
        Ok(Sockets {
            local,
            datagrams: Box::new(Mailbox(hold.clone())),
            listener: Box::new(Door(hold.clone())),
            dialer: Arc::new(Dials(hold)),
        })
    }
}

/// A hub under its lock.
struct Shared(Mutex<Hub>);

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Hub) -> T) -> T {
        let mut hub = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut hub);
        let (wakes, scrap) = hub.errands();
        drop(hub);
        // Either may run code of others, which may come back here.
        wakes.into_iter().for_each(std::task::Waker::wake);
        drop(scrap);
        result
    }
}

/// Ends all when it is dropped: the task must not outlive those who need it, nor they wait for a task that is gone.
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.with(Hub::shut);
    }
}

/// A part in the socket; when nobody has one any more, it is closed.
#[derive(Clone)]
struct Hold {
    hub: Arc<Last>,
    local: SocketAddr,
}

impl Hold {
    fn with<T>(&self, work: impl FnOnce(&mut Hub) -> T) -> T {
        self.hub.0.with(work)
    }
}

/// The task that receives, sends, and keeps the time.
struct Engine {
    hub: Last,
    alarm: Pin<Box<dyn Alarm>>,
    /// When the alarm rings.
    due: Option<Instant>,
}

impl Engine {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.hub.0.with(|hub| hub.turn(cx)) {
                Turn::Over => return Poll::Ready(()),
                Turn::More => {
                    // Others have their turn first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::Wait(None) => {
                    self.due = None;
                    return Poll::Pending;
                }
                Turn::Wait(Some(at)) => {
                    if self.due != Some(at) {
                        self.alarm.as_mut().reset(at);
                        self.due = Some(at);
                    }
                    if self.alarm.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.due = None;
                }
            }
        }
    }
}

struct Mailbox(Hold);

impl Datagrams for Mailbox {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|hub| hub.poll_datagram(cx)).map(Ok)
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        self.0.with(|hub| hub.receive_datagram(buffer))
    }

    fn poll_writable(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What finds no room is lost at once.
        Poll::Ready(Ok(()))
    }

    fn try_send(&mut self, to: &Address, node: Option<&Name>, bytes: &[u8]) -> io::Result<()> {
        let to = canonical(socket_addr(to)?);
        self.0.with(|hub| hub.send_datagram(to, node, bytes))
    }
}

struct Door(Hold);

impl Listener for Door {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, Address)>> {
        self.0.with(|hub| hub.poll_accept(cx)).map_ok(|(id, stream, peer)| {
            let place = Place { hold: self.0.clone(), id, stream: Some(stream), is_finished: false };
            let stream = Stream { place, stream, peer, is_greeted: false };
            (Box::new(stream) as Box<dyn Connection>, peer.into())
        })
    }
}

struct Dials(Hold);

impl Dialer for Dials {
    fn dial(&self, to: Address, node: Option<Name>) -> Boxed<io::Result<Box<dyn Connection>>> {
        let hold = self.0.clone();
        Box::pin(async move {
            let to = canonical(socket_addr(&to)?);
            loop {
                let (id, was_open) = hold.with(|hub| hub.reach(to))?;
                let place = Place { hold: hold.clone(), id, stream: None, is_finished: false };
                match open(place, to, node.as_ref()).await {
                    Ok(stream) => return Ok(Box::new(stream) as Box<dyn Connection>),
                    // It stood, but perhaps with somebody who is gone; then a new one shows who lives there now.
                    Err(_) if was_open => hold.with(|hub| hub.doubt(to, id)),
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

/// Opens a stream, and waits until the peer has greeted.
async fn open(mut place: Place, peer: SocketAddr, node: Option<&Name>) -> io::Result<Stream> {
    let stream = poll_fn(|cx| place.hold.with(|hub| hub.poll_open(cx, place.id, node))).await?;
    place.stream = Some(stream);
    let mut stream = Stream { place, stream, peer, is_greeted: false };
    while stream.try_write(&[GREETING]).or_else(|e| if would_wait(&e) { Ok(0) } else { Err(e) })? == 0 {
        poll_fn(|cx| stream.poll_writable(cx)).await?;
    }
    // Nothing is to come after it yet.
    read(&mut stream, &mut []).await?;
    Ok(stream)
}

/// IPv4 in its own form.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A use of a connection: a stream, or the wish for one.
struct Place {
    hold: Hold,
    id: Id,
    stream: Option<StreamId>,
    is_finished: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hold.with(|hub| hub.leave(self.id, self.stream, self.is_finished));
    }
}

struct Stream {
    place: Place,
    stream: StreamId,
    peer: SocketAddr,
    /// The peer's first byte has come.
    is_greeted: bool,
}

impl Stream {
    fn greet(&mut self) -> io::Result<()> {
        let Self { place, stream, .. } = self;
        let mut greeting = [0];
        match place.hold.with(|hub| hub.read(place.id, *stream, &mut greeting))? {
            1 if greeting == [GREETING] => {
                self.is_greeted = true;
                Ok(())
            }
            _ => Err(Distrust::Incompatible.into()),
        }
    }
}

impl Connection for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { place, stream, .. } = self;
        place.hold.with(|hub| hub.poll_readable(cx, place.id, *stream)).map(Ok)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_greeted {
            self.greet()?;
        }
        let Self { place, stream, .. } = self;
        place.hold.with(|hub| hub.read(place.id, *stream, buffer))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { place, stream, .. } = self;
        place.hold.with(|hub| hub.poll_writable(cx, place.id, *stream)).map(Ok)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { place, stream, .. } = self;
        place.hold.with(|hub| hub.write(place.id, *stream, bytes))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { place, stream, .. } = self;
        if place.is_finished {
            return Poll::Ready(Ok(()));
        }
        let finished = place.hold.with(|hub| hub.finish(place.id, *stream));
        // Otherwise it is to be broken off, for it would occupy a place for ever.
        place.is_finished = finished.is_ok();
        Poll::Ready(finished)
    }

    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        Some((self.place.hold.local, self.peer))
    }
}
