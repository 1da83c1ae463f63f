//! Queries of RPC clients: those that a client asks, and those that it is shown and may answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serf::{Answer, Answers, Query, QueryEnd, QueryEvent, Serf};
use serf_rpc::message::{QueryEventRecord, QueryRecord, QueryRequest};
use serf_rpc::{Pairs, Text, record};

use crate::session::{Writer, write};
use crate::text::{printable, quote};

/// Queries that one client may have under way: far more than tools ask at a time, and each is a task.
pub(crate) const ASKED_MAX: usize = 256;
/// Queries that one client may yet answer. The oldest makes room: a flood costs those that came before it.
const SHOWN_MAX: usize = 1024;

/// Queries that begin so are for nodes among themselves.
const INTERNAL: &[u8] = b"_serf_";
/// The one of them that clients may ask: everybody acknowledges it, and it is told to nobody.
const PING: &[u8] = b"_serf_ping";

/// Asks the cluster, until the time-out. An error is the text for the client.
pub(crate) async fn ask(serf: &Serf, request: QueryRequest) -> Result<Answers, String> {
    // Clients count on it that the end comes with the time-out and not before.
    let query = query(request)?.until_timeout();
    send(serf, query).await.map_err(|error| error.to_string())
}

/// Asks the cluster, and says so in the log.
pub(crate) async fn send(serf: &Serf, query: Query) -> Result<Answers, serf::Error> {
    log::debug!(
        target: "agent",
        "Requesting query send: {}. Payload: {}",
        printable(&query.name.to_string()),
        quote(&query.payload)
    );
    let asked = serf.query(query).await;
    asked.inspect_err(|error| log::warn!(target: "agent", "failed to start user query: {error}"))
}

/// What a client wants to ask. It ends when everybody has answered, or with the time-out. An error is the text for the
/// client.
pub(crate) fn query(request: QueryRequest) -> Result<Query, String> {
    let QueryRequest { filter_nodes, filter_tags, request_ack, relay_factor, timeout, name, payload } =
        request;
    let payload = payload.unwrap_or_default();
    let is_ping = name.as_bytes() == PING && payload.is_empty();
    if name.as_bytes().starts_with(INTERNAL) && !is_ping {
        return Err("Queries cannot contain the '_serf_' prefix".into());
    }
    let text = |bytes: &Text| {
        String::from_utf8(bytes.as_bytes().to_vec()).map_err(|_| "Failed to format filters: invalid UTF-8")
    };
    let mut tags = BTreeMap::new();
    for (tag, expression) in filter_tags.iter().flat_map(Pairs::iter) {
        tags.insert(text(tag)?, text(expression)?);
    }
    let nodes = filter_nodes.unwrap_or_default();
    Ok(Query {
        tags,
        ack: request_ack,
        relay_factor,
        timeout: match u64::try_from(timeout) {
            Ok(nanos) => Some(Duration::from_nanos(nanos)),
            // A time that is over already, which zero would not be.
            Err(_) => Some(Duration::from_nanos(1)),
        },
        ..Query::new(name.as_bytes()).with_payload(payload).to_nodes(nodes.iter().map(Text::as_bytes))
    })
}

/// Writes what comes of a query, and that it has ended. If it was the node that ended, so does the connection.
pub(crate) async fn stream_answers(seq: u64, mut answers: Answers, writer: &Writer) -> io::Result<()> {
    while let Some(answer) = answers.next().await {
        let (kind, from, payload) = match answer {
            Answer::Ack { from } => ("ack", from, Vec::new()),
            Answer::Response { from, payload } => ("response", from, payload),
            _ => continue,
        };
        let payload = Some(payload).filter(|payload| !payload.is_empty());
        let answer = QueryRecord { kind: kind.into(), from: from.as_bytes().into(), payload };
        write(writer, &record(seq, &answer)).await?;
    }
    if answers.end() == Some(QueryEnd::Closed) {
        return Ok(());
    }
    let done = QueryRecord { kind: "done".into(), ..QueryRecord::default() };
    write(writer, &record(seq, &done)).await
}

/// The queries that a client was shown, through whichever of its streams, and may answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(Arc<Mutex<Table<QueryEvent>>>);

impl Shown {
    /// The record of a query that is shown to the client now.
    pub(crate) fn show(&self, query: &QueryEvent) -> QueryEventRecord {
        QueryEventRecord {
            event: "query".into(),
            id: self.table().add(Instant::now(), query.deadline, query.clone()),
            ltime: query.ltime,
            name: query.name.as_bytes().into(),
            payload: Some(query.payload.to_vec()).filter(|payload| !payload.is_empty()),
        }
    }

    /// Answers a query; the text for the client.
    pub(crate) async fn respond(&self, id: u64, payload: Option<Vec<u8>>) -> String {
        let Some(query) = self.table().get(Instant::now(), id).cloned() else {
            return "No pending queries matching ID".into();
        };
        match query.respond(payload.unwrap_or_default()).await {
            Ok(()) => String::new(),
            // Whatever the query was: these are the words that clients know (E46).
            Err(error) => format!("failed to respond to key query: {error}"),
        }
    }

    /// Nothing is ever left half done under this lock, so that a panic elsewhere does not matter to it.
    fn table(&self) -> MutexGuard<'_, Table<QueryEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Things with a number and a time after which nobody asks for them.
#[derive(Debug)]
struct Table<T> {
    entries: BTreeMap<u64, (Instant, T)>,
    /// The number of the latest.
    last: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), last: 0 }
    }
}

impl<T> Table<T> {
    /// Its number: 1, 2, 3 and so on.
    fn add(&mut self, now: Instant, deadline: Instant, entry: T) -> u64 {
        self.entries.retain(|_, (deadline, _)| now <= *deadline);
        if self.entries.len() >= SHOWN_MAX {
            self.entries.pop_first();
        }
        self.last += 1;
        self.entries.insert(self.last, (deadline, entry));
        self.last
    }

    fn get(&self, now: Instant, number: u64) -> Option<&T> {
        self.entries.get(&number).filter(|(deadline, _)| now <= *deadline).map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_known_by_its_number_until_its_time_is_over_or_too_many_came_after_it() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut table = Table::default();
        assert_eq!((table.add(at(0), at(1), 'a'), table.add(at(0), at(9), 'b')), (1, 2));
        assert_eq!((table.get(at(1), 1), table.get(at(2), 1), table.get(at(2), 3)), (Some(&'a'), None, None));
        assert_eq!(table.add(at(2), at(9), 'c'), 3);
        assert_eq!(table.entries.len(), 2, "what is over is forgotten");
        for _ in 2..SHOWN_MAX {
            table.add(at(2), at(9), 'd');
        }
        assert_eq!(table.get(at(2), 2), Some(&'b'));
        let last = table.add(at(2), at(9), 'e');
        assert_eq!((table.get(at(2), 2), table.get(at(2), 3)), (None, Some(&'c')));
        assert_eq!((table.get(at(2), last), table.entries.len()), (Some(&'e'), SHOWN_MAX));
    }

    #[test]
    fn only_the_ping_of_the_internal_queries_may_be_asked_and_only_bare() {
        let ask = |name: &str, payload: &[u8]| {
            query(QueryRequest {
                name: name.into(),
                payload: Some(payload.to_vec()),
                ..QueryRequest::default()
            })
        };
        assert_eq!(ask("_serf_ping", b"").unwrap().name, "_serf_ping".into());
        assert_eq!(ask("serf_ping", b"x").unwrap().payload, b"x");
        for (name, payload) in
            [("_serf_ping", &b"x"[..]), ("_serf_", b""), ("_serf_ping2", b""), ("_serf_conflict", b"")]
        {
            assert_eq!(ask(name, payload).unwrap_err(), "Queries cannot contain the '_serf_' prefix");
        }
    }

    #[test]
    fn a_request_says_whom_to_ask_and_for_how_long() {
        let request = QueryRequest {
            filter_nodes: Some(vec!["a".into(), b"\xff"[..].into()]),
            filter_tags: Some([("role", "^web$")].into_iter().collect()),
            request_ack: true,
            relay_factor: 3,
            timeout: 1_500_000_000,
            name: "load".into(),
            payload: None,
        };
        let expected = Query::new("load")
            .to_nodes([&b"a"[..], b"\xff"])
            .to_tag("role", "^web$")
            .with_acks()
            .with_relays(3)
            .with_timeout(Duration::from_millis(1500));
        assert_eq!(query(request.clone()), Ok(expected));
        for (nanos, timeout) in [(0, 0), (-1, 1), (i64::MIN, 1), (i64::MAX, i64::MAX as u64)] {
            let made = query(QueryRequest { timeout: nanos, ..request.clone() }).unwrap();
            assert_eq!(made.timeout, Some(Duration::from_nanos(timeout)));
        }
        let odd =
            QueryRequest { filter_tags: Some([("role", &b"\xff"[..])].into_iter().collect()), ..request };
        assert_eq!(query(odd).unwrap_err(), "Failed to format filters: invalid UTF-8");
    }
}
