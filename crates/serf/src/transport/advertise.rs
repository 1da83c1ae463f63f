//! The address that others are told: the one configured, a private one of this host, or the one that is bound.
//!
//! Its byte form matters, since peers compare addresses byte by byte: IPv4 is told in four bytes if it was
//! configured or bound, and in sixteen if it was looked up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use serf_gossip::{Address, Host};

/// An address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The address. The interface is up.
    pub ip: IpAddr,
    /// Bits of its network's prefix.
    pub prefix: u8,
    /// Whether it belongs to the interface of the default route.
    pub default_route: bool,
}

/// Why there is no address to tell others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// The system did not tell its interfaces.
    #[error("failed to get interface addresses: {0}")]
    Interfaces(#[from] io::Error),
    /// A wildcard is bound, and this host has no private address.
    #[error("no private IP address found, and explicit IP not provided")]
    NoPrivateAddress,
}

/// Which address to tell others, `bound` being the one asked for with the port that was got. The host's interfaces
/// are looked up only if they matter.
///
/// ```
/// use serf::transport::advertise::{Interface, choose};
/// let eth0 = Interface { ip: "10.0.0.7".parse().unwrap(), prefix: 24, default_route: true };
/// let told = choose(None, None, "0.0.0.0:7946".parse().unwrap(), || Ok(vec![eth0])).unwrap();
/// assert_eq!(told.to_string(), "10.0.0.7:7946");
/// assert_eq!(told.host.as_bytes().len(), 16);
/// ```
///
/// # Errors
/// No address was found.
pub fn choose(
    ip: Option<IpAddr>,
    port: Option<u16>,
    bound: SocketAddr,
    interfaces: impl FnOnce() -> io::Result<Vec<Interface>>,
) -> Result<Address, AdvertiseError> {
    let port = port.unwrap_or_else(|| bound.port());
    if let Some(ip) = ip {
        return Ok(SocketAddr::new(ip, port).into());
    }
    if !bound.ip().is_unspecified() {
        return Ok(SocketAddr::new(bound.ip(), port).into());
    }
    // The reference does this for the wildcard of IPv4 only, and tells `::` for the other, which reaches nobody.
    let host = match private_ip(&interfaces()?).ok_or(AdvertiseError::NoPrivateAddress)? {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    Ok(Address { host: Host::V6(host.octets()), port })
}

/// The private address that others most likely reach: one on the interface of the default route first, IPv4 before
/// IPv6, in a larger network before one in a smaller.
#[must_use]
pub fn private_ip(interfaces: &[Interface]) -> Option<IpAddr> {
    let mut private: Vec<&Interface> = interfaces.iter().filter(|i| is_private(i.ip)).collect();
    private.sort_by_key(|i| (!i.default_route, i.ip.is_ipv6(), i.prefix));
    private.first().map(|i| i.ip)
}

/// Whether an address is meant for use within a site, and can be reached from other hosts: in one of the special
/// ranges of RFC 6890, but in none that is for one host, one link or documentation.
///
/// ```
/// use serf::transport::advertise::is_private;
/// assert!(is_private("192.168.1.7".parse().unwrap()) && is_private("fd00::7".parse().unwrap()));
/// assert!(!is_private("127.0.0.1".parse().unwrap()) && !is_private("8.8.8.8".parse().unwrap()));
/// ```
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => SPECIAL_V4.iter().any(|(net, bits)| within_v4(ip, *net, *bits)),
        IpAddr::V6(ip) => {
            SPECIAL_V6.iter().any(|(net, bits)| within_v6(ip, *net, *bits))
                && !UNREACHABLE_V6.iter().any(|(net, bits)| within_v6(ip, *net, *bits))
        }
    }
}

const SPECIAL_V4: [(Ipv4Addr, u32); 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
];

const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
];

/// Parts of [`SPECIAL_V6`] that are not forwarded: documentation, and identifiers that are no addresses.
const UNREACHABLE_V6: [(Ipv6Addr, u32); 2] = [
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28),
];

fn within_v4(ip: Ipv4Addr, net: Ipv4Addr, bits: u32) -> bool {
    (u32::from(ip) ^ u32::from(net)) >> (32 - bits) == 0
}

fn within_v6(ip: Ipv6Addr, net: Ipv6Addr, bits: u32) -> bool {
    (u128::from(ip) ^ u128::from(net)) >> (128 - bits) == 0
}

/// The addresses of this host's interfaces that are up.
///
/// # Errors
/// The system's.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let all = if_addrs::get_if_addrs()?;
    // The interface of the default route has the address that a socket gets which is connected far away.
    let defaults = [default_source("0.0.0.0:0", "192.0.2.1:9"), default_source("[::]:0", "[2001:db8::1]:9")];
    let names: Vec<&str> =
        all.iter().filter(|i| defaults.contains(&Some(i.ip()))).map(|i| i.name.as_str()).collect();
    let up = all.iter().filter(|i| i.is_oper_up());
    Ok(up
        .map(|i| Interface {
            ip: i.ip(),
            prefix: match &i.addr {
                if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                if_addrs::IfAddr::V6(v6) => v6.prefixlen,
            },
            default_route: names.contains(&i.name.as_str()),
        })
        .collect())
}

/// The source address for a far one, if there is a route. Nothing is sent.
fn default_source(any: &str, far: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(text: &str, default_route: bool) -> Interface {
        let (ip, prefix) = text.split_once('/').unwrap();
        Interface { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap(), default_route }
    }

    #[test]
    fn the_private_ranges_are_those_of_rfc_6890_that_are_forwarded() {
        for ip in [
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "192.88.99.1",
            "fc00::1",
            "fdff::1",
            "2001::1",
            "2002::1",
            "64:ff9b::1",
            "100::1",
        ] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "127.0.0.1",
            "169.254.1.1",
            "0.0.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.1",
            "255.255.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "::",
            "::1",
            "fe80::1",
            "2001:db8::1",
            "2001:10::1",
            "2600::1",
            "::ffff:10.0.0.1",
            "100:0:0:1::",
        ] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_default_route_goes_before_ipv4_before_the_larger_network() {
        let choose = |texts: &[(&str, bool)]| {
            let all: Vec<_> = texts.iter().map(|(text, default)| interface(text, *default)).collect();
            private_ip(&all).map(|ip| ip.to_string())
        };
        assert_eq!(choose(&[]), None);
        assert_eq!(choose(&[("127.0.0.1/8", false), ("8.8.8.8/24", true)]), None);
        assert_eq!(choose(&[("10.0.0.1/8", false), ("192.168.0.1/24", true)]).unwrap(), "192.168.0.1");
        assert_eq!(choose(&[("fd00::1/64", true), ("10.0.0.1/8", false)]).unwrap(), "fd00::1");
        assert_eq!(choose(&[("fd00::1/8", true), ("10.0.0.1/24", true)]).unwrap(), "10.0.0.1");
        assert_eq!(choose(&[("192.168.0.1/24", false), ("10.0.0.1/8", false)]).unwrap(), "10.0.0.1");
        // Of equals the first stays first.
        assert_eq!(choose(&[("10.2.0.1/24", false), ("10.1.0.1/24", false)]).unwrap(), "10.2.0.1");
    }

    #[test]
    fn what_is_told_and_in_how_many_bytes() {
        let eth0 = || Ok(vec![interface("127.0.0.1/8", false), interface("10.0.0.7/24", true)]);
        for (ip, port, bound, told, len) in [
            (None, None, "0.0.0.0:7946", "10.0.0.7:7946", 16),
            (None, None, "[::]:7946", "10.0.0.7:7946", 16),
            (None, Some(80), "0.0.0.0:7946", "10.0.0.7:80", 16),
            (None, None, "192.168.1.1:7000", "192.168.1.1:7000", 4),
            (None, None, "[fd00::1]:7000", "[fd00::1]:7000", 16),
            (Some("1.2.3.4"), None, "0.0.0.0:7946", "1.2.3.4:7946", 4),
            (Some("1.2.3.4"), Some(99), "192.168.1.1:7946", "1.2.3.4:99", 4),
            (Some("::ffff:1.2.3.4"), None, "0.0.0.0:7946", "1.2.3.4:7946", 4),
            (Some("2600::1"), None, "0.0.0.0:7946", "[2600::1]:7946", 16),
        ] {
            let ip = ip.map(|ip: &str| ip.parse().unwrap());
            let address = choose(ip, port, bound.parse().unwrap(), eth0).unwrap();
            assert_eq!((address.to_string().as_str(), address.host.as_bytes().len()), (told, len), "{bound}");
        }
    }

    #[test]
    fn a_wildcard_without_a_private_address_is_an_error() {
        let bound = "0.0.0.0:7946".parse().unwrap();
        let error = choose(None, None, bound, || Ok(vec![interface("127.0.0.1/8", false)])).unwrap_err();
        assert_eq!(error.to_string(), "no private IP address found, and explicit IP not provided");
    }

    #[test]
    fn this_hosts_interfaces_are_found() {
        assert!(interfaces().unwrap().iter().any(|i| i.ip.is_loopback()));
    }
}
