//! A member of a gossip pool without Serf above it, as a program holds it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serf_core::ConfigError;
use serf_gossip::{
    Address, Command, CommandId, Delegate, Gossip, Member, Membership as Machine, MembershipEvent, Name,
    Outcome, Peer, Stats,
};

use crate::config::{self, BIRTH, MembershipConfig, Place};
use crate::driver::{Closed, DriverStats};
use crate::error::{MembershipError, StartError};
use crate::handle::{Events, Handle, Served, Sorted};
use crate::join::{Joined, Plan};
use crate::resolve::Resolver;
use crate::runtime;

/// A member of a gossip pool: who is there, who failed, and messages between members. For programs that want no tags,
/// no user events and no queries; those have [`crate::Serf`].
///
/// This is a handle. Cloning it is cheap, and every clone is the same member. When the last one is dropped the member
/// stops, and its port is free; peers will take that for a failure, unless it [left](Membership::leave) before.
///
/// ```
/// use serf::{Membership, MembershipConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let bind = "127.0.0.1:0".parse()?;
/// let a = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("a") }).await?;
/// let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
/// b.join([a.local_addr().to_string()]).await?;
/// assert_eq!(b.members().await?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Membership {
    handle: Handle<Machine>,
    place: Arc<Place>,
    resolver: Arc<dyn Resolver>,
    list: Arc<Mutex<List>>,
}

/// The member list as of some version.
#[derive(Default)]
struct List {
    version: Option<Version>,
    members: Arc<[Member]>,
}

/// Changes whenever a claim about somebody was believed, or somebody was forgotten.
type Version = (u64, u64, u64, usize);

fn version(gossip: &Gossip) -> Version {
    let stats = gossip.stats();
    (stats.alive, stats.suspect, stats.dead, gossip.members().known())
}

impl Membership {
    /// Starts a member that knows only itself, on its [`MembershipConfig::runtime`] or else the current tokio runtime.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// assert_eq!(a.name(), &"a".into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// A setting cannot work, an address cannot be had, or there is no runtime.
    pub async fn start(config: MembershipConfig) -> Result<Self, StartError> {
        Ok(Self::start_with(config, Box::new(())).await?.0)
    }

    /// The same with a delegate, which decides who may be a member, brings broadcasts and states of its own, and is
    /// called in the driver's task, so that it must not block; and with a subscription that begins with the member's
    /// own join.
    ///
    /// ```
    /// use serf::{Claim, Delegate, Membership, MembershipConfig, MembershipEvent, Refusal};
    ///
    /// struct OnlyMine;
    /// impl Delegate for OnlyMine {
    ///     fn accept_alive(&mut self, claim: &Claim<'_>) -> Result<(), Refusal> {
    ///         if claim.name.starts_with(b"mine-") { Ok(()) } else { Err(Refusal("not mine".into())) }
    ///     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("mine-1") };
    /// let (member, mut events) = Membership::start_with(config, Box::new(OnlyMine)).await?;
    /// assert!(matches!(events.recv().await, Some(MembershipEvent::Joined(m)) if m.name == *member.name()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// See [`Membership::start`].
    pub async fn start_with(
        config: MembershipConfig,
        delegate: Box<dyn Delegate + Send>,
    ) -> Result<(Self, Events<MembershipEvent>), StartError> {
        let MembershipConfig { bind, advertise, advertise_port, event_queue, .. } = config;
        let MembershipConfig { transport, runtime, resolver, mut gossip, .. } = config;
        let runtime = runtime.map_or_else(runtime::current, Ok)?;
        let sockets = transport.bind(bind, &runtime)?;
        let place = config::settle(sockets.local, advertise, advertise_port, &mut gossip)?;
        let machine = Machine::new(gossip, config::seed()?, BIRTH, delegate).map_err(ConfigError::Gossip)?;
        let (handle, events) = Handle::start(machine, sockets, runtime, event_queue, |_| ());
        Ok((Self { handle, place: Arc::new(place), resolver, list: Arc::default() }, events))
    }

    /// Exchanges full states with these, each `[name/]host[:port]`, or whatever [`MembershipConfig::resolver`] takes; a
    /// port left out is our own.
    ///
    /// All of them are contacted, and one that answers is enough. It takes at most 10 seconds for every 16 names to
    /// look up, and three times [`serf_gossip::Config::stream_timeout`] for every 8 addresses. Dropping the future
    /// stops lookups; members that are being contacted may be joined nevertheless.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let a = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("a") }).await?;
    /// # let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
    /// let joined = b.join([a.local_addr().to_string()]).await?;
    /// assert_eq!(joined.contacted.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Nobody was contacted, which the text tells of everybody.
    pub async fn join<S: AsRef<str>>(
        &self,
        addresses: impl IntoIterator<Item = S>,
    ) -> Result<Joined, MembershipError> {
        let runtime = self.handle.remote().runtime();
        let plan = Plan::make(addresses, self.place.local.port(), &self.resolver, runtime).await;
        let peers = plan.peers();
        match self.handle.command(move |id| Command::Join { id, peers }).await? {
            Outcome::Joined { contacted, failed } => Ok(plan.account(contacted, failed)?),
            Outcome::Failed(why) => Err(why.into()),
            _ => Ok(Joined::default()),
        }
    }

    /// Says goodbye, and waits until that has been gossiped. The member goes on answering peers until it is
    /// [shut down](Membership::shutdown) or dropped.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// a.leave(std::time::Duration::from_secs(5)).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// It was not gossiped often enough in that time. We have left all the same.
    pub async fn leave(&self, timeout: Duration) -> Result<(), MembershipError> {
        self.done(move |id| Command::Leave { id, timeout }).await
    }

    /// Stops the member and waits until its port is free. Tells nobody: peers take it for a failure, unless it left
    /// before.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// a.shutdown().await;
    /// assert!(a.members().await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn shutdown(&self) {
        self.handle.remote().shutdown().await;
    }

    /// Waits until the member is gone: shut down by another handle, or by a fault.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// tokio::join!(a.closed(), a.shutdown());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn closed(&self) {
        self.handle.remote().closed().await;
    }

    /// Those who are there, suspected ones included, sorted by name. The list is shared by all who ask, and made anew
    /// only after something in it changed.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// assert_eq!(a.members().await?[0].name, "a".into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The member is gone.
    pub async fn members(&self) -> Result<Arc<[Member]>, Closed> {
        let list = self.list.clone();
        self.handle
            .look(move |machine| {
                let gossip = machine.gossip();
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                let version = Some(version(gossip));
                if list.version != version {
                    let mut members: Vec<Member> =
                        gossip.members().iter().filter(|m| !m.state.is_gone()).cloned().collect();
                    members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                    *list = List { version, members: members.into() };
                }
                list.members.clone()
            })
            .await
    }

    /// Ourselves.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// assert_eq!(a.local().await?.addr, *a.advertise_addr());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The member is gone.
    pub async fn local(&self) -> Result<Member, Closed> {
        self.handle.look(|machine| machine.gossip().local().clone()).await
    }

    /// Announces new meta data. It is in force at once; the wait is until it has been gossiped. A timeout of zero
    /// waits for ever.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// a.update_meta(b"rack 7", std::time::Duration::from_secs(5)).await?;
    /// assert_eq!(*a.local().await?.meta, *b"rack 7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// It is longer than 512 bytes, and nothing was changed; or it was not gossiped in time, and still will be.
    pub async fn update_meta(
        &self,
        meta: impl Into<Vec<u8>>,
        timeout: Duration,
    ) -> Result<(), MembershipError> {
        let meta = meta.into();
        self.done(move |id| Command::UpdateMeta { id, meta, timeout }).await
    }

    /// Measures the round trip to somebody.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig, Peer};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let a = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("a") }).await?;
    /// # let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
    /// let peer = Peer { addr: b.advertise_addr().clone(), name: Some("b".into()) };
    /// assert!(a.ping(peer).await? < std::time::Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn ping(&self, peer: Peer) -> Result<Duration, MembershipError> {
        match self.handle.command(move |id| Command::Ping { id, peer }).await? {
            Outcome::Pong(rtt) => Ok(rtt),
            Outcome::Failed(why) => Err(why.into()),
            _ => Ok(Duration::ZERO),
        }
    }

    /// Sends a message in one datagram, which may be lost. It comes as [`MembershipEvent::Message`].
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig, MembershipEvent, Peer};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let a = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("a") }).await?;
    /// # let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
    /// let mut events = b.subscribe().await?;
    /// a.send(Peer { addr: b.advertise_addr().clone(), name: None }, b"hello").await?;
    /// while let Some(event) = events.recv().await {
    ///     if let MembershipEvent::Message { bytes, .. } = event {
    ///         assert_eq!(bytes, b"hello");
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The member is gone.
    pub async fn send(&self, to: Peer, message: impl Into<Vec<u8>>) -> Result<(), Closed> {
        self.handle.order(Command::Send { to, bytes: message.into() }).await
    }

    /// Sends a message of up to 20 MiB over a stream, and waits until the network has taken it.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig, MembershipEvent, Peer};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let a = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("a") }).await?;
    /// # let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
    /// let peer = Peer { addr: b.advertise_addr().clone(), name: None };
    /// a.send_reliable(peer, vec![7; 100_000]).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// It is too long, and nothing was sent; or the stream broke, and it may have come or not.
    pub async fn send_reliable(&self, to: Peer, message: impl Into<Vec<u8>>) -> Result<(), MembershipError> {
        let bytes = message.into();
        self.done(move |id| Command::SendReliable { id, to, bytes }).await
    }

    /// Says that the [`Delegate`] has broadcasts to make, which were queued outside of its calls: gossip begins at once.
    /// Without this they wait until the member has something else to do, at most for a
    /// [`probe_interval`](crate::gossip::Config::probe_interval) if there are others.
    ///
    /// Gossip sends each message to a few members, a few times, as often as the [`TransmitQueue`] is told to; that reaches
    /// everybody in a small pool. In a large one whoever hears news queues it too.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use serf::gossip::{Instant, Listener, Teller, TransmitQueue, retransmit_limit};
    /// use serf::{Delegate, Membership, MembershipConfig, MembershipEvent};
    ///
    /// #[derive(Clone, Default)]
    /// struct News(Arc<Mutex<TransmitQueue>>);
    ///
    /// impl Delegate for News {
    ///     fn broadcasts(
    ///         &mut self,
    ///         _: Instant,
    ///         to: Listener,
    ///         overhead: usize,
    ///         limit: usize,
    ///         put: &mut dyn FnMut(&[u8]),
    ///     ) {
    ///         let times = retransmit_limit(4, 2);
    ///         self.0.lock().unwrap().take(to, overhead, limit, times, |message| put(message));
    ///     }
    ///     fn has_broadcasts(&self) -> bool {
    ///         !self.0.lock().unwrap().is_empty()
    ///     }
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// let news = News::default();
    /// let config = MembershipConfig { bind, ..MembershipConfig::local("a") };
    /// let (a, _) = Membership::start_with(config, Box::new(news.clone())).await?;
    /// let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
    /// b.join([a.local_addr().to_string()]).await?;
    /// let mut events = b.subscribe().await?;
    ///
    /// news.0.lock().unwrap().push(Arc::from(&b"it rains"[..]), None, Teller::NOBODY, None);
    /// a.wake().await?;
    /// while let Some(event) = events.recv().await {
    ///     if let MembershipEvent::Message { bytes, .. } = event {
    ///         assert_eq!(bytes, b"it rains");
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The member is gone.
    ///
    /// [`TransmitQueue`]: crate::gossip::TransmitQueue
    pub async fn wake(&self) -> Result<(), Closed> {
        self.handle.order(Command::Wake).await
    }

    /// What happens from now on, in a queue of its own of [`MembershipConfig::event_queue`] events. Events that answer
    /// commands and log lines are not among them.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig, MembershipEvent};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let a = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("a") }).await?;
    /// # let b = Membership::start(MembershipConfig { bind, ..MembershipConfig::local("b") }).await?;
    /// let mut events = a.subscribe().await?;
    /// b.join([a.local_addr().to_string()]).await?;
    /// assert!(matches!(events.recv().await, Some(MembershipEvent::Joined(m)) if m.name == "b".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The member is gone.
    pub async fn subscribe(&self) -> Result<Events<MembershipEvent>, Closed> {
        self.handle.subscribe().await
    }

    /// What the member has done, and its health score, 0 being healthy.
    ///
    /// ```
    /// # use serf::{Membership, MembershipConfig};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = MembershipConfig { bind: "127.0.0.1:0".parse()?, ..MembershipConfig::lan("a") };
    /// let a = Membership::start(config).await?;
    /// let (stats, health) = a.stats().await?;
    /// assert_eq!((stats.bad_packets, health), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The member is gone.
    pub async fn stats(&self) -> Result<(Stats, u32), Closed> {
        self.handle.look(|machine| (*machine.gossip().stats(), machine.gossip().health())).await
    }

    /// What the driver has done so far.
    #[must_use]
    pub fn driver_stats(&self) -> DriverStats {
        self.handle.remote().stats()
    }

    /// The name others know us by.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.place.name
    }

    /// Where we listen: the address that was asked for, with the port that was got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.place.local
    }

    /// What others are told.
    #[must_use]
    pub fn advertise_addr(&self) -> &Address {
        &self.place.advertise
    }

    async fn done(
        &self,
        make: impl FnOnce(CommandId) -> Command + Send + 'static,
    ) -> Result<(), MembershipError> {
        match self.handle.command(make).await? {
            Outcome::Failed(why) => Err(why.into()),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Served for Machine {
    type Outcome = Outcome;
    type News = MembershipEvent;
    type Part = Infallible;
    type Clerk = ();

    fn sort(event: MembershipEvent, (): &mut ()) -> Sorted<Self> {
        match event {
            MembershipEvent::Done { id, outcome } => Sorted::Done(id, outcome),
            MembershipEvent::Notice(notice) => Sorted::Notice(notice),
            news => Sorted::News(news),
        }
    }
}
