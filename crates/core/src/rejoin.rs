//! A restarted node calls those that it knew: one after another, until it reaches one or somebody is there in another
//! way (spec `serf.md` §10.5). Where the reference gives up after one round we try again, for a network may come up after
//! us, and those that we knew too (B36).

use core::time::Duration;

use alloc::vec::Vec;

use serf_gossip::{self as gossip, Address, Instant, Name, Peer, Severity};

use crate::node::{Node, Timer};
use crate::state::NodeState;
use crate::tasks::Task;

/// Pause after the first round in vain; doubles up to [`PAUSE_MAX`]. Each is shortened at random by up to a half, so that
/// nodes restarted together do not try together.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`PAUSE_MIN`]. A lone node has nothing else to do.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is left to try.
#[derive(Debug)]
pub(crate) struct Rejoin {
    known: Vec<(Name, Address)>,
    /// How many of them have been tried in this round.
    tried: usize,
    pause: Duration,
    /// When to give up.
    until: Instant,
}

impl Node {
    /// Begins to try these.
    pub(crate) fn begin_rejoin(&mut self, now: Instant, mut known: Vec<(Name, Address)>) {
        let me = self.name().clone();
        let here = &self.serf.config.gossip.advertise;
        // Nor whoever had our address last: that was us, under another name, or is gone.
        known.retain(|(name, addr)| *name != me && !(addr.port == here.port && addr.same_host(here)));
        if known.is_empty() {
            return;
        }
        let until = now + self.serf.config.reconnect_timeout;
        self.rejoin = Some(Rejoin { known, tried: 0, pause: PAUSE_MIN, until });
        self.rejoin(now);
    }

    /// Begins a round.
    pub(crate) fn rejoin(&mut self, now: Instant) {
        if let Some(rejoin) = &mut self.rejoin {
            self.serf.rng.shuffle(&mut rejoin.known);
            rejoin.tried = 0;
            self.rejoin_next(now);
        }
    }

    /// Tries the next one, or ends the round.
    fn rejoin_next(&mut self, now: Instant) {
        if self.state() != NodeState::Alive || self.serf.has_company() {
            self.rejoin = None;
        }
        let Some(rejoin) = &mut self.rejoin else { return };
        if let Some((name, addr)) = rejoin.known.get(rejoin.tried).cloned() {
            rejoin.tried += 1;
            // Who reads the log knows this line; rounds later it is no news.
            let severity = if rejoin.pause == PAUSE_MIN { Severity::Info } else { Severity::Debug };
            self.serf
                .line(severity, format_args!("Attempting re-join to previously known node: {name}: {addr}"));
            let id = self.tasks.begin(Task::Rejoin);
            let name = (!name.as_bytes().is_empty()).then_some(name);
            self.order(now, gossip::Command::Join { id, peers: Vec::from([Peer { addr, name }]) });
            return;
        }
        let pause = rejoin.pause / 2 + self.serf.rng.duration(rejoin.pause / 2);
        if now + pause > rejoin.until {
            self.rejoin = None;
            self.serf.line(Severity::Warn, format_args!("Failed to re-join any previously known node"));
            return;
        }
        rejoin.pause = (rejoin.pause * 2).min(PAUSE_MAX);
        self.serf.line(
            Severity::Warn,
            format_args!("Failed to re-join any previously known node, trying again in {pause:.1?}"),
        );
        self.timers.set(now + pause, Timer::Rejoin);
    }

    /// One was reached, or not.
    pub(crate) fn rejoined(&mut self, now: Instant, outcome: &gossip::Outcome) {
        let reached = matches!(outcome, gossip::Outcome::Joined { contacted, .. } if !contacted.is_empty());
        if !reached {
            return self.rejoin_next(now);
        }
        if let Some(Rejoin { known, tried, .. }) = self.rejoin.take()
            && let Some((name, addr)) = known.get(tried - 1)
        {
            self.serf
                .line(Severity::Info, format_args!("Re-joined to previously known node: {name}: {addr}"));
        }
    }
}
