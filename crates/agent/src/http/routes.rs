//! Which paths there are, what may be asked of each, and who answers.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONNECTION, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::time::timeout;

use super::access::Denied;
use super::crowd::{Busy, Seat};
use super::params::{Param, Params};
use super::reply::{EVENT_STREAM, Failure, JSON, Reply, stream, whole};
use super::stream::{EventFeed, Held};
use super::{Api, STREAMS_MAX, metrics, orders, reads};
use crate::events::EventFilter;
use crate::text::{nearest, printable, quote};

/// What an API of this form can do, for programs that read such documents.
static DOCUMENT: &str = include_str!("openapi.json");

/// The longest path with its parameters, in bytes: a handful of long expressions.
const URL_MAX: usize = 4 << 10;
/// The largest body, in bytes. The largest user event has 9 KiB, in base64 or with escapes not twice as much.
const BODY_MAX: usize = 64 << 10;
/// Of a URL in the log, in bytes.
const LOGGED_MAX: usize = 256;
/// What is too large is read on so far, so that who sends it gets to read our answer.
const DISCARDED_MAX: usize = 1 << 20;
/// A body comes within this time after its header.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that can be asked for.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) does: Does,
    /// None: any are taken, and none is looked at, as with those that tools add by themselves.
    pub(super) params: Option<&'static [Param]>,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    Coordinates,
    Document,
    Event,
    Events,
    Health,
    Info,
    Members,
    Metrics,
    Query,
    Rtt,
}

impl Does {
    /// With POST; the others with GET and HEAD.
    pub(super) fn takes_orders(self) -> bool {
        matches!(self, Self::Event | Self::Query)
    }

    /// Without the token, from anywhere: what tells nothing of the cluster.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::Document)
    }
}

const fn once(name: &'static str) -> Param {
    Param { name, repeats: false }
}

/// All that there is.
pub(super) static ROUTES: &[Route] = &[
    Route {
        path: "/v1/members",
        does: Does::Members,
        params: Some(&[once("name"), once("status"), Param { name: "tag", repeats: true }]),
    },
    Route { path: "/v1/events", does: Does::Events, params: Some(&[once("type")]) },
    Route { path: "/v1/event", does: Does::Event, params: Some(&[]) },
    Route { path: "/v1/query", does: Does::Query, params: Some(&[]) },
    Route { path: "/v1/stats", does: Does::Info, params: Some(&[]) },
    Route { path: "/v1/coordinates", does: Does::Coordinates, params: Some(&[once("node")]) },
    Route { path: "/v1/rtt", does: Does::Rtt, params: Some(&[once("from"), once("to")]) },
    Route { path: "/v1/openapi.json", does: Does::Document, params: None },
    Route { path: "/metrics", does: Does::Metrics, params: None },
    Route { path: "/healthz", does: Does::Health, params: None },
];

/// Answers a request, whatever it is.
pub(super) async fn answer(api: &Api, seat: &Arc<Seat>, request: Request<Incoming>) -> Reply {
    api.service.telemetry.count("agent.http.request", 1);
    let (parts, body) = request.into_parts();
    let url = parts.uri.path_and_query().map_or("", |it| it.as_str());
    let result = answered(api, seat, &parts.method, url, &parts.headers, body).await;
    let reply = result.unwrap_or_else(|failure| failure.reply());
    log::debug!(
        target: "agent.http",
        "{} {} {} {}",
        api.from,
        parts.method,
        printable(&url[..url.floor_char_boundary(LOGGED_MAX)]),
        reply.status().as_u16()
    );
    reply
}

async fn answered(
    api: &Api,
    seat: &Arc<Seat>,
    method: &Method,
    url: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Reply, Failure> {
    if url.len() > URL_MAX {
        let message = format!("the URL is longer than {URL_MAX} bytes");
        return Err(Failure::new(StatusCode::URI_TOO_LONG, message));
    }
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let route = ROUTES.iter().find(|route| route.path == path).ok_or_else(|| no_route(path))?;
    let does = route.does;
    let is_head = method == Method::HEAD;
    let (fits, allow) = if does.takes_orders() {
        (method == Method::POST, "POST")
    } else {
        (is_head || method == Method::GET, "GET, HEAD")
    };
    if !fits {
        let message = format!("{path} takes {allow} only");
        return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, message).with(ALLOW, allow));
    }
    if !does.is_open() {
        api.gate.check(headers, !does.takes_orders()).map_err(|denied| deny(api, denied, path))?;
    }
    let params = route.params.map_or_else(|| Ok(Params::default()), |known| Params::parse(query, known));
    let params = params.map_err(Failure::bad)?;
    let body = if does.takes_orders() { read(body).await? } else { Vec::new() };

    // All of the request is there.
    let busy = seat.busy();
    match does {
        Does::Health => reads::health(api).await,
        Does::Document => Ok(whole(JSON, DOCUMENT)),
        Does::Events if is_head => Ok(whole(EVENT_STREAM, "")),
        Does::Events => events(api, &params, busy).await,
        Does::Event => orders::event(api, &body).await,
        Does::Query => orders::query(api, headers, &body, busy).await,
        Does::Members => reads::members(api, &params).await,
        Does::Info => {
            let _turn = api.turn().await;
            reads::info(api).await
        }
        Does::Coordinates => {
            let _turn = api.turn().await;
            reads::coordinates(api, &params).await
        }
        Does::Rtt => reads::rtt(api, &params).await,
        Does::Metrics => {
            let _turn = api.turn().await;
            metrics::metrics(api).await
        }
    }
}

fn no_route(path: &str) -> Failure {
    let shown = quote(path.as_bytes());
    let message = match nearest(path, ROUTES.iter().map(|route| route.path)) {
        Some(meant) => format!("there is no {shown}; did you mean {meant}?"),
        None => format!("there is no {shown}; see /v1/openapi.json for what there is"),
    };
    Failure::new(StatusCode::NOT_FOUND, message)
}

fn deny(api: &Api, denied: Denied, path: &str) -> Failure {
    api.service.telemetry.count("agent.http.denied", 1);
    api.wrongs.denied.tell(format_args!("denied {path}: {denied} from={}", api.from));
    match denied {
        Denied::NoToken | Denied::WrongToken => Failure::new(StatusCode::UNAUTHORIZED, denied.to_string())
            .with(WWW_AUTHENTICATE, "Bearer realm=\"serf\""),
        Denied::ForeignHost | Denied::NotJson | Denied::ReadOnly => {
            Failure::new(StatusCode::FORBIDDEN, denied.to_string())
        }
    }
}

async fn events(api: &Api, params: &Params, busy: Busy) -> Result<Reply, Failure> {
    let filter = String::from_utf8_lossy(params.one("type").unwrap_or_default());
    let filters = EventFilter::parse_list(&filter).map_err(|error| {
        let kinds = EventFilter::KINDS.join(", ");
        let shown = quote(error.filter.as_bytes());
        Failure::bad(format!(
            "type={shown} is none of {kinds}, user:NAME and query:NAME, with commas between them"
        ))
    })?;
    let place = api.streams.clone().try_acquire_owned().map_err(|_| {
        Failure::busy(format!("too many streams are open: the limit is {STREAMS_MAX}; try again later"))
    })?;
    // They are listened for before the answer goes out, so that none is missed after it.
    let events = api.service.serf.subscribe().await?;
    let held = Held { _place: place, _busy: busy };
    Ok(stream(EventFeed::new(events, filters, api.service.telemetry.clone(), held)))
}

/// Takes the body in, within bounds.
async fn read(body: Incoming) -> Result<Vec<u8>, Failure> {
    let all = timeout(BODY_TIMEOUT, gather(body)).await;
    all.unwrap_or_else(|_| {
        let message = format!("the body did not come within {BODY_TIMEOUT:?}");
        Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message).with(CONNECTION, "close"))
    })
}

async fn gather(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let too_large = || {
        let message = format!("the body is larger than {BODY_MAX} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let announced = body.size_hint().lower();
    // Whoever asked first whether it may send it need not.
    if announced > DISCARDED_MAX as u64 {
        return Err(too_large());
    }
    let (mut all, mut discarded) = (Vec::new(), 0);
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Failure::bad(format!("the body cannot be read: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if discarded == 0 && all.len() + data.len() <= BODY_MAX {
            all.extend_from_slice(data);
        } else {
            discarded += data.len();
            if discarded > DISCARDED_MAX {
                break;
            }
        }
    }
    if discarded > 0 { Err(too_large()) } else { Ok(all) }
}
