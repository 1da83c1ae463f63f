//! A restarted node calls those that it knew: one after another, until it reaches one or somebody is there in another
//! way (spec `serf.md` §10.5). Where the reference gives up after one round we try again, for a network may come up after
//! us, and those that we knew too (B36).
//!
//! Nor is that all, when a whole cluster has been started at once: those who have found somebody may have found each
//! other, and be one of several islands that know nothing of each other. So for a while those who are still missing are
//! called now and then, the more rarely the more we are, since everybody does so.

use core::time::Duration;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serf_gossip::{self as gossip, Address, Instant, Name, Peer, Severity};

use crate::member::Status;
use crate::node::{Node, Timer};
use crate::tasks::Task;

/// Pause after the first round in vain; doubles up to [`PAUSE_MAX`]. Each is shortened at random by up to a half, so that
/// nodes restarted together do not try together.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`PAUSE_MIN`]. A lone node has nothing else to do.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// For so long the missing are called once somebody has been found. Who starts later finds one of us by itself; longer
/// is of no use, and who has moved to another cluster meanwhile should be left there.
const MISSING_FOR: Duration = Duration::from_secs(10 * 60);

/// What is left to try.
#[derive(Debug)]
pub(crate) struct Rejoin {
    known: Vec<(Name, Address)>,
    /// Which of them is to be called next in this round.
    next: usize,
    /// Which of them was called last.
    called: usize,
    pause: Duration,
    /// When to give up.
    until: Instant,
    /// Somebody has been found.
    found: bool,
}

impl Node {
    /// Begins to try these.
    pub(crate) fn begin_rejoin(&mut self, now: Instant, mut known: Vec<(Name, Address)>) {
        let me = self.name().clone();
        let here = &self.serf.config.gossip.advertise;
        // Nor whoever had our address last: that was us, under another name, or is gone.
        known.retain(|(name, addr)| *name != me && !(addr.port == here.port && addr.same_host(here)));
        if !known.is_empty() {
            let until = now + self.serf.config.reconnect_timeout;
            self.rejoin = Some(Rejoin { known, next: 0, called: 0, pause: PAUSE_MIN, until, found: false });
            self.rejoin(now);
        }
    }

    /// Begins a round, or calls one of the missing.
    pub(crate) fn rejoin(&mut self, now: Instant) {
        let Some(rejoin) = &mut self.rejoin else { return };
        if rejoin.found {
            self.call_missing(now);
        } else {
            self.serf.rng.shuffle(&mut rejoin.known);
            rejoin.next = 0;
            self.rejoin_next(now);
        }
    }

    /// Tries the next one, or ends the round.
    fn rejoin_next(&mut self, now: Instant) {
        if self.serf.has_company() {
            return self.found(now);
        }
        let Some(rejoin) = &mut self.rejoin else { return };
        if rejoin.next < rejoin.known.len() {
            let at = rejoin.next;
            rejoin.next += 1;
            // Who reads the log knows this line; rounds later it is no news.
            let severity = if rejoin.pause == PAUSE_MIN { Severity::Info } else { Severity::Debug };
            return self.call(now, severity, at);
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

    fn call(&mut self, now: Instant, severity: Severity, at: usize) {
        let Some(rejoin) = &mut self.rejoin else { return };
        rejoin.called = at;
        let (name, addr) = rejoin.known[at].clone();
        self.serf.line(severity, format_args!("Attempting re-join to previously known node: {name}: {addr}"));
        let id = self.tasks.begin(Task::Rejoin);
        let name = (!name.as_bytes().is_empty()).then_some(name);
        self.order(now, gossip::Command::Join { id, peers: Vec::from([Peer { addr, name }]) });
    }

    /// One was reached, or not.
    pub(crate) fn rejoined(&mut self, now: Instant, outcome: &gossip::Outcome) {
        let reached = matches!(outcome, gossip::Outcome::Joined { contacted, .. } if !contacted.is_empty());
        let Some(rejoin) = &self.rejoin else { return };
        if reached {
            let (name, addr) = &rejoin.known[rejoin.called];
            self.serf
                .line(Severity::Info, format_args!("Re-joined to previously known node: {name}: {addr}"));
        }
        if rejoin.found {
            self.expect_missing(now);
        } else if reached {
            self.found(now);
        } else {
            self.rejoin_next(now);
        }
    }

    /// Somebody is there. From now on only those are called who are not.
    fn found(&mut self, now: Instant) {
        if let Some(rejoin) = &mut self.rejoin {
            rejoin.found = true;
            rejoin.until = now + MISSING_FOR;
            self.expect_missing(now);
        }
    }

    /// Sets the time of the next call, if anybody is missing.
    fn expect_missing(&mut self, now: Instant) {
        let Some(rejoin) = &mut self.rejoin else { return };
        let table = &self.serf.table;
        let here: BTreeSet<&Address> = table.iter().map(|record| &record.addr).collect();
        rejoin.known.retain(|(name, addr)| table.find(name.as_bytes()).is_none() && !here.contains(addr));
        let next = now + self.serf.config.reconnect_interval;
        if rejoin.known.is_empty() || next > rejoin.until {
            self.rejoin = None;
        } else {
            self.timers.set(next, Timer::Rejoin);
        }
    }

    /// Calls one of the missing, with a chance that grows with their share, as that of the failed does.
    fn call_missing(&mut self, now: Instant) {
        let table = &self.serf.table;
        let present = table.len() - table.count(Status::Failed) - table.count(Status::Left);
        let Some(rejoin) = &self.rejoin else { return };
        let missing = rejoin.known.len();
        if self.serf.rng.unit() > missing as f64 / present.max(1) as f64 {
            return self.expect_missing(now);
        }
        let at = self.serf.rng.below(missing);
        self.call(now, Severity::Debug, at);
    }
}
