//! What [`crate::Serf`] and [`crate::Membership`] have in common: a handle to a driver whose owner answers commands,
//! lets the machine be looked at, tells events and logs notices.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use serf_gossip::{CommandId, Machine, Notice, Severity, Topic};
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Closed, Driver, DriverStats, Owner, Remote, WeakRemote};
use crate::identity::same;
use crate::runtime::Runtime;
use crate::transport::Sockets;

/// Events kept for a subscriber that does not take them: as many as may come of all members of a large cluster
/// joining at once, at less than a megabyte.
pub const EVENT_QUEUE: usize = 2048;

/// A machine whose events say what they are.
pub(crate) trait Served: Machine<Command: Send, Event: Send> + Send + Sized + 'static {
    /// How a command ends.
    type Outcome: Send + 'static;
    /// What subscribers are told.
    type News: Clone + Send + 'static;
    /// What comes, after such an end, of commands that go on.
    type Part: Send + 'static;

    /// What stands beside the machine in its driver's task.
    type Clerk: Send + 'static;

    /// Says what an event is, or has the clerk deal with it.
    fn sort(event: Self::Event, clerk: &mut Self::Clerk) -> Sorted<Self>;

    /// How many parts will come after a command has ended so. None if it does not go on.
    fn parts(outcome: &Self::Outcome) -> Option<usize> {
        let _ = outcome;
        None
    }

    /// What ends a command that goes on, when nobody wants more of it.
    fn abandon(id: CommandId) -> Option<Self::Command> {
        let _ = id;
        None
    }

    /// A turn of the driver is over.
    fn turned(&mut self, clerk: &Self::Clerk, driver: DriverStats) {
        let _ = (clerk, driver);
    }

    /// The end is near: what subscribers have not been told yet is to be told now.
    fn ending(&mut self) {}
}

/// What an event is.
pub(crate) enum Sorted<M: Served> {
    Done(CommandId, M::Outcome),
    Notice(Notice),
    News(M::News),
    /// The same, and the machine has come to its end.
    Last(M::News),
    /// A part, and whether it is the last.
    Part(CommandId, M::Part, bool),
    /// Dealt with, or of no interest.
    Nothing,
}

/// A command that goes on.
pub(crate) struct Ongoing<M: Served> {
    pub(crate) outcome: M::Outcome,
    /// Nothing comes in here if it does not go on.
    pub(crate) parts: Events<M::Part>,
    pub(crate) lease: Lease<M>,
}

/// A command goes on as long as this is held, or until it is over.
pub(crate) struct Lease<M: Served> {
    id: CommandId,
    node: Option<WeakRemote<Request<M>>>,
}

impl<M: Served> Lease<M> {
    /// There is nothing left to end.
    pub(crate) fn is_over(&mut self) {
        self.node = None;
    }
}

impl<M: Served> Drop for Lease<M> {
    fn drop(&mut self) {
        if let Some(node) = self.node.take()
            && let Some(command) = M::abandon(self.id)
        {
            node.send_soon(Request::Order(command));
        }
    }
}

/// What handles ask.
pub(crate) enum Request<M: Served> {
    /// To give the machine a command, and to tell how it ended.
    Command(Make<M>, oneshot::Sender<M::Outcome>),
    /// The same of a command that goes on.
    Begin(Make<M>, oneshot::Sender<Ongoing<M>>),
    /// The same, if nobody waits for an end.
    Order(M::Command),
    /// To look at the machine.
    Look(Look<M>),
    /// To be told what happens from now on.
    Subscribe(Feed<M::News>),
}

type Make<M> = Box<dyn FnOnce(CommandId) -> <M as Machine>::Command + Send>;
type Look<M> = Box<dyn FnOnce(&mut M) + Send>;

/// A handle; cloning is cheap.
pub(crate) struct Handle<M: Served> {
    remote: Remote<Request<M>>,
    event_queue: usize,
}

impl<M: Served> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { remote: self.remote.clone(), event_queue: self.event_queue }
    }
}

impl<M: Served> Handle<M> {
    /// Starts a driver. The events begin with the machine's first.
    pub(crate) fn start(
        machine: M,
        sockets: Sockets,
        runtime: Arc<dyn Runtime>,
        event_queue: usize,
        clerk: impl FnOnce(&WeakRemote<Request<M>>) -> M::Clerk,
    ) -> (Self, Events<M::News>) {
        let (feed, events) = feed(event_queue);
        let desk = |node| Desk {
            clerk: clerk(&node),
            node,
            next: 0,
            waiting: HashMap::new(),
            ongoing: HashMap::new(),
            feeds: vec![feed],
            is_over: false,
        };
        (Self { remote: Driver::spawn_with(machine, desk, sockets, runtime), event_queue }, events)
    }

    pub(crate) fn remote(&self) -> &Remote<Request<M>> {
        &self.remote
    }

    /// Gives a command and waits for its end.
    pub(crate) async fn command(
        &self,
        make: impl FnOnce(CommandId) -> M::Command + Send + 'static,
    ) -> Result<M::Outcome, Closed> {
        let (answer, outcome) = oneshot::channel();
        self.remote.send(Request::Command(Box::new(make), answer)).await?;
        outcome.await.map_err(|_| Closed)
    }

    /// Gives a command that goes on after its end.
    pub(crate) async fn begin(
        &self,
        make: impl FnOnce(CommandId) -> M::Command + Send + 'static,
    ) -> Result<Ongoing<M>, Closed> {
        let (answer, ongoing) = oneshot::channel();
        self.remote.send(Request::Begin(Box::new(make), answer)).await?;
        ongoing.await.map_err(|_| Closed)
    }

    pub(crate) async fn order(&self, command: M::Command) -> Result<(), Closed> {
        self.remote.send(Request::Order(command)).await
    }

    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut M) -> T + Send + 'static,
    ) -> Result<T, Closed> {
        let (answer, seen) = oneshot::channel();
        let look = move |machine: &mut M| drop(answer.send(look(machine)));
        self.remote.send(Request::Look(Box::new(look))).await?;
        seen.await.map_err(|_| Closed)
    }

    pub(crate) async fn subscribe(&self) -> Result<Events<M::News>, Closed> {
        let (feed, events) = feed(self.event_queue);
        self.remote.send(Request::Subscribe(feed)).await?;
        Ok(events)
    }
}

/// Who waits for the end of a command.
enum Waiting<M: Served> {
    End(oneshot::Sender<M::Outcome>),
    Begin(oneshot::Sender<Ongoing<M>>),
}

/// The owner of the machine.
struct Desk<M: Served> {
    clerk: M::Clerk,
    node: WeakRemote<Request<M>>,
    next: u64,
    waiting: HashMap<CommandId, Waiting<M>>,
    ongoing: HashMap<CommandId, Feed<M::Part>>,
    feeds: Vec<Feed<M::News>>,
    is_over: bool,
}

impl<M: Served> Owner<M> for Desk<M> {
    type Request = Request<M>;

    fn request(&mut self, machine: &mut M, request: Request<M>) -> Option<M::Command> {
        match request {
            Request::Command(make, answer) => return Some(make(self.wait(Waiting::End(answer)))),
            Request::Begin(make, answer) => return Some(make(self.wait(Waiting::Begin(answer)))),
            Request::Order(command) => return Some(command),
            Request::Look(look) => look(machine),
            Request::Subscribe(feed) => self.feeds.push(feed),
        }
        None
    }

    fn event(&mut self, _machine: &mut M, event: M::Event) {
        match M::sort(event, &mut self.clerk) {
            // Whoever asked may have gone.
            Sorted::Done(id, outcome) => match self.waiting.remove(&id) {
                Some(Waiting::End(answer)) => drop(answer.send(outcome)),
                Some(Waiting::Begin(answer)) => {
                    let more = M::parts(&outcome);
                    let (feed, parts) = feed(more.unwrap_or(0));
                    let node = more.is_some().then(|| self.node.clone());
                    if more.is_some() {
                        self.ongoing.insert(id, feed);
                    }
                    drop(answer.send(Ongoing { outcome, parts, lease: Lease { id, node } }));
                }
                None => {}
            },
            Sorted::Notice(notice) => log(&notice),
            Sorted::Last(news) => {
                self.feeds.retain(|feed| feed.tell(|| news.clone()));
                self.is_over = true;
            }
            Sorted::News(news) => self.feeds.retain(|feed| feed.tell(|| news.clone())),
            Sorted::Nothing => {}
            Sorted::Part(id, part, is_last) => {
                if let Some(feed) = self.ongoing.get(&id)
                    && (!feed.tell(|| part) || is_last)
                {
                    self.ongoing.remove(&id);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn turned(&mut self, machine: &mut M, driver: DriverStats) {
        machine.turned(&self.clerk, driver);
    }

    fn ending(&mut self, machine: &mut M) {
        machine.ending();
    }
}

impl<M: Served> Desk<M> {
    fn wait(&mut self, who: Waiting<M>) -> CommandId {
        self.next += 1;
        let id = CommandId(self.next);
        self.waiting.insert(id, who);
        id
    }
}

fn log(notice: &Notice) {
    let level = match notice.severity {
        Severity::Debug => log::Level::Debug,
        Severity::Info => log::Level::Info,
        Severity::Warn => log::Level::Warn,
        Severity::Error => log::Level::Error,
    };
    match notice.topic {
        Topic::Serf => log::log!(target: "serf", level, "{}", notice.text),
        _ => log::log!(target: "memberlist", level, "{}", notice.text),
    }
}

/// What happens, for one consumer, in a queue of its own: a slow one delays nobody. What does not fit is thrown away
/// and counted.
///
/// ```
/// use serf::{Config, Serf};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let config = Config { bind: "127.0.0.1:0".parse()?, event_queue: 100, ..Config::lan("web-1") };
/// let (serf, mut events) = Serf::start_with_events(config).await?;
/// serf.shutdown().await;
/// while let Some(event) = events.recv().await {
///     println!("{event:?}");
/// }
/// assert_eq!(events.shed(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Events<E = crate::Event> {
    queue: Box<dyn Queue<E>>,
    shed: Arc<AtomicU64>,
}

/// What a subscriber reads.
trait Queue<E>: Send + Sync {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<E>>;
    fn try_recv(&mut self) -> Option<E>;
    fn len(&self) -> usize;
}

impl<E: Send> Queue<E> for mpsc::Receiver<E> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<E>> {
        self.poll_recv(cx)
    }

    fn try_recv(&mut self) -> Option<E> {
        self.try_recv().ok()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// A queue in other words, made when they are read: whoever wants them pays for it.
struct Mapped<E, F> {
    queue: Box<dyn Queue<E>>,
    make: fn(E) -> Option<F>,
}

impl<E, F> Queue<F> for Mapped<E, F> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<F>> {
        loop {
            match ready!(self.queue.poll_recv(cx)) {
                Some(event) => {
                    if let Some(made) = (self.make)(event) {
                        return Poll::Ready(Some(made));
                    }
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn try_recv(&mut self) -> Option<F> {
        while let Some(event) = self.queue.try_recv() {
            if let Some(made) = (self.make)(event) {
                return Some(made);
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.queue.len()
    }
}

pub(crate) struct Feed<E> {
    queue: mpsc::Sender<E>,
    shed: Arc<AtomicU64>,
}

fn feed<E: Send + 'static>(capacity: usize) -> (Feed<E>, Events<E>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let shed = Arc::new(AtomicU64::new(0));
    (Feed { queue: sender, shed: shed.clone() }, Events { queue: Box::new(receiver), shed })
}

impl<E> Feed<E> {
    /// Tells what is made, if there is room for it. False if the consumer is gone.
    fn tell(&self, event: impl FnOnce() -> E) -> bool {
        match self.queue.try_reserve() {
            Ok(place) => place.send(event()),
            Err(mpsc::error::TrySendError::Full(())) => {
                self.shed.fetch_add(1, Relaxed);
            }
            Err(mpsc::error::TrySendError::Closed(())) => return false,
        }
        true
    }
}

impl<E> Events<E> {
    /// The next event. None when the node is gone and all events are taken. Cancelling loses none.
    pub async fn recv(&mut self) -> Option<E> {
        poll_fn(|cx| self.queue.poll_recv(cx)).await
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<E> {
        self.queue.try_recv()
    }

    /// [`Events::recv`] for streams made by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<E>> {
        self.queue.poll_recv(cx)
    }

    /// How many events found no room so far. They came after those in the queue at that time.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }
}

impl<E: 'static> Events<E> {
    /// The same events in other words; those that there are none for are left out.
    pub(crate) fn map<F: 'static>(self, make: fn(E) -> Option<F>) -> Events<F> {
        same(self)
            .unwrap_or_else(|Self { queue, shed }| Events { queue: Box::new(Mapped { queue, make }), shed })
    }
}

impl<E> fmt::Debug for Events<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.queue.len()).field("shed", &self.shed()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_consumer_loses_with_a_count_and_a_gone_one_is_forgotten() {
        let (sender, mut events) = feed(2);
        assert!((0..5).all(|n| sender.tell(|| n)));
        assert_eq!((events.try_recv(), events.try_recv(), events.try_recv()), (Some(0), Some(1), None));
        assert_eq!(events.shed(), 3);
        drop(events);
        assert!(!sender.tell(|| 5));
    }
}
