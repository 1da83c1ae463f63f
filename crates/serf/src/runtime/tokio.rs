//! Nodes on tokio.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::time::Sleep;

use super::{Accept, Alarm, Runtime, Udp};
use crate::net::{Boxed, Connection};

/// A tokio runtime, of whichever flavour, with its I/O and time enabled.
///
/// ```
/// let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let runtime = serf::runtime::Tokio::new(tokio.handle().clone());
/// # drop(runtime);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokio(Handle);

impl Tokio {
    /// This one.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The one that this code runs in, if it does.
    #[must_use]
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self)
    }
}

impl Runtime for Tokio {
    fn spawn(&self, task: Boxed<()>) {
        self.0.spawn(task);
    }

    fn unblock(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(work);
    }

    fn alarm(&self, at: Instant) -> Pin<Box<dyn Alarm>> {
        let _inside = self.0.enter();
        Box::pin(Ring(Box::pin(tokio::time::sleep_until(at.into()))))
    }

    fn udp(&self, socket: std::net::UdpSocket) -> io::Result<Box<dyn Udp>> {
        let _inside = self.0.enter();
        Ok(Box::new(UdpSocket::from_std(socket)?))
    }

    fn listen(&self, listener: std::net::TcpListener) -> io::Result<Box<dyn Accept>> {
        let _inside = self.0.enter();
        Ok(Box::new(Port { listener: TcpListener::from_std(listener)?, runtime: self.0.clone() }))
    }

    fn connect(&self, to: SocketAddr) -> Boxed<io::Result<Box<dyn Connection>>> {
        let runtime = self.0.clone();
        let mut connecting = Box::pin(TcpStream::connect(to));
        Box::pin(poll_fn(move |cx| {
            // See `poll_accept`.
            let _inside = runtime.enter();
            let connected = ready!(connecting.as_mut().poll(cx));
            Poll::Ready(connected.map(|stream| Box::new(Stream::new(stream)) as Box<dyn Connection>))
        }))
    }
}

struct Ring(Pin<Box<Sleep>>);

impl Future for Ring {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Alarm for Ring {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.as_mut().reset(at.into());
    }
}

impl Udp for UdpSocket {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_ready(cx)
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_from(buffer)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_ready(cx)
    }

    fn try_send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.try_send_to(bytes, to).map(drop)
    }
}

struct Port {
    listener: TcpListener,
    runtime: Handle,
}

impl Accept for Port {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, SocketAddr)>> {
        // For the accepted socket; whoever waits may be in another runtime, or in none.
        let _inside = self.runtime.enter();
        self.listener
            .poll_accept(cx)
            .map_ok(|(stream, from)| (Box::new(Stream::new(stream)) as Box<dyn Connection>, from))
    }
}

struct Stream(TcpStream);

impl Stream {
    fn new(stream: TcpStream) -> Self {
        // Requests and replies are written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        Self(stream)
    }
}

impl Connection for Stream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.0.local_addr().ok().zip(self.0.peer_addr().ok())
    }
}
