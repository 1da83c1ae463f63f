//! The object `gossip` of the configuration: what the profiles set, and everything else that gossip and Serf can be
//! told, each with its range. The names are those of the original's fields.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serf::{Algorithm, Checksum, Name, Network};
use thiserror::Error;

use super::duration::{DurationError, GoDuration};
use super::file::Slot;
use crate::json::Value;

/// Values of the object `gossip`, as far as they were written.
///
/// A later source wins, value by value; lists add up. Zero is a value like any other here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knobs(BTreeMap<&'static str, Setting>);

/// The value of one of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    Time(Duration),
    Count(u64),
    Switch(bool),
    Text(String),
    List(Vec<String>),
}

/// One of the keys: its name, and what it may be.
pub(super) struct Knob {
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    /// A time in a range; zero, where it is allowed beside it, is for never or at once.
    Time {
        least: Duration,
        most: Duration,
        zero: bool,
        place: fn(&mut serf::Config) -> &mut Duration,
    },
    /// The same where the library has an `Option`: zero is none.
    OptionalTime {
        most: Duration,
        place: fn(&mut serf::Config) -> &mut Option<Duration>,
    },
    Count {
        least: u64,
        most: u64,
        place: fn(&mut serf::Config) -> Number<'_>,
    },
    Switch(fn(&mut serf::Config) -> &mut bool),
    /// Up to so many bytes.
    Text {
        most: usize,
        place: fn(&mut serf::Config) -> &mut Vec<u8>,
    },
    Names(fn(&mut serf::Config) -> &mut Vec<Name>),
    Networks(fn(&mut serf::Config) -> &mut Option<Vec<Network>>),
    Algorithms(fn(&mut serf::Config) -> &mut Vec<Algorithm>),
    Checksums(fn(&mut serf::Config) -> &mut Vec<Checksum>),
}

enum Number<'a> {
    Size(&'a mut usize),
    Small(&'a mut u32),
}

/// What is wrong with the value of a key. The key is named by whoever knows the place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KnobError {
    /// It is of another type.
    #[error("must be {expected}, not {found}")]
    Type {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// It is no duration.
    #[error("must be a duration such as \"200ms\" or \"1m30s\": {0}")]
    Duration(DurationError),
    /// It is too little or too much.
    #[error("must be {range}, not {found}")]
    Range {
        /// What it may be.
        range: String,
        /// What it is.
        found: String,
    },
    /// It is a text or a list with something in it that makes no sense.
    #[error("{0}")]
    Content(String),
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

type TimePlace = fn(&mut serf::Config) -> &mut Duration;

const fn time(name: &'static str, least: Duration, most: Duration, place: TimePlace) -> (&'static str, Slot) {
    (name, Slot::Knob(Knob { name, kind: Kind::Time { least, most, zero: false, place } }))
}

const fn zero_or(
    name: &'static str,
    least: Duration,
    most: Duration,
    place: TimePlace,
) -> (&'static str, Slot) {
    (name, Slot::Knob(Knob { name, kind: Kind::Time { least, most, zero: true, place } }))
}

const fn count(
    name: &'static str,
    least: u64,
    most: u64,
    place: fn(&mut serf::Config) -> Number<'_>,
) -> (&'static str, Slot) {
    (name, Slot::Knob(Knob { name, kind: Kind::Count { least, most, place } }))
}

const fn switch(name: &'static str, place: fn(&mut serf::Config) -> &mut bool) -> (&'static str, Slot) {
    (name, Slot::Knob(Knob { name, kind: Kind::Switch(place) }))
}

const fn other(name: &'static str, kind: Kind) -> (&'static str, Slot) {
    (name, Slot::Knob(Knob { name, kind }))
}

/// All keys of the object. The ranges hold what can work at all; where nothing else is in the way they end where a
/// number is more likely to be a slip than a wish.
pub(super) const GOSSIP_KEYS: &[(&str, Slot)] = &[
    // Failure detection.
    time("probe_interval", ms(10), HOUR, |c| &mut c.gossip.probe_interval),
    time("probe_timeout", ms(1), HOUR, |c| &mut c.gossip.probe_timeout),
    count("indirect_checks", 0, 64, |c| Number::Size(&mut c.gossip.indirect_checks)),
    switch("disable_tcp_pings", |c| &mut c.gossip.disable_stream_pings),
    other("disable_tcp_pings_for_node", Kind::Names(|c| &mut c.gossip.stream_ping_exempt)),
    count("suspicion_mult", 1, 1000, |c| Number::Small(&mut c.gossip.suspicion_mult)),
    count("suspicion_max_timeout_mult", 1, 1000, |c| Number::Small(&mut c.gossip.suspicion_max_timeout_mult)),
    count("awareness_max_multiplier", 1, 1000, |c| Number::Small(&mut c.gossip.awareness_max_multiplier)),
    switch("buddy", |c| &mut c.gossip.buddy),
    // Dissemination.
    time("gossip_interval", ms(5), MINUTE, |c| &mut c.gossip.gossip_interval),
    count("gossip_nodes", 1, 64, |c| Number::Size(&mut c.gossip.gossip_nodes)),
    zero_or("gossip_to_the_dead_time", ms(1), WEEK, |c| &mut c.gossip.gossip_to_the_dead),
    count("retransmit_mult", 1, 1000, |c| Number::Small(&mut c.gossip.retransmit_mult)),
    zero_or("push_pull_interval", ms(100), WEEK, |c| &mut c.gossip.push_pull_interval),
    time("tcp_timeout", ms(10), HOUR, |c| &mut c.gossip.stream_timeout),
    count("udp_buffer_size", 512, 65_507, |c| Number::Size(&mut c.gossip.packet_size)),
    other("compression", Kind::Algorithms(|c| &mut c.gossip.algorithms)),
    other("checksums", Kind::Checksums(|c| &mut c.gossip.checksums)),
    // Who may be a member, and who is believed.
    other("label", Kind::Text { most: 255, place: |c| &mut c.label }),
    other("cidrs_allowed", Kind::Networks(|c| &mut c.gossip.allowed_networks)),
    zero_or("dead_node_reclaim_time", ms(1), WEEK, |c| &mut c.gossip.dead_node_reclaim),
    switch("require_node_names", |c| &mut c.gossip.require_node_names),
    switch("gossip_verify_incoming", |c| &mut c.gossip.verify_incoming),
    switch("gossip_verify_outgoing", |c| &mut c.gossip.verify_outgoing),
    // What is stricter than the original, or can be made so.
    switch("accept_encryption_v0", |c| &mut c.gossip.hardening.accept_encryption_v0),
    count("replay_window", 0, 1 << 20, |c| Number::Size(&mut c.gossip.hardening.replay_window)),
    switch("strict_ping_source", |c| &mut c.gossip.hardening.strict_ping_source),
    switch("strict_relay_target", |c| &mut c.gossip.hardening.strict_relay_target),
    switch("piggyback_to_strangers", |c| &mut c.gossip.hardening.piggyback_to_strangers),
    switch("strict_members", |c| &mut c.gossip.hardening.strict_members),
    switch("strict_networks", |c| &mut c.gossip.hardening.strict_networks),
    switch("stream_error_replies", |c| &mut c.gossip.hardening.stream_error_replies),
    other(
        "plaintext_for",
        Kind::OptionalTime { most: WEEK, place: |c| &mut c.gossip.hardening.plaintext_for },
    ),
    count("max_members", 1, 1 << 24, |c| Number::Size(&mut c.gossip.hardening.max_members)),
    count("max_streams", 1, 1 << 20, |c| Number::Size(&mut c.gossip.hardening.max_streams)),
    count("max_streams_per_host", 1, 1 << 20, |c| Number::Size(&mut c.gossip.hardening.max_streams_per_host)),
    count("max_stream_bytes", 1 << 16, 1 << 40, |c| Number::Size(&mut c.gossip.hardening.max_stream_bytes)),
    count("max_inflated_packet", 1 << 16, 1 << 30, |c| {
        Number::Size(&mut c.gossip.hardening.max_inflated_packet)
    }),
    count("max_relays", 0, 1 << 20, |c| Number::Size(&mut c.gossip.hardening.max_relays)),
    // Serf.
    zero_or("leave_propagate_delay", ms(1), MINUTE, |c| &mut c.leave_propagate_delay),
    time("reap_interval", ms(100), HOUR, |c| &mut c.reap_interval),
    zero_or("flap_timeout", ms(1), WEEK, |c| &mut c.flap_timeout),
    time("recent_intent_timeout", SECOND, WEEK, |c| &mut c.recent_intent_timeout),
    time("queue_check_interval", ms(100), HOUR, |c| &mut c.queue_check_interval),
    count("queue_depth_warning", 1, 1 << 20, |c| Number::Size(&mut c.queue_depth_warning)),
    count("max_queue_depth", 16, 1 << 20, |c| Number::Size(&mut c.max_queue_depth)),
    count("min_queue_depth", 0, 1 << 20, |c| Number::Size(&mut c.min_queue_depth)),
    count("event_buffer", 1, 1 << 16, |c| Number::Size(&mut c.event_buffer)),
    count("query_buffer", 1, 1 << 16, |c| Number::Size(&mut c.query_buffer)),
    count("event_queue", 16, 1 << 20, |c| Number::Size(&mut c.event_queue)),
    count("query_timeout_mult", 1, 1000, |c| Number::Small(&mut c.query_timeout_mult)),
    zero_or("coalesce_period", ms(1), MINUTE, |c| &mut c.coalesce_period),
    zero_or("quiescent_period", ms(1), MINUTE, |c| &mut c.quiescent_period),
    zero_or("user_coalesce_period", ms(1), MINUTE, |c| &mut c.user_coalesce_period),
    zero_or("user_quiescent_period", ms(1), MINUTE, |c| &mut c.user_quiescent_period),
];

/// Pairs of times of which the first must not be longer than the second, or not even as long.
const RELATIONS: &[Relation] = &[
    // A direct answer that is awaited for all the time of a probe leaves none for asking others.
    Relation { shorter: "probe_timeout", longer: "probe_interval", may_equal: false },
    Relation { shorter: "quiescent_period", longer: "coalesce_period", may_equal: true },
    Relation { shorter: "user_quiescent_period", longer: "user_coalesce_period", may_equal: true },
];

struct Relation {
    shorter: &'static str,
    longer: &'static str,
    may_equal: bool,
}

/// Two values that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "Invalid gossip settings: 'gossip.{shorter}' must be shorter than 'gossip.{longer}'{}, but {is} is not shorter \
     than {than}{}",
    if *.may_equal { ", or the same" } else { "" }, remark(.by_profile)
)]
pub struct Contradiction {
    /// The key of the one that should be less.
    pub shorter: &'static str,
    /// The key of the other.
    pub longer: &'static str,
    may_equal: bool,
    is: GoDuration,
    than: GoDuration,
    by_profile: Option<&'static str>,
}

fn remark(by_profile: &Option<&'static str>) -> String {
    by_profile.map_or_else(String::new, |key| format!("; '{key}' is the profile's: set both"))
}

impl Contradiction {
    /// The key with its parent that one would look at first: one that is set.
    pub(super) fn key(&self) -> String {
        let set = if self.by_profile == Some(self.shorter) { self.longer } else { self.shorter };
        format!("gossip.{set}")
    }
}

impl Knobs {
    /// Lays those of a later source over these.
    pub(super) fn overlay(&mut self, later: Self) {
        for (name, value) in later.0 {
            match (self.0.get_mut(name), value) {
                (Some(Setting::List(list)), Setting::List(more)) => list.extend(more),
                (_, value) => drop(self.0.insert(name, value)),
            }
        }
    }

    pub(super) fn set(&mut self, name: &'static str, value: Setting) {
        self.0.insert(name, value);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// Enters them into the settings of the library.
    pub(crate) fn apply(&self, config: &mut serf::Config) {
        for knob in knobs() {
            if let Some(value) = self.get(knob.name) {
                knob.enter(config, value);
            }
        }
    }

    /// Looks whether they go together, with those of the profile for what is not set.
    pub(super) fn check(&self, profile: &serf::Config) -> Result<(), Contradiction> {
        let mut config = profile.clone();
        self.apply(&mut config);
        let mut time =
            |name: &str| knobs().find(|knob| knob.name == name).and_then(|knob| knob.time(&mut config));
        for &Relation { shorter, longer, may_equal } in RELATIONS {
            let Some((is, than)) = time(shorter).zip(time(longer)) else { continue };
            // Both zero, or one of them, is for no such time at all.
            let fits = is.is_zero() || than.is_zero() || is < than || may_equal && is == than;
            if !fits {
                let is_set = |key: &str| self.0.contains_key(key);
                let by_profile = [shorter, longer].into_iter().find(|key| !is_set(key));
                let (is, than) = (go(is), go(than));
                return Err(Contradiction { shorter, longer, may_equal, is, than, by_profile });
            }
        }
        Ok(())
    }
}

fn knobs() -> impl Iterator<Item = &'static Knob> {
    GOSSIP_KEYS.iter().filter_map(|(_, slot)| match slot {
        Slot::Knob(knob) => Some(knob),
        _ => None,
    })
}

fn go(time: Duration) -> GoDuration {
    GoDuration::from_nanos(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// Without the zeros at the end that a duration is printed with: `1h`, not `1h0m0s`.
fn brief(time: Duration) -> String {
    let mut text = go(time).to_string();
    for zeros in ["m0s", "h0m"] {
        if text.ends_with(zeros) {
            text.truncate(text.len() - 2);
        }
    }
    text
}

impl Knob {
    /// Reads a value; None where it says nothing.
    pub(super) fn read(&self, value: &Value) -> Result<Option<Setting>, KnobError> {
        let wrong = || Err(KnobError::Type { expected: self.expected(), found: value.kind() });
        let range = |found: String| Err(KnobError::Range { range: self.range(), found });
        let setting = match (&self.kind, value) {
            (_, Value::Null) => return Ok(None),
            (Kind::Time { .. } | Kind::OptionalTime { .. }, Value::String(text)) => {
                if text.is_empty() {
                    return Ok(None);
                }
                let given: GoDuration = text.parse().map_err(KnobError::Duration)?;
                let time = given.to_std();
                let fits = given.as_nanos() >= 0
                    && match self.kind {
                        Kind::Time { least, most, zero, .. } => {
                            (least..=most).contains(&time) || zero && time.is_zero()
                        }
                        Kind::OptionalTime { most, .. } => time <= most,
                        _ => false,
                    };
                if !fits {
                    return range(given.to_string());
                }
                Setting::Time(time)
            }
            (&Kind::Count { least, most, .. }, &Value::Number(number)) => {
                let whole = number as u64;
                if number.fract() != 0.0 || number < 0.0 || !(least..=most).contains(&whole) {
                    let range = format!("a whole number, {}", self.range());
                    return Err(KnobError::Range { range, found: number.to_string() });
                }
                Setting::Count(whole)
            }
            (Kind::Switch(_), Value::Bool(on)) => Setting::Switch(*on),
            (&Kind::Text { most, .. }, Value::String(text)) => {
                if text.len() > most {
                    return range(format!("{} bytes", text.len()));
                }
                Setting::Text(text.clone())
            }
            (
                Kind::Names(_) | Kind::Networks(_) | Kind::Algorithms(_) | Kind::Checksums(_),
                Value::Array(items),
            ) => {
                let mut list = Vec::new();
                for (n, item) in items.iter().enumerate() {
                    let Value::String(text) = &item.value else {
                        let found = item.value.kind();
                        return Err(KnobError::Content(format!("[{n}] must be a string, not {found}")));
                    };
                    let wrong = match self.kind {
                        Kind::Networks(_) => text.parse::<Network>().err().map(|error| error.to_string()),
                        Kind::Algorithms(_) => text.parse::<Algorithm>().err().map(|error| error.to_string()),
                        Kind::Checksums(_) => text.parse::<Checksum>().err().map(|error| error.to_string()),
                        _ => None,
                    };
                    if let Some(wrong) = wrong {
                        return Err(KnobError::Content(format!("has an {wrong}")));
                    }
                    list.push(text.clone());
                }
                Setting::List(list)
            }
            _ => return wrong(),
        };
        Ok(Some(setting))
    }

    fn expected(&self) -> &'static str {
        match self.kind {
            Kind::Time { .. } | Kind::OptionalTime { .. } => "a string with a duration",
            Kind::Count { .. } => "a number",
            Kind::Switch(_) => "a boolean",
            Kind::Text { .. } => "a string",
            Kind::Names(_) | Kind::Networks(_) | Kind::Algorithms(_) | Kind::Checksums(_) => {
                "a list of strings"
            }
        }
    }

    /// The values that it may have, in words.
    pub(super) fn range(&self) -> String {
        match self.kind {
            Kind::Time { least, most, zero: false, .. } => format!("{} to {}", brief(least), brief(most)),
            Kind::Time { least, most, zero: true, .. } => {
                format!("0s, or {} to {}", brief(least), brief(most))
            }
            Kind::OptionalTime { most, .. } => format!("0s to {}", brief(most)),
            Kind::Count { least, most, .. } => format!("{least} to {most}"),
            Kind::Switch(_) => "true or false".to_owned(),
            Kind::Text { most, .. } => format!("at most {most} bytes long"),
            Kind::Names(_) => "a list of node names".to_owned(),
            Kind::Networks(_) => "a list of networks such as \"10.0.0.0/8\"".to_owned(),
            Kind::Algorithms(_) => format!("a list of {}", Algorithm::ALL.map(Algorithm::name).join(", ")),
            Kind::Checksums(_) => format!("a list of {}", Checksum::ALL.map(Checksum::name).join(", ")),
        }
    }

    /// Values come from [`Knob::read`], so that they fit.
    fn enter(&self, config: &mut serf::Config, value: &Setting) {
        match (&self.kind, value) {
            (Kind::Time { place, .. }, Setting::Time(time)) => *place(config) = *time,
            (Kind::OptionalTime { place, .. }, Setting::Time(time)) => {
                *place(config) = Some(*time).filter(|time| !time.is_zero());
            }
            (Kind::Count { place, .. }, Setting::Count(n)) => match place(config) {
                Number::Size(place) => *place = usize::try_from(*n).unwrap_or(usize::MAX),
                Number::Small(place) => *place = u32::try_from(*n).unwrap_or(u32::MAX),
            },
            (Kind::Switch(place), Setting::Switch(on)) => *place(config) = *on,
            (Kind::Text { place, .. }, Setting::Text(text)) => *place(config) = text.clone().into_bytes(),
            (Kind::Names(place), Setting::List(list)) => {
                *place(config) = list.iter().map(|name| Name::from(name.as_str())).collect();
            }
            (Kind::Networks(place), Setting::List(list)) => {
                *place(config) = Some(list.iter().filter_map(|text| text.parse().ok()).collect());
            }
            (Kind::Algorithms(place), Setting::List(list)) => {
                *place(config) = list.iter().filter_map(|name| name.parse().ok()).collect();
            }
            (Kind::Checksums(place), Setting::List(list)) => {
                *place(config) = list.iter().filter_map(|name| name.parse().ok()).collect();
            }
            _ => {}
        }
    }

    fn time(&self, config: &mut serf::Config) -> Option<Duration> {
        match self.kind {
            Kind::Time { place, .. } => Some(*place(config)),
            _ => None,
        }
    }
}

/// As it would be written in a file.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "\"{}\"", brief(*time)),
            Self::Count(n) => write!(f, "{n}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Text(text) => f.write_str(&serde_json::json!(text).to_string()),
            Self::List(list) => f.write_str(&serde_json::json!(list).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::super::file::decode_settings;
    use super::*;

    fn knobs_of(text: &str) -> Knobs {
        let text = format!("{{\"gossip\": {{{text}}}}}");
        decode_settings(text.as_bytes()).expect(&text).gossip
    }

    fn error(text: &str) -> String {
        let text = format!("{{\"gossip\": {{{text}}}}}");
        decode_settings(text.as_bytes()).expect_err(&text).to_string()
    }

    /// Programs that embed a node read it with [`serf::Settings`], from the same files.
    #[test]
    fn the_library_makes_the_same_of_every_key() {
        for knob in knobs() {
            let value = match knob.kind {
                Kind::Time { least, .. } => format!("\"{}\"", go(least + SECOND)),
                Kind::OptionalTime { .. } => "\"1h\"".to_owned(),
                Kind::Count { least, most, .. } => (least + (most - least) / 2).to_string(),
                Kind::Switch(place) => (!*place(&mut lan())).to_string(),
                Kind::Text { .. } => "\"blue\"".to_owned(),
                Kind::Names(_) => r#"["a", "b"]"#.to_owned(),
                Kind::Networks(_) => r#"["10.0.0.0/8", "fd00::/8"]"#.to_owned(),
                // Those that every build has.
                Kind::Algorithms(_) => r#"["lzw"]"#.to_owned(),
                Kind::Checksums(_) => r#"["crc32"]"#.to_owned(),
            };
            let text = format!("\"{}\": {value}", knob.name);
            let mut ours = lan();
            knobs_of(&text).apply(&mut ours);
            let theirs = serf::Config::from_json(&format!(r#"{{"node_name": "n", "gossip": {{{text}}}}}"#));
            assert_eq!(format!("{ours:?}"), format!("{:?}", theirs.expect(&text)), "{text}");
            assert_ne!(format!("{ours:?}"), format!("{:?}", lan()), "{text}");
        }
    }

    fn lan() -> serf::Config {
        serf::Config::lan("n")
    }

    /// A value other than the default that the key may have, as JSON.
    fn sample(knob: &Knob) -> String {
        let mut config = lan();
        match knob.kind {
            Kind::Time { least, most, place, .. } => {
                let now = *place(&mut config);
                format!("\"{}\"", go(if now == most { least } else { most }))
            }
            Kind::OptionalTime { most, .. } => format!("\"{}\"", go(most)),
            Kind::Count { least, most, place } => {
                let now = match place(&mut config) {
                    Number::Size(now) => *now as u64,
                    Number::Small(now) => u64::from(*now),
                };
                (if now == most { least } else { most }).to_string()
            }
            Kind::Switch(place) => (!*place(&mut config)).to_string(),
            Kind::Text { .. } | Kind::Names(_) | Kind::Networks(_) => match knob.expected() {
                "a string" => "\"x\"".to_owned(),
                _ => "[\"10.0.0.0/8\"]".to_owned(),
            },
            // Those that every build has.
            Kind::Algorithms(_) => "[\"lzw\"]".to_owned(),
            Kind::Checksums(_) => "[\"crc32\"]".to_owned(),
        }
    }

    /// What the key is with a profile.
    fn shown(knob: &Knob, mut config: serf::Config) -> String {
        match knob.kind {
            Kind::Time { place, .. } => brief(*place(&mut config)),
            Kind::Count { place, .. } => match place(&mut config) {
                Number::Size(n) => n.to_string(),
                Number::Small(n) => n.to_string(),
            },
            Kind::Switch(place) => place(&mut config).to_string(),
            _ => "–".to_owned(),
        }
    }

    #[test]
    fn the_manual_tells_range_and_defaults_of_every_key() {
        let manual = include_str!("../../../../docs/operating.md");
        let mut missing = String::new();
        for knob in knobs() {
            let profiles = [Profile::Lan, Profile::Wan, Profile::Local, Profile::Fast];
            let defaults = profiles.map(|profile| shown(knob, profile.node("n")));
            let defaults = if defaults.iter().all(|d| *d == defaults[0]) {
                defaults[0].clone()
            } else {
                defaults.join(" / ")
            };
            let row = format!("| `{}` | {} | {defaults} |", knob.name, knob.range());
            if !manual.lines().any(|line| line.starts_with(&row)) {
                missing += &format!("{row}\n");
            }
        }
        assert!(missing.is_empty(), "docs/operating.md lacks rows that begin with\n{missing}");
    }

    #[test]
    fn every_key_changes_a_setting_of_its_own() {
        let mut seen = vec![format!("{:?}", lan())];
        for knob in knobs() {
            let text = format!("\"{}\": {}", knob.name, sample(knob));
            let mut config = lan();
            knobs_of(&text).apply(&mut config);
            let shown = format!("{config:?}");
            assert!(!seen.contains(&shown), "{text}");
            seen.push(shown);
        }
        assert!(seen.len() > 50);
    }

    /// So that a file can be started from any profile, whatever it is.
    #[test]
    fn the_profiles_are_in_the_ranges_and_go_together() {
        for profile in [
            serf::Config::lan("n"),
            serf::Config::wan("n"),
            serf::Config::local("n"),
            serf::Config::fast("n"),
        ] {
            for knob in knobs() {
                let mut config = profile.clone();
                match knob.kind {
                    Kind::Time { least, most, zero, place } => {
                        let time = *place(&mut config);
                        assert!((least..=most).contains(&time) || zero && time.is_zero(), "{}", knob.name);
                    }
                    Kind::Count { least, most, place } => {
                        let n = match place(&mut config) {
                            Number::Size(n) => *n as u64,
                            Number::Small(n) => u64::from(*n),
                        };
                        assert!((least..=most).contains(&n), "{}", knob.name);
                    }
                    _ => {}
                }
            }
            assert_eq!(Knobs::default().check(&profile), Ok(()));
        }
    }

    #[test]
    fn codecs_are_those_of_the_build() {
        for algorithm in Algorithm::ALL {
            let text = format!("\"compression\": [\"{algorithm}\"]");
            if algorithm.is_built() {
                let mut config = lan();
                knobs_of(&text).apply(&mut config);
                assert_eq!(config.gossip.algorithms, [algorithm]);
                continue;
            }
            let expected = format!(
                "'gossip.compression' has an unavailable compression \"{algorithm}\": this build lacks the feature \
                 '{algorithm}' (line 1, column "
            );
            assert!(error(&text).starts_with(&expected), "{}", error(&text));
        }
        let built = Checksum::ALL.into_iter().filter(|c| c.is_built());
        let list: Vec<String> = built.clone().map(|c| format!("\"{c}\"")).collect();
        let mut config = lan();
        knobs_of(&format!("\"checksums\": [{}]", list.join(", "))).apply(&mut config);
        assert_eq!(config.gossip.checksums, built.collect::<Vec<_>>());
    }

    #[test]
    fn values_out_of_range_name_key_range_and_place() {
        for (text, message) in [
            (r#""probe_interval": "5ms""#, "'gossip.probe_interval' must be 10ms to 1h, not 5ms"),
            (
                r#""push_pull_interval": "-1s""#,
                "'gossip.push_pull_interval' must be 0s, or 100ms to 168h, not -1s",
            ),
            (r#""gossip_nodes": 0"#, "'gossip.gossip_nodes' must be a whole number, 1 to 64, not 0"),
            (r#""gossip_nodes": 2.5"#, "'gossip.gossip_nodes' must be a whole number, 1 to 64, not 2.5"),
            (r#""gossip_nodes": "3""#, "'gossip.gossip_nodes' must be a number, not a string"),
            (
                r#""probe_interval": 1"#,
                "'gossip.probe_interval' must be a string with a duration, not a number",
            ),
            (
                r#""Probe_Timeout": "5""#,
                "'gossip.Probe_Timeout' must be a duration such as \"200ms\" or \"1m30s\": \
                 time: missing unit in duration \"5\"",
            ),
            (
                r#""cidrs_allowed": ["10.0.0.0"]"#,
                "'gossip.cidrs_allowed' has an invalid network \"10.0.0.0\": expected an address and a prefix length, \
                 such as 10.0.0.0/8",
            ),
            (r#""cidrs_allowed": [1]"#, "'gossip.cidrs_allowed' [0] must be a string, not a number"),
            (r#""buddy": 1"#, "'gossip.buddy' must be a boolean, not a number"),
            (
                r#""compression": ["lzw", "LZ4"]"#,
                "'gossip.compression' has an unknown compression \"LZ4\": expected one of lzw, lz4, snappy, zstd, brotli",
            ),
            (
                r#""checksums": ["md5"]"#,
                "'gossip.checksums' has an unknown checksum \"md5\": expected one of crc32, xxh32, xxh64, xxh3, murmur3",
            ),
            (r#""checksums": [3]"#, "'gossip.checksums' [0] must be a string, not a number"),
        ] {
            let error = error(text);
            assert!(error.starts_with(&format!("{message} (line 1, column ")), "{error}");
        }
        assert_eq!(
            knobs_of(r#""push_pull_interval": "0s""#).get("push_pull_interval"),
            Some(&Setting::Time(Duration::ZERO))
        );
        assert_eq!(knobs_of(r#""probe_interval": null, "probe_timeout": """#), Knobs::default());
    }

    #[test]
    fn later_sources_win_value_by_value_and_lists_add_up() {
        let mut sum =
            knobs_of(r#""probe_interval": "2s", "gossip_nodes": 5, "cidrs_allowed": ["10.0.0.0/8"]"#);
        sum.overlay(knobs_of(r#""gossip_nodes": 4, "cidrs_allowed": ["fd00::/8"]"#));
        sum.overlay(Knobs::default());
        let all = r#""probe_interval": "2s", "gossip_nodes": 4, "cidrs_allowed": ["10.0.0.0/8", "fd00::/8"]"#;
        assert_eq!(sum, knobs_of(all));
        let mut config = lan();
        sum.apply(&mut config);
        assert_eq!(config.gossip.probe_interval, Duration::from_secs(2));
        assert_eq!(
            (config.gossip.gossip_nodes, config.gossip.allowed_networks.map(|list| list.len())),
            (4, Some(2))
        );
    }

    #[test]
    fn times_that_do_not_go_together_are_refused() {
        let check = |text: &str| knobs_of(text).check(&lan()).map_err(|error| error.to_string());
        assert_eq!(check(r#""probe_interval": "600ms""#), Ok(()));
        assert_eq!(
            check(r#""probe_interval": "200ms""#),
            Err("Invalid gossip settings: 'gossip.probe_timeout' must be shorter than 'gossip.probe_interval', but \
                 500ms is not shorter than 200ms; 'probe_timeout' is the profile's: set both"
                .into())
        );
        assert_eq!(
            check(r#""coalesce_period": "1s", "quiescent_period": "2s""#),
            Err("Invalid gossip settings: 'gossip.quiescent_period' must be shorter than 'gossip.coalesce_period', \
                 or the same, but 2s is not shorter than 1s"
                .into())
        );
        assert_eq!(check(r#""coalesce_period": "0s", "quiescent_period": "2s""#), Ok(()));
    }
}
