//! What can be asked for: requests as JSON, looked through before anything is done.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};
use serf_core::{ConfigError, Failure};
use serf_gossip::Config;
use serf_sim::{At, Latency, Link, Scenario, play};

use crate::cluster::{Cluster, NODES_MAX, millis};

/// The longest time in one step, in milliseconds: an hour. Nothing can interrupt a step.
const STEP_MAX: f64 = 3_600_000.0;
/// The longest latency and jitter, in milliseconds.
const LATENCY_MAX: f64 = 60_000.0;
/// The nodes of a story of the seed farm.
const STORY_NODES: RangeInclusive<u64> = 3..=32;
/// Of what was given, so many characters are repeated in an error.
const REPEATED: usize = 60;

/// One instance of the module: a cluster, once there is one.
#[derive(Debug, Default)]
pub struct Module {
    cluster: Option<Cluster>,
}

/// Why a request was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not an object of JSON.
    #[error("not a request: {0}")]
    Malformed(String),
    /// It has a field that such a request has not.
    #[error("{verb} takes no {field:?}")]
    Field {
        /// The request.
        verb: &'static str,
        /// The field.
        field: String,
    },
    /// A value is missing, of another kind, or out of range.
    #[error("{name} must be {must}, not {given}")]
    Argument {
        /// Which.
        name: &'static str,
        /// What it can be.
        must: String,
        /// What it was; long ones are cut.
        given: String,
    },
    /// Nothing was created yet.
    #[error("there is no cluster: create one first")]
    NoCluster,
    /// The node's process does not run.
    #[error("node {0} is down: restart it first")]
    Down(At),
    /// The node refuses.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// No node starts with such settings.
    #[error(transparent)]
    Settings(#[from] ConfigError),
}

/// What can be asked for, and the fields that each request may have.
const REQUESTS: &[(&str, &[&str])] = &[
    ("create", &["nodes", "seed", "profile", "formed", "latency", "jitter", "loss"]),
    ("step", &["ms"]),
    ("link", &["latency", "jitter", "loss"]),
    ("cut", &["from", "to", "one_way"]),
    ("partition", &["parts"]),
    ("heal", &[]),
    ("crash", &["node"]),
    ("restart", &["node"]),
    ("join", &["node", "to"]),
    ("leave", &["node"]),
    ("event", &["node", "name", "payload"]),
    ("query", &["node", "name", "payload"]),
    ("members", &["of"]),
    ("nodes", &[]),
    ("events", &[]),
    ("packets", &[]),
    ("digest", &[]),
    ("stats", &[]),
    ("story", &["seed", "nodes"]),
];

impl Module {
    /// Does what a request asks for. The answer is null where there is nothing to tell.
    ///
    /// # Errors
    /// See [`Refusal`]. Nothing was changed.
    pub fn call(&mut self, request: &[u8]) -> Result<Value, Refusal> {
        let fields: Map<String, Value> =
            serde_json::from_slice(request).map_err(|why| Refusal::Malformed(why.to_string()))?;
        let get = |name: &str| Given(fields.get(name).unwrap_or(&Value::Null));
        let wanted = get("do").text("do")?;
        let Some((verb, known)) = REQUESTS.iter().find(|(name, _)| *name == wanted) else {
            return Err(get("do").wrong("do", "the name of a request".into()));
        };
        if let Some(field) = fields.keys().find(|field| *field != "do" && !known.contains(&field.as_str())) {
            return Err(Refusal::Field { verb, field: shortened(field) });
        }
        match *verb {
            "create" => {
                let nodes = get("nodes").or(&json!(10)).whole("nodes", 1..=NODES_MAX as u64)? as usize;
                let profile = get("profile").or(&json!("lan")).profile()?;
                let formed = get("formed").or(&json!(true)).flag("formed")?;
                let seed = get("seed").or(&json!(1)).seed()?;
                let link = changed(Link::lan(), get)?;
                self.cluster = Some(Cluster::new(seed, nodes, profile, formed, link)?);
                Ok(Value::Null)
            }
            "story" => {
                let nodes = get("nodes").or(&json!(9)).whole("nodes", STORY_NODES)? as usize;
                Ok(story(get("seed").or(&json!(1)).seed()?, nodes))
            }
            _ => perform(self.cluster.as_mut().ok_or(Refusal::NoCluster)?, verb, get),
        }
    }
}

/// What is asked of a cluster that is there.
fn perform<'a>(cluster: &mut Cluster, verb: &str, get: impl Fn(&str) -> Given<'a>) -> Result<Value, Refusal> {
    let last = cluster.len() as u64 - 1;
    let node = |name| Ok::<_, Refusal>(get(name).whole(name, 0..=last)? as At);
    let text = |name| get(name).text(name);
    match verb {
        "step" => cluster.step(millis(get("ms").real("ms", 0.0..=STEP_MAX)?)),
        "link" => {
            let link = changed(cluster.link().clone(), get)?;
            cluster.set_link(&link);
        }
        "cut" => {
            let (from, to) = (node("from")?, node("to")?);
            if from == to {
                return Err(get("to").wrong("to", "another node than from".into()));
            }
            cluster.cut(from, to, get("one_way").or(&json!(false)).flag("one_way")?);
        }
        "partition" => cluster.partition(&get("parts").parts(cluster.len())?),
        "heal" => cluster.heal(),
        "crash" => cluster.crash(node("node")?),
        "restart" => cluster.restart(node("node")?)?,
        "join" => cluster.join(node("node")?, node("to")?)?,
        "leave" => cluster.leave(node("node")?)?,
        "event" => {
            let payload = get("payload").or(&json!("")).text("payload")?.to_owned();
            cluster.event(node("node")?, text("name")?, payload)?;
        }
        "query" => {
            let payload = get("payload").or(&json!("")).text("payload")?.to_owned();
            return Ok(json!(cluster.query(node("node")?, text("name")?, payload)?));
        }
        "members" => return Ok(json!(cluster.members(node("of")?)?)),
        "nodes" => return Ok(json!(cluster.nodes())),
        "events" => return Ok(json!(cluster.take_events())),
        "packets" => return Ok(json!(cluster.take_packets())),
        "digest" => return Ok(json!(hex(cluster.digest()))),
        "stats" => return Ok(json!(cluster.stats())),
        _ => unreachable!("every request of the table is here"),
    }
    Ok(Value::Null)
}

/// A digest as the simulator's program prints it.
fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

/// One story of the seed farm, as `serf-sim replay` tells it.
fn story(seed: u64, nodes: usize) -> Value {
    match play(&Scenario::draw(seed, nodes), None) {
        Ok(played) => json!({
            "digest": hex(played.digest),
            "time": played.time.as_secs_f64() * 1e3,
            "steps": played.steps,
            "broken": null,
        }),
        Err(found) => json!({ "digest": null, "broken": { "rule": found.rule, "what": found.what } }),
    }
}

/// A link, with what is given of it changed.
fn changed<'a>(mut link: Link, get: impl Fn(&str) -> Given<'a>) -> Result<Link, Refusal> {
    let real = |name, most| get(name).is_given().then(|| get(name).real(name, 0.0..=most)).transpose();
    if let Some(latency) = real("latency", LATENCY_MAX)? {
        link.latency = Latency::Fixed(millis(latency));
    }
    if let Some(jitter) = real("jitter", LATENCY_MAX)? {
        link.jitter = millis(jitter);
    }
    if let Some(loss) = real("loss", 1.0)? {
        link.loss = loss;
    }
    Ok(link)
}

/// A value of a request; null if it is not there.
#[derive(Debug, Clone, Copy)]
struct Given<'a>(&'a Value);

impl<'a> Given<'a> {
    fn is_given(self) -> bool {
        !self.0.is_null()
    }

    fn or(self, value: &'a Value) -> Self {
        if self.is_given() { self } else { Self(value) }
    }

    fn wrong(self, name: &'static str, must: String) -> Refusal {
        let given = if self.is_given() { shortened(&self.0.to_string()) } else { "missing".into() };
        Refusal::Argument { name, must, given }
    }

    fn whole(self, name: &'static str, range: RangeInclusive<u64>) -> Result<u64, Refusal> {
        let (least, most) = (range.start(), range.end());
        let number = self.0.as_u64().filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong(name, format!("a whole number from {least} to {most}")))
    }

    fn real(self, name: &'static str, range: RangeInclusive<f64>) -> Result<f64, Refusal> {
        let (least, most) = (range.start(), range.end());
        let number = self.0.as_f64().filter(|number| range.contains(number));
        number.ok_or_else(|| self.wrong(name, format!("a number from {least} to {most}")))
    }

    fn flag(self, name: &'static str) -> Result<bool, Refusal> {
        self.0.as_bool().ok_or_else(|| self.wrong(name, "true or false".into()))
    }

    fn text(self, name: &'static str) -> Result<&'a str, Refusal> {
        self.0.as_str().ok_or_else(|| self.wrong(name, "a string".into()))
    }

    /// JavaScript's numbers do not hold all of them, so text will do.
    fn seed(self) -> Result<u64, Refusal> {
        let text = || self.0.as_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
        let seed = self.0.as_u64().or_else(text);
        seed.ok_or_else(|| self.wrong("seed", format!("a whole number from 0 to {}", u64::MAX)))
    }

    fn profile(self) -> Result<crate::cluster::Profile, Refusal> {
        match self.0.as_str() {
            Some("lan") => Ok(Config::lan),
            Some("wan") => Ok(Config::wan),
            Some("local") => Ok(Config::local),
            Some("fast") => Ok(Config::fast),
            _ => Err(self.wrong("profile", "\"lan\", \"wan\", \"local\" or \"fast\"".into())),
        }
    }

    /// The part of each node: so many parts of neighbours, or a list.
    fn parts(self, nodes: usize) -> Result<Vec<u32>, Refusal> {
        let wrong = || {
            let list = format!("a list of {nodes} numbers, one for each node");
            self.wrong("parts", format!("a whole number from 1 to {nodes}, or {list}"))
        };
        match self.0 {
            Value::Array(list) if list.len() == nodes => {
                let part = |part: &Value| u32::try_from(part.as_u64()?).ok();
                list.iter().map(part).collect::<Option<_>>().ok_or_else(wrong)
            }
            number => {
                let parts = number.as_u64().filter(|parts| (1..=nodes as u64).contains(parts));
                let parts = parts.ok_or_else(wrong)? as usize;
                Ok((0..nodes).map(|at| (at * parts / nodes) as u32).collect())
            }
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(REPEATED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
