//! The agent's configuration: from files and flags, as they were written, to what they mean.
//!
//! A start takes three steps, because their messages have a place in what the agent prints:
//!
//! 1. [`load`] reads files, lays flags over them, fills in defaults and checks everything that can be checked
//!    without the cluster. Its errors come first of all.
//! 2. [`setup`] reads the files that hold state, tags and keys. `Failed to setup the Serf agent: ...`
//! 3. [`check`] applies the limits of the protocol. `Failed to start the Serf agent: ...`
//!
//! A running agent evaluates the same sources again with [`reload`], and takes over what can change. [`examine`] looks at
//! all of them without an agent.

pub mod address;
pub mod duration;
pub mod examine;
pub mod file;
pub mod interface;
pub mod keys;
pub mod knobs;
mod places;
pub mod settings;
pub mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use self::address::{AddressError, DEFAULT_GOSSIP_PORT};
use self::duration::GoDuration;
use self::file::FileError;
use self::interface::InterfaceError;
use self::keys::{Base64Error, Key, KeyringFileError};
use self::knobs::{Contradiction, Knobs};
use self::places::{Place, Places};
use self::settings::Settings;
use self::tags::TagsFileError;
use crate::events::{EventHandler, EventHandlers, InvalidHandler};
use crate::log_format::{LogFormat, ParseLogFormatError};
use crate::logging::{Level, ParseLevelError};

/// What an agent is to do, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name of this node, which no other in the cluster may have. Default: the name of the machine.
    pub node_name: String,
    /// The tags of this node, the deprecated `role` included. With a tags file they are in there instead.
    pub tags: BTreeMap<String, String>,
    /// Where tags are kept over restarts.
    pub tags_file: Option<PathBuf>,
    /// The address for gossip. Port 0 is any free one.
    pub bind: SocketAddr,
    /// The address to tell other members, where it is not the bound one.
    pub advertise: Option<SocketAddr>,
    /// The network interface, already taken into account in `bind`.
    pub interface: Option<String>,
    /// The key for encryption; its length is checked by [`check`].
    pub encrypt_key: Option<Key>,
    /// Where encryption keys are kept over restarts.
    pub keyring_file: Option<PathBuf>,
    /// Does a missing keyring file begin with the configured key? Then one that is there is what counts.
    pub keyring_create: bool,
    /// The lowest level of the log to print.
    pub log_level: Level,
    /// The form of everything that is printed.
    pub log_format: LogFormat,
    /// Where to listen for commands, as it was written; see [`Config::rpc_address`].
    pub rpc_addr: String,
    /// The token that clients have to present.
    pub rpc_auth: Option<Token>,
    /// Where to serve the HTTP API, as it was written; see [`Config::http_address`]. None: it is not served.
    pub http_addr: Option<String>,
    /// The Serf protocol to speak; checked by [`check`].
    pub protocol: u64,
    /// Deliver user events from before a join, too?
    pub replay_on_join: bool,
    /// The largest response to a query, encoded, in bytes.
    pub query_response_size_limit: usize,
    /// The largest query, encoded, in bytes.
    pub query_size_limit: usize,
    /// The largest user event, in bytes; checked by [`check`].
    pub user_event_size_limit: usize,
    /// Addresses to join before anything else. If none answers the agent ends.
    pub start_join: Vec<String>,
    /// Addresses to join in the background, again and again until one answers.
    pub retry_join: Vec<String>,
    /// How many retries may fail before the agent ends; 0 is any number. The first attempt is not a retry.
    pub retry_max_attempts: u64,
    /// The time between two attempts, at least a second.
    pub retry_interval: Duration,
    /// What to run for events.
    pub event_handlers: EventHandlers,
    /// The timings of gossip.
    pub profile: Profile,
    /// What differs from the profile.
    pub gossip: Knobs,
    /// Where members and clocks are kept over restarts.
    pub snapshot_path: Option<PathBuf>,
    /// Join the members of the snapshot even after having left?
    pub rejoin_after_leave: bool,
    /// Leave gracefully on SIGTERM?
    pub leave_on_terminate: bool,
    /// Do not leave gracefully on SIGINT?
    pub skip_leave_on_interrupt: bool,
    /// The name under which members find each other by multicast DNS.
    pub discover: Option<String>,
    /// The network interface for that; where it is not set, `interface`.
    pub mdns_interface: Option<String>,
    /// Do not look for members over IPv4?
    pub mdns_disable_ipv4: bool,
    /// Do not look for members over IPv6?
    pub mdns_disable_ipv6: bool,
    /// The time between two attempts to reach a failed member.
    pub reconnect_interval: Duration,
    /// After this time a failed member is forgotten.
    pub reconnect_timeout: Duration,
    /// After this time a member that has left is forgotten.
    pub tombstone_timeout: Duration,
    /// Leave it to the operator when two nodes have the same name?
    pub disable_name_resolution: bool,
    /// Send the log to the system's log daemon as well?
    pub enable_syslog: bool,
    /// Its facility there.
    pub syslog_facility: String,
    /// Where to stream metrics to.
    pub statsite_addr: Option<String>,
    /// Where to send metrics to.
    pub statsd_addr: Option<String>,
    /// How long a message may take to have been passed on, at least a second.
    pub broadcast_timeout: Duration,
    /// Compress messages?
    pub enable_compression: bool,
    /// Do without network coordinates?
    pub disable_coordinates: bool,
    /// Accept only node names of letters, digits, dots and dashes, up to 128 of them?
    pub validate_node_names: bool,
    /// All of this as it was written, for [`reload`] to compare with.
    pub written: Written,
}

/// The time for a message to be passed on, unless configured.
pub const DEFAULT_BROADCAST_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts of `retry_join`, unless configured.
pub const DEFAULT_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How long event handlers wait for one another, unless configured: longer than most scripts take, so that the order of
/// runs is what it always was; short enough for one that hangs not to be the end of all others.
pub const DEFAULT_HANDLER_PATIENCE: Duration = Duration::from_secs(30);
/// Shorter than this a join is not retried, nor a broadcast given up.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// As long as it takes a person to notice and repair a broken link.
const DEFAULT_RECONNECT_INTERVAL: Duration = Duration::from_secs(30);
/// A day, for nodes that fail over night.
const DEFAULT_FORGET_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_BIND: &str = "0.0.0.0";
const DEFAULT_RPC_ADDR: &str = "127.0.0.1:7373";
const DEFAULT_SYSLOG_FACILITY: &str = "LOCAL0";
const DEFAULT_QUERY_SIZE_LIMIT: usize = 1024;
const DEFAULT_USER_EVENT_SIZE_LIMIT: usize = 512;
/// Whatever is configured, no user event is larger than this: it has to fit into gossip.
const USER_EVENT_SIZE_MAX: usize = 9 * 1024;
/// The tags have to fit into every announcement of the node.
pub(crate) const TAGS_SIZE_MAX: usize = 512;
/// Only where `validate_node_names` asks for it.
const NODE_NAME_MAX: usize = 128;
const PROTOCOL_MIN: u64 = 2;
const PROTOCOL_MAX: u64 = 5;

/// The token for RPC clients. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// The token itself, to be compared in constant time.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Bundles of timings for gossip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A local network. The default.
    #[default]
    Lan,
    /// Nodes far apart.
    Wan,
    /// Everything on one machine.
    Local,
    /// Nodes in one rack, where a failure is to be noticed within a second.
    Fast,
}

/// The longest that an event waits for others like it, before handlers and RPC streams see them; unless configured.
const COALESCE_PERIOD: Duration = Duration::from_secs(3);
/// How long nothing more has to happen before events are told, unless configured.
const QUIESCENT_PERIOD: Duration = Duration::from_secs(1);

impl Profile {
    /// The settings of a node of this name, before anything else is configured.
    pub(crate) fn node(self, name: &str) -> serf::Config {
        let config = match self {
            Self::Lan => serf::Config::lan(name),
            Self::Wan => serf::Config::wan(name),
            Self::Local => serf::Config::local(name),
            Self::Fast => serf::Config::fast(name),
        };
        let (coalesce_period, quiescent_period) = match self {
            // What is noticed within a second should not wait for longer.
            Self::Fast => (Duration::from_millis(500), Duration::from_millis(100)),
            _ => (COALESCE_PERIOD, QUIESCENT_PERIOD),
        };
        serf::Config {
            coalesce_period,
            quiescent_period,
            user_coalesce_period: COALESCE_PERIOD,
            user_quiescent_period: QUIESCENT_PERIOD,
            ..config
        }
    }
}

/// A profile that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Unknown profile: {0}")]
pub struct UnknownProfile(pub String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            "local" => Ok(Self::Local),
            "fast" => Ok(Self::Fast),
            other => Err(UnknownProfile(other.to_owned())),
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::Local => "local",
            Self::Fast => "fast",
        })
    }
}

/// Where a configuration comes from. It is kept, to be evaluated again on reload.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files and directories, in order.
    pub files: Vec<PathBuf>,
    /// What the command line says; it wins over all files.
    pub flags: Settings,
    /// What the operator should know of the command line. It is told once, at the start.
    pub notices: Vec<String>,
}

/// Why a configuration cannot be used. The text is what the agent prints behind `==> `.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file or directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// The machine does not tell its name, and none is configured.
    #[error("Error determining hostname: {0}")]
    Hostname(String),
    /// An event handler.
    #[error("Invalid event script: {source}\n    ({place}: {})", .source.remedy())]
    EventHandler {
        /// Where it is configured: the file and the key, or the flag.
        place: String,
        /// What is wrong with it.
        source: InvalidHandler,
    },
    /// `interface` names none.
    #[error("Invalid network interface: {0}")]
    Interface(InterfaceError),
    /// The interface does not go with the address.
    #[error(transparent)]
    InterfaceAddress(InterfaceError),
    /// There is nothing to use the mDNS interface for.
    #[error("mDNS interface specified without enabling mDNS discovery")]
    MdnsWithoutDiscover,
    /// `mdns.interface` names none.
    #[error("Invalid mDNS network interface: {0}")]
    MdnsInterface(InterfaceError),
    /// Neither IPv4 nor IPv6 is left for mDNS.
    #[error("Invalid mDNS configuration: both IPv4 and IPv6 are disabled")]
    MdnsDisabled,
    /// `log_level`
    #[error(transparent)]
    LogLevel(#[from] ParseLevelError),
    /// `log_format`
    #[error(transparent)]
    LogFormat(#[from] ParseLogFormatError),
    /// `bind`
    #[error("Invalid bind address: {0}")]
    Bind(AddressError),
    /// `advertise`
    #[error("Invalid advertise address: {0}")]
    Advertise(AddressError),
    /// `encrypt_key` is not base64.
    #[error("Invalid encryption key: {0}")]
    EncryptKey(Base64Error),
    /// `profile`
    #[error(transparent)]
    Profile(#[from] UnknownProfile),
    /// Values of `gossip` that do not go together.
    #[error(transparent)]
    Gossip(#[from] Contradiction),
    /// Another one, with its place in a file in a second line.
    #[error("{text}")]
    Placed {
        /// Both lines.
        text: String,
        /// What is wrong.
        source: Box<Self>,
    },
}

impl ConfigError {
    /// The key that it is about. None where that is said already, or there is none.
    fn key(&self) -> Option<String> {
        let key = match self {
            Self::File(_) | Self::Hostname(_) | Self::EventHandler { .. } | Self::Placed { .. } => {
                return None;
            }
            Self::Gossip(error) => return Some(error.key()),
            Self::Interface(_) | Self::InterfaceAddress(_) => "interface",
            Self::MdnsWithoutDiscover | Self::MdnsInterface(_) => "mdns.interface",
            Self::MdnsDisabled => "mdns.disable_ipv6",
            Self::LogLevel(_) => "log_level",
            Self::LogFormat(_) => "log_format",
            Self::Bind(_) => "bind",
            Self::Advertise(_) => "advertise",
            Self::EncryptKey(_) => "encrypt_key",
            Self::Profile(_) => "profile",
        };
        Some(key.to_owned())
    }

    fn placed(self, places: &Places) -> Self {
        let Some(key) = self.key().filter(|key| matches!(places.last(key), Some(Place::File(..)))) else {
            return self;
        };
        Self::Placed { text: places.beside(&key, &self), source: Box::new(self) }
    }
}

/// Evaluates a configuration. `notice` gets a line for everything the operator should know, as it turns up.
pub fn load(sources: &Sources, notice: &mut dyn FnMut(&str)) -> Result<Config, ConfigError> {
    let (settings, event_handlers, places) = read(sources)?;
    let written = Written { values: file::written(&settings), places };
    let places = written.places.clone();
    evaluate(settings, event_handlers, written, notice).map_err(|error| error.placed(&places))
}

/// What of a configuration shapes the traffic and the timings of a cluster, for those who simulate one. Nothing is looked
/// up and no file of state is read: the settings are those of a machine that need not be this one. A key stands in for those
/// that are configured, so that messages are as long as they would be.
pub fn traits(sources: &Sources) -> Result<(Profile, serf::Config), ConfigError> {
    let (settings, _, places) = read(sources)?;
    let placed = |error: ConfigError| error.placed(&places);
    let profile = settings.profile.as_deref().map_or(Ok(Profile::Lan), str::parse);
    let profile = profile.map_err(|error: UnknownProfile| placed(error.into()))?;
    let mut serf = profile.node(settings.node_name.as_deref().unwrap_or_default());
    settings.gossip.check(&serf).map_err(|error| placed(error.into()))?;
    let role = settings.role.iter().map(|role| ("role".to_owned(), role.clone()));
    serf.tags = settings.tags.clone().into_iter().chain(role).collect();
    if settings.encrypt_key.is_some() || settings.keyring_file.is_some() {
        serf.keys = serf::Key::new(&[0; 32]).into_iter().collect();
    }
    serf.gossip.compression = settings.enable_compression.unwrap_or(true);
    serf.disable_coordinates = settings.disable_coordinates.unwrap_or(false);
    serf.reconnect_interval = time(settings.reconnect_interval, DEFAULT_RECONNECT_INTERVAL);
    settings.gossip.apply(&mut serf);
    // The addresses of simulated nodes are nobody's.
    serf.gossip.allowed_networks = None;
    Ok((profile, serf))
}

fn evaluate(
    settings: Settings,
    event_handlers: EventHandlers,
    written: Written,
    notice: &mut dyn FnMut(&str),
) -> Result<Config, ConfigError> {
    let node_name = node_name(&settings)?;
    let common = common(&settings, notice)?;
    let log_level = log_level(&settings)?;
    let log_format = settings.log_format.as_deref().map_or(Ok(LogFormat::Text), str::parse)?;

    let or = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    let mut bind = address::resolve_or(&or(&settings.bind, DEFAULT_BIND), DEFAULT_GOSSIP_PORT)
        .map_err(ConfigError::Bind)?;
    if let Some(name) = &settings.interface {
        let interface = interface::find(name).map_err(ConfigError::Interface)?;
        let chosen = interface.choose(bind).map_err(ConfigError::InterfaceAddress)?;
        if chosen != bind {
            notice(&format!("Using interface '{name}' address '{}'", chosen.ip()));
            bind = chosen;
        }
    }
    let advertise = settings.advertise.as_deref();
    let advertise = advertise.map(|text| address::resolve_or(text, DEFAULT_GOSSIP_PORT)).transpose();
    let encrypt_key = settings.encrypt_key.as_deref().map(Key::from_base64).transpose();
    let advertise = advertise.map_err(ConfigError::Advertise)?;
    let encrypt_key = encrypt_key.map_err(ConfigError::EncryptKey)?;
    let profile = settings.profile.as_deref().map_or(Ok(Profile::Lan), str::parse)?;
    settings.gossip.check(&profile.node(&node_name))?;

    Ok(Config {
        node_name,
        tags: common.tags,
        tags_file: settings.tags_file.map(PathBuf::from),
        bind,
        advertise,
        interface: settings.interface,
        encrypt_key,
        keyring_file: settings.keyring_file.map(PathBuf::from),
        keyring_create: settings.keyring_create.unwrap_or(false),
        log_level,
        log_format,
        rpc_addr: or(&settings.rpc_addr, DEFAULT_RPC_ADDR),
        rpc_auth: settings.rpc_auth.map(Token),
        http_addr: settings.http_addr,
        protocol: settings.protocol.map_or(PROTOCOL_MAX, |n| n.try_into().unwrap_or(PROTOCOL_MAX)),
        replay_on_join: settings.replay_on_join.unwrap_or(false),
        query_response_size_limit: size(settings.query_response_size_limit, DEFAULT_QUERY_SIZE_LIMIT),
        query_size_limit: size(settings.query_size_limit, DEFAULT_QUERY_SIZE_LIMIT),
        user_event_size_limit: size(settings.user_event_size_limit, DEFAULT_USER_EVENT_SIZE_LIMIT),
        start_join: settings.start_join,
        retry_join: settings.retry_join,
        // A negative number has always meant the same as none.
        retry_max_attempts: settings.retry_max_attempts.and_then(|n| n.try_into().ok()).unwrap_or(0),
        retry_interval: common.retry_interval,
        event_handlers,
        profile,
        gossip: settings.gossip,
        snapshot_path: settings.snapshot_path.map(PathBuf::from),
        rejoin_after_leave: settings.rejoin_after_leave.unwrap_or(false),
        leave_on_terminate: settings.leave_on_terminate.unwrap_or(false),
        skip_leave_on_interrupt: settings.skip_leave_on_interrupt.unwrap_or(false),
        discover: settings.discover,
        mdns_interface: settings.mdns_interface,
        mdns_disable_ipv4: settings.mdns_disable_ipv4.unwrap_or(false),
        mdns_disable_ipv6: settings.mdns_disable_ipv6.unwrap_or(false),
        reconnect_interval: time(settings.reconnect_interval, DEFAULT_RECONNECT_INTERVAL),
        reconnect_timeout: time(settings.reconnect_timeout, DEFAULT_FORGET_TIMEOUT),
        tombstone_timeout: time(settings.tombstone_timeout, DEFAULT_FORGET_TIMEOUT),
        disable_name_resolution: settings.disable_name_resolution.unwrap_or(false),
        enable_syslog: settings.enable_syslog.unwrap_or(false),
        syslog_facility: or(&settings.syslog_facility, DEFAULT_SYSLOG_FACILITY),
        statsite_addr: settings.statsite_addr,
        statsd_addr: settings.statsd_addr,
        broadcast_timeout: common.broadcast_timeout,
        enable_compression: settings.enable_compression.unwrap_or(true),
        disable_coordinates: settings.disable_coordinates.unwrap_or(false),
        validate_node_names: settings.validate_node_names.unwrap_or(false),
        written,
    })
}

/// The form in which to tell that a configuration cannot be used, as far as one can be found in it.
#[must_use]
pub fn log_format(sources: &Sources) -> LogFormat {
    let mut settings = Settings::default();
    for path in &sources.files {
        // What is no file, as a pipe, has been read already, and has nothing more to say.
        let again = std::fs::metadata(path).is_ok_and(|it| it.is_file() || it.is_dir());
        let layers = if again { file::read_paths([path]).unwrap_or_default() } else { Vec::new() };
        layers.into_iter().for_each(|layer| settings.overlay(layer.settings));
    }
    settings.overlay(sources.flags.clone());
    settings.log_format.and_then(|format| format.parse().ok()).unwrap_or_default()
}

/// What a running agent takes over from a changed configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// The level of the log. A wrong one leaves it as it is, and does not keep the rest from taking effect.
    pub log_level: Result<Level, ParseLevelError>,
    /// What to run for events.
    pub event_handlers: EventHandlers,
    /// The tags. None with a tags file, whose tags stay.
    pub tags: Option<BTreeMap<String, String>>,
    /// Leave gracefully on SIGTERM?
    pub leave_on_terminate: bool,
    /// Do not leave gracefully on SIGINT?
    pub skip_leave_on_interrupt: bool,
    /// Keys that are set to something else than at the start, which takes effect only after a restart.
    pub restart_for: Vec<String>,
}

/// Settings that a running agent follows, or that have no effect at all.
const FOLLOWED: [&str; 10] = [
    "log_level",
    "event_handlers",
    "event_handler_patience",
    "event_handler_timeout",
    "event_handler_json",
    "tags",
    "role",
    "leave_on_terminate",
    "skip_leave_on_interrupt",
    "MsgpackUseNewTimeFormat",
];

/// Everything that was set at the start, by key. It is not shown: there are secrets in it.
#[derive(Clone, Default, PartialEq)]
pub struct Written {
    values: BTreeMap<String, String>,
    places: Places,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Written({} keys)", self.values.len())
    }
}

impl Written {
    /// The keys that have another value, or none, by now, and that a running agent does not follow.
    fn differing(&self, other: &BTreeMap<String, String>) -> Vec<String> {
        let all: BTreeSet<_> = self.values.keys().chain(other.keys()).collect();
        let differs = |key: &&String| self.values.get(*key) != other.get(*key);
        all.into_iter().filter(differs).filter(|key| !FOLLOWED.contains(&key.as_str())).cloned().collect()
    }
}

/// Evaluates a configuration again, as far as a running agent can follow it.
pub fn reload(
    sources: &Sources,
    running: &Config,
    notice: &mut dyn FnMut(&str),
) -> Result<Reloaded, ConfigError> {
    let (settings, event_handlers, places) = read(sources)?;
    let restart_for = running.written.differing(&file::written(&settings));
    let common = common(&settings, notice).map_err(|error| error.placed(&places))?;
    Ok(Reloaded {
        log_level: log_level(&settings),
        event_handlers,
        tags: settings.tags_file.is_none().then_some(common.tags),
        leave_on_terminate: settings.leave_on_terminate.unwrap_or(false),
        skip_leave_on_interrupt: settings.skip_leave_on_interrupt.unwrap_or(false),
        restart_for,
    })
}

/// The files with the flags laid over them; and the event handlers, which are known by file and place only here.
fn read(sources: &Sources) -> Result<(Settings, EventHandlers, Places), ConfigError> {
    let (mut settings, mut places) = (Settings::default(), Places::default());
    let mut list = Vec::new();
    for layer in file::read_paths(&sources.files)? {
        for (n, text) in layer.settings.event_handlers.iter().enumerate() {
            let path = layer.path.display();
            list.extend(handlers(text, || format!("'event_handlers[{n}]' in '{path}'"))?);
        }
        places.overlay(&layer.settings, |key| layer.place(key));
        settings.overlay(layer.settings);
    }
    for text in &sources.flags.event_handlers {
        list.extend(handlers(text, || format!("-event-handler={text}"))?);
    }
    places.overlay(&sources.flags, |_| Place::CommandLine);
    settings.overlay(sources.flags.clone());
    let handlers = EventHandlers {
        list,
        patience: settings.event_handler_patience.map_or(DEFAULT_HANDLER_PATIENCE, GoDuration::to_std),
        timeout: settings.event_handler_timeout.map(GoDuration::to_std).filter(|timeout| !timeout.is_zero()),
        json: settings.event_handler_json.unwrap_or(false),
    };
    Ok((settings, handlers, places))
}

fn handlers(text: &str, place: impl FnOnce() -> String) -> Result<Vec<EventHandler>, ConfigError> {
    EventHandler::parse_list(text).map_err(|source| ConfigError::EventHandler { place: place(), source })
}

fn node_name(settings: &Settings) -> Result<String, ConfigError> {
    match &settings.node_name {
        Some(name) => Ok(name.clone()),
        None => gethostname::gethostname()
            .into_string()
            .map_err(|name| ConfigError::Hostname(format!("{} is not UTF-8", name.display()))),
    }
}

/// What start and reload evaluate alike, warnings included.
struct Common {
    tags: BTreeMap<String, String>,
    retry_interval: Duration,
    broadcast_timeout: Duration,
}

fn common(settings: &Settings, notice: &mut dyn FnMut(&str)) -> Result<Common, ConfigError> {
    if let Some(name) = &settings.interface {
        interface::find(name).map_err(ConfigError::Interface)?;
    }
    check_mdns(settings)?;

    let mut tags = settings.tags.clone();
    if let Some(role) = &settings.role {
        notice("Deprecation warning: 'Role' has been replaced with 'Tags'");
        tags.insert("role".to_owned(), role.clone());
    }
    let mut at_least_a_second = |key: &str, given: Option<GoDuration>, default: Duration| {
        let asked = time(given, default);
        if asked < SHORTEST_WAIT {
            notice(&format!("Warning: '{key}' is too low. Setting to 1s"));
        }
        asked.max(SHORTEST_WAIT)
    };
    let retry_interval = at_least_a_second("RetryInterval", settings.retry_interval, DEFAULT_RETRY_INTERVAL);
    let broadcast_timeout =
        at_least_a_second("BroadcastTimeout", settings.broadcast_timeout, DEFAULT_BROADCAST_TIMEOUT);
    if settings.rejoin_after_leave == Some(true) && settings.snapshot_path.is_none() {
        notice("Warning: 'RejoinAfterLeave' enabled without snapshot file");
    }
    Ok(Common { tags, retry_interval, broadcast_timeout })
}

fn check_mdns(settings: &Settings) -> Result<(), ConfigError> {
    if let Some(name) = &settings.mdns_interface {
        if settings.discover.is_none() {
            return Err(ConfigError::MdnsWithoutDiscover);
        }
        interface::find(name).map_err(ConfigError::MdnsInterface)?;
    }
    let disabled = [settings.mdns_disable_ipv4, settings.mdns_disable_ipv6] == [Some(true); 2];
    if settings.discover.is_some() && disabled { Err(ConfigError::MdnsDisabled) } else { Ok(()) }
}

fn log_level(settings: &Settings) -> Result<Level, ParseLevelError> {
    settings.log_level.as_deref().map_or(Ok(Level::Info), str::parse)
}

fn time(given: Option<GoDuration>, default: Duration) -> Duration {
    given.map_or(default, GoDuration::to_std)
}

/// A negative size admits nothing, like zero would if zero did not mean the default.
fn size(given: Option<i64>, default: usize) -> usize {
    given.map_or(default, |n| usize::try_from(n.max(0)).unwrap_or(usize::MAX))
}

impl Config {
    /// Where to listen for commands.
    pub fn rpc_address(&self) -> Result<RpcAddress, RpcAddressError> {
        Ok(match serf_rpc::Address::parse(&self.rpc_addr)? {
            serf_rpc::Address::Tcp(address) => RpcAddress::Tcp(address::resolve(address)?),
            serf_rpc::Address::Unix(path) => RpcAddress::Unix(path.to_owned()),
        })
    }

    /// The socket address to serve the HTTP API on, if it is to be served.
    pub fn http_address(&self) -> Result<Option<SocketAddr>, HttpAddressError> {
        self.http_addr.as_deref().map(address::resolve_http).transpose().map_err(HttpAddressError)
    }
}

/// Where to listen for commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcAddress {
    /// A port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The address for commands cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RpcAddressError {
    /// It is no `HOST:PORT`.
    #[error("Error starting RPC listener: listen tcp: {0}")]
    Tcp(#[from] AddressError),
    /// There can be no socket at that path.
    #[error("Error starting RPC listener: listen unix: {0}")]
    Unix(#[from] serf_rpc::PathError),
}

/// The address for the HTTP API cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "Error starting HTTP listener: {0}\n    (write HOST:PORT, HOST, or :PORT for this machine only, in -http-addr or \
     'http_addr')"
)]
pub struct HttpAddressError(pub AddressError);

const SETUP: &str = "Failed to setup the Serf agent: ";
const START: &str = "Failed to start the Serf agent: Error creating Serf: ";

impl Config {
    /// An error about the key, with its place in a file in a second line.
    pub(crate) fn beside(&self, key: &str, error: &dyn std::fmt::Display) -> String {
        self.written.places.beside(key, error)
    }
}

/// What was found in the files that hold state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setup {
    /// The tags to start with.
    pub tags: BTreeMap<String, String>,
    /// The keys to start with, the primary one first. Without any, there is no encryption.
    pub keys: Vec<Key>,
}

/// Why the files that hold state cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Tags are in the file or in the configuration, not in both.
    #[error("{SETUP}Tags config not allowed while using tag files")]
    TagsAndTagsFile,
    /// The tags file.
    #[error("{SETUP}{0}")]
    TagsFile(#[from] TagsFileError),
    /// Keys are in the file or in the configuration, not in both.
    #[error("{SETUP}Encryption key not allowed while using a keyring")]
    KeyAndKeyring,
    /// The keyring file.
    #[error("{SETUP}{0}")]
    KeyringFile(#[from] KeyringFileError),
}

impl SetupError {
    /// The key that it is about.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::TagsAndTagsFile | Self::TagsFile(_) => "tags_file",
            Self::KeyAndKeyring | Self::KeyringFile(_) => "keyring_file",
        }
    }
}

/// Reads the files that hold state, and says so in the log. A missing keyring is made if so configured.
pub fn setup(config: &Config) -> Result<Setup, SetupError> {
    let mut setup =
        Setup { tags: config.tags.clone(), keys: config.encrypt_key.clone().into_iter().collect() };
    if let Some(path) = &config.tags_file {
        if !config.tags.is_empty() {
            return Err(SetupError::TagsAndTagsFile);
        }
        if let Some(tags) = tags::load(path)? {
            log::info!(target: "agent", "Restored {} tag(s) from {}", tags.len(), path.display());
            setup.tags = tags;
        }
    }
    if let Some(path) = &config.keyring_file {
        match &config.encrypt_key {
            Some(_) if !config.keyring_create => return Err(SetupError::KeyAndKeyring),
            Some(key) if keys::is_missing(path) => {
                keys::create_keyring(path, key)?;
                log::info!(target: "agent", "Created keyring with the configured key in {}", path.display());
            }
            _ => {
                setup.keys = keys::load_keyring(path)?;
                let (count, path) = (setup.keys.len(), path.display());
                log::info!(target: "agent", "Restored keyring with {count} keys from {path}");
            }
        }
    }
    Ok(setup)
}

/// What goes beyond the limits of the protocol.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// User events could become too large for gossip.
    #[error("{START}user event size limit exceeds limit of {USER_EVENT_SIZE_MAX} bytes")]
    UserEventSize,
    /// The protocol version is not spoken any more, or not yet.
    #[error(
        "{START}Protocol version '{version}' too {}. Must be in range: \
         [{PROTOCOL_MIN}, {PROTOCOL_MAX}]", if *.version < PROTOCOL_MIN { "low" } else { "high" }
    )]
    Protocol {
        /// The version asked for.
        version: u64,
    },
    /// The tags do not fit into the announcement of the node.
    #[error("{START}Encoded length of tags exceeds limit of {TAGS_SIZE_MAX} bytes")]
    TagsSize,
    /// `validate_node_names` is on, and the name has other characters than letters, digits, dots and dashes.
    #[error(
        "{START}Node name '{0}' contains invalid characters, other than letters, digits, dots and dashes"
    )]
    NodeNameCharacters(String),
    /// `validate_node_names` is on, and the name is too long.
    #[error("{START}Node name of {0} bytes. Valid length is 1 to {NODE_NAME_MAX}")]
    NodeNameLength(usize),
    /// There is no cipher for a key of this length.
    #[error("{START}Failed to create memberlist: {0}")]
    KeySize(#[from] keys::KeySizeError),
}

impl LimitError {
    /// The key that it is about.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::UserEventSize => "user_event_size_limit",
            Self::Protocol { .. } => "protocol",
            Self::TagsSize => "tags",
            Self::NodeNameCharacters(_) | Self::NodeNameLength(_) => "node_name",
            // Those of a file have been looked at when it was read.
            Self::KeySize(_) => "encrypt_key",
        }
    }
}

/// Checks a configuration against the limits of the protocol.
pub fn check(config: &Config, setup: &Setup) -> Result<(), LimitError> {
    let limits = Limits {
        user_event_size_limit: config.user_event_size_limit,
        protocol: config.protocol,
        validate_node_names: config.validate_node_names,
        node_name: config.node_name.clone(),
        tags: setup.tags.clone(),
        keys: setup.keys.clone(),
    };
    limits.broken().into_iter().next().map_or(Ok(()), Err)
}

/// What the protocol has limits for.
struct Limits {
    user_event_size_limit: usize,
    protocol: u64,
    validate_node_names: bool,
    node_name: String,
    tags: BTreeMap<String, String>,
    keys: Vec<Key>,
}

impl Limits {
    /// Of what is in files and flags. The default name, and what is in files of tags and keys, is yet to be added.
    fn of(settings: &Settings) -> Self {
        let role = settings.role.iter().map(|role| ("role".to_owned(), role.clone()));
        Self {
            user_event_size_limit: size(settings.user_event_size_limit, DEFAULT_USER_EVENT_SIZE_LIMIT),
            protocol: settings.protocol.map_or(PROTOCOL_MAX, |n| n.try_into().unwrap_or(PROTOCOL_MAX)),
            validate_node_names: settings.validate_node_names.unwrap_or(false),
            node_name: settings.node_name.clone().unwrap_or_default(),
            tags: settings.tags.clone().into_iter().chain(role).collect(),
            keys: Vec::new(),
        }
    }

    /// What goes beyond them, in the order in which it has always been told.
    fn broken(&self) -> Vec<LimitError> {
        let mut broken = Vec::new();
        if self.user_event_size_limit > USER_EVENT_SIZE_MAX {
            broken.push(LimitError::UserEventSize);
        }
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&self.protocol) {
            broken.push(LimitError::Protocol { version: self.protocol });
        }
        if self.validate_node_names {
            let name = &self.node_name;
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')) {
                broken.push(LimitError::NodeNameCharacters(name.clone()));
            } else if name.len() > NODE_NAME_MAX {
                broken.push(LimitError::NodeNameLength(name.len()));
            }
        }
        if tags::encoded_len(&self.tags) > TAGS_SIZE_MAX {
            broken.push(LimitError::TagsSize);
        }
        if let Some(error) = self.keys.iter().find_map(|key| key.check().err()) {
            broken.push(error.into());
        }
        broken
    }
}
