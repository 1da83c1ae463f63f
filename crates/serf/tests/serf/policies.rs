//! Decisions that programs take in the node's place, on real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serf::{
    Address, Config, Error, JoinFailure, Member, PingPolicy, Policies, Refusal, Serf, StartError, Status,
    Tags,
};

use crate::cluster::{addr, becomes, config, start};
use crate::{on_both, until, within};

fn with(name: &str, bind: &str, policies: Policies) -> Config {
    Config { policies, ..config(name, bind) }
}

fn tagged(name: &str, bind: &str, key: &str) -> Config {
    Config { tags: Tags::from([(key.to_owned(), "x".to_owned())]), ..config(name, bind) }
}

fn nobody_banned(members: &[Member]) -> Result<(), Refusal> {
    match members.iter().find(|member| member.tags().contains_key("banned")) {
        Some(banned) => Err(Refusal(format!("{} is banned", banned.name))),
        None => Ok(()),
    }
}

/// Only a closure is needed, and only for those decisions that the program wants.
#[test]
fn a_merge_policy_cancels_a_join_on_the_side_that_has_it() {
    on_both(async || {
        let policies = Policies { merge: Some(Arc::new(nobody_banned)), ..Policies::default() };
        let strict = Serf::start(with("strict", "127.0.0.1:0", policies)).await.unwrap();
        let banned = Serf::start(tagged("banned", "127.0.0.2:0", "banned")).await.unwrap();
        let error = within(strict.join([addr(&banned)])).await.unwrap_err();
        let Error::NotJoined(failures) = error else { panic!("{error}") };
        let [JoinFailure::Contact { why, .. }] = &failures.0[..] else { panic!("{failures}") };
        assert!(why.contains("banned is banned"), "{why}");
        assert_eq!(strict.members().await.unwrap().len(), 1);

        let other = start("other", "127.0.0.3:0").await;
        within(other.join([addr(&strict)])).await.unwrap();
        becomes(&strict, "other", Some(Status::Alive)).await;
        assert!(strict.stats().await.unwrap().serf.refused_claims > 0);
    });
}

#[test]
fn an_alive_policy_hides_a_member_from_who_has_it_and_from_nobody_else() {
    on_both(async || {
        let alive = |member: &Member| nobody_banned(std::slice::from_ref(member));
        let policies = Policies { alive: Some(Arc::new(alive)), ..Policies::default() };
        let choosy = Serf::start(with("choosy", "127.0.0.1:0", policies)).await.unwrap();
        let banned = Serf::start(tagged("banned", "127.0.0.2:0", "banned")).await.unwrap();
        let other = start("other", "127.0.0.3:0").await;
        within(other.join([addr(&banned)])).await.unwrap();
        // The join is not cancelled: everybody else in the list is fine.
        within(choosy.join([addr(&other)])).await.unwrap();
        becomes(&banned, "choosy", Some(Status::Alive)).await;
        let names: Vec<_> = choosy.members().await.unwrap().iter().map(|m| m.name.to_string()).collect();
        assert_eq!(names, ["choosy", "other"]);
    });
}

#[test]
fn a_reap_policy_keeps_some_members_longer_than_others() {
    on_both(async || {
        let policies =
            Policies {
                reap: Some(Arc::new(|member: &Member, default: Duration| {
                    if member.tags().contains_key("spare") { Duration::ZERO } else { default }
                })),
                ..Policies::default()
            };
        let keeper =
            Config { reap_interval: Duration::from_millis(50), ..with("a", "127.0.0.1:0", policies) };
        let keeper = Serf::start(keeper).await.unwrap();
        let spare = Serf::start(tagged("spare", "127.0.0.2:0", "spare")).await.unwrap();
        let dear = start("dear", "127.0.0.3:0").await;
        for node in [&spare, &dear] {
            within(node.join([addr(&keeper)])).await.unwrap();
            becomes(&keeper, node.name().to_string().as_str(), Some(Status::Alive)).await;
        }
        for node in [&dear, &spare] {
            within(node.leave()).await.unwrap();
        }
        becomes(&keeper, "spare", None).await;
        becomes(&keeper, "dear", Some(Status::Left)).await;
    });
}

#[test]
fn a_conflict_policy_is_told_who_claims_whose_name() {
    on_both(async || {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = told.clone();
        let conflict = move |member: &Member, claimant: &Address, default: bool| {
            tell.lock().unwrap().push((member.name.to_string(), claimant.clone(), default));
            false
        };
        let policies = Policies { conflict: Some(Arc::new(conflict)), ..Policies::default() };
        let first = Serf::start(with("twin", "127.0.0.1:0", policies)).await.unwrap();
        let second = start("twin", "127.0.0.2:0").await;
        drop(within(second.join([addr(&first)])).await);
        until(|| !told.lock().unwrap().is_empty()).await;
        let told = told.lock().unwrap();
        assert_eq!(told[0], ("twin".to_owned(), second.advertise_addr().clone(), true));
    });
}

/// Tells others one number, and keeps theirs.
struct Load {
    ours: u8,
    theirs: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Load {
    fn new(ours: u8) -> Arc<Self> {
        Arc::new(Self { ours, theirs: Mutex::default() })
    }

    async fn hears(&self, name: &str, payload: &[u8]) {
        until(|| self.theirs.lock().unwrap().iter().any(|(n, p)| n == name && p == payload)).await;
    }
}

impl PingPolicy for Load {
    fn payload(&self, out: &mut Vec<u8>) {
        out.push(self.ours);
    }

    fn answered(&self, member: &Member, rtt: Duration, payload: &[u8]) {
        let _ = rtt;
        self.theirs.lock().unwrap().push((member.name.to_string(), payload.to_vec()));
    }
}

/// Probes often, and suspects nobody for as long as a test may take.
fn probing(name: &str, bind: &str, load: &Arc<Load>) -> Config {
    let policies = Policies { ping: Some(load.clone()), ..Policies::default() };
    let mut config = with(name, bind, policies);
    config.gossip.probe_interval = Duration::from_millis(20);
    config.gossip.probe_timeout = Duration::from_millis(15);
    config.gossip.suspicion_mult = 10_000;
    config
}

#[test]
fn what_a_program_says_in_acks_is_heard_and_coordinates_go_on() {
    on_both(async || {
        let (load_a, load_b) = (Load::new(7), Load::new(8));
        let a = Serf::start(probing("a", "127.0.0.1:0", &load_a)).await.unwrap();
        let b = Serf::start(probing("b", "127.0.0.2:0", &load_b)).await.unwrap();
        // This one has nothing to say.
        let c = start("c", "127.0.0.3:0").await;
        for node in [&b, &c] {
            within(node.join([addr(&a)])).await.unwrap();
        }
        within(load_a.hears("b", &[8])).await;
        within(load_b.hears("a", &[7])).await;
        within(load_a.hears("c", &[])).await;
        assert!(a.cached_coordinate("b").await.unwrap().is_some());
        assert!(a.cached_coordinate("c").await.unwrap().is_some());
        assert_eq!(a.stats().await.unwrap().serf.rejected_coordinates, 0);
    });
}

#[test]
fn a_ping_policy_without_coordinates_is_refused_at_the_start() {
    on_both(async || {
        let config = Config { disable_coordinates: true, ..probing("a", "127.0.0.1:0", &Load::new(1)) };
        let error = Serf::start(config).await.unwrap_err();
        assert!(matches!(error, StartError::Config(serf::ConfigError::PingPolicy)), "{error}");
    });
}

#[test]
fn all_policies_go_together() {
    on_both(async || {
        let policies = Policies {
            merge: Some(Arc::new(nobody_banned)),
            alive: Some(Arc::new(|_: &Member| Ok(()))),
            reap: Some(Arc::new(|_: &Member, default: Duration| default)),
            conflict: Some(Arc::new(|_: &Member, _: &Address, default: bool| default)),
            ping: Some(Load::new(1)),
            ..Policies::default()
        };
        let a = Serf::start(with("a", "127.0.0.1:0", policies.clone())).await.unwrap();
        let b = Serf::start(with("b", "127.0.0.2:0", policies)).await.unwrap();
        within(b.join([addr(&a)])).await.unwrap();
        becomes(&a, "b", Some(Status::Alive)).await;
    });
}
