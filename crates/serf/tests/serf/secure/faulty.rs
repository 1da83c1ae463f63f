//! A runtime whose sockets break when so many bytes have passed.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Instant;

use serf::net::{Boxed, Connection};
use serf::runtime::{Accept, Alarm, Runtime, Udp};

/// How many bytes may still pass.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<AtomicI64>);

impl Budget {
    pub(crate) fn new(bytes: i64) -> Self {
        Self(Arc::new(AtomicI64::new(bytes)))
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0.load(SeqCst) <= 0
    }

    /// Nothing passes from now on.
    #[cfg(feature = "quic")]
    pub(crate) fn cut(&self) {
        self.0.store(0, SeqCst);
    }

    /// All is well again.
    pub(crate) fn lift(&self) {
        self.0.store(i64::MAX / 2, SeqCst);
    }

    fn spend(&self, result: io::Result<usize>) -> io::Result<usize> {
        let len = result?;
        if self.0.fetch_sub(len as i64, SeqCst) <= 0 {
            return Err(io::Error::other("out of order"));
        }
        Ok(len)
    }
}

#[derive(Debug)]
pub(crate) struct Faulty(pub(crate) Arc<dyn Runtime>, pub(crate) Budget);

impl Runtime for Faulty {
    fn spawn(&self, task: Boxed<()>) {
        self.0.spawn(task);
    }

    fn unblock(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.unblock(work);
    }

    fn alarm(&self, at: Instant) -> Pin<Box<dyn Alarm>> {
        self.0.alarm(at)
    }

    fn udp(&self, socket: UdpSocket) -> io::Result<Box<dyn Udp>> {
        Ok(Box::new(Wrapped(self.0.udp(socket)?, self.1.clone())))
    }

    fn listen(&self, listener: TcpListener) -> io::Result<Box<dyn Accept>> {
        Ok(Box::new(Wrapped(self.0.listen(listener)?, self.1.clone())))
    }

    fn connect(&self, to: SocketAddr) -> Boxed<io::Result<Box<dyn Connection>>> {
        let (connect, budget) = (self.0.connect(to), self.1.clone());
        Box::pin(async { Ok(Box::new(Wrapped(connect.await?, budget)) as Box<dyn Connection>) })
    }
}

struct Wrapped<T: ?Sized>(Box<T>, Budget);

impl Udp for Wrapped<dyn Udp> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.0.try_receive(buffer)?;
        Ok((self.1.spend(Ok(len))?, from))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    fn try_send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.1.spend(Ok(bytes.len()))?;
        self.0.try_send(to, bytes)
    }
}

impl Accept for Wrapped<dyn Accept> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, SocketAddr)>> {
        let budget = &self.1;
        self.0.poll_accept(cx).map_ok(|(connection, from)| {
            (Box::new(Wrapped(connection, budget.clone())) as Box<dyn Connection>, from)
        })
    }
}

impl Connection for Wrapped<dyn Connection> {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1.spend(self.0.try_read(buffer))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.spend(self.0.try_write(bytes))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_finish(cx)
    }
}
