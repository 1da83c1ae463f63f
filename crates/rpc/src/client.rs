//! The program's side of one connection.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf_wire::Malformed;
use serf_wire::msgpack::{Dialect, Reader, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::connection::VERSION;
use crate::dial::{DialError, dial};
use crate::frame::Inbox;
use crate::message::{
    AuthRequest, EventRecord, EventRequest, ForceLeaveRequest, HandshakeRequest, JoinRequest, JoinResponse,
    LogRecord, Member, MembersFilteredRequest, MembersResponse, MonitorRequest, ResponseHeader,
    StatsResponse, StreamRequest, TagsRequest,
};
use crate::request::{Command, Request, request};
use crate::value::{Pairs, Text, Value};

/// How long connecting may take, one write, and the answers to `handshake` and `auth`.
///
/// Other answers are waited for without end: a `leave` or a `join` may take as long as it likes.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How long one part of an answer may be. Members take less than a kilobyte each.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records kept for a program that does not take them; further ones are thrown away and counted.
const RECORDS_MAX: usize = 1024;

/// A connection to an agent, through which any number of requests may be under way at once.
///
/// It is served by a task of its own on the runtime it was opened in, and ends when the last clone of the client is
/// gone. Dropping the future of a request does not take the request back.
#[derive(Debug, Clone)]
pub struct Client {
    outgoing: mpsc::Sender<Outgoing>,
}

/// Why a request has not been done. The texts are those of the Go client; they follow the command's own prefix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The agent refused, or failed. This is what it says.
    #[error("{0}")]
    Agent(Text),
    /// The connection has ended. Whether the agent has done what was asked is not known.
    #[error("client closed")]
    Closed,
    /// Whatever accepted the connection does not speak the protocol, or does not get to it.
    #[error("timed out waiting for the answer to {}", .0.name())]
    TimedOut(Command),
    /// The answer is not of the form it should have. The connection stays usable.
    #[error("failed to decode response: {0}")]
    BadResponse(#[from] Malformed),
}

/// A request on its way to the agent.
#[derive(Debug)]
struct Outgoing {
    body: Vec<u8>,
    waiter: Waiter,
}

/// Who waits for what comes back under some `seq`.
#[derive(Debug)]
struct Waiter {
    command: Command,
    answer: oneshot::Sender<Response>,
    /// Who wants what comes after the answer, if anything does.
    records: Option<Feed>,
}

/// The way to a [`Records`].
#[derive(Debug)]
struct Feed {
    queue: mpsc::Sender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Feed {
    fn tell(&self, body: &[u8]) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(body.to_vec()) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Everybody who waits, by the number of the request.
#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<u64, Waiter>,
    /// Streams that the agent has agreed to.
    streams: HashMap<u64, Feed>,
}

type Waiters = Mutex<Waiting>;

/// What an agent keeps sending for one request. It ends when the connection does.
pub struct Records<V> {
    queue: mpsc::Receiver<Vec<u8>>,
    lost: Arc<AtomicU64>,
    /// Keeps the connection open.
    _client: Client,
    _of: PhantomData<fn() -> V>,
}

impl<V: Value> Records<V> {
    /// The next record. None when the connection has ended and all records are taken. Cancelling loses none.
    ///
    /// # Errors
    /// [`Error::BadResponse`]: the record is not of the form it should have; the next one may be.
    pub async fn next(&mut self) -> Option<Result<V, Error>> {
        let body = self.queue.recv().await?;
        Some(V::decode(&mut Reader::new(&body)).map_err(Error::from))
    }

    /// How many records found no room so far, because they were not taken.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl<V> fmt::Debug for Records<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("waiting", &self.queue.len()).field("lost", &self.lost).finish()
    }
}

/// An answer as it came. The body, if there is one, has not been looked into.
#[derive(Debug)]
struct Response {
    error: Text,
    body: Vec<u8>,
}

impl Client {
    /// Connects to the agent at `address`, which is `HOST:PORT`, and shows it the token unless that is empty.
    ///
    /// # Errors
    /// [`Error::Dial`]; [`Error::Agent`] if it is another version of the protocol or the token is wrong;
    /// [`Error::TimedOut`] or [`Error::Closed`] if it seems to be no agent.
    pub async fn connect(address: &str, token: impl Into<Text>) -> Result<Self, Error> {
        let stream = dial(address, TIMEOUT).await?;
        // Requests are small and each is waited for, so that nothing is won by collecting them.
        let _ = stream.set_nodelay(true);
        let (outgoing, queue) = mpsc::channel(16);
        tokio::spawn(serve(stream, queue));
        let client = Self { outgoing };
        client.open(Command::Handshake, &HandshakeRequest { version: VERSION }).await?;
        let auth_key = token.into();
        if !auth_key.is_empty() {
            client.open(Command::Auth, &AuthRequest { auth_key }).await?;
        }
        Ok(client)
    }

    /// All members the agent knows.
    ///
    /// # Errors
    /// [`Error::Agent`], [`Error::Closed`] and [`Error::BadResponse`], as for every command.
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        let response: MembersResponse = self.call(Request::Members).await?.body()?;
        Ok(response.members)
    }

    /// The members that match a filter, which is sent as it is: nil tags as nil.
    ///
    /// # Errors
    /// As for [`members`](Self::members). Agents written in Go close the connection on a bad regular expression.
    pub async fn members_filtered(&self, filter: MembersFilteredRequest) -> Result<Vec<Member>, Error> {
        let response: MembersResponse = self.call(Request::MembersFiltered(filter)).await?.body()?;
        Ok(response.members)
    }

    /// Makes the agent contact other agents, and returns how many it has reached.
    ///
    /// # Errors
    /// As for [`members`](Self::members). That not every one was reached is no error, that none was is one.
    pub async fn join(
        &self,
        existing: impl IntoIterator<Item: Into<Text>>,
        replay: bool,
    ) -> Result<i32, Error> {
        let existing = Some(existing.into_iter().map(Into::into).collect());
        let response: JoinResponse =
            self.call(Request::Join(JoinRequest { existing, replay })).await?.body()?;
        Ok(response.num)
    }

    /// Makes a failed member one that has left, or with `prune` none at all. A name that nobody has is no error.
    ///
    /// # Errors
    /// As for [`members`](Self::members).
    pub async fn force_leave(&self, node: impl Into<Text>, prune: bool) -> Result<(), Error> {
        self.call(Request::ForceLeave(ForceLeaveRequest { node: node.into(), prune })).await?.done()
    }

    /// Makes the agent leave the cluster and end. It answers in between.
    ///
    /// # Errors
    /// As for [`members`](Self::members).
    pub async fn leave(&self) -> Result<(), Error> {
        self.call(Request::Leave).await?.done()
    }

    /// Sends a user event through the cluster.
    ///
    /// # Errors
    /// As for [`members`](Self::members). Name and payload are limited to 512 bytes unless configured otherwise.
    pub async fn event(
        &self,
        name: impl Into<Text>,
        payload: Option<Vec<u8>>,
        coalesce: bool,
    ) -> Result<(), Error> {
        self.call(Request::Event(EventRequest { name: name.into(), payload, coalesce })).await?.done()
    }

    /// Changes the tags of the agent's node. A tag that is both set and deleted is set.
    ///
    /// # Errors
    /// As for [`members`](Self::members). Tags are limited to 512 bytes.
    pub async fn tags(&self, set: Pairs<Text>, delete: Vec<Text>) -> Result<(), Error> {
        let delete_tags = Some(delete).filter(|names| !names.is_empty());
        self.call(Request::Tags(TagsRequest { tags: Some(set), delete_tags })).await?.done()
    }

    /// What happens from now on, as far as it passes the filter: a list with commas of `*`, `member-join`, `user`,
    /// `user:NAME` and so on.
    ///
    /// # Errors
    /// As for [`members`](Self::members).
    pub async fn stream(&self, filter: impl Into<Text>) -> Result<Records<EventRecord>, Error> {
        self.subscribe(Request::Stream(StreamRequest { kind: filter.into() })).await
    }

    /// The agent's log: the latest lines, and then each new one, from that level up.
    ///
    /// # Errors
    /// As for [`members`](Self::members).
    pub async fn monitor(&self, level: impl Into<Text>) -> Result<Records<LogRecord>, Error> {
        self.subscribe(Request::Monitor(MonitorRequest { log_level: level.into() })).await
    }

    /// What the agent tells about itself.
    ///
    /// # Errors
    /// As for [`members`](Self::members).
    pub async fn stats(&self) -> Result<StatsResponse, Error> {
        self.call(Request::Stats).await?.body()
    }

    /// One of the two commands that come before all others, and have to be answered in time.
    async fn open(&self, command: Command, body: &impl Value) -> Result<(), Error> {
        let answer = self.send(command, None, |writer| body.encode(writer));
        timeout(TIMEOUT, answer).await.map_err(|_| Error::TimedOut(command))??.done()
    }

    async fn call(&self, request: Request) -> Result<Response, Error> {
        self.send(request.command(), None, |writer| request.encode_body(writer)).await
    }

    async fn subscribe<V>(&self, request: Request) -> Result<Records<V>, Error> {
        let (sender, queue) = mpsc::channel(RECORDS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let feed = Feed { queue: sender, lost: lost.clone() };
        self.send(request.command(), Some(feed), |writer| request.encode_body(writer)).await?.done()?;
        Ok(Records { queue, lost, _client: self.clone(), _of: PhantomData })
    }

    async fn send(
        &self,
        command: Command,
        records: Option<Feed>,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Response, Error> {
        let mut bytes = Vec::new();
        body(&mut Writer::new(&mut bytes, Dialect::RPC));
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { body: bytes, waiter: Waiter { command, answer, records } };
        self.outgoing.send(outgoing).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)
    }
}

impl Response {
    /// For a command without a result.
    fn done(self) -> Result<(), Error> {
        if self.error.is_empty() { Ok(()) } else { Err(Error::Agent(self.error)) }
    }

    /// For a command whose result counts only if there is no error.
    fn body<V: Value>(self) -> Result<V, Error> {
        if !self.error.is_empty() {
            return Err(Error::Agent(self.error));
        }
        Ok(V::decode(&mut Reader::new(&self.body))?)
    }
}

/// Serves the connection until either side is through. Dropping the waiters tells them that it is closed.
async fn serve(stream: TcpStream, queue: mpsc::Receiver<Outgoing>) {
    let (reading, writing) = stream.into_split();
    let waiters = Waiters::default();
    tokio::select! {
        _ = read(reading, &waiters) => {}
        () = write(writing, queue, &waiters) => {}
    }
}

/// Sends what is queued; only here requests get their numbers, so that they go out in ascending order.
async fn write(mut writing: OwnedWriteHalf, mut queue: mpsc::Receiver<Outgoing>, waiters: &Waiters) {
    let mut seq = 0;
    while let Some(Outgoing { body, waiter }) = queue.recv().await {
        seq += 1;
        let command = waiter.command;
        lock(waiters).answers.insert(seq, waiter);
        let bytes = request(command, seq, &body);
        match timeout(TIMEOUT, writing.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                // The agent may have said why before it closed the connection: that is still to be read.
                queue.close();
                pending().await
            }
            Err(_) => return,
        }
    }
}

/// Hands every answer to whoever waits for its number.
async fn read(mut reading: OwnedReadHalf, waiters: &Waiters) -> io::Result<()> {
    let mut inbox = Inbox::default();
    loop {
        let bytes = next_value(&mut reading, &mut inbox).await?;
        let header = ResponseHeader::decode(&mut Reader::new(bytes)).map_err(io::Error::other)?;
        if lock(waiters).streams.contains_key(&header.seq) {
            let body = next_value(&mut reading, &mut inbox).await?;
            if let Some(feed) = lock(waiters).streams.get(&header.seq) {
                feed.tell(body);
            }
            continue;
        }
        // What nobody has asked for has no known form: go on as if it were a header and no more.
        let Some(mut waiter) = lock(waiters).answers.remove(&header.seq) else { continue };
        if let Some(feed) = waiter.records.take().filter(|_| header.error.is_empty()) {
            lock(waiters).streams.insert(header.seq, feed);
        }
        let body = if is_followed_by_body(waiter.command, &header.error) {
            next_value(&mut reading, &mut inbox).await?.to_vec()
        } else {
            Vec::new()
        };
        // Nobody minds if the request has been given up meanwhile; its answer was to be read all the same.
        let _ = waiter.answer.send(Response { error: header.error, body });
    }
}

/// The reading rule of rpc.md §4.4. The errors named here come before a command is looked at.
fn is_followed_by_body(command: Command, error: &Text) -> bool {
    command.is_answered_with_body()
        && ![b"Authentication required".as_slice(), b"Handshake required", b"Unsupported command"]
            .contains(&error.as_bytes())
}

/// Reads until a whole value is here.
async fn next_value<'i>(reading: &mut OwnedReadHalf, inbox: &'i mut Inbox) -> io::Result<&'i [u8]> {
    let mut chunk = [0; 8 * 1024];
    while !inbox.has_value(RESPONSE_BYTES_MAX).map_err(io::Error::other)? {
        let count = reading.read(&mut chunk).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inbox.receive(&chunk[..count]);
    }
    Ok(inbox.take_value())
}

/// Nothing is ever left half done under this lock, so that a panic elsewhere does not matter to it.
fn lock(waiters: &Waiters) -> std::sync::MutexGuard<'_, Waiting> {
    waiters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
