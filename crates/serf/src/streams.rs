//! The streams of a driver: every connection is pumped by a task of its own, which knows nothing of what is said.
//!
//! A task that has bytes for the machine first reserves a place in the one bounded queue towards the driver and
//! reads only then. So all streams together hold a bounded number of unread bytes, an idle one holds no buffer, and
//! a peer that sends faster than the machine takes is stopped by its own window.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serf_gossip::{Address, StreamAction, StreamEvent, StreamId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::driver::{Counter, Counters};
use crate::fault;

/// Reports of all streams that wait for the driver. With [`READ_MAX`] this bounds the bytes that wait: 1 MiB.
const REPORTS_MAX: usize = 64;
/// Most bytes read from a stream at once.
const READ_MAX: usize = 16 << 10;
/// Most accepted connections open, those being closed included; further ones wait in the kernel. The machines have
/// stricter limits of their own, with words for them.
const ACCEPTED_MAX: usize = 1024;
/// How long a closed stream may take to write out what is pending: as long as a whole stream may in the LAN profile.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// How long a closed stream is read, and what comes thrown away, until the peer closes too. Without this the kernel
/// answers late bytes with a reset, and the peer may lose our last words.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Pauses after a failed accept double from this to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
/// See [`ACCEPT_PAUSE_MIN`].
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// All streams of a driver.
pub(crate) struct Streams {
    open: HashMap<StreamId, Pump>,
    tasks: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    next_accepted: u64,
}

/// A stream's task, as the driver holds it.
struct Pump {
    /// Not bounded: the machine writes, and waits for [`StreamEvent::Written`].
    orders: mpsc::UnboundedSender<Order>,
    task: AbortHandle,
}

enum Order {
    Write(Vec<u8>),
    Close,
}

/// What a task tells the driver.
pub(crate) enum Report {
    Accepted(Accepted),
    Stream { id: StreamId, news: News },
}

/// A connection that has no number yet.
pub(crate) struct Accepted {
    stream: TcpStream,
    pub(crate) from: Address,
    slot: OwnedSemaphorePermit,
}

pub(crate) enum News {
    Connected,
    Data(Vec<u8>),
    Written,
    Ended,
    Failed(String),
}

impl News {
    pub(crate) fn event(&mut self) -> StreamEvent<'_> {
        match self {
            Self::Connected => StreamEvent::Connected,
            Self::Data(bytes) => StreamEvent::Data(bytes),
            Self::Written => StreamEvent::Written,
            Self::Ended => StreamEvent::Ended,
            Self::Failed(why) => StreamEvent::Failed(std::mem::take(why)),
        }
    }
}

impl Streams {
    pub(crate) fn new(listener: TcpListener, counters: Arc<Counters>) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, reporter.clone(), counters));
        Self { open: HashMap::new(), tasks, reports, reporter, next_accepted: 1 }
    }

    /// The next report. Cancelling loses none.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }

    /// The next report, if there is one already.
    pub(crate) fn try_report(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Whether the machine still wants to hear of the stream; a broken one is forgotten with this.
    pub(crate) fn wants(&mut self, id: StreamId, news: &News) -> bool {
        match news {
            News::Failed(_) => self.open.remove(&id).is_some(),
            _ => self.open.contains_key(&id),
        }
    }

    /// Numbers an accepted connection and begins to pump it.
    pub(crate) fn adopt(&mut self, accepted: Accepted) -> (StreamId, Address) {
        let id = StreamId(self.next_accepted);
        self.next_accepted += 2;
        let Accepted { stream, from, slot } = accepted;
        self.spawn(id, async move |orders, reports| {
            let _slot = slot;
            pump(stream, id, orders, reports).await;
        });
        (id, from)
    }

    /// Does what the machine asks.
    pub(crate) fn act(&mut self, id: StreamId, action: StreamAction) {
        match action {
            StreamAction::Dial { to, node: _ } => self.spawn(id, async move |orders, reports| {
                dial(&to, id, orders, reports).await;
            }),
            StreamAction::Write(bytes) => {
                if let Some(pump) = self.open.get(&id) {
                    // A task that has just failed takes nothing, and its report is on the way.
                    let _ = pump.orders.send(Order::Write(bytes));
                }
            }
            StreamAction::Close => {
                if let Some(pump) = self.open.remove(&id) {
                    let _ = pump.orders.send(Order::Close);
                }
            }
            StreamAction::Abort => {
                if let Some(pump) = self.open.remove(&id) {
                    pump.task.abort();
                }
            }
        }
    }

    /// Ends all tasks and waits until their sockets are closed.
    pub(crate) async fn stop(&mut self) {
        self.open.clear();
        self.tasks.shutdown().await;
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        id: StreamId,
        task: impl FnOnce(mpsc::UnboundedReceiver<Order>, mpsc::Sender<Report>) -> F,
    ) {
        // Those that ended leave their results behind; nobody wants them.
        while self.tasks.try_join_next().is_some() {}
        let (orders, receiver) = mpsc::unbounded_channel();
        let task = self.tasks.spawn(task(receiver, self.reporter.clone()));
        self.open.insert(id, Pump { orders, task });
    }
}

/// Accepts connections for ever.
async fn accept(listener: TcpListener, reports: mpsc::Sender<Report>, counters: Arc<Counters>) {
    let slots = Arc::new(Semaphore::new(ACCEPTED_MAX));
    let mut pause = ACCEPT_PAUSE_MIN;
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, from)) => {
                pause = ACCEPT_PAUSE_MIN;
                let accepted = Accepted { stream, from: from.into(), slot };
                if reports.send(Report::Accepted(accepted)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // No rationing needed: the pauses do it, and a single failure is rare.
                counters.add(Counter::AcceptErrors, 1);
                log::error!(target: "memberlist", "Error accepting TCP connection: {}", fault::call("accept", &error));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

async fn dial(
    to: &Address,
    id: StreamId,
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::Sender<Report>,
) {
    let connected = match to.socket_addr() {
        Some(addr) => TcpStream::connect(addr).await,
        None => Err(io::Error::other("not an IP address")),
    };
    let news = match connected {
        Ok(stream) => {
            if reports.send(Report::Stream { id, news: News::Connected }).await.is_ok() {
                pump(stream, id, orders, reports).await;
            }
            return;
        }
        Err(error) => News::Failed(fault::dial(to, &error)),
    };
    let _ = reports.send(Report::Stream { id, news }).await;
}

/// Moves bytes both ways until the driver closes the stream or it breaks.
async fn pump(
    stream: TcpStream,
    id: StreamId,
    mut orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::Sender<Report>,
) {
    // Requests and replies are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
    if let Err((what, error)) = exchange(stream, id, &mut orders, &reports).await {
        let news = News::Failed(fault::broken(what, ends, &error));
        let _ = reports.send(Report::Stream { id, news }).await;
    }
}

async fn exchange(
    stream: TcpStream,
    id: StreamId,
    orders: &mut mpsc::UnboundedReceiver<Order>,
    reports: &mpsc::Sender<Report>,
) -> Result<(), (&'static str, io::Error)> {
    let mut pending = Pending::default();
    // Whether the machine is to hear that all is written, and whether the peer has ended its side.
    let (mut owed, mut ended) = (false, false);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Write(bytes)) => {
                    pending.push(bytes);
                    owed = true;
                }
                Some(Order::Close) | None => {
                    close(stream, pending, ended).await;
                    return Ok(());
                }
            },
            place = reports.reserve(), if owed && pending.is_empty() => {
                let Ok(place) = place else { return Ok(()) };
                place.send(Report::Stream { id, news: News::Written });
                owed = false;
            }
            ready = stream.writable(), if !pending.is_empty() => {
                ready.and_then(|()| pending.write_to(&stream)).map_err(|e| ("write", e))?;
            }
            place = readable(&stream, reports), if !ended => {
                let Some(place) = place.map_err(|e| ("read", e))? else { return Ok(()) };
                let mut bytes = Vec::with_capacity(READ_MAX);
                let news = match stream.try_read_buf(&mut bytes) {
                    Ok(0) => {
                        ended = true;
                        News::Ended
                    }
                    Ok(_) => News::Data(bytes),
                    Err(e) if would_wait(&e) => continue,
                    Err(e) => return Err(("read", e)),
                };
                place.send(Report::Stream { id, news });
            }
        }
    }
}

/// Waits until there is something to read, and then for a place in the queue. None: the driver is gone.
async fn readable<'a>(
    stream: &TcpStream,
    reports: &'a mpsc::Sender<Report>,
) -> io::Result<Option<mpsc::Permit<'a, Report>>> {
    stream.readable().await?;
    Ok(reports.reserve().await.ok())
}

/// Writes out what is pending, says that no more comes, and lets the peer finish. Nobody wants to hear how it went.
async fn close(mut stream: TcpStream, mut pending: Pending, ended: bool) {
    let flush = async {
        while !pending.is_empty() {
            stream.writable().await?;
            pending.write_to(&stream)?;
        }
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await
    };
    if !matches!(tokio::time::timeout(FLUSH_MAX, flush).await, Ok(Ok(()))) || ended {
        return;
    }
    let drain = async {
        let mut scrap = Vec::with_capacity(READ_MAX);
        while stream.readable().await.is_ok() {
            scrap.clear();
            match stream.try_read_buf(&mut scrap) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if would_wait(&e) => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_MAX, drain).await;
}

/// Bytes to write, the first buffer being written from `at` on.
#[derive(Default)]
struct Pending {
    buffers: VecDeque<Vec<u8>>,
    at: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.buffers.push_back(bytes);
        }
    }

    /// Writes what the kernel takes now.
    fn write_to(&mut self, stream: &TcpStream) -> io::Result<()> {
        let Some(first) = self.buffers.front() else { return Ok(()) };
        match stream.try_write(&first[self.at..]) {
            Ok(n) => self.at += n,
            Err(e) if would_wait(&e) => {}
            Err(e) => return Err(e),
        }
        if self.at == first.len() {
            self.buffers.pop_front();
            self.at = 0;
        }
        Ok(())
    }
}

fn would_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
