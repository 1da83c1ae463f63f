//! Joining: from texts to an account of who was contacted.

use std::fmt;
use std::sync::Arc;

use serf_gossip::{Address, Peer};

use crate::identity::InvalidAddress;
use crate::resolve::{ResolveError, Resolver, resolve_all};
use crate::runtime::Runtime;

/// How a join went, if anybody was contacted (or nobody was to be).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined<A = Address> {
    /// Those that states were exchanged with.
    pub contacted: Vec<A>,
    /// The others.
    pub failed: Vec<JoinFailure>,
}

impl Default for Joined {
    fn default() -> Self {
        Self { contacted: Vec::new(), failed: Vec::new() }
    }
}

/// Why somebody was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailure {
    /// Nobody was found at a join address.
    #[error("failed to resolve {address}: {why}")]
    Resolve {
        /// The join address as it was given.
        address: String,
        /// Why.
        why: ResolveError,
    },
    /// States were not exchanged.
    #[error("failed to join {address}: {why}")]
    Contact {
        /// With whom.
        address: Address,
        /// Why.
        why: String,
    },
}

/// All that went wrong when nobody was contacted. As text, an aggregate of several lines:
///
/// ```
/// use serf::{JoinFailure, JoinFailures};
/// let address = serf::Address::new(&[127, 0, 0, 1], 17999);
/// let why = "dial tcp 127.0.0.1:17999: connect: connection refused".to_owned();
/// let text = JoinFailures(vec![JoinFailure::Contact { address, why }]).to_string();
/// assert_eq!(text, "1 error occurred:\n\t* failed to join 127.0.0.1:17999: \
///     dial tcp 127.0.0.1:17999: connect: connection refused\n\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinFailures(pub Vec<JoinFailure>);

impl fmt::Display for JoinFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 error occurred:\n")?,
            n => writeln!(f, "{n} errors occurred:")?,
        }
        self.0.iter().try_for_each(|failure| writeln!(f, "\t* {failure}"))?;
        f.write_str("\n")
    }
}

impl std::error::Error for JoinFailures {}

/// Join addresses with whom they mean, until the machine has told how it went.
pub(crate) struct Plan {
    texts: Vec<String>,
    resolved: Vec<Result<Vec<Peer>, ResolveError>>,
}

impl Plan {
    pub(crate) async fn make<S: AsRef<str>>(
        addresses: impl IntoIterator<Item = S>,
        port: u16,
        resolver: &Arc<dyn Resolver>,
        runtime: &Arc<dyn Runtime>,
    ) -> Self {
        let texts: Vec<String> = addresses.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let resolved = resolve_all(&texts, port, resolver, runtime).await;
        Self { texts, resolved }
    }

    /// Leaves out where no member can be. Whoever has no other address is nobody to contact.
    pub(crate) fn only(mut self, fits: impl Fn(&Address) -> Result<(), InvalidAddress>) -> Self {
        for found in &mut self.resolved {
            let Ok(peers) = found else { continue };
            let mut fault = None;
            peers.retain(|Peer { addr, .. }| match fits(addr) {
                Ok(()) => true,
                Err(why) => {
                    fault.get_or_insert_with(|| ResolveError::Unfit { address: addr.clone(), why });
                    false
                }
            });
            if let (true, Some(fault)) = (peers.is_empty(), fault) {
                *found = Err(fault);
            }
        }
        self
    }

    /// Whom to contact.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.resolved.iter().flatten().flatten().cloned().collect()
    }

    /// The account, failures in the order of the addresses given.
    pub(crate) fn account(
        self,
        contacted: Vec<Address>,
        mut failed: Vec<(Address, String)>,
    ) -> Result<Joined, JoinFailures> {
        let mut failures = Vec::new();
        for (text, resolved) in self.texts.into_iter().zip(self.resolved) {
            match resolved {
                Ok(peers) => failures.extend(peers.iter().filter_map(|peer| {
                    let at = failed.iter().position(|(addr, _)| *addr == peer.addr)?;
                    let (address, why) = failed.remove(at);
                    Some(JoinFailure::Contact { address, why })
                })),
                Err(why) => failures.push(JoinFailure::Resolve { address: text, why }),
            }
        }
        failures.extend(failed.into_iter().map(|(address, why)| JoinFailure::Contact { address, why }));
        if contacted.is_empty() && !failures.is_empty() {
            return Err(JoinFailures(failures));
        }
        Ok(Joined { contacted, failed: failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::SocketResolver;

    fn refused(port: u16) -> (Address, String) {
        (Address::new(&[127, 0, 0, 1], port), "refused".to_owned())
    }

    async fn plan(texts: &[&str]) -> Plan {
        let runtime = crate::runtime::current().unwrap();
        let resolver: Arc<dyn Resolver> = Arc::new(SocketResolver);
        Plan::make(texts, 7946, &resolver, &runtime).await
    }

    #[tokio::test]
    async fn failures_are_told_in_the_order_of_the_addresses() {
        let plan = plan(&["127.0.0.1:1", "/x", "127.0.0.1:2"]).await;
        assert_eq!(plan.peers().len(), 2);
        let error = plan.account(vec![], vec![refused(2), refused(1)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 errors occurred:\n\t* failed to join 127.0.0.1:1: refused\n\
             \t* failed to resolve /x: empty node name provided\n\
             \t* failed to join 127.0.0.1:2: refused\n\n"
        );
    }

    #[tokio::test]
    async fn where_nobody_can_be_nobody_is_contacted() {
        let odd = |address: &Address| match address.port % 2 {
            0 => Err(InvalidAddress::new("even")),
            _ => Ok(()),
        };
        let plan = plan(&["127.0.0.1:1", "127.0.0.1:2"]).await.only(odd);
        assert_eq!(plan.peers().len(), 1);
        let error = plan.account(vec![], vec![refused(1)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 errors occurred:\n\t* failed to join 127.0.0.1:1: refused\n\
             \t* failed to resolve 127.0.0.1:2: address 127.0.0.1:2: even\n\n"
        );
    }

    #[tokio::test]
    async fn one_contact_is_enough_and_nobody_to_contact_is_no_failure() {
        let joined = plan(&["127.0.0.1:1", "127.0.0.1:2"])
            .await
            .account(vec![refused(2).0], vec![refused(1)])
            .unwrap();
        assert_eq!((joined.contacted.len(), joined.failed.len()), (1, 1));
        assert_eq!(plan(&[]).await.account(vec![], vec![]), Ok(Joined::default()));
    }
}
