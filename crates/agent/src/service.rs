//! The RPC service: accepts connections and carries out what is asked on them. The protocol itself, its gates and its
//! bytes are the `serf-rpc` crate's; here is what each command does to the node.
//!
//! Each connection is a task of its own: a slow or hostile client, or a bug in serving one, costs the others nothing.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serf::{Name, Serf};
use serf_rpc::message::{
    Coordinate, EventRequest, ForceLeaveRequest, GetCoordinateRequest, GetCoordinateResponse, JoinRequest,
    JoinResponse, KeyRequest, Member, MembersFilteredRequest, MembersResponse, StatsResponse, TagsRequest,
};
use serf_rpc::{Pairs, Request, Text, reply, reply_with};
use tokio::sync::{Semaphore, mpsc};

use crate::complaints::Complaints;
use crate::handlers::Handlers;
use crate::join::join;
use crate::keys::{self, Change};
use crate::listener::Listener;
use crate::logging::Log;
use crate::matching::{MatchError, Matching, raw_tags};
use crate::session::{ALL_STREAMS_MAX, Session};
use crate::tag_store::TagStore;
use crate::telemetry::Telemetry;
use crate::text::{printable, quote};

/// Clients at the same time: far more than tools need, well below the file descriptors a process has.
const CLIENTS_MAX: usize = 512;
/// Addresses of one join. Joins are done one after another, so a join without end would keep all others waiting; and one
/// contact is enough to get to know everybody.
const JOIN_ADDRESSES_MAX: usize = 256;
/// Pause after a failed accept; doubles up to [`ACCEPT_PAUSE_MAX`].
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
/// See [`ACCEPT_PAUSE_MIN`].
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What the service works on.
pub(crate) struct Service {
    /// The node.
    pub(crate) serf: Serf,
    /// The token that clients must know; empty for none.
    pub(crate) token: Vec<u8>,
    /// What runs for events.
    pub(crate) handlers: Handlers,
    /// Where tags are kept across restarts.
    pub(crate) tags: TagStore,
    /// Where requests are counted.
    pub(crate) telemetry: Telemetry,
    /// The agent's log, for those who watch it.
    pub(crate) log: Log,
    /// Where filters of members are matched.
    pub(crate) matching: Matching,
    /// Told when a client has made the node leave: the agent then ends.
    pub(crate) left: mpsc::Sender<()>,
}

/// What clients do wrong.
#[derive(Clone, Debug)]
pub(crate) struct Wrongs {
    /// There are too many of them.
    crowd: Complaints,
    /// They have not shown the token.
    pub(crate) unknown: Complaints,
    /// What they say is not the protocol.
    pub(crate) nonsense: Complaints,
}

/// Accepts clients until the task is dropped.
pub(crate) async fn serve(service: Arc<Service>, listener: Listener) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let streaming = Arc::new(Semaphore::new(ALL_STREAMS_MAX));
    let wrongs = Wrongs {
        crowd: Complaints::new("agent.ipc", log::Level::Warn),
        unknown: Complaints::new("agent.ipc", log::Level::Warn),
        nonsense: Complaints::new("agent.ipc", log::Level::Error),
    };
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let client = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::error!(target: "agent.ipc", "Failed to accept client: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = ACCEPT_PAUSE_MIN;
        let from = client.from;
        let Ok(place) = places.clone().try_acquire_owned() else {
            wrongs.crowd.tell(format_args!("Refusing client: {from}: {CLIENTS_MAX} clients are connected"));
            continue;
        };
        service.telemetry.count("agent.ipc.accept", 1);
        log::info!(target: "agent.ipc", "Accepted client: {from}");
        let session = Session::new(service.clone(), client, wrongs.clone(), streaming.clone());
        tokio::spawn(async move {
            let _place = place;
            session.run().await;
        });
    }
}

/// The reply to a request. None for a command that this build does not know.
pub(crate) async fn carry_out(service: &Service, seq: u64, request: Request) -> Option<Vec<u8>> {
    Some(match request {
        Request::Members => reply_with(seq, "", &all_members(service).await),
        Request::MembersFiltered(filter) => match members_filtered(service, filter).await {
            Ok(found) => reply_with(seq, "", &found),
            Err(error) => reply_with(seq, error.to_string(), &MembersResponse::default()),
        },
        Request::Join(request) => {
            let (num, error) = join_peers(service, request).await;
            reply_with(seq, error, &JoinResponse { num })
        }
        Request::ForceLeave(request) => reply(seq, force_leave(service, request).await),
        Request::Tags(request) => reply(seq, set_tags(service, request).await),
        Request::Event(request) => reply(seq, send_event(service, request).await),
        Request::Leave => {
            log::info!(target: "agent.ipc", "Graceful leave triggered");
            reply(seq, leave(service).await)
        }
        Request::InstallKey(request) => change_keys(service, seq, Change::Install, &request).await,
        Request::UseKey(request) => change_keys(service, seq, Change::Use, &request).await,
        Request::RemoveKey(request) => change_keys(service, seq, Change::Remove, &request).await,
        Request::ListKeys => {
            let (error, report) = keys::list(&service.serf).await;
            reply_with(seq, error, &report)
        }
        Request::Stats => reply_with(seq, "", &stats(service).await),
        Request::GetCoordinate(request) => reply_with(seq, "", &coordinate(service, &request).await),
        _ => return None,
    })
}

async fn change_keys(service: &Service, seq: u64, change: Change, request: &KeyRequest) -> Vec<u8> {
    let (error, report) = keys::change(&service.serf, change, request).await;
    reply_with(seq, error, &report)
}

async fn join_peers(service: &Service, request: JoinRequest) -> (i32, String) {
    let addresses: Vec<String> = request.existing.unwrap_or_default().iter().map(Text::to_string).collect();
    if addresses.len() > JOIN_ADDRESSES_MAX {
        let n = addresses.len();
        return (0, format!("{n} addresses are too many for one join; the limit is {JOIN_ADDRESSES_MAX}"));
    }
    match join(&service.serf, &addresses, request.replay).await {
        Ok(n) => (i32::try_from(n).unwrap_or(i32::MAX), String::new()),
        Err(error) => (0, error.to_string()),
    }
}

async fn force_leave(service: &Service, request: ForceLeaveRequest) -> String {
    let how = if request.prune { "Force leaving node (prune)" } else { "Force leaving node" };
    log::info!(target: "agent", "{how}: {}", printable(&request.node.to_string()));
    let name = Name::from(request.node.as_bytes());
    let result = if request.prune {
        service.serf.force_leave_and_prune(name).await
    } else {
        service.serf.force_leave(name).await
    };
    match result {
        Ok(()) => String::new(),
        Err(error) => {
            log::warn!(target: "agent", "failed to remove node: {error}");
            error.to_string()
        }
    }
}

async fn send_event(service: &Service, request: EventRequest) -> String {
    user_event(service, request).await.err().map(|error| error.to_string()).unwrap_or_default()
}

/// Fires a user event, and says so in the log.
pub(crate) async fn user_event(service: &Service, request: EventRequest) -> Result<(), serf::Error> {
    let EventRequest { name, payload, coalesce } = request;
    let payload = payload.unwrap_or_default();
    log::debug!(
        target: "agent",
        "Requesting user event send: {}. Coalesced: {coalesce}. Payload: {}",
        printable(&name.to_string()),
        quote(&payload)
    );
    let sent = service.serf.user_event(Name::from(name.as_bytes()), payload, coalesce).await;
    sent.inspect_err(|error| log::warn!(target: "agent", "failed to send user event: {error}"))
}

async fn leave(service: &Service) -> String {
    log::info!(target: "agent", "requesting graceful leave from Serf");
    match service.serf.leave().await {
        Ok(()) => String::new(),
        Err(error) => {
            log::error!(target: "agent.ipc", "leave failed: {error}");
            error.to_string()
        }
    }
}

async fn set_tags(service: &Service, request: TagsRequest) -> String {
    let text = |bytes: &Text| String::from_utf8(bytes.as_bytes().to_vec());
    let mut changes = Vec::new();
    for (key, value) in request.tags.iter().flat_map(Pairs::iter) {
        match (text(key), text(value)) {
            (Ok(key), Ok(value)) => changes.push((key, value)),
            _ => return "Failed to encode tags: invalid UTF-8".into(),
        }
    }
    let result = service.tags.set(&service.serf, |mut tags| {
        request.delete_tags.iter().flatten().for_each(|key| drop(tags.remove(&key.to_string())));
        tags.extend(changes);
        tags
    });
    result.await.err().unwrap_or_default()
}

/// A node that is shutting down knows nobody any more.
async fn members(service: &Service) -> Arc<[serf::Member]> {
    service.serf.members().await.unwrap_or_else(|_| Arc::from([]))
}

async fn all_members(service: &Service) -> MembersResponse {
    let members = members(service).await;
    MembersResponse { members: members.iter().map(record).collect() }
}

async fn members_filtered(
    service: &Service,
    filter: MembersFilteredRequest,
) -> Result<MembersResponse, MatchError> {
    let selected = service.matching.select(filter, members(service).await).await?;
    Ok(MembersResponse { members: selected.iter().map(record).collect() })
}

/// A member as clients see it.
pub(crate) fn record(m: &serf::Member) -> Member {
    let mut member = Member {
        name: m.name.as_bytes().into(),
        addr: Some(m.addr.host.as_bytes().to_vec()),
        port: m.addr.port,
        tags: raw_tags(m),
        status: m.status.as_str().into(),
        protocol_min: m.versions.protocol_min,
        protocol_max: m.versions.protocol_max,
        protocol_cur: m.versions.protocol_cur,
        delegate_min: m.versions.delegate_min,
        delegate_max: m.versions.delegate_max,
        delegate_cur: m.versions.delegate_cur,
    };
    if let Some(ip) = m.addr.host.ip() {
        member.set_ip(ip);
    }
    member
}

/// What is not known is no error.
async fn coordinate(service: &Service, request: &GetCoordinateRequest) -> GetCoordinateResponse {
    match service.serf.cached_coordinate(Name::from(request.node.as_bytes())).await {
        Ok(Some(it)) => {
            let serf::Coordinate { vec, error, adjustment, height } = it;
            let coord = Coordinate { vec: Some(vec.to_vec()), error, adjustment, height };
            GetCoordinateResponse { coord, ok: true }
        }
        _ => GetCoordinateResponse::default(),
    }
}

/// What the agent says of itself, in sections of texts.
pub(crate) async fn stats(service: &Service) -> StatsResponse {
    let section = |pairs: Vec<(&str, String)>| -> Pairs<Text> {
        pairs.into_iter().map(|(k, v)| (Text::from(k), Text::from(v))).collect()
    };
    // The system is asked once: that takes it longer than all the rest takes us.
    static CPUS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    let runtime = section(vec![
        ("os", std::env::consts::OS.into()),
        ("arch", arch.into()),
        ("version", format!("rust-{}", env!("CARGO_PKG_RUST_VERSION"))),
        ("max_procs", "1".into()),
        ("goroutines", tokio::runtime::Handle::current().metrics().num_alive_tasks().to_string()),
        ("cpu_count", CPUS.to_string()),
    ]);
    let name = service.serf.name().as_bytes();
    let tags = match service.serf.local_member().await {
        Ok(Some(me)) => raw_tags(&me),
        _ => Pairs::new(),
    };
    let vitals = service.serf.stats().await.map(|stats| stats.vitals).unwrap_or_default();
    let mut serf = vec![
        ("members", vitals.members.to_string()),
        ("failed", vitals.failed.to_string()),
        ("left", vitals.left.to_string()),
        ("health_score", vitals.health_score.to_string()),
        ("member_time", vitals.member_time.to_string()),
        ("event_time", vitals.event_time.to_string()),
        ("query_time", vitals.query_time.to_string()),
        ("intent_queue", vitals.intent_queue.to_string()),
        ("event_queue", vitals.event_queue.to_string()),
        ("query_queue", vitals.query_queue.to_string()),
        ("encrypted", vitals.encrypted.to_string()),
    ];
    serf.extend(vitals.coordinate_resets.map(|resets| ("coordinate_resets", resets.to_string())));
    let handlers = service.handlers.entries();
    let handlers = handlers.iter().map(|(k, v)| (Text::from(k.as_str()), Text::from(v.as_str()))).collect();
    [
        ("agent", std::iter::once((Text::from("name"), Text::from(name))).collect()),
        ("runtime", runtime),
        ("serf", section(serf)),
        ("tags", tags),
        ("event_handlers", handlers),
    ]
    .into_iter()
    .map(|(k, v): (&str, Pairs<Text>)| (Text::from(k), v))
    .collect()
}
