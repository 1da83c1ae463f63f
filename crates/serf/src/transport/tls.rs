//! TLS over TCP, with UDP beside it: what is said on streams is secret, and both ends have shown a certificate.
//!
//! Datagrams go as they are. Most of gossip is datagrams, so encrypt them with gossip keys ([`crate::Config::keys`]), or
//! take QUIC: without, whoever can send to the port can say who is alive.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use serf_gossip::{Address, Name};

use super::plain::{self, Tcp, TcpPort};
use super::{BindError, Credentials, Distrust, Sockets, Transport};
use crate::net::{Boxed, Connection, Dialer, Listener, socket_addr, would_wait};
use crate::runtime::Runtime;

/// What both ends must name, so that a certificate's other uses are not mistaken for this one.
const PROTOCOL: &[u8] = b"serf-tls/1";
/// Bytes taken to be sent that the kernel has not taken yet; then the writer waits.
const UNSENT_MAX: usize = 64 << 10;

/// TLS 1.3 over TCP, both ends with a certificate; and UDP in the clear, on the same port.
///
/// Who connects to us shakes hands when it is its turn to be listened to, within the time that a stream has
/// ([`stream_timeout`](serf_gossip::Config::stream_timeout)); until then it costs a socket and a few hundred bytes.
/// Nothing is resumed: every stream checks the certificates anew.
///
/// ```no_run
/// use serf::{Config, Key, transport::{Credentials, Tls}};
/// use std::sync::Arc;
///
/// let credentials = Credentials::from_files("web-1.pem", "web-1.key", "ca.pem")?;
/// let transport = Arc::new(Tls::new(&credentials));
/// // UDP is in the clear, but for the keys of gossip.
/// let config = Config { transport, keys: vec![Key::new(&[7; 32])?], ..Config::lan("web-1") };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tls {
    credentials: Credentials,
    refusals: Arc<AtomicU64>,
}

impl Tls {
    /// With this node's certificate.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        Self { credentials: credentials.clone(), refusals: Arc::default() }
    }

    /// Connections, accepted or dialled, whose ends did not come to trust each other, or did not agree for another
    /// reason. Each is told in the log, or is the error of whatever wanted it. Clones count together.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }
}

impl Transport for Tls {
    /// Binds TCP and UDP as [`super::Plain`] does.
    fn bind(&self, addr: SocketAddr, runtime: &Arc<dyn Runtime>) -> Result<Sockets, BindError> {
        let bad = |source: rustls::Error| BindError::Transport { addr, source: source.into() };
        let server = Arc::new(self.credentials.server(PROTOCOL).map_err(bad)?);
        let client = Arc::new(self.credentials.client(PROTOCOL).map_err(bad)?);
        let (tcp, udp, local) = plain::bind(addr, runtime)?;
        Ok(Sockets {
            local,
            datagrams: Box::new(udp),
            listener: Box::new(Port { tcp, config: server, refusals: self.refusals.clone() }),
            dialer: Arc::new(Dials { tcp: Tcp(runtime.clone()), transport: self.clone(), config: client }),
        })
    }
}

struct Port {
    tcp: TcpPort,
    config: Arc<ServerConfig>,
    refusals: Arc<AtomicU64>,
}

impl Listener for Port {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, Address)>> {
        let (tcp, from) = ready!(self.tcp.poll_accept(cx))?;
        let session = ServerConnection::new(self.config.clone()).map_err(Distrust::from)?;
        Poll::Ready(Ok((Box::new(Stream::new(tcp, session.into(), &self.refusals)), from)))
    }
}

struct Dials {
    tcp: Tcp,
    transport: Tls,
    config: Arc<ClientConfig>,
}

impl Dialer for Dials {
    fn dial(&self, to: Address, node: Option<Name>) -> Boxed<io::Result<Box<dyn Connection>>> {
        let session = self.session(&to, node.as_ref());
        let tcp = self.tcp.dial(to, node);
        let refusals = self.transport.refusals.clone();
        Box::pin(async move {
            let session = session?;
            let mut stream = Stream::new(tcp.await?, session.into(), &refusals);
            std::future::poll_fn(|cx| stream.poll_agreed(cx)).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

impl Dials {
    fn session(&self, to: &Address, node: Option<&Name>) -> io::Result<ClientConnection> {
        let config = self.transport.credentials.expecting(&self.config, node)?;
        // Our own check knows better whose certificate it must be.
        let called = socket_addr(to)?.ip().into();
        Ok(ClientConnection::new(config, called).map_err(Distrust::from)?)
    }
}

/// A connection whose bytes go through TLS.
struct Stream {
    tcp: Box<dyn Connection>,
    tls: rustls::Connection,
    /// We have said that no more comes.
    is_finished: bool,
    /// The peer's side of TCP is at its end.
    is_over: bool,
    /// See [`Tls::refusals`].
    refusals: Arc<AtomicU64>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl Stream {
    fn new(tcp: Box<dyn Connection>, mut tls: rustls::Connection, refusals: &Arc<AtomicU64>) -> Self {
        tls.set_buffer_limit(Some(UNSENT_MAX));
        Self { tcp, tls, is_finished: false, is_over: false, refusals: refusals.clone() }
    }

    /// Hands over what is to be sent. An error of `WouldBlock`: some of it has to wait.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(&mut Raw(&mut *self.tcp))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Takes in what has come.
    fn receive(&mut self) -> io::Result<()> {
        if self.tls.read_tls(&mut Raw(&mut *self.tcp))? == 0 {
            self.is_over = true;
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The alert that tells the peer why; it is of no account whether it arrives.
            let _ = self.send();
            self.refusals.fetch_add(1, Relaxed);
            return Err(Distrust::from(error).into());
        }
        if self.is_over && self.tls.is_handshaking() {
            self.refusals.fetch_add(1, Relaxed);
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer hung up before both had agreed",
            ));
        }
        Ok(())
    }

    /// Waits until both ends have agreed, and what we had to say to that is sent.
    fn poll_agreed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_exchange(cx))?;
        }
        self.poll_sent(cx)
    }

    /// Waits until something has come, and sends meanwhile what is to be sent.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Only of interest here if it breaks.
        if let Poll::Ready(Err(error)) = self.poll_sent(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            match self.receive() {
                Err(error) if would_wait(&error) => ready!(self.tcp.poll_readable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.send() {
                Err(error) if would_wait(&error) => ready!(self.tcp.poll_writable(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn has_something(&mut self) -> io::Result<bool> {
        let state = self.tls.process_new_packets().map_err(Distrust::from)?;
        Ok(self.is_over || state.plaintext_bytes_to_read() > 0 || state.peer_has_closed())
    }
}

impl Connection for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() || !self.has_something()? {
            ready!(self.poll_exchange(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An end of TCP that TLS was not told of is an error here: somebody may have cut off what was to come.
        self.tls.reader().read(buffer)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_agreed(cx)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Before, nobody knows who would read it.
        if self.tls.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = self.send();
        let taken = self.tls.writer().write(bytes)?;
        if taken == 0 && !bytes.is_empty() {
            return Err(sent.err().unwrap_or_else(|| io::ErrorKind::WouldBlock.into()));
        }
        Ok(taken)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        self.tcp.poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_finished {
            self.is_finished = true;
            self.tls.send_close_notify();
        }
        ready!(self.poll_sent(cx))?;
        self.tcp.poll_finish(cx)
    }

    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.tcp.ends()
    }
}

/// The connection below, as TLS reads and writes it.
struct Raw<'a>(&'a mut dyn Connection);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
