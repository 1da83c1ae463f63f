//! The program's side of one connection.

use std::collections::HashMap;
use std::fmt;
use std::future::pending;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf_wire::Malformed;
use serf_wire::msgpack::{Dialect, Reader, Writer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::connection::VERSION;
use crate::dial::{DialError, Stream, dial};
use crate::frame::Inbox;
use crate::message::{
    AuthRequest, Coordinate, EventRecord, EventRequest, ForceLeaveRequest, GetCoordinateRequest,
    GetCoordinateResponse, HandshakeRequest, JoinRequest, JoinResponse, KeyRequest, KeyResponse, LogRecord,
    Member, MembersFilteredRequest, MembersResponse, MonitorRequest, QueryRecord, QueryRequest,
    RespondRequest, ResponseHeader, StatsResponse, StopRequest, StreamRequest, TagsRequest,
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
    /// Not every member has done what one of the key commands asked for. The members that have, have done it.
    #[error("{error}")]
    Keys {
        /// What the agent says.
        error: Text,
        /// How many were asked, how many have answered, and what they had to say.
        report: Box<KeyResponse>,
    },
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
    fate: Arc<Fate>,
    /// Of a query, the only stream that ends by itself.
    ends: bool,
}

/// What has become of the records of a stream, apart from those that wait.
#[derive(Debug, Default)]
struct Fate {
    lost: AtomicU64,
    /// The agent has said that no more will come.
    done: AtomicBool,
}

impl Feed {
    /// Passes a record on. False if it is the last one, which needs no room.
    fn tell(&self, body: &[u8]) -> bool {
        if self.ends && QueryRecord::decode(&mut Reader::new(body)).is_ok_and(|record| record.is_done()) {
            self.fate.done.store(true, Relaxed);
            return false;
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(body.to_vec()) {
            self.fate.lost.fetch_add(1, Relaxed);
        }
        true
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
    fate: Arc<Fate>,
    seq: u64,
    /// Keeps the connection open.
    client: Client,
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
        self.fate.lost.load(Relaxed)
    }

    /// Makes the agent send no more. Merely dropping the stream leaves it sending, to nobody.
    ///
    /// # Errors
    /// As for [`Client::members`].
    pub async fn stop(self) -> Result<(), Error> {
        self.client.call(Request::Stop(StopRequest { stop: self.seq })).await?.done()
    }
}

impl<V> fmt::Debug for Records<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("waiting", &self.queue.len()).field("fate", &self.fate).finish()
    }
}

/// What nodes answer to a query, as it comes in. A query cannot be taken back; dropping this forgets its answers.
#[derive(Debug)]
pub struct Answers {
    records: Records<QueryRecord>,
    ended: bool,
}

/// Something that came back from one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The node has got the query.
    Ack {
        /// Its name.
        from: Text,
    },
    /// The node answers it.
    Response {
        /// Its name.
        from: Text,
        /// The answer.
        payload: Vec<u8>,
    },
}

impl Answers {
    /// The next answer. None when the agent says that the time is up. Cancelling loses none.
    ///
    /// # Errors
    /// [`Error::BadResponse`]: the record is not of the form it should have; the next one may be.
    /// [`Error::Closed`]: the connection has ended before the query did, and this was the last item.
    pub async fn next(&mut self) -> Option<Result<Answer, Error>> {
        while !self.ended {
            let Some(record) = self.records.next().await else {
                self.ended = true;
                return if self.records.fate.done.load(Relaxed) { None } else { Some(Err(Error::Closed)) };
            };
            match record.map(QueryRecord::into_answer) {
                Ok(Some(answer)) => return Some(Ok(answer)),
                // From nobody, as agents written in Go send it at the end; or of a kind that nobody knows yet.
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// How many answers found no room so far, because they were not taken.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.records.lost()
    }
}

impl QueryRecord {
    fn is_done(&self) -> bool {
        self.kind == "done"
    }

    fn into_answer(self) -> Option<Answer> {
        let Self { kind, from, payload } = self;
        match kind.as_bytes() {
            _ if from.is_empty() => None,
            b"ack" => Some(Answer::Ack { from }),
            b"response" => Some(Answer::Response { from, payload: payload.unwrap_or_default() }),
            _ => None,
        }
    }
}

/// An answer as it came. The body, if there is one, has not been looked into.
#[derive(Debug)]
struct Response {
    seq: u64,
    error: Text,
    body: Vec<u8>,
}

impl Client {
    /// Connects to the agent at `address`, which is `HOST:PORT` or `unix:PATH` (see [`Address`](crate::Address)), and
    /// shows it the token unless that is empty.
    ///
    /// # Errors
    /// [`Error::Dial`]; [`Error::Agent`] if it is another version of the protocol or the token is wrong;
    /// [`Error::TimedOut`] or [`Error::Closed`] if it seems to be no agent.
    pub async fn connect(address: &str, token: impl Into<Text>) -> Result<Self, Error> {
        let stream = dial(address, TIMEOUT).await?;
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
    /// `user:NAME`, `query:NAME` and so on. Queries can be answered, see [`respond`](Self::respond).
    ///
    /// ```no_run
    /// # async fn watch() -> Result<(), serf_rpc::Error> {
    /// use serf_rpc::message::EventRecord;
    /// let client = serf_rpc::Client::connect("127.0.0.1:7373", "").await?;
    /// let mut events = client.stream("user:deploy,query:load").await?;
    /// while let Some(event) = events.next().await {
    ///     match event? {
    ///         EventRecord::User(event) => println!("deploy {:?}", event.payload),
    ///         EventRecord::Query(query) => client.respond(query.id, *b"0.42").await?,
    ///         EventRecord::Members(_) => unreachable!("not in the filter"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
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

    /// Asks the nodes of the cluster something. Answers come until the query's time is up, also if everybody has
    /// answered before.
    ///
    /// ```no_run
    /// # async fn ask() -> Result<(), serf_rpc::Error> {
    /// use serf_rpc::Answer;
    /// use serf_rpc::message::QueryRequest;
    /// let client = serf_rpc::Client::connect("127.0.0.1:7373", "").await?;
    /// let query = QueryRequest {
    ///     name: "load".into(),
    ///     filter_tags: Some([("role", "^web$")].into_iter().collect()),
    ///     timeout: 1_500_000_000, // nanoseconds; 0 leaves it to the agent
    ///     ..QueryRequest::default()
    /// };
    /// let mut answers = client.query(query).await?;
    /// while let Some(answer) = answers.next().await {
    ///     if let Answer::Response { from, payload } = answer? {
    ///         println!("{from}: {}", String::from_utf8_lossy(&payload));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`members`](Self::members). The agent refuses names that begin with `_serf_`, and what does not fit in
    /// 1024 bytes with its frame unless configured otherwise.
    pub async fn query(&self, query: QueryRequest) -> Result<Answers, Error> {
        Ok(Answers { records: self.subscribe(Request::Query(query)).await?, ended: false })
    }

    /// Answers a query that came as an [`EventRecord::Query`] through a stream of this connection.
    ///
    /// # Errors
    /// As for [`members`](Self::members). The agent refuses an answer when the query's time is up, when its node has
    /// answered already, and when it does not fit in 1024 bytes with its frame unless configured otherwise.
    pub async fn respond(&self, id: u64, payload: impl Into<Vec<u8>>) -> Result<(), Error> {
        let payload = Some(payload.into()).filter(|payload| !payload.is_empty());
        self.call(Request::Respond(RespondRequest { id, payload })).await?.done()
    }

    /// Gives all members one more key, in base64, to decrypt with.
    ///
    /// ```no_run
    /// # async fn rotate(old: &str, new: &str) -> Result<(), serf_rpc::Error> {
    /// use serf_rpc::Error;
    /// let client = serf_rpc::Client::connect("127.0.0.1:7373", "").await?;
    /// match client.install_key(new).await {
    ///     Ok(report) => println!("installed on {} members", report.num_resp),
    ///     Err(Error::Keys { report, .. }) => {
    ///         for (node, problem) in report.messages.iter().flatten() {
    ///             println!("{node}: {problem}");
    ///         }
    ///     }
    ///     Err(error) => return Err(error),
    /// }
    /// client.use_key(new).await?;
    /// client.remove_key(old).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Keys`] if not every member has answered and agreed, or the key is not base64; otherwise as for
    /// [`members`](Self::members).
    pub async fn install_key(&self, key: impl Into<Text>) -> Result<KeyResponse, Error> {
        self.call(Request::InstallKey(KeyRequest { key: key.into() })).await?.report()
    }

    /// Makes all members encrypt with a key that they have.
    ///
    /// # Errors
    /// As for [`install_key`](Self::install_key).
    pub async fn use_key(&self, key: impl Into<Text>) -> Result<KeyResponse, Error> {
        self.call(Request::UseKey(KeyRequest { key: key.into() })).await?.report()
    }

    /// Takes a key away from all members. They refuse to give away the one they encrypt with.
    ///
    /// # Errors
    /// As for [`install_key`](Self::install_key).
    pub async fn remove_key(&self, key: impl Into<Text>) -> Result<KeyResponse, Error> {
        self.call(Request::RemoveKey(KeyRequest { key: key.into() })).await?.report()
    }

    /// All keys that members have, and how many members have each.
    ///
    /// # Errors
    /// As for [`install_key`](Self::install_key).
    pub async fn list_keys(&self) -> Result<KeyResponse, Error> {
        self.call(Request::ListKeys).await?.report()
    }

    /// The network coordinate of a member; None if it is unknown.
    ///
    /// ```no_run
    /// # async fn estimate() -> Result<(), serf_rpc::Error> {
    /// let client = serf_rpc::Client::connect("127.0.0.1:7373", "").await?;
    /// let (one, other) = (client.coordinate("web-1").await?, client.coordinate("db-1").await?);
    /// let rtt = one.zip(other).and_then(|(one, other)| one.distance_to(&other));
    /// println!("{rtt:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`members`](Self::members).
    pub async fn coordinate(&self, node: impl Into<Text>) -> Result<Option<Coordinate>, Error> {
        let request = GetCoordinateRequest { node: node.into() };
        let response: GetCoordinateResponse = self.call(Request::GetCoordinate(request)).await?.body()?;
        Ok(response.ok.then_some(response.coord))
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
        let fate = Arc::new(Fate::default());
        let ends = matches!(request, Request::Query(_));
        let feed = Feed { queue: sender, fate: fate.clone(), ends };
        let answer = self.send(request.command(), Some(feed), |writer| request.encode_body(writer)).await?;
        let seq = answer.seq;
        answer.done()?;
        Ok(Records { queue, fate, seq, client: self.clone(), _of: PhantomData })
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

    /// For the key commands, whose result tells more than the error does.
    fn report(self) -> Result<KeyResponse, Error> {
        if self.error.is_empty() || self.body.is_empty() {
            return self.body();
        }
        let report = Box::new(KeyResponse::decode(&mut Reader::new(&self.body))?);
        Err(Error::Keys { error: self.error, report })
    }
}

/// Serves the connection until either side is through. Dropping the waiters tells them that it is closed.
async fn serve((reading, writing): Stream, queue: mpsc::Receiver<Outgoing>) {
    let waiters = Waiters::default();
    tokio::select! {
        _ = read(reading, &waiters) => {}
        () = write(writing, queue, &waiters) => {}
    }
}

/// Sends what is queued; only here requests get their numbers, so that they go out in ascending order.
async fn write(mut writing: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Outgoing>, waiters: &Waiters) {
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
async fn read(mut reading: impl AsyncRead + Unpin, waiters: &Waiters) -> io::Result<()> {
    let mut inbox = Inbox::default();
    loop {
        let bytes = next_value(&mut reading, &mut inbox).await?;
        let header = ResponseHeader::decode(&mut Reader::new(bytes)).map_err(io::Error::other)?;
        if lock(waiters).streams.contains_key(&header.seq) {
            let body = next_value(&mut reading, &mut inbox).await?;
            let mut waiters = lock(waiters);
            if waiters.streams.get(&header.seq).is_some_and(|feed| !feed.tell(body)) {
                waiters.streams.remove(&header.seq);
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
        let _ = waiter.answer.send(Response { seq: header.seq, error: header.error, body });
    }
}

/// The reading rule of rpc.md §4.4. The errors named here come before a command is looked at.
fn is_followed_by_body(command: Command, error: &Text) -> bool {
    command.is_answered_with_body()
        && ![b"Authentication required".as_slice(), b"Handshake required", b"Unsupported command"]
            .contains(&error.as_bytes())
}

/// Reads until a whole value is here.
async fn next_value<'i>(
    reading: &mut (impl AsyncRead + Unpin),
    inbox: &'i mut Inbox,
) -> io::Result<&'i [u8]> {
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
