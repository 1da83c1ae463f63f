//! A node of a Serf cluster, as a program holds it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serf_core::{Answer, Command, Coordinate, Member, Node, NodeState, Outcome, Query, Tags, Vitals};
use serf_gossip::{Address, Name};
use serf_wire::encrypt::Key;
use tokio::sync::RwLock;

use crate::config::{self, BIRTH, Config, Place};
use crate::driver::{Closed, DriverStats, WeakRemote};
use crate::error::{Error, StartError};
use crate::event::Event;
use crate::handle::{Events, Handle, Request, Served, Sorted};
use crate::identity::{self, Face, Identity, Kind, NodeAddress};
use crate::join::{Joined, Plan};
use crate::keyring::Keeper;
use crate::keys::{KeyManager, Turn};
use crate::meter::Meter;
use crate::query::{self, Answers, Part, QueryEvent};
use crate::resolve::Resolver;
use crate::runtime;
use crate::snapshot::{self, Scribe, Written};

/// A node of a Serf cluster: members with tags, on top of the gossip of [`crate::Membership`].
///
/// This is a handle. Cloning it is cheap, and every clone is the same node. When the last one is dropped the node
/// stops, and its port is free; peers will take that for a failure, unless it [left](Serf::leave) before.
///
/// ```
/// use serf::{Config, Serf};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let bind = "127.0.0.1:0".parse()?;
/// let a = Serf::start(Config { bind, ..Config::local("a") }).await?;
/// let b = Serf::start(Config { bind, ..Config::local("b") }).await?;
/// b.join([a.local_addr().to_string()]).await?;
/// let names: Vec<String> = b.members().await?.iter().map(|m| m.name.to_string()).collect();
/// assert_eq!(names, ["a", "b"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// The parameters are what names and addresses are to the program; see [`Identity`] and [`NodeAddress`]. `Serf` alone has
/// them as they are on the wire.
pub struct Serf<I = Name, A = Address> {
    handle: Handle<Node>,
    place: Arc<Place>,
    face: Arc<Face<I, A>>,
    resolver: Arc<dyn Resolver>,
    key_turn: Turn,
    /// Of a node with a snapshot file.
    written: Option<Written>,
}

/// What a node has done, and how it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How it is now: members by status, clocks, queues.
    pub vitals: Vitals,
    /// What the Serf layer has done.
    pub serf: serf_core::Stats,
    /// What the gossip layer has done.
    pub gossip: serf_gossip::Stats,
    /// What the driver has done.
    pub driver: DriverStats,
    /// Claims, queries and answers of nodes whose name or address is none of this node's types: see [`Identity`]. They
    /// were refused.
    pub strangers: u64,
}

impl Serf {
    /// Starts a node on its [`Config::runtime`], or else the current tokio runtime. It knows only itself; with a [`Config::snapshot_path`], in
    /// whose file it was before, it goes on where it was: user events and queries from before are not told again, and it
    /// joins the cluster of one of those that it knew, whichever answers first. For as long as nobody does it goes on
    /// trying, up to [`Config::reconnect_timeout`]. A node that has left does not, see [`Config::rejoin_after_leave`].
    ///
    /// ```
    /// use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert_eq!(serf.name(), &"web-1".into());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// A setting cannot work, an address cannot be had, the snapshot file cannot be opened or read, or there is no
    /// runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Ok(Self::start_with_events(config).await?.0)
    }

    /// The same, with a subscription that begins with the node's own join.
    ///
    /// ```
    /// use serf::{Config, Event, MemberEventKind, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") };
    /// let (serf, mut events) = Serf::start_with_events(config).await?;
    /// let Some(Event::Member(event)) = events.recv().await else { unreachable!() };
    /// assert_eq!((event.kind, &event.members[0].name), (MemberEventKind::Join, serf.name()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// See [`Serf::start`].
    pub async fn start_with_events(config: Config) -> Result<(Self, Events), StartError> {
        Self::start_typed_with_events(config).await
    }
}

impl<I: Identity, A: NodeAddress> Serf<I, A> {
    /// [`Serf::start`] for a node whose members' names and addresses are of the program's own types.
    ///
    /// Whoever has a name or an address that is none is kept out. It cannot join us, nor we a cluster that it is in; the
    /// join fails with an error that names it, on both sides if the other is a node of this library. What others say of
    /// it is refused with a line in the log, and its queries and answers without; all are counted ([`Stats::strangers`]).
    /// [`Config::policies`] still see names and addresses as they are on the wire, and only of those who may be let in.
    ///
    /// ```
    /// use serf::{Config, Serf};
    /// use std::net::SocketAddr;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// type Node = Serf<String, SocketAddr>;
    /// let node = Node::start_typed(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let members = node.members().await?;
    /// assert_eq!((members[0].name.as_str(), members[0].addr), ("web-1", node.local_addr()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// See [`Serf::start`]; or the node's own name or address is none of these types.
    pub async fn start_typed(config: Config) -> Result<Self, StartError> {
        Ok(Self::start_typed_with_events(config).await?.0)
    }

    /// [`Serf::start_with_events`] for a node as [`Serf::start_typed`] makes it.
    ///
    /// # Errors
    /// See [`Serf::start_typed`].
    pub async fn start_typed_with_events(
        mut config: Config,
    ) -> Result<(Self, Events<Event<I, A>>), StartError> {
        let name = identity::identity(config.node_name.as_bytes())
            .map_err(|why| StartError::Identity { name: config.node_name.clone(), why })?;
        let kind = Kind::of::<I, A>(&mut config.policies);
        let Config { bind, advertise, advertise_port, event_queue, .. } = config;
        let (transport, resolver) = (config.transport.clone(), config.resolver.clone());
        let runtime = config.runtime.clone().map_or_else(runtime::current, Ok)?;
        let (keyring_file, meter) = (config.keyring_file.clone(), config.meter.clone());
        let (snapshot_path, rejoin) = (config.snapshot_path.clone(), config.rejoin_after_leave);
        let mut core = config.into_core();
        // Before anything is bound: then a setting is not told as a fault of the network.
        core.check()?;
        let (mut scribe, mut written) = (None, None);
        if let Some(path) = snapshot_path {
            let (file, end, snapshot) = snapshot::open(path, rejoin).await?;
            core.snapshot = Some(snapshot);
            (scribe, written) = (Some(file), Some(end));
        }
        let sockets = transport.bind(bind, &runtime)?;
        let place = config::settle(sockets.local, advertise, advertise_port, &mut core.gossip)?;
        let address = |why| StartError::Address { address: place.advertise.clone(), why };
        let face = Face::new(name, A::from_address(&place.advertise).map_err(address)?, kind.clone());
        let node = Node::new(core, config::seed()?, BIRTH)?;
        let clerk = |node: &WeakRemote<Request<Node>>| Clerk {
            node: node.clone(),
            kind,
            meter,
            scribe,
            keyring: keyring_file.map(|path| Keeper::start(path, node.clone(), &runtime)),
        };
        let (handle, events) = Handle::start(node, sockets, runtime.clone(), event_queue, clerk);
        let (place, face) = (Arc::new(place), Arc::new(face));
        let serf = Self { handle, place, face, resolver, key_turn: Turn::default(), written };
        Ok((serf, events.map(identity::event)))
    }

    /// Joins the cluster of these nodes, each `[name/]host[:port]`, or whatever [`Config::resolver`] takes; a port left out
    /// is our own. User events from before the join are not told.
    ///
    /// All of them are contacted, and one that answers is enough. It takes at most 10 seconds for every 16 names to
    /// look up, and three times [`serf_gossip::Config::stream_timeout`] for every 8 addresses; a join under way goes
    /// first. Dropping the future stops lookups; nodes that are being contacted may be joined nevertheless.
    ///
    /// ```
    /// use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let other = Serf::start(Config { bind, ..Config::local("other") }).await?;
    /// let serf = Serf::start(Config { bind, ..Config::local("web-1") }).await?;
    /// let joined = serf.join([other.local_addr().to_string()]).await?;
    /// assert_eq!(joined.contacted.len(), 1);
    ///
    /// let error = serf.join(["127.0.0.1:1"]).await.unwrap_err();
    /// assert!(error.to_string().contains("failed to join 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: "));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Nobody was contacted, which the text tells of everybody; or this node leaves.
    pub async fn join<S: AsRef<str>>(
        &self,
        addresses: impl IntoIterator<Item = S>,
    ) -> Result<Joined<A>, Error> {
        self.join_as(addresses, true).await
    }

    /// The same, but user events from before the join, as far as peers remember them, are told too.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let bind = "127.0.0.1:0".parse()?;
    /// # let other = Serf::start(Config { bind, ..Config::local("other") }).await?;
    /// # let serf = Serf::start(Config { bind, ..Config::local("web-1") }).await?;
    /// serf.join_and_replay([other.local_addr().to_string()]).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// See [`Serf::join`].
    pub async fn join_and_replay<S: AsRef<str>>(
        &self,
        addresses: impl IntoIterator<Item = S>,
    ) -> Result<Joined<A>, Error> {
        self.join_as(addresses, false).await
    }

    async fn join_as<S: AsRef<str>>(
        &self,
        addresses: impl IntoIterator<Item = S>,
        ignore_old: bool,
    ) -> Result<Joined<A>, Error> {
        let runtime = self.handle.remote().runtime();
        let plan = Plan::make(addresses, self.place.local.port(), &self.resolver, runtime).await;
        let plan = plan.only(|address| A::from_address(address).map(drop));
        let peers = plan.peers();
        match self.handle.command(move |id| Command::Join { id, peers, ignore_old }).await? {
            Outcome::Joined { contacted, failed } => {
                let Joined { contacted, failed } = plan.account(contacted, failed)?;
                Ok(Joined { contacted: contacted.into_iter().filter_map(identity::placed).collect(), failed })
            }
            Outcome::Failed(why) => Err(why.into()),
            _ => Ok(Joined { contacted: Vec::new(), failed: Vec::new() }),
        }
    }

    /// Leaves the cluster and says so, so that nobody takes us for failed. The node goes on answering peers until it
    /// is [shut down](Serf::shutdown) or dropped. Takes at most two [`Config::broadcast_timeout`]s and a
    /// [`Config::leave_propagate_delay`]; a second leave waits for the first.
    ///
    /// ```
    /// use serf::{Config, NodeState, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") };
    /// let delay = std::time::Duration::ZERO;
    /// let serf = Serf::start(Config { leave_propagate_delay: delay, ..config }).await?;
    /// serf.leave().await?;
    /// assert_eq!(serf.state().await, NodeState::Left);
    /// serf.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn leave(&self) -> Result<(), Error> {
        self.done(|id| Command::Leave { id }).await
    }

    /// Stops the node and waits until its port is free and its snapshot written, for which a disk that does not answer
    /// gets five seconds. Tells nobody: peers take it for a failure, unless the node
    /// left before. Whatever is still asked for ends with [`Closed`].
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let other = serf.clone();
    /// serf.shutdown().await;
    /// assert!(other.members().await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn shutdown(&self) {
        self.handle.remote().shutdown().await;
        if let Some(written) = &self.written {
            written.wait(&**self.handle.remote().runtime()).await;
        }
    }

    /// Waits until the node is gone: shut down by another handle, or by a fault.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let other = serf.clone();
    /// tokio::join!(serf.closed(), other.shutdown());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn closed(&self) {
        self.handle.remote().closed().await;
    }

    /// All members known, whatever their status, sorted by name. The list is shared by all who ask, and made anew
    /// only after something in it changed.
    ///
    /// ```
    /// # use serf::{Config, Serf, Status};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let members = serf.members().await?;
    /// assert_eq!(members[0].status, Status::Alive);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn members(&self) -> Result<Arc<[Member<I, A>]>, Closed> {
        Ok(self.face.members(self.handle.look(Node::members).await?))
    }

    /// A member by its name, if it is known.
    ///
    /// ```
    /// # use serf::{Config, Serf, Status};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert!(serf.member("web-1").await?.is_some());
    /// assert!(serf.member("web-2").await?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn member(&self, name: impl Into<I>) -> Result<Option<Member<I, A>>, Closed> {
        let name = name.into().to_name();
        Ok(self.handle.look(move |node| node.member(name.as_bytes())).await?.and_then(identity::member))
    }

    /// Ourselves. None if our own merge policy refused us.
    ///
    /// ```
    /// # use serf::{Config, Serf, Tags};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let tags = Tags::from([("role".into(), "web".into())]);
    /// let config = Config { bind: "127.0.0.1:0".parse()?, tags: tags.clone(), ..Config::lan("web-1") };
    /// let serf = Serf::start(config).await?;
    /// assert_eq!(serf.local_member().await?.unwrap().tags(), tags);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn local_member(&self) -> Result<Option<Member<I, A>>, Closed> {
        Ok(self.handle.look(|node| node.local_member()).await?.and_then(identity::member))
    }

    /// Where this node is in the network, as far as the round trips of its pings have told; see [`crate::coordinate`].
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") };
    /// let serf = Serf::start(config.clone()).await?;
    /// assert_eq!(serf.coordinate().await?, serf::Coordinate::default());
    ///
    /// let serf = Serf::start(Config { disable_coordinates: true, ..config }).await?;
    /// assert_eq!(serf.coordinate().await, Err(serf::Error::CoordinatesDisabled));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`Error::CoordinatesDisabled`], or the node is gone.
    pub async fn coordinate(&self) -> Result<Coordinate, Error> {
        self.handle.look(|node| node.coordinate()).await?.ok_or(Error::CoordinatesDisabled)
    }

    /// Where a member is, as it said when we last measured the way to it; of this node's own name, where it is now.
    /// None if we have not measured yet, which takes one [`serf_gossip::Config::probe_interval`] for each member, or
    /// if either of us has no coordinates. What is known of a member is forgotten with it.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert_eq!(serf.cached_coordinate("web-1").await?, Some(serf.coordinate().await?));
    /// assert_eq!(serf.cached_coordinate("web-2").await?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn cached_coordinate(&self, name: impl Into<I>) -> Result<Option<Coordinate>, Closed> {
        let name = name.into().to_name();
        self.handle.look(move |node| node.cached_coordinate(name.as_bytes())).await
    }

    /// The coordinates of all members whose coordinates are known, see [`Serf::cached_coordinate`], sorted by name.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert_eq!(serf.coordinates().await?, [("web-1".into(), serf.coordinate().await?)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn coordinates(&self) -> Result<Vec<(I, Coordinate)>, Closed> {
        let known = |node: &mut Node| {
            let members = node.members();
            let place = |m: &Member| Some((m.name.clone(), node.cached_coordinate(m.name.as_bytes())?));
            members.iter().filter_map(place).collect()
        };
        let known: Vec<(Name, Coordinate)> = self.handle.look(known).await?;
        Ok(known.into_iter().filter_map(|(name, it)| Some((identity::named(name)?, it))).collect())
    }

    /// How long a message between two members takes there and back, estimated from their coordinates: nothing is
    /// sent. None if that of either [is not known](Serf::cached_coordinate).
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// match serf.rtt("web-1", "web-2").await? {
    ///     Some(rtt) => println!("about {rtt:?}"),
    ///     None => println!("not known yet"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn rtt(&self, a: impl Into<I>, b: impl Into<I>) -> Result<Option<Duration>, Closed> {
        let (a, b) = (a.into().to_name(), b.into().to_name());
        self.handle
            .look(move |node| {
                let a = node.cached_coordinate(a.as_bytes())?;
                Some(a.distance_to(&node.cached_coordinate(b.as_bytes())?))
            })
            .await
    }

    /// Replaces our tags, all of them. They are in force at once; the wait is until they have been gossiped.
    ///
    /// ```
    /// # use serf::{Config, Serf, Tags};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// serf.set_tags(Tags::from([("role".into(), "db".into())])).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// They are too long, and nothing was changed; or they were not gossiped in time, and still will be.
    pub async fn set_tags(&self, tags: Tags) -> Result<(), Error> {
        self.done(move |id| Command::SetTags { id, tags }).await
    }

    /// Fires a user event: every node tells it its subscribers once, this one too. Many events that say the same thing
    /// may be told as one if `coalesce` is set, see [`Config::user_coalesce_period`].
    ///
    /// Does not wait until it has been gossiped. Gossip is best effort; nodes that miss an event hear of it when they
    /// next exchange full states, if it is among the last [`Config::event_buffer`] then.
    ///
    /// ```
    /// use serf::{Config, Event, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let mut events = serf.subscribe().await?;
    /// serf.user_event("deploy", b"v1.2", false).await?;
    /// let Some(Event::User(event)) = events.recv().await else { unreachable!() };
    /// assert_eq!((event.name, &event.payload[..]), ("deploy".into(), &b"v1.2"[..]));
    ///
    /// let error = serf.user_event("deploy", [0; 600], false).await.unwrap_err();
    /// assert_eq!(error.to_string(), "user event exceeds configured limit of 512 bytes before encoding");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// It is longer than [`Config::user_event_size_limit`], and nobody was told; or the node is gone.
    pub async fn user_event(
        &self,
        name: impl Into<Name>,
        payload: impl Into<Vec<u8>>,
        coalesce: bool,
    ) -> Result<(), Error> {
        let (name, payload) = (name.into(), payload.into());
        self.done(move |id| Command::UserEvent { id, name, payload, coalesce }).await
    }

    /// Asks members of the cluster a question, and gives what they answer. Returns as soon as the question is on its way;
    /// dropping the answers ends the interest in more.
    ///
    /// ```
    /// use serf::{Answer, Config, Event, Query, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let mut events = serf.subscribe().await?;
    /// tokio::spawn(async move {
    ///     while let Some(event) = events.recv().await {
    ///         if let Event::Query(query) = event {
    ///             query.respond(b"0.7").await?;
    ///         }
    ///     }
    ///     Ok::<(), serf::Error>(())
    /// });
    ///
    /// let mut answers = serf.query(Query::new("load").with_acks()).await?;
    /// while let Some(answer) = answers.next().await {
    ///     match answer {
    ///         Answer::Ack { from } => println!("{from} got it"),
    ///         Answer::Response { from, payload } => assert_eq!((from, &payload[..]), ("web-1".into(), &b"0.7"[..])),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// It is longer than [`Config::query_size_limit`] or than a datagram, or too many are under way, or our protocol
    /// version is older than 4; nobody was asked. Or the node is gone.
    pub async fn query(&self, query: Query) -> Result<Answers<I>, Error> {
        let ongoing = self.handle.begin(move |id| Command::Query { id, query }).await?;
        Answers::new(ongoing)
    }

    /// How long a [query](Serf::query) waits for answers if it does not say: longer, the more members there are.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert_eq!(serf.default_query_timeout().await?, std::time::Duration::from_millis(3200));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn default_query_timeout(&self) -> Result<Duration, Closed> {
        self.handle.look(|node| node.default_query_timeout()).await
    }

    /// Declares that a failed member has left, so that nobody waits for it. A live member refutes it; a member nobody
    /// knows is no error.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// serf.force_leave("web-9").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// It was not gossiped in time, and still will be.
    pub async fn force_leave(&self, name: impl Into<I>) -> Result<(), Error> {
        let name = name.into().to_name();
        self.done(move |id| Command::ForceLeave { id, name, prune: false }).await
    }

    /// The same, and forgets the member at once, here and everywhere.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// serf.force_leave_and_prune("web-9").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// See [`Serf::force_leave`].
    pub async fn force_leave_and_prune(&self, name: impl Into<I>) -> Result<(), Error> {
        let name = name.into().to_name();
        self.done(move |id| Command::ForceLeave { id, name, prune: true }).await
    }

    /// What happens from now on, in a queue of its own of [`Config::event_queue`] events. Events that answer commands
    /// and log lines are not among them.
    ///
    /// ```
    /// use serf::{Config, Event, MemberEventKind, Serf, Tags};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// let mut events = serf.subscribe().await?;
    /// serf.set_tags(Tags::from([("role".into(), "db".into())])).await?;
    /// let Some(Event::Member(event)) = events.recv().await else { unreachable!() };
    /// assert_eq!(event.kind, MemberEventKind::Update);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn subscribe(&self) -> Result<Events<Event<I, A>>, Closed> {
        Ok(self.handle.subscribe().await?.map(identity::event))
    }

    /// What the node has done, and how it is.
    ///
    /// ```
    /// # use serf::{Config, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert_eq!(serf.stats().await?.vitals.members, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The node is gone.
    pub async fn stats(&self) -> Result<Stats, Closed> {
        let driver = self.handle.remote().stats();
        let strangers = self.face.kind.strangers.clone();
        self.handle.look(move |node| Stats::of(node, driver, &strangers)).await
    }

    /// Where the node is in its life. A node that is gone is shut down.
    ///
    /// ```
    /// # use serf::{Config, NodeState, Serf};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let serf = Serf::start(Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") }).await?;
    /// assert_eq!(serf.state().await, NodeState::Alive);
    /// serf.shutdown().await;
    /// assert_eq!(serf.state().await, NodeState::Shutdown);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn state(&self) -> NodeState {
        self.handle.look(|node| node.state()).await.unwrap_or(NodeState::Shutdown)
    }

    /// The keys of the whole cluster, to look at and to change.
    #[must_use]
    pub fn keys(&self) -> KeyManager<'_, I, A> {
        KeyManager::new(self)
    }

    pub(crate) fn key_turn(&self) -> &RwLock<()> {
        &self.key_turn
    }

    pub(crate) async fn local_keys(&self) -> Result<Vec<Key>, Closed> {
        self.handle.look(|node| node.gossip().keyring().keys().to_vec()).await
    }

    /// The name others know us by.
    #[must_use]
    pub fn name(&self) -> &I {
        &self.face.name
    }

    /// Where we listen: the address that was asked for, with the port that was got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.place.local
    }

    /// What others are told.
    #[must_use]
    pub fn advertise_addr(&self) -> &A {
        &self.face.advertise
    }

    async fn done(
        &self,
        make: impl FnOnce(serf_gossip::CommandId) -> Command + Send + 'static,
    ) -> Result<(), Error> {
        match self.handle.command(make).await? {
            Outcome::Failed(why) => Err(why.into()),
            _ => Ok(()),
        }
    }
}

impl<I, A> Clone for Serf<I, A> {
    fn clone(&self) -> Self {
        let Self { handle, place, face, resolver, key_turn, written } = self;
        let (handle, place, face) = (handle.clone(), place.clone(), face.clone());
        let (key_turn, written) = (key_turn.clone(), written.clone());
        Self { handle, place, face, resolver: resolver.clone(), key_turn, written }
    }
}

impl<I, A> std::fmt::Debug for Serf<I, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serf").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What stands beside the machine in its driver's task.
pub(crate) struct Clerk {
    node: WeakRemote<Request<Node>>,
    kind: Kind,
    meter: Option<Meter>,
    /// Of a node with a snapshot file.
    scribe: Option<Scribe>,
    /// Of a node that keeps its keys.
    keyring: Option<Keeper>,
}

impl Served for Node {
    type Outcome = Outcome;
    type News = Event;
    type Part = Part;
    type Clerk = Clerk;

    fn sort(event: serf_core::Event, clerk: &mut Clerk) -> Sorted<Self> {
        match event {
            serf_core::Event::Done { id, outcome } => Sorted::Done(id, outcome),
            serf_core::Event::Notice(notice) => Sorted::Notice(notice),
            serf_core::Event::Answer {
                answer: Answer::Ack { from } | Answer::Response { from, .. }, ..
            } if !clerk.kind.knows(&from) => Sorted::Nothing,
            serf_core::Event::Query(event) if !clerk.kind.knows(&event.source) => Sorted::Nothing,
            serf_core::Event::Answer { id, answer } => Sorted::Part(id, Part::Answer(answer), false),
            serf_core::Event::QueryEnded { id, why } => Sorted::Part(id, Part::End(why), true),
            serf_core::Event::Member(event) => Sorted::News(Event::Member(event)),
            serf_core::Event::User(event) => Sorted::News(Event::User(event)),
            serf_core::Event::Query(event) => {
                Sorted::News(Event::Query(QueryEvent::new(event, clerk.node.clone())))
            }
            serf_core::Event::NameLost { ours, all } => Sorted::Last(Event::NameLost { ours, all }),
            serf_core::Event::Snapshot(write) => {
                if let Some(scribe) = &clerk.scribe {
                    scribe.write(write, &clerk.node);
                }
                Sorted::Nothing
            }
            serf_core::Event::KeysChanged { key, keys } => {
                if let Some(keyring) = &clerk.keyring {
                    keyring.keep(key, keys);
                }
                Sorted::Nothing
            }
            _ => Sorted::Nothing,
        }
    }

    fn parts(outcome: &Outcome) -> Option<usize> {
        match outcome {
            Outcome::Asked { present, .. } => Some(query::parts(*present)),
            _ => None,
        }
    }

    fn abandon(id: serf_gossip::CommandId) -> Option<Command> {
        Some(Command::CloseQuery { id })
    }

    fn turned(&mut self, clerk: &Clerk, driver: DriverStats) {
        if let Some(meter) = &clerk.meter {
            meter.read(self, driver, &clerk.kind.strangers);
        }
    }

    fn ending(&mut self) {
        self.wind_up();
    }
}
