//! The driver: runs one machine on real sockets and a real clock. It knows nothing of membership.
//!
//! One task owns the machine and does what the boundary asks for (see [`serf_gossip::machine`]): wait, feed, drain.
//! It sleeps until something comes or the machine's deadline is reached; it has no interval of its own.
//!
//! Whatever woke it, it then looks at every source in one order, each up to a bound: requests of the program, streams,
//! datagrams, the deadline. So a flood from the network delays neither a leave nor a probe, and a program that asks
//! without pause does not make its own node deaf. The deadline comes last, because it passes judgement: an answer that
//! is there already, and was only not read yet, must not be taken for missing. Who comes late to a deadline, after having
//! been stopped or starved, therefore reads more than usual before it.
//!
//! What stands between the machine and its program is an [`Owner`]; [`crate::Serf`] and [`crate::Membership`] bring
//! theirs. A driver can run any machine:
//!
//! ```
//! use serf::driver::{Driver, Owner};
//! use serf::transport::{Plain, Transport};
//! use serf_gossip::{Input, Instant, Machine, Output, Reason};
//!
//! /// A machine that counts what it is told.
//! struct Counter(u64);
//! impl Machine for Counter {
//!     type Command = u64;
//!     type Event = ();
//!     fn handle(&mut self, _now: Instant, input: Input<'_, u64>) {
//!         if let Input::Command(n) = input {
//!             self.0 += n;
//!         }
//!     }
//!     fn poll(&mut self) -> Output<()> {
//!         Output::Timeout(None, Reason::Idle)
//!     }
//! }
//!
//! enum Request {
//!     Add(u64),
//!     Read(tokio::sync::oneshot::Sender<u64>),
//! }
//! struct Desk;
//! impl Owner<Counter> for Desk {
//!     type Request = Request;
//!     fn request(&mut self, machine: &mut Counter, request: Request) -> Option<u64> {
//!         match request {
//!             Request::Add(n) => return Some(n),
//!             Request::Read(answer) => drop(answer.send(machine.0)),
//!         }
//!         None
//!     }
//!     fn event(&mut self, _machine: &mut Counter, (): ()) {}
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let runtime = serf::runtime::current().unwrap();
//! let sockets = Plain.bind("127.0.0.1:0".parse().unwrap(), &runtime).unwrap();
//! let remote = Driver::spawn(Counter(0), Desk, sockets, runtime);
//! remote.send(Request::Add(2)).await.unwrap();
//! let (answer, result) = tokio::sync::oneshot::channel();
//! remote.send(Request::Read(answer)).await.unwrap();
//! assert_eq!(result.await, Ok(2));
//! remote.shutdown().await;
//! # });
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use serf_gossip::{Address, Input, Instant, Machine, Output, Reason, StreamEvent, Transmit};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::fault;
use crate::net::{Datagrams, would_wait};
use crate::runtime::{Alarm, Runtime};
use crate::streams::{Report, Streams};
use crate::transport::Sockets;

/// Requests of the program that wait for the driver; whoever has one more waits.
const REQUESTS_MAX: usize = 64;
/// Requests dealt with in one turn.
const REQUESTS_PER_TURN: usize = 64;
/// Reports of streams dealt with in one turn.
const REPORTS_PER_TURN: usize = 64;
/// Datagrams received in one turn: enough to save wake-ups under load, few enough that a turn takes about a
/// millisecond.
const DATAGRAMS_PER_TURN: usize = 64;
/// Who is so late for a deadline may have more waiting in the socket than one turn usually takes.
const LATE: Duration = Duration::from_millis(100);
/// How many times [`DATAGRAMS_PER_TURN`] then: about as many of gossip's size as the socket holds, a few dozen
/// milliseconds of work.
const HELPINGS_IF_LATE: usize = 64;
/// The largest datagram there is fits.
const DATAGRAM_MAX: usize = 64 << 10;
/// Datagrams that wait until the kernel takes more. Gossip repeats itself, so what does not fit is thrown away.
const UNSENT_MAX: usize = 1024;
/// Pause after the socket refused to receive; doubles up to [`RECEIVE_PAUSE_MAX`].
const RECEIVE_PAUSE_MIN: Duration = Duration::from_millis(5);
/// See [`RECEIVE_PAUSE_MIN`].
const RECEIVE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Failed sends and receives are told once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What stands between a machine and the program that owns it. It runs in the driver's task, so it must not block.
pub trait Owner<M: Machine>: Send + 'static {
    /// What handles may ask.
    type Request: Send + 'static;

    /// Turns a request into a command for the machine, or answers it at once.
    fn request(&mut self, machine: &mut M, request: Self::Request) -> Option<M::Command>;

    /// Takes what the machine tells.
    fn event(&mut self, machine: &mut M, event: M::Event);

    /// Whether the machine has come to its end, so that the driver is to end too. Looked at when nothing is left to be
    /// taken from the machine.
    fn is_over(&self) -> bool {
        false
    }

    /// A turn is over: what the machine asked for is done. The owner may look, but gives the machine nothing to do.
    fn turned(&mut self, machine: &mut M, driver: DriverStats) {
        let _ = (machine, driver);
    }

    /// The driver ends: the machine gets no more input, and is polled for a last time.
    fn ending(&mut self, machine: &mut M) {
        let _ = machine;
    }
}

/// The way to a driver. Cloning is cheap; when the last clone is dropped, the driver ends.
pub struct Remote<R> {
    orders: mpsc::Sender<Order<R>>,
    ended: watch::Receiver<()>,
    counters: Arc<Counters>,
    runtime: Arc<dyn Runtime>,
}

/// The way to a driver for those who do not keep it going: things that it handed out, and that may lie around.
pub struct WeakRemote<R> {
    orders: mpsc::WeakSender<Order<R>>,
    runtime: Arc<dyn Runtime>,
}

impl<R> Clone for WeakRemote<R> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), runtime: self.runtime.clone() }
    }
}

impl<R> fmt::Debug for WeakRemote<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakRemote").finish_non_exhaustive()
    }
}

impl<R> WeakRemote<R> {
    /// Hands a request to the driver's owner, waiting for a place in the queue.
    ///
    /// # Errors
    /// [`Closed`]; the request is dropped.
    pub async fn send(&self, request: R) -> Result<(), Closed> {
        let orders = self.orders.upgrade().ok_or(Closed)?;
        orders.send(Order::Do(request)).await.map_err(|_| Closed)
    }

    /// The same, from a thread that may block.
    ///
    /// # Errors
    /// [`Closed`]; the request is dropped.
    ///
    /// # Panics
    /// In a task.
    pub fn send_blocking(&self, request: R) -> Result<(), Closed> {
        let orders = self.orders.upgrade().ok_or(Closed)?;
        orders.blocking_send(Order::Do(request)).map_err(|_| Closed)
    }

    /// The same where nothing can be waited for: a request that finds no place waits for one in a task of its own.
    /// It is dropped if the driver has ended.
    pub fn send_soon(&self, request: R)
    where
        R: Send + 'static,
    {
        let Some(orders) = self.orders.upgrade() else { return };
        if let Err(TrySendError::Full(order)) = orders.try_send(Order::Do(request)) {
            self.runtime.spawn(Box::pin(async move { drop(orders.send(order).await) }));
        }
    }
}

/// The driver has ended: it was shut down, its runtime was, or its machine panicked. The request was not done, or
/// its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node was shut down")]
pub struct Closed;

enum Order<R> {
    Do(R),
    Stop,
}

impl<R> Clone for Remote<R> {
    fn clone(&self) -> Self {
        Self {
            orders: self.orders.clone(),
            ended: self.ended.clone(),
            counters: self.counters.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

impl<R> fmt::Debug for Remote<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<R> Remote<R> {
    /// Hands a request to the driver's owner, waiting for a place in the queue.
    ///
    /// # Errors
    /// [`Closed`]; the request is dropped.
    pub async fn send(&self, request: R) -> Result<(), Closed> {
        self.orders.send(Order::Do(request)).await.map_err(|_| Closed)
    }

    /// A way that does not keep the driver going.
    #[must_use]
    pub fn downgrade(&self) -> WeakRemote<R> {
        WeakRemote { orders: self.orders.downgrade(), runtime: self.runtime.clone() }
    }

    /// Stops the driver, after the requests sent before, and waits until its sockets are closed and its tasks are
    /// gone. Does nothing if it has ended already.
    pub async fn shutdown(&self) {
        let _ = self.orders.send(Order::Stop).await;
        self.closed().await;
    }

    /// What its driver runs on.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Waits until the driver has ended.
    pub async fn closed(&self) {
        // Nothing is ever sent: the other end is dropped last of all.
        let _ = self.ended.clone().changed().await;
    }

    /// Whether the driver has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// What the driver has done so far.
    #[must_use]
    pub fn stats(&self) -> DriverStats {
        self.counters.read()
    }
}

/// What a driver has done, and what it could not do. The numbers only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStats {
    /// Times it woke up.
    pub wakes: u64,
    /// Datagrams handed to the kernel.
    pub datagrams_sent: u64,
    /// Datagrams the kernel refused: no route, too long, no such address.
    pub send_errors: u64,
    /// Datagrams thrown away because too many waited for the kernel.
    pub datagrams_shed: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Times the gossip socket could not be read.
    pub receive_errors: u64,
    /// Connections that could not be accepted.
    pub accept_errors: u64,
    /// Rounds of gossip.
    pub rounds: u64,
    /// How long they took, all together: what the machine did, and handing over what it sent.
    pub round_time: Duration,
}

/// Which of [`Counters`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counter {
    Wakes,
    DatagramsSent,
    SendErrors,
    DatagramsShed,
    DatagramsReceived,
    ReceiveErrors,
    AcceptErrors,
    Rounds,
    RoundNanos,
}

/// [`DriverStats`], being counted.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; Counter::RoundNanos as usize + 1]);

impl Counters {
    pub(crate) fn add(&self, counter: Counter, n: u64) {
        self.0[counter as usize].fetch_add(n, Relaxed);
    }

    fn read(&self) -> DriverStats {
        let of = |counter: Counter| self.0[counter as usize].load(Relaxed);
        DriverStats {
            wakes: of(Counter::Wakes),
            datagrams_sent: of(Counter::DatagramsSent),
            send_errors: of(Counter::SendErrors),
            datagrams_shed: of(Counter::DatagramsShed),
            datagrams_received: of(Counter::DatagramsReceived),
            receive_errors: of(Counter::ReceiveErrors),
            accept_errors: of(Counter::AcceptErrors),
            rounds: of(Counter::Rounds),
            round_time: Duration::from_nanos(of(Counter::RoundNanos)),
        }
    }
}

/// See the module's text. Lives in a task; programs hold a [`Remote`].
pub struct Driver<M: Machine, O: Owner<M>> {
    machine: M,
    owner: O,
    clock: Clock,
    orders: mpsc::Receiver<Order<O::Request>>,
    streams: Streams,
    datagrams: Box<dyn Datagrams>,
    /// For every datagram that comes.
    buffer: Box<[u8]>,
    /// Waits for the kernel.
    unsent: VecDeque<Transmit>,
    /// Rings at the machine's deadline, if there is one.
    alarm: Pin<Box<dyn Alarm>>,
    /// It has, and is to be set anew.
    rung: bool,
    due: Option<Instant>,
    /// What is due then.
    reason: Reason,
    /// When the round of gossip began that this turn is for.
    round: Option<Instant>,
    /// Until when the socket is not read, after it failed.
    deaf_until: Option<std::time::Instant>,
    deaf_for: Duration,
    /// Rings when it is read again.
    hearing: Pin<Box<dyn Alarm>>,
    ration: Ration,
    counters: Arc<Counters>,
    /// Dropped last: that is how handles learn that all is over.
    ending: watch::Sender<()>,
}

impl<M: Machine, O: Owner<M>> fmt::Debug for Driver<M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("due", &self.due).finish_non_exhaustive()
    }
}

/// What woke the driver.
enum Wake<R> {
    Order(Option<Order<R>>),
    Report(Option<Report>),
    /// Something that a turn finds by itself.
    Other,
}

impl<M, O> Driver<M, O>
where
    M: Machine + Send + 'static,
    M::Command: Send,
    M::Event: Send,
    O: Owner<M>,
{
    /// Runs the machine in a task of this runtime, whose sockets they must be. The machine's time begins now, with
    /// [`Instant::ZERO`].
    #[must_use = "the driver ends when the last Remote is dropped"]
    pub fn spawn(machine: M, owner: O, sockets: Sockets, runtime: Arc<dyn Runtime>) -> Remote<O::Request> {
        Self::spawn_with(machine, |_| owner, sockets, runtime)
    }

    /// The same with an owner that can hand out ways to its driver.
    #[must_use = "the driver ends when the last Remote is dropped"]
    pub fn spawn_with(
        machine: M,
        owner: impl FnOnce(WeakRemote<O::Request>) -> O,
        sockets: Sockets,
        runtime: Arc<dyn Runtime>,
    ) -> Remote<O::Request> {
        let (sender, orders) = mpsc::channel(REQUESTS_MAX);
        let (ending, ended) = watch::channel(());
        let counters = Arc::new(Counters::default());
        let remote = Remote { orders: sender, ended, counters: counters.clone(), runtime: runtime.clone() };
        let owner = owner(remote.downgrade());
        let Sockets { datagrams, listener, dialer, .. } = sockets;
        let clock = Clock::start();
        let driver = Self {
            machine,
            owner,
            orders,
            streams: Streams::new(runtime.clone(), listener, dialer, counters.clone()),
            datagrams,
            buffer: vec![0; DATAGRAM_MAX].into(),
            unsent: VecDeque::new(),
            alarm: runtime.alarm(clock.0),
            rung: false,
            due: None,
            reason: Reason::Idle,
            round: None,
            deaf_until: None,
            deaf_for: RECEIVE_PAUSE_MIN,
            hearing: runtime.alarm(clock.0),
            ration: Ration::default(),
            counters,
            clock,
            ending,
        };
        runtime.spawn(Box::pin(driver.run()));
        remote
    }

    async fn run(mut self) {
        self.finish_turn();
        while !self.owner.is_over() && self.turn().await {
            self.finish_turn();
        }
        // What was asked for before the end is still done, as far as it needs no waiting.
        self.drain();
        self.owner.ending(&mut self.machine);
        self.finish_turn();
        let Self { machine, owner, mut orders, streams, datagrams, ending, .. } = self;
        orders.close();
        drop(datagrams);
        streams.stop().await;
        drop((machine, owner));
        // What is on its way into the queue as well: left in there it would be lost, and whoever asked wait for ever.
        while orders.recv().await.is_some() {}
        drop(ending);
    }

    /// Waits until there is something to do and feeds it to the machine. False at the end.
    async fn turn(&mut self) -> bool {
        let wake = self.wait().await;
        self.counters.add(Counter::Wakes, 1);
        match wake {
            Wake::Order(Some(Order::Do(request))) => self.request(request),
            Wake::Order(Some(Order::Stop) | None) => return false,
            Wake::Report(Some(report)) => self.report(report),
            Wake::Report(None) | Wake::Other => {}
        }
        for _ in 0..REQUESTS_PER_TURN {
            match self.orders.try_recv() {
                Ok(Order::Do(request)) => self.request(request),
                Ok(Order::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return false,
                Err(mpsc::error::TryRecvError::Empty) => break,
            }
        }
        for _ in 0..REPORTS_PER_TURN {
            let Some(report) = self.streams.try_report() else { break };
            self.report(report);
        }
        let is_late = self.due.is_some_and(|due| due + LATE <= self.clock.now());
        for _ in 1..if is_late { HELPINGS_IF_LATE } else { 1 } {
            if !self.receive() {
                break;
            }
            self.drain();
        }
        self.receive();
        let now = self.clock.now();
        if self.due.is_some_and(|due| due <= now) {
            self.round = (self.reason == Reason::Gossip).then_some(now);
            self.machine.handle(now, Input::Timeout);
        }
        self.send_unsent();
        true
    }

    async fn wait(&mut self) -> Wake<O::Request> {
        poll_fn(|cx| self.poll_wake(cx)).await
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake<O::Request>> {
        if let Poll::Ready(order) = self.orders.poll_recv(cx) {
            return Poll::Ready(Wake::Order(order));
        }
        if self.due.is_some() && self.alarm.as_mut().poll(cx).is_ready() {
            self.rung = true;
            return Poll::Ready(Wake::Other);
        }
        if let Poll::Ready(report) = self.streams.poll_report(cx) {
            return Poll::Ready(Wake::Report(report));
        }
        // What is wrong with the socket shows when it is used.
        let writable = !self.unsent.is_empty() && self.datagrams.poll_writable(cx).is_ready();
        let readable = match self.deaf_until {
            Some(_) => self.hearing.as_mut().poll(cx).is_ready(),
            None => self.datagrams.poll_readable(cx).is_ready(),
        };
        if writable || readable { Poll::Ready(Wake::Other) } else { Poll::Pending }
    }

    fn request(&mut self, request: O::Request) {
        if let Some(command) = self.owner.request(&mut self.machine, request) {
            self.machine.handle(self.clock.now(), Input::Command(command));
        }
    }

    fn report(&mut self, report: Report) {
        let now = self.clock.now();
        match report {
            Report::Accepted(accepted) => {
                let (id, from) = self.streams.adopt(accepted);
                self.machine.handle(now, Input::Stream { id, event: StreamEvent::Accepted { from } });
            }
            Report::Stream { id, mut news } => {
                if self.streams.wants(id, &news) {
                    self.machine.handle(now, Input::Stream { id, event: news.event() });
                }
            }
        }
    }

    /// Feeds the datagrams that are there. Whether there may be more than it was allowed to.
    fn receive(&mut self) -> bool {
        if self.deaf_until.is_some_and(|until| std::time::Instant::now() < until) {
            return false;
        }
        self.deaf_until = None;
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.datagrams.try_receive(&mut self.buffer) {
                Ok((len, from)) => {
                    self.deaf_for = RECEIVE_PAUSE_MIN;
                    self.counters.add(Counter::DatagramsReceived, 1);
                    let input = Input::Datagram { from, bytes: &mut self.buffer[..len] };
                    self.machine.handle(self.clock.now(), input);
                }
                Err(error) if would_wait(&error) => return false,
                // Some systems tell here that a datagram sent earlier reached nobody. The socket is well.
                Err(error) if is_about_a_sent_one(&error) => {}
                Err(error) => {
                    self.counters.add(Counter::ReceiveErrors, 1);
                    if let Some(more) = self.ration.admit(self.clock.now()) {
                        let why = fault::call("recvfrom", &error);
                        log::error!(target: "memberlist", "Error reading UDP packet: {why}{more}");
                    }
                    let until = std::time::Instant::now() + self.deaf_for;
                    self.hearing.as_mut().reset(until);
                    self.deaf_until = Some(until);
                    self.deaf_for = (self.deaf_for * 2).min(RECEIVE_PAUSE_MAX);
                    return false;
                }
            }
        }
        true
    }

    fn finish_turn(&mut self) {
        self.drain();
        if let Some(began) = self.round.take() {
            let took = self.clock.now().since(began);
            self.counters.add(Counter::Rounds, 1);
            self.counters.add(Counter::RoundNanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        self.owner.turned(&mut self.machine, self.counters.read());
    }

    /// Does all that the machine asks.
    fn drain(&mut self) {
        loop {
            match self.machine.poll() {
                Output::Datagram(transmit) => self.transmit(transmit),
                Output::Stream { id, action } => self.streams.act(id, action),
                Output::Event(event) => self.owner.event(&mut self.machine, event),
                Output::Timeout(due, reason) => {
                    self.reason = reason;
                    return self.set_alarm(due);
                }
            }
        }
    }

    fn set_alarm(&mut self, due: Option<Instant>) {
        // A deadline beyond what the clock can express is none.
        let at = due.and_then(|due| self.clock.at(due));
        if let Some(at) = at
            && (self.due != due || self.rung)
        {
            self.alarm.as_mut().reset(at);
            self.rung = false;
        }
        self.due = due.filter(|_| at.is_some());
    }

    fn transmit(&mut self, transmit: Transmit) {
        if self.unsent.is_empty() {
            self.try_send(transmit);
        } else {
            self.keep_unsent(transmit);
        }
    }

    /// Hands a datagram to the network. False if it has to wait.
    fn try_send(&mut self, transmit: Transmit) -> bool {
        let Transmit { to, node, bytes } = &transmit;
        match self.datagrams.try_send(to, node.as_ref(), bytes) {
            Ok(()) => self.counters.add(Counter::DatagramsSent, 1),
            Err(error) if would_wait(&error) => {
                self.keep_unsent(transmit);
                return false;
            }
            Err(error) => self.send_failed(&transmit.to, &error),
        }
        self.machine.recycle(transmit.bytes);
        true
    }

    fn keep_unsent(&mut self, transmit: Transmit) {
        if self.unsent.len() < UNSENT_MAX {
            self.unsent.push_back(transmit);
        } else {
            self.counters.add(Counter::DatagramsShed, 1);
            self.machine.recycle(transmit.bytes);
        }
    }

    /// Tries those again that had to wait, in their order.
    fn send_unsent(&mut self) {
        for _ in 0..self.unsent.len() {
            let Some(transmit) = self.unsent.pop_front() else { return };
            if !self.try_send(transmit) {
                // It was put at the end; it belongs to the front.
                self.unsent.rotate_right(1);
                return;
            }
        }
    }

    /// Never fatal: the machine finds out who cannot be reached.
    fn send_failed(&mut self, to: &Address, error: &io::Error) {
        self.counters.add(Counter::SendErrors, 1);
        if let Some(more) = self.ration.admit(self.clock.now()) {
            let why = fault::call("sendto", error);
            log::error!(target: "memberlist", "Failed to send UDP packet to {to}: {why}{more}");
        }
    }
}

pub(crate) fn is_about_a_sent_one(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused)
}

/// The machine's time: nanoseconds since the start.
struct Clock(std::time::Instant);

impl Clock {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    fn at(&self, when: Instant) -> Option<std::time::Instant> {
        self.0.checked_add(when.since(Instant::ZERO))
    }
}

/// Lets one log line through in [`LOG_INTERVAL`].
#[derive(Debug, Default)]
pub(crate) struct Ration {
    until: Option<Instant>,
    hushed: u64,
}

/// How many lines were not told before this one.
pub(crate) struct Hushed(u64);

impl Ration {
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Hushed> {
        if self.until.is_some_and(|until| now < until) {
            self.hushed += 1;
            return None;
        }
        self.until = Some(now + LOG_INTERVAL);
        Some(Hushed(std::mem::take(&mut self.hushed)))
    }
}

impl fmt::Display for Hushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} similar lines suppressed)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ration_lets_one_line_through_and_counts_the_others() {
        let mut ration = Ration::default();
        let t = Instant::ZERO;
        assert_eq!(ration.admit(t).unwrap().to_string(), "");
        assert!(ration.admit(t).is_none() && ration.admit(t + LOG_INTERVAL / 2).is_none());
        assert_eq!(ration.admit(t + LOG_INTERVAL).unwrap().to_string(), " (2 similar lines suppressed)");
    }

    #[test]
    fn a_deadline_for_ever_away_is_none_or_far() {
        let clock = Clock::start();
        let far = clock.at(Instant::from_nanos(u64::MAX));
        assert!(far.is_none_or(|at| at > std::time::Instant::now() + Duration::from_secs(1 << 30)));
    }
}
