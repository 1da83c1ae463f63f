//! Settings from outside of a program: a file in the agent's own format, and the environment, laid over each other key by
//! key. What the keys mean is said in `docs/operating.md`.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::Value;
use serf_gossip::Name;
use serf_wire::encrypt::Key;

use crate::config::{Config, DEFAULT_PORT};
use crate::keyring::write_keyring;

/// The largest file that is read: far more than there are settings.
const FILE_MAX: u64 = 1 << 20;

/// Settings that somebody wrote: the keys of a [`Config`] that files and variables may set, as far as they do. What comes
/// later wins, key by key; tags add up. `null` and an empty text say nothing, and nor does zero outside of `gossip`.
///
/// Keys are those of the agent's configuration files that concern a node: `node_name`, `bind`, `profile`, `tags`,
/// `encrypt_key`, `gossip.probe_interval` and so on, see [`Settings::keys`]. A file of an agent can be used as it is: keys that
/// only an agent has a use for are passed over.
///
/// A variable has the name of its key, with `SERF_` before it, in capitals, and an underscore for the dot:
/// `SERF_NODE_NAME`, `SERF_GOSSIP_PROBE_INTERVAL`. Tags are written `SERF_TAGS=role=web,rack=7`, lists likewise with commas,
/// durations `300ms` or `1h30m`, switches `true` or `false`.
///
/// ```
/// use serf::Settings;
///
/// let text = r#"{"node_name": "web-1", "bind": "127.0.0.1", "tags": {"role": "web"}, "gossip": {"probe_interval": "500ms"}}"#;
/// let config = Settings::new().json(text)?.env()?.config()?;
/// assert_eq!(config.gossip.probe_interval.as_millis(), 500);
///
/// let error = Settings::new().json(r#"{"gossip": {"probe_intervall": "1s"}}"#).unwrap_err();
/// assert_eq!(error.to_string(), "gossip.probe_intervall: there is no such key; see Settings::keys");
/// # Ok::<(), serf::SettingsError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// By key, with the place where it was written.
    values: BTreeMap<&'static str, (String, Secret)>,
}

/// A value that is never printed: it may be a key.
#[derive(Clone)]
struct Secret(Value);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Why settings cannot be used: where, and what to do about it. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct SettingsError {
    /// The key, with its file if it stands in one, or the variable.
    pub place: String,
    /// What is wrong there.
    pub why: String,
}

impl SettingsError {
    fn new(place: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { place: place.into(), why: why.to_string() }
    }
}

impl Settings {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With those of a text: one object, in JSON.
    ///
    /// # Errors
    /// It is no JSON, or no object, or a key does not exist.
    pub fn json(self, text: &str) -> Result<Self, SettingsError> {
        self.object("", text)
    }

    /// With those of a file, see [`Settings::json`].
    ///
    /// # Errors
    /// It cannot be read, is larger than 1 MiB, or as above.
    pub fn file(self, path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let path = path.as_ref();
        let failed = |why: &dyn fmt::Display| SettingsError::new(path.display().to_string(), why);
        let text = read(path).map_err(|why| failed(&why))?;
        self.object(&format!("{}: ", path.display()), &text)
    }

    /// With those of the environment. Other variables that begin with `SERF_` are left alone, but `SERF_GOSSIP_` is for
    /// these only.
    ///
    /// # Errors
    /// A variable is not UTF-8, or there is no such key of `gossip`.
    pub fn env(self) -> Result<Self, SettingsError> {
        self.variables(env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with("SERF_").then(|| (name, value.into_string().map_err(drop)))
        }))
    }

    /// All keys, and the words for what they may be.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        KEYS.iter().map(|(key, slot)| (*key, slot.expected()))
    }

    /// The settings of a node: those of the profile, which is `lan` unless another is set, and over them these. A node
    /// without a name gets that of its host.
    ///
    /// # Errors
    /// A value makes no sense, or the keyring file cannot be read. What cannot work together is found at the start.
    pub fn config(&self) -> Result<Config, SettingsError> {
        let text = |key: &str| match self.values.get(key) {
            Some((_, Secret(Value::String(text)))) => Some(text.as_str()),
            _ => None,
        };
        let host;
        let name = match text("node_name") {
            Some(name) => name,
            None => {
                host = gethostname::gethostname().to_string_lossy().into_owned();
                &host
            }
        };
        let mut config = match text("profile") {
            Some("wan") => Config::wan(name),
            Some("local") => Config::local(name),
            Some("fast") => Config::fast(name),
            _ => Config::lan(name),
        };
        for (key, slot) in KEYS {
            if let Some((place, Secret(value))) = self.values.get(key) {
                let zero = matches!(value, Value::Number(n) if n.as_u64() == Some(0));
                if !zero || key.starts_with("gossip.") {
                    slot.enter(&mut config, value).map_err(|why| SettingsError::new(place, why))?;
                }
            }
        }
        self.keyring(&mut config)?;
        Ok(config)
    }

    fn object(mut self, before: &str, text: &str) -> Result<Self, SettingsError> {
        let place = before.trim_end_matches(": ");
        let place = if place.is_empty() { "settings" } else { place };
        let value: Value = serde_json::from_str(text).map_err(|why| SettingsError::new(place, why))?;
        let Value::Object(object) = value else {
            return Err(SettingsError::new(place, "must be an object: {\"node_name\": ...}"));
        };
        for (key, value) in object {
            match value {
                Value::Object(gossip) if key.eq_ignore_ascii_case("gossip") => {
                    for (key, value) in gossip {
                        self.insert(&format!("gossip.{key}"), before, value)?;
                    }
                }
                Value::Null if key.eq_ignore_ascii_case("gossip") => {}
                _ if key.eq_ignore_ascii_case("gossip") => {
                    return Err(SettingsError::new(format!("{before}gossip"), "must be an object"));
                }
                value => self.insert(&key, before, value)?,
            }
        }
        Ok(self)
    }

    fn variables(
        mut self,
        all: impl Iterator<Item = (String, Result<String, ()>)>,
    ) -> Result<Self, SettingsError> {
        for (variable, value) in all {
            let Some((key, slot)) = KEYS.iter().find(|(key, _)| variable_of(key) == variable) else {
                if variable.starts_with("SERF_GOSSIP_") {
                    return Err(SettingsError::new(variable, "there is no such key; see Settings::keys"));
                }
                continue;
            };
            let Ok(value) = value else { return Err(SettingsError::new(variable, "is not UTF-8")) };
            if !value.is_empty() {
                let value = slot.read(&value).map_err(|why| SettingsError::new(&variable, why))?;
                self.set(key, variable, value);
            }
        }
        Ok(self)
    }

    fn insert(&mut self, key: &str, before: &str, value: Value) -> Result<(), SettingsError> {
        let place = format!("{before}{key}");
        let is = |known: &&str| known.eq_ignore_ascii_case(key);
        if let Some((key, _)) = KEYS.iter().find(|(known, _)| is(known)) {
            if !value.is_null() && value != "" {
                self.set(key, place, value);
            }
        } else if let Some((_, remedy)) = REFUSED.iter().find(|(known, _)| is(known)) {
            if !value.is_null() && value != "" {
                return Err(SettingsError::new(place, format!("only an agent knows it; {remedy}")));
            }
        } else if !PASSED_OVER.iter().any(is) {
            return Err(SettingsError::new(place, "there is no such key; see Settings::keys"));
        }
        Ok(())
    }

    fn set(&mut self, key: &'static str, place: String, value: Value) {
        match (self.values.get_mut(key), value) {
            (Some((old_place, Secret(Value::Object(old)))), Value::Object(more)) => {
                old.extend(more);
                *old_place = place;
            }
            (_, value) => drop(self.values.insert(key, (place, Secret(value)))),
        }
    }

    /// Reads the file that keeps the keys, which the node only writes.
    fn keyring(&self, config: &mut Config) -> Result<(), SettingsError> {
        let (Some(path), Some((place, _))) = (&config.keyring_file, self.values.get("keyring_file")) else {
            return Ok(());
        };
        let failed = |why: &dyn fmt::Display| SettingsError::new(place, format!("{}: {why}", path.display()));
        let create = matches!(self.values.get("keyring_create"), Some((_, Secret(Value::Bool(true)))));
        match read(path) {
            Ok(text) => {
                if !config.keys.is_empty() && !create {
                    return Err(failed(&"has the keys: do without 'encrypt_key', or set 'keyring_create'"));
                }
                let keys: Vec<String> = serde_json::from_str(&text)
                    .map_err(|_| failed(&"must be a JSON list of keys in base64"))?;
                config.keys = keys
                    .iter()
                    .map(|text| key(text))
                    .collect::<Result<_, _>>()
                    .map_err(|why| failed(&why))?;
                if config.keys.is_empty() {
                    return Err(failed(&"has no keys: nothing would be encrypted"));
                }
                Ok(())
            }
            Err(why) if why.kind() == ErrorKind::NotFound && create && !config.keys.is_empty() => {
                write_keyring(path, &config.keys).map_err(|why| failed(&why))
            }
            Err(why) => Err(failed(&why)),
        }
    }
}

impl Config {
    /// Settings from the environment alone: see [`Settings`].
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// // SERF_NODE_NAME=web-1 SERF_BIND=10.0.0.1 SERF_PROFILE=wan SERF_TAGS=role=web
    /// let serf = serf::Serf::start(serf::Config::from_env()?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Settings::env`] and [`Settings::config`].
    pub fn from_env() -> Result<Self, SettingsError> {
        Settings::new().env()?.config()
    }

    /// Settings from a text in JSON: see [`Settings`].
    ///
    /// ```
    /// let config = serf::Config::from_json(r#"{"node_name": "web-1", "bind": "[::1]:7000", "profile": "fast"}"#)?;
    /// assert_eq!((config.node_name, config.bind.port()), ("web-1".into(), 7000));
    /// # Ok::<(), serf::SettingsError>(())
    /// ```
    ///
    /// # Errors
    /// See [`Settings::json`] and [`Settings::config`].
    pub fn from_json(text: &str) -> Result<Self, SettingsError> {
        Settings::new().json(text)?.config()
    }

    /// Settings from a file, which may be that of an agent: see [`Settings`].
    ///
    /// # Errors
    /// See [`Settings::file`] and [`Settings::config`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        Settings::new().file(path)?.config()
    }
}

/// Where the value of a key goes, and what it has to be.
enum Slot {
    /// Was looked at before the others.
    First(&'static [&'static str]),
    Time(fn(&mut Config) -> &mut Duration),
    /// Zero is none.
    OptionalTime(fn(&mut Config) -> &mut Option<Duration>),
    Size(fn(&mut Config) -> &mut usize),
    Number(fn(&mut Config) -> &mut u32),
    Switch(fn(&mut Config) -> &mut bool),
    /// Switches off what this switches on.
    Off(fn(&mut Config) -> &mut bool),
    Text(fn(&mut Config, &str) -> Result<(), String>),
    List(fn(&mut Config, &[String]) -> Result<(), String>),
    Tags,
    /// Of the Serf protocol.
    Version,
    /// What it says is seen to elsewhere.
    Flag,
}

impl Slot {
    fn expected(&self) -> &'static str {
        match self {
            Self::First(_) | Self::Text(_) => "a text",
            Self::Time(_) | Self::OptionalTime(_) => "a duration such as \"300ms\" or \"1h30m\"",
            Self::Size(_) | Self::Number(_) | Self::Version => "a whole number",
            Self::Switch(_) | Self::Off(_) | Self::Flag => "true or false",
            Self::List(_) => "a list of texts",
            Self::Tags => "an object of texts",
        }
    }

    /// What a variable says.
    fn read(&self, text: &str) -> Result<Value, String> {
        let wrong = || format!("must be {}, not {text:?}", self.expected());
        Ok(match self {
            Self::Size(_) | Self::Number(_) | Self::Version => {
                Value::from(text.parse::<u64>().map_err(|_| wrong())?)
            }
            Self::Switch(_) | Self::Off(_) | Self::Flag => {
                Value::from(text.parse::<bool>().map_err(|_| wrong())?)
            }
            Self::List(_) => text.split(',').map(str::trim).collect(),
            Self::Tags => {
                let pair = |pair: &str| {
                    let (key, value) = pair.split_once('=')?;
                    Some((key.trim().to_owned(), Value::from(value)))
                };
                let tags: Option<serde_json::Map<String, Value>> = text.split(',').map(pair).collect();
                Value::Object(
                    tags.ok_or_else(|| format!("must be tags such as role=web,rack=7, not {text:?}"))?,
                )
            }
            _ => Value::from(text),
        })
    }

    fn enter(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        let wrong = || format!("must be {}", self.expected());
        let whole = || value.as_u64().ok_or_else(wrong);
        let too_large = |_| "is too large".to_owned();
        match self {
            Self::First(known) => match value.as_str().ok_or_else(wrong)? {
                text if known.is_empty() || known.contains(&text) => {}
                other => return Err(format!("must be one of {}, not {other:?}", known.join(", "))),
            },
            Self::Time(place) => *place(config) = duration(value.as_str().ok_or_else(wrong)?)?,
            Self::OptionalTime(place) => {
                let time = duration(value.as_str().ok_or_else(wrong)?)?;
                *place(config) = Some(time).filter(|time| !time.is_zero());
            }
            Self::Size(place) => *place(config) = whole()?.try_into().map_err(too_large)?,
            Self::Number(place) => *place(config) = whole()?.try_into().map_err(too_large)?,
            Self::Version => config.protocol_version = whole()?.try_into().map_err(too_large)?,
            Self::Switch(place) => *place(config) = value.as_bool().ok_or_else(wrong)?,
            Self::Off(place) => *place(config) = !value.as_bool().ok_or_else(wrong)?,
            Self::Flag => drop(value.as_bool().ok_or_else(wrong)?),
            Self::Text(enter) => enter(config, value.as_str().ok_or_else(wrong)?)?,
            Self::List(enter) => {
                let items = value.as_array().ok_or_else(wrong)?.iter();
                let items: Option<Vec<String>> = items.map(|item| item.as_str().map(str::to_owned)).collect();
                enter(config, &items.ok_or_else(wrong)?)?;
            }
            Self::Tags => {
                for (key, value) in value.as_object().ok_or_else(wrong)? {
                    config.tags.insert(key.clone(), value.as_str().ok_or_else(wrong)?.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// All keys: those of the agent's files that say something of a node.
const KEYS: &[(&str, Slot)] = &[
    ("node_name", Slot::First(&[])),
    ("profile", Slot::First(&["lan", "wan", "local", "fast"])),
    ("tags", Slot::Tags),
    (
        "role",
        Slot::Text(|c, role| {
            c.tags.insert("role".to_owned(), role.to_owned());
            Ok(())
        }),
    ),
    (
        "bind",
        Slot::Text(|c, text| {
            c.bind = address(text)?;
            Ok(())
        }),
    ),
    (
        "advertise",
        Slot::Text(|c, text| {
            let addr = address(text)?;
            (c.advertise, c.advertise_port) = (Some(addr.ip()), Some(addr.port()));
            Ok(())
        }),
    ),
    (
        "encrypt_key",
        Slot::Text(|c, text| {
            c.keys = vec![key(text)?];
            Ok(())
        }),
    ),
    (
        "keyring_file",
        Slot::Text(|c, path| {
            c.keyring_file = Some(path.into());
            Ok(())
        }),
    ),
    ("keyring_create", Slot::Flag),
    (
        "snapshot_path",
        Slot::Text(|c, path| {
            c.snapshot_path = Some(path.into());
            Ok(())
        }),
    ),
    ("rejoin_after_leave", Slot::Switch(|c| &mut c.rejoin_after_leave)),
    ("reconnect_interval", Slot::Time(|c| &mut c.reconnect_interval)),
    ("reconnect_timeout", Slot::Time(|c| &mut c.reconnect_timeout)),
    ("tombstone_timeout", Slot::Time(|c| &mut c.tombstone_timeout)),
    ("broadcast_timeout", Slot::Time(|c| &mut c.broadcast_timeout)),
    ("protocol", Slot::Version),
    ("query_size_limit", Slot::Size(|c| &mut c.query_size_limit)),
    ("query_response_size_limit", Slot::Size(|c| &mut c.query_response_size_limit)),
    ("user_event_size_limit", Slot::Size(|c| &mut c.user_event_size_limit)),
    ("disable_name_resolution", Slot::Off(|c| &mut c.enable_name_conflict_resolution)),
    ("enable_compression", Slot::Switch(|c| &mut c.gossip.compression)),
    ("disable_coordinates", Slot::Switch(|c| &mut c.disable_coordinates)),
    ("validate_node_names", Slot::Switch(|c| &mut c.validate_node_names)),
    // Failure detection.
    ("gossip.probe_interval", Slot::Time(|c| &mut c.gossip.probe_interval)),
    ("gossip.probe_timeout", Slot::Time(|c| &mut c.gossip.probe_timeout)),
    ("gossip.indirect_checks", Slot::Size(|c| &mut c.gossip.indirect_checks)),
    ("gossip.disable_tcp_pings", Slot::Switch(|c| &mut c.gossip.disable_stream_pings)),
    (
        "gossip.disable_tcp_pings_for_node",
        Slot::List(|c, names| {
            c.gossip.stream_ping_exempt = names.iter().map(|name| Name::from(name.as_str())).collect();
            Ok(())
        }),
    ),
    ("gossip.suspicion_mult", Slot::Number(|c| &mut c.gossip.suspicion_mult)),
    ("gossip.suspicion_max_timeout_mult", Slot::Number(|c| &mut c.gossip.suspicion_max_timeout_mult)),
    ("gossip.awareness_max_multiplier", Slot::Number(|c| &mut c.gossip.awareness_max_multiplier)),
    ("gossip.buddy", Slot::Switch(|c| &mut c.gossip.buddy)),
    // Dissemination.
    ("gossip.gossip_interval", Slot::Time(|c| &mut c.gossip.gossip_interval)),
    ("gossip.gossip_nodes", Slot::Size(|c| &mut c.gossip.gossip_nodes)),
    ("gossip.gossip_to_the_dead_time", Slot::Time(|c| &mut c.gossip.gossip_to_the_dead)),
    ("gossip.retransmit_mult", Slot::Number(|c| &mut c.gossip.retransmit_mult)),
    ("gossip.push_pull_interval", Slot::Time(|c| &mut c.gossip.push_pull_interval)),
    ("gossip.tcp_timeout", Slot::Time(|c| &mut c.gossip.stream_timeout)),
    ("gossip.udp_buffer_size", Slot::Size(|c| &mut c.gossip.packet_size)),
    (
        "gossip.compression",
        Slot::List(|c, names| {
            let named = names.iter().map(|name| name.parse().map_err(|why| format!("has an {why}")));
            c.gossip.algorithms = named.collect::<Result<_, _>>()?;
            Ok(())
        }),
    ),
    (
        "gossip.checksums",
        Slot::List(|c, names| {
            let named = names.iter().map(|name| name.parse().map_err(|why| format!("has an {why}")));
            c.gossip.checksums = named.collect::<Result<_, _>>()?;
            Ok(())
        }),
    ),
    // Who may be a member, and who is believed.
    (
        "gossip.label",
        Slot::Text(|c, label| {
            c.label = label.as_bytes().to_vec();
            Ok(())
        }),
    ),
    (
        "gossip.cidrs_allowed",
        Slot::List(|c, networks| {
            let networks = networks.iter().map(|text| text.parse().map_err(|why| format!("has an {why}")));
            c.gossip.allowed_networks = Some(networks.collect::<Result<_, _>>()?);
            Ok(())
        }),
    ),
    ("gossip.dead_node_reclaim_time", Slot::Time(|c| &mut c.gossip.dead_node_reclaim)),
    ("gossip.require_node_names", Slot::Switch(|c| &mut c.gossip.require_node_names)),
    ("gossip.gossip_verify_incoming", Slot::Switch(|c| &mut c.gossip.verify_incoming)),
    ("gossip.gossip_verify_outgoing", Slot::Switch(|c| &mut c.gossip.verify_outgoing)),
    ("gossip.accept_encryption_v0", Slot::Switch(|c| &mut c.gossip.hardening.accept_encryption_v0)),
    ("gossip.replay_window", Slot::Size(|c| &mut c.gossip.hardening.replay_window)),
    ("gossip.strict_ping_source", Slot::Switch(|c| &mut c.gossip.hardening.strict_ping_source)),
    ("gossip.strict_relay_target", Slot::Switch(|c| &mut c.gossip.hardening.strict_relay_target)),
    ("gossip.piggyback_to_strangers", Slot::Switch(|c| &mut c.gossip.hardening.piggyback_to_strangers)),
    ("gossip.strict_members", Slot::Switch(|c| &mut c.gossip.hardening.strict_members)),
    ("gossip.strict_networks", Slot::Switch(|c| &mut c.gossip.hardening.strict_networks)),
    ("gossip.stream_error_replies", Slot::Switch(|c| &mut c.gossip.hardening.stream_error_replies)),
    ("gossip.plaintext_for", Slot::OptionalTime(|c| &mut c.gossip.hardening.plaintext_for)),
    ("gossip.max_members", Slot::Size(|c| &mut c.gossip.hardening.max_members)),
    ("gossip.max_streams", Slot::Size(|c| &mut c.gossip.hardening.max_streams)),
    ("gossip.max_streams_per_host", Slot::Size(|c| &mut c.gossip.hardening.max_streams_per_host)),
    ("gossip.max_stream_bytes", Slot::Size(|c| &mut c.gossip.hardening.max_stream_bytes)),
    ("gossip.max_inflated_packet", Slot::Size(|c| &mut c.gossip.hardening.max_inflated_packet)),
    ("gossip.max_relays", Slot::Size(|c| &mut c.gossip.hardening.max_relays)),
    // Serf.
    ("gossip.leave_propagate_delay", Slot::Time(|c| &mut c.leave_propagate_delay)),
    ("gossip.reap_interval", Slot::Time(|c| &mut c.reap_interval)),
    ("gossip.flap_timeout", Slot::Time(|c| &mut c.flap_timeout)),
    ("gossip.recent_intent_timeout", Slot::Time(|c| &mut c.recent_intent_timeout)),
    ("gossip.queue_check_interval", Slot::Time(|c| &mut c.queue_check_interval)),
    ("gossip.queue_depth_warning", Slot::Size(|c| &mut c.queue_depth_warning)),
    ("gossip.max_queue_depth", Slot::Size(|c| &mut c.max_queue_depth)),
    ("gossip.min_queue_depth", Slot::Size(|c| &mut c.min_queue_depth)),
    ("gossip.event_buffer", Slot::Size(|c| &mut c.event_buffer)),
    ("gossip.query_buffer", Slot::Size(|c| &mut c.query_buffer)),
    ("gossip.event_queue", Slot::Size(|c| &mut c.event_queue)),
    ("gossip.query_timeout_mult", Slot::Number(|c| &mut c.query_timeout_mult)),
    ("gossip.coalesce_period", Slot::Time(|c| &mut c.coalesce_period)),
    ("gossip.quiescent_period", Slot::Time(|c| &mut c.quiescent_period)),
    ("gossip.user_coalesce_period", Slot::Time(|c| &mut c.user_coalesce_period)),
    ("gossip.user_quiescent_period", Slot::Time(|c| &mut c.user_quiescent_period)),
];

/// Keys of an agent that would make another node of this one if they were passed over.
const REFUSED: &[(&str, &str)] =
    &[("interface", "set 'bind' to the address"), ("tags_file", "set 'tags', or read the file yourself")];

/// Keys of which only an agent makes something.
const PASSED_OVER: &[&str] = &[
    "log_level",
    "log_format",
    "rpc_addr",
    "rpc_auth",
    "http_addr",
    "replay_on_join",
    "start_join",
    "retry_join",
    "retry_max_attempts",
    "retry_interval",
    "event_handlers",
    "event_handler_patience",
    "event_handler_timeout",
    "event_handler_json",
    "leave_on_terminate",
    "skip_leave_on_interrupt",
    "discover",
    "mdns",
    "enable_syslog",
    "syslog_facility",
    "statsite_addr",
    "statsd_addr",
    "MsgpackUseNewTimeFormat",
];

/// A file's text. What is no file may have no end.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)? as u64 > FILE_MAX {
        return Err(io::Error::other(format!("more than {FILE_MAX} bytes: this is no such file")));
    }
    Ok(text)
}

fn variable_of(key: &str) -> String {
    format!("SERF_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// An IP address with or without a port, or a port alone behind a colon. Names are not looked up.
fn address(text: &str) -> Result<SocketAddr, String> {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let port = || Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), text.strip_prefix(':')?.parse().ok()?));
    let found = text.parse().ok().or_else(|| Some(SocketAddr::new(ip(bare)?, DEFAULT_PORT))).or_else(port);
    found.ok_or_else(|| format!("must be an IP address such as 10.0.0.1 or 10.0.0.1:7946, not {text:?}"))
}

/// Never shown in errors.
fn key(text: &str) -> Result<Key, String> {
    let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes =
        Base64::decode_vec(&text).map_err(|_| "must be a key in base64, as serf keygen makes them")?;
    Key::new(&bytes)
        .map_err(|_| format!("must be a key of 16, 24 or 32 bytes in base64, not of {}", bytes.len()))
}

/// `300ms`, `1h15m0.5s`, `0`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("must be a duration such as \"300ms\" or \"1h30m\", not {text:?}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_u128);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (digits, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        // More places than nanoseconds have cannot matter.
        let fraction = &fraction[..fraction.len().min(12)];
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
        if whole.is_empty() && fraction.is_empty() || whole.len() > 20 {
            return Err(wrong());
        }
        let places = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        nanos +=
            number(whole).ok_or_else(wrong)? * unit + number(fraction).ok_or_else(wrong)? * unit / places;
        rest = after;
    }
    let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos <= i64::MAX as u64);
    nanos.map(Duration::from_nanos).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Directory;

    fn of(text: &str) -> Config {
        Config::from_json(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn error(text: &str) -> String {
        Config::from_json(text).map(drop).unwrap_err().to_string()
    }

    fn env(pairs: &[(&str, &str)]) -> Result<Config, SettingsError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), Ok((*value).to_owned())));
        Settings::new().variables(pairs)?.config()
    }

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

    #[test]
    fn a_file_of_an_agent_says_what_it_says_of_a_node() {
        let config = of(r#"{
            "node_name": "web-1", "bind": "127.0.0.1", "advertise": "10.0.0.1:7000", "profile": "wan", "protocol": 5,
            "tags": {"rack": "7"}, "role": "web", "encrypt_key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "snapshot_path": "/s", "rejoin_after_leave": true, "disable_name_resolution": true,
            "reconnect_timeout": "1h", "query_size_limit": 0, "user_event_size_limit": 900, "enable_compression": false,
            "rpc_addr": "127.0.0.1:7373", "event_handlers": ["x"], "mdns": {"interface": "eth0"}, "log_level": "debug",
            "gossip": {"label": "blue", "cidrs_allowed": ["10.0.0.0/8"], "probe_timeout": "250ms", "replay_window": 0,
                       "plaintext_for": "1h", "suspicion_mult": 5, "Buddy": false}
        }"#);
        assert_eq!((config.node_name, config.bind), ("web-1".into(), "127.0.0.1:7946".parse().unwrap()));
        assert_eq!((config.advertise, config.advertise_port), ("10.0.0.1".parse().ok(), Some(7000)));
        assert_eq!(config.tags, [("rack", "7"), ("role", "web")].map(|(k, v)| (k.into(), v.into())).into());
        assert_eq!(config.keys, [Key::new(b"0123456789abcdef").unwrap()]);
        assert_eq!((config.protocol_version, config.rejoin_after_leave), (5, true));
        assert!(
            !config.enable_name_conflict_resolution && !config.gossip.compression && !config.gossip.buddy
        );
        assert_eq!(config.reconnect_timeout, Duration::from_secs(3600));
        assert_eq!((config.query_size_limit, config.user_event_size_limit), (1024, 900));
        assert_eq!((&config.label[..], config.gossip.suspicion_mult), (&b"blue"[..], 5));
        assert_eq!(config.gossip.allowed_networks.unwrap().len(), 1);
        assert_eq!(config.gossip.hardening.plaintext_for, Some(Duration::from_secs(3600)));
        // That of the profile.
        assert_eq!(config.gossip.probe_interval, Duration::from_secs(5));
        assert_eq!(config.gossip.probe_timeout, Duration::from_millis(250));
    }

    #[test]
    fn every_key_can_be_a_variable_and_says_the_same() {
        for (key, slot) in KEYS {
            let (json, text) = match slot {
                Slot::First([]) => ("\"x\"", "x"),
                Slot::First(_) => ("\"fast\"", "fast"),
                Slot::Time(_) | Slot::OptionalTime(_) => ("\"7s\"", "7s"),
                Slot::Size(_) | Slot::Number(_) | Slot::Version => ("3", "3"),
                Slot::Switch(_) | Slot::Off(_) | Slot::Flag => ("true", "true"),
                Slot::Tags => (r#"{"a": "b", "c": ""}"#, "a=b, c="),
                Slot::List(_) if *key == "gossip.compression" => (r#"["lzw"]"#, "lzw"),
                Slot::List(_) if *key == "gossip.checksums" => (r#"["crc32"]"#, "crc32"),
                Slot::List(_) => (r#"["10.0.0.0/8", "fd00::/8"]"#, "10.0.0.0/8, fd00::/8"),
                // The file is not there, which is told of both.
                Slot::Text(_) if matches!(*key, "keyring_file") => continue,
                Slot::Text(_) if matches!(*key, "bind" | "advertise") => ("\"[::1]:80\"", "[::1]:80"),
                Slot::Text(_) if *key == "encrypt_key" => (r#""MDEyMzQ1Njc4OWFiY2RlZg==""#, KEY),
                Slot::Text(_) => ("\"x\"", "x"),
            };
            let json = match key.split_once('.') {
                Some((parent, key)) => format!("{{\"{parent}\": {{\"{key}\": {json}}}}}"),
                None => format!("{{\"{key}\": {json}}}"),
            };
            let by_variable = env(&[(&variable_of(key), text)]).unwrap();
            assert_eq!(format!("{:?}", of(&json)), format!("{by_variable:?}"), "{key}");
            let changes = format!("{by_variable:?}") != format!("{:?}", of("{}"));
            let is_default =
                matches!(*key, "keyring_create" | "gossip.indirect_checks" | "gossip.gossip_nodes");
            let is_on = matches!(slot, Slot::Switch(_));
            assert!(changes || is_default || is_on, "{key}");
        }
    }

    #[test]
    fn later_ones_win_and_tags_add_up() {
        let settings = Settings::new()
            .json(r#"{"node_name": "a", "tags": {"x": "1", "y": "1"}, "gossip": {"gossip_nodes": 5}}"#)
            .and_then(|s| s.json(r#"{"node_name": "b", "tags": {"y": "2"}, "profile": null, "role": ""}"#))
            .unwrap();
        let config = settings.config().unwrap();
        assert_eq!((config.node_name, config.gossip.gossip_nodes), ("b".into(), 5));
        assert_eq!(config.tags, [("x", "1"), ("y", "2")].map(|(k, v)| (k.into(), v.into())).into());
    }

    #[test]
    fn a_node_without_a_name_gets_that_of_its_host() {
        assert!(!of("{}").node_name.as_bytes().is_empty());
    }

    #[test]
    fn mistakes_name_the_key_and_the_remedy() {
        for (text, why) in [
            ("{", "settings: EOF while parsing an object at line 1 column 1"),
            ("[]", "settings: must be an object: {\"node_name\": ...}"),
            (r#"{"nope": 1}"#, "nope: there is no such key; see Settings::keys"),
            (r#"{"gossip": {"nope": 1}}"#, "gossip.nope: there is no such key; see Settings::keys"),
            (r#"{"gossip": 1}"#, "gossip: must be an object"),
            (r#"{"profile": "slow"}"#, "profile: must be one of lan, wan, local, fast, not \"slow\""),
            (
                r#"{"bind": "web-1"}"#,
                "bind: must be an IP address such as 10.0.0.1 or 10.0.0.1:7946, not \"web-1\"",
            ),
            (r#"{"interface": "eth0"}"#, "interface: only an agent knows it; set 'bind' to the address"),
            (
                r#"{"encrypt_key": "secret"}"#,
                "encrypt_key: must be a key in base64, as serf keygen makes them",
            ),
            (
                r#"{"encrypt_key": "c2VjcmV0"}"#,
                "encrypt_key: must be a key of 16, 24 or 32 bytes in base64, not of 6",
            ),
            (
                r#"{"reconnect_timeout": 5}"#,
                "reconnect_timeout: must be a duration such as \"300ms\" or \"1h30m\"",
            ),
            (r#"{"gossip": {"buddy": "yes"}}"#, "gossip.buddy: must be true or false"),
            (r#"{"gossip": {"suspicion_mult": 4294967296}}"#, "gossip.suspicion_mult: is too large"),
            (r#"{"protocol": -1}"#, "protocol: must be a whole number"),
            (
                r#"{"gossip": {"compression": ["lzw", "x"]}}"#,
                "gossip.compression: has an unknown compression \"x\": expected one of lzw, lz4, snappy, zstd, brotli",
            ),
            (
                r#"{"gossip": {"cidrs_allowed": ["x"]}}"#,
                "gossip.cidrs_allowed: has an invalid network \"x\": expected an address and a prefix length, such as \
                 10.0.0.0/8",
            ),
        ] {
            assert_eq!(error(text), why);
        }
        for (variable, value, why) in [
            ("SERF_GOSSIP_NOPE", "1", "there is no such key; see Settings::keys"),
            ("SERF_GOSSIP_GOSSIP_NODES", "many", "must be a whole number, not \"many\""),
            ("SERF_TAGS", "web", "must be tags such as role=web,rack=7, not \"web\""),
            ("SERF_DISABLE_COORDINATES", "1", "must be true or false, not \"1\""),
        ] {
            assert_eq!(env(&[(variable, value)]).unwrap_err().to_string(), format!("{variable}: {why}"));
        }
        // Those of others, and empty ones, are no mistakes.
        env(&[("SERF_RPC_ADDR", "x"), ("SERF_EVENT", "member-join"), ("SERF_BIND", "")]).unwrap();
    }

    #[test]
    fn keys_come_from_their_file_and_are_shown_nowhere() {
        let directory = Directory::new();
        let ring = directory.path().join("ring");
        let settings = |more: &str| {
            let path = ring.display();
            Settings::new().json(&format!("{{\"keyring_file\": \"{path}\" {more}}}")).unwrap()
        };
        let failed = |more: &str| settings(more).config().map(drop).unwrap_err().to_string();
        assert!(failed("").ends_with("No such file or directory (os error 2)"), "{}", failed(""));
        // It is made of the key, once, if that is asked for.
        let create = format!(r#", "encrypt_key": "{KEY}", "keyring_create": true"#);
        assert_eq!(settings(&create).config().unwrap().keys.len(), 1);
        assert!(!format!("{:?}", settings(&create)).contains(KEY));
        directory.write("ring", &format!(r#"["{KEY}", "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1u"]"#));
        assert_eq!(settings(&create).config().unwrap().keys.len(), 2);
        assert_eq!(settings("").config().unwrap().keys.len(), 2);
        let both = format!(r#", "encrypt_key": "{KEY}""#);
        assert!(failed(&both).ends_with("has the keys: do without 'encrypt_key', or set 'keyring_create'"));
        directory.write("ring", "[]");
        assert!(failed("").ends_with("has no keys: nothing would be encrypted"));
        directory.write("ring", r#"["secret"]"#);
        assert!(failed("").ends_with("must be a key in base64, as serf keygen makes them"));
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let directory = Directory::new();
        let path = directory.write("node.json", r#"{"bind": 5}"#);
        let error = Config::from_file(&path).map(drop).unwrap_err();
        assert_eq!(error.place, format!("{}: bind", path.display()));
        let error = Config::from_file(directory.path().join("gone")).map(drop).unwrap_err().to_string();
        assert!(error.contains("gone: No such file"), "{error}");
        let path = directory.write("large", &" ".repeat(FILE_MAX as usize + 1));
        let error = Config::from_file(path).map(drop).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn durations_are_read_as_the_agent_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("250us", 250_000),
            ("250\u{b5}s", 250_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.1234567891s", 123_456_789),
            ("2562047h47m16.854775807s", i64::MAX as u64),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in
            ["", "abc", "-5s", ".s", "1 s", "5", "1h5", "1.2.3s", "5d", "9999999999999999999999h", "\u{661}s"]
        {
            duration(text).unwrap_err();
        }
    }
}
