//! Where the recorder hears of what happens, and where a node goes on from what it finds.

use alloc::vec::Vec;
use core::cmp::Reverse;

use serf_gossip::{Instant, Severity};

use super::recorder::{KEPT_MAX, Recorder};
use super::replay::Snapshot;
use crate::event::{Event, MemberEventKind};
use crate::member::Status;
use crate::serf::{Serf, believable};

impl Serf {
    /// Takes over the clocks. What was told before the restart is not told again.
    pub(crate) fn go_on_from(&mut self, mut snapshot: Snapshot) {
        if snapshot.ignored_leaves > 0 {
            self.line(Severity::Info, format_args!("Ignoring previous leave in snapshot"));
        }
        // Writers that took one from a clock at 0 left the end of time in their files (B34).
        for clock in [&mut snapshot.member_clock, &mut snapshot.event_clock, &mut snapshot.query_clock] {
            if believable(*clock).is_err() {
                *clock = 0;
            }
        }
        self.member_clock.witness(snapshot.member_clock);
        self.event_clock.witness(snapshot.event_clock);
        self.query_clock.witness(snapshot.query_clock);
        self.events.raise_min_time(snapshot.event_clock.saturating_add(1));
        self.queries.raise_min_time(snapshot.query_clock.saturating_add(1));
        self.recorder = Some(Recorder::new(self.name().clone(), snapshot));
    }

    /// Something happened to a member.
    pub(crate) fn record_member(&mut self, kind: MemberEventKind, at: usize) {
        let Self { recorder: Some(recorder), stats, table, member_clock, .. } = self else { return };
        recorder.member_clock(member_clock.time());
        let record = &table[at];
        match kind {
            MemberEventKind::Join => {
                if !recorder.joined(stats, &record.name, &record.addr) {
                    let name = record.name.clone();
                    self.line(
                        Severity::Warn,
                        format_args!(
                            "the snapshot cannot hold the name or address of '{name}', and does without"
                        ),
                    );
                }
            }
            MemberEventKind::Leave | MemberEventKind::Failed => {
                if recorder.gone(stats, &record.name) {
                    let mut failed: Vec<_> = table.with(Status::Failed).collect();
                    // Those seen last are the likeliest to come back.
                    failed.sort_by_key(|record| Reverse(record.gone_since));
                    for record in failed.iter().take(KEPT_MAX) {
                        recorder.keep(stats, &record.name, &record.addr);
                    }
                }
            }
            MemberEventKind::Update | MemberEventKind::Reap => {}
        }
    }

    /// There was a new user event.
    pub(crate) fn record_event(&mut self, ltime: u64) {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(&mut self.stats, ltime);
        }
    }

    /// There was a new query.
    pub(crate) fn record_query(&mut self, ltime: u64) {
        if let Some(recorder) = &mut self.recorder {
            recorder.query(&mut self.stats, ltime);
        }
    }

    /// We begin to leave.
    pub(crate) fn record_leave(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.member_clock(self.member_clock.time());
            recorder.leave(&mut self.stats);
        }
    }

    /// Whether the record of our leave has yet to reach the disk.
    pub(crate) fn is_recording_leave(&self) -> bool {
        self.recorder.as_ref().is_some_and(Recorder::is_leaving)
    }

    /// Asks for the next write, if one is due. When the one after that will be.
    pub(crate) fn record(&mut self, now: Instant) -> Option<Instant> {
        let recorder = self.recorder.as_mut()?;
        recorder.member_clock(self.member_clock.time());
        if let Some(write) = recorder.turn(now, &mut self.stats) {
            self.outbox.push_back(Event::Snapshot(write));
        }
        recorder.due()
    }

    /// A write has been done, or has not.
    pub(crate) fn recorded(&mut self, now: Instant, done: bool) {
        if let Some(recorder) = &mut self.recorder {
            recorder.answered(now, done, &mut self.stats);
        }
    }

    /// The end: tells what is held back, and asks for the last write.
    pub(crate) fn wind_up(&mut self) {
        self.flush();
        let Some(recorder) = &mut self.recorder else { return };
        recorder.member_clock(self.member_clock.time());
        if let Some(write) = recorder.close(&mut self.stats) {
            self.outbox.push_back(Event::Snapshot(write));
        }
    }
}
