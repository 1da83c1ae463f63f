//! Join addresses as everybody has them: socket addresses, and names that the system looks up.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use serf_gossip::Peer;

use super::{ADDRESSES_MAX, Found, JoinAddress, ResolveError, Resolver};
use crate::fault;
use crate::net::Boxed;
use crate::runtime::{Runtime, unblock};

/// Takes `[name/]host[:port]`, the host being an IP address or a name that the system's resolver knows: from the file of
/// hosts, from DNS, or as the system is set up. All its addresses are tried, in the system's order.
///
/// The reference first asks the name server over TCP for records of any type; that is not done here, since today's
/// servers refuse such questions (RFC 8482) and the answer would be the resolver's anyway.
///
/// Given up, a lookup occupies its thread for as long as the system takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemResolver;

/// Takes `[name/]host[:port]`, the host being an IP address: nothing is looked up.
///
/// ```
/// use serf::{Config, Serf, SocketResolver};
/// use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let bind = "127.0.0.1:0".parse()?;
/// let serf = Serf::start(Config { bind, resolver: Arc::new(SocketResolver), ..Config::lan("web-1") }).await?;
/// let error = serf.join(["example.com"]).await.unwrap_err();
/// assert!(error.to_string().contains("\"example.com\" is no IP address"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, text: &str, port: u16, runtime: &Arc<dyn Runtime>) -> Boxed<Found> {
        let (address, runtime) = (text.parse(), runtime.clone());
        Box::pin(async move {
            let address: JoinAddress = address?;
            match literal(&address, port) {
                Some(peer) => Ok(vec![peer]),
                None => look_up(address, port, &*runtime).await,
            }
        })
    }
}

impl Resolver for SocketResolver {
    fn resolve(&self, text: &str, port: u16, _: &Arc<dyn Runtime>) -> Boxed<Found> {
        let found = text.parse().map_err(ResolveError::from).and_then(|address: JoinAddress| {
            literal(&address, port).map(|peer| vec![peer]).ok_or(ResolveError::Name(address.host))
        });
        Box::pin(async { found })
    }
}

/// Who is meant, if nothing is to be looked up.
fn literal(address: &JoinAddress, port: u16) -> Option<Peer> {
    let ip: IpAddr = address.host.parse().ok()?;
    let addr = SocketAddr::new(ip, address.port.unwrap_or(port));
    Some(Peer { addr: addr.into(), name: address.name.clone() })
}

async fn look_up(address: JoinAddress, port: u16, runtime: &dyn Runtime) -> Found {
    let JoinAddress { name, host, port: own } = address;
    let (asked, port) = (host.clone(), own.unwrap_or(port));
    let look_up = move || {
        (asked.as_str(), port).to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>())
    };
    match unblock(runtime, look_up).await {
        Some(Ok(found)) if found.is_empty() => Err(ResolveError::lookup(host, "no such host")),
        Some(Ok(found)) => {
            Ok(found.into_iter().map(|addr| Peer { addr: addr.into(), name: name.clone() }).collect())
        }
        Some(Err(error)) => Err(ResolveError::lookup(host, fault::lookup(&error))),
        None => Err(ResolveError::lookup(host, "interrupted")),
    }
}
