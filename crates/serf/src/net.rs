//! What a driver needs of a network, whatever carries it: datagrams, and connections both ways.
//!
//! All of it is polled by readiness: `poll_…able` waits and holds no buffer, `try_…` does what can be done now. So an idle
//! connection costs no memory, and a driver looks at everything in an order of its own.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use serf_gossip::{Address, Name};

/// A future in a box, as dyn-compatible traits give it.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Unreliable messages of up to a datagram's size.
pub trait Datagrams: Send {
    /// Waits until [`Datagrams::try_receive`] may have something. Told too often does no harm.
    ///
    /// # Errors
    /// As of [`Datagrams::try_receive`].
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes the next datagram: its length and who sent it. What does not fit into the buffer is cut off.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none. Others are counted and told; the driver pauses, and asks again.
    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Address)>;

    /// Waits until [`Datagrams::try_send`] may take more.
    ///
    /// # Errors
    /// As of [`Datagrams::try_send`].
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Sends a datagram; `node` is who is meant, where it is known.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it has to wait: it is tried again. After others it is counted as lost.
    fn try_send(&mut self, to: &Address, node: Option<&Name>, bytes: &[u8]) -> io::Result<()>;
}

/// Where peers connect to.
pub trait Listener: Send {
    /// Waits for the next connection, and from where it is made. It need not be ready for use: what it has to agree
    /// upon with the peer first it does when it is polled, so that a slow peer delays nobody.
    ///
    /// # Errors
    /// Counted and told; the driver pauses, and asks again.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, Address)>>;
}

/// Makes connections.
pub trait Dialer: Send + Sync {
    /// Connects to an address; `node` is who is expected there, where it is known. The connection is ready for use:
    /// whatever the ends have to agree upon first is agreed. Dropping the future gives up.
    ///
    /// # Errors
    /// Nobody answered, or it was not who was expected.
    fn dial(&self, to: Address, node: Option<Name>) -> Boxed<io::Result<Box<dyn Connection>>>;
}

/// A reliable stream of bytes in both directions, each of which ends by itself. Dropped, it is broken off.
pub trait Connection: Send {
    /// Waits until [`Connection::try_read`] may have something, or the end.
    ///
    /// # Errors
    /// The connection broke.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there; 0 bytes are the end of what the peer says.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is nothing now. Others: the connection broke.
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Waits until [`Connection::try_write`] may take more.
    ///
    /// # Errors
    /// The connection broke.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes as many of the bytes as it can.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if it can take none now. Others: the connection broke.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until all that was taken has been handed to the network.
    ///
    /// # Errors
    /// The connection broke.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }

    /// Says that no more comes from us, after all that was taken. The peer may go on.
    ///
    /// # Errors
    /// The connection broke.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Our address and the peer's, for error texts.
    fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        None
    }
}

impl fmt::Debug for dyn Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Datagrams")
    }
}

impl fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl fmt::Debug for dyn Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

impl fmt::Debug for dyn Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("ends", &self.ends()).finish()
    }
}

/// Whether nothing can be done now.
pub(crate) fn would_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// The socket address that an address of the wire means.
///
/// # Errors
/// It is no IP address.
pub(crate) fn socket_addr(address: &Address) -> io::Result<SocketAddr> {
    address.socket_addr().ok_or_else(|| io::Error::other("not an IP address"))
}

/// Reads what comes next into a buffer.
pub(crate) async fn read(connection: &mut dyn Connection, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        poll_fn(|cx| connection.poll_readable(cx)).await?;
        match connection.try_read(buffer) {
            Err(e) if would_wait(&e) => {}
            result => return result,
        }
    }
}
