//! A network within one process, for tests and for nodes that live together: no sockets, no ports of the system.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serf_gossip::{Address, Name};

use super::{BindError, Sockets, Transport};
use crate::net::{Boxed, Connection, Datagrams, Dialer, Listener};
use crate::runtime::Runtime;

/// Datagrams that wait for a node; further ones are lost, as in a socket's buffer.
const DATAGRAMS_MAX: usize = 4096;
/// Connections that wait to be accepted; further ones are refused.
const BACKLOG: usize = 128;
/// Bytes that wait in one direction of a connection; then the writer waits.
const WINDOW: usize = 256 << 10;
/// Ports given to those who ask for port 0, as systems do.
const FREE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// A network in memory. Its clones are the same network; what is bound to one is reached through all of them.
///
/// ```
/// use serf::{Config, Serf, transport::Memory};
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let network = Arc::new(Memory::new());
/// let config = |name: &str, ip: &str| -> Result<Config, Box<dyn std::error::Error>> {
///     Ok(Config { bind: format!("{ip}:7946").parse()?, transport: network.clone(), ..Config::local(name) })
/// };
/// let a = Serf::start(config("a", "10.0.0.1")?).await?;
/// let b = Serf::start(config("b", "10.0.0.2")?).await?;
/// b.join(["10.0.0.1"]).await?;
/// assert_eq!(b.members().await?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Hosts>>);

type Hosts = BTreeMap<SocketAddr, Arc<Shared<Port>>>;

impl Memory {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever is bound there.
    fn port(&self, to: &Address) -> Option<Arc<Shared<Port>>> {
        self.hosts().get(&to.socket_addr()?).cloned()
    }
}

impl Transport for Memory {
    fn bind(&self, addr: SocketAddr, _runtime: &Arc<dyn Runtime>) -> Result<Sockets, BindError> {
        let taken = |kind: io::ErrorKind| BindError::Tcp { addr, source: kind.into() };
        if addr.ip().is_unspecified() {
            return Err(taken(io::ErrorKind::AddrNotAvailable));
        }
        let mut hosts = self.hosts();
        let is_free = |local: &SocketAddr| !hosts.contains_key(local);
        let local = match addr.port() {
            0 => FREE_PORTS.map(|port| SocketAddr::new(addr.ip(), port)).find(is_free),
            _ => Some(addr).filter(is_free),
        };
        let local = local.ok_or_else(|| taken(io::ErrorKind::AddrInUse))?;
        let port = Arc::new(Shared::default());
        hosts.insert(local, port.clone());
        drop(hosts);
        let lease = Arc::new(Lease { network: self.clone(), local });
        Ok(Sockets {
            local,
            datagrams: Box::new(Mailbox { lease: lease.clone(), port: port.clone() }),
            listener: Box::new(Door { _lease: lease, port }),
            dialer: Arc::new(Dials { network: self.clone(), local }),
        })
    }
}

/// Frees an address when the last who uses it is gone.
struct Lease {
    network: Memory,
    local: SocketAddr,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let removed = self.network.hosts().remove(&self.local);
        if let Some(port) = removed {
            // Those who wait to be accepted are refused.
            let refused = std::mem::take(&mut port.lock().connections);
            drop(refused);
        }
    }
}

/// Something that several hold.
#[derive(Debug, Default)]
struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        // Nothing in here can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits at an address.
#[derive(Debug, Default)]
struct Port {
    datagrams: VecDeque<(Address, Vec<u8>)>,
    reader: Option<Waker>,
    connections: VecDeque<(Half, Address)>,
    acceptor: Option<Waker>,
}

struct Mailbox {
    lease: Arc<Lease>,
    port: Arc<Shared<Port>>,
}

impl Datagrams for Mailbox {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut port = self.port.lock();
        if port.datagrams.is_empty() {
            port.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        let (from, bytes) = self.port.lock().datagrams.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok((len, from))
    }

    fn poll_writable(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn try_send(&mut self, to: &Address, _node: Option<&Name>, bytes: &[u8]) -> io::Result<()> {
        // Nobody there, or no room there: lost, as anywhere.
        let Some(port) = self.lease.network.port(to) else { return Ok(()) };
        let mut port = port.lock();
        if port.datagrams.len() < DATAGRAMS_MAX {
            port.datagrams.push_back((self.lease.local.into(), bytes.to_vec()));
        }
        if let Some(waker) = port.reader.take() {
            drop(port);
            waker.wake();
        }
        Ok(())
    }
}

struct Door {
    _lease: Arc<Lease>,
    port: Arc<Shared<Port>>,
}

impl Listener for Door {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, Address)>> {
        let mut port = self.port.lock();
        match port.connections.pop_front() {
            Some((half, from)) => Poll::Ready(Ok((Box::new(half), from))),
            None => {
                port.acceptor = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

struct Dials {
    network: Memory,
    local: SocketAddr,
}

impl Dialer for Dials {
    fn dial(&self, to: Address, _node: Option<Name>) -> Boxed<io::Result<Box<dyn Connection>>> {
        let result = self.connect(&to);
        Box::pin(async { result })
    }
}

impl Dials {
    fn connect(&self, to: &Address) -> io::Result<Box<dyn Connection>> {
        let port = self.network.port(to).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (there, back) = (Arc::<Shared<Pipe>>::default(), Arc::<Shared<Pipe>>::default());
        let half = Half { reads: there.clone(), writes: back.clone() };
        let mut port = port.lock();
        if port.connections.len() >= BACKLOG {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        port.connections.push_back((half, self.local.into()));
        if let Some(waker) = port.acceptor.take() {
            drop(port);
            waker.wake();
        }
        Ok(Box::new(Half { reads: back, writes: there }))
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The writer has said its last.
    is_over: bool,
    /// Either end is gone.
    is_broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection.
#[derive(Debug)]
struct Half {
    reads: Arc<Shared<Pipe>>,
    writes: Arc<Shared<Pipe>>,
}

impl Connection for Half {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.reads.lock();
        if pipe.bytes.is_empty() && !pipe.is_over && !pipe.is_broken {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.reads.lock();
        let len = pipe.bytes.len().min(buffer.len());
        if len == 0 && !buffer.is_empty() {
            return match () {
                () if pipe.is_over => Ok(0),
                () if pipe.is_broken => Err(io::ErrorKind::ConnectionReset.into()),
                () => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        for (to, byte) in buffer.iter_mut().zip(pipe.bytes.drain(..len)) {
            *to = byte;
        }
        if let Some(waker) = pipe.writer.take() {
            drop(pipe);
            waker.wake();
        }
        Ok(len)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.writes.lock();
        if pipe.bytes.len() >= WINDOW && !pipe.is_broken {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.writes.lock();
        if pipe.is_broken || pipe.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(WINDOW - pipe.bytes.len());
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.bytes.extend(&bytes[..len]);
        if let Some(waker) = pipe.reader.take() {
            drop(pipe);
            waker.wake();
        }
        Ok(len)
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        end(&self.writes, |pipe| pipe.is_over = true);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // Like TCP: what was said before our end was told is still read; anything else breaks.
        end(&self.writes, |pipe| pipe.is_broken |= !pipe.is_over);
        end(&self.reads, |pipe| pipe.is_broken = true);
    }
}

fn end(pipe: &Shared<Pipe>, how: impl FnOnce(&mut Pipe)) {
    let mut pipe = pipe.lock();
    how(&mut pipe);
    let wakers = [pipe.reader.take(), pipe.writer.take()];
    drop(pipe);
    wakers.into_iter().flatten().for_each(Waker::wake);
}
