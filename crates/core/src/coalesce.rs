//! Coalescing: what happens within a short while is told together, so that whoever reacts to a hundred joins does so
//! once (spec `serf.md` §11.3). It stands between what the node has to tell and its owner's ears, and holds back
//! member events and those user events that allow it; everything else passes, and may overtake what is held.
//!
//! A window opens with the first event held. It closes when it has been open for long, or when nothing has come for a
//! while, whichever is first; then what is held is told, and nothing of it is kept (B38).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use serf_gossip::{Instant, Name};

use crate::config::Config;
use crate::event::{Event, MemberEvent, MemberEventKind, UserEvent};
use crate::serf::Serf;

/// Most bytes of user events held, each costing its name, its payload and [`EVENT_BYTES`]. What finds no room closes
/// the window early, and nothing is lost: a flood of names costs the comfort of being told together, not memory.
const USER_BYTES_MAX: usize = 1 << 20;
/// What holding a user event costs beside its name and payload, roughly.
const EVENT_BYTES: usize = 128;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Coalescer {
    members: Members,
    users: Users,
}

impl Coalescer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            members: Members {
                window: Window::new(config.coalesce_period, config.quiescent_period),
                latest: BTreeMap::new(),
                told: BTreeMap::new(),
                // Each name is held once, but members can be forgotten while news of them is held: this is the most
                // that are known at any one time.
                max: config.gossip.hardening.max_members.max(1),
            },
            users: Users {
                window: Window::new(config.user_coalesce_period, config.user_quiescent_period),
                latest: BTreeMap::new(),
                bytes: 0,
            },
        }
    }

    /// Holds an event, or tells it at once.
    pub(crate) fn take(&mut self, event: Event, out: &mut VecDeque<Event>) {
        match event {
            Event::Member(event) if self.members.window.is_on() => self.members.hold(event, out),
            Event::User(event) if event.coalesce && self.users.window.is_on() => self.users.hold(event, out),
            other => out.push_back(other),
        }
    }

    /// Takes note of the time of all that came since the last call.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.members.window.settle(now);
        self.users.window.settle(now);
    }

    /// When the next window closes.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.members.window.due(), self.users.window.due()].into_iter().flatten().min()
    }

    /// Tells what is in windows that close now.
    pub(crate) fn flush_due(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        if self.members.window.due().is_some_and(|due| due <= now) {
            self.members.flush(out);
        }
        if self.users.window.due().is_some_and(|due| due <= now) {
            self.users.flush(out);
        }
    }

    /// Tells all that is held. Members go first: who fired an event should be known.
    pub(crate) fn flush(&mut self, out: &mut VecDeque<Event>) {
        self.members.flush(out);
        self.users.flush(out);
    }
}

#[cfg(test)]
impl Coalescer {
    pub(crate) fn held_members(&self) -> usize {
        self.members.latest.len()
    }

    pub(crate) fn told_members(&self) -> usize {
        self.members.told.len()
    }
}

/// How long events are held.
#[derive(Debug)]
struct Window {
    /// From the first one on.
    period: Duration,
    /// From the last one on.
    quiescent: Duration,
    /// Something came whose time is not known yet: it comes with [`Window::settle`].
    touched: bool,
    /// When the one and the other are over.
    ends: Option<(Instant, Instant)>,
}

impl Window {
    fn new(period: Duration, quiescent: Duration) -> Self {
        Self { period, quiescent, touched: false, ends: None }
    }

    fn is_on(&self) -> bool {
        !self.period.is_zero() && !self.quiescent.is_zero()
    }

    fn settle(&mut self, now: Instant) {
        if core::mem::take(&mut self.touched) {
            let (end, _) = self.ends.unwrap_or((now + self.period, now));
            self.ends = Some((end, now + self.quiescent));
        }
    }

    fn due(&self) -> Option<Instant> {
        self.ends.map(|(end, quiet)| end.min(quiet))
    }

    fn close(&mut self) {
        self.touched = false;
        self.ends = None;
    }
}

/// Of each member, the latest that happened to it.
#[derive(Debug)]
struct Members {
    window: Window,
    latest: BTreeMap<Name, (MemberEventKind, crate::Member)>,
    /// What was told last of each member: to tell it again would be no news, unless it is an update. Whoever is told
    /// to be forgotten is forgotten here too, so there are no more than members known and held.
    told: BTreeMap<Name, MemberEventKind>,
    max: usize,
}

impl Members {
    fn hold(&mut self, event: MemberEvent, out: &mut VecDeque<Event>) {
        for member in event.members {
            if self.latest.len() >= self.max && !self.latest.contains_key(&member.name) {
                self.flush(out);
            }
            self.latest.insert(member.name.clone(), (event.kind, member));
        }
        self.window.touched = true;
    }

    fn flush(&mut self, out: &mut VecDeque<Event>) {
        use MemberEventKind::{Failed, Join, Leave, Reap, Update};
        self.window.close();
        let mut batches =
            [Join, Leave, Failed, Update, Reap].map(|kind| MemberEvent { kind, members: Vec::new() });
        for (name, (kind, member)) in core::mem::take(&mut self.latest) {
            if kind != Update && self.told.get(&name) == Some(&kind) {
                continue;
            }
            if kind == Reap {
                self.told.remove(&name);
            } else {
                self.told.insert(name, kind);
            }
            batches[kind as usize].members.push(member);
        }
        out.extend(batches.into_iter().filter(|batch| !batch.members.is_empty()).map(Event::Member));
    }
}

/// Of each name, the events of the latest time.
#[derive(Debug)]
struct Users {
    window: Window,
    /// None of them is empty.
    latest: BTreeMap<Name, Vec<UserEvent>>,
    bytes: usize,
}

impl Users {
    fn hold(&mut self, event: UserEvent, out: &mut VecDeque<Event>) {
        let bytes = cost(&event);
        if self.bytes + bytes > USER_BYTES_MAX {
            self.flush(out);
        }
        self.window.touched = true;
        let held = self.latest.entry(event.name.clone()).or_default();
        match held.first().map(|first| first.ltime) {
            Some(ltime) if ltime > event.ltime => return,
            Some(ltime) if ltime < event.ltime => {
                self.bytes -= held.drain(..).map(|old| cost(&old)).sum::<usize>();
            }
            _ => {}
        }
        self.bytes += bytes;
        held.push(event);
    }

    fn flush(&mut self, out: &mut VecDeque<Event>) {
        self.window.close();
        self.bytes = 0;
        let mut groups: Vec<Vec<UserEvent>> = core::mem::take(&mut self.latest).into_values().collect();
        groups.sort_by_key(|group| group[0].ltime);
        out.extend(groups.into_iter().flatten().map(Event::User));
    }
}

fn cost(event: &UserEvent) -> usize {
    event.name.as_bytes().len() + event.payload.len() + EVENT_BYTES
}

impl Serf {
    /// Tells the owner of something that happened, now or with more of its kind.
    pub(crate) fn emit(&mut self, event: Event) {
        self.coalescer.take(event, &mut self.outbox);
    }

    /// Tells what is held and due.
    pub(crate) fn flush_due(&mut self, now: Instant) {
        self.coalescer.flush_due(now, &mut self.outbox);
    }

    /// Tells what is held.
    pub(crate) fn flush(&mut self) {
        self.coalescer.flush(&mut self.outbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Member, Status, Versions};
    use MemberEventKind::{Failed, Join, Leave, Reap, Update};
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::sync::Arc;
    use alloc::vec;
    use serf_gossip::Address;

    const MS: Duration = Duration::from_millis(1);

    /// A coalescer with a clock.
    struct Line {
        coalescer: Coalescer,
        out: VecDeque<Event>,
        now: Instant,
    }

    impl Line {
        fn new(period: Duration, quiescent: Duration) -> Self {
            let gossip = serf_gossip::Config::lan("me".into(), Address::new(&[10, 0, 0, 1], 7946));
            let config = Config {
                coalesce_period: period,
                quiescent_period: quiescent,
                user_coalesce_period: period,
                user_quiescent_period: quiescent,
                ..Config::new(gossip)
            };
            Self { coalescer: Coalescer::new(&config), out: VecDeque::new(), now: Instant::ZERO }
        }

        fn take(&mut self, event: Event) {
            self.coalescer.take(event, &mut self.out);
            self.coalescer.settle(self.now);
        }

        fn member(&mut self, kind: MemberEventKind, name: &str) {
            self.tagged(kind, name, b"");
        }

        fn tagged(&mut self, kind: MemberEventKind, name: &str, meta: &[u8]) {
            let member = Member {
                name: name.into(),
                addr: Address::new(&[10, 0, 0, 2], 7946),
                meta: meta.into(),
                status: Status::Alive,
                versions: Versions::default(),
            };
            self.take(Event::Member(MemberEvent::one(kind, member)));
        }

        fn user(&mut self, name: &str, ltime: u64, payload: &[u8]) {
            self.take(user(name, ltime, payload, true));
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
            self.coalescer.flush_due(self.now, &mut self.out);
        }

        fn flush(&mut self) -> Vec<String> {
            self.coalescer.flush(&mut self.out);
            self.told()
        }

        /// What came out since the last call, in words.
        fn told(&mut self) -> Vec<String> {
            let tell = |event| match event {
                Event::Member(event) => {
                    let names: Vec<String> = event.members.iter().map(|m| m.name.to_string()).collect();
                    format!("{} {}", event.kind, names.join(" "))
                }
                Event::User(event) => {
                    format!("{} {} {}", event.name, event.ltime, String::from_utf8_lossy(&event.payload))
                }
                other => format!("{other:?}"),
            };
            self.out.drain(..).map(tell).collect()
        }
    }

    fn user(name: &str, ltime: u64, payload: &[u8], coalesce: bool) -> Event {
        Event::User(UserEvent { ltime, name: name.into(), payload: payload.into(), coalesce })
    }

    // "With 5 ms quantum three events merge into one."
    #[test]
    fn a_window_closes_when_it_has_been_open_for_long() {
        let mut line = Line::new(5 * MS, 3 * MS);
        for name in ["b", "a", "c"] {
            line.member(Join, name);
            assert_eq!(line.coalescer.due(), Some(Instant::ZERO + 5 * MS).min(Some(line.now + 3 * MS)));
            line.wait(2 * MS - MS / 2);
            assert_eq!(line.told(), [""; 0]);
        }
        line.wait(MS / 2);
        assert_eq!(line.told(), ["member-join a b c"]);
        assert_eq!(line.coalescer.due(), None);
    }

    // "With 10 s quantum and 10 ms quiescence they merge after quiescence."
    #[test]
    fn a_window_closes_when_nothing_comes_any_more() {
        let mut line = Line::new(10_000 * MS, 10 * MS);
        for ltime in 1..=3 {
            line.user("deploy", ltime, b"x");
            line.wait(9 * MS);
            assert_eq!(line.told(), [""; 0]);
        }
        // One that is dropped counts too.
        line.user("deploy", 1, b"x");
        line.wait(9 * MS);
        assert_eq!(line.told(), [""; 0]);
        line.wait(MS);
        assert_eq!(line.told(), ["deploy 3 x"]);
    }

    #[test]
    fn the_two_kinds_have_windows_of_their_own() {
        let mut line = Line::new(10_000 * MS, 10 * MS);
        line.member(Join, "a");
        line.wait(5 * MS);
        line.user("deploy", 1, b"");
        line.wait(5 * MS);
        assert_eq!(
            (line.told(), line.coalescer.due()),
            (vec!["member-join a".into()], Some(line.now + 5 * MS))
        );
        line.wait(5 * MS);
        assert_eq!(line.told(), ["deploy 1 "]);
    }

    // "Unhandled events pass straight through." "Member coalescer handles exactly the five member types; user
    // coalescer only user events with the coalesce flag."
    #[test]
    fn what_is_not_coalesced_passes_and_overtakes() {
        let mut line = Line::new(MS, MS);
        for (kind, name) in [(Join, "j"), (Leave, "l"), (Failed, "f"), (Update, "u"), (Reap, "r")] {
            line.member(kind, name);
        }
        line.user("held", 1, b"");
        line.take(user("passes", 2, b"", false));
        line.take(Event::Done { id: serf_gossip::CommandId(9), outcome: crate::Outcome::Ok });
        assert_eq!(line.told(), ["passes 2 ", "Done { id: CommandId(9), outcome: Ok }"]);
        assert_eq!(
            line.flush(),
            [
                "member-join j",
                "member-leave l",
                "member-failed f",
                "member-update u",
                "member-reap r",
                "held 1 "
            ]
        );
    }

    #[test]
    fn it_is_off_unless_both_periods_are_set() {
        for (period, quiescent) in [(0, 0), (0, 1), (1, 0)] {
            let mut line = Line::new(period * MS, quiescent * MS);
            line.member(Join, "a");
            line.user("deploy", 1, b"");
            assert_eq!(line.told(), ["member-join a", "deploy 1 "]);
            assert_eq!((line.coalescer.due(), line.coalescer.members.told.len()), (None, 0));
        }
    }

    // "Join+leave of foo and leave of bar → one leave event with both; two updates of zip → one update with the last
    // tags; reap of dead → one reap; three events in total."
    #[test]
    fn of_each_member_the_latest_is_told_in_a_fixed_order() {
        let mut line = Line::new(MS, MS);
        line.member(Reap, "dead");
        line.tagged(Update, "zip", b"foo");
        line.tagged(Update, "zip", b"bar");
        line.member(Join, "foo");
        line.member(Leave, "foo");
        line.member(Leave, "bar");
        line.coalescer.flush(&mut line.out);
        let metas: Vec<Arc<[u8]>> = line
            .out
            .iter()
            .filter_map(|event| match event {
                Event::Member(event) if event.kind == Update => Some(event.members[0].meta.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(metas, [(*b"bar").into()]);
        assert_eq!(line.told(), ["member-leave bar foo", "member-update zip", "member-reap dead"]);
    }

    #[test]
    fn the_five_kinds_are_told_in_one_order() {
        let mut line = Line::new(MS, MS);
        for (kind, name) in [(Reap, "e"), (Update, "d"), (Failed, "c"), (Leave, "b"), (Join, "a")] {
            line.member(kind, name);
        }
        let order =
            ["member-join a", "member-leave b", "member-failed c", "member-update d", "member-reap e"];
        assert_eq!(line.flush(), order);
    }

    // "Two successive updates of one member in different windows are both delivered." B38: and neither again.
    #[test]
    fn updates_in_two_windows_are_two_and_a_third_window_tells_neither() {
        let mut line = Line::new(MS, MS);
        for _ in 0..2 {
            line.member(Update, "zip");
            assert_eq!(line.flush(), ["member-update zip"]);
        }
        line.member(Join, "other");
        assert_eq!(line.flush(), ["member-join other"]);
    }

    #[test]
    fn what_comes_to_nothing_is_not_told() {
        let mut line = Line::new(MS, MS);
        line.member(Join, "a");
        assert_eq!(line.flush(), ["member-join a"]);
        line.member(Failed, "a");
        line.member(Join, "a");
        assert_eq!(line.flush(), [""; 0]);
        line.member(Failed, "a");
        assert_eq!(line.flush(), ["member-failed a"]);
    }

    #[test]
    fn a_member_that_was_forgotten_is_new_when_it_comes_back() {
        let mut line = Line::new(MS, MS);
        for _ in 0..2 {
            line.member(Join, "a");
            assert_eq!(line.flush(), ["member-join a"]);
            line.member(Failed, "a");
            line.member(Reap, "a");
            assert_eq!(line.flush(), ["member-reap a"]);
            assert!(line.coalescer.members.told.is_empty());
        }
    }

    #[test]
    fn a_flood_of_members_closes_the_window_early_and_loses_nobody() {
        let mut line = Line::new(MS, MS);
        line.coalescer.members.max = 3;
        for n in 0..7 {
            line.member(Reap, &n.to_string());
            assert!(line.coalescer.members.latest.len() <= 3);
        }
        line.member(Reap, "6");
        assert_eq!(line.told(), ["member-reap 0 1 2", "member-reap 3 4 5"]);
        assert_eq!(line.flush(), ["member-reap 6"]);
    }

    // "foo at LTime 1 and 2 → only 2; bar twice at LTime 2 with different payloads → both."
    #[test]
    fn of_each_name_the_events_of_the_latest_time_are_told() {
        let mut line = Line::new(MS, MS);
        line.user("foo", 1, b"old");
        line.user("foo", 2, b"new");
        line.user("foo", 1, b"late");
        line.user("bar", 2, b"z");
        line.user("bar", 2, b"a");
        line.user("zip", 1, b"");
        assert_eq!(line.flush(), ["zip 1 ", "bar 2 z", "bar 2 a", "foo 2 new"]);
        assert_eq!(line.flush(), [""; 0]);
        // Windows know nothing of one another.
        line.user("foo", 1, b"old");
        assert_eq!(line.flush(), ["foo 1 old"]);
    }

    #[test]
    fn a_flood_of_user_events_closes_the_window_early_and_loses_none() {
        let mut line = Line::new(MS, MS);
        for n in 0..100 {
            line.user(&n.to_string(), n, &[b'x'; 30_000]);
            let held = &line.coalescer.users;
            assert!(held.bytes <= USER_BYTES_MAX);
            assert_eq!(held.bytes, held.latest.values().flatten().map(cost).sum::<usize>());
        }
        line.coalescer.flush(&mut line.out);
        let times: Vec<u64> = line
            .out
            .iter()
            .filter_map(|event| match event {
                Event::User(event) => Some(event.ltime),
                _ => None,
            })
            .collect();
        assert_eq!(times, (0..100).collect::<Vec<_>>());
        // Of one name only one is held, however many come.
        for ltime in 0..1000 {
            line.user("same", ltime, &[b'x'; 30_000]);
        }
        assert_eq!(line.coalescer.users.latest[&Name::from("same")].len(), 1);
    }
}
