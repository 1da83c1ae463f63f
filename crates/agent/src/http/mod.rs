//! The HTTP API, off unless asked for: members, events, queries, numbers, for programs and people who have no RPC client.
//! What each route says is in `openapi.json`, which the API serves; `docs/http.md` is for people.
//!
//! Each connection is a task of its own, as with RPC: a slow or hostile client, or a bug in serving one, costs the others
//! nothing.

mod access;
mod crowd;
mod metrics;
mod orders;
mod params;
mod patience;
mod reads;
mod reply;
mod routes;
mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::access::Gate;
use self::crowd::{Admission, Crowd};
use self::patience::Patient;
use crate::complaints::Complaints;
use crate::config::{Config, RpcAddress};
use crate::service::Service;
use crate::text::os_error;

/// Connections at the same time: scrapers, tools, and some dozen streams; well below the file descriptors of a process.
const CONNECTIONS_MAX: usize = 256;
/// The largest header, in bytes, and what a connection holds of what it reads.
const HEADER_MAX: usize = 16 << 10;
/// The header of a request comes within this time: from the connection, or from the answer before it. So a connection
/// may idle for as long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes no bytes of an answer for this long is sent away.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams of events at the same time. Each may hold [`serf::EVENT_QUEUE`] events for a slow reader.
const STREAMS_MAX: usize = 64;
/// Queries under way at the same time, each with the answers that it has got.
const QUERIES_MAX: usize = 32;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What is being sent at the end of the agent gets this long.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What requests on a connection are answered from. Clones are the same.
#[derive(Clone)]
struct Api {
    service: Arc<Service>,
    gate: Arc<Gate>,
    streams: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    wrongs: Wrongs,
    started: SystemTime,
    /// The client.
    from: SocketAddr,
}

impl Api {
    /// The right to make something that takes time to make. One has it at a time: between two of them the node has its
    /// turn.
    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turn.acquire().await.expect("it is never closed")
    }
}

/// What clients do wrong.
#[derive(Clone, Debug)]
struct Wrongs {
    /// There are too many of them.
    crowd: Complaints,
    /// They ask for what they may not have.
    denied: Complaints,
    /// They send nonsense, or nothing.
    nonsense: Complaints,
}

/// The API, being served. It ends with its listener when this is dropped.
pub(crate) struct Http {
    end: watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

/// Takes the port, if the API is to be served. An error is a line for the operator.
pub(crate) async fn listen(config: &Config) -> Result<Option<TcpListener>, String> {
    let Some(address) = config.http_address().map_err(|error| error.to_string())? else { return Ok(None) };
    // The port for commands is taken, but not yet listening, so the system would not say so.
    if matches!(config.rpc_address(), Ok(RpcAddress::Tcp(rpc)) if overlap(rpc, address)) {
        return Err(format!(
            "Error starting HTTP listener: {address} is where the agent listens for commands\n    (name another port \
             with -http-addr or 'http_addr')"
        ));
    }
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let error = os_error(&error);
        format!(
            "Error starting HTTP listener: listen tcp {address}: bind: {error}\n    (name another address with \
             -http-addr or 'http_addr', or leave it out: then nothing is served over HTTP)"
        )
    })?;
    Ok(Some(listener))
}

/// Whether one socket at each address would be in the other's way.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || everywhere)
}

impl Http {
    /// Serves the API.
    pub(crate) fn start(service: Arc<Service>, listener: TcpListener) -> Self {
        let (end, ended) = watch::channel(());
        Self { end, task: tokio::spawn(serve(service, listener, ended)) }
    }

    /// Once the node is gone: no more connections, and what is being sent is sent to its end, within bounds.
    pub(crate) async fn finish(self) {
        let _ = self.end.send(());
        let _ = timeout(END_PATIENCE, self.task).await;
    }
}

async fn serve(service: Arc<Service>, listener: TcpListener, mut ended: watch::Receiver<()>) {
    let Ok(address) = listener.local_addr() else { return };
    let gate = Gate::new(&service.token, address.ip());
    if gate.is_open_to_all() {
        log::warn!(
            target: "agent.http",
            "whoever reaches {address} can read members, tags, events and statistics: set rpc_auth, or listen on \
             loopback"
        );
    }
    let complaints = || Complaints::new("agent.http", log::Level::Warn);
    let mut api = Api {
        service,
        gate: Arc::new(gate),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        queries: Arc::new(Semaphore::new(QUERIES_MAX)),
        turn: Arc::new(Semaphore::new(1)),
        wrongs: Wrongs { crowd: complaints(), denied: complaints(), nonsense: complaints() },
        started: SystemTime::now(),
        from: address,
    };
    let crowd = Crowd::new(CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Those that have ended are forgotten.
            Some(_) = connections.join_next() => continue,
            _ = ended.changed() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                api.wrongs.crowd.tell(format_args!("Failed to accept client: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        api.from = from;
        api.service.telemetry.count("agent.http.accept", 1);
        let admission = crowd.admit();
        if admission.as_ref().is_none_or(|it| it.made_room) {
            api.service.telemetry.count("agent.http.refused", 1);
            let what = if admission.is_some() {
                "ending the connection idle for longest"
            } else {
                "refusing client"
            };
            api.wrongs
                .crowd
                .tell(format_args!("{CONNECTIONS_MAX} clients are connected: {what} from={from}"));
        }
        if let Some(admission) = admission {
            connections.spawn(converse(api.clone(), stream, admission, ended.clone()));
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves a connection to its end.
async fn converse(api: Api, stream: TcpStream, admission: Admission, mut ended: watch::Receiver<()>) {
    // Answers and events are written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let Admission { seat, told_to_go, .. } = admission;
    let served = AtomicBool::new(false);
    let answer = service_fn(|request| {
        served.store(true, Relaxed);
        let (api, seat) = (api.clone(), seat.clone());
        async move { Ok::<_, Infallible>(routes::answer(&api, &seat, request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIMEOUT)), answer)
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = told_to_go => return,
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match result {
        // Its last answer was read, and nothing more is wanted.
        Err(error) if !(error.is_timeout() && served.load(Relaxed)) => complain(&api, &error),
        _ => {}
    }
}

/// Tells of a connection that did not end well. Who goes in the middle of something does nothing wrong.
fn complain(api: &Api, error: &hyper::Error) {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let stalled = cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut);
    if error.is_parse() || error.is_timeout() || stalled {
        api.service.telemetry.count("agent.http.bad", 1);
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        api.wrongs.nonsense.tell(format_args!("{error}{cause} from={}", api.from));
    } else {
        log::debug!(target: "agent.http", "connection of {} ended: {error}", api.from);
    }
}
