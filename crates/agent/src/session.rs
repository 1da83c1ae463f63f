//! One RPC client: its requests, carried out one after another, and the streams that it has opened. What is sent to it
//! from several tasks is written whole, so that nothing interleaves.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serf::{Event, Events};
use serf_rpc::message::{
    EventRecord, LogRecord, MemberEventRecord, MonitorRequest, QueryRequest, StreamRequest, UserEventRecord,
};
use serf_rpc::{Connection, Request, Step, Text, record, reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::events::EventFilter;
use crate::listener::{Client, Peer, Reading, Writing};
use crate::logging::{Level, Watch};
use crate::losses::Losses;
use crate::queries::{self, ASKED_MAX, Shown};
use crate::service::{Service, Wrongs, carry_out, record as member};

/// A client that has not shaken hands and shown the token by then is sent away.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes no bytes of an answer for this long is sent away.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long what a refused client still sends is read, so that it gets our last words before the reset.
const LINGER: Duration = Duration::from_secs(1);
/// Streams of one client: one for each kind of event, and a few.
const STREAMS_MAX: usize = 64;
/// Streams of all clients, monitors aside. Each may have some 200 KiB of events waiting if nobody reads it.
pub(crate) const ALL_STREAMS_MAX: usize = 1024;

/// See the module's text. Its tasks end with it.
pub(crate) struct Session {
    service: Arc<Service>,
    from: Peer,
    wrongs: Wrongs,
    reader: Reading,
    writer: Writer,
    tasks: JoinSet<()>,
    /// Places for event streams, shared with the other clients.
    streaming: Arc<Semaphore>,
    /// Event streams, by the number of the request that opened each.
    streams: BTreeMap<u64, Open>,
    monitor: Option<(u64, Open)>,
    /// Places for queries that it asks.
    asking: Arc<Semaphore>,
    shown: Shown,
}

pub(crate) type Writer = Arc<Mutex<Writing>>;

/// An open stream. It ends when this is dropped, but never in the middle of a record: its task is not aborted, it looks.
type Open = oneshot::Sender<()>;

impl Session {
    pub(crate) fn new(
        service: Arc<Service>,
        client: Client,
        wrongs: Wrongs,
        streaming: Arc<Semaphore>,
    ) -> Self {
        let Client { reading, writing, from } = client;
        Self {
            service,
            from,
            wrongs,
            reader: reading,
            writer: Arc::new(Mutex::new(writing)),
            tasks: JoinSet::new(),
            streaming,
            streams: BTreeMap::new(),
            monitor: None,
            asking: Arc::new(Semaphore::new(ASKED_MAX)),
            shown: Shown::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        if let Err(error) = self.talk().await {
            log::debug!(target: "agent.ipc", "connection of {} ended: {error}", self.from);
        }
    }

    async fn talk(&mut self) -> io::Result<()> {
        let admission_end = Instant::now() + ADMISSION_TIMEOUT;
        let mut connection = Connection::new(self.service.token.as_slice());
        let mut buffer = vec![0; 4096];
        let mut counted = 0;
        loop {
            while let Some(step) = connection.next_step() {
                let commands = connection.commands() - std::mem::replace(&mut counted, connection.commands());
                self.service.telemetry.count("agent.ipc.command", commands);
                match step {
                    Step::Reply { bytes, warning } => {
                        if let Some(warning) = warning {
                            self.wrongs.unknown.tell(format_args!("{warning} from={}", self.from));
                        }
                        self.answer(&bytes).await?;
                    }
                    Step::Request { seq, request } => {
                        if !self.request(seq, request).await? {
                            return self.linger().await;
                        }
                    }
                    Step::Close(reason) => {
                        self.wrongs.nonsense.tell(format_args!("{reason} from={}", self.from));
                        return self.linger().await;
                    }
                }
            }
            // Once it is admitted a client may be silent for as long as it likes.
            let read = if connection.is_admitted() {
                self.reader.read(&mut buffer).await
            } else {
                timeout_at(admission_end, self.reader.read(&mut buffer)).await?
            };
            match read? {
                0 => {
                    if let Some(reason) = connection.end() {
                        self.wrongs.nonsense.tell(format_args!("{reason} from={}", self.from));
                    }
                    return Ok(());
                }
                n => connection.receive(&buffer[..n]),
            }
        }
    }

    /// Carries a request out and answers it. False for a command that this build does not know.
    async fn request(&mut self, seq: u64, request: Request) -> io::Result<bool> {
        match request {
            Request::Stream(request) => self.stream(seq, &request).await?,
            Request::Monitor(request) => self.watch_log(seq, &request).await?,
            Request::Stop(request) => {
                self.stop(request.stop);
                self.answer(&reply(seq, "")).await?;
            }
            Request::Query(request) => self.ask(seq, request).await?,
            Request::Respond(request) => {
                let error = self.shown.respond(request.id, request.payload).await;
                self.answer(&reply(seq, error)).await?;
            }
            request => {
                let leaving = matches!(request, Request::Leave);
                let command = request.command().name();
                let Some(bytes) = carry_out(&self.service, seq, request).await else {
                    self.wrongs.nonsense.tell(format_args!(
                        "Failed to evaluate request: command '{command}' is not in this release from={}",
                        self.from
                    ));
                    self.answer(&reply(seq, "Unsupported command")).await?;
                    return Ok(false);
                };
                let written = self.answer(&bytes).await;
                if leaving {
                    // Also if nobody is there any more to hear of it: the node has left.
                    let _ = self.service.left.send(()).await;
                }
                written?;
            }
        }
        Ok(true)
    }

    /// Events from now on. They are listened for before the answer goes out, so that none is missed after it.
    async fn stream(&mut self, seq: u64, request: &StreamRequest) -> io::Result<()> {
        let Ok(filters) = EventFilter::parse_list(&request.kind.to_string()) else {
            return self.answer(&reply(seq, "Invalid event filter")).await;
        };
        self.streams.retain(|_, open| !open.is_closed());
        if self.streams.contains_key(&seq) {
            return self.answer(&reply(seq, "Stream with given sequence exists")).await;
        }
        if self.streams.len() >= STREAMS_MAX {
            return self.answer(&reply(seq, format!("too many streams: the limit is {STREAMS_MAX}"))).await;
        }
        let Ok(place) = self.streaming.clone().try_acquire_owned() else {
            let error = format!("too many streams: the limit for all clients is {ALL_STREAMS_MAX}");
            return self.answer(&reply(seq, error)).await;
        };
        let events = match self.service.serf.subscribe().await {
            Ok(events) => events,
            Err(error) => return self.answer(&reply(seq, error.to_string())).await,
        };
        self.answer(&reply(seq, "")).await?;
        let (open, stopped) = oneshot::channel();
        let (writer, shown) = (self.writer.clone(), self.shown.clone());
        let from = self.from;
        self.spawn(async move {
            stream_events(seq, filters, events, shown, writer, from, stopped).await;
            drop(place);
        });
        self.streams.insert(seq, open);
        Ok(())
    }

    /// A query, and what comes of it until its time is over. If the client goes away before, nobody listens any more.
    async fn ask(&mut self, seq: u64, request: QueryRequest) -> io::Result<()> {
        let Ok(place) = self.asking.clone().try_acquire_owned() else {
            return self.answer(&reply(seq, format!("too many queries: the limit is {ASKED_MAX}"))).await;
        };
        let answers = match queries::ask(&self.service.serf, request).await {
            Ok(answers) => answers,
            Err(error) => return self.answer(&reply(seq, error)).await,
        };
        self.answer(&reply(seq, "")).await?;
        let (writer, from) = (self.writer.clone(), self.from);
        self.spawn(async move {
            if let Err(error) = queries::stream_answers(seq, answers, &writer).await {
                log::error!(target: "agent.ipc", "Failed to stream response to ipc.client: {from}: {error}");
            }
            drop(place);
        });
        Ok(())
    }

    /// The log, from the latest lines on.
    async fn watch_log(&mut self, seq: u64, request: &MonitorRequest) -> io::Result<()> {
        let level = request.log_level.to_string().to_uppercase();
        let Ok(parsed) = level.parse::<Level>() else {
            return self.answer(&reply(seq, format!("Unknown log level: {level}"))).await;
        };
        if self.monitor.as_ref().is_some_and(|(_, open)| !open.is_closed()) {
            return self.answer(&reply(seq, "Monitor already exists")).await;
        }
        let watch = self.service.log.watch(parsed);
        self.answer(&reply(seq, "")).await?;
        let (open, stopped) = oneshot::channel();
        self.spawn(stream_log(seq, watch, self.writer.clone(), self.from, stopped));
        self.monitor = Some((seq, open));
        Ok(())
    }

    fn stop(&mut self, seq: u64) {
        self.streams.remove(&seq);
        self.monitor.take_if(|(opened, _)| *opened == seq);
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        // Those that have ended make room.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    async fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        timeout(WRITE_TIMEOUT, write(&self.writer, bytes)).await?
    }

    /// Ends our side and reads on for a moment: a socket closed with bytes unread is reset, and the reply with it.
    async fn linger(&mut self) -> io::Result<()> {
        self.tasks.abort_all();
        self.writer.lock().await.shutdown().await?;
        let mut rest = [0; 1024];
        let drain = async { while matches!(self.reader.read(&mut rest).await, Ok(n) if n > 0) {} };
        let _ = timeout(LINGER, drain).await;
        Ok(())
    }
}

/// Writes a whole answer or record.
pub(crate) async fn write(writer: &Writer, bytes: &[u8]) -> io::Result<()> {
    writer.lock().await.write_all(bytes).await
}

async fn stream_events(
    seq: u64,
    filters: Vec<EventFilter>,
    mut events: Events,
    shown: Shown,
    writer: Writer,
    from: Peer,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut losses = Losses::new("event", from);
    loop {
        let shed = events.shed();
        let event = tokio::select! {
            biased;
            _ = &mut stopped => return,
            event = events.recv() => event,
            () = losses.told(shed) => continue,
        };
        let Some(event) = event else { return };
        let Some(body) = wanted(&filters, &event, &shown) else { continue };
        let record = record(seq, &body);
        if let Err(error) = losses.watch(|| events.shed(), write(&writer, &record)).await {
            log::error!(target: "agent.ipc", "Failed to stream event to ipc.client: {from}: {error}");
            return;
        }
    }
}

async fn stream_log(
    seq: u64,
    mut watch: Watch,
    writer: Writer,
    from: Peer,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut losses = Losses::new("logs", from);
    let mut lost = 0;
    loop {
        lost += watch.take_lost();
        let line = tokio::select! {
            biased;
            _ = &mut stopped => return,
            line = watch.next() => line,
            () = losses.told(lost) => continue,
        };
        let Some(line) = line else { return };
        let record = record(seq, &LogRecord { log: Text::from(&*line.text) });
        let all = || {
            lost += watch.take_lost();
            lost
        };
        if losses.watch(all, write(&writer, &record)).await.is_err() {
            return;
        }
    }
}

/// The record of an event that passes one of the filters.
fn wanted(filters: &[EventFilter], event: &Event, shown: &Shown) -> Option<EventRecord> {
    let passes = |kind: &str, name: &str| filters.iter().any(|f| f.admits(kind, name));
    match event {
        Event::Member(e) if passes(e.kind.as_str(), "") => Some(EventRecord::Members(MemberEventRecord {
            event: e.kind.as_str().into(),
            members: e.members.iter().map(member).collect(),
        })),
        Event::User(e) if passes("user", &e.name.to_string()) => Some(EventRecord::User(UserEventRecord {
            event: "user".into(),
            ltime: e.ltime,
            name: e.name.as_bytes().into(),
            payload: Some(e.payload.to_vec()).filter(|payload| !payload.is_empty()),
            coalesce: e.coalesce,
        })),
        Event::Query(e) if passes("query", &e.name.to_string()) => Some(EventRecord::Query(shown.show(e))),
        _ => None,
    }
}
