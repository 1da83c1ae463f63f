//! Bare gossip, without Serf above it.

use std::time::Duration;

use serf::{
    Claim, Delegate, Events, Membership, MembershipConfig, MembershipError, MembershipEvent, Peer, Refusal,
};

use crate::{on_both, within};

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
        assert!(std::sync::Arc::ptr_eq(&a.members().await.unwrap(), &a.members().await.unwrap()));

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
        assert_eq!(state.await, serf_gossip::State::Left);
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
        assert_eq!(state.await, serf_gossip::State::Dead);
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
