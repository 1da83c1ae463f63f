//! Plain counters. They only grow; whoever wants rates, or the mean of what was counted together, takes differences.

use core::time::Duration;

/// What the machine has done, and what it has refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of datagrams sent.
    pub udp_sent: u64,
    /// Datagrams and full states sent with compression or a checksum beyond the reference's.
    pub special_sent: u64,
    /// Bytes of datagrams received.
    pub udp_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams received.
    pub packets_received: u64,
    /// Streams accepted.
    pub streams_accepted: u64,
    /// Streams dialled for push/pulls.
    pub streams_dialled: u64,
    /// Bytes written to streams.
    pub stream_sent: u64,
    /// Claims of being alive that were believed.
    pub alive: u64,
    /// Suspicions that were believed.
    pub suspect: u64,
    /// Deaths and goodbyes that were believed.
    pub dead: u64,
    /// Probes begun with a stretched interval.
    pub degraded_probes: u64,
    /// Suspicions that ended with fewer confirmations than wanted.
    pub degraded_timeouts: u64,
    /// Probes that came to an end, however they ended.
    pub probes: u64,
    /// How long they took, all together.
    pub probe_time: Duration,
    /// Probes that found no answer.
    pub failed_probes: u64,
    /// Accusations against us that we answered.
    pub refuted: u64,
    /// Datagrams refused whole: garbage, wrong key, wrong label, bad checksum.
    pub bad_packets: u64,
    /// Messages within datagrams refused.
    pub bad_messages: u64,
    /// Streams refused or broken off for what was said on them.
    pub bad_streams: u64,
    /// Streams refused because too many were open, or held too much.
    pub shed_streams: u64,
    /// Streams that took too long.
    pub slow_streams: u64,
    /// Claims refused by a policy, a limit or the allow list.
    pub refused_claims: u64,
    /// Claims for a known name from another address.
    pub conflicts: u64,
    /// Datagrams refused because their nonce had been seen.
    pub replayed: u64,
    /// Pings and relays for strangers not answered because there were too many.
    pub shed_answers: u64,
    /// Packets accepted in plaintext although there are keys.
    pub plaintext: u64,
    /// Push/pulls completed.
    pub push_pulls: u64,
    /// Push/pulls begun here that came to an end, however they ended.
    pub push_pulls_asked: u64,
    /// How long they took, all together.
    pub push_pull_time: Duration,
    /// Full states sent.
    pub states_sent: u64,
    /// Bytes of them, before compression and encryption.
    pub state_bytes_sent: u64,
    /// Full states received.
    pub states_received: u64,
    /// Bytes of them, as they came.
    pub state_bytes_received: u64,
    /// Messages not sent, or news not queued, because no datagram would hold them.
    pub oversized: u64,
    /// Log lines suppressed.
    pub notices_suppressed: u64,
}
