//! Answers: whole ones in JSON or text, those that go on, and errors, which all have one form.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serf::driver::Closed;

pub(super) type Reply = Response<Body>;

pub(super) const JSON: &str = "application/json";
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// What is sent.
pub(super) enum Body {
    /// All at once; nothing when it has been taken.
    Whole(Bytes),
    /// Piece by piece, as the client takes them.
    Stream(Box<dyn Feed>),
}

/// Makes the pieces of a stream.
pub(super) trait Feed: Send {
    /// The next one; none at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty())),
            Self::Stream(feed) => feed.poll_next(cx),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A request that is not carried out, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// A header that goes with the status.
    pub(super) header: Option<(HeaderName, &'static str)>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), header: None }
    }

    /// The request makes no sense.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is too much to do now.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with(RETRY_AFTER, "1")
    }

    pub(super) fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(super) fn reply(&self) -> Reply {
        #[derive(Serialize)]
        struct Error<'a> {
            error: &'a str,
        }
        let mut reply = json(&Error { error: &self.message });
        *reply.status_mut() = self.status;
        if let Some((name, value)) = &self.header {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        reply
    }
}

impl From<Closed> for Failure {
    fn from(_: Closed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is shutting down")
    }
}

/// What the node says of something that was not done.
impl From<serf::Error> for Failure {
    fn from(error: serf::Error) -> Self {
        match error {
            serf::Error::Closed(closed) => closed.into(),
            serf::Error::Failed(serf::Failure::Shutdown) => Closed.into(),
            serf::Error::Failed(serf::Failure::TooManyQueries) => Self::busy(error.to_string()),
            error => Self::bad(error.to_string()),
        }
    }
}

/// A document, with a line break behind it for those who read it in a terminal.
pub(super) fn json(document: &impl Serialize) -> Reply {
    let mut bytes = serde_json::to_vec(document).expect("maps with text for keys are written into memory");
    bytes.push(b'\n');
    whole(JSON, bytes)
}

pub(super) fn whole(content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    typed(content_type, Body::Whole(bytes.into()))
}

/// Events as they come.
pub(super) fn stream(feed: impl Feed + 'static) -> Reply {
    let mut reply = typed(EVENT_STREAM, Body::Stream(Box::new(feed)));
    // What stands between may gather an answer before it passes it on.
    reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

fn typed(content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Names and payloads are of others' choice: no browser shall see a page in them.
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    reply
}
