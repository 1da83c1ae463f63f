//! Plain numbers about a node. Counters only grow; whoever wants rates takes differences.

use core::time::Duration;

/// What the Serf layer has done, and what it has refused.
///
/// Under these names the reference tells the same numbers, and so does the agent:
///
/// | metric | here |
/// |---|---|
/// | `serf.msgs.received` | [`Stats::messages_received`] of [`Stats::bytes_received`] in all |
/// | `serf.msgs.sent` | [`Stats::messages_sent`] of [`Stats::bytes_sent`] in all |
/// | `serf.member.join`, `.flap`, `.left`, `.failed`, `.update` | [`Stats::joins`], [`Stats::flaps`], [`Stats::left`], [`Stats::failed`], [`Stats::updates`] |
/// | `serf.events`, `serf.queries` | [`Stats::events`], [`Stats::queries`]; by name: [`crate::Node::take_event_names`], [`crate::Node::take_query_names`] |
/// | `serf.query_acks`, `serf.query_duplicate_acks` | [`Stats::query_acks`], [`Stats::query_duplicate_acks`] |
/// | `serf.query_responses`, `serf.query_duplicate_responses` | [`Stats::query_responses`], [`Stats::query_duplicate_responses`] |
/// | `serf.queue.Intent`, `.Event`, `.Query` | [`Vitals::intent_queue`], [`Vitals::event_queue`], [`Vitals::query_queue`] |
/// | `serf.coordinate.adjustment-ms` | [`Stats::coordinate_updates`] over [`Stats::coordinate_travel`] in all |
/// | `serf.coordinate.rejected`, `serf.coordinate.zero-rtt` | [`Stats::rejected_coordinates`], [`Stats::zero_rtts`] |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Members that joined, or came back.
    pub joins: u64,
    /// Of those, the ones that had failed only a moment ago.
    pub flaps: u64,
    /// Members that left and had said so. Those declared to have left are not counted.
    pub left: u64,
    /// Members that failed.
    pub failed: u64,
    /// Members that changed their tags, address or versions.
    pub updates: u64,
    /// New user events.
    pub events: u64,
    /// New queries.
    pub queries: u64,
    /// Queries whose conditions could not be read, or were too many to look at.
    pub bad_filters: u64,
    /// Acks to queries of ours.
    pub query_acks: u64,
    /// The same from nodes that had acknowledged, or were not asked to.
    pub query_duplicate_acks: u64,
    /// Responses to queries of ours.
    pub query_responses: u64,
    /// The same from nodes that had responded.
    pub query_duplicate_responses: u64,
    /// Acks and responses to no query of ours that is under way.
    pub late_answers: u64,
    /// Answers of others passed on.
    pub relayed: u64,
    /// Answers of ours that others were asked to pass on, each time that one is.
    pub relays_asked: u64,
    /// The same not asked for, because the answer is too long for it or there were too many.
    pub shed_relays: u64,
    /// Answers not taken, not sent or not passed on because of who they come from or go to.
    pub refused_answers: u64,
    /// Answers not sent or not passed on because there were too many.
    pub shed_answers: u64,
    /// Serf messages received.
    pub messages_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
    /// Serf messages handed to gossip, each time that one is.
    pub messages_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Serf messages and states refused because they could not be read.
    pub bad_messages: u64,
    /// Members whose tags could not be read to their end.
    pub bad_tags: u64,
    /// Leave intents about us that we answered.
    pub refuted: u64,
    /// Names claimed from two addresses, as often as that was noticed.
    pub conflicts: u64,
    /// Claims refused by the merge or the alive policy, or for their name.
    pub refused_claims: u64,
    /// Intents about unknown members that found no room.
    pub shed_intents: u64,
    /// User events and queries that found no room.
    pub shed_events: u64,
    /// Broadcasts dropped because a queue was too long, or because they fit in no datagram.
    pub shed_broadcasts: u64,
    /// Attempts to reach a failed member again.
    pub reconnects: u64,
    /// Measured round trips that moved our network coordinate.
    pub coordinate_updates: u64,
    /// How far they moved it, all together.
    pub coordinate_travel: Duration,
    /// Of those, the round trips that took no time at all.
    pub zero_rtts: u64,
    /// Network coordinates of peers, or round trips to them, that were refused.
    pub rejected_coordinates: u64,
    /// Acks that went without what the program had to add, because it was too long.
    pub shed_ping_payloads: u64,
    /// Lines recorded in the snapshot file.
    pub snapshot_lines: u64,
    /// Times that lines were appended to the snapshot file.
    pub snapshot_appends: u64,
    /// How long that took, all together.
    pub snapshot_append_time: Duration,
    /// Times the snapshot file was rewritten.
    pub snapshot_rewrites: u64,
    /// How long that took, all together.
    pub snapshot_rewrite_time: Duration,
    /// Writes to the snapshot file that failed.
    pub snapshot_failures: u64,
    /// Members that the snapshot file cannot hold, as often as they joined.
    pub snapshot_refused: u64,
}

/// How a node is now (spec `serf.md` §12.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vitals {
    /// Members known, whatever their status.
    pub members: usize,
    /// Of those, the failed.
    pub failed: usize,
    /// Of those, the ones that left.
    pub left: usize,
    /// How many of the others the gossip layer suspects of having failed.
    pub suspected: usize,
    /// The gossip layer's doubt in itself; 0 is healthy.
    pub health_score: u32,
    /// The clock of joins and leaves.
    pub member_time: u64,
    /// The clock of user events.
    pub event_time: u64,
    /// The clock of queries.
    pub query_time: u64,
    /// Joins and leaves waiting to be gossiped.
    pub intent_queue: usize,
    /// User events waiting to be gossiped.
    pub event_queue: usize,
    /// Queries waiting to be gossiped.
    pub query_queue: usize,
    /// News of members waiting to be gossiped by the layer below.
    pub gossip_queue: usize,
    /// Whether there are keys.
    pub encrypted: bool,
    /// How often our network coordinate was lost and began anew at the origin. None: there are no coordinates.
    pub coordinate_resets: Option<u64>,
}
