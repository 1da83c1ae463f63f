//! What the gossip layer tells of members, and what Serf makes of it (spec `serf.md` §4.3–4.5).
//!
//! ```text
//!             leave intent          gone (or leave intent, of one that failed)
//!    Alive ─────────────────► Leaving ─────────────────► Left
//!      │ ▲                      │                         │ ▲
//!      │ ├──────────────────────┘ join intent, or back    │ │ leave intent: declared to have left
//!      │ └────────────────────────────────────────────────┘ │
//!      └──────────────────────────► Failed ─────────────────┘        Failed ──back──► Alive
//!                   gone
//! ```
//!
//! Whether somebody who is gone left or failed is decided by leave intents alone, never by the gossip layer's opinion.

use serf_gossip::{Address, Instant, Severity, Topic as About};

use crate::event::{Event, MemberEvent, MemberEventKind};
use crate::intent_buffer::Kind;
use crate::member::Status;
use crate::serf::Serf;
use crate::table::Record;
use crate::tags;

impl Serf {
    /// A member is there that was unknown or gone. The first one is ourselves.
    pub(crate) fn joined(&mut self, now: Instant, member: &serf_gossip::Member) {
        let name = member.name.as_bytes();
        let at = match self.table.find(name) {
            None => {
                self.make_room();
                let mut record = Record::new(member, Status::Alive);
                if let Some(intent) = self.intents.get(name) {
                    record.status_ltime = intent.ltime;
                    match intent.kind {
                        Kind::Join => record.hearsay = intent.hearsay,
                        Kind::Leave => record = record.with_status(Status::Leaving),
                    }
                }
                self.table.insert(record)
            }
            Some(at) => {
                let record = &mut self.table[at];
                let gone_since = record.gone_since.take();
                if record.status() == Status::Failed
                    && gone_since.is_some_and(|since| now.since(since) < self.config.flap_timeout)
                {
                    self.stats.flaps += 1;
                }
                self.table.set_status(at, Status::Alive);
                self.table.refresh(at, member);
                self.prunes.remove(&member.name);
                at
            }
        };
        self.stats.joins += 1;
        self.check_tags(now, at);
        self.tell(MemberEventKind::Join, at, false);
    }

    /// A member does not answer any more, or has said goodbye: our own status of it tells which.
    pub(crate) fn gone(&mut self, now: Instant, member: &serf_gossip::Member) {
        let Some(at) = self.table.find(member.name.as_bytes()) else { return };
        match self.table[at].status() {
            Status::Leaving => {
                self.bury(now, at, Status::Left);
                self.stats.left += 1;
                self.tell(MemberEventKind::Leave, at, false);
                if self.prunes.get(&member.name) == Some(&None) {
                    self.erase(at, true);
                }
            }
            Status::Alive => {
                self.bury(now, at, Status::Failed);
                self.stats.failed += 1;
                self.tell(MemberEventKind::Failed, at, false);
            }
            status => {
                let name = &member.name;
                self.notice(
                    now,
                    Severity::Warn,
                    About::Membership,
                    format_args!("{name} is gone, but was {status} already"),
                );
            }
        }
    }

    /// A member changed what it tells of itself.
    pub(crate) fn updated(&mut self, now: Instant, member: &serf_gossip::Member) {
        let Some(at) = self.table.find(member.name.as_bytes()) else { return };
        self.table.refresh(at, member);
        self.stats.updates += 1;
        self.check_tags(now, at);
        self.tell(MemberEventKind::Update, at, false);
    }

    /// A name is claimed from two addresses; the gossip layer keeps the one it knows.
    pub(crate) fn conflict(&mut self, now: Instant, existing: &serf_gossip::Member, other: &Address) {
        self.stats.conflicts += 1;
        let (name, addr) = (&existing.name, &existing.addr);
        let resolves = self.disputes(existing, other);
        if self.is_me(name.as_bytes()) {
            self.notice(
                now,
                Severity::Error,
                About::Conflict,
                format_args!(
                    "Node name conflicts with another node at {other}. Names must be unique! \
                     (Resolution enabled: {resolves})"
                ),
            );
            if resolves {
                self.dispute(now);
            }
        } else {
            self.notice(
                now,
                Severity::Warn,
                About::Conflict,
                format_args!("Name conflict for '{name}' both {addr} and {other} are claiming"),
            );
        }
    }

    /// Marks a member as gone.
    pub(crate) fn bury(&mut self, now: Instant, at: usize, status: Status) {
        self.table.set_status(at, status);
        self.table[at].gone_since = Some(now);
        let name = self.table[at].name.clone();
        self.answers_no_more(&name);
        let kept = match status {
            Status::Left => self.config.tombstone_timeout,
            _ => self.config.reconnect_timeout,
        };
        self.expect_reap(now, kept);
    }

    /// Forgets a member. The gossip layer may still know it, and will tell when it comes back.
    pub(crate) fn erase(&mut self, at: usize, forced: bool) {
        self.prunes.remove(&self.table[at].name);
        self.tell(MemberEventKind::Reap, at, forced);
        self.table.remove(at);
    }

    /// Whether somebody besides us is alive.
    pub(crate) fn has_company(&self) -> bool {
        let me = self.table.get(self.name().as_bytes()).is_some_and(|me| me.status() == Status::Alive);
        self.table.count(Status::Alive) > usize::from(me)
    }

    /// Tells that something happened to a member, and says so in the log.
    pub(crate) fn tell(&mut self, kind: MemberEventKind, at: usize, forced: bool) {
        let member = self.table[at].to_member();
        let (name, host) = (&member.name, &member.addr.host);
        let forced = if forced { " (forced)" } else { "" };
        match kind {
            MemberEventKind::Join => {
                self.line(Severity::Info, format_args!("EventMemberJoin: {name} {host}"));
            }
            MemberEventKind::Leave => {
                self.line(Severity::Info, format_args!("EventMemberLeave{forced}: {name} {host}"));
            }
            MemberEventKind::Failed => {
                self.line(Severity::Info, format_args!("EventMemberFailed: {name} {host}"));
            }
            MemberEventKind::Update => self.line(Severity::Info, format_args!("EventMemberUpdate: {name}")),
            MemberEventKind::Reap if forced.is_empty() => {
                self.line(Severity::Info, format_args!("EventMemberReap: {name}"));
            }
            MemberEventKind::Reap => {
                self.line(Severity::Info, format_args!("EventMemberReap (forced): {name} {host}"));
            }
        }
        self.record_member(kind, at);
        self.emit(Event::Member(MemberEvent::one(kind, member)));
    }

    fn check_tags(&mut self, now: Instant, at: usize) {
        let record = &self.table[at];
        if let Some(why) = tags::fault(&record.meta) {
            let name = record.name.clone();
            self.stats.bad_tags += 1;
            self.notice(
                now,
                Severity::Warn,
                About::RefusedClaim,
                format_args!("tags of '{name}' cannot be read to their end: {why}"),
            );
        }
    }

    /// We remember more of the dead than the gossip layer, whose own bound is therefore not enough: whoever invents
    /// members and lets them fail must not fill the memory. The one gone longest makes room.
    fn make_room(&mut self) {
        if self.table.len() < self.config.gossip.hardening.max_members {
            return;
        }
        let oldest =
            (0..self.table.len()).filter_map(|at| self.table[at].gone_since.map(|since| (since, at))).min();
        if let Some((_, at)) = oldest {
            self.erase(at, false);
        }
    }
}
