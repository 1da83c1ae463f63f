//! Whom a join address means: one trait, and those that implement it.

mod address;
mod system;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serf_gossip::{Address, Peer};
use tokio::sync::mpsc;

pub use self::address::{AddressError, JoinAddress};
pub use self::system::{SocketResolver, SystemResolver};
use crate::identity::InvalidAddress;
use crate::net::Boxed;
use crate::runtime::{Runtime, timeout};

/// Most addresses of one name that are tried: a name that stands for more stands for a whole cluster, of which a few
/// members suffice.
const ADDRESSES_MAX: usize = 64;
/// Longest wait for a resolver, whose own limits are often longer.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Names looked up at the same time: each may occupy a thread meanwhile.
const LOOKUPS_MAX: usize = 16;

/// Finds whom a text given to [`crate::Serf::join`] means: [`SystemResolver`], [`SocketResolver`], or a program's own.
///
/// Whatever it does, a join takes the first 64 of those it finds, waits 10 seconds for each text, and asks about 16 at the
/// same time.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::net::SocketAddr;
/// use std::sync::Arc;
/// use serf::net::Boxed;
/// use serf::runtime::Runtime;
/// use serf::{Config, Peer, ResolveError, Resolver, Serf};
///
/// #[derive(Debug)]
/// struct PhoneBook(BTreeMap<String, Vec<SocketAddr>>);
///
/// impl Resolver for PhoneBook {
///     fn resolve(&self, text: &str, _: u16, _: &Arc<dyn Runtime>) -> Boxed<Result<Vec<Peer>, ResolveError>> {
///         let found = match self.0.get(text) {
///             Some(all) => Ok(all.iter().map(|addr| Peer { addr: (*addr).into(), name: None }).collect()),
///             None => Err(ResolveError::lookup(text, "not in the book")),
///         };
///         Box::pin(async { found })
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let bind = "127.0.0.1:0".parse()?;
/// # let other = Serf::start(Config { bind, ..Config::local("other") }).await?;
/// let book = PhoneBook([("database".into(), vec![other.local_addr()])].into());
/// let config = Config { bind, resolver: Arc::new(book), ..Config::local("web-1") };
/// let serf = Serf::start(config).await?;
/// assert_eq!(serf.join(["database"]).await?.contacted.len(), 1);
/// let error = serf.join(["pizza"]).await.unwrap_err();
/// assert!(error.to_string().contains("failed to resolve pizza: lookup pizza: not in the book"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// Whom to contact, best first. `port` is for texts that name none. Must return at once; what takes time belongs into
    /// the future, which is run as a task of this runtime, and dropped when nobody waits for it any more.
    fn resolve(&self, text: &str, port: u16, runtime: &Arc<dyn Runtime>) -> Boxed<Found>;
}

/// What a [`Resolver`] finds.
pub(crate) type Found = Result<Vec<Peer>, ResolveError>;

/// Why nobody was found at a join address. Nobody was contacted there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It is no join address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The resolver found nothing.
    #[error("lookup {host}: {why}")]
    Lookup {
        /// The name.
        host: String,
        /// Its answer.
        why: String,
    },
    /// It is a name, and [`SocketResolver`] looks up none.
    #[error("{0:?} is no IP address, and names are not looked up here")]
    Name(String),
    /// No member of this cluster can be there.
    #[error("address {address}: {why}")]
    Unfit {
        /// Where.
        address: Address,
        /// Why.
        why: InvalidAddress,
    },
}

impl ResolveError {
    /// A [`ResolveError::Lookup`].
    pub fn lookup(host: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Lookup { host: host.into(), why: why.to_string() }
    }
}

/// Resolves all, side by side; the results are in the order of the texts.
pub(crate) async fn resolve_all(
    texts: &[String],
    port: u16,
    resolver: &Arc<dyn Resolver>,
    runtime: &Arc<dyn Runtime>,
) -> Vec<Found> {
    // If nothing is heard of a lookup, its task is gone: the runtime ends, or the resolver has panicked.
    let mut results: Vec<Found> =
        texts.iter().map(|text| Err(ResolveError::lookup(text, "interrupted"))).collect();
    let (texts, next): (Arc<[String]>, _) = (texts.into(), Arc::new(AtomicUsize::new(0)));
    let (sender, mut found) = mpsc::channel(1);
    for _ in 0..LOOKUPS_MAX.min(texts.len()) {
        let (sender, texts, next) = (sender.clone(), texts.clone(), next.clone());
        let (resolver, clock) = (resolver.clone(), runtime.clone());
        runtime.spawn(Box::pin(async move {
            let lookups = async {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(text) = texts.get(at) else { break };
                    let result = resolve(text, port, &*resolver, &clock).await;
                    if sender.send((at, result)).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                // Nobody waits any more.
                () = sender.closed() => {}
                () = lookups => {}
            }
        }));
    }
    drop(sender);
    while let Some((at, result)) = found.recv().await {
        results[at] = result;
    }
    results
}

/// Resolves one, within the limits.
async fn resolve(text: &str, port: u16, resolver: &dyn Resolver, runtime: &Arc<dyn Runtime>) -> Found {
    let Some(found) = timeout(&**runtime, LOOKUP_MAX, resolver.resolve(text, port, runtime)).await else {
        let host = text.parse::<JoinAddress>().map_or_else(|_| text.to_owned(), |address| address.host);
        return Err(ResolveError::lookup(host, "i/o timeout"));
    };
    let mut peers = found?;
    peers.truncate(ADDRESSES_MAX);
    if peers.is_empty() { Err(ResolveError::lookup(text, "no such host")) } else { Ok(peers) }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{SocketAddr, TcpListener, UdpSocket};
    use std::pin::Pin;
    use std::sync::atomic::Ordering::SeqCst;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use tokio::sync::Notify;

    use super::*;
    use crate::net::Connection;
    use crate::runtime::{Accept, Alarm, Udp};

    async fn all(texts: &[String], port: u16, resolver: impl Resolver) -> Vec<Result<Vec<String>, String>> {
        let (resolver, runtime): (Arc<dyn Resolver>, _) = (Arc::new(resolver), crate::runtime::current());
        let results = resolve_all(texts, port, &resolver, &runtime.unwrap()).await;
        let told = |peers: Vec<Peer>| peers.iter().map(|p| p.addr.to_string()).collect();
        results.into_iter().map(|result| result.map(told).map_err(|why| why.to_string())).collect()
    }

    async fn resolved(text: &str, resolver: impl Resolver) -> Result<Vec<String>, String> {
        all(&[text.to_owned()], 7946, resolver).await.remove(0)
    }

    #[tokio::test]
    async fn addresses_resolve_to_themselves_with_the_port_that_applies() {
        for (text, addr) in [
            ("127.0.0.1", "127.0.0.1:7946"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("::1", "[::1]:7946"),
            ("[::1]", "[::1]:7946"),
            ("[::1]:80", "[::1]:80"),
            ("x/127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(resolved(text, SystemResolver).await, Ok(vec![addr.to_owned()]), "{text}");
            assert_eq!(resolved(text, SocketResolver).await, Ok(vec![addr.to_owned()]), "{text}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_by_whom_it_may_be_done() {
        let found = resolved("localhost:80", SystemResolver).await.unwrap();
        assert!(found.contains(&"127.0.0.1:80".to_owned()) || found.contains(&"[::1]:80".to_owned()));
        let error = resolved("nobody.invalid", SystemResolver).await.unwrap_err();
        assert!(error.starts_with("lookup nobody.invalid: "), "{error}");
        assert_eq!(
            resolved("localhost:80", SocketResolver).await,
            Err("\"localhost\" is no IP address, and names are not looked up here".to_owned())
        );
        for result in [resolved("/x", SystemResolver).await, resolved("/x", SocketResolver).await] {
            assert_eq!(result, Err("empty node name provided".to_owned()));
        }
    }

    #[tokio::test]
    async fn many_are_resolved_in_their_order() {
        let texts: Vec<String> = (0..100).map(|n| format!("127.0.0.{n}")).collect();
        for (at, result) in all(&texts, 1, SystemResolver).await.into_iter().enumerate() {
            assert_eq!(result, Ok(vec![format!("127.0.0.{at}:1")]));
        }
    }

    fn peer(port: u16) -> Peer {
        Peer { addr: Address::new(&[127, 0, 0, 1], port), name: None }
    }

    /// Knows all too many.
    #[derive(Debug)]
    struct Everybody;

    impl Resolver for Everybody {
        fn resolve(&self, _: &str, port: u16, _: &Arc<dyn Runtime>) -> Boxed<Found> {
            Box::pin(async move { Ok((0..1000).map(|n| peer(port + n)).collect()) })
        }
    }

    #[tokio::test]
    async fn the_first_of_too_many_are_taken() {
        let found = resolved("all", Everybody).await.unwrap();
        assert_eq!((found.len(), found[63].as_str()), (64, "127.0.0.1:8009"));
    }

    /// Never finds anybody, and counts how many wait for that.
    #[derive(Debug, Clone, Default)]
    struct Endless {
        waiting: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        changed: Arc<Notify>,
    }

    struct Waiting(Endless);

    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.waiting.fetch_sub(1, SeqCst);
            self.0.changed.notify_one();
        }
    }

    impl Resolver for Endless {
        fn resolve(&self, _: &str, _: u16, _: &Arc<dyn Runtime>) -> Boxed<Found> {
            let now = self.waiting.fetch_add(1, SeqCst) + 1;
            self.most.fetch_max(now, SeqCst);
            self.changed.notify_one();
            let waiting = Waiting(self.clone());
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(waiting);
                Ok(vec![])
            })
        }
    }

    async fn until(endless: &Endless, waiting: usize) {
        while endless.waiting.load(SeqCst) != waiting {
            endless.changed.notified().await;
        }
    }

    #[tokio::test]
    async fn so_many_are_looked_up_at_a_time_and_none_when_nobody_waits() {
        let (endless, texts) = (Endless::default(), vec!["x".to_owned(); 40]);
        let lookups = tokio::spawn({
            let endless = endless.clone();
            async move { all(&texts, 1, endless).await }
        });
        until(&endless, 16).await;
        lookups.abort();
        until(&endless, 0).await;
        assert_eq!(endless.most.load(SeqCst), 16);
    }

    /// Where all time is over at once.
    #[derive(Debug)]
    struct Impatient(Arc<dyn Runtime>);

    struct Now;

    impl Future for Now {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    impl Alarm for Now {
        fn reset(self: Pin<&mut Self>, _: Instant) {}
    }

    impl Runtime for Impatient {
        fn spawn(&self, task: Boxed<()>) {
            self.0.spawn(task);
        }

        fn unblock(&self, work: Box<dyn FnOnce() + Send>) {
            self.0.unblock(work);
        }

        fn alarm(&self, _: Instant) -> Pin<Box<dyn Alarm>> {
            Box::pin(Now)
        }

        fn udp(&self, socket: UdpSocket) -> io::Result<Box<dyn Udp>> {
            self.0.udp(socket)
        }

        fn listen(&self, listener: TcpListener) -> io::Result<Box<dyn Accept>> {
            self.0.listen(listener)
        }

        fn connect(&self, to: SocketAddr) -> Boxed<io::Result<Box<dyn Connection>>> {
            self.0.connect(to)
        }
    }

    #[tokio::test]
    async fn a_resolver_that_never_answers_is_not_waited_for() {
        let texts: Vec<String> = (0..40).map(|n| format!("x/host-{n}:80")).collect();
        let (endless, runtime) = (Endless::default(), Impatient(crate::runtime::current().unwrap()));
        let resolver: Arc<dyn Resolver> = Arc::new(endless.clone());
        let results = resolve_all(&texts, 1, &resolver, &(Arc::new(runtime) as _)).await;
        for (at, result) in results.into_iter().enumerate() {
            assert_eq!(result, Err(ResolveError::lookup(format!("host-{at}"), "i/o timeout")));
        }
        until(&endless, 0).await;
    }

    /// Loses its head.
    #[derive(Debug)]
    struct Broken;

    impl Resolver for Broken {
        fn resolve(&self, text: &str, port: u16, _: &Arc<dyn Runtime>) -> Boxed<Found> {
            assert_ne!(text, "boom", "as it should");
            Box::pin(async move { Ok(vec![peer(port)]) })
        }
    }

    #[tokio::test]
    async fn a_resolver_that_panics_has_found_nobody() {
        let results = all(&["boom".to_owned(), "x".to_owned()], 7, Broken).await;
        assert_eq!(results[0], Err("lookup boom: interrupted".to_owned()));
        assert_eq!(results[1], Ok(vec!["127.0.0.1:7".to_owned()]));
    }
}
