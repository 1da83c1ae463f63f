//! The machine that stands alone: membership for programs that want no Serf above it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    Address, Backlog, Claim, Command, CommandId, Config, ConfigError, Delegate, Event, Gossip, Input,
    Instant, Listener, Machine, Member, Notice, Notification, Outcome, Output, Refusal,
};

/// A gossip machine with a delegate of the program's own, ready for a driver. What happens comes out as
/// [`MembershipEvent`]s; the delegate is asked for state, payloads and policy, and is told everything first.
pub struct Membership {
    gossip: Gossip,
    above: Above,
}

/// What a standing-alone machine tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MembershipEvent {
    /// A node became alive; the first is ourselves.
    Joined(Member),
    /// A node failed or left; its state tells which.
    Left(Member),
    /// A node changed its meta data.
    Updated(Member),
    /// A name is claimed from a second address; nothing was changed.
    Conflict {
        /// The node we know.
        existing: Member,
        /// The other address.
        other: Address,
    },
    /// A user message came.
    Message {
        /// The socket address it came from.
        from: Address,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A node answered a probe directly.
    PingCompleted {
        /// The node.
        member: Member,
        /// Round-trip time.
        rtt: Duration,
        /// What travelled in the ack.
        payload: Vec<u8>,
    },
    /// A command ended.
    Done {
        /// Which.
        id: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// Something worth a log line.
    Notice(Notice),
}

struct Above {
    delegate: Box<dyn Delegate + Send>,
    events: VecDeque<MembershipEvent>,
}

impl Delegate for Above {
    fn notify(&mut self, now: Instant, what: Notification<'_>) {
        let event = match &what {
            Notification::Joined(m) => Some(MembershipEvent::Joined((*m).clone())),
            Notification::Left(m) => Some(MembershipEvent::Left((*m).clone())),
            Notification::Updated(m) => Some(MembershipEvent::Updated((*m).clone())),
            Notification::Conflict { existing, other, .. } => {
                Some(MembershipEvent::Conflict { existing: (*existing).clone(), other: (*other).clone() })
            }
            Notification::Message { from, bytes } => {
                Some(MembershipEvent::Message { from: (*from).clone(), bytes: bytes.to_vec() })
            }
            Notification::PingCompleted { member, rtt, payload } => Some(MembershipEvent::PingCompleted {
                member: (*member).clone(),
                rtt: *rtt,
                payload: payload.to_vec(),
            }),
            Notification::RemoteState { .. } => None,
        };
        self.events.extend(event);
        self.delegate.notify(now, what);
    }

    fn broadcasts(
        &mut self,
        now: Instant,
        to: Listener,
        overhead: usize,
        limit: usize,
        put: &mut dyn FnMut(&[u8]),
    ) {
        self.delegate.broadcasts(now, to, overhead, limit, put);
    }

    fn has_broadcasts(&self) -> bool {
        self.delegate.has_broadcasts()
    }

    fn backlog(&self, overhead: usize) -> Backlog {
        self.delegate.backlog(overhead)
    }

    fn local_state(&mut self, join: bool, out: &mut Vec<u8>) {
        self.delegate.local_state(join, out);
    }

    fn accept_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
        self.delegate.accept_alive(claim)
    }

    fn accept_merge(&mut self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        self.delegate.accept_merge(claims)
    }

    fn filters_merges(&self) -> bool {
        self.delegate.filters_merges()
    }

    fn explains_refusals(&self) -> bool {
        self.delegate.explains_refusals()
    }

    fn ack_payload(&mut self, out: &mut Vec<u8>) -> bool {
        self.delegate.ack_payload(out)
    }
}

impl Membership {
    /// See [`Gossip::new`]. Pass `Box::new(())` for a delegate that does nothing.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(
        config: Config,
        seed: [u8; 32],
        now: Instant,
        delegate: Box<dyn Delegate + Send>,
    ) -> Result<Self, ConfigError> {
        let mut above = Above { delegate, events: VecDeque::new() };
        let gossip = Gossip::new(config, seed, now, &mut above)?;
        Ok(Self { gossip, above })
    }

    /// The machine inside.
    #[must_use]
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }
}

impl Machine for Membership {
    type Command = Command;
    type Event = MembershipEvent;

    fn handle(&mut self, now: Instant, input: Input<'_, Command>) {
        self.gossip.handle(now, input, &mut self.above);
    }

    fn poll(&mut self) -> Output<MembershipEvent> {
        if let Some(event) = self.above.events.pop_front() {
            return Output::Event(event);
        }
        match self.gossip.poll() {
            Output::Event(Event::Done { id, outcome }) => {
                Output::Event(MembershipEvent::Done { id, outcome })
            }
            Output::Event(Event::Notice(notice)) => Output::Event(MembershipEvent::Notice(notice)),
            Output::Datagram(transmit) => Output::Datagram(transmit),
            Output::Stream { id, action } => Output::Stream { id, action },
            Output::Timeout(due, reason) => Output::Timeout(due, reason),
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.gossip.recycle(buffer);
    }
}

impl core::fmt::Debug for Membership {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.gossip.fmt(f)
    }
}
