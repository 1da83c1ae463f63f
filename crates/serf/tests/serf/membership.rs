//! Bare gossip, without Serf above it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf::gossip::{Instant, Listener, State, Teller, TransmitQueue};
use serf::{
    Claim, Delegate, Event, Events, Membership, MembershipConfig, MembershipError, MembershipEvent,
    Notification, Peer, Refusal, Status, Tags,
};
use serf_wire::list::List;
use serf_wire::msgpack::Reader;
use serf_wire::serf::{self as messages, MessageKind, PushPull, UserEvent};

use crate::cluster::{addr, becomes};
use crate::{on_both, until, within};

fn config(name: &str, bind: &str) -> MembershipConfig {
    let mut config = MembershipConfig { bind: bind.parse().unwrap(), ..MembershipConfig::local(name) };
    // Nobody who lives is ever taken for dead, however slow the machine.
    config.gossip.probe_interval = crate::LIMIT;
    config.gossip.probe_timeout = crate::LIMIT / 2;
    config.gossip.gossip_interval = Duration::from_millis(20);
    // Two sends, as in the local profile, may both go to a member that is gone.
    config.gossip.retransmit_mult = 4;
    config.gossip.stream_timeout = Duration::from_secs(10);
    config
}

async fn start(name: &str, bind: &str) -> (Membership, Events<MembershipEvent>) {
    Membership::start_with(config(name, bind), Box::new(())).await.unwrap()
}

fn peer(member: &Membership) -> Peer {
    Peer { addr: member.advertise_addr().clone(), name: Some(member.name().clone()) }
}

/// The first event for which there is an answer.
async fn first<T>(events: &mut Events<MembershipEvent>, answer: impl Fn(MembershipEvent) -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(found) = answer(events.recv().await.unwrap()) {
                return found;
            }
        }
    })
    .await
}

const TIMEOUT: Duration = crate::LIMIT;

#[test]
fn members_join_change_talk_and_leave() {
    on_both(async || {
        let (a, mut seen_by_a) = start("a", "127.0.0.1:0").await;
        let (b, mut seen_by_b) = start("b", "127.0.0.2:0").await;
        within(b.join([a.local_addr().to_string()])).await.unwrap();
        first(&mut seen_by_a, |e| {
            matches!(e, MembershipEvent::Joined(m) if m.name == "b".into()).then_some(())
        })
        .await;
        let names: Vec<_> = a.members().await.unwrap().iter().map(|m| m.name.to_string()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(Arc::ptr_eq(&a.members().await.unwrap(), &a.members().await.unwrap()));

        within(b.update_meta(b"rack 7", TIMEOUT)).await.unwrap();
        let meta = first(&mut seen_by_a, |e| match e {
            MembershipEvent::Updated(m) => Some(m.meta.clone()),
            _ => None,
        });
        assert_eq!(*meta.await, *b"rack 7");
        assert_eq!(*a.members().await.unwrap()[1].meta, *b"rack 7");
        let error = within(b.update_meta(vec![0; 513], TIMEOUT)).await.unwrap_err();
        assert_eq!(error.to_string(), "the meta data is 513 bytes long; the limit is 512");

        let message = |e| match e {
            MembershipEvent::Message { bytes, .. } => Some(bytes),
            _ => None,
        };
        a.send(peer(&b), b"hello").await.unwrap();
        assert_eq!(first(&mut seen_by_b, message).await, b"hello");
        let large: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        within(a.send_reliable(peer(&b), large.clone())).await.unwrap();
        assert!(first(&mut seen_by_b, message).await == large);
        assert!(within(a.ping(peer(&b))).await.unwrap() > Duration::ZERO);

        within(b.leave(TIMEOUT)).await.unwrap();
        let state = first(&mut seen_by_a, |e| match e {
            MembershipEvent::Left(m) => Some(m.state),
            _ => None,
        });
        assert_eq!(state.await, State::Left);
        assert_eq!(a.members().await.unwrap().len(), 1);
    });
}

#[test]
fn one_that_is_gone_is_found_dead() {
    on_both(async || {
        let mut quick = config("a", "127.0.0.1:0");
        quick.gossip.probe_interval = Duration::from_millis(200);
        quick.gossip.probe_timeout = Duration::from_millis(100);
        let (a, mut seen) = Membership::start_with(quick, Box::new(())).await.unwrap();
        let (b, _) = start("b", "127.0.0.2:0").await;
        within(b.join([a.local_addr().to_string()])).await.unwrap();
        let gone = peer(&b);
        within(b.shutdown()).await;
        let state = first(&mut seen, |e| match e {
            MembershipEvent::Left(m) => Some(m.state),
            _ => None,
        });
        assert_eq!(state.await, State::Dead);
        let error = within(a.ping(gone.clone())).await.unwrap_err();
        assert!(matches!(error, MembershipError::Failed(_)), "{error}");
        let error = within(a.send_reliable(gone, b"anybody?")).await.unwrap_err();
        assert!(error.to_string().ends_with("connect: connection refused"), "{error}");
    });
}

#[test]
fn a_delegate_decides_who_may_be_a_member() {
    struct Only(&'static [u8]);
    impl Delegate for Only {
        fn accept_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
            if claim.name.starts_with(self.0) { Ok(()) } else { Err(Refusal("not ours".into())) }
        }
    }
    on_both(async || {
        let (ours, mut seen) =
            Membership::start_with(config("ours-1", "127.0.0.1:0"), Box::new(Only(b"ours-"))).await.unwrap();
        let (stranger, _) = start("stranger", "127.0.0.2:0").await;
        let (second, _) = start("ours-2", "127.0.0.3:0").await;
        for other in [&stranger, &second] {
            within(other.join([ours.local_addr().to_string()])).await.unwrap();
        }
        first(&mut seen, |e| {
            matches!(e, MembershipEvent::Joined(m) if m.name == "ours-2".into()).then_some(())
        })
        .await;
        let names: Vec<_> = ours.members().await.unwrap().iter().map(|m| m.name.to_string()).collect();
        assert_eq!(names, ["ours-1", "ours-2"]);
    });
}

/// What a delegate was told and asked, in lines.
#[derive(Clone, Default)]
struct Diary {
    lines: Arc<Mutex<Vec<String>>>,
    news: Arc<Mutex<TransmitQueue>>,
    says_in_acks: &'static [u8],
    state: Vec<u8>,
}

impl Diary {
    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn has(&self, line: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|l| l == line)
    }

    async fn tells(&self, line: &str) {
        until(|| self.has(line)).await;
    }
}

impl Delegate for Diary {
    fn notify(&mut self, _: Instant, what: Notification<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.note(match what {
            Notification::Joined(member) => format!("{} joined", member.name),
            Notification::Left(member) => format!("{} is {:?}", member.name, member.state),
            Notification::Updated(member) => format!("{} has meta {}", member.name, text(&member.meta)),
            Notification::Message { bytes, .. } => format!("message {}", text(bytes)),
            Notification::RemoteState { bytes, join } => format!("state {} (join {join})", text(bytes)),
            Notification::PingCompleted { member, payload, .. } => {
                format!("{} says {}", member.name, text(payload))
            }
            Notification::Conflict { existing, meta, .. } => {
                format!("{} claimed with meta {}", existing.name, text(meta))
            }
            _ => return,
        });
    }

    fn broadcasts(
        &mut self,
        _: Instant,
        to: Listener,
        overhead: usize,
        limit: usize,
        put: &mut dyn FnMut(&[u8]),
    ) {
        self.news.lock().unwrap().take(to, overhead, limit, 4, |message| put(message));
    }

    fn has_broadcasts(&self) -> bool {
        !self.news.lock().unwrap().is_empty()
    }

    fn local_state(&mut self, join: bool, out: &mut Vec<u8>) {
        self.note(format!("asked for state (join {join})"));
        out.extend_from_slice(&self.state);
    }

    fn accept_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
        if claim.meta != b"unwanted" {
            return Ok(());
        }
        self.note("refused one".into());
        Err(Refusal("unwanted".into()))
    }

    fn accept_merge(&mut self, claims: &[Claim<'_>]) -> Result<(), Refusal> {
        if !claims.iter().any(|claim| claim.meta == b"poison") {
            self.note(format!("merged {}", claims.len()));
            return Ok(());
        }
        self.note(format!("refused to merge {}", claims.len()));
        Err(Refusal("poison".into()))
    }

    fn filters_merges(&self) -> bool {
        true
    }

    fn ack_payload(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.says_in_acks);
        true
    }
}

fn probing(name: &str, bind: &str) -> MembershipConfig {
    let mut config = config(name, bind);
    config.gossip.probe_interval = Duration::from_millis(20);
    config.gossip.probe_timeout = Duration::from_millis(15);
    config.gossip.suspicion_mult = 10_000;
    config
}

#[test]
fn a_delegate_takes_part_in_everything_its_own_pool_does() {
    on_both(async || {
        let diary = |state: &str, ack| Diary { state: state.into(), says_in_acks: ack, ..Diary::default() };
        let (one, two) = (diary("state of one", b"ack of one"), diary("state of two", b"ack of two"));
        let a = Membership::start_with(probing("a", "127.0.0.1:0"), Box::new(one.clone())).await.unwrap().0;
        let b = Membership::start_with(probing("b", "127.0.0.2:0"), Box::new(two.clone())).await.unwrap().0;
        within(b.join([a.local_addr().to_string()])).await.unwrap();
        one.tells("b joined").await;
        one.tells("asked for state (join true)").await;
        one.tells("state state of two (join true)").await;
        two.tells("state state of one (join true)").await;
        one.tells("merged 1").await;
        one.tells("b says ack of two").await;
        two.tells("a says ack of one").await;

        within(b.update_meta(b"rack 7", TIMEOUT)).await.unwrap();
        one.tells("b has meta rack 7").await;
        a.send(peer(&b), b"in person").await.unwrap();
        two.tells("message in person").await;
        two.news.lock().unwrap().push(Arc::from(&b"for all"[..]), None, Teller::NOBODY, None);
        b.wake().await.unwrap();
        one.tells("message for all").await;

        let mut poison = config("c", "127.0.0.3:0");
        poison.gossip.meta = b"poison".to_vec();
        let c = Membership::start(poison).await.unwrap();
        // We do not take over its list. It learns of us and gossips, and may so come in by itself.
        drop(within(c.join([a.local_addr().to_string()])).await);
        one.tells("refused to merge 1").await;
        let mut unwanted = config("d", "127.0.0.4:0");
        unwanted.gossip.meta = b"unwanted".to_vec();
        let d = Membership::start(unwanted).await.unwrap();
        drop(within(d.join([a.local_addr().to_string()])).await);
        one.tells("refused one").await;
        assert!(a.members().await.unwrap().iter().all(|m| m.name != "d".into()));

        within(b.leave(TIMEOUT)).await.unwrap();
        one.tells("b is Left").await;
    });
}

/// The words of Serf, as far as a guest needs them. Its diary has lines of its own.
struct Guest(Diary);

impl Delegate for Guest {
    fn notify(&mut self, _: Instant, what: Notification<'_>) {
        match what {
            Notification::Message { bytes, .. } => {
                if let Ok((MessageKind::UserEvent, body)) = MessageKind::split(bytes)
                    && let Ok(event) = UserEvent::read(&mut Reader::new(body))
                {
                    self.0.note(format!("event {}", String::from_utf8_lossy(event.name)));
                }
            }
            Notification::RemoteState { bytes, join } => {
                if let Ok((MessageKind::PushPull, body)) = MessageKind::split(bytes)
                    && let Ok(state) = PushPull::read(&mut Reader::new(body))
                {
                    let members = state.status_ltimes.iter().count();
                    self.0.note(format!("state of {members} (join {join})"));
                }
            }
            _ => {}
        }
    }

    fn local_state(&mut self, _: bool, out: &mut Vec<u8>) {
        let joined = [(&b"guest"[..], 1)];
        let state = PushPull {
            ltime: 1,
            status_ltimes: List::of(&joined),
            event_ltime: 1,
            query_ltime: 1,
            ..PushPull::default()
        };
        messages::put(out, MessageKind::PushPull, |w| state.write(w));
    }
}

/// A pool of another program, whose delegate has a language of its own: here Serf's.
#[test]
fn a_bare_member_is_a_guest_in_a_cluster_of_serfs() {
    on_both(async || {
        let host = crate::cluster::start("host", "127.0.0.1:0").await;
        let mut events = host.subscribe().await.unwrap();
        let diary = Diary::default();
        let mut config = config("guest", "127.0.0.2:0");
        config.gossip.delegate_versions = [2, 5, 4];
        // Tags, as Serf writes them.
        config.gossip.meta = b"\xff\x81\xa4role\xa5guest".to_vec();
        let (guest, _) = Membership::start_with(config, Box::new(Guest(diary.clone()))).await.unwrap();
        within(guest.join([addr(&host)])).await.unwrap();
        becomes(&host, "guest", Some(Status::Alive)).await;
        let tags = host.member("guest").await.unwrap().unwrap().tags();
        assert_eq!(tags, Tags::from([("role".into(), "guest".into())]));
        diary.tells("state of 1 (join true)").await;

        host.user_event("deploy", b"v1", false).await.unwrap();
        diary.tells("event deploy").await;
        let mut bytes = Vec::new();
        let event = UserEvent {
            ltime: 7,
            name: b"hello",
            payload: Some((&b"from the guest"[..]).into()),
            coalesce: false,
        };
        messages::put(&mut bytes, MessageKind::UserEvent, |w| event.write(w));
        let to = Peer { addr: host.advertise_addr().clone(), name: None };
        within(guest.send_reliable(to, bytes)).await.unwrap();
        within(async {
            loop {
                if let Event::User(event) = events.recv().await.unwrap()
                    && event.name == "hello".into()
                {
                    return assert_eq!(*event.payload, *b"from the guest");
                }
            }
        })
        .await;

        within(guest.leave(TIMEOUT)).await.unwrap();
        // Who says goodbye without the word of Serf for it is taken for failed by Serf.
        becomes(&host, "guest", Some(Status::Failed)).await;
    });
}
