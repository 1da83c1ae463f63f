//! The sockets of multicast DNS: one that hears all questions, and one for each question of ours.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::config::interface::Interface;

const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// As is the custom with these groups: it shows that nothing was forwarded.
const TTL: u32 = 255;

/// Hears what is asked over IPv4, on the interface or on that of the system's choice.
pub(super) fn listen_v4(interface: Option<&Interface>) -> io::Result<UdpSocket> {
    let socket = shared(Domain::IPV4)?;
    // Bound to the group, it does not take away what is sent to another program of this machine.
    socket.bind(&SocketAddr::from((GROUP_V4, PORT)).into())?;
    socket.join_multicast_v4(&GROUP_V4, &address_v4(interface)?.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
    UdpSocket::from_std(socket.into())
}

/// The same over IPv6.
pub(super) fn listen_v6(interface: Option<&Interface>) -> io::Result<UdpSocket> {
    let socket = shared(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    let index = index(interface)?;
    // The group is one of each link, so it can be bound to only where the link is known.
    let group = if index == 0 { Ipv6Addr::UNSPECIFIED } else { GROUP_V6 };
    socket.bind(&SocketAddr::from(SocketAddrV6::new(group, PORT, 0, index)).into())?;
    socket.join_multicast_v6(&GROUP_V6, index)?;
    UdpSocket::from_std(socket.into())
}

/// Asks over IPv4, and hears the answers; and whom to ask.
pub(super) fn ask_v4(interface: Option<&Interface>) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if let Some(address) = address_v4(interface)? {
        socket.set_multicast_if_v4(&address)?;
    }
    socket.set_multicast_ttl_v4(TTL)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    Ok((UdpSocket::from_std(socket.into())?, (GROUP_V4, PORT).into()))
}

/// The same over IPv6.
pub(super) fn ask_v6(interface: Option<&Interface>) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(true)?;
    let index = index(interface)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(TTL)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok((UdpSocket::from_std(socket.into())?, SocketAddrV6::new(GROUP_V6, PORT, 0, index).into()))
}

/// One that other programs listen beside.
fn shared(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Elsewhere all who share a port have to say this too.
    #[cfg(all(unix, not(target_os = "linux")))]
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn address_v4(interface: Option<&Interface>) -> io::Result<Option<Ipv4Addr>> {
    let Some(interface) = interface else { return Ok(None) };
    let mut addresses = interface.addresses.iter().filter_map(|ip| match ip {
        std::net::IpAddr::V4(ip) => Some(*ip),
        std::net::IpAddr::V6(_) => None,
    });
    let none = || io::Error::other(format!("interface '{}' has no IPv4 address", interface.name));
    addresses.next().map(Some).ok_or_else(none)
}

/// Zero for the interface of the system's choice.
fn index(interface: Option<&Interface>) -> io::Result<u32> {
    let Some(interface) = interface else { return Ok(0) };
    let has_v6 = interface.addresses.iter().any(std::net::IpAddr::is_ipv6);
    let none = || io::Error::other(format!("interface '{}' has no IPv6 address", interface.name));
    interface.index.filter(|_| has_v6).ok_or_else(none)
}
