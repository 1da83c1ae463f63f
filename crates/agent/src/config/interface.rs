//! Network interfaces: which there are, and which of their addresses to bind to.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::text::os_error;

/// An interface of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as `eth0`.
    pub name: String,
    /// Its addresses, in the order of the system.
    pub addresses: Vec<IpAddr>,
    /// Its number, if it has an address.
    pub index: Option<u32>,
}

/// Why an interface cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("route ip+net: no such network interface")]
    Unknown,
    /// The system does not tell.
    #[error("Failed to get interface addresses: {}", os_error(.0))]
    List(io::Error),
    /// It exists, but without an address.
    #[error("Interface '{0}' has no addresses")]
    NoAddresses(String),
    /// All its addresses are good for one link only.
    #[error("Failed to find usable address for interface '{0}'")]
    NoUsableAddress(String),
    /// It does not have the address that shall be bound.
    #[error("Interface '{name}' has no '{address}' address")]
    NotItsAddress {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
    },
}

/// The interface of that name.
pub fn find(name: &str) -> Result<Interface, InterfaceError> {
    let mut found = Interface { name: name.to_owned(), addresses: Vec::new(), index: None };
    for entry in if_addrs::get_if_addrs().map_err(InterfaceError::List)? {
        if entry.name == name {
            found.addresses.push(entry.ip());
            found.index = found.index.or(entry.index);
        }
    }
    // Without an address it is not in the list, but may exist.
    if found.addresses.is_empty() && !exists(name) { Err(InterfaceError::Unknown) } else { Ok(found) }
}

/// The names of those that have an address.
pub(crate) fn names() -> BTreeSet<String> {
    if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|entry| entry.name).collect()
}

#[cfg(target_os = "linux")]
fn exists(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['/', '.'])
        && std::path::Path::new("/sys/class/net").join(name).exists()
}

#[cfg(not(target_os = "linux"))]
fn exists(_name: &str) -> bool {
    false
}

impl Interface {
    /// The address to bind to, given what was asked for.
    ///
    /// A wildcard becomes the first address that is good beyond the link (an IPv6 one for the IPv6 wildcard).
    /// Any other address has to be one of the interface's.
    pub fn choose(&self, bind: SocketAddr) -> Result<SocketAddr, InterfaceError> {
        if self.addresses.is_empty() {
            return Err(InterfaceError::NoAddresses(self.name.clone()));
        }
        let ip = bind.ip();
        if ip.is_unspecified() {
            let mut usable =
                self.addresses.iter().filter(|&a| !is_link_local(a) && (ip.is_ipv4() || a.is_ipv6()));
            let first = usable.next().ok_or_else(|| InterfaceError::NoUsableAddress(self.name.clone()))?;
            Ok(SocketAddr::new(*first, bind.port()))
        } else if self.addresses.contains(&ip) {
            Ok(bind)
        } else {
            Err(InterfaceError::NotItsAddress { name: self.name.clone(), address: ip })
        }
    }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(addresses: &[&str], bind: &str) -> Result<String, String> {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        let interface = Interface { name: "eth0".into(), addresses, index: None };
        let chosen = interface.choose(bind.parse().expect("an address"));
        chosen.map(|address| address.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn chooses_an_address() {
        let both = ["169.254.1.1", "10.0.0.5", "fe80::1", "2001:db8::5"];
        for (addresses, bind, outcome) in [
            (&both[..], "0.0.0.0:7946", Ok("10.0.0.5:7946")),
            (&both[1..], "10.0.0.5:1", Ok("10.0.0.5:1")),
            (&both, "[::]:7946", Ok("[2001:db8::5]:7946")),
            (&both[2..], "0.0.0.0:7946", Ok("[2001:db8::5]:7946")),
            (&both[..1], "0.0.0.0:7946", Err("Failed to find usable address for interface 'eth0'")),
            (&both, "10.0.0.6:1", Err("Interface 'eth0' has no '10.0.0.6' address")),
            (&[], "0.0.0.0:7946", Err("Interface 'eth0' has no addresses")),
        ] {
            let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(chosen(addresses, bind), outcome);
        }
    }

    #[test]
    fn finds_the_loopback_interface() {
        let name = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        let loopback = find(name).expect("every machine has one");
        assert!(loopback.addresses.iter().all(IpAddr::is_loopback));
        assert!(matches!(find("nope0"), Err(InterfaceError::Unknown)));
    }
}
