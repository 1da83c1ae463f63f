//! The settings of a node: what this layer decides, and, passed on in one place each, what the machines do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serf_core::{Policies, Tags};
use serf_gossip::{Address, Instant, Name};
use serf_wire::encrypt::Key;

use crate::error::StartError;
use crate::handle::EVENT_QUEUE;
use crate::meter::Meter;
use crate::resolve::{Resolver, SystemResolver};
use crate::runtime::Runtime;
use crate::transport::{Plain, Transport, advertise};

/// The port of gossip, unless another is given.
pub const DEFAULT_PORT: u16 = 7946;

/// The settings of a [`crate::Serf`]. Take a profile and change what must differ:
///
/// ```
/// use serf::{Config, Tags};
/// let mut config = Config {
///     bind: "127.0.0.1:0".parse().unwrap(),
///     tags: Tags::from([("role".into(), "web".into())]),
///     ..Config::lan("web-1")
/// };
/// config.gossip.probe_interval = std::time::Duration::from_millis(500);
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Unique in the cluster.
    pub node_name: Name,
    /// Where to listen for datagrams and streams. Port 0 takes a free one; a wildcard listens on IPv4 and IPv6.
    pub bind: SocketAddr,
    /// The address that others are told. None for the bound one or, if that is a wildcard, the first private address
    /// of this host. Keep it across restarts.
    pub advertise: Option<IpAddr>,
    /// The port that others are told. None for the bound one.
    pub advertise_port: Option<u16>,
    /// What carries gossip; UDP and TCP in the clear, [`Plain`], unless another is given. All nodes of a cluster need the
    /// same.
    pub transport: Arc<dyn Transport>,
    /// What to run on. None for the tokio runtime that the node is started in.
    pub runtime: Option<Arc<dyn Runtime>>,
    /// Whom texts given to a join mean; IP addresses and names that the system knows, [`SystemResolver`], unless another is
    /// given.
    pub resolver: Arc<dyn Resolver>,
    /// What the node tells of itself; 512 bytes when encoded.
    pub tags: Tags,
    /// Encryption keys, the first being the one we encrypt with. None, the default, for no encryption: then anybody
    /// who reaches the port can read and change everything.
    pub keys: Vec<Key>,
    /// Where the keys are kept for the next start: the file is rewritten whenever somebody in the cluster changes our
    /// keys. It is not read; the keys to begin with are [`Config::keys`].
    pub keyring_file: Option<PathBuf>,
    /// Where members and clocks are kept for the next start: see [`crate::Serf::start`]. Made if it is not there; its
    /// directory must be. No other node may have the same.
    pub snapshot_path: Option<PathBuf>,
    /// Whether a node that has left goes on from its snapshot all the same, and calls those that are in it.
    pub rejoin_after_leave: bool,
    /// Nodes with different labels ignore each other. Up to 255 bytes; empty for none.
    pub label: Vec<u8>,
    /// The Serf protocol version spoken, 2 to 5.
    pub protocol_version: u8,
    /// Events kept for each subscriber that does not take them; further ones are thrown away and counted.
    pub event_queue: usize,
    /// How long a leave, a forced leave or a change of tags waits until it has been gossiped.
    pub broadcast_timeout: Duration,
    /// Pause at the end of a leave, in which others still get answers while the news spreads.
    pub leave_propagate_delay: Duration,
    /// Time between looks at which members are gone long enough to be forgotten.
    pub reap_interval: Duration,
    /// Time between attempts to reach failed members again.
    pub reconnect_interval: Duration,
    /// How long failed members are kept, and tried again.
    pub reconnect_timeout: Duration,
    /// How long members that left are kept.
    pub tombstone_timeout: Duration,
    /// A failed member back within this time counts as flapping. Only counted.
    pub flap_timeout: Duration,
    /// Time between looks at the lengths of the broadcast queues.
    pub queue_check_interval: Duration,
    /// Broadcasts in one queue that are worth a warning.
    pub queue_depth_warning: usize,
    /// Broadcasts kept in one queue.
    pub max_queue_depth: usize,
    /// If not zero, twice as many broadcasts as there are members are kept in one queue, but at least this many, and
    /// [`Config::max_queue_depth`] means nothing.
    pub min_queue_depth: usize,
    /// How long an intent about an unknown member is remembered.
    pub recent_intent_timeout: Duration,
    /// Lamport times for which user events are remembered. Everybody's should be the same.
    pub event_buffer: usize,
    /// Lamport times for which queries are remembered. Everybody's should be the same.
    pub query_buffer: usize,
    /// How long at most member events are held back, to be told together; see [`Config::quiescent_period`].
    pub coalesce_period: Duration,
    /// Member events that are held back are told when none has come for this long. Zero, the default, or a zero
    /// [`Config::coalesce_period`], tells each at once.
    pub quiescent_period: Duration,
    /// [`Config::coalesce_period`] of user events that allow it. Of those with one name, only the latest are told.
    pub user_coalesce_period: Duration,
    /// [`Config::quiescent_period`] of user events that allow it.
    pub user_quiescent_period: Duration,
    /// The most bytes that a user event of ours may have: name and payload together, and again when encoded. At most
    /// 9216; what is more than about 1.3 kB fits no datagram, and reaches others only when full states are exchanged.
    pub user_event_size_limit: usize,
    /// How many rounds of gossip a query waits for answers, times the decimal digits of the number of members.
    pub query_timeout_mult: u32,
    /// The most bytes that a query of ours may have, encoded. What is more than about 1.3 kB fits no datagram of gossip,
    /// and is refused in any case.
    pub query_size_limit: usize,
    /// The most bytes that a response of ours may have, encoded; and the same when it is wrapped to be relayed.
    pub query_response_size_limit: usize,
    /// Whether the others are asked to whom our name belongs when another node claims it too. Whoever is in the minority
    /// shuts down, with an [`crate::Event::NameLost`].
    pub enable_name_conflict_resolution: bool,
    /// Whether names must be 1 to 128 letters, digits, dashes and dots.
    pub validate_node_names: bool,
    /// Whether to do without network coordinates: then round trips cannot be estimated, neither here nor, to this
    /// node, elsewhere.
    pub disable_coordinates: bool,
    /// Decisions left to the program.
    pub policies: Policies,
    /// Who is shown what the node has done, after each of its turns. None: nobody, which costs nothing.
    pub meter: Option<Meter>,
    /// Everything else: failure detection, gossip, limits. Its `name`, `advertise`, `bind_port`, `meta`, `label`,
    /// `keys` and versions are overwritten with what is said above.
    pub gossip: serf_gossip::Config,
}

impl Config {
    /// For nodes in one network: seconds to detect a failure, gossip five times a second.
    #[must_use]
    pub fn lan(node_name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::lan(node_name.into(), placeholder()))
    }

    /// For nodes far apart: slower, more patient.
    #[must_use]
    pub fn wan(node_name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::wan(node_name.into(), placeholder()))
    }

    /// For nodes on one machine: quick.
    #[must_use]
    pub fn local(node_name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::local(node_name.into(), placeholder()))
    }

    /// For nodes in one rack: a failure is noticed within a second, at ten times the traffic of [`Self::lan`] at rest. So is
    /// a node that is only away for as long. All members of a cluster should have it: whoever has the shortest times
    /// decides for the others.
    #[must_use]
    pub fn fast(node_name: impl Into<Name>) -> Self {
        let config = Self::over(serf_gossip::Config::fast(node_name.into(), placeholder()));
        // Gossip is four times as quick, but whoever has to answer is not: queries wait as long as ever.
        Self { query_timeout_mult: 4 * config.query_timeout_mult, ..config }
    }

    /// The Serf layer's defaults, which that layer knows.
    fn over(gossip: serf_gossip::Config) -> Self {
        let serf_core::Config {
            gossip,
            tags,
            protocol_version,
            broadcast_timeout,
            leave_propagate_delay,
            reap_interval,
            reconnect_interval,
            reconnect_timeout,
            tombstone_timeout,
            flap_timeout,
            queue_check_interval,
            queue_depth_warning,
            max_queue_depth,
            min_queue_depth,
            recent_intent_timeout,
            event_buffer,
            query_buffer,
            coalesce_period,
            quiescent_period,
            user_coalesce_period,
            user_quiescent_period,
            user_event_size_limit,
            query_timeout_mult,
            query_size_limit,
            query_response_size_limit,
            enable_name_conflict_resolution,
            validate_node_names,
            disable_coordinates,
            policies,
            ..
        } = serf_core::Config::new(gossip);
        Self {
            node_name: gossip.name.clone(),
            bind: DEFAULT_BIND,
            advertise: None,
            advertise_port: None,
            tags,
            keys: Vec::new(),
            keyring_file: None,
            snapshot_path: None,
            rejoin_after_leave: false,
            label: Vec::new(),
            protocol_version,
            transport: Arc::new(Plain),
            resolver: Arc::new(SystemResolver),
            runtime: None,
            event_queue: EVENT_QUEUE,
            broadcast_timeout,
            leave_propagate_delay,
            reap_interval,
            reconnect_interval,
            reconnect_timeout,
            tombstone_timeout,
            flap_timeout,
            queue_check_interval,
            queue_depth_warning,
            max_queue_depth,
            min_queue_depth,
            recent_intent_timeout,
            event_buffer,
            query_buffer,
            coalesce_period,
            quiescent_period,
            user_coalesce_period,
            user_quiescent_period,
            user_event_size_limit,
            query_timeout_mult,
            query_size_limit,
            query_response_size_limit,
            enable_name_conflict_resolution,
            validate_node_names,
            disable_coordinates,
            policies,
            meter: None,
            gossip,
        }
    }

    /// The machine's settings, but for the address, which is known only when the sockets are bound: for those who run it
    /// without sockets, as a simulator does.
    #[must_use]
    pub fn into_core(self) -> serf_core::Config {
        let Self {
            node_name,
            bind: _,
            advertise: _,
            advertise_port: _,
            transport: _,
            resolver: _,
            runtime: _,
            tags,
            keys,
            keyring_file,
            snapshot_path: _,
            rejoin_after_leave: _,
            label,
            protocol_version,
            event_queue: _,
            broadcast_timeout,
            leave_propagate_delay,
            reap_interval,
            reconnect_interval,
            reconnect_timeout,
            tombstone_timeout,
            flap_timeout,
            queue_check_interval,
            queue_depth_warning,
            max_queue_depth,
            min_queue_depth,
            recent_intent_timeout,
            event_buffer,
            query_buffer,
            coalesce_period,
            quiescent_period,
            user_coalesce_period,
            user_quiescent_period,
            user_event_size_limit,
            query_timeout_mult,
            query_size_limit,
            query_response_size_limit,
            enable_name_conflict_resolution,
            validate_node_names,
            disable_coordinates,
            policies,
            meter: _,
            gossip,
        } = self;
        serf_core::Config {
            tags,
            protocol_version,
            broadcast_timeout,
            leave_propagate_delay,
            reap_interval,
            reconnect_interval,
            reconnect_timeout,
            tombstone_timeout,
            flap_timeout,
            queue_check_interval,
            queue_depth_warning,
            max_queue_depth,
            min_queue_depth,
            recent_intent_timeout,
            event_buffer,
            query_buffer,
            coalesce_period,
            quiescent_period,
            user_coalesce_period,
            user_quiescent_period,
            user_event_size_limit,
            query_timeout_mult,
            query_size_limit,
            query_response_size_limit,
            enable_name_conflict_resolution,
            validate_node_names,
            disable_coordinates,
            policies,
            keep_keys: keyring_file.is_some(),
            ..serf_core::Config::new(serf_gossip::Config { name: node_name, keys, label, ..gossip })
        }
    }
}

/// The settings of a [`crate::Membership`]. Take a profile and change what must differ:
///
/// ```
/// use serf::MembershipConfig;
/// let mut config = MembershipConfig {
///     bind: "127.0.0.1:0".parse().unwrap(),
///     ..MembershipConfig::lan("web-1")
/// };
/// config.gossip.meta = b"rack 7".to_vec();
/// ```
#[derive(Debug, Clone)]
pub struct MembershipConfig {
    /// Where to listen for datagrams and streams. Port 0 takes a free one; a wildcard listens on IPv4 and IPv6.
    pub bind: SocketAddr,
    /// The address that others are told. None for the bound one or, if that is a wildcard, the first private address
    /// of this host. Keep it across restarts.
    pub advertise: Option<IpAddr>,
    /// The port that others are told. None for the bound one.
    pub advertise_port: Option<u16>,
    /// What carries gossip; UDP and TCP in the clear, [`Plain`], unless another is given. All nodes of a cluster need the
    /// same.
    pub transport: Arc<dyn Transport>,
    /// What to run on. None for the tokio runtime that the node is started in.
    pub runtime: Option<Arc<dyn Runtime>>,
    /// Whom texts given to a join mean; IP addresses and names that the system knows, [`SystemResolver`], unless another is
    /// given.
    pub resolver: Arc<dyn Resolver>,
    /// Events kept for each subscriber that does not take them; further ones are thrown away and counted.
    pub event_queue: usize,
    /// Everything else: name, meta data, keys, label, failure detection, gossip, limits. Its `advertise` and
    /// `bind_port` are overwritten with what is said above.
    pub gossip: serf_gossip::Config,
}

impl MembershipConfig {
    /// For nodes in one network: seconds to detect a failure, gossip five times a second.
    #[must_use]
    pub fn lan(name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::lan(name.into(), placeholder()))
    }

    /// For nodes far apart: slower, more patient.
    #[must_use]
    pub fn wan(name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::wan(name.into(), placeholder()))
    }

    /// For nodes on one machine: quick.
    #[must_use]
    pub fn local(name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::local(name.into(), placeholder()))
    }

    /// For nodes in one rack: a failure is noticed within a second, at ten times the traffic of [`Self::lan`] at rest. So is
    /// a node that is only away for as long. All members of a cluster should have it: whoever has the shortest times
    /// decides for the others.
    #[must_use]
    pub fn fast(name: impl Into<Name>) -> Self {
        Self::over(serf_gossip::Config::fast(name.into(), placeholder()))
    }

    fn over(gossip: serf_gossip::Config) -> Self {
        Self {
            bind: DEFAULT_BIND,
            advertise: None,
            advertise_port: None,
            transport: Arc::new(Plain),
            resolver: Arc::new(SystemResolver),
            runtime: None,
            event_queue: EVENT_QUEUE,
            gossip,
        }
    }
}

const DEFAULT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT);

/// Stands for the address until the sockets are bound.
fn placeholder() -> Address {
    DEFAULT_BIND.into()
}

/// What a node knows of its place once it has one.
#[derive(Debug)]
pub(crate) struct Place {
    /// The name others know it by.
    pub(crate) name: Name,
    /// Where it listens.
    pub(crate) local: SocketAddr,
    /// What others are told.
    pub(crate) advertise: Address,
}

/// Enters what follows from the bound address into the gossip layer's settings.
pub(crate) fn settle(
    local: SocketAddr,
    ip: Option<IpAddr>,
    port: Option<u16>,
    gossip: &mut serf_gossip::Config,
) -> Result<Place, StartError> {
    let advertise = advertise::choose(ip, port, local, advertise::interfaces)?;
    gossip.advertise = advertise.clone();
    gossip.bind_port = local.port();
    Ok(Place { name: gossip.name.clone(), local, advertise })
}

/// When a machine is made. Its driver's clock begins there too.
pub(crate) const BIRTH: Instant = Instant::ZERO;

/// Fresh randomness for a machine.
pub(crate) fn seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::Randomness(error.to_string()))?;
    Ok(seed)
}
