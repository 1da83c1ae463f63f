//! User events: those we fire, and those that arrive. Each is remembered, told once, passed on once (spec `serf.md`
//! §5.1, §5.2).

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serf_gossip::{Instant, Name, Pool, Severity, Topic as About};
use serf_wire::serf::{self, MessageKind, UserEvent};

use crate::event::{self, Event};
use crate::queues::{TooLong, Topic};
use crate::ring::Verdict;
use crate::serf::Serf;

/// The most bytes of a user event that any configuration allows: whoever hears it remembers it, and tells it in full
/// states, whatever its own limit is.
pub const USER_EVENT_MAX: usize = 9 * 1024;

/// The user event is too long. The texts are the reference's (spec `rpc.md` §5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventTooLong {
    /// Name and payload are longer than configured: than this.
    #[error("user event exceeds configured limit of {0} bytes before encoding")]
    Configured(usize),
    /// Name and payload are longer than [`USER_EVENT_MAX`].
    #[error("user event exceeds sane limit of {USER_EVENT_MAX} bytes before encoding")]
    Sane,
    /// The whole message is longer than configured: than this.
    #[error("encoded user event exceeds configured limit of {0} bytes after encoding")]
    EncodedConfigured(usize),
    /// The whole message is longer than [`USER_EVENT_MAX`].
    #[error("encoded user event exceeds reasonable limit of {USER_EVENT_MAX} bytes after encoding")]
    EncodedReasonable,
}

/// What remembering an event costs beside its name and payload, roughly.
const OVERHEAD_BYTES: usize = 64;

/// An event as it is remembered and told to peers in full state exchanges.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    name: Name,
    /// Absent and empty are the same to everybody, but not the same bytes: told on as it came.
    payload: Option<Arc<[u8]>>,
}

impl Remembered {
    pub(crate) fn to_wire(&self) -> serf::Event<'_> {
        serf::Event { name: self.name.as_bytes(), payload: self.payload.as_deref().map(Cow::Borrowed) }
    }

    fn is(&self, name: &[u8], payload: &[u8]) -> bool {
        self.name.as_bytes() == name && self.payload.as_deref().unwrap_or_default() == payload
    }
}

impl Serf {
    /// Fires an event of ours: tells our own owner, and the others.
    pub(crate) fn fire_event(
        &mut self,
        now: Instant,
        name: &Name,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<(), EventTooLong> {
        let limit = self.config.user_event_size_limit;
        let raw = name.as_bytes().len() + payload.len();
        if raw > limit {
            return Err(EventTooLong::Configured(limit));
        }
        if raw > USER_EVENT_MAX {
            return Err(EventTooLong::Sane);
        }
        let payload = (!payload.is_empty()).then_some(Cow::Borrowed(payload));
        let ltime = self.event_clock.time();
        let event = UserEvent { ltime, name: name.as_bytes(), payload, coalesce };
        let mut message = Vec::new();
        serf::put(&mut message, MessageKind::UserEvent, |w| event.write(w));
        if message.len() > limit {
            return Err(EventTooLong::EncodedConfigured(limit));
        }
        if message.len() > USER_EVENT_MAX {
            return Err(EventTooLong::EncodedReasonable);
        }
        self.event_clock.increment();
        self.user_event(now, &event);
        match self.queues.push(Topic::Event, &message, None) {
            Ok(0) => {}
            Ok(shed) => self.shed(now, Topic::Event, shed),
            // Queued it would wait for ever (B14). Nor is it refused: whoever raised the limit this far relies on
            // full states, which do carry it to everybody. But its owner should know why it takes long.
            Err(TooLong) => {
                let (len, room) = (message.len(), self.queues.room);
                self.stats.shed_broadcasts += 1;
                self.line(
                    Severity::Warn,
                    format_args!(
                        "user event '{name}' of {len} bytes is longer than the {room} that fit in a datagram: \
                         it is not gossiped, only full state exchanges spread it"
                    ),
                );
            }
        }
        Ok(())
    }

    /// An event came. True if it is news that others should hear.
    pub(crate) fn user_event(&mut self, now: Instant, event: &UserEvent<'_>) -> bool {
        let UserEvent { ltime, name, payload, coalesce } = event;
        self.event_clock.witness(*ltime);
        let clock = self.event_clock.time();
        let plain = payload.as_deref().unwrap_or_default();
        let bytes = name.len() + plain.len() + OVERHEAD_BYTES;
        let mut told = None;
        let verdict = self.events.admit(
            clock,
            *ltime,
            bytes,
            |known| known.is(name, plain),
            || {
                let name = Name::from(*name);
                let shared: Arc<[u8]> = plain.into();
                told = Some(event::UserEvent {
                    ltime: *ltime,
                    name: name.clone(),
                    payload: shared.clone(),
                    coalesce: *coalesce,
                });
                Remembered { name, payload: payload.is_some().then_some(shared) }
            },
        );
        if let Some(told) = told {
            self.stats.events += 1;
            self.event_names.count(name);
            self.record_event(*ltime);
            self.emit(Event::User(told));
        }
        self.note_verdict(now, "event", *ltime, clock, verdict)
    }

    /// Holds what an event carried in common with other nodes.
    pub(crate) fn share_event(&mut self, event: &event::UserEvent, pool: &mut dyn Pool) {
        let is_same = |known: &&mut Remembered| known.is(event.name.as_bytes(), &event.payload);
        if let Some(payload) =
            self.events.at_mut(event.ltime).iter_mut().find(is_same).and_then(|known| known.payload.as_mut())
        {
            pool.bytes(payload);
        }
    }

    /// Whether others should hear of a message, by what became of it here.
    pub(crate) fn note_verdict(
        &mut self,
        now: Instant,
        what: &str,
        ltime: u64,
        clock: u64,
        verdict: Verdict,
    ) -> bool {
        match verdict {
            Verdict::New => return true,
            Verdict::Known | Verdict::Unwanted => {}
            Verdict::Old => self.notice(
                now,
                Severity::Warn,
                About::Serf,
                format_args!("received old {what} of time {ltime} (current: {clock})"),
            ),
            Verdict::NoRoom => {
                self.stats.shed_events += 1;
                self.notice(
                    now,
                    Severity::Warn,
                    About::Limit,
                    format_args!("too much to remember, dropped an {what} of time {ltime}"),
                );
            }
        }
        false
    }
}
