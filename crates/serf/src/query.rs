//! Questions to the cluster, from both sides: what comes of one, and answering one.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use serf_core::{Answer, Command, Node, Outcome, QueryEnd, QueryKey};
use serf_gossip::Name;
use tokio::sync::oneshot;

use crate::driver::{Closed, WeakRemote};
use crate::error::Error;
use crate::handle::{Events, Lease, Ongoing, Request};
use crate::identity::{self, Identity};

/// Room for answers of members who came after the question, besides those of everybody who was there.
const NEWCOMERS: usize = 64;

/// How many parts may come of a query where so many members are: an ack and a response of each, and the end. Therefore
/// none is ever shed unless very many join within its time.
pub(crate) fn parts(present: usize) -> usize {
    2 * (present + NEWCOMERS) + 1
}

/// What comes of a query, part by part.
#[derive(Debug)]
pub(crate) enum Part<I = Name> {
    Answer(Answer<I>),
    End(QueryEnd),
}

impl<I: Identity> Part<I> {
    fn typed(part: Part) -> Option<Self> {
        match part {
            Part::Answer(answer) => identity::answer(answer).map(Self::Answer),
            Part::End(why) => Some(Self::End(why)),
        }
    }
}

/// What comes of a query: acks and responses as they come, at most one of each from each member. Made by
/// [`crate::Serf::query`]. Dropping it ends the query.
pub struct Answers<I = Name> {
    parts: Events<Part<I>>,
    lease: Lease<Node>,
    ltime: u64,
    deadline: Instant,
    present: usize,
    end: Option<QueryEnd>,
}

impl<I: Identity> Answers<I> {
    pub(crate) fn new(ongoing: Ongoing<Node>) -> Result<Self, Error> {
        let Ongoing { outcome, parts, lease } = ongoing;
        match outcome {
            Outcome::Asked { ltime, timeout, present } => {
                let deadline = later(timeout);
                let parts = parts.map(Part::typed);
                Ok(Self { parts, lease, ltime, deadline, present, end: None })
            }
            Outcome::Failed(why) => Err(why.into()),
            _ => Err(Closed.into()),
        }
    }

    /// The next answer. None when nothing more comes: everybody has answered, or the time is over. Cancelling loses
    /// none.
    pub async fn next(&mut self) -> Option<Answer<I>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Answers::next`] for streams made by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer<I>>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.parts.poll_recv(cx)) {
            Some(Part::Answer(answer)) => Some(answer),
            Some(Part::End(why)) => {
                self.end = Some(why);
                self.lease.is_over();
                None
            }
            None => None,
        })
    }

    /// Why nothing more comes, once [`Answers::next`] has said so. None before, or if the node is gone.
    #[must_use]
    pub fn end(&self) -> Option<QueryEnd> {
        self.end
    }

    /// The time of the query, by the cluster's query clock.
    #[must_use]
    pub fn ltime(&self) -> u64 {
        self.ltime
    }

    /// Until when answers are taken.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How many members were present when the query began, this node among them: as many responses as can be expected
    /// if everybody was asked.
    #[must_use]
    pub fn present(&self) -> usize {
        self.present
    }
}

impl<I> fmt::Debug for Answers<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("ltime", &self.ltime)
            .field("parts", &self.parts)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// A query that somebody in the cluster asked, and that is for us.
#[derive(Clone)]
pub struct QueryEvent<I = Name> {
    /// Its time, by the cluster's query clock.
    pub ltime: u64,
    /// Its name.
    pub name: Name,
    /// What it carries. Never told apart from absent: an absent payload is an empty one.
    pub payload: Arc<[u8]>,
    /// Who asked. Empty if it is too old to say so, where a name can be: else whoever does not say so is not heard.
    pub source: I,
    /// Until when an answer is taken.
    pub deadline: Instant,
    key: QueryKey,
    node: WeakRemote<Request<Node>>,
}

impl QueryEvent {
    pub(crate) fn new(event: serf_core::QueryEvent, node: WeakRemote<Request<Node>>) -> Self {
        let serf_core::QueryEvent { key, ltime, name, payload, source, timeout, .. } = event;
        Self { ltime, name, payload, source, deadline: later(timeout), key, node }
    }
}

impl<I> QueryEvent<I> {
    pub(crate) fn typed(event: QueryEvent, source: impl FnOnce(Name) -> Option<I>) -> Option<Self> {
        let QueryEvent { ltime, name, payload, source: from, deadline, key, node } = event;
        Some(Self { ltime, name, payload, source: source(from)?, deadline, key, node })
    }

    /// Answers. Each node may do so once, whoever of its subscribers is first. Returns when the response is on its way;
    /// like all gossip it may be lost.
    ///
    /// ```
    /// use serf::{Config, Event, Query, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let mut events = serf.subscribe().await?;
    /// let query = Query::new("load").with_timeout(std::time::Duration::from_secs(60));
    /// let _answers = serf.query(query).await?;
    /// let Some(Event::Query(query)) = events.recv().await else { unreachable!() };
    ///
    /// let error = query.respond([0; 2000]).await.unwrap_err();
    /// assert_eq!(error.to_string(), "response exceeds limit of 1024 bytes");
    /// query.respond(b"0.7").await?;
    /// assert_eq!(query.respond(b"0.8").await.unwrap_err().to_string(), "response already sent");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The response is longer than [`crate::Config::query_response_size_limit`], or there was one, or it is too late;
    /// nothing was sent. Or the node is gone.
    pub async fn respond(&self, payload: impl Into<Vec<u8>>) -> Result<(), Error> {
        let (key, payload) = (self.key, payload.into());
        let (answer, outcome) = oneshot::channel();
        let make = Box::new(move |id| Command::Respond { id, key, payload });
        self.node.send(Request::Command(make, answer)).await?;
        match outcome.await.map_err(|_| Closed)? {
            Outcome::Failed(why) => Err(why.into()),
            _ => Ok(()),
        }
    }
}

impl<I> fmt::Display for QueryEvent<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query: {}", self.name)
    }
}

impl<I: fmt::Debug> fmt::Debug for QueryEvent<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEvent")
            .field("ltime", &self.ltime)
            .field("name", &self.name)
            .field("payload", &self.payload)
            .field("source", &self.source)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A peer may name any time; what the clock cannot express is as good as never.
fn later(timeout: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
    let now = Instant::now();
    now.checked_add(timeout).or_else(|| now.checked_add(NEVER)).unwrap_or(now)
}
