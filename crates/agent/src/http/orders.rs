//! What the agent can be asked to do: fire a user event, ask a query.

use std::collections::BTreeMap;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Response as HttpResponse, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serf::Answer;
use serf_rpc::Text;
use serf_rpc::message::{EventRequest, QueryRequest};

use super::crowd::Busy;
use super::reply::{Body, EVENT_STREAM, Failure, Reply, json, stream};
use super::stream::{AnswerFeed, Held, Response, end};
use super::{Api, QUERIES_MAX};
use crate::{queries, service};

/// The longest that a query may be given, in seconds: longer than anything waits for an answer over HTTP.
const QUERY_SECONDS_MAX: f64 = 300.0;
/// Bytes of responses gathered for one answer. A hundred thousand ordinary ones; whoever wants more can have them as a
/// stream, where nothing is gathered.
const GATHERED_MAX: usize = 16 << 20;

/// A user event to fire.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventOrder {
    name: String,
    #[serde(default, deserialize_with = "given")]
    payload: Option<String>,
    #[serde(default, deserialize_with = "given")]
    payload_base64: Option<String>,
    /// As for `serf event`.
    #[serde(default = "yes")]
    coalesce: bool,
}

fn yes() -> bool {
    true
}

/// What is left out may be left out; null is no value.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A query to ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryOrder {
    name: String,
    #[serde(default, deserialize_with = "given")]
    payload: Option<String>,
    #[serde(default, deserialize_with = "given")]
    payload_base64: Option<String>,
    #[serde(default)]
    filter_nodes: Vec<String>,
    #[serde(default)]
    filter_tags: BTreeMap<String, String>,
    /// In seconds.
    #[serde(default, deserialize_with = "given")]
    timeout: Option<f64>,
    #[serde(default)]
    request_ack: bool,
    #[serde(default)]
    relay_factor: u8,
}

/// What came of a query.
#[derive(Serialize)]
struct Outcome {
    name: String,
    ltime: u64,
    present: usize,
    acks: Vec<String>,
    responses: Vec<Response>,
    end: &'static str,
}

/// Fires a user event.
pub(super) async fn event(api: &Api, body: &[u8]) -> Result<Reply, Failure> {
    let EventOrder { name, payload, payload_base64, coalesce } = read(body)?;
    let payload = Some(payload_of(payload, payload_base64)?);
    let name = Text::from(named(name)?);
    service::user_event(&api.service, EventRequest { name, payload, coalesce }).await?;
    let mut reply = HttpResponse::new(Body::Whole(hyper::body::Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    Ok(reply)
}

/// Asks a query, and answers with what came of it, or as it comes.
pub(super) async fn query(api: &Api, headers: &HeaderMap, body: &[u8], busy: Busy) -> Result<Reply, Failure> {
    let query = queries::query(request(read(body)?)?).map_err(Failure::bad)?;
    let place = api.queries.clone().try_acquire_owned().map_err(|_| {
        Failure::busy(format!("too many queries are under way: the limit is {QUERIES_MAX}; ask again later"))
    })?;
    let name = query.name.to_string();
    let mut answers = queries::send(&api.service.serf, query).await?;
    let held = Held { _place: place, _busy: busy };
    if wants_stream(headers) {
        return Ok(stream(AnswerFeed::new(answers, held)));
    }
    let (ltime, present) = (answers.ltime(), answers.present());
    let mut outcome =
        Outcome { name, ltime, present, acks: Vec::new(), responses: Vec::new(), end: "overflow" };
    let mut gathered = 0;
    while let Some(answer) = answers.next().await {
        match answer {
            Answer::Ack { from } => outcome.acks.push(from.to_string()),
            Answer::Response { from, payload } => {
                gathered += payload.len();
                if gathered > GATHERED_MAX {
                    return Ok(json(&outcome));
                }
                outcome.responses.push(Response::of(&from, &payload));
            }
            _ => {}
        }
    }
    outcome.end = end(&answers);
    drop(held);
    Ok(json(&outcome))
}

fn request(order: QueryOrder) -> Result<QueryRequest, Failure> {
    let QueryOrder {
        name,
        payload,
        payload_base64,
        filter_nodes,
        filter_tags,
        timeout,
        request_ack,
        relay_factor,
    } = order;
    let timeout = timeout.map(time).transpose()?.unwrap_or_default();
    Ok(QueryRequest {
        filter_nodes: Some(filter_nodes.into_iter().map(Text::from).collect()),
        filter_tags: Some(filter_tags.into_iter().map(|(tag, it)| (tag, Text::from(it))).collect()),
        request_ack,
        relay_factor,
        // Zero is what suits the size of the cluster.
        timeout: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
        name: named(name)?.into(),
        payload: Some(payload_of(payload, payload_base64)?),
    })
}

fn time(seconds: f64) -> Result<Duration, Failure> {
    // Less than the smallest time that there is would be none, which means another thing.
    if !(1e-9..=QUERY_SECONDS_MAX).contains(&seconds) {
        return Err(Failure::bad(format!(
            "'timeout' is in seconds, more than 0 and up to {QUERY_SECONDS_MAX}; leave it out for what suits the cluster"
        )));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad(format!("the body is not what it should be: {error}")))
}

/// Events and queries without a name are possible, and nearly always an empty variable of a script.
fn named(name: String) -> Result<String, Failure> {
    if name.is_empty() { Err(Failure::bad("'name' is empty")) } else { Ok(name) }
}

fn payload_of(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, Failure> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(Failure::bad("give 'payload' or 'payload_base64', not both")),
        (None, Some(base64)) => {
            let problem =
                |error| Failure::bad(format!("'payload_base64' is not padded standard base64: {error}"));
            Base64::decode_vec(&base64).map_err(problem)
        }
        (text, None) => Ok(text.unwrap_or_default().into_bytes()),
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| {
        let types = value.to_str().unwrap_or_default().split(',');
        types.filter_map(|it| it.split(';').next()).any(|it| it.trim().eq_ignore_ascii_case(EVENT_STREAM))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T>(result: Result<T, Failure>) -> String {
        let failure = result.err().expect("refused");
        assert_eq!(failure.status, StatusCode::BAD_REQUEST);
        failure.message
    }

    fn query_of(body: &str) -> Result<QueryRequest, Failure> {
        read(body.as_bytes()).and_then(request)
    }

    #[test]
    fn a_query_says_all_that_the_command_line_can_say() {
        let body = r#"{"name": "load", "payload_base64": "AP8=", "filter_nodes": ["a", "b"],
            "filter_tags": {"role": "^web"}, "timeout": 1.5, "request_ack": true, "relay_factor": 3}"#;
        let expected = QueryRequest {
            filter_nodes: Some(vec!["a".into(), "b".into()]),
            filter_tags: Some([("role", "^web")].into_iter().collect()),
            request_ack: true,
            relay_factor: 3,
            timeout: 1_500_000_000,
            name: "load".into(),
            payload: Some(vec![0, 0xff]),
        };
        assert_eq!(query_of(body), Ok(expected));
        let bare = query_of(r#"{"name": "load"}"#).expect("that is enough");
        assert_eq!((bare.timeout, bare.payload, bare.request_ack), (0, Some(Vec::new()), false));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (body, message) in [
            ("", "the body is not what it should be: EOF while parsing a value at line 1 column 0"),
            ("{}", "the body is not what it should be: missing field `name` at line 1 column 2"),
            (r#"{"name": ""}"#, "'name' is empty"),
            (
                r#"{"name": "x", "payload": "", "payload_base64": ""}"#,
                "give 'payload' or 'payload_base64', not both",
            ),
            (
                r#"{"name": "x", "payload_base64": "AP8"}"#,
                "'payload_base64' is not padded standard base64: invalid Base64 encoding",
            ),
        ] {
            assert_eq!(refusal(query_of(body)), message, "{body}");
        }
        let misspelt = refusal(query_of(r#"{"name": "x", "filter_node": []}"#));
        assert!(misspelt.contains("unknown field `filter_node`, expected one of `name`, "), "{misspelt}");
        for timeout in ["0", "-1", "1e-10", "300.1", "1e300"] {
            let message = refusal(query_of(&format!(r#"{{"name": "x", "timeout": {timeout}}}"#)));
            assert!(message.starts_with("'timeout' is in seconds, more than 0 and up to 300;"), "{message}");
        }
        refusal(query_of(r#"{"name": "x", "relay_factor": 256}"#));
        for key in ["payload", "payload_base64", "timeout", "filter_nodes"] {
            refusal(query_of(&format!(r#"{{"name": "x", "{key}": null}}"#)));
        }
    }

    #[test]
    fn events_are_streamed_to_whoever_accepts_them() {
        for (accept, stream) in [
            (&["text/event-stream"][..], true),
            (&["application/json, Text/Event-Stream;q=0.5"], true),
            (&["application/json", "text/event-stream"], true),
            (&["*/*"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, value.parse().expect("a header value"));
            }
            assert_eq!(wants_stream(&headers), stream, "{accept:?}");
        }
    }
}
