//! Server-sent events: what happens in the cluster, and what comes of a query, as it comes.
//!
//! A stream is pulled by whoever reads it. Who reads slowly finds the latest events missing, and how many: the node keeps
//! only so many for him ([`serf::EVENT_QUEUE`]).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use serf::{Answer, Answers, Event, Events, QueryEnd};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::crowd::Busy;
use super::reply::Feed;
use crate::events::{EventBody, EventFilter, Payload};
use crate::members::MemberDocument;
use crate::service::record;
use crate::telemetry::Telemetry;

/// After so long without an event a comment is sent: what stands between often takes half a minute of silence for the
/// end, and who has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser comes back after the connection broke.
const RETRY: &str = "retry: 2000\n\n";

/// What is held as long as a stream goes on.
pub(super) struct Held {
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) _busy: Busy,
}

/// What happens from now on, as far as it passes a filter.
pub(super) struct EventFeed {
    events: Events,
    filters: Vec<EventFilter>,
    telemetry: Telemetry,
    lost: u64,
    line: Line,
    _held: Held,
}

impl EventFeed {
    pub(super) fn new(events: Events, filters: Vec<EventFilter>, telemetry: Telemetry, held: Held) -> Self {
        Self { events, filters, telemetry, lost: 0, line: Line::new(), _held: held }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let lost = self.events.shed() - self.lost;
            if lost > 0 {
                self.lost += lost;
                self.telemetry.count("agent.http.lost", lost);
                return Poll::Ready(Some(self.line.event("lost", &Lost { lost })));
            }
            let Poll::Ready(event) = self.events.poll_recv(cx) else { return Poll::Pending };
            let Some(event) = event else { return Poll::Ready(None) };
            if let Some((kind, document)) = document(&self.filters, &event) {
                return Poll::Ready(Some(self.line.event(kind, &document)));
            }
        }
    }
}

impl Feed for EventFeed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = self.next(cx);
        self.line.or_alive(cx, next)
    }
}

/// So many events were lost, all of them later than the ones before this.
#[derive(Serialize)]
struct Lost {
    lost: u64,
}

#[derive(Serialize)]
struct EventDocument<'a> {
    event: &'a str,
    #[serde(flatten)]
    body: EventBody<MemberDocument>,
}

/// The type and the document of an event that passes one of the filters.
fn document<'a>(filters: &[EventFilter], event: &'a Event) -> Option<(&'a str, EventDocument<'a>)> {
    let passes = |kind: &str, name: &str| filters.iter().any(|f| f.admits(kind, name));
    let (kind, body) = match event {
        Event::Member(e) if passes(e.kind.as_str(), "") => {
            let members = e.members.iter().map(|m| MemberDocument::of(&record(m))).collect();
            (e.kind.as_str(), EventBody::Members { members })
        }
        Event::User(e) if passes("user", &e.name.to_string()) => {
            let payload = Payload::of(&e.payload);
            let body =
                EventBody::User { name: e.name.to_string(), ltime: e.ltime, coalesce: e.coalesce, payload };
            ("user", body)
        }
        Event::Query(e) if passes("query", &e.name.to_string()) => {
            let (source, payload) = (e.source.to_string(), Payload::of(&e.payload));
            ("query", EventBody::Query { name: e.name.to_string(), ltime: e.ltime, source, payload })
        }
        _ => return None,
    };
    Some((kind, EventDocument { event: kind, body }))
}

/// What comes of a query.
pub(super) struct AnswerFeed {
    answers: Answers,
    acks: u64,
    responses: u64,
    over: bool,
    line: Line,
    _held: Held,
}

impl AnswerFeed {
    pub(super) fn new(answers: Answers, held: Held) -> Self {
        Self { answers, acks: 0, responses: 0, over: false, line: Line::new(), _held: held }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(answer) = self.answers.poll_next(cx) else { return Poll::Pending };
            return Poll::Ready(Some(match answer {
                Some(Answer::Ack { from }) => {
                    self.acks += 1;
                    self.line.event("ack", &Ack { from: from.to_string() })
                }
                Some(Answer::Response { from, payload }) => {
                    self.responses += 1;
                    self.line.event("response", &Response::of(&from, &payload))
                }
                Some(_) => continue,
                None => {
                    self.over = true;
                    let end = end(&self.answers);
                    self.line.event("done", &Done { end, acks: self.acks, responses: self.responses })
                }
            }));
        }
    }
}

impl Feed for AnswerFeed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let next = self.next(cx);
        self.line.or_alive(cx, next)
    }
}

#[derive(Serialize)]
struct Ack {
    from: String,
}

/// What somebody responded.
#[derive(Serialize)]
pub(super) struct Response {
    from: String,
    #[serde(flatten)]
    payload: Payload,
}

impl Response {
    pub(super) fn of(from: &serf::Name, payload: &[u8]) -> Self {
        Self { from: from.to_string(), payload: Payload::of(payload) }
    }
}

#[derive(Serialize)]
struct Done {
    end: &'static str,
    acks: u64,
    responses: u64,
}

/// Why nothing more comes of a query.
pub(super) fn end(answers: &Answers) -> &'static str {
    match answers.end() {
        Some(QueryEnd::Complete) => "complete",
        Some(QueryEnd::TimedOut) => "timeout",
        _ => "shutdown",
    }
}

/// The line that events go over.
struct Line {
    has_begun: bool,
    number: u64,
    silence: Pin<Box<Sleep>>,
}

impl Line {
    fn new() -> Self {
        Self { has_begun: false, number: 0, silence: Box::pin(sleep(KEEP_ALIVE)) }
    }

    /// An event. JSON has no line breaks of its own, so it is one line of data.
    fn event(&mut self, kind: &str, document: &impl Serialize) -> Bytes {
        self.number += 1;
        let mut text = format!("id: {}\nevent: {kind}\ndata: ", self.number).into_bytes();
        serde_json::to_writer(&mut text, document).expect("maps with text for keys are written into memory");
        text.extend_from_slice(b"\n\n");
        text.into()
    }

    /// What there is, after something that says that the stream has begun; and a comment when nothing came for long.
    fn or_alive(&mut self, cx: &mut Context<'_>, next: Poll<Option<Bytes>>) -> Poll<Option<Bytes>> {
        let begin = !std::mem::replace(&mut self.has_begun, true);
        let piece = match next {
            Poll::Ready(Some(piece)) if begin => [RETRY.as_bytes(), &piece].concat().into(),
            Poll::Ready(Some(piece)) => piece,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending if begin => RETRY.into(),
            Poll::Pending if self.silence.as_mut().poll(cx).is_ready() => ": nothing new\n\n".into(),
            Poll::Pending => return Poll::Pending,
        };
        self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(piece))
    }
}
