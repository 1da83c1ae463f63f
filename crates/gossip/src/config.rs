//! Every knob of the gossip layer, with the reference's three profiles (spec `gossip.md` §8), and one more.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use serf_wire::checksum::Checksum;
use serf_wire::codecs::Codecs;
use serf_wire::compress::Algorithm;
use serf_wire::encrypt::Key;

use crate::hardening::CLAIM_MAX;
use crate::{Address, Name};

/// The largest meta data a node may announce, in bytes.
pub const META_MAX: usize = 512;
/// The largest label, in bytes.
pub const LABEL_MAX: usize = 255;
/// The gossip protocol versions spoken.
pub const PROTOCOL_MIN: u8 = 1;
/// See [`PROTOCOL_MIN`].
pub const PROTOCOL_MAX: u8 = 5;

/// The settings of a gossip machine. Start from a profile and change what must differ:
///
/// ```
/// use serf_gossip::{Address, Config};
/// let mut config = Config::lan("web-1".into(), Address::new(&[10, 0, 0, 1], 7946));
/// config.probe_interval = core::time::Duration::from_millis(500);
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Unique in the cluster. May be any bytes; peers compare them as they are.
    pub name: Name,
    /// Where others reach this node, told to everybody and sent in pings. Keep its byte form across restarts:
    /// to a peer the 4-byte and the 16-byte form of one IPv4 address are different addresses.
    pub advertise: Address,
    /// Stands in for a port of 0 in what peers tell, and in join addresses without one.
    pub bind_port: u16,
    /// Told to everybody with our name and address; at most [`META_MAX`] bytes.
    pub meta: Vec<u8>,
    /// The gossip protocol version spoken, 1 to 5. Serf speaks 2.
    pub protocol_version: u8,
    /// Versions of the layer above: least, most, current.
    pub delegate_versions: [u8; 3],
    /// Prefix of every packet and stream, authenticated when encrypting; at most [`LABEL_MAX`] bytes.
    /// Empty for none. Nodes with different labels ignore each other.
    pub label: Vec<u8>,
    /// An outer layer has stripped and checked the label already.
    pub skip_inbound_label_check: bool,

    /// Longest time for a stream's whole life, and for each half of a push/pull.
    pub stream_timeout: Duration,
    /// Members asked to probe a silent one in our place.
    pub indirect_checks: usize,
    /// Each broadcast is sent this many times ⌈log₁₀(n + 1)⌉.
    pub retransmit_mult: u32,
    /// Shortest suspicion is this times max(1, log₁₀ n) times [`Config::probe_interval`].
    pub suspicion_mult: u32,
    /// Longest suspicion is this times the shortest.
    pub suspicion_max_timeout_mult: u32,
    /// Base time between full state exchanges with a random member; grows with the cluster. Zero for never.
    pub push_pull_interval: Duration,
    /// How long to wait for a direct ack before others are asked.
    pub probe_timeout: Duration,
    /// Time between probes, and the time one probe may take. Zero for never probing.
    pub probe_interval: Duration,
    /// Whether the ping of a suspected member tells it so (Lifeguard's buddy system), that it may refute at once.
    pub buddy: bool,
    /// Whether a silent member is not tried over a stream as well.
    pub disable_stream_pings: bool,
    /// Members never tried over a stream.
    pub stream_ping_exempt: Vec<Name>,
    /// The health score stays below this; a probe takes up to this times as long.
    pub awareness_max_multiplier: u32,
    /// Time between gossip rounds while there is news. Zero for never.
    pub gossip_interval: Duration,
    /// Members that each round goes to.
    pub gossip_nodes: usize,
    /// How long the dead still get gossip (so that they can refute) and are remembered.
    pub gossip_to_the_dead: Duration,
    /// Whether packets and streams that no key opens are refused while there are keys.
    pub verify_incoming: bool,
    /// Whether we encrypt while there are keys.
    pub verify_outgoing: bool,
    /// Whether packets are compressed where that makes them smaller, and streams always.
    pub compression: bool,
    /// Compression beyond the reference's, the best first: towards each member the first that it has, too. Empty, as in
    /// all profiles: nothing but LZW is used, and nobody is told of anything. Of these only what the build has
    /// ([`Algorithm::is_built`]); `docs/codecs.md` tells how members find out.
    pub algorithms: Vec<Algorithm>,
    /// The same of the checksums of datagrams, where the reference sends CRC-32.
    pub checksums: Vec<Checksum>,
    /// Encryption keys, the first being the one we encrypt with. None for no encryption.
    pub keys: Vec<Key>,
    /// Largest datagram that gossip fills, in bytes.
    pub packet_size: usize,
    /// A dead node's name may be taken over from another address after this long. Zero for never.
    pub dead_node_reclaim: Duration,
    /// Whether sending to a node of unknown name is refused.
    pub require_node_names: bool,
    /// Networks that members may live in. None, or an empty list, for everywhere.
    pub allowed_networks: Option<Vec<Network>>,
    /// What is stricter than the reference, or can be made so.
    pub hardening: Hardening,
    /// A mistake to be found.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

/// Mistakes that the simulator is to find.
#[cfg(feature = "planted")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Claims are believed if they are older than what is known.
    IncarnationsTurnedRound,
    /// Accusations against us are taken note of, and not answered.
    RefutationsDropped,
    /// Messages are gossiped for ever.
    RetransmittedForEver,
}

/// Limits and switches beyond the reference. The defaults never hurt an honest peer; `docs/security.md` has the list.
#[derive(Debug, Clone)]
pub struct Hardening {
    /// Accept the old encryption version 0, which no Serf sends. Off.
    pub accept_encryption_v0: bool,
    /// Remember this many recent nonces and drop packets that repeat one. 0, off: costs a table lookup a packet.
    pub replay_window: usize,
    /// Answer pings only to the packet's source or to a known member. Off: peers behind odd routing rely on it;
    /// answers to others are rate-limited in any case.
    pub strict_ping_source: bool,
    /// Relay indirect pings, and answers to queries of the layer above, only to known members. Off; relays for others
    /// are rate-limited in any case.
    pub strict_relay_target: bool,
    /// Let answers to strangers carry broadcasts. Off.
    pub piggyback_to_strangers: bool,
    /// Refuse members with an empty or overlong (> 128 bytes) name, meta above [`META_MAX`], or a host that is
    /// not 4 or 16 bytes. Off: the reference lists them.
    pub strict_members: bool,
    /// Apply [`Config::allowed_networks`] to every packet and stream, not only to claims of being alive. Off.
    pub strict_networks: bool,
    /// Tell a peer on a stream why we cannot read it, as the reference does. On.
    pub stream_error_replies: bool,
    /// Accept plaintext (with [`Config::verify_incoming`] off) for this long only. None for ever.
    pub plaintext_for: Option<Duration>,
    /// Most nodes remembered; further ones are refused.
    pub max_members: usize,
    /// Most streams open at once that others began.
    pub max_streams: usize,
    /// The same from one host.
    pub max_streams_per_host: usize,
    /// Most bytes held for all streams together.
    pub max_stream_bytes: usize,
    /// Largest size that a compressed datagram may unpack to.
    pub max_inflated_packet: usize,
    /// Most indirect probes under way for others at once.
    pub max_relays: usize,
}

impl Default for Hardening {
    fn default() -> Self {
        Self {
            accept_encryption_v0: false,
            replay_window: 0,
            strict_ping_source: false,
            strict_relay_target: false,
            piggyback_to_strangers: false,
            strict_members: false,
            strict_networks: false,
            stream_error_replies: true,
            plaintext_for: None,
            // As many as the reference accepts in one push/pull.
            max_members: 1 << 20,
            // Half of the file descriptors a process usually has.
            max_streams: 512,
            max_streams_per_host: 256,
            // Room for a few of the largest states at once.
            max_stream_bytes: 128 << 20,
            // A datagram is 64 KiB at most, so even this is far beyond what an honest one holds.
            max_inflated_packet: 1 << 20,
            max_relays: 1024,
        }
    }
}

impl Config {
    /// For nodes in one network: seconds to detect a failure, gossip five times a second.
    #[must_use]
    pub fn lan(name: Name, advertise: Address) -> Self {
        Self {
            name,
            bind_port: advertise.port,
            advertise,
            meta: Vec::new(),
            protocol_version: 2,
            delegate_versions: [0, 0, 0],
            label: Vec::new(),
            skip_inbound_label_check: false,
            stream_timeout: Duration::from_secs(10),
            indirect_checks: 3,
            retransmit_mult: 4,
            suspicion_mult: 4,
            suspicion_max_timeout_mult: 6,
            push_pull_interval: Duration::from_secs(30),
            probe_timeout: Duration::from_millis(500),
            probe_interval: Duration::from_secs(1),
            buddy: true,
            disable_stream_pings: false,
            stream_ping_exempt: Vec::new(),
            awareness_max_multiplier: 8,
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_the_dead: Duration::from_secs(30),
            verify_incoming: true,
            verify_outgoing: true,
            compression: true,
            algorithms: Vec::new(),
            checksums: Vec::new(),
            keys: Vec::new(),
            packet_size: 1400,
            dead_node_reclaim: Duration::ZERO,
            require_node_names: false,
            allowed_networks: None,
            hardening: Hardening::default(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// For nodes far apart: slower, more patient.
    #[must_use]
    pub fn wan(name: Name, advertise: Address) -> Self {
        Self {
            stream_timeout: Duration::from_secs(30),
            suspicion_mult: 6,
            push_pull_interval: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(3),
            probe_interval: Duration::from_secs(5),
            gossip_interval: Duration::from_millis(500),
            gossip_nodes: 4,
            gossip_to_the_dead: Duration::from_secs(60),
            ..Self::lan(name, advertise)
        }
    }

    /// For nodes on one machine: quick.
    #[must_use]
    pub fn local(name: Name, advertise: Address) -> Self {
        Self {
            stream_timeout: Duration::from_secs(1),
            indirect_checks: 1,
            retransmit_mult: 2,
            suspicion_mult: 3,
            push_pull_interval: Duration::from_secs(15),
            probe_timeout: Duration::from_millis(200),
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead: Duration::from_secs(15),
            ..Self::lan(name, advertise)
        }
    }

    /// For nodes in one rack, of which a failure is to be noticed within a second: ten probes a second, and no patience
    /// with a node that is away for as long. `docs/experiments.md` has what that costs.
    #[must_use]
    pub fn fast(name: Name, advertise: Address) -> Self {
        Self {
            stream_timeout: Duration::from_secs(2),
            push_pull_interval: Duration::from_secs(15),
            // So short that a nack, which comes after twice this time, is there before the probe ends.
            probe_timeout: Duration::from_millis(40),
            probe_interval: Duration::from_millis(100),
            suspicion_mult: 3,
            gossip_interval: Duration::from_millis(50),
            gossip_to_the_dead: Duration::from_secs(15),
            ..Self::lan(name, advertise)
        }
    }

    /// The six version bytes we announce.
    #[must_use]
    pub fn versions(&self) -> [u8; 6] {
        let [min, max, current] = self.delegate_versions;
        [PROTOCOL_MIN, PROTOCOL_MAX, self.protocol_version, min, max, current]
    }

    /// What we tell peers that we have beyond the reference.
    #[must_use]
    pub fn codecs(&self) -> Codecs {
        let algorithms: &[Algorithm] = if self.compression { &self.algorithms } else { &[] };
        Codecs::of(algorithms, &self.checksums)
    }

    /// Whether a node may live at this host.
    pub(crate) fn allows(&self, host: Option<IpAddr>) -> bool {
        match self.allowed_networks.as_deref() {
            None | Some([]) => true,
            Some(networks) => host.is_some_and(|ip| networks.iter().any(|n| n.contains(ip))),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&self.protocol_version) {
            return Err(ConfigError::ProtocolVersion(self.protocol_version));
        }
        if self.label.len() > LABEL_MAX {
            return Err(ConfigError::LabelTooLong(self.label.len()));
        }
        if self.meta.len() > META_MAX {
            return Err(ConfigError::MetaTooLong(self.meta.len()));
        }
        if self.name.as_bytes().len() > CLAIM_MAX {
            return Err(ConfigError::NameTooLong(self.name.as_bytes().len()));
        }
        if self.packet_size < 128 || self.packet_size > 65_507 {
            return Err(ConfigError::PacketSize(self.packet_size));
        }
        if self.awareness_max_multiplier == 0 {
            return Err(ConfigError::Zero("awareness_max_multiplier"));
        }
        if let Some(&it) = self.algorithms.iter().find(|a| !a.is_built()) {
            return Err(ConfigError::AlgorithmNotBuilt(it));
        }
        if let Some(&it) = self.checksums.iter().find(|c| !c.is_built()) {
            return Err(ConfigError::ChecksumNotBuilt(it));
        }
        Ok(())
    }
}

/// What is wrong with a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The gossip protocol version is not spoken.
    #[error("gossip protocol version {0} is not in the range [1, 5]")]
    ProtocolVersion(u8),
    /// The label is too long.
    #[error("the label is {0} bytes long; the limit is 255")]
    LabelTooLong(usize),
    /// The meta data is too long.
    #[error("the meta data is {0} bytes long; the limit is 512")]
    MetaTooLong(usize),
    /// No datagram would hold the name beside what it is part of.
    #[error("the name is {0} bytes long; the limit is 16384")]
    NameTooLong(usize),
    /// Datagrams of that size cannot be.
    #[error("a packet size of {0} bytes is not in the range [128, 65507]")]
    PacketSize(usize),
    /// This build does not have the compression.
    #[error("compression {0} is not in this build, which lacks the feature '{feature}'", feature = .0.feature().unwrap_or_default())]
    AlgorithmNotBuilt(Algorithm),
    /// This build does not have the checksum.
    #[error("checksum {0} is not in this build, which lacks the feature '{feature}'", feature = .0.feature().unwrap_or_default())]
    ChecksumNotBuilt(Checksum),
    /// The field must not be zero.
    #[error("{0} must not be 0")]
    Zero(&'static str),
}

/// A network in CIDR notation: `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address is in the network. IPv4 in its mapped form counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (u32::from(base) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (u128::from(base) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// The text is no network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid network {0:?}: expected an address and a prefix length, such as 10.0.0.0/8")]
pub struct NetworkError(pub String);

impl core::str::FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.into());
        let (base, bits) = text.trim().split_once('/').ok_or_else(error)?;
        let base: IpAddr = base.parse().map_err(|_| error())?;
        let bits: u8 = bits.parse().map_err(|_| error())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        if bits > most { Err(error()) } else { Ok(Self { base, bits }) }
    }
}

impl Default for Network {
    /// All of IPv4.
    fn default() -> Self {
        Self { base: IpAddr::V4(Ipv4Addr::UNSPECIFIED), bits: 0 }
    }
}
