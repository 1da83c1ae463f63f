//! Network coordinates at work: ours travels in every ack, and each ack of a ping of ours brings a peer's, from which
//! both places follow (spec `serf.md` §9.6). What is remembered of a peer stands in its record, and goes with it: who
//! is forgotten does not come back by a late ack (B41).

use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Instant, Severity, Topic as About};
use serf_wire::coordinate as wire;

use crate::coordinate::{BadCoordinate, Coordinate, Latencies};
use crate::policy::PING_PAYLOAD_MAX;
use crate::serf::Serf;

/// What is remembered of where a peer is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sighting {
    latencies: Latencies,
    /// As the peer said last.
    pub(crate) place: Coordinate,
}

impl Serf {
    /// Appends where we are, for an ack.
    pub(crate) fn write_place(&self, out: &mut Vec<u8>) -> bool {
        let Some(vivaldi) = &self.vivaldi else { return false };
        vivaldi.coordinate().as_wire().write_payload(out);
        true
    }

    /// Appends all that we have to say in an ack: where we are, and behind that what the program says.
    pub(crate) fn write_ack(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.write_place(out) {
            return false;
        }
        if let Some(policy) = &self.config.policies.ping {
            // In a buffer of its own, so that a policy cannot harm what stands before it.
            let mut ours = Vec::new();
            policy.payload(&mut ours);
            if ours.len() <= PING_PAYLOAD_MAX {
                out.extend_from_slice(&ours);
            } else {
                self.stats.shed_ping_payloads += 1;
            }
        }
        true
    }

    /// A ping of ours was answered, directly and in time.
    pub(crate) fn measured(
        &mut self,
        now: Instant,
        member: &serf_gossip::Member,
        rtt: Duration,
        payload: &[u8],
    ) {
        if let Some(policy) = &self.config.policies.ping
            && let Some(at) = self.table.find(member.name.as_bytes())
        {
            let theirs = wire::Coordinate::split_payload(payload).map_or(&[][..], |(_, behind)| behind);
            policy.answered(&self.table[at].to_member(), rtt, theirs);
        }
        if let Err(why) = self.learn_place(member.name.as_bytes(), rtt, payload) {
            self.stats.rejected_coordinates += 1;
            let name = &member.name;
            self.notice(
                now,
                Severity::Warn,
                About::Probe,
                format_args!("coordinate of '{name}' refused: {why}"),
            );
        }
    }

    fn learn_place(&mut self, name: &[u8], rtt: Duration, payload: &[u8]) -> Result<(), BadCoordinate> {
        let Some(vivaldi) = &mut self.vivaldi else { return Ok(()) };
        let Some(at) = self.table.find(name) else { return Ok(()) };
        let Some(place) = Coordinate::from_peer(payload)? else { return Ok(()) };
        let before = *vivaldi.coordinate();
        let sighting = &mut self.table[at].sighting;
        let mut latencies = sighting.as_ref().map_or_else(Latencies::default, |seen| seen.latencies);
        let after = vivaldi.update(&mut latencies, &place, rtt)?;
        self.stats.zero_rtts += u64::from(rtt.is_zero());
        self.stats.coordinate_updates += 1;
        self.stats.coordinate_travel += before.distance_to(after);
        match sighting {
            Some(seen) => **seen = Sighting { latencies, place },
            None => *sighting = Some(Sighting { latencies, place }.into()),
        }
        Ok(())
    }

    /// Where somebody is, if that is known. Where we are ourselves always is, unless there are no coordinates.
    pub(crate) fn place_of(&self, name: &[u8]) -> Option<Coordinate> {
        let vivaldi = self.vivaldi.as_ref()?;
        if self.is_me(name) {
            return Some(*vivaldi.coordinate());
        }
        self.table.get(name)?.sighting.as_ref().map(|seen| seen.place)
    }
}
