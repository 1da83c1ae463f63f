//! Join addresses: `[name/]host[:port]`, what they mean and where that is.
//!
//! Names are looked up by the system's resolver. The reference first asks the name server over TCP for records of any
//! type; that is not done here, since today's servers refuse such questions (RFC 8482) and the answer would be the
//! resolver's anyway.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serf_gossip::{Address, Name, Peer};
use tokio::sync::{Semaphore, mpsc};

use crate::fault;
use crate::identity::InvalidAddress;
use crate::runtime::{Runtime, timeout, unblock};

/// Most addresses of one name that are tried: a name that stands for more stands for a whole cluster, of which a few
/// members suffice.
const ADDRESSES_MAX: usize = 64;
/// Longest wait for the resolver, whose own limits are often longer.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Names looked up at the same time: each occupies a thread meanwhile.
const LOOKUPS_MAX: usize = 16;

/// Somebody to join, as people write it: `[name/]host[:port]`.
///
/// ```
/// let address: serf::JoinAddress = "web-1/[fd00::1]:7946".parse().unwrap();
/// assert_eq!(address.name, Some("web-1".into()));
/// assert_eq!((address.host.as_str(), address.port), ("fd00::1", Some(7946)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinAddress {
    /// Who is expected there. A transport may need it; ours only tells it to the machine.
    pub name: Option<Name>,
    /// An IP address, or a name to look up.
    pub host: String,
    /// None for the port of the node that joins.
    pub port: Option<u16>,
}

/// Why a text is no join address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing stands before the slash.
    #[error("empty node name provided")]
    EmptyName,
    /// Nothing stands for the host.
    #[error("missing host in address")]
    MissingHost,
    /// A bracket without its other half, or something beside it.
    #[error("misplaced bracket in address")]
    Bracket,
    /// The port is not a decimal number up to 65535.
    #[error("invalid port {0:?}")]
    Port(String),
}

impl FromStr for JoinAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (name, rest) = match text.split_once('/') {
            Some(("", _)) => return Err(AddressError::EmptyName),
            Some((name, rest)) => (Some(Name::from(name)), rest),
            None => (None, text),
        };
        let (host, port) = if !has_port(rest) {
            (rest.trim_matches(['[', ']']), None)
        } else {
            let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
            (unbracket(host)?, Some(parse_port(port)?))
        };
        if host.is_empty() {
            return Err(AddressError::MissingHost);
        }
        Ok(Self { name, host: host.to_owned(), port })
    }
}

/// More than one colon without brackets is an IPv6 address.
fn has_port(text: &str) -> bool {
    if text.starts_with('[') { text.rfind(':') > text.rfind(']') } else { text.matches(':').count() == 1 }
}

fn unbracket(host: &str) -> Result<&str, AddressError> {
    let inner = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or(AddressError::Bracket)?,
        None => host,
    };
    if inner.contains(['[', ']']) { Err(AddressError::Bracket) } else { Ok(inner) }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let number = if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    number.ok_or_else(|| AddressError::Port(text.to_owned()))
}

/// Why nobody was found at a join address. Nobody was contacted there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It is no join address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system's resolver found nothing.
    #[error("lookup {host}: {why}")]
    Lookup {
        /// The name.
        host: String,
        /// Its answer.
        why: String,
    },
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
    fn lookup(host: &str, why: impl fmt::Display) -> Self {
        Self::Lookup { host: host.to_owned(), why: why.to_string() }
    }
}

impl JoinAddress {
    /// Whom to contact: every address of the host, in the resolver's order, up to 64. `port` is for an address
    /// without one. Dropping the future stops the wait, though not the system's resolver.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let address: serf::JoinAddress = "10.0.0.7".parse().unwrap();
    /// let peers = address.resolve(7946, &*serf::runtime::current().unwrap()).await.unwrap();
    /// assert_eq!(peers[0].addr.to_string(), "10.0.0.7:7946");
    /// # });
    /// ```
    ///
    /// # Errors
    /// The resolver found nothing in 10 seconds.
    pub async fn resolve(&self, port: u16, runtime: &dyn Runtime) -> Result<Vec<Peer>, ResolveError> {
        let Self { name, host, .. } = self;
        let port = self.port.unwrap_or(port);
        let peer = |addr: SocketAddr| Peer { addr: addr.into(), name: name.clone() };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![peer(SocketAddr::new(ip, port))]);
        }
        let name = host.clone();
        let look_up = move || {
            (name.as_str(), port).to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>())
        };
        match timeout(runtime, LOOKUP_MAX, unblock(runtime, look_up)).await {
            Some(Some(Ok(found))) => {
                let peers: Vec<Peer> = found.into_iter().map(peer).collect();
                if peers.is_empty() { Err(ResolveError::lookup(host, "no such host")) } else { Ok(peers) }
            }
            Some(Some(Err(error))) => Err(ResolveError::lookup(host, fault::lookup(&error))),
            Some(None) => Err(ResolveError::lookup(host, "interrupted")),
            None => Err(ResolveError::lookup(host, "i/o timeout")),
        }
    }
}

/// Resolves all, side by side; the results are in the order of the texts.
pub(crate) async fn resolve_all(
    texts: &[String],
    port: u16,
    runtime: &Arc<dyn Runtime>,
) -> Vec<Result<Vec<Peer>, ResolveError>> {
    let mut results: Vec<_> = texts.iter().map(|_| Ok(Vec::new())).collect();
    let places = Arc::new(Semaphore::new(LOOKUPS_MAX));
    let (sender, mut found) = mpsc::channel(1);
    for (at, (text, result)) in texts.iter().zip(&mut results).enumerate() {
        let address = match text.parse::<JoinAddress>() {
            Ok(address) => address,
            Err(error) => {
                *result = Err(error.into());
                continue;
            }
        };
        let (sender, places, clock) = (sender.clone(), places.clone(), runtime.clone());
        runtime.spawn(Box::pin(async move {
            let lookup = async {
                let _place = places.acquire().await;
                address.resolve(port, &*clock).await
            };
            tokio::select! {
                // Nobody waits any more.
                () = sender.closed() => {}
                result = lookup => drop(sender.send((at, result)).await),
            }
        }));
    }
    drop(sender);
    while let Some((at, result)) = found.recv().await {
        results[at] = result;
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, String, Option<u16>) {
        let a: JoinAddress = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        (a.name.map(|n| n.to_string()), a.host, a.port)
    }

    #[test]
    fn ports_are_found_where_they_are() {
        // NA1, NA2.
        for (text, host, port) in [
            ("1.2.3.4", "1.2.3.4", None),
            ("1.2.3.4:1234", "1.2.3.4", Some(1234)),
            ("2600:1f14:e22:1501:f9a:2e0c:a167:67e8", "2600:1f14:e22:1501:f9a:2e0c:a167:67e8", None),
            ("[2600:1f14:e22:1501:f9a:2e0c:a167:67e8]", "2600:1f14:e22:1501:f9a:2e0c:a167:67e8", None),
            (
                "[2600:1f14:e22:1501:f9a:2e0c:a167:67e8]:1234",
                "2600:1f14:e22:1501:f9a:2e0c:a167:67e8",
                Some(1234),
            ),
            ("::1", "::1", None),
            ("[::1]:0", "::1", Some(0)),
            ("localhost", "localhost", None),
            ("localhost:65535", "localhost", Some(65_535)),
            ("hashicorp.com", "hashicorp.com", None),
            ("hashicorp.com:00080", "hashicorp.com", Some(80)),
        ] {
            assert_eq!(parsed(text), (None, host.to_owned(), port), "{text}");
            // NA3.
            let named = format!("web-1/{text}");
            assert_eq!(parsed(&named), (Some("web-1".to_owned()), host.to_owned(), port), "{named}");
        }
        // Only the first slash counts.
        assert_eq!(parsed("a/b/c"), (Some("a".to_owned()), "b/c".to_owned(), None));
    }

    #[test]
    fn nonsense_is_named() {
        // NA4.
        for (text, error) in [
            ("", AddressError::MissingHost),
            (":1234", AddressError::MissingHost),
            ("[]", AddressError::MissingHost),
            ("[]:1", AddressError::MissingHost),
            ("web-1/", AddressError::MissingHost),
            ("/1.2.3.4", AddressError::EmptyName),
            ("/", AddressError::EmptyName),
            ("host:", AddressError::Port("".into())),
            ("host:65536", AddressError::Port("65536".into())),
            ("host:80x", AddressError::Port("80x".into())),
            ("host:+80", AddressError::Port("+80".into())),
            ("host:-1", AddressError::Port("-1".into())),
            ("[::1]x:80", AddressError::Bracket),
            ("[::1:80", AddressError::Bracket),
            ("ho]st:80", AddressError::Bracket),
        ] {
            assert_eq!(text.parse::<JoinAddress>(), Err(error), "{text}");
        }
    }

    async fn resolved(text: &str) -> Result<Vec<String>, String> {
        let [result] = <[_; 1]>::try_from(
            resolve_all(&[text.to_owned()], 7946, &crate::runtime::current().unwrap()).await,
        )
        .unwrap();
        result.map(|peers| peers.iter().map(|p| p.addr.to_string()).collect()).map_err(|e| e.to_string())
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
            assert_eq!(resolved(text).await, Ok(vec![addr.to_owned()]), "{text}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let found = resolved("localhost:80").await.unwrap();
        assert!(found.contains(&"127.0.0.1:80".to_owned()) || found.contains(&"[::1]:80".to_owned()));
        let error = resolved("nobody.invalid").await.unwrap_err();
        assert!(error.starts_with("lookup nobody.invalid: "), "{error}");
        assert_eq!(resolved("/x").await, Err("empty node name provided".to_owned()));
    }

    #[tokio::test]
    async fn many_are_resolved_in_their_order() {
        let texts: Vec<String> = (0..100).map(|n| format!("127.0.0.{n}")).collect();
        for (at, result) in
            resolve_all(&texts, 1, &crate::runtime::current().unwrap()).await.into_iter().enumerate()
        {
            assert_eq!(result.unwrap()[0].addr.to_string(), format!("127.0.0.{at}:1"));
        }
    }
}
