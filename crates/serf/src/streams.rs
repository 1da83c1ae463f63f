//! The streams of a driver: every connection is pumped by a task of its own, which knows nothing of what is said.
//!
//! A task that has bytes for the machine first reserves a place in the one bounded queue towards the driver and
//! reads only then. So all streams together hold a bounded number of unread bytes, an idle one holds no buffer, and
//! a peer that sends faster than the machine takes is stopped by its own window.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serf_gossip::{Address, Name, StreamAction, StreamEvent, StreamId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::driver::{Counter, Counters};
use crate::fault;
use crate::net::{Connection, Dialer, Listener, read, would_wait};
use crate::runtime::{Group, Runtime, Switch, sleep, timeout};

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
    tasks: Group,
    dialer: Arc<dyn Dialer>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    next_accepted: u64,
}

/// A stream's task, as the driver holds it.
struct Pump {
    /// Not bounded: the machine writes, and waits for [`StreamEvent::Written`].
    orders: mpsc::UnboundedSender<Order>,
    task: Switch,
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
    connection: Box<dyn Connection>,
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
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        listener: Box<dyn Listener>,
        dialer: Arc<dyn Dialer>,
        counters: Arc<Counters>,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        let tasks = Group::new(runtime);
        tasks.spawn(accept(listener, reporter.clone(), counters, tasks.runtime().clone()));
        Self { open: HashMap::new(), tasks, dialer, reports, reporter, next_accepted: 1 }
    }

    /// The next report, or the waker is told when there is one.
    pub(crate) fn poll_report(&mut self, cx: &mut Context<'_>) -> Poll<Option<Report>> {
        self.reports.poll_recv(cx)
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
        let Accepted { connection, from, slot } = accepted;
        self.spawn(id, async move |orders, reports, runtime| {
            let _slot = slot;
            pump(connection, id, orders, reports, runtime).await;
        });
        (id, from)
    }

    /// Does what the machine asks.
    pub(crate) fn act(&mut self, id: StreamId, action: StreamAction) {
        match action {
            StreamAction::Dial { to, node } => {
                let dialer = self.dialer.clone();
                self.spawn(id, async move |orders, reports, runtime| {
                    dial(&*dialer, to, node, id, orders, reports, runtime).await;
                });
            }
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
                    pump.task.throw();
                }
            }
        }
    }

    /// Ends all tasks and waits until their sockets are closed.
    pub(crate) async fn stop(self) {
        self.tasks.end().await;
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        id: StreamId,
        task: impl FnOnce(mpsc::UnboundedReceiver<Order>, mpsc::Sender<Report>, Arc<dyn Runtime>) -> F,
    ) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let task = self.tasks.spawn(task(receiver, self.reporter.clone(), self.tasks.runtime().clone()));
        self.open.insert(id, Pump { orders, task });
    }
}

/// Accepts connections for ever.
async fn accept(
    mut listener: Box<dyn Listener>,
    reports: mpsc::Sender<Report>,
    counters: Arc<Counters>,
    runtime: Arc<dyn Runtime>,
) {
    let slots = Arc::new(Semaphore::new(ACCEPTED_MAX));
    let mut pause = ACCEPT_PAUSE_MIN;
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok((connection, from)) => {
                pause = ACCEPT_PAUSE_MIN;
                let accepted = Accepted { connection, from, slot };
                if reports.send(Report::Accepted(accepted)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // No rationing needed: the pauses do it, and a single failure is rare.
                counters.add(Counter::AcceptErrors, 1);
                log::error!(target: "memberlist", "Error accepting TCP connection: {}", fault::call("accept", &error));
                sleep(&*runtime, pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

async fn dial(
    dialer: &dyn Dialer,
    to: Address,
    node: Option<Name>,
    id: StreamId,
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::Sender<Report>,
    runtime: Arc<dyn Runtime>,
) {
    let news = match dialer.dial(to.clone(), node).await {
        Ok(connection) => {
            if reports.send(Report::Stream { id, news: News::Connected }).await.is_ok() {
                pump(connection, id, orders, reports, runtime).await;
            }
            return;
        }
        Err(error) => News::Failed(fault::dial(&to, &error)),
    };
    let _ = reports.send(Report::Stream { id, news }).await;
}

/// Moves bytes both ways until the driver closes the stream or it breaks.
async fn pump(
    connection: Box<dyn Connection>,
    id: StreamId,
    mut orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::Sender<Report>,
    runtime: Arc<dyn Runtime>,
) {
    let ends = connection.ends();
    if let Err((what, error)) = exchange(connection, id, &mut orders, &reports, &*runtime).await {
        let news = News::Failed(fault::broken(what, ends, &error));
        let _ = reports.send(Report::Stream { id, news }).await;
    }
}

/// What a pump has to see to.
enum Step {
    Order(Option<Order>),
    /// All that was to be written has been.
    Flushed,
    Readable,
}

async fn exchange(
    mut connection: Box<dyn Connection>,
    id: StreamId,
    orders: &mut mpsc::UnboundedReceiver<Order>,
    reports: &mpsc::Sender<Report>,
    runtime: &dyn Runtime,
) -> Result<(), (&'static str, io::Error)> {
    let mut pending = Pending::default();
    // Whether the machine is to hear that all is written, and whether the peer has ended its side.
    let (mut owed, mut ended) = (false, false);
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(order) = orders.poll_recv(cx) {
                return Poll::Ready(Ok(Step::Order(order)));
            }
            if owed && let Poll::Ready(result) = pending.poll_write(&mut *connection, cx) {
                return Poll::Ready(result.map(|()| Step::Flushed).map_err(|e| ("write", e)));
            }
            if !ended && let Poll::Ready(result) = connection.poll_readable(cx) {
                return Poll::Ready(result.map(|()| Step::Readable).map_err(|e| ("read", e)));
            }
            Poll::Pending
        });
        let mut order = None;
        match next.await? {
            Step::Order(next) => order = Some(next),
            // A place comes first, what it is for is made then; orders do not wait for it.
            step => tokio::select! {
                biased;
                next = orders.recv() => order = Some(next),
                place = reports.reserve() => {
                    let Ok(place) = place else { return Ok(()) };
                    let news = match step {
                        Step::Readable => {
                            let mut bytes = vec![0; READ_MAX];
                            match connection.try_read(&mut bytes) {
                                Ok(0) => {
                                    ended = true;
                                    News::Ended
                                }
                                Ok(len) => {
                                    bytes.truncate(len);
                                    News::Data(bytes)
                                }
                                Err(e) if would_wait(&e) => continue,
                                Err(e) => return Err(("read", e)),
                            }
                        }
                        _ => {
                            owed = false;
                            News::Written
                        }
                    };
                    place.send(Report::Stream { id, news });
                }
            },
        }
        match order {
            Some(Some(Order::Write(bytes))) => {
                pending.push(bytes);
                owed = true;
            }
            Some(Some(Order::Close) | None) => {
                close(connection, pending, ended, runtime).await;
                return Ok(());
            }
            None => {}
        }
    }
}

/// Writes out what is pending, says that no more comes, and lets the peer finish. Nobody wants to hear how it went.
async fn close(
    mut connection: Box<dyn Connection>,
    mut pending: Pending,
    ended: bool,
    runtime: &dyn Runtime,
) {
    let flush = poll_fn(|cx| {
        ready!(pending.poll_write(&mut *connection, cx))?;
        connection.poll_finish(cx)
    });
    if !matches!(timeout(runtime, FLUSH_MAX, flush).await, Some(Ok(()))) || ended {
        return;
    }
    let drain = async {
        let mut scrap = vec![0; READ_MAX];
        while read(&mut *connection, &mut scrap).await.is_ok_and(|len| len > 0) {}
    };
    let _ = timeout(runtime, LINGER_MAX, drain).await;
}

/// Bytes to write, the first buffer being written from `at` on.
#[derive(Default)]
struct Pending {
    buffers: VecDeque<Vec<u8>>,
    at: usize,
}

impl Pending {
    fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.buffers.push_back(bytes);
        }
    }

    /// Writes, and waits until all is handed to the network.
    fn poll_write(&mut self, connection: &mut dyn Connection, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.buffers.front() {
            match connection.try_write(&first[self.at..]) {
                Ok(len) => self.at += len,
                Err(e) if would_wait(&e) => {
                    ready!(connection.poll_writable(cx))?;
                    continue;
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
            if self.at >= first.len() {
                self.buffers.pop_front();
                self.at = 0;
            }
        }
        connection.poll_flush(cx)
    }
}
