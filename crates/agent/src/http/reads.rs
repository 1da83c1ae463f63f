//! What can be read: members, coordinates, what the agent says of itself.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;
use serf::{Coordinate, Name, NodeState};
use serf_rpc::message::MembersFilteredRequest;
use serf_rpc::{Pairs, Text};

use super::Api;
use super::params::Params;
use super::reply::{Failure, Reply, json};
use crate::matching::MatchError;
use crate::members::MemberDocument;
use crate::service::{record, stats};
use crate::text::quote;

/// Whether the node is a member of its cluster, for those who send it work.
pub(super) async fn health(api: &Api) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }
    match trouble(api.service.serf.state().await) {
        None => Ok(json(&Health { status: "alive" })),
        Some(trouble) => Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, trouble)),
    }
}

fn trouble(state: NodeState) -> Option<&'static str> {
    match state {
        NodeState::Alive => None,
        NodeState::Leaving => Some("the node is leaving"),
        NodeState::Left => Some("the node has left"),
        NodeState::Shutdown => Some("the node is shut down"),
    }
}

#[derive(Serialize)]
struct Members {
    members: Vec<MemberDocument>,
}

pub(super) async fn members(api: &Api, params: &Params) -> Result<Reply, Failure> {
    if let Some(filter) = filter(params)? {
        return members_filtered(api, filter).await;
    }
    let _turn = api.turn().await;
    let members = api.service.serf.members().await?;
    Ok(json(&Members { members: members.iter().map(|m| MemberDocument::of(&record(m))).collect() }))
}

async fn members_filtered(api: &Api, filter: MembersFilteredRequest) -> Result<Reply, Failure> {
    let members = api.service.serf.members().await?;
    let selected = api.service.matching.select(filter, members).await.map_err(|error| match error {
        MatchError::Expression(_) | MatchError::TooMany(_) => Failure::bad(error.to_string()),
        MatchError::TooSlow | MatchError::Busy => Failure::busy(error.to_string()),
    })?;
    Ok(json(&Members { members: selected.iter().map(|m| MemberDocument::of(&record(m))).collect() }))
}

/// What members have to match; None if nothing.
fn filter(params: &Params) -> Result<Option<MembersFilteredRequest>, Failure> {
    let text = |name| Text::from(params.one(name).unwrap_or_default());
    let (name, status) = (text("name"), text("status"));
    if params.all("tag").next().is_none() && name.is_empty() && status.is_empty() {
        return Ok(None);
    }
    let tags = params.all("tag").map(|tag| match tag.iter().position(|&byte| byte == b'=') {
        Some(at) if at > 0 => Ok((Text::from(&tag[..at]), Text::from(&tag[at + 1..]))),
        _ => Err(Failure::bad(format!("tag={} is not KEY=REGEXP, as in tag=role=web", quote(tag)))),
    });
    let tags = tags.collect::<Result<Pairs<Text>, _>>()?;
    Ok(Some(MembersFilteredRequest { name, status, tags: Some(tags) }))
}

/// The same as `serf info`, and in the same form.
pub(super) async fn info(api: &Api) -> Result<Reply, Failure> {
    let section = |section: &Pairs<Text>| -> BTreeMap<String, String> {
        section.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    // Of a node that is gone there is nothing to tell.
    api.service.serf.local_member().await?;
    let stats = stats(&api.service).await;
    let document: BTreeMap<String, _> =
        stats.iter().map(|(name, values)| (name.to_string(), section(values))).collect();
    Ok(json(&document))
}

/// The coordinates of all members, or of one.
pub(super) async fn coordinates(api: &Api, params: &Params) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Coordinates {
        coordinates: Vec<Place>,
    }
    #[derive(Serialize)]
    struct Place {
        node: String,
        coordinate: CoordinateDocument,
    }
    #[derive(Serialize)]
    struct CoordinateDocument {
        vec: Vec<f64>,
        error: f64,
        adjustment: f64,
        height: f64,
    }
    let found: Vec<(Name, Coordinate)> = match params.one("node") {
        None => api.service.serf.coordinates().await?,
        Some(node) => {
            let name = Name::from(node);
            let it = api.service.serf.cached_coordinate(name.clone()).await?;
            vec![(name, it.ok_or_else(|| unknown_place(node))?)]
        }
    };
    let place = |(name, it): (Name, Coordinate)| {
        let Coordinate { vec, error, adjustment, height } = it;
        Place {
            node: name.to_string(),
            coordinate: CoordinateDocument { vec: vec.to_vec(), error, adjustment, height },
        }
    };
    Ok(json(&Coordinates { coordinates: found.into_iter().map(place).collect() }))
}

/// How long a message between two members takes there and back, as their coordinates have it.
pub(super) async fn rtt(api: &Api, params: &Params) -> Result<Reply, Failure> {
    #[derive(Serialize)]
    struct Rtt {
        from: String,
        to: String,
        seconds: f64,
    }
    let serf = &api.service.serf;
    let to = params.one("to").ok_or_else(|| Failure::bad("'to' is missing: the name of a member"))?;
    let from = params.one("from").unwrap_or_else(|| serf.name().as_bytes());
    let mut places = Vec::new();
    for node in [from, to] {
        places.push(serf.cached_coordinate(node).await?.ok_or_else(|| unknown_place(node))?);
    }
    let [from, to] = [from, to].map(|node| String::from_utf8_lossy(node).into_owned());
    Ok(json(&Rtt { from, to, seconds: places[0].distance_to(&places[1]).as_secs_f64() }))
}

fn unknown_place(node: &[u8]) -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        format!(
            "no coordinate of {} is known: there is no such member, or it has not been probed yet, or coordinates are \
             disabled here or there",
            quote(node)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::ROUTES;

    #[test]
    fn a_node_is_well_until_it_begins_to_leave() {
        let states = [NodeState::Alive, NodeState::Leaving, NodeState::Left, NodeState::Shutdown];
        assert_eq!(states.map(|state| trouble(state).is_none()), [true, false, false, false]);
    }

    #[test]
    fn filters_are_those_of_the_command_line() {
        let of = |query: &str| {
            let known =
                ROUTES.iter().find(|route| route.path == "/v1/members").and_then(|route| route.params);
            filter(&Params::parse(query, known.expect("it has some")).expect("well-formed"))
        };
        let expected = MembersFilteredRequest {
            name: "web-.*".into(),
            status: "alive".into(),
            tags: Some([("role", "a=b"), ("dc", ""), ("role", "c")].into_iter().collect()),
        };
        assert_eq!(of("name=web-.*&status=alive&tag=role=a%3Db&tag=dc=&tag=role=c"), Ok(Some(expected)));
        assert_eq!(of("name=&status="), Ok(None), "nothing is to be matched");
        for tag in ["role", "", "=x"] {
            let failure = of(&format!("tag={tag}")).expect_err("refused");
            assert_eq!(failure, Failure::bad(format!("tag=\"{tag}\" is not KEY=REGEXP, as in tag=role=web")));
        }
    }
}
