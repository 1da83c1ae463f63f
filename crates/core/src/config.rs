//! Every knob of the Serf layer, with the reference's defaults (spec `serf.md` §12.1).

use core::time::Duration;

use crate::names::NameError;
use crate::policy::Policies;
use crate::snapshot::Snapshot;
use crate::tags::{self, Tags, TagsTooLong};
use crate::user_event::USER_EVENT_MAX;

/// The oldest Serf protocol version spoken: a role instead of tags.
pub const PROTOCOL_VERSION_MIN: u8 = 2;
/// The newest Serf protocol version spoken.
pub const PROTOCOL_VERSION_MAX: u8 = 5;

/// The settings of a [`crate::Node`]. Start from those of the gossip layer and change what must differ:
///
/// ```
/// use serf_core::Config;
/// let gossip = serf_gossip::Config::lan("web-1".into(), serf_gossip::Address::new(&[10, 0, 0, 1], 7946));
/// let mut config = Config::new(gossip);
/// config.tags.insert("role".into(), "web".into());
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// The gossip layer's settings: the node's name and address among them. Its `meta`, `protocol_version` and
    /// `delegate_versions` are overwritten with what this layer announces.
    pub gossip: serf_gossip::Config,
    /// What the node tells of itself; see [`crate::META_MAX`] for how much.
    pub tags: Tags,
    /// The Serf protocol version spoken, [`PROTOCOL_VERSION_MIN`] to [`PROTOCOL_VERSION_MAX`].
    pub protocol_version: u8,
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
    /// Broadcasts kept in one queue; see [`Config::min_queue_depth`].
    pub max_queue_depth: usize,
    /// If not zero, twice as many broadcasts as there are members are kept in one queue, but at least this many,
    /// and [`Config::max_queue_depth`] means nothing.
    pub min_queue_depth: usize,
    /// How long an intent about an unknown member is remembered.
    pub recent_intent_timeout: Duration,
    /// Lamport times for which user events are remembered. Everybody's should be the same.
    pub event_buffer: usize,
    /// Lamport times for which queries are remembered. Everybody's should be the same.
    pub query_buffer: usize,
    /// How long at most member events are held back, to be told together; see [`Config::quiescent_period`].
    pub coalesce_period: Duration,
    /// Member events that are held back are told when none has come for this long. Zero, or a zero
    /// [`Config::coalesce_period`], tells each at once.
    pub quiescent_period: Duration,
    /// [`Config::coalesce_period`] of user events that allow it. Of those with one name, only the latest are told.
    pub user_coalesce_period: Duration,
    /// [`Config::quiescent_period`] of user events that allow it.
    pub user_quiescent_period: Duration,
    /// The most bytes that a user event of ours may have: name and payload together, and again when encoded. At most
    /// [`USER_EVENT_MAX`]; what is more than about 1.3 kB fits no datagram, and spreads by full states only.
    pub user_event_size_limit: usize,
    /// How many rounds of gossip a query waits for answers, times the decimal digits of the number of members.
    pub query_timeout_mult: u32,
    /// The most bytes that a query of ours may have, encoded. What is more than about 1.3 kB fits no datagram of gossip,
    /// and is refused in any case.
    pub query_size_limit: usize,
    /// The most bytes that a response of ours may have, encoded; and the same when it is wrapped to be relayed.
    pub query_response_size_limit: usize,
    /// Whether the owner keeps the keys for the next start. Then it is told of each change that somebody in the cluster
    /// makes, and the change is answered when they are kept; see [`crate::Event::KeysChanged`].
    pub keep_keys: bool,
    /// Whether the others are asked to whom our name belongs when another node claims it too. Whoever is in the minority
    /// shuts down.
    pub enable_name_conflict_resolution: bool,
    /// Whether names, others' as well as our own, must be 1 to 128 letters, digits, dashes and dots. Members with
    /// other names are then invisible to us. (The reference looks at the names of others only if a merge policy
    /// is set: B21. Stricter still is `gossip.hardening.strict_members`.)
    pub validate_node_names: bool,
    /// Whether to do without network coordinates: then none is sent, and those of others are not looked at.
    pub disable_coordinates: bool,
    /// What the snapshot file says that the node goes on from, and is to be kept. The clocks go on; members in it are
    /// tried until one is reached, or for [`Config::reconnect_timeout`]. None for no such file. The node takes it out
    /// of its [`crate::Node::config`].
    pub snapshot: Option<Snapshot>,
    /// Decisions left to the program.
    pub policies: Policies,
}

impl Config {
    /// The reference's defaults over these settings of the gossip layer.
    #[must_use]
    pub fn new(gossip: serf_gossip::Config) -> Self {
        Self {
            gossip,
            tags: Tags::new(),
            protocol_version: 4,
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(1),
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            reconnect_timeout: Duration::from_secs(24 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            flap_timeout: Duration::from_secs(60),
            queue_check_interval: Duration::from_secs(30),
            queue_depth_warning: 128,
            max_queue_depth: 4096,
            min_queue_depth: 0,
            recent_intent_timeout: Duration::from_secs(5 * 60),
            event_buffer: 512,
            query_buffer: 512,
            coalesce_period: Duration::ZERO,
            quiescent_period: Duration::ZERO,
            user_coalesce_period: Duration::ZERO,
            user_quiescent_period: Duration::ZERO,
            user_event_size_limit: 512,
            query_timeout_mult: 16,
            query_size_limit: 1024,
            query_response_size_limit: 1024,
            keep_keys: false,
            enable_name_conflict_resolution: true,
            validate_node_names: false,
            disable_coordinates: false,
            snapshot: None,
            policies: Policies::default(),
        }
    }

    /// Whether these settings can work, in the order in which the reference looks (spec §12.2). The gossip layer
    /// checks its own later.
    ///
    /// # Errors
    /// The first setting that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION_MAX).contains(&self.protocol_version) {
            return Err(ConfigError::ProtocolVersion(self.protocol_version));
        }
        if self.user_event_size_limit > USER_EVENT_MAX {
            return Err(ConfigError::UserEventSizeLimit(self.user_event_size_limit));
        }
        tags::encode(self.protocol_version, &self.tags)?;
        if self.validate_node_names {
            crate::names::validate(self.gossip.name.as_bytes())?;
        }
        // A ring without slots has no place for any time (B30).
        for (field, slots) in [("event_buffer", self.event_buffer), ("query_buffer", self.query_buffer)] {
            if slots == 0 {
                return Err(ConfigError::Zero(field));
            }
        }
        if self.disable_coordinates && self.policies.ping.is_some() {
            return Err(ConfigError::PingPolicy);
        }
        // These would make a machine that is due at every moment.
        for (field, interval) in [
            ("reap_interval", self.reap_interval),
            ("reconnect_interval", self.reconnect_interval),
            ("queue_check_interval", self.queue_check_interval),
        ] {
            if interval.is_zero() {
                return Err(ConfigError::Zero(field));
            }
        }
        Ok(())
    }
}

/// What is wrong with a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The Serf protocol version is not spoken.
    #[error("Serf protocol version {0} is not in the range [2, 5]")]
    ProtocolVersion(u8),
    /// [`Config::user_event_size_limit`] is this, and must not be.
    #[error("user event size limit exceeds limit of {USER_EVENT_MAX} bytes")]
    UserEventSizeLimit(usize),
    /// The tags are too long.
    #[error(transparent)]
    Tags(#[from] TagsTooLong),
    /// The node's name is not a valid one, and [`Config::validate_node_names`] asks for that.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The field must not be zero.
    #[error("{0} must not be 0")]
    Zero(&'static str),
    /// There is nothing behind which a [`crate::PingPolicy`]'s payload could travel.
    #[error("a ping policy needs coordinates: enable them, or do without the policy")]
    PingPolicy,
    /// Something in the gossip layer's settings.
    #[error(transparent)]
    Gossip(#[from] serf_gossip::ConfigError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use serf_gossip::Address;

    fn config(name: &str) -> Config {
        Config::new(serf_gossip::Config::lan(name.into(), Address::new(&[10, 0, 0, 1], 7946)))
    }

    #[test]
    fn protocol_versions_2_to_5_are_spoken_and_4_is_the_default() {
        assert_eq!(config("a").protocol_version, 4);
        for (version, fits) in [(1, false), (2, true), (3, true), (4, true), (5, true), (6, false)] {
            let got = Config { protocol_version: version, ..config("a") }.check();
            assert_eq!(got, if fits { Ok(()) } else { Err(ConfigError::ProtocolVersion(version)) });
        }
    }

    #[test]
    fn the_first_thing_wrong_is_told() {
        let mut wrong = config("!bad");
        wrong.validate_node_names = true;
        wrong.event_buffer = 0;
        wrong.reap_interval = Duration::ZERO;
        wrong.tags.insert("k".into(), "v".repeat(512));
        wrong.user_event_size_limit = 9217;
        let why = wrong.check().unwrap_err();
        assert_eq!(why, ConfigError::UserEventSizeLimit(9217));
        assert_eq!(why.to_string(), "user event size limit exceeds limit of 9216 bytes");
        wrong.user_event_size_limit = 9216;
        assert_eq!(wrong.check(), Err(ConfigError::Tags(TagsTooLong)));
        wrong.tags.clear();
        assert_eq!(wrong.check(), Err(ConfigError::Name(NameError::Characters)));
        wrong.validate_node_names = false;
        assert_eq!(wrong.check(), Err(ConfigError::Zero("event_buffer")));
        wrong.event_buffer = 1;
        assert_eq!(wrong.check(), Err(ConfigError::Zero("reap_interval")));
        wrong.reap_interval = Duration::from_nanos(1);
        assert_eq!(wrong.check(), Ok(()));
    }

    #[test]
    fn what_is_wrong_in_the_gossip_layer_is_told_too() {
        let mut wrong = config("a");
        wrong.gossip.packet_size = 1;
        let got = crate::Node::new(wrong, [0; 32], serf_gossip::Instant::ZERO).map(|_| ());
        assert_eq!(got, Err(ConfigError::Gossip(serf_gossip::ConfigError::PacketSize(1))));
    }
}
