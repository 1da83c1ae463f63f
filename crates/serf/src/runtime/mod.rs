//! What a node needs of the world that runs it: tasks, time, and the sockets of the system.
//!
//! A node runs on whatever implements [`Runtime`]; which, says [`Config::runtime`](crate::Config::runtime). With none
//! given it is the tokio runtime that it is started in. What the node's handles give can be awaited anywhere, and
//! [`block_on`] waits for it in a thread without any runtime.

mod block;
#[cfg(any(feature = "smol", feature = "threads"))]
mod reactor;
#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "threads")]
mod threads;
#[cfg(feature = "tokio")]
mod tokio;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::tokio::sync::{mpsc, oneshot, watch};

pub use self::block::block_on;
#[cfg(feature = "smol")]
pub use self::smol::Smol;
#[cfg(feature = "threads")]
pub use self::threads::Threads;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;
use crate::net::{Boxed, Connection};

/// Runs tasks, tells the time, and waits for sockets.
///
/// ```
/// # #[cfg(feature = "threads")] {
/// use serf::{Config, Serf, runtime::{Threads, block_on}};
/// use std::sync::Arc;
///
/// let runtime = Arc::new(Threads);
/// let config = Config { bind: "127.0.0.1:0".parse()?, runtime: Some(runtime), ..Config::lan("web-1") };
/// let serf = block_on(Serf::start(config))?;
/// assert_eq!(block_on(serf.members())?.len(), 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Runs a task to its end, whatever becomes of this call's thread.
    fn spawn(&self, task: Boxed<()>);

    /// Runs work that may block, beside the tasks.
    fn unblock(&self, work: Box<dyn FnOnce() + Send>);

    /// A future that is ready at a time.
    fn alarm(&self, at: Instant) -> Pin<Box<dyn Alarm>>;

    /// Takes over a bound socket, which is in non-blocking mode.
    ///
    /// # Errors
    /// The system's.
    fn udp(&self, socket: UdpSocket) -> io::Result<Box<dyn Udp>>;

    /// Takes over a listening socket, which is in non-blocking mode.
    ///
    /// # Errors
    /// The system's.
    fn listen(&self, listener: TcpListener) -> io::Result<Box<dyn Accept>>;

    /// Connects to a TCP port.
    fn connect(&self, to: SocketAddr) -> Boxed<io::Result<Box<dyn Connection>>>;
}

/// See [`Runtime::alarm`].
pub trait Alarm: Future<Output = ()> + Send {
    /// Is to be ready then instead; also if it has been already.
    fn reset(self: Pin<&mut Self>, at: Instant);
}

/// A UDP socket, see [`crate::net::Datagrams`].
pub trait Udp: Send {
    /// Waits until there may be something to receive.
    ///
    /// # Errors
    /// The system's.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Receives, if there is something.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is nothing, or the system's.
    fn try_receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
    /// Waits until there may be room.
    ///
    /// # Errors
    /// The system's.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Sends, if there is room.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none, or the system's.
    fn try_send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()>;
}

/// A TCP listener, see [`crate::net::Listener`].
pub trait Accept: Send {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// The system's.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Connection>, SocketAddr)>>;
}

/// There is no tokio runtime around, and no other was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no runtime: start the node within a tokio runtime, or set `runtime` in its configuration")]
pub struct NoRuntime;

/// The runtime that this code runs in.
///
/// # Errors
/// It runs in none that can be found out: only those of tokio can.
pub fn current() -> Result<Arc<dyn Runtime>, NoRuntime> {
    #[cfg(feature = "tokio")]
    if let Some(tokio) = Tokio::current() {
        return Ok(Arc::new(tokio));
    }
    Err(NoRuntime)
}

/// Waits for a future, but not longer than so long. None: it was not ready by then, and is gone.
pub(crate) async fn timeout<F: Future>(
    runtime: &dyn Runtime,
    patience: Duration,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut alarm = runtime.alarm(Instant::now() + patience);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Waits for a time to pass.
pub(crate) async fn sleep(runtime: &dyn Runtime, pause: Duration) {
    runtime.alarm(Instant::now() + pause).await;
}

/// Does work that may block, and gives its result. None: it panicked, or the runtime has ended. The work goes on if
/// nobody waits for it any more.
pub(crate) async fn unblock<T: Send + 'static>(
    runtime: &dyn Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    runtime.unblock(Box::new(move || drop(done.send(work()))));
    result.await.ok()
}

/// Tasks that end together with their group, at the latest.
#[derive(Debug)]
pub(crate) struct Group {
    runtime: Arc<dyn Runtime>,
    /// Dropped when all are to stop.
    stop: watch::Sender<()>,
    /// Each task holds one, and drops it last.
    member: mpsc::Sender<()>,
    gone: mpsc::Receiver<()>,
}

impl Group {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        let (member, gone) = mpsc::channel(1);
        Self { runtime, stop: watch::Sender::new(()), member, gone }
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Runs a task until it ends, the group does, or its switch is thrown.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Switch {
        let (switch, thrown) = oneshot::channel();
        let mut stop = self.stop.subscribe();
        let member = self.member.clone();
        self.runtime.spawn(Box::pin(async move {
            let thrown = async {
                if thrown.await.is_err() {
                    // Dropped: nobody will throw it.
                    std::future::pending::<()>().await;
                }
            };
            ::tokio::select! {
                biased;
                // Nothing is ever sent.
                _ = stop.changed() => {}
                () = thrown => {}
                () = task => {}
            }
            drop(member);
        }));
        Switch(switch)
    }

    /// Stops all tasks, and waits until they are gone.
    pub(crate) async fn end(self) {
        let Self { stop, member, mut gone, .. } = self;
        drop((stop, member));
        let _ = gone.recv().await;
    }
}

/// Ends one task before its time.
#[derive(Debug)]
pub(crate) struct Switch(oneshot::Sender<()>);

impl Switch {
    pub(crate) fn throw(self) {
        let _ = self.0.send(());
    }
}

impl fmt::Debug for dyn Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Udp")
    }
}

impl fmt::Debug for dyn Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accept")
    }
}

impl fmt::Debug for dyn Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}
