//! What Serf gossips: three queues, and how they share a datagram (spec `serf.md` §5.3–5.5).

use alloc::sync::Arc;
use alloc::vec::Vec;

use serf_gossip::{Backlog, CommandId, Instant, Listener, Name, Severity, Shares, Teller, TransmitQueue};

use crate::config::Config;
use crate::serf::Serf;

/// Above this a queue is cut at once, without waiting for the next look at its length. Far above what the looks cut
/// to, since the reference lets bursts pass between them; but a flood must end somewhere.
const BURST_MAX: usize = 1 << 16;

/// Which queue: most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Intents of our own, so that a flood of others' does not hold up a leave.
    Own,
    /// Intents of others.
    Intent,
    Query,
    Event,
}

impl Topic {
    /// Those whose length is up to others.
    const FOREIGN: [Self; 3] = [Self::Intent, Self::Query, Self::Event];

    /// As it stands in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Own | Self::Intent => "Intent",
            Self::Query => "Query",
            Self::Event => "Event",
        }
    }
}

/// The message fits in no datagram of gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    queues: [TransmitQueue; 4],
    shares: Shares<3>,
    /// The longest message that a datagram has room for.
    pub(crate) room: usize,
}

impl Queues {
    pub(crate) fn len(&self, topic: Topic) -> usize {
        self.queues[topic as usize].len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(TransmitQueue::is_empty)
    }

    /// Queues a message of ours; tells how many were shed for it. `waiter` is told by [`Queues::finished`].
    ///
    /// # Errors
    /// [`TooLong`]: queued it would keep gossip awake for ever (B14).
    pub(crate) fn push(
        &mut self,
        topic: Topic,
        message: &[u8],
        waiter: Option<CommandId>,
    ) -> Result<usize, TooLong> {
        self.put(topic, message, None, Teller::NOBODY, waiter)
    }

    /// Queues a message of others, which came from `teller`.
    ///
    /// # Errors
    /// See [`Queues::push`].
    pub(crate) fn pass_on(&mut self, topic: Topic, message: &[u8], teller: Teller) -> Result<usize, TooLong> {
        self.put(topic, message, None, teller, None)
    }

    /// Queues the news that we are here, in the place of older ones, which say nothing more. Otherwise whoever claims
    /// again and again that we leave would have us queue, and everybody pass on, as many answers.
    ///
    /// # Errors
    /// See [`Queues::push`].
    pub(crate) fn push_own_join(&mut self, message: &[u8], me: Name) -> Result<usize, TooLong> {
        self.put(Topic::Own, message, Some(me), Teller::NOBODY, None)
    }

    fn put(
        &mut self,
        topic: Topic,
        message: &[u8],
        subject: Option<Name>,
        teller: Teller,
        waiter: Option<CommandId>,
    ) -> Result<usize, TooLong> {
        if message.len() > self.room {
            return Err(TooLong);
        }
        let queue = &mut self.queues[topic as usize];
        queue.push(Arc::from(message), subject, teller, waiter);
        Ok(queue.prune(BURST_MAX))
    }

    /// Fills a datagram for `to`: our own intents first, then those of others, queries and events, who share it if there is not
    /// room for all. Each message costs its length and `overhead`
    /// bytes of `limit`, and may be sent `transmissions` times.
    pub(crate) fn take(
        &mut self,
        to: Listener,
        overhead: usize,
        mut limit: usize,
        transmissions: u32,
        put: &mut dyn FnMut(&[u8]),
    ) {
        let [own, others @ ..] = &mut self.queues;
        limit -= own.take(to, overhead, limit, transmissions, |message| put(message));
        let waiting = others.each_ref().map(|queue| queue.backlog(overhead));
        self.shares.divide(limit, waiting, |who, room| {
            others[who].take(to, overhead, room, transmissions, |message| put(message))
        });
    }

    /// How much waits, each message with `overhead` bytes.
    pub(crate) fn backlog(&self, overhead: usize) -> Backlog {
        self.queues.iter().fold(Backlog::default(), |all, queue| all.and(queue.backlog(overhead)))
    }

    /// Cuts a queue to `max` messages; tells how many were shed.
    pub(crate) fn prune(&mut self, topic: Topic, max: usize) -> usize {
        self.queues[topic as usize].prune(max)
    }

    /// Those whose message has been sent often enough, or was shed, since the last call.
    pub(crate) fn finished(&mut self) -> Vec<CommandId> {
        // Only our own are waited for.
        let own = &mut self.queues[Topic::Own as usize];
        if own.has_finished() { own.finished().collect() } else { Vec::new() }
    }
}

/// To how many messages a queue is cut in a cluster of `members`; `max` and `min` as configured.
pub(crate) fn depth_max(members: usize, max: usize, min: usize) -> usize {
    if min == 0 { max } else { min.max(members.saturating_mul(2)) }
}

impl Serf {
    /// Warns of long queues, and cuts those that are too long (spec `serf.md` §5.4).
    pub(crate) fn check_queues(&mut self, now: Instant) {
        let Config { queue_depth_warning, max_queue_depth, min_queue_depth, .. } = self.config;
        let max = depth_max(self.table.len(), max_queue_depth, min_queue_depth);
        for topic in Topic::FOREIGN {
            let depth = self.queues.len(topic);
            if depth >= queue_depth_warning {
                self.line(Severity::Warn, format_args!("{} queue depth: {depth}", topic.as_str()));
            }
            match self.queues.prune(topic, max) {
                0 => {}
                shed => self.shed(now, topic, shed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn queues(room: usize) -> Queues {
        Queues { room, ..Queues::default() }
    }

    fn take(q: &mut Queues, overhead: usize, limit: usize, transmissions: u32) -> Vec<Vec<u8>> {
        let mut got = vec![];
        q.take(Listener::ANYBODY, overhead, limit, transmissions, &mut |m| got.push(m.to_vec()));
        got
    }

    #[test]
    fn where_there_is_room_intents_go_before_queries_and_queries_before_events() {
        let mut q = queues(100);
        for (topic, message) in [(Topic::Event, b"eee"), (Topic::Query, b"qqq"), (Topic::Intent, b"iii")] {
            assert_eq!(q.push(topic, message, None), Ok(0));
        }
        q.push(Topic::Own, b"o", None).unwrap();
        assert_eq!(take(&mut q, 3, 4, 2), [b"o".to_vec()]);
        assert_eq!(take(&mut q, 3, 22, 1), ["o", "iii", "qqq", "eee"].map(|m| m.as_bytes().to_vec()));
        assert!(q.is_empty());
    }

    #[test]
    fn where_there_is_none_our_own_intents_go_first_and_the_others_share() {
        let mut q = queues(100);
        q.push(Topic::Own, &[0; 7], None).unwrap();
        for _ in 0..100 {
            for (topic, byte) in [(Topic::Intent, 1), (Topic::Query, 2), (Topic::Event, 3)] {
                q.push(topic, &[byte; 7], None).unwrap();
            }
        }
        for _ in 0..10 {
            let mut got: Vec<u8> = take(&mut q, 3, 100, 99).iter().map(|m| m[0]).collect();
            got.sort_unstable();
            assert_eq!(got, [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
        }
        assert_eq!(q.backlog(3), Backlog { bytes: 3010, next: 10 });
    }

    #[test]
    fn a_message_that_fits_in_no_datagram_is_not_queued() {
        let mut q = queues(100);
        assert_eq!(q.push(Topic::Event, &[0; 101], None), Err(TooLong));
        assert_eq!(q.push(Topic::Event, &[0; 100], None), Ok(0));
        assert_eq!(q.len(Topic::Event), 1);
    }

    #[test]
    fn whoever_waits_is_told_once_when_the_message_is_sent_or_shed() {
        let mut q = queues(100);
        q.push(Topic::Own, b"a", Some(CommandId(1))).unwrap();
        q.push(Topic::Own, b"b", Some(CommandId(2))).unwrap();
        q.push(Topic::Own, b"c", None).unwrap();
        assert_eq!(q.prune(Topic::Own, 2), 1);
        assert_eq!(q.finished(), [CommandId(1)]);
        take(&mut q, 3, 100, 2);
        assert_eq!(q.finished(), []);
        take(&mut q, 3, 100, 2);
        assert_eq!(q.finished(), [CommandId(2)]);
        assert_eq!(q.finished(), []);
    }

    #[test]
    fn the_longest_queue_is_fixed_or_grows_with_the_cluster() {
        for (members, max, min, want) in [(1, 4096, 0, 4096), (100, 4096, 1024, 1024), (100, 4096, 16, 200)] {
            assert_eq!(depth_max(members, max, min), want);
        }
        assert_eq!(depth_max(101, 4096, 16), 202);
    }

    #[test]
    fn a_burst_is_cut_at_once() {
        let mut q = queues(100);
        for _ in 0..BURST_MAX {
            assert_eq!(q.push(Topic::Query, b"x", None), Ok(0));
        }
        assert_eq!(q.push(Topic::Query, b"x", None), Ok(1));
        assert_eq!(q.len(Topic::Query), BURST_MAX);
    }
}
